/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store without room, and one that is made smaller. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

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

static char directory[] = "/tmp/test-store-space-XXXXXX";
static struct error err;

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        int assert_ok_code = (call);                                                                         \
        if (assert_ok_code)                                                                                  \
            print_error("%s\n", err.message);                                                                \
        assert_int_equal(assert_ok_code, 0);                                                                 \
    } while (0)
#define assert_says(text) assert_non_null(strstr(err.message, text))

static struct store *open_at(const char *name)
{
    char *path = path_join(directory, name);
    struct store_options o = {.path = path, .create = 1};
    struct store *s = NULL;

    assert_ok(store_open(&o, &s, &err));
    free(path);
    return s;
}

static json *manifest(const char *role, artifact_id id, const char *role2, artifact_id id2)
{
    json *m = json_new_object(), *r = json_new_object();

    json_set(m, "comment", json_new_string("MANIFEST OF A TEST"));
    if (role)
        json_set(r, role, json_new_integer((long long)id));
    if (role2)
        json_set(r, role2, json_new_integer((long long)id2));
    json_set(m, "references", r);
    return m;
}

static artifact_id make2(struct store *s, enum artifact_kind kind, const char *name, const char *role,
                         artifact_id to, const char *role2, artifact_id to2)
{
    artifact_id id;

    assert_ok(store_create(s, kind, name, 0, &id, &err));
    assert_ok(store_publish(s, id, manifest(role, to, role2, to2), &err));
    return id;
}

static artifact_id make(struct store *s, enum artifact_kind kind, const char *name, const char *role,
                        artifact_id to)
{
    return make2(s, kind, name, role, to, NULL, 0);
}

static int is_there(struct store *s, const char *name)
{
    struct store_txn *t;
    struct artifact a;
    int code;

    assert_ok(store_begin(s, &t, &err));
    code = store_find(t, 0, name, &a, NULL);
    store_end(t);
    return code == 0;
}

static size_t entries(struct store *s, enum table table)
{
    struct store_txn *t;
    MDB_stat stat;

    assert_ok(store_begin(s, &t, &err));
    assert_int_equal(mdb_stat(t->txn, s->tables[table], &stat), 0);
    store_end(t);
    return stat.ms_entries;
}

static void put_bytes(struct store *s, artifact_id id, const char *tensor, size_t n, const char *word)
{
    char *data = calloc(1, n);
    struct tensor x = {DTYPE_U8, 1, {n}, data};

    memcpy(data + n / 2, word, strlen(word));
    assert_ok(store_tensor_put(s, id, tensor, &x, &err));
    free(data);
}

struct found {
    int n;
    char name[64], tensor[64], message[200];
    uint64_t block;
};

static void note_problem(const struct store_problem *p, void *arg)
{
    struct found *f = arg;

    f->n++;
    snprintf(f->name, sizeof f->name, "%s", p->name);
    snprintf(f->tensor, sizeof f->tensor, "%s", p->tensor ? p->tensor : "");
    snprintf(f->message, sizeof f->message, "%s", p->message);
    f->block = p->block;
}

static struct found verify(const char *store)
{
    struct store *s = open_at(store);
    struct found f = {0, "", "", "", 0};

    assert_ok(store_verify(s, NULL, note_problem, &f, &err));
    store_close(s);
    return f;
}

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
    s = open_at("full");
    kept = make(s, ARTIFACT_MODEL, "kept", NULL, 0);
    assert_ok(store_create(s, ARTIFACT_MODEL, "large", 0, &id, &err));
    for (int i = 0; i < 100 && !code; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        code = store_tensor_put(s, id, name, &x, &err);
    }
    assert_int_equal(code, STATUS_STORE);
    assert_says("is full");
    assert_true(is_there(s, "kept"));
    assert_false(is_there(s, "large"));
    store_abandon(s, id);
    assert_int_equal(entries(s, TABLE_BLOCKS), 0);
    assert_ok(store_create(s, ARTIFACT_MODEL, "small", 0, &id, &err));
    assert_ok(store_tensor_put(s, id, "t", &x, &err));
    assert_ok(store_publish(s, id, manifest("other", kept, NULL, 0), &err));
    store_close(s);
    if (setting)
        setenv("SAESCOPE_MAPSIZE", setting, 1);
    else
        unsetenv("SAESCOPE_MAPSIZE");
    free(setting);
    assert_int_equal(verify("full").n, 0);
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
    char *path = path_join(directory, "no-room");
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
    make(s, ARTIFACT_MODEL, "kept", NULL, 0);
    assert_ok(store_create(s, ARTIFACT_MODEL, "m", 0, &id, &err));
    limit_files(1000000);
    assert_int_equal(store_tensor_put(s, id, "x", &x, &err), STATUS_STORE);
    limit_files(RLIM_INFINITY);
    assert_says("disk is full");
    assert_true(is_there(s, "kept"));
    assert_int_equal(entries(s, TABLE_BLOCKS), 0);
    assert_ok(store_tensor_put(s, id, "x", &x, &err));
    limit_files(1000);
    assert_int_equal(store_publish(s, id, manifest(NULL, 0, NULL, 0), &err), STATUS_STORE);
    limit_files(RLIM_INFINITY);
    assert_false(is_there(s, "m"));
    assert_ok(store_publish(s, id, manifest(NULL, 0, NULL, 0), &err));
    assert_true(is_there(s, "m"));
    store_close(s);
    assert_int_equal(verify("no-room").n, 0);
    free(path);
}

/* ---- Compaction. ---- */

static off_t data_size(const char *store)
{
    char *dir = path_join(directory, store), *path = path_join(dir, "data.mdb");
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    free(path);
    free(dir);
    return st.st_size;
}

static void test_compact(void **state)
{
    char *copy = path_join(directory, "copy");
    struct store *s = open_at("compact");
    artifact_id id, gone;

    (void)state;
    assert_ok(store_create(s, ARTIFACT_MODEL, "gone", 0, &gone, &err));
    put_bytes(s, gone, "x", 20 << 20, "x");
    assert_ok(store_publish(s, gone, manifest(NULL, 0, NULL, 0), &err));
    assert_ok(store_create(s, ARTIFACT_MODEL, "m", 0, &id, &err));
    put_bytes(s, id, "x", 1 << 20, "x");
    assert_ok(store_publish(s, id, manifest(NULL, 0, NULL, 0), &err));
    assert_ok(store_remove(s, gone, 0, NULL, &err));
    assert_true(data_size("compact") > 20 << 20);
    assert_ok(store_compact(s, copy, &err));
    assert_int_equal(store_compact(s, copy, &err), STATUS_REFUSED);
    uint64_t generation = store_generation(s);
    assert_ok(store_compact(s, NULL, &err));
    assert_true(store_generation(s) > generation);
    assert_true(data_size("compact") < 3 << 20);
    assert_true(is_there(s, "m")); /* the store is open as before */
    make(s, ARTIFACT_TEXT, "t", "model", id);
    store_close(s);
    assert_int_equal(verify("compact").n, 0);
    assert_true(data_size("copy") < 3 << 20);
    assert_int_equal(verify("copy").n, 0);
    s = open_at("copy");
    assert_true(is_there(s, "m"));
    assert_false(is_there(s, "t"));
    store_close(s);
    free(copy);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_tree(directory, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_map),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_compact),
    };

    return cmocka_run_group_tests_name("store_space", tests, set_up, tear_down);
}
