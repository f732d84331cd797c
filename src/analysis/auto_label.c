/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * First labels of latents. Candidates are the words a latent fires on and, where it fires on one piece of many words, that
 * piece ("-ologist"). p is a candidate's share of the latent's activation and q its share of the text; those with the
 * largest p·log(p/q) are taken one after the other, each from what the earlier ones have left over.
 */
#include "config.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/auto_label.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

#define WORD_SLOTS    ((size_t)1 << 20)
#define LABEL_PARTS   3
#define PAIRS_MAX     8192 /* distinct (word, token) pairs looked at */
#define PAIRS_RANKED  384
#define CANDIDATES    32   /* the strongest pairs, whose word and token are weighed */
#define WORD_BYTES    48   /* longer words are cut in labels */

enum { PIECE_JOINS = 1, PIECE_CONTINUES = 2, PIECE_SPECIAL = 4 };

struct word_table {
    const struct tokenizer *tokenizer;
    size_t vocabulary;
    unsigned char *pieces;  /* [vocabulary]: whether its first (last) byte is a word's */
    uint32_t *words;        /* [WORD_SLOTS] */
    uint32_t *tokens;       /* [vocabulary] */
    uint64_t total;
};

static int is_word_byte(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

int word_table_new(const struct tokenizer *tok, struct word_table **out, struct error *err)
{
    struct word_table *w = xcalloc(1, sizeof(*w));

    *out = NULL;
    w->tokenizer = tok;
    w->vocabulary = tokenizer_size(tok);
    w->pieces = array_zeroed(w->vocabulary, 1, "words", err);
    w->words = array_zeroed(WORD_SLOTS, sizeof(*w->words), "words", err);
    w->tokens = array_zeroed(w->vocabulary, sizeof(*w->tokens), "words", err);
    if (!w->pieces || !w->words || !w->tokens) {
        word_table_free(w);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < w->vocabulary; i++) {
        size_t n;
        const unsigned char *bytes = tokenizer_token(tok, (uint32_t)i, &n);

        if (tokenizer_is_special(tok, (uint32_t)i))
            w->pieces[i] = PIECE_SPECIAL;
        else if (n)
            w->pieces[i] = (unsigned char)((is_word_byte(bytes[0]) ? PIECE_JOINS : 0) |
                                           (is_word_byte(bytes[n - 1]) ? PIECE_CONTINUES : 0));
    }
    *out = w;
    return STATUS_OK;
}

void word_table_free(struct word_table *w)
{
    if (!w)
        return;
    free(w->pieces);
    free(w->words);
    free(w->tokens);
    free(w);
}

/* Whether token i of a context is of the same word as token i − 1. */
static int joins(const struct word_table *w, const uint32_t *ids, size_t i)
{
    return i > 0 && ids[i] < w->vocabulary && ids[i - 1] < w->vocabulary && (w->pieces[ids[i]] & PIECE_JOINS) &&
           (w->pieces[ids[i - 1]] & PIECE_CONTINUES);
}

/* The bytes of tokens [from, to), without blanks at the ends, cut to WORD_BYTES at a character's end. */
static size_t word_bytes(const struct word_table *w, const uint32_t *ids, size_t from, size_t to, char word[WORD_BYTES])
{
    size_t n = 0;

    for (size_t i = from; i < to; i++) {
        size_t length;
        const char *bytes = tokenizer_token(w->tokenizer, ids[i], &length);

        while (!n && length && isspace((unsigned char)*bytes))
            bytes++, length--;
        if (length > WORD_BYTES - n) {
            length = WORD_BYTES - n;
            while (length && ((unsigned char)bytes[length] & 0xC0) == 0x80)
                length--;
            memcpy(word + n, bytes, length);
            n += length;
            break;
        }
        memcpy(word + n, bytes, length);
        n += length;
    }
    while (n && isspace((unsigned char)word[n - 1]))
        n--;
    return n;
}

static uint32_t word_hash(const char *word, size_t n)
{
    char folded[WORD_BYTES];
    uint32_t hash;

    for (size_t i = 0; i < n; i++)
        folded[i] = (char)tolower((unsigned char)word[i]);
    hash = (uint32_t)hash64(folded, n, 0);
    return hash ? hash : 1;
}

void word_table_add(struct word_table *w, const uint32_t *ids, const uint8_t *counted, size_t n, uint32_t *words)
{
    for (size_t i = 0; i < n;) {
        char word[WORD_BYTES];
        size_t to = i + 1;
        uint32_t hash;

        while (to < n && joins(w, ids, to))
            to++;
        hash = word_hash(word, word_bytes(w, ids, i, to, word));
        for (; i < to; i++) {
            words[i] = counted[i] ? hash : 0;
            if (!counted[i] || ids[i] >= w->vocabulary)
                continue;
            w->words[hash & (WORD_SLOTS - 1)]++;
            w->tokens[ids[i]]++;
            w->total++;
        }
    }
}

/* ---- What one latent fires on. ---- */
struct pair {
    uint32_t word, token;
    uint32_t peak_place;
    float peak;
    double weight;
};

/* Firings by (word, token): an open hash table. */
struct pairs {
    struct pair *slots; /* word 0: empty */
    size_t n, mask;
};

static void count_firing(struct pairs *p, uint32_t word, uint32_t token, uint32_t place, float activation)
{
    size_t at = (word ^ token * 2654435761u) & p->mask;
    struct pair *x;

    while (p->slots[at].word && (p->slots[at].word != word || p->slots[at].token != token))
        at = (at + 1) & p->mask;
    x = &p->slots[at];
    if (!x->word) {
        if (p->n >= PAIRS_MAX)
            return;
        p->n++;
        x->word = word;
        x->token = token;
    }
    /* Squares: what it fires on strongly says more than what it fires on often. */
    x->weight += (double)activation * (double)activation;
    if (activation > x->peak) {
        x->peak = activation;
        x->peak_place = place;
    }
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;

    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    if (x->word != y->word)
        return x->word < y->word ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static double score(double p, double q)
{
    return p > 0 ? p * log(p / (q > 1e-7 ? q : 1e-7)) : 0;
}

struct candidate {
    int is_piece;
    uint32_t key;         /* hash of the word, or token */
    double p, score;
    const struct pair *best; /* its strongest pair */
};

static int matches(const struct candidate *c, const struct pair *x)
{
    return c->is_piece ? x->token == c->key : x->word == c->key;
}

/* The best candidate for the weight that is left in the ranked pairs. */
static struct candidate best_candidate(const struct word_table *w, const struct pair *x, size_t n, double total)
{
    struct candidate best = {.score = 0};
    size_t tried = 0;

    for (size_t i = 0; i < n && tried < CANDIDATES; i++) {
        struct candidate word = {0, x[i].word, 0, 0, &x[i]}, piece = {1, x[i].token, 0, 0, &x[i]};
        double largest = 0;

        if (x[i].weight <= 0)
            continue;
        tried++;
        for (size_t j = 0; j < n; j++) {
            if (matches(&word, &x[j]))
                word.p += x[j].weight / total;
            if (matches(&piece, &x[j])) {
                piece.p += x[j].weight / total;
                largest = x[j].weight > largest ? x[j].weight : largest;
            }
        }
        word.score = score(word.p, w->words[word.key & (WORD_SLOTS - 1)] / (double)(w->total + 1));
        piece.score = score(piece.p, w->tokens[piece.key] / (double)(w->total + 1));
        /* A piece stands for many words; where one word is most of it, that word says it better. */
        if (largest > 0.4 * piece.p * total)
            piece.score = 0;
        if (word.score > best.score)
            best = word;
        if (piece.score > best.score)
            best = piece;
    }
    return best;
}

static void add_candidate(const struct word_table *w, const struct candidate *c, const uint32_t *ids, size_t length,
                          struct strbuf *out)
{
    size_t position = c->best->peak_place % length, from = position, to = position + 1;
    const uint32_t *context = ids + (c->best->peak_place - position);
    char word[WORD_BYTES];
    size_t n;

    if (!c->is_piece) {
        while (joins(w, context, from))
            from--;
        while (to < length && joins(w, context, to))
            to++;
    }
    n = word_bytes(w, context, from, to, word);
    if (!n)
        return;
    if (out->length)
        strbuf_adds(out, ", ");
    if (c->is_piece && joins(w, context, position))
        strbuf_addc(out, '-');
    strbuf_add(out, word, n);
    if (c->is_piece && position + 1 < length && joins(w, context, position + 1))
        strbuf_addc(out, '-');
}

void label_from_firings(const struct word_table *w, const struct firings *f, const uint32_t *ids,
                        const uint32_t *words, size_t length, struct strbuf *out)
{
    struct pairs pairs = {NULL, 0, 0};
    size_t slots = 16, n = 0;
    double total = 0, first = 0;

    while (slots < 2 * f->n && slots < 2 * PAIRS_MAX)
        slots *= 2;
    pairs.slots = xcalloc(slots, sizeof(*pairs.slots));
    pairs.mask = slots - 1;
    for (size_t i = 0; i < f->n; i++)
        if (words[f->places[i]])
            count_firing(&pairs, words[f->places[i]], ids[f->places[i]], f->places[i], f->activations[i]);
    for (size_t i = 0; i < slots; i++)
        if (pairs.slots[i].word) {
            total += pairs.slots[i].weight;
            pairs.slots[n++] = pairs.slots[i];
        }
    qsort(pairs.slots, n, sizeof(*pairs.slots), compare_pairs);
    if (n > PAIRS_RANKED)
        n = PAIRS_RANKED;
    for (int part = 0; part < LABEL_PARTS && total > 0; part++) {
        struct candidate c = best_candidate(w, pairs.slots, n, total);

        if (c.score <= 0 || c.score < 0.08 * first)
            break;
        if (!part)
            first = c.score;
        add_candidate(w, &c, ids, length, out);
        for (size_t i = 0; i < n; i++)
            if (matches(&c, &pairs.slots[i]))
                pairs.slots[i].weight = 0;
    }
    free(pairs.slots);
}
