/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Texts: what an import makes of files, and contexts against SAELens' own (tests/data/text/contexts.jsonl,
 * made by tests/reference/contexts.py).
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "tests/unit/text_fixture.h"

static void test_lines(void **state)
{
    (void)state;
    static const char text[] =
        "first line\r\n\n\r\n  second \xFF line<|endoftext|>\n\xE4\xBD\xA0\xE5\xA5\xBD\nlast\r";
    const struct document documents[] = {{"first line", 10},
                                         {"  second \xFF line<|endoftext|>", 28},
                                         {"\xE4\xBD\xA0\xE5\xA5\xBD", 6},
                                         {"last\r", 5}};
    char *path = write_test_file("a.txt", text, sizeof(text) - 1);
    assert_documents(import_text(path, NULL, 0), documents, 4);
    const struct document whole = {text, sizeof(text) - 1};
    assert_documents(import_text(path, NULL, 1), &whole, 1);
    free(path);
}

static void test_json_lines(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBF{\"text\": \"one\\ntwo\", \"other\": \"x y\"}\r\n\n  \n"
                               "{\"other\": \"z\", \"text\": \"caf\xC3\xA9 \xFF\xE2\x82 "
                               "\\u00e9\"}\n{\"text\": \"\", \"other\": \"w\"}";
    const struct document documents[] = {{"one\ntwo", 7}, {"caf\xC3\xA9 \xFF\xE2\x82 \xC3\xA9", 12}};
    const struct document others[] = {{"x y", 3}, {"z", 1}, {"w", 1}};
    char *path = write_test_file("a.jsonl", text, sizeof(text) - 1);
    assert_documents(import_text(path, NULL, 0), documents, 2);
    assert_documents(import_text(path, "other", 0), others, 3);
    free(path);
    /* Without the name, the first byte tells. */
    path = write_test_file("noname", text + 3, sizeof(text) - 4);
    assert_documents(import_text(path, NULL, 0), documents, 2);
    free(path);
}

static void test_folder(void **state)
{
    (void)state;
    struct error err = {0};
    char *dir = test_path("corpus");
    assert_ok(make_directories(dir, 0755, &err));
    free(write_text("corpus/b.txt", "three\n"));
    free(write_text("corpus/a.txt", "one\ntwo"));
    free(write_text("corpus/c.jsonl", "{\"text\": \"four\"}"));
    free(write_text("corpus/.hidden", "no"));
    const struct document lines[] = {{"one", 3}, {"two", 3}, {"three", 5}, {"four", 4}};
    assert_documents(import_text(dir, NULL, 0), lines, 4);
    const struct document files[] = {{"one\ntwo", 7}, {"three\n", 6}, {"four", 4}};
    assert_documents(import_text(dir, NULL, 1), files, 3);
    free(dir);
}

static void test_standard_input(void **state)
{
    (void)state;
    char *path = write_text("input", "from\na pipe\n");
    assert_non_null(freopen(path, "r", stdin));
    const struct document documents[] = {{"from", 4}, {"a pipe", 6}};
    assert_documents(import_text("-", NULL, 0), documents, 2);
    free(path);
}

/* Documents of several reads and batches, with a line end at every kind of place; and one that goes on over
 * many. */
static void test_long_texts(void **state)
{
    (void)state;
    size_t capacity = 100000, n = 0;
    struct document *documents = xcalloc(capacity, sizeof(*documents));
    struct strbuf text = STRBUF_INIT;
    static const char *const words[] = {"the ",         "physicist ", "\xC3\xA9t\xC3\xA9 ", "  \t", "12,",
                                        "\xE3\x80\x80", "\xFF"};
    uint32_t x = 1;
    while (text.length < 3 << 20) {
        for (size_t length = (x >> 8) % (n % 1000 ? 20 : 200000); length; length--) {
            x = x * 1664525 + 1013904223;
            strbuf_adds(&text, words[(x >> 16) % ARRAY_LENGTH(words)]);
        }
        x = x * 1664525 + 1013904223;
        strbuf_adds(&text, "end\n");
        documents[n++].n = text.length - 1;
        assert_true(n < capacity);
    }
    for (size_t i = n; i-- > 0;) {
        size_t start = i ? documents[i - 1].n + 1 : 0;
        documents[i] = (struct document){text.data + start, documents[i].n - start};
    }
    char *path = write_test_file("long.txt", text.data, text.length);
    assert_documents(import_text(path, NULL, 0), documents, n);
    const struct document whole = {text.data, text.length};
    assert_documents(import_text(path, NULL, 1), &whole, 1);
    free(path);
    strbuf_free(&text);
    free(documents);
}

/* A line's end just before, at and after every place where a read may end. */
static void test_line_ends(void **state)
{
    (void)state;
    size_t power = 1 << 18;
    char *text = xmalloc(power + 8);
    for (size_t at = power - 3; at <= power + 1; at++) {
        memset(text, 'x', power + 8);
        memcpy(text + at, "\r\n", 2);
        char *path = write_test_file("ends.txt", text, power + 8);
        const struct document documents[] = {{text, at}, {text + at + 2, power + 6 - at}};
        assert_documents(import_text(path, NULL, 0), documents, 2);
        free(path);
    }
    free(text);
}

static void test_refusals(void **state)
{
    (void)state;
    struct error err = {0};
    char *path = test_path("missing.txt");
    assert_text_refused(path, "missing.txt");
    free(path);
    path = write_text("empty.txt", "\n\r\n");
    assert_text_refused(path, "no text in it");
    struct text_import options = {.path = path, .name = "refused", .model = "ln"};
    artifact_id id;
    assert_int_equal(text_import(text_store, &options, NULL, &id, &err), STATUS_REFUSED);
    assert_says("lm");
    free(path);
    path = write_text("bad.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n");
    assert_text_refused(path, "line 2: no string \"text\"");
    free(path);
    path = write_text("worse.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\n");
    assert_text_refused(path, "line 3");
    free(path);
    path = write_text("some.txt", "some text\n");
    struct monitor monitor = {.ask = cancel_later};
    options = (struct text_import){.path = path, .name = "refused", .model = "lm"};
    assert_int_equal(text_import(text_store, &options, &monitor, &id, &err), STATUS_FAILED);
    assert_text_refused("/dev/null", "no text in it");
    free(path);
}

/* ---- Contexts. ---- */

/* A text of given documents, as an import leaves it. */
static artifact_id put_text(const json *documents, uint32_t bos)
{
    struct error err = {0};
    artifact_id id;
    size_t n = json_length(documents), n_tokens = 0;
    long long n_bos = 0;
    uint64_t *starts = xcalloc(n + 1, sizeof(*starts));
    uint16_t tokens[4096];
    for (size_t i = 0; i < n; i++) {
        const json *document = json_at(documents, i);
        for (size_t j = 0; j < json_length(document); j++) {
            assert_true(n_tokens < ARRAY_LENGTH(tokens));
            tokens[n_tokens++] = (uint16_t)json_integer(json_at(document, j), 0);
            n_bos += tokens[n_tokens - 1] == bos;
        }
        starts[i + 1] = n_tokens;
    }
    assert_ok(store_create(text_store, ARTIFACT_TEXT, "golden", 1, &id, &err));
    struct tensor x = {DTYPE_U16, 1, {n_tokens}, tokens}, y = {DTYPE_U64, 1, {n + 1}, starts};
    assert_ok(store_tensor_put(text_store, id, "tokens", &x, &err));
    assert_ok(store_tensor_put(text_store, id, "documents", &y, &err));
    json *manifest = json_new_object();
    json_set(manifest, "bos", json_new_integer(bos));
    json_set(manifest, "bos_tokens", json_new_integer(n_bos));
    json_set(manifest, "eos", json_new_integer(bos));
    json_set(manifest, "eos_tokens", json_new_integer(n_bos));
    assert_ok(store_publish(text_store, id, manifest, &err));
    free(starts);
    return id;
}

static void check_case(const json *golden, const char *where)
{
    struct error err = {0};
    const json *wanted = json_get(golden, "contexts");
    size_t size = (size_t)json_get_integer(golden, "size", 0), n = json_length(wanted);
    int prepend_bos = !json_is_null(json_get(golden, "bos"));
    artifact_id text = put_text(json_get(golden, "documents"), 99);
    struct store_txn *t = begin_reading(text_store);
    struct contexts *c;
    assert_ok(contexts_open(t, text, size, prepend_bos, prepend_bos ? 99 : TOKEN_NONE, &c, &err));
    if (contexts_count(c) != n)
        print_error("%s\n", where);
    assert_int_equal(contexts_count(c), n);
    uint32_t *ids = xcalloc(n * size + 1, sizeof(*ids));
    /* All at once, then one at a time from the end. */
    assert_ok(contexts_read(c, t, 0, n, ids, &err));
    for (size_t i = 0; i < n * size; i++)
        assert_int_equal(ids[i], json_integer(json_at(json_at(wanted, i / size), i % size), -1));
    for (size_t i = n; i-- > 0;) {
        assert_ok(contexts_read(c, t, i, 1, ids, &err));
        for (size_t j = 0; j < size; j++)
            assert_int_equal(ids[j], json_integer(json_at(json_at(wanted, i), j), -1));
    }
    assert_int_equal(contexts_read(c, t, n, 1, ids, &err), STATUS_REFUSED);
    free(ids);
    contexts_close(c);
    store_end(t);
}

static void test_contexts(void **state)
{
    (void)state;
    struct error err = {0};
    struct strbuf file = STRBUF_INIT;
    char *path = data_path("text/contexts.jsonl");
    assert_ok(file_read(path, 1 << 20, &file, &err));
    size_t lines = 0;
    for (char *line = strtok(file.data, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json *golden = json_parse(line, strlen(line), path, &err);
        assert_non_null(golden);
        check_case(golden, line);
        json_free(golden);
    }
    assert_true(lines > 60);
    strbuf_free(&file);
    free(path);
}

/* The fewest contexts with enough counted tokens, by counting each. */
static void check_for_tokens(artifact_id text, int prepend_bos, uint64_t tokens)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(text_store);
    struct contexts *c;
    const struct model_config *config = model_get_config(text_model);
    assert_ok(contexts_open(t, text, 8, prepend_bos, config->bos, &c, &err));
    uint64_t sum = 0, got_counted;
    size_t n = 0, got;
    while (n < contexts_count(c) && (!tokens || sum < tokens)) {
        uint32_t ids[8];
        uint8_t counted[8];
        assert_ok(contexts_read(c, t, n++, 1, ids, &err));
        size_t here = contexts_counted(text_model, ids, 8, counted), expected = 0;
        for (size_t i = 0; i < 8; i++) {
            assert_int_equal(counted[i], ids[i] != 8191);
            expected += ids[i] != 8191;
        }
        assert_int_equal(here, expected);
        sum += here;
    }
    assert_ok(contexts_for_tokens(c, t, text_model, tokens, &got, &got_counted, &err));
    assert_int_equal(got, n);
    assert_int_equal(got_counted, sum);
    contexts_close(c);
    store_end(t);
}

static void test_for_tokens(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    for (int special = 0; special < 2; special++) {
        strbuf_reset(&text);
        for (int i = 0; i < 200; i++)
            strbuf_addf(&text, "line %d of %s\n", i, special && i % 3 == 0 ? "some<|endoftext|>" : "text");
        char *path = write_test_file("counted.txt", text.data, text.length);
        artifact_id id = import_text(path, NULL, 0);
        for (uint64_t tokens = 0; tokens < 3000; tokens += tokens < 40 ? 1 : 333) {
            check_for_tokens(id, 1, tokens);
            check_for_tokens(id, 0, tokens);
        }
        free(path);
    }
    strbuf_free(&text);
}

static void test_held_out(void **state)
{
    (void)state;
    struct error err = {0};
    char *path = write_text("held.txt", "0 1 2 3 4 5 6 7 8 9");
    artifact_id id = import_text(path, NULL, 0);
    struct store_txn *t = begin_reading(text_store);
    struct contexts *c;
    static const size_t sizes[] = {1, 2, 4, 100}, wanted[] = {9, 4, 1, 0};
    struct held held;
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        assert_ok(contexts_open(t, id, sizes[i], 0, TOKEN_NONE, &c, &err));
        assert_int_equal(contexts_size(c), sizes[i]);
        assert_int_equal(contexts_held_out_from(c), wanted[i]);
        contexts_close(c);
    }
    assert_int_equal(contexts_open(t, id, 1, 1, 8191, &c, &err), STATUS_REFUSED);
    assert_int_equal(contexts_open(t, id, 0, 0, 8191, &c, &err), STATUS_REFUSED);
    assert_int_equal(contexts_open(t, id, 8, 1, TOKEN_NONE, &c, &err), STATUS_REFUSED);
    store_end(t);
    held = read_text(id);
    assert_int_equal(held.n_tokens, 10);
    held_free(&held);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),      cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_folder),     cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_long_texts), cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_for_tokens), cmocka_unit_test(test_held_out),
    };
    return cmocka_run_group_tests(tests, set_up_text, tear_down_text);
}
