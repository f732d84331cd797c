/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAEs for tests. */
#include "config.h"

#include <stdlib.h>

#include "saescope/base/memory.h"
#include "support.h"

struct sae *new_sae(const char *architecture, size_t d_in, size_t d_sae)
{
    struct error err = {0};
    struct sae *sae;
    assert_ok(sae_new(sae_architecture_find(architecture, &err), d_in, d_sae, &sae, &err));
    return sae;
}

void cut_into_blocks(struct sae *sae)
{
    size_t n = sae->d_sae, d = sae->d_in, cuts[] = {0, n / 2, n / 2 + 3, n};
    free(sae->blocks);
    sae->n_blocks = ARRAY_LENGTH(cuts) - 1;
    sae->blocks = xcalloc(sae->n_blocks, sizeof(*sae->blocks));
    for (size_t b = 0; b < sae->n_blocks; b++)
        sae->blocks[b] = (struct sae_block){cuts[b], cuts[b + 1] - cuts[b], sae->owned_W_enc + cuts[b] * d,
                                            sae->owned_W_dec + cuts[b] * d};
    sae->attached = 1;
}

json *sae_manifest(const char *hook, artifact_id model, artifact_id base)
{
    json *m = json_new_object();
    json_set(m, "kind", json_new_string(base ? "meta" : "sae"));
    json_set(m, "hook", hook ? json_new_string(hook) : json_new_null());
    json_set(m, "references",
             base ? new_references("base", base) : new_references(model ? "model" : NULL, model));
    return m;
}

artifact_id save_sae(struct store *s, const char *name, const struct sae *sae, json *manifest)
{
    struct error err = {0};
    artifact_id id;
    assert_ok(store_create(s, ARTIFACT_SAE, name, 0, &id, &err));
    assert_ok(sae_save(s, id, sae, manifest, &err));
    return id;
}
