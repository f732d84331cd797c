/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Contexts of strings: each string and each context is kept once. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index_texts.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

#define STRINGS_BYTES_MAX ((uint64_t)1 << 30)

/* ---- Reading. ---- */

struct index_texts {
    struct store_tensor token_bytes, token_ends, context_tokens, context_ends, context_numbers;
};

static int damaged(struct error *err)
{
    return error_set(err, STATUS_STORE, "the contexts of an imported index are damaged: import it anew");
}

static int open_tensor(struct store_txn *t, artifact_id index, const char *name, enum dtype dtype,
                       struct store_tensor *out, struct error *err)
{
    int status = store_tensor_open(t, index, name, out, err);
    return !status && (out->dtype != dtype || out->ndim != 1) ? damaged(err) : status;
}

int index_texts_open(struct store_txn *t, artifact_id index, struct index_texts **out, struct error *err)
{
    *out = NULL;
    if (!store_tensor_exists(t, index, "context_tokens"))
        return STATUS_OK;
    struct index_texts *x = xcalloc(1, sizeof(*x));
    int status = open_tensor(t, index, "token_bytes", DTYPE_U8, &x->token_bytes, err);
    if (!status)
        status = open_tensor(t, index, "token_ends", DTYPE_U64, &x->token_ends, err);
    if (!status)
        status = open_tensor(t, index, "context_tokens", DTYPE_U32, &x->context_tokens, err);
    if (!status)
        status = open_tensor(t, index, "context_ends", DTYPE_U64, &x->context_ends, err);
    if (!status)
        status = open_tensor(t, index, "context_numbers", DTYPE_U32, &x->context_numbers, err);
    if (!status && x->context_numbers.shape[0] != x->context_ends.shape[0])
        status = damaged(err);
    if (status)
        free(x);
    else
        *out = x;
    return status;
}

void index_texts_close(struct index_texts *x)
{
    free(x);
}

/* Where entry i begins and ends, by the column of ends; both within `limit`. */
static int find_range(struct store_txn *t, const struct store_tensor *ends, size_t i, size_t limit,
                      size_t *from, size_t *to, struct error *err)
{
    uint64_t pair[2] = {0, 0};
    if (i >= ends->shape[0])
        return damaged(err);
    int status = store_tensor_read(t, ends, i ? i - 1 : 0, i ? 2 : 1, i ? pair : pair + 1, err);
    if (!status && (pair[0] > pair[1] || pair[1] > limit))
        status = damaged(err);
    *from = pair[0];
    *to = pair[1];
    return status;
}

int index_texts_token(struct index_texts *x, struct store_txn *t, size_t token, struct strbuf *out,
                      struct error *err)
{
    size_t from, to;
    int status = find_range(t, &x->token_ends, token, x->token_bytes.shape[0], &from, &to, err);
    if (status || from == to)
        return status;
    char *bytes = array_alloc(to - from, 1, "a token", err);
    if (!bytes)
        return STATUS_FAILED;
    status = store_tensor_read(t, &x->token_bytes, from, to - from, bytes, err);
    if (!status)
        strbuf_add(out, bytes, to - from);
    free(bytes);
    return status;
}

int index_texts_context(struct index_texts *x, struct store_txn *t, size_t context,
                        struct latent_context *out, struct error *err)
{
    struct strbuf texts = STRBUF_INIT;
    size_t from, to;
    uint32_t number;
    int status = find_range(t, &x->context_ends, context, x->context_tokens.shape[0], &from, &to, err);
    if (!status)
        status = store_tensor_read(t, &x->context_numbers, context, 1, &number, err);
    if (status)
        return status;
    out->context = number;
    out->length = to - from;
    uint32_t *tokens = array_alloc(out->length, sizeof(*tokens), "a context", err);
    out->text_ends = array_alloc(out->length, sizeof(*out->text_ends), "a context", err);
    status = tokens && out->text_ends
                 ? store_tensor_read(t, &x->context_tokens, from, out->length, tokens, err)
                 : STATUS_FAILED;
    for (size_t i = 0; i < out->length && !status; i++) {
        status = index_texts_token(x, t, tokens[i], &texts, err);
        out->text_ends[i] = texts.length;
    }
    free(tokens);
    out->texts = strbuf_detach(&texts);
    return status;
}

/* ---- Writing. ---- */

/* Open addressing: slots hold numbers + 1 of entries whose hashes are at `hashes`. */
struct table {
    uint64_t (*hashes)[2];
    size_t n, capacity;
    uint32_t *slots;
    size_t n_slots; /* a power of 2 */
};

static void grow_slots(struct table *table)
{
    size_t n = table->n_slots ? 2 * table->n_slots : 1024;
    free(table->slots);
    table->slots = xcalloc(n, sizeof(*table->slots));
    table->n_slots = n;
    for (size_t i = 0; i < table->n; i++) {
        size_t at = table->hashes[i][0] & (n - 1);
        while (table->slots[at])
            at = (at + 1) & (n - 1);
        table->slots[at] = (uint32_t)(i + 1);
    }
}

/* The number of what has these 128 bits of hash; *is_new: it was not there. */
static uint32_t table_number(struct table *table, const void *bytes, size_t n, uint64_t seed, int *is_new)
{
    const uint64_t hash[2] = {hash64(bytes, n, seed), hash64(bytes, n, ~seed)};
    if (2 * (table->n + 1) > table->n_slots)
        grow_slots(table);
    size_t at = hash[0] & (table->n_slots - 1);
    *is_new = 0;
    for (; table->slots[at]; at = (at + 1) & (table->n_slots - 1)) {
        const uint64_t *other = table->hashes[table->slots[at] - 1];
        if (other[0] == hash[0] && other[1] == hash[1])
            return table->slots[at] - 1;
    }
    if (table->n == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 1024;
        table->hashes = xreallocarray(table->hashes, table->capacity, sizeof(*table->hashes));
    }
    memcpy(table->hashes[table->n], hash, sizeof(hash));
    table->slots[at] = (uint32_t)++table->n;
    *is_new = 1;
    return (uint32_t)table->n - 1;
}

static void table_free(struct table *table)
{
    free(table->hashes);
    free(table->slots);
}

struct text_collector {
    struct tensor_writer *token_bytes, *token_ends, *context_tokens, *context_ends, *context_numbers;
    struct table tokens, contexts;
    uint64_t n_bytes, n_tokens;
};

static int begin(struct store *s, artifact_id index, const char *name, enum dtype dtype,
                 struct tensor_writer **w, struct error *err)
{
    const size_t shape[1] = {0};
    return store_tensor_begin_growing(s, index, name, dtype, 1, shape, w, err);
}

int text_collector_new(struct store *s, artifact_id index, struct text_collector **out, struct error *err)
{
    struct text_collector *c = xcalloc(1, sizeof(*c));
    int status = begin(s, index, "token_bytes", DTYPE_U8, &c->token_bytes, err);
    if (!status)
        status = begin(s, index, "token_ends", DTYPE_U64, &c->token_ends, err);
    if (!status)
        status = begin(s, index, "context_tokens", DTYPE_U32, &c->context_tokens, err);
    if (!status)
        status = begin(s, index, "context_ends", DTYPE_U64, &c->context_ends, err);
    if (!status)
        status = begin(s, index, "context_numbers", DTYPE_U32, &c->context_numbers, err);
    if (status) {
        text_collector_free(c);
        c = NULL;
    }
    *out = c;
    return status;
}

void text_collector_free(struct text_collector *c)
{
    if (!c)
        return;
    struct tensor_writer *const writers[] = {c->token_bytes, c->token_ends, c->context_tokens,
                                             c->context_ends, c->context_numbers};
    for (size_t i = 0; i < ARRAY_LENGTH(writers); i++)
        if (writers[i])
            store_tensor_abandon(writers[i]);
    table_free(&c->tokens);
    table_free(&c->contexts);
    free(c);
}

int text_collector_token(struct text_collector *c, const void *bytes, size_t n, uint32_t *token,
                         struct error *err)
{
    int is_new;
    if (c->tokens.n >= UINT32_MAX / 2 || n > STRINGS_BYTES_MAX - c->n_bytes)
        return error_set(err, STATUS_REFUSED, "there are too many different tokens");
    *token = table_number(&c->tokens, bytes, n, 1, &is_new);
    if (!is_new)
        return STATUS_OK;
    c->n_bytes += n;
    int status = n ? store_tensor_append(c->token_bytes, bytes, n, err) : STATUS_OK;
    return status ? status : store_tensor_append(c->token_ends, &c->n_bytes, 1, err);
}

int text_collector_context(struct text_collector *c, uint32_t number, const uint32_t *tokens, size_t n,
                           uint32_t *context, struct error *err)
{
    int is_new;
    if (c->contexts.n >= UINT32_MAX / 2)
        return error_set(err, STATUS_REFUSED, "there are too many contexts");
    *context = table_number(&c->contexts, tokens, n * sizeof(*tokens), hash_mix(number, n, 0, 0), &is_new);
    if (!is_new)
        return STATUS_OK;
    if (number == UINT32_MAX)
        number = *context;
    c->n_tokens += n;
    int status = n ? store_tensor_append(c->context_tokens, tokens, n, err) : STATUS_OK;
    if (!status)
        status = store_tensor_append(c->context_ends, &c->n_tokens, 1, err);
    return status ? status : store_tensor_append(c->context_numbers, &number, 1, err);
}

size_t text_collector_contexts(const struct text_collector *c)
{
    return c->contexts.n;
}

int text_collector_finish(struct text_collector *c, struct error *err)
{
    struct tensor_writer **const writers[] = {&c->token_bytes, &c->token_ends, &c->context_tokens,
                                              &c->context_ends, &c->context_numbers};
    int status = STATUS_OK;
    for (size_t i = 0; i < ARRAY_LENGTH(writers) && !status; i++) {
        struct tensor_writer *w = *writers[i];
        *writers[i] = NULL;
        status = store_tensor_finish(w, err);
    }
    return status;
}
