/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JumpReLU (Rajamanoharan et al. 2024): relu(p)·[p > θ_i], a threshold for each latent; the comparison is
 * strict. */
#include "config.h"

#include "saescope/sae/architectures.h"

static float activate(const struct sae *sae, size_t latent, float p)
{
    return p > 0 && p > sae->threshold[latent] ? p : 0;
}

const struct sae_architecture architecture_jumprelu = {
    .name = "jumprelu",
    .summary = "positive pre-activations above each latent's own threshold",
    .has_threshold = 1,
    .activate = activate,
};
