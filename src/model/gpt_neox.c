/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPT-NeoX (Pythia): rotary positions on the first part of each head, attention and MLP side by side,
 * LayerNorm, biases, an unembedding of its own. query_key_value's outputs are each head's query, key and
 * value in turn. TransformerLens does not start contexts with BOS.
 */
#include "config.h"

#include "saescope/base/memory.h"
#include "saescope/model/families.h"

static const struct weight_entry entries[] = {
    {ROLE_EMBED, "embed.W_E", "embed_in.weight", VOCABULARY, D_MODEL, 0},
    {ROLE_FINAL_SCALE, "ln_final.w", "final_layer_norm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_FINAL_SHIFT, "ln_final.b", "final_layer_norm.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SCALE, "ln1.w", "input_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SHIFT, "ln1.b", "input_layernorm.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_W_QKV, "attn.W_QKV", "attention.query_key_value.weight", QKV_WIDTH, D_MODEL, 0},
    {ROLE_B_QKV, "attn.b_QKV", "attention.query_key_value.bias", QKV_WIDTH, NO_SIDE, MODEL_QKV_BIAS},
    {ROLE_W_O, "attn.W_O", "attention.dense.weight", D_MODEL, Q_WIDTH, 0},
    {ROLE_B_O, "attn.b_O", "attention.dense.bias", D_MODEL, NO_SIDE, MODEL_OUTPUT_BIAS},
    {ROLE_NORM2_SCALE, "ln2.w", "post_attention_layernorm.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM2_SHIFT, "ln2.b", "post_attention_layernorm.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_W_IN, "mlp.W_in", "mlp.dense_h_to_4h.weight", D_MLP, D_MODEL, 0},
    {ROLE_B_IN, "mlp.b_in", "mlp.dense_h_to_4h.bias", D_MLP, NO_SIDE, 0},
    {ROLE_W_OUT, "mlp.W_out", "mlp.dense_4h_to_h.weight", D_MODEL, D_MLP, 0},
    {ROLE_B_OUT, "mlp.b_out", "mlp.dense_4h_to_h.bias", D_MODEL, NO_SIDE, 0},
};

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    const struct config_keys keys = {.layers = "num_hidden_layers",
                                     .d_model = "hidden_size",
                                     .heads = "num_attention_heads",
                                     .d_mlp = "intermediate_size",
                                     .context = "max_position_embeddings",
                                     .epsilon = "layer_norm_eps"};
    int code = config_sizes(config, where, &keys, out, err);
    out->layer_norm = 1;
    out->prepend_bos = 0;
    if (json_get_boolean(config, "use_parallel_residual", 1))
        out->features |= MODEL_PARALLEL;
    if (json_get_boolean(config, "attention_bias", 1))
        out->features |= MODEL_QKV_BIAS | MODEL_OUTPUT_BIAS;
    if (!code)
        code = config_rotary_share(config, "rotary_pct", 0.25, where, out, err);
    if (!code)
        code = config_rotary(config, where, "rotary_emb_base", out, err);
    if (!code)
        code = config_activation(config, "hidden_act", "gelu", where, &out->activation, err);
    return code ? code : config_tokens(config, where, out, err);
}

const struct model_family family_gpt_neox = {
    .name = "gpt_neox",
    .file_prefix = "gpt_neox.",
    .layer_prefix = "layers.",
    .entries = entries,
    .n_entries = ARRAY_LENGTH(entries),
    .head = "embed_out.weight",
    .head_too = "lm_head.weight",
    .qkv_by_head = 1,
    .read_config = read_config,
};
