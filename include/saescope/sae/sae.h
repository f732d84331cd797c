/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sparse autoencoders. An architecture is one file (`struct sae_architecture`, listed in src/sae/architectures.c). An SAE
 * reads and writes its hook's units.
 *
 *   p = W_enc (x·s_in − [b_dec]) + b_enc        pre-activations; b_dec is subtracted iff apply_b_dec_to_input
 *   f = activation(p)                           sparse
 *   x̂ = W_decᵀ f + b_dec                        then the inverse of the per-token normalisation
 *
 * W_enc and W_dec are [d_sae, d_in], row = latent, float32, cut into blocks of rows.
 */
#ifndef SAESCOPE_SAE_SAE_H
#define SAESCOPE_SAE_SAE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/store/store.h"

/* Run-time normalisation of the input, SAELens' normalize_activations. */
enum sae_normalization {
    NORMALIZE_NONE,
    NORMALIZE_CONSTANT_NORM_RESCALE, /* x·√d/‖x‖ in, divided by the same out */
    NORMALIZE_LAYER_NORM             /* (x − mean)/(std + 1e-5), std unbiased; ·std + mean out, as SAELens and OpenAI do */
};

const char *sae_normalization_name(enum sae_normalization n);
int sae_normalization_find(const char *name, enum sae_normalization *out, struct error *err);

struct sae_block { /* rows [first, first + n) of the weights */
    size_t first, n;
    const float *W_enc, *W_dec; /* [n, d_in] */
};

struct sae_architecture;

struct sae {
    const struct sae_architecture *architecture;
    size_t d_in, d_sae;
    size_t k;                   /* topk: per token; batchtopk: its training's k; else 0 */
    int apply_b_dec_to_input;
    enum sae_normalization normalization;
    float *b_enc;     /* [d_sae], owned; NULL: zeros */
    float *b_dec;     /* [d_in], owned */
    float *threshold; /* [d_sae], owned; NULL when the architecture has none */
    float *r_mag, *b_mag; /* [d_sae], owned; gated: b_enc is the gate's bias; NULL when the architecture has none */
    struct sae_block *blocks; /* owned array; the weights are the store's or heap's */
    size_t n_blocks;
    float *owned_W_enc, *owned_W_dec; /* heap weights of an SAE not in a store, or NULL */
    artifact_id id;                   /* 0 when it is not in a store */
    int attached;                     /* blocks' pointers are valid */
};

/* How pre-activations become activations. */
struct sae_architecture {
    const char *name;    /* SAELens' name: "standard", "gated", "topk", "batchtopk", "jumprelu" */
    const char *summary; /* one line for help */
    int has_threshold;
    int has_magnitudes; /* r_mag and b_mag */
    int per_token_k; /* needs all latents of a token at once */
    int trains;      /* src/sae's trainer knows it */
    /* The activation of one pre-activation, 0 when the latent does not fire (not for per_token_k). It may fire only
     * where p > 0 and, with has_threshold, p > threshold[latent]: others are not asked. */
    float (*activate)(const struct sae *sae, size_t latent, float p);
};
extern const struct sae_architecture *const sae_architectures[]; /* NULL-terminated */
const struct sae_architecture *sae_architecture_find(const char *name, struct error *err); /* NULL + suggestion */

/* ---- In the store. Manifest members are documented at sae_save. ---- */
int sae_open(struct store_txn *t, artifact_id id, struct sae **out, struct error *err); /* attached to t */
int sae_attach(struct sae *sae, struct store_txn *t, struct error *err); /* again in each new transaction */
void sae_free(struct sae *sae);
/* An SAE on the heap with zeroed weights in one block (owned_W_enc, owned_W_dec may be written). */
int sae_new(const struct sae_architecture *architecture, size_t d_in, size_t d_sae, struct sae **out,
            struct error *err);

/*
 * Writes tensors W_enc, W_dec, b_dec and, when there are, b_enc, threshold, r_mag and b_mag under an unpublished id, and publishes it
 * with `manifest`, to which it adds what it knows: architecture, d_in, d_sae, k, threshold (number |
 * {"min","median","max"} | null), apply_b_dec_to_input, normalize_activations, dtype. The caller gives "kind" ("sae" or
 * "meta"), "hook" (or null), center_activations, context_size, prepend_bos, "source", "training" (trained ones) and
 * "references" {"model": id} or {"base": id}. Weights with NaN or infinity are refused. `manifest` is taken over in any
 * case; after a failure the caller abandons `id`.
 */
int sae_save(struct store *s, artifact_id id, const struct sae *sae, json *manifest, struct error *err);
/* The same for an SAE whose weights do not fit memory: sae's blocks are not looked at, `read` gives rows
 * [first, first + n) of W_enc, then of W_dec (decoder), in order. */
struct sae_rows {
    int (*read)(void *arg, int decoder, size_t first, size_t n, float *rows, struct error *err);
    void *arg;
    int ahead;               /* it only copies: called on another thread while what it read before is committed */
    struct monitor *monitor; /* told and asked before each block; or NULL */
};
int sae_save_from(struct store *s, artifact_id id, const struct sae *sae, const struct sae_rows *rows, json *manifest,
                  struct error *err);

/* ---- Computing. ---- */
/* Sparse rows: row r's pairs are [offsets[r], offsets[r+1]), latents ascending. */
struct sparse_rows {
    size_t n_rows;
    size_t *offsets; /* [n_rows + 1] */
    uint32_t *latents;
    float *values;
    size_t capacity, row_capacity;
};
void sparse_rows_free(struct sparse_rows *rows);
int sparse_rows_reserve(struct sparse_rows *rows, size_t n_rows, size_t n_pairs, struct error *err);

/* x[n, d_in] to activations; one dense product over tiles, nothing of size n × d_sae is kept. Uses the pool, and may be
 * called under parallel_watch: STATUS_FAILED "cancelled" then. */
int sae_encode(const struct sae *sae, const float *x, size_t n, struct sparse_rows *out, struct error *err);
/* What W_enc is multiplied with, x_enc[n, d_in]: x normalised and, when the SAE says so, less b_dec. */
void sae_encoder_input(const struct sae *sae, const float *x, size_t n, float *x_enc);
/* scales[n]: what a token's decoder rows are multiplied with to be in the hook's units (1 without a per-token normalisation). */
void sae_output_scales(const struct sae *sae, const float *x, size_t n, float *scales);
/* x_hat[n, d_in] of activations f of inputs x (x is needed for per-token normalisations; else may be NULL). */
int sae_decode(const struct sae *sae, const struct sparse_rows *f, const float *x, float *x_hat, struct error *err);
/* scale[n]: what per-token normalisations multiply a decoder row with on its way to the hook's units; else 1. */
void sae_output_scale(const struct sae *sae, const float *x, size_t n, float *scale);

/* Row i of W_dec (attached), [d_in]. */
const float *sae_decoder_row(const struct sae *sae, size_t latent);
const float *sae_encoder_row(const struct sae *sae, size_t latent);
/* Some latents of an attached SAE as an SAE of their own, so that nothing else of it is computed. Not for architectures with
 * per_token_k. Its weights and b_dec are the whole one's; released by sae_picked_free, also after a failure. */
int sae_pick_latents(const struct sae *whole, const size_t *latents, size_t count, struct sae *out, struct error *err);
void sae_picked_free(struct sae *picked);

#endif
