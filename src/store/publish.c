/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How an artifact comes to be, gets its name, and changes it. */
#include "config.h"

#include <stdlib.h>
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/store/internal.h"

int next_number(struct store_txn *t, const char *counter, uint64_t *n)
{
    struct key key = key_string(counter);
    int rc = table_get_u64(t, TABLE_META, &key, n);

    if (rc && rc != MDB_NOTFOUND)
        return rc;
    if (*n == 0)
        *n = 1;
    return table_put_u64(t, TABLE_META, &key, *n + 1);
}

/* Whether `name` may be written: free, or `replace` and nothing refers to what has it. */
static int name_available(struct store_txn *t, enum artifact_kind kind, const char *name, int replace,
                          struct error *err)
{
    struct key key = key_string(name);
    struct id_list list = {NULL, 0, 0};
    struct artifact old;
    uint64_t id;
    int code, rc = table_get_u64(t, TABLE_NAMES, &key, &id);

    if (rc == MDB_NOTFOUND)
        return 0;
    if (!rc)
        rc = artifact_load(t, id, &old);
    if (rc)
        return store_fail(t->store, rc, err, "look up a name");
    if (!replace)
        return error_set(err, STATUS_REFUSED,
                         "there is %s %s named %s already: choose another name, or --replace",
                         kind_article(old.kind), kind_label(old.kind), name);
    if (old.kind != kind)
        return error_set(err, STATUS_REFUSED, "%s is %s %s and cannot be replaced by %s %s", name,
                         kind_article(old.kind), kind_label(old.kind), kind_article(kind), kind_label(kind));
    code = removal_collect(t, id, 0, &list, err);
    free(list.ids);
    return code;
}

static int create_in(struct store_txn *t, enum artifact_kind kind, const char *name, int replace,
                     artifact_id *id, struct error *err)
{
    struct pending p;
    int code, rc;

    if (name) {
        code = name_available(t, kind, name, replace, err);
        if (!code)
            code = name_unclaimed(t, name, err);
        if (code)
            return code;
    }
    memset(&p, 0, sizeof p);
    p.record.kind = kind;
    p.record.mode = PENDING_WRITER;
    p.record.replace = replace != 0;
    memcpy(p.record.token, t->store->token, sizeof p.record.token);
    if (name)
        memcpy(p.name, name, strlen(name) + 1);
    rc = next_number(t, "next-id", id);
    if (!rc)
        rc = pending_put(t, *id, &p);
    return rc ? store_fail(t->store, rc, err, "make a new artifact") : 0;
}

int store_create(struct store *s, enum artifact_kind kind, const char *name, int replace, artifact_id *id,
                 struct error *err)
{
    struct store_txn t;
    int code = 0;

    *id = 0;
    if ((kind == ARTIFACT_INDEX) != (name == NULL))
        return error_set(err, STATUS_FAILED, "an index has no name, and everything else has one");
    if (name)
        code = store_check_name(name, err);
    if (!code && !s->read_only) {
        store_sweep(s, NULL); /* what cannot be swept now is left for later */
        code = writer_token(s, err);
    }
    if (!code)
        code = write_begin(s, &t, err);
    if (code)
        return code;
    code = create_in(&t, kind, name, replace, id, err);
    if (!code)
        code = write_commit(&t, err);
    else
        write_abort(&t);
    if (code)
        *id = 0;
    return code;
}

/* Every member of "references" is an id that is there. */
static int references_put(struct store_txn *t, artifact_id id, json *references, struct error *err)
{
    const char *role;
    void *iter = NULL;
    json *value;

    if (json_is_null(references))
        return 0;
    if (!json_is_object(references))
        return error_set(err, STATUS_FAILED, "the manifest's references are no object");
    while (json_next(references, &iter, &role, &value)) {
        long long target = json_integer(value, 0);
        struct artifact a;
        struct key key;
        int rc = target > 0 ? artifact_load(t, (artifact_id)target, &a) : MDB_NOTFOUND;
        if (rc == MDB_NOTFOUND)
            return error_set(err, STATUS_REFUSED,
                             "its %s is no longer in the store: it was removed meanwhile", role);
        key = key_u64((artifact_id)target);
        key_add(&key, id, 8);
        if (!rc)
            rc = table_put(t, TABLE_REFERENCES, &key, role, strlen(role));
        if (rc)
            return store_fail(t->store, rc, err, "write references");
    }
    return 0;
}

static int tensors_are_complete(struct store_txn *t, artifact_id id, struct error *err)
{
    struct key key = key_u64(id);
    struct tensor_record r;
    struct walk w;
    int rc = walk_begin(t, TABLE_TENSORS, &key, &w), code = 0;

    while (!rc && !code && !(rc = walk_next(&w))) {
        MDB_val payload = {w.value.mv_size - SEAL_BYTES, (char *)w.value.mv_data + SEAL_BYTES};
        rc = w.value.mv_size < SEAL_BYTES ? MDB_CORRUPTED : tensor_record_parse(&payload, &r);
        if (!rc && !r.complete) {
            char *name = xstrndup((const char *)w.key.mv_data + 8, w.key.mv_size - 8), *shown;
            shown = displayable_string(name);
            code = error_set(err, STATUS_FAILED, "tensor %s was not written to its end", shown);
            free(shown);
            free(name);
        }
    }
    walk_end(&w);
    if (!code && rc != MDB_NOTFOUND)
        return store_fail(t->store, rc, err, "look at tensors");
    return code;
}

/* Takes away what is replaced; the ids that are doomed now are added to `gone`. */
static int replace_old(struct store_txn *t, artifact_id old, struct id_list *gone, struct error *err)
{
    size_t first = gone->n;
    int code = removal_collect(t, old, 0, gone, err), rc = 0;

    if (code)
        return code;
    for (size_t i = first; i < gone->n && !rc; i++)
        rc = removal_unpublish(t, gone->ids[i]);
    return rc ? store_fail(t->store, rc, err, "remove what is replaced") : 0;
}

/* Puts the index in the place of the SAE's earlier one. */
static int index_attach(struct store_txn *t, artifact_id id, const json *references, struct id_list *gone,
                        struct error *err)
{
    long long sae = json_get_integer(references, "sae", 0);
    struct artifact a;
    struct key key;
    artifact_id old;
    int code, rc = sae > 0 ? artifact_load(t, (artifact_id)sae, &a) : MDB_NOTFOUND;

    if (rc == MDB_NOTFOUND || (!rc && a.kind != ARTIFACT_SAE))
        return error_set(err, STATUS_REFUSED, "the SAE of this index is no longer in the store");
    if (rc)
        return store_fail(t->store, rc, err, "look up an SAE");
    old = store_index_of(t, a.id);
    if (old && (code = replace_old(t, old, gone, err)))
        return code;
    key = key_u64(a.id);
    rc = table_put_u64(t, TABLE_INDEX_OF, &key, id);
    return rc ? store_fail(t->store, rc, err, "write an index") : 0;
}

static int artifact_put(struct store_txn *t, artifact_id id, uint32_t kind, const char *name)
{
    struct {
        struct artifact_record record;
        char name[NAME_MAX_BYTES + 1];
    } value = {{kind, 0}, ""};
    struct key key = key_u64(id), name_key;
    size_t n = strlen(name);
    int rc;

    memcpy(value.name, name, n);
    rc = table_put(t, TABLE_ARTIFACTS, &key, &value, sizeof value.record + n);
    if (rc || !n)
        return rc;
    name_key = key_string(name);
    return table_put_u64(t, TABLE_NAMES, &name_key, id);
}

static int publish_in(struct store_txn *t, artifact_id id, json *manifest, struct id_list *gone,
                      struct error *err)
{
    struct key key = key_u64(id), name_key;
    struct strbuf text = STRBUF_INIT;
    json *references = json_get(manifest, "references");
    struct pending p;
    uint64_t old;
    int code, rc;

    code = pending_need(t, id, &p, err);
    if (!code)
        code = tensors_are_complete(t, id, err);
    if (!code && p.name[0]) {
        name_key = key_string(p.name);
        code = name_available(t, (enum artifact_kind)p.record.kind, p.name, (int)p.record.replace, err);
        if (!code && !table_get_u64(t, TABLE_NAMES, &name_key, &old))
            code = replace_old(t, old, gone, err);
    }
    if (!code)
        code = references_put(t, id, references, err);
    if (!code && p.record.kind == ARTIFACT_INDEX)
        code = index_attach(t, id, references, gone, err);
    if (code)
        return code;
    json_dump(manifest, &text);
    rc = sealed_put(t, TABLE_MANIFESTS, &key, strbuf_string(&text), text.length);
    strbuf_free(&text);
    if (!rc)
        rc = artifact_put(t, id, p.record.kind, p.name);
    if (!rc)
        rc = table_delete(t, TABLE_PENDING, &key);
    return rc ? store_fail(t->store, rc, err, "publish an artifact") : 0;
}

int store_publish(struct store *s, artifact_id id, json *manifest, struct error *err)
{
    struct id_list gone = {NULL, 0, 0};
    struct store_txn t;
    int code;

    if (!json_is_object(manifest)) {
        json_free(manifest);
        return error_set(err, STATUS_FAILED, "a manifest is an object");
    }
    code = write_begin(s, &t, err);
    if (code) {
        json_free(manifest);
        return code;
    }
    code = publish_in(&t, id, manifest, &gone, err);
    json_free(manifest);
    if (!code)
        code = write_commit(&t, err);
    else
        write_abort(&t);
    for (size_t i = 0; i < gone.n && !code; i++)
        purge(s, gone.ids[i]);
    free(gone.ids);
    return code;
}

static int rename_in(struct store_txn *t, artifact_id id, const char *new_name, struct error *err)
{
    struct artifact a;
    struct key old_key, new_key = key_string(new_name);
    uint64_t taken;
    int code = store_get(t, id, &a, err), rc;

    if (code)
        return code;
    if (!a.name[0])
        return error_set(err, STATUS_REFUSED, "an index has no name: rename its SAE");
    if (!strcmp(a.name, new_name))
        return 0;
    if (!table_get_u64(t, TABLE_NAMES, &new_key, &taken))
        return error_set(err, STATUS_REFUSED, "the name %s is taken already", new_name);
    code = name_unclaimed(t, new_name, err);
    if (code)
        return code;
    old_key = key_string(a.name);
    rc = table_delete(t, TABLE_NAMES, &old_key);
    if (!rc)
        rc = artifact_put(t, id, a.kind, new_name);
    return rc ? store_fail(t->store, rc, err, "rename an artifact") : 0;
}

int store_rename(struct store *s, artifact_id id, const char *new_name, struct error *err)
{
    struct store_txn t;
    int code = store_check_name(new_name, err);

    if (!code)
        code = write_begin(s, &t, err);
    if (code)
        return code;
    code = rename_in(&t, id, new_name, err);
    if (!code)
        return write_commit(&t, err);
    write_abort(&t);
    return code;
}
