/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SVG documents: shapes as elements with presentation attributes, which every viewer and converter knows. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/svg.h"

#define COLUMN_WIDTH 0.62 /* of the font's size */
#define NUMBER_MAX   1e6

const char *const svg_color_values[SVG_COLORS] = {
    [SVG_NONE] = "none",      [SVG_GREY] = "#757575",  [SVG_BLUE] = "#1f75d8",
    [SVG_ORANGE] = "#b75d0f", [SVG_GREEN] = "#188746", [SVG_RED] = "#d53b50",
    [SVG_VIOLET] = "#9958c7", [SVG_TEAL] = "#0f8383",  [SVG_WHITE] = "#ffffff",
};

/* Two decimals, without those that say nothing. */
static void add_number(struct strbuf *out, double x)
{
    size_t start = out->length;
    strbuf_addf(out, "%.2f", fmin(fmax(x, -NUMBER_MAX), NUMBER_MAX));
    while (out->data[out->length - 1] == '0')
        out->length--;
    if (out->data[out->length - 1] == '.')
        out->length--;
    out->data[out->length] = '\0';
    if (strcmp(out->data + start, "-0") == 0) {
        out->length = start;
        strbuf_addc(out, '0');
    }
}

static void add_attribute(struct strbuf *out, const char *name, double x)
{
    strbuf_addf(out, " %s=\"", name);
    add_number(out, x);
    strbuf_addc(out, '"');
}

/* The ampersand, the brackets and quotes of displayable text; what XML forbids is no part of it. */
static void add_escaped(struct strbuf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *entity = text[i] == '&'   ? "&amp;"
                             : text[i] == '<' ? "&lt;"
                             : text[i] == '>' ? "&gt;"
                             : text[i] == '"' ? "&quot;"
                                              : NULL;
        if (entity)
            strbuf_adds(out, entity);
        else
            strbuf_addc(out, text[i]);
    }
}

static void add_style(struct strbuf *out, const struct svg_style *style)
{
    strbuf_addf(out, " fill=\"%s\"", svg_color_values[style->fill]);
    if (style->stroke != SVG_NONE) {
        double width = style->width > 0 ? style->width : 1;
        strbuf_addf(out, " stroke=\"%s\" stroke-linecap=\"round\"", svg_color_values[style->stroke]);
        add_attribute(out, "stroke-width", width);
        if (style->dotted) {
            strbuf_adds(out, " stroke-dasharray=\"0 ");
            add_number(out, 3 * width);
            strbuf_addc(out, '"');
        }
    }
    if (style->opacity > 0 && style->opacity < 1)
        add_attribute(out, "opacity", style->opacity);
    strbuf_adds(out, "/>\n");
}

void svg_begin(struct strbuf *out, double width, double height, const char *title)
{
    struct strbuf shown = STRBUF_INIT;
    strbuf_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"");
    add_attribute(out, "width", width);
    add_attribute(out, "height", height);
    strbuf_adds(out, " viewBox=\"0 0 ");
    add_number(out, width);
    strbuf_addc(out, ' ');
    add_number(out, height);
    strbuf_adds(out,
                "\" font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">\n<title>");
    displayable(&shown, title, strlen(title));
    add_escaped(out, shown.data, shown.length);
    strbuf_adds(out, "</title>\n");
    strbuf_free(&shown);
}

void svg_end(struct strbuf *out)
{
    strbuf_adds(out, "</svg>\n");
}

void svg_line(struct strbuf *out, double x1, double y1, double x2, double y2, const struct svg_style *style)
{
    if (!isfinite(x1) || !isfinite(y1) || !isfinite(x2) || !isfinite(y2))
        return;
    strbuf_adds(out, "<line");
    add_attribute(out, "x1", x1);
    add_attribute(out, "y1", y1);
    add_attribute(out, "x2", x2);
    add_attribute(out, "y2", y2);
    add_style(out, style);
}

static int finite_point(const double *point)
{
    return isfinite(point[0]) && isfinite(point[1]);
}

void svg_polyline(struct strbuf *out, const double *points, size_t n, const struct svg_style *style)
{
    for (size_t i = 0; i < n; i++) {
        int first = i == 0 || !finite_point(&points[2 * i - 2]),
            last = i + 1 == n || !finite_point(&points[2 * i + 2]);
        if (!finite_point(&points[2 * i]))
            continue;
        strbuf_adds(out, first ? "<polyline points=\"" : " ");
        add_number(out, points[2 * i]);
        strbuf_addc(out, ',');
        add_number(out, points[2 * i + 1]);
        if (last) {
            strbuf_adds(out, "\" stroke-linejoin=\"round\"");
            add_style(out, style);
        }
    }
}

void svg_circle(struct strbuf *out, double x, double y, double radius, const struct svg_style *style)
{
    if (!isfinite(x) || !isfinite(y) || !isfinite(radius))
        return;
    strbuf_adds(out, "<circle");
    add_attribute(out, "cx", x);
    add_attribute(out, "cy", y);
    add_attribute(out, "r", fmax(radius, 0));
    add_style(out, style);
}

void svg_rect(struct strbuf *out, double x, double y, double width, double height,
              const struct svg_style *style)
{
    if (!isfinite(x) || !isfinite(y) || !isfinite(width) || !isfinite(height))
        return;
    strbuf_adds(out, "<rect");
    add_attribute(out, "x", x);
    add_attribute(out, "y", y);
    add_attribute(out, "width", fmax(width, 0));
    add_attribute(out, "height", fmax(height, 0));
    if (style->corner > 0)
        add_attribute(out, "rx", style->corner);
    add_style(out, style);
}

/* ---- Text. ---- */

static const char ellipsis[] = "\xE2\x80\xA6";

/* As much of it as is shown, displayable; whether it was cut. */
static int shown_text(const struct svg_text_style *style, const void *bytes, size_t n, struct strbuf *shown)
{
    displayable(shown, bytes, n);
    if (style->columns == 0 || display_width(shown->data, shown->length) <= style->columns)
        return 0;
    shown->length = display_prefix(shown->data, shown->length, style->columns - 1);
    shown->data[shown->length] = '\0';
    return 1;
}

void svg_text(struct strbuf *out, double x, double y, const struct svg_text_style *style, const void *bytes,
              size_t n)
{
    static const char *const anchors[] = {[SVG_START] = "start", [SVG_MIDDLE] = "middle", [SVG_END] = "end"};
    struct strbuf shown = STRBUF_INIT;
    if (!isfinite(x) || !isfinite(y))
        return;
    int cut = shown_text(style, bytes, n, &shown);
    strbuf_adds(out, "<text");
    add_attribute(out, "x", x);
    add_attribute(out, "y", y);
    add_attribute(out, "font-size", style->size);
    strbuf_addf(out, " text-anchor=\"%s\" fill=\"%s\"", anchors[style->anchor],
                svg_color_values[style->color]);
    strbuf_adds(out,
                style->bold ? " font-weight=\"bold\" xml:space=\"preserve\">" : " xml:space=\"preserve\">");
    add_escaped(out, shown.data, shown.length);
    strbuf_adds(out, cut ? ellipsis : "");
    strbuf_adds(out, "</text>\n");
    strbuf_free(&shown);
}

double svg_text_width(const struct svg_text_style *style, const void *bytes, size_t n)
{
    struct strbuf shown = STRBUF_INIT;
    int cut = shown_text(style, bytes, n, &shown);
    double columns = (double)display_width(shown.data, shown.length) + cut;
    strbuf_free(&shown);
    return columns * COLUMN_WIDTH * style->size;
}
