/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * BatchTopK (Bussmann et al. 2024): in training the k·B largest positive pre-activations of a batch of B
 * tokens; at inference relu(p)·[p > θ], θ the smallest kept activation averaged over training.
 */
#include "config.h"

#include "saescope/sae/architectures.h"

static float activate(const struct sae *sae, size_t latent, float p)
{
    return p > 0 && p > sae->threshold[latent] ? p : 0;
}

const struct sae_architecture architecture_batchtopk = {
    .name = "batchtopk",
    .summary = "pre-activations above one threshold that keeps k a token on average",
    .has_threshold = 1,
    .trains = 1,
    .activate = activate,
};
