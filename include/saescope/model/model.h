/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Language models: import, and the forward pass up to a hook or to the end. One file per family (`struct
 * model_family`, listed in src/model/families.c); GPT-2 first.
 *
 * Weights are read straight from the store's map, float32, in the layout that the family's file documents.
 */
#ifndef SAESCOPE_MODEL_MODEL_H
#define SAESCOPE_MODEL_MODEL_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/model/tokenizer.h"
#include "saescope/store/store.h"

struct model_config {
    char family[32]; /* "gpt2" */
    size_t layers, d_model, heads, d_head, d_mlp, vocabulary_size, context_length;
    double norm_epsilon;
    int layer_norm; /* LayerNorm (centred), not RMSNorm */
    uint32_t bos, eos; /* TOKEN_NONE when it has none */
};

/* A place in the model, in TransformerLens' notation. */
enum hook_point { HOOK_RESID_PRE, HOOK_RESID_MID, HOOK_RESID_POST, HOOK_ATTN_OUT, HOOK_MLP_OUT, HOOK_POINTS };
struct hook {
    enum hook_point point;
    size_t layer;
    char name[64]; /* "blocks.2.hook_resid_pre" */
};
/* STATUS_REFUSED naming the nearest hook that the model has. */
int hook_parse(const struct model_config *config, const char *name, struct hook *out, struct error *err);
/* All hook names of a model, NULL-terminated, malloc'd (free with store_names_free). */
char **hook_names(const struct model_config *config);
size_t hook_width(const struct model_config *config, const struct hook *hook);

struct model;
/* Configuration and tokenizer; no weights are touched. */
int model_open(struct store_txn *t, artifact_id id, struct model **out, struct error *err);
void model_free(struct model *m);
artifact_id model_id(const struct model *m);
const char *model_name(const struct model *m);
const struct model_config *model_get_config(const struct model *m);
const struct tokenizer *model_tokenizer(const struct model *m);

/* Looks the weights' pointers up in this transaction; call it again in each new one before computing. */
int model_attach(struct model *m, struct store_txn *t, struct error *err);

/*
 * What happens at a hook: activations [n_tokens, width] of n_contexts × length tokens in order; they may be changed in
 * place (splicing, ablation, steering), and the pass goes on with what is there. Return a status to end the pass.
 */
typedef int (*hook_function)(void *arg, float *activations, size_t n_tokens, size_t width, struct error *err);

/* Scratch for passes of up to n_contexts × length tokens; length ≤ context_length. */
struct forward;
int forward_new(const struct model *m, size_t n_contexts, size_t length, struct forward **out, struct error *err);
void forward_free(struct forward *f);
size_t forward_bytes(const struct model *m, size_t n_contexts, size_t length); /* memory that it takes */

/*
 * Runs tokens [n_contexts, length] through the model (attached). `at` is called at `hook` (both may be NULL). With
 * final == NULL it stops after the hook; else final[n_contexts·length, d_model] gets the last residual stream after
 * the final norm, as model_unembed wants it.
 */
int forward_run(struct forward *f, const struct model *m, const uint32_t *tokens, size_t n_contexts, size_t length,
                const struct hook *hook, hook_function at, void *arg, float *final, struct error *err);

/* logits[n, vocabulary_size] = final[n, d_model] @ W_U (tile it: a vocabulary may have 256,000 entries). */
int model_unembed(const struct model *m, const float *final, size_t n, float *logits, struct error *err);

/*
 * Logits of directions [n, d_in] of a hook: direction @ W_U with W_U as stored; with fold_ln, diag(ln_f.weight)·W_U
 * centred over d_model and the vocabulary.
 */
int model_direction_logits(const struct model *m, const float *directions, size_t n, int fold_ln, float *logits,
                           struct error *err);

/* Imports a Hugging Face folder (config.json, model.safetensors, tokenizer files) as `name`. */
struct model_import {
    const char *directory;
    const char *name;
    int replace;
    const char *source; /* where it came from, for its manifest; NULL: the directory */
};
int model_import_folder(struct store *s, const struct model_import *options, struct monitor *m, artifact_id *id,
                        struct error *err);

#endif
