/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Qwen Scope: repositories SAE-Res-MODEL-W32K-L0_50 with layer0.sae.pt, layer1.sae.pt, ... of W_enc [d_sae,
 * d_in], W_dec [d_in, d_sae], b_enc, b_dec, and one config.json {model_type "topk_sae", d_model, d_sae, k,
 * hook_point "resid_post"}; b_dec not subtracted, the k largest kept. Without the configuration k is in the
 * repository's name. (The model cards; SAELens' qwen_scope_sae_huggingface_loader.)
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define CONFIG  "config.json"
#define WEIGHTS "layer0.sae.pt"

/* The layer of "layer12.sae.pt", or -1. */
static long long layer_of(const char *name)
{
    long long layer = place_number(name, "layer");
    char *wanted = xasprintf("layer%lld.sae.pt", layer);
    int same = strcmp(name, wanted) == 0;
    free(wanted);
    return same ? layer : -1;
}

/* "Qwen3-1.7B-Base" of ".../SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/...". */
static void read_model(struct importing *im, const char *place)
{
    static const char before[] = "SAE-Res-";
    const char *name = strstr(place, before);
    if (!name)
        return;
    name += strlen(before);
    size_t n = strcspn(name, "/");
    for (const char *p = name; p < name + n; p++)
        if (strncmp(p, "-W", 2) == 0 && strspn(p + 2, "0123456789") > 0) {
            char *model = xstrndup(name, (size_t)(p - name));
            import_model_name(im, model);
            free(model);
            return;
        }
}

static void read_hook(struct importing *im, const json *config)
{
    static const char *const points[][2] = {{"resid_pre", "hook_resid_pre"},
                                            {"resid_mid", "hook_resid_mid"},
                                            {"resid_post", "hook_resid_post"},
                                            {"attn_out", "hook_attn_out"},
                                            {"mlp_out", "hook_mlp_out"}};
    const char *said = json_get_string(config, "hook_point", "resid_post");
    for (size_t i = 0; i < ARRAY_LENGTH(points); i++)
        if (strcmp(said, points[i][0]) == 0)
            import_hook_at(im, points[i][1], layer_of(path_base(tensor_file_path(im->file))));
}

/* Sizes as the configuration says, if there is one. */
static int read_config(struct importing *im, json **config, struct error *err)
{
    size_t d_in = 0, d_sae = 0;
    char *path = sae_files_path(&im->files, CONFIG);
    int there = path_exists(path);
    free(path);
    *config = NULL;
    if (!there)
        return import_lengths(im, "b_dec", "b_enc", "W_enc", err);
    int status = import_config(im, CONFIG, config, err);
    if (status)
        return status;
    const char *type = json_get_string(*config, "model_type", "topk_sae");
    if (strcmp(type, "topk_sae") != 0)
        return import_refuse(im, CONFIG, err, "model_type %s is not supported (topk_sae is)", type);
    status = json_need_size(*config, "d_model", CONFIG, INT32_MAX, &d_in, err);
    if (!status)
        status = json_need_size(*config, "d_sae", CONFIG, INT32_MAX, &d_sae, err);
    return status ? status : import_sizes(im, d_in, d_sae, CONFIG, err);
}

static int read_k(struct importing *im, const json *config, const char *place, struct error *err)
{
    long long k = im->options->k ? (long long)im->options->k : json_get_integer(config, "k", -1);
    if (k < 0)
        k = place_number(place, "-L0_");
    if (k < 0)
        return import_refuse(im, NULL, err, "does not say how many latents a token keeps: give it with --k");
    return import_k(im, k, err);
}

static int read_qwen_scope(struct importing *im, struct error *err)
{
    static const struct import_names names = {"W_enc", "W_dec", "b_enc", "b_dec", 1, 1};
    json *config;
    int status = import_open_given(im, err);
    if (!status)
        status = read_config(im, &config, err);
    if (!status)
        status = import_architecture(im, "topk", err);
    if (status)
        return status;
    char *place = sae_files_place(&im->files);
    status = read_k(im, config, place, err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status) {
        read_model(im, place);
        read_hook(im, config);
        im->context_size = 1024;
    }
    import_quirk(im, "b_dec is not subtracted from the input; relu after the k largest, as SAELens reads it");
    free(place);
    return status;
}

/* A file of one layer; of a folder with several, one has to be named. */
static int looks_like_qwen_scope(struct sae_files *files)
{
    if (files->is_directory && sae_files_have(files, WEIGHTS, NULL))
        return 1;
    struct tensor_file *file = sae_files_tensors(files);
    return file && layer_of(path_base(tensor_file_path(file))) >= 0 && sae_files_tensor(files, "W_enc");
}

const struct sae_format qwen_scope_format = {
    .name = "qwen-scope",
    .summary = "PyTorch checkpoint layerN.sae.pt, with or without config.json",
    .detect = looks_like_qwen_scope,
    .read = read_qwen_scope,
};
