/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Scales that producers keep beside the weights, folded into them: as factors of rows, applied when these are
 * read. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"

static int need_scales(struct importing *im, struct error *err)
{
    size_t f = im->sae.d_sae;
    if (im->encoder_scale)
        return STATUS_OK;
    im->encoder_scale = array_alloc(f, sizeof(float), "scales", err);
    im->decoder_scale = array_alloc(f, sizeof(float), "scales", err);
    if (!im->encoder_scale || !im->decoder_scale)
        return STATUS_FAILED;
    for (size_t i = 0; i < f; i++)
        im->encoder_scale[i] = im->decoder_scale[i] = 1;
    return STATUS_OK;
}

int import_scale_encoder(struct importing *im, double s, struct error *err)
{
    int status = need_scales(im, err);
    for (size_t i = 0; !status && i < im->sae.d_sae; i++)
        im->encoder_scale[i] = (float)(im->encoder_scale[i] * s);
    return status;
}

int import_scale_decoder(struct importing *im, double s, struct error *err)
{
    int status = need_scales(im, err);
    for (size_t i = 0; !status && i < im->sae.d_sae; i++)
        im->decoder_scale[i] = (float)(im->decoder_scale[i] * s);
    return status;
}

int import_scale_decoder_rows(struct importing *im, const float *s, struct error *err)
{
    int status = need_scales(im, err);
    for (size_t i = 0; !status && i < im->sae.d_sae; i++)
        im->decoder_scale[i] *= s[i];
    return status;
}

int import_fold_input_scale(struct importing *im, double s, struct error *err)
{
    int status = import_scale_encoder(im, s, err);
    if (!status)
        status = import_scale_decoder(im, 1 / s, err);
    for (size_t i = 0; !status && i < im->sae.d_in; i++)
        im->sae.b_dec[i] = (float)(im->sae.b_dec[i] / s);
    return status;
}

static void scale_one(float *x, size_t i, float s)
{
    if (x)
        x[i] *= s;
}

/* norms[d_sae] of the decoder's rows as they will be; the largest distance from 1. */
static int measure_norms(struct importing *im, float *norms, double *farthest, struct error *err)
{
    enum { CHUNK = 256 };
    size_t d = im->sae.d_in;
    int status = STATUS_OK;
    float *rows = array_alloc(CHUNK * d, sizeof(float), "decoder rows", err);
    *farthest = 0;
    if (!rows)
        return STATUS_FAILED;
    for (size_t first = 0; first < im->sae.d_sae && !status; first += CHUNK) {
        size_t n = im->sae.d_sae - first < CHUNK ? im->sae.d_sae - first : CHUNK;
        status = tensor_file_rows(im->file, &im->W_dec.rows, first, n, rows, err);
        for (size_t j = 0; j < n && !status; j++) {
            double sum = 0;
            for (size_t i = 0; i < d; i++)
                sum += (double)rows[j * d + i] * rows[j * d + i];
            double norm = sqrt(sum) * (im->decoder_scale ? (double)im->decoder_scale[first + j] : 1);
            norms[first + j] = (float)fmax(norm, 1e-8);
            *farthest = fmax(*farthest, fabs(norm - 1));
        }
    }
    free(rows);
    return status;
}

int import_fold_decoder_norms(struct importing *im, int thresholds, double tolerance, double *largest,
                              struct error *err)
{
    double farthest = 0;
    float *norms = array_alloc(im->sae.d_sae, sizeof(float), "the decoder's norms", err);
    int status = norms ? measure_norms(im, norms, &farthest, err) : STATUS_FAILED;
    if (!status && farthest > tolerance)
        status = need_scales(im, err);
    for (size_t i = 0; !status && farthest > tolerance && i < im->sae.d_sae; i++) {
        im->encoder_scale[i] *= norms[i];
        im->decoder_scale[i] /= norms[i];
        scale_one(im->sae.b_enc, i, norms[i]);
        scale_one(im->sae.b_mag, i, norms[i]);
        if (thresholds)
            scale_one(im->sae.threshold, i, norms[i]);
    }
    if (largest)
        *largest = farthest;
    free(norms);
    return status;
}

void import_drop_zero_bias(struct importing *im)
{
    for (size_t i = 0; im->sae.b_enc && i < im->sae.d_sae; i++)
        if (im->sae.b_enc[i] != 0)
            return;
    free(im->sae.b_enc);
    im->sae.b_enc = NULL;
}
