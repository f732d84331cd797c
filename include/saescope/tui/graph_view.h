/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The view of the graph around a latent: what graph_layout.c, graph_draw.c and view_graph.c share. */
#ifndef SAESCOPE_TUI_GRAPH_VIEW_H
#define SAESCOPE_TUI_GRAPH_VIEW_H

#include "saescope/analysis/graph.h"
#include "saescope/tui/view.h"

#define GRAPH_WIDE 100 /* columns from which the graph is drawn as one; below it is a tree */

/* ---- Places (graph_layout.c). Pure: numbers in, numbers out. ---- */

/* Items of one side: first, first + 1, ... in rows y, y + step, ...; their texts are x to x + width. */
struct graph_column {
    int x, width, y, step;
    size_t first, n; /* the first that is shown, how many are */
};
/*
 * In columns: left texts (right-aligned), their links, a trunk, the middle, a trunk, links, right texts. Row 0 has the
 * title, the last row what is known of the selected node; a heading is over each side.
 */
struct graph_layout {
    struct graph_column left, right;
    int left_trunk, right_trunk; /* columns; what is between text and trunk is the link */
    int middle_x, middle_y, middle_width;
};
#define GRAPH_LINK 6 /* columns of "─0.58─", from a text to its trunk */
struct graph_side {
    size_t n, seen; /* items, and the one that must be shown */
    int need;       /* columns of the longest text */
};
/* height × width of the view, at least GRAPH_WIDE wide. A side that needs less than half of the room leaves it to the other. */
void graph_layout(int height, int width, int middle_width, const struct graph_side *left, const struct graph_side *right,
                  struct graph_layout *out);

/* What can be selected is the middle, 0, or the end of an edge, 1 + its number. In the tree's order: order[1 + n_edges]. */
void graph_order(const struct latent_graph *g, size_t *order);

/* ---- The view's data. ---- */
struct graph_state {
    struct latent_graph graph;
    char **texts;  /* of the nodes, displayable; NULL: not there yet */
    uint64_t hash; /* of what the graph depends on */
    size_t d_sae;  /* of the middle's SAE */
    char *error;
    size_t selected;
    size_t part;      /* the part that the right side is behind of, from 0 */
    int moved;        /* the selection is the user's, or was restored */
    struct list list; /* the tree's rows */
};
/* The edges beside or below which the selection moves in the drawn graph: of the left side, of the right one. */
size_t graph_left(const struct graph_state *s, size_t i);  /* the i-th as a selection */
size_t graph_right(const struct graph_state *s, size_t i);
size_t graph_left_count(const struct graph_state *s);
size_t graph_right_count(const struct graph_state *s);
size_t graph_selected_node(const struct graph_state *s);

/* ---- Drawing (graph_draw.c). ---- */
void graph_draw(struct view *v, const struct canvas *c);

#endif
