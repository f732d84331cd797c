/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * qresearch's SAE of DeepSeek-R1-Distill-Llama-8B: a PyTorch checkpoint MODEL-SAE-lLAYER.pt with
 * encoder.weight [d_sae, d_in], encoder.bias, decoder.weight [d_in, d_sae], decoder.bias; ReLU, b_dec not
 * subtracted, resid_post. (SAELens' deepseek_r1_sae_huggingface_loader.)
 */
#include "config.h"

#include "saescope/base/fileio.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

static const struct import_names names = {
    "encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias", 1, 1};

static int read_qresearch(struct importing *im, struct error *err)
{
    int status = import_open_given(im, err);
    if (!status)
        status = import_lengths(im, names.b_dec, names.b_enc, names.W_enc, err);
    if (!status)
        status = import_architecture(im, "standard", err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status) {
        import_named_after_layer(im);
        im->context_size = 1024;
    }
    import_quirk(im, "b_dec is not subtracted from the input");
    return status;
}

static int looks_like_qresearch(struct sae_files *files)
{
    return sae_files_tensor(files, names.W_enc) && sae_files_tensor(files, names.b_dec) &&
           place_number(path_base(tensor_file_path(sae_files_tensors(files))), NAMED_AFTER_LAYER) >= 0;
}

const struct sae_format qresearch_format = {
    .name = "qresearch",
    .summary = "PyTorch checkpoint MODEL-SAE-lN.pt with encoder and decoder",
    .detect = looks_like_qresearch,
    .read = read_qresearch,
};
