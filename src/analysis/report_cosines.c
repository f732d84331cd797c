/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How near the directions of one SAE lie to those of another. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/nearest.h"
#include "saescope/analysis/report_parts.h"
#include "saescope/base/memory.h"

const double report_cosine_cuts[REPORT_COSINE_CUTS] = {0.5, 0.7, 0.9};

struct named {
    artifact_id id;
    const char *name;
};

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static size_t bin_of(double cosine)
{
    double bin = floor((cosine + 1) * (REPORT_COSINE_BINS / 2.0));
    return bin < 0 ? 0 : bin >= REPORT_COSINE_BINS ? REPORT_COSINE_BINS - 1 : (size_t)bin;
}

/* Reorders the cosines. The only row of an SAE has no neighbour in it and is left out. */
static void summarise(float *cosine, size_t n, struct report_cosines *c)
{
    size_t known = 0, above[REPORT_COSINE_CUTS] = {0};
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(cosine[i]))
            cosine[known++] = cosine[i];
    qsort(cosine, known, sizeof(*cosine), compare_floats);
    for (size_t i = 0; i < known; i++) {
        double value = (double)cosine[i];
        sum += value;
        c->counts[bin_of(value)]++;
        for (size_t j = 0; j < REPORT_COSINE_CUTS; j++)
            above[j] += value > report_cosine_cuts[j];
    }
    c->mean = known ? sum / (double)known : NAN;
    c->median = known ? ((double)cosine[(known - 1) / 2] + (double)cosine[known / 2]) / 2 : NAN;
    for (size_t j = 0; j < REPORT_COSINE_CUTS; j++)
        c->above[j] = known ? (double)above[j] / (double)known : NAN;
}

static int compare_pair(struct report_work *w, const struct named *from, const struct named *against,
                        struct error *err)
{
    struct report *r = w->out;
    struct sae *a = NULL, *b = NULL;
    uint32_t *nearest = NULL;
    float *cosine = NULL;
    struct store_txn *t;
    int status = store_begin(w->store, &t, err);
    if (status)
        return status;
    status = sae_open(t, from->id, &a, err);
    if (!status)
        status = sae_open(t, against->id, &b, err);
    if (!status) {
        nearest = array_alloc(a->d_sae, sizeof(*nearest), "nearest latents", err);
        cosine = array_alloc(a->d_sae, sizeof(*cosine), "cosines", err);
        status = nearest && cosine ? nearest_rows(a, b, 1, w->monitor, nearest, cosine, err) : STATUS_FAILED;
    }
    if (!status) {
        r->cosines = xreallocarray(r->cosines, r->n_cosines + 1, sizeof(*r->cosines));
        struct report_cosines *c = &r->cosines[r->n_cosines++];
        memset(c, 0, sizeof(*c));
        strcpy(c->from, from->name);
        strcpy(c->against, against->name);
        summarise(cosine, a->d_sae, c);
    }
    free(nearest);
    free(cosine);
    sae_free(a);
    sae_free(b);
    store_end(t);
    return status;
}

static int compare_with_all(struct report_work *w, const struct named *from, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < w->n_saes; i++)
        status =
            compare_pair(w, from, &(struct named){w->saes[i].artifact.id, w->saes[i].artifact.name}, err);
    return status;
}

int report_cosines(struct report_work *w, struct error *err)
{
    struct named meta = {w->o->meta, w->out->meta};
    int status = compare_pair(w, &meta, &meta, err);
    if (!status)
        status = compare_with_all(w, &meta, err);
    for (size_t i = w->n_saes; !status && !w->o->quick && i-- > 0;) {
        const struct hook_sae *s = &w->saes[i];
        if (report_is_smaller(w, s) || meta_bases_find(&w->rows.bases, s->artifact.id) < w->rows.bases.n)
            status = compare_with_all(w, &(struct named){s->artifact.id, s->artifact.name}, err);
    }
    return status;
}
