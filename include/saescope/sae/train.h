/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Training of BatchTopK (and TopK, ...) SAEs from a batch source; several widths from one source, all on the same
 * batches. Formulas and defaults are CONTRACT.md's: backward, clip, project, renormalise, Adam; unit decoder rows
 * renormalised after the last step; the dense encoder product is the only dense work of a step, the auxiliary term uses
 * dense products over the compacted dead latents.
 */
#ifndef SAESCOPE_SAE_TRAIN_H
#define SAESCOPE_SAE_TRAIN_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/batch_source.h"
#include "saescope/base/json.h"
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

enum training_normalization { TRAIN_NORMALIZE_NONE, TRAIN_NORMALIZE_AVERAGE, TRAIN_NORMALIZE_LAYER_NORM };

const char *train_normalization_name(enum training_normalization n);
int train_normalization_find(const char *name, enum training_normalization *out, struct error *err);

struct train_options {
    const struct sae_architecture *architecture; /* batchtopk, topk, ... what training supports */
    size_t width;                                /* d_sae */
    size_t k;
    double lr, beta1, beta2, epsilon;
    size_t batch;        /* rows a step */
    uint64_t steps;
    uint64_t warmup;     /* steps of linear warm-up from 0 */
    double decay;        /* the last fraction of steps in which lr falls linearly to 0; 0: none */
    size_t aux_k;
    double aux_coefficient;
    uint64_t dead_after; /* silent batches */
    double clip;         /* gradient norm; 0: none */
    enum training_normalization normalization;
    uint64_t seed;
    int frozen_decoder;  /* W_dec and b_dec stay as they start: only the encoder and the threshold are fitted */
};
void train_options_default(struct train_options *o); /* CONTRACT.md's */
json *train_options_json(const struct train_options *o); /* for the manifest and checkpoints */
/* What train_options_json made, of a manifest's "training"; members that are missing keep what *o has. */
int train_options_read(const json *training, struct train_options *o, struct error *err);
int train_options_check(const struct train_options *o, size_t d_in, struct error *err);

struct train_result {
    uint64_t steps, rows;
    double loss;                        /* last step's, training units */
    double l0, explained_variance;      /* held out, inference threshold */
    size_t dead;                        /* latents that fired on no held-out row nor in the last dead_after batches */
    double seconds, rows_per_second;
};

struct trainer; /* one SAE in training */

/* From the architecture's initialisation, or from given weights (tests): sae's weights are taken as the start. */
int trainer_new(const struct train_options *o, size_t d_in, const struct sae *start, struct trainer **out,
                struct error *err);
void trainer_free(struct trainer *t);
/* One step on x[batch, d_in], already scaled to training units. After STATUS_FAILED, "cancelled" under
 * parallel_watch among it, the trainer is good for nothing but trainer_free. */
int trainer_step(struct trainer *t, const float *x, double *loss, struct error *err);
/* The SAE as it is now, in training units (borrowed weights, valid until the next step). */
const struct sae *trainer_sae(const struct trainer *t);
double trainer_threshold(const struct trainer *t); /* θ in float64 */
size_t trainer_dead(const struct trainer *t);      /* latents that were dead in the last step */
void trainer_finish(struct trainer *t);            /* decoder rows to unit norm, after the last step */

/*
 * The whole run: scale from the first batches, steps, progress, checkpoints under monitor->work_dir (every few minutes and
 * when asked; a run that finds one there goes on from it), folding of the scale, held-out evaluation. saes[i] is a
 * new heap SAE with unit decoder rows in the hook's units. Returns STATUS_CHECKPOINTED when stopped to go on elsewhere;
 * STATUS_FAILED when cancelled or diverged (a loss that is not finite).
 */
int train_run(const struct train_options *options, size_t n_saes, struct batch_source *source, struct monitor *m,
              struct sae **saes, struct train_result *results, struct error *err);

#endif
