/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A family as a tree. Columns bound its depth, so that recursion is shallow. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/family_layout.h"
#include "saescope/base/memory.h"

struct sibling {
    uint32_t node, parent;
    float strength;
};

/* By parent, then the strongest first. */
static int by_parent(const void *a, const void *b)
{
    const struct sibling *x = a, *y = b;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    if (x->strength != y->strength)
        return x->strength < y->strength ? 1 : -1;
    return (x->node > y->node) - (x->node < y->node);
}

static void choose_parents(const struct family *f, struct family_layout *l)
{
    for (size_t i = 0; i < l->n_nodes; i++)
        l->edge[i] = FAMILY_NONE;
    for (size_t e = 0; e < f->n_edges; e++) {
        uint32_t *best = &l->edge[f->edges[e].to];
        if (*best == FAMILY_NONE || family_strength(&f->edges[e]) > family_strength(&f->edges[*best]))
            *best = (uint32_t)e;
    }
}

struct placing {
    struct family_layout *layout;
    const struct sibling *siblings;
    const uint32_t *first; /* of a node: its first child among the siblings */
    size_t n_placed;
};

static void place(struct placing *p, uint32_t node, uint32_t depth)
{
    struct family_layout *l = p->layout;
    l->order[p->n_placed++] = node;
    l->depth[node] = depth;
    l->row[node] = (uint32_t)l->n_rows;
    for (uint32_t i = 0; i < l->children[node]; i++)
        place(p, p->siblings[p->first[node] + i].node, depth + 1);
    if (l->children[node] == 0)
        l->n_rows++;
}

void family_layout_make(const struct family *f, struct family_layout *out)
{
    size_t n = f->n_nodes, n_siblings = 0;
    *out = (struct family_layout){.n_nodes = n};
    uint32_t **arrays[] = {&out->order, &out->edge, &out->depth, &out->row, &out->children};
    for (size_t i = 0; i < ARRAY_LENGTH(arrays); i++)
        *arrays[i] = xcalloc(n ? n : 1, sizeof(uint32_t));
    struct sibling *siblings = xcalloc(n ? n : 1, sizeof *siblings);
    uint32_t *first = xcalloc(n ? n : 1, sizeof *first);
    choose_parents(f, out);
    for (size_t i = 0; i < n; i++)
        if (out->edge[i] != FAMILY_NONE) {
            const struct family_edge *e = &f->edges[out->edge[i]];
            siblings[n_siblings++] = (struct sibling){(uint32_t)i, e->from, family_strength(e)};
            out->children[e->from]++;
        }
    if (n_siblings > 0)
        qsort(siblings, n_siblings, sizeof *siblings, by_parent);
    for (size_t i = n_siblings; i-- > 0;)
        first[siblings[i].parent] = (uint32_t)i;
    struct placing p = {out, siblings, first, 0};
    for (size_t i = 0; i < n; i++)
        if (out->edge[i] == FAMILY_NONE)
            place(&p, (uint32_t)i, 0);
    free(siblings);
    free(first);
}

void family_layout_free(struct family_layout *l)
{
    free(l->order);
    free(l->edge);
    free(l->depth);
    free(l->row);
    free(l->children);
    memset(l, 0, sizeof *l);
}
