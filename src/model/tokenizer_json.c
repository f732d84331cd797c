/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What tokenizer.json says beside vocabulary and merges: normalizer and pre-tokenizer become steps.
 * Post-processor and decoder are not read: no BOS is added, and decoding gives each token's own bytes.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/model/tokenizer_internal.h"

struct pipeline {
    struct tokenizer *tok;
    const char *where;
    struct error *err;
};

static int refuse(const struct pipeline *p, const char *what, const char *name)
{
    char *shown = displayable_string(name);
    error_set(p->err, STATUS_REFUSED, "%s: %s \"%s\" is not supported", p->where, what, shown);
    free(shown);
    return STATUS_REFUSED;
}

static struct step *add_step(const struct pipeline *p, enum step_kind kind, const json *from,
                             const json *text)
{
    struct step *s = tokenizer_add_step(p->tok, kind, NULL, NULL);
    s->from = xstrndup(json_string(from, ""), json_string_length(from));
    s->n_from = json_string_length(from);
    s->text = xstrndup(json_string(text, ""), json_string_length(text));
    s->n_text = json_string_length(text);
    return s;
}

static int check_room(const struct pipeline *p)
{
    if (p->tok->n_steps + 4 > TOKENIZER_STEPS_MAX)
        return error_set(p->err, STATUS_REFUSED, "%s: more than %d steps", p->where, TOKENIZER_STEPS_MAX);
    return STATUS_OK;
}

/* ---- Normalizers. ---- */

static void set_blank_mark(struct tokenizer *tok, const char *mark)
{
    free(tok->blank_mark);
    tok->blank_mark = *mark && strcmp(mark, " ") ? xstrdup(mark) : NULL;
}

static int read_replace(const struct pipeline *p, const json *part)
{
    const json *from = json_get(json_get(part, "pattern"), "String"), *to = json_get(part, "content");
    if (!json_string_length(from) || !json_is_string(to))
        return error_set(p->err, STATUS_REFUSED, "%s: the normalizer Replace is known for strings only",
                         p->where);
    add_step(p, STEP_REPLACE, from, to);
    if (!strcmp(json_string(from, ""), " "))
        set_blank_mark(p->tok, json_string(to, ""));
    return STATUS_OK;
}

static int read_normalizer(const struct pipeline *p, const json *part)
{
    const char *type = json_get_string(part, "type", "");
    int status = check_room(p);
    if (status || json_is_null(part))
        return status;
    if (!strcmp(type, "Sequence")) {
        const json *list = json_get(part, "normalizers");
        for (size_t i = 0; i < json_length(list) && !status; i++)
            status = read_normalizer(p, json_at(list, i));
        return status;
    }
    if (!strcmp(type, "NFC"))
        tokenizer_add_step(p->tok, STEP_NFC, NULL, NULL);
    else if (!strcmp(type, "Prepend") && json_is_string(json_get(part, "prepend")))
        add_step(p, STEP_PREPEND, NULL, json_get(part, "prepend"));
    else if (!strcmp(type, "Replace"))
        return read_replace(p, part);
    else
        return refuse(p, "the normalizer", type);
    return STATUS_OK;
}

/* ---- Pre-tokenizers. ---- */

static void add_split(const struct pipeline *p, enum pattern_syntax syntax, const char *pattern,
                      enum split_behaviour behaviour)
{
    struct step *s = tokenizer_add_step(p->tok, STEP_SPLIT, pattern, NULL);
    s->syntax = syntax;
    s->behaviour = behaviour;
}

static int read_split(const struct pipeline *p, const json *part)
{
    static const char *const behaviours[SPLIT_BEHAVIOURS] = {"Isolated", "Removed", "MergedWithPrevious",
                                                             "MergedWithNext", "Contiguous"};
    const json *pattern = json_get(part, "pattern");
    const json *regex = json_get(pattern, "Regex"), *literal = json_get(pattern, "String");
    const char *behaviour = json_get_string(part, "behavior", "");
    size_t which = 0;
    while (which < SPLIT_BEHAVIOURS && strcmp(behaviour, behaviours[which]))
        which++;
    if (which == SPLIT_BEHAVIOURS)
        return refuse(p, "the pre-tokenizer Split's behavior", behaviour);
    if (!json_is_string(regex) && !json_is_string(literal))
        return error_set(p->err, STATUS_REFUSED, "%s: the pre-tokenizer Split has no pattern", p->where);
    struct step *s = add_step(p, STEP_SPLIT, json_is_string(regex) ? regex : literal, NULL);
    s->syntax = json_is_string(regex) ? PATTERN_ONIGURUMA : PATTERN_LITERAL;
    s->behaviour = (enum split_behaviour)which;
    s->inverted = json_get_boolean(part, "invert", 0);
    return STATUS_OK;
}

/* Older files have add_prefix_space for prepend_scheme. */
static int read_metaspace(const struct pipeline *p, const json *part)
{
    const json *mark = json_get(part, "replacement");
    const char *scheme = json_get_string(part, "prepend_scheme", "always");
    if (!json_string_length(mark))
        return error_set(p->err, STATUS_REFUSED, "%s: the pre-tokenizer Metaspace has no replacement",
                         p->where);
    if (strcmp(scheme, "always") && strcmp(scheme, "first") && strcmp(scheme, "never"))
        return refuse(p, "the pre-tokenizer Metaspace's prepend_scheme", scheme);
    if (!json_get_boolean(part, "add_prefix_space", 1))
        scheme = "never";
    tokenizer_add_step(p->tok, STEP_REPLACE, " ", json_string(mark, ""));
    if (strcmp(scheme, "never"))
        add_step(p, strcmp(scheme, "first") ? STEP_PREFIX : STEP_PREFIX_FIRST, NULL, mark);
    if (json_get_boolean(part, "split", 1))
        add_split(p, PATTERN_LITERAL, json_string(mark, ""), SPLIT_WITH_NEXT);
    set_blank_mark(p->tok, json_string(mark, ""));
    return STATUS_OK;
}

static int read_pre_tokenizer(const struct pipeline *p, const json *part)
{
    const char *type = json_get_string(part, "type", "");
    int status = check_room(p);
    if (status || json_is_null(part))
        return status;
    if (!strcmp(type, "Sequence")) {
        const json *list = json_get(part, "pretokenizers");
        for (size_t i = 0; i < json_length(list) && !status; i++)
            status = read_pre_tokenizer(p, json_at(list, i));
        return status;
    }
    /* What comes after it would see characters that stand for bytes. */
    if (p->tok->of_bytes)
        return refuse(p, "behind the pre-tokenizer ByteLevel, the pre-tokenizer", type);
    if (!strcmp(type, "Split"))
        return read_split(p, part);
    if (!strcmp(type, "Metaspace"))
        return read_metaspace(p, part);
    if (!strcmp(type, "Digits")) {
        add_split(p, PATTERN_ONIGURUMA, json_get_boolean(part, "individual_digits", 0) ? "\\p{N}" : "\\p{N}+",
                  SPLIT_ISOLATED);
    } else if (!strcmp(type, "ByteLevel")) {
        p->tok->of_bytes = 1;
        if (json_get_boolean(part, "add_prefix_space", 1))
            tokenizer_add_step(p->tok, STEP_PREFIX, NULL, " ");
        if (json_get_boolean(part, "use_regex", 1))
            add_split(p, PATTERN_GPT2, "", SPLIT_ISOLATED);
    } else {
        return refuse(p, "the pre-tokenizer", type);
    }
    return STATUS_OK;
}

/* ---- The model. ---- */

static int read_model(const struct pipeline *p, const json *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = json_get_string(model, "type", "BPE");
    struct tokenizer *tok = p->tok;
    if (strcmp(type, "BPE"))
        return refuse(p, "the model", type);
    if (json_get_number(model, "dropout", 0) != 0)
        return error_set(p->err, STATUS_REFUSED, "%s: the model's dropout is not supported", p->where);
    for (size_t i = 0; i < ARRAY_LENGTH(affixes); i++)
        if (json_get_string(model, affixes[i], "")[0])
            return refuse(p, "the model's", affixes[i]);
    tok->fuses_unknown = json_get_boolean(model, "fuse_unk", 0);
    tok->whole_pieces_first = json_get_boolean(model, "ignore_merges", 0);
    if (tok->whole_pieces_first && !tok->of_bytes)
        return error_set(p->err, STATUS_REFUSED,
                         "%s: the model's ignore_merges is known with the pre-tokenizer ByteLevel only",
                         p->where);
    return STATUS_OK;
}

int tokenizer_read_pipeline(struct tokenizer *tok, const json *file, const char *where, struct error *err)
{
    const struct pipeline p = {tok, where, err};
    int status = read_normalizer(&p, json_get(file, "normalizer"));
    tok->n_normalizers = tok->n_steps;
    if (!status)
        status = read_pre_tokenizer(&p, json_get(file, "pre_tokenizer"));
    if (!status)
        status = read_model(&p, json_get(file, "model"));
    if (tok->of_bytes)
        set_blank_mark(tok, "");
    return status;
}
