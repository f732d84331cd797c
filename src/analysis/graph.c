/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is around a latent: meta-latents and what they share it with, and its relatives in smaller SAEs. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/graph.h"
#include "saescope/analysis/hook_saes.h"
#include "saescope/base/memory.h"

const char *const graph_role_names[] = {"center", "part", "behind", "relative", NULL};

/* ---- Nodes and edges. ---- */

/* Arrays grow when their number is a power of two. */
static int is_full(size_t n)
{
    return (n & (n - 1)) == 0;
}

static size_t add_node(struct latent_graph *g, enum graph_role role, const struct artifact *sae,
                       size_t latent)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].sae.id == sae->id && g->nodes[i].latent == latent)
            return i;
    if (is_full(g->n_nodes))
        g->nodes = xreallocarray(g->nodes, g->n_nodes ? 2 * g->n_nodes : 1, sizeof *g->nodes);
    g->nodes[g->n_nodes] = (struct graph_node){.role = role, .sae = *sae, .latent = latent};
    return g->n_nodes++;
}

static void add_edge(struct latent_graph *g, size_t from, size_t to, int is_cosine, float weight)
{
    if (is_full(g->n_edges))
        g->edges = xreallocarray(g->edges, g->n_edges ? 2 * g->n_edges : 1, sizeof *g->edges);
    g->edges[g->n_edges++] = (struct graph_edge){from, to, is_cosine, weight};
}

static void add_part(struct latent_graph *g, const struct artifact *sae, size_t latent, float weight)
{
    add_edge(g, 0, add_node(g, GRAPH_PART, sae, latent), 0, weight);
    g->n_parts++;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

const struct graph_edge *graph_edges(const struct latent_graph *g, size_t node, size_t *n)
{
    const struct graph_edge *first = NULL;
    *n = 0;
    for (size_t i = 0; i < g->n_edges; i++)
        if (g->edges[i].from == node && !g->edges[i].is_cosine && (*n)++ == 0)
            first = &g->edges[i];
    return first;
}

const struct graph_edge *graph_relatives(const struct latent_graph *g, size_t *n)
{
    *n = g->n_relatives;
    return *n ? &g->edges[g->n_edges - *n] : NULL;
}

int graph_needs_name(const struct latent_graph *g, size_t node)
{
    int several = 0;
    for (size_t i = 2; i <= g->n_parts; i++)
        several |= g->nodes[i].sae.id != g->nodes[1].sae.id;
    return g->nodes[node].role == GRAPH_RELATIVE || (g->nodes[node].role == GRAPH_PART && several);
}

float graph_strongest(const struct latent_graph *g)
{
    float most = 0;
    for (size_t i = 0; i < g->n_edges; i++)
        if (!g->edges[i].is_cosine && g->edges[i].weight > most)
            most = g->edges[i].weight;
    return most;
}

/* ---- Around a latent: its meta-latents. ---- */

static void add_behind_meta(struct latent_graph *g, size_t part, const struct artifact *base,
                            const struct member_list *list, size_t count)
{
    size_t center = g->nodes[0].latent;
    for (size_t i = 0; i < list->n && count > 0; i++) {
        if (list->members[i].latent == center)
            continue;
        add_edge(g, part, add_node(g, GRAPH_BEHIND, base, list->members[i].latent), 0,
                 list->members[i].activation);
        count--;
    }
}

static int add_meta_latents(struct latent_graph *g, struct store_txn *t, const struct opened_sae *own,
                            const struct opened_sae *meta, const struct graph_options *o, struct monitor *m,
                            struct error *err)
{
    struct decomposition d;
    int status = decompose_latent(t, own->sae, meta->sae, g->nodes[0].latent, &d, err);
    if (status)
        return status;
    size_t n = smaller(d.n, o->parts);
    size_t *latents = xcalloc(n + 1, sizeof *latents);
    struct member_list *lists = xcalloc(n + 1, sizeof *lists);
    g->explained_variance = d.explained_variance;
    for (size_t i = 0; i < n; i++) {
        latents[i] = d.components[i].latent;
        add_part(g, &meta->facts.artifact, latents[i], d.components[i].activation);
    }
    if (o->behind > 0)
        status = meta_members_of_each(t, own->sae, meta->sae, latents, n, m, lists, err);
    for (size_t i = 0; !status && i < n; i++)
        add_behind_meta(g, 1 + i, &own->facts.artifact, &lists[i], o->behind);
    member_lists_free(lists, n);
    free(lists);
    free(latents);
    decomposition_free(&d);
    return status;
}

/* ---- Around a meta-latent: its members. ---- */

static int add_behind_member(struct latent_graph *g, struct store_txn *t, size_t part,
                             const struct opened_sae *base, const struct opened_sae *meta, size_t count,
                             struct error *err)
{
    struct decomposition d;
    int status = decompose_latent(t, base->sae, meta->sae, g->nodes[part].latent, &d, err);
    if (status)
        return status;
    for (size_t i = 0; i < d.n && count > 0; i++) {
        if (d.components[i].latent == g->nodes[0].latent)
            continue;
        add_edge(g, part, add_node(g, GRAPH_BEHIND, &meta->facts.artifact, d.components[i].latent), 0,
                 d.components[i].activation);
        count--;
    }
    decomposition_free(&d);
    return STATUS_OK;
}

/* The members may be of several SAEs, when the meta-SAE has several bases. */
static int add_behind_members(struct latent_graph *g, struct store_txn *t, const struct opened_sae *meta,
                              size_t count, struct monitor *m, struct error *err)
{
    struct opened_sae base = {0};
    int status = STATUS_OK;
    for (size_t part = 1; !status && part <= g->n_parts; part++) {
        artifact_id id = g->nodes[part].sae.id;
        if (!base.sae || base.facts.artifact.id != id) {
            opened_sae_close(&base);
            status = opened_sae_open(t, id, &base, err);
        }
        if (!status)
            status = monitor_check(m, err);
        if (!status)
            status = add_behind_member(g, t, part, &base, meta, count, err);
    }
    opened_sae_close(&base);
    return status;
}

static int add_members(struct latent_graph *g, struct store_txn *t, const struct opened_sae *meta,
                       const struct graph_options *o, struct monitor *m, struct error *err)
{
    struct member *members = NULL;
    struct artifact a;
    size_t n, n_rows;
    int status =
        meta_members_of_all(t, meta->facts.artifact.id, g->nodes[0].latent, 0, &members, &n, &n_rows, err);
    memcpy(g->meta, meta->facts.artifact.name, sizeof g->meta);
    g->of_meta = 1;
    for (size_t i = 0; !status && i < n && i < o->parts; i++) {
        status = store_get(t, members[i].sae, &a, err);
        if (!status)
            add_part(g, &a, members[i].latent, members[i].activation);
    }
    free(members);
    return status ? status : add_behind_members(g, t, meta, o->behind, m, err);
}

static int add_parts(struct latent_graph *g, struct store_txn *t, const struct opened_sae *own,
                     const struct graph_options *o, struct monitor *m, struct error *err)
{
    struct opened_sae meta;
    artifact_id id = o->meta ? o->meta : meta_sae_of(t, own->facts.artifact.id);
    if (own->facts.is_meta && !o->meta)
        return add_members(g, t, own, o, m, err);
    if (!id)
        return STATUS_OK;
    int status = opened_sae_open(t, id, &meta, err);
    if (status)
        return status;
    memcpy(g->meta, meta.facts.artifact.name, sizeof g->meta);
    if (sae_facts_has_base(&meta.facts, own->facts.artifact.id))
        status = add_meta_latents(g, t, own, &meta, o, m, err);
    else
        status = error_set(err, STATUS_REFUSED, "%s is no meta-SAE of %s", meta.facts.artifact.name,
                           own->facts.artifact.name);
    opened_sae_close(&meta);
    return status;
}

/* ---- Relatives: the nearest latent of every smaller SAE of the hook. ---- */

struct relative {
    struct artifact sae;
    struct neighbor nearest;
};

/* The width of the SAE whose latents these are; of meta-latents, that of the widest base at the bottom. */
static int home_width(struct store_txn *t, artifact_id sae, size_t *width, struct error *err)
{
    struct sae_facts facts;
    int status = sae_facts_read(t, sae, &facts, err);
    if (status)
        return status;
    if (!facts.is_meta && facts.d_sae > *width)
        *width = facts.d_sae;
    for (size_t i = 0; !status && facts.is_meta && i < facts.n_bases; i++)
        status = home_width(t, facts.bases[i], width, err);
    sae_facts_free(&facts);
    return status;
}

static int find_relative(struct store_txn *t, const struct hook_sae *sae, const float *direction,
                         struct relative *out, size_t *n, struct error *err)
{
    struct opened_sae in;
    int status = opened_sae_open(t, sae->artifact.id, &in, err);
    if (!status)
        status = latent_neighbors(in.sae, direction, SIZE_MAX, 1, &out->nearest, n, err);
    out->sae = sae->artifact;
    opened_sae_close(&in);
    return status;
}

static int compare_relatives(const void *a, const void *b)
{
    const struct relative *x = a, *y = b;
    if (x->nearest.cosine != y->nearest.cosine)
        return x->nearest.cosine < y->nearest.cosine ? 1 : -1;
    return strcmp(x->sae.name, y->sae.name);
}

static int add_relatives(struct latent_graph *g, struct store_txn *t, const struct opened_sae *own,
                         size_t count, struct monitor *m, struct error *err)
{
    struct hook_sae *all = NULL;
    size_t n = 0, n_found = 0, width = 0;
    int status = home_width(t, own->facts.artifact.id, &width, err);
    if (!status)
        status = hook_saes(t, &own->facts, &all, &n, err);
    struct relative *found = xcalloc(n + 1, sizeof *found);
    for (size_t i = 0; !status && i < n && all[i].d_sae < width; i++) {
        size_t one = 0;
        status = monitor_check(m, err);
        if (!status)
            status = find_relative(t, &all[i], sae_decoder_row(own->sae, g->nodes[0].latent), &found[n_found],
                                   &one, err);
        n_found += one;
    }
    qsort(found, n_found, sizeof *found, compare_relatives);
    for (size_t i = 0; !status && i < n_found && i < count; i++) {
        add_edge(g, 0, add_node(g, GRAPH_RELATIVE, &found[i].sae, found[i].nearest.latent), 1,
                 found[i].nearest.cosine);
        g->n_relatives++;
    }
    free(found);
    free(all);
    return status;
}

/* ---- All of it. ---- */

int latent_graph_label(struct latent_graph *g, struct store_txn *t, struct error *err)
{
    struct label label;
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct graph_node *node = &g->nodes[i];
        free(node->label);
        node->label = NULL;
        int status = store_label(t, node->sae.id, node->latent, &label, err);
        if (status)
            return status;
        if (!label.text)
            continue;
        node->label = xmalloc(label.n + 1);
        memcpy(node->label, label.text, label.n);
        node->label[label.n] = '\0';
        node->n_label = label.n;
    }
    return STATUS_OK;
}

int latent_graph_make(struct store_txn *t, const struct address *at, const struct graph_options *o,
                      struct monitor *m, struct latent_graph *out, struct error *err)
{
    struct opened_sae own;
    memset(out, 0, sizeof *out);
    out->explained_variance = NAN;
    int status = opened_sae_open(t, at->sae.id, &own, err);
    if (status)
        return status;
    add_node(out, GRAPH_CENTER, &at->sae, at->latent);
    status = add_parts(out, t, &own, o, m, err);
    if (!status && o->relatives > 0)
        status = add_relatives(out, t, &own, o->relatives, m, err);
    if (!status)
        status = latent_graph_label(out, t, err);
    opened_sae_close(&own);
    if (status)
        latent_graph_free(out);
    return status;
}

void latent_graph_free(struct latent_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        free(g->nodes[i].label);
    free(g->nodes);
    free(g->edges);
    memset(g, 0, sizeof *g);
}
