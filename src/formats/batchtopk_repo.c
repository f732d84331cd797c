/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The BatchTopK repository (bartbussmann/BatchTopK) and the meta-SAEs trained with it: sae.pt + config.json
 * with W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_enc, b_dec. TopK and BatchTopK ignore b_enc (but for old
 * ones with use_encoder_bias); JumpReLU does not subtract b_dec; input_unit_norm is a layer norm. (sae.py) A
 * meta-SAE is one that is given its base.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define CONFIG  "config.json"
#define WEIGHTS "sae.pt"

static int read_jumprelu(struct importing *im, struct error *err)
{
    struct sae *sae = &im->sae;
    int status = import_architecture(im, "jumprelu", err);
    if (!status)
        status = import_vector(im, "jumprelu.log_threshold", sae->d_sae, 0, &sae->threshold, err);
    for (size_t i = 0; !status && i < sae->d_sae; i++)
        sae->threshold[i] = expf(sae->threshold[i]);
    sae->apply_b_dec_to_input = 0;
    import_quirk(im, "log_threshold became threshold; b_dec is not subtracted from the input");
    return status;
}

/* The repository keeps k latents a token on average over a batch; some forks keep a threshold for single
 * tokens. */
static int read_batchtopk(struct importing *im, struct error *err)
{
    double threshold = 0;
    int status;
    if (!import_find(im, "threshold")) {
        import_quirk(im,
                     "BatchTopK without a threshold: every token keeps its k largest latents, as TopK does");
        return import_architecture(im, "topk", err);
    }
    status = import_architecture(im, "batchtopk", err);
    if (!status)
        status = import_number(im, "threshold", &threshold, err);
    return status ? status : import_constant(im, threshold, &im->sae.threshold, err);
}

static int read_type(struct importing *im, const json *config, struct error *err)
{
    const char *type = json_get_string(config, "sae_type", "topk");
    const char *activation = json_get_string(config, "activation", "relu");
    int batch = strcmp(type, "batchtopk") == 0;
    if (strcmp(activation, "relu") != 0)
        return import_refuse(im, CONFIG, err, "activation %s is not supported (relu is)", activation);
    if (strcmp(type, "jumprelu") == 0)
        return read_jumprelu(im, err);
    if (strcmp(type, "vanilla") == 0)
        return import_architecture(im, "standard", err);
    if (!batch && strcmp(type, "topk") != 0)
        return import_refuse(im, CONFIG, err,
                             "sae_type %s is not supported (vanilla, topk, batchtopk and jumprelu are)",
                             type);
    int status = batch ? read_batchtopk(im, err) : import_architecture(im, "topk", err);
    if (!status)
        status = import_k(im, json_get_integer(config, "top_k", 0), err);
    if (!status && !json_get_boolean(config, "use_encoder_bias", 0)) {
        free(im->sae.b_enc);
        im->sae.b_enc = NULL;
        import_quirk(im, "b_enc is in the file but not used");
    }
    return status;
}

static void read_model(struct importing *im, const json *config)
{
    long long context = json_get_integer(config, "seq_len", 0);
    im->is_meta = im->options->base != 0;
    im->context_size = context > 0 && context < INT32_MAX ? (size_t)context : 0;
    import_hook(im, json_get_string(config, "hook_point", NULL));
    import_model_name(im, json_get_string(config, "model_name", NULL));
    import_source(im, "dataset_path", json_get_string(config, "dataset_path", NULL));
}

static int read_batchtopk_repo(struct importing *im, struct error *err)
{
    json *config;
    size_t d_in = 0, d_sae = 0;
    int status = import_config(im, CONFIG, &config, err);
    if (!status)
        status = json_need_size(config, "act_size", CONFIG, INT32_MAX, &d_in, err);
    if (!status)
        status = json_need_size(config, "dict_size", CONFIG, INT32_MAX, &d_sae, err);
    if (!status)
        status = import_sizes(im, d_in, d_sae, CONFIG, err);
    if (!status)
        status = import_open(im, WEIGHTS, err);
    if (status)
        return status;
    int tied = json_get_boolean(config, "tied_weights", 0);
    struct import_names names = {"W_enc", tied ? "W_enc" : "W_dec", "b_enc", "b_dec", 0, tied};
    im->sae.apply_b_dec_to_input = 1;
    status = import_weights(im, &names, err);
    if (!status)
        status = read_type(im, config, err);
    if (!status && json_get_boolean(config, "input_unit_norm", 0)) {
        im->sae.normalization = NORMALIZE_LAYER_NORM;
        import_quirk(im, "input_unit_norm: each token's input is normalised (mean and std)");
    }
    if (!status)
        import_drop_zero_bias(im);
    read_model(im, config);
    return status;
}

static int looks_like_batchtopk_repo(struct sae_files *files)
{
    return sae_files_have(files, WEIGHTS, CONFIG);
}

const struct sae_format batchtopk_repo_format = {
    .name = "batchtopk",
    .summary = "folder with sae.pt and config.json, of the BatchTopK repository",
    .detect = looks_like_batchtopk_repo,
    .read = read_batchtopk_repo,
};
