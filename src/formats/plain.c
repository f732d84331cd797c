/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One file of tensors with recognisable names, in any container. The architecture is told by the tensors
 * (r_mag: gated; threshold: JumpReLU; k: TopK; else ReLU), or by the __metadata__ of a safetensors file:
 * strings "architecture", "k", "apply_b_dec_to_input", "normalize_activations", "hook_name", "model_name" …,
 * as saescope itself writes them. npz files have no such place: there the numbers k and apply_b_dec_to_input
 * are arrays, written only where Gemma Scope's five arrays would not say the same.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/npz_write.h"
#include "saescope/formats/exporting.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"
#include "saescope/sae/bases.h"

#define SAFETENSORS "sae.safetensors"
#define NPZ         "params.npz"

/* ---- Names. ---- */

/* The prefix of a state dict in a state dict: what comes before a matrix's name. */
static char *find_prefix(struct tensor_file *file)
{
    static const char *const matrices[] = {"W_enc", "w_enc", "encoder.weight"};
    for (size_t i = 0; i < tensor_file_count(file); i++) {
        const char *name = tensor_file_at(file, i)->name;
        size_t n = strlen(name);
        for (size_t j = 0; j < ARRAY_LENGTH(matrices); j++) {
            size_t length = strlen(matrices[j]);
            if (n >= length && strcmp(name + n - length, matrices[j]) == 0 &&
                (n == length || name[n - length - 1] == '.'))
                return xstrndup(name, n - length);
        }
    }
    return NULL;
}

/* The file's own spelling of one of the names (up to NULL), or NULL; lives as long as the file. */
static const char *spelling(struct tensor_file *file, const char *prefix, const char *const *names)
{
    const char *found = NULL;
    for (; *names && !found; names++) {
        char *full = xasprintf("%s%s", prefix, *names);
        const struct file_tensor *t = tensor_file_find(file, full);
        found = t ? t->name : NULL;
        free(full);
    }
    return found;
}

#define SPELLING(...) spelling(im->file, prefix, (const char *const[]){__VA_ARGS__, NULL})

struct plain_names {
    struct import_names weights;
    const char *gate, *mag, *r_mag, *threshold, *log_threshold, *k, *apply;
};

static int find_names(const struct importing *im, const char *prefix, struct plain_names *n,
                      struct error *err)
{
    const char *W_enc = SPELLING("W_enc", "w_enc"), *W_dec = SPELLING("W_dec", "w_dec");
    n->weights.linear_encoder = !W_enc;
    n->weights.linear_decoder = !W_dec;
    n->weights.W_enc = W_enc ? W_enc : SPELLING("encoder.weight");
    n->weights.W_dec = W_dec ? W_dec : SPELLING("decoder.weight");
    n->weights.b_enc = SPELLING("b_enc", "encoder.bias", "latent_bias");
    n->weights.b_dec = SPELLING("b_dec", "decoder.bias", "decoder_bias", "pre_bias", "bias");
    n->gate = SPELLING("b_gate", "gate_bias");
    n->mag = SPELLING("b_mag", "mag_bias");
    n->r_mag = SPELLING("r_mag");
    n->threshold = SPELLING("threshold");
    n->log_threshold = SPELLING("log_threshold", "jumprelu.log_threshold");
    n->k = SPELLING("k");
    n->apply = SPELLING("apply_b_dec_to_input");
    if (SPELLING("W_skip", "b_dec_out", "affine_skip_connection"))
        return import_refuse(im, tensor_file_path(im->file), err,
                             "a transcoder, which predicts one place of the model from another: only SAEs, "
                             "which rebuild what they read, can be imported");
    if (!n->weights.W_dec || !n->weights.b_dec)
        return import_refuse(im, tensor_file_path(im->file), err, "no tensor %s beside %s",
                             n->weights.W_dec ? "b_dec (nor decoder.bias, bias, pre_bias)"
                                              : "W_dec (nor decoder.weight)",
                             n->weights.W_enc);
    return STATUS_OK;
}

/* ---- What the file says of itself, or what it usually means. ---- */

static const char *metadata_string(const struct importing *im, const char *key)
{
    if (tensor_file_container(im->file) == CONTAINER_TORCH)
        return NULL;
    return json_get_string(tensor_file_values(im->file), key, NULL);
}

static int read_k(struct importing *im, const struct plain_names *n, struct error *err)
{
    const char *said = metadata_string(im, "k");
    double k = im->options->k ? (double)im->options->k : said ? strtod(said, NULL) : 0;
    int status = k == 0 && n->k ? import_number(im, n->k, &k, err) : STATUS_OK;
    if (!status && k != 0)
        status =
            k >= 1 && k < 1e9 ? import_k(im, (long long)k, err) : import_refuse(im, NULL, err, "k is %g", k);
    return status;
}

static const char *guess_architecture(struct importing *im, const struct plain_names *n)
{
    const char *said = metadata_string(im, "architecture");
    if (said)
        return said;
    if (n->r_mag && n->mag)
        return "gated";
    /* dictionary_learning's thresholds of -1 are not set. */
    if (n->threshold || n->log_threshold)
        return im->sae.k ? "batchtopk" : "jumprelu";
    if (im->sae.k)
        return "topk";
    import_quirk(im, "the file names no activation: taken for ReLU (--k K: the K largest)");
    return "standard";
}

static int read_threshold(struct importing *im, const struct plain_names *n, struct error *err)
{
    struct sae *sae = &im->sae;
    const struct file_tensor *x = import_find(im, n->threshold);
    double one;
    int status;
    if (x && tensor_elements(&x->tensor) == 1 && sae->d_sae > 1) {
        status = import_number(im, n->threshold, &one, err);
        return status ? status : import_constant(im, one, &sae->threshold, err);
    }
    if (x || !n->log_threshold)
        return import_vector(im, x ? n->threshold : "threshold", sae->d_sae, 0, &sae->threshold, err);
    status = import_vector(im, n->log_threshold, sae->d_sae, 0, &sae->threshold, err);
    for (size_t i = 0; !status && i < sae->d_sae; i++)
        sae->threshold[i] = expf(sae->threshold[i]);
    import_quirk(im, "log_threshold became threshold");
    return status;
}

static int read_architecture(struct importing *im, const struct plain_names *n, struct error *err)
{
    struct sae *sae = &im->sae;
    int status = read_k(im, n, err);
    if (!status)
        status = import_architecture(im, guess_architecture(im, n), err);
    if (!status && sae->architecture->per_token_k && sae->k == 0)
        status =
            import_refuse(im, NULL, err, "does not say how many latents a token keeps: give it with --k");
    if (!status && sae->architecture->has_magnitudes) {
        status = import_vector(im, n->mag ? n->mag : "b_mag", sae->d_sae, 0, &sae->b_mag, err);
        if (!status)
            status = import_vector(im, n->r_mag ? n->r_mag : "r_mag", sae->d_sae, 0, &sae->r_mag, err);
    } else if (!status && sae->architecture->has_threshold) {
        status = read_threshold(im, n, err);
    }
    const char *normalization = metadata_string(im, "normalize_activations");
    return status || !normalization ? status
                                    : sae_normalization_find(normalization, &sae->normalization, err);
}

/* Whether b_dec is subtracted: as the options or the file say; else Gemma Scope's and Linear layers' biases
 * are not. */
static int read_b_dec(struct importing *im, const struct plain_names *n, struct error *err)
{
    const char *said = im->options->apply_b_dec_to_input;
    double number = 0;
    if (!said)
        said = metadata_string(im, "apply_b_dec_to_input");
    if (!said && n->apply) {
        int status = import_number(im, n->apply, &number, err);
        im->sae.apply_b_dec_to_input = number != 0;
        return status;
    }
    if (said) {
        im->sae.apply_b_dec_to_input = strcmp(said, "yes") == 0 || strcmp(said, "true") == 0;
        return STATUS_OK;
    }
    const char *name = n->weights.b_dec;
    size_t length = strlen(name);
    int of_linear = length >= 12 && strcmp(name + length - 12, "decoder.bias") == 0;
    int jumprelu = strcmp(im->sae.architecture->name, "jumprelu") == 0;
    im->sae.apply_b_dec_to_input = !of_linear && !jumprelu;
    import_quirk(im,
                 "the file does not say whether %s is subtracted from the input: taken for %s "
                 "(--apply-b-dec-to-input yes|no)",
                 name, im->sae.apply_b_dec_to_input ? "yes" : "no");
    return STATUS_OK;
}

static void read_owner(struct importing *im)
{
    const char *context = metadata_string(im, "context_size"), *bos = metadata_string(im, "prepend_bos");
    const char *center = metadata_string(im, "center_activations"), *base = metadata_string(im, "base");
    import_hook(im, metadata_string(im, "hook_name"));
    import_model_name(im, metadata_string(im, "model_name"));
    im->context_size = context ? strtoul(context, NULL, 10) : 0;
    im->prepend_bos = !bos || strcmp(bos, "true") == 0;
    im->center = center && strcmp(center, "true") == 0;
    if (base) { /* names of SAEs hold no blank */
        im->is_meta = 1;
        im->keep = json_new_array();
        char *names = xstrdup(base), *rest = names;
        for (char *name; (name = strsep(&rest, " "));)
            json_append(im->keep, json_new_string(name));
        im->base_names = im->keep;
        free(names);
    }
}

static int read_plain_as(struct importing *im, const char *prefix, struct error *err)
{
    struct plain_names n = {.gate = NULL};
    int status = find_names(im, prefix, &n, err);
    if (!status && n.gate)
        n.weights.b_enc = n.gate;
    if (!status)
        status = import_lengths(im, n.weights.b_dec, n.weights.b_enc, n.weights.W_enc, err);
    if (!status)
        status = read_architecture(im, &n, err);
    if (!status)
        status = read_b_dec(im, &n, err);
    if (!status)
        status = import_weights(im, &n.weights, err);
    if (!status) {
        import_drop_zero_bias(im);
        read_owner(im);
    }
    return status;
}

static int read_plain(struct importing *im, struct error *err)
{
    sae_files_choose(&im->files, SAFETENSORS);
    sae_files_choose(&im->files, NPZ);
    int status = import_open_given(im, err);
    char *prefix = status ? NULL : find_prefix(im->file);
    if (!status && !prefix)
        status =
            import_refuse(im, tensor_file_path(im->file), err, "no tensor W_enc, w_enc or encoder.weight");
    if (!status)
        status = read_plain_as(im, prefix, err);
    free(prefix);
    return status;
}

static int looks_plain(struct sae_files *files)
{
    struct tensor_file *file = sae_files_tensors(files);
    char *prefix = file ? find_prefix(file) : NULL;
    int found = prefix != NULL;
    free(prefix);
    return found;
}

/* ---- Writing. ---- */

static const char *yes_no(int b)
{
    return b ? "true" : "false";
}

static void set_string(json *metadata, const char *key, const char *value)
{
    if (value)
        json_set(metadata, key, json_new_string(value));
}

static void set_size(json *metadata, const char *key, size_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", n);
    if (n)
        set_string(metadata, key, text);
}

static json *make_metadata(struct exporting *e, struct error *err)
{
    const struct sae *sae = e->sae;
    struct store_txn *t;
    struct artifact a;
    if (store_begin(e->store, &t, err))
        return NULL;
    json *metadata = json_new_object();
    artifact_id model = (artifact_id)json_get_integer(json_get(e->manifest, "references"), "model", 0);
    int known = model && store_get(t, model, &a, NULL) == STATUS_OK;
    set_string(metadata, "format", "saescope");
    set_string(metadata, "architecture", sae->architecture->name);
    set_size(metadata, "k", sae->k);
    set_string(metadata, "apply_b_dec_to_input", yes_no(sae->apply_b_dec_to_input));
    set_string(metadata, "normalize_activations", sae_normalization_name(sae->normalization));
    set_string(metadata, "hook_name", json_get_string(e->manifest, "hook", NULL));
    set_string(metadata, "model_name",
               known ? a.name : json_get_string(json_get(e->manifest, "source"), "model_name", NULL));
    set_size(metadata, "context_size", (size_t)json_get_integer(e->manifest, "context_size", 0));
    set_string(metadata, "prepend_bos", yes_no(json_get_boolean(e->manifest, "prepend_bos", 1)));
    set_string(metadata, "center_activations",
               yes_no(json_get_boolean(e->manifest, "center_activations", 0)));
    struct strbuf bases = STRBUF_INIT;
    for (size_t i = 0; meta_base_at(e->manifest, i); i++)
        if (store_get(t, meta_base_at(e->manifest, i), &a, NULL) == STATUS_OK)
            strbuf_addf(&bases, "%s%s", i ? " " : "", a.name);
    if (bases.length)
        set_string(metadata, "base", strbuf_string(&bases));
    strbuf_free(&bases);
    store_end(t);
    return metadata;
}

static int export_safetensors(struct store *s, artifact_id sae, const char *directory, enum dtype dtype,
                              struct monitor *m, struct error *err)
{
    struct exporting e;
    struct safetensors_source sources[EXPORT_TENSORS];
    char *path = path_join(directory, SAFETENSORS);
    json *metadata = NULL;
    int status = exporting_open(&e, s, sae, dtype, m, err);
    if (!status)
        status = make_directories(directory, 0777, err);
    if (!status && !(metadata = make_metadata(&e, err)))
        status = STATUS_STORE;
    if (!status)
        status = safetensors_write(path, sources, exporting_sources(&e, sources), dtype, metadata, err);
    exporting_close(&e);
    json_free(metadata);
    free(path);
    return status;
}

static int read_scalar(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    (void)first;
    (void)n;
    (void)err;
    *dst = *(const float *)arg;
    return STATUS_OK;
}

static int export_npz(struct store *s, artifact_id id, const char *directory, enum dtype dtype,
                      struct monitor *m, struct error *err)
{
    struct exporting e;
    struct safetensors_source sources[EXPORT_TENSORS + 2];
    char *path = path_join(directory, NPZ);
    float k, apply;
    size_t n = 0;
    int status = exporting_open(&e, s, id, dtype, m, err);
    const struct sae *sae = e.sae;
    if (!status && sae->normalization != NORMALIZE_NONE)
        status = error_set(
            err, STATUS_REFUSED,
            "an npz file has no place for normalize_activations %s: export as saelens or safetensors",
            sae_normalization_name(sae->normalization));
    if (!status)
        status = make_directories(directory, 0777, err);
    if (!status) {
        n = exporting_sources(&e, sources);
        k = (float)sae->k;
        apply = sae->apply_b_dec_to_input ? 1 : 0;
        if (sae->k)
            sources[n++] = (struct safetensors_source){"k", 0, {0}, read_scalar, &k};
        if (strcmp(sae->architecture->name, "jumprelu") != 0 || sae->apply_b_dec_to_input)
            sources[n++] = (struct safetensors_source){"apply_b_dec_to_input", 0, {0}, read_scalar, &apply};
        status = npz_write(path, sources, n, dtype, err);
    }
    exporting_close(&e);
    free(path);
    return status;
}

const struct sae_format safetensors_format = {
    .name = "safetensors",
    .summary = "one file of tensors, W_enc and so on; written as sae.safetensors",
    .detect = looks_plain,
    .read = read_plain,
    .export = export_safetensors,
};

const struct sae_format npz_format = {
    .name = "npz",
    .summary = "the same of NumPy, written as params.npz as Gemma Scope has it",
    .read = read_plain,
    .export = export_npz,
};

const struct sae_format torch_format = {
    .name = "pt",
    .summary = "the same of PyTorch",
    .read = read_plain,
};
