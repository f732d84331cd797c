/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sums over activations and their reconstructions. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "saescope/analysis/evaluate_parts.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

#define CHUNK 256

struct chunks {
    const float *x, *x_hat;
    size_t n, d;
    const double *mean;
    struct row_sums *sums; /* [n_chunks] */
};

static void add_row(struct row_sums *s, const float *x, const float *x_hat, const double *mean, size_t d)
{
    double error = 0, centred = 0, in = 0, out = 0, product = 0;
    for (size_t i = 0; i < d; i++) {
        double a = (double)x[i], b = (double)x_hat[i], c = a - mean[i];
        error += (a - b) * (a - b);
        centred += c * c;
        in += a * a;
        out += b * b;
        product += a * b;
    }
    double norm_in = sqrt(in), norm_out = sqrt(out);
    s->error += error;
    s->centred += centred;
    s->square_in += in;
    s->square_out += out;
    s->product += product;
    s->norm_in += norm_in;
    s->norm_out += norm_out;
    /* SAEBench does not divide by norms below 1e-4. */
    s->ratio += norm_in < 1e-4 ? norm_out : norm_out / norm_in;
    s->cosine += in > 0 && out > 0 ? product / (norm_in * norm_out) : 0;
    s->legacy += centred > 0 ? 1 - error / centred : 0;
}

static void add_chunk(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct chunks *c = arg;
    size_t end = (block + 1) * CHUNK < c->n ? (block + 1) * CHUNK : c->n;
    for (size_t r = block * CHUNK; r < end; r++)
        add_row(&c->sums[block], c->x + r * c->d, c->x_hat + r * c->d, c->mean, c->d);
}

int row_sums_add(struct row_sums *sums, const float *x, const float *x_hat, size_t n, size_t d,
                 const double *mean, struct error *err)
{
    size_t n_chunks = (n + CHUNK - 1) / CHUNK;
    if (n == 0)
        return STATUS_OK;
    struct chunks c = {x, x_hat, n, d, mean, array_zeroed(n_chunks, sizeof(struct row_sums), "sums", err)};
    if (!c.sums)
        return STATUS_FAILED;
    parallel_for(n_chunks, add_chunk, &c);
    for (size_t i = 0; i < n_chunks; i++) {
        const struct row_sums *s = &c.sums[i];
        sums->error += s->error;
        sums->centred += s->centred;
        sums->square_in += s->square_in;
        sums->square_out += s->square_out;
        sums->product += s->product;
        sums->norm_in += s->norm_in;
        sums->norm_out += s->norm_out;
        sums->ratio += s->ratio;
        sums->cosine += s->cosine;
        sums->legacy += s->legacy;
    }
    free(c.sums);
    return STATUS_OK;
}

void column_sums_add(double *sum, const float *x, size_t n, size_t d)
{
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < d; i++)
            sum[i] += (double)x[r * d + i];
}
