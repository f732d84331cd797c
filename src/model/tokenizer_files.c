/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reads tokenizer.json, or vocab.json with merges.txt. There a token is written in characters that stand for
 * bytes (GPT-2's table: printable Latin-1 stands for itself, the other bytes for U+0100 and up).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/model/tokenizer_internal.h"

struct reading {
    struct tokenizer *tok;
    const char *where; /* displayable path */
    json *vocabulary;
    char **texts; /* [n_texts] the tokens' bytes by id, NULL where there is none */
    uint32_t *lengths;
    size_t n_texts;
    size_t merges_capacity;
};

/* ---- Characters that stand for bytes. ---- */

static int stands_for_itself(unsigned c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

/* The byte that a character below U+0144 stands for, or -1. */
static int byte_of(unsigned c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    unsigned left = c - 0x100;
    for (unsigned b = 0; b < 0x100; b++)
        if (!stands_for_itself(b) && left-- == 0)
            return (int)b;
    return -1;
}

/* The bytes that the characters stand for; text with any other character stands for its own UTF-8. */
static char *token_bytes(const char *text, uint32_t *n)
{
    size_t length = strlen(text), at = 0, used = 0;
    char *bytes = xmalloc(length + 1);
    while (at < length) {
        const unsigned char *p = (const unsigned char *)text + at;
        unsigned c = p[0] < 0x80             ? p[0]
                     : (p[0] & 0xE0) == 0xC0 ? (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu)
                                             : 0xFFFF;
        int b = c < 0x144 ? byte_of(c) : -1;
        if (b < 0) {
            memcpy(bytes, text, length + 1);
            *n = (uint32_t)length;
            return bytes;
        }
        bytes[used++] = (char)b;
        at += p[0] < 0x80 ? 1 : 2;
    }
    bytes[used] = '\0';
    *n = (uint32_t)used;
    return bytes;
}

/* ---- The vocabulary. ---- */

static int read_id(const json *value, const char *text, const char *where, uint32_t *id, struct error *err)
{
    long long n = json_is_integer(value) ? json_integer(value, -1) : -1;
    if (n >= 0 && (unsigned long long)n < TOKENIZER_SIZE_MAX) {
        *id = (uint32_t)n;
        return STATUS_OK;
    }
    char *shown = displayable_string(text);
    error_set(err, STATUS_REFUSED, "%s: the id of token \"%s\" is no whole number from 0 to %zu", where,
              shown, TOKENIZER_SIZE_MAX - 1);
    free(shown);
    return STATUS_REFUSED;
}

static int set_text(struct reading *r, uint32_t id, char *bytes, uint32_t n, struct error *err)
{
    if (id >= r->n_texts) {
        size_t n_texts = id + (size_t)1;
        r->texts = xreallocarray(r->texts, n_texts, sizeof(*r->texts));
        r->lengths = xreallocarray(r->lengths, n_texts, sizeof(*r->lengths));
        memset(r->texts + r->n_texts, 0, (n_texts - r->n_texts) * sizeof(*r->texts));
        r->n_texts = n_texts;
    }
    if (r->texts[id]) {
        free(bytes);
        return error_set(err, STATUS_REFUSED, "%s: two tokens have the id %u", r->where, id);
    }
    r->texts[id] = bytes;
    r->lengths[id] = n;
    return STATUS_OK;
}

static int read_vocabulary(struct reading *r, struct error *err)
{
    if (!json_is_object(r->vocabulary) || !json_length(r->vocabulary))
        return error_set(err, STATUS_REFUSED, "%s: the vocabulary is no object of tokens", r->where);
    void *iter = NULL;
    const char *text;
    json *value;
    memset(r->tok->byte_token, 0xFF, sizeof(r->tok->byte_token));
    /* The largest id first, so that the arrays grow once. */
    uint32_t id, largest = 0;
    while (json_next(r->vocabulary, &iter, &text, &value)) {
        int status = read_id(value, text, r->where, &id, err);
        if (status)
            return status;
        largest = id > largest ? id : largest;
    }
    r->n_texts = largest + (size_t)1;
    r->texts = xcalloc(r->n_texts, sizeof(*r->texts));
    r->lengths = xcalloc(r->n_texts, sizeof(*r->lengths));
    iter = NULL;
    while (json_next(r->vocabulary, &iter, &text, &value)) {
        uint32_t n;
        char *bytes = token_bytes(text, &n);
        id = (uint32_t)json_integer(value, 0);
        int status = set_text(r, id, bytes, n, err);
        if (status)
            return status;
        if (n == 1)
            r->tok->byte_token[(unsigned char)bytes[0]] = id;
    }
    return STATUS_OK;
}

/* ---- Merges. ---- */

static int no_token(const struct reading *r, const char *text, struct error *err)
{
    char *shown = displayable_string(text);
    error_set(err, STATUS_REFUSED, "%s: merge %zu needs the token \"%s\", which the vocabulary lacks",
              r->where, r->tok->n_merges, shown);
    free(shown);
    return STATUS_REFUSED;
}

static int add_merge(struct reading *r, const char *left, size_t n_left, const char *right, size_t n_right,
                     struct error *err)
{
    char *whole = xmalloc(n_left + n_right + 1);
    memcpy(whole, left, n_left);
    memcpy(whole + n_left, right, n_right);
    whole[n_left + n_right] = '\0';
    char *first = xstrndup(left, n_left);
    const char *parts[3] = {first, whole + n_left, whole};
    uint32_t ids[3];
    int status = STATUS_OK;
    for (int i = 0; i < 3 && !status; i++) {
        const json *id = json_get(r->vocabulary, parts[i]);
        if (id)
            ids[i] = (uint32_t)json_integer(id, 0);
        else
            status = no_token(r, parts[i], err);
    }
    free(first);
    free(whole);
    if (status)
        return status;
    struct tokenizer *tok = r->tok;
    if (tok->n_merges == r->merges_capacity) {
        r->merges_capacity = r->merges_capacity ? 2 * r->merges_capacity : 4096;
        tok->merges = xreallocarray(tok->merges, r->merges_capacity, 3 * sizeof(*tok->merges));
    }
    memcpy(tok->merges + 3 * tok->n_merges++, ids, sizeof(ids));
    return STATUS_OK;
}

/* "left right" */
static int add_merge_line(struct reading *r, const char *line, size_t n, struct error *err)
{
    const char *blank = memchr(line, ' ', n);
    if (!blank || blank == line || blank + 1 == line + n ||
        memchr(blank + 1, ' ', (size_t)(line + n - blank - 1)))
        return error_set(err, STATUS_REFUSED, "%s: merge %zu is not two tokens", r->where, r->tok->n_merges);
    return add_merge(r, line, (size_t)(blank - line), blank + 1, (size_t)(line + n - blank - 1), err);
}

static int read_json_merges(struct reading *r, const json *merges, struct error *err)
{
    if (!json_is_array(merges))
        return error_set(err, STATUS_REFUSED, "%s: model.merges is no list", r->where);
    int status = STATUS_OK;
    for (size_t i = 0; i < json_length(merges) && !status; i++) {
        const json *merge = json_at(merges, i);
        const char *line = json_string(merge, NULL);
        const char *left = json_string(json_at(merge, 0), NULL),
                   *right = json_string(json_at(merge, 1), NULL);
        if (line)
            status = add_merge_line(r, line, strlen(line), err);
        else if (json_is_array(merge) && json_length(merge) == 2 && left && right)
            status = add_merge(r, left, strlen(left), right, strlen(right), err);
        else
            status = error_set(err, STATUS_REFUSED, "%s: merge %zu is not two tokens", r->where, i);
    }
    return status;
}

static int read_merges_file(struct reading *r, const char *path, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int status = file_read(path, TOKENIZER_FILE_MAX, &text, err);
    const char *p = strbuf_string(&text), *end = p + text.length;
    while (p < end && !status) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf ? lf : end) - p);
        size_t kept = n && p[n - 1] == '\r' ? n - 1 : n;
        if (kept && !(kept >= 8 && !memcmp(p, "#version", 8)))
            status = add_merge_line(r, p, kept, err);
        p += n + (lf ? 1 : 0);
    }
    strbuf_free(&text);
    return status;
}

/* ---- Added tokens. ---- */

static int add_added(struct reading *r, uint32_t id, const char *text, uint32_t flags, struct error *err)
{
    struct tokenizer *tok = r->tok;
    uint32_t n = (uint32_t)strlen(text);
    if (id < r->n_texts && r->texts[id]) {
        const json *known = json_get(r->vocabulary, text);
        if (!known || json_integer(known, -1) != (long long)id)
            return error_set(err, STATUS_REFUSED, "%s: two tokens have the id %u", r->where, id);
        free(r->texts[id]);
        r->texts[id] = NULL;
    }
    int status = set_text(r, id, xstrdup(text), n, err);
    if (status)
        return status;
    tok->added = xreallocarray(tok->added, tok->n_added + 1, sizeof(*tok->added));
    tok->added[tok->n_added++] = (struct added_token){id, flags};
    return STATUS_OK;
}

static int read_added(struct reading *r, const json *added, struct error *err)
{
    for (size_t i = 0; i < json_length(added); i++) {
        const json *entry = json_at(added, i);
        const char *text;
        uint32_t id, flags = 0;
        int status = json_need_string(entry, "content", r->where, &text, err);
        if (!status)
            status = read_id(json_get(entry, "id"), text, r->where, &id, err);
        if (status)
            return status;
        if (json_get_boolean(entry, "single_word", 0))
            return error_set(err, STATUS_REFUSED,
                             "%s: added token %u is for whole words only, which is not supported", r->where,
                             id);
        flags |= json_get_boolean(entry, "special", 0) ? ADDED_SPECIAL : 0;
        flags |= json_get_boolean(entry, "lstrip", 0) ? ADDED_STRIPS_LEFT : 0;
        flags |= json_get_boolean(entry, "rstrip", 0) ? ADDED_STRIPS_RIGHT : 0;
        status = add_added(r, id, text, flags, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* ---- What tokenizer.json may say. ---- */

static int is_byte_level(const json *part)
{
    return !strcmp(json_get_string(part, "type", ""), "ByteLevel");
}

static int check_kind(struct reading *r, const json *file, struct error *err)
{
    const json *model = json_get(file, "model"), *pre = json_get(file, "pre_tokenizer");
    const char *type = json_get_string(model, "type", "BPE");
    if (strcmp(type, "BPE") || json_get_boolean(model, "byte_fallback", 0) ||
        json_get_boolean(model, "ignore_merges", 0) || !json_is_null(json_get(model, "dropout")) ||
        json_get_string(model, "continuing_subword_prefix", "")[0] ||
        json_get_string(model, "end_of_word_suffix", "")[0])
        return error_set(err, STATUS_REFUSED, "%s: only byte-level BPE as GPT-2's is supported", r->where);
    if (!json_is_null(json_get(file, "normalizer")))
        return error_set(err, STATUS_REFUSED, "%s: tokenizers that normalize text are not supported",
                         r->where);
    if (json_is_array(json_get(pre, "pretokenizers")) && json_length(json_get(pre, "pretokenizers")) == 1)
        pre = json_at(json_get(pre, "pretokenizers"), 0);
    if (!is_byte_level(pre) || !json_get_boolean(pre, "use_regex", 1))
        return error_set(err, STATUS_REFUSED,
                         "%s: only GPT-2's pattern (pre_tokenizer ByteLevel) is supported", r->where);
    r->tok->adds_prefix_space = json_get_boolean(pre, "add_prefix_space", 1);
    return STATUS_OK;
}

/* Lays the tokens' bytes one after the other; ids up to `size` without a token are empty. */
static int pack(struct reading *r, size_t size, struct error *err)
{
    struct tokenizer *tok = r->tok;
    size_t total = 0;
    for (size_t i = 0; i < r->n_texts; i++)
        total += r->texts[i] ? r->lengths[i] : 0;
    if (total > UINT32_MAX)
        return error_set(err, STATUS_REFUSED, "%s: the vocabulary is too large", r->where);
    tok->size = size > r->n_texts ? size : r->n_texts;
    tok->offsets = array_alloc(tok->size + 1, sizeof(*tok->offsets), "the vocabulary", err);
    tok->bytes = tok->offsets ? array_alloc(total + 1, 1, "the vocabulary", err) : NULL;
    if (!tok->bytes)
        return err->code;
    uint32_t at = 0;
    for (size_t i = 0; i < tok->size; i++) {
        tok->offsets[i] = at;
        if (i < r->n_texts && r->texts[i]) {
            memcpy(tok->bytes + at, r->texts[i], r->lengths[i]);
            at += r->lengths[i];
        }
    }
    tok->offsets[tok->size] = at;
    return STATUS_OK;
}

/* ---- config.json: the embedding's rows, BOS and EOS. ---- */

/* The first, when there are several. */
static uint32_t config_id(const json *config, const char *key, uint32_t fallback)
{
    const json *value = json_get(config, key);
    if (json_is_array(value))
        value = json_at(value, 0);
    long long id = json_integer(value, -1);
    return id >= 0 && id < (long long)TOKENIZER_SIZE_MAX ? (uint32_t)id : fallback;
}

static int read_config(struct reading *r, const char *dir, size_t *size, struct error *err)
{
    uint32_t end = TOKEN_NONE;
    for (size_t i = 0; i < r->n_texts; i++)
        if (r->texts[i] && !strcmp(r->texts[i], "<|endoftext|>") && end == TOKEN_NONE)
            end = (uint32_t)i;
    r->tok->bos = r->tok->eos = end;
    *size = r->n_texts;
    char *path = path_join(dir, "config.json");
    json *config = path_exists(path) ? json_parse_file(path, err) : NULL;
    int status = path_exists(path) && !config ? STATUS_REFUSED : STATUS_OK;
    if (config) {
        long long wanted = json_get_integer(config, "vocab_size", 0);
        if (wanted < 0 || wanted > (long long)TOKENIZER_SIZE_MAX)
            status = error_set(err, STATUS_REFUSED, "%s/config.json: vocab_size is no number from 0 to %zu",
                               dir, TOKENIZER_SIZE_MAX);
        else
            *size = (size_t)wanted;
        r->tok->bos = config_id(config, "bos_token_id", end);
        r->tok->eos = config_id(config, "eos_token_id", end);
    }
    json_free(config);
    free(path);
    return status;
}

/* ---- A folder. ---- */

static int finish(struct reading *r, const char *dir, struct error *err)
{
    size_t size;
    int status = read_config(r, dir, &size, err);
    if (!status)
        status = pack(r, size, err);
    return status ? status : tokenizer_prepare(r->tok, r->where, err);
}

static int read_tokenizer_json(struct reading *r, const char *dir, const char *path, struct error *err)
{
    json *file = json_parse_file(path, err);
    if (!file)
        return STATUS_REFUSED;
    const json *model = json_get(file, "model");
    r->vocabulary = json_get(model, "vocab");
    int status = check_kind(r, file, err);
    if (!status)
        status = read_vocabulary(r, err);
    if (!status)
        status = read_json_merges(r, json_get(model, "merges"), err);
    if (!status)
        status = read_added(r, json_get(file, "added_tokens"), err);
    if (!status)
        status = finish(r, dir, err);
    json_free(file);
    return status;
}

static int read_vocab_json(struct reading *r, const char *dir, const char *path, const char *merges,
                           struct error *err)
{
    json *vocabulary = json_parse_file(path, err);
    if (!vocabulary)
        return STATUS_REFUSED;
    r->vocabulary = vocabulary;
    int status = read_vocabulary(r, err);
    if (!status)
        status = read_merges_file(r, merges, err);
    const json *end = json_get(vocabulary, "<|endoftext|>");
    if (!status && end)
        status = add_added(r, (uint32_t)json_integer(end, 0), "<|endoftext|>", ADDED_SPECIAL, err);
    if (!status)
        status = finish(r, dir, err);
    json_free(vocabulary);
    return status;
}

int tokenizer_read_folder(const char *dir, struct tokenizer **out, struct error *err)
{
    char *whole = path_join(dir, "tokenizer.json"), *vocabulary = path_join(dir, "vocab.json");
    char *merges = path_join(dir, "merges.txt"), *shown = NULL;
    struct reading r = {.tok = xcalloc(1, sizeof(*r.tok))};
    int status;
    if (path_exists(whole)) {
        r.where = shown = displayable_string(whole);
        status = read_tokenizer_json(&r, dir, whole, err);
    } else if (path_exists(vocabulary) && path_exists(merges)) {
        r.where = shown = displayable_string(vocabulary);
        status = read_vocab_json(&r, dir, vocabulary, merges, err);
    } else {
        shown = displayable_string(dir);
        status =
            error_set(err, STATUS_REFUSED, "%s: no tokenizer.json, and no vocab.json with merges.txt", shown);
    }
    for (size_t i = 0; i < r.n_texts; i++)
        free(r.texts[i]);
    free(r.texts);
    free(r.lengths);
    free(shown);
    free(merges);
    free(vocabulary);
    free(whole);
    if (status) {
        tokenizer_free(r.tok);
        return status;
    }
    *out = r.tok;
    return STATUS_OK;
}
