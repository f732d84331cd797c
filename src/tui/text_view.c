/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines of text with a cursor, scrolling both ways, searched. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/text_view.h"

void text_add(struct text_lines *t, enum style style, char *text)
{
    if (t->n == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 64;
        t->lines = xreallocarray(t->lines, t->capacity, sizeof *t->lines);
    }
    t->lines[t->n++] = (struct text_line){text, style, style, 0};
    t->list.n = t->n; /* lines may be there anew: the cursor may be further down */
}

void text_add_head(struct text_lines *t, char *text, size_t head, enum style head_style)
{
    text_add(t, STYLE_NORMAL, text);
    t->lines[t->n - 1].head = head;
    t->lines[t->n - 1].head_style = head_style;
}

void text_reset(struct text_lines *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->lines[i].text);
    t->n = 0;
}

void text_free(struct text_lines *t)
{
    text_reset(t);
    free(t->lines);
    free(t->pattern);
    *t = (struct text_lines){0};
}

static void mark_matches(const struct canvas *c, int y, const char *text, const char *pattern, int left)
{
    size_t n = strlen(pattern);
    for (const char *p = strcasestr(text, pattern); p; p = strcasestr(p + n, pattern)) {
        int x = (int)display_width(text, (size_t)(p - text)) - left, width = (int)display_width(p, n);
        if (x + width > 0)
            canvas_style(c, y, x, x < 0 ? width + x : width, STYLE_MATCH);
    }
}

static void draw_line(const struct text_lines *t, const struct canvas *c, int y, size_t i)
{
    const struct text_line *line = &t->lines[i];
    int selected = i == t->list.cursor, x = -t->left;
    if (selected)
        canvas_fill(c, y, 0, c->width, STYLE_SELECTED);
    x = canvas_textn(c, y, x, selected ? STYLE_SELECTED : line->head_style, line->text, line->head);
    canvas_text(c, y, x, selected ? STYLE_SELECTED : line->style, line->text + line->head);
    if (t->pattern && *t->pattern)
        mark_matches(c, y, line->text, t->pattern, t->left);
    if (selected)
        canvas_cursor(c, y, 0);
}

void text_draw(struct text_lines *t, const struct canvas *c)
{
    struct canvas in = canvas_part(c, 0, 1, c->height, c->width - 1);
    list_set_count(&t->list, t->n);
    list_layout(&t->list, c->height);
    for (int y = 0; y < c->height && t->list.top + (size_t)y < t->n; y++)
        draw_line(t, &in, y, t->list.top + (size_t)y);
    list_scroll_mark(&t->list, c);
}

int text_act(struct text_lines *t, const char *action, long count)
{
    int columns = 8 * (int)(count > 0 && count < 1000 ? count : 1), widest = 0;
    if (strcmp(action, "left") == 0) {
        t->left = t->left > columns ? t->left - columns : 0;
        return INVALID_DRAW;
    }
    if (strcmp(action, "right") == 0) {
        for (size_t i = 0; i < t->n; i++) {
            int w = (int)display_width(t->lines[i].text, strlen(t->lines[i].text));
            widest = w > widest ? w : widest;
        }
        t->left = t->left + columns < widest ? t->left + columns : t->left;
        return INVALID_DRAW;
    }
    return list_act(&t->list, action, count);
}

int text_search(struct text_lines *t, const char *pattern, int direction)
{
    free(t->pattern);
    t->pattern = xstrdup(pattern);
    for (size_t k = 1; k <= t->n; k++) {
        size_t i = direction > 0 ? (t->list.cursor + k) % t->n : (t->list.cursor + t->n - k) % t->n;
        if (strcasestr(t->lines[i].text, pattern)) {
            t->list.cursor = i;
            return 0;
        }
    }
    return -1;
}

void text_save(const struct text_lines *t, struct strbuf *out)
{
    strbuf_addf(out, "%zu %zu %d", t->list.cursor, t->list.top, t->left);
}

void text_restore(struct text_lines *t, const char *place)
{
    size_t cursor, top;
    int left;
    if (sscanf(place, "%zu %zu %d", &cursor, &top, &left) != 3)
        return;
    t->list.cursor = cursor < t->n ? cursor : 0;
    t->list.top = top;
    t->left = left > 0 ? left : 0;
}
