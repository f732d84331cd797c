/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pulling: a list of files, what of it is wanted, and what of that has to be downloaded. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"

/* ---- The list. ---- */

static int list_cached(struct hub *h, const struct hub_pull *what, struct hub_listing *list,
                       struct hub_pulled *out, char **import, struct error *err)
{
    char commit[41];
    if (!hub_cache_commit(h, commit)) {
        char *cache = displayable_string(h->settings.cache),
             *revision = displayable_string(h->source->revision);
        error_set(err, STATUS_REFUSED, "the cache %s has no %s at %s", cache, h->source->repository,
                  revision);
        free(revision);
        free(cache);
        return STATUS_REFUSED;
    }
    int status = hub_cache_list(h, commit, list, err);
    out->content = what->content;
    out->offline = 1;
    return status == STATUS_OK ? hub_select(list, h->source, what->glob, &out->content, import, err) : status;
}

static int list_remote(struct hub *h, const struct hub_pull *what, struct hub_listing *list,
                       struct hub_pulled *out, int *unreachable, char **import, struct error *err)
{
    char known[41];
    int status = http_open(&h->fetch.http, err);
    *unreachable = status != STATUS_OK;
    /* Where there is something to fall back on, one does not wait long for a network that is not there. */
    h->fetch.tries = hub_cache_commit(h, known) ? 2 : 0;
    if (status == STATUS_OK)
        status = hub_api_list(h, list, unreachable, err);
    h->fetch.tries = 0;
    out->content = what->content;
    return status == STATUS_OK ? hub_select(list, h->source, what->glob, &out->content, import, err) : status;
}

static int list_wanted(struct hub *h, const struct hub_pull *what, struct hub_listing *list,
                       struct hub_pulled *out, char **import, struct error *err)
{
    int unreachable = 0, status;
    if (h->settings.offline) {
        status = list_cached(h, what, list, out, import, err);
        if (status != STATUS_OK)
            error_prefix(err, "HF_HUB_OFFLINE is set");
        return status;
    }
    status = list_remote(h, what, list, out, &unreachable, import, err);
    if (status == STATUS_OK || !unreachable)
        return status;
    /* As huggingface_hub does without a connection: what was there the last time. */
    struct error ignored = {0};
    hub_listing_free(list);
    return list_cached(h, what, list, out, import, &ignored) == STATUS_OK ? STATUS_OK : status;
}

/* ---- Files. ---- */

static int move_into_place(const char *part, const char *blob, struct error *err)
{
    if (rename(part, blob) == 0)
        return STATUS_OK;
    int number = errno;
    char *shown = displayable_string(blob);
    error_system(err, STATUS_FAILED, number, "%s: the download cannot be renamed to this name", shown);
    free(shown);
    return STATUS_FAILED;
}

/* With the blob's lock. */
static int download(struct hub *h, const char *commit, const struct hub_file *file, const char *etag,
                    struct error *err)
{
    char *part = hub_cache_blob_path(h, etag, ".incomplete"), *blob = hub_cache_blob_path(h, etag, "");
    char *url = hub_api_file_url(h, commit, file->path), *path = displayable_string(file->path);
    char *what = xasprintf("%s: %s", h->source->repository, path);
    struct http_response r = {0};
    struct file_fetch f = {.url = url, .path = part, .what = what, .size = file->size};
    if (*file->sha256 || hub_is_hex(etag, 64)) {
        f.digest = DIGEST_SHA256;
        f.hex = *file->sha256 ? file->sha256 : etag;
    } else if (*file->oid) {
        f.digest = DIGEST_GIT_BLOB;
        f.hex = file->oid;
    }
    int status = fetch_file(&h->fetch, &f, &r, err);
    if (status == STATUS_OK && r.status != 200 && r.status != 206)
        status = hub_api_refused(h, &r, file->path, err);
    if (status == STATUS_OK)
        status = move_into_place(part, blob, err);
    http_response_free(&r);
    free(what);
    free(path);
    free(url);
    free(blob);
    free(part);
    return status;
}

static int blob_is_there(const struct hub *h, const char *etag, uint64_t size)
{
    char *blob = hub_cache_blob_path(h, etag, "");
    struct stat st;
    int there = stat(blob, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
    free(blob);
    return there;
}

static int get_file(struct hub *h, const char *commit, const struct hub_file *file, struct error *err)
{
    char *etag = NULL;
    uint64_t size = 0;
    int fd = -1, status = hub_api_head(h, commit, file, &etag, &size, err);
    if (status == STATUS_OK)
        status = hub_cache_lock(h, etag, &fd, err);
    if (status == STATUS_OK && blob_is_there(h, etag, size))
        h->progress.step += size; /* of another revision, or another program's meanwhile */
    else if (status == STATUS_OK)
        status = download(h, commit, file, etag, err);
    if (status == STATUS_OK)
        status = hub_cache_link(h, commit, file->path, etag, err);
    if (fd >= 0)
        close(fd);
    free(etag);
    return status;
}

/* An early word on what would fail after hours. */
static int check_space(const struct hub *h, uint64_t missing, struct error *err)
{
    struct statvfs fs;
    int status = make_directories(h->folder, 0777, err);
    if (status != STATUS_OK || statvfs(h->folder, &fs))
        return status;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= missing)
        return STATUS_OK;
    struct strbuf needed = STRBUF_INIT, there = STRBUF_INIT;
    char *cache = displayable_string(h->settings.cache);
    strbuf_add_bytes(&needed, missing);
    strbuf_add_bytes(&there, free_bytes);
    error_set(
        err, STATUS_FAILED,
        "%s are to be downloaded, but %s has only %s free: make room, or name another place with --cache",
        strbuf_string(&needed), cache, strbuf_string(&there));
    free(cache);
    strbuf_free(&needed);
    strbuf_free(&there);
    return STATUS_FAILED;
}

static int get_files(struct hub *h, const struct hub_listing *list, struct hub_pulled *out, struct error *err)
{
    uint64_t missing = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < list->n; i++) {
        const struct hub_file *file = &list->files[i];
        if (!file->selected)
            continue;
        out->files++;
        out->bytes += file->size;
        if (!hub_cache_has(h, list->commit, file->path, file->size))
            missing += file->size;
    }
    h->progress.phase = "downloading";
    h->progress.unit = "MB/s";
    h->progress.steps = out->bytes;
    h->progress.step = out->bytes - missing;
    monitor_report(h->monitor, &h->progress);
    if (list->from_cache)
        return STATUS_OK;
    if (missing > 0)
        status = check_space(h, missing, err);
    for (size_t i = 0; status == STATUS_OK && i < list->n; i++) {
        const struct hub_file *file = &list->files[i];
        if (file->selected && !hub_cache_has(h, list->commit, file->path, file->size))
            status = get_file(h, list->commit, file, err);
        if (status == STATUS_OK)
            status = monitor_check(h->monitor, err);
    }
    if (status == STATUS_OK && hub_cache_put_commit(h, list->commit, err) != STATUS_OK)
        status =
            missing > 0 ? STATUS_FAILED : STATUS_OK; /* a cache that may only be read is good for reading */
    out->downloaded = h->fetch.received;
    return status;
}

/* ---- The whole. ---- */

static char *cache_folder(const struct hub *h)
{
    struct strbuf folder = STRBUF_INIT;
    strbuf_addf(&folder, "%s/models--", h->settings.cache);
    for (const char *c = h->source->repository; *c; c++) {
        if (*c == '/')
            strbuf_adds(&folder, "--");
        else
            strbuf_addc(&folder, *c);
    }
    return strbuf_detach(&folder);
}

int hub_pull(const struct hub_pull *what, struct monitor *m, struct hub_pulled *out, struct error *err)
{
    struct hub h = {.source = what->source, .monitor = m};
    struct hub_listing list = {0};
    char *import = NULL;
    *out = (struct hub_pulled){0};
    progress_init(&h.progress);
    int status = hub_settings_read(&h.settings, what->cache, err);
    if (status == STATUS_OK) {
        h.folder = cache_folder(&h);
        h.fetch = (struct fetch){.endpoint = h.settings.endpoint,
                                 .token = h.settings.token,
                                 .monitor = m,
                                 .progress = &h.progress,
                                 .wait = what->wait};
        status = list_wanted(&h, what, &list, out, &import, err);
    }
    if (status == STATUS_OK)
        status = get_files(&h, &list, out, err);
    if (status == STATUS_OK) {
        const char *folder = what->source->folder;
        memcpy(out->commit, list.commit, sizeof out->commit);
        out->path = hub_cache_snapshot_path(&h, list.commit, import);
        out->origin =
            xasprintf("hf:%s@%s%s%s", what->source->repository, list.commit, *folder ? "/" : "", folder);
    }
    free(import);
    http_close(h.fetch.http);
    hub_listing_free(&list);
    hub_settings_free(&h.settings);
    free(h.folder);
    return status;
}

void hub_pulled_free(struct hub_pulled *pulled)
{
    free(pulled->path);
    free(pulled->origin);
    *pulled = (struct hub_pulled){0};
}
