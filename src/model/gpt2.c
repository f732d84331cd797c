/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPT-2: learned positions, LayerNorm before each part, full attention with biases, GELU in its tanh form, a
 * tied unembedding. Matrices are [in, out], as in Hugging Face's Conv1D: y = x @ W + b.
 */
#include "config.h"

#include "saescope/base/memory.h"
#include "saescope/model/families.h"

static const struct weight_entry entries[] = {
    {ROLE_EMBED, "embed.W_E", "wte.weight", VOCABULARY, D_MODEL, 0},
    {ROLE_POSITIONS, "pos_embed.W_pos", "wpe.weight", CONTEXT, D_MODEL, 0},
    {ROLE_FINAL_SCALE, "ln_final.w", "ln_f.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_FINAL_SHIFT, "ln_final.b", "ln_f.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SCALE, "ln1.w", "ln_1.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SHIFT, "ln1.b", "ln_1.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_W_QKV, "attn.W_QKV", "attn.c_attn.weight", D_MODEL, QKV_WIDTH, 0},
    {ROLE_B_QKV, "attn.b_QKV", "attn.c_attn.bias", QKV_WIDTH, NO_SIDE, 0},
    {ROLE_W_O, "attn.W_O", "attn.c_proj.weight", Q_WIDTH, D_MODEL, 0},
    {ROLE_B_O, "attn.b_O", "attn.c_proj.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM2_SCALE, "ln2.w", "ln_2.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM2_SHIFT, "ln2.b", "ln_2.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_W_IN, "mlp.W_in", "mlp.c_fc.weight", D_MODEL, D_MLP, 0},
    {ROLE_B_IN, "mlp.b_in", "mlp.c_fc.bias", D_MLP, NO_SIDE, 0},
    {ROLE_W_OUT, "mlp.W_out", "mlp.c_proj.weight", D_MLP, D_MODEL, 0},
    {ROLE_B_OUT, "mlp.b_out", "mlp.c_proj.bias", D_MODEL, NO_SIDE, 0},
};

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    static const char *const unsupported[] = {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn",
                                              "add_cross_attention", NULL};
    const struct config_keys keys = {.layers = "n_layer",
                                     .d_model = "n_embd",
                                     .heads = "n_head",
                                     .d_mlp = "n_inner",
                                     .context = json_is_null(json_get(config, "n_positions")) ? "n_ctx"
                                                                                              : "n_positions",
                                     .epsilon = "layer_norm_epsilon"};
    int code = config_sizes(config, where, &keys, out, err);
    out->layer_norm = 1;
    if (!code)
        code = config_activation(config, "activation_function", "gelu_new", where, &out->activation, err);
    if (!code)
        code = config_refuse_set(config, unsupported, where, err);
    if (!code && !json_get_boolean(config, "scale_attn_weights", 1))
        out->attention_scale = 1;
    return code ? code : config_tokens(config, where, out, err);
}

const struct model_family family_gpt2 = {
    .name = "gpt2",
    .file_prefix = "transformer.",
    .layer_prefix = "h.",
    .entries = entries,
    .n_entries = ARRAY_LENGTH(entries),
    .head = "lm_head.weight",
    .in_out = 1,
    .tied = 1,
    .read_config = read_config,
};
