/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Scoring of dictionaries whose truth is known, where cosines mislead; without a model. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/nearest.h"
#include "saescope/analysis/stitch_score.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"

static struct error err;

/*
 * Tokens are sums of features: OLD ones, which the small SAE has, and NEW ones, which it does not have. The large SAE has latents
 * for all of them, and one for each of SUMS pairs of old features that come together. What cosines would get wrong:
 * TRAPS new features lie at cosine 0.8 to a small latent that never fires with them, and the pairs' latents at cosine 0.5 to
 * both of their atoms. The other new ones lie at cosines up to 0.6, and the large SAE's versions of old features at 0.7 to 1, as
 * two trainings find them.
 */
enum { D = 160, OLD = 54, NEW = 54, FEATURES = OLD + NEW, SUMS = 6, TRAPS = 6, N_LARGE = FEATURES + SUMS };

struct plant {
    float features[FEATURES][D];
    struct sae *small, *large;
};

static void unit_axis(float *x, size_t axis, double length)
{
    x[axis] += (float)length;
}

/* Feature k is along axis k, but for what is said above; axes from FEATURES on are free. */
static void make_features(struct plant *p)
{
    for (size_t k = 0; k < FEATURES; k++)
        unit_axis(p->features[k], k, 1);
    for (size_t s = 0; s < SUMS; s++) { /* old features 2s and 2s + 1 have cosine −0.5, so that their sum has 0.5 to both */
        memset(p->features[2 * s + 1], 0, sizeof(p->features[0]));
        unit_axis(p->features[2 * s + 1], 2 * s, -0.5);
        unit_axis(p->features[2 * s + 1], 2 * s + 1, sqrt(0.75));
    }
    for (size_t k = OLD; k < FEATURES; k++) {
        double cosine = k < OLD + TRAPS ? 0.8 : 0.6 * (double)(k - OLD) / NEW;
        memset(p->features[k], 0, sizeof(p->features[0]));
        unit_axis(p->features[k], 2 * SUMS + (k - OLD) % (OLD - 2 * SUMS), cosine);
        unit_axis(p->features[k], k, sqrt(1 - cosine * cosine));
    }
}

/* Rows that find each feature's coefficient whatever else is there: the inverse's columns (Gauss and Jordan). */
static void find_duals(const struct plant *p, double dual[FEATURES][D])
{
    static double a[D][2 * D];
    memset(a, 0, sizeof(a));
    for (size_t i = 0; i < D; i++) {
        for (size_t j = 0; j < D; j++)
            a[i][j] = i < FEATURES ? (double)p->features[i][j] : i == j;
        a[i][D + i] = 1;
    }
    for (size_t c = 0; c < D; c++) {
        size_t best = c;
        for (size_t i = c; i < D; i++)
            best = fabs(a[i][c]) > fabs(a[best][c]) ? i : best;
        for (size_t j = 0; j < 2 * D; j++) {
            double held = a[c][j];
            a[c][j] = a[best][j];
            a[best][j] = held;
        }
        for (size_t i = 0; i < D; i++) {
            double factor = i == c ? 0 : a[i][c] / a[c][c];
            for (size_t j = 0; factor != 0 && j < 2 * D; j++)
                a[i][j] -= factor * a[c][j];
        }
    }
    for (size_t k = 0; k < FEATURES; k++)
        for (size_t j = 0; j < D; j++)
            dual[k][j] = a[j][D + k] / a[j][j];
}

static void set_latent(struct sae *sae, size_t latent, const double *encoder, const float *decoder, float threshold)
{
    for (size_t j = 0; j < D; j++)
        sae->owned_W_enc[latent * D + j] = (float)encoder[j];
    memcpy(sae->owned_W_dec + latent * D, decoder, D * sizeof(float));
    sae->threshold[latent] = threshold;
}

static void make_plant(struct plant *p)
{
    static double dual[FEATURES][D];
    memset(p, 0, sizeof(*p));
    make_features(p);
    find_duals(p, dual);
    p->small = new_sae("jumprelu", D, OLD);
    p->large = new_sae("jumprelu", D, N_LARGE);
    p->small->apply_b_dec_to_input = p->large->apply_b_dec_to_input = 0;
    for (size_t k = 0; k < FEATURES; k++) {
        float row[D] = {0};
        double cosine = k < OLD ? 0.7 + 0.3 * (double)k / OLD : 1;
        for (size_t j = 0; j < D; j++)
            row[j] = (float)cosine * p->features[k][j];
        unit_axis(row, FEATURES + k % (D - FEATURES), sqrt(1 - cosine * cosine));
        set_latent(p->large, k, dual[k], row, 0.5F);
        if (k < OLD)
            set_latent(p->small, k, dual[k], p->features[k], 0.5F);
    }
    for (size_t s = 0; s < SUMS; s++) {
        double encoder[D];
        float row[D];
        for (size_t j = 0; j < D; j++) {
            encoder[j] = (dual[2 * s][j] + dual[2 * s + 1][j]) / 2;
            row[j] = p->features[2 * s][j] + p->features[2 * s + 1][j];
        }
        set_latent(p->large, FEATURES + s, encoder, row, 1); /* one of the two alone gives at most 1 */
    }
}

static int truly_novel(size_t latent)
{
    return latent >= OLD && latent < FEATURES;
}

/* A token: coefficients from 1.2 to 1.9 of a few features, and noise. */
static void make_token(const struct plant *p, struct rng *r, float *x)
{
    double c[FEATURES] = {0};
    for (size_t j = 0; j < D; j++)
        x[j] = (float)(0.02 * rng_normal(r));
    for (size_t k = 0; k < FEATURES; k++)
        if (rng_uniform(r) < 0.05)
            c[k] = 1.2 + 0.7 * rng_uniform(r);
    for (size_t s = 0; s < SUMS; s++)
        if (rng_uniform(r) < 0.05)
            c[2 * s] = c[2 * s + 1] = 1.2 + 0.7 * rng_uniform(r);
    for (size_t k = 0; k < FEATURES; k++)
        for (size_t j = 0; c[k] > 0 && j < D; j++)
            x[j] += (float)c[k] * p->features[k][j];
}

enum { TOKENS = 6000, CONTEXT = 60, BATCH = 1500 };

static struct scorer *score_plant(const struct plant *p, const struct sae *control)
{
    struct scorer_options o = {p->small, p->large, control, test_directory, NULL, 7};
    struct scorer *s;
    float *x = xreallocarray(NULL, (size_t)BATCH * D, sizeof(*x));
    uint32_t contexts[BATCH];
    struct rng r;
    rng_seed(&r, 1, 0);
    assert_ok(scorer_open(&o, &s, &err));
    for (size_t first = 0; first < TOKENS; first += BATCH) {
        for (size_t i = 0; i < BATCH; i++) {
            make_token(p, &r, x + i * D);
            contexts[i] = (uint32_t)((first + i) / CONTEXT);
        }
        assert_ok(scorer_add(s, x, BATCH, contexts, &err));
    }
    free(x);
    return s;
}

static void free_plant(struct plant *p)
{
    sae_free(p->small);
    sae_free(p->large);
    free(p);
}

/* Scores of the plant with the nearest latents: what a stitch says. */
static void plant_latents(const struct plant *p, const struct scorer *s, struct stitch_latents *l)
{
    l->n = N_LARGE;
    l->max_cosine = xcalloc(N_LARGE, sizeof(float));
    l->nearest = xcalloc(N_LARGE, sizeof(uint32_t));
    l->classes = xcalloc(N_LARGE, 1);
    assert_ok(nearest_rows(p->large, p->small, 1, NULL, l->nearest, l->max_cosine, &err));
    for (size_t i = 0; i < N_LARGE; i++)
        l->classes[i] = (uint8_t)stitch_class(scorer_fired(s, SCORED_LARGE)[i], scorer_delta(s, SCORED_LARGE)[i]);
}

static void test_planted(void **state)
{
    struct plant *p = xcalloc(1, sizeof(*p));
    struct stitch_latents l = {0};
    struct novelty n;
    size_t right = 0;
    double auc, best;
    (void)state;
    make_plant(p);
    struct scorer *s = score_plant(p, NULL);
    plant_latents(p, s, &l);
    for (size_t i = 0; i < N_LARGE; i++) {
        assert_int_not_equal(l.classes[i], LATENT_UNDECIDED);
        right += (l.classes[i] == LATENT_NOVEL) == truly_novel(i);
    }
    assert_true((double)right >= 0.99 * N_LARGE);
    for (size_t i = OLD; i < OLD + TRAPS; i++)
        assert_float_equal(l.max_cosine[i], 0.8, 1e-5);
    for (size_t i = FEATURES; i < N_LARGE; i++)
        assert_float_equal(l.max_cosine[i], 0.5, 1e-5);
    stitch_roc(&l, &auc, &best);
    assert_true(auc < 0.95 && auc > 0.8);
    assert_ok(scorer_novelty(s, SCORED_LARGE, NULL, &n, &err));
    assert_true(n.low <= n.fraction && n.fraction <= n.high);
    assert_int_equal(n.novel + n.reconstruction, N_LARGE);
    assert_null(scorer_delta(s, SCORED_SEED));
    scorer_close(s);
    stitch_latents_free(&l);
    free_plant(p);
}

static void test_controls(void **state)
{
    struct plant *p = xcalloc(1, sizeof(*p));
    struct novelty real, shuffled, isotropic, seed;
    (void)state;
    make_plant(p);
    struct scorer *s = score_plant(p, p->small);
    assert_ok(scorer_novelty(s, SCORED_LARGE, NULL, &real, &err));
    assert_ok(scorer_novelty(s, SCORED_SHUFFLED, NULL, &shuffled, &err));
    assert_ok(scorer_novelty(s, SCORED_RANDOM, NULL, &isotropic, &err));
    assert_ok(scorer_novelty(s, SCORED_SEED, NULL, &seed, &err));
    assert_float_equal(real.fraction, (double)NEW / N_LARGE, 0.01);
    assert_true(shuffled.fraction < 0.05);
    assert_true(isotropic.novel == 0 && isotropic.reconstruction == N_LARGE && isotropic.high < 0.01);
    /* The small SAE's own latents again add nothing. */
    assert_true(seed.novel == 0 && seed.reconstruction == OLD && seed.undecided == 0);
    for (size_t i = 0; i < N_LARGE; i++)
        assert_true(scorer_delta(s, SCORED_SHUFFLED)[i] != scorer_delta(s, SCORED_LARGE)[i] || i < OLD || i >= FEATURES);
    scorer_close(s);
    free_plant(p);
}

/* The same bits with any number of threads. */
static void test_threads(void **state)
{
    struct plant *p = xcalloc(1, sizeof(*p));
    struct novelty n[2];
    double *delta[2];
    (void)state;
    make_plant(p);
    for (int i = 0; i < 2; i++) {
        parallel_stop();
        parallel_start(i ? 3 : 1);
        struct scorer *s = score_plant(p, NULL);
        delta[i] = xcalloc(3 * N_LARGE, sizeof(double));
        for (enum scored_rows rows = SCORED_LARGE; rows <= SCORED_RANDOM; rows++)
            memcpy(delta[i] + (size_t)rows * N_LARGE, scorer_delta(s, rows), N_LARGE * sizeof(double));
        assert_ok(scorer_novelty(s, SCORED_LARGE, NULL, &n[i], &err));
        scorer_close(s);
    }
    parallel_stop();
    parallel_start(TEST_THREADS);
    assert_memory_equal(delta[0], delta[1], 3 * N_LARGE * sizeof(double));
    assert_memory_equal(&n[0], &n[1], sizeof(n[0]));
    free(delta[0]);
    free(delta[1]);
    free_plant(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted),
        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, set_up_threads, tear_down_threads);
}
