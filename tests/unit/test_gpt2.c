/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GPT-2: the demo model against float64 references, hooks, and the parts that transformers are made of. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/model/family.h"
#include "tests/support/support.h"
#include "gpt2_golden.h"

#define GOLDEN_TOKENS (GOLDEN_CONTEXTS * GOLDEN_LENGTH)

/* Relative to the root mean square of what is compared; 1e-4 is what is promised. */
#define TOLERANCE 1e-5

static struct store *store;
static struct store_txn *txn;
static struct model *model;

static int set_up(void **state)
{
    struct error err = {0};
    set_up_threads(state);
    store = open_store("store");
    artifact_id id = import_demo_model(store, "wordnet-lm");
    txn = begin_reading(store);
    assert_ok(model_open(txn, id, &model, &err));
    assert_ok(model_attach(model, txn, &err));
    return 0;
}

static int tear_down(void **state)
{
    model_free(model);
    store_end(txn);
    store_close(store);
    return tear_down_threads(state);
}

static double golden_difference(const struct golden *g, const float *x, size_t n)
{
    double worst = 0, squares = 0;
    for (size_t i = 0; i < GOLDEN_SAMPLES; i++)
        worst = fmax(worst, fabs((double)x[(i * 1000003 + 13) % n] - g->samples[i]));
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return fmax(worst, fabs(sqrt(squares / (double)n) - g->rms)) / g->rms;
}

static void assert_golden(const struct golden *g, const float *x, size_t n)
{
    double difference = golden_difference(g, x, n);
    if (!(difference < TOLERANCE))
        fail_msg("%s: relative difference %g", g->hook, difference);
}

struct capture {
    float *x;
    size_t calls, n_tokens, width;
};

static int capture(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    struct capture *c = arg;
    (void)err;
    c->calls++;
    c->n_tokens = n_tokens;
    c->width = width;
    memcpy(c->x, x, n_tokens * width * sizeof *x);
    return STATUS_OK;
}

static void test_config(void **state)
{
    (void)state;
    const struct model_config *c = model_get_config(model);
    assert_string_equal(c->family, "gpt2");
    assert_int_equal(c->layers, 4);
    assert_int_equal(c->d_model, 256);
    assert_int_equal(c->heads, 4);
    assert_int_equal(c->d_head, 64);
    assert_int_equal(c->d_mlp, 1024);
    assert_int_equal(c->vocabulary_size, 8192);
    assert_int_equal(c->context_length, 128);
    assert_int_equal(c->bos, 8191);
    assert_int_equal(c->eos, 8191);
    assert_true(c->norm_epsilon == 1e-5);
    assert_string_equal(model_name(model), "wordnet-lm");
    assert_int_equal(tokenizer_size(model_tokenizer(model)), 8192);
    struct error err;
    json *manifest = store_manifest(txn, model_id(model), &err);
    assert_string_equal(json_get_string(manifest, "dtype", ""), "float16");
    assert_int_equal(json_get_integer(manifest, "layers", 0), 4);
    assert_true(json_is_object(json_get(manifest, "references")));
    json_free(manifest);
}

static void test_every_hook(void **state)
{
    (void)state;
    struct forward *f;
    struct error err;
    struct capture got = {.x = xmalloc(GOLDEN_TOKENS * 256 * sizeof(float))};
    char **names = hook_names(model_get_config(model));
    size_t n_names = 0;
    while (names[n_names])
        n_names++;
    assert_int_equal(n_names, ARRAY_LENGTH(golden_hooks));
    assert_ok(forward_new(model, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &f, &err));
    double worst = 0;
    for (size_t i = 0; i < n_names; i++) {
        struct hook hook;
        assert_string_equal(names[i], golden_hooks[i].hook);
        assert_ok(hook_parse(model_get_config(model), names[i], &hook, &err));
        assert_string_equal(hook.name, names[i]);
        got.calls = 0;
        assert_ok(forward_run(f, model, golden_tokens, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &hook, capture, &got,
                              NULL, &err));
        assert_int_equal(got.calls, 1);
        assert_int_equal(got.n_tokens, GOLDEN_TOKENS);
        assert_int_equal(got.width, hook_width(model_get_config(model), &hook));
        assert_golden(&golden_hooks[i], got.x, GOLDEN_TOKENS * 256);
        worst = fmax(worst, golden_difference(&golden_hooks[i], got.x, GOLDEN_TOKENS * 256));
    }
    print_message("# largest relative difference at a hook: %.2g\n", worst);
    forward_free(f);
    store_names_free(names);
    free(got.x);
}

static float *run_to_logits(const char *hook_name, hook_function at, void *arg)
{
    struct forward *f;
    struct error err;
    struct hook hook;
    size_t vocabulary = model_get_config(model)->vocabulary_size;
    float *final = xmalloc(GOLDEN_TOKENS * 256 * sizeof *final);
    float *logits = xmalloc(GOLDEN_TOKENS * vocabulary * sizeof *logits);
    assert_ok(forward_new(model, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &f, &err));
    if (hook_name)
        assert_ok(hook_parse(model_get_config(model), hook_name, &hook, &err));
    assert_ok(forward_run(f, model, golden_tokens, GOLDEN_CONTEXTS, GOLDEN_LENGTH, hook_name ? &hook : NULL,
                          at, arg, final, &err));
    assert_ok(model_unembed(model, final, GOLDEN_TOKENS, logits, &err));
    forward_free(f);
    free(final);
    return logits;
}

static int twice(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    (void)arg;
    (void)err;
    for (size_t i = 0; i < n_tokens * width; i++)
        x[i] *= 2;
    return STATUS_OK;
}

static int less_half_mirrored(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    (void)arg;
    (void)err;
    for (size_t i = 0; i < n_tokens; i++, x += width) {
        for (size_t j = 0; j < width / 2; j++) {
            float left = x[j], right = x[width - 1 - j];
            x[j] = left - 0.5f * right;
            x[width - 1 - j] = right - 0.5f * left;
        }
    }
    return STATUS_OK;
}

static int refuse(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    (void)arg;
    (void)x;
    (void)n_tokens;
    (void)width;
    return error_set(err, STATUS_FAILED, "enough");
}

static void test_logits_and_changes(void **state)
{
    (void)state;
    size_t n = GOLDEN_TOKENS * (size_t)8192;
    float *plain = run_to_logits(NULL, NULL, NULL);
    assert_golden(&golden_logits, plain, n);
    float *doubled = run_to_logits("blocks.1.hook_attn_out", twice, NULL);
    assert_golden(&golden_doubled, doubled, n);
    float *spliced = run_to_logits("blocks.2.hook_resid_pre", less_half_mirrored, NULL);
    assert_golden(&golden_spliced, spliced, n);
    struct capture seen = {.x = xmalloc(GOLDEN_TOKENS * 256 * sizeof(float))};
    float *looked_at = run_to_logits("blocks.2.hook_resid_pre", capture, &seen);
    assert_memory_equal(looked_at, plain, n * sizeof *plain);
    free(seen.x);
    free(plain);
    free(doubled);
    free(spliced);
    free(looked_at);
}

static void test_ending_a_pass(void **state)
{
    (void)state;
    struct forward *f;
    struct error err;
    struct hook hook;
    uint32_t outside[2] = {5, 8192};
    float final[512];
    assert_ok(forward_new(model, 1, 2, &f, &err));
    assert_ok(hook_parse(model_get_config(model), "blocks.0.hook_mlp_out", &hook, &err));
    assert_int_equal(forward_run(f, model, golden_tokens, 1, 2, &hook, refuse, NULL, final, &err),
                     STATUS_FAILED);
    assert_string_equal(err.message, "enough");
    assert_int_equal(forward_run(f, model, outside, 1, 2, NULL, NULL, NULL, final, &err), STATUS_REFUSED);
    assert_int_equal(forward_run(f, model, golden_tokens, 2, 2, NULL, NULL, NULL, final, &err),
                     STATUS_FAILED);
    forward_free(f);
    assert_int_equal(forward_new(model, 1, 129, &f, &err), STATUS_REFUSED);
    assert_int_equal(forward_new(model, SIZE_MAX / 64, 128, &f, &err), STATUS_FAILED);
}

/* Contexts of full length, several at once, against each alone, and against the same tokens in a shorter
 * context. */
static void test_batches(void **state)
{
    (void)state;
    enum { N = 5, LENGTH = 128, WIDTH = 256 };
    uint32_t *tokens = xmalloc(N * LENGTH * sizeof *tokens);
    struct rng rng;
    struct hook hook;
    struct error err;
    struct forward *f;
    struct capture all = {.x = xmalloc(N * LENGTH * WIDTH * sizeof(float))};
    struct capture one = {.x = xmalloc(LENGTH * WIDTH * sizeof(float))};
    rng_seed(&rng, 1, 0);
    for (size_t i = 0; i < N * LENGTH; i++)
        tokens[i] = (uint32_t)rng_below(&rng, 8192);
    assert_ok(hook_parse(model_get_config(model), "blocks.3.hook_resid_post", &hook, &err));
    assert_ok(forward_new(model, N, LENGTH, &f, &err));
    assert_ok(forward_run(f, model, tokens, N, LENGTH, &hook, capture, &all, NULL, &err));
    for (size_t c = 0; c < N; c++) {
        size_t length = c ? LENGTH : 77; /* what comes later changes nothing before */
        assert_ok(forward_run(f, model, tokens + c * LENGTH, 1, length, &hook, capture, &one, NULL, &err));
        assert_int_equal(one.n_tokens, length);
        for (size_t i = 0; i < length * WIDTH; i++) {
            float x = all.x[c * LENGTH * WIDTH + i];
            assert_true(fabsf(one.x[i] - x) < 1e-5f * (1 + fabsf(x)));
        }
    }
    forward_free(f);
    free(tokens);
    free(all.x);
    free(one.x);
}

static void test_direction_logits(void **state)
{
    (void)state;
    enum { N = 2, VOCABULARY = 8192 };
    static const size_t rows[N] = {3, 500};
    struct store_tensor w;
    struct error err;
    float directions[N * 256];
    float *logits = xmalloc(N * VOCABULARY * sizeof *logits);
    assert_ok(store_tensor_open(txn, model_id(model), "blocks.1.mlp.W_out", &w, &err));
    for (size_t i = 0; i < N; i++)
        assert_ok(store_tensor_read(txn, &w, rows[i], 1, directions + i * 256, &err));
    assert_ok(model_direction_logits(model, directions, N, 0, logits, &err));
    assert_golden(&golden_stored, logits, N * VOCABULARY);
    assert_ok(model_direction_logits(model, directions, N, 1, logits, &err));
    assert_golden(&golden_folded, logits, N * VOCABULARY);
    free(logits);
}

static void test_hook_names(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"blocks.2.hook_resid_prE", "blocks.2.hook_resid_pre?"},
        {"blocks.1.hook_mpl_out", "blocks.1.hook_mlp_out?"},
        {"blocks.12.hook_resid_post", "blocks.3.hook_resid_post?"},
        {"blocks.4.hook_attn_out", "blocks.3.hook_attn_out?"},
        {"block.3.hook_resid_mid", "blocks.3.hook_resid_mid?"},
        {"hook_resid_mid", "blocks.0.hook_resid_mid?"},
        {"blocks.02.hook_resid_pre", "blocks.2.hook_resid_pre?"},
        {"blocks.-1.hook_resid_pre", "blocks.1.hook_resid_pre?"},
        {"blocks.99999999999999999999999.hook_resid_pre", "blocks.3.hook_resid_pre?"},
        {"", "blocks.0.hook_resid_pre?"},
        {"\x1b[31m", "blocks.3.hook_resid_pre?"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct hook hook;
        struct error err;
        assert_int_equal(hook_parse(model_get_config(model), wrong[i][0], &hook, &err), STATUS_REFUSED);
        if (!strstr(err.message, wrong[i][1]))
            fail_msg("%s: \"%s\"", wrong[i][0], err.message);
        assert_null(strchr(err.message, '\x1b'));
    }
}

/* ---- Parts. ---- */

static void test_gelu(void **state)
{
    (void)state;
    enum { N = 40001 }; /* not a multiple of four: the rest is taken singly */
    float *x = xmalloc(N * sizeof *x), *bias = xcalloc(N, sizeof *bias);
    double worst = 0, worst_relative = 0;
    for (size_t i = 0; i < N; i++)
        x[i] = -20.0f + 40.0f * (float)i / (N - 1);
    gelu(x, bias, N);
    for (size_t i = 0; i < N; i++) {
        double v = (double)(-20.0f + 40.0f * (float)i / (N - 1));
        double u = sqrt(2 / acos(-1.0)) * (v + 0.044715 * v * v * v);
        /* ½(1 + tanh u) loses its digits by cancellation below, so that side takes the equal e²ᵘ/(1 + e²ᵘ).
         */
        double factor = v < 0 ? exp(2 * u) / (1 + exp(2 * u)) : 0.5 * (1 + tanh(u));
        double difference = fabs((double)x[i] - v * factor);
        worst = fmax(worst, difference / (1 + fabs(v)));
        if (v > -3)
            worst_relative = fmax(worst_relative, v == 0 ? difference : difference / fabs(v * factor));
    }
    print_message("# gelu: largest error %.2g of 1 + |x|, %.2g of its value above -3\n", worst,
                  worst_relative);
    assert_true(worst < 2e-7);
    assert_true(worst_relative < 1e-6);
    /* Far out it is 0 and x. */
    float far[6] = {-1e30f, 1e30f, -100, 100, -INFINITY, 50}, zero[6] = {0};
    gelu(far, zero, 5);
    assert_true(fabsf(far[0]) < 1e-6f && far[1] == 1e30f && fabsf(far[2]) < 1e-30f && far[3] == 100);
    free(x);
    free(bias);
}

static void fill(float *x, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
}

/* Weights in several blocks (as a store keeps large ones) against plain sums. */
static void test_blocked_weights(void **state)
{
    (void)state;
    enum { N = 7, IN = 45, OUT = 13, PER_BLOCK = 20 };
    float w[IN * OUT], bias[OUT], x[N * IN], y[N * OUT], back[N * IN];
    const float *blocks[] = {w, w + PER_BLOCK * OUT, w + 2 * PER_BLOCK * OUT}, *bias_block[] = {bias};
    struct weight weight = {IN, OUT, PER_BLOCK, 3, blocks}, vector = {OUT, 0, OUT, 1, bias_block};
    fill(w, IN * OUT, 1);
    fill(bias, OUT, 2);
    fill(x, N * IN, 3);
    memset(y, 0xff, sizeof y); /* NaNs: nothing of what was there may stay */
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        linear(&weight, with_bias ? &vector : NULL, x, N, y);
        for (size_t i = 0; i < N * OUT; i++) {
            double sum = with_bias ? (double)bias[i % OUT] : 0;
            for (size_t k = 0; k < IN; k++)
                sum += (double)x[i / OUT * IN + k] * (double)w[k * OUT + i % OUT];
            assert_true(fabs(sum - (double)y[i]) < 1e-4);
        }
    }
    linear_transposed(&weight, y, N, back, IN);
    for (size_t i = 0; i < N * IN; i++) {
        double sum = 0;
        for (size_t k = 0; k < OUT; k++)
            sum += (double)y[i / IN * OUT + k] * (double)w[i % IN * OUT + k];
        assert_true(fabs(sum - (double)back[i]) < 1e-3);
    }
    assert_ptr_equal(weight_row(&weight, 44), w + 44 * OUT);
}

static void test_layer_norm(void **state)
{
    (void)state;
    enum { N = 3, WIDTH = 19 };
    float x[N * WIDTH], scale[WIDTH], shift[WIDTH], y[N * WIDTH];
    fill(x, N * WIDTH, 4);
    fill(scale, WIDTH, 5);
    fill(shift, WIDTH, 6);
    layer_norm(x, N, WIDTH, scale, shift, 1e-5, y);
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

/* Longer than a tile of queries, with scores far apart, against plain sums. */
static void test_attention(void **state)
{
    (void)state;
    enum { CONTEXTS = 2, LENGTH = 150, HEADS = 2, D_HEAD = 8, WIDTH = HEADS * D_HEAD, N = CONTEXTS * LENGTH };
    float *qkv = xmalloc(N * 3 * WIDTH * sizeof *qkv), *z = xmalloc(N * WIDTH * sizeof *z);
    size_t stride = ATTENTION_TILE * LENGTH;
    float *scratch = xmalloc(parallel_threads() * stride * sizeof *scratch);
    struct model m = {.config = {.d_model = WIDTH, .heads = HEADS, .d_head = D_HEAD}};
    struct pass pass = {.model = &m,
                        .n_contexts = CONTEXTS,
                        .length = LENGTH,
                        .n_tokens = N,
                        .worker_scratch = scratch,
                        .worker_stride = stride};
    fill(qkv, N * 3 * WIDTH, 7);
    for (size_t i = 0; i < N * 3 * WIDTH; i++)
        qkv[i] *= 3;
    causal_attention(&pass, qkv, z);
    for (size_t row = 0; row < N; row++) {
        for (size_t h = 0; h < HEADS; h++) {
            double e[LENGTH], total = 0, wanted[D_HEAD] = {0};
            size_t start = row / LENGTH * LENGTH, n = row - start + 1;
            for (size_t k = 0; k < n; k++) {
                const float *q = qkv + row * 3 * WIDTH + h * D_HEAD,
                            *key = qkv + ((start + k) * 3 + 1) * WIDTH + h * D_HEAD;
                double s = 0;
                for (size_t j = 0; j < D_HEAD; j++)
                    s += (double)q[j] * (double)key[j];
                total += e[k] = exp(s / sqrt(D_HEAD));
            }
            for (size_t k = 0; k < n; k++) {
                for (size_t j = 0; j < D_HEAD; j++)
                    wanted[j] += e[k] / total * (double)qkv[((start + k) * 3 + 2) * WIDTH + h * D_HEAD + j];
            }
            for (size_t j = 0; j < D_HEAD; j++)
                assert_true(fabs(wanted[j] - (double)z[row * WIDTH + h * D_HEAD + j]) < 5e-5);
        }
    }
    free(qkv);
    free(z);
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_every_hook),
        cmocka_unit_test(test_logits_and_changes),
        cmocka_unit_test(test_ending_a_pass),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_direction_logits),
        cmocka_unit_test(test_hook_names),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_blocked_weights),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests_name("gpt2", tests, set_up, tear_down);
}
