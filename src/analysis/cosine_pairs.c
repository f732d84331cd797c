/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pairs of rows with a large cosine: products find them in single precision, the cosine proper decides. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cosine_pairs.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

#define ROWS    256
#define LATENTS 1024
#define SLACK   1e-4F /* what the products may be wrong by */

void cosine_pairs_free(struct cosine_pairs *p)
{
    free(p->items);
    memset(p, 0, sizeof *p);
}

float row_cosine(const float *a, const float *b, size_t d)
{
    double dot = 0, norm_a = 0, norm_b = 0;
    for (size_t i = 0; i < d; i++) {
        double x = (double)a[i], y = (double)b[i];
        dot += x * y;
        norm_a += x * x;
        norm_b += y * y;
    }
    return norm_a > 0 && norm_b > 0 ? (float)(dot / sqrt(norm_a * norm_b)) : 0;
}

/* Latents [first, first + n) of one block of the SAE. */
struct tile {
    const float *decoder;
    size_t first, n;
    struct cosine_pairs found;
    int overflow;
};

struct search {
    const float *rows;  /* [n_rows ≤ ROWS, d] */
    const float *scale; /* [n_rows]: 1/norm, 0 for zero rows */
    size_t first_row, n_rows, d, most;
    double threshold;
    struct tile *tiles;
    float *products; /* [threads, ROWS, LATENTS] */
};

static float scale_of(const float *row, size_t d)
{
    double norm = sqrt(vec_norm2(row, d));
    return norm > 0 ? (float)(1 / norm) : 0;
}

static void add_pair(struct cosine_pairs *p, struct cosine_pair pair)
{
    if (p->n == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 64;
        p->items = xreallocarray(p->items, p->capacity, sizeof *p->items);
    }
    p->items[p->n++] = pair;
}

static void search_tile(size_t block, size_t worker, void *arg)
{
    const struct search *s = arg;
    struct tile *tile = &s->tiles[block];
    float *products = s->products + worker * ROWS * LATENTS;
    float bound = (float)s->threshold - SLACK;
    sgemm_nt(s->n_rows, tile->n, s->d, 1, s->rows, s->d, tile->decoder, s->d, 0, products, LATENTS);
    for (size_t j = 0; j < tile->n; j++) {
        const float *latent = tile->decoder + j * s->d;
        float scale = scale_of(latent, s->d);
        for (size_t i = 0; i < s->n_rows; i++) {
            if (products[i * LATENTS + j] * scale * s->scale[i] <= bound)
                continue;
            float cosine = row_cosine(s->rows + i * s->d, latent, s->d);
            if ((double)cosine <= s->threshold)
                continue;
            if (tile->found.n >= s->most) {
                tile->overflow = 1;
                return;
            }
            add_pair(&tile->found,
                     (struct cosine_pair){(uint32_t)(s->first_row + i), (uint32_t)(tile->first + j), cosine});
        }
    }
}

static struct tile *cut(const struct sae *in, size_t *n, struct error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < in->n_blocks; i++)
        count += (in->blocks[i].n + LATENTS - 1) / LATENTS;
    struct tile *tiles = array_zeroed(count, sizeof *tiles, "tiles", err);
    *n = 0;
    for (size_t i = 0; tiles && i < in->n_blocks; i++) {
        const struct sae_block *block = &in->blocks[i];
        for (size_t start = 0; start < block->n; start += LATENTS)
            tiles[(*n)++] = (struct tile){.decoder = block->W_dec + start * in->d_in,
                                          .first = block->first + start,
                                          .n = block->n - start < LATENTS ? block->n - start : LATENTS};
    }
    return tiles;
}

static int by_row(const void *a, const void *b)
{
    const struct cosine_pair *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

/* Some rows against all tiles, as many at a time as there are threads, so that it can be cancelled. */
static int search_rows(struct search *s, size_t n_tiles, struct monitor *m, struct cosine_pairs *out,
                       struct error *err)
{
    size_t step = parallel_threads(), before = out->n;
    struct tile *all = s->tiles;
    int status = STATUS_OK;
    for (size_t first = 0; !status && first < n_tiles; first += step) {
        size_t n = n_tiles - first < step ? n_tiles - first : step;
        s->tiles = all + first;
        s->most -= out->n;
        parallel_for(n, search_tile, s);
        s->most += out->n;
        for (size_t k = 0; k < n; k++) {
            struct tile *tile = &all[first + k];
            if (!status && (tile->overflow || tile->found.n > s->most - out->n))
                status = error_set(err, STATUS_REFUSED, "more than %zu pairs have a cosine over %g", s->most,
                                   s->threshold);
            for (size_t i = 0; !status && i < tile->found.n; i++)
                add_pair(out, tile->found.items[i]);
            cosine_pairs_free(&tile->found);
        }
        if (!status)
            status = monitor_check(m, err);
    }
    s->tiles = all;
    if (out->n > before)
        qsort(out->items + before, out->n - before, sizeof *out->items, by_row);
    return status;
}

int cosine_pairs_find(const float *rows, size_t n, const struct sae *in, double threshold, size_t most,
                      struct monitor *m, struct cosine_pairs *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    if (n == 0)
        return STATUS_OK;
    size_t d = in->d_in, n_tiles;
    float scale[ROWS];
    struct search s = {.scale = scale, .d = d, .most = most, .threshold = threshold};
    s.tiles = cut(in, &n_tiles, err);
    s.products = array_alloc(parallel_threads(), ROWS * LATENTS * sizeof(float), "cosines", err);
    int status = s.tiles && s.products ? STATUS_OK : STATUS_FAILED;
    for (size_t first = 0; !status && first < n; first += ROWS) {
        s.rows = rows + first * d;
        s.first_row = first;
        s.n_rows = n - first < ROWS ? n - first : ROWS;
        for (size_t i = 0; i < s.n_rows; i++)
            scale[i] = scale_of(s.rows + i * d, d);
        status = search_rows(&s, n_tiles, m, out, err);
    }
    free(s.tiles);
    free(s.products);
    if (status)
        cosine_pairs_free(out);
    return status;
}
