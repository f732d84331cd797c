/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Llama 2 and 3, and what its relatives share: RMS norms, rotary positions over whole heads, several queries
 * to a key, a gated MLP, no biases unless config.json asks for them.
 */
#include "config.h"

#include "saescope/model/families.h"

const struct weight_entry llama_entries[LLAMA_ENTRIES] = {
    {ROLE_EMBED, "embed.W_E", "embed_tokens.weight", VOCABULARY, D_MODEL, 0},
    {ROLE_FINAL_SCALE, "ln_final.w", "norm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SCALE, "ln1.w", "input_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_W_Q, "attn.W_Q", "self_attn.q_proj.weight", Q_WIDTH, D_MODEL, 0},
    {ROLE_W_K, "attn.W_K", "self_attn.k_proj.weight", KV_WIDTH, D_MODEL, 0},
    {ROLE_W_V, "attn.W_V", "self_attn.v_proj.weight", KV_WIDTH, D_MODEL, 0},
    {ROLE_W_O, "attn.W_O", "self_attn.o_proj.weight", D_MODEL, Q_WIDTH, 0},
    {ROLE_NORM2_SCALE, "ln2.w", "post_attention_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_W_GATE, "mlp.W_gate", "mlp.gate_proj.weight", D_MLP, D_MODEL, 0},
    {ROLE_W_IN, "mlp.W_in", "mlp.up_proj.weight", D_MLP, D_MODEL, 0},
    {ROLE_W_OUT, "mlp.W_out", "mlp.down_proj.weight", D_MODEL, D_MLP, 0},
    {ROLE_Q_NORM, "attn.q_norm.w", "self_attn.q_norm.weight", D_HEAD, NO_SIDE, MODEL_QK_NORM},
    {ROLE_K_NORM, "attn.k_norm.w", "self_attn.k_norm.weight", D_HEAD, NO_SIDE, MODEL_QK_NORM},
    {ROLE_B_Q, "attn.b_Q", "self_attn.q_proj.bias", Q_WIDTH, NO_SIDE, MODEL_QKV_BIAS},
    {ROLE_B_K, "attn.b_K", "self_attn.k_proj.bias", KV_WIDTH, NO_SIDE, MODEL_QKV_BIAS},
    {ROLE_B_V, "attn.b_V", "self_attn.v_proj.bias", KV_WIDTH, NO_SIDE, MODEL_QKV_BIAS},
    {ROLE_B_O, "attn.b_O", "self_attn.o_proj.bias", D_MODEL, NO_SIDE, MODEL_OUTPUT_BIAS},
    {ROLE_B_GATE, "mlp.b_gate", "mlp.gate_proj.bias", D_MLP, NO_SIDE, MODEL_MLP_BIAS},
    {ROLE_B_IN, "mlp.b_in", "mlp.up_proj.bias", D_MLP, NO_SIDE, MODEL_MLP_BIAS},
    {ROLE_B_OUT, "mlp.b_out", "mlp.down_proj.bias", D_MODEL, NO_SIDE, MODEL_MLP_BIAS},
};

int config_llama(const json *config, const char *where, struct model_config *out, struct error *err)
{
    const struct config_keys keys = {.layers = "num_hidden_layers",
                                     .d_model = "hidden_size",
                                     .heads = "num_attention_heads",
                                     .kv_heads = "num_key_value_heads",
                                     .d_head = "head_dim",
                                     .d_mlp = "intermediate_size",
                                     .context = "max_position_embeddings",
                                     .epsilon = "rms_norm_eps"};
    int code = config_sizes(config, where, &keys, out, err);
    out->rotary.dims = out->d_head;
    if (!code)
        code = config_rotary(config, where, "rope_theta", out, err);
    if (!code)
        code = config_activation(config, "hidden_act", "silu", where, &out->activation, err);
    return code ? code : config_tokens(config, where, out, err);
}

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    if (json_get_boolean(config, "attention_bias", 0))
        out->features |= MODEL_QKV_BIAS | MODEL_OUTPUT_BIAS;
    if (json_get_boolean(config, "mlp_bias", 0))
        out->features |= MODEL_MLP_BIAS;
    return config_llama(config, where, out, err);
}

const struct model_family family_llama = {
    .name = "llama",
    .file_prefix = "model.",
    .layer_prefix = "layers.",
    .entries = llama_entries,
    .n_entries = LLAMA_ENTRIES,
    .head = "lm_head.weight",
    .read_config = read_config,
};
