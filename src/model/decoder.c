/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The decoder that all families are: embedding, blocks of attention and MLP around the residual stream, a
 * final norm. What a block does follows from the configuration and from which weights there are.
 */
#include "config.h"

#include <string.h>

#include "saescope/model/parts.h"

/* Where a pass keeps what; [n_tokens, ...] each. */
struct buffers {
    float *residual, *normed, *out; /* d_model */
    float *qkv, *z;                 /* queries, keys, values; heads · d_head */
    float *hidden, *linear;         /* d_mlp, in the same place as qkv and z; the second when gated */
};

struct block {
    struct pass *pass;
    size_t layer;
    const struct buffers *at;
    struct heads heads;
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t q_width(const struct model_config *c)
{
    return c->heads * c->d_head;
}

static size_t qkv_width(const struct model_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->d_head;
}

size_t decoder_scratch_per_token(const struct model_family *family, const struct model_config *c)
{
    size_t hidden = family_has(family, ROLE_W_GATE) ? 2 * c->d_mlp : c->d_mlp;
    return 3 * c->d_model + larger(qkv_width(c) + q_width(c), hidden);
}

size_t decoder_scratch_per_worker(const struct model_config *c, size_t length)
{
    size_t scores = (length < ATTENTION_TILE ? length : ATTENTION_TILE) * length;
    return larger(scores, linear_scratch(larger(c->d_model, larger(c->d_mlp, q_width(c)))));
}

static const struct weight *weight_of(const struct block *b, enum weight_role role)
{
    return model_weight(b->pass->model, role, b->layer);
}

static void multiply(const struct block *b, enum weight_role role, enum weight_role bias, const float *x,
                     float *y, size_t ldy)
{
    linear(&b->pass->workspace, weight_of(b, role), weight_of(b, bias), x, b->pass->n_tokens, y, ldy);
}

/* normed = norm(residual), with its hook between norm and scale. */
static int norm_part(const struct block *b, enum weight_role scale, enum weight_role shift,
                     enum hook_point point, struct error *err)
{
    struct pass *pass = b->pass;
    size_t width = pass->model->config.d_model;
    struct norm norm = norm_of(pass->model, weight_of(b, scale), weight_of(b, shift)), bare = norm;
    if (!pass_wants(pass, point, b->layer)) {
        norm_rows(&norm, b->at->residual, pass->n_tokens, width, b->at->normed);
        return STATUS_OK;
    }
    bare.scale = bare.shift = NULL;
    norm_rows(&bare, b->at->residual, pass->n_tokens, width, b->at->normed);
    int code = pass_hook(pass, point, b->layer, b->at->normed, err);
    if (!code && !pass->stopped)
        norm_affine(&norm, b->at->normed, pass->n_tokens, width);
    return code;
}

static void post_norm(const struct block *b, enum weight_role scale)
{
    if (!weight_of(b, scale))
        return;
    struct norm norm = norm_of(b->pass->model, weight_of(b, scale), NULL);
    norm_rows(&norm, b->at->out, b->pass->n_tokens, b->pass->model->config.d_model, b->at->out);
}

/* out = attention(normed) */
static int attention_part(const struct block *b, struct error *err)
{
    struct pass *pass = b->pass;
    const struct model_config *c = &pass->model->config;
    const struct buffers *at = b->at;
    size_t ld = b->heads.row;
    if (weight_of(b, ROLE_W_QKV)) {
        multiply(b, ROLE_W_QKV, ROLE_B_QKV, at->normed, at->qkv, ld);
    } else {
        multiply(b, ROLE_W_Q, ROLE_B_Q, at->normed, at->qkv + b->heads.q, ld);
        multiply(b, ROLE_W_K, ROLE_B_K, at->normed, at->qkv + b->heads.k, ld);
        multiply(b, ROLE_W_V, ROLE_B_V, at->normed, at->qkv + b->heads.v, ld);
    }
    rotate_heads(pass, &b->heads, weight_of(b, ROLE_Q_NORM), weight_of(b, ROLE_K_NORM), at->qkv);
    attend(pass, &b->heads, model_layer_is_local(c, b->layer), at->qkv, at->z);
    int code = pass_hook(pass, HOOK_Z, b->layer, at->z, err);
    if (code || pass->stopped)
        return code;
    multiply(b, ROLE_W_O, ROLE_B_O, at->z, at->out, c->d_model);
    post_norm(b, ROLE_POST_NORM1);
    return pass_hook(pass, HOOK_ATTN_OUT, b->layer, at->out, err);
}

/* out = MLP(normed) */
static int mlp_part(const struct block *b, struct error *err)
{
    struct pass *pass = b->pass;
    const struct model_config *c = &pass->model->config;
    const struct buffers *at = b->at;
    if (weight_of(b, ROLE_W_GATE)) {
        multiply(b, ROLE_W_GATE, ROLE_B_GATE, at->normed, at->hidden, c->d_mlp);
        multiply(b, ROLE_W_IN, ROLE_B_IN, at->normed, at->linear, c->d_mlp);
        activate_rows(c->activation, at->hidden, NULL, at->linear, pass->n_tokens, c->d_mlp);
    } else {
        /* The bias is added as the activation reads, once less through memory. */
        const struct weight *bias = weight_of(b, ROLE_B_IN);
        linear(&pass->workspace, weight_of(b, ROLE_W_IN), NULL, at->normed, pass->n_tokens, at->hidden,
               c->d_mlp);
        activate_rows(c->activation, at->hidden, bias ? weight_vector(bias) : NULL, NULL, pass->n_tokens,
                      c->d_mlp);
    }
    int code = pass_hook(pass, HOOK_MLP_POST, b->layer, at->hidden, err);
    if (code || pass->stopped)
        return code;
    multiply(b, ROLE_W_OUT, ROLE_B_OUT, at->hidden, at->out, c->d_model);
    post_norm(b, ROLE_POST_NORM2);
    return pass_hook(pass, HOOK_MLP_OUT, b->layer, at->out, err);
}

static void add_out(const struct block *b)
{
    add_rows(b->at->residual, b->at->out, b->pass->n_tokens, b->pass->model->config.d_model);
}

/* The second norm reads the stream before attention is added to it (parallel), or after. */
static int between(const struct block *b, struct error *err)
{
    struct pass *pass = b->pass;
    int parallel = (pass->model->config.features & MODEL_PARALLEL) != 0, code = STATUS_OK;
    if (!parallel) {
        add_out(b);
        code = pass_hook(pass, HOOK_RESID_MID, b->layer, b->at->residual, err);
    }
    if (!code && !pass->stopped)
        code = norm_part(b, ROLE_NORM2_SCALE, ROLE_NORM2_SHIFT, HOOK_NORM2, err);
    if (!code && !pass->stopped && parallel)
        add_out(b);
    return code;
}

static int run_block(const struct block *b, struct error *err)
{
    struct pass *pass = b->pass;
    int code = pass_hook(pass, HOOK_RESID_PRE, b->layer, b->at->residual, err);
    if (!code && !pass->stopped)
        code = norm_part(b, ROLE_NORM1_SCALE, ROLE_NORM1_SHIFT, HOOK_NORM1, err);
    if (!code && !pass->stopped)
        code = attention_part(b, err);
    if (!code && !pass->stopped)
        code = between(b, err);
    if (!code && !pass->stopped)
        code = mlp_part(b, err);
    if (code || pass->stopped)
        return code;
    add_out(b);
    return pass_hook(pass, HOOK_RESID_POST, b->layer, b->at->residual, err);
}

/* residual = tokens' embeddings (+ positions') */
static int embed(struct pass *pass, const struct buffers *at, struct error *err)
{
    embed_tokens(pass, at->residual);
    int code = pass_hook(pass, HOOK_EMBED, 0, at->residual, err);
    if (code || pass->stopped || !model_weight(pass->model, ROLE_POSITIONS, 0))
        return code;
    embed_positions(pass, at->out);
    code = pass_hook(pass, HOOK_POS_EMBED, 0, at->out, err);
    if (!code && !pass->stopped)
        add_rows(at->residual, at->out, pass->n_tokens, pass->model->config.d_model);
    return code;
}

int decoder_run(struct pass *pass, struct error *err)
{
    const struct model *m = pass->model;
    const struct model_config *c = &m->config;
    size_t n = pass->n_tokens;
    float *wide = pass->scratch + 3 * n * c->d_model;
    struct buffers at = {.residual = pass->scratch,
                         .normed = pass->scratch + n * c->d_model,
                         .out = pass->scratch + 2 * n * c->d_model,
                         .qkv = wide,
                         .z = wide + n * qkv_width(c),
                         .hidden = wide,
                         .linear = wide + n * c->d_mlp};
    struct block b = {.pass = pass, .at = &at, .heads = heads_layout(m)};
    int code = STATUS_OK;
    if (pass->from)
        memcpy(at.residual, pass->from, n * c->d_model * sizeof(float));
    else
        code = embed(pass, &at, err);
    if (code || pass->stopped)
        return code;
    for (b.layer = pass->first_layer; b.layer < c->layers; b.layer++) {
        code = run_block(&b, err);
        if (code || pass->stopped)
            return code;
    }
    struct norm norm = norm_of(m, model_weight(m, ROLE_FINAL_SCALE, 0), model_weight(m, ROLE_FINAL_SHIFT, 0));
    norm_rows(&norm, at.residual, n, c->d_model, pass->final);
    return STATUS_OK;
}
