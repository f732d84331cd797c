/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws a family: columns of SAEs with lines between them, or a tree; below, the selected latent's relatives.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/family_view.h"

#define CELL_MIN    22 /* columns of a latent, */
#define GAP         7  /* and of the lines to the next SAE's, */
#define OTHER_LANES 1  /* of which lines beside the tree bend here and one further on, */
#define TREE_LANE   3  /* and the tree's here */
#define BAR         8  /* meta-latents' shares */
#define DETAILS     5  /* rows of the box below */
#define DETAILS_MIN 14 /* rows of a screen that has room for it */
#define INDENT      3  /* of a generation in the tree */

static const char *label_of(const struct family_page *p, uint32_t node)
{
    return p->labels[node] ? p->labels[node] : "";
}

static int decimal_width(size_t n)
{
    int width = 1;
    for (; n >= 10; n /= 10)
        width++;
    return width;
}

/* ---- Shares of meta-latents. ---- */

static const char *shade(size_t k)
{
    static const enum glyph shades[] = {GLYPH_SHADE_DARK, GLYPH_SHADE_MEDIUM, GLYPH_SHADE_LIGHT};
    return glyph(shades[k % ARRAY_LENGTH(shades)]);
}

/* The bar's cells go to the meta-latents by their shares, neighbours in different shades. */
static void draw_shares(const struct canvas *c, int y, int x, int width, const struct family_node *node)
{
    double sum = 0;
    int drawn = 0;
    for (size_t k = 0; k < node->n_meta; k++) {
        sum += (double)node->meta[k].share;
        for (int end = (int)(sum * width + 0.5); drawn < end && drawn < width; drawn++)
            canvas_text(c, y, x + drawn, STYLE_BAR, shade(k));
    }
}

/* ---- Lines between the columns. ---- */

/* LINE_ bits of the tree's lines and of the others, and whether they are the selected latent's. */
struct line_cell {
    unsigned char ends[2], lit[2];
};
enum { OF_TREE, OF_OTHERS };

struct gap {
    struct line_cell *cells; /* [height, GAP] */
    int height;
    long top; /* the family's row that is the first */
};

static void put_line(const struct gap *g, long row, int x, unsigned ends, int kind, int lit)
{
    long y = row - g->top;
    if (y < 0 || y >= g->height)
        return;
    g->cells[y * GAP + x].ends[kind] |= (unsigned char)ends;
    g->cells[y * GAP + x].lit[kind] |= (unsigned char)lit;
}

/* From a parent's row, along a lane, to a child's. */
static void add_line(const struct gap *g, long from, long to, int lane, int kind, int lit)
{
    for (int x = 0; x < lane; x++)
        put_line(g, from, x, LINE_LEFT | LINE_RIGHT, kind, lit);
    put_line(g, from, lane, LINE_LEFT, kind, lit);
    for (int x = lane + 1; x < GAP; x++)
        put_line(g, to, x, LINE_LEFT | LINE_RIGHT, kind, lit);
    put_line(g, to, lane, LINE_RIGHT, kind, lit);
    if (from == to)
        return;
    put_line(g, from, lane, from < to ? LINE_DOWN : LINE_UP, kind, lit);
    put_line(g, to, lane, from < to ? LINE_UP : LINE_DOWN, kind, lit);
    long low = from < to ? from : to, high = from < to ? to : from;
    low = low < g->top ? g->top - 1 : low;
    high = high > g->top + g->height ? g->top + g->height : high;
    for (long row = low + 1; row < high; row++)
        put_line(g, row, lane, LINE_UP | LINE_DOWN, kind, lit);
}

/* The tree's line where there is one, with what crosses or joins it; marked when any of the selected latent's
 * passes. */
static void draw_line_cell(const struct canvas *c, int y, int x, const struct line_cell *cell)
{
    enum style style = cell->lit[OF_TREE] || cell->lit[OF_OTHERS] ? STYLE_BORDER_FOCUS : STYLE_BORDER;
    unsigned upright = cell->ends[OF_OTHERS] & (LINE_UP | LINE_DOWN);
    if (cell->ends[OF_TREE])
        canvas_text(c, y, x, style, glyph_line(cell->ends[OF_TREE] | upright));
    else if (cell->ends[OF_OTHERS])
        canvas_text(c, y, x, style, glyph(GLYPH_DOTTED));
}

static void draw_gap(const struct canvas *c, int x, const struct family_state *s, uint32_t column)
{
    const struct family *f = s->page->family;
    const struct family_layout *l = &s->page->layout;
    struct gap g = {NULL, c->height, (long)s->top};
    g.cells = xcalloc((size_t)(c->height > 0 ? c->height : 1), GAP * sizeof *g.cells);
    for (size_t e = 0; e < f->n_edges; e++) {
        const struct family_edge *edge = &f->edges[e];
        if (f->nodes[edge->from].column != column)
            continue;
        int kind = l->edge[edge->to] == e ? OF_TREE : OF_OTHERS;
        add_line(&g, l->row[edge->from], l->row[edge->to],
                 kind == OF_TREE ? TREE_LANE : OTHER_LANES + (int)(edge->from % 2), kind,
                 edge->from == s->node || edge->to == s->node);
    }
    for (int y = 0; y < c->height; y++)
        for (int k = 0; k < GAP; k++)
            draw_line_cell(c, y, x + k, &g.cells[y * GAP + k]);
    free(g.cells);
}

/* ---- Columns. ---- */

struct columns {
    uint32_t first, n; /* that are shown */
    int width;         /* of a cell */
};

/* All columns when they fit, else those around the selected latent. */
static struct columns fit_columns(struct family_state *s, int width)
{
    const struct family *f = s->page->family;
    uint32_t all = (uint32_t)f->n_columns, room = (uint32_t)((width + GAP) / (CELL_MIN + GAP));
    uint32_t selected = f->nodes[s->node].column;
    room = room < 1 ? 1 : room < all ? room : all;
    if (s->left > selected)
        s->left = selected;
    if (s->left + room <= selected)
        s->left = selected - room + 1;
    if (s->left + room > all)
        s->left = all - room;
    return (struct columns){s->left, room, (width - (int)(room - 1) * GAP) / (int)room};
}

static int has_children(const struct family *f, uint32_t node)
{
    for (size_t e = 0; e < f->n_edges; e++)
        if (f->edges[e].from == node)
            return 1;
    return 0;
}

/* "▶1183 physicist   ▓▓▓▒▒░", and a line on to its children. */
static void draw_cell(const struct canvas *c, int y, int x, int width, const struct view *v, uint32_t node)
{
    const struct family_state *s = v->data;
    const struct family *f = s->page->family;
    const struct family_node *n = &f->nodes[node];
    const struct family_column *column = &f->columns[n->column];
    int digits = decimal_width(column->width - 1),
        bar = column->meta.id && width >= digits + BAR + 8 ? BAR : 0;
    int room = width - digits - 3 - (bar ? bar + 1 : 0), end;
    char number[32];
    snprintf(number, sizeof number, "%u", n->latent);
    canvas_right(c, y, x + 1 + digits, STYLE_LINK, number);
    end = canvas_ellipsis(c, y, x + digits + 2, room, node == f->asked ? STYLE_STRONG : STYLE_NORMAL,
                          label_of(s->page, node));
    if (bar && n->n_meta) {
        draw_shares(c, y, x + width - bar - 1, bar, n);
        end = x + width - 1;
    }
    end -= *label_of(s->page, node) || n->n_meta ? 0 : 1;
    for (end++; has_children(f, node) && end < x + width; end++)
        canvas_text(c, y, end, STYLE_BORDER, glyph(GLYPH_HORIZONTAL));
    if (node != s->node)
        return;
    canvas_text(c, y, x, STYLE_STRONG, glyph(GLYPH_CURSOR));
    canvas_style(c, y, x, width, v->focused ? STYLE_SELECTED : STYLE_SELECTED_UNFOCUSED);
    canvas_cursor(c, y, x);
}

static void keep_in_sight(struct family_state *s, size_t row, size_t n_rows, int height)
{
    size_t rows = height > 0 ? (size_t)height : 1;
    s->height = height;
    if (row < s->top)
        s->top = row;
    if (row >= s->top + rows)
        s->top = row - rows + 1;
    if (s->top + rows > n_rows)
        s->top = n_rows > rows ? n_rows - rows : 0;
}

static void scroll_mark(const struct family_state *s, size_t n_rows, const struct canvas *c)
{
    struct list list = {.n = n_rows, .top = s->top};
    list_scroll_mark(&list, c);
}

static void draw_columns(struct view *v, const struct canvas *c)
{
    struct family_state *s = v->data;
    const struct family *f = s->page->family;
    const struct family_layout *l = &s->page->layout;
    struct columns columns = fit_columns(s, c->width - 1);
    struct canvas rows = canvas_part(c, 1, 0, c->height - 1, c->width);
    keep_in_sight(s, l->row[s->node], l->n_rows, rows.height);
    for (uint32_t i = 0; i < columns.n; i++) {
        uint32_t column = columns.first + i;
        int x = (int)i * (columns.width + GAP);
        int end = canvas_ellipsis(c, 0, x + 1, columns.width - 1, STYLE_STRONG, f->columns[column].sae.name);
        if (i == 0 && column > 0)
            canvas_text(c, 0, x, STYLE_DIM, "<");
        if (i + 1 == columns.n && column + 1 < f->n_columns)
            canvas_text(c, 0, end + 1, STYLE_DIM, ">");
        for (uint32_t k = 0; k < f->n_nodes; k++)
            if (f->nodes[k].column == column && l->row[k] >= s->top)
                draw_cell(&rows, (int)(l->row[k] - s->top), x, columns.width, v, k);
        if (i + 1 < columns.n)
            draw_gap(&rows, x + columns.width, s, column);
    }
    scroll_mark(s, l->n_rows, &rows);
}

/* ---- The tree. ---- */

/* Which of the generations above a row have a line going down past it: bit d for that at depth d. */
static uint64_t passing_lines(const struct family_layout *l, size_t i)
{
    uint32_t depth = l->depth[l->order[i]];
    uint64_t lines = 0;
    for (size_t k = i + 1; k < l->n_nodes && depth > 0; k++) {
        uint32_t other = l->depth[l->order[k]];
        if (other <= depth && other > 0) {
            lines |= (uint64_t)1 << (other < 63 ? other : 63);
            depth = other - 1;
        } else if (other == 0) {
            break;
        }
    }
    return lines;
}

static int count_parents(const struct family *f, uint32_t node)
{
    int n = 0;
    for (size_t e = 0; e < f->n_edges; e++)
        n += f->edges[e].to == node;
    return n;
}

/* Its own branch and those that pass by. */
static int draw_branches(const struct canvas *c, int y, int x, const struct family_layout *l, size_t i)
{
    uint32_t depth = l->depth[l->order[i]];
    uint64_t lines = passing_lines(l, i);
    for (uint32_t d = 1; d <= depth; d++, x += INDENT) {
        unsigned ends = lines >> (d < 63 ? d : 63) & 1 ? LINE_UP | LINE_DOWN : 0;
        if (d == depth)
            ends |= LINE_UP | LINE_RIGHT;
        if (ends)
            canvas_text(c, y, x, STYLE_BORDER, glyph_line(ends));
        if (d == depth)
            canvas_text(c, y, x + 1, STYLE_BORDER, glyph(GLYPH_HORIZONTAL));
    }
    return x;
}

static void draw_branch(const struct canvas *c, int y, const struct view *v, size_t i)
{
    const struct family_state *s = v->data;
    const struct family *f = s->page->family;
    const struct family_layout *l = &s->page->layout;
    uint32_t node = l->order[i];
    const struct family_node *n = &f->nodes[node];
    int right = c->width - 2 - BAR, parents = count_parents(f, node);
    int x = draw_branches(c, y, 1, l, i);
    x = canvas_printf(c, y, x, STYLE_LINK, "%s/%u", f->columns[n->column].sae.name, n->latent) + 1;
    draw_shares(c, y, right + 1, BAR, n);
    if (parents > 1) {
        char more[32];
        snprintf(more, sizeof more, "+%d", parents - 1);
        canvas_right(c, y, right, STYLE_DIM, more);
    }
    if (l->edge[node] != FAMILY_NONE) {
        char number[32];
        snprintf(number, sizeof number, "%.2f", (double)f->edges[l->edge[node]].cosine);
        canvas_right(c, y, right - 4, STYLE_NORMAL, number);
    }
    canvas_ellipsis(c, y, x, right - 9 - x, node == f->asked ? STYLE_STRONG : STYLE_NORMAL,
                    label_of(s->page, node));
    if (node != s->node)
        return;
    canvas_text(c, y, 0, STYLE_STRONG, glyph(GLYPH_CURSOR));
    canvas_style(c, y, 0, c->width - 1, v->focused ? STYLE_SELECTED : STYLE_SELECTED_UNFOCUSED);
    canvas_cursor(c, y, 0);
}

static void draw_tree(struct view *v, const struct canvas *c)
{
    struct family_state *s = v->data;
    const struct family_layout *l = &s->page->layout;
    size_t at = 0;
    while (l->order[at] != s->node)
        at++;
    keep_in_sight(s, at, l->n_nodes, c->height);
    for (size_t i = s->top; i < l->n_nodes && i < s->top + (size_t)c->height; i++)
        draw_branch(c, (int)(i - s->top), v, i);
    scroll_mark(s, l->n_nodes, c);
}

/* ---- The selected latent. ---- */

static int by_closeness(const void *a, const void *b)
{
    const struct family_edge *const *x = a, *const *y = b;
    float of_x = family_strength(*x), of_y = family_strength(*y);
    return of_x != of_y ? (of_x < of_y ? 1 : -1) : (*x > *y) - (*x < *y);
}

/* "wn-256/31 0.83 share 0.71 science", for parents or children, the closest first. */
static void draw_edges(const struct canvas *c, int y, const struct family_page *p, uint32_t node,
                       int children)
{
    const struct family *f = p->family;
    const struct family_edge **edges = xcalloc(f->n_edges + 1, sizeof *edges);
    size_t n = 0;
    for (size_t e = 0; e < f->n_edges; e++)
        if ((children ? f->edges[e].from : f->edges[e].to) == node)
            edges[n++] = &f->edges[e];
    if (n > 1)
        qsort(edges, n, sizeof *edges, by_closeness);
    int x = canvas_text(c, y, 1, STYLE_DIM, children ? "children" : "parents ") + 1;
    for (size_t i = 0; i < n && x < c->width - 1; i++) {
        uint32_t other = children ? edges[i]->to : edges[i]->from;
        struct strbuf b = STRBUF_INIT;
        strbuf_addf(&b, "%s/%u", f->columns[f->nodes[other].column].sae.name, f->nodes[other].latent);
        x = canvas_ellipsis(c, y, x, c->width - 1 - x, STYLE_LINK, strbuf_string(&b));
        strbuf_reset(&b);
        strbuf_addf(&b, " %.2f", (double)edges[i]->cosine);
        if (!isnan(edges[i]->share))
            strbuf_addf(&b, " share %.2f", (double)edges[i]->share);
        strbuf_addf(&b, " %s", label_of(p, other));
        x = canvas_ellipsis(c, y, x, c->width - 1 - x, STYLE_NORMAL, strbuf_string(&b)) + 2;
        strbuf_free(&b);
    }
    if (n == 0)
        canvas_text(c, y, x, STYLE_DIM, "none");
    free(edges);
}

static void draw_metas(const struct canvas *c, int y, const struct family_page *p, uint32_t node)
{
    const struct family_node *n = &p->family->nodes[node];
    const struct artifact *meta = &p->family->columns[n->column].meta;
    int x = canvas_text(c, y, 1, STYLE_DIM, "meta     ");
    if (!meta->id)
        canvas_text(c, y, x, STYLE_DIM, "no meta-SAE");
    else if (n->n_meta == 0)
        canvas_printf(c, y, x, STYLE_DIM, "no latent of %s fires on it", meta->name);
    for (size_t k = 0; k < n->n_meta && x < c->width - 1; k++) {
        const char *name = p->meta_names[node][k];
        struct strbuf b = STRBUF_INIT;
        x = canvas_text(c, y, x, STYLE_BAR, shade(k)) + 1;
        strbuf_addf(&b, "%s/%u %.0f%% %s", meta->name, n->meta[k].latent, 100 * (double)n->meta[k].share,
                    name ? name : "");
        x = canvas_ellipsis(c, y, x, c->width - 1 - x, STYLE_NORMAL, strbuf_string(&b)) + 2;
        strbuf_free(&b);
    }
}

static void draw_details(const struct canvas *c, const struct family_state *s)
{
    const struct family_page *p = s->page;
    const struct family_node *n = &p->family->nodes[s->node];
    struct strbuf title = STRBUF_INIT;
    strbuf_addf(&title, "%s/%u", p->family->columns[n->column].sae.name, n->latent);
    if (p->labels[s->node])
        strbuf_addf(&title, " %s %s", glyph(GLYPH_MIDDLE_DOT), p->labels[s->node]);
    struct canvas in = canvas_box(c, STYLE_BORDER, strbuf_string(&title));
    strbuf_free(&title);
    draw_edges(&in, 0, p, s->node, 0);
    draw_edges(&in, 1, p, s->node, 1);
    draw_metas(&in, 2, p, s->node);
}

void family_draw(struct view *v, const struct canvas *c)
{
    struct family_state *s = v->data;
    if (!s->page) {
        canvas_ellipsis(c, 0, 1, c->width - 2, s->error ? STYLE_ERROR : STYLE_DIM,
                        s->error ? s->error : glyph(GLYPH_ELLIPSIS));
        return;
    }
    int details = c->height >= DETAILS_MIN ? DETAILS : 0;
    struct canvas upper = canvas_part(c, 0, 0, c->height - details, c->width);
    if (c->width >= FAMILY_WIDE)
        draw_columns(v, &upper);
    else
        draw_tree(v, &upper);
    if (details) {
        struct canvas lower = canvas_part(c, c->height - details, 0, details, c->width);
        draw_details(&lower, s);
    }
}
