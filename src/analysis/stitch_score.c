/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Scoring: the small SAE's residuals of a batch, and for every active pair of the large SAE what its insertion would change. The
 * work is in the active pairs alone: one product of two rows for each pair and each set of decoder rows. Pairs are
 * summed by context and latent, contexts in their order, so that the numbers do not depend on the threads.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate_parts.h"
#include "saescope/analysis/stitch_score.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/sae/vector.h"

enum {
    ROWS_A_BLOCK = 32,
    VARIANTS = 3 /* sets of rows for one SAE's activations */
};
/* Random rows are windows of one long row of normal numbers: each is isotropic, and those of different latents are the same
 * numbers at different places. 16 MiB. */
#define POOL ((size_t)4 << 20)

/* A set of decoder rows and what has been summed for it. */
struct variant {
    enum scored_rows rows;
    double *delta;       /* [n] */
    struct spool *spool; /* (latent, context, Δ_ic) */
    double *pairs;       /* [pair_capacity]: of a batch, by pair, then by context and latent */
};

/* An SAE whose activations are scored. */
struct dictionary {
    const struct sae *sae;
    struct sparse_rows active; /* of the batch */
    uint32_t *fired;           /* [d_sae] */
    double *square;            /* [d_sae]: ‖d_i‖² */
    struct variant variants[VARIANTS];
    size_t n_variants;
    size_t pair_capacity;
    uint32_t *latents, *counts; /* [pair_capacity]: of each context, its active latents once, and on how many tokens */
    size_t *n_latents;          /* [context_capacity] */
};

struct scorer {
    struct scorer_options options;
    uint64_t pool_seed;
    struct dictionary large, control;
    uint32_t *permutation;  /* [n_large] */
    float *pool;            /* [POOL], or as long as all rows are together */
    size_t pool_length;
    double *random_scale;   /* [n_large]: norm of the row over that of its window */
    struct score_totals totals;
    double square;          /* Σ‖x‖² */
    double *sum;            /* [d]: Σx */

    struct sparse_rows small; /* of the batch */
    size_t row_capacity;
    float *x_hat, *scales;       /* [row_capacity, d], [row_capacity] */
    double *row_square, *row_error;
    size_t *context_starts;      /* [row_capacity + 1]: first rows of the batch's contexts */
    double *sums;                /* [threads, VARIANTS, n] */
    uint32_t *sum_counts;        /* [threads, n] */
    size_t scratch;              /* n of these */
};

/* ---- Opening. ---- */

struct setup {
    const struct scorer *scorer;
    const struct sae *sae;
    double *out;
};

static void norms_block(size_t block, size_t worker, void *arg)
{
    const struct setup *q = arg;
    size_t end = (block + 1) * ROWS_A_BLOCK < q->sae->d_sae ? (block + 1) * ROWS_A_BLOCK : q->sae->d_sae;
    (void)worker;
    for (size_t i = block * ROWS_A_BLOCK; i < end; i++)
        q->out[i] = vec_norm2(sae_decoder_row(q->sae, i), q->sae->d_in);
}

static void pool_block(size_t block, size_t worker, void *arg)
{
    const struct setup *q = arg;
    size_t first = block << 12, end = first + 4096 < q->scorer->pool_length ? first + 4096 : q->scorer->pool_length;
    struct rng r;
    (void)worker;
    rng_seed(&r, q->scorer->pool_seed, block + 1);
    for (size_t i = first; i < end; i++)
        q->scorer->pool[i] = (float)rng_normal(&r);
}

/* Windows start at equal distances. */
static const float *random_row(const struct scorer *s, size_t latent)
{
    size_t d = s->large.sae->d_in, n = s->large.sae->d_sae, room = s->pool_length - d;
    return s->pool + (n > 1 ? room * latent / (n - 1) : 0);
}

static void scales_block(size_t block, size_t worker, void *arg)
{
    const struct setup *q = arg;
    const struct scorer *s = q->scorer;
    size_t n = s->large.sae->d_sae, end = (block + 1) * ROWS_A_BLOCK < n ? (block + 1) * ROWS_A_BLOCK : n;
    (void)worker;
    for (size_t i = block * ROWS_A_BLOCK; i < end; i++)
        q->out[i] = sqrt(s->large.square[i] / vec_norm2(random_row(s, i), s->large.sae->d_in));
}

static int make_random_rows(struct scorer *s, struct error *err)
{
    size_t n = s->large.sae->d_sae, total;
    if (size_multiply(n, s->large.sae->d_in, &total) || total > POOL)
        total = POOL > s->large.sae->d_in ? POOL : s->large.sae->d_in;
    s->pool_length = total;
    s->pool = array_alloc(total, sizeof(*s->pool), "random rows", err);
    s->random_scale = array_alloc(n, sizeof(*s->random_scale), "random rows", err);
    s->permutation = array_alloc(n, sizeof(*s->permutation), "shuffled rows", err);
    if (!s->pool || !s->random_scale || !s->permutation)
        return STATUS_FAILED;
    struct setup pool = {.scorer = s}, scales = {s, NULL, s->random_scale};
    parallel_for((total + 4095) >> 12, pool_block, &pool);
    parallel_for((n + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK, scales_block, &scales);
    struct rng r;
    rng_seed(&r, hash_mix(s->options.seed, SCORED_SHUFFLED, 0, 0), 0);
    for (size_t i = 0; i < n; i++)
        s->permutation[i] = (uint32_t)i;
    rng_shuffle(&r, s->permutation, n);
    return STATUS_OK;
}

static int open_dictionary(struct scorer *s, struct dictionary *q, const struct sae *sae, const enum scored_rows *rows,
                           size_t n_rows, struct error *err)
{
    int status = STATUS_OK;
    q->sae = sae;
    q->fired = array_zeroed(sae->d_sae, sizeof(*q->fired), "counts", err);
    q->square = array_alloc(sae->d_sae, sizeof(*q->square), "norms", err);
    if (!q->fired || !q->square)
        return STATUS_FAILED;
    struct setup norms = {s, sae, q->square};
    parallel_for((sae->d_sae + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK, norms_block, &norms);
    for (size_t v = 0; v < n_rows && !status; v++) {
        q->variants[v].rows = rows[v];
        q->variants[v].delta = array_zeroed(sae->d_sae, sizeof(double), "sums", err);
        q->n_variants = v + 1;
        status = q->variants[v].delta ? spool_open(s->options.directory, sae->d_sae, &q->variants[v].spool, err)
                                      : STATUS_FAILED;
    }
    return status;
}

static void close_dictionary(struct dictionary *q)
{
    for (size_t v = 0; v < q->n_variants; v++) {
        free(q->variants[v].delta);
        free(q->variants[v].pairs);
        spool_close(q->variants[v].spool);
    }
    sparse_rows_free(&q->active);
    free(q->fired);
    free(q->square);
    free(q->latents);
    free(q->counts);
    free(q->n_latents);
}

int scorer_open(const struct scorer_options *o, struct scorer **out, struct error *err)
{
    static const enum scored_rows large_rows[] = {SCORED_LARGE, SCORED_SHUFFLED, SCORED_RANDOM},
                                  control_rows[] = {SCORED_SEED};
    size_t n = o->large->d_sae, threads = parallel_threads(), total;
    struct scorer *s = xcalloc(1, sizeof(*s));
    *out = NULL;
    s->options = *o;
    s->pool_seed = hash_mix(o->seed, SCORED_RANDOM, 0, 0);
    s->scratch = o->control && o->control->d_sae > n ? o->control->d_sae : n;
    int status = open_dictionary(s, &s->large, o->large, large_rows, ARRAY_LENGTH(large_rows), err);
    if (!status && o->control)
        status = open_dictionary(s, &s->control, o->control, control_rows, ARRAY_LENGTH(control_rows), err);
    if (!status)
        status = make_random_rows(s, err);
    if (!status && size_multiply(threads * VARIANTS, s->scratch, &total))
        status = error_set(err, STATUS_FAILED, "an SAE of %zu latents is too large to be scored", n);
    if (!status) {
        s->sum = array_zeroed(o->small->d_in, sizeof(*s->sum), "the mean activation", err);
        s->sums = array_zeroed(total, sizeof(*s->sums), "sums", err);
        s->sum_counts = array_zeroed(threads * s->scratch, sizeof(*s->sum_counts), "counts", err);
        status = s->sum && s->sums && s->sum_counts ? STATUS_OK : STATUS_FAILED;
    }
    if (status)
        scorer_close(s);
    else
        *out = s;
    return status;
}

static void free_rows(struct scorer *s)
{
    free(s->x_hat);
    free(s->scales);
    free(s->row_square);
    free(s->row_error);
    free(s->context_starts);
}

void scorer_close(struct scorer *s)
{
    if (!s)
        return;
    close_dictionary(&s->large);
    close_dictionary(&s->control);
    sparse_rows_free(&s->small);
    free_rows(s);
    free(s->permutation);
    free(s->pool);
    free(s->random_scale);
    free(s->sum);
    free(s->sums);
    free(s->sum_counts);
    free(s);
}

/* ---- Residuals. ---- */

static int reserve_rows(struct scorer *s, size_t n, struct error *err)
{
    size_t d = s->options.small->d_in, values;
    if (n <= s->row_capacity)
        return STATUS_OK;
    if (size_multiply(n, d, &values))
        return error_set(err, STATUS_FAILED, "too many rows to score at once");
    free_rows(s);
    s->row_capacity = 0;
    s->x_hat = array_alloc(values, sizeof(float), "reconstructions", err);
    s->scales = array_alloc(n, sizeof(float), "scales", err);
    s->row_square = array_alloc(n, sizeof(double), "sums", err);
    s->row_error = array_alloc(n, sizeof(double), "sums", err);
    s->context_starts = array_alloc(n + 1, sizeof(size_t), "contexts", err);
    if (!s->x_hat || !s->scales || !s->row_square || !s->row_error || !s->context_starts)
        return STATUS_FAILED;
    s->row_capacity = n;
    return STATUS_OK;
}

struct batch {
    struct scorer *scorer;
    struct dictionary *dictionary;
    float *x;
    size_t n;
    const float *scales; /* NULL: ones */
};

static void residual_block(size_t block, size_t worker, void *arg)
{
    const struct batch *b = arg;
    struct scorer *s = b->scorer;
    size_t d = s->options.small->d_in, end = (block + 1) * ROWS_A_BLOCK < b->n ? (block + 1) * ROWS_A_BLOCK : b->n;
    (void)worker;
    for (size_t r = block * ROWS_A_BLOCK; r < end; r++) {
        float *x = b->x + r * d;
        const float *x_hat = s->x_hat + r * d;
        s->row_square[r] = vec_norm2(x, d);
        for (size_t i = 0; i < d; i++)
            x[i] -= x_hat[i];
        s->row_error[r] = vec_norm2(x, d);
    }
}

/* x becomes x − x̂_small, and what it was is added to the totals. */
static int find_residuals(struct scorer *s, struct batch *b, struct error *err)
{
    const struct sae *small = s->options.small;
    int status = sae_encode(small, b->x, b->n, &s->small, err);
    if (!status)
        status = sae_decode(small, &s->small, b->x, s->x_hat, err);
    if (status)
        return status;
    if (s->options.large->normalization != NORMALIZE_NONE) {
        sae_output_scales(s->options.large, b->x, b->n, s->scales);
        b->scales = s->scales;
    }
    column_sums_add(s->sum, b->x, b->n, small->d_in);
    parallel_for((b->n + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK, residual_block, b);
    for (size_t r = 0; r < b->n; r++) {
        s->square += s->row_square[r];
        s->totals.error += s->row_error[r];
    }
    s->totals.tokens += b->n;
    s->totals.small_pairs += s->small.offsets[b->n];
    return STATUS_OK;
}

/* ---- Pairs. ---- */

static const float *variant_row(const struct scorer *s, const struct dictionary *q, enum scored_rows rows, size_t latent,
                                double *square, double *scale)
{
    *scale = 1;
    *square = q->square[latent];
    if (rows == SCORED_SHUFFLED) {
        *square = q->square[s->permutation[latent]];
        return sae_decoder_row(q->sae, s->permutation[latent]);
    }
    if (rows == SCORED_RANDOM) {
        *scale = s->random_scale[latent];
        return random_row(s, latent);
    }
    return sae_decoder_row(q->sae, latent);
}

/* a²‖σd‖² − 2a·E·σd of each pair. */
static void pairs_block(size_t block, size_t worker, void *arg)
{
    const struct batch *b = arg;
    struct dictionary *q = b->dictionary;
    size_t d = q->sae->d_in, end = (block + 1) * ROWS_A_BLOCK < b->n ? (block + 1) * ROWS_A_BLOCK : b->n;
    (void)worker;
    for (size_t r = block * ROWS_A_BLOCK; r < end; r++) {
        const float *residual = b->x + r * d;
        for (size_t p = q->active.offsets[r]; p < q->active.offsets[r + 1]; p++) {
            double a = (double)q->active.values[p] * (b->scales ? (double)b->scales[r] : 1);
            for (size_t v = 0; v < q->n_variants; v++) {
                double square, scale;
                const float *row = variant_row(b->scorer, q, q->variants[v].rows, q->active.latents[p], &square, &scale);
                q->variants[v].pairs[p] = a * a * square - 2 * a * scale * (double)row_dot(residual, row, d);
            }
        }
    }
}

/* The pairs of one context, summed by latent: the sums take the pairs' places. */
static void context_block(size_t block, size_t worker, void *arg)
{
    const struct batch *b = arg;
    const struct scorer *s = b->scorer;
    struct dictionary *q = b->dictionary;
    double *sums = s->sums + worker * VARIANTS * s->scratch;
    uint32_t *counts = s->sum_counts + worker * s->scratch;
    size_t first = q->active.offsets[s->context_starts[block]], end = q->active.offsets[s->context_starts[block + 1]];
    size_t n = 0;
    for (size_t p = first; p < end; p++) {
        uint32_t latent = q->active.latents[p];
        if (!counts[latent]++)
            q->latents[first + n++] = latent;
        for (size_t v = 0; v < q->n_variants; v++)
            sums[v * s->scratch + latent] += q->variants[v].pairs[p];
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t latent = q->latents[first + i];
        q->counts[first + i] = counts[latent];
        counts[latent] = 0;
        for (size_t v = 0; v < q->n_variants; v++) {
            q->variants[v].pairs[first + i] = sums[v * s->scratch + latent];
            sums[v * s->scratch + latent] = 0;
        }
    }
    q->n_latents[block] = n;
}

static int reserve_pairs(struct dictionary *q, size_t n, size_t n_contexts, struct error *err)
{
    q->n_latents = xreallocarray(q->n_latents, n_contexts, sizeof(*q->n_latents));
    if (n <= q->pair_capacity)
        return STATUS_OK;
    n += n / 4;
    q->pair_capacity = 0;
    free(q->latents);
    free(q->counts);
    q->latents = array_alloc(n, sizeof(*q->latents), "active pairs", err);
    q->counts = array_alloc(n, sizeof(*q->counts), "active pairs", err);
    if (!q->latents || !q->counts)
        return STATUS_FAILED;
    for (size_t v = 0; v < q->n_variants; v++) {
        free(q->variants[v].pairs);
        q->variants[v].pairs = array_alloc(n, sizeof(double), "active pairs", err);
        if (!q->variants[v].pairs)
            return STATUS_FAILED;
    }
    q->pair_capacity = n;
    return STATUS_OK;
}

static int add_contexts(struct scorer *s, struct dictionary *q, const uint32_t *contexts, size_t n_contexts,
                        struct error *err)
{
    for (size_t c = 0; c < n_contexts; c++) {
        uint32_t context = contexts[s->context_starts[c]];
        size_t first = q->active.offsets[s->context_starts[c]];
        for (size_t i = first; i < first + q->n_latents[c]; i++) {
            uint32_t latent = q->latents[i];
            q->fired[latent] += q->counts[i];
            for (size_t v = 0; v < q->n_variants; v++) {
                struct variant *x = &q->variants[v];
                x->delta[latent] += x->pairs[i];
                int status = spool_add(x->spool, latent, context, (float)x->pairs[i], err);
                if (status)
                    return status;
            }
        }
    }
    return STATUS_OK;
}

/* b->x are residuals already. */
static int score(struct scorer *s, struct dictionary *q, struct batch *b, const uint32_t *contexts, size_t n_contexts,
                 struct error *err)
{
    int status = reserve_pairs(q, q->active.offsets[b->n], n_contexts, err);
    if (status)
        return status;
    b->dictionary = q;
    parallel_for((b->n + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK, pairs_block, b);
    parallel_for(n_contexts, context_block, b);
    if ((status = parallel_cancelled(err)))
        return status;
    return add_contexts(s, q, contexts, n_contexts, err);
}

/* ---- A batch. ---- */

/* Where the contexts of a batch begin. */
static int find_contexts(struct scorer *s, const uint32_t *contexts, size_t n, size_t *n_contexts, struct error *err)
{
    *n_contexts = 0;
    if (contexts[0] < s->totals.contexts)
        return error_set(err, STATUS_FAILED, "context %u comes twice or too late", (unsigned)contexts[0]);
    for (size_t r = 0; r < n; r++) {
        if (r && contexts[r] < contexts[r - 1])
            return error_set(err, STATUS_FAILED, "context %u comes too late", (unsigned)contexts[r]);
        if (!r || contexts[r] != contexts[r - 1])
            s->context_starts[(*n_contexts)++] = r;
    }
    s->context_starts[*n_contexts] = n;
    s->totals.contexts = (size_t)contexts[n - 1] + 1;
    return STATUS_OK;
}

int scorer_add(struct scorer *s, float *x, size_t n, const uint32_t *contexts, struct error *err)
{
    struct batch b = {.scorer = s, .x = x, .n = n};
    size_t n_contexts;
    if (n == 0)
        return STATUS_OK;
    int status = reserve_rows(s, n, err);
    if (!status)
        status = find_contexts(s, contexts, n, &n_contexts, err);
    if (!status)
        status = sae_encode(s->large.sae, x, n, &s->large.active, err);
    if (!status && s->control.sae)
        status = sae_encode(s->control.sae, x, n, &s->control.active, err);
    if (!status)
        status = find_residuals(s, &b, err);
    if (!status)
        status = score(s, &s->large, &b, contexts, n_contexts, err);
    if (!status && s->control.sae)
        status = score(s, &s->control, &b, contexts, n_contexts, err);
    if (!status)
        s->totals.large_pairs += s->large.active.offsets[n];
    if (!status && s->options.tokens)
        status = token_spool_add(s->options.tokens, n, x, b.scales, contexts, &s->small, &s->large.active, err);
    return status;
}

/* ---- Results. ---- */

static const struct variant *variant_of(const struct scorer *s, enum scored_rows rows)
{
    return rows == SCORED_SEED ? &s->control.variants[0] : &s->large.variants[rows];
}

const uint32_t *scorer_fired(const struct scorer *s, enum scored_rows rows)
{
    return rows == SCORED_SEED ? s->control.fired : s->large.fired;
}

const double *scorer_delta(const struct scorer *s, enum scored_rows rows)
{
    return variant_of(s, rows)->delta;
}

/* Σ‖x−x̄‖² = Σ‖x‖² − n‖x̄‖², in float64. */
void scorer_totals(const struct scorer *s, struct score_totals *out)
{
    double mean_square = 0;
    *out = s->totals;
    for (size_t i = 0; i < s->options.small->d_in && out->tokens; i++)
        mean_square += s->sum[i] * s->sum[i] / (double)out->tokens;
    out->centred = s->square - mean_square;
}

int scorer_novelty(struct scorer *s, enum scored_rows rows, struct monitor *m, struct novelty *out, struct error *err)
{
    const struct variant *v = variant_of(s, rows);
    const struct dictionary *q = rows == SCORED_SEED ? &s->control : &s->large;
    return novelty_measure(v->spool, q->fired, v->delta, q->sae->d_sae, s->totals.contexts, s->options.seed, m, out, err);
}
