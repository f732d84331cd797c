/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dictionary_learning (Marks, Karvonen, Mueller): ae.pt, mostly with config.json beside it. The class is in
 * the configuration, else told by the tensors' names. Linear weights are encoder.weight [d_sae, d_in] and
 * decoder.weight [d_in, d_sae]; the newer classes have W_enc [d_in, d_sae] and W_dec [d_sae, d_in]. The
 * training's normalisation is in the biases already. (dictionary.py, trainers/)
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define CONFIG  "config.json"
#define WEIGHTS "ae.pt"

/* ---- Classes. ---- */

static int read_relu(struct importing *im, struct error *err)
{
    int status = import_architecture(im, "standard", err);
    double largest = 0;
    /* AutoEncoder.from_pretrained normalises the decoder, unless torch.allclose says that it is. */
    if (!status && im->sae.apply_b_dec_to_input)
        status = import_fold_decoder_norms(im, 0, 1e-5, &largest, err);
    if (!status && largest > 1e-5)
        import_quirk(im, "decoder norms were folded into the encoder, as AutoEncoder.from_pretrained does");
    if (!status && !im->sae.apply_b_dec_to_input)
        import_quirk(im, "decoder.bias is not subtracted from the input");
    return status;
}

static int read_gated(struct importing *im, struct error *err)
{
    struct sae *sae = &im->sae;
    int status = import_architecture(im, "gated", err);
    if (!status)
        status = import_vector(im, "r_mag", sae->d_sae, 0, &sae->r_mag, err);
    return status ? status : import_vector(im, "mag_bias", sae->d_sae, 0, &sae->b_mag, err);
}

static int read_k(struct importing *im, struct error *err)
{
    double k = (double)im->options->k;
    int status = import_find(im, "k") && k == 0 ? import_number(im, "k", &k, err) : STATUS_OK;
    if (!status && !(k >= 1 && k < 1e9))
        status =
            import_refuse(im, NULL, err, "does not say how many latents a token keeps: give it with --k");
    return status ? status : import_k(im, (long long)k, err);
}

static int read_topk(struct importing *im, struct error *err)
{
    int status = import_architecture(im, "topk", err);
    return status ? status : read_k(im, err);
}

static int read_batchtopk(struct importing *im, struct error *err)
{
    double threshold = -1;
    int status = import_architecture(im, "batchtopk", err);
    if (!status)
        status = read_k(im, err);
    if (!status)
        status = import_number(im, "threshold", &threshold, err);
    if (!status)
        status = import_constant(im, threshold, &im->sae.threshold, err);
    if (!status && threshold < 0)
        import_quirk(im, "the threshold was never set: every positive pre-activation is kept");
    return status;
}

static int read_jumprelu(struct importing *im, struct error *err)
{
    struct sae *sae = &im->sae;
    int status = import_architecture(im, "jumprelu", err);
    import_quirk(im, "b_dec is not subtracted from the input");
    return status ? status : import_vector(im, "threshold", sae->d_sae, 0, &sae->threshold, err);
}

static const struct dictionary_class {
    const char *name;
    struct import_names names;
    int subtracts_b_dec;
    int (*read)(struct importing *im, struct error *err);
} classes[] = {
    /* name, its tensors, whether b_dec is subtracted, the rest */
    {"AutoEncoder", {"encoder.weight", "decoder.weight", "encoder.bias", "bias", 1, 1}, 1, read_relu},
    {"AutoEncoderNew",
     {"encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias", 1, 1},
     0,
     read_relu},
    {"GatedAutoEncoder",
     {"encoder.weight", "decoder.weight", "gate_bias", "decoder_bias", 1, 1},
     1,
     read_gated},
    {"AutoEncoderTopK", {"encoder.weight", "decoder.weight", "encoder.bias", "b_dec", 1, 1}, 1, read_topk},
    {"BatchTopKSAE", {"encoder.weight", "decoder.weight", "encoder.bias", "b_dec", 1, 1}, 1, read_batchtopk},
    {"MatryoshkaBatchTopKSAE", {"W_enc", "W_dec", "b_enc", "b_dec", 0, 0}, 1, read_batchtopk},
    {"JumpReluAutoEncoder", {"W_enc", "W_dec", "b_enc", "b_dec", 0, 0}, 0, read_jumprelu},
};

static const struct dictionary_class *find_class(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_LENGTH(classes); i++)
        if (strcmp(classes[i].name, name) == 0)
            return &classes[i];
    return NULL;
}

/* TopK and BatchTopK have tensors of the same names: the folders of sweeps are named after trainers. */
static int place_says_batch(const struct sae_files *files)
{
    char *place = sae_files_place(files);
    int batch = strstr(place, "BatchTopK") || strstr(place, "batch_top_k") || strstr(place, "batchtopk") ||
                strstr(place, "batch_topk");
    free(place);
    return batch;
}

/* The class that has such tensors, or NULL. */
static const char *class_of_tensors(struct sae_files *files)
{
    if (sae_files_tensor(files, "encoder.weight")) {
        if (sae_files_tensor(files, "gate_bias") && sae_files_tensor(files, "decoder_bias"))
            return "GatedAutoEncoder";
        if (sae_files_tensor(files, "b_dec") && sae_files_tensor(files, "k"))
            return sae_files_tensor(files, "threshold") && place_says_batch(files) ? "BatchTopKSAE"
                                                                                   : "AutoEncoderTopK";
        if (sae_files_tensor(files, "bias") && sae_files_tensor(files, "decoder.weight"))
            return "AutoEncoder";
        return sae_files_tensor(files, "decoder.bias") ? "AutoEncoderNew" : NULL;
    }
    if (!sae_files_tensor(files, "W_enc"))
        return NULL;
    if (sae_files_tensor(files, "group_sizes"))
        return "MatryoshkaBatchTopKSAE";
    return sae_files_tensor(files, "threshold") && !sae_files_tensor(files, "k") ? "JumpReluAutoEncoder"
                                                                                 : NULL;
}

/* ---- The configuration. ---- */

static int read_place(struct importing *im, const json *config, struct error *err)
{
    const json *trainer = json_get(config, "trainer"), *buffer = json_get(config, "buffer");
    const char *io = json_get_string(buffer, "io", "out"), *model = json_get_string(trainer, "lm_name", NULL);
    const char *module = json_get_string(trainer, "submodule_name", NULL);
    long long context = json_get_integer(buffer, "ctx_len", 0),
              layer = json_get_integer(trainer, "layer", -1);
    if (strcmp(io, "in") != 0 && strcmp(io, "out") != 0)
        return import_refuse(im, CONFIG, err,
                             "a transcoder, which predicts a module's output from its input (io %s): only "
                             "SAEs, which rebuild what they read, can be imported",
                             io);
    import_source(im, "hook_name", module);
    if (module)
        import_module(im, module, strcmp(io, "in") == 0);
    else
        import_hook_at(im, strcmp(io, "in") == 0 ? "hook_resid_pre" : "hook_resid_post", layer);
    import_model_name(im, model ? path_base(model) : NULL);
    im->context_size = context > 0 && context < INT32_MAX ? (size_t)context : 0;
    /* The tokenizers of these models put no token before a text. */
    if (model && (strstr(model, "pythia") || strstr(model, "gpt2") || strstr(model, "gpt-neo"))) {
        im->prepend_bos = 0;
        import_quirk(im, "trained without BOS, which the model's tokenizer does not add");
    }
    return STATUS_OK;
}

static int read_config(struct importing *im, const struct dictionary_class **class, struct error *err)
{
    json *config;
    char *file = sae_files_config(&im->files, CONFIG);
    *class = NULL;
    if (!file)
        return STATUS_OK;
    int status = import_config(im, file, &config, err);
    free(file);
    if (status)
        return status;
    const char *name = json_get_string(json_get(config, "trainer"), "dict_class", NULL);
    *class = find_class(name);
    if (name && !*class)
        return import_refuse(im, CONFIG, err, "dictionaries of class %s cannot be read", name);
    return read_place(im, config, err);
}

static int read_dictionary(struct importing *im, struct error *err)
{
    const struct dictionary_class *class;
    sae_files_choose(&im->files, WEIGHTS);
    int status = import_open_given(im, err);
    if (!status)
        status = read_config(im, &class, err);
    if (status)
        return status;
    if (!class && (class = find_class(class_of_tensors(&im->files))))
        import_quirk(im, "no configuration: taken for a %s by its tensors", class->name);
    if (!class)
        return import_refuse(im, NULL, err, "has the tensors of no class of dictionary_learning");
    import_source(im, "class", class->name);
    im->sae.apply_b_dec_to_input = class->subtracts_b_dec;
    status = import_lengths(im, class->names.b_dec, class->names.b_enc, class->names.W_enc, err);
    if (!status)
        status = import_weights(im, &class->names, err);
    if (!status)
        status = class->read(im, err);
    if (!status && !im->sae.architecture->has_magnitudes)
        import_drop_zero_bias(im);
    return status;
}

static int looks_like_dictionary(struct sae_files *files)
{
    return sae_files_have(files, WEIGHTS, NULL) ||
           (sae_files_tensors(files) && tensor_file_container(sae_files_tensors(files)) == CONTAINER_TORCH &&
            class_of_tensors(files));
}

const struct sae_format dictionary_learning_format = {
    .name = "dictionary-learning",
    .summary = "folder with ae.pt, with or without config.json",
    .detect = looks_like_dictionary,
    .read = read_dictionary,
};
