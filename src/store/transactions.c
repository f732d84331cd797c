/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Transactions and what goes through them: keys, values, walks, LMDB's errors in words.
 *
 * Every transaction passes a gate, so that compact can wait until none is open. Where LMDB's lock file is not
 * used (one process by itself, on a network file system), the gate also stands in for it: one writer at a
 * time, and a writer waits for readers whose pages it could overwrite. LMDB reuses the pages that were freed
 * two commits before the last one, so that writer number W may run beside readers of W - 2 and later.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/store/internal.h"

#define GATE_SECONDS 30

/* ---- Errors. ---- */

int store_fail(struct store *s, int code, struct error *err, const char *doing)
{
    switch (code) {
    case MDB_MAP_FULL: {
        MDB_envinfo info = {0};
        mdb_env_info(s->env, &info);
        return error_set(
            err, STATUS_STORE,
            "store %s is full: its map of %zu MiB has no room left (cannot %s); nothing was changed; "
            "remove something, or raise SAESCOPE_MAPSIZE or the limit on address space (ulimit -v)",
            s->path, info.me_mapsize >> 20, doing);
    }
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EIO: /* LMDB says so of a short write */
        return error_system(
            err, STATUS_STORE, code,
            "store %s: cannot %s, probably because the disk is full; nothing was changed; make room "
            "and try again",
            s->path, doing);
    case MDB_READERS_FULL:
        return error_set(err, STATUS_STORE,
                         "store %s: cannot %s: too many readers; end some of its other programs", s->path,
                         doing);
    case MDB_MAP_RESIZED:
        return error_set(
            err, STATUS_STORE,
            "store %s: cannot %s: another program made it larger than this one's map; start again with "
            "the same SAESCOPE_MAPSIZE and limit on address space",
            s->path, doing);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PANIC:
        return error_set(err, STATUS_STORE, "store %s is damaged: cannot %s: %s", s->path, doing,
                         mdb_strerror(code));
    case MDB_VERSION_MISMATCH:
        return error_set(err, STATUS_STORE, "store %s was made by another version of LMDB: cannot %s",
                         s->path, doing);
    default:
        return error_set(err, STATUS_STORE, "store %s: cannot %s: %s", s->path, doing, mdb_strerror(code));
    }
}

/* ---- The gate. ---- */

static int wait_until(struct store *s, const struct timespec *deadline)
{
    return pthread_cond_timedwait(&s->changed, &s->mutex, deadline);
}

static struct timespec gate_deadline(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += GATE_SECONDS;
    return t;
}

static size_t oldest_reader(const struct store *s)
{
    size_t oldest = SIZE_MAX;

    for (const struct store_txn *r = s->readers; r; r = r->next)
        if (mdb_txn_id(r->txn) < oldest)
            oldest = mdb_txn_id(r->txn);
    return oldest;
}

static int writer_must_wait(struct store *s)
{
    MDB_envinfo info;
    size_t oldest;

    if (s->writing)
        return 1;
    oldest = oldest_reader(s);
    mdb_env_info(s->env, &info);
    return oldest != SIZE_MAX && oldest + 2 < info.me_last_txnid + 1;
}

static int gate_enter_writer(struct store *s, struct error *err)
{
    struct timespec deadline = gate_deadline();
    int late = 0;

    pthread_mutex_lock(&s->mutex);
    while (s->moving)
        pthread_cond_wait(&s->changed, &s->mutex);
    while (s->no_lock && writer_must_wait(s) && !late)
        late = wait_until(s, &deadline) == ETIMEDOUT;
    if (late && writer_must_wait(s)) {
        pthread_mutex_unlock(&s->mutex);
        return error_set(err, STATUS_STORE, "store %s: waited %d s to write for another part of this program",
                         s->path, GATE_SECONDS);
    }
    if (s->no_lock)
        s->writing = 1;
    s->open_txns++;
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

static void gate_leave(struct store_txn *t)
{
    struct store *s = t->store;

    pthread_mutex_lock(&s->mutex);
    s->open_txns--;
    if (s->no_lock && t->writing)
        s->writing = 0;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

int gate_close(struct store *s, struct error *err)
{
    struct timespec deadline = gate_deadline();
    int late = 0;

    pthread_mutex_lock(&s->mutex);
    if (s->moving) {
        pthread_mutex_unlock(&s->mutex);
        return error_set(err, STATUS_STORE, "store %s is being compacted already", s->path);
    }
    s->moving = 1;
    while (s->open_txns && !late)
        late = wait_until(s, &deadline) == ETIMEDOUT;
    if (s->open_txns) {
        s->moving = 0;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        return error_set(err, STATUS_STORE,
                         "store %s is being read or written by this program: try again later", s->path);
    }
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

void gate_open(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->moving = 0;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- Transactions. ---- */

int store_begin(struct store *s, struct store_txn **out, struct error *err)
{
    struct store_txn *t = xcalloc(1, sizeof *t);
    int rc;

    t->store = s;
    pthread_mutex_lock(&s->mutex);
    while (s->moving)
        pthread_cond_wait(&s->changed, &s->mutex);
    rc = s->env ? mdb_txn_begin(s->env, NULL, MDB_RDONLY, &t->txn) : MDB_PANIC;
    if (rc == MDB_READERS_FULL) { /* perhaps with readers that are dead */
        int dead;
        mdb_reader_check(s->env, &dead);
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &t->txn);
    }
    if (!rc) {
        s->open_txns++;
        if (s->no_lock) {
            t->next = s->readers;
            s->readers = t;
        }
    }
    pthread_mutex_unlock(&s->mutex);
    if (rc) {
        free(t);
        return store_fail(s, rc, err, "begin to read");
    }
    *out = t;
    return 0;
}

void store_end(struct store_txn *t)
{
    struct store *s;

    if (!t)
        return;
    s = t->store;
    pthread_mutex_lock(&s->mutex);
    mdb_txn_abort(t->txn);
    for (struct store_txn **r = &s->readers; *r; r = &(*r)->next)
        if (*r == t) {
            *r = t->next;
            break;
        }
    pthread_mutex_unlock(&s->mutex);
    gate_leave(t);
    free(t);
}

int write_begin(struct store *s, struct store_txn *t, struct error *err)
{
    int rc;

    memset(t, 0, sizeof *t);
    t->store = s;
    t->writing = 1;
    if (s->read_only)
        return error_set(err, STATUS_STORE, "store %s is open for reading only", s->path);
    if (gate_enter_writer(s, err))
        return err ? err->code : STATUS_STORE;
    rc = s->env ? mdb_txn_begin(s->env, NULL, 0, &t->txn) : MDB_PANIC;
    if (rc) {
        gate_leave(t);
        return store_fail(s, rc, err, "begin to write");
    }
    return 0;
}

int write_commit(struct store_txn *t, struct error *err)
{
    int rc = mdb_txn_commit(t->txn);

    gate_leave(t);
    return rc ? store_fail(t->store, rc, err, "write") : 0;
}

void write_abort(struct store_txn *t)
{
    mdb_txn_abort(t->txn);
    gate_leave(t);
}

/* What a transaction that begins now sees. mdb_env_info would count a commit as soon as its meta page is in the map, while readers
 * still begin at the one before until that page is on the disk. */
uint64_t store_generation(struct store *s)
{
    struct store_txn *t;
    if (store_begin(s, &t, NULL) != STATUS_OK)
        return 0;
    uint64_t generation = s->generation_base + mdb_txn_id(t->txn);
    store_end(t);
    return generation;
}

/* ---- Keys. ---- */

void key_add(struct key *k, uint64_t n, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        k->bytes[k->n++] = (unsigned char)(n >> (8 * i));
}

void key_add_string(struct key *k, const char *s)
{
    size_t n = strlen(s);

    memcpy(k->bytes + k->n, s, n);
    k->n += n;
}

struct key key_u64(uint64_t n)
{
    struct key k;

    k.n = 0;
    key_add(&k, n, 8);
    return k;
}

struct key key_string(const char *s)
{
    struct key k;

    k.n = 0;
    key_add_string(&k, s);
    return k;
}

uint64_t key_number(const void *bytes, int n)
{
    const unsigned char *b = bytes;
    uint64_t x = 0;

    for (int i = 0; i < n; i++)
        x = x << 8 | b[i];
    return x;
}

/* ---- Values. ---- */

static MDB_val key_value(const struct key *k)
{
    MDB_val v = {k->n, (void *)(uintptr_t)k->bytes};

    return v;
}

int table_get(struct store_txn *t, enum table table, const struct key *k, MDB_val *value)
{
    MDB_val key = key_value(k);

    return mdb_get(t->txn, t->store->tables[table], &key, value);
}

int table_put(struct store_txn *t, enum table table, const struct key *k, const void *data, size_t n)
{
    MDB_val key = key_value(k), value = {n, (void *)(uintptr_t)data};

    return mdb_put(t->txn, t->store->tables[table], &key, &value, 0);
}

int table_delete(struct store_txn *t, enum table table, const struct key *k)
{
    MDB_val key = key_value(k);
    int rc = mdb_del(t->txn, t->store->tables[table], &key, NULL);

    return rc == MDB_NOTFOUND ? 0 : rc;
}

int table_get_u64(struct store_txn *t, enum table table, const struct key *k, uint64_t *n)
{
    MDB_val v;
    int rc = table_get(t, table, k, &v);

    *n = 0;
    if (rc)
        return rc;
    if (v.mv_size != sizeof *n)
        return MDB_CORRUPTED;
    memcpy(n, v.mv_data, sizeof *n);
    return 0;
}

int table_put_u64(struct store_txn *t, enum table table, const struct key *k, uint64_t n)
{
    return table_put(t, table, k, &n, sizeof n);
}

int sealed_get(struct store_txn *t, enum table table, const struct key *k, MDB_val *value)
{
    int rc = table_get(t, table, k, value);

    if (rc)
        return rc;
    if (value->mv_size < SEAL_BYTES)
        return MDB_CORRUPTED;
    value->mv_data = (char *)value->mv_data + SEAL_BYTES;
    value->mv_size -= SEAL_BYTES;
    return 0;
}

int sealed_put(struct store_txn *t, enum table table, const struct key *k, const void *data, size_t n)
{
    MDB_val key = key_value(k), value = {n + SEAL_BYTES, NULL};
    uint64_t seal = hash64(n ? data : "", n, 0);
    int rc = mdb_put(t->txn, t->store->tables[table], &key, &value, MDB_RESERVE);

    if (rc)
        return rc;
    memcpy(value.mv_data, &seal, SEAL_BYTES);
    if (n)
        memcpy((char *)value.mv_data + SEAL_BYTES, data, n);
    return 0;
}

int sealed_intact(const MDB_val *sealed)
{
    uint64_t seal;

    if (sealed->mv_size < SEAL_BYTES)
        return 0;
    memcpy(&seal, sealed->mv_data, SEAL_BYTES);
    return seal == hash64((const char *)sealed->mv_data + SEAL_BYTES, sealed->mv_size - SEAL_BYTES, 0);
}

/* ---- Walks. ---- */

int walk_begin(struct store_txn *t, enum table table, const struct key *prefix, struct walk *w)
{
    memset(w, 0, sizeof *w);
    if (prefix)
        w->prefix = *prefix;
    return mdb_cursor_open(t->txn, t->store->tables[table], &w->cursor);
}

static int walk_inside(const struct walk *w)
{
    return w->key.mv_size >= w->prefix.n && !memcmp(w->key.mv_data, w->prefix.bytes, w->prefix.n);
}

int walk_seek(struct walk *w, const struct key *from)
{
    MDB_cursor_op op = from->n ? MDB_SET_RANGE : MDB_FIRST;
    int rc;

    w->key = key_value(from);
    w->started = 1;
    rc = mdb_cursor_get(w->cursor, &w->key, &w->value, op);
    if (rc)
        return rc;
    return walk_inside(w) ? 0 : MDB_NOTFOUND;
}

int walk_next(struct walk *w)
{
    int rc;

    if (!w->started)
        return walk_seek(w, &w->prefix);
    rc = mdb_cursor_get(w->cursor, &w->key, &w->value, MDB_NEXT);
    if (rc)
        return rc;
    return walk_inside(w) ? 0 : MDB_NOTFOUND;
}

int walk_delete(struct walk *w)
{
    return mdb_cursor_del(w->cursor, 0);
}

void walk_end(struct walk *w)
{
    if (w->cursor)
        mdb_cursor_close(w->cursor);
    w->cursor = NULL;
}
