/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What fetch.c and fetch_file.c share. */
#ifndef SAESCOPE_FILES_FETCH_INTERNAL_H
#define SAESCOPE_FILES_FETCH_INTERNAL_H

#include "saescope/files/fetch.h"

/* A request with its redirects; with only_own, one that leaves the endpoint's origin is not followed. */
int fetch_once(struct fetch *f, const struct http_request *q, int only_own, struct http_response *r,
               struct error *err);
/* Whether what a request ended with may be better the next time. */
int fetch_may_retry(const struct http_response *r, int status);
/* Waits before the next try, the `failures` + 1st without progress; STATUS_FAILED with a message when there
 * were too many. */
int fetch_wait(struct fetch *f, const struct http_request *q, const struct http_response *r, int status,
               unsigned failures, struct error *err);

#endif
