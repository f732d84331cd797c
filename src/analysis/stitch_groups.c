/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The components of the graph of partners: union-find over the large SAE's latents, then the small one's. A
 * set's root is its lowest member, so that a component's root is its lowest large latent.
 */
#include "config.h"

#include <stdlib.h>

#include "saescope/analysis/nearest.h"
#include "saescope/analysis/stitch_parts.h"
#include "saescope/base/memory.h"

int stitch_groups_new(size_t n_large, size_t n_small, struct stitch_groups **out, struct error *err)
{
    struct stitch_groups *g;

    *out = NULL;
    if (n_large > INT32_MAX || n_small > INT32_MAX)
        return error_set(err, STATUS_REFUSED, "SAEs of %zu and %zu latents are too large", n_large, n_small);
    g = xcalloc(1, sizeof(*g));
    g->n_large = n_large;
    g->n_small = n_small;
    g->parents = array_alloc(n_large + n_small, sizeof(*g->parents), "the graph of partners", err);
    if (!g->parents) {
        stitch_groups_free(g);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < n_large + n_small; i++)
        g->parents[i] = (uint32_t)i;
    *out = g;
    return STATUS_OK;
}

void stitch_groups_free(struct stitch_groups *g)
{
    if (!g)
        return;
    free(g->parents);
    free(g);
}

size_t stitch_groups_root(struct stitch_groups *g, size_t member)
{
    uint32_t *p = g->parents, i = (uint32_t)member;

    for (; p[i] != i; i = p[i])
        p[i] = p[p[i]];
    return i;
}

void stitch_groups_join(struct stitch_groups *g, uint32_t large, uint32_t small)
{
    size_t a = stitch_groups_root(g, large), b = stitch_groups_root(g, g->n_large + small);

    g->parents[a < b ? b : a] = (uint32_t)(a < b ? a : b);
}

static void join_pair(void *arg, size_t large, size_t small, float cosine)
{
    (void)cosine;
    stitch_groups_join(arg, (uint32_t)large, (uint32_t)small);
}

int stitch_groups_find(struct stitch_groups *g, const struct sae *large, const struct sae *small,
                       double threshold, struct monitor *m, uint32_t *nearest, float *max_cosine,
                       struct error *err)
{
    const struct near_pairs pairs = {threshold, join_pair, g};

    if (large->d_sae != g->n_large || small->d_sae != g->n_small)
        return error_set(err, STATUS_FAILED, "the graph of partners is that of other SAEs");
    return nearest_rows_and_pairs(large, small, 1, m, nearest, max_cosine, &pairs, err);
}

/* ---- What the components are like. ---- */

static int compare_shapes(const void *a, const void *b)
{
    const struct component_shape *x = a, *y = b;

    if (x->small != y->small)
        return x->small < y->small ? -1 : 1;
    return (x->large > y->large) - (x->large < y->large);
}

/* Equal neighbours become one. */
static size_t unite_shapes(struct component_shape *shapes, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (kept && compare_shapes(&shapes[kept - 1], &shapes[i]) == 0)
            shapes[kept - 1].count += shapes[i].count;
        else
            shapes[kept++] = shapes[i];
    }
    return kept;
}

int stitch_components_of(struct stitch_groups *g, struct stitch_components *out, struct error *err)
{
    size_t n = 0;
    struct component_shape *shapes = array_zeroed(g->n_large, sizeof(*shapes), "components", err);

    *out = (struct stitch_components){.shapes = shapes};
    if (!shapes)
        return STATUS_FAILED;
    for (size_t i = 0; i < g->n_large; i++)
        shapes[stitch_groups_root(g, i)].large++;
    for (size_t j = 0; j < g->n_small; j++) {
        size_t root = stitch_groups_root(g, g->n_large + j);

        if (root < g->n_large)
            shapes[root].small++;
    }
    for (size_t i = 0; i < g->n_large; i++) {
        struct component_shape s = shapes[i];

        if (s.small == 0)
            continue;
        s.count = 1;
        out->partnered[0] += s.small;
        out->partnered[1] += s.large;
        if ((size_t)s.small + s.large > out->largest[0] + out->largest[1]) {
            out->largest[0] = s.small;
            out->largest[1] = s.large;
        }
        shapes[n++] = s;
    }
    out->n = n;
    qsort(shapes, n, sizeof(*shapes), compare_shapes);
    out->n_shapes = unite_shapes(shapes, n);
    return STATUS_OK;
}

void stitch_components_free(struct stitch_components *c)
{
    free(c->shapes);
    *c = (struct stitch_components){0};
}

static json *shape_json(size_t small, size_t large)
{
    json *shape = json_new_object();

    json_set(shape, "small", json_new_integer((long long)small));
    json_set(shape, "large", json_new_integer((long long)large));
    return shape;
}

json *stitch_components_json(const struct stitch_components *c)
{
    json *j = json_new_object(), *sizes = json_new_array();

    json_set(j, "count", json_new_integer((long long)c->n));
    json_set(j, "small", json_new_integer((long long)c->partnered[0]));
    json_set(j, "large", json_new_integer((long long)c->partnered[1]));
    json_set(j, "largest", shape_json(c->largest[0], c->largest[1]));
    for (size_t i = 0; i < c->n_shapes; i++) {
        json *shape = shape_json(c->shapes[i].small, c->shapes[i].large);

        json_set(shape, "count", json_new_integer((long long)c->shapes[i].count));
        json_append(sizes, shape);
    }
    json_set(j, "sizes", sizes);
    return j;
}
