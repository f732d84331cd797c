/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One thread publishes, replaces and compacts while others read what they find. */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/base/fileio.h"
#include "saescope/store/store.h"
#include "tests/support/support.h"

static struct error err;

struct crowd {
    struct store *store;
    int stop, failures, found;
};

/* Everything that is published has its tensor, whatever the writer does meanwhile. */
static int look(struct crowd *c)
{
    struct artifact *list = NULL;
    struct store_txn *t;
    struct error e;
    size_t n = 0;
    int bad = store_begin(c->store, &t, &e);

    if (bad)
        return 1;
    bad = store_list(t, 0, &list, &n, &e);
    for (size_t i = 0; i < n; i++) {
        struct store_tensor x;
        const void *row;
        bad |= store_tensor_open(t, list[i].id, "x", &x, &e) || store_tensor_row(t, &x, 1, &row, &e) ||
               memcmp(row, "b", 1);
    }
    __atomic_add_fetch(&c->found, (int)n, __ATOMIC_ACQ_REL);
    free(list);
    store_end(t);
    return bad != 0;
}

static void *reader(void *arg)
{
    struct crowd *c = arg;

    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
        if (look(c))
            __atomic_add_fetch(&c->failures, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static void run_crowd(int exclusive)
{
    struct crowd c = {NULL, 0, 0, 0};
    struct store_options o = {.create = 1, .exclusive = exclusive};
    struct tensor x = {DTYPE_U8, 1, {3}, "abc"};
    pthread_t threads[3];
    artifact_id id;

    c.store = open_store_with(exclusive ? "alone" : "shared", o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &c), 0);
    for (int i = 0; i < 40; i++) {
        assert_ok(store_create(c.store, ARTIFACT_MODEL, "m", 1, &id, &err));
        assert_ok(store_tensor_put(c.store, id, "x", &x, &err));
        assert_ok(store_publish(c.store, id, json_new_object(), &err));
        if (i % 10 == 9)
            assert_ok(store_compact(c.store, NULL, &err));
    }
    __atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(c.failures, 0);
    assert_true(c.found > 0);
    store_close(c.store);
}

static void test_shared(void **state)
{
    (void)state;
    run_crowd(0);
}

static void test_exclusive(void **state)
{
    (void)state;
    run_crowd(1);
}

/* ---- Who has seen a generation finds what was committed in it. ---- */

#define COMMITS 150

static void *commit_labels(void *arg)
{
    struct crowd *c = arg;
    struct error e;

    for (uint64_t i = 0; i < COMMITS && !c->failures; i++) {
        struct label label = {i, LABEL_USER, "seen", 4};
        if (store_put_labels(c->store, 1, &label, 1, &e))
            __atomic_add_fetch(&c->failures, 1, __ATOMIC_ACQ_REL);
    }
    __atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void test_generations(void **state)
{
    struct crowd c = {.store = open_store("generations")};
    artifact_id id = make_artifact(c.store, ARTIFACT_SAE, "s", NULL, 0);
    pthread_t thread;
    uint64_t first = store_generation(c.store);
    int early = 0;

    (void)state;
    assert_int_equal(id, 1);
    assert_int_equal(pthread_create(&thread, NULL, commit_labels, &c), 0);
    while (!__atomic_load_n(&c.stop, __ATOMIC_ACQUIRE)) {
        uint64_t commits = store_generation(c.store) - first;
        struct store_txn *t = begin_reading(c.store);
        struct label label = {0};
        if (commits > 0 && commits <= COMMITS)
            early += store_label(t, id, commits - 1, &label, &err) != STATUS_OK || !label.text;
        store_end(t);
    }
    pthread_join(thread, NULL);
    assert_int_equal(c.failures, 0);
    assert_int_equal(early, 0);
    assert_int_equal(store_generation(c.store) - first, COMMITS);
    store_close(c.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_exclusive),
        cmocka_unit_test(test_generations),
    };

    return cmocka_run_group_tests_name("store_threads", tests, set_up_directory, tear_down_directory);
}
