/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The compiled vocabulary: its checks, its form in the store, and what is asked of it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/model/tokenizer_internal.h"

/* GPT-2's pattern; every repeat of one class is possessive where nothing could be given back. */
#define BLANK "\\p{White_Space}"
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++| ?[^" BLANK
                                   "\\p{L}\\p{N}]++|" BLANK "+(?!\\P{White_Space})|" BLANK "++";

void token_list_add(struct token_list *list, uint32_t id)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 64;
        list->ids = xreallocarray(list->ids, list->capacity, sizeof(*list->ids));
    }
    list->ids[list->n++] = id;
}

void token_list_free(struct token_list *list)
{
    free(list->ids);
    *list = (struct token_list){NULL, 0, 0};
}

size_t tokenizer_size(const struct tokenizer *tok)
{
    return tok->size;
}

const void *tokenizer_token(const struct tokenizer *tok, uint32_t id, size_t *n)
{
    if (id >= tok->size) {
        *n = 0;
        return "";
    }
    *n = tok->offsets[id + 1] - tok->offsets[id];
    return tok->bytes + tok->offsets[id];
}

int tokenizer_is_special(const struct tokenizer *tok, uint32_t id)
{
    return id < tok->size && tok->special[id];
}

uint32_t tokenizer_bos(const struct tokenizer *tok)
{
    return tok->bos;
}

uint32_t tokenizer_eos(const struct tokenizer *tok)
{
    return tok->eos;
}

void tokenizer_free(struct tokenizer *tok)
{
    if (!tok)
        return;
    pcre2_code_free(tok->pattern);
    free(tok->bytes);
    free(tok->offsets);
    free(tok->special);
    free(tok->merges);
    free(tok->added);
    free(tok->merge_table);
    free(tok);
}

/* ---- Checks. ---- */

static int check_merge(const struct tokenizer *tok, size_t rank, const char *where, struct error *err)
{
    const uint32_t *merge = tok->merges + 3 * rank;
    size_t n[3];
    const void *bytes[3];
    for (int i = 0; i < 3; i++) {
        if (merge[i] >= tok->size)
            return error_set(err, STATUS_REFUSED, "%s: merge %zu has token %u, but ids end at %zu", where,
                             rank, merge[i], tok->size);
        bytes[i] = tokenizer_token(tok, merge[i], &n[i]);
    }
    if (!n[0] || !n[1] || n[2] != n[0] + n[1] || memcmp(bytes[2], bytes[0], n[0]) ||
        memcmp((const char *)bytes[2] + n[0], bytes[1], n[1]))
        return error_set(err, STATUS_REFUSED, "%s: merge %zu does not make token %u of tokens %u and %u",
                         where, rank, merge[2], merge[0], merge[1]);
    return STATUS_OK;
}

static int check_vocabulary(const struct tokenizer *tok, const char *where, struct error *err)
{
    if (tok->offsets[0] != 0)
        return error_set(err, STATUS_REFUSED, "%s: token 0 does not start at 0", where);
    for (size_t i = 0; i < tok->size; i++)
        if (tok->offsets[i] > tok->offsets[i + 1])
            return error_set(err, STATUS_REFUSED, "%s: token %zu ends before it starts", where, i);
    for (unsigned b = 0; b < 256; b++) {
        size_t n;
        const uint8_t *bytes = tokenizer_token(tok, tok->byte_token[b], &n);
        if (n != 1 || bytes[0] != b)
            return error_set(err, STATUS_REFUSED,
                             "%s: no token for the byte 0x%02X: this is no byte-level vocabulary", where, b);
    }
    for (size_t i = 0; i < tok->n_added; i++) {
        size_t n;
        tokenizer_token(tok, tok->added[i].id, &n);
        if (!n)
            return error_set(err, STATUS_REFUSED, "%s: added token %u is empty", where, tok->added[i].id);
    }
    if ((tok->bos != TOKEN_NONE && tok->bos >= tok->size) ||
        (tok->eos != TOKEN_NONE && tok->eos >= tok->size))
        return error_set(err, STATUS_REFUSED, "%s: BOS or EOS is not below the vocabulary's size %zu", where,
                         tok->size);
    return STATUS_OK;
}

/* ---- What encoding needs. ---- */

static size_t merge_hash(uint32_t left, uint32_t right)
{
    return (size_t)((((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15ull) >> 24);
}

/* Of two merges of the same pair the later counts, as in Hugging Face's tokenizers. */
static int make_merge_table(struct tokenizer *tok, struct error *err)
{
    size_t slots = 64;
    while (slots < 2 * tok->n_merges)
        slots *= 2;
    tok->merge_table = array_alloc(slots, sizeof(*tok->merge_table), "the tokenizer's merges", err);
    if (!tok->merge_table)
        return err->code;
    memset(tok->merge_table, 0xFF, slots * sizeof(*tok->merge_table));
    tok->merge_mask = slots - 1;
    for (size_t rank = 0; rank < tok->n_merges; rank++) {
        const uint32_t *merge = tok->merges + 3 * rank;
        size_t i = merge_hash(merge[0], merge[1]) & tok->merge_mask;
        while (tok->merge_table[i].rank != TOKEN_NONE &&
               (tok->merge_table[i].left != merge[0] || tok->merge_table[i].right != merge[1]))
            i = (i + 1) & tok->merge_mask;
        tok->merge_table[i] = (struct merge_slot){merge[0], merge[1], (uint32_t)rank, merge[2]};
    }
    return STATUS_OK;
}

const struct merge_slot *tokenizer_find_merge(const struct tokenizer *tok, uint32_t left, uint32_t right)
{
    size_t i = merge_hash(left, right) & tok->merge_mask;
    while (tok->merge_table[i].rank != TOKEN_NONE) {
        if (tok->merge_table[i].left == left && tok->merge_table[i].right == right)
            return tok->merge_table + i;
        i = (i + 1) & tok->merge_mask;
    }
    return NULL;
}

static int compile_pattern(struct tokenizer *tok, struct error *err)
{
    int code;
    PCRE2_SIZE at;
    tok->pattern = pcre2_compile((PCRE2_SPTR)gpt2_pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED,
                                 &code, &at, NULL);
    if (!tok->pattern) {
        char message[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
        return error_set(err, STATUS_FAILED,
                         "the tokenizer's pattern, character %zu: %s (PCRE2 10.40 or later is needed)",
                         (size_t)at, message);
    }
    tok->jit = pcre2_jit_compile(tok->pattern, PCRE2_JIT_COMPLETE) == 0;
    return STATUS_OK;
}

static void prepare_added(struct tokenizer *tok)
{
    for (size_t i = 0; i < tok->n_added; i++) {
        size_t n;
        const uint8_t *bytes = tokenizer_token(tok, tok->added[i].id, &n);
        tok->added_first[bytes[0]] = 1;
        tok->special[tok->added[i].id] = (tok->added[i].flags & ADDED_SPECIAL) != 0;
        if (memchr(bytes, ' ', n) || memchr(bytes, '\n', n) ||
            (tok->added[i].flags & ~(uint32_t)ADDED_SPECIAL))
            tok->added_hold_blanks = 1;
    }
}

int tokenizer_prepare(struct tokenizer *tok, const char *where, struct error *err)
{
    int status = check_vocabulary(tok, where, err);
    for (size_t rank = 0; !status && rank < tok->n_merges; rank++)
        status = check_merge(tok, rank, where, err);
    if (status)
        return status;
    tok->special = array_zeroed(tok->size, 1, "the vocabulary", err);
    if (!tok->special)
        return err->code;
    prepare_added(tok);
    status = make_merge_table(tok, err);
    return status ? status : compile_pattern(tok, err);
}

/* ---- In the store: tensors, and one record with what is small. ---- */

static void add_settings(const struct tokenizer *tok, struct strbuf *out)
{
    json *settings = json_new_object();
    json_set(settings, "type", json_new_string("byte-level BPE"));
    json_set(settings, "pattern", json_new_string("gpt2"));
    json_set(settings, "add_prefix_space", json_new_boolean(tok->adds_prefix_space));
    json_set(settings, "bos", tok->bos == TOKEN_NONE ? json_new_null() : json_new_integer(tok->bos));
    json_set(settings, "eos", tok->eos == TOKEN_NONE ? json_new_null() : json_new_integer(tok->eos));
    json *bytes = json_new_array();
    for (unsigned b = 0; b < 256; b++)
        json_append(bytes, json_new_integer(tok->byte_token[b]));
    json_set(settings, "bytes", bytes);
    json *added = json_new_array();
    for (size_t i = 0; i < tok->n_added; i++) {
        json *entry = json_new_object();
        json_set(entry, "id", json_new_integer(tok->added[i].id));
        json_set(entry, "flags", json_new_integer(tok->added[i].flags));
        json_append(added, entry);
    }
    json_set(settings, "added", added);
    json_dump(settings, out);
    json_free(settings);
}

int tokenizer_save(const struct tokenizer *tok, struct store *s, artifact_id model, struct error *err)
{
    struct tensor bytes = {DTYPE_U8, 1, {tok->offsets[tok->size]}, tok->bytes};
    struct tensor offsets = {DTYPE_U32, 1, {tok->size + 1}, tok->offsets};
    struct tensor merges = {DTYPE_U32, 2, {tok->n_merges, 3}, tok->merges};
    int status = store_tensor_put(s, model, "tokenizer.bytes", &bytes, err);
    if (!status)
        status = store_tensor_put(s, model, "tokenizer.offsets", &offsets, err);
    if (!status && tok->n_merges)
        status = store_tensor_put(s, model, "tokenizer.merges", &merges, err);
    if (status)
        return status;
    struct strbuf settings = STRBUF_INIT;
    add_settings(tok, &settings);
    struct record record = {0, settings.data, settings.length};
    status = store_put_records(s, model, RECORD_TOKENIZER, &record, 1, err);
    strbuf_free(&settings);
    return status;
}

static int read_settings(struct tokenizer *tok, const json *settings, const char *where, struct error *err)
{
    const json *bytes = json_get(settings, "bytes"), *added = json_get(settings, "added");
    if (strcmp(json_get_string(settings, "pattern", ""), "gpt2") || !json_is_array(bytes) ||
        json_length(bytes) != 256 || !json_is_array(added))
        return error_set(err, STATUS_STORE, "%s: unknown or damaged tokenizer", where);
    tok->adds_prefix_space = json_get_boolean(settings, "add_prefix_space", 0);
    tok->bos = (uint32_t)json_get_integer(settings, "bos", TOKEN_NONE);
    tok->eos = (uint32_t)json_get_integer(settings, "eos", TOKEN_NONE);
    for (unsigned b = 0; b < 256; b++)
        tok->byte_token[b] = (uint32_t)json_integer(json_at(bytes, b), TOKEN_NONE);
    tok->n_added = json_length(added);
    tok->added = xcalloc(tok->n_added + 1, sizeof(*tok->added));
    for (size_t i = 0; i < tok->n_added; i++) {
        tok->added[i].id = (uint32_t)json_get_integer(json_at(added, i), "id", TOKEN_NONE);
        tok->added[i].flags = (uint32_t)json_get_integer(json_at(added, i), "flags", 0);
    }
    return STATUS_OK;
}

/* A whole tensor of the given type and row width; *rows = its first dimension. NULL with an error. */
static void *read_tensor(struct store_txn *t, artifact_id model, const char *name, enum dtype dtype,
                         size_t row_bytes, size_t *rows, struct error *err)
{
    struct store_tensor x;
    if (store_tensor_open(t, model, name, &x, err))
        return NULL;
    if (x.dtype != dtype || x.ndim < 1 || x.row_bytes != row_bytes || !x.shape[0]) {
        error_set(err, STATUS_STORE, "%s has an unexpected type or shape", name);
        return NULL;
    }
    *rows = x.shape[0];
    void *data = array_alloc(*rows, row_bytes, name, err);
    if (data && store_tensor_read(t, &x, 0, *rows, data, err)) {
        free(data);
        return NULL;
    }
    return data;
}

static int load(struct store_txn *t, artifact_id model, struct tokenizer *tok, const char *where,
                struct error *err)
{
    const void *record;
    size_t n, n_bytes, n_offsets;
    int status = store_record(t, model, RECORD_TOKENIZER, 0, &record, &n, err);
    if (status)
        return status;
    if (!record)
        return error_set(err, STATUS_REFUSED, "%s has no tokenizer", where);
    json *settings = json_parse(record, n, where, err);
    if (!settings)
        return err->code;
    status = read_settings(tok, settings, where, err);
    json_free(settings);
    if (status)
        return status;
    tok->bytes = read_tensor(t, model, "tokenizer.bytes", DTYPE_U8, 1, &n_bytes, err);
    tok->offsets =
        tok->bytes ? read_tensor(t, model, "tokenizer.offsets", DTYPE_U32, 4, &n_offsets, err) : NULL;
    if (!tok->offsets)
        return err->code;
    if (store_tensor_exists(t, model, "tokenizer.merges")) {
        tok->merges = read_tensor(t, model, "tokenizer.merges", DTYPE_U32, 12, &tok->n_merges, err);
        if (!tok->merges)
            return err->code;
    }
    if (n_offsets < 2 || n_offsets - 1 > TOKENIZER_SIZE_MAX || tok->offsets[n_offsets - 1] > n_bytes)
        return error_set(err, STATUS_STORE, "%s: damaged vocabulary", where);
    tok->size = n_offsets - 1;
    return tokenizer_prepare(tok, where, err);
}

int tokenizer_open(struct store_txn *t, artifact_id model, struct tokenizer **out, struct error *err)
{
    struct artifact artifact;
    int status = store_get(t, model, &artifact, err);
    if (status)
        return status;
    struct tokenizer *tok = xcalloc(1, sizeof(*tok));
    status = load(t, model, tok, artifact.name, err);
    if (status) {
        tokenizer_free(tok);
        return status;
    }
    *out = tok;
    return STATUS_OK;
}
