/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of SAE architectures. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/sae/architectures.h"

const struct sae_architecture *const sae_architectures[] = {
    &architecture_batchtopk, &architecture_gated, &architecture_jumprelu,
    &architecture_standard,  &architecture_topk,  NULL,
};

const struct sae_architecture *sae_architecture_find(const char *name, struct error *err)
{
    const char *names[ARRAY_LENGTH(sae_architectures)] = {NULL};
    for (size_t i = 0; sae_architectures[i]; i++) {
        names[i] = sae_architectures[i]->name;
        if (strcmp(name, names[i]) == 0)
            return sae_architectures[i];
    }
    const char *nearest = nearest_word(name, names);
    char *shown = displayable_string(name);
    if (nearest)
        error_set(err, STATUS_REFUSED, "unknown SAE architecture \"%s\": did you mean %s?", shown, nearest);
    else
        error_set(err, STATUS_REFUSED, "unknown SAE architecture \"%s\"", shown);
    free(shown);
    return NULL;
}
