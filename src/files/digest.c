/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Digests with OpenSSL: the only file that includes it. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "saescope/base/memory.h"
#include "saescope/files/digest.h"

struct digest {
    EVP_MD_CTX *context;
};

int digest_start(enum digest_kind kind, uint64_t size, struct digest **out, struct error *err)
{
    struct digest *d = xcalloc(1, sizeof *d);
    d->context = EVP_MD_CTX_new();
    if (!d->context ||
        EVP_DigestInit_ex(d->context, kind == DIGEST_SHA256 ? EVP_sha256() : EVP_sha1(), NULL) != 1) {
        digest_free(d);
        return error_set(err, STATUS_FAILED, "OpenSSL has no %s here",
                         kind == DIGEST_SHA256 ? "SHA-256" : "SHA-1");
    }
    if (kind == DIGEST_GIT_BLOB) {
        char start[32];
        int n = snprintf(start, sizeof start, "blob %llu", (unsigned long long)size);
        digest_add(d, start, (size_t)n + 1);
    }
    *out = d;
    return STATUS_OK;
}

void digest_add(struct digest *d, const void *bytes, size_t n)
{
    EVP_DigestUpdate(d->context, bytes, n);
}

void digest_end(struct digest *d, char hex[DIGEST_HEX_MAX + 1])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_DigestFinal_ex(d->context, bytes, &n);
    hex[0] = '\0';
    for (unsigned i = 0; i < n && i < DIGEST_HEX_MAX / 2; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", bytes[i]);
    digest_free(d);
}

void digest_free(struct digest *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->context);
    free(d);
}

const char *digest_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
