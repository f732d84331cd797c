/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the nodes of a graph are, for any size of the screen, and in which order they are in a tree. */
#include "config.h"

#include <string.h>

#include "saescope/tui/graph_view.h"

static int clamp(int x, int low, int high)
{
    return x > high ? high : x < low ? low : x;
}

/* Rows for n items around the middle row: every third or second one when there is room. */
static void put_rows(struct graph_column *c, int top, int rows, size_t n, size_t seen)
{
    size_t room = rows > 0 ? (size_t)rows : 0;
    c->step = n > 1 && room > n ? clamp((int)((room - 1) / (n - 1)), 1, 3) : 1;
    c->n = n < room ? n : room;
    c->first = seen > c->n / 2 ? seen - c->n / 2 : 0;
    if (c->first + c->n > n)
        c->first = n - c->n;
    int span = c->n > 0 ? ((int)c->n - 1) * c->step + 1 : 0;
    c->y = top + (rows - span) / 2;
}

void graph_layout(int height, int width, int middle_width, const struct graph_side *left,
                  const struct graph_side *right, struct graph_layout *out)
{
    int top = 2, rows = height - top - 2 > 0 ? height - top - 2 : 0;
    memset(out, 0, sizeof *out);
    out->middle_width = clamp(middle_width, 5, width / 4);
    /* Two links, two trunks, a blank beside each text, a line on either side of the middle. */
    int rest = width - out->middle_width - 2 * GRAPH_LINK - 6, half = rest / 2;
    out->left.width = half;
    if (left->need < half && right->need > rest - half)
        out->left.width = clamp(rest - right->need, left->need, half);
    else if (left->need > half && right->need < rest - half)
        out->left.width = clamp(rest - right->need, half, left->need);
    out->left_trunk = out->left.width + 1 + GRAPH_LINK;
    out->middle_x = out->left_trunk + 2;
    out->right_trunk = out->middle_x + out->middle_width + 1;
    out->right.x = out->right_trunk + 1 + GRAPH_LINK + 1;
    out->right.width = width - out->right.x;
    put_rows(&out->left, top, rows, left->n, left->seen);
    put_rows(&out->right, top, rows, right->n, right->seen);
    out->middle_y = top + (rows > 0 ? (rows - 1) / 2 : 0);
}

void graph_order(const struct latent_graph *g, size_t *order)
{
    size_t n_behind, at = 0;
    order[at++] = 0;
    for (size_t i = 0; i < g->n_parts; i++) {
        const struct graph_edge *behind = graph_edges(g, g->edges[i].to, &n_behind);
        order[at++] = 1 + i;
        for (size_t k = 0; k < n_behind; k++)
            order[at++] = 1 + (size_t)(&behind[k] - g->edges);
    }
    for (size_t i = g->n_edges - g->n_relatives; i < g->n_edges; i++)
        order[at++] = 1 + i;
}

/* ---- The sides of the drawn graph. ---- */

size_t graph_left_count(const struct graph_state *s)
{
    return s->graph.n_parts + s->graph.n_relatives;
}

size_t graph_left(const struct graph_state *s, size_t i)
{
    const struct latent_graph *g = &s->graph;
    return 1 + (i < g->n_parts ? i : g->n_edges - g->n_relatives + (i - g->n_parts));
}

size_t graph_right_count(const struct graph_state *s)
{
    size_t n = 0;
    if (s->part < s->graph.n_parts)
        graph_edges(&s->graph, s->graph.edges[s->part].to, &n);
    return n;
}

size_t graph_right(const struct graph_state *s, size_t i)
{
    size_t n;
    const struct graph_edge *edges = graph_edges(&s->graph, s->graph.edges[s->part].to, &n);
    return 1 + (size_t)(edges - s->graph.edges) + i;
}

size_t graph_selected_node(const struct graph_state *s)
{
    return s->selected ? s->graph.edges[s->selected - 1].to : 0;
}
