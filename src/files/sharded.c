/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tensors in several files, by their index: what it says is compared with what they hold. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/internal.h"

#define SHARDS_MAX 10000

static int refuse(const struct tensor_file *tf, struct error *err, const char *subject, const char *what)
{
    char *shown = displayable_string(subject);
    int code = tensor_file_refuse(tf, NULL, err, "%s %s", shown, what);
    free(shown);
    return code;
}

/* The same of a tensor that a shard has or has not. */
static int refuse_tensor(const struct tensor_file *tf, struct error *err, const char *shard, const char *has,
                         const char *tensor, const char *what)
{
    char *shown = displayable_string(tensor), *text = xasprintf("%s %s, %s", has, shown, what);
    int code = refuse(tf, err, shard, text);
    free(text);
    free(shown);
    return code;
}

/* Names of files in the index' own folder; the rest of the disk is none of its business. */
static int is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shards that the map names, in the order of their names; borrowed from it. */
static int list_shards(const struct tensor_file *tf, json *map, const char **names, size_t *n,
                       struct error *err)
{
    void *iter = NULL;
    const char *tensor;
    json *file;
    size_t all = 0;
    *n = 0;
    while (json_next(map, &iter, &tensor, &file)) {
        const char *name = json_string(file, NULL);
        if (!name || strlen(name) != json_string_length(file) || !is_plain_name(name))
            return refuse(tf, err, name ? name : tensor,
                          name ? "is no name of a file in this folder" : "is mapped to no file name");
        names[all++] = name;
    }
    if (all)
        qsort(names, all, sizeof *names, compare_strings);
    for (size_t i = 0; i < all; i++)
        if (!*n || strcmp(names[*n - 1], names[i]) != 0)
            names[(*n)++] = names[i];
    if (!*n)
        return refuse(tf, err, "weight_map", "names no tensors");
    return *n > SHARDS_MAX ? refuse(tf, err, "weight_map", "names more than 10,000 files") : STATUS_OK;
}

static char *beside(const char *path, const char *name)
{
    const char *base = path_base(path);
    char *folder = xstrndup(path, (size_t)(base - path));
    char *out = path_join(folder, name);
    free(folder);
    return out;
}

static int open_shard(struct tensor_file *tf, const char *name, struct error *err)
{
    char *path = beside(tf->path, name);
    struct tensor_file *shard = NULL;
    int code = path_exists(path) ? tensor_file_open_shard(path, tf->scratch, &shard, err)
                                 : refuse(tf, err, name, "is named there, but is not in its folder");
    free(path);
    if (code)
        return code;
    tf->shards[tf->n_shards++] = shard;
    return shard->container == CONTAINER_SAFETENSORS || shard->container == CONTAINER_TORCH
               ? STATUS_OK
               : refuse(tf, err, name, "is neither a safetensors file nor a PyTorch checkpoint");
}

/* The tensors of one shard that the map places there. One that it places elsewhere is in two places. */
static int add_shard(struct tensor_file *tf, const char *name, const json *map, struct error *err)
{
    int code = open_shard(tf, name, err);
    if (code)
        return code;
    const struct tensor_file *shard = tf->shards[tf->n_shards - 1];
    for (size_t i = 0; i < shard->n_tensors; i++) {
        const struct file_tensor *found = &shard->tensors[i];
        const char *placed = json_string(json_get(map, found->name), NULL);
        if (placed && strcmp(placed, name) != 0)
            return refuse_tensor(tf, err, name, "has tensor", found->name,
                                 "which the index places in another file");
        if (!placed)
            continue;
        struct file_tensor *t = tensor_file_add(tf, found->name);
        const char *own_name = t->name;
        *t = *found;
        t->name = own_name;
        t->shard = tf->n_shards;
    }
    return STATUS_OK;
}

/* Every tensor of the map was found: as many were added as the map has, and none twice. */
static int check_map(const struct tensor_file *tf, json *map, struct error *err)
{
    if (tf->n_tensors == json_length(map))
        return STATUS_OK;
    json *found = json_new_object();
    for (size_t i = 0; i < tf->n_tensors; i++)
        json_set(found, tf->tensors[i].name, json_new_null());
    void *iter = NULL;
    const char *tensor;
    json *file;
    int code = STATUS_OK;
    while (!code && json_next(map, &iter, &tensor, &file)) {
        if (!json_get(found, tensor))
            code = refuse_tensor(tf, err, json_string(file, ""), "has no tensor", tensor,
                                 "which the index places there");
    }
    json_free(found);
    return code;
}

int is_shard_index(const void *bytes, size_t n)
{
    /* A header's length that starts like JSON has zeros above: no header has 2^32 bytes. */
    return n > 8 && !memcmp(bytes, "{", 1) && !memchr(bytes, 0, 8);
}

int sharded_open(struct tensor_file *tf, struct error *err)
{
    json *index = json_parse_file(tf->path, err);
    if (!index)
        return STATUS_REFUSED;
    json *map = json_get(index, "weight_map");
    const char **names = NULL;
    size_t n = 0;
    int code = STATUS_OK;
    if (!json_is_object(map))
        code = refuse(tf, err, "\"weight_map\"", "is missing: it is no index of files of tensors");
    if (!code && !(names = array_alloc(json_length(map) + 1, sizeof *names, "the names of shards", err)))
        code = STATUS_FAILED;
    if (!code)
        code = list_shards(tf, map, names, &n, err);
    if (!code)
        tf->shards = xcalloc(n, sizeof *tf->shards);
    for (size_t i = 0; i < n && !code; i++)
        code = add_shard(tf, names[i], map, err);
    if (!code)
        code = check_map(tf, map, err);
    if (!code && json_is_object(json_get(index, "metadata")))
        tf->values = json_retain(json_get(index, "metadata"));
    free(names);
    json_free(index);
    return code;
}
