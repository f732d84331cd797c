/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Evaluation of an SAE over a text: a first pass for the mean activation, a second one for everything else,
 * batch by batch. Memory: a batch of activations and reconstructions, four of final activations, two tiles of
 * logits.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/evaluate_parts.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/nearest.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

#define SAEBENCH_BATCH 16 /* contexts */

struct evaluator {
    struct store *store;
    const struct evaluate_options *options;
    struct monitor *monitor;
    struct stream_options range;
    char hook[64];
    struct stream *stream;
    struct sae *sae;
    struct splicer *splicer;    /* NULL: without the model */
    size_t d, done;             /* done: contexts, for progress */
    double *mean;               /* [d] */
    uint64_t tokens, positions; /* counted; all */
    uint64_t *fired;            /* [d_sae] */
    double active, l1;
    struct row_sums rows;
    struct splice_sums splices;
    struct sparse_rows f;
    float *x, *x_hat;    /* [batch tokens, d]: what is encoded, and its reconstruction */
    float *spliced;      /* [batch tokens, d]: reconstructions in their places */
    uint8_t *everywhere; /* [batch tokens]: ones */

    /* SAEBench's batches */
    float *group_x, *group_x_hat; /* [SAEBENCH_BATCH · length, d] */
    size_t group_rows, group_contexts, n_groups;
    double *group_mean;
    double square, residual, bias, mse,
        legacy; /* sums over groups of their means; mse and legacy over tokens */
};

/* ---- Which contexts. ---- */

/* The fewest whole contexts from `first` on with at least `tokens` counted ones. */
static int limit_contexts(struct evaluator *e, struct store_txn *t, size_t first, size_t *n,
                          struct error *err)
{
    const struct contexts *text = stream_text(e->stream);
    size_t length = contexts_size(text), count = contexts_count(text);
    uint64_t counted = 0;
    uint32_t *ids = array_alloc(length, sizeof(*ids), "tokens", err);
    uint8_t *marks = array_alloc(length, 1, "tokens", err);
    int status = ids && marks ? STATUS_OK : STATUS_FAILED;
    for (*n = 0; !status && first + *n < count && counted < e->options->tokens; (*n)++) {
        status = contexts_read(text, t, first + *n, 1, ids, err);
        if (!status)
            counted += contexts_counted(stream_model(e->stream), ids, length, marks);
    }
    free(ids);
    free(marks);
    return status;
}

static int choose_range(struct evaluator *e, struct error *err)
{
    size_t first = e->options->held_out ? contexts_held_out_from(stream_text(e->stream)) : 0;
    size_t n = contexts_count(stream_text(e->stream)) - first;
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    if (e->options->tokens)
        status = limit_contexts(e, t, first, &n, err);
    store_end(t);
    if (!status && n == 0)
        status = error_set(err, STATUS_REFUSED, "the text is shorter than one context of %zu tokens",
                           contexts_size(stream_text(e->stream)));
    if (status)
        return status;
    e->range.first_context = first;
    e->range.n_contexts = n;
    stream_close(e->stream);
    e->stream = NULL;
    return stream_open(e->store, &e->range, &e->stream, err);
}

static int open_sae(struct evaluator *e, struct error *err)
{
    struct store_txn *t;
    struct sae_facts facts;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    status = sae_facts_read(t, e->options->sae, &facts, err);
    if (!status && facts.is_meta)
        status =
            error_set(err, STATUS_REFUSED, "%s is a meta-SAE: it is evaluated on decoder rows, not on a text",
                      facts.artifact.name);
    if (!status)
        status = stream_options_for_sae(t, e->options->sae, e->options->text, &e->range, e->hook, err);
    sae_facts_free(&facts);
    e->sae = e->options->instead;
    if (!status && !e->sae)
        status = sae_open(t, e->options->sae, &e->sae, err);
    store_end(t);
    return status;
}

static int allocate(struct evaluator *e, struct error *err)
{
    size_t rows = stream_batch_contexts(e->stream) * stream_length(e->stream);
    size_t group = SAEBENCH_BATCH * stream_length(e->stream);
    e->d = stream_width(e->stream);
    if (e->sae->d_in != e->d)
        return error_set(err, STATUS_REFUSED, "the SAE has d_in %zu, but %s has %zu numbers", e->sae->d_in,
                         e->hook, e->d);
    e->mean = array_zeroed(e->d, sizeof(double), "the mean activation", err);
    e->fired = array_zeroed(e->sae->d_sae, sizeof(uint64_t), "counts", err);
    e->x = array_alloc(rows, e->d * sizeof(float), "activations", err);
    e->x_hat = array_alloc(rows, e->d * sizeof(float), "reconstructions", err);
    e->spliced = array_alloc(rows, e->d * sizeof(float), "reconstructions", err);
    e->everywhere = array_alloc(rows, 1, "marks", err);
    if (!e->mean || !e->fired || !e->x || !e->x_hat || !e->spliced || !e->everywhere)
        return STATUS_FAILED;
    memset(e->everywhere, 1, rows);
    if (!e->options->saebench)
        return STATUS_OK;
    e->group_x = array_alloc(group, e->d * sizeof(float), "activations", err);
    e->group_x_hat = array_alloc(group, e->d * sizeof(float), "reconstructions", err);
    e->group_mean = array_alloc(e->d, sizeof(double), "the mean activation", err);
    return e->group_x && e->group_x_hat && e->group_mean ? STATUS_OK : STATUS_FAILED;
}

static int open_splicer(struct evaluator *e, struct error *err)
{
    struct store_txn *t;
    if (e->options->no_model || stream_is_cached(e->stream))
        return STATUS_OK;
    struct splice_options o = {
        .model = e->range.model,
        .hook = e->hook,
        .n_contexts = stream_batch_contexts(e->stream),
        .length = stream_length(e->stream),
        .center = e->range.center,
        .counted_only = e->options->saebench,
        .sae_only = e->options->ce_alone,
        .mean = e->mean,
        .monitor = e->monitor,
    };
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    status = splicer_new(t, &o, &e->splicer, err);
    store_end(t);
    return status;
}

static int go_on(struct evaluator *e, const struct stream_batch *b, const char *phase, struct error *err)
{
    e->done += b->n_contexts;
    return monitor_go_on(e->monitor, phase, e->done,
                         (e->options->ce_alone ? 1 : 2) * stream_contexts(e->stream), err);
}

/* ---- The passes. ---- */

/* Rows of counted tokens, gathered. */
static size_t gather(const float *from, const uint8_t *counted, size_t n, size_t d, float *to)
{
    size_t kept = 0;
    for (size_t r = 0; r < n; r++)
        if (counted[r])
            memcpy(to + kept++ * d, from + r * d, d * sizeof(float));
    return kept;
}

static int find_mean(struct evaluator *e, struct error *err)
{
    struct stream_batch b;
    int status;
    if (e->options->ce_alone)
        return STATUS_OK;
    while (!(status = stream_next(e->stream, &b, err)) && b.n_contexts) {
        size_t n = gather(b.activations, b.counted, b.n_tokens, e->d, e->x);
        column_sums_add(e->mean, e->x, n, e->d);
        e->tokens += n;
        if ((status = go_on(e, &b, "mean", err)))
            return status;
    }
    if (!status && e->tokens == 0)
        status = error_set(err, STATUS_REFUSED, "the text has only special tokens there");
    for (size_t i = 0; !status && i < e->d; i++)
        e->mean[i] /= (double)e->tokens;
    return status ? status : stream_rewind(e->stream, e->range.first_context, err);
}

/* Means over a batch of SAEBench's are averaged over batches; its "mse" is divided by the tokens twice, and
 * its variance takes away the square of the mean square (sae_bench/evals/core/main.py). */
static int flush_group(struct evaluator *e, struct error *err)
{
    size_t n = e->group_rows;
    struct row_sums s = {0};
    e->group_rows = e->group_contexts = 0;
    if (n == 0)
        return STATUS_OK;
    memset(e->group_mean, 0, e->d * sizeof(double));
    column_sums_add(e->group_mean, e->group_x, n, e->d);
    for (size_t i = 0; i < e->d; i++)
        e->group_mean[i] /= (double)n;
    int status = row_sums_add(&s, e->group_x, e->group_x_hat, n, e->d, e->group_mean, err);
    e->n_groups++;
    e->square += s.square_in / (double)n;
    e->residual += s.error / (double)n;
    e->bias += s.square_out / s.product;
    e->mse += s.error / (double)n;
    e->legacy += s.legacy;
    return status;
}

static int add_to_groups(struct evaluator *e, const struct stream_batch *b, struct error *err)
{
    for (size_t c = 0; c < b->n_contexts; c++) {
        size_t first = c * b->length;
        float *x = e->group_x + e->group_rows * e->d, *x_hat = e->group_x_hat + e->group_rows * e->d;
        gather(b->activations + first * e->d, b->counted + first, b->length, e->d, x);
        e->group_rows += gather(e->spliced + first * e->d, b->counted + first, b->length, e->d, x_hat);
        if (++e->group_contexts == SAEBENCH_BATCH) {
            int status = flush_group(e, err);
            if (status)
                return status;
        }
    }
    return STATUS_OK;
}

static void count_active(struct evaluator *e, const struct stream_batch *b, int all_rows)
{
    for (size_t r = 0; r < e->f.n_rows; r++) {
        if (all_rows && !b->counted[r])
            continue;
        e->active += (double)(e->f.offsets[r + 1] - e->f.offsets[r]);
        for (size_t p = e->f.offsets[r]; p < e->f.offsets[r + 1]; p++) {
            e->l1 += fabs((double)e->f.values[p]);
            e->fired[e->f.latents[p]]++;
        }
    }
}

/* Encodes and decodes the counted rows (SAEBench: all rows), and puts the reconstructions in their places. */
static int reconstruct(struct evaluator *e, const struct stream_batch *b, struct error *err)
{
    int all_rows = e->options->saebench;
    e->positions += b->n_tokens;
    const float *x = all_rows ? b->activations : e->x;
    float *x_hat = all_rows ? e->spliced : e->x_hat;
    size_t n = all_rows ? b->n_tokens : gather(b->activations, b->counted, b->n_tokens, e->d, e->x);
    if (n == 0)
        return STATUS_OK;
    parallel_watch(e->monitor);
    int status = sae_encode(e->sae, x, n, &e->f, err);
    parallel_watch(NULL);
    if (!status)
        status = sae_decode(e->sae, &e->f, x, x_hat, err);
    if (status)
        return status;
    count_active(e, b, all_rows);
    if (e->options->ce_alone)
        e->tokens += n;
    if (all_rows) {
        n = gather(b->activations, b->counted, b->n_tokens, e->d, e->x);
        gather(e->spliced, b->counted, b->n_tokens, e->d, e->x_hat);
        status = add_to_groups(e, b, err);
    } else {
        for (size_t r = 0, kept = 0; r < b->n_tokens; r++)
            if (b->counted[r])
                memcpy(e->spliced + r * e->d, x_hat + kept++ * e->d, e->d * sizeof(float));
    }
    return status ? status : row_sums_add(&e->rows, e->x, e->x_hat, n, e->d, e->mean, err);
}

static int run_batch(struct evaluator *e, const struct stream_batch *b, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    status = sae_attach(e->sae, t, err);
    if (!status)
        status = reconstruct(e, b, err);
    if (!status && e->splicer)
        status = splicer_run(e->splicer, t, b, e->spliced, e->options->saebench ? e->everywhere : b->counted,
                             &e->splices, err);
    store_end(t);
    return status;
}

static int run_all(struct evaluator *e, struct error *err)
{
    struct stream_batch b;
    int status;
    while (!(status = stream_next(e->stream, &b, err)) && b.n_contexts) {
        status = run_batch(e, &b, err);
        if (!status)
            status = go_on(e, &b, "evaluating", err);
        if (status)
            return status;
    }
    return status || !e->options->saebench ? status : flush_group(e, err);
}

/* ---- Results. ---- */

static double mean_cosine(const float *cosine, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += isfinite(cosine[i]) ? (double)cosine[i] : 0;
    return sum / (double)n;
}

static int compare_weights(struct evaluator *e, struct evaluation *out, struct error *err)
{
    size_t n = e->sae->d_sae;
    struct store_txn *t;
    out->average_max_encoder_cosine_sim = out->average_max_decoder_cosine_sim = NAN;
    if (e->options->no_cosines)
        return STATUS_OK;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    uint32_t *nearest = array_alloc(n, sizeof(*nearest), "cosines", err);
    float *cosine = array_alloc(n, sizeof(*cosine), "cosines", err);
    status = nearest && cosine ? sae_attach(e->sae, t, err) : STATUS_FAILED;
    if (!status)
        status = nearest_rows(e->sae, e->sae, 0, e->monitor, nearest, cosine, err);
    if (!status)
        out->average_max_encoder_cosine_sim = mean_cosine(cosine, n);
    if (!status)
        status = nearest_rows(e->sae, e->sae, 1, e->monitor, nearest, cosine, err);
    if (!status)
        out->average_max_decoder_cosine_sim = mean_cosine(cosine, n);
    store_end(t);
    free(nearest);
    free(cosine);
    return status;
}

static void fill_densities(const struct evaluator *e, struct evaluation *out)
{
    size_t n = e->sae->d_sae, alive = 0, over_1 = 0, over_10 = 0;
    double total = 0, sum_1 = 0, sum_10 = 0;
    for (size_t i = 0; i < n; i++) {
        double density = (double)e->fired[i] / (double)e->tokens;
        total += density;
        alive += e->fired[i] > 0;
        over_1 += density > 0.01;
        over_10 += density > 0.1;
        sum_1 += density > 0.01 ? density : 0;
        sum_10 += density > 0.1 ? density : 0;
    }
    out->frac_alive = (double)alive / (double)n;
    out->dead_fraction = 1 - out->frac_alive;
    out->density_mean = total / (double)n;
    out->freq_over_1_percent = (double)over_1 / (double)n;
    out->freq_over_10_percent = (double)over_10 / (double)n;
    out->normalized_freq_over_1_percent = total > 0 ? sum_1 / total : 0;
    out->normalized_freq_over_10_percent = total > 0 ? sum_10 / total : 0;
}

static void fill_rows(const struct evaluator *e, struct evaluation *out)
{
    const struct row_sums *s = &e->rows;
    double n = (double)e->tokens, d = (double)e->d;
    out->tokens = e->tokens;
    out->token_stats = e->options->saebench ? e->positions : e->tokens;
    out->l0 = e->active / n;
    out->l1 = e->l1 / n;
    out->mse = s->error / (n * d);
    out->explained_variance = 1 - s->error / s->centred;
    out->explained_variance_legacy = s->legacy / n;
    out->cossim = s->cosine / n;
    out->l2_norm_in = s->norm_in / n;
    out->l2_norm_out = s->norm_out / n;
    out->l2_ratio = s->ratio / n;
    out->relative_reconstruction_bias = s->square_out / s->product;
    if (e->options->saebench) {
        double groups = (double)e->n_groups, mean_square = e->square / groups / d;
        out->mse = e->mse / n;
        out->explained_variance = 1 - e->residual / groups / (e->square / groups - mean_square * mean_square);
        out->explained_variance_legacy = e->legacy / n;
        out->relative_reconstruction_bias = e->bias / groups;
    }
}

static void fill_splices(const struct evaluator *e, struct evaluation *out)
{
    const struct splice_sums *s = &e->splices;
    double n_ce = e->splicer ? (double)s->n_ce : NAN, n_kl = e->splicer ? (double)s->n_kl : NAN;
    out->ce_original = s->ce[SPLICE_NOTHING] / n_ce;
    out->ce_sae = s->ce[SPLICE_SAE] / n_ce;
    out->ce_zero = s->ce[SPLICE_ZERO] / n_ce;
    out->ce_mean = s->ce[SPLICE_MEAN] / n_ce;
    out->kl_sae = s->kl[SPLICE_SAE] / n_kl;
    out->kl_zero = s->kl[SPLICE_ZERO] / n_kl;
    out->kl_mean = s->kl[SPLICE_MEAN] / n_kl;
    out->ce_loss_score = (out->ce_zero - out->ce_sae) / (out->ce_zero - out->ce_original);
    out->ce_recovered_from_mean = (out->ce_mean - out->ce_sae) / (out->ce_mean - out->ce_original);
    out->kl_div_score = (out->kl_zero - out->kl_sae) / out->kl_zero;
}

static void fill_ce_alone(const struct evaluator *e, struct evaluation *out)
{
    double n = (double)e->tokens;
    out->tokens = e->tokens;
    out->l0 = e->active / n;
    out->l1 = e->l1 / n;
    out->mse = e->rows.error / (n * (double)e->d);
    out->ce_sae = e->splices.ce[SPLICE_SAE] / (double)e->splices.n_ce;
}

static void close_all(struct evaluator *e)
{
    stream_close(e->stream);
    splicer_free(e->splicer);
    if (e->sae != e->options->instead)
        sae_free(e->sae);
    sparse_rows_free(&e->f);
    free(e->mean);
    free(e->fired);
    free(e->x);
    free(e->x_hat);
    free(e->spliced);
    free(e->everywhere);
    free(e->group_x);
    free(e->group_x_hat);
    free(e->group_mean);
}

int evaluate_run(struct store *s, const struct evaluate_options *o, struct monitor *m, struct evaluation *out,
                 struct error *err)
{
    struct evaluator e = {.store = s, .options = o, .monitor = m};
    memset(out, 0, sizeof(*out));
    int status = open_sae(&e, err);
    e.range.monitor = m;
    if (!status)
        status = stream_open(s, &e.range, &e.stream, err);
    if (!status)
        status = choose_range(&e, err);
    if (!status)
        status = allocate(&e, err);
    if (!status)
        status = find_mean(&e, err);
    if (!status)
        status = open_splicer(&e, err);
    if (!status)
        status = run_all(&e, err);
    if (!status && !o->ce_alone)
        status = compare_weights(&e, out, err);
    if (!status && o->ce_alone) {
        fill_ce_alone(&e, out);
    } else if (!status) {
        fill_rows(&e, out);
        fill_splices(&e, out);
        out->cached = stream_is_cached(e.stream);
        fill_densities(&e, out);
    }
    close_all(&e);
    return status;
}
