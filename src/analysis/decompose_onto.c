/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A latent in terms of another SAE's latents, by sparse regression of its decoder row. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/omp.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"

/* Strongest first, whatever the sign. */
static int compare_components(const void *a, const void *b)
{
    const struct component *x = a, *y = b;
    float p = fabsf(x->activation), q = fabsf(y->activation);
    if (p != q)
        return p < q ? 1 : -1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static void fill(const struct sae *onto, const struct sparse_rows *f, const float *row,
                 struct decomposition *out)
{
    out->n = f->offsets[1];
    out->components = xcalloc(out->n ? out->n : 1, sizeof(*out->components));
    for (size_t i = 0; i < out->n; i++) {
        const float *atom = sae_decoder_row(onto, f->latents[i]);
        out->components[i] = (struct component){
            f->latents[i], f->values[i],
            (float)((double)vec_dot(row, atom, onto->d_in) / sqrt(vec_norm2(atom, onto->d_in)))};
    }
    qsort(out->components, out->n, sizeof(*out->components), compare_components);
}

/* CONTRACT.md: 1 − ‖d−d̂‖²/‖d−d̄‖². */
static int measure(const struct sae *base, const float *row, double error, struct decomposition *out,
                   struct error *err)
{
    struct row_mean mean;
    int status = row_mean_of(base, 0, &mean, err);
    if (status)
        return status;
    double total = 0;
    for (size_t i = 0; i < base->d_in; i++)
        total += ((double)row[i] - mean.mean[i]) * ((double)row[i] - mean.mean[i]);
    out->explained_variance = total > 0 ? 1 - error / total : NAN;
    out->residual_norm = sqrt(error);
    row_mean_free(&mean);
    return STATUS_OK;
}

static int regress(const struct sae *base, const struct sae *onto, size_t latent, const struct omp_options *o,
                   struct monitor *m, const float *row, struct decomposition *out, struct error *err)
{
    struct omp *p = NULL;
    struct sparse_rows f = {0};
    uint32_t own = base == onto || (base->id && base->id == onto->id) ? (uint32_t)latent : UINT32_MAX;
    double error;
    int status = omp_open(onto, o, &p, err);
    if (!status)
        status = omp_rows(p, row, &own, 1, m, &f, &error, err);
    if (!status)
        fill(onto, &f, row, out);
    if (!status)
        status = measure(base, row, error, out, err);
    omp_close(p);
    sparse_rows_free(&f);
    return status;
}

int decompose_onto(const struct sae *base, const struct sae *onto, size_t latent, const struct omp_options *o,
                   struct monitor *m, struct decomposition *out, struct error *err)
{
    uint32_t number;
    memset(out, 0, sizeof(*out));
    if (base->d_in != onto->d_in)
        return error_set(
            err, STATUS_REFUSED,
            "its row has %zu numbers and those of the other SAE %zu: it cannot be written in them",
            base->d_in, onto->d_in);
    float *row = array_alloc(base->d_in, sizeof(float), "a decoder row", err);
    if (!row)
        return STATUS_FAILED;
    int status = STATUS_OK;
    if (decoder_rows(base, latent, 1, 0, row, &number) == 0) {
        /* A row of zeros has no direction to decompose. */
        out->components = xcalloc(1, sizeof(*out->components));
        out->explained_variance = NAN;
    } else {
        status = regress(base, onto, latent, o, m, row, out, err);
    }
    free(row);
    if (status)
        decomposition_free(out);
    return status;
}
