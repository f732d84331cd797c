/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Redirects, the token, trying again; documents. fetch_file.c has the files. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/fetch_internal.h"

#define REDIRECTS_MAX 10
#define WAIT_SLICE    0.04

/* ---- One request, redirects included. ---- */

static int is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Where a redirect leads, malloc'd; NULL with err filled when it leads nowhere. Never from https to http. */
static char *redirect_target(const char *from, const struct http_response *r, struct error *err)
{
    const char *location = http_header(r, "Location");
    char *to = location && *location ? http_resolve(from, location) : NULL, *shown = http_shown_url(from);
    if (!to) {
        error_set(err, STATUS_FAILED, "%s redirects to no HTTP address", shown);
    } else if (strncmp(from, "https:", 6) == 0 && strncmp(to, "https:", 6) != 0) {
        error_set(err, STATUS_FAILED, "%s redirects to an address without encryption", shown);
        free(to);
        to = NULL;
    }
    free(shown);
    return to;
}

int fetch_once(struct fetch *f, const struct http_request *q, int only_own, struct http_response *r,
               struct error *err)
{
    struct http_request hop = *q;
    char *url = xstrdup(q->url);
    int status;
    for (int hops = 0;; hops++) {
        hop.url = url;
        hop.token = f->token && http_same_origin(url, f->endpoint) ? f->token : NULL;
        status = http_exchange(f->http, &hop, r, f->monitor, err);
        if (status != STATUS_OK || !is_redirect(r->status))
            break;
        char *to = redirect_target(url, r, err);
        if (!to || hops == REDIRECTS_MAX) {
            char *shown = http_shown_url(url);
            status = to ? error_set(err, STATUS_FAILED, "%s: more than %d redirects", shown, REDIRECTS_MAX)
                        : STATUS_FAILED;
            free(shown);
            free(to);
            break;
        }
        if (only_own && !http_same_origin(to, f->endpoint)) {
            free(to);
            break;
        }
        http_response_free(r);
        free(url);
        url = to;
    }
    free(url);
    return status;
}

/* ---- Trying again. ---- */

int fetch_may_retry(const struct http_response *r, int status)
{
    if (status != STATUS_OK)
        return r->transient;
    return r->status == 408 || r->status == 429 || (r->status >= 500 && r->status <= 599);
}

/* Seconds that the server asks for: Retry-After, or the Hub's RateLimit: "api";r=0;t=55. */
static double asked_wait(const struct http_response *r)
{
    const char *limit = r->status == 429 ? http_header(r, "RateLimit") : NULL;
    const char *t = limit ? strstr(limit, "t=") : NULL;
    unsigned seconds = 0;
    if (r->retry_after > 0)
        return (double)r->retry_after;
    if (t && strstr(limit, "r=0") && sscanf(t, "t=%7u", &seconds) == 1)
        return seconds;
    return 0;
}

static int wait_for(struct fetch *f, double seconds, struct error *err)
{
    const struct progress *p = f->progress;
    monitor_step(f->monitor, "waiting", p ? p->step : 0, p ? p->steps : 0);
    double end = clock_seconds() + seconds, left;
    int status = STATUS_OK;
    while (status == STATUS_OK && (left = end - clock_seconds()) > 0) {
        double slice = left < WAIT_SLICE ? left : WAIT_SLICE;
        nanosleep(&(struct timespec){0, (long)(slice * 1e9)}, NULL);
        status = monitor_check(f->monitor, err);
    }
    return status;
}

/* Nothing to be done but to say so: what the last try said is in err, or in r. */
static int give_up(const struct http_request *q, const struct http_response *r, int status, unsigned tries,
                   struct error *err)
{
    char *shown = http_shown_url(q->url);
    if (status == STATUS_OK && r->status == 429)
        error_set(err, STATUS_FAILED, "%s: too many requests (HTTP 429): try again later, or set HF_TOKEN",
                  shown);
    else if (status == STATUS_OK)
        error_set(err, STATUS_FAILED, "%s: the server fails with HTTP %ld: try again later", shown,
                  r->status);
    else
        error_prefix(err, "given up after %u tries", tries);
    free(shown);
    return STATUS_FAILED;
}

int fetch_wait(struct fetch *f, const struct http_request *q, const struct http_response *r, int status,
               unsigned failures, struct error *err)
{
    if (failures >= (f->tries ? f->tries : FETCH_TRIES))
        return give_up(q, r, status, failures, err);
    double asked = asked_wait(r), wait = f->wait > 0 ? f->wait : FETCH_WAIT;
    if (asked > FETCH_RETRY_MAX) {
        char *shown = http_shown_url(q->url);
        error_set(err, STATUS_FAILED, "%s: the server asks for a pause of %.0f seconds: try again then",
                  shown, asked);
        free(shown);
        return STATUS_FAILED;
    }
    wait = ldexp(wait, (int)failures - 1);
    return wait_for(f, asked > 0 ? asked : wait < FETCH_WAIT_MAX ? wait : FETCH_WAIT_MAX, err);
}

/* ---- Documents. ---- */

struct document {
    struct strbuf *out;
    size_t start, max;
    const char *url;
};

static int take_document(void *arg, const struct http_response *r, const void *bytes, size_t n,
                         struct error *err)
{
    struct document *d = arg;
    if (r->status < 200 || r->status > 299) /* a redirect's or an error's page */
        return STATUS_OK;
    if (n > d->max - (d->out->length - d->start)) {
        char *shown = http_shown_url(d->url);
        error_set(err, STATUS_REFUSED, "%s: longer than %zu bytes", shown, d->max);
        free(shown);
        return STATUS_REFUSED;
    }
    strbuf_add(d->out, bytes, n);
    return STATUS_OK;
}

static void forget_body(struct document *d)
{
    if (d->out->length > d->start) {
        d->out->length = d->start;
        d->out->data[d->start] = '\0';
    }
}

static int fetch_again(struct fetch *f, const struct http_request *q, int only_own, struct document *d,
                       struct http_response *r, struct error *err)
{
    for (unsigned failures = 0;;) {
        int status = fetch_once(f, q, only_own, r, err);
        if (!fetch_may_retry(r, status))
            return status;
        status = fetch_wait(f, q, r, status, ++failures, err);
        if (status != STATUS_OK)
            return status;
        http_response_free(r);
        if (d)
            forget_body(d);
    }
}

int fetch_document(struct fetch *f, const char *url, size_t max, struct strbuf *out, struct http_response *r,
                   struct error *err)
{
    struct document d = {.out = out, .start = out->length, .max = max, .url = url};
    struct http_request q = {.url = url, .body = take_document, .arg = &d};
    return fetch_again(f, &q, 0, &d, r, err);
}

int fetch_head(struct fetch *f, const char *url, struct http_response *r, struct error *err)
{
    struct http_request q = {.url = url, .head = 1};
    return fetch_again(f, &q, 1, NULL, r, err);
}
