/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cross-entropy and KL of the model with an SAE's reconstruction, zeros or the mean in a hook's place
 * (CONTRACT.md). Logits are looked at in tiles of rows, two at a time: the original's and one spliced pass's.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate_parts.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

#define TILE_LOGITS ((size_t)16 << 20) /* 64 MiB: W_U is read once a tile */

struct splicer {
    struct splice_options options;
    struct model *model;
    struct forward *forward;
    struct hook hook;
    size_t d_model, vocabulary, tile_rows;
    float *mean;               /* [d_in] */
    float *start;              /* [n_contexts · length, d_model]: passes begin at the hook; or NULL */
    float *final[SPLICES];     /* [n_contexts · length, d_model] */
    float *original, *spliced; /* [tile_rows, vocabulary] */
    struct row_loss *losses;   /* [tile_rows] */
};

/* What one row gives. */
struct row_loss {
    double lse; /* log Σ exp of the original's logits */
    double ce[SPLICES], kl[SPLICES];
};

void splicer_free(struct splicer *s)
{
    if (!s)
        return;
    if (s->forward)
        forward_free(s->forward);
    if (s->model)
        model_free(s->model);
    for (int i = 0; i < SPLICES; i++)
        free(s->final[i]);
    free(s->mean);
    free(s->start);
    free(s->original);
    free(s->spliced);
    free(s->losses);
    free(s);
}

static int runs(const struct splicer *s, enum splice i)
{
    return i == SPLICE_SAE || !s->options.sae_only;
}

static int allocate(struct splicer *s, struct error *err)
{
    const struct model_config *config = model_get_config(s->model);
    size_t rows = s->options.n_contexts * s->options.length, width = hook_width(config, &s->hook);
    s->d_model = config->d_model;
    s->vocabulary = config->vocabulary_size;
    s->tile_rows = TILE_LOGITS / s->vocabulary;
    if (s->tile_rows < 8)
        s->tile_rows = 8;
    if (s->tile_rows > rows)
        s->tile_rows = rows;
    for (enum splice i = SPLICE_NOTHING; i < SPLICES; i++)
        if (runs(s, i) &&
            !(s->final[i] = array_alloc(rows, s->d_model * sizeof(float), "final activations", err)))
            return STATUS_FAILED;
    /* The prefix of all passes is the one that the batch's activations come from. */
    if (hook_is_whole(&s->hook) && !s->options.center &&
        !(s->start = array_alloc(rows, width * sizeof(float), "activations", err)))
        return STATUS_FAILED;
    s->original = array_alloc(s->tile_rows, s->vocabulary * sizeof(float), "logits", err);
    s->spliced = array_alloc(s->tile_rows, s->vocabulary * sizeof(float), "logits", err);
    s->losses = array_zeroed(s->tile_rows, sizeof(*s->losses), "losses", err);
    s->mean = array_alloc(width, sizeof(float), "the mean activation", err);
    if (!s->original || !s->spliced || !s->losses || !s->mean)
        return STATUS_FAILED;
    for (size_t i = 0; i < width; i++)
        s->mean[i] = (float)s->options.mean[i];
    return STATUS_OK;
}

int splicer_new(struct store_txn *t, const struct splice_options *o, struct splicer **out, struct error *err)
{
    struct splicer *s = xcalloc(1, sizeof(*s));
    s->options = *o;
    int status = model_open(t, o->model, &s->model, err);
    if (!status)
        status = hook_parse(model_get_config(s->model), o->hook, &s->hook, err);
    if (!status)
        s->options.center = o->center && hook_is_centred(model_get_config(s->model), &s->hook);
    if (!status)
        status = forward_new(s->model, o->n_contexts, o->length, &s->forward, err);
    if (!status)
        forward_watch(s->forward, o->monitor);
    if (!status)
        status = allocate(s, err);
    if (status)
        splicer_free(s);
    else
        *out = s;
    return status;
}

/* ---- Passes. ---- */

struct pass {
    enum splice splice;
    size_t row; /* of the batch: the hook may be called for a part at a time */
    const struct splicer *splicer;
    const float *x_hat;
    const uint8_t *replace, *counted;
};

static void put_row(float *row, const float *value, size_t width, int center)
{
    double own = 0;
    for (size_t i = 0; center && i < width; i++)
        own += (double)row[i];
    float shift = (float)(own / (double)width);
    for (size_t i = 0; i < width; i++)
        row[i] = value[i] + shift;
}

static int splice_in(void *arg, float *activations, size_t n_tokens, size_t width, struct error *err)
{
    (void)err;
    struct pass *p = arg;
    int center = p->splicer->options.center;
    for (size_t r = 0; r < n_tokens; r++, p->row++) {
        float *row = activations + r * width;
        if (p->splice == SPLICE_ZERO)
            memset(row, 0, width * sizeof(float));
        else if (p->splice == SPLICE_SAE && p->replace[p->row])
            put_row(row, p->x_hat + p->row * width, width, center);
        else if (p->splice == SPLICE_MEAN && p->counted[p->row])
            put_row(row, p->splicer->mean, width, center);
    }
    return STATUS_OK;
}

/* ---- Losses. ---- */

struct tile {
    struct splicer *splicer;
    const struct stream_batch *batch;
    size_t first;
    enum splice splice;
};

double log_sum_exp(const float *x, size_t n)
{
    float largest = x[0];
    for (size_t i = 1; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - largest);
    return (double)largest + log(sum);
}

/* KL(p‖q) = Σ p (log p − log q), with log p = x − lse(x). */
static double divergence(const float *x, double lse_x, const float *y, double lse_y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double log_p = (double)x[i] - lse_x;
        sum += (double)expf((float)log_p) * (log_p - ((double)y[i] - lse_y));
    }
    return sum;
}

static void measure_row(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct tile *tile = arg;
    struct splicer *s = tile->splicer;
    size_t v = s->vocabulary, row = tile->first + block;
    const float *original = s->original + block * v;
    const float *logits = tile->splice == SPLICE_NOTHING ? original : s->spliced + block * v;
    struct row_loss *loss = &s->losses[block];
    double lse = log_sum_exp(logits, v);
    int has_next = (row + 1) % tile->batch->length != 0;
    loss->ce[tile->splice] = has_next ? lse - (double)logits[tile->batch->ids[row + 1]] : 0;
    if (tile->splice == SPLICE_NOTHING)
        loss->lse = lse;
    loss->kl[tile->splice] =
        tile->splice != SPLICE_NOTHING && runs(s, SPLICE_NOTHING) && tile->batch->counted[row]
            ? divergence(original, loss->lse, logits, lse, v)
            : 0;
}

static void add_losses(const struct splicer *s, const struct stream_batch *b, size_t first, size_t n,
                       struct splice_sums *sums)
{
    for (size_t j = 0; j < n; j++) {
        size_t row = first + j;
        int ce = (row + 1) % b->length != 0 && (b->counted[row] || !s->options.counted_only);
        sums->n_ce += (uint64_t)ce;
        sums->n_kl += b->counted[row];
        for (int i = 0; i < SPLICES; i++) {
            sums->ce[i] += ce ? s->losses[j].ce[i] : 0;
            sums->kl[i] += s->losses[j].kl[i];
        }
    }
}

static int measure(struct splicer *s, const struct stream_batch *b, struct splice_sums *sums,
                   struct error *err)
{
    for (size_t first = 0; first < b->n_tokens; first += s->tile_rows) {
        size_t n = b->n_tokens - first < s->tile_rows ? b->n_tokens - first : s->tile_rows;
        for (enum splice i = SPLICE_NOTHING; i < SPLICES; i++) {
            float *logits = i == SPLICE_NOTHING ? s->original : s->spliced;
            if (!runs(s, i))
                continue;
            int status = model_unembed(s->model, s->final[i] + first * s->d_model, n, logits, err);
            if (status)
                return status;
            parallel_for(n, measure_row, &(struct tile){s, b, first, i});
        }
        int status = parallel_cancelled(err);
        if (status)
            return status;
        add_losses(s, b, first, n, sums);
    }
    return STATUS_OK;
}

/* One pass, to s->final[i]. */
static int run_pass(struct splicer *s, const struct stream_batch *b, struct pass *pass, struct error *err)
{
    float *final = s->final[pass->splice];
    int spliced = pass->splice != SPLICE_NOTHING;
    if (!s->start)
        return forward_run(s->forward, s->model, b->ids, b->n_contexts, b->length, spliced ? &s->hook : NULL,
                           spliced ? splice_in : NULL, pass, final, err);
    memcpy(s->start, b->activations, b->n_tokens * s->d_model * sizeof(float));
    int status = spliced ? splice_in(pass, s->start, b->n_tokens, s->d_model, err) : STATUS_OK;
    if (status)
        return status;
    return forward_resume(s->forward, s->model, b->n_contexts, b->length, &s->hook, s->start, final, err);
}

int splicer_run(struct splicer *s, struct store_txn *t, const struct stream_batch *b, const float *x_hat,
                const uint8_t *replace, struct splice_sums *sums, struct error *err)
{
    int status = model_attach(s->model, t, err);
    for (enum splice i = SPLICE_NOTHING; !status && i < SPLICES; i++) {
        struct pass pass = {i, 0, s, x_hat, replace, b->counted};
        if (!runs(s, i))
            continue;
        status = run_pass(s, b, &pass, err);
    }
    if (status)
        return status;
    parallel_watch(s->options.monitor);
    status = measure(s, b, sums, err);
    parallel_watch(NULL);
    return status;
}
