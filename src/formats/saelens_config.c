/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAELens' cfg.json: read in every version's form, written in version 6's. */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/formats/saelens.h"
#include "saescope/sae/bases.h"

#define SIZE_LIMIT ((size_t)1 << 31)

/* What SAELens calls them, and what they are here. */
static const struct {
    const char *name, *architecture;
    int has_k;
} readable_architectures[] = {
    {"standard", "standard", 0}, {"gated", "gated", 0},         {"topk", "topk", 1},
    {"jumprelu", "jumprelu", 0}, {"batchtopk", "batchtopk", 1}, {"matryoshka_batchtopk", "batchtopk", 1},
};

static int refuse(struct error *err, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Arguments may come from the file: the message as a whole is made displayable. */
static int refuse(struct error *err, const char *path, const char *format, ...)
{
    struct strbuf message = STRBUF_INIT;
    va_list args;
    strbuf_addf(&message, "%s: ", path);
    va_start(args, format);
    strbuf_vaddf(&message, format, args);
    va_end(args);
    char *shown = displayable_string(strbuf_string(&message));
    error_set(err, STATUS_REFUSED, "%s", shown);
    free(shown);
    strbuf_free(&message);
    return STATUS_REFUSED;
}

/* A member of the metadata or, in flat files, of the root, under its name or the one it had before version 3.
 */
static json *look_up(const struct saelens_config *c, const char *key, const char *old_key)
{
    const json *places[] = {c->metadata, c->root};
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        json *v = json_get(places[i], key);
        if (json_is_null(v) && old_key)
            v = json_get(places[i], old_key);
        if (!json_is_null(v))
            return v;
    }
    return NULL;
}

/* The top-k activation of files before version 6, which know no such architecture. */
static int read_activation(struct saelens_config *c, const char *path, const char **architecture,
                           struct error *err)
{
    const char *activation = json_string(look_up(c, "activation_fn_str", "activation_fn"), "relu");
    if (strcmp(activation, "topk") == 0) {
        *architecture = "topk";
        if (json_is_null(json_get(c->root, "k"))) {
            const json *arguments = look_up(c, "activation_fn_kwargs", NULL);
            return json_need_size(arguments, "k", path, SIZE_LIMIT, &c->k, err);
        }
    } else if (strcmp(activation, "relu") != 0) {
        return refuse(err, path, "activation %s is not supported (relu and topk are)", activation);
    }
    return STATUS_OK;
}

static int refuse_architecture(const char *name, const char *path, struct error *err)
{
    if (strstr(name, "transcoder") || strstr(name, "clt") || strstr(name, "crosscoder"))
        return refuse(err, path,
                      "a %s reads one place of the model and writes another: only SAEs, which rebuild what "
                      "they read, can be imported",
                      name);
    return refuse(err, path,
                  "architecture %s cannot be read: standard, gated, topk, jumprelu, batchtopk and "
                  "matryoshka_batchtopk can",
                  name);
}

static int read_k(struct saelens_config *c, const char *path, struct error *err)
{
    double k = c->k ? (double)c->k : json_get_number(c->root, "k", -1);
    /* BatchTopK's k is an average. */
    size_t whole = k >= 0 && k < (double)SIZE_LIMIT ? (size_t)(k + 0.5) : 0;
    if (k < 0)
        return json_need_size(c->root, "k", path, SIZE_LIMIT, &c->k, err);
    if (whole == 0 || whole > c->d_sae)
        return refuse(err, path, "k must be between 1 and d_sae (%zu)", c->d_sae);
    c->k = whole;
    return STATUS_OK;
}

static int read_architecture(struct saelens_config *c, const char *path, struct error *err)
{
    const char *name = json_get_string(c->root, "architecture", "standard");
    int status = read_activation(c, path, &name, err);
    if (status)
        return status;
    size_t i = 0;
    while (i < ARRAY_LENGTH(readable_architectures) && strcmp(readable_architectures[i].name, name) != 0)
        i++;
    if (i == ARRAY_LENGTH(readable_architectures))
        return refuse_architecture(name, path, err);
    c->architecture = sae_architecture_find(readable_architectures[i].architecture, err);
    if (!c->architecture)
        return STATUS_REFUSED;
    if (!readable_architectures[i].has_k)
        return STATUS_OK;
    c->from_training = c->architecture->has_threshold;
    c->rescale_by_decoder_norm = json_get_boolean(c->root, "rescale_acts_by_decoder_norm", 0);
    return read_k(c, path, err);
}

static int read_processing(struct saelens_config *c, const char *path, struct error *err)
{
    c->apply_b_dec_to_input = json_get_boolean(c->root, "apply_b_dec_to_input", 1);
    const char *reshape = json_get_string(c->root, "reshape_activations", "none");
    if (strcmp(reshape, "none") != 0 &&
        strcmp(reshape, "hook_z") != 0) /* heads beside one another, as here */
        return refuse(err, path, "reshape_activations %s is not supported (none and hook_z are)", reshape);
    json *normalize = json_get(c->root, "normalize_activations");
    const char *name = json_is_boolean(normalize)
                           ? (json_boolean(normalize, 0) ? "expected_average_only_in" : "none")
                           : json_string(normalize, "none");
    c->normalization = NORMALIZE_NONE;
    if (strcmp(name, "expected_average_only_in") == 0)
        c->average_normalized = 1;
    else if (strcmp(name, "constant_norm_rescale") == 0)
        c->normalization = NORMALIZE_CONSTANT_NORM_RESCALE;
    else if (strcmp(name, "layer_norm") == 0)
        c->normalization = NORMALIZE_LAYER_NORM;
    else if (strcmp(name, "none") != 0)
        return refuse(err, path,
                      "normalize_activations %s is not supported (none, expected_average_only_in, "
                      "constant_norm_rescale and layer_norm are)",
                      name);
    return STATUS_OK;
}

static int read_model_side(struct saelens_config *c, const char *path, struct error *err)
{
    c->hook = json_string(look_up(c, "hook_name", "hook_point"), NULL);
    c->model = json_string(look_up(c, "model_name", NULL), NULL);
    c->prepend_bos = json_boolean(look_up(c, "prepend_bos", NULL), 1);
    long long context_size = json_integer(look_up(c, "context_size", NULL), 0);
    if (context_size < 0 || (size_t)context_size > SIZE_LIMIT)
        return refuse(err, path, "context_size is out of range");
    c->context_size = (size_t)context_size;
    const json *arguments = look_up(c, "model_from_pretrained_kwargs", NULL);
    c->center = json_get_boolean(arguments, "center_writing_weights", 0);
    c->is_meta = strcmp(json_get_string(c->metadata, "kind", "sae"), "meta") == 0;
    const char *base = json_get_string(c->metadata, "base", NULL);
    json *bases = json_get(c->metadata, "bases");
    if (c->is_meta && json_length(bases)) {
        c->bases = json_retain(bases);
    } else if (c->is_meta && base) {
        c->bases = json_new_array();
        json_append(c->bases, json_new_string(base));
    }
    if (!json_is_null(look_up(c, "hook_head_index", "hook_point_head_index")))
        return refuse(err, path, "SAEs of a single attention head are not supported");
    return STATUS_OK;
}

int saelens_config_read(struct saelens_config *c, const char *path, struct error *err)
{
    memset(c, 0, sizeof(*c));
    c->root = json_parse_file(path, err);
    if (!c->root)
        return STATUS_REFUSED;
    int status = STATUS_OK;
    if (!json_is_object(c->root))
        status = refuse(err, path, "is no JSON object");
    json *metadata = json_get(c->root, "metadata");
    c->metadata = json_is_object(metadata) ? metadata : c->root;
    json *extras = json_get(c->metadata, "saescope");
    c->extras = json_is_object(extras) ? extras : NULL;
    c->version = json_string(look_up(c, "sae_lens_version", "sae_lens_training_version"), NULL);
    if (!status)
        status = json_need_size(c->root, "d_in", path, SIZE_LIMIT, &c->d_in, err);
    if (!status)
        status = json_need_size(c->root, "d_sae", path, SIZE_LIMIT, &c->d_sae, err);
    if (!status && (c->d_in == 0 || c->d_sae == 0))
        status = refuse(err, path, "d_in and d_sae must be positive");
    if (!status)
        status = read_model_side(c, path, err);
    if (!status)
        status = read_architecture(c, path, err);
    if (!status)
        status = read_processing(c, path, err);
    if (status)
        saelens_config_free(c);
    return status;
}

void saelens_config_free(struct saelens_config *c)
{
    json_free(c->root);
    json_free(c->bases);
    memset(c, 0, sizeof(*c));
}

/* The text of a member of "source", as it was read; null when there was none. */
static json *source_member(const json *source, const char *key)
{
    json *v = json_get(source, key);
    return v ? json_retain(v) : json_new_null();
}

static json *name_of(struct store_txn *t, artifact_id id)
{
    struct artifact a;
    return id && store_get(t, id, &a, NULL) == STATUS_OK ? json_new_string(a.name) : json_new_null();
}

static json *write_metadata(struct store_txn *t, const struct sae *sae, const json *manifest)
{
    const json *source = json_get(manifest, "source");
    const json *references = json_get(manifest, "references");
    int is_meta = strcmp(json_get_string(manifest, "kind", "sae"), "meta") == 0;
    json *metadata = json_new_object();
    json_set(metadata, "sae_lens_version", json_new_string(SAELENS_VERSION));
    json_set(metadata, "sae_lens_training_version", json_new_null());
    artifact_id model = (artifact_id)json_get_integer(references, "model", 0);
    json_set(metadata, "model_name", model ? name_of(t, model) : source_member(source, "model_name"));
    json *hook = json_get(manifest, "hook");
    json_set(metadata, "hook_name", hook ? json_retain(hook) : json_new_null());
    json_set(metadata, "hook_head_index", json_new_null());
    json *context_size = json_get(manifest, "context_size");
    json_set(metadata, "context_size", context_size ? json_retain(context_size) : json_new_null());
    json_set(metadata, "prepend_bos", json_new_boolean(json_get_boolean(manifest, "prepend_bos", 1)));
    json_set(metadata, "dataset_path", source_member(source, "dataset_path"));
    json_set(metadata, "neuronpedia_id", source_member(source, "neuronpedia_id"));
    json *arguments = json_new_object();
    if (json_get_boolean(manifest, "center_activations", 0))
        json_set(arguments, "center_writing_weights", json_new_boolean(1));
    json_set(metadata, "model_from_pretrained_kwargs", arguments);
    json_set(metadata, "kind", json_new_string(is_meta ? "meta" : "sae"));
    if (is_meta)
        json_set(metadata, "base", name_of(t, meta_base_at(manifest, 0)));
    if (meta_base_at(manifest, 1)) {
        json *bases = json_new_array();
        for (size_t i = 0; meta_base_at(manifest, i); i++)
            json_append(bases, name_of(t, meta_base_at(manifest, i)));
        json_set(metadata, "bases", bases);
    }
    json *extras = json_new_object();
    json_set(extras, "architecture", json_new_string(sae->architecture->name));
    json_set(extras, "k", json_new_integer((long long)sae->k));
    json *training = json_get(manifest, "training");
    json_set(extras, "training", training ? json_retain(training) : json_new_null());
    json_set(metadata, "saescope", extras);
    return metadata;
}

json *saelens_config_write(struct store_txn *t, const struct sae *sae, enum dtype dtype, struct error *err)
{
    json *manifest = store_manifest(t, sae->id, err);
    if (!manifest)
        return NULL;
    /* SAELens' inference form of every architecture with thresholds is jumprelu. */
    const char *architecture = sae->threshold ? "jumprelu" : sae->architecture->name;
    json *root = json_new_object();
    json_set(root, "d_in", json_new_integer((long long)sae->d_in));
    json_set(root, "d_sae", json_new_integer((long long)sae->d_sae));
    json_set(root, "dtype", json_new_string(dtype_torch_name(dtype)));
    json_set(root, "device", json_new_string("cpu"));
    json_set(root, "apply_b_dec_to_input", json_new_boolean(sae->apply_b_dec_to_input));
    json_set(root, "normalize_activations", json_new_string(sae_normalization_name(sae->normalization)));
    const char *hook = json_get_string(manifest, "hook", "");
    json_set(root, "reshape_activations", json_new_string(strstr(hook, "hook_z") ? "hook_z" : "none"));
    json_set(root, "metadata", write_metadata(t, sae, manifest));
    if (strcmp(architecture, "topk") == 0) {
        json_set(root, "k", json_new_integer((long long)sae->k));
        json_set(root, "rescale_acts_by_decoder_norm", json_new_boolean(0));
    }
    json_set(root, "architecture", json_new_string(architecture));
    json_free(manifest);
    return root;
}
