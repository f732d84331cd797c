/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A meta-SAE's data: its bases' decoder rows, as the meta-SAE wants them. */
#ifndef SAESCOPE_ANALYSIS_META_ROWS_H
#define SAESCOPE_ANALYSIS_META_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/sae/bases.h"
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

/* A meta-SAE with all its bases. Rows are numbered as struct meta_bases says. */
struct meta_rows {
    struct meta_bases bases;
    struct sae *meta, **saes; /* [bases.n], owned */
    size_t d_in;
    int raw;
};
/* Attached to t. STATUS_REFUSED when it names no base, or when a base's rows do not fit it. */
int meta_rows_open(struct store_txn *t, artifact_id meta, struct meta_rows *out, struct error *err);
int meta_rows_attach(struct meta_rows *r, struct store_txn *t, struct error *err);
void meta_rows_free(struct meta_rows *r);
/* Rows [first, first + n) as the meta-SAE wants them, rows of zeros left out: rows[≤ n, d_in] and their numbers[≤ n]; returns
 * how many there are. */
size_t meta_rows_read(const struct meta_rows *r, size_t first, size_t n, float *rows, uint32_t *numbers);
/* d̄ and Σ‖d − d̄‖² over the rows of all bases. */
int meta_rows_mean(const struct meta_rows *r, struct row_mean *out, struct error *err);
/* The same for a meta-SAE (attached) that may be in no store or name no base: then over the rows of `base`. */
int meta_row_mean(struct store_txn *t, const struct sae *meta, const struct sae *base, struct row_mean *out,
                  struct error *err);

#endif
