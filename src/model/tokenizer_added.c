/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Added tokens in a text: the first, and of those that start there the longest. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "saescope/base/memory.h"
#include "saescope/model/tokenizer_internal.h"

/* ---- Blanks and words. ---- */

/* White space other than ASCII's, as UTF-8 (Unicode's White_Space). */
static int is_wide_blank(const uint8_t *p, size_t n)
{
    if (n == 2)
        return p[0] == 0xC2 && (p[1] == 0x85 || p[1] == 0xA0);
    if (n != 3)
        return 0;
    unsigned c = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    return (p[0] & 0xF0) == 0xE0 && (c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
                                     c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000);
}

static int is_ascii_blank(uint8_t c)
{
    return c == ' ' || (c >= 0x09 && c <= 0x0D);
}

size_t blank_before(const uint8_t *bytes, size_t from, size_t at)
{
    if (at > from && is_ascii_blank(bytes[at - 1]))
        return 1;
    for (size_t n = 2; n <= 3; n++)
        if (at >= from + n && is_wide_blank(bytes + at - n, n))
            return n;
    return 0;
}

size_t blank_after(const uint8_t *bytes, size_t n, size_t at)
{
    if (at < n && is_ascii_blank(bytes[at]))
        return 1;
    for (size_t length = 2; length <= 3; length++)
        if (n - at >= length && is_wide_blank(bytes + at, length))
            return length;
    return 0;
}

/* A word's character in Unicode's sense (UTS 18): alphabetic, marks, digits, connectors, joiners. */
static int is_word(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    int circled = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                  (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC || circled || c == 0x200C || c == 0x200D;
}

static int word_before(const uint8_t *text, size_t at)
{
    for (size_t n = 1; n <= 4 && n <= at; n++)
        if (character_length(text + at - n, n) == n)
            return is_word(character_at(text + at - n, n));
    return 0;
}

static int word_after(const uint8_t *text, size_t n, size_t at)
{
    size_t length = at < n ? character_length(text + at, n - at) : 0;
    return length && is_word(character_at(text + at, length));
}

/* ---- Finding. ---- */

/* The first of tokens [low, high), which agree up to `depth`, whose next byte is `byte` or more. */
static size_t first_from(const struct added_set *set, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uint8_t)set->tokens[middle]->text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest of the set that starts at text[at], or NULL: those that agree with the text so far are a range,
 * which gets narrower with each byte; what ends there comes first in it. */
static const struct added_token *longest_at(const struct added_set *set, const uint8_t *text, size_t n,
                                            size_t at)
{
    const struct added_token *best = NULL;
    size_t low = set->first[text[at]], high = set->first[text[at] + 1];
    for (size_t depth = 1; low < high; depth++) {
        while (low < high && set->tokens[low]->n == depth)
            best = set->tokens[low++];
        if (at + depth == n)
            break;
        low = first_from(set, low, high, depth, text[at + depth]);
        high = first_from(set, low, high, depth, text[at + depth] + 1u);
    }
    return best;
}

int added_next(const struct added_set *set, const uint8_t *text, size_t n, size_t *at, size_t from,
               int specials, struct added_match *out)
{
    while (*at < n) {
        const struct added_token *found = longest_at(set, text, n, *at);
        if (!found) {
            ++*at;
            continue;
        }
        size_t start = *at, stop = start + found->n, blank;
        *at = stop;
        if ((!specials && (found->flags & ADDED_SPECIAL)) ||
            ((found->flags & ADDED_WHOLE_WORD) && (word_before(text, start) || word_after(text, n, stop))))
            continue;
        while ((found->flags & ADDED_STRIPS_LEFT) && (blank = blank_before(text, from, start)))
            start -= blank;
        while ((found->flags & ADDED_STRIPS_RIGHT) && (blank = blank_after(text, n, stop)))
            stop += blank;
        *out = (struct added_match){start, stop, found->id};
        return 1;
    }
    return 0;
}

/* ---- Preparing. ---- */

static int compare_tokens(const void *a, const void *b)
{
    const struct added_token *x = *(const struct added_token *const *)a,
                             *y = *(const struct added_token *const *)b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->text, y->text, n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int make_set(struct tokenizer *tok, int normalized, struct added_set *set, struct error *err)
{
    set->tokens = array_alloc(tok->n_added + 1, sizeof(*set->tokens), "added tokens", err);
    if (!set->tokens)
        return err->code;
    for (size_t i = 0; i < tok->n_added; i++)
        if (!(tok->added[i].flags & ADDED_NORMALIZED) == !normalized)
            set->tokens[set->n++] = tok->added + i;
    qsort(set->tokens, set->n, sizeof(*set->tokens), compare_tokens);
    for (size_t i = 0; i < set->n; i++)
        set->first[(uint8_t)set->tokens[i]->text[0] + 1]++;
    for (size_t b = 0; b < 256; b++)
        set->first[b + 1] += set->first[b];
    return STATUS_OK;
}

/* What is a blank, or becomes one by the normalizers. */
static size_t blank_or_mark(const struct tokenizer *tok, const struct added_token *added, size_t at)
{
    size_t n = tok->blank_mark ? strlen(tok->blank_mark) : 0;
    if (n && (added->flags & ADDED_NORMALIZED) && added->n - at >= n &&
        !memcmp(added->text + at, tok->blank_mark, n))
        return n;
    return blank_after((const uint8_t *)added->text, added->n, at);
}

/* Whether the token may reach over a place to cut, and whether it is a run of blanks. */
static void note_blanks(struct tokenizer *tok, const struct added_token *added, int *holds_blanks)
{
    size_t blanks = 0, others = 0;
    for (size_t at = 0; at < added->n;) {
        size_t blank = blank_or_mark(tok, added, at);
        blanks += blank > 0;
        others += !blank;
        at += blank ? blank : 1;
    }
    if ((added->flags & (ADDED_STRIPS_LEFT | ADDED_STRIPS_RIGHT)) || (blanks && others) || blanks == 1)
        *holds_blanks = 1;
    else if (blanks)
        tok->added_runs_of_blanks = 1;
}

int tokenizer_prepare_added(struct tokenizer *tok, struct error *err)
{
    int holds_blanks = 0;
    for (size_t i = 0; i < tok->n_added; i++) {
        struct added_token *added = tok->added + i;
        if (!added->text) {
            const char *bytes = tokenizer_token(tok, added->id, &added->n);
            added->text = xstrndup(bytes, added->n);
        }
        tok->special[added->id] = (added->flags & ADDED_SPECIAL) != 0;
        note_blanks(tok, added, &holds_blanks);
    }
    tok->cuts_before_blanks &= !holds_blanks;
    tok->cuts_before_newlines &= !holds_blanks && !tok->added_runs_of_blanks;
    int status = make_set(tok, 0, &tok->raw, err);
    return status ? status : make_set(tok, 1, &tok->normalized, err);
}

/* What follows an added token begins anew: something may be put before it. */
static int ends_with_added(const struct tokenizer *tok, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < tok->n_added; i++) {
        size_t length;
        const void *text = tokenizer_token(tok, tok->added[i].id, &length);
        if (length <= n && !memcmp(bytes + n - length, text, length))
            return 1;
    }
    return 0;
}

int tokenizer_may_cut(const struct tokenizer *tok, const uint8_t *bytes, size_t n, size_t at)
{
    if (!(bytes[at] == ' ' && tok->cuts_before_blanks) && !(bytes[at] == '\n' && tok->cuts_before_newlines))
        return 0;
    if (tok->added_runs_of_blanks && (at + 1 == n || blank_after(bytes, n, at + 1)))
        return 0;
    size_t mark = tok->blank_mark ? strlen(tok->blank_mark) : 0;
    if (mark && at >= mark && !memcmp(bytes + at - mark, tok->blank_mark, mark))
        return 0;
    if (!tok->of_bytes && tokenizer_merges_across(tok, bytes, n, at))
        return 0;
    return !blank_before(bytes, 0, at) && !ends_with_added(tok, bytes, at);
}
