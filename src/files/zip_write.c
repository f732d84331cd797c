/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libzip asks each entry for its bytes when the archive is closed. */
#include "config.h"

#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/files/zip_write.h"

#ifdef HAVE_LIBZIP

#include <zip.h>

struct entry {
    const struct zip_entry_source *source;
    size_t at;
    zip_error_t zip_error;
    struct error *err; /* of the whole archive */
};

static zip_int64_t entry_read(struct entry *e, unsigned char *data, zip_uint64_t n)
{
    size_t left = e->source->size - e->at, count = n < left ? (size_t)n : left;
    if (count && e->source->read(e->source->arg, data, count, e->err)) {
        zip_error_set(&e->zip_error, ZIP_ER_READ, 0);
        return -1;
    }
    e->at += count;
    return (zip_int64_t)count;
}

static zip_int64_t entry_callback(void *arg, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    struct entry *e = arg;
    zip_stat_t *stat = data;
    switch (command) {
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    case ZIP_SOURCE_OPEN:
        e->at = 0;
        e->source->rewind(e->source->arg);
        return 0;
    case ZIP_SOURCE_READ:
        return entry_read(e, data, n);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(stat);
        stat->valid = ZIP_STAT_SIZE;
        stat->size = e->source->size;
        return sizeof *stat;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&e->zip_error, data, n);
    default:
        zip_error_set(&e->zip_error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static int add_entry(zip_t *zip, struct entry *e)
{
    zip_source_t *source = zip_source_function(zip, entry_callback, e);
    zip_int64_t index = source ? zip_file_add(zip, e->source->name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (source && index < 0)
        zip_source_free(source);
    return index < 0 || zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) < 0 ? -1 : 0;
}

static int cannot_open(const char *path, int code, struct error *err)
{
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    error_set(err, STATUS_FAILED, "%s: cannot write: %s", path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return STATUS_FAILED;
}

int zip_write(const char *path, const struct zip_entry_source *sources, size_t n, struct error *err)
{
    struct error own = {0};
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!zip)
        return cannot_open(path, code, err);
    struct entry *entries = xcalloc(n, sizeof *entries);
    for (size_t i = 0; i < n && !code; i++) {
        entries[i] = (struct entry){.source = &sources[i], .err = &own};
        zip_error_init(&entries[i].zip_error);
        code = add_entry(zip, &entries[i]);
    }
    if (code || zip_close(zip) != 0) {
        if (!own.code)
            error_set(&own, STATUS_FAILED, "%s: cannot write: %s", path, zip_strerror(zip));
        zip_discard(zip);
        if (err)
            *err = own;
    }
    free(entries);
    return own.code;
}

#else

int zip_write(const char *path, const struct zip_entry_source *sources, size_t n, struct error *err)
{
    (void)sources;
    (void)n;
    return error_set(err, STATUS_FAILED, "%s: this saescope was built without libzip, which zip files need",
                     path);
}

#endif
