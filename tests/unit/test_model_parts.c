/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts that transformers are made of, against plain sums in float64. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/model/parts.h"
#include "tests/support/support.h"

/* What each activation is, in float64. */
static double exact(enum activation kind, double x)
{
    /* ½(1 + tanh u) loses its digits by cancellation below zero, so that side takes the equal e²ᵘ/(1 + e²ᵘ).
     */
    double u = sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x);
    if (kind == ACTIVATION_GELU_TANH)
        return x * (x < 0 ? exp(2 * u) / (1 + exp(2 * u)) : 0.5 * (1 + tanh(u)));
    return kind == ACTIVATION_GELU_ERF ? 0.5 * x * erfc(-x / sqrt(2)) : x / (1 + exp(-x));
}

static void test_activations(void **state)
{
    (void)state;
    enum { N = 40001 }; /* not a multiple of four: the rest is taken singly */
    static const char *const names[ACTIVATIONS] = {"gelu, tanh", "gelu, erf", "silu"};
    float *x = xmalloc(N * sizeof *x), *bias = xmalloc(N * sizeof *bias), *times = xmalloc(N * sizeof *times);
    for (int kind = 0; kind < ACTIVATIONS; kind++) {
        double worst = 0, worst_relative = 0;
        for (size_t i = 0; i < N; i++) {
            x[i] = -20.0f + 40.0f * (float)i / (N - 1);
            bias[i] = 0.25f;
            times[i] = i % 2 ? -2.0f : 0.5f;
        }
        activate((enum activation)kind, x, bias, times, N);
        for (size_t i = 0; i < N; i++) {
            double v = (double)(-20.0f + 40.0f * (float)i / (N - 1) + 0.25f);
            double wanted = exact((enum activation)kind, v), got = (double)x[i] / (double)times[i];
            worst = fmax(worst, fabs(got - wanted) / (1 + fabs(v)));
            if (v > -2)
                worst_relative = fmax(worst_relative, v == 0 ? fabs(got) : fabs(got - wanted) / fabs(wanted));
        }
        print_message("# %s: largest error %.2g of 1 + |x|, %.2g of its value above -2\n", names[kind], worst,
                      worst_relative);
        assert_true(worst < 2e-7);
        assert_true(worst_relative < (kind == ACTIVATION_GELU_ERF ? 1e-5 : 1e-6));
        /* Without bias and factor; far out it is 0 and x. */
        float far[6] = {-1e30f, 1e30f, -100, 100, -INFINITY, 50};
        activate((enum activation)kind, far, NULL, NULL, 4);
        assert_true(fabsf(far[0]) < 1e-6f && far[1] == 1e30f && fabsf(far[2]) < 1e-30f && far[3] == 100);
    }
    free(x);
    free(bias);
    free(times);
}

static void test_soft_cap(void **state)
{
    (void)state;
    enum { N = 2001 };
    float x[N];
    for (size_t i = 0; i < N; i++)
        x[i] = -200.0f + 0.2f * (float)i;
    soft_cap(x, N, 30.0f);
    for (size_t i = 0; i < N; i++) {
        double wanted = 30 * tanh((double)(-200.0f + 0.2f * (float)i) / 30);
        assert_true(fabs((double)x[i] - wanted) < 4e-7 * fabs(wanted) + 1e-12);
    }
}

static void fill(float *x, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
}

/* Weights in several blocks (as a store keeps large ones) in every precision and both layouts, against plain
 * sums. */
static void check_linear(enum dtype dtype, int in_out, int with_bias, size_t n, size_t inputs, size_t outputs)
{
    size_t rows = in_out ? inputs : outputs, columns = in_out ? outputs : inputs, per_block = rows / 3 + 1,
           ldy = outputs + 3;
    float *w = xmalloc(rows * columns * sizeof *w), *bias = xmalloc(outputs * sizeof *bias);
    float *x = xmalloc(n * inputs * sizeof *x), *y = xmalloc(n * ldy * sizeof *y);
    char *stored = xmalloc(rows * columns * sizeof *w);
    struct workspace workspace = {.stride = linear_scratch(inputs)};
    workspace.floats = xmalloc(parallel_threads() * workspace.stride * sizeof(float));
    fill(w, rows * columns, 1);
    fill(bias, outputs, 2);
    fill(x, n * inputs, 3);
    floats_to(dtype, w, stored, rows * columns);
    floats_from(dtype, stored, w, rows * columns);
    memset(y, 0xff, n * ldy * sizeof *y); /* NaNs: nothing of what was there may stay */
    const void *blocks[3], *bias_block[] = {bias};
    for (size_t b = 0; b < 3; b++)
        blocks[b] = stored + b * per_block * columns * dtype_size(dtype);
    struct weight weight = {rows, columns, per_block, 3, blocks, dtype, in_out};
    struct weight vector = {outputs, 0, outputs, 1, bias_block, DTYPE_F32, 0};
    linear(&workspace, &weight, with_bias ? &vector : NULL, x, n, y, ldy);
    for (size_t i = 0; i < n * outputs; i++) {
        size_t row = i / outputs, o = i % outputs;
        double sum = with_bias ? (double)bias[o] : 0;
        for (size_t k = 0; k < inputs; k++)
            sum += (double)x[row * inputs + k] * (double)(in_out ? w[k * outputs + o] : w[o * inputs + k]);
        assert_true(fabs(sum - (double)y[row * ldy + o]) < 2e-6 * (double)inputs + 1e-4);
    }
    for (size_t row = 0; row < n; row++)
        assert_true(isnan(y[row * ldy + outputs])); /* what lies between the rows stays */
    free(workspace.floats);
    free(stored);
    free(w);
    free(bias);
    free(x);
    free(y);
}

static void test_linear(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (size_t d = 0; d < ARRAY_LENGTH(dtypes); d++)
        for (int way = 0; way < 4; way++) {
            check_linear(dtypes[d], way / 2, way % 2, 7, 45, 13);
            check_linear(dtypes[d], way / 2, way % 2, 1030, 40, 150); /* several tiles both ways */
            check_linear(dtypes[d], way / 2, way % 2, 2, 9000,
                         33); /* a tile of few outputs, inputs in two parts */
        }
}

static void test_layer_norm(void **state)
{
    (void)state;
    enum { N = 3, WIDTH = 19 };
    float x[N * WIDTH], scale[WIDTH], shift[WIDTH], y[N * WIDTH];
    fill(x, N * WIDTH, 4);
    fill(scale, WIDTH, 5);
    fill(shift, WIDTH, 6);
    struct norm norm = {.layer_norm = 1, .epsilon = 1e-5, .scale = scale, .shift = shift};
    norm_rows(&norm, x, N, WIDTH, y);
    for (size_t i = 0; i < N; i++) {
        double mean = 0, variance = 0;
        for (size_t j = 0; j < WIDTH; j++)
            mean += (double)x[i * WIDTH + j] / WIDTH;
        for (size_t j = 0; j < WIDTH; j++)
            variance += pow((double)x[i * WIDTH + j] - mean, 2) / WIDTH;
        for (size_t j = 0; j < WIDTH; j++) {
            double wanted = ((double)x[i * WIDTH + j] - mean) / sqrt(variance + 1e-5) * (double)scale[j];
            assert_true(fabs(wanted + (double)shift[j] - (double)y[i * WIDTH + j]) < 1e-5);
        }
    }
}

/* Mean and shift left out, 1 + scale, in place, and in two steps as around a hook. */
static void test_rms_norm(void **state)
{
    (void)state;
    enum { N = 40, WIDTH = 19 };
    float x[N * WIDTH], y[N * WIDTH], scale[WIDTH];
    struct norm norm = {.adds_one = 1, .epsilon = 1e-6, .scale = scale}, bare = {.epsilon = 1e-6};
    fill(x, N * WIDTH, 4);
    fill(scale, WIDTH, 5);
    memcpy(y, x, sizeof y);
    norm_rows(&bare, x, N, WIDTH, y);
    norm_affine(&norm, y, N, WIDTH);
    for (size_t i = 0; i < N; i++) {
        double squares = 0;
        for (size_t j = 0; j < WIDTH; j++)
            squares += pow((double)x[i * WIDTH + j], 2) / WIDTH;
        for (size_t j = 0; j < WIDTH; j++) {
            double wanted = (double)x[i * WIDTH + j] / sqrt(squares + 1e-6) * (1 + (double)scale[j]);
            assert_true(fabs(wanted - (double)y[i * WIDTH + j]) < 1e-5);
        }
    }
    norm_rows(&norm, x, N, WIDTH, x);
    for (size_t i = 0; i < N * WIDTH; i++)
        assert_true(fabs((double)x[i] - (double)y[i]) < 1e-5);
}

/* Angles of positions far out, with every scaling. */
static void test_rotary_table(void **state)
{
    (void)state;
    enum { LENGTH = 3000, DIMS = 12, HALF = DIMS / 2 };
    struct rotary r = {.dims = DIMS,
                       .base = 10000,
                       .factor = 4,
                       .low_frequency_factor = 1,
                       .high_frequency_factor = 4,
                       .original_context = 64};
    float *table = xmalloc(LENGTH * DIMS * sizeof *table);
    for (int scaling = 0; scaling < ROTARY_SCALINGS; scaling++) {
        r.scaling = (enum rotary_scaling)scaling;
        rotary_table(&r, LENGTH, table);
        for (size_t i = 0; i < HALF; i++) {
            double frequency = pow(10000, -2.0 * (double)i / DIMS), wavelength = 2 * acos(-1.0) / frequency;
            double smooth = fmin(1, fmax(0, (64 / wavelength - 1) / (4 - 1)));
            frequency *= scaling == ROTARY_LINEAR   ? 0.25
                         : scaling == ROTARY_LLAMA3 ? (1 - smooth) / 4 + smooth
                                                    : 1;
            for (size_t p = 0; p < LENGTH; p += 499) {
                double angle = (double)p * frequency;
                assert_true(fabs(cos(angle) - (double)table[p * DIMS + i]) < 1e-7 * (double)p + 1e-6);
                assert_true(fabs(sin(angle) - (double)table[p * DIMS + HALF + i]) < 1e-7 * (double)p + 1e-6);
            }
        }
    }
    free(table);
}

struct attention_case {
    size_t heads, kv_heads, window;
    double cap;
    int by_head;
};

enum { ATTENTION_CONTEXTS = 2, ATTENTION_LENGTH = 300, HEAD_WIDTH = 8 };

/* One query's output by plain sums. */
static void plain_attention(const struct attention_case *c, const struct heads *at, const float *context,
                            size_t position, size_t head, double *out)
{
    static double e[ATTENTION_LENGTH];
    size_t first = c->window && position + 1 > c->window ? position + 1 - c->window : 0;
    size_t kv = head / (c->heads / c->kv_heads) * at->kv_step;
    const float *q = context + position * at->row + at->q + head * at->q_step;
    double total = 0;
    memset(out, 0, HEAD_WIDTH * sizeof *out);
    for (size_t k = first; k <= position; k++) {
        const float *key = context + k * at->row + at->k + kv;
        double s = 0;
        for (size_t j = 0; j < HEAD_WIDTH; j++)
            s += (double)q[j] * (double)key[j];
        s /= sqrt(HEAD_WIDTH);
        total += e[k] = exp(c->cap > 0 ? c->cap * tanh(s / c->cap) : s);
    }
    for (size_t k = first; k <= position; k++)
        for (size_t j = 0; j < HEAD_WIDTH; j++)
            out[j] += e[k] / total * (double)context[k * at->row + at->v + kv + j];
}

static void check_attention(const struct attention_case *c)
{
    enum { LENGTH = ATTENTION_LENGTH, N = ATTENTION_CONTEXTS * LENGTH };
    size_t width = c->heads * HEAD_WIDTH, stride = ATTENTION_TILE * LENGTH;
    struct model_family family = {.qkv_by_head = c->by_head};
    struct model m = {.config = {.d_model = width,
                                 .heads = c->heads,
                                 .kv_heads = c->kv_heads,
                                 .d_head = HEAD_WIDTH,
                                 .attention_scale = 1 / sqrt(HEAD_WIDTH),
                                 .attention_cap = c->cap,
                                 .window = c->window},
                      .family = &family};
    struct heads at = heads_layout(&m);
    float *qkv = xmalloc(N * at.row * sizeof *qkv), *z = xmalloc(N * width * sizeof *z);
    float *scratch = xmalloc(parallel_threads() * stride * sizeof *scratch);
    struct pass pass = {.model = &m,
                        .n_contexts = ATTENTION_CONTEXTS,
                        .length = LENGTH,
                        .n_tokens = N,
                        .workspace = {scratch, stride}};
    fill(qkv, N * at.row, 7);
    for (size_t i = 0; i < N * at.row; i++)
        qkv[i] *= 3;
    attend(&pass, &at, c->window != 0, qkv, z);
    for (size_t row = 0; row < N; row++) {
        for (size_t h = 0; h < c->heads; h++) {
            double wanted[HEAD_WIDTH];
            plain_attention(c, &at, qkv + row / LENGTH * LENGTH * at.row, row % LENGTH, h, wanted);
            for (size_t j = 0; j < HEAD_WIDTH; j++)
                assert_true(fabs(wanted[j] - (double)z[row * width + h * HEAD_WIDTH + j]) < 5e-5);
        }
    }
    free(qkv);
    free(z);
    free(scratch);
}

/* Longer than two tiles of queries, with scores far apart, against plain sums. */
static void test_attention(void **state)
{
    (void)state;
    static const struct attention_case cases[] = {
        {2, 2, 0, 0, 0},  {2, 2, 0, 0, 1},   {4, 2, 0, 0, 0},    {4, 1, 1, 0, 0},
        {4, 2, 5, 20, 0}, {2, 1, 130, 0, 0}, {2, 2, 299, 50, 0}, {2, 2, 5000, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        check_attention(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_soft_cap),
        cmocka_unit_test(test_linear),      cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_rms_norm),    cmocka_unit_test(test_rotary_table),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests_name("model parts", tests, set_up_threads, tear_down_threads);
}
