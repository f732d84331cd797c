/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "train sae". Parameters: train_common.c's, "steps", "preset", "model", "hook", "text", "tokens" (in all;
 * default: the text once; fewer than the text has use its first contexts only), "context_size" (default: the
 * model's, at most CONTEXT_SIZE_MAX), "bos" or "no_bos" (default: the model's), "center".
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/kinds.h"
#include "saescope/model/text.h"

#define CONTEXT_SIZE_MAX ((size_t)1024)

static const char *const presets[] = {"batchtopk-paper", NULL}; /* its settings are the defaults */

/* The width at the hook, when the model is there to ask; 1 when another job is still making it. */
static int plan_hook(struct store *s, const char *model_name_given, const char *hook_name, size_t *d_in,
                     struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    struct model *model = NULL;
    struct hook hook;
    *d_in = 1;
    int status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    if (store_find(t, ARTIFACT_MODEL, model_name_given, &a, NULL) == STATUS_OK) {
        status = model_open(t, a.id, &model, err);
        if (status == STATUS_OK)
            status = hook_parse(model_get_config(model), hook_name, &hook, err);
        if (status == STATUS_OK)
            *d_in = hook_width(model_get_config(model), &hook);
    }
    if (model)
        model_free(model);
    store_end(t);
    return status;
}

static int plan_sae(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *model, *hook, *text;
    struct train_options base;
    struct training t = {0};
    size_t d_in;
    train_options_default(&base);
    int status = job_need(parameters, "model", "--model", &model, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "hook", "--hook", &hook, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "text", "--text", &text, err);
    if (status == STATUS_OK)
        status = training_preset(parameters, presets, NULL, err);
    if (status == STATUS_OK)
        status = plan_hook(s, model, hook, &d_in, err);
    if (status == STATUS_OK)
        status = training_read(parameters, &base, &t, err);
    if (status == STATUS_OK)
        status = training_plan(s, &t, d_in, makes, err);
    if (status == STATUS_OK) {
        json_append(needs, json_new_string(model));
        json_append(needs, json_new_string(text));
    }
    training_free(&t);
    return status;
}

/* Counted tokens of the contexts that are trained on when all are. */
static uint64_t epoch_tokens(const struct contexts *c, uint64_t counted)
{
    size_t n = contexts_count(c);
    return n ? (uint64_t)((double)counted * (double)contexts_held_out_from(c) / (double)n) : 0;
}

/* Which contexts, how many steps. */
static int plan_tokens(struct store_txn *t, const struct model *model, const json *parameters,
                       struct stream_options *so, struct training *training, struct error *err)
{
    struct contexts *c;
    uint64_t counted = 0, tokens = (uint64_t)json_get_integer(parameters, "tokens", 0);
    size_t n = 0;
    int status =
        contexts_open(t, so->text, so->context_size, stream_options_adds_bos(so), model_get_config(model)->bos, &c, err);
    if (status != STATUS_OK)
        return status;
    if (tokens) {
        status = contexts_for_tokens(c, t, model, tokens, &n, &counted, err);
        if (n < contexts_held_out_from(c))
            so->n_contexts = n;
    } else if (json_get_integer(parameters, "steps", 0) <= 0) {
        status = contexts_for_tokens(c, t, model, 0, &n, &counted, err);
        tokens = epoch_tokens(c, counted);
    }
    contexts_close(c);
    for (size_t i = 0; i < training->n && json_get_integer(parameters, "steps", 0) <= 0; i++)
        training->options[i].steps = (tokens + training->options[i].batch - 1) / training->options[i].batch;
    return status;
}

/* so->hook points into `hook`. */
static int stream_options_read(struct store *s, const json *parameters, struct stream_options *so, struct hook *hook,
                               struct training *training, struct error *err)
{
    struct store_txn *t;
    struct model *model = NULL;
    int status = job_find(s, ARTIFACT_MODEL, json_get_string(parameters, "model", ""), &so->model, err);
    if (status == STATUS_OK)
        status = job_find(s, ARTIFACT_TEXT, json_get_string(parameters, "text", ""), &so->text, err);
    if (status == STATUS_OK)
        status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = model_open(t, so->model, &model, err);
    if (status == STATUS_OK) {
        const struct model_config *config = model_get_config(model);
        long long size = json_get_integer(parameters, "context_size", 0);
        so->hook = hook->name;
        so->center = json_get_boolean(parameters, "center", 0);
        size_t most = config->context_length < CONTEXT_SIZE_MAX ? config->context_length : CONTEXT_SIZE_MAX;
        so->context_size = size > 0 ? (size_t)size : most;
        so->prepend_bos =
            json_get_boolean(parameters, "bos", config->prepend_bos && config->bos != TOKEN_NONE) &&
            !json_get_boolean(parameters, "no_bos", 0);
        status = hook_parse(config, json_get_string(parameters, "hook", ""), hook, err);
    }
    if (status == STATUS_OK)
        status = stream_options_fit(t, so, err);
    if (status == STATUS_OK)
        status = plan_tokens(t, model, parameters, so, training, err);
    if (model)
        model_free(model);
    store_end(t);
    return status;
}

static json *sae_manifest(const struct stream_options *so)
{
    json *m = json_new_object();
    json_set(m, "kind", json_new_string("sae"));
    json_set(m, "hook", json_new_string(so->hook));
    json_set(m, "center_activations", json_new_boolean(so->center));
    json_set(m, "context_size", json_new_integer((long long)so->context_size));
    json_set(m, "prepend_bos", json_new_boolean(so->prepend_bos));
    json *references = json_new_object();
    json_set(references, "model", json_new_integer((long long)so->model));
    json_set(m, "references", references);
    return m;
}

static int run_sae(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
                   struct error *err)
{
    struct stream_options so = {0};
    struct train_options base;
    struct training t = {0};
    struct batch_source *source = NULL;
    struct hook hook;
    train_options_default(&base);
    int status = training_read(parameters, &base, &t, err);
    if (status == STATUS_OK)
        status = stream_options_read(s, parameters, &so, &hook, &t, err);
    if (status == STATUS_OK)
        status = activation_source_open(s, &so, 0, t.options[0].seed, m, &source, err);
    if (status == STATUS_OK) {
        json *manifest = sae_manifest(&so), *details = json_new_object();
        json_set(details, "text", json_new_string(json_get_string(parameters, "text", "")));
        training_set_preset(details, parameters);
        if (so.n_contexts)
            json_set(details, "contexts", json_new_integer((long long)so.n_contexts));
        status = training_run(s, id, &t, source, manifest, details, m, err);
        json_free(manifest);
        json_free(details);
    }
    if (source)
        source->close(source);
    if (status == STATUS_OK)
        *result = training_result(&t);
    training_free(&t);
    return status;
}

const struct job_kind kind_train_sae = {"train sae", 1, plan_sae, run_sae};
