/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The path of a stitch over planted activations, against one that is walked here from nothing: at every step
 * x̂ is added up anew from the latents that are in, in float64.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_parts.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"

static struct error err;

enum { D = 12, SMALL = 14, LARGE = 23, TOKENS = 2300, STEPS_MAX = SMALL + LARGE };

#define THRESHOLD 0.7

/* What is planted: activations of both SAEs, the input, and what of it the small SAE leaves. */
struct plant {
    struct sae *small, *large;
    double x[TOKENS][D], scale[TOKENS];
    float f_small[TOKENS][SMALL], f_large[TOKENS][LARGE], residual[TOKENS][D];
    struct token_spool *tokens;
    struct stitch_groups *groups;
    uint32_t nearest[LARGE];
    float max_cosine[LARGE];
    double delta[LARGE], centred;
};

/* ---- Planting. ---- */

static void random_row(struct rng *r, float *row, const float *near_to, double noise)
{
    for (size_t i = 0; i < D; i++)
        row[i] = (near_to ? near_to[i] : 0) + (float)(noise * rng_normal(r));
}

/* Large latents 0–9 are near small ones (0 and 1 near 0; 2 near both 1 and 2), some at both sides are alone.
 */
static void plant_decoders(struct plant *p, struct rng *r)
{
    float *small = p->small->owned_W_dec, *large = p->large->owned_W_dec;

    for (size_t j = 0; j < SMALL; j++)
        random_row(r, small + j * D, NULL, 0.3);
    for (size_t k = 0; k < D; k++)
        small[2 * D + k] += 0.5F * small[1 * D + k];
    for (size_t i = 0; i < LARGE; i++)
        random_row(r, large + i * D, i < 10 ? small + (i / 2) * D : NULL, i < 10 ? 0.1 : 0.3);
    for (size_t k = 0; k < D; k++)
        large[2 * D + k] = small[1 * D + k] + small[2 * D + k];
    for (size_t k = 0; k < D; k++) {
        p->small->b_dec[k] = (float)rng_normal(r);
        p->large->b_dec[k] = p->small->b_dec[k] + (float)(0.5 * rng_normal(r));
    }
}

static float random_activation(struct rng *r, double density)
{
    return rng_uniform(r) < density ? (float)(0.2 + rng_uniform(r)) : 0;
}

static void plant_tokens(struct plant *p, struct rng *r, int with_scales)
{
    for (size_t t = 0; t < TOKENS; t++) {
        double hat[D];

        p->scale[t] = with_scales ? 0.5 + rng_uniform(r) : 1;
        for (size_t j = 0; j < SMALL; j++)
            p->f_small[t][j] = random_activation(r, j == 3 ? 0 : 0.25);
        for (size_t i = 0; i < LARGE; i++)
            p->f_large[t][i] = random_activation(r, i == 17 ? 0 : 0.2);
        for (size_t k = 0; k < D; k++) {
            hat[k] = (double)p->small->b_dec[k];
            p->x[t][k] = (double)p->large->b_dec[k] + 0.3 * rng_normal(r);
            for (size_t j = 0; j < SMALL; j++)
                hat[k] += (double)p->f_small[t][j] * (double)p->small->owned_W_dec[j * D + k];
            for (size_t i = 0; i < LARGE; i++)
                p->x[t][k] += (double)p->f_large[t][i] * (double)p->large->owned_W_dec[i * D + k];
            p->residual[t][k] = (float)(p->x[t][k] - p->scale[t] * hat[k]);
        }
    }
}

static struct sparse_rows sparse_of(const float *f, size_t n, size_t width)
{
    struct sparse_rows rows = {0};
    size_t at = 0;

    assert_ok(sparse_rows_reserve(&rows, n, n * width, &err));
    rows.n_rows = n;
    rows.offsets[0] = 0;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < width; i++)
            if (f[t * width + i] > 0) {
                rows.latents[at] = (uint32_t)i;
                rows.values[at++] = f[t * width + i];
            }
        rows.offsets[t + 1] = at;
    }
    return rows;
}

static void spool_tokens(struct plant *p, int with_scales)
{
    uint32_t contexts[TOKENS] = {0};
    float scales[TOKENS];
    struct sparse_rows small = sparse_of(p->f_small[0], TOKENS, SMALL),
                       large = sparse_of(p->f_large[0], TOKENS, LARGE);

    for (size_t t = 0; t < TOKENS; t++)
        scales[t] = (float)p->scale[t];
    assert_ok(token_spool_open(test_directory, D, with_scales, &p->tokens, &err));
    assert_ok(token_spool_add(p->tokens, TOKENS, p->residual[0], scales, contexts, &small, &large, &err));
    assert_ok(token_spool_map(p->tokens, &err));
    sparse_rows_free(&small);
    sparse_rows_free(&large);
}

/* Σ‖x − x̂‖² with these latents, each token's x̂ added up from nothing. */
static double brute_sse(const struct plant *p, const int *in_small, const int *in_large, double share)
{
    double sse = 0;

    for (size_t t = 0; t < TOKENS; t++)
        for (size_t k = 0; k < D; k++) {
            double hat = (1 - share) * (double)p->small->b_dec[k] + share * (double)p->large->b_dec[k], e;

            for (size_t j = 0; j < SMALL; j++)
                hat += in_small[j] ? (double)p->f_small[t][j] * (double)p->small->owned_W_dec[j * D + k] : 0;
            for (size_t i = 0; i < LARGE; i++)
                hat += in_large[i] ? (double)p->f_large[t][i] * (double)p->large->owned_W_dec[i * D + k] : 0;
            e = p->x[t][k] - p->scale[t] * hat;
            sse += e * e;
        }
    return sse;
}

static void measure_plant(struct plant *p)
{
    int in_small[SMALL], in_large[LARGE] = {0};
    double start, mean[D] = {0};

    for (size_t j = 0; j < SMALL; j++)
        in_small[j] = 1;
    start = brute_sse(p, in_small, in_large, 0);
    for (size_t i = 0; i < LARGE; i++) {
        in_large[i] = 1;
        p->delta[i] = brute_sse(p, in_small, in_large, 0) - start;
        in_large[i] = 0;
    }
    p->centred = 0;
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t k = 0; k < D; k++)
            mean[k] += p->x[t][k] / TOKENS;
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t k = 0; k < D; k++)
            p->centred += (p->x[t][k] - mean[k]) * (p->x[t][k] - mean[k]);
}

static struct plant *new_plant(uint64_t seed, double threshold, int with_scales)
{
    struct plant *p = xcalloc(1, sizeof(*p));
    struct rng r;

    rng_seed(&r, seed, 0);
    p->small = new_sae("standard", D, SMALL);
    p->large = new_sae("standard", D, LARGE);
    plant_decoders(p, &r);
    plant_tokens(p, &r, with_scales);
    spool_tokens(p, with_scales);
    measure_plant(p);
    assert_ok(stitch_groups_new(LARGE, SMALL, &p->groups, &err));
    assert_ok(
        stitch_groups_find(p->groups, p->large, p->small, threshold, NULL, p->nearest, p->max_cosine, &err));
    return p;
}

static void free_plant(struct plant *p)
{
    sae_free(p->small);
    sae_free(p->large);
    token_spool_close(p->tokens);
    stitch_groups_free(p->groups);
    free(p);
}

static struct stitch_path walk(const struct plant *p, enum stitch_bias bias, enum stitch_order order,
                               uint64_t seed)
{
    const struct stitch_path_input in = {.small = p->small,
                                         .large = p->large,
                                         .tokens = p->tokens,
                                         .groups = p->groups,
                                         .max_cosine = p->max_cosine,
                                         .delta = p->delta,
                                         .centred = p->centred,
                                         .bias = bias,
                                         .order = order,
                                         .seed = seed};
    struct stitch_path path;

    assert_ok(stitch_path_compute(&in, NULL, &path, &err));
    return path;
}

/* ---- The graph, by its definition. ---- */

static double cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;

    for (size_t k = 0; k < D; k++) {
        ab += (double)a[k] * (double)b[k];
        aa += (double)a[k] * (double)a[k];
        bb += (double)b[k] * (double)b[k];
    }
    return ab / sqrt(aa * bb);
}

/* component[LARGE + SMALL]: the lowest member that is reached; returns whether each has a partner. */
static void brute_components(const struct plant *p, double threshold, size_t *component, int *partnered)
{
    int changed = 1;

    for (size_t i = 0; i < LARGE + SMALL; i++) {
        component[i] = i;
        partnered[i] = 0;
    }
    while (changed) {
        changed = 0;
        for (size_t i = 0; i < LARGE; i++)
            for (size_t j = 0; j < SMALL; j++) {
                size_t a = component[i], b = component[LARGE + j], lower = a < b ? a : b;

                if (cosine(p->large->owned_W_dec + i * D, p->small->owned_W_dec + j * D) <= threshold)
                    continue;
                partnered[i] = partnered[LARGE + j] = 1;
                changed |= a != b;
                component[i] = component[LARGE + j] = lower;
            }
    }
}

static void test_groups(void **state)
{
    const double thresholds[] = {0.05, 0.3, THRESHOLD, 0.9, 0.9999};
    size_t component[LARGE + SMALL], distinct = 0;
    int partnered[LARGE + SMALL];

    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(thresholds); k++) {
        struct plant *p = new_plant(3, thresholds[k], 0);
        struct stitch_components c;
        size_t n = 0, n_partnered[2] = {0};

        brute_components(p, thresholds[k], component, partnered);
        for (size_t a = 0; a < LARGE + SMALL; a++) {
            assert_int_equal(stitch_groups_root(p->groups, a), component[a]);
            n += component[a] == a && partnered[a];
            n_partnered[a < LARGE] += (size_t)partnered[a];
        }
        assert_ok(stitch_components_of(p->groups, &c, &err));
        assert_int_equal(c.n, n);
        assert_int_equal(c.partnered[0], n_partnered[0]);
        assert_int_equal(c.partnered[1], n_partnered[1]);
        n = n_partnered[0] = n_partnered[1] = 0;
        for (size_t i = 0; i < c.n_shapes; i++) {
            n += c.shapes[i].count;
            n_partnered[0] += c.shapes[i].count * c.shapes[i].small;
            n_partnered[1] += c.shapes[i].count * c.shapes[i].large;
            assert_true(c.shapes[i].small > 0 && c.shapes[i].large > 0);
            assert_true(c.shapes[i].small + c.shapes[i].large <= c.largest[0] + c.largest[1]);
        }
        assert_int_equal(c.n, n);
        assert_int_equal(c.partnered[0], n_partnered[0]);
        assert_int_equal(c.partnered[1], n_partnered[1]);
        distinct += n > 0;
        stitch_components_free(&c);
        free_plant(p);
    }
    assert_int_equal(distinct, 4); /* with partners up to 0.9 */
}

/* One component of 2 + 3, one of 1 + 1 twice; the rest alone. */
static void test_components_json(void **state)
{
    static const uint32_t edges[][2] = {{5, 2}, {6, 2}, {6, 3}, {7, 3}, {0, 0}, {8, 9}, {8, 9}};
    struct stitch_groups *g;
    struct stitch_components c;
    struct strbuf got = STRBUF_INIT, wanted = STRBUF_INIT;
    json *j,
        *expected = parse_json("{\"count\":3,\"small\":4,\"large\":5,\"largest\":{\"small\":2,\"large\":3},"
                               "\"sizes\":[{\"small\":1,\"large\":1,\"count\":2},"
                               "{\"small\":2,\"large\":3,\"count\":1}]}");

    (void)state;
    assert_ok(stitch_groups_new(9, 10, &g, &err));
    for (size_t i = 0; i < ARRAY_LENGTH(edges); i++)
        stitch_groups_join(g, edges[i][0], edges[i][1]);
    assert_ok(stitch_components_of(g, &c, &err));
    j = stitch_components_json(&c);
    json_dump(j, &got);
    json_dump(expected, &wanted);
    assert_string_equal(strbuf_string(&got), strbuf_string(&wanted));
    strbuf_free(&got);
    strbuf_free(&wanted);
    json_free(j);
    json_free(expected);
    stitch_components_free(&c);
    stitch_groups_free(g);
}

/* ---- The curves. ---- */

static void latents_in(const struct stitch_path *path, size_t step, int *in_small, int *in_large)
{
    for (size_t j = 0; j < SMALL; j++)
        in_small[j] = path->small_step[j] > step;
    for (size_t i = 0; i < LARGE; i++)
        in_large[i] = path->large_step[i] <= step;
}

static void check_close(double got, double wanted, double scale, const char *what, size_t step)
{
    if (!(fabs(got - wanted) <= 1e-6 * scale))
        fail_msg("%s at step %zu: %.12g instead of %.12g", what, step, got, wanted);
}

static void check_curves(const struct plant *p, const struct stitch_path *path, enum stitch_bias bias)
{
    int in_small[SMALL], in_large[LARGE];

    for (size_t s = 0; s <= path->n_steps; s++) {
        double share = bias == STITCH_BIAS_SMALL   ? 0
                       : bias == STITCH_BIAS_LARGE ? 1
                                                   : (double)s / (double)path->n_steps;
        double sse, active = 0;

        latents_in(path, s, in_small, in_large);
        sse = brute_sse(p, in_small, in_large, share);
        for (size_t t = 0; t < TOKENS; t++) {
            for (size_t j = 0; j < SMALL; j++)
                active += in_small[j] && p->f_small[t][j] > 0;
            for (size_t i = 0; i < LARGE; i++)
                active += in_large[i] && p->f_large[t][i] > 0;
        }
        check_close(path->l0[s], active / TOKENS, 1e-6, "l0", s);
        check_close(path->mse[s], sse / (TOKENS * D), sse / (TOKENS * D), "mse", s);
        check_close(path->explained_variance[s], 1 - sse / p->centred, 1, "explained variance", s);
        assert_true(isnan(path->cross_entropy[s]));
    }
}

/* Each step has latents of its kind; inserts and removals have one, swaps a component. */
static void check_steps(const struct plant *p, const struct stitch_path *path, double threshold)
{
    size_t component[LARGE + SMALL], n[STEPS_MAX + 1][2] = {{0}};
    int partnered[LARGE + SMALL];

    brute_components(p, threshold, component, partnered);
    assert_int_equal(path->kinds[0], STEP_START);
    for (size_t a = 0; a < LARGE + SMALL; a++) {
        size_t step = a < LARGE ? path->large_step[a] : path->small_step[a - LARGE];
        size_t root = component[a];

        assert_in_range(step, 1, path->n_steps);
        n[step][a < LARGE]++;
        assert_int_equal(path->kinds[step], partnered[a] ? STEP_SWAP : a < LARGE ? STEP_INSERT : STEP_REMOVE);
        assert_int_equal(step, root < LARGE ? path->large_step[root] : path->small_step[root - LARGE]);
    }
    for (size_t s = 1; s <= path->n_steps; s++) {
        assert_true(path->kinds[s] >= path->kinds[s - 1]); /* inserts, swaps, removals */
        assert_int_equal(n[s][1] > 0, path->kinds[s] != STEP_REMOVE);
        assert_int_equal(n[s][0] > 0, path->kinds[s] != STEP_INSERT);
        if (path->kinds[s] != STEP_SWAP)
            assert_int_equal(n[s][0] + n[s][1], 1);
    }
}

/* The change of error of one step's latents alone, with those of all steps up to `base` in; small SAE's bias.
 */
static double change_alone(const struct plant *p, const struct stitch_path *path, size_t base, size_t step)
{
    int in_small[SMALL], in_large[LARGE];
    double before;

    latents_in(path, base, in_small, in_large);
    before = brute_sse(p, in_small, in_large, 0);
    for (size_t j = 0; j < SMALL; j++)
        in_small[j] &= path->small_step[j] != step;
    for (size_t i = 0; i < LARGE; i++)
        in_large[i] |= path->large_step[i] == step;
    return brute_sse(p, in_small, in_large, 0) - before;
}

/* The last step before this kind's. */
static size_t base_of(const struct stitch_path *path, enum step_kind kind)
{
    size_t s = 0;

    while (s < path->n_steps && path->kinds[s + 1] < kind)
        s++;
    return kind == STEP_INSERT ? 0 : s;
}

static void check_helpful(const struct plant *p, const struct stitch_path *path)
{
    double last = -INFINITY;

    for (size_t s = 1; s <= path->n_steps; s++) {
        size_t base = base_of(path, path->kinds[s]);
        double change = change_alone(p, path, base, s);

        if (base == s - 1)
            last = -INFINITY;
        assert_true(change >= last - 1e-3);
        last = change;
    }
}

static double largest_cosine(const struct plant *p, const struct stitch_path *path, size_t step)
{
    double largest = -2;

    for (size_t i = 0; i < LARGE; i++)
        for (size_t j = 0; j < SMALL; j++)
            if (path->large_step[i] == step)
                largest = fmax(largest, cosine(p->large->owned_W_dec + i * D, p->small->owned_W_dec + j * D));
    return largest;
}

static void check_cosine(const struct plant *p, const struct stitch_path *path)
{
    for (size_t s = 2; s <= path->n_steps; s++) {
        size_t base = base_of(path, path->kinds[s]);

        if (base == s - 1)
            continue;
        if (path->kinds[s] == STEP_REMOVE)
            assert_true(change_alone(p, path, base, s) >= change_alone(p, path, base, s - 1) - 1e-3);
        else
            assert_true(largest_cosine(p, path, s) >= largest_cosine(p, path, s - 1) - 1e-6);
    }
}

/* With the large SAE's bias (or the small one's) the end (or start) is that SAE. */
static void check_ends(const struct plant *p, const struct stitch_path *path, enum stitch_bias bias)
{
    int all[LARGE], none[LARGE] = {0};

    for (size_t i = 0; i < LARGE; i++)
        all[i] = 1;
    if (bias != STITCH_BIAS_SMALL)
        check_close(path->mse[path->n_steps], brute_sse(p, none, all, 1) / (TOKENS * D), 1, "large SAE",
                    path->n_steps);
    if (bias != STITCH_BIAS_LARGE)
        check_close(path->mse[0], brute_sse(p, all, none, 0) / (TOKENS * D), 1, "small SAE", 0);
}

static void check_path(const struct plant *p, double threshold, enum stitch_bias bias,
                       enum stitch_order order)
{
    struct stitch_path path = walk(p, bias, order, 5);

    assert_int_equal(path.n_small, SMALL);
    assert_int_equal(path.n_large, LARGE);
    check_steps(p, &path, threshold);
    check_curves(p, &path, bias);
    check_ends(p, &path, bias);
    if (order == STITCH_ORDER_HELPFUL)
        check_helpful(p, &path);
    if (order == STITCH_ORDER_COSINE)
        check_cosine(p, &path);
    stitch_path_free(&path);
}

static void test_every_bias_and_order(void **state)
{
    struct plant *p = new_plant(1, THRESHOLD, 0);
    struct stitch_path path = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_HELPFUL, 0);
    struct stitch_components c;
    size_t n[] = {0, 0, 0, 0};

    (void)state;
    /* There is something of everything. */
    assert_ok(stitch_components_of(p->groups, &c, &err));
    assert_true(c.n >= 3 && c.largest[0] >= 2 && c.largest[1] >= 3);
    stitch_components_free(&c);
    for (size_t s = 0; s <= path.n_steps; s++)
        n[path.kinds[s]]++;
    assert_true(n[STEP_INSERT] >= 5 && n[STEP_SWAP] >= 3 && n[STEP_REMOVE] >= 4);
    stitch_path_free(&path);
    for (enum stitch_bias bias = STITCH_BIAS_SMALL; bias <= STITCH_BIAS_INTERPOLATED; bias++)
        for (enum stitch_order order = STITCH_ORDER_HELPFUL; order <= STITCH_ORDER_COSINE; order++)
            check_path(p, THRESHOLD, bias, order);
    free_plant(p);
}

static void test_token_scales(void **state)
{
    struct plant *p = new_plant(2, THRESHOLD, 1);

    (void)state;
    check_path(p, THRESHOLD, STITCH_BIAS_SMALL, STITCH_ORDER_HELPFUL);
    check_path(p, THRESHOLD, STITCH_BIAS_INTERPOLATED, STITCH_ORDER_COSINE);
    free_plant(p);
}

/* The order of few components may be right by chance. */
static void test_order_of_many(void **state)
{
    (void)state;
    for (uint64_t seed = 10; seed < 22; seed++) {
        struct plant *p = new_plant(seed, THRESHOLD, 0);
        struct stitch_path path = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_HELPFUL, 0);

        check_steps(p, &path, THRESHOLD);
        check_helpful(p, &path);
        stitch_path_free(&path);
        free_plant(p);
    }
}

/* All in one component: one step. No partners: inserts, then removals. */
static void test_extreme_thresholds(void **state)
{
    struct plant *one = new_plant(4, 0.01, 0), *none = new_plant(4, 0.99999, 0);
    struct stitch_path path = walk(one, STITCH_BIAS_INTERPOLATED, STITCH_ORDER_HELPFUL, 0);

    (void)state;
    assert_int_equal(path.n_steps, 1);
    check_curves(one, &path, STITCH_BIAS_INTERPOLATED);
    stitch_path_free(&path);
    path = walk(none, STITCH_BIAS_LARGE, STITCH_ORDER_HELPFUL, 0);
    assert_int_equal(path.n_steps, SMALL + LARGE);
    check_steps(none, &path, 0.99999);
    check_curves(none, &path, STITCH_BIAS_LARGE);
    stitch_path_free(&path);
    free_plant(one);
    free_plant(none);
}

static void test_random_order(void **state)
{
    struct plant *p = new_plant(6, THRESHOLD, 0);
    struct stitch_path a = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_RANDOM, 1),
                       b = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_RANDOM, 1),
                       c = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_RANDOM, 2);

    (void)state;
    assert_memory_equal(a.large_step, b.large_step, LARGE * sizeof(*a.large_step));
    assert_memory_equal(a.small_step, b.small_step, SMALL * sizeof(*a.small_step));
    assert_int_not_equal(memcmp(a.large_step, c.large_step, LARGE * sizeof(*a.large_step)), 0);
    stitch_path_free(&a);
    stitch_path_free(&b);
    stitch_path_free(&c);
    free_plant(p);
}

/* The steps do not depend on the bias, the numbers not on the threads. */
static void test_what_does_not_matter(void **state)
{
    struct plant *p = new_plant(7, THRESHOLD, 0);
    struct stitch_path small = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_HELPFUL, 0),
                       large = walk(p, STITCH_BIAS_LARGE, STITCH_ORDER_HELPFUL, 0), threads;

    (void)state;
    assert_memory_equal(small.large_step, large.large_step, LARGE * sizeof(*small.large_step));
    assert_memory_equal(small.small_step, large.small_step, SMALL * sizeof(*small.small_step));
    parallel_start(3);
    threads = walk(p, STITCH_BIAS_SMALL, STITCH_ORDER_HELPFUL, 0);
    parallel_stop();
    assert_memory_equal(small.mse, threads.mse, (small.n_steps + 1) * sizeof(*small.mse));
    assert_memory_equal(small.l0, threads.l0, (small.n_steps + 1) * sizeof(*small.l0));
    stitch_path_free(&small);
    stitch_path_free(&large);
    stitch_path_free(&threads);
    free_plant(p);
}

static void test_refusals(void **state)
{
    struct plant *p = new_plant(8, THRESHOLD, 0);
    struct sae *other = new_sae("standard", D + 1, LARGE);
    struct token_spool *empty;
    struct stitch_path_input in = {
        .small = p->small, .large = other, .tokens = p->tokens, .groups = p->groups};
    struct stitch_path path;
    struct monitor m = {.ask = cancel_later};

    (void)state;
    assert_int_equal(stitch_path_compute(&in, NULL, &path, &err), STATUS_REFUSED);
    assert_says("d_in 12 and 13");
    in.large = p->large;
    assert_ok(token_spool_open(test_directory, D, 0, &empty, &err));
    assert_ok(token_spool_map(empty, &err));
    in.tokens = empty;
    assert_int_equal(stitch_path_compute(&in, NULL, &path, &err), STATUS_REFUSED);
    assert_says("no tokens");
    in.tokens = p->tokens;
    in.max_cosine = p->max_cosine;
    in.delta = p->delta;
    for (int asks = 0; asks < 6; asks++) {
        asks_before_cancel = asks;
        assert_int_equal(stitch_path_compute(&in, &m, &path, &err), STATUS_FAILED);
        assert_says("cancelled");
    }
    token_spool_close(empty);
    sae_free(other);
    free_plant(p);
}

static int set_up(void **state)
{
    blas_start();
    return set_up_directory(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_components_json),
        cmocka_unit_test(test_every_bias_and_order),
        cmocka_unit_test(test_token_scales),
        cmocka_unit_test(test_order_of_many),
        cmocka_unit_test(test_extreme_thresholds),
        cmocka_unit_test(test_random_order),
        cmocka_unit_test(test_what_does_not_matter),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down_directory);
}
