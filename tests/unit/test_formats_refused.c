/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What import refuses to read as an SAE, and what it says: other kinds of dictionaries, and configurations
 * that do not fit. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/zip_archive.h"
#include "saescope/formats/importing.h"
#include "tests/support/golden.h"

static struct store *store;

static int set_up(void **state)
{
    set_up_golden(state, NULL);
    store = golden_store;
    return 0;
}

static char *case_path(const char *path)
{
    return data_path_in("formats", path);
}

static void refuse(const char *path, const char *format, const char *says)
{
    refuse_sae(
        &(struct sae_import){
            .path = path, .name = "refused", .format = format, .hook = "blocks.0.hook_resid_pre"},
        says);
}

static void refuse_case(const char *path, const char *says)
{
    char *full = case_path(path);
    refuse(full, NULL, says);
    free(full);
}

/* A producer's folder with another configuration. */
static void refuse_config(const char *weights, const char *as, const char *config_name, const char *config,
                          const char *says)
{
    static int count;
    char *from = case_path(weights), *name = xasprintf("refused%d", count++), *folder = test_path(name);
    copy_file(from, folder, as);
    write_file_in(folder, config_name, config, strlen(config));
    refuse(folder, NULL, says);
    free(from);
    free(name);
    free(folder);
}

static void test_transcoders(void **state)
{
    (void)state;
    refuse_config("sparsify/layers.5/sae.safetensors", "sae.safetensors", "cfg.json",
                  "{\"d_in\": 16, \"num_latents\": 48, \"k\": 5, \"transcode\": true}", "a transcoder");
    refuse_config("gemma-scope-2/resid_post/layer_12_width_16k_l0_medium/params.safetensors",
                  "params.safetensors", "config.json",
                  "{\"type\": \"transcoder\", \"hf_hook_point_in\": \"a\", \"hf_hook_point_out\": \"b\"}",
                  "a transcoder from a to b");
    refuse_config("llama-scope/checkpoints/final.safetensors", "checkpoints/final.safetensors",
                  "hyperparams.json",
                  "{\"d_model\": 16, \"d_sae\": 48, \"hook_point_in\": \"a\", \"hook_point_out\": \"b\"}",
                  "which reads a and writes b");
    refuse_config("dictionary-relu/ae.pt", "ae.pt", "config.json",
                  "{\"trainer\": {\"dict_class\": \"AutoEncoder\"}, \"buffer\": {\"io\": \"in_and_out\"}}",
                  "a transcoder");
    struct error err = {0};
    char *folder = test_path("gemma-scope-2b-pt-transcoders");
    char *from =
        case_path("gemma-scope-att/gemma-scope-9b-it-att/layer_3/width_16k/average_l0_20/params.npz");
    copy_file(from, folder, "params.npz");
    refuse(folder, NULL, ": a transcoder");
    free(folder);
    /* "-res" in another folder's name says nothing. */
    folder = test_path("my-results/layer_3/average_l0_20");
    copy_file(from, folder, "params.npz");
    const struct sae_import unplaced = {.path = folder, .name = "refused"};
    artifact_id id;
    assert_int_equal(sae_import_path(store, &unplaced, NULL, &id, &err), STATUS_REFUSED);
    assert_non_null(strstr(err.message, "do not tell where in the model it reads"));
    free(folder);
    free(from);
}

static void test_refusals(void **state)
{
    (void)state;
    const char *sparsify = "sparsify/layers.5/sae.safetensors";
    refuse_config(sparsify, "sae.safetensors", "cfg.json",
                  "{\"d_in\": 16, \"num_latents\": 48, \"signed\": true}", "signed");
    refuse_config(sparsify, "sae.safetensors", "cfg.json",
                  "{\"d_in\": 16, \"num_latents\": 48, \"activation\": \"groupmax\"}", "groupmax");
    refuse_config(sparsify, "sae.safetensors", "cfg.json", "{\"d_in\": 16, \"num_latents\": 49}",
                  "tensor encoder.bias has shape [48], but cfg.json says d_in 16 and d_sae 49");
    refuse_config(sparsify, "sae.safetensors", "cfg.json", "{\"d_in\": 16, \"num_latents\": 48, \"k\": 49}",
                  "k must be between 1 and d_sae (48)");
    refuse_config("dictionary-relu/ae.pt", "ae.pt", "config.json",
                  "{\"trainer\": {\"dict_class\": \"IdentityDict\"}}", "class IdentityDict");
    refuse_config("dictionary-relu/ae.pt", "ae.pt", "config.json",
                  "{\"trainer\": {\"dict_class\": \"GatedAutoEncoder\"}}", "no tensor decoder_bias");
    refuse_config("llama-scope/checkpoints/final.safetensors", "checkpoints/final.safetensors",
                  "hyperparams.json", "{\"d_model\": 16, \"d_sae\": 48, \"jump_relu_threshold\": 1}",
                  "no positive dataset_average_activation_norm.in");
    const char *qwen = "qwen-scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer3.sae.pt";
    refuse_config(qwen, "layer3.sae.pt", "config.json", "{\"model_type\": \"relu_sae\", \"k\": 6}",
                  "model_type relu_sae");
    refuse_config(qwen, "layer3.sae.pt", "config.json", "{\"d_model\": 16, \"d_sae\": 48}",
                  "does not say how many latents a token keeps: give it with --k");
    refuse_config(qwen, "layer3.sae.pt", "config.json", "{\"d_model\": 16, \"d_sae\": 47, \"k\": 6}",
                  "config.json says d_in 16 and d_sae 47");
    refuse_config("attention-saes/all/gpt2-small_L5_Hcat_z_lr1.20e-03_ds48_v9.pt", "a.pt", "a_cfg.json",
                  "{\"act_size\": 16, \"dict_size\": 49}", "d_in 16 and d_sae 49");
    refuse_config("square-batchtopk/sae.pt", "sae.pt", "config.json",
                  "{\"act_size\": 256, \"dict_size\": 256, \"sae_type\": \"quantile\"}", "sae_type quantile");
    struct error err = {0};
    artifact_id id = 0;
    char *path = case_path("plain-pt");
    const struct sae_import o = {.path = path, .name = "refused", .k = 7};
    assert_int_equal(sae_import_path(store, &o, NULL, &id, &err), STATUS_REFUSED);
    assert_says("names no hook: name it with --hook");
    const struct sae_import wide = {.path = path, .name = "refused", .k = 49, .hook = "hook_embed"};
    assert_int_equal(sae_import_path(store, &wide, NULL, &id, &err), STATUS_REFUSED);
    assert_says("k must be between 1 and d_sae (48), not 49");
    refuse(path, "goodfire", "no tensor encoder_linear.weight");
    free(path);
    refuse_case("goodfire-topk", "does not say how many latents a token keeps: give it with --k");
    path = case_path("expected.safetensors");
    refuse(path, NULL, "does not look like an SAE");
    refuse(path, "safetensors", "no tensor W_enc, w_enc or encoder.weight");
    free(path);
    path = case_path(".");
    refuse(path, "safetensors", "no tensor W_enc");
    free(path);
}

/* What SAELens' loaders know beside SAEs. */
static void test_others(void **state)
{
    (void)state;
    refuse_case("others/transcoder", ": a transcoder, which reads one place of the model and writes another");
    refuse_case("others/transcoder/layer_7.safetensors", ": a transcoder");
    refuse_case("others/qwen3-4b-transcoders/layer_7.safetensors", ": a transcoder");
    refuse_case("others/cross-layer", ": a cross-layer transcoder");
    refuse_case("others/cross-layer/W_enc_0.safetensors", ": a cross-layer transcoder");
    refuse_case("others/cross-layer/W_dec_0.safetensors", ": a cross-layer transcoder");
    refuse_case("others/gemma-cross-layer", ": a cross-layer transcoder");
    refuse_case("others/temporal",
                ": a temporal SAE, whose latents of a token depend on the tokens before it");
}

static void test_places(void **state)
{
    (void)state;
    static const struct {
        const char *place, *others;
    } places[] = {
        {"google/gemma-scope-2b-pt-transcoders/layer_3", "a transcoder"},
        {"google/gemma-scope-2-1b-pt/transcoder_all/layer_3_width_16k", "a transcoder"},
        {"google/gemma-scope-2-1b-pt/clt/layer_3", "a transcoder"},
        {"mntss/clt-gemma-2-2b-2.5M", "a transcoder"},
        {"google/gemma-scope-2-1b-pt/crosscoder/x", "a crosscoder"},
        {"/c/models--mwhanna--qwen3-4b-transcoders/snapshots/0/a/b/c/layer_0.safetensors", "a transcoder"},
        {"/c/models--mntss--clt-llama/snapshots/0", "a transcoder"},
        {"/home/me/transcoders/x/models--google--gemma-scope-2b-pt-res/snapshots/0/layer_3", NULL},
        {"/home/me/transcoder-work/saes/gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_71", NULL},
        {"google/gemma-scope-2b-pt-res/layer_3", NULL},
        {"/transcoders", "a transcoder"},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        const char *found = place_of_others(places[i].place);
        if (!found != !places[i].others || (found && strcmp(found, places[i].others) != 0))
            fail_msg("%s: %s", places[i].place, found ? found : "(none)");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transcoders),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_refusals),
    };
    if (!zip_library_version()) {
        printf("1..0 # SKIP built without libzip\n");
        return 0;
    }
    return cmocka_run_group_tests_name("formats refused", tests, set_up, tear_down_golden);
}
