/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SAELens folders: what is read against what SAELens computes (tests/data/saelens, made by
 * tests/reference/saelens.py), what is refused, and what comes back after export and import.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "saescope/sae/bases.h"
#include "saescope/sae/sae.h"
#include "tests/support/golden.h"

#define TOLERANCE 2e-5F

static struct store *store;

static char *saelens_path(const char *name)
{
    return data_path_in("saelens", name);
}

static int set_up(void **state)
{
    set_up_golden(state, "saelens/expected.safetensors");
    store = golden_store;
    return 0;
}

/* ---- Imports against SAELens' numbers. ---- */

static artifact_id import_folder(const char *path, const char *name, artifact_id base)
{
    return import_sae(&(struct sae_import){.path = path, .name = name, .base = base});
}

static artifact_id import_case(const char *name)
{
    char *path = saelens_path(name);
    artifact_id id = import_folder(path, name, 0);
    free(path);
    return id;
}

static void test_cases(void **state)
{
    (void)state;
    static const char *const names[] = {
        "standard",     "square", "topk",      "topk-rescaled",   "jumprelu", "jumprelu-f16", "rescaled-norm",
        "average-norm", "flat",   "flat-topk", "layer-norm-bf16", "oldest",   "oldest-scaled"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        check_golden(names[i], import_case(names[i]), TOLERANCE);
}

static artifact_id find(const char *name)
{
    return find_artifact(store, ARTIFACT_SAE, name);
}

/* After test_cases. */
static void test_manifests(void **state)
{
    (void)state;
    json *m = read_manifest(store, find("standard"));
    const json *source = json_get(m, "source");
    assert_string_equal(json_get_string(m, "kind", ""), "sae");
    assert_string_equal(json_get_string(m, "architecture", ""), "standard");
    assert_string_equal(json_get_string(m, "hook", ""), "blocks.1.hook_resid_pre");
    assert_int_equal(json_get_integer(m, "context_size", 0), 64);
    assert_int_equal(json_get_boolean(m, "prepend_bos", 0), 1);
    assert_int_equal(json_get_boolean(m, "center_activations", 1), 0);
    assert_string_equal(json_get_string(source, "neuronpedia_id", ""), "lm/1-res");
    assert_string_equal(json_get_string(source, "dataset_path", ""), "some/texts");
    assert_string_equal(json_get_string(source, "model_name", ""), "lm");
    json_free(m);
    m = read_manifest(store, find("flat"));
    assert_int_equal(json_get_boolean(m, "center_activations", 0), 1);
    json_free(m);
    m = read_manifest(store, find("flat-topk"));
    assert_string_equal(json_get_string(m, "architecture", ""), "topk");
    assert_int_equal(json_get_integer(m, "k", 0), 4);
    assert_string_equal(json_get_string(m, "normalize_activations", ""), "layer_norm");
    json_free(m);
    m = read_manifest(store, find("oldest"));
    assert_string_equal(json_get_string(m, "hook", ""), "blocks.1.hook_resid_pre");
    json_free(m);
    m = read_manifest(store, find("average-norm"));
    assert_string_equal(json_get_string(m, "normalize_activations", ""), "none");
    json_free(m);
    m = read_manifest(store, find("topk-rescaled"));
    assert_int_equal(json_length(json_get(json_get(m, "source"), "quirks")), 1);
    json_free(m);
}

/* ---- Refusals. ---- */

struct raw {
    const char *name, *dtype;
    size_t rows, columns; /* columns 0: a vector */
};

/* A folder with float32 tensors of small numbers; the tensor `bad` has a NaN in it. */
static char *make_folder(const char *config, const struct raw *tensors, size_t n, const char *bad)
{
    static int count;
    struct error err = {0};
    char *name = xasprintf("bad%d", count++), *folder = test_path(name);
    struct strbuf header = STRBUF_INIT, data = STRBUF_INIT;
    for (size_t i = 0; i < n; i++) {
        size_t elements = tensors[i].rows * (tensors[i].columns ? tensors[i].columns : 1),
               start = data.length;
        for (size_t j = 0; j < elements; j++) {
            float v = 0.25F * (float)(j % 7) - 0.5F;
            if (bad && strcmp(bad, tensors[i].name) == 0 && j == elements / 2)
                v = NAN;
            strbuf_add(&data, &v, sizeof(v));
        }
        strbuf_addf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu", i ? "," : "{", tensors[i].name,
                    tensors[i].dtype, tensors[i].rows);
        if (tensors[i].columns)
            strbuf_addf(&header, ",%zu", tensors[i].columns);
        strbuf_addf(&header, "],\"data_offsets\":[%zu,%zu]}", start, data.length);
    }
    strbuf_addc(&header, '}');
    struct strbuf file = STRBUF_INIT;
    uint64_t length = header.length;
    strbuf_add(&file, &length, 8);
    strbuf_add(&file, header.data, header.length);
    strbuf_add(&file, data.data, data.length);
    assert_ok(make_directories(folder, 0777, &err));
    char *weights = path_join(folder, "sae_weights.safetensors"), *cfg = path_join(folder, "cfg.json");
    assert_ok(file_write_atomic(weights, file.data, file.length, &err));
    assert_ok(file_write_atomic(cfg, config, strlen(config), &err));
    strbuf_free(&header);
    strbuf_free(&data);
    strbuf_free(&file);
    free(weights);
    free(cfg);
    free(name);
    return folder;
}

static void refuse_import(const char *path, const struct sae_import *with, const char *says)
{
    struct sae_import o = with ? *with : (struct sae_import){0};
    o.path = path;
    o.name = "refused";
    refuse_sae(&o, says);
}

static void refuse_weights(const char *config, const struct raw *tensors, size_t n, const char *bad,
                           const char *says)
{
    char *folder = make_folder(config, tensors, n, bad);
    refuse_import(folder, NULL, says);
    free(folder);
}

#define CONFIG(more) "{\"d_in\": 3, \"d_sae\": 5, \"hook_name\": \"blocks.0.hook_resid_pre\"" more "}"

static const struct raw good[] = {
    {"W_enc", "F32", 3, 5}, {"W_dec", "F32", 5, 3}, {"b_enc", "F32", 5, 0}, {"b_dec", "F32", 3, 0}};

static void test_refused_weights(void **state)
{
    (void)state;
    refuse_weights(CONFIG(""), good, 4, "W_enc", "sae_weights.safetensors: tensor W_enc holds a NaN");
    refuse_weights(CONFIG(""), good, 4, "W_dec", "tensor W_dec holds a NaN");
    refuse_weights(CONFIG(""), good, 4, "b_dec", "tensor b_dec holds a NaN");
    refuse_weights(CONFIG(""), good, 3, NULL, "b_dec");
    refuse_weights(CONFIG(""), good + 1, 3, NULL, "W_enc");
    refuse_weights(CONFIG(", \"architecture\": \"jumprelu\""), good, 4, NULL, "threshold");
    struct raw wrong[4];
    memcpy(wrong, good, sizeof(good));
    wrong[0].columns = 6;
    refuse_weights(CONFIG(""), wrong, 4, NULL,
                   "tensor W_enc has shape [3, 6], but cfg.json says d_in 3 and d_sae 5");
    memcpy(wrong, good, sizeof(good));
    wrong[2].rows = 4;
    refuse_weights(CONFIG(""), wrong, 4, NULL, "tensor b_enc has shape [4]");
    memcpy(wrong, good, sizeof(good));
    wrong[1].dtype = "I32";
    refuse_weights(CONFIG(""), wrong, 4, NULL, "tensor W_dec is of whole numbers");
    refuse_weights("{\"d_in\": 3, \"d_sae\": 6, \"hook_name\": \"h\"}", good, 4, NULL, "d_sae 6");
}

static void test_refused_configurations(void **state)
{
    (void)state;
    refuse_weights(CONFIG(", \"architecture\": \"gated\""), good, 4, NULL, "no tensor b_gate");
    refuse_weights(CONFIG(", \"architecture\": \"temporal\""), good, 4, NULL, "temporal cannot be read: standard, gated,");
    refuse_weights(CONFIG(", \"architecture\": \"skip_transcoder\""), good, 4, NULL,
                   "a skip_transcoder reads one place of the model and writes another");
    refuse_weights(CONFIG(", \"architecture\": \"batchtopk\", \"k\": 2"), good, 4, NULL, "no tensor threshold");
    refuse_weights(CONFIG(", \"architecture\": \"batch\\u001b[2Jtopk\""), good, 4, NULL, "\\x1B[2Jtopk");
    refuse_weights(CONFIG(", \"activation_fn_str\": \"tanh-relu\""), good, 4, NULL, "tanh-relu");
    refuse_weights(CONFIG(", \"architecture\": \"topk\""), good, 4, NULL, "k");
    refuse_weights(CONFIG(", \"architecture\": \"topk\", \"k\": 6"), good, 4, NULL,
                   "k must be between 1 and d_sae (5)");
    refuse_weights(CONFIG(", \"architecture\": \"topk\", \"k\": 0"), good, 4, NULL, "k must be between");
    refuse_weights(CONFIG(", \"normalize_activations\": \"covariance_whitening\""), good, 4, NULL,
                   "covariance_whitening");
    refuse_weights(CONFIG(", \"reshape_activations\": \"sideways\""), good, 4, NULL, "reshape_activations sideways");
    refuse_weights("{\"d_in\": 3, \"d_sae\": 5}", good, 4, NULL, "names no hook");
    refuse_weights("{\"d_sae\": 5}", good, 4, NULL, "d_in");
    refuse_weights("{\"d_in\": -3, \"d_sae\": 5}", good, 4, NULL, "d_in");
    refuse_weights("{\"d_in\": 0, \"d_sae\": 5, \"hook_name\": \"h\"}", good, 4, NULL, "must be positive");
    refuse_weights("[1, 2]", good, 4, NULL, "cfg.json");
    refuse_weights("{\"d_in\": 3,", good, 4, NULL, "cfg.json");
    refuse_weights(CONFIG(", \"metadata\": {\"kind\": \"meta\", \"base\": \"nowhere\"}"), good, 4, NULL,
                   "meta-SAE of nowhere");
    refuse_weights(CONFIG(", \"metadata\": {\"kind\": \"meta\"}"), good, 4, NULL, "--base");
    struct sae_import wrong_base = {.base = find("standard")};
    char *folder = make_folder(CONFIG(""), good, 4, NULL);
    refuse_import(folder, &wrong_base, "d_in is 3, but its base's decoder rows have 12 numbers");
    refuse_import(folder, &(struct sae_import){.format = "saelense"}, "no format named saelense");
    free(folder);
    refuse_import(test_directory, NULL, "does not look like an SAE");
    char *missing = test_path("missing");
    refuse_import(missing, NULL, "no such file");
    free(missing);
}

/* W_enc stored [d_sae, d_in] is told by its lengths. */
static void test_orientation(void **state)
{
    (void)state;
    struct error err = {0};
    struct raw turned[4];
    memcpy(turned, good, sizeof(good));
    turned[0].rows = 5;
    turned[0].columns = 3;
    char *folder = make_folder(CONFIG(""), turned, 4, NULL);
    artifact_id id = import_folder(folder, "turned", 0);
    struct sae *sae;
    struct store_txn *t = begin_reading(store);
    assert_ok(sae_open(t, id, &sae, &err));
    for (size_t j = 0; j < 15; j++)
        assert_true(sae_encoder_row(sae, j / 3)[j % 3] == 0.25F * (float)(j % 7) - 0.5F);
    sae_free(sae);
    store_end(t);
    free(folder);
}

/* ---- Export. ---- */

static void assert_same_sae(artifact_id a, artifact_id b, float tolerance)
{
    struct error err = {0};
    struct sae *x, *y;
    struct store_txn *t = begin_reading(store);
    assert_ok(sae_open(t, a, &x, &err));
    assert_ok(sae_open(t, b, &y, &err));
    assert_ptr_equal(x->architecture, y->architecture);
    assert_int_equal(x->d_in, y->d_in);
    assert_int_equal(x->d_sae, y->d_sae);
    assert_int_equal(x->k, y->k);
    assert_int_equal(x->apply_b_dec_to_input, y->apply_b_dec_to_input);
    assert_int_equal(x->normalization, y->normalization);
    assert_int_equal(!x->threshold, !y->threshold);
    for (size_t j = 0; j < x->d_sae; j++) {
        for (size_t i = 0; i < x->d_in; i++) {
            assert_true(fabsf(sae_encoder_row(x, j)[i] - sae_encoder_row(y, j)[i]) <= tolerance);
            assert_true(fabsf(sae_decoder_row(x, j)[i] - sae_decoder_row(y, j)[i]) <= tolerance);
        }
        if (x->threshold)
            assert_true(fabsf(x->threshold[j] - y->threshold[j]) <= tolerance);
        assert_true(fabsf((x->b_enc ? x->b_enc[j] : 0) - (y->b_enc ? y->b_enc[j] : 0)) <= tolerance);
    }
    sae_free(x);
    sae_free(y);
    store_end(t);
}

static char *export_sae(artifact_id id, const char *name, enum dtype dtype)
{
    struct error err = {0};
    char *folder = test_path(name);
    assert_ok(sae_export_folder(store, id, folder, NULL, dtype, NULL, &err));
    return folder;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dtype dtype;
        float tolerance;
    } cases[] = {
        {"standard", DTYPE_F32, 0},          {"topk", DTYPE_F32, 0},      {"jumprelu", DTYPE_F16, 2e-3F},
        {"jumprelu-f16", DTYPE_F16, 0},      {"square", DTYPE_F32, 0},    {"layer-norm-bf16", DTYPE_BF16, 0},
        {"topk-rescaled", DTYPE_BF16, 0.1F}, {"flat-topk", DTYPE_F32, 0}, {"rescaled-norm", DTYPE_F32, 0}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *name = xasprintf("again-%s", cases[i].name);
        char *folder = export_sae(find(cases[i].name), name, cases[i].dtype);
        assert_same_sae(find(cases[i].name), import_folder(folder, name, 0), cases[i].tolerance);
        free(folder);
        free(name);
    }
}

/* What SAELens will see. */
static void test_exported_files(void **state)
{
    (void)state;
    struct error err = {0};
    char *folder = export_sae(find("flat"), "files", DTYPE_F32),
         *path = path_join(folder, "sae_weights.safetensors");
    char *original = data_path("saelens/flat/sae_weights.safetensors"),
         *config_path = path_join(folder, "cfg.json");
    struct safetensors wrote, read;
    assert_ok(safetensors_open(&wrote, path, &err));
    assert_ok(safetensors_open(&read, original, &err));
    for (size_t i = 0; i < read.n_tensors; i++) {
        const struct tensor *x = &read.tensors[i].tensor, *y = safetensors_find(&wrote, read.tensors[i].name);
        assert_non_null(y);
        assert_int_equal(x->ndim, y->ndim);
        assert_memory_equal(x->shape, y->shape, (size_t)x->ndim * sizeof(size_t));
        assert_memory_equal(x->data, y->data, tensor_bytes(x));
    }
    json *config = json_parse_file(config_path, &err);
    const json *metadata = json_get(config, "metadata");
    assert_string_equal(json_get_string(config, "architecture", ""), "standard");
    assert_string_equal(json_get_string(config, "dtype", ""), "float32");
    assert_int_equal(json_get_integer(config, "d_in", 0), 12);
    assert_string_equal(json_get_string(metadata, "hook_name", ""), "blocks.1.hook_resid_pre");
    assert_string_equal(json_get_string(metadata, "model_name", ""), "lm");
    assert_int_equal(
        json_get_boolean(json_get(metadata, "model_from_pretrained_kwargs"), "center_writing_weights", 0), 1);
    json_free(config);
    safetensors_close(&wrote);
    safetensors_close(&read);
    free(folder);
    free(path);
    free(original);
    free(config_path);
}

/* A BatchTopK SAE, or a meta-SAE when there is a base. */
static artifact_id save_batchtopk(const char *name, artifact_id base, float large)
{
    struct sae *sae = new_sae("batchtopk", 12, 9);
    for (size_t i = 0; i < 12 * 9; i++) {
        sae->owned_W_enc[i] = 0.5F - 0.125F * (float)(i % 9);
        sae->owned_W_dec[i] = 0.25F * (float)(i % 5) - 0.5F;
    }
    sae->owned_W_dec[5] = large;
    for (size_t i = 0; i < 9; i++)
        sae->threshold[i] = 0.75F;
    sae->k = 3;
    sae->apply_b_dec_to_input = 1;
    json *training = json_new_object(), *m = sae_manifest(base ? NULL : "blocks.1.hook_resid_pre", 0, base);
    json_set(training, "steps", json_new_integer(77));
    json_set(training, "permute_columns", json_new_boolean(base != 0));
    json_set(m, "training", training);
    artifact_id id = save_sae(store, name, sae, m);
    sae_free(sae);
    return id;
}

static void test_batchtopk(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id = save_batchtopk("bt", 0, 0.5F);
    char *folder = export_sae(id, "bt", DTYPE_F16), *path = path_join(folder, "cfg.json");
    json *config = json_parse_file(path, &err);
    assert_string_equal(json_get_string(config, "architecture", ""), "jumprelu");
    json_free(config);
    artifact_id again = import_folder(folder, "bt-again", 0);
    assert_same_sae(id, again, 0);
    json *m = read_manifest(store, again);
    assert_string_equal(json_get_string(m, "architecture", ""), "batchtopk");
    assert_int_equal(json_get_integer(json_get(m, "training"), "steps", 0), 77);
    json_free(m);
    free(folder);
    free(path);
}

static void test_meta(void **state)
{
    (void)state;
    artifact_id base = find("standard"), id = save_batchtopk("meta", base, 0.5F);
    char *folder = export_sae(id, "meta", DTYPE_BF16);
    artifact_id named = import_folder(folder, "meta-named", 0),
                given = import_folder(folder, "meta-given", find("topk"));
    assert_same_sae(id, named, 0);
    json *m = read_manifest(store, named), *g = read_manifest(store, given);
    assert_string_equal(json_get_string(m, "kind", ""), "meta");
    assert_true(json_is_null(json_get(m, "hook")));
    assert_true(json_is_null(json_get(m, "context_size")));
    assert_true(json_get_boolean(m, "baseline", 0)); /* its training's columns were permuted */
    assert_int_equal(json_get_integer(json_get(m, "references"), "base", 0), base);
    assert_int_equal(json_get_integer(json_get(g, "references"), "base", 0), find("topk"));
    json_free(m);
    json_free(g);
    free(folder);
}

/* A joint meta-SAE comes back with all its bases, unless --base names another; one that is not there is named. */
static void test_joint_meta(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id bases[2] = {find("topk"), find("standard")}, id;
    struct sae *x = new_sae("batchtopk", 12, 6);
    json *manifest = sae_manifest(NULL, 0, bases[0]);
    x->k = 2;
    json_set(manifest, "references", meta_bases_references(bases, 2));
    id = save_sae(store, "joint", x, manifest);
    sae_free(x);
    char *folder = export_sae(id, "joint", DTYPE_F32);
    artifact_id named = import_folder(folder, "joint-named", 0),
                given = import_folder(folder, "joint-given", bases[1]);
    json *m = read_manifest(store, named), *g = read_manifest(store, given);
    assert_int_equal(meta_base_at(m, 0), bases[0]);
    assert_int_equal(meta_base_at(m, 1), bases[1]);
    assert_int_equal(meta_base_at(m, 2), 0);
    assert_int_equal(meta_base_at(g, 0), bases[1]);
    assert_int_equal(meta_base_at(g, 1), 0);
    json_free(m);
    json_free(g);
    assert_ok(store_rename(store, bases[1], "elsewhere", &err));
    struct sae_import o = {.path = folder, .name = "joint-lost"};
    assert_int_equal(sae_import_path(store, &o, NULL, &id, &err), STATUS_REFUSED);
    assert_says("meta-SAE of standard");
    assert_ok(store_rename(store, bases[1], "standard", &err));
    free(folder);
}

static void test_half_range(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id = save_batchtopk("large", 0, 70000);
    char *folder = test_path("large");
    assert_int_equal(sae_export_folder(store, id, folder, NULL, DTYPE_F16, NULL, &err), STATUS_REFUSED);
    assert_says("W_dec holds 70000");
    char *path = path_join(folder, "sae_weights.safetensors");
    assert_false(path_exists(path));
    assert_int_equal(sae_export_folder(store, id, folder, NULL, DTYPE_I32, NULL, &err), STATUS_USAGE);
    assert_int_equal(sae_export_folder(store, id, folder, "gemma-scope", DTYPE_F32, NULL, &err), STATUS_REFUSED);
    assert_ok(sae_export_folder(store, id, folder, "saelens", DTYPE_BF16, NULL, &err));
    free(path);
    free(folder);
}

/* A checkpoint's scale s: W_enc·s, W_dec/s, b_dec/s. */
static void test_training_scale(void **state)
{
    (void)state;
    struct error err = {0};
    char *folder =
        make_folder(CONFIG(", \"normalize_activations\": \"expected_average_only_in\""), good, 4, NULL);
    artifact_id plain = import_folder(folder, "plain", 0);
    char *scaler = path_join(folder, "activation_scaler.json");
    assert_int_equal(file_write_atomic(scaler, "{\"scaling_factor\": 4}", 21, &err), STATUS_OK);
    artifact_id scaled = import_folder(folder, "scaled", 0);
    struct sae *x, *y;
    struct store_txn *t = begin_reading(store);
    assert_ok(sae_open(t, plain, &x, &err));
    assert_ok(sae_open(t, scaled, &y, &err));
    for (size_t i = 0; i < 3; i++) {
        assert_true(sae_encoder_row(y, 2)[i] == sae_encoder_row(x, 2)[i] * 4);
        assert_true(sae_decoder_row(y, 2)[i] == sae_decoder_row(x, 2)[i] / 4);
        assert_true(y->b_dec[i] == x->b_dec[i] / 4);
    }
    assert_true(y->b_enc[1] == x->b_enc[1]);
    sae_free(x);
    sae_free(y);
    store_end(t);
    assert_int_equal(file_write_atomic(scaler, "{\"scaling_factor\": -1}", 22, &err), STATUS_OK);
    refuse_import(folder, NULL, "scaling_factor must be positive");
    free(scaler);
    free(folder);
}

/* What is known of a release beside its files: its scale goes the same way, and is not lost on the manifest. */
static void test_release_facts(void **state)
{
    (void)state;
    struct error err = {0};
    struct release_facts facts = {.origin = "hf:o/r@c/f", .release = "r/f", .neuronpedia = "lm/1-x", .center = 1, .scale = 8};
    char *folder =
        make_folder(CONFIG(", \"normalize_activations\": \"expected_average_only_in\""), good, 4, NULL);
    struct sae_import o = {.path = folder, .name = "released", .facts = &facts};
    artifact_id plain = import_folder(folder, "unreleased", 0), released = 0;
    assert_ok(sae_import_path(store, &o, NULL, &released, &err));
    struct sae *x, *y;
    struct store_txn *t = begin_reading(store);
    assert_ok(sae_open(t, plain, &x, &err));
    assert_ok(sae_open(t, released, &y, &err));
    for (size_t i = 0; i < 3; i++) {
        assert_true(sae_encoder_row(y, 2)[i] == sae_encoder_row(x, 2)[i] * 8);
        assert_true(sae_decoder_row(y, 2)[i] == sae_decoder_row(x, 2)[i] / 8);
        assert_true(y->b_dec[i] == x->b_dec[i] / 8);
    }
    sae_free(x);
    sae_free(y);
    store_end(t);
    json *m = read_manifest(store, released);
    const json *source = json_get(m, "source"), *notes = json_get(source, "quirks");
    assert_true(json_get_boolean(m, "center_activations", 0));
    assert_string_equal(json_get_string(source, "hub", ""), "hf:o/r@c/f");
    assert_string_equal(json_get_string(source, "release", ""), "r/f");
    assert_string_equal(json_get_string(source, "neuronpedia_id", ""), "lm/1-x");
    assert_int_equal(json_length(notes), 2);
    assert_non_null(strstr(json_string(json_at(notes, 0), ""), "norm_scaling_factor"));
    json_free(m);
    /* An SAE whose scale is folded already is left as it is. */
    free(folder);
    folder = make_folder(CONFIG(""), good, 4, NULL);
    o.path = folder;
    o.name = "released-plain";
    assert_ok(sae_import_path(store, &o, NULL, &released, &err));
    t = begin_reading(store);
    assert_ok(sae_open(t, plain, &x, &err));
    assert_ok(sae_open(t, released, &y, &err));
    assert_true(sae_encoder_row(y, 2)[0] == sae_encoder_row(x, 2)[0]);
    sae_free(x);
    sae_free(y);
    store_end(t);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_manifests),
        cmocka_unit_test(test_refused_weights),
        cmocka_unit_test(test_refused_configurations),
        cmocka_unit_test(test_orientation),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_exported_files),
        cmocka_unit_test(test_batchtopk),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_joint_meta),
        cmocka_unit_test(test_half_range),
        cmocka_unit_test(test_training_scale),
        cmocka_unit_test(test_release_facts),
    };
    return cmocka_run_group_tests_name("saelens", tests, set_up, tear_down_golden);
}
