/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GPT-2: the demo model against float64 references, and hooks. */
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

/* A changed stream, put in its place or gone on from. */
static void test_resume(void **state)
{
    (void)state;
    struct forward *f;
    struct error err;
    struct hook hook;
    size_t n = GOLDEN_TOKENS * (size_t)256;
    struct capture at = {.x = xmalloc(n * sizeof(float))};
    float *whole = xmalloc(n * sizeof *whole), *resumed = xmalloc(n * sizeof *resumed);
    assert_ok(forward_new(model, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &f, &err));
    assert_ok(hook_parse(model_get_config(model), "blocks.2.hook_resid_pre", &hook, &err));
    assert_ok(forward_run(f, model, golden_tokens, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &hook, capture, &at, NULL,
                          &err));
    assert_ok(halve(NULL, at.x, GOLDEN_TOKENS, 256, &err));
    assert_ok(forward_run(f, model, golden_tokens, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &hook, halve, NULL, whole,
                          &err));
    assert_ok(forward_resume(f, model, GOLDEN_CONTEXTS, GOLDEN_LENGTH, &hook, at.x, resumed, &err));
    assert_memory_equal(whole, resumed, n * sizeof *whole);
    assert_int_equal(forward_resume(f, model, GOLDEN_CONTEXTS + 1, GOLDEN_LENGTH, &hook, at.x, resumed, &err),
                     STATUS_FAILED);
    forward_free(f);
    free(at.x);
    free(whole);
    free(resumed);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_every_hook),
        cmocka_unit_test(test_logits_and_changes),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_ending_a_pass),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_direction_logits),
        cmocka_unit_test(test_hook_names),
        cmocka_unit_test(test_other_hook_names),
    };
    return cmocka_run_group_tests_name("gpt2", tests, set_up, tear_down);
}
