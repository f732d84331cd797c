/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Non-negative least squares on a handful of columns. */
#ifndef SAESCOPE_ANALYSIS_NNLS_H
#define SAESCOPE_ANALYSIS_NNLS_H

#include <stddef.h>

/* L of G = L·Lᵀ, one row further: row n of L[·, ld] from row n of G, whose rows before are there already. 0, or -1 when the pivot
 * is not above float64's epsilon (the column depends on those before it). */
int cholesky_extend(const double *gram, double *factor, size_t ld, size_t n);
/* Solves L·Lᵀ x = b of n rows. */
void cholesky_solve(const double *factor, size_t ld, size_t n, const double *b, double *x);

/*
 * x ≥ 0 that minimises ‖A x − y‖² (Lawson and Hanson 1974, chapter 23), from gram = AᵀA [n, n], rows `ld` apart, and b = Aᵀy [n].
 * scratch: nnls_scratch(n) doubles. A column that depends on those that are in already stays at 0.
 */
size_t nnls_scratch(size_t n);
void nnls(const double *gram, size_t ld, const double *b, size_t n, double *x, double *scratch);

#endif
