/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One SAE in training: its memory and its step. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/sae/trainer.h"
#include "saescope/sae/vector.h"

void trainer_free(struct trainer *t)
{
    if (!t)
        return;
    float *arrays[] = {t->m_enc,          t->v_enc,     t->m_dec,   t->v_dec,       t->m_bias,
                       t->v_bias,         t->x_enc,     t->G,       t->A,           t->row_sums,
                       t->pair_gradients, t->row_means, t->scratch, t->latent_sums, t->bias_gradient};
    for (size_t i = 0; i < ARRAY_LENGTH(arrays); i++)
        free(arrays[i]);
    free(t->silent);
    free(t->columns);
    free(t->column_offsets);
    free(t->row_parts);
    free(t->latent_squares);
    selection_free(&t->selection);
    sparse_rows_free(&t->active);
    auxiliary_free(&t->aux);
    sae_free(t->sae);
    free(t);
}

static int zeroed(float **array, size_t count, const char *what, struct error *err)
{
    *array = array_zeroed(count, sizeof **array, what, err);
    return *array ? STATUS_OK : STATUS_FAILED;
}

/* Everything whose size is known from the start. */
static int allocate(struct trainer *t, struct error *err)
{
    size_t d = t->d_in, weights = t->o.width * d, batch = t->o.batch * d;
    size_t row_blocks = (t->o.batch + TRAIN_ROW_BLOCK - 1) / TRAIN_ROW_BLOCK;
    size_t latent_blocks = (t->o.width + TRAIN_LATENT_BLOCK - 1) / TRAIN_LATENT_BLOCK;
    const struct {
        float **array;
        size_t count;
        const char *what;
    } arrays[] = {
        {&t->m_enc, weights, "Adam's moments"},
        {&t->v_enc, weights, "Adam's moments"},
        {&t->m_dec, weights, "Adam's moments"},
        {&t->v_dec, weights, "Adam's moments"},
        {&t->m_bias, d, "Adam's moments"},
        {&t->v_bias, d, "Adam's moments"},
        {&t->x_enc, batch, "a training batch"},
        {&t->G, batch, "a training batch"},
        {&t->row_sums, row_blocks * d, "gradients"},
        {&t->row_means, row_blocks * d, "gradients"},
        {&t->latent_sums, latent_blocks * d, "gradients"},
        {&t->scratch, parallel_threads() * 2 * d, "gradients"},
        {&t->bias_gradient, d, "gradients"},
    };
    int status = STATUS_OK;
    for (size_t i = 0; i < ARRAY_LENGTH(arrays) && !status; i++)
        status = zeroed(arrays[i].array, arrays[i].count, arrays[i].what, err);
    if (status)
        return status;
    t->silent = array_zeroed(t->o.width, sizeof *t->silent, "counters", err);
    t->column_offsets = array_zeroed(t->o.width + 1, sizeof *t->column_offsets, "counters", err);
    t->row_parts = array_zeroed(row_blocks, sizeof *t->row_parts, "counters", err);
    t->latent_squares = array_zeroed(latent_blocks, sizeof *t->latent_squares, "counters", err);
    return t->silent && t->column_offsets && t->row_parts && t->latent_squares ? STATUS_OK : STATUS_FAILED;
}

/* W_dec: random directions of unit norm; W_enc the same rows; b_dec 0. */
static void start_random(struct trainer *t)
{
    struct rng rng;
    size_t n = t->o.width * t->d_in;
    rng_seed(&rng, t->o.seed, 0);
    for (size_t i = 0; i < n; i++)
        t->sae->owned_W_dec[i] = (float)rng_normal(&rng);
    trainer_normalize_rows(t);
    memcpy(t->sae->owned_W_enc, t->sae->owned_W_dec, n * sizeof(float));
}

static int start_from(struct trainer *t, const struct sae *start, struct error *err)
{
    size_t d = t->d_in;
    if (start->d_in != d || start->d_sae != t->o.width || start->b_enc || !start->apply_b_dec_to_input)
        return error_set(err, STATUS_REFUSED,
                         "training cannot start from this SAE: its shape differs or it has b_enc");
    for (size_t i = 0; i < t->o.width; i++) {
        memcpy(t->sae->owned_W_enc + i * d, sae_encoder_row(start, i), d * sizeof(float));
        memcpy(t->sae->owned_W_dec + i * d, sae_decoder_row(start, i), d * sizeof(float));
    }
    memcpy(t->sae->b_dec, start->b_dec, d * sizeof(float));
    return STATUS_OK;
}

int trainer_new(const struct train_options *o, size_t d_in, const struct sae *start, struct trainer **out,
                struct error *err)
{
    int status = train_options_check(o, d_in, err);
    if (status)
        return status;
    struct trainer *t = xcalloc(1, sizeof *t);
    t->o = *o;
    t->d_in = d_in;
    status = sae_new(o->architecture, d_in, o->width, &t->sae, err);
    if (!status) {
        t->sae->k = o->k;
        t->sae->apply_b_dec_to_input = 1;
        status = allocate(t, err);
    }
    if (!status && start)
        status = start_from(t, start, err);
    else if (!status)
        start_random(t);
    if (status) {
        trainer_free(t);
        return status;
    }
    *out = t;
    return STATUS_OK;
}

/* The batch's active pairs, and the threshold that follows from them. */
static int select_active(struct trainer *t, struct error *err)
{
    size_t n = t->o.batch;
    if (t->o.architecture->per_token_k)
        return selection_of_rows(&t->selection, t->sae, t->x_enc, n, t->o.k, &t->active, err);
    float smallest;
    int status = selection_of_batch(&t->selection, t->sae, t->x_enc, n, t->o.k, &t->active, &smallest, err);
    if (status || !(smallest > 0))
        return status;
    t->theta = t->theta_known ? t->theta + 0.01 * (smallest - t->theta) : smallest;
    t->theta_known = 1;
    return STATUS_OK;
}

static int reserve_pairs(struct trainer *t, struct error *err)
{
    size_t n = t->active.offsets[t->o.batch];
    if (n <= t->pair_capacity)
        return STATUS_OK;
    free(t->pair_gradients);
    free(t->columns);
    t->pair_capacity = 0;
    t->pair_gradients = array_alloc(n, sizeof *t->pair_gradients, "activations", err);
    t->columns = array_alloc(n, sizeof *t->columns, "activations", err);
    if (!t->pair_gradients || !t->columns)
        return STATUS_FAILED;
    t->pair_capacity = n;
    return STATUS_OK;
}

/* Where each latent's active pairs begin, and who was silent. */
static void count_columns(struct trainer *t)
{
    size_t *offsets = t->column_offsets, n = t->active.offsets[t->o.batch], next = 0;
    memset(offsets, 0, (t->o.width + 1) * sizeof *offsets);
    for (size_t i = 0; i < n; i++)
        offsets[t->active.latents[i]]++;
    for (size_t i = 0; i < t->o.width; i++) {
        size_t count = offsets[i];
        if (count)
            t->silent[i] = 0;
        else if (t->silent[i] < UINT32_MAX)
            t->silent[i]++;
        offsets[i] = next;
        next += count;
    }
}

/* Loss and the rest from the row blocks' parts, in block order. */
static void add_up(struct trainer *t)
{
    size_t d = t->d_in, n_blocks = (t->o.batch + TRAIN_ROW_BLOCK - 1) / TRAIN_ROW_BLOCK;
    double loss = 0, error = 0, squares = 0, n = (double)t->o.batch;
    for (size_t b = 0; b < n_blocks; b++) {
        loss += t->row_parts[b].loss;
        error += t->row_parts[b].error;
        squares += t->row_parts[b].squares;
    }
    for (size_t i = 0; i < d; i++) {
        double sum = 0;
        for (size_t b = 0; b < n_blocks; b++)
            sum += t->row_means[b * d + i];
        squares -= sum * sum / n;
    }
    t->loss = loss / (n * (double)d);
    t->l0 = (double)t->active.offsets[t->o.batch] / n;
    t->explained_variance = squares > 0 ? 1 - error / squares : NAN;
}

int trainer_step(struct trainer *t, const float *x, double *loss, struct error *err)
{
    t->x = x;
    sae_encoder_input(t->sae, x, t->o.batch, t->x_enc);
    int status = select_active(t, err);
    if (!status)
        status = reserve_pairs(t, err);
    if (status)
        return status;
    count_columns(t);
    status = auxiliary_prepare(t, err);
    if (status)
        return status;
    gradients_of_rows(t);
    if ((status = parallel_cancelled(err)))
        return status;
    add_up(t);
    *loss = t->loss;
    if (!isfinite(t->loss))
        return error_set(
            err, STATUS_FAILED,
            "training diverged: the loss of step %llu is not finite (a lower learning rate may help)",
            (unsigned long long)t->step + 1);
    gradients_by_latent(t);
    adam_step(t);
    if ((status = parallel_cancelled(err)))
        return status;
    t->step++;
    for (size_t i = 0; t->sae->threshold && i < t->o.width; i++)
        t->sae->threshold[i] = (float)t->theta;
    return STATUS_OK;
}

void trainer_finish(struct trainer *t)
{
    trainer_normalize_rows(t);
}

const struct sae *trainer_sae(const struct trainer *t)
{
    return t->sae;
}

double trainer_threshold(const struct trainer *t)
{
    return t->theta;
}

size_t trainer_dead(const struct trainer *t)
{
    return t->dead;
}
