/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gemma Scope's embedding SAEs on a Gemma 2. They were trained on rows of the embedding's table, of which the
 * model takes √d_model times as much: on a text, what they give is what they give on the rows.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/files/npz_write.h"
#include "saescope/files/zip_archive.h"
#include "saescope/formats/formats.h"
#include "saescope/model/model.h"
#include "tests/support/support.h"

enum { D = 16, LATENTS = 24, BOS = 256 }; /* of the small gemma2 */

/* ---- The SAE: numbers of a hash. ---- */

struct array {
    const char *name;
    int ndim;
    size_t rows, columns;
    double scale;
};
static const struct array arrays[] = {
    {"W_enc", 2, D, LATENTS, 1},  {"W_dec", 2, LATENTS, D, 1},     {"b_enc", 1, LATENTS, 0, 0.2},
    {"b_dec", 1, D, 0, 0.5},      {"threshold", 1, LATENTS, 0, 0.1},
};

static float number_of(const struct array *a, size_t i)
{
    double x = (double)(hash_mix((uint64_t)(a - arrays), i, 7, 0) >> 11) * 0x1p-52 - 1;
    return (float)(a->scale * (a->ndim == 1 && a->scale < 0.15 ? fabs(x) : x));
}

static int read_array(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    const struct array *a = arg;
    size_t width = a->ndim == 2 ? a->columns : 1;
    (void)err;
    for (size_t i = 0; i < n * width; i++)
        dst[i] = number_of(a, first * width + i);
    return STATUS_OK;
}

static artifact_id import_sae(artifact_id model)
{
    struct error err = {0};
    struct safetensors_source sources[ARRAY_LENGTH(arrays)];
    artifact_id id = 0;
    char *folder = test_path("gemma-scope-2b-pt-res/embedding/width_24/average_l0_6");
    assert_int_equal(make_directories(folder, 0700, NULL), 0);
    char *path = path_join(folder, "params.npz");
    for (size_t i = 0; i < ARRAY_LENGTH(arrays); i++)
        sources[i] = (struct safetensors_source){arrays[i].name,
                                                 arrays[i].ndim,
                                                 {arrays[i].rows, arrays[i].columns},
                                                 read_array,
                                                 (void *)(uintptr_t)&arrays[i]};
    assert_ok(npz_write(path, sources, ARRAY_LENGTH(arrays), DTYPE_F32, &err));
    const struct sae_import o = {.path = folder, .name = "embedding", .model = model};
    assert_ok(sae_import_path(test_store, &o, NULL, &id, &err));
    free(path);
    free(folder);
    return id;
}

/* ---- What it is to give. ---- */

/* The table's row, as the file has it. */
static void table_row(const struct tensor *table, uint32_t token, float *row)
{
    size_t bytes = D * dtype_size(table->dtype);
    floats_from(table->dtype, (const char *)table->data + token * bytes, row, D);
}

/* JumpReLU's activation of a latent on a row. */
static double activation(const float *row, size_t latent)
{
    double p = (double)number_of(&arrays[2], latent);
    for (size_t j = 0; j < D; j++)
        p += (double)row[j] * (double)number_of(&arrays[0], j * LATENTS + latent);
    return p > (double)number_of(&arrays[4], latent) ? p : 0;
}

static double given(const struct sparse_rows *rows, size_t row, size_t latent)
{
    for (size_t i = rows->offsets[row]; i < rows->offsets[row + 1]; i++)
        if (rows->latents[i] == latent)
            return (double)rows->values[i];
    return 0;
}

static void test_on_a_text(void **state)
{
    (void)state;
    static const char text[] = "Anything that has a few letters.";
    struct error err = {0};
    struct safetensors file;
    struct encoded_text e;
    artifact_id model;
    char *folder = data_path("families/gemma2"), *path = path_join(folder, "model.safetensors");
    const struct model_import o = {.directory = folder, .name = "gemma-2-2b"};
    assert_ok(model_import_folder(test_store, &o, NULL, &model, &err));
    artifact_id sae = import_sae(model);
    json *manifest = read_manifest(test_store, sae);
    assert_string_equal(json_get_string(manifest, "hook", ""), "hook_embed");
    assert_int_equal(json_get_integer(json_get(manifest, "references"), "model", 0), model);
    json_free(manifest);
    assert_ok(safetensors_open(&file, path, &err));
    const struct tensor *table = safetensors_find(&file, "model.embed_tokens.weight");
    assert_non_null(table);
    assert_ok(encode_text(test_store, sae, text, strlen(text), 1, &e, &err));
    assert_int_equal(e.n_tokens, strlen(text) + 1);
    assert_int_equal(e.ids[0], BOS);
    size_t active = 0;
    for (size_t i = 0; i < e.n_tokens; i++) {
        float row[D];
        table_row(table, e.ids[i], row);
        for (size_t latent = 0; latent < LATENTS; latent++) {
            double wanted = activation(row, latent), got = given(&e.rows, i, latent);
            if (!(fabs(wanted - got) < 1e-5))
                fail_msg("token %zu, latent %zu: %g, not %g", i, latent, got, wanted);
            active += wanted > 0;
        }
    }
    assert_true(active > e.n_tokens && active < e.n_tokens * LATENTS);
    encoded_text_free(&e);
    safetensors_close(&file);
    free(path);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_on_a_text)};
    if (!zip_library_version()) {
        printf("1..0 # SKIP built without libzip\n");
        return 0;
    }
    return cmocka_run_group_tests_name("embedding SAEs", tests, set_up_store, tear_down_store);
}
