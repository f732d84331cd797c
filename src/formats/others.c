/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Dictionaries that are no SAEs, in forms that would pass for one, or that are published beside them:
 * transcoders of circuit-tracer (mwhanna's: layer_N.safetensors with W_enc and W_dec both [d_sae, d_in]),
 * cross-layer transcoders (mntss': W_enc_N, W_dec_N; Gemma Scope 2's: w_dec [d_sae, layers, d_in]), temporal
 * SAEs (canrager's: D, E, b and attn_layers). SAELens' loaders know these files.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"

#define PLACE_NAMES 4 /* of an absolute path that count */

/* ---- What folders say. ---- */

static const char *end_of_place(const char *place)
{
    const char *hub = NULL, *end = place + strlen(place);
    for (const char *p = place; (p = strstr(p, "/models--")); p++)
        hub = p;
    if (hub || *place != '/')
        return hub ? hub : place;
    for (int names = 0; end > place; end--)
        if (*end == '/' && ++names == PLACE_NAMES)
            break;
    return end;
}

const char *place_of_others(const char *place)
{
    const char *end = end_of_place(place);
    if (strstr(end, "transcoder") || strstr(end, "/clt/") || strstr(end, "/clt-") || strstr(end, "--clt-"))
        return "a transcoder";
    return strstr(end, "crosscoder") ? "a crosscoder" : NULL;
}

/* ---- What files say. ---- */

/* A tensor named PREFIX and digits: "W_enc_12". */
static int has_numbered(struct tensor_file *file, const char *prefix)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < tensor_file_count(file); i++) {
        const char *name = tensor_file_at(file, i)->name;
        if (strncmp(name, prefix, n) == 0 && name[n] && !name[n + strspn(name + n, "0123456789")])
            return 1;
    }
    return 0;
}

static int is_cross_layer(struct sae_files *files)
{
    if (files->is_directory && sae_files_have(files, "W_enc_0.safetensors", NULL))
        return 1;
    struct tensor_file *file = sae_files_tensors(files);
    const struct file_tensor *w_dec = file ? tensor_file_find(file, "w_dec") : NULL;
    return file && (has_numbered(file, "W_enc_") || has_numbered(file, "W_dec_") ||
                    (w_dec && w_dec->tensor.ndim == 3));
}

/* Each of these says which hooks it is between in a configuration in YAML. */
static int is_transcoder(struct sae_files *files)
{
    static const char *const configs[] = {"config.yaml", "wandb-config.yaml", "wanb-config.yaml"};
    struct tensor_file *file = sae_files_tensors(files);
    if (!file || tensor_file_container(file) != CONTAINER_SAFETENSORS || !tensor_file_find(file, "W_enc") ||
        place_number(path_base(tensor_file_path(file)), "layer_") < 0)
        return 0;
    char *place = sae_files_place(files);
    int found = place_of_others(place) != NULL;
    free(place);
    for (size_t i = 0; i < ARRAY_LENGTH(configs) && !found; i++) {
        char *path = sae_files_path(files, configs[i]);
        found = path_exists(path);
        free(path);
    }
    return found;
}

static int is_temporal(struct sae_files *files)
{
    sae_files_choose(files, "latest_ckpt.safetensors");
    struct tensor_file *file = sae_files_tensors(files);
    size_t attention = 0;
    for (size_t i = 0; file && i < tensor_file_count(file); i++)
        attention += strncmp(tensor_file_at(file, i)->name, "attn_layers.", 12) == 0;
    return attention > 0 && sae_files_tensor(files, "D") && sae_files_tensor(files, "b");
}

static const struct {
    int (*looks)(struct sae_files *files);
    const char *what;
} others[] = {
    {is_cross_layer, "a cross-layer transcoder, " OTHERS_REFUSED},
    {is_transcoder, "a transcoder, " OTHERS_REFUSED},
    {is_temporal,
     "a temporal SAE, whose latents of a token depend on the tokens before it: only SAEs of single "
     "activations can be imported"},
};

int others_refuse(struct sae_files *files, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++)
        if (others[i].looks(files)) {
            char *shown = displayable_string(files->path);
            error_set(err, STATUS_REFUSED, "%s: %s", shown, others[i].what);
            free(shown);
            return STATUS_REFUSED;
        }
    return STATUS_OK;
}
