/* SPDX-License-Identifier: GPL-3.0-or-later */
/* family: a latent across the widths of an SAE. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/family_layout.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

#define METAS_IN_TEXT 4

void family_options_of(const struct invocation *inv, struct family_options *out)
{
    *out = (struct family_options)FAMILY_DEFAULTS;
    out->cosine = invocation_number(inv, "cosine", out->cosine);
    out->similarity = invocation_number(inv, "similarity", out->similarity);
    out->depth = (size_t)invocation_count(inv, "depth", out->depth);
    out->limit = (size_t)invocation_count(inv, "limit", out->limit);
    out->saes = invocation_option(inv, "saes");
}

static const struct artifact *sae_of(const struct family *f, uint32_t node)
{
    return &f->columns[f->nodes[node].column].sae;
}

static void add_address(struct strbuf *b, const struct family *f, uint32_t node)
{
    strbuf_addf(b, "%s/%u", sae_of(f, node)->name, f->nodes[node].latent);
}

static void write_address(struct writer *out, const char *name, const struct family *f, uint32_t node)
{
    struct strbuf b = STRBUF_INIT;
    add_address(&b, f, node);
    writer_string(out, name, strbuf_string(&b));
    strbuf_free(&b);
}

/* ---- JSON and TSV: nodes and edges. ---- */

static void write_columns(struct writer *out, struct store_txn *t, const struct family *f)
{
    struct artifact stitch;
    writer_begin_array(out, "saes");
    for (size_t c = 0; c < f->n_columns; c++) {
        const struct family_column *column = &f->columns[c];
        int stitched = column->stitch && store_get(t, column->stitch, &stitch, NULL) == STATUS_OK;
        writer_begin_object(out, NULL);
        writer_string(out, "sae", column->sae.name);
        writer_integer(out, "width", (long long)column->width);
        writer_string(out, "meta", column->meta.id ? column->meta.name : NULL);
        writer_string(out, "stitch", stitched ? stitch.name : NULL);
        writer_end_object(out);
    }
    writer_end_array(out);
}

static void write_nodes(struct writer *out, struct store_txn *t, const struct family *f)
{
    writer_begin_array(out, "nodes");
    for (size_t i = 0; i < f->n_nodes; i++) {
        const struct family_node *node = &f->nodes[i];
        const struct family_column *column = &f->columns[node->column];
        writer_begin_object(out, NULL);
        writer_string(out, "sae", column->sae.name);
        writer_integer(out, "latent", node->latent);
        write_label(out, t, column->sae.id, node->latent);
        writer_integer(out, "width", (long long)column->width);
        writer_begin_array(out, "meta");
        for (size_t k = 0; k < node->n_meta; k++) {
            writer_begin_object(out, NULL);
            writer_integer(out, "latent", node->meta[k].latent);
            writer_real(out, "share", (double)node->meta[k].share);
            write_label(out, t, column->meta.id, node->meta[k].latent);
            writer_end_object(out);
        }
        writer_end_array(out);
        writer_end_object(out);
    }
    writer_end_array(out);
}

static void write_edges(struct writer *out, const struct family *f)
{
    static const struct writer_column columns[] = {{"from", NULL, NULL, 1},
                                                   {"to", NULL, NULL, 1},
                                                   {"cosine", NULL, "%.3f", 0},
                                                   {"share", NULL, "%.3f", 0}};
    writer_begin_table(out, "edges", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < f->n_edges; i++) {
        writer_begin_row(out);
        write_address(out, "from", f, f->edges[i].from);
        write_address(out, "to", f, f->edges[i].to);
        writer_real(out, "cosine", (double)f->edges[i].cosine);
        writer_real(out, "share", (double)f->edges[i].share);
        writer_end_row(out);
    }
    writer_end_table(out);
}

/* ---- Text: a tree. ---- */

static void write_metas(struct writer *out, const struct family_node *node)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t k = 0; k < node->n_meta && k < METAS_IN_TEXT; k++)
        strbuf_addf(&b, "%s%u %.0f%%", k ? ", " : "", node->meta[k].latent,
                    100 * (double)node->meta[k].share);
    if (node->n_meta > METAS_IN_TEXT)
        strbuf_addf(&b, ", %zu more", node->n_meta - METAS_IN_TEXT);
    writer_string(out, "meta", strbuf_string(&b));
    strbuf_free(&b);
}

static void write_other_parents(struct writer *out, const struct family *f, uint32_t node, uint32_t edge)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t e = 0; e < f->n_edges; e++)
        if (f->edges[e].to == node && e != edge) {
            strbuf_adds(&b, b.length ? ", " : "");
            add_address(&b, f, f->edges[e].from);
        }
    writer_string(out, "others", strbuf_string(&b));
    strbuf_free(&b);
}

static void write_tree(struct writer *out, struct store_txn *t, const struct family *f)
{
    static const struct writer_column columns[] = {
        {"latent", NULL, NULL, 1},         {"cosine", NULL, "%.2f", 0},          {"share", NULL, "%.2f", 0},
        {"meta", "meta-latents", NULL, 1}, {"others", "other parents", NULL, 1}, {"label", NULL, NULL, 1}};
    struct family_layout layout;
    family_layout_make(f, &layout);
    writer_begin_table(out, "tree", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < f->n_nodes; i++) {
        uint32_t node = layout.order[i], edge = layout.edge[node];
        struct strbuf name = STRBUF_INIT;
        strbuf_addf(&name, "%*s", (int)(2 * layout.depth[node]), "");
        add_address(&name, f, node);
        strbuf_adds(&name, node == f->asked ? " *" : "");
        writer_begin_row(out);
        writer_string(out, "latent", strbuf_string(&name));
        writer_real(out, "cosine", edge == FAMILY_NONE ? NAN : (double)f->edges[edge].cosine);
        writer_real(out, "share", edge == FAMILY_NONE ? NAN : (double)f->edges[edge].share);
        write_metas(out, &f->nodes[node]);
        write_other_parents(out, f, node, edge);
        write_label(out, t, sae_of(f, node)->id, f->nodes[node].latent);
        writer_end_row(out);
        strbuf_free(&name);
    }
    writer_end_table(out);
    family_layout_free(&layout);
}

static void write_text(struct writer *out, struct store_txn *t, const struct family *f)
{
    struct strbuf saes = STRBUF_INIT;
    for (size_t c = 0; c < f->n_columns; c++)
        strbuf_addf(&saes, "%s%s", c ? ", " : "", f->columns[c].sae.name);
    writer_line(out, "family of %s/%u among %s: %zu latents, %zu edges", sae_of(f, (uint32_t)f->asked)->name,
                f->nodes[f->asked].latent, strbuf_string(&saes), f->n_nodes, f->n_edges);
    strbuf_free(&saes);
    write_tree(out, t, f);
    if (f->truncated)
        writer_line(out, "%s", "the weakest were left out: --limit has more, --cosine or --depth fewer");
}

/* ---- The command. ---- */

static int run_family(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    struct store_txn *t;
    struct address at;
    struct family *f = NULL;
    struct family_options options;
    struct query_monitor monitor;
    family_options_of(inv, &options);
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, t, &at, err);
    if (status == STATUS_OK) {
        query_monitor_start(&monitor, ctx, "family");
        status = family_read(t, &at, &options, &monitor.monitor, &f, err);
        query_monitor_end(&monitor);
    }
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_json_only(out, 1);
        writer_string(out, "sae", at.sae.name);
        writer_integer(out, "latent", (long long)at.latent);
        write_columns(out, t, f);
        writer_boolean(out, "truncated", f->truncated);
        write_nodes(out, t, f);
        writer_json_only(out, 0);
        if (writer_format(out) == WRITE_TEXT)
            write_text(out, t, f);
        else
            write_edges(out, f);
        writer_end_object(out);
    }
    family_free(f);
    store_end(t);
    return status;
}

static const struct argument_spec family_arguments[] = {{.name = "SAE/ID", .type = WORD_ADDRESS},
                                                        {.name = NULL}};
static const struct option_spec family_options_spec[] = {
    {.name = "saes",
     .type = WORD_SAE,
     .value = "A,B,C",
     .help = "look in these SAEs and the latent's own (default: those of its hook, one a width)",
     .list = 1},
    {.name = "cosine",
     .type = WORD_NUMBER,
     .value = "X",
     .help = "parent and child have a decoder cosine over X (default 0.7)"},
    {.name = "similarity",
     .type = WORD_NUMBER,
     .value = "X",
     .help =
         "or a directed similarity of activations over X, where a stitch knows it (default and least 0.6)"},
    {.name = "depth", .type = WORD_COUNT, .value = "N", .help = "N generations either way (default: all)"},
    {.name = "limit", .type = WORD_COUNT, .value = "N", .help = "at most N latents (default 200)"},
    {.name = NULL},
};
const struct command family_command = {
    .name = "family",
    .group = GROUP_EXPLORE,
    .summary = "show what a latent is split from in smaller SAEs, and into in larger ones",
    .description =
        "Parents are looked for in the next smaller SAE, theirs in the one before it, and so on; children "
        "likewise in larger ones. The tree shows each latent once, under its closest parent; edges "
        "are in JSON and TSV. A share is a directed similarity of activations.",
    .arguments = family_arguments,
    .options = family_options_spec,
    .cost = COST_QUERY,
    .needs_store = 1,
    .view = "family",
    .view_reads_options = 1,
    .run = run_family,
};
