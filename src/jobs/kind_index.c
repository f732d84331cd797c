/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "index": "saes", "text", "tokens", "seed". SAEs are indexed over the text in one pass of the model,
 * meta-SAEs over their base's decoder rows.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/kinds.h"

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const json *saes = json_get(parameters, "saes");
    const char *text = json_get_string(parameters, "text", NULL);
    int meta_only = 1;
    (void)makes;
    if (!json_length(saes))
        return error_set(err, STATUS_USAGE, "the SAE to index is missing");
    for (size_t i = 0; i < json_length(saes); i++) {
        const char *name = json_string(json_at(saes, i), "");
        json *manifest = job_peek(s, ARTIFACT_SAE, name);
        if (manifest && strcmp(json_get_string(manifest, "kind", ""), "meta"))
            meta_only = 0;
        json_free(manifest);
        json_append(needs, json_new_string(name));
    }
    if (text)
        json_append(needs, json_new_string(text));
    return text || meta_only ? STATUS_OK : error_set(err, STATUS_USAGE, "index needs --text T: the text that runs through the model");
}

/* SAEs and meta-SAEs apart, each in the order given. */
static int sort_out(struct store *s, const json *names, artifact_id *saes, size_t *n_saes, artifact_id *metas,
                    size_t *n_metas, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < json_length(names); i++) {
        const char *name = json_string(json_at(names, i), "");
        artifact_id id;
        status = job_find(s, ARTIFACT_SAE, name, &id, err);
        if (status != STATUS_OK)
            break;
        json *manifest = job_peek(s, ARTIFACT_SAE, name);
        if (!strcmp(json_get_string(manifest, "kind", ""), "meta"))
            metas[(*n_metas)++] = id;
        else
            saes[(*n_saes)++] = id;
        json_free(manifest);
    }
    return status;
}

/* {"name","kind":"index","bytes","seconds"} of the SAE's index. */
static json *made(struct store *s, const char *name, double seconds)
{
    struct store_txn *t;
    struct artifact a;
    json *o = json_new_object();
    uint64_t bytes = 0;
    if (store_begin(s, &t, NULL) == STATUS_OK) {
        if (store_find(t, ARTIFACT_SAE, name, &a, NULL) == STATUS_OK)
            bytes = store_bytes(t, store_index_of(t, a.id));
        store_end(t);
    }
    json_set(o, "name", json_new_string(name));
    json_set(o, "kind", json_new_string("index"));
    json_set(o, "bytes", json_new_integer((long long)bytes));
    json_set(o, "seconds", json_new_real(seconds));
    return o;
}

static json *result_of(struct store *s, const json *names, double seconds)
{
    if (json_length(names) == 1)
        return made(s, json_string(json_at(names, 0), ""), seconds);
    json *all = json_new_array(), *result = json_new_object();
    for (size_t i = 0; i < json_length(names); i++)
        json_append(all, made(s, json_string(json_at(names, i), ""), seconds));
    json_set(result, "saes", all);
    return result;
}

static int run(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    const json *names = json_get(parameters, "saes");
    const char *text = json_get_string(parameters, "text", NULL);
    size_t n = json_length(names), n_metas = 0;
    artifact_id *saes = xcalloc(n, sizeof(*saes)), *metas = xcalloc(n, sizeof(*metas));
    struct index_options o = {.saes = saes,
                              .tokens = (uint64_t)json_get_integer(parameters, "tokens", 0),
                              .seed = (uint64_t)json_get_integer(parameters, "seed", 0)};
    double start = clock_seconds();
    (void)id;
    int status = sort_out(s, names, saes, &o.n_saes, metas, &n_metas, err);
    if (status == STATUS_OK && o.n_saes)
        status = text ? job_find(s, ARTIFACT_TEXT, text, &o.text, err)
                      : error_set(err, STATUS_USAGE, "index needs --text T: the text that runs through the model");
    if (status == STATUS_OK && o.n_saes)
        status = index_run(s, &o, m, err);
    for (size_t i = 0; status == STATUS_OK && i < n_metas; i++)
        status = index_meta_run(s, metas[i], m, err);
    if (status == STATUS_OK)
        *result = result_of(s, names, clock_seconds() - start);
    free(saes);
    free(metas);
    return status;
}

const struct job_kind kind_index = {"index", 0, plan, run};
