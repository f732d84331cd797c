/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inner loops over one row, compiled for several instruction sets and chosen at run time. Rows may have
 * any alignment and length.
 */
#ifndef SAESCOPE_SAE_VECTOR_H
#define SAESCOPE_SAE_VECTOR_H

#include <stddef.h>
#include <stdint.h>

float row_dot(const float *a, const float *b, size_t n);
void row_add_scaled(float alpha, const float *x, float *y, size_t n); /* y += alpha·x */
/* y += alpha·x and w += beta·z in one pass over the four rows. */
void row_add_scaled_pair(float alpha, const float *x, float *y, float beta, const float *z, float *w,
                         size_t n);

/* Indices j with p[j] + bias[j] > bound[j], ascending, to `out` (room for n); their number. NULL: zeros; the
 * common bound is added to every bound[j]. */
size_t row_find_above(const float *p, const float *bias, const float *bound, float common, size_t n,
                      uint32_t *out);

/*
 * One Adam step of n parameters (Kingma & Ba 2015, as torch.optim.Adam computes it):
 *   m ← β1 m + (1 − β1) g,  v ← β2 v + (1 − β2) g²,  w ← w − rate · m / (√v · root + ε)
 * with rate = lr / (1 − β1ᵗ) and root = 1 / √(1 − β2ᵗ).
 */
struct adam_rates {
    float beta1, beta2, rate, root, epsilon;
};
void row_adam(const struct adam_rates *a, const float *g, float *w, float *m, float *v, size_t n);

#endif
