/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The architectures, for src/sae/architectures.c: others find them in its table. */
#ifndef SAESCOPE_SAE_ARCHITECTURES_H
#define SAESCOPE_SAE_ARCHITECTURES_H

#include "saescope/sae/sae.h"

extern const struct sae_architecture architecture_standard;
extern const struct sae_architecture architecture_gated;
extern const struct sae_architecture architecture_topk;
extern const struct sae_architecture architecture_batchtopk;
extern const struct sae_architecture architecture_jumprelu;

#endif
