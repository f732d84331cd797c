/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Editing a latent through its meta-latents (Leask et al. 2025, and the post before it): its decoder row is
 * put together again without some of its meta-latents and with others.
 */
#ifndef SAESCOPE_ANALYSIS_EDIT_H
#define SAESCOPE_ANALYSIS_EDIT_H

#include <stddef.h>
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

struct row_change {
    size_t meta_latent;
    int adds;     /* else it removes */
    double value; /* its activation afterwards, of one that adds */
};

/*
 * r is the latent's row d, scaled to unit norm unless the meta-SAE wants rows as they are; u its
 * meta-activations, m_j the meta-SAE's rows. With u′ = u but 0 for what is removed and `value` for what is
 * added:
 *
 *   rebuilt          r′ = r̂(u′), the meta-SAE's output for u′
 *   keep_residual    r′ = r̂(u′) + r − r̂(u)
 *   raw ≠ 0          r′ = r + raw·(Σ_added m_j − Σ_removed m_j), as in the authors' script
 *
 * and d′ = ‖d‖·r′/‖r′‖.
 */
struct row_edit {
    const struct row_change *changes;
    size_t n;
    int keep_residual;
    double raw;
};
/* d′ to row[d_in]. STATUS_REFUSED for meta-latents that are not there and when nothing is left of the row. */
int edit_row(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t latent,
             const struct row_edit *e, float *row, struct error *err);

/* The mean activation of a meta-latent over the rows on which it is active; 0 when there are none. */
int mean_member_activation(struct store_txn *t, const struct sae *base, const struct sae *meta,
                           size_t meta_latent, double *mean, struct error *err);

/*
 * The latents that stand for two texts, as a start and a target city: in each prompt that has `from` in it,
 * activations are taken at the last token of it, and in the same prompt with `to` in its place at the last
 * token of that. A text's latent is the one with the largest mean over the prompts among those that fire on
 * it and never on the other.
 */
struct found_latent {
    size_t latent;
    double activation; /* the mean */
};
int find_latents(struct store *s, artifact_id sae, const char *const *prompts, size_t n, const char *from,
                 const char *to, struct found_latent *of_from, struct found_latent *of_to, struct error *err);

#endif
