/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Import of a Hugging Face folder: config.json, model.safetensors or pytorch_model.bin (or their shards) and
 * the tokenizer's files. Weights are read from the files' maps, a slice at a time. Matrices keep their
 * precision, vectors are widened to float32. What does not fit is refused naming file and tensor, and nothing
 * of it stays in the store.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/tensor_file.h"
#include "saescope/model/family.h"

#define SLICE_FLOATS ((size_t)1 << 20)

struct import {
    struct store *store;
    artifact_id id;
    const struct model_family *family;
    struct model_config config;
    int head_is_tied;   /* what config.json says */
    enum dtype dtype;   /* of the embedding in the file */
    const char *prefix; /* of names in the file: "" or the family's */
    const char *head;   /* name of an untied unembedding */
    struct tensor_file *file;
    const char *path; /* of it */
    struct monitor *monitor;
    struct progress progress;
    double started;
};

static int refuse_type(const char *type, const char *path, struct error *err)
{
    const char *names[64] = {0};
    struct strbuf known = STRBUF_INIT;
    for (size_t i = 0; model_families[i] && i + 1 < ARRAY_LENGTH(names); i++) {
        names[i] = model_families[i]->name;
        strbuf_addf(&known, "%s%s", i ? ", " : "", names[i]);
    }
    char *shown = displayable_string(type);
    const char *near = nearest_word(type, names);
    int code = error_set(err, STATUS_REFUSED, "%s: model_type \"%s\" is not supported%s%s%s (supported: %s)",
                         path, shown, near ? ": did you mean " : "", near ? near : "", near ? "?" : "",
                         strbuf_string(&known));
    strbuf_free(&known);
    free(shown);
    return code;
}

static int read_config(struct import *in, const char *path, struct error *err)
{
    json *config = json_parse_file(path, err);
    if (!config)
        return STATUS_REFUSED;
    const char *type = NULL;
    model_config_start(&in->config);
    int code = json_need_string(config, "model_type", path, &type, err);
    if (!code && !(in->family = model_family_find(type)))
        code = refuse_type(type, path, err);
    if (!code && !json_is_null(json_get(config, "quantization_config")))
        code = error_set(
            err, STATUS_REFUSED,
            "%s: the checkpoint is quantised (quantization_config): import the original, in F32, F16 or "
            "BF16",
            path);
    if (!code)
        code = in->family->read_config(config, path, &in->config, err);
    if (!code)
        code = model_config_check(&in->config, path, err);
    if (!code) {
        strcpy(in->config.family, in->family->name);
        in->head_is_tied = json_get_boolean(config, "tie_word_embeddings", in->family->tied);
    }
    json_free(config);
    return code;
}

/* ---- Tensors. ---- */

static void spec_tensor(const struct weight_spec *spec, struct tensor *out)
{
    *out = (struct tensor){
        .dtype = DTYPE_F32, .ndim = spec->columns ? 2 : 1, .shape = {spec->rows, spec->columns}};
}

static int find_tensor(const struct import *in, const char *name, const struct weight_spec *spec,
                       const struct file_tensor **out, struct error *err)
{
    int code = tensor_file_need(in->file, name, out, err);
    if (code)
        return code;
    const struct tensor *x = &(*out)->tensor;
    struct tensor wanted;
    spec_tensor(spec, &wanted);
    if (x->dtype != DTYPE_F32 && x->dtype != DTYPE_F16 && x->dtype != DTYPE_BF16)
        return error_set(err, STATUS_REFUSED, "%s: tensor %s is %s, not F32, F16 or BF16%s", in->path, name,
                         dtype_name(x->dtype),
                         dtype_size(x->dtype) == 1 ? ": is the checkpoint quantised?" : "");
    if (x->ndim != wanted.ndim || memcmp(x->shape, wanted.shape, (size_t)x->ndim * sizeof *x->shape) != 0) {
        char has[96], wants[96];
        return error_set(err, STATUS_REFUSED, "%s: tensor %s is %s, but config.json makes it %s", in->path,
                         name, tensor_shape_string(x, has, sizeof has),
                         tensor_shape_string(&wanted, wants, sizeof wants));
    }
    return STATUS_OK;
}

static int refuse_value(const struct import *in, const char *name, const struct weight_spec *spec, size_t at,
                        struct error *err)
{
    size_t width = spec->columns ? spec->columns : 1;
    if (spec->columns)
        return error_set(err, STATUS_REFUSED, "%s: tensor %s is NaN or infinite at row %zu, column %zu",
                         in->path, name, at / width, at % width);
    return error_set(err, STATUS_REFUSED, "%s: tensor %s is NaN or infinite at %zu", in->path, name, at);
}

static int report(struct import *in, size_t bytes, struct error *err)
{
    struct progress *p = &in->progress;
    p->step += bytes;
    double seconds = clock_seconds() - in->started;
    p->rate = seconds > 0 ? (double)p->step / 1e6 / seconds : NAN;
    monitor_report(in->monitor, p);
    return monitor_check(in->monitor, err);
}

/* What the store keeps: a matrix as the file has it, a vector widened. */
static enum dtype stored_dtype(const struct weight_spec *spec, const struct tensor *x)
{
    return spec->columns ? x->dtype : DTYPE_F32;
}

/* A slice of rows: as the file has them, and widened. */
struct slice {
    size_t rows;
    void *raw;
    float *floats;
};

static int slice_new(struct slice *s, const struct weight_spec *spec, struct error *err)
{
    size_t width = spec->columns ? spec->columns : 1, most = width < SLICE_FLOATS ? SLICE_FLOATS / width : 1;
    s->rows = most < spec->rows ? most : spec->rows;
    s->raw = array_alloc(s->rows * width, sizeof(float), "weights", err);
    s->floats = s->raw ? array_alloc(s->rows * width, sizeof *s->floats, "weights", err) : NULL;
    return s->floats ? STATUS_OK : STATUS_FAILED;
}

static void slice_free(struct slice *s)
{
    free(s->raw);
    free(s->floats);
}

static int copy_rows(struct import *in, struct tensor_writer *w, const struct weight_spec *spec,
                     const struct file_tensor *x, const struct slice *s, struct error *err)
{
    size_t width = spec->columns ? spec->columns : 1, element = dtype_size(x->tensor.dtype);
    int as_it_is = stored_dtype(spec, &x->tensor) == x->tensor.dtype;
    for (size_t first = 0; first < spec->rows; first += s->rows) {
        size_t n = spec->rows - first < s->rows ? spec->rows - first : s->rows;
        int code = tensor_file_raw_rows(in->file, x, first, n, s->raw, err);
        if (code)
            return code;
        floats_from(x->tensor.dtype, s->raw, s->floats, n * width);
        size_t bad = first_not_finite(s->floats, n * width);
        if (bad < n * width)
            return refuse_value(in, x->name, spec, first * width + bad, err);
        code = store_tensor_append(w, as_it_is ? s->raw : s->floats, n, err);
        if (!code)
            code = report(in, n * width * element, err);
        if (code)
            return code;
    }
    return STATUS_OK;
}

static int import_tensor(struct import *in, const char *name, const struct weight_spec *spec,
                         struct error *err)
{
    const struct file_tensor *x;
    int code = find_tensor(in, name, spec, &x, err);
    if (code)
        return code;
    struct slice slice = {0};
    struct tensor_writer *w = NULL;
    code = slice_new(&slice, spec, err);
    if (!code)
        code = store_tensor_begin(in->store, in->id, spec->store_name, stored_dtype(spec, &x->tensor),
                                  x->tensor.ndim, x->tensor.shape, &w, err);
    if (!code) {
        code = copy_rows(in, w, spec, x, &slice, err);
        if (code)
            store_tensor_abandon(w);
        else
            code = store_tensor_finish(w, err);
    }
    slice_free(&slice);
    return code;
}

static char *file_name(const struct import *in, const char *name)
{
    return xasprintf("%s%s", in->prefix, name);
}

static int check_weight(const struct weight_spec *spec, void *arg, struct error *err)
{
    struct import *in = arg;
    const struct file_tensor *x;
    char *name = file_name(in, spec->file_name);
    int code = find_tensor(in, name, spec, &x, err);
    free(name);
    if (code)
        return code;
    in->progress.steps += tensor_bytes(&x->tensor);
    if (spec->role == ROLE_EMBED)
        in->dtype = x->tensor.dtype;
    return STATUS_OK;
}

/* Calls fn for every weight; stops at its first status that is not 0. */
static int each_weight(struct import *in, weight_visitor *fn, struct error *err)
{
    return family_each_weight(in->family, &in->config, fn, in, err);
}

static int check_layers(const struct import *in, struct error *err)
{
    struct weight_spec spec;
    family_layer_beyond(in->family, &in->config, spec.file_name, sizeof spec.file_name);
    char *name = file_name(in, spec.file_name);
    int more = tensor_file_find(in->file, name) != NULL;
    free(name);
    if (more)
        return error_set(err, STATUS_REFUSED,
                         "%s: tensor %s%s: config.json says that there are only %zu layers", in->path,
                         in->prefix, spec.file_name, in->config.layers);
    return STATUS_OK;
}

/* *equal: whether two tensors of one shape hold the same numbers; a tied head is often the embedding itself.
 */
static int compare(struct import *in, const struct weight_spec *spec, const struct file_tensor *a,
                   const struct file_tensor *b, int *equal, struct error *err)
{
    *equal = file_tensors_same(a, b);
    if (*equal || a->tensor.dtype != b->tensor.dtype)
        return STATUS_OK;
    struct slice slice = {0};
    int code = slice_new(&slice, spec, err);
    *equal = 1;
    for (size_t first = 0; !code && *equal && first < spec->rows; first += slice.rows) {
        size_t n = spec->rows - first < slice.rows ? spec->rows - first : slice.rows;
        code = tensor_file_raw_rows(in->file, a, first, n, slice.raw, err);
        if (!code)
            code = tensor_file_raw_rows(in->file, b, first, n, slice.floats, err);
        if (!code)
            *equal = !memcmp(slice.raw, slice.floats, n * spec->columns * dtype_size(a->tensor.dtype));
    }
    slice_free(&slice);
    return code;
}

/* Whether the unembedding is its own: config.json says so, and it differs from the embedding. */
static int check_head(struct import *in, const char *embed_name, struct error *err)
{
    struct weight_spec spec = family_unembed(&in->config);
    const struct file_tensor *x, *embedding = tensor_file_find(in->file, embed_name);
    in->head = in->family->head;
    if (in->family->head_too && !tensor_file_find(in->file, in->head))
        in->head = tensor_file_find(in->file, in->family->head_too) ? in->family->head_too : in->head;
    if (in->head_is_tied && !tensor_file_find(in->file, in->head))
        return STATUS_OK;
    int equal = 0, code = find_tensor(in, in->head, &spec, &x, err);
    if (!code)
        code = compare(in, &spec, x, embedding, &equal, err);
    if (code)
        return code;
    if (in->head_is_tied && !equal)
        return error_set(err, STATUS_REFUSED,
                         "%s: tensor %s differs from %s, but config.json says tie_word_embeddings", in->path,
                         in->head, embed_name);
    in->config.features |= equal ? 0 : MODEL_UNTIED;
    in->progress.steps += equal ? 0 : tensor_bytes(&x->tensor);
    return STATUS_OK;
}

static const char *embed_file_name(const struct model_family *family)
{
    const struct weight_entry *e = family->entries;
    while (e->role != ROLE_EMBED)
        e++;
    return e->file;
}

/* Finds the prefix and whether the unembedding is its own, and that all tensors are there and fit. */
static int check_tensors(struct import *in, struct error *err)
{
    in->prefix = in->family->file_prefix;
    char *embed = file_name(in, embed_file_name(in->family));
    if (!tensor_file_find(in->file, embed)) {
        in->prefix = "";
        free(embed);
        embed = file_name(in, embed_file_name(in->family));
    }
    int code = each_weight(in, check_weight, err);
    if (!code)
        code = check_layers(in, err);
    if (!code)
        code = check_head(in, embed, err);
    free(embed);
    return code;
}

static int import_weight(const struct weight_spec *spec, void *arg, struct error *err)
{
    struct import *in = arg;
    char *name = file_name(in, spec->file_name);
    int code = import_tensor(in, name, spec, err);
    free(name);
    return code;
}

static int import_tensors(struct import *in, struct error *err)
{
    struct weight_spec unembed = family_unembed(&in->config);
    int code = each_weight(in, import_weight, err);
    if (!code && in->config.features & MODEL_UNTIED)
        code = import_tensor(in, in->head, &unembed, err);
    return code;
}

/* ---- The whole. ---- */

static int check_tokenizer(struct import *in, const struct tokenizer *tokenizer, const char *directory,
                           struct error *err)
{
    if (tokenizer_size(tokenizer) > in->config.vocabulary_size)
        return error_set(err, STATUS_REFUSED,
                         "%s: the tokenizer has %zu tokens, config.json's vocab_size is %zu", directory,
                         tokenizer_size(tokenizer), in->config.vocabulary_size);
    return import_special_tokens(directory, tokenizer, &in->config, err);
}

static json *build_manifest(const struct import *in, const char *directory)
{
    json *manifest = json_new_object();
    model_config_save(&in->config, manifest);
    json_set(manifest, "dtype", json_new_string(dtype_torch_name(in->dtype)));
    json_set(manifest, "source", json_new_string(directory));
    json_set(manifest, "references", json_new_object());
    return manifest;
}

static int write_model(struct import *in, const struct model_import *options,
                       const struct tokenizer *tokenizer, struct error *err)
{
    int code = store_create(in->store, ARTIFACT_MODEL, options->name, options->replace, &in->id, err);
    if (code)
        return code;
    code = import_tensors(in, err);
    if (!code)
        code = tokenizer_save(tokenizer, in->store, in->id, err);
    if (!code)
        code = store_publish(in->store, in->id, build_manifest(in, options->source ? options->source : options->directory), err);
    if (code)
        store_abandon(in->store, in->id);
    return code;
}

/* The one file, or the index of several; safetensors before what only PyTorch writes. */
static int open_weights(struct import *in, const char *directory, struct error *err)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char *path = path_join(directory, names[i]);
        int is_there = path_exists(path);
        int code = is_there ? tensor_file_open(path, store_path(in->store), &in->file, err) : STATUS_OK;
        free(path);
        if (code)
            return code;
        if (is_there) {
            in->path = tensor_file_path(in->file);
            return STATUS_OK;
        }
    }
    return error_set(
        err, STATUS_REFUSED,
        "%s: no weights: neither model.safetensors nor pytorch_model.bin, nor an index of several "
        "such files",
        directory);
}

int model_import_folder(struct store *s, const struct model_import *options, struct monitor *m,
                        artifact_id *id, struct error *err)
{
    struct import in = {.store = s, .monitor = m, .started = clock_seconds()};
    struct tokenizer *tokenizer = NULL;
    progress_init(&in.progress);
    in.progress.unit = "MB/s";
    in.progress.phase = "reading";
    char *config_path = path_join(options->directory, "config.json");
    int code = read_config(&in, config_path, err);
    if (!code)
        code = open_weights(&in, options->directory, err);
    if (!code)
        code = check_tensors(&in, err);
    if (!code)
        code = tokenizer_read_folder(options->directory, &tokenizer, err);
    if (!code)
        code = check_tokenizer(&in, tokenizer, options->directory, err);
    if (!code)
        code = write_model(&in, options, tokenizer, err);
    tokenizer_free(tokenizer);
    tensor_file_close(in.file);
    if (!code && id)
        *id = in.id;
    free(config_path);
    return code;
}
