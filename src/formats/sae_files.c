/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What lies at a path that may be an SAE. */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"

static char *folder_of(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n ? xstrndup(path, n) : xstrdup(".");
}

void sae_files_open(struct sae_files *f, const char *path, const char *scratch)
{
    *f = (struct sae_files){.path = path, .scratch = scratch, .is_directory = path_is_directory(path)};
    f->folder = f->is_directory ? xstrdup(path) : folder_of(path);
}

void sae_files_close(struct sae_files *f)
{
    tensor_file_close(f->tensors);
    free(f->folder);
    *f = (struct sae_files){0};
}

char *sae_files_path(const struct sae_files *f, const char *name)
{
    return path_join(f->folder, name);
}

static int has_file(const struct sae_files *f, const char *name)
{
    char *path = path_join(f->folder, name);
    int found = path_exists(path) && !path_is_directory(path);
    free(path);
    return found;
}

char *sae_files_config(const struct sae_files *f, const char *name)
{
    if (has_file(f, name))
        return xstrdup(name);
    char *folder = realpath(f->folder, NULL), *above = path_join("..", name);
    if (!folder || strcmp(path_base(folder), "checkpoints") != 0 || !has_file(f, above)) {
        free(above);
        above = NULL;
    }
    free(folder);
    return above;
}

int sae_files_have(const struct sae_files *f, const char *name, const char *second)
{
    const char *base = path_base(f->path);
    if (!f->is_directory && strcmp(base, path_base(name)) != 0 &&
        (!second || strcmp(base, path_base(second)) != 0))
        return 0;
    return has_file(f, name) && (!second || has_file(f, second));
}

static int is_tensor_name(const char *name)
{
    static const char *const endings[] = {".safetensors", ".npz", ".pt", ".pth", ".bin"};
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        size_t length = strlen(endings[i]);
        if (n > length && strcmp(name + n - length, endings[i]) == 0)
            return 1;
    }
    return 0;
}

/* The folder's only file of tensors, or NULL; malloc'd. */
static char *only_file(const struct sae_files *f)
{
    DIR *directory = opendir(f->folder);
    char *found = NULL;
    size_t count = 0;
    for (const struct dirent *e; directory && (e = readdir(directory));) {
        if (!is_tensor_name(e->d_name) || count++)
            continue;
        found = path_join(f->folder, e->d_name);
    }
    if (directory)
        closedir(directory);
    if (count == 1)
        return found;
    free(found);
    return NULL;
}

static struct tensor_file *open_tensors(struct sae_files *f, char *path)
{
    f->opened = 1;
    if (path)
        tensor_file_open(path, f->scratch, &f->tensors, &f->error);
    free(path);
    return f->tensors;
}

void sae_files_choose(struct sae_files *f, const char *name)
{
    if (!f->is_directory || !has_file(f, name) || f->chosen)
        return;
    tensor_file_close(f->tensors);
    f->tensors = NULL;
    f->chosen = 1;
    open_tensors(f, path_join(f->folder, name));
}

struct tensor_file *sae_files_tensors(struct sae_files *f)
{
    if (f->opened)
        return f->tensors;
    return open_tensors(f, f->is_directory ? only_file(f) : xstrdup(f->path));
}

int sae_files_tensor(struct sae_files *f, const char *name)
{
    struct tensor_file *tensors = sae_files_tensors(f);
    return tensors && tensor_file_find(tensors, name) != NULL;
}

/* ---- Facts that only paths tell. ---- */

char *sae_files_place(const struct sae_files *f)
{
    char *folder = realpath(f->folder, NULL);
    const char *start = folder ? folder : f->folder;
    char *place = f->is_directory ? xstrdup(start) : path_join(start, path_base(f->path));
    free(folder);
    return place;
}

long long place_number(const char *place, const char *mark)
{
    long long found = -1;
    for (const char *p = place; (p = strstr(p, mark)); p++) {
        const char *digits = p + strlen(mark);
        size_t n = strspn(digits, "0123456789");
        if (n > 0 && n < 9)
            found = strtoll(digits, NULL, 10);
    }
    return found;
}
