/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parts that lists of latents share: values of a key, filter expressions, matching of labels. */
#ifndef SAESCOPE_ANALYSIS_LATENT_FILTER_H
#define SAESCOPE_ANALYSIS_LATENT_FILTER_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/latent.h"

/* STATUS_REFUSED, saying what to do, when the table has no such values (not indexed, no meta-SAE). */
int latent_key_check(const struct latent_table *table, enum latent_key key, struct error *err);
/* The number of a latent under a key (not KEY_LABEL); NaN when it has none. */
double latent_key_value(const struct latent_table *table, enum latent_key key, uint32_t latent);

/* matches[n]: 1 where the expression holds. */
int latent_filter_run(const struct latent_table *table, struct store_txn *t, const char *expression,
                      uint8_t *matches, struct error *err);

/* A pattern for labels: a regular expression or, with `literal`, text as it stands. Without capitals in it,
 * it matches capitals and small letters alike. */
struct label_pattern;
int label_pattern_new(const char *pattern, size_t n, int literal, struct label_pattern **out,
                      struct error *err);
void label_pattern_free(struct label_pattern *p);
/* 1: it matches, from *start to *end (either may be NULL); 0: it does not; -1: it gave up (then the limit was
 * hit). */
int label_pattern_match(struct label_pattern *p, const char *text, size_t n, size_t *start, size_t *end);

#endif
