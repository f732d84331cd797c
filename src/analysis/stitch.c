/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A stitch: one pass of the model over the text, in which latents are scored and what the path and the parents need goes to
 * files; then, without the model, the nearest latents, the intervals, the parents and the path.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/stitch.h"
#include "saescope/analysis/stitch_parents.h"
#include "saescope/analysis/stitch_parts.h"
#include "saescope/analysis/stitch_score.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

#define THRESHOLD_BATCHES 8

enum part { PART_SMALL, PART_LARGE, PART_CONTROL, PARTS };

struct stitching {
    struct store *store;
    artifact_id id;
    const struct stitch_options *options;
    struct monitor *monitor;
    struct sae_facts facts[PARTS];
    struct sae *saes[PARTS]; /* PART_CONTROL: may be NULL */
    double theta[PARTS];     /* NaN: not TopK */
    struct stream_options contexts;
    char hook[64];
    struct stream *stream;
    uint64_t n_counted;
    uint32_t *row_contexts; /* of a batch's counted rows */
    struct scorer *scorer;
    struct token_spool *tokens;
    struct score_totals totals;
    struct stitch_latents latents;
    struct novelty novelty[SCORED_ROWS];
    struct stitch_groups *groups;
    struct stitch_components components;
    struct stitch_path path;
    double started;
};

/* ---- What is stitched. ---- */

static int check_sae(const struct stitching *x, const struct sae_facts *f, struct error *err)
{
    const struct sae_facts *small = &x->facts[PART_SMALL];
    if (f->is_meta)
        return error_set(err, STATUS_REFUSED,
                         "%s is a meta-SAE: it reads decoder rows, and stitching needs SAEs that read a text's activations",
                         f->artifact.name);
    if (f->d_in != small->d_in)
        return error_set(err, STATUS_REFUSED, "%s has d_in %zu and %s %zu: they cannot be stitched", small->artifact.name,
                         small->d_in, f->artifact.name, f->d_in);
    return STATUS_OK;
}

/* Why two SAEs do not read the same; a and b are what they read. */
static int refuse_contexts(const struct stitching *x, enum part part, const struct stream_options *b, struct error *err)
{
    const struct stream_options *a = &x->contexts;
    const char *first = x->facts[PART_SMALL].artifact.name, *second = x->facts[part].artifact.name;
    if (strcmp(a->hook, b->hook) != 0)
        return error_set(err, STATUS_REFUSED, "%s reads hook %s and %s %s: stitching needs one hook", first, a->hook, second,
                         b->hook);
    if (a->context_size != b->context_size || a->prepend_bos != b->prepend_bos)
        return error_set(err, STATUS_REFUSED,
                         "%s reads contexts of %zu tokens %s BOS and %s of %zu %s BOS: stitching needs the same contexts", first,
                         a->context_size, a->prepend_bos ? "with" : "without", second, b->context_size,
                         b->prepend_bos ? "with" : "without");
    return error_set(err, STATUS_REFUSED, "%s reads centred activations and %s does not: stitching needs the same",
                     a->center ? first : second, a->center ? second : first);
}

static int open_sae(struct stitching *x, struct store_txn *t, enum part part, artifact_id id, struct error *err)
{
    struct sae_facts *f = &x->facts[part];
    struct stream_options o;
    char hook[64];
    int status = sae_facts_read(t, id, f, err);
    if (!status)
        status = check_sae(x, f, err);
    if (!status && part != PART_SMALL && f->model != x->facts[PART_SMALL].model)
        status = error_set(err, STATUS_REFUSED, "%s and %s are of different models: they cannot be stitched",
                           x->facts[PART_SMALL].artifact.name, f->artifact.name);
    if (!status)
        status = stream_options_for_sae(t, id, x->options->text, &o, hook, err);
    if (!status && part != PART_SMALL && !stream_options_agree(&o, &x->contexts))
        status = refuse_contexts(x, part, &o, err);
    if (!status)
        status = sae_open(t, id, &x->saes[part], err);
    if (!status && x->saes[part]->normalization != x->saes[PART_SMALL]->normalization)
        status = error_set(err, STATUS_REFUSED,
                           "%s normalises its input by %s and %s by %s: latents of one cannot be inserted in the other",
                           x->facts[PART_SMALL].artifact.name, sae_normalization_name(x->saes[PART_SMALL]->normalization),
                           f->artifact.name, sae_normalization_name(x->saes[part]->normalization));
    if (!status && part == PART_SMALL) {
        strcpy(x->hook, hook);
        x->contexts = o;
        x->contexts.hook = x->hook;
    }
    return status;
}

static int open_saes(struct stitching *x, struct error *err)
{
    const struct stitch_options *o = x->options;
    struct store_txn *t;
    int status = store_begin(x->store, &t, err);
    if (status)
        return status;
    status = open_sae(x, t, PART_SMALL, o->small, err);
    if (!status)
        status = open_sae(x, t, PART_LARGE, o->large, err);
    if (!status && o->control)
        status = open_sae(x, t, PART_CONTROL, o->control, err);
    store_end(t);
    if (!status && o->control && x->facts[PART_CONTROL].d_sae != x->facts[PART_SMALL].d_sae)
        status = error_set(err, STATUS_REFUSED,
                           "the control %s has %zu latents and %s %zu: a control is an SAE of the small one's width, "
                           "trained from another seed",
                           x->facts[PART_CONTROL].artifact.name, x->facts[PART_CONTROL].d_sae,
                           x->facts[PART_SMALL].artifact.name, x->facts[PART_SMALL].d_sae);
    return status;
}

static int check_options(const struct stitch_options *o, struct error *err)
{
    if (!(o->threshold > 0 && o->threshold < 1))
        return error_set(err, STATUS_REFUSED, "the cosine threshold is between 0 and 1, not %g", o->threshold);
    if (o->small == o->large)
        return error_set(err, STATUS_REFUSED, "the small and the large SAE are the same: an SAE is not stitched with itself");
    if (o->control && (o->control == o->small || o->control == o->large))
        return error_set(err, STATUS_REFUSED,
                         "the control is one of the two SAEs that are stitched: it is an SAE of the small one's width, "
                         "trained from another seed");
    return STATUS_OK;
}

static int open_stream(struct stitching *x, struct error *err)
{
    x->contexts.monitor = x->monitor;
    int status = stream_open(x->store, &x->contexts, &x->stream, err);
    if (!status)
        status = stream_limit(x->stream, x->options->tokens, &x->n_counted, err);
    if (status)
        return status;
    if (!x->n_counted)
        return error_set(err, STATUS_REFUSED, "the text has no context of %zu tokens", stream_length(x->stream));
    if (stream_contexts(x->stream) > UINT32_MAX)
        return error_set(err, STATUS_REFUSED, "the text has too many contexts: give the stitch fewer tokens");
    if (x->facts[PART_SMALL].d_in != stream_width(x->stream))
        return error_set(err, STATUS_REFUSED, "SAEs of d_in %zu do not fit hook %s of width %zu", x->facts[PART_SMALL].d_in,
                         x->hook, stream_width(x->stream));
    x->row_contexts = array_alloc(stream_batch_contexts(x->stream) * stream_length(x->stream), sizeof(*x->row_contexts),
                                  "contexts", err);
    return x->row_contexts ? STATUS_OK : STATUS_FAILED;
}

/* ---- The pass. ---- */

/* The next batch's counted rows, moved together; *n = 0 at the end. */
static int next_rows(struct stitching *x, struct stream_batch *b, size_t *n, struct error *err)
{
    size_t width = stream_width(x->stream);
    int status;
    *n = 0;
    do {
        status = monitor_check(x->monitor, err);
        if (!status)
            status = stream_next(x->stream, b, err);
        for (size_t i = 0; !status && i < b->n_tokens; i++) {
            if (!b->counted[i])
                continue;
            if (*n != i)
                memmove(b->activations + *n * width, b->activations + i * width, width * sizeof(float));
            x->row_contexts[(*n)++] = (uint32_t)(b->first_context + i / b->length);
        }
    } while (!status && b->n_contexts && !*n);
    return status;
}

static int attach(struct stitching *x, struct store_txn *t, struct error *err)
{
    int status = STATUS_OK;
    for (enum part p = 0; p < PARTS && !status; p++)
        if (x->saes[p])
            status = sae_attach(x->saes[p], t, err);
    return status;
}

/* Adds what one batch says of each TopK SAE's threshold. */
static int estimate_batch(struct stitching *x, const float *rows, size_t n, double sums[PARTS], struct error *err)
{
    struct store_txn *t;
    int status = store_begin(x->store, &t, err);
    if (status)
        return status;
    status = attach(x, t, err);
    parallel_watch(x->monitor);
    for (enum part p = 0; p < PARTS && !status; p++) {
        double theta;
        if (!x->saes[p] || !x->saes[p]->architecture->per_token_k)
            continue;
        status = threshold_of_rows(x->saes[p], rows, n, &theta, err);
        sums[p] += status ? 0 : theta;
    }
    parallel_watch(NULL);
    store_end(t);
    return status;
}

/* TopK SAEs get their threshold form from the first batches, which are then read again. */
static int find_thresholds(struct stitching *x, struct error *err)
{
    double sums[PARTS] = {0};
    size_t batches = 0;
    int needed = 0, status = STATUS_OK;
    for (enum part p = 0; p < PARTS; p++) {
        x->theta[p] = NAN;
        needed |= x->saes[p] && x->saes[p]->architecture->per_token_k;
    }
    while (needed && !status && batches < THRESHOLD_BATCHES) {
        struct stream_batch b;
        size_t n;
        status = next_rows(x, &b, &n, err);
        if (!n)
            break;
        status = estimate_batch(x, b.activations, n, sums, err);
        batches++;
        monitor_step(x->monitor, "thresholds", batches, THRESHOLD_BATCHES);
    }
    if (!status && needed)
        status = stream_rewind(x->stream, 0, err);
    for (enum part p = 0; p < PARTS && !status; p++) {
        if (!x->saes[p] || !x->saes[p]->architecture->per_token_k)
            continue;
        x->theta[p] = (double)(float)(sums[p] / (double)batches); /* as exact in the manifest as here */
        status = stitch_threshold_form(x->saes[p], x->theta[p], err);
    }
    return status;
}

static int open_scorer(struct stitching *x, struct error *err)
{
    char *made = NULL;
    const char *directory = x->monitor ? x->monitor->work_dir : NULL;
    struct store_txn *t;
    int with_scales = x->saes[PART_LARGE]->normalization != NORMALIZE_NONE;
    if (!directory)
        directory = made = store_work_directory(x->store, 0, err);
    if (!directory)
        return err ? err->code : STATUS_STORE;
    int status = token_spool_open(directory, x->facts[PART_SMALL].d_in, with_scales, &x->tokens, err);
    if (!status)
        status = store_begin(x->store, &t, err);
    if (!status) {
        struct scorer_options o = {x->saes[PART_SMALL], x->saes[PART_LARGE], x->saes[PART_CONTROL], directory, x->tokens,
                                   x->options->seed};
        status = attach(x, t, err);
        if (!status)
            status = scorer_open(&o, &x->scorer, err);
        store_end(t);
    }
    free(made);
    return status;
}

static int read_text(struct stitching *x, struct error *err)
{
    uint64_t done = 0;
    for (;;) {
        struct stream_batch b;
        struct store_txn *t;
        size_t n;
        int status = next_rows(x, &b, &n, err);
        if (status || !n)
            return status;
        status = store_begin(x->store, &t, err);
        if (status)
            return status;
        status = attach(x, t, err);
        parallel_watch(x->monitor);
        if (!status)
            status = scorer_add(x->scorer, b.activations, n, x->row_contexts, err);
        parallel_watch(NULL);
        store_end(t);
        if (status)
            return status;
        done += n;
        monitor_step_rate(x->monitor, "scoring", done, x->n_counted, rate_since(x->started, (double)done),
                          "tok/s");
    }
}

/* ---- After it. ---- */

static int classify(struct stitching *x, struct error *err)
{
    struct stitch_latents *l = &x->latents;
    struct store_txn *t;
    l->n = x->saes[PART_LARGE]->d_sae;
    l->fired = array_alloc(l->n, sizeof(*l->fired), "columns", err);
    l->nearest = array_alloc(l->n, sizeof(*l->nearest), "columns", err);
    l->max_cosine = array_alloc(l->n, sizeof(*l->max_cosine), "columns", err);
    l->delta = array_alloc(l->n, sizeof(*l->delta), "columns", err);
    l->classes = array_alloc(l->n, sizeof(*l->classes), "columns", err);
    if (!l->fired || !l->nearest || !l->max_cosine || !l->delta || !l->classes)
        return STATUS_FAILED;
    memcpy(l->fired, scorer_fired(x->scorer, SCORED_LARGE), l->n * sizeof(*l->fired));
    memcpy(l->delta, scorer_delta(x->scorer, SCORED_LARGE), l->n * sizeof(*l->delta));
    for (size_t i = 0; i < l->n; i++)
        l->classes[i] = (uint8_t)stitch_class(l->fired[i], l->delta[i]);
    int status = store_begin(x->store, &t, err);
    if (status)
        return status;
    status = attach(x, t, err);
    if (!status)
        status = stitch_groups_new(l->n, x->saes[PART_SMALL]->d_sae, &x->groups, err);
    if (!status)
        status = stitch_groups_find(x->groups, x->saes[PART_LARGE], x->saes[PART_SMALL], x->options->threshold, x->monitor,
                                    l->nearest, l->max_cosine, err);
    store_end(t);
    return status;
}

static int resample(struct stitching *x, struct error *err)
{
    int status = STATUS_OK;
    for (enum scored_rows r = 0; r < SCORED_ROWS && !status; r++) {
        monitor_step(x->monitor, "resampling", (uint64_t)r, SCORED_ROWS);
        if (r != SCORED_SEED || x->saes[PART_CONTROL])
            status = scorer_novelty(x->scorer, r, x->monitor, &x->novelty[r], err);
    }
    return status;
}

static int find_path(struct stitching *x, struct error *err)
{
    const struct stitch_options *o = x->options;
    const struct stitch_path_input in = {.store = x->store,
                                         .small = x->saes[PART_SMALL],
                                         .large = x->saes[PART_LARGE],
                                         .tokens = x->tokens,
                                         .groups = x->groups,
                                         .max_cosine = x->latents.max_cosine,
                                         .delta = x->latents.delta,
                                         .centred = x->totals.centred,
                                         .bias = o->bias,
                                         .order = o->order,
                                         .seed = o->seed};
    const struct stitch_facts f = {.small = o->small,
                                   .large = o->large,
                                   .bias = o->bias,
                                   .small_theta = x->theta[PART_SMALL],
                                   .large_theta = x->theta[PART_LARGE]};
    int status = stitch_path_compute(&in, x->monitor, &x->path, err);
    if (!status)
        status = stitch_components_of(x->groups, &x->components, err);
    return status ? status : stitch_path_cross_entropy(x->store, &f, o, &x->path, x->monitor, err);
}

/* ---- Writing. ---- */

static int put_columns(struct stitching *x, struct error *err)
{
    const struct stitch_latents *l = &x->latents;
    const struct stitch_path *p = &x->path;
    size_t steps = p->n_steps + 1;
    const struct {
        const char *name;
        struct tensor tensor;
    } columns[] = {
        {"fired", {DTYPE_U32, 1, {l->n}, l->fired}},
        {"max_cosine", {DTYPE_F32, 1, {l->n}, l->max_cosine}},
        {"nearest", {DTYPE_U32, 1, {l->n}, l->nearest}},
        {"delta", {DTYPE_F64, 1, {l->n}, l->delta}},
        {"class", {DTYPE_U8, 1, {l->n}, l->classes}},
        {"large_step", {DTYPE_U32, 1, {p->n_large}, p->large_step}},
        {"small_step", {DTYPE_U32, 1, {p->n_small}, p->small_step}},
        {"step_kind", {DTYPE_U8, 1, {steps}, p->kinds}},
        {"step_l0", {DTYPE_F64, 1, {steps}, p->l0}},
        {"step_mse", {DTYPE_F64, 1, {steps}, p->mse}},
        {"step_ev", {DTYPE_F64, 1, {steps}, p->explained_variance}},
        {"step_ce", {DTYPE_F64, 1, {steps}, p->cross_entropy}},
    };
    int status = STATUS_OK;
    for (size_t i = 0; i < ARRAY_LENGTH(columns) && !status; i++)
        status = store_tensor_put(x->store, x->id, columns[i].name, &columns[i].tensor, err);
    return status;
}

static json *pair(json *a, json *b)
{
    json *list = json_new_array();
    json_append(list, a);
    json_append(list, b);
    return list;
}

static json *size_json(size_t n)
{
    return json_new_integer((long long)n);
}

static json *counts_json(const struct novelty *n)
{
    json *o = json_new_object();
    json_set(o, "novel", size_json(n->novel));
    json_set(o, "reconstruction", size_json(n->reconstruction));
    json_set(o, "undecided", size_json(n->undecided));
    return o;
}

static json *control_json(const struct stitching *x, enum scored_rows rows)
{
    const struct novelty *n = &x->novelty[rows];
    if (rows == SCORED_SEED && !x->saes[PART_CONTROL])
        return json_new_null();
    json *o = counts_json(n);
    json_set(o, "novel_fraction", json_new_real(n->fraction));
    json_set(o, "ci", pair(json_new_real(n->low), json_new_real(n->high)));
    return o;
}

static json *options_json(const struct stitching *x)
{
    const struct stitch_options *o = x->options;
    json *j = json_new_object();
    json_set(j, "threshold", json_new_real(o->threshold));
    json_set(j, "decoder_bias", json_new_string(stitch_bias_name(o->bias)));
    json_set(j, "order", json_new_string(stitch_order_name(o->order)));
    json_set(j, "seed", json_new_integer((long long)o->seed));
    json_set(j, "ce_steps", size_json(o->ce_steps));
    json_set(j, "ce_tokens", json_new_integer((long long)o->ce_tokens));
    return j;
}

static json *references_json(const struct stitch_options *o)
{
    json *j = json_new_object();
    json_set(j, "small", json_new_integer((long long)o->small));
    json_set(j, "large", json_new_integer((long long)o->large));
    json_set(j, "text", json_new_integer((long long)o->text));
    if (o->control)
        json_set(j, "control", json_new_integer((long long)o->control));
    return j;
}

static void set_predictor(const struct stitching *x, json *m)
{
    struct stitch_confusion c;
    double auc, best;
    json *by_cosine = json_new_object();
    stitch_confusion_at(&x->latents, x->options->threshold, &c);
    stitch_roc(&x->latents, &auc, &best);
    json_set(by_cosine, "threshold", json_new_real(x->options->threshold));
    json_set(by_cosine, "below", size_json(c.below));
    json_set(by_cosine, "above", size_json(c.above));
    json_set(m, "by_cosine", by_cosine);
    json_set(m, "confusion",
             pair(pair(size_json(c.novel_below), size_json(c.novel_above)),
                  pair(size_json(c.reconstruction_below), size_json(c.reconstruction_above))));
    json_set(m, "auc", json_new_real(auc));
    json_set(m, "best_threshold", json_new_real(best));
}

static json *manifest_json(const struct stitching *x)
{
    const struct novelty *n = &x->novelty[SCORED_LARGE];
    json *m = json_new_object(), *controls = json_new_object(), *thresholds = json_new_object();
    json_set(m, "tokens", json_new_integer((long long)x->totals.tokens));
    json_set(m, "by_delta", counts_json(n));
    set_predictor(x, m);
    json_set(m, "novel_fraction", json_new_real(n->fraction));
    json_set(m, "ci", pair(json_new_real(n->low), json_new_real(n->high)));
    json_set(controls, "shuffled", control_json(x, SCORED_SHUFFLED));
    json_set(controls, "random", control_json(x, SCORED_RANDOM));
    json_set(controls, "seed", control_json(x, SCORED_SEED));
    json_set(m, "controls", controls);
    json_set(m, "d_in", size_json(x->facts[PART_SMALL].d_in));
    json_set(m, "n_small", size_json(x->facts[PART_SMALL].d_sae));
    json_set(m, "n_large", size_json(x->facts[PART_LARGE].d_sae));
    json_set(m, "n_steps", size_json(x->path.n_steps));
    json_set(m, "contexts", size_json(x->totals.contexts));
    json_set(thresholds, "small", json_new_real(x->theta[PART_SMALL])); /* NaN becomes null */
    json_set(thresholds, "large", json_new_real(x->theta[PART_LARGE]));
    json_set(m, "thresholds", thresholds);
    json_set(m, "components", stitch_components_json(&x->components));
    json_set(m, "options", options_json(x));
    json_set(m, "references", references_json(x->options));
    return m;
}

static int run(struct stitching *x, struct error *err)
{
    int status = check_options(x->options, err);
    if (!status)
        status = open_saes(x, err);
    if (!status)
        status = open_stream(x, err);
    if (!status)
        status = find_thresholds(x, err);
    if (!status)
        status = open_scorer(x, err);
    x->started = clock_seconds();
    if (!status)
        status = read_text(x, err);
    if (!status)
        status = token_spool_map(x->tokens, err);
    if (status)
        return status;
    stream_close(x->stream);
    x->stream = NULL;
    scorer_totals(x->scorer, &x->totals);
    status = resample(x, err);
    if (!status)
        status = classify(x, err);
    if (!status)
        status = stitch_parents_compute(x->store, x->id, x->saes[PART_SMALL], x->saes[PART_LARGE], x->tokens, x->monitor, err);
    if (!status)
        status = find_path(x, err);
    if (!status)
        status = put_columns(x, err);
    return status ? status : store_publish(x->store, x->id, manifest_json(x), err);
}

int stitch_run(struct store *s, artifact_id id, const struct stitch_options *o, struct monitor *m, struct error *err)
{
    struct stitching x = {.store = s, .id = id, .options = o, .monitor = m};
    int status = run(&x, err);
    for (enum part p = 0; p < PARTS; p++) {
        sae_free(x.saes[p]);
        sae_facts_free(&x.facts[p]);
    }
    stream_close(x.stream);
    scorer_close(x.scorer);
    token_spool_close(x.tokens);
    stitch_latents_free(&x.latents);
    stitch_path_free(&x.path);
    stitch_groups_free(x.groups);
    stitch_components_free(&x.components);
    free(x.row_contexts);
    return status;
}
