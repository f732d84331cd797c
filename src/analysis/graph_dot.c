/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A latent's graph in Graphviz' language. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/analysis/graph.h"
#include "saescope/base/display.h"

void graph_title(const struct latent_graph *g, struct strbuf *out)
{
    const struct graph_node *center = &g->nodes[0];
    strbuf_addf(out, "%s/%zu", center->sae.name, center->latent);
    int one_base = g->n_parts > 0 && !graph_needs_name(g, 1);
    if (g->of_meta)
        strbuf_addf(out, " and its members%s%s", one_base ? " in " : "",
                    one_base ? g->nodes[1].sae.name : "");
    else if (g->meta[0])
        strbuf_addf(out, " and its meta-latents in %s", g->meta);
    else
        strbuf_adds(out, ", which has no meta-SAE");
    if (isfinite(g->explained_variance))
        strbuf_addf(out, ", explained variance %.2f", g->explained_variance);
}

/* Within the quotes of a label: a backslash begins an escape and an ampersand an entity there. */
static void add_quoted(struct strbuf *out, const char *displayable_text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (displayable_text[i] == '"' || displayable_text[i] == '\\')
            strbuf_addc(out, '\\');
        strbuf_addc(out, displayable_text[i]);
        if (displayable_text[i] == '&')
            strbuf_adds(out, "amp;");
    }
}

static void add_node(struct strbuf *out, size_t i, const struct graph_node *node)
{
    static const char *const looks[] = {
        [GRAPH_CENTER] = "style=\"rounded,filled\", fillcolor=\"#d53b50\", fontcolor=\"#ffffff\"",
        [GRAPH_PART] = "style=\"rounded,filled\", fillcolor=\"#1f75d8\", fontcolor=\"#ffffff\"",
        [GRAPH_BEHIND] = "style=rounded, color=\"#188746\"",
        [GRAPH_RELATIVE] = "style=\"rounded,dotted\", color=\"#757575\"",
    };
    struct strbuf label = STRBUF_INIT;
    if (node->label)
        displayable(&label, node->label, node->n_label);
    strbuf_addf(out, "  n%zu [label=\"%s/%zu", i, node->sae.name, node->latent);
    strbuf_adds(out, label.length ? "\\n" : "");
    add_quoted(out, strbuf_string(&label), label.length);
    strbuf_addf(out, "\", %s];\n", looks[node->role]);
    strbuf_free(&label);
}

static void add_edge(struct strbuf *out, const struct graph_edge *edge, float strongest)
{
    strbuf_addf(out, "  n%zu -- n%zu [label=\"%.2f\"", edge->from, edge->to, (double)edge->weight);
    if (edge->is_cosine)
        strbuf_adds(out, ", style=dotted];\n");
    else
        strbuf_addf(out, ", penwidth=%.2f];\n",
                    strongest > 0 ? 0.5 + 4.5 * (double)(edge->weight / strongest) : 1.0);
}

void graph_dot(const struct latent_graph *g, struct strbuf *out)
{
    struct strbuf title = STRBUF_INIT;
    graph_title(g, &title);
    strbuf_adds(
        out,
        "graph latent {\n  layout=twopi; root=n0; overlap=false; ranksep=\"2.5 equally\"; splines=true;\n"
        "  charset=\"UTF-8\"; labelloc=t; fontname=\"Helvetica\"; fontcolor=\"#757575\"; label=\"");
    add_quoted(out, strbuf_string(&title), title.length);
    strbuf_adds(out,
                "\";\n  node [shape=box, fontname=\"Helvetica\", fontcolor=\"#757575\"];\n"
                "  edge [color=\"#757575\", fontname=\"Helvetica\", fontcolor=\"#757575\", fontsize=10];\n");
    for (size_t i = 0; i < g->n_nodes; i++)
        add_node(out, i, &g->nodes[i]);
    for (size_t i = 0; i < g->n_edges; i++)
        add_edge(out, &g->edges[i], graph_strongest(g));
    strbuf_adds(out, "}\n");
    strbuf_free(&title);
}
