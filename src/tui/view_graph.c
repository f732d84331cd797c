/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The graph around a latent or meta-latent, to be walked. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/lexer.h"
#include "saescope/tui/graph_view.h"
#include "saescope/tui/latent_page.h"

static const struct action graph_actions[] = {
    {"open", "Enter", "make the selected latent the middle; on the middle: open its page"},
    {"page", "o", "open the page of the selected latent"},
    {"export", "e", "write the graph to a file: SVG, DOT for Graphviz, or JSON, by its ending"},
    {NULL, NULL, NULL},
};

/* ---- Data. ---- */

struct graph_request {
    char *address;
    uint64_t hash; /* of what is shown */
};
struct graph_result {
    struct latent_graph graph;
    uint64_t hash;
    size_t d_sae;
    int same; /* nothing but labels may have changed */
};

static void free_request(void *arg)
{
    struct graph_request *r = arg;
    free(r->address);
    free(r);
}

static void free_result(void *arg)
{
    struct graph_result *r = arg;
    latent_graph_free(&r->graph);
    free(r);
}

static int read_graph(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    static const struct graph_options options = {
        .parts = GRAPH_PARTS_DEFAULT, .behind = GRAPH_BEHIND_DEFAULT, .relatives = GRAPH_RELATIVES_DEFAULT};
    const struct graph_request *request = arg;
    struct query_watch watch = query_watch(q);
    struct graph_result *r = xcalloc(1, sizeof *r);
    struct address at = {0};
    r->hash = page_relatives_hash(t);
    r->same = r->hash == request->hash;
    int status = address_parse(t, request->address, NULL, &at, err);
    r->d_sae = at.d_sae;
    if (status == STATUS_OK && !r->same)
        status = latent_graph_make(t, &at, &options, &watch.monitor, &r->graph, err);
    if (status == STATUS_OK)
        *result = r;
    else
        free_result(r);
    return status;
}

static void forget_texts(struct graph_state *s)
{
    for (size_t i = 0; s->texts && i < s->graph.n_nodes; i++)
        free(s->texts[i]);
    free(s->texts);
    s->texts = NULL;
}

static void forget(struct graph_state *s)
{
    forget_texts(s);
    latent_graph_free(&s->graph);
    free(s->error);
    s->error = NULL;
    s->hash = 0;
}

/* "88 scientists"; where the number alone does not tell: "wn-1024/211 physics". */
static void make_texts(struct graph_state *s)
{
    s->texts = xcalloc(s->graph.n_nodes, sizeof *s->texts);
    for (size_t i = 0; i < s->graph.n_nodes; i++) {
        const struct graph_node *node = &s->graph.nodes[i];
        struct strbuf b = STRBUF_INIT;
        if (graph_needs_name(&s->graph, i))
            strbuf_addf(&b, "%s/", node->sae.name);
        strbuf_addf(&b, node->label ? "%zu " : "%zu", node->latent);
        if (node->label)
            displayable(&b, node->label, node->n_label);
        s->texts[i] = strbuf_detach(&b);
    }
}

/* Labels are small records, and may have changed with any commit. */
static void relabel(struct view *v)
{
    struct graph_state *s = v->data;
    struct store_txn *t;
    if (!s->texts || store_begin(app_store(v->app), &t, NULL) != STATUS_OK)
        return;
    forget_texts(s);
    latent_graph_label(&s->graph, t, NULL);
    make_texts(s);
    store_end(t);
}

static int graph_done(struct view *v, void *result, int status, const struct error *err)
{
    struct graph_state *s = v->data;
    struct graph_result *r = result;
    if (status != STATUS_OK) {
        forget(s);
        s->error = xstrdup(err->message);
        return INVALID_DRAW;
    }
    s->d_sae = r->d_sae;
    if (r->same) {
        relabel(v);
    } else {
        forget(s);
        s->graph = r->graph;
        s->hash = r->hash;
        memset(&r->graph, 0, sizeof r->graph);
        make_texts(s);
        if (!s->moved || s->selected > s->graph.n_edges)
            s->selected = s->graph.n_edges > 0;
        if (s->part >= s->graph.n_parts)
            s->part = 0;
    }
    free_result(r);
    return INVALID_DRAW;
}

static const struct query_spec graph_query = {read_graph, graph_done, free_result, free_request};

static void load(struct view *v)
{
    const struct graph_state *s = v->data;
    struct graph_request *r = xcalloc(1, sizeof *r);
    *r = (struct graph_request){xstrdup(v->target), s->texts ? s->hash : 0};
    query_start(v, 0, &graph_query, r);
}

/* ---- Life. ---- */

static int graph_open(struct view *v, const char *target, struct error *err)
{
    if (!strchr(target, '/'))
        return error_set(err, STATUS_USAGE, "a latent's address is SAE/NUMBER, not '%s'", target);
    if (!app_store(v->app))
        return error_set(err, STATUS_STORE, "there is no store yet");
    load(v);
    return STATUS_OK;
}

static void graph_close(struct view *v)
{
    forget(v->data);
}

static int graph_refresh(struct view *v)
{
    load(v);
    return INVALID_NONE;
}

/* ---- Walking. ---- */

static int select_edge(struct graph_state *s, size_t selection)
{
    s->selected = selection;
    s->moved = 1;
    if (selection) {
        const struct graph_edge *e = &s->graph.edges[selection - 1];
        if (e->from)
            s->part = e->from - 1; /* parts are nodes 1 to n_parts */
        else if (!e->is_cosine)
            s->part = selection - 1;
    }
    return INVALID_DRAW;
}

/* Up and down a side, as a list's cursor moves. */
static int walk_side(struct graph_state *s, const char *action, long count)
{
    int on_right = s->selected && s->graph.edges[s->selected - 1].from;
    size_t (*item)(const struct graph_state *, size_t) = on_right ? graph_right : graph_left;
    struct list side = {.n = on_right ? graph_right_count(s) : graph_left_count(s)};
    while (side.cursor < side.n && item(s, side.cursor) != s->selected)
        side.cursor++;
    if (side.cursor == side.n) { /* the middle: there is nothing above or below it */
        side.cursor = 0;
        return list_act(&side, action, count) == INVALID_NOT_MINE ? INVALID_NOT_MINE : INVALID_NONE;
    }
    list_layout(&side, 10);
    int invalid = list_act(&side, action, count);
    return invalid == INVALID_DRAW ? select_edge(s, item(s, side.cursor)) : invalid;
}

static int walk_across(struct graph_state *s, int to_right)
{
    int side = s->selected == 0 ? 0 : s->graph.edges[s->selected - 1].from ? 1 : -1;
    if (side == (to_right ? -1 : 1))
        return select_edge(s, 0);
    if (side == 0 && to_right && graph_right_count(s) > 0)
        return select_edge(s, graph_right(s, 0));
    if (side == 0 && !to_right && graph_left_count(s) > 0)
        return select_edge(s, graph_left(s, s->part));
    return INVALID_NONE;
}

static int walk_tree(struct graph_state *s, const char *action, long count)
{
    size_t n = 1 + s->graph.n_edges, *order = array_alloc(n, sizeof *order, "rows", NULL), behind;
    if (!order)
        return INVALID_NONE;
    graph_order(&s->graph, order);
    list_set_count(&s->list, n);
    for (size_t i = 0; i < n; i++)
        if (order[i] == s->selected)
            s->list.cursor = i;
    int invalid = list_act(&s->list, action, count);
    if (invalid == INVALID_DRAW)
        select_edge(s, order[s->list.cursor]);
    free(order);
    if (strcmp(action, "left") == 0 && s->selected) {
        size_t from = s->graph.edges[s->selected - 1].from;
        return select_edge(s, from); /* the edge to part i is the i-th */
    }
    if (strcmp(action, "right") == 0) {
        const struct graph_edge *edges = graph_edges(&s->graph, graph_selected_node(s), &behind);
        return behind ? select_edge(s, 1 + (size_t)(edges - s->graph.edges)) : INVALID_NONE;
    }
    return invalid;
}

static int walk(struct view *v, const char *action, long count)
{
    struct graph_state *s = v->data;
    if (!s->texts)
        return INVALID_NOT_MINE;
    if (strcmp(action, "next-pane") == 0 || strcmp(action, "previous-pane") == 0)
        action = strcmp(action, "next-pane") == 0 ? "right" : "left";
    if (app_width(v->app) < GRAPH_WIDE)
        return walk_tree(s, action, count);
    if (strcmp(action, "left") == 0 || strcmp(action, "right") == 0)
        return walk_across(s, strcmp(action, "right") == 0);
    return walk_side(s, action, count);
}

/* ---- Going elsewhere. ---- */

static void add_selected(struct view *v, struct strbuf *out)
{
    const struct graph_state *s = v->data;
    if (!s->texts) {
        strbuf_adds(out, v->target);
        return;
    }
    const struct graph_node *node = &s->graph.nodes[graph_selected_node(s)];
    strbuf_addf(out, "%s/%zu", node->sae.name, node->latent);
}

static int open_page(struct view *v)
{
    struct strbuf b = STRBUF_INIT;
    add_selected(v, &b);
    app_open_address(v->app, strbuf_string(&b));
    strbuf_free(&b);
    return INVALID_DRAW;
}

static int make_middle(struct view *v)
{
    const struct graph_state *s = v->data;
    struct strbuf b = STRBUF_INIT;
    if (!s->texts)
        return INVALID_NONE;
    if (s->selected == 0)
        return open_page(v);
    add_selected(v, &b);
    app_open(v->app, v->ops->name, strbuf_string(&b));
    strbuf_free(&b);
    return INVALID_DRAW;
}

/* The latent of this number of the middle's SAE. */
static int jump(struct view *v, long count)
{
    const struct graph_state *s = v->data;
    if (!s->texts || count < 0)
        return INVALID_NONE;
    if ((size_t)count >= s->d_sae) {
        app_message(v->app, 1, "%s has latents 0 to %zu", s->graph.nodes[0].sae.name, s->d_sae - 1);
        return INVALID_NONE;
    }
    char *target = xasprintf("%.*s/%ld", (int)strcspn(v->target, "/"), v->target, count);
    app_open(v->app, v->ops->name, target);
    free(target);
    return INVALID_DRAW;
}

static void export_answered(struct view *v, const char *answer)
{
    struct strbuf line = STRBUF_INIT;
    if (!answer || !*answer)
        return;
    strbuf_addf(&line, "graph %s --output ", v->target);
    lexer_quote(&line, answer);
    app_run(v->app, strbuf_string(&line));
    strbuf_free(&line);
}

static int ask_export(struct view *v)
{
    char *name = xasprintf("%s.svg", v->target);
    for (char *c = name; *c; c++)
        if (*c == '/')
            *c = '-';
    app_ask(v->app, "write to (.svg, .dot, .json): ", name, export_answered);
    free(name);
    return INVALID_NONE;
}

static int graph_act(struct view *v, const char *action, long count)
{
    if (strcmp(action, "jump") == 0 || (strcmp(action, "open") == 0 && count >= 0))
        return jump(v, count);
    if (strcmp(action, "open") == 0)
        return make_middle(v);
    if (strcmp(action, "page") == 0)
        return open_page(v);
    if (strcmp(action, "export") == 0)
        return ask_export(v);
    return walk(v, action, count);
}

/* ---- Places, search. ---- */

static void graph_save(struct view *v, struct strbuf *out)
{
    const struct graph_state *s = v->data;
    strbuf_addf(out, "%zu %zu", s->selected, s->part);
}

static void graph_restore(struct view *v, const char *place)
{
    struct graph_state *s = v->data;
    if (sscanf(place, "%zu %zu", &s->selected, &s->part) != 2)
        return;
    s->moved = 1;
    if (s->texts && s->selected > s->graph.n_edges)
        s->selected = 0;
    if (s->texts && s->part >= s->graph.n_parts)
        s->part = 0;
}

static int graph_search(struct view *v, const char *pattern, int direction)
{
    struct graph_state *s = v->data;
    size_t n = 1 + s->graph.n_edges, at = 0, k = 1;
    size_t *order = s->texts ? array_alloc(n, sizeof *order, "rows", NULL) : NULL;
    if (!order)
        return -1;
    graph_order(&s->graph, order);
    while (order[at] != s->selected)
        at++;
    for (; k <= n; k++) {
        size_t to = order[row_round(at, k, n, direction)];
        if (strcasestr(s->texts[to ? s->graph.edges[to - 1].to : 0], pattern)) {
            select_edge(s, to);
            break;
        }
    }
    free(order);
    return k <= n ? 0 : -1;
}

static void graph_status(struct view *v, struct strbuf *out)
{
    (void)v;
    strbuf_adds(out, "graph");
}

const struct view_ops graph_view = {
    .name = "graph",
    .summary = "a latent among its meta-latents, the latents that share them, and its relatives",
    .actions = graph_actions,
    .private_size = sizeof(struct graph_state),
    .open = graph_open,
    .draw = graph_draw,
    .act = graph_act,
    .status = graph_status,
    .hint = "Enter makes it the middle  o page  e export",
    .refresh = graph_refresh,
    .selected = add_selected,
    .save_place = graph_save,
    .restore_place = graph_restore,
    .search = graph_search,
    .close = graph_close,
};
