/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gemma Scope 2: resid_post/layer_12_width_16k_l0_medium/ with config.json {model_name, architecture
 * "jump_relu", hf_hook_point_in, hf_hook_point_out, type, affine_connection} and params.safetensors with
 * w_enc [d_in, d_sae], w_dec [d_sae, d_in], b_enc, b_dec, threshold; b_dec not subtracted. Some folders have
 * no configuration: there the folders' names say model, place and layer. The same names are used for
 * transcoders and crosscoders, which are refused.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define CONFIG  "config.json"
#define WEIGHTS "params.safetensors"

/* "model.layers.12.output" is resid_post of layer 12. */
static void read_hook(struct importing *im, const char *hook)
{
    static const char *const points[][2] = {{"output", "hook_resid_post"},
                                            {"self_attn.o_proj.input", "attn.hook_z"},
                                            {"post_feedforward_layernorm.output", "hook_mlp_out"}};
    long long layer;
    int n = 0;
    if (sscanf(hook, "model.layers.%9lld.%n", &layer, &n) != 1 || n == 0)
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(points); i++)
        if (strcmp(hook + n, points[i][0]) == 0)
            import_hook_at(im, points[i][1], layer);
}

/* SAELens' _infer_gemma_3_raw_cfg_dict:
 * "models--google--gemma-scope-2-4b-pt/.../mlp_out/layer_17_width_16k_l0_big". */
static void read_place(struct importing *im, const char *place)
{
    static const char *const points[][2] = {
        {"/resid_post", "hook_resid_post"}, {"/attn_out", "attn.hook_z"}, {"/mlp_out", "hook_mlp_out"}};
    for (size_t i = 0; i < ARRAY_LENGTH(points) && !im->hook; i++)
        if (strstr(place, points[i][0]))
            import_hook_at(im, points[i][1], place_number(place, "/layer_"));
}

/* Their names of models: gemma-v3-1b-pt; and the smallest one's own is gemma-3-270m. */
static void read_model(struct importing *im, const char *said, const char *place)
{
    static const char repository[] = "gemma-scope-2-";
    const char *size = NULL;
    char *name = NULL;
    if (said) {
        said = path_base(said);
        size = strncmp(said, "gemma-v3-", 9) == 0  ? said + 9
               : strncmp(said, "gemma-3-", 8) == 0 ? said + 8
                                                   : NULL;
    }
    for (const char *p = place; !said && (p = strstr(p, repository)); p++)
        size = p + strlen(repository);
    if (size)
        name =
            xasprintf("gemma-3-%.*s", strncmp(size, "270m-pt", 7) == 0 ? 4 : (int)strcspn(size, "/"), size);
    import_model_name(im, name ? name : said);
    free(name);
}

static int read_config(struct importing *im, const char *place, struct error *err)
{
    json *config = NULL;
    char *path = sae_files_path(&im->files, CONFIG);
    int there = path_exists(path);
    free(path);
    int status = there ? import_config(im, CONFIG, &config, err) : STATUS_OK;
    if (status)
        return status;
    const char *architecture = json_get_string(config, "architecture", "jump_relu");
    const char *others = place_of_others(place), *type = json_get_string(config, "type", "sae");
    const char *in = json_get_string(config, "hf_hook_point_in", "");
    const char *out = json_get_string(config, "hf_hook_point_out", in);
    if (strcmp(architecture, "jump_relu") != 0)
        return import_refuse(im, CONFIG, err, "architecture %s cannot be read: jump_relu can", architecture);
    if (strcmp(type, "sae") != 0 || strcmp(in, out) != 0 || json_get_boolean(config, "affine_connection", 0))
        return import_refuse(im, CONFIG, err,
                             "a %s from %s to %s: only SAEs, which rebuild what they read, can be imported",
                             strcmp(type, "sae") ? type : "transcoder", in, out);
    if (!there && others)
        return import_refuse(im, place, err, "%s, " OTHERS_REFUSED, others);
    if (!there)
        import_quirk(im, "no configuration: model and hook are as the folders' names say");
    read_model(im, json_get_string(config, "model_name", NULL), place);
    read_hook(im, in);
    read_place(im, place);
    return STATUS_OK;
}

static int read_gemma_scope_2(struct importing *im, struct error *err)
{
    static const struct import_names names = {"w_enc", "w_dec", "b_enc", "b_dec", 0, 0};
    char *place = sae_files_place(&im->files);
    int status = read_config(im, place, err);
    free(place);
    if (!status)
        status = import_open(im, WEIGHTS, err);
    if (!status && import_find(im, "affine_skip_connection"))
        status = import_refuse_tensor(im, "affine_skip_connection", err,
                                      "belongs to a transcoder: only SAEs can be imported");
    if (!status)
        status = import_lengths(im, "b_dec", "b_enc", "w_enc", err);
    if (!status)
        status = import_architecture(im, "jumprelu", err);
    if (!status)
        status = import_weights(im, &names, err);
    if (!status)
        status = import_vector(im, "threshold", im->sae.d_sae, 0, &im->sae.threshold, err);
    im->context_size = 1024;
    import_quirk(im, "b_dec is not subtracted from the input");
    return status;
}

static int looks_like_gemma_scope_2(struct sae_files *files)
{
    if (sae_files_have(files, WEIGHTS, CONFIG))
        return 1;
    return sae_files_have(files, WEIGHTS, NULL) && sae_files_tensor(files, "w_enc") &&
           sae_files_tensor(files, "threshold");
}

const struct sae_format gemma_scope_2_format = {
    .name = "gemma-scope-2",
    .summary = "folder with params.safetensors, with or without config.json",
    .detect = looks_like_gemma_scope_2,
    .read = read_gemma_scope_2,
};
