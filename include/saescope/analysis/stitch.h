/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SAE stitching (Leask, Bussmann, Pearce et al., ICLR 2025): latents of a larger SAE inserted into a smaller one, or swapped
 * for its own. Both read the same hook of the same model, with the same contexts and centring.
 *
 * Inserting latent i of the large SAE (activation a, decoder row d) changes the small one's squared error by
 *
 *     Δ_i = Σ_t (a_ti²·‖σ_t d_i‖² − 2·a_ti·E_t·σ_t d_i),   E_t = x_t − x̂_small(t),
 *
 * σ_t the per-token output scale (1 without a per-token normalisation). delta_mse = Δ/(tokens · d_in). Latents that fired on
 * fewer than 20 tokens are undecided; else novel when Δ < 0, else reconstruction.
 *
 * The stitch artifact. Tensors, i over the large SAE's latents, j over the small one's:
 *     fired u32[i], max_cosine f32[i], nearest u32[i], delta f64[i] (Δ, not divided), class u8[i];
 *     large_step u32[i]: the step at which the latent comes in;  small_step u32[j]: the step at which it goes;
 *     step_kind u8[S + 1], step_l0, step_mse, step_ev, step_ce f64[S + 1] (NaN where it was not measured).
 * Records RECORD_PARENTS, one for each large latent that has any: see struct stitch_parent.
 * The manifest: stitch_result_json's members without names and path, "d_in", "n_small", "n_large", "n_steps", "contexts",
 * "thresholds" {"small", "large"} (a number for a TopK SAE, else null), "components" (stitch_parts.h), "options", and "references"
 * {"small", "large", "text"[, "control"]}.
 */
#ifndef SAESCOPE_ANALYSIS_STITCH_H
#define SAESCOPE_ANALYSIS_STITCH_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/json.h"
#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

#define STITCH_FIRED_MIN 20   /* fewer firings: undecided */
#define STITCH_RESAMPLES 200  /* of contexts, for the novel fraction's interval */
#define STITCH_THRESHOLD 0.7  /* of the cosine, when none is given */
#define STITCH_NEVER     UINT32_MAX

enum latent_class { LATENT_UNDECIDED, LATENT_NOVEL, LATENT_RECONSTRUCTION };
const char *latent_class_name(enum latent_class c); /* "undecided", "novel", "reconstruction" */

enum stitch_bias { STITCH_BIAS_SMALL, STITCH_BIAS_LARGE, STITCH_BIAS_INTERPOLATED };
enum stitch_order {
    STITCH_ORDER_HELPFUL, /* inserts in ascending Δ, swaps in ascending change of error */
    STITCH_ORDER_RANDOM,
    STITCH_ORDER_COSINE   /* inserts and swaps in ascending largest cosine */
};
const char *stitch_bias_name(enum stitch_bias b);   /* "small", "large", "interpolated" */
const char *stitch_order_name(enum stitch_order o); /* "helpful", "random", "cosine" */
/* STATUS_USAGE for other words. */
int stitch_bias_find(const char *name, enum stitch_bias *out, struct error *err);
int stitch_order_find(const char *name, enum stitch_order *out, struct error *err);

enum step_kind { STEP_START, STEP_INSERT, STEP_SWAP, STEP_REMOVE };
const char *step_kind_name(enum step_kind k); /* "start", "insert", "swap", "remove" */

struct stitch_options {
    artifact_id small, large, text;
    artifact_id control; /* an SAE of the small one's width from another seed: the floor of novelty; 0: none */
    uint64_t tokens;     /* counted; 0: all */
    double threshold;    /* of the cosine, in (0, 1): above it latents are partners */
    enum stitch_bias bias;
    enum stitch_order order;
    uint64_t seed;
    size_t ce_steps;    /* steps at which the cross-entropy is measured, spread evenly, ends included; 0: none */
    uint64_t ce_tokens; /* counted tokens for that; 0: 20,000 */
};

/*
 * The whole stitch under an id that was created (ARTIFACT_STITCH) and not published; publishes it. Refuses SAEs of
 * different models, hooks, d_in, context sizes or centring, meta-SAEs, mixed per-token normalisations, a text of another model.
 *
 * TopK SAEs take part in their threshold form (see stitch_threshold_form): θ is the mean, over the first 8 batches of the text,
 * of the smallest positive activation among the n·k largest of a batch of n tokens, as BatchTopK finds its own.
 *
 * Memory: scoring keeps 8 MiB and 24 bytes a latent for each set of decoder rows scored (the large SAE's and two or three
 * controls), 16 MiB of random rows, 28 bytes a large latent for each thread, and 40 bytes an active pair of a batch; the
 * bootstrap 200 bytes a context and 32 MiB; the other parts what nearest.h, stitch_parents.h and stitch_parts.h say; beside the
 * stream's and the encoder's scratch. On disk, in m->work_dir or else the store's work directory: a residual and 8 bytes
 * an active pair for each token, and for each set of rows 12 bytes for each latent active in a context.
 */
int stitch_run(struct store *s, artifact_id id, const struct stitch_options *o, struct monitor *m, struct error *err);

/* Makes an opened TopK SAE what it is in a stitch: a jumprelu one with the threshold θ for every latent. Others stay as they are. */
int stitch_threshold_form(struct sae *sae, double theta, struct error *err);

/* ---- Reading a stitch. ---- */

struct stitch_facts { /* strings live in `manifest` */
    struct artifact artifact;
    json *manifest;
    artifact_id small, large, text;
    struct artifact small_artifact, large_artifact;
    size_t d_in, n_small, n_large, n_steps; /* n_steps: S, so that steps are 0 … S */
    uint64_t tokens;
    double threshold;                    /* of the cosine */
    double small_theta, large_theta;     /* of a TopK SAE's threshold form; NaN for others */
    enum stitch_bias bias;
    enum stitch_order order;
};
int stitch_facts_read(struct store_txn *t, artifact_id stitch, struct stitch_facts *out, struct error *err);
void stitch_facts_free(struct stitch_facts *f);

/* The latents of the large SAE; owned arrays [n]. */
struct stitch_latents {
    size_t n;
    uint32_t *fired, *nearest;
    float *max_cosine;
    double *delta;
    uint8_t *classes; /* enum latent_class */
};
int stitch_latents_read(struct store_txn *t, const struct stitch_facts *f, struct stitch_latents *out, struct error *err);
void stitch_latents_free(struct stitch_latents *l);

/* The path; owned arrays. */
struct stitch_path {
    size_t n_steps, n_small, n_large; /* arrays over steps have n_steps + 1 entries */
    uint8_t *kinds;                   /* enum step_kind */
    double *l0, *mse, *explained_variance, *cross_entropy;
    uint32_t *large_step, *small_step; /* [n_large], [n_small]; STITCH_NEVER: not on the path */
};
int stitch_path_read(struct store_txn *t, const struct stitch_facts *f, struct stitch_path *out, struct error *err);
void stitch_path_free(struct stitch_path *p);

/* How a cosine threshold predicts the classes, undecided ones left out. Below: max_cosine ≤ threshold, so that the latent has
 * no partner. */
struct stitch_confusion {
    size_t below, above;                    /* of the decided ones */
    size_t novel_below, novel_above;        /* rows of CONTRACT.md's confusion: novel [below, above], */
    size_t reconstruction_below, reconstruction_above; /* reconstruction [below, above] */
};
void stitch_confusion_at(const struct stitch_latents *l, double threshold, struct stitch_confusion *out);
/* Mann–Whitney AUC of −max_cosine for novel latents (ties count half) and the threshold with the largest Youden J (of equal ones
 * the lowest; a latent's own cosine, "novel" being predicted up to it); NaN when one class is empty. */
void stitch_roc(const struct stitch_latents *l, double *auc, double *best_threshold);

/* A latent's parents in the small SAE: where the decoder cosine is over 0.7 or the directed similarity of activations
 *     Σ a_child·a_parent / (‖a_child‖·‖a_parent‖), over tokens where the child fires,
 * over 0.6; cosine first. A RECORD_PARENTS record is an array of these, little-endian. */
struct stitch_parent {
    uint32_t latent;
    float cosine, similarity;
};
#define PARENT_COSINE     0.7
#define PARENT_SIMILARITY 0.6
int stitch_parents_read(struct store_txn *t, artifact_id stitch, size_t latent, struct stitch_parent **out, size_t *n,
                        struct error *err);
/* The newest stitch between two SAEs, or 0. */
artifact_id stitch_between(struct store_txn *t, artifact_id small, artifact_id large);

/*
 * The SAE at a step as a jumprelu SAE on the heap with apply_b_dec_to_input false: each latent's own encoder row, with
 * b_enc − W_enc·b_dec where its SAE subtracts b_dec, its own threshold (0 for standard ones), its own decoder row; b_dec as
 * the stitch's bias says. latents[d_sae] (or NULL; freed by the caller) says where each comes from: bit 31 set for the large SAE's.
 * STATUS_REFUSED for a step that is not there.
 */
int stitch_sae_at(struct store_txn *t, const struct stitch_facts *f, const struct stitch_path *p, size_t step,
                  struct sae **out, uint32_t **latents, struct error *err);

/* CONTRACT.md's object of `stitch`; path may be NULL (left out). */
json *stitch_result_json(const struct stitch_facts *f, const struct stitch_path *path);

#endif
