/* SPDX-License-Identifier: GPL-3.0-or-later */
/* In which steps a stitch changes the small SAE into the large one. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_order.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

/* Something to be ordered: ascending keys, then ascending numbers. */
struct keyed {
    double key;
    uint32_t number;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->key < y->key || x->key > y->key)
        return x->key < y->key ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static void set_key(struct keyed *k, double key, size_t number)
{
    *k = (struct keyed){isnan(key) ? INFINITY : key, (uint32_t)number};
}

void step_order_free(struct step_order *o)
{
    free(o->large);
    free(o->small);
    *o = (struct step_order){0};
}

/* ---- Which latents are of which kind. ---- */

/* The numbers of members of each set, by its root. */
static uint32_t *set_sizes(struct stitch_groups *g, struct error *err)
{
    uint32_t *sizes = array_zeroed(g->n_large + g->n_small, sizeof(*sizes), "components", err);

    for (size_t i = 0; sizes && i < g->n_large + g->n_small; i++)
        sizes[stitch_groups_root(g, i)]++;
    return sizes;
}

/* Steps in the order of latents; `sizes` becomes each component's step, at its root. */
static void first_steps(struct step_order *o, struct stitch_groups *g, uint32_t *sizes)
{
    size_t n_large = g->n_large, next;

    for (size_t i = 0; i < n_large; i++)
        if (stitch_groups_root(g, i) == i && sizes[i] == 1)
            o->large[i] = (uint32_t)++o->n_inserts;
    for (size_t i = 0; i < n_large; i++)
        if (stitch_groups_root(g, i) == i && sizes[i] > 1)
            sizes[i] = (uint32_t)(o->n_inserts + ++o->n_swaps);
    next = o->n_inserts + o->n_swaps;
    for (size_t i = 0; i < n_large; i++)
        if (!o->large[i])
            o->large[i] = sizes[stitch_groups_root(g, i)];
    for (size_t j = 0; j < g->n_small; j++) {
        size_t root = stitch_groups_root(g, n_large + j);

        o->small[j] = root < n_large ? sizes[root] : (uint32_t)++next;
    }
    o->n_steps = next;
    o->n_removals = next - o->n_inserts - o->n_swaps;
}

int step_order_new(struct stitch_groups *g, struct step_order *o, struct error *err)
{
    uint32_t *sizes = set_sizes(g, err);

    *o = (struct step_order){.groups = g};
    o->large = array_zeroed(g->n_large, sizeof(*o->large), "steps", err);
    o->small = array_zeroed(g->n_small, sizeof(*o->small), "steps", err);
    if (sizes && o->large && o->small)
        first_steps(o, g, sizes);
    int status = sizes && o->large && o->small ? STATUS_OK : STATUS_FAILED;
    free(sizes);
    if (status)
        step_order_free(o);
    return status;
}

/* ---- Orders. ---- */

/* Steps (first, first + n] by ascending keys: to[old − first − 1] is the new one. */
static void sort_steps(struct keyed *keys, size_t first, size_t n, uint32_t *to)
{
    qsort(keys, n, sizeof(*keys), compare_keyed);
    for (size_t i = 0; i < n; i++)
        to[keys[i].number - first - 1] = (uint32_t)(first + i + 1);
}

static void shuffle_steps(struct rng *r, size_t first, size_t n, uint32_t *to)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint32_t)(first + i + 1);
    rng_shuffle(r, to, n);
}

/* keys of steps 1 … S; to[s − 1] for each. */
static void sort_all(const struct step_order *o, struct keyed *keys, uint32_t *to)
{
    size_t swaps = o->n_inserts, removals = swaps + o->n_swaps;

    sort_steps(keys, 0, o->n_inserts, to);
    sort_steps(keys + swaps, swaps, o->n_swaps, to + swaps);
    sort_steps(keys + removals, removals, o->n_removals, to + removals);
}

static void shuffle_all(const struct step_order *o, uint64_t seed, uint32_t *to)
{
    size_t swaps = o->n_inserts, removals = swaps + o->n_swaps;
    struct rng r;

    rng_seed(&r, seed, 0);
    shuffle_steps(&r, 0, o->n_inserts, to);
    shuffle_steps(&r, swaps, o->n_swaps, to + swaps);
    shuffle_steps(&r, removals, o->n_removals, to + removals);
}

/* The largest cosine of each step's large latents, where there are any. */
static void key_by_cosine(const struct step_order *o, const float *cosine, struct keyed *keys)
{
    for (size_t s = 0; s < o->n_inserts + o->n_swaps; s++)
        keys[s].key = -INFINITY;
    for (size_t i = 0; i < o->groups->n_large; i++)
        if ((double)cosine[i] > keys[o->large[i] - 1].key)
            keys[o->large[i] - 1].key = (double)cosine[i];
}

static void key_inserts_by_delta(const struct step_order *o, const double *delta, struct keyed *keys)
{
    for (size_t i = 0; i < o->groups->n_large; i++)
        if (o->large[i] <= o->n_inserts)
            set_key(&keys[o->large[i] - 1], delta[i], o->large[i]);
}

int step_order_sort(struct step_order *o, const struct step_keys *k, struct error *err)
{
    struct keyed *keys = array_alloc(o->n_steps, sizeof(*keys), "steps", err);
    uint32_t *to = array_alloc(o->n_steps, sizeof(*to), "steps", err);

    if (!keys || !to) {
        free(keys);
        free(to);
        return STATUS_FAILED;
    }
    for (size_t s = 1; s <= o->n_steps; s++)
        set_key(&keys[s - 1], k->change ? k->change[s] : 0, s);
    if (k->order == STITCH_ORDER_COSINE)
        key_by_cosine(o, k->max_cosine, keys);
    else
        key_inserts_by_delta(o, k->delta, keys);
    if (k->order == STITCH_ORDER_RANDOM)
        shuffle_all(o, k->seed, to);
    else
        sort_all(o, keys, to);
    for (size_t i = 0; i < o->groups->n_large; i++)
        o->large[i] = to[o->large[i] - 1];
    for (size_t j = 0; j < o->groups->n_small; j++)
        o->small[j] = to[o->small[j] - 1];
    free(keys);
    free(to);
    return STATUS_OK;
}

enum step_kind step_order_kind(const struct step_order *o, size_t step)
{
    if (step == 0)
        return STEP_START;
    if (step <= o->n_inserts)
        return STEP_INSERT;
    return step <= o->n_inserts + o->n_swaps ? STEP_SWAP : STEP_REMOVE;
}
