/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * OpenAI's sparse_autoencoder (Gao et al. 2024): LOCATION[_v5_32k]/autoencoders/LAYER.pt, a state dict with
 * pre_bias [d_in], encoder.weight [d_sae, d_in], latent_bias [d_sae], decoder.weight [d_in, d_sae] and beside
 * them the activation's name and state. TopK ones read inputs of unit variance (LN: mean, unbiased std +
 * 1e-5) and give them back; others do not. (sparse_autoencoder/model.py)
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

static int read_activation(struct importing *im, struct error *err)
{
    const json *values = tensor_file_values(im->file), *state = json_get(values, "activation_state_dict");
    const char *activation = json_get_string(values, "activation", "ReLU");
    const char *after = json_get_string(state, "postact_fn", "ReLU");
    if (strcmp(activation, "ReLU") == 0)
        return import_architecture(im, "standard", err);
    if (strcmp(activation, "TopK") != 0 || strcmp(after, "ReLU") != 0)
        return import_refuse(im, NULL, err,
                             "activation %s with %s is not supported (ReLU and TopK with ReLU are)",
                             activation, after);
    int status = import_architecture(im, "topk", err);
    if (!status)
        status = import_k(im, json_get_integer(state, "k", 0), err);
    im->sae.normalization = NORMALIZE_LAYER_NORM;
    import_quirk(im, "TopK: each token's input is normalised (mean and std), its reconstruction turned back");
    return status;
}

static void read_place(struct importing *im)
{
    static const char *const places[][2] = {{"/mlp_post_act", "mlp.hook_post"},
                                            {"/resid_delta_attn", "hook_attn_out"},
                                            {"/resid_post_attn", "hook_resid_mid"},
                                            {"/resid_delta_mlp", "hook_mlp_out"},
                                            {"/resid_post_mlp", "hook_resid_post"}};
    char *place = sae_files_place(&im->files);
    if (im->files.is_directory) { /* with that one file in it */
        char *file = path_join(place, path_base(tensor_file_path(im->file)));
        free(place);
        place = file;
    }
    long long layer = place_number(place, "/autoencoders/");
    for (size_t i = 0; i < ARRAY_LENGTH(places) && layer >= 0; i++)
        if (strstr(place, places[i][0])) {
            import_hook_at(im, places[i][1], layer);
            import_model_name(im, "gpt2-small");
        }
    free(place);
    im->context_size = 64;
}

static int read_openai(struct importing *im, struct error *err)
{
    int status = import_open_given(im, err);
    if (!status)
        status = import_lengths(im, "pre_bias", "latent_bias", "encoder.weight", err);
    if (!status)
        status = read_activation(im, err);
    if (status)
        return status;
    /* A tied decoder is the encoder's own matrix, by latent. */
    int tied = !import_find(im, "decoder.weight");
    const struct import_names names = {
        "encoder.weight", tied ? "encoder.weight" : "decoder.weight", "latent_bias", "pre_bias", 1, !tied};
    if (tied)
        import_quirk(im, "the decoder is the encoder's transpose");
    im->sae.apply_b_dec_to_input = 1;
    status = import_weights(im, &names, err);
    read_place(im);
    return status;
}

static int looks_like_openai(struct sae_files *files)
{
    return sae_files_tensor(files, "pre_bias") && sae_files_tensor(files, "latent_bias");
}

const struct sae_format openai_format = {
    .name = "openai",
    .summary = "PyTorch checkpoint with pre_bias and latent_bias",
    .detect = looks_like_openai,
    .read = read_openai,
};
