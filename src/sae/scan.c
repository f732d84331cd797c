/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pre-activations by tiles, and their survivors as sparse rows. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/sae/scan.h"
#include "saescope/sae/vector.h"

enum {
    TILE_ROWS = 256,     /* of x */
    TILE_LATENTS = 512,  /* with TILE_ROWS: 512 KiB, which stays in the second-level cache */
    GROUP_LATENTS = 2048 /* of one cell: some milliseconds of work */
};

/* A row's best while one cell is walked. */
struct row_best {
    uint32_t n;
    float bound;
};

struct scan_scratch {
    float *tile;                  /* [TILE_ROWS, TILE_LATENTS] */
    uint32_t *found;              /* [TILE_LATENTS] */
    struct row_best *best;        /* [TILE_ROWS] */
    struct scan_pair *best_pairs; /* [TILE_ROWS, 2k + TILE_LATENTS] */
    float *values;                /* [2k + TILE_LATENTS] */
    size_t best_width;
};

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static void scratch_free(struct scan_scratch *s)
{
    free(s->tile);
    free(s->found);
    free(s->best);
    free(s->best_pairs);
    free(s->values);
    memset(s, 0, sizeof *s);
}

void scan_free(struct scan *s)
{
    for (size_t i = 0; i < s->n_lists; i++)
        free(s->lists[i].pairs);
    for (size_t i = 0; i < s->n_scratch; i++)
        scratch_free(&s->scratch[i]);
    free(s->lists);
    free(s->scratch);
    memset(s, 0, sizeof *s);
}

static int scratch_prepare(struct scan_scratch *scratch, size_t k, struct error *err)
{
    const char *what = "a tile of pre-activations";
    if (!scratch->tile && !(scratch->tile = array_alloc(TILE_ROWS * TILE_LATENTS, sizeof(float), what, err)))
        return STATUS_FAILED;
    if (!scratch->found && !(scratch->found = array_alloc(TILE_LATENTS, sizeof(uint32_t), what, err)))
        return STATUS_FAILED;
    size_t width = k ? 2 * k + TILE_LATENTS : 0;
    if (width <= scratch->best_width)
        return STATUS_OK;
    scratch_free(scratch);
    scratch->best = array_alloc(TILE_ROWS, sizeof *scratch->best, what, err);
    if (scratch->best)
        scratch->best_pairs = array_alloc(TILE_ROWS * width, sizeof *scratch->best_pairs, what, err);
    if (scratch->best_pairs)
        scratch->values = array_alloc(width, sizeof(float), what, err);
    if (!scratch->values)
        return STATUS_FAILED;
    scratch->best_width = width;
    return scratch_prepare(scratch, 0, err);
}

static int prepare(struct scan *s, struct error *err)
{
    size_t group_count = 0, threads = parallel_threads();
    for (size_t b = 0; b < s->sae->n_blocks; b++)
        group_count += divide_up(s->sae->blocks[b].n, GROUP_LATENTS);
    s->n_row_tiles = divide_up(s->n, TILE_ROWS);
    s->n_groups = group_count;
    size_t wanted = s->n_row_tiles * s->n_groups;
    if (wanted > s->n_lists) {
        struct scan_list *lists = array_zeroed(wanted, sizeof *lists, "pre-activations", err);
        if (!lists)
            return STATUS_FAILED;
        if (s->n_lists)
            memcpy(lists, s->lists, s->n_lists * sizeof *lists);
        free(s->lists);
        s->lists = lists;
        s->n_lists = wanted;
    }
    if (threads > s->n_scratch) {
        s->scratch = xreallocarray(s->scratch, threads, sizeof *s->scratch);
        memset(s->scratch + s->n_scratch, 0, (threads - s->n_scratch) * sizeof *s->scratch);
        s->n_scratch = threads;
    }
    for (size_t i = 0; i < threads; i++) {
        int status = scratch_prepare(&s->scratch[i], s->k, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* Room for `more` pairs; 0, or -1 when there is no memory. */
static int list_reserve(struct scan_list *list, size_t more)
{
    if (list->n + more <= list->capacity)
        return 0;
    size_t capacity = (list->n + more) * 3 / 2 + 64;
    struct scan_pair *pairs = realloc(list->pairs, capacity * sizeof *pairs);
    if (!pairs)
        return -1;
    list->pairs = pairs;
    list->capacity = capacity;
    return 0;
}

/* The k largest of n pairs, in place, in their order; of equal ones the first. Returns their number. */
static size_t keep_largest(struct scan_pair *pairs, size_t n, size_t k, float *values, float *bound)
{
    if (n <= k)
        return n;
    for (size_t i = 0; i < n; i++)
        values[i] = pairs[i].value;
    float edge = kth_largest(values, n, k);
    size_t equal = k, kept = 0;
    for (size_t i = 0; i < n; i++)
        equal -= pairs[i].value > edge;
    for (size_t i = 0; i < n; i++) {
        if (pairs[i].value < edge || (!(pairs[i].value > edge) && equal == 0))
            continue;
        equal -= !(pairs[i].value > edge);
        pairs[kept++] = pairs[i];
    }
    *bound = edge;
    return kept;
}

struct cell_run {
    struct scan *scan;
    atomic_int out_of_memory;
};

/* Where a cell lies. */
struct cell {
    size_t first_row, n_rows;
    const struct sae_block *block;
    size_t first, n; /* latents within the block */
};

static struct cell cell_at(const struct scan *s, size_t row_tile, size_t group)
{
    struct cell c = {.first_row = row_tile * TILE_ROWS};
    c.n_rows = s->n - c.first_row < TILE_ROWS ? s->n - c.first_row : TILE_ROWS;
    c.block = s->sae->blocks;
    for (size_t in_block; group >= (in_block = divide_up(c.block->n, GROUP_LATENTS)); c.block++)
        group -= in_block;
    c.first = group * GROUP_LATENTS;
    c.n = c.block->n - c.first < GROUP_LATENTS ? c.block->n - c.first : GROUP_LATENTS;
    return c;
}

/* Adds one row of a tile to the row's best k. */
static void add_to_best(struct scan *s, struct scan_scratch *scratch, size_t row, uint32_t number,
                        const float *p, const float *bias, size_t n_found, uint32_t first_latent)
{
    struct row_best *best = &scratch->best[row];
    struct scan_pair *pairs = scratch->best_pairs + row * scratch->best_width;
    for (size_t i = 0; i < n_found; i++) {
        uint32_t j = scratch->found[i];
        pairs[best->n++] = (struct scan_pair){number, first_latent + j, bias ? p[j] + bias[j] : p[j]};
    }
    if (best->n >= 2 * s->k)
        best->n = (uint32_t)keep_largest(pairs, best->n, s->k, scratch->values, &best->bound);
}

/* The survivors of one tile [c->n_rows, n] of pre-activations of latents from `latent` on. */
static int scan_tile(struct scan *s, struct scan_scratch *scratch, struct scan_list *list,
                     const struct cell *c, size_t latent, size_t n)
{
    const float *bias = s->sae->b_enc ? s->sae->b_enc + latent : NULL;
    const float *bound = s->bound ? s->bound + latent : NULL;
    for (size_t r = 0; r < c->n_rows; r++) {
        const float *p = scratch->tile + r * n;
        uint32_t number = (uint32_t)(c->first_row + r);
        float common =
            s->k && scratch->best[r].bound > s->common_bound ? scratch->best[r].bound : s->common_bound;
        size_t n_found = row_find_above(p, bias, bound, common, n, scratch->found);
        if (s->k) {
            add_to_best(s, scratch, r, number, p, bias, n_found, (uint32_t)latent);
            continue;
        }
        if (list_reserve(list, n_found))
            return -1;
        for (size_t i = 0; i < n_found; i++) {
            uint32_t j = scratch->found[i];
            list->pairs[list->n++] =
                (struct scan_pair){number, (uint32_t)latent + j, bias ? p[j] + bias[j] : p[j]};
        }
    }
    return 0;
}

static int list_best(struct scan *s, struct scan_scratch *scratch, struct scan_list *list, size_t n_rows)
{
    for (size_t r = 0; r < n_rows; r++) {
        struct scan_pair *pairs = scratch->best_pairs + r * scratch->best_width;
        size_t n = keep_largest(pairs, scratch->best[r].n, s->k, scratch->values, &scratch->best[r].bound);
        if (list_reserve(list, n))
            return -1;
        if (n)
            memcpy(list->pairs + list->n, pairs, n * sizeof *pairs);
        list->n += n;
    }
    return 0;
}

/* tile[n_rows, n] = x · rowsᵀ. For a row or two a product would spend its time on rearranging the weights. */
static void tile_product(const struct scan *s, const struct cell *c, const float *rows, size_t n, float *tile)
{
    size_t d = s->sae->d_in;
    const float *x = s->x + c->first_row * d;
    if (c->n_rows <= 2)
        for (size_t r = 0; r < c->n_rows; r++)
            sgemv_n(n, d, rows, d, x + r * d, tile + r * n);
    else
        sgemm_nt(c->n_rows, n, d, 1, x, d, rows, d, 0, tile, n);
}

static void run_cell(size_t index, size_t worker, void *arg)
{
    struct cell_run *run = arg;
    struct scan *s = run->scan;
    struct scan_scratch *scratch = &s->scratch[worker];
    struct scan_list *list = &s->lists[index];
    struct cell c = cell_at(s, index / s->n_groups, index % s->n_groups);
    size_t d = s->sae->d_in;
    list->n = 0;
    for (size_t r = 0; s->k && r < c.n_rows; r++)
        scratch->best[r] = (struct row_best){0, 0};
    int bad = 0;
    for (size_t done = 0; done < c.n && !bad; done += TILE_LATENTS) {
        size_t n = c.n - done < TILE_LATENTS ? c.n - done : TILE_LATENTS;
        tile_product(s, &c, c.block->W_enc + (c.first + done) * d, n, scratch->tile);
        bad = scan_tile(s, scratch, list, &c, c.block->first + c.first + done, n);
    }
    if (s->k && !bad)
        bad = list_best(s, scratch, list, c.n_rows);
    if (bad)
        atomic_store(&run->out_of_memory, 1);
}

int scan_run(struct scan *s, struct error *err)
{
    int status = prepare(s, err);
    if (status)
        return status;
    struct cell_run run = {.scan = s};
    parallel_for(s->n_row_tiles * s->n_groups, run_cell, &run);
    return atomic_load(&run.out_of_memory)
               ? error_set(err, STATUS_FAILED, "not enough memory for pre-activations")
               : parallel_cancelled(err);
}

size_t scan_count(const struct scan *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_row_tiles * s->n_groups; i++)
        n += s->lists[i].n;
    return n;
}

struct rows_run {
    const struct scan *scan;
    scan_keep *keep;
    const void *arg;
    struct sparse_rows *out;
};

static float kept_value(const struct rows_run *run, const struct scan_pair *pair)
{
    return run->keep ? run->keep(pair, run->arg) : pair->value;
}

/* Counts each row's pairs into offsets[row + 1]. */
static void count_rows(size_t row_tile, size_t worker, void *arg)
{
    (void)worker;
    struct rows_run *run = arg;
    const struct scan *s = run->scan;
    for (size_t g = 0; g < s->n_groups; g++) {
        const struct scan_list *list = &s->lists[row_tile * s->n_groups + g];
        for (size_t i = 0; i < list->n; i++)
            run->out->offsets[list->pairs[i].row + 1] += s->k || kept_value(run, &list->pairs[i]) != 0;
    }
}

/* Puts the pairs where they belong: offsets[row] is where the row's next pair goes, in the end the row's end.
 */
static void place_rows(size_t row_tile, size_t worker, void *arg)
{
    (void)worker;
    struct rows_run *run = arg;
    const struct scan *s = run->scan;
    for (size_t g = 0; g < s->n_groups; g++) {
        const struct scan_list *list = &s->lists[row_tile * s->n_groups + g];
        for (size_t i = 0; i < list->n; i++) {
            const struct scan_pair *pair = &list->pairs[i];
            float value = s->k ? pair->value : kept_value(run, pair);
            if (value == 0)
                continue;
            size_t at = run->out->offsets[pair->row]++;
            run->out->latents[at] = pair->latent;
            run->out->values[at] = value;
        }
    }
}

/* Of every row the k largest of what its cells gave, and the rows closed up. */
static void merge_best(const struct scan *s, struct sparse_rows *out, float *values)
{
    size_t end = 0, start = 0;
    for (size_t r = 0; r < s->n; r++) {
        size_t stop = out->offsets[r + 1], n = stop - start, equal = s->k;
        float edge = 0;
        if (n > s->k) {
            memcpy(values, out->values + start, n * sizeof *values);
            edge = kth_largest(values, n, s->k);
            for (size_t i = start; i < stop; i++)
                equal -= out->values[i] > edge;
        }
        for (size_t i = start; i < stop; i++) {
            if (n > s->k && !(out->values[i] > edge)) {
                if (out->values[i] < edge || equal == 0)
                    continue;
                equal--;
            }
            out->latents[end] = out->latents[i];
            out->values[end++] = out->values[i];
        }
        start = stop;
        out->offsets[r + 1] = end;
    }
}

int scan_rows(const struct scan *s, scan_keep *keep, const void *arg, struct sparse_rows *out,
              struct error *err)
{
    struct rows_run run = {s, keep, arg, out};
    int status = sparse_rows_reserve(out, s->n, scan_count(s), err);
    if (status)
        return status;
    out->n_rows = s->n;
    memset(out->offsets, 0, (s->n + 1) * sizeof *out->offsets);
    parallel_for(s->n_row_tiles, count_rows, &run);
    size_t widest = 0;
    for (size_t r = 0; r < s->n; r++) {
        widest = out->offsets[r + 1] > widest ? out->offsets[r + 1] : widest;
        out->offsets[r + 1] += out->offsets[r];
    }
    parallel_for(s->n_row_tiles, place_rows, &run);
    if ((status = parallel_cancelled(err)))
        return status;
    memmove(out->offsets + 1, out->offsets, s->n * sizeof *out->offsets);
    out->offsets[0] = 0;
    if (!s->k)
        return STATUS_OK;
    float *values = array_alloc(widest, sizeof *values, "activations", err);
    if (!values)
        return STATUS_FAILED;
    merge_best(s, out, values);
    free(values);
    return STATUS_OK;
}
