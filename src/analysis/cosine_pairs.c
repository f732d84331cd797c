/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pairs of rows with a large cosine: products find them in single precision, the cosine proper decides. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cosine_pairs.h"
#include "saescope/analysis/row_tiles.h"
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

/* The pairs of one tile. */
struct found {
    struct cosine_pairs pairs;
    int overflow;
};

struct search {
    const float *rows;  /* [n_rows ≤ ROWS, d] */
    const float *scale; /* [n_rows]: 1/norm, 0 for zero rows */
    size_t first_row, n_rows, d, most;
    double threshold;
    const struct row_tile *tiles;
    struct found *found; /* [tiles that are searched at a time] */
    float *products; /* [threads, ROWS, LATENTS] */
};

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
    const struct row_tile *tile = &s->tiles[block];
    struct found *found = &s->found[block];
    float *products = s->products + worker * ROWS * LATENTS;
    float bound = (float)s->threshold - SLACK;
    sgemm_nt(s->n_rows, tile->n, s->d, 1, s->rows, s->d, tile->rows, s->d, 0, products, LATENTS);
    for (size_t j = 0; j < tile->n; j++) {
        const float *latent = tile->rows + j * s->d;
        float scale = row_scale(latent, s->d);
        for (size_t i = 0; i < s->n_rows; i++) {
            if (products[i * LATENTS + j] * scale * s->scale[i] <= bound)
                continue;
            float cosine = row_cosine(s->rows + i * s->d, latent, s->d);
            if ((double)cosine <= s->threshold)
                continue;
            if (found->pairs.n >= s->most) {
                found->overflow = 1;
                return;
            }
            add_pair(&found->pairs,
                     (struct cosine_pair){(uint32_t)(s->first_row + i), (uint32_t)(tile->first + j), cosine});
        }
    }
}

static int by_row(const void *a, const void *b)
{
    const struct cosine_pair *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

/* Some rows against all tiles, as many at a time as there are threads, so that it can be cancelled. */
static int search_rows(struct search *s, const struct row_tile *tiles, size_t n_tiles, struct monitor *m,
                       struct cosine_pairs *out, struct error *err)
{
    size_t step = parallel_threads(), before = out->n;
    int status = STATUS_OK;
    for (size_t first = 0; !status && first < n_tiles; first += step) {
        size_t n = n_tiles - first < step ? n_tiles - first : step;
        memset(s->found, 0, n * sizeof *s->found);
        s->tiles = tiles + first;
        s->most -= out->n;
        parallel_for(n, search_tile, s);
        s->most += out->n;
        for (size_t k = 0; k < n; k++) {
            struct found *found = &s->found[k];
            if (!status && (found->overflow || found->pairs.n > s->most - out->n))
                status = error_set(err, STATUS_REFUSED, "more than %zu pairs have a cosine over %g", s->most,
                                   s->threshold);
            for (size_t i = 0; !status && i < found->pairs.n; i++)
                add_pair(out, found->pairs.items[i]);
            cosine_pairs_free(&found->pairs);
        }
        if (!status)
            status = monitor_check(m, err);
    }
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
    struct row_tile *tiles = row_tiles(in, 1, LATENTS, &n_tiles, err);
    s.found = array_zeroed(parallel_threads(), sizeof *s.found, "pairs", err);
    s.products = array_alloc(parallel_threads(), ROWS * LATENTS * sizeof(float), "cosines", err);
    int status = tiles && s.found && s.products ? STATUS_OK : STATUS_FAILED;
    for (size_t first = 0; !status && first < n; first += ROWS) {
        s.rows = rows + first * d;
        s.first_row = first;
        s.n_rows = n - first < ROWS ? n - first : ROWS;
        for (size_t i = 0; i < s.n_rows; i++)
            scale[i] = row_scale(s.rows + i * d, d);
        status = search_rows(&s, tiles, n_tiles, m, out, err);
    }
    free(tiles);
    free(s.found);
    free(s.products);
    if (status)
        cosine_pairs_free(out);
    return status;
}
