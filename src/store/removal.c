/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Removing. One transaction takes manifest and name away and leaves the id doomed; its tensors, records and
 * labels are purged after that in transactions of bounded size, by the remover or, when that is killed, by
 * the next writer.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/store/internal.h"

#define PURGE_BLOCKS 64
#define PURGE_VALUES 8192

void id_list_add(struct id_list *l, artifact_id id)
{
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 8;
        l->ids = xreallocarray(l->ids, l->capacity, sizeof *l->ids);
    }
    l->ids[l->n++] = id;
}

int id_list_has(const struct id_list *l, artifact_id id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->ids[i] == id)
            return 1;
    return 0;
}

/* Adds what refers to `id`: an SAE's index to `own`, everything else to `others`. */
static int referrers(struct store_txn *t, artifact_id id, struct id_list *own, struct id_list *others)
{
    struct key key = key_u64(id);
    artifact_id index = store_index_of(t, id);
    struct walk w;
    int rc = walk_begin(t, TABLE_REFERENCES, &key, &w);

    while (!rc && !(rc = walk_next(&w))) {
        artifact_id referrer = w.key.mv_size == 16 ? key_number((const char *)w.key.mv_data + 8, 8) : 0;
        if (!referrer)
            rc = MDB_CORRUPTED;
        else
            id_list_add(referrer == index ? own : others, referrer);
    }
    walk_end(&w);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int refuse_removal(struct store_txn *t, artifact_id id, const struct id_list *others,
                          struct error *err)
{
    char what[NAME_MAX_BYTES + 64], who[NAME_MAX_BYTES + 64];
    struct strbuf list = STRBUF_INIT;

    artifact_describe(t, id, what, sizeof what);
    for (size_t i = 0; i < others->n && i < 3; i++) {
        artifact_describe(t, others->ids[i], who, sizeof who);
        strbuf_addf(&list, "%s%s", i ? ", " : "", who);
    }
    if (others->n > 3)
        strbuf_addf(&list, " and %zu more", others->n - 3);
    error_set(err, STATUS_REFUSED, "%s is needed by %s: remove that first, or all with --cascade", what,
              strbuf_string(&list));
    strbuf_free(&list);
    return STATUS_REFUSED;
}

int removal_collect(struct store_txn *t, artifact_id id, int cascade, struct id_list *l, struct error *err)
{
    size_t next = l->n;
    int code = 0, rc = 0;

    id_list_add(l, id);
    for (; next < l->n && !code && !rc; next++) {
        struct id_list own = {NULL, 0, 0}, others = {NULL, 0, 0};
        rc = referrers(t, l->ids[next], &own, &others);
        if (!rc && others.n && !cascade)
            code = refuse_removal(t, l->ids[next], &others, err);
        for (size_t i = 0; i < own.n; i++)
            if (!id_list_has(l, own.ids[i]))
                id_list_add(l, own.ids[i]);
        for (size_t i = 0; i < others.n; i++)
            if (!id_list_has(l, others.ids[i]))
                id_list_add(l, others.ids[i]);
        free(own.ids);
        free(others.ids);
    }
    return rc ? store_fail(t->store, rc, err, "look up references") : code;
}

/* References from and to `id`: there are few of them in a store. */
static int references_delete(struct store_txn *t, artifact_id id)
{
    struct walk w;
    int rc = walk_begin(t, TABLE_REFERENCES, NULL, &w);

    while (!rc && !(rc = walk_next(&w)))
        if (w.key.mv_size == 16 &&
            (key_number(w.key.mv_data, 8) == id || key_number((const char *)w.key.mv_data + 8, 8) == id))
            rc = walk_delete(&w);
    walk_end(&w);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int index_of_delete(struct store_txn *t, artifact_id id)
{
    struct walk w;
    int rc = walk_begin(t, TABLE_INDEX_OF, NULL, &w);

    while (!rc && !(rc = walk_next(&w)))
        if (key_number(w.key.mv_data, 8) == id ||
            (w.value.mv_size == sizeof id && !memcmp(w.value.mv_data, &id, sizeof id)))
            rc = walk_delete(&w);
    walk_end(&w);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int removal_unpublish(struct store_txn *t, artifact_id id)
{
    struct key key = key_u64(id), name;
    struct artifact a;
    struct pending p;
    int rc = artifact_load(t, id, &a);

    if (rc)
        return rc;
    memset(&p, 0, sizeof p);
    p.record.kind = a.kind;
    p.record.mode = PENDING_DOOMED;
    if (a.name[0]) {
        name = key_string(a.name);
        rc = table_delete(t, TABLE_NAMES, &name);
    }
    if (!rc)
        rc = table_delete(t, TABLE_MANIFESTS, &key);
    if (!rc)
        rc = table_delete(t, TABLE_ARTIFACTS, &key);
    if (!rc)
        rc = references_delete(t, id);
    if (!rc)
        rc = index_of_delete(t, id);
    return rc ? rc : pending_put(t, id, &p);
}

int store_remove(struct store *s, artifact_id id, int cascade, size_t *removed, struct error *err)
{
    struct id_list list = {NULL, 0, 0};
    struct store_txn t;
    struct artifact a;
    int code, rc = 0;

    if (removed)
        *removed = 0;
    code = write_begin(s, &t, err);
    if (code)
        return code;
    code = store_get(&t, id, &a, err);
    if (!code)
        code = removal_collect(&t, id, cascade, &list, err);
    for (size_t i = 0; i < list.n && !code && !rc; i++)
        rc = removal_unpublish(&t, list.ids[i]);
    if (rc)
        code = store_fail(s, rc, err, "remove an artifact");
    if (!code)
        code = write_commit(&t, err);
    else
        write_abort(&t);
    if (!code && removed)
        *removed = list.n;
    for (size_t i = 0; i < list.n && !code; i++)
        purge(s, list.ids[i]);
    free(list.ids);
    return code;
}

/* Deletes up to `limit` entries of `id`; *left counts down. */
static int purge_table(struct store_txn *t, enum table table, artifact_id id, size_t *left)
{
    struct key key = key_u64(id);
    struct walk w;
    int rc = walk_begin(t, table, &key, &w);

    while (!rc && *left && !(rc = walk_next(&w))) {
        rc = walk_delete(&w);
        (*left)--;
    }
    walk_end(&w);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* One transaction's worth; *done when nothing is left. */
static int purge_some(struct store_txn *t, artifact_id id, int *done)
{
    struct key key = key_u64(id);
    size_t blocks = PURGE_BLOCKS, values = PURGE_VALUES;
    int rc = purge_table(t, TABLE_BLOCKS, id, &blocks);

    if (!rc)
        rc = purge_table(t, TABLE_RECORDS, id, &values);
    if (!rc)
        rc = purge_table(t, TABLE_LABELS, id, &values);
    if (!rc)
        rc = purge_table(t, TABLE_TENSORS, id, &values);
    *done = !rc && blocks && values;
    if (*done)
        rc = table_delete(t, TABLE_SIZES, &key);
    if (*done && !rc)
        rc = table_delete(t, TABLE_PENDING, &key);
    return rc;
}

void purge(struct store *s, artifact_id id)
{
    struct store_txn t;
    struct pending p;
    int done = 0;

    while (!done) {
        if (write_begin(s, &t, NULL))
            return;
        if (pending_load(&t, id, &p) || p.record.mode != PENDING_DOOMED || purge_some(&t, id, &done)) {
            write_abort(&t);
            return;
        }
        if (write_commit(&t, NULL))
            return;
    }
}

/* Dooms `id` when its record is still `expected` (NULL: whatever it is). */
static int doom(struct store *s, artifact_id id, const struct pending *expected, struct error *err)
{
    struct store_txn t;
    struct pending p;
    int rc, code = write_begin(s, &t, err);

    if (code)
        return code;
    rc = pending_load(&t, id, &p);
    if (rc || (expected && memcmp(&p, expected, sizeof p))) {
        write_abort(&t);
        return rc && rc != MDB_NOTFOUND ? store_fail(s, rc, err, "sweep") : 0;
    }
    p.record.mode = PENDING_DOOMED;
    p.name[0] = '\0';
    rc = pending_put(&t, id, &p);
    if (!rc)
        return write_commit(&t, err);
    write_abort(&t);
    return store_fail(s, rc, err, "sweep");
}

void store_abandon(struct store *s, artifact_id id)
{
    if (id && !doom(s, id, NULL, NULL))
        purge(s, id);
}

/* The pending ids whose writer is gone, with their records as they were. */
static int find_dead(struct store *s, struct id_list *ids, struct pending **records, struct error *err)
{
    struct store_txn *t;
    struct pending p;
    struct walk w;
    char who[64];
    int code = store_begin(s, &t, err), rc;

    *records = NULL;
    if (code)
        return code;
    rc = walk_begin(t, TABLE_PENDING, NULL, &w);
    while (!rc && !(rc = walk_next(&w))) {
        artifact_id id = w.key.mv_size == 8 ? key_number(w.key.mv_data, 8) : 0;
        rc = id ? pending_load(t, id, &p) : MDB_CORRUPTED;
        if (rc || pending_alive(t, &p, who, sizeof who))
            continue;
        id_list_add(ids, id);
        *records = xreallocarray(*records, ids->n, sizeof **records);
        (*records)[ids->n - 1] = p;
    }
    walk_end(&w);
    store_end(t);
    return rc == MDB_NOTFOUND ? 0 : store_fail(s, rc, err, "sweep");
}

int store_sweep(struct store *s, struct error *err)
{
    struct id_list dead = {NULL, 0, 0};
    struct pending *records;
    int code;

    if (s->read_only)
        return error_set(err, STATUS_STORE, "store %s is open for reading only", s->path);
    code = find_dead(s, &dead, &records, err);
    for (size_t i = 0; i < dead.n && !code; i++) {
        if (records[i].record.mode != PENDING_DOOMED)
            code = doom(s, dead.ids[i], &records[i], err);
        if (!code)
            purge(s, dead.ids[i]);
    }
    free(dead.ids);
    free(records);
    writer_tokens_clean(s);
    return code;
}
