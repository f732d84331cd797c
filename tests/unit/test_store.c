/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store: opening, artifacts, records, labels, jobs. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "saescope/base/fileio.h"
#include "saescope/store/internal.h"
#include "saescope/store/store.h"
#include "tests/support/support.h"

static struct error err;

static int try_open(const char *name, int create, int read_only)
{
    char *path = test_path(name);
    struct store_options o = {.path = path, .create = create, .read_only = read_only};
    struct store *s = NULL;
    int code;

    error_clear(&err);
    code = store_open(&o, &s, &err);
    if (!code)
        store_close(s);
    else
        assert_null(s);
    free(path);
    return code;
}

static void test_open_refuses(void **state)
{
    char *dir = test_path("plain"), *path = test_path("plain/notes.txt"), *file = test_path("file");
    struct store *s;

    (void)state;
    assert_int_equal(try_open("missing", 0, 0), STATUS_STORE);
    assert_says("no store at");
    assert_false(path_exists(dir));
    assert_ok(make_directories(dir, 0777, &err));
    assert_ok(file_write_atomic(path, "x", 1, &err));
    assert_int_equal(try_open("plain", 1, 0), STATUS_STORE);
    assert_says("no saescope store");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* nothing was left in it */
    assert_ok(file_write_atomic(file, "x", 1, &err));
    assert_int_equal(try_open("file", 1, 0), STATUS_STORE);
    assert_says("no directory");
    free(file);
    free(path);
    free(dir);

    dir = test_path("garbage");
    path = test_path("garbage/data.mdb");
    assert_ok(make_directories(dir, 0777, &err));
    char bytes[20000];
    memset(bytes, 'x', sizeof bytes);
    assert_ok(file_write_atomic(path, bytes, sizeof bytes, &err));
    assert_int_equal(try_open("garbage", 1, 0), STATUS_STORE);
    assert_says("no saescope store");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, sizeof bytes);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    free(path);
    free(dir);

    s = open_store("truncated");
    make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0);
    artifact_id id;
    static float zeros[1 << 18];
    struct tensor x = {DTYPE_F32, 1, {1 << 18}, zeros};
    assert_ok(store_create(s, ARTIFACT_MODEL, "big", 0, &id, &err));
    assert_ok(store_tensor_put(s, id, "x", &x, &err));
    assert_ok(store_publish(s, id, new_manifest(NULL, 0), &err));
    store_close(s);
    path = test_path("truncated/data.mdb");
    assert_int_equal(truncate(path, 20000), 0);
    free(path);
    assert_int_equal(try_open("truncated", 0, 0), STATUS_STORE);
    assert_says("damaged");
}

static void test_open_empty_directory_and_newer(void **state)
{
    struct format_record newer = {FORMAT_MAGIC, STORE_FORMAT_VERSION + 1};
    struct key key = key_string("format");
    char *dir = test_path("empty");
    struct store_txn t;
    struct store *s, *again;

    (void)state;
    assert_ok(make_directories(dir, 0777, &err));
    free(dir);
    assert_int_equal(try_open("empty", 0, 0), STATUS_STORE);
    assert_int_equal(try_open("empty", 1, 1), STATUS_STORE);
    s = open_store("empty");
    again = open_store_with("empty", (struct store_options){0}); /* one environment, shared */
    assert_ptr_equal(s, again);
    store_close(again);
    assert_ok(write_begin(s, &t, &err));
    assert_int_equal(table_put(&t, TABLE_META, &key, &newer, sizeof newer), 0);
    assert_ok(write_commit(&t, &err));
    store_close(s);
    assert_int_equal(try_open("empty", 1, 0), STATUS_STORE);
    assert_says("newer");
}

static void test_read_only(void **state)
{
    struct store *s = open_store("read-only");
    struct artifact a;
    struct store_txn *t;
    artifact_id id;

    (void)state;
    make_artifact(s, ARTIFACT_MODEL, "m", NULL, 0);
    store_close(s);
    s = open_store_with("read-only", (struct store_options){.read_only = 1});
    assert_true(store_is_read_only(s));
    t = begin_reading(s);
    assert_ok(store_find(t, 0, "m", &a, &err));
    store_end(t);
    assert_int_equal(store_create(s, ARTIFACT_MODEL, "n", 0, &id, &err), STATUS_STORE);
    assert_says("reading only");
    assert_int_equal(store_remove(s, a.id, 0, NULL, &err), STATUS_STORE);
    store_close(s);
}

static void test_exclusive(void **state)
{
    struct store *s = open_store_with("exclusive", (struct store_options){.create = 1, .exclusive = 1});
    struct store_txn *t[2], *old;
    struct artifact a;
    artifact_id id;

    (void)state;
    make_artifact(s, ARTIFACT_MODEL, "a", NULL, 0);
    old = begin_reading(s);
    id = 0;
    assert_ok(store_create(s, ARTIFACT_MODEL, "b", 0, &id, &err)); /* one commit beside a reader */
    t[0] = begin_reading(s);
    t[1] = begin_reading(s);
    assert_ok(store_find(t[0], 0, "a", &a, &err));
    store_end(old);
    store_end(t[0]);
    store_end(t[1]);
    assert_ok(store_publish(s, id, new_manifest(NULL, 0), &err));
    t[0] = begin_reading(s);
    assert_ok(store_find(t[0], 0, "b", &a, &err));
    store_end(t[0]);
    store_close(s);
}

static void test_network_names(void **state)
{
    const char *name = NULL;

    (void)state;
    assert_true(network_file_system(0x6969, &name));
    assert_string_equal(name, "NFS");
    assert_true(network_file_system((long)0xff534d42, &name));
    assert_false(network_file_system(0xef53, &name)); /* ext4 */
}

static void test_names(void **state)
{
    char longest[NAME_MAX_BYTES + 2];

    (void)state;
    memset(longest, 'a', sizeof longest);
    longest[NAME_MAX_BYTES] = '\0';
    assert_int_equal(store_check_name("gpt2-49152_x.y+z", &err), 0);
    assert_int_equal(store_check_name(longest, &err), 0);
    longest[NAME_MAX_BYTES] = 'a';
    longest[NAME_MAX_BYTES + 1] = '\0';
    assert_int_equal(store_check_name("", &err), STATUS_REFUSED);
    assert_int_equal(store_check_name("-x", &err), STATUS_REFUSED);
    assert_int_equal(store_check_name(".x", &err), STATUS_REFUSED);
    assert_int_equal(store_check_name("a/b", &err), STATUS_REFUSED);
    assert_int_equal(store_check_name("a\033b", &err), STATUS_REFUSED);
    assert_null(strchr(err.message, '\033'));
}

static void test_artifacts(void **state)
{
    struct store *s = open_store("artifacts");
    artifact_id model, unpublished;
    uint64_t generation = store_generation(s);
    struct artifact a, *list;
    struct store_txn *t;
    size_t n;

    (void)state;
    model = make_artifact(s, ARTIFACT_MODEL, "wordnet-lm", NULL, 0);
    assert_true(store_generation(s) > generation);
    make_artifact(s, ARTIFACT_TEXT, "wordnet", "model", model);
    make_artifact(s, ARTIFACT_SAE, "wn-256", "model", model);
    assert_ok(store_create(s, ARTIFACT_SAE, "wn-1024", 0, &unpublished, &err));
    t = begin_reading(s);
    assert_ok(store_find(t, ARTIFACT_MODEL, "wordnet-lm", &a, &err));
    assert_int_equal(a.id, model);
    assert_string_equal(a.name, "wordnet-lm");
    assert_int_equal(store_find(t, ARTIFACT_SAE, "wn-1024", &a, &err), STATUS_REFUSED);
    assert_int_equal(store_find(t, ARTIFACT_SAE, "wn-265", &a, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "no SAE named wn-265: did you mean wn-256?");
    assert_int_equal(store_find(t, ARTIFACT_SAE, "wordnet", &a, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "wordnet is a text, not an SAE");
    assert_int_equal(store_find(t, 0, "zzzzzzzz", &a, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "no artifact named zzzzzzzz");
    assert_ok(store_list(t, 0, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_string_equal(list[0].name, "wn-256");
    assert_string_equal(list[1].name, "wordnet");
    assert_string_equal(list[2].name, "wordnet-lm");
    free(list);
    assert_ok(store_list(t, ARTIFACT_STITCH, &list, &n, &err));
    assert_int_equal(n, 0);
    free(list);
    char **names = store_names(t, ARTIFACT_TEXT);
    assert_string_equal(names[0], "wordnet");
    assert_null(names[1]);
    store_names_free(names);
    json *m = store_manifest(t, model, &err);
    assert_string_equal(json_get_string(m, "comment", ""), "MANIFEST OF A TEST");
    json_free(m);
    assert_null(store_manifest(t, unpublished, &err));
    assert_int_equal(store_get(t, unpublished, &a, &err), STATUS_REFUSED);
    store_end(t);
    store_close(s);

    s = open_store_with("artifacts", (struct store_options){0}); /* ids are not used again */
    artifact_id next = make_artifact(s, ARTIFACT_MODEL, "other", NULL, 0);
    assert_true(next > unpublished);
    store_close(s);
}

static void test_records(void **state)
{
    struct store *s = open_store("records");
    struct record r[] = {{0, "zero", 4}, {1, "", 0}, {1u << 31, "far", 3}}, again = {0, "0", 1};
    struct store_txn *t;
    const void *data;
    artifact_id sae, id;
    uint64_t bytes;
    size_t n;

    (void)state;
    sae = make_artifact(s, ARTIFACT_SAE, "s", NULL, 0);
    assert_ok(store_create(s, ARTIFACT_INDEX, NULL, 0, &id, &err));
    assert_ok(store_put_records(s, id, RECORD_CONTEXTS, r, 3, &err));
    assert_ok(store_put_records(s, id, RECORD_CONTEXTS, &again, 1, &err));
    assert_ok(store_publish(s, id, new_manifest("sae", sae), &err));
    assert_int_equal(store_put_records(s, id, RECORD_CONTEXTS, r, 1, &err), STATUS_REFUSED);
    t = begin_reading(s);
    assert_ok(store_record(t, id, RECORD_CONTEXTS, 0, &data, &n, &err));
    assert_int_equal(n, 1);
    assert_memory_equal(data, "0", 1);
    assert_ok(store_record(t, id, RECORD_CONTEXTS, 1, &data, &n, &err));
    assert_int_equal(n, 0);
    assert_non_null(data);
    assert_ok(store_record(t, id, RECORD_CONTEXTS, 1u << 31, &data, &n, &err));
    assert_memory_equal(data, "far", 3);
    assert_ok(store_record(t, id, RECORD_CONTEXTS, 2, &data, &n, &err));
    assert_null(data);
    assert_ok(store_record(t, id, RECORD_TOKENIZER, 0, &data, &n, &err));
    assert_null(data);
    assert_int_equal(store_index_of(t, sae), id);
    bytes = store_bytes(t, id);
    assert_true(store_bytes(t, sae) > bytes);
    store_end(t);
    store_close(s);
}

struct seen {
    char text[200];
    size_t stop_after;
};

static int see(const struct label *l, void *arg)
{
    struct seen *seen = arg;
    size_t n = strlen(seen->text);

    snprintf(seen->text + n, sizeof seen->text - n, "%d:%.*s ", (int)l->latent, (int)l->n, l->text);
    return --seen->stop_after == 0;
}

static void test_labels(void **state)
{
    struct store *s = open_store("labels");
    artifact_id sae = make_artifact(s, ARTIFACT_SAE, "s", NULL, 0),
                other = make_artifact(s, ARTIFACT_SAE, "s2", NULL, 0);
    struct label l[] = {{7, LABEL_AUTO, "auto", 4},
                        {7, LABEL_IMPORTED, "imported", 8},
                        {300, LABEL_AUTO, "dogs", 4},
                        {7, LABEL_USER, "user", 4}};
    struct label gone = {7, LABEL_USER, NULL, 0}, wrong = {7, (enum label_source)9, "x", 1}, got;
    struct seen seen = {"", 99};
    struct store_txn *t;

    (void)state;
    assert_ok(store_put_labels(s, sae, l, 4, &err));
    assert_int_equal(store_put_labels(s, sae, &wrong, 1, &err), STATUS_FAILED);
    assert_int_equal(store_put_labels(s, 999, l, 4, &err), STATUS_REFUSED);
    t = begin_reading(s);
    assert_ok(store_label(t, sae, 7, &got, &err));
    assert_int_equal(got.source, LABEL_USER);
    assert_memory_equal(got.text, "user", 4);
    assert_ok(store_label(t, sae, 8, &got, &err));
    assert_null(got.text);
    assert_ok(store_label(t, other, 7, &got, &err));
    assert_null(got.text);
    store_end(t);
    assert_ok(store_put_labels(s, sae, &gone, 1, &err));
    assert_ok(store_put_labels(s, sae, &gone, 1, &err)); /* removing what is not there is fine */
    t = begin_reading(s);
    assert_ok(store_label(t, sae, 7, &got, &err));
    assert_int_equal(got.source, LABEL_IMPORTED);
    assert_ok(store_labels_each(t, sae, see, &seen, &err));
    assert_string_equal(seen.text, "7:imported 300:dogs ");
    seen.text[0] = '\0';
    seen.stop_after = 1;
    assert_ok(store_labels_each(t, sae, see, &seen, &err));
    assert_string_equal(seen.text, "7:imported ");
    store_end(t);
    store_close(s);
}

static void test_jobs(void **state)
{
    struct store *s = open_store("jobs");
    json *record = json_new_object();
    uint64_t id, *ids;
    struct store_txn *t;
    size_t n;

    (void)state;
    json_set(record, "state", json_new_string("queued"));
    assert_ok(store_job_create(s, json_retain(record), &id, &err));
    assert_int_equal(id, 1);
    assert_ok(store_job_create(s, json_retain(record), &id, &err));
    assert_int_equal(id, 2);
    json_set(record, "state", json_new_string("running"));
    assert_ok(store_job_put(s, 2, record, &err));
    assert_int_equal(store_job_put(s, 3, record, &err), STATUS_REFUSED);
    json_free(record);
    t = begin_reading(s);
    assert_ok(store_jobs(t, &ids, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(ids[1], 2);
    free(ids);
    record = store_job(t, 2, &err);
    assert_string_equal(json_get_string(record, "state", ""), "running");
    json_free(record);
    assert_null(store_job(t, 77, &err));
    assert_string_equal(err.message, "no job 77");
    store_end(t);
    char *path = store_work_directory(s, 2, &err);
    assert_true(path_is_directory(path));
    free(path);
    path = store_jobs_directory(s, &err);
    assert_true(path_is_directory(path));
    free(path);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_refuses),  cmocka_unit_test(test_open_empty_directory_and_newer),
        cmocka_unit_test(test_read_only),     cmocka_unit_test(test_exclusive),
        cmocka_unit_test(test_network_names), cmocka_unit_test(test_names),
        cmocka_unit_test(test_artifacts),     cmocka_unit_test(test_records),
        cmocka_unit_test(test_labels),        cmocka_unit_test(test_jobs),
    };

    return cmocka_run_group_tests_name("store", tests, set_up_directory, tear_down_directory);
}
