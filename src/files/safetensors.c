/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * safetensors files: a reader that believes nothing the header says, and a writer that streams rows. As the
 * format demands, the tensors' byte ranges cover the data exactly: no overlap, no hole, nothing after the
 * last.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/safetensors.h"

#define HEADER_MAX  (100u * 1000 * 1000)
#define CHUNK_BYTES ((size_t)4 << 20)

/* One tensor's byte range in the data part, for the check that ranges follow one another. */
struct range {
    uint64_t begin, end;
    const char *name;
};

static int refuse(const struct safetensors *file, const char *tensor, const char *what, struct error *err)
{
    char *shown = displayable_string(tensor);
    int code = error_set(err, STATUS_REFUSED, "%s: tensor %s: %s", file->map.path, shown, what);
    free(shown);
    return code;
}

static int read_shape(const struct safetensors *file, const char *name, const json *shape, struct tensor *t,
                      struct error *err)
{
    if (!json_is_array(shape))
        return refuse(file, name, "the header gives no shape", err);
    if (json_length(shape) > TENSOR_MAX_DIMS)
        return refuse(file, name, "it has more than 4 dimensions", err);
    t->ndim = (int)json_length(shape);
    size_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->ndim; i++) {
        const json *n = json_at(shape, (size_t)i);
        long long size = json_integer(n, -1);
        if (!json_is_integer(n) || size < 0)
            return refuse(file, name, "a dimension in its shape is no whole number", err);
        t->shape[i] = (size_t)size;
        /* Zeros are skipped here so that the product of the others cannot overflow unseen. */
        if (size && size_multiply(bytes, (size_t)size, &bytes))
            return refuse(file, name, "its shape is impossibly large", err);
    }
    return STATUS_OK;
}

static int read_entry(struct safetensors *file, const char *name, const json *entry, size_t data_start,
                      struct range *range, struct error *err)
{
    struct named_tensor *out = &file->tensors[file->n_tensors];
    if (!json_is_object(entry))
        return refuse(file, name, "its header entry is no object", err);
    const char *dtype = json_get_string(entry, "dtype", "");
    if (dtype_from_name(dtype, &out->tensor.dtype)) {
        char *shown = displayable_string(dtype);
        char *what = !strncmp(dtype, "F8_", 3) || !strncmp(dtype, "F6_", 3) || !strncmp(dtype, "F4", 2)
                         ? xasprintf("numbers of dtype %s are not read: convert the file to BF16 or F32", shown)
                         : xasprintf("unknown dtype \"%s\"", shown);
        int code = refuse(file, name, what, err);
        free(what);
        free(shown);
        return code;
    }
    int code = read_shape(file, name, json_get(entry, "shape"), &out->tensor, err);
    if (code)
        return code;
    const json *offsets = json_get(entry, "data_offsets");
    const json *first = json_at(offsets, 0), *last = json_at(offsets, 1);
    long long begin = json_integer(first, -1), end = json_integer(last, -1);
    if (!json_is_array(offsets) || json_length(offsets) != 2 || !json_is_integer(first) ||
        !json_is_integer(last) || begin < 0 || end < begin)
        return refuse(file, name, "its data_offsets are no byte range", err);
    size_t available = file->map.size - data_start;
    if ((unsigned long long)end > available) {
        char *what =
            xasprintf("its data ends at byte %lld, but the file has %zu bytes of data (is it truncated?)",
                      end, available);
        code = refuse(file, name, what, err);
        free(what);
        return code;
    }
    if ((unsigned long long)(end - begin) != tensor_bytes(&out->tensor))
        return refuse(file, name, "its data_offsets do not fit its shape and dtype", err);
    out->tensor.data = file->map.data + data_start + begin;
    out->name = xstrdup(name);
    range->begin = (uint64_t)begin;
    range->end = (uint64_t)end;
    range->name = out->name;
    file->n_tensors++;
    return STATUS_OK;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int check_ranges(const struct safetensors *file, struct range *ranges, size_t data_size,
                        struct error *err)
{
    uint64_t at = 0;
    if (file->n_tensors)
        qsort(ranges, file->n_tensors, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < file->n_tensors; i++) {
        if (ranges[i].begin < at)
            return refuse(file, ranges[i].name, "its data overlaps another tensor's", err);
        if (ranges[i].begin > at)
            return refuse(file, ranges[i].name, "there is a hole before its data", err);
        at = ranges[i].end;
    }
    if (at != data_size)
        return error_set(err, STATUS_REFUSED, "%s: %zu bytes follow the last tensor's data", file->map.path,
                         data_size - (size_t)at);
    return STATUS_OK;
}

static int read_header(struct safetensors *file, json *header, size_t data_start, struct error *err)
{
    if (!json_is_object(header))
        return error_set(err, STATUS_REFUSED, "%s: the header is no JSON object", file->map.path);
    size_t n = json_length(header);
    file->tensors = array_zeroed(n + 1, sizeof *file->tensors, "the list of tensors", err);
    if (!file->tensors)
        return STATUS_FAILED;
    struct range *ranges = array_alloc(n + 1, sizeof *ranges, "the list of tensors", err);
    if (!ranges)
        return STATUS_FAILED;
    int code = STATUS_OK;
    void *iter = NULL;
    const char *key;
    json *value;
    while (!code && json_next(header, &iter, &key, &value)) {
        if (strcmp(key, "__metadata__") != 0)
            code = read_entry(file, key, value, data_start, &ranges[file->n_tensors], err);
        else if (json_is_object(value))
            file->metadata = json_retain(value);
        else
            code = error_set(err, STATUS_REFUSED, "%s: __metadata__ is no object", file->map.path);
    }
    if (!code)
        code = check_ranges(file, ranges, file->map.size - data_start, err);
    free(ranges);
    return code;
}

static uint64_t little_endian_64(const unsigned char *p)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    return n;
}

int safetensors_open(struct safetensors *file, const char *path, struct error *err)
{
    memset(file, 0, sizeof *file);
    int code = file_map_open(&file->map, path, err);
    if (code)
        return code;
    if (file->map.size < 8) {
        code = error_set(err, STATUS_REFUSED, "%s: too short for a safetensors file", file->map.path);
        safetensors_close(file);
        return code;
    }
    uint64_t length = little_endian_64(file->map.data);
    if (length > HEADER_MAX)
        code =
            error_set(err, STATUS_REFUSED, "%s: no safetensors file (a header of %llu bytes is over 100 MB)",
                      file->map.path, (unsigned long long)length);
    else if (length > file->map.size - 8)
        code = error_set(err, STATUS_REFUSED, "%s: truncated: the header has %llu bytes, the file only %zu",
                         file->map.path, (unsigned long long)length, file->map.size);
    if (!code) {
        char *where = xasprintf("%s: header", file->map.path);
        json *header = json_parse((const char *)file->map.data + 8, (size_t)length, where, err);
        code = header ? read_header(file, header, 8 + (size_t)length, err) : STATUS_REFUSED;
        json_free(header);
        free(where);
    }
    if (code)
        safetensors_close(file);
    return code;
}

void safetensors_close(struct safetensors *file)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        free(file->tensors[i].name);
    free(file->tensors);
    json_free(file->metadata);
    file_map_close(&file->map);
    memset(file, 0, sizeof *file);
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->n_tensors; i++) {
        if (!strcmp(file->tensors[i].name, name))
            return &file->tensors[i].tensor;
    }
    return NULL;
}

int safetensors_need(const struct safetensors *file, const char *name, const struct tensor **out,
                     struct error *err)
{
    enum { SHOWN = 8 };
    *out = safetensors_find(file, name);
    if (*out)
        return STATUS_OK;
    struct strbuf list = STRBUF_INIT;
    for (size_t i = 0; i < file->n_tensors && i < SHOWN; i++) {
        if (i)
            strbuf_adds(&list, ", ");
        displayable(&list, file->tensors[i].name, strlen(file->tensors[i].name));
    }
    if (file->n_tensors > SHOWN)
        strbuf_addf(&list, " and %zu more", file->n_tensors - SHOWN);
    int code = error_set(err, STATUS_REFUSED, "%s: no tensor %s (it has: %s)", file->map.path, name,
                         file->n_tensors ? strbuf_string(&list) : "none");
    strbuf_free(&list);
    return code;
}

/* ---- Writing. ---- */

static size_t row_elements(const struct safetensors_source *s)
{
    size_t n = 1;
    for (int i = 1; i < s->ndim; i++)
        n *= s->shape[i];
    return n;
}

static size_t row_count(const struct safetensors_source *s)
{
    return s->ndim ? s->shape[0] : 1;
}

static void build_header(struct strbuf *out, const struct safetensors_source *sources, size_t n,
                         enum dtype dtype, const json *metadata)
{
    unsigned long long at = 0;
    strbuf_addc(out, '{');
    if (metadata) {
        strbuf_adds(out, "\"__metadata__\":");
        json_dump(metadata, out);
    }
    for (size_t i = 0; i < n; i++) {
        if (i || metadata)
            strbuf_addc(out, ',');
        json_dump_string(out, sources[i].name, strlen(sources[i].name));
        strbuf_addf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(dtype));
        for (int d = 0; d < sources[i].ndim; d++)
            strbuf_addf(out, "%s%zu", d ? "," : "", sources[i].shape[d]);
        unsigned long long bytes = row_count(&sources[i]) * row_elements(&sources[i]) * dtype_size(dtype);
        strbuf_addf(out, "],\"data_offsets\":[%llu,%llu]}", at, at + bytes);
        at += bytes;
    }
    strbuf_addc(out, '}');
    while (out->length % 8)
        strbuf_addc(out, ' ');
}

static int write_all(FILE *f, const char *path, const void *data, size_t n, struct error *err)
{
    if (fwrite(data, 1, n, f) != n)
        return error_system(err, STATUS_FAILED, errno, "%s: cannot write", path);
    return STATUS_OK;
}

static int write_source(FILE *f, const char *path, const struct safetensors_source *s, enum dtype dtype,
                        struct error *err)
{
    /* Float16's largest number is 65504; what would round above it becomes infinite. */
    const float limit = dtype == DTYPE_F16 ? 65520.0f : INFINITY;
    size_t width = row_elements(s), rows = row_count(s);
    if (!width || !rows)
        return STATUS_OK;
    size_t chunk = CHUNK_BYTES / sizeof(float) / width;
    chunk = chunk < 1 ? 1 : chunk > rows ? rows : chunk;
    float *from = array_alloc(chunk * width, sizeof *from, "rows to write", err);
    if (!from)
        return STATUS_FAILED;
    void *to = array_alloc(chunk * width, dtype_size(dtype), "rows to write", err);
    if (!to) {
        free(from);
        return STATUS_FAILED;
    }
    int code = STATUS_OK;
    for (size_t first = 0; first < rows && !code; first += chunk) {
        size_t n = rows - first < chunk ? rows - first : chunk;
        code = s->read(s->arg, first, n, from, err);
        for (size_t i = 0; i < n * width && !code; i++) {
            if (isfinite(from[i]) && fabsf(from[i]) >= limit)
                code = error_set(err, STATUS_FAILED, "%s: tensor %s: %g does not fit F16", path, s->name,
                                 (double)from[i]);
        }
        if (code)
            break;
        floats_to(dtype, from, to, n * width);
        code = write_all(f, path, to, n * width * dtype_size(dtype), err);
    }
    free(from);
    free(to);
    return code;
}

/* After the rename the directory's entry has to reach the disk as well. */
static void sync_parent(const char *path)
{
    char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

int safetensors_write(const char *path, const struct safetensors_source *sources, size_t n_sources,
                      enum dtype dtype, const json *metadata, struct error *err)
{
    char *beside = xasprintf("%s.tmp-%ld", path, (long)getpid());
    FILE *f = fopen(beside, "wbe");
    if (!f) {
        int code = error_system(err, STATUS_FAILED, errno, "%s: cannot write", beside);
        free(beside);
        return code;
    }
    struct strbuf header = STRBUF_INIT;
    build_header(&header, sources, n_sources, dtype, metadata);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)header.length >> 8 * i);
    int code = write_all(f, beside, length, sizeof length, err);
    if (!code)
        code = write_all(f, beside, header.data, header.length, err);
    for (size_t i = 0; i < n_sources && !code; i++)
        code = write_source(f, beside, &sources[i], dtype, err);
    if (!code && (fflush(f) || fsync(fileno(f))))
        code = error_system(err, STATUS_FAILED, errno, "%s: cannot write", beside);
    if (fclose(f) && !code)
        code = error_system(err, STATUS_FAILED, errno, "%s: cannot write", beside);
    if (!code && rename(beside, path))
        code = error_system(err, STATUS_FAILED, errno, "%s: cannot rename to %s", beside, path);
    if (code)
        unlink(beside);
    else
        sync_parent(path);
    strbuf_free(&header);
    free(beside);
    return code;
}
