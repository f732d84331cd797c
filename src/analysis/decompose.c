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

/* The numbers of these latents from a bias or thresholds; NULL for those that there are not. */
static int pick(const float *from, const size_t *latents, size_t count, float **to, struct error *err)
{
    *to = NULL;
    if (!from)
        return STATUS_OK;
    *to = array_alloc(count, sizeof(**to), "meta-latents", err);
    for (size_t i = 0; *to && i < count; i++)
        (*to)[i] = from[latents[i]];
    return *to ? STATUS_OK : STATUS_FAILED;
}

/* Some latents of an SAE as an SAE of their own, so that nothing else of it is computed. Its weights are the
 * whole one's; released by free_picked. */
static int pick_latents(const struct sae *whole, const size_t *latents, size_t count, struct sae *out,
                        struct error *err)
{
    *out = *whole;
    out->d_sae = out->n_blocks = count;
    out->b_enc = out->threshold = NULL;
    out->blocks = array_alloc(count, sizeof(*out->blocks), "meta-latents", err);
    if (!out->blocks)
        return STATUS_FAILED;
    for (size_t i = 0; i < count; i++)
        out->blocks[i] =
            (struct sae_block){i, 1, sae_encoder_row(whole, latents[i]), sae_decoder_row(whole, latents[i])};
    int status = pick(whole->b_enc, latents, count, &out->b_enc, err);
    return status ? status : pick(whole->threshold, latents, count, &out->threshold, err);
}

static void free_picked(struct sae *picked)
{
    free(picked->blocks);
    free(picked->b_enc);
    free(picked->threshold);
}

/* Adds the firings of a chunk's rows; latents: what the lists' latents are called in f. */
static void add_members(struct member_list *lists, size_t count, const size_t *latents,
                        const struct sparse_rows *f, artifact_id sae, const uint32_t *rows)
{
    for (size_t r = 0; r < f->n_rows; r++)
        for (size_t p = f->offsets[r]; p < f->offsets[r + 1]; p++)
            for (size_t i = 0; i < count; i++) {
                if (f->latents[p] != latents[i])
                    continue;
                struct member_list *list = &lists[i];
                if ((list->n & (list->n - 1)) == 0) /* a power of two: it is full */
                    list->members =
                        xreallocarray(list->members, list->n ? 2 * list->n : 1, sizeof(*list->members));
                list->members[list->n++] = (struct member){sae, rows[r], f->values[p]};
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

/* All rows of base through encoder, whose latents `latents` are those of the lists. */
static int read_members(const struct sae *base, const struct sae *encoder, int raw, const size_t *latents,
                        size_t count, struct monitor *m, struct member_list *lists, struct error *err)
{
    struct sparse_rows f = {0};
    float *rows = array_alloc(CHUNK, base->d_in * sizeof(float), "decoder rows", err);
    uint32_t *numbers = array_alloc(CHUNK, sizeof(uint32_t), "decoder rows", err);
    int status = rows && numbers ? STATUS_OK : STATUS_FAILED;
    for (size_t first = 0; !status && first < base->d_sae; first += CHUNK) {
        size_t n = base->d_sae - first < CHUNK ? base->d_sae - first : CHUNK;
        n = decoder_rows(base, first, n, raw, rows, numbers);
        status = monitor_check(m, err);
        if (!status && n)
            status = sae_encode(encoder, rows, n, &f, err);
        if (!status && n)
            add_members(lists, count, latents, &f, base->id, numbers);
    }
    free(rows);
    free(numbers);
    sparse_rows_free(&f);
    return status;
}

int meta_members_of_each(struct store_txn *t, const struct sae *base, const struct sae *meta,
                         const size_t *meta_latents, size_t count, struct monitor *m,
                         struct member_list *lists, struct error *err)
{
    memset(lists, 0, count * sizeof(*lists));
    int status = meta_check_fit(base, meta, err);
    if (status || count == 0)
        return status;
    struct sae picked = {0};
    int raw = meta_wants_raw_rows(t, meta->id);
    size_t *numbers = array_alloc(count, sizeof(*numbers), "meta-latents", err);
    if (!numbers)
        return STATUS_FAILED;
    /* Which of a token's latents are its k largest is not known from some alone. */
    int alone = !meta->architecture->per_token_k;
    for (size_t i = 0; i < count; i++)
        numbers[i] = alone ? i : meta_latents[i];
    if (alone)
        status = pick_latents(meta, meta_latents, count, &picked, err);
    if (!status)
        status = read_members(base, alone ? &picked : meta, raw, numbers, count, m, lists, err);
    for (size_t i = 0; i < count; i++)
        if (lists[i].n && !status)
            qsort(lists[i].members, lists[i].n, sizeof(*lists[i].members), compare_members);
    if (status)
        member_lists_free(lists, count);
    free_picked(&picked);
    free(numbers);
    return status;
}

void member_lists_free(struct member_list *lists, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(lists[i].members);
    memset(lists, 0, count * sizeof(*lists));
}

int meta_members(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t meta_latent,
                 struct member **out, size_t *n, struct error *err)
{
    struct member_list list;
    int status = meta_members_of_each(t, base, meta, &meta_latent, 1, NULL, &list, err);
    *out = status || list.members ? list.members : xcalloc(1, sizeof(**out));
    *n = list.n;
    return status;
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
