/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The explorer's parts: lists, keys and what they are bound to, plots, queries. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

/* ---- Lists. ---- */

static void act(struct list *l, const char *action, long count, size_t cursor, size_t top)
{
    assert_int_equal(list_act(l, action, count), INVALID_DRAW);
    list_layout(l, 10);
    assert_int_equal(l->cursor, cursor);
    assert_int_equal(l->top, top);
}

static void test_list_motions(void **state)
{
    struct list l = {.n = 100};
    (void)state;
    list_layout(&l, 10);
    act(&l, "up", -1, 0, 0);
    act(&l, "down", -1, 1, 0);
    act(&l, "down", 12, 13, 4);
    act(&l, "page-down", -1, 21, 12);
    act(&l, "page-up", -1, 13, 4);
    act(&l, "half-page-down", -1, 18, 9);
    act(&l, "half-page-up", 2, 8, 8);
    act(&l, "end", -1, 99, 90);
    act(&l, "down", 5, 99, 90);
    act(&l, "end", 50, 49, 49);
    act(&l, "row-to-middle", -1, 49, 44);
    act(&l, "screen-top", -1, 44, 44);
    act(&l, "screen-bottom", -1, 53, 44);
    act(&l, "row-to-top", -1, 53, 53);
    act(&l, "row-to-bottom", -1, 53, 44);
    act(&l, "jump", 1000, 99, 90);
    act(&l, "jump", 1, 0, 0);
    act(&l, "jump", 0, 0, 0);
    act(&l, "up", 1000000, 0, 0);
    act(&l, "down", 100000000, 99, 90);
    act(&l, "home", -1, 0, 0);
    assert_int_equal(list_act(&l, "sort", -1), INVALID_NOT_MINE);
}

static void test_list_shrinks(void **state)
{
    struct list l = {.n = 100, .cursor = 80, .top = 75};
    (void)state;
    list_set_count(&l, 20);
    list_layout(&l, 10);
    assert_int_equal(l.cursor, 19);
    assert_int_equal(l.top, 10);
    list_set_count(&l, 0);
    list_layout(&l, 10);
    assert_int_equal(l.cursor, 0);
    assert_int_equal(l.top, 0);
    assert_int_equal(list_act(&l, "down", 3), INVALID_NONE);
    assert_int_equal(l.cursor, 0);
    assert_int_equal(list_act(&l, "screen-bottom", 3), INVALID_NOT_MINE);
}

/* ---- Keys. ---- */

static void test_keys_are_canonical(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        int meta;
        const char *key;
    } typed[] = {
        {"a", 1, 0, "a"},          {"\r", 1, 0, "<Enter>"},
        {"\t", 1, 0, "<Tab>"},     {" ", 1, 0, "<Space>"},
        {"\033", 1, 0, "<Esc>"},   {"\177", 1, 0, "<Backspace>"},
        {"\004", 1, 0, "<C-d>"},   {"\032", 1, 0, "<C-z>"},
        {"x", 1, 1, "<M-x>"},      {"\303\251", 2, 0, "\303\251"},
        {"\r", 1, 1, "<M-Enter>"},
    };
    char key[KEY_TEXT_MAX], canonical[KEY_TEXT_MAX];
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(typed); i++) {
        assert_int_equal(key_from_character(typed[i].bytes, typed[i].n, typed[i].meta, key), 1);
        assert_string_equal(key, typed[i].key);
        assert_int_equal(key_canonical(key, canonical, &err), 0);
        assert_string_equal(canonical, key);
    }
}

/* Every key of every action is one that can be typed, and no two actions of a table share one. */
static void check_table(const struct app *a, const struct view_ops *ops, const struct action *table)
{
    for (const struct action *action = table; action && action->name; action++) {
        struct strbuf words = STRBUF_INIT;
        char *rest = NULL;
        strbuf_adds(&words, action->keys);
        for (char *word = strtok_r(words.data, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
            char keys[PENDING_KEYS][KEY_TEXT_MAX];
            const char *target = NULL;
            struct error err;
            size_t n = 1;
            if (key_canonical(word, keys[0], &err) != STATUS_OK)
                for (n = 0; word[n]; n++) {
                    char one[2] = {word[n], '\0'};
                    assert_int_equal(key_canonical(one, keys[n], &err), STATUS_OK);
                }
            assert_int_equal(binding_find(a, ops, keys, n, &target), BINDING_FOUND);
            if (table != generic_actions)
                assert_string_equal(target, action->name);
            for (size_t part = 1; part < n; part++)
                assert_int_equal(binding_find(a, ops, keys, part, &target), BINDING_PREFIX);
        }
        strbuf_free(&words);
    }
}

static void test_actions_are_reachable(void **state)
{
    struct context ctx = {.keymap = NULL};
    struct app a = {.ctx = &ctx};
    static const struct view_ops plain = {.name = "plain"};
    (void)state;
    check_table(&a, &plain, generic_actions);
    for (size_t i = 0; views[i]; i++) {
        assert_ptr_equal(view_find(views[i]->name), views[i]);
        assert_non_null(views[i]->summary);
        check_table(&a, views[i], views[i]->actions);
    }
}

static void test_own_bindings_come_first(void **state)
{
    struct context ctx = {.keymap = keymap_new()};
    struct app a = {.ctx = &ctx};
    const struct view_ops *store = view_find("store"), *jobs = view_find("jobs");
    char keys[1][KEY_TEXT_MAX] = {"i"};
    const char *target;
    struct error err;
    (void)state;
    assert_int_equal(keymap_bind(ctx.keymap, "store", "i", "list saes", &err), 0);
    assert_int_equal(binding_find(&a, store, keys, 1, &target), BINDING_FOUND);
    assert_string_equal(target, "list saes");
    assert_int_equal(binding_find(&a, jobs, keys, 1, &target), BINDING_NONE);
    assert_int_equal(keymap_bind(ctx.keymap, NULL, "i", "help", &err), 0);
    assert_int_equal(binding_find(&a, store, keys, 1, &target), BINDING_FOUND);
    assert_string_equal(target, "list saes");
    assert_int_equal(binding_find(&a, jobs, keys, 1, &target), BINDING_FOUND);
    assert_string_equal(target, "help");
    keymap_free(ctx.keymap);
}

static void test_typed_bytes(void **state)
{
    char bytes[16];
    (void)state;
    assert_int_equal(key_bytes("<Up>", bytes), 3);
    assert_memory_equal(bytes, "\033[A", 3);
    assert_int_equal(key_bytes("<C-r>", bytes), 1);
    assert_int_equal(bytes[0], 0x12);
    assert_int_equal(key_bytes("<Enter>", bytes), 1);
    assert_int_equal(bytes[0], '\r');
    assert_int_equal(key_bytes("x", bytes), 1);
    assert_int_equal(bytes[0], 'x');
    assert_int_equal(key_bytes("<F7>", bytes), 0);
}

/* ---- The clipboard. ---- */

static void expect_clipboard(const char *text, const char *base64)
{
    struct strbuf b = STRBUF_INIT;
    char *expected = xasprintf("\033]52;c;%s\033\\", base64);
    clipboard_sequence(&b, text);
    assert_string_equal(strbuf_string(&b), expected);
    free(expected);
    strbuf_free(&b);
}

/* The vectors of RFC 4648, section 10, and one with every digit. */
static void test_clipboard_is_base64(void **state)
{
    (void)state;
    expect_clipboard("", "");
    expect_clipboard("f", "Zg==");
    expect_clipboard("fo", "Zm8=");
    expect_clipboard("foo", "Zm9v");
    expect_clipboard("foob", "Zm9vYg==");
    expect_clipboard("fooba", "Zm9vYmE=");
    expect_clipboard("foobar", "Zm9vYmFy");
    expect_clipboard("\xfb\xff\xbe", "+/++");
}

/* Nothing of a text ends the sequence or is a control character of its own. */
static void test_clipboard_is_closed(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    static const char *const texts[] = {"\033\\\033]52;c;!\007", "a\nrm -rf\r", "\x9c\xc2\x9c\x90q\x18\x1a",
                                        ";;;?", "\xe2\x80\xae\xff"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct strbuf b = STRBUF_INIT;
        size_t n = strlen("\033]52;c;");
        clipboard_sequence(&b, texts[i]);
        assert_memory_equal(b.data, "\033]52;c;", n);
        size_t inside = strspn(b.data + n, digits);
        assert_int_equal(inside, (strlen(texts[i]) + 2) / 3 * 4);
        assert_string_equal(b.data + n + inside, "\033\\");
        strbuf_free(&b);
    }
}

/* ---- Drawing on a screen without a terminal. ---- */

static void start_screen(int width, int height, int ascii)
{
    struct screen_options o = {
        .headless = 1, .width = width, .height = height, .color = "auto", .ascii = ascii};
    struct error err = {0};
    if (screen_start(&o, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    screen_begin();
}

static void expect_screen(const char *rows)
{
    struct strbuf b = STRBUF_INIT;
    screen_end();
    screen_dump(&b);
    *strchr(strbuf_string(&b), '=') = '\0';
    assert_string_equal(strbuf_string(&b), rows);
    strbuf_free(&b);
    screen_stop();
}

static void test_bars(void **state)
{
    struct canvas c = {0, 0, 4, 10};
    (void)state;
    start_screen(10, 4, 0);
    canvas_bar(&c, 0, 0, 8, 0.5, STYLE_BAR);
    canvas_bar(&c, 1, 0, 8, 0.5 + 1.0 / 64, STYLE_BAR);
    canvas_bar(&c, 2, 0, 8, 1e-9, STYLE_BAR);
    canvas_bar(&c, 3, 0, 8, 7, STYLE_BAR);
    expect_screen("████\n████▏\n▏\n████████\n");
    start_screen(10, 4, 1);
    canvas_bar(&c, 0, 0, 8, 0.5, STYLE_BAR);
    canvas_bar(&c, 1, 0, 8, 0, STYLE_BAR);
    canvas_bar(&c, 2, 0, 8, NAN, STYLE_BAR);
    canvas_bar(&c, 3, 0, 8, 1, STYLE_BAR);
    expect_screen("####\n\n\n########\n");
}

static void test_histogram(void **state)
{
    static const double counts[] = {8, 4, 0, 1};
    struct canvas c = {0, 0, 2, 9};
    (void)state;
    start_screen(9, 2, 0);
    canvas_histogram(&c, counts, 4, 0); /* 8 columns: two each; 16 eighths are the largest */
    expect_screen("██\n████  ▂▂\n");
}

static void test_curve(void **state)
{
    static const float falling[] = {3, 2, 1, 0}, gap[] = {0, NAN, NAN, 3};
    struct canvas c = {0, 0, 1, 2};
    (void)state;
    start_screen(2, 1, 0);
    canvas_curve(&c, falling, 4, 0, 0, STYLE_BAR); /* dots (0,0) (1,1) (2,2) (3,3): U+2811, U+2884 */
    expect_screen("⠑⢄\n");
    start_screen(2, 1, 0);
    canvas_curve(&c, gap, 4, 0, 3, STYLE_BAR);
    expect_screen("⡀⠈\n");
}

static void test_text_is_cut(void **state)
{
    struct canvas c = {0, 2, 3, 6};
    (void)state;
    start_screen(10, 3, 0);
    assert_int_equal(canvas_text(&c, 0, 0, STYLE_NORMAL, "abcdefghij"), 10);
    canvas_ellipsis(&c, 1, 0, 6, STYLE_NORMAL, "作者作者");
    canvas_text(&c, 2, -2, STYLE_NORMAL, "abcd");
    canvas_text(&c, 5, 0, STYLE_NORMAL, "outside");
    canvas_right(&c, 2, 6, STYLE_NORMAL, "12");
    expect_screen("  abcdef\n  作者…\n  cd  12\n");
}

static void draw_all_lines(int ascii)
{
    struct canvas c = {0, 0, 2, 17};
    start_screen(17, 2, ascii);
    for (unsigned ends = 0; ends < 16; ends++)
        canvas_text(&c, 0, (int)ends, STYLE_BORDER, glyph_line(ends));
    canvas_text(&c, 1, 0, STYLE_BORDER, glyph(GLYPH_DOTTED));
}

static void test_lines(void **state)
{
    (void)state;
    draw_all_lines(0);
    expect_screen(" │││─┘┐┤─└┌├─┴┬┼\n·\n");
    draw_all_lines(1);
    expect_screen(" |||-+++-+++-+++\n.\n");
}

/* ---- Queries. ---- */

struct counted {
    int done, discarded, freed;
};
static struct counted counts;
static _Atomic int slow_started;

static int query_work(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    (void)t;
    (void)err;
    *result = xstrdup(arg);
    if (strcmp(arg, "slow") == 0)
        slow_started = 1;
    if (strcmp(arg, "slow") == 0)
        while (!q->cancelled(q))
            usleep(1000);
    return STATUS_OK;
}

static int query_done(struct view *v, void *result, int status, const struct error *err)
{
    (void)v;
    (void)err;
    assert_int_equal(status, STATUS_OK);
    assert_string_equal(result, "quick");
    counts.done++;
    free(result);
    return INVALID_DRAW;
}

static void query_discard(void *result)
{
    counts.discarded++;
    free(result);
}

static void query_arg_free(void *arg)
{
    counts.freed++;
    free(arg);
}

static void test_queries(void **state)
{
    static const struct query_spec spec = {query_work, query_done, query_discard, query_arg_free};
    static const struct view_ops ops = {.name = "test"};
    char directory[] = "/tmp/saescope-tui-XXXXXX";
    struct context ctx = {.settings = settings_new()};
    struct screen_options o = {.headless = 1, .width = 80, .height = 24, .color = "auto"};
    struct app *a = xcalloc(1, sizeof *a);
    struct view v = {.ops = &ops, .app = a};
    struct error err = {0};
    (void)state;
    assert_non_null(mkdtemp(directory));
    ctx.store_options = (struct store_options){.path = directory, .create = 1};
    assert_int_equal(store_open(&ctx.store_options, &ctx.store, &err), 0);
    assert_int_equal(app_start(a, &ctx, &o, &err), 0);
    memset(&counts, 0, sizeof counts);
    query_start(&v, 0, &spec, xstrdup("slow"));
    assert_int_equal(query_busy(&v, 0), 1);
    assert_int_equal(query_busy(&v, 1), 0);
    while (!slow_started)
        usleep(1000);
    query_start(&v, 1, &spec, xstrdup("quick"));
    query_start(&v, 0, &spec, xstrdup("quick")); /* takes the place of the slow one */
    while (!app_idle(a))
        app_tick(a);
    assert_int_equal(counts.done, 2);
    assert_int_equal(counts.discarded, 1);
    assert_int_equal(counts.freed, 3);
    query_start(&v, 0, &spec, xstrdup("slow"));
    query_cancel_view(&v);
    assert_int_equal(query_busy(&v, 0), 0);
    assert_int_equal(history_open(a, view_find("store"), "", &err), 0);
    app_end(a);
    assert_int_equal(counts.done, 2);
    assert_int_equal(counts.freed, 4);
    free(a);
    context_close(&ctx, 0);
    settings_free(ctx.settings);
    assert_int_equal(remove_tree(directory, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_motions),
        cmocka_unit_test(test_list_shrinks),
        cmocka_unit_test(test_keys_are_canonical),
        cmocka_unit_test(test_actions_are_reachable),
        cmocka_unit_test(test_own_bindings_come_first),
        cmocka_unit_test(test_clipboard_is_base64),
        cmocka_unit_test(test_clipboard_is_closed),
        cmocka_unit_test(test_typed_bytes),
        cmocka_unit_test(test_bars),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_curve),
        cmocka_unit_test(test_text_is_cut),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_queries),
    };
    locale_start();
    setenv("TERM", "xterm-256color", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
