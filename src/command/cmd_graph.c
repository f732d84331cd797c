/* SPDX-License-Identifier: GPL-3.0-or-later */
/* graph: what is around a latent, as a tree, as JSON, for Graphviz, or as a picture. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/analysis/graph.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

enum document { DOCUMENT_NONE, DOCUMENT_SVG, DOCUMENT_DOT, DOCUMENT_JSON };
static const char *const document_names[] = {"", "svg", "dot", "json"};

/* ---- As a tree. ---- */

static void tree_line(struct writer *out, const char *lead, const struct latent_graph *g,
                      const struct graph_edge *e)
{
    const struct graph_node *node = &g->nodes[e->to];
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "%s %.2f  %s/%zu", lead, (double)e->weight, node->sae.name, node->latent);
    if (node->label) {
        strbuf_adds(&b, "  ");
        displayable(&b, node->label, node->n_label);
    }
    writer_line(out, "%s", strbuf_string(&b));
    strbuf_free(&b);
}

/* Branches: on and last, below a part that goes on and below the last; dotted ones. */
static void write_tree(struct writer *out, const struct latent_graph *g)
{
    static const char *const utf8[] = {"├─", "└─", "│  ├─", "│  └─", "   ├─", "   └─", "├··", "└··"},
                             *const ascii[] = {"|-", "`-", "|  |-", "|  `-", "   |-", "   `-", "|..", "`.."};
    const char *const *set = locale_is_utf8() ? utf8 : ascii;
    size_t n, n_behind, n_relatives;
    const struct graph_edge *parts = graph_edges(g, 0, &n), *relatives = graph_relatives(g, &n_relatives);
    for (size_t i = 0; i < n; i++) {
        int last = i + 1 == n && n_relatives == 0;
        const struct graph_edge *behind = graph_edges(g, parts[i].to, &n_behind);
        tree_line(out, set[last], g, &parts[i]);
        for (size_t k = 0; k < n_behind; k++)
            tree_line(out, set[2 + 2 * last + (k + 1 == n_behind)], g, &behind[k]);
    }
    for (size_t i = 0; i < n_relatives; i++)
        tree_line(out, set[6 + (i + 1 == n_relatives)], g, &relatives[i]);
}

static void write_text(struct writer *out, const struct latent_graph *g)
{
    struct strbuf b = STRBUF_INIT;
    graph_title(g, &b);
    writer_line(out, "%s", b.data);
    strbuf_reset(&b);
    if (g->nodes[0].label) {
        displayable(&b, g->nodes[0].label, g->nodes[0].n_label);
        writer_line(out, "%s", b.data);
    }
    strbuf_free(&b);
    write_tree(out, g);
}

/* ---- As JSON and TSV. ---- */

static void write_node(struct writer *out, const struct graph_node *node)
{
    writer_string(out, "sae", node->sae.name);
    writer_integer(out, "latent", (long long)node->latent);
    if (node->label)
        writer_bytes(out, "label", node->label, node->n_label);
    else
        writer_null(out, "label");
}

static void write_address(struct writer *out, const char *name, const struct graph_node *node)
{
    char *address = xasprintf("%s/%zu", node->sae.name, node->latent);
    writer_string(out, name, address);
    free(address);
}

static void write_edges(struct writer *out, const struct latent_graph *g)
{
    static const struct writer_column columns[] = {
        {"from", NULL, NULL, 1}, {"to", NULL, NULL, 1}, {"weight", NULL, NULL, 0}, {"link", NULL, NULL, 1}};
    writer_begin_table(out, "edges", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < g->n_edges; i++) {
        writer_begin_row(out);
        write_address(out, "from", &g->nodes[g->edges[i].from]);
        write_address(out, "to", &g->nodes[g->edges[i].to]);
        writer_real(out, "weight", g->edges[i].weight);
        writer_string(out, "link", g->edges[i].is_cosine ? "cosine" : "activation");
        writer_end_row(out);
    }
    writer_end_table(out);
}

static void write_graph(struct writer *out, const struct latent_graph *g)
{
    writer_own_text(out);
    writer_begin_object(out, NULL);
    write_node(out, &g->nodes[0]);
    writer_string(out, "meta", g->meta[0] ? g->meta : NULL);
    writer_real(out, "explained_variance", g->explained_variance);
    if (writer_format(out) == WRITE_TEXT) {
        write_text(out, g);
        writer_end_object(out);
        return;
    }
    writer_begin_array(out, "nodes");
    for (size_t i = 0; i < g->n_nodes; i++) {
        writer_begin_object(out, NULL);
        write_node(out, &g->nodes[i]);
        writer_string(out, "role", graph_role_names[g->nodes[i].role]);
        writer_end_object(out);
    }
    writer_end_array(out);
    write_edges(out, g);
    writer_end_object(out);
}

/* ---- As a document. ---- */

static int append(void *arg, const char *bytes, size_t n)
{
    strbuf_add(arg, bytes, n);
    return 0;
}

static int make_document(enum document kind, const struct latent_graph *g, struct strbuf *out,
                         struct error *err)
{
    if (kind == DOCUMENT_SVG)
        graph_svg(g, out);
    else if (kind == DOCUMENT_DOT)
        graph_dot(g, out);
    if (kind != DOCUMENT_JSON)
        return STATUS_OK;
    struct writer *w = writer_new(WRITE_JSON, append, out);
    write_graph(w, g);
    int status = writer_commit(w, err);
    writer_free(w);
    return status;
}

static enum document document_named(const char *name)
{
    for (enum document i = DOCUMENT_SVG; i <= DOCUMENT_JSON; i++)
        if (strcasecmp(name, document_names[i]) == 0)
            return i;
    return DOCUMENT_NONE;
}

/* What --format says, else the file's extension. */
static int find_document(const struct invocation *inv, const struct writer *out, enum document *kind,
                         struct error *err)
{
    const char *format = invocation_option(inv, "format"), *file = invocation_option(inv, "output");
    const char *dot = file ? strrchr(path_base(file), '.') : NULL;
    *kind = format ? document_named(format) : dot ? document_named(dot + 1) : DOCUMENT_NONE;
    if (file && *kind == DOCUMENT_NONE) {
        char *shown = displayable_string(file);
        error_set(err, STATUS_USAGE,
                  "%s ends in neither .svg nor .dot nor .json: add --format svg, dot or json", shown);
        free(shown);
        return STATUS_USAGE;
    }
    if (!file && *kind != DOCUMENT_NONE && writer_format(out) != WRITE_TEXT && *kind != DOCUMENT_JSON)
        return error_set(err, STATUS_USAGE, "--format %s is not JSON or TSV: name a file with --output",
                         format);
    return STATUS_OK;
}

static int write_document(struct context *ctx, const struct invocation *inv, struct writer *out,
                          enum document kind, const struct latent_graph *g, struct error *err)
{
    const char *file = invocation_option(inv, "output");
    struct strbuf text = STRBUF_INIT;
    double start = clock_seconds();
    int status = make_document(kind, g, &text, err);
    if (status == STATUS_OK)
        status = save_document(ctx, inv, file ? file : "-", &text, err);
    if (status == STATUS_OK && file && strcmp(file, "-") != 0) {
        struct strbuf said = STRBUF_INIT;
        strbuf_adds(&said, "wrote ");
        displayable(&said, file, strlen(file));
        strbuf_adds(&said, ", ");
        strbuf_add_bytes(&said, text.length);
        writer_own_text(out);
        writer_line(out, "%s", said.data);
        writer_begin_object(out, NULL);
        write_address(out, "name", &g->nodes[0]);
        writer_string(out, "kind", "graph");
        writer_string(out, "format", document_names[kind]);
        writer_integer(out, "bytes", (long long)text.length);
        writer_real(out, "seconds", clock_seconds() - start);
        writer_end_object(out);
        strbuf_free(&said);
    }
    strbuf_free(&text);
    return status;
}

/* ---- The command. ---- */

static size_t count_option(const struct invocation *inv, const char *name, size_t fallback)
{
    uint64_t n = invocation_count(inv, name, fallback);
    return n < GRAPH_MAX ? (size_t)n : GRAPH_MAX;
}

static int make_graph(struct context *ctx, const struct invocation *inv, struct latent_graph *g,
                      struct error *err)
{
    const char *meta = invocation_option(inv, "meta");
    struct graph_options o = {.parts = count_option(inv, "parts", GRAPH_PARTS_DEFAULT),
                              .behind = count_option(inv, "members", GRAPH_BEHIND_DEFAULT),
                              .relatives = count_option(inv, "relatives", GRAPH_RELATIVES_DEFAULT)};
    struct store_txn *t;
    struct artifact a = {0};
    struct address at;
    struct query_monitor monitor;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    query_monitor_start(&monitor, ctx, "graph");
    status = argument_address(ctx, inv, 0, t, &at, err);
    if (status == STATUS_OK && meta)
        status = store_find(t, ARTIFACT_SAE, meta, &a, err);
    o.meta = a.id;
    if (status == STATUS_OK)
        status = latent_graph_make(t, &at, &o, &monitor.monitor, g, err);
    query_monitor_end(&monitor);
    store_end(t);
    return status;
}

static int run_graph(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct latent_graph g;
    enum document kind;
    int status = find_document(inv, out, &kind, err);
    if (status == STATUS_OK)
        status = make_graph(ctx, inv, &g, err);
    if (status != STATUS_OK)
        return status;
    if (kind == DOCUMENT_NONE ||
        (kind == DOCUMENT_JSON && writer_format(out) == WRITE_JSON && !invocation_option(inv, "output")))
        write_graph(out, &g);
    else
        status = write_document(ctx, inv, out, kind, &g, err);
    latent_graph_free(&g);
    return status;
}

static const struct argument_spec graph_arguments[] = {{.name = "SAE/ID", .type = WORD_ADDRESS},
                                                       {.name = NULL}};
static const struct option_spec graph_options[] = {
    {.name = "meta",
     .type = WORD_META,
     .value = "META",
     .help = "meta-SAE (default: the newest on this SAE)"},
    {.name = "parts",
     .type = WORD_COUNT,
     .value = "N",
     .help = "meta-latents around the latent, strongest first (default 6)"},
    {.name = "members", .type = WORD_COUNT, .value = "N", .help = "latents behind each of them (default 5)"},
    {.name = "relatives",
     .type = WORD_COUNT,
     .value = "N",
     .help = "smaller SAEs' nearest latents (default 4)"},
    {.name = "format",
     .type = WORD_WORD,
     .value = "F",
     .choices = "svg|dot|json",
     .help = "a picture, Graphviz' language or JSON in place of a tree"},
    {.name = "output",
     .type = WORD_FILE,
     .value = "FILE",
     .help = "write it to a file; its ending says the format"},
    {.name = "replace", .type = WORD_FLAG, .help = "overwrite the file if it is there"},
    {.name = NULL},
};
const struct command graph_command = {
    .name = "graph",
    .group = GROUP_EXPLORE,
    .summary = "show a latent among its meta-latents, what shares them, and its relatives",
    .description = "Around a latent are its strongest meta-latents, behind each the latents in which that "
                   "one is strongest, and "
                   "the nearest latent of each smaller SAE of the hook. Around a meta-latent are its "
                   "strongest members, and behind "
                   "each its other meta-latents.",
    .arguments = graph_arguments,
    .options = graph_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .view = "graph",
    .run = run_graph,
};
