/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gated SAEs (Rajamanoharan et al. 2024, arXiv:2404.16014): f = 1[g > 0]·relu(m) with the gate
 * g = W_enc x + b_gate and the magnitude m = exp(r_mag)·(W_enc x) + b_mag. One product serves both:
 * p = g with b_enc = b_gate, and m = exp(r_mag)·(p − b_gate) + b_mag of the few latents whose gate is open.
 */
#include "config.h"

#include <math.h>

#include "saescope/sae/architectures.h"

static float activate(const struct sae *sae, size_t latent, float p)
{
    float product = sae->b_enc ? p - sae->b_enc[latent] : p;
    float m = expf(sae->r_mag[latent]) * product + sae->b_mag[latent];
    return p > 0 && m > 0 ? m : 0;
}

const struct sae_architecture architecture_gated = {
    .name = "gated",
    .summary = "a gate's positive pre-activations, each with a magnitude of its own",
    .has_magnitudes = 1,
    .activate = activate,
};
