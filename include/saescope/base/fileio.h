/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files: reading whole small ones, writing beside and renaming, read-only maps, paths. */
#ifndef SAESCOPE_BASE_FILEIO_H
#define SAESCOPE_BASE_FILEIO_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/base/strbuf.h"

/* Whole file appended to out; STATUS_REFUSED when it can't be read or is over max bytes. "-" is standard input. */
int file_read(const char *path, size_t max, struct strbuf *out, struct error *err);

/* Writes PATH.tmp-PID, fsyncs, renames over PATH. */
int file_write_atomic(const char *path, const void *data, size_t n, struct error *err);

/* Whether that is how Git LFS marks the place of a large file: what a clone without LFS leaves there. */
int is_lfs_pointer(const void *data, size_t n);
#define LFS_POINTER "a Git LFS pointer, not the file: 'git lfs pull' in its folder fetches the file"

struct file_map {
    const unsigned char *data;
    size_t size;
    char *path;
};
int file_map_open(struct file_map *map, const char *path, struct error *err); /* regular files only */
void file_map_close(struct file_map *map);

int make_directories(const char *path, unsigned mode, struct error *err); /* mkdir -p */
int remove_tree(const char *path, struct error *err);   /* rm -r; missing is fine; never follows links */
char *path_join(const char *dir, const char *name);     /* malloc'd; an absolute name stays itself */
const char *path_base(const char *path);
int path_exists(const char *path);
int path_is_directory(const char *path);

/* XDG and shipped places, malloc'd. kind: "DATA", "CONFIG", "STATE", "CACHE"; result ends in /saescope. */
char *xdg_directory(const char *kind);
char *shipped_file(const char *name); /* $SAESCOPE_DATADIR/name, else pkgdatadir/name */

double clock_seconds(void); /* monotonic */

#endif
