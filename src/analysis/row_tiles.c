/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weights cut into tiles of rows. */
#include "config.h"

#include <math.h>

#include "saescope/analysis/row_tiles.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

struct row_tile *row_tiles(const struct sae *sae, int decoder, size_t height, size_t *n, struct error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < sae->n_blocks; i++)
        count += (sae->blocks[i].n + height - 1) / height;
    struct row_tile *tiles = array_alloc(count, sizeof(*tiles), "tiles", err);
    *n = 0;
    for (size_t i = 0; tiles && i < sae->n_blocks; i++) {
        const struct sae_block *block = &sae->blocks[i];
        const float *rows = decoder ? block->W_dec : block->W_enc;
        for (size_t start = 0; start < block->n; start += height)
            tiles[(*n)++] = (struct row_tile){rows + start * sae->d_in, block->first + start,
                                              block->n - start < height ? block->n - start : height};
    }
    return tiles;
}

float row_scale(const float *row, size_t d)
{
    double norm = sqrt(vec_norm2(row, d));
    return norm > 0 ? (float)(1 / norm) : 0;
}

struct norms {
    const struct row_tile *tiles;
    size_t d;
    float *scale;
};

static void tile_norms(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct norms *q = arg;
    const struct row_tile *tile = &q->tiles[block];
    for (size_t j = 0; j < tile->n; j++)
        q->scale[tile->first + j] = row_scale(tile->rows + j * q->d, q->d);
}

void row_tiles_scale(const struct row_tile *tiles, size_t n, size_t d_in, float *scale)
{
    parallel_for(n, tile_norms, &(struct norms){tiles, d_in, scale});
}
