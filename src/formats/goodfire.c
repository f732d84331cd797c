/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Goodfire: a PyTorch checkpoint with encoder_linear.weight [d_sae, d_in], encoder_linear.bias,
 * decoder_linear.weight [d_in, d_sae], decoder_linear.bias; ReLU, b_dec not subtracted, resid_post. Model and
 * layer are in the file's name: Llama-3.1-8B-Instruct-SAE-l19.pth. TopK ones, whose k has to be given, have
 * decoder.weight, and may have no bias.
 */
#include "config.h"

#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

static int read_goodfire(struct importing *im, struct error *err)
{
    int status = import_open_given(im, err);
    if (status)
        return status;
    int same = !import_find(im, "decoder_linear.weight");
    const char *bias = same ? "decoder.bias" : "decoder_linear.bias";
    int has_bias = import_find(im, bias) != NULL;
    const struct import_names names = {"encoder_linear.weight",
                                       same ? "decoder.weight" : "decoder_linear.weight",
                                       "encoder_linear.bias",
                                       has_bias ? bias : NULL,
                                       1,
                                       1};
    status = has_bias ? import_lengths(im, bias, names.b_enc, names.W_enc, err)
                      : import_linear_lengths(im, names.W_enc, err);
    if (!status)
        status = import_architecture(im, im->options->k ? "topk" : "standard", err);
    if (!status && same && !im->options->k)
        status =
            import_refuse(im, NULL, err, "does not say how many latents a token keeps: give it with --k");
    if (!status && im->options->k)
        status = import_k(im, (long long)im->options->k, err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status)
        import_named_after_layer(im);
    import_quirk(im, has_bias ? "b_dec is not subtracted from the input" : "the decoder has no bias");
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
