/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Addresses of latents: SAE/NUMBER. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"

static int no_address(const char *text, const char *why, struct error *err)
{
    char *shown = displayable_string(text);
    error_set(err, STATUS_USAGE, "%s is no address of a latent: %s (for example wn-4096/1183)", shown, why);
    free(shown);
    return STATUS_USAGE;
}

static int parse_number(const char *text, const char *digits, unsigned long long *number, struct error *err)
{
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || digits[n] != '\0')
        return no_address(text, "a number is expected after the /", err);
    /* A number too large for the type is out of any range as well. */
    if (parse_u64(digits, 0, UINT64_MAX, number))
        *number = UINT64_MAX;
    return STATUS_OK;
}

static int find_latent(struct store_txn *t, const char *name, unsigned long long number, struct address *out,
                       struct error *err)
{
    int status = store_find(t, ARTIFACT_SAE, name, &out->sae, err);
    if (status)
        return status;
    struct sae_facts facts;
    status = sae_facts_read(t, out->sae.id, &facts, err);
    if (status)
        return status;
    out->d_sae = facts.d_sae;
    sae_facts_free(&facts);
    if (number >= out->d_sae)
        return error_set(err, STATUS_REFUSED, "no latent %llu: %s has latents 0 to %zu", number,
                         out->sae.name, out->d_sae - 1);
    out->latent = (size_t)number;
    return STATUS_OK;
}

int address_parse(struct store_txn *t, const char *text, const char *fallback_sae, struct address *out,
                  struct error *err)
{
    memset(out, 0, sizeof(*out));
    const char *slash = strrchr(text, '/');
    if (!slash)
        return no_address(text, "it has the form SAE/NUMBER", err);
    unsigned long long number;
    int status = parse_number(text, slash + 1, &number, err);
    if (status)
        return status;
    if (slash == text) {
        if (!fallback_sae || fallback_sae[0] == '\0')
            return no_address(text, "it names no SAE, and none is set (set sae NAME)", err);
        return find_latent(t, fallback_sae, number, out, err);
    }
    char *name = xstrndup(text, (size_t)(slash - text));
    status = find_latent(t, name, number, out, err);
    free(name);
    return status;
}
