/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "pull" ("from", "name", "import": "auto", "model", "sae" or "none", "files", "cache", and as "import
 * sae" has them "model", "hook", "format", "base", "k", "apply_b_dec_to_input", "replace"): downloads from the Hub what is not in its
 * cache, and imports it. What was downloaded stays in the cache, so that an interrupted job goes on from
 * there.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/formats.h"
#include "saescope/formats/releases.h"
#include "saescope/jobs/kinds.h"
#include "saescope/model/model.h"

static int read_content(const json *parameters, const struct release *r, enum hub_content *out,
                        struct error *err)
{
    static const char *const names[] = {"auto", "model", "sae", "none", NULL};
    const char *word = json_get_string(parameters, "import", "auto");
    int status = word_in_list("--import", word, names, err);
    if (status != STATUS_OK)
        return status;
    *out = HUB_AUTO;
    for (size_t i = 0; names[i]; i++)
        if (strcmp(word, names[i]) == 0)
            *out = (enum hub_content)i;
    if (*out == HUB_AUTO && r->name)
        *out = r->is_model ? HUB_MODEL : HUB_SAE;
    return STATUS_OK;
}

static int read_parameters(const json *parameters, struct release *r, enum hub_content *content,
                           struct error *err)
{
    const char *from;
    int status = job_need(parameters, "from", "what to pull", &from, err);
    *r = (struct release){0};
    if (status == STATUS_OK)
        status = release_find(from, r, err);
    if (status == STATUS_OK && (status = read_content(parameters, r, content, err)) != STATUS_OK)
        release_free(r);
    return status;
}

/* What it will be is seen only when the files are listed; what it would replace is there to be seen. */
static enum artifact_kind planned_kind(struct store *s, const char *name, enum hub_content content)
{
    struct store_txn *t;
    struct artifact a;
    enum artifact_kind kind = content == HUB_MODEL ? ARTIFACT_MODEL : ARTIFACT_SAE;
    if (content != HUB_AUTO || store_begin(s, &t, NULL) != STATUS_OK)
        return kind;
    if (store_find(t, 0, name, &a, NULL) == STATUS_OK && a.kind == ARTIFACT_MODEL)
        kind = ARTIFACT_MODEL;
    store_end(t);
    return kind;
}

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    static const char *const inputs[] = {"model", "base"};
    struct release r;
    enum hub_content content;
    const char *name;
    int status = read_parameters(parameters, &r, &content, err);
    if (status != STATUS_OK)
        return status;
    release_free(&r);
    for (size_t i = 0; i < ARRAY_LENGTH(inputs); i++) {
        name = json_get_string(parameters, inputs[i], NULL);
        if (name)
            json_append(needs, json_new_string(name));
    }
    if (content == HUB_NONE)
        return STATUS_OK;
    status = job_need(parameters, "name", "--name", &name, err);
    if (status == STATUS_OK)
        status = job_plan_name(s, planned_kind(s, name, content), name,
                               json_get_boolean(parameters, "replace", 0), makes, err);
    return status;
}

/* ---- Imports. ---- */

static int import_model(struct store *s, const json *parameters, const struct hub_pulled *pulled,
                        struct monitor *m, artifact_id *id, struct error *err)
{
    struct model_import o = {.directory = pulled->path,
                             .name = json_get_string(parameters, "name", ""),
                             .replace = json_get_boolean(parameters, "replace", 0),
                             .source = pulled->origin};
    return model_import_folder(s, &o, m, id, err);
}

/* The first of the names (separated by commas) that a model in the store has; 0: none. */
static artifact_id find_model(struct store *s, const char *names)
{
    artifact_id id = 0;
    char *copy = xstrdup(names ? names : ""), *save = NULL;
    for (char *name = strtok_r(copy, ",", &save); name && !id; name = strtok_r(NULL, ",", &save))
        if (job_find(s, ARTIFACT_MODEL, name, &id, NULL) != STATUS_OK)
            id = 0;
    free(copy);
    return id;
}

static int import_sae(struct store *s, const json *parameters, const struct release *r,
                      const struct hub_pulled *pulled, struct monitor *m, artifact_id *id, struct error *err)
{
    struct release_facts facts = {.origin = pulled->origin,
                                  .release = r->name,
                                  .neuronpedia = r->neuronpedia,
                                  .center = r->center,
                                  .scale = r->scale,
                                  .normalize = r->normalize};
    struct sae_import o;
    int status = job_sae_import(s, parameters, &o, err);
    o.path = pulled->path;
    o.facts = &facts;
    if (!o.hook)
        o.hook = r->hook;
    if (!json_get(parameters, "model"))
        o.model = find_model(s, r->models);
    return status == STATUS_OK ? sae_import_path(s, &o, m, id, err) : status;
}

static json *make_result(struct store *s, artifact_id id, const struct hub_pulled *pulled, double start,
                         struct error *err)
{
    json *result = id ? job_made(s, id, NULL, clock_seconds() - start, err) : json_new_object();
    if (!result)
        return NULL;
    if (!id)
        json_set(result, "seconds", json_new_real(clock_seconds() - start));
    json_set(result, "source", json_new_string(pulled->origin));
    json_set(result, "path", json_new_string(pulled->path));
    json_set(result, "files", json_new_integer((long long)pulled->files));
    json_set(result, "file_bytes", json_new_integer((long long)pulled->bytes));
    json_set(result, "downloaded", json_new_integer((long long)pulled->downloaded));
    json_set(result, "offline", json_new_boolean(pulled->offline));
    return result;
}

static int run(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    struct release r;
    enum hub_content content;
    struct hub_pulled pulled = {0};
    artifact_id id = 0;
    double start = clock_seconds();
    (void)job;
    int status = read_parameters(parameters, &r, &content, err);
    if (status != STATUS_OK)
        return status;
    struct hub_pull what = {.source = &r.source,
                            .glob = json_get_string(parameters, "files", NULL),
                            .cache = json_get_string(parameters, "cache", NULL),
                            .content = content};
    status = hub_pull(&what, m, &pulled, err);
    if (status == STATUS_OK && pulled.content == HUB_MODEL)
        status = import_model(s, parameters, &pulled, m, &id, err);
    else if (status == STATUS_OK && pulled.content == HUB_SAE)
        status = import_sae(s, parameters, &r, &pulled, m, &id, err);
    if (status == STATUS_OK) {
        *result = make_result(s, id, &pulled, start, err);
        status = *result ? STATUS_OK : error_code(err);
    }
    hub_pulled_free(&pulled);
    release_free(&r);
    return status;
}

const struct job_kind kind_pull = {"pull", 0, plan, run};
