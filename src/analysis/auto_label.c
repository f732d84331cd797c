/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * First labels of latents. Candidates are the words that a latent fires on; of words that are everywhere,
 * also the word with the one before it ("kind of"); and where it fires on one piece of many words, that piece
 * ("-ologist"). p is a candidate's share of the latent's squared activation and q its share of the text;
 * those with the largest p·log(p/q) are taken one after the other, each from what the earlier ones have left
 * over.
 */
#include "config.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/auto_label.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

#define WORD_SLOTS   ((size_t)1 << 20)
#define LABEL_PARTS  3
#define PAIRS_MAX    8192 /* distinct (word, token) pairs looked at */
#define PAIRS_RANKED 384
#define CANDIDATES   32    /* the strongest pairs, whose word and token are weighed */
#define WORD_BYTES   48    /* longer words are cut in labels */
#define FREQUENT     0.002 /* share of the text from which on a word is shown with the one before it */

enum { PIECE_JOINS = 1, PIECE_CONTINUES = 2 };

struct word_table {
    const struct tokenizer *tokenizer;
    size_t vocabulary;
    unsigned char *pieces; /* [vocabulary]: whether its first (last) byte is a word's */
    uint32_t *same;        /* [vocabulary]: the first token that differs in case and blanks only */
    uint32_t *words;       /* [WORD_SLOTS]: tokens by their word, and by their word and the one before */
    uint32_t *tokens;      /* [vocabulary], by `same` */
    uint64_t total;
};

static int is_word_byte(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

static uint32_t word_hash(const char *word, size_t n)
{
    char folded[WORD_BYTES];
    uint32_t hash;

    n = n < WORD_BYTES ? n : WORD_BYTES;
    for (size_t i = 0; i < n; i++)
        folded[i] = (char)tolower((unsigned char)word[i]);
    hash = (uint32_t)hash64(folded, n, 0);
    return hash ? hash : 1;
}

static uint32_t phrase_hash(uint32_t before, uint32_t word)
{
    return (uint32_t)hash_mix(before, word, 0, 0);
}

struct token_key {
    uint32_t hash, token;
};

static int compare_token_keys(const void *a, const void *b)
{
    const struct token_key *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* Finds which tokens differ in case and blanks only. */
static void find_same(struct word_table *w, struct token_key *keys)
{
    for (size_t i = 0; i < w->vocabulary; i++) {
        size_t n;
        const char *bytes = tokenizer_token(w->tokenizer, (uint32_t)i, &n);

        while (n > 1 && isspace((unsigned char)*bytes))
            bytes++, n--;
        keys[i] = (struct token_key){word_hash(bytes, n), (uint32_t)i};
    }
    qsort(keys, w->vocabulary, sizeof(*keys), compare_token_keys);
    for (size_t i = 0, first = 0; i < w->vocabulary; i++) {
        if (keys[i].hash != keys[first].hash)
            first = i;
        w->same[keys[i].token] = keys[first].token;
    }
}

int word_table_new(const struct tokenizer *tok, struct word_table **out, struct error *err)
{
    struct word_table *w = xcalloc(1, sizeof(*w));
    struct token_key *keys;

    *out = NULL;
    w->tokenizer = tok;
    w->vocabulary = tokenizer_size(tok);
    w->pieces = array_zeroed(w->vocabulary, 1, "words", err);
    w->same = array_zeroed(w->vocabulary, sizeof(*w->same), "words", err);
    w->words = array_zeroed(WORD_SLOTS, sizeof(*w->words), "words", err);
    w->tokens = array_zeroed(w->vocabulary, sizeof(*w->tokens), "words", err);
    keys = array_alloc(w->vocabulary, sizeof(*keys), "words", err);
    if (!w->pieces || !w->same || !w->words || !w->tokens || !keys) {
        free(keys);
        word_table_free(w);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < w->vocabulary; i++) {
        size_t n;
        const unsigned char *bytes = tokenizer_token(tok, (uint32_t)i, &n);

        if (n && !tokenizer_is_special(tok, (uint32_t)i))
            w->pieces[i] = (unsigned char)((is_word_byte(bytes[0]) ? PIECE_JOINS : 0) |
                                           (is_word_byte(bytes[n - 1]) ? PIECE_CONTINUES : 0));
    }
    find_same(w, keys);
    free(keys);
    *out = w;
    return STATUS_OK;
}

void word_table_free(struct word_table *w)
{
    if (!w)
        return;
    free(w->pieces);
    free(w->same);
    free(w->words);
    free(w->tokens);
    free(w);
}

/* Whether token i of a context is of the same word as token i − 1. */
static int joins(const struct word_table *w, const uint32_t *ids, size_t i)
{
    return i > 0 && ids[i] < w->vocabulary && ids[i - 1] < w->vocabulary &&
           (w->pieces[ids[i]] & PIECE_JOINS) && (w->pieces[ids[i - 1]] & PIECE_CONTINUES);
}

/* The bytes of tokens [from, to), without blanks at the ends, cut to `size` at a character's end. */
static size_t word_bytes(const struct word_table *w, const uint32_t *ids, size_t from, size_t to, char *word,
                         size_t size)
{
    size_t n = 0;

    for (size_t i = from; i < to; i++) {
        size_t length;
        const char *bytes = tokenizer_token(w->tokenizer, ids[i], &length);

        while (!n && length && isspace((unsigned char)*bytes))
            bytes++, length--;
        if (length > size - n) {
            length = size - n;
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

void word_table_add(struct word_table *w, const uint32_t *ids, const uint8_t *counted, size_t n,
                    uint32_t *words)
{
    for (size_t i = 0; i < n;) {
        char word[WORD_BYTES];
        uint32_t before = i ? words[i - 1] : 0, hash;
        size_t to = i + 1;

        while (to < n && joins(w, ids, to))
            to++;
        hash = word_hash(word, word_bytes(w, ids, i, to, word, sizeof(word)));
        for (; i < to; i++) {
            words[i] = counted[i] && ids[i] < w->vocabulary ? hash : 0;
            if (!words[i])
                continue;
            w->words[hash & (WORD_SLOTS - 1)]++;
            if (before)
                w->words[phrase_hash(before, hash) & (WORD_SLOTS - 1)]++;
            w->tokens[w->same[ids[i]]]++;
            w->total++;
        }
    }
}

/* Share of the text of a word or phrase. */
static double text_share(const struct word_table *w, uint32_t hash)
{
    return w->words[hash & (WORD_SLOTS - 1)] / (double)(w->total + 1);
}

/* ---- What one latent fires on. ---- */
struct pair {
    uint32_t word, token; /* token: the first of the same */
    uint32_t phrase;      /* 0: the word is rare, or there is none before it */
    uint32_t peak_place;
    float peak;
    double weight;
};

/* Firings by word, token and phrase: an open hash table. */
struct pairs {
    struct pair *slots; /* word 0: empty */
    size_t n, mask;
};

static void count_firing(struct pairs *p, struct pair x, float activation)
{
    size_t at = (x.word ^ x.phrase ^ x.token * 2654435761u) & p->mask;
    struct pair *slot;

    for (; p->slots[at].word; at = (at + 1) & p->mask)
        if (p->slots[at].word == x.word && p->slots[at].token == x.token && p->slots[at].phrase == x.phrase)
            break;
    slot = &p->slots[at];
    if (!slot->word) {
        if (p->n >= PAIRS_MAX)
            return;
        p->n++;
        *slot = x;
    }
    /* Squares: what it fires on strongly says more than what it fires on often. */
    slot->weight += (double)activation * (double)activation;
    if (activation > slot->peak) {
        slot->peak = activation;
        slot->peak_place = x.peak_place;
    }
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;

    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return (x->peak_place > y->peak_place) - (x->peak_place < y->peak_place);
}

static double score(double p, double q)
{
    return p > 0 ? p * log(p / (q > 1e-7 ? q : 1e-7)) : 0;
}

enum candidate_kind { CANDIDATE_WORD, CANDIDATE_PHRASE, CANDIDATE_PIECE };

struct candidate {
    enum candidate_kind kind;
    const struct pair *pair; /* its strongest */
    double p, score;
};

static int matches(const struct candidate *c, const struct pair *x)
{
    switch (c->kind) {
    case CANDIDATE_PIECE:
        return x->token == c->pair->token;
    case CANDIDATE_PHRASE:
        return x->phrase == c->pair->phrase && x->word == c->pair->word;
    default:
        return x->word == c->pair->word;
    }
}

/* p, q and score of a candidate among the ranked pairs. */
static void weigh(const struct word_table *w, struct candidate *c, const struct pair *x, size_t n,
                  double total)
{
    double largest = 0, q;

    for (size_t j = 0; j < n; j++)
        if (matches(c, &x[j])) {
            c->p += x[j].weight / total;
            largest = x[j].weight > largest ? x[j].weight : largest;
        }
    q = c->kind == CANDIDATE_PIECE
            ? w->tokens[c->pair->token] / (double)(w->total + 1)
            : text_share(w, c->kind == CANDIDATE_PHRASE ? c->pair->phrase : c->pair->word);
    c->score = score(c->p, q);
    /* A piece stands for many words; where one word is most of it, that word says it better. */
    if (c->kind == CANDIDATE_PIECE && largest > 0.4 * c->p * total)
        c->score = 0;
}

/* The best candidate for the weight that is left in the ranked pairs. */
static struct candidate best_candidate(const struct word_table *w, const struct pair *x, size_t n,
                                       double total)
{
    struct candidate best = {CANDIDATE_WORD, NULL, 0, 0};
    size_t tried = 0;

    for (size_t i = 0; i < n && tried < CANDIDATES; i++) {
        if (x[i].weight <= 0)
            continue;
        tried++;
        for (enum candidate_kind kind = CANDIDATE_WORD; kind <= CANDIDATE_PIECE; kind++) {
            struct candidate c = {kind, &x[i], 0, 0};

            if (kind == CANDIDATE_PHRASE && !x[i].phrase)
                continue;
            weigh(w, &c, x, n, total);
            if (c.score > best.score)
                best = c;
        }
    }
    return best;
}

/* The word around a position of a context: tokens [from, to). */
static void word_around(const struct word_table *w, const uint32_t *context, size_t length, size_t position,
                        size_t *from, size_t *to)
{
    *from = position;
    *to = position + 1;
    while (joins(w, context, *from))
        --*from;
    while (*to < length && joins(w, context, *to))
        ++*to;
}

/* "-x", "x-" or "-x-", as most of the piece's weight has it. */
static void add_piece(const struct word_table *w, const struct candidate *c, const struct pair *x, size_t n,
                      const uint32_t *ids, size_t length, struct strbuf *out)
{
    double before = 0, after = 0, all = 0;
    size_t position = c->pair->peak_place % length, bytes;
    char piece[WORD_BYTES];

    for (size_t i = 0; i < n; i++) {
        size_t at = x[i].peak_place % length;
        const uint32_t *context = ids + (x[i].peak_place - at);

        if (!matches(c, &x[i]))
            continue;
        all += x[i].weight;
        before += joins(w, context, at) ? x[i].weight : 0;
        after += at + 1 < length && joins(w, context, at + 1) ? x[i].weight : 0;
    }
    bytes =
        word_bytes(w, ids + (c->pair->peak_place - position), position, position + 1, piece, sizeof(piece));
    if (before > all / 2)
        strbuf_addc(out, '-');
    strbuf_add(out, piece, bytes);
    if (after > all / 2)
        strbuf_addc(out, '-');
}

static void add_words(const struct word_table *w, const struct candidate *c, const uint32_t *ids,
                      size_t length, struct strbuf *out)
{
    size_t position = c->pair->peak_place % length, from, to;
    const uint32_t *context = ids + (c->pair->peak_place - position);
    char words[2 * WORD_BYTES];

    word_around(w, context, length, position, &from, &to);
    if (c->kind == CANDIDATE_PHRASE && from > 0) {
        size_t before_to;

        word_around(w, context, length, from - 1, &from, &before_to);
    }
    strbuf_add(out, words, word_bytes(w, context, from, to, words, sizeof(words)));
}

/* Firings by word, heaviest first; returns how many there are. */
static size_t rank_pairs(const struct word_table *w, const struct firings *f, const uint32_t *ids,
                         const uint32_t *words, size_t length, struct pair **out, double *total)
{
    struct pairs pairs = {NULL, 0, 0};
    size_t slots = 16, n = 0;

    while (slots < 2 * f->n && slots < 2 * PAIRS_MAX)
        slots *= 2;
    pairs.slots = xcalloc(slots, sizeof(*pairs.slots));
    pairs.mask = slots - 1;
    for (size_t i = 0; i < f->n; i++) {
        uint32_t place = f->places[i];
        size_t at = place % length;
        struct pair x = {.word = words[place], .token = w->same[ids[place]], .peak_place = place};

        if (!x.word)
            continue;
        if (text_share(w, x.word) > FREQUENT) {
            const uint32_t *context = ids + (place - at);

            while (joins(w, context, at))
                at--;
            if (at > 0 && words[place - place % length + at - 1])
                x.phrase = phrase_hash(words[place - place % length + at - 1], x.word);
        }
        count_firing(&pairs, x, f->activations[i]);
    }
    *total = 0;
    for (size_t i = 0; i < slots; i++)
        if (pairs.slots[i].word) {
            *total += pairs.slots[i].weight;
            pairs.slots[n++] = pairs.slots[i];
        }
    qsort(pairs.slots, n, sizeof(*pairs.slots), compare_pairs);
    *out = pairs.slots;
    return n;
}

void label_from_firings(const struct word_table *w, const struct firings *f, const uint32_t *ids,
                        const uint32_t *words, size_t length, struct strbuf *out)
{
    struct pair *pairs;
    double total, first = 0;
    size_t n = rank_pairs(w, f, ids, words, length, &pairs, &total);

    if (n > PAIRS_RANKED)
        n = PAIRS_RANKED;
    for (int part = 0; part < LABEL_PARTS && total > 0; part++) {
        struct candidate c = best_candidate(w, pairs, n, total);

        if (!c.pair || c.score < 0.08 * first)
            break;
        if (!part)
            first = c.score;
        else
            strbuf_adds(out, ", ");
        if (c.kind == CANDIDATE_PIECE)
            add_piece(w, &c, pairs, n, ids, length, out);
        else
            add_words(w, &c, ids, length, out);
        for (size_t i = 0; i < n; i++)
            if (matches(&c, &pairs[i]))
                pairs[i].weight = 0;
    }
    free(pairs);
}
