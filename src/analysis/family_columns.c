/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which SAEs a family goes through. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/family.h"
#include "saescope/base/memory.h"

struct pair { /* of a stitch */
    artifact_id stitch, small, large;
};
struct stitches {
    struct pair *items;
    size_t n;
};

static artifact_id reference(const json *manifest, const char *role)
{
    long long id = json_get_integer(json_get(manifest, "references"), role, 0);
    return id > 0 ? (artifact_id)id : 0;
}

static int list_stitches(struct store_txn *t, struct stitches *out, struct error *err)
{
    struct artifact *all;
    size_t n;
    int status = store_list(t, ARTIFACT_STITCH, &all, &n, err);
    if (status)
        return status;
    out->items = xcalloc(n ? n : 1, sizeof *out->items);
    for (size_t i = 0; !status && i < n; i++) {
        json *m = store_manifest(t, all[i].id, err);
        if (m)
            out->items[out->n++] = (struct pair){all[i].id, reference(m, "small"), reference(m, "large")};
        else
            status = STATUS_STORE;
        json_free(m);
    }
    free(all);
    if (status)
        free(out->items);
    return status;
}

static artifact_id newest_between(const struct stitches *s, artifact_id small, artifact_id large)
{
    artifact_id newest = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].small == small && s->items[i].large == large && s->items[i].stitch > newest)
            newest = s->items[i].stitch;
    return newest;
}

/* ---- Which SAEs fit. ---- */

/* Made out of other SAEs, not trained: it says nothing of its width. */
static int is_derived(const struct sae_facts *f)
{
    const json *source = json_get(f->manifest, "source");
    return json_is_object(source) && (json_get(source, "stitch") || json_get(source, "rebuilt_from"));
}

struct candidates {
    struct family_column *items;
    size_t n;
};

static void add_column(struct candidates *c, const struct sae_facts *f)
{
    c->items = xreallocarray(c->items, c->n + 1, sizeof *c->items);
    c->items[c->n++] = (struct family_column){.sae = f->artifact, .width = f->d_sae};
}

static int find_fitting(struct store_txn *t, const struct sae_facts *own, struct candidates *c,
                        struct error *err)
{
    struct artifact *all;
    size_t n;
    int status = store_list(t, ARTIFACT_SAE, &all, &n, err);
    if (status)
        return status;
    for (size_t i = 0; !status && i < n; i++) {
        struct sae_facts f;
        status = sae_facts_read(t, all[i].id, &f, err);
        if (status)
            break;
        if (f.artifact.id == own->artifact.id ||
            (same_place(own, &f) && f.context_size == own->context_size && f.center == own->center &&
             !is_derived(&f)))
            add_column(c, &f);
        sae_facts_free(&f);
    }
    free(all);
    return status;
}

/* Stitches of an SAE with others of the candidates. */
static size_t count_stitches(const struct stitches *s, const struct candidates *c, artifact_id sae)
{
    size_t count = 0;
    for (size_t i = 0; i < c->n; i++)
        count += newest_between(s, sae, c->items[i].sae.id) || newest_between(s, c->items[i].sae.id, sae);
    return count;
}

/* Whether a stays and b goes, of two with the same width. */
static int is_preferred(const struct stitches *s, const struct candidates *c, artifact_id own, artifact_id a,
                        artifact_id b)
{
    size_t stitches_a = count_stitches(s, c, a), stitches_b = count_stitches(s, c, b);
    if (a == own || b == own)
        return a == own;
    return stitches_a != stitches_b ? stitches_a > stitches_b : a < b;
}

static void keep_one_a_width(const struct stitches *s, struct candidates *c, artifact_id own)
{
    size_t kept = 0;
    struct candidates all = *c;
    struct family_column *items = xcalloc(c->n, sizeof *items);
    for (size_t i = 0; i < all.n; i++) {
        int stays = 1;
        for (size_t k = 0; k < all.n; k++)
            stays &= k == i || all.items[k].width != all.items[i].width ||
                     is_preferred(s, &all, own, all.items[i].sae.id, all.items[k].sae.id);
        if (stays)
            items[kept++] = all.items[i];
    }
    free(c->items);
    c->items = items;
    c->n = kept;
}

/* ---- SAEs that are named. ---- */

static int add_named(struct store_txn *t, const struct sae_facts *own, const char *name, struct candidates *c,
                     struct error *err)
{
    struct artifact a;
    struct sae_facts f;
    int status = store_find(t, ARTIFACT_SAE, name, &a, err);
    if (!status)
        status = sae_facts_read(t, a.id, &f, err);
    if (status)
        return status;
    int known = 0;
    for (size_t i = 0; i < c->n; i++)
        known |= c->items[i].sae.id == a.id;
    if (!known && !same_place(own, &f))
        status = error_set(err, STATUS_REFUSED,
                           "%s and %s have no common families: SAEs of one model, hook and d_in do", name,
                           own->artifact.name);
    for (size_t i = 0; !status && !known && i < c->n; i++)
        if (c->items[i].width == f.d_sae)
            status = error_set(err, STATUS_REFUSED, "%s and %s both have %zu latents: name one of them",
                               c->items[i].sae.name, name, f.d_sae);
    if (!status && !known)
        add_column(c, &f);
    sae_facts_free(&f);
    return status;
}

static int find_named(struct store_txn *t, const struct sae_facts *own, const char *saes,
                      struct candidates *c, struct error *err)
{
    char *copy = xstrdup(saes), *save = NULL;
    int status = STATUS_OK;
    add_column(c, own);
    for (char *name = strtok_r(copy, ",", &save); name && !status; name = strtok_r(NULL, ",", &save))
        status = add_named(t, own, name, c, err);
    free(copy);
    return status;
}

static int by_width(const void *a, const void *b)
{
    const struct family_column *x = a, *y = b;
    return (x->width > y->width) - (x->width < y->width);
}

int family_columns(struct store_txn *t, artifact_id sae, const char *saes, struct family_column **out,
                   size_t *n, struct error *err)
{
    struct sae_facts own;
    struct stitches stitches = {0};
    struct candidates c = {0};
    *out = NULL;
    *n = 0;
    int status = sae_facts_read(t, sae, &own, err);
    if (status)
        return status;
    if (own.is_meta)
        status = error_set(err, STATUS_REFUSED,
                           "%s is a meta-SAE: families are of latents of SAEs of different widths",
                           own.artifact.name);
    if (!status)
        status = list_stitches(t, &stitches, err);
    if (!status)
        status = saes ? find_named(t, &own, saes, &c, err) : find_fitting(t, &own, &c, err);
    if (!status) {
        if (!saes)
            keep_one_a_width(&stitches, &c, sae);
        qsort(c.items, c.n, sizeof *c.items, by_width);
        for (size_t i = 1; i < c.n; i++)
            c.items[i].stitch = newest_between(&stitches, c.items[i - 1].sae.id, c.items[i].sae.id);
        *out = c.items;
        *n = c.n;
    } else {
        free(c.items);
    }
    free(stitches.items);
    sae_facts_free(&own);
    return status;
}
