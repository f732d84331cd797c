/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The standard SAE: f = relu(p). */
#include "config.h"

#include "saescope/sae/architectures.h"

static float activate(const struct sae *sae, size_t latent, float p)
{
    (void)sae;
    (void)latent;
    return p > 0 ? p : 0;
}

const struct sae_architecture architecture_standard = {
    .name = "standard",
    .summary = "every positive pre-activation: relu(p)",
    .activate = activate,
};
