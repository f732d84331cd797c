/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Token files: text that was tokenised elsewhere, as numbers of two or four bytes (.bin) or as a NumPy array
 * (.npy). A part at a time is held.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/files/tensor_file.h"
#include "saescope/model/text_internal.h"

#define PART_TOKENS ((size_t)1 << 16)

/* ---- Checks that all of them need. ---- */

static int check_ids(const char *path, const uint32_t *ids, size_t n, uint64_t position,
                     struct text_sink *sink, struct error *err)
{
    size_t size = tokenizer_size(text_sink_tokenizer(sink));
    for (size_t i = 0; i < n; i++)
        if (ids[i] == UINT32_MAX)
            return error_set(err, STATUS_REFUSED,
                             "%s: token %llu is negative, or more than any vocabulary has", path,
                             (unsigned long long)(position + i));
        else if (ids[i] >= size)
            return error_set(err, STATUS_REFUSED,
                             "%s: token %llu is %u, but the model's vocabulary has only %zu: other numbers "
                             "(--token-type), or another model's",
                             path, (unsigned long long)(position + i), ids[i], size);
    return STATUS_OK;
}

/* ---- Numbers of two or four bytes, little-endian. ---- */

struct token_stream {
    const char *path;
    struct text_sink *sink;
    size_t width; /* bytes a token */
    uint64_t position;
    uint8_t rest[4]; /* of a token that is not whole yet */
    size_t n_rest;
    uint32_t *ids; /* [PART_TOKENS] */
};

int token_stream_open(const char *path, const struct text_import *options, struct text_sink *sink,
                      struct token_stream **out, struct error *err)
{
    int wide = tokenizer_size(text_sink_tokenizer(sink)) > 65536;
    if (options->token_type)
        wide = strcmp(options->token_type, "u16") != 0;
    struct token_stream *s = xcalloc(1, sizeof(*s));
    *s = (struct token_stream){.path = path, .sink = sink, .width = wide ? 4 : 2};
    s->ids = array_alloc(PART_TOKENS, sizeof(*s->ids), "tokens", err);
    if (!s->ids) {
        free(s);
        return err->code;
    }
    *out = s;
    return STATUS_OK;
}

void token_stream_close(struct token_stream *s)
{
    if (!s)
        return;
    free(s->ids);
    free(s);
}

static int give(struct token_stream *s, size_t n, struct error *err)
{
    int status = check_ids(s->path, s->ids, n, s->position, s->sink, err);
    if (!status)
        status = text_sink_add_tokens(s->sink, s->ids, n, s->position == 0, err);
    s->position += n;
    return status;
}

int token_stream_add(struct token_stream *s, const void *bytes, size_t n, struct error *err)
{
    const uint8_t *p = bytes;
    size_t count = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < n && !status; i++) {
        s->rest[s->n_rest++] = p[i];
        if (s->n_rest < s->width)
            continue;
        s->n_rest = 0;
        s->ids[count++] = (uint32_t)s->rest[0] | (uint32_t)s->rest[1] << 8 |
                          (s->width == 4 ? (uint32_t)s->rest[2] << 16 | (uint32_t)s->rest[3] << 24 : 0);
        if (count == PART_TOKENS) {
            status = give(s, count, err);
            count = 0;
        }
    }
    return status || !count ? status : give(s, count, err);
}

int token_stream_end(const struct token_stream *s, struct error *err)
{
    if (s->n_rest)
        return error_set(err, STATUS_REFUSED, "%s: ends within a token of %zu bytes", s->path, s->width);
    return STATUS_OK;
}

/* ---- Arrays. ---- */

struct token_array {
    const char *path;
    struct tensor_file *file;
    struct file_tensor tensor; /* one or two dimensions */
    size_t width;              /* tokens a row */
    void *raw;
    uint32_t *ids;
};

/* The numbers as ids; what no id can be becomes UINT32_MAX, which no vocabulary has. */
static void widen(enum dtype dtype, const void *raw, size_t n, uint32_t *ids)
{
    for (size_t i = 0; i < n; i++) {
        long long id = 0;
        unsigned long long big;
        switch (dtype) {
        case DTYPE_U8:
            id = ((const uint8_t *)raw)[i];
            break;
        case DTYPE_U16:
            id = ((const uint16_t *)raw)[i];
            break;
        case DTYPE_I16:
            id = ((const int16_t *)raw)[i];
            break;
        case DTYPE_U32:
            id = ((const uint32_t *)raw)[i];
            break;
        case DTYPE_I32:
            id = ((const int32_t *)raw)[i];
            break;
        case DTYPE_U64:
            big = ((const uint64_t *)raw)[i];
            id = big < UINT32_MAX ? (long long)big : -1;
            break;
        default:
            id = (long long)((const int64_t *)raw)[i];
        }
        ids[i] = id >= 0 && id < UINT32_MAX ? (uint32_t)id : UINT32_MAX;
    }
}

static int check_array(struct token_array *a, struct error *err)
{
    const struct tensor *x = &a->tensor.tensor;
    char shape[96];
    if (a->tensor.unreadable || x->dtype == DTYPE_BOOL || x->dtype < DTYPE_I64 || x->dtype == DTYPE_I8)
        return error_set(err, STATUS_REFUSED, "%s: the array holds %s, not tokens (whole numbers)", a->path,
                         a->tensor.unreadable ? a->tensor.unreadable : dtype_name(x->dtype));
    if (x->ndim < 1 || x->ndim > 2)
        return error_set(err, STATUS_REFUSED,
                         "%s: the array is %s; tokens have one dimension, or a row a document", a->path,
                         tensor_shape_string(x, shape, sizeof(shape)));
    /* One long row needs not be whole in memory. */
    if (x->ndim == 2 && x->shape[0] == 1) {
        a->tensor.tensor.shape[0] = x->shape[1];
        a->tensor.stride[0] = a->tensor.stride[1];
        a->tensor.tensor.ndim = 1;
    }
    a->width = x->ndim == 2 ? x->shape[1] : 1;
    return STATUS_OK;
}

static int read_rows(struct token_array *a, struct text_sink *sink, struct error *err)
{
    const struct tensor *x = &a->tensor.tensor;
    size_t rows = a->width && a->width < PART_TOKENS ? PART_TOKENS / a->width : 1,
           bytes = dtype_size(x->dtype);
    int status = STATUS_OK;
    a->raw = array_alloc(rows * a->width + 1, bytes, "tokens", err);
    a->ids = a->raw ? array_alloc(rows * a->width + 1, sizeof(*a->ids), "tokens", err) : NULL;
    if (!a->ids)
        return err->code;
    for (size_t first = 0; first < x->shape[0] && !status; first += rows) {
        size_t n = x->shape[0] - first < rows ? x->shape[0] - first : rows;
        status = tensor_file_raw_rows(a->file, &a->tensor, first, n, a->raw, err);
        if (status)
            break;
        widen(x->dtype, a->raw, n * a->width, a->ids);
        status = check_ids(a->path, a->ids, n * a->width, (uint64_t)first * a->width, sink, err);
        for (size_t row = 0; row < n && !status; row += x->ndim == 2 ? 1 : n)
            status = text_sink_add_tokens(sink, a->ids + row * a->width, x->ndim == 2 ? a->width : n,
                                          x->ndim == 2 || !first, err);
        text_sink_count_bytes(sink, n * a->width * bytes);
    }
    return status;
}

int text_read_array(const char *path, struct text_sink *sink, struct error *err)
{
    struct token_array a = {.path = path};
    const struct file_tensor *tensor;
    int status = tensor_file_open(path, NULL, &a.file, err);
    if (status)
        return status;
    status = tensor_file_need(a.file, FILE_TENSOR_ALONE, &tensor, err);
    if (!status) {
        a.tensor = *tensor;
        status = check_array(&a, err);
    }
    if (!status)
        status = read_rows(&a, sink, err);
    free(a.raw);
    free(a.ids);
    tensor_file_close(a.file);
    return status;
}
