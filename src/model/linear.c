/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products with weights in the store's map. Float32 weights go to OpenBLAS as they lie there. Those of 16
 * bits are cut into tiles: a worker widens a tile in its scratch and multiplies it with up to TILE_TOKENS
 * rows, so that a pass needs a few megabytes a worker and no second copy of the model. Tiles follow from the
 * shapes alone: results do not depend on the number of threads.
 */
#include "config.h"

#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"
#include "saescope/model/parts.h"

#define TILE_FLOATS  ((size_t)1 << 20)
#define TILE_OUTPUTS ((size_t)128)
#define TILE_TOKENS  ((size_t)512)
#define TILE_STEP    ((size_t)16) /* outputs: narrower tiles make poor products */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

const float *weight_vector(const struct weight *w)
{
    return w->blocks[0];
}

/* n numbers of a row from column `from`, widened. */
static void row_part(const struct weight *w, size_t row, size_t from, size_t n, float *out)
{
    size_t at = row % w->rows_per_block * w->columns + from;
    floats_from(w->dtype, (const char *)w->blocks[row / w->rows_per_block] + at * dtype_size(w->dtype), out,
                n);
}

void weight_row(const struct weight *w, size_t row, float *out)
{
    row_part(w, row, 0, w->columns, out);
}

static size_t block_rows(const struct weight *w, size_t block)
{
    return smaller(w->rows - block * w->rows_per_block, w->rows_per_block);
}

struct product {
    const struct workspace *workspace;
    const struct weight *w;
    const float *bias; /* or NULL */
    const float *x;
    float *y;
    size_t n, inputs, outputs, ldy;
    size_t tile; /* outputs of one */
    size_t token_parts;
};

/* ---- Float32, straight from the map. ---- */

#define FILL_ROWS 32

static void fill_block(size_t block, size_t worker, void *arg)
{
    const struct product *p = arg;
    (void)worker;
    for (size_t i = block * FILL_ROWS; i < smaller(p->n, (block + 1) * FILL_ROWS); i++)
        memcpy(p->y + i * p->ldy, p->bias, p->outputs * sizeof(float));
}

static void multiply_mapped(struct product *p)
{
    const struct weight *w = p->w;
    if (p->bias)
        parallel_for((p->n + FILL_ROWS - 1) / FILL_ROWS, fill_block, p);
    for (size_t b = 0; b < w->n_blocks; b++) {
        size_t first = b * w->rows_per_block;
        /* Cut along the inputs, every block adds its part to the sum; along the outputs, it fills its own. */
        if (w->in_out)
            parallel_sgemm_nn(p->n, p->outputs, block_rows(w, b), 1.0f, p->x + first, p->inputs, w->blocks[b],
                              w->columns, b || p->bias ? 1.0f : 0.0f, p->y, p->ldy);
        else
            parallel_sgemm_nt(p->n, block_rows(w, b), p->inputs, 1.0f, p->x, p->inputs, w->blocks[b],
                              p->inputs, p->bias ? 1.0f : 0.0f, p->y + first, p->ldy);
    }
}

/* ---- 16 bits. ---- */

/* Outputs of a tile that fits TILE_FLOATS, or of the least width. */
static size_t tile_outputs(size_t inputs)
{
    size_t fit = TILE_FLOATS / inputs / TILE_STEP * TILE_STEP;
    return fit < TILE_STEP ? TILE_STEP : smaller(fit, TILE_OUTPUTS);
}

size_t linear_scratch(size_t inputs)
{
    size_t least = inputs * TILE_STEP;
    return least > TILE_FLOATS ? least : TILE_FLOATS;
}

static void out_in_tile(const struct product *p, size_t first, size_t outputs, const float *x, size_t n,
                        float *y, float *tile)
{
    for (size_t i = 0; i < outputs; i++)
        weight_row(p->w, first + i, tile + i * p->inputs);
    sgemm_nt(n, outputs, p->inputs, 1.0f, x, p->inputs, tile, p->inputs, p->bias ? 1.0f : 0.0f, y, p->ldy);
}

static void in_out_tile(const struct product *p, size_t first, size_t outputs, const float *x, size_t n,
                        float *y, float *tile)
{
    size_t step = TILE_FLOATS / outputs;
    for (size_t from = 0; from < p->inputs; from += step) {
        size_t inputs = smaller(step, p->inputs - from);
        for (size_t i = 0; i < inputs; i++)
            row_part(p->w, from + i, first, outputs, tile + i * outputs);
        sgemm_nn(n, outputs, inputs, 1.0f, x + from, p->inputs, tile, outputs, from || p->bias ? 1.0f : 0.0f,
                 y, p->ldy);
    }
}

static void multiply_tile(size_t block, size_t worker, void *arg)
{
    const struct product *p = arg;
    size_t first = block / p->token_parts * p->tile, token = block % p->token_parts * TILE_TOKENS;
    size_t outputs = smaller(p->tile, p->outputs - first), n = smaller(TILE_TOKENS, p->n - token);
    const float *x = p->x + token * p->inputs;
    float *y = p->y + token * p->ldy + first, *tile = p->workspace->floats + worker * p->workspace->stride;
    for (size_t i = 0; p->bias && i < n; i++)
        memcpy(y + i * p->ldy, p->bias + first, outputs * sizeof *y);
    (p->w->in_out ? in_out_tile : out_in_tile)(p, first, outputs, x, n, y, tile);
}

void linear(const struct workspace *workspace, const struct weight *w, const struct weight *bias,
            const float *x, size_t n, float *y, size_t ldy)
{
    struct product p = {.workspace = workspace,
                        .w = w,
                        .bias = bias ? weight_vector(bias) : NULL,
                        .x = x,
                        .y = y,
                        .n = n,
                        .inputs = w->in_out ? w->rows : w->columns,
                        .outputs = w->in_out ? w->columns : w->rows,
                        .ldy = ldy};
    if (w->dtype == DTYPE_F32) {
        multiply_mapped(&p);
        return;
    }
    p.tile = w->in_out ? TILE_OUTPUTS : tile_outputs(p.inputs);
    p.token_parts = (n + TILE_TOKENS - 1) / TILE_TOKENS;
    parallel_for((p.outputs + p.tile - 1) / p.tile * p.token_parts, multiply_tile, &p);
}
