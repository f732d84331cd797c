/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The part of the index that concerns one latent: statistics, histogram, and which contexts stand for it.
 * Also the form of a RECORD_CONTEXTS record, little-endian and packed:
 *
 *   u32 n; then n contexts: top ones, then intervals 4 … 0, each
 *   u32 context, f32 activation, u16 position, u16 n_pairs, u8 interval (255: top), and
 *   n_pairs × (u16 position, f32 activation): all of the context in which the latent fires
 */
#ifndef SAESCOPE_ANALYSIS_INDEX_SELECT_H
#define SAESCOPE_ANALYSIS_INDEX_SELECT_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/index.h"
#include "saescope/base/strbuf.h"

#define INDEX_WINDOW         16    /* tokens to each side that make two windows the same */
#define INDEX_LENGTH_MAX     65535 /* positions are 16 bits wide */
#define RECORD_INTERVAL_TOP  255
#define RECORD_CONTEXT_BYTES 13
#define RECORD_PAIR_BYTES    6

/* A context's head in the record. */
struct record_context {
    uint32_t context;
    float activation;
    size_t position, n_pairs;
    unsigned char interval;
};
void record_add_context(struct strbuf *record, const struct record_context *c);
void record_add_pair(struct strbuf *record, size_t position, float activation);
void record_add_u32(struct strbuf *record, uint32_t x);
void record_add_float(struct strbuf *record, float x);

/* A latent's firings, ascending by place (context · length + position). */
struct firings {
    size_t n;
    const uint32_t *places;
    const float *activations;
};

struct firing_statistics {
    float max, min, mean;
    uint32_t histogram[INDEX_BINS];
};
void firing_statistics(const struct firings *f, struct firing_statistics *out);

/* 51 equal edges from min to max; numpy.linspace's numbers. */
void histogram_edges(float min, float max, double edges[INDEX_BINS + 1]);

/* Appends the record. ids are the tokens of all contexts, [contexts, length]. */
void choose_contexts(const struct firings *f, float max, const uint32_t *ids, size_t length, uint64_t seed,
                     uint64_t latent, struct strbuf *record);

/* Sets the automatic label of each latent (NULL: none). */
int index_put_labels(struct store *s, artifact_id sae, char *const *texts, size_t n, struct error *err);

#endif
