/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Plots in a plane: ticks, scatter, lines, points, and where a stitch's panes are. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/axis.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/tui/screen.h"
#include "saescope/tui/stitch_view.h"

/* ---- Ticks. ---- */

static void expect_ticks(const struct ticks *t, const char *texts)
{
    char all[256] = "";
    for (size_t i = 0; i < t->n; i++) {
        strcat(all, i ? " " : "");
        strcat(all, t->items[i].text);
    }
    assert_string_equal(all, texts);
}

static void test_linear_ticks(void **state)
{
    struct ticks t;
    (void)state;
    ticks_linear(0, 1, 6, &t);
    expect_ticks(&t, "0.0 0.2 0.4 0.6 0.8 1.0");
    ticks_linear(0, 1, 5, &t);
    expect_ticks(&t, "0.0 0.5 1.0");
    ticks_linear(-0.3, 0.3, 3, &t);
    expect_ticks(&t, "-0.2 0.0 0.2");
    ticks_linear(0, 4583, 8, &t);
    expect_ticks(&t, "0 1000 2000 3000 4000");
    ticks_linear(15.77, 16.04, 4, &t);
    expect_ticks(&t, "15.8 15.9 16.0");
    ticks_linear(2, 2, 4, &t);
    expect_ticks(&t, "");
    ticks_linear(3, 2, 4, &t);
    expect_ticks(&t, "");
    ticks_linear(0, INFINITY, 4, &t);
    expect_ticks(&t, "");
    ticks_linear(0, 1, 0, &t);
    expect_ticks(&t, "");
}

/* Of any range: in it, evenly spaced, no more than asked for, and two at least where two have room. */
static void test_linear_ticks_of_any_range(void **state)
{
    struct rng r;
    struct ticks t;
    (void)state;
    rng_seed(&r, 1, 0);
    for (int k = 0; k < 5000; k++) {
        double low = (rng_uniform(&r) - 0.5) * pow(10, (double)rng_below(&r, 12) - 5),
               high = low + (rng_uniform(&r) + 0.01) * pow(10, (double)rng_below(&r, 12) - 5);
        size_t most = 1 + rng_below(&r, 20);
        ticks_linear(low, high, most, &t);
        assert_true(t.n <= most && t.n <= TICKS_MAX);
        if (most >= 6)
            assert_true(t.n >= 2);
        for (size_t i = 0; i < t.n; i++)
            assert_true(t.items[i].at >= low - 1e-8 * (high - low) && t.items[i].at <= high + 1e-8 * (high - low));
        double rounding = 1e-15 * fmax(fabs(low), fabs(high));
        for (size_t i = 2; i < t.n; i++)
            assert_true(fabs(t.items[i].at - 2 * t.items[i - 1].at + t.items[i - 2].at) < 1e-9 * (high - low) + rounding);
    }
}

static void test_symmetric_log(void **state)
{
    struct ticks t;
    static const double values[] = {0, -0.5, 3e-3, 2e-2, -2e-4, NAN, 0.25, 0.5, -0.0625, 0.125, 2e-3, 4e-3, 0.5};
    (void)state;
    assert_true(symmetric_log(0, 0.1) == 0); /* exactly */
    assert_true(fabs(symmetric_log(9.9, 0.1) - 2) < 1e-12);
    assert_true(fabs(symmetric_log(-9.9, 0.1) + 2) < 1e-12);
    ticks_symmetric_log(-0.05, 3, 0.001, 10, &t);
    expect_ticks(&t, "0 1e0 1e-1 1e-2 1e-3 -1e-2 -1e-3");
    assert_true(fabs(t.items[1].at - log10(1001)) < 1e-12 && t.items[0].at == 0);
    ticks_symmetric_log(-0.05, 3, 0.001, 2, &t);
    expect_ticks(&t, "0 1e0 1e-2 -1e-2 -1e-3");
    ticks_symmetric_log(0.5, 3, 0.001, 2, &t); /* 0 is no part of it */
    expect_ticks(&t, "1e0 1e-2");
    /* Eleven values: one of the lowest decade is no more than a tenth, two are more. */
    assert_true(fabs(symmetric_linear(values, ARRAY_LENGTH(values)) - 1e-3) < 1e-15);
    assert_true(fabs(symmetric_linear(values, 5) - 1e-4) < 1e-16);
    assert_true(symmetric_linear(values, 1) == 1);
    static const double far[] = {1, 1e-30, 1e-30};
    assert_true(fabs(symmetric_linear(far, 3) - 1e-6) < 1e-18);
}

/* ---- On a headless screen. ---- */

static void start(int width, int height, int ascii)
{
    struct screen_options o = {.headless = 1, .width = width, .height = height, .color = "never", .ascii = ascii};
    struct error err = {0};
    if (screen_start(&o, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    screen_begin();
}

/* The screen's rows as they are; ends it. */
static char *rows_shown(void)
{
    struct strbuf b = STRBUF_INIT;
    screen_end();
    screen_dump(&b);
    char *end = strstr(b.data, "\n=");
    assert_non_null(end);
    end[1] = '\0';
    screen_stop();
    return b.data;
}

static void expect_rows(const char *should)
{
    char *is = rows_shown();
    assert_string_equal(is, should);
    free(is);
}

static void test_plane_cells(void **state)
{
    const struct canvas c = {2, 3, 4, 10};
    const struct plane p = {0, 1, -1, 1};
    int row, column;
    (void)state;
    assert_true(plane_cell(&c, &p, 0, -1, &row, &column) && row == 3 && column == 0);
    assert_true(plane_cell(&c, &p, 1, 1, &row, &column) && row == 0 && column == 9); /* the far edges belong to it */
    assert_true(plane_cell(&c, &p, 0.5, 0, &row, &column) && row == 1 && column == 5);
    assert_false(plane_cell(&c, &p, 1.01, 0, &row, &column));
    assert_false(plane_cell(&c, &p, 0.5, -1.01, &row, &column));
    assert_false(plane_cell(&c, &p, NAN, 0, &row, &column));
    const struct plane flat = {0, 0, 1, 1};
    assert_false(plane_cell(&c, &flat, 0, 1, &row, &column));
}

/* Four dots of a cell by hand: at the lower left, the upper right; outside; not a number. */
static void test_scatter_dots(void **state)
{
    static const enum style styles[] = {STYLE_DIM, STYLE_GOOD};
    const float x[] = {0.1f, 1.9f, 3.9f, 4.1f, NAN}, y[] = {0.1f, 0.9f, 0.1f, 0.5f, 0.5f};
    const unsigned char kinds[] = {0, 1, 1, 1, 1};
    const struct plane p = {0, 4, 0, 1};
    struct canvas c = {0, 0, 1, 2};
    (void)state;
    start(2, 1, 0);
    canvas_scatter(&c, &p, x, y, kinds, 5, styles, 2);
    expect_rows("\u2848\u2880\n"); /* dots 7 and 4, then dot 8 */
    c.width = 0;
    start(2, 1, 0);
    canvas_scatter(&c, &p, x, y, kinds, 5, styles, 2);
    expect_rows("\n");
}

/* The ASCII twin tells how many points a cell has: against counting them one by one. */
static void test_scatter_against_counts(void **state)
{
    enum { POINTS = 400, ROWS = 5, COLUMNS = 13 };
    static const enum style styles[] = {STYLE_DIM, STYLE_GOOD, STYLE_BAR};
    float x[POINTS], y[POINTS];
    unsigned char kinds[POINTS];
    unsigned counts[ROWS][COLUMNS] = {{0}};
    char should[ROWS][COLUMNS + 1], is[ROWS][COLUMNS + 1];
    const struct plane p = {-1, 1, -2, 2};
    const struct canvas c = {0, 0, ROWS, COLUMNS};
    struct rng r;
    (void)state;
    rng_seed(&r, 2, 0);
    for (int i = 0; i < POINTS; i++) {
        double u = rng_uniform(&r), v = rng_uniform(&r);
        x[i] = (float)(2.2 * u * u - 1.1);
        y[i] = (float)(4.4 * v * v - 2.2);
        kinds[i] = (unsigned char)rng_below(&r, 3);
        int column = (int)floor(((double)x[i] + 1) / 2 * COLUMNS), row = (int)floor((2 - (double)y[i]) / 4 * ROWS);
        if (x[i] >= -1 && x[i] <= 1 && y[i] >= -2 && y[i] <= 2)
            counts[row][column]++;
    }
    start(COLUMNS, ROWS, 1);
    canvas_scatter(&c, &p, x, y, kinds, POINTS, styles, 3);
    char *rows = rows_shown(), *line = rows;
    for (int row = 0; row < ROWS; row++) {
        snprintf(is[row], sizeof is[row], "%-*.*s", COLUMNS, (int)strcspn(line, "\n"), line);
        line += strcspn(line, "\n") + 1;
        for (int column = 0; column < COLUMNS; column++) {
            unsigned n = counts[row][column];
            should[row][column] = n == 0 ? ' ' : n == 1 ? '.' : n < 5 ? ':' : n < 20 ? '*' : '#';
        }
        should[row][COLUMNS] = '\0';
        assert_string_equal(is[row], should[row]);
    }
    free(rows);
}

/* A cell has the style that most of its points have. */
static void test_scatter_styles(void **state)
{
    static const enum style styles[] = {STYLE_DIM, STYLE_GOOD, STYLE_BAR};
    const float x[] = {0.1f, 0.2f, 0.3f, 1.5f, 1.6f}, y[] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
    const unsigned char kinds[] = {0, 2, 2, 1, 0};
    const struct plane p = {0, 2, 0, 1};
    const struct canvas c = {0, 0, 1, 2};
    struct strbuf b = STRBUF_INIT;
    (void)state;
    start(2, 1, 1);
    canvas_scatter(&c, &p, x, y, kinds, 5, styles, 3);
    screen_end();
    screen_dump(&b);
    assert_string_equal(b.data, "::\n==\n#d\n"); /* of equal numbers the first */
    screen_stop();
    strbuf_free(&b);
}

static void test_lines(void **state)
{
    const double x[] = {0, 7}, y[] = {0, 7}, gap_x[] = {0, NAN, 7}, gap_y[] = {7, 0, 7};
    const double far_x[] = {-1e9, 1e9}, far_y[] = {3.5, 3.5}, out_x[] = {0, 7}, out_y[] = {9, 9};
    const struct plane p = {0, 7, 0, 7};
    const struct canvas c = {0, 0, 2, 4};
    (void)state;
    start(4, 2, 0);
    canvas_line(&c, &p, x, y, 2, STYLE_BAR);
    expect_rows("  \u2860\u280a\n\u2860\u280a\n");
    start(4, 2, 0);
    canvas_line(&c, &p, gap_x, gap_y, 3, STYLE_BAR);
    expect_rows("\u2801  \u2808\n\n");
    start(4, 2, 0);
    canvas_line(&c, &p, far_x, far_y, 2, STYLE_BAR);
    canvas_line(&c, &p, out_x, out_y, 2, STYLE_BAR);
    expect_rows("\n\u2809\u2809\u2809\u2809\n");
    start(4, 2, 1);
    canvas_line(&c, &p, x, y, 2, STYLE_BAR);
    expect_rows("  |'\n.|\n"); /* 3 dots a cell downwards, one across */
}

static void test_axes(void **state)
{
    const struct plane p = {0, 1, 0, 10};
    const struct canvas c = {0, 0, 5, 16};
    struct ticks x, y;
    (void)state;
    ticks_linear(0, 1, 3, &x);
    ticks_linear(0, 10, 3, &y);
    start(16, 5, 1);
    struct canvas in = canvas_axes(&c, &p, &x, &y);
    assert_int_equal(in.height, 4);
    assert_int_equal(in.width, 13);
    canvas_horizontal(&in, &p, 5, STYLE_DIM);
    canvas_vertical(&in, &p, 0.5, STYLE_DIM);
    canvas_point(&in, &p, 0, 10, GLYPH_POINT, STYLE_STRONG);
    canvas_point(&in, &p, 1.1, 0, GLYPH_POINT, STYLE_STRONG); /* outside */
    expect_rows("10 o     :\n"
                " 5 ------:------\n"
                "         :\n"
                " 0       :\n"
                "  0.0   0.5  1.0\n");
}

/* Names stand behind their points, or before them at the right edge or where another is, and never on one another. */
static void test_names(void **state)
{
    const struct plane p = {0, 16, 0, 3};
    const struct canvas c = {0, 0, 3, 16};
    const struct named_point apart[] = {
        {0, 2.5, 'a', "ab"}, {15.5, 0.5, 'b', "cd"}, {8, 1.5, 'c', "too-long-for-it"}, {17, 1, 'd', "out"}};
    const struct named_point close[] = {{4, 1.5, 'a', "abc"},   {10, 1.5, 'b', "def"}, {11, 1.5, 'c', "ghij"},
                                        {8, 2.5, 'd', "under"}, {8, 2.5, 'e', "over"}, {0, 0.5, 'f', "fghi"}};
    (void)state;
    start(16, 3, 1);
    canvas_named_points(&c, &p, apart, 4, STYLE_STRONG);
    expect_rows("a ab\n"
                "        c\n"
                "            cd b\n");
    start(16, 3, 1);
    for (int y = 0; y < 3; y++)
        canvas_text(&c, y, 0, STYLE_DIM, "----------------");
    canvas_named_points(&c, &p, close, 6, STYLE_STRONG);
    expect_rows("--------o-------\n"
                "----a abc bc----\n"
                "f fghi ---------\n");
}

/* ---- A stitch's panes, at any size. ---- */

static void test_stitch_layout(void **state)
{
    static unsigned char cells[130 * 260];
    (void)state;
    for (int height = 1; height <= 120; height++)
        for (int width = 1; width <= 250; width += height % 3 + 1)
            for (int plot = PLOT_PATH; plot <= PLOT_SCATTER; plot++) {
                const struct canvas all = {1, 2, height, width};
                struct stitch_layout l;
                int covered = 0;
                stitch_layout(&all, (enum stitch_plot)plot, &l);
                const struct canvas panes[] = {l.header, l.scatter, l.path, l.list, l.step};
                memset(cells, 0, sizeof cells);
                for (size_t i = 0; i < ARRAY_LENGTH(panes); i++)
                    for (int y = panes[i].y; y < panes[i].y + panes[i].height; y++)
                        for (int x = panes[i].x; x < panes[i].x + panes[i].width; x++) {
                            assert_true(y >= 1 && y < 1 + height && x >= 2 && x < 2 + width);
                            assert_int_equal(cells[(y - 1) * 260 + x - 2]++, 0);
                            covered++;
                        }
                assert_int_equal(covered, height * width);
                if (height >= 12)
                    assert_true(width < 70 ? (l.scatter.height > 0) != (l.path.height > 0)
                                           : l.scatter.height > 0 && l.path.height > 0);
                if (height >= 8)
                    assert_true(l.list.height >= 4);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_ticks),     cmocka_unit_test(test_linear_ticks_of_any_range),
        cmocka_unit_test(test_symmetric_log),    cmocka_unit_test(test_plane_cells),
        cmocka_unit_test(test_scatter_dots),     cmocka_unit_test(test_scatter_against_counts),
        cmocka_unit_test(test_scatter_styles),   cmocka_unit_test(test_lines),
        cmocka_unit_test(test_axes), cmocka_unit_test(test_names),             cmocka_unit_test(test_stitch_layout),
    };
    locale_start();
    setenv("TERM", "xterm-256color", 1);
    return cmocka_run_group_tests_name("plots", tests, NULL, NULL);
}
