/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A mapped file without a name: what does not fit memory, gone when it is closed or the process ends. */
#ifndef SAESCOPE_FILES_SCRATCH_H
#define SAESCOPE_FILES_SCRATCH_H

#include <stddef.h>
#include "saescope/base/error.h"

struct scratch {
    unsigned char *data; /* NULL: none */
    size_t size;
};

/* Writable, with its blocks allocated. STATUS_FAILED when there is no room or `directory` does not exist. */
int scratch_open(struct scratch *s, const char *directory, size_t size, struct error *err);
void scratch_close(struct scratch *s);

#endif
