/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A latent in terms of a meta-SAE's latents, and the latents in which a meta-latent takes part. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"

static int compare_components(const void *a, const void *b)
{
    const struct component *x = a, *y = b;
    if (x->activation != y->activation)
        return x->activation < y->activation ? 1 : -1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static void fill_components(const struct sae *meta, const struct sparse_rows *f, const float *row,
                            struct decomposition *out)
{
    float norm = sqrtf(vec_dot(row, row, meta->d_in));
    out->n = f->offsets[1] - f->offsets[0];
    out->components = xcalloc(out->n ? out->n : 1, sizeof(*out->components));
    for (size_t i = 0; i < out->n; i++) {
        struct component *c = &out->components[i];
        c->latent = f->latents[f->offsets[0] + i];
        c->activation = f->values[f->offsets[0] + i];
        const float *direction = sae_decoder_row(meta, c->latent);
        float length = norm * sqrtf(vec_dot(direction, direction, meta->d_in));
        c->cosine = length > 0 ? vec_dot(row, direction, meta->d_in) / length : 0;
    }
    qsort(out->components, out->n, sizeof(*out->components), compare_components);
}

/* CONTRACT.md: 1 − ‖d−d̂‖²/‖d−d̄‖². */
static int measure(struct store_txn *t, const struct sae *base, const struct sae *meta, const float *row,
                   const float *rebuilt, struct decomposition *out, struct error *err)
{
    struct row_mean mean;
    int status = meta_row_mean(t, meta, base, &mean, err);
    if (status)
        return status;
    double error = 0, total = 0;
    for (size_t i = 0; i < base->d_in; i++) {
        double e = (double)row[i] - (double)rebuilt[i], c = (double)row[i] - mean.mean[i];
        error += e * e;
        total += c * c;
    }
    out->explained_variance = total > 0 ? 1 - error / total : NAN;
    out->residual_norm = sqrt(error);
    row_mean_free(&mean);
    return STATUS_OK;
}

int decompose_latent(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t latent,
                     struct decomposition *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    int status = meta_check_fit(base, meta, err);
    if (status)
        return status;
    size_t d = base->d_in;
    int raw = meta_wants_raw_rows(t, meta->id);
    struct sparse_rows f = {0};
    uint32_t number;
    float *row = array_alloc(d, 2 * sizeof(float), "a decoder row", err);
    if (!row)
        return STATUS_FAILED;
    float *rebuilt = row + d;
    if (decoder_rows(base, latent, 1, raw, row, &number) == 0) {
        /* A row of zeros has no direction to decompose. */
        out->components = xcalloc(1, sizeof(*out->components));
        out->explained_variance = NAN;
    } else {
        status = sae_encode(meta, row, 1, &f, err);
        if (!status)
            status = sae_decode(meta, &f, row, rebuilt, err);
        if (!status)
            fill_components(meta, &f, row, out);
        if (!status)
            status = measure(t, base, meta, row, rebuilt, out, err);
    }
    sparse_rows_free(&f);
    free(row);
    if (status)
        decomposition_free(out);
    return status;
}

void decomposition_free(struct decomposition *d)
{
    free(d->components);
    memset(d, 0, sizeof(*d));
}

/* ---- Members. ---- */

#define CHUNK 2048 /* rows encoded at once */

/* One latent of an SAE as an SAE of one latent: nothing else of the meta-SAE is computed. The sae's pointers
 * go into `whole`, and so must not be freed. */
static struct sae one_latent(const struct sae *whole, size_t latent, struct sae_block *block)
{
    struct sae one = *whole;
    *block = (struct sae_block){0, 1, sae_encoder_row(whole, latent), sae_decoder_row(whole, latent)};
    one.d_sae = 1;
    one.b_enc = whole->b_enc ? whole->b_enc + latent : NULL;
    one.threshold = whole->threshold ? whole->threshold + latent : NULL;
    one.blocks = block;
    one.n_blocks = 1;
    return one;
}

struct members {
    struct member *list;
    size_t n, capacity;
};

static void add_members(struct members *m, const struct sparse_rows *f, size_t latent, artifact_id sae,
                        const uint32_t *rows)
{
    for (size_t r = 0; r < f->n_rows; r++)
        for (size_t p = f->offsets[r]; p < f->offsets[r + 1]; p++) {
            if (f->latents[p] != latent)
                continue;
            if (m->n == m->capacity) {
                m->capacity = m->capacity ? 2 * m->capacity : 64;
                m->list = xreallocarray(m->list, m->capacity, sizeof(*m->list));
            }
            m->list[m->n++] = (struct member){sae, rows[r], f->values[p]};
        }
}

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->activation != y->activation)
        return x->activation < y->activation ? 1 : -1;
    if (x->sae != y->sae)
        return x->sae < y->sae ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

int meta_members(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t meta_latent,
                 struct member **out, size_t *n, struct error *err)
{
    *out = NULL;
    *n = 0;
    int status = meta_check_fit(base, meta, err);
    if (status)
        return status;
    struct sae_block block;
    struct sae one = one_latent(meta, meta_latent, &block);
    /* Which of a token's latents are its k largest is not known from one alone. */
    int alone = !meta->architecture->per_token_k;
    const struct sae *encoder = alone ? &one : meta;
    int raw = meta_wants_raw_rows(t, meta->id);
    struct members members = {0};
    struct sparse_rows f = {0};
    float *rows = array_alloc(CHUNK, base->d_in * sizeof(float), "decoder rows", err);
    uint32_t *latents = array_alloc(CHUNK, sizeof(uint32_t), "decoder rows", err);
    if (!rows || !latents)
        status = STATUS_FAILED;
    for (size_t first = 0; !status && first < base->d_sae; first += CHUNK) {
        size_t count = base->d_sae - first < CHUNK ? base->d_sae - first : CHUNK;
        count = decoder_rows(base, first, count, raw, rows, latents);
        status = count ? sae_encode(encoder, rows, count, &f, err) : STATUS_OK;
        if (!status && count)
            add_members(&members, &f, alone ? 0 : meta_latent, base->id, latents);
    }
    free(rows);
    free(latents);
    sparse_rows_free(&f);
    if (status) {
        free(members.list);
        return status;
    }
    if (members.n)
        qsort(members.list, members.n, sizeof(*members.list), compare_members);
    *out = members.list ? members.list : xcalloc(1, sizeof(*members.list));
    *n = members.n;
    return STATUS_OK;
}

int meta_members_of_all(struct store_txn *t, artifact_id meta, size_t meta_latent, artifact_id only,
                        struct member **out, size_t *n, size_t *n_rows, struct error *err)
{
    struct meta_rows rows;
    struct member *list = NULL;
    *out = NULL;
    *n = *n_rows = 0;
    int status = meta_rows_open(t, meta, &rows, err);
    if (status)
        return status;
    for (size_t i = 0; !status && i < rows.bases.n; i++) {
        struct member *found = NULL;
        size_t count;
        if (only && rows.bases.ids[i] != only)
            continue;
        status = meta_members(t, rows.saes[i], rows.meta, meta_latent, &found, &count, err);
        if (status)
            break;
        list = xreallocarray(list, *n + count + 1, sizeof(*list));
        memcpy(list + *n, found, count * sizeof(*list));
        *n += count;
        *n_rows += rows.saes[i]->d_sae;
        free(found);
    }
    meta_rows_free(&rows);
    if (status) {
        free(list);
        return status;
    }
    if (*n)
        qsort(list, *n, sizeof(*list), compare_members);
    *out = list ? list : xcalloc(1, sizeof(*list));
    return STATUS_OK;
}
