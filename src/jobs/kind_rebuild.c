/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "rebuild": "sae", "meta", "without" (an array of addresses of meta-latents), "save" (the new SAE's
 * name), "replace". Weights go from the store to the store, a slice of rows at a time.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/rebuild.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/kinds.h"

#define SLICE 256 /* rows rebuilt between looks at the monitor */

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *sae, *meta, *save;
    int status = job_need(parameters, "sae", "the SAE", &sae, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "meta", "--meta", &meta, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "save", "--save", &save, err);
    if (status == STATUS_OK)
        status = job_plan_name(s, ARTIFACT_SAE, save, json_get_boolean(parameters, "replace", 0), makes, err);
    if (status != STATUS_OK)
        return status;
    json_append(needs, json_new_string(sae));
    json_append(needs, json_new_string(meta));
    return STATUS_OK;
}

struct rebuilding {
    struct store *store;
    struct monitor *monitor;
    struct artifact base_name, meta_name;
    struct sae *base, *meta;
    size_t *without;
    struct rebuild what;
    json *manifest; /* of the SAE to be made */
};

static int check_base(struct store_txn *t, const struct rebuilding *r, struct error *err)
{
    struct meta_bases bases;
    struct artifact other;
    int status = meta_bases_read(t, r->meta_name.id, &bases, err);
    if (status != STATUS_OK)
        return status;
    if (meta_bases_find(&bases, r->base_name.id) == bases.n) {
        status = store_get(t, bases.ids[0], &other, err);
        if (status == STATUS_OK)
            status = error_set(err, STATUS_REFUSED, "%s is a meta-SAE of %s%s, not of %s", r->meta_name.name,
                               other.name, bases.n > 1 ? " and others" : "", r->base_name.name);
    }
    meta_bases_free(&bases);
    return status;
}

/* What the base's manifest says of its place in the model, and where this one comes from. A meta-SAE's
 * training says which rows it reads. */
static json *new_manifest(const struct rebuilding *r, const json *base)
{
    static const char *const kept[] = {
        "kind", "hook", "center_activations", "context_size", "prepend_bos", "references", "baseline"};
    int is_meta = !strcmp(json_get_string(base, "kind", ""), "meta");
    json *manifest = json_new_object(), *source = json_new_object(), *without = json_new_array();
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++) {
        json *value = json_get(base, kept[i]);
        if (value)
            json_set(manifest, kept[i], json_retain(value));
    }
    if (is_meta && json_get(base, "training"))
        json_set(manifest, "training", json_retain(json_get(base, "training")));
    for (size_t i = 0; i < r->what.n_without; i++)
        json_append(without, json_new_integer((long long)r->without[i]));
    json_set(source, "rebuilt_from", json_new_string(r->base_name.name));
    json_set(source, "meta", json_new_string(r->meta_name.name));
    json_set(source, "without", without);
    json_set(manifest, "source", source);
    return manifest;
}

static int open_all(struct store_txn *t, struct rebuilding *r, const json *parameters, struct error *err)
{
    const json *without = json_get(parameters, "without");
    int status = store_find(t, ARTIFACT_SAE, json_get_string(parameters, "sae", ""), &r->base_name, err);
    if (status == STATUS_OK)
        status = store_find(t, ARTIFACT_SAE, json_get_string(parameters, "meta", ""), &r->meta_name, err);
    if (status == STATUS_OK)
        status = check_base(t, r, err);
    if (status == STATUS_OK)
        status = job_meta_latents(t, &r->meta_name, without, &r->without, &r->what.n_without, err);
    if (status == STATUS_OK)
        status = sae_open(t, r->base_name.id, &r->base, err);
    if (status == STATUS_OK)
        status = sae_open(t, r->meta_name.id, &r->meta, err);
    if (status != STATUS_OK)
        return status;
    r->what = (struct rebuild){.base = r->base,
                               .meta = r->meta,
                               .raw = meta_wants_raw_rows(t, r->meta_name.id),
                               .without = r->without,
                               .n_without = r->what.n_without};
    status = rebuild_check(&r->what, err);
    json *base = status == STATUS_OK ? store_manifest(t, r->base_name.id, err) : NULL;
    if (status == STATUS_OK && !base)
        status = error_code(err);
    if (status == STATUS_OK)
        r->manifest = new_manifest(r, base);
    json_free(base);
    return status;
}

static int read_slice(struct rebuilding *r, int decoder, size_t first, size_t n, float *rows,
                      struct error *err)
{
    struct store_txn *t;
    int status = store_begin(r->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = sae_attach(r->base, t, err);
    if (status == STATUS_OK)
        status = sae_attach(r->meta, t, err);
    if (status == STATUS_OK && decoder)
        status = rebuild_rows(&r->what, first, n, rows, err);
    for (size_t i = 0; status == STATUS_OK && !decoder && i < n; i++)
        memcpy(rows + i * r->base->d_in, sae_encoder_row(r->base, first + i), r->base->d_in * sizeof(float));
    store_end(t);
    return status;
}

/* sae_save_from's. */
static int read_rows(void *arg, int decoder, size_t first, size_t n, float *rows, struct error *err)
{
    struct rebuilding *r = arg;
    int status = STATUS_OK;
    for (size_t done = 0; status == STATUS_OK && done < n; done += SLICE) {
        size_t count = n - done < SLICE ? n - done : SLICE;
        uint64_t step = first + done + count + (decoder ? r->base->d_sae : 0);
        status = read_slice(r, decoder, first + done, count, rows + done * r->base->d_in, err);
        if (status == STATUS_OK)
            status =
                monitor_go_on(r->monitor, decoder ? "rebuilding" : "copying", step, 2 * r->base->d_sae, err);
    }
    return status;
}

static int run(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    struct rebuilding r = {.store = s, .monitor = m};
    struct store_txn *t;
    artifact_id made = 0;
    int published = 0;
    double start = clock_seconds();
    int status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = open_all(t, &r, parameters, err);
    store_end(t);
    if (status == STATUS_OK)
        status = job_claim(s, id, ARTIFACT_SAE, json_get_string(parameters, "save", ""),
                           json_get_boolean(parameters, "replace", 0), &made, &published, err);
    if (status == STATUS_OK && !published) {
        status =
            sae_save_from(s, made, r.base, &(struct sae_rows){.read = read_rows, .arg = &r}, r.manifest, err);
        r.manifest = NULL;
    }
    if (status == STATUS_OK) {
        *result = job_made(s, made, NULL, clock_seconds() - start, err);
        status = *result ? STATUS_OK : error_code(err);
    }
    json_free(r.manifest);
    sae_free(r.base);
    sae_free(r.meta);
    free(r.without);
    return status;
}

const struct job_kind kind_rebuild = {"rebuild", 0, plan, run};
