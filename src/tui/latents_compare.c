/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The list of latents beside another SAE: for each latent the nearest of that one by decoder cosine. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/latents_view.h"

struct compare_request {
    char *sae, *other;
};

static void free_request(void *arg)
{
    struct compare_request *r = arg;
    free(r->sae);
    free(r->other);
    free(r);
}

void nearest_in_free(void *nearest)
{
    struct nearest_in *n = nearest;
    if (!n)
        return;
    free(n->cosine);
    free(n->nearest);
    free(n);
}

struct nearest_in *nearest_in_copy(const struct nearest_in *from)
{
    if (!from)
        return NULL;
    struct nearest_in *to = xcalloc(1, sizeof *to);
    *to = *from;
    to->cosine = xreallocarray(NULL, from->n + 1, sizeof *to->cosine);
    to->nearest = xreallocarray(NULL, from->n + 1, sizeof *to->nearest);
    memcpy(to->cosine, from->cosine, from->n * sizeof *to->cosine);
    memcpy(to->nearest, from->nearest, from->n * sizeof *to->nearest);
    return to;
}

static int open_both(struct store_txn *t, const struct compare_request *r, struct nearest_in *n,
                     struct sae **own, struct sae **other, struct error *err)
{
    struct artifact a = {0};
    int status = store_find(t, ARTIFACT_SAE, r->sae, &a, err);
    if (status == STATUS_OK)
        status = store_find(t, ARTIFACT_SAE, r->other, &n->in, err);
    if (status == STATUS_OK)
        status = sae_open(t, a.id, own, err);
    if (status == STATUS_OK)
        status = sae_open(t, n->in.id, other, err);
    n->sae = a.id;
    if (status == STATUS_OK && (*own)->d_in != (*other)->d_in)
        status = error_set(err, STATUS_REFUSED,
                           "%s has d_in %zu and %s has %zu: their directions cannot be compared", a.name,
                           (*own)->d_in, n->in.name, (*other)->d_in);
    return status;
}

static int read_nearest(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    struct query_watch watch = query_watch(q);
    struct sae *own = NULL, *other = NULL;
    struct nearest_in *n = xcalloc(1, sizeof *n);
    int status = open_both(t, arg, n, &own, &other, err);
    if (status == STATUS_OK) {
        n->n = own->d_sae;
        n->cosine = array_alloc(n->n, sizeof *n->cosine, "cosines", err);
        n->nearest = array_alloc(n->n, sizeof *n->nearest, "nearest latents", err);
        status = n->cosine && n->nearest
                     ? nearest_latents(own, other, &watch.monitor, n->nearest, n->cosine, err)
                     : STATUS_FAILED;
    }
    sae_free(other);
    sae_free(own);
    if (status != STATUS_OK) {
        nearest_in_free(n);
        return status;
    }
    *result = n;
    return STATUS_OK;
}

static int nearest_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latents *d = v->data;
    if (status != STATUS_OK) {
        app_message(v->app, 1, "%s", err->message);
        return INVALID_NONE;
    }
    nearest_in_free(d->compared);
    d->compared = result;
    latents_load(v); /* so that sort and filter know */
    return INVALID_DRAW;
}

static const struct query_spec nearest_query = {read_nearest, nearest_done, nearest_in_free, free_request};

void latents_compare(struct view *v, const char *sae)
{
    struct latents *d = v->data;
    query_cancel(v, SLOT_COMPARE);
    if (!*sae) {
        nearest_in_free(d->compared);
        d->compared = NULL;
        latents_load(v);
        return;
    }
    struct compare_request *r = xcalloc(1, sizeof *r);
    *r = (struct compare_request){xstrdup(v->target), xstrdup(sae)};
    app_message(v->app, 0, "looking for the nearest latents of %s", sae);
    query_start(v, SLOT_COMPARE, &nearest_query, r);
}
