/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What kinds of jobs share: names that are claimed, what was made, parameters. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/formats/formats.h"
#include "saescope/jobs/kinds.h"

/* What an earlier run of this job left: 1 published, 0 still its own, -1 nothing. */
static int claimed_before(struct store *s, uint64_t job, const char *name, artifact_id *id)
{
    struct store_txn *t;
    struct artifact a;
    json *record = job_record_read(s, job, NULL);
    *id = (artifact_id)json_get_integer(json_get(record, "claims"), name, 0);
    json_free(record);
    if (!*id || store_begin(s, &t, NULL))
        return -1;
    int published = store_get(t, *id, &a, NULL) == STATUS_OK;
    store_end(t);
    if (published)
        return 1;
    return store_hold(s, *id, job, NULL) == STATUS_OK ? 0 : -1;
}

static int note_claim(struct store *s, uint64_t job, const char *name, artifact_id id, struct error *err)
{
    json *record = job_record_read(s, job, err);
    if (!record)
        return error_code(err);
    json *claims = json_get(record, "claims");
    claims = claims ? json_retain(claims) : json_new_object();
    json_set(claims, name, json_new_integer((long long)id));
    json_free(record);
    return job_record_set(s, job, "claims", claims, err);
}

int job_claim(struct store *s, uint64_t job, enum artifact_kind kind, const char *name, int replace,
              artifact_id *id, int *published, struct error *err)
{
    int before = claimed_before(s, job, name, id);
    *published = before == 1;
    if (before >= 0)
        return STATUS_OK;
    int status = store_create(s, kind, name, replace, id, err);
    if (status != STATUS_OK)
        return status;
    status = note_claim(s, job, name, *id, err);
    if (status == STATUS_OK)
        status = store_hold(s, *id, job, err);
    if (status != STATUS_OK)
        store_abandon(s, *id);
    return status;
}

json *job_made(struct store *s, artifact_id id, const char *kind, double seconds, struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    json *made = NULL;
    if (store_begin(s, &t, err))
        return NULL;
    json *manifest = store_manifest(t, id, err);
    if (manifest && store_get(t, id, &a, err) == STATUS_OK) {
        if (!kind)
            kind = a.kind == ARTIFACT_SAE ? json_get_string(manifest, "kind", "sae")
                                          : artifact_kind_name(a.kind);
        made = json_new_object();
        json_set(made, "name", json_new_string(a.name));
        json_set(made, "kind", json_new_string(kind));
        json_set(made, "bytes", json_new_integer((long long)store_bytes(t, id)));
        json_set(made, "seconds", json_new_real(seconds));
    }
    json_free(manifest);
    store_end(t);
    return made;
}

int job_find(struct store *s, enum artifact_kind kind, const char *name, artifact_id *id, struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    int status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, kind, name, &a, err);
    *id = status == STATUS_OK ? a.id : 0;
    store_end(t);
    return status;
}

json *job_peek(struct store *s, enum artifact_kind kind, const char *name)
{
    struct store_txn *t;
    struct artifact a;
    json *manifest = NULL;
    if (store_begin(s, &t, NULL))
        return NULL;
    if (store_find(t, kind, name, &a, NULL) == STATUS_OK)
        manifest = store_manifest(t, a.id, NULL);
    store_end(t);
    return manifest;
}

int job_sae_import(struct store *s, const json *parameters, struct sae_import *out, struct error *err)
{
    const char *model = json_get_string(parameters, "model", NULL),
               *base = json_get_string(parameters, "base", NULL);
    *out = (struct sae_import){.name = json_get_string(parameters, "name", ""),
                               .format = json_get_string(parameters, "format", NULL),
                               .hook = json_get_string(parameters, "hook", NULL),
                               .k = (size_t)json_get_integer(parameters, "k", 0),
                               .apply_b_dec_to_input =
                                   json_get_string(parameters, "apply_b_dec_to_input", NULL),
                               .neuronpedia_id = json_get_string(parameters, "neuronpedia_id", NULL),
                               .replace = json_get_boolean(parameters, "replace", 0)};
    int status = model ? job_find(s, ARTIFACT_MODEL, model, &out->model, err) : STATUS_OK;
    return status == STATUS_OK && base ? job_find(s, ARTIFACT_SAE, base, &out->base, err) : status;
}

int job_need(const json *parameters, const char *key, const char *option, const char **out, struct error *err)
{
    *out = json_get_string(parameters, key, NULL);
    if (*out && **out)
        return STATUS_OK;
    return error_set(err, STATUS_USAGE, "%s is missing", option);
}

int word_in_list(const char *what, const char *word, const char *const *names, struct error *err)
{
    struct strbuf known = STRBUF_INIT;
    for (size_t i = 0; names[i]; i++) {
        if (!strcmp(word, names[i])) {
            strbuf_free(&known);
            return STATUS_OK;
        }
        strbuf_addf(&known, "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " and ", names[i]);
    }
    char *shown = displayable_string(word);
    const char *near = nearest_word(word, names);
    if (near)
        error_set(err, STATUS_USAGE, "no %s \"%s\": did you mean %s?", what, shown, near);
    else
        error_set(err, STATUS_USAGE, "no %s \"%s\": there %s %s", what, shown, names[0] && names[1] ? "are" : "is",
                  strbuf_string(&known));
    free(shown);
    strbuf_free(&known);
    return STATUS_USAGE;
}

static const char *described(enum artifact_kind kind)
{
    static const char *const words[ARTIFACT_KINDS] = {
        [ARTIFACT_MODEL] = "a model",  [ARTIFACT_TEXT] = "a text",     [ARTIFACT_SAE] = "an SAE",
        [ARTIFACT_INDEX] = "an index", [ARTIFACT_STITCH] = "a stitch",
    };
    return words[kind];
}

int job_plan_name(struct store *s, enum artifact_kind kind, const char *name, int replace, json *makes,
                  struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    int status = store_check_name(name, err);
    for (size_t i = 0; status == STATUS_OK && i < json_length(makes); i++)
        if (!strcmp(name, json_string(json_at(makes, i), "")))
            status = error_set(err, STATUS_USAGE, "the name %s is given twice", name);
    if (status == STATUS_OK)
        status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    if (store_find(t, 0, name, &a, NULL) == STATUS_OK) {
        if (!replace)
            status = error_set(err, STATUS_REFUSED,
                               "there is %s named %s already: choose another name, or --replace",
                               described(a.kind), name);
        else if (a.kind != kind)
            status = error_set(err, STATUS_REFUSED, "%s is %s and cannot be replaced by %s", name,
                               described(a.kind), described(kind));
    }
    store_end(t);
    if (status == STATUS_OK)
        json_append(makes, json_new_string(name));
    return status;
}

int job_meta_latents(struct store_txn *t, const struct artifact *meta, const json *addresses, size_t **latents, size_t *n,
                     struct error *err)
{
    *n = json_length(addresses);
    *latents = xcalloc(*n + 1, sizeof(**latents));
    for (size_t i = 0; i < *n; i++) {
        struct address at;
        int status = address_parse(t, json_string(json_at(addresses, i), ""), meta->name, &at, err);
        if (status == STATUS_OK && at.sae.id != meta->id)
            status = error_set(err, STATUS_REFUSED, "--without names a latent of %s, not of %s", at.sae.name, meta->name);
        if (status != STATUS_OK)
            return status;
        (*latents)[i] = at.latent;
    }
    return STATUS_OK;
}
