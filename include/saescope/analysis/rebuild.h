/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An SAE whose decoder rows are rebuilt from a meta-SAE (Leask et al. 2025; the post before it). */
#ifndef SAESCOPE_ANALYSIS_REBUILD_H
#define SAESCOPE_ANALYSIS_REBUILD_H

#include <stddef.h>
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

struct rebuild {
    const struct sae *base, *meta; /* attached */
    int raw;                       /* the meta-SAE wants rows as they are (meta_wants_raw_rows) */
    const size_t *without;         /* [n_without]: meta-latents whose activations are set to 0 */
    size_t n_without;
};

/* STATUS_REFUSED when the base's rows do not fit the meta-SAE or it has no such meta-latent. */
int rebuild_check(const struct rebuild *r, struct error *err);

/*
 * Decoder rows [first, first + n) of the base as the meta-SAE reconstructs them, to rows [n, d_in]: the unit row through the
 * meta-SAE, its output scaled back to the row's own norm (raw: the row as it is, not scaled). A row that no meta-latent is
 * active on becomes the meta-SAE's b_dec, so scaled; a row of zeros stays.
 */
int rebuild_rows(const struct rebuild *r, size_t first, size_t n, float *rows, struct error *err);

/* A copy of the base on the heap whose decoder rows are rebuilt. Memory: that copy and a slice of rows. */
int rebuild_sae(const struct rebuild *r, struct monitor *m, struct sae **out, struct error *err);

#endif
