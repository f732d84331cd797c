/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SAELens folders: what is in the weights' file, and what has to be folded before it is what SAELens computes
 * with. Transposed weights, old files' scales, and training runs' own files, which SAELens turns into
 * inference files when it saves.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"
#include "saescope/formats/saelens.h"

#define SPARSITY "sparsity.safetensors"

/* ---- Biases and thresholds. ---- */

static int read_gated(struct importing *im, struct error *err)
{
    struct sae *sae = &im->sae;
    int status = import_vector(im, "b_gate", sae->d_sae, 0, &sae->b_enc, err);
    if (!status)
        status = import_vector(im, "b_mag", sae->d_sae, 0, &sae->b_mag, err);
    return status ? status : import_vector(im, "r_mag", sae->d_sae, 0, &sae->r_mag, err);
}

/* Older training runs kept the logarithm. */
static int read_thresholds(struct importing *im, struct error *err)
{
    struct sae *sae = &im->sae;
    if (import_find(im, "threshold") || !import_find(im, "log_threshold"))
        return import_vector(im, "threshold", sae->d_sae, 0, &sae->threshold, err);
    int status = import_vector(im, "log_threshold", sae->d_sae, 0, &sae->threshold, err);
    for (size_t i = 0; !status && i < sae->d_sae; i++)
        sae->threshold[i] = expf(sae->threshold[i]);
    if (!status)
        import_quirk(im, "log_threshold became threshold");
    return status;
}

static int read_vectors(struct importing *im, const struct saelens_config *c, struct error *err)
{
    struct sae *sae = &im->sae;
    int status = import_vector(im, "b_dec", sae->d_in, 0, &sae->b_dec, err);
    if (status)
        return status;
    if (c->architecture->has_magnitudes)
        return read_gated(im, err);
    status = import_vector(im, "b_enc", sae->d_sae, 0, &sae->b_enc, err);
    if (status || !c->architecture->has_threshold)
        return status;
    if (!c->from_training || !import_find(im, "topk_threshold"))
        return read_thresholds(im, err);
    double threshold = 0;
    status = import_number(im, "topk_threshold", &threshold, err);
    if (!status)
        status = import_constant(im, threshold, &sae->threshold, err);
    if (!status)
        import_quirk(im, "a training run's file: topk_threshold is every latent's threshold");
    return status;
}

/* ---- What has to be folded into the weights. ---- */

/* A training checkpoint's weights still expect inputs that were scaled to a mean norm of √d_in; its scale
 * lies beside them. Finished SAEs had it folded. */
static int fold_training_scale(struct importing *im, const struct saelens_config *c, struct error *err)
{
    if (!c->average_normalized)
        return STATUS_OK;
    char *path = sae_files_path(&im->files, "activation_scaler.json");
    int status = STATUS_OK;
    json *scaler = NULL;
    if (path_exists(path) && !(scaler = json_parse_file(path, err)))
        status = STATUS_REFUSED;
    const struct release_facts *facts = im->options->facts;
    int released = facts && facts->scale > 0;
    double s = released ? facts->scale : json_get_number(scaler, "scaling_factor", 1);
    if (!status && (!(s > 0) || !isfinite((float)s)))
        status = import_refuse(im, path, err, "scaling_factor must be positive");
    if (!status && s != 1 && !(status = import_fold_input_scale(im, s, err))) {
        /* Rescaled thresholds are in units of p·‖W_dec_i‖, which was divided. */
        for (size_t i = 0; c->from_training && c->rescale_by_decoder_norm && i < c->d_sae; i++)
            im->sae.threshold[i] = (float)(im->sae.threshold[i] / s);
        import_quirk(im, "%s %.9g was folded into the weights",
                     released ? "the release's norm_scaling_factor" : "the checkpoint's activation scale", s);
    } else if (!status) {
        import_quirk(im, "the activation scale (expected_average_only_in) is in the weights already");
    }
    json_free(scaler);
    free(path);
    return status;
}

/* Old files scale activations when decoding: (f·s) W_dec + b_dec. */
static int fold_finetuning_scale(struct importing *im, const char *name, struct error *err)
{
    float *s = NULL;
    int status = import_vector(im, name, im->sae.d_sae, 1, &s, err);
    int is_one = 1;
    for (size_t i = 0; s && i < im->sae.d_sae; i++)
        is_one &= s[i] == 1.0F;
    if (!status && s && !is_one && !(status = import_scale_decoder_rows(im, s, err)))
        import_quirk(im, "%s was folded into W_dec", name);
    free(s);
    return status;
}

/* p_i·‖W_dec_i‖ is compared and kept, and divided again when decoding: an SAE with unit decoder rows. */
static int fold_rescaling(struct importing *im, struct error *err)
{
    int status = import_fold_decoder_norms(im, 0, 0, NULL, err);
    if (!status)
        import_quirk(im, "decoder norms were folded into the encoder (rescale_acts_by_decoder_norm)");
    return status;
}

static int fold(struct importing *im, const struct saelens_config *c, struct error *err)
{
    int status = fold_training_scale(im, c, err);
    if (!status && c->rescale_by_decoder_norm)
        status = fold_rescaling(im, err);
    if (!status)
        status = fold_finetuning_scale(im, "scaling_factor", err);
    return status ? status : fold_finetuning_scale(im, "finetuning_scaling_factor", err);
}

/* ---- What it belongs to. ---- */

/* Our own exports say which architecture their thresholds came from. */
static void restore_architecture(struct importing *im, const struct saelens_config *c)
{
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

/* log10(density + 1e-10) of the training's last tokens. */
static int read_sparsity(struct importing *im, struct error *err)
{
    struct tensor_file *weights = im->file;
    char *path = sae_files_path(&im->files, SPARSITY);
    int there = path_exists(path), status = STATUS_OK;
    float *sparsity = NULL;
    free(path);
    if (!there)
        return STATUS_OK;
    im->file = NULL;
    status = import_open(im, SPARSITY, err);
    if (!status)
        status = import_vector(im, "sparsity", im->sae.d_sae, 0, &sparsity, err);
    tensor_file_close(im->file);
    im->file = weights;
    if (status)
        return status;
    double sum = 0;
    size_t silent = 0;
    for (size_t i = 0; i < im->sae.d_sae; i++) {
        sum += pow(10, (double)sparsity[i]);
        silent += sparsity[i] < -9.9F;
    }
    json *summary = json_new_object();
    json_set(summary, "mean_density", json_new_real(sum / (double)im->sae.d_sae));
    json_set(summary, "l0", json_new_real(sum));
    json_set(summary, "silent_latents", json_new_integer((long long)silent));
    import_source_json(im, "sparsity", summary);
    free(sparsity);
    return STATUS_OK;
}

static void describe(struct importing *im, const struct saelens_config *c)
{
    static const char *const kept[] = {"dataset_path", "neuronpedia_id"};
    json *training = json_get(c->extras, "training");
    import_hook(im, c->hook);
    import_model_name(im, c->model);
    im->context_size = c->context_size;
    im->prepend_bos = c->prepend_bos;
    im->center = c->center;
    im->is_meta = c->is_meta;
    im->base_names = c->bases;
    import_source(im, "version", c->version);
    import_source(im, "hook_name", c->hook);
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++) {
        json *v = json_get(c->metadata, kept[i]);
        import_source_json(im, kept[i], v ? json_retain(v) : NULL);
    }
    if (!c->extras) /* what our own exports say is all read */
        import_source_json(im, "config", json_retain(c->root));
    if (json_is_object(training)) {
        json_set(im->manifest, "training", json_retain(training));
        if (c->is_meta && json_get_boolean(training, "permute_columns", 0))
            json_set(im->manifest, "baseline", json_new_boolean(1));
    }
}

/* SAELens' config_overrides of a release. */
static int override_normalization(struct importing *im, struct saelens_config *c, struct error *err)
{
    const struct release_facts *facts = im->options->facts;
    if (!facts || !facts->normalize)
        return STATUS_OK;
    c->average_normalized = 0;
    import_quirk(
        im,
        "normalize_activations is %s, whatever the configuration says: as SAELens has it for this release",
        facts->normalize);
    return sae_normalization_find(facts->normalize, &c->normalization, err);
}

static int read_sae(struct importing *im, const struct saelens_config *c, struct error *err)
{
    struct sae *sae = &im->sae;
    sae->architecture = c->architecture;
    sae->k = c->k;
    sae->apply_b_dec_to_input = c->apply_b_dec_to_input;
    sae->normalization = c->normalization;
    int status = import_sizes(im, c->d_in, c->d_sae, SAELENS_CONFIG, err);
    if (!status)
        status = import_open(im, SAELENS_WEIGHTS, err);
    if (!status)
        status = read_vectors(im, c, err);
    if (!status)
        status = import_matrix(im, &im->W_enc, "W_enc", 0, err);
    if (!status)
        status = import_matrix(im, &im->W_dec, "W_dec", 1, err);
    if (!status)
        status = fold(im, c, err);
    if (!status)
        status = read_sparsity(im, err);
    if (!status) {
        restore_architecture(im, c);
        import_drop_zero_bias(im);
    }
    return status;
}

int saelens_read(struct importing *im, struct error *err)
{
    struct saelens_config config;
    char *path = sae_files_path(&im->files, SAELENS_CONFIG);
    int status = saelens_config_read(&config, path, err);
    free(path);
    if (status)
        return status;
    im->keep = json_new_array();
    json_append(im->keep, json_retain(config.root));
    if (config.bases)
        json_append(im->keep, json_retain(config.bases));
    describe(im, &config);
    status = override_normalization(im, &config, err);
    if (!status)
        status = read_sae(im, &config, err);
    saelens_config_free(&config);
    return status;
}

static int looks_like_saelens(struct sae_files *files)
{
    return sae_files_have(files, SAELENS_CONFIG, SAELENS_WEIGHTS);
}

const struct sae_format saelens_format = {
    .name = "saelens",
    .summary = "folder with cfg.json and sae_weights.safetensors",
    .detect = looks_like_saelens,
    .read = saelens_read,
    .export = saelens_export,
};
