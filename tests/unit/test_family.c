/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Families of planted splits, against a search over all pairs. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "family_fixture.h"
#include "saescope/analysis/family_layout.h"
#include "saescope/base/memory.h"

/* ---- Families. ---- */

static const struct family_options defaults = FAMILY_DEFAULTS;

static struct sae *sae_at(size_t column)
{
    return column == 0 ? sae_a : column == 1 ? sae_b : sae_c;
}

/* Whether there is an edge between adjacent columns. */
static int is_edge(size_t column, size_t small, size_t large, double *cosine, double *share)
{
    *cosine = cosine_of(row_of(sae_at(column), small), row_of(sae_at(column + 1), large));
    *share = column == 0 ? similarity_of(large, small) : NAN;
    return *cosine > 0.7 || *share > 0.6;
}

static const size_t widths[] = {N_A, N_B, N_C};

/* Marks the ancestors and descendants of a latent. */
static void mark_family(size_t column, size_t latent, unsigned char in[3][N_C])
{
    double x, y;
    memset(in, 0, 3 * N_C);
    in[column][latent] = 1;
    for (size_t c = column; c > 0; c--)
        for (size_t j = 0; j < widths[c]; j++)
            for (size_t i = 0; i < widths[c - 1] && in[c][j]; i++)
                in[c - 1][i] |= (unsigned char)is_edge(c - 1, i, j, &x, &y);
    for (size_t c = column; c < 2; c++)
        for (size_t i = 0; i < widths[c]; i++)
            for (size_t j = 0; j < widths[c + 1] && in[c][i]; j++)
                in[c + 1][j] |= (unsigned char)is_edge(c, i, j, &x, &y);
}

static const struct family_edge *find_edge(const struct family *f, uint32_t from, uint32_t to)
{
    for (size_t e = 0; e < f->n_edges; e++)
        if (f->edges[e].from == from && f->edges[e].to == to)
            return &f->edges[e];
    return NULL;
}

static struct family *read_family(struct store_txn *t, const char *address, const struct family_options *o)
{
    struct error err = {0};
    struct address at;
    struct family *f;
    assert_ok(address_parse(t, address, NULL, &at, &err));
    assert_ok(family_read(t, &at, o, NULL, &f, &err));
    return f;
}

static void compare_family(const struct family *f, size_t column, size_t latent)
{
    unsigned char in[3][N_C];
    size_t n = 0, n_edges = 0;
    mark_family(column, latent, in);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < widths[c]; i++)
            if (in[c][i]) {
                assert_true(n < f->n_nodes);
                assert_int_equal(f->nodes[n].column, c);
                assert_int_equal(f->nodes[n].latent, i);
                if (c == column && i == latent)
                    assert_int_equal(f->asked, n);
                n++;
            }
    assert_int_equal(n, f->n_nodes);
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < n; b++) {
            double cosine, share;
            if (f->nodes[a].column + 1 != f->nodes[b].column ||
                !is_edge(f->nodes[a].column, f->nodes[a].latent, f->nodes[b].latent, &cosine, &share))
                continue;
            const struct family_edge *e = find_edge(f, a, b);
            assert_non_null(e);
            assert_float_equal(e->cosine, cosine, 1e-6);
            assert_int_equal(isnan(e->share) != 0, isnan(share) != 0);
            if (!isnan(share))
                assert_float_equal(e->share, share, 1e-6);
            n_edges++;
        }
    assert_int_equal(n_edges, f->n_edges);
    assert_false(f->truncated);
}

static void test_families(void **state)
{
    (void)state;
    struct store_txn *t = begin_reading(store);
    static const char *const names[] = {"a", "b", "c"};
    size_t largest = 0;
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < widths[c]; i++) {
            char *address = xasprintf("%s/%zu", names[c], i);
            struct family *f = read_family(t, address, &defaults);
            compare_family(f, c, i);
            largest = f->n_nodes > largest ? f->n_nodes : largest;
            family_free(f);
            free(address);
        }
    store_end(t);
    assert_true(largest >= 8);
}

/* The planted splits of one parent, by name: its near split, the sums it is in, and what fires with it. */
static void test_known_family(void **state)
{
    (void)state;
    struct store_txn *t = begin_reading(store);
    struct family *f = read_family(t, "a/3", &defaults);
    static const uint32_t children[] = {3, 2 * N_A + 2, 2 * N_A + 3, 2 * N_A + 8 + 3};
    size_t found = 0;
    for (size_t i = 0; i < f->n_nodes; i++)
        for (size_t k = 0; k < ARRAY_LENGTH(children); k++)
            if (f->nodes[i].column == 1 && f->nodes[i].latent == children[k]) {
                assert_non_null(find_edge(f, (uint32_t)f->asked, (uint32_t)i));
                found++;
            }
    assert_int_equal(found, ARRAY_LENGTH(children));
    family_free(f);
    store_end(t);
}

static void test_bounds(void **state)
{
    (void)state;
    struct store_txn *t = begin_reading(store);
    struct family *all = read_family(t, "a/3", &defaults);
    struct family_options o = defaults;
    o.limit = 3;
    struct family *few = read_family(t, "a/3", &o);
    assert_true(few->truncated);
    assert_int_equal(few->n_nodes, 3);
    assert_int_equal(few->n_edges, 2);
    /* The two closest children stayed. */
    float least = 1;
    for (size_t e = 0; e < 2; e++)
        least = family_strength(&few->edges[e]) < least ? family_strength(&few->edges[e]) : least;
    size_t closer = 0;
    for (size_t e = 0; e < all->n_edges; e++)
        closer += all->edges[e].from == all->asked && family_strength(&all->edges[e]) >= least;
    assert_int_equal(closer, 2);
    o = defaults;
    o.depth = 1;
    struct family *near = read_family(t, "b/3", &o);
    for (size_t e = 0; e < near->n_edges; e++)
        assert_true(near->edges[e].from == near->asked || near->edges[e].to == near->asked);
    assert_true(near->n_nodes >= 3 && near->n_nodes < all->n_nodes);
    o = defaults;
    o.similarity = 1;
    o.cosine = 0.5;
    struct family *lower = read_family(t, "b/30", &o);
    for (size_t e = 0; e < lower->n_edges; e++)
        assert_true(lower->edges[e].cosine > 0.5F);
    assert_true(lower->n_edges > 0);
    family_free(all);
    family_free(few);
    family_free(near);
    family_free(lower);
    store_end(t);
}

static void test_shares(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(store);
    struct family *f = read_family(t, "a/3", &defaults);
    struct sae *base, *meta;
    size_t with = 0;
    assert_ok(sae_open(t, b_id, &base, &err));
    assert_ok(sae_open(t, meta_id, &meta, &err));
    assert_int_equal(f->columns[0].meta.id, 0);
    assert_int_equal(f->columns[1].meta.id, meta_id);
    for (size_t i = 0; i < f->n_nodes; i++) {
        const struct family_node *node = &f->nodes[i];
        struct decomposition d;
        double sum = 0, shares = 0;
        if (node->column != 1) {
            assert_int_equal(node->n_meta, 0);
            continue;
        }
        assert_ok(decompose_latent(t, base, meta, node->latent, &d, &err));
        assert_int_equal(d.n, node->n_meta);
        for (size_t k = 0; k < d.n; k++)
            sum += (double)d.components[k].activation;
        for (size_t k = 0; k < d.n; k++) {
            assert_int_equal(node->meta[k].latent, d.components[k].latent);
            assert_float_equal(node->meta[k].share, (double)d.components[k].activation / sum, 1e-6);
            shares += (double)node->meta[k].share;
        }
        if (d.n)
            assert_float_equal(shares, 1, 1e-6);
        with += d.n > 0;
        decomposition_free(&d);
    }
    assert_true(with > 0);
    sae_free(base);
    sae_free(meta);
    family_free(f);
    store_end(t);
}

/* ---- Which SAEs. ---- */

static char *column_names(struct store_txn *t, artifact_id sae, const char *saes)
{
    struct error err = {0};
    struct family_column *columns;
    struct strbuf b = STRBUF_INIT;
    size_t n;
    assert_ok(family_columns(t, sae, saes, &columns, &n, &err));
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&b, "%s%s%s", i ? " " : "", columns[i].sae.name, columns[i].stitch ? "*" : "");
    free(columns);
    return strbuf_detach(&b);
}

static void expect_columns(const char *sae, const char *saes, const char *wanted)
{
    struct store_txn *t = begin_reading(store);
    char *names = column_names(t, find_artifact(store, ARTIFACT_SAE, sae), saes);
    assert_string_equal(names, wanted);
    free(names);
    store_end(t);
}

static void test_columns(void **state)
{
    (void)state;
    expect_columns("a", NULL, "a b* c");
    expect_columns("b", NULL, "a b* c");
    expect_columns("b-older", NULL, "a b-older c");
    expect_columns("c-newer", NULL, "a b* c-newer");
    expect_columns("other-size", NULL, "other-size");
    expect_columns("other-hook", NULL, "other-hook");
    expect_columns("stitched", NULL, "a b* stitched c");
    expect_columns("a", "c", "a c");
    expect_columns("a", "c,b,a", "a b* c");
    expect_columns("a", "other-size,b", "a b* other-size");
}

static void refuse(const char *sae, const char *saes, const char *says)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(store);
    struct family_column *columns;
    size_t n;
    assert_int_equal(family_columns(t, find_artifact(store, ARTIFACT_SAE, sae), saes, &columns, &n, &err),
                     STATUS_REFUSED);
    assert_says(says);
    assert_null(columns);
    store_end(t);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("meta", NULL, "meta is a meta-SAE");
    refuse("a", "b,meta", "no common families");
    refuse("a", "other-hook", "no common families");
    refuse("a", "b,b-older", "both have 72 latents");
    refuse("a", "nothing", "no SAE named nothing");
    struct error err = {0};
    struct store_txn *t = begin_reading(store);
    struct address at;
    struct family *f;
    assert_ok(address_parse(t, "a/3", NULL, &at, &err));
    static const struct family_options wrong[] = {
        {0, 0.6, 0, 9, NULL},
        {1.1, 0.6, 0, 9, NULL},
        {NAN, 0.6, 0, 9, NULL},
        {0.7, 0.59, 0, 9, NULL},
        {0.7, 1.5, 0, 9, NULL},
        {0.7, 0.6, 0, 0, NULL},
        {0.7, 0.6, 0, FAMILY_LIMIT_MAX + 1, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
        assert_int_equal(family_read(t, &at, &wrong[i], NULL, &f, &err), STATUS_USAGE);
    asks_before_cancel = 1;
    struct monitor m = {.ask = cancel_later};
    assert_int_equal(family_read(t, &at, &defaults, &m, &f, &err), STATUS_FAILED);
    assert_null(f);
    store_end(t);
}

/* Records that were tampered with are an error. */
static void test_damaged(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id;
    static const unsigned char odd[13] = {1}, far[12] = {0xFF, 0xFF};
    const struct record records[] = {{0, odd, sizeof odd}, {3, far, sizeof far}};
    json *m = json_new_object(), *references = new_references("small", a_id);
    json_set(references, "large", json_new_integer((long long)b_id));
    json_set(m, "references", references);
    assert_ok(store_create(store, ARTIFACT_STITCH, "damaged", 0, &id, &err));
    assert_ok(store_put_records(store, id, RECORD_PARENTS, records, 2, &err));
    assert_ok(store_publish(store, id, m, &err));
    struct store_txn *t = begin_reading(store);
    for (size_t i = 0; i < 2; i++) {
        struct address at = {.sae = {.id = b_id}, .latent = (size_t)records[i].number, .d_sae = N_B};
        struct family *f;
        assert_int_equal(family_read(t, &at, &defaults, NULL, &f, &err), STATUS_STORE);
        assert_says("damaged");
    }
    store_end(t);
    assert_ok(store_remove(store, id, 0, NULL, &err));
}

/* ---- The layout. ---- */

static void check_layout(const struct family *f)
{
    struct family_layout l;
    unsigned char listed[512] = {0}, taken[512] = {0};
    size_t leaves = 0;
    family_layout_make(f, &l);
    for (size_t i = 0; i < f->n_nodes; i++) {
        uint32_t node = l.order[i];
        float best = -1;
        assert_false(listed[node]);
        listed[node] = 1;
        for (size_t e = 0; e < f->n_edges; e++)
            if (f->edges[e].to == node && family_strength(&f->edges[e]) > best)
                best = family_strength(&f->edges[e]);
        assert_int_equal(l.edge[node] == FAMILY_NONE, best < 0);
        if (best < 0) {
            assert_int_equal(l.depth[node], 0);
        } else {
            const struct family_edge *e = &f->edges[l.edge[node]];
            assert_int_equal(e->to, node);
            assert_true(family_strength(e) == best);
            assert_true(listed[e->from]);
            assert_int_equal(l.depth[node], l.depth[e->from] + 1);
            assert_true(l.row[node] >= l.row[e->from]);
        }
        if (l.children[node] == 0) {
            assert_false(taken[l.row[node]]);
            taken[l.row[node]] = 1;
            leaves++;
        } else {
            assert_int_equal(l.row[l.order[i + 1]], l.row[node]);
        }
    }
    assert_int_equal(leaves, l.n_rows);
    family_layout_free(&l);
}

static void test_layout(void **state)
{
    (void)state;
    struct store_txn *t = begin_reading(store);
    static const char *const addresses[] = {"a/3", "b/50", "c/3", "a/20"};
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++) {
        struct family *f = read_family(t, addresses[i], &defaults);
        check_layout(f);
        family_free(f);
    }
    store_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families), cmocka_unit_test(test_known_family), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_shares),   cmocka_unit_test(test_columns),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damaged),  cmocka_unit_test(test_layout),
    };
    return cmocka_run_group_tests_name("family", tests, set_up_family, tear_down_family);
}
