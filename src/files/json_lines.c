/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON lines one by one, and the batches of a folder. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/gzip.h"
#include "saescope/files/json_lines.h"

#define LINE_BYTES_MAX ((size_t)64 << 20)

const char *const json_lines_endings[] = {".jsonl", ".jsonl.gz", NULL};

struct json_lines {
    struct gzip_reader *reader;
    char *shown;
    size_t number;
    struct strbuf line, where;
};

int json_lines_open(const char *path, struct json_lines **out, struct error *err)
{
    struct gzip_reader *reader;
    int status = gzip_reader_open(path, &reader, err);
    *out = NULL;
    if (status)
        return status;
    *out = xcalloc(1, sizeof(**out));
    (*out)->reader = reader;
    (*out)->shown = displayable_string(path);
    return STATUS_OK;
}

void json_lines_close(struct json_lines *l)
{
    if (!l)
        return;
    gzip_reader_close(l->reader);
    strbuf_free(&l->line);
    strbuf_free(&l->where);
    free(l->shown);
    free(l);
}

const char *json_lines_where(struct json_lines *l)
{
    strbuf_reset(&l->where);
    strbuf_addf(&l->where, "%s:%zu", l->shown, l->number);
    return strbuf_string(&l->where);
}

uint64_t json_lines_position(const struct json_lines *l)
{
    return gzip_reader_position(l->reader);
}

int json_lines_next(struct json_lines *l, json **value, struct error *err)
{
    int end = 0;
    *value = NULL;
    for (;;) {
        int status = gzip_reader_line(l->reader, LINE_BYTES_MAX, &l->line, &end, err);
        if (status || end)
            return status;
        l->number++;
        const char *text = strbuf_string(&l->line);
        if (l->line.length > strspn(text, " \t"))
            break;
    }
    *value = json_parse(l->line.data, l->line.length, json_lines_where(l), err);
    if (!*value)
        return err ? err->code : STATUS_REFUSED;
    if (json_is_object(*value))
        return STATUS_OK;
    json_free(*value);
    *value = NULL;
    return error_set(err, STATUS_REFUSED, "%s: no JSON object", json_lines_where(l));
}

/* ---- Batches. ---- */

/* The number of "batch-N" and one of the endings; -1: none. */
static int batch_number(const char *name, const char *const *endings, unsigned long long *number)
{
    if (strncmp(name, "batch-", 6) != 0)
        return -1;
    size_t digits = strspn(name + 6, "0123456789");
    for (size_t i = 0; endings[i]; i++)
        if (strcmp(name + 6 + digits, endings[i]) == 0) {
            char *text = xstrndup(name + 6, digits);
            int bad = parse_u64(text, 0, UINT64_MAX >> 1, number);
            free(text);
            return bad;
        }
    return -1;
}

struct numbered {
    unsigned long long number;
    char *path;
};

static int compare_numbers(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int list_batches(DIR *dir, const char *path, const char *const *endings, struct batch_files *out,
                        struct error *err)
{
    struct numbered *found = NULL;
    size_t n = 0;
    int status = STATUS_OK;
    for (struct dirent *entry; (entry = readdir(dir));) {
        unsigned long long number;
        struct stat st;
        if (batch_number(entry->d_name, endings, &number))
            continue;
        char *file = path_join(path, entry->d_name);
        if (stat(file, &st) || !S_ISREG(st.st_mode)) {
            free(file);
            continue;
        }
        found = xreallocarray(found, n + 1, sizeof(*found));
        found[n++] = (struct numbered){number, file};
        out->bytes += (uint64_t)st.st_size;
    }
    if (n)
        qsort(found, n, sizeof(*found), compare_numbers);
    out->paths = xcalloc(n + 1, sizeof(*out->paths));
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        out->paths[i] = found[i].path;
        if (!status && i && found[i].number == found[i - 1].number) {
            char *shown = displayable_string(path);
            status = error_set(err, STATUS_REFUSED, "%s: two files are batch %llu: remove one of them", shown,
                               found[i].number);
            free(shown);
        }
    }
    free(found);
    return status;
}

int batch_files_find(const char *path, const char *const *endings, struct batch_files *out, struct error *err)
{
    *out = (struct batch_files){NULL, 0, 0};
    if (!path_is_directory(path)) {
        struct stat st;
        out->paths = xcalloc(1, sizeof(*out->paths));
        out->paths[out->n++] = xstrdup(path);
        if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            out->bytes = (uint64_t)st.st_size;
        return STATUS_OK;
    }
    DIR *dir = opendir(path);
    if (!dir) {
        char *shown = displayable_string(path);
        int status = error_system(err, STATUS_REFUSED, errno, "%s: cannot read the directory", shown);
        free(shown);
        return status;
    }
    int status = list_batches(dir, path, endings, out, err);
    closedir(dir);
    if (status)
        batch_files_free(out);
    return status;
}

void batch_files_free(struct batch_files *b)
{
    for (size_t i = 0; i < b->n; i++)
        free(b->paths[i]);
    free(b->paths);
    *b = (struct batch_files){NULL, 0, 0};
}
