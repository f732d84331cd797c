/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of a trainer, for src/sae alone. One step on a batch x[B, d], N = B·d, is
 *
 *   c = x − b_dec,  p = W_enc c                   scan.c, tile by tile
 *   f = the k·B largest positive p                selection.c
 *   x̂ = W_decᵀ f + b_dec,  e = x̂ − x
 *   dead latents (silent for dead_after batches, this one included) D:
 *   h = each row's top aux_k of relu(p_D),  a = W_dec,Dᵀ h,  u = a + e       auxiliary.c
 *   loss = Σ e²/N + α Σ u²/N                      the residual −e in u is not detached
 *
 *   G = ∂loss/∂x̂ = (2/N)(e + α u),  A = ∂loss/∂a = (2α/N) u
 *   ∂loss/∂p_i = G·W_dec,i where f_i > 0;  A·W_dec,i where h_i > 0           gradients.c
 *   ∂loss/∂W_dec,i = Σ f_i G (Σ h_i A);  ∂loss/∂W_enc,i = Σ ∂p_i c
 *   ∂loss/∂b_dec = Σ G − Σ_i (Σ ∂p_i) W_enc,i
 *
 * and then, latent by latent (adam.c): clip, take from W_dec's gradient its part along the row, scale the row
 * to unit norm, Adam. A dead latent did not fire in this batch, so no latent has both kinds of gradient.
 */
#ifndef SAESCOPE_SAE_TRAINER_H
#define SAESCOPE_SAE_TRAINER_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/sae/sae.h"
#include "saescope/sae/scan.h"
#include "saescope/sae/train.h"

/* ---- What training keeps of a batch's pre-activations. ---- */
struct selection {
    struct scan scan;
    float bound;   /* below the last batch's smallest kept one; 0: not known */
    float *values; /* [capacity] */
    size_t capacity;
};
/* Keeps the k·n largest positive ones of the whole batch (ties: lower position, rows first); `smallest` is
 * the smallest kept, or 0 when none is. */
int selection_of_batch(struct selection *s, const struct sae *sae, const float *x_enc, size_t n, size_t k,
                       struct sparse_rows *out, float *smallest, struct error *err);
/* Keeps the k largest positive ones of each row. */
int selection_of_rows(struct selection *s, const struct sae *sae, const float *x_enc, size_t n, size_t k,
                      struct sparse_rows *out, struct error *err);
void selection_free(struct selection *s);

/* ---- The auxiliary term's dead latents, compacted. ---- */
struct auxiliary {
    size_t n;                           /* dead latents */
    uint32_t *latents;                  /* [n] ascending */
    uint32_t *index;                    /* [d_sae] place in latents, or UINT32_MAX */
    float *W_enc, *W_dec;               /* [n, d] copies */
    float *gradient_enc, *gradient_dec; /* [n, d] */
    float *sums;                        /* [n] Σ ∂p_i */
    float *h, *h_gradient;              /* [chunk rows, n] */
    float *sorted;                      /* [threads, n] */
    size_t capacity, h_capacity;
};

struct column_entry { /* an active pair, by latent */
    uint32_t row;
    float value, gradient;
};

struct row_part {                /* what a block of rows adds up */
    double loss, error, squares; /* Σ e² + α Σ u², Σ e², Σ x² */
};

struct trainer {
    struct train_options o;
    size_t d_in;
    struct sae *sae;                                        /* weights as they are, in training units */
    float *m_enc, *v_enc, *m_dec, *v_dec, *m_bias, *v_bias; /* Adam's moments */
    uint64_t step;
    double theta; /* running threshold */
    int theta_known;
    uint32_t *silent; /* [d_sae] batches since it fired last */

    /* The step at hand. */
    const float *x;
    float *x_enc, *G, *A; /* [batch, d]; A from the first dead latent on */
    struct selection selection;
    struct sparse_rows active;
    float *pair_gradients; /* ∂p of the active pairs */
    size_t pair_capacity;
    struct column_entry *columns; /* the active pairs by latent */
    size_t *column_offsets;       /* [d_sae + 1] */
    struct auxiliary aux;
    struct row_part *row_parts; /* one a block of rows */
    float *row_sums;            /* [row blocks, d] Σ G */
    float *row_means;           /* [row blocks, d] Σ x */
    float *latent_sums;         /* [latent blocks, d] Σ_i (Σ ∂p_i) W_enc,i */
    double *latent_squares;     /* [latent blocks] Σ gradient² */
    float *scratch;             /* [threads, 2, d] */
    float *bias_gradient;       /* [d] */

    /* Of the last step. */
    double loss, l0, explained_variance;
    size_t dead;
};

enum { TRAIN_ROW_BLOCK = 128, TRAIN_LATENT_BLOCK = 32 };

/* Which latents are dead now, their weights and room for `batch` rows. */
int auxiliary_prepare(struct trainer *t, struct error *err);
/* Rows of a chunk that are worked on at once: as many as fit the buffers. */
size_t auxiliary_chunk(const struct trainer *t);
/* a of rows [first, first + n), to out[n, d]; h is kept at chunk row `at`. */
void auxiliary_forward(struct trainer *t, size_t first, size_t n, size_t at, size_t worker, float *out);
void auxiliary_backward(struct trainer *t, size_t first, size_t n, size_t at);
/* Adds a chunk's rows to the dead latents' gradients. */
void auxiliary_gradients(struct trainer *t, size_t first, size_t n);
void auxiliary_free(struct auxiliary *a);

/* Decodes, G, ∂p and the sums over rows; the auxiliary term with them. */
void gradients_of_rows(struct trainer *t);
/* The active pairs by latent. */
void gradients_by_latent(struct trainer *t);
/* Gradients of row i of W_enc and W_dec; returns Σ ∂p_i. */
float gradients_of_latent(const struct trainer *t, size_t latent, float *g_enc, float *g_dec);

/* Clip, project, renormalise, Adam, for all parameters. */
void adam_step(struct trainer *t);
/* W_dec's rows to unit norm. */
void trainer_normalize_rows(struct trainer *t);

/* ---- Runs. ---- */
struct training_run {
    struct trainer **trainers;
    size_t n;
    uint64_t step;
    double scale; /* training units = scale · hook's units */
    double seconds;
};
/* Beside, fsync, rename: DIR/training.checkpoint. */
int checkpoint_write(const struct training_run *run, const char *dir, struct error *err);
/* *found is 0 when there is none; STATUS_REFUSED when it is another run's or damaged. */
int checkpoint_read(struct training_run *run, const char *dir, int *found, struct error *err);

/* An SAE on held-out rows (at most 65,536), in the hook's units. Without such rows the numbers are NaN. */
struct held_out {
    const struct sae *sae;
    unsigned char *fired; /* [d_sae] owned */
    double l0, explained_variance;
};
int held_out_evaluate(struct held_out *h, size_t n, struct batch_source *source, struct monitor *m,
                      struct error *err);

#endif
