/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading an SAE's tensors, and the way of its weights to the store. */
#include "config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/sae/bases.h"

#define SIZE_LIMIT ((size_t)1 << 31)

/* ---- Messages and notes. ---- */

static char *format_text(const char *format, va_list args)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_vaddf(&text, format, args);
    char *shown = displayable_string(strbuf_string(&text));
    strbuf_free(&text);
    return shown;
}

int import_refuse(const struct importing *im, const char *path, struct error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *message = format_text(format, args), *shown = displayable_string(path ? path : im->files.path);
    va_end(args);
    error_set(err, STATUS_REFUSED, "%s: %s", shown, message);
    free(message);
    free(shown);
    return STATUS_REFUSED;
}

int import_refuse_tensor(const struct importing *im, const char *name, struct error *err, const char *format,
                         ...)
{
    va_list args;
    va_start(args, format);
    char *message = format_text(format, args);
    va_end(args);
    int status =
        import_refuse(im, im->file ? tensor_file_path(im->file) : NULL, err, "tensor %s %s", name, message);
    free(message);
    return status;
}

void import_quirk(struct importing *im, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    json_append(im->quirks, json_new_string(text));
    free(text);
}

void import_source_json(struct importing *im, const char *key, json *value)
{
    json_set(im->source, key, value ? value : json_new_null());
}

void import_source(struct importing *im, const char *key, const char *value)
{
    if (value)
        import_source_json(im, key, json_new_string(value));
}

/* ---- What configurations say. ---- */

int import_config(struct importing *im, const char *name, json **out, struct error *err)
{
    char *path = sae_files_path(&im->files, name);
    json *config = json_parse_file(path, err);
    int status = config ? STATUS_OK : STATUS_REFUSED;
    if (config && !json_is_object(config))
        status = import_refuse(im, path, err, "is no JSON object");
    free(path);
    if (status) {
        json_free(config);
        return status;
    }
    if (!im->keep)
        im->keep = json_new_array();
    json_append(im->keep, config);
    import_source_json(im, "config", json_retain(config));
    *out = config;
    return STATUS_OK;
}

int import_architecture(struct importing *im, const char *name, struct error *err)
{
    im->sae.architecture = sae_architecture_find(name, err);
    return im->sae.architecture ? STATUS_OK : STATUS_REFUSED;
}

int import_k(struct importing *im, long long k, struct error *err)
{
    if (k <= 0 || (unsigned long long)k > im->sae.d_sae)
        return import_refuse(im, NULL, err, "k must be between 1 and d_sae (%zu), not %lld", im->sae.d_sae,
                             k);
    im->sae.k = (size_t)k;
    return STATUS_OK;
}

void import_hook(struct importing *im, const char *hook)
{
    free(im->hook);
    im->hook = hook ? xstrdup(hook) : NULL;
}

void import_model_name(struct importing *im, const char *name)
{
    free(im->model_name);
    im->model_name = name ? xstrdup(name) : NULL;
    import_source(im, "model_name", name);
}

/* ---- Files and sizes. ---- */

int import_open(struct importing *im, const char *name, struct error *err)
{
    char *path = sae_files_path(&im->files, name);
    int status = tensor_file_open(path, im->files.scratch, &im->file, err);
    free(path);
    return status;
}

int import_open_given(struct importing *im, struct error *err)
{
    im->file = sae_files_tensors(&im->files);
    if (im->file)
        return STATUS_OK;
    if (im->files.error.code) {
        *err = im->files.error;
        return err->code;
    }
    return import_refuse(im, NULL, err, "is a folder without exactly one file of tensors: name the file");
}

int import_sizes(struct importing *im, size_t d_in, size_t d_sae, const char *from, struct error *err)
{
    if (d_in == 0 || d_sae == 0)
        return import_refuse(im, NULL, err, "%s: d_in and d_sae must be positive", from);
    if (d_in > SIZE_LIMIT || d_sae > SIZE_LIMIT)
        return import_refuse(im, NULL, err, "%s: an SAE of d_in %zu and d_sae %zu cannot be", from, d_in,
                             d_sae);
    im->sae.d_in = d_in;
    im->sae.d_sae = d_sae;
    im->sizes_from = from;
    return STATUS_OK;
}

const struct file_tensor *import_find(const struct importing *im, const char *name)
{
    return name ? tensor_file_find(im->file, name) : NULL;
}

static int need_length(struct importing *im, const char *name, size_t *n, struct error *err)
{
    char shape[128];
    const struct file_tensor *x;
    int status = tensor_file_need(im->file, name, &x, err);
    if (status)
        return status;
    if (x->tensor.ndim != 1)
        return import_refuse_tensor(im, name, err, "has shape %s: a vector is needed",
                                    tensor_shape_string(&x->tensor, shape, sizeof shape));
    *n = x->tensor.shape[0];
    return STATUS_OK;
}

int import_lengths(struct importing *im, const char *b_dec, const char *b_enc, const char *matrix,
                   struct error *err)
{
    size_t d_in = 0, d_sae = 0;
    const struct file_tensor *x;
    int status = need_length(im, b_dec, &d_in, err);
    if (!status && import_find(im, b_enc)) {
        status = need_length(im, b_enc, &d_sae, err);
    } else if (!status && !(status = tensor_file_need(im->file, matrix, &x, err))) {
        char shape[128];
        if (x->tensor.ndim != 2 || (x->tensor.shape[0] != d_in && x->tensor.shape[1] != d_in))
            return import_refuse_tensor(im, matrix, err, "has shape %s, but %s has %zu numbers",
                                        tensor_shape_string(&x->tensor, shape, sizeof shape), b_dec, d_in);
        d_sae = x->tensor.shape[x->tensor.shape[0] == d_in];
    }
    return status ? status : import_sizes(im, d_in, d_sae, "the biases", err);
}

int import_linear_lengths(struct importing *im, const char *matrix, struct error *err)
{
    char shape[128];
    const struct file_tensor *x;
    int status = tensor_file_need(im->file, matrix, &x, err);
    if (!status && x->tensor.ndim != 2)
        status = import_refuse_tensor(im, matrix, err, "has shape %s: a matrix is needed",
                                      tensor_shape_string(&x->tensor, shape, sizeof shape));
    return status ? status : import_sizes(im, x->tensor.shape[1], x->tensor.shape[0], matrix, err);
}

/* ---- Tensors. ---- */

static int check_dtype(const struct importing *im, const char *name, const struct file_tensor *x,
                       struct error *err)
{
    enum dtype t = x->tensor.dtype;
    if (t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64)
        return STATUS_OK;
    return import_refuse_tensor(im, name, err, "is of whole numbers (%s): F32, F16 or BF16 is needed",
                                dtype_name(t));
}

static int check_finite(const struct importing *im, const char *name, const float *x, size_t n,
                        struct error *err)
{
    if (first_not_finite(x, n) == n)
        return STATUS_OK;
    return import_refuse_tensor(im, name, err, "holds a NaN or an infinity");
}

static int wrong_shape(const struct importing *im, const char *name, const struct file_tensor *x,
                       struct error *err)
{
    char shape[128];
    return import_refuse_tensor(im, name, err, "has shape %s, but %s say%s d_in %zu and d_sae %zu",
                                tensor_shape_string(&x->tensor, shape, sizeof shape), im->sizes_from,
                                strcmp(im->sizes_from, "the biases") ? "s" : "", im->sae.d_in, im->sae.d_sae);
}

int import_vector(struct importing *im, const char *name, size_t n, int optional, float **out,
                  struct error *err)
{
    const struct file_tensor *x = import_find(im, name);
    free(*out);
    *out = NULL;
    if (!x && optional)
        return STATUS_OK;
    int status = tensor_file_need(im->file, name, &x, err);
    if (status || (status = check_dtype(im, name, x, err)))
        return status;
    if (x->tensor.ndim != 1 || x->tensor.shape[0] != n)
        return wrong_shape(im, name, x, err);
    float *values = array_alloc(n, sizeof(float), name, err);
    if (!values)
        return STATUS_FAILED;
    status = tensor_file_rows(im->file, x, 0, n, values, err);
    if (!status)
        status = check_finite(im, name, values, n, err);
    if (status)
        free(values);
    else
        *out = values;
    return status;
}

int import_constant(struct importing *im, double value, float **out, struct error *err)
{
    free(*out);
    *out = NULL;
    if (!isfinite((float)value))
        return import_refuse(im, NULL, err, "a threshold is no finite number");
    *out = array_alloc(im->sae.d_sae, sizeof(float), "thresholds", err);
    for (size_t i = 0; *out && i < im->sae.d_sae; i++)
        (*out)[i] = (float)value;
    return *out ? STATUS_OK : STATUS_FAILED;
}

int import_number(struct importing *im, const char *name, double *out, struct error *err)
{
    const struct file_tensor *x;
    int status = tensor_file_need(im->file, name, &x, err);
    return status ? status : tensor_file_number(im->file, x, out, err);
}

int import_matrix(struct importing *im, struct import_matrix *out, const char *name,
                  int conventionally_by_latent, struct error *err)
{
    const struct file_tensor *x;
    int status = tensor_file_need(im->file, name, &x, err);
    if (status || (status = check_dtype(im, name, x, err)))
        return status;
    size_t d = im->sae.d_in, f = im->sae.d_sae;
    int latents_first = x->tensor.ndim == 2 && x->tensor.shape[0] == f && x->tensor.shape[1] == d;
    int inputs_first = x->tensor.ndim == 2 && x->tensor.shape[0] == d && x->tensor.shape[1] == f;
    if (!latents_first && !inputs_first)
        return wrong_shape(im, name, x, err);
    int by_latent = latents_first && inputs_first ? conventionally_by_latent : latents_first;
    out->name = x->name;
    out->rows = by_latent ? *x : file_tensor_transposed(x);
    return STATUS_OK;
}

int import_weights(struct importing *im, const struct import_names *names, struct error *err)
{
    int status = STATUS_OK;
    if (names->b_dec)
        status = import_vector(im, names->b_dec, im->sae.d_in, 0, &im->sae.b_dec, err);
    else if (!(im->sae.b_dec = array_zeroed(im->sae.d_in, sizeof(float), "b_dec", err)))
        status = STATUS_FAILED;
    if (!status && names->b_enc)
        status = import_vector(im, names->b_enc, im->sae.d_sae, 1, &im->sae.b_enc, err);
    if (!status)
        status = import_matrix(im, &im->W_enc, names->W_enc, names->linear_encoder, err);
    if (!status)
        status = import_matrix(im, &im->W_dec, names->W_dec, !names->linear_decoder, err);
    return status;
}

/* ---- To the store. ---- */

/* sae_save_from's reader. */
static int import_rows(void *arg, int decoder, size_t first, size_t n, float *out, struct error *err)
{
    struct importing *im = arg;
    const struct import_matrix *matrix = decoder ? &im->W_dec : &im->W_enc;
    const float *scale = decoder ? im->decoder_scale : im->encoder_scale;
    size_t d = im->sae.d_in;
    int status = tensor_file_rows(im->file, &matrix->rows, first, n, out, err);
    if (!status)
        status = check_finite(im, matrix->name, out, n * d, err);
    for (size_t j = 0; scale && !status && j < n; j++)
        for (size_t i = 0; i < d; i++)
            out[j * d + i] *= scale[first + j];
    return status;
}

static json *size_or_null(size_t n)
{
    return n ? json_new_integer((long long)n) : json_new_null();
}

static json *make_manifest(struct importing *im)
{
    int is_meta = im->n_bases > 0;
    json *manifest = json_retain(im->manifest);
    json *references = meta_bases_references(im->bases, im->n_bases);
    if (!is_meta && im->model)
        json_set(references, "model", json_new_integer((long long)im->model));
    import_source_json(im, "path", json_new_string(im->options->path));
    import_source_json(im, "dtype", json_new_string(dtype_torch_name(im->W_dec.rows.tensor.dtype)));
    import_source_json(im, "quirks", json_retain(im->quirks));
    json_set(manifest, "kind", json_new_string(is_meta ? "meta" : "sae"));
    json_set(manifest, "hook", is_meta ? json_new_null() : json_new_string(im->hook));
    json_set(manifest, "center_activations", json_new_boolean(!is_meta && im->center));
    json_set(manifest, "context_size", size_or_null(im->context_size));
    json_set(manifest, "prepend_bos", json_new_boolean(im->prepend_bos));
    json_set(manifest, "source", json_retain(im->source));
    json_set(manifest, "references", references);
    sae_import_amend(im->options, manifest);
    return manifest;
}

int importing_save(struct importing *im, struct store *s, artifact_id *id, struct error *err)
{
    const struct sae_import *o = im->options;
    int status = store_create(s, ARTIFACT_SAE, o->name, o->replace, id, err);
    if (status)
        return status;
    const struct sae_rows rows = {import_rows, im, 1, im->monitor};
    status = sae_save_from(s, *id, &im->sae, &rows, make_manifest(im), err);
    if (status)
        store_abandon(s, *id);
    return status;
}

void importing_init(struct importing *im, const struct sae_import *o, struct monitor *m, const char *scratch)
{
    *im = (struct importing){.options = o,
                             .monitor = m,
                             .prepend_bos = 1,
                             .source = json_new_object(),
                             .quirks = json_new_array(),
                             .manifest = json_new_object()};
    sae_files_open(&im->files, o->path, scratch);
}

void importing_free(struct importing *im)
{
    if (im->file != im->files.tensors)
        tensor_file_close(im->file);
    sae_files_close(&im->files);
    json_free(im->keep);
    json_free(im->source);
    json_free(im->quirks);
    json_free(im->manifest);
    free(im->hook);
    free(im->module);
    free(im->model_name);
    free(im->bases);
    free(im->sae.b_dec);
    free(im->sae.b_enc);
    free(im->sae.threshold);
    free(im->sae.r_mag);
    free(im->sae.b_mag);
    free(im->encoder_scale);
    free(im->decoder_scale);
}
