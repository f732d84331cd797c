/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which latents belong together: by a meta-latent that they share, and by a smaller SAE's latent that both
 * are near to.
 *
 * The second graph's cosine is found exactly: of a pair (i, j) the largest min(cos(i, s), cos(j, s)) over the
 * smaller SAE's latents s says up to which threshold there is an edge, so the threshold with as many edges as
 * the first graph has is an order statistic of these. Cosines are kept as multiples of 1/32767. Memory: a
 * pair is 2 bytes and a bit, 18 MiB for 4,096 rows, and a tile of cosines.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/report_parts.h"
#include "saescope/analysis/row_tiles.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"

enum { TILE_LATENTS = 512, BLOCK = 64, LANES = 32, LEVELS = 65536, ONE = 32767 };

struct graph {
    size_t n, n_pairs;
    uint32_t *rows; /* [n] of the report's rows, ascending */
    float *x;       /* [n, d] unit rows */
    size_t d;
    uint8_t *shares; /* a bit a pair: they share a meta-latent */
    uint64_t edges;
    int16_t *near; /* [n_pairs] largest smaller cosine */
    /* A tile of the smaller SAE's latents. */
    const struct row_tile *tile;
    const float *scale;
    int16_t *cosines; /* [n, TILE_LATENTS] */
    float *products;  /* [threads, BLOCK, TILE_LATENTS] */
};

/* Pairs i < j in order of i, then j. */
static size_t pair_of(const struct graph *g, size_t i, size_t j)
{
    return i * (2 * g->n - i - 1) / 2 + (j - i - 1);
}

/* ---- The meta-SAE's graph. ---- */

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int draw_rows(struct report_work *w, struct graph *g, struct error *err)
{
    struct rng rng;
    uint32_t *all = array_alloc(w->n, sizeof(*all), "rows", err);
    if (!all)
        return STATUS_FAILED;
    for (size_t i = 0; i < w->n; i++)
        all[i] = (uint32_t)i;
    g->n = w->n;
    if (w->n > REPORT_GRAPH_ROWS) {
        g->n = REPORT_GRAPH_ROWS;
        rng_seed(&rng, w->o->seed, 1);
        rng_shuffle(&rng, all, w->n);
        qsort(all, g->n, sizeof(*all), ascending);
    }
    g->rows = all;
    g->n_pairs = g->n * (g->n - 1) / 2;
    return STATUS_OK;
}

/* Members of one meta-latent, pair by pair. */
static void connect(struct graph *g, const uint32_t *members, size_t n)
{
    for (size_t a = 0; a < n; a++)
        for (size_t b = a + 1; b < n; b++) {
            size_t pair = pair_of(g, members[a], members[b]);
            g->edges += !(g->shares[pair / 8] >> pair % 8 & 1);
            g->shares[pair / 8] |= (uint8_t)(1U << pair % 8);
        }
}

/* Sorts the drawn rows' activations by meta-latent. */
static int connect_members(struct report_work *w, struct graph *g, struct error *err)
{
    size_t width = w->out->width, pairs = 0;
    size_t *ends = array_zeroed(width + 1, sizeof(*ends), "members", err);
    if (!ends)
        return STATUS_FAILED;
    for (size_t i = 0; i < g->n; i++)
        for (size_t p = w->f.offsets[g->rows[i]]; p < w->f.offsets[g->rows[i] + 1]; p++, pairs++)
            ends[w->f.latents[p] + 1]++;
    uint32_t *members = array_alloc(pairs + 1, sizeof(*members), "members", err);
    for (size_t m = 0; m < width; m++)
        ends[m + 1] += ends[m];
    for (size_t i = 0; members && i < g->n; i++)
        for (size_t p = w->f.offsets[g->rows[i]]; p < w->f.offsets[g->rows[i] + 1]; p++)
            members[ends[w->f.latents[p]]++] = (uint32_t)i;
    /* Now each meta-latent's entry is where its members end. */
    for (size_t m = 0; members && m < width; m++) {
        size_t from = m ? ends[m - 1] : 0;
        connect(g, members + from, ends[m] - from);
    }
    int status = members ? STATUS_OK : STATUS_FAILED;
    free(members);
    free(ends);
    return status;
}

/* ---- The smaller SAE's graph. ---- */

/* Cosines of a block of rows with the tile. */
static void fill_cosines(size_t block, size_t worker, void *arg)
{
    struct graph *g = arg;
    size_t first = block * BLOCK, n = g->n - first < BLOCK ? g->n - first : BLOCK;
    float *products = g->products + worker * BLOCK * TILE_LATENTS;
    sgemm_nt(n, g->tile->n, g->d, 1, g->x + first * g->d, g->d, g->tile->rows, g->d, 0, products,
             TILE_LATENTS);
    for (size_t i = 0; i < n; i++) {
        int16_t *cosines = g->cosines + (first + i) * TILE_LATENTS;
        for (size_t s = 0; s < TILE_LATENTS; s++) {
            float cosine = -1;
            if (s < g->tile->n)
                cosine = products[i * TILE_LATENTS + s] * g->scale[g->tile->first + s];
            cosine = cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
            cosines[s] = (int16_t)lrintf(cosine * ONE);
        }
    }
}

static int16_t largest_minimum(const int16_t *a, const int16_t *b)
{
    int16_t best[LANES];
    for (size_t l = 0; l < LANES; l++)
        best[l] = -ONE;
    for (size_t s = 0; s < TILE_LATENTS; s += LANES)
        for (size_t l = 0; l < LANES; l++) {
            int16_t least = a[s + l] < b[s + l] ? a[s + l] : b[s + l];
            best[l] = least > best[l] ? least : best[l];
        }
    for (size_t l = 1; l < LANES; l++)
        best[0] = best[l] > best[0] ? best[l] : best[0];
    return best[0];
}

/* Pairs of which the first row is in the block; the second ones block by block, so that they stay in cache.
 */
static void raise_pairs(size_t block, size_t worker, void *arg)
{
    struct graph *g = arg;
    size_t first = block * BLOCK, last = first + BLOCK < g->n ? first + BLOCK : g->n;
    (void)worker;
    for (size_t start = first; start < g->n; start += BLOCK) {
        size_t end = start + BLOCK < g->n ? start + BLOCK : g->n;
        for (size_t i = first; i < last; i++)
            for (size_t j = start > i ? start : i + 1; j < end; j++) {
                int16_t *near = &g->near[pair_of(g, i, j)];
                int16_t value = largest_minimum(g->cosines + i * TILE_LATENTS, g->cosines + j * TILE_LATENTS);
                *near = value > *near ? value : *near;
            }
    }
}

static int compare_with(struct report_work *w, struct graph *g, artifact_id id, struct error *err)
{
    struct store_txn *t;
    struct sae *sae = NULL;
    struct row_tile *tiles = NULL;
    float *scale = NULL;
    size_t n_tiles = 0, blocks = (g->n + BLOCK - 1) / BLOCK;
    int status = store_begin(w->store, &t, err);
    if (status)
        return status;
    status = sae_open(t, id, &sae, err);
    if (!status) {
        tiles = row_tiles(sae, 1, TILE_LATENTS, &n_tiles, err);
        scale = array_alloc(sae->d_sae, sizeof(*scale), "norms", err);
        status = tiles && scale ? STATUS_OK : STATUS_FAILED;
    }
    if (!status)
        row_tiles_scale(tiles, n_tiles, g->d, scale);
    for (size_t p = 0; p < g->n_pairs; p++)
        g->near[p] = -ONE;
    for (size_t i = 0; !status && i < n_tiles; i++) {
        g->tile = &tiles[i];
        g->scale = scale;
        parallel_for(blocks, fill_cosines, g);
        parallel_for(blocks, raise_pairs, g);
        status = monitor_go_on(w->monitor, "comparing graphs", i + 1, n_tiles, err);
    }
    free(tiles);
    free(scale);
    sae_free(sae);
    store_end(t);
    return status;
}

/* The largest level that at least `edges` pairs reach. */
static int level_of(const struct graph *g, uint64_t edges)
{
    uint64_t *counts = xcalloc(LEVELS, sizeof(*counts)), reached = 0;
    int level = ONE;
    for (size_t p = 0; p < g->n_pairs; p++)
        counts[g->near[p] + ONE + 1]++;
    while (level > -ONE && (reached += counts[level + ONE + 1]) < edges)
        level--;
    free(counts);
    return level;
}

static void count_common(struct report_work *w, const struct graph *g, const struct hook_sae *sae)
{
    struct report *r = w->out;
    r->graphs = xreallocarray(r->graphs, r->n_graphs + 1, sizeof(*r->graphs));
    struct report_graph *out = &r->graphs[r->n_graphs++];
    *out = (struct report_graph){.edges = g->edges, .share = NAN, .chance = NAN, .cosine = NAN};
    memcpy(out->name, sae->artifact.name, sizeof(out->name));
    if (g->edges == 0)
        return;
    int level = level_of(g, g->edges);
    for (size_t p = 0; p < g->n_pairs; p++) {
        int is_edge = g->near[p] >= level;
        out->others += (uint64_t)is_edge;
        out->common += is_edge && g->shares[p / 8] >> p % 8 & 1;
    }
    out->cosine = (double)level / ONE;
    out->share = (double)out->common / (double)out->edges;
    out->chance = (double)out->others / (double)g->n_pairs;
}

/* ---- Memory. ---- */

/* Copies a tile's drawn rows. */
static int copy_rows(struct report_work *w, const struct report_tile *tile, void *arg, struct error *err)
{
    struct graph *g = arg;
    (void)w;
    (void)err;
    for (size_t i = 0; i < g->n; i++) {
        size_t row = g->rows[i];
        if (row < tile->first || row >= tile->first + tile->n)
            continue;
        float *to = g->x + i * g->d;
        memcpy(to, tile->x + (row - tile->first) * g->d, g->d * sizeof(float));
        vec_scale((float)(1 / sqrt(vec_norm2(to, g->d))), to, g->d);
    }
    return STATUS_OK;
}

static int open_graph(struct report_work *w, struct graph *g, struct error *err)
{
    g->d = w->rows.d_in;
    int status = draw_rows(w, g, err);
    if (status)
        return status;
    g->x = array_alloc(g->n, g->d * sizeof(float), "decoder rows", err);
    g->shares = array_zeroed(g->n_pairs / 8 + 1, 1, "a graph", err);
    g->near = array_alloc(g->n_pairs + 1, sizeof(*g->near), "a graph", err);
    g->cosines = array_alloc(g->n, TILE_LATENTS * sizeof(*g->cosines), "cosines", err);
    g->products = array_alloc(parallel_threads(), BLOCK * TILE_LATENTS * sizeof(float), "cosines", err);
    if (!g->x || !g->shares || !g->near || !g->cosines || !g->products)
        return STATUS_FAILED;
    status = report_each_tile(w, "comparing graphs", copy_rows, g, err);
    return status ? status : connect_members(w, g, err);
}

int report_graphs(struct report_work *w, struct error *err)
{
    struct graph g = {0};
    int status = open_graph(w, &g, err);
    w->out->graph_rows = g.n;
    for (size_t i = 0; !status && i < w->n_saes; i++) {
        if (!report_is_smaller(w, &w->saes[i]))
            continue;
        status = compare_with(w, &g, w->saes[i].artifact.id, err);
        if (!status)
            count_common(w, &g, &w->saes[i]);
    }
    free(g.rows);
    free(g.x);
    free(g.shares);
    free(g.near);
    free(g.cosines);
    free(g.products);
    return status;
}
