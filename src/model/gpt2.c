/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPT-2: learned positions, LayerNorm before each part, full attention with biases, GELU in its tanh form, a
 * tied unembedding. In the store, all float32:
 *
 *   embed.W_E         [vocabulary, d_model]      wte.weight
 *   pos_embed.W_pos   [context, d_model]         wpe.weight
 *   ln_final.w, .b    [d_model]                  ln_f.weight, ln_f.bias
 *   unembed.W_U       [vocabulary, d_model]      lm_head.weight, only when it is not wte.weight
 *   blocks.L.
 *     ln1.w, ln1.b, ln2.w, ln2.b  [d_model]      h.L.ln_1, h.L.ln_2
 *     attn.W_QKV, attn.b_QKV      [d_model, 3·d_model], [3·d_model]: queries, keys, values; heads side by
 * side attn.W_O, attn.b_O          [d_model, d_model], [d_model] mlp.W_in, mlp.b_in          [d_model,
 * d_mlp], [d_mlp] mlp.W_out, mlp.b_out        [d_mlp, d_model], [d_model]
 *
 * Weights are [in, out], as in Hugging Face's Conv1D: y = x @ W + b.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/model/gpt2.h"

enum { W_E, W_POS, FINAL_W, FINAL_B, FIRST_LAYER };
enum { LN1_W, LN1_B, W_QKV, B_QKV, W_O, B_O, LN2_W, LN2_B, W_IN, B_IN, W_OUT, B_OUT, PER_LAYER };

enum size { NONE, D_MODEL, THREE_D_MODEL, D_MLP, VOCABULARY, CONTEXT };

struct entry {
    const char *store, *file;
    enum size rows, columns;
};

static const struct entry globals[FIRST_LAYER] = {
    [W_E] = {"embed.W_E", "wte.weight", VOCABULARY, D_MODEL},
    [W_POS] = {"pos_embed.W_pos", "wpe.weight", CONTEXT, D_MODEL},
    [FINAL_W] = {"ln_final.w", "ln_f.weight", D_MODEL, NONE},
    [FINAL_B] = {"ln_final.b", "ln_f.bias", D_MODEL, NONE},
};

static const struct entry in_layer[PER_LAYER] = {
    [LN1_W] = {"ln1.w", "ln_1.weight", D_MODEL, NONE},
    [LN1_B] = {"ln1.b", "ln_1.bias", D_MODEL, NONE},
    [W_QKV] = {"attn.W_QKV", "attn.c_attn.weight", D_MODEL, THREE_D_MODEL},
    [B_QKV] = {"attn.b_QKV", "attn.c_attn.bias", THREE_D_MODEL, NONE},
    [W_O] = {"attn.W_O", "attn.c_proj.weight", D_MODEL, D_MODEL},
    [B_O] = {"attn.b_O", "attn.c_proj.bias", D_MODEL, NONE},
    [LN2_W] = {"ln2.w", "ln_2.weight", D_MODEL, NONE},
    [LN2_B] = {"ln2.b", "ln_2.bias", D_MODEL, NONE},
    [W_IN] = {"mlp.W_in", "mlp.c_fc.weight", D_MODEL, D_MLP},
    [B_IN] = {"mlp.b_in", "mlp.c_fc.bias", D_MLP, NONE},
    [W_OUT] = {"mlp.W_out", "mlp.c_proj.weight", D_MLP, D_MODEL},
    [B_OUT] = {"mlp.b_out", "mlp.c_proj.bias", D_MODEL, NONE},
};

static size_t resolve(const struct model_config *c, enum size size)
{
    switch (size) {
    case D_MODEL:
        return c->d_model;
    case THREE_D_MODEL:
        return 3 * c->d_model;
    case D_MLP:
        return c->d_mlp;
    case VOCABULARY:
        return c->vocabulary_size;
    case CONTEXT:
        return c->context_length;
    case NONE:
        break;
    }
    return 0;
}

static size_t gpt2_n_weights(const struct model_config *config)
{
    return FIRST_LAYER + config->layers * PER_LAYER;
}

static void gpt2_weight(const struct model_config *config, size_t i, struct weight_spec *out)
{
    const struct entry *e = i < FIRST_LAYER ? &globals[i] : &in_layer[(i - FIRST_LAYER) % PER_LAYER];
    if (i < FIRST_LAYER) {
        snprintf(out->store_name, sizeof out->store_name, "%s", e->store);
        snprintf(out->file_name, sizeof out->file_name, "%s", e->file);
    } else {
        size_t layer = (i - FIRST_LAYER) / PER_LAYER;
        snprintf(out->store_name, sizeof out->store_name, "blocks.%zu.%s", layer, e->store);
        snprintf(out->file_name, sizeof out->file_name, "h.%zu.%s", layer, e->file);
    }
    out->rows = resolve(config, e->rows);
    out->columns = resolve(config, e->columns);
}

static void gpt2_one_layer_more(const struct model_config *config, char *name, size_t size)
{
    snprintf(name, size, "h.%zu.%s", config->layers, in_layer[LN1_W].file);
}

/* ---- config.json. ---- */

static int check_options(const json *config, const char *where, struct error *err)
{
    const char *activation = json_get_string(config, "activation_function", "gelu_new");
    if (strcmp(activation, "gelu_new") != 0 && strcmp(activation, "gelu_pytorch_tanh") != 0) {
        char *shown = displayable_string(activation);
        int code =
            error_set(err, STATUS_REFUSED, "%s: activation_function \"%s\" is not gelu_new", where, shown);
        free(shown);
        return code;
    }
    static const char *const unsupported[] = {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn",
                                              "add_cross_attention"};
    for (size_t i = 0; i < ARRAY_LENGTH(unsupported); i++) {
        if (json_get_boolean(config, unsupported[i], 0))
            return error_set(err, STATUS_REFUSED, "%s: %s is set, which is not supported", where,
                             unsupported[i]);
    }
    if (!json_get_boolean(config, "scale_attn_weights", 1))
        return error_set(err, STATUS_REFUSED, "%s: scale_attn_weights is off, which is not supported", where);
    return STATUS_OK;
}

static int read_token(const json *config, const char *key, const char *where, size_t vocabulary,
                      uint32_t *out, struct error *err)
{
    const json *value = json_get(config, key);
    *out = TOKEN_NONE;
    if (json_is_null(value))
        return STATUS_OK;
    long long id = json_integer(value, -1);
    if (id < 0 || (unsigned long long)id >= vocabulary)
        return error_set(err, STATUS_REFUSED, "%s: %s is not in the vocabulary of %zu", where, key,
                         vocabulary);
    *out = (uint32_t)id;
    return STATUS_OK;
}

static int gpt2_read_config(const json *config, const char *where, struct model_config *out,
                            struct error *err)
{
    const size_t width_max = 1 << 17;
    const char *positions = json_is_null(json_get(config, "n_positions")) ? "n_ctx" : "n_positions";
    int code = json_need_size(config, "n_layer", where, 4096, &out->layers, err);
    if (!code)
        code = json_need_size(config, "n_embd", where, width_max, &out->d_model, err);
    if (!code)
        code = json_need_size(config, "n_head", where, width_max, &out->heads, err);
    if (!code)
        code = json_need_size(config, "vocab_size", where, 1 << 24, &out->vocabulary_size, err);
    if (!code)
        code = json_need_size(config, positions, where, 1 << 20, &out->context_length, err);
    out->d_mlp = 4 * out->d_model;
    if (!code && !json_is_null(json_get(config, "n_inner")))
        code = json_need_size(config, "n_inner", where, 8 * width_max, &out->d_mlp, err);
    if (code)
        return code;
    if (!out->layers || !out->d_model || !out->heads || !out->vocabulary_size || !out->context_length ||
        !out->d_mlp)
        return error_set(err, STATUS_REFUSED, "%s: %s is zero", where,
                         !out->layers            ? "n_layer"
                         : !out->d_model         ? "n_embd"
                         : !out->heads           ? "n_head"
                         : !out->vocabulary_size ? "vocab_size"
                         : !out->context_length  ? positions
                                                 : "n_inner");
    if (out->d_model % out->heads)
        return error_set(err, STATUS_REFUSED, "%s: n_embd %zu is not a multiple of n_head %zu", where,
                         out->d_model, out->heads);
    out->d_head = out->d_model / out->heads;
    out->layer_norm = 1;
    out->norm_epsilon = json_get_number(config, "layer_norm_epsilon", 1e-5);
    if (!(out->norm_epsilon > 0) || !isfinite(out->norm_epsilon))
        return error_set(err, STATUS_REFUSED, "%s: layer_norm_epsilon is not above zero", where);
    code = check_options(config, where, err);
    if (!code)
        code = read_token(config, "bos_token_id", where, out->vocabulary_size, &out->bos, err);
    if (!code)
        code = read_token(config, "eos_token_id", where, out->vocabulary_size, &out->eos, err);
    return code;
}

/* ---- Forward pass. ---- */

/* Per token: the residual stream, its norm, a part's output, and either q, k, v and z or the MLP's hidden
 * layer. */
static size_t wide_width(const struct model_config *c)
{
    return c->d_mlp > 4 * c->d_model ? c->d_mlp : 4 * c->d_model;
}

static size_t gpt2_scratch_per_token(const struct model_config *c)
{
    return 3 * c->d_model + wide_width(c);
}

static size_t gpt2_scratch_per_worker(const struct model_config *c, size_t length)
{
    (void)c;
    return (length < ATTENTION_TILE ? length : ATTENTION_TILE) * length;
}

/* Where a pass keeps what; [n_tokens, ...] each. */
struct buffers {
    float *residual, *normed, *out; /* d_model */
    float *qkv, *z;                 /* 3·d_model, d_model */
    float *hidden;                  /* d_mlp, in the same place as qkv and z */
};

static int attention_part(struct pass *pass, const struct weight *w, size_t layer, const struct buffers *b,
                          struct error *err)
{
    const struct model_config *c = &pass->model->config;
    layer_norm(b->residual, pass->n_tokens, c->d_model, weight_vector(&w[LN1_W]), weight_vector(&w[LN1_B]),
               c->norm_epsilon, b->normed);
    linear(&w[W_QKV], &w[B_QKV], b->normed, pass->n_tokens, b->qkv);
    causal_attention(pass, b->qkv, b->z);
    linear(&w[W_O], &w[B_O], b->z, pass->n_tokens, b->out);
    int code = pass_hook(pass, HOOK_ATTN_OUT, layer, b->out, err);
    if (code || pass->stopped)
        return code;
    add_rows(b->residual, b->out, pass->n_tokens, c->d_model);
    return STATUS_OK;
}

static int mlp_part(struct pass *pass, const struct weight *w, size_t layer, const struct buffers *b,
                    struct error *err)
{
    const struct model_config *c = &pass->model->config;
    layer_norm(b->residual, pass->n_tokens, c->d_model, weight_vector(&w[LN2_W]), weight_vector(&w[LN2_B]),
               c->norm_epsilon, b->normed);
    linear(&w[W_IN], NULL, b->normed, pass->n_tokens, b->hidden);
    gelu_rows(b->hidden, weight_vector(&w[B_IN]), pass->n_tokens, c->d_mlp);
    linear(&w[W_OUT], &w[B_OUT], b->hidden, pass->n_tokens, b->out);
    int code = pass_hook(pass, HOOK_MLP_OUT, layer, b->out, err);
    if (code || pass->stopped)
        return code;
    add_rows(b->residual, b->out, pass->n_tokens, c->d_model);
    return STATUS_OK;
}

static int gpt2_run(struct pass *pass, struct error *err)
{
    const struct model_config *c = &pass->model->config;
    const struct weight *weights = pass->model->weights;
    size_t narrow = pass->n_tokens * c->d_model;
    struct buffers b = {.residual = pass->scratch,
                        .normed = pass->scratch + narrow,
                        .out = pass->scratch + 2 * narrow,
                        .qkv = pass->scratch + 3 * narrow,
                        .z = pass->scratch + 6 * narrow,
                        .hidden = pass->scratch + 3 * narrow};
    embed_tokens(pass, &weights[W_E], &weights[W_POS], b.residual);
    for (size_t layer = 0; layer < c->layers; layer++) {
        const struct weight *w = &weights[FIRST_LAYER + layer * PER_LAYER];
        int code = pass_hook(pass, HOOK_RESID_PRE, layer, b.residual, err);
        if (!code && !pass->stopped)
            code = attention_part(pass, w, layer, &b, err);
        if (!code && !pass->stopped)
            code = pass_hook(pass, HOOK_RESID_MID, layer, b.residual, err);
        if (!code && !pass->stopped)
            code = mlp_part(pass, w, layer, &b, err);
        if (!code && !pass->stopped)
            code = pass_hook(pass, HOOK_RESID_POST, layer, b.residual, err);
        if (code || pass->stopped)
            return code;
    }
    layer_norm(b.residual, pass->n_tokens, c->d_model, weight_vector(&weights[FINAL_W]),
               weight_vector(&weights[FINAL_B]), c->norm_epsilon, pass->final);
    return STATUS_OK;
}

const struct model_family family_gpt2 = {
    .name = "gpt2",
    .file_prefix = "transformer.",
    .read_config = gpt2_read_config,
    .n_weights = gpt2_n_weights,
    .weight = gpt2_weight,
    .one_layer_more = gpt2_one_layer_more,
    .embed = W_E,
    .final_norm = FINAL_W,
    .head = "lm_head.weight",
    .scratch_per_token = gpt2_scratch_per_token,
    .scratch_per_worker = gpt2_scratch_per_worker,
    .run = gpt2_run,
};
