/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The two halves of an evaluation: sums over rows and their reconstructions, and the model with something
 * spliced in. */
#ifndef SAESCOPE_ANALYSIS_EVALUATE_PARTS_H
#define SAESCOPE_ANALYSIS_EVALUATE_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/activations.h"
#include "saescope/model/model.h"

/* ---- Sums over rows x and x̂, in float64. ---- */

struct row_sums {
    double error;                          /* Σ‖x−x̂‖² */
    double centred;                        /* Σ‖x−x̄‖² */
    double square_in, square_out, product; /* Σ‖x‖², Σ‖x̂‖², Σx·x̂ */
    double norm_in, norm_out, ratio;       /* Σ‖x‖, Σ‖x̂‖, Σ‖x̂‖/‖x‖ */
    double cosine;
    double legacy; /* Σ(1 − ‖x−x̂‖²/‖x−x̄‖²) */
};
/* Adds rows [n, d]; mean[d] is x̄. Chunks are summed in their order whatever the threads do. */
int row_sums_add(struct row_sums *sums, const float *x, const float *x_hat, size_t n, size_t d,
                 const double *mean, struct error *err);
/* Adds the rows up: sum[d] += Σx. */
void column_sums_add(double *sum, const float *x, size_t n, size_t d);

/* ---- The model with the SAE's output, zeros or the mean in the place of a hook's activation. ---- */

enum splice { SPLICE_NOTHING, SPLICE_SAE, SPLICE_ZERO, SPLICE_MEAN, SPLICES };

struct splicer;

struct splice_sums {
    uint64_t n_ce, n_kl;
    double ce[SPLICES]; /* Σ over positions, nats */
    double kl[SPLICES]; /* KL(original ‖ spliced); [SPLICE_NOTHING] stays 0 */
};

struct splice_options {
    artifact_id model;
    const char *hook;
    size_t n_contexts, length; /* of the largest batch */
    int center;         /* x̂ and the mean are of centred activations: each token's own mean is added back */
    int counted_only;   /* SAEBench: cross-entropy over counted positions only */
    int sae_only;       /* SPLICE_SAE alone: the other sums, and all of KL, stay 0 */
    const double *mean; /* [d_in] */
    struct monitor *monitor; /* whose cancelling ends splicer_run within, or NULL */
};
int splicer_new(struct store_txn *t, const struct splice_options *o, struct splicer **out, struct error *err);
void splicer_free(struct splicer *s);
/* Runs a batch four times (sae_only: once). x_hat [n_tokens, d_in] goes where replace[i]; the mean goes on
 * counted positions. t: for the model's weights. The batch's activations are what the model has at the hook,
 * centred when `center` says so. */
int splicer_run(struct splicer *s, struct store_txn *t, const struct stream_batch *b, const float *x_hat,
                const uint8_t *replace, struct splice_sums *sums, struct error *err);

double log_sum_exp(const float *x, size_t n); /* log Σ exp x, of logits */

#endif
