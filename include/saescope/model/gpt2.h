/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GPT-2's entry for the table of model families. */
#ifndef SAESCOPE_MODEL_GPT2_H
#define SAESCOPE_MODEL_GPT2_H

#include "saescope/model/family.h"

extern const struct model_family family_gpt2;

#endif
