/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sparsify (EleutherAI), in its first years "sae": HOOKPOINT/cfg.json + sae.safetensors with encoder.weight
 * [d_sae, d_in], encoder.bias, W_dec [d_sae, d_in], b_dec; b_dec subtracted, relu, then the k largest. The
 * folder's name is the place; config.json in the folder above names the model. (SparseCoder.encode in
 * sparsify/sparse_coder.py.)
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define CONFIG  "cfg.json"
#define WEIGHTS "sae.safetensors"

static int read_config(struct importing *im, struct error *err)
{
    json *config;
    size_t d_in = 0, d_sae = 0;
    int status = import_config(im, CONFIG, &config, err);
    if (!status)
        status = json_need_size(config, "d_in", CONFIG, INT32_MAX, &d_in, err);
    if (status)
        return status;
    const char *activation = json_get_string(config, "activation", "topk");
    if (json_get_boolean(config, "transcode", 0) || json_get_boolean(config, "skip_connection", 0))
        return import_refuse(
            im, CONFIG, err,
            "a transcoder, which predicts a module's output from its input: only SAEs, which "
            "rebuild what they read, can be imported");
    if (strcmp(activation, "topk") != 0)
        return import_refuse(im, CONFIG, err, "activation %s is not supported (topk is)", activation);
    if (json_get_boolean(config, "signed", 0))
        return import_refuse(im, CONFIG, err,
                             "signed latents (the k largest of either sign) are not supported");
    d_sae = (size_t)json_get_integer(config, "num_latents", 0);
    if (d_sae == 0 && size_multiply(d_in, (size_t)json_get_integer(config, "expansion_factor", 32), &d_sae))
        d_sae = 0;
    status = import_sizes(im, d_in, d_sae, CONFIG, err);
    if (!status)
        status = import_architecture(im, "topk", err);
    return status ? status : import_k(im, json_get_integer(config, "k", 32), err);
}

/* The run's configuration lies in the folder above, if anywhere. */
static void read_run(struct importing *im, const char *place)
{
    char *parent = xstrdup(place), *slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    char *path = path_join(parent, "config.json");
    json *config = path_exists(path) ? json_parse_file(path, NULL) : NULL;
    const char *model = json_get_string(config, "model", NULL);
    long long context = json_get_integer(config, "ctx_len", 0);
    import_model_name(im, model ? path_base(model) : NULL);
    import_source(im, "dataset_path", json_get_string(config, "dataset", NULL));
    im->context_size = context > 0 && context < INT32_MAX ? (size_t)context : 0;
    json_free(config);
    free(path);
    free(parent);
}

static int read_sparsify(struct importing *im, struct error *err)
{
    int status = read_config(im, err);
    if (!status)
        status = import_open(im, WEIGHTS, err);
    if (status)
        return status;
    if (import_find(im, "W_skip"))
        return import_refuse_tensor(im, "W_skip", err, "belongs to a transcoder: only SAEs can be imported");
    int linear = !import_find(im, "W_dec") && import_find(im, "decoder.weight");
    const struct import_names names = {
        "encoder.weight", linear ? "decoder.weight" : "W_dec", "encoder.bias", "b_dec", 1, linear};
    im->sae.apply_b_dec_to_input = 1;
    status = import_weights(im, &names, err);
    char *place = sae_files_place(&im->files), *slash = im->files.is_directory ? NULL : strrchr(place, '/');
    if (slash) /* one of the two files was named */
        *slash = '\0';
    import_source(im, "hook_name", path_base(place));
    import_module(im, path_base(place), 0);
    read_run(im, place);
    free(place);
    import_quirk(im, "relu before the k largest; a context starts with the end-of-text token");
    return status;
}

static int looks_like_sparsify(struct sae_files *files)
{
    return sae_files_have(files, CONFIG, WEIGHTS);
}

const struct sae_format sparsify_format = {
    .name = "sparsify",
    .summary = "folder with cfg.json and sae.safetensors",
    .detect = looks_like_sparsify,
    .read = read_sparsify,
};
