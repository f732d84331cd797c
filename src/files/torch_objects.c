/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The globals of PyTorch checkpoints. Nothing is called: each is a line of the table below, and what
 * PyTorch's function of that name would make of its arguments (torch/_utils.py, torch/serialization.py) is
 * made here. All others are refused.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/files/torch_objects.h"

/* A view that repeats a storage's numbers (expand) may be larger than it, but not without bounds. */
#define REPEATED_MAX ((size_t)1 << 30)

enum callee {
    CALL_NOTHING,
    CALL_DICT,
    CALL_LIST,
    CALL_TENSOR,
    CALL_TENSOR_WITH_DTYPE,
    CALL_PARAMETER,
    CALL_DEVICE,
    CALL_NUMPY_DTYPE,
    CALL_NUMPY_SCALAR,
    CALL_ENCODE
};

/* `item` is a storage's: bytes of one of its numbers, whose type is `dtype`, or DTYPE_COUNT when it is none
 * of ours. */
static const struct torch_global {
    const char *module, *name;
    enum callee callee;
    size_t item;
    enum dtype dtype;
} globals[] = {
    {"collections", "OrderedDict", CALL_DICT, 0, 0},
    {"builtins", "set", CALL_LIST, 0, 0},
    {"builtins", "frozenset", CALL_LIST, 0, 0},
    {"__builtin__", "set", CALL_LIST, 0, 0},
    {"__builtin__", "frozenset", CALL_LIST, 0, 0},
    {"torch", "Size", CALL_LIST, 0, 0},
    {"torch", "device", CALL_DEVICE, 0, 0},
    {"torch._utils", "_rebuild_tensor", CALL_TENSOR, 0, 0},
    {"torch._utils", "_rebuild_tensor_v2", CALL_TENSOR, 0, 0},
    {"torch._utils", "_rebuild_tensor_v3", CALL_TENSOR_WITH_DTYPE, 0, 0},
    {"torch._utils", "_rebuild_parameter", CALL_PARAMETER, 0, 0},
    {"torch._utils", "_rebuild_parameter_with_state", CALL_PARAMETER, 0, 0},
    {"torch", "FloatStorage", CALL_NOTHING, 4, DTYPE_F32},
    {"torch", "HalfStorage", CALL_NOTHING, 2, DTYPE_F16},
    {"torch", "BFloat16Storage", CALL_NOTHING, 2, DTYPE_BF16},
    {"torch", "DoubleStorage", CALL_NOTHING, 8, DTYPE_F64},
    {"torch", "LongStorage", CALL_NOTHING, 8, DTYPE_I64},
    {"torch", "IntStorage", CALL_NOTHING, 4, DTYPE_I32},
    {"torch", "ShortStorage", CALL_NOTHING, 2, DTYPE_I16},
    {"torch", "CharStorage", CALL_NOTHING, 1, DTYPE_I8},
    {"torch", "ByteStorage", CALL_NOTHING, 1, DTYPE_U8},
    {"torch", "BoolStorage", CALL_NOTHING, 1, DTYPE_BOOL},
    {"torch", "ComplexFloatStorage", CALL_NOTHING, 8, DTYPE_COUNT},
    {"torch", "ComplexDoubleStorage", CALL_NOTHING, 16, DTYPE_COUNT},
    {"torch", "UntypedStorage", CALL_NOTHING, 1, DTYPE_COUNT},
    {"torch.storage", "UntypedStorage", CALL_NOTHING, 1, DTYPE_COUNT},
    {"numpy", "dtype", CALL_NUMPY_DTYPE, 0, 0},
    {"numpy.core.multiarray", "scalar", CALL_NUMPY_SCALAR, 0, 0},
    {"numpy._core.multiarray", "scalar", CALL_NUMPY_SCALAR, 0, 0},
    {"_codecs", "encode", CALL_ENCODE, 0, 0},
};

/* PyTorch's dtypes that are none of ours. */
static const char *const other_dtypes[] = {
    "complex32",   "complex64",       "complex128",     "float8_e4m3fn", "float8_e4m3fnuz",
    "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "qint8",         "quint8",
    "qint32",      "quint4x2",        "quint2x4"};

struct storage_object {
    size_t storage, bytes;
    enum dtype dtype; /* of its numbers, or DTYPE_COUNT */
};

struct numpy_dtype {
    char kind;
    size_t size;
};

static int damaged(const struct torch_reader *r, const char *what, struct error *err)
{
    return tensor_file_refuse(r->tf, NULL, err, "the checkpoint %s", what);
}

static const struct torch_global *global_of(const struct pickle_value *v)
{
    return &globals[v->integer];
}

char *torch_global_name(const struct pickle_value *v)
{
    return xasprintf("%s.%s", global_of(v)->module, global_of(v)->name);
}

/* ---- Globals. ---- */

static void *new_object(struct pickle_value *out, enum torch_object kind, size_t size)
{
    out->type = PICKLE_OBJECT;
    out->object.kind = kind;
    out->object.data = xcalloc(1, size);
    return out->object.data;
}

static int find_dtype(const char *name, struct pickle_value *out)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (!strcmp(name, dtype_torch_name((enum dtype)i))) {
            struct torch_dtype *dtype = new_object(out, TORCH_DTYPE, sizeof *dtype);
            dtype->dtype = (enum dtype)i;
            snprintf(dtype->name, sizeof dtype->name, "%s", name);
            return 1;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(other_dtypes); i++) {
        if (!strcmp(name, other_dtypes[i])) {
            struct torch_dtype *dtype = new_object(out, TORCH_DTYPE, sizeof *dtype);
            dtype->dtype = DTYPE_COUNT;
            snprintf(dtype->name, sizeof dtype->name, "%s", name);
            return 1;
        }
    }
    return 0;
}

static int make_global(void *arg, const char *module, const char *name, struct pickle_value *out,
                       struct error *err)
{
    const struct torch_reader *r = arg;
    for (size_t i = 0; i < ARRAY_LENGTH(globals); i++) {
        if (!strcmp(module, globals[i].module) && !strcmp(name, globals[i].name)) {
            out->type = PICKLE_GLOBAL;
            out->integer = (long long)i;
            return STATUS_OK;
        }
    }
    if (!strcmp(module, "torch") && find_dtype(name, out))
        return STATUS_OK;
    char *shown_module = displayable_string(module), *shown = displayable_string(name);
    int code =
        tensor_file_refuse(r->tf, NULL, err,
                           "the checkpoint calls %s.%s: refused (only tensors and plain values are read: "
                           "save its state_dict())",
                           shown_module, shown);
    free(shown_module);
    free(shown);
    return code;
}

/* ---- Storages: ("storage", type, key, device, number of elements). ---- */

static int check_storage(const struct torch_reader *r, const char *key, size_t elements, size_t item,
                         size_t entry, struct error *err)
{
    size_t bytes, there = zip_entry_size(r->tf->zip, entry);
    if (!size_multiply(elements, item, &bytes) && bytes <= there && there - bytes < item)
        return STATUS_OK;
    char *shown = displayable_string(key);
    int code = tensor_file_refuse(r->tf, NULL, err,
                                  "storage %s of %zu numbers of %zu bytes is declared to have %zu bytes",
                                  shown, elements, item, there);
    free(shown);
    return code;
}

static int make_storage(const struct torch_reader *r, const char *key, const struct torch_global *type,
                        size_t elements, struct pickle_value *out, struct error *err)
{
    char *name = xasprintf("%sdata/%s", r->root, key);
    size_t entry = zip_entry_find(r->tf->zip, name);
    free(name);
    if (entry == ZIP_NO_ENTRY) {
        char *shown = displayable_string(key);
        int code = tensor_file_refuse(r->tf, NULL, err, "storage %s is missing", shown);
        free(shown);
        return code;
    }
    int code = check_storage(r, key, elements, type->item, entry, err);
    if (code)
        return code;
    if (!r->storage_of_entry[entry]) {
        struct storage storage = {.size = zip_entry_size(r->tf->zip, entry), .entry = entry};
        r->storage_of_entry[entry] = tensor_file_add_storage(r->tf, &storage) + 1;
    }
    struct storage_object *s = new_object(out, TORCH_STORAGE, sizeof *s);
    s->storage = r->storage_of_entry[entry] - 1;
    s->bytes = elements * type->item;
    s->dtype = type->dtype;
    return STATUS_OK;
}

static int make_persistent(void *arg, const struct pickle_value *id, struct pickle_value *out,
                           struct error *err)
{
    const struct torch_reader *r = arg;
    struct pickle_value *const *items = id->list.items;
    if (id->type != PICKLE_TUPLE || id->list.n < 5 || !pickle_text_is(items[0], "storage") ||
        items[1]->type != PICKLE_GLOBAL || !global_of(items[1])->item || items[2]->type != PICKLE_STRING ||
        items[4]->type != PICKLE_INT || items[4]->integer < 0)
        return damaged(r, "names a storage in a form that is not PyTorch's", err);
    char *key = xstrndup(items[2]->text.bytes, items[2]->text.length);
    int code = make_storage(r, key, global_of(items[1]), (size_t)items[4]->integer, out, err);
    free(key);
    return code;
}

/* ---- Tensors: (storage, offset, size, stride, …, dtype at 6 in version 3), all in elements. ---- */

static int is_sequence(const struct pickle_value *v)
{
    return v->type == PICKLE_TUPLE || v->type == PICKLE_LIST;
}

static int read_sizes(const struct pickle_value *v, size_t *out)
{
    for (size_t i = 0; i < v->list.n; i++) {
        const struct pickle_value *item = v->list.items[i];
        if (item->type != PICKLE_INT || item->integer < 0)
            return -1;
        if (i < TENSOR_MAX_DIMS)
            out[i] = (size_t)item->integer;
    }
    return 0;
}

static int fill_view(const struct torch_reader *r, struct torch_tensor *t, const struct storage_object *s,
                     struct pickle_value *const *items, struct error *err)
{
    struct file_tensor *view = &t->view;
    view->storage = s->storage;
    if (items[1]->type != PICKLE_INT || items[1]->integer < 0 || !is_sequence(items[2]) ||
        !is_sequence(items[3]) || items[2]->list.n != items[3]->list.n ||
        read_sizes(items[2], view->tensor.shape) || read_sizes(items[3], view->stride) ||
        size_multiply((size_t)items[1]->integer, dtype_size(view->tensor.dtype), &view->offset))
        return damaged(r, "has a tensor whose offset, shape or strides are no whole numbers", err);
    if (items[2]->list.n > TENSOR_MAX_DIMS) {
        snprintf(t->unreadable, sizeof t->unreadable, "it has more than 4 dimensions");
        return STATUS_OK;
    }
    view->tensor.ndim = (int)items[2]->list.n;
    char shape[128];
    if (!view_fits(view, s->bytes))
        return tensor_file_refuse(
            r->tf, NULL, err, "a tensor of shape %s and its strides reach beyond its storage of %zu bytes",
            tensor_shape_string(&view->tensor, shape, sizeof shape), s->bytes);
    if (tensor_bytes(&view->tensor) > s->bytes && tensor_bytes(&view->tensor) > REPEATED_MAX)
        return tensor_file_refuse(r->tf, NULL, err,
                                  "a tensor of shape %s repeats a storage of %zu bytes over "
                                  "1 GiB",
                                  tensor_shape_string(&view->tensor, shape, sizeof shape), s->bytes);
    return STATUS_OK;
}

static int make_tensor(const struct torch_reader *r, const struct pickle_value *arguments, int with_dtype,
                       struct pickle_value *out, struct error *err)
{
    struct pickle_value *const *items = arguments->list.items;
    if (arguments->list.n < (with_dtype ? 7 : 4) || items[0]->type != PICKLE_OBJECT ||
        items[0]->object.kind != TORCH_STORAGE ||
        (with_dtype && (items[6]->type != PICKLE_OBJECT || items[6]->object.kind != TORCH_DTYPE)))
        return damaged(r, "makes a tensor of what is no storage", err);
    const struct storage_object *s = items[0]->object.data;
    const struct torch_dtype *named = with_dtype ? items[6]->object.data : NULL;
    struct torch_tensor *t = new_object(out, TORCH_TENSOR, sizeof *t);
    enum dtype dtype = named ? named->dtype : s->dtype;
    if (dtype == DTYPE_COUNT) {
        snprintf(t->unreadable, sizeof t->unreadable, "it is of a type that is not read: %s",
                 named ? named->name : "complex numbers");
        return STATUS_OK;
    }
    t->view.tensor.dtype = dtype;
    return fill_view(r, t, s, items, err);
}

/* A parameter is its tensor; whether gradients are wanted is none of our business. */
static int make_parameter(const struct torch_reader *r, const struct pickle_value *arguments,
                          struct pickle_value *out, struct error *err)
{
    const struct pickle_value *tensor = arguments->list.n ? arguments->list.items[0] : NULL;
    if (!tensor || tensor->type != PICKLE_OBJECT || tensor->object.kind != TORCH_TENSOR)
        return damaged(r, "makes a parameter of what is no tensor", err);
    struct torch_tensor *t = new_object(out, TORCH_TENSOR, sizeof *t);
    memcpy(t, tensor->object.data, sizeof *t);
    return STATUS_OK;
}

/* ---- Plain values. ---- */

static void own_text(struct pickle_value *out, enum pickle_type type, char *bytes, size_t n)
{
    out->type = type;
    out->owned = 1;
    out->text.bytes = bytes;
    out->text.length = n;
}

static int make_list(const struct torch_reader *r, struct pickle *p, const struct pickle_value *arguments,
                     struct pickle_value *out, struct error *err)
{
    out->type = PICKLE_LIST;
    if (arguments->list.n == 0)
        return STATUS_OK;
    if (!is_sequence(arguments->list.items[0]))
        return damaged(r, "makes a list of what is none", err);
    return pickle_copy_items(p, out, arguments->list.items[0]);
}

/* OrderedDict() or OrderedDict([(key, value), …]), as very old files have it. */
static int make_dict(const struct torch_reader *r, struct pickle *p, const struct pickle_value *arguments,
                     struct pickle_value *out, struct error *err)
{
    out->type = PICKLE_DICT;
    const struct pickle_value *pairs = arguments->list.n ? arguments->list.items[0] : NULL;
    int code = STATUS_OK;
    if (pairs && !is_sequence(pairs))
        return damaged(r, "makes a dictionary of what is no list of pairs", err);
    for (size_t i = 0; pairs && i < pairs->list.n && !code; i++) {
        const struct pickle_value *pair = pairs->list.items[i];
        code = is_sequence(pair) && pair->list.n == 2
                   ? pickle_copy_items(p, out, pair)
                   : damaged(r, "makes a dictionary of what is no list of pairs", err);
    }
    return code;
}

/* device("cuda", 0) as "cuda:0". */
static int make_device(const struct torch_reader *r, const struct pickle_value *arguments,
                       struct pickle_value *out, struct error *err)
{
    struct pickle_value *const *items = arguments->list.items;
    size_t n = arguments->list.n;
    if (n < 1 || n > 2 || items[0]->type != PICKLE_STRING || items[0]->text.length > 64 ||
        (n == 2 && items[1]->type != PICKLE_INT))
        return damaged(r, "names a device in a form that is not PyTorch's", err);
    char *device = xstrndup(items[0]->text.bytes, items[0]->text.length);
    char *text = n == 2 ? xasprintf("%s:%lld", device, items[1]->integer) : xstrdup(device);
    free(device);
    own_text(out, PICKLE_STRING, text, strlen(text));
    return STATUS_OK;
}

/* encode(text, "latin1"): bytes, as protocol 2 writes them. */
static int make_bytes(const struct torch_reader *r, const struct pickle_value *arguments,
                      struct pickle_value *out, struct error *err)
{
    struct pickle_value *const *items = arguments->list.items;
    if (arguments->list.n != 2 || items[0]->type != PICKLE_STRING || !pickle_text_is(items[1], "latin1"))
        return damaged(r, "encodes text as something else than latin1", err);
    /* A character below 256 is one byte of UTF-8, or two: 110000xx 10xxxxxx. */
    const unsigned char *text = (const unsigned char *)items[0]->text.bytes;
    size_t n = items[0]->text.length, length = 0;
    char *bytes = xmalloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = text[i];
        if (c >= 0x80) {
            if ((c != 0xC2 && c != 0xC3) || i + 1 == n || (text[i + 1] & 0xC0) != 0x80) {
                free(bytes);
                return damaged(r, "encodes text that is no latin1", err);
            }
            c = (unsigned char)(c << 6 | (text[++i] & 0x3F));
        }
        bytes[length++] = (char)c;
    }
    own_text(out, PICKLE_BYTES, bytes, length);
    return STATUS_OK;
}

/* dtype("f8", False, True) */
static int make_numpy_dtype(const struct torch_reader *r, const struct pickle_value *arguments,
                            struct pickle_value *out, struct error *err)
{
    const struct pickle_value *name = arguments->list.n ? arguments->list.items[0] : NULL;
    if (!name || name->type != PICKLE_STRING || name->text.length != 2 ||
        !memchr("fiub", name->text.bytes[0], 4) || !memchr("1248", name->text.bytes[1], 4))
        return damaged(r, "has a NumPy dtype that is not read", err);
    struct numpy_dtype *dtype = new_object(out, NUMPY_DTYPE, sizeof *dtype);
    dtype->kind = name->text.bytes[0];
    dtype->size = (size_t)(name->text.bytes[1] - '0');
    return STATUS_OK;
}

/* scalar(dtype, bytes) */
static int make_numpy_scalar(const struct torch_reader *r, const struct pickle_value *arguments,
                             struct pickle_value *out, struct error *err)
{
    struct pickle_value *const *items = arguments->list.items;
    const struct numpy_dtype *dtype =
        arguments->list.n == 2 && items[0]->type == PICKLE_OBJECT && items[0]->object.kind == NUMPY_DTYPE
            ? items[0]->object.data
            : NULL;
    if (!dtype || items[1]->type != PICKLE_BYTES || items[1]->text.length != dtype->size ||
        (dtype->kind == 'f' && dtype->size == 1))
        return damaged(r, "has a NumPy number in a form that is not NumPy's", err);
    const unsigned char *bytes = (const unsigned char *)items[1]->text.bytes;
    if (dtype->kind == 'f') {
        float narrow;
        out->type = PICKLE_REAL;
        if (dtype->size == 8) {
            memcpy(&out->real, bytes, 8);
        } else {
            floats_from(dtype->size == 4 ? DTYPE_F32 : DTYPE_F16, bytes, &narrow, 1);
            out->real = (double)narrow;
        }
        return STATUS_OK;
    }
    uint64_t n = dtype->kind == 'i' && bytes[dtype->size - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = dtype->size; i-- > 0;)
        n = n << 8 | bytes[i];
    out->type = dtype->kind == 'b' ? PICKLE_BOOL : PICKLE_INT;
    out->integer = dtype->kind == 'b' ? n != 0 : (long long)n;
    if (dtype->kind == 'u' && n > INT64_MAX) {
        out->type = PICKLE_REAL;
        out->real = (double)n;
    }
    return STATUS_OK;
}

static int make_call(void *arg, struct pickle *p, const struct pickle_value *callee,
                     const struct pickle_value *arguments, struct pickle_value *out, struct error *err)
{
    const struct torch_reader *r = arg;
    switch (global_of(callee)->callee) {
    case CALL_DICT:
        return make_dict(r, p, arguments, out, err);
    case CALL_LIST:
        return make_list(r, p, arguments, out, err);
    case CALL_TENSOR:
        return make_tensor(r, arguments, 0, out, err);
    case CALL_TENSOR_WITH_DTYPE:
        return make_tensor(r, arguments, 1, out, err);
    case CALL_PARAMETER:
        return make_parameter(r, arguments, out, err);
    case CALL_DEVICE:
        return make_device(r, arguments, out, err);
    case CALL_NUMPY_DTYPE:
        return make_numpy_dtype(r, arguments, out, err);
    case CALL_NUMPY_SCALAR:
        return make_numpy_scalar(r, arguments, out, err);
    case CALL_ENCODE:
        return make_bytes(r, arguments, out, err);
    case CALL_NOTHING:
        break;
    }
    return damaged(r, "calls what is no function", err);
}

/* The state of a dictionary or parameter is its attributes (state_dict()'s _metadata), which are not needed;
 * NumPy's dtypes tell their byte order so: (3, "<", …). */
static int set_state(void *arg, struct pickle_value *object, const struct pickle_value *state,
                     struct error *err)
{
    const struct torch_reader *r = arg;
    int attributes =
        object->type == PICKLE_DICT || (object->type == PICKLE_OBJECT && object->object.kind == TORCH_TENSOR);
    if (attributes && (state->type == PICKLE_DICT || state->type == PICKLE_NONE))
        return STATUS_OK;
    if (object->type == PICKLE_OBJECT && object->object.kind == NUMPY_DTYPE && state->type == PICKLE_TUPLE &&
        state->list.n > 1 && state->list.items[1]->type == PICKLE_STRING)
        return pickle_text_is(state->list.items[1], ">") ? damaged(r, "has big-endian NumPy numbers", err)
                                                         : STATUS_OK;
    return damaged(r, "sets the state of what has none", err);
}

const struct pickle_user torch_pickle_user = {NULL, make_global, make_persistent, make_call, set_state};
