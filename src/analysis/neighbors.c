/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cosines between rows: the nearest latents of one direction, and of every latent of an SAE. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/analysis/nearest.h"
#include "saescope/analysis/row_tiles.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

/* ---- One direction. ---- */

#define SLICE 1024 /* rows a block of parallel_for */

struct slice {
    const float *rows; /* [n, d_in] */
    size_t first, n;
    struct neighbor *best; /* [count], largest first */
    size_t n_best;
};

struct search {
    const float *direction;
    float direction_norm;
    size_t d, exclude, count;
    struct slice *slices;
};

/* Largest cosine first; ties: the lower latent. Latents come in ascending order. */
static void keep_best(struct neighbor *list, size_t *n, size_t count, size_t latent, float cosine)
{
    if (*n == count && cosine <= list[count - 1].cosine)
        return;
    size_t i = *n < count ? (*n)++ : count - 1;
    for (; i > 0 && cosine > list[i - 1].cosine; i--)
        list[i] = list[i - 1];
    list[i] = (struct neighbor){latent, cosine};
}

static void search_slice(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct search *q = arg;
    struct slice *s = &q->slices[block];
    for (size_t j = 0; j < s->n; j++) {
        const float *row = s->rows + j * q->d;
        float norm = sqrtf(vec_dot(row, row, q->d)) * q->direction_norm;
        if (s->first + j != q->exclude)
            keep_best(s->best, &s->n_best, q->count, s->first + j,
                      norm > 0 ? vec_dot(row, q->direction, q->d) / norm : 0);
    }
}

int latent_neighbors(const struct sae *in, const float *direction, size_t exclude, size_t count,
                     struct neighbor *out, size_t *n, struct error *err)
{
    *n = 0;
    if (count > in->d_sae)
        count = in->d_sae;
    if (count == 0)
        return STATUS_OK;
    size_t n_slices = 0;
    for (size_t b = 0; b < in->n_blocks; b++)
        n_slices += (in->blocks[b].n + SLICE - 1) / SLICE;
    size_t total;
    struct slice *slices = array_zeroed(n_slices, sizeof(*slices), "slices", err);
    struct neighbor *best =
        size_multiply(n_slices, count, &total) ? NULL : array_alloc(total, sizeof(*best), "neighbors", err);
    if (!slices || !best) {
        free(slices);
        free(best);
        return error_set(err, STATUS_FAILED, "not enough memory for %zu neighbors", count);
    }
    size_t k = 0;
    for (size_t b = 0; b < in->n_blocks; b++) {
        const struct sae_block *block = &in->blocks[b];
        for (size_t start = 0; start < block->n; start += SLICE, k++)
            slices[k] = (struct slice){.rows = block->W_dec + start * in->d_in,
                                       .first = block->first + start,
                                       .n = block->n - start < SLICE ? block->n - start : SLICE,
                                       .best = best + k * count};
    }
    struct search q = {direction, sqrtf(vec_dot(direction, direction, in->d_in)), in->d_in, exclude, count,
                       slices};
    parallel_for(n_slices, search_slice, &q);
    for (size_t s = 0; s < n_slices; s++)
        for (size_t i = 0; i < slices[s].n_best; i++)
            keep_best(out, n, count, slices[s].best[i].latent, slices[s].best[i].cosine);
    free(slices);
    free(best);
    return STATUS_OK;
}

/* ---- All of one SAE against all of another, in tiles of products. ---- */

#define TILE_A  256
#define TILE_B  1024
/* Tiles between two looks at the monitor: of b, and of a for each thread, so that a busy processor holds the others up less. */
#define GROUP_B 2
#define GROUP_A 4

struct pair_list {
    struct near_pair {
        uint32_t a, b;
        float cosine;
    } * pairs;
    size_t n, capacity;
};

struct comparison {
    const struct row_tile *a, *b;
    size_t n_b, d;
    int same;                       /* a row is not its own neighbour */
    const float *a_scale, *b_scale; /* 1/norm, 0 for zero rows */
    float *products;                /* [threads, TILE_A, TILE_B] */
    uint32_t *nearest;
    float *cosine;
    float over;              /* cosines of pairs that are listed; INFINITY: none */
    struct pair_list *lists; /* of a's tiles */
};

static void keep_pair(struct pair_list *list, size_t a, size_t b, float cosine)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 1024;
        list->pairs = xreallocarray(list->pairs, list->capacity, sizeof(*list->pairs));
    }
    list->pairs[list->n++] = (struct near_pair){(uint32_t)a, (uint32_t)b, cosine};
}

static void compare_tile(size_t block, size_t worker, void *arg)
{
    const struct comparison *c = arg;
    const struct row_tile *a = &c->a[block];
    float *products = c->products + worker * TILE_A * TILE_B;
    for (size_t k = 0; k < c->n_b; k++) {
        const struct row_tile *b = &c->b[k];
        sgemm_nt(a->n, b->n, c->d, 1, a->rows, c->d, b->rows, c->d, 0, products, TILE_B);
        for (size_t i = 0; i < a->n; i++) {
            size_t row = a->first + i;
            float best = c->cosine[row];
            for (size_t j = 0; j < b->n; j++) {
                float cosine = products[i * TILE_B + j] * c->a_scale[row] * c->b_scale[b->first + j];
                if (cosine > best && !(c->same && b->first + j == row)) {
                    best = cosine;
                    c->nearest[row] = (uint32_t)(b->first + j);
                }
                if (cosine > c->over && !(c->same && b->first + j == row))
                    keep_pair(&c->lists[block], row, b->first + j, cosine);
            }
            c->cosine[row] = best;
        }
    }
}

/* The largest float that is not over x: a float is over x when it is over this. */
static float float_below(double x)
{
    float f = (float)x;
    return (double)f > x ? nextafterf(f, -INFINITY) : f;
}

static void tell_pairs(struct pair_list *lists, size_t n, const struct near_pairs *pairs)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < lists[i].n; j++)
            pairs->found(pairs->arg, lists[i].pairs[j].a, lists[i].pairs[j].b, lists[i].pairs[j].cosine);
        lists[i].n = 0;
    }
}

/* A few tiles of either at a time, so that it can be cancelled. */
static int compare_all(const struct comparison *all, size_t n_a, const struct near_pairs *pairs,
                       struct monitor *m, struct error *err)
{
    size_t step = GROUP_A * parallel_threads();
    struct pair_list *lists = xcalloc(step, sizeof(*lists));
    int status = STATUS_OK;
    for (size_t first = 0; !status && first < n_a; first += step) {
        size_t n = n_a - first < step ? n_a - first : step;
        for (size_t k = 0; !status && k < all->n_b; k += GROUP_B) {
            struct comparison c = *all;
            c.a += first;
            c.b += k;
            c.n_b = all->n_b - k < GROUP_B ? all->n_b - k : GROUP_B;
            c.lists = lists;
            parallel_for(n, compare_tile, &c);
            if (pairs)
                tell_pairs(lists, n, pairs);
            status = monitor_check(m, err);
        }
        monitor_step(m, "comparing", first + n, n_a);
    }
    for (size_t i = 0; i < step; i++)
        free(lists[i].pairs);
    free(lists);
    return status;
}

int nearest_rows_and_pairs(const struct sae *a, const struct sae *b, int decoder, struct monitor *m,
                           uint32_t *nearest, float *cosine, const struct near_pairs *pairs,
                           struct error *err)
{
    if (a->d_in != b->d_in)
        return error_set(err, STATUS_REFUSED, "their rows have %zu and %zu numbers: cosines need the same",
                         a->d_in, b->d_in);
    size_t n_a, n_b;
    struct row_tile *tiles_a = row_tiles(a, decoder, TILE_A, &n_a, err);
    struct row_tile *tiles_b = row_tiles(b, decoder, TILE_B, &n_b, err);
    float *a_scale = array_alloc(a->d_sae, sizeof(float), "norms", err);
    float *b_scale = array_alloc(b->d_sae, sizeof(float), "norms", err);
    float *products = array_alloc(parallel_threads(), TILE_A * TILE_B * sizeof(float), "cosines", err);
    int status = tiles_a && tiles_b && a_scale && b_scale && products ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        row_tiles_scale(tiles_a, n_a, a->d_in, a_scale);
        row_tiles_scale(tiles_b, n_b, b->d_in, b_scale);
        for (size_t i = 0; i < a->d_sae; i++) {
            nearest[i] = 0;
            cosine[i] = -INFINITY;
        }
        struct comparison c = {.a = tiles_a,
                               .b = tiles_b,
                               .n_b = n_b,
                               .d = a->d_in,
                               .same = a == b || (a->id && a->id == b->id),
                               .a_scale = a_scale,
                               .b_scale = b_scale,
                               .products = products,
                               .nearest = nearest,
                               .cosine = cosine,
                               .over = pairs ? float_below(pairs->over) : INFINITY};
        status = compare_all(&c, n_a, pairs, m, err);
    }
    free(tiles_a);
    free(tiles_b);
    free(a_scale);
    free(b_scale);
    free(products);
    return status;
}

int nearest_rows(const struct sae *a, const struct sae *b, int decoder, struct monitor *m, uint32_t *nearest,
                 float *cosine, struct error *err)
{
    return nearest_rows_and_pairs(a, b, decoder, m, nearest, cosine, NULL, err);
}

int nearest_latents(const struct sae *a, const struct sae *b, struct monitor *m, uint32_t *nearest,
                    float *cosine, struct error *err)
{
    return nearest_rows(a, b, 1, m, nearest, cosine, err);
}
