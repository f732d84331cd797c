/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The two halves of steering: passes of the model (steer_passes.c) and what edits do at the hook (steer.c).
 */
#ifndef SAESCOPE_ANALYSIS_STEER_PARTS_H
#define SAESCOPE_ANALYSIS_STEER_PARTS_H

#include "saescope/analysis/latent.h"
#include "saescope/analysis/steer.h"

/* An SAE or meta-SAE that edits name, or the base of one. */
struct steer_reader {
    struct sae_facts facts;
    struct sae *sae;
    artifact_id on;            /* the base that was asked for; 0: the first */
    struct steer_reader *base; /* of a meta-SAE, else NULL */
    int raw;                   /* a meta-SAE of rows as they are */
    int center;                /* of the SAE at the bottom: h is read less its mean */
};

struct steering {
    struct store_txn *t;
    struct model *model;
    struct hook hook;
    struct steer_reader **readers; /* opened so far */
    size_t n_readers;

    struct steer_edit *edits;
    const struct steer_reader **edit_readers; /* [n_edits] */
    size_t n_edits, n_active;
    enum steer_method method;
    struct steer_positions where;

    struct forward *forward;
    size_t capacity; /* tokens */
    float *final;    /* [capacity, d_model] */
    float *logits;   /* [vocabulary] */
};

struct steer_pass {
    struct steering *steering;
    const uint32_t *tokens;
    size_t position; /* of the first row of the hook's next call */
};
int steer_at_hook(void *arg, float *activations, size_t n_tokens, size_t width, struct error *err);

#endif
