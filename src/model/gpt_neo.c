/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPT-Neo (TinyStories): as GPT-2, but layers alternate between full and local attention, queries, keys and
 * values have no biases, and scores are not scaled.
 */
#include "config.h"

#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/model/families.h"

static const struct weight_entry entries[] = {
    {ROLE_EMBED, "embed.W_E", "wte.weight", VOCABULARY, D_MODEL, 0},
    {ROLE_POSITIONS, "pos_embed.W_pos", "wpe.weight", CONTEXT, D_MODEL, 0},
    {ROLE_FINAL_SCALE, "ln_final.w", "ln_f.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_FINAL_SHIFT, "ln_final.b", "ln_f.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SCALE, "ln1.w", "ln_1.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM1_SHIFT, "ln1.b", "ln_1.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_W_Q, "attn.W_Q", "attn.attention.q_proj.weight", Q_WIDTH, D_MODEL, 0},
    {ROLE_W_K, "attn.W_K", "attn.attention.k_proj.weight", KV_WIDTH, D_MODEL, 0},
    {ROLE_W_V, "attn.W_V", "attn.attention.v_proj.weight", KV_WIDTH, D_MODEL, 0},
    {ROLE_W_O, "attn.W_O", "attn.attention.out_proj.weight", D_MODEL, Q_WIDTH, 0},
    {ROLE_B_O, "attn.b_O", "attn.attention.out_proj.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM2_SCALE, "ln2.w", "ln_2.weight", D_MODEL, NO_SIDE, 0},
    {ROLE_NORM2_SHIFT, "ln2.b", "ln_2.bias", D_MODEL, NO_SIDE, 0},
    {ROLE_W_IN, "mlp.W_in", "mlp.c_fc.weight", D_MLP, D_MODEL, 0},
    {ROLE_B_IN, "mlp.b_in", "mlp.c_fc.bias", D_MLP, NO_SIDE, 0},
    {ROLE_W_OUT, "mlp.W_out", "mlp.c_proj.weight", D_MODEL, D_MLP, 0},
    {ROLE_B_OUT, "mlp.b_out", "mlp.c_proj.bias", D_MODEL, NO_SIDE, 0},
};

static int refuse_types(const char *where, struct error *err)
{
    return error_set(err, STATUS_REFUSED,
                     "%s: attention_types does not name \"global\" or \"local\" once for each layer", where);
}

/* attention_types: [[kinds, repetitions], ...], kinds a list of "global" and "local". */
static int read_types(const json *config, const char *where, struct model_config *out, struct error *err)
{
    const json *types = json_get(config, "attention_types");
    size_t layer = 0;
    for (size_t i = 0; i < json_length(types); i++) {
        const json *kinds = json_at(json_at(types, i), 0);
        long long repeats = json_integer(json_at(json_at(types, i), 1), -1);
        if (repeats < 0 || !json_is_array(kinds) || !json_length(kinds))
            return refuse_types(where, err);
        for (size_t n = 0; n < (size_t)repeats * json_length(kinds); n++, layer++) {
            const char *kind = json_string(json_at(kinds, n % json_length(kinds)), "");
            int local = !strcmp(kind, "local");
            if (layer >= out->layers || (!local && strcmp(kind, "global") != 0))
                return refuse_types(where, err);
            out->local[layer / 8] |= (uint8_t)(local << layer % 8);
        }
    }
    return layer == out->layers ? STATUS_OK : refuse_types(where, err);
}

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    const struct config_keys keys = {.layers = "num_layers",
                                     .d_model = "hidden_size",
                                     .heads = "num_heads",
                                     .d_mlp = "intermediate_size",
                                     .context = "max_position_embeddings",
                                     .epsilon = "layer_norm_epsilon"};
    int code = config_sizes(config, where, &keys, out, err);
    out->layer_norm = 1;
    out->attention_scale = 1;
    if (!code)
        code = json_need_size(config, "window_size", where, 1 << 24, &out->window, err);
    if (!code && !out->window)
        code = error_set(err, STATUS_REFUSED, "%s: window_size is zero", where);
    if (!code)
        code = read_types(config, where, out, err);
    if (!code)
        code = config_activation(config, "activation_function", "gelu_new", where, &out->activation, err);
    return code ? code : config_tokens(config, where, out, err);
}

const struct model_family family_gpt_neo = {
    .name = "gpt_neo",
    .file_prefix = "transformer.",
    .layer_prefix = "h.",
    .entries = entries,
    .n_entries = ARRAY_LENGTH(entries),
    .head = "lm_head.weight",
    .tied = 1,
    .read_config = read_config,
};
