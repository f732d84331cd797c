/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Models with several tokens that end a text: where they are said, that none of them is counted, that
 * generation ends at each, and stores that were made when one was known.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/steer.h"
#include "saescope/base/memory.h"
#include "saescope/model/text.h"
#include "tests/support/support.h"

enum { BOS = 256, EOS = 257 }; /* of the family's folder; 258 to 263 have no text */

/* ---- Folders. ---- */

static void put(const char *folder, const char *name, const char *text)
{
    if (text)
        write_file_in(folder, name, text, strlen(text));
}

/* The small llama3 with another "eos_token_id" line in its config.json, and these files' texts (NULL: no
 * file). */
static int import_with(const char *line, const char *generation, const char *names, artifact_id *id,
                       struct error *err)
{
    static const char *const files[] = {MODEL_FILES, NULL};
    artifact_id before = find_artifact(test_store, ARTIFACT_MODEL, "model");
    if (before)
        remove_artifact(test_store, before);
    char *folder = copy_family("llama3", files);
    replace_in_file(folder, "config.json", "\"eos_token_id\": 257", line);
    if (strstr(line, "pad_token_id"))
        replace_in_file(folder, "config.json", "\"pad_token_id\": null", "\"unpadded\": null");
    put(folder, "generation_config.json", generation);
    put(folder, "tokenizer_config.json", names);
    const struct model_import options = {.directory = folder, .name = "model", .replace = 1};
    int code = model_import_folder(test_store, &options, NULL, id, err);
    free(folder);
    return code;
}

/* Exactly these tokens of the vocabulary are not counted. */
static void check_uncounted(const struct model_config *c, const uint32_t *ids, size_t n)
{
    for (uint32_t id = 0; id < c->vocabulary_size; id++) {
        int listed = 0;
        for (size_t i = 0; i < n; i++)
            listed |= ids[i] == id;
        if (model_counts(c, id) == listed)
            fail_msg("token %u %s", (unsigned)id, listed ? "is counted" : "is not counted");
    }
}

#define UNCOUNTED(c, ...)                                                                                    \
    check_uncounted((c), (const uint32_t[]){__VA_ARGS__},                                                    \
                    sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* ---- Where they are said. ---- */

static void test_sources(void **state)
{
    (void)state;
    static const struct {
        const char *line, *generation, *names;
        uint32_t eos, pad, uncounted[5];
        size_t n;
    } cases[] = {
        {"\"eos_token_id\": 257", NULL, NULL, 257, TOKEN_NONE, {256, 257}, 2},
        {"\"eos_token_id\": [259, 257, 258]", NULL, NULL, 259, TOKEN_NONE, {256, 257, 258, 259}, 4},
        {"\"eos_token_id\": 257",
         "{\"eos_token_id\": [257, 260], \"pad_token_id\": 3}",
         NULL,
         257,
         TOKEN_NONE,
         {256, 257, 260},
         3},
        {"\"eos_token_id\": 258", "{\"eos_token_id\": 261}", NULL, 258, TOKEN_NONE, {256, 258, 261}, 3},
        {"\"eos_token_id\": null",
         "{\"eos_token_id\": [9999, -1, null, 262]}",
         NULL,
         262,
         TOKEN_NONE,
         {256, 262},
         2},
        {"\"eos_token_id\": []", "{}", NULL, TOKEN_NONE, TOKEN_NONE, {256}, 1},
        /* The tokenizer's own, by its text; padding when it is a special token. */
        {"\"eos_token_id\": 258",
         NULL,
         "{\"eos_token\": {\"content\": \"<eos>\"}}",
         258,
         TOKEN_NONE,
         {256, 257, 258},
         3},
        {"\"eos_token_id\": 258",
         NULL,
         "{\"eos_token\": \"two\", \"pad_token\": \"<eos>\"}",
         258,
         257,
         {256, 257, 258},
         3},
        {"\"eos_token_id\": 258, \"pad_token_id\": 257", NULL, NULL, 258, 257, {256, 257, 258}, 3},
        {"\"eos_token_id\": 258, \"pad_token_id\": 65",
         NULL,
         "{\"pad_token\": null}",
         258,
         TOKEN_NONE,
         {256, 258},
         2},
        {"\"eos_token_id\": 258, \"pad_token_id\": -1", NULL, NULL, 258, TOKEN_NONE, {256, 258}, 2},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error err = {0};
        artifact_id id;
        if (import_with(cases[i].line, cases[i].generation, cases[i].names, &id, &err))
            fail_msg("%s: %s", cases[i].line, err.message);
        struct model_config c = model_config_of(test_store, id);
        assert_int_equal(c.eos, cases[i].eos);
        assert_int_equal(c.pad, cases[i].pad);
        check_uncounted(&c, cases[i].uncounted, cases[i].n);
        for (size_t j = 0; j < cases[i].n; j++)
            assert_int_equal(model_is_eos(&c, cases[i].uncounted[j]),
                             cases[i].uncounted[j] != BOS && cases[i].uncounted[j] != cases[i].pad);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *generation, *names, *says;
    } cases[] = {
        {"\"eos_token_id\": [257, 264]", NULL, NULL, "eos_token_id is not in the vocabulary of 264"},
        {"\"eos_token_id\": [257, \"x\"]", NULL, NULL, "eos_token_id is not in the vocabulary of 264"},
        {"\"eos_token_id\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", NULL, NULL,
         "config.json: more than 16 tokens end a text"},
        {"\"eos_token_id\": 257", "{\"eos_token_id\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]}", NULL,
         "more than 16 tokens end a text"},
        {"\"eos_token_id\": 257", "{", NULL, "generation_config.json"},
        {"\"eos_token_id\": 257", NULL, "{", "tokenizer_config.json"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error err = {0};
        artifact_id id;
        assert_int_equal(import_with(cases[i].line, cases[i].generation, cases[i].names, &id, &err),
                         STATUS_REFUSED);
        assert_says(cases[i].says);
    }
}

/* A manifest of a store that was made before: one EOS, no padding. */
static void test_older_manifest(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id;
    struct model_config c;
    assert_ok(import_with("\"eos_token_id\": [257, 258]", NULL, NULL, &id, &err));
    json *manifest = read_manifest(test_store, id), *older = json_new_object();
    void *iter = NULL;
    const char *key;
    json *value;
    assert_int_equal(json_get_integer(manifest, "eos", 0), 257); /* where older versions look */
    while (json_next(manifest, &iter, &key, &value))
        if (strcmp(key, "more_eos") != 0 && strcmp(key, "pad") != 0)
            json_set(older, key, json_retain(value));
    assert_int_equal(json_length(older), json_length(manifest) - 2);
    assert_ok(model_config_read(manifest, "new", &c, &err));
    UNCOUNTED(&c, 256, 257, 258);
    assert_ok(model_config_read(older, "old", &c, &err));
    UNCOUNTED(&c, 256, 257);
    json_set(older, "more_eos", parse_json("[258, -1]"));
    assert_int_equal(model_config_read(older, "damaged", &c, &err), STATUS_REFUSED);
    json_free(older);
    json_free(manifest);
}

/* ---- Texts. ---- */

static artifact_id import_tokens(const uint16_t *tokens, size_t n)
{
    struct error err = {0};
    artifact_id id = 0;
    char *path = write_test_file("tokens.bin", tokens, n * sizeof *tokens);
    const struct text_import options = {.path = path, .name = "text", .model = "model", .replace = 1};
    assert_ok(text_import(test_store, &options, NULL, &id, &err));
    free(path);
    return id;
}

/* How many contexts hold so many counted tokens, and how many these are. */
static void check_counts(artifact_id text, const struct model *m, struct store_txn *t, uint64_t tokens,
                         size_t contexts, uint64_t counted)
{
    struct error err = {0};
    struct contexts *c;
    size_t n_contexts;
    uint64_t n_counted;
    assert_ok(contexts_open(t, text, 4, 0, TOKEN_NONE, &c, &err));
    assert_ok(contexts_for_tokens(c, t, m, tokens, &n_contexts, &n_counted, &err));
    assert_int_equal(n_contexts, contexts);
    assert_int_equal(n_counted, counted);
    contexts_close(c);
}

/*
 * In files of tokens the first EOS ends a document and is not kept; the others, which may end a turn of a
 * conversation, stay where they are, run through the model, and are not counted.
 */
static void test_counted(void **state)
{
    (void)state;
    static const uint16_t tokens[] = {256, 1, 2, 258, 3, 257, 4,  258, 258, 5,
                                      6,   7, 8, 257, 9, 10,  11, 259, 12};
    struct error err = {0};
    artifact_id model;
    struct model *m;
    uint32_t ids[16];
    uint8_t counted[16];
    assert_ok(import_with("\"eos_token_id\": [257, 258]", "{\"eos_token_id\": 259}", NULL, &model, &err));
    artifact_id text = import_tokens(tokens, ARRAY_LENGTH(tokens));
    json *manifest = read_manifest(test_store, text);
    assert_int_equal(json_get_integer(manifest, "tokens", 0), 16);
    assert_int_equal(json_get_integer(manifest, "documents", 0), 3);
    assert_int_equal(json_get_integer(manifest, "eos_tokens", -1), 0);
    assert_int_equal(json_length(json_get(manifest, "absent")), 2); /* BOS and the first EOS */
    json_free(manifest);
    struct store_txn *t = begin_reading(test_store);
    struct contexts *c;
    assert_ok(model_open(t, model, &m, &err));
    assert_ok(contexts_open(t, text, 4, 0, TOKEN_NONE, &c, &err));
    assert_int_equal(contexts_count(c), 4);
    assert_ok(contexts_read(c, t, 0, 4, ids, &err));
    static const uint32_t wanted[16] = {1, 2, 258, 3, 4, 258, 258, 5, 6, 7, 8, 9, 10, 11, 259, 12};
    assert_memory_equal(ids, wanted, sizeof wanted);
    assert_int_equal(contexts_counted(m, ids, 16, counted), 12);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(counted[i], wanted[i] < 256);
    contexts_close(c);
    check_counts(text, m, t, 0, 4, 12);
    check_counts(text, m, t, 3, 1, 3);
    check_counts(text, m, t, 4, 2, 5);
    model_free(m);
    store_end(t);
    /* Without any, they need not be looked for: the same numbers. */
    static const uint16_t plain[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    text = import_tokens(plain, ARRAY_LENGTH(plain));
    manifest = read_manifest(test_store, text);
    assert_int_equal(json_length(json_get(manifest, "absent")), 4);
    json_free(manifest);
    t = begin_reading(test_store);
    assert_ok(model_open(t, model, &m, &err));
    check_counts(text, m, t, 0, 2, 8);
    check_counts(text, m, t, 4, 1, 4);
    model_free(m);
    store_end(t);
}

/* A text that an older version imported tells of one EOS; the others are found by reading. */
static void test_older_text(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id model, text;
    struct model *m;
    const uint16_t tokens[8] = {1, 2, 258, 4, 5, 6, 7, 8};
    const uint64_t documents[2] = {0, 8};
    const struct tensor x = {DTYPE_U16, 1, {8}, tokens}, y = {DTYPE_U64, 1, {2}, documents};
    assert_ok(import_with("\"eos_token_id\": [257, 258]", NULL, NULL, &model, &err));
    assert_ok(store_create(test_store, ARTIFACT_TEXT, "older", 1, &text, &err));
    assert_ok(store_tensor_put(test_store, text, "tokens", &x, &err));
    assert_ok(store_tensor_put(test_store, text, "documents", &y, &err));
    json *manifest = parse_json("{\"bos\": 256, \"bos_tokens\": 0, \"eos\": 257, \"eos_tokens\": 0}");
    json_set(manifest, "references", new_references("model", model));
    assert_ok(store_publish(test_store, text, manifest, &err));
    struct store_txn *t = begin_reading(test_store);
    assert_ok(model_open(t, model, &m, &err));
    check_counts(text, m, t, 0, 2, 7);
    model_free(m);
    store_end(t);
}

/* ---- Generation. ---- */

static void generate(artifact_id model, struct token_list *out)
{
    static const uint32_t prompt[] = {BOS, 72, 105};
    const struct generation g = {.tokens = 12};
    struct error err = {0};
    struct steering *s;
    struct store_txn *t = begin_reading(test_store);
    assert_ok(steering_open(t, model, &s, &err));
    assert_ok(steering_set(s, NULL, 0, STEER_ADDITIVE, STEER_EVERYWHERE, &err));
    out->n = 0;
    assert_ok(steering_generate(s, prompt, ARRAY_LENGTH(prompt), &g, 0, NULL, out, &err));
    steering_free(s);
    store_end(t);
}

/* Greedy text ends where generation_config.json has it end, and is the same before. */
static void test_generation(void **state)
{
    (void)state;
    struct error err = {0};
    struct token_list all = {0}, cut = {0};
    artifact_id id;
    assert_ok(import_with("\"eos_token_id\": null", NULL, NULL, &id, &err));
    generate(id, &all);
    assert_int_equal(all.n, 12);
    for (size_t at = 0; at < all.n; at++) {
        size_t first = 0; /* where this token comes first */
        while (all.ids[first] != all.ids[at])
            first++;
        char *generation = xasprintf("{\"eos_token_id\": [257, %u]}", (unsigned)all.ids[at]);
        assert_ok(import_with("\"eos_token_id\": 258", generation, NULL, &id, &err));
        generate(id, &cut);
        assert_int_equal(cut.n, first);
        if (first)
            assert_memory_equal(cut.ids, all.ids, first * sizeof *all.ids);
        free(generation);
    }
    token_list_free(&all);
    token_list_free(&cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_older_manifest), cmocka_unit_test(test_counted),
        cmocka_unit_test(test_older_text),     cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests_name("several EOS", tests, set_up_store, tear_down_store);
}
