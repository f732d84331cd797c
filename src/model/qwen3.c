/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Qwen 3: as Llama, with an RMS norm of every head's query and key before their rotation. */
#include "config.h"

#include "saescope/model/families.h"

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    out->features |= MODEL_QK_NORM;
    if (json_get_boolean(config, "attention_bias", 0))
        out->features |= MODEL_QKV_BIAS | MODEL_OUTPUT_BIAS;
    return config_qwen(config, where, out, err);
}

const struct model_family family_qwen3 = {
    .name = "qwen3",
    .file_prefix = "model.",
    .layer_prefix = "layers.",
    .entries = llama_entries,
    .n_entries = LLAMA_ENTRIES,
    .head = "lm_head.weight",
    .read_config = read_config,
};
