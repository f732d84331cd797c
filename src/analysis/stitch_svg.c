/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The picture of a stitch: scatter on the left, the curves of the path on the right. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_svg.h"
#include "saescope/base/axis.h"
#include "saescope/base/memory.h"
#include "saescope/base/svg.h"

#define WIDTH    1200
#define HEIGHT   600
#define TOP      90 /* of both plots */
#define BOTTOM   540
#define FONT     13
#define CLASSES  3
#define BAND_GAP 30

/* A part of the picture with axes. */
struct frame {
    double x, y, width, height;    /* y: its upper edge */
    double left, right, low, high; /* of the axes */
};

static double across(const struct frame *f, double x)
{
    return f->x + (x - f->left) / (f->right - f->left) * f->width;
}

static double down(const struct frame *f, double y)
{
    return f->y + (f->high - y) / (f->high - f->low) * f->height;
}

static void text(struct strbuf *out, double x, double y, enum svg_anchor anchor, enum svg_color color,
                 int bold, const char *s)
{
    struct svg_text_style style = {.color = color, .anchor = anchor, .size = FONT, .bold = bold};
    svg_text(out, x, y, &style, s, strlen(s));
}

static const struct svg_style axis_style = {.stroke = SVG_GREY, .width = 1},
                              rule_style = {.stroke = SVG_GREY, .width = 1, .opacity = 0.4},
                              mark_style = {.stroke = SVG_ORANGE, .width = 1.5, .dotted = 1};

static void draw_frame(struct strbuf *out, const struct frame *f, const struct ticks *x,
                       const struct ticks *y)
{
    double bottom = f->y + f->height;
    svg_line(out, f->x, f->y, f->x, bottom, &axis_style);
    svg_line(out, f->x, bottom, f->x + f->width, bottom, &axis_style);
    for (size_t i = 0; y && i < y->n; i++) {
        double at = down(f, y->items[i].at);
        svg_line(out, f->x, at, f->x + f->width, at, &rule_style);
        text(out, f->x - 6, at + 4, SVG_END, SVG_GREY, 0, y->items[i].text);
    }
    for (size_t i = 0; x && i < x->n; i++) {
        double at = across(f, x->items[i].at);
        svg_line(out, at, bottom, at, bottom + 4, &axis_style);
        text(out, at, bottom + 18, SVG_MIDDLE, SVG_GREY, 0, x->items[i].text);
    }
}

/* ---- Scatter. ---- */

static const enum svg_color class_colors[CLASSES] = {
    [LATENT_UNDECIDED] = SVG_GREY, [LATENT_NOVEL] = SVG_GREEN, [LATENT_RECONSTRUCTION] = SVG_BLUE};

static void draw_points(struct strbuf *out, const struct frame *f, const struct stitch_latents *l,
                        const double *scaled)
{
    size_t columns = (size_t)f->width + 1, cells = columns * ((size_t)f->height + 1);
    unsigned char *taken = xcalloc(cells, 1);
    for (size_t i = 0; i < l->n; i++) {
        double x = across(f, (double)l->max_cosine[i]), y = down(f, scaled[i]);
        double column = floor(x - f->x), row = floor(y - f->y);
        if (!(column >= 0 && column <= f->width && row >= 0 && row <= f->height) || l->classes[i] >= CLASSES)
            continue;
        unsigned char *cell = &taken[(size_t)row * columns + (size_t)column],
                      bit = (unsigned char)(1u << l->classes[i]);
        const struct svg_style style = {.fill = class_colors[l->classes[i]], .opacity = 0.6};
        if (!(*cell & bit))
            svg_circle(out, x, y, 1.8, &style);
        *cell |= bit;
    }
    free(taken);
}

/* "● novel 1,322" for each class, above the plot. */
static void draw_legend(struct strbuf *out, const struct frame *f, const struct stitch_latents *l)
{
    size_t counts[CLASSES] = {0};
    double x = f->x;
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < l->n; i++)
        counts[l->classes[i] < CLASSES ? l->classes[i] : LATENT_UNDECIDED]++;
    static const enum latent_class order[] = {LATENT_NOVEL, LATENT_RECONSTRUCTION, LATENT_UNDECIDED};
    for (size_t i = 0; i < CLASSES; i++) {
        const struct svg_style dot = {.fill = class_colors[order[i]]};
        const struct svg_text_style style = {.size = FONT};
        strbuf_reset(&b);
        strbuf_addf(&b, "%s ", latent_class_name(order[i]));
        strbuf_add_grouped(&b, (long long)counts[order[i]]);
        svg_circle(out, x + 4, f->y - 14, 4, &dot);
        text(out, x + 12, f->y - 10, SVG_START, SVG_GREY, 0, strbuf_string(&b));
        x += 28 + svg_text_width(&style, b.data, b.length);
    }
    strbuf_free(&b);
}

static void draw_scatter(struct strbuf *out, const struct stitch_facts *f, const struct stitch_latents *l)
{
    double *scaled = xcalloc(l->n + 1, sizeof *scaled), low = 0, high = 0, lowest = 0.9;
    double divisor = (double)f->tokens * (double)f->d_in;
    for (size_t i = 0; i < l->n; i++) {
        scaled[i] = l->delta[i] / (divisor > 0 ? divisor : 1);
        low = fmin(low, scaled[i]);
        high = fmax(high, scaled[i]);
        lowest = fmin(lowest, (double)l->max_cosine[i]);
    }
    double linear = symmetric_linear(scaled, l->n);
    for (size_t i = 0; i < l->n; i++)
        scaled[i] = symmetric_log(scaled[i], linear);
    struct frame frame = {70,
                          TOP,
                          500,
                          BOTTOM - TOP,
                          floor(lowest * 10) / 10,
                          1,
                          symmetric_log(low, linear) - 0.1,
                          symmetric_log(high, linear) + 0.1};
    struct ticks x, y;
    struct strbuf b = STRBUF_INIT;
    ticks_linear(frame.left, frame.right, 10, &x);
    ticks_symmetric_log(low, high, linear, 5, &y);
    draw_frame(out, &frame, &x, &y);
    svg_line(out, frame.x, down(&frame, 0), frame.x + frame.width, down(&frame, 0), &axis_style);
    draw_points(out, &frame, l, scaled);
    svg_line(out, across(&frame, f->threshold), TOP, across(&frame, f->threshold), BOTTOM, &mark_style);
    draw_legend(out, &frame, l);
    strbuf_addf(&b, "largest cosine to a latent of %s", f->small_artifact.name);
    text(out, frame.x + frame.width / 2, BOTTOM + 40, SVG_MIDDLE, SVG_GREY, 0, strbuf_string(&b));
    text(out, 10, TOP - 34, SVG_START, SVG_GREY, 0, "change of the MSE by inserting the latent");
    strbuf_free(&b);
    free(scaled);
}

/* ---- The path. ---- */

struct band {
    const char *name;
    const double *values;
    enum svg_color color;
};

static int extent(const double *values, size_t n, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t k = 0; k < n; k++) {
        *low = fmin(*low, values[k]); /* of a number and NaN the number */
        *high = fmax(*high, values[k]);
    }
    return *low <= *high;
}

/* A curve through all steps, or marks where few were measured. */
static void draw_band(struct strbuf *out, const struct stitch_path *p, const struct band *band,
                      const struct frame *place, const struct ticks *x)
{
    size_t n = p->n_steps + 1;
    double *points = xcalloc(2 * n, sizeof *points);
    struct frame f = *place;
    struct ticks y;
    extent(band->values, n, &f.low, &f.high);
    double margin = f.high > f.low ? 0.06 * (f.high - f.low) : fmax(0.01 * fabs(f.high), 1e-6);
    f.low -= margin;
    f.high += margin;
    ticks_linear(f.low, f.high, 4, &y);
    draw_frame(out, &f, x, &y);
    for (size_t k = 0; k < n; k++) {
        points[2 * k] = across(&f, (double)k);
        points[2 * k + 1] = down(&f, band->values[k]);
    }
    const struct svg_style line = {.stroke = band->color, .width = 2}, mark = {.fill = band->color};
    svg_polyline(out, points, n, &line);
    for (size_t k = 0; k < n; k++) /* what stands alone is no line */
        if ((k == 0 || isnan(points[2 * k - 1])) && (k + 1 == n || isnan(points[2 * k + 3])))
            svg_circle(out, points[2 * k], points[2 * k + 1], 3, &mark);
    text(out, f.x, f.y - 6, SVG_START, band->color, 1, band->name);
    free(points);
}

static void draw_phases(struct strbuf *out, const struct stitch_path *p, const struct frame *f)
{
    for (size_t k = 1; k <= p->n_steps; k++) {
        if (k > 1 && p->kinds[k] == p->kinds[k - 1])
            continue;
        double at = across(f, k == 1 ? 0 : (double)k - 0.5);
        size_t end = k;
        while (end < p->n_steps && p->kinds[end + 1] == p->kinds[k])
            end++;
        if (k > 1)
            svg_line(out, at, TOP - 38, at, BOTTOM, &mark_style);
        const char *name = step_kind_name((enum step_kind)p->kinds[k]);
        const struct svg_text_style style = {.size = FONT};
        if (across(f, (double)end) - at >= svg_text_width(&style, name, strlen(name)))
            text(out, at + 3, TOP - 26, SVG_START, SVG_ORANGE, 0, name);
    }
}

static void draw_path(struct strbuf *out, const struct stitch_path *p)
{
    const struct band bands[] = {{"explained variance", p->explained_variance, SVG_GREEN},
                                 {"L0", p->l0, SVG_BLUE},
                                 {"MSE", p->mse, SVG_VIOLET},
                                 {"cross-entropy", p->cross_entropy, SVG_RED}};
    double low, high;
    size_t n = 0, shown[ARRAY_LENGTH(bands)];
    for (size_t i = 0; i < ARRAY_LENGTH(bands); i++)
        if (extent(bands[i].values, p->n_steps + 1, &low, &high))
            shown[n++] = i;
    struct frame f = {
        .x = 680, .y = TOP, .width = 490, .left = 0, .right = p->n_steps ? (double)p->n_steps : 1};
    struct ticks x;
    f.height = n ? (BOTTOM - TOP - BAND_GAP * (double)(n - 1)) / (double)n : 0;
    ticks_linear(f.left, f.right, 8, &x);
    for (size_t i = 0; i < n; i++) {
        draw_band(out, p, &bands[shown[i]], &f, i + 1 == n ? &x : NULL);
        f.y += f.height + BAND_GAP;
    }
    draw_phases(out, p, &f);
    text(out, f.x + f.width / 2, BOTTOM + 40, SVG_MIDDLE, SVG_GREY, 0, "step of the path");
}

void stitch_svg(const struct stitch_facts *f, const struct stitch_latents *l, const struct stitch_path *p,
                struct strbuf *out)
{
    double auc, best;
    struct strbuf b = STRBUF_INIT;
    const struct svg_text_style heading = {.color = SVG_GREY, .size = 18, .bold = 1, .columns = 90};
    stitch_roc(l, &auc, &best);
    strbuf_addf(&b, "%s: %s into %s", f->artifact.name, f->large_artifact.name, f->small_artifact.name);
    svg_begin(out, WIDTH, HEIGHT, strbuf_string(&b));
    if (!isnan(auc))
        strbuf_addf(&b, ", AUC of the cosine %.3f", auc);
    strbuf_adds(&b, ", ");
    strbuf_add_grouped(&b, (long long)f->tokens);
    strbuf_adds(&b, " tokens");
    svg_text(out, 10, 26, &heading, b.data, b.length);
    draw_scatter(out, f, l);
    draw_path(out, p);
    svg_end(out);
    strbuf_free(&b);
}
