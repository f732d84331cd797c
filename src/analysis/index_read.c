/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading an index. Records are checked like any data: a damaged one is an error, not a crash. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/index.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/index_texts.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"
#include "saescope/model/text.h"

/* A column of n rows, copied out. NULL and an error when it is another's shape. */
static void *read_column(struct store_txn *t, artifact_id index, const char *name, enum dtype dtype,
                         size_t *n, struct error *err)
{
    struct store_tensor x;
    void *data;

    if (store_tensor_open(t, index, name, &x, err))
        return NULL;
    if (x.dtype != dtype || x.ndim != 1 || (*n && x.shape[0] != *n)) {
        error_set(err, STATUS_STORE, "column %s of an index is damaged: make the index anew", name);
        return NULL;
    }
    *n = x.shape[0];
    data = array_alloc(*n, dtype_size(dtype), "a column", err);
    if (data && store_tensor_read(t, &x, 0, *n, data, err)) {
        free(data);
        return NULL;
    }
    return data;
}

int index_columns_read(struct store_txn *t, artifact_id sae, struct index_columns *out, struct error *err)
{
    struct error local;
    json *manifest;

    memset(out, 0, sizeof(*out));
    out->index = store_index_of(t, sae);
    if (!out->index)
        return STATUS_OK;
    if (!err)
        err = &local;
    manifest = store_manifest(t, out->index, err);
    if (!manifest)
        return err->code;
    out->tokens = (uint64_t)json_get_integer(manifest, "text_tokens", 0);
    json_free(manifest);
    out->fired = read_column(t, out->index, "fired", DTYPE_U32, &out->n, err);
    if (out->fired)
        out->max = read_column(t, out->index, "max", DTYPE_F32, &out->n, err);
    if (out->max)
        out->min = read_column(t, out->index, "min", DTYPE_F32, &out->n, err);
    if (out->min)
        out->mean = read_column(t, out->index, "mean", DTYPE_F32, &out->n, err);
    if (!out->mean) {
        index_columns_free(out);
        return err->code;
    }
    return STATUS_OK;
}

void index_columns_free(struct index_columns *c)
{
    free(c->fired);
    free(c->max);
    free(c->min);
    free(c->mean);
    memset(c, 0, sizeof(*c));
}

static int read_row(struct store_txn *t, artifact_id index, const char *name, size_t latent, size_t bytes,
                    void *out, struct error *err)
{
    struct store_tensor x;
    int status = store_tensor_open(t, index, name, &x, err);

    if (status)
        return status;
    if (x.row_bytes != bytes)
        return error_set(err, STATUS_STORE, "column %s of an index is damaged: make the index anew", name);
    if (latent >= x.shape[0])
        return error_set(err, STATUS_REFUSED, "latent %zu is not among the %zu that are indexed", latent,
                         x.shape[0]);
    return store_tensor_read(t, &x, latent, 1, out, err);
}

static int not_indexed(struct store_txn *t, artifact_id sae, struct error *err)
{
    struct artifact a;
    int status = store_get(t, sae, &a, err);

    return status
               ? status
               : error_set(err, STATUS_REFUSED, "%s has no index: make one with `index %s`", a.name, a.name);
}

int index_histogram_read(struct store_txn *t, artifact_id sae, size_t latent, struct index_histogram *out,
                         struct error *err)
{
    artifact_id index = store_index_of(t, sae);
    uint32_t counts[INDEX_BINS];
    float min, max;
    int status;

    memset(out, 0, sizeof(*out));
    if (!index)
        return not_indexed(t, sae, err);
    status = read_row(t, index, "histogram", latent, sizeof(counts), counts, err);
    if (!status)
        status = read_row(t, index, "min", latent, sizeof(min), &min, err);
    if (!status)
        status = read_row(t, index, "max", latent, sizeof(max), &max, err);
    if (status)
        return status;
    histogram_edges(min, max, out->edges);
    for (int i = 0; i < INDEX_BINS; i++)
        out->counts[i] = counts[i];
    return STATUS_OK;
}

/* ---- Contexts. ---- */
struct reader {
    const unsigned char *data;
    size_t n, at;
    int bad;
};

static uint32_t take(struct reader *r, size_t bytes)
{
    uint32_t x = 0;

    if (r->n - r->at < bytes) {
        r->bad = 1;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        x |= (uint32_t)r->data[r->at++] << (8 * i);
    return x;
}

static float take_float(struct reader *r)
{
    uint32_t bits = take(r, 4);
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* Where a record's contexts are: in a text, or in the index itself. */
struct places {
    struct contexts *text;
    struct index_texts *own;
};

static int damaged(struct error *err)
{
    return error_set(err, STATUS_STORE, "the contexts of a latent are damaged: make the index anew");
}

/* The tokens, and how many there are. */
static int read_tokens(struct store_txn *t, const struct places *p, struct latent_context *out,
                       struct error *err)
{
    if (p->own)
        return index_texts_context(p->own, t, out->context, out, err);
    if (out->context >= contexts_count(p->text))
        return damaged(err);
    out->length = contexts_size(p->text);
    out->ids = array_alloc(out->length, sizeof(*out->ids), "a context", err);
    return out->ids ? contexts_read(p->text, t, out->context, 1, out->ids, err) : STATUS_FAILED;
}

/* One context of the record, with its tokens. */
static int read_context(struct store_txn *t, const struct places *p, struct reader *r,
                        struct latent_context *out, struct error *err)
{
    uint32_t interval, n_pairs;

    out->context = take(r, 4);
    out->activation = take_float(r);
    out->position = take(r, 2);
    n_pairs = take(r, 2);
    interval = take(r, 1);
    out->interval = interval == RECORD_INTERVAL_TOP ? -1 : (int)interval;
    if (r->bad || out->interval >= INDEX_INTERVALS || n_pairs > (r->n - r->at) / RECORD_PAIR_BYTES)
        return damaged(err);
    int status = read_tokens(t, p, out, err);
    if (status)
        return status;
    if (out->position >= out->length)
        return damaged(err);
    out->activations = array_zeroed(out->length, sizeof(*out->activations), "a context", err);
    if (!out->activations)
        return STATUS_FAILED;
    for (uint32_t i = 0; i < n_pairs; i++) {
        uint32_t position = take(r, 2);
        float activation = take_float(r);

        if (position < out->length)
            out->activations[position] = activation;
    }
    return STATUS_OK;
}

static int read_record(struct store_txn *t, const struct places *p, const void *data, size_t size,
                       struct latent_context **out, size_t *n, struct error *err)
{
    struct reader r = {data, size, 0, 0};
    size_t count = take(&r, 4);
    struct latent_context *contexts;
    int status = STATUS_OK;

    if (r.bad || count > (size - r.at) / RECORD_CONTEXT_BYTES)
        return damaged(err);
    contexts = xcalloc(count + 1, sizeof(*contexts));
    for (size_t i = 0; i < count && !status; i++)
        status = read_context(t, p, &r, &contexts[i], err);
    if (status) {
        latent_contexts_free(contexts, count);
        return status;
    }
    *out = contexts;
    *n = count;
    return STATUS_OK;
}

static int open_places(struct store_txn *t, artifact_id index, struct places *p, struct error *err)
{
    *p = (struct places){NULL, NULL};
    int status = index_texts_open(t, index, &p->own, err);
    if (status || p->own)
        return status;
    json *manifest = store_manifest(t, index, err);
    if (!manifest)
        return err ? err->code : STATUS_STORE;
    status = contexts_open(t, (artifact_id)json_get_integer(json_get(manifest, "references"), "text", 0),
                           (size_t)json_get_integer(manifest, "context_size", 0),
                           json_get_boolean(manifest, "prepend_bos", 0),
                           (uint32_t)json_get_integer(manifest, "bos", TOKEN_NONE), &p->text, err);
    json_free(manifest);
    return status;
}

int index_contexts_read(struct store_txn *t, artifact_id sae, size_t latent, struct latent_context **out,
                        size_t *n, struct error *err)
{
    artifact_id index = store_index_of(t, sae);
    struct places p;
    const void *data;
    size_t size;
    int status;

    *out = NULL;
    *n = 0;
    if (!index)
        return not_indexed(t, sae, err);
    status = store_record(t, index, RECORD_CONTEXTS, latent, &data, &size, err);
    if (status || !data)
        return status;
    status = open_places(t, index, &p, err);
    if (!status)
        status = read_record(t, &p, data, size, out, n, err);
    if (p.text)
        contexts_close(p.text);
    index_texts_close(p.own);
    return status;
}

void latent_contexts_free(struct latent_context *contexts, size_t n)
{
    for (size_t i = 0; contexts && i < n; i++) {
        free(contexts[i].ids);
        free(contexts[i].activations);
        free(contexts[i].texts);
        free(contexts[i].text_ends);
    }
    free(contexts);
}

const void *latent_context_token(const struct latent_context *c, const struct tokenizer *tok, size_t i,
                                 size_t *n)
{
    *n = 0;
    if (c->texts) {
        size_t start = i ? c->text_ends[i - 1] : 0;

        *n = c->text_ends[i] - start;
        return c->texts + start;
    }
    return tok && c->ids && c->ids[i] < tokenizer_size(tok) ? tokenizer_token(tok, c->ids[i], n) : "";
}

/* ---- Logits that came with the index: u8 n_positive, u8 n_negative, then of each f32 value, u32 token. ----
 */

static int read_logits(struct store_txn *t, struct index_texts *texts, struct reader *r,
                       struct token_logit *out, size_t n, struct strbuf *bytes, struct error *err)
{
    int status = STATUS_OK;

    for (size_t i = 0; i < n && !status; i++) {
        size_t start = bytes->length;

        out[i].value = take_float(r);
        status = index_texts_token(texts, t, take(r, 4), bytes, err);
        out[i].id = TOKEN_NONE;
        out[i].text_length = bytes->length - start;
    }
    return status;
}

/* Where the texts are is known when all are there. */
static const char *place_texts(struct token_logit *logits, size_t n, const char *at)
{
    for (size_t i = 0; i < n; i++) {
        logits[i].text = at;
        at += logits[i].text_length;
    }
    return at;
}

int index_logits_read(struct store_txn *t, artifact_id sae, size_t latent, struct latent_logits *out,
                      struct error *err)
{
    artifact_id index = store_index_of(t, sae);
    struct index_texts *texts = NULL;
    struct strbuf bytes = STRBUF_INIT;
    struct reader r = {NULL, 0, 0, 0};
    const void *data = NULL;

    memset(out, 0, sizeof(*out));
    int status = index ? store_record(t, index, RECORD_LOGITS, latent, &data, &r.n, err) : STATUS_OK;
    if (status || !data)
        return status;
    r.data = data;
    status = index_texts_open(t, index, &texts, err);
    out->n_positive = take(&r, 1);
    out->n_negative = take(&r, 1);
    if (!status && (!texts || out->n_positive > ARRAY_LENGTH(out->positive) ||
                    out->n_negative > ARRAY_LENGTH(out->negative) ||
                    r.n - r.at != 8 * (out->n_positive + out->n_negative)))
        status = error_set(err, STATUS_STORE, "the logits of a latent are damaged: import the index anew");
    if (!status)
        status = read_logits(t, texts, &r, out->positive, out->n_positive, &bytes, err);
    if (!status)
        status = read_logits(t, texts, &r, out->negative, out->n_negative, &bytes, err);
    index_texts_close(texts);
    out->texts = strbuf_detach(&bytes);
    if (status)
        latent_logits_free(out);
    else
        place_texts(out->negative, out->n_negative, place_texts(out->positive, out->n_positive, out->texts));
    return status;
}
