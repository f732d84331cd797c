/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Jobs "import model" ("path", "name", "replace"), "import text" (also "model", "field", "documents": "line"
 * or "file", "token_type": "u16" or "u32") and "import sae" (also "format", "model", "hook", "base", "k",
 * "apply_b_dec_to_input", "neuronpedia_id").
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cached.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/formats/formats.h"
#include "saescope/formats/neuronpedia.h"
#include "saescope/jobs/kinds.h"
#include "saescope/model/text.h"

static int plan_path(struct store *s, enum artifact_kind kind, const json *parameters, int may_be_stdin,
                     json *makes, struct error *err)
{
    const char *path, *name;
    int status = job_need(parameters, "path", "the path", &path, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "name", "--name", &name, err);
    if (status == STATUS_OK && !(may_be_stdin && !strcmp(path, "-")) && !path_exists(path)) {
        char *shown = displayable_string(path);
        status = error_set(err, STATUS_REFUSED, "%s: no such file or directory", shown);
        free(shown);
    }
    if (status == STATUS_OK)
        status = job_plan_name(s, kind, name, json_get_boolean(parameters, "replace", 0), makes, err);
    return status;
}

static void need(json *needs, const char *name)
{
    if (name)
        json_append(needs, json_new_string(name));
}

static int finish(struct store *s, artifact_id id, double start, int status, json **result, struct error *err)
{
    if (status != STATUS_OK)
        return status;
    *result = job_made(s, id, NULL, clock_seconds() - start, err);
    return *result ? STATUS_OK : error_code(err);
}

/* ---- Models. ---- */
static int plan_model(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    (void)needs;
    return plan_path(s, ARTIFACT_MODEL, parameters, 0, makes, err);
}

static int run_model(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
                     struct error *err)
{
    struct model_import o = {.directory = json_get_string(parameters, "path", ""),
                             .name = json_get_string(parameters, "name", ""),
                             .replace = json_get_boolean(parameters, "replace", 0)};
    artifact_id id = 0;
    double start = clock_seconds();
    (void)job;
    int status = model_import_folder(s, &o, m, &id, err);
    return finish(s, id, start, status, result, err);
}

const struct job_kind kind_import_model = {"import model", 0, plan_model, run_model};

/* ---- Texts. ---- */
static int plan_text(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *model, *documents = json_get_string(parameters, "documents", "line");
    int status = job_need(parameters, "model", "--model", &model, err);
    if (status == STATUS_OK && strcmp(documents, "line") && strcmp(documents, "file"))
        status = error_set(err, STATUS_USAGE, "--documents is line or file");
    const char *type = json_get_string(parameters, "token_type", "u16");
    if (status == STATUS_OK && strcmp(type, "u16") && strcmp(type, "u32"))
        status = error_set(err, STATUS_USAGE, "--token-type is u16 or u32");
    if (status == STATUS_OK)
        status = plan_path(s, ARTIFACT_TEXT, parameters, 1, makes, err);
    if (status == STATUS_OK)
        need(needs, model);
    return status;
}

static int run_text(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
                    struct error *err)
{
    struct text_import o = {.path = json_get_string(parameters, "path", ""),
                            .name = json_get_string(parameters, "name", ""),
                            .model = json_get_string(parameters, "model", ""),
                            .field = json_get_string(parameters, "field", NULL),
                            .token_type = json_get_string(parameters, "token_type", NULL),
                            .document_a_file =
                                !strcmp(json_get_string(parameters, "documents", "line"), "file"),
                            .replace = json_get_boolean(parameters, "replace", 0)};
    artifact_id id = 0;
    double start = clock_seconds();
    (void)job;
    int status = text_import(s, &o, m, &id, err);
    return finish(s, id, start, status, result, err);
}

const struct job_kind kind_import_text = {"import text", 0, plan_text, run_text};

/* ---- SAEs. ---- */
static int plan_sae(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *id = json_get_string(parameters, "neuronpedia_id", NULL);
    int status = plan_path(s, ARTIFACT_SAE, parameters, 0, makes, err);
    if (status == STATUS_OK && id)
        status = neuronpedia_check_id(id, err);
    if (status == STATUS_OK) {
        need(needs, json_get_string(parameters, "model", NULL));
        need(needs, json_get_string(parameters, "base", NULL));
    }
    return status;
}

static int run_sae(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
                   struct error *err)
{
    struct sae_import o;
    artifact_id id = 0;
    double start = clock_seconds();
    (void)job;
    int status = job_sae_import(s, parameters, &o, err);
    o.path = json_get_string(parameters, "path", "");
    if (status == STATUS_OK)
        status = sae_import_path(s, &o, m, &id, err);
    return finish(s, id, start, status, result, err);
}

const struct job_kind kind_import_sae = {"import sae", 0, plan_sae, run_sae};

/* ---- Cached activations. ---- */
static int plan_activations(struct store *s, const json *parameters, json *needs, json *makes,
                            struct error *err)
{
    const char *model, *hook, *tokens = json_get_string(parameters, "tokens", NULL);
    int status = job_need(parameters, "model", "--model", &model, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "hook", "--hook", &hook, err);
    if (status == STATUS_OK && tokens && !path_exists(tokens)) {
        char *shown = displayable_string(tokens);
        status = error_set(err, STATUS_REFUSED, "%s: no such file or directory", shown);
        free(shown);
    }
    if (status == STATUS_OK)
        status = plan_path(s, ARTIFACT_TEXT, parameters, 0, makes, err);
    if (status == STATUS_OK)
        need(needs, model);
    return status;
}

static int run_activations(struct store *s, uint64_t job, const json *parameters, struct monitor *m,
                           json **result, struct error *err)
{
    long long size = json_get_integer(parameters, "context_size", 0);
    struct cached_import o = {.path = json_get_string(parameters, "path", ""),
                              .name = json_get_string(parameters, "name", ""),
                              .hook = json_get_string(parameters, "hook", ""),
                              .tensor = json_get_string(parameters, "tensor", NULL),
                              .tokens = json_get_string(parameters, "tokens", NULL),
                              .context_size = size > 0 ? (size_t)size : 0,
                              .bos = json_get_boolean(parameters, "bos", 0),
                              .replace = json_get_boolean(parameters, "replace", 0)};
    artifact_id id = 0;
    double start = clock_seconds();
    (void)job;
    int status = job_find(s, ARTIFACT_MODEL, json_get_string(parameters, "model", ""), &o.model, err);
    if (status == STATUS_OK)
        status = cached_import_run(s, &o, m, &id, err);
    return finish(s, id, start, status, result, err);
}

const struct job_kind kind_import_activations = {"import activations", 0, plan_activations, run_activations};
