/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Plots of points and lines in a plane, with labels at their axes. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/axis.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/dots.h"
#include "saescope/tui/screen.h"

/* Of `n` cells or dots from the low edge on, the one that a value falls into; -1: outside. */
static int bin(double value, double low, double high, int n)
{
    double at = high > low ? (value - low) / (high - low) * n : -1;
    if (!(at >= 0 && at <= n))
        return -1;
    return at < n ? (int)at : n - 1; /* the high edge belongs to the last */
}

int plane_cell(const struct canvas *c, const struct plane *p, double x, double y, int *row, int *column)
{
    int up = bin(y, p->low, p->high, c->height);
    *column = bin(x, p->left, p->right, c->width);
    *row = c->height - 1 - up;
    return up >= 0 && *column >= 0;
}

/* ---- Axes. ---- */

static void draw_left_labels(const struct canvas *c, const struct canvas *inside, const struct plane *p,
                             const struct ticks *ticks, int right)
{
    for (int pass = 0, used = -1; pass < c->height; pass++) /* from the top down, one label a row */
        for (size_t i = 0; ticks && i < ticks->n; i++) {
            int row, column;
            if (!plane_cell(inside, p, p->left, ticks->items[i].at, &row, &column) || row != pass ||
                row == used)
                continue;
            canvas_right(c, row, right, STYLE_DIM, ticks->items[i].text);
            used = row;
        }
}

static void draw_bottom_labels(const struct canvas *c, int y, const struct canvas *inside,
                               const struct plane *p, const struct ticks *ticks)
{
    int offset = inside->x - c->x, end = -1;
    for (size_t i = 0; ticks && i < ticks->n; i++) {
        int row, column, width = (int)strlen(ticks->items[i].text);
        if (!plane_cell(inside, p, ticks->items[i].at, p->low, &row, &column))
            continue;
        int x = offset + column - width / 2;
        x = x + width > c->width ? c->width - width : x;
        if (x <= end)
            continue;
        end = canvas_text(c, y, x, STYLE_DIM, ticks->items[i].text);
    }
}

struct canvas canvas_axes(const struct canvas *c, const struct plane *p, const struct ticks *x,
                          const struct ticks *y)
{
    int left = 0;
    for (size_t i = 0; y && i < y->n; i++)
        left = (int)strlen(y->items[i].text) > left ? (int)strlen(y->items[i].text) : left;
    left += left > 0;
    struct canvas inside = canvas_part(c, 0, left, c->height - (x ? AXIS_ROWS : 0), c->width - left);
    draw_left_labels(c, &inside, p, y, left - 1);
    draw_bottom_labels(c, inside.height, &inside, p, x);
    return inside;
}

void canvas_vertical(const struct canvas *c, const struct plane *p, double x, enum style style)
{
    int row, column;
    if (plane_cell(c, p, x, p->low, &row, &column))
        for (int y = 0; y < c->height; y++)
            canvas_text(c, y, column, style, glyph(GLYPH_THRESHOLD));
}

void canvas_horizontal(const struct canvas *c, const struct plane *p, double y, enum style style)
{
    int row, column;
    if (plane_cell(c, p, p->left, y, &row, &column))
        for (int x = 0; x < c->width; x++)
            canvas_text(c, row, x, style, glyph(GLYPH_HORIZONTAL));
}

void canvas_point(const struct canvas *c, const struct plane *p, double x, double y, enum glyph g,
                  enum style style)
{
    int row, column;
    if (plane_cell(c, p, x, y, &row, &column))
        canvas_text(c, row, column, style, glyph(g));
}

/* ---- Names of points. ---- */

/* How many points are in a cell, or whether a name or the blank beside it is. */
struct taken {
    unsigned char *cells;
    int rows, columns;
};

/* Takes columns [x, x + width) of a row when they and the blank between them and the point, at `blank`, are
 * free. */
static int take(struct taken *t, int row, int x, int width, int blank)
{
    unsigned char *cells = &t->cells[row * t->columns];
    if (x < 0 || x + width > t->columns || cells[blank])
        return 0;
    for (int i = x; i < x + width; i++)
        if (cells[i])
            return 0;
    memset(cells + x, 1, (size_t)(width + (x + width < t->columns)));
    return 1;
}

static void draw_name(const struct canvas *c, struct taken *t, int row, int column, const char *name,
                      enum style style)
{
    int width = (int)display_width(name, strlen(name)), right = column + 2, left = column - 1 - width;
    int x = take(t, row, right, width, column + 1)  ? right
            : take(t, row, left, width, column - 1) ? left
                                                    : -1;
    if (x < 0)
        return;
    /* Blanks set it off from what runs through it. */
    canvas_fill(c, row, x == right ? x - 1 : x, width + 1 + (x == right), STYLE_NORMAL);
    canvas_text(c, row, x, style, name);
}

void canvas_named_points(const struct canvas *c, const struct plane *p, const struct named_point *points,
                         size_t n, enum style style)
{
    if (c->width <= 0 || c->height <= 0)
        return;
    struct taken t = {xcalloc((size_t)c->height * (size_t)c->width, 1), c->height, c->width};
    int row, column;
    for (size_t i = 0; i < n; i++)
        if (plane_cell(c, p, points[i].x, points[i].y, &row, &column) &&
            t.cells[row * t.columns + column] < 2)
            t.cells[row * t.columns + column]++;
    for (size_t i = 0; i < n; i++)
        if (plane_cell(c, p, points[i].x, points[i].y, &row, &column) &&
            t.cells[row * t.columns + column] == 1)
            draw_name(c, &t, row, column, points[i].name, style);
    for (size_t i = 0; i < n; i++)
        if (plane_cell(c, p, points[i].x, points[i].y, &row, &column))
            canvas_textn(c, row, column, style,
                         t.cells[row * t.columns + column] > 1 ? glyph(GLYPH_POINT) : &points[i].mark,
                         t.cells[row * t.columns + column] > 1 ? strlen(glyph(GLYPH_POINT)) : 1);
    free(t.cells);
}

/* ---- Scatter. ---- */

static const char *ascii_density(unsigned points)
{
    return points == 0 ? "" : points < 2 ? "." : points < 5 ? ":" : points < 20 ? "*" : "#";
}

/* The kind that most points of a cell have. */
static size_t main_kind(const unsigned *counts, size_t n_styles, unsigned *total)
{
    size_t best = 0;
    *total = 0;
    for (size_t k = 0; k < n_styles; k++) {
        *total += counts[k];
        best = counts[k] > counts[best] ? k : best;
    }
    return best;
}

void canvas_scatter(const struct canvas *c, const struct plane *p, const float *x, const float *y,
                    const unsigned char *kinds, size_t n, const enum style *styles, size_t n_styles)
{
    if (c->width <= 0 || c->height <= 0)
        return;
    struct dots d = dots_new(c);
    size_t cells = (size_t)c->width * (size_t)c->height;
    unsigned *counts = xcalloc(cells * n_styles, sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        int across = bin((double)x[i], p->left, p->right, d.columns),
            up = bin((double)y[i], p->low, p->high, d.rows);
        if (across < 0 || up < 0)
            continue;
        int down = d.rows - 1 - up;
        d.set[down * d.columns + across] = 1;
        counts[((size_t)(down / d.down) * (size_t)c->width + (size_t)(across / d.across)) * n_styles +
               kinds[i]]++;
    }
    for (size_t cell = 0; cell < cells; cell++) {
        char text[4];
        unsigned total;
        int row = (int)(cell / (size_t)c->width), column = (int)(cell % (size_t)c->width);
        size_t kind = main_kind(counts + cell * n_styles, n_styles, &total);
        dots_cell(text, &d, row, column);
        if (total > 0)
            canvas_text(c, row, column, styles[kind], screen_ascii() ? ascii_density(total) : text);
    }
    free(counts);
    dots_free(&d);
}

/* ---- Lines. ---- */

/* Where it leaves [low, high]: the part [*from, *to] of a segment that is inside along one axis. Liang and
 * Barsky's clipping. */
static int clip(double start, double by, double low, double high, double *from, double *to)
{
    if (by == 0)
        return start >= low && start <= high;
    double a = (low - start) / by, b = (high - start) / by;
    *from = fmax(*from, fmin(a, b));
    *to = fmin(*to, fmax(a, b));
    return *from <= *to;
}

static void draw_segment(struct dots *d, double x1, double y1, double x2, double y2)
{
    double from = 0, to = 1, dx = x2 - x1, dy = y2 - y1;
    if (!clip(x1, dx, 0, d->columns - 1, &from, &to) || !clip(y1, dy, 0, d->rows - 1, &from, &to))
        return;
    int steps = (int)ceil(fmax(fabs(dx), fabs(dy)) * (to - from));
    for (int i = 0; i <= steps; i++) {
        double at = steps ? from + (to - from) * i / steps : from;
        d->set[(int)lround(y1 + at * dy) * d->columns + (int)lround(x1 + at * dx)] = 1;
    }
}

void canvas_line(const struct canvas *c, const struct plane *p, const double *x, const double *y, size_t n,
                 enum style style)
{
    if (c->width <= 0 || c->height <= 0 || !(p->left < p->right) || !(p->low < p->high))
        return;
    struct dots d = dots_new(c);
    /* Clipping keeps the number of dots of a segment bounded; points far away are no danger. */
    double across = (d.columns - 1) / (p->right - p->left), up = (d.rows - 1) / (p->high - p->low);
    for (size_t i = 0; i < n; i++) {
        size_t before = i > 0 && isfinite(x[i - 1]) && isfinite(y[i - 1]) ? i - 1 : i;
        if (isfinite(x[i]) && isfinite(y[i]))
            draw_segment(&d, (x[before] - p->left) * across, (p->high - y[before]) * up,
                         (x[i] - p->left) * across, (p->high - y[i]) * up);
    }
    dots_draw(c, &d, style);
    dots_free(&d);
}
