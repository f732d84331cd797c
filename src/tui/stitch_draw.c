/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws a stitch: where its panes are, the header, the lists of latents. */
#include "config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/stitch_view.h"

/* ---- Layout. ---- */

#define TWO_PLOTS  70  /* columns from which scatter and path stand side by side */
#define TWO_LISTS  120 /* columns from which the step's latents have a pane of their own */
#define ONE_HEADER 170 /* columns that hold the header in one line */
#define LOW        10  /* rows below the header under which there is no room for plots */

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

void stitch_layout(const struct canvas *c, enum stitch_plot plot, struct stitch_layout *out)
{
    int header = c->width >= ONE_HEADER ? 1 : 2, rest = c->height - header;
    int top = rest < LOW ? 0 : clamp(rest * 11 / 20, 6, 34);
    int left = c->width >= TWO_PLOTS ? c->width / 2 : plot == PLOT_SCATTER ? c->width : 0;
    int list = c->width >= TWO_LISTS ? c->width * 3 / 5 : c->width;
    *out = (struct stitch_layout){.header = canvas_part(c, 0, 0, header, c->width)};
    if (top > 0 && left > 0)
        out->scatter = canvas_part(c, header, 0, top, left);
    if (top > 0 && left < c->width)
        out->path = canvas_part(c, header, left, top, c->width - left);
    if (rest > top)
        out->list = canvas_part(c, header + top, 0, rest - top, list);
    if (rest > top && list < c->width)
        out->step = canvas_part(c, header + top, list, rest - top, c->width - list);
}

/* ---- Header: its parts flow over the lines that there are. ---- */

struct flow {
    const struct canvas *c;
    int y, x;
};

static void flow_text(struct flow *f, const char *text)
{
    int width = (int)display_width(text, strlen(text)), gap = f->x > 1 ? 3 : 0;
    if (f->x + gap + width > f->c->width - 1 && f->x > 1) {
        f->y++;
        f->x = 1;
        gap = 0;
    }
    if (f->y >= f->c->height)
        return;
    if (gap)
        canvas_text(f->c, f->y, f->x + 1, STYLE_DIM, glyph(GLYPH_MIDDLE_DOT));
    f->x = canvas_ellipsis(f->c, f->y, f->x + gap, f->c->width - f->x - gap, STYLE_NORMAL, text);
}

static void flow_count(struct flow *f, const char *name, size_t n)
{
    struct strbuf b = STRBUF_INIT;
    strbuf_adds(&b, name);
    strbuf_add_grouped(&b, (long long)n);
    flow_text(f, strbuf_string(&b));
    strbuf_free(&b);
}

static void flow_number(struct flow *f, const char *format, double x)
{
    char text[64];
    if (isnan(x))
        return;
    snprintf(text, sizeof text, format, x);
    flow_text(f, text);
}

const char *threshold_text(double threshold, char out[16])
{
    int whole = fabs(threshold * 100 - round(threshold * 100)) < 1e-6;
    snprintf(out, 16, "%.*f", whole ? 2 : 4, threshold);
    return out;
}

/* What does not depend on the threshold: the novel fraction, and the partners' components. */
static void flow_manifest(struct flow *f, const json *manifest)
{
    const json *ci = json_get(manifest, "ci"), *components = json_get(manifest, "components");
    double low = json_number(json_at(ci, 0), NAN), high = json_number(json_at(ci, 1), NAN);
    double fraction = json_get_number(manifest, "novel_fraction", NAN);
    char text[96];
    if (isnan(low) || isnan(high)) {
        flow_number(f, "novel fraction %.3f", fraction);
    } else {
        snprintf(text, sizeof text, "novel fraction %.3f (95%% %.3f to %.3f)", fraction, low, high);
        flow_text(f, text);
    }
    if (!components)
        return;
    const json *largest = json_get(components, "largest");
    snprintf(text, sizeof text, "components %lld, largest %lld + %lld",
             json_get_integer(components, "count", 0), json_get_integer(largest, "small", 0),
             json_get_integer(largest, "large", 0));
    flow_text(f, text);
}

static void draw_header(const struct canvas *c, const struct stitch_state *s)
{
    const struct stitch_page *p = s->page;
    struct flow f = {c, 0, 1};
    struct stitch_confusion at;
    char text[NAME_MAX_BYTES + 64], number[16];
    stitch_confusion_at(&p->latents, s->threshold, &at);
    snprintf(text, sizeof text, "small %s", p->facts.small_artifact.name);
    flow_text(&f, text);
    snprintf(text, sizeof text, "large %s", p->facts.large_artifact.name);
    flow_text(&f, text);
    flow_count(&f, "novel ", s->n_rows[LIST_NOVEL]);
    flow_count(&f, "reconstruction ", s->n_rows[LIST_RECONSTRUCTION]);
    flow_count(&f, "undecided ", s->n_rows[LIST_UNDECIDED]);
    snprintf(text, sizeof text, "cosine up to %s: ", threshold_text(s->threshold, number));
    flow_count(&f, text, at.below);
    flow_number(&f, "AUC %.3f", p->auc);
    flow_number(&f, "best %.4f", p->best_threshold);
    flow_manifest(&f, p->facts.manifest);
}

/* ---- Lists. ---- */

struct columns {
    int latent, fired, cosine, nearest, delta, step; /* where they end; 0: left out */
    int label;                                       /* where it starts */
};

#define ALL_COLUMNS 68 /* of a list's pane, from which everything is shown */

static struct columns lay_out(int width)
{
    if (width < ALL_COLUMNS)
        return (struct columns){.latent = 8, .cosine = 15, .delta = 26, .label = 28};
    return (struct columns){10, 19, 26, 34, 45, 53, 55};
}

static void title(const struct canvas *c, const struct stitch_state *s, int right, const char *name,
                  enum stitch_key key)
{
    static const int ascends[STITCH_KEYS] = {
        [SORT_DELTA] = 1, [SORT_COSINE] = 0, [SORT_FIRED] = 0, [SORT_STEP] = 1, [SORT_LATENT] = 1};
    char text[32];
    int sorted = s->sort == key;
    if (right == 0)
        return;
    snprintf(text, sizeof text, "%s%s", name,
             !sorted ? "" : glyph(ascends[key] != s->reverse ? GLYPH_SORT_UP : GLYPH_SORT_DOWN));
    canvas_right(c, 0, right + sorted, sorted ? STYLE_BORDER_FOCUS : STYLE_STRONG, text);
}

static void draw_titles(const struct canvas *c, const struct stitch_state *s, const struct columns *at)
{
    title(c, s, at->latent, "latent", SORT_LATENT);
    title(c, s, at->fired, "fired", SORT_FIRED);
    title(c, s, at->cosine, "cosine", SORT_COSINE);
    if (at->nearest)
        canvas_right(c, 0, at->nearest, STYLE_STRONG, "nearest");
    title(c, s, at->delta, "delta mse", SORT_DELTA);
    title(c, s, at->step, "step", SORT_STEP);
    canvas_text(c, 0, at->label, STYLE_STRONG, "label");
}

static void draw_label(const struct canvas *c, int y, int x, const struct stitch_state *s, uint32_t row)
{
    const char *label = stitch_label(s, row);
    if (!label)
        canvas_text(c, y, x, STYLE_DIM, glyph(GLYPH_ELLIPSIS));
    else
        canvas_ellipsis(c, y, x, c->width - x - 1, stitch_is_match(s, row) ? STYLE_MATCH : STYLE_NORMAL,
                        label);
}

__attribute__((format(printf, 5, 6))) static void cell(const struct canvas *c, int y, int right,
                                                       enum style style, const char *format, ...)
{
    char text[32];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (right > 0)
        canvas_right(c, y, right, style, text);
}

static void draw_class_row(const struct canvas *c, int y, const struct stitch_state *s, uint32_t latent,
                           const struct columns *at)
{
    const struct stitch_page *p = s->page;
    uint32_t step = p->path.large_step[latent];
    double delta = stitch_delta_mse(p, latent);
    cell(c, y, at->latent, STYLE_LINK, "%u", latent);
    cell(c, y, at->fired, STYLE_NORMAL, "%u", p->latents.fired[latent]);
    cell(c, y, at->cosine, STYLE_NORMAL, "%.3f", (double)p->latents.max_cosine[latent]);
    cell(c, y, at->nearest, STYLE_NORMAL, "/%u", p->latents.nearest[latent]);
    cell(c, y, at->delta, delta < 0 ? STYLE_GOOD : STYLE_NORMAL, "%.2e", delta);
    if (step == STITCH_NEVER)
        cell(c, y, at->step, STYLE_NORMAL, "-");
    else
        cell(c, y, at->step, STYLE_NORMAL, "%u", step);
    draw_label(c, y, at->label, s, latent);
}

#define STEP_WIDE 64 /* columns from which class and cosine are shown */

/* "+ wn-4096/1183   novel  0.42  -1.2e-06  label": what comes; "- wn-1024/211  label": what goes. */
static void draw_step_row(const struct canvas *c, int y, const struct stitch_state *s, uint32_t row)
{
    const struct stitch_page *p = s->page;
    int goes = (row & ROW_SMALL) != 0, wide = c->width >= STEP_WIDE;
    uint32_t latent = row & ~ROW_SMALL;
    const char *name = goes ? p->facts.small_artifact.name : p->facts.large_artifact.name;
    size_t a = strlen(p->facts.small_artifact.name), b = strlen(p->facts.large_artifact.name);
    int room = clamp((int)(a > b ? a : b) + 7, 0, c->width / 3), x = 4 + room + 1;
    char text[NAME_MAX_BYTES + 32];
    canvas_text(c, y, 2, goes ? STYLE_WARNING : STYLE_GOOD, goes ? "-" : "+");
    snprintf(text, sizeof text, "%s/%u", name, latent);
    canvas_ellipsis(c, y, 4, room, STYLE_LINK, text);
    if (wide && !goes)
        canvas_printf(c, y, x, STYLE_NORMAL, "%-14.14s %5.2f", latent_class_name(p->latents.classes[latent]),
                      (double)p->latents.max_cosine[latent]);
    x += wide ? 21 : 0;
    if (!goes)
        canvas_printf(c, y, x, STYLE_NORMAL, "%9.2e", stitch_delta_mse(p, latent));
    draw_label(c, y, x + 11, s, row);
}

static void draw_rows(struct view *v, const struct canvas *c, enum stitch_list list, int focused)
{
    struct stitch_state *s = v->data;
    struct list *rows = &s->lists[list];
    int heading = list != LIST_STEP && c->height > 1;
    struct columns at = lay_out(c->width);
    if (heading)
        draw_titles(c, s, &at);
    struct canvas in = canvas_part(c, heading, 0, c->height - heading, c->width);
    list_set_count(rows, stitch_rows_count(s, list));
    list_layout(rows, in.height);
    if (rows->n == 0)
        canvas_text(&in, 0, 2, STYLE_DIM,
                    list == LIST_STEP ? "no latent comes or goes at this step" : "there are none");
    for (size_t i = rows->top; i < rows->n && i < rows->top + (size_t)in.height; i++) {
        int y = (int)(i - rows->top);
        uint32_t row = stitch_row(s, list, i);
        if (list == LIST_STEP)
            draw_step_row(&in, y, s, row);
        else
            draw_class_row(&in, y, s, row, &at);
        if (i != rows->cursor)
            continue;
        canvas_text(&in, y, 0, focused ? STYLE_STRONG : STYLE_DIM, glyph(GLYPH_CURSOR));
        if (focused) {
            canvas_style(&in, y, 0, in.width, STYLE_SELECTED);
            canvas_cursor(&in, y, 0);
        }
    }
    list_scroll_mark(rows, &in);
}

/* "novel 1,322 · [reconstruction 2,514] · …": the list that is shown stands in brackets. */
static void add_tab(struct strbuf *b, const char *name, size_t n, int shown)
{
    if (b->length > 0)
        strbuf_addf(b, " %s ", glyph(GLYPH_MIDDLE_DOT));
    strbuf_addf(b, "%s%s ", shown ? "[" : "", name);
    strbuf_add_grouped(b, (long long)n);
    strbuf_adds(b, shown ? "]" : "");
}

static void draw_lists(struct view *v, const struct stitch_layout *at)
{
    const struct stitch_state *s = v->data;
    static const char *const names[] = {"novel", "reconstruction", "undecided"};
    struct strbuf text = STRBUF_INIT;
    int own = at->step.height > 0, in_step = s->shown == LIST_STEP;
    /* With a pane of its own, the step's latents leave the list that was there before. */
    enum stitch_list list = own && in_step ? s->class_shown : s->shown;
    for (int i = 0; i < LIST_STEP; i++)
        add_tab(&text, names[i], s->n_rows[i], (enum stitch_list)i == list);
    if (!own)
        add_tab(&text, "at this step", stitch_rows_count(s, LIST_STEP), in_step);
    int focused = v->focused && !(own && in_step);
    struct canvas in =
        canvas_box(&at->list, focused ? STYLE_BORDER_FOCUS : STYLE_BORDER, strbuf_string(&text));
    draw_rows(v, &in, list, focused);
    strbuf_free(&text);
    if (!own)
        return;
    add_tab(&text, "at this step", stitch_rows_count(s, LIST_STEP), in_step);
    focused = v->focused && in_step;
    in = canvas_box(&at->step, focused ? STYLE_BORDER_FOCUS : STYLE_BORDER, strbuf_string(&text));
    draw_rows(v, &in, LIST_STEP, focused);
    strbuf_free(&text);
}

/* ---- All of it. ---- */

void stitch_draw(struct view *v, const struct canvas *c)
{
    const struct stitch_state *s = v->data;
    struct stitch_layout at;
    if (!s->page || s->error) {
        canvas_ellipsis(c, 0, 1, c->width - 2, s->error ? STYLE_ERROR : STYLE_DIM,
                        s->error ? s->error : glyph(GLYPH_ELLIPSIS));
        return;
    }
    stitch_layout(c, s->plot, &at);
    draw_header(&at.header, s);
    if (at.scatter.height > 0)
        scatter_draw(s, &at.scatter);
    if (at.path.height > 0 && s->plot == PLOT_EV_L0)
        ev_l0_draw(s, &at.path);
    else if (at.path.height > 0)
        path_draw(s, &at.path);
    draw_lists(v, &at);
    stitch_want_labels(v);
}

void stitch_status(struct view *v, struct strbuf *out)
{
    const struct stitch_state *s = v->data;
    if (!s->page)
        return;
    const struct stitch_facts *f = &s->page->facts;
    if (*s->page->text_name)
        strbuf_addf(out, "%s ", s->page->text_name);
    strbuf_add_grouped(out, (long long)f->tokens);
    const char *dot = glyph(GLYPH_MIDDLE_DOT);
    strbuf_addf(out, " tokens %s partners over %.2f %s %s %s b_dec %s", dot, f->threshold, dot,
                stitch_order_name(f->order), dot, stitch_bias_name(f->bias));
}
