/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Contexts on a screen without a terminal: what is cut, wrapped, shaded and marked. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/latent_page.h"
#include "saescope/tui/screen.h"

#define WIDTH  20
#define HEIGHT 4

/* Tokens between '|'; those that begin with a digit fire with it (0: not) and have the rest as text. */
static struct page_context make(const char *tokens, size_t peak)
{
    struct page_context c = {.position = peak, .interval = -1};
    c.tokens = xcalloc(strlen(tokens) + 1, sizeof *c.tokens);
    for (const char *p = tokens; *p; p += *p == '|') {
        size_t n = strcspn(p, "|");
        page_token_make(&c.text, p + 1, n - 1, &c.tokens[c.n]);
        c.tokens[c.n++].activation = (float)(*p - '0');
        p += n;
    }
    c.activation = c.tokens[peak].activation;
    return c;
}

static void drop(struct page_context *c)
{
    free(c->tokens);
    strbuf_free(&c->text);
}

static void assert_screen(const char *should)
{
    struct strbuf is = STRBUF_INIT;
    screen_dump(&is);
    assert_string_equal(strbuf_string(&is), should);
    strbuf_free(&is);
}

#define RULE "====================\n"

static const struct canvas whole = {0, 0, HEIGHT, WIDTH};

static void test_token(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    struct page_token t;
    page_token_make(&text, " caf\xc3\xa9", 6, &t);
    assert_int_equal(t.start, 0);
    assert_int_equal(t.length, 6);
    assert_int_equal(t.width, 5);
    assert_int_equal(t.blanks, 1);
    assert_true(t.plain);
    page_token_make(&text, "\n\x1b", 2, &t);
    assert_int_equal(t.start, 6);
    assert_int_equal(t.width, 6); /* \n\x1B */
    assert_int_equal(t.blanks, 0);
    assert_false(t.plain);
    page_token_make(&text, "  ", 2, &t);
    assert_int_equal(t.blanks, 0); /* blanks alone are shaded */
    assert_string_equal(strbuf_string(&text), " caf\xc3\xa9\\n\\x1B  ");
    strbuf_free(&text);
}

static void test_line(void **state)
{
    (void)state;
    struct page_context c = make("0aaaa|0 bbbb|1 cccc|5 dddd|0 eeee|0 ffff", 3);
    screen_begin();
    context_line_draw(&whole, 0, 0, &c, 100, 5);
    context_line_draw(&whole, 1, 0, &c, 1, 5); /* one token on either side */
    context_line_draw(&whole, 2, 8, &c, 100, 10);
    c.position = 6; /* damaged: nothing is drawn */
    context_line_draw(&whole, 3, 0, &c, 100, 5);
    screen_end();
    assert_screen("… cccc dddd eeee…\n"
                  "… cccc dddd eeee…\n"
                  "        … dddd…\n"
                  "\n" RULE
                  "d.1111.5555.....d...\n"
                  "d.1111.5555.....d...\n"
                  "........d.3333d.....\n"
                  "....................\n");
    drop(&c);
}

static void test_wrap(void **state)
{
    (void)state;
    struct page_context c = make("0one two|3 three four|0 five six|0 seven", 1);
    screen_begin();
    assert_int_equal(context_wrapped_draw(&whole, &c, 0, 3, HEAT_VALUES, 1), 2);
    assert_int_equal(context_wrapped_line(&c, WIDTH, HEAT_VALUES, 0), 0);
    assert_int_equal(context_wrapped_line(&c, WIDTH, HEAT_VALUES, 1), 0);
    assert_int_equal(context_wrapped_line(&c, WIDTH, HEAT_VALUES, 2), 1);
    screen_end();
    assert_screen("one two three four\n five six seven\n\n\n" RULE "........SSSSSSSSSS..\n"
                  "....................\n....................\n....................\n");
    screen_begin();
    context_wrapped_draw(&whole, &c, 1, 3, HEAT_VALUES, SIZE_MAX);
    screen_end();
    assert_screen(" five six seven\n\n\n\n" RULE "....................\n....................\n"
                  "....................\n....................\n");
    drop(&c);
}

/* A token that is wider than the screen goes over several lines. */
static void test_long_token(void **state)
{
    (void)state;
    struct page_context c = make("0ab|20123456789012345678901234567890123456789|0cd", 1);
    screen_begin();
    assert_int_equal(context_wrapped_draw(&whole, &c, 0, 2, HEAT_PLAIN, SIZE_MAX), 4);
    assert_int_equal(context_wrapped_line(&c, WIDTH, HEAT_PLAIN, 2), 3);
    screen_end();
    assert_screen("ab\n01234567890123456789\n01234567890123456789\ncd\n" RULE "....................\n"
                  "55555555555555555555\n55555555555555555555\n....................\n");
    drop(&c);
}

static void test_monochrome(void **state)
{
    (void)state;
    struct page_context c = make("1ab|4 cd|0 ef|3gh", 1);
    screen_configure("never", 1);
    screen_begin();
    context_line_draw(&whole, 0, 0, &c, 100, 4); /* only what is strong is marked */
    context_wrapped_draw(&(struct canvas){1, 0, 3, WIDTH}, &c, 0, 4, HEAT_VALUES, SIZE_MAX);
    screen_end();
    assert_screen("ab <cd> ef<gh>\n<ab>1.0 <cd>4.0 ef\n<gh>3.0\n\n" RULE "22.d55d...d44d......\n"
                  "d22dddd.d55dddd.....\nd44dddd.............\n....................\n");
    screen_configure("always", 0);
    drop(&c);
}

static int start(void **state)
{
    (void)state;
    struct error err = {0};
    const struct screen_options options = {.headless = 1, .width = WIDTH, .height = HEIGHT, .color = "always"};
    return screen_start(&options, &err) == STATUS_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    screen_stop();
    return 0;
}

int main(void)
{
    locale_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),     cmocka_unit_test(test_line),       cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_long_token), cmocka_unit_test(test_monochrome),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
