/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of model families: a new one is a new file and a line here. */
#include "config.h"

#include <string.h>

#include "saescope/model/family.h"
#include "saescope/model/gpt2.h"

const struct model_family *const model_families[] = {
    &family_gpt2,
    NULL,
};

const struct model_family *model_family_find(const char *name)
{
    for (size_t i = 0; model_families[i]; i++) {
        if (!strcmp(model_families[i]->name, name))
            return model_families[i];
    }
    return NULL;
}
