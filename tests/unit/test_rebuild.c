/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoder rows rebuilt from a meta-SAE, against sums in float64 written out here. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/rebuild.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"

#define D      12
#define N_BASE 700 /* several slices, the last one not full */
#define N_META 30
#define ZERO   41 /* a row of zeros */

static struct sae *base, *meta;

static void fill(float *x, size_t n, float scale, struct rng *rng)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)rng_normal(rng);
}

/* The base has two blocks, rows of many lengths, and everything that an SAE can have. */
static int set_up(void **state)
{
    (void)state;
    struct rng rng;
    blas_start();
    parallel_start(2);
    rng_seed(&rng, 1, 0);
    base = new_sae("jumprelu", D, N_BASE);
    fill(base->owned_W_enc, N_BASE * D, 1, &rng);
    for (size_t i = 0; i < N_BASE; i++)
        fill(base->owned_W_dec + i * D, D, 0.1F + 0.01F * (float)(i % 90), &rng);
    memset(base->owned_W_dec + ZERO * D, 0, D * sizeof(float));
    fill(base->b_dec, D, 1, &rng);
    fill(base->threshold, N_BASE, 1, &rng);
    base->b_enc = xcalloc(N_BASE, sizeof(float));
    fill(base->b_enc, N_BASE, 1, &rng);
    base->apply_b_dec_to_input = 0;
    base->normalization = NORMALIZE_LAYER_NORM;
    base->n_blocks = 2;
    base->blocks = xreallocarray(base->blocks, 2, sizeof(*base->blocks));
    base->blocks[0] = (struct sae_block){0, 400, base->owned_W_enc, base->owned_W_dec};
    base->blocks[1] = (struct sae_block){400, 300, base->owned_W_enc + 400 * D, base->owned_W_dec + 400 * D};
    meta = new_sae("batchtopk", D, N_META);
    fill(meta->owned_W_enc, N_META * D, 1, &rng);
    fill(meta->owned_W_dec, N_META * D, 0.3F, &rng);
    fill(meta->b_dec, D, 0.1F, &rng);
    for (size_t i = 0; i < N_META; i++)
        meta->threshold[i] = 1.2F;
    meta->k = 4;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sae_free(base);
    sae_free(meta);
    parallel_stop();
    return 0;
}

/* One row by the definition; how many meta-latents are active, those left out included. Rows where one is too
 * near to its threshold to tell are told by *close. */
static size_t rebuild_dense(size_t latent, int raw, const size_t *without, size_t n_without, double *out,
                            int *close)
{
    const float *row = base->owned_W_dec + latent * D;
    double norm = 0;
    size_t active = 0;
    *close = 0;
    for (size_t i = 0; i < D; i++)
        norm += (double)row[i] * (double)row[i];
    norm = sqrt(norm);
    double scale = raw ? 1 : norm;
    for (size_t i = 0; i < D; i++)
        out[i] = norm > 0 ? scale * (double)meta->b_dec[i] : 0;
    for (size_t j = 0; norm > 0 && j < N_META; j++) {
        double p = 0;
        int left_out = 0;
        for (size_t i = 0; i < D; i++)
            p += ((double)row[i] / scale - (double)meta->b_dec[i]) * (double)meta->owned_W_enc[j * D + i];
        *close |= fabs(p - (double)meta->threshold[j]) < 1e-5;
        if (!(p > 0) || !(p > (double)meta->threshold[j]))
            continue;
        active++;
        for (size_t k = 0; k < n_without; k++)
            left_out |= without[k] == j;
        for (size_t i = 0; !left_out && i < D; i++)
            out[i] += scale * p * (double)meta->owned_W_dec[j * D + i];
    }
    return active;
}

static void check_rebuilt(int raw, const size_t *without, size_t n_without)
{
    struct error err = {0};
    struct rebuild r = {.base = base, .meta = meta, .raw = raw, .without = without, .n_without = n_without};
    struct sae *got;
    size_t silent = 0, compared = 0;
    assert_ok(rebuild_sae(&r, NULL, &got, &err));
    for (size_t latent = 0; latent < N_BASE; latent++) {
        double want[D];
        int close;
        silent += rebuild_dense(latent, raw, without, n_without, want, &close) == 0;
        compared += !close;
        for (size_t i = 0; !close && i < D; i++)
            if (fabs((double)got->owned_W_dec[latent * D + i] - want[i]) > 1e-5 * (1 + fabs(want[i])))
                fail_msg("row %zu, column %zu: %g is not %g", latent, i,
                         (double)got->owned_W_dec[latent * D + i], want[i]);
    }
    assert_true(compared > N_BASE - 20);
    assert_true(silent > 1 && silent < N_BASE / 2); /* both kinds of rows are there */
    sae_free(got);
}

static void test_rows(void **state)
{
    (void)state;
    const size_t without[] = {3, 17, 3};
    check_rebuilt(0, NULL, 0);
    check_rebuilt(0, without, 1);
    check_rebuilt(0, without, 3);
    check_rebuilt(1, without, 2);
}

/* Rows of any part are those of the whole. */
static void test_part(void **state)
{
    (void)state;
    struct error err = {0};
    struct rebuild r = {.base = base, .meta = meta};
    struct sae *whole;
    float rows[300 * D];
    assert_ok(rebuild_sae(&r, NULL, &whole, &err));
    assert_ok(rebuild_rows(&r, 390, 300, rows, &err));
    for (size_t i = 0; i < 300 * D; i++)
        assert_true(fabsf(rows[i] - whole->owned_W_dec[390 * D + i]) < 1e-5F);
    for (size_t i = 0; i < D; i++)
        assert_true(whole->owned_W_dec[ZERO * D + i] == 0);
    sae_free(whole);
}

/* All but the decoder rows is the base's, and the copy lives without it. */
static void test_rest(void **state)
{
    (void)state;
    struct error err = {0};
    struct rebuild r = {.base = base, .meta = meta};
    struct sae *got;
    assert_ok(rebuild_sae(&r, NULL, &got, &err));
    assert_ptr_equal(got->architecture, base->architecture);
    assert_int_equal(got->d_in, D);
    assert_int_equal(got->d_sae, N_BASE);
    assert_int_equal(got->apply_b_dec_to_input, 0);
    assert_int_equal(got->normalization, NORMALIZE_LAYER_NORM);
    assert_int_equal(got->id, 0);
    assert_memory_equal(got->owned_W_enc, base->owned_W_enc, N_BASE * D * sizeof(float));
    assert_memory_equal(got->b_dec, base->b_dec, D * sizeof(float));
    assert_memory_equal(got->b_enc, base->b_enc, N_BASE * sizeof(float));
    assert_memory_equal(got->threshold, base->threshold, N_BASE * sizeof(float));
    assert_ptr_not_equal(got->b_enc, base->b_enc);
    sae_free(got);
}

static void test_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct sae *wide = new_sae("jumprelu", D + 1, 3), *got;
    const size_t without[] = {0, N_META};
    struct rebuild r = {.base = base, .meta = wide};
    assert_int_equal(rebuild_sae(&r, NULL, &got, &err), STATUS_REFUSED);
    assert_says("rows of 13 numbers");
    r = (struct rebuild){.base = base, .meta = meta, .without = without, .n_without = 2};
    assert_int_equal(rebuild_sae(&r, NULL, &got, &err), STATUS_REFUSED);
    assert_says("0 to 29");
    sae_free(wide);
    struct monitor stops = {.ask = cancel_later};
    asks_before_cancel = 1;
    r.n_without = 0;
    assert_int_equal(rebuild_sae(&r, &stops, &got, &err), STATUS_FAILED);
    assert_null(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_part),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("rebuild", tests, set_up, tear_down);
}
