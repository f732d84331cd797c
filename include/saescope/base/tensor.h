/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one tensor type: a view of row-major numbers that somebody else owns (a file's map, the store's map, the heap).
 */
#ifndef SAESCOPE_BASE_TENSOR_H
#define SAESCOPE_BASE_TENSOR_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U64,
    DTYPE_U32,
    DTYPE_U16,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_COUNT
};

#define TENSOR_MAX_DIMS 4

struct tensor {
    enum dtype dtype;
    int ndim; /* 0: a scalar */
    size_t shape[TENSOR_MAX_DIMS];
    const void *data; /* not owned; may be unaligned in a file's map */
};

size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t); /* safetensors' names: "F32", "BF16", ... */
int dtype_from_name(const char *name, enum dtype *t); /* 0, or -1 when unknown */
const char *dtype_torch_name(enum dtype t); /* "float32", "bfloat16", ...: as in configurations */

size_t tensor_elements(const struct tensor *t); /* product of the shape (1 for a scalar) */
size_t tensor_bytes(const struct tensor *t);
/* Shape as "[768, 24576]" into buf. */
const char *tensor_shape_string(const struct tensor *t, char *buf, size_t size);

/* n numbers to float32 (exact for F16 and BF16) and back (to nearest, ties to even). src and dst may be unaligned. */
void floats_from(enum dtype t, const void *src, float *dst, size_t n);
void floats_to(enum dtype t, const float *src, void *dst, size_t n);

/* Index of the first value that is NaN or infinite, or n. */
size_t first_not_finite(const float *x, size_t n);

#endif
