/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading zip files, zip64 included, over a map (a thin face over libzip).
 * Entries that are encrypted, or compressed by anything but deflate, are refused when they are read. Built without
 * libzip, opening one says so.
 */
#ifndef SAESCOPE_FILES_ZIP_ARCHIVE_H
#define SAESCOPE_FILES_ZIP_ARCHIVE_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/base/fileio.h"

struct zip_archive;

/* The map must outlive it. */
int zip_archive_open(const struct file_map *map, struct zip_archive **out, struct error *err);
void zip_archive_close(struct zip_archive *zip); /* NULL is fine */

#define ZIP_NO_ENTRY ((size_t)-1)

size_t zip_archive_count(const struct zip_archive *zip);
const char *zip_entry_name(const struct zip_archive *zip, size_t entry); /* never NULL */
size_t zip_entry_size(const struct zip_archive *zip, size_t entry);      /* as declared, inflated */
size_t zip_entry_find(const struct zip_archive *zip, const char *name);  /* or ZIP_NO_ENTRY */

/* The first n bytes, fewer (*got) when the entry has fewer; no checksum is compared. */
int zip_entry_peek(struct zip_archive *zip, size_t entry, void *buf, size_t n, size_t *got, struct error *err);

/* Copies the whole entry of zip_entry_size bytes, comparing its checksum. */
int zip_entry_read(struct zip_archive *zip, size_t entry, void *dst, struct error *err);

/*
 * Where the entry's bytes are in the map, at any alignment, after comparing their checksum; *bytes is NULL when they are
 * compressed.
 */
int zip_entry_map(struct zip_archive *zip, size_t entry, const unsigned char **bytes, struct error *err);

const char *zip_library_version(void); /* or NULL without libzip */

#endif
