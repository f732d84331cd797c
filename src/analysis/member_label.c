/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Labels of meta-latents: what the labels of their members share, then the strongest members' own words
 * ("scientist, person: physicist, chemist"). Shared words are ranked as in auto_label.c: p·log(p/q), p a
 * word's share of the members' squared activation and q its share of all labels.
 */
#include "config.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/auto_label.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

#define WORDS_PER_LABEL 3
#define SHARED_PARTS    2
#define LABEL_PARTS     4
#define SHARED_BY       0.12 /* of the members at least, or a word is chance */

/* A label's first word says most. */
static const double rank_weight[WORDS_PER_LABEL] = {1, 0.6, 0.4};

struct label_word {
    char *text; /* as it was first seen */
    uint64_t hash;
    double weight;
};

struct label_words {
    struct label_word *words;
    size_t n_words, word_capacity;
    uint32_t *slots; /* open hash table of words + 1; 0: empty */
    size_t n_slots;
    uint32_t (*latents)[WORDS_PER_LABEL]; /* words + 1 of each latent's label; 0: none */
    size_t n_latents, latent_capacity;
    double total;
};

struct label_words *label_words_new(void)
{
    return xcalloc(1, sizeof(struct label_words));
}

void label_words_free(struct label_words *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_words; i++)
        free(w->words[i].text);
    free(w->words);
    free(w->slots);
    free(w->latents);
    free(w);
}

static void grow_slots(struct label_words *w)
{
    size_t n = w->n_slots ? 2 * w->n_slots : 1024;

    free(w->slots);
    w->slots = xcalloc(n, sizeof(*w->slots));
    w->n_slots = n;
    for (size_t i = 0; i < w->n_words; i++) {
        size_t at = w->words[i].hash & (n - 1);

        while (w->slots[at])
            at = (at + 1) & (n - 1);
        w->slots[at] = (uint32_t)i + 1;
    }
}

/* Number + 1 of a word. */
static uint32_t word_number(struct label_words *w, const char *text, size_t n)
{
    char *folded = xstrndup(text, n);
    uint64_t hash;
    size_t at;

    for (char *p = folded; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    hash = hash64(folded, strlen(folded), 0);
    free(folded);
    if (2 * (w->n_words + 1) > w->n_slots)
        grow_slots(w);
    for (at = hash & (w->n_slots - 1); w->slots[at]; at = (at + 1) & (w->n_slots - 1))
        if (w->words[w->slots[at] - 1].hash == hash)
            return w->slots[at];
    if (w->n_words == w->word_capacity) {
        w->word_capacity = w->word_capacity ? 2 * w->word_capacity : 1024;
        w->words = xreallocarray(w->words, w->word_capacity, sizeof(*w->words));
    }
    w->words[w->n_words] = (struct label_word){xstrndup(text, n), hash, 0};
    return w->slots[at] = (uint32_t)++w->n_words;
}

void label_words_add(struct label_words *w, const char *label, size_t n)
{
    uint32_t *latent;
    size_t at = 0;

    if (w->n_latents == w->latent_capacity) {
        w->latent_capacity = w->latent_capacity ? 2 * w->latent_capacity : 1024;
        w->latents = xreallocarray(w->latents, w->latent_capacity, sizeof(*w->latents));
    }
    latent = w->latents[w->n_latents++];
    memset(latent, 0, sizeof(*w->latents));
    for (int rank = 0; rank < WORDS_PER_LABEL && at < n; rank++) {
        const char *comma = memchr(label + at, ',', n - at);
        size_t end = comma ? (size_t)(comma - label) : n;

        /* A word may itself be a comma. */
        if (end == at)
            end = at + 1;
        latent[rank] = word_number(w, label + at, end - at);
        w->words[latent[rank] - 1].weight += rank_weight[rank];
        w->total += rank_weight[rank];
        for (at = end; at < n && (label[at] == ',' || label[at] == ' '); at++)
            ;
    }
}

struct tally {
    uint32_t word;
    size_t members;
    double weight;
};

static int compare_tally_words(const void *a, const void *b)
{
    uint32_t x = ((const struct tally *)a)->word, y = ((const struct tally *)b)->word;

    return (x > y) - (x < y);
}

/* Words of the members' labels, each once. Returns how many. */
static size_t tally_words(const struct label_words *w, const uint32_t *members, const float *activations,
                          size_t n, struct tally *tallies, double *total)
{
    size_t count = 0, kept = 0;

    *total = 0;
    for (size_t i = 0; i < n; i++)
        for (int rank = 0; members[i] < w->n_latents && rank < WORDS_PER_LABEL; rank++) {
            uint32_t word = w->latents[members[i]][rank];
            double strength = (double)activations[i] * (double)activations[i];

            if (!word)
                break;
            tallies[count++] = (struct tally){word, 1, strength * rank_weight[rank]};
            *total += tallies[count - 1].weight;
        }
    qsort(tallies, count, sizeof(*tallies), compare_tally_words);
    for (size_t i = 0; i < count; i++) {
        if (kept && tallies[kept - 1].word == tallies[i].word) {
            tallies[kept - 1].weight += tallies[i].weight;
            tallies[kept - 1].members++;
        } else {
            tallies[kept++] = tallies[i];
        }
    }
    return kept;
}

static int is_used(const uint32_t *used, size_t n, uint32_t word)
{
    for (size_t i = 0; i < n; i++)
        if (used[i] == word)
            return 1;
    return 0;
}

void label_from_members(const struct label_words *w, const uint32_t *members, const float *activations,
                        size_t n, struct strbuf *out)
{
    struct tally *tallies = xreallocarray(NULL, n * WORDS_PER_LABEL + 1, sizeof(*tallies));
    uint32_t used[LABEL_PARTS];
    size_t n_used = 0, n_shared, n_words;
    double total;

    n_words = tally_words(w, members, activations, n, tallies, &total);
    for (int part = 0; part < SHARED_PARTS; part++) {
        const struct tally *best = NULL;
        double best_score = 0;

        for (size_t i = 0; i < n_words; i++) {
            double p = tallies[i].weight / total, q = w->words[tallies[i].word - 1].weight / w->total;
            double score = p * log(p / q);

            if (tallies[i].members > 1 && (double)tallies[i].members >= SHARED_BY * (double)n &&
                score > best_score && !is_used(used, n_used, tallies[i].word)) {
                best = &tallies[i];
                best_score = score;
            }
        }
        if (!best)
            break;
        used[n_used++] = best->word;
    }
    n_shared = n_used;
    for (size_t i = 0; i < n && n_used < LABEL_PARTS; i++) {
        uint32_t word = members[i] < w->n_latents ? w->latents[members[i]][0] : 0;

        if (word && !is_used(used, n_used, word))
            used[n_used++] = word;
    }
    for (size_t i = 0; i < n_used; i++) {
        if (i)
            strbuf_adds(out, n_shared && i == n_shared ? ": " : ", ");
        strbuf_adds(out, w->words[used[i] - 1].text);
    }
    free(tallies);
}
