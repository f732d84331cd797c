/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bars, histograms and curves, each with its ASCII twin. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/dots.h"
#include "saescope/tui/screen.h"

void canvas_bar(const struct canvas *c, int y, int x, int width, double fraction, enum style style)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    fraction = isfinite(fraction) ? fmin(fmax(fraction, 0), 1) : 0;
    int parts = (int)lround(fraction * width * 8), cells = parts / 8;
    if (fraction > 0 && parts == 0)
        parts = 1; /* more than nothing shows */
    if (screen_ascii())
        cells = (parts + 4) / 8;
    for (int i = 0; i < cells; i++)
        canvas_text(c, y, x + i, style, screen_ascii() ? "#" : "█");
    if (!screen_ascii() && parts % 8 > 0)
        canvas_text(c, y, x + cells, style, eighths[parts % 8]);
}

/* Counts spread over the columns: a column shows the sum of the values that fall into it. */
static double *column_heights(const double *values, size_t n, int width, int log_scale)
{
    double *columns = xcalloc((size_t)width, sizeof *columns), largest = 0;
    for (int x = 0; x < width; x++) {
        size_t first = (size_t)x * n / (size_t)width, last = (size_t)(x + 1) * n / (size_t)width;
        if ((size_t)width >= n)
            last = first + 1;
        for (size_t i = first; i < last && i < n; i++)
            columns[x] += isfinite(values[i]) && values[i] > 0 ? values[i] : 0;
        if (log_scale)
            columns[x] = log1p(columns[x]);
        largest = fmax(largest, columns[x]);
    }
    for (int x = 0; x < width && largest > 0; x++)
        columns[x] /= largest;
    return columns;
}

void canvas_histogram(const struct canvas *c, const double *values, size_t n, int log_scale)
{
    static const char *const eighths[] = {"", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const ascii[] = {"", ".", ".", ".", ":", ":", ":", "|", "|"};
    if (n == 0 || c->width <= 0 || c->height <= 0)
        return;
    /* Every value gets the same number of columns when there are enough. */
    int width = (size_t)c->width >= n ? c->width / (int)n * (int)n : c->width;
    double *columns = column_heights(values, n, width, log_scale);
    for (int x = 0; x < width; x++) {
        int parts = (int)lround(columns[x] * c->height * 8);
        parts = columns[x] > 0 && parts == 0 ? 1 : parts;
        for (int y = c->height - 1; y >= 0 && parts > 0; y--, parts -= 8)
            canvas_text(c, y, x, STYLE_BAR, (screen_ascii() ? ascii : eighths)[parts < 8 ? parts : 8]);
    }
    free(columns);
}

/* ---- Dots. ---- */

struct dots dots_new(const struct canvas *c)
{
    int ascii = screen_ascii(), down = ascii ? 3 : 4, across = ascii ? 1 : 2;
    int height = c->height > 0 && c->width > 0 ? c->height : 0;
    struct dots d = {NULL, height * down, height ? c->width * across : 0, down, across};
    d.set = xcalloc((size_t)d.rows * (size_t)d.columns + 1, 1);
    return d;
}

void dots_free(struct dots *d)
{
    free(d->set);
    d->set = NULL;
}

static void braille(char text[4], const struct dots *d, int y, int x)
{
    static const unsigned char bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    unsigned pattern = 0;
    for (int row = 0; row < 4; row++)
        for (int column = 0; column < 2; column++)
            if (d->set[(y * 4 + row) * d->columns + x * 2 + column])
                pattern |= bits[row][column];
    text[0] = (char)0xE2; /* U+2800 and on */
    text[1] = (char)(0xA0 | pattern >> 6);
    text[2] = (char)(0x80 | (pattern & 63));
    text[3] = '\0';
    if (pattern == 0)
        text[0] = '\0';
}

static void ascii_dots(char text[4], const struct dots *d, int y, int x)
{
    const unsigned char *p = &d->set[y * 3 * d->columns + x];
    int top = p[0], middle = p[d->columns], low = p[2 * d->columns];
    int n = top + middle + low;
    const char *s = n == 0 ? "" : n > 1 ? "|" : top ? "'" : middle ? "-" : ".";
    strcpy(text, s);
}

void dots_cell(char text[4], const struct dots *d, int y, int x)
{
    (d->across == 1 ? ascii_dots : braille)(text, d, y, x);
}

void dots_draw(const struct canvas *c, const struct dots *d, enum style style)
{
    char text[4];
    for (int y = 0; y < d->rows / d->down; y++)
        for (int x = 0; x < d->columns / d->across; x++) {
            dots_cell(text, d, y, x);
            canvas_text(c, y, x, style, text);
        }
}

/* ---- Curves. ---- */

static void dot_line(struct dots *d, int x, int from, int to)
{
    int low = from < to ? from : to, high = from < to ? to : from;
    for (int y = low; y <= high; y++)
        d->set[y * d->columns + x] = 1;
}

/* The mean of the values that fall into a dot's column; NaN when there are none. */
static double value_at(const float *values, size_t n, int column, int columns)
{
    size_t first = (size_t)column * n / (size_t)columns, last = (size_t)(column + 1) * n / (size_t)columns;
    double sum = 0;
    size_t counted = 0;
    if (last <= first)
        last = first + 1;
    for (size_t i = first; i < last && i < n; i++)
        if (isfinite(values[i])) {
            sum += values[i];
            counted++;
        }
    return counted ? sum / (double)counted : NAN;
}

static void plot_dots(struct dots *d, const float *values, size_t n, double low, double high)
{
    int before = -1;
    for (int x = 0; x < d->columns; x++) {
        double v = value_at(values, n, x, d->columns);
        if (!isfinite(v)) {
            before = -1;
            continue;
        }
        double fraction = high > low ? fmin(fmax((v - low) / (high - low), 0), 1) : 0.5;
        int y = (int)lround((1 - fraction) * (d->rows - 1));
        /* Joined to the column before, half of the way being that one's. */
        dot_line(d, x, before < 0 ? y : before + (y > before) - (y < before), y);
        before = y;
    }
}

void canvas_curve(const struct canvas *c, const float *values, size_t n, double low, double high,
                  enum style style)
{
    if (n == 0 || c->width <= 0 || c->height <= 0)
        return;
    if (!(low < high)) {
        low = INFINITY;
        high = -INFINITY;
        for (size_t i = 0; i < n; i++)
            if (isfinite(values[i])) {
                low = fmin(low, values[i]);
                high = fmax(high, values[i]);
            }
    }
    struct dots d = dots_new(c);
    plot_dots(&d, values, n, low, high);
    dots_draw(c, &d, style);
    dots_free(&d);
}
