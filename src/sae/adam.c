/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The update of all parameters, one pass over each latent's rows: gradient, clip, projection, unit norm,
 * Adam. It reads and writes weights and moments once, which is what it costs.
 */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/base/parallel.h"
#include "saescope/sae/trainer.h"
#include "saescope/sae/vector.h"

struct update {
    struct trainer *t;
    struct adam_rates rates;
    float clip; /* what gradients are multiplied with */
};

static void scale_row(float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* Takes the part along the row from its gradient and scales the row to unit norm. */
static void project_and_normalize(float *row, float *gradient, size_t d)
{
    float norm = sqrtf(row_dot(row, row, d));
    if (!(norm > 0))
        return;
    scale_row(row, 1 / norm, d);
    row_add_scaled(-row_dot(gradient, row, d), row, gradient, d);
}

/* Σ gradient² and the bias' part of a block of latents, before anything changes. */
static void measure_block(size_t block, size_t worker, void *arg)
{
    const struct update *u = arg;
    struct trainer *t = u->t;
    size_t d = t->d_in, first = block * TRAIN_LATENT_BLOCK;
    size_t last = first + TRAIN_LATENT_BLOCK < t->o.width ? first + TRAIN_LATENT_BLOCK : t->o.width;
    float *g_enc = t->scratch + worker * 2 * d, *g_dec = g_enc + d, *sums = t->latent_sums + block * d;
    double squares = 0;
    memset(sums, 0, d * sizeof *sums);
    for (size_t i = first; i < last; i++) {
        float sum = gradients_of_latent(t, i, g_enc, g_dec);
        squares += (double)row_dot(g_enc, g_enc, d) + (double)row_dot(g_dec, g_dec, d);
        row_add_scaled(sum, t->sae->owned_W_enc + i * d, sums, d);
    }
    t->latent_squares[block] = squares;
}

static void update_block(size_t block, size_t worker, void *arg)
{
    const struct update *u = arg;
    struct trainer *t = u->t;
    size_t d = t->d_in, first = block * TRAIN_LATENT_BLOCK;
    size_t last = first + TRAIN_LATENT_BLOCK < t->o.width ? first + TRAIN_LATENT_BLOCK : t->o.width;
    float *g_enc = t->scratch + worker * 2 * d, *g_dec = g_enc + d, *sums = t->latent_sums + block * d;
    memset(sums, 0, d * sizeof *sums);
    for (size_t i = first; i < last; i++) {
        float *enc = t->sae->owned_W_enc + i * d, *dec = t->sae->owned_W_dec + i * d;
        float sum = gradients_of_latent(t, i, g_enc, g_dec);
        row_add_scaled(sum, enc, sums, d);
        if (u->clip != 1) {
            scale_row(g_enc, u->clip, d);
            scale_row(g_dec, u->clip, d);
        }
        row_adam(&u->rates, g_enc, enc, t->m_enc + i * d, t->v_enc + i * d, d);
        if (t->o.frozen_decoder)
            continue;
        project_and_normalize(dec, g_dec, d);
        row_adam(&u->rates, g_dec, dec, t->m_dec + i * d, t->v_dec + i * d, d);
    }
}

/* ∂loss/∂b_dec from the blocks' sums, in block order. */
static void bias_gradient(struct trainer *t, size_t n_blocks)
{
    size_t d = t->d_in;
    memset(t->bias_gradient, 0, d * sizeof *t->bias_gradient);
    for (size_t b = 0; b < (t->o.batch + TRAIN_ROW_BLOCK - 1) / TRAIN_ROW_BLOCK; b++)
        row_add_scaled(1, t->row_sums + b * d, t->bias_gradient, d);
    for (size_t b = 0; b < n_blocks; b++)
        row_add_scaled(-1, t->latent_sums + b * d, t->bias_gradient, d);
}

/* min(1, clip / (‖g‖ + 1e-6)) over all parameters, as torch.nn.utils.clip_grad_norm_. */
static float clip_factor(struct update *u, size_t n_blocks)
{
    struct trainer *t = u->t;
    if (t->o.clip <= 0)
        return 1;
    parallel_for(n_blocks, measure_block, u);
    bias_gradient(t, n_blocks);
    double squares = (double)row_dot(t->bias_gradient, t->bias_gradient, t->d_in);
    for (size_t b = 0; b < n_blocks; b++)
        squares += t->latent_squares[b];
    double factor = t->o.clip / (sqrt(squares) + 1e-6);
    return factor < 1 ? (float)factor : 1;
}

/* Linear warm-up from 0, linear decay to 0. */
static double learning_rate(const struct train_options *o, uint64_t step)
{
    double lr = o->lr, left = o->decay * (double)o->steps;
    if (step < o->warmup)
        lr *= (double)(step + 1) / (double)o->warmup;
    if (left > 0 && (double)(o->steps - step) < left && step < o->steps)
        lr *= (double)(o->steps - step) / left;
    return lr;
}

void adam_step(struct trainer *t)
{
    size_t n_blocks = (t->o.width + TRAIN_LATENT_BLOCK - 1) / TRAIN_LATENT_BLOCK;
    double number = (double)(t->step + 1);
    struct update u = {.t = t};
    u.rates = (struct adam_rates){
        .beta1 = (float)t->o.beta1,
        .beta2 = (float)t->o.beta2,
        .rate = (float)(learning_rate(&t->o, t->step) / (1 - pow(t->o.beta1, number))),
        .root = (float)(1 / sqrt(1 - pow(t->o.beta2, number))),
        .epsilon = (float)t->o.epsilon,
    };
    u.clip = clip_factor(&u, n_blocks);
    parallel_for(n_blocks, update_block, &u);
    if (t->o.frozen_decoder)
        return;
    bias_gradient(t, n_blocks);
    scale_row(t->bias_gradient, u.clip, t->d_in);
    row_adam(&u.rates, t->bias_gradient, t->sae->b_dec, t->m_bias, t->v_bias, t->d_in);
}

static void normalize_block(size_t block, size_t worker, void *arg)
{
    (void)worker;
    struct trainer *t = arg;
    size_t d = t->d_in, first = block * TRAIN_LATENT_BLOCK;
    size_t last = first + TRAIN_LATENT_BLOCK < t->o.width ? first + TRAIN_LATENT_BLOCK : t->o.width;
    for (size_t i = first; i < last; i++) {
        float *row = t->sae->owned_W_dec + i * d, norm = sqrtf(row_dot(row, row, d));
        if (norm > 0)
            scale_row(row, 1 / norm, d);
    }
}

void trainer_normalize_rows(struct trainer *t)
{
    parallel_for((t->o.width + TRAIN_LATENT_BLOCK - 1) / TRAIN_LATENT_BLOCK, normalize_block, t);
}
