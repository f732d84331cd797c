/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rewriting the environment without its free pages. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/store/internal.h"

/* Copies the environment to a new file; no file is left when that fails. */
static int copy_to(struct store *s, const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0664), rc;

    if (fd < 0)
        return error_system(err, STATUS_STORE, errno, "cannot make %s", path);
    rc = mdb_env_copyfd2(s->env, fd, MDB_CP_COMPACT);
    if (!rc && fsync(fd))
        rc = errno;
    if (close(fd) && !rc)
        rc = errno;
    if (rc) {
        unlink(path);
        return store_fail(s, rc, err, "copy it");
    }
    return 0;
}

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

static int compact_to(struct store *s, const char *to, struct error *err)
{
    char *shown = displayable_string(to), *data = path_join(to, "data.mdb");
    int existed = path_exists(to), code = 0;
    struct store_txn *t = NULL;

    if (path_exists(data) || (existed && !path_is_directory(to)))
        code = error_set(err, STATUS_REFUSED, "%s is there already: give a new directory", shown);
    else if (make_directories(to, 0777, err))
        code = err ? err->code : STATUS_REFUSED;
    if (!code)
        code = store_begin(s, &t, err); /* keeps an in-place compaction out while this one copies */
    if (!code) {
        code = copy_to(s, data, err);
        store_end(t);
    }
    if (!code)
        sync_directory(to);
    else if (!existed)
        rmdir(to);
    free(data);
    free(shown);
    return code;
}

/* Alone with the store: no other process, no transaction of this one. */
static int be_alone(struct store *s, struct error *err)
{
    char holders[256];
    int code;

    if (s->read_only)
        return error_set(err, STATUS_STORE, "store %s is open for reading only", s->path);
    code = gate_close(s, err);
    if (code || s->exclusive || !flock(s->lock_fd, LOCK_EX | LOCK_NB))
        return code;
    lock_holders(s->lock_fd, holders, sizeof holders);
    flock(s->lock_fd, LOCK_SH | LOCK_NB); /* a failed change of a lock loses it */
    gate_open(s);
    return error_set(err, STATUS_STORE, "store %s is in use by %s: end it first, or copy with --to DIR",
                     s->path, holders);
}

static int compact_in_place(struct store *s, struct error *err)
{
    char *data = path_join(s->path, "data.mdb"), *copy = path_join(s->path, "data.mdb.compact");
    int code = be_alone(s, err);

    if (!code) {
        unlink(copy); /* of one that was killed */
        code = copy_to(s, copy, err);
        if (!code) {
            MDB_envinfo info = {0};
            mdb_env_info(s->env, &info);
            environment_close(s);
            s->generation_base += info.me_last_txnid;
            if (rename(copy, data)) {
                code = error_system(err, STATUS_STORE, errno, "cannot replace %s", data);
                unlink(copy);
            }
            sync_directory(s->path);
            /* Without an environment the store would be unusable; its file is whole in either case. */
            if (environment_open(s, 0, code ? NULL : err))
                code = STATUS_STORE;
        }
        if (!s->exclusive)
            flock(s->lock_fd, LOCK_SH | LOCK_NB);
        gate_open(s);
    }
    free(copy);
    free(data);
    return code;
}

int store_compact(struct store *s, const char *to, struct error *err)
{
    return to ? compact_to(s, to, err) : compact_in_place(s, err);
}
