/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A meta-SAE on planted rows, each the sum of 4 of 64 directions: training finds the directions, and a report
 * on it says so. Its numbers against sums in float64 written out here.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/omp.h"
#include "saescope/analysis/report.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/sae/bases.h"
#include "saescope/sae/train.h"
#include "tests/support/support.h"

enum {
    D = 48,
    N = 1500,
    ATOMS = 64,
    PARTS = 4,
    WIDTH = 80,
    STEPS = 1500,
    BATCH = 500,
    FIRED_TOKENS = 100000
};

#define HOOK "blocks.1.hook_resid_pre"

static artifact_id model, base_id, meta_id;
static struct sae *atoms; /* the directions; in the store as "atoms" */
static struct report full;

/* ---- Planted SAEs. ---- */

static void unit(float *row)
{
    double norm = sqrt(vec_norm2(row, D));
    for (size_t i = 0; i < D; i++)
        row[i] = (float)((double)row[i] / norm);
}

static struct sae *random_directions(size_t n, uint64_t seed)
{
    struct sae *x = new_sae("standard", D, n);
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n * D; i++)
        x->owned_W_dec[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < n; i++)
        unit(x->owned_W_dec + i * D);
    return x;
}

static artifact_id save(const char *name, const struct sae *x)
{
    return save_sae(test_store, name, x, sae_manifest(HOOK, model, 0));
}

/* Half of the atoms, each off by about 40 degrees. */
static struct sae *blurred_directions(void)
{
    struct sae *x = random_directions(ATOMS / 2, 2);
    for (size_t i = 0; i < ATOMS / 2; i++) {
        float *row = x->owned_W_dec + i * D;
        for (size_t j = 0; j < D; j++)
            row[j] = 0.8F * row[j] + atoms->owned_W_dec[i * D + j];
        unit(row);
    }
    return x;
}

/* Rows of any norm; one of zeros. */
static void save_base(void)
{
    struct sae *x = new_sae("standard", D, N);
    struct rng rng;
    uint32_t order[ATOMS];
    rng_seed(&rng, 9, 0);
    for (uint32_t a = 0; a < ATOMS; a++)
        order[a] = a;
    for (size_t r = 0; r < N; r++) {
        float *row = x->owned_W_dec + r * D;
        rng_shuffle(&rng, order, ATOMS);
        for (size_t p = 0; p < PARTS; p++) {
            double u = rng_uniform(&rng);
            for (size_t i = 0; i < D; i++)
                row[i] += (float)(0.25 + u * u) * atoms->owned_W_dec[order[p] * D + i];
        }
    }
    memset(x->owned_W_dec + 77 * D, 0, D * sizeof(float));
    base_id = save("base", x);
    sae_free(x);
}

/* An index that says that latent i fired i times: the first one never did. */
static void save_index(void)
{
    struct error err = {0};
    artifact_id index;
    uint32_t fired[N];
    float zeros[N] = {0};
    static const char *const columns[] = {"max", "min", "mean"};
    for (uint32_t i = 0; i < N; i++)
        fired[i] = i;
    json *m = new_manifest("sae", base_id);
    json_set(m, "text_tokens", json_new_integer(FIRED_TOKENS));
    assert_ok(store_create(test_store, ARTIFACT_INDEX, NULL, 0, &index, &err));
    assert_ok(store_tensor_put(test_store, index, "fired", &(struct tensor){DTYPE_U32, 1, {N}, fired}, &err));
    for (size_t i = 0; i < ARRAY_LENGTH(columns); i++)
        assert_ok(store_tensor_put(test_store, index, columns[i], &(struct tensor){DTYPE_F32, 1, {N}, zeros},
                                   &err));
    assert_ok(store_publish(test_store, index, m, &err));
}

static void train(void)
{
    struct error err = {0};
    struct train_options o;
    struct train_result result;
    struct batch_source *source;
    struct sae *meta;
    train_options_default(&o);
    o.width = WIDTH;
    o.k = PARTS;
    o.lr = 3e-3;
    o.batch = BATCH;
    o.steps = STEPS;
    o.decay = 0.3;
    o.aux_coefficient = 1.0 / 16;
    o.dead_after = 20;
    o.normalization = TRAIN_NORMALIZE_NONE;
    assert_ok(decoder_source_open(test_store, &base_id, 1, 0, o.seed, &source, &err));
    assert_ok(train_run(&o, 1, source, NULL, &meta, &result, &err));
    source->close(source);
    json *m = sae_manifest(NULL, 0, base_id), *training = train_options_json(&o);
    json_set(training, "seconds", json_new_real(12.5));
    json_set(m, "training", training);
    meta_id = save_sae(test_store, "meta", meta, m);
    sae_free(meta);
}

static int set_up(void **state)
{
    struct error err = {0};
    set_up_store(state);
    model = make_artifact(test_store, ARTIFACT_MODEL, "lm", NULL, 0);
    atoms = random_directions(ATOMS, 1);
    save("atoms", atoms);
    struct sae *other = blurred_directions();
    save("other", other);
    sae_free(other);
    other = random_directions(8, 3);
    save_sae(test_store, "elsewhere", other, sae_manifest("blocks.2.hook_resid_pre", model, 0));
    sae_free(other);
    save_base();
    save_index();
    train();
    assert_ok(report_run(test_store, &(struct report_options){.meta = meta_id, .steps = STEPS / 2}, NULL,
                         &full, &err));
    return 0;
}

static int tear_down(void **state)
{
    report_free(&full);
    sae_free(atoms);
    return tear_down_store(state);
}

static double cosine(const float *a, const float *b)
{
    double ab = 0;
    for (size_t i = 0; i < D; i++)
        ab += (double)a[i] * (double)b[i];
    return ab / sqrt(vec_norm2(a, D) * vec_norm2(b, D));
}

static const struct report_baseline *baseline(const struct report *r, enum report_baseline_kind kind,
                                              const char *sae)
{
    for (size_t i = 0; i < r->n_baselines; i++)
        if (r->baselines[i].kind == kind && !strcmp(r->baselines[i].name, sae))
            return &r->baselines[i];
    return NULL;
}

static double explained(enum report_baseline_kind kind, const char *sae)
{
    const struct report_baseline *b = baseline(&full, kind, sae);
    assert_non_null(b);
    print_message("# %s %s: %.4f, %.2f terms\n", report_baseline_names[kind], sae, b->explained_variance,
                  b->l0);
    /* mse is the same error by another measure. */
    assert_true(fabs(b->mse / full.mse - (1 - b->explained_variance) / (1 - full.explained_variance)) < 1e-6);
    return b->explained_variance;
}

/* ---- Training. ---- */

static void test_training_finds_the_atoms(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae *meta;
    double sum = 0;
    assert_ok(sae_open(t, meta_id, &meta, &err));
    for (size_t a = 0; a < ATOMS; a++) {
        double best = -1;
        for (size_t j = 0; j < meta->d_sae; j++) {
            double c = cosine(atoms->owned_W_dec + a * D, sae_decoder_row(meta, j));
            best = c > best ? c : best;
        }
        sum += best;
    }
    print_message("# mean max cosine %.4f\n", sum / ATOMS);
    assert_true(sum / ATOMS >= 0.95);
    sae_free(meta);
    store_end(t);
}

/* ---- The report. ---- */

static void test_baselines_are_in_order(void **state)
{
    (void)state;
    double own = full.explained_variance, random = explained(BASELINE_RANDOM, "");
    print_message("# meta %.4f, batchtopk %.4f, l0 %.2f, dead %.2f\n", own, full.explained_variance_batchtopk,
                  full.l0, full.dead_fraction);
    assert_string_equal(full.meta, "meta");
    assert_string_equal(full.base, "base");
    assert_int_equal(full.rows, N - 1);
    assert_true(full.train_seconds == 12.5 && !full.note);
    assert_true(own > 0.85 && full.explained_variance_batchtopk > 0.85);
    assert_true(random < 0);
    /* The true directions do as well as those that were found, others do not, even with an encoder of their
     * own. */
    assert_true(explained(BASELINE_NEAREST, "atoms") > own - 0.1);
    assert_true(explained(BASELINE_NEAREST, "other") < own - 0.3);
    assert_true(explained(BASELINE_NEAREST, "other") > random);
    assert_true(explained(BASELINE_REFITTED, "other") > explained(BASELINE_NEAREST, "other") + 0.1);
    assert_true(explained(BASELINE_REFITTED, "other") < own - 0.3);
    assert_true(explained(BASELINE_REFITTED, "atoms") > own - 0.1);
    assert_true(explained(BASELINE_OMP, "atoms") > 0.97);
    assert_true(explained(BASELINE_NON_NEGATIVE, "atoms") > 0.97);
    assert_true(explained(BASELINE_OMP, "other") < own - 0.2);
    assert_true(explained(BASELINE_NON_NEGATIVE, "other") <= explained(BASELINE_OMP, "other"));
    assert_true(explained(BASELINE_PERMUTED, "") < own - 0.3);
    assert_true(explained(BASELINE_PERMUTED, "") > 0);
    /* One of each, and nothing onto SAEs of other places or onto the base. */
    assert_int_equal(full.n_baselines, 2 + 2 * 4);
}

/* Activations, and the error with a decoder, by the definitions. */
struct dense {
    double f[WIDTH], error, total;
    size_t active;
};

static void encode_dense(const float *row, const struct sae *meta, const double *mean, struct dense *out)
{
    double unit_row[D], x_hat[D], norm = sqrt(vec_norm2(row, D));
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < D; i++) {
        unit_row[i] = (double)row[i] / norm;
        x_hat[i] = (double)meta->b_dec[i];
        out->total += (unit_row[i] - mean[i]) * (unit_row[i] - mean[i]);
    }
    for (size_t j = 0; j < WIDTH; j++) {
        double p = 0;
        for (size_t i = 0; i < D; i++)
            p += (unit_row[i] - (double)meta->b_dec[i]) * (double)sae_encoder_row(meta, j)[i];
        if (p <= (double)meta->threshold[j])
            continue;
        out->f[j] = p;
        out->active++;
        for (size_t i = 0; i < D; i++)
            x_hat[i] += p * (double)sae_decoder_row(meta, j)[i];
    }
    for (size_t i = 0; i < D; i++)
        out->error += (unit_row[i] - x_hat[i]) * (unit_row[i] - x_hat[i]);
}

static struct dense *encode_all(const struct sae *base, const struct sae *meta)
{
    struct dense *all = xcalloc(N, sizeof *all);
    double mean[D] = {0};
    for (size_t r = 0; r < N; r++)
        for (size_t i = 0; i < D && r != 77; i++)
            mean[i] +=
                (double)sae_decoder_row(base, r)[i] / sqrt(vec_norm2(sae_decoder_row(base, r), D)) / (N - 1);
    for (size_t r = 0; r < N; r++)
        if (r != 77)
            encode_dense(sae_decoder_row(base, r), meta, mean, &all[r]);
    return all;
}

/* Tenths of the 1,498 latents that fired and have a direction. */
static void check_densities(const struct dense *all)
{
    size_t latent = 1;
    assert_int_equal(full.n_densities, 10);
    for (size_t part = 0; part < 10; part++) {
        const struct report_density *p = &full.densities[part];
        double active = 0, error = 0, total = 0;
        size_t n = 0, first = latent;
        for (; n < p->latents; latent++) {
            if (latent == 77)
                continue;
            active += (double)all[latent].active;
            error += all[latent].error;
            total += all[latent].total;
            n++;
        }
        assert_in_range(n, 149, 150);
        assert_true(fabs(p->from - (double)first / FIRED_TOKENS) < 1e-12);
        assert_true(fabs(p->to - (double)(latent - 1) / FIRED_TOKENS) < 1e-12);
        assert_true(fabs(p->meta_latents - active / (double)n) < 0.02);
        assert_true(fabs(p->explained_variance - (1 - error / total)) < 1e-3);
    }
    assert_int_equal(latent, N);
}

/* Of all pairs: those that share a meta-latent, and the largest smaller cosine. */
static void check_graph(const struct dense *all, const struct sae *base, const struct report_graph *g)
{
    float *cosines = xcalloc(N * ATOMS, sizeof *cosines);
    size_t edges = 0, others = 0, common = 0, pairs = 0;
    for (size_t r = 0; r < N; r++)
        for (size_t s = 0; s < ATOMS && r != 77; s++)
            cosines[r * ATOMS + s] = (float)cosine(sae_decoder_row(base, r), atoms->owned_W_dec + s * D);
    for (size_t a = 0; a < N; a++)
        for (size_t b = a + 1; b < N; b++) {
            int shares = 0, near = 0;
            if (a == 77 || b == 77)
                continue;
            for (size_t j = 0; j < WIDTH; j++)
                shares |= all[a].f[j] > 0 && all[b].f[j] > 0;
            for (size_t j = 0; j < ATOMS; j++)
                near |= (double)cosines[a * ATOMS + j] >= g->cosine - 1e-5 &&
                        (double)cosines[b * ATOMS + j] >= g->cosine - 1e-5;
            pairs++;
            edges += (size_t)shares;
            others += (size_t)near;
            common += (size_t)(shares && near);
        }
    free(cosines);
    assert_int_equal(pairs, (N - 1) * (N - 2) / 2);
    assert_true(fabs((double)g->edges / (double)edges - 1) < 1e-3);
    assert_true(fabs((double)g->others / (double)others - 1) < 1e-3);
    assert_true(g->others >= g->edges && (double)g->others < 1.01 * (double)g->edges);
    assert_true(fabs(g->share - (double)common / (double)edges) < 2e-3);
    assert_true(fabs(g->chance - (double)others / (double)pairs) < 1e-3);
}

/* SAEBench's are those of BatchTopK; `total` is the rows' variance. */
static void check_meta_structure(double total)
{
    json *o = report_json(&full);
    const json *of = json_get(o, "meta_structure");
    double explained = json_get_number(of, "decoder_fraction_variance_explained", NAN);
    double mse = json_get_number(of, "final_reconstruction_mse", NAN);
    assert_true(explained == full.explained_variance_batchtopk && explained != full.explained_variance);
    assert_true(fabs(mse - (1 - explained) * total / (N - 1) / D) < 1e-4 * mse);
    json_free(o);
}

static void test_numbers(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct sae *base, *meta;
    double error = 0, total = 0, active = 0;
    assert_ok(sae_open(t, base_id, &base, &err));
    assert_ok(sae_open(t, meta_id, &meta, &err));
    struct dense *all = encode_all(base, meta);
    for (size_t r = 0; r < N; r++) {
        error += all[r].error;
        total += all[r].total;
        active += (double)all[r].active;
    }
    assert_true(fabs(full.explained_variance - (1 - error / total)) < 1e-4);
    assert_true(fabs(full.mse - error / (N - 1) / D) < 1e-4 * full.mse);
    assert_true(fabs(full.l0 - active / (N - 1)) < 1e-3);
    check_meta_structure(total);
    check_densities(all);
    assert_int_equal(full.n_graphs, 2);
    assert_int_equal(full.graph_rows, N - 1);
    assert_string_equal(full.graphs[1].name, "atoms");
    check_graph(all, base, &full.graphs[1]);
    /* What shares a planted direction is near to it. */
    print_message("# shares of edges %.3f, %.3f, by chance %.3f\n", full.graphs[0].share,
                  full.graphs[1].share, full.graphs[1].chance);
    assert_true(full.graphs[1].share > full.graphs[0].share + 0.1 &&
                full.graphs[0].share > full.graphs[0].chance);
    free(all);
    sae_free(base);
    sae_free(meta);
    store_end(t);
}

/* Each pair once, in both directions, with cosines that are there. */
static void test_cosines(void **state)
{
    (void)state;
    static const char *const from[] = {"meta", "base", "atoms", "other"};
    size_t seen = 0;
    for (size_t i = 0; i < full.n_cosines; i++) {
        const struct report_cosines *c = &full.cosines[i];
        uint64_t n = 0;
        size_t width = !strcmp(c->from, "base")    ? N
                       : !strcmp(c->from, "other") ? ATOMS / 2
                       : !strcmp(c->from, "meta")  ? WIDTH
                                                   : ATOMS;
        for (size_t b = 0; b < REPORT_COSINE_BINS; b++)
            n += c->counts[b];
        assert_int_equal(n, width);
        for (size_t j = 1; j < REPORT_COSINE_CUTS; j++)
            assert_true(c->above[j] <= c->above[j - 1]);
        if (!strcmp(c->from, "meta") && !strcmp(c->against, "atoms"))
            assert_true(c->median > 0.95 && c->above[2] > 0.8);
        if (!strcmp(c->from, "atoms") && !strcmp(c->against, "atoms"))
            assert_true(c->above[2] == 0); /* none is its own neighbour */
        seen++;
    }
    assert_int_equal(seen,
                     4 + 3 * 3); /* meta against itself and all three; each of these against all three */
    for (size_t i = 0; i < ARRAY_LENGTH(from); i++) {
        size_t n = 0;
        for (size_t j = 0; j < full.n_cosines; j++)
            n += !strcmp(full.cosines[j].from, from[i]);
        assert_int_equal(n, i ? 3 : 4);
    }
}

/* The histogram of a pair against cosines written out. */
static void test_histogram(void **state)
{
    (void)state;
    uint64_t counts[REPORT_COSINE_BINS] = {0};
    double sum = 0;
    for (size_t a = 0; a < ATOMS; a++) {
        double best = -1;
        for (size_t b = 0; b < ATOMS; b++) {
            double c = a == b ? -1 : cosine(atoms->owned_W_dec + a * D, atoms->owned_W_dec + b * D);
            best = c > best ? c : best;
        }
        sum += best;
        counts[(size_t)floor((best + 1) * 20)]++;
    }
    for (size_t i = 0; i < full.n_cosines; i++) {
        const struct report_cosines *c = &full.cosines[i];
        if (strcmp(c->from, "atoms") || strcmp(c->against, "atoms"))
            continue;
        assert_true(fabs(c->mean - sum / ATOMS) < 1e-6);
        assert_memory_equal(c->counts, counts, sizeof counts);
        return;
    }
    fail_msg("atoms were not compared with themselves");
}

static void test_quick(void **state)
{
    (void)state;
    struct error err = {0};
    struct report r;
    assert_ok(report_run(test_store, &(struct report_options){.meta = meta_id, .quick = 1}, NULL, &r, &err));
    assert_int_equal(r.n_baselines, 3);
    assert_int_equal(r.n_cosines, 4);
    assert_non_null(baseline(&r, BASELINE_NEAREST, "atoms"));
    assert_true(r.explained_variance == full.explained_variance);
    assert_true(baseline(&r, BASELINE_RANDOM, "")->explained_variance ==
                baseline(&full, BASELINE_RANDOM, "")->explained_variance);
    report_free(&r);
    /* Another seed draws another decoder. */
    assert_ok(report_run(test_store, &(struct report_options){.meta = meta_id, .quick = 1, .seed = 5}, NULL,
                         &r, &err));
    assert_true(baseline(&r, BASELINE_RANDOM, "")->explained_variance !=
                baseline(&full, BASELINE_RANDOM, "")->explained_variance);
    report_free(&r);
}

/* Without a training on record nothing is trained; the rest is there. */
static void test_without_training(void **state)
{
    (void)state;
    struct error err = {0};
    struct report r;
    struct sae *x = random_directions(ATOMS, 7);
    memcpy(x->owned_W_enc, x->owned_W_dec, sizeof(float) * ATOMS * D);
    artifact_id id = save_sae(test_store, "imported", x, sae_manifest(NULL, 0, base_id));
    sae_free(x);
    assert_ok(report_run(test_store, &(struct report_options){.meta = id}, NULL, &r, &err));
    assert_non_null(strstr(r.note, "no training"));
    assert_null(baseline(&r, BASELINE_REFITTED, "atoms"));
    assert_null(baseline(&r, BASELINE_PERMUTED, ""));
    assert_non_null(baseline(&r, BASELINE_OMP, "atoms"));
    report_free(&r);
}

static void test_refusals_and_cancelling(void **state)
{
    (void)state;
    struct error err = {0};
    struct report r;
    struct monitor m = {.ask = cancel_later};
    const size_t without = WIDTH;
    assert_int_equal(report_run(test_store, &(struct report_options){.meta = base_id}, NULL, &r, &err),
                     STATUS_REFUSED);
    assert_says("no meta-SAE");
    assert_int_equal(
        report_run(test_store, &(struct report_options){.meta = meta_id, .without = &without, .n_without = 1},
                   NULL, &r, &err),
        STATUS_REFUSED);
    assert_says("meta-latents 0 to 79");
    struct sae *x = random_directions(8, 21);
    artifact_id of_meta = save_sae(test_store, "of-meta", x, sae_manifest(NULL, 0, meta_id));
    sae_free(x);
    assert_int_equal(
        report_run(test_store, &(struct report_options){.meta = of_meta, .text = model}, NULL, &r, &err),
        STATUS_REFUSED);
    assert_says("meta is no SAE of a model's activations");
    for (int asks = 0; asks < 300; asks = 3 * asks + 1) {
        asks_before_cancel = asks;
        assert_int_equal(report_run(test_store, &(struct report_options){.meta = meta_id}, &m, &r, &err),
                         STATUS_FAILED);
        assert_says("cancelled");
    }
}

/* Σ‖d−fit‖² of the unit rows of an SAE onto the atoms. */
static double regress(const struct sae *rows_of, int own)
{
    struct error err = {0};
    struct omp *p;
    struct sparse_rows f = {0};
    float *rows = xcalloc(rows_of->d_sae * D, sizeof *rows);
    uint32_t *latents = xcalloc(rows_of->d_sae, sizeof *latents);
    double *error = xcalloc(rows_of->d_sae, sizeof *error), sum = 0;
    size_t n = decoder_rows(rows_of, 0, rows_of->d_sae, 0, rows, latents);
    assert_ok(omp_open(atoms, &(struct omp_options){PARTS, 0}, &p, &err));
    assert_ok(omp_rows(p, rows, own ? latents : NULL, n, NULL, &f, error, &err));
    for (size_t r = 0; r < n; r++)
        sum += error[r];
    omp_close(p);
    sparse_rows_free(&f);
    free(rows);
    free(latents);
    free(error);
    return sum;
}

/* On two bases: the rows of both count, and those of the smaller one leave themselves out of its own
 * regression. */
static void test_joint(void **state)
{
    (void)state;
    struct error err = {0};
    struct report r;
    struct store_txn *t = begin_reading(test_store);
    struct sae *base, *x = random_directions(WIDTH, 13);
    assert_ok(sae_open(t, base_id, &base, &err));
    memcpy(x->owned_W_enc, x->owned_W_dec, sizeof(float) * WIDTH * D);
    x->k = PARTS;
    json *m = sae_manifest(NULL, 0, base_id);
    json_set(m, "references",
             meta_bases_references((const artifact_id[]){base_id, find_artifact(test_store, 0, "atoms")}, 2));
    artifact_id id = save_sae(test_store, "joint", x, m);
    assert_ok(report_run(test_store, &(struct report_options){.meta = id}, NULL, &r, &err));
    assert_int_equal(r.n_bases, 2);
    assert_int_equal(r.rows, N - 1 + ATOMS);
    const struct report_baseline *b = baseline(&r, BASELINE_OMP, "atoms");
    double error = regress(base, 0) + regress(atoms, 1);
    assert_true(regress(atoms, 1) > 10 && fabs(b->mse * (double)r.rows * D - error) < 1e-3 * error);
    assert_true(b->l0 > 3.9 && b->l0 <= 4);
    report_free(&r);
    sae_free(base);
    sae_free(x);
    store_end(t);
}

/* More rows than the graph takes: so many are drawn, and edges at random are common by chance. */
static void test_graph_of_drawn_rows(void **state)
{
    (void)state;
    struct error err = {0};
    struct report r;
    struct sae *wide = random_directions(REPORT_GRAPH_ROWS + 200, 11), *x = random_directions(ATOMS, 12);
    artifact_id id = save("wide", wide);
    memcpy(x->owned_W_enc, x->owned_W_dec, sizeof(float) * ATOMS * D);
    for (size_t i = 0; i < ATOMS; i++) /* fires on few */
        for (size_t j = 0; j < D; j++)
            x->b_dec[j] += 0.01F * x->owned_W_dec[i * D + j];
    x->apply_b_dec_to_input = 1;
    artifact_id meta = save_sae(test_store, "of-wide", x, sae_manifest(NULL, 0, id));
    assert_ok(report_run(test_store, &(struct report_options){.meta = meta, .quick = 1}, NULL, &r, &err));
    assert_int_equal(r.rows, REPORT_GRAPH_ROWS + 200);
    assert_int_equal(r.graph_rows, REPORT_GRAPH_ROWS);
    assert_int_equal(r.n_graphs, 3); /* atoms, other, base */
    assert_int_equal(r.n_densities, 0);
    for (size_t i = 0; i < r.n_graphs; i++)
        assert_true(r.graphs[i].edges > 0 && r.graphs[i].others >= r.graphs[i].edges);
    report_free(&r);
    sae_free(wide);
    sae_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_finds_the_atoms),
        cmocka_unit_test(test_baselines_are_in_order),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_cosines),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_quick),
        cmocka_unit_test(test_without_training),
        cmocka_unit_test(test_refusals_and_cancelling),
        cmocka_unit_test(test_joint),
        cmocka_unit_test(test_graph_of_drawn_rows),
    };
    return cmocka_run_group_tests_name("report", tests, set_up, tear_down);
}
