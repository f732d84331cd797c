/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stores for tests. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/store/internal.h"
#include "support.h"

struct store *open_store_with(const char *name, struct store_options options)
{
    struct error err = {0};
    struct store *s = NULL;
    char *path = test_path(name);
    options.path = path;
    assert_ok(store_open(&options, &s, &err));
    free(path);
    return s;
}

struct store *open_store(const char *name)
{
    return open_store_with(name, (struct store_options){.create = 1});
}

struct store_txn *begin_reading(struct store *s)
{
    struct error err = {0};
    struct store_txn *t;
    assert_ok(store_begin(s, &t, &err));
    return t;
}

artifact_id find_artifact(struct store *s, enum artifact_kind kind, const char *name)
{
    struct store_txn *t = begin_reading(s);
    struct artifact a;
    int status = store_find(t, kind, name, &a, NULL);
    store_end(t);
    return status ? 0 : a.id;
}

json *read_manifest(struct store *s, artifact_id id)
{
    struct error err = {0};
    struct store_txn *t = begin_reading(s);
    json *m = store_manifest(t, id, &err);
    store_end(t);
    if (!m)
        fail_msg("%s", err.message);
    return m;
}

json *new_references(const char *role, artifact_id id)
{
    json *references = json_new_object();
    if (role)
        json_set(references, role, json_new_integer((long long)id));
    return references;
}

json *new_manifest(const char *role, artifact_id id)
{
    json *m = json_new_object();
    json_set(m, "comment", json_new_string("MANIFEST OF A TEST"));
    json_set(m, "references", new_references(role, id));
    return m;
}

artifact_id make_artifact2(struct store *s, enum artifact_kind kind, const char *name, const char *role,
                           artifact_id id, const char *role2, artifact_id id2)
{
    struct error err = {0};
    artifact_id made;
    json *m = new_manifest(role, id);
    if (role2)
        json_set(json_get(m, "references"), role2, json_new_integer((long long)id2));
    assert_ok(store_create(s, kind, name, 0, &made, &err));
    assert_ok(store_publish(s, made, m, &err));
    return made;
}

artifact_id make_artifact(struct store *s, enum artifact_kind kind, const char *name, const char *role,
                          artifact_id id)
{
    return make_artifact2(s, kind, name, role, id, NULL, 0);
}

void remove_artifact(struct store *s, artifact_id id)
{
    struct error err = {0};
    size_t removed;
    assert_ok(store_remove(s, id, 1, &removed, &err));
}

void put_bytes(struct store *s, artifact_id id, const char *tensor, size_t n, const char *word)
{
    struct error err = {0};
    char *data = xcalloc(1, n);
    struct tensor x = {DTYPE_U8, 1, {n}, data};
    memcpy(data + n / 2, word, strlen(word));
    assert_ok(store_tensor_put(s, id, tensor, &x, &err));
    free(data);
}

size_t table_entries(struct store *s, int table)
{
    struct store_txn *t = begin_reading(s);
    MDB_stat stat;
    assert_int_equal(mdb_stat(t->txn, s->tables[table], &stat), 0);
    store_end(t);
    return stat.ms_entries;
}

static void note_problem(const struct store_problem *p, void *arg)
{
    struct problems *seen = arg;
    seen->n++;
    snprintf(seen->name, sizeof seen->name, "%s", p->name);
    snprintf(seen->tensor, sizeof seen->tensor, "%s", p->tensor ? p->tensor : "");
    snprintf(seen->message, sizeof seen->message, "%s", p->message);
    seen->block = p->block;
}

struct problems verify_store(const char *name)
{
    struct error err = {0};
    struct store *s = open_store(name);
    struct problems seen = {0, "", "", "", 0};
    assert_ok(store_verify(s, NULL, note_problem, &seen, &err));
    store_close(s);
    return seen;
}
