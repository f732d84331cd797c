/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "export index": "sae", "directory", "format", "gzip", "batch", "replace". An index as Neuronpedia's or
 * SAEDashboard's files. Job "import index": "sae", "path", "format", "tokens", "replace". The other way.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index_exchange.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/jobs/kinds.h"

/* -1: not given. */
static int read_form(const json *parameters, int *form, struct error *err)
{
    const char *name = json_get_string(parameters, "format", NULL);
    *form = -1;
    for (int i = 0; name && index_form_names[i]; i++)
        if (strcmp(name, index_form_names[i]) == 0)
            *form = i;
    return !name || *form >= 0 ? STATUS_OK : word_in_list("format", name, index_form_names, err);
}

/* ---- export index. ---- */

static int plan_export(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *sae, *directory;
    int form;
    (void)s;
    (void)makes;
    int status = job_need(parameters, "sae", "the SAE's name", &sae, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "directory", "the directory", &directory, err);
    if (status == STATUS_OK)
        status = read_form(parameters, &form, err);
    if (status == STATUS_OK && form == INDEX_SAEDASHBOARD && json_get_boolean(parameters, "gzip", 0))
        status = error_set(err, STATUS_USAGE,
                           "--gzip goes with --format neuronpedia: SAEDashboard's files are plain JSON");
    if (status == STATUS_OK && json_get(parameters, "batch") && json_get_integer(parameters, "batch", 0) < 1)
        status = error_set(err, STATUS_USAGE, "--batch is a number of latents, at least 1");
    if (status == STATUS_OK)
        json_append(needs, json_new_string(sae));
    return status;
}

static int run_export(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
                      struct error *err)
{
    const char *name = json_get_string(parameters, "sae", ""),
               *directory = json_get_string(parameters, "directory", "");
    struct index_export o = {.directory = directory,
                             .compress = json_get_boolean(parameters, "gzip", 0),
                             .batch = (size_t)json_get_integer(parameters, "batch", 0),
                             .replace = json_get_boolean(parameters, "replace", 0)};
    struct index_exported made;
    double start = clock_seconds();
    int form;
    (void)job;
    int status = read_form(parameters, &form, err);
    o.form = form < 0 ? INDEX_NEURONPEDIA : form;
    if (status == STATUS_OK)
        status = job_find(s, ARTIFACT_SAE, name, &o.sae, err);
    if (status == STATUS_OK)
        status = index_export_run(s, &o, m, &made, err);
    if (status != STATUS_OK)
        return status;
    *result = json_new_object();
    json_set(*result, "name", json_new_string(name));
    json_set(*result, "kind", json_new_string("index"));
    json_set(*result, "format", json_new_string(index_form_names[o.form]));
    json_set(*result, "directory", json_new_string(directory));
    json_set(*result, "latents", json_new_integer((long long)made.latents));
    json_set(*result, "contexts", json_new_integer((long long)made.contexts));
    json_set(*result, "files", json_new_integer((long long)made.files));
    json_set(*result, "bytes", json_new_integer((long long)made.bytes));
    json_set(*result, "seconds", json_new_real(clock_seconds() - start));
    return STATUS_OK;
}

const struct job_kind kind_export_index = {"export index", 0, plan_export, run_export};

/* ---- import index. ---- */

/* The weights come first: an index is of an SAE that is there, or that another job is importing. */
static int plan_import(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *sae, *path;
    int form;
    (void)makes;
    int status = job_need(parameters, "path", "the directory", &path, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "sae", "--sae", &sae, err);
    if (status == STATUS_OK)
        status = read_form(parameters, &form, err);
    if (status == STATUS_OK && !path_is_directory(path)) {
        char *shown = displayable_string(path);
        status = error_set(err, STATUS_REFUSED, "%s: no such directory", shown);
        free(shown);
    }
    if (status == STATUS_OK)
        json_append(needs, json_new_string(sae));
    (void)s;
    return status;
}

static int run_import(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
                      struct error *err)
{
    const char *name = json_get_string(parameters, "sae", "");
    struct index_import o = {.directory = json_get_string(parameters, "path", ""),
                             .tokens = (uint64_t)json_get_integer(parameters, "tokens", 0),
                             .replace = json_get_boolean(parameters, "replace", 0)};
    struct index_imported made;
    double start = clock_seconds();
    (void)job;
    int status = read_form(parameters, &o.form, err);
    if (status == STATUS_OK)
        status = job_find(s, ARTIFACT_SAE, name, &o.sae, err);
    if (status == STATUS_OK)
        status = index_import_run(s, &o, m, &made, err);
    if (status != STATUS_OK)
        return status;
    *result = json_new_object();
    json_set(*result, "name", json_new_string(name));
    json_set(*result, "kind", json_new_string("index"));
    json_set(*result, "latents", json_new_integer((long long)made.latents));
    json_set(*result, "contexts", json_new_integer((long long)made.contexts));
    json_set(*result, "tokens", json_new_integer((long long)made.tokens));
    json_set(*result, "seconds", json_new_real(clock_seconds() - start));
    return STATUS_OK;
}

const struct job_kind kind_import_index = {"import index", 0, plan_import, run_import};
