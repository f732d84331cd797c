/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a model family brings (one file each, listed in src/model/families.c): the names of its weights and how its
 * config.json is read. One decoder (src/model/decoder.c) runs them all by what the configuration and the weights say.
 * Internal to the model room.
 */
#ifndef SAESCOPE_MODEL_FAMILY_H
#define SAESCOPE_MODEL_FAMILY_H

#include "saescope/base/json.h"
#include "saescope/base/tensor.h"
#include "saescope/model/model.h"

/* What a weight is for. Those before GLOBAL_ROLES are the model's, the others a layer's. */
enum weight_role {
    ROLE_EMBED,       /* [vocabulary, d_model] */
    ROLE_POSITIONS,   /* [context, d_model] */
    ROLE_FINAL_SCALE, /* of the final norm */
    ROLE_FINAL_SHIFT,
    ROLE_UNEMBED, /* [vocabulary, d_model], when it is not the embedding */
    GLOBAL_ROLES,
    ROLE_NORM1_SCALE = GLOBAL_ROLES, /* before attention */
    ROLE_NORM1_SHIFT,
    ROLE_W_QKV, /* queries, keys and values at once; else W_Q, W_K and W_V */
    ROLE_B_QKV,
    ROLE_W_Q,
    ROLE_W_K,
    ROLE_W_V,
    ROLE_B_Q,
    ROLE_B_K,
    ROLE_B_V,
    ROLE_Q_NORM, /* [d_head], of every head's query */
    ROLE_K_NORM,
    ROLE_W_O,
    ROLE_B_O,
    ROLE_POST_NORM1, /* of attention's output */
    ROLE_NORM2_SCALE, /* before the MLP */
    ROLE_NORM2_SHIFT,
    ROLE_W_GATE, /* of a gated MLP: act(x W_gate) ∘ (x W_in) */
    ROLE_B_GATE,
    ROLE_W_IN,
    ROLE_B_IN,
    ROLE_W_OUT,
    ROLE_B_OUT,
    ROLE_POST_NORM2, /* of the MLP's output */
    ROLES
};

/* A side of a weight, by the configuration. */
enum weight_side { NO_SIDE, D_MODEL, D_HEAD, Q_WIDTH, KV_WIDTH, QKV_WIDTH, D_MLP, VOCABULARY, CONTEXT };

struct weight_entry {
    enum weight_role role;
    const char *store, *file; /* names within the model or the layer */
    enum weight_side rows, columns;
    unsigned needs; /* enum model_feature bits without which it is not there */
};

/* One weight of a configuration: how the store and the file call it, and its shape. */
struct weight_spec {
    enum weight_role role;
    size_t layer;        /* 0 for the model's */
    char store_name[48];
    char file_name[96];   /* without the file's optional prefix */
    size_t rows, columns; /* columns 0: a vector of `rows` */
};

struct model_family {
    const char *name;         /* the manifest's "family" and config.json's "model_type" */
    const char *file_prefix;  /* that tensor names in files may carry: "model." */
    const char *layer_prefix; /* of a layer's names in files: "layers." */
    const struct weight_entry *entries;
    size_t n_entries;
    const char *head, *head_too; /* file names of an untied unembedding, without prefix; the second may be NULL */
    int in_out;                  /* matrices are [in, out] (y = x W), as in Hugging Face's Conv1D; else [out, in] */
    int qkv_by_head;             /* W_QKV's outputs: each head's query, key, value; else all queries, keys, values */
    int norm_adds_one;           /* norms multiply by 1 + scale */
    int tied;                    /* tie_word_embeddings when config.json does not say */
    /* Fills in what config.json says; `out` comes from model_config_start. */
    int (*read_config)(const json *config, const char *where, struct model_config *out, struct error *err);
};

extern const struct model_family *const model_families[]; /* NULL-terminated */
const struct model_family *model_family_find(const char *name);

/* Calls visit for every weight of this configuration but the unembedding, the model's before the layers'; stops
 * at its first status that is not 0. */
typedef int weight_visitor(const struct weight_spec *spec, void *arg, struct error *err);
int family_each_weight(const struct model_family *family, const struct model_config *config, weight_visitor *visit,
                       void *arg, struct error *err);
int family_has(const struct model_family *family, enum weight_role role);
struct weight_spec family_unembed(const struct model_config *config);
/* A name in files that would mean one layer more than the configuration has. */
void family_layer_beyond(const struct model_family *family, const struct model_config *config, char *name,
                         size_t size);

/* ---- Reading config.json (src/model/config.c). STATUS_REFUSED with `where` and the key. ---- */

/* Keys of the sizes; NULL: not in this family's file. */
struct config_keys {
    const char *layers, *d_model, *heads, *kv_heads, *d_head, *d_mlp, *context, *epsilon;
};
int config_sizes(const json *config, const char *where, const struct config_keys *keys, struct model_config *out,
                 struct error *err);
int config_tokens(const json *config, const char *where, struct model_config *out, struct error *err);
/* An activation's name in transformers; `fallback` when the key is missing. */
int config_activation(const json *config, const char *key, const char *fallback, const char *where,
                      enum activation *out, struct error *err);
/* A number above zero, or 0 when the key is missing or null. */
int config_positive(const json *config, const char *key, const char *where, double *out, struct error *err);
/* Rotary positions: "rope_parameters", or `base_key` and "rope_scaling"; out->rotary.dims is the family's. */
int config_rotary(const json *config, const char *where, const char *base_key, struct model_config *out,
                  struct error *err);
/* A share of d_head, from rope_parameters or the top of config.json. */
int config_rotary_share(const json *config, const char *key, double fallback, const char *where,
                        struct model_config *out, struct error *err);
/* The window's size, which may be null, and its layers: "layer_types", else `first` and every `step`th after it. */
int config_window(const json *config, const char *key, const char *where, size_t first, size_t step,
                  struct model_config *out, struct error *err);
/* Refuses a configuration with any of these members true (NULL-terminated list). */
int config_refuse_set(const json *config, const char *const *keys, const char *where, struct error *err);

/* One more EOS; those that are known are left as they are. STATUS_REFUSED when they are too many. */
int config_add_eos(struct model_config *config, uint32_t id, const char *where, struct error *err);

/* What Llama's relatives share: sizes, epsilon, tokens, rotary positions, gated MLP. */
int config_llama(const json *config, const char *where, struct model_config *out, struct error *err);
/* The same for Qwen 2 and 3: a sliding window only where it is used. */
int config_qwen(const json *config, const char *where, struct model_config *out, struct error *err);
#define LLAMA_ENTRIES 20
extern const struct weight_entry llama_entries[LLAMA_ENTRIES];

/* BOS, EOS and padding as generation_config.json and the tokenizer's files say them beside config.json
 * (src/model/import_tokens.c). */
int import_special_tokens(const char *directory, const struct tokenizer *tokenizer, struct model_config *config,
                          struct error *err);

/* What all configurations must hold, whoever wrote them. */
int model_config_check(const struct model_config *config, const char *where, struct error *err);
void model_config_start(struct model_config *config); /* what holds unless a file says otherwise */
void model_config_save(const struct model_config *config, json *manifest);

/* ---- Models. ---- */

/* A weight in the store's map: rows cut into blocks of rows_per_block (the last may have fewer). */
struct weight {
    size_t rows, columns; /* columns 0: a vector, float32, always one block */
    size_t rows_per_block, n_blocks;
    const void **blocks; /* NULL: the model has no such weight */
    enum dtype dtype;    /* F32, F16 or BF16 */
    int in_out;          /* rows are inputs */
};

struct model {
    artifact_id id;
    char *name;
    struct model_config config;
    const struct model_family *family;
    struct tokenizer *tokenizer;
    struct weight globals[GLOBAL_ROLES];
    struct weight *layers; /* [layers, ROLES - GLOBAL_ROLES] */
    int attached;
};

/* NULL when the model has none; `layer` is not looked at for the model's own. */
const struct weight *model_weight(const struct model *m, enum weight_role role, size_t layer);
/* [vocabulary, d_model], the embedding when tied. */
const struct weight *model_unembedding(const struct model *m);

/* Scratch of each worker: `stride` floats apart. */
struct workspace {
    float *floats;
    size_t stride;
};

/* A forward pass under way. */
struct pass {
    const struct model *model;
    const uint32_t *tokens; /* [n_contexts, length], or NULL: the pass begins with `from` */
    const float *from;      /* [n_tokens, d_model]: the residual stream before first_layer */
    size_t first_layer;
    size_t n_contexts, length, n_tokens;
    float *scratch; /* n_tokens · decoder_scratch_per_token */
    struct workspace workspace;
    const float *rotary;     /* [length, 2, rotary.dims / 2]: cosines and sines, or NULL */
    const struct hook *hook; /* or NULL */
    hook_function at;        /* or NULL */
    void *arg;
    struct monitor *monitor; /* or NULL */
    int stop_at_hook;
    int stopped;
    float *final; /* [n_tokens, d_model], or NULL */
};

/* To be called with the activations at every hook; when pass->stopped is set afterwards, the pass ends. STATUS_FAILED when it
 * was cancelled before. */
int pass_hook(struct pass *pass, enum hook_point point, size_t layer, float *x, struct error *err);
/* Whether somebody looks at it. */
int pass_wants(const struct pass *pass, enum hook_point point, size_t layer);

/* ---- The decoder. ---- */
int decoder_run(struct pass *pass, struct error *err);
size_t decoder_scratch_per_token(const struct model_family *family, const struct model_config *config); /* floats */
size_t decoder_scratch_per_worker(const struct model_config *config, size_t length);

#endif
