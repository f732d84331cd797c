/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All pairs of rows and latents whose cosine is over a threshold. */
#ifndef SAESCOPE_ANALYSIS_COSINE_PAIRS_H
#define SAESCOPE_ANALYSIS_COSINE_PAIRS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

struct cosine_pair {
    uint32_t row, latent;
    float cosine;
};
struct cosine_pairs {
    struct cosine_pair *items; /* by row, then latent */
    size_t n, capacity;
};
void cosine_pairs_free(struct cosine_pairs *p);

/* The cosine of two rows, summed in float64: the same for a pair wherever it is met. 0 for a row of zeros. */
float row_cosine(const float *a, const float *b, size_t d);

/*
 * The pairs of rows[n, d_in] (of any length) with decoder rows of `in` (attached) whose row_cosine is over `threshold`, for
 * 0 < threshold ≤ 1. STATUS_REFUSED when they are more than `most`. Products of 256 rows with 1024 latents at a time: a
 * MiB a thread, and the pairs.
 */
int cosine_pairs_find(const float *rows, size_t n, const struct sae *in, double threshold, size_t most,
                      struct monitor *m, struct cosine_pairs *out, struct error *err);

#endif
