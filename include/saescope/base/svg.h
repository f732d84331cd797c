/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A picture as an SVG document (W3C SVG 1.1), appended to a strbuf: begin, shapes, end. Lengths are in user units, of
 * which `width` × `height` are shown; y points down. The background is left open: a page shows the picture on white or on
 * black, so every colour of the palette has a contrast of at least 4.5:1 on both (WCAG 2.1, relative luminance near 0.18),
 * and white has it on each of them.
 * Text is made displayable and escaped here, so that any bytes may be given. A shape with a number that is not finite
 * is left out; numbers have two decimals at most and are cut to ±1,000,000.
 */
#ifndef SAESCOPE_BASE_SVG_H
#define SAESCOPE_BASE_SVG_H

#include <stddef.h>
#include "saescope/base/strbuf.h"

enum svg_color { SVG_NONE, SVG_GREY, SVG_BLUE, SVG_ORANGE, SVG_GREEN, SVG_RED, SVG_VIOLET, SVG_TEAL, SVG_WHITE,
                 SVG_COLORS };
extern const char *const svg_color_values[SVG_COLORS]; /* "none", "#757575", ... */

enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END }; /* which part of a text is at its place */

/* All zero: nothing is painted. */
struct svg_style {
    enum svg_color fill, stroke;
    double width;   /* of the stroke; 0: 1 */
    double opacity; /* of both; 0: 1 */
    int dotted;
    double corner; /* radius of a rectangle's corners */
};

void svg_begin(struct strbuf *out, double width, double height, const char *title);
void svg_end(struct strbuf *out);

void svg_line(struct strbuf *out, double x1, double y1, double x2, double y2, const struct svg_style *style);
/* n points, x and y alternating. A point that is not finite is a gap. */
void svg_polyline(struct strbuf *out, const double *points, size_t n, const struct svg_style *style);
void svg_circle(struct strbuf *out, double x, double y, double radius, const struct svg_style *style);
void svg_rect(struct strbuf *out, double x, double y, double width, double height, const struct svg_style *style);

struct svg_text_style {
    enum svg_color color;
    enum svg_anchor anchor;
    double size;    /* of the font */
    size_t columns; /* longer text is cut, with an ellipsis; 0: any length */
    int bold;
};
/* Text with its baseline at y, in a font of fixed width. */
void svg_text(struct strbuf *out, double x, double y, const struct svg_text_style *style, const void *bytes, size_t n);
/* The room that it takes: columns of the font, which are 0.6 of its size in the usual ones, and a little to spare. */
double svg_text_width(const struct svg_text_style *style, const void *bytes, size_t n);

#endif
