/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Contexts: tokens shaded by activation in five steps of the latent's largest one. Without colour strong
 * tokens stand in brackets; where a whole context is shown all active ones do, each followed by its
 * activation.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>

#include "saescope/base/display.h"
#include "saescope/tui/latent_page.h"

#define VALUE_MAX 16

/* A token as it stands on the screen: [before][text][after]. */
struct shown {
    enum style style; /* of its text; STYLE_NORMAL where it is not active */
    const char *before, *after;
    char value[VALUE_MAX];
    int width; /* of all */
};

static enum style heat_style(float activation, double max)
{
    double step = max > 0 ? ceil(5 * (double)activation / max) : 5;
    return (enum style)(STYLE_HEAT_1 + (step < 1 ? 0 : step > 5 ? 4 : (int)step - 1));
}

static int columns(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80; /* glyphs of the screen's sets are one column a character */
    return n;
}

static void show_token(const struct page_context *context, size_t i, double max, enum heat_mark mark,
                       struct shown *out)
{
    const struct page_token *token = &context->tokens[i];
    *out = (struct shown){.style = STYLE_NORMAL, .before = "", .after = "", .width = (int)token->width};
    if (!(token->activation > 0)) {
        if (!token->plain)
            out->style = STYLE_DIM;
        return;
    }
    out->style = heat_style(token->activation, max);
    /* In a line only what is strong for this context is marked: brackets around all of a dense latent's
     * tokens would hide the text. */
    if (!canvas_monochrome() || (mark == HEAT_PLAIN && token->activation <= 0.5f * context->activation))
        return;
    out->before = glyph(GLYPH_TOKEN_OPEN);
    out->after = glyph(GLYPH_TOKEN_CLOSE);
    if (mark == HEAT_VALUES)
        snprintf(out->value, sizeof out->value, "%.1f", (double)token->activation);
    out->width += columns(out->before) + columns(out->after) + columns(out->value);
}

/* Draws one token (cut at the canvas' edge); the column behind it. Leading blanks are not shaded. */
static int draw_token(const struct canvas *c, int y, int x, const struct page_context *context, size_t i,
                      const struct shown *s)
{
    const struct page_token *token = &context->tokens[i];
    const char *text = strbuf_string(&context->text) + token->start;
    x = canvas_textn(c, y, x, STYLE_NORMAL, text, token->blanks);
    x = canvas_text(c, y, x, STYLE_DIM, s->before);
    x = canvas_textn(c, y, x, s->style, text + token->blanks, token->length - token->blanks);
    x = canvas_text(c, y, x, STYLE_DIM, s->after);
    return canvas_text(c, y, x, STYLE_DIM, s->value);
}

void context_line_draw(const struct canvas *c, int y, int x, const struct page_context *context,
                       size_t window, double max)
{
    size_t peak = context->position;
    if (peak >= context->n)
        return;
    size_t first = window < peak ? peak - window : 0;
    size_t end = window < context->n - peak - 1 ? peak + window + 1 : context->n;
    struct shown s;
    show_token(context, peak, max, HEAT_PLAIN, &s);
    /* Two columns on the left and one on the right are kept for what says that the text goes on. */
    int room = c->width - x - 3, used = s.width, before = (room - used) / 2;
    size_t a = peak, b = peak + 1;
    for (int left = 0; a > first; a--, used += s.width) {
        show_token(context, a - 1, max, HEAT_PLAIN, &s);
        if ((left += s.width) > before)
            break;
    }
    for (; b < end; b++, used += s.width) {
        show_token(context, b, max, HEAT_PLAIN, &s);
        if (used + s.width > room)
            break;
    }
    for (; a > first; a--, used += s.width) {
        show_token(context, a - 1, max, HEAT_PLAIN, &s);
        if (used + s.width > room)
            break;
    }
    if (a > 0)
        x = canvas_text(c, y, x, STYLE_DIM, glyph(GLYPH_ELLIPSIS));
    for (size_t i = a; i < b; i++) {
        show_token(context, i, max, HEAT_PLAIN, &s);
        x = draw_token(c, y, x, context, i, &s);
    }
    if (b < context->n)
        canvas_text(c, y, x, STYLE_DIM, glyph(GLYPH_ELLIPSIS));
}

/* ---- Whole contexts, wrapped between tokens; one that is longer than a line is cut over several. ---- */

struct wrap {
    int width;
    int line, x; /* where the next token starts */
};

/* Goes to a new line when the token does not fit into what is left of this one. */
static void wrap_before(struct wrap *w, const struct shown *s)
{
    if (w->x > 0 && w->x + s->width > w->width) {
        w->line++;
        w->x = 0;
    }
}

static void wrap_after(struct wrap *w, const struct shown *s)
{
    w->x += s->width;
    if (w->x > w->width) {
        w->line += w->x / w->width;
        w->x %= w->width;
    }
}

int context_wrapped_line(const struct page_context *context, int width, enum heat_mark mark, size_t token)
{
    struct wrap w = {.width = width > 0 ? width : 1};
    for (size_t i = 0; i < context->n; i++) {
        struct shown s;
        show_token(context, i, 0, mark, &s);
        wrap_before(&w, &s);
        if (i == token)
            break;
        wrap_after(&w, &s);
    }
    return w.line;
}

/* A token that is wider than a line. */
static void draw_long_token(const struct canvas *c, int y, const struct page_context *context, size_t i,
                            const struct shown *s)
{
    const char *text = strbuf_string(&context->text) + context->tokens[i].start;
    size_t n = context->tokens[i].length;
    for (; n > 0 && y < c->height; y++) {
        size_t part = display_prefix(text, n, (size_t)c->width);
        if (part == 0)
            return;
        if (y >= 0)
            canvas_textn(c, y, 0, s->style, text, part);
        text += part;
        n -= part;
    }
}

int context_wrapped_draw(const struct canvas *c, const struct page_context *context, int top, double max,
                         enum heat_mark mark, size_t selected)
{
    struct wrap w = {.width = c->width > 0 ? c->width : 1};
    for (size_t i = 0; i < context->n; i++) {
        struct shown s;
        show_token(context, i, max, mark, &s);
        wrap_before(&w, &s);
        int y = w.line - top;
        if (s.width > w.width)
            draw_long_token(c, y, context, i, &s);
        else if (y >= 0 && y < c->height)
            draw_token(c, y, w.x, context, i, &s);
        if (i == selected && y >= 0 && y < c->height) {
            int blanks = (int)context->tokens[i].blanks;
            canvas_style(c, y, w.x + blanks, s.width - blanks, STYLE_SELECTED);
            canvas_cursor(c, y, w.x + blanks);
        }
        wrap_after(&w, &s);
    }
    return w.line + 1;
}
