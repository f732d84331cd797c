/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz files through libzip, which asks each tensor for its bytes. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/files/npz_write.h"

#ifdef HAVE_LIBZIP

#include <zip.h>

#define PIECE_BYTES ((size_t)1 << 20)
#define NPY_ALIGN   64 /* numpy/lib/format.py: ARRAY_ALIGN */

struct entry {
    const struct safetensors_source *source;
    enum dtype dtype;
    struct strbuf header;
    size_t rows, width, next; /* next row to be read */
    float *numbers;           /* a piece of rows */
    unsigned char *piece;     /* the same as they are written */
    size_t piece_rows, at, end;
    size_t header_at; /* bytes of the header that were read */
    zip_error_t zip_error;
    struct error *err; /* the caller's */
};

/* The magic, version 1.0, and a dictionary padded so that the numbers start at a multiple of 64. */
static void make_header(struct entry *e)
{
    struct strbuf dictionary = STRBUF_INIT;
    strbuf_addf(&dictionary, "{'descr': '<f%zu', 'fortran_order': False, 'shape': (", dtype_size(e->dtype));
    for (int i = 0; i < e->source->ndim; i++)
        strbuf_addf(&dictionary, i ? " %zu," : "%zu,", e->source->shape[i]);
    strbuf_adds(&dictionary, "), }");
    while ((10 + dictionary.length + 1) % NPY_ALIGN)
        strbuf_addc(&dictionary, ' ');
    strbuf_addc(&dictionary, '\n');
    const unsigned char length[2] = {(unsigned char)dictionary.length, (unsigned char)(dictionary.length >> 8)};
    strbuf_add(&e->header, "\x93NUMPY\1\0", 8);
    strbuf_add(&e->header, length, 2);
    strbuf_add(&e->header, dictionary.data, dictionary.length);
    strbuf_free(&dictionary);
}

static int entry_init(struct entry *e, const struct safetensors_source *source, enum dtype dtype,
                      struct error *err)
{
    *e = (struct entry){.source = source, .dtype = dtype, .header = STRBUF_INIT, .rows = 1, .width = 1, .err = err};
    if (source->ndim > 0)
        e->rows = source->shape[0];
    for (int i = 1; i < source->ndim; i++)
        e->width *= source->shape[i];
    zip_error_init(&e->zip_error);
    make_header(e);
    e->piece_rows = PIECE_BYTES / sizeof(float) / e->width;
    if (e->piece_rows < 1)
        e->piece_rows = 1;
    if (e->piece_rows > e->rows)
        e->piece_rows = e->rows;
    e->numbers = array_alloc(e->piece_rows * e->width, sizeof(float), "rows to write", err);
    e->piece = array_alloc(e->piece_rows * e->width, sizeof(float), "rows to write", err);
    return e->numbers && e->piece ? STATUS_OK : STATUS_FAILED;
}

static void entry_free(struct entry *e)
{
    strbuf_free(&e->header);
    free(e->numbers);
    free(e->piece);
}

static size_t entry_size(const struct entry *e)
{
    return e->header.length + e->rows * e->width * dtype_size(e->dtype);
}

/* Fills the piece again. */
static int next_piece(struct entry *e)
{
    size_t n = e->rows - e->next < e->piece_rows ? e->rows - e->next : e->piece_rows;
    if (e->source->read(e->source->arg, e->next, n, e->numbers, e->err))
        return -1;
    floats_to(e->dtype, e->numbers, e->piece, n * e->width);
    e->next += n;
    e->at = 0;
    e->end = n * e->width * dtype_size(e->dtype);
    return 0;
}

static zip_int64_t entry_read(struct entry *e, unsigned char *data, size_t n)
{
    size_t left = e->header.length - e->header_at, done = n < left ? n : left;
    memcpy(data, e->header.data + e->header_at, done);
    e->header_at += done;
    while (done < n) {
        if (e->at == e->end && (e->next == e->rows || next_piece(e)))
            return e->next == e->rows && e->at == e->end ? (zip_int64_t)done : -1;
        size_t count = e->end - e->at < n - done ? e->end - e->at : n - done;
        memcpy(data + done, e->piece + e->at, count);
        e->at += count;
        done += count;
    }
    return (zip_int64_t)done;
}

static zip_int64_t entry_callback(void *arg, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    struct entry *e = arg;
    zip_stat_t *stat = data;
    switch (command) {
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    case ZIP_SOURCE_OPEN:
        e->header_at = e->next = e->at = e->end = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return entry_read(e, data, (size_t)n);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(stat);
        stat->valid = ZIP_STAT_SIZE;
        stat->size = entry_size(e);
        return sizeof *stat;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&e->zip_error, data, n);
    default:
        zip_error_set(&e->zip_error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static int add_entry(zip_t *zip, struct entry *e)
{
    char *name = xasprintf("%s.npy", e->source->name);
    zip_source_t *source = zip_source_function(zip, entry_callback, e);
    zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (source && index < 0)
        zip_source_free(source);
    free(name);
    return index < 0 || zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) < 0 ? -1 : 0;
}

static int write_entries(const char *path, struct entry *entries, size_t n, struct error *err)
{
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    zip_error_t error;
    if (!zip) {
        zip_error_init_with_code(&error, code);
        error_set(err, STATUS_FAILED, "%s: cannot write: %s", path, zip_error_strerror(&error));
        zip_error_fini(&error);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < n && !code; i++)
        code = add_entry(zip, &entries[i]);
    if (!code && zip_close(zip) == 0)
        return STATUS_OK;
    /* A tensor's own error says more than libzip's. */
    if (!err->code)
        error_set(err, STATUS_FAILED, "%s: cannot write: %s", path, zip_strerror(zip));
    zip_discard(zip);
    return err->code;
}

int npz_write(const char *path, const struct safetensors_source *sources, size_t n_sources, enum dtype dtype,
              struct error *err)
{
    int status = STATUS_OK;
    size_t n = 0;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16)
        return error_set(err, STATUS_REFUSED, "NumPy has no type %s: write F32 or F16", dtype_torch_name(dtype));
    struct error own = {0};
    struct entry *entries = xcalloc(n_sources, sizeof *entries);
    for (; n < n_sources && !status; n++)
        status = entry_init(&entries[n], &sources[n], dtype, &own);
    if (!status)
        status = write_entries(path, entries, n, &own);
    if (status && err)
        *err = own;
    for (size_t i = 0; i < n; i++)
        entry_free(&entries[i]);
    free(entries);
    return status;
}

#else

int npz_write(const char *path, const struct safetensors_source *sources, size_t n_sources, enum dtype dtype,
              struct error *err)
{
    (void)sources;
    (void)n_sources;
    (void)dtype;
    return error_set(err, STATUS_FAILED, "%s: this saescope was built without libzip, which npz files need", path);
}

#endif
