/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Documents and files over HTTP: which redirects are followed, who sees the token, when a request is tried
 * again, and how a file goes on from what is there of it.
 *
 * Connections that are cut and the statuses 408, 429 and 5xx are tried again after 1, 2, 4, 8, 8, ...
 * seconds, or as long as Retry-After says, up to a limit without progress in between. The token is sent to
 * the origin (scheme, host and port) of the endpoint alone. All functions ask the monitor at least every 50
 * ms, also while they wait.
 */
#ifndef SAESCOPE_FILES_FETCH_H
#define SAESCOPE_FILES_FETCH_H

#include "saescope/base/strbuf.h"
#include "saescope/files/digest.h"
#include "saescope/files/http.h"

#define FETCH_TRIES     6
#define FETCH_WAIT      1.0 /* seconds before the second try */
#define FETCH_WAIT_MAX  8.0
#define FETCH_RETRY_MAX 300.0 /* a Retry-After beyond this is an error */

struct fetch {
    struct http *http;
    const char *endpoint; /* URL whose origin may see the token */
    const char *token;    /* or NULL */
    struct monitor *monitor;
    struct progress *progress; /* of the whole: bytes are added to its step; or NULL */
    double wait;               /* seconds before the second try; 0: FETCH_WAIT */
    unsigned tries;            /* of a request without progress; 0: FETCH_TRIES */
    double rate_since;         /* used by fetch.c for the rate */
    uint64_t rate_bytes;
    uint64_t received; /* bytes of files, also of those that had to be fetched again */
};

/*
 * GET of up to `max` bytes, following redirects; appended to out. STATUS_OK also for statuses such as 404:
 * r->status and the headers tell. *r is to be released in any case.
 */
int fetch_document(struct fetch *f, const char *url, size_t max, struct strbuf *out, struct http_response *r,
                   struct error *err);
/* HEAD; follows redirects within the endpoint's origin only, so that its own headers are seen and not a
 * CDN's. */
int fetch_head(struct fetch *f, const char *url, struct http_response *r, struct error *err);

struct file_fetch {
    const char *url;
    const char *path; /* what is there of the file is kept; no other may write to it meanwhile */
    const char *what; /* for messages, displayable: "OWNER/REPO: model.safetensors" */
    uint64_t size;
    enum digest_kind digest;
    const char *hex; /* lower case; NULL with DIGEST_NONE */
};
/*
 * Gets what is missing of a file, checks its size and digest and makes it last (fsync). After a failure the
 * part that came stays for the next time, except when it is known to be wrong. STATUS_OK with r->status other
 * than 200 and 206: the server refused it, and the caller says why.
 */
int fetch_file(struct fetch *f, const struct file_fetch *file, struct http_response *r, struct error *err);

#endif
