/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A cursor in rows of any number. */
#include "config.h"

#include <string.h>

#include "saescope/tui/view.h"

/* The cursor `by` rows on, within what there is. */
static void move_by(struct list *l, long long by)
{
    if (by < 0)
        l->cursor -= (unsigned long long)-by < l->cursor ? (size_t)-by : l->cursor;
    else
        l->cursor = (unsigned long long)by < l->n - 1 - l->cursor ? l->cursor + (size_t)by : l->n - 1;
}

static size_t row_of_count(const struct list *l, long count)
{
    size_t row = count > 0 ? (size_t)count - 1 : 0;
    return row < l->n ? row : l->n - 1;
}

/* A page keeps two rows of the one before, and the cursor's place on the screen. */
static void move_page(struct list *l, int direction, long count)
{
    long long by = (l->height > 3 ? l->height - 2 : 1) * (long long)count * direction;
    size_t place = l->cursor - l->top;
    move_by(l, by);
    l->top = l->cursor > place ? l->cursor - place : 0;
}

static size_t last_shown(const struct list *l)
{
    size_t last = l->top + (size_t)(l->height > 0 ? l->height - 1 : 0);
    return last < l->n ? last : l->n - 1;
}

static int scroll_to(struct list *l, int row)
{
    l->top = l->cursor > (size_t)row ? l->cursor - (size_t)row : 0;
    return INVALID_DRAW;
}

static int act_on_screen(struct list *l, const char *action)
{
    int rows = l->height > 0 ? l->height : 1;
    if (strcmp(action, "screen-top") == 0)
        l->cursor = l->top;
    else if (strcmp(action, "screen-middle") == 0)
        l->cursor = (l->top + last_shown(l)) / 2;
    else if (strcmp(action, "screen-bottom") == 0)
        l->cursor = last_shown(l);
    else if (strcmp(action, "row-to-top") == 0)
        return scroll_to(l, 0);
    else if (strcmp(action, "row-to-middle") == 0)
        return scroll_to(l, rows / 2);
    else if (strcmp(action, "row-to-bottom") == 0)
        return scroll_to(l, rows - 1);
    else
        return INVALID_NOT_MINE;
    return INVALID_DRAW;
}

int list_act(struct list *l, const char *action, long count)
{
    static const char *const motions[] = {"down",         "up",   "page-down", "page-up", "half-page-down",
                                          "half-page-up", "home", "end",       "jump"};
    long n = count > 0 ? count : 1;
    int half = l->height > 1 ? l->height / 2 : 1;
    size_t i = 0;
    while (i < sizeof motions / sizeof *motions && strcmp(action, motions[i]) != 0)
        i++;
    if (l->n == 0)
        return i < sizeof motions / sizeof *motions ? INVALID_NONE : INVALID_NOT_MINE;
    switch (i) {
    case 0:
    case 1:
        move_by(l, i == 0 ? n : -n);
        return INVALID_DRAW;
    case 2:
    case 3:
        move_page(l, i == 2 ? 1 : -1, n);
        return INVALID_DRAW;
    case 4:
    case 5:
        move_by(l, (i == 4 ? 1LL : -1LL) * half * n);
        return INVALID_DRAW;
    case 6:
    case 7:
    case 8:
        l->cursor = count > 0 || i == 8 ? row_of_count(l, count) : i == 6 ? 0 : l->n - 1;
        return INVALID_DRAW;
    default:
        return act_on_screen(l, action);
    }
}

size_t row_round(size_t at, size_t k, size_t n, int direction)
{
    return (direction > 0 ? at + k : at + n - k) % n;
}

void list_set_count(struct list *l, size_t n)
{
    l->n = n;
    if (l->cursor >= n)
        l->cursor = n ? n - 1 : 0;
}

void list_layout(struct list *l, int height)
{
    size_t rows = height > 0 ? (size_t)height : 1;
    l->height = height;
    if (l->cursor < l->top)
        l->top = l->cursor;
    if (l->cursor >= l->top + rows)
        l->top = l->cursor - rows + 1;
    if (l->top + rows > l->n)
        l->top = l->n > rows ? l->n - rows : 0;
}

void list_scroll_mark(const struct list *l, const struct canvas *c)
{
    size_t rows = c->height > 0 ? (size_t)c->height : 0;
    if (rows < 2 || l->n <= rows)
        return;
    size_t length = rows * rows / l->n;
    length = length ? length : 1;
    size_t first = (size_t)((double)l->top / (double)(l->n - rows) * (double)(rows - length) + 0.5);
    for (size_t y = first; y < first + length && y < rows; y++)
        canvas_style(c, (int)y, c->width - 1, 1, STYLE_STATUS);
}
