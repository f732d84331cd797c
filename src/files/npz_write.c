/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz files: each entry is an npy file's header and its numbers, a piece of rows at a time. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/npz_write.h"
#include "saescope/files/zip_write.h"

#define PIECE_BYTES ((size_t)1 << 20)
#define NPY_ALIGN   64 /* numpy/lib/format.py: ARRAY_ALIGN */

struct array {
    const struct safetensors_source *source;
    enum dtype dtype;
    char *name;
    struct strbuf header;
    size_t rows, width, next; /* the row that is read next */
    float *numbers;           /* a piece of rows */
    unsigned char *piece;     /* the same as they are written */
    size_t piece_rows, at, end, header_at;
};

/* The magic, version 1.0, and a dictionary padded so that the numbers start at a multiple of 64. */
static void make_header(struct array *a)
{
    struct strbuf dictionary = STRBUF_INIT;
    strbuf_addf(&dictionary, "{'descr': '<f%zu', 'fortran_order': False, 'shape': (", dtype_size(a->dtype));
    for (int i = 0; i < a->source->ndim; i++)
        strbuf_addf(&dictionary, i ? " %zu," : "%zu,", a->source->shape[i]);
    strbuf_adds(&dictionary, "), }");
    while ((10 + dictionary.length + 1) % NPY_ALIGN)
        strbuf_addc(&dictionary, ' ');
    strbuf_addc(&dictionary, '\n');
    const unsigned char length[2] = {(unsigned char)dictionary.length,
                                     (unsigned char)(dictionary.length >> 8)};
    strbuf_add(&a->header, "\x93NUMPY\1\0", 8);
    strbuf_add(&a->header, length, 2);
    strbuf_add(&a->header, dictionary.data, dictionary.length);
    strbuf_free(&dictionary);
}

static int array_init(struct array *a, const struct safetensors_source *source, enum dtype dtype,
                      struct error *err)
{
    *a = (struct array){.source = source, .dtype = dtype, .header = STRBUF_INIT, .rows = 1, .width = 1};
    a->name = xasprintf("%s.npy", source->name);
    if (source->ndim > 0)
        a->rows = source->shape[0];
    for (int i = 1; i < source->ndim; i++)
        a->width *= source->shape[i];
    make_header(a);
    a->piece_rows = PIECE_BYTES / sizeof(float) / a->width;
    if (a->piece_rows < 1)
        a->piece_rows = 1;
    if (a->piece_rows > a->rows)
        a->piece_rows = a->rows;
    a->numbers = array_alloc(a->piece_rows * a->width, sizeof(float), "rows to write", err);
    a->piece = array_alloc(a->piece_rows * a->width, sizeof(float), "rows to write", err);
    return a->numbers && a->piece ? STATUS_OK : STATUS_FAILED;
}

static void array_free(struct array *a)
{
    strbuf_free(&a->header);
    free(a->name);
    free(a->numbers);
    free(a->piece);
}

static void array_rewind(void *arg)
{
    struct array *a = arg;
    a->header_at = a->next = a->at = a->end = 0;
}

static int next_piece(struct array *a, struct error *err)
{
    size_t n = a->rows - a->next < a->piece_rows ? a->rows - a->next : a->piece_rows;
    int status = a->source->read(a->source->arg, a->next, n, a->numbers, err);
    if (status)
        return status;
    floats_to(a->dtype, a->numbers, a->piece, n * a->width);
    a->next += n;
    a->at = 0;
    a->end = n * a->width * dtype_size(a->dtype);
    return STATUS_OK;
}

static int array_read(void *arg, unsigned char *dst, size_t n, struct error *err)
{
    struct array *a = arg;
    size_t left = a->header.length - a->header_at, done = n < left ? n : left;
    memcpy(dst, a->header.data + a->header_at, done);
    a->header_at += done;
    while (done < n) {
        int status = a->at == a->end ? next_piece(a, err) : STATUS_OK;
        if (status)
            return status;
        size_t count = a->end - a->at < n - done ? a->end - a->at : n - done;
        memcpy(dst + done, a->piece + a->at, count);
        a->at += count;
        done += count;
    }
    return STATUS_OK;
}

int npz_write(const char *path, const struct safetensors_source *sources, size_t n_sources, enum dtype dtype,
              struct error *err)
{
    int status = STATUS_OK;
    size_t n = 0;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16)
        return error_set(err, STATUS_REFUSED, "NumPy has no type %s: write float32 or float16",
                         dtype_torch_name(dtype));
    struct array *arrays = xcalloc(n_sources, sizeof *arrays);
    struct zip_entry_source *entries = xcalloc(n_sources, sizeof *entries);
    for (; n < n_sources && !status; n++) {
        struct array *a = &arrays[n];
        status = array_init(a, &sources[n], dtype, err);
        entries[n] = (struct zip_entry_source){
            .name = a->name,
            .size = a->header.length + a->rows * a->width * dtype_size(dtype),
            .rewind = array_rewind,
            .read = array_read,
            .arg = a,
        };
    }
    if (!status)
        status = zip_write(path, entries, n, err);
    for (size_t i = 0; i < n; i++)
        array_free(&arrays[i]);
    free(arrays);
    free(entries);
    return status;
}
