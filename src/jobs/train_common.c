/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the training of SAEs and of meta-SAEs shares: hyperparameters, names, the run, its result. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/jobs/kinds.h"

static size_t size_parameter(const json *parameters, const char *key, size_t fallback)
{
    long long n = json_get_integer(parameters, key, -1);
    return n >= 0 ? (size_t)n : fallback;
}

static int read_options(const json *parameters, struct train_options *o, struct error *err)
{
    const char *architecture = json_get_string(parameters, "arch", NULL);
    const char *normalization = json_get_string(parameters, "normalize", NULL);
    if (architecture && !(o->architecture = sae_architecture_find(architecture, err)))
        return error_code(err);
    if (normalization && train_normalization_find(normalization, &o->normalization, err))
        return error_code(err);
    o->k = size_parameter(parameters, "k", o->k);
    o->lr = json_get_number(parameters, "lr", o->lr);
    o->batch = size_parameter(parameters, "batch", o->batch);
    o->steps = size_parameter(parameters, "steps", o->steps);
    o->warmup = size_parameter(parameters, "warmup", o->warmup);
    o->decay = json_get_number(parameters, "decay", o->decay);
    o->aux_k = size_parameter(parameters, "aux_k", o->aux_k);
    o->aux_coefficient = json_get_number(parameters, "aux_coefficient", o->aux_coefficient);
    o->dead_after = size_parameter(parameters, "dead_after", o->dead_after);
    o->clip = json_get_number(parameters, "clip", o->clip);
    o->seed = size_parameter(parameters, "seed", o->seed);
    return STATUS_OK;
}

int training_read(const json *parameters, const struct train_options *base, struct training *t,
                  struct error *err)
{
    const json *names = json_get(parameters, "names"), *widths = json_get(parameters, "widths");
    size_t n = json_length(names), n_widths = json_length(widths);
    struct train_options common = *base;
    *t = (struct training){.parameters = parameters};
    if (!n || !n_widths)
        return error_set(err, STATUS_USAGE, "%s", n ? "--width is missing" : "the name to train is missing");
    if (n_widths != 1 && n_widths != n)
        return error_set(err, STATUS_USAGE,
                         "there are %zu names and %zu widths: give one width, or one for each name", n,
                         n_widths);
    int status = read_options(parameters, &common, err);
    if (status != STATUS_OK)
        return status;
    t->n = n;
    t->names = xcalloc(n, sizeof(*t->names));
    t->options = xcalloc(n, sizeof(*t->options));
    t->ids = xcalloc(n, sizeof(*t->ids));
    t->published = xcalloc(n, sizeof(*t->published));
    t->results = xcalloc(n, sizeof(*t->results));
    for (size_t i = 0; i < n; i++) {
        long long width = json_integer(json_at(widths, n_widths == 1 ? 0 : i), 0);
        t->names[i] = json_string(json_at(names, i), "");
        t->options[i] = common;
        t->options[i].width = width > 0 ? (size_t)width : 0;
    }
    return STATUS_OK;
}

void training_free(struct training *t)
{
    free(t->names);
    free(t->options);
    free(t->ids);
    free(t->published);
    free(t->results);
    *t = (struct training){0};
}

static int check_options(const struct training *t, size_t d_in, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < t->n; i++)
        status = train_options_check(&t->options[i], d_in, err);
    return status;
}

int training_plan(struct store *s, const struct training *t, size_t d_in, json *makes, struct error *err)
{
    int replace = json_get_boolean(t->parameters, "replace", 0);
    int status = check_options(t, d_in, err);
    for (size_t i = 0; status == STATUS_OK && i < t->n; i++)
        status = job_plan_name(s, ARTIFACT_SAE, t->names[i], replace, makes, err);
    return status;
}

/* A copy: the store takes manifests over. */
static json *copy(const json *object)
{
    struct strbuf text = STRBUF_INIT;
    json_dump(object, &text);
    json *made = json_parse(strbuf_string(&text), text.length, "manifest", NULL);
    strbuf_free(&text);
    return made;
}

static json *manifest_of(const struct training *t, size_t i, const json *manifest, const json *details)
{
    const struct train_result *r = &t->results[i];
    json *m = copy(manifest), *training = train_options_json(&t->options[i]), *source = json_new_object();
    for (size_t j = 0; j < json_length(details); j++)
        json_set(training, json_key_at(details, j), json_retain(json_value_at(details, j)));
    json_set(training, "steps", json_new_integer((long long)r->steps));
    json_set(training, "tokens", json_new_integer((long long)r->rows));
    json_set(training, "loss", json_new_real(r->loss));
    json_set(training, "l0", json_new_real(r->l0));
    json_set(training, "explained_variance", json_new_real(r->explained_variance));
    json_set(training, "dead", json_new_integer((long long)r->dead));
    json_set(source, "trained_by", json_new_string("saescope " PACKAGE_VERSION));
    json_set(m, "training", training);
    json_set(m, "source", source);
    return m;
}

static int save_all(struct store *s, struct training *t, struct sae **saes, const json *manifest,
                    const json *details, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < t->n; i++)
        if (!t->published[i])
            status = sae_save(s, t->ids[i], saes[i], manifest_of(t, i, manifest, details), err);
    return status;
}

int training_run(struct store *s, uint64_t job, struct training *t, struct batch_source *source,
                 const json *manifest, const json *details, struct monitor *m, struct error *err)
{
    struct sae **saes = xcalloc(t->n, sizeof(struct sae *));
    int replace = json_get_boolean(t->parameters, "replace", 0);
    int status = check_options(t, source->d_in, err);
    for (size_t i = 0; status == STATUS_OK && i < t->n; i++)
        status = job_claim(s, job, ARTIFACT_SAE, t->names[i], replace, &t->ids[i], &t->published[i], err);
    if (status == STATUS_OK)
        status = train_run(t->options, t->n, source, m, saes, t->results, err);
    if (status == STATUS_OK) {
        struct progress p;
        const struct train_result *last = &t->results[0];
        progress_init(&p);
        p.phase = "writing";
        /* What stays in the job's record. */
        p.step = p.steps = last->steps;
        p.loss = last->loss;
        p.l0 = last->l0;
        p.explained_variance = last->explained_variance;
        monitor_report(m, &p);
        status = save_all(s, t, saes, manifest, details, err);
    }
    for (size_t i = 0; i < t->n; i++)
        if (saes[i])
            sae_free(saes[i]);
    free(saes);
    return status;
}

json *training_result(const struct training *t)
{
    json *saes = json_new_array(), *result;
    for (size_t i = 0; i < t->n; i++) {
        const struct train_result *r = &t->results[i];
        json *o = json_new_object();
        json_set(o, "name", json_new_string(t->names[i]));
        json_set(o, "steps", json_new_integer((long long)r->steps));
        json_set(o, "tokens", json_new_integer((long long)r->rows));
        json_set(o, "loss", json_new_real(r->loss));
        json_set(o, "l0", json_new_real(r->l0));
        json_set(o, "explained_variance", json_new_real(r->explained_variance));
        json_set(o, "dead", json_new_integer((long long)r->dead));
        json_set(o, "seconds", json_new_real(r->seconds));
        json_set(o, "tokens_per_second", json_new_real(r->rows_per_second));
        json_append(saes, o);
    }
    if (t->n == 1) {
        result = json_retain(json_at(saes, 0));
        json_free(saes);
        return result;
    }
    result = json_new_object();
    json_set(result, "saes", saes);
    return result;
}

int training_preset(const json *parameters, const char *const *names, size_t *which, struct error *err)
{
    const char *given = json_get_string(parameters, "preset", NULL);
    size_t i = 0;
    while (names[i] && (!given || strcmp(given, names[i])))
        i++;
    if (which)
        *which = i;
    return given ? word_in_list("preset", given, names, err) : STATUS_OK;
}

void training_set_preset(json *details, const json *parameters)
{
    const char *preset = json_get_string(parameters, "preset", NULL);
    json_set(details, "preset", preset ? json_new_string(preset) : json_new_null());
}
