/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files and JSON. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"

static void test_file_read_write(void **state)
{
    (void)state;
    struct error err = {0};
    char *path = test_path("file");
    assert_ok(file_write_atomic(path, "old", 3, &err));
    assert_ok(file_write_atomic(path, "new\0text", 8, &err));
    struct strbuf b = STRBUF_INIT;
    strbuf_adds(&b, ">");
    assert_ok(file_read(path, 8, &b, &err));
    assert_int_equal(b.length, 9);
    assert_memory_equal(b.data, ">new\0text", 9);
    strbuf_reset(&b);
    assert_int_equal(file_read(path, 7, &b, &err), STATUS_REFUSED);
    assert_says("larger than 7 bytes");
    assert_int_equal(file_read("/nonexistent/\x1b[31m", 7, &b, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "/nonexistent/\\x1B[31m: cannot open: No such file or directory");
    assert_int_equal(file_read(test_directory, 7, &b, &err), STATUS_REFUSED);
    strbuf_free(&b);
    char *missing = test_path("none/file");
    assert_int_equal(file_write_atomic(missing, "x", 1, &err), STATUS_FAILED);
    /* A failed rename leaves neither a temporary file nor a change. */
    char *occupied = test_path("occupied");
    assert_ok(make_directories(occupied, 0777, &err));
    assert_int_equal(file_write_atomic(occupied, "x", 1, &err), STATUS_FAILED);
    char *temporary = xasprintf("%s.tmp-%ld", occupied, (long)getpid());
    assert_false(path_exists(temporary));
    assert_true(path_is_directory(occupied));
    free(temporary);
    free(occupied);
    free(missing);
    free(path);
}

static void test_file_map(void **state)
{
    (void)state;
    struct error err = {0};
    struct file_map map;
    char *path = test_path("mapped");
    assert_ok(file_write_atomic(path, "0123456789", 10, &err));
    assert_ok(file_map_open(&map, path, &err));
    assert_int_equal(map.size, 10);
    assert_memory_equal(map.data, "0123456789", 10);
    assert_string_equal(map.path, path);
    file_map_close(&map);
    assert_int_equal(map.size, 0);
    file_map_close(&map);
    assert_ok(file_write_atomic(path, "", 0, &err));
    assert_ok(file_map_open(&map, path, &err));
    assert_int_equal(map.size, 0);
    assert_non_null(map.data);
    file_map_close(&map);
    assert_int_equal(file_map_open(&map, test_directory, &err), STATUS_REFUSED);
    assert_says("not a regular file");
    char *fifo = test_path("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(file_map_open(&map, fifo, &err), STATUS_REFUSED);
    assert_int_equal(file_map_open(&map, "/nonexistent", &err), STATUS_REFUSED);
    free(fifo);
    free(path);
}

static void test_directories(void **state)
{
    (void)state;
    struct error err = {0};
    char *tree = test_path("tree"), *deep = path_join(tree, "a//b/c/"), *kept = test_path("kept");
    assert_ok(make_directories(deep, 0777, &err));
    assert_ok(make_directories(deep, 0777, &err));
    assert_true(path_is_directory(deep));
    assert_ok(make_directories(kept, 0777, &err));
    char *file = path_join(kept, "file"), *link = path_join(deep, "link"), *inner = path_join(deep, "inner");
    assert_ok(file_write_atomic(file, "x", 1, &err));
    assert_ok(file_write_atomic(inner, "x", 1, &err));
    char *below_file = path_join(file, "sub");
    assert_int_equal(make_directories(below_file, 0777, &err), STATUS_FAILED);
    assert_int_equal(symlink(kept, link), 0);
    assert_ok(remove_tree(tree, &err));
    assert_false(path_exists(tree));
    assert_true(path_exists(file)); /* the link was removed, not what it names */
    assert_ok(remove_tree(tree, &err));
    assert_ok(remove_tree(file, &err));
    assert_false(path_exists(file));
    free(tree);
    free(deep);
    free(kept);
    free(file);
    free(link);
    free(inner);
    free(below_file);
}

static void check_path(char *path, const char *wanted)
{
    assert_string_equal(path, wanted);
    free(path);
}

static void test_paths(void **state)
{
    (void)state;
    check_path(path_join("a", "b"), "a/b");
    check_path(path_join("a/", "b"), "a/b");
    check_path(path_join("/", "b"), "/b");
    check_path(path_join("a", "/b"), "/b");
    check_path(path_join("", "b"), "b");
    assert_string_equal(path_base("/x/y.json"), "y.json");
    assert_string_equal(path_base("y"), "y");
    setenv("HOME", "/home/who", 1);
    unsetenv("XDG_DATA_HOME");
    setenv("XDG_STATE_HOME", "relative", 1);
    setenv("XDG_CACHE_HOME", "/scratch/cache", 1);
    check_path(xdg_directory("DATA"), "/home/who/.local/share/saescope");
    check_path(xdg_directory("STATE"), "/home/who/.local/state/saescope");
    check_path(xdg_directory("CACHE"), "/scratch/cache/saescope");
    unsetenv("XDG_CONFIG_HOME");
    check_path(xdg_directory("CONFIG"), "/home/who/.config/saescope");
    unsetenv("HOME");
    char *without_home = xdg_directory("DATA");
    assert_int_equal(without_home[0], '/');
    assert_non_null(strstr(without_home, "/.local/share/saescope"));
    free(without_home);
    setenv("SAESCOPE_DATADIR", "/shipped", 1);
    check_path(shipped_file("wordnet.txt"), "/shipped/wordnet.txt");
    unsetenv("SAESCOPE_DATADIR");
    check_path(shipped_file("wordnet.txt"), PKGDATADIR "/wordnet.txt");
    double before = clock_seconds();
    assert_true(clock_seconds() >= before);
}

static void check_dump(const json *v, const char *wanted)
{
    struct strbuf b = STRBUF_INIT;
    json_dump(v, &b);
    assert_string_equal(strbuf_string(&b), wanted);
    strbuf_free(&b);
}

static void test_json_values(void **state)
{
    (void)state;
    json *v = parse_json("{\"z\": 1, \"a\": [true, null, -2.5, \"x\\u00e9\\u0000y\"], \"m\": {\"k\": 1e3}}");
    assert_true(json_is_object(v) && !json_is_array(v) && json_length(v) == 3);
    assert_string_equal(json_key_at(v, 0), "z");
    assert_string_equal(json_key_at(v, 1), "a");
    assert_string_equal(json_key_at(v, 2), "m");
    assert_null(json_key_at(v, 3));
    assert_ptr_equal(json_value_at(v, 1), json_get(v, "a"));
    json *a = json_get(v, "a");
    assert_true(json_is_array(a) && json_length(a) == 4);
    assert_true(json_is_boolean(json_at(a, 0)) && json_boolean(json_at(a, 0), 0) == 1);
    assert_true(json_is_null(json_at(a, 1)) && json_is_null(NULL) && json_is_null(json_at(a, 9)));
    assert_true(json_is_number(json_at(a, 2)) && !json_is_integer(json_at(a, 2)));
    assert_true(json_number(json_at(a, 2), 0) == -2.5);
    assert_int_equal(json_string_length(json_at(a, 3)), 5);
    assert_memory_equal(json_string(json_at(a, 3), ""), "x\xC3\xA9\0y", 6);
    assert_int_equal(json_get_integer(v, "z", 5), 1);
    assert_int_equal(json_get_integer(json_get(v, "m"), "k", 5), 1000);
    assert_int_equal(json_get_integer(v, "absent", 5), 5);
    assert_int_equal(json_get_integer(v, "a", 5), 5);
    assert_string_equal(json_get_string(v, "z", "fallback"), "fallback");
    assert_true(json_get_number(v, "z", 0.0) == 1.0);
    assert_int_equal(json_get_boolean(v, "z", 1), 1);
    void *iter = NULL;
    const char *key;
    json *value;
    char keys[8] = "";
    while (json_next(v, &iter, &key, &value)) {
        strcat(keys, key);
        assert_ptr_equal(value, json_get(v, key));
    }
    assert_string_equal(keys, "zam");
    json *kept = json_retain(a);
    json_free(v);
    assert_int_equal(json_length(kept), 4);
    json_free(kept);
    json_free(NULL);
}

static void test_json_need(void **state)
{
    (void)state;
    struct error err = {0};
    json *v = parse_json("{\"d_in\": 768, \"name\": \"gpt2\", \"negative\": -1, \"real\": 1.5}");
    size_t n = 0;
    const char *s = NULL;
    assert_ok(json_need_size(v, "d_in", "cfg.json", 768, &n, &err));
    assert_int_equal(n, 768);
    assert_int_equal(json_need_size(v, "d_in", "cfg.json", 767, &n, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "cfg.json: \"d_in\" is not a whole number from 0 to 767");
    assert_int_equal(json_need_size(v, "d_sae", "cfg.json", 767, &n, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "cfg.json: \"d_sae\" is missing");
    assert_int_equal(json_need_size(v, "negative", "cfg.json", SIZE_MAX, &n, &err), STATUS_REFUSED);
    assert_int_equal(json_need_size(v, "real", "cfg.json", SIZE_MAX, &n, &err), STATUS_REFUSED);
    assert_int_equal(json_need_size(v, "name", "cfg.json", SIZE_MAX, &n, &err), STATUS_REFUSED);
    assert_ok(json_need_string(v, "name", "cfg.json", &s, &err));
    assert_string_equal(s, "gpt2");
    assert_int_equal(json_need_string(v, "d_in", "cfg.json", &s, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "cfg.json: \"d_in\" is not a string");
    assert_int_equal(json_need_string(NULL, "x", "cfg.json", &s, &err), STATUS_REFUSED);
    json_free(v);
}

static void test_json_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "{",          "{\"a\": 1, \"a\": 2}",
                                      "[1,]",    "nul",        "{} {}",
                                      "[NaN]",   "[\"\xFF\"]", "[1e999]",
                                      "[01]",    "'a'",        "[\"\\ud800\"]",
                                      "{\"a\"}", "[\"a\nb\"]"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct error err = {0};
        assert_null(json_parse(bad[i], strlen(bad[i]), "x.json", &err));
        assert_int_equal(err.code, STATUS_REFUSED);
        assert_memory_equal(err.message, "x.json: line ", 13);
    }
    struct error err = {0};
    assert_null(json_parse("[1,\n2,\n\x1b]", 9, "x\x1b.json", &err));
    assert_memory_equal(err.message, "x\\x1B.json: line 3: ", 20);
    assert_null(strchr(err.message, '\x1b'));
    enum { DEEP = 100000 };
    char *deep = xmalloc(DEEP);
    memset(deep, '[', DEEP);
    assert_null(json_parse(deep, DEEP, "deep", &err));
    free(deep);
}

static void test_json_large_numbers(void **state)
{
    (void)state;
    json *v = parse_json("{\"model_max_length\": 1000000000000000019884624838656, \"n\": 768, \"x\": 0.5}");
    assert_true(json_get_number(v, "model_max_length", 0) == 1e30);
    assert_int_equal(json_get_integer(v, "model_max_length", 3), 3);
    assert_int_equal(json_get_integer(v, "n", 0), 768);
    assert_true(json_is_integer(json_get(v, "n")) && !json_is_integer(json_get(v, "x")));
    json_free(v);
    v = parse_json("[9223372036854775807, -9223372036854775808]");
    assert_true(json_integer(json_at(v, 0), 0) == INT64_MAX && json_integer(json_at(v, 1), 0) == INT64_MIN);
    json_free(v);
}

static void test_json_dump(void **state)
{
    (void)state;
    json *v = json_new_object();
    json_set(v, "z", json_new_integer(-3));
    json_set(v, "a", json_new_real(0.1));
    json *list = json_new_array();
    json_append(list, json_new_real(NAN));
    json_append(list, json_new_real(INFINITY));
    json_append(list, json_new_boolean(1));
    json_append(list, json_new_boolean(0));
    json_append(list, json_new_null());
    json_append(list, json_new_real(3.0));
    json_append(list, json_new_real(-1.0 / 3.0));
    json_append(list, json_new_real(1e-20));
    json_append(list, json_new_object());
    json_append(list, json_new_array());
    json_set(v, "list", list);
    json_set(v, "s", json_new_bytes("q\"\\\n\t\x01\x7f\xff\0é", 11));
    json_set(v, "bad\xFFkey", json_new_string("\xC3"));
    check_dump(
        v,
        "{\"z\": -3, \"a\": 0.1, \"list\": [null, null, true, false, null, 3, -0.333333333, 1e-20, {}, []], "
        "\"s\": \"q\\\"\\\\\\n\\t\\u0001\\u007f\xEF\xBF\xBD\\u0000é\", \"bad\xEF\xBF\xBDkey\": "
        "\"\xEF\xBF\xBD\"}");
    struct strbuf b = STRBUF_INIT;
    json_dump(v, &b);
    json *again = parse_json(b.data);
    assert_int_equal(json_length(again), 5);
    assert_int_equal(json_string_length(json_get(again, "s")), json_string_length(json_get(v, "s")));
    json_free(again);
    json_free(v);
    strbuf_reset(&b);
    v = parse_json("{\"a\": [1, {}], \"b\": \"c\"}");
    json_dump_pretty(v, &b);
    assert_string_equal(b.data, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"c\"\n}\n");
    json_free(v);
    strbuf_free(&b);
}

/* Nine digits give every float32 back. */
static void test_json_reals(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 11, 0);
    struct strbuf b = STRBUF_INIT;
    for (int i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)rng_next(&r);
        float x;
        memcpy(&x, &bits, sizeof x);
        strbuf_reset(&b);
        json_dump_real(&b, (double)x);
        if (!isfinite(x)) {
            assert_string_equal(b.data, "null");
            continue;
        }
        assert_true((float)strtod(b.data, NULL) == x);
    }
    strbuf_free(&b);
}

static void test_json_file(void **state)
{
    (void)state;
    struct error err = {0};
    char *path = test_path("cfg.json");
    assert_int_equal(file_write_atomic(path, "{\"k\": 32}", 9, &err), STATUS_OK);
    json *v = json_parse_file(path, &err);
    assert_int_equal(json_get_integer(v, "k", 0), 32);
    json_free(v);
    assert_int_equal(file_write_atomic(path, "{\n\"k\"", 5, &err), STATUS_OK);
    assert_null(json_parse_file(path, &err));
    assert_int_equal(err.code, STATUS_REFUSED);
    assert_memory_equal(err.message, path, strlen(path));
    assert_memory_equal(err.message + strlen(path), ": line 2: ", 10);
    static const char pointer[] =
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17525357\n";
    assert_int_equal(file_write_atomic(path, pointer, strlen(pointer), &err), STATUS_OK);
    assert_null(json_parse_file(path, &err));
    assert_int_equal(err.code, STATUS_REFUSED);
    assert_non_null(strstr(err.message, "cfg.json: a Git LFS pointer, not the file: 'git lfs pull'"));
    assert_null(json_parse_file("/nonexistent.json", &err));
    assert_int_equal(err.code, STATUS_REFUSED);
    free(path);
}

static int set_up(void **state)
{
    locale_start();
    return set_up_directory(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_read_write), cmocka_unit_test(test_file_map),
        cmocka_unit_test(test_directories),     cmocka_unit_test(test_paths),
        cmocka_unit_test(test_json_values),     cmocka_unit_test(test_json_need),
        cmocka_unit_test(test_json_refused),    cmocka_unit_test(test_json_large_numbers),
        cmocka_unit_test(test_json_dump),       cmocka_unit_test(test_json_reals),
        cmocka_unit_test(test_json_file),
    };
    return cmocka_run_group_tests_name("base data", tests, set_up, tear_down_directory);
}
