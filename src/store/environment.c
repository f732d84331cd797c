/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opening and closing a store: what the directory is, which file system it is on, the lock that every process
 * holds shared, and the register that keeps one process from opening one environment twice (closing one of
 * two would drop the locks of both).
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/store/internal.h"

static pthread_mutex_t register_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct store *open_stores;

/* ---- Network file systems, where several machines would not see each other's maps and locks. ---- */

int network_file_system(long magic, const char **name)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } systems[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},       {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"},
        {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},  {0x65735546, "FUSE"}, {0x01021997, "9p"},
        {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},   {0x73757245, "Coda"}, {0x19830326, "BeeGFS"},
        {0xaad7aaea, "PanFS"},  {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(systems); i++)
        if ((uint32_t)magic == systems[i].magic) {
            *name = systems[i].name;
            return 1;
        }
    return 0;
}

static int on_network(const char *path, const char **name)
{
    struct statfs fs;

    return !statfs(path, &fs) && network_file_system((long)fs.f_type, name);
}

static int network_refuse(const char *path, const char *system, struct error *err)
{
    const char *candidates[] = {getenv("TMPDIR"), "/scratch", "/var/tmp", "/tmp"}, *scratch = "/tmp", *name;

    for (size_t i = 0; i < ARRAY_LENGTH(candidates); i++)
        if (candidates[i] && candidates[i][0] == '/' && path_is_directory(candidates[i]) &&
            !access(candidates[i], W_OK) && !on_network(candidates[i], &name)) {
            scratch = candidates[i];
            break;
        }
    return error_set(err, STATUS_STORE,
                     "store %s is on %s, where a store cannot be shared: keep it on a local disk, "
                     "`saescope -S %s/saescope-%u`, or open it for one process with --exclusive",
                     path, system, scratch, (unsigned)getuid());
}

/* ---- DIR/saescope.lock ---- */

/* /proc/locks has a line a lock: "1: FLOCK  ADVISORY  READ 1234 08:01:5678 0 EOF" (device numbers in
 * hexadecimal). */
void lock_holders(int fd, char *out, size_t n)
{
    FILE *f = fopen("/proc/locks", "re");
    struct stat st;
    char line[256];
    size_t used = 0;

    snprintf(out, n, "another process");
    if (!f || fstat(fd, &st)) {
        if (f)
            fclose(f);
        return;
    }
    while (fgets(line, sizeof line, f)) {
        int pid;
        unsigned major_number, minor_number;
        unsigned long long inode;
        if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%llu", &pid, &major_number, &minor_number, &inode) !=
                4 ||
            inode != st.st_ino || major_number != major(st.st_dev) || minor_number != minor(st.st_dev) ||
            pid == getpid())
            continue;
        if (used < n)
            used += (size_t)snprintf(out + used, n - used, "%s%d", used ? ", " : "process ", pid);
    }
    fclose(f);
}

static int take_lock(struct store *s, int *made, struct error *err)
{
    char *path = path_join(s->path, "saescope.lock");
    int exclusive = s->exclusive && !s->read_only, writable = !s->read_only;

    *made = !path_exists(path);
    s->lock_fd = open(path, writable ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0664);
    if (s->lock_fd < 0 && !writable) { /* nobody can write to it, or a copied data.mdb: nothing to wait for */
        free(path);
        *made = 0;
        return 0;
    }
    if (s->lock_fd < 0) {
        error_system(err, STATUS_STORE, errno, "cannot open %s (a store that you may not write: --read-only)",
                     path);
        free(path);
        return STATUS_STORE;
    }
    free(path);
    if (flock(s->lock_fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)) {
        char holders[256];
        if (errno != EWOULDBLOCK)
            return error_system(err, STATUS_STORE, errno, "cannot lock store %s", s->path);
        lock_holders(s->lock_fd, holders, sizeof holders);
        return error_set(err, STATUS_STORE, "store %s is in use by %s: end it or wait for it", s->path,
                         holders);
    }
    return 0;
}

/* ---- The directory. ---- */

/* Whether the directory holds nothing but what an interrupted first opening could have left. */
static int directory_is_blank(const char *path)
{
    static const char *const ours[] = {".", "..", "saescope.lock", "lock.mdb", "work", "jobs"};
    DIR *d = opendir(path);
    struct dirent *e;
    int blank = 1;

    if (!d)
        return 0;
    while (blank && (e = readdir(d))) {
        int known = 0;
        for (size_t i = 0; i < ARRAY_LENGTH(ours); i++)
            known |= !strcmp(e->d_name, ours[i]);
        blank = known;
    }
    closedir(d);
    return blank;
}

/* *fresh: data.mdb is yet to be made; *made: the directory, too. */
static int directory_check(const struct store_options *o, int *fresh, int *made, struct error *err)
{
    char *shown = displayable_string(o->path), *data = path_join(o->path, "data.mdb");
    const char *system;
    int create = o->create && !o->read_only, code = 0;

    *made = 0;
    *fresh = !path_exists(data);
    free(data);
    if (!path_exists(o->path)) {
        if (!create)
            code =
                error_set(err, STATUS_STORE,
                          "no store at %s: make one with `saescope -S %s import model DIR --name NAME`, or "
                          "`saescope demo`",
                          shown, shown);
        else if (!(code = make_directories(o->path, 0777, err)))
            *made = 1;
        else if (err)
            code = err->code = STATUS_STORE;
    } else if (!path_is_directory(o->path)) {
        code = error_set(err, STATUS_STORE, "%s is no saescope store: it is no directory", shown);
    } else if (*fresh && !directory_is_blank(o->path)) {
        code = error_set(err, STATUS_STORE,
                         "%s is no saescope store: it has no data.mdb, and other files are in it", shown);
    } else if (*fresh && !create) {
        code = error_set(err, STATUS_STORE,
                         "no store at %s: make one with `saescope -S %s import model DIR --name NAME`", shown,
                         shown);
    }
    if (!code && !o->exclusive && on_network(o->path, &system)) {
        code = network_refuse(shown, system, err);
        if (*made)
            rmdir(o->path);
    }
    free(shown);
    return code;
}

/* ---- Opening. ---- */

static struct store *find_open(const char *path)
{
    struct stat st;

    if (stat(path, &st))
        return NULL;
    for (struct store *s = open_stores; s; s = s->next_open)
        if (s->device == st.st_dev && s->inode == st.st_ino)
            return s;
    return NULL;
}

static void store_free(struct store *s)
{
    environment_close(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    free(s->path);
    free(s);
}

/* What a failed first opening made is taken away again, so that the directory is as it was. */
static void clean_up(const struct store *s, int fresh, int made_lock, int made_lock_mdb, int made_directory)
{
    const char *const names[] = {fresh ? "data.mdb" : NULL, made_lock_mdb ? "lock.mdb" : NULL,
                                 made_lock ? "saescope.lock" : NULL};

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (names[i]) {
            char *path = path_join(s->path, names[i]);
            unlink(path);
            free(path);
        }
    if (made_directory)
        rmdir(s->path);
}

/* Whether LMDB can use its lock file here, which it writes to even when it only reads. */
static int may_lock(const char *directory)
{
    char *path = path_join(directory, "lock.mdb");
    int may = !access(path_exists(path) ? path : directory, W_OK);

    free(path);
    return may;
}

static int open_new(const struct store_options *o, struct store **out, struct error *err)
{
    struct store *s = xcalloc(1, sizeof *s);
    int fresh, made_directory, made_lock = 0, made_lock_mdb = 0, code;
    struct stat st;
    char *lock_mdb;

    s->lock_fd = s->token_fd = -1;
    s->references = 1;
    s->path = xstrdup(o->path);
    s->read_only = o->read_only;
    s->exclusive = o->exclusive;
    s->no_lock = o->exclusive || (o->read_only && !may_lock(o->path));
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    code = directory_check(o, &fresh, &made_directory, err);
    if (!code) {
        lock_mdb = path_join(s->path, "lock.mdb");
        made_lock_mdb = !path_exists(lock_mdb);
        free(lock_mdb);
        code = take_lock(s, &made_lock, err);
        /* Another process that makes the same store right now has nothing of its own taken away. */
        if (code)
            fresh = made_lock = made_lock_mdb = made_directory = 0;
        else
            code = environment_open(s, o->create && !o->read_only, err);
        if (code && s->lock_fd >= 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB))
            fresh = made_lock = made_lock_mdb = made_directory = 0;
        if (code)
            clean_up(s, fresh, made_lock, made_lock_mdb, made_directory);
    }
    if (code || stat(s->path, &st)) {
        store_free(s);
        return code ? code : error_set(err, STATUS_STORE, "store %s has gone", o->path);
    }
    s->device = st.st_dev;
    s->inode = st.st_ino;
    s->next_open = open_stores;
    open_stores = s;
    *out = s;
    return 0;
}

int store_open(const struct store_options *o, struct store **out, struct error *err)
{
    struct store *s;
    int code = 0;

    *out = NULL;
    pthread_mutex_lock(&register_mutex);
    s = find_open(o->path);
    if (s && s->read_only && !o->read_only) {
        code = error_set(err, STATUS_STORE, "store %s is already open for reading only in this process",
                         s->path);
    } else if (s) {
        s->references++;
        *out = s;
    } else {
        code = open_new(o, out, err);
    }
    pthread_mutex_unlock(&register_mutex);
    return code;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&register_mutex);
    if (--s->references == 0) {
        for (struct store **p = &open_stores; *p; p = &(*p)->next_open)
            if (*p == s) {
                *p = s->next_open;
                break;
            }
        writer_token_drop(s);
        store_free(s);
    }
    pthread_mutex_unlock(&register_mutex);
}

const char *store_library_version(void)
{
    return mdb_version(NULL, NULL, NULL);
}

const char *store_path(const struct store *s)
{
    return s->path;
}

int store_is_read_only(const struct store *s)
{
    return s->read_only;
}
