/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Mapped files without a name. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/scratch.h"

static int open_nameless(const char *directory)
{
#ifdef O_TMPFILE
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* File systems that cannot say EOPNOTSUPP; kernels that know nothing of it, EISDIR. */
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
#endif
    char *name = path_join(directory, "saescope-XXXXXX");
    int named = mkostemp(name, O_CLOEXEC);
    if (named >= 0)
        unlink(name);
    free(name);
    return named;
}

int scratch_open(struct scratch *s, const char *directory, size_t size, struct error *err)
{
    *s = (struct scratch){NULL, 0};
    char *shown = displayable_string(directory);
    int code = STATUS_OK, problem = 0;
    int fd = open_nameless(directory);
    if (fd < 0)
        code = error_system(err, STATUS_FAILED, errno, "%s: cannot make a temporary file", shown);
    /* Without its blocks, a full disk would be told by a signal. */
    if (!code && (problem = posix_fallocate(fd, 0, (off_t)size)))
        code = error_system(err, STATUS_FAILED, problem, "%s: no room for a temporary file of %zu bytes",
                            shown, size);
    if (!code) {
        void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            code = error_system(err, STATUS_FAILED, errno, "%s: cannot map a temporary file of %zu bytes",
                                shown, size);
        else
            *s = (struct scratch){data, size};
    }
    if (fd >= 0)
        close(fd);
    free(shown);
    return code;
}

void scratch_close(struct scratch *s)
{
    if (s->data)
        munmap(s->data, s->size);
    *s = (struct scratch){NULL, 0};
}
