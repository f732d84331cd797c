/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams of bytes: gzip and plain, whole and damaged. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/files/gzip.h"
#include "tests/support/support.h"

/* Python: gzip.compress(b"one\r\ntwo\n\nlast", mtime=0) */
static const unsigned char other_gzip[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0xcf, 0x4b, 0xe5, 0xe5, 0x2a, 0x29,
    0xcf, 0xe7, 0xe2, 0xca, 0x49, 0x2c, 0x2e, 0x01, 0x00, 0x07, 0x29, 0x30, 0x65, 0x0e, 0x00, 0x00, 0x00};

static int read_whole(const char *path, size_t piece, struct strbuf *out, struct error *err)
{
    struct gzip_reader *r;
    char bytes[4096];
    size_t got = 1;
    int status = gzip_reader_open(path, &r, err);
    strbuf_reset(out);
    while (!status && got) {
        status = gzip_reader_read(r, bytes, piece, &got, err);
        strbuf_add(out, bytes, got);
    }
    if (!status)
        assert_int_equal(gzip_reader_position(r), gzip_reader_size(r));
    gzip_reader_close(r);
    return status;
}

/* Bytes that compress to about two thirds. */
static void fill_numbers(struct strbuf *out, size_t n)
{
    uint32_t x = 1;
    strbuf_reset(out);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        strbuf_addc(out, (char)('0' + (x >> 24) % 40));
    }
}

static void write_whole(const char *path, int compress, const struct strbuf *text, size_t piece,
                        uint64_t *size)
{
    struct error err;
    struct gzip_writer *w;
    assert_ok(gzip_writer_open(path, compress, &w, &err));
    for (size_t i = 0; i < text->length; i += piece)
        assert_ok(
            gzip_writer_write(w, text->data + i, i + piece < text->length ? piece : text->length - i, &err));
    assert_false(path_exists(path));
    assert_ok(gzip_writer_finish(w, size, &err));
}

static void test_round_trip(void **state)
{
    static const size_t lengths[] = {0, 1, 65535, 65536, 65537, 1000003};
    struct error err;
    struct strbuf text = STRBUF_INIT, file = STRBUF_INIT, back = STRBUF_INIT;
    char *path = test_path("round");
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++)
        for (int compress = 0; compress <= gzip_supported(); compress++) {
            uint64_t size;
            fill_numbers(&text, lengths[i]);
            write_whole(path, compress, &text, 777, &size);
            strbuf_reset(&file);
            assert_ok(file_read(path, SIZE_MAX >> 1, &file, &err));
            assert_int_equal(file.length, size);
            if (!compress)
                assert_int_equal(size, text.length);
            else if (lengths[i] > 1000)
                assert_true(size < text.length * 3 / 4);
            assert_ok(read_whole(path, 4096, &back, &err));
            assert_int_equal(back.length, text.length);
            assert_memory_equal(strbuf_string(&back), strbuf_string(&text), text.length);
            unlink(path);
        }
    strbuf_free(&text);
    strbuf_free(&file);
    strbuf_free(&back);
    free(path);
}

static void test_same_bytes(void **state)
{
    struct error err;
    struct strbuf text = STRBUF_INIT, a = STRBUF_INIT, b = STRBUF_INIT;
    char *first = test_path("first"), *second = test_path("second");
    (void)state;
    if (!gzip_supported())
        SKIP_TEST("built without zlib");
    fill_numbers(&text, 200000);
    write_whole(first, 1, &text, 1000, NULL);
    write_whole(second, 1, &text, 70001, NULL);
    assert_ok(file_read(first, SIZE_MAX >> 1, &a, &err));
    assert_ok(file_read(second, SIZE_MAX >> 1, &b, &err));
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, a.length);
    strbuf_free(&text);
    strbuf_free(&a);
    strbuf_free(&b);
    free(first);
    free(second);
}

static void expect_lines(const char *path, const char *const *lines)
{
    struct error err;
    struct gzip_reader *r;
    struct strbuf line = STRBUF_INIT;
    int end;
    assert_ok(gzip_reader_open(path, &r, &err));
    for (size_t i = 0; lines[i]; i++) {
        assert_ok(gzip_reader_line(r, 100, &line, &end, &err));
        assert_false(end);
        assert_string_equal(strbuf_string(&line), lines[i]);
    }
    assert_ok(gzip_reader_line(r, 100, &line, &end, &err));
    assert_true(end);
    assert_int_equal(line.length, 0);
    gzip_reader_close(r);
    strbuf_free(&line);
}

static void test_lines(void **state)
{
    static const char *const lines[] = {"one", "two", "", "last", NULL};
    static const char *const one[] = {"last", NULL}, *const none[] = {NULL};
    char *path = write_test_file("lines.jsonl", "one\r\ntwo\n\nlast", 14);
    (void)state;
    expect_lines(path, lines);
    free(path);
    path = write_test_file("ends.jsonl", "last\n", 5);
    expect_lines(path, one);
    free(path);
    path = write_test_file("empty.jsonl", "", 0);
    expect_lines(path, none);
    free(path);
    if (!gzip_supported())
        return;
    path = write_test_file("lines.jsonl.gz", other_gzip, sizeof(other_gzip));
    expect_lines(path, lines);
    free(path);
}

/* Lines of many lengths, over the buffers' ends; and one that is too long. */
static void test_long_lines(void **state)
{
    struct error err;
    struct strbuf text = STRBUF_INIT, line = STRBUF_INIT;
    char *path = test_path("long");
    struct gzip_reader *r;
    int end;
    (void)state;
    for (size_t i = 0; i < 600; i++) {
        strbuf_addf(&text, "%zu:", i);
        for (size_t j = 0; j < i * 37 % 3001 + (i == 300) * 200000; j++)
            strbuf_addc(&text, (char)('a' + (i + j) % 26));
        strbuf_addc(&text, '\n');
    }
    write_whole(path, gzip_supported(), &text, 5000, NULL);
    assert_ok(gzip_reader_open(path, &r, &err));
    const char *expected = text.data;
    for (size_t i = 0; i < 600; i++) {
        assert_ok(gzip_reader_line(r, 300000, &line, &end, &err));
        assert_false(end);
        size_t n = strcspn(expected, "\n");
        assert_int_equal(line.length, n);
        assert_memory_equal(line.data, expected, n);
        expected += n + 1;
    }
    assert_ok(gzip_reader_line(r, 300000, &line, &end, &err));
    assert_true(end);
    gzip_reader_close(r);

    assert_ok(gzip_reader_open(path, &r, &err));
    int status = STATUS_OK;
    size_t n = 0;
    while (!status && n < 1000) {
        status = gzip_reader_line(r, 10000, &line, &end, &err);
        n += !status;
    }
    assert_int_equal(status, STATUS_REFUSED);
    assert_int_equal(n, 300);
    assert_says("longer than 10000 bytes");
    gzip_reader_close(r);
    strbuf_free(&text);
    strbuf_free(&line);
    free(path);
}

static void test_members(void **state)
{
    struct error err;
    struct strbuf file = STRBUF_INIT, back = STRBUF_INIT;
    (void)state;
    if (!gzip_supported())
        SKIP_TEST("built without zlib");
    strbuf_add(&file, other_gzip, sizeof(other_gzip));
    strbuf_add(&file, other_gzip, sizeof(other_gzip));
    char *path = write_test_file("members.gz", file.data, file.length);
    for (size_t piece = 1; piece < 40; piece++) {
        assert_ok(read_whole(path, piece, &back, &err));
        assert_int_equal(back.length, 28);
        assert_memory_equal(back.data, "one\r\ntwo\n\nlastone\r\ntwo\n\nlast", 28);
    }
    free(path);
    strbuf_free(&file);
    strbuf_free(&back);
}

static void test_damaged(void **state)
{
    struct error err;
    struct strbuf back = STRBUF_INIT;
    unsigned char bytes[sizeof(other_gzip) + 1];
    char *path;
    (void)state;
    if (!gzip_supported())
        SKIP_TEST("built without zlib");
    for (size_t n = 2; n < sizeof(other_gzip); n++) {
        path = write_test_file("cut.gz", other_gzip, n);
        assert_int_equal(read_whole(path, 100, &back, &err), STATUS_REFUSED);
        assert_says("ends too early");
        free(path);
    }
    /* One bit of the checksum, of the length, of the compressed data, of the header's method. */
    static const struct {
        size_t back;
        const char *says;
    } bits[] = {
        {8, "incorrect data check"}, {4, "incorrect length check"}, {sizeof(other_gzip) - 2, "method"}};
    for (size_t i = 0; i < ARRAY_LENGTH(bits); i++) {
        memcpy(bytes, other_gzip, sizeof(other_gzip));
        bytes[sizeof(other_gzip) - bits[i].back] ^= 1;
        path = write_test_file("bit.gz", bytes, sizeof(other_gzip));
        assert_int_equal(read_whole(path, 100, &back, &err), STATUS_REFUSED);
        assert_says(bits[i].says);
        free(path);
    }
    memcpy(bytes, other_gzip, sizeof(other_gzip));
    bytes[sizeof(other_gzip)] = 'x';
    path = write_test_file("more.gz", bytes, sizeof(bytes));
    assert_int_equal(read_whole(path, 100, &back, &err), STATUS_REFUSED);
    assert_says("other bytes follow");
    free(path);
    strbuf_free(&back);
}

static void test_unusable(void **state)
{
    struct error err;
    struct gzip_reader *r;
    struct gzip_writer *w;
    char *path = test_path("nothing/there");
    (void)state;
    assert_int_equal(gzip_reader_open(path, &r, &err), STATUS_REFUSED);
    assert_says("No such file");
    assert_int_equal(gzip_reader_open(test_directory, &r, &err), STATUS_REFUSED);
    assert_says("is a directory");
    assert_int_equal(gzip_writer_open(path, 0, &w, &err), STATUS_FAILED);
    assert_says("cannot create");
    free(path);
    /* What is abandoned leaves nothing. */
    path = test_path("gone");
    assert_ok(gzip_writer_open(path, 0, &w, &err));
    assert_ok(gzip_writer_write(w, "abc", 3, &err));
    gzip_writer_abandon(w);
    assert_false(path_exists(path));
    char *temporary = xasprintf("%s.tmp-%ld", path, (long)getpid());
    assert_false(path_exists(temporary));
    free(temporary);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_lines), cmocka_unit_test(test_members),    cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_unusable),
    };
    return cmocka_run_group_tests_name("gzip", tests, set_up_directory, tear_down_directory);
}
