/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Language models: import, and the forward pass up to a hook or to the end. One file per family (`struct
 * model_family`, listed in src/model/families.c).
 *
 * Weights are read straight from the store's map, in the precision and the layout of the files that they came from; 16-bit
 * ones are widened a tile at a time as they are multiplied. A pass takes the memory that forward_bytes says, whatever
 * the model's size, beside the map.
 */
#ifndef SAESCOPE_MODEL_MODEL_H
#define SAESCOPE_MODEL_MODEL_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/model/tokenizer.h"
#include "saescope/store/store.h"

#define MODEL_LAYERS_MAX     4096
#define MODEL_MORE_EOS_MAX   15

enum activation {
    ACTIVATION_GELU_TANH, /* ½x(1 + tanh(√(2/π)(x + 0.044715 x³))) */
    ACTIVATION_GELU_ERF,  /* ½x(1 + erf(x/√2)) */
    ACTIVATION_SILU,      /* x / (1 + e⁻ˣ) */
    ACTIVATIONS
};

/* Position p turns the pair (i, i + dims/2) of a head's first `dims` numbers by p · base^(−2i/dims), scaled. */
enum rotary_scaling { ROTARY_PLAIN, ROTARY_LINEAR, ROTARY_LLAMA3, ROTARY_SCALINGS };
struct rotary {
    size_t dims; /* 0: positions are not rotary */
    double base;
    enum rotary_scaling scaling;
    double factor, low_frequency_factor, high_frequency_factor; /* the last two: Llama 3's */
    size_t original_context;
};

enum model_feature {
    MODEL_UNTIED = 1,      /* an unembedding of its own */
    MODEL_PARALLEL = 2,    /* blocks add attention and MLP at once: no resid_mid */
    MODEL_QKV_BIAS = 4,    /* of attention's inputs, where the family does not always have them */
    MODEL_OUTPUT_BIAS = 8, /* of attention's output */
    MODEL_MLP_BIAS = 16,
    MODEL_QK_NORM = 32, /* norms of every head's query and key */
};

struct model_config {
    char family[32]; /* "gpt2" */
    size_t layers, d_model, heads, d_head, d_mlp, vocabulary_size, context_length;
    size_t kv_heads; /* of keys and values: `heads`, or fewer, each for several queries */
    double norm_epsilon;
    int layer_norm; /* LayerNorm (centred), not RMSNorm */
    unsigned features; /* enum model_feature */
    enum activation activation;
    double attention_scale;        /* of q·k */
    double attention_cap, logit_cap; /* soft caps, c·tanh(x/c); 0: none */
    double embed_scale;
    struct rotary rotary;
    size_t window; /* of local layers: keys from position − window + 1; 0: no layer is local */
    uint8_t local[MODEL_LAYERS_MAX / 8]; /* bit l: layer l is local */
    uint32_t bos, eos, pad; /* TOKEN_NONE when it has none */
    uint32_t more_eos[MODEL_MORE_EOS_MAX]; /* others that end a text or a turn: of generation_config.json, for instance */
    size_t n_more_eos;
    int prepend_bos;   /* contexts start with BOS unless asked otherwise, as in TransformerLens */
};
/* As the model's manifest says (`where` names it); STATUS_REFUSED when it cannot be. */
int model_config_read(const json *manifest, const char *where, struct model_config *out, struct error *err);
int model_layer_is_local(const struct model_config *config, size_t layer);
int model_is_eos(const struct model_config *config, uint32_t id); /* any of them */
/* Whether it is neither BOS, EOS nor padding: these run through the model, and no statistic counts them. */
int model_counts(const struct model_config *config, uint32_t id);
/* Multiply-adds a token of a pass over so many layers, contexts of this length. */
double model_multiply_adds(const struct model_config *config, size_t layers, size_t length);

/* A place in the model, in TransformerLens' notation, in the order of the pass. */
enum hook_point {
    HOOK_EMBED,     /* the tokens' embeddings, by √d_model where the model takes them so (Gemma) */
    HOOK_POS_EMBED, /* the positions', of models that learned them; HOOK_EMBED and it are added after both */
    MODEL_HOOK_POINTS, /* those before it are the model's ("hook_embed"), the others a layer's */
    HOOK_RESID_PRE = MODEL_HOOK_POINTS,
    HOOK_NORM1, /* ln1.hook_normalized: before scale and shift */
    HOOK_Z,     /* attn.hook_z, heads side by side */
    HOOK_ATTN_OUT,
    HOOK_RESID_MID,
    HOOK_NORM2,
    HOOK_MLP_POST,
    HOOK_MLP_OUT,
    HOOK_RESID_POST,
    HOOK_POINTS
};
struct hook {
    enum hook_point point;
    size_t layer;  /* 0 of the model's points */
    char name[64]; /* "blocks.2.hook_resid_pre" */
};
/*
 * Also sparsify's names (`layers.5.mlp`, `h.5`) and dictionary_learning's (`resid_post_layer_5`); out->name is
 * TransformerLens' in any case. STATUS_REFUSED naming the nearest hook that the model has.
 */
int hook_parse(const struct model_config *config, const char *name, struct hook *out, struct error *err);
/* The same of a model that is not known: 0 when it is no name of a hook. A module's output is taken for what is added to the
 * residual stream, which it is not in models with a norm after it. */
int hook_translate(const char *name, struct hook *out);
/* All hook names of a model, NULL-terminated, malloc'd (free with store_names_free). */
char **hook_names(const struct model_config *config);
size_t hook_width(const struct model_config *config, const struct hook *hook);
/* Whether TransformerLens' centring of writing weights takes the mean over d_model from these activations: in LayerNorm
 * models, of the residual stream and what is added to it. */
int hook_is_centred(const struct model_config *config, const struct hook *hook);

/* Whether what is there is all that the rest of a pass depends on: the residual stream before or after a
 * layer. */
int hook_is_whole(const struct hook *hook);

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
/*
 * Passes from now on ask the monitor (NULL: nobody) between the parts of each product, a few tens of milliseconds apart at most:
 * once it was cancelled, forward_run is STATUS_FAILED with "cancelled". It is not asked while a hook_function runs.
 */
void forward_watch(struct forward *f, struct monitor *m);
size_t forward_bytes(const struct model *m, size_t n_contexts, size_t length); /* memory that it takes */

/*
 * Runs tokens [n_contexts, length] through the model (attached). `at` is called at `hook` (both may be NULL). With
 * final == NULL it stops after the hook; else final[n_contexts·length, d_model] gets the last residual stream after
 * the final norm, as model_unembed wants it.
 */
int forward_run(struct forward *f, const struct model *m, const uint32_t *tokens, size_t n_contexts, size_t length,
                const struct hook *hook, hook_function at, void *arg, float *final, struct error *err);

/*
 * The rest of such a pass, from a hook on that hook_is_whole: x[n_contexts·length, d_model] is what is there.
 * final gets what forward_run gives when `at` puts x in that place, bit for bit.
 */
int forward_resume(struct forward *f, const struct model *m, size_t n_contexts, size_t length,
                   const struct hook *hook, const float *x, float *final, struct error *err);

/* logits[n, vocabulary_size] = final[n, d_model] @ W_U, soft-capped where the model does (tile it: a vocabulary may have 256,000 entries). */
int model_unembed(const struct model *m, const float *final, size_t n, float *logits, struct error *err);

/*
 * Directions [n, hook_width] of a hook as the residual stream gets them, out[n, d_model]: those of hook_z and mlp.hook_post
 * go through W_O and W_out (no biases, no norms after them), others are copied.
 */
int model_directions_out(const struct model *m, const struct hook *hook, const float *directions, size_t n, float *out,
                         struct error *err);

/*
 * Logits of directions [n, d_model]: direction @ W_U with W_U as stored, no soft cap; with fold_ln, diag(scale of the
 * final norm)·W_U centred over d_model (LayerNorm) and the vocabulary.
 */
int model_direction_logits(const struct model *m, const float *directions, size_t n, int fold_ln, float *logits,
                           struct error *err);

/* Imports a Hugging Face folder (config.json, model.safetensors or its shards, tokenizer files) as `name`. Matrices keep
 * their precision, vectors are widened. */
struct model_import {
    const char *directory;
    const char *name;
    int replace;
    const char *source; /* where it came from, for its manifest; NULL: the directory */
};
int model_import_folder(struct store *s, const struct model_import *options, struct monitor *m, artifact_id *id,
                        struct error *err);

#endif
