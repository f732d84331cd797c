/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The steps of a stitch's path: stitch_parts.h says which there are. */
#ifndef SAESCOPE_ANALYSIS_STITCH_ORDER_H
#define SAESCOPE_ANALYSIS_STITCH_ORDER_H

#include "saescope/analysis/stitch_parts.h"

/* Steps 1 … n_inserts insert, the next n_swaps swap, the last n_removals remove. */
struct step_order {
    struct stitch_groups *groups; /* borrowed */
    size_t n_steps, n_inserts, n_swaps, n_removals;
    uint32_t *large, *small; /* [n_large], [n_small]: at which step the latent comes or goes */
};
/* In ascending order of latents within each kind. */
int step_order_new(struct stitch_groups *g, struct step_order *o, struct error *err);
void step_order_free(struct step_order *o);

struct step_keys {
    enum stitch_order order;
    uint64_t seed;
    const double *delta;     /* [n_large] */
    const float *max_cosine; /* [n_large] */
    const double *change;    /* [n_steps + 1]: of swaps and removals, by the steps so far; NULL for random */
};
int step_order_sort(struct step_order *o, const struct step_keys *k, struct error *err);
enum step_kind step_order_kind(const struct step_order *o, size_t step);

#endif
