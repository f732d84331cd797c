/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoding and decoding. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/sae/sae.h"
#include "saescope/sae/scan.h"
#include "saescope/sae/vector.h"

enum { ROW_BLOCK = 64 };

/* What one row's normalisation takes away, divides by and multiplies by on the way out. */
struct row_norm {
    double shift, width, scale; /* x_norm = (x − shift) / width; x̂ = x̂_norm · scale + shift */
};

static struct row_norm row_normalization(const struct sae *sae, const float *x)
{
    struct row_norm norm = {0, 1, 1};
    double sum = 0, squares = 0;
    size_t d = sae->d_in;
    if (sae->normalization == NORMALIZE_NONE)
        return norm;
    if (sae->normalization == NORMALIZE_CONSTANT_NORM_RESCALE) {
        for (size_t i = 0; i < d; i++)
            squares += (double)x[i] * x[i];
        norm.width = sqrt(squares / (double)d); /* x·√d/‖x‖ */
        if (!(norm.width > 0))
            norm.width = 1; /* a zero row stays zero */
        norm.scale = norm.width;
        return norm;
    }
    for (size_t i = 0; i < d; i++)
        sum += x[i];
    norm.shift = sum / (double)d;
    for (size_t i = 0; i < d; i++)
        squares += (x[i] - norm.shift) * (x[i] - norm.shift);
    norm.scale = d > 1 ? sqrt(squares / (double)(d - 1)) : 0; /* torch.std: unbiased */
    norm.width = norm.scale + 1e-5;
    return norm;
}

struct rows_job {
    const struct sae *sae;
    const struct sparse_rows *f;
    const float *x;
    float *out;
    size_t n;
};

static void encoder_input_block(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct rows_job *job = arg;
    const struct sae *sae = job->sae;
    size_t d = sae->d_in, first = block * ROW_BLOCK;
    size_t last = first + ROW_BLOCK < job->n ? first + ROW_BLOCK : job->n;
    for (size_t r = first; r < last; r++) {
        const float *x = job->x + r * d;
        float *out = job->out + r * d;
        struct row_norm norm = row_normalization(sae, x);
        for (size_t i = 0; i < d; i++)
            out[i] = (float)((x[i] - norm.shift) / norm.width);
        if (sae->apply_b_dec_to_input)
            for (size_t i = 0; i < d; i++)
                out[i] -= sae->b_dec[i];
    }
}

void sae_encoder_input(const struct sae *sae, const float *x, size_t n, float *x_enc)
{
    struct rows_job job = {.sae = sae, .x = x, .out = x_enc, .n = n};
    parallel_for((n + ROW_BLOCK - 1) / ROW_BLOCK, encoder_input_block, &job);
}

static void output_scale_block(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct rows_job *job = arg;
    size_t first = block * ROW_BLOCK, last = first + ROW_BLOCK < job->n ? first + ROW_BLOCK : job->n;
    for (size_t r = first; r < last; r++)
        job->out[r] = (float)row_normalization(job->sae, job->x + r * job->sae->d_in).scale;
}

void sae_output_scales(const struct sae *sae, const float *x, size_t n, float *scales)
{
    struct rows_job job = {.sae = sae, .x = x, .out = scales, .n = n};
    parallel_for((n + ROW_BLOCK - 1) / ROW_BLOCK, output_scale_block, &job);
}

static float activate_pair(const struct scan_pair *pair, const void *arg)
{
    const struct sae *sae = arg;
    return sae->architecture->activate(sae, pair->latent, pair->value);
}

/* Thresholds below zero let through what is positive. */
static int firing_bounds(const struct sae *sae, float **bounds, struct error *err)
{
    *bounds = NULL;
    if (!sae->threshold)
        return STATUS_OK;
    *bounds = array_alloc(sae->d_sae, sizeof **bounds, "thresholds", err);
    if (!*bounds)
        return STATUS_FAILED;
    for (size_t i = 0; i < sae->d_sae; i++)
        (*bounds)[i] = sae->threshold[i] > 0 ? sae->threshold[i] : 0;
    return STATUS_OK;
}

int sae_encode(const struct sae *sae, const float *x, size_t n, struct sparse_rows *out, struct error *err)
{
    float *x_enc = NULL, *bounds = NULL;
    const int plain = sae->normalization == NORMALIZE_NONE && !sae->apply_b_dec_to_input;
    size_t n_values;
    if (n >= UINT32_MAX || size_multiply(n, sae->d_in, &n_values))
        return error_set(err, STATUS_FAILED, "too many rows to encode at once");
    if (!plain && !(x_enc = array_alloc(n_values, sizeof *x_enc, "the encoder's input", err)))
        return STATUS_FAILED;
    if (!plain)
        sae_encoder_input(sae, x, n, x_enc);
    int status = firing_bounds(sae, &bounds, err);
    if (!status) {
        int per_token = sae->architecture->per_token_k;
        struct scan scan = {
            .sae = sae, .x = plain ? x : x_enc, .n = n, .bound = bounds, .k = per_token ? sae->k : 0};
        status = scan_run(&scan, err);
        if (!status)
            status = scan_rows(&scan, per_token ? NULL : activate_pair, sae, out, err);
        scan_free(&scan);
    }
    free(bounds);
    free(x_enc);
    return status;
}

static void decode_block(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct rows_job *job = arg;
    const struct sae *sae = job->sae;
    size_t d = sae->d_in, first = block * ROW_BLOCK;
    size_t last = first + ROW_BLOCK < job->n ? first + ROW_BLOCK : job->n;
    for (size_t r = first; r < last; r++) {
        float *x_hat = job->out + r * d;
        memcpy(x_hat, sae->b_dec, d * sizeof *x_hat);
        for (size_t i = job->f->offsets[r]; i < job->f->offsets[r + 1]; i++)
            row_add_scaled(job->f->values[i], sae_decoder_row(sae, job->f->latents[i]), x_hat, d);
        if (sae->normalization == NORMALIZE_NONE)
            continue;
        struct row_norm norm = row_normalization(sae, job->x + r * d);
        for (size_t i = 0; i < d; i++)
            x_hat[i] = (float)(x_hat[i] * norm.scale + norm.shift);
    }
}

int sae_decode(const struct sae *sae, const struct sparse_rows *f, const float *x, float *x_hat,
               struct error *err)
{
    if (sae->normalization != NORMALIZE_NONE && !x)
        return error_set(err, STATUS_FAILED, "this SAE's normalisation needs the input to decode");
    for (size_t i = 0; i < f->offsets[f->n_rows]; i++)
        if (f->latents[i] >= sae->d_sae)
            return error_set(err, STATUS_FAILED, "latent %u is not one of %zu", (unsigned)f->latents[i],
                             sae->d_sae);
    struct rows_job job = {sae, f, x, x_hat, f->n_rows};
    parallel_for((f->n_rows + ROW_BLOCK - 1) / ROW_BLOCK, decode_block, &job);
    return STATUS_OK;
}

void sae_output_scale(const struct sae *sae, const float *x, size_t n, float *scale)
{
    for (size_t r = 0; r < n; r++)
        scale[r] = (float)row_normalization(sae, x + r * sae->d_in).scale;
}
