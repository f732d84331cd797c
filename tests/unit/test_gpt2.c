/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GPT-2: the demo model against float64 references, hooks, and the parts that transformers are made of. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/model/parts.h"
#include "tests/support/support.h"
#include "gpt2_golden.h"

#define GOLDEN_TOKENS (GOLDEN_CONTEXTS * GOLDEN_LENGTH)

/* Relative to the root mean square of what is compared; 1e-4 is what is promised. */
#define TOLERANCE 1e-5

static struct store_txn *txn;
static struct model *model;

static int set_up(void **state)
{
    struct error err = {0};
    set_up_store(state);
    artifact_id id = import_demo_model(test_store, "wordnet-lm");
    txn = begin_reading(test_store);
    assert_ok(model_open(txn, id, &model, &err));
    assert_ok(model_attach(model, txn, &err));
    return 0;
}

static int tear_down(void **state)
{
    model_free(model);
    store_end(txn);
    return tear_down_store(state);
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
    struct capture got = {.x = xmalloc(GOLDEN_TOKENS * 1024 * sizeof(float))};
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
        assert_golden(&golden_hooks[i], got.x, GOLDEN_TOKENS * got.width);
        worst = fmax(worst, golden_difference(&golden_hooks[i], got.x, GOLDEN_TOKENS * got.width));
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

static int halve(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    (void)arg;
    (void)err;
    for (size_t i = 0; i < n_tokens * width; i++)
        x[i] /= 2;
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
    float *embedded = run_to_logits("hook_embed", halve, NULL);
    assert_golden(&golden_embedded, embedded, n);
    free(embedded);
    float *placed = run_to_logits("hook_pos_embed", twice, NULL);
    assert_golden(&golden_placed, placed, n);
    free(placed);
    float *halved = run_to_logits("blocks.1.ln2.hook_normalized", halve, NULL);
    assert_golden(&golden_halved, halved, n);
    free(halved);
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

struct cancelling {
    struct forward *f;
    struct monitor monitor;
    struct hook hook;
    struct capture got;
    float *wanted, *final; /* [GOLDEN_TOKENS, 256] */
    int questions,
        before_hook; /* that a whole pass asks, and those of them before the hook; at least, with threads */
};

static int pass_of(struct cancelling *c, int to_end, struct error *err)
{
    c->got.calls = 0;
    return forward_run(c->f, model, golden_tokens, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &c->hook, capture, &c->got,
                       to_end ? c->final : NULL, err);
}

/* Cancels at every question until a pass is done before it is asked so often. */
static void cancel_everywhere(struct cancelling *c)
{
    struct error err;
    int status = STATUS_FAILED;
    c->questions = c->before_hook = 0;
    while (status) {
        looks_before_cancel = c->questions++;
        status = pass_of(c, 1, &err);
        c->before_hook += c->got.calls == 0;
        assert_true(c->got.calls <= 1);
        if (status) {
            assert_int_equal(status, STATUS_FAILED);
            assert_string_equal(err.message, "cancelled");
        }
    }
    assert_int_equal(c->got.calls, 1);
    assert_memory_equal(c->final, c->wanted, GOLDEN_TOKENS * 256 * sizeof *c->final);
}

/* Cancelled at any question, the pass ends there; the next is as if nothing had been. */
static void test_cancelled(void **state)
{
    (void)state;
    const size_t n = GOLDEN_TOKENS * 256;
    struct error err;
    struct cancelling c = {.monitor.cancelled = cancelled_later,
                           .got.x = xmalloc(n * sizeof(float)),
                           .wanted = xmalloc(n * sizeof(float)),
                           .final = xmalloc(n * sizeof(float))};
    assert_ok(hook_parse(model_get_config(model), "blocks.1.hook_attn_out", &c.hook, &err));
    assert_ok(forward_new(model, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &c.f, &err));
    assert_ok(pass_of(&c, 1, &err));
    memcpy(c.wanted, c.final, n * sizeof *c.final);
    forward_watch(c.f, &c.monitor);
    cancel_everywhere(&c);
    /* Without threads the questions are the same each time: a few of every product, evenly over the four
     * layers. */
    parallel_stop();
    cancel_everywhere(&c);
    assert_true(c.questions > 4 * 8 * 2);
    assert_true(c.before_hook > c.questions / 4 && c.before_hook < c.questions / 2);
    looks_before_cancel = c.before_hook;
    assert_ok(pass_of(&c, 0, &err));
    assert_int_equal(looks_before_cancel, 0);
    parallel_start(TEST_THREADS);
    forward_watch(c.f, NULL);
    assert_ok(pass_of(&c, 1, &err));
    assert_memory_equal(c.final, c.wanted, n * sizeof *c.final);
    forward_free(c.f);
    free(c.got.x);
    free(c.wanted);
    free(c.final);
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
    enum { N = 2, LOGITS = 8192 };
    static const size_t rows[N] = {3, 500};
    struct store_tensor w;
    struct error err;
    float directions[N * 256];
    float *logits = xmalloc(N * LOGITS * sizeof *logits);
    assert_ok(store_tensor_open(txn, model_id(model), "blocks.1.mlp.W_out", &w, &err));
    assert_int_equal(w.dtype, DTYPE_F16);
    for (size_t i = 0; i < N; i++) {
        uint16_t row[256];
        assert_ok(store_tensor_read(txn, &w, rows[i], 1, row, &err));
        floats_from(DTYPE_F16, row, directions + i * 256, 256);
    }
    assert_ok(model_direction_logits(model, directions, N, 0, logits, &err));
    assert_golden(&golden_stored, logits, N * LOGITS);
    assert_ok(model_direction_logits(model, directions, N, 1, logits, &err));
    assert_golden(&golden_folded, logits, N * LOGITS);
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
        {"blocks.1.hook_z", "blocks.1.attn.hook_z?"},
        {"blocks.2.mlp.hook_pots", "blocks.2.mlp.hook_post?"},
        {"layers.4", "blocks.3.hook_resid_post?"},
        {"layers.1.mlp.up_proj", "blocks.1."},
        {"resid_post_layer_4", "did you mean"},
        {"resid_post_layer_1x", "did you mean"},
        {"h.+1", "did you mean"},
        {"\x1b[31m", "blocks.3.hook_resid_pre?"},
        {"hook_embd", "hook_embed?"},
        {"blocks.0.hook_embed", "mean hook_embed?"},
        {"embed.hook_pos_embed", "mean hook_pos_embed?"},
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

/* sparsify's and dictionary_learning's names. */
static void test_other_hook_names(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"layers.2", "blocks.2.hook_resid_post"},
        {"h.3", "blocks.3.hook_resid_post"},
        {"transformer.h.0.mlp", "blocks.0.hook_mlp_out"},
        {"gpt_neox.layers.1.attention", "blocks.1.hook_attn_out"},
        {"model.layers.1.self_attn", "blocks.1.hook_attn_out"},
        {"layers.3.mlp", "blocks.3.hook_mlp_out"},
        {"resid_post_layer_2", "blocks.2.hook_resid_post"},
        {"resid_out_layer2", "blocks.2.hook_resid_post"},
        {"mlp_out_layer0", "blocks.0.hook_mlp_out"},
        {"attn_out_layer_3", "blocks.3.hook_attn_out"},
        {"transformer.wte", "hook_embed"},
        {"wpe", "hook_pos_embed"},
        {"model.embed_tokens", "hook_embed"},
        {"gpt_neox.embed_in", "hook_embed"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++) {
        struct hook hook, wanted;
        struct error err;
        assert_ok(hook_parse(model_get_config(model), same[i][0], &hook, &err));
        assert_ok(hook_parse(model_get_config(model), same[i][1], &wanted, &err));
        assert_string_equal(hook.name, same[i][1]);
        assert_int_equal(hook.point, wanted.point);
        assert_int_equal(hook.layer, wanted.layer);
    }
}

/* ---- Parts. ---- */

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
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_every_hook),
        cmocka_unit_test(test_logits_and_changes),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_ending_a_pass),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_direction_logits),
        cmocka_unit_test(test_hook_names),
        cmocka_unit_test(test_other_hook_names),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_soft_cap),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_rotary_table),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests_name("gpt2", tests, set_up, tear_down);
}
