/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text, borders and cells within a rectangle. */
#include "config.h"

#include <stdarg.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/tui/screen.h"

static const char *const glyphs[GLYPHS][2] = {
    [GLYPH_CURSOR] = {"▶", ">"},      [GLYPH_ELLIPSIS] = {"…", "~"},  [GLYPH_CHEVRON] = {"›", ">"},
    [GLYPH_SORT_UP] = {"▲", "^"},     [GLYPH_SORT_DOWN] = {"▼", "v"}, [GLYPH_MIDDLE_DOT] = {"·", "-"},
    [GLYPH_RUNNING] = {"▶", "*"},     [GLYPH_PAUSED] = {"‖", "="},    [GLYPH_DONE] = {"✓", "+"},
    [GLYPH_FAILED] = {"✗", "!"},      [GLYPH_ARROW] = {"→", "->"},    [GLYPH_TOKEN_OPEN] = {"‹", "<"},
    [GLYPH_TOKEN_CLOSE] = {"›", ">"}, [GLYPH_HORIZONTAL] = {"─", "-"}, [GLYPH_VERTICAL] = {"│", "|"},
    [GLYPH_TOP_LEFT] = {"┌", "+"},    [GLYPH_TOP_RIGHT] = {"┐", "+"}, [GLYPH_BOTTOM_LEFT] = {"└", "+"},
    [GLYPH_BOTTOM_RIGHT] = {"┘", "+"}, [GLYPH_TEE_LEFT] = {"┤", "+"}, [GLYPH_TEE_RIGHT] = {"├", "+"},
    [GLYPH_TEE_UP] = {"┴", "+"},      [GLYPH_TEE_DOWN] = {"┬", "+"},  [GLYPH_CROSS] = {"┼", "+"},
    [GLYPH_DOTTED] = {"·", "."},      [GLYPH_SHADE_DARK] = {"▓", "#"}, [GLYPH_SHADE_MEDIUM] = {"▒", "="},
    [GLYPH_SHADE_LIGHT] = {"░", ":"},
    [GLYPH_POINT] = {"●", "o"},       [GLYPH_TARGET] = {"◆", "@"},
    [GLYPH_THRESHOLD] = {"┊", ":"},
};

const char *glyph(enum glyph g)
{
    return glyphs[g][screen_ascii()];
}

const char *glyph_line(unsigned ends)
{
    static const enum glyph lines[16] = {
        [LINE_UP] = GLYPH_VERTICAL,
        [LINE_DOWN] = GLYPH_VERTICAL,
        [LINE_UP | LINE_DOWN] = GLYPH_VERTICAL,
        [LINE_LEFT] = GLYPH_HORIZONTAL,
        [LINE_RIGHT] = GLYPH_HORIZONTAL,
        [LINE_LEFT | LINE_RIGHT] = GLYPH_HORIZONTAL,
        [LINE_DOWN | LINE_RIGHT] = GLYPH_TOP_LEFT,
        [LINE_DOWN | LINE_LEFT] = GLYPH_TOP_RIGHT,
        [LINE_UP | LINE_RIGHT] = GLYPH_BOTTOM_LEFT,
        [LINE_UP | LINE_LEFT] = GLYPH_BOTTOM_RIGHT,
        [LINE_UP | LINE_DOWN | LINE_LEFT] = GLYPH_TEE_LEFT,
        [LINE_UP | LINE_DOWN | LINE_RIGHT] = GLYPH_TEE_RIGHT,
        [LINE_UP | LINE_LEFT | LINE_RIGHT] = GLYPH_TEE_UP,
        [LINE_DOWN | LINE_LEFT | LINE_RIGHT] = GLYPH_TEE_DOWN,
        [LINE_UP | LINE_DOWN | LINE_LEFT | LINE_RIGHT] = GLYPH_CROSS,
    };
    return ends & 15 ? glyph(lines[ends & 15]) : " ";
}

struct canvas canvas_part(const struct canvas *c, int y, int x, int height, int width)
{
    struct canvas part = {c->y + (y > 0 ? y : 0), c->x + (x > 0 ? x : 0), height + (y < 0 ? y : 0),
                          width + (x < 0 ? x : 0)};
    if (part.y + part.height > c->y + c->height)
        part.height = c->y + c->height - part.y;
    if (part.x + part.width > c->x + c->width)
        part.width = c->x + c->width - part.x;
    part.height = part.height > 0 ? part.height : 0;
    part.width = part.width > 0 ? part.width : 0;
    return part;
}

/* Whether cells of row y are to be drawn at all. */
static int row_shown(const struct canvas *c, int y)
{
    return y >= 0 && y < c->height && c->y + y >= 0 && c->y + y < screen_height();
}

/* The canvas' width as far as the screen has it. */
static int right_edge(const struct canvas *c)
{
    return c->x + c->width <= screen_width() ? c->width : screen_width() - c->x;
}

void canvas_fill(const struct canvas *c, int y, int x, int width, enum style style)
{
    static const char blanks[] = "                                                                ";
    int end = x + width < right_edge(c) ? x + width : right_edge(c);
    if (!row_shown(c, y) || x < 0)
        return;
    while (x < end) {
        int n = end - x < (int)sizeof blanks - 1 ? end - x : (int)sizeof blanks - 1;
        screen_put(c->y + y, c->x + x, style, blanks, (size_t)n, n);
        x += n;
    }
}

void canvas_clear(const struct canvas *c)
{
    for (int y = 0; y < c->height; y++)
        canvas_fill(c, y, 0, c->width, STYLE_NORMAL);
}

int canvas_textn(const struct canvas *c, int y, int x, enum style style, const char *displayable, size_t n)
{
    int width = (int)display_width(displayable, n), room = right_edge(c) - x;
    if (!row_shown(c, y) || n == 0)
        return x + width;
    if (x < 0) { /* the left part is outside */
        size_t skipped = display_prefix(displayable, n, (size_t)-x);
        int columns = (int)display_width(displayable, skipped);
        return skipped < n ? canvas_textn(c, y, 0, style, displayable + skipped, n - skipped) : x + columns;
    }
    if (room > 0) {
        size_t shown = width <= room ? n : display_prefix(displayable, n, (size_t)room);
        int columns = width <= room ? width : (int)display_width(displayable, shown);
        if (shown > 0)
            screen_put(c->y + y, c->x + x, style, displayable, shown, columns);
    }
    return x + width;
}

int canvas_text(const struct canvas *c, int y, int x, enum style style, const char *displayable)
{
    return canvas_textn(c, y, x, style, displayable, strlen(displayable));
}

int canvas_printf(const struct canvas *c, int y, int x, enum style style, const char *format, ...)
{
    struct strbuf b = STRBUF_INIT;
    va_list args;
    va_start(args, format);
    strbuf_vaddf(&b, format, args);
    va_end(args);
    x = canvas_textn(c, y, x, style, strbuf_string(&b), b.length);
    strbuf_free(&b);
    return x;
}

int canvas_right(const struct canvas *c, int y, int right, enum style style, const char *displayable)
{
    int width = (int)display_width(displayable, strlen(displayable));
    return canvas_text(c, y, right - width, style, displayable);
}

int canvas_ellipsis(const struct canvas *c, int y, int x, int width, enum style style,
                    const char *displayable)
{
    size_t n = strlen(displayable);
    if (width <= 0)
        return x;
    if (display_width(displayable, n) <= (size_t)width)
        return canvas_textn(c, y, x, style, displayable, n);
    n = display_prefix(displayable, n, (size_t)width - 1);
    x = canvas_textn(c, y, x, style, displayable, n);
    return canvas_text(c, y, x, style, glyph(GLYPH_ELLIPSIS));
}

void canvas_style(const struct canvas *c, int y, int x, int width, enum style style)
{
    int end = x + width < right_edge(c) ? x + width : right_edge(c);
    x = x > 0 ? x : 0;
    if (row_shown(c, y) && x < end)
        screen_restyle(c->y + y, c->x + x, end - x, style);
}

struct canvas canvas_box(const struct canvas *c, enum style border, const char *title)
{
    int right = c->width - 1, bottom = c->height - 1;
    if (right < 1 || bottom < 1)
        return canvas_part(c, 0, 0, 0, 0);
    for (int x = 1; x < right; x++) {
        canvas_text(c, 0, x, border, glyph(GLYPH_HORIZONTAL));
        canvas_text(c, bottom, x, border, glyph(GLYPH_HORIZONTAL));
    }
    for (int y = 1; y < bottom; y++) {
        canvas_text(c, y, 0, border, glyph(GLYPH_VERTICAL));
        canvas_text(c, y, right, border, glyph(GLYPH_VERTICAL));
    }
    canvas_text(c, 0, 0, border, glyph(GLYPH_TOP_LEFT));
    canvas_text(c, 0, right, border, glyph(GLYPH_TOP_RIGHT));
    canvas_text(c, bottom, 0, border, glyph(GLYPH_BOTTOM_LEFT));
    canvas_text(c, bottom, right, border, glyph(GLYPH_BOTTOM_RIGHT));
    if (title && *title && right > 4) {
        canvas_text(c, 0, 1, border, " ");
        int x = canvas_ellipsis(c, 0, 2, right - 4, border, title);
        canvas_text(c, 0, x, border, " ");
    }
    return canvas_part(c, 1, 1, c->height - 2, c->width - 2);
}

void canvas_cursor(const struct canvas *c, int y, int x)
{
    x = x < c->width ? x : c->width - 1;
    if (row_shown(c, y) && x >= 0)
        screen_cursor(c->y + y, c->x + x);
}
