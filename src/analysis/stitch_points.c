/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Explained variance of a stitch's path and of the SAEs of its hook at equal L0. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/analysis/stitch_points.h"
#include "saescope/base/memory.h"

double stitch_ev_at_l0(const struct stitch_path *p, double l0)
{
    double best = NAN;
    for (size_t k = 0; k <= p->n_steps; k++) {
        size_t next = k < p->n_steps ? k + 1 : k;
        double a = p->l0[k], b = p->l0[next], ev = p->explained_variance[k];
        if (!(fmin(a, b) <= l0 && l0 <= fmax(a, b)))
            continue;
        if (a < b || b < a)
            ev += (l0 - a) / (b - a) * (p->explained_variance[next] - ev);
        best = fmax(best, ev); /* of a number and NaN the number */
    }
    return best;
}

/* ---- Where the numbers of an SAE come from. ---- */

static void take_training(struct stitch_point *point, const json *manifest)
{
    const json *training = json_get(manifest, "training");
    double l0 = json_get_number(training, "l0", NAN),
           ev = json_get_number(training, "explained_variance", NAN);
    if (isnan(l0) || isnan(ev))
        return;
    point->source = POINT_TRAINING;
    point->l0 = l0;
    point->explained_variance = ev;
}

/* An SAE that was saved from this stitch. One of an earlier stitch of the name is older than this one. */
static void take_step(struct stitch_point *point, const json *manifest, const struct stitch_facts *f)
{
    const json *source = json_get(manifest, "source");
    long long step = json_get_integer(source, "step", -1);
    if (strcmp(json_get_string(source, "stitch", ""), f->artifact.name) != 0 || point->sae < f->artifact.id ||
        step < 0 || (unsigned long long)step > f->n_steps)
        return;
    point->source = POINT_STEP;
    point->step = (size_t)step;
}

/* The result of an `evaluate`, when it is of one of the points. */
static void take_evaluation(struct stitch_point *points, size_t n, const json *result, const char *own_text)
{
    const json *metrics = json_get(result, "metrics");
    double l0 = json_get_number(json_get(metrics, "sparsity"), "l0", NAN);
    double ev = json_get_number(json_get(metrics, "reconstruction_quality"), "explained_variance", NAN);
    const char *text = json_get_string(result, "text", "");
    int is_own = strcmp(text, own_text) == 0;
    artifact_id sae = (artifact_id)json_get_integer(result, "sae_id", 0);
    for (size_t i = 0; i < n && sae && !isnan(l0) && !isnan(ev) && strlen(text) <= NAME_MAX_BYTES; i++) {
        struct stitch_point *p = &points[i];
        int had_own = p->source == POINT_EVALUATION && strcmp(p->text, own_text) == 0;
        if (p->sae != sae || p->source == POINT_STEP || (!is_own && (had_own || p->source == POINT_TRAINING)))
            continue;
        p->source = POINT_EVALUATION;
        strcpy(p->text, text);
        p->l0 = l0;
        p->explained_variance = ev;
    }
}

/* Jobs count up, so that a later evaluation replaces an earlier one. */
static int take_evaluations(struct store_txn *t, struct stitch_point *points, size_t n, const char *own_text,
                            struct error *err)
{
    uint64_t *ids = NULL;
    size_t n_jobs = 0;
    int status = store_jobs(t, &ids, &n_jobs, err);
    for (size_t i = 0; status == STATUS_OK && i < n_jobs; i++) {
        json *record = store_job(t, ids[i], NULL);
        if (strcmp(json_get_string(record, "kind", ""), "evaluate") == 0)
            take_evaluation(points, n, json_get(record, "result"), own_text);
        json_free(record);
    }
    free(ids);
    return status;
}

/* ---- The SAEs. ---- */

static void add_point(struct store_txn *t, const struct stitch_facts *stitch, const struct artifact *a,
                      const struct sae_facts *like, struct stitch_point *points, size_t *n)
{
    struct sae_facts f;
    if (sae_facts_read(t, a->id, &f, NULL) != STATUS_OK)
        return; /* what cannot be read is no point */
    int fits = !f.is_meta && f.model == like->model && f.hook && strcmp(f.hook, like->hook) == 0;
    if (fits) {
        struct stitch_point *p = &points[(*n)++];
        *p = (struct stitch_point){.sae = a->id,
                                   .d_sae = f.d_sae,
                                   .l0 = NAN,
                                   .explained_variance = NAN,
                                   .path_explained_variance = NAN};
        memcpy(p->name, a->name, sizeof p->name);
        take_training(p, f.manifest);
        take_step(p, f.manifest, stitch);
    }
    sae_facts_free(&f);
}

static int by_width(const void *a, const void *b)
{
    const struct stitch_point *x = a, *y = b;
    if (x->d_sae != y->d_sae)
        return x->d_sae < y->d_sae ? -1 : 1;
    return strcmp(x->name, y->name);
}

int stitch_points_read(struct store_txn *t, const struct stitch_facts *f, struct stitch_point **out,
                       size_t *n, struct error *err)
{
    struct artifact *saes = NULL, text = {.name = ""};
    struct sae_facts like;
    size_t n_saes = 0;
    *out = NULL;
    *n = 0;
    int status = sae_facts_read(t, f->small, &like, err);
    if (status != STATUS_OK)
        return status;
    if (!like.hook)
        status = error_set(err, STATUS_REFUSED, "%s names no hook", like.artifact.name);
    if (status == STATUS_OK)
        status = store_list(t, ARTIFACT_SAE, &saes, &n_saes, err);
    if (status == STATUS_OK) {
        *out = xcalloc(n_saes + 1, sizeof **out);
        for (size_t i = 0; i < n_saes; i++)
            add_point(t, f, &saes[i], &like, *out, n);
        qsort(*out, *n, sizeof **out, by_width);
        store_get(t, f->text, &text, NULL);
        status = take_evaluations(t, *out, *n, text.name, err);
    }
    sae_facts_free(&like);
    free(saes);
    if (status != STATUS_OK) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return status;
}

void stitch_points_compare(struct stitch_point *points, size_t n, const struct stitch_path *path)
{
    for (size_t i = 0; i < n; i++) {
        struct stitch_point *p = &points[i];
        if (p->source == POINT_STEP && p->step <= path->n_steps) {
            p->l0 = path->l0[p->step];
            p->explained_variance = path->explained_variance[p->step];
        }
        p->path_explained_variance = stitch_ev_at_l0(path, p->l0);
    }
}
