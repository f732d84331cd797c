/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a model family brings (one file each, listed in src/model/families.c), and the parts that families are
 * made of. Internal to the model room.
 */
#ifndef SAESCOPE_MODEL_FAMILY_H
#define SAESCOPE_MODEL_FAMILY_H

#include "saescope/base/json.h"
#include "saescope/model/model.h"

/* One weight: how the store and the file call it, and its shape. */
struct weight_spec {
    char store_name[48];
    char file_name[64];   /* without the file's optional prefix */
    size_t rows, columns; /* columns 0: a vector of `rows` */
};

/* A weight in the store's map: rows cut into blocks of rows_per_block (the last may have fewer). */
struct weight {
    size_t rows, columns; /* columns 0: a vector, always one block */
    size_t rows_per_block, n_blocks;
    const float **blocks;
};

struct pass; /* a forward pass under way */

struct model_family {
    const char *name;        /* the manifest's "family" and config.json's "model_type" */
    const char *file_prefix; /* that tensor names in files may carry */
    int (*read_config)(const json *config, const char *where, struct model_config *out, struct error *err);
    size_t (*n_weights)(const struct model_config *config);
    void (*weight)(const struct model_config *config, size_t i, struct weight_spec *out);
    /* A tensor that must not be there: it would mean more layers than config.json says. */
    void (*one_layer_more)(const struct model_config *config, char *name, size_t size);
    size_t embed,
        final_norm;   /* numbers of the embedding [vocabulary, d_model] and of the final norm's scale */
    const char *head; /* file name of an untied unembedding [vocabulary, d_model] */
    /* Floats of scratch a token, beside what a worker needs. */
    size_t (*scratch_per_token)(const struct model_config *config);
    size_t (*scratch_per_worker)(const struct model_config *config, size_t length);
    int (*run)(struct pass *pass, struct error *err);
};

extern const struct model_family *const model_families[]; /* NULL-terminated */
const struct model_family *model_family_find(const char *name);

struct model {
    artifact_id id;
    char *name;
    struct model_config config;
    const struct model_family *family;
    struct tokenizer *tokenizer;
    struct weight *weights; /* as family->weight numbers them; one more when untied: the unembedding */
    size_t n_weights;
    int tied;
    int attached;
};

/* Name in the store of an unembedding that is not the embedding: [vocabulary, d_model]. */
#define STORE_NAME_UNEMBED "unembed.W_U"

struct pass {
    const struct model *model;
    const uint32_t *tokens; /* [n_contexts, length] */
    size_t n_contexts, length, n_tokens;
    float *scratch;        /* n_tokens · scratch_per_token */
    float *worker_scratch; /* worker_stride floats a worker */
    size_t worker_stride;
    const struct hook *hook; /* or NULL */
    hook_function at;        /* or NULL */
    void *arg;
    int stop_at_hook;
    int stopped;
    float *final; /* [n_tokens, d_model], or NULL */
};

/* To be called with the activations at every hook; when pass->stopped is set afterwards, the family returns.
 */
int pass_hook(struct pass *pass, enum hook_point point, size_t layer, float *x, struct error *err);

/* ---- Parts, in src/model/transformer.c. All run over the pool. ---- */

const float *weight_vector(const struct weight *w);
const float *weight_row(const struct weight *w, size_t row);

/* y[n, columns] = x[n, rows] @ w (+ bias): w is [in, out]. */
void linear(const struct weight *w, const struct weight *bias, const float *x, size_t n, float *y);
/* y[n, rows] = x[n, columns] @ wᵀ: w is [out, in]; y's rows are `ldy` apart. */
void linear_transposed(const struct weight *w, const float *x, size_t n, float *y, size_t ldy);
/* x[i] = token row + position row. */
void embed_tokens(const struct pass *pass, const struct weight *tokens, const struct weight *positions,
                  float *x);
void layer_norm(const float *x, size_t n, size_t width, const float *scale, const float *shift,
                double epsilon, float *y);
void add_rows(float *x, const float *y, size_t n, size_t width);     /* x += y */
void gelu_rows(float *x, const float *bias, size_t n, size_t width); /* x = gelu(x + bias), tanh form */
/* One row of it: x / (1 + exp(−2u)), u = √(2/π)·(x + 0.044715 x³), which is ½x(1 + tanh u). */
void gelu(float *x, const float *bias, size_t n);

/* Queries cut into tiles of this many, with the keys up to the tile's end. */
#define ATTENTION_TILE 128
/* Causal attention. qkv[n_tokens, 3·d_model]: queries, keys, values, heads side by side; z[n_tokens,
 * d_model]. */
void causal_attention(const struct pass *pass, const float *qkv, float *z);

#endif
