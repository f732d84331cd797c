/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Contexts of a text, as SAELens' concat_and_batch_sequences cuts them. One walk over the documents' starts
 * finds where each context's tokens start; from there any context is made alone. A context always goes on
 * exactly where the one before stopped, since the BOS before it is not a token of the text.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/model/text.h"

struct contexts {
    struct store_tensor tokens, documents;
    uint64_t n_tokens;
    size_t n_documents, size;
    int prepend_bos;
    uint32_t bos;
    struct uncounted absent; /* what the documents are known not to have */
    uint64_t *starts; /* [count + 1] positions in the text; NULL without BOS: multiples of size */
    size_t count;
};

/* A row at a time of a tensor, a block looked up when it changes. */
struct column {
    struct store_txn *t;
    const struct store_tensor *x;
    const void *data;
    size_t first, n;
};

static int column_seek(struct column *c, size_t row, struct error *err)
{
    if (row >= c->first && row - c->first < c->n)
        return STATUS_OK;
    return store_tensor_block(c->t, c->x, row / c->x->rows_per_block, &c->data, &c->first, &c->n, err);
}

/* ---- The walk. ---- */

struct walk {
    const struct contexts *c;
    struct column tokens, documents;
    uint64_t at; /* the next token's position */
    size_t document;
    uint64_t end; /* the document's */
};

static int document_start(struct walk *w, size_t document, uint64_t *start, struct error *err)
{
    int status = column_seek(&w->documents, document, err);
    if (status)
        return status;
    *start = ((const uint64_t *)w->documents.data)[document - w->documents.first];
    if (*start > w->c->n_tokens)
        return error_set(err, STATUS_STORE, "damaged text: document %zu starts after the last token",
                         document);
    return STATUS_OK;
}

static uint32_t column_token(const struct column *tokens, uint64_t at)
{
    size_t row = (size_t)at - tokens->first;
    return tokens->x->dtype == DTYPE_U16 ? ((const uint16_t *)tokens->data)[row]
                                         : ((const uint32_t *)tokens->data)[row];
}

/* Puts the walk at a token: its document is the last that starts at or before it. */
static int walk_to(struct walk *w, uint64_t at, struct error *err)
{
    size_t low = 0, high = w->c->n_documents;
    uint64_t start;
    int status;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((status = document_start(w, middle + 1, &start, err)))
            return status;
        if (start <= at)
            low = middle + 1;
        else
            high = middle;
    }
    w->at = at;
    w->document = low;
    w->end = at;
    return low < w->c->n_documents ? document_start(w, low + 1, &w->end, err) : STATUS_OK;
}

/* Goes from a document's end to the next that is not empty; end == at: there was none. */
static int next_document(struct walk *w, struct error *err)
{
    while (w->end == w->at && w->document + 1 < w->c->n_documents) {
        w->document++;
        int status = document_start(w, w->document + 1, &w->end, err);
        if (status)
            return status;
        if (w->end < w->at)
            return error_set(err, STATUS_STORE, "damaged text: document %zu ends before it starts",
                             w->document);
    }
    return STATUS_OK;
}

/* Takes n tokens of the document; ids may be NULL. */
static int take(struct walk *w, size_t n, uint32_t *ids, struct error *err)
{
    for (size_t i = 0; ids && i < n;) {
        int status = column_seek(&w->tokens, (size_t)w->at + i, err);
        if (status)
            return status;
        size_t end = w->tokens.first + w->tokens.n - (size_t)w->at;
        for (end = end < n ? end : n; i < end; i++)
            ids[i] = column_token(&w->tokens, w->at + i);
    }
    w->at += n;
    return STATUS_OK;
}

/* Whether BOS goes before the next token: not when that is BOS itself. */
static int needs_bos(struct walk *w, int *needed, struct error *err)
{
    *needed = w->c->prepend_bos;
    if (!*needed || uncounted_find(&w->c->absent, w->c->bos))
        return STATUS_OK;
    int status = column_seek(&w->tokens, (size_t)w->at, err);
    if (!status)
        *needed = column_token(&w->tokens, w->at) != w->c->bos;
    return status;
}

/* One context; *whole = 0 when the text ends before it is full. ids [size] may be NULL. */
static int walk_context(struct walk *w, uint32_t *ids, int *whole, struct error *err)
{
    size_t filled = 0, size = w->c->size;
    *whole = 0;
    while (filled < size) {
        int needed, status = next_document(w, err);
        if (status || w->end == w->at)
            return status;
        if ((status = needs_bos(w, &needed, err)))
            return status;
        if (needed) {
            if (ids)
                ids[filled] = w->c->bos;
            filled++;
        }
        size_t n = size - filled;
        if (w->end - w->at < n)
            n = (size_t)(w->end - w->at);
        if ((status = take(w, n, ids ? ids + filled : NULL, err)))
            return status;
        filled += n;
    }
    *whole = 1;
    return STATUS_OK;
}

static struct walk walk_new(const struct contexts *c, struct store_txn *t)
{
    return (struct walk){
        .c = c, .tokens = {t, &c->tokens, NULL, 0, 0}, .documents = {t, &c->documents, NULL, 0, 0}};
}

/* ---- Opening. ---- */

static int find_starts(struct contexts *c, struct store_txn *t, struct error *err)
{
    if (!c->prepend_bos) {
        c->count = (size_t)(c->n_tokens / c->size);
        return STATUS_OK;
    }
    /* At worst every other place is a BOS. */
    size_t most = (size_t)(c->n_tokens / (c->size / 2)) + 1;
    c->starts = array_alloc(most + 1, sizeof(*c->starts), "the contexts' starts", err);
    if (!c->starts)
        return STATUS_FAILED;
    struct walk w = walk_new(c, t);
    int whole, status = walk_to(&w, 0, err);
    c->starts[0] = 0;
    while (!status && !(status = walk_context(&w, NULL, &whole, err)) && whole)
        c->starts[++c->count] = w.at;
    return status;
}

static int read_manifest(struct contexts *c, struct store_txn *t, artifact_id text, struct error *err)
{
    json *manifest = store_manifest(t, text, err);
    if (!manifest)
        return err->code;
    uncounted_read_absent(&c->absent, manifest);
    json_free(manifest);
    return STATUS_OK;
}

static int open_tensors(struct contexts *c, struct store_txn *t, artifact_id text, struct error *err)
{
    int status = store_tensor_open(t, text, "tokens", &c->tokens, err);
    if (!status)
        status = store_tensor_open(t, text, "documents", &c->documents, err);
    if (status)
        return status;
    if ((c->tokens.dtype != DTYPE_U16 && c->tokens.dtype != DTYPE_U32) || c->tokens.ndim != 1 ||
        c->documents.dtype != DTYPE_U64 || c->documents.ndim != 1 || !c->documents.shape[0] ||
        !c->tokens.rows_per_block || !c->documents.rows_per_block)
        return error_set(err, STATUS_STORE, "damaged text: tokens or documents of an unexpected type");
    c->n_tokens = c->tokens.shape[0];
    c->n_documents = c->documents.shape[0] - 1;
    return STATUS_OK;
}

int contexts_open(struct store_txn *t, artifact_id text, size_t context_size, int prepend_bos, uint32_t bos,
                  struct contexts **out, struct error *err)
{
    if (context_size < (prepend_bos ? 2 : 1) || context_size > UINT32_MAX)
        return error_set(err, STATUS_REFUSED, "contexts of %zu tokens%s: there is no room for text",
                         context_size, prepend_bos ? " that start with BOS" : "");
    if (prepend_bos && bos == TOKEN_NONE)
        return error_set(err, STATUS_REFUSED, "contexts that start with BOS: the model has no BOS token");
    struct contexts *c = xcalloc(1, sizeof(*c));
    c->size = context_size;
    c->prepend_bos = prepend_bos;
    c->bos = bos;
    int status = read_manifest(c, t, text, err);
    if (!status)
        status = open_tensors(c, t, text, err);
    if (!status)
        status = find_starts(c, t, err);
    if (status) {
        contexts_close(c);
        return status;
    }
    *out = c;
    return STATUS_OK;
}

void contexts_close(struct contexts *c)
{
    if (!c)
        return;
    free(c->starts);
    free(c);
}

size_t contexts_count(const struct contexts *c)
{
    return c->count;
}

size_t contexts_size(const struct contexts *c)
{
    return c->size;
}

size_t contexts_held_out_from(const struct contexts *c)
{
    return c->count - (c->count / 50 + (c->count % 50 != 0));
}

/* Position in the text of context i's first token that is no BOS put before it. */
static uint64_t context_start(const struct contexts *c, size_t i)
{
    return c->starts ? c->starts[i] : (uint64_t)i * c->size;
}

/* ---- Reading and counting. ---- */

int contexts_read(const struct contexts *c, struct store_txn *t, size_t first, size_t n, uint32_t *ids,
                  struct error *err)
{
    if (first > c->count || n > c->count - first)
        return error_set(err, STATUS_REFUSED, "contexts %zu to %zu of %zu", first, first + n, c->count);
    struct walk w = walk_new(c, t);
    int whole = 1, status = n ? walk_to(&w, context_start(c, first), err) : STATUS_OK;
    for (size_t i = 0; i < n && !status; i++) {
        status = walk_context(&w, ids + i * c->size, &whole, err);
        if (!status && (!whole || w.at != context_start(c, first + i + 1)))
            status = error_set(err, STATUS_STORE, "damaged text: context %zu is not whole", first + i);
    }
    return status;
}

size_t contexts_counted(const struct model *m, const uint32_t *ids, size_t n, uint8_t *counted)
{
    const struct model_config *config = model_get_config(m);
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        counted[i] = (uint8_t)model_counts(config, ids[i]);
        sum += counted[i];
    }
    return sum;
}

/* Whether every token of the text counts and every BOS put before does not. */
static int all_text_counts(const struct contexts *c, const struct model_config *config)
{
    struct uncounted all;
    uncounted_init(&all, config);
    for (size_t i = 0; i < all.n; i++)
        if (!uncounted_find(&c->absent, all.tokens[i].id))
            return 0;
    return !c->prepend_bos || !model_counts(config, c->bos);
}

/* Reads contexts until there are enough tokens. */
static int count_by_reading(const struct contexts *c, struct store_txn *t, const struct model *m,
                            uint64_t tokens, size_t *n_contexts, uint64_t *n_counted, struct error *err)
{
    uint32_t *ids = array_alloc(c->size, sizeof(*ids), "a context", err);
    uint8_t *counted = ids ? array_alloc(c->size, 1, "a context", err) : NULL;
    int whole = 1, status = counted ? STATUS_OK : STATUS_FAILED;
    struct walk w = walk_new(c, t);
    *n_contexts = 0;
    *n_counted = 0;
    if (!status)
        status = walk_to(&w, 0, err);
    while (!status && *n_contexts < c->count && (!tokens || *n_counted < tokens)) {
        status = walk_context(&w, ids, &whole, err);
        if (!status && whole)
            *n_counted += contexts_counted(m, ids, c->size, counted);
        else if (!status)
            status = error_set(err, STATUS_STORE, "damaged text: context %zu is not whole", *n_contexts);
        ++*n_contexts;
    }
    free(ids);
    free(counted);
    return status;
}

int contexts_for_tokens(const struct contexts *c, struct store_txn *t, const struct model *m, uint64_t tokens,
                        size_t *n_contexts, uint64_t *n_counted, struct error *err)
{
    if (!all_text_counts(c, model_get_config(m)))
        return count_by_reading(c, t, m, tokens, n_contexts, n_counted, err);
    size_t low = 0, high = c->count;
    while (tokens && low < high) {
        size_t middle = low + (high - low) / 2;
        if (context_start(c, middle) >= tokens)
            high = middle;
        else
            low = middle + 1;
    }
    *n_contexts = tokens ? low : c->count;
    *n_counted = context_start(c, *n_contexts);
    return STATUS_OK;
}
