/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files src/formats/hub*.c share. */
#ifndef SAESCOPE_FORMATS_HUB_INTERNAL_H
#define SAESCOPE_FORMATS_HUB_INTERNAL_H

#include "saescope/files/fetch.h"
#include "saescope/formats/hub.h"

struct hub {
    struct hub_settings settings;
    const struct hub_source *source;
    struct monitor *monitor;
    struct progress progress;
    struct fetch fetch;
    char *folder; /* of the repository in the cache */
};

int hub_is_hex(const char *s, size_t digits);
/* Appends a file; takes the strings over. */
void hub_listing_add(struct hub_listing *list, const struct hub_file *file);
void hub_listing_sort(struct hub_listing *list);
/* The folder whose own files describe what the source's holds, when these are not listed; malloc'd, or NULL.
 */
char *hub_listing_above(const struct hub_listing *list, const struct hub_source *source);

/* ---- The Hub's API (hub_api.c). ---- */

/* STATUS_FAILED with *unreachable set when no response came at all. */
int hub_api_list(struct hub *h, struct hub_listing *out, int *unreachable, struct error *err);
/* What the Hub says of a file before it is downloaded: ETag (malloc'd, a safe file name) and size. */
int hub_api_head(struct hub *h, const char *commit, const struct hub_file *file, char **etag, uint64_t *size,
                 struct error *err);
char *hub_api_file_url(const struct hub *h, const char *commit, const char *path);
/* The message for a response that is no 200. */
int hub_api_refused(const struct hub *h, const struct http_response *r, const char *path, struct error *err);

/* ---- The cache (hub_cache.c). ---- */

/* The commit that the revision is known to be at, or 0. */
int hub_cache_commit(const struct hub *h, char commit[41]);
int hub_cache_put_commit(const struct hub *h, const char *commit, struct error *err);
/* Whatever the snapshot has below the source's folder. */
int hub_cache_list(const struct hub *h, const char *commit, struct hub_listing *out, struct error *err);
/* Whether the snapshot has the file in its size. */
int hub_cache_has(const struct hub *h, const char *commit, const char *path, uint64_t size);
char *hub_cache_snapshot_path(const struct hub *h, const char *commit, const char *path); /* malloc'd */
char *hub_cache_blob_path(const struct hub *h, const char *etag, const char *suffix);     /* malloc'd */
/* Makes the folders that a download of the blob needs and waits for its lock; *fd is to be closed. */
int hub_cache_lock(const struct hub *h, const char *etag, int *fd, struct error *err);
/* Makes snapshots/COMMIT/PATH a link to the blob. */
int hub_cache_link(const struct hub *h, const char *commit, const char *path, const char *etag,
                   struct error *err);

#endif
