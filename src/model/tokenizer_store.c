/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The compiled tokenizer in the store: tensors "tokenizer.bytes", "tokenizer.offsets", "tokenizer.merges" and
 * "tokenizer.characters", and one record (JSON) with what is small. Version 2 of it; the first had no
 * "version", a "pattern" that was always "gpt2", and byte-level vocabularies only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/model/tokenizer_internal.h"

#define SETTINGS_VERSION 2

const char *const step_names[STEP_KINDS] = {"nfc", "replace", "prepend", "prefix", "prefix first", "split"};
const char *const split_names[SPLIT_BEHAVIOURS] = {"isolated", "removed", "with previous", "with next",
                                                   "contiguous"};
const char *const syntax_names[PATTERN_SYNTAXES] = {"literal", "oniguruma", "gpt2"};

/* ---- Writing. ---- */

static json *id_json(uint32_t id)
{
    return id == TOKEN_NONE ? json_new_null() : json_new_integer(id);
}

static json *step_json(const struct step *s)
{
    json *out = json_new_object();
    json_set(out, "kind", json_new_string(step_names[s->kind]));
    if (s->from)
        json_set(out, "from", json_new_bytes(s->from, s->n_from));
    if (s->text)
        json_set(out, "text", json_new_bytes(s->text, s->n_text));
    if (s->kind == STEP_SPLIT) {
        json_set(out, "syntax", json_new_string(syntax_names[s->syntax]));
        json_set(out, "behaviour", json_new_string(split_names[s->behaviour]));
        json_set(out, "inverted", json_new_boolean(s->inverted));
    }
    return out;
}

static void add_lists(const struct tokenizer *tok, json *settings)
{
    json *bytes = json_new_array(), *added = json_new_array(), *steps = json_new_array();
    for (unsigned b = 0; b < 256; b++)
        json_append(bytes, id_json(tok->byte_token[b]));
    for (size_t i = 0; i < tok->n_added; i++) {
        const struct added_token *token = tok->added + i;
        json *entry = json_new_object();
        json_set(entry, "id", json_new_integer(token->id));
        json_set(entry, "flags", json_new_integer(token->flags));
        json_set(entry, "text", json_new_bytes(token->text, token->n));
        json_append(added, entry);
    }
    for (size_t i = 0; i < tok->n_steps; i++)
        json_append(steps, step_json(tok->steps + i));
    json_set(settings, "bytes", bytes);
    json_set(settings, "added", added);
    json_set(settings, "steps", steps);
}

static void add_settings(const struct tokenizer *tok, struct strbuf *out)
{
    json *settings = json_new_object();
    json_set(settings, "version", json_new_integer(SETTINGS_VERSION));
    json_set(settings, "type", json_new_string(tok->of_bytes ? "byte-level BPE" : "BPE of characters"));
    json_set(settings, "bos", id_json(tok->bos));
    json_set(settings, "eos", id_json(tok->eos));
    json_set(settings, "unknown", id_json(tok->unknown));
    json_set(settings, "fuse_unknown", json_new_boolean(tok->fuses_unknown));
    json_set(settings, "whole_pieces_first", json_new_boolean(tok->whole_pieces_first));
    json_set(settings, "blank_mark", tok->blank_mark ? json_new_string(tok->blank_mark) : json_new_null());
    json_set(settings, "normalizers", json_new_integer((long long)tok->n_normalizers));
    add_lists(tok, settings);
    json_dump(settings, out);
    json_free(settings);
}

int tokenizer_save(const struct tokenizer *tok, struct store *s, artifact_id model, struct error *err)
{
    struct tensor bytes = {DTYPE_U8, 1, {tok->offsets[tok->size]}, tok->bytes};
    struct tensor offsets = {DTYPE_U32, 1, {tok->size + 1}, tok->offsets};
    struct tensor characters = {DTYPE_U32, 2, {tok->n_characters, 2}, tok->characters};
    struct tensor merges = {DTYPE_U32, 2, {tok->n_merges, 3}, tok->merges};
    int status = store_tensor_put(s, model, "tokenizer.bytes", &bytes, err);
    if (!status)
        status = store_tensor_put(s, model, "tokenizer.offsets", &offsets, err);
    if (!status && tok->n_merges)
        status = store_tensor_put(s, model, "tokenizer.merges", &merges, err);
    if (!status && tok->n_characters)
        status = store_tensor_put(s, model, "tokenizer.characters", &characters, err);
    if (status)
        return status;
    struct strbuf settings = STRBUF_INIT;
    add_settings(tok, &settings);
    struct record record = {0, settings.data, settings.length};
    status = store_put_records(s, model, RECORD_TOKENIZER, &record, 1, err);
    strbuf_free(&settings);
    return status;
}

/* ---- Reading. ---- */

static int find_name(const json *object, const char *key, const char *const *names, size_t n)
{
    const char *name = json_get_string(object, key, "");
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, names[i]))
            return (int)i;
    return -1;
}

static char *copy_string(const json *value, size_t *n)
{
    *n = json_string_length(value);
    return json_is_string(value) ? xstrndup(json_string(value, ""), *n) : NULL;
}

/* Whether the step is one that this version knows, with what it needs. */
static int read_step(struct tokenizer *tok, const json *entry)
{
    int kind = find_name(entry, "kind", step_names, STEP_KINDS);
    if (kind < 0 || tok->n_steps == TOKENIZER_STEPS_MAX)
        return 0;
    struct step *s = tokenizer_add_step(tok, (enum step_kind)kind, NULL, NULL);
    s->from = copy_string(json_get(entry, "from"), &s->n_from);
    s->text = copy_string(json_get(entry, "text"), &s->n_text);
    if (kind == STEP_NFC)
        return 1;
    if (kind != STEP_SPLIT)
        return s->text && (kind != STEP_REPLACE || s->n_from);
    int syntax = find_name(entry, "syntax", syntax_names, PATTERN_SYNTAXES);
    int behaviour = find_name(entry, "behaviour", split_names, SPLIT_BEHAVIOURS);
    if (syntax < 0 || behaviour < 0 || !s->from)
        return 0;
    s->syntax = (enum pattern_syntax)syntax;
    s->behaviour = (enum split_behaviour)behaviour;
    s->inverted = json_get_boolean(entry, "inverted", 0);
    return 1;
}

static void read_added(struct tokenizer *tok, const json *added)
{
    tok->n_added = json_length(added);
    tok->added = xcalloc(tok->n_added + 1, sizeof(*tok->added));
    for (size_t i = 0; i < tok->n_added; i++) {
        struct added_token *token = tok->added + i;
        token->id = (uint32_t)json_get_integer(json_at(added, i), "id", TOKEN_NONE);
        token->flags = (uint32_t)json_get_integer(json_at(added, i), "flags", 0);
        token->text = copy_string(json_get(json_at(added, i), "text"), &token->n);
    }
}

static void read_first_version(struct tokenizer *tok, const json *settings)
{
    tok->of_bytes = 1;
    if (json_get_boolean(settings, "add_prefix_space", 0))
        tokenizer_add_step(tok, STEP_PREFIX, NULL, " ");
    tokenizer_add_step(tok, STEP_SPLIT, "", NULL)->syntax = PATTERN_GPT2;
}

static int read_second_version(struct tokenizer *tok, const json *settings)
{
    const json *steps = json_get(settings, "steps");
    const char *type = json_get_string(settings, "type", "");
    size_t n;
    tok->of_bytes = !strcmp(type, "byte-level BPE");
    tok->unknown = (uint32_t)json_get_integer(settings, "unknown", TOKEN_NONE);
    tok->fuses_unknown = json_get_boolean(settings, "fuse_unknown", 0);
    tok->whole_pieces_first = json_get_boolean(settings, "whole_pieces_first", 0);
    tok->blank_mark = copy_string(json_get(settings, "blank_mark"), &n);
    tok->n_normalizers = (size_t)json_get_integer(settings, "normalizers", 0);
    for (size_t i = 0; i < json_length(steps); i++)
        if (!read_step(tok, json_at(steps, i)))
            return 0;
    for (size_t i = 0; i < tok->n_normalizers && i < tok->n_steps; i++)
        if (tok->steps[i].kind == STEP_SPLIT)
            return 0;
    return (tok->of_bytes || !strcmp(type, "BPE of characters")) && json_is_array(steps) &&
           tok->n_normalizers <= tok->n_steps;
}

static int read_settings(struct tokenizer *tok, const json *settings, const char *where, struct error *err)
{
    const json *bytes = json_get(settings, "bytes"), *added = json_get(settings, "added");
    long long version = json_get_integer(settings, "version", 1);
    int known = json_is_array(bytes) && json_length(bytes) == 256 && json_is_array(added);
    if (version > SETTINGS_VERSION)
        return error_set(err, STATUS_STORE, "%s: its tokenizer was written by a newer saescope", where);
    tok->unknown = TOKEN_NONE;
    if (known && version == SETTINGS_VERSION)
        known = read_second_version(tok, settings);
    else if (known && !strcmp(json_get_string(settings, "pattern", ""), "gpt2"))
        read_first_version(tok, settings);
    else
        known = 0;
    if (!known)
        return error_set(err, STATUS_STORE, "%s: unknown or damaged tokenizer", where);
    tok->bos = (uint32_t)json_get_integer(settings, "bos", TOKEN_NONE);
    tok->eos = (uint32_t)json_get_integer(settings, "eos", TOKEN_NONE);
    for (unsigned b = 0; b < 256; b++)
        tok->byte_token[b] = (uint32_t)json_integer(json_at(bytes, b), TOKEN_NONE);
    read_added(tok, added);
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
    if (store_tensor_exists(t, model, "tokenizer.characters")) {
        tok->characters =
            read_tensor(t, model, "tokenizer.characters", DTYPE_U32, 8, &tok->n_characters, err);
        if (!tok->characters)
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
