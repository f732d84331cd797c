/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parents of a stitch's latents, against sums over all pairs and tokens. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "family_fixture.h"
#include "saescope/analysis/stitch_parents.h"
#include "saescope/base/parallel.h"

/* The parents of every child, as the definition has them; how many by activations alone, and how many of rare
 * children. */
static void test_parents(void **state)
{
    (void)state;
    struct error err = {0};
    struct store_txn *t = begin_reading(store);
    size_t n_edges = 0, by_activation = 0, unknown = 0, two = 0;
    for (size_t i = 0; i < N_B; i++) {
        struct stitch_parent *parents;
        size_t n, wanted = 0;
        assert_ok(stitch_parents_read(t, stitch_id, i, &parents, &n, &err));
        for (size_t k = 1; k < n; k++)
            assert_true(parents[k - 1].cosine >= parents[k].cosine);
        for (size_t j = 0; j < N_A; j++) {
            double cosine = cosine_of(row_of(sae_b, i), row_of(sae_a, j)), similarity = similarity_of(i, j);
            if (!(cosine > 0.7 || similarity > 0.6))
                continue;
            wanted++;
            by_activation += !(cosine > 0.7);
            unknown += isnan(similarity) != 0;
            size_t k = 0;
            while (k < n && parents[k].latent != j)
                k++;
            assert_true(k < n);
            assert_float_equal(parents[k].cosine, cosine, 1e-6);
            if (isnan(similarity))
                assert_true(isnan(parents[k].similarity));
            else
                assert_float_equal(parents[k].similarity, similarity, 1e-6);
        }
        assert_int_equal(n, wanted);
        n_edges += n;
        two += n == 2;
        free(parents);
    }
    store_end(t);
    /* All 16 near splits, the eight sums twice, seven that fire with another; one child is too rare to know.
     */
    assert_true(n_edges >= 16 + 16 + 7);
    assert_true(by_activation >= 7);
    assert_true(unknown >= 1 && unknown < 8);
    assert_true(two >= 8);
}

/* Neither threads nor the size of the groups change a bit. */
static void test_parents_repeat(void **state)
{
    (void)state;
    struct error err = {0};
    parallel_stop();
    parallel_start(1);
    artifact_id again = make_stitch("st-again", 300);
    parallel_stop();
    parallel_start(3);
    struct store_txn *t = begin_reading(store);
    for (size_t i = 0; i < N_B; i++) {
        const void *one, *other;
        size_t n, m;
        assert_ok(store_record(t, stitch_id, RECORD_PARENTS, i, &one, &n, &err));
        assert_ok(store_record(t, again, RECORD_PARENTS, i, &other, &m, &err));
        assert_int_equal(n, m);
        if (n)
            assert_memory_equal(one, other, n);
    }
    store_end(t);
    assert_ok(store_remove(store, again, 0, NULL, &err));
}

static void test_parents_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct sae *narrow = new_sae("standard", D / 2, 4), *few = new_sae("standard", D, 5);
    artifact_id id;
    assert_ok(store_create(store, ARTIFACT_STITCH, "no", 0, &id, &err));
    assert_int_equal(stitch_parents_compute(store, id, narrow, sae_b, spool, NULL, &err), STATUS_REFUSED);
    assert_int_equal(stitch_parents_compute(store, id, sae_a, few, spool, NULL, &err), STATUS_FAILED);
    assert_says("not of these SAEs");
    assert_int_equal(stitch_parents_compute(store, id, few, sae_b, spool, NULL, &err), STATUS_FAILED);
    asks_before_cancel = 1;
    struct monitor m = {.ask = cancel_later};
    assert_int_equal(stitch_parents_compute(store, id, sae_a, sae_b, spool, &m, &err), STATUS_FAILED);
    assert_says("cancelled");
    store_abandon(store, id);
    sae_free(narrow);
    sae_free(few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parents),
        cmocka_unit_test(test_parents_repeat),
        cmocka_unit_test(test_parents_refused),
    };
    return cmocka_run_group_tests_name("stitch parents", tests, set_up_family, tear_down_family);
}
