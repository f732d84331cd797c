/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The formats, for src/formats/formats.c: others find them in its table. */
#ifndef SAESCOPE_FORMATS_PRODUCERS_H
#define SAESCOPE_FORMATS_PRODUCERS_H

#include "saescope/formats/formats.h"

extern const struct sae_format saelens_format;
extern const struct sae_format gemma_scope_format;
extern const struct sae_format gemma_scope_2_format;
extern const struct sae_format llama_scope_format;
extern const struct sae_format sparsify_format;
extern const struct sae_format batchtopk_repo_format;
extern const struct sae_format openai_format;
extern const struct sae_format goodfire_format;
extern const struct sae_format qwen_scope_format;
extern const struct sae_format qresearch_format;
extern const struct sae_format attention_saes_format;
extern const struct sae_format dictionary_learning_format;
extern const struct sae_format safetensors_format;
extern const struct sae_format npz_format;
extern const struct sae_format torch_format;

#endif
