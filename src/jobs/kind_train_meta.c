/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Job "train meta". Parameters: train_common.c's, "steps", "preset", "sae" (a name, or an array of names: a
 * joint meta-SAE), "raw_rows", "permute_columns", "alive" or "alive_density" (leave out latents whose density
 * is at most that), "weight" ("uniform" or "frequency").
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/index.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/kinds.h"
#include "saescope/sae/bases.h"

/*
 * Meta-SAEs of Leask et al. 2025 and the post before it: BatchTopK with k 4 and no b_enc, Adam 0.9/0.99,
 * auxiliary coefficient 1/16 with the top 512 dead latents, dead after 100 silent batches, rows as they are.
 *
 *   paper      learning rate 1e-4, 2,000 epochs in batches of 4,096 (of 49,152 rows: 24,000 steps)
 *   post       2,000 batches of 16,384; the learning rate is that of the run the authors' code loads for it,
 * 1e-3 dashboard  that run's learning rate and 2,000 steps, in the batches of the authors' scripts, 2^15
 *
 * Without a preset: 2,000 steps of 4,096 rows at 1e-3.
 */
static const struct preset {
    double lr;
    size_t batch;
    uint64_t steps, epochs; /* one of them is 0 */
} presets[] = {
    {1e-4, 4096, 0, 2000}, {1e-3, 16384, 2000, 0}, {1e-3, 32768, 2000, 0}, {1e-3, 4096, 2000, 0}, /* none */
};
static const char *const preset_names[] = {"paper", "post", "dashboard", NULL};

/* `rows`: how many there are to train on; 0 when they cannot be known yet. */
static int defaults(const json *parameters, size_t rows, struct train_options *o, struct error *err)
{
    size_t i;
    int status = training_preset(parameters, preset_names, &i, err);
    if (status != STATUS_OK)
        return status;
    train_options_default(o);
    o->k = 4;
    o->aux_coefficient = 1.0 / 16;
    o->dead_after = 100;
    o->normalization = TRAIN_NORMALIZE_NONE;
    o->lr = presets[i].lr;
    o->batch = rows && rows < presets[i].batch ? rows : presets[i].batch; /* no row twice in a batch */
    o->steps = presets[i].steps;
    if (presets[i].epochs) {
        size_t batch = (size_t)json_get_integer(parameters, "batch", (long long)o->batch), all;
        if (size_multiply(rows ? rows : batch, presets[i].epochs, &all))
            return error_set(err, STATUS_REFUSED, "%zu decoder rows are too many", rows);
        o->steps = batch ? all / batch + (all % batch != 0) : 0;
    }
    return STATUS_OK;
}

/* ---- The bases. ---- */

static const json *bases_given(const json *parameters)
{
    const json *saes = json_get(parameters, "sae");
    return saes ? saes : json_get(parameters, "base");
}

static size_t count_bases(const json *parameters)
{
    const json *saes = bases_given(parameters);
    return json_string(saes, NULL) ? 1 : json_length(saes);
}

static const char *base_name(const json *parameters, size_t i)
{
    const json *saes = bases_given(parameters);
    return json_string(json_string(saes, NULL) ? saes : json_at(saes, i), "");
}

/* What can be said before the bases are all there; *d_in: the rows' numbers, 1 when not known. */
static int check_bases(struct store *s, const json *parameters, size_t *d_in, struct error *err)
{
    size_t n = count_bases(parameters);
    const char *first = NULL;
    *d_in = 1;
    if (n == 0 || !*base_name(parameters, 0))
        return error_set(err, STATUS_USAGE, "--sae is missing");
    for (size_t i = 0; i < n; i++) {
        const char *name = base_name(parameters, i);
        json *manifest = job_peek(s, ARTIFACT_SAE, name);
        size_t own = (size_t)json_get_integer(manifest, "d_in", 0);
        json_free(manifest);
        for (size_t j = 0; j < i; j++)
            if (!strcmp(name, base_name(parameters, j)))
                return error_set(err, STATUS_USAGE, "--sae names %s twice", name);
        if (own && first && own != *d_in)
            return error_set(err, STATUS_REFUSED,
                             "decoder rows of %s have %zu numbers, those of %s %zu: they do not go together",
                             first, *d_in, name, own);
        if (own && !first) {
            first = name;
            *d_in = own;
        }
    }
    return STATUS_OK;
}

static int find_bases(struct store *s, const json *parameters, artifact_id *ids, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count_bases(parameters); i++)
        status = job_find(s, ARTIFACT_SAE, base_name(parameters, i), &ids[i], err);
    return status;
}

/* ---- Which rows, and how they are drawn. ---- */

struct row_choice {
    int raw, permuted, alive, by_frequency;
    double density; /* alive: at most this is dead */
};

static int read_choice(const json *parameters, struct row_choice *c, struct error *err)
{
    static const char *const weights[] = {"uniform", "frequency", NULL};
    const char *weight = json_get_string(parameters, "weight", "uniform");
    c->raw = json_get_boolean(parameters, "raw_rows", 0);
    c->permuted = json_get_boolean(parameters, "permute_columns", 0);
    c->density = json_get_number(parameters, "alive_density", 0);
    c->alive = json_get_boolean(parameters, "alive", 0) || json_get(parameters, "alive_density") != NULL;
    c->by_frequency = !strcmp(weight, "frequency");
    if (!(c->density >= 0 && c->density < 1))
        return error_set(err, STATUS_USAGE,
                         "--alive-density is a fraction of tokens: at least 0 and less than 1");
    return word_in_list("weight", weight, weights, err);
}

static int open_rows(struct store *s, const artifact_id *bases, size_t n, const struct row_choice *c,
                     uint64_t seed, struct batch_source **out, struct error *err)
{
    int status = decoder_source_open(s, bases, n, c->raw, seed, out, err);
    if (status == STATUS_OK && c->alive)
        status = decoder_source_leave_out(*out, s, c->density, err);
    if (status == STATUS_OK && c->by_frequency)
        status = decoder_source_weigh(*out, s, err);
    if (status == STATUS_OK && c->permuted)
        decoder_source_permute(*out, seed);
    return status;
}

static json *manifest_of(const artifact_id *bases, size_t n, const struct row_choice *c)
{
    json *manifest = json_new_object();
    json_set(manifest, "kind", json_new_string("meta"));
    json_set(manifest, "hook", json_new_null());
    json_set(manifest, "center_activations", json_new_boolean(0));
    json_set(manifest, "context_size", json_new_null());
    json_set(manifest, "prepend_bos", json_new_boolean(0));
    json_set(manifest, "references", meta_bases_references(bases, n));
    if (c->permuted)
        json_set(manifest, "baseline", json_new_boolean(1));
    return manifest;
}

static json *details_of(const json *parameters, const struct row_choice *c, size_t rows)
{
    json *details = json_new_object();
    json_set(details, "base", json_new_string(base_name(parameters, 0)));
    if (count_bases(parameters) > 1) {
        json *names = json_new_array();
        for (size_t i = 0; i < count_bases(parameters); i++)
            json_append(names, json_new_string(base_name(parameters, i)));
        json_set(details, "bases", names);
    }
    training_set_preset(details, parameters);
    json_set(details, "rows", json_new_integer((long long)rows));
    json_set(details, "raw_rows", json_new_boolean(c->raw));
    json_set(details, "permute_columns", json_new_boolean(c->permuted));
    json_set(details, "alive", json_new_boolean(c->alive));
    json_set(details, "alive_density", c->alive ? json_new_real(c->density) : json_new_null());
    json_set(details, "weight", json_new_string(c->by_frequency ? "frequency" : "uniform"));
    return details;
}

/* ---- The job. ---- */

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    struct train_options base;
    struct training t = {0};
    struct row_choice choice;
    size_t d_in;
    int status = check_bases(s, parameters, &d_in, err);
    if (status == STATUS_OK)
        status = read_choice(parameters, &choice, err);
    if (status == STATUS_OK)
        status = defaults(parameters, 0, &base, err);
    if (status == STATUS_OK)
        status = training_read(parameters, &base, &t, err);
    if (status == STATUS_OK)
        status = training_plan(s, &t, d_in, makes, err);
    for (size_t i = 0; status == STATUS_OK && i < count_bases(parameters); i++)
        json_append(needs, json_new_string(base_name(parameters, i)));
    training_free(&t);
    return status;
}

static int train_on(struct store *s, uint64_t id, struct training *t, const artifact_id *bases,
                    const struct row_choice *c, struct batch_source *source, struct monitor *m,
                    struct error *err)
{
    json *manifest = manifest_of(bases, count_bases(t->parameters), c);
    json *details = details_of(t->parameters, c, decoder_source_rows(source));
    int status = training_run(s, id, t, source, manifest, details, m, err);
    json_free(manifest);
    json_free(details);
    return status;
}

static int run(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    struct train_options base;
    struct training t = {0};
    struct row_choice choice;
    struct batch_source *source = NULL;
    size_t n = count_bases(parameters);
    artifact_id *bases = xcalloc(n + 1, sizeof(*bases));
    train_options_default(&base);
    uint64_t seed = (uint64_t)json_get_integer(parameters, "seed", (long long)base.seed);
    int status = find_bases(s, parameters, bases, err);
    if (status == STATUS_OK)
        status = read_choice(parameters, &choice, err);
    if (status == STATUS_OK)
        status = open_rows(s, bases, n, &choice, seed, &source, err);
    if (status == STATUS_OK)
        status = defaults(parameters, decoder_source_rows(source), &base, err);
    if (status == STATUS_OK)
        status = training_read(parameters, &base, &t, err);
    if (status == STATUS_OK)
        status = train_on(s, id, &t, bases, &choice, source, m, err);
    if (source)
        source->close(source);
    /* Columns and labels at once: it takes seconds and needs no text. Permuted rows have nothing to show. */
    for (size_t i = 0; status == STATUS_OK && i < t.n && !choice.permuted; i++)
        status = index_meta_run(s, t.ids[i], m, err);
    if (status == STATUS_OK)
        *result = training_result(&t);
    training_free(&t);
    free(bases);
    return status;
}

const struct job_kind kind_train_meta = {"train meta", 1, plan, run};
