/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The SAEs whose decoder rows are directions of one place in one model, and so can be compared. */
#ifndef SAESCOPE_ANALYSIS_HOOK_SAES_H
#define SAESCOPE_ANALYSIS_HOOK_SAES_H

#include <stddef.h>
#include "saescope/analysis/latent.h"
#include "saescope/store/store.h"

struct hook_sae {
    struct artifact artifact;
    size_t d_sae;
};

/* SAEs (no meta-SAEs, stitched or rebuilt ones) of the model and hook that the rows of `like` belong to, with as many numbers a row; `like` is among them when
 * it is one. By width, then in the order they were made. malloc'd; none when model or hook is not known. */
int hook_saes(struct store_txn *t, const struct sae_facts *like, struct hook_sae **out, size_t *n, struct error *err);

#endif
