/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Qwen 1.5, 2 and 2.5: as Llama, with biases on queries, keys and values. TransformerLens does not start
 * contexts with BOS.
 */
#include "config.h"

#include "saescope/model/families.h"

int config_qwen(const json *config, const char *where, struct model_config *out, struct error *err)
{
    int code = config_llama(config, where, out, err);
    out->prepend_bos = 0;
    if (code || !json_get_boolean(config, "use_sliding_window", 0))
        return code;
    size_t first = 0;
    if (json_is_null(json_get(config, "layer_types")))
        code = json_need_size(config, "max_window_layers", where, 1 << 24, &first, err);
    return code ? code : config_window(config, "sliding_window", where, first, 1, out, err);
}

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    out->features |= MODEL_QKV_BIAS;
    return config_qwen(config, where, out, err);
}

const struct model_family family_qwen2 = {
    .name = "qwen2",
    .file_prefix = "model.",
    .layer_prefix = "layers.",
    .entries = llama_entries,
    .n_entries = LLAMA_ENTRIES,
    .head = "lm_head.weight",
    .read_config = read_config,
};
