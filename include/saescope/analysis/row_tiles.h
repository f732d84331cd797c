/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An SAE's weights cut into tiles of rows, for products with all of them. */
#ifndef SAESCOPE_ANALYSIS_ROW_TILES_H
#define SAESCOPE_ANALYSIS_ROW_TILES_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/sae/sae.h"

struct row_tile {
    const float *rows; /* [n, d_in], where the SAE is attached */
    size_t first, n;   /* latents [first, first + n) */
};

/* Tiles of at most `height` rows of W_dec (decoder) or W_enc in latent order; malloc'd, NULL when there is no memory. */
struct row_tile *row_tiles(const struct sae *sae, int decoder, size_t height, size_t *n, struct error *err);
/* 1/‖row‖, 0 for a row of zeros. */
float row_scale(const float *row, size_t d);
/* scale[latent] = row_scale of the latent's row. */
void row_tiles_scale(const struct row_tile *tiles, size_t n, size_t d_in, float *scale);

#endif
