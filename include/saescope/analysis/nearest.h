/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The nearest row for every row of an SAE, of decoders or encoders. */
#ifndef SAESCOPE_ANALYSIS_NEAREST_H
#define SAESCOPE_ANALYSIS_NEAREST_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"

/*
 * nearest[d_sae of a], cosine[d_sae of a]: the row of b with the largest cosine (ties: the lower latent; zero
 * rows have cosine 0). When a and b are the same SAE a row is not its own neighbour; the only row of one has
 * cosine −∞. Memory: a MiB a thread and the norms.
 */
int nearest_rows(const struct sae *a, const struct sae *b, int decoder, struct monitor *m, uint32_t *nearest,
                 float *cosine, struct error *err);

/* Pairs of rows with a cosine over `over`; `found` is called for one at a time, for each row of a in ascending rows of b. */
struct near_pairs {
    double over;
    void (*found)(void *arg, size_t a, size_t b, float cosine);
    void *arg;
};
/* The same products once for both. Memory: at most 32 MiB a thread more, when nearly all pairs are near. */
int nearest_rows_and_pairs(const struct sae *a, const struct sae *b, int decoder, struct monitor *m, uint32_t *nearest,
                           float *cosine, const struct near_pairs *pairs, struct error *err);

#endif
