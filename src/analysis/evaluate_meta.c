/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Evaluation of a meta-SAE over its bases' decoder rows (CONTRACT.md, Meta-SAE): as it is used, with its
 * threshold, and as it was trained, keeping the k·n largest of a batch's n rows.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/base/memory.h"

#define BATCH 4096
#define CHUNK 256 /* rows whose positive pre-activations are all there at a time */

struct candidate {
    uint32_t row, latent;
    float value;
};

struct meta_evaluator {
    struct store *store;
    struct monitor *monitor;
    struct meta_rows data;
    struct sae *meta;  /* data's */
    size_t d, n_rows;  /* n_rows: latents of all bases */
    float *x, *x_hat;  /* [BATCH, d] */
    uint32_t *latents; /* [BATCH] */
    struct sparse_rows f;
    struct candidate *candidates; /* [2·k·BATCH] */
    size_t n_candidates;
    uint8_t *fired; /* [d_sae of meta] */
    double error, error_batchtopk, active;
};

/* ---- BatchTopK: the k·n largest pre-activations of n rows. ---- */

/* Largest first; ties: the lower row, then latent. */
static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static int compare_places(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static void keep_largest(struct meta_evaluator *e, size_t keep)
{
    qsort(e->candidates, e->n_candidates, sizeof(*e->candidates), compare_candidates);
    if (e->n_candidates > keep)
        e->n_candidates = keep;
}

/* Adds rows' pairs, never holding more than twice what is kept. Pairs that cannot be kept any more are not
 * taken: the last one kept so far is a lower bound, and its row comes before these. */
static void add_candidates(struct meta_evaluator *e, size_t first_row, size_t keep, float *bound)
{
    for (size_t r = 0; r < e->f.n_rows; r++)
        for (size_t p = e->f.offsets[r]; p < e->f.offsets[r + 1]; p++) {
            if (e->f.values[p] <= *bound)
                continue;
            if (e->n_candidates == 2 * keep) {
                keep_largest(e, keep);
                *bound = e->candidates[keep - 1].value;
                if (e->f.values[p] <= *bound)
                    continue;
            }
            e->candidates[e->n_candidates++] =
                (struct candidate){(uint32_t)(first_row + r), e->f.latents[p], e->f.values[p]};
        }
}

static int candidates_to_rows(struct meta_evaluator *e, size_t n, struct error *err)
{
    qsort(e->candidates, e->n_candidates, sizeof(*e->candidates), compare_places);
    int status = sparse_rows_reserve(&e->f, n, e->n_candidates + 1, err);
    if (status)
        return status;
    e->f.n_rows = n;
    size_t p = 0;
    for (size_t r = 0; r < n; r++) {
        e->f.offsets[r] = p;
        for (; p < e->n_candidates && e->candidates[p].row == r; p++) {
            e->f.latents[p] = e->candidates[p].latent;
            e->f.values[p] = e->candidates[p].value;
        }
    }
    e->f.offsets[n] = p;
    return STATUS_OK;
}

static double squared_error(const float *x, const float *x_hat, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)x[i] - (double)x_hat[i];
        sum += e * e;
    }
    return sum;
}

static int run_batchtopk(struct meta_evaluator *e, size_t n, struct error *err)
{
    /* The same weights without a threshold give every positive pre-activation. */
    struct sae dense = *e->meta;
    dense.architecture = sae_architecture_find("standard", err);
    dense.threshold = NULL;
    size_t keep = e->meta->k * n;
    float bound = 0;
    int status = dense.architecture ? STATUS_OK : STATUS_FAILED;
    e->n_candidates = 0;
    for (size_t first = 0; !status && first < n; first += CHUNK) {
        size_t rows = n - first < CHUNK ? n - first : CHUNK;
        status = sae_encode(&dense, e->x + first * e->d, rows, &e->f, err);
        if (!status)
            add_candidates(e, first, keep, &bound);
    }
    keep_largest(e, keep);
    if (!status)
        status = candidates_to_rows(e, n, err);
    if (!status)
        status = sae_decode(e->meta, &e->f, e->x, e->x_hat, err);
    if (!status)
        e->error_batchtopk += squared_error(e->x, e->x_hat, n * e->d);
    return status;
}

/* ---- The whole. ---- */

static int run_threshold(struct meta_evaluator *e, size_t n, struct error *err)
{
    int status = sae_encode(e->meta, e->x, n, &e->f, err);
    if (!status)
        status = sae_decode(e->meta, &e->f, e->x, e->x_hat, err);
    if (status)
        return status;
    e->error += squared_error(e->x, e->x_hat, n * e->d);
    e->active += (double)e->f.offsets[n];
    for (size_t p = 0; p < e->f.offsets[n]; p++)
        e->fired[e->f.latents[p]] = 1;
    return STATUS_OK;
}

/* Fills x with the next rows, from row *next on; rows of zeros are left out, and so may be less than a batch.
 */
static size_t fill_batch(struct meta_evaluator *e, size_t *next)
{
    size_t n = 0;
    while (n < BATCH && *next < e->n_rows) {
        size_t want = BATCH - n, left = e->n_rows - *next;
        want = want < left ? want : left;
        n += meta_rows_read(&e->data, *next, want, e->x + n * e->d, e->latents);
        *next += want;
    }
    return n;
}

static int run_batch(struct meta_evaluator *e, size_t *next, size_t *n, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    status = meta_rows_attach(&e->data, t, err);
    *n = status ? 0 : fill_batch(e, next);
    if (*n)
        status = run_threshold(e, *n, err);
    if (*n && !status && e->meta->k)
        status = run_batchtopk(e, *n, err);
    store_end(t);
    return status;
}

static int open_rows(struct meta_evaluator *e, artifact_id meta, struct row_mean *mean, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    status = meta_rows_open(t, meta, &e->data, err);
    if (!status)
        status = meta_rows_mean(&e->data, mean, err);
    store_end(t);
    if (status)
        return status;
    e->meta = e->data.meta;
    e->d = e->data.d_in;
    e->n_rows = e->data.bases.first[e->data.bases.n];
    return STATUS_OK;
}

static int allocate(struct meta_evaluator *e, struct error *err)
{
    size_t pairs;
    e->x = array_alloc(BATCH, e->d * sizeof(float), "decoder rows", err);
    e->x_hat = array_alloc(BATCH, e->d * sizeof(float), "decoder rows", err);
    e->latents = array_alloc(BATCH, sizeof(uint32_t), "decoder rows", err);
    e->fired = array_zeroed(e->meta->d_sae, 1, "counts", err);
    if (size_multiply(e->meta->k ? e->meta->k : 1, 2 * BATCH, &pairs))
        return error_set(err, STATUS_REFUSED, "k is too large");
    e->candidates = array_alloc(pairs, sizeof(*e->candidates), "activations", err);
    return e->x && e->x_hat && e->latents && e->fired && e->candidates ? STATUS_OK : STATUS_FAILED;
}

static int run_all(struct meta_evaluator *e, size_t *rows, struct error *err)
{
    size_t next = 0, n = 1;
    int status = STATUS_OK;
    while (!status && n) {
        status = run_batch(e, &next, &n, err);
        *rows += n;
        if (!status)
            status = monitor_go_on(e->monitor, "evaluating", next, e->n_rows, err);
    }
    return status;
}

int evaluate_meta(struct store *s, artifact_id meta, struct monitor *m, double *explained_variance,
                  double *explained_variance_batchtopk, double *l0, double *dead_fraction, struct error *err)
{
    struct meta_evaluator e = {.store = s, .monitor = m};
    struct row_mean mean = {0};
    size_t rows = 0, alive = 0;
    int status = open_rows(&e, meta, &mean, err);
    if (!status)
        status = allocate(&e, err);
    if (!status)
        status = run_all(&e, &rows, err);
    if (!status && rows == 0)
        status = error_set(err, STATUS_REFUSED, "all decoder rows of its base are zero");
    if (!status) {
        for (size_t i = 0; i < e.meta->d_sae; i++)
            alive += e.fired[i];
        *explained_variance = 1 - e.error / mean.total;
        *explained_variance_batchtopk = e.meta->k ? 1 - e.error_batchtopk / mean.total : NAN;
        *l0 = e.active / (double)rows;
        *dead_fraction = 1 - (double)alive / (double)e.meta->d_sae;
    }
    row_mean_free(&mean);
    meta_rows_free(&e.data);
    sparse_rows_free(&e.f);
    free(e.x);
    free(e.x_hat);
    free(e.latents);
    free(e.candidates);
    free(e.fired);
    return status;
}
