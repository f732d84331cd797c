/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ancestors and descendants of a latent, one generation after the other. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cosine_pairs.h"
#include "saescope/analysis/family.h"
#include "saescope/base/memory.h"

#define PAIRS_MAX      ((size_t)1 << 20)
#define RECORDS_A_LOOK 8192
#define NO_NODE        UINT32_MAX

/* A pair of adjacent SAEs' latents. */
struct link {
    uint32_t small, large;
    float cosine, share;
};
struct links {
    struct link *items;
    size_t n, capacity;
};

struct walk {
    struct store_txn *t;
    const struct family_options *options;
    struct monitor *monitor;
    struct family *family;
    struct sae **saes;  /* [n_columns] */
    uint32_t **node_of; /* [n_columns][width]: NO_NODE where a latent is none */
    size_t node_capacity, edge_capacity;
};

float family_strength(const struct family_edge *e)
{
    return e->share > e->cosine ? e->share : e->cosine;
}

/* ---- Pairs. ---- */

static void add_link(struct links *l, struct link link)
{
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->items = xreallocarray(l->items, l->capacity, sizeof *l->items);
    }
    l->items[l->n++] = link;
}

/* The decoder rows of a column's nodes, and their numbers. */
static int gather_rows(const struct walk *w, size_t column, float **rows, uint32_t **latents, size_t *n,
                       struct error *err)
{
    const struct family *f = w->family;
    const struct sae *sae = w->saes[column];
    *n = 0;
    *rows = array_alloc(f->n_nodes, sae->d_in * sizeof(float), "decoder rows", err);
    *latents = array_alloc(f->n_nodes, sizeof **latents, "latents", err);
    if (!*rows || !*latents)
        return STATUS_FAILED;
    for (size_t i = 0; i < f->n_nodes; i++)
        if (f->nodes[i].column == column) {
            memcpy(*rows + *n * sae->d_in, sae_decoder_row(sae, f->nodes[i].latent),
                   sae->d_in * sizeof(float));
            (*latents)[(*n)++] = f->nodes[i].latent;
        }
    return STATUS_OK;
}

/* Pairs of the nodes of column `from` with latents of the adjacent column `to`, by their decoder rows. */
static int link_by_cosine(const struct walk *w, size_t from, size_t to, struct links *out, struct error *err)
{
    float *rows = NULL;
    uint32_t *latents = NULL;
    struct cosine_pairs pairs = {0};
    size_t n;
    int status = gather_rows(w, from, &rows, &latents, &n, err);
    if (!status)
        status =
            cosine_pairs_find(rows, n, w->saes[to], w->options->cosine, PAIRS_MAX, w->monitor, &pairs, err);
    for (size_t i = 0; i < pairs.n; i++) {
        uint32_t known = latents[pairs.items[i].row], other = pairs.items[i].latent;
        add_link(out, (struct link){from < to ? known : other, from < to ? other : known,
                                    pairs.items[i].cosine, NAN});
    }
    cosine_pairs_free(&pairs);
    free(rows);
    free(latents);
    return status;
}

/* A large latent's recorded parents: all of them, or those that are nodes. */
static int link_parents(const struct walk *w, size_t small, size_t latent, int all, struct links *out,
                        struct error *err)
{
    const struct family_column *columns = w->family->columns;
    struct stitch_parent *parents;
    size_t n;
    int status = stitch_parents_read(w->t, columns[small + 1].stitch, latent, &parents, &n, err);
    for (size_t i = 0; !status && i < n; i++) {
        if (parents[i].latent >= columns[small].width)
            status = error_set(err, STATUS_STORE,
                               "the parents of latent %zu are damaged: make the stitch anew", latent);
        else if (all || w->node_of[small][parents[i].latent] != NO_NODE)
            add_link(out, (struct link){parents[i].latent, (uint32_t)latent, parents[i].cosine,
                                        parents[i].similarity});
    }
    free(parents);
    return status;
}

/* What the stitch of the two columns knows of the nodes of `from`. */
static int link_by_stitch(const struct walk *w, size_t from, size_t to, struct links *out, struct error *err)
{
    const struct family *f = w->family;
    size_t small = from < to ? from : to, large = small + 1;
    int status = STATUS_OK;
    if (!f->columns[large].stitch)
        return STATUS_OK;
    if (from == large) {
        for (size_t i = 0; !status && i < f->n_nodes; i++)
            if (f->nodes[i].column == from)
                status = link_parents(w, small, f->nodes[i].latent, 1, out, err);
        return status;
    }
    for (size_t i = 0; !status && i < f->columns[large].width; i++) {
        status = link_parents(w, small, i, 0, out, err);
        if (!status && (i + 1) % RECORDS_A_LOOK == 0)
            status = monitor_check(w->monitor, err);
    }
    return status;
}

static int by_latents(const void *a, const void *b)
{
    const struct link *x = a, *y = b;
    if (x->small != y->small)
        return x->small < y->small ? -1 : 1;
    return (x->large > y->large) - (x->large < y->large);
}

/* A pair that both know is one, with what either knows; those that make an edge stay. */
static void merge_links(struct links *l, const struct family_options *o)
{
    size_t n = 0;
    if (l->n == 0)
        return;
    qsort(l->items, l->n, sizeof *l->items, by_latents);
    for (size_t i = 0; i < l->n; i++) {
        struct link link = l->items[i];
        for (; i + 1 < l->n && by_latents(&link, &l->items[i + 1]) == 0; i++)
            if (isnan(link.share))
                link.share = l->items[i + 1].share;
        if ((double)link.cosine > o->cosine || (double)link.share > o->similarity)
            l->items[n++] = link;
    }
    l->n = n;
}

/* ---- Nodes and edges. ---- */

static void add_node(struct walk *w, size_t column, uint32_t latent)
{
    struct family *f = w->family;
    if (f->n_nodes == w->node_capacity) {
        w->node_capacity = w->node_capacity ? 2 * w->node_capacity : 16;
        f->nodes = xreallocarray(f->nodes, w->node_capacity, sizeof *f->nodes);
    }
    w->node_of[column][latent] = (uint32_t)f->n_nodes;
    f->nodes[f->n_nodes++] = (struct family_node){.column = (uint32_t)column, .latent = latent};
}

static void add_edge(struct walk *w, struct family_edge edge)
{
    struct family *f = w->family;
    if (f->n_edges == w->edge_capacity) {
        w->edge_capacity = w->edge_capacity ? 2 * w->edge_capacity : 16;
        f->edges = xreallocarray(f->edges, w->edge_capacity, sizeof *f->edges);
    }
    f->edges[f->n_edges++] = edge;
}

struct newcomer {
    uint32_t latent;
    float strength;
};

static int by_newcomer(const void *a, const void *b)
{
    const struct newcomer *x = a, *y = b;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static int by_strength(const void *a, const void *b)
{
    const struct newcomer *x = a, *y = b;
    if (x->strength != y->strength)
        return x->strength < y->strength ? 1 : -1;
    return by_newcomer(a, b);
}

/* The latents of column `to` that the links lead to become nodes: the strongest, as many as there is room
 * for. */
static void take_newcomers(struct walk *w, size_t to, int upwards, const struct links *l)
{
    struct newcomer *list = xcalloc(l->n ? l->n : 1, sizeof *list);
    size_t n = 0, room = w->options->limit - w->family->n_nodes;
    for (size_t i = 0; i < l->n; i++) {
        struct family_edge edge = {.cosine = l->items[i].cosine, .share = l->items[i].share};
        list[n++] =
            (struct newcomer){upwards ? l->items[i].small : l->items[i].large, family_strength(&edge)};
    }
    qsort(list, n, sizeof *list, by_newcomer);
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) {
        if (distinct > 0 && list[distinct - 1].latent == list[i].latent) {
            if (list[i].strength > list[distinct - 1].strength)
                list[distinct - 1].strength = list[i].strength;
        } else {
            list[distinct++] = list[i];
        }
    }
    if (distinct > room) {
        qsort(list, distinct, sizeof *list, by_strength);
        distinct = room;
        w->family->truncated = 1;
    }
    for (size_t i = 0; i < distinct; i++)
        add_node(w, to, list[i].latent);
    free(list);
}

/* From the nodes of one column to their parents or children in an adjacent one. */
static int generation(struct walk *w, size_t from, size_t to, struct error *err)
{
    size_t small = from < to ? from : to;
    struct links links = {0};
    int status = link_by_cosine(w, from, to, &links, err);
    if (!status)
        status = link_by_stitch(w, from, to, &links, err);
    if (!status) {
        merge_links(&links, w->options);
        take_newcomers(w, to, to < from, &links);
        for (size_t i = 0; i < links.n; i++) {
            const struct link *l = &links.items[i];
            uint32_t parent = w->node_of[small][l->small], child = w->node_of[small + 1][l->large];
            if (parent != NO_NODE && child != NO_NODE)
                add_edge(w, (struct family_edge){parent, child, l->cosine, l->share});
        }
    }
    free(links.items);
    return status;
}

static int walk_from(struct walk *w, size_t column, int step, struct error *err)
{
    const struct family *f = w->family;
    size_t generations = 0, before = 0;
    int status = STATUS_OK;
    while (!status && (step < 0 ? column > 0 : column + 1 < f->n_columns) && f->n_nodes > before &&
           (w->options->depth == 0 || generations < w->options->depth)) {
        size_t to = step < 0 ? column - 1 : column + 1;
        before = f->n_nodes;
        status = generation(w, column, to, err);
        column = to;
        generations++;
    }
    return status;
}

/* ---- In order. ---- */

static int by_place(const void *a, const void *b)
{
    const struct family_node *x = a, *y = b;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static int by_nodes(const void *a, const void *b)
{
    const struct family_edge *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

static void put_in_order(struct walk *w)
{
    struct family *f = w->family;
    struct family_node *old = xcalloc(f->n_nodes, sizeof *old), asked = f->nodes[f->asked];
    memcpy(old, f->nodes, f->n_nodes * sizeof *old);
    qsort(f->nodes, f->n_nodes, sizeof *f->nodes, by_place);
    for (size_t i = 0; i < f->n_nodes; i++)
        w->node_of[f->nodes[i].column][f->nodes[i].latent] = (uint32_t)i;
    for (size_t i = 0; i < f->n_edges; i++) {
        f->edges[i].from = w->node_of[old[f->edges[i].from].column][old[f->edges[i].from].latent];
        f->edges[i].to = w->node_of[old[f->edges[i].to].column][old[f->edges[i].to].latent];
    }
    if (f->n_edges > 0)
        qsort(f->edges, f->n_edges, sizeof *f->edges, by_nodes);
    f->asked = w->node_of[asked.column][asked.latent];
    free(old);
}

/* ---- Meta-latents. ---- */

static int share_out(struct walk *w, const struct sae *meta, struct family_node *node, struct error *err)
{
    struct decomposition d;
    double sum = 0;
    int status = decompose_latent(w->t, w->saes[node->column], meta, node->latent, &d, err);
    if (status)
        return status;
    for (size_t i = 0; i < d.n; i++)
        sum += (double)d.components[i].activation;
    node->meta = xcalloc(d.n ? d.n : 1, sizeof *node->meta);
    for (size_t i = 0; i < d.n && sum > 0; i++)
        node->meta[node->n_meta++] = (struct family_share){(uint32_t)d.components[i].latent,
                                                           (float)((double)d.components[i].activation / sum)};
    decomposition_free(&d);
    return monitor_check(w->monitor, err);
}

static int read_shares(struct walk *w, struct error *err)
{
    struct family *f = w->family;
    int status = STATUS_OK;
    for (size_t c = 0; !status && c < f->n_columns; c++) {
        struct sae *meta = NULL;
        artifact_id id = meta_sae_of(w->t, f->columns[c].sae.id);
        if (!id)
            continue;
        status = store_get(w->t, id, &f->columns[c].meta, err);
        if (!status)
            status = sae_open(w->t, id, &meta, err);
        for (size_t i = 0; !status && i < f->n_nodes; i++)
            if (f->nodes[i].column == c)
                status = share_out(w, meta, &f->nodes[i], err);
        sae_free(meta);
    }
    return status;
}

/* ---- The whole. ---- */

static int check_options(const struct family_options *o, struct error *err)
{
    if (!(o->cosine > 0 && o->cosine <= 1))
        return error_set(err, STATUS_USAGE, "a cosine threshold is over 0 and at most 1, not %g", o->cosine);
    if (!(o->similarity >= PARENT_SIMILARITY && o->similarity <= 1))
        return error_set(err, STATUS_USAGE,
                         "a similarity threshold is from %g, below which stitches keep none, to 1, not %g",
                         PARENT_SIMILARITY, o->similarity);
    if (o->limit == 0 || o->limit > FAMILY_LIMIT_MAX)
        return error_set(err, STATUS_USAGE, "a family has room for 1 to %d latents, not %zu",
                         FAMILY_LIMIT_MAX, o->limit);
    return STATUS_OK;
}

static int open_columns(struct walk *w, struct error *err)
{
    const struct family *f = w->family;
    int status = STATUS_OK;
    w->saes = xcalloc(f->n_columns, sizeof *w->saes);
    w->node_of = xcalloc(f->n_columns, sizeof *w->node_of);
    for (size_t c = 0; !status && c < f->n_columns; c++) {
        status = sae_open(w->t, f->columns[c].sae.id, &w->saes[c], err);
        if (status)
            break;
        w->node_of[c] = array_alloc(f->columns[c].width, sizeof(uint32_t), "latents", err);
        if (!w->node_of[c])
            return STATUS_FAILED;
        memset(w->node_of[c], 0xFF, f->columns[c].width * sizeof(uint32_t));
    }
    return status;
}

static void close_columns(struct walk *w)
{
    for (size_t c = 0; w->saes && c < w->family->n_columns; c++) {
        sae_free(w->saes[c]);
        free(w->node_of[c]);
    }
    free(w->saes);
    free(w->node_of);
}

int family_read(struct store_txn *t, const struct address *at, const struct family_options *o,
                struct monitor *m, struct family **out, struct error *err)
{
    struct family *f = xcalloc(1, sizeof *f);
    struct walk w = {.t = t, .options = o, .monitor = m, .family = f};
    size_t own = 0;
    *out = NULL;
    int status = check_options(o, err);
    if (!status)
        status = family_columns(t, at->sae.id, o->saes, &f->columns, &f->n_columns, err);
    if (!status)
        status = open_columns(&w, err);
    if (!status) {
        while (f->columns[own].sae.id != at->sae.id)
            own++;
        add_node(&w, own, (uint32_t)at->latent);
        status = walk_from(&w, own, -1, err);
    }
    if (!status)
        status = walk_from(&w, own, 1, err);
    if (!status) {
        put_in_order(&w);
        status = read_shares(&w, err);
    }
    close_columns(&w);
    if (status)
        family_free(f);
    else
        *out = f;
    return status;
}

void family_free(struct family *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_nodes; i++)
        free(f->nodes[i].meta);
    free(f->nodes);
    free(f->edges);
    free(f->columns);
    free(f);
}
