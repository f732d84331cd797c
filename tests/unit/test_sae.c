/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAEs: every architecture and normalisation against its definition in float64, ties, the store. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/sae/architectures.h"
#include "saescope/sae/sae.h"
#include "saescope/sae/scan.h"
#include "saescope/sae/vector.h"
#include "tests/support/support.h"

/* Shapes that end inside tiles. */
enum { D = 27, WIDTH = 2600, N = 300 };

static struct rng rng;

static void fill(float *x, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * rng_normal(&rng));
}

static struct sae *random_sae(const struct sae_architecture *architecture, int with_bias,
                              enum sae_normalization normalization, int subtract)
{
    struct sae *sae;
    struct error err;
    assert_ok(sae_new(architecture, D, WIDTH, &sae, &err));
    fill(sae->owned_W_enc, (size_t)D * WIDTH, 0.3);
    fill(sae->owned_W_dec, (size_t)D * WIDTH, 0.2);
    fill(sae->b_dec, D, 0.5);
    if (with_bias) {
        sae->b_enc = xcalloc(WIDTH, sizeof *sae->b_enc);
        fill(sae->b_enc, WIDTH, 0.3);
    }
    for (size_t i = 0; sae->threshold && i < WIDTH; i++)
        sae->threshold[i] = (float)(i % 7 == 0 ? -0.5 : 1 + rng_uniform(&rng));
    if (sae->r_mag) {
        fill(sae->r_mag, WIDTH, 0.5);
        fill(sae->b_mag, WIDTH, 0.5);
    }
    sae->k = architecture->per_token_k ? 9 : 0;
    sae->normalization = normalization;
    sae->apply_b_dec_to_input = subtract;
    return sae;
}

/* The row as the encoder sees it, and how to get back: x = x_norm·width + shift. */
static void normalized(const struct sae *sae, const float *x, double *out, double *shift, double *width)
{
    double sum = 0, squares = 0;
    *shift = 0;
    *width = 1;
    for (int i = 0; i < D; i++)
        sum += x[i];
    if (sae->normalization == NORMALIZE_LAYER_NORM)
        *shift = sum / D;
    for (int i = 0; i < D; i++)
        squares += (x[i] - *shift) * (x[i] - *shift);
    if (sae->normalization == NORMALIZE_LAYER_NORM)
        *width = sqrt(squares / (D - 1)) + 1e-5;
    if (sae->normalization == NORMALIZE_CONSTANT_NORM_RESCALE)
        *width = sqrt(squares) / sqrt(D);
    for (int i = 0; i < D; i++)
        out[i] = (x[i] - *shift) / *width - (sae->apply_b_dec_to_input ? sae->b_dec[i] : 0);
}

struct numbered {
    double p;
    size_t latent;
};

static int compare_numbered(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    if (x->p != y->p)
        return x->p > y->p ? -1 : 1;
    return x->latent < y->latent ? -1 : 1;
}

/* Activations of one row by definition. */
static void activations(const struct sae *sae, const float *x, double *f, double *p)
{
    double in[D], shift, width;
    static struct numbered order[WIDTH];
    normalized(sae, x, in, &shift, &width);
    for (size_t i = 0; i < WIDTH; i++) {
        p[i] = sae->b_enc ? (double)sae->b_enc[i] : 0;
        for (int j = 0; j < D; j++)
            p[i] += sae_encoder_row(sae, i)[j] * in[j];
        f[i] = p[i] > 0 && (!sae->threshold || p[i] > sae->threshold[i]) ? p[i] : 0;
        if (sae->r_mag && f[i] > 0) /* relu(exp(r_mag)·(W_enc x) + b_mag) where the gate is open */
            f[i] = fmax(exp((double)sae->r_mag[i]) * (p[i] - (sae->b_enc ? (double)sae->b_enc[i] : 0)) +
                            (double)sae->b_mag[i],
                        0);
        order[i] = (struct numbered){p[i], i};
    }
    if (!sae->architecture->per_token_k)
        return;
    qsort(order, WIDTH, sizeof *order, compare_numbered);
    for (size_t i = sae->k; i < WIDTH; i++)
        f[order[i].latent] = 0;
}

/* Compares one row; a latent may differ only when its p lies at an edge. Returns its active pairs' number. */
static size_t check_row(const struct sae *sae, const struct sparse_rows *rows, size_t r, const float *x,
                        const float *x_hat)
{
    static double f[WIDTH], p[WIDTH], got[WIDTH];
    double in[D], shift, width, back[D];
    activations(sae, x, f, p);
    normalized(sae, x, in, &shift, &width);
    memset(got, 0, sizeof got);
    for (size_t i = rows->offsets[r]; i < rows->offsets[r + 1]; i++) {
        assert_true(i == rows->offsets[r] || rows->latents[i] > rows->latents[i - 1]);
        assert_true(rows->values[i] > 0);
        got[rows->latents[i]] = (double)rows->values[i];
    }
    for (int j = 0; j < D; j++)
        back[j] = sae->b_dec[j];
    for (size_t i = 0; i < WIDTH; i++) {
        double bound = sae->threshold && sae->threshold[i] > 0 ? (double)sae->threshold[i] : 0;
        if (!sae->architecture->per_token_k && fabs(p[i] - bound) < 1e-4 * (1 + fabs(bound)))
            f[i] = got[i];
        assert_true(fabs(f[i] - got[i]) < 1e-4 * (1 + f[i]));
        for (int j = 0; j < D; j++)
            back[j] += got[i] * sae_decoder_row(sae, i)[j];
    }
    for (int j = 0; j < D; j++)
        assert_true(fabs(back[j] * width + shift - (double)x_hat[j]) < 1e-3 * (1 + fabs((double)x_hat[j])));
    return rows->offsets[r + 1] - rows->offsets[r];
}

static void check_sae(const struct sae *sae, size_t n)
{
    struct sparse_rows rows = {0};
    struct error err;
    float *x = xmalloc(n * D * sizeof *x), *x_hat = xmalloc(n * D * sizeof *x_hat);
    size_t active = 0;
    fill(x, n * D, 1.5);
    assert_ok(sae_encode(sae, x, n, &rows, &err));
    assert_int_equal(rows.n_rows, n);
    assert_ok(sae_decode(sae, &rows, x, x_hat, &err));
    for (size_t r = 0; r < n; r++)
        active += check_row(sae, &rows, r, x + r * D, x_hat + r * D);
    assert_true(active > n && active < n * WIDTH);
    if (sae->architecture->per_token_k)
        assert_int_equal(active, n * sae->k);
    sparse_rows_free(&rows);
    free(x);
    free(x_hat);
}

static void encodes_by_definition(void **state)
{
    (void)state;
    for (size_t a = 0; sae_architectures[a]; a++) {
        struct sae *sae = random_sae(sae_architectures[a], a % 2 == 0, NORMALIZE_NONE, 1);
        check_sae(sae, N);
        check_sae(sae, 1);
        sae->apply_b_dec_to_input = 0;
        check_sae(sae, 40);
        sae_free(sae);
    }
    for (int bias = 0; bias < 2; bias++) {
        struct sae *sae = random_sae(&architecture_jumprelu, bias, NORMALIZE_LAYER_NORM, 1);
        check_sae(sae, 40);
        sae_free(sae);
        sae = random_sae(&architecture_topk, bias, NORMALIZE_CONSTANT_NORM_RESCALE, bias);
        check_sae(sae, 40);
        sae_free(sae);
    }
}

/* p is whole numbers: of equal ones the lower latents; never more than are positive. */
static void breaks_ties_by_latent(void **state)
{
    (void)state;
    struct sae *sae;
    struct error err;
    struct sparse_rows rows = {0};
    const float x[3] = {1, 0, -1};
    assert_ok(sae_new(&architecture_topk, 1, 5000, &sae, &err));
    sae->k = 1200;
    for (size_t i = 0; i < 5000; i++)
        sae->owned_W_enc[i] = (float)((int)(i % 5) - 1); /* −1 0 1 2 3 */
    assert_ok(sae_encode(sae, x, 3, &rows, &err));
    assert_int_equal(rows.offsets[1], 1200); /* the thousand 3s and the first two hundred 2s */
    assert_int_equal(rows.offsets[2], 1200);
    assert_int_equal(rows.offsets[3], 2200); /* −x: the thousand −1s */
    for (size_t i = 0; i < 1200; i++) {
        assert_true(rows.values[i] == (float)(rows.latents[i] % 5) - 1);
        assert_true(rows.latents[i] % 5 == 4 || (rows.latents[i] % 5 == 3 && rows.latents[i] < 1000));
    }
    sparse_rows_free(&rows);
    sae_free(sae);
}

/* Cancelled at any question it says so; asked once more than it asks, it gives what it always gives. */
static void encoding_is_cancelled(void **state)
{
    (void)state;
    enum { ROWS = 600 };
    static float x[ROWS * D];
    struct sae *sae = random_sae(&architecture_topk, 1, NORMALIZE_LAYER_NORM, 1);
    struct sparse_rows whole = {0}, rows = {0};
    struct monitor monitor = {.cancelled = cancelled_later};
    struct error err = {0};
    int status = STATUS_FAILED, questions = 0;
    sae->k = 7;
    fill(x, ROWS * D, 1);
    assert_ok(sae_encode(sae, x, ROWS, &whole, &err));
    for (; status != STATUS_OK; questions++) {
        looks_before_cancel = questions;
        parallel_watch(&monitor);
        status = sae_encode(sae, x, ROWS, &rows, &err);
        parallel_watch(NULL);
        if (status != STATUS_OK)
            assert_says("cancelled");
    }
    assert_true(questions > 3); /* the product's blocks, and both passes over the rows */
    assert_int_equal(rows.offsets[ROWS], ROWS * 7);
    assert_memory_equal(rows.offsets, whole.offsets, (ROWS + 1) * sizeof *rows.offsets);
    assert_memory_equal(rows.latents, whole.latents, rows.offsets[ROWS] * sizeof *rows.latents);
    assert_memory_equal(rows.values, whole.values, rows.offsets[ROWS] * sizeof *rows.values);
    sparse_rows_free(&whole);
    sparse_rows_free(&rows);
    sae_free(sae);
}

/* Strictly above the threshold; a threshold below zero lets nothing negative through. */
static void thresholds_are_strict(void **state)
{
    (void)state;
    struct sae *sae;
    struct error err;
    struct sparse_rows rows = {0};
    const float x = 1, p[6] = {0.5f, 0.5f, 0.5f, -0.1f, 0, 0.25f}, theta[6] = {0.5f, 0.25f, 1, -1, -1, -1};
    assert_ok(sae_new(&architecture_jumprelu, 1, 6, &sae, &err));
    memcpy(sae->owned_W_enc, p, sizeof p);
    memcpy(sae->threshold, theta, sizeof theta);
    assert_ok(sae_encode(sae, &x, 1, &rows, &err));
    assert_int_equal(rows.offsets[1], 2);
    assert_int_equal(rows.latents[0], 1);
    assert_int_equal(rows.latents[1], 5);
    sparse_rows_free(&rows);
    sae_free(sae);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static void finds_the_kth_largest(void **state)
{
    (void)state;
    for (size_t n = 1; n < 200; n += 7) {
        for (int kind = 0; kind < 3; kind++) { /* random, few values, sorted */
            float x[200] = {0}, sorted[200], work[200];
            for (size_t i = 0; i < n; i++)
                x[i] = kind == 0 ? (float)rng_normal(&rng) : kind == 1 ? (float)rng_below(&rng, 4) : (float)i;
            memcpy(sorted, x, sizeof x);
            qsort(sorted, n, sizeof *sorted, compare_floats);
            for (size_t k = 1; k <= n; k++) {
                memcpy(work, x, sizeof x);
                assert_true(kth_largest(work, n, k) == sorted[k - 1]);
            }
        }
    }
}

static void row_loops(void **state)
{
    (void)state;
    float a[150] = {0}, b[150] = {0}, y[150] = {0}, z[150], want[150];
    uint32_t found[150];
    for (size_t n = 0; n < 150; n++) {
        double dot = 0;
        fill(a, n, 1);
        fill(b, n, 1);
        fill(y, n, 1);
        memcpy(want, y, sizeof y);
        memcpy(z, y, sizeof y);
        for (size_t i = 0; i < n; i++)
            dot += (double)a[i] * b[i];
        assert_true(fabs(row_dot(a, b, n) - dot) < 1e-4);
        row_add_scaled(2, a, y, n);
        row_add_scaled_pair(0, b, a, -1, b, z, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(fabsf(y[i] - (want[i] + 2 * a[i])) < 1e-5f);
            assert_true(fabsf(z[i] - (want[i] - b[i])) < 1e-5f);
        }
        for (int kind = 0; kind < 4; kind++) {
            const float *bias = kind & 1 ? b : NULL, *bound = kind & 2 ? y : NULL;
            size_t n_found = row_find_above(a, bias, bound, 0.25f, n, found), next = 0;
            for (size_t i = 0; i < n; i++)
                if (a[i] + (bias ? b[i] : 0) > (bound ? y[i] : 0) + 0.25f)
                    assert_true(next < n_found && found[next++] == i);
            assert_int_equal(next, n_found);
        }
    }
}

/* torch.optim.Adam's formula in float64, and moments that have faded. */
static void adam_by_definition(void **state)
{
    (void)state;
    enum { LENGTH = 39, STEPS = 20 };
    float g[LENGTH], w[LENGTH], m[LENGTH] = {0}, v[LENGTH] = {0};
    double w_ref[LENGTH], m_ref[LENGTH] = {0}, v_ref[LENGTH] = {0};
    fill(w, LENGTH, 1);
    for (int i = 0; i < LENGTH; i++)
        w_ref[i] = (double)w[i];
    for (int step = 1; step <= STEPS; step++) {
        double first = 1 - pow(0.9, step), second = 1 - pow(0.99, step);
        const struct adam_rates rates = {0.9f, 0.99f, (float)(1e-2 / first), (float)(1 / sqrt(second)),
                                         1e-8f};
        fill(g, LENGTH, 1e-3);
        row_adam(&rates, g, w, m, v, LENGTH);
        for (int i = 0; i < LENGTH; i++) {
            m_ref[i] = 0.9 * m_ref[i] + 0.1 * (double)g[i];
            v_ref[i] = 0.99 * v_ref[i] + 0.01 * (double)g[i] * (double)g[i];
            w_ref[i] -= 1e-2 / first * m_ref[i] / (sqrt(v_ref[i]) / sqrt(second) + 1e-8);
        }
    }
    for (int i = 0; i < LENGTH; i++)
        assert_true(fabs((double)w[i] - w_ref[i]) < 1e-5);
    memset(g, 0, sizeof g);
    for (int step = 0; step < 8000; step++) {
        const struct adam_rates rates = {0.9f, 0.99f, 1e-2f, 1, 1e-8f};
        row_adam(&rates, g, w, m, v, LENGTH);
    }
    for (int i = 0; i < LENGTH; i++)
        assert_true(m[i] == 0 && v[i] == 0 && isfinite(w[i]));
}

/* ---- The store. ---- */

static int set_up(void **state)
{
    rng_seed(&rng, 11, 0);
    return set_up_threads(state);
}

static void comes_back_from_the_store(void **state)
{
    (void)state;
    struct store *store = open_store("store");
    struct store_txn *t;
    struct error err;
    struct sparse_rows before = {0}, after = {0};
    float x[50 * D];
    fill(x, 50 * D, 1.5);
    for (size_t a = 0; sae_architectures[a]; a++) {
        struct sae *sae = random_sae(sae_architectures[a], a % 2 == 1, NORMALIZE_LAYER_NORM, a % 2 == 0),
                   *back;
        artifact_id id;
        char name[32];
        snprintf(name, sizeof name, "sae-%zu", a);
        id = save_sae(store, name, sae, sae_manifest(NULL, 0, 0));
        assert_ok(store_begin(store, &t, &err));
        assert_ok(sae_open(t, id, &back, &err));
        assert_ptr_equal(back->architecture, sae->architecture);
        assert_int_equal(back->k, sae->k);
        assert_int_equal(back->normalization, NORMALIZE_LAYER_NORM);
        assert_int_equal(back->apply_b_dec_to_input, sae->apply_b_dec_to_input);
        assert_int_equal(back->b_enc != NULL, sae->b_enc != NULL);
        assert_memory_equal(sae_decoder_row(back, WIDTH - 1), sae_decoder_row(sae, WIDTH - 1),
                            D * sizeof(float));
        assert_ok(sae_encode(sae, x, 50, &before, &err));
        assert_ok(sae_encode(back, x, 50, &after, &err));
        assert_int_equal(before.offsets[50], after.offsets[50]);
        assert_memory_equal(before.latents, after.latents, before.offsets[50] * sizeof(uint32_t));
        assert_memory_equal(before.values, after.values, before.offsets[50] * sizeof(float));
        json *manifest = store_manifest(t, id, &err);
        assert_string_equal(json_get_string(manifest, "architecture", ""), sae->architecture->name);
        assert_string_equal(json_get_string(manifest, "normalize_activations", ""), "layer_norm");
        assert_int_equal(json_is_null(json_get(manifest, "threshold")), sae->threshold == NULL);
        if (sae->threshold)
            assert_true(json_get_number(json_get(manifest, "threshold"), "min", 0) == -0.5);
        json_free(manifest);
        store_end(t);
        assert_ok(store_begin(store, &t, &err));
        assert_ok(sae_attach(back, t, &err));
        assert_memory_equal(sae_encoder_row(back, 0), sae_encoder_row(sae, 0), D * sizeof(float));
        store_end(t);
        sae_free(back);
        sae_free(sae);
    }
    sparse_rows_free(&before);
    sparse_rows_free(&after);
    store_close(store);
}

/* Weights of many blocks: rows are found across their borders. */
static void crosses_blocks(void **state)
{
    (void)state;
    enum { WIDE = 1024, LATENTS = 9000 };
    struct store *store = open_store("store");
    struct store_txn *t;
    struct error err;
    struct sae *sae, *back;
    struct sparse_rows rows = {0};
    artifact_id id;
    float *x = xcalloc(WIDE, sizeof *x);
    assert_ok(sae_new(&architecture_standard, WIDE, LATENTS, &sae, &err));
    for (size_t i = 0; i < LATENTS; i++)
        sae->owned_W_enc[i * WIDE + i % WIDE] = sae->owned_W_dec[i * WIDE + i % WIDE] = (float)(i + 1);
    id = save_sae(store, "wide", sae, sae_manifest(NULL, 0, 0));
    assert_ok(store_begin(store, &t, &err));
    assert_ok(sae_open(t, id, &back, &err));
    assert_true(back->n_blocks > 1);
    for (size_t i = 0; i < LATENTS; i++)
        assert_true(sae_decoder_row(back, i)[i % WIDE] == (float)(i + 1));
    x[5] = 1;
    assert_ok(sae_encode(back, x, 1, &rows, &err));
    assert_int_equal(rows.offsets[1], LATENTS / WIDE + 1);
    for (size_t i = 0; i < rows.offsets[1]; i++) {
        assert_int_equal(rows.latents[i], 5 + i * WIDE);
        assert_true(rows.values[i] == (float)(rows.latents[i] + 1));
    }
    store_end(t);
    sparse_rows_free(&rows);
    sae_free(back);
    sae_free(sae);
    store_close(store);
    free(x);
}

static void refuses(void **state)
{
    (void)state;
    struct store *store = open_store("store");
    struct error err;
    struct store_txn *t;
    struct artifact found;
    artifact_id id;
    struct sae *sae = random_sae(&architecture_jumprelu, 1, NORMALIZE_NONE, 1);
    sae->owned_W_dec[3 * D + 2] = NAN;
    assert_ok(store_create(store, ARTIFACT_SAE, "bad", 0, &id, &err));
    assert_int_equal(sae_save(store, id, sae, sae_manifest(NULL, 0, 0), &err), STATUS_REFUSED);
    assert_says("W_dec");
    assert_says("row 3");
    store_abandon(store, id);
    assert_ok(store_begin(store, &t, &err));
    assert_int_equal(store_find(t, ARTIFACT_SAE, "bad", &found, &err), STATUS_REFUSED);
    store_end(t);
    sae_free(sae);
    assert_null(sae_architecture_find("jumprel", &err));
    assert_says("jumprelu");
    assert_int_equal(sae_new(&architecture_standard, 0, 5, &sae, &err), STATUS_REFUSED);
    assert_int_equal(sae_new(&architecture_standard, SIZE_MAX / 2, 5, &sae, &err), STATUS_REFUSED);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_loops),
        cmocka_unit_test(adam_by_definition),
        cmocka_unit_test(finds_the_kth_largest),
        cmocka_unit_test(encodes_by_definition),
        cmocka_unit_test(breaks_ties_by_latent),
        cmocka_unit_test(encoding_is_cancelled),
        cmocka_unit_test(thresholds_are_strict),
        cmocka_unit_test(comes_back_from_the_store),
        cmocka_unit_test(crosses_blocks),
        cmocka_unit_test(refuses),
    };
    blas_start();
    return cmocka_run_group_tests_name("sae", tests, set_up, tear_down_threads);
}
