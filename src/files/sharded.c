/* SPDX-License-Identifier: GPL-3.0-or-later */
/* safetensors in several files, by their index. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/sharded.h"

#define SHARDS_MAX 10000

static int refuse(const struct sharded *s, struct error *err, const char *subject, const char *what)
{
    char *path = displayable_string(s->path), *shown = displayable_string(subject);
    int code = error_set(err, STATUS_REFUSED, "%s: %s %s", path, shown, what);
    free(path);
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
static int list_shards(const struct sharded *s, json *map, const char **names, size_t *n, struct error *err)
{
    void *iter = NULL;
    const char *tensor;
    json *file;
    size_t all = 0;
    *n = 0;
    while (json_next(map, &iter, &tensor, &file)) {
        const char *name = json_string(file, NULL);
        if (!name || strlen(name) != json_string_length(file) || !is_plain_name(name))
            return refuse(s, err, name ? name : tensor,
                          name ? "is no name of a file in this folder" : "is mapped to no file name");
        names[all++] = name;
    }
    if (all)
        qsort(names, all, sizeof *names, compare_strings);
    for (size_t i = 0; i < all; i++)
        if (!*n || strcmp(names[*n - 1], names[i]) != 0)
            names[(*n)++] = names[i];
    if (!*n)
        return refuse(s, err, "weight_map", "names no tensors");
    return *n > SHARDS_MAX ? refuse(s, err, "weight_map", "names more than 10,000 files") : STATUS_OK;
}

static char *beside(const char *path, const char *name)
{
    const char *base = path_base(path);
    char *folder = xstrndup(path, (size_t)(base - path));
    char *out = path_join(folder, name);
    free(folder);
    return out;
}

static void add_tensor(struct sharded *s, const struct named_tensor *t)
{
    /* Room for as many as the file has was made by its caller. */
    s->tensors[s->n_tensors++] = *t;
}

/* The tensors of one shard that the map places there. One that it places elsewhere is in two places. */
static int add_shard(struct sharded *s, const char *name, const json *map, struct error *err)
{
    char *path = beside(s->path, name);
    struct safetensors *file = &s->files[s->n_files];
    int code = path_exists(path) ? safetensors_open(file, path, err)
                                 : refuse(s, err, name, "is named there, but is not in its folder");
    free(path);
    if (code)
        return code;
    s->n_files++;
    s->tensors = xreallocarray(s->tensors, s->n_tensors + file->n_tensors + 1, sizeof *s->tensors);
    for (size_t i = 0; i < file->n_tensors && !code; i++) {
        const char *placed = json_string(json_get(map, file->tensors[i].name), NULL);
        if (placed && strcmp(placed, name) != 0) {
            char *shown = displayable_string(file->tensors[i].name);
            char *what = xasprintf("has tensor %s, which the index places in another file", shown);
            code = refuse(s, err, name, what);
            free(what);
            free(shown);
        } else if (placed) {
            add_tensor(s, &file->tensors[i]);
        }
    }
    return code;
}

/* Every tensor of the map was found: as many were added as the map has, and none twice. */
static int check_map(const struct sharded *s, json *map, struct error *err)
{
    if (s->n_tensors == json_length(map))
        return STATUS_OK;
    json *found = json_new_object();
    for (size_t i = 0; i < s->n_tensors; i++)
        json_set(found, s->tensors[i].name, json_new_null());
    void *iter = NULL;
    const char *tensor;
    json *file;
    int code = STATUS_OK;
    while (!code && json_next(map, &iter, &tensor, &file)) {
        if (!json_get(found, tensor)) {
            char *shown = displayable_string(tensor);
            char *what = xasprintf("has no tensor %s, which the index places there", shown);
            code = refuse(s, err, json_string(file, ""), what);
            free(what);
            free(shown);
        }
    }
    json_free(found);
    return code;
}

static int open_index(struct sharded *s, struct error *err)
{
    json *index = json_parse_file(s->path, err);
    if (!index)
        return STATUS_REFUSED;
    json *map = json_get(index, "weight_map");
    const char **names = NULL;
    size_t n = 0;
    int code = STATUS_OK;
    if (!json_is_object(map))
        code = refuse(s, err, "\"weight_map\"", "is missing: it is no index of safetensors files");
    if (!code && !(names = array_alloc(json_length(map) + 1, sizeof *names, "the names of shards", err)))
        code = STATUS_FAILED;
    if (!code)
        code = list_shards(s, map, names, &n, err);
    if (!code)
        s->files = xcalloc(n, sizeof *s->files);
    for (size_t i = 0; i < n && !code; i++)
        code = add_shard(s, names[i], map, err);
    if (!code)
        code = check_map(s, map, err);
    if (!code && json_is_object(json_get(index, "metadata")))
        s->metadata = json_retain(json_get(index, "metadata"));
    free(names);
    json_free(index);
    return code;
}

static int open_only_file(struct sharded *s, struct error *err)
{
    s->files = xcalloc(1, sizeof *s->files);
    int code = safetensors_open(&s->files[0], s->path, err);
    if (code)
        return code;
    s->n_files = 1;
    s->tensors = xcalloc(s->files[0].n_tensors + 1, sizeof *s->tensors);
    for (size_t i = 0; i < s->files[0].n_tensors; i++)
        add_tensor(s, &s->files[0].tensors[i]);
    if (s->files[0].metadata)
        s->metadata = json_retain(s->files[0].metadata);
    return STATUS_OK;
}

int sharded_is_index(const void *bytes, size_t n)
{
    /* A header's length that starts like JSON has zeros above: no header has 2^32 bytes. */
    return n > 8 && !memcmp(bytes, "{", 1) && !memchr(bytes, 0, 8);
}

int sharded_open(struct sharded *s, const char *path, struct error *err)
{
    memset(s, 0, sizeof *s);
    s->path = xstrdup(path);
    struct file_map map;
    int code = file_map_open(&map, path, err);
    if (!code) {
        int is_index = sharded_is_index(map.data, map.size);
        file_map_close(&map);
        code = is_index ? open_index(s, err) : open_only_file(s, err);
    }
    if (code)
        sharded_close(s);
    return code;
}

void sharded_close(struct sharded *s)
{
    for (size_t i = 0; i < s->n_files; i++)
        safetensors_close(&s->files[i]);
    free(s->files);
    free(s->tensors);
    json_free(s->metadata);
    free(s->path);
    memset(s, 0, sizeof *s);
}

const struct tensor *sharded_find(const struct sharded *s, const char *name)
{
    for (size_t i = 0; i < s->n_tensors; i++)
        if (!strcmp(s->tensors[i].name, name))
            return &s->tensors[i].tensor;
    return NULL;
}

int sharded_need(const struct sharded *s, const char *name, const struct tensor **out, struct error *err)
{
    *out = sharded_find(s, name);
    if (*out)
        return STATUS_OK;
    if (s->n_files == 1)
        return safetensors_need(&s->files[0], name, out, err);
    char *what = xasprintf("has no tensor %s among its %zu in %zu files", name, s->n_tensors, s->n_files);
    int code = refuse(s, err, "the index", what);
    free(what);
    return code;
}
