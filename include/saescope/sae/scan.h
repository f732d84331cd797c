/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one dense product of encoding and training: pre-activations p = W_enc x + b_enc by tiles that stay in
 * cache, of which only those above a bound are kept. The tiles are cut by shapes alone, so that the numbers
 * depend on neither the bound nor the number of threads.
 */
#ifndef SAESCOPE_SAE_SCAN_H
#define SAESCOPE_SAE_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/sae/sae.h"

struct scan_pair {
    uint32_t row, latent;
    float value; /* p */
};
struct scan_list {
    struct scan_pair *pairs;
    size_t n, capacity;
};

struct scan {
    const struct sae *sae; /* attached */
    const float *x;        /* [n, d_in], what W_enc is multiplied with */
    size_t n;
    const float *bound; /* [d_sae] or NULL: zeros */
    float common_bound; /* kept: p > bound[latent] + common_bound */
    size_t k;           /* not 0: of each cell's rows only the k largest (ties: lower latent) */

    /* Cells: row tiles × groups of latents; cell (r, g)'s pairs are in lists[r * n_groups + g], for each row
     * with ascending latents, groups in latent order. */
    size_t n_row_tiles, n_groups;
    struct scan_list *lists;
    size_t n_lists;               /* allocated */
    struct scan_scratch *scratch; /* one a worker */
    size_t n_scratch;
};

/* Fills scan's lists; may be called again with other x, n and bounds: memory is kept. STATUS_FAILED "cancelled" under
 * parallel_watch, as scan_rows. */
int scan_run(struct scan *s, struct error *err);
size_t scan_count(const struct scan *s);
void scan_free(struct scan *s);

/*
 * The lists' pairs as sparse rows. With scan->k, the k largest of each row. `keep` (or NULL: all) says what
 * value a pair gets, 0 for none; it is called row tile by row tile from several threads.
 */
typedef float scan_keep(const struct scan_pair *pair, const void *arg);
int scan_rows(const struct scan *s, scan_keep *keep, const void *arg, struct sparse_rows *out,
              struct error *err);

/* The k-th largest of n values (1 ≤ k ≤ n); reorders them. */
float kth_largest(float *values, size_t n, size_t k);

#endif
