/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Texts from compressed files, from members of members of JSON lines, and from files of tokens. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/gzip.h"
#include "tests/unit/text_fixture.h"

/* ---- Compressed files, members of members. ---- */

static char *write_compressed(const char *name, const char *text, size_t n)
{
    struct error err = {0};
    struct gzip_writer *w;
    char *path = test_path(name);
    assert_ok(gzip_writer_open(path, 1, &w, &err));
    assert_ok(gzip_writer_write(w, text, n, &err));
    assert_ok(gzip_writer_finish(w, NULL, &err));
    return path;
}

static void test_compressed(void **state)
{
    (void)state;
    struct error err = {0};
    if (!gzip_supported())
        SKIP_TEST("built without zlib");
    const struct document lines[] = {{"first line", 10}, {"{ second", 8}};
    char *path = write_compressed("a.txt.gz", "first line\n\n{ second", 20);
    assert_documents(import_text(path, NULL, 0), lines, 2);
    const struct document whole = {"first line\n\n{ second", 20};
    assert_documents(import_text(path, NULL, 1), &whole, 1);
    /* Cut short. */
    struct strbuf bytes = STRBUF_INIT;
    assert_ok(file_read(path, 1 << 20, &bytes, &err));
    free(path);
    for (size_t n = 3; n < bytes.length; n += 7) {
        path = write_test_file("cut.txt.gz", bytes.data, n);
        assert_text_refused(path, "cut.txt.gz");
        free(path);
    }
    strbuf_free(&bytes);
    const struct document documents[] = {{"one", 3}, {"two", 3}};
    static const char json_lines[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    path = write_compressed("a.jsonl.gz", json_lines, sizeof(json_lines) - 1);
    assert_documents(import_text(path, NULL, 0), documents, 2);
    free(path);
    /* Told by its bytes, and by what is in it. */
    path = write_compressed("unnamed", json_lines, sizeof(json_lines) - 1);
    assert_documents(import_text(path, NULL, 0), documents, 2);
    free(path);
}

static void test_members_of_members(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\": {\"b\": \"one\", \"c.d\": \"two\", \"e\": {\"f\": \"three\"}}, \"a.b\": \"four\"}\n"
        "{\"a\": {\"b\": \"five\", \"c.d\": \"six\", \"e\": {\"f\": \"seven\"}}}\n";
    static const struct {
        const char *field;
        struct document documents[2];
    } cases[] = {{"a.b", {{"four", 4}, {"five", 4}}},
                 {"a.c.d", {{"two", 3}, {"six", 3}}},
                 {"a.e.f", {{"three", 5}, {"seven", 5}}}};
    char *path = write_text("nested.jsonl", text);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_documents(import_text(path, cases[i].field, 0), cases[i].documents, 2);
    static const char *const missing[] = {"a.e", "a.b.c", "b", "a.", "..", ""};
    for (size_t i = 0; i < ARRAY_LENGTH(missing); i++) {
        struct error err = {0};
        struct text_import options = {.path = path, .name = "refused", .model = "lm", .field = missing[i]};
        artifact_id id;
        assert_int_equal(text_import(text_store, &options, NULL, &id, &err), STATUS_REFUSED);
        assert_says("--field");
    }
    free(path);
}

static void test_other_containers(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *says;
    } cases[] = {{"PAR1abcPAR1", "to_json"},
                 {"ARROW1\1\1", "to_json"},
                 {"PK\x03\x04zip", "unpack it"},
                 {"\x28\xB5\x2F\xFD more", "zstd -d"},
                 {"\xFD"
                  "7zXZ",
                  "xz -d"}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *path = write_text("other.jsonl", cases[i].bytes);
        assert_text_refused(path, cases[i].says);
        free(path);
    }
}

/* ---- Token files. ---- */

#define END 8191u /* the demo model's BOS and EOS */

static artifact_id import_tokens(const char *path, const char *type)
{
    struct error err = {0};
    struct text_import options = {
        .path = path, .name = "text", .model = "lm", .token_type = type, .replace = 1};
    artifact_id id = 0;
    assert_ok(text_import(text_store, &options, NULL, &id, &err));
    return id;
}

/* The text's documents are what lies between END (and the ends of rows, when `row` is not 0). */
static void assert_split(artifact_id text, const uint32_t *ids, size_t n, size_t row)
{
    struct held held = read_text(text);
    size_t tokens = 0, documents = 0;
    int within = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == END || (row && i % row == 0))
            within = 0;
        if (ids[i] == END)
            continue;
        if (!within) {
            assert_true(documents < held.n_documents);
            assert_int_equal(held.documents[documents++], tokens);
        }
        within = 1;
        assert_true(tokens < held.n_tokens);
        assert_int_equal(held.tokens[tokens++], ids[i]);
    }
    assert_int_equal(held.n_tokens, tokens);
    assert_int_equal(held.n_documents, documents);
    assert_int_equal(held.documents[documents], tokens);
    held_free(&held);
}

/* Little-endian numbers of `width` bytes behind `head`. */
static struct strbuf token_bytes(const char *head, size_t n_head, const uint32_t *ids, size_t n, size_t width)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_add(&out, head, n_head);
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < width; b++)
            strbuf_addc(&out, b < 4 ? (char)(ids[i] >> 8 * b) : 0);
    return out;
}

static struct strbuf array_bytes(const char *type, const char *shape, const uint32_t *ids, size_t n,
                                 size_t width)
{
    char head[129];
    snprintf(head, sizeof(head), "\x93NUMPY\x01_v_{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
             type, shape);
    memset(head + strlen(head), ' ', sizeof(head) - strlen(head));
    head[7] = 0;
    head[8] = 118;
    head[9] = 0;
    head[127] = '\n';
    return token_bytes(head, 128, ids, n, width);
}

static char *write_bytes(const char *name, struct strbuf bytes)
{
    char *path = write_test_file(name, bytes.data, bytes.length);
    strbuf_free(&bytes);
    return path;
}

static void test_token_files(void **state)
{
    (void)state;
    /* More than is read at a time, with ends at the edges. */
    size_t n = 300001;
    uint32_t *ids = xcalloc(n, sizeof(*ids)), x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        ids[i] = (x >> 16) % 100 && i != 65535 && i != 131072 && i ? (x >> 8) % END : END;
    }
    char *path = write_bytes("a.bin", token_bytes("", 0, ids, n, 2));
    assert_split(import_tokens(path, NULL), ids, n, 0);
    assert_split(import_tokens(path, "u16"), ids, n, 0);
    free(path);
    path = write_bytes("wide", token_bytes("", 0, ids, n, 4));
    assert_split(import_tokens(path, "u32"), ids, n, 0);
    free(path);
    path = write_bytes("a.npy", array_bytes("<i8", "300001,", ids, n, 8));
    assert_split(import_tokens(path, NULL), ids, n, 0);
    free(path);
    path = write_bytes("row.npy", array_bytes("<u4", "1, 300001", ids, n, 4));
    assert_split(import_tokens(path, NULL), ids, n, 0);
    free(path);
    path = write_bytes("rows.npy", array_bytes("<i4", "3000, 100", ids, 300000, 4));
    assert_split(import_tokens(path, NULL), ids, 300000, 100);
    free(path);
    path = write_bytes("rows.npy", array_bytes("<u2", "3, 100000", ids, 300000, 2));
    assert_split(import_tokens(path, NULL), ids, 300000, 100000);
    free(path);
    free(ids);
}

/* Tokens and text in one folder, each as it is. */
static void test_token_files_beside_text(void **state)
{
    (void)state;
    struct error err = {0};
    const uint32_t ids[] = {END, 5, 6, END, END, 7}, all[] = {5, 6, END, 7, END, 404, END, 8};
    char *dir = test_path("mixed");
    assert_ok(make_directories(dir, 0755, &err));
    free(write_bytes("mixed/a.bin", token_bytes("", 0, ids, 6, 2)));
    free(write_text("mixed/b.txt", "the\n"));
    const uint32_t more[] = {8};
    free(write_bytes("mixed/c.npy", array_bytes("<u2", "1,", more, 1, 2)));
    assert_split(import_text(dir, NULL, 0), all, 8, 0);
    free(dir);
}

static void test_bad_token_files(void **state)
{
    (void)state;
    const uint32_t ids[] = {1, 2, 8192, 3}, minus[] = {1, 0xFFFFFFFF};
    static const char *const shapes[] = {"", "2, 2, 1"};
    char *path = write_bytes("bad.bin", token_bytes("", 0, ids, 4, 2));
    assert_text_refused(path, "bad.bin: token 2 is 8192, but the model's vocabulary has only 8192");
    free(path);
    path = write_bytes("bad.bin", token_bytes("x", 1, ids, 2, 2));
    assert_text_refused(path, "ends within a token of 2 bytes");
    free(path);
    path = write_bytes("bad.npy", array_bytes("<i8", "4,", ids, 4, 8));
    assert_text_refused(path, "token 2 is 8192");
    free(path);
    path = write_bytes("bad.npy", array_bytes("<i4", "2,", minus, 2, 4));
    assert_text_refused(path, "token 1 is negative");
    free(path);
    path = write_bytes("bad.npy", array_bytes("<f4", "4,", ids, 4, 4));
    assert_text_refused(path, "holds F32, not tokens");
    free(path);
    for (size_t i = 0; i < ARRAY_LENGTH(shapes); i++) {
        path = write_bytes("bad.npy", array_bytes("<i4", shapes[i], ids, i ? 4 : 1, 4));
        assert_text_refused(path, "tokens have one dimension");
        free(path);
    }
    path = write_bytes("bad.npy", array_bytes("<i4", "5,", ids, 4, 4));
    assert_text_refused(path, "bad.npy");
    free(path);
    const uint32_t ends[] = {END, END};
    path = write_bytes("empty.bin", token_bytes("", 0, ends, 2, 2));
    assert_text_refused(path, "no text in it");
    free(path);
    if (gzip_supported()) {
        struct strbuf bytes = array_bytes("<i4", "2,", ids, 2, 4);
        path = write_compressed("a.npy.gz", bytes.data, bytes.length);
        assert_text_refused(path, "uncompressed file only");
        free(path);
        strbuf_free(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_members_of_members),
        cmocka_unit_test(test_other_containers),
        cmocka_unit_test(test_token_files),
        cmocka_unit_test(test_token_files_beside_text),
        cmocka_unit_test(test_bad_token_files),
    };
    return cmocka_run_group_tests(tests, set_up_text, tear_down_text);
}
