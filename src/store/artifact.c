/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Artifacts as readers see them: names, ids, manifests, lists. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/store/internal.h"

static const struct {
    const char *name, *label, *article;
} kinds[ARTIFACT_KINDS] = {
    [ARTIFACT_MODEL] = {"model", "model", "a"},    [ARTIFACT_TEXT] = {"text", "text", "a"},
    [ARTIFACT_SAE] = {"sae", "SAE", "an"},         [ARTIFACT_INDEX] = {"index", "index", "an"},
    [ARTIFACT_STITCH] = {"stitch", "stitch", "a"},
};

const char *artifact_kind_name(enum artifact_kind kind)
{
    return kind > 0 && kind < ARTIFACT_KINDS ? kinds[kind].name : "artifact";
}

const char *kind_label(uint32_t kind)
{
    return kind > 0 && kind < ARTIFACT_KINDS ? kinds[kind].label : "artifact";
}

const char *kind_article(uint32_t kind)
{
    return kind > 0 && kind < ARTIFACT_KINDS ? kinds[kind].article : "an";
}

int store_check_name(const char *name, struct error *err)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";
    size_t n = strlen(name);
    char *shown;

    if (n >= 1 && n <= NAME_MAX_BYTES && strspn(name, allowed) == n && name[0] != '-' && name[0] != '.')
        return 0;
    if (n > NAME_MAX_BYTES)
        return error_set(err, STATUS_REFUSED, "a name has at most %d bytes, this one has %zu", NAME_MAX_BYTES,
                         n);
    shown = displayable_string(name);
    error_set(err, STATUS_REFUSED,
              "\"%s\" is no name: names are letters, digits and . _ + -, and do not start with - or .",
              shown);
    free(shown);
    return STATUS_REFUSED;
}

int artifact_load(struct store_txn *t, artifact_id id, struct artifact *out)
{
    struct key key = key_u64(id);
    struct artifact_record record;
    MDB_val v;
    int rc = table_get(t, TABLE_ARTIFACTS, &key, &v);

    memset(out, 0, sizeof *out);
    if (rc)
        return rc;
    if (v.mv_size < sizeof record || v.mv_size - sizeof record > NAME_MAX_BYTES)
        return MDB_CORRUPTED;
    memcpy(&record, v.mv_data, sizeof record);
    memcpy(out->name, (const char *)v.mv_data + sizeof record, v.mv_size - sizeof record);
    out->id = id;
    out->kind = (enum artifact_kind)record.kind;
    if (record.kind < 1 || record.kind >= ARTIFACT_KINDS ||
        (out->name[0] && store_check_name(out->name, NULL)))
        return MDB_CORRUPTED;
    return 0;
}

int artifact_exists(struct store_txn *t, artifact_id id)
{
    struct key key = key_u64(id);
    MDB_val v;
    struct pending p;

    return !table_get(t, TABLE_ARTIFACTS, &key, &v) ||
           (!pending_load(t, id, &p) && p.record.mode != PENDING_DOOMED);
}

/* The SAE that an index belongs to, or 0. */
static artifact_id index_owner(struct store_txn *t, artifact_id index)
{
    artifact_id owner = 0;
    struct walk w;
    int rc = walk_begin(t, TABLE_INDEX_OF, NULL, &w);

    while (!rc && !(rc = walk_next(&w)))
        if (w.value.mv_size == sizeof index && !memcmp(w.value.mv_data, &index, sizeof index))
            owner = key_number(w.key.mv_data, 8);
    walk_end(&w);
    return owner;
}

void artifact_describe(struct store_txn *t, artifact_id id, char *out, size_t n)
{
    struct artifact a, owner;

    if (artifact_load(t, id, &a))
        snprintf(out, n, "artifact %llu", (unsigned long long)id);
    else if (a.kind == ARTIFACT_INDEX && !artifact_load(t, index_owner(t, id), &owner))
        snprintf(out, n, "index of %s %s", kind_label(owner.kind), owner.name);
    else if (a.name[0])
        snprintf(out, n, "%s %s", kind_label(a.kind), a.name);
    else
        snprintf(out, n, "%s %llu", kind_label(a.kind), (unsigned long long)id);
}

static int not_found(struct store_txn *t, enum artifact_kind kind, const char *name, struct error *err)
{
    char **names = store_names(t, kind), *shown = displayable_string(name);
    const char *near = nearest_word(name, (const char *const *)names);
    const char *label = kind ? kind_label(kind) : "artifact";

    if (near)
        error_set(err, STATUS_REFUSED, "no %s named %s: did you mean %s?", label, shown, near);
    else
        error_set(err, STATUS_REFUSED, "no %s named %s", label, shown);
    store_names_free(names);
    free(shown);
    return STATUS_REFUSED;
}

int store_find(struct store_txn *t, enum artifact_kind kind, const char *name, struct artifact *out,
               struct error *err)
{
    struct key key;
    uint64_t id;
    int rc;

    memset(out, 0, sizeof *out);
    if (store_check_name(name, NULL))
        return not_found(t, kind, name, err);
    key = key_string(name);
    rc = table_get_u64(t, TABLE_NAMES, &key, &id);
    if (rc == MDB_NOTFOUND)
        return not_found(t, kind, name, err);
    if (!rc)
        rc = artifact_load(t, id, out);
    if (rc)
        return store_fail(t->store, rc, err, "look up a name");
    if (kind && out->kind != kind)
        return error_set(err, STATUS_REFUSED, "%s is %s %s, not %s %s", name, kind_article(out->kind),
                         kind_label(out->kind), kind_article(kind), kind_label(kind));
    return 0;
}

int store_get(struct store_txn *t, artifact_id id, struct artifact *out, struct error *err)
{
    int rc = artifact_load(t, id, out);

    if (rc == MDB_NOTFOUND)
        return error_set(err, STATUS_REFUSED, "no artifact %llu in the store (it may have been removed)",
                         (unsigned long long)id);
    return rc ? store_fail(t->store, rc, err, "look up an artifact") : 0;
}

static int by_name(const void *x, const void *y)
{
    const struct artifact *a = x, *b = y;
    int order = strcmp(a->name, b->name);

    return order ? order : (a->id > b->id) - (a->id < b->id);
}

int store_list(struct store_txn *t, enum artifact_kind kind, struct artifact **out, size_t *n,
               struct error *err)
{
    struct artifact *list = NULL, a;
    size_t count = 0, capacity = 0;
    struct walk w;
    int rc = walk_begin(t, TABLE_ARTIFACTS, NULL, &w);

    *out = NULL;
    *n = 0;
    while (!rc && !(rc = walk_next(&w))) {
        rc = w.key.mv_size == 8 ? artifact_load(t, key_number(w.key.mv_data, 8), &a) : MDB_CORRUPTED;
        if (rc || (kind && a.kind != kind))
            continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            list = xreallocarray(list, capacity, sizeof *list);
        }
        list[count++] = a;
    }
    walk_end(&w);
    if (rc != MDB_NOTFOUND) {
        free(list);
        return store_fail(t->store, rc, err, "list what is in it");
    }
    if (count)
        qsort(list, count, sizeof *list, by_name);
    *out = list;
    *n = count;
    return 0;
}

char **store_names(struct store_txn *t, enum artifact_kind kind)
{
    struct artifact *list;
    size_t n, used = 0;
    char **names;

    if (store_list(t, kind, &list, &n, NULL)) {
        list = NULL;
        n = 0;
    }
    names = xcalloc(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++)
        if (list[i].name[0])
            names[used++] = xstrdup(list[i].name);
    free(list);
    return names;
}

void store_names_free(char **names)
{
    for (char **p = names; p && *p; p++)
        free(*p);
    free(names);
}

json *store_manifest(struct store_txn *t, artifact_id id, struct error *err)
{
    struct key key = key_u64(id);
    char what[NAME_MAX_BYTES + 64];
    struct error parse;
    json *manifest;
    MDB_val v;
    int rc = sealed_get(t, TABLE_MANIFESTS, &key, &v);

    if (rc == MDB_NOTFOUND) {
        error_set(err, STATUS_REFUSED, "no artifact %llu in the store (it may have been removed)",
                  (unsigned long long)id);
        return NULL;
    }
    if (rc) {
        store_fail(t->store, rc, err, "read a manifest");
        return NULL;
    }
    artifact_describe(t, id, what, sizeof what);
    manifest = json_parse(v.mv_data, v.mv_size, what, &parse);
    if (manifest && json_is_object(manifest))
        return manifest;
    error_set(err, STATUS_STORE, "store %s is damaged: the manifest of %s cannot be read", t->store->path,
              what);
    json_free(manifest);
    return NULL;
}

artifact_id store_index_of(struct store_txn *t, artifact_id sae)
{
    struct key key = key_u64(sae);
    uint64_t id;

    table_get_u64(t, TABLE_INDEX_OF, &key, &id);
    return id;
}

uint64_t store_bytes(struct store_txn *t, artifact_id id)
{
    struct key key = key_u64(id);
    artifact_id index = store_index_of(t, id);
    uint64_t bytes;
    MDB_val manifest;

    table_get_u64(t, TABLE_SIZES, &key, &bytes);
    if (!sealed_get(t, TABLE_MANIFESTS, &key, &manifest))
        bytes += manifest.mv_size;
    return bytes + (index && index != id ? store_bytes(t, index) : 0);
}

int size_change(struct store_txn *t, artifact_id id, uint64_t add, uint64_t subtract)
{
    struct key key = key_u64(id);
    uint64_t bytes;
    int rc = table_get_u64(t, TABLE_SIZES, &key, &bytes);

    if (rc && rc != MDB_NOTFOUND)
        return rc;
    bytes += add;
    return table_put_u64(t, TABLE_SIZES, &key, bytes > subtract ? bytes - subtract : 0);
}
