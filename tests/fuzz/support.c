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

const char *fuzz_file(const uint8_t *data, size_t n)
{
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
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

const char *fuzz_link(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    if (!path_exists(path)) {
        uint8_t nothing = 0;
        FUZZ_CHECK(!symlink(fuzz_file(&nothing, 0), path));
    }
    return path;
}
