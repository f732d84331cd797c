/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gemma (the first): as Llama, but embeddings are multiplied by √d_model, norms by 1 + scale, the gate is a
 * GELU, and the unembedding is the embedding, unscaled.
 */
#include "config.h"

#include <math.h>

#include "saescope/model/families.h"

static int read_config(const json *config, const char *where, struct model_config *out, struct error *err)
{
    int code = config_llama(config, where, out, err);
    out->embed_scale = sqrt((double)out->d_model);
    /* Early files say hidden_act "gelu" and were run with the tanh form, as "hidden_activation" says in later
     * ones. */
    out->activation = ACTIVATION_GELU_TANH;
    return code;
}

const struct model_family family_gemma = {
    .name = "gemma",
    .file_prefix = "model.",
    .layer_prefix = "layers.",
    .entries = llama_entries,
    .n_entries = LLAMA_ENTRIES,
    .head = "lm_head.weight",
    .norm_adds_one = 1,
    .tied = 1,
    .read_config = read_config,
};
