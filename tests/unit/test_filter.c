/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lists of latents: sorting, filter expressions, search in labels. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "tests/support/support.h"

#define N      12
#define TOKENS 1000

static struct store *store;
static artifact_id sae, plain;

/* Latents 3 and 8 are dead; 5 and 6 have the same maximum. */
static const uint32_t fired[N] = {10, 500, 3, 0, 70, 20, 21, 1, 0, 999, 70, 2};
static const float maxima[N] = {1, 9, 4, 0, 2, 7, 7, 3, 0, 5, 6, 8};
static const float means[N] = {0.5F, 4, 2, 0, 1, 3, 3.5F, 3, 0, 2.5F, 1.5F, 6};
static const uint8_t metas[N] = {4, 2, 1, 0, 0, 3, 3, 2, 1, 5, 2, 2};
static const float ev[N] = {0.9F, 0.1F, 0.5F, 0, NAN, 0.3F, 0.2F, 0.4F, 0.95F, 0.6F, 0.7F, 0.8F};
static const char *const labels[N] = {
    "physicist, physics", "family Rosaceae", NULL,          NULL,
    "Germany, German",    "born in (born",   "metaphysics", "bird",
    "dead language",      "\xff\xfe raw",    "Physics",     "a \"quoted\" word"};

static void put_column(artifact_id id, const char *name, enum dtype dtype, const void *data)
{
    struct error err = {0};
    const struct tensor x = {.dtype = dtype, .ndim = 1, .shape = {N}, .data = data};
    assert_ok(store_tensor_put(store, id, name, &x, &err));
}

static void put_index(artifact_id of, int with_base)
{
    struct error err = {0};
    artifact_id id;
    json *m = new_manifest("sae", of);
    json_set(m, "text_tokens", json_new_integer(TOKENS));
    assert_ok(store_create(store, ARTIFACT_INDEX, NULL, 0, &id, &err));
    put_column(id, "fired", DTYPE_U32, fired);
    put_column(id, "max", DTYPE_F32, maxima);
    put_column(id, "min", DTYPE_F32, maxima);
    put_column(id, "mean", DTYPE_F32, means);
    if (with_base) {
        put_column(id, "base_metas", DTYPE_U8, metas);
        put_column(id, "base_ev", DTYPE_F32, ev);
    }
    assert_ok(store_publish(store, id, m, &err));
}

static artifact_id put_sae(const char *name, artifact_id base)
{
    struct sae *x = new_sae("standard", 4, N);
    artifact_id id = save_sae(store, name, x, sae_manifest(NULL, 0, base));
    sae_free(x);
    return id;
}

static int set_up(void **state)
{
    struct error err = {0};
    set_up_directory(state);
    store = open_store("store");
    sae = put_sae("sae", 0);
    plain = put_sae("plain", 0);
    artifact_id meta = put_sae("meta", sae);
    put_index(sae, 0);
    put_index(meta, 1);
    struct label list[N + 1];
    size_t n = 0;
    for (size_t i = 0; i < N; i++)
        if (labels[i])
            list[n++] = (struct label){i, LABEL_AUTO, labels[i], strlen(labels[i])};
    assert_ok(store_put_labels(store, sae, list, n, &err));
    struct label other = {2, LABEL_USER, "physics of birds", 16};
    assert_ok(store_put_labels(store, plain, &other, 1, &err));
    return 0;
}

static int tear_down(void **state)
{
    store_close(store);
    return tear_down_directory(state);
}

static struct store_txn *txn;

static struct latent_table *open_table(artifact_id id)
{
    struct error err = {0};
    struct latent_table *table;
    txn = begin_reading(store);
    assert_ok(latent_table_open(txn, id, &table, &err));
    return table;
}

static void close_table(struct latent_table *table)
{
    latent_table_free(table);
    store_end(txn);
}

static void assert_order(const struct latent_table *table, const char *wanted)
{
    struct strbuf got = STRBUF_INIT;
    for (size_t i = 0; i < table->matched; i++)
        strbuf_addf(&got, "%s%u", i ? " " : "", table->order[i]);
    assert_string_equal(strbuf_string(&got), wanted);
    strbuf_free(&got);
}

static void sort(struct latent_table *table, enum latent_key key, int reverse, const char *wanted)
{
    struct error err = {0};
    assert_ok(latent_table_sort(table, txn, key, reverse, &err));
    assert_order(table, wanted);
}

static void test_sort(void **state)
{
    (void)state;
    struct latent_table *t = open_table(sae);
    assert_int_equal(t->n, N);
    assert_int_equal(t->tokens, TOKENS);
    assert_order(t, "0 1 2 3 4 5 6 7 8 9 10 11");
    sort(t, KEY_FIRED, 0, "9 1 4 10 6 5 0 2 11 7 3 8");
    sort(t, KEY_FIRED, 1, "7 11 2 0 5 6 4 10 1 9 3 8");
    sort(t, KEY_DENSITY, 0, "9 1 4 10 6 5 0 2 11 7 3 8");
    sort(t, KEY_MAX, 0, "1 11 5 6 10 9 2 7 4 0 3 8");
    sort(t, KEY_MEAN, 1, "0 4 10 2 9 5 7 6 1 11 3 8");
    sort(t, KEY_META_LATENTS, 0, "9 0 5 6 1 7 10 11 2 4 3 8");
    sort(t, KEY_EV, 0, "0 11 10 9 2 7 5 6 1 3 4 8");
    sort(t, KEY_LABEL, 0, "11 7 5 8 1 4 6 0 10 9 2 3");
    sort(t, KEY_LABEL, 1, "9 10 0 6 4 1 8 5 7 11 2 3");
    sort(t, KEY_LATENT, 0, "0 1 2 3 4 5 6 7 8 9 10 11");
    sort(t, KEY_LATENT, 1, "11 10 9 8 7 6 5 4 3 2 1 0");
    close_table(t);
}

static void test_not_indexed(void **state)
{
    (void)state;
    struct error err = {0};
    struct latent_table *t = open_table(plain);
    assert_null(t->fired);
    assert_int_equal(latent_table_sort(t, txn, KEY_MAX, 0, &err), STATUS_REFUSED);
    assert_says("index plain --text");
    assert_int_equal(latent_table_sort(t, txn, KEY_EV, 0, &err), STATUS_REFUSED);
    assert_int_equal(latent_table_filter(t, txn, "max > 1", &err), STATUS_REFUSED);
    assert_order(t, "0 1 2 3 4 5 6 7 8 9 10 11");
    sort(t, KEY_LABEL, 0, "2 0 1 3 4 5 6 7 8 9 10 11");
    assert_ok(latent_table_filter(t, txn, "latent >= 10", &err));
    assert_order(t, "10 11");
    close_table(t);
}

static void filter(struct latent_table *table, const char *expression, const char *wanted)
{
    struct error err = {0};
    if (latent_table_filter(table, txn, expression, &err))
        fail_msg("%s: %s", expression ? expression : "", err.message);
    assert_order(table, wanted);
}

static void test_filter(void **state)
{
    (void)state;
    struct latent_table *t = open_table(sae);
    filter(t, "max > 5", "1 5 6 10 11");
    filter(t, "max>=5", "1 5 6 9 10 11");
    filter(t, "max = 7", "5 6");
    filter(t, "max == 7", "5 6");
    filter(t, "max != 7 and max > 0", "0 1 2 4 7 9 10 11");
    filter(t, "density<0.01 and max>2", "2 7 11");
    filter(t, "density <= 1e-3", "3 7 8");
    filter(t, "fired < 3 or fired > 100", "1 3 7 8 9 11");
    filter(t, "latent < 4 and max > 3 or latent = 11", "1 2 11");
    filter(t, "latent = 11 or latent < 4 and max > 3", "1 2 11");
    filter(t, "latent < 4 and (max > 3 or latent = 0)", "0 1 2");
    filter(t, "not fired > 0", "3 8");
    filter(t, "not not not (fired > 0)", "3 8");
    filter(t, "ev > 0.5", "0 8 9 10 11");
    filter(t, "meta_latents >= 3", "0 5 6 9");
    filter(t, "mean > -1e9", "0 1 2 3 4 5 6 7 8 9 10 11");
    filter(t, NULL, "0 1 2 3 4 5 6 7 8 9 10 11");
    /* Numbers are compared as numbers, and NaN with nothing. */
    filter(t, "ev <= 0.5 or ev > 0.5", "0 1 2 3 5 6 7 8 9 10 11");
    close_table(t);
}

static void test_label_filter(void **state)
{
    (void)state;
    struct latent_table *t = open_table(sae);
    filter(t, "label ~ \"physic\"", "0 6 10");
    filter(t, "label ~ \"Physic\"", "10");
    filter(t, "label ~ '^physic'", "0 10");
    filter(t, "label ~ '\\bbird\\b'", "7");
    filter(t, "label ~ \"\\(\"", "5"); /* a backslash before anything but a quote is the expression's own */
    filter(t, "label !~ \"a\" and latent > 4", "5 7 10");
    filter(t, "label ~ \"\\\"quoted\\\"\"", "11");
    filter(t, "label ~ \"raw\"", "9");
    filter(t, "label ~ '\\S\\W\\SOSACEAE'", ""); /* \S is no capital, R is */
    filter(t, "label ~ '\\Smily\\Wros'", "1");
    close_table(t);
}

static void test_filter_keeps_order(void **state)
{
    (void)state;
    struct latent_table *t = open_table(sae);
    sort(t, KEY_MAX, 0, "1 11 5 6 10 9 2 7 4 0 3 8");
    filter(t, "max > 5", "1 11 5 6 10");
    sort(t, KEY_FIRED, 1, "11 5 6 10 1");
    filter(t, "max > 6", "11 5 6 1");
    filter(t, NULL, "7 11 2 0 5 6 4 10 1 9 3 8");
    close_table(t);
}

static void refuse(struct latent_table *t, const char *expression, const char *says)
{
    struct error err = {0};
    int status = latent_table_filter(t, txn, expression, &err);
    if (status != STATUS_USAGE || !strstr(err.message, says))
        fail_msg("%s: %d, \"%s\" does not say \"%s\"", expression, status, err.message, says);
    assert_int_equal(t->matched, N);
}

static void test_wrong_filters(void **state)
{
    (void)state;
    struct latent_table *t = open_table(sae);
    refuse(t, "", "at the end");
    refuse(t, "max >", "a number expected at the end");
    refuse(t, "max > five", "a number expected at character 7, where it says: five");
    refuse(t, "max > 1-2", "a number");
    refuse(t, "maxx > 1", "did you mean max?");
    refuse(t, "max > 1 max < 2", "and or or expected at character 9");
    refuse(t, "max > 1 and", "at the end");
    refuse(t, "(max > 1", "and, or, or ) expected at the end");
    refuse(t, "max > 1)", "character 8");
    refuse(t, "max 5", "a comparison");
    refuse(t, "max ~ \"x\"", "a comparison of numbers");
    refuse(t, "label > 3", "~ after label");
    refuse(t, "label ~ x", "in quotes");
    refuse(t, "label ~ \"x", "closing quote");
    refuse(t, "label ~ \"(\"", "regular expression is wrong");
    refuse(t, "max > 1 and \033[2J", "\\x1B[2J");
    struct strbuf deep = STRBUF_INIT;
    for (int i = 0; i < 100000; i++)
        strbuf_addc(&deep, '(');
    refuse(t, strbuf_string(&deep), "nested");
    strbuf_reset(&deep);
    for (int i = 0; i < 100000; i++)
        strbuf_adds(&deep, "not ");
    refuse(t, strbuf_string(&deep), "nested");
    strbuf_free(&deep);
    close_table(t);
}

/* ---- Search. ---- */

static void search(artifact_id in, const char *query, const char *wanted)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(store);
    struct search_result *results;
    size_t n;
    struct strbuf got = STRBUF_INIT;
    if (search_labels(t, in, query, &results, &n, &err))
        fail_msg("%s: %s", query, err.message);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&got, "%s%s/%zu", i ? " " : "", results[i].sae == sae ? "s" : "p", results[i].latent);
    assert_string_equal(strbuf_string(&got), wanted);
    strbuf_free(&got);
    free(results);
    store_end(t);
}

static void test_search(void **state)
{
    (void)state;
    struct error err = {0};
    struct search_result *results;
    struct store_txn *t;
    size_t n;
    search(sae, "physics", "s/0 s/10 s/6");   /* whole words before parts of words */
    search(0, "physics", "p/2 s/0 s/10 s/6"); /* SAEs by name */
    search(sae, "Physics", "s/10");
    search(sae, "german germ", "s/4"); /* all words must occur */
    search(sae, "bird physics", "");
    search(0, "bird physics", "p/2");
    search(sae, "/^.?physics/", "s/10");
    search(sae, "/phys|born/", "s/0 s/5 s/6 s/10");
    search(sae, "(born", "s/5"); /* words are no regular expressions */
    search(plain, "german", "");
    t = begin_reading(store);
    assert_int_equal(search_labels(t, 0, "  ", &results, &n, &err), STATUS_USAGE);
    assert_int_equal(search_labels(t, 0, "/(/", &results, &n, &err), STATUS_USAGE);
    store_end(t);
}

/* A pattern that would take for ever ends with an error. */
static void test_match_limit(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t;
    struct search_result *results;
    size_t n;
    char text[64];
    memset(text, 'a', sizeof(text));
    struct label hostile = {11, LABEL_USER, text, sizeof(text)};
    assert_ok(store_put_labels(store, plain, &hostile, 1, &err));
    t = begin_reading(store);
    assert_int_equal(search_labels(t, plain, "/^(a+)+(b|c)+$|(a|aa)+d/", &results, &n, &err), STATUS_USAGE);
    assert_says("too long");
    store_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_not_indexed),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_label_filter),
        cmocka_unit_test(test_filter_keeps_order),
        cmocka_unit_test(test_wrong_filters),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_match_limit),
    };
    return cmocka_run_group_tests_name("filter", tests, set_up, tear_down);
}
