/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every model family: a small model with random weights, imported from its folder, against what transformers
 * and TransformerLens computed (tests/reference/families.py): all hooks, logits, and logits of directions.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "saescope/model/model.h"
#include "tests/support/support.h"

#define TOLERANCE 3e-5 /* of the root mean square; 1e-4 is what is promised */

enum { CONTEXTS = 2, LENGTH = 7, TOKENS = CONTEXTS * LENGTH, VOCABULARY = 264 };

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
    if (model_import_folder(test_store, &options, NULL, &id, &err))
        fail_msg("%s: %s", name, err.message);
    s->t = begin_reading(test_store);
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

/* From a hook of the residual stream on: the numbers of the whole pass; others hold too little. */
static void check_resume(struct small_model *s, const struct hook *hook, const float *x, const float *final)
{
    struct error err;
    size_t n = TOKENS * s->config->d_model;
    float *resumed = xcalloc(n, sizeof *resumed);
    int status = forward_resume(s->f, s->m, CONTEXTS, LENGTH, hook, x, resumed, &err);
    if (strstr(hook->name, "resid_pre") || strstr(hook->name, "resid_post")) {
        assert_ok(status);
        assert_memory_equal(resumed, final, n * sizeof *final);
    } else {
        assert_int_equal(status, STATUS_FAILED);
        assert_says("cannot begin");
    }
    free(resumed);
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
        check_resume(s, &hook, x, final);
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

/* ---- Folders with something else in them. ---- */

/* A family's folder in the test's directory, with one change (or NULL) in one file. */
static char *change_folder(const char *family, const char *file, const char *from, const char *to)
{
    static const char *const files[] = {MODEL_FILES, NULL};
    char *folder = copy_family(family, files);
    if (from)
        replace_in_file(folder, file, from, to);
    return folder;
}

static int import_changed(const char *family, const char *file, const char *from, const char *to,
                          artifact_id *id, struct error *err)
{
    char *folder = change_folder(family, file, from, to);
    const struct model_import options = {.directory = folder, .name = "changed", .replace = 1};
    int code = model_import_folder(test_store, &options, NULL, id, err);
    free(folder);
    return code;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *family, *from, *to, *says;
    } cases[] = {
        {"llama3", "\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"",
         "rope_type \"yarn\" of rotary positions"},
        {"llama3", "\"rope_type\": \"llama3\"", "\"type\": \"dynamic\"",
         "type \"dynamic\" of rotary positions"},
        {"llama3", "\"factor\": 4.0", "\"factor\": -4.0", "factor is not above zero"},
        {"llama3", "\"factor\": 4.0", "\"other\": 4.0", "no factor"},
        {"llama3", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 8",
         "high_freq_factor is not above low_freq_factor"},
        {"llama3", "\"original_max_position_embeddings\"", "\"original\"",
         "original_max_position_embeddings"},
        {"llama3", "\"rope_theta\": 500000.0", "\"rope_theta\": 0", "rope_theta is not above zero"},
        {"llama3", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", "rms_norm_eps is not above zero"},
        {"llama3", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"",
         "hidden_act \"relu\" is not supported"},
        {"llama3", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3",
         "num_attention_heads 4 is not a multiple"},
        {"llama3", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
         "model.layers.0.self_attn.k_proj.weight is [8, 16], but config.json makes it [16, 16]"},
        {"llama3", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
         "model.layers.1.input_layernorm.weight: config.json says that there are only 1 layers"},
        {"llama3", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "no tensor model.layers.2.input_layernorm.weight"},
        {"llama3", "\"attention_bias\": false", "\"attention_bias\": true",
         "no tensor model.layers.0.self_attn.q_proj.bias"},
        {"llama3", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
         "no tensor lm_head.weight"},
        {"llama3", "\"mlp_bias\": false", "\"quantization_config\": {\"bits\": 4}",
         "the checkpoint is quantised"},
        {"llama3", "\"bos_token_id\": 256", "\"bos_token_id\": 264",
         "bos_token_id is not in the vocabulary of 264"},
        {"llama3", "\"vocab_size\": 264", "\"vocab_size\": 260", "config.json makes it [260, 16]"},
        {"llama2", "\"head_dim\": 4", "\"head_dim\": 8", "config.json makes it [32, 16]"},
        {"llama2", "\"head_dim\": 4", "\"head_dim\": 3", "do not fit"},
        {"llama2", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true",
         "lm_head.weight differs from model.embed_tokens.weight"},
        {"gpt_neox", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 0.4",
         "not an even number"},
        {"gpt_neox", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 2", "not an even number"},
        {"gpt_neo", "\"attention_types\"", "\"attention_kinds\"", "attention_types does not name"},
        {"gpt_neo", "\"window_size\": 3", "\"window_size\": 0", "window_size is zero"},
        {"gpt_neo", "\"window_size\": 3", "\"window\": 3", "window_size"},
        {"gemma2", "\"sliding_attention\",\n    \"full", "\"chunked_attention\",\n    \"full",
         "layer_types \"chunked_attention\" is not supported"},
        {"gemma2", "    \"full_attention\",\n", "", "layer_types does not name one for each of 3 layers"},
        {"gemma2", "\"attn_logit_softcapping\": 1.5", "\"attn_logit_softcapping\": -1",
         "attn_logit_softcapping is not above"},
        {"gemma2", "\"query_pre_attn_scalar\": 9", "\"query_pre_attn_scalar\": 0",
         "query_pre_attn_scalar is not above zero"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error err = {0};
        artifact_id id;
        int code = import_changed(cases[i].family, "config.json", cases[i].from, cases[i].to, &id, &err);
        if (code != STATUS_REFUSED || !strstr(err.message, cases[i].says))
            fail_msg("%s, %s: %d \"%s\", wanted \"%s\"", cases[i].family, cases[i].to, code, err.message,
                     cases[i].says);
    }
}

/* The same in other words: what older files and other versions of transformers write. */
static void test_other_words(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id;
    assert_ok(import_changed("llama3", "config.json", "\"rope_type\": \"llama3\"", "\"type\": \"llama3\"",
                             &id, &err));
    struct model_config c = model_config_of(test_store, id);
    assert_int_equal(c.rotary.scaling, ROTARY_LLAMA3);
    assert_true(c.rotary.base == 500000 && c.rotary.factor == 4 && c.rotary.low_frequency_factor == 1 &&
                c.rotary.high_frequency_factor == 4);
    assert_int_equal(c.rotary.original_context, 16);
    assert_ok(import_changed("llama3", "config.json", "\"eos_token_id\": 257", "\"eos_token_id\": [257, 258]",
                             &id, &err));
    assert_int_equal(model_config_of(test_store, id).eos, 257);
    assert_ok(import_changed("mistral", "config.json", "\"sliding_window\": 3", "\"sliding_window\": null",
                             &id, &err));
    c = model_config_of(test_store, id);
    assert_int_equal(c.window, 0);
    assert_false(model_layer_is_local(&c, 0));
    assert_ok(import_changed("gemma2", "config.json", "\"layer_types\"", "\"types\"", &id, &err));
    c = model_config_of(test_store, id);
    for (size_t layer = 0; layer < 3; layer++)
        assert_int_equal(model_layer_is_local(&c, layer), layer != 1);
    assert_ok(import_changed("gemma", "config.json", "\"hidden_act\": \"gelu_pytorch_tanh\"",
                             "\"hidden_act\": \"gelu\"", &id, &err));
    assert_int_equal(model_config_of(test_store, id).activation, ACTIVATION_GELU_TANH);
    /* The name that newer versions give the unembedding of GPT-NeoX; JSON allows the blanks. */
    assert_ok(import_changed("gpt_neox", "model.safetensors",
                             "\"embed_out.weight\":", "\"lm_head.weight\":  ", &id, &err));
    assert_true(model_config_of(test_store, id).features & MODEL_UNTIED);
    assert_int_equal(import_changed("gpt_neox", "model.safetensors",
                                    "\"embed_out.weight\":", "\"embed_tuo.weight\":", &id, &err),
                     STATUS_REFUSED);
    assert_says("no tensor embed_out.weight");
}

/* What the configurations say beside numbers. */
static void test_configs(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t layers, d_model, heads, kv_heads, d_head, d_mlp, rotary, window;
        int layer_norm, prepend_bos, local[3];
        enum activation activation;
    } cases[] = {
        {"gpt2", 2, 16, 4, 4, 4, 64, 0, 0, 1, 1, {0}, ACTIVATION_GELU_TANH},
        {"gpt2-untied", 2, 12, 3, 3, 4, 20, 0, 0, 1, 1, {0}, ACTIVATION_GELU_ERF},
        {"gpt_neo", 3, 16, 4, 4, 4, 64, 0, 3, 1, 1, {0, 1, 1}, ACTIVATION_GELU_TANH},
        {"gpt_neox", 2, 24, 3, 3, 8, 24, 4, 0, 1, 0, {0}, ACTIVATION_GELU_ERF},
        {"llama2", 2, 16, 4, 4, 4, 24, 4, 0, 0, 1, {0}, ACTIVATION_SILU},
        {"llama3", 2, 16, 4, 2, 4, 24, 4, 0, 0, 1, {0}, ACTIVATION_SILU},
        {"mistral", 2, 16, 4, 2, 6, 24, 6, 3, 0, 1, {1, 1}, ACTIVATION_SILU},
        {"gemma", 2, 16, 4, 1, 6, 24, 6, 0, 0, 1, {0}, ACTIVATION_GELU_TANH},
        {"gemma2", 3, 16, 4, 2, 6, 24, 6, 3, 0, 1, {1, 0, 1}, ACTIVATION_GELU_TANH},
        {"qwen2", 2, 16, 4, 2, 4, 24, 4, 0, 0, 0, {0}, ACTIVATION_SILU},
        {"qwen2-window", 2, 16, 4, 2, 4, 24, 4, 3, 0, 0, {0, 1}, ACTIVATION_SILU},
        {"qwen3", 2, 16, 4, 2, 6, 24, 6, 0, 0, 0, {0}, ACTIVATION_SILU},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct model_config c =
            model_config_of(test_store, find_artifact(test_store, ARTIFACT_MODEL, cases[i].name));
        assert_int_equal(c.layers, cases[i].layers);
        assert_int_equal(c.d_model, cases[i].d_model);
        assert_int_equal(c.heads, cases[i].heads);
        assert_int_equal(c.kv_heads, cases[i].kv_heads);
        assert_int_equal(c.d_head, cases[i].d_head);
        assert_int_equal(c.d_mlp, cases[i].d_mlp);
        assert_int_equal(c.rotary.dims, cases[i].rotary);
        assert_int_equal(c.window, cases[i].window);
        assert_int_equal(c.layer_norm, cases[i].layer_norm);
        assert_int_equal(c.prepend_bos, cases[i].prepend_bos);
        assert_int_equal(c.activation, cases[i].activation);
        assert_int_equal(c.vocabulary_size, VOCABULARY);
        assert_int_equal(c.bos, 256);
        assert_int_equal(c.eos, 257);
        for (size_t layer = 0; layer < c.layers; layer++)
            assert_int_equal(model_layer_is_local(&c, layer), cases[i].local[layer]);
    }
}

/* Names of modules where they are no hook, and the hook that parallel blocks have not. */
static void test_hooks_refused(void **state)
{
    (void)state;
    struct hook hook;
    struct error err = {0};
    struct model_config neox =
        model_config_of(test_store, find_artifact(test_store, ARTIFACT_MODEL, "gpt_neox"));
    struct model_config gemma2 =
        model_config_of(test_store, find_artifact(test_store, ARTIFACT_MODEL, "gemma2"));
    assert_int_equal(hook_parse(&neox, "blocks.1.hook_resid_mid", &hook, &err), STATUS_REFUSED);
    assert_says("add attention and MLP at once");
    assert_int_equal(hook_parse(&neox, "resid_mid_layer_0", &hook, &err), STATUS_REFUSED);
    assert_ok(hook_parse(&neox, "layers.1.attention", &hook, &err));
    assert_string_equal(hook.name, "blocks.1.hook_attn_out");
    assert_int_equal(hook_parse(&gemma2, "layers.1.mlp", &hook, &err), STATUS_REFUSED);
    assert_says("goes through a norm");
    assert_ok(hook_parse(&gemma2, "layers.1", &hook, &err));
    assert_string_equal(hook.name, "blocks.1.hook_resid_post");
    assert_ok(hook_parse(&gemma2, "blocks.1.hook_mlp_out", &hook, &err));
    /* Centring is LayerNorm models' and the residual stream's. */
    assert_false(hook_is_centred(&gemma2, &hook));
    assert_ok(hook_parse(&neox, "blocks.1.hook_mlp_out", &hook, &err));
    assert_true(hook_is_centred(&neox, &hook));
    assert_ok(hook_parse(&neox, "blocks.1.attn.hook_z", &hook, &err));
    assert_false(hook_is_centred(&neox, &hook));
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
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_hooks_refused),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_words),
    };
    return cmocka_run_group_tests_name("model families", tests, set_up_store, tear_down_store);
}
