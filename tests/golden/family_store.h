/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A family for the screens: SAEs of three widths at a hook of their own, whose rows are written down so that
 * every cosine is known, a stitch between the first two whose parents are written down as well, and a
 * meta-SAE of the middle one.
 */
#ifndef SAESCOPE_TESTS_FAMILY_STORE_H
#define SAESCOPE_TESTS_FAMILY_STORE_H

#include "latent_store.h"
#include "saescope/analysis/stitch.h"

#define FAMILY_HOOK "blocks.1.hook_resid_pre"

/* Row `latent`: so much of some unit vectors. */
struct family_row {
    size_t latent;
    struct {
        size_t at;
        float value;
    } parts[3];
};

static const struct family_row rows_8[] = {
    {0, {{0, 1}}},  {1, {{10, 1}}}, {2, {{20, 1}}}, {3, {{30, 1}}},
    {4, {{40, 1}}}, {5, {{50, 1}}}, {6, {{60, 1}}}, {7, {{70, 1}}},
};

/* Latent 3 has two parents, 12 one by its activations alone. */
static const struct family_row rows_20[] = {
    {0, {{0, 0.8f}, {1, 0.6f}}},    {3, {{0, 0.705f}, {10, 0.709f}}}, {7, {{0, 0.96f}, {2, 0.28f}}},
    {9, {{10, 0.75f}, {3, 0.66f}}}, {12, {{0, 0.3f}, {105, 0.95f}}},  {15, {{0, 0.55f}, {4, 0.83f}}},
};

/* Two splits of most, and one of two. */
static const struct family_row rows_40[] = {
    {1, {{0, 0.8f}, {1, 0.6f}}},       {2, {{0, 0.6f}, {1, 0.45f}, {150, 0.66f}}},
    {11, {{0, 0.96f}, {2, 0.28f}}},    {14, {{0, 0.9f}, {1, 0.3f}, {152, 0.3f}}},
    {20, {{0, 0.705f}, {10, 0.709f}}}, {23, {{10, 0.75f}, {3, 0.66f}}},
    {31, {{105, 0.95f}, {154, 0.3f}}}, {38, {{105, 0.9f}, {155, 0.43f}}},
};

static artifact_id make_family_sae(struct store *s, const char *name, size_t n, const struct family_row *rows,
                                   size_t n_rows, artifact_id model)
{
    struct sae *sae;
    artifact_id id;
    static const char form[] =
        "{\"kind\":\"sae\",\"hook\":\"" FAMILY_HOOK "\",\"center_activations\":false,\"context_size\":32,"
        "\"prepend_bos\":true,\"source\":\"test\",\"references\":{\"model\":%llu}}";
    made_ok(sae_new(sae_architecture_find("standard", &made), D, n, &sae, &made), name);
    for (size_t i = 0; i < n; i++)
        sae->owned_W_dec[i * D + 200 + i] = 1;
    for (size_t i = 0; i < n_rows; i++) {
        float *row = sae->owned_W_dec + rows[i].latent * D;
        row[200 + rows[i].latent] = 0;
        for (size_t k = 0; k < 3; k++)
            if (rows[i].parts[k].value != 0)
                row[rows[i].parts[k].at] = rows[i].parts[k].value;
    }
    memcpy(sae->owned_W_enc, sae->owned_W_dec, n * D * sizeof(float));
    made_ok(store_create(s, ARTIFACT_SAE, name, 0, &id, &made), name);
    made_ok(sae_save(s, id, sae, object(form, model, 0, 0), &made), name);
    sae_free(sae);
    return id;
}

static void make_family_stitch(struct store *s, artifact_id small, artifact_id large)
{
    static const struct {
        uint32_t child, parent;
        float cosine, similarity;
    } parents[] = {
        {0, 0, 0.8f, 0.71f}, {7, 0, 0.96f, 0.94f}, {9, 1, 0.7507f, 0.25f}, {12, 0, 0.3011f, 0.66f}};
    struct strbuf bytes[ARRAY_LENGTH(parents)] = {{NULL, 0, 0}};
    struct record records[ARRAY_LENGTH(parents)];
    artifact_id id;
    for (size_t i = 0; i < ARRAY_LENGTH(parents); i++) {
        put(&bytes[i], parents[i].parent, 4);
        put_float(&bytes[i], parents[i].cosine);
        put_float(&bytes[i], parents[i].similarity);
        records[i] = (struct record){parents[i].child, bytes[i].data, bytes[i].length};
    }
    made_ok(store_create(s, ARTIFACT_STITCH, "f-8-20", 0, &id, &made), "stitch");
    made_ok(store_put_records(s, id, RECORD_PARENTS, records, ARRAY_LENGTH(parents), &made), "parents");
    json *manifest =
        object("{\"references\":{\"small\":%llu,\"large\":%llu},\"tokens\":%u}", small, large, 500);
    made_ok(store_publish(s, id, manifest, &made), "stitch");
    for (size_t i = 0; i < ARRAY_LENGTH(parents); i++)
        strbuf_free(&bytes[i]);
}

/* Its latents are the unit vectors that the middle SAE's are made of. */
static void make_family_meta(struct store *s, artifact_id base)
{
    static const size_t at[] = {0, 1, 2, 3, 4, 10, 105};
    struct sae *sae;
    artifact_id id;
    made_ok(sae_new(sae_architecture_find("standard", &made), D, ARRAY_LENGTH(at), &sae, &made), "f-20-meta");
    for (size_t i = 0; i < ARRAY_LENGTH(at); i++)
        sae->owned_W_enc[i * D + at[i]] = sae->owned_W_dec[i * D + at[i]] = 1;
    made_ok(store_create(s, ARTIFACT_SAE, "f-20-meta", 0, &id, &made), "f-20-meta");
    made_ok(sae_save(
                s, id, sae,
                object("{\"kind\":\"meta\",\"hook\":null,\"source\":\"test\",\"references\":{\"base\":%llu}}",
                       base, 0, 0),
                &made),
            "f-20-meta");
    const struct label labels[] = {{0, LABEL_AUTO, "science", 7}, {1, LABEL_AUTO, "chemical elements", 17}};
    made_ok(store_put_labels(s, id, labels, ARRAY_LENGTH(labels), &made), "labels");
    sae_free(sae);
}

static void family_store_make(const char *path)
{
    struct store_options options = {.path = path};
    struct store *s;
    struct store_txn *t;
    struct artifact model;
    made_ok(store_open(&options, &s, &made), path);
    made_ok(store_begin(s, &t, &made), path);
    made_ok(store_find(t, ARTIFACT_MODEL, "lm", &model, &made), "lm");
    store_end(t);
    artifact_id f8 = make_family_sae(s, "f-8", 8, rows_8, ARRAY_LENGTH(rows_8), model.id);
    artifact_id f20 = make_family_sae(s, "f-20", 20, rows_20, ARRAY_LENGTH(rows_20), model.id);
    artifact_id f40 = make_family_sae(s, "f-40", 40, rows_40, ARRAY_LENGTH(rows_40), model.id);
    static const struct label of_8[] = {{0, LABEL_AUTO, "science, scientific", 19},
                                        {1, LABEL_AUTO, "Germany", 7}};
    static const struct label of_20[] = {{0, LABEL_USER, "chemistry", 9},
                                         {3, LABEL_AUTO, "German science, German physicist and chemist", 44},
                                         {7, LABEL_AUTO, "physics", 7}};
    static const struct label of_40[] = {{1, LABEL_AUTO, "chemist", 7},
                                         {11, LABEL_AUTO, "\xe7\x89\xa9\xe7\x90\x86 physicist", 16},
                                         {31, LABEL_IMPORTED, "\033[31mred\xe2\x80\xae", 11}};
    made_ok(store_put_labels(s, f8, of_8, ARRAY_LENGTH(of_8), &made), "labels");
    made_ok(store_put_labels(s, f20, of_20, ARRAY_LENGTH(of_20), &made), "labels");
    made_ok(store_put_labels(s, f40, of_40, ARRAY_LENGTH(of_40), &made), "labels");
    make_family_stitch(s, f8, f20);
    make_family_meta(s, f20);
    store_close(s);
}

#endif
