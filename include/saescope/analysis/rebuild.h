/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An SAE whose decoder rows are rebuilt from a meta-SAE (Leask et al. 2025; the post before it). */
#ifndef SAESCOPE_ANALYSIS_REBUILD_H
#define SAESCOPE_ANALYSIS_REBUILD_H

#include <stddef.h>
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

/*
 * A copy of `base` on the heap whose decoder rows are their reconstructions by `meta` (both attached): the unit row through the
 * meta-SAE, its output scaled back to the row's own norm. `without` (SIZE_MAX: none): a meta-latent whose
 * activations are set to 0. A row that no meta-latent is active on becomes the meta-SAE's b_dec, so scaled.
 */
int rebuild_sae(const struct sae *base, const struct sae *meta, size_t without, struct monitor *m, struct sae **out,
                struct error *err);

#endif
