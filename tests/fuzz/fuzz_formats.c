/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Readers of SAEs. The first byte says which producer's configuration the rest is, beside good weights
 * (tests/data/formats), or that it is a file of tensors itself, for whichever reader it looks like.
 */
#include "config.h"

#include <stdio.h>

#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"
#include "tests/fuzz/fuzz.h"

static const struct {
    const struct sae_format *format;
    const char *config, *weights, *from; /* in tests/data */
} producers[] = {
    {&sparsify_format, "cfg.json", "sae.safetensors", "formats/sparsify/layers.5/sae.safetensors"},
    {&dictionary_learning_format, "config.json", "ae.pt", "formats/dictionary-gated/ae.pt"},
    {&dictionary_learning_format, "config.json", "ae.pt", "formats/dictionary-batch_topk/ae.pt"},
    {&batchtopk_repo_format, "config.json", "sae.pt",
     "formats/batchtopk-jumprelu/gpt2-small_blocks.8.hook_resid_pre_48_jumprelu_6_0.0003_99/sae.pt"},
    {&llama_scope_format, "hyperparams.json", "checkpoints/final.safetensors",
     "formats/llama-scope/checkpoints/final.safetensors"},
    {&llama_scope_format, "config.json", "sae_weights.safetensors",
     "formats/llama-scope-r1/sae_weights.safetensors"},
    {&gemma_scope_2_format, "config.json", "params.safetensors",
     "formats/gemma-scope-2/resid_post/layer_12_width_16k_l0_medium/params.safetensors"},
    {&qwen_scope_format, "config.json", "layer3.sae.pt",
     "formats/qwen-scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer3.sae.pt"},
    {&attention_saes_format, "a_cfg.json", "a.pt",
     "formats/attention-saes/all/gpt2-small_L5_Hcat_z_lr1.20e-03_ds48_v9.pt"},
};

/* The producer's folder, whose configuration is the fuzzed file. */
static void read_producer(size_t i)
{
    char name[32];
    snprintf(name, sizeof name, "%zu", i);
    fuzz_read_sae(producers[i].format,
                  fuzz_sae_folder(name, producers[i].config, producers[i].weights, producers[i].from));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    fuzz_file(data + 1, n - 1);
    size_t i = data[0] % (ARRAY_LENGTH(producers) + 1);
    if (i < ARRAY_LENGTH(producers)) {
        read_producer(i);
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
        fuzz_read_sae(of_tensors[j], path);
    return 0;
}
