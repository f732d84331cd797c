/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Goodfire: a PyTorch checkpoint with encoder_linear.weight [d_sae, d_in], encoder_linear.bias,
 * decoder_linear.weight [d_in, d_sae], decoder_linear.bias; ReLU, b_dec not subtracted, resid_post. Model and
 * layer are in the file's name: Llama-3.1-8B-Instruct-SAE-l19.pth.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

static void read_name(struct importing *im)
{
    char *place = sae_files_place(&im->files);
    const char *base = path_base(tensor_file_path(im->file)), *mark = strstr(base, "-SAE-l");
    if (mark) {
        char *model = xstrndup(base, (size_t)(mark - base));
        import_model_name(im, model);
        import_hook_at(im, "hook_resid_post", place_number(base, "-SAE-l"));
        free(model);
    }
    free(place);
}

static int read_goodfire(struct importing *im, struct error *err)
{
    int status = import_open_given(im, err);
    if (status)
        return status;
    int same = !import_find(im, "decoder_linear.weight");
    const struct import_names names = {"encoder_linear.weight",
                                       same ? "decoder.weight" : "decoder_linear.weight",
                                       "encoder_linear.bias",
                                       same ? "decoder.bias" : "decoder_linear.bias",
                                       1,
                                       1};
    status = import_lengths(im, names.b_dec, names.b_enc, names.W_enc, err);
    if (!status)
        status = import_architecture(im, im->options->k ? "topk" : "standard", err);
    if (!status && im->options->k)
        status = import_k(im, (long long)im->options->k, err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status)
        read_name(im);
    import_quirk(im, "b_dec is not subtracted from the input");
    return status;
}

static int looks_like_goodfire(struct sae_files *files)
{
    return sae_files_tensor(files, "encoder_linear.weight");
}

const struct sae_format goodfire_format = {
    .name = "goodfire",
    .summary = "PyTorch checkpoint with encoder_linear",
    .detect = looks_like_goodfire,
    .read = read_goodfire,
};
