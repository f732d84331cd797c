/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "report": "meta", "text", "tokens", "without" (an array of addresses of meta-latents), "quick",
 * "steps", "seed".
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/report.h"
#include "saescope/jobs/kinds.h"

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *meta, *text = json_get_string(parameters, "text", NULL);
    (void)makes;
    int status = job_need(parameters, "meta", "the meta-SAE", &meta, err);
    if (status != STATUS_OK)
        return status;
    if (!text && (json_length(json_get(parameters, "without")) > 0 || json_get(parameters, "tokens")))
        return error_set(err, STATUS_USAGE,
                         "--tokens and --without go with --text T, on which cross-entropy is measured");
    json *manifest = job_peek(s, ARTIFACT_SAE, meta);
    int is_meta = !manifest || strcmp(json_get_string(manifest, "kind", ""), "meta") == 0;
    json_free(manifest);
    if (!is_meta)
        return error_set(err, STATUS_REFUSED,
                         "%s is no meta-SAE: report is about meta-SAEs, `evaluate` about others", meta);
    json_append(needs, json_new_string(meta));
    if (text)
        json_append(needs, json_new_string(text));
    return STATUS_OK;
}

static int read_options(struct store *s, const json *parameters, struct report_options *o, size_t **without,
                        struct error *err)
{
    struct store_txn *t;
    struct artifact meta;
    const char *text = json_get_string(parameters, "text", NULL);
    int status = text ? job_find(s, ARTIFACT_TEXT, text, &o->text, err) : STATUS_OK;
    if (status == STATUS_OK)
        status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_SAE, json_get_string(parameters, "meta", ""), &meta, err);
    if (status == STATUS_OK)
        status = job_meta_latents(t, &meta, json_get(parameters, "without"), without, &o->n_without, err);
    store_end(t);
    o->meta = status == STATUS_OK ? meta.id : 0;
    o->without = *without;
    o->tokens = (uint64_t)json_get_integer(parameters, "tokens", 0);
    o->quick = json_get_boolean(parameters, "quick", 0);
    o->steps = (uint64_t)json_get_integer(parameters, "steps", 0);
    o->seed = (uint64_t)json_get_integer(parameters, "seed", 0);
    return status;
}

static int run(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    struct report_options o = {0};
    struct report r;
    size_t *without = NULL;
    (void)job;
    int status = read_options(s, parameters, &o, &without, err);
    if (status == STATUS_OK)
        status = report_run(s, &o, m, &r, err);
    if (status == STATUS_OK) {
        *result = report_json(&r);
        report_free(&r);
    }
    free(without);
    return status;
}

const struct job_kind kind_report = {"report", 0, plan, run};
