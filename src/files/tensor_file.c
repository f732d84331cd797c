/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One face for all containers: which one a file is, the list of its tensors, and their rows. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/parallel.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/internal.h"

#define INFLATED_IN_MEMORY ((size_t)1 << 20)
#define PART_BYTES         ((size_t)256 << 10)

/* ---- What readers call. ---- */

int tensor_file_refuse(const struct tensor_file *tf, const char *tensor, struct error *err,
                       const char *format, ...)
{
    char *path = displayable_string(tf->path), *name = tensor ? displayable_string(tensor) : NULL;
    struct strbuf what = STRBUF_INIT;
    va_list args;
    va_start(args, format);
    strbuf_vaddf(&what, format, args);
    va_end(args);
    int code = error_set(err, STATUS_REFUSED, "%s: %s%s%s%s", path, name ? "tensor " : "", name ? name : "",
                         name ? ": " : "", strbuf_string(&what));
    strbuf_free(&what);
    free(path);
    free(name);
    return code;
}

size_t tensor_file_add_storage(struct tensor_file *tf, const struct storage *storage)
{
    if (tf->n_storages == tf->storages_capacity) {
        tf->storages_capacity = tf->storages_capacity ? 2 * tf->storages_capacity : 16;
        tf->storages = xreallocarray(tf->storages, tf->storages_capacity, sizeof *tf->storages);
    }
    tf->storages[tf->n_storages] = *storage;
    return tf->n_storages++;
}

struct file_tensor *tensor_file_add(struct tensor_file *tf, const char *name)
{
    if (tf->n_tensors == tf->tensors_capacity) {
        tf->tensors_capacity = tf->tensors_capacity ? 2 * tf->tensors_capacity : 16;
        tf->tensors = xreallocarray(tf->tensors, tf->tensors_capacity, sizeof *tf->tensors);
        tf->names = xreallocarray(tf->names, tf->tensors_capacity, sizeof *tf->names);
        tf->reasons = xreallocarray(tf->reasons, tf->tensors_capacity, sizeof *tf->reasons);
    }
    struct file_tensor *t = &tf->tensors[tf->n_tensors];
    memset(t, 0, sizeof *t);
    t->name = tf->names[tf->n_tensors] = xstrdup(name);
    tf->reasons[tf->n_tensors++] = NULL;
    return t;
}

void tensor_file_unreadable(struct tensor_file *tf, char *reason)
{
    tf->reasons[tf->n_tensors - 1] = reason;
    tf->tensors[tf->n_tensors - 1].unreadable = reason;
}

static int inflate(struct tensor_file *tf, struct storage *s, const char *tensor, struct error *err)
{
    size_t size = s->skip + s->size;
    unsigned char *to;
    int code;
    if (size <= INFLATED_IN_MEMORY) {
        to = s->heap = array_alloc(size ? size : 1, 1, "a compressed tensor", err);
        code = to ? STATUS_OK : STATUS_FAILED;
    } else if (!tf->scratch) {
        return tensor_file_refuse(tf, tensor, err,
                                  "it is compressed, and no directory was given to inflate "
                                  "it in");
    } else {
        code = scratch_open(&s->inflated, tf->scratch, size, err);
        to = s->inflated.data;
    }
    if (!code)
        code = zip_entry_read(tf->zip, s->entry, to, err);
    if (!code) {
        s->bytes = to + s->skip;
        return STATUS_OK;
    }
    free(s->heap);
    s->heap = NULL;
    scratch_close(&s->inflated);
    return code;
}

int storage_load(struct tensor_file *tf, size_t storage, const char *tensor, struct error *err)
{
    struct storage *s = &tf->storages[storage];
    const unsigned char *entry;
    if (s->bytes)
        return STATUS_OK;
    int code = zip_entry_map(tf->zip, s->entry, &entry, err);
    if (!code && entry)
        s->bytes = entry + s->skip;
    return code || entry ? code : inflate(tf, s, tensor, err);
}

/* ---- Opening. ---- */

static int open_safetensors(struct tensor_file *tf, struct error *err)
{
    struct safetensors *file = &tf->safetensors;
    int code = safetensors_open(file, tf->path, err);
    for (size_t i = 0; !code && i < file->n_tensors; i++) {
        const struct tensor *tensor = &file->tensors[i].tensor;
        struct storage storage = {.bytes = tensor->data, .size = tensor_bytes(tensor)};
        struct file_tensor *t = tensor_file_add(tf, file->tensors[i].name);
        t->tensor = *tensor;
        t->tensor.data = NULL;
        t->storage = tensor_file_add_storage(tf, &storage);
        set_strides(t, 0);
    }
    if (!code && file->metadata)
        tf->values = json_retain(file->metadata);
    return code;
}

/* torch.save's files hold ROOT/data.pkl; numpy.savez' hold arrays only. */
static int open_zip(struct tensor_file *tf, struct error *err)
{
    static const char pickle[] = "/data.pkl", array[] = ".npy";
    int code = zip_archive_open(&tf->map, &tf->zip, err);
    if (code)
        return code;
    size_t n = zip_archive_count(tf->zip), arrays = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = zip_entry_name(tf->zip, i);
        size_t length = strlen(name);
        if (length > strlen(pickle) && !strcmp(strchr(name, '/') ? strchr(name, '/') : "", pickle)) {
            tf->container = CONTAINER_TORCH;
            return torch_open(tf, i, err);
        }
        arrays += length > strlen(array) && !strcmp(name + length - strlen(array), array);
    }
    tf->container = CONTAINER_NPZ;
    if (arrays || !n)
        return npz_open(tf, err);
    return tensor_file_refuse(tf, NULL, err,
                              "a zip file, but with neither arrays (npz) nor a PyTorch checkpoint");
}

static int starts_with(const struct file_map *map, const char *bytes, size_t n)
{
    return map->size >= n && !memcmp(map->data, bytes, n);
}

/* Pickles of protocol 2 and later start with their protocol; torch.save did so too before PyTorch 1.6. */
static int is_pickle(const struct file_map *map)
{
    return map->size > 2 && map->data[0] == 0x80 && map->data[1] >= 2 && map->data[1] <= 5;
}

/* PyTorch's first format: members storages, tensors and pickle. */
static int is_tar(const struct file_map *map)
{
    return map->size > 512 && !memcmp(map->data + 257, "ustar", 5);
}

static int is_safetensors(const struct file_map *map)
{
    return map->size > 8 && map->data[8] == '{' && !map->data[7];
}

static int open_mapped(struct tensor_file *tf, int may_be_index, struct error *err)
{
    const struct file_map *map = &tf->map;
    if (starts_with(map, "PK\3\4", 4) || starts_with(map, "PK\5\6", 4))
        return open_zip(tf, err);
    if (starts_with(map, "\x93NUMPY", 6)) {
        tf->container = CONTAINER_NPY;
        return npy_open(tf, err);
    }
    if (is_shard_index(map->data, map->size)) {
        tf->container = CONTAINER_SHARDS;
        return may_be_index
                   ? sharded_open(tf, err)
                   : tensor_file_refuse(tf, NULL, err, "an index of files, where a file of tensors belongs");
    }
    if (is_safetensors(map)) {
        tf->container = CONTAINER_SAFETENSORS;
        return open_safetensors(tf, err);
    }
    if (is_pickle(map) || is_tar(map))
        return tensor_file_refuse(
            tf, NULL, err,
            "%s, as PyTorch wrote before %s: load it with torch.load and save it again, "
            "as safetensors or with torch.save, or take a revision that has safetensors",
            is_tar(map) ? "a tar archive" : "a bare pickle", is_tar(map) ? "0.2" : "1.6");
    if (is_lfs_pointer(map->data, map->size))
        return tensor_file_refuse(tf, NULL, err, LFS_POINTER);
    return tensor_file_refuse(tf, NULL, err,
                              map->size ? "neither safetensors, npy, npz nor a PyTorch checkpoint"
                                        : "the file is empty");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const struct tensor_file *tf, struct error *err)
{
    if (tf->n_tensors < 2)
        return STATUS_OK;
    const char **names = array_alloc(tf->n_tensors, sizeof *names, "the names of tensors", err);
    if (!names)
        return STATUS_FAILED;
    for (size_t i = 0; i < tf->n_tensors; i++)
        names[i] = tf->tensors[i].name;
    qsort(names, tf->n_tensors, sizeof *names, compare_names);
    int code = STATUS_OK;
    for (size_t i = 1; i < tf->n_tensors && !code; i++)
        if (!strcmp(names[i - 1], names[i]))
            code = tensor_file_refuse(tf, names[i], err, "there are two of this name");
    free(names);
    return code;
}

static int open_file(const char *path, const char *scratch, int may_be_index, struct tensor_file **out,
                     struct error *err)
{
    struct tensor_file *tf = xcalloc(1, sizeof *tf);
    tf->path = xstrdup(path);
    tf->scratch = scratch ? xstrdup(scratch) : NULL;
    int code = file_map_open(&tf->map, path, err);
    if (!code)
        code = open_mapped(tf, may_be_index, err);
    if (!code)
        code = check_names(tf, err);
    if (!code && !tf->values)
        tf->values = json_new_object();
    if (code) {
        tensor_file_close(tf);
        tf = NULL;
    }
    *out = tf;
    return code;
}

int tensor_file_open(const char *path, const char *scratch, struct tensor_file **out, struct error *err)
{
    return open_file(path, scratch, 1, out, err);
}

int tensor_file_open_shard(const char *path, const char *scratch, struct tensor_file **out, struct error *err)
{
    return open_file(path, scratch, 0, out, err);
}

void tensor_file_close(struct tensor_file *tf)
{
    if (!tf)
        return;
    for (size_t i = 0; i < tf->n_shards; i++)
        tensor_file_close(tf->shards[i]);
    free(tf->shards);
    for (size_t i = 0; i < tf->n_storages; i++) {
        free(tf->storages[i].heap);
        scratch_close(&tf->storages[i].inflated);
    }
    for (size_t i = 0; i < tf->n_tensors; i++) {
        free(tf->names[i]);
        free(tf->reasons[i]);
    }
    free(tf->storages);
    free(tf->tensors);
    free(tf->names);
    free(tf->reasons);
    json_free(tf->values);
    safetensors_close(&tf->safetensors);
    zip_archive_close(tf->zip);
    if (tf->map.path)
        file_map_close(&tf->map);
    free(tf->path);
    free(tf->scratch);
    free(tf);
}

/* ---- What there is. ---- */

enum container tensor_file_container(const struct tensor_file *tf)
{
    return tf->container;
}

const char *container_name(enum container c)
{
    static const char *const names[] = {
        [CONTAINER_SAFETENSORS] = "safetensors",
        [CONTAINER_SHARDS] = "several files by their index",
        [CONTAINER_NPY] = "npy",
        [CONTAINER_NPZ] = "npz",
        [CONTAINER_TORCH] = "PyTorch checkpoint",
    };
    return (unsigned)c < ARRAY_LENGTH(names) ? names[c] : "?";
}

const char *tensor_file_path(const struct tensor_file *tf)
{
    return tf->path;
}

size_t tensor_file_count(const struct tensor_file *tf)
{
    return tf->n_tensors;
}

const struct file_tensor *tensor_file_at(const struct tensor_file *tf, size_t i)
{
    return i < tf->n_tensors ? &tf->tensors[i] : NULL;
}

const struct file_tensor *tensor_file_find(const struct tensor_file *tf, const char *name)
{
    for (size_t i = 0; i < tf->n_tensors; i++)
        if (!strcmp(tf->tensors[i].name, name))
            return &tf->tensors[i];
    return NULL;
}

int tensor_file_need(const struct tensor_file *tf, const char *name, const struct file_tensor **out,
                     struct error *err)
{
    enum { SHOWN = 8 };
    *out = tensor_file_find(tf, name);
    if (*out && (*out)->unreadable)
        return tensor_file_refuse(tf, name, err, "%s", (*out)->unreadable);
    if (*out)
        return STATUS_OK;
    struct strbuf list = STRBUF_INIT;
    for (size_t i = 0; i < tf->n_tensors && i < SHOWN; i++) {
        strbuf_adds(&list, i ? ", " : "");
        displayable(&list, tf->tensors[i].name, strlen(tf->tensors[i].name));
    }
    if (tf->n_tensors > SHOWN)
        strbuf_addf(&list, " and %zu more", tf->n_tensors - SHOWN);
    int code = tensor_file_refuse(tf, NULL, err, "no tensor %s (it has: %s)", name,
                                  tf->n_tensors ? strbuf_string(&list) : "none");
    strbuf_free(&list);
    return code;
}

const json *tensor_file_values(const struct tensor_file *tf)
{
    return tf->values;
}

int file_tensors_same(const struct file_tensor *a, const struct file_tensor *b)
{
    return a->shard == b->shard && a->storage == b->storage && a->offset == b->offset &&
           a->swapped == b->swapped && a->tensor.dtype == b->tensor.dtype &&
           a->tensor.ndim == b->tensor.ndim &&
           !memcmp(a->tensor.shape, b->tensor.shape, (size_t)a->tensor.ndim * sizeof *a->tensor.shape) &&
           !memcmp(a->stride, b->stride, (size_t)a->tensor.ndim * sizeof *a->stride);
}

/* ---- Numbers. ---- */

static int prepare_rows(struct tensor_file *tf, const struct file_tensor *t, size_t first, size_t n,
                        const unsigned char **bytes, struct error *err)
{
    if (t->unreadable)
        return tensor_file_refuse(tf, t->name, err, "%s", t->unreadable);
    size_t rows = t->tensor.ndim ? t->tensor.shape[0] : 1;
    if (first > rows || n > rows - first)
        return tensor_file_refuse(tf, t->name, err, "it has %zu rows, not %zu", rows, first + n);
    struct tensor_file *file = t->shard ? tf->shards[t->shard - 1] : tf;
    int code = storage_load(file, t->storage, t->name, err);
    *bytes = file->storages[t->storage].bytes;
    return code;
}

/* Rows that are copied by all threads, some at a time. */
struct copying {
    const struct file_tensor *t;
    const unsigned char *bytes;
    void (*view_rows)(const struct file_tensor *t, const unsigned char *bytes, size_t first, size_t n,
                      void *dst);
    size_t first, n, step;
    unsigned char *dst;
    size_t row_bytes; /* of dst */
};

static void copy_part(size_t part, size_t worker, void *arg)
{
    const struct copying *c = arg;
    size_t at = part * c->step, n = c->n - at < c->step ? c->n - at : c->step;
    (void)worker;
    c->view_rows(c->t, c->bytes, c->first + at, n, c->dst + at * c->row_bytes);
}

static void copy_rows(struct copying *c, size_t item)
{
    size_t rows = c->t->tensor.ndim ? c->t->tensor.shape[0] : 1;
    c->row_bytes = rows ? tensor_elements(&c->t->tensor) / rows * item : 0;
    size_t step = c->row_bytes ? PART_BYTES / c->row_bytes / VIEW_TILE * VIEW_TILE : c->n;
    c->step = step ? step : VIEW_TILE;
    parallel_for(c->n / c->step + (c->n % c->step != 0), copy_part, c);
}

int tensor_file_rows(struct tensor_file *tf, const struct file_tensor *t, size_t first, size_t n, float *dst,
                     struct error *err)
{
    struct copying c = {t, NULL, view_float_rows, first, n, 0, (unsigned char *)dst, 0};
    int code = prepare_rows(tf, t, first, n, &c.bytes, err);
    if (!code)
        copy_rows(&c, sizeof *dst);
    return code;
}

int tensor_file_raw_rows(struct tensor_file *tf, const struct file_tensor *t, size_t first, size_t n,
                         void *dst, struct error *err)
{
    struct copying c = {t, NULL, view_raw_rows, first, n, 0, dst, 0};
    int code = prepare_rows(tf, t, first, n, &c.bytes, err);
    if (!code)
        copy_rows(&c, dtype_size(t->tensor.dtype));
    return code;
}

int tensor_file_number(struct tensor_file *tf, const struct file_tensor *t, double *out, struct error *err)
{
    if (!t->unreadable && tensor_elements(&t->tensor) != 1)
        return tensor_file_refuse(tf, t->name, err, "it has %zu numbers, not one",
                                  tensor_elements(&t->tensor));
    union {
        double real;
        int64_t integer;
        uint64_t whole;
    } v;
    int wide = t->tensor.dtype == DTYPE_F64 || t->tensor.dtype == DTYPE_I64 || t->tensor.dtype == DTYPE_U64;
    float narrow = 0;
    int32_t i32;
    uint32_t u32;
    int code;
    if (wide) {
        code = tensor_file_raw_rows(tf, t, 0, 1, &v, err);
        *out = code                           ? 0
               : t->tensor.dtype == DTYPE_F64 ? v.real
               : t->tensor.dtype == DTYPE_I64 ? (double)v.integer
                                              : (double)v.whole;
    } else if (t->tensor.dtype == DTYPE_I32) {
        code = tensor_file_raw_rows(tf, t, 0, 1, &i32, err);
        *out = code ? 0 : i32;
    } else if (t->tensor.dtype == DTYPE_U32) {
        code = tensor_file_raw_rows(tf, t, 0, 1, &u32, err);
        *out = code ? 0 : u32;
    } else {
        code = tensor_file_rows(tf, t, 0, 1, &narrow, err);
        *out = (double)narrow;
    }
    return code;
}
