/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The parts that transformers are made of. Dense products are OpenBLAS's; everything else works on rows in
 * blocks over the pool, four numbers at a time (compilers do not vectorise sums and exponentials at -O2 on
 * their own).
 */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"
#include "saescope/model/family.h"

#define ROWS_PER_BLOCK 32

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

static inline v4 load(const float *p)
{
    v4 x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void save(float *p, v4 x)
{
    memcpy(p, &x, sizeof x);
}

static inline v4 all(float x)
{
    return (v4){x, x, x, x};
}

static inline v4 choose(v4i mask, v4 yes, v4 no)
{
    return (v4)((mask & (v4i)yes) | (~mask & (v4i)no));
}

static inline float sum(v4 x)
{
    return (x[0] + x[1]) + (x[2] + x[3]);
}

/*
 * exp(x) for x in [-87, 88], outside of it the bound's: x = n·ln 2 + r with |r| ≤ ½ ln 2, exp(r) by its
 * Taylor series (the first term left out is under 6e-9), 2ⁿ by the exponent's bits.
 */
static inline v4 exp4(v4 x)
{
    const float round_to_integer = 12582912.0f; /* 1.5·2²³: adding it leaves no bits for a fraction */
    x = choose(x > all(-87.0f), x, all(-87.0f));
    x = choose(x < all(88.0f), x, all(88.0f));
    v4 shifted = x * all(1.44269504f) + all(round_to_integer);
    v4 n = shifted - all(round_to_integer);
    /* ln 2 in two parts, the first with few enough bits for n·part to be exact. */
    v4 r = x - n * all(0.693359375f) + n * all(2.12194440e-4f);
    v4 p = all(1.0f / 5040);
    p = p * r + all(1.0f / 720);
    p = p * r + all(1.0f / 120);
    p = p * r + all(1.0f / 24);
    p = p * r + all(1.0f / 6);
    p = p * r + all(0.5f);
    p = p * (r * r) + r + all(1.0f);
    v4i exponent = ((v4i)shifted - (v4i)all(round_to_integer) + 127) << 23;
    return p * (v4)exponent;
}

struct rows {
    const float *x, *y, *scale, *shift;
    float *out;
    size_t n, width;
    double epsilon;
    const struct pass *pass;
    const struct weight *tokens, *positions;
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

/* ---- Weights. ---- */

const float *weight_vector(const struct weight *w)
{
    return w->blocks[0];
}

const float *weight_row(const struct weight *w, size_t row)
{
    return w->blocks[row / w->rows_per_block] + row % w->rows_per_block * w->columns;
}

static size_t weight_block_rows(const struct weight *w, size_t block)
{
    size_t first = block * w->rows_per_block;
    return w->rows - first < w->rows_per_block ? w->rows - first : w->rows_per_block;
}

static void fill_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++)
        memcpy(r->out + i * r->width, r->x, r->width * sizeof(float));
}

/* A weight in several blocks is cut along the sum: every block adds its part. */
void linear(const struct weight *w, const struct weight *bias, const float *x, size_t n, float *y)
{
    if (bias) {
        struct rows rows = {.x = weight_vector(bias), .out = y, .n = n, .width = w->columns};
        over_rows(&rows, fill_block);
    }
    for (size_t b = 0; b < w->n_blocks; b++)
        parallel_sgemm_nn(n, w->columns, weight_block_rows(w, b), 1.0f, x + b * w->rows_per_block, w->rows,
                          w->blocks[b], w->columns, b || bias ? 1.0f : 0.0f, y, w->columns);
}

void linear_transposed(const struct weight *w, const float *x, size_t n, float *y, size_t ldy)
{
    for (size_t b = 0; b < w->n_blocks; b++)
        parallel_sgemm_nt(n, weight_block_rows(w, b), w->columns, 1.0f, x, w->columns, w->blocks[b],
                          w->columns, 0.0f, y + b * w->rows_per_block, ldy);
}

/* ---- Rows. ---- */

static void embed_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++) {
        const float *token = weight_row(r->tokens, r->pass->tokens[i]);
        const float *position = weight_row(r->positions, i % r->pass->length);
        float *out = r->out + i * r->width;
        for (size_t j = 0; j < r->width; j++)
            out[j] = token[j] + position[j];
    }
}

void embed_tokens(const struct pass *pass, const struct weight *tokens, const struct weight *positions,
                  float *x)
{
    struct rows rows = {.pass = pass,
                        .tokens = tokens,
                        .positions = positions,
                        .out = x,
                        .n = pass->n_tokens,
                        .width = tokens->columns};
    over_rows(&rows, embed_block);
}

static float row_mean(const float *x, size_t n)
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

static void norm_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++) {
        const float *x = r->x + i * r->width;
        float *out = r->out + i * r->width;
        float mean = row_mean(x, r->width);
        float inverse = (float)(1.0 / sqrt((double)row_variance(x, r->width, mean) + r->epsilon));
        size_t j = 0;
        for (; j + 4 <= r->width; j += 4)
            save(out + j, (load(x + j) - mean) * inverse * load(r->scale + j) + load(r->shift + j));
        for (; j < r->width; j++)
            out[j] = (x[j] - mean) * inverse * r->scale[j] + r->shift[j];
    }
}

void layer_norm(const float *x, size_t n, size_t width, const float *scale, const float *shift,
                double epsilon, float *y)
{
    struct rows rows = {
        .x = x, .scale = scale, .shift = shift, .out = y, .n = n, .width = width, .epsilon = epsilon};
    over_rows(&rows, norm_block);
}

static void add_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    size_t end = block_end(r, block) * r->width, i = block * ROWS_PER_BLOCK * r->width;
    for (; i + 4 <= end; i += 4)
        save(r->out + i, load(r->out + i) + load(r->y + i));
    for (; i < end; i++)
        r->out[i] += r->y[i];
}

void add_rows(float *x, const float *y, size_t n, size_t width)
{
    struct rows rows = {.y = y, .out = x, .n = n, .width = width};
    over_rows(&rows, add_block);
}

static inline v4 gelu4(v4 x)
{
    const float minus_2c = -1.5957691216f; /* −2·√(2/π) */
    return x / (1.0f + exp4(minus_2c * (x + 0.044715f * (x * x * x))));
}

void gelu(float *x, const float *bias, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        save(x + i, gelu4(load(x + i) + load(bias + i)));
    for (; i < n; i++)
        x[i] = gelu4(all(x[i] + bias[i]))[0];
}

static void gelu_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < block_end(r, block); i++)
        gelu(r->out + i * r->width, r->shift, r->width);
}

void gelu_rows(float *x, const float *bias, size_t n, size_t width)
{
    struct rows rows = {.out = x, .shift = bias, .n = n, .width = width};
    over_rows(&rows, gelu_block);
}

/* ---- Attention. ---- */

struct attention {
    const struct pass *pass;
    const float *qkv;
    float *z;
    size_t width, d_head, heads;
};

/* exp(x − max) of the first `valid` scores and zeros after them; returns 1/Σ. */
static float softmax(float *x, size_t valid, size_t n)
{
    float max = x[0];
    for (size_t i = 1; i < valid; i++)
        max = x[i] > max ? x[i] : max;
    v4 total = all(0);
    size_t i = 0;
    float rest = 0;
    for (; i + 4 <= valid; i += 4) {
        v4 e = exp4(load(x + i) - max);
        save(x + i, e);
        total += e;
    }
    for (; i < valid; i++) {
        x[i] = exp4(all(x[i] - max))[0];
        rest += x[i];
    }
    memset(x + valid, 0, (n - valid) * sizeof *x);
    return 1.0f / (sum(total) + rest);
}

static void attention_block(size_t block, size_t worker, void *arg)
{
    const struct attention *a = arg;
    const struct pass *pass = a->pass;
    size_t first = block / a->heads * pass->length, head = block % a->heads, ld = 3 * a->width;
    const float *q = a->qkv + first * ld + head * a->d_head, *k = q + a->width, *v = k + a->width;
    float *z = a->z + first * a->width + head * a->d_head;
    float *scores = pass->worker_scratch + worker * pass->worker_stride;
    float inverse[ATTENTION_TILE];
    for (size_t from = 0; from < pass->length; from += ATTENTION_TILE) {
        size_t n = pass->length - from < ATTENTION_TILE ? pass->length - from : ATTENTION_TILE,
               keys = from + n;
        sgemm_nt(n, keys, a->d_head, 1.0f / sqrtf((float)a->d_head), q + from * ld, ld, k, ld, 0.0f, scores,
                 keys);
        for (size_t i = 0; i < n; i++)
            inverse[i] = softmax(scores + i * keys, from + i + 1, keys);
        sgemm_nn(n, a->d_head, keys, 1.0f, scores, keys, v, ld, 0.0f, z + from * a->width, a->width);
        for (size_t i = 0; i < n; i++) {
            float *row = z + (from + i) * a->width;
            for (size_t j = 0; j < a->d_head; j++)
                row[j] *= inverse[i];
        }
    }
}

void causal_attention(const struct pass *pass, const float *qkv, float *z)
{
    const struct model_config *c = &pass->model->config;
    struct attention a = {
        .pass = pass, .qkv = qkv, .z = z, .width = c->d_model, .d_head = c->d_head, .heads = c->heads};
    parallel_for(pass->n_contexts * c->heads, attention_block, &a);
}
