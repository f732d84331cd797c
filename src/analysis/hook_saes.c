/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The SAEs of one hook. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/hook_saes.h"
#include "saescope/base/memory.h"

static int compare(const void *a, const void *b)
{
    const struct hook_sae *x = a, *y = b;
    if (x->d_sae != y->d_sae)
        return x->d_sae < y->d_sae ? -1 : 1;
    return (x->artifact.id > y->artifact.id) - (x->artifact.id < y->artifact.id);
}

static int belongs(const struct sae_facts *f, const struct sae_facts *like)
{
    return !f->is_meta && !sae_facts_derived(f) && f->hook && like->row_hook &&
           strcmp(f->hook, like->row_hook) == 0 && f->model == like->model && f->d_in == like->d_in;
}

int hook_saes(struct store_txn *t, const struct sae_facts *like, struct hook_sae **out, size_t *n,
              struct error *err)
{
    struct artifact *all;
    size_t n_all;
    *out = NULL;
    *n = 0;
    int status = store_list(t, ARTIFACT_SAE, &all, &n_all, err);
    if (status)
        return status;
    struct hook_sae *found = xcalloc(n_all ? n_all : 1, sizeof(*found));
    for (size_t i = 0; like->model && i < n_all; i++) {
        struct sae_facts f;
        if (sae_facts_read(t, all[i].id, &f, NULL))
            continue; /* a damaged one is nobody's relative */
        if (belongs(&f, like))
            found[(*n)++] = (struct hook_sae){all[i], f.d_sae};
        sae_facts_free(&f);
    }
    free(all);
    qsort(found, *n, sizeof(*found), compare);
    *out = found;
    return STATUS_OK;
}
