/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of producers' formats, and the choice of one. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/formats/importing.h"
#include "saescope/formats/producers.h"

/* The first that detects the files is taken: what a folder's files are called comes before what tensors are.
 */
const struct sae_format *const sae_formats[] = {
    &saelens_format,        &gemma_scope_format,
    &gemma_scope_2_format,  &llama_scope_format,
    &sparsify_format,       &batchtopk_repo_format,
    &openai_format,         &goodfire_format,
    &qwen_scope_format,     &qresearch_format,
    &attention_saes_format, &dictionary_learning_format,
    &safetensors_format,    &npz_format,
    &torch_format,          NULL,
};

static void add_names(struct strbuf *out, int exporting)
{
    const char *separator = "";
    for (size_t i = 0; sae_formats[i]; i++) {
        if (exporting ? !sae_formats[i]->export : !sae_formats[i]->read)
            continue;
        strbuf_addf(out, "%s%s (%s)", separator, sae_formats[i]->name, sae_formats[i]->summary);
        separator = ", ";
    }
}

static const struct sae_format *find_format(const char *name, int exporting, struct error *err)
{
    for (size_t i = 0; sae_formats[i]; i++)
        if (strcmp(sae_formats[i]->name, name) == 0 &&
            (exporting ? !!sae_formats[i]->export : !!sae_formats[i]->read))
            return sae_formats[i];
    struct strbuf names = STRBUF_INIT;
    add_names(&names, exporting);
    char *shown = displayable_string(name);
    error_set(err, STATUS_REFUSED, "no format named %s: there is %s", shown, strbuf_string(&names));
    free(shown);
    strbuf_free(&names);
    return NULL;
}

static const struct sae_format *detect_format(struct sae_files *files, struct error *err)
{
    if (others_refuse(files, err))
        return NULL;
    for (size_t i = 0; sae_formats[i]; i++)
        if (sae_formats[i]->detect && sae_formats[i]->detect(files))
            return sae_formats[i];
    if (files->error.code) { /* a damaged file looks like nothing */
        *err = files->error;
        return NULL;
    }
    struct strbuf names = STRBUF_INIT;
    char *shown = displayable_string(files->path);
    add_names(&names, 0);
    error_set(err, STATUS_REFUSED, "%s: does not look like an SAE in any known format: there is %s", shown,
              strbuf_string(&names));
    strbuf_free(&names);
    free(shown);
    return NULL;
}

static int import_with(struct importing *im, const struct sae_format *format, struct store *s,
                       artifact_id *id, struct error *err)
{
    import_source(im, "format", format->name);
    int status = format->read(im, err);
    if (!status)
        status = importing_find_owner(im, s, err);
    return status ? status : importing_save(im, s, id, err);
}

int sae_import_path(struct store *s, const struct sae_import *o, struct monitor *m, artifact_id *id,
                    struct error *err)
{
    if (!path_exists(o->path)) {
        char *shown = displayable_string(o->path);
        error_set(err, STATUS_REFUSED, "%s: no such file or folder", shown);
        free(shown);
        return STATUS_REFUSED;
    }
    struct importing im;
    importing_init(&im, o, m, store_path(s));
    const struct sae_format *format =
        o->format ? find_format(o->format, 0, err) : detect_format(&im.files, err);
    int status = format ? import_with(&im, format, s, id, err) : STATUS_REFUSED;
    importing_free(&im);
    return status;
}

void sae_import_amend(const struct sae_import *o, json *manifest)
{
    const struct release_facts *f = o->facts;
    json *source = json_get(manifest, "source"), *quirks = json_get(source, "quirks");
    if (o->neuronpedia_id)
        json_set(source, "neuronpedia_id", json_new_string(o->neuronpedia_id));
    if (!f)
        return;
    if (f->origin)
        json_set(source, "hub", json_new_string(f->origin));
    if (f->release)
        json_set(source, "release", json_new_string(f->release));
    if (f->neuronpedia && json_is_null(json_get(source, "neuronpedia_id")))
        json_set(source, "neuronpedia_id", json_new_string(f->neuronpedia));
    if (f->center && !json_get_boolean(manifest, "center_activations", 0)) {
        json_set(manifest, "center_activations", json_new_boolean(1));
        if (json_is_array(quirks))
            json_append(quirks, json_new_string("activations are centred, as this release was trained "
                                                "(center_writing_weights)"));
    }
}

int sae_export_folder(struct store *s, artifact_id sae, const char *directory, const char *format,
                      enum dtype dtype, struct monitor *m, struct error *err)
{
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16)
        return error_set(err, STATUS_USAGE, "weights are written as F32, F16 or BF16, not as %s",
                         dtype_name(dtype));
    const struct sae_format *chosen = find_format(format ? format : "saelens", 1, err);
    return chosen ? chosen->export(s, sae, directory, dtype, m, err) : STATUS_REFUSED;
}
