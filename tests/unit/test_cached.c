/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cached activations: what the model gave for a text, written as npy and safetensors files and imported,
 * gives the index, the evaluation and the training rows that the text itself gives. And files that do not
 * fit.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cached.h"
#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/index.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "index_fixture.h"

static struct error err;

#define D_SAE 24

/* ---- The text's activations, once. ---- */
static float *rows; /* [n_contexts, FIXTURE_LENGTH, width] */
static uint32_t *ids;
static size_t n_contexts, width;

/* In the batches that the index reads: another cut gives other roundings. */
static void read_rows(const struct fixture *f)
{
    struct stream_options o = fixture_stream(f);
    struct stream_batch b;
    struct stream *st;
    size_t at = 0;
    assert_ok(stream_open(f->store, &o, &st, &err));
    n_contexts = stream_contexts(st);
    width = stream_width(st);
    rows = xreallocarray(NULL, n_contexts * FIXTURE_LENGTH * width, sizeof(*rows));
    ids = xreallocarray(NULL, n_contexts * FIXTURE_LENGTH, sizeof(*ids));
    for (;; at += b.n_tokens) {
        assert_ok(stream_next(st, &b, &err));
        if (!b.n_contexts)
            break;
        memcpy(rows + at * width, b.activations, b.n_tokens * width * sizeof(*rows));
        memcpy(ids + at, b.ids, b.n_tokens * sizeof(*ids));
    }
    assert_int_equal(at, n_contexts * FIXTURE_LENGTH);
    stream_close(st);
}

static int set_up(void **state)
{
    set_up_fixture(state);
    read_rows(*state);
    return 0;
}

static int tear_down(void **state)
{
    free(rows);
    free(ids);
    return tear_down_fixture(state);
}

/* npy, version 1.0. */
static char *write_npy(const char *name, const char *type, const char *shape, const void *data, size_t n)
{
    struct strbuf b = STRBUF_INIT, header = STRBUF_INIT;
    strbuf_addf(&header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    while ((10 + header.length + 1) % 64)
        strbuf_addc(&header, ' ');
    strbuf_addc(&header, '\n');
    strbuf_add(&b, "\x93NUMPY\x01\x00", 8);
    strbuf_addc(&b, (char)(header.length & 255));
    strbuf_addc(&b, (char)(header.length >> 8));
    strbuf_add(&b, header.data, header.length);
    strbuf_add(&b, data, n);
    char *path = write_test_file(name, b.data, b.length);
    strbuf_free(&b);
    strbuf_free(&header);
    return path;
}

static char *write_rows(const char *name)
{
    char shape[64];
    snprintf(shape, sizeof(shape), "%zu, %d, %zu", n_contexts, FIXTURE_LENGTH, width);
    return write_npy(name, "<f4", shape, rows, n_contexts * FIXTURE_LENGTH * width * sizeof(float));
}

/* int64, as torch has tokens. */
static char *write_ids(const char *name)
{
    size_t n = n_contexts * FIXTURE_LENGTH;
    int64_t *wide = xreallocarray(NULL, n, sizeof(*wide));
    char shape[64];
    for (size_t i = 0; i < n; i++)
        wide[i] = ids[i];
    snprintf(shape, sizeof(shape), "%zu, %d", n_contexts, FIXTURE_LENGTH);
    char *path = write_npy(name, "<i8", shape, wide, n * sizeof(*wide));
    free(wide);
    return path;
}

static artifact_id import(struct fixture *f, const char *name, const char *path, const char *tokens, int bos)
{
    const struct cached_import o = {.path = path,
                                    .tokens = tokens,
                                    .name = name,
                                    .hook = FIXTURE_HOOK,
                                    .model = f->model,
                                    .bos = bos,
                                    .replace = 1};
    artifact_id id = find_artifact(f->store, ARTIFACT_TEXT, name);
    if (!id)
        assert_ok(cached_import_run(f->store, &o, NULL, &id, &err));
    return id;
}

static artifact_id make_sae(struct fixture *f, const char *name)
{
    struct sae *sae = new_sae("jumprelu", width, D_SAE);
    struct rng r;
    artifact_id id = find_artifact(f->store, ARTIFACT_SAE, name);
    rng_seed(&r, 9, 0);
    if (!sae->threshold)
        sae->threshold = xcalloc(D_SAE, sizeof(float));
    for (size_t i = 0; i < D_SAE; i++) {
        float *row = sae->owned_W_enc + i * width;
        for (size_t j = 0; j < width; j++)
            row[j] = (float)rng_normal(&r);
        vec_scale((float)(1 / sqrt(vec_norm2(row, width))), row, width);
        memcpy(sae->owned_W_dec + i * width, row, width * sizeof(*row));
        sae->threshold[i] = 0.5F;
    }
    if (!id) {
        json *manifest = sae_manifest(FIXTURE_HOOK, f->model, 0);
        json_set(manifest, "context_size", json_new_integer(FIXTURE_LENGTH));
        json_set(manifest, "prepend_bos", json_new_boolean(1));
        json_set(manifest, "center_activations", json_new_boolean(0));
        id = save_sae(f->store, name, sae, manifest);
    }
    sae_free(sae);
    return id;
}

static int close_to(float a, float b)
{
    return fabsf(a - b) <= 1e-4F * (1 + fabsf(a));
}

/* The encoder multiplies other batches here and there: numbers agree, and firings but for those at a
 * threshold. */
static void check_same_index(struct fixture *f, artifact_id a, artifact_id b, int with_contexts)
{
    struct store_txn *t = begin_reading(f->store);
    struct index_columns x, y;
    assert_ok(index_columns_read(t, a, &x, &err));
    assert_ok(index_columns_read(t, b, &y, &err));
    /* Without tokens, only BOS at a context's start is known: others in it are counted. */
    assert_int_equal(y.tokens, with_contexts ? x.tokens : n_contexts * (FIXTURE_LENGTH - 1));
    assert_true(x.tokens <= y.tokens);
    for (size_t i = 0; i < x.n; i++) {
        struct latent_context *p, *q;
        struct label label;
        size_t n, m;
        assert_true(x.fired[i] > 0);
        assert_ok(index_contexts_read(t, a, i, &p, &n, &err));
        assert_ok(index_contexts_read(t, b, i, &q, &m, &err));
        assert_ok(store_label(t, b, i, &label, &err));
        if (!with_contexts) {
            assert_true(y.fired[i] + 1 >= x.fired[i]);
            assert_int_equal(m, 0);
            assert_null(label.text);
        } else {
            assert_true(abs((int)x.fired[i] - (int)y.fired[i]) <= 1);
            assert_true(close_to(x.max[i], y.max[i]) && fabsf(x.mean[i] - y.mean[i]) < 1e-2F);
            assert_true(n > 0 && m > 0);
            assert_int_equal(p[0].context, q[0].context);
            assert_int_equal(p[0].position, q[0].position);
            assert_true(close_to(p[0].activation, q[0].activation));
            assert_memory_equal(p[0].ids, q[0].ids, p[0].length * sizeof(*p[0].ids));
        }
        latent_contexts_free(p, n);
        latent_contexts_free(q, m);
    }
    index_columns_free(&x);
    index_columns_free(&y);
    store_end(t);
}

static void index_over(struct fixture *f, artifact_id sae, artifact_id text)
{
    const struct index_options o = {.saes = &sae, .n_saes = 1, .text = text, .seed = 4};
    assert_ok(index_run(f->store, &o, NULL, &err));
}

static void test_index(void **state)
{
    struct fixture *f = *state;
    char *path = write_rows("rows.npy"), *tokens = write_ids("ids.npy");
    artifact_id over_text = make_sae(f, "over-text"), over_cache = make_sae(f, "over-cache"),
                blind = make_sae(f, "blind");
    index_over(f, over_text, f->text);
    index_over(f, over_cache, import(f, "cache", path, tokens, 0));
    check_same_index(f, over_text, over_cache, 1);
    index_over(f, blind, import(f, "cache-blind", path, NULL, 1));
    check_same_index(f, over_text, blind, 0);

    struct store_txn *t = begin_reading(f->store);
    struct cached_facts facts;
    assert_ok(cached_facts_read(t, find_artifact(f->store, ARTIFACT_TEXT, "cache"), &facts, &err));
    assert_true(facts.is_cached && facts.has_tokens && facts.prepend_bos);
    assert_int_equal(facts.context_size, FIXTURE_LENGTH);
    assert_ok(cached_facts_read(t, f->text, &facts, &err));
    assert_false(facts.is_cached);
    store_end(t);
    free(path);
    free(tokens);
}

static void test_evaluate(void **state)
{
    struct fixture *f = *state;
    char *path = write_rows("rows.npy"), *tokens = write_ids("ids.npy");
    artifact_id sae = make_sae(f, "evaluated"), cache = import(f, "cache", path, tokens, 0);
    for (int held_out = 0; held_out < 2; held_out++) {
        struct evaluation x, y;
        struct evaluate_options o = {.sae = sae, .text = f->text, .held_out = held_out, .no_model = 1};
        assert_ok(evaluate_run(f->store, &o, NULL, &x, &err));
        o.text = cache;
        o.no_model = 0;
        assert_ok(evaluate_run(f->store, &o, NULL, &y, &err));
        assert_int_equal(x.tokens, y.tokens);
        assert_true(x.l0 > 0);
        assert_true(x.frac_alive == y.frac_alive);
        assert_true(fabs(x.l0 - y.l0) <= 1e-3 * x.l0 && fabs(x.l1 - y.l1) <= 1e-4 * x.l1);
        assert_true(fabs(x.mse - y.mse) <= 1e-4 * x.mse);
        assert_true(fabs(x.explained_variance - y.explained_variance) <= 1e-4);
        assert_true(isnan(y.ce_original) && isnan(y.kl_sae) && isnan(y.ce_loss_score));
        json *m = evaluation_metrics(&y);
        const json *performance = json_get(m, "model_performance_preservation");
        assert_true(json_is_object(performance));
        assert_int_equal(json_length(performance), 6);
        for (size_t i = 0; i < json_length(performance); i++)
            assert_true(json_is_null(json_value_at(performance, i)));
        json_free(m);
    }
    free(path);
    free(tokens);
}

static void assert_close(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(a[i] - b[i]) <= 1e-4F * (1 + fabsf(a[i])));
}

static void test_training_rows(void **state)
{
    struct fixture *f = *state;
    char *path = write_rows("rows.npy"), *tokens = write_ids("ids.npy");
    struct stream_options o = fixture_stream(f);
    struct batch_source *x, *y;
    size_t n = 500, held_x = 0, held_y = 0, chunk = 64 * FIXTURE_LENGTH;
    float *a = xreallocarray(NULL, chunk * width, sizeof(*a)),
          *b = xreallocarray(NULL, chunk * width, sizeof(*b));
    assert_ok(activation_source_open(f->store, &o, 1000, 7, NULL, &x, &err));
    o.text = import(f, "cache", path, tokens, 0);
    o.context_size = 10; /* the cache has its own */
    assert_ok(activation_source_open(f->store, &o, 1000, 7, NULL, &y, &err));
    for (int i = 0; i < 5; i++) {
        assert_ok(x->next(x, a, n, &err));
        assert_ok(y->next(y, b, n, &err));
        assert_close(a, b, n * width);
    }
    assert_ok(y->seek(y, n, &err));
    assert_ok(x->seek(x, n, &err));
    assert_ok(x->next(x, a, n, &err));
    assert_ok(y->next(y, b, n, &err));
    assert_close(a, b, n * width);
    assert_ok(x->held_out(x, 0, a, chunk, &held_x, &err));
    assert_ok(y->held_out(y, 0, b, chunk, &held_y, &err));
    assert_true(held_x > 0);
    assert_int_equal(held_x, held_y);
    assert_close(a, b, held_x * width);
    x->close(x);
    y->close(y);
    free(a);
    free(b);
    free(path);
    free(tokens);
}

/* Two axes, half precision, a last context that is not whole, safetensors with another tensor beside. */
static void test_forms(void **state)
{
    struct fixture *f = *state;
    const size_t n = 2 * FIXTURE_LENGTH + 5;
    struct strbuf b = STRBUF_INIT, header = STRBUF_INIT;
    uint16_t *half = xreallocarray(NULL, n * width, sizeof(*half));
    floats_to(DTYPE_F16, rows, half, n * width);
    strbuf_addf(&header,
                "{\"acts\":{\"dtype\":\"F16\",\"shape\":[%zu,%zu],\"data_offsets\":[0,%zu]},\"step\":{"
                "\"dtype\":\"I64\","
                "\"shape\":[1],\"data_offsets\":[%zu,%zu]}}",
                n, width, n * width * 2, n * width * 2, n * width * 2 + 8);
    while (header.length % 8)
        strbuf_addc(&header, ' ');
    for (int i = 0; i < 8; i++)
        strbuf_addc(&b, (char)(header.length >> 8 * i & 255));
    strbuf_add(&b, header.data, header.length);
    strbuf_add(&b, half, n * width * 2);
    strbuf_add(&b, "\0\0\0\0\0\0\0\0", 8);
    char *path = write_test_file("rows.safetensors", b.data, b.length);
    const struct cached_import o = {.path = path,
                                    .name = "half",
                                    .hook = FIXTURE_HOOK,
                                    .model = f->model,
                                    .context_size = FIXTURE_LENGTH,
                                    .replace = 1};
    struct stream_options so = fixture_stream(f);
    struct stream_batch batch;
    struct stream *st;
    assert_ok(cached_import_run(f->store, &o, NULL, &so.text, &err));
    assert_ok(stream_open(f->store, &so, &st, &err));
    assert_true(stream_is_cached(st));
    assert_false(stream_has_tokens(st));
    assert_int_equal(stream_contexts(st), 2);
    assert_ok(stream_next(st, &batch, &err));
    assert_int_equal(batch.n_contexts, 2);
    assert_int_equal(batch.n_counted, 2 * FIXTURE_LENGTH); /* none is known to be BOS */
    for (size_t i = 0; i < batch.n_tokens * width; i++) {
        float expected;
        floats_from(DTYPE_F16, &half[i], &expected, 1);
        assert_true(batch.activations[i] == expected);
    }
    const uint32_t second = 1;
    assert_ok(stream_at(st, &second, 1, &batch, &err));
    float expected;
    floats_from(DTYPE_F16, &half[FIXTURE_LENGTH * width], &expected, 1);
    assert_true(batch.activations[0] == expected);
    stream_close(st);
    free(half);
    free(path);
    strbuf_free(&b);
    strbuf_free(&header);
}

static int try_import(struct fixture *f, const char *path, const char *tokens, const char *hook, size_t size,
                      int bos)
{
    const struct cached_import o = {.path = path,
                                    .tokens = tokens,
                                    .name = "refused",
                                    .hook = hook,
                                    .model = f->model,
                                    .context_size = size,
                                    .bos = bos};
    artifact_id id;
    return cached_import_run(f->store, &o, NULL, &id, &err);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    float *x = xcalloc(300 * width, sizeof(*x));
    int64_t t[300] = {0};
    char shape[64];
    snprintf(shape, sizeof(shape), "300, %zu", width);
    x[7 * width + 3] = NAN;
    char *path = write_npy("nan.npy", "<f4", shape, x, 300 * width * sizeof(*x));
    assert_int_equal(try_import(f, path, NULL, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("row 7 has a number that is not finite");
    x[7 * width + 3] = -INFINITY;
    free(path);
    path = write_npy("inf.npy", "<f4", shape, x, 300 * width * sizeof(*x));
    assert_int_equal(try_import(f, path, NULL, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("row 7");
    x[7 * width + 3] = 0;
    free(path);
    path = write_npy("good.npy", "<f4", shape, x, 300 * width * sizeof(*x));
    assert_int_equal(try_import(f, path, NULL, FIXTURE_HOOK, 301, 0), STATUS_REFUSED);
    assert_says("300 rows are no whole context of 301");
    assert_int_equal(try_import(f, path, NULL, "blocks.99.hook_resid_pre", 64, 0), STATUS_REFUSED);

    char *tokens = write_npy("short.npy", "<i8", "299", t, 299 * sizeof(*t));
    assert_int_equal(try_import(f, path, tokens, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("300 rows need as many tokens");
    free(tokens);
    t[200] = -1;
    tokens = write_npy("negative.npy", "<i8", "300", t, sizeof(t));
    assert_int_equal(try_import(f, path, tokens, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("token 200 is -1");
    free(tokens);
    t[200] = 1 << 30;
    tokens = write_npy("large.npy", "<i8", "300", t, sizeof(t));
    assert_int_equal(try_import(f, path, tokens, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("another model's tokens");
    assert_int_equal(try_import(f, path, tokens, FIXTURE_HOOK, 64, 1), STATUS_USAGE);
    free(tokens);
    tokens = write_npy("grid.npy", "<i8", "3, 100", t, sizeof(t));
    assert_int_equal(try_import(f, path, tokens, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("contexts have 100 tokens, not 64");
    free(tokens);
    tokens = write_npy("floats.npy", "<f4", "300", x, 300 * sizeof(*x));
    assert_int_equal(try_import(f, path, tokens, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("0 tensors of integers");
    free(tokens);
    free(path);

    path = write_npy("narrow.npy", "<f4", "300, 2", x, 300 * 2 * sizeof(*x));
    assert_int_equal(try_import(f, path, NULL, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("rows of 2 numbers");
    free(path);
    path = write_npy("flat.npy", "<f4", "300,", x, 300 * sizeof(*x));
    assert_int_equal(try_import(f, path, NULL, FIXTURE_HOOK, 64, 0), STATUS_REFUSED);
    assert_says("[tokens, d_in]");
    free(path);
    free(x);
    assert_int_equal(find_artifact(f->store, ARTIFACT_TEXT, "refused"), 0);

    /* Another hook's. */
    path = write_rows("rows.npy");
    struct stream_options o = fixture_stream(f);
    struct stream *st;
    o.text = import(f, "cache", path, NULL, 0);
    o.hook = "blocks.1.hook_resid_pre";
    assert_int_equal(stream_open(f->store, &o, &st, &err), STATUS_REFUSED);
    assert_says("holds activations of blocks.2.hook_resid_pre, not of blocks.1.hook_resid_pre");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index), cmocka_unit_test(test_evaluate), cmocka_unit_test(test_training_rows),
        cmocka_unit_test(test_forms), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("cached", tests, set_up, tear_down);
}
