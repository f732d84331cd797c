/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Digests by which the Hub names a file's content. Only src/files/digest.c knows OpenSSL. */
#ifndef SAESCOPE_FILES_DIGEST_H
#define SAESCOPE_FILES_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"

enum digest_kind {
    DIGEST_NONE,
    DIGEST_SHA256,  /* of the content: files in Git LFS */
    DIGEST_GIT_BLOB /* SHA-1 of "blob SIZE", a NUL and the content: Git's own name for it */
};

#define DIGEST_HEX_MAX 64

struct digest;
/* `size` is the content's, which DIGEST_GIT_BLOB begins with. */
int digest_start(enum digest_kind kind, uint64_t size, struct digest **out, struct error *err);
void digest_add(struct digest *d, const void *bytes, size_t n);
/* Lower-case hexadecimal digits; releases d. */
void digest_end(struct digest *d, char hex[DIGEST_HEX_MAX + 1]);
void digest_free(struct digest *d); /* NULL is fine */

const char *digest_library_version(void); /* "OpenSSL 3.0.9 ...", or NULL when there is none */

#endif
