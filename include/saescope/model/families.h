/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The families, for src/model/families.c: others find them in its table. */
#ifndef SAESCOPE_MODEL_FAMILIES_H
#define SAESCOPE_MODEL_FAMILIES_H

#include "saescope/model/family.h"

extern const struct model_family family_gpt2;
extern const struct model_family family_gpt_neo;
extern const struct model_family family_gpt_neox;
extern const struct model_family family_llama;
extern const struct model_family family_mistral;
extern const struct model_family family_gemma;
extern const struct model_family family_gemma2;
extern const struct model_family family_qwen2;
extern const struct model_family family_qwen3;

#endif
