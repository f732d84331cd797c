/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rotary positions: pairs (i, i + dims/2) of a head's first numbers are turned by position · frequency i. */
#include "config.h"

#include <math.h>

#include "saescope/base/parallel.h"
#include "saescope/model/parts.h"
#include "saescope/model/lanes.h"

#define ROWS_PER_BLOCK 32

/*
 * Llama 3's scaling (transformers' _compute_llama3_parameters): wavelengths above original/low are stretched
 * by the factor, those below original/high stay, between them both are mixed.
 */
static double llama3_frequency(const struct rotary *r, double frequency)
{
    double turns = (double)r->original_context * frequency / (2 * acos(-1.0)); /* original / wavelength */
    if (turns < r->low_frequency_factor)
        return frequency / r->factor;
    if (turns > r->high_frequency_factor)
        return frequency;
    double smooth = (turns - r->low_frequency_factor) / (r->high_frequency_factor - r->low_frequency_factor);
    return (1 - smooth) * frequency / r->factor + smooth * frequency;
}

/*
 * Frequencies and angles are rounded to float32 as transformers does: at position 8,000 its angles are up to
 * 5e-4 away from the exact ones, and the models were trained with them.
 */
void rotary_table(const struct rotary *rotary, size_t length, float *table)
{
    size_t half = rotary->dims / 2;
    for (size_t i = 0; i < half; i++) {
        float power = (float)pow(rotary->base, (double)(2 * i) / (double)rotary->dims);
        float frequency = 1.0f / power;
        if (rotary->scaling == ROTARY_LINEAR)
            frequency = (float)((double)frequency / rotary->factor);
        else if (rotary->scaling == ROTARY_LLAMA3)
            frequency = (float)llama3_frequency(rotary, (double)frequency);
        for (size_t p = 0; p < length; p++) {
            double angle = (double)((float)p * frequency);
            table[p * 2 * half + i] = (float)cos(angle);
            table[(p * 2 + 1) * half + i] = (float)sin(angle);
        }
    }
}

struct rotation {
    const struct pass *pass;
    const struct heads *at;
    struct norm q_norm, k_norm;
    float *qkv;
};

static void rotate_head(float *x, size_t half, const float *cosines, const float *sines)
{
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        v4 c = load(cosines + i), s = load(sines + i), a = load(x + i), b = load(x + i + half);
        save(x + i, a * c - b * s);
        save(x + i + half, b * c + a * s);
    }
    for (; i < half; i++) {
        float c = cosines[i], s = sines[i], a = x[i], b = x[i + half];
        x[i] = a * c - b * s;
        x[i + half] = b * c + a * s;
    }
}

static void rotate_block(size_t block, size_t worker, void *arg)
{
    const struct rotation *r = arg;
    const struct model_config *c = &r->pass->model->config;
    size_t end = (block + 1) * ROWS_PER_BLOCK, half = c->rotary.dims / 2;
    (void)worker;
    for (size_t row = block * ROWS_PER_BLOCK; row < end && row < r->pass->n_tokens; row++) {
        float *x = r->qkv + row * r->at->row;
        const float *table = half ? r->pass->rotary + row % r->pass->length * half * 2 : NULL;
        for (size_t h = 0; h < c->heads + c->kv_heads; h++) {
            int is_key = h >= c->heads;
            const struct norm *norm = is_key ? &r->k_norm : &r->q_norm;
            float *head =
                is_key ? x + r->at->k + (h - c->heads) * r->at->kv_step : x + r->at->q + h * r->at->q_step;
            if (norm->scale)
                rms_norm_row(norm, head, c->d_head);
            if (half)
                rotate_head(head, half, table, table + half);
        }
    }
}

void rotate_heads(const struct pass *pass, const struct heads *at, const struct weight *q_norm,
                  const struct weight *k_norm, float *qkv)
{
    struct rotation r = {pass, at, norm_of(pass->model, q_norm, NULL), norm_of(pass->model, k_norm, NULL),
                         qkv};
    if (q_norm || k_norm || pass->model->config.rotary.dims)
        parallel_for((pass->n_tokens + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK, rotate_block, &r);
}
