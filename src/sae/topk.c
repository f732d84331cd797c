/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TopK (Gao et al. 2024): the k largest positive pre-activations of each token; of equal ones the lower
 * latents. */
#include "config.h"

#include "saescope/sae/architectures.h"

const struct sae_architecture architecture_topk = {
    .name = "topk",
    .summary = "the k largest positive pre-activations of each token",
    .per_token_k = 1,
    .trains = 1,
};
