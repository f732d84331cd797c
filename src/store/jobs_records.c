/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Job records, and the directories where runs keep plain files. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/store/internal.h"

static int put_job(struct store_txn *t, uint64_t id, const json *record)
{
    struct strbuf text = STRBUF_INIT;
    struct key key = key_u64(id);
    int rc;

    json_dump(record, &text);
    rc = table_put(t, TABLE_JOBS, &key, strbuf_string(&text), text.length);
    strbuf_free(&text);
    return rc;
}

int store_job_create(struct store *s, json *record, uint64_t *id, struct error *err)
{
    struct store_txn t;
    int code = write_begin(s, &t, err), rc;

    *id = 0;
    if (code) {
        json_free(record);
        return code;
    }
    rc = next_number(&t, "next-job", id);
    if (!rc)
        rc = put_job(&t, *id, record);
    json_free(record);
    if (rc) {
        code = store_fail(s, rc, err, "write a job record");
        write_abort(&t);
    } else {
        code = write_commit(&t, err);
    }
    if (code)
        *id = 0;
    return code;
}

json *store_job(struct store_txn *t, uint64_t id, struct error *err)
{
    struct key key = key_u64(id);
    json *record;
    MDB_val v;
    int rc = table_get(t, TABLE_JOBS, &key, &v);

    if (rc == MDB_NOTFOUND) {
        error_set(err, STATUS_REFUSED, "no job %llu", (unsigned long long)id);
        return NULL;
    }
    if (rc) {
        store_fail(t->store, rc, err, "read a job record");
        return NULL;
    }
    record = json_parse(v.mv_data, v.mv_size, "job record", NULL);
    if (!record || !json_is_object(record)) {
        json_free(record);
        error_set(err, STATUS_STORE, "store %s is damaged: the record of job %llu cannot be read",
                  t->store->path, (unsigned long long)id);
        return NULL;
    }
    return record;
}

int store_job_put(struct store *s, uint64_t id, const json *record, struct error *err)
{
    struct key key = key_u64(id);
    struct store_txn t;
    MDB_val v;
    int code = write_begin(s, &t, err), rc;

    if (code)
        return code;
    rc = table_get(&t, TABLE_JOBS, &key, &v);
    if (rc == MDB_NOTFOUND)
        code = error_set(err, STATUS_REFUSED, "no job %llu", (unsigned long long)id);
    else if (!rc)
        rc = put_job(&t, id, record);
    if (!code && rc)
        code = store_fail(s, rc, err, "write a job record");
    if (!code)
        return write_commit(&t, err);
    write_abort(&t);
    return code;
}

int store_jobs(struct store_txn *t, uint64_t **ids, size_t *n, struct error *err)
{
    uint64_t *list = NULL;
    size_t count = 0, capacity = 0;
    struct walk w;
    int rc = walk_begin(t, TABLE_JOBS, NULL, &w);

    while (!rc && !(rc = walk_next(&w))) {
        if (w.key.mv_size != 8) {
            rc = MDB_CORRUPTED;
            break;
        }
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            list = xreallocarray(list, capacity, sizeof *list);
        }
        list[count++] = key_number(w.key.mv_data, 8);
    }
    walk_end(&w);
    *ids = NULL;
    *n = 0;
    if (rc != MDB_NOTFOUND) {
        free(list);
        return store_fail(t->store, rc, err, "list jobs");
    }
    *ids = list;
    *n = count;
    return 0;
}

static char *subdirectory(struct store *s, const char *name, struct error *err)
{
    char *path = path_join(s->path, name);

    if (!s->read_only && !path_is_directory(path) && make_directories(path, 0777, err)) {
        if (err)
            err->code = STATUS_STORE;
        free(path);
        return NULL;
    }
    return path;
}

char *store_work_directory(struct store *s, uint64_t job, struct error *err)
{
    char name[64];

    snprintf(name, sizeof name, "work/%llu", (unsigned long long)job);
    return subdirectory(s, name, err);
}

char *store_jobs_directory(struct store *s, struct error *err)
{
    return subdirectory(s, "jobs", err);
}
