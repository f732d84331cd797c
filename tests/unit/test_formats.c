/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every producer's format: what is read against what the producer's library computes (tests/data/formats,
 * made by tests/reference/formats.py), where it says it belongs, which axis is which when d_in = d_sae, and
 * that nothing changes on the way out and in again. What is refused: test_formats_refused.c.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/npz_write.h"
#include "saescope/files/safetensors.h"
#include "saescope/files/zip_archive.h"
#include "saescope/sae/sae.h"
#include "tests/support/golden.h"

#define TOLERANCE 1e-4F

static struct store *store;

static int set_up(void **state)
{
    set_up_golden(state, "formats/expected.safetensors");
    store = golden_store;
    return 0;
}

/* ---- Cases. ---- */

static const struct format_case {
    const char *name, *path; /* in tests/data/formats */
    const char *format, *architecture, *hook, *quirk;
    size_t k; /* as imported */
    int apply_b_dec, options_k;
    const char *given_hook;
} cases[] = {
    {"saelens-gated", "saelens-gated", "saelens", "gated", "blocks.1.hook_resid_pre", NULL, 0, 1, 0, NULL},
    {"saelens-batchtopk", "saelens-batchtopk", "saelens", "batchtopk", "blocks.1.hook_resid_pre",
     "activation scale 0.75 was folded", 6, 1, 0, NULL},
    {"saelens-matryoshka", "saelens-matryoshka", "saelens", "batchtopk", "blocks.1.hook_resid_pre",
     "decoder norms were folded", 6, 1, 0, NULL},
    {"saelens-log-threshold", "saelens-log-threshold", "saelens", "jumprelu", "blocks.1.attn.hook_z",
     "log_threshold became threshold", 0, 0, 0, NULL},
    {"gemma-scope", "gemma-scope/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", "gemma-scope",
     "jumprelu", "blocks.20.hook_resid_post", "not subtracted", 0, 0, 0, NULL},
    {"gemma-scope-att", "gemma-scope-att/gemma-scope-9b-it-att/layer_3/width_16k/average_l0_20/params.npz",
     "gemma-scope", "jumprelu", "blocks.3.attn.hook_z", NULL, 0, 0, 0, NULL},
    {"gemma-scope-embedding", "gemma-scope-embedding/gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6",
     "gemma-scope", "jumprelu", "hook_embed", "an embedding SAE", 0, 0, 0, NULL},
    {"gemma-scope-2", "gemma-scope-2/resid_post/layer_12_width_16k_l0_medium", "gemma-scope-2", "jumprelu",
     "blocks.12.hook_resid_post", NULL, 0, 0, 0, NULL},
    {"gemma-scope-2-bare", "gemma-scope-2-bare/gemma-scope-2-270m-pt/attn_out/layer_9_width_16k_l0_small",
     "gemma-scope-2", "jumprelu", "blocks.9.attn.hook_z", "as the folders' names say", 0, 0, 0, NULL},
    {"llama-scope", "llama-scope", "llama-scope", "jumprelu", "blocks.8.hook_resid_post",
     "decoder norms were folded", 0, 0, 0, NULL},
    {"llama-scope-r1", "llama-scope-r1", "llama-scope", "jumprelu", "blocks.8.hook_resid_post", NULL, 0, 0, 0,
     NULL},
#define DICTIONARY(case, architecture, quirk, k, apply)                                                      \
    {"dictionary-" case,                                                                                     \
     "dictionary-" case,                                                                                     \
     "dictionary-learning",                                                                                  \
     architecture,                                                                                           \
     "blocks.3.hook_resid_post",                                                                             \
     quirk,                                                                                                  \
     k,                                                                                                      \
     apply,                                                                                                  \
     0,                                                                                                      \
     NULL},                                                                                                  \
    {                                                                                                        \
        "dictionary-" case "-bare", "dictionary-" case "-bare/ae.pt", "dictionary-learning", architecture,   \
            "blocks.0.hook_resid_pre", "taken for a", k, apply, 0, "blocks.0.hook_resid_pre"                 \
    }
    DICTIONARY("relu", "standard", "decoder norms were folded", 0, 1),
    DICTIONARY("new", "standard", "decoder.bias is not subtracted", 0, 0),
    DICTIONARY("gated", "gated", "trained without BOS", 0, 1),
    DICTIONARY("topk", "topk", NULL, 5, 1),
    DICTIONARY("batch_topk", "batchtopk", NULL, 5, 1),
    DICTIONARY("matryoshka", "batchtopk", NULL, 5, 1),
    DICTIONARY("jumprelu", "jumprelu", "b_dec is not subtracted", 0, 0),
    {"dictionary-unset", "dictionary-unset", "dictionary-learning", "batchtopk", "blocks.3.hook_resid_pre",
     "never set", 5, 1, 0, NULL},
    {"sparsify", "sparsify/layers.5", "sparsify", "topk", "blocks.5.hook_resid_post", NULL, 5, 1, 0, NULL},
    {"sparsify-mlp", "sparsify-mlp/layers.2.mlp", "sparsify", "topk", "blocks.2.hook_mlp_out", NULL, 5, 1, 0,
     NULL},
    {"openai-topk", "openai-topk/resid_post_mlp_v5_32k/autoencoders/8.pt", "openai", "topk",
     "blocks.8.hook_resid_post", "normalised", 6, 1, 0, NULL},
    {"openai-relu", "openai-relu/mlp_post_act/autoencoders/1.pt", "openai", "standard",
     "blocks.1.mlp.hook_post", NULL, 0, 1, 0, NULL},
    {"openai-tied", "openai-tied/resid_delta_attn/autoencoders/2.pt", "openai", "standard",
     "blocks.2.hook_attn_out", "the encoder's transpose", 0, 1, 0, NULL},
    {"goodfire", "goodfire/Llama-3.1-8B-Instruct-SAE-l19.pth", "goodfire", "standard",
     "blocks.19.hook_resid_post", "not subtracted", 0, 0, 0, NULL},
    {"goodfire-topk", "goodfire-topk", "goodfire", "topk", "hook_embed", "the decoder has no bias", 7, 0, 7,
     "hook_embed"},
    {"qwen-scope", "qwen-scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6", "qwen-scope", "topk",
     "blocks.3.hook_resid_post", "not subtracted", 6, 0, 0, NULL},
    {"qwen-scope-bare", "qwen-scope-bare/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer3.sae.pt", "qwen-scope",
     "topk", "blocks.3.hook_resid_post", "not subtracted", 6, 0, 0, NULL},
    {"qresearch", "qresearch/one", "qresearch", "standard", "blocks.19.hook_resid_post", "not subtracted", 0,
     0, 0, NULL},
    {"attention-saes", "attention-saes/all", "attention-saes", "standard", "blocks.5.attn.hook_z", NULL, 0, 1,
     0, NULL},
#define REPOSITORY(case, kind, architecture, quirk, k, apply)                                                \
    {                                                                                                        \
        "batchtopk-" case, "batchtopk-" case "/gpt2-small_blocks.8.hook_resid_pre_48_" kind "_6_0.0003_99",  \
            "batchtopk", architecture, "blocks.8.hook_resid_pre", quirk, k, apply, 0, NULL                   \
    }
    REPOSITORY("topk", "topk", "topk", "input_unit_norm", 6, 1),
    REPOSITORY("batchtopk", "batchtopk", "topk", "BatchTopK without a threshold", 6, 1),
    REPOSITORY("vanilla", "vanilla", "standard", NULL, 0, 1),
    REPOSITORY("jumprelu", "jumprelu", "jumprelu", "not subtracted", 0, 0),
    REPOSITORY("old", "topk", "topk", NULL, 6, 1),
    {"plain-safetensors", "plain-safetensors", "safetensors", "standard", "blocks.0.hook_resid_pre",
     "b_dec is subtracted from the input: taken for yes", 0, 1, 0, "blocks.0.hook_resid_pre"},
    {"plain-pt", "plain-pt/checkpoint.pt", "safetensors", "topk", "blocks.0.hook_resid_pre", NULL, 7, 1, 7,
     "blocks.0.hook_resid_pre"},
};

static char *case_path(const char *path)
{
    return data_path_in("formats", path);
}

static artifact_id import_case(const struct format_case *c)
{
    char *path = case_path(c->path);
    const struct sae_import o = {
        .path = path, .name = c->name, .hook = c->given_hook, .k = (size_t)c->options_k};
    artifact_id id = import_sae(&o);
    free(path);
    return id;
}

/* ---- Numbers. ---- */

static int has_quirk(const json *source, const char *text)
{
    const json *quirks = json_get(source, "quirks");
    for (size_t i = 0; i < json_length(quirks); i++)
        if (strstr(json_string(json_at(quirks, i), ""), text))
            return 1;
    return 0;
}

static void check_manifest(const struct format_case *c, artifact_id id)
{
    json *m = read_manifest(store, id);
    const json *source = json_get(m, "source");
    assert_string_equal(json_get_string(source, "format", ""), c->format);
    assert_string_equal(json_get_string(m, "architecture", ""), c->architecture);
    assert_string_equal(json_get_string(m, "hook", ""), c->hook);
    assert_int_equal(json_get_integer(m, "k", 0), c->k);
    assert_int_equal(json_get_boolean(m, "apply_b_dec_to_input", -1), c->apply_b_dec);
    if (c->quirk && !has_quirk(source, c->quirk))
        fail_msg("%s: no quirk says \"%s\"", c->name, c->quirk);
    json_free(m);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        artifact_id id = import_case(&cases[i]);
        check_golden(cases[i].name, id, TOLERANCE);
        check_manifest(&cases[i], id);
    }
}

static const char *source_string(const char *name, const char *key, char *buf, size_t size)
{
    json *m = read_manifest(store, find_artifact(store, ARTIFACT_SAE, name));
    snprintf(buf, size, "%s", json_get_string(json_get(m, "source"), key, ""));
    json_free(m);
    return buf;
}

/* After test_cases. */
static void test_what_they_belong_to(void **state)
{
    (void)state;
    static const struct {
        const char *name, *model;
    } models[] = {{"gemma-scope", "gemma-2-2b"},
                  {"gemma-scope-att", "gemma-2-9b-it"},
                  {"gemma-scope-2", "gemma-3-1b-pt"},
                  {"dictionary-relu", "pythia-70m-deduped"},
                  {"sparsify", "pythia-160m"},
                  {"openai-topk", "gpt2-small"},
                  {"goodfire", "Llama-3.1-8B-Instruct"},
                  {"batchtopk-old", "gpt2-small"},
                  {"qwen-scope", "Qwen3-1.7B-Base"},
                  {"qwen-scope-bare", "Qwen3-1.7B-Base"},
                  {"gemma-scope-2-bare", "gemma-3-270m"},
                  {"attention-saes", "gpt2-small"},
                  {"qresearch", "DeepSeek-R1-Distill-Llama-8B"}};
    char text[128];
    for (size_t i = 0; i < ARRAY_LENGTH(models); i++)
        assert_string_equal(source_string(models[i].name, "model_name", text, sizeof text), models[i].model);
    assert_string_equal(source_string("gemma-scope-2", "dtype", text, sizeof text), "bfloat16");
    assert_string_equal(source_string("plain-pt", "dtype", text, sizeof text), "float16");
    assert_string_equal(source_string("dictionary-topk-bare", "class", text, sizeof text), "AutoEncoderTopK");
    json *m = read_manifest(store, find_artifact(store, ARTIFACT_SAE, "sparsify"));
    assert_int_equal(json_get_integer(m, "context_size", 0), 256);
    json_free(m);
    m = read_manifest(store, find_artifact(store, ARTIFACT_SAE, "dictionary-relu"));
    assert_int_equal(json_get_integer(m, "context_size", 0), 128);
    assert_int_equal(json_get_boolean(m, "prepend_bos", 1), 0);
    json_free(m);
    /* sparsity.safetensors: 10^x summed. */
    m = read_manifest(store, find_artifact(store, ARTIFACT_SAE, "saelens-gated"));
    double l0 = 0;
    for (int i = 0; i < 48; i++)
        l0 += pow(10, -10 + 9.5 * i / 47);
    const json *sparsity = json_get(json_get(m, "source"), "sparsity");
    assert_true(fabs(json_get_number(sparsity, "l0", 0) - l0) < 1e-5);
    assert_int_equal(json_get_integer(sparsity, "silent_latents", 0), 1);
    json_free(m);
}

/* A meta-SAE of that repository is one that is given its base. */
static void test_meta(void **state)
{
    (void)state;
    artifact_id base = find_artifact(store, ARTIFACT_SAE, "goodfire");
    char *path = case_path("batchtopk-meta/gpt2-small_blocks.8.hook_resid_pre_48_batchtopk_4_0.0003_99");
    const struct sae_import o = {.path = path, .name = "batchtopk-meta", .base = base};
    artifact_id id = import_sae(&o);
    check_golden("batchtopk-meta", id, TOLERANCE);
    json *m = read_manifest(store, id);
    assert_string_equal(json_get_string(m, "kind", ""), "meta");
    assert_true(json_is_null(json_get(m, "hook")));
    assert_int_equal(json_get_integer(json_get(m, "references"), "base", 0), base);
    json_free(m);
    free(path);
}

static void test_options(void **state)
{
    (void)state;
    char *path = case_path("plain-npz/mine.npz");
    const struct sae_import o = {.path = path,
                                 .name = "plain-npz",
                                 .format = "npz",
                                 .hook = "hook_embed",
                                 .apply_b_dec_to_input = "no"};
    check_golden("plain-npz", import_sae(&o), TOLERANCE);
    free(path);
}

/* A scale that only SAELens' list of releases has. */
static void test_released_scale(void **state)
{
    (void)state;
    char *path = case_path("llama-scope-r1-scaled/repository/L8R");
    const struct release_facts facts = {.scale = 0.625};
    const struct sae_import o = {.path = path, .name = "llama-scope-r1-scaled", .facts = &facts};
    artifact_id id = import_sae(&o);
    check_golden("llama-scope-r1-scaled", id, TOLERANCE);
    json *m = read_manifest(store, id);
    assert_true(has_quirk(json_get(m, "source"), "the activation scale 0.625 was folded"));
    json_free(m);
    free(path);
}

/* SAELens' config_overrides of a release go before what the files say. */
static void test_released_normalization(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id = 0;
    char *path = case_path("saelens-batchtopk");
    const struct release_facts facts = {.normalize = "constant_norm_rescale"}, wrong = {.normalize = "twice"};
    const struct sae_import o = {.path = path, .name = "overridden", .facts = &facts};
    json *m = read_manifest(store, import_sae(&o));
    assert_string_equal(json_get_string(m, "normalize_activations", ""), "constant_norm_rescale");
    assert_true(has_quirk(json_get(m, "source"), "normalize_activations is constant_norm_rescale"));
    assert_false(has_quirk(json_get(m, "source"), "activation scale"));
    json_free(m);
    const struct sae_import bad = {.path = path, .name = "refused", .facts = &wrong};
    assert_int_equal(sae_import_path(store, &bad, NULL, &id, &err), STATUS_REFUSED);
    assert_says("twice");
    free(path);
}

/* Weights below the configuration, named themselves or by their folder. */
static void test_checkpoints(void **state)
{
    (void)state;
    char *path = case_path("llama-scope/checkpoints/final.safetensors"),
         *folder = case_path("llama-scope/checkpoints");
    const struct sae_import file = {.path = path, .name = "checkpoint"},
                            whole = {.path = folder, .name = "checkpoints"};
    check_golden("llama-scope", import_sae(&file), TOLERANCE);
    check_golden("llama-scope", import_sae(&whole), TOLERANCE);
    free(folder);
    free(path);
    static const char *const files[][2] = {{"dictionary-topk/ae.pt", "run/checkpoints/ae_100.pt"},
                                           {"dictionary-topk/config.json", "run/config.json"}};
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char *from = case_path(files[i][0]);
        copy_file(from, test_directory, files[i][1]);
        free(from);
    }
    path = test_path("run/checkpoints/ae_100.pt");
    const struct sae_import dictionary = {.path = path, .name = "ae_100"};
    artifact_id id = import_sae(&dictionary);
    check_golden("dictionary-topk", id, TOLERANCE);
    json *m = read_manifest(store, id);
    assert_string_equal(json_get_string(m, "hook", ""), "blocks.3.hook_resid_post");
    json_free(m);
    free(path);
}

/* ---- Orientation at 256 × 256. ---- */

#define SQUARE 256

static float number_at(size_t i, size_t j, size_t shift)
{
    return (float)((double)((i + 2 * j + shift) * 37 % 101) - 50) / 64;
}

/* Stored W_enc[i, j] and W_dec[i, j] are number_at(i, j, 0 and 5); *_turned: stored [d_in, d_sae]. */
static void check_square(const struct sae_import *o, int encoder_turned, int decoder_turned)
{
    struct error err = {0};
    struct sae *sae;
    artifact_id id = import_sae(o);
    struct store_txn *t = begin_reading(store);
    assert_ok(sae_open(t, id, &sae, &err));
    assert_int_equal(sae->d_in, SQUARE);
    assert_int_equal(sae->d_sae, SQUARE);
    for (size_t latent = 0; latent < SQUARE; latent++)
        for (size_t i = 0; i < SQUARE; i++) {
            assert_true(sae_encoder_row(sae, latent)[i] ==
                        (encoder_turned ? number_at(i, latent, 0) : number_at(latent, i, 0)));
            assert_true(sae_decoder_row(sae, latent)[i] ==
                        (decoder_turned ? number_at(i, latent, 5) : number_at(latent, i, 5)));
        }
    sae_free(sae);
    store_end(t);
}

static void test_square_checkpoints(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int encoder_turned, decoder_turned;
    } squares[] = {{"square-dictionary-linear/ae.pt", 0, 1},
                   {"square-dictionary-own/ae.pt", 1, 0},
                   {"square-goodfire/sae.pt", 0, 1},
                   {"square-openai/0.pt", 0, 1},
                   {"square-qwen-L0_4/layer1.sae.pt", 0, 1},
                   {"square-qresearch", 0, 1},
                   {"square-batchtopk", 1, 0}};
    for (size_t i = 0; i < ARRAY_LENGTH(squares); i++) {
        char *path = case_path(squares[i].path);
        const struct sae_import o = {
            .path = path, .name = "square", .hook = "blocks.0.hook_resid_pre", .replace = 1};
        check_square(&o, squares[i].encoder_turned, squares[i].decoder_turned);
        free(path);
    }
}

static int read_square(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    (void)err;
    for (size_t r = 0; r < n; r++)
        for (size_t j = 0; j < SQUARE; j++)
            dst[r * SQUARE + j] = number_at(first + r, j, *(const size_t *)arg);
    return STATUS_OK;
}

static int read_zeros(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    (void)arg;
    (void)first;
    (void)err;
    memset(dst, 0, n * sizeof *dst);
    return STATUS_OK;
}

struct square_file {
    const char *file, *encoder, *decoder, *b_enc, *b_dec, *threshold, *config_file, *config;
    int encoder_turned, decoder_turned;
};

static void write_square(const char *folder, const struct square_file *s)
{
    static size_t shifts[2] = {0, 5};
    struct error err = {0};
    const struct safetensors_source sources[] = {
        {s->encoder, 2, {SQUARE, SQUARE}, read_square, &shifts[0]},
        {s->decoder, 2, {SQUARE, SQUARE}, read_square, &shifts[1]},
        {s->b_enc, 1, {SQUARE}, read_zeros, NULL},
        {s->b_dec, 1, {SQUARE}, read_zeros, NULL},
        {s->threshold ? s->threshold : "", 1, {SQUARE}, read_zeros, NULL},
    };
    char *path = path_join(folder, s->file), *slash;
    char *parent = xstrdup(path);
    if ((slash = strrchr(parent, '/')))
        *slash = '\0';
    assert_ok(make_directories(parent, 0777, &err));
    size_t n = s->threshold ? 5 : 4, length = strlen(s->file);
    if (strcmp(s->file + length - 4, ".npz") == 0)
        assert_ok(npz_write(path, sources, n, DTYPE_F32, &err));
    else
        assert_ok(safetensors_write(path, sources, n, DTYPE_F32, NULL, &err));
    if (s->config) {
        char *config = path_join(folder, s->config_file);
        assert_ok(file_write_atomic(config, s->config, strlen(s->config), &err));
        free(config);
    }
    free(path);
    free(parent);
}

static void test_square_folders(void **state)
{
    (void)state;
    static const struct square_file files[] = {
        {"sae_weights.safetensors", "W_enc", "W_dec", "b_enc", "b_dec", NULL, "cfg.json",
         "{\"d_in\": 256, \"d_sae\": 256, \"architecture\": \"standard\"}", 1, 0},
        {"params.npz", "W_enc", "W_dec", "b_enc", "b_dec", "threshold", NULL, NULL, 1, 0},
        {"params.safetensors", "w_enc", "w_dec", "b_enc", "b_dec", "threshold", "config.json", "{}", 1, 0},
        {"checkpoints/final.safetensors", "encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias",
         NULL, "hyperparams.json",
         "{\"d_model\": 256, \"d_sae\": 256, \"jump_relu_threshold\": 0, \"norm_activation\": \"inference\"}",
         0, 1},
        {"sae.safetensors", "encoder.weight", "W_dec", "encoder.bias", "b_dec", NULL, "cfg.json",
         "{\"d_in\": 256, \"num_latents\": 256, \"k\": 3}", 0, 0},
        {"one.safetensors", "W_enc", "W_dec", "b_enc", "b_dec", NULL, NULL, NULL, 1, 0},
        {"two.npz", "encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias", NULL, NULL, NULL, 0,
         1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char *name = xasprintf("square%zu", i), *folder = test_path(name);
        write_square(folder, &files[i]);
        const struct sae_import o = {.path = folder, .name = name, .hook = "blocks.0.hook_resid_pre"};
        check_square(&o, files[i].encoder_turned, files[i].decoder_turned);
        free(folder);
        free(name);
    }
}

/* ---- Out and in again. ---- */

static void assert_same_bits(const float *a, const float *b, size_t n, const char *name, const char *what)
{
    if (!a != !b || (a && memcmp(a, b, n * sizeof *a) != 0))
        fail_msg("%s: %s changed", name, what);
}

static void assert_same_sae(const char *name, artifact_id a, artifact_id b)
{
    struct error err = {0};
    struct sae *x, *y;
    struct store_txn *t = begin_reading(store);
    assert_ok(sae_open(t, a, &x, &err));
    assert_ok(sae_open(t, b, &y, &err));
    assert_string_equal(x->architecture->name, y->architecture->name);
    assert_int_equal(x->k, y->k);
    assert_int_equal(x->d_in, y->d_in);
    assert_int_equal(x->d_sae, y->d_sae);
    assert_int_equal(x->apply_b_dec_to_input, y->apply_b_dec_to_input);
    assert_int_equal(x->normalization, y->normalization);
    for (size_t j = 0; j < x->d_sae; j++) {
        assert_same_bits(sae_encoder_row(x, j), sae_encoder_row(y, j), x->d_in, name, "W_enc");
        assert_same_bits(sae_decoder_row(x, j), sae_decoder_row(y, j), x->d_in, name, "W_dec");
    }
    assert_same_bits(x->b_dec, y->b_dec, x->d_in, name, "b_dec");
    assert_same_bits(x->b_enc, y->b_enc, x->d_sae, name, "b_enc");
    assert_same_bits(x->threshold, y->threshold, x->d_sae, name, "threshold");
    assert_same_bits(x->r_mag, y->r_mag, x->d_sae, name, "r_mag");
    assert_same_bits(x->b_mag, y->b_mag, x->d_sae, name, "b_mag");
    sae_free(x);
    sae_free(y);
    store_end(t);
}

/* An npz file has no place for a per-token normalisation. */
static int fits(const char *format, artifact_id id)
{
    json *m = read_manifest(store, id);
    int normalizes = strcmp(json_get_string(m, "normalize_activations", "none"), "none") != 0;
    json_free(m);
    return strcmp(format, "npz") != 0 || !normalizes;
}

/* After test_cases. */
static void test_round_trips(void **state)
{
    (void)state;
    static const char *const formats[] = {"saelens", "safetensors", "npz"};
    struct error err = {0};
    size_t refused = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        artifact_id id = find_artifact(store, ARTIFACT_SAE, cases[i].name);
        for (size_t j = 0; j < ARRAY_LENGTH(formats); j++) {
            char *name = xasprintf("%s-%s", cases[i].name, formats[j]), *folder = test_path(name);
            int status = sae_export_folder(store, id, folder, formats[j], DTYPE_F32, NULL, &err);
            if (fits(formats[j], id)) {
                assert_int_equal(status, STATUS_OK);
                const struct sae_import o = {.path = folder, .name = name, .hook = cases[i].hook};
                assert_same_sae(name, id, import_sae(&o));
            } else {
                assert_int_equal(status, STATUS_REFUSED);
                assert_says("no place for normalize_activations");
                refused++;
            }
            free(folder);
            free(name);
        }
    }
    assert_int_equal(refused, 3); /* OpenAI's TopK; the BatchTopK repository's input_unit_norm, twice */
}

/* What safetensors' metadata keeps besides the weights. */
static void test_metadata_comes_back(void **state)
{
    (void)state;
    json *m = read_manifest(store, find_artifact(store, ARTIFACT_SAE, "dictionary-batch_topk-safetensors"));
    assert_int_equal(json_get_integer(m, "context_size", 0), 128);
    assert_int_equal(json_get_boolean(m, "prepend_bos", 1), 0);
    assert_string_equal(json_get_string(json_get(m, "source"), "model_name", ""), "pythia-70m-deduped");
    json_free(m);
    struct error err = {0};
    char *folder = test_path("meta-again");
    assert_ok(sae_export_folder(store, find_artifact(store, ARTIFACT_SAE, "batchtopk-meta"), folder,
                                "safetensors", DTYPE_F32, NULL, &err));
    const struct sae_import o = {.path = folder, .name = "meta-again"};
    m = read_manifest(store, import_sae(&o));
    assert_string_equal(json_get_string(m, "kind", ""), "meta");
    assert_int_equal(json_get_integer(json_get(m, "references"), "base", 0),
                     find_artifact(store, ARTIFACT_SAE, "goodfire"));
    json_free(m);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_what_they_belong_to),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_released_scale),
        cmocka_unit_test(test_released_normalization),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_square_checkpoints),
        cmocka_unit_test(test_square_folders),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_metadata_comes_back),
    };
    if (!zip_library_version()) {
        printf("1..0 # SKIP built without libzip\n");
        return 0;
    }
    return cmocka_run_group_tests_name("formats", tests, set_up, tear_down_golden);
}
