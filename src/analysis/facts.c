/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an SAE's manifest says, and which meta-SAE goes with an SAE. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"
#include "saescope/sae/bases.h"

#define META_DEPTH_MAX 8 /* meta-SAEs of meta-SAEs of … */

static artifact_id reference(const json *manifest, const char *role)
{
    long long id = json_get_integer(json_get(manifest, "references"), role, 0);
    return id > 0 ? (artifact_id)id : 0;
}

static size_t size_member(const json *manifest, const char *key)
{
    long long n = json_get_integer(manifest, key, 0);
    return n > 0 ? (size_t)n : 0;
}

static char *hook_of(const json *manifest)
{
    const char *hook = json_get_string(manifest, "hook", NULL);
    return hook ? xstrdup(hook) : NULL;
}

/* The model and hook at the bottom of a chain of meta-SAEs; the first base of a joint one stands for all. */
static void follow_down(struct store_txn *t, struct sae_facts *f)
{
    artifact_id base = f->base;
    for (int depth = 0; base && !f->model && depth < META_DEPTH_MAX; depth++) {
        json *manifest = store_manifest(t, base, NULL);
        free(f->row_hook);
        f->model = reference(manifest, "model");
        f->row_hook = hook_of(manifest);
        f->ground = base;
        base = meta_base_at(manifest, 0);
        json_free(manifest);
    }
}

static void read_bases(struct sae_facts *f)
{
    artifact_id id;
    for (; (id = meta_base_at(f->manifest, f->n_bases)); f->n_bases++) {
        f->bases = xreallocarray(f->bases, f->n_bases + 1, sizeof(*f->bases));
        f->bases[f->n_bases] = id;
    }
    f->base = f->n_bases ? f->bases[0] : 0;
}

int sae_facts_read(struct store_txn *t, artifact_id sae, struct sae_facts *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    int status = store_get(t, sae, &out->artifact, err);
    if (status)
        return status;
    if (out->artifact.kind != ARTIFACT_SAE)
        return error_set(err, STATUS_REFUSED, "%s is a %s, not an SAE", out->artifact.name,
                         artifact_kind_name(out->artifact.kind));
    json *m = store_manifest(t, sae, err);
    if (!m)
        return STATUS_STORE;
    out->manifest = m;
    out->is_meta = strcmp(json_get_string(m, "kind", "sae"), "meta") == 0;
    out->architecture = json_get_string(m, "architecture", "");
    out->hook = out->is_meta ? NULL : json_get_string(m, "hook", NULL);
    out->d_in = size_member(m, "d_in");
    out->d_sae = size_member(m, "d_sae");
    out->k = size_member(m, "k");
    out->context_size = size_member(m, "context_size");
    out->prepend_bos = json_get_boolean(m, "prepend_bos", 0);
    out->center = json_get_boolean(m, "center_activations", 0);
    read_bases(out);
    out->ground = sae;
    if (out->is_meta) {
        follow_down(t, out);
    } else {
        out->model = reference(m, "model");
        out->row_hook = hook_of(m);
    }
    if (out->d_in == 0 || out->d_sae == 0) {
        error_set(err, STATUS_STORE, "the manifest of %s is damaged: it has no d_in or d_sae",
                  out->artifact.name);
        sae_facts_free(out);
        return STATUS_STORE;
    }
    out->index = store_index_of(t, sae);
    if (out->index) {
        json *index = store_manifest(t, out->index, NULL);
        out->indexed_tokens = (uint64_t)size_member(index, "text_tokens");
        json_free(index);
    }
    return STATUS_OK;
}

int sae_facts_derived(const struct sae_facts *f)
{
    const json *source = json_get(f->manifest, "source");
    return json_is_object(source) && (json_get(source, "stitch") || json_get(source, "rebuilt_from"));
}

void sae_facts_free(struct sae_facts *f)
{
    json_free(f->manifest);
    free(f->row_hook);
    free(f->bases);
    memset(f, 0, sizeof(*f));
}

int sae_facts_has_base(const struct sae_facts *f, artifact_id sae)
{
    return f->is_meta && meta_has_base(f->manifest, sae);
}

int same_place(const struct sae_facts *a, const struct sae_facts *b)
{
    return !a->is_meta && !b->is_meta && a->d_in == b->d_in && a->model == b->model && a->hook && b->hook &&
           strcmp(a->hook, b->hook) == 0;
}

int opened_sae_open(struct store_txn *t, artifact_id id, struct opened_sae *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    int status = sae_facts_read(t, id, &out->facts, err);
    if (status == STATUS_OK)
        status = sae_open(t, id, &out->sae, err);
    if (status != STATUS_OK)
        opened_sae_close(out);
    return status;
}

void opened_sae_close(struct opened_sae *o)
{
    sae_free(o->sae);
    sae_facts_free(&o->facts);
    memset(o, 0, sizeof *o);
}

/* A baseline was trained on permuted decoder columns: it is there to be compared with, not to explain
 * latents. */
static int is_meta_of(struct store_txn *t, artifact_id id, artifact_id sae)
{
    json *manifest = store_manifest(t, id, NULL);
    int fits = strcmp(json_get_string(manifest, "kind", ""), "meta") == 0 && meta_has_base(manifest, sae) &&
               !json_get_boolean(manifest, "baseline", 0);
    json_free(manifest);
    return fits;
}

artifact_id meta_sae_of(struct store_txn *t, artifact_id sae)
{
    struct artifact *all;
    size_t n;
    artifact_id newest = 0, newest_indexed = 0;
    if (store_list(t, ARTIFACT_SAE, &all, &n, NULL))
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (all[i].id <= newest_indexed || !is_meta_of(t, all[i].id, sae))
            continue;
        if (all[i].id > newest)
            newest = all[i].id;
        if (store_index_of(t, all[i].id))
            newest_indexed = all[i].id;
    }
    free(all);
    return newest_indexed ? newest_indexed : newest;
}
