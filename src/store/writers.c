/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ids without manifest, and who still writes them. A process that writes holds the lock on a file of its own
 * in DIR/work, whose name stands in the records of its ids: when the lock is free, the process is gone.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/store/internal.h"

#define TOKEN_PREFIX "writer-"

/* ---- Tokens. ---- */

static char *work_path(const struct store *s, const char *name)
{
    char *work = path_join(s->path, "work"), *path = path_join(work, name);

    free(work);
    return path;
}

static int token_make(struct store *s, struct error *err)
{
    struct timespec now;
    char *work = path_join(s->path, "work");
    int code = make_directories(work, 0777, err);

    free(work);
    if (code)
        return err ? (err->code = STATUS_STORE) : STATUS_STORE;
    for (uint64_t attempt = 0;; attempt++) {
        char *path;
        int fd;
        struct stat st;
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(
            s->token, sizeof s->token, TOKEN_PREFIX "%ld-%016llx", (long)getpid(),
            (unsigned long long)hash_mix((uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, attempt, (uintptr_t)s));
        path = work_path(s, s->token);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0664);
        if (fd < 0 && errno != EEXIST) {
            error_system(err, STATUS_STORE, errno, "cannot make %s", path);
            free(path);
            s->token[0] = '\0';
            return STATUS_STORE;
        }
        free(path);
        if (fd < 0)
            continue;
        /* A sweeper may have taken the file away before it was locked. */
        if (!flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &st) && st.st_nlink) {
            s->token_fd = fd;
            return 0;
        }
        close(fd);
    }
}

int writer_token(struct store *s, struct error *err)
{
    int code = 0;

    pthread_mutex_lock(&s->mutex);
    if (!s->token[0])
        code = token_make(s, err);
    pthread_mutex_unlock(&s->mutex);
    return code;
}

void writer_token_drop(struct store *s)
{
    char *path;

    if (!s->token[0])
        return;
    path = work_path(s, s->token);
    unlink(path);
    free(path);
    close(s->token_fd);
    s->token_fd = -1;
    s->token[0] = '\0';
}

/* A lock that can be had belongs to nobody. */
static int token_is_free(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), is_free;

    if (fd < 0)
        return errno == ENOENT;
    is_free = !flock(fd, LOCK_EX | LOCK_NB);
    close(fd);
    return is_free;
}

void writer_tokens_clean(struct store *s)
{
    char *work = path_join(s->path, "work");
    DIR *d = opendir(work);
    struct dirent *e;

    free(work);
    if (!d)
        return;
    while ((e = readdir(d))) {
        char *path;
        if (strncmp(e->d_name, TOKEN_PREFIX, strlen(TOKEN_PREFIX)))
            continue;
        path = work_path(s, e->d_name);
        if (token_is_free(path))
            unlink(path);
        free(path);
    }
    closedir(d);
}

/* ---- Pending ids. ---- */

int pending_load(struct store_txn *t, artifact_id id, struct pending *out)
{
    struct key key = key_u64(id);
    MDB_val v;
    int rc = table_get(t, TABLE_PENDING, &key, &v);
    size_t n;

    memset(out, 0, sizeof *out);
    if (rc)
        return rc;
    if (v.mv_size < sizeof out->record || v.mv_size - sizeof out->record > NAME_MAX_BYTES)
        return MDB_CORRUPTED;
    n = v.mv_size - sizeof out->record;
    memcpy(&out->record, v.mv_data, sizeof out->record);
    memcpy(out->name, (const char *)v.mv_data + sizeof out->record, n);
    out->record.token[sizeof out->record.token - 1] = '\0';
    return 0;
}

int pending_put(struct store_txn *t, artifact_id id, const struct pending *p)
{
    struct key key = key_u64(id);
    unsigned char value[sizeof *p];
    size_t n = strlen(p->name);

    memcpy(value, &p->record, sizeof p->record);
    memcpy(value + sizeof p->record, p->name, n);
    return table_put(t, TABLE_PENDING, &key, value, sizeof p->record + n);
}

int pending_need(struct store_txn *t, artifact_id id, struct pending *out, struct error *err)
{
    struct key key = key_u64(id);
    MDB_val v;
    int rc = pending_load(t, id, out);

    if (rc && rc != MDB_NOTFOUND)
        return store_fail(t->store, rc, err, "look up an unpublished id");
    if (!rc && out->record.mode != PENDING_DOOMED)
        return 0;
    if (!table_get(t, TABLE_ARTIFACTS, &key, &v))
        return error_set(err, STATUS_REFUSED, "artifact %llu is published and cannot be changed",
                         (unsigned long long)id);
    return error_set(err, STATUS_REFUSED, "artifact %llu was given up or removed meanwhile",
                     (unsigned long long)id);
}

static int job_is_over(struct store_txn *t, uint64_t job)
{
    json *record = store_job(t, job, NULL);
    const char *state = json_get_string(record, "state", "");
    int over = !record || !strcmp(state, "done") || !strcmp(state, "failed") || !strcmp(state, "cancelled");

    json_free(record);
    return over;
}

/* `who`: "job 3", "process 4711". */
int pending_alive(struct store_txn *t, const struct pending *p, char *who, size_t n)
{
    char *path;
    int alive;

    switch (p->record.mode) {
    case PENDING_JOB:
        snprintf(who, n, "job %llu", (unsigned long long)p->record.job);
        return !job_is_over(t, p->record.job);
    case PENDING_WRITER:
        if (strncmp(p->record.token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) || strchr(p->record.token, '/'))
            return 0;
        snprintf(who, n, "process %ld", strtol(p->record.token + strlen(TOKEN_PREFIX), NULL, 10));
        path = work_path(t->store, p->record.token);
        alive = !token_is_free(path);
        free(path);
        return alive;
    default:
        return 0;
    }
}

int name_unclaimed(struct store_txn *t, const char *name, struct error *err)
{
    struct pending p;
    struct walk w;
    char who[64];
    int rc = walk_begin(t, TABLE_PENDING, NULL, &w), code = 0;

    while (!rc && !code && !(rc = walk_next(&w))) {
        if (w.key.mv_size != 8 || pending_load(t, key_number(w.key.mv_data, 8), &p) || strcmp(p.name, name))
            continue;
        if (pending_alive(t, &p, who, sizeof who))
            code = error_set(err, STATUS_REFUSED, "the name %s is taken: %s is making %s %s of that name",
                             name, who, kind_article(p.record.kind), kind_label(p.record.kind));
    }
    walk_end(&w);
    if (!code && rc && rc != MDB_NOTFOUND)
        return store_fail(t->store, rc, err, "look up a name");
    return code;
}

static int pending_change(struct store *s, artifact_id id, enum pending_mode mode, uint64_t job,
                          struct error *err)
{
    struct store_txn t;
    struct pending p;
    int code, rc;

    code = write_begin(s, &t, err);
    if (code)
        return code;
    code = pending_need(&t, id, &p, err);
    if (!code) {
        p.record.mode = mode;
        p.record.job = job;
        memset(p.record.token, 0, sizeof p.record.token);
        if (mode == PENDING_WRITER)
            memcpy(p.record.token, s->token, sizeof p.record.token);
        rc = pending_put(&t, id, &p);
        if (rc)
            code = store_fail(s, rc, err, "write");
    }
    if (!code)
        return write_commit(&t, err);
    write_abort(&t);
    return code;
}

int store_hold(struct store *s, artifact_id id, uint64_t job, struct error *err)
{
    return pending_change(s, id, PENDING_JOB, job, err);
}

int store_adopt(struct store *s, artifact_id id, struct error *err)
{
    int code = s->read_only ? 0 : writer_token(s, err);

    return code ? code : pending_change(s, id, PENDING_WRITER, 0, err);
}
