/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gemma Scope (Lieberum et al. 2024): layer_N/width_W/average_l0_L/params.npz with W_enc [d_in, d_sae],
 * W_dec [d_sae, d_in], b_enc, b_dec, threshold; JumpReLU, b_dec not subtracted. The files say nothing else:
 * model, place and layer are in the folders' names (google/gemma-scope-2b-pt-res/layer_20/...).
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

#define WEIGHTS "params.npz"

static void read_model(struct importing *im, const char *repository)
{
    static const char *const sizes[][2] = {
        {"gemma-scope-2b-it", "gemma-2-2b-it"},   {"gemma-scope-9b-it", "gemma-2-9b-it"},
        {"gemma-scope-27b-it", "gemma-2-27b-it"}, {"gemma-scope-2b", "gemma-2-2b"},
        {"gemma-scope-9b", "gemma-2-9b"},         {"gemma-scope-27b", "gemma-2-27b"}};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        if (strncmp(repository, sizes[i][0], strlen(sizes[i][0])) == 0) {
            import_model_name(im, sizes[i][1]);
            return;
        }
}

/* "gemma-scope-2b-pt-res" from the folders' names, and what follows it there ("/layer_20/…"); empty when it
 * is not among them. */
static char *repository_of(const char *place, const char **rest)
{
    const char *last = place + strlen(place);
    for (const char *p = place; (p = strstr(p, "gemma-scope-")); p++)
        last = p;
    *rest = last + strcspn(last, "/");
    return xstrndup(last, (size_t)(*rest - last));
}

static int read_place(struct importing *im, const char *place, int *embedding, struct error *err)
{
    const char *rest;
    char *repository = repository_of(place, &rest);
    long long layer = place_number(rest, "layer_");
    int status = STATUS_OK;
    *embedding = strncmp(rest, "/embedding/", strlen("/embedding/")) == 0;
    read_model(im, repository);
    const char *others = place_of_others(repository);
    if (others)
        status = import_refuse(im, place, err, "%s, " OTHERS_REFUSED, others);
    else if (*embedding)
        import_hook(im, "hook_embed");
    else if (string_ends_with(repository, "-res"))
        import_hook_at(im, "hook_resid_post", layer);
    else if (string_ends_with(repository, "-mlp"))
        import_hook_at(im, "hook_mlp_out", layer);
    else if (string_ends_with(repository, "-att"))
        import_hook_at(im, "attn.hook_z", layer);
    else if (!im->options->hook)
        status = import_refuse(im, NULL, err,
                               "its folders' names do not tell where in the model it reads, as "
                               "gemma-scope-2b-pt-res/layer_20 does: name it with --hook, as in --hook "
                               "blocks.20.hook_resid_post");
    free(repository);
    return status;
}

/* Embedding SAEs were trained on rows of the table, of which the model takes √d times as much. */
static int scale_embedding(struct importing *im, struct error *err)
{
    double root = sqrt((double)im->sae.d_in);
    int status = import_scale_encoder(im, 1 / root, err);
    if (!status)
        status = import_scale_decoder(im, root, err);
    if (!status)
        import_quirk(im, "an embedding SAE: W_enc / sqrt(d_in) and W_dec * sqrt(d_in), to read hook_embed");
    return status;
}

static int fold_scaling_factor(struct importing *im, struct error *err)
{
    float *s = NULL;
    int status = import_vector(im, "scaling_factor", im->sae.d_sae, 1, &s, err), is_one = 1;
    for (size_t i = 0; s && i < im->sae.d_sae; i++)
        is_one &= fabsf(s[i] - 1) <= 1e-5F;
    if (!status && !is_one && !(status = import_scale_decoder_rows(im, s, err)))
        import_quirk(im, "scaling_factor was folded into W_dec");
    free(s);
    return status;
}

static int read_gemma_scope(struct importing *im, struct error *err)
{
    char *place = sae_files_place(&im->files);
    int embedding, status = read_place(im, place, &embedding, err);
    free(place);
    if (!status)
        status = import_open(im, WEIGHTS, err);
    if (!status)
        status = import_lengths(im, "b_dec", "b_enc", "W_enc", err);
    if (!status)
        status = import_architecture(im, "jumprelu", err);
    if (status)
        return status;
    int lower = import_find(im, "w_enc") != NULL; /* some files' spelling */
    const struct import_names names = {
        lower ? "w_enc" : "W_enc", lower ? "w_dec" : "W_dec", "b_enc", "b_dec", 0, 0};
    im->context_size = 1024;
    status = import_weights(im, &names, err);
    if (!status)
        status = import_vector(im, "threshold", im->sae.d_sae, 0, &im->sae.threshold, err);
    if (!status)
        status = fold_scaling_factor(im, err);
    if (!status && embedding)
        status = scale_embedding(im, err);
    import_quirk(im, "b_dec is not subtracted from the input; not trained on BOS");
    return status;
}

/* Other SAEs that were written as params.npz say more. */
static int looks_like_gemma_scope(struct sae_files *files)
{
    if (!sae_files_have(files, WEIGHTS, NULL))
        return 0;
    sae_files_choose(files, WEIGHTS);
    return sae_files_tensor(files, "threshold") && !sae_files_tensor(files, "apply_b_dec_to_input");
}

const struct sae_format gemma_scope_format = {
    .name = "gemma-scope",
    .summary = "folder with params.npz",
    .detect = looks_like_gemma_scope,
    .read = read_gemma_scope,
};
