/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which files of a repository are wanted: a model's, one SAE's, or those that match a pattern. */
#include "config.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"
#include "saescope/formats/importing.h"

#define NAMES_SHOWN 12

/* ---- Lists. ---- */

void hub_listing_add(struct hub_listing *list, const struct hub_file *file)
{
    list->files = xreallocarray(list->files, list->n + 1, sizeof *list->files);
    list->files[list->n++] = *file;
}

static int by_path(const void *a, const void *b)
{
    const struct hub_file *first = a, *second = b;
    return strcmp(first->path, second->path);
}

void hub_listing_sort(struct hub_listing *list)
{
    if (list->n > 1)
        qsort(list->files, list->n, sizeof *list->files, by_path);
}

void hub_listing_free(struct hub_listing *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->files[i].path);
        free(list->files[i].oid);
        free(list->files[i].sha256);
    }
    free(list->files);
    *list = (struct hub_listing){0};
}

/* ---- Paths. ---- */

static size_t folder_length(const char *path)
{
    const char *base = path_base(path);
    return base > path ? (size_t)(base - path) - 1 : 0;
}

/* Whether the file lies right in the folder ("" is the repository). */
static int is_in(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return folder_length(path) == n && strncmp(path, folder, n) == 0 && (n == 0 || path[n] == '/');
}

static const struct hub_file *find_in(const struct hub_listing *list, const char *folder, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (is_in(list->files[i].path, folder) && strcmp(path_base(list->files[i].path), name) == 0)
            return &list->files[i];
    return NULL;
}

static size_t find_file(const struct hub_listing *list, const char *path)
{
    size_t i = 0;
    while (i < list->n && strcmp(list->files[i].path, path) != 0)
        i++;
    return i;
}

static int is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0)
            return 1;
    return 0;
}

/* ---- Models: config.json, a tokenizer, and weights whole or in shards. ---- */

/* How weights are kept, in the order in which model import looks for them; of others than the first, nothing
 * is taken. */
struct model_weights {
    const char *file, *shards; /* shards NULL: the file is all */
};
static const struct model_weights model_weights[] = {
    {"model.safetensors", NULL},
    {"model.safetensors.index.json", "model-*.safetensors"},
    {"pytorch_model.bin", NULL},
    {"pytorch_model.bin.index.json", "pytorch_model-*.bin"},
};

static const struct model_weights *find_weights(const struct hub_listing *list, const char *folder)
{
    for (size_t i = 0; i < ARRAY_LENGTH(model_weights); i++)
        if (find_in(list, folder, model_weights[i].file))
            return &model_weights[i];
    return NULL;
}

static int is_model(const struct hub_listing *list, const char *folder)
{
    return find_in(list, folder, "config.json") && find_weights(list, folder);
}

static void select_model(struct hub_listing *list, const char *folder)
{
    static const char *const small[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        NULL};
    const struct model_weights *weights = find_weights(list, folder);
    for (size_t i = 0; i < list->n; i++) {
        struct hub_file *file = &list->files[i];
        const char *name = path_base(file->path);
        if (!is_in(file->path, folder))
            continue;
        file->selected = is_one_of(name, small) || strcmp(name, weights->file) == 0 ||
                         (weights->shards && fnmatch(weights->shards, name, 0) == 0);
    }
}

static int refuse_model(const struct hub_listing *list, const char *folder, const char *where,
                        struct error *err)
{
    if (find_in(list, folder, "config.json"))
        return error_set(
            err, STATUS_REFUSED,
            "%s has neither model.safetensors nor pytorch_model.bin, and other files of weights are not read "
            "for models: a pull request may have a converted one (@refs/pr/N)",
            where);
    return error_set(err, STATUS_REFUSED, "%s has no config.json: no model is there", where);
}

/* ---- SAEs: one file of weights, and the small files about it. ---- */

static int is_weights(const char *path)
{
    static const char *const others[] = {"sparsity.safetensors", "activations_store_state.safetensors",
                                         "trainer_state.pt", "optimizer.pt", NULL};
    const char *name = path_base(path);
    return !is_one_of(name, others) &&
           (string_ends_with(name, ".safetensors") || string_ends_with(name, ".npz") ||
            string_ends_with(name, ".pt") || string_ends_with(name, ".pth"));
}

/* What sparsify calls them; the run's config.json is in the folder above. */
static int is_sparsify(const struct hub_listing *list, const char *folder)
{
    return find_in(list, folder, "cfg.json") && find_in(list, folder, "sae.safetensors");
}

/* Whether the files of the folder above belong to what is in this one: Llama Scope's and
 * dictionary_learning's checkpoints lie below their configurations. */
static int is_described_above(const struct hub_listing *list, const char *folder)
{
    return *folder && (is_sparsify(list, folder) || strcmp(path_base(folder), "checkpoints") == 0);
}

char *hub_listing_above(const struct hub_listing *list, const struct hub_source *source)
{
    const char *path = source->folder;
    int is_file = find_file(list, path) < list->n;
    char *folder = is_file ? xstrndup(path, folder_length(path)) : xstrdup(path);
    char *above = is_described_above(list, folder) ? xstrndup(folder, folder_length(folder)) : NULL;
    free(folder);
    return above;
}

/* The folder that is imported for a file of weights, malloc'd: its own, or with Llama Scope's files the one
 * above. */
static char *unit_of(const struct hub_listing *list, const char *path)
{
    char *folder = xstrndup(path, folder_length(path));
    if (strcmp(path_base(folder), "checkpoints") == 0) {
        char *above = xstrndup(folder, folder_length(folder));
        if (find_in(list, above, "hyperparams.json")) {
            free(folder);
            return above;
        }
        free(above);
    }
    return folder;
}

struct units {
    char **paths;    /* folders, or files when a folder has several */
    size_t *weights; /* index of the file of weights */
    size_t n;
};

static void add_unit(struct units *u, char *path, size_t weights)
{
    u->paths = xreallocarray(u->paths, u->n + 1, sizeof *u->paths);
    u->weights = xreallocarray(u->weights, u->n + 1, sizeof *u->weights);
    u->weights[u->n] = weights;
    u->paths[u->n++] = path;
}

static int is_unit(const struct hub_file *file)
{
    return !file->above && is_weights(file->path);
}

static void find_units(const struct hub_listing *list, const char *folder, struct units *u)
{
    int in_folder = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (!is_unit(&list->files[i]))
            continue;
        char *unit = unit_of(list, list->files[i].path);
        in_folder |= strcmp(unit, folder) == 0;
        free(unit);
    }
    for (size_t i = 0; i < list->n; i++) {
        const char *path = list->files[i].path;
        if (!is_unit(&list->files[i]))
            continue;
        char *unit = unit_of(list, path);
        /* Checkpoints below an SAE's own folder are not what was asked for. */
        if (in_folder && strcmp(unit, folder) != 0)
            free(unit);
        else
            add_unit(u, unit, i);
    }
    /* Several files of weights in one folder are an SAE each. */
    for (size_t i = 0; i < u->n; i++) {
        int shared = 0;
        const char *own = list->files[u->weights[i]].path;
        for (size_t j = 0; j < u->n; j++) {
            const char *other = list->files[u->weights[j]].path;
            shared |= i != j && folder_length(own) == folder_length(other) &&
                      strncmp(own, other, folder_length(own)) == 0;
        }
        if (shared) {
            free(u->paths[i]);
            u->paths[i] = xstrdup(own);
        }
    }
}

static void free_units(struct units *u)
{
    for (size_t i = 0; i < u->n; i++)
        free(u->paths[i]);
    free(u->paths);
    free(u->weights);
}

static int refuse_units(const struct units *u, const char *where, struct error *err)
{
    struct strbuf names = STRBUF_INIT;
    if (u->n == 0)
        return error_set(err, STATUS_REFUSED,
                         "%s has no file of weights that is known (safetensors, npz, pt): nothing to import; "
                         "--import none --files PATTERN only downloads",
                         where);
    for (size_t i = 0; i < u->n && i < NAMES_SHOWN; i++) {
        strbuf_adds(&names, i ? ", " : "");
        displayable(&names, u->paths[i], strlen(u->paths[i]));
    }
    error_set(err, STATUS_REFUSED, "%s holds %zu SAEs: name one of their folders or files: %s%s", where, u->n,
              strbuf_string(&names), u->n > NAMES_SHOWN ? ", ..." : "");
    strbuf_free(&names);
    return STATUS_REFUSED;
}

/* Configs beside the weights, and those of a file of several: "NAME.json", "NAME_cfg.json". */
static int is_about(const char *path, const char *weights, int alone)
{
    static const char *const shared[] = {"config.json", "cfg.json", "hyperparams.json", NULL};
    const char *name = path_base(path), *own = path_base(weights);
    size_t stem = (size_t)(strrchr(own, '.') - own);
    if (strcmp(name, "sparsity.safetensors") == 0)
        return alone;
    if (!string_ends_with(name, ".json"))
        return 0;
    return alone || is_one_of(name, shared) || strncmp(name, own, stem) == 0;
}

/* The configuration of what is in the folder. */
static void select_above(struct hub_listing *list, const char *folder)
{
    char *above = xstrndup(folder, folder_length(folder));
    int only_run = is_sparsify(list, folder);
    for (size_t i = 0; i < list->n; i++) {
        struct hub_file *file = &list->files[i];
        const char *name = path_base(file->path);
        file->selected |= is_in(file->path, above) &&
                          (only_run ? strcmp(name, "config.json") == 0 : string_ends_with(name, ".json"));
    }
    free(above);
}

static void select_unit(struct hub_listing *list, const char *unit, size_t weights, int alone)
{
    char *folder = alone ? xstrdup(unit) : xstrndup(unit, folder_length(unit));
    const char *path = list->files[weights].path;
    list->files[weights].selected = 1;
    for (size_t i = 0; i < list->n; i++) {
        struct hub_file *file = &list->files[i];
        file->selected |= is_in(file->path, folder) && is_about(file->path, path, alone);
    }
    char *own = xstrndup(path, folder_length(path));
    if (is_described_above(list, own))
        select_above(list, own);
    free(own);
    free(folder);
}

/* The source is one file of weights. It alone is imported, unless its folder holds no other. */
static int select_file(struct hub_listing *list, size_t weights, char **import)
{
    const char *path = list->files[weights].path;
    char *unit = unit_of(list, path);
    int others = 0;
    for (size_t i = 0; i < list->n; i++)
        others |= i != weights && is_unit(&list->files[i]);
    *import = others ? xstrdup(path) : xstrdup(unit);
    select_unit(list, *import, weights, !others);
    free(unit);
    return STATUS_OK;
}

static int select_sae(struct hub_listing *list, const char *folder, const char *where, char **import,
                      struct error *err)
{
    size_t file = find_file(list, folder);
    if (file < list->n && is_weights(folder))
        return select_file(list, file, import);
    struct units u = {NULL, NULL, 0};
    find_units(list, folder, &u);
    int status = u.n == 1 ? STATUS_OK : refuse_units(&u, where, err);
    if (status == STATUS_OK) {
        select_unit(list, u.paths[0], u.weights[0], 1);
        *import = xstrdup(u.paths[0]);
    }
    free_units(&u);
    return status;
}

/* ---- Patterns. ---- */

static int select_matching(struct hub_listing *list, const struct hub_source *source, const char *glob,
                           const char *where, struct error *err)
{
    size_t skip = *source->folder ? strlen(source->folder) + 1 : 0, n = 0;
    for (size_t i = 0; i < list->n; i++) {
        const char *path = list->files[i].path, *below = strlen(path) > skip ? path + skip : path_base(path);
        list->files[i].selected =
            !list->files[i].above && (fnmatch(glob, below, 0) == 0 || fnmatch(glob, path_base(path), 0) == 0);
        n += (size_t)list->files[i].selected;
    }
    if (n > 0)
        return STATUS_OK;
    char *shown = displayable_string(glob);
    error_set(err, STATUS_REFUSED, "%s has no file that matches %s", where, shown);
    free(shown);
    return STATUS_REFUSED;
}

/* What the selected files alone are. */
static int select_from_matching(struct hub_listing *list, const struct hub_source *source,
                                enum hub_content *content, char **import, struct error *err)
{
    struct hub_listing chosen = {.from_cache = list->from_cache};
    for (size_t i = 0; i < list->n; i++)
        if (list->files[i].selected) {
            chosen.files = xreallocarray(chosen.files, chosen.n + 1, sizeof *chosen.files);
            chosen.files[chosen.n++] = list->files[i];
        }
    enum hub_content wanted = *content;
    int status = hub_select(&chosen, source, NULL, content, import, err);
    if (status != STATUS_OK && wanted == HUB_AUTO) { /* then they are only downloaded */
        *content = HUB_NONE;
        *import = xstrdup(source->folder);
        status = STATUS_OK;
    }
    free(chosen.files); /* the strings are the list's */
    return status;
}

/* The source is one file that is nothing to import. */
static int is_other_file(const struct hub_listing *list, const char *folder, enum hub_content content)
{
    return (content == HUB_AUTO || content == HUB_NONE) && find_file(list, folder) < list->n &&
           !is_weights(folder);
}

int hub_select(struct hub_listing *list, const struct hub_source *source, const char *glob,
               enum hub_content *content, char **import, struct error *err)
{
    char *name = *source->folder ? xasprintf("%s/%s", source->repository, source->folder)
                                 : xstrdup(source->repository);
    char *where = displayable_string(name);
    int status = STATUS_OK;
    *import = NULL;
    free(name);
    if (glob) {
        status = select_matching(list, source, glob, where, err);
        if (status == STATUS_OK && *content != HUB_NONE)
            status = select_from_matching(list, source, content, import, err);
        else if (status == STATUS_OK)
            *import = xstrdup(source->folder);
    } else if (is_other_file(list, source->folder, *content)) {
        list->files[find_file(list, source->folder)].selected = 1;
        *import = xstrdup(source->folder);
        *content = HUB_NONE;
    } else if (*content == HUB_MODEL || (*content != HUB_SAE && is_model(list, source->folder))) {
        status = is_model(list, source->folder) ? STATUS_OK : refuse_model(list, source->folder, where, err);
        if (status == STATUS_OK) {
            select_model(list, source->folder);
            *import = xstrdup(source->folder);
            *content = *content == HUB_NONE ? HUB_NONE : HUB_MODEL;
        }
    } else if (*content != HUB_NONE && place_of_others(where)) {
        status = error_set(err, STATUS_REFUSED, "%s: %s, " OTHERS_REFUSED " (--import none only downloads)",
                           where, place_of_others(where));
    } else {
        status = select_sae(list, source->folder, where, import, err);
        if (status == STATUS_OK && *content == HUB_AUTO)
            *content = HUB_SAE;
    }
    free(where);
    return status;
}
