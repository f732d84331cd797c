/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Mistral: as Llama, with all attention in a sliding window when config.json gives one. */
#include "config.h"

#include "saescope/model/families.h"

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    int code = config_llama(config, where, out, err);
    return code ? code : config_window(config, "sliding_window", where, 0, 1, out, err);
}

const struct model_family family_mistral = {
    .name = "mistral",
    .file_prefix = "model.",
    .layer_prefix = "layers.",
    .entries = llama_entries,
    .n_entries = LLAMA_ENTRIES,
    .head = "lm_head.weight",
    .read_config = read_config,
};
