/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoder rows as the data of meta-SAEs. */
#ifndef SAESCOPE_ANALYSIS_DECODER_ROWS_H
#define SAESCOPE_ANALYSIS_DECODER_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/sae/sae.h"

/* Rows of latents [first, first + n) of an attached SAE, scaled to unit norm (raw: as they are), zero rows left out.
 * rows[≤ n, d_in] and latents[≤ n]; returns how many there are. */
size_t decoder_rows(const struct sae *sae, size_t first, size_t n, int raw, float *rows, uint32_t *latents);

#endif
