/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decoder rows as training data for meta-SAEs: unit rows of one or more SAEs, in an order that is drawn anew
 * each epoch, or drawn by how often their latents fire.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/activations.h"
#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/index.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

struct decoder_source {
    struct batch_source base;
    uint64_t seed;
    size_t n_saes;
    artifact_id *saes; /* [n_saes] */
    size_t *first;     /* [n_saes + 1]: an SAE's first row */
    size_t n_rows;
    float *data;        /* [n_rows, d_in] */
    uint32_t *latents;  /* [n_rows]: of their SAEs */
    uint32_t *order;    /* the epoch's rows */
    double *cumulative; /* [n_rows]: sums of the rows' weights up to and with each; NULL: every row once an
                           epoch */
    uint64_t epoch;     /* UINT64_MAX: none drawn yet */
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

/* Row number `draw` of the stream when each comes once an epoch. */
static size_t row_in_turn(struct decoder_source *src, uint64_t draw)
{
    uint64_t epoch = draw / src->n_rows;

    if (epoch != src->epoch) {
        struct rng r;

        for (size_t j = 0; j < src->n_rows; j++)
            src->order[j] = (uint32_t)j;
        rng_seed(&r, src->seed, epoch);
        rng_shuffle(&r, src->order, src->n_rows);
        src->epoch = epoch;
    }
    return src->order[draw % src->n_rows];
}

/* The same by weight: the first row whose sum is above a uniform number that depends on the draw's number. */
static size_t row_by_weight(const struct decoder_source *src, uint64_t draw)
{
    size_t low = 0, high = src->n_rows - 1;
    struct rng r;

    rng_seed(&r, src->seed, draw);
    double at = rng_uniform(&r) * src->cumulative[high];
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (src->cumulative[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int source_next(struct batch_source *s, float *x, size_t n, struct error *err)
{
    struct decoder_source *src = (struct decoder_source *)s;

    (void)err;
    for (size_t i = 0; i < n; i++, src->served++) {
        size_t row = src->cumulative ? row_by_weight(src, src->served) : row_in_turn(src, src->served);

        memcpy(x + i * s->d_in, src->data + row * s->d_in, s->d_in * sizeof(float));
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

/* ---- By how often latents fire. ---- */

/* Calls fn with each row and its latent's density in its SAE's index, in order of rows. */
static int each_density(struct decoder_source *src, struct store *s,
                        void (*fn)(struct decoder_source *src, size_t row, double density, void *arg),
                        void *arg, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(s, &t, err);

    for (size_t i = 0; !status && i < src->n_saes; i++) {
        struct index_columns columns;
        struct artifact a;

        status = store_get(t, src->saes[i], &a, err);
        if (!status)
            status = index_columns_read(t, src->saes[i], &columns, err);
        if (status)
            break;
        if (!columns.fired)
            status =
                error_set(err, STATUS_REFUSED,
                          "%s has no index, which says how often its latents fire: index it first", a.name);
        for (size_t row = src->first[i]; !status && row < src->first[i + 1]; row++) {
            if (src->latents[row] >= columns.n)
                status = error_set(err, STATUS_STORE,
                                   "the index of %s is damaged: it has another number of latents", a.name);
            else
                fn(src, row,
                   columns.tokens ? (double)columns.fired[src->latents[row]] / (double)columns.tokens : 0,
                   arg);
        }
        index_columns_free(&columns);
    }
    store_end(t);
    return status;
}

struct selection {
    double density;
    uint8_t *keep; /* [n_rows] */
};

static void select_row(struct decoder_source *src, size_t row, double density, void *arg)
{
    struct selection *selection = arg;

    (void)src;
    selection->keep[row] = density > selection->density;
}

/* Closes the gaps. */
static void keep_rows(struct decoder_source *src, const uint8_t *keep)
{
    size_t n = 0, d = src->base.d_in;

    for (size_t i = 0; i < src->n_saes; i++) {
        size_t from = src->first[i];

        src->first[i] = n;
        for (size_t row = from; row < src->first[i + 1]; row++) {
            if (!keep[row])
                continue;
            memmove(src->data + n * d, src->data + row * d, d * sizeof(float));
            src->latents[n++] = src->latents[row];
        }
    }
    src->first[src->n_saes] = src->n_rows = n;
}

int decoder_source_leave_out(struct batch_source *source, struct store *s, double density, struct error *err)
{
    struct decoder_source *src = (struct decoder_source *)source;
    struct selection selection = {density, array_zeroed(src->n_rows, 1, "decoder rows", err)};
    int status = selection.keep ? each_density(src, s, select_row, &selection, err) : STATUS_FAILED;

    if (!status && !memchr(selection.keep, 1, src->n_rows))
        status = error_set(err, STATUS_REFUSED,
                           "no decoder row is left: no latent's density in its index is above %g", density);
    if (!status)
        keep_rows(src, selection.keep);
    free(selection.keep);
    return status;
}

static void add_weight(struct decoder_source *src, size_t row, double density, void *arg)
{
    double *sum = arg;

    *sum += density;
    src->cumulative[row] = *sum;
}

int decoder_source_weigh(struct batch_source *source, struct store *s, struct error *err)
{
    struct decoder_source *src = (struct decoder_source *)source;
    double sum = 0;
    int status;

    free(src->cumulative);
    src->cumulative = array_alloc(src->n_rows, sizeof(*src->cumulative), "weights of decoder rows", err);
    status = src->cumulative ? each_density(src, s, add_weight, &sum, err) : STATUS_FAILED;
    if (!status && !(sum > 0))
        status = error_set(err, STATUS_REFUSED, "no decoder row can be drawn: no latent fired in its index");
    if (status) {
        free(src->cumulative);
        src->cumulative = NULL;
    }
    return status;
}

size_t decoder_source_rows(const struct batch_source *source)
{
    return ((const struct decoder_source *)source)->n_rows;
}

/* ---- Opening. ---- */

static void source_close(struct batch_source *s)
{
    struct decoder_source *src = (struct decoder_source *)s;

    free(src->saes);
    free(src->first);
    free(src->data);
    free(src->latents);
    free(src->order);
    free(src->cumulative);
    free(src);
}

/* All SAEs; *total: their latents. */
static int open_saes(struct decoder_source *src, struct store_txn *t, struct sae **open, size_t *total,
                     struct error *err)
{
    int status = STATUS_OK;

    *total = 0;
    for (size_t i = 0; i < src->n_saes && !status; i++) {
        status = sae_open(t, src->saes[i], &open[i], err);
        if (!status && open[i]->d_in != open[0]->d_in)
            status =
                error_set(err, STATUS_REFUSED, "decoder rows of %zu and of %zu numbers do not go together",
                          open[0]->d_in, open[i]->d_in);
        if (!status)
            *total += open[i]->d_sae;
    }
    if (!status && *total > UINT32_MAX)
        status = error_set(err, STATUS_REFUSED, "%zu decoder rows are too many", *total);
    return status;
}

static int read_rows(struct decoder_source *src, struct store_txn *t, int raw, struct error *err)
{
    struct sae **open = xcalloc(src->n_saes, sizeof(struct sae *));
    size_t total;
    int status = open_saes(src, t, open, &total, err);

    if (!status) {
        src->base.d_in = open[0]->d_in;
        src->data = array_alloc(total, src->base.d_in * sizeof(float), "decoder rows", err);
        src->latents = array_alloc(total, sizeof(*src->latents), "decoder rows", err);
        src->order = array_alloc(total, sizeof(*src->order), "decoder rows", err);
        status = src->data && src->order && src->latents ? STATUS_OK : STATUS_FAILED;
    }
    for (size_t i = 0; i < src->n_saes && !status; i++) {
        src->n_rows += decoder_rows(open[i], 0, open[i]->d_sae, raw, src->data + src->n_rows * src->base.d_in,
                                    src->latents + src->n_rows);
        src->first[i + 1] = src->n_rows;
    }
    if (!status && !src->n_rows)
        status = error_set(err, STATUS_REFUSED, "all decoder rows are zero");
    for (size_t i = 0; i < src->n_saes; i++)
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
    src->n_saes = n;
    src->saes = xcalloc(n + 1, sizeof(*src->saes));
    src->first = xcalloc(n + 1, sizeof(*src->first));
    if (n)
        memcpy(src->saes, saes, n * sizeof(*saes));
    src->base.next = source_next;
    src->base.seek = source_seek;
    src->base.held_out = source_held_out;
    src->base.close = source_close;
    status = n ? read_rows(src, t, raw, err) : error_set(err, STATUS_USAGE, "no SAE to take decoder rows of");
    store_end(t);
    if (status)
        source_close(&src->base);
    else
        *out = &src->base;
    return status;
}
