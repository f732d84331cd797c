/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What happens to artifacts: claims, killed writers, removal, replacement, damage. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "saescope/base/fileio.h"
#include "saescope/store/internal.h"
#include "saescope/store/store.h"
#include "tests/support/support.h"

extern char **environ;

static struct error err;
static const char *self; /* this program, which also plays the writer that is killed */

/* ---- Claims and sweeping. ---- */

static void set_state(struct store *s, uint64_t job, const char *state)
{
    json *record = json_new_object();

    json_set(record, "state", json_new_string(state));
    assert_ok(store_job_put(s, job, record, &err));
    json_free(record);
}

static void test_claims(void **state)
{
    struct store *s = open_store("claims");
    artifact_id a, b;
    uint64_t job;

    (void)state;
    assert_ok(store_create(s, ARTIFACT_SAE, "x", 0, &a, &err));
    assert_int_equal(store_create(s, ARTIFACT_SAE, "x", 1, &b, &err), STATUS_REFUSED);
    assert_says("is making");
    assert_ok(store_sweep(s, &err)); /* this process lives */
    put_bytes(s, a, "t", 100, "w");
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 1);
    store_abandon(s, a);
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 0);
    assert_int_equal(table_entries(s, TABLE_PENDING), 0);
    assert_int_equal(store_publish(s, a, new_manifest(NULL, 0), &err), STATUS_REFUSED);
    assert_ok(store_create(s, ARTIFACT_SAE, "x", 0, &a, &err));
    assert_ok(store_job_create(s, json_new_object(), &job, &err));
    set_state(s, job, "running");
    assert_ok(store_hold(s, a, job, &err));
    store_close(s);

    s = open_store("claims");
    assert_ok(store_sweep(s, &err));
    assert_int_equal(table_entries(s, TABLE_PENDING), 1); /* the job may go on */
    assert_int_equal(store_create(s, ARTIFACT_SAE, "x", 0, &b, &err), STATUS_REFUSED);
    assert_says("job 1");
    assert_ok(store_adopt(s, a, &err));
    set_state(s, job, "failed");
    assert_ok(store_sweep(s, &err));
    put_bytes(s, a, "t", 100, "w");
    assert_ok(store_hold(s, a, job, &err));
    assert_ok(store_sweep(s, &err));
    assert_int_equal(table_entries(s, TABLE_PENDING), 0);
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 0);
    assert_int_equal(table_entries(s, TABLE_SIZES), 0);
    assert_int_equal(store_adopt(s, a, &err), STATUS_REFUSED);
    assert_ok(store_create(s, ARTIFACT_SAE, "x", 0, &b, &err));
    store_close(s); /* gives up what was not published */
    s = open_store("claims");
    assert_ok(store_create(s, ARTIFACT_SAE, "x", 0, &b, &err));
    assert_int_equal(table_entries(s, TABLE_PENDING), 1);
    store_close(s);
}

/* As a program of its own: writes, says so, and waits to be killed; or publishes one artifact after the
 * other. */
static int play_writer(const char *path, int loop)
{
    struct store_options o = {.path = path};
    size_t shape[2] = {30000, 1000};
    struct tensor_writer *w;
    struct store *s;
    artifact_id id;
    char name[32];

    if (store_open(&o, &s, &err) || store_create(s, ARTIFACT_SAE, "victim", 0, &id, &err) ||
        store_tensor_begin(s, id, "W_dec", DTYPE_U8, 2, shape, &w, &err))
        return 1;
    char *rows = calloc(17000, 1000);
    if (store_tensor_append(w, rows, 17000, &err))
        return 1;
    if (write(STDOUT_FILENO, "!", 1) != 1)
        return 1;
    for (int i = 0; loop; i++) {
        json *m = json_new_object();
        struct tensor x = {DTYPE_U8, 2, {100, 1000}, rows};
        snprintf(name, sizeof name, "made-%d", i);
        if (store_create(s, ARTIFACT_MODEL, name, 0, &id, &err) || store_tensor_put(s, id, "x", &x, &err) ||
            store_publish(s, id, m, &err))
            return 1;
    }
    for (;;)
        pause();
}

static pid_t start_writer(const char *store, const char *how)
{
    char *path = test_path(store), *argv[] = {(char *)(uintptr_t)self, (char *)(uintptr_t)how, path, NULL};
    posix_spawn_file_actions_t actions;
    int out[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    assert_int_equal(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    assert_int_equal(read(out[0], &c, 1), 1);
    close(out[0]);
    free(path);
    return pid;
}

static void kill_writer(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void test_killed_writer(void **state)
{
    struct store *s = open_store("killed");
    artifact_id id;
    pid_t pid;

    (void)state;
    pid = start_writer("killed", "wait");
    assert_false(find_artifact(s, 0, "victim"));
    assert_ok(store_sweep(s, &err));
    assert_int_equal(table_entries(s, TABLE_PENDING), 1); /* it lives */
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 1);
    assert_int_equal(store_create(s, ARTIFACT_SAE, "victim", 0, &id, &err), STATUS_REFUSED);
    assert_says("process");
    assert_int_equal(store_compact(s, NULL, &err), STATUS_STORE);
    assert_says("in use by process");
    kill_writer(pid);
    assert_ok(store_create(s, ARTIFACT_SAE, "victim", 0, &id, &err)); /* sweeps */
    assert_int_equal(table_entries(s, TABLE_PENDING), 1);
    assert_int_equal(table_entries(s, TABLE_BLOCKS), 0);
    assert_int_equal(table_entries(s, TABLE_TENSORS), 0);
    assert_ok(store_publish(s, id, new_manifest(NULL, 0), &err));
    store_close(s);
}

static void count_problem(const struct store_problem *p, void *arg)
{
    struct store_problem *last = arg;

    print_message("# %s %s %d: %s\n", p->name, p->tensor ? p->tensor : "-", (int)p->block, p->message);
    last->block++;
}

static void test_killed_while_committing(void **state)
{
    struct store_problem count = {NULL, NULL, 0, NULL};
    struct store *s = open_store("committing");

    (void)state;
    for (int i = 0; i < 8; i++) {
        pid_t pid = start_writer("committing", "loop");
        usleep((useconds_t)(3000 + 7919 * i));
        kill_writer(pid);
        /* A commit that was on the disk, but not yet announced to readers, shows when the next writer begins.
         */
        struct store_txn next;
        assert_ok(write_begin(s, &next, &err));
        write_abort(&next);
        assert_ok(store_verify(s, NULL, count_problem, &count, &err));
        assert_int_equal(count.block, 0);
        assert_false(find_artifact(s, 0, "victim"));
        struct store_txn *t;
        struct artifact *list;
        size_t n;
        assert_ok(store_begin(s, &t, &err));
        assert_ok(store_list(t, 0, &list, &n, &err));
        store_end(t);
        for (size_t k = 0; k < n; k++)
            assert_ok(store_remove(s, list[k].id, 0, NULL, &err));
        free(list);
        assert_ok(store_sweep(s, &err));
        assert_int_equal(table_entries(s, TABLE_PENDING), 0);
        assert_int_equal(table_entries(s, TABLE_BLOCKS), 0);
        assert_int_equal(table_entries(s, TABLE_SIZES), 0);
    }
    store_close(s);
}

/* ---- Removing, replacing, renaming. ---- */

static void test_remove(void **state)
{
    struct store *s = open_store("remove");
    artifact_id model = make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0),
                text = make_artifact(s, ARTIFACT_TEXT, "t", "model", model);
    artifact_id sae = make_artifact(s, ARTIFACT_SAE, "s", "model", model),
                meta = make_artifact(s, ARTIFACT_SAE, "meta", "base", sae);
    artifact_id index = make_artifact2(s, ARTIFACT_INDEX, NULL, "sae", sae, "text", text);
    struct label label = {3, LABEL_USER, "a", 1};
    struct store_txn *t;
    size_t removed;

    (void)state;
    assert_ok(store_put_labels(s, sae, &label, 1, &err));
    assert_int_equal(store_remove(s, text, 0, &removed, &err), STATUS_REFUSED);
    assert_string_equal(err.message,
                        "text t is needed by index of SAE s: remove that first, or all with --cascade");
    assert_int_equal(store_remove(s, model, 0, &removed, &err), STATUS_REFUSED);
    assert_says("text t, SAE s");
    assert_int_equal(store_remove(s, sae, 0, &removed, &err), STATUS_REFUSED);
    assert_says("SAE s is needed by SAE meta");
    assert_int_equal(removed, 0);
    assert_true(find_artifact(s, 0, "s"));
    assert_ok(store_remove(s, meta, 0, &removed, &err));
    assert_int_equal(removed, 1);
    assert_ok(store_remove(s, sae, 0, &removed, &err));
    assert_int_equal(removed, 2);
    assert_int_equal(table_entries(s, TABLE_LABELS), 0);
    assert_int_equal(table_entries(s, TABLE_INDEX_OF), 0);
    assert_ok(store_begin(s, &t, &err));
    assert_null(store_manifest(t, index, &err));
    store_end(t);
    assert_int_equal(store_remove(s, sae, 0, &removed, &err), STATUS_REFUSED);

    sae = make_artifact(s, ARTIFACT_SAE, "s", "model", model);
    make_artifact2(s, ARTIFACT_INDEX, NULL, "sae", sae, "text", text);
    make_artifact2(s, ARTIFACT_STITCH, "st", "small", sae, "large", sae);
    assert_ok(store_remove(s, model, 1, &removed, &err));
    assert_int_equal(removed, 5);
    assert_int_equal(table_entries(s, TABLE_NAMES) + table_entries(s, TABLE_ARTIFACTS) +
                         table_entries(s, TABLE_MANIFESTS),
                     0);
    assert_int_equal(table_entries(s, TABLE_REFERENCES) + table_entries(s, TABLE_PENDING), 0);
    store_close(s);
}

static void test_removed_while_being_used(void **state)
{
    struct store *s = open_store("meanwhile");
    artifact_id model = make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0), id;

    (void)state;
    assert_ok(store_create(s, ARTIFACT_SAE, "s", 0, &id, &err));
    assert_ok(store_remove(s, model, 0, NULL, &err));
    assert_int_equal(store_publish(s, id, new_manifest("model", model), &err), STATUS_REFUSED);
    assert_says("its model");
    assert_false(find_artifact(s, 0, "s"));
    store_close(s);
}

static void test_replace(void **state)
{
    struct store *s = open_store("replace");
    artifact_id model = make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0),
                sae = make_artifact(s, ARTIFACT_SAE, "s", "model", model);
    artifact_id first, second, id;
    struct record record = {1, "r", 1};
    struct store_txn *t;
    struct artifact a;

    (void)state;
    assert_int_equal(store_create(s, ARTIFACT_SAE, "s", 0, &id, &err), STATUS_REFUSED);
    assert_says("--replace");
    assert_int_equal(store_create(s, ARTIFACT_MODEL, "m", 1, &id, &err), STATUS_REFUSED);
    assert_says("needed by SAE s");
    assert_int_equal(store_create(s, ARTIFACT_TEXT, "s", 1, &id, &err), STATUS_REFUSED);

    assert_ok(store_create(s, ARTIFACT_INDEX, NULL, 0, &first, &err));
    assert_ok(store_put_records(s, first, RECORD_CONTEXTS, &record, 1, &err));
    assert_ok(store_publish(s, first, new_manifest("sae", sae), &err));
    second = make_artifact(s, ARTIFACT_INDEX, NULL, "sae", sae);
    assert_int_equal(table_entries(s, TABLE_RECORDS), 0);
    assert_ok(store_begin(s, &t, &err));
    assert_int_equal(store_index_of(t, sae), second);
    assert_int_equal(store_get(t, first, &a, &err), STATUS_REFUSED);
    store_end(t);

    assert_ok(store_create(s, ARTIFACT_SAE, "s", 1, &id, &err));
    assert_true(find_artifact(s, 0, "s")); /* the old one, until the new one is published */
    assert_ok(store_publish(s, id, new_manifest("model", model), &err));
    assert_ok(store_begin(s, &t, &err));
    assert_ok(store_find(t, ARTIFACT_SAE, "s", &a, &err));
    assert_int_equal(a.id, id);
    assert_int_equal(store_get(t, sae, &a, &err), STATUS_REFUSED);
    assert_int_equal(store_get(t, second, &a, &err), STATUS_REFUSED);
    store_end(t);
    assert_int_equal(table_entries(s, TABLE_ARTIFACTS), 2);
    assert_int_equal(table_entries(s, TABLE_PENDING), 0);
    store_close(s);
}

static void test_rename(void **state)
{
    struct store *s = open_store("rename");
    artifact_id model = make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0), id;

    (void)state;
    make_artifact(s, ARTIFACT_SAE, "s", "model", model);
    assert_int_equal(store_rename(s, model, "s", &err), STATUS_REFUSED);
    assert_int_equal(store_rename(s, model, "a b", &err), STATUS_REFUSED);
    assert_ok(store_create(s, ARTIFACT_SAE, "claimed", 0, &id, &err));
    assert_int_equal(store_rename(s, model, "claimed", &err), STATUS_REFUSED);
    assert_ok(store_rename(s, model, "n", &err));
    assert_true(find_artifact(s, 0, "n"));
    assert_false(find_artifact(s, 0, "m"));
    assert_int_equal(store_remove(s, model, 0, NULL, &err), STATUS_REFUSED);
    assert_says("model n is needed by SAE s");
    store_close(s);
}

/* ---- Damage. ---- */

/* Changes one byte of data.mdb behind every place where `word` stands. */
static int flip_at(const char *store, const char *word)
{
    char *dir = test_path(store), *path = path_join(dir, "data.mdb");
    struct strbuf data = STRBUF_INIT;
    int fd = open(path, O_RDWR), flipped = 0;
    size_t n = strlen(word);

    assert_ok(file_read(path, SIZE_MAX, &data, &err));
    for (size_t i = 0; i + n <= data.length; i++)
        if (!memcmp(data.data + i, word, n)) {
            char c = (char)(data.data[i] ^ 1);
            assert_int_equal(pwrite(fd, &c, 1, (off_t)i), 1);
            flipped++;
        }
    close(fd);
    strbuf_free(&data);
    free(path);
    free(dir);
    return flipped;
}

static void test_verify_entries(void **state)
{
    struct store *s = open_store("entries");
    artifact_id model = make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0);
    struct key key = key_string("ghost"), id = key_u64(model);
    struct store_txn t;

    (void)state;
    make_artifact(s, ARTIFACT_SAE, "s", "model", model);
    assert_ok(write_begin(s, &t, &err));
    assert_int_equal(table_put_u64(&t, TABLE_NAMES, &key, 99), 0);
    assert_ok(write_commit(&t, &err));
    store_close(s);
    assert_string_equal(verify_store("entries").name, "ghost");
    s = open_store("entries");
    assert_ok(write_begin(s, &t, &err));
    assert_int_equal(table_delete(&t, TABLE_NAMES, &key), 0);
    key = key_string("m");
    assert_int_equal(table_delete(&t, TABLE_NAMES, &key), 0);
    assert_int_equal(table_delete(&t, TABLE_ARTIFACTS, &id), 0);
    assert_ok(write_commit(&t, &err));
    store_close(s);
    struct problems f = verify_store("entries");
    assert_int_equal(f.n, 1);
    assert_string_equal(f.name, "s");
    assert_string_equal(f.message, "its model is not in the store");
}

static void test_verify(void **state)
{
    struct store *s = open_store("verify");
    artifact_id sae, index;
    struct record record = {5, "RECORD OF A TEST", 16};
    struct problems f;

    (void)state;
    assert_ok(store_create(s, ARTIFACT_SAE, "s", 0, &sae, &err));
    put_bytes(s, sae, "W_dec", 40 << 20, "WORD IN A TENSOR");
    put_bytes(s, sae, "b_dec", 100, "SMALL");
    assert_ok(store_publish(s, sae, new_manifest(NULL, 0), &err));
    assert_ok(store_create(s, ARTIFACT_INDEX, NULL, 0, &index, &err));
    assert_ok(store_put_records(s, index, RECORD_CONTEXTS, &record, 1, &err));
    assert_ok(store_publish(s, index, new_manifest("sae", sae), &err));
    store_close(s);
    assert_int_equal(verify_store("verify").n, 0);

    assert_int_equal(flip_at("verify", "WORD IN A TENSOR"), 1);
    f = verify_store("verify");
    assert_int_equal(f.n, 1);
    assert_string_equal(f.name, "s");
    assert_string_equal(f.tensor, "W_dec");
    assert_int_equal(f.block, 1);
    assert_true(flip_at("verify", "RECORD OF A TEST") >= 1);
    f = verify_store("verify");
    assert_int_equal(f.n, 2);
    assert_string_equal(f.name, "index of SAE s");
    assert_int_equal(f.block, 5);
    assert_true(flip_at("verify", "MANIFEST OF A TEST") >= 1);
    assert_int_equal(verify_store("verify").n, 4);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_removed_while_being_used),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_verify_entries),
        cmocka_unit_test(test_killed_while_committing),
    };

    if (argc == 3)
        return play_writer(argv[2], !strcmp(argv[1], "loop"));
    self = "/proc/self/exe";
    return cmocka_run_group_tests_name("store_life", tests, set_up_directory, tear_down_directory);
}
