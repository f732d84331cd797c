/* SPDX-License-Identifier: GPL-3.0-or-later */
/* In place of http.c and digest.c in a build without libcurl: http_open refuses, so that nothing else is
 * reached. */
#include "config.h"

#include "saescope/files/digest.h"
#include "saescope/files/http.h"

static int not_built_in(struct error *err)
{
    return error_set(
        err, STATUS_FAILED,
        "this saescope was built without libcurl: download the files in another way and import them");
}

int http_open(struct http **out, struct error *err)
{
    *out = NULL;
    return not_built_in(err);
}

void http_close(struct http *h)
{
    (void)h;
}

int http_exchange(struct http *h, const struct http_request *q, struct http_response *r, struct monitor *m,
                  struct error *err)
{
    (void)h;
    (void)q;
    (void)m;
    *r = (struct http_response){0};
    return not_built_in(err);
}

char *http_resolve(const char *base, const char *reference)
{
    (void)base;
    (void)reference;
    return NULL;
}

int http_same_origin(const char *a, const char *b)
{
    (void)a;
    (void)b;
    return 0;
}

const char *http_library_version(void)
{
    return NULL;
}

int digest_start(enum digest_kind kind, uint64_t size, struct digest **out, struct error *err)
{
    (void)kind;
    (void)size;
    *out = NULL;
    return not_built_in(err);
}

void digest_add(struct digest *d, const void *bytes, size_t n)
{
    (void)d;
    (void)bytes;
    (void)n;
}

void digest_end(struct digest *d, char hex[DIGEST_HEX_MAX + 1])
{
    (void)d;
    hex[0] = '\0';
}

void digest_free(struct digest *d)
{
    (void)d;
}

const char *digest_library_version(void)
{
    return NULL;
}
