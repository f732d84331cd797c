/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Neuronpedia's explanations as labels, written by hand as its exports have them; and hostile ones. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/files/gzip.h"
#include "saescope/files/json_lines.h"
#include "saescope/formats/neuronpedia.h"
#include "tests/support/support.h"

static void write_gzip(const char *path, const char *text, int compress)
{
    struct error err;
    struct gzip_writer *w;
    assert_ok(gzip_writer_open(path, compress, &w, &err));
    assert_ok(gzip_writer_write(w, text, strlen(text), &err));
    assert_ok(gzip_writer_finish(w, NULL, &err));
}

#define ROW(index, description, created)                                                                     \
    "{\"id\":\"clx\",\"modelId\":\"gpt2-small\",\"layer\":\"8-res_fs49152-jb\",\"index\":" index             \
    ",\"description\":" description ",\"authorId\":\"cla\",\"embedding\":[0.1,-0.2],\"triggeredById\":null," \
    "\"typeName\":\"oai_token-act-pair\",\"explanationModelName\":\"gpt-4o-mini\",\"notes\":null,"           \
    "\"createdAt\":" created "}\n"

static void expect(const struct neuronpedia_labels *l, const char *const *texts, size_t d_sae)
{
    size_t at = 0;
    for (size_t i = 0; i < d_sae; i++) {
        if (!texts[i])
            continue;
        assert_true(at < l->n);
        assert_int_equal(l->labels[at].latent, i);
        assert_int_equal(l->labels[at].source, LABEL_IMPORTED);
        assert_string_equal(l->labels[at].text, texts[i]);
        assert_int_equal(l->labels[at].n, strlen(texts[i]));
        at++;
    }
    assert_int_equal(at, l->n);
}

/* Batches in the order of their numbers; index as number and as string; the last by createdAt, else the
 * first. */
static void test_batches(void **state)
{
    struct error err;
    struct neuronpedia_labels labels;
    char *directory = test_path("np"), *inside = test_path("np/explanations");
    (void)state;
    assert_ok(make_directories(inside, 0777, &err));
    char *path = test_path("np/explanations/batch-10.jsonl");
    write_gzip(path,
               ROW("\"2\"", "\"too late to be first\"", "\"2024-01-01T00:00:00.000Z\"")
                   ROW("5", "\"dates\"", "null"),
               0);
    free(path);
    path = test_path("np/explanations/batch-2.jsonl.gz");
    write_gzip(path,
               ROW("0", "\"old\"", "\"2023-07-05T10:00:00.000Z\"")
                   ROW("0", "\"new \\\"caf\\u00e9\\\"\"", "\"2024-11-02T09:00:00.000Z\"")
                       ROW("0", "\"older\"", "\"2022-07-05T10:00:00.000Z\"") "\n" ROW(
                           "\"2\"", "\"first of two\"", "\"2024-01-01T00:00:00.000Z\"")
                           ROW("3", "null", "null") ROW("4", "\"\"", "null"),
               gzip_supported());
    free(path);
    path = test_path("np/explanations/other.jsonl");
    write_gzip(path, "not read", 0);
    free(path);
    static const char *const texts[6] = {"new \"caf\xc3\xa9\"", NULL, "first of two", NULL, NULL, "dates"};
    assert_ok(neuronpedia_labels_read(directory, 6, &labels, &err));
    expect(&labels, texts, 6);
    assert_int_equal(labels.rows, 8);
    neuronpedia_labels_free(&labels);
    assert_ok(neuronpedia_labels_read(inside, 6, &labels, &err));
    expect(&labels, texts, 6);
    neuronpedia_labels_free(&labels);
    free(directory);
    free(inside);
}

static void test_hostile(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[]\n", "bad.jsonl:1: no JSON object"},
        {"{\"index\":1}\n{\"index\":\n", "bad.jsonl:2"},
        {"{}\n", "index is no latent's number"},
        {"{\"index\":-1}\n", "index is no latent's number"},
        {"{\"index\":1.5}\n", "index is no latent's number"},
        {"{\"index\":[1]}\n", "index is no latent's number"},
        {"{\"index\":\"1x\"}\n", "index is no latent's number"},
        {"{\"index\":\"1\\u0000\"}\n", "index is no latent's number"},
        {"{\"index\":\"99999999999999999999999\"}\n", "index is no latent's number"},
        {"{\"index\":6}\n", "latent 6 is not in 0 ... 5"},
        {"{\"index\":\"9223372036854775807\"}\n", "is not in 0 ... 5"},
        {"{\"index\":1,\"description\":7}\n", "description is no text"},
        {"{\"index\":1,\"description\":\"x\",\"createdAt\":5}\n", "createdAt is no text"},
        {"{\"index\":1,\"index\":2}\n", "bad.jsonl:1"},
        {"{\"index\":1,\"description\":\"\xff\"}\n", "bad.jsonl:1"},
        {ROW("1", "\"a\"", "null") "{\"modelId\":\"gpt2-small\",\"layer\":\"9-res\",\"index\":1}\n",
         "bad.jsonl:2: a row of gpt2-small/9-res, where the rows before are of gpt2-small/8-res_fs49152-jb"},
    };
    struct error err;
    struct neuronpedia_labels labels;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *path = write_test_file("bad.jsonl", cases[i].text, strlen(cases[i].text));
        assert_int_equal(neuronpedia_labels_read(path, 6, &labels, &err), STATUS_REFUSED);
        assert_says(cases[i].says);
        assert_int_equal(labels.n, 0);
        neuronpedia_labels_free(&labels);
        free(path);
    }
    /* Very deep. */
    struct strbuf deep = STRBUF_INIT;
    strbuf_adds(&deep, "{\"index\":1,\"description\":");
    for (size_t i = 0; i < 10000; i++)
        strbuf_addc(&deep, '[');
    char *path = write_test_file("bad.jsonl", deep.data, deep.length);
    assert_int_equal(neuronpedia_labels_read(path, 6, &labels, &err), STATUS_REFUSED);
    assert_says("bad.jsonl:1");
    neuronpedia_labels_free(&labels);
    strbuf_free(&deep);
    free(path);
}

/* A download that was cut: nothing of it is taken. */
static void test_cut(void **state)
{
    struct error err;
    struct neuronpedia_labels labels;
    struct strbuf file = STRBUF_INIT;
    char *path = test_path("cut.jsonl.gz");
    (void)state;
    if (!gzip_supported())
        SKIP_TEST("built without zlib");
    write_gzip(path, ROW("1", "\"a\"", "null") ROW("2", "\"b\"", "null"), 1);
    assert_ok(file_read(path, SIZE_MAX >> 1, &file, &err));
    assert_ok(file_write_atomic(path, file.data, file.length - 9, &err));
    assert_int_equal(neuronpedia_labels_read(path, 6, &labels, &err), STATUS_REFUSED);
    assert_says("cut.jsonl.gz: the compressed data ends too early");
    assert_int_equal(labels.n, 0);
    neuronpedia_labels_free(&labels);
    strbuf_free(&file);
    free(path);
}

static void test_folders(void **state)
{
    struct error err;
    struct neuronpedia_labels labels;
    struct batch_files files;
    char *directory = test_path("twice");
    (void)state;
    assert_ok(make_directories(directory, 0777, &err));
    assert_int_equal(neuronpedia_labels_read(directory, 6, &labels, &err), STATUS_REFUSED);
    assert_says("no batch-N.jsonl");
    static const char *const names[] = {"twice/batch-7.jsonl", "twice/batch-07.jsonl.gz",
                                        "twice/batch-.jsonl", "twice/batch-1.json", "twice/batch-x.jsonl"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        free(write_test_file(names[i], "", 0));
    assert_int_equal(batch_files_find(directory, json_lines_endings, &files, &err), STATUS_REFUSED);
    assert_says("two files are batch 7");
    free(directory);
}

static void test_line(void **state)
{
    struct strbuf line = STRBUF_INIT;
    char model[] = "gpt2-small", source[] = "8-res-jb";
    const struct neuronpedia_place place = {model, source, 1};
    const struct label label = {12, LABEL_USER, "a \"b\"\n\xff", 7};
    (void)state;
    neuronpedia_label_line(&line, &place, &label);
    assert_int_equal(line.data[line.length - 1], '\n');
    json *row = parse_json(line.data);
    assert_string_equal(json_get_string(row, "modelId", ""), "gpt2-small");
    assert_string_equal(json_get_string(row, "layer", ""), "8-res-jb");
    assert_string_equal(json_get_string(row, "index", ""), "12");
    assert_string_equal(json_get_string(row, "description", ""), "a \"b\"\n\xef\xbf\xbd");
    assert_string_equal(json_get_string(row, "typeName", ""), "user");
    json_free(row);
    strbuf_free(&line);
}

static void test_ids(void **state)
{
    static const char *const good[] = {"gpt2-small/8-res_fs49152-jb", "gemma-2-2b/20-gemmascope-res-16k",
                                       "a/b"},
                             *const bad[] = {"", "a", "a/", "/b", "a/b/c", "a b/c", "a/b?x=1", "a/\xc3\xa9"};
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++)
        assert_ok(neuronpedia_check_id(good[i], &err));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(neuronpedia_check_id(bad[i], &err), STATUS_REFUSED);
        assert_says("is no Neuronpedia id");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches), cmocka_unit_test(test_hostile), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_folders), cmocka_unit_test(test_line),    cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests_name("neuronpedia", tests, set_up_directory, tear_down_directory);
}
