/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One HTTP exchange at a time. Only src/files/http.c knows libcurl; a build without it (--without-curl) has
 * src/files/http_none.c, in which http_open fails with a message and nothing else is called.
 *
 * An exchange never follows redirects, and sends a token only where it is told to: who may see what is
 * decided in files/fetch.c. Proxies and certificates are libcurl's (http_proxy, https_proxy, no_proxy;
 * SSL_CERT_FILE).
 */
#ifndef SAESCOPE_FILES_HTTP_H
#define SAESCOPE_FILES_HTTP_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/monitor.h"

struct http; /* keeps connections between exchanges; for one thread at a time */

struct http_header {
    char *name, *value; /* as sent, without blanks around the value */
};

struct http_response {
    long status;                 /* 200, 404, ...; 0: none came */
    struct http_header *headers; /* of the last response; [n_headers] */
    size_t n_headers;
    long retry_after; /* seconds that Retry-After asks for; 0: it is not there */
    int transient;    /* of a failed exchange: unreachable, cut or timed out, so that it may go well the next
                         time */
};

struct http_request {
    const char *url;   /* http or https */
    int head;          /* HEAD instead of GET */
    const char *token; /* sent as a bearer token, or NULL */
    uint64_t from;     /* first byte wanted (Range), or 0 */
    /* Takes a piece of the body; r has status and headers already. A status other than STATUS_OK, with err
     * filled, ends the exchange. NULL: the body is dropped. */
    int (*body)(void *arg, const struct http_response *r, const void *bytes, size_t n, struct error *err);
    void (*tick)(void *arg); /* called at least every 50 ms, also when nothing comes; or NULL */
    void *arg;
};

int http_open(struct http **out, struct error *err);
void http_close(struct http *h); /* NULL is fine */

/*
 * STATUS_OK when a whole response came, whatever its status. STATUS_FAILED otherwise, also when the monitor
 * asked to stop ("cancelled"), or what `body` returned. *r is to be released in any case. Messages name the
 * URL without its query, which may hold a signature.
 */
int http_exchange(struct http *h, const struct http_request *q, struct http_response *r, struct monitor *m,
                  struct error *err);
void http_response_free(struct http_response *r);                         /* leaves an empty one */
const char *http_header(const struct http_response *r, const char *name); /* the last of this name, or NULL */

/* What a Location or Link means that was found at `base`: an absolute http or https URL without user or
 * fragment, malloc'd, or NULL when it is none. */
char *http_resolve(const char *base, const char *reference);
/* Whether scheme, host and port are the same. */
int http_same_origin(const char *a, const char *b);
/* Scheme, host and path, displayable, malloc'd. */
char *http_shown_url(const char *url);
/* Appends text with all but letters, digits, "-._~" (and "/" when kept) as %XX. */
struct strbuf;
void http_add_escaped(struct strbuf *out, const char *text, int keep_slashes);

const char *http_library_version(void); /* "libcurl 7.88.1 ...", or NULL when there is none */

#endif
