/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The Hub's API, as huggingface_hub asks it: /api/models/REPO/revision/REVISION for the commit,
 * /api/models/REPO/tree/COMMIT/FOLDER?recursive=true for the files, page by page (header Link, rel="next"),
 * and HEAD of /REPO/resolve/COMMIT/PATH for a file's ETag and size.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/base/display.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"

#define DOCUMENT_MAX ((size_t)64 << 20)
#define PAGES_MAX    2000
#define FILES_MAX    500000
#define SIZE_LIMIT   ((uint64_t)1 << 50)

/* ---- Refusals. ---- */

static int no_such_thing(const struct hub *h, const char *code, const char *path, struct error *err)
{
    const struct hub_source *s = h->source;
    char *revision = displayable_string(s->revision), *shown = displayable_string(path ? path : "");
    if (strcmp(code, "EntryNotFound") == 0 && path)
        error_set(err, STATUS_REFUSED, "%s at %s has no %s", s->repository, revision, shown);
    else if (strcmp(code, "RevisionNotFound") == 0)
        error_set(err, STATUS_REFUSED, "%s has no revision %s", s->repository, revision);
    else
        error_set(err, STATUS_REFUSED, "%s has no repository %s%s%s%s", h->settings.endpoint, s->repository,
                  path ? " with " : "", shown,
                  h->settings.token ? ", or the token that is set (HF_TOKEN) may not read it"
                                    : "; if it is private, set HF_TOKEN to a token that may read it");
    free(shown);
    free(revision);
    return STATUS_REFUSED;
}

int hub_api_refused(const struct hub *h, const struct http_response *r, const char *path, struct error *err)
{
    const char *code = http_header(r, "X-Error-Code");
    const char *repository = h->source->repository, *endpoint = h->settings.endpoint;
    if (!code)
        code = r->status == 404 && path ? "EntryNotFound" : "";
    if (strcmp(code, "EntryNotFound") == 0 || strcmp(code, "RevisionNotFound") == 0 ||
        strcmp(code, "RepoNotFound") == 0 || r->status == 404)
        return no_such_thing(h, code, path, err);
    if (strcmp(code, "GatedRepo") == 0 || r->status == 403)
        return error_set(err, STATUS_REFUSED, "%s is gated: accept its terms on %s/%s, and %s", repository,
                         endpoint, repository,
                         h->settings.token
                             ? "see that the token that is set (HF_TOKEN) is of that account and may read it"
                             : "set HF_TOKEN to a token of that account");
    if (r->status == 401)
        return error_set(
            err, STATUS_REFUSED, "%s/%s may not be read without a token (HTTP 401): %s", endpoint, repository,
            h->settings.token ? "the one that is set (HF_TOKEN) is not accepted"
                              : "there is no such repository, or HF_TOKEN has to be set to a token");
    char *shown = displayable_string(path ? path : "");
    error_set(err, STATUS_FAILED, "%s/%s%s%s: the server answers with HTTP %ld", endpoint, repository,
              path ? ": " : "", shown, r->status);
    free(shown);
    return STATUS_FAILED;
}

static int no_hub(const struct hub *h, const char *what, struct error *err)
{
    return error_set(err, STATUS_FAILED,
                     "%s does not answer as a Hub does (%s): look at HF_ENDPOINT, and at proxies",
                     h->settings.endpoint, what);
}

/* ---- URLs. ---- */

static char *api_url(const struct hub *h, const char *what, const char *revision, const char *folder)
{
    struct strbuf url = STRBUF_INIT;
    strbuf_addf(&url, "%s/api/models/%s/%s/", h->settings.endpoint, h->source->repository, what);
    http_add_escaped(&url, revision, 0);
    if (*folder) {
        strbuf_addc(&url, '/');
        http_add_escaped(&url, folder, 0);
    }
    return strbuf_detach(&url);
}

char *hub_api_file_url(const struct hub *h, const char *commit, const char *path)
{
    struct strbuf url = STRBUF_INIT;
    strbuf_addf(&url, "%s/%s/resolve/%s/", h->settings.endpoint, h->source->repository, commit);
    http_add_escaped(&url, path, 1);
    return strbuf_detach(&url);
}

/* The target of rel="next" in a Link header, malloc'd, or NULL: <URL>; rel="next", <URL>; rel="last" */
static char *next_page(const struct http_response *r, const char *url)
{
    const char *link = http_header(r, "Link");
    while (link && (link = strchr(link, '<'))) {
        const char *end = strchr(link, '>');
        if (!end)
            return NULL;
        const char *rest = end + 1;
        size_t n = strcspn(rest, ",");
        char *parameters = xstrndup(rest, n), *target = xstrndup(link + 1, (size_t)(end - link - 1)),
             *found = NULL;
        if (strstr(parameters, "rel=\"next\"") || strstr(parameters, "rel=next"))
            found = http_resolve(url, target);
        free(target);
        free(parameters);
        if (found)
            return found;
        link = rest + n;
    }
    return NULL;
}

/* ---- The commit. ---- */

static int get_json(struct hub *h, const char *url, const char *path, json **out, struct http_response *r,
                    int *unreachable, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int status = fetch_document(&h->fetch, url, DOCUMENT_MAX, &text, r, err);
    *out = NULL;
    if (status != STATUS_OK)
        *unreachable = r->status == 0 && r->transient;
    else if (r->status != 200)
        status = hub_api_refused(h, r, path, err);
    else if (!(*out = json_parse(strbuf_string(&text), text.length, url, err)))
        status = STATUS_REFUSED;
    strbuf_free(&text);
    return status;
}

static int find_commit(struct hub *h, char commit[41], int *unreachable, struct error *err)
{
    struct http_response r = {0};
    json *v;
    if (hub_is_hex(h->source->revision, 40)) {
        memcpy(commit, h->source->revision, 41);
        return STATUS_OK;
    }
    char *url = api_url(h, "revision", h->source->revision, "");
    int status = get_json(h, url, NULL, &v, &r, unreachable, err);
    const char *sha = json_get_string(v, "sha", "");
    if (status == STATUS_OK && !hub_is_hex(sha, 40))
        status = no_hub(h, "no commit", err);
    if (status == STATUS_OK)
        memcpy(commit, sha, 41);
    json_free(v);
    http_response_free(&r);
    free(url);
    return status;
}

/* ---- Files. ---- */

static int refuse_name(const struct hub *h, const json *path, struct error *err)
{
    struct strbuf shown = STRBUF_INIT;
    displayable(&shown, json_string(path, ""), json_string_length(path));
    error_set(err, STATUS_REFUSED,
              "%s lists a file named \"%.300s\", which is no path in a repository: nothing was downloaded",
              h->source->repository, strbuf_string(&shown));
    strbuf_free(&shown);
    return STATUS_REFUSED;
}

static int is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return n == 0 || (strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

static int add_entry(const struct hub *h, const json *entry, const char *folder, struct hub_listing *out,
                     struct error *err)
{
    const json *path = json_get(entry, "path"), *lfs = json_get(entry, "lfs");
    if (!json_is_string(path) || !hub_path_is_safe(json_string(path, ""), json_string_length(path)))
        return refuse_name(h, path, err);
    if (strcmp(json_get_string(entry, "type", ""), "file") != 0)
        return STATUS_OK;
    long long size = json_get_integer(json_is_object(lfs) ? lfs : entry, "size", -1);
    const char *oid = json_get_string(entry, "oid", ""), *sha256 = json_get_string(lfs, "oid", "");
    if (size < 0 || (uint64_t)size > SIZE_LIMIT || out->n == FILES_MAX)
        return no_hub(h, "a file without a size, or too many files", err);
    if (!is_below(json_string(path, ""), folder))
        return STATUS_OK;
    struct hub_file file = {.path = xstrdup(json_string(path, "")),
                            .size = (uint64_t)size,
                            .oid = xstrdup(hub_is_hex(oid, 40) ? oid : ""),
                            .sha256 = xstrdup(hub_is_hex(sha256, 64) ? sha256 : "")};
    hub_listing_add(out, &file);
    return STATUS_OK;
}

static int list_pages(struct hub *h, char *url, const char *folder, struct hub_listing *out, int *missing,
                      int *unreachable, struct error *err)
{
    int status = STATUS_OK;
    for (int page = 0; status == STATUS_OK && url; page++) {
        struct http_response r = {0};
        json *v;
        status = page == PAGES_MAX ? no_hub(h, "endless pages", err)
                                   : get_json(h, url, *folder ? folder : NULL, &v, &r, unreachable, err);
        *missing = status == STATUS_REFUSED && r.status == 404;
        if (status == STATUS_OK && !json_is_array(v))
            status = no_hub(h, "no list of files", err);
        for (size_t i = 0; status == STATUS_OK && i < json_length(v); i++)
            status = add_entry(h, json_at(v, i), folder, out, err);
        char *next = status == STATUS_OK ? next_page(&r, url) : NULL;
        if (page < PAGES_MAX)
            json_free(v);
        http_response_free(&r);
        free(url);
        url = next;
    }
    free(url);
    return status;
}

/* All files of a folder, or with recursive = 0 those right in it, appended. */
static int list_tree(struct hub *h, const char *folder, int recursive, struct hub_listing *out, int *missing,
                     int *unreachable, struct error *err)
{
    char *bare = api_url(h, "tree", out->commit, folder);
    char *url = xasprintf("%s?recursive=%s&expand=false", bare, recursive ? "true" : "false");
    free(bare);
    return list_pages(h, url, folder, out, missing, unreachable, err);
}

static int lists_file(const struct hub_listing *list, const char *path)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->files[i].path, path) == 0)
            return 1;
    return 0;
}

/* The source's folder may be one file: then what lies beside it is listed, for its config. */
static int list_folder_or_file(struct hub *h, struct hub_listing *out, int *unreachable, struct error *err)
{
    const char *folder = h->source->folder, *slash = strrchr(folder, '/');
    int missing = 0, status = list_tree(h, folder, 1, out, &missing, unreachable, err);
    int is_file = status == STATUS_OK && *folder && lists_file(out, folder);
    if (!is_file && !(missing && *folder))
        return status;
    char commit[41];
    memcpy(commit, out->commit, sizeof commit);
    hub_listing_free(out);
    memcpy(out->commit, commit, sizeof commit);
    char *parent = slash ? xstrndup(folder, (size_t)(slash - folder)) : xstrdup("");
    struct error other = {0};
    int again = list_tree(h, parent, 0, out, &missing, unreachable, is_file ? err : &other);
    free(parent);
    return is_file ? again : again == STATUS_OK && lists_file(out, folder) ? STATUS_OK : status;
}

static int list_above(struct hub *h, struct hub_listing *out, int *unreachable, struct error *err)
{
    char *folder = hub_listing_above(out, h->source);
    size_t below = out->n;
    int missing, status = folder ? list_tree(h, folder, 0, out, &missing, unreachable, err) : STATUS_OK;
    for (size_t i = below; i < out->n; i++)
        out->files[i].above = 1;
    free(folder);
    return status;
}

int hub_api_list(struct hub *h, struct hub_listing *out, int *unreachable, struct error *err)
{
    *unreachable = 0;
    h->progress.phase = "listing";
    monitor_report(h->monitor, &h->progress);
    int status = find_commit(h, out->commit, unreachable, err);
    if (status == STATUS_OK)
        status = list_folder_or_file(h, out, unreachable, err);
    if (status == STATUS_OK)
        status = list_above(h, out, unreachable, err);
    hub_listing_sort(out);
    return status;
}

/* ---- One file. ---- */

/* An ETag without its quotes and W/ (huggingface_hub's _normalize_etag); NULL when it could not name a file.
 */
static char *normal_etag(const char *etag)
{
    etag += strspn(etag, "W/");
    etag += strspn(etag, "\"");
    char *out = xstrndup(etag, strcspn(etag, "\""));
    size_t n = strlen(out);
    if (n > 0 && n <= 128 && out[0] != '.' &&
        strspn(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-") == n)
        return out;
    free(out);
    return NULL;
}

int hub_api_head(struct hub *h, const char *commit, const struct hub_file *file, char **etag, uint64_t *size,
                 struct error *err)
{
    struct http_response r = {0};
    char *url = hub_api_file_url(h, commit, file->path);
    int status = fetch_head(&h->fetch, url, &r, err);
    int good = r.status == 200 || (r.status >= 300 && r.status <= 399);
    if (status == STATUS_OK && !good)
        status = hub_api_refused(h, &r, file->path, err);
    if (status == STATUS_OK) {
        const char *linked = http_header(&r, "X-Linked-Etag"), *own = http_header(&r, "ETag");
        const char *at = http_header(&r, "X-Repo-Commit"), *length = http_header(&r, "X-Linked-Size");
        unsigned long long bytes;
        if (!length && r.status == 200)
            length = http_header(&r, "Content-Length");
        *etag = linked || own ? normal_etag(linked ? linked : own) : NULL;
        *size = length && parse_u64(length, 0, SIZE_LIMIT, &bytes) == 0 ? bytes : file->size;
        if (!at || strcmp(at, commit) != 0)
            status = no_hub(h, "X-Repo-Commit is not the commit", err);
        else if (!*etag)
            status = no_hub(h, "no usable ETag", err);
        else if (*size != file->size)
            status = no_hub(h, "a file of two sizes", err);
        if (status != STATUS_OK) {
            free(*etag);
            *etag = NULL;
        }
    }
    http_response_free(&r);
    free(url);
    return status;
}
