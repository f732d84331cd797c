/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looks at everything: checksums of blocks and sealed values, manifests, references, names. Every block has a
 * read transaction of its own, so that writers can go on meanwhile; what is removed during the check is no
 * problem.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include "saescope/base/memory.h"
#include "saescope/base/monitor.h"
#include "saescope/base/random.h"
#include "saescope/base/strbuf.h"
#include "saescope/store/internal.h"

struct check {
    struct store *store;
    struct monitor *monitor;
    struct progress progress;
    void (*problem)(const struct store_problem *p, void *arg);
    void *arg;
    char what[NAME_MAX_BYTES + 64]; /* the artifact */
};

static void report(struct check *c, const char *tensor, uint64_t block, const char *message)
{
    struct store_problem p = {c->what, tensor, block, message};

    c->problem(&p, c->arg);
}

/* The next tensor of `id` after *name in key order; 0 at the end. */
static int next_tensor(struct store_txn *t, artifact_id id, char *name, struct tensor_record *r, int *bad)
{
    struct key prefix = key_u64(id), from = prefix;
    struct walk w;
    int rc, found = 0;

    key_add_string(&from, name);
    rc = walk_begin(t, TABLE_TENSORS, &prefix, &w);
    if (!rc)
        rc = walk_seek(&w, &from);
    if (!rc && w.key.mv_size == from.n && !memcmp(w.key.mv_data, from.bytes, from.n))
        rc = walk_next(&w);
    if (!rc && w.key.mv_size > 8 && w.key.mv_size <= 8 + NAME_MAX_BYTES) {
        MDB_val payload = {w.value.mv_size - SEAL_BYTES, (char *)w.value.mv_data + SEAL_BYTES};
        memcpy(name, (char *)w.key.mv_data + 8, w.key.mv_size - 8);
        name[w.key.mv_size - 8] = '\0';
        *bad = !sealed_intact(&w.value) || tensor_record_parse(&payload, r);
        found = 1;
    }
    walk_end(&w);
    return found;
}

static int check_block(struct check *c, const char *name, const struct store_tensor *x, size_t block,
                       struct error *err)
{
    struct block_header h;
    const unsigned char *rows;
    struct store_txn *t;
    struct artifact a;
    struct error e;
    int code = store_begin(c->store, &t, err);

    if (code)
        return code;
    if (!artifact_load(t, x->id, &a)) {
        const void *data;
        size_t first, n;
        if (store_tensor_block(t, x, block, &data, &first, &n, &e) ||
            tensor_block_load(t, x, block, &h, &rows, &e))
            report(c, name, block, e.message);
        else if (hash64(rows, h.rows * h.row_bytes, x->id) != h.checksum)
            report(c, name, block, "the checksum is wrong: its numbers were changed");
    }
    store_end(t);
    c->progress.step += x->row_bytes * block_rows(x, block);
    monitor_report(c->monitor, &c->progress);
    return monitor_check(c->monitor, err);
}

static int check_tensors(struct check *c, artifact_id id, struct error *err)
{
    char name[NAME_MAX_BYTES + 1] = "";
    struct tensor_record r;
    struct store_txn *t;
    int code, more, bad = 0;

    for (;;) {
        code = store_begin(c->store, &t, err);
        if (code)
            return code;
        more = next_tensor(t, id, name, &r, &bad);
        store_end(t);
        if (!more)
            return 0;
        if (bad || !r.complete) {
            report(c, name, 0,
                   bad ? "its entry in the table of tensors is damaged" : "it was not written to its end");
            continue;
        }
        struct store_tensor x = tensor_view(id, &r);
        for (size_t block = 0; block < x.n_blocks; block++)
            if ((code = check_block(c, name, &x, block, err)))
                return code;
    }
}

/* Sealed values of `id` in records or labels, some thousand in one transaction. */
static int check_sealed(struct check *c, artifact_id id, enum table table, const char *damage,
                        struct error *err)
{
    struct key prefix = key_u64(id), from = prefix;
    int more = 1;

    while (more) {
        struct store_txn *t;
        struct walk w;
        int code = store_begin(c->store, &t, err), rc, count = 0;
        if (code)
            return code;
        rc = walk_begin(t, table, &prefix, &w);
        if (!rc)
            rc = walk_seek(&w, &from);
        for (; !rc && count < 1000; count++, rc = walk_next(&w)) {
            if (!sealed_intact(&w.value))
                report(c, NULL,
                       w.key.mv_size >= 16 ? key_number((char *)w.key.mv_data + w.key.mv_size - 8, 8) : 0,
                       damage);
        }
        more = !rc && w.key.mv_size <= KEY_MAX;
        if (more) {
            from.n = w.key.mv_size;
            memcpy(from.bytes, w.key.mv_data, from.n);
        }
        walk_end(&w);
        store_end(t);
        code = monitor_check(c->monitor, err);
        if (code)
            return code;
    }
    return 0;
}

static void check_references(struct check *c, struct store_txn *t, json *manifest)
{
    json *value, *references = json_get(manifest, "references");
    const char *role;
    void *iter = NULL;
    struct artifact a;
    char message[512];

    while (json_is_object(references) && json_next(references, &iter, &role, &value))
        if (artifact_load(t, (artifact_id)json_integer(value, 0), &a)) {
            snprintf(message, sizeof message, "its %.200s is not in the store", role);
            report(c, NULL, 0, message);
        }
}

/* The small things: name, manifest, references, index. */
static int check_entry(struct check *c, artifact_id id, int *gone, struct error *err)
{
    struct key key = key_u64(id), name;
    struct store_txn *t;
    struct artifact a;
    json *manifest;
    uint64_t other;
    MDB_val v;
    int code = store_begin(c->store, &t, err), rc;

    if (code)
        return code;
    rc = artifact_load(t, id, &a);
    *gone = rc == MDB_NOTFOUND;
    artifact_describe(t, id, c->what, sizeof c->what);
    if (rc && !*gone)
        report(c, NULL, 0, "its entry is damaged");
    if (!rc && a.name[0]) {
        snprintf(c->what, sizeof c->what, "%s", a.name);
        name = key_string(a.name);
        if (table_get_u64(t, TABLE_NAMES, &name, &other) || other != id)
            report(c, NULL, 0, "its name leads to something else");
    }
    if (!*gone) {
        manifest = store_manifest(t, id, NULL);
        if (!manifest || table_get(t, TABLE_MANIFESTS, &key, &v) || !sealed_intact(&v))
            report(c, NULL, 0, "its manifest is damaged");
        if (manifest)
            check_references(c, t, manifest);
        json_free(manifest);
        other = store_index_of(t, id);
        if (other && (artifact_load(t, other, &a) || a.kind != ARTIFACT_INDEX))
            report(c, NULL, 0, "its index is not in the store");
    }
    store_end(t);
    return 0;
}

static int list_ids(struct check *c, struct id_list *ids, struct error *err)
{
    struct store_txn *t;
    struct walk w;
    int code = store_begin(c->store, &t, err), rc;

    if (code)
        return code;
    rc = walk_begin(t, TABLE_ARTIFACTS, NULL, &w);
    while (!rc && !(rc = walk_next(&w)))
        if (w.key.mv_size == 8) {
            artifact_id id = key_number(w.key.mv_data, 8);
            uint64_t bytes;
            struct key key = key_u64(id);
            id_list_add(ids, id);
            table_get_u64(t, TABLE_SIZES, &key, &bytes);
            c->progress.steps += bytes;
        }
    walk_end(&w);
    store_end(t);
    return rc == MDB_NOTFOUND ? 0 : store_fail(c->store, rc, err, "list what is in it");
}

static int check_names(struct check *c, struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    struct walk w;
    int code = store_begin(c->store, &t, err), rc;

    if (code)
        return code;
    rc = walk_begin(t, TABLE_NAMES, NULL, &w);
    while (!rc && !(rc = walk_next(&w))) {
        artifact_id id = 0;
        if (w.value.mv_size == sizeof id)
            memcpy(&id, w.value.mv_data, sizeof id);
        snprintf(c->what, sizeof c->what, "%.*s", (int)w.key.mv_size, (const char *)w.key.mv_data);
        if (store_check_name(c->what, NULL) || artifact_load(t, id, &a) || strcmp(a.name, c->what))
            report(c, NULL, 0, "this name leads to nothing");
    }
    walk_end(&w);
    store_end(t);
    return rc == MDB_NOTFOUND ? 0 : store_fail(c->store, rc, err, "list names");
}

int store_verify(struct store *s, struct monitor *m,
                 void (*problem)(const struct store_problem *p, void *arg), void *arg, struct error *err)
{
    struct check c = {.store = s, .monitor = m, .problem = problem, .arg = arg};
    struct id_list ids = {NULL, 0, 0};
    int code, gone;

    progress_init(&c.progress);
    c.progress.phase = "checking";
    c.progress.unit = "bytes/s";
    code = check_names(&c, err);
    if (!code)
        code = list_ids(&c, &ids, err);
    for (size_t i = 0; i < ids.n && !code; i++) {
        code = check_entry(&c, ids.ids[i], &gone, err);
        if (code || gone)
            continue;
        code = check_tensors(&c, ids.ids[i], err);
        if (!code)
            code = check_sealed(&c, ids.ids[i], TABLE_RECORDS, "a record is damaged", err);
        if (!code)
            code = check_sealed(&c, ids.ids[i], TABLE_LABELS, "a label is damaged", err);
    }
    free(ids.ids);
    return code;
}
