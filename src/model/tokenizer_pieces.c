/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Text between added tokens to pieces, as Hugging Face's tokenizers do it: the normalizers change the text,
 * normalized added tokens are looked for in the result, and the pre-tokenizer's steps change and cut what is
 * left, each step what the one before it gave.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/tokenizer_internal.h"

/* Matching gives up (a pattern that tries everything) after this many steps, and some more for every byte. */
#define MATCH_STEPS          10000000u
#define MATCH_STEPS_PER_BYTE 64u
#define MATCH_HEAP_KIB       (256u << 10)

struct cutter {
    const struct tokenizer *tok;
    pcre2_match_data *match;
    pcre2_match_context *context;
    struct strbuf *texts; /* [n_steps] what a step made of its text */
    /* Of the run: */
    piece_function piece;
    void *arg;
};

struct cutter *cutter_new(const struct tokenizer *tok)
{
    struct cutter *c = xcalloc(1, sizeof(*c));
    c->tok = tok;
    c->match = pcre2_match_data_create(1, NULL);
    c->context = pcre2_match_context_create(NULL);
    c->texts = xcalloc(tok->n_steps + 1, sizeof(*c->texts));
    if (!c->match || !c->context)
        out_of_memory();
    pcre2_set_heap_limit(c->context, MATCH_HEAP_KIB);
    return c;
}

void cutter_free(struct cutter *c)
{
    if (!c)
        return;
    pcre2_match_data_free(c->match);
    pcre2_match_context_free(c->context);
    for (size_t i = 0; i < c->tok->n_steps; i++)
        strbuf_free(c->texts + i);
    free(c->texts);
    free(c);
}

/* ---- Characters. ---- */

size_t character_length(const uint8_t *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
                    : p[0] >= 0xE0 && p[0] <= 0xEF ? 3
                    : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                                   : 0;
    if (!length || length > n)
        return 0;
    uint8_t low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

uint32_t character_at(const uint8_t *p, size_t length)
{
    static const uint8_t first_bits[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t c = p[0] & first_bits[length];
    for (size_t i = 1; i < length; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    return c;
}

static size_t valid_prefix(const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        size_t length = character_length(p + at, n - at);
        if (!length)
            break;
        at += length;
    }
    return at;
}

/* ---- Steps that change text: valid UTF-8 to valid UTF-8. ---- */

struct text {
    const uint8_t *bytes;
    size_t n;
    unsigned place; /* enum place */
};

static int starts_with(const struct text *t, const char *start, size_t n)
{
    return t->n >= n && !memcmp(t->bytes, start, n);
}

static void put_before(const struct step *s, struct text *t, struct strbuf *out)
{
    strbuf_add(out, s->text, s->n_text);
    strbuf_add(out, t->bytes, t->n);
}

static int replace(const struct step *s, const struct text *t, struct strbuf *out)
{
    const uint8_t *from = t->bytes, *end = t->bytes + t->n;
    const uint8_t *found = memmem(from, t->n, s->from, s->n_from);
    if (!found)
        return 0;
    for (; found; found = memmem(from, (size_t)(end - from), s->from, s->n_from)) {
        strbuf_add(out, from, (size_t)(found - from));
        strbuf_add(out, s->text, s->n_text);
        from = found + s->n_from;
    }
    strbuf_add(out, from, (size_t)(end - from));
    return 1;
}

/* All characters below U+0300 are NFC already. */
static int is_surely_nfc(const struct text *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->bytes[i] >= 0xCC)
            return 0;
    return 1;
}

static int compose(const struct text *t, struct strbuf *out, int *changed, struct error *err)
{
    utf8proc_uint8_t *composed = NULL;
    *changed = 0;
    if (is_surely_nfc(t))
        return STATUS_OK;
    utf8proc_ssize_t n =
        utf8proc_map(t->bytes, (utf8proc_ssize_t)t->n, &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return error_set(err, STATUS_FAILED, "text of %zu bytes cannot be normalized: %s", t->n,
                         utf8proc_errmsg(n));
    strbuf_add(out, composed, (size_t)n);
    free(composed);
    *changed = 1;
    return STATUS_OK;
}

/* `t` becomes the step's result, which lies in the step's buffer. */
static int change(struct cutter *c, size_t step, struct text *t, struct error *err)
{
    const struct step *s = c->tok->steps + step;
    struct strbuf *out = c->texts + step;
    int changed = 0, status = STATUS_OK, continues = (t->place & PLACE_CONTINUES) != 0;
    strbuf_reset(out);
    switch (s->kind) {
    case STEP_NFC:
        status = compose(t, out, &changed, err);
        break;
    case STEP_REPLACE:
        changed = replace(s, t, out);
        break;
    case STEP_PREPEND:
        changed = !continues;
        break;
    case STEP_PREFIX:
        changed = !continues && !starts_with(t, s->text, s->n_text);
        break;
    case STEP_PREFIX_FIRST:
        changed = !continues && (t->place & PLACE_FIRST) && !starts_with(t, s->text, s->n_text);
        break;
    default:
        break;
    }
    if (status || !changed)
        return status;
    if (s->kind != STEP_NFC && s->kind != STEP_REPLACE)
        put_before(s, t, out);
    t->bytes = (const uint8_t *)strbuf_string(out);
    t->n = out->length;
    return STATUS_OK;
}

/* ---- Cutting. ---- */

static int give(struct cutter *c, const uint8_t *bytes, size_t n, uint32_t added, struct error *err)
{
    struct piece piece = {bytes, n, added};
    return c->piece(c->arg, &piece, err);
}

static int run_steps(struct cutter *c, size_t step, struct text t, struct error *err);

/* Segments of a text, matches and what lies between them, on their way to the next step. */
struct cut {
    struct cutter *c;
    size_t step;
    const struct text *text;
    size_t start, end; /* held back: may be merged with what comes */
    int holds, held_match;
};

static int pass(struct cut *cut, size_t start, size_t end, struct error *err)
{
    if (start == end)
        return STATUS_OK;
    struct text part = {cut->text->bytes + start, end - start, start ? 0 : cut->text->place};
    return run_steps(cut->c, cut->step + 1, part, err);
}

static int flush(struct cut *cut, struct error *err)
{
    int status = cut->holds ? pass(cut, cut->start, cut->end, err) : STATUS_OK;
    cut->holds = 0;
    return status;
}

static int segment(struct cut *cut, size_t start, size_t end, int is_match, struct error *err)
{
    enum split_behaviour behaviour = cut->c->tok->steps[cut->step].behaviour;
    int joins = cut->holds && (behaviour == SPLIT_CONTIGUOUS      ? is_match == cut->held_match
                               : behaviour == SPLIT_WITH_PREVIOUS ? is_match && !cut->held_match
                                                                  : !is_match && cut->held_match);
    if (behaviour == SPLIT_ISOLATED)
        return pass(cut, start, end, err);
    if (behaviour == SPLIT_REMOVED)
        return is_match ? STATUS_OK : pass(cut, start, end, err);
    int status = joins ? STATUS_OK : flush(cut, err);
    if (!joins)
        cut->start = start;
    cut->end = end;
    cut->holds = 1;
    cut->held_match = is_match;
    return status;
}

/* The next match at or after `at`; 0 when there is none. */
static int find_match(struct cutter *c, const struct step *s, const struct text *t, size_t at,
                      size_t range[2], struct error *err)
{
    int found = s->jit
                    ? pcre2_jit_match(s->code, t->bytes, t->n, at, PCRE2_NO_UTF_CHECK, c->match, c->context)
                    : PCRE2_ERROR_JIT_STACKLIMIT;
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found =
            pcre2_match(s->code, t->bytes, t->n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, c->match, c->context);
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    const PCRE2_SIZE *vector = pcre2_get_ovector_pointer(c->match);
    if (found < 0 || vector[0] < at || vector[1] < vector[0]) {
        error_set(err, STATUS_FAILED,
                  "the tokenizer's pattern gives up at byte %zu of a text (PCRE2 error %d)", at, found);
        return -1;
    }
    range[0] = vector[0];
    range[1] = vector[1];
    return 1;
}

static int split(struct cutter *c, size_t step, const struct text *t, struct error *err)
{
    const struct step *s = c->tok->steps + step;
    struct cut cut = {.c = c, .step = step, .text = t};
    size_t from = 0, at = 0, range[2], limit = MATCH_STEPS + MATCH_STEPS_PER_BYTE * t->n;
    int status = STATUS_OK;
    while (at <= t->n && !status) {
        /* Again for each match: the steps that follow have their own. */
        pcre2_set_match_limit(c->context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
        int found = find_match(c, s, t, at, range, err);
        if (found < 0)
            return err->code;
        if (!found)
            break;
        if (range[0] > from)
            status = segment(&cut, from, range[0], s->inverted, err);
        if (!status)
            status = segment(&cut, range[0], range[1], !s->inverted, err);
        from = at = range[1];
        if (range[0] == range[1])
            at += at < t->n ? character_length(t->bytes + at, t->n - at) : 1;
    }
    if (!status && from < t->n)
        status = segment(&cut, from, t->n, s->inverted, err);
    return status ? status : flush(&cut, err);
}

static int run_steps(struct cutter *c, size_t step, struct text t, struct error *err)
{
    const struct tokenizer *tok = c->tok;
    for (; step < tok->n_steps; step++) {
        if (tok->steps[step].kind == STEP_SPLIT)
            return split(c, step, &t, err);
        int status = change(c, step, &t, err);
        if (status)
            return status;
    }
    return t.n ? give(c, t.bytes, t.n, TOKEN_NONE, err) : STATUS_OK;
}

/* ---- Valid text. ---- */

static int normalize(struct cutter *c, struct text *t, struct error *err)
{
    int status = STATUS_OK;
    for (size_t step = 0; step < c->tok->n_normalizers && !status; step++)
        status = change(c, step, t, err);
    return status;
}

int cutter_normalize(struct cutter *c, const char *text, size_t n, struct strbuf *out, struct error *err)
{
    struct text t = {(const uint8_t *)text, n, PLACE_FIRST};
    int status = normalize(c, &t, err);
    if (!status)
        strbuf_add(out, t.bytes, t.n);
    return status;
}

static int run_valid(struct cutter *c, struct text t, int specials, struct error *err)
{
    const struct tokenizer *tok = c->tok;
    struct added_match match;
    size_t from = 0, at = 0;
    int status = normalize(c, &t, err);
    while (!status && tok->normalized.n &&
           added_next(&tok->normalized, t.bytes, t.n, &at, from, specials, &match)) {
        if (match.start > from)
            status = run_steps(c, tok->n_normalizers,
                               (struct text){t.bytes + from, match.start - from, from ? 0 : t.place}, err);
        if (!status)
            status = give(c, t.bytes + match.start, match.stop - match.start, match.id, err);
        from = match.stop;
    }
    if (!status && from < t.n)
        status = run_steps(c, tok->n_normalizers,
                           (struct text){t.bytes + from, t.n - from, from ? 0 : t.place}, err);
    return status;
}

int cutter_run(struct cutter *c, const uint8_t *bytes, size_t n, unsigned place, int specials,
               piece_function piece, void *arg, struct error *err)
{
    size_t at = 0;
    int status = STATUS_OK;
    c->piece = piece;
    c->arg = arg;
    while (at < n && !status) {
        size_t valid = valid_prefix(bytes + at, n - at);
        unsigned here = at ? PLACE_CONTINUES : place;
        if (valid)
            status = run_valid(c, (struct text){bytes + at, valid, here}, specials, err);
        at += valid;
        for (; at < n && !status && !character_length(bytes + at, n - at); at++)
            status = give(c, bytes + at, 1, TOKEN_NONE, err);
    }
    return status;
}
