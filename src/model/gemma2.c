/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gemma 2: as Gemma, with norms after attention and MLP too (hook_attn_out and hook_mlp_out come after them),
 * soft caps on scores and logits, and a sliding window on every second layer, the first included.
 */
#include "config.h"

#include <math.h>

#include "saescope/base/memory.h"
#include "saescope/model/families.h"

static const struct weight_entry entries[] = {
    {ROLE_EMBED, "embed.W_E", "embed_tokens.weight", VOCABULARY, D_MODEL, 0},
    {ROLE_FINAL_SCALE, "ln_final.w", "norm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SCALE, "ln1.w", "input_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_W_Q, "attn.W_Q", "self_attn.q_proj.weight", Q_WIDTH, D_MODEL, 0},
    {ROLE_W_K, "attn.W_K", "self_attn.k_proj.weight", KV_WIDTH, D_MODEL, 0},
    {ROLE_W_V, "attn.W_V", "self_attn.v_proj.weight", KV_WIDTH, D_MODEL, 0},
    {ROLE_W_O, "attn.W_O", "self_attn.o_proj.weight", D_MODEL, Q_WIDTH, 0},
    {ROLE_POST_NORM1, "ln1_post.w", "post_attention_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM2_SCALE, "ln2.w", "pre_feedforward_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_W_GATE, "mlp.W_gate", "mlp.gate_proj.weight", D_MLP, D_MODEL, 0},
    {ROLE_W_IN, "mlp.W_in", "mlp.up_proj.weight", D_MLP, D_MODEL, 0},
    {ROLE_W_OUT, "mlp.W_out", "mlp.down_proj.weight", D_MODEL, D_MLP, 0},
    {ROLE_POST_NORM2, "ln2_post.w", "post_feedforward_layernorm.weight", D_MODEL, NO_SIDE, 0},
};

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    static const char *const unsupported[] = {"attention_bias", NULL};
    double scalar = 0;
    int code = config_llama(config, where, out, err);
    if (!code)
        code = config_refuse_set(config, unsupported, where, err);
    if (!code)
        code =
            config_activation(config, "hidden_activation", "gelu_pytorch_tanh", where, &out->activation, err);
    if (!code)
        code = config_positive(config, "query_pre_attn_scalar", where, &scalar, err);
    if (!code)
        code = config_positive(config, "attn_logit_softcapping", where, &out->attention_cap, err);
    if (!code)
        code = config_positive(config, "final_logit_softcapping", where, &out->logit_cap, err);
    if (!code)
        code = config_window(config, "sliding_window", where, 0, 2, out, err);
    if (scalar > 0)
        out->attention_scale = 1 / sqrt(scalar);
    out->embed_scale = sqrt((double)out->d_model);
    return code;
}

const struct model_family family_gemma2 = {
    .name = "gemma2",
    .file_prefix = "model.",
    .layer_prefix = "layers.",
    .entries = entries,
    .n_entries = ARRAY_LENGTH(entries),
    .head = "lm_head.weight",
    .norm_adds_one = 1,
    .tied = 1,
    .read_config = read_config,
};
