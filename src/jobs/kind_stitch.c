/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "stitch": "name", "small", "large", "text", "tokens", "threshold", "decoder_bias", "order", "control", "ce_steps",
 * "ce_tokens", "seed", "replace". Its result is the stitch's summary, without the path.
 */
#include "config.h"

#include "saescope/analysis/stitch.h"
#include "saescope/jobs/kinds.h"

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    static const char *const needed[][2] = {{"small", "--small"}, {"large", "--large"}, {"text", "--text"}};
    const char *name, *other = NULL;
    enum stitch_bias bias;
    enum stitch_order order;
    double threshold = json_get_number(parameters, "threshold", STITCH_THRESHOLD);
    int status = job_need(parameters, "name", "the stitch's name", &name, err);
    for (size_t i = 0; i < 3 && status == STATUS_OK; i++) {
        status = job_need(parameters, needed[i][0], needed[i][1], &other, err);
        if (status == STATUS_OK)
            json_append(needs, json_new_string(other));
    }
    other = json_get_string(parameters, "control", NULL);
    if (other)
        json_append(needs, json_new_string(other));
    if (status == STATUS_OK && !(threshold > 0 && threshold < 1))
        status = error_set(err, STATUS_REFUSED, "the cosine threshold is between 0 and 1, not %g", threshold);
    if (status == STATUS_OK)
        status = stitch_bias_find(json_get_string(parameters, "decoder_bias", "small"), &bias, err);
    if (status == STATUS_OK)
        status = stitch_order_find(json_get_string(parameters, "order", "helpful"), &order, err);
    return status == STATUS_OK
               ? job_plan_name(s, ARTIFACT_STITCH, name, json_get_boolean(parameters, "replace", 0), makes, err)
               : status;
}

static int find_inputs(struct store *s, const json *parameters, struct stitch_options *o, struct error *err)
{
    const char *control = json_get_string(parameters, "control", NULL);
    int status = job_find(s, ARTIFACT_SAE, json_get_string(parameters, "small", ""), &o->small, err);
    if (status == STATUS_OK)
        status = job_find(s, ARTIFACT_SAE, json_get_string(parameters, "large", ""), &o->large, err);
    if (status == STATUS_OK)
        status = job_find(s, ARTIFACT_TEXT, json_get_string(parameters, "text", ""), &o->text, err);
    if (status == STATUS_OK && control)
        status = job_find(s, ARTIFACT_SAE, control, &o->control, err);
    if (status == STATUS_OK)
        status = stitch_bias_find(json_get_string(parameters, "decoder_bias", "small"), &o->bias, err);
    if (status == STATUS_OK)
        status = stitch_order_find(json_get_string(parameters, "order", "helpful"), &o->order, err);
    return status;
}

static json *summary(struct store *s, artifact_id id, struct error *err)
{
    struct store_txn *t;
    struct stitch_facts f;
    json *result = NULL;
    if (store_begin(s, &t, err) != STATUS_OK)
        return NULL;
    if (stitch_facts_read(t, id, &f, err) == STATUS_OK) {
        result = stitch_result_json(&f, NULL);
        stitch_facts_free(&f);
    }
    store_end(t);
    return result;
}

static int run(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result, struct error *err)
{
    struct stitch_options o = {.tokens = (uint64_t)json_get_integer(parameters, "tokens", 0),
                               .threshold = json_get_number(parameters, "threshold", STITCH_THRESHOLD),
                               .seed = (uint64_t)json_get_integer(parameters, "seed", 0),
                               .ce_steps = (size_t)json_get_integer(parameters, "ce_steps", 0),
                               .ce_tokens = (uint64_t)json_get_integer(parameters, "ce_tokens", 0)};
    artifact_id id = 0;
    int published = 0, status = find_inputs(s, parameters, &o, err);
    if (status == STATUS_OK)
        status = job_claim(s, job, ARTIFACT_STITCH, json_get_string(parameters, "name", ""),
                           json_get_boolean(parameters, "replace", 0), &id, &published, err);
    if (status != STATUS_OK)
        return status;
    if (!published)
        status = stitch_run(s, id, &o, m, err);
    if (status != STATUS_OK) {
        store_abandon(s, id);
        return status;
    }
    *result = summary(s, id, err);
    return *result ? STATUS_OK : error_code(err);
}

const struct job_kind kind_stitch = {"stitch", 0, plan, run};
