/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An SAE whose decoder rows are rebuilt from a meta-SAE. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/rebuild.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"

#define SLICE 256 /* rows that go through the meta-SAE at once */

int rebuild_check(const struct rebuild *r, struct error *err)
{
    int status = meta_check_fit(r->base, r->meta, err);
    for (size_t i = 0; !status && i < r->n_without; i++)
        if (r->without[i] >= r->meta->d_sae)
            status = error_set(err, STATUS_REFUSED,
                               "the meta-SAE has no meta-latent %zu: it has meta-latents 0 to %zu",
                               r->without[i], r->meta->d_sae - 1);
    return status;
}

static void leave_out(const struct rebuild *r, struct sparse_rows *f)
{
    for (size_t p = 0; p < f->offsets[f->n_rows]; p++)
        for (size_t i = 0; i < r->n_without; i++)
            if (f->latents[p] == r->without[i])
                f->values[p] = 0;
}

struct slice {
    float *x, *x_hat;  /* [SLICE, d_in] */
    uint32_t *latents; /* [SLICE] */
    struct sparse_rows f;
};

/* `n` rows from `first` on; n ≤ SLICE. */
static int rebuild_slice(const struct rebuild *r, struct slice *s, size_t first, size_t n, float *rows,
                         struct error *err)
{
    size_t d = r->base->d_in, kept = decoder_rows(r->base, first, n, r->raw, s->x, s->latents);
    memset(rows, 0, n * d * sizeof(float));
    if (kept == 0)
        return STATUS_OK;
    int status = sae_encode(r->meta, s->x, kept, &s->f, err);
    if (status)
        return status;
    leave_out(r, &s->f);
    status = sae_decode(r->meta, &s->f, s->x, s->x_hat, err);
    for (size_t j = 0; !status && j < kept; j++) {
        float *row = rows + (s->latents[j] - first) * d;
        memcpy(row, s->x_hat + j * d, d * sizeof(float));
        if (!r->raw)
            vec_scale((float)sqrt(vec_norm2(sae_decoder_row(r->base, s->latents[j]), d)), row, d);
    }
    return status;
}

int rebuild_rows(const struct rebuild *r, size_t first, size_t n, float *rows, struct error *err)
{
    size_t d = r->base->d_in;
    struct slice s = {.x = array_alloc(SLICE, d * sizeof(float), "decoder rows", err),
                      .x_hat = array_alloc(SLICE, d * sizeof(float), "decoder rows", err),
                      .latents = array_alloc(SLICE, sizeof(*s.latents), "decoder rows", err)};
    int status = s.x && s.x_hat && s.latents ? STATUS_OK : STATUS_FAILED;
    for (size_t done = 0; !status && done < n; done += SLICE) {
        size_t count = n - done < SLICE ? n - done : SLICE;
        status = rebuild_slice(r, &s, first + done, count, rows + done * d, err);
    }
    free(s.x);
    free(s.x_hat);
    free(s.latents);
    sparse_rows_free(&s.f);
    return status;
}

int sae_copy_but_decoder(const struct sae *sae, struct sae **out, struct error *err)
{
    struct sae *copy;
    int status = sae_new(sae->architecture, sae->d_in, sae->d_sae, &copy, err);
    if (status)
        return status;
    copy->k = sae->k;
    copy->apply_b_dec_to_input = sae->apply_b_dec_to_input;
    copy->normalization = sae->normalization;
    memcpy(copy->b_dec, sae->b_dec, sae->d_in * sizeof(float));
    if (sae->threshold)
        memcpy(copy->threshold, sae->threshold, sae->d_sae * sizeof(float));
    if (sae->r_mag) {
        memcpy(copy->r_mag, sae->r_mag, sae->d_sae * sizeof(float));
        memcpy(copy->b_mag, sae->b_mag, sae->d_sae * sizeof(float));
    }
    if (sae->b_enc) {
        copy->b_enc = array_alloc(sae->d_sae, sizeof(float), "b_enc", err);
        if (!copy->b_enc) {
            sae_free(copy);
            return STATUS_FAILED;
        }
        memcpy(copy->b_enc, sae->b_enc, sae->d_sae * sizeof(float));
    }
    for (size_t i = 0; i < sae->n_blocks; i++) {
        const struct sae_block *b = &sae->blocks[i];
        memcpy(copy->owned_W_enc + b->first * sae->d_in, b->W_enc, b->n * sae->d_in * sizeof(float));
    }
    *out = copy;
    return STATUS_OK;
}

int rebuild_sae(const struct rebuild *r, struct monitor *m, struct sae **out, struct error *err)
{
    struct sae *copy = NULL;
    size_t n = r->base->d_sae;
    *out = NULL;
    int status = rebuild_check(r, err);
    if (!status)
        status = sae_copy_but_decoder(r->base, &copy, err);
    for (size_t first = 0; !status && first < n; first += SLICE) {
        size_t count = n - first < SLICE ? n - first : SLICE;
        status = rebuild_rows(r, first, count, copy->owned_W_dec + first * r->base->d_in, err);
        if (!status)
            status = monitor_go_on(m, "rebuilding", first + count, n, err);
    }
    if (status)
        sae_free(copy);
    else
        *out = copy;
    return status;
}
