/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Text to tokens: added tokens are split out, PCRE2 cuts the rest into pieces, and within a piece the merge
 * of lowest rank is applied, the leftmost first, until none is left. A heap of possible merges keeps a piece
 * of n bytes at O(n log n).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/model/tokenizer_internal.h"

#define CACHE_SLOTS 32768 /* direct-mapped by the piece's hash */
#define CACHE_BYTES 30
#define CACHE_IDS   8
#define NOWHERE     UINT32_MAX

struct cached_piece {
    uint8_t n_bytes, n_ids; /* n_bytes 0: free */
    uint8_t bytes[CACHE_BYTES];
    uint32_t ids[CACHE_IDS];
};

/* A token within the piece that is being merged; a merged-away one has id TOKEN_NONE. */
struct symbol {
    uint32_t id, previous, next;
};

struct candidate {
    uint32_t rank, at, result;
};

struct encoder {
    const struct tokenizer *tok;
    pcre2_match_data *match;
    pcre2_match_context *context;
    struct cached_piece *cache;
    struct symbol *symbols;
    struct candidate *heap;
    size_t capacity; /* of symbols; the heap has three times as many */
    size_t n_heap;
};

struct encoder *encoder_new(const struct tokenizer *tok)
{
    struct encoder *e = xcalloc(1, sizeof(*e));
    e->tok = tok;
    e->match = pcre2_match_data_create(1, NULL);
    e->context = pcre2_match_context_create(NULL);
    e->cache = xcalloc(CACHE_SLOTS, sizeof(*e->cache));
    /* The pattern looks at a character once or twice, so a long run of one class is no reason to give up. */
    if (e->context) {
        pcre2_set_match_limit(e->context, UINT32_MAX);
        pcre2_set_heap_limit(e->context, UINT32_MAX);
    }
    return e;
}

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    pcre2_match_data_free(e->match);
    pcre2_match_context_free(e->context);
    free(e->cache);
    free(e->symbols);
    free(e->heap);
    free(e);
}

/* ---- Valid UTF-8. ---- */

/* Bytes of the character that starts at p (Unicode's table of well-formed sequences), or 0. */
static size_t character_length(const uint8_t *p, size_t n)
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

/* ---- Pieces. ---- */

/* Length of the piece at `start` of valid text; 0 with an error. */
static size_t piece_length(struct encoder *e, const uint8_t *text, size_t n, size_t start, struct error *err)
{
    int found =
        e->tok->jit
            ? pcre2_jit_match(e->tok->pattern, text, n, start, PCRE2_NO_UTF_CHECK, e->match, e->context)
            : pcre2_match(e->tok->pattern, text, n, start, PCRE2_NO_UTF_CHECK, e->match, e->context);
    const PCRE2_SIZE *range = found >= 0 ? pcre2_get_ovector_pointer(e->match) : NULL;
    if (range && range[1] > start)
        return range[1] - start;
    error_set(err, STATUS_FAILED, "the tokenizer's pattern stops at byte %zu (PCRE2 error %d)", start, found);
    return 0;
}

int encoder_pieces(struct encoder *e, const uint8_t *bytes, size_t n,
                   int (*piece)(void *arg, size_t start, size_t length), void *arg, struct error *err)
{
    size_t at = 0;
    while (at < n) {
        size_t valid = valid_prefix(bytes + at, n - at);
        for (size_t within = 0; within < valid;) {
            size_t length = piece_length(e, bytes + at, valid, within, err);
            int status = length ? piece(arg, at + within, length) : STATUS_FAILED;
            if (status)
                return status;
            within += length;
        }
        at += valid;
        for (; at < n && !character_length(bytes + at, n - at); at++) {
            int status = piece(arg, at, 1);
            if (status)
                return status;
        }
    }
    return STATUS_OK;
}

/* ---- Merging. ---- */

static int goes_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct encoder *e, struct candidate c)
{
    size_t i = e->n_heap++;
    while (i) {
        size_t parent = (i - 1) / 2;
        if (!goes_before(&c, e->heap + parent))
            break;
        e->heap[i] = e->heap[parent];
        i = parent;
    }
    e->heap[i] = c;
}

static struct candidate heap_pop(struct encoder *e)
{
    struct candidate top = e->heap[0], last = e->heap[--e->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= e->n_heap)
            break;
        if (child + 1 < e->n_heap && goes_before(e->heap + child + 1, e->heap + child))
            child++;
        if (!goes_before(e->heap + child, &last))
            break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

static void push_pair(struct encoder *e, uint32_t at)
{
    if (at == NOWHERE || e->symbols[at].next == NOWHERE)
        return;
    const struct merge_slot *merge =
        tokenizer_find_merge(e->tok, e->symbols[at].id, e->symbols[e->symbols[at].next].id);
    if (merge)
        heap_push(e, (struct candidate){merge->rank, at, merge->result});
}

static int grow_scratch(struct encoder *e, size_t n, struct error *err)
{
    if (n <= e->capacity)
        return STATUS_OK;
    size_t capacity = n + n / 2 + 64;
    free(e->symbols);
    free(e->heap);
    e->heap = NULL;
    e->capacity = 0;
    e->symbols = array_alloc(capacity, sizeof(*e->symbols), "a piece of text", err);
    /* n - 1 pairs at first, then at most two new ones for each of up to n - 1 merges. */
    e->heap = e->symbols ? array_alloc(capacity, 3 * sizeof(*e->heap), "a piece of text", err) : NULL;
    if (!e->heap)
        return STATUS_FAILED;
    e->capacity = capacity;
    return STATUS_OK;
}

static int merge_piece(struct encoder *e, const uint8_t *bytes, size_t n, struct token_list *out,
                       struct error *err)
{
    int status = grow_scratch(e, n, err);
    if (status)
        return status;
    struct symbol *s = e->symbols;
    for (size_t i = 0; i < n; i++)
        s[i] = (struct symbol){e->tok->byte_token[bytes[i]], i ? (uint32_t)i - 1 : NOWHERE,
                               i + 1 < n ? (uint32_t)i + 1 : NOWHERE};
    e->n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++)
        push_pair(e, (uint32_t)i);
    while (e->n_heap) {
        struct candidate c = heap_pop(e);
        struct symbol *left = s + c.at;
        if (left->id == TOKEN_NONE || left->next == NOWHERE)
            continue;
        /* Stale when the pair is another by now. */
        const struct merge_slot *merge = tokenizer_find_merge(e->tok, left->id, s[left->next].id);
        if (!merge || merge->result != c.result)
            continue;
        struct symbol *right = s + left->next;
        left->id = c.result;
        left->next = right->next;
        right->id = TOKEN_NONE;
        if (left->next != NOWHERE)
            s[left->next].previous = c.at;
        push_pair(e, left->previous);
        push_pair(e, c.at);
    }
    for (uint32_t i = 0; i != NOWHERE; i = s[i].next)
        token_list_add(out, s[i].id);
    return STATUS_OK;
}

static int encode_piece(struct encoder *e, const uint8_t *bytes, size_t n, struct token_list *out,
                        struct error *err)
{
    if (n == 1) {
        token_list_add(out, e->tok->byte_token[bytes[0]]);
        return STATUS_OK;
    }
    if (n > CACHE_BYTES)
        return merge_piece(e, bytes, n, out, err);
    struct cached_piece *c = e->cache + hash64(bytes, n, 0) % CACHE_SLOTS;
    if (c->n_bytes != n || memcmp(c->bytes, bytes, n)) {
        size_t before = out->n;
        int status = merge_piece(e, bytes, n, out, err);
        if (status || out->n - before > CACHE_IDS)
            return status;
        c->n_bytes = (uint8_t)n;
        c->n_ids = (uint8_t)(out->n - before);
        memcpy(c->bytes, bytes, n);
        memcpy(c->ids, out->ids + before, c->n_ids * sizeof(*c->ids));
        return STATUS_OK;
    }
    for (size_t i = 0; i < c->n_ids; i++)
        token_list_add(out, c->ids[i]);
    return STATUS_OK;
}

/* ---- Text between added tokens. ---- */

struct encoding {
    struct encoder *e;
    const uint8_t *bytes;
    struct token_list *out;
    struct error *err;
};

static int encode_one(void *arg, size_t start, size_t length)
{
    struct encoding *x = arg;
    return encode_piece(x->e, x->bytes + start, length, x->out, x->err);
}

static int encode_plain(struct encoder *e, const uint8_t *bytes, size_t n, struct token_list *out,
                        struct error *err)
{
    struct encoding x = {e, bytes, out, err};
    if (!n)
        return STATUS_OK;
    if (!e->tok->adds_prefix_space || bytes[0] == ' ')
        return encoder_pieces(e, bytes, n, encode_one, &x, err);
    uint8_t *spaced = array_alloc(n + 1, 1, "a piece of text", err);
    if (!spaced)
        return STATUS_FAILED;
    spaced[0] = ' ';
    memcpy(spaced + 1, bytes, n);
    x.bytes = spaced;
    int status = encoder_pieces(e, spaced, n + 1, encode_one, &x, err);
    free(spaced);
    return status;
}

/* ---- Added tokens. ---- */

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

/* Bytes of the white space character before (after) `at`, or 0. */
static size_t blank_before(const uint8_t *bytes, size_t from, size_t at)
{
    if (at > from && is_ascii_blank(bytes[at - 1]))
        return 1;
    for (size_t n = 2; n <= 3; n++)
        if (at - from >= n && is_wide_blank(bytes + at - n, n))
            return n;
    return 0;
}

static size_t blank_after(const uint8_t *bytes, size_t n, size_t at)
{
    if (at < n && is_ascii_blank(bytes[at]))
        return 1;
    for (size_t length = 2; length <= 3; length++)
        if (n - at >= length && is_wide_blank(bytes + at, length))
            return length;
    return 0;
}

/* The longest added token that starts at bytes[0], or NULL. */
static const struct added_token *added_at(const struct tokenizer *tok, const uint8_t *bytes, size_t n,
                                          int specials, size_t *length)
{
    const struct added_token *best = NULL;
    *length = 0;
    for (size_t i = 0; i < tok->n_added; i++) {
        size_t n_text;
        const void *text = tokenizer_token(tok, tok->added[i].id, &n_text);
        if ((specials || !(tok->added[i].flags & ADDED_SPECIAL)) && n_text > *length && n_text <= n &&
            !memcmp(bytes, text, n_text)) {
            best = tok->added + i;
            *length = n_text;
        }
    }
    return best;
}

int encoder_encode(struct encoder *e, const void *text, size_t n, int specials, struct token_list *out,
                   struct error *err)
{
    const struct tokenizer *tok = e->tok;
    const uint8_t *bytes = text;
    if (n > INT32_MAX)
        return error_set(err, STATUS_REFUSED, "text of more than 2 GiB at once");
    if (!e->match || !e->context)
        return error_set(err, STATUS_FAILED, "not enough memory for the tokenizer");
    size_t from = 0;
    for (size_t at = 0; tok->n_added && at < n;) {
        size_t length = 0;
        const struct added_token *added =
            tok->added_first[bytes[at]] ? added_at(tok, bytes + at, n - at, specials, &length) : NULL;
        if (!added) {
            at++;
            continue;
        }
        size_t end = at + length, blank;
        while ((added->flags & ADDED_STRIPS_LEFT) && (blank = blank_before(bytes, from, at)))
            at -= blank;
        while ((added->flags & ADDED_STRIPS_RIGHT) && (blank = blank_after(bytes, n, end)))
            end += blank;
        int status = encode_plain(e, bytes + from, at - from, out, err);
        if (status)
            return status;
        token_list_add(out, added->id);
        from = at = end;
    }
    return encode_plain(e, bytes + from, n - from, out, err);
}

int tokenizer_may_cut(const struct tokenizer *tok, const uint8_t *bytes, size_t at)
{
    if (tok->added_hold_blanks || (bytes[at] != ' ' && (bytes[at] != '\n' || tok->adds_prefix_space)))
        return 0;
    return !blank_before(bytes, 0, at);
}
