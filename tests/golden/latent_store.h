/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store for the screens of latents: the shipped model, a short text with hostile characters, and SAEs whose
 * rows are unit vectors and simple mixtures of them, so that cosines and decompositions are known; their
 * index is written down, not computed.
 */
#ifndef SAESCOPE_TESTS_LATENT_STORE_H
#define SAESCOPE_TESTS_LATENT_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index.h"
#include "saescope/analysis/index_select.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/model/text.h"
#include "saescope/sae/sae.h"

#define WIDTH   48 /* latents of "big" */
#define D       256
#define LENGTH  32 /* of a context */
#define HOOK    "blocks.2.hook_resid_pre"
#define DEAD    7
#define HOSTILE 10

static const char text_lines[] = "{\"text\":\"Albert Einstein was a physicist born in Germany who formulated "
                                 "the special theory of relativity.\"}\n"
                                 "{\"text\":\"A rose is a shrub with prickly stems, usually having fragrant "
                                 "flowers; it belongs to the Rosaceae.\"}\n"
                                 "{\"text\":\"An \\u001b[31mescape\\u001b[0m sequence, a tab\\there,\\na new "
                                 "line, \\u202ereversed text and a "
                                 "zero\\u200bwidth space.\"}\n"
                                 "{\"text\":\"\\u4e2d\\u6587\\u5b57\\u7b26 and \\ud83d\\ude00 faces; "
                                 "caf\\u00e9 cre\\u0300me \\u0378 \\ufffd.\"}\n"
                                 "{\"text\":\"The Danube is the second longest European river; it flows from "
                                 "southwestern Germany to the Black Sea.\"}\n"
                                 "{\"text\":\"A physicist is a scientist who studies physics; a chemist is "
                                 "one who studies chemistry at a bench.\"}\n";

static struct error made;

static void made_ok(int status, const char *what)
{
    if (status != STATUS_OK)
        fail_msg("%s: %s", what, made.message);
}

static json *object(const char *format, unsigned long long a, unsigned long long b, unsigned bos)
{
    char *text = xasprintf(format, a, b, bos);
    json *m = json_parse(text, strlen(text), "manifest", &made);
    assert_non_null(m);
    free(text);
    return m;
}

/* Row i: a unit vector, or 0.6 of one and 0.8 of the next. */
static void set_row(float *row, size_t i, size_t step, size_t mixtures_from)
{
    memset(row, 0, D * sizeof *row);
    size_t at = i < mixtures_from ? i : i - mixtures_from;
    row[at * step % D] = i < mixtures_from ? 1 : 0.6f;
    if (i >= mixtures_from)
        row[(at + 1) * step % D] = 0.8f;
}

static artifact_id make_sae(struct store *s, const char *name, size_t n, size_t step, size_t mixtures_from,
                            float bias, json *manifest)
{
    struct sae *sae;
    artifact_id id;
    made_ok(sae_new(sae_architecture_find("standard", &made), D, n, &sae, &made), name);
    for (size_t i = 0; i < n; i++)
        set_row(sae->owned_W_dec + i * D, i, step, mixtures_from);
    memcpy(sae->owned_W_enc, sae->owned_W_dec, n * D * sizeof(float));
    if (!sae->b_enc)
        sae->b_enc = xcalloc(n, sizeof(float));
    for (size_t i = 0; i < n; i++)
        sae->b_enc[i] = bias;
    made_ok(store_create(s, ARTIFACT_SAE, name, 0, &id, &made), name);
    made_ok(sae_save(s, id, sae, manifest, &made), name);
    sae_free(sae);
    return id;
}

/* ---- An index that was never computed. ---- */

static void put(struct strbuf *b, uint32_t x, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        strbuf_addc(b, (char)(x >> 8 * i & 255));
}

static void put_float(struct strbuf *b, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put(b, bits, 4);
}

/* It fires on three tokens in a row, on the middle one most. */
static void put_context(struct strbuf *b, uint32_t context, uint32_t position, float activation,
                        uint32_t interval)
{
    static const float share[] = {0.25f, 1, 0.625f};
    put(b, context, 4);
    put_float(b, activation);
    put(b, position, 2);
    put(b, ARRAY_LENGTH(share), 2);
    put(b, interval, 1);
    for (uint32_t i = 0; i < ARRAY_LENGTH(share); i++) {
        put(b, position - 1 + i, 2);
        put_float(b, share[i] * activation);
    }
}

static float latent_max(size_t i)
{
    return 2 + (float)(i * 37 % 50) / 4;
}

static void put_contexts(struct store *s, artifact_id index, size_t n_contexts)
{
    struct strbuf bytes[WIDTH] = {{NULL, 0, 0}};
    struct record records[WIDTH];
    size_t n = 0;
    for (uint32_t i = 0; i < WIDTH; i++) {
        if (i == DEAD)
            continue;
        put(&bytes[i], (uint32_t)n_contexts + INDEX_INTERVALS, 4);
        for (uint32_t k = 0; k < n_contexts; k++)
            put_context(&bytes[i], k, 3 + (5 * i + 7 * k) % (LENGTH - 6), latent_max(i) * (1 - (float)k / 16),
                        RECORD_INTERVAL_TOP);
        for (uint32_t k = 0; k < INDEX_INTERVALS; k++)
            put_context(&bytes[i], k % (uint32_t)n_contexts, 4 + 3 * k,
                        latent_max(i) * (0.95f - 0.2f * (float)k), INDEX_INTERVALS - 1 - k);
        records[n++] = (struct record){i, bytes[i].data, bytes[i].length};
    }
    made_ok(store_put_records(s, index, RECORD_CONTEXTS, records, n, &made), "contexts");
    for (size_t i = 0; i < WIDTH; i++)
        strbuf_free(&bytes[i]);
}

static void put_column(struct store *s, artifact_id index, const char *name, enum dtype dtype, size_t across,
                       const void *values)
{
    const size_t shape[] = {WIDTH, across};
    struct tensor_writer *w;
    made_ok(store_tensor_begin(s, index, name, dtype, across > 1 ? 2 : 1, shape, &w, &made), name);
    made_ok(store_tensor_append(w, values, WIDTH, &made), name);
    made_ok(store_tensor_finish(w, &made), name);
}

static void make_index(struct store *s, artifact_id sae, artifact_id text, size_t n_contexts, uint32_t bos)
{
    static uint32_t fired[WIDTH], histogram[WIDTH][INDEX_BINS];
    static float max[WIDTH], min[WIDTH], mean[WIDTH];
    artifact_id index;
    for (uint32_t i = 0; i < WIDTH; i++) {
        fired[i] = 0;
        for (uint32_t b = 0; b < INDEX_BINS && i != DEAD; b++) {
            uint32_t distance = b > i ? b - i : i - b;
            histogram[i][b] = distance < 20 ? 1u << (19 - distance) / 2 : 0;
            fired[i] += histogram[i][b];
        }
        max[i] = i == DEAD ? 0 : latent_max(i);
        min[i] = i == DEAD ? 0 : 0.5f;
        mean[i] = i == DEAD ? 0 : latent_max(i) / 2;
    }
    made_ok(store_create(s, ARTIFACT_INDEX, NULL, 0, &index, &made), "index");
    put_column(s, index, "fired", DTYPE_U32, 1, fired);
    put_column(s, index, "max", DTYPE_F32, 1, max);
    put_column(s, index, "min", DTYPE_F32, 1, min);
    put_column(s, index, "mean", DTYPE_F32, 1, mean);
    put_column(s, index, "histogram", DTYPE_U32, INDEX_BINS, histogram);
    put_contexts(s, index, n_contexts);
    json *manifest = object("{\"kind\":\"index\",\"references\":{\"sae\":%llu,\"text\":%llu},\"bos\":%u,"
                            "\"text_tokens\":200000,\"context_size\":32,\"prepend_bos\":true}",
                            sae, text, bos);
    made_ok(store_publish(s, index, manifest, &made), "index");
}

static void make_labels(struct store *s, artifact_id sae)
{
    static char texts[WIDTH][40];
    struct label labels[WIDTH + 2];
    size_t n = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        if (i == 5 || i == DEAD)
            continue;
        snprintf(texts[i], sizeof texts[i], i % 6 == 3 ? "physicist, physics, %zu" : "label of number %zu",
                 i);
        labels[n++] = (struct label){i, LABEL_AUTO, texts[i], strlen(texts[i])};
    }
    labels[n++] = (struct label){3, LABEL_USER, "what physicists do", 18};
    labels[n++] = (struct label){HOSTILE, LABEL_IMPORTED, "\033[31mred\xe2\x80\xae", 11};
    made_ok(store_put_labels(s, sae, labels, n, &made), "labels");
}

/* The number of whole contexts, and the BOS that its manifest would name. */
static size_t count_contexts(struct store *s, artifact_id model, artifact_id text, uint32_t *bos)
{
    struct store_txn *t;
    struct contexts *c;
    struct model *m;
    made_ok(store_begin(s, &t, &made), "store");
    made_ok(model_open(t, model, &m, &made), "model");
    *bos = model_get_config(m)->bos;
    made_ok(contexts_open(t, text, LENGTH, 1, *bos, &c, &made), "contexts");
    size_t n = contexts_count(c);
    contexts_close(c);
    model_free(m);
    store_end(t);
    return n;
}

static void latent_store_make(const char *path)
{
    struct store_options options = {.path = path, .create = 1};
    struct store *s;
    artifact_id model, text;
    uint32_t bos;
    char *folder = shipped_file("wordnet-lm");
    struct model_import import = {.directory = folder, .name = "lm"};
    struct text_import lines = {.path = "lines.jsonl", .name = "lines", .model = "lm"};
    made_ok(store_open(&options, &s, &made), path);
    made_ok(model_import_folder(s, &import, NULL, &model, &made), folder);
    made_ok(file_write_atomic("lines.jsonl", text_lines, strlen(text_lines), &made), "lines.jsonl");
    made_ok(text_import(s, &lines, NULL, &text, &made), "lines.jsonl");
    size_t n = count_contexts(s, model, text, &bos);
    assert_true(n >= 4);
    static const char form[] =
        "{\"kind\":\"sae\",\"hook\":\"" HOOK "\",\"center_activations\":false,\"context_size\":32,"
        "\"prepend_bos\":true,\"source\":\"test\",\"references\":{\"model\":%llu}}";
    artifact_id big = make_sae(s, "big", WIDTH, 3, 40, -1, object(form, model, 0, 0));
    make_sae(s, "small", 8, 9, 8, -1,
             object("{\"kind\":\"sae\",\"hook\":\"" HOOK
                    "\",\"center_activations\":false,\"context_size\":32,"
                    "\"prepend_bos\":true,\"source\":{\"neuronpedia_id\":\"tiny-lm/2-res\"},"
                    "\"references\":{\"model\":%llu}}",
                    model, 0, 0));
    artifact_id meta = make_sae(
        s, "big-meta", 12, 3, 12, -0.1f,
        object("{\"kind\":\"meta\",\"hook\":null,\"source\":\"test\",\"references\":{\"base\":%llu}}", big, 0,
               0));
    make_index(s, big, text, n < 8 ? n : 8, bos);
    make_labels(s, big);
    made_ok(index_meta_run(s, meta, NULL, &made), "big-meta");
    store_close(s);
    free(folder);
}

#endif
