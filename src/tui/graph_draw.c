/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A latent's graph: parts and relatives on the left, the latent, what is behind a part on the right; or a
 * tree. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/graph_view.h"

static enum style style_of(const struct view *v, const struct graph_state *s, size_t selection,
                           enum style plain)
{
    if (s->selected != selection)
        return plain;
    return v->focused ? STYLE_SELECTED : STYLE_SELECTED_UNFOCUSED;
}

static int text_width(const char *text)
{
    return (int)display_width(text, strlen(text));
}

/* ---- Title, headings, what is known of the selected node. ---- */

static void draw_title(const struct graph_state *s, const struct canvas *c)
{
    struct strbuf b = STRBUF_INIT;
    graph_title(&s->graph, &b);
    canvas_ellipsis(c, 0, 1, c->width - 2, STYLE_STRONG, strbuf_string(&b));
    strbuf_free(&b);
}

static void draw_details(const struct graph_state *s, const struct canvas *c)
{
    const struct graph_node *node = &s->graph.nodes[graph_selected_node(s)];
    const struct graph_edge *edge = s->selected ? &s->graph.edges[s->selected - 1] : NULL;
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "%s/%zu", node->sae.name, node->latent);
    if (edge)
        strbuf_addf(&b, "  %s %.3f", edge->is_cosine ? "cosine" : "activation", (double)edge->weight);
    int x = canvas_ellipsis(c, c->height - 1, 1, c->width - 2, STYLE_LINK, strbuf_string(&b));
    strbuf_reset(&b);
    if (node->label)
        displayable(&b, node->label, node->n_label);
    canvas_ellipsis(c, c->height - 1, x + 2, c->width - x - 3, STYLE_NORMAL,
                    node->label ? strbuf_string(&b) : "no label");
    strbuf_free(&b);
}

/* ---- In columns. ---- */

/* "─0.58─" or "·0.83·" over GRAPH_LINK columns. */
static void draw_link(const struct canvas *c, int y, int x, const struct graph_edge *edge)
{
    const char *line = glyph(edge->is_cosine ? GLYPH_DOTTED : GLYPH_HORIZONTAL);
    char weight[16];
    for (int i = 0; i < GRAPH_LINK; i++)
        canvas_text(c, y, x + i, STYLE_BORDER, line);
    snprintf(weight, sizeof weight, "%.2f", (double)edge->weight);
    canvas_text(c, y, x + (GRAPH_LINK - (int)strlen(weight)) / 2, STYLE_NORMAL, weight);
}

/* The line up and down that joins the items of a side with the middle. */
static void draw_trunk(const struct canvas *c, const struct graph_layout *l, const struct graph_column *items,
                       int x, int on_left)
{
    if (items->n == 0)
        return;
    int last = items->y + ((int)items->n - 1) * items->step;
    int top = items->y < l->middle_y ? items->y : l->middle_y,
        bottom = last > l->middle_y ? last : l->middle_y;
    for (int y = top; y <= bottom; y++) {
        unsigned ends = (y > top ? LINE_UP : 0) | (y < bottom ? LINE_DOWN : 0);
        int item = y >= items->y && y <= last && (y - items->y) % items->step == 0;
        if (item)
            ends |= on_left ? LINE_LEFT : LINE_RIGHT;
        if (y == l->middle_y)
            ends |= on_left ? LINE_RIGHT : LINE_LEFT;
        canvas_text(c, y, x, STYLE_BORDER, glyph_line(ends));
    }
}

static void draw_item(const struct view *v, const struct graph_state *s, const struct canvas *c,
                      const struct graph_column *column, size_t i, size_t selection, int on_left)
{
    const struct graph_edge *edge = &s->graph.edges[selection - 1];
    const char *text = s->texts[edge->to];
    int y = column->y + (int)(i - column->first) * column->step, width = text_width(text);
    int shown = width < column->width ? width : column->width;
    int x = on_left ? column->x + column->width - shown : column->x;
    enum style plain =
        on_left && selection == 1 + s->part && s->part < s->graph.n_parts ? STYLE_STRONG : STYLE_NORMAL;
    draw_link(c, y, on_left ? column->x + column->width + 1 : column->x - 1 - GRAPH_LINK, edge);
    canvas_ellipsis(c, y, x, column->width, style_of(v, s, selection, plain), text);
    if (s->selected == selection)
        canvas_cursor(c, y, x);
}

static void draw_middle(const struct view *v, const struct graph_state *s, const struct canvas *c,
                        const struct graph_layout *l)
{
    enum style style = style_of(v, s, 0, STYLE_STRONG);
    int x = l->middle_x, end = x + l->middle_width;
    if (graph_left_count(s) > 0)
        canvas_text(c, l->middle_y, x - 1, STYLE_BORDER, glyph(GLYPH_HORIZONTAL));
    if (graph_right_count(s) > 0)
        canvas_text(c, l->middle_y, end, STYLE_BORDER, glyph(GLYPH_HORIZONTAL));
    canvas_fill(c, l->middle_y, x, l->middle_width, style);
    canvas_text(c, l->middle_y, x, style, "[");
    canvas_ellipsis(c, l->middle_y, x + 2, l->middle_width - 4, style, s->texts[0]);
    canvas_text(c, l->middle_y, end - 1, style, "]");
    if (s->selected == 0)
        canvas_cursor(c, l->middle_y, x);
}

static int heading_row(const struct graph_column *column)
{
    return column->y > 3 ? column->y - 2 : 1;
}

static void draw_headings(const struct graph_state *s, const struct canvas *c, const struct graph_layout *l)
{
    struct strbuf b = STRBUF_INIT;
    const char *left = s->graph.of_meta ? "members" : s->graph.n_parts ? "meta-latents" : "relatives";
    if (l->left.n > 0)
        canvas_right(c, heading_row(&l->left), l->left.x + l->left.width, STYLE_DIM, left);
    if (graph_right_count(s) > 0) {
        strbuf_addf(&b, "%s %s", s->graph.of_meta ? "other parts of" : "also in",
                    s->texts[s->graph.edges[s->part].to]);
        canvas_ellipsis(c, heading_row(&l->right), l->right_trunk, c->width - l->right_trunk, STYLE_DIM,
                        strbuf_string(&b));
    }
    strbuf_free(&b);
}

/* What the layout must know of a side; `otherwise` is seen when nothing of it is selected. */
static struct graph_side side_of(const struct graph_state *s, size_t n,
                                 size_t (*item)(const struct graph_state *s, size_t i), size_t otherwise)
{
    struct graph_side side = {.n = n, .seen = otherwise};
    for (size_t i = 0; i < n; i++) {
        int width = text_width(s->texts[s->graph.edges[item(s, i) - 1].to]);
        side.need = width > side.need ? width : side.need;
        if (item(s, i) == s->selected)
            side.seen = i;
    }
    return side;
}

static void draw_columns(const struct view *v, const struct graph_state *s, const struct canvas *c)
{
    struct graph_layout l;
    struct graph_side left = side_of(s, graph_left_count(s), graph_left, s->part);
    struct graph_side right = side_of(s, graph_right_count(s), graph_right, 0);
    graph_layout(c->height, c->width, text_width(s->texts[0]) + 4, &left, &right, &l);
    draw_headings(s, c, &l);
    for (size_t i = l.left.first; i < l.left.first + l.left.n; i++)
        draw_item(v, s, c, &l.left, i, graph_left(s, i), 1);
    for (size_t i = l.right.first; i < l.right.first + l.right.n; i++)
        draw_item(v, s, c, &l.right, i, graph_right(s, i), 0);
    draw_trunk(c, &l, &l.left, l.left_trunk, 1);
    draw_trunk(c, &l, &l.right, l.right_trunk, 0);
    draw_middle(v, s, c, &l);
}

/* ---- As a tree. ---- */

static int last_of_its_kind(const struct latent_graph *g, size_t edge)
{
    size_t from = g->edges[edge].from;
    return edge + 1 == g->n_edges ||
           (from ? g->edges[edge + 1].from != from : edge + 1 == g->n_parts && g->n_relatives == 0);
}

static int draw_branch(const struct graph_state *s, const struct canvas *c, int y,
                       const struct graph_edge *edge)
{
    const struct latent_graph *g = &s->graph;
    int last = last_of_its_kind(g, (size_t)(edge - g->edges)), x = 2;
    if (edge->from) {
        int below_last = edge->from == g->n_parts && g->n_relatives == 0; /* parts are nodes 1 to n_parts */
        x = canvas_text(c, y, x, STYLE_BORDER, glyph_line(below_last ? 0 : LINE_UP | LINE_DOWN)) + 2;
    }
    x = canvas_text(c, y, x, STYLE_BORDER, glyph_line(LINE_UP | LINE_RIGHT | (last ? 0 : LINE_DOWN)));
    x = canvas_text(c, y, x, STYLE_BORDER, glyph(edge->is_cosine ? GLYPH_DOTTED : GLYPH_HORIZONTAL));
    return canvas_printf(c, y, x, STYLE_NORMAL, " %.2f ", (double)edge->weight);
}

static void draw_tree_row(const struct view *v, const struct graph_state *s, const struct canvas *c, int y,
                          size_t selection)
{
    const struct graph_edge *edge = selection ? &s->graph.edges[selection - 1] : NULL;
    int x = edge ? draw_branch(s, c, y, edge) : 2;
    const char *text = s->texts[edge ? edge->to : 0];
    enum style plain = !edge || edge->from == 0 ? STYLE_STRONG : STYLE_NORMAL;
    if (s->selected == selection) {
        canvas_text(c, y, 0, v->focused ? STYLE_STRONG : STYLE_DIM, glyph(GLYPH_CURSOR));
        canvas_cursor(c, y, 0);
    }
    canvas_ellipsis(c, y, x, c->width - x - 1, style_of(v, s, selection, plain), text);
}

static void draw_tree(const struct view *v, struct graph_state *s, const struct canvas *c)
{
    struct canvas rows = canvas_part(c, 1, 0, c->height - 3, c->width);
    size_t n = 1 + s->graph.n_edges, *order = array_alloc(n, sizeof *order, "rows", NULL);
    if (!order)
        return;
    graph_order(&s->graph, order);
    list_set_count(&s->list, n);
    for (size_t i = 0; i < n; i++)
        if (order[i] == s->selected)
            s->list.cursor = i;
    list_layout(&s->list, rows.height);
    for (int y = 0; y < rows.height && s->list.top + (size_t)y < n; y++)
        draw_tree_row(v, s, &rows, y, order[s->list.top + (size_t)y]);
    list_scroll_mark(&s->list, &rows);
    free(order);
}

/* ---- All of it. ---- */

void graph_draw(struct view *v, const struct canvas *c)
{
    struct graph_state *s = v->data;
    if (!s->texts || s->error) {
        canvas_ellipsis(c, 1, 2, c->width - 3, s->error ? STYLE_ERROR : STYLE_DIM,
                        s->error ? s->error : glyph(GLYPH_ELLIPSIS));
        return;
    }
    draw_title(s, c);
    if (c->width >= GRAPH_WIDE)
        draw_columns(v, s, c);
    else
        draw_tree(v, s, c);
    draw_details(s, c);
    if (s->graph.n_edges == 0)
        canvas_ellipsis(c, c->height / 2 + 2, 2, c->width - 3, STYLE_DIM, "nothing is known around it");
}
