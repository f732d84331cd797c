/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Scoring without a model: sums against what every insertion does to every token, and the bootstrap, the ROC and TopK's
 * threshold against brute force.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_score.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"
#include "stitch_golden.h"

static struct error err;

static void fill_normal(struct rng *r, float *x, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * rng_normal(r));
}

/* ---- Every number against what the insertion does. ---- */

enum { SMALL_D = 24, N_A = 30, N_B = 70, ROWS = 700 };

/* Random rows with a bias and thresholds; every third latent's encoder bias is negative. */
static struct sae *random_sae(size_t n, uint64_t seed, enum sae_normalization normalization)
{
    struct sae *sae = new_sae("jumprelu", SMALL_D, n);
    struct rng r;
    rng_seed(&r, seed, 0);
    fill_normal(&r, sae->owned_W_enc, n * SMALL_D, 0.25);
    fill_normal(&r, sae->owned_W_dec, n * SMALL_D, 0.25);
    fill_normal(&r, sae->b_dec, SMALL_D, 0.3);
    sae->b_enc = array_zeroed(n, sizeof(float), "b_enc", &err);
    for (size_t i = 0; i < n; i++) {
        sae->b_enc[i] = i % 3 ? 0.1F : -0.2F;
        sae->threshold[i] = 0.3F + 0.01F * (float)(i % 7);
    }
    sae->normalization = normalization;
    return sae;
}

/* What a per-token normalisation divides by, in float64. */
static double width_of(const float *x, enum sae_normalization n)
{
    double sum = 0, squares = 0;
    for (size_t j = 0; j < SMALL_D; j++)
        sum += (double)x[j];
    double mean = n == NORMALIZE_LAYER_NORM ? sum / SMALL_D : 0;
    for (size_t j = 0; j < SMALL_D; j++)
        squares += ((double)x[j] - mean) * ((double)x[j] - mean);
    return n == NORMALIZE_NONE         ? 1
           : n == NORMALIZE_LAYER_NORM ? sqrt(squares / (SMALL_D - 1))
                                       : sqrt(squares / SMALL_D);
}

/* Σ‖x − x̂‖² after and before σ·a·d is added to x̂ wherever the latent fires; scale[i] is Σ‖σad‖². */
static void insert_each(const struct sae *small, const struct sae *large, const float *x, size_t n, double *change,
                        double *scale, uint32_t *fired)
{
    struct sparse_rows f = {0}, g = {0};
    float *x_hat = xreallocarray(NULL, n * SMALL_D, sizeof(*x_hat));
    assert_ok(sae_encode(small, x, n, &f, &err));
    assert_ok(sae_encode(large, x, n, &g, &err));
    assert_ok(sae_decode(small, &f, x, x_hat, &err));
    memset(change, 0, large->d_sae * sizeof(*change));
    memset(scale, 0, large->d_sae * sizeof(*scale));
    memset(fired, 0, large->d_sae * sizeof(*fired));
    for (size_t r = 0; r < n; r++) {
        double width = width_of(x + r * SMALL_D, large->normalization);
        for (size_t p = g.offsets[r]; p < g.offsets[r + 1]; p++) {
            size_t i = g.latents[p];
            const float *row = large->owned_W_dec + i * SMALL_D;
            fired[i]++;
            for (size_t j = 0; j < SMALL_D; j++) {
                double e = (double)x[r * SMALL_D + j] - (double)x_hat[r * SMALL_D + j],
                       added = width * (double)g.values[p] * (double)row[j];
                change[i] += (e - added) * (e - added) - e * e;
                scale[i] += added * added;
            }
        }
    }
    free(x_hat);
    sparse_rows_free(&f);
    sparse_rows_free(&g);
}

/* Contexts of uneven lengths, some of them without a counted token. */
static void make_contexts(uint32_t *contexts, size_t n)
{
    uint32_t c = 2;
    for (size_t i = 0; i < n; i++) {
        contexts[i] = c;
        if (i % 37 == 36 || i % 50 == 0)
            c += 1 + (i % 3 == 0);
    }
}

static struct scorer *score_rows(const struct scorer_options *o, const float *x, const uint32_t *contexts, size_t cut)
{
    struct scorer *s;
    float *rows = xreallocarray(NULL, (size_t)ROWS * SMALL_D, sizeof(*rows));
    memcpy(rows, x, (size_t)ROWS * SMALL_D * sizeof(*rows));
    assert_ok(scorer_open(o, &s, &err));
    assert_ok(scorer_add(s, rows, cut, contexts, &err));
    assert_ok(scorer_add(s, rows + cut * SMALL_D, ROWS - cut, contexts + cut, &err));
    free(rows);
    return s;
}

static void check_scores(enum sae_normalization normalization)
{
    struct sae *small = random_sae(N_A, 1, normalization), *large = random_sae(N_B, 2, normalization),
               *control = random_sae(N_A, 3, normalization);
    struct scorer_options o = {small, large, control, test_directory, NULL, 4};
    static float x[ROWS * SMALL_D];
    static uint32_t contexts[ROWS], fired[N_B];
    double change[N_B], scale[N_B];
    size_t cut = 37 * 5;
    struct rng r;
    rng_seed(&r, 5, 0);
    fill_normal(&r, x, ROWS * SMALL_D, 1.3);
    make_contexts(contexts, ROWS);
    while (contexts[cut] == contexts[cut - 1])
        cut++;
    struct scorer *s = score_rows(&o, x, contexts, cut);
    insert_each(small, large, x, ROWS, change, scale, fired);
    for (size_t i = 0; i < N_B; i++) {
        assert_int_equal(scorer_fired(s, SCORED_LARGE)[i], fired[i]);
        assert_true(fabs(scorer_delta(s, SCORED_LARGE)[i] - change[i]) <= 1e-6 * scale[i]);
    }
    insert_each(small, control, x, ROWS, change, scale, fired);
    for (size_t i = 0; i < N_A; i++) {
        assert_int_equal(scorer_fired(s, SCORED_SEED)[i], fired[i]);
        assert_true(fabs(scorer_delta(s, SCORED_SEED)[i] - change[i]) <= 1e-6 * scale[i]);
    }
    scorer_close(s);
    sae_free(small);
    sae_free(large);
    sae_free(control);
}

static void test_scores(void **state)
{
    (void)state;
    check_scores(NORMALIZE_NONE);
    check_scores(NORMALIZE_CONSTANT_NORM_RESCALE);
    check_scores(NORMALIZE_LAYER_NORM);
}

static void test_totals(void **state)
{
    struct sae *small = random_sae(N_A, 1, NORMALIZE_NONE), *large = random_sae(N_B, 2, NORMALIZE_NONE);
    struct scorer_options o = {small, large, NULL, test_directory, NULL, 4};
    static float x[ROWS * SMALL_D], x_hat[ROWS * SMALL_D];
    static uint32_t contexts[ROWS];
    struct sparse_rows f = {0};
    struct score_totals t;
    double mean[SMALL_D] = {0}, centred = 0, error = 0;
    struct rng r;
    (void)state;
    rng_seed(&r, 6, 0);
    fill_normal(&r, x, ROWS * SMALL_D, 1);
    for (size_t i = 0; i < ROWS * SMALL_D; i++)
        x[i] += 3; /* the mean is larger than what varies */
    make_contexts(contexts, ROWS);
    size_t cut = 1;
    while (contexts[cut] == contexts[cut - 1])
        cut++;
    struct scorer *s = score_rows(&o, x, contexts, cut);
    scorer_totals(s, &t);
    assert_ok(sae_encode(small, x, ROWS, &f, &err));
    assert_ok(sae_decode(small, &f, x, x_hat, &err));
    for (size_t i = 0; i < ROWS * SMALL_D; i++)
        mean[i % SMALL_D] += (double)x[i] / ROWS;
    for (size_t i = 0; i < ROWS * SMALL_D; i++) {
        centred += ((double)x[i] - mean[i % SMALL_D]) * ((double)x[i] - mean[i % SMALL_D]);
        error += ((double)x[i] - (double)x_hat[i]) * ((double)x[i] - (double)x_hat[i]);
    }
    assert_int_equal(t.tokens, ROWS);
    assert_int_equal(t.contexts, contexts[ROWS - 1] + 1);
    assert_int_equal(t.small_pairs, f.offsets[ROWS]);
    assert_true(fabs(t.centred - centred) < 1e-9 * centred);
    assert_true(fabs(t.error - error) < 1e-6 * error);
    /* A context that was there already. */
    assert_int_equal(scorer_add(s, x, 1, contexts, &err), STATUS_FAILED);
    assert_says("too late");
    sparse_rows_free(&f);
    scorer_close(s);
    sae_free(small);
    sae_free(large);
}

/* A batch that was cancelled, at any of its questions, is not added to what the latents did before. */
static void test_cancelled(void **state)
{
    struct sae *small = random_sae(N_A, 1, NORMALIZE_NONE), *large = random_sae(N_B, 2, NORMALIZE_NONE);
    struct scorer_options o = {small, large, NULL, test_directory, NULL, 4};
    static float x[ROWS * SMALL_D], rows[ROWS * SMALL_D];
    static uint32_t contexts[ROWS], later[ROWS];
    struct monitor m = {.cancelled = cancelled_later};
    struct rng r;
    (void)state;
    rng_seed(&r, 7, 0);
    fill_normal(&r, x, ROWS * SMALL_D, 1.3);
    make_contexts(contexts, ROWS);
    for (size_t i = 0; i < ROWS; i++)
        later[i] = contexts[i] + contexts[ROWS - 1] + 1;
    int status = STATUS_FAILED, looks = 0;
    for (; status; looks++) {
        struct scorer *s;
        uint32_t fired[N_B];
        double delta[N_B];
        assert_ok(scorer_open(&o, &s, &err));
        memcpy(rows, x, sizeof rows);
        assert_ok(scorer_add(s, rows, ROWS, contexts, &err));
        memcpy(fired, scorer_fired(s, SCORED_LARGE), sizeof fired);
        memcpy(delta, scorer_delta(s, SCORED_LARGE), sizeof delta);
        memcpy(rows, x, sizeof rows);
        looks_before_cancel = looks;
        parallel_watch(&m);
        status = scorer_add(s, rows, ROWS, later, &err);
        assert_int_equal(parallel_cancelled(NULL), status);
        parallel_watch(NULL);
        if (status) {
            assert_string_equal(err.message, "cancelled");
            assert_memory_equal(scorer_fired(s, SCORED_LARGE), fired, sizeof fired);
            assert_memory_equal(scorer_delta(s, SCORED_LARGE), delta, sizeof delta);
        }
        scorer_close(s);
    }
    assert_true(looks > 5);
    sae_free(small);
    sae_free(large);
}

/* ---- The bootstrap. ---- */

enum { LATENTS = 90, CONTEXTS = 40 };

static void test_bootstrap(void **state)
{
    static float changes[LATENTS][CONTEXTS]; /* 0: did not fire there */
    uint32_t fired[LATENTS] = {0};
    double delta[LATENTS] = {0}, fractions[STITCH_RESAMPLES];
    struct spool *spool;
    struct novelty n;
    struct rng r;
    (void)state;
    rng_seed(&r, 11, 0);
    assert_ok(spool_open(test_directory, LATENTS, &spool, &err));
    for (uint32_t c = 0; c < CONTEXTS; c++)
        for (uint32_t i = 0; i < LATENTS; i++) {
            /* Some fire everywhere, some in one context only, some hardly. */
            if (i % 5 == 0 ? c != i % CONTEXTS : rng_uniform(&r) > 0.3)
                continue;
            changes[i][c] = (float)(rng_normal(&r) + 0.02 * ((double)i - LATENTS / 2.0));
            fired[i] += i % 9 == 8 ? 1 : 25;
            delta[i] += (double)changes[i][c];
            assert_ok(spool_add(spool, i, c, changes[i][c], &err));
        }
    assert_ok(novelty_measure(spool, fired, delta, LATENTS, CONTEXTS, 3, NULL, &n, &err));
    size_t novel = 0, decided = 0;
    for (size_t i = 0; i < LATENTS; i++) {
        decided += fired[i] >= 20;
        novel += fired[i] >= 20 && delta[i] < 0;
    }
    assert_true(decided < LATENTS && decided > LATENTS / 2);
    assert_int_equal(n.novel, novel);
    assert_int_equal(n.undecided, LATENTS - decided);
    assert_float_equal(n.fraction, (double)novel / (double)decided, 1e-12);
    for (size_t k = 0; k < STITCH_RESAMPLES; k++) {
        size_t there = 0, negative = 0;
        for (size_t i = 0; i < LATENTS; i++) {
            double sum = 0;
            int drawn = 0;
            for (uint32_t c = 0; c < CONTEXTS && fired[i] >= 20; c++) {
                uint8_t w[STITCH_RESAMPLES];
                resample_weights(3, c, w);
                sum += (double)changes[i][c] * w[k];
                drawn |= changes[i][c] != 0 && w[k];
            }
            there += drawn != 0;
            negative += drawn && sum < 0;
        }
        fractions[k] = (double)negative / (double)there;
    }
    /* The points by their definition: of 200 sorted values, numbers 4 and 5, 194 and 195 from 0, interpolated. */
    assert_float_equal(n.low, quantile(fractions, STITCH_RESAMPLES, 0.025), 1e-12);
    assert_float_equal(n.low, fractions[4] + 0.975 * (fractions[5] - fractions[4]), 1e-12);
    assert_float_equal(n.high, fractions[194] + 0.025 * (fractions[195] - fractions[194]), 1e-12);
    assert_true(n.low < n.fraction && n.fraction < n.high);
    spool_close(spool);
}

static void test_weights(void **state)
{
    double sum = 0, squares = 0;
    uint8_t w[STITCH_RESAMPLES], again[STITCH_RESAMPLES];
    size_t n = 2000 * STITCH_RESAMPLES, zeros = 0;
    (void)state;
    for (uint32_t c = 0; c < 2000; c++) {
        resample_weights(5, c, w);
        for (size_t r = 0; r < STITCH_RESAMPLES; r++) {
            sum += w[r];
            squares += w[r] * w[r];
            zeros += !w[r];
        }
    }
    /* Poisson(1): mean 1, variance 1, a share e^-1 of zeros; within 5 standard errors. */
    assert_float_equal(sum / (double)n, 1, 5 / sqrt((double)n));
    assert_float_equal(squares / (double)n - 1, 1, 5 * 2 / sqrt((double)n));
    assert_float_equal((double)zeros / (double)n, exp(-1), 5 * 0.5 / sqrt((double)n));
    resample_weights(5, 77, w);
    resample_weights(5, 77, again);
    assert_memory_equal(w, again, sizeof(w));
}

static void test_nothing_decided(void **state)
{
    uint32_t fired[3] = {0, 5, 19};
    double delta[3] = {0, -1, -2};
    struct spool *spool;
    struct novelty n;
    (void)state;
    assert_ok(spool_open(test_directory, 3, &spool, &err));
    assert_ok(spool_add(spool, 1, 0, -1, &err));
    assert_ok(spool_add(spool, 2, 0, -2, &err));
    assert_ok(novelty_measure(spool, fired, delta, 3, 1, 0, NULL, &n, &err));
    assert_int_equal(n.undecided, 3);
    assert_true(isnan(n.fraction) && isnan(n.low) && isnan(n.high));
    spool_close(spool);
}

/* ---- The ROC. ---- */

static void test_roc(void **state)
{
    float cosines[GOLDEN_N];
    uint8_t classes[GOLDEN_N];
    struct stitch_latents l = {.n = GOLDEN_N, .max_cosine = cosines, .classes = classes};
    struct stitch_confusion c;
    double auc, best;
    (void)state;
    for (size_t i = 0; i < GOLDEN_N; i++) {
        cosines[i] = (float)golden_cosines[i] / 64; /* exact; with ties */
        classes[i] = golden_classes[i];
    }
    stitch_roc(&l, &auc, &best);
    assert_float_equal(auc, GOLDEN_AUC, 1e-12);
    assert_float_equal(best, GOLDEN_BEST_THRESHOLD, 1e-12);
    stitch_confusion_at(&l, 0.5, &c);
    assert_int_equal(c.novel_below, GOLDEN_NOVEL_BELOW);
    assert_int_equal(c.novel_above, GOLDEN_NOVEL_ABOVE);
    assert_int_equal(c.reconstruction_below, GOLDEN_RECONSTRUCTION_BELOW);
    assert_int_equal(c.reconstruction_above, GOLDEN_RECONSTRUCTION_ABOVE);
    assert_int_equal(c.below, GOLDEN_NOVEL_BELOW + GOLDEN_RECONSTRUCTION_BELOW);
    assert_int_equal(c.above, GOLDEN_NOVEL_ABOVE + GOLDEN_RECONSTRUCTION_ABOVE);
    for (size_t i = 0; i < GOLDEN_N; i++)
        classes[i] = classes[i] == LATENT_NOVEL ? LATENT_UNDECIDED : classes[i];
    stitch_roc(&l, &auc, &best);
    assert_true(isnan(auc) && isnan(best));
}

/* ---- TopK. ---- */

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static void test_topk_threshold(void **state)
{
    enum { N = 64, K = 3, TOPK_ROWS = 200 };
    struct sae *sae = new_sae("topk", SMALL_D, N);
    static float x[TOPK_ROWS * SMALL_D], all[TOPK_ROWS * N];
    struct sparse_rows f = {0};
    struct rng r;
    double theta;
    (void)state;
    rng_seed(&r, 21, 0);
    sae->k = K;
    fill_normal(&r, sae->owned_W_enc, N * SMALL_D, 1);
    fill_normal(&r, x, TOPK_ROWS * SMALL_D, 1);
    for (size_t i = 0; i < TOPK_ROWS * SMALL_D; i++) /* some rows have nearly all of the largest */
        x[i] *= i / SMALL_D < 4 ? 50 : 1;
    for (size_t i = 0; i < TOPK_ROWS; i++)
        for (size_t j = 0; j < N; j++)
            all[i * N + j] = vec_dot(sae->owned_W_enc + j * SMALL_D, x + i * SMALL_D, SMALL_D);
    qsort(all, TOPK_ROWS * N, sizeof(float), descending);
    assert_ok(threshold_of_rows(sae, x, TOPK_ROWS, &theta, &err));
    assert_float_equal(theta, (double)all[TOPK_ROWS * K - 1], 1e-4);
    /* In its threshold form it has k active latents a token, but for the smallest itself. */
    assert_ok(stitch_threshold_form(sae, theta, &err));
    assert_string_equal(sae->architecture->name, "jumprelu");
    assert_ok(sae_encode(sae, x, TOPK_ROWS, &f, &err));
    assert_int_equal(f.offsets[TOPK_ROWS], TOPK_ROWS * K - 1);
    sparse_rows_free(&f);
    sae_free(sae);
}

/* Fewer positive ones than n·k: the smallest of them; none at all: 0. */
static void test_topk_threshold_of_few(void **state)
{
    struct sae *sae = new_sae("topk", 2, 2);
    const float x[] = {3, -1, -1, 2, -1, -1}, negative[] = {-1, -1};
    double theta;
    (void)state;
    sae->k = 2;
    sae->owned_W_enc[0] = sae->owned_W_enc[3] = 1;
    assert_ok(threshold_of_rows(sae, x, 3, &theta, &err));
    assert_float_equal(theta, 2, 0);
    assert_ok(threshold_of_rows(sae, negative, 1, &theta, &err));
    assert_float_equal(theta, 0, 0);
    sae_free(sae);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_totals),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_nothing_decided),
        cmocka_unit_test(test_roc),
        cmocka_unit_test(test_topk_threshold),
        cmocka_unit_test(test_topk_threshold_of_few),
    };
    return cmocka_run_group_tests(tests, set_up_threads, tear_down_threads);
}
