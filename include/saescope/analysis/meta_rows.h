/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A meta-SAE's data: its base's decoder rows, as the meta-SAE wants them. */
#ifndef SAESCOPE_ANALYSIS_META_ROWS_H
#define SAESCOPE_ANALYSIS_META_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

/* Whether the meta-SAE was trained on rows as they are rather than on unit rows (its training's "raw_rows").
 */
int meta_wants_raw_rows(struct store_txn *t, artifact_id meta);

/* STATUS_REFUSED when the rows of base do not fit meta. */
int meta_check_fit(const struct sae *base, const struct sae *meta, struct error *err);

/*
 * The mean row d̄ [d_in] and Σ‖d − d̄‖² over the base's rows (attached; zero rows left out), and how many rows
 * there are. Summed once for each base and kept, since decoders do not change.
 */
struct row_mean {
    size_t n;
    double *mean; /* [d_in], owned */
    double total; /* Σ‖d − d̄‖² */
};
int row_mean_of(const struct sae *base, int raw, struct row_mean *out, struct error *err);
void row_mean_free(struct row_mean *m);

#endif
