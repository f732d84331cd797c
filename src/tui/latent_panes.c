/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts of a latent's page beside its contexts: rows of links with bars, the histogram, logits. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/latent_page.h"

#define NAME_COLUMNS  36 /* of an address, at most */
#define LABEL_COLUMNS 24 /* of a label in a line of links */

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* "1183" where all are of one SAE, else "wn-1024/211". */
static void link_name(const struct page_link *link, const char *own, char *out, size_t n)
{
    if (own)
        snprintf(out, n, "%zu", link->latent);
    else
        snprintf(out, n, "%s/%zu", link->name, link->latent);
}

static double bar_scale(const struct page_links *links)
{
    double most = 1;
    for (size_t i = 0; i < links->n; i++)
        if ((double)links->items[i].value > most)
            most = (double)links->items[i].value;
    return most;
}

struct link_columns {
    int name, bar;
    double scale;
};

static void draw_link(const struct canvas *c, int y, const struct page_link *link, const char *own,
                      const struct link_columns *columns)
{
    char name[NAME_MAX_BYTES + 24], value[32];
    link_name(link, own, name, sizeof name);
    snprintf(value, sizeof value, "%.2f", (double)link->value);
    int x = 2;
    if (own)
        canvas_right(c, y, x + columns->name, STYLE_LINK, name);
    else
        canvas_ellipsis(c, y, x, columns->name, STYLE_LINK, name);
    x += columns->name + 2;
    if (columns->bar > 0) {
        canvas_bar(c, y, x, columns->bar, (double)link->value / columns->scale, STYLE_BAR);
        x += columns->bar + 1;
    }
    canvas_right(c, y, x + 5, STYLE_NORMAL, value);
    x += 7;
    if (c->width > x)
        canvas_ellipsis(c, y, x, c->width - x - 1, STYLE_NORMAL, link->label ? link->label : "");
}

void links_draw(const struct canvas *c, const struct page_links *links, struct list *list, int focused,
                const char *own, int bars)
{
    list_set_count(list, links->n);
    list_layout(list, c->height);
    struct link_columns columns = {.bar = bars ? clamp(c->width / 4, 6, 28) : 0, .scale = bar_scale(links)};
    for (size_t i = list->top; i < links->n && i < list->top + (size_t)c->height; i++) {
        char name[NAME_MAX_BYTES + 24];
        link_name(&links->items[i], own, name, sizeof name);
        int width = (int)strlen(name); /* names of the store are ASCII */
        columns.name = clamp(width, columns.name, NAME_COLUMNS);
    }
    for (size_t i = list->top; i < links->n && i < list->top + (size_t)c->height; i++) {
        int y = (int)(i - list->top);
        draw_link(c, y, &links->items[i], own, &columns);
        if (i != list->cursor)
            continue;
        canvas_text(c, y, 0, focused ? STYLE_STRONG : STYLE_DIM, glyph(GLYPH_CURSOR));
        if (focused) {
            canvas_style(c, y, 0, c->width, STYLE_SELECTED);
            canvas_cursor(c, y, 0);
        }
    }
    if (links->n > (size_t)(c->height > 0 ? c->height : 0))
        list_scroll_mark(list, c);
}

/* "wn-1024/211 0.83 physics, science"; the label is cut. */
static void link_text(const struct page_link *link, struct strbuf *out)
{
    strbuf_addf(out, "%s/%zu %.2f", link->name, link->latent, (double)link->value);
    const char *label = link->label ? link->label : "";
    strbuf_adds(out, *label ? " " : "");
    size_t n = strlen(label), shown = display_prefix(label, n, LABEL_COLUMNS);
    strbuf_add(out, label, shown);
    if (shown < n)
        strbuf_adds(out, glyph(GLYPH_ELLIPSIS));
}

void links_line_draw(const struct canvas *c, const struct page_links *links, const struct list *list,
                     int focused)
{
    struct strbuf text = STRBUF_INIT;
    int x = canvas_text(c, 0, 0, focused ? STYLE_BORDER_FOCUS : STYLE_DIM, "relatives ");
    int room = c->width - x - 2;
    /* The first one that is shown: the selected one is always whole. */
    size_t first = list->cursor;
    for (int used = 0; first < links->n; first--) {
        strbuf_reset(&text);
        link_text(&links->items[first], &text);
        used += (int)display_width(strbuf_string(&text), text.length) + 2;
        if (used > room && first < list->cursor) {
            first++;
            break;
        }
        if (first == 0)
            break;
    }
    if (first > 0)
        x = canvas_text(c, 0, x, STYLE_DIM, glyph(GLYPH_ELLIPSIS));
    for (size_t i = first; i < links->n && x < c->width; i++) {
        strbuf_reset(&text);
        link_text(&links->items[i], &text);
        int selected = focused && i == list->cursor, start = x;
        if (selected)
            canvas_cursor(c, 0, x);
        x = canvas_ellipsis(c, 0, x, c->width - x, selected ? STYLE_SELECTED : STYLE_NORMAL,
                            strbuf_string(&text)) +
            2;
        if (!selected)
            canvas_style(c, 0, start, (int)strcspn(strbuf_string(&text), " "), STYLE_LINK);
    }
    strbuf_free(&text);
}

void histogram_draw(const struct canvas *c, const struct page_head *head)
{
    if (!head->index || !head->fired) {
        canvas_text(c, 0, 1, STYLE_DIM, head->index ? "dead: it never fired" : "not indexed");
        if (!head->index && c->height > 1 && !head->is_meta)
            canvas_printf(c, 1, 1, STYLE_DIM, ":index %s --text TEXT", head->at.sae.name);
        return;
    }
    double counts[INDEX_BINS];
    for (size_t i = 0; i < INDEX_BINS; i++)
        counts[i] = (double)head->histogram.counts[i];
    struct canvas bars = canvas_part(c, 0, 1, c->height > 1 ? c->height - 1 : c->height, c->width - 2);
    canvas_histogram(&bars, counts, INDEX_BINS, !head->is_meta); /* a latent's counts span decades */
    if (c->height < 2)
        return;
    char low[32], middle[32], high[32];
    snprintf(low, sizeof low, "%.3g", head->histogram.edges[0]);
    snprintf(middle, sizeof middle, "%.3g", head->histogram.edges[INDEX_BINS / 2]);
    snprintf(high, sizeof high, "%.3g", head->histogram.edges[INDEX_BINS]);
    int y = c->height - 1, half = c->width / 2 + (int)strlen(middle) / 2;
    canvas_text(c, y, 1, STYLE_DIM, low);
    if (c->width > 24)
        canvas_right(c, y, half, STYLE_DIM, middle);
    canvas_right(c, y, c->width - 1, STYLE_DIM, high);
}

/* "+ physicist 3.2  physics 2.9 …" over some lines. */
static void draw_tokens(const struct canvas *c, int y, int lines, const char *sign, enum style style,
                        const struct page_logit *logits, size_t n)
{
    int end = y + lines, start = canvas_text(c, y, 0, style, sign), x = start;
    for (size_t i = 0; i < n && y < end; i++) {
        char value[32];
        snprintf(value, sizeof value, " %.2f", (double)logits[i].value);
        int width = (int)(display_width(logits[i].token, strlen(logits[i].token)) + strlen(value));
        if (x + 1 + width > c->width && x > start) {
            y++;
            x = start;
        }
        if (y == end)
            break;
        x = canvas_text(c, y, x + 1, STYLE_NORMAL, logits[i].token);
        x = canvas_text(c, y, x, STYLE_DIM, value) + 1;
    }
}

void logits_draw(const struct canvas *c, const struct page_logits *logits)
{
    if (logits->n_positive == 0 && logits->n_negative == 0) {
        canvas_text(c, 0, 1, STYLE_DIM, "no model, no logits");
        return;
    }
    int upper = (c->height + 1) / 2;
    draw_tokens(c, 0, upper, "+", STYLE_POSITIVE, logits->positive, logits->n_positive);
    if (c->height > upper)
        draw_tokens(c, upper, c->height - upper, "-", STYLE_NEGATIVE, logits->negative, logits->n_negative);
}
