/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Indexes as others' files: what is exported and imported again for an SAE without a model shows the same;
 * files that were written by hand as Neuronpedia and SAEDashboard write them; and hostile ones.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/export_rows.h"
#include "saescope/analysis/import_records.h"
#include "saescope/analysis/index.h"
#include "saescope/analysis/index_exchange.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/files/gzip.h"
#include "saescope/files/json_items.h"
#include "saescope/files/json_lines.h"
#include "index_fixture.h"

static struct error err;

#define D_SAE 20 /* more than one chunk; the last never fires */

static struct sae *made_up_sae(size_t d)
{
    struct sae *sae = new_sae("jumprelu", d, D_SAE);
    struct rng r;
    rng_seed(&r, 3, 0);
    if (!sae->threshold)
        sae->threshold = xcalloc(D_SAE, sizeof(float));
    for (size_t i = 0; i < D_SAE; i++) {
        float *row = sae->owned_W_enc + i * d;
        for (size_t j = 0; j < d; j++)
            row[j] = (float)rng_normal(&r);
        vec_scale((float)(1 / sqrt(vec_norm2(row, d))), row, d);
        memcpy(sae->owned_W_dec + i * d, row, d * sizeof(*row));
        sae->threshold[i] = i + 1 < D_SAE ? 0.5F + 0.05F * (float)i : 1e9F;
    }
    return sae;
}

/* The SAE "own" with its index, and "bare": the same weights, which know no model. */
static void make_saes(struct fixture *f, artifact_id *own, artifact_id *bare)
{
    *own = find_artifact(f->store, ARTIFACT_SAE, "own");
    *bare = find_artifact(f->store, ARTIFACT_SAE, "bare");
    if (*own)
        return;
    struct stream_options o = fixture_stream(f);
    struct stream *st;
    assert_ok(stream_open(f->store, &o, &st, &err));
    struct sae *sae = made_up_sae(stream_width(st));
    stream_close(st);
    for (int i = 0; i < 2; i++) {
        json *manifest = sae_manifest(FIXTURE_HOOK, i ? 0 : f->model, 0);
        json_set(manifest, "context_size", json_new_integer(FIXTURE_LENGTH));
        json_set(manifest, "prepend_bos", json_new_boolean(1));
        json_set(manifest, "center_activations", json_new_boolean(0));
        *(i ? bare : own) = save_sae(f->store, i ? "bare" : "own", sae, manifest);
    }
    sae_free(sae);
    const struct index_options io = {.saes = own, .n_saes = 1, .text = f->text, .seed = 5};
    assert_ok(index_run(f->store, &io, NULL, &err));
}

static void check_statistics(struct store_txn *t, artifact_id a, artifact_id b)
{
    struct index_columns x, y;
    assert_ok(index_columns_read(t, a, &x, &err));
    assert_ok(index_columns_read(t, b, &y, &err));
    assert_int_equal(x.n, y.n);
    assert_true(x.tokens > 0);
    assert_int_equal(x.tokens, y.tokens);
    assert_memory_equal(x.fired, y.fired, x.n * sizeof(*x.fired));
    assert_memory_equal(x.max, y.max, x.n * sizeof(*x.max));
    assert_memory_equal(x.min, y.min, x.n * sizeof(*x.min));
    assert_memory_equal(x.mean, y.mean, x.n * sizeof(*x.mean));
    assert_int_equal(x.fired[D_SAE - 1], 0);
    assert_true(x.fired[0] > 0);
    index_columns_free(&x);
    index_columns_free(&y);
}

/* Contexts with the tokens' texts; numbers: whether the file kept what a context was called. */
static void check_contexts(struct store_txn *t, const struct tokenizer *tok, artifact_id a, artifact_id b,
                           size_t latent, int numbers)
{
    struct latent_context *x, *y;
    size_t n, m;
    assert_ok(index_contexts_read(t, a, latent, &x, &n, &err));
    assert_ok(index_contexts_read(t, b, latent, &y, &m, &err));
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        if (numbers)
            assert_int_equal(x[i].context, y[i].context);
        assert_int_equal(x[i].position, y[i].position);
        assert_int_equal(x[i].interval, y[i].interval);
        assert_true(x[i].activation == y[i].activation);
        assert_int_equal(x[i].length, y[i].length);
        assert_memory_equal(x[i].activations, y[i].activations, x[i].length * sizeof(float));
        assert_non_null(x[i].ids);
        assert_null(y[i].ids);
        for (size_t j = 0; j < x[i].length; j++) {
            struct strbuf repaired = STRBUF_INIT, given = STRBUF_INIT;
            size_t length;
            const void *bytes = latent_context_token(&x[i], tok, j, &length);
            json_dump_string(&repaired, bytes, length); /* what is no UTF-8 is lost on the way */
            bytes = latent_context_token(&y[i], NULL, j, &length);
            json_dump_string(&given, bytes, length);
            assert_string_equal(repaired.data, given.data);
            strbuf_free(&repaired);
            strbuf_free(&given);
        }
    }
    latent_contexts_free(x, n);
    latent_contexts_free(y, m);
}

static void check_logits(struct store_txn *t, const struct model *m, artifact_id a, artifact_id b,
                         size_t latent)
{
    struct latent_logits x, y;
    struct opened_sae own;
    struct hook hook;
    assert_ok(opened_sae_open(t, a, &own, &err));
    assert_ok(hook_parse(model_get_config(m), FIXTURE_HOOK, &hook, &err));
    assert_ok(latent_logits(m, own.sae, &hook, latent, 10, 0, &x, &err));
    assert_ok(index_logits_read(t, b, latent, &y, &err));
    assert_int_equal(y.n_positive, 10);
    assert_int_equal(y.n_negative, 10);
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < 10; i++) {
            const struct token_logit *p = side ? &x.negative[i] : &x.positive[i],
                                     *q = side ? &y.negative[i] : &y.positive[i];
            assert_true(fabsf(p->value - q->value) <= 1e-5F * (1 + fabsf(p->value)));
            assert_int_equal(q->id, TOKEN_NONE);
        }
    latent_logits_free(&y);
    opened_sae_close(&own);
}

static void check_same(struct fixture *f, artifact_id own, artifact_id bare, int numbers)
{
    struct store_txn *t = begin_reading(f->store);
    struct model *m;
    assert_ok(model_open(t, f->model, &m, &err));
    assert_ok(model_attach(m, t, &err));
    check_statistics(t, own, bare);
    for (size_t i = 0; i < D_SAE; i++) {
        struct index_histogram x, y;
        assert_ok(index_histogram_read(t, own, i, &x, &err));
        assert_ok(index_histogram_read(t, bare, i, &y, &err));
        assert_memory_equal(x.counts, y.counts, sizeof(x.counts));
        assert_memory_equal(x.edges, y.edges, sizeof(x.edges));
        check_contexts(t, model_tokenizer(m), own, bare, i, numbers);
        if (i + 1 < D_SAE)
            check_logits(t, m, own, bare, i);
    }
    model_free(m);
    store_end(t);
}

static void test_round_trip(void **state)
{
    static const struct {
        enum index_form form;
        int compress;
        size_t batch;
    } ways[] = {{INDEX_NEURONPEDIA, 0, 0},
                {INDEX_NEURONPEDIA, 1, 7},
                {INDEX_SAEDASHBOARD, 0, 0},
                {INDEX_SAEDASHBOARD, 0, 7}};
    struct fixture *f = *state;
    artifact_id own, bare;
    make_saes(f, &own, &bare);
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        char *directory = xasprintf("%s/way-%zu", test_directory, i);
        struct index_export o = {own,           directory, ways[i].form, ways[i].compress && gzip_supported(),
                                 ways[i].batch, 0};
        struct index_exported made;
        struct index_imported read;
        struct index_import im = {bare, directory, -1, 0, i > 0};
        int neuronpedia = ways[i].form == INDEX_NEURONPEDIA;
        size_t batches = ways[i].batch ? (D_SAE + 6) / 7 : 1;
        assert_ok(index_export_run(f->store, &o, NULL, &made, &err));
        assert_int_equal(made.latents, neuronpedia ? D_SAE : D_SAE - 1);
        assert_int_equal(made.files, (neuronpedia ? 3 : 1) * batches + 1);
        assert_ok(index_import_run(f->store, &im, NULL, &read, &err));
        assert_int_equal(read.latents, made.latents);
        assert_int_equal(read.contexts, made.contexts);
        check_same(f, own, bare, neuronpedia);
        /* Again into the same place. */
        assert_int_equal(index_export_run(f->store, &o, NULL, &made, &err), STATUS_REFUSED);
        assert_says("has batches already");
        o.replace = 1;
        o.batch = 15;
        assert_ok(index_export_run(f->store, &o, NULL, &made, &err));
        im.replace = 0;
        assert_int_equal(index_import_run(f->store, &im, NULL, &read, &err), STATUS_REFUSED);
        assert_says("has an index already");
        im.replace = 1;
        assert_ok(index_import_run(f->store, &im, NULL, &read, &err));
        check_same(f, own, bare, neuronpedia);
        free(directory);
    }
    assert_int_equal(verify_store("store").n, 0);
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    struct monitor m = {.ask = cancel_later};
    artifact_id own, bare;
    struct index_exported made;
    struct batch_files files;
    char *directory = test_path("cancelled"), *features = test_path("cancelled/features");
    make_saes(f, &own, &bare);
    struct index_export o = {.sae = own, .directory = directory, .batch = 16};
    asks_before_cancel = 1; /* the first batch is whole by then */
    assert_int_equal(index_export_run(f->store, &o, &m, &made, &err), STATUS_FAILED);
    assert_says("cancelled");
    assert_ok(batch_files_find(features, json_lines_endings, &files, &err));
    assert_int_equal(files.n, 0);
    batch_files_free(&files);
    free(directory);
    free(features);
}

/* ---- Files of others. ---- */

static void clear(const char *name)
{
    static const char *const folders[] = {"", "/features", "/activations"};
    char *path = test_path(name);
    assert_ok(remove_tree(path, &err));
    for (size_t i = 0; i < ARRAY_LENGTH(folders); i++) {
        char *folder = xasprintf("%s%s", path, folders[i]);
        assert_ok(make_directories(folder, 0777, &err));
        free(folder);
    }
    free(path);
}

static int import(struct fixture *f, artifact_id sae, const char *name, int form, uint64_t tokens,
                  struct index_imported *out)
{
    char *directory = test_path(name);
    const struct index_import o = {sae, directory, form, tokens, 1};
    int status = index_import_run(f->store, &o, NULL, out, &err);
    free(directory);
    return status;
}

/* Every member that Neuronpedia's exports have, with bars of 4 bins; index once a string and once a number.
 */
#define FEATURE                                                                                              \
    "{\"modelId\":\"gpt2-small\",\"layer\":\"8-res_fs49152-jb\",\"index\":\"3\",\"creatorId\":\"cl1\","      \
    "\"createdAt\":"                                                                                         \
    "\"2024-05-06T07:08:09.000Z\",\"maxActApprox\":8.5,\"hasVector\":false,\"vector\":[],\"vectorLabel\":"   \
    "null,"                                                                                                  \
    "\"vectorDefaultSteerStrength\":null,\"hookName\":null,\"topkCosSimIndices\":[5,6],"                     \
    "\"topkCosSimValues\":"                                                                                  \
    "[0.5,0.25],\"neuron_alignment_indices\":[1,2,3],\"neuron_alignment_values\":[0.3,0.2,0.1],"             \
    "\"neuron_alignment_l1\":[0.03,0.02,0.01],\"correlated_neurons_indices\":[1],\"correlated_neurons_"      \
    "pearson\":"                                                                                             \
    "[0.1],\"correlated_neurons_l1\":[0.1],\"correlated_features_indices\":[],\"correlated_features_"        \
    "pearson\":[],"                                                                                          \
    "\"correlated_features_l1\":[],\"neg_str\":[\" "                                                         \
    "no\",\"\\u0120\"],\"neg_values\":[-1.5,-1.25],\"pos_str\":"                                             \
    "[\" "                                                                                                   \
    "caf\\u00e9\"],\"pos_values\":[2.5],\"frac_nonzero\":0.0125,\"freq_hist_data_bar_heights\":[40,6,3,1],"  \
    "\"freq_hist_data_bar_values\":[1.5,3.5,5.5,7.5],\"logits_hist_data_bar_heights\":[1,2],"                \
    "\"logits_hist_data_bar_values\":[-1,1],\"decoder_weights_dist\":[],\"sourceSetName\":\"res_fs49152-"    \
    "jb\"}\n"

#define ACTIVATION(index, tokens, values, low, high, contains, at)                                           \
    "{\"id\":\"x\",\"tokens\":" tokens ",\"index\":" index                                                   \
    ",\"layer\":\"8-res_fs49152-jb\",\"modelId\":\"gpt2-small\",\"maxValue\":9,\"maxValueTokenIndex\":0,"    \
    "\"minValue\":0,\"values\":" values ",\"creatorId\":\"cl1\",\"dataSource\":null,\"dataIndex\":null,"     \
    "\"dfaValues\":[],\"dfaTargetIndex\":null,\"dfaMaxValue\":null,\"createdAt\":\"2024\",\"lossValues\":[]" \
    ","                                                                                                      \
    "\"logitContributions\":null,\"binMin\":" low ",\"binMax\":" high ",\"binContains\":" contains           \
    ",\"qualifyingTokenIndex\":" at "}\n"

static void put_neuronpedia(void)
{
    clear("np");
    put_test_file("np/features/batch-0.jsonl", FEATURE);
    put_test_file("np/activations/batch-0.jsonl",
                  ACTIVATION("\"3\"", "[\"a\",\" b\"]", "[0,2.5]", "-1", "8.5", "-1", "null") ACTIVATION(
                      "3", "[\"a\",\" b\",\"\\n\"]", "[8.5,0.25,-3]", "null", "null", "null", "1")
                      ACTIVATION("\"3\"", "[\"x\",\"y\",\"z\"]", "[4.0,6.0,0]", "3.4", "5.1", "0.125", "0")
                          ACTIVATION("\"3\"", "[\"x\",\"y\"]", "[0,0]", "-1", "8.5", "-1", "0")
                              ACTIVATION("\"7\"", "[\"x\",\"y\"]", "[0,0.5]", "-1", "0.5", "-1", "1"));
}

static void check_texts(const struct latent_context *c, const char *expected)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < c->length; i++) {
        size_t n;
        const void *bytes = latent_context_token(c, NULL, i, &n);
        strbuf_addc(&b, '|');
        strbuf_add(&b, bytes, n);
    }
    assert_string_equal(strbuf_string(&b), expected);
    strbuf_free(&b);
}

static void test_neuronpedia(void **state)
{
    struct fixture *f = *state;
    artifact_id own, bare;
    struct index_imported read;
    struct index_columns c;
    struct index_histogram h;
    struct latent_context *x;
    struct latent_logits logits;
    size_t n;
    make_saes(f, &own, &bare);
    put_neuronpedia();
    assert_ok(import(f, bare, "np", -1, 0, &read));
    assert_int_equal(read.latents, 1);
    assert_int_equal(read.contexts, 4);
    assert_int_equal(read.tokens, 4000); /* 50 firings / 0.0125 */

    struct store_txn *t = begin_reading(f->store);
    assert_ok(index_columns_read(t, bare, &c, &err));
    assert_int_equal(c.fired[3], 50);
    assert_true(c.max[3] == 8.5F && c.min[3] == 0.5F);
    assert_true(fabs((double)c.mean[3] - (40 * 1.5 + 6 * 3.5 + 3 * 5.5 + 7.5) / 50) < 1e-6);
    assert_int_equal(c.fired[7], 1); /* no row: what its contexts show */
    assert_true(c.max[7] == 0.5F);
    assert_int_equal(c.fired[0], 0);
    index_columns_free(&c);

    /* Bars of [0.5, 2.5), …, [6.5, 8.5] in bins of 0.16, each by its middle. */
    assert_ok(index_histogram_read(t, bare, 3, &h, &err));
    for (int i = 0; i < INDEX_BINS; i++)
        assert_int_equal(h.counts[i], i == 6 ? 40 : i == 18 ? 6 : i == 31 ? 3 : i == 43 ? 1 : 0);

    assert_ok(index_contexts_read(t, bare, 3, &x, &n, &err));
    assert_int_equal(n, 3);
    check_texts(&x[0], "|a| b|\n");
    assert_true(x[0].activation == 8.5F && x[0].position == 0 && x[0].interval == -1);
    assert_true(x[0].activations[2] == 0);
    check_texts(&x[1], "|a| b");
    assert_true(x[1].activation == 2.5F && x[1].position == 1 && x[1].interval == -1);
    check_texts(&x[2], "|x|y|z");
    assert_true(x[2].activation == 4 && x[2].position == 0 && x[2].interval == 2); /* (3.4, 5.1] of 8.5 */
    latent_contexts_free(x, n);

    assert_ok(index_logits_read(t, bare, 3, &logits, &err));
    assert_int_equal(logits.n_positive, 1);
    assert_int_equal(logits.n_negative, 2);
    assert_true(logits.positive[0].value == 2.5F && logits.negative[1].value == -1.25F);
    assert_memory_equal(token_logit_text(&logits.positive[0], NULL, &n), " caf\xc3\xa9", 6);
    assert_int_equal(n, 6);
    latent_logits_free(&logits);
    store_end(t);
}

/* As SAEDashboard writes it: frac_nonzero rounded, the qualifying token one too low, contexts inside. */
static void test_dashboard(void **state)
{
    static const char text[] =
        "{\"model_id\": \"gpt2-small\", \"layer\": 8, \"sae_set\": \"res-jb\", \"note\": \"features\", "
        "\"features\": [\n"
        "{\"feature_index\": 0, \"neuron_alignment_indices\": [], \"pos_str\": [\"}\\\"]\"], \"pos_values\": "
        "[1.5], "
        "\"neg_str\": [], \"neg_values\": [], \"frac_nonzero\": 0.0026, \"freq_hist_data_bar_values\": "
        "[0.25, 0.75],\n"
        "\"freq_hist_data_bar_heights\": [1.0, 2.0], \"logits_hist_data_bar_heights\": [], "
        "\"n_prompts_total\": 12, \"n_tokens_in_prompt\": 100, \"dataset\": \"pile\", \"activations\": [\n"
        "{\"bin_min\": -1, \"bin_max\": 0.9, \"bin_contains\": -1, \"tokens\": [\"{\", \"b\"], \"values\": "
        "[0.1, 0.9], "
        "\"qualifying_token_index\": 0, \"dfa_values\": null},\n"
        "{\"bin_min\": 0.0, \"bin_max\": 0.2, \"bin_contains\": 0.5, \"tokens\": [\"[\", \"b\"], \"values\": "
        "[0.1, 0.9], "
        "\"qualifying_token_index\": 0}]},\n"
        "{\"feature_index\": 1, \"frac_nonzero\": 0, \"activations\": []}\n"
        "], \"after\": {\"features\": [{\"feature_index\": 99}]}}\n";
    struct fixture *f = *state;
    artifact_id own, bare;
    struct index_imported read;
    struct index_columns c;
    struct latent_context *x;
    struct latent_logits logits;
    size_t n;
    make_saes(f, &own, &bare);
    clear("sd");
    char *folder = test_path("sd/features");
    assert_ok(remove_tree(folder, &err));
    free(folder);
    put_test_file("sd/batch-0.json", text);
    put_test_file("sd/batch-10.json", "{\"features\":[]}");
    put_test_file("sd/skipped_indexes.json", "{}");
    assert_ok(import(f, bare, "sd", -1, 0, &read));
    assert_int_equal(read.latents, 2);
    assert_int_equal(read.contexts, 2);
    assert_int_equal(read.tokens, 1200);
    struct store_txn *t = begin_reading(f->store);
    assert_ok(index_columns_read(t, bare, &c, &err));
    assert_int_equal(c.fired[0], 3);
    assert_int_equal(c.fired[1], 0);
    assert_true(c.max[0] == 1 && c.min[0] == 0);
    index_columns_free(&c);
    assert_ok(index_contexts_read(t, bare, 0, &x, &n, &err));
    assert_int_equal(n, 2);
    assert_true(x[0].interval == -1 && x[0].position == 1 && x[0].activation == 0.9F);
    assert_true(x[1].interval == 0 && x[1].position == 0 && x[1].activation == 0.1F);
    check_texts(&x[1], "|[|b");
    latent_contexts_free(x, n);
    assert_ok(index_logits_read(t, bare, 0, &logits, &err));
    assert_int_equal(logits.n_positive, 1);
    assert_memory_equal(token_logit_text(&logits.positive[0], NULL, &n), "}\"]", 3);
    latent_logits_free(&logits);
    store_end(t);
}

/* Counts without bars need the tokens. */
static void test_tokens(void **state)
{
    struct fixture *f = *state;
    artifact_id own, bare;
    struct index_imported read;
    struct index_columns c;
    make_saes(f, &own, &bare);
    clear("fractions");
    put_test_file("fractions/features/batch-0.jsonl",
                  "{\"index\":2,\"frac_nonzero\":0.25}\n{\"index\":4,\"frac_nonzero\":0}\n");
    assert_int_equal(import(f, bare, "fractions", -1, 0, &read), STATUS_REFUSED);
    assert_says("--tokens N");
    assert_ok(import(f, bare, "fractions", -1, 1000, &read));
    struct store_txn *t = begin_reading(f->store);
    assert_ok(index_columns_read(t, bare, &c, &err));
    assert_int_equal(c.tokens, 1000);
    assert_int_equal(c.fired[2], 250);
    assert_true(isnan(c.mean[2]));
    assert_int_equal(c.fired[4], 0);
    index_columns_free(&c);
    store_end(t);
    put_neuronpedia();
    assert_int_equal(import(f, bare, "np", -1, 49, &read), STATUS_REFUSED);
    assert_says("--tokens 49 is too few");
}

static void test_hostile(void **state)
{
    static const struct {
        const char *feature, *activation, *says;
    } cases[] = {
        {"{\"index\":20}\n", "", "latent 20 is not in 0 ... 19"},
        {"{\"index\":\"18446744073709551616\"}\n", "", "no latent's number"},
        {"{\"index\":1}\n{\"index\":1}\n", "", "batch-0.jsonl:2: latent 1 has a row already"},
        {"{\"index\":1,\"maxActApprox\":\"8\"}\n", "", "maxActApprox is no finite number"},
        {"{\"index\":1,\"maxActApprox\":1e300}\n", "", "maxActApprox is no finite number"},
        {"{\"index\":1,\"frac_nonzero\":1.5}\n", "", "frac_nonzero is not between 0 and 1"},
        {"{\"index\":1,\"freq_hist_data_bar_heights\":[1]}\n", "", "one height a bar"},
        {"{\"index\":1,\"freq_hist_data_bar_heights\":[-1],\"freq_hist_data_bar_values\":[1]}\n", "",
         "are no counts"},
        {"{\"index\":1,\"freq_hist_data_bar_heights\":[1,2],\"freq_hist_data_bar_values\":[2,1]}\n", "",
         "do not ascend"},
        {"{\"index\":1,\"freq_hist_data_bar_heights\":[4e9,4e9],\"freq_hist_data_bar_values\":[1,2]}\n", "",
         "are too large"},
        {"{\"index\":1,\"freq_hist_data_bar_heights\":{},\"freq_hist_data_bar_values\":[1]}\n", "",
         "is no list"},
        {"{\"index\":1,\"pos_str\":[\"a\"],\"pos_values\":[]}\n", "", "one value a token"},
        {"{\"index\":1,\"pos_str\":[1],\"pos_values\":[1]}\n", "", "something else than texts"},
        {"{\"index\":1,\"pos_str\":\"ab\",\"pos_values\":[1,2]}\n", "", "is no list"},
        {"{\"index\":1,\"saescope\":{\"fired\":-1}}\n", "", "fired is no count"},
        {"{\"index\":1,\"saescope\":{\"fired\":4294967296}}\n", "", "fired is no count"},
        {"{\"index\":1,\"pos_str\":[\"\xff\"],\"pos_values\":[1]}\n", "", "batch-0.jsonl:1"},
        {"{}\n", "", "no latent's number"},
        {"{\"index\":1}\n", "{\"index\":1}\n", "tokens are no list"},
        {"{\"index\":1}\n", "{\"index\":1,\"tokens\":[\"a\"],\"values\":[1,2]}\n", "are not one a token"},
        {"{\"index\":1}\n", "{\"index\":1,\"tokens\":[7],\"values\":[1]}\n", "something else than texts"},
        {"{\"index\":1}\n", "{\"index\":1,\"tokens\":[\"a\"],\"values\":[null]}\n",
         "else than finite numbers"},
        {"{\"index\":1}\n", "{\"index\":1,\"tokens\":[\"a\"],\"values\":[1],\"binMin\":\"x\"}\n",
         "binMin is no finite"},
        {"{\"index\":1}\n", "{\"index\":1,\"tokens\":[\"a\"],\"values\":[1],\"layer\":\"9\"}\n",
         "import them apart"},
        {"{\"index\":1}\n", "{\"index\":99,\"tokens\":[],\"values\":[]}\n", "batch-0.jsonl:1: latent 99"},
        {"", "", NULL},
    };
    struct fixture *f = *state;
    artifact_id own, bare;
    struct index_imported read;
    make_saes(f, &own, &bare);
    put_neuronpedia();
    assert_ok(import(f, bare, "np", -1, 0, &read));
    struct store_txn *t = begin_reading(f->store);
    artifact_id before = store_index_of(t, bare);
    store_end(t);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        clear("bad");
        put_test_file("bad/features/batch-0.jsonl", cases[i].feature);
        put_test_file("bad/activations/batch-0.jsonl", cases[i].activation);
        if (!cases[i].says)
            continue;
        assert_int_equal(import(f, bare, "bad", -1, 100, &read), STATUS_REFUSED);
        assert_says(cases[i].says);
        t = begin_reading(f->store);
        assert_int_equal(store_index_of(t, bare), before); /* the index that was there still is */
        store_end(t);
    }
    assert_int_equal(import(f, bare, "nowhere", -1, 0, &read), STATUS_REFUSED);
    assert_says("no such directory");
    assert_int_equal(import(f, bare, "bad", INDEX_SAEDASHBOARD, 0, &read), STATUS_REFUSED);
    assert_says("neither features/batch-N.jsonl");
    /* A context that is longer than positions can tell. */
    struct strbuf b = STRBUF_INIT;
    strbuf_adds(&b, "{\"index\":1,\"tokens\":[],\"values\":[0");
    for (size_t i = 0; i < 65536; i++)
        strbuf_adds(&b, ",0");
    strbuf_adds(&b, "]}\n");
    put_test_file("bad/activations/batch-0.jsonl", b.data);
    put_test_file("bad/features/batch-0.jsonl", "{\"index\":1}\n");
    assert_int_equal(import(f, bare, "bad", -1, 0, &read), STATUS_REFUSED);
    assert_says("values is too long");
    strbuf_free(&b);
    assert_int_equal(verify_store("store").n, 0);
}

static void pack(struct pending_records *p, size_t latent, uint32_t context, float activation,
                 unsigned char interval)
{
    record_add_context(&p->contexts[latent],
                       &(struct record_context){context, activation, context % 7, 2, interval});
    record_add_pair(&p->contexts[latent], context % 7, activation);
    record_add_pair(&p->contexts[latent], 9, 0.25F);
}

/* Contexts of a latent that come in several pieces are one record, in its order. */
static void test_pieces(void **state)
{
    static const uint32_t order[] = {4, 0, 5, 1, 3, 2}; /* top by strength, then intervals 3 and 0 */
    struct fixture *f = *state;
    struct pending_records p = {0};
    artifact_id index;
    const void *data;
    size_t n;
    assert_ok(store_create(f->store, ARTIFACT_INDEX, NULL, 0, &index, &err));
    assert_ok(pending_init(&p, 700, &err));
    pack(&p, 600, 0, 3, RECORD_INTERVAL_TOP);
    pack(&p, 600, 1, 1, RECORD_INTERVAL_TOP);
    pack(&p, 600, 2, 0.5F, 0);
    pack(&p, 5, 6, 1, RECORD_INTERVAL_TOP);
    assert_ok(pending_flush(&p, f->store, index, NULL, &err));
    pack(&p, 600, 3, 2, 3);
    pack(&p, 600, 4, 4, RECORD_INTERVAL_TOP);
    assert_ok(pending_flush(&p, f->store, index, NULL, &err));
    pack(&p, 600, 5, 3, RECORD_INTERVAL_TOP); /* as strong as 0, and later */
    assert_ok(pending_flush(&p, f->store, index, NULL, &err));
    pending_free(&p);

    struct store_txn *t = begin_reading(f->store);
    assert_ok(store_record(t, index, RECORD_CONTEXTS, 600, &data, &n, &err));
    const unsigned char *bytes = data;
    assert_int_equal(n, 4 + 6 * (RECORD_CONTEXT_BYTES + 2 * RECORD_PAIR_BYTES));
    assert_int_equal(bytes[0], 6);
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++)
        assert_int_equal(bytes[4 + i * (RECORD_CONTEXT_BYTES + 2 * RECORD_PAIR_BYTES)], order[i]);
    assert_ok(store_record(t, index, RECORD_CONTEXTS, 5, &data, &n, &err));
    assert_int_equal(n, 4 + RECORD_CONTEXT_BYTES + 2 * RECORD_PAIR_BYTES);
    store_end(t);
    store_abandon(f->store, index);
}

static void test_items(void **state)
{
    static const struct {
        const char *text, *says; /* NULL: good, with two objects */
    } cases[] = {
        {"{\"features\":[{\"a\":[{}]},{\"b\":\"]}\\\"{\"}]}", NULL},
        {" {\"x\":[1,{\"features\":[]}],\"features\" : [ {} , {} ] , \"y\":1}\n", NULL},
        {"", "no JSON object"},
        {"[]", "no JSON object"},
        {"{}", "no JSON object"},
        {"{\"features\":{}}", "no JSON object"},
        {"{\"features\":[1]}", "no JSON object"},
        {"{\"features\":[{}", "ends too early"},
        {"{\"features\":[{}]", "ends too early"},
        {"{\"features\":[{\"a\":\"", "ends too early"},
        {"{\"features\":[{]}", "item 0"},
        {"{\"features\":[{\"a\":}]}", "item 0"},
        {"{\"features\":[{},{\"a\":1,\"a\":2}]}", "item 1"},
        {"{\"features\":[]} x", "no JSON object"},
        {"}", "no JSON object"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct json_items *items;
        json *value = NULL;
        size_t n = 0;
        char *path = write_test_file("items.json", cases[i].text, strlen(cases[i].text));
        assert_ok(json_items_open(path, "features", &items, &err));
        int status;
        while (!(status = json_items_next(items, &value, &err)) && value) {
            json_free(value);
            n++;
        }
        json_items_close(items);
        free(path);
        assert_int_equal(status, cases[i].says ? STATUS_REFUSED : STATUS_OK);
        if (cases[i].says)
            assert_says(cases[i].says);
        else
            assert_int_equal(n, 2);
    }
}

/* ---- What the rows say, against sums by hand. ---- */

static void test_computed(void **state)
{
    static const float row[] = {0.5F, -2, 1, 0, -0.5F, 1};
    struct export_latent l = {0};
    (void)state;
    export_align(row, ARRAY_LENGTH(row), &l);
    assert_int_equal(l.n_aligned, 3);
    assert_int_equal(l.aligned[0], 1);
    assert_int_equal(l.aligned[1], 2); /* of equal ones the first */
    assert_int_equal(l.aligned[2], 5);
    assert_true(l.aligned_values[0] == -2 && l.aligned_l1[0] == 0.4F && l.aligned_l1[2] == 0.2F);
    export_align(row, 2, &l);
    assert_int_equal(l.n_aligned, 2);

    float logits[1000];
    for (size_t i = 0; i < ARRAY_LENGTH(logits); i++)
        logits[i] = (float)((i * 617) % 1000) / 100;
    export_logits(logits, ARRAY_LENGTH(logits), &l);
    uint32_t all = 0;
    for (size_t i = 0; i < EXPORT_LOGIT_BINS; i++) {
        assert_true(l.logit_heights[i] >= 19 &&
                    l.logit_heights[i] <= 21); /* uniform, but for rounding at edges */
        all += l.logit_heights[i];
    }
    assert_int_equal(all, 1000);
    assert_true(fabs(l.logit_edges[0]) < 1e-12 && fabs(l.logit_edges[50] - 9.99) < 1e-6);
    assert_true(logits[l.logits.positive[0].id] == 9.99F);

    /* 100 firings in the first bin of [0, 1], 300 in the last. */
    for (int i = 0; i <= INDEX_BINS; i++)
        l.histogram.edges[i] = (double)i / INDEX_BINS;
    l.histogram.counts[0] = 100;
    l.histogram.counts[INDEX_BINS - 1] = 300;
    assert_true(fabs(export_share(&l, 0, 0.2) - 0.25) < 1e-9);
    assert_true(fabs(export_share(&l, 0.8, 1) - 0.75) < 1e-9);
    assert_true(fabs(export_share(&l, 0.01, 0.5) - 0.125) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_neuronpedia), cmocka_unit_test(test_dashboard),
        cmocka_unit_test(test_tokens),      cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_pieces),      cmocka_unit_test(test_items),
        cmocka_unit_test(test_computed),
    };
    return cmocka_run_group_tests_name("index_exchange", tests, set_up_fixture, tear_down_fixture);
}
