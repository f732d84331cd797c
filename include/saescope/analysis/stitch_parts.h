/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The parts of a stitch: which latents are partners, the path, the cross-entropy on it, and what a stitched SAE is
 * made of. stitch_run puts them together.
 *
 * The path. Step 0 is the small SAE; then, one step each,
 *
 *     inserts   of the large latents without a partner, in ascending Δ,
 *     swaps     of the connected components of the graph of partners (large latents come, small ones go), in
 *               ascending change of squared error, each measured on its own when all inserts are done,
 *     removals  of the small latents without a partner, in ascending change, each measured on its own when all swaps
 *               are done.
 *
 * Of equal ones the one with the lower latent is first (the lowest large latent of a component). What orders the steps
 * is measured with the small SAE's decoder bias, so that a path has the same steps with every bias. The order "random"
 * shuffles within each of the three; "cosine" has inserts and swaps in ascending largest cosine, removals as "helpful".
 *
 * The decoder bias at step s of S is b_small + λ(b_large − b_small), λ = 0 (small), 1 (large), s/S (interpolated).
 * With e_t the residual under b_small and g = b_large − b_small,
 *
 *     SSE = Σ‖e_t‖² − 2λ Σ σ_t e_t·g + λ² Σ σ_t²‖g‖².
 *
 * A latent that comes (−) or goes (+) with activation a adds ∓a·σ_t·d to e_t: its change of ‖e_t‖² is one dot product and
 * one scaled addition, of e_t·g a product with d·g. So a path costs what its active pairs cost, whatever its length.
 */
#ifndef SAESCOPE_ANALYSIS_STITCH_PARTS_H
#define SAESCOPE_ANALYSIS_STITCH_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/stitch.h"
#include "saescope/analysis/token_spool.h"

/* ---- Partners: latents whose decoder cosine is over the threshold, and the components of that graph. ---- */

struct stitch_groups { /* a union-find: a set's root is its lowest member */
    size_t n_large, n_small;
    uint32_t *parents; /* [n_large + n_small]: the large SAE's latents, then the small one's */
};
int stitch_groups_new(size_t n_large, size_t n_small, struct stitch_groups **out, struct error *err);
void stitch_groups_free(struct stitch_groups *g);
/* An edge; any number of times, one thread at a time. Which groups there are does not depend on the order. */
void stitch_groups_join(struct stitch_groups *g, uint32_t large, uint32_t small);
size_t stitch_groups_root(struct stitch_groups *g, size_t member);
/* Each large latent's nearest small one and its cosine (nearest_rows) and all edges, in one pass of products; both SAEs
 * are attached. */
int stitch_groups_find(struct stitch_groups *g, const struct sae *large, const struct sae *small, double threshold,
                       struct monitor *m, uint32_t *nearest, float *max_cosine, struct error *err);

/* Numbers of latents: [0] of the small SAE, [1] of the large one. Those without a partner are in no component. */
struct stitch_components {
    size_t n;
    size_t largest[2]; /* the component with the most latents in all */
    size_t partnered[2];
    size_t n_shapes;
    struct component_shape { /* ascending by small, then large */
        uint32_t small, large;
        size_t count;
    } *shapes; /* owned */
};
int stitch_components_of(struct stitch_groups *g, struct stitch_components *out, struct error *err);
void stitch_components_free(struct stitch_components *c);
/* The manifest's member "components": {"count","small","large" (latents with a partner),"largest":{"small","large"},
 * "sizes":[{"small","large","count"}]}. */
json *stitch_components_json(const struct stitch_components *c);

/* ---- The path. ---- */

struct stitch_path_input {
    struct store *store;           /* decoders are attached anew for each slice; NULL: both SAEs are on the heap */
    struct sae *small, *large;     /* not attached afterwards, when in a store */
    const struct token_spool *tokens; /* mapped */
    struct stitch_groups *groups;
    const float *max_cosine; /* [n_large] */
    const double *delta;     /* [n_large]: Δ */
    double centred;          /* Σ‖x−x̄‖² over the spool's tokens */
    enum stitch_bias bias;
    enum stitch_order order;
    uint64_t seed;
};
/*
 * Fills all but cross_entropy, which is NaN; stitch_path_free. The spool is read twice (once for a random order). Memory: 16
 * times 24 bytes a step, 16 bytes a latent, and what it returns.
 */
int stitch_path_compute(const struct stitch_path_input *in, struct monitor *m, struct stitch_path *out,
                        struct error *err);

/* λ at a step. */
double stitch_bias_share(enum stitch_bias bias, size_t step, size_t n_steps);

#define STITCH_CE_TOKENS 20000

/*
 * The cross-entropy with the stitched SAE in the model's hook, at o->ce_steps steps (at least 2, at most all) spread
 * evenly over the path, both ends among them, over o->ce_tokens tokens (0: STITCH_CE_TOKENS) of o->text: into
 * p->cross_entropy. f needs small, large, bias, small_theta and large_theta. Memory: the largest stitched SAE.
 */
int stitch_path_cross_entropy(struct store *s, const struct stitch_facts *f, const struct stitch_options *o,
                              struct stitch_path *p, struct monitor *m, struct error *err);

/* ---- Stitched SAEs. ---- */

/*
 * Step `step` of a published stitch as an SAE of the store, published under `id`, which was created (ARTIFACT_SAE). Rows go
 * from store to store. Its manifest says of the hook what the small SAE's does, and "source" {"stitch", "step", "small",
 * "large"}; it refers to the model alone.
 */
int stitch_save_sae(struct store *s, artifact_id stitch, size_t step, artifact_id id, struct monitor *m,
                    struct error *err);

#endif
