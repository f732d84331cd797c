/* SPDX-License-Identifier: GPL-3.0-or-later */
/* safetensors: what it reads, what it refuses, what it writes. Files are put together byte by byte here. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/safetensors.h"
#include "tests/support/support.h"

static void put(const char *path, uint64_t length, const char *header, const void *data, size_t n)
{
    struct strbuf b = STRBUF_INIT;
    for (int i = 0; i < 8; i++)
        strbuf_addc(&b, (char)(length >> 8 * i));
    strbuf_adds(&b, header);
    strbuf_add(&b, data, n);
    assert_int_equal(file_write_atomic(path, b.data, b.length, NULL), 0);
    strbuf_free(&b);
}

static int open_with(const char *header, uint64_t length, size_t data_size, struct safetensors *file,
                     struct error *err)
{
    char *path = test_path("x.safetensors");
    char *data = xcalloc(data_size + 1, 1);
    put(path, length ? length : strlen(header), header, data, data_size);
    int code = safetensors_open(file, path, err);
    free(data);
    free(path);
    return code;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint64_t length; /* 0: the header's own */
        size_t data;
        const char *says;
    } cases[] = {
        {"{}", 100, 0, "truncated"},
        {"{}", UINT64_MAX, 0, "over 100 MB"},
        {"{}", 100000001, 0, "over 100 MB"},
        {"{\"a\":", 0, 0, "header"},
        {"[]", 0, 0, "no JSON object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         0, 8, "header"},
        {"{\"a\":3}", 0, 0, "no object"},
        {"{\"__metadata__\":3}", 0, 0, "__metadata__"},
        {"{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, "unknown dtype \"F99\""},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 0, 4,
         "numbers of dtype F8_E4M3 are not read: convert the file"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, "unknown dtype"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, "unknown dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 0, 4, "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 0, 4, "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 0, 4, "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 0, 4, "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 0, 4, "4 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,4]}}", 0, 4,
         "impossibly"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 0, 4,
         "whole number"},
        /* 2⁶⁴ + 4 bytes in all, which wraps round to 4 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 0, 4,
         "impossibly"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0, 0,
         "impossibly"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, 4, "byte range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 0, 4, "byte range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 0, 4, "byte range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 0, 4, "byte range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 0, 4, "byte range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 0, 4, "byte range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 0, 7, "truncated"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}"
         "}",
         0, 4, "truncated"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 0, 4, "do not fit its shape"},
        {"{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", 0, 8, "do not fit its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         0, 8, "tensor b: its data overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         0, 12, "tensor b: there is a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 8, "4 bytes follow"},
        {"{\"a\\u0007\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 0, 4, "tensor a\\x07:"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct safetensors file;
        struct error err;
        error_clear(&err);
        int code = open_with(cases[i].header, cases[i].length, cases[i].data, &file, &err);
        if (code != STATUS_REFUSED || !strstr(err.message, cases[i].says))
            fail_msg("case %zu %s: %d \"%s\", wanted \"%s\"", i, cases[i].header, code, err.message,
                     cases[i].says);
        assert_says("x.safetensors");
    }
}

static void test_short_and_missing(void **state)
{
    (void)state;
    struct safetensors file;
    struct error err;
    char *path = test_path("short.safetensors");
    assert_int_equal(safetensors_open(&file, path, &err), STATUS_REFUSED);
    assert_int_equal(file_write_atomic(path, "1234567", 7, NULL), 0);
    assert_int_equal(safetensors_open(&file, path, &err), STATUS_REFUSED);
    assert_says("too short");
    assert_int_equal(file_write_atomic(path, "", 0, NULL), 0);
    assert_int_equal(safetensors_open(&file, path, &err), STATUS_REFUSED);
    free(path);
}

static void test_read(void **state)
{
    (void)state;
    struct safetensors file;
    struct error err;
    const float a[] = {1.5f, -2.0f};
    unsigned char data[12];
    /* b's bytes come first though it is named second; 0x3c00 and 0xc000 are 1 and −2 in F16 */
    memcpy(data, "\x00\x3c\x00\xc0", 4);
    memcpy(data + 4, a, 8);
    char *path = test_path("good.safetensors");
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[4,12]},"
                         "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                         "\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[12,12]}} ";
    put(path, strlen(header), header, data, sizeof data);
    assert_ok(safetensors_open(&file, path, &err));
    assert_int_equal(file.n_tensors, 3);
    assert_string_equal(json_get_string(file.metadata, "format", ""), "pt");
    const struct tensor *x = safetensors_find(&file, "b");
    float numbers[2];
    floats_from(x->dtype, x->data, numbers, 2);
    assert_true(numbers[0] == 1.0f && numbers[1] == -2.0f);
    assert_ok(safetensors_need(&file, "a", &x, &err));
    assert_int_equal(x->ndim, 2);
    assert_memory_equal(x->data, a, 8);
    assert_null(safetensors_find(&file, "c"));
    assert_int_equal(safetensors_need(&file, "c", &x, &err), STATUS_REFUSED);
    assert_says("no tensor c (it has: a, b, none)");
    safetensors_close(&file);
    free(path);
}

/* Row r of a source holds r·100 + column. */
static int read_rows(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    size_t width = *(size_t *)arg;
    (void)err;
    for (size_t i = 0; i < n * width; i++)
        dst[i] = (float)((first + i / width) * 100 + i % width);
    return STATUS_OK;
}

static int read_huge(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    (void)arg;
    (void)first;
    (void)err;
    for (size_t i = 0; i < n; i++)
        dst[i] = 1e5f;
    return STATUS_OK;
}

static int read_failing(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    (void)arg;
    (void)first;
    (void)n;
    (void)dst;
    return error_set(err, STATUS_FAILED, "cancelled");
}

static void test_write(void **state)
{
    (void)state;
    static size_t wide = 3, one = 1, tall = 40;
    const struct safetensors_source sources[] = {
        {"wide \"x\"", 2, {2, 3}, read_rows, &wide},
        {"scalar", 0, {0}, read_rows, &one},
        {"tall", 2, {40000, 40}, read_rows, &tall},
    };
    struct error err;
    struct safetensors file;
    char *path = test_path("written.safetensors");
    json *metadata = json_new_object();
    json_set(metadata, "format", json_new_string("pt"));
    assert_ok(safetensors_write(path, sources, 3, DTYPE_F32, metadata, &err));
    json_free(metadata);
    assert_ok(safetensors_open(&file, path, &err));
    assert_int_equal(file.n_tensors, 3);
    assert_int_equal(file.map.data[0] % 8, 0);
    assert_string_equal(json_get_string(file.metadata, "format", ""), "pt");
    const struct tensor *x = safetensors_find(&file, "wide \"x\"");
    assert_non_null(x);
    assert_memory_equal(x->data, ((const float[]){0, 1, 2, 100, 101, 102}), 24);
    x = safetensors_find(&file, "tall");
    assert_int_equal(x->shape[0], 40000);
    float last;
    memcpy(&last, (const char *)x->data + tensor_bytes(x) - 4, 4);
    assert_true(last == 3999939.0f);
    assert_int_equal(safetensors_find(&file, "scalar")->ndim, 0);
    safetensors_close(&file);
    free(path);
}

/* A failed write leaves the old file and nothing beside it. */
static void test_write_fails(void **state)
{
    (void)state;
    const struct safetensors_source failing = {"f", 1, {4}, read_failing, NULL};
    const struct safetensors_source huge = {"huge", 1, {4}, read_huge, NULL};
    struct error err;
    char *path = test_path("kept.safetensors");
    char *beside = xasprintf("%s.tmp-%ld", path, (long)getpid());
    char *nowhere = test_path("missing/x.safetensors");
    assert_int_equal(file_write_atomic(path, "old", 3, NULL), 0);
    assert_int_equal(safetensors_write(path, &failing, 1, DTYPE_F32, NULL, &err), STATUS_FAILED);
    assert_string_equal(err.message, "cancelled");
    assert_int_equal(safetensors_write(path, &huge, 1, DTYPE_F16, NULL, &err), STATUS_FAILED);
    assert_says("huge");
    assert_int_equal(safetensors_write(nowhere, &huge, 1, DTYPE_F32, NULL, &err), STATUS_FAILED);
    struct strbuf b = STRBUF_INIT;
    assert_int_equal(file_read(path, 100, &b, NULL), 0);
    assert_string_equal(strbuf_string(&b), "old");
    assert_false(path_exists(beside));
    strbuf_free(&b);
    free(path);
    free(beside);
    free(nowhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused), cmocka_unit_test(test_short_and_missing), cmocka_unit_test(test_read),
        cmocka_unit_test(test_write),   cmocka_unit_test(test_write_fails),
    };
    return cmocka_run_group_tests_name("safetensors", tests, set_up_directory, tear_down_directory);
}
