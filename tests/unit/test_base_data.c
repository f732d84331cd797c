/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Number types, files, JSON. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/base/tensor.h"

static char *directory; /* removed after the tests */

static void test_dtypes(void **state)
{
    (void)state;
    static const size_t sizes[DTYPE_COUNT] = {4, 2, 2, 8, 8, 4, 2, 1, 8, 4, 2, 1, 1};
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype t = DTYPE_COUNT;
        assert_int_equal(dtype_size((enum dtype)i), sizes[i]);
        assert_int_equal(dtype_from_name(dtype_name((enum dtype)i), &t), 0);
        assert_int_equal(t, i);
    }
    enum dtype t = DTYPE_F32;
    assert_int_equal(dtype_from_name("F8_E4M3", &t), -1);
    assert_int_equal(dtype_from_name("f32", &t), -1);
    assert_string_equal(dtype_name(DTYPE_BF16), "BF16");
    assert_string_equal(dtype_torch_name(DTYPE_BF16), "bfloat16");
    assert_int_equal(dtype_size(DTYPE_COUNT), 0);
}

static void test_tensor_shapes(void **state)
{
    (void)state;
    char buf[64];
    struct tensor t = {.dtype = DTYPE_F16, .ndim = 2, .shape = {768, 24576}};
    assert_int_equal(tensor_elements(&t), 768 * 24576);
    assert_int_equal(tensor_bytes(&t), 2 * 768 * 24576);
    assert_string_equal(tensor_shape_string(&t, buf, sizeof buf), "[768, 24576]");
    assert_string_equal(tensor_shape_string(&t, buf, 6), "[768,");
    t.ndim = 0;
    assert_int_equal(tensor_elements(&t), 1);
    assert_string_equal(tensor_shape_string(&t, buf, sizeof buf), "[]");
    struct tensor huge = {.dtype = DTYPE_F32, .ndim = 3, .shape = {SIZE_MAX / 2, 3, 5}};
    assert_true(tensor_elements(&huge) == SIZE_MAX && tensor_bytes(&huge) == SIZE_MAX);
    huge.shape[2] = 0;
    assert_int_equal(tensor_elements(&huge), 0);
    struct tensor wide = {.dtype = DTYPE_F32, .ndim = 1, .shape = {SIZE_MAX / 2}};
    assert_true(tensor_bytes(&wide) == SIZE_MAX);
}

/* What the bits of a binary floating-point number mean, by IEEE 754's definition. */
static double meaning(unsigned bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
    int exponent = (int)(bits >> fraction_bits) & top;
    double fraction = bits & ((1u << fraction_bits) - 1);
    double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1.0 : 1.0;
    if (exponent == top)
        return fraction != 0.0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + ldexp(1.0, fraction_bits), exponent - bias - fraction_bits);
}

static void check_all_patterns(enum dtype type, int exponent_bits, int fraction_bits)
{
    enum { ALL = 65536, EXTRA = 3 }; /* not a multiple of a vector's length, and not aligned */
    char *packed = xmalloc(2 * (ALL + EXTRA) + 1), *again = xmalloc(2 * (ALL + EXTRA) + 1);
    float *x = xreallocarray(NULL, ALL + EXTRA, sizeof *x);
    for (unsigned i = 0; i < ALL + EXTRA; i++) {
        uint16_t bits = (uint16_t)i;
        memcpy(packed + 1 + 2 * i, &bits, 2);
    }
    floats_from(type, packed + 1, x, ALL + EXTRA);
    for (unsigned i = 0; i < ALL + EXTRA; i++) {
        double wanted = meaning(i & 0xFFFF, exponent_bits, fraction_bits);
        if (isnan(wanted)) {
            assert_true(isnan(x[i]));
        } else {
            assert_true((double)x[i] == wanted);
            assert_int_equal(signbit(x[i]) != 0, signbit(wanted) != 0);
        }
    }
    /* The vector code and the code for the last few agree. */
    for (unsigned i = 0; i < ALL; i++) {
        float one;
        floats_from(type, packed + 1 + 2 * i, &one, 1);
        assert_true(memcmp(&one, &x[i], 4) == 0 || (isnan(one) && isnan(x[i])));
    }
    floats_to(type, x, again + 1, ALL + EXTRA);
    for (unsigned i = 0; i < ALL + EXTRA; i++) {
        uint16_t bits;
        memcpy(&bits, again + 1 + 2 * i, 2);
        if (isnan(x[i]))
            assert_true(isnan(meaning(bits, exponent_bits, fraction_bits)));
        else
            assert_int_equal(bits, (uint16_t)i);
    }
    free(packed);
    free(again);
    free(x);
}

static void test_sixteen_bits(void **state)
{
    (void)state;
    check_all_patterns(DTYPE_F16, 5, 10);
    check_all_patterns(DTYPE_BF16, 8, 7);
}

/* Between neighbours lo < hi (bits b and b + 1): below the middle lo, above it hi, at the middle the even
 * one. */
static void check_rounding(enum dtype type, int exponent_bits, int fraction_bits)
{
    unsigned infinity = ((1u << exponent_bits) - 1) << fraction_bits;
    for (unsigned b = 0; b + 1 <= infinity; b++) {
        double lo = meaning(b, exponent_bits, fraction_bits),
               hi = meaning(b + 1, exponent_bits, fraction_bits);
        if (b + 1 == infinity) /* where the next number would be */
            hi = lo + (lo - meaning(b - 1, exponent_bits, fraction_bits));
        float middle = (float)(lo + (hi - lo) / 2.0);
        assert_true((double)middle == lo + (hi - lo) / 2.0);
        float x[16];
        for (int i = 0; i < 15; i += 3) {
            x[i] = nextafterf(middle, 0.0f);
            x[i + 1] = middle;
            x[i + 2] = nextafterf(middle, INFINITY);
        }
        x[15] = -middle;
        uint16_t out[16];
        floats_to(type, x, out, 16); /* two vectors */
        uint16_t tail[3];
        floats_to(type, x, tail, 3); /* none */
        unsigned even = b % 2 ? b + 1 : b;
        assert_int_equal(out[0], b);
        assert_int_equal(out[1], even);
        assert_int_equal(out[2], b + 1);
        assert_memory_equal(out + 6, out, 6);
        assert_memory_equal(tail, out, 6);
        assert_int_equal(out[15], even | 0x8000u);
    }
    static const float far[9] = {FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 1.0f, -NAN};
    uint16_t out[9], sign = 0x8000;
    floats_to(type, far, out, 9);
    assert_int_equal(out[0], infinity);
    assert_int_equal(out[1], infinity | sign);
    assert_int_equal(out[2], infinity);
    assert_int_equal(out[3], infinity | sign);
    assert_true(isnan(meaning(out[4], exponent_bits, fraction_bits)));
    assert_int_equal(out[5], 0);
    assert_int_equal(out[6], sign);
    assert_true(meaning(out[7], exponent_bits, fraction_bits) == 1.0);
    assert_true(isnan(meaning(out[8], exponent_bits, fraction_bits)));
    /* NaNs whose payload is all in the bits that are cut off must not become infinities. */
    for (uint32_t payload = 1; payload < 0x800000; payload <<= 1) {
        uint32_t bits = 0x7F800000u | payload;
        float nan[9];
        for (int i = 0; i < 9; i++)
            memcpy(&nan[i], &bits, sizeof bits);
        floats_to(type, nan, out, 9);
        assert_true(isnan(meaning(out[0], exponent_bits, fraction_bits)));
        assert_true(isnan(meaning(out[8], exponent_bits, fraction_bits)));
    }
}

static void test_rounding(void **state)
{
    (void)state;
    check_rounding(DTYPE_F16, 5, 10);
    check_rounding(DTYPE_BF16, 8, 7);
}

static void test_integers(void **state)
{
    (void)state;
    static const float x[] = {0.0f,   1.0f,    -1.0f, 2.5f,   3.5f, -2.5f,
                              200.0f, -200.0f, 1e30f, -1e30f, NAN,  INFINITY};
    enum { N = sizeof x / sizeof *x };
    int8_t i8[N];
    static const int8_t i8_wanted[N] = {0, 1, -1, 2, 4, -2, 127, -128, 127, -128, 0, 127};
    floats_to(DTYPE_I8, x, i8, N);
    assert_memory_equal(i8, i8_wanted, sizeof i8);
    uint8_t u8[N];
    static const uint8_t u8_wanted[N] = {0, 1, 0, 2, 4, 0, 200, 0, 255, 0, 0, 255};
    floats_to(DTYPE_U8, x, u8, N);
    assert_memory_equal(u8, u8_wanted, sizeof u8);
    int64_t i64[N];
    floats_to(DTYPE_I64, x, i64, N);
    assert_true(i64[7] == -200 && i64[8] == INT64_MAX && i64[9] == INT64_MIN && i64[10] == 0);
    uint64_t u64[N];
    floats_to(DTYPE_U64, x, u64, N);
    assert_true(u64[2] == 0 && u64[6] == 200 && u64[8] == UINT64_MAX);
    int32_t i32[N];
    floats_to(DTYPE_I32, x, i32, N);
    assert_true(i32[8] == INT32_MAX && i32[9] == INT32_MIN && i32[5] == -2);
    uint8_t boolean[N];
    floats_to(DTYPE_BOOL, x, boolean, N);
    assert_true(boolean[0] == 0 && boolean[1] == 1 && boolean[2] == 1);

    float back[N];
    floats_from(DTYPE_I8, i8_wanted, back, N);
    assert_true(back[6] == 127.0f && back[7] == -128.0f);
    static const int64_t big[2] = {(int64_t)1 << 40, -3};
    floats_from(DTYPE_I64, big, back, 2);
    assert_true(back[0] == 0x1p40f && back[1] == -3.0f);
    static const uint32_t u32[1] = {4294967295u};
    floats_from(DTYPE_U32, u32, back, 1);
    assert_true(back[0] == 0x1p32f);
    static const double f64[2] = {0.1, 1e300};
    floats_from(DTYPE_F64, f64, back, 2);
    assert_true(back[0] == 0.1f && isinf(back[1]));
    static const uint8_t truth[3] = {0, 1, 2};
    floats_from(DTYPE_BOOL, truth, back, 3);
    assert_true(back[0] == 0.0f && back[1] == 1.0f && back[2] == 1.0f);
    double wide[2];
    floats_to(DTYPE_F64, x + 3, wide, 2);
    assert_true(wide[0] == 2.5 && wide[1] == 3.5);
    floats_from(DTYPE_F32, x, back, N);
    assert_memory_equal(back, x, sizeof x);
    floats_from(DTYPE_F32, NULL, NULL, 0);
}

static void test_first_not_finite(void **state)
{
    (void)state;
    float x[1000];
    for (int i = 0; i < 1000; i++)
        x[i] = (i % 2 ? 1.0f : -1.0f) * FLT_MAX;
    assert_int_equal(first_not_finite(x, 1000), 1000);
    assert_int_equal(first_not_finite(x, 0), 0);
    static const int places[] = {0, 1, 255, 256, 511, 512, 767, 768, 999};
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
        float kept = x[places[i]];
        x[places[i]] = bad[i % 4];
        assert_int_equal(first_not_finite(x, 1000), places[i]);
        assert_int_equal(first_not_finite(x, (size_t)places[i]), places[i]);
        x[places[i]] = kept;
    }
}

static void test_file_read_write(void **state)
{
    (void)state;
    struct error err = {0};
    char *path = path_join(directory, "file");
    assert_int_equal(file_write_atomic(path, "old", 3, &err), STATUS_OK);
    assert_int_equal(file_write_atomic(path, "new\0text", 8, &err), STATUS_OK);
    struct strbuf b = STRBUF_INIT;
    strbuf_adds(&b, ">");
    assert_int_equal(file_read(path, 8, &b, &err), STATUS_OK);
    assert_int_equal(b.length, 9);
    assert_memory_equal(b.data, ">new\0text", 9);
    strbuf_reset(&b);
    assert_int_equal(file_read(path, 7, &b, &err), STATUS_REFUSED);
    assert_non_null(strstr(err.message, "larger than 7 bytes"));
    assert_int_equal(file_read("/nonexistent/\x1b[31m", 7, &b, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "/nonexistent/\\x1B[31m: cannot open: No such file or directory");
    assert_int_equal(file_read(directory, 7, &b, &err), STATUS_REFUSED);
    strbuf_free(&b);
    char *missing = path_join(directory, "none/file");
    assert_int_equal(file_write_atomic(missing, "x", 1, &err), STATUS_FAILED);
    /* A failed rename leaves neither a temporary file nor a change. */
    char *occupied = path_join(directory, "occupied");
    assert_int_equal(make_directories(occupied, 0777, &err), STATUS_OK);
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
    char *path = path_join(directory, "mapped");
    assert_int_equal(file_write_atomic(path, "0123456789", 10, &err), STATUS_OK);
    assert_int_equal(file_map_open(&map, path, &err), STATUS_OK);
    assert_int_equal(map.size, 10);
    assert_memory_equal(map.data, "0123456789", 10);
    assert_string_equal(map.path, path);
    file_map_close(&map);
    assert_int_equal(map.size, 0);
    file_map_close(&map);
    assert_int_equal(file_write_atomic(path, "", 0, &err), STATUS_OK);
    assert_int_equal(file_map_open(&map, path, &err), STATUS_OK);
    assert_int_equal(map.size, 0);
    assert_non_null(map.data);
    file_map_close(&map);
    assert_int_equal(file_map_open(&map, directory, &err), STATUS_REFUSED);
    assert_non_null(strstr(err.message, "not a regular file"));
    char *fifo = path_join(directory, "fifo");
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
    char *tree = path_join(directory, "tree"), *deep = path_join(tree, "a//b/c/"),
         *kept = path_join(directory, "kept");
    assert_int_equal(make_directories(deep, 0777, &err), STATUS_OK);
    assert_int_equal(make_directories(deep, 0777, &err), STATUS_OK);
    assert_true(path_is_directory(deep));
    assert_int_equal(make_directories(kept, 0777, &err), STATUS_OK);
    char *file = path_join(kept, "file"), *link = path_join(deep, "link"), *inner = path_join(deep, "inner");
    assert_int_equal(file_write_atomic(file, "x", 1, &err), STATUS_OK);
    assert_int_equal(file_write_atomic(inner, "x", 1, &err), STATUS_OK);
    char *below_file = path_join(file, "sub");
    assert_int_equal(make_directories(below_file, 0777, &err), STATUS_FAILED);
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(remove_tree(tree, &err), STATUS_OK);
    assert_false(path_exists(tree));
    assert_true(path_exists(file)); /* the link was removed, not what it names */
    assert_int_equal(remove_tree(tree, &err), STATUS_OK);
    assert_int_equal(remove_tree(file, &err), STATUS_OK);
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

static json *parse(const char *text)
{
    struct error err = {0};
    json *v = json_parse(text, strlen(text), "test", &err);
    if (!v)
        fail_msg("%s", err.message);
    return v;
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
    json *v = parse("{\"z\": 1, \"a\": [true, null, -2.5, \"x\\u00e9\\u0000y\"], \"m\": {\"k\": 1e3}}");
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
    json *v = parse("{\"d_in\": 768, \"name\": \"gpt2\", \"negative\": -1, \"real\": 1.5}");
    size_t n = 0;
    const char *s = NULL;
    assert_int_equal(json_need_size(v, "d_in", "cfg.json", 768, &n, &err), STATUS_OK);
    assert_int_equal(n, 768);
    assert_int_equal(json_need_size(v, "d_in", "cfg.json", 767, &n, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "cfg.json: \"d_in\" is not a whole number from 0 to 767");
    assert_int_equal(json_need_size(v, "d_sae", "cfg.json", 767, &n, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "cfg.json: \"d_sae\" is missing");
    assert_int_equal(json_need_size(v, "negative", "cfg.json", SIZE_MAX, &n, &err), STATUS_REFUSED);
    assert_int_equal(json_need_size(v, "real", "cfg.json", SIZE_MAX, &n, &err), STATUS_REFUSED);
    assert_int_equal(json_need_size(v, "name", "cfg.json", SIZE_MAX, &n, &err), STATUS_REFUSED);
    assert_int_equal(json_need_string(v, "name", "cfg.json", &s, &err), STATUS_OK);
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
    json *v = parse("{\"model_max_length\": 1000000000000000019884624838656, \"n\": 768, \"x\": 0.5}");
    assert_true(json_get_number(v, "model_max_length", 0) == 1e30);
    assert_int_equal(json_get_integer(v, "model_max_length", 3), 3);
    assert_int_equal(json_get_integer(v, "n", 0), 768);
    assert_true(json_is_integer(json_get(v, "n")) && !json_is_integer(json_get(v, "x")));
    json_free(v);
    v = parse("[9223372036854775807, -9223372036854775808]");
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
    json *again = parse(b.data);
    assert_int_equal(json_length(again), 5);
    assert_int_equal(json_string_length(json_get(again, "s")), json_string_length(json_get(v, "s")));
    json_free(again);
    json_free(v);
    strbuf_reset(&b);
    v = parse("{\"a\": [1, {}], \"b\": \"c\"}");
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
    char *path = path_join(directory, "cfg.json");
    assert_int_equal(file_write_atomic(path, "{\"k\": 32}", 9, &err), STATUS_OK);
    json *v = json_parse_file(path, &err);
    assert_int_equal(json_get_integer(v, "k", 0), 32);
    json_free(v);
    assert_int_equal(file_write_atomic(path, "{\n\"k\"", 5, &err), STATUS_OK);
    assert_null(json_parse_file(path, &err));
    assert_int_equal(err.code, STATUS_REFUSED);
    assert_memory_equal(err.message, path, strlen(path));
    assert_memory_equal(err.message + strlen(path), ": line 2: ", 10);
    assert_null(json_parse_file("/nonexistent.json", &err));
    assert_int_equal(err.code, STATUS_REFUSED);
    free(path);
}

static int make_directory(void **state)
{
    (void)state;
    locale_start();
    const char *tmp = getenv("TMPDIR");
    directory = path_join(tmp ? tmp : "/tmp", "saescope-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    struct error err;
    int status = remove_tree(directory, &err);
    free(directory);
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes),          cmocka_unit_test(test_tensor_shapes),
        cmocka_unit_test(test_sixteen_bits),    cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_integers),        cmocka_unit_test(test_first_not_finite),
        cmocka_unit_test(test_file_read_write), cmocka_unit_test(test_file_map),
        cmocka_unit_test(test_directories),     cmocka_unit_test(test_paths),
        cmocka_unit_test(test_json_values),     cmocka_unit_test(test_json_need),
        cmocka_unit_test(test_json_refused),    cmocka_unit_test(test_json_large_numbers),
        cmocka_unit_test(test_json_dump),       cmocka_unit_test(test_json_reals),
        cmocka_unit_test(test_json_file),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
