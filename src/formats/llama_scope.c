/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Llama Scope (He et al. 2024): hyperparams.json + checkpoints/final.safetensors with encoder.weight [d_sae,
 * d_in], encoder.bias, decoder.weight [d_in, d_sae], decoder.bias; one threshold for all latents. Inputs are
 * scaled by s = √d / dataset_average_activation_norm; the threshold is in the model's own units, so that it
 * is s times as much beside scaled inputs; with sparsity_include_decoder_norm latents are compared with it
 * times their decoder row's norm. The R1-distilled SAEs have config.json + sae_weights.safetensors and a
 * threshold for each latent.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define CONFIG        "hyperparams.json"
#define WEIGHTS       "checkpoints/final.safetensors"
#define OTHER_CONFIG  "config.json"
#define OTHER_WEIGHTS "sae_weights.safetensors"

static const struct import_names names = {
    "encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias", 1, 1};

static int read_places(struct importing *im, const json *config, const char *where, struct error *err)
{
    const char *in = json_get_string(config, "hook_point_in", NULL);
    const char *out = json_get_string(config, "hook_point_out", in);
    if (in && strcmp(in, out) != 0)
        return import_refuse(im, where, err,
                             "a transcoder, which reads %s and writes %s: only SAEs, which rebuild what they "
                             "read, can be imported",
                             in, out);
    if (json_get_boolean(config, "use_glu_encoder", 0))
        return import_refuse(im, where, err, "encoders with a gated linear unit are not supported");
    import_hook(im, in);
    import_model_name(im, json_get_string(config, "model_name", "Llama-3.1-8B"));
    im->context_size = 1024;
    im->sae.apply_b_dec_to_input = json_get_boolean(config, "apply_decoder_bias_to_pre_encoder", 0);
    return STATUS_OK;
}

/* Activation, threshold and k of hyperparams.json. */
static int read_activation(struct importing *im, const json *config, double s, struct error *err)
{
    const char *activation = json_get_string(config, "act_fn", "jumprelu");
    if (strcmp(activation, "topk") == 0) {
        int status = import_architecture(im, "topk", err);
        return status ? status : import_k(im, json_get_integer(config, "top_k", 0), err);
    }
    if (strcmp(activation, "relu") == 0)
        return import_architecture(im, "standard", err);
    if (strcmp(activation, "jumprelu") != 0)
        return import_refuse(im, CONFIG, err, "activation %s is not supported (jumprelu, topk and relu are)",
                             activation);
    const json *threshold = json_get(config, "jump_relu_threshold");
    if (!json_is_number(threshold))
        return import_refuse(im, CONFIG, err, "no number jump_relu_threshold");
    int status = import_architecture(im, "jumprelu", err);
    if (!status)
        status = import_constant(im, json_number(threshold, 0) * s, &im->sae.threshold, err);
    if (!status)
        import_quirk(im, "jump_relu_threshold times %.9g is every latent's threshold", s);
    return status;
}

static double input_scale(const struct importing *im, const json *config)
{
    double norm = json_get_number(json_get(config, "dataset_average_activation_norm"), "in", NAN);
    if (strcmp(json_get_string(config, "norm_activation", "dataset-wise"), "dataset-wise") != 0)
        return 1;
    return sqrt((double)im->sae.d_in) / norm;
}

/* The weights may be named themselves, or be another of the run's checkpoints. */
static int open_checkpoint(struct importing *im, struct error *err)
{
    if (sae_files_have(&im->files, CONFIG, WEIGHTS))
        return import_open(im, WEIGHTS, err);
    sae_files_choose(&im->files, path_base(WEIGHTS));
    return import_open_given(im, err);
}

static int read_first(struct importing *im, struct error *err)
{
    json *config;
    size_t d_in = 0, d_sae = 0;
    char *name = sae_files_config(&im->files, CONFIG);
    int status = import_config(im, name ? name : CONFIG, &config, err);
    free(name);
    if (!status)
        status = json_need_size(config, "d_model", CONFIG, INT32_MAX, &d_in, err);
    if (!status)
        status = json_need_size(config, "d_sae", CONFIG, INT32_MAX, &d_sae, err);
    if (!status)
        status = import_sizes(im, d_in, d_sae, CONFIG, err);
    if (!status)
        status = read_places(im, config, CONFIG, err);
    if (!status)
        status = open_checkpoint(im, err);
    if (!status)
        status = import_weights(im, &names, err);
    double s = status ? 1 : input_scale(im, config);
    if (!status && !(s > 0 && isfinite((float)s)))
        status = import_refuse(im, CONFIG, err, "no positive dataset_average_activation_norm.in");
    if (!status)
        status = read_activation(im, config, s, err);
    if (!status && json_get_boolean(config, "sparsity_include_decoder_norm", 0)) {
        status = import_fold_decoder_norms(im, 0, 0, NULL, err);
        import_quirk(im, "decoder norms were folded into the encoder (sparsity_include_decoder_norm)");
    }
    if (!status && s != 1 && !(status = import_fold_input_scale(im, s, err)))
        import_quirk(
            im, "the activation scale %.9g (dataset_average_activation_norm) was folded into the weights", s);
    return status;
}

/*
 * Their thresholds are in units of scaled inputs. The scale is not in their files: SAELens has it in its list
 * of releases, as norm_scaling_factor.
 */
static int fold_distilled_scale(struct importing *im, const json *config, struct error *err)
{
    const struct release_facts *facts = im->options->facts;
    double norm = json_get_number(json_get(config, "dataset_average_activation_norm"), "in", NAN);
    double s = facts && facts->scale > 0 ? facts->scale : sqrt((double)im->sae.d_in) / norm;
    if (!(s > 0 && isfinite((float)s))) {
        import_quirk(im, "the files name no activation scale: taken for 1");
        return STATUS_OK;
    }
    int status = import_fold_input_scale(im, s, err);
    if (!status)
        import_quirk(im, "the activation scale %.9g was folded into the weights", s);
    return status;
}

static int read_distilled(struct importing *im, struct error *err)
{
    json *config;
    int status = import_config(im, OTHER_CONFIG, &config, err);
    if (!status)
        status = read_places(im, config, OTHER_CONFIG, err);
    if (!status)
        status = import_open(im, OTHER_WEIGHTS, err);
    if (!status)
        status = import_lengths(im, names.b_dec, names.b_enc, names.W_enc, err);
    if (!status)
        status = import_architecture(im, "jumprelu", err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status)
        status = import_vector(im, "log_jumprelu_threshold", im->sae.d_sae, 0, &im->sae.threshold, err);
    for (size_t i = 0; !status && i < im->sae.d_sae; i++)
        im->sae.threshold[i] = expf(im->sae.threshold[i]);
    if (!status)
        import_quirk(im, "log_jumprelu_threshold became threshold");
    return status ? status : fold_distilled_scale(im, config, err);
}

static int read_llama_scope(struct importing *im, struct error *err)
{
    int status = sae_files_have(&im->files, OTHER_CONFIG, OTHER_WEIGHTS) ? read_distilled(im, err)
                                                                         : read_first(im, err);
    if (!status && !im->sae.apply_b_dec_to_input)
        import_quirk(im, "b_dec is not subtracted from the input");
    return status;
}

static int is_checkpoint(struct sae_files *files)
{
    char *config = sae_files_config(files, CONFIG);
    sae_files_choose(files, path_base(WEIGHTS));
    int found = config && strcmp(config, CONFIG) != 0 && sae_files_tensor(files, names.W_enc);
    free(config);
    return found;
}

static int looks_like_llama_scope(struct sae_files *files)
{
    return sae_files_have(files, CONFIG, WEIGHTS) || sae_files_have(files, OTHER_CONFIG, OTHER_WEIGHTS) ||
           is_checkpoint(files);
}

const struct sae_format llama_scope_format = {
    .name = "llama-scope",
    .summary = "folder with hyperparams.json and checkpoints/final.safetensors",
    .detect = looks_like_llama_scope,
    .read = read_llama_scope,
};
