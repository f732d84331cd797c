/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files whole, mapped, written safely; directories; where things are kept. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"

/* error_system with a path in front, made displayable: "PATH: WHAT: No such file or directory". */
static int path_failed(struct error *err, int code, const char *path, const char *what)
{
    int errno_value = errno;
    char *shown = displayable_string(path);
    error_system(err, code, errno_value, "%s: %s", shown, what);
    free(shown);
    return code;
}

static int read_all(int fd, const char *path, size_t max, struct strbuf *out, struct error *err)
{
    static const size_t piece = 65536;
    size_t start = out->length;
    char *buf = xmalloc(piece);
    int status = STATUS_OK;
    for (;;) {
        ssize_t n = read(fd, buf, piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = path_failed(err, STATUS_REFUSED, path, "cannot read");
        if (n <= 0)
            break;
        if ((size_t)n > max - (out->length - start)) {
            char *shown = displayable_string(path);
            status = error_set(err, STATUS_REFUSED, "%s: larger than %zu bytes", shown, max);
            free(shown);
            break;
        }
        strbuf_add(out, buf, (size_t)n);
    }
    free(buf);
    return status;
}

int file_read(const char *path, size_t max, struct strbuf *out, struct error *err)
{
    if (!strcmp(path, "-"))
        return read_all(STDIN_FILENO, "standard input", max, out, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return path_failed(err, STATUS_REFUSED, path, "cannot open");
    int status = read_all(fd, path, max, out, err);
    close(fd);
    return status;
}

static int write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, data, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        data += written;
        n -= (size_t)written;
    }
    return fsync(fd);
}

/* Makes the rename itself last. Some file systems cannot; the file is whole all the same. */
static void sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? xstrdup(".") : slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

int file_write_atomic(const char *path, const void *data, size_t n, struct error *err)
{
    char *temporary = xasprintf("%s.tmp-%ld", path, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    int status = STATUS_OK;
    if (fd < 0) {
        status = path_failed(err, STATUS_FAILED, temporary, "cannot create");
        free(temporary);
        return status;
    }
    if (write_all(fd, data, n))
        status = path_failed(err, STATUS_FAILED, temporary, "cannot write");
    if (close(fd) && !status)
        status = path_failed(err, STATUS_FAILED, temporary, "cannot write");
    if (!status && rename(temporary, path))
        status = path_failed(err, STATUS_FAILED, path, "cannot rename to this name");
    if (status)
        unlink(temporary);
    else
        sync_directory_of(path);
    free(temporary);
    return status;
}

int file_map_open(struct file_map *map, const char *path, struct error *err)
{
    *map = (struct file_map){NULL, 0, NULL};
    /* A pipe without a writer must not block before it is refused. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return path_failed(err, STATUS_REFUSED, path, "cannot open");
    struct stat st;
    int status = STATUS_OK;
    void *data = NULL;
    if (fstat(fd, &st)) {
        status = path_failed(err, STATUS_REFUSED, path, "cannot open");
    } else if (!S_ISREG(st.st_mode)) {
        char *shown = displayable_string(path);
        status = error_set(err, STATUS_REFUSED, "%s: not a regular file", shown);
        free(shown);
    } else if (st.st_size > 0) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = path_failed(err, STATUS_REFUSED, path, "cannot map");
    }
    close(fd);
    if (status)
        return status;
    map->size = (size_t)st.st_size;
    map->data = map->size ? data : (const unsigned char *)"";
    map->path = xstrdup(path);
    return STATUS_OK;
}

void file_map_close(struct file_map *map)
{
    if (map->size) {
        union {
            const unsigned char *read_only;
            void *mapped;
        } data = {map->data};
        munmap(data.mapped, map->size);
    }
    free(map->path);
    *map = (struct file_map){NULL, 0, NULL};
}

int make_directories(const char *path, unsigned mode, struct error *err)
{
    char *part = xstrdup(path);
    int status = STATUS_OK;
    for (char *p = part; !status && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char rest = *p;
        *p = '\0';
        if (*part && mkdir(part, mode) && !path_is_directory(part))
            status = path_failed(err, STATUS_FAILED, part, "cannot create the directory");
        *p = rest;
    }
    free(part);
    return status;
}

/* Removes `name` in the directory `at`; `path` is for messages. */
static int remove_at(int at, const char *name, const char *path, struct error *err);

static int remove_inside(int at, const char *name, const char *path, struct error *err)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int status = path_failed(err, STATUS_FAILED, path, "cannot open the directory");
        if (fd >= 0)
            close(fd);
        return status;
    }
    int status = STATUS_OK;
    const struct dirent *entry;
    while (!status && (errno = 0, entry = readdir(dir))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char *inner = path_join(path, entry->d_name);
        status = remove_at(dirfd(dir), entry->d_name, inner, err);
        free(inner);
    }
    if (!status && errno)
        status = path_failed(err, STATUS_FAILED, path, "cannot read the directory");
    closedir(dir);
    return status;
}

static int remove_at(int at, const char *name, const char *path, struct error *err)
{
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? STATUS_OK : path_failed(err, STATUS_FAILED, path, "cannot remove");
    int is_directory = S_ISDIR(st.st_mode);
    if (is_directory) {
        int status = remove_inside(at, name, path, err);
        if (status)
            return status;
    }
    if (unlinkat(at, name, is_directory ? AT_REMOVEDIR : 0) && errno != ENOENT)
        return path_failed(err, STATUS_FAILED, path, "cannot remove");
    return STATUS_OK;
}

int remove_tree(const char *path, struct error *err)
{
    return remove_at(AT_FDCWD, path, path, err);
}

char *path_join(const char *dir, const char *name)
{
    size_t length = strlen(dir);
    if (name[0] == '/' || length == 0)
        return xstrdup(name);
    return xasprintf(dir[length - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int is_lfs_pointer(const void *data, size_t n)
{
    static const char start[] = "version https://git-lfs.github.com/spec/";
    return n >= sizeof start - 1 && !memcmp(data, start, sizeof start - 1);
}

int path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

int path_is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static char *home_directory(void)
{
    const char *home = getenv("HOME");
    if (home && home[0] == '/')
        return xstrdup(home);
    struct passwd entry, *found = NULL;
    char buf[4096];
    if (getpwuid_r(getuid(), &entry, buf, sizeof buf, &found) || !found || !found->pw_dir)
        return xstrdup("/");
    return xstrdup(found->pw_dir);
}

char *xdg_directory(const char *kind)
{
    static const struct {
        const char *kind, *below_home;
    } defaults[] = {
        {"DATA", ".local/share"}, {"CONFIG", ".config"}, {"STATE", ".local/state"}, {"CACHE", ".cache"}};
    char *variable = xasprintf("XDG_%s_HOME", kind);
    const char *value = getenv(variable);
    free(variable);
    /* The XDG Base Directory Specification: relative paths are to be ignored. */
    if (value && value[0] == '/')
        return path_join(value, "saescope");
    const char *below_home = defaults[0].below_home;
    for (size_t i = 0; i < ARRAY_LENGTH(defaults); i++) {
        if (!strcmp(kind, defaults[i].kind))
            below_home = defaults[i].below_home;
    }
    char *home = home_directory();
    char *base = path_join(home, below_home);
    char *directory = path_join(base, "saescope");
    free(base);
    free(home);
    return directory;
}

char *shipped_file(const char *name)
{
    const char *dir = getenv("SAESCOPE_DATADIR");
    return path_join(dir && *dir ? dir : PKGDATADIR, name);
}

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
