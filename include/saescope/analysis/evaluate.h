/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Evaluation of an SAE over a text, by CONTRACT.md's definitions; the groups and names are SAEBench's core ones.
 */
#ifndef SAESCOPE_ANALYSIS_EVALUATE_H
#define SAESCOPE_ANALYSIS_EVALUATE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/json.h"
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

struct evaluate_options {
    artifact_id sae, text;
    /* Evaluated in the place of `sae`, whose model, hook and contexts it shares: an SAE on the heap that is not (yet) in
     * the store. NULL: `sae` itself. */
    struct sae *instead;
    uint64_t tokens; /* counted, 0: all */
    int held_out;    /* only the last 2% of contexts */
    int saebench;    /* SAEBench's own formulas where they differ */
    int no_model;    /* leave the spliced cross-entropies out */
    int no_cosines;  /* leave the mean largest cosines out (NaN) */
    int ce_alone;    /* tokens, l0, l1, mse and ce_sae, in one pass; all else stays 0 */
};

/* float64 sums. */
struct evaluation {
    uint64_t tokens;
    uint64_t token_stats; /* SAEBench's: special tokens count too; else `tokens` */
    int cached; /* the activations are cached: what needs a model is NaN */
    double l0, l1, mse, explained_variance, explained_variance_legacy, cossim;
    double l2_norm_in, l2_norm_out, l2_ratio, relative_reconstruction_bias;
    double ce_original, ce_sae, ce_zero, ce_mean; /* nats a token */
    double kl_sae, kl_zero, kl_mean;
    double ce_loss_score, kl_div_score, ce_recovered_from_mean;
    double freq_over_1_percent, freq_over_10_percent, normalized_freq_over_1_percent, normalized_freq_over_10_percent;
    double frac_alive, dead_fraction, density_mean;
    double average_max_encoder_cosine_sim, average_max_decoder_cosine_sim;
};
int evaluate_run(struct store *s, const struct evaluate_options *o, struct monitor *m, struct evaluation *out,
                 struct error *err);
/* A meta-SAE: over its base's decoder rows; explained_variance with the threshold and in the BatchTopK form. */
int evaluate_meta(struct store *s, artifact_id meta, struct monitor *m, double *explained_variance,
                  double *explained_variance_batchtopk, double *l0, double *dead_fraction, struct error *err);
/* {"sae","text","tokens","metrics":{...}} is the command's; this is the metrics object. */
json *evaluation_metrics(const struct evaluation *e);

#endif
