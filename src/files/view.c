/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows of strided views. A matrix whose columns lie one after the other (Fortran order, a transposed view) is
 * turned round in tiles, so that what is read and what is written both stay in cache, whatever the matrix'
 * size.
 */
#include "config.h"

#include <string.h>

#include "saescope/files/internal.h"

#define TILE       VIEW_TILE
#define SLAB_BYTES ((size_t)64 << 10)

void set_strides(struct file_tensor *t, int fortran)
{
    int ndim = t->tensor.ndim;
    size_t step = 1;
    for (int i = 0; i < ndim; i++) {
        int axis = fortran ? i : ndim - 1 - i;
        t->stride[axis] = step;
        step *= t->tensor.shape[axis];
    }
}

int view_fits(const struct file_tensor *t, size_t size)
{
    size_t item = dtype_size(t->tensor.dtype), last = 0, step;
    if (tensor_bytes(&t->tensor) == SIZE_MAX)
        return 0;
    if (tensor_elements(&t->tensor) == 0)
        return t->offset <= size;
    for (int i = 0; i < t->tensor.ndim; i++) {
        if (size_multiply(t->tensor.shape[i] - 1, t->stride[i], &step) || step > SIZE_MAX - last)
            return 0;
        last += step;
    }
    size_t elements = t->offset > size ? 0 : (size - t->offset) / item;
    return last < elements;
}

struct file_tensor file_tensor_transposed(const struct file_tensor *t)
{
    struct file_tensor out = *t;
    if (t->tensor.ndim == 2) {
        out.tensor.shape[0] = t->tensor.shape[1];
        out.tensor.shape[1] = t->tensor.shape[0];
        out.stride[0] = t->stride[1];
        out.stride[1] = t->stride[0];
    }
    return out;
}

/* ---- Matrices: what a view is made of once the axes before its last two are fixed. ---- */

struct plane {
    const unsigned char *bytes;
    size_t rows, columns, row_stride, column_stride; /* strides in bytes */
    size_t item;
};

#define TURN_TILE(type)                                                                                      \
    for (size_t c = 0; c < columns; c++)                                                                     \
        for (size_t r = 0; r < rows; r++) {                                                                  \
            type v;                                                                                          \
            memcpy(&v, from + r * p->row_stride + c * p->column_stride, sizeof v);                           \
            memcpy(tile + (r * TILE + c) * sizeof v, &v, sizeof v);                                          \
        }                                                                                                    \
    break

/*
 * rows × columns numbers from `from` to rows of `to` that are row_bytes apart, by way of a tile in the
 * innermost cache: rows that are a power of two apart would push each other out of it.
 */
static void copy_tile(const struct plane *p, const unsigned char *from, size_t rows, size_t columns,
                      unsigned char *to, size_t row_bytes)
{
    unsigned char tile[TILE * TILE * 8];
    switch (p->item) {
    case 1:
        TURN_TILE(uint8_t);
    case 2:
        TURN_TILE(uint16_t);
    case 4:
        TURN_TILE(uint32_t);
    case 8:
        TURN_TILE(uint64_t);
    }
    for (size_t r = 0; r < rows; r++)
        memcpy(to + r * row_bytes, tile + r * TILE * p->item, columns * p->item);
}

static void copy_plane(const struct plane *p, unsigned char *to)
{
    size_t row_bytes = p->columns * p->item;
    if (p->column_stride == p->item || p->columns == 1) {
        if (p->row_stride == row_bytes) {
            memcpy(to, p->bytes, p->rows * row_bytes);
            return;
        }
        for (size_t r = 0; r < p->rows; r++)
            memcpy(to + r * row_bytes, p->bytes + r * p->row_stride, row_bytes);
        return;
    }
    for (size_t r = 0; r < p->rows; r += TILE)
        for (size_t c = 0; c < p->columns; c += TILE)
            copy_tile(p, p->bytes + r * p->row_stride + c * p->column_stride,
                      p->rows - r < TILE ? p->rows - r : TILE, p->columns - c < TILE ? p->columns - c : TILE,
                      to + r * row_bytes + c * p->item, row_bytes);
}

static void swap_bytes(void *data, size_t item, size_t n)
{
    unsigned char *p = data;
    for (size_t i = 0; i < n; i++, p += item)
        for (size_t j = 0; j < item / 2; j++) {
            unsigned char byte = p[j];
            p[j] = p[item - 1 - j];
            p[item - 1 - j] = byte;
        }
}

/* Float32 of a plane, by slabs of at most SLAB_BYTES when its numbers are of another type. */
static void widen_plane(const struct plane *p, enum dtype dtype, int swapped, float *to)
{
    unsigned char slab[SLAB_BYTES];
    const size_t width = SLAB_BYTES / TILE / 8;
    int dense = p->column_stride == p->item || p->columns == 1;
    if (dense && !swapped && p->row_stride == p->columns * p->item) {
        floats_from(dtype, p->bytes, to, p->rows * p->columns);
        return;
    }
    if (dense && !swapped) {
        for (size_t r = 0; r < p->rows; r++)
            floats_from(dtype, p->bytes + r * p->row_stride, to + r * p->columns, p->columns);
        return;
    }
    for (size_t r = 0; r < p->rows; r += TILE) {
        for (size_t c = 0; c < p->columns; c += width) {
            struct plane part = *p;
            part.bytes += r * p->row_stride + c * p->column_stride;
            part.rows = p->rows - r < TILE ? p->rows - r : TILE;
            part.columns = p->columns - c < width ? p->columns - c : width;
            copy_plane(&part, slab);
            if (swapped)
                swap_bytes(slab, p->item, part.rows * part.columns);
            for (size_t i = 0; i < part.rows; i++)
                floats_from(dtype, slab + i * part.columns * p->item, to + (r + i) * p->columns + c,
                            part.columns);
        }
    }
}

/* The planes of rows [first, first + n): one for every place on the first two of four axes. */
struct planes {
    struct plane plane;
    size_t shape[TENSOR_MAX_DIMS], stride[TENSOR_MAX_DIMS]; /* four axes; strides in bytes */
    const unsigned char *bytes;
};

/* The view with axes of size 1 put before its own, until there are four; rows are cut from its first. */
static void planes_of(struct planes *p, const struct file_tensor *t, const unsigned char *bytes, size_t first,
                      size_t n)
{
    const int ndim = t->tensor.ndim, before = TENSOR_MAX_DIMS - ndim;
    size_t item = dtype_size(t->tensor.dtype);
    p->bytes = bytes + t->offset;
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) {
        p->shape[i] = i < before ? 1 : t->tensor.shape[i - before];
        p->stride[i] = i < before ? 0 : t->stride[i - before] * item;
    }
    if (ndim) {
        p->shape[before] = n;
        p->bytes += first * p->stride[before];
    }
    p->plane = (struct plane){NULL, p->shape[2], p->shape[3], p->stride[2], p->stride[3], item};
    /* A vector's numbers are a row, not rows. */
    if (ndim == 1)
        p->plane.row_stride = p->stride[3] * p->shape[3];
}

static int has_numbers(const struct planes *p)
{
    return p->shape[0] && p->shape[1] && p->shape[2] && p->shape[3];
}

void view_raw_rows(const struct file_tensor *t, const unsigned char *bytes, size_t first, size_t n, void *dst)
{
    struct planes p;
    planes_of(&p, t, bytes, first, n);
    unsigned char *to = dst;
    if (!has_numbers(&p))
        return;
    size_t plane_bytes = p.plane.rows * p.plane.columns * p.plane.item;
    for (size_t i = 0; i < p.shape[0]; i++)
        for (size_t j = 0; j < p.shape[1]; j++, to += plane_bytes) {
            p.plane.bytes = p.bytes + i * p.stride[0] + j * p.stride[1];
            copy_plane(&p.plane, to);
        }
    if (t->swapped)
        swap_bytes(dst, p.plane.item, (size_t)(to - (unsigned char *)dst) / p.plane.item);
}

void view_float_rows(const struct file_tensor *t, const unsigned char *bytes, size_t first, size_t n,
                     void *floats)
{
    float *dst = floats;
    if (t->tensor.dtype == DTYPE_F32) {
        view_raw_rows(t, bytes, first, n, dst);
        return;
    }
    struct planes p;
    planes_of(&p, t, bytes, first, n);
    if (!has_numbers(&p))
        return;
    for (size_t i = 0; i < p.shape[0]; i++)
        for (size_t j = 0; j < p.shape[1]; j++, dst += p.plane.rows * p.plane.columns) {
            p.plane.bytes = p.bytes + i * p.stride[0] + j * p.stride[1];
            widen_plane(&p.plane, t->tensor.dtype, t->swapped, dst);
        }
}
