/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The auxiliary term: dead latents, compacted, reconstruct what the live ones leave over (Gao et al. 2024; in
 * the form of the BatchTopK paper's code: relu'd top aux_k a row, no bias, the residual not detached, mean
 * over elements). The formulas are in trainer.h.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/sae/trainer.h"

enum {
    H_ELEMENTS = 8 << 20, /* of h: a chunk of rows is cut to that */
    DEAD_BLOCK = 64
};

void auxiliary_free(struct auxiliary *a)
{
    free(a->latents);
    free(a->index);
    free(a->W_enc);
    free(a->W_dec);
    free(a->gradient_enc);
    free(a->gradient_dec);
    free(a->sums);
    free(a->h);
    free(a->h_gradient);
    free(a->sorted);
    memset(a, 0, sizeof *a);
}

size_t auxiliary_chunk(const struct trainer *t)
{
    if (t->aux.n == 0)
        return t->o.batch;
    size_t rows = H_ELEMENTS / t->aux.n / TRAIN_ROW_BLOCK * TRAIN_ROW_BLOCK;
    rows = rows > TRAIN_ROW_BLOCK ? rows : TRAIN_ROW_BLOCK;
    return rows < t->o.batch ? rows : t->o.batch;
}

static int replace_array(float **array, size_t count, struct error *err)
{
    free(*array);
    *array = array_alloc(count, sizeof **array, "the auxiliary term", err);
    return *array ? STATUS_OK : STATUS_FAILED;
}

/* Room for a->n dead latents and a quarter more. */
static int reserve(struct trainer *t, struct error *err)
{
    struct auxiliary *a = &t->aux;
    size_t d = t->d_in, h_wanted = auxiliary_chunk(t) * a->n;
    int status = STATUS_OK;
    if (!t->A && a->n)
        status = replace_array(&t->A, t->o.batch * d, err);
    if (!status && a->n > a->capacity) {
        size_t n = a->n + a->n / 4;
        n = n < t->o.width ? n : t->o.width;
        a->capacity = 0;
        float **arrays[] = {&a->W_enc, &a->W_dec, &a->gradient_enc, &a->gradient_dec};
        for (size_t i = 0; i < ARRAY_LENGTH(arrays) && !status; i++)
            status = replace_array(arrays[i], n * d, err);
        if (!status)
            status = replace_array(&a->sums, n, err);
        if (!status)
            status = replace_array(&a->sorted, n * parallel_threads(), err);
        if (!status)
            a->capacity = n;
    }
    if (!status && h_wanted > a->h_capacity) {
        a->h_capacity = 0;
        status = replace_array(&a->h, h_wanted + h_wanted / 4, err);
        if (!status)
            status = replace_array(&a->h_gradient, h_wanted + h_wanted / 4, err);
        if (!status)
            a->h_capacity = h_wanted + h_wanted / 4;
    }
    return status;
}

static void copy_rows(size_t block, size_t worker, void *arg)
{
    (void)worker;
    struct trainer *t = arg;
    struct auxiliary *a = &t->aux;
    size_t d = t->d_in, last = (block + 1) * DEAD_BLOCK < a->n ? (block + 1) * DEAD_BLOCK : a->n;
    for (size_t i = block * DEAD_BLOCK; i < last; i++) {
        memcpy(a->W_enc + i * d, t->sae->owned_W_enc + a->latents[i] * d, d * sizeof(float));
        memcpy(a->W_dec + i * d, t->sae->owned_W_dec + a->latents[i] * d, d * sizeof(float));
    }
}

int auxiliary_prepare(struct trainer *t, struct error *err)
{
    struct auxiliary *a = &t->aux;
    if (!a->latents) {
        a->latents = array_alloc(t->o.width, sizeof *a->latents, "dead latents", err);
        a->index = a->latents ? array_alloc(t->o.width, sizeof *a->index, "dead latents", err) : NULL;
        if (!a->index)
            return STATUS_FAILED;
    }
    a->n = t->dead = 0;
    for (size_t i = 0; i < t->o.width; i++) {
        int dead = t->silent[i] >= t->o.dead_after;
        t->dead += dead != 0;
        a->index[i] = UINT32_MAX;
        if (!dead || t->o.aux_coefficient == 0 || t->o.aux_k == 0)
            continue;
        a->index[i] = (uint32_t)a->n;
        a->latents[a->n++] = (uint32_t)i;
    }
    int status = reserve(t, err);
    if (!status)
        parallel_for((a->n + DEAD_BLOCK - 1) / DEAD_BLOCK, copy_rows, t);
    return status;
}

/* relu, and of each row only the aux_k largest (ties: lower latent). */
static void keep_top(float *h, size_t n, size_t k, float *values)
{
    size_t positive = 0;
    for (size_t i = 0; i < n; i++) {
        values[positive] = h[i];
        positive += h[i] > 0;
    }
    float edge = 0;
    size_t equal = 0;
    if (positive > k) {
        edge = kth_largest(values, positive, k);
        equal = k;
        for (size_t i = 0; i < n; i++)
            equal -= h[i] > edge;
    }
    for (size_t i = 0; i < n; i++) {
        if (h[i] > edge)
            continue;
        if (equal && h[i] == edge)
            equal--;
        else
            h[i] = 0;
    }
}

void auxiliary_forward(struct trainer *t, size_t first, size_t n, size_t at, size_t worker, float *out)
{
    struct auxiliary *a = &t->aux;
    size_t d = t->d_in;
    float *h = a->h + at * a->n;
    sgemm_nt(n, a->n, d, 1, t->x_enc + first * d, d, a->W_enc, d, 0, h, a->n);
    for (size_t r = 0; r < n; r++)
        keep_top(h + r * a->n, a->n, t->o.aux_k, a->sorted + worker * a->capacity);
    sgemm_nn(n, d, a->n, 1, h, a->n, a->W_dec, d, 0, out, d);
}

void auxiliary_backward(struct trainer *t, size_t first, size_t n, size_t at)
{
    struct auxiliary *a = &t->aux;
    size_t d = t->d_in;
    const float *h = a->h + at * a->n;
    float *gradient = a->h_gradient + at * a->n;
    sgemm_nt(n, a->n, d, 1, t->A + first * d, d, a->W_dec, d, 0, gradient, a->n);
    for (size_t i = 0; i < n * a->n; i++)
        gradient[i] = h[i] > 0 ? gradient[i] : 0;
}

struct chunk {
    struct trainer *t;
    size_t first, n;
};

static void dead_gradients(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct chunk *c = arg;
    struct trainer *t = c->t;
    struct auxiliary *a = &t->aux;
    size_t d = t->d_in, i = block * DEAD_BLOCK, n = a->n - i < DEAD_BLOCK ? a->n - i : DEAD_BLOCK;
    float beta = c->first ? 1 : 0;
    sgemm_tn(n, d, c->n, 1, a->h + i, a->n, t->A + c->first * d, d, beta, a->gradient_dec + i * d, d);
    sgemm_tn(n, d, c->n, 1, a->h_gradient + i, a->n, t->x_enc + c->first * d, d, beta,
             a->gradient_enc + i * d, d);
    if (!c->first)
        memset(a->sums + i, 0, n * sizeof *a->sums);
    for (size_t r = 0; r < c->n; r++)
        for (size_t j = i; j < i + n; j++)
            a->sums[j] += a->h_gradient[r * a->n + j];
}

void auxiliary_gradients(struct trainer *t, size_t first, size_t n)
{
    struct chunk c = {t, first, n};
    parallel_for((t->aux.n + DEAD_BLOCK - 1) / DEAD_BLOCK, dead_gradients, &c);
}
