/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Evaluation of a small SAE on the demo model against PyTorch in float64 (tests/data/evaluate, made by
 * tests/reference/evaluate.py), and of a meta-SAE against sums written out here.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/formats/formats.h"
#include "saescope/model/text.h"
#include "tests/support/support.h"

static artifact_id model, text, sae, centred;
static json *expected;

static artifact_id import_sae(const char *name)
{
    struct error err = {0};
    artifact_id id;
    char *folder = data_path("evaluate"), *path = path_join(folder, name);
    struct sae_import o = {.path = path, .name = name, .model = model};
    assert_ok(sae_import_path(test_store, &o, NULL, &id, &err));
    free(path);
    free(folder);
    return id;
}

static int set_up(void **state)
{
    struct error err = {0};
    char *lines = data_path("evaluate/text.txt"), *golden = data_path("evaluate/expected.json");
    set_up_store(state);
    model = import_demo_model(test_store, "lm");
    text = import_test_text(test_store, lines);
    sae = import_sae("sae");
    centred = import_sae("centred");
    expected = json_parse_file(golden, &err);
    if (!expected)
        fail_msg("%s", err.message);
    free(lines);
    free(golden);
    return 0;
}

static int tear_down(void **state)
{
    json_free(expected);
    return tear_down_store(state);
}

#define MEMBER(name)                                                                                         \
    {                                                                                                        \
#name, offsetof(struct evaluation, name)                                                             \
    }
static const struct {
    const char *name;
    size_t offset;
} members[] = {
    MEMBER(l0),
    MEMBER(l1),
    MEMBER(mse),
    MEMBER(explained_variance),
    MEMBER(explained_variance_legacy),
    MEMBER(cossim),
    MEMBER(l2_norm_in),
    MEMBER(l2_norm_out),
    MEMBER(l2_ratio),
    MEMBER(relative_reconstruction_bias),
    MEMBER(freq_over_1_percent),
    MEMBER(freq_over_10_percent),
    MEMBER(normalized_freq_over_1_percent),
    MEMBER(normalized_freq_over_10_percent),
    MEMBER(frac_alive),
    MEMBER(dead_fraction),
    MEMBER(density_mean),
    MEMBER(average_max_encoder_cosine_sim),
    MEMBER(average_max_decoder_cosine_sim),
    /* with the model */
    MEMBER(ce_original),
    MEMBER(ce_sae),
    MEMBER(ce_zero),
    MEMBER(ce_mean),
    MEMBER(kl_sae),
    MEMBER(kl_zero),
    MEMBER(kl_mean),
    MEMBER(ce_loss_score),
    MEMBER(kl_div_score),
    MEMBER(ce_recovered_from_mean),
};
#define WITHOUT_MODEL 19

static void check(const char *name, const struct evaluate_options *o, size_t n_members)
{
    struct error err = {0};
    struct evaluation e;
    assert_ok(evaluate_run(test_store, o, NULL, &e, &err));
    const json *golden = json_get(expected, name);
    assert_int_equal(e.tokens, json_get_integer(golden, "tokens", 0));
    assert_int_equal(e.token_stats,
                     o->saebench ? 32 * json_get_integer(expected, "contexts", 0) : (long long)e.tokens);
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        double got = *(const double *)((const char *)&e + members[i].offset);
        double wanted = json_get_number(golden, members[i].name, NAN);
        if (i >= n_members)
            assert_true(isnan(got));
        else if (!(fabs(got - wanted) <= 2e-4 * (0.05 + fabs(wanted))))
            fail_msg("%s of %s: %.9g instead of %.9g", members[i].name, name, got, wanted);
    }
}

static void test_evaluate(void **state)
{
    (void)state;
    check("sae", &(struct evaluate_options){.sae = sae, .text = text}, ARRAY_LENGTH(members));
}

/* The SAE alone, in one pass. */
static void test_ce_alone(void **state)
{
    struct error err = {0};
    struct evaluate_options o = {.sae = sae, .text = text, .tokens = 300};
    struct evaluation all, alone;
    (void)state;
    assert_ok(evaluate_run(test_store, &o, NULL, &all, &err));
    o.ce_alone = 1;
    assert_ok(evaluate_run(test_store, &o, NULL, &alone, &err));
    assert_int_equal(alone.tokens, all.tokens);
    assert_true(alone.l0 == all.l0 && alone.l1 == all.l1 && alone.mse == all.mse &&
                alone.ce_sae == all.ce_sae);
    assert_true(alone.ce_sae > 0 && alone.ce_zero == 0 && alone.kl_sae == 0 && alone.explained_variance == 0);
}

static void test_center(void **state)
{
    (void)state;
    check("centred", &(struct evaluate_options){.sae = centred, .text = text}, ARRAY_LENGTH(members));
}

static void test_saebench(void **state)
{
    (void)state;
    check("saebench", &(struct evaluate_options){.sae = sae, .text = text, .saebench = 1},
          ARRAY_LENGTH(members));
}

static void test_parts_of_text(void **state)
{
    (void)state;
    check("held_out", &(struct evaluate_options){.sae = sae, .text = text, .held_out = 1},
          ARRAY_LENGTH(members));
    check("sae", &(struct evaluate_options){.sae = sae, .text = text, .no_model = 1}, WITHOUT_MODEL);
    /* One token fewer than five contexts have still needs all five. */
    uint64_t tokens = (uint64_t)json_get_integer(json_get(expected, "first_5"), "tokens", 0);
    check("first_5", &(struct evaluate_options){.sae = sae, .text = text, .tokens = tokens},
          ARRAY_LENGTH(members));
    check("first_5",
          &(struct evaluate_options){.sae = sae, .text = text, .tokens = tokens - 1, .no_model = 1},
          WITHOUT_MODEL);
}

static void test_json(void **state)
{
    (void)state;
    struct error err = {0};
    struct evaluation e;
    struct evaluate_options o = {.sae = sae, .text = text, .tokens = 40};
    assert_ok(evaluate_run(test_store, &o, NULL, &e, &err));
    json *m = evaluation_metrics(&e);
    static const char *const paths[][2] = {{"model_behavior_preservation", "kl_div_score"},
                                           {"model_behavior_preservation", "kl_div_with_ablation"},
                                           {"model_behavior_preservation", "kl_div_with_sae"},
                                           {"model_performance_preservation", "ce_loss_score"},
                                           {"model_performance_preservation", "ce_loss_with_ablation"},
                                           {"model_performance_preservation", "ce_loss_with_sae"},
                                           {"model_performance_preservation", "ce_loss_without_sae"},
                                           {"reconstruction_quality", "explained_variance"},
                                           {"reconstruction_quality", "explained_variance_legacy"},
                                           {"reconstruction_quality", "mse"},
                                           {"reconstruction_quality", "cossim"},
                                           {"shrinkage", "l2_norm_in"},
                                           {"shrinkage", "l2_norm_out"},
                                           {"shrinkage", "l2_ratio"},
                                           {"shrinkage", "relative_reconstruction_bias"},
                                           {"sparsity", "l0"},
                                           {"sparsity", "l1"},
                                           {"token_stats", "total_tokens_eval_reconstruction"},
                                           {"token_stats", "total_tokens_eval_sparsity_variance"},
                                           {"misc_metrics", "freq_over_1_percent"},
                                           {"misc_metrics", "normalized_freq_over_10_percent"},
                                           {"misc_metrics", "average_max_encoder_cosine_sim"},
                                           {"misc_metrics", "average_max_decoder_cosine_sim"},
                                           {"misc_metrics", "frac_alive"}};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++)
        if (!json_is_number(json_get(json_get(m, paths[i][0]), paths[i][1])))
            fail_msg("no %s.%s", paths[i][0], paths[i][1]);
    json_free(m);
    o.no_model = 1;
    assert_ok(evaluate_run(test_store, &o, NULL, &e, &err));
    m = evaluation_metrics(&e);
    assert_null(json_get(m, "model_performance_preservation"));
    json_free(m);
}

static void ignore_progress(struct monitor *m, const struct progress *p)
{
    (void)m;
    (void)p;
}

static void test_cancel(void **state)
{
    (void)state;
    struct error err = {0};
    struct evaluation e;
    struct monitor m = {.report = ignore_progress, .ask = cancel_later};
    struct evaluate_options o = {.sae = sae, .text = text};
    assert_int_equal(evaluate_run(test_store, &o, &m, &e, &err), STATUS_FAILED);
}

/* Within a pass, at any question: in the stream's, in the spliced ones, and between logits. */
static void test_cancel_within(void **state)
{
    (void)state;
    struct error err = {0};
    struct monitor m = {.cancelled = cancelled_later};
    struct evaluate_options o = {.sae = sae, .text = text};
    struct evaluation e;
    int status = STATUS_FAILED, questions = 0;
    for (int step = 1; status; questions += step, step += questions / 16) {
        looks_before_cancel = questions;
        status = evaluate_run(test_store, &o, &m, &e, &err);
        if (status) {
            assert_int_equal(status, STATUS_FAILED);
            assert_string_equal(err.message, "cancelled");
        }
    }
    assert_true(questions > 100);
}

/* ---- Text through model and SAE. ---- */

static void test_encode_text(void **state)
{
    (void)state;
    struct error err = {0};
    struct encoded_text e;
    const json *golden = json_get(expected, "encode"), *ids = json_get(golden, "ids");
    const char *sentence = json_get_string(golden, "text", NULL);
    for (int with_bos = 0; with_bos < 2; with_bos++) {
        assert_ok(encode_text(test_store, sae, sentence, strlen(sentence), with_bos, &e, &err));
        assert_int_equal(e.n_tokens, json_length(ids));
        assert_int_equal(e.rows.n_rows, e.n_tokens);
        assert_false(e.truncated);
        for (size_t r = 0; r < e.n_tokens; r++) {
            const json *row = json_at(json_get(golden, "activations"), r);
            size_t n = e.rows.offsets[r + 1] - e.rows.offsets[r];
            assert_int_equal(e.ids[r], json_integer(json_at(ids, r), -1));
            assert_int_equal(n, r == 0 && !with_bos ? 0 : json_length(row));
            for (size_t i = 0; i < n; i++) {
                size_t p = e.rows.offsets[r] + i;
                double wanted = json_number(json_at(json_at(row, i), 1), NAN);
                assert_int_equal(e.rows.latents[p], json_integer(json_at(json_at(row, i), 0), -1));
                assert_true(fabs((double)e.rows.values[p] - wanted) <= 1e-3 * (1 + wanted));
            }
        }
        encoded_text_free(&e);
    }
}

static void test_long_and_empty_text(void **state)
{
    (void)state;
    struct error err = {0};
    struct encoded_text e;
    struct strbuf words = STRBUF_INIT;
    for (int i = 0; i < 400; i++)
        strbuf_adds(&words, "whale ");
    assert_ok(encode_text(test_store, sae, words.data, words.length, 0, &e, &err));
    assert_true(e.truncated);
    assert_int_equal(e.n_tokens, 128);
    encoded_text_free(&e);
    assert_ok(encode_text(test_store, sae, "", 0, 0, &e, &err));
    assert_int_equal(e.n_tokens, 1); /* BOS */
    assert_int_equal(e.rows.offsets[1], 0);
    encoded_text_free(&e);
    strbuf_free(&words);
}

/* ---- Meta-SAEs. ---- */

#define D     8
#define BASE  4500 /* more than one batch of 4096 */
#define WIDTH 24
#define K     2
#define THETA 0.55F
#define BATCH 4096

struct weights {
    float W_enc[BASE * D], W_dec[BASE * D], meta_enc[WIDTH * D], meta_dec[WIDTH * D], b_dec[D];
};

static artifact_id save(const char *name, const char *architecture, size_t n, const float *W_enc,
                        const float *W_dec, const float *b_dec, artifact_id base)
{
    struct sae *x = new_sae(architecture, D, n);
    memcpy(x->owned_W_enc, W_enc, n * D * sizeof(float));
    memcpy(x->owned_W_dec, W_dec, n * D * sizeof(float));
    memcpy(x->b_dec, b_dec, D * sizeof(float));
    x->apply_b_dec_to_input = 1;
    x->k = base ? K : 0;
    for (size_t i = 0; x->threshold && i < n; i++)
        x->threshold[i] = THETA;
    artifact_id id =
        save_sae(test_store, name, x, sae_manifest(base ? NULL : "blocks.0.hook_resid_pre", model, base));
    sae_free(x);
    return id;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The explained variance, all positive pre-activations p[n, WIDTH] being there and those above cut[row] being
 * kept. */
static double explained(const struct weights *w, const double *rows, size_t n, const double *p,
                        const double *cut, double *l0)
{
    double mean[D] = {0}, error = 0, total = 0;
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < D; i++)
            mean[i] += rows[r * D + i] / (double)n;
    *l0 = 0;
    for (size_t r = 0; r < n; r++) {
        double rebuilt[D];
        for (size_t i = 0; i < D; i++)
            rebuilt[i] = (double)w->b_dec[i];
        for (size_t j = 0; j < WIDTH; j++) {
            if (!(p[r * WIDTH + j] > cut[r]))
                continue;
            *l0 += 1 / (double)n;
            for (size_t i = 0; i < D; i++)
                rebuilt[i] += p[r * WIDTH + j] * (double)w->meta_dec[j * D + i];
        }
        for (size_t i = 0; i < D; i++) {
            error += pow(rows[r * D + i] - rebuilt[i], 2);
            total += pow(rows[r * D + i] - mean[i], 2);
        }
    }
    return 1 - error / total;
}

static void test_meta(void **state)
{
    (void)state;
    struct error err = {0};
    struct rng rng;
    struct weights *w = xcalloc(1, sizeof(*w));
    rng_seed(&rng, 5, 0);
    for (size_t i = 0; i < WIDTH * D; i++) {
        w->meta_dec[i] = (float)rng_normal(&rng) / sqrtf(D);
        w->meta_enc[i] = 0.8F * w->meta_dec[i];
    }
    for (size_t i = 0; i < D; i++)
        w->b_dec[i] = 0.05F * (float)rng_normal(&rng);
    for (size_t r = 0; r < BASE; r++)
        for (size_t i = 0; i < D; i++)
            w->W_dec[r * D + i] = w->meta_dec[r % WIDTH * D + i] * 2 + w->meta_dec[r % 7 * D + i] +
                                  0.1F * (float)rng_normal(&rng);
    /* A row of zeros is none. */
    memset(w->W_dec + 3 * D, 0, D * sizeof(float));
    artifact_id base = save("base", "standard", BASE, w->W_enc, w->W_dec, w->b_dec, 0);
    artifact_id meta = save("meta", "batchtopk", WIDTH, w->meta_enc, w->meta_dec, w->b_dec, base);

    size_t n = 0;
    double *rows = xcalloc(BASE * D, sizeof(double)), *p = xcalloc(BASE * WIDTH, sizeof(double));
    double *cut = xcalloc(BASE, sizeof(double)), *sorted = xcalloc(BASE * WIDTH, sizeof(double));
    for (size_t r = 0; r < BASE; r++) {
        double norm = 0;
        for (size_t i = 0; i < D; i++)
            norm += pow((double)w->W_dec[r * D + i], 2);
        if (norm == 0)
            continue;
        for (size_t i = 0; i < D; i++)
            rows[n * D + i] = (double)w->W_dec[r * D + i] / sqrt(norm);
        for (size_t j = 0; j < WIDTH; j++) {
            double sum = 0;
            for (size_t i = 0; i < D; i++)
                sum += (rows[n * D + i] - (double)w->b_dec[i]) * (double)w->meta_enc[j * D + i];
            p[n * WIDTH + j] = sum > 0 ? sum : 0;
        }
        n++;
    }
    assert_int_equal(n, BASE - 1);
    double l0, ignored, got[4];
    for (size_t r = 0; r < n; r++)
        cut[r] = (double)THETA;
    double with_threshold = explained(w, rows, n, p, cut, &l0);
    for (size_t first = 0; first < n; first += BATCH) {
        size_t count = n - first < BATCH ? n - first : BATCH;
        memcpy(sorted, p + first * WIDTH, count * WIDTH * sizeof(double));
        qsort(sorted, count * WIDTH, sizeof(double), compare_doubles);
        for (size_t r = first; r < first + count; r++)
            cut[r] = (sorted[K * count - 1] + sorted[K * count]) / 2;
    }
    double batchtopk = explained(w, rows, n, p, cut, &ignored);
    assert_ok(evaluate_meta(test_store, meta, NULL, &got[0], &got[1], &got[2], &got[3], &err));
    assert_true(fabs(got[0] - with_threshold) < 1e-5);
    assert_true(fabs(got[1] - batchtopk) < 1e-5);
    assert_true(fabs(got[2] - l0) < 1e-5);
    assert_true(got[3] >= 0 && got[3] < 1);
    assert_true(fabs(with_threshold - batchtopk) > 1e-3);
    assert_int_equal(evaluate_meta(test_store, base, NULL, &got[0], &got[1], &got[2], &got[3], &err),
                     STATUS_REFUSED);
    struct evaluation e;
    struct evaluate_options o = {.sae = meta, .text = text};
    assert_int_equal(evaluate_run(test_store, &o, NULL, &e, &err), STATUS_REFUSED);
    assert_says("meta-SAE");
    struct encoded_text encoded;
    assert_int_equal(encode_text(test_store, meta, "x", 1, 0, &encoded, &err), STATUS_REFUSED);
    o.sae = base; /* its rows do not fit its hook */
    assert_int_equal(evaluate_run(test_store, &o, NULL, &e, &err), STATUS_REFUSED);
    free(rows);
    free(p);
    free(cut);
    free(sorted);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluate),      cmocka_unit_test(test_ce_alone),
        cmocka_unit_test(test_center),        cmocka_unit_test(test_saebench),
        cmocka_unit_test(test_parts_of_text), cmocka_unit_test(test_json),
        cmocka_unit_test(test_cancel),        cmocka_unit_test(test_cancel_within),
        cmocka_unit_test(test_encode_text),   cmocka_unit_test(test_long_and_empty_text),
        cmocka_unit_test(test_meta),
    };
    return cmocka_run_group_tests_name("evaluate", tests, set_up, tear_down);
}
