/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an imported SAE belongs to: a model and a hook of it, or the SAEs that a meta-SAE was trained on. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/model/model.h"
#include "saescope/sae/bases.h"

/* ---- Bases. ---- */

static void add_base(struct importing *im, artifact_id id)
{
    im->bases = xreallocarray(im->bases, im->n_bases + 1, sizeof(*im->bases));
    im->bases[im->n_bases++] = id;
}

static int find_base(struct importing *im, struct store_txn *t, const char *name, struct error *err)
{
    struct artifact base;
    if (!name)
        return error_set(err, STATUS_REFUSED,
                         "%s is a meta-SAE and does not name its base: name it with --base",
                         im->options->name);
    if (store_find(t, ARTIFACT_SAE, name, &base, NULL)) {
        char *shown = displayable_string(name);
        error_set(err, STATUS_REFUSED,
                  "%s is a meta-SAE of %s, which is not in the store: import that first, or name its "
                  "base with --base",
                  im->options->name, shown);
        free(shown);
        return STATUS_REFUSED;
    }
    add_base(im, base.id);
    return STATUS_OK;
}

static int check_base(const struct importing *im, struct store_txn *t, artifact_id base, struct error *err)
{
    json *manifest = store_manifest(t, base, err);
    if (!manifest)
        return STATUS_REFUSED;
    long long d_in = json_get_integer(manifest, "d_in", 0);
    json_free(manifest);
    if ((size_t)d_in != im->sae.d_in)
        return error_set(err, STATUS_REFUSED, "d_in is %zu, but its base's decoder rows have %lld numbers",
                         im->sae.d_in, d_in);
    return STATUS_OK;
}

/* The one that is given, or those that the file names. */
static int find_bases(struct importing *im, struct store_txn *t, struct error *err)
{
    const json *names = im->base_names;
    int status = STATUS_OK;
    if (im->options->base)
        add_base(im, im->options->base);
    else if (json_length(names) == 0)
        status = find_base(im, t, NULL, err);
    for (size_t i = 0; !status && !im->options->base && i < json_length(names); i++)
        status = find_base(im, t, json_string(json_at(names, i), NULL), err);
    for (size_t i = 0; !status && i < im->n_bases; i++) {
        status = check_base(im, t, im->bases[i], err);
        for (size_t j = 0; !status && j < i; j++)
            if (im->bases[j] == im->bases[i])
                status = import_refuse(im, NULL, err, "\"bases\" names an SAE twice");
    }
    return status;
}

/* ---- Model and hook. ---- */

static void limit_context(struct importing *im, size_t longest)
{
    if (im->context_size <= longest)
        return;
    import_quirk(im, "contexts of %zu tokens are longer than the model's, which are %zu", im->context_size,
                 longest);
    im->context_size = longest;
}

/* Other programs' names of the hook become the model's own. */
static int check_hook(struct importing *im, struct store_txn *t, const char *name, struct error *err)
{
    struct model *model = NULL;
    struct hook hook;
    int status = model_open(t, im->model, &model, err);
    if (status)
        return status;
    status = hook_parse(model_get_config(model), name, &hook, err);
    if (!status && hook_width(model_get_config(model), &hook) != im->sae.d_in)
        status = error_set(err, STATUS_REFUSED, "d_in is %zu, but %s of %s has %zu numbers", im->sae.d_in,
                           hook.name, model_name(model), hook_width(model_get_config(model), &hook));
    if (!status) {
        import_hook(im, hook.name);
        limit_context(im, model_get_config(model)->context_length);
    }
    model_free(model);
    return status;
}

/* "EleutherAI/pythia-70m" is also known as pythia-70m. */
static void find_named_model(struct importing *im, struct store_txn *t)
{
    const char *name = im->model_name, *slash = name ? strrchr(name, '/') : NULL;
    struct artifact a;
    if (slash)
        name = slash + 1;
    if (name && !store_check_name(name, NULL) && store_find(t, ARTIFACT_MODEL, name, &a, NULL) == STATUS_OK)
        im->model = a.id;
}

static int find_model(struct importing *im, struct store_txn *t, struct error *err)
{
    struct hook hook;
    const char *given = im->options->hook;
    if (given)
        import_hook(im, given);
    if (!im->hook)
        return import_refuse(im, NULL, err, "names no hook: name it with --hook, or add the configuration that says it "
                            "(SAELens' is cfg.json)");
    if (strlen(im->hook) >= sizeof(hook.name) || !utf8_valid(im->hook, strlen(im->hook)))
        return import_refuse(im, NULL, err, "the hook's name is no hook's name");
    im->model = im->options->model;
    if (!im->model)
        find_named_model(im, t);
    if (im->model)
        return check_hook(im, t, im->module && !given ? im->module : im->hook, err);
    if (hook_translate(im->hook, &hook))
        import_hook(im, hook.name);
    return STATUS_OK;
}

int importing_find_owner(struct importing *im, struct store *s, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    if (im->options->base || im->is_meta)
        status = find_bases(im, t, err);
    else
        status = find_model(im, t, err);
    store_end(t);
    return status;
}
