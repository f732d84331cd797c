/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Writing zip files of stored entries, which are asked for their bytes (a thin face over libzip). */
#ifndef SAESCOPE_FILES_ZIP_WRITE_H
#define SAESCOPE_FILES_ZIP_WRITE_H

#include <stddef.h>
#include "saescope/base/error.h"

struct zip_entry_source {
    const char *name;
    size_t size;
    void (*rewind)(void *arg); /* the next byte is the first */
    int (*read)(void *arg, unsigned char *dst, size_t n, struct error *err); /* the next n bytes of those that are left */
    void *arg;
};

/* Written beside and renamed. A source's own error is what is reported. STATUS_FAILED without libzip. */
int zip_write(const char *path, const struct zip_entry_source *entries, size_t n, struct error *err);

#endif
