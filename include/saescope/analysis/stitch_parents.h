/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which latents of the small SAE are parents of each latent of the large one (stitch.h: struct stitch_parent). */
#ifndef SAESCOPE_ANALYSIS_STITCH_PARENTS_H
#define SAESCOPE_ANALYSIS_STITCH_PARENTS_H

#include "saescope/analysis/stitch.h"
#include "saescope/analysis/token_spool.h"
#include "saescope/base/monitor.h"

/*
 * Writes the RECORD_PARENTS records of an unpublished stitch, from the activations on a text (mapped) and the decoders: parents
 * by descending cosine (ties: the lower latent). Similarities are summed in float64 over the tokens where the child
 * fires; both norms are over these tokens. A child that fired on fewer than STITCH_FIRED_MIN tokens is judged by cosine alone,
 * and its similarities are NaN; else both numbers are there, whichever made the edge.
 *
 * `small` and `large` are attached in transactions of this function's own: attach them again afterwards. The result does not
 * depend on the number of threads. Memory: 64 MiB (or 8 bytes for each token, when one latent fires on more), 36 bytes a latent
 * of the large SAE, and for each thread 1 MiB and 20 bytes a latent of the small one.
 */
int stitch_parents_compute(struct store *s, artifact_id stitch, struct sae *small, struct sae *large,
                           const struct token_spool *spool, struct monitor *m, struct error *err);
/* The same, with so many firings of large latents at a time instead of 8 Mi: 8 bytes each. The result is the same. */
int stitch_parents_in_groups(struct store *s, artifact_id stitch, struct sae *small, struct sae *large,
                             const struct token_spool *spool, size_t group_firings, struct monitor *m,
                             struct error *err);

#endif
