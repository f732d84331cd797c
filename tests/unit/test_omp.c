/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sparse regression: against scikit-learn and SciPy (omp_golden.h), and what must hold of any result. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/nnls.h"
#include "saescope/analysis/omp.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"
#include "omp_golden.h"

/* An SAE with these decoder rows in three blocks. */
static struct sae *with_rows(const float *rows, size_t n, size_t d)
{
    struct sae *x = new_sae("standard", d, n);
    memcpy(x->owned_W_dec, rows, n * d * sizeof(float));
    cut_into_blocks(x);
    return x;
}

static float *random_rows(size_t n, size_t d, uint64_t seed)
{
    float *rows = xcalloc(n * d, sizeof(float));
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n * d; i++)
        rows[i] = (float)rng_normal(&rng);
    return rows;
}

struct fits {
    struct sparse_rows f;
    double *error;
};

static struct fits fit(const struct sae *dictionary, size_t k, int non_negative, const float *rows,
                       const uint32_t *exclude, size_t n)
{
    struct error err = {0};
    struct omp *p;
    struct fits r = {{0}, xcalloc(n, sizeof(double))};
    assert_ok(omp_open(dictionary, &(struct omp_options){k, non_negative}, &p, &err));
    assert_ok(omp_rows(p, rows, exclude, n, NULL, &r.f, r.error, &err));
    omp_close(p);
    return r;
}

static void free_fits(struct fits *r)
{
    sparse_rows_free(&r->f);
    free(r->error);
}

static double coefficient(const struct sparse_rows *f, size_t row, size_t latent)
{
    for (size_t i = f->offsets[row]; i < f->offsets[row + 1]; i++)
        if (f->latents[i] == latent)
            return (double)f->values[i];
    return 0;
}

/* row − Σ coefficient · unit atom, in float64. */
static void residual_of(const struct sae *dictionary, const struct sparse_rows *f, size_t r, const float *row,
                        double *left)
{
    size_t d = dictionary->d_in;
    for (size_t i = 0; i < d; i++)
        left[i] = (double)row[i];
    for (size_t p = f->offsets[r]; p < f->offsets[r + 1]; p++) {
        const float *atom = sae_decoder_row(dictionary, f->latents[p]);
        double norm = sqrt(vec_norm2(atom, d));
        for (size_t i = 0; i < d; i++)
            left[i] -= (double)f->values[p] * (double)atom[i] / norm;
    }
}

static double correlation_with(const struct sae *dictionary, size_t latent, const double *left)
{
    const float *atom = sae_decoder_row(dictionary, latent);
    double sum = 0, norm = sqrt(vec_norm2(atom, dictionary->d_in));
    for (size_t i = 0; i < dictionary->d_in; i++)
        sum += (double)atom[i] * left[i];
    return norm > 0 ? sum / norm : 0;
}

/* ---- Golden values. ---- */

static void check_golden(const struct golden_fit *golden, size_t n_golden, size_t k, int non_negative)
{
    struct sae *x = with_rows(golden_dictionary, GOLDEN_ATOMS, GOLDEN_D);
    struct fits r = fit(x, k, non_negative, golden_targets, NULL, GOLDEN_ROWS);
    size_t seen = 0;
    for (size_t row = 0; row < GOLDEN_ROWS; row++) {
        double expected[GOLDEN_ATOMS] = {0}, left[GOLDEN_D], error = 0;
        for (size_t i = 0; i < n_golden; i++)
            if (golden[i].k == k && golden[i].row == row)
                expected[golden[i].latent] = golden[i].coefficient;
        for (size_t i = 0; i < GOLDEN_ATOMS; i++) {
            if (fabs(coefficient(&r.f, row, i) - expected[i]) > 1e-5)
                fail_msg("k %zu, row %zu, atom %zu: %.9g, not %.9g", k, row, i, coefficient(&r.f, row, i),
                         expected[i]);
            seen += expected[i] != 0;
        }
        residual_of(x, &r.f, row, golden_targets + row * GOLDEN_D, left);
        for (size_t i = 0; i < GOLDEN_D; i++)
            error += left[i] * left[i];
        assert_true(fabs(error - r.error[row]) < 1e-5);
        for (size_t i = r.f.offsets[row]; i + 1 < r.f.offsets[row + 1]; i++)
            assert_true(r.f.latents[i] < r.f.latents[i + 1]);
    }
    assert_true(seen >= GOLDEN_ROWS - 2);
    free_fits(&r);
    sae_free(x);
}

static void test_as_scikit_learn(void **state)
{
    (void)state;
    for (size_t k = 1; k <= 8; k *= 2)
        check_golden(golden_omp, ARRAY_LENGTH(golden_omp), k, 0);
}

static void test_non_negative(void **state)
{
    (void)state;
    for (size_t k = 1; k <= 8; k *= 2)
        check_golden(golden_non_negative, ARRAY_LENGTH(golden_non_negative), k, 1);
}

static void test_nnls(void **state)
{
    (void)state;
    size_t zeros = 0;
    for (size_t c = 0; c < ARRAY_LENGTH(golden_nnls); c++) {
        const struct golden_nnls *g = &golden_nnls[c];
        double x[8], *scratch = xcalloc(nnls_scratch(g->n), sizeof(double));
        nnls(g->gram, g->n, g->b, g->n, x, scratch);
        for (size_t i = 0; i < g->n; i++) {
            assert_true(fabs(x[i] - g->x[i]) < 1e-9);
            zeros += g->x[i] == 0;
        }
        free(scratch);
    }
    assert_true(zeros > 5); /* the bound is felt */
}

/* Of two equal columns one is used, or as much of both as is right. */
static void test_nnls_of_dependent_columns(void **state)
{
    (void)state;
    const double gram[9] = {1, 1, 0.2, 1, 1, 0.2, 0.2, 0.2, 1}, b[3] = {0.9, 0.9, 0.5};
    double x[3], scratch[64];
    assert_true(nnls_scratch(3) <= 64);
    nnls(gram, 3, b, 3, x, scratch);
    assert_true(x[0] >= 0 && x[1] >= 0);
    assert_true(fabs(x[0] + x[1] + 0.2 * x[2] - 0.9) < 1e-12);
    assert_true(fabs(0.2 * (x[0] + x[1]) + x[2] - 0.5) < 1e-12);
}

/* ---- What must hold. Several tiles of atoms, several chunks of rows. ---- */

enum { N = 2600, D = 24, ROWS = 600 };

/* In each round the best atom came in: what is left is orthogonal to what is in, and one atom more explains
 * more. */
static void test_properties(void **state)
{
    (void)state;
    float *atoms = random_rows(N, D, 1), *rows = random_rows(ROWS, D, 2);
    struct sae *x = with_rows(atoms, N, D);
    for (int non_negative = 0; non_negative < 2; non_negative++) {
        struct fits three = fit(x, 3, non_negative, rows, NULL, ROWS);
        struct fits four = fit(x, 4, non_negative, rows, NULL, ROWS);
        for (size_t r = 0; r < ROWS; r++) {
            double left[D];
            residual_of(x, &four.f, r, rows + r * D, left);
            size_t n = four.f.offsets[r + 1] - four.f.offsets[r];
            assert_true(non_negative ? n >= 1 && n <= 4 : n == 4);
            for (size_t p = four.f.offsets[r]; p < four.f.offsets[r + 1]; p++) {
                assert_true(fabs(correlation_with(x, four.f.latents[p], left)) < 1e-5);
                assert_true(!non_negative || four.f.values[p] > 0);
            }
            assert_true(four.error[r] < three.error[r]);
        }
        free_fits(&three);
        free_fits(&four);
    }
    sae_free(x);
    free(atoms);
    free(rows);
}

/* An atom onto its own dictionary is itself, unless it may not be used; then no row uses its own. */
static void test_own_row_is_left_out(void **state)
{
    (void)state;
    float *atoms = random_rows(N, D, 3);
    struct sae *x = with_rows(atoms, N, D);
    uint32_t own[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        own[i] = i;
    struct fits with = fit(x, 3, 0, atoms, NULL, ROWS), without = fit(x, 3, 0, atoms, own, ROWS);
    for (size_t r = 0; r < ROWS; r++) {
        double norm = sqrt(vec_norm2(atoms + r * D, D));
        assert_true(fabs(coefficient(&with.f, r, r) - norm) < 1e-4 && with.error[r] < 1e-8);
        assert_true(coefficient(&without.f, r, r) == 0 && without.error[r] > 1e-3);
    }
    free_fits(&with);
    free_fits(&without);
    sae_free(x);
    free(atoms);
}

/* Alone or among others, a row gets the same atoms. */
static void test_one_row(void **state)
{
    (void)state;
    float *atoms = random_rows(N, D, 4), *rows = random_rows(ROWS, D, 5);
    struct sae *x = with_rows(atoms, N, D);
    struct fits all = fit(x, 4, 1, rows, NULL, ROWS);
    for (size_t r = 0; r < ROWS; r += 97) {
        struct fits one = fit(x, 4, 1, rows + r * D, NULL, 1);
        size_t n = one.f.offsets[1], at = all.f.offsets[r];
        assert_int_equal(n, all.f.offsets[r + 1] - at);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(one.f.latents[i], all.f.latents[at + i]);
            assert_true(fabsf(one.f.values[i] - all.f.values[at + i]) < 1e-6F);
        }
        free_fits(&one);
    }
    free_fits(&all);
    sae_free(x);
    free(atoms);
    free(rows);
}

static void test_refusals_and_cancelling(void **state)
{
    (void)state;
    struct error err = {0};
    float *atoms = random_rows(N, D, 6);
    struct sae *x = with_rows(atoms, N, D);
    struct omp *p = NULL;
    struct sparse_rows f = {0};
    double error[ROWS];
    struct monitor m = {.ask = cancel_later};
    assert_int_equal(omp_open(x, &(struct omp_options){0, 0}, &p, &err), STATUS_USAGE);
    assert_int_equal(omp_open(x, &(struct omp_options){OMP_ATOMS_MAX + 1, 0}, &p, &err), STATUS_USAGE);
    assert_says("1 to 256 atoms");
    assert_ok(omp_open(x, &(struct omp_options){4, 0}, &p, &err));
    asks_before_cancel = 2;
    assert_int_equal(omp_rows(p, atoms, NULL, ROWS, &m, &f, error, &err), STATUS_FAILED);
    assert_says("cancelled");
    assert_ok(omp_rows(p, atoms, NULL, 0, NULL, &f, error, &err));
    assert_int_equal(f.offsets[0], 0);
    omp_close(p);
    sparse_rows_free(&f);
    sae_free(x);
    free(atoms);
}

/* More atoms than the space has dimensions: the fit is exact and ends there. */
static void test_no_more_than_there_are_dimensions(void **state)
{
    (void)state;
    float *atoms = random_rows(80, 6, 7), *rows = random_rows(20, 6, 8);
    struct sae *x = with_rows(atoms, 80, 6);
    struct fits r = fit(x, OMP_ATOMS_MAX, 0, rows, NULL, 20);
    for (size_t i = 0; i < 20; i++) {
        assert_in_range(r.f.offsets[i + 1] - r.f.offsets[i], 1, 6);
        assert_true(r.error[i] < 1e-10);
    }
    free_fits(&r);
    sae_free(x);
    free(atoms);
    free(rows);
}

/* ---- One latent, by the definitions. ---- */

static void check_decomposition(const struct sae *base, const struct sae *onto, size_t latent, int same)
{
    struct error err = {0};
    struct decomposition d;
    double row[D], left[D], mean[D] = {0}, error = 0, total = 0,
                            norm = sqrt(vec_norm2(sae_decoder_row(base, latent), D));
    assert_ok(decompose_onto(base, onto, latent, &(struct omp_options){4, 0}, NULL, &d, &err));
    assert_int_equal(d.n, 4);
    for (size_t r = 0; r < base->d_sae; r++) {
        double length = sqrt(vec_norm2(sae_decoder_row(base, r), D));
        for (size_t i = 0; i < D && length > 0; i++)
            mean[i] += (double)sae_decoder_row(base, r)[i] / length / (double)(base->d_sae - 1);
    }
    for (size_t i = 0; i < D; i++)
        left[i] = row[i] = (double)sae_decoder_row(base, latent)[i] / norm;
    for (size_t c = 0; c < d.n; c++) {
        const float *atom = sae_decoder_row(onto, d.components[c].latent);
        double length = sqrt(vec_norm2(atom, D)), cosine = 0;
        assert_true(!same || d.components[c].latent != latent);
        assert_true(c == 0 || fabsf(d.components[c].activation) <= fabsf(d.components[c - 1].activation));
        for (size_t i = 0; i < D; i++) {
            left[i] -= (double)d.components[c].activation * (double)atom[i] / length;
            cosine += row[i] * (double)atom[i] / length;
        }
        assert_true(fabs(cosine - (double)d.components[c].cosine) < 1e-5);
    }
    for (size_t i = 0; i < D; i++) {
        error += left[i] * left[i];
        total += (row[i] - mean[i]) * (row[i] - mean[i]);
    }
    assert_true(fabs(d.explained_variance - (1 - error / total)) < 1e-5);
    assert_true(fabs(d.residual_norm - sqrt(error)) < 1e-5);
    decomposition_free(&d);
}

static void test_decompose_onto(void **state)
{
    (void)state;
    struct error err = {0};
    struct decomposition d;
    float *rows = random_rows(300, D, 9), *atoms = random_rows(N, D, 10);
    memset(rows + 5 * D, 0, D * sizeof(float));
    struct sae *base = with_rows(rows, 300, D), *onto = with_rows(atoms, N, D);
    check_decomposition(base, onto, 17, 0);
    check_decomposition(base, base, 17, 1);
    assert_ok(
        decompose_onto(base, onto, 5, &(struct omp_options){4, 0}, NULL, &d, &err)); /* a row of zeros */
    assert_true(d.n == 0 && isnan(d.explained_variance));
    decomposition_free(&d);
    sae_free(onto);
    onto = with_rows(atoms, N, D / 2);
    assert_int_equal(decompose_onto(base, onto, 1, &(struct omp_options){4, 0}, NULL, &d, &err),
                     STATUS_REFUSED);
    assert_says("24 numbers");
    sae_free(onto);
    sae_free(base);
    free(rows);
    free(atoms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_scikit_learn),
        cmocka_unit_test(test_non_negative),
        cmocka_unit_test(test_nnls),
        cmocka_unit_test(test_nnls_of_dependent_columns),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_own_row_is_left_out),
        cmocka_unit_test(test_one_row),
        cmocka_unit_test(test_refusals_and_cancelling),
        cmocka_unit_test(test_no_more_than_there_are_dimensions),
        cmocka_unit_test(test_decompose_onto),
    };
    return cmocka_run_group_tests_name("sparse regression", tests, set_up_threads, tear_down_threads);
}
