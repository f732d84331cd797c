/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bases of a meta-SAE, in its manifest's references. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/sae/bases.h"

#define ROLE_MAX 32

/* "base", "base2", "base3" … */
static void role_of(size_t i, char role[ROLE_MAX])
{
    if (i == 0)
        snprintf(role, ROLE_MAX, "base");
    else
        snprintf(role, ROLE_MAX, "base%zu", i + 1);
}

artifact_id meta_base_at(const json *manifest, size_t i)
{
    char role[ROLE_MAX];
    role_of(i, role);
    long long id = json_get_integer(json_get(manifest, "references"), role, 0);
    return id > 0 ? (artifact_id)id : 0;
}

int meta_has_base(const json *manifest, artifact_id base)
{
    artifact_id id;
    for (size_t i = 0; (id = meta_base_at(manifest, i)); i++)
        if (id == base)
            return 1;
    return 0;
}

json *meta_bases_references(const artifact_id *ids, size_t n)
{
    json *references = json_new_object();
    for (size_t i = 0; i < n; i++) {
        char role[ROLE_MAX];
        role_of(i, role);
        json_set(references, role, json_new_integer((long long)ids[i]));
    }
    return references;
}

/* Adds one base with as many rows as its manifest says. */
static int add_base(struct store_txn *t, artifact_id id, struct meta_bases *b, struct error *err)
{
    size_t rows;
    json *manifest = store_manifest(t, id, err);
    if (!manifest)
        return STATUS_STORE;
    int status =
        json_need_size(manifest, "d_sae", "the manifest of a meta-SAE's base", INT32_MAX, &rows, err);
    json_free(manifest);
    if (status)
        return status;
    b->ids = xreallocarray(b->ids, b->n + 1, sizeof(*b->ids));
    b->first = xreallocarray(b->first, b->n + 2, sizeof(*b->first));
    if (b->n == 0)
        b->first[0] = 0;
    b->ids[b->n] = id;
    b->first[b->n + 1] = b->first[b->n] + rows;
    b->n++;
    return STATUS_OK;
}

int meta_bases_read(struct store_txn *t, artifact_id meta, struct meta_bases *out, struct error *err)
{
    struct artifact a;
    artifact_id id;
    memset(out, 0, sizeof(*out));
    int status = store_get(t, meta, &a, err);
    json *manifest = status ? NULL : store_manifest(t, meta, err);
    if (!status && !manifest)
        status = STATUS_STORE;
    for (size_t i = 0; !status && (id = meta_base_at(manifest, i)); i++)
        status = add_base(t, id, out, err);
    if (!status && out->n == 0)
        status = error_set(err, STATUS_REFUSED, "%s is no meta-SAE: it names no base", a.name);
    json_free(manifest);
    if (status)
        meta_bases_free(out);
    return status;
}

void meta_bases_free(struct meta_bases *b)
{
    free(b->ids);
    free(b->first);
    memset(b, 0, sizeof(*b));
}

size_t meta_bases_find(const struct meta_bases *b, artifact_id base)
{
    size_t i = 0;
    while (i < b->n && b->ids[i] != base)
        i++;
    return i;
}

size_t meta_bases_of_row(const struct meta_bases *b, size_t row)
{
    size_t i = 0;
    while (i + 1 < b->n && row >= b->first[i + 1])
        i++;
    return i;
}
