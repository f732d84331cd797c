/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Embeddings, norms and sums over rows, in blocks over the pool. */
#include "config.h"

#include <math.h>

#include "saescope/base/parallel.h"
#include "saescope/model/parts.h"
#include "saescope/model/lanes.h"

#define ROWS_PER_BLOCK 32

struct rows {
    const float *x;
    float *out;
    size_t n, width;
    const struct norm *norm;
    const struct pass *pass;
};

static void over_rows(struct rows *rows, void (*fn)(size_t block, size_t worker, void *arg))
{
    parallel_for((rows->n + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK, fn, rows);
}

static size_t block_end(const struct rows *rows, size_t block)
{
    size_t end = (block + 1) * ROWS_PER_BLOCK;
    return end < rows->n ? end : rows->n;
}

/* ---- Embeddings. ---- */

static void embed_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    const struct weight *tokens = model_weight(r->pass->model, ROLE_EMBED, 0);
    float scale = (float)r->pass->model->config.embed_scale;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++) {
        float *out = r->out + i * r->width;
        weight_row(tokens, r->pass->tokens[i], out);
        for (size_t j = 0; j < r->width; j++)
            out[j] *= scale;
    }
}

static void position_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    const struct weight *positions = model_weight(r->pass->model, ROLE_POSITIONS, 0);
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++)
        weight_row(positions, i % r->pass->length, r->out + i * r->width);
}

void embed_tokens(const struct pass *pass, float *x)
{
    struct rows rows = {.pass = pass, .out = x, .n = pass->n_tokens, .width = pass->model->config.d_model};
    over_rows(&rows, embed_block);
}

void embed_positions(const struct pass *pass, float *x)
{
    struct rows rows = {.pass = pass, .out = x, .n = pass->n_tokens, .width = pass->model->config.d_model};
    over_rows(&rows, position_block);
}

/* ---- Norms. ---- */

struct norm norm_of(const struct model *m, const struct weight *scale, const struct weight *shift)
{
    return (struct norm){.layer_norm = m->config.layer_norm,
                         .adds_one = m->family->norm_adds_one,
                         .epsilon = m->config.norm_epsilon,
                         .scale = scale ? weight_vector(scale) : NULL,
                         .shift = shift ? weight_vector(shift) : NULL};
}

static float mean_of(const float *x, size_t n)
{
    v4 a = all(0), b = all(0);
    size_t i = 0;
    float rest = 0;
    for (; i + 8 <= n; i += 8) {
        a += load(x + i);
        b += load(x + i + 4);
    }
    for (; i < n; i++)
        rest += x[i];
    return (sum(a + b) + rest) / (float)n;
}

/* With mean 0, the mean square. */
static float row_variance(const float *x, size_t n, float mean)
{
    v4 a = all(0), b = all(0);
    size_t i = 0;
    float rest = 0;
    for (; i + 8 <= n; i += 8) {
        v4 p = load(x + i) - mean, q = load(x + i + 4) - mean;
        a += p * p;
        b += q * q;
    }
    for (; i < n; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    return (sum(a + b) + rest) / (float)n;
}

static void affine_row(const struct norm *norm, const float *x, float mean, float inverse, size_t width,
                       float *out)
{
    float one = norm->adds_one ? 1.0f : 0.0f;
    size_t j = 0;
    if (!norm->scale) {
        for (; j < width; j++)
            out[j] = (x[j] - mean) * inverse;
    } else if (!norm->shift) {
        for (; j + 4 <= width; j += 4)
            save(out + j, (load(x + j) - mean) * inverse * (one + load(norm->scale + j)));
        for (; j < width; j++)
            out[j] = (x[j] - mean) * inverse * (one + norm->scale[j]);
    } else {
        for (; j + 4 <= width; j += 4)
            save(out + j,
                 (load(x + j) - mean) * inverse * (one + load(norm->scale + j)) + load(norm->shift + j));
        for (; j < width; j++)
            out[j] = (x[j] - mean) * inverse * (one + norm->scale[j]) + norm->shift[j];
    }
}

static void norm_row(const struct norm *norm, const float *x, size_t width, float *out)
{
    float mean = norm->layer_norm ? mean_of(x, width) : 0.0f;
    float inverse = (float)(1.0 / sqrt((double)row_variance(x, width, mean) + norm->epsilon));
    affine_row(norm, x, mean, inverse, width, out);
}

void rms_norm_row(const struct norm *norm, float *x, size_t width)
{
    norm_row(&(struct norm){0, norm->adds_one, norm->epsilon, norm->scale, NULL}, x, width, x);
}

static void norm_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++)
        norm_row(r->norm, r->x + i * r->width, r->width, r->out + i * r->width);
}

void norm_rows(const struct norm *norm, const float *x, size_t n, size_t width, float *y)
{
    struct rows rows = {.norm = norm, .x = x, .out = y, .n = n, .width = width};
    over_rows(&rows, norm_block);
}

static void affine_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++)
        affine_row(r->norm, r->x + i * r->width, 0.0f, 1.0f, r->width, r->out + i * r->width);
}

void norm_affine(const struct norm *norm, float *x, size_t n, size_t width)
{
    struct rows rows = {.norm = norm, .x = x, .out = x, .n = n, .width = width};
    over_rows(&rows, affine_block);
}

/* ---- Sums. ---- */

static void add_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    size_t end = block_end(r, block) * r->width, i = block * ROWS_PER_BLOCK * r->width;
    for (; i + 4 <= end; i += 4)
        save(r->out + i, load(r->out + i) + load(r->x + i));
    for (; i < end; i++)
        r->out[i] += r->x[i];
}

void add_rows(float *x, const float *y, size_t n, size_t width)
{
    struct rows rows = {.x = y, .out = x, .n = n, .width = width};
    over_rows(&rows, add_block);
}
