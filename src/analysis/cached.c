/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cached activations: from a file into the store, and back as float32 a block at a time. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cached.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/files/tensor_file.h"
#include "saescope/model/model.h"
#include "saescope/model/text.h"

#define SLICE_BYTES     ((size_t)4 << 20)
#define DEFAULT_CONTEXT 128

/* ---- Reading. ---- */

int cached_facts_read(struct store_txn *t, artifact_id text, struct cached_facts *out, struct error *err)
{
    json *m = store_manifest(t, text, err);
    memset(out, 0, sizeof(*out));
    if (!m)
        return err ? err->code : STATUS_STORE;
    out->is_cached = strcmp(json_get_string(m, "kind", ""), "activations") == 0;
    const char *hook = json_get_string(m, "hook", "");
    long long size = json_get_integer(m, "context_size", 0), width = json_get_integer(m, "d_in", 0);
    int good = strlen(hook) < sizeof(out->hook) && size > 0 && width > 0;
    if (out->is_cached && good) {
        strcpy(out->hook, hook);
        out->context_size = (size_t)size;
        out->d_in = (size_t)width;
        out->has_tokens = json_get_boolean(m, "has_tokens", 0);
        out->prepend_bos = json_get_boolean(m, "prepend_bos", 0);
        out->model = (artifact_id)json_get_integer(json_get(m, "references"), "model", 0);
    }
    json_free(m);
    return !out->is_cached || good
               ? STATUS_OK
               : error_set(err, STATUS_STORE,
                           "the manifest of cached activations is damaged: import them anew");
}

int cached_rows(struct store_txn *t, const struct store_tensor *x, size_t first_row, size_t n_rows,
                float *dst, struct error *err)
{
    for (size_t done = 0; done < n_rows;) {
        const void *data;
        size_t row = first_row + done, first, n;
        int status = store_tensor_block(t, x, row / x->rows_per_block, &data, &first, &n, err);
        if (status)
            return status;
        if (row < first || row - first >= n)
            return error_set(err, STATUS_STORE, "cached activations are damaged: import them anew");
        n -= row - first;
        n = n < n_rows - done ? n : n_rows - done;
        floats_from(x->dtype, (const char *)data + (row - first) * x->row_bytes, dst + done * x->shape[1],
                    n * x->shape[1]);
        done += n;
    }
    return STATUS_OK;
}

/* ---- Importing. ---- */

struct importing {
    struct store *store;
    const struct cached_import *options;
    struct monitor *monitor;
    struct tensor_file *file, *token_file;
    const struct file_tensor *x, *tokens; /* tokens NULL: none */
    char *shown, *shown_tokens;
    uint32_t bos;
    struct uncounted uncounted; /* among the tokens */
    size_t vocabulary;
    struct hook hook;
    size_t width;                  /* d_in */
    size_t rows, length, contexts; /* rows: that are kept */
    int starts_with_bos;
};

static int is_float(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64;
}

static int is_integer(enum dtype t)
{
    return !is_float(t) && t != DTYPE_BOOL;
}

/* The tensor that is named, or the only one of the kind. */
static int choose(struct tensor_file *file, const char *shown, const char *name, int (*fits)(enum dtype),
                  const char *what, const struct file_tensor **out, struct error *err)
{
    size_t found = 0;
    if (name)
        return tensor_file_need(file, name, out, err);
    for (size_t i = 0; i < tensor_file_count(file); i++) {
        const struct file_tensor *t = tensor_file_at(file, i);
        if (t->unreadable || !fits(t->tensor.dtype))
            continue;
        *out = t;
        found++;
    }
    if (found == 1)
        return STATUS_OK;
    return error_set(err, STATUS_REFUSED,
                     found ? "%s: %zu tensors of %s: name one with --tensor" : "%s: %zu tensors of %s", shown,
                     found, what);
}

static size_t rows_of(const struct tensor *t)
{
    size_t rows = 1;
    for (int i = 0; i < t->ndim - 1; i++)
        rows *= t->shape[i];
    return rows;
}

static int find_shape(struct importing *im, struct error *err)
{
    const struct tensor *x = &im->x->tensor;
    const struct tensor *tokens = im->tokens ? &im->tokens->tensor : NULL;
    const struct cached_import *o = im->options;
    char shape[96];
    if (!is_float(x->dtype) || (x->ndim != 2 && x->ndim != 3))
        return error_set(
            err, STATUS_REFUSED,
            "%s: activations are floats of [tokens, d_in] or [contexts, tokens, d_in], not %s of %s",
            im->shown, dtype_name(x->dtype), tensor_shape_string(x, shape, sizeof(shape)));
    if (x->shape[x->ndim - 1] != im->width)
        return error_set(err, STATUS_REFUSED,
                         "%s: rows of %zu numbers, but %s has %zu: other activations, or the wrong hook",
                         im->shown, x->shape[x->ndim - 1], im->hook.name, im->width);
    size_t rows = rows_of(x), own = x->ndim == 3                  ? x->shape[1]
                                    : tokens && tokens->ndim == 2 ? tokens->shape[1]
                                                                  : 0;
    if (tokens && (!is_integer(tokens->dtype) || tokens->ndim < 1 || tokens->ndim > 2 ||
                   tensor_elements(tokens) != rows))
        return error_set(err, STATUS_REFUSED, "%s: %zu rows need as many tokens, integers, not %s of %s",
                         im->shown_tokens, rows, dtype_name(tokens->dtype),
                         tensor_shape_string(tokens, shape, sizeof(shape)));
    if (own && o->context_size && o->context_size != own)
        return error_set(err, STATUS_REFUSED, "%s: its contexts have %zu tokens, not %zu", im->shown, own,
                         o->context_size);
    im->length = own ? own : o->context_size ? o->context_size : DEFAULT_CONTEXT;
    im->contexts = im->length ? rows / im->length : 0;
    im->rows = im->contexts * im->length;
    if (!im->contexts)
        return error_set(err, STATUS_REFUSED, "%s: %zu rows are no whole context of %zu", im->shown, rows,
                         im->length);
    return STATUS_OK;
}

/* ---- Its rows. ---- */

static int report(struct importing *im, size_t done, const char *phase, struct error *err)
{
    struct progress p;
    progress_init(&p);
    p.step = done;
    p.steps = im->rows;
    p.phase = phase;
    monitor_report(im->monitor, &p);
    return monitor_check(im->monitor, err);
}

/* Rows [first, first + n) of the file's first axis, looked at as float32 and appended in their own type. */
static int copy_slice(struct importing *im, struct tensor_writer *w, enum dtype dtype, size_t first, size_t n,
                      size_t per_row, void *raw, float *floats, struct error *err)
{
    size_t rows = n * per_row, before = first * per_row;
    int narrow = dtype != DTYPE_F32;
    int status = narrow ? tensor_file_raw_rows(im->file, im->x, first, n, raw, err)
                        : tensor_file_rows(im->file, im->x, first, n, floats, err);
    if (status)
        return status;
    if (narrow)
        floats_from(dtype, raw, floats, rows * im->width);
    size_t bad = first_not_finite(floats, rows * im->width);
    if (bad < rows * im->width)
        return error_set(err, STATUS_REFUSED, "%s: row %zu has a number that is not finite", im->shown,
                         before + bad / im->width);
    if (before + rows > im->rows)
        rows = im->rows - before;
    return store_tensor_append(w, narrow ? raw : (const void *)floats, rows, err);
}

static int copy_rows(struct importing *im, struct tensor_writer *w, enum dtype dtype, struct error *err)
{
    const struct tensor *x = &im->x->tensor;
    size_t per_row = x->ndim == 3 ? x->shape[1] : 1,
           most = SLICE_BYTES / (per_row * im->width * sizeof(float));
    size_t n = most ? most : 1, end = (im->rows + per_row - 1) / per_row, cells;
    if (size_multiply(n * per_row, im->width, &cells))
        cells = SIZE_MAX;
    float *floats = array_alloc(cells, sizeof(*floats), "activations", err);
    void *raw = floats ? array_alloc(cells, dtype_size(dtype), "activations", err) : NULL;
    int status = raw ? STATUS_OK : STATUS_FAILED;
    for (size_t first = 0; first < end && !status; first += n) {
        status = report(im, first * per_row, "copying", err);
        if (!status)
            status =
                copy_slice(im, w, dtype, first, end - first < n ? end - first : n, per_row, raw, floats, err);
    }
    free(floats);
    free(raw);
    return status;
}

static int write_rows(struct importing *im, artifact_id id, enum dtype *dtype, struct error *err)
{
    struct tensor_writer *w;
    *dtype = im->x->tensor.dtype == DTYPE_F64 ? DTYPE_F32 : im->x->tensor.dtype;
    const size_t shape[2] = {im->rows, im->width};
    int status = store_tensor_begin(im->store, id, "activations", *dtype, 2, shape, &w, err);
    if (status)
        return status;
    status = copy_rows(im, w, *dtype, err);
    if (!status)
        return store_tensor_finish(w, err);
    store_tensor_abandon(w);
    return status;
}

/* ---- Their tokens. ---- */

static uint64_t integer_at(enum dtype t, const unsigned char *p, size_t i)
{
    union {
        int64_t i64;
        int32_t i32;
        int16_t i16;
        int8_t i8;
        uint64_t u64;
        uint32_t u32;
        uint16_t u16;
        uint8_t u8;
    } x = {0};
    memcpy(&x, p + i * dtype_size(t), dtype_size(t));
    switch (t) {
    case DTYPE_I64:
        return (uint64_t)x.i64;
    case DTYPE_I32:
        return (uint64_t)x.i32;
    case DTYPE_I16:
        return (uint64_t)x.i16;
    case DTYPE_I8:
        return (uint64_t)x.i8;
    case DTYPE_U32:
        return x.u32;
    case DTYPE_U16:
        return x.u16;
    case DTYPE_U8:
        return x.u8;
    default:
        return x.u64;
    }
}

/* ids of places [at, at + n), without a file. */
static void unknown_tokens(const struct importing *im, size_t at, size_t n, uint32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = im->options->bos && (at + i) % im->length == 0 ? im->bos : TOKEN_UNKNOWN;
}

static int check_tokens(struct importing *im, const unsigned char *raw, size_t at, size_t n, uint32_t *ids,
                        struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t id = integer_at(im->tokens->tensor.dtype, raw, i);
        if (id >= im->vocabulary)
            return error_set(err, STATUS_REFUSED,
                             "%s: token %zu is %lld, and the model has %zu: another model's tokens",
                             im->shown_tokens, at + i, (long long)id, im->vocabulary);
        ids[i] = (uint32_t)id;
    }
    return STATUS_OK;
}

static void count_special(struct importing *im, const uint32_t *ids, size_t at, size_t n)
{
    uncounted_look(&im->uncounted, ids, n);
    for (size_t i = 0; i < n; i++) {
        if ((at + i) % im->length == 0 && (im->bos == TOKEN_NONE || ids[i] != im->bos))
            im->starts_with_bos = 0;
    }
}

static int copy_tokens(struct importing *im, struct tensor_writer *w, struct error *err)
{
    const struct tensor *x = im->tokens ? &im->tokens->tensor : NULL;
    size_t per_row = x && x->ndim == 2 ? x->shape[1] : 1, most = SLICE_BYTES / (16 * per_row),
           n = most ? most : 1;
    size_t end = (im->rows + per_row - 1) / per_row, cells;
    if (size_multiply(n, per_row, &cells))
        cells = SIZE_MAX;
    uint32_t *ids = array_alloc(cells, sizeof(*ids), "tokens", err);
    unsigned char *raw = ids ? array_alloc(cells, 8, "tokens", err) : NULL;
    int status = raw ? STATUS_OK : STATUS_FAILED;
    for (size_t first = 0; first < end && !status; first += n) {
        size_t rows = end - first < n ? end - first : n, at = first * per_row, count = rows * per_row;
        if (x)
            status = tensor_file_raw_rows(im->token_file, im->tokens, first, rows, raw, err);
        count = count < im->rows - at ? count : im->rows - at;
        if (x && !status)
            status = check_tokens(im, raw, at, count, ids, err);
        else if (!x)
            unknown_tokens(im, at, count, ids);
        if (status)
            break;
        count_special(im, ids, at, count);
        status = store_tensor_append(w, ids, count, err);
    }
    free(ids);
    free(raw);
    return status;
}

static int write_tokens(struct importing *im, artifact_id id, struct error *err)
{
    struct tensor_writer *w;
    const size_t shape[1] = {im->rows};
    const uint64_t documents[2] = {0, im->rows};
    const struct tensor bounds = {.dtype = DTYPE_U64, .ndim = 1, .shape = {2}, .data = documents};
    im->starts_with_bos = 1;
    int status = store_tensor_begin(im->store, id, "tokens", DTYPE_U32, 1, shape, &w, err);
    if (status)
        return status;
    status = copy_tokens(im, w, err);
    if (status) {
        store_tensor_abandon(w);
        return status;
    }
    status = store_tensor_finish(w, err);
    return status ? status : store_tensor_put(im->store, id, "documents", &bounds, err);
}

/* ---- The whole. ---- */

static json *make_manifest(const struct importing *im, enum dtype dtype)
{
    json *m = json_new_object(), *references = json_new_object();
    json_set(references, "model", json_new_integer((long long)im->options->model));
    json_set(m, "kind", json_new_string("activations"));
    json_set(m, "references", references);
    json_set(m, "tokens", json_new_integer((long long)im->rows));
    json_set(m, "documents", json_new_integer(1));
    json_set(m, "source", json_new_string(im->options->path));
    json_set(m, "hook", json_new_string(im->hook.name));
    json_set(m, "d_in", json_new_integer((long long)im->width));
    json_set(m, "dtype", json_new_string(dtype_torch_name(dtype)));
    json_set(m, "context_size", json_new_integer((long long)im->length));
    json_set(m, "prepend_bos", json_new_boolean(im->starts_with_bos));
    json_set(m, "has_tokens", json_new_boolean(im->tokens != NULL));
    uncounted_save(&im->uncounted, m);
    return m;
}

static int look_at_model(struct importing *im, struct error *err)
{
    struct store_txn *t;
    struct model *m = NULL;
    int status = store_begin(im->store, &t, err);
    if (status)
        return status;
    status = model_open(t, im->options->model, &m, err);
    if (!status)
        status = hook_parse(model_get_config(m), im->options->hook, &im->hook, err);
    if (!status) {
        const struct model_config *config = model_get_config(m);
        im->width = hook_width(config, &im->hook);
        im->bos = config->bos;
        uncounted_init(&im->uncounted, config);
        im->vocabulary = config->vocabulary_size;
        if (im->options->bos && im->bos == TOKEN_NONE)
            status = error_set(err, STATUS_REFUSED, "contexts that start with BOS: %s has no BOS token",
                               model_name(m));
    }
    model_free(m);
    store_end(t);
    return status;
}

static int open_files(struct importing *im, const char *scratch, struct error *err)
{
    const struct cached_import *o = im->options;
    im->shown = displayable_string(o->path);
    int status = tensor_file_open(o->path, scratch, &im->file, err);
    if (!status)
        status = choose(im->file, im->shown, o->tensor, is_float, "floats", &im->x, err);
    if (status || !o->tokens)
        return status;
    im->shown_tokens = displayable_string(o->tokens);
    status = tensor_file_open(o->tokens, scratch, &im->token_file, err);
    return status ? status
                  : choose(im->token_file, im->shown_tokens, NULL, is_integer, "integers", &im->tokens, err);
}

static int import_as(struct importing *im, artifact_id id, struct error *err)
{
    enum dtype dtype;
    int status = write_tokens(im, id, err);
    if (!status)
        status = write_rows(im, id, &dtype, err);
    return status ? status : store_publish(im->store, id, make_manifest(im, dtype), err);
}

int cached_import_run(struct store *s, const struct cached_import *o, struct monitor *m, artifact_id *id,
                      struct error *err)
{
    struct importing im = {.store = s, .options = o, .monitor = m};
    artifact_id made = 0;
    char *work = NULL;
    const char *scratch = m ? m->work_dir : NULL;
    int status = look_at_model(&im, err);
    if (!status && !scratch && !(scratch = work = store_work_directory(s, 0, err)))
        status = STATUS_STORE;
    if (!status)
        status = open_files(&im, scratch, err);
    if (!status && im.tokens && o->bos)
        status = error_set(err, STATUS_USAGE, "--bos says what tokens tell: it goes without --tokens");
    if (!status)
        status = find_shape(&im, err);
    if (!status)
        status = store_create(s, ARTIFACT_TEXT, o->name, o->replace, &made, err);
    if (!status) {
        status = import_as(&im, made, err);
        if (status)
            store_abandon(s, made);
    }
    if (!status)
        *id = made;
    tensor_file_close(im.file);
    tensor_file_close(im.token_file);
    free(im.shown);
    free(im.shown_tokens);
    free(work);
    return status;
}
