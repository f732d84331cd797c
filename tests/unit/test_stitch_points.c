/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A stitch whose columns are written down: reading it, its picture, counts at a threshold, explained variance at equal L0. */
#include "config.h"

#include "tests/golden/stitch_store.h"
#include "tests/support/support.h"

#include "saescope/analysis/latent.h"
#include "saescope/analysis/stitch_points.h"
#include "saescope/analysis/stitch_svg.h"
#include "saescope/base/random.h"

static struct store *store;
static struct store_txn *t;
static struct made_stitch made;
static struct stitch_facts facts;
static struct error err;

static int set_up(void **state)
{
    if (set_up_directory(state) != 0)
        return -1;
    store = open_store("store");
    artifact_id id = stitch_store_fill(store, &made);
    t = begin_reading(store);
    return stitch_facts_read(t, id, &facts, &err);
}

static int tear_down(void **state)
{
    stitch_facts_free(&facts);
    store_end(t);
    store_close(store);
    return tear_down_directory(state);
}

static void test_reading(void **state)
{
    struct stitch_latents l;
    struct stitch_path p;
    (void)state;
    assert_string_equal(facts.small_artifact.name, "tiny-12");
    assert_string_equal(facts.large_artifact.name, "tiny-40");
    assert_int_equal(facts.n_steps, STITCH_STEPS);
    assert_ok(stitch_latents_read(t, &facts, &l, &err));
    assert_ok(stitch_path_read(t, &facts, &p, &err));
    assert_memory_equal(l.fired, made.fired, sizeof made.fired);
    assert_memory_equal(l.delta, made.delta, sizeof made.delta);
    assert_memory_equal(l.classes, made.classes, sizeof made.classes);
    assert_memory_equal(p.large_step, made.large_step, sizeof made.large_step);
    assert_memory_equal(p.small_step, made.small_step, sizeof made.small_step);
    assert_memory_equal(p.explained_variance, made.ev, sizeof made.ev);
    stitch_path_free(&p);
    stitch_latents_free(&l);
}

/* ---- Counts at a threshold, against counting. ---- */

static void test_confusion_against_counts(void **state)
{
    enum { N = 500 };
    float cosines[N];
    uint8_t classes[N];
    struct rng r;
    (void)state;
    rng_seed(&r, 3, 0);
    for (int i = 0; i < N; i++) {
        cosines[i] = (float)rng_below(&r, 64) / 64; /* many equal ones */
        classes[i] = (uint8_t)rng_below(&r, 3);
    }
    const struct stitch_latents l = {.n = N, .max_cosine = cosines, .classes = classes};
    for (int k = -2; k <= 130; k++) {
        double threshold = k / 128.0;
        size_t counts[3][2] = {{0}};
        struct stitch_confusion c;
        for (int i = 0; i < N; i++)
            counts[classes[i]][(double)cosines[i] > threshold]++;
        stitch_confusion_at(&l, threshold, &c);
        assert_int_equal(c.novel_below, counts[LATENT_NOVEL][0]);
        assert_int_equal(c.novel_above, counts[LATENT_NOVEL][1]);
        assert_int_equal(c.reconstruction_below, counts[LATENT_RECONSTRUCTION][0]);
        assert_int_equal(c.reconstruction_above, counts[LATENT_RECONSTRUCTION][1]);
        assert_int_equal(c.below, counts[LATENT_NOVEL][0] + counts[LATENT_RECONSTRUCTION][0]);
        assert_int_equal(c.above, counts[LATENT_NOVEL][1] + counts[LATENT_RECONSTRUCTION][1]);
    }
}

/* ---- Explained variance at equal L0. ---- */

static double ev_at(const double *l0, const double *ev, size_t n_steps, double at)
{
    double l0_copy[8], ev_copy[8];
    memcpy(l0_copy, l0, (n_steps + 1) * sizeof *l0);
    memcpy(ev_copy, ev, (n_steps + 1) * sizeof *ev);
    const struct stitch_path p = {.n_steps = n_steps, .l0 = l0_copy, .explained_variance = ev_copy};
    return stitch_ev_at_l0(&p, at);
}

static void test_ev_at_l0(void **state)
{
    static const double up[] = {10, 12, 16}, up_ev[] = {0.5, 0.6, 0.9};
    static const double back[] = {10, 20, 12, 12}, back_ev[] = {0.5, 0.7, 0.9, 0.75};
    static const double gap[] = {10, NAN, 14}, gap_ev[] = {0.5, NAN, 0.9};
    (void)state;
    assert_true(ev_at(up, up_ev, 2, 10) == 0.5);
    assert_true(fabs(ev_at(up, up_ev, 2, 11) - 0.55) < 1e-12);
    assert_true(fabs(ev_at(up, up_ev, 2, 15) - 0.825) < 1e-12);
    assert_true(ev_at(up, up_ev, 2, 16) == 0.9);
    assert_true(isnan(ev_at(up, up_ev, 2, 9.99)) && isnan(ev_at(up, up_ev, 2, 16.01)) && isnan(ev_at(up, up_ev, 2, NAN)));
    assert_true(fabs(ev_at(back, back_ev, 3, 15) - 0.825) < 1e-12); /* on the way back it is better than on the way out */
    assert_true(fabs(ev_at(back, back_ev, 3, 12) - 0.9) < 1e-12);
    assert_true(fabs(ev_at(back, back_ev, 3, 11) - 0.52) < 1e-12);
    assert_true(ev_at(up, up_ev, 0, 10) == 0.5 && isnan(ev_at(up, up_ev, 0, 10.5)));
    assert_true(ev_at(gap, gap_ev, 2, 10) == 0.5 && isnan(ev_at(gap, gap_ev, 2, 12)) && ev_at(gap, gap_ev, 2, 14) == 0.9);
}

static const struct stitch_point *find_point(const struct stitch_point *points, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(points[i].name, name) == 0)
            return &points[i];
    return NULL;
}

static void test_points(void **state)
{
    struct stitch_path path;
    struct stitch_point *points;
    size_t n;
    (void)state;
    assert_ok(stitch_path_read(t, &facts, &path, &err));
    assert_ok(stitch_points_read(t, &facts, &points, &n, &err));
    stitch_points_compare(points, n, &path);
    assert_int_equal(n, 6);
    assert_string_equal(points[0].name, "tiny-12"); /* smallest first */
    assert_string_equal(points[5].name, "other");
    const struct stitch_point *p = find_point(points, n, "tiny-12");
    assert_int_equal(p->source, POINT_TRAINING);
    assert_true(p->l0 == 10.5 && p->explained_variance == 0.625);
    /* Between steps 1 (L0 10.375) and 2 (10.75), a third of the way. */
    assert_true(fabs(p->path_explained_variance - (made.ev[1] + (made.ev[2] - made.ev[1]) / 3)) < 1e-12);
    /* Evaluated on the stitch's text and later on another: the stitch's text goes before, and before the training. */
    p = find_point(points, n, "tiny-24");
    assert_int_equal(p->source, POINT_EVALUATION);
    assert_string_equal(p->text, "words");
    assert_true(p->l0 == 17.5 && p->explained_variance == 0.8125);
    p = find_point(points, n, "other");
    assert_true(p->source == POINT_UNKNOWN && isnan(p->l0) && isnan(p->path_explained_variance));
    p = find_point(points, n, "st-33");
    assert_int_equal(p->source, POINT_STEP);
    assert_true(p->step == 33 && p->l0 == made.l0[33] && p->explained_variance == made.ev[33]);
    assert_true(p->path_explained_variance >= made.ev[33]);
    assert_int_equal(find_point(points, n, "before")->source, POINT_UNKNOWN);
    free(points);
    stitch_path_free(&path);
}

/* ---- The list of the large SAE's latents. ---- */

static void test_latent_table(void **state)
{
    struct latent_table *table;
    size_t matched = 0;
    (void)state;
    assert_ok(latent_table_open(t, facts.large, &table, &err));
    assert_string_equal(table->in.name, "tiny-12");
    assert_memory_equal(table->cosine, made.max_cosine, sizeof made.max_cosine);
    assert_memory_equal(table->nearest, made.nearest, sizeof made.nearest);
    assert_memory_equal(table->classes, made.classes, sizeof made.classes);
    assert_ok(latent_table_sort(table, t, KEY_COSINE, 0, &err));
    for (uint32_t i = 0; i < STITCH_LARGE; i++) /* they ascend with the number */
        assert_int_equal(table->order[i], STITCH_LARGE - 1 - i);
    assert_ok(latent_table_filter(table, t, "cosine > 0.5 and cosine <= 0.75", &err));
    for (size_t i = 0; i < STITCH_LARGE; i++)
        matched += made.max_cosine[i] > 0.5f && made.max_cosine[i] <= 0.75f;
    assert_int_equal(table->matched, matched);
    latent_table_free(table);
    assert_ok(latent_table_open(t, facts.small, &table, &err)); /* nothing leads there */
    assert_true(table->in.id == 0 && !table->cosine);
    assert_int_equal(latent_table_sort(table, t, KEY_COSINE, 0, &err), STATUS_REFUSED);
    assert_says("no stitch leads to tiny-12");
    latent_table_free(table);
}

/* ---- The picture. ---- */

static size_t count_of(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        n++;
    return n;
}

static void test_picture(void **state)
{
    struct stitch_latents l;
    struct stitch_path p;
    struct strbuf b = STRBUF_INIT;
    (void)state;
    assert_ok(stitch_latents_read(t, &facts, &l, &err));
    assert_ok(stitch_path_read(t, &facts, &p, &err));
    stitch_svg(&facts, &l, &p, &b);
    /* A dot a latent (all apart), three of the legend, one a measured cross-entropy: steps 0, 9, 18, 27, 36; 36 is beside 37. */
    assert_int_equal(count_of(b.data, "<circle"), STITCH_LARGE + 3 + 4);
    assert_int_equal(count_of(b.data, "<polyline"), 4 + 4); /* EV, L0, MSE, and the pieces of the cross-entropy */
    assert_non_null(strstr(b.data, ">novel 20</text>"));
    assert_non_null(strstr(b.data, ">reconstruction 16</text>"));
    assert_non_null(strstr(b.data, ">undecided 4</text>"));
    assert_non_null(strstr(b.data, "st: tiny-40 into tiny-12"));
    assert_non_null(strstr(b.data, ">insert</text>"));
    /* Equal latents are one dot. */
    l.max_cosine[1] = l.max_cosine[0];
    l.delta[1] = l.delta[0];
    strbuf_reset(&b);
    stitch_svg(&facts, &l, &p, &b);
    assert_int_equal(count_of(b.data, "<circle"), STITCH_LARGE - 1 + 3 + 4);
    strbuf_free(&b);
    stitch_path_free(&p);
    stitch_latents_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading), cmocka_unit_test(test_confusion_against_counts), cmocka_unit_test(test_ev_at_l0),
        cmocka_unit_test(test_points),  cmocka_unit_test(test_latent_table), cmocka_unit_test(test_picture),
    };
    return cmocka_run_group_tests_name("stitch points", tests, set_up, tear_down);
}
