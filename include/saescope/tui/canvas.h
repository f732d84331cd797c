/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Drawing. A canvas is a rectangle of the screen; what lies outside is cut. All text drawn is made displayable by the
 * caller (base/display.h) unless a function says that it does it. Styles are semantic; the screen maps them to colours or, in
 * monochrome, to attributes. Every glyph has an ASCII twin, chosen by the screen.
 */
#ifndef SAESCOPE_TUI_CANVAS_H
#define SAESCOPE_TUI_CANVAS_H

#include <stddef.h>

struct canvas {
    int y, x, height, width; /* on the screen */
};

/* The letter is what test dumps show. */
enum style {
    STYLE_NORMAL,     /* . */
    STYLE_DIM,        /* d  less important */
    STYLE_STRONG,     /* b  headings, names */
    STYLE_STATUS,     /* s  top line */
    STYLE_HINT,       /* h  bottom line */
    STYLE_SELECTED,   /* S  the row the cursor is on, in the focused pane */
    STYLE_SELECTED_UNFOCUSED, /* u */
    STYLE_LINK,       /* l  can be followed */
    STYLE_BORDER,     /* B */
    STYLE_BORDER_FOCUS, /* F */
    STYLE_BAR,        /* #  filled part of bars and curves */
    STYLE_GOOD,       /* g */
    STYLE_WARNING,    /* w */
    STYLE_ERROR,      /* e */
    STYLE_MATCH,      /* m  what a search found */
    STYLE_POSITIVE,   /* + */
    STYLE_NEGATIVE,   /* - */
    STYLE_HEAT_1,     /* 1  token shading by activation, weakest … */
    STYLE_HEAT_2,
    STYLE_HEAT_3,
    STYLE_HEAT_4,
    STYLE_HEAT_5,     /* 5  … strongest */
    STYLES
};

enum glyph { GLYPH_CURSOR, GLYPH_ELLIPSIS, GLYPH_CHEVRON, GLYPH_SORT_UP, GLYPH_SORT_DOWN, GLYPH_MIDDLE_DOT, GLYPH_RUNNING,
             GLYPH_PAUSED, GLYPH_DONE, GLYPH_FAILED, GLYPH_ARROW, GLYPH_TOKEN_OPEN, GLYPH_TOKEN_CLOSE,
             GLYPH_HORIZONTAL, GLYPH_VERTICAL, GLYPH_TOP_LEFT, GLYPH_TOP_RIGHT, GLYPH_BOTTOM_LEFT, GLYPH_BOTTOM_RIGHT,
             GLYPH_TEE_LEFT, GLYPH_TEE_RIGHT, GLYPH_TEE_UP, GLYPH_TEE_DOWN, GLYPH_CROSS, GLYPH_DOTTED, GLYPH_SHADE_DARK,
             GLYPH_SHADE_MEDIUM, GLYPH_SHADE_LIGHT, GLYPH_POINT, GLYPH_TARGET, GLYPH_THRESHOLD,
             GLYPHS };
const char *glyph(enum glyph g); /* as the screen's set has it; all but the ASCII arrow are one column wide */
/* The line through a cell that has these ends (LINE_ bits): "├" for up, down and right; " " for none. */
enum line_end { LINE_UP = 1, LINE_DOWN = 2, LINE_LEFT = 4, LINE_RIGHT = 8 };
const char *glyph_line(unsigned ends);
/* Whether styles show as attributes only: what colour tells must be told by text as well. */
int canvas_monochrome(void);

/* Part of a canvas; cut to what there is. */
struct canvas canvas_part(const struct canvas *c, int y, int x, int height, int width);

void canvas_clear(const struct canvas *c);
/* Text from column x on; returns the column behind it. Cut at the canvas' edge (with an ellipsis when `ellipsis`). */
int canvas_text(const struct canvas *c, int y, int x, enum style style, const char *displayable);
int canvas_textn(const struct canvas *c, int y, int x, enum style style, const char *displayable, size_t n);
int canvas_printf(const struct canvas *c, int y, int x, enum style style, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
int canvas_right(const struct canvas *c, int y, int right, enum style style, const char *displayable); /* ends before `right` */
int canvas_ellipsis(const struct canvas *c, int y, int x, int width, enum style style, const char *displayable);
void canvas_fill(const struct canvas *c, int y, int x, int width, enum style style); /* blanks */
void canvas_style(const struct canvas *c, int y, int x, int width, enum style style); /* restyles what is there */

/* A border with a title in it; returns the inside. */
struct canvas canvas_box(const struct canvas *c, enum style border, const char *title);
/* A horizontal bar of `fraction` of width, in eighths of a cell. */
void canvas_bar(const struct canvas *c, int y, int x, int width, double fraction, enum style style);
/* Columns of a histogram, heights relative to the largest, in eighths of a cell over the canvas' height; n values are
 * spread over its width. log_scale: heights by log(1 + count). */
void canvas_histogram(const struct canvas *c, const double *values, size_t n, int log_scale);
/* A curve through n values (NaN: a gap), braille or ASCII; low, high: the axis' range (equal: from the values). */
void canvas_curve(const struct canvas *c, const float *values, size_t n, double low, double high, enum style style);

/* ---- Plots: a part of the plane on a canvas, x to the right, y upwards. ---- */
struct plane {
    double left, right, low, high; /* of the canvas' edges */
};
/* Columns and rows of the axes' labels; the rest is for the plot. */
#define AXIS_ROWS 1
struct ticks;
/* Labels at the left of as many columns as they need and at the bottom; the plot's canvas. A tick that has no room
 * beside those before it in the list is left out; NULL: no labels on that side. */
struct canvas canvas_axes(const struct canvas *c, const struct plane *p, const struct ticks *x, const struct ticks *y);
/* The cell of a point; 0 when it lies outside. */
int plane_cell(const struct canvas *c, const struct plane *p, double x, double y, int *row, int *column);
/* Points as dots, braille or (by their number in a cell) ASCII. kinds[i] < n_styles; a cell has the style that most of its points
 * have, the first of them when they are equal. */
void canvas_scatter(const struct canvas *c, const struct plane *p, const float *x, const float *y,
                    const unsigned char *kinds, size_t n, const enum style *styles, size_t n_styles);
/* A line through points in their order (NaN: a gap), cut at the edges. */
void canvas_line(const struct canvas *c, const struct plane *p, const double *x, const double *y, size_t n,
                 enum style style);
/* Straight lines over the whole plot, below what is drawn later. */
void canvas_vertical(const struct canvas *c, const struct plane *p, double x, enum style style);
void canvas_horizontal(const struct canvas *c, const struct plane *p, double y, enum style style);
void canvas_point(const struct canvas *c, const struct plane *p, double x, double y, enum glyph g, enum style style);
/* Points as their marks, GLYPH_POINT where several are in a cell; behind or before a mark its name, where it has room beside all
 * others. */
struct named_point {
    double x, y;
    char mark;
    const char *name; /* displayable */
};
void canvas_named_points(const struct canvas *c, const struct plane *p, const struct named_point *points, size_t n,
                         enum style style);

/* Where the terminal's real cursor goes (the selected row, the prompt). */
void canvas_cursor(const struct canvas *c, int y, int x);

#endif
