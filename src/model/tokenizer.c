/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The compiled tokenizer: its checks, what encoding needs beside it, and what is asked of it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/model/tokenizer_internal.h"

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

struct step *tokenizer_add_step(struct tokenizer *tok, enum step_kind kind, const char *from,
                                const char *text)
{
    tok->steps = xreallocarray(tok->steps, tok->n_steps + 1, sizeof(*tok->steps));
    struct step *s = tok->steps + tok->n_steps++;
    *s = (struct step){.kind = kind};
    s->from = from ? xstrdup(from) : NULL;
    s->n_from = from ? strlen(from) : 0;
    s->text = text ? xstrdup(text) : NULL;
    s->n_text = text ? strlen(text) : 0;
    return s;
}

void tokenizer_free(struct tokenizer *tok)
{
    if (!tok)
        return;
    for (size_t i = 0; i < tok->n_steps; i++) {
        pcre2_code_free(tok->steps[i].code);
        free(tok->steps[i].from);
        free(tok->steps[i].text);
    }
    for (size_t i = 0; i < tok->n_added; i++)
        free(tok->added[i].text);
    free(tok->steps);
    free(tok->bytes);
    free(tok->offsets);
    free(tok->special);
    free(tok->characters);
    free(tok->merges);
    free(tok->added);
    free(tok->blank_mark);
    free(tok->merge_table);
    free(tok->token_table);
    free(tok->raw.tokens);
    free(tok->normalized.tokens);
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

static int check_bytes(const struct tokenizer *tok, const char *where, struct error *err)
{
    for (unsigned b = 0; b < 256; b++) {
        size_t n;
        const uint8_t *bytes = tokenizer_token(tok, tok->byte_token[b], &n);
        if (n != 1 || bytes[0] != b)
            return error_set(err, STATUS_REFUSED,
                             "%s: no token for the byte 0x%02X: this is no byte-level vocabulary", where, b);
    }
    return STATUS_OK;
}

/* Whatever the text has becomes tokens: an unknown one, or bytes. */
static int check_characters(const struct tokenizer *tok, const char *where, struct error *err)
{
    int spells = 1;
    for (unsigned b = 0; b < 256; b++) {
        spells &= tok->byte_token[b] != TOKEN_NONE;
        if (tok->byte_token[b] != TOKEN_NONE && tok->byte_token[b] >= tok->size)
            return error_set(err, STATUS_REFUSED, "%s: the token of the byte 0x%02X is not below %zu", where,
                             b, tok->size);
    }
    if (tok->unknown == TOKEN_NONE ? !spells : tok->unknown >= tok->size)
        return error_set(
            err, STATUS_REFUSED,
            "%s: neither an unknown token nor one for every byte: some text would have no tokens", where);
    for (size_t i = 0; i < tok->n_characters; i++)
        if (tok->characters[2 * i + 1] >= tok->size ||
            (i && tok->characters[2 * i] <= tok->characters[2 * i - 2]))
            return error_set(err, STATUS_REFUSED, "%s: damaged table of characters", where);
    return STATUS_OK;
}

static int check_vocabulary(const struct tokenizer *tok, const char *where, struct error *err)
{
    if (tok->offsets[0] != 0)
        return error_set(err, STATUS_REFUSED, "%s: token 0 does not start at 0", where);
    for (size_t i = 0; i < tok->size; i++)
        if (tok->offsets[i] > tok->offsets[i + 1])
            return error_set(err, STATUS_REFUSED, "%s: token %zu ends before it starts", where, i);
    int status = tok->of_bytes ? check_bytes(tok, where, err) : check_characters(tok, where, err);
    if (status)
        return status;
    for (size_t i = 0; i < tok->n_added; i++) {
        size_t n;
        tokenizer_token(tok, tok->added[i].id, &n);
        if (!n || (tok->added[i].text && !tok->added[i].n))
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

uint32_t tokenizer_find_token(const struct tokenizer *tok, const uint8_t *bytes, size_t n)
{
    for (size_t i = hash64(bytes, n, 0) & tok->token_mask; tok->token_table[i] != TOKEN_NONE;
         i = (i + 1) & tok->token_mask) {
        size_t length;
        const void *token = tokenizer_token(tok, tok->token_table[i], &length);
        if (length == n && !memcmp(token, bytes, n))
            return tok->token_table[i];
    }
    return TOKEN_NONE;
}

/* Of the model's own tokens, not of those that were only added. */
static int make_token_table(struct tokenizer *tok, struct error *err)
{
    size_t slots = 64;
    while (slots < 2 * tok->size)
        slots *= 2;
    tok->token_table = array_alloc(slots, sizeof(*tok->token_table), "the tokenizer's vocabulary", err);
    uint8_t *only_added = array_zeroed(tok->size, 1, "the tokenizer's vocabulary", err);
    if (!tok->token_table || !only_added) {
        free(only_added);
        return err->code;
    }
    memset(tok->token_table, 0xFF, slots * sizeof(*tok->token_table));
    tok->token_mask = slots - 1;
    for (size_t i = 0; i < tok->n_added; i++)
        only_added[tok->added[i].id] = !(tok->added[i].flags & ADDED_IN_MODEL);
    for (uint32_t id = 0; id < tok->size; id++) {
        size_t n;
        const uint8_t *bytes = tokenizer_token(tok, id, &n);
        if (!n || only_added[id])
            continue;
        size_t i = hash64(bytes, n, 0) & tok->token_mask;
        while (tok->token_table[i] != TOKEN_NONE)
            i = (i + 1) & tok->token_mask;
        tok->token_table[i] = id;
    }
    free(only_added);
    return STATUS_OK;
}

uint32_t tokenizer_find_character(const struct tokenizer *tok, uint32_t c)
{
    size_t low = 0, high = tok->n_characters;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tok->characters[2 * middle] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < tok->n_characters && tok->characters[2 * low] == c ? tok->characters[2 * low + 1]
                                                                    : TOKEN_NONE;
}

/* ---- Where text may be cut. ---- */

/* Notes a token that has a blank behind what is none; 0 when there are too many. */
static int note_across(struct tokenizer *tok, uint32_t id)
{
    size_t n;
    int holds = 0;
    const uint8_t *bytes = tokenizer_token(tok, id, &n);
    for (size_t i = 1; i < n; i++)
        if (bytes[i] == ' ' && bytes[i - 1] != ' ')
            holds = tok->before_blank[bytes[i - 1]] = 1;
    for (size_t i = 0; i < tok->n_across && holds; i++)
        holds = tok->across[i] != id;
    if (!holds)
        return 1;
    if (tok->n_across == TOKENS_ACROSS_MAX)
        return 0;
    tok->across[tok->n_across++] = id;
    return 1;
}

static int keeps_words_apart(struct tokenizer *tok)
{
    const uint8_t *mark = (const uint8_t *)tok->blank_mark;
    size_t length = mark ? character_length(mark, strlen(tok->blank_mark)) : 0;
    if (!length || mark[length] || tokenizer_find_character(tok, character_at(mark, length)) == TOKEN_NONE)
        return 0;
    for (size_t rank = 0; rank < tok->n_merges; rank++)
        if (!note_across(tok, tok->merges[3 * rank + 2]))
            return 0;
    return 1;
}

/* Whether the text up to `at` may end as the token's first n bytes do, with blanks or their marks. */
static int may_end_so(const struct tokenizer *tok, const uint8_t *token, size_t n, const uint8_t *text,
                      size_t at)
{
    size_t mark = strlen(tok->blank_mark);
    for (; n && at; n--)
        if (token[n - 1] == ' ' && at >= mark && !memcmp(text + at - mark, tok->blank_mark, mark))
            at -= mark;
        else if (text[--at] != token[n - 1])
            return 0;
    return 1;
}

/* Whether `left` bytes of text, which more may follow, may begin as the n bytes of a token. */
static int may_begin_so(const struct tokenizer *tok, const uint8_t *token, size_t n, const uint8_t *text,
                        size_t left)
{
    size_t mark = strlen(tok->blank_mark);
    for (size_t i = 0, step; i < n && left; i++, text += step, left -= step) {
        step = mark < left ? mark : left;
        if (token[i] == ' ' && !memcmp(text, tok->blank_mark, step))
            continue;
        if (*text != token[i])
            return 0;
        step = 1;
    }
    return 1;
}

int tokenizer_merges_across(const struct tokenizer *tok, const uint8_t *bytes, size_t n, size_t at)
{
    if (!tok->n_across || !tok->before_blank[bytes[at - 1]])
        return 0;
    for (size_t k = 0; k < tok->n_across; k++) {
        size_t length;
        const uint8_t *token = tokenizer_token(tok, tok->across[k], &length);
        for (size_t i = 1; i < length; i++)
            if (token[i] == ' ' && token[i - 1] == bytes[at - 1] && may_end_so(tok, token, i, bytes, at) &&
                may_begin_so(tok, token + i, length - i, bytes + at, n - at))
                return 1;
    }
    return 0;
}

/* With tokens across blanks the text must be what is merged, but for blanks. */
static int changes_words(const struct step *s)
{
    return s->kind == STEP_NFC || (s->kind == STEP_REPLACE && strcmp(s->from, " "));
}

static void find_cuts(struct tokenizer *tok)
{
    int known = 1, blanks = 0, newlines = 0, replaced = 0;
    for (size_t i = 0; i < tok->n_steps; i++) {
        const struct step *s = tok->steps + i;
        const char *mark = replaced ? tok->blank_mark : NULL;
        enum cutting cutting = s->kind == STEP_SPLIT ? step_cutting(s, mark) : CUTTING_HARMLESS;
        if ((s->kind == STEP_REPLACE && s->n_from > 1 && memchr(s->from, ' ', s->n_from)) ||
            (tok->n_across && changes_words(s)))
            cutting = CUTTING_UNKNOWN;
        replaced |= s->kind == STEP_REPLACE && !strcmp(s->from, " ");
        known &= cutting != CUTTING_UNKNOWN;
        blanks |= cutting == CUTTING_BLANKS;
        newlines |= cutting == CUTTING_NEWLINES;
    }
    tok->cuts_before_blanks = known && (tok->of_bytes ? blanks || newlines : tok->words_apart);
    tok->cuts_before_newlines = known && tok->of_bytes && newlines && !blanks;
}

/* ---- All of it. ---- */

static int compile_steps(struct tokenizer *tok, const char *where, struct error *err)
{
    for (size_t i = 0; i < tok->n_steps; i++) {
        if (tok->steps[i].kind != STEP_SPLIT)
            continue;
        int status = step_compile(tok->steps + i, err);
        if (status) {
            error_prefix(err, "%s: pre_tokenizer", where);
            return status;
        }
    }
    return STATUS_OK;
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
    tok->words_apart = keeps_words_apart(tok);
    find_cuts(tok);
    status = tokenizer_prepare_added(tok, err);
    if (!status)
        status = make_merge_table(tok, err);
    if (!status && tok->whole_pieces_first)
        status = make_token_table(tok, err);
    return status ? status : compile_steps(tok, where, err);
}
