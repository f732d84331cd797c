/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store without room, and one that is made smaller. */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "saescope/base/fileio.h"
#include "saescope/store/internal.h"
#include "saescope/store/store.h"
#include "tests/support/support.h"

static struct error err;

/* ---- No space. ---- */

static void test_full_map(void **state)
{
    char *setting = getenv("SAESCOPE_MAPSIZE") ? strdup(getenv("SAESCOPE_MAPSIZE")) : NULL;
    static char data[300000];
    struct tensor x = {DTYPE_U8, 1, {sizeof data}, data};
    struct store *s;
    artifact_id kept, id;
    int code = 0;

    (void)state;
    setenv("SAESCOPE_MAPSIZE", "4000000", 1);
    s = open_store("full");
    kept = make_artifact(s, ARTIFACT_MODEL, "kept", NULL, 0);
    assert_ok(store_create(s, ARTIFACT_MODEL, "large", 0, &id, &err));
    for (int i = 0; i < 100 && !code; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        code = store_tensor_put(s, id, name, &x, &err);
    }
    assert_int_equal(code, STATUS_STORE);
    assert_says("is full");
    assert_true(find_artifact(s, 0, "kept"));
    assert_false(find_artifact(s, 0, "large"));
    store_abandon(s, id);
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 0);
    assert_ok(store_create(s, ARTIFACT_MODEL, "small", 0, &id, &err));
    assert_ok(store_tensor_put(s, id, "t", &x, &err));
    assert_ok(store_publish(s, id, new_manifest("other", kept), &err));
    store_close(s);
    if (setting)
        setenv("SAESCOPE_MAPSIZE", setting, 1);
    else
        unsetenv("SAESCOPE_MAPSIZE");
    free(setting);
    assert_int_equal(verify_store("full").n, 0);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_full_disk(void **state)
{
    char *path = test_path("no-room");
    struct store_options o = {.path = path, .create = 1};
    static char data[3000000];
    struct tensor x = {DTYPE_U8, 1, {sizeof data}, data};
    struct store *s;
    artifact_id id;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room <= 8192; room += 4096) {
        limit_files(room);
        assert_int_equal(store_open(&o, &s, &err), STATUS_STORE);
        limit_files(RLIM_INFINITY);
        assert_says(room < 8192 ? "no room" : "disk is full");
        assert_false(path_exists(path));
    }
    assert_ok(store_open(&o, &s, &err));
    make_artifact(s, ARTIFACT_MODEL, "kept", NULL, 0);
    assert_ok(store_create(s, ARTIFACT_MODEL, "m", 0, &id, &err));
    limit_files(1000000);
    assert_int_equal(store_tensor_put(s, id, "x", &x, &err), STATUS_STORE);
    limit_files(RLIM_INFINITY);
    assert_says("disk is full");
    assert_true(find_artifact(s, 0, "kept"));
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 0);
    assert_ok(store_tensor_put(s, id, "x", &x, &err));
    limit_files(1000);
    assert_int_equal(store_publish(s, id, new_manifest(NULL, 0), &err), STATUS_STORE);
    limit_files(RLIM_INFINITY);
    assert_false(find_artifact(s, 0, "m"));
    assert_ok(store_publish(s, id, new_manifest(NULL, 0), &err));
    assert_true(find_artifact(s, 0, "m"));
    store_close(s);
    assert_int_equal(verify_store("no-room").n, 0);
    free(path);
}

/* ---- Compaction. ---- */

static off_t data_size(const char *store)
{
    char *dir = test_path(store), *path = path_join(dir, "data.mdb");
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    free(path);
    free(dir);
    return st.st_size;
}

static void test_compact(void **state)
{
    char *copy = test_path("copy");
    struct store *s = open_store("compact");
    artifact_id id, gone;

    (void)state;
    assert_ok(store_create(s, ARTIFACT_MODEL, "gone", 0, &gone, &err));
    put_bytes(s, gone, "x", 20 << 20, "x");
    assert_ok(store_publish(s, gone, new_manifest(NULL, 0), &err));
    assert_ok(store_create(s, ARTIFACT_MODEL, "m", 0, &id, &err));
    put_bytes(s, id, "x", 1 << 20, "x");
    assert_ok(store_publish(s, id, new_manifest(NULL, 0), &err));
    assert_ok(store_remove(s, gone, 0, NULL, &err));
    assert_true(data_size("compact") > 20 << 20);
    assert_ok(store_compact(s, copy, &err));
    assert_int_equal(store_compact(s, copy, &err), STATUS_REFUSED);
    uint64_t generation = store_generation(s);
    assert_ok(store_compact(s, NULL, &err));
    assert_true(store_generation(s) > generation);
    assert_true(data_size("compact") < 3 << 20);
    assert_true(find_artifact(s, 0, "m")); /* the store is open as before */
    make_artifact(s, ARTIFACT_TEXT, "t", "model", id);
    store_close(s);
    assert_int_equal(verify_store("compact").n, 0);
    assert_true(data_size("copy") < 3 << 20);
    assert_int_equal(verify_store("copy").n, 0);
    s = open_store("copy");
    assert_true(find_artifact(s, 0, "m"));
    assert_false(find_artifact(s, 0, "t"));
    store_close(s);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_map),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_compact),
    };

    return cmocka_run_group_tests_name("store_space", tests, set_up_directory, tear_down_directory);
}
