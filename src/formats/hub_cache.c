/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The cache that huggingface_hub keeps: found, read, and added to in the way it does it itself. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"

#define DEPTH_MAX    32
#define LOCK_SECONDS 0.04 /* between looks at a lock that another holds */

static int cache_failed(const char *path, const char *what, struct error *err)
{
    int number = errno;
    char *shown = displayable_string(path);
    error_system(err, STATUS_FAILED, number, "%s: %s", shown, what);
    free(shown);
    return STATUS_FAILED;
}

/* The folder of a file, made if it is missing. */
static int make_parent(const char *path, struct error *err)
{
    char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    int status = make_directories(parent, 0777, err);
    free(parent);
    return status;
}

/* ---- Commits. ---- */

static char *ref_path(const struct hub *h)
{
    return xasprintf("%s/refs/%s", h->folder, h->source->revision);
}

int hub_cache_commit(const struct hub *h, char commit[41])
{
    struct strbuf text = STRBUF_INIT;
    char *path = ref_path(h);
    const char *sha = h->source->revision;
    if (!hub_is_hex(sha, 40) && file_read(path, 4096, &text, NULL) == STATUS_OK) {
        char *end = text.data ? text.data + strcspn(text.data, " \t\r\n") : NULL;
        if (end)
            *end = '\0';
        sha = strbuf_string(&text);
    }
    int found = hub_is_hex(sha, 40);
    if (found)
        memcpy(commit, sha, 41);
    strbuf_free(&text);
    free(path);
    return found;
}

int hub_cache_put_commit(const struct hub *h, const char *commit, struct error *err)
{
    char known[41] = "";
    if (strcmp(h->source->revision, commit) == 0 ||
        (hub_cache_commit(h, known) && strcmp(known, commit) == 0))
        return STATUS_OK;
    char *path = ref_path(h);
    int status = make_parent(path, err);
    if (status == STATUS_OK)
        status = file_write_atomic(path, commit, 40, err);
    free(path);
    return status;
}

/* ---- What is there. ---- */

char *hub_cache_snapshot_path(const struct hub *h, const char *commit, const char *path)
{
    return xasprintf("%s/snapshots/%s%s%s", h->folder, commit, *path ? "/" : "", path);
}

char *hub_cache_blob_path(const struct hub *h, const char *etag, const char *suffix)
{
    return xasprintf("%s/blobs/%s%s", h->folder, etag, suffix);
}

int hub_cache_has(const struct hub *h, const char *commit, const char *path, uint64_t size)
{
    struct stat st;
    char *full = hub_cache_snapshot_path(h, commit, path);
    int there = stat(full, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
    free(full);
    return there;
}

static int list_entry(const struct hub *h, const char *commit, const char *path, int depth,
                      struct hub_listing *out, struct error *err);

static int list_folder(const struct hub *h, const char *commit, const char *folder, int depth,
                       struct hub_listing *out, struct error *err)
{
    char *full = hub_cache_snapshot_path(h, commit, folder);
    DIR *dir = opendir(full);
    int status = dir ? STATUS_OK : cache_failed(full, "cannot be read", err);
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path = *folder ? path_join(folder, entry->d_name) : xstrdup(entry->d_name);
        status = list_entry(h, commit, path, depth, out, err);
        free(path);
    }
    if (dir)
        closedir(dir);
    free(full);
    return status;
}

static int list_entry(const struct hub *h, const char *commit, const char *path, int depth,
                      struct hub_listing *out, struct error *err)
{
    struct stat st;
    char *full = hub_cache_snapshot_path(h, commit, path);
    int found = stat(full, &st) == 0;
    free(full);
    if (!found || (*path && !hub_path_is_safe(path, strlen(path))))
        return STATUS_OK; /* a link whose blob was removed */
    if (S_ISDIR(st.st_mode))
        return depth < DEPTH_MAX ? list_folder(h, commit, path, depth + 1, out, err) : STATUS_OK;
    if (S_ISREG(st.st_mode)) {
        struct hub_file file = {
            .path = xstrdup(path), .size = (uint64_t)st.st_size, .oid = xstrdup(""), .sha256 = xstrdup("")};
        hub_listing_add(out, &file);
    }
    return STATUS_OK;
}

int hub_cache_list(const struct hub *h, const char *commit, struct hub_listing *out, struct error *err)
{
    const char *folder = h->source->folder, *slash = strrchr(folder, '/');
    char *full = hub_cache_snapshot_path(h, commit, folder), *parent = NULL;
    struct stat st;
    int is_file = stat(full, &st) == 0 && S_ISREG(st.st_mode), status = STATUS_OK;
    free(full);
    if (is_file) { /* with what lies beside it, such as its config */
        parent = slash ? xstrndup(folder, (size_t)(slash - folder)) : xstrdup("");
        status = list_folder(h, commit, parent, DEPTH_MAX, out, err);
        free(parent);
    } else {
        status = list_entry(h, commit, folder, 0, out, err);
    }
    size_t below = out->n;
    char *above = status ? NULL : hub_listing_above(out, h->source);
    if (above)
        status = list_folder(h, commit, above, DEPTH_MAX, out, err);
    for (size_t i = below; i < out->n; i++)
        out->files[i].above = 1;
    free(above);
    memcpy(out->commit, commit, 41);
    out->from_cache = 1;
    hub_listing_sort(out);
    return status;
}

/* ---- Additions. ---- */

/* Whether the file that was locked still has its name: huggingface_hub removes lock files. */
static int still_named(int fd, const char *path)
{
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

static int wait_for_lock(const struct hub *h, int fd, struct error *err)
{
    int told = 0;
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return STATUS_OK; /* a file system without locks: a rename of a checked file ends the download
                                 anyway */
        if (!told++)
            monitor_step(h->monitor, "waiting", h->progress.step, h->progress.steps);
        nanosleep(&(struct timespec){0, (long)(LOCK_SECONDS * 1e9)}, NULL);
        int status = monitor_check(h->monitor, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

int hub_cache_lock(const struct hub *h, const char *etag, int *fd, struct error *err)
{
    char *blob = hub_cache_blob_path(h, etag, "");
    char *lock = xasprintf("%s/.locks/%s/%s.lock", h->settings.cache, path_base(h->folder), etag);
    int status = make_parent(blob, err);
    *fd = -1;
    if (status == STATUS_OK)
        status = make_parent(lock, err);
    while (status == STATUS_OK) {
        *fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        status = *fd < 0 ? cache_failed(lock, "cannot be made", err) : wait_for_lock(h, *fd, err);
        if (status != STATUS_OK || still_named(*fd, lock))
            break;
        close(*fd);
    }
    if (status != STATUS_OK && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    free(lock);
    free(blob);
    return status;
}

int hub_cache_link(const struct hub *h, const char *commit, const char *path, const char *etag,
                   struct error *err)
{
    struct strbuf target = STRBUF_INIT;
    char *pointer = hub_cache_snapshot_path(h, commit, path),
         *temporary = xasprintf("%s.tmp-%ld", pointer, (long)getpid());
    strbuf_adds(&target, "../../");
    for (const char *c = path; *c; c++)
        if (*c == '/')
            strbuf_adds(&target, "../");
    strbuf_addf(&target, "blobs/%s", etag);
    int status = make_parent(pointer, err);
    unlink(temporary);
    if (status == STATUS_OK && symlink(strbuf_string(&target), temporary)) {
        /* A file system without symbolic links: the file itself takes its place, as huggingface_hub does it.
         */
        char *blob = hub_cache_blob_path(h, etag, "");
        if ((errno != EPERM && errno != ENOTSUP && errno != ENOSYS) || rename(blob, temporary))
            status = cache_failed(pointer, "cannot be linked", err);
        free(blob);
    }
    if (status == STATUS_OK && rename(temporary, pointer)) {
        status = cache_failed(pointer, "cannot be linked", err);
        unlink(temporary);
    }
    strbuf_free(&target);
    free(temporary);
    free(pointer);
    return status;
}
