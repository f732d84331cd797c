/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Headers of NumPy's array files, versions 1 to 3: "\x93NUMPY", two bytes of version, the length of a Python dictionary
 * {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } and the dictionary. (numpy/lib/format.py)
 */
#ifndef SAESCOPE_FILES_NPY_H
#define SAESCOPE_FILES_NPY_H

#include <stddef.h>
#include "saescope/base/tensor.h"

#define NPY_PREFIX_MAX 12               /* bytes that tell how long the header is */
#define NPY_HEADER_MAX ((size_t)1 << 20) /* NumPy's own limit is 10,000 */

struct npy_header {
    struct tensor tensor; /* no data */
    int fortran, swapped;
    size_t length;      /* of the whole header: where the numbers start */
    char *unreadable;   /* why the numbers are none of ours, or NULL; malloc'd */
};

/* The header's whole length, from the file's first n bytes; `where` is displayable and for messages. */
int npy_header_length(const unsigned char *bytes, size_t n, const char *where, size_t *length, struct error *err);
/* n is at least that length. The product of shape and item size does not overflow. */
int npy_header_read(const unsigned char *bytes, size_t n, const char *where, struct npy_header *out, struct error *err);

#endif
