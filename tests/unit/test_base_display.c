/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text from data made displayable, and its width. */
#include "config.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

static void check_displayable(const char *bytes, size_t n, const char *wanted)
{
    struct strbuf b = STRBUF_INIT;
    displayable(&b, bytes, n);
    assert_string_equal(strbuf_string(&b), wanted);
    strbuf_free(&b);
}

static void test_displayable(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"", ""},
        {"plain ~ \\ text", "plain ~ \\ text"},
        {"a\nb\tc", "a\\nb\\tc"},
        {"\x1b[31m\r\x7f\x01", "\\x1B[31m\\x0D\\x7F\\x01"},
        {"\xC2\x85\xC2\x9B", "<U+0085><U+009B>"},
        {"\xE2\x80\xAE"
         "abc",
         "<U+202E>abc"},                                    /* right-to-left override */
        {"\xE2\x81\xA6x\xE2\x81\xA9", "<U+2066>x<U+2069>"}, /* isolates */
        {"a\xE2\x80\x8B"
         "b\xE2\x80\x8D"
         "c\xEF\xBB\xBF",
         "a<U+200B>b<U+200D>c<U+FEFF>"},
        {"\xE2\x80\xA8\xE2\x80\xA9", "<U+2028><U+2029>"},
        {"\xCC\x81", "<U+0301>"}, /* a lone acute */
        {" \xCC\x81", " <U+0301>"},
        {"\n\xCC\x81", "\\n<U+0301>"},
        {"e\xCC\x81", "e\xCC\x81"},
        {"e\xCC\x81\xCC\xA3", "e\xCC\x81\xCC\xA3"},
        {"e\xCC\x81\xCC\x81\xCC\x81\xCC\x81\xCC\x81", "e\xCC\x81\xCC\x81\xCC\x81\xCC\x81<U+0301>"},
        {"\xEE\x80\x80", "<U+E000>"}, /* private use */
        {"\xF4\x8F\xBF\xBD", "<U+10FFFD>"},
        {"\xCD\xB8", "<U+0378>"}, /* unassigned */
        {"\xEF\xBF\xBF", "<U+FFFF>"},
        {"\xC3\xA9\xE6\x97\xA5\xF0\x9F\x98\x80", "\xC3\xA9\xE6\x97\xA5\xF0\x9F\x98\x80"},
        {"\xFF\xC3(\xE2\x82", "\\xFF\\xC3(\\xE2\\x82"},
        {"\xED\xA0\x80", "\\xED\\xA0\\x80"}, /* a surrogate */
        {"\xC0\xAF", "\\xC0\\xAF"},          /* overlong */
        {"\xF0\x9F\x98", "\\xF0\\x9F\\x98"},
        {"\xEF\xBF\xBD", "\xEF\xBF\xBD"},
        {"\xE1\x84\x80\xE1\x85\xA1", "\xE1\x84\x80\xE1\x85\xA1"}, /* a syllable's two parts */
        {"\xE1\x85\xA1", "<U+1161>"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        check_displayable(cases[i].text, strlen(cases[i].text), cases[i].wanted);
    check_displayable("a\0b", 3, "a\\x00b");
    char *s = displayable_string("x\x1b");
    assert_string_equal(s, "x\\x1B");
    free(s);
}

/* Whatever comes in, what goes out is valid, has no controls, stays as it is the second time, and can be
 * measured. */
static void test_displayable_random(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 5, 0);
    struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
    for (int turn = 0; turn < 20000; turn++) {
        unsigned char bytes[40];
        size_t n = (size_t)rng_below(&r, sizeof bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(rng_below(&r, 3) ? 0x80 + rng_below(&r, 128) : rng_next(&r));
        /* Half of them valid: any character after any other. */
        size_t used = 0;
        while (turn % 2 && used + 4 < n) {
            uint32_t c = (uint32_t)(rng_below(&r, 2) ? rng_below(&r, 0x3000) : rng_below(&r, 0x110000));
            if (c < 0x80) {
                bytes[used++] = (unsigned char)c;
            } else if (c < 0x800) {
                bytes[used++] = (unsigned char)(0xC0 | c >> 6);
                bytes[used++] = (unsigned char)(0x80 | (c & 0x3F));
            } else if (c < 0x10000) {
                bytes[used++] = (unsigned char)(0xE0 | c >> 12);
                bytes[used++] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
                bytes[used++] = (unsigned char)(0x80 | (c & 0x3F));
            } else {
                bytes[used++] = (unsigned char)(0xF0 | c >> 18);
                bytes[used++] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
                bytes[used++] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
                bytes[used++] = (unsigned char)(0x80 | (c & 0x3F));
            }
        }
        strbuf_reset(&once);
        strbuf_reset(&twice);
        displayable(&once, bytes, n);
        assert_true(utf8_valid(once.data, once.length));
        for (size_t i = 0; i < once.length; i++)
            assert_true((unsigned char)once.data[i] >= 0x20 && once.data[i] != 0x7F);
        displayable(&twice, once.data, once.length);
        assert_string_equal(twice.data, once.data);
        size_t width = display_width(once.data, once.length), last = 0;
        for (size_t columns = 0; columns <= width; columns++) {
            size_t prefix = display_prefix(once.data, once.length, columns);
            assert_true(prefix >= last && prefix <= once.length);
            assert_true(display_width(once.data, prefix) <= columns);
            assert_true(utf8_valid(once.data, prefix));
            last = prefix;
        }
        assert_int_equal(last, once.length);
    }
    strbuf_free(&once);
    strbuf_free(&twice);
}

static void test_width(void **state)
{
    (void)state;
    static const char text[] = "ae\xCC\x81\xE6\x97\xA5\xF0\x9F\x98\x80x"; /* a, e with acute, day, face, x */
    assert_int_equal(display_width(text, strlen(text)), 1 + 1 + 2 + 2 + 1);
    static const size_t prefixes[] = {0, 1, 4, 4, 7, 7, 11, 12, 12};
    for (size_t columns = 0; columns < ARRAY_LENGTH(prefixes); columns++)
        assert_int_equal(display_prefix(text, strlen(text), columns), prefixes[columns]);
    assert_int_equal(display_width("", 0), 0);
    assert_int_equal(display_prefix("", 0, 5), 0);
    /* Two regional indicators are one flag: not to be cut in two. */
    static const char flag[] = "\xF0\x9F\x87\xAB\xF0\x9F\x87\xB7";
    size_t width = display_width(flag, 8);
    assert_int_equal(display_prefix(flag, 8, width - 1), 0);
    assert_int_equal(display_prefix(flag, 8, width), 8);
}

/* The wanted strings are Python's bytes.decode("utf-8", "replace"). */
static void test_replace_invalid(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *bytes, *wanted;
    } cases[] = {{"plain", "plain"},
                 {"\xF0\x9F\x98", R},
                 {"\xE2\x82x", R "x"},
                 {"\xED\xA0\x80", R R R},
                 {"\xF4\x90\x80\x80", R R R R},
                 {"\xC0\xAF", R R},
                 {"\xE0\x80\xAF", R R R},
                 {"\xF0\x80\x80\xAF", R R R R},
                 {"a\xFF\xFE"
                  "b",
                  "a" R R "b"},
                 {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                  "A",
                  R R R R "A"},
                 {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"}};
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        strbuf_reset(&b);
        utf8_replace_invalid(&b, cases[i].bytes, strlen(cases[i].bytes));
        assert_string_equal(strbuf_string(&b), cases[i].wanted);
        assert_int_equal(utf8_valid(cases[i].bytes, strlen(cases[i].bytes)),
                         !strcmp(cases[i].bytes, cases[i].wanted));
    }
    strbuf_free(&b);
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid("a\0b", 3));
}

static void test_locales(void **state)
{
    (void)state;
    setenv("LC_ALL", "xx_XX.UTF-8", 1); /* not installed anywhere */
    assert_true(locale_start());
    assert_string_equal(setlocale(LC_CTYPE, NULL), "C.UTF-8");
    assert_string_equal(setlocale(LC_NUMERIC, NULL), "C");
    setenv("LC_ALL", "C", 1);
    assert_false(locale_start());
    assert_false(locale_is_utf8());
    check_displayable("\xC3\xA9\xE6\x97\xA5\n\xFF", 7, "<U+00E9><U+65E5>\\n\\xFF");
    assert_int_equal(display_width("abc", 3), 3);
    assert_int_equal(display_prefix("abc", 3, 2), 2);
    setenv("LC_ALL", "C.UTF-8", 1);
    assert_true(locale_start());
    assert_true(locale_is_utf8());
}

static int start(void **state)
{
    (void)state;
    setenv("LC_ALL", "C.UTF-8", 1);
    return locale_start() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_displayable), cmocka_unit_test(test_displayable_random),
        cmocka_unit_test(test_width),       cmocka_unit_test(test_replace_invalid),
        cmocka_unit_test(test_locales),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
