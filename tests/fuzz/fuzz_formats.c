/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Readers of SAEs. The first byte says which producer's configuration the rest is, beside good weights
 * (tests/data/formats), or that it is a file of tensors itself, for whichever reader it looks like.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"
#include "tests/fuzz/fuzz.h"

static const struct {
    const struct sae_format *format;
    const char *config, *weights, *from; /* in tests/data/formats */
} producers[] = {
    {&sparsify_format, "cfg.json", "sae.safetensors", "sparsify/layers.5/sae.safetensors"},
    {&dictionary_learning_format, "config.json", "ae.pt", "dictionary-gated/ae.pt"},
    {&dictionary_learning_format, "config.json", "ae.pt", "dictionary-batch_topk/ae.pt"},
    {&batchtopk_repo_format, "config.json", "sae.pt",
     "batchtopk-jumprelu/gpt2-small_blocks.8.hook_resid_pre_48_jumprelu_6_0.0003_99/sae.pt"},
    {&llama_scope_format, "hyperparams.json", "checkpoints/final.safetensors",
     "llama-scope/checkpoints/final.safetensors"},
    {&llama_scope_format, "config.json", "sae_weights.safetensors", "llama-scope-r1/sae_weights.safetensors"},
    {&gemma_scope_2_format, "config.json", "params.safetensors",
     "gemma-scope-2/resid_post/layer_12_width_16k_l0_medium/params.safetensors"},
    {&qwen_scope_format, "config.json", "layer3.sae.pt",
     "qwen-scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer3.sae.pt"},
    {&attention_saes_format, "a_cfg.json", "a.pt",
     "attention-saes/all/gpt2-small_L5_Hcat_z_lr1.20e-03_ds48_v9.pt"},
};

/* The producer's folder, whose configuration is the fuzzed file. */
static char *folder_of(size_t i, const char *file)
{
    char *name = xasprintf("%zu", i), *folder = path_join(fuzz_folder(), name);
    char *config = path_join(folder, producers[i].config), *weights = path_join(folder, producers[i].weights);
    if (!path_exists(folder)) {
        const char *data = getenv("SAESCOPE_TESTDATA");
        char *from = xasprintf("%s/formats/%s", data ? data : "tests/data", producers[i].from);
        char *real = realpath(from, NULL), *parent = xstrdup(weights);
        FUZZ_CHECK(real);
        *strrchr(parent, '/') = '\0';
        FUZZ_CHECK(!make_directories(parent, 0777, NULL));
        FUZZ_CHECK(!symlink(real, weights) && !symlink(file, config));
        free(from);
        free(real);
        free(parent);
    }
    free(name);
    free(config);
    free(weights);
    return folder;
}

static void read_with(const struct sae_format *format, const char *path)
{
    const struct sae_import o = {.path = path, .hook = "blocks.0.hook_resid_pre"};
    struct importing im;
    struct error err = {0};
    importing_init(&im, &o, NULL, fuzz_folder());
    if (!format->read(&im, &err)) {
        const struct sae *sae = &im.sae;
        FUZZ_CHECK(sae->architecture && sae->d_in && sae->d_sae && sae->k <= sae->d_sae && sae->b_dec);
        FUZZ_CHECK(!sae->architecture->has_threshold || sae->threshold);
        FUZZ_CHECK(!sae->architecture->has_magnitudes || (sae->r_mag && sae->b_mag));
        FUZZ_CHECK(!sae->architecture->per_token_k || sae->k);
        FUZZ_CHECK(im.W_enc.rows.tensor.shape[0] == sae->d_sae && im.W_dec.rows.tensor.shape[1] == sae->d_in);
    }
    importing_free(&im);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    const char *file = fuzz_file(data + 1, n - 1);
    size_t i = data[0] % (ARRAY_LENGTH(producers) + 1);
    if (i < ARRAY_LENGTH(producers)) {
        char *folder = folder_of(i, file);
        read_with(producers[i].format, folder);
        free(folder);
        return 0;
    }
    static const struct sae_format *const of_tensors[] = {&openai_format,
                                                          &goodfire_format,
                                                          &qwen_scope_format,
                                                          &qresearch_format,
                                                          &dictionary_learning_format,
                                                          &safetensors_format};
    const char *path = fuzz_link("layer0.sae.pt");
    struct sae_files files;
    struct error err = {0};
    sae_files_open(&files, path, fuzz_folder());
    others_refuse(&files, &err);
    sae_files_close(&files);
    for (size_t j = 0; j < ARRAY_LENGTH(of_tensors); j++)
        read_with(of_tensors[j], path);
    return 0;
}
