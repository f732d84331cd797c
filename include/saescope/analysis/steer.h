/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Steering: what a model predicts when its activation at one hook is changed during the pass.
 *
 * h is the hook's activation at a position, in the hook's units; z what an SAE reads of it: h, less its mean
 * over d_model when the SAE is centred. a = f(z) is a latent's activation, d its row of W_dec, σ the output
 * scale of a per-token normalisation (1 without one).
 *
 *               STEER_ADDITIVE                              STEER_ORTHOGONAL, p = ⟨d, z⟩/‖d‖²
 *   add X       h + X·d                                     h + (X − 1)·p·d
 *   scale X     h + σ·(X − 1)·a·d                           h + (X − 1)·p·d
 *   clamp X     h + σ·(X − a)·d                             h + (X − p)·d
 *   remove      h − σ·a·d                                   h − p·d
 *   row d′      h + σ·a·(d′ − d)                            (not defined)
 *
 * The additive forms change the SAE's output alone: its error, x − x̂, stays. All read the same h, and what
 * they add is summed. The orthogonal ones are Neuronpedia's ORTHOGONAL_DECOMP, (I − P)z + X·Pz with P =
 * d·dᵀ/‖d‖², and the like; they act one after the other.
 *
 * A meta-latent is added, and edited orthogonally, by its own row m. Its additive scale, clamp and remove
 * change the rows d_i of the base's latents i in which it is active, and with them what those put into the
 * hook. u_i is its activation on the row (scaled to unit norm unless the meta-SAE wants rows as they are), n_i
 * the norm that was divided out:
 *
 *   h + σ·Σ_i a_i·n_i·(u′_i − u_i)·m,    u′ = X·u, X (where u > 0), 0
 *
 * so the rest of the row, and what the meta-SAE does not explain of it, stays; the row is not scaled back to
 * its norm.
 */
#ifndef SAESCOPE_ANALYSIS_STEER_H
#define SAESCOPE_ANALYSIS_STEER_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/model/model.h"
#include "saescope/store/store.h"

enum steer_kind { STEER_ADD, STEER_SCALE, STEER_CLAMP, STEER_REMOVE, STEER_ROW, STEER_KINDS };
extern const char *const steer_kind_names[STEER_KINDS]; /* "add", "scale", "clamp", "remove", "row" */

enum steer_method { STEER_ADDITIVE, STEER_ORTHOGONAL };

struct steer_edit {
    artifact_id sae;  /* SAE or meta-SAE */
    artifact_id base; /* of a joint meta-SAE: whose rows are changed; 0: it has but one base */
    size_t latent;
    enum steer_kind kind;
    double value;     /* X of add, scale, clamp */
    const float *row; /* d′ [d_in] of STEER_ROW, the caller's */
};

/* Where: positions [first, last] of the context; special tokens only with `specials`. */
struct steer_positions {
    size_t first, last;
    int specials;
};
#define STEER_EVERYWHERE ((struct steer_positions){0, SIZE_MAX, 0})

/* A model and the SAEs of its edits, open as long as the transaction. */
struct steering;
int steering_open(struct store_txn *t, artifact_id model, struct steering **out, struct error *err);
void steering_free(struct steering *s);
const struct model *steering_model(const struct steering *s);

/*
 * The edits of the steered passes from now on (copied). STATUS_REFUSED for SAEs of another model, of
 * different hooks, of a d_in that is not the hook's, for latents that are not there, for two changes of one
 * latent's activation, and for a meta-SAE's meta-SAE where its rows would have to be changed.
 */
int steering_set(struct steering *s, const struct steer_edit *edits, size_t n, enum steer_method method,
                 struct steer_positions where, struct error *err);
/* At how many positions of the last steered pass an edited latent was active (not counted for STEER_ADD). */
size_t steering_active(const struct steering *s);

/* STATUS_REFUSED when n tokens are more than the model takes, or none. */
int steering_check_length(const struct steering *s, size_t n, struct error *err);
/* log P(token after tokens[n]) over the vocabulary, to log_probs[vocabulary]. `steered` 0: the model as it
 * is. */
int steering_next(struct steering *s, const uint32_t *tokens, size_t n, int steered, double *log_probs,
                  struct error *err);
/* log P(answer | tokens): the sum over the answer's tokens, each after those before it. */
int steering_answer(struct steering *s, const uint32_t *tokens, size_t n, const uint32_t *answer,
                    size_t n_answer, int steered, double *log_prob, struct error *err);

struct generation {
    size_t tokens;      /* at most; fewer when EOS comes or the context is full */
    double temperature; /* 0: the likeliest token (ties: the lower id) */
    uint64_t seed;      /* of sampling from softmax(logits / temperature) */
};
/* Appends what follows tokens[n]; EOS is not appended. */
int steering_generate(struct steering *s, const uint32_t *tokens, size_t n, const struct generation *g,
                      int steered, struct monitor *m, struct token_list *out, struct error *err);

#endif
