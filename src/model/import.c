/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Import of a Hugging Face folder: config.json, model.safetensors and the tokenizer's files. Weights are
 * widened to float32. What does not fit is refused naming file and tensor, and nothing of it stays in the
 * store.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "saescope/model/family.h"

#define CHUNK_FLOATS ((size_t)1 << 20)

struct import {
    struct store *store;
    artifact_id id;
    const struct model_family *family;
    struct model_config config;
    int head_is_tied;   /* what config.json says */
    int has_own_head;   /* what the file shows */
    enum dtype dtype;   /* of the embedding in the file */
    const char *prefix; /* of names in the file: "" or the family's */
    struct safetensors file;
    struct monitor *monitor;
    struct progress progress;
    double started;
};

static int read_config(struct import *in, const char *path, struct error *err)
{
    json *config = json_parse_file(path, err);
    if (!config)
        return STATUS_REFUSED;
    const char *type = NULL;
    int code = json_need_string(config, "model_type", path, &type, err);
    if (!code && !(in->family = model_family_find(type))) {
        char *shown = displayable_string(type);
        struct strbuf known = STRBUF_INIT;
        for (size_t i = 0; model_families[i]; i++)
            strbuf_addf(&known, "%s%s", i ? ", " : "", model_families[i]->name);
        code = error_set(err, STATUS_REFUSED, "%s: model_type \"%s\" is not supported (supported: %s)", path,
                         shown, strbuf_string(&known));
        strbuf_free(&known);
        free(shown);
    }
    if (!code)
        code = in->family->read_config(config, path, &in->config, err);
    if (!code) {
        strcpy(in->config.family, in->family->name);
        in->head_is_tied = json_get_boolean(config, "tie_word_embeddings", 1);
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
                       const struct tensor **out, struct error *err)
{
    int code = safetensors_need(&in->file, name, out, err);
    if (code)
        return code;
    const struct tensor *x = *out;
    struct tensor wanted;
    spec_tensor(spec, &wanted);
    if (x->dtype != DTYPE_F32 && x->dtype != DTYPE_F16 && x->dtype != DTYPE_BF16)
        return error_set(err, STATUS_REFUSED, "%s: tensor %s is %s, not F32, F16 or BF16", in->file.map.path,
                         name, dtype_name(x->dtype));
    if (x->ndim != wanted.ndim || memcmp(x->shape, wanted.shape, (size_t)x->ndim * sizeof *x->shape) != 0) {
        char has[96], wants[96];
        return error_set(err, STATUS_REFUSED, "%s: tensor %s is %s, but config.json makes it %s",
                         in->file.map.path, name, tensor_shape_string(x, has, sizeof has),
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
                         in->file.map.path, name, at / width, at % width);
    return error_set(err, STATUS_REFUSED, "%s: tensor %s is NaN or infinite at %zu", in->file.map.path, name,
                     at);
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

static int copy_rows(struct import *in, struct tensor_writer *w, const char *name,
                     const struct weight_spec *spec, const struct tensor *x, float *buffer, size_t chunk,
                     struct error *err)
{
    size_t width = spec->columns ? spec->columns : 1, element = dtype_size(x->dtype);
    for (size_t first = 0; first < spec->rows; first += chunk) {
        size_t n = spec->rows - first < chunk ? spec->rows - first : chunk;
        floats_from(x->dtype, (const char *)x->data + first * width * element, buffer, n * width);
        size_t bad = first_not_finite(buffer, n * width);
        if (bad < n * width)
            return refuse_value(in, name, spec, first * width + bad, err);
        int code = store_tensor_append(w, buffer, n, err);
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
    const struct tensor *x;
    int code = find_tensor(in, name, spec, &x, err);
    if (code)
        return code;
    size_t width = spec->columns ? spec->columns : 1;
    size_t chunk = width < CHUNK_FLOATS ? CHUNK_FLOATS / width : 1;
    chunk = chunk < spec->rows ? chunk : spec->rows;
    float *buffer = array_alloc(chunk * width, sizeof *buffer, "weights", err);
    if (!buffer)
        return STATUS_FAILED;
    struct tensor_writer *w = NULL;
    code = store_tensor_begin(in->store, in->id, spec->store_name, DTYPE_F32, x->ndim, x->shape, &w, err);
    if (!code) {
        code = copy_rows(in, w, name, spec, x, buffer, chunk, err);
        if (code)
            store_tensor_abandon(w);
        else
            code = store_tensor_finish(w, err);
    }
    free(buffer);
    return code;
}

static char *file_name(const struct import *in, const char *name)
{
    return xasprintf("%s%s", in->prefix, name);
}

/* Finds the prefix and whether the unembedding is its own, and that all tensors are there and fit. */
static int check_tensors(struct import *in, struct error *err)
{
    struct weight_spec spec, embed;
    const struct tensor *x, *embedding;
    in->family->weight(&in->config, in->family->embed, &embed);
    in->prefix = in->family->file_prefix;
    char *name = file_name(in, embed.file_name);
    if (!safetensors_find(&in->file, name))
        in->prefix = "";
    free(name);
    for (size_t i = 0; i < in->family->n_weights(&in->config); i++) {
        in->family->weight(&in->config, i, &spec);
        name = file_name(in, spec.file_name);
        int code = find_tensor(in, name, &spec, &x, err);
        free(name);
        if (code)
            return code;
        in->progress.steps += tensor_bytes(x);
    }
    in->family->one_layer_more(&in->config, spec.file_name, sizeof spec.file_name);
    name = file_name(in, spec.file_name);
    int more = safetensors_find(&in->file, name) != NULL;
    free(name);
    if (more)
        return error_set(err, STATUS_REFUSED,
                         "%s: tensor %s%s: config.json says that there are only %zu layers",
                         in->file.map.path, in->prefix, spec.file_name, in->config.layers);
    name = file_name(in, embed.file_name);
    embedding = safetensors_find(&in->file, name);
    free(name);
    in->dtype = embedding->dtype;
    if (in->head_is_tied && !safetensors_find(&in->file, in->family->head))
        return STATUS_OK;
    int code = find_tensor(in, in->family->head, &embed, &x, err);
    if (code)
        return code;
    int equal = x->dtype == embedding->dtype && !memcmp(x->data, embedding->data, tensor_bytes(x));
    if (in->head_is_tied && !equal)
        return error_set(err, STATUS_REFUSED,
                         "%s: tensor %s differs from %s%s, but config.json says tie_word_embeddings",
                         in->file.map.path, in->family->head, in->prefix, embed.file_name);
    in->has_own_head = !equal;
    in->progress.steps += equal ? 0 : tensor_bytes(x);
    return STATUS_OK;
}

static int import_tensors(struct import *in, struct error *err)
{
    struct weight_spec spec;
    int code = STATUS_OK;
    for (size_t i = 0; i < in->family->n_weights(&in->config) && !code; i++) {
        in->family->weight(&in->config, i, &spec);
        char *name = file_name(in, spec.file_name);
        code = import_tensor(in, name, &spec, err);
        free(name);
    }
    if (!code && in->has_own_head) {
        in->family->weight(&in->config, in->family->embed, &spec);
        strcpy(spec.store_name, STORE_NAME_UNEMBED);
        code = import_tensor(in, in->family->head, &spec, err);
    }
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
    if (in->config.bos == TOKEN_NONE)
        in->config.bos = tokenizer_bos(tokenizer);
    if (in->config.eos == TOKEN_NONE)
        in->config.eos = tokenizer_eos(tokenizer);
    return STATUS_OK;
}

static json *token_json(uint32_t id)
{
    return id == TOKEN_NONE ? json_new_null() : json_new_integer(id);
}

static json *build_manifest(const struct import *in, const char *directory)
{
    const struct model_config *c = &in->config;
    json *manifest = json_new_object();
    json_set(manifest, "family", json_new_string(c->family));
    json_set(manifest, "layers", json_new_integer((long long)c->layers));
    json_set(manifest, "d_model", json_new_integer((long long)c->d_model));
    json_set(manifest, "heads", json_new_integer((long long)c->heads));
    json_set(manifest, "d_mlp", json_new_integer((long long)c->d_mlp));
    json_set(manifest, "vocabulary_size", json_new_integer((long long)c->vocabulary_size));
    json_set(manifest, "context_length", json_new_integer((long long)c->context_length));
    json_set(manifest, "norm_epsilon", json_new_real(c->norm_epsilon));
    json_set(manifest, "layer_norm", json_new_boolean(c->layer_norm));
    json_set(manifest, "tied", json_new_boolean(!in->has_own_head));
    json_set(manifest, "bos", token_json(c->bos));
    json_set(manifest, "eos", token_json(c->eos));
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

int model_import_folder(struct store *s, const struct model_import *options, struct monitor *m,
                        artifact_id *id, struct error *err)
{
    struct import in = {.store = s, .monitor = m, .started = clock_seconds()};
    struct tokenizer *tokenizer = NULL;
    progress_init(&in.progress);
    in.progress.unit = "MB/s";
    in.progress.phase = "reading";
    char *config_path = path_join(options->directory, "config.json");
    char *weights_path = path_join(options->directory, "model.safetensors");
    int code = read_config(&in, config_path, err);
    if (!code)
        code = safetensors_open(&in.file, weights_path, err);
    if (!code) {
        code = check_tensors(&in, err);
        if (!code)
            code = tokenizer_read_folder(options->directory, &tokenizer, err);
        if (!code)
            code = check_tokenizer(&in, tokenizer, options->directory, err);
        if (!code)
            code = write_model(&in, options, tokenizer, err);
        tokenizer_free(tokenizer);
        safetensors_close(&in.file);
    }
    if (!code && id)
        *id = in.id;
    free(config_path);
    free(weights_path);
    return code;
}
