/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "evaluate": "sae", "text", "tokens", "held_out", "saebench". A meta-SAE is evaluated over its bases'
 * decoder rows and needs no text.
 */
#include "config.h"

#include <string.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/jobs/kinds.h"
#include "saescope/sae/bases.h"

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *sae, *text = json_get_string(parameters, "text", NULL);
    (void)makes;
    int status = job_need(parameters, "sae", "the SAE", &sae, err);
    if (status != STATUS_OK)
        return status;
    json_append(needs, json_new_string(sae));
    if (text) {
        json_append(needs, json_new_string(text));
        return STATUS_OK;
    }
    json *manifest = job_peek(s, ARTIFACT_SAE, sae);
    int is_sae = manifest && strcmp(json_get_string(manifest, "kind", ""), "meta");
    json_free(manifest);
    return is_sae ? error_set(err, STATUS_USAGE, "evaluate needs --text T: the text that runs through the model") : STATUS_OK;
}

/* The bases' rows are what a text's tokens are to other SAEs. */
static int base_rows(struct store *s, artifact_id meta, uint64_t *rows, struct error *err)
{
    struct store_txn *t;
    struct meta_bases bases;
    int status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = meta_bases_read(t, meta, &bases, err);
    if (status == STATUS_OK) {
        *rows = bases.first[bases.n];
        meta_bases_free(&bases);
    }
    store_end(t);
    return status;
}

static int run_meta(struct store *s, artifact_id id, struct monitor *m, uint64_t *rows, json **metrics,
                    struct error *err)
{
    double explained_variance, batchtopk, l0, dead;
    int status = base_rows(s, id, rows, err);
    if (status == STATUS_OK)
        status = evaluate_meta(s, id, m, &explained_variance, &batchtopk, &l0, &dead, err);
    if (status != STATUS_OK)
        return status;
    json *quality = json_new_object(), *sparsity = json_new_object(), *misc = json_new_object();
    json_set(quality, "explained_variance", json_new_real(explained_variance));
    json_set(quality, "explained_variance_batchtopk", json_new_real(batchtopk));
    json_set(sparsity, "l0", json_new_real(l0));
    json_set(misc, "frac_alive", json_new_real(1 - dead));
    json_set(misc, "dead_fraction", json_new_real(dead));
    *metrics = json_new_object();
    json_set(*metrics, "reconstruction_quality", quality);
    json_set(*metrics, "sparsity", sparsity);
    json_set(*metrics, "misc_metrics", misc);
    return STATUS_OK;
}

static int run_sae(struct store *s, artifact_id id, const json *parameters, struct monitor *m,
                   uint64_t *tokens, json **metrics, struct error *err)
{
    const char *text;
    struct evaluation e;
    struct evaluate_options o = {.sae = id,
                                 .tokens = (uint64_t)json_get_integer(parameters, "tokens", 0),
                                 .held_out = json_get_boolean(parameters, "held_out", 0),
                                 .saebench = json_get_boolean(parameters, "saebench", 0),
                                 .no_model = json_get_boolean(parameters, "no_model", 0)};
    int status = job_need(parameters, "text", "--text", &text, err);
    if (status == STATUS_OK)
        status = job_find(s, ARTIFACT_TEXT, text, &o.text, err);
    if (status == STATUS_OK)
        status = evaluate_run(s, &o, m, &e, err);
    if (status != STATUS_OK)
        return status;
    *tokens = e.tokens;
    *metrics = evaluation_metrics(&e);
    return STATUS_OK;
}

static int run(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    const char *name = json_get_string(parameters, "sae", "");
    artifact_id id;
    uint64_t tokens = 0;
    json *metrics = NULL;
    (void)job;
    int status = job_find(s, ARTIFACT_SAE, name, &id, err);
    if (status != STATUS_OK)
        return status;
    json *manifest = job_peek(s, ARTIFACT_SAE, name);
    int meta = !strcmp(json_get_string(manifest, "kind", ""), "meta");
    json_free(manifest);
    status = meta ? run_meta(s, id, m, &tokens, &metrics, err)
                  : run_sae(s, id, parameters, m, &tokens, &metrics, err);
    if (status != STATUS_OK)
        return status;
    const char *text = meta ? NULL : json_get_string(parameters, "text", NULL);
    *result = json_new_object();
    json_set(*result, "sae", json_new_string(name));
    json_set(*result, "sae_id", json_new_integer((long long)id)); /* its name may come to mean another */
    json_set(*result, "text", text ? json_new_string(text) : json_new_null());
    json_set(*result, "tokens", json_new_integer((long long)tokens));
    json_set(*result, "metrics", metrics);
    return STATUS_OK;
}

const struct job_kind kind_evaluate = {"evaluate", 0, plan, run};
