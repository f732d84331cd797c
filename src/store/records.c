/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Records: small values of an artifact, one for each latent or part. */
#include "config.h"

#include <stdlib.h>
#include "saescope/store/internal.h"

#define RECORD_MAX ((size_t)1 << 30)

static struct key record_key(artifact_id id, enum record_table table, uint64_t number)
{
    struct key key = key_u64(id);

    key_add(&key, (uint64_t)table, 4);
    key_add(&key, number, 8);
    return key;
}

int store_record(struct store_txn *t, artifact_id id, enum record_table table, uint64_t number,
                 const void **data, size_t *n, struct error *err)
{
    struct key key = record_key(id, table, number);
    MDB_val v;
    int rc = sealed_get(t, TABLE_RECORDS, &key, &v);

    *data = NULL;
    *n = 0;
    if (rc && rc != MDB_NOTFOUND)
        return store_fail(t->store, rc, err, "read a record");
    if (!rc) {
        *data = v.mv_data;
        *n = v.mv_size;
    }
    return 0;
}

static int put_records(struct store_txn *t, artifact_id id, enum record_table table,
                       const struct record *records, size_t count)
{
    uint64_t added = 0, replaced = 0;
    int rc = 0;

    for (size_t i = 0; i < count && !rc; i++) {
        struct key key = record_key(id, table, records[i].number);
        MDB_val old;
        if (!sealed_get(t, TABLE_RECORDS, &key, &old))
            replaced += old.mv_size;
        rc = sealed_put(t, TABLE_RECORDS, &key, records[i].data, records[i].n);
        added += records[i].n;
    }
    return rc ? rc : size_change(t, id, added, replaced);
}

int store_put_records(struct store *s, artifact_id id, enum record_table table, const struct record *records,
                      size_t count, struct error *err)
{
    struct store_txn t;
    struct pending p;
    int code, rc;

    for (size_t i = 0; i < count; i++)
        if (records[i].n > RECORD_MAX)
            return error_set(err, STATUS_FAILED, "record %llu is too large to be stored",
                             (unsigned long long)records[i].number);
    code = write_begin(s, &t, err);
    if (code)
        return code;
    code = pending_need(&t, id, &p, err);
    if (!code) {
        rc = put_records(&t, id, table, records, count);
        if (rc)
            code = store_fail(s, rc, err, "write records");
    }
    if (!code)
        return write_commit(&t, err);
    write_abort(&t);
    return code;
}
