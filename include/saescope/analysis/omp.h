/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sparse regression of rows onto the decoder of an SAE, whose rows, scaled to unit norm, are the atoms; no intercept.
 *
 * Orthogonal matching pursuit (Pati et al. 1993; Rubinstein et al. 2008), as scikit-learn's orthogonal_mp(X, y,
 * n_nonzero_coefs=k) computes it: the atom whose correlation with the residual has the largest magnitude comes in, then the
 * coefficients of all that are in are fitted anew by least squares. It ends early, as there, when that atom is in already, when
 * its correlation with y squares to less than float64's epsilon, or when it depends on those that are in.
 *
 * Non-negative (Bruckstein et al. 2008): the atom with the largest positive correlation comes in, then the coefficients of
 * all that are in are fitted by non-negative least squares; atoms whose coefficient comes out as 0 are no part of the
 * result.
 *
 * Correlations are float32 products in tiles of the decoder; coefficients, and what is left, are float64. Ties: the lower
 * latent.
 */
#ifndef SAESCOPE_ANALYSIS_OMP_H
#define SAESCOPE_ANALYSIS_OMP_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/latent.h"
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

#define OMP_ATOMS_MAX 256

struct omp_options {
    size_t atoms; /* k, 1 … OMP_ATOMS_MAX */
    int non_negative;
};

struct omp; /* a dictionary, its norms and the memory for some rows at a time */

/* `dictionary` must be attached, now and in each omp_rows, and live as long. STATUS_USAGE for a bad number of atoms. */
int omp_open(const struct sae *dictionary, const struct omp_options *o, struct omp **out, struct error *err);
void omp_close(struct omp *p); /* NULL is fine */

/*
 * rows[n, d_in] onto the dictionary. exclude[n]: a latent that a row may not use (its own), UINT32_MAX for none; NULL: none at
 * all. out: each row's atoms, at most k, ascending by latent, with their coefficients (of unit atoms). error[n]: ‖row − fit‖².
 * Memory: some MiB a thread, whatever n and d_sae are. m may be NULL.
 */
int omp_rows(struct omp *p, const float *rows, const uint32_t *exclude, size_t n, struct monitor *m,
             struct sparse_rows *out, double *error, struct error *err);

/*
 * One latent of `base` (both attached): its decoder row scaled to unit norm onto `onto`, whose latent of the same number is left out
 * when it is the same SAE. Components strongest first by magnitude, their coefficients as activations; explained variance as of
 * a meta-SAE's decomposition, 1 − ‖d−d̂‖²/‖d−d̄‖² with d̄ the mean unit row of `base`. STATUS_REFUSED when rows are of
 * different lengths.
 */
int decompose_onto(const struct sae *base, const struct sae *onto, size_t latent, const struct omp_options *o,
                   struct monitor *m, struct decomposition *out, struct error *err);

#endif
