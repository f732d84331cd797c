/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A latent's graph as a picture. Parts and relatives lie on a ring around the middle, what is behind the
 * parts on a wider one. Every node has a row of its own on its side, so that labels, which go outwards, never
 * meet; both rings are convex, so that no line from inside crosses a label on them.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/graph.h"
#include "saescope/base/memory.h"
#include "saescope/base/svg.h"

#define FONT    12.0
#define ROW     20.0 /* from one outer label to the next */
#define BOX     24.0 /* height of a box */
#define GAP     14.0 /* between the rows of two parts */
#define SPOKE   90.0 /* from the middle's box to the ring */
#define FAN     90.0 /* from the widest part to the outer ring */
#define MARGIN  16.0
#define PADDING 8.0 /* within a box, and from a dot to its label */
#define DOT     3.5

struct place {
    int side;     /* 1 right, -1 left, 0 the middle */
    double x, y;  /* the end towards the middle; of the middle: its centre */
    double width; /* of its box or label */
    size_t owner; /* of what is behind: the part beside which it is */
};

struct picture {
    const struct latent_graph *graph;
    struct place *places;
    struct strbuf *texts;
    double height[2]; /* rows of the left and the right side */
    double ring, part_width, bulge, left, right, top, bottom;
    float strongest;
};

static const struct svg_text_style styles[] = {
    [GRAPH_CENTER] = {.color = SVG_WHITE, .anchor = SVG_MIDDLE, .size = FONT, .columns = 44, .bold = 1},
    [GRAPH_PART] = {.color = SVG_WHITE, .size = FONT, .columns = 36},
    [GRAPH_BEHIND] = {.color = SVG_GREEN, .size = FONT, .columns = 44},
    [GRAPH_RELATIVE] = {.color = SVG_GREY, .size = FONT, .columns = 44},
};

/* ---- Texts, and who is beside whom. ---- */

/* "0.58  88 scientists": the strongest edge's weight, the number, the label. */
static void add_text(struct strbuf *out, const struct latent_graph *g, size_t i, float weight)
{
    const struct graph_node *node = &g->nodes[i];
    if (i > 0)
        strbuf_addf(out, "%.2f  ", (double)weight);
    if (node->role == GRAPH_CENTER || graph_needs_name(g, i))
        strbuf_addf(out, "%s/", node->sae.name);
    strbuf_addf(out, node->label ? "%zu " : "%zu", node->latent);
    if (node->label)
        strbuf_add(out, node->label, node->n_label);
}

static void measure(struct picture *p)
{
    const struct latent_graph *g = p->graph;
    float *weights = xcalloc(g->n_nodes, sizeof *weights);
    for (size_t i = 0; i < g->n_edges; i++) {
        const struct graph_edge *e = &g->edges[i];
        if (p->places[e->to].owner == 0 || e->weight > weights[e->to]) {
            p->places[e->to].owner = e->from;
            weights[e->to] = e->weight;
        }
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        enum graph_role role = g->nodes[i].role;
        add_text(&p->texts[i], g, i, weights[i]);
        p->places[i].width = svg_text_width(&styles[role], p->texts[i].data, p->texts[i].length);
        if (role != GRAPH_BEHIND)
            p->places[i].width += 2 * PADDING;
        if (role == GRAPH_PART)
            p->part_width = fmax(p->part_width, p->places[i].width);
    }
    p->ring = p->places[0].width / 2 + SPOKE;
    p->strongest = graph_strongest(g);
    free(weights);
}

/* ---- Places. ---- */

static size_t count_beside(const struct picture *p, size_t part)
{
    size_t n = 0;
    for (size_t i = 0; i < p->graph->n_nodes; i++)
        n += p->graph->nodes[i].role == GRAPH_BEHIND && p->places[i].owner == part;
    return n;
}

/* Rows for a node of the ring and what is beside it, under what its side has already. */
static void put_rows(struct picture *p, size_t node, int side)
{
    double *height = &p->height[side > 0];
    double rows = (double)count_beside(p, node) * ROW, start = *height + (*height > 0 ? GAP : 0);
    double room = fmax(rows, BOX), y = start + (room - rows) / 2 + ROW / 2;
    p->places[node].side = side;
    p->places[node].y = start + room / 2;
    for (size_t i = 0; i < p->graph->n_nodes; i++)
        if (p->graph->nodes[i].role == GRAPH_BEHIND && p->places[i].owner == node) {
            p->places[i].side = side;
            p->places[i].y = y;
            y += ROW;
        }
    *height = start + room;
}

/* How far out the rings are at y, relative to the middle row. */
static double curve(const struct picture *p, double y)
{
    return sqrt(fmax(1 - y * y / (p->bulge * p->bulge), 0));
}

static void put_columns(struct picture *p)
{
    double highest = fmax(fmax(p->height[0], p->height[1]), BOX);
    p->bulge = fmax(0.6 * highest, 3 * BOX);
    for (size_t i = 1; i < p->graph->n_nodes; i++) {
        struct place *place = &p->places[i];
        place->y -= p->height[place->side > 0] / 2;
        double out = p->ring * curve(p, place->y);
        if (p->graph->nodes[i].role == GRAPH_BEHIND)
            out += p->part_width + FAN;
        place->x = place->side * out;
        double end = out + place->width + (p->graph->nodes[i].role == GRAPH_BEHIND ? PADDING : 0);
        if (place->side > 0)
            p->right = fmax(p->right, end);
        else
            p->left = fmax(p->left, end);
    }
    p->left = fmax(p->left, p->places[0].width / 2) + MARGIN;
    p->right = fmax(p->right, p->places[0].width / 2) + MARGIN;
    p->top = p->bottom = highest / 2 + MARGIN;
}

/* Parts in turn on the right and on the left, so that the strongest are on top; relatives where there is
 * room. */
static void put_places(struct picture *p)
{
    const struct latent_graph *g = p->graph;
    size_t n_part = 0;
    for (size_t i = 1; i < g->n_nodes; i++)
        if (g->nodes[i].role == GRAPH_PART)
            put_rows(p, i, n_part++ % 2 ? -1 : 1);
    for (size_t i = 1; i < g->n_nodes; i++)
        if (g->nodes[i].role == GRAPH_RELATIVE)
            put_rows(p, i, p->height[1] <= p->height[0] ? 1 : -1);
    put_columns(p);
}

/* ---- Drawing. ---- */

static void draw_edge(const struct picture *p, const struct graph_edge *e, struct strbuf *out)
{
    const struct place *from = &p->places[e->from], *to = &p->places[e->to];
    double share = p->strongest > 0 ? (double)(e->weight / p->strongest) : 0;
    struct svg_style style = {.stroke = SVG_GREY,
                              .width = e->is_cosine ? 1.5 : 0.75 + 4.25 * share,
                              .opacity = 0.6,
                              .dotted = e->is_cosine};
    double x = from->side ? from->x + from->side * from->width : from->x;
    if (e->from && to->owner != e->from) /* it is beside another part */
        style.opacity = 0.25;
    svg_line(out, x, from->y, to->x, to->y, &style);
}

static void draw_node(const struct picture *p, size_t i, struct strbuf *out)
{
    static const enum svg_color fills[] = {[GRAPH_CENTER] = SVG_RED,
                                           [GRAPH_PART] = SVG_BLUE,
                                           [GRAPH_BEHIND] = SVG_GREEN,
                                           [GRAPH_RELATIVE] = SVG_NONE};
    const struct place *place = &p->places[i];
    enum graph_role role = p->graph->nodes[i].role;
    struct svg_text_style text = styles[role];
    struct svg_style style = {.fill = fills[role], .corner = 6};
    double x = place->side == 0  ? place->x - place->width / 2
               : place->side > 0 ? place->x
                                 : place->x - place->width;
    if (role == GRAPH_RELATIVE)
        style.stroke = SVG_GREY;
    if (role == GRAPH_BEHIND)
        svg_circle(out, place->x, place->y, DOT, &style);
    else
        svg_rect(out, x, place->y - BOX / 2, place->width, BOX, &style);
    if (place->side)
        text.anchor = place->side > 0 ? SVG_START : SVG_END;
    svg_text(out, place->x + place->side * PADDING, place->y + 0.35 * FONT, &text, p->texts[i].data,
             p->texts[i].length);
}

static void draw(struct picture *p, struct strbuf *out)
{
    static const struct svg_text_style note = {.color = SVG_GREY, .size = FONT};
    static const char legend[] = "dotted: the nearest latent of a smaller SAE, by decoder cosine";
    const struct latent_graph *g = p->graph;
    struct strbuf title = STRBUF_INIT;
    graph_title(g, &title);
    const char *end = g->n_relatives ? legend : "";
    double head = FONT + MARGIN, foot = g->n_relatives ? head : 0;
    double notes =
        fmax(svg_text_width(&note, title.data, title.length), svg_text_width(&note, end, strlen(end)));
    double width = fmax(p->left + p->right, notes + 2 * MARGIN), height = head + p->top + p->bottom + foot;
    for (size_t i = 0; i < g->n_nodes; i++) {
        p->places[i].x += p->left;
        p->places[i].y += head + p->top;
    }
    svg_begin(out, width, height, title.data);
    svg_text(out, MARGIN, MARGIN + FONT / 2, &note, title.data, title.length);
    for (size_t i = 0; i < g->n_edges; i++)
        draw_edge(p, &g->edges[i], out);
    for (size_t i = 0; i < g->n_nodes; i++)
        draw_node(p, i, out);
    if (foot > 0)
        svg_text(out, MARGIN, height - MARGIN / 2, &note, end, strlen(end));
    svg_end(out);
    strbuf_free(&title);
}

void graph_svg(const struct latent_graph *g, struct strbuf *out)
{
    struct picture p = {.graph = g};
    p.places = xcalloc(g->n_nodes, sizeof *p.places);
    p.texts = xcalloc(g->n_nodes, sizeof *p.texts);
    measure(&p);
    put_places(&p);
    draw(&p, out);
    for (size_t i = 0; i < g->n_nodes; i++)
        strbuf_free(&p.texts[i]);
    free(p.texts);
    free(p.places);
}
