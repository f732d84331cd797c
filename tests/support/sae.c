/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAEs for tests. */
#include "config.h"

#include "support.h"

struct sae *new_sae(const char *architecture, size_t d_in, size_t d_sae)
{
    struct error err = {0};
    struct sae *sae;
    assert_ok(sae_new(sae_architecture_find(architecture, &err), d_in, d_sae, &sae, &err));
    return sae;
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
