/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files from the Hugging Face Hub, in the cache that its own Python client keeps
 * (https://huggingface.co/docs/hub/local-cache):
 *
 *   CACHE/models--OWNER--REPO/refs/REVISION                    the commit that a branch or tag was at
 *   CACHE/models--OWNER--REPO/blobs/ETAG                       contents
 *   CACHE/models--OWNER--REPO/snapshots/COMMIT/PATH            relative links to blobs
 *   CACHE/.locks/models--OWNER--REPO/ETAG.lock                 held (flock) while ETAG is downloaded
 *
 * What is there already is used in place; what is downloaded is there for other programs afterwards.
 */
#ifndef SAESCOPE_FORMATS_HUB_H
#define SAESCOPE_FORMATS_HUB_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/monitor.h"

/* ---- What is asked for. ---- */

struct hub_source {
    char *repository; /* "OWNER/REPO" */
    char *revision;   /* branch, tag or commit; "main" unless given */
    char *folder;     /* without slashes at its ends; "": the repository itself; may be one file */
};
/* "hf:OWNER/REPO[@REVISION][/FOLDER]". A revision has no slash, but for refs/pr/N and refs/convert/NAME, and
 * may have %2F in it. STATUS_USAGE otherwise. */
int hub_source_parse(const char *text, struct hub_source *out, struct error *err);
void hub_source_free(struct hub_source *source);

/* Whether a path names something below the folder that it is put in: relative, '/' between its parts, none of
 * which is empty, "." or "..", or has control characters or a backslash; complete UTF-8. */
int hub_path_is_safe(const char *path, size_t n);

/* ---- What the environment says. ---- */

struct hub_settings {
    char *endpoint; /* HF_ENDPOINT, else https://huggingface.co */
    char *cache; /* HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else below ~/.cache
                  */
    char *token; /* HF_TOKEN, else the file HF_TOKEN_PATH, else $HF_HOME/token; NULL: none */
    int offline; /* HF_HUB_OFFLINE */
};
/* `cache` (may be NULL) goes before the environment. To be freed in any case. */
int hub_settings_read(struct hub_settings *out, const char *cache, struct error *err);
void hub_settings_free(struct hub_settings *settings);

/* ---- What a repository holds, and what of it is wanted. ---- */

struct hub_file {
    char *path; /* in the repository */
    uint64_t size;
    char *oid;    /* Git's name of its content, 40 hexadecimal digits, or "" */
    char *sha256; /* of a file in Git LFS, 64 hexadecimal digits, or "" */
    int above; /* in the folder above what was asked for: it may describe what is there, and is not asked for
                  itself */
    int selected;
};
struct hub_listing {
    char commit[41];
    struct hub_file *files; /* [n], sorted by path */
    size_t n;
    int from_cache; /* what is in the cache, whatever else the repository has */
};
void hub_listing_free(struct hub_listing *list);

enum hub_content {
    HUB_AUTO, /* as the files look */
    HUB_MODEL,
    HUB_SAE,
    HUB_NONE /* only download */
};
const char *hub_content_name(enum hub_content content); /* "auto", "model", ... */
/* Marks the files that are wanted: those that match the glob (path below the folder, or its last part), or
 * those of the model or SAE in the folder. *content becomes what it is; *import, malloc'd, the path in the
 * repository to be imported: a folder ("" is the repository) or a file. STATUS_REFUSED when there is none, or
 * more than one SAE, naming them. */
int hub_select(struct hub_listing *list, const struct hub_source *source, const char *glob,
               enum hub_content *content, char **import, struct error *err);

/* ---- Getting it. ---- */

struct hub_pull {
    const struct hub_source *source;
    const char *glob;  /* NULL: what saescope can use */
    const char *cache; /* NULL: as the environment says */
    enum hub_content content;
    double wait; /* seconds before a request is tried a second time; 0: 1 */
};
struct hub_pulled {
    enum hub_content content; /* never HUB_AUTO */
    char commit[41];
    char *path;   /* what to import, in the cache; with HUB_NONE the snapshot's folder */
    char *origin; /* "hf:OWNER/REPO@COMMIT/FOLDER" */
    size_t files;
    uint64_t bytes, downloaded;
    int offline; /* the cache alone was asked */
};
/*
 * Lists the repository, downloads what is wanted and not in the cache, and links it into the commit's
 * snapshot. With HF_HUB_OFFLINE, or when the Hub cannot be reached, what the cache has is taken if it is
 * enough.
 */
int hub_pull(const struct hub_pull *what, struct monitor *m, struct hub_pulled *out, struct error *err);
void hub_pulled_free(struct hub_pulled *pulled);

#endif
