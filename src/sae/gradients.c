/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Forward and backward over the active pairs. The formulas are in trainer.h. */
#include "config.h"

#include <string.h>

#include "saescope/base/parallel.h"
#include "saescope/sae/trainer.h"
#include "saescope/sae/vector.h"

/* Of rows at the chunk's begin on. */
struct chunk {
    struct trainer *t;
    size_t first, n;
};

/* G of one row in place of x̂; with dead latents A in place of a. Returns the row's loss in `part`. */
static void row_gradient(struct trainer *t, size_t r, int aux, struct row_part *part)
{
    size_t d = t->d_in;
    const float *x = t->x + r * d;
    float *g = t->G + r * d, *a = aux ? t->A + r * d : NULL;
    const float unit = (float)(2.0 / ((double)t->o.batch * (double)d)), alpha = (float)t->o.aux_coefficient;
    double error = 0, left = 0, squares = 0;
    for (size_t i = 0; i < d; i++) {
        float e = g[i] - x[i];
        error += (double)e * e;
        squares += (double)x[i] * x[i];
        g[i] = unit * e;
        if (a) {
            float u = a[i] + e;
            left += (double)u * u;
            a[i] = unit * alpha * u;
            g[i] += a[i];
        }
    }
    part->error += error;
    part->squares += squares;
    part->loss += error + t->o.aux_coefficient * left;
}

static void row_block(size_t block, size_t worker, void *arg)
{
    const struct chunk *c = arg;
    struct trainer *t = c->t;
    size_t d = t->d_in, at = block * TRAIN_ROW_BLOCK, first = c->first + at;
    size_t n = c->n - at < TRAIN_ROW_BLOCK ? c->n - at : TRAIN_ROW_BLOCK;
    size_t part = first / TRAIN_ROW_BLOCK;
    float *sums = t->row_sums + part * d, *means = t->row_means + part * d;
    int aux = t->aux.n > 0;
    if (aux)
        auxiliary_forward(t, first, n, at, worker, t->A + first * d);
    t->row_parts[part] = (struct row_part){0, 0, 0};
    memset(sums, 0, d * sizeof *sums);
    memset(means, 0, d * sizeof *means);
    for (size_t r = first; r < first + n; r++) {
        const size_t start = t->active.offsets[r], end = t->active.offsets[r + 1];
        float *g = t->G + r * d;
        memcpy(g, t->sae->b_dec, d * sizeof *g);
        for (size_t i = start; i < end; i++)
            row_add_scaled(t->active.values[i], t->sae->owned_W_dec + t->active.latents[i] * d, g, d);
        row_gradient(t, r, aux, &t->row_parts[part]);
        for (size_t i = start; i < end; i++)
            t->pair_gradients[i] = row_dot(g, t->sae->owned_W_dec + t->active.latents[i] * d, d);
        row_add_scaled_pair(1, g, sums, 1, t->x + r * d, means, d);
    }
    if (aux)
        auxiliary_backward(t, first, n, at);
}

void gradients_of_rows(struct trainer *t)
{
    size_t chunk = auxiliary_chunk(t);
    for (size_t first = 0; first < t->o.batch; first += chunk) {
        struct chunk c = {t, first, t->o.batch - first < chunk ? t->o.batch - first : chunk};
        parallel_for((c.n + TRAIN_ROW_BLOCK - 1) / TRAIN_ROW_BLOCK, row_block, &c);
        if (t->aux.n)
            auxiliary_gradients(t, first, c.n);
    }
}

void gradients_by_latent(struct trainer *t)
{
    size_t *offsets = t->column_offsets;
    for (size_t r = 0; r < t->o.batch; r++) {
        for (size_t i = t->active.offsets[r]; i < t->active.offsets[r + 1]; i++) {
            size_t to = offsets[t->active.latents[i]]++;
            t->columns[to] = (struct column_entry){(uint32_t)r, t->active.values[i], t->pair_gradients[i]};
        }
    }
    memmove(offsets + 1, offsets, t->o.width * sizeof *offsets);
    offsets[0] = 0;
}

float gradients_of_latent(const struct trainer *t, size_t latent, float *g_enc, float *g_dec)
{
    size_t d = t->d_in;
    uint32_t dead = t->aux.index[latent];
    if (dead != UINT32_MAX) {
        memcpy(g_enc, t->aux.gradient_enc + dead * d, d * sizeof *g_enc);
        memcpy(g_dec, t->aux.gradient_dec + dead * d, d * sizeof *g_dec);
        return t->aux.sums[dead];
    }
    memset(g_enc, 0, d * sizeof *g_enc);
    memset(g_dec, 0, d * sizeof *g_dec);
    float sum = 0;
    for (size_t i = t->column_offsets[latent]; i < t->column_offsets[latent + 1]; i++) {
        const struct column_entry *e = &t->columns[i];
        row_add_scaled_pair(e->value, t->G + e->row * d, g_dec, e->gradient, t->x_enc + e->row * d, g_enc, d);
        sum += e->gradient;
    }
    return sum;
}
