/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The LMDB environment and its tables. Everything that could fault later is made sure of first: blocks of the
 * lock file on the disk, and a data file as long as its pages.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/store/internal.h"

#define MAP_SIZE_MAX   ((uint64_t)256 << 30)
#define MAP_SIZE_MIN   ((uint64_t)1 << 20)
#define LOCK_FILE_SIZE 8192 /* LMDB's for 126 readers */

static const char *const table_names[TABLE_COUNT] = {
    [TABLE_META] = "meta",         [TABLE_ARTIFACTS] = "artifacts", [TABLE_MANIFESTS] = "manifests",
    [TABLE_NAMES] = "names",       [TABLE_PENDING] = "pending",     [TABLE_REFERENCES] = "references",
    [TABLE_INDEX_OF] = "index_of", [TABLE_SIZES] = "sizes",         [TABLE_TENSORS] = "tensors",
    [TABLE_BLOCKS] = "blocks",     [TABLE_RECORDS] = "records",     [TABLE_LABELS] = "labels",
    [TABLE_JOBS] = "jobs",
};

static int map_size(struct store *s, uint64_t data_size, uint64_t *size, struct error *err)
{
    const char *setting = getenv("SAESCOPE_MAPSIZE");
    struct rlimit limit;

    *size = MAP_SIZE_MAX;
    if (setting && *setting) {
        unsigned long long n;
        if (parse_u64(setting, 1, SIZE_MAX / 2, &n))
            return error_set(err, STATUS_STORE,
                             "SAESCOPE_MAPSIZE is no number of bytes: cannot open store %s", s->path);
        *size = n;
    } else if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY &&
               limit.rlim_cur / 2 < *size) {
        *size = limit.rlim_cur / 2;
    }
    if (*size < data_size)
        *size = data_size;
    *size = (*size + s->page_size - 1) / s->page_size * s->page_size;
    return 0;
}

/* LMDB writes to its lock file through a map, where a full disk would be a SIGBUS. */
static int lock_file_prepare(struct store *s, struct error *err)
{
    char *path = path_join(s->path, "lock.mdb");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664), code = 0;
    struct stat st;

    if (fd < 0) {
        error_system(err, STATUS_STORE, errno, "cannot open %s (a store that you may not write: --read-only)",
                     path);
        free(path);
        return STATUS_STORE;
    }
    if (!fstat(fd, &st)) {
        off_t size = st.st_size > LOCK_FILE_SIZE ? st.st_size : LOCK_FILE_SIZE;
        code = posix_fallocate(fd, 0, size);
        if (code && st.st_size == 0)
            unlink(path);
    }
    close(fd);
    if (code)
        error_system(err, STATUS_STORE, code, "no room for %s: make room on the disk and try again", path);
    free(path);
    return code ? STATUS_STORE : 0;
}

/*
 * Reads the first pages by themselves: LMDB's own first read would read ahead into pages of tensors. *size is
 * 0 when there is no file.
 */
static int data_file_probe(struct store *s, uint64_t *size, struct error *err)
{
    char *path = path_join(s->path, "data.mdb");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char page[4096];

    *size = 0;
    if (fd < 0 && errno == ENOENT) {
        free(path);
        return 0;
    }
    if (fd < 0 || fstat(fd, &st)) {
        error_system(err, STATUS_STORE, errno, "cannot open %s", path);
        if (fd >= 0)
            close(fd);
        free(path);
        return STATUS_STORE;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    for (off_t at = 0; at < (off_t)(2 * s->page_size); at += (off_t)sizeof page)
        if (pread(fd, page, sizeof page, at) <= 0)
            break;
    *size = (uint64_t)st.st_size;
    close(fd);
    free(path);
    return 0;
}

static int env_open(struct store *s, uint64_t size, struct error *err)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    int rc;

    if (s->read_only)
        flags |= MDB_RDONLY;
    if (s->no_lock)
        flags |= MDB_NOLOCK;
    for (;; size = size / 2 / s->page_size * s->page_size) {
        rc = mdb_env_create(&s->env);
        if (rc) {
            s->env = NULL;
            return error_set(err, STATUS_STORE, "cannot open store %s: %s", s->path, mdb_strerror(rc));
        }
        mdb_env_set_maxdbs(s->env, TABLE_COUNT);
        rc = mdb_env_set_mapsize(s->env, size);
        if (!rc)
            rc = mdb_env_open(s->env, s->path, flags, 0664);
        if (!rc)
            return 0;
        mdb_env_close(s->env);
        s->env = NULL;
        if ((rc != EINVAL && rc != ENOMEM) || size / 2 < MAP_SIZE_MIN)
            break;
    }
    if (rc == MDB_INVALID)
        return error_set(err, STATUS_STORE, "%s is no saescope store, or its data.mdb is damaged", s->path);
    if (rc == EACCES || rc == EROFS)
        return error_system(err, STATUS_STORE, rc,
                            "cannot open store %s (one that you may not write: --read-only)", s->path);
    return store_fail(s, rc, err, "open it");
}

/*
 * A data file that is shorter than its pages would be a SIGBUS. LMDB may leave out a few pages at the end
 * that it never used; the file is made to hold them, while no other process can write.
 */
static int data_file_whole(struct store *s, struct error *err)
{
    MDB_txn *lock = NULL;
    MDB_envinfo info;
    struct stat st;
    uint64_t need;
    int fd, rc = 0;

    if (!s->read_only)
        rc = mdb_txn_begin(s->env, NULL, 0, &lock);
    if (rc)
        return store_fail(s, rc, err, "open it");
    mdb_env_info(s->env, &info);
    need = ((uint64_t)info.me_last_pgno + 1) * s->page_size;
    if (mdb_env_get_fd(s->env, &fd) || fstat(fd, &st)) {
        rc = error_set(err, STATUS_STORE, "store %s: cannot look at data.mdb", s->path);
    } else if ((uint64_t)st.st_size < need && (need - (uint64_t)st.st_size) / s->page_size > 64) {
        rc = error_set(err, STATUS_STORE,
                       "store %s is damaged: data.mdb has %lld of %llu bytes; restore it from a copy",
                       s->path, (long long)st.st_size, (unsigned long long)need);
    } else if ((uint64_t)st.st_size < need && lock && ftruncate(fd, (off_t)need)) {
        rc = error_system(err, STATUS_STORE, errno, "store %s: cannot lengthen data.mdb", s->path);
    }
    if (lock)
        mdb_txn_abort(lock);
    return rc;
}

static int format_check(struct store *s, MDB_txn *txn, struct error *err)
{
    MDB_val key = {6, (void *)(uintptr_t) "format"}, value;
    struct format_record format = {0, 0};
    int rc = mdb_get(txn, s->tables[TABLE_META], &key, &value);

    if (!rc && value.mv_size >= sizeof format)
        memcpy(&format, value.mv_data, sizeof format);
    if (rc || format.magic != FORMAT_MAGIC)
        return error_set(err, STATUS_STORE, "%s is no saescope store: its data.mdb belongs to something else",
                         s->path);
    if (format.version > STORE_FORMAT_VERSION)
        return error_set(err, STATUS_STORE,
                         "store %s has format %u, made by a newer saescope; this one reads up to format %d",
                         s->path, format.version, STORE_FORMAT_VERSION);
    return 0;
}

static int tables_make(struct store *s, MDB_txn *txn, struct error *err)
{
    struct format_record format = {FORMAT_MAGIC, STORE_FORMAT_VERSION};
    MDB_val key = {6, (void *)(uintptr_t) "format"}, value = {sizeof format, &format};
    int rc = 0;

    for (int i = 0; i < TABLE_COUNT && !rc; i++)
        rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &s->tables[i]);
    if (!rc)
        rc = mdb_put(txn, s->tables[TABLE_META], &key, &value, 0);
    return rc ? store_fail(s, rc, err, "make its tables") : 0;
}

/* The tables of a store that is there; MDB_NOTFOUND in *code when the environment is empty. */
static int tables_open(struct store *s, MDB_txn *txn, int *empty, struct error *err)
{
    int rc = mdb_dbi_open(txn, table_names[TABLE_META], 0, &s->tables[TABLE_META]);

    *empty = 0;
    if (rc == MDB_NOTFOUND) {
        MDB_dbi unnamed;
        MDB_stat stat;
        if (!mdb_dbi_open(txn, NULL, 0, &unnamed) && !mdb_stat(txn, unnamed, &stat) && !stat.ms_entries)
            *empty = 1;
    }
    if (rc)
        return rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE
                   ? error_set(err, STATUS_STORE, "%s is no saescope store: its data.mdb %s", s->path,
                               *empty ? "is empty" : "belongs to something else")
                   : store_fail(s, rc, err, "open it");
    if (format_check(s, txn, err))
        return STATUS_STORE;
    for (int i = TABLE_META + 1; i < TABLE_COUNT; i++) {
        rc = mdb_dbi_open(txn, table_names[i], 0, &s->tables[i]);
        if (rc)
            return error_set(err, STATUS_STORE, "store %s is damaged: no table \"%s\": %s", s->path,
                             table_names[i], mdb_strerror(rc));
    }
    return 0;
}

static int tables_open_or_make(struct store *s, int create, struct error *err)
{
    MDB_txn *txn;
    int rc, empty;

    rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return store_fail(s, rc, err, "open it");
    rc = tables_open(s, txn, &empty, err);
    if (!rc) {
        rc = mdb_txn_commit(txn); /* keeps the tables' handles */
        return rc ? store_fail(s, rc, err, "open it") : 0;
    }
    mdb_txn_abort(txn);
    if (!empty || !create || s->read_only)
        return rc;
    rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc)
        return store_fail(s, rc, err, "make its tables");
    rc = tables_open(s, txn, &empty, err); /* another process may have been faster */
    if (rc && empty)
        rc = tables_make(s, txn, err);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return rc ? store_fail(s, rc, err, "make its tables") : 0;
}

int environment_open(struct store *s, int create, struct error *err)
{
    uint64_t data_size, size;
    MDB_stat stat;
    int dead, rc;

    s->page_size = (size_t)sysconf(_SC_PAGESIZE);
    if (data_file_probe(s, &data_size, err) || map_size(s, data_size, &size, err))
        return STATUS_STORE;
    if (!s->no_lock && lock_file_prepare(s, err))
        return STATUS_STORE;
    rc = env_open(s, size, err);
    if (rc)
        return rc;
    mdb_env_stat(s->env, &stat);
    s->page_size = stat.ms_psize;
    mdb_reader_check(s->env, &dead);
    rc = data_size ? data_file_whole(s, err) : 0;
    if (!rc)
        rc = tables_open_or_make(s, create, err);
    if (rc)
        environment_close(s);
    return rc;
}

void environment_close(struct store *s)
{
    if (s->env)
        mdb_env_close(s->env);
    s->env = NULL;
}
