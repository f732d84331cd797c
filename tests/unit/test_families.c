/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every model family: a small model with random weights, imported from its folder, against what transformers
 * and TransformerLens computed (tests/reference/families.py): all hooks, logits, and logits of directions.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/files/safetensors.h"
#include "saescope/model/model.h"
#include "tests/support/support.h"

#define TOLERANCE 3e-5 /* of the root mean square; 1e-4 is what is promised */

enum { CONTEXTS = 2, LENGTH = 7, TOKENS = CONTEXTS * LENGTH, VOCABULARY = 264 };

static struct store *store;

static int set_up(void **state)
{
    set_up_directory(state);
    blas_start();
    parallel_start(2);
    store = open_store("store");
    return 0;
}

static int tear_down(void **state)
{
    store_close(store);
    parallel_stop();
    return tear_down_directory(state);
}

/* ---- One family. ---- */

struct small_model {
    const char *name;
    struct safetensors expected;
    struct store_txn *t;
    struct model *m;
    const struct model_config *config;
    struct forward *f;
    uint32_t tokens[TOKENS];
};

static char *family_path(const char *name, const char *file)
{
    char *families = path_join(getenv("SAESCOPE_TESTDATA"), "families"), *folder = path_join(families, name);
    char *path = path_join(folder, file);
    free(families);
    free(folder);
    return path;
}

static const struct tensor *expect(const struct small_model *s, const char *name)
{
    const struct tensor *x = safetensors_find(&s->expected, name);
    if (!x)
        fail_msg("%s: %s is not in expected.safetensors", s->name, name);
    return x;
}

static void open_small(struct small_model *s, const char *name)
{
    struct error err = {0};
    artifact_id id;
    char *path = family_path(name, "expected.safetensors"), *folder = family_path(name, "");
    memset(s, 0, sizeof *s);
    s->name = name;
    assert_ok(safetensors_open(&s->expected, path, &err));
    const struct model_import options = {.directory = folder, .name = name};
    if (model_import_folder(store, &options, NULL, &id, &err))
        fail_msg("%s: %s", name, err.message);
    s->t = begin_reading(store);
    assert_ok(model_open(s->t, id, &s->m, &err));
    s->config = model_get_config(s->m);
    assert_ok(model_attach(s->m, s->t, &err));
    assert_ok(forward_new(s->m, CONTEXTS, LENGTH, &s->f, &err));
    const struct tensor *tokens = expect(s, "tokens");
    assert_int_equal(tensor_bytes(tokens), sizeof s->tokens);
    memcpy(s->tokens, tokens->data, sizeof s->tokens);
    free(path);
    free(folder);
}

static void close_small(struct small_model *s)
{
    forward_free(s->f);
    model_free(s->m);
    store_end(s->t);
    safetensors_close(&s->expected);
}

static double difference(const struct tensor *expected, const float *x)
{
    size_t n = tensor_elements(expected);
    double worst = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        float wanted;
        floats_from(expected->dtype, (const char *)expected->data + i * dtype_size(expected->dtype), &wanted,
                    1);
        worst = fmax(worst, fabs((double)x[i] - (double)wanted));
        squares += (double)wanted * (double)wanted;
    }
    return worst / sqrt(squares / (double)n);
}

static double compare(const struct small_model *s, const char *name, const float *x, size_t rows,
                      size_t width)
{
    const struct tensor *expected = expect(s, name);
    if (expected->ndim != 2 || expected->shape[0] != rows || expected->shape[1] != width)
        fail_msg("%s: %s has another shape", s->name, name);
    double d = difference(expected, x);
    if (!(d < TOLERANCE))
        fail_msg("%s: %s: relative difference %g", s->name, name, d);
    return d;
}

struct capture {
    float *x;
    size_t width;
};

static int capture(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    struct capture *c = arg;
    (void)err;
    assert_int_equal(n_tokens, TOKENS);
    c->width = width;
    memcpy(c->x, x, n_tokens * width * sizeof *x);
    return STATUS_OK;
}

static double check_hooks(struct small_model *s)
{
    struct error err;
    float *x = xmalloc(TOKENS * 256 * sizeof *x),
          *final = xmalloc(TOKENS * s->config->d_model * sizeof *final);
    char **names = hook_names(s->config);
    double worst = 0;
    size_t n = 0;
    for (; names[n]; n++) {
        struct hook hook;
        struct capture got = {.x = x};
        assert_ok(hook_parse(s->config, names[n], &hook, &err));
        assert_string_equal(hook.name, names[n]);
        /* Once stopping there, once going on: a hook's values are the same. */
        for (int go_on = 0; go_on < 2; go_on++) {
            assert_ok(forward_run(s->f, s->m, s->tokens, CONTEXTS, LENGTH, &hook, capture, &got,
                                  go_on ? final : NULL, &err));
            assert_int_equal(got.width, hook_width(s->config, &hook));
            worst = fmax(worst, compare(s, names[n], x, TOKENS, got.width));
        }
    }
    /* Those that TransformerLens has, all of them: "tokens" and three kinds of logits stand beside them. */
    assert_int_equal(n, s->expected.n_tensors - 4);
    store_names_free(names);
    free(x);
    free(final);
    return worst;
}

static void last_logits(struct small_model *s, const struct hook *hook, hook_function at, void *arg,
                        float *logits)
{
    struct error err;
    size_t d = s->config->d_model;
    float *final = xmalloc(TOKENS * d * sizeof *final);
    assert_ok(forward_run(s->f, s->m, s->tokens, CONTEXTS, LENGTH, hook, at, arg, final, &err));
    for (size_t c = 0; c < CONTEXTS; c++)
        assert_ok(model_unembed(s->m, final + ((c + 1) * LENGTH - 1) * d, 1, logits + c * VOCABULARY, &err));
    free(final);
}

static int look(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    (void)x;
    (void)err;
    *(size_t *)arg += n_tokens * width;
    return STATUS_OK;
}

/* Logits; they stay the same when somebody looks at a norm's hook, where the pass takes another way. */
static double check_logits(struct small_model *s)
{
    static const char *const seen[] = {"blocks.1.ln1.hook_normalized", "blocks.0.ln2.hook_normalized"};
    float logits[CONTEXTS * VOCABULARY];
    double worst = 0;
    last_logits(s, NULL, NULL, NULL, logits);
    worst = compare(s, "logits", logits, CONTEXTS, VOCABULARY);
    for (size_t i = 0; i < ARRAY_LENGTH(seen); i++) {
        struct hook hook;
        struct error err;
        size_t n = 0;
        assert_ok(hook_parse(s->config, seen[i], &hook, &err));
        last_logits(s, &hook, look, &n, logits);
        assert_int_equal(n, TOKENS * s->config->d_model);
        worst = fmax(worst, compare(s, "logits", logits, CONTEXTS, VOCABULARY));
    }
    return worst;
}

static double check_directions(struct small_model *s, const char *point, const char *name)
{
    enum { ROWS = 2 };
    struct error err;
    struct hook hook;
    char *hook_name = xasprintf("blocks.%zu.%s", s->config->layers - 1, point);
    assert_ok(hook_parse(s->config, hook_name, &hook, &err));
    size_t width = hook_width(s->config, &hook);
    float *rows = xmalloc(ROWS * width * sizeof *rows),
          *out = xmalloc(ROWS * s->config->d_model * sizeof *out);
    float logits[ROWS * VOCABULARY];
    for (size_t i = 0; i < ROWS * width; i++)
        rows[i] = (float)sin((double)i);
    assert_ok(model_directions_out(s->m, &hook, rows, ROWS, out, &err));
    assert_ok(model_direction_logits(s->m, out, ROWS, 0, logits, &err));
    double d = compare(s, name, logits, ROWS, VOCABULARY);
    free(rows);
    free(out);
    free(hook_name);
    return d;
}

static void check_family(const char *name)
{
    struct small_model s;
    open_small(&s, name);
    double hooks = check_hooks(&s), logits = check_logits(&s);
    double z = check_directions(&s, "attn.hook_z", "logits_of_z");
    double post = check_directions(&s, "mlp.hook_post", "logits_of_mlp_post");
    print_message("# %s: largest relative difference %.2g at hooks, %.2g of logits, %.2g of directions\n",
                  name, hooks, logits, fmax(z, post));
    close_small(&s);
}

#define FAMILY_TEST(function, name)                                                                          \
    static void function(void **state)                                                                       \
    {                                                                                                        \
        (void)state;                                                                                         \
        check_family(name);                                                                                  \
    }

FAMILY_TEST(test_gpt2, "gpt2")
FAMILY_TEST(test_gpt2_untied, "gpt2-untied")
FAMILY_TEST(test_gpt_neo, "gpt_neo")
FAMILY_TEST(test_gpt_neox, "gpt_neox")
FAMILY_TEST(test_gpt_neox_sequential, "gpt_neox-sequential")
FAMILY_TEST(test_llama2, "llama2")
FAMILY_TEST(test_llama3, "llama3")
FAMILY_TEST(test_llama_biases, "llama-biases")
FAMILY_TEST(test_mistral, "mistral")
FAMILY_TEST(test_gemma, "gemma")
FAMILY_TEST(test_gemma2, "gemma2")
FAMILY_TEST(test_qwen2, "qwen2")
FAMILY_TEST(test_qwen2_window, "qwen2-window")
FAMILY_TEST(test_qwen3, "qwen3")

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_gpt2_untied),
        cmocka_unit_test(test_gpt_neo),
        cmocka_unit_test(test_gpt_neox),
        cmocka_unit_test(test_gpt_neox_sequential),
        cmocka_unit_test(test_llama2),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_llama_biases),
        cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_gemma2),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_qwen2_window),
        cmocka_unit_test(test_qwen3),
    };
    return cmocka_run_group_tests_name("model families", tests, set_up, tear_down);
}
