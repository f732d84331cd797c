/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The plots of a stitch: cosine against Δ, the path step by step, explained variance over L0. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/axis.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/tui/stitch_view.h"

static int most_ticks(int cells, int each)
{
    return cells / each > 1 ? cells / each : 1;
}

static void right_grouped(const struct canvas *c, int y, int right, enum style style, size_t n)
{
    struct strbuf b = STRBUF_INIT;
    strbuf_add_grouped(&b, (long long)n);
    canvas_right(c, y, right, style, strbuf_string(&b));
    strbuf_free(&b);
}

/* ---- Scatter. ---- */

static void add_grouped_pair(struct strbuf *b, const char *name, size_t below, size_t above)
{
    strbuf_adds(b, name);
    strbuf_add_grouped(b, (long long)below);
    strbuf_adds(b, " | ");
    strbuf_add_grouped(b, (long long)above);
}

/* One line: at the left of the bars what lies up to the threshold. */
static void draw_confusion_line(const struct canvas *c, const struct stitch_confusion *at)
{
    struct strbuf b = STRBUF_INIT;
    add_grouped_pair(&b, "novel ", at->novel_below, at->novel_above);
    add_grouped_pair(&b, "  reconstr. ", at->reconstruction_below, at->reconstruction_above);
    canvas_ellipsis(c, 0, 1, c->width - 1, STYLE_NORMAL, strbuf_string(&b));
    strbuf_free(&b);
}

static double share(size_t part, size_t whole)
{
    return whole ? (double)part / (double)whole : NAN;
}

static void draw_confusion_table(const struct canvas *c, const struct stitch_confusion *at, double threshold)
{
    char text[64], number[16];
    snprintf(text, sizeof text, "up to %s", threshold_text(threshold, number));
    canvas_right(c, 0, 30, STYLE_STRONG, text);
    snprintf(text, sizeof text, "over %s", number);
    canvas_right(c, 0, 42, STYLE_STRONG, text);
    canvas_text(c, 1, 1, STYLE_NORMAL, "novel");
    right_grouped(c, 1, 30, STYLE_NORMAL, at->novel_below);
    right_grouped(c, 1, 42, STYLE_NORMAL, at->novel_above);
    canvas_text(c, 2, 1, STYLE_NORMAL, "reconstruction");
    right_grouped(c, 2, 30, STYLE_NORMAL, at->reconstruction_below);
    right_grouped(c, 2, 42, STYLE_NORMAL, at->reconstruction_above);
    if (c->width < 62)
        return;
    canvas_text(c, 0, 46, STYLE_STRONG, "as predictor");
    snprintf(text, sizeof text, "precision %.3f", share(at->novel_below, at->below));
    canvas_text(c, 1, 46, STYLE_NORMAL, text);
    snprintf(text, sizeof text, "recall    %.3f", share(at->novel_below, at->novel_below + at->novel_above));
    canvas_text(c, 2, 46, STYLE_NORMAL, text);
}

static void draw_selected(const struct stitch_state *s, const struct canvas *c, const struct plane *plane)
{
    uint32_t row;
    if (stitch_selected_row(s, &row) && !(row & ROW_SMALL))
        canvas_point(c, plane, (double)s->page->latents.max_cosine[row], (double)s->page->scaled[row],
                     GLYPH_TARGET, STYLE_MATCH);
}

void scatter_draw(const struct stitch_state *s, const struct canvas *c)
{
    static const enum style styles[] = {
        [LATENT_UNDECIDED] = STYLE_DIM, [LATENT_NOVEL] = STYLE_GOOD, [LATENT_RECONSTRUCTION] = STYLE_BAR};
    const struct stitch_page *p = s->page;
    struct stitch_confusion at;
    char title[NAME_MAX_BYTES + 64];
    snprintf(title, sizeof title, "delta mse by cosine to %s", p->facts.small_artifact.name);
    struct canvas in = canvas_box(c, STYLE_BORDER, title);
    int table = in.height >= 14 ? 3 : in.height >= 5 ? 1 : 0;
    struct canvas plot = canvas_part(&in, 0, 0, in.height - table, in.width);
    struct canvas below = canvas_part(&in, in.height - table, 0, table, in.width);
    double low = symmetric_log(p->low, p->linear), high = symmetric_log(p->high, p->linear);
    double margin = fmax(0.02 * (high - low), 0.1);
    struct plane plane = {fmin(floor(p->lowest_cosine * 10) / 10, 0.9), 1, low - margin, high + margin};
    struct ticks x, y;
    ticks_linear(plane.left, plane.right, (size_t)most_ticks(in.width, 8), &x);
    ticks_symmetric_log(p->low, p->high, p->linear, (size_t)most_ticks(plot.height, 4), &y);
    struct canvas points = canvas_axes(&plot, &plane, &x, &y);
    canvas_horizontal(&points, &plane, 0, STYLE_DIM);
    canvas_vertical(&points, &plane, s->threshold, STYLE_BORDER_FOCUS);
    canvas_scatter(&points, &plane, p->latents.max_cosine, p->scaled, p->latents.classes, p->latents.n,
                   styles, ARRAY_LENGTH(styles));
    draw_selected(s, &points, &plane);
    stitch_confusion_at(&p->latents, s->threshold, &at);
    if (table == 3)
        draw_confusion_table(&below, &at, s->threshold);
    else if (table == 1)
        draw_confusion_line(&below, &at);
}

/* ---- The path: a strip a curve. ---- */

#define STRIP_LABEL   14 /* columns */
#define PHASE_LETTERS 3  /* fewer say nothing */

struct strip {
    const char *name;
    const double *values;
    int decimals; /* -1: significant digits */
    int points;   /* measured at some steps only */
};

static void number_text(char *out, size_t n, const struct strip *strip, double x)
{
    if (isnan(x))
        snprintf(out, n, "-");
    else if (strip->decimals < 0)
        snprintf(out, n, "%.4g", x);
    else
        snprintf(out, n, "%.*f", strip->decimals, x);
}

static void draw_strip(const struct stitch_state *s, const struct canvas *c, const struct strip *strip)
{
    size_t n = s->page->path.n_steps + 1;
    double low = INFINITY, high = -INFINITY;
    char text[32];
    for (size_t k = 0; k < n; k++) {
        low = fmin(low, strip->values[k]); /* of a number and NaN the number */
        high = fmax(high, strip->values[k]);
    }
    int room = c->height >= 3 ? c->height : 1;
    canvas_text(c, room / 2, 1, STYLE_STRONG, strip->name);
    number_text(text, sizeof text, strip, strip->values[s->step]);
    canvas_right(c, room / 2, STRIP_LABEL - 1, STYLE_NORMAL, text);
    if (c->height >= 3) { /* the axis' ends */
        number_text(text, sizeof text, strip, high);
        canvas_right(c, 0, STRIP_LABEL - 1, STYLE_DIM, text);
        number_text(text, sizeof text, strip, low);
        canvas_right(c, c->height - 1, STRIP_LABEL - 1, STYLE_DIM, text);
    }
    struct canvas plot = canvas_part(c, 0, STRIP_LABEL, c->height, c->width - STRIP_LABEL);
    if (!strip->points) {
        float *values = xcalloc(n, sizeof *values);
        for (size_t k = 0; k < n; k++)
            values[k] = (float)strip->values[k];
        canvas_curve(&plot, values, n, low, high, STYLE_BAR);
        free(values);
        return;
    }
    double margin = high > low ? 0 : 1;
    struct plane plane = {0, (double)n, low - margin, high + margin};
    for (size_t k = 0; k < n; k++)
        if (isfinite(strip->values[k]))
            canvas_point(&plot, &plane, (double)k + 0.5, strip->values[k], GLYPH_POINT, STYLE_BAR);
}

/* The column of a step in a plot. */
static int step_column(size_t step, size_t n_steps, int width)
{
    return (int)(((double)step + 0.5) * width / ((double)n_steps + 1));
}

/* "insert ────────▶ swap ───", a word where a phase begins, and dotted lines between the phases through all
 * strips. A word stands behind the mark of the step when that is on it. */
static void draw_phases(const struct stitch_state *s, const struct canvas *c, int mark)
{
    const struct stitch_path *path = &s->page->path;
    for (size_t k = 1; k <= path->n_steps; k++) {
        if (k > 1 && path->kinds[k] == path->kinds[k - 1])
            continue;
        size_t end = k;
        while (end < path->n_steps && path->kinds[end + 1] == path->kinds[k])
            end++;
        int from = k == 1 ? 0 : step_column(k, path->n_steps, c->width);
        int to = end == path->n_steps ? c->width : step_column(end + 1, path->n_steps, c->width);
        const char *name = step_kind_name((enum step_kind)path->kinds[k]);
        for (int x = from; x < to; x++)
            canvas_text(c, 0, x, STYLE_DIM, glyph(GLYPH_HORIZONTAL));
        int length = (int)strlen(name), at = mark >= from && mark < from + length ? mark + 1 : from;
        int shown = to - at - 1 < length ? to - at - 1 : length;
        if (shown >= PHASE_LETTERS)
            canvas_textn(c, 0, at, STYLE_STRONG, name, (size_t)shown);
        for (int y = 1; y < c->height && k > 1; y++)
            canvas_text(c, y, from, STYLE_DIM, glyph(GLYPH_THRESHOLD));
    }
}

static int measured(const double *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (isfinite(values[k]))
            return 1;
    return 0;
}

/* "step 1,322 of 2,011 · swap +3 -2" */
static void step_title(const struct stitch_state *s, struct strbuf *b)
{
    const struct stitch_page *p = s->page;
    size_t k = s->step;
    strbuf_adds(b, "step ");
    strbuf_add_grouped(b, (long long)k);
    strbuf_adds(b, " of ");
    strbuf_add_grouped(b, (long long)p->path.n_steps);
    strbuf_addf(b, " %s %s", glyph(GLYPH_MIDDLE_DOT), step_kind_name((enum step_kind)p->path.kinds[k]));
    uint32_t added = p->added.start[k + 1] - p->added.start[k],
             removed = p->removed.start[k + 1] - p->removed.start[k];
    if (added)
        strbuf_addf(b, " +%u", added);
    if (removed)
        strbuf_addf(b, " -%u", removed);
}

void path_draw(const struct stitch_state *s, const struct canvas *c)
{
    const struct stitch_path *path = &s->page->path;
    /* The mean squared error is the explained variance upside down: it stands last, where room is least. */
    const struct strip strips[] = {{"EV", path->explained_variance, 4, 0},
                                   {"L0", path->l0, 2, 0},
                                   {"CE", path->cross_entropy, 4, 1},
                                   {"MSE", path->mse, -1, 0}};
    int with_ce = measured(path->cross_entropy, path->n_steps + 1);
    struct strbuf title = STRBUF_INIT;
    step_title(s, &title);
    struct canvas in = canvas_box(c, STYLE_BORDER, strbuf_string(&title));
    strbuf_free(&title);
    struct canvas plots = canvas_part(&in, 0, STRIP_LABEL, in.height, in.width - STRIP_LABEL);
    int column = step_column(s->step, path->n_steps, plots.width);
    draw_phases(s, &plots, column);
    canvas_text(&plots, 0, column, STYLE_MATCH, glyph(GLYPH_SORT_DOWN));
    for (int y = 1; y < plots.height; y++)
        canvas_text(&plots, y, column, STYLE_BORDER_FOCUS, glyph(GLYPH_VERTICAL));
    int n = with_ce ? 4 : 3, room = in.height - 1, y = 1;
    for (int i = 0, left = n; i < 4; i++) {
        if (strips[i].points && !with_ce)
            continue;
        int height = (room + left - 1) / left; /* the first ones have what is over */
        struct canvas strip = canvas_part(&in, y, 0, height, in.width);
        if (height > 0)
            draw_strip(s, &strip, &strips[i]);
        y += height;
        room -= height;
        left--;
    }
}

/* ---- Explained variance over L0. ---- */

static void widen(double x, double *low, double *high)
{
    *low = fmin(*low, x); /* of a number and NaN the number */
    *high = fmax(*high, x);
}

static struct plane ev_l0_plane(const struct stitch_page *p)
{
    struct plane plane = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (size_t k = 0; k <= p->path.n_steps; k++) {
        widen(p->path.l0[k], &plane.left, &plane.right);
        widen(p->path.explained_variance[k], &plane.low, &plane.high);
    }
    for (size_t i = 0; i < p->n_points; i++) {
        widen(p->points[i].l0, &plane.left, &plane.right);
        widen(p->points[i].explained_variance, &plane.low, &plane.high);
    }
    double x = fmax(0.04 * (plane.right - plane.left), 0.05),
           y = fmax(0.04 * (plane.high - plane.low), 0.005);
    return (struct plane){plane.left - x, plane.right + x, plane.low - y, plane.high + y};
}

/* The letter of an SAE in plot and table. */
static char mark_of(size_t i)
{
    return i < 26 ? (char)('a' + i) : '?';
}

static void draw_ev_l0_plot(const struct stitch_state *s, const struct canvas *c)
{
    const struct stitch_page *p = s->page;
    struct plane plane = ev_l0_plane(p);
    struct ticks x, y;
    ticks_linear(plane.left, plane.right, (size_t)most_ticks(c->width, 9), &x);
    ticks_linear(plane.low, plane.high, (size_t)most_ticks(c->height, 3), &y);
    struct canvas plot = canvas_axes(c, &plane, &x, &y);
    canvas_line(&plot, &plane, p->path.l0, p->path.explained_variance, p->path.n_steps + 1, STYLE_BAR);
    struct named_point *points = xcalloc(p->n_points + 1, sizeof *points);
    for (size_t i = 0; i < p->n_points; i++)
        points[i] = (struct named_point){p->points[i].l0, p->points[i].explained_variance, mark_of(i),
                                         p->points[i].name};
    canvas_named_points(&plot, &plane, points, p->n_points, STYLE_STRONG);
    free(points);
    canvas_point(&plot, &plane, p->path.l0[s->step], p->path.explained_variance[s->step], GLYPH_TARGET,
                 STYLE_MATCH);
}

struct comparison_columns {
    int name, decimals, l0, ev, path, difference,
        source; /* where they end; source: where it starts, 0: left out */
};

static struct comparison_columns comparison_columns(const struct stitch_page *p, int width)
{
    struct comparison_columns at = {.name = 4, .decimals = width < 52 ? 3 : 4};
    int room = at.decimals + 2;
    for (size_t i = 0; i < p->n_points; i++)
        at.name = (int)strlen(p->points[i].name) > at.name ? (int)strlen(p->points[i].name) : at.name;
    at.name = at.name < width - 30 ? at.name : width - 30;
    at.l0 = 3 + at.name + 6;
    at.ev = at.l0 + 1 + room;
    at.path = at.ev + 1 + room;
    at.difference = at.path + 3 + room;
    at.source = at.difference + 24 < width ? at.difference + 2 : 0;
    return at;
}

static void right_number(const struct canvas *c, int y, int right, enum style style, const char *format,
                         int decimals, double x)
{
    char text[32];
    snprintf(text, sizeof text, format, decimals, x);
    canvas_right(c, y, right, style, isnan(x) ? "-" : text);
}

static void draw_comparison(const struct canvas *c, int y, const struct stitch_point *point, char mark,
                            const struct comparison_columns *at)
{
    double difference = point->path_explained_variance - point->explained_variance;
    char text[NAME_MAX_BYTES + 32];
    canvas_textn(c, y, 1, STYLE_STRONG, &mark, 1);
    canvas_ellipsis(c, y, 3, at->name, STYLE_NORMAL, point->name);
    if (point->source == POINT_UNKNOWN) {
        canvas_ellipsis(c, y, at->name + 5, c->width - at->name - 6, STYLE_DIM, "not measured: evaluate it");
        return;
    }
    right_number(c, y, at->l0, STYLE_NORMAL, "%.*f", at->decimals < 4 ? 1 : 2, point->l0);
    right_number(c, y, at->ev, STYLE_NORMAL, "%.*f", at->decimals, point->explained_variance);
    right_number(c, y, at->path, STYLE_NORMAL, "%.*f", at->decimals, point->path_explained_variance);
    right_number(c, y, at->difference, difference > 0 ? STYLE_GOOD : STYLE_NORMAL, "%+.*f", at->decimals,
                 difference);
    if (point->source == POINT_STEP)
        snprintf(text, sizeof text, "step %zu of this stitch", point->step);
    else if (point->source == POINT_TRAINING)
        snprintf(text, sizeof text, "training, held out");
    else
        snprintf(text, sizeof text, "evaluated on %s", point->text);
    if (at->source)
        canvas_ellipsis(c, y, at->source, c->width - at->source - 1, STYLE_DIM, text);
}

/* Each SAE beside the path at its L0. */
static void draw_comparisons(const struct stitch_page *p, const struct canvas *c)
{
    struct comparison_columns at = comparison_columns(p, c->width);
    int shown = c->height - 1 < (int)p->n_points ? c->height - 1 : (int)p->n_points;
    if (shown < (int)p->n_points)
        canvas_printf(c, 0, 1, STYLE_STRONG, "%d of %zu", shown,
                      p->n_points); /* a taller screen has them all */
    else
        canvas_text(c, 0, 3, STYLE_STRONG, "SAE");
    canvas_right(c, 0, at.l0, STYLE_STRONG, "L0");
    canvas_right(c, 0, at.ev, STYLE_STRONG, "EV");
    canvas_right(c, 0, at.path, STYLE_STRONG, "path");
    canvas_right(c, 0, at.difference, STYLE_STRONG, "path-EV");
    for (int i = 0; i < shown; i++)
        draw_comparison(c, i + 1, &p->points[i], mark_of((size_t)i), &at);
}

#define PLOT_LEAST 4 /* rows, the axis among them */

void ev_l0_draw(const struct stitch_state *s, const struct canvas *c)
{
    const struct stitch_page *p = s->page;
    struct strbuf title = STRBUF_INIT;
    strbuf_addf(&title, "EV over L0 %s ", glyph(GLYPH_MIDDLE_DOT));
    step_title(s, &title);
    struct canvas in = canvas_box(c, STYLE_BORDER, strbuf_string(&title));
    strbuf_reset(&title);
    int note = in.height >= 16, rows = (int)(p->n_points < 12 ? p->n_points : 12) + 1;
    int most = in.height >= 2 * PLOT_LEAST ? in.height - note - PLOT_LEAST : in.height / 2;
    int below = rows < most ? rows : most;
    struct canvas plot = canvas_part(&in, 0, 0, in.height - below - note, in.width);
    struct canvas table = canvas_part(&in, in.height - below - note, 0, below, in.width);
    draw_ev_l0_plot(s, &plot);
    draw_comparisons(p, &table);
    if (note) {
        strbuf_adds(&title, "path: ");
        strbuf_add_grouped(&title, (long long)p->facts.tokens);
        strbuf_addf(&title, " tokens of %s; path-EV at the SAE's L0, between the steps around it",
                    *p->text_name ? p->text_name : "the text");
        canvas_ellipsis(&in, in.height - 1, 1, in.width - 2, STYLE_DIM, strbuf_string(&title));
    }
    strbuf_free(&title);
}
