/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Meta-SAEs on several SAEs and on meta-SAEs, and which rows they are trained on, against sums written out
 * here. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/index.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/sae/bases.h"
#include "tests/support/support.h"

enum { D = 12, N_A = 60, N_B = 45, N = N_A + N_B, N_META = 20, N_TOP = 6, ZERO = 17 };

static artifact_id model, a_id, b_id, other_id, joint_id, top_id;

static struct sae *random_sae(const char *architecture, size_t n, uint64_t seed)
{
    struct sae *x = new_sae(architecture, D, n);
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n * D; i++) {
        x->owned_W_enc[i] = (float)rng_normal(&rng);
        x->owned_W_dec[i] = 0.5F * (float)rng_normal(&rng);
    }
    for (size_t i = 0; i < D; i++)
        x->b_dec[i] = 0.1F * (float)rng_normal(&rng);
    for (size_t i = 0; x->threshold && i < n; i++)
        x->threshold[i] = 0.8F;
    return x;
}

static artifact_id save_random(const char *name, const char *architecture, size_t n, uint64_t seed,
                               const artifact_id *bases, size_t n_bases)
{
    struct sae *x = random_sae(architecture, n, seed);
    json *m = sae_manifest(n_bases ? NULL : "blocks.1.hook_resid_pre", model, n_bases ? bases[0] : 0);
    if (n_bases)
        json_set(m, "references", meta_bases_references(bases, n_bases));
    else if (n == N_A)
        memset(x->owned_W_dec + (size_t)ZERO * D, 0, D * sizeof(float));
    artifact_id id = save_sae(test_store, name, x, m);
    sae_free(x);
    return id;
}

/* The second base is older than the first. */
static int set_up(void **state)
{
    set_up_store(state);
    model = make_artifact(test_store, ARTIFACT_MODEL, "lm", NULL, 0);
    b_id = save_random("b", "standard", N_B, 2, NULL, 0);
    a_id = save_random("a", "standard", N_A, 1, NULL, 0);
    other_id = save_random("other", "standard", 9, 3, NULL, 0);
    const artifact_id both[2] = {a_id, b_id};
    joint_id = save_random("joint", "jumprelu", N_META, 4, both, 2);
    top_id = save_random("top", "jumprelu", N_TOP, 5, &joint_id, 1);
    return 0;
}

/* ---- By the definitions, in float64. ---- */

struct dense {
    double unit[D], f[N_META], rebuilt[D];
    size_t active;
    int zero;
};

static void make_dense(const float *row, const struct sae *meta, struct dense *out)
{
    double norm = 0;
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < D; i++)
        norm += (double)row[i] * (double)row[i];
    out->zero = norm == 0;
    for (size_t i = 0; i < D; i++) {
        out->unit[i] = norm > 0 ? (double)row[i] / sqrt(norm) : 0;
        out->rebuilt[i] = (double)meta->b_dec[i];
    }
    for (size_t j = 0; !out->zero && j < meta->d_sae; j++) {
        double p = 0;
        for (size_t i = 0; i < D; i++)
            p += (out->unit[i] - (double)meta->b_dec[i]) * (double)sae_encoder_row(meta, j)[i];
        assert_true(fabs(p - (double)meta->threshold[j]) > 1e-6); /* rounding does not decide */
        if (p <= (double)meta->threshold[j])
            continue;
        out->f[j] = p;
        out->active++;
        for (size_t i = 0; i < D; i++)
            out->rebuilt[i] += p * (double)sae_decoder_row(meta, j)[i];
    }
}

struct all {
    struct store_txn *t;
    struct sae *a, *b, *meta;
    struct dense rows[N]; /* a's, then b's */
    double mean[D], error[N], total[N];
};

static struct all *open_all(void)
{
    struct error err = {0};
    struct all *x = xcalloc(1, sizeof(*x));
    size_t n = 0;
    x->t = begin_reading(test_store);
    assert_ok(sae_open(x->t, a_id, &x->a, &err));
    assert_ok(sae_open(x->t, b_id, &x->b, &err));
    assert_ok(sae_open(x->t, joint_id, &x->meta, &err));
    for (size_t r = 0; r < N; r++) {
        make_dense(r < N_A ? sae_decoder_row(x->a, r) : sae_decoder_row(x->b, r - N_A), x->meta, &x->rows[r]);
        n += !x->rows[r].zero;
        for (size_t i = 0; i < D; i++)
            x->mean[i] += x->rows[r].unit[i];
    }
    assert_int_equal(n, N - 1);
    for (size_t i = 0; i < D; i++)
        x->mean[i] /= (double)n;
    for (size_t r = 0; r < N; r++)
        for (size_t i = 0; i < D; i++) {
            x->error[r] += pow(x->rows[r].unit[i] - x->rows[r].rebuilt[i], 2);
            x->total[r] += pow(x->rows[r].unit[i] - x->mean[i], 2);
        }
    return x;
}

static void close_all(struct all *x)
{
    sae_free(x->a);
    sae_free(x->b);
    sae_free(x->meta);
    store_end(x->t);
    free(x);
}

/* ---- Which bases. ---- */

static void test_bases(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct meta_bases bases;
    struct sae_facts f;
    assert_ok(meta_bases_read(t, joint_id, &bases, &err));
    assert_int_equal(bases.n, 2);
    assert_int_equal(bases.first[1], N_A);
    assert_int_equal(bases.first[2], N);
    assert_int_equal(meta_bases_find(&bases, a_id), 0);
    assert_int_equal(meta_bases_find(&bases, b_id), 1);
    assert_int_equal(meta_bases_find(&bases, other_id), 2);
    assert_int_equal(meta_bases_of_row(&bases, N_A - 1), 0);
    assert_int_equal(meta_bases_of_row(&bases, N_A), 1);
    assert_int_equal(meta_bases_of_row(&bases, N - 1), 1);
    meta_bases_free(&bases);
    assert_int_equal(meta_bases_read(t, a_id, &bases, &err), STATUS_REFUSED);
    assert_says("a is no meta-SAE");
    assert_ok(sae_facts_read(t, joint_id, &f, &err));
    assert_int_equal(f.n_bases, 2);
    assert_int_equal(f.base, a_id);
    assert_int_equal(f.bases[1], b_id);
    assert_true(sae_facts_has_base(&f, b_id));
    assert_false(sae_facts_has_base(&f, other_id));
    assert_int_equal(f.model, model);
    sae_facts_free(&f);
    assert_int_equal(meta_sae_of(t, a_id), joint_id);
    assert_int_equal(meta_sae_of(t, b_id), joint_id);
    assert_int_equal(meta_sae_of(t, other_id), 0);
    store_end(t);
}

/* A meta-SAE of a meta-SAE: its base is the next one, its model and the hook of its rows lie at the bottom.
 */
static void test_meta_of_meta(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae *top, *joint;
    struct sae_facts f;
    struct member *members;
    size_t n, n_rows, found = 0, wanted = 0;
    assert_ok(sae_facts_read(t, top_id, &f, &err));
    assert_int_equal(f.base, joint_id);
    assert_int_equal(f.n_bases, 1);
    assert_int_equal(f.model, model);
    assert_null(f.hook);
    assert_string_equal(f.row_hook, "blocks.1.hook_resid_pre");
    sae_facts_free(&f);
    assert_int_equal(meta_sae_of(t, joint_id), top_id);
    assert_ok(sae_open(t, top_id, &top, &err));
    assert_ok(sae_open(t, joint_id, &joint, &err));
    for (size_t j = 0; j < N_TOP; j++) {
        assert_ok(meta_members_of_all(t, top_id, j, 0, &members, &n, &n_rows, &err));
        assert_int_equal(n_rows, N_META);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(members[i].sae, joint_id);
        found += n;
        free(members);
    }
    for (size_t r = 0; r < N_META; r++) {
        struct dense x;
        struct decomposition d;
        make_dense(sae_decoder_row(joint, r), top, &x);
        wanted += x.active;
        assert_ok(decompose_latent(t, joint, top, r, &d, &err));
        assert_int_equal(d.n, x.active);
        for (size_t i = 0; i < d.n; i++)
            assert_true(fabs((double)d.components[i].activation - x.f[d.components[i].latent]) < 1e-5);
        decomposition_free(&d);
    }
    assert_int_equal(found, wanted);
    assert_true(found > 0);
    sae_free(top);
    sae_free(joint);
    store_end(t);
}

/* ---- What is counted over all bases. ---- */

static void test_joint_decomposition(void **state)
{
    (void)state;
    struct error err = {0};
    struct all *x = open_all();
    for (size_t r = 0; r < N; r++) {
        struct decomposition d;
        assert_ok(decompose_latent(x->t, r < N_A ? x->a : x->b, x->meta, r < N_A ? r : r - N_A, &d, &err));
        assert_int_equal(d.n, x->rows[r].active);
        if (x->rows[r].zero)
            assert_true(isnan(d.explained_variance));
        else
            assert_true(fabs(d.explained_variance - (1 - x->error[r] / x->total[r])) < 1e-4);
        decomposition_free(&d);
    }
    close_all(x);
}

static size_t row_of(const struct member *m)
{
    return m->sae == a_id ? m->latent : N_A + m->latent;
}

static void test_joint_members(void **state)
{
    (void)state;
    struct error err = {0};
    struct all *x = open_all();
    const artifact_id only[3] = {0, a_id, b_id};
    const size_t from[3] = {0, 0, N_A}, to[3] = {N, N_A, N};
    for (size_t j = 0; j < N_META; j++)
        for (size_t k = 0; k < 3; k++) {
            struct member *members;
            size_t n, n_rows, wanted = 0;
            assert_ok(meta_members_of_all(x->t, joint_id, j, only[k], &members, &n, &n_rows, &err));
            for (size_t r = from[k]; r < to[k]; r++)
                wanted += x->rows[r].f[j] > 0;
            assert_int_equal(n, wanted);
            assert_int_equal(n_rows, to[k] - from[k]);
            for (size_t i = 0; i < n; i++) {
                assert_true(members[i].sae == a_id || members[i].sae == b_id);
                assert_true(row_of(&members[i]) >= from[k] && row_of(&members[i]) < to[k]);
                assert_true(fabs((double)members[i].activation - x->rows[row_of(&members[i])].f[j]) < 1e-5);
                assert_true(i == 0 || members[i].activation <= members[i - 1].activation);
            }
            free(members);
        }
    close_all(x);
}

static void test_joint_evaluation(void **state)
{
    (void)state;
    struct error err = {0};
    struct all *x = open_all();
    double error = 0, total = 0, active = 0, got[4];
    for (size_t r = 0; r < N; r++) {
        error += x->rows[r].zero ? 0 : x->error[r];
        total += x->rows[r].zero ? 0 : x->total[r];
        active += (double)x->rows[r].active;
    }
    assert_ok(evaluate_meta(test_store, joint_id, NULL, &got[0], &got[1], &got[2], &got[3], &err));
    assert_true(fabs(got[0] - (1 - error / total)) < 1e-5);
    assert_true(fabs(got[2] - active / (N - 1)) < 1e-5);
    close_all(x);
}

/* Both bases' lists of latents have their own part of the index's columns. */
static void test_joint_index(void **state)
{
    (void)state;
    struct error err = {0};
    const struct label labels[2] = {{3, LABEL_USER, "alpha", 5}, {40, LABEL_USER, "beta", 4}};
    struct index_columns c;
    assert_ok(store_put_labels(test_store, a_id, &labels[0], 1, &err));
    assert_ok(store_put_labels(test_store, b_id, &labels[1], 1, &err));
    assert_ok(index_meta_run(test_store, joint_id, NULL, &err));
    struct all *x = open_all();
    assert_ok(index_columns_read(x->t, joint_id, &c, &err));
    assert_int_equal(c.tokens, N - 1);
    for (size_t j = 0; j < N_META; j++) {
        struct label label;
        size_t fired = 0;
        for (size_t r = 0; r < N; r++)
            fired += x->rows[r].f[j] > 0;
        assert_int_equal(c.fired[j], fired);
        /* A label of the second base's latent counts where that latent is a member. */
        assert_ok(store_label(x->t, joint_id, j, &label, &err));
        char *text = xstrndup(label.text ? label.text : "", label.n);
        assert_int_equal(strstr(text, "alpha") != NULL, x->rows[3].f[j] > 0);
        assert_int_equal(strstr(text, "beta") != NULL, x->rows[N_A + 40].f[j] > 0);
        free(text);
    }
    index_columns_free(&c);
    for (size_t k = 0; k < 2; k++) {
        struct latent_table *table;
        assert_ok(latent_table_open(x->t, k ? b_id : a_id, &table, &err));
        assert_non_null(table->meta_latents);
        for (size_t i = 0; i < table->n; i++) {
            size_t r = k ? N_A + i : i;
            assert_int_equal(table->meta_latents[i], x->rows[r].active);
            assert_true(x->rows[r].zero
                            ? isnan(table->meta_ev[i])
                            : fabs((double)table->meta_ev[i] - (1 - x->error[r] / x->total[r])) < 1e-4);
        }
        latent_table_free(table);
    }
    close_all(x);
}

/* ---- Rows to train on. ---- */

static uint32_t counts_a[N_A], counts_b[N_B];
enum { TOKENS_A = 1000, TOKENS_B = 500 };

static void put_column(artifact_id id, const char *name, enum dtype dtype, size_t n, const void *data)
{
    struct error err = {0};
    const struct tensor x = {.dtype = dtype, .ndim = 1, .shape = {n}, .data = data};
    assert_ok(store_tensor_put(test_store, id, name, &x, &err));
}

static void put_index(artifact_id sae, size_t n, const uint32_t *fired, long long tokens)
{
    struct error err = {0};
    artifact_id id;
    float zeros[N] = {0};
    json *m = new_manifest("sae", sae);
    json_set(m, "text_tokens", json_new_integer(tokens));
    assert_ok(store_create(test_store, ARTIFACT_INDEX, NULL, 0, &id, &err));
    put_column(id, "fired", DTYPE_U32, n, fired);
    put_column(id, "max", DTYPE_F32, n, zeros);
    put_column(id, "min", DTYPE_F32, n, zeros);
    put_column(id, "mean", DTYPE_F32, n, zeros);
    assert_ok(store_publish(test_store, id, m, &err));
}

static double density_of(size_t row)
{
    return row < N_A ? (double)counts_a[row] / TOKENS_A : (double)counts_b[row - N_A] / TOKENS_B;
}

static float unit_rows[N][D]; /* as the source has them; the row of zeros stays */

static void remember_rows(void)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae *x;
    for (size_t k = 0; k < 2; k++) {
        assert_ok(sae_open(t, k ? b_id : a_id, &x, &err));
        for (size_t i = 0; i < x->d_sae; i++) {
            uint32_t latent;
            decoder_rows(x, i, 1, 0, unit_rows[k ? N_A + i : i], &latent);
        }
        sae_free(x);
    }
    store_end(t);
}

static size_t find_row(const float *x)
{
    size_t i = 0;
    while (i < N && memcmp(x, unit_rows[i], sizeof(unit_rows[i])) != 0)
        i++;
    assert_true(i < N && i != ZERO);
    return i;
}

static struct batch_source *open_source(const artifact_id *saes, size_t n, uint64_t seed)
{
    struct error err = {0};
    struct batch_source *source;
    assert_ok(decoder_source_open(test_store, saes, n, 0, seed, &source, &err));
    return source;
}

static void test_needs_an_index(void **state)
{
    (void)state;
    struct error err = {0};
    struct batch_source *source = open_source(&other_id, 1, 1);
    assert_int_equal(decoder_source_weigh(source, test_store, &err), STATUS_REFUSED);
    assert_says("other has no index");
    assert_int_equal(decoder_source_leave_out(source, test_store, 0, &err), STATUS_REFUSED);
    assert_says("other has no index");
    float x[D];
    assert_ok(source->next(source, x, 1, &err)); /* it goes on as it was */
    source->close(source);
    /* The counts for what follows. Every fifth latent of a never fired, and half of b's did. */
    for (uint32_t i = 0; i < N_A; i++)
        counts_a[i] = i % 5 == 0 ? 0 : 1 + i * i % 17;
    for (uint32_t i = 0; i < N_B; i++)
        counts_b[i] = i % 2 ? 3 + i : 0;
    put_index(a_id, N_A, counts_a, TOKENS_A);
    put_index(b_id, N_B, counts_b, TOKENS_B);
    remember_rows();
}

/* One epoch has the rows whose latents fired on more than that, each once. */
static void check_left_out(double density)
{
    struct error err = {0};
    const artifact_id both[2] = {a_id, b_id};
    struct batch_source *source = open_source(both, 2, 7);
    unsigned seen[N] = {0};
    size_t wanted = 0, n;
    float x[N * D];
    assert_ok(decoder_source_leave_out(source, test_store, density, &err));
    for (size_t r = 0; r < N; r++)
        wanted += r != ZERO && density_of(r) > density;
    assert_int_equal(decoder_source_rows(source), wanted);
    assert_ok(source->next(source, x, wanted, &err));
    for (size_t i = 0; i < wanted; i++)
        seen[find_row(x + i * D)]++;
    for (size_t r = 0; r < N; r++)
        assert_int_equal(seen[r], r != ZERO && density_of(r) > density);
    assert_ok(source->held_out(source, 0, x, N, &n, &err));
    assert_int_equal(n, wanted);
    source->close(source);
}

static void test_left_out(void **state)
{
    (void)state;
    struct error err = {0};
    check_left_out(0);
    check_left_out(0.0075);
    check_left_out(0.05);
    struct batch_source *source = open_source(&a_id, 1, 7);
    assert_int_equal(decoder_source_leave_out(source, test_store, 0.5, &err), STATUS_REFUSED);
    assert_says("no decoder row is left");
    source->close(source);
}

/* Pearson's sum over the rows that may come, and how many these are. */
static double chi_square(const size_t *seen, size_t draws, const double *weights, size_t *n)
{
    double sum = 0, total = 0;
    *n = 0;
    for (size_t r = 0; r < N; r++)
        total += weights[r];
    for (size_t r = 0; r < N; r++) {
        double expected = (double)draws * weights[r] / total;
        if (weights[r] > 0) {
            sum += pow((double)seen[r] - expected, 2) / expected;
            ++*n;
        }
    }
    return sum;
}

static void test_weighted(void **state)
{
    (void)state;
    enum { DRAWS = 200000, BATCH = 4000 };
    struct error err = {0};
    const artifact_id both[2] = {a_id, b_id};
    struct batch_source *source = open_source(both, 2, 11);
    float *x = xcalloc(BATCH * D, sizeof(float)), *y = xcalloc(BATCH * D, sizeof(float));
    size_t seen[N] = {0}, n, held;
    double weights[N], even[N];
    assert_ok(decoder_source_weigh(source, test_store, &err));
    for (size_t i = 0; i < DRAWS / BATCH; i++) {
        assert_ok(source->next(source, x, BATCH, &err));
        for (size_t j = 0; j < BATCH; j++)
            seen[find_row(x + j * D)]++;
    }
    for (size_t r = 0; r < N; r++) {
        weights[r] = r == ZERO ? 0 : density_of(r);
        even[r] = weights[r] > 0;
        assert_true(weights[r] > 0 || seen[r] == 0);
    }
    /* Of n − 1 degrees of freedom: mean n − 1, standard deviation √(2(n − 1)). */
    double sum = chi_square(seen, DRAWS, weights, &n);
    assert_true(n > 60);
    assert_true(fabs(sum - (double)(n - 1)) < 4 * sqrt(2 * (double)(n - 1)));
    assert_true(chi_square(seen, DRAWS, even, &n) > 1000 * (double)n);
    /* A draw depends on its number alone: in other batches, and after going back, the rows are the same. */
    assert_ok(source->seek(source, DRAWS - BATCH + 100, &err));
    for (size_t at = 100, step = 1; at < BATCH; at += step, step = at + 700 < BATCH ? 700 : BATCH - at)
        assert_ok(source->next(source, y + at * D, step, &err));
    assert_memory_equal(x + 100 * D, y + 100 * D, (BATCH - 100) * D * sizeof(float));
    /* All rows are there to be measured, each once. */
    assert_ok(source->held_out(source, 0, x, BATCH, &held, &err));
    assert_int_equal(held, N - 1);
    source->close(source);
    /* Another seed draws others. */
    source = open_source(both, 2, 12);
    assert_ok(decoder_source_weigh(source, test_store, &err));
    assert_ok(source->seek(source, DRAWS - BATCH + 100, &err));
    assert_ok(source->next(source, x, BATCH - 100, &err));
    assert_memory_not_equal(x, y + 100 * D, (BATCH - 100) * D * sizeof(float));
    source->close(source);
    free(x);
    free(y);
}

/* ---- In the store; the last test, since it takes things away. ---- */

static void test_life(void **state)
{
    (void)state;
    struct error err = {0};
    size_t removed;
    artifact_id joint;
    assert_ok(store_rename(test_store, b_id, "b-renamed", &err));
    assert_int_equal(store_remove(test_store, b_id, 0, &removed, &err), STATUS_REFUSED);
    assert_says("joint");
    assert_int_equal(verify_store("store").n, 0);
    /* With the second base go the joint meta-SAE, its index and the meta-SAE of it; the first stays. */
    assert_ok(store_remove(test_store, b_id, 1, &removed, &err));
    joint = find_artifact(test_store, ARTIFACT_SAE, "joint");
    assert_int_equal(joint, 0);
    assert_int_equal(find_artifact(test_store, ARTIFACT_SAE, "top"), 0);
    assert_int_equal(find_artifact(test_store, ARTIFACT_SAE, "a"), a_id);
    struct store_txn *t = begin_reading(test_store);
    assert_int_equal(meta_sae_of(t, a_id), 0);
    store_end(t);
    assert_int_equal(verify_store("store").n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bases),
        cmocka_unit_test(test_meta_of_meta),
        cmocka_unit_test(test_joint_decomposition),
        cmocka_unit_test(test_joint_members),
        cmocka_unit_test(test_joint_evaluation),
        cmocka_unit_test(test_joint_index),
        cmocka_unit_test(test_needs_an_index),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_weighted),
        cmocka_unit_test(test_life),
    };
    return cmocka_run_group_tests_name("meta", tests, set_up, tear_down_store);
}
