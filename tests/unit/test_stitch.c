/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stitches on the demo model: scores against every insertion really made, what is stored, and what is refused. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/nearest.h"
#include "saescope/analysis/stitch.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "index_fixture.h"

static struct error err;

enum { TOKENS = 3000 };

/* ---- SAEs and stitches. ---- */

struct sae_choices {
    const char *architecture, *hook;
    artifact_id model;
    size_t d_in, context_size;
    int no_bos, center;
    enum sae_normalization normalization;
};

/* Random unit rows, W_enc their transpose; those of the SAEs that are stitched differ by their seeds. */
static artifact_id made_up(struct fixture *f, const char *name, size_t d_sae, uint64_t seed, struct sae_choices c)
{
    size_t d = c.d_in ? c.d_in : 256;
    struct sae *sae = new_sae(c.architecture ? c.architecture : "jumprelu", d, d_sae);
    json *m = sae_manifest(c.hook ? c.hook : FIXTURE_HOOK, c.model ? c.model : f->model, 0);
    struct rng r;
    rng_seed(&r, seed, 0);
    for (size_t i = 0; i < d_sae; i++) {
        float *row = sae->owned_W_dec + i * d;
        for (size_t j = 0; j < d; j++)
            row[j] = (float)rng_normal(&r);
        vec_scale((float)(1 / sqrt(vec_norm2(row, d))), row, d);
        memcpy(sae->owned_W_enc + i * d, row, d * sizeof(*row));
        if (sae->threshold)
            sae->threshold[i] = c.normalization == NORMALIZE_NONE ? 1 : 1.5F;
    }
    sae->k = sae->architecture->per_token_k ? 6 : 0;
    sae->normalization = c.normalization;
    json_set(m, "context_size", json_new_integer(c.context_size ? (long long)c.context_size : FIXTURE_LENGTH));
    json_set(m, "prepend_bos", json_new_boolean(!c.no_bos));
    json_set(m, "center_activations", json_new_boolean(c.center));
    artifact_id id = save_sae(f->store, name, sae, m);
    sae_free(sae);
    return id;
}

static struct stitch_options options_of(struct fixture *f, artifact_id small, artifact_id large)
{
    return (struct stitch_options){
        .small = small, .large = large, .text = f->text, .tokens = TOKENS, .threshold = 0.7, .seed = 1};
}

static artifact_id make_stitch(struct fixture *f, const char *name, const struct stitch_options *o)
{
    artifact_id id;
    assert_ok(store_create(f->store, ARTIFACT_STITCH, name, 0, &id, &err));
    assert_ok(stitch_run(f->store, id, o, NULL, &err));
    return id;
}

/* ---- Everything that the SAEs read. ---- */

struct rows {
    size_t n, d;
    float *x; /* [n, d], counted */
};

static struct rows read_rows(struct fixture *f, artifact_id sae)
{
    struct stream_options o;
    struct stream_batch b;
    struct stream *st;
    struct rows rows = {0};
    struct store_txn *t = begin_reading(f->store);
    uint64_t counted;
    char hook[64];
    assert_ok(stream_options_for_sae(t, sae, f->text, &o, hook, &err));
    store_end(t);
    assert_ok(stream_open(f->store, &o, &st, &err));
    assert_ok(stream_limit(st, TOKENS, &counted, &err));
    rows.d = stream_width(st);
    rows.x = xreallocarray(NULL, counted, rows.d * sizeof(float));
    for (;;) {
        assert_ok(stream_next(st, &b, &err));
        if (!b.n_contexts)
            break;
        for (size_t i = 0; i < b.n_tokens; i++)
            if (b.counted[i])
                memcpy(rows.x + rows.n++ * rows.d, b.activations + i * rows.d, rows.d * sizeof(float));
    }
    assert_int_equal(rows.n, counted);
    stream_close(st);
    return rows;
}

static double squared_error(const struct rows *rows, const float *x_hat)
{
    double sum = 0;
    for (size_t i = 0; i < rows->n * rows->d; i++)
        sum += ((double)rows->x[i] - (double)x_hat[i]) * ((double)rows->x[i] - (double)x_hat[i]);
    return sum;
}

/* ---- Scores. ---- */

/*
 * What inserting each latent changes: x̂ with it in place, token by token, against x̂ without; in float64 from there on.
 * *size[i] is Σ‖ad‖², what the change is a difference of.
 */
static void insert_each(const struct rows *rows, const struct sparse_rows *f, const struct sae *large, const float *x_hat,
                        double *change, double *size)
{
    for (size_t r = 0; r < rows->n; r++)
        for (size_t p = f->offsets[r]; p < f->offsets[r + 1]; p++) {
            const float *row = sae_decoder_row(large, f->latents[p]), *x = rows->x + r * rows->d, *was = x_hat + r * rows->d;
            double before = 0, after = 0, added = 0;
            for (size_t j = 0; j < rows->d; j++) {
                double a = (double)f->values[p] * (double)row[j], e = (double)x[j] - (double)was[j];
                before += e * e;
                after += (e - a) * (e - a);
                added += a * a;
            }
            change[f->latents[p]] += after - before;
            size[f->latents[p]] += added;
        }
}

/* An SAE of the small one's latents and one of the large one's, each as it is in its own. Neither has an own input bias here. */
static struct sae *inserted(const struct sae *small, const struct sae *large, size_t latent)
{
    size_t n = small->d_sae, d = small->d_in;
    struct sae *sae = new_sae("jumprelu", d, n + 1);
    sae->apply_b_dec_to_input = 0;
    sae->b_enc = array_zeroed(n + 1, sizeof(float), "b_enc", &err);
    memcpy(sae->b_dec, small->b_dec, d * sizeof(float));
    for (size_t i = 0; i <= n; i++) {
        const struct sae *from = i < n ? small : large;
        size_t k = i < n ? i : latent;
        memcpy(sae->owned_W_enc + i * d, sae_encoder_row(from, k), d * sizeof(float));
        memcpy(sae->owned_W_dec + i * d, sae_decoder_row(from, k), d * sizeof(float));
        sae->threshold[i] = from->threshold[k];
        sae->b_enc[i] = from->b_enc ? from->b_enc[k] : 0;
        if (from->apply_b_dec_to_input)
            sae->b_enc[i] -= vec_dot(sae_encoder_row(from, k), from->b_dec, d);
    }
    return sae;
}

static void check_counts(struct fixture *f, artifact_id stitch, const struct stitch_latents *l)
{
    size_t counts[3] = {0};
    json *m = read_manifest(f->store, stitch);
    const json *by_delta = json_get(m, "by_delta"), *c = json_get(m, "confusion"), *by_cosine = json_get(m, "by_cosine");
    struct stitch_confusion confusion;
    for (size_t i = 0; i < l->n; i++) {
        assert_int_equal(l->classes[i], l->fired[i] < 20    ? LATENT_UNDECIDED
                                        : l->delta[i] < 0 ? LATENT_NOVEL
                                                          : LATENT_RECONSTRUCTION);
        counts[l->classes[i]]++;
    }
    assert_int_equal(json_get_integer(by_delta, "novel", -1), counts[LATENT_NOVEL]);
    assert_int_equal(json_get_integer(by_delta, "reconstruction", -1), counts[LATENT_RECONSTRUCTION]);
    assert_int_equal(json_get_integer(by_delta, "undecided", -1), counts[LATENT_UNDECIDED]);
    assert_true(counts[LATENT_NOVEL] && counts[LATENT_RECONSTRUCTION] && counts[LATENT_UNDECIDED]);
    stitch_confusion_at(l, 0.7, &confusion);
    assert_int_equal(json_get_integer(by_cosine, "below", -1), confusion.below);
    assert_int_equal(json_get_integer(by_cosine, "above", -1), confusion.above);
    assert_int_equal(json_integer(json_at(json_at(c, 0), 1), -1), confusion.novel_above);
    assert_int_equal(json_integer(json_at(json_at(c, 1), 0), -1), confusion.reconstruction_below);
    assert_float_equal(json_get_number(m, "novel_fraction", NAN),
                       (double)counts[LATENT_NOVEL] / (double)(l->n - counts[LATENT_UNDECIDED]), 1e-8);
    json_free(m);
}

static void test_every_insertion(void **state)
{
    struct fixture *f = *state;
    artifact_id a = import_demo_sae(f->store, f->model, "wn-256"),
                b = import_demo_sae(f->store, f->model, "wn-1024");
    struct stitch_options o = options_of(f, a, b);
    artifact_id stitch = make_stitch(f, "demo", &o);
    struct rows rows = read_rows(f, a);
    struct store_txn *t = begin_reading(f->store);
    struct stitch_facts facts;
    struct stitch_latents l;
    struct sparse_rows active = {0};
    struct sae *small, *large;
    assert_ok(sae_open(t, a, &small, &err));
    assert_ok(sae_open(t, b, &large, &err));
    assert_ok(stitch_facts_read(t, stitch, &facts, &err));
    assert_ok(stitch_latents_read(t, &facts, &l, &err));
    assert_int_equal(facts.tokens, rows.n);
    float *x_hat = xreallocarray(NULL, rows.n * rows.d, sizeof(float));
    double *change = xcalloc(l.n, sizeof(double)), *size = xcalloc(l.n, sizeof(double));
    assert_ok(sae_encode(small, rows.x, rows.n, &active, &err));
    assert_ok(sae_decode(small, &active, rows.x, x_hat, &err));
    double before = squared_error(&rows, x_hat);
    assert_ok(sae_encode(large, rows.x, rows.n, &active, &err));
    insert_each(&rows, &active, large, x_hat, change, size);
    for (size_t i = 0; i < l.n; i++) {
        /* Relative to Δ where it is not a small difference of large numbers. */
        double within = 1e-4 * (fabs(change[i]) > 0.01 * size[i] ? fabs(change[i]) : 0.01 * size[i]);
        assert_true(fabs(l.delta[i] - change[i]) <= within);
        assert_true(l.fired[i] ? size[i] > 0 : l.delta[i] == 0);
    }
    check_counts(f, stitch, &l);
    /* Some of them as SAEs that encode and decode on their own. */
    for (size_t i = 3; i < l.n; i += 127) {
        struct sae *both = inserted(small, large, i);
        assert_ok(sae_encode(both, rows.x, rows.n, &active, &err));
        assert_ok(sae_decode(both, &active, rows.x, x_hat, &err));
        double difference = squared_error(&rows, x_hat) - before;
        assert_true(fabs(difference - l.delta[i]) <= 1e-4 * (fabs(l.delta[i]) + size[i]));
        sae_free(both);
    }
    store_end(t);
    free(x_hat);
    free(change);
    free(size);
    free(rows.x);
    sparse_rows_free(&active);
    sae_free(small);
    sae_free(large);
    stitch_latents_free(&l);
    stitch_facts_free(&facts);
    remove_artifact(f->store, stitch);
}

/* The nearest latent of each by all cosines in float64. */
static void test_nearest(void **state)
{
    struct fixture *f = *state;
    artifact_id a = made_up(f, "small", 40, 1, (struct sae_choices){0}),
                b = made_up(f, "large", 90, 2, (struct sae_choices){0});
    struct stitch_options o = options_of(f, a, b);
    artifact_id stitch = make_stitch(f, "near", &o);
    struct store_txn *t = begin_reading(f->store);
    struct stitch_facts facts;
    struct stitch_latents l;
    struct sae *small, *large;
    assert_ok(sae_open(t, a, &small, &err));
    assert_ok(sae_open(t, b, &large, &err));
    assert_ok(stitch_facts_read(t, stitch, &facts, &err));
    assert_ok(stitch_latents_read(t, &facts, &l, &err));
    for (size_t i = 0; i < 90; i++) {
        double best = -2;
        uint32_t at = 0;
        for (size_t j = 0; j < 40; j++) {
            const float *x = sae_decoder_row(large, i), *y = sae_decoder_row(small, j);
            double product = 0;
            for (size_t k = 0; k < 256; k++)
                product += (double)x[k] * (double)y[k];
            product /= sqrt(vec_norm2(x, 256) * vec_norm2(y, 256));
            if (product > best) {
                best = product;
                at = (uint32_t)j;
            }
        }
        assert_int_equal(l.nearest[i], at);
        assert_float_equal(l.max_cosine[i], best, 1e-5);
    }
    store_end(t);
    sae_free(small);
    sae_free(large);
    stitch_latents_free(&l);
    stitch_facts_free(&facts);
    remove_artifact(f->store, a);
    remove_artifact(f->store, b);
}

/* ---- What is stored. ---- */

static void test_stored(void **state)
{
    struct fixture *f = *state;
    artifact_id a = made_up(f, "small", 40, 1, (struct sae_choices){0}),
                b = made_up(f, "large", 90, 2, (struct sae_choices){0}),
                c = made_up(f, "other", 40, 3, (struct sae_choices){0});
    struct stitch_options o = options_of(f, a, b);
    o.control = c;
    o.bias = STITCH_BIAS_INTERPOLATED;
    o.order = STITCH_ORDER_COSINE;
    o.threshold = 0.25;
    artifact_id first = make_stitch(f, "one", &o), second = make_stitch(f, "two", &o);
    struct store_txn *t = begin_reading(f->store);
    struct stitch_facts facts;
    struct stitch_path path;
    struct stitch_latents l, again;
    assert_int_equal(stitch_between(t, a, b), second);
    assert_int_equal(stitch_between(t, b, a), 0);
    assert_ok(stitch_facts_read(t, first, &facts, &err));
    assert_string_equal(facts.artifact.name, "one");
    assert_string_equal(facts.small_artifact.name, "small");
    assert_string_equal(facts.large_artifact.name, "large");
    assert_int_equal(facts.n_small, 40);
    assert_int_equal(facts.n_large, 90);
    assert_int_equal(facts.d_in, 256);
    assert_int_equal(facts.bias, STITCH_BIAS_INTERPOLATED);
    assert_int_equal(facts.order, STITCH_ORDER_COSINE);
    assert_float_equal(facts.threshold, 0.25, 0);
    assert_true(isnan(facts.small_theta) && isnan(facts.large_theta));
    assert_ok(stitch_latents_read(t, &facts, &l, &err));
    assert_ok(stitch_path_read(t, &facts, &path, &err));
    assert_int_equal(path.kinds[0], STEP_START);
    json *all = stitch_result_json(&facts, &path), *summary = stitch_result_json(&facts, NULL);
    assert_null(json_get(summary, "path"));
    assert_int_equal(json_length(json_get(all, "path")), path.n_steps + 1);
    assert_true(json_is_object(json_get(json_get(all, "controls"), "seed")));
    assert_string_equal(json_get_string(all, "small", ""), "small");
    json_free(all);
    json_free(summary);
    stitch_facts_free(&facts);
    /* The same seed gives the same. */
    assert_ok(stitch_facts_read(t, second, &facts, &err));
    assert_ok(stitch_latents_read(t, &facts, &again, &err));
    assert_memory_equal(l.delta, again.delta, l.n * sizeof(*l.delta));
    assert_memory_equal(l.max_cosine, again.max_cosine, l.n * sizeof(*l.max_cosine));
    stitch_facts_free(&facts);
    assert_int_equal(stitch_facts_read(t, a, &facts, &err), STATUS_REFUSED);
    assert_says("small is a sae, not a stitch");
    store_end(t);
    stitch_latents_free(&l);
    stitch_latents_free(&again);
    stitch_path_free(&path);
    /* The SAEs, the text and the control are referred to. */
    size_t removed;
    assert_int_equal(store_remove(f->store, c, 0, &removed, &err), STATUS_REFUSED);
    assert_says("one");
    remove_artifact(f->store, a);
    remove_artifact(f->store, b);
    remove_artifact(f->store, c);
    assert_int_equal(find_artifact(f->store, ARTIFACT_STITCH, "one"), 0);
}

/* A TopK SAE is scored in its threshold form, and the threshold is kept. */
static void test_topk(void **state)
{
    struct fixture *f = *state;
    artifact_id a = made_up(f, "small", 40, 1, (struct sae_choices){0}),
                b = made_up(f, "large", 90, 2, (struct sae_choices){.architecture = "topk"});
    struct stitch_options o = options_of(f, a, b);
    artifact_id stitch = make_stitch(f, "topk", &o);
    struct rows rows = read_rows(f, a);
    struct store_txn *t = begin_reading(f->store);
    struct stitch_facts facts;
    struct stitch_latents l;
    struct sparse_rows active = {0};
    struct sae *large;
    uint64_t fired = 0;
    uint32_t counts[90] = {0};
    assert_ok(stitch_facts_read(t, stitch, &facts, &err));
    assert_ok(stitch_latents_read(t, &facts, &l, &err));
    assert_ok(sae_open(t, b, &large, &err));
    assert_true(isnan(facts.small_theta) && facts.large_theta > 0);
    assert_ok(stitch_threshold_form(large, (double)(float)facts.large_theta, &err));
    assert_ok(sae_encode(large, rows.x, rows.n, &active, &err));
    for (size_t p = 0; p < active.offsets[rows.n]; p++)
        counts[active.latents[p]]++;
    for (size_t i = 0; i < 90; i++) {
        assert_in_range(l.fired[i], counts[i] ? counts[i] - 1 : 0, counts[i] + 1); /* θ has nine digits there */
        fired += l.fired[i];
    }
    /* All of this text is in the batches that θ comes from: k latents a token on average. */
    assert_float_equal((double)fired / (double)rows.n, 6, 0.6);
    store_end(t);
    free(rows.x);
    sparse_rows_free(&active);
    sae_free(large);
    stitch_latents_free(&l);
    stitch_facts_free(&facts);
    remove_artifact(f->store, a);
    remove_artifact(f->store, b);
}

/* ---- What is refused. ---- */

static void refuses(struct fixture *f, const struct stitch_options *o, int status, const char *says)
{
    artifact_id id;
    assert_ok(store_create(f->store, ARTIFACT_STITCH, "refused", 0, &id, &err));
    assert_int_equal(stitch_run(f->store, id, o, NULL, &err), status);
    assert_says(says);
    store_abandon(f->store, id);
    assert_int_equal(find_artifact(f->store, ARTIFACT_STITCH, "refused"), 0);
}

static void refuses_large(struct fixture *f, artifact_id small, struct sae_choices c, const char *says)
{
    artifact_id large = made_up(f, "unfit", 90, 2, c);
    struct stitch_options o = options_of(f, small, large);
    refuses(f, &o, STATUS_REFUSED, says);
    /* And the other way round. */
    o.small = large;
    o.large = small;
    refuses(f, &o, STATUS_REFUSED, c.model ? "another model" : says);
    remove_artifact(f->store, large);
}

static void test_unfit_saes(void **state)
{
    struct fixture *f = *state;
    artifact_id a = made_up(f, "small", 40, 1, (struct sae_choices){0}), model = import_demo_model(f->store, "twin");
    refuses_large(f, a, (struct sae_choices){.hook = "blocks.1.hook_resid_pre"}, "stitching needs one hook");
    refuses_large(f, a, (struct sae_choices){.model = model}, "different models");
    refuses_large(f, a, (struct sae_choices){.d_in = 128}, "d_in");
    refuses_large(f, a, (struct sae_choices){.context_size = 32}, "stitching needs the same contexts");
    refuses_large(f, a, (struct sae_choices){.no_bos = 1}, "without BOS");
    refuses_large(f, a, (struct sae_choices){.center = 1}, "centred");
    refuses_large(f, a, (struct sae_choices){.normalization = NORMALIZE_LAYER_NORM}, "layer_norm");
    artifact_id b = made_up(f, "large", 90, 2, (struct sae_choices){.model = model});
    struct stitch_options o = options_of(f, b, a);
    refuses(f, &o, STATUS_REFUSED, "text text holds another model's tokens");
    remove_artifact(f->store, a);
    remove_artifact(f->store, model);
}

static void test_unfit_options(void **state)
{
    struct fixture *f = *state;
    artifact_id a = made_up(f, "small", 40, 1, (struct sae_choices){0}),
                b = made_up(f, "large", 90, 2, (struct sae_choices){0});
    struct sae *sae = new_sae("jumprelu", 256, 8);
    sae->owned_W_dec[0] = 1;
    artifact_id meta = save_sae(f->store, "meta", sae, sae_manifest(NULL, 0, b));
    const double thresholds[] = {0, 1, -0.2, 1.5, NAN};
    struct stitch_options o = options_of(f, a, b);
    for (size_t i = 0; i < ARRAY_LENGTH(thresholds); i++) {
        o.threshold = thresholds[i];
        refuses(f, &o, STATUS_REFUSED, "between 0 and 1");
    }
    o = options_of(f, a, a);
    refuses(f, &o, STATUS_REFUSED, "the same");
    o = options_of(f, a, meta);
    refuses(f, &o, STATUS_REFUSED, "meta is a meta-SAE");
    o = options_of(f, meta, b);
    refuses(f, &o, STATUS_REFUSED, "meta is a meta-SAE");
    o = options_of(f, a, b);
    o.control = b;
    refuses(f, &o, STATUS_REFUSED, "the control is one of the two");
    o.control = made_up(f, "wide", 41, 5, (struct sae_choices){0});
    refuses(f, &o, STATUS_REFUSED, "the control wide has 41 latents");
    remove_artifact(f->store, o.control);
    sae_free(sae);
    remove_artifact(f->store, a);
    remove_artifact(f->store, b);
}

/* Stopped after so many questions, until it is not stopped any more. */
static void stop_everywhere(struct fixture *f, const struct stitch_options *o, struct monitor m)
{
    int stopped = 0, status = STATUS_FAILED;
    m.work_dir = test_directory;
    for (int questions = 0; status != STATUS_OK; questions += 1 + questions / 4) {
        artifact_id id;
        asks_before_cancel = looks_before_cancel = questions;
        assert_ok(store_create(f->store, ARTIFACT_STITCH, "stopped", 0, &id, &err));
        status = stitch_run(f->store, id, o, &m, &err);
        if (status == STATUS_OK) {
            remove_artifact(f->store, id);
            break;
        }
        assert_int_equal(status, STATUS_FAILED);
        assert_says("cancelled");
        store_abandon(f->store, id);
        assert_int_equal(find_artifact(f->store, ARTIFACT_STITCH, "stopped"), 0);
        stopped++;
    }
    assert_true(stopped > 3);
}

/* Wherever it is stopped, nothing is left that can be seen. */
static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    artifact_id a = made_up(f, "small", 40, 1, (struct sae_choices){0}),
                b = made_up(f, "large", 90, 2, (struct sae_choices){.architecture = "topk"});
    struct stitch_options o = options_of(f, a, b);
    stop_everywhere(f, &o, (struct monitor){.ask = cancel_later});
    stop_everywhere(f, &o, (struct monitor){.cancelled = cancelled_later});
    remove_artifact(f->store, a);
    remove_artifact(f->store, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_insertion), cmocka_unit_test(test_nearest),       cmocka_unit_test(test_stored),
        cmocka_unit_test(test_topk),            cmocka_unit_test(test_unfit_saes),    cmocka_unit_test(test_unfit_options),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, set_up_fixture, tear_down_fixture);
}
