/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Baselines of a meta-SAE that need no training: other decoders for its activations, and sparse regression.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/nearest.h"
#include "saescope/analysis/omp.h"
#include "saescope/analysis/rebuild.h"
#include "saescope/analysis/report_parts.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"

/* ---- Sums over all rows. ---- */

struct measure {
    const struct sae *sae;
    int encode; /* with its own encoder, else on the meta-SAE's activations */
    double error, terms;
};

struct squares {
    const float *x, *x_hat; /* [n, d] */
    size_t d;
    double *sums; /* [n] */
};

static void squared_error(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct squares *q = arg;
    double sum = 0;
    for (size_t i = 0; i < q->d; i++) {
        double e = (double)q->x[block * q->d + i] - (double)q->x_hat[block * q->d + i];
        sum += e * e;
    }
    q->sums[block] = sum;
}

static int measure_tile(struct report_work *w, const struct report_tile *tile, void *arg, struct error *err)
{
    struct measure *m = arg;
    size_t d = w->rows.d_in;
    struct sparse_rows own = {0};
    /* The tile's part of the activations that are there. */
    struct sparse_rows f = {.n_rows = tile->n,
                            .offsets = w->f.offsets + tile->first,
                            .latents = w->f.latents,
                            .values = w->f.values};
    float *x_hat = array_alloc(tile->n, d * sizeof(float), "decoder rows", err);
    double *sums = array_alloc(tile->n, sizeof(*sums), "sums", err);
    int status = x_hat && sums ? STATUS_OK : STATUS_FAILED;
    if (!status && m->encode)
        status = sae_encode(m->sae, tile->x, tile->n, &own, err);
    if (!status)
        status = sae_decode(m->sae, m->encode ? &own : &f, tile->x, x_hat, err);
    if (!status) {
        const size_t *offsets = m->encode ? own.offsets : f.offsets;
        parallel_for(tile->n, squared_error, &(struct squares){tile->x, x_hat, d, sums});
        for (size_t r = 0; r < tile->n; r++)
            m->error += sums[r];
        m->terms += (double)(offsets[tile->n] - offsets[0]);
    }
    sparse_rows_free(&own);
    free(x_hat);
    free(sums);
    return status;
}

int report_measure(struct report_work *w, const char *phase, const struct sae *sae, double *error,
                   double *terms, struct error *err)
{
    struct measure m = {.sae = sae, .encode = 1};
    int status = report_each_tile(w, phase, measure_tile, &m, err);
    *error = m.error;
    *terms = m.terms;
    return status;
}

/* ---- Decoders. ---- */

static void to_unit(float *row, size_t d)
{
    double norm = sqrt(vec_norm2(row, d));
    if (norm > 0)
        vec_scale((float)(1 / norm), row, d);
}

/* Normal numbers have no direction that they prefer. */
static int random_decoder(struct report_work *w, struct sae **out, struct error *err)
{
    struct store_txn *t;
    struct rng rng;
    size_t d = w->rows.d_in;
    int status = report_begin(w, &t, err);
    if (status)
        return status;
    status = sae_copy_but_decoder(w->rows.meta, out, err);
    store_end(t);
    rng_seed(&rng, w->o->seed, 0);
    for (size_t i = 0; !status && i < (*out)->d_sae; i++) {
        float *row = (*out)->owned_W_dec + i * d;
        for (size_t j = 0; j < d; j++)
            row[j] = (float)rng_normal(&rng);
        to_unit(row, d);
    }
    return status;
}

int report_nearest_decoder(struct report_work *w, artifact_id sae, struct sae **out, struct error *err)
{
    const struct sae *meta = w->rows.meta;
    struct sae *small = NULL;
    struct store_txn *t;
    size_t d = meta->d_in;
    *out = NULL;
    uint32_t *nearest = array_alloc(meta->d_sae, sizeof(*nearest), "nearest latents", err);
    float *cosine = array_alloc(meta->d_sae, sizeof(*cosine), "cosines", err);
    int status = nearest && cosine ? report_begin(w, &t, err) : STATUS_FAILED;
    if (!status) {
        status = sae_open(t, sae, &small, err);
        if (!status)
            status = nearest_rows(meta, small, 1, w->monitor, nearest, cosine, err);
        if (!status)
            status = sae_copy_but_decoder(meta, out, err);
        for (size_t i = 0; !status && i < meta->d_sae; i++) {
            float *row = (*out)->owned_W_dec + i * d;
            memcpy(row, sae_decoder_row(small, nearest[i]), d * sizeof(float));
            to_unit(row, d);
        }
        sae_free(small);
        store_end(t);
    }
    free(nearest);
    free(cosine);
    return status;
}

/* The meta-SAE's activations times this decoder; takes it over. */
static int try_decoder(struct report_work *w, enum report_baseline_kind kind, const struct hook_sae *sae,
                       struct sae *decoder, struct error *err)
{
    struct measure m = {.sae = decoder};
    int status = report_each_tile(w, "other decoders", measure_tile, &m, err);
    if (!status)
        report_add_baseline(w, kind, sae, m.error, m.terms);
    sae_free(decoder);
    return status;
}

int report_decoders(struct report_work *w, struct error *err)
{
    struct sae *decoder = NULL;
    int status = random_decoder(w, &decoder, err);
    if (!status)
        status = try_decoder(w, BASELINE_RANDOM, NULL, decoder, err);
    for (size_t i = 0; !status && i < w->n_saes; i++) {
        if (!report_is_smaller(w, &w->saes[i]))
            continue;
        status = report_nearest_decoder(w, w->saes[i].artifact.id, &decoder, err);
        if (!status)
            status = try_decoder(w, BASELINE_NEAREST, &w->saes[i], decoder, err);
    }
    return status;
}

/* ---- Sparse regression. ---- */

struct regression {
    struct sae *dictionary;
    struct omp *omp;
    size_t base; /* the base that the dictionary is: rows leave themselves out; bases' n: none */
    double error, terms;
};

static int regress_tile(struct report_work *w, const struct report_tile *tile, void *arg, struct error *err)
{
    struct regression *g = arg;
    const struct meta_bases *bases = &w->rows.bases;
    struct sparse_rows f = {0};
    double *error = array_alloc(tile->n, sizeof(*error), "sums", err);
    uint32_t *own = array_alloc(tile->n, sizeof(*own), "rows", err);
    int status = error && own ? sae_attach(g->dictionary, tile->t, err) : STATUS_FAILED;
    for (size_t r = 0; !status && r < tile->n; r++)
        own[r] = g->base < bases->n && meta_bases_of_row(bases, tile->numbers[r]) == g->base
                     ? (uint32_t)(tile->numbers[r] - bases->first[g->base])
                     : UINT32_MAX;
    if (!status)
        status = omp_rows(g->omp, tile->x, own, tile->n, w->monitor, &f, error, err);
    for (size_t r = 0; !status && r < tile->n; r++)
        g->error += error[r];
    if (!status)
        g->terms += (double)f.offsets[tile->n];
    sparse_rows_free(&f);
    free(error);
    free(own);
    return status;
}

static int open_regression(struct report_work *w, const struct hook_sae *sae, const struct omp_options *o,
                           struct regression *g, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(w->store, &t, err);
    if (status)
        return status;
    status = sae_open(t, sae->artifact.id, &g->dictionary, err);
    if (!status)
        status = omp_open(g->dictionary, o, &g->omp, err);
    g->base = meta_bases_find(&w->rows.bases, sae->artifact.id);
    store_end(t);
    return status;
}

static int regress(struct report_work *w, const struct hook_sae *sae, int non_negative, struct error *err)
{
    struct regression g = {0};
    size_t k = w->rows.meta->k ? w->rows.meta->k : (size_t)lround(w->out->l0 > 1 ? w->out->l0 : 1);
    struct omp_options o = {k < OMP_ATOMS_MAX ? k : OMP_ATOMS_MAX, non_negative};
    int status = open_regression(w, sae, &o, &g, err);
    if (!status)
        status = report_each_tile(w, non_negative ? "non-negative OMP" : "OMP", regress_tile, &g, err);
    if (!status)
        report_add_baseline(w, non_negative ? BASELINE_NON_NEGATIVE : BASELINE_OMP, sae, g.error, g.terms);
    omp_close(g.omp);
    sae_free(g.dictionary);
    return status;
}

int report_regressions(struct report_work *w, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < w->n_saes; i++) {
        if (!report_is_smaller(w, &w->saes[i]))
            continue;
        status = regress(w, &w->saes[i], 0, err);
        if (!status)
            status = regress(w, &w->saes[i], 1, err);
    }
    return status;
}
