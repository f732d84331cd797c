/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pass of a stitch over a text, apart from the model: it takes batches of activations. Every latent of the large SAE is scored
 * for insertion in the small one by Δ (stitch.h), and so are the controls:
 *     shuffled  the large SAE's activations with its decoder rows permuted among its latents,
 *     random    with isotropic rows of the same norms,
 *     seed      the latents of an SAE of the small one's width that was trained from another seed.
 */
#ifndef SAESCOPE_ANALYSIS_STITCH_SCORE_H
#define SAESCOPE_ANALYSIS_STITCH_SCORE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/spool.h"
#include "saescope/analysis/stitch.h"
#include "saescope/analysis/token_spool.h"
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

enum scored_rows { SCORED_LARGE, SCORED_SHUFFLED, SCORED_RANDOM, SCORED_SEED, SCORED_ROWS };

struct scorer;

struct scorer_options { /* SAEs in their threshold form, attached, of one d_in and normalisation */
    const struct sae *small, *large;
    const struct sae *control;  /* or NULL */
    const char *directory;      /* for the files */
    struct token_spool *tokens; /* what is kept of each token; or NULL */
    uint64_t seed;
};
int scorer_open(const struct scorer_options *o, struct scorer **out, struct error *err);
void scorer_close(struct scorer *s);

/* n counted rows of activations x[n, d_in], which become the residuals x − x̂_small. contexts[n] ascend, also from call to call,
 * and one context is never in two calls. The SAEs are attached. */
int scorer_add(struct scorer *s, float *x, size_t n, const uint32_t *contexts, struct error *err);

const uint32_t *scorer_fired(const struct scorer *s, enum scored_rows rows); /* [d_sae], tokens */
const double *scorer_delta(const struct scorer *s, enum scored_rows rows);   /* [d_sae]; NULL: no control SAE */

struct score_totals {
    uint64_t tokens;
    size_t contexts;                   /* 1 + the last one's number */
    uint64_t small_pairs, large_pairs; /* active */
    double error;                      /* Σ‖x − x̂_small‖² */
    double centred;                    /* Σ‖x − x̄‖² */
};
void scorer_totals(const struct scorer *s, struct score_totals *out);

/* ---- How many are novel. ---- */

struct novelty {
    size_t novel, reconstruction, undecided;
    double fraction, low, high; /* novel / (novel + reconstruction) and its interval; NaN when all are undecided */
};
enum latent_class stitch_class(uint32_t fired, double delta);
int scorer_novelty(struct scorer *s, enum scored_rows rows, struct monitor *m, struct novelty *out, struct error *err);

/*
 * The interval is between the 2.5% and 97.5% points (interpolated linearly, as NumPy's quantile) of the fraction in
 * STITCH_RESAMPLES resamples: each context has a weight w from Poisson(1), Δ_i is Σ_c w_c·Δ_ic. The undecided latents are those of
 * the whole text; a latent none of whose contexts was drawn is left out of that resample.
 * deltas: (latent, context, Δ_ic) of n latents.
 */
int novelty_measure(struct spool *deltas, const uint32_t *fired, const double *delta, size_t n, size_t n_contexts,
                    uint64_t seed, struct monitor *m, struct novelty *out, struct error *err);
void resample_weights(uint64_t seed, uint32_t context, uint8_t weights[STITCH_RESAMPLES]);
double quantile(double *values, size_t n, double q); /* sorts them */

/* ---- TopK. ---- */

/* The smallest positive activation among the n·k largest of n rows (per-token TopK, attached); 0 when none is positive. */
int threshold_of_rows(const struct sae *topk, const float *x, size_t n, double *theta, struct error *err);

#endif
