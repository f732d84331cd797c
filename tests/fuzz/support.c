/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files for fuzz targets. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "tests/fuzz/fuzz.h"

static char folder[4096];

void fuzz_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort();
}

/* The file that inputs are written to; *fd is open on it. */
static const char *input_path(int *fd)
{
    static char path[64];
    static int input = -1;
    if (input < 0) {
        input = memfd_create("input", MFD_CLOEXEC);
        FUZZ_CHECK(input >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", input);
    }
    *fd = input;
    return path;
}

const char *fuzz_file(const uint8_t *data, size_t n)
{
    int fd;
    const char *path = input_path(&fd);
    FUZZ_CHECK(!ftruncate(fd, 0));
    FUZZ_CHECK(pwrite(fd, data, n, 0) == (ssize_t)n);
    return path;
}

static void remove_folder(void)
{
    remove_tree(folder, NULL);
}

const char *fuzz_folder(void)
{
    const char *parent = getenv("TMPDIR");
    if (!*folder) {
        snprintf(folder, sizeof folder, "%s/saescope-fuzz-XXXXXX", parent && *parent ? parent : "/tmp");
        FUZZ_CHECK(mkdtemp(folder));
        atexit(remove_folder);
    }
    return folder;
}

static const char *path_in_folder(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    return path;
}

/* With the folders above it. */
static void make_link(const char *path, const char *to)
{
    char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    FUZZ_CHECK(!make_directories(parent, 0777, NULL) && !symlink(to, path));
    free(parent);
}

const char *fuzz_link(const char *name)
{
    const char *path = path_in_folder(name);
    int fd;
    if (!path_exists(path))
        make_link(path, input_path(&fd));
    return path;
}

const char *fuzz_test_data(const char *name, const char *from)
{
    const char *path = path_in_folder(name);
    if (!path_exists(path)) {
        const char *data = getenv("SAESCOPE_TESTDATA");
        char *there = path_join(data ? data : "tests/data", from), *real = realpath(there, NULL);
        FUZZ_CHECK(real);
        make_link(path, real);
        free(real);
        free(there);
    }
    return path;
}
