/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Import of SAELens folders. Weights go from the file's map to the store in chunks of latents: W_enc is
 * stored [d_in, d_sae] there and turned round on the way, so that memory stays at one chunk whatever the
 * SAE's size.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "saescope/formats/saelens.h"
#include "saescope/model/model.h"
#include "saescope/sae/bases.h"

struct import {
    const struct sae_import *options;
    struct monitor *monitor;
    char *config_path, *weights_path;
    struct saelens_config config;
    struct safetensors file;
    const struct tensor *W_enc, *W_dec;
    int W_enc_by_latent, W_dec_by_latent; /* stored [d_sae, d_in] */
    struct sae sae; /* shape, biases and thresholds; its weights are read by import_rows */
    float *encoder_scale, *decoder_scale; /* [d_sae]: factors folded into the rows, or NULL */
    json *notes;                          /* what was changed on the way */
    char hook[64];
    artifact_id model;
    artifact_id *bases; /* [n_bases] of a meta-SAE; of a joint one several */
    size_t n_bases;
};

static int refuse_tensor(const struct import *im, const char *name, const char *what, struct error *err)
{
    char *shown = displayable_string(im->weights_path);
    error_set(err, STATUS_REFUSED, "%s: tensor %s %s", shown, name, what);
    free(shown);
    return STATUS_REFUSED;
}

static void note(struct import *im, const char *text)
{
    json_append(im->notes, json_new_string(text));
}

/* ---- Reading tensors. ---- */

static int readable_dtype(const struct import *im, const char *name, const struct tensor *x,
                          struct error *err)
{
    if (x->dtype == DTYPE_F32 || x->dtype == DTYPE_F16 || x->dtype == DTYPE_BF16 || x->dtype == DTYPE_F64)
        return STATUS_OK;
    return refuse_tensor(im, name, "is of whole numbers: F32, F16 or BF16 is needed", err);
}

static int check_finite(const struct import *im, const char *name, const float *x, size_t n,
                        struct error *err)
{
    if (first_not_finite(x, n) == n)
        return STATUS_OK;
    return refuse_tensor(im, name, "holds a NaN or an infinity", err);
}

static void wrong_shape(const struct import *im, const char *name, const struct tensor *x, struct error *err)
{
    char shape[128];
    char what[256];
    snprintf(what, sizeof(what), "has shape %s, but %s says d_in %zu and d_sae %zu",
             tensor_shape_string(x, shape, sizeof(shape)), SAELENS_CONFIG, im->config.d_in, im->config.d_sae);
    refuse_tensor(im, name, what, err);
}

/* A vector of n numbers on the heap; *out stays NULL when an optional one is missing. */
static int read_vector(const struct import *im, const char *name, size_t n, int optional, float **out,
                       struct error *err)
{
    const struct tensor *x = safetensors_find(&im->file, name);
    if (!x && optional)
        return STATUS_OK;
    int status = x ? STATUS_OK : safetensors_need(&im->file, name, &x, err);
    if (status || (status = readable_dtype(im, name, x, err)))
        return status;
    if (x->ndim != 1 || x->shape[0] != n) {
        wrong_shape(im, name, x, err);
        return STATUS_REFUSED;
    }
    float *values = array_alloc(n, sizeof(float), name, err);
    if (!values)
        return STATUS_FAILED;
    floats_from(x->dtype, x->data, values, n);
    status = check_finite(im, name, values, n, err);
    if (status)
        free(values);
    else
        *out = values;
    return status;
}

/* Which axis is d_in: told by the lengths; when both are the same, by the format's convention. */
static int find_matrix(const struct import *im, const char *name, int conventionally_by_latent,
                       const struct tensor **out, int *by_latent, struct error *err)
{
    const struct tensor *x;
    int status = safetensors_need(&im->file, name, &x, err);
    if (status || (status = readable_dtype(im, name, x, err)))
        return status;
    size_t d = im->config.d_in, f = im->config.d_sae;
    int latents_first = x->ndim == 2 && x->shape[0] == f && x->shape[1] == d;
    int inputs_first = x->ndim == 2 && x->shape[0] == d && x->shape[1] == f;
    if (!latents_first && !inputs_first) {
        wrong_shape(im, name, x, err);
        return STATUS_REFUSED;
    }
    *by_latent = latents_first && inputs_first ? conventionally_by_latent : latents_first;
    *out = x;
    return STATUS_OK;
}

/* Rows [first, first + n) of a matrix as [n, d_in], unscaled. */
static void read_rows(const struct import *im, const struct tensor *x, int by_latent, size_t first, size_t n,
                      float *out)
{
    size_t d = im->config.d_in, f = im->config.d_sae, size = dtype_size(x->dtype);
    const unsigned char *data = x->data;
    if (by_latent) {
        floats_from(x->dtype, data + first * d * size, out, n * d);
        return;
    }
    /* A strip of latents is short enough for its output lines to stay in cache while the rows go by. */
    float strip[256];
    for (size_t start = 0; start < n; start += ARRAY_LENGTH(strip)) {
        size_t count = n - start < ARRAY_LENGTH(strip) ? n - start : ARRAY_LENGTH(strip);
        for (size_t i = 0; i < d; i++) {
            floats_from(x->dtype, data + (i * f + first + start) * size, strip, count);
            for (size_t j = 0; j < count; j++)
                out[(start + j) * d + i] = strip[j];
        }
    }
}

/* sae_save_from's reader. */
static int import_rows(void *arg, int decoder, size_t first, size_t n, float *out, struct error *err)
{
    const struct import *im = arg;
    size_t d = im->config.d_in;
    int status = monitor_check(im->monitor, err);
    if (status)
        return status;
    struct progress p;
    progress_init(&p);
    p.phase = "writing";
    p.step = first + n + (decoder ? im->config.d_sae : 0);
    p.steps = 2 * im->config.d_sae;
    monitor_report(im->monitor, &p);
    if (decoder)
        read_rows(im, im->W_dec, im->W_dec_by_latent, first, n, out);
    else
        read_rows(im, im->W_enc, im->W_enc_by_latent, first, n, out);
    status = check_finite(im, decoder ? "W_dec" : "W_enc", out, n * d, err);
    const float *scale = decoder ? im->decoder_scale : im->encoder_scale;
    for (size_t j = 0; scale && !status && j < n; j++)
        for (size_t i = 0; i < d; i++)
            out[j * d + i] *= scale[first + j];
    return status;
}

/* ---- What has to be folded into the weights. ---- */

static int need_scales(struct import *im, struct error *err)
{
    size_t f = im->config.d_sae;
    if (im->encoder_scale)
        return STATUS_OK;
    im->encoder_scale = array_alloc(f, sizeof(float), "scales", err);
    im->decoder_scale = array_alloc(f, sizeof(float), "scales", err);
    if (!im->encoder_scale || !im->decoder_scale)
        return STATUS_FAILED;
    for (size_t i = 0; i < f; i++)
        im->encoder_scale[i] = im->decoder_scale[i] = 1;
    return STATUS_OK;
}

/* topk with rescale_acts_by_decoder_norm: p_i·‖W_dec_i‖ is compared and kept, and divided again when
 * decoding, which is an SAE with unit decoder rows. SAELens' fold_W_dec_norm uses the same floor of 1e-8. */
static int fold_decoder_norms(struct import *im, struct error *err)
{
    size_t d = im->config.d_in, chunk = 256;
    int status = need_scales(im, err);
    float *rows = status ? NULL : array_alloc(chunk * d, sizeof(float), "decoder rows", err);
    if (!rows)
        return STATUS_FAILED;
    for (size_t first = 0; first < im->config.d_sae; first += chunk) {
        size_t n = im->config.d_sae - first < chunk ? im->config.d_sae - first : chunk;
        read_rows(im, im->W_dec, im->W_dec_by_latent, first, n, rows);
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t i = 0; i < d; i++)
                sum += (double)rows[j * d + i] * rows[j * d + i];
            float norm = (float)fmax(sqrt(sum), 1e-8);
            im->encoder_scale[first + j] *= norm;
            im->decoder_scale[first + j] /= norm;
            if (im->sae.b_enc)
                im->sae.b_enc[first + j] *= norm;
        }
    }
    free(rows);
    note(im, "decoder norms were folded into the encoder (rescale_acts_by_decoder_norm)");
    return STATUS_OK;
}

/* Old files scale activations when decoding: (f·s) W_dec + b_dec. */
static int fold_finetuning_scale(struct import *im, const char *name, struct error *err)
{
    float *s = NULL;
    int status = read_vector(im, name, im->config.d_sae, 1, &s, err);
    if (status || !s)
        return status;
    int is_one = 1;
    for (size_t i = 0; i < im->config.d_sae; i++)
        is_one &= s[i] == 1.0F;
    if (!is_one && !(status = need_scales(im, err))) {
        for (size_t i = 0; i < im->config.d_sae; i++)
            im->decoder_scale[i] *= s[i];
        char text[128];
        snprintf(text, sizeof(text), "%s was folded into W_dec", name);
        note(im, text);
    }
    free(s);
    return status;
}

/* A training checkpoint's weights still expect inputs that were scaled to a mean norm of √d_in; its scale
 * lies beside them. Finished SAEs had it folded: W_enc·s, W_dec/s, b_dec/s. */
static int fold_training_scale(struct import *im, struct error *err)
{
    if (!im->config.average_normalized)
        return STATUS_OK;
    char *path = path_join(im->options->path, "activation_scaler.json");
    int status = STATUS_OK;
    json *scaler = NULL;
    if (path_exists(path) && !(scaler = json_parse_file(path, err)))
        status = STATUS_REFUSED;
    const struct release_facts *facts = im->options->facts;
    double s = facts && facts->scale > 0 ? facts->scale : json_get_number(scaler, "scaling_factor", 1);
    if (!status && (!(s > 0) || !isfinite((float)s)))
        status = error_set(err, STATUS_REFUSED, "%s: scaling_factor must be positive", path);
    if (!status && s != 1 && !(status = need_scales(im, err))) {
        for (size_t i = 0; i < im->config.d_sae; i++) {
            im->encoder_scale[i] *= (float)s;
            im->decoder_scale[i] /= (float)s;
        }
        for (size_t i = 0; i < im->config.d_in; i++)
            im->sae.b_dec[i] /= (float)s;
        note(im, facts && facts->scale > 0 ? "the release's norm_scaling_factor was folded into the weights"
                                           : "the checkpoint's activation scale was folded into the weights");
    } else if (!status) {
        note(im, "the activation scale (expected_average_only_in) is in the weights already");
    }
    json_free(scaler);
    free(path);
    return status;
}

/* ---- The whole SAE. ---- */

/* Our own exports say which architecture their thresholds came from. */
static void restore_architecture(struct import *im)
{
    const struct saelens_config *c = &im->config;
    const char *name = json_get_string(c->extras, "architecture", "");
    if (!im->sae.threshold || strcmp(name, "batchtopk") != 0)
        return;
    for (size_t i = 1; i < c->d_sae; i++)
        if (im->sae.threshold[i] != im->sae.threshold[0])
            return;
    const struct sae_architecture *architecture = sae_architecture_find(name, NULL);
    long long k = json_get_integer(c->extras, "k", 0);
    if (architecture && k > 0 && (size_t)k <= c->d_sae) {
        im->sae.architecture = architecture;
        im->sae.k = (size_t)k;
    }
}

static int read_sae(struct import *im, struct error *err)
{
    const struct saelens_config *c = &im->config;
    struct sae *sae = &im->sae;
    sae->architecture = c->architecture;
    sae->d_in = c->d_in;
    sae->d_sae = c->d_sae;
    sae->k = c->k;
    sae->apply_b_dec_to_input = c->apply_b_dec_to_input;
    sae->normalization = c->normalization;
    int status = safetensors_open(&im->file, im->weights_path, err);
    if (!status)
        status = read_vector(im, "b_dec", c->d_in, 0, &sae->b_dec, err);
    if (!status)
        status = read_vector(im, "b_enc", c->d_sae, 0, &sae->b_enc, err);
    if (!status && c->architecture->has_threshold)
        status = read_vector(im, "threshold", c->d_sae, 0, &sae->threshold, err);
    if (!status)
        status = find_matrix(im, "W_enc", 0, &im->W_enc, &im->W_enc_by_latent, err);
    if (!status)
        status = find_matrix(im, "W_dec", 1, &im->W_dec, &im->W_dec_by_latent, err);
    if (!status && c->rescale_by_decoder_norm)
        status = fold_decoder_norms(im, err);
    if (!status)
        status = fold_finetuning_scale(im, "scaling_factor", err);
    if (!status)
        status = fold_finetuning_scale(im, "finetuning_scaling_factor", err);
    if (!status)
        status = fold_training_scale(im, err);
    if (!status) {
        restore_architecture(im);
        int has_bias = 0;
        for (size_t i = 0; i < c->d_sae; i++)
            has_bias |= sae->b_enc[i] != 0;
        if (!has_bias) {
            free(sae->b_enc);
            sae->b_enc = NULL;
        }
    }
    return status;
}

/* ---- What it belongs to. ---- */

static void add_base(struct import *im, artifact_id id)
{
    im->bases = xreallocarray(im->bases, im->n_bases + 1, sizeof(*im->bases));
    im->bases[im->n_bases++] = id;
}

static int find_base(struct import *im, struct store_txn *t, const char *name, struct error *err)
{
    struct artifact base;
    if (!name)
        return error_set(err, STATUS_REFUSED,
                         "%s is a meta-SAE and does not name its base: name it with --base",
                         im->options->name);
    if (store_find(t, ARTIFACT_SAE, name, &base, NULL)) {
        char *shown = displayable_string(name);
        error_set(err, STATUS_REFUSED,
                  "%s is a meta-SAE of %s, which is not in the store: import that first, or name its "
                  "base with --base",
                  im->options->name, shown);
        free(shown);
        return STATUS_REFUSED;
    }
    add_base(im, base.id);
    return STATUS_OK;
}

static int check_base(const struct import *im, struct store_txn *t, artifact_id base, struct error *err)
{
    json *manifest = store_manifest(t, base, err);
    if (!manifest)
        return STATUS_REFUSED;
    long long d_in = json_get_integer(manifest, "d_in", 0);
    json_free(manifest);
    if ((size_t)d_in != im->config.d_in)
        return error_set(err, STATUS_REFUSED, "d_in is %zu, but its base's decoder rows have %lld numbers",
                         im->config.d_in, d_in);
    return STATUS_OK;
}

/* The one that is given, or those that the file names. */
static int find_bases(struct import *im, struct store_txn *t, struct error *err)
{
    const json *names = im->config.bases;
    int status = STATUS_OK;
    if (im->options->base)
        add_base(im, im->options->base);
    else if (!names)
        status = find_base(im, t, im->config.base, err);
    for (size_t i = 0; !status && !im->options->base && i < json_length(names); i++)
        status = find_base(im, t, json_string(json_at(names, i), NULL), err);
    for (size_t i = 0; !status && i < im->n_bases; i++) {
        status = check_base(im, t, im->bases[i], err);
        for (size_t j = 0; !status && j < i; j++)
            if (im->bases[j] == im->bases[i])
                status = error_set(err, STATUS_REFUSED, "%s: \"bases\" names an SAE twice", im->config_path);
    }
    return status;
}

static int check_hook(struct import *im, struct store_txn *t, struct error *err)
{
    struct model *model = NULL;
    struct hook hook;
    int status = model_open(t, im->model, &model, err);
    if (status)
        return status;
    status = hook_parse(model_get_config(model), im->hook, &hook, err);
    if (!status && hook_width(model_get_config(model), &hook) != im->config.d_in)
        status = error_set(err, STATUS_REFUSED, "d_in is %zu, but %s of %s has %zu numbers", im->config.d_in,
                           hook.name, model_name(model), hook_width(model_get_config(model), &hook));
    if (!status)
        memcpy(im->hook, hook.name, sizeof im->hook);
    model_free(model);
    return status;
}

static int find_model(struct import *im, struct store_txn *t, struct error *err)
{
    const char *hook = im->options->hook ? im->options->hook : im->config.hook;
    struct artifact a;
    if (!hook)
        return error_set(err, STATUS_REFUSED, "%s names no hook: name it with --hook", im->config_path);
    if (strlen(hook) >= sizeof(im->hook) || !utf8_valid(hook, strlen(hook)))
        return error_set(err, STATUS_REFUSED, "%s: the hook's name is no hook's name", im->config_path);
    memcpy(im->hook, hook, strlen(hook) + 1);
    im->model = im->options->model;
    if (!im->model && im->config.model && !store_check_name(im->config.model, NULL) &&
        store_find(t, ARTIFACT_MODEL, im->config.model, &a, NULL) == STATUS_OK)
        im->model = a.id;
    return im->model ? check_hook(im, t, err) : STATUS_OK;
}

static json *string_or_null(const char *s)
{
    return s ? json_new_string(s) : json_new_null();
}

static json *member_or_null(const json *object, const char *key)
{
    json *v = json_get(object, key);
    return v ? json_retain(v) : json_new_null();
}

static json *make_manifest(struct import *im)
{
    const struct saelens_config *c = &im->config;
    json *source = json_new_object();
    json_set(source, "format", json_new_string("saelens"));
    json_set(source, "path", json_new_string(im->options->path));
    json_set(source, "version", string_or_null(c->version));
    json_set(source, "dtype", json_new_string(dtype_torch_name(im->W_dec->dtype)));
    json_set(source, "model_name", string_or_null(c->model));
    json_set(source, "hook_name", string_or_null(c->hook));
    json_set(source, "dataset_path", member_or_null(c->metadata, "dataset_path"));
    json_set(source, "neuronpedia_id",
             im->options->neuronpedia_id ? json_new_string(im->options->neuronpedia_id)
                                         : member_or_null(c->metadata, "neuronpedia_id"));
    json_set(source, "notes", json_retain(im->notes));
    if (!c->extras) /* what our own exports say is all read */
        json_set(source, "config", json_retain(c->root));

    int is_meta = im->n_bases > 0;
    json *references = meta_bases_references(im->bases, im->n_bases);
    if (!is_meta && im->model)
        json_set(references, "model", json_new_integer((long long)im->model));
    json *manifest = json_new_object();
    json_set(manifest, "kind", json_new_string(is_meta ? "meta" : "sae"));
    json_set(manifest, "hook", is_meta ? json_new_null() : json_new_string(im->hook));
    json_set(manifest, "center_activations", json_new_boolean(!is_meta && c->center));
    json_set(manifest, "context_size",
             c->context_size ? json_new_integer((long long)c->context_size) : json_new_null());
    json_set(manifest, "prepend_bos", json_new_boolean(c->prepend_bos));
    json_set(manifest, "source", source);
    json *training = json_get(c->extras, "training");
    if (json_is_object(training)) {
        json_set(manifest, "training", json_retain(training));
        if (is_meta && json_get_boolean(training, "permute_columns", 0))
            json_set(manifest, "baseline", json_new_boolean(1));
    }
    json_set(manifest, "references", references);
    sae_import_amend(im->options, manifest);
    return manifest;
}

static int find_owner(struct import *im, struct store *s, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    if (im->options->base || im->config.is_meta)
        status = find_bases(im, t, err);
    else
        status = find_model(im, t, err);
    store_end(t);
    return status;
}

int saelens_import(struct store *s, const struct sae_import *o, struct monitor *m, artifact_id *id,
                   struct error *err)
{
    struct import im = {.options = o, .monitor = m, .notes = json_new_array()};
    im.config_path = path_join(o->path, SAELENS_CONFIG);
    im.weights_path = path_join(o->path, SAELENS_WEIGHTS);
    int status = saelens_config_read(&im.config, im.config_path, err);
    if (!status)
        status = read_sae(&im, err);
    if (!status)
        status = find_owner(&im, s, err);
    if (!status)
        status = store_create(s, ARTIFACT_SAE, o->name, o->replace, id, err);
    if (!status) {
        status = sae_save_from(s, *id, &im.sae, import_rows, &im, make_manifest(&im), err);
        if (status)
            store_abandon(s, *id);
    }
    safetensors_close(&im.file);
    saelens_config_free(&im.config);
    json_free(im.notes);
    free(im.bases);
    free(im.sae.b_dec);
    free(im.sae.b_enc);
    free(im.sae.threshold);
    free(im.encoder_scale);
    free(im.decoder_scale);
    free(im.config_path);
    free(im.weights_path);
    return status;
}
