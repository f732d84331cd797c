/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * First labels of latents, from the words they fire on most. Tokens are pieces of words; a token's word is
 * the run of tokens around it that no blank or punctuation cuts. Words are known by a hash of their bytes,
 * ASCII case folded.
 */
#ifndef SAESCOPE_ANALYSIS_AUTO_LABEL_H
#define SAESCOPE_ANALYSIS_AUTO_LABEL_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/index_select.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/tokenizer.h"

/* How often the words and tokens of a text occur; words by their hash in a table of fixed size (4 MiB). */
struct word_table;
int word_table_new(const struct tokenizer *tok, struct word_table **out, struct error *err);
void word_table_free(struct word_table *w);
/* The word of each token of one context into words[n] (0 where it does not count), and counts them. */
void word_table_add(struct word_table *w, const uint32_t *ids, const uint8_t *counted, size_t n,
                    uint32_t *words);

/* Appends the label of a latent, such as "physicist, chemist"; nothing when it has none. ids and words are
 * those of all contexts, [contexts, length]. */
void label_from_firings(const struct word_table *w, const struct firings *f, const uint32_t *ids,
                        const uint32_t *words, size_t length, struct strbuf *out);

/* Labels of meta-latents, from the words of their members' labels. */
struct label_words; /* words of all the base's labels, and how often they occur */
struct label_words *label_words_new(void);
void label_words_free(struct label_words *w);
void label_words_add(struct label_words *w, const char *label,
                     size_t n); /* the next latent's; n 0: it has none */
void label_from_members(const struct label_words *w, const uint32_t *members, const float *activations,
                        size_t n, struct strbuf *out);

#endif
