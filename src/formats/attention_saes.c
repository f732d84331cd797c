/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attention SAEs (Kissane, Krzyzanowski et al. 2024): NAME.pt, a PyTorch checkpoint with W_enc [d_in, d_sae],
 * W_dec [d_sae, d_in], b_enc, b_dec, and NAME_cfg.json {act_size, dict_size, act_name}; ReLU, b_dec
 * subtracted; the heads of hook_z beside one another. The model is in the name: gpt2-small_L5_Hcat_z_...
 * (SAELens' connor_rob_hook_z_huggingface_loader.)
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

/* "NAME_cfg.json" of ".../NAME.pt", malloc'd. */
static char *config_name(const char *weights)
{
    const char *base = path_base(weights), *dot = strrchr(base, '.');
    return xasprintf("%.*s_cfg.json", (int)(dot ? (size_t)(dot - base) : strlen(base)), base);
}

static void read_model(struct importing *im, const json *config)
{
    const char *base = path_base(tensor_file_path(im->file)), *layer = strstr(base, "_L");
    const char *said = json_get_string(config, "model_name", NULL);
    char *model = layer ? xstrndup(base, (size_t)(layer - base)) : NULL;
    import_model_name(im, said ? said : model);
    free(model);
    import_hook(im, json_get_string(config, "act_name", NULL));
    im->context_size = 128;
}

static int read_attention_saes(struct importing *im, struct error *err)
{
    static const struct import_names names = {"W_enc", "W_dec", "b_enc", "b_dec", 0, 0};
    json *config = NULL;
    size_t d_in = 0, d_sae = 0;
    int status = import_open_given(im, err);
    if (status)
        return status;
    char *name = config_name(tensor_file_path(im->file));
    im->sae.apply_b_dec_to_input = 1;
    status = import_config(im, name, &config, err);
    if (!status)
        status = json_need_size(config, "act_size", name, INT32_MAX, &d_in, err);
    if (!status)
        status = json_need_size(config, "dict_size", name, INT32_MAX, &d_sae, err);
    if (!status)
        status = import_sizes(im, d_in, d_sae, "the configuration", err);
    if (!status)
        status = import_architecture(im, "standard", err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status)
        read_model(im, config);
    free(name);
    return status;
}

static int looks_like_attention_saes(struct sae_files *files)
{
    struct tensor_file *file = sae_files_tensors(files);
    if (!file || !sae_files_tensor(files, "W_enc"))
        return 0;
    char *name = config_name(tensor_file_path(file)), *path = sae_files_path(files, name);
    int found = path_exists(path);
    free(path);
    free(name);
    return found;
}

const struct sae_format attention_saes_format = {
    .name = "attention-saes",
    .summary = "PyTorch checkpoint NAME.pt with NAME_cfg.json",
    .detect = looks_like_attention_saes,
    .read = read_attention_saes,
};
