/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pieces to tokens: of a piece's characters or bytes, the merge of lowest rank is applied, the leftmost
 * first, until none is left. A heap of possible merges keeps a piece of n bytes at O(n log n).
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
    struct cutter *cutter;
    struct token_list *out; /* of the run */
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
    e->cutter = cutter_new(tok);
    e->cache = xcalloc(CACHE_SLOTS, sizeof(*e->cache));
    return e;
}

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    cutter_free(e->cutter);
    free(e->cache);
    free(e->symbols);
    free(e->heap);
    free(e);
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
    if (n >= NOWHERE / 2)
        return error_set(err, STATUS_REFUSED, "a piece of text of more than 2 GiB");
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

/* ---- A piece's first symbols. ---- */

static size_t first_bytes(const struct tokenizer *tok, const uint8_t *bytes, size_t n, struct symbol *out)
{
    for (size_t i = 0; i < n; i++)
        out[i].id = tok->byte_token[bytes[i]];
    return n;
}

/* The tokens of a character's bytes; 0 when one has none. */
static size_t spell(const struct tokenizer *tok, const uint8_t *bytes, size_t n, struct symbol *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i].id = tok->byte_token[bytes[i]];
        if (out[i].id == TOKEN_NONE)
            return 0;
    }
    return n;
}

/* Characters without a token are spelled in bytes, or unknown; an unknown one is held back until another kind
 * follows, or the next when such are not fused. */
static size_t first_characters(const struct tokenizer *tok, const uint8_t *bytes, size_t n,
                               struct symbol *out)
{
    size_t used = 0;
    int held = 0;
    for (size_t at = 0, length; at < n; at += length) {
        length = character_length(bytes + at, n - at);
        uint32_t id = length ? tokenizer_find_character(tok, character_at(bytes + at, length)) : TOKEN_NONE;
        length = length ? length : 1;
        size_t spelled = id == TOKEN_NONE ? spell(tok, bytes + at, length, out + used) : 0;
        used += spelled;
        if (spelled)
            continue;
        if (held && (id != TOKEN_NONE || !tok->fuses_unknown))
            out[used++].id = tok->unknown;
        held = id == TOKEN_NONE;
        if (!held)
            out[used++].id = id;
    }
    if (held)
        out[used++].id = tok->unknown;
    return used;
}

/* ---- Pieces. ---- */

static void apply_merges(struct encoder *e)
{
    struct symbol *s = e->symbols;
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
}

static int merge_piece(struct encoder *e, const uint8_t *bytes, size_t n, struct token_list *out,
                       struct error *err)
{
    const struct tokenizer *tok = e->tok;
    uint32_t whole = tok->whole_pieces_first ? tokenizer_find_token(tok, bytes, n) : TOKEN_NONE;
    if (whole != TOKEN_NONE) {
        token_list_add(out, whole);
        return STATUS_OK;
    }
    int status = grow_scratch(e, n, err);
    if (status)
        return status;
    struct symbol *s = e->symbols;
    size_t count = tok->of_bytes ? first_bytes(tok, bytes, n, s) : first_characters(tok, bytes, n, s);
    for (size_t i = 0; i < count; i++) {
        s[i].previous = i ? (uint32_t)i - 1 : NOWHERE;
        s[i].next = i + 1 < count ? (uint32_t)i + 1 : NOWHERE;
    }
    e->n_heap = 0;
    for (size_t i = 0; i + 1 < count; i++)
        push_pair(e, (uint32_t)i);
    apply_merges(e);
    for (uint32_t i = count ? 0 : NOWHERE; i != NOWHERE; i = s[i].next)
        token_list_add(out, s[i].id);
    return STATUS_OK;
}

static int encode_word(struct encoder *e, const uint8_t *bytes, size_t n, struct token_list *out,
                       struct error *err)
{
    if (n == 1 && e->tok->of_bytes) {
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

/* The end of the word at `start`: where a blank's mark follows something else, and no merge reaches across.
 */
static size_t word_end(const struct tokenizer *tok, const uint8_t *bytes, size_t n, size_t start)
{
    size_t n_mark = strlen(tok->blank_mark), at = start;
    for (;;) {
        while (n - at >= n_mark && !memcmp(bytes + at, tok->blank_mark, n_mark))
            at += n_mark;
        const uint8_t *next = at < n ? memmem(bytes + at, n - at, tok->blank_mark, n_mark) : NULL;
        if (!next)
            return n;
        at = (size_t)(next - bytes);
        if (!tokenizer_merges_across(tok, bytes, n, at))
            return at;
    }
}

/* SentencePiece's pieces may be whole documents, but seldom does a merge reach from one word to the next. */
static int encode_piece(void *arg, const struct piece *piece, struct error *err)
{
    struct encoder *e = arg;
    if (piece->added != TOKEN_NONE) {
        token_list_add(e->out, piece->added);
        return STATUS_OK;
    }
    if (e->tok->of_bytes || !e->tok->words_apart || !e->tok->blank_mark)
        return encode_word(e, piece->bytes, piece->n, e->out, err);
    int status = STATUS_OK;
    for (size_t at = 0, end; at < piece->n && !status; at = end) {
        end = word_end(e->tok, piece->bytes, piece->n, at);
        status = encode_word(e, piece->bytes + at, end - at, e->out, err);
    }
    return status;
}

/* ---- Text. ---- */

int encoder_encode_part(struct encoder *e, const void *text, size_t n, int specials, int continues,
                        struct token_list *out, struct error *err)
{
    const struct tokenizer *tok = e->tok;
    const uint8_t *bytes = text;
    struct added_match match;
    size_t from = 0, at = 0;
    unsigned place = continues ? PLACE_CONTINUES : PLACE_FIRST;
    int status = STATUS_OK;
    if (n > INT32_MAX)
        return error_set(err, STATUS_REFUSED, "text of more than 2 GiB at once");
    e->out = out;
    while (!status && tok->raw.n && added_next(&tok->raw, bytes, n, &at, from, specials, &match)) {
        if (match.start > from)
            status = cutter_run(e->cutter, bytes + from, match.start - from, from ? 0 : place, specials,
                                encode_piece, e, err);
        token_list_add(out, match.id);
        from = match.stop;
    }
    if (!status && from < n)
        status =
            cutter_run(e->cutter, bytes + from, n - from, from ? 0 : place, specials, encode_piece, e, err);
    return status;
}

int encoder_encode(struct encoder *e, const void *text, size_t n, int specials, struct token_list *out,
                   struct error *err)
{
    return encoder_encode_part(e, text, n, specials, 0, out, err);
}
