/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decoder rows as training data for meta-SAEs: unit rows of one or more SAEs, in an order that is drawn anew
 * each epoch.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/activations.h"
#include "saescope/analysis/decoder_rows.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

struct decoder_source {
    struct batch_source base;
    uint64_t seed;
    size_t n_rows;
    float *data;     /* [n_rows, d_in] */
    uint32_t *order; /* the epoch's rows */
    uint64_t epoch;  /* UINT64_MAX: none drawn yet */
    uint64_t served;
};

size_t decoder_rows(const struct sae *sae, size_t first, size_t n, int raw, float *rows, uint32_t *latents)
{
    size_t kept = 0;

    for (size_t i = first; i < first + n; i++) {
        const float *row = sae_decoder_row(sae, i);
        double norm = sqrt(vec_norm2(row, sae->d_in));
        float *to = rows + kept * sae->d_in;

        if (!(norm > 0))
            continue;
        memcpy(to, row, sae->d_in * sizeof(float));
        if (!raw)
            vec_scale((float)(1 / norm), to, sae->d_in);
        latents[kept++] = (uint32_t)i;
    }
    return kept;
}

static int source_next(struct batch_source *s, float *x, size_t n, struct error *err)
{
    struct decoder_source *src = (struct decoder_source *)s;

    (void)err;
    for (size_t i = 0; i < n; i++, src->served++) {
        uint64_t epoch = src->served / src->n_rows;

        if (epoch != src->epoch) {
            struct rng r;

            for (size_t j = 0; j < src->n_rows; j++)
                src->order[j] = (uint32_t)j;
            rng_seed(&r, src->seed, epoch);
            rng_shuffle(&r, src->order, src->n_rows);
            src->epoch = epoch;
        }
        memcpy(x + i * s->d_in, src->data + src->order[src->served % src->n_rows] * s->d_in,
               s->d_in * sizeof(float));
    }
    return STATUS_OK;
}

static int source_seek(struct batch_source *s, uint64_t rows, struct error *err)
{
    (void)err;
    ((struct decoder_source *)s)->served = rows;
    return STATUS_OK;
}

static int source_held_out(struct batch_source *s, size_t chunk, float *x, size_t capacity, size_t *n,
                           struct error *err)
{
    struct decoder_source *src = (struct decoder_source *)s;
    size_t first;

    (void)err;
    *n = 0;
    if (!capacity || size_multiply(chunk, capacity, &first) || first >= src->n_rows)
        return STATUS_OK;
    *n = src->n_rows - first < capacity ? src->n_rows - first : capacity;
    memcpy(x, src->data + first * s->d_in, *n * s->d_in * sizeof(float));
    return STATUS_OK;
}

void decoder_source_permute(struct batch_source *s, uint64_t seed)
{
    struct decoder_source *src = (struct decoder_source *)s;
    size_t d = s->d_in;

    for (size_t column = 0; column < d; column++) {
        struct rng r;

        rng_seed(&r, seed, column);
        for (size_t i = src->n_rows; i-- > 1;) {
            size_t j = (size_t)rng_below(&r, i + 1);
            float x = src->data[i * d + column];

            src->data[i * d + column] = src->data[j * d + column];
            src->data[j * d + column] = x;
        }
    }
}

static void source_close(struct batch_source *s)
{
    struct decoder_source *src = (struct decoder_source *)s;

    free(src->data);
    free(src->order);
    free(src);
}

/* Reads the rows of all the SAEs; the first pass sizes the array, since the transaction sees one state. */
static int read_rows(struct decoder_source *src, struct store_txn *t, const artifact_id *saes, size_t n,
                     int raw, struct error *err)
{
    struct sae **open = xcalloc(n, sizeof(struct sae *));
    uint32_t *latents = NULL;
    size_t total = 0;
    int status = STATUS_OK;

    for (size_t i = 0; i < n && !status; i++) {
        status = sae_open(t, saes[i], &open[i], err);
        if (status)
            break;
        if (i && open[i]->d_in != open[0]->d_in)
            status =
                error_set(err, STATUS_REFUSED, "decoder rows of %zu and of %zu numbers do not go together",
                          open[0]->d_in, open[i]->d_in);
        total += open[i]->d_sae;
    }
    if (!status && total > UINT32_MAX)
        status = error_set(err, STATUS_REFUSED, "%zu decoder rows are too many", total);
    if (!status) {
        src->base.d_in = open[0]->d_in;
        src->data = array_alloc(total, src->base.d_in * sizeof(float), "decoder rows", err);
        src->order = array_alloc(total, sizeof(*src->order), "decoder rows", err);
        latents = array_alloc(total, sizeof(*latents), "decoder rows", err);
        status = src->data && src->order && latents ? STATUS_OK : STATUS_FAILED;
    }
    for (size_t i = 0; i < n && !status; i++)
        src->n_rows +=
            decoder_rows(open[i], 0, open[i]->d_sae, raw, src->data + src->n_rows * src->base.d_in, latents);
    if (!status && !src->n_rows)
        status = error_set(err, STATUS_REFUSED, "all decoder rows are zero");
    free(latents);
    for (size_t i = 0; i < n; i++)
        if (open[i])
            sae_free(open[i]);
    free(open);
    return status;
}

int decoder_source_open(struct store *s, const artifact_id *saes, size_t n, int raw, uint64_t seed,
                        struct batch_source **out, struct error *err)
{
    struct decoder_source *src;
    struct store_txn *t;
    int status = store_begin(s, &t, err);

    *out = NULL;
    if (status)
        return status;
    src = xcalloc(1, sizeof(*src));
    src->seed = seed;
    src->epoch = UINT64_MAX;
    src->base.next = source_next;
    src->base.seek = source_seek;
    src->base.held_out = source_held_out;
    src->base.close = source_close;
    status = n ? read_rows(src, t, saes, n, raw, err)
               : error_set(err, STATUS_USAGE, "no SAE to take decoder rows of");
    store_end(t);
    if (status)
        source_close(&src->base);
    else
        *out = &src->base;
    return status;
}
