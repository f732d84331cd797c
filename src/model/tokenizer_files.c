/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reads tokenizer.json, or vocab.json with merges.txt: vocabulary, merges, added tokens, BOS and EOS. A
 * byte-level token is written in characters that stand for bytes (GPT-2's table: printable Latin-1 stands for
 * itself, the other bytes for U+0100 and up); SentencePiece's has a mark for blanks, and <0xHH> for a byte.
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
    int spells_bytes; /* <0xHH> is a byte */
};

/* ---- Characters that stand for bytes. ---- */

static int stands_for_itself(unsigned c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

/* What characters below U+0144 stand for, -1 for none. */
#define STANDING 0x144
static void fill_standing(short bytes[STANDING])
{
    unsigned moved = 0x100;
    for (unsigned c = 0; c < STANDING; c++)
        bytes[c] = -1;
    for (unsigned b = 0; b < 0x100; b++)
        bytes[stands_for_itself(b) ? b : moved++] = (short)b;
}

/* The bytes that the characters stand for; text with any other character stands for its own UTF-8. */
static char *bytes_stood_for(const short standing[STANDING], const char *text, uint32_t *n)
{
    size_t length = strlen(text), at = 0, used = 0;
    char *bytes = xmalloc(length + 1);
    while (at < length) {
        size_t width = character_length((const uint8_t *)text + at, length - at);
        uint32_t c = width ? character_at((const uint8_t *)text + at, width) : STANDING;
        if (c >= STANDING || standing[c] < 0) {
            memcpy(bytes, text, length + 1);
            *n = (uint32_t)length;
            return bytes;
        }
        bytes[used++] = (char)standing[c];
        at += width;
    }
    bytes[used] = '\0';
    *n = (uint32_t)used;
    return bytes;
}

/* ---- SentencePiece's way of writing tokens: a mark for blanks, <0xHH> for bytes. ---- */

/* The byte of "<0xHH>", or -1. */
static int spelled_byte(const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    if (strlen(text) != 6 || memcmp(text, "<0x", 3) || text[5] != '>')
        return -1;
    const char *high = strchr(digits, text[3]), *low = strchr(digits, text[4]);
    return high && low ? (int)(high - digits) * 16 + (int)(low - digits) : -1;
}

static char *marks_to_blanks(const char *text, const char *mark, uint32_t *n)
{
    struct strbuf out = STRBUF_INIT;
    size_t n_mark = mark ? strlen(mark) : 0;
    for (const char *found; n_mark && (found = strstr(text, mark)); text = found + n_mark) {
        strbuf_add(&out, text, (size_t)(found - text));
        strbuf_addc(&out, ' ');
    }
    strbuf_adds(&out, text);
    *n = (uint32_t)out.length;
    return strbuf_detach(&out);
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

/* Of characters: the token itself is one, or spells a byte. Returns its bytes as decoding gives them. */
static char *note_character(struct reading *r, const char *text, uint32_t id, uint32_t *n)
{
    struct tokenizer *tok = r->tok;
    size_t length = strlen(text);
    int byte = r->spells_bytes ? spelled_byte(text) : -1;
    if (length && character_length((const uint8_t *)text, length) == length) {
        uint32_t entry[2] = {character_at((const uint8_t *)text, length), id};
        tok->characters = xreallocarray(tok->characters, tok->n_characters + 1, sizeof(entry));
        memcpy(tok->characters + 2 * tok->n_characters++, entry, sizeof(entry));
    }
    if (byte < 0)
        return marks_to_blanks(text, tok->blank_mark, n);
    tok->byte_token[byte] = id;
    *n = 1;
    char *bytes = xcalloc(2, 1);
    bytes[0] = (char)byte;
    return bytes;
}

static int compare_characters(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int read_tokens(struct reading *r, struct error *err)
{
    struct tokenizer *tok = r->tok;
    short standing[STANDING];
    void *iter = NULL;
    const char *text;
    json *value;
    fill_standing(standing);
    while (json_next(r->vocabulary, &iter, &text, &value)) {
        uint32_t n, id = (uint32_t)json_integer(value, 0);
        char *bytes = tok->of_bytes ? bytes_stood_for(standing, text, &n) : note_character(r, text, id, &n);
        int status = set_text(r, id, bytes, n, err);
        if (status)
            return status;
        if (tok->of_bytes && n == 1)
            tok->byte_token[(unsigned char)bytes[0]] = id;
    }
    if (tok->n_characters)
        qsort(tok->characters, tok->n_characters, 2 * sizeof(*tok->characters), compare_characters);
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
    return read_tokens(r, err);
}

/* The token for what has none; it must be one of the model's. */
static int read_unknown(struct reading *r, const json *model, struct error *err)
{
    const char *text = json_get_string(model, "unk_token", NULL);
    const json *id = text ? json_get(r->vocabulary, text) : NULL;
    r->tok->unknown = id ? (uint32_t)json_integer(id, TOKEN_NONE) : TOKEN_NONE;
    if (!text || id || r->tok->of_bytes)
        return STATUS_OK;
    char *shown = displayable_string(text);
    error_set(err, STATUS_REFUSED, "%s: the vocabulary lacks model.unk_token \"%s\"", r->where, shown);
    free(shown);
    return STATUS_REFUSED;
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

/* The text of a normalized token is looked for as the normalizers make it. */
static int normalize_added(struct tokenizer *tok, struct error *err)
{
    struct cutter *c = cutter_new(tok);
    int status = STATUS_OK;
    for (size_t i = 0; i < tok->n_added && !status; i++)
        if (tok->added[i].flags & ADDED_NORMALIZED) {
            struct strbuf text = STRBUF_INIT;
            status = cutter_normalize(c, tok->added[i].text, tok->added[i].n, &text, err);
            free(tok->added[i].text);
            tok->added[i].n = text.length;
            tok->added[i].text = strbuf_detach(&text);
        }
    cutter_free(c);
    return status;
}

static int add_added(struct reading *r, uint32_t id, const json *content, uint32_t flags, struct error *err)
{
    struct tokenizer *tok = r->tok;
    const char *text = json_string(content, "");
    if (strlen(text) != json_string_length(content))
        return error_set(err, STATUS_REFUSED, "%s: added token %u holds U+0000", r->where, id);
    if (id < r->n_texts && r->texts[id]) {
        const json *known = json_get(r->vocabulary, text);
        if (!known || json_integer(known, -1) != (long long)id)
            return error_set(err, STATUS_REFUSED, "%s: two tokens have the id %u", r->where, id);
        free(r->texts[id]);
        r->texts[id] = NULL;
        flags |= ADDED_IN_MODEL;
    }
    uint32_t n;
    char *bytes = marks_to_blanks(text, tok->blank_mark, &n);
    int status = set_text(r, id, bytes, n, err);
    if (status)
        return status;
    tok->added = xreallocarray(tok->added, tok->n_added + 1, sizeof(*tok->added));
    tok->added[tok->n_added++] = (struct added_token){id, flags, xstrdup(text), strlen(text)};
    return STATUS_OK;
}

static int read_added(struct reading *r, const json *added, struct error *err)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } known[] = {
        {"lstrip", ADDED_STRIPS_LEFT}, {"rstrip", ADDED_STRIPS_RIGHT}, {"single_word", ADDED_WHOLE_WORD}};
    for (size_t i = 0; i < json_length(added); i++) {
        const json *entry = json_at(added, i);
        const char *text;
        uint32_t id, flags = json_get_boolean(entry, "special", 0) ? ADDED_SPECIAL : 0;
        int status = json_need_string(entry, "content", r->where, &text, err);
        if (!status)
            status = read_id(json_get(entry, "id"), text, r->where, &id, err);
        if (status)
            return status;
        for (size_t k = 0; k < ARRAY_LENGTH(known); k++)
            flags |= json_get_boolean(entry, known[k].key, 0) ? known[k].flag : 0;
        if (json_get_boolean(entry, "normalized", !(flags & ADDED_SPECIAL)))
            flags |= ADDED_NORMALIZED;
        status = add_added(r, id, json_get(entry, "content"), flags, err);
        if (status)
            return status;
    }
    return normalize_added(r->tok, err);
}

/* ---- The whole. ---- */

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

/* ---- config.json and tokenizer_config.json: the embedding's rows, BOS and EOS. ---- */

static uint32_t find_text(const struct reading *r, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    for (size_t i = 0; n && i < r->n_texts; i++)
        if (r->texts[i] && r->lengths[i] == n && !memcmp(r->texts[i], text, n))
            return (uint32_t)i;
    return TOKEN_NONE;
}

/* STATUS_OK and NULL when there is none. */
static int read_optional(const char *dir, const char *name, json **out, struct error *err)
{
    char *path = path_join(dir, name);
    int exists = path_exists(path);
    *out = exists ? json_parse_file(path, err) : NULL;
    free(path);
    return exists && !*out ? STATUS_REFUSED : STATUS_OK;
}

/* config.json's id, the first when there are several; else tokenizer_config.json's text. */
static uint32_t special_id(const struct reading *r, const json *config, const json *names, const char *id_key,
                           const char *key)
{
    const json *value = json_get(config, id_key), *name = json_get(names, key);
    if (json_is_array(value))
        value = json_at(value, 0);
    long long id = json_integer(value, -1);
    if (id >= 0 && id < (long long)TOKENIZER_SIZE_MAX)
        return (uint32_t)id;
    uint32_t found =
        find_text(r, json_is_object(name) ? json_get_string(name, "content", NULL) : json_string(name, NULL));
    return found == TOKEN_NONE ? find_text(r, "<|endoftext|>") : found;
}

static int read_config(struct reading *r, const char *dir, size_t *size, struct error *err)
{
    json *config = NULL, *names = NULL;
    *size = r->n_texts;
    int status = read_optional(dir, "config.json", &config, err);
    if (!status)
        status = read_optional(dir, "tokenizer_config.json", &names, err);
    long long wanted = json_get_integer(config, "vocab_size", config ? 0 : (long long)r->n_texts);
    if (!status && (wanted < 0 || wanted > (long long)TOKENIZER_SIZE_MAX))
        status = error_set(err, STATUS_REFUSED, "%s/config.json: vocab_size is no number from 0 to %zu", dir,
                           TOKENIZER_SIZE_MAX);
    if (!status) {
        *size = (size_t)wanted;
        r->tok->bos = special_id(r, config, names, "bos_token_id", "bos_token");
        r->tok->eos = special_id(r, config, names, "eos_token_id", "eos_token");
    }
    json_free(config);
    json_free(names);
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
    r->spells_bytes = json_get_boolean(model, "byte_fallback", 0);
    int status = tokenizer_read_pipeline(r->tok, file, r->where, err);
    if (!status)
        status = read_vocabulary(r, err);
    if (!status)
        status = read_unknown(r, model, err);
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
    r->tok->of_bytes = 1;
    r->tok->unknown = TOKEN_NONE;
    tokenizer_add_step(r->tok, STEP_SPLIT, "", NULL)->syntax = PATTERN_GPT2;
    int status = read_vocabulary(r, err);
    if (!status)
        status = read_merges_file(r, merges, err);
    const json *end = json_get(vocabulary, "<|endoftext|>");
    json *text = json_new_string("<|endoftext|>");
    if (!status && end)
        status = add_added(r, (uint32_t)json_integer(end, 0), text, ADDED_SPECIAL, err);
    json_free(text);
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
