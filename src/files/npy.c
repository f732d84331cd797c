/* SPDX-License-Identifier: GPL-3.0-or-later */
/* NumPy's array files. The header is read by a parser of just the literals that NumPy writes there. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/internal.h"
#include "saescope/files/npy.h"

static int refuse(const char *where, const char *what, struct error *err)
{
    return error_set(err, STATUS_REFUSED, "%s: npy header: %s", where, what);
}

int npy_header_length(const unsigned char *bytes, size_t n, const char *where, size_t *length,
                      struct error *err)
{
    if (n < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return refuse(where, "it is missing (is the file truncated?)", err);
    if (bytes[6] < 1 || bytes[6] > 3)
        return error_set(err, STATUS_REFUSED, "%s: npy header: version %d is unknown (1 to 3 are read)",
                         where, bytes[6]);
    if (bytes[6] == 1) {
        *length = 10 + (bytes[8] | (size_t)bytes[9] << 8);
    } else if (n < NPY_PREFIX_MAX) {
        return refuse(where, "it is truncated", err);
    } else {
        *length = NPY_PREFIX_MAX +
                  (bytes[8] | (size_t)bytes[9] << 8 | (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24);
    }
    return *length > NPY_HEADER_MAX ? refuse(where, "it is over 1 MiB", err) : STATUS_OK;
}

/* ---- The dictionary. ---- */

struct literal {
    const char *at, *end;
    const char *where;
    struct error *err;
};

static void skip_blanks(struct literal *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static int accept(struct literal *p, char c)
{
    skip_blanks(p);
    if (p->at == p->end || *p->at != c)
        return 0;
    p->at++;
    return 1;
}

static int expect(struct literal *p, char c)
{
    static const char expected[] = "'?' is missing";
    if (accept(p, c))
        return STATUS_OK;
    char what[sizeof expected];
    memcpy(what, expected, sizeof what);
    what[1] = c;
    return refuse(p->where, what, p->err);
}

/* A quoted string without escapes, as dtypes and keys are. */
static int read_string(struct literal *p, const char **text, size_t *n)
{
    skip_blanks(p);
    char quote = p->at < p->end ? *p->at : 0;
    if (quote != '\'' && quote != '"')
        return refuse(p->where, "a string is missing", p->err);
    *text = ++p->at;
    const char *close = memchr(p->at, quote, (size_t)(p->end - p->at));
    if (!close || memchr(p->at, '\\', (size_t)(close - p->at)))
        return refuse(p->where, "a string has no end", p->err);
    *n = (size_t)(close - p->at);
    p->at = close + 1;
    return STATUS_OK;
}

static int accept_word(struct literal *p, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(p);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0)
        return 0;
    p->at += n;
    return 1;
}

static int read_size(struct literal *p, size_t *out)
{
    skip_blanks(p);
    size_t n = 0;
    const char *start = p->at;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        if (n > (SIZE_MAX - 9) / 10)
            return refuse(p->where, "its shape is impossibly large", p->err);
        n = 10 * n + (size_t)(*p->at - '0');
    }
    if (p->at == start)
        return refuse(p->where, "a dimension in its shape is no whole number", p->err);
    accept(p, 'L'); /* Python 2 wrote 3L */
    *out = n;
    return STATUS_OK;
}

static void unreadable(struct npy_header *h, char *reason)
{
    if (h->unreadable)
        free(reason);
    else
        h->unreadable = reason;
}

static int read_shape(struct literal *p, struct npy_header *h)
{
    int code = expect(p, '('), ndim = 0;
    while (!code && !accept(p, ')')) {
        size_t size = 0;
        code = read_size(p, &size);
        if (!code && ndim < TENSOR_MAX_DIMS)
            h->tensor.shape[ndim] = size;
        ndim++;
        if (!code && !accept(p, ',')) {
            code = expect(p, ')');
            break;
        }
    }
    h->tensor.ndim = ndim < TENSOR_MAX_DIMS ? ndim : TENSOR_MAX_DIMS;
    if (ndim > TENSOR_MAX_DIMS)
        unreadable(h, xstrdup("it has more than 4 dimensions"));
    return code;
}

/* "<f4": byte order, kind and size. */
static void read_dtype(struct npy_header *h, const char *text, size_t n)
{
    static const struct {
        const char *type;
        enum dtype dtype;
    } types[] = {
        {"f4", DTYPE_F32}, {"f2", DTYPE_F16}, {"f8", DTYPE_F64}, {"i8", DTYPE_I64},
        {"i4", DTYPE_I32}, {"i2", DTYPE_I16}, {"i1", DTYPE_I8},  {"u8", DTYPE_U64},
        {"u4", DTYPE_U32}, {"u2", DTYPE_U16}, {"u1", DTYPE_U8},  {"b1", DTYPE_BOOL},
    };
    static const struct {
        char kind;
        const char *what;
    } others[] = {{'O', "Python objects, which are not read"},
                  {'U', "text"},
                  {'S', "text"},
                  {'V', "records or raw bytes"},
                  {'c', "complex numbers"},
                  {'M', "dates"},
                  {'m', "durations"}};
    if (n == 3 && strchr("<>|=", text[0])) {
        for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
            if (memcmp(text + 1, types[i].type, 2) != 0)
                continue;
            h->tensor.dtype = types[i].dtype;
            h->swapped = text[0] == '>' && dtype_size(types[i].dtype) > 1;
            return;
        }
    }
    char *descr = xstrndup(text, n), *shown = displayable_string(descr);
    const char *what = "of a type that is not read";
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++)
        if (n > 1 && text[1] == others[i].kind)
            what = others[i].what;
    unreadable(h, xasprintf("it holds %s (dtype %s)", what, shown));
    free(descr);
    free(shown);
}

/* What is no string is a record's list of fields: only where it ends matters. */
static int skip_fields(struct literal *p)
{
    int depth = 0;
    do {
        skip_blanks(p);
        if (p->at == p->end)
            return refuse(p->where, "descr has no end", p->err);
        if (*p->at == '\'' || *p->at == '"') {
            const char *text;
            size_t n;
            int code = read_string(p, &text, &n);
            if (code)
                return code;
            continue;
        }
        depth += *p->at == '[' || *p->at == '(';
        depth -= *p->at == ']' || *p->at == ')';
        p->at++;
    } while (depth > 0);
    return STATUS_OK;
}

static int read_member(struct literal *p, const char *key, size_t n, struct npy_header *h, int *seen)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    const char *text;
    size_t length;
    for (int i = 0; i < 3; i++) {
        if (n != strlen(keys[i]) || memcmp(key, keys[i], n) != 0)
            continue;
        if (*seen & 1 << i)
            return refuse(p->where, "a key is there twice", p->err);
        *seen |= 1 << i;
        if (i == 2)
            return read_shape(p, h);
        if (i == 1) {
            h->fortran = accept_word(p, "True");
            return h->fortran || accept_word(p, "False")
                       ? STATUS_OK
                       : refuse(p->where, "fortran_order is neither True nor False", p->err);
        }
        skip_blanks(p);
        if (p->at < p->end && *p->at == '[') {
            unreadable(h, xstrdup("it holds records"));
            return skip_fields(p);
        }
        int code = read_string(p, &text, &length);
        if (!code)
            read_dtype(h, text, length);
        return code;
    }
    return refuse(p->where, "it has a key other than descr, fortran_order and shape", p->err);
}

static int read_dictionary(struct literal *p, struct npy_header *h)
{
    int seen = 0, code = expect(p, '{');
    while (!code && !accept(p, '}')) {
        const char *key;
        size_t n;
        code = read_string(p, &key, &n);
        if (!code)
            code = expect(p, ':');
        if (!code)
            code = read_member(p, key, n, h, &seen);
        if (!code && !accept(p, ',')) {
            code = expect(p, '}');
            break;
        }
    }
    skip_blanks(p);
    if (!code && p->at != p->end)
        code = refuse(p->where, "something follows the dictionary", p->err);
    if (!code && seen != 7)
        code = refuse(p->where, "descr, fortran_order or shape is missing", p->err);
    return code;
}

int npy_header_read(const unsigned char *bytes, size_t n, const char *where, struct npy_header *out,
                    struct error *err)
{
    memset(out, 0, sizeof *out);
    int code = npy_header_length(bytes, n, where, &out->length, err);
    if (code)
        return code;
    if (out->length > n)
        return refuse(where, "it is truncated", err);
    const char *text = (const char *)bytes;
    struct literal p = {text + (bytes[6] == 1 ? 10 : NPY_PREFIX_MAX), text + out->length, where, err};
    code = read_dictionary(&p, out);
    if (!code && !out->unreadable) {
        /* Zeros are left out, so that the product of the others cannot overflow unseen. */
        size_t product = dtype_size(out->tensor.dtype);
        for (int i = 0; i < out->tensor.ndim && !code; i++)
            if (out->tensor.shape[i] && size_multiply(product, out->tensor.shape[i], &product))
                code = refuse(where, "its shape is impossibly large", err);
    }
    if (code) {
        free(out->unreadable);
        out->unreadable = NULL;
    }
    return code;
}

/* ---- A file that is one array. ---- */

int npy_open(struct tensor_file *tf, struct error *err)
{
    struct npy_header h;
    char *shown = displayable_string(tf->path);
    int code = npy_header_read(tf->map.data, tf->map.size, shown, &h, err);
    free(shown);
    if (code)
        return code;
    struct file_tensor *t = tensor_file_add(tf, FILE_TENSOR_ALONE);
    t->tensor = h.tensor;
    t->swapped = h.swapped;
    if (h.unreadable) {
        tensor_file_unreadable(tf, h.unreadable);
        return STATUS_OK;
    }
    size_t there = tf->map.size - h.length, needed = tensor_bytes(&h.tensor);
    char shape[128];
    if (there != needed)
        return tensor_file_refuse(tf, NULL, err, "shape %s takes %zu bytes, but the file has %zu%s",
                                  tensor_shape_string(&h.tensor, shape, sizeof shape), needed, there,
                                  there < needed ? " (is it truncated?)" : "");
    struct storage storage = {.bytes = tf->map.data + h.length, .size = there};
    t->storage = tensor_file_add_storage(tf, &storage);
    set_strides(t, h.fortran);
    return STATUS_OK;
}
