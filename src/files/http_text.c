/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What needs no HTTP library: headers by name, URLs as text. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/http.h"

void http_response_free(struct http_response *r)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->headers);
    *r = (struct http_response){0};
}

const char *http_header(const struct http_response *r, const char *name)
{
    for (size_t i = r->n_headers; i-- > 0;)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

char *http_shown_url(const char *url)
{
    char *bare = xstrndup(url, strcspn(url, "?#")), *shown = displayable_string(bare);
    free(bare);
    return shown;
}

void http_add_escaped(struct strbuf *out, const char *text, int keep_slashes)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text) || (keep_slashes && *text == '/'))
            strbuf_addc(out, *text);
        else
            strbuf_addf(out, "%%%02X", (unsigned char)*text);
    }
}
