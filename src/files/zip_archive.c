/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libzip over a map. It reads the map through a source of ours, which notes where in the file it reads: that
 * is how the place of a stored entry's bytes is known without a second reader of zip files' directories.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/files/zip_archive.h"

#ifdef HAVE_LIBZIP

#include <zip.h>

#define PIECE ((size_t)256 << 10)

struct zip_archive {
    const struct file_map *map;
    zip_t *zip;
    zip_error_t error;
    uint64_t at; /* where the source stands */
    /* What was read since `reading` was cleared, as long as it was one piece of the file. */
    uint64_t first, end;
    int reading, scattered;
};

static void note_reading(struct zip_archive *z, uint64_t n)
{
    if (!z->reading)
        z->first = z->at;
    else if (z->at != z->end)
        z->scattered = 1;
    z->reading = 1;
    z->end = z->at + n;
}

static zip_int64_t source_read(struct zip_archive *z, void *data, zip_uint64_t length)
{
    uint64_t left = z->map->size - z->at;
    uint64_t n = length < left ? length : left;
    if (n) {
        memcpy(data, z->map->data + z->at, n);
        note_reading(z, n);
    }
    z->at += n;
    return (zip_int64_t)n;
}

static zip_int64_t source_callback(void *arg, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    struct zip_archive *z = arg;
    zip_int64_t at;
    switch (command) {
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    case ZIP_SOURCE_OPEN:
        z->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return source_read(z, data, length);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_SEEK:
        at = zip_source_seek_compute_offset(z->at, z->map->size, data, length, &z->error);
        if (at < 0)
            return -1;
        z->at = (uint64_t)at;
        return 0;
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)z->at;
    case ZIP_SOURCE_STAT: {
        zip_stat_t *st = data;
        if (length < sizeof *st) {
            zip_error_set(&z->error, ZIP_ER_INVAL, 0);
            return -1;
        }
        zip_stat_init(st);
        st->size = z->map->size;
        st->valid = ZIP_STAT_SIZE;
        return (zip_int64_t)sizeof *st;
    }
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&z->error, data, length);
    default:
        zip_error_set(&z->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

int zip_archive_open(const struct file_map *map, struct zip_archive **out, struct error *err)
{
    struct zip_archive *z = xcalloc(1, sizeof *z);
    z->map = map;
    zip_error_init(&z->error);
    zip_error_t problem;
    zip_error_init(&problem);
    zip_source_t *source = zip_source_function_create(source_callback, z, &problem);
    if (source && !(z->zip = zip_open_from_source(source, ZIP_RDONLY, &problem)))
        zip_source_free(source);
    int code = STATUS_OK;
    if (!z->zip) {
        char *shown = displayable_string(map->path);
        code = error_set(err, STATUS_REFUSED, "%s: damaged zip file: %s (is it truncated?)", shown,
                         zip_error_strerror(&problem));
        free(shown);
        zip_archive_close(z);
        z = NULL;
    }
    zip_error_fini(&problem);
    *out = z;
    return code;
}

void zip_archive_close(struct zip_archive *z)
{
    if (!z)
        return;
    if (z->zip)
        zip_discard(z->zip);
    zip_error_fini(&z->error);
    free(z);
}

size_t zip_archive_count(const struct zip_archive *z)
{
    zip_int64_t n = zip_get_num_entries(z->zip, 0);
    return n > 0 ? (size_t)n : 0;
}

const char *zip_entry_name(const struct zip_archive *z, size_t entry)
{
    const char *name = zip_get_name(z->zip, entry, ZIP_FL_ENC_RAW);
    return name ? name : "";
}

size_t zip_entry_size(const struct zip_archive *z, size_t entry)
{
    zip_stat_t st;
    return !zip_stat_index(z->zip, entry, 0, &st) && st.valid & ZIP_STAT_SIZE ? (size_t)st.size : 0;
}

size_t zip_entry_find(const struct zip_archive *z, const char *name)
{
    zip_int64_t i = zip_name_locate(z->zip, name, ZIP_FL_ENC_RAW);
    return i < 0 ? ZIP_NO_ENTRY : (size_t)i;
}

static int refuse_entry(const struct zip_archive *z, size_t entry, const char *what, const char *detail,
                        struct error *err)
{
    char *path = displayable_string(z->map->path), *name = displayable_string(zip_entry_name(z, entry));
    int code = error_set(err, STATUS_REFUSED, "%s: entry %s %s%s%s", path, name, what, detail ? ": " : "",
                         detail ? detail : "");
    free(path);
    free(name);
    return code;
}

static int open_entry(struct zip_archive *z, size_t entry, zip_file_t **out, int *stored, struct error *err)
{
    zip_stat_t st;
    const zip_uint64_t needed =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD | ZIP_STAT_CRC;
    if (zip_stat_index(z->zip, entry, 0, &st) || (st.valid & needed) != needed)
        return refuse_entry(z, entry, "has no sizes", NULL, err);
    if (st.encryption_method != ZIP_EM_NONE)
        return refuse_entry(z, entry, "is encrypted", NULL, err);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return refuse_entry(z, entry, "is compressed by something else than deflate", NULL, err);
    *stored = st.comp_method == ZIP_CM_STORE;
    *out = zip_fopen_index(z->zip, entry, 0);
    if (!*out)
        return refuse_entry(z, entry, "cannot be read", zip_strerror(z->zip), err);
    z->reading = z->scattered = 0;
    return STATUS_OK;
}

/* Up to n bytes; fewer only at the entry's end. */
static int read_some(struct zip_archive *z, size_t entry, zip_file_t *f, unsigned char *dst, size_t n,
                     size_t *got, struct error *err)
{
    *got = 0;
    while (*got < n) {
        zip_int64_t piece = zip_fread(f, dst + *got, n - *got);
        if (piece < 0)
            return refuse_entry(z, entry, "is damaged", zip_file_strerror(f), err);
        if (piece == 0)
            break;
        *got += (size_t)piece;
    }
    return STATUS_OK;
}

int zip_entry_peek(struct zip_archive *z, size_t entry, void *buf, size_t n, size_t *got, struct error *err)
{
    zip_file_t *f;
    int stored;
    int code = open_entry(z, entry, &f, &stored, err);
    if (code)
        return code;
    code = read_some(z, entry, f, buf, n, got, err);
    zip_fclose(f);
    return code;
}

/* Reads to the end, which is where libzip compares checksum and size. Pieces go to dst, or nowhere when it is
 * NULL. */
static int read_whole(struct zip_archive *z, size_t entry, zip_file_t *f, unsigned char *dst,
                      struct error *err)
{
    size_t size = zip_entry_size(z, entry), got;
    unsigned char *piece = dst ? NULL : xmalloc(PIECE);
    int code = STATUS_OK;
    for (size_t at = 0; at < size && !code; at += got) {
        size_t n = dst || size - at < PIECE ? size - at : PIECE;
        code = read_some(z, entry, f, dst ? dst + at : piece, n, &got, err);
        if (!code && got < n)
            code = refuse_entry(z, entry, "is shorter than its declared size", NULL, err);
    }
    unsigned char beyond;
    if (!code)
        code = read_some(z, entry, f, &beyond, 1, &got, err);
    if (!code && got)
        code = refuse_entry(z, entry, "is longer than its declared size", NULL, err);
    free(piece);
    return code;
}

int zip_entry_read(struct zip_archive *z, size_t entry, void *dst, struct error *err)
{
    zip_file_t *f;
    int stored;
    int code = open_entry(z, entry, &f, &stored, err);
    if (code)
        return code;
    code = read_whole(z, entry, f, dst, err);
    zip_fclose(f);
    return code;
}

int zip_entry_map(struct zip_archive *z, size_t entry, const unsigned char **bytes, struct error *err)
{
    *bytes = NULL;
    zip_file_t *f;
    int stored;
    int code = open_entry(z, entry, &f, &stored, err);
    if (code)
        return code;
    if (stored) {
        code = read_whole(z, entry, f, NULL, err);
        if (!code && !z->scattered && (!z->reading || z->end - z->first == zip_entry_size(z, entry)))
            *bytes = z->map->data + (z->reading ? z->first : 0);
    }
    zip_fclose(f);
    return code;
}

const char *zip_library_version(void)
{
    return zip_libzip_version();
}

#else /* without libzip */

int zip_archive_open(const struct file_map *map, struct zip_archive **out, struct error *err)
{
    *out = NULL;
    char *shown = displayable_string(map->path);
    int code = error_set(err, STATUS_REFUSED,
                         "%s: a zip file (npz, PyTorch), but this saescope was built without libzip", shown);
    free(shown);
    return code;
}

void zip_archive_close(struct zip_archive *z)
{
    (void)z;
}

size_t zip_archive_count(const struct zip_archive *z)
{
    (void)z;
    return 0;
}

const char *zip_entry_name(const struct zip_archive *z, size_t entry)
{
    (void)z, (void)entry;
    return "";
}

size_t zip_entry_size(const struct zip_archive *z, size_t entry)
{
    (void)z, (void)entry;
    return 0;
}

size_t zip_entry_find(const struct zip_archive *z, const char *name)
{
    (void)z, (void)name;
    return ZIP_NO_ENTRY;
}

static int no_entry(struct error *err)
{
    return error_set(err, STATUS_REFUSED, "this saescope was built without libzip");
}

int zip_entry_peek(struct zip_archive *z, size_t entry, void *buf, size_t n, size_t *got, struct error *err)
{
    (void)z, (void)entry, (void)buf, (void)n;
    *got = 0;
    return no_entry(err);
}

int zip_entry_read(struct zip_archive *z, size_t entry, void *dst, struct error *err)
{
    (void)z, (void)entry, (void)dst;
    return no_entry(err);
}

int zip_entry_map(struct zip_archive *z, size_t entry, const unsigned char **bytes, struct error *err)
{
    (void)z, (void)entry;
    *bytes = NULL;
    return no_entry(err);
}

const char *zip_library_version(void)
{
    return NULL;
}

#endif
