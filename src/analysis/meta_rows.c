/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoder rows as a meta-SAE's data: their mean and total variance, and what a meta-SAE's training did to
 * them. */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"

#define CHUNK    512
#define KEPT_MAX 16

int meta_wants_raw_rows(struct store_txn *t, artifact_id meta)
{
    json *manifest = meta ? store_manifest(t, meta, NULL) : NULL;
    int raw = json_get_boolean(json_get(manifest, "training"), "raw_rows", 0);
    json_free(manifest);
    return raw;
}

int meta_check_fit(const struct sae *base, const struct sae *meta, struct error *err)
{
    if (base->d_in == meta->d_in)
        return STATUS_OK;
    return error_set(err, STATUS_REFUSED,
                     "the meta-SAE reads rows of %zu numbers, the base's decoder rows have %zu", meta->d_in,
                     base->d_in);
}

/* ---- Sums of chunks of rows, in float64, added up in chunk order. ---- */

struct chunk_sum {
    size_t n;
    double square; /* Σ‖d‖² */
};

struct summation {
    const struct sae *base;
    int raw;
    float *rows;       /* [threads, CHUNK, d_in] */
    uint32_t *latents; /* [threads, CHUNK] */
    double *sums;      /* [n_chunks, d_in] */
    struct chunk_sum *chunks;
};

static void sum_chunk(size_t block, size_t worker, void *arg)
{
    const struct summation *s = arg;
    size_t d = s->base->d_in, first = block * CHUNK;
    size_t n = s->base->d_sae - first < CHUNK ? s->base->d_sae - first : CHUNK;
    float *rows = s->rows + worker * CHUNK * d;
    struct chunk_sum *chunk = &s->chunks[block];
    double *sum = s->sums + block * d;
    chunk->n = decoder_rows(s->base, first, n, s->raw, rows, s->latents + worker * CHUNK);
    for (size_t j = 0; j < chunk->n; j++) {
        chunk->square += vec_norm2(rows + j * d, d);
        for (size_t i = 0; i < d; i++)
            sum[i] += (double)rows[j * d + i];
    }
}

static int compute(const struct sae *base, int raw, struct row_mean *out, struct error *err)
{
    size_t d = base->d_in, n_chunks = (base->d_sae + CHUNK - 1) / CHUNK, threads = parallel_threads();
    struct summation s = {.base = base, .raw = raw};
    s.rows = array_alloc(threads * CHUNK, d * sizeof(float), "decoder rows", err);
    s.latents = array_alloc(threads, CHUNK * sizeof(uint32_t), "decoder rows", err);
    s.sums = array_zeroed(n_chunks, d * sizeof(double), "sums of decoder rows", err);
    s.chunks = array_zeroed(n_chunks, sizeof(*s.chunks), "sums of decoder rows", err);
    out->mean = array_zeroed(d, sizeof(double), "the mean decoder row", err);
    int status = s.rows && s.latents && s.sums && s.chunks && out->mean ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        parallel_for(n_chunks, sum_chunk, &s);
        double square = 0, mean_square = 0;
        for (size_t c = 0; c < n_chunks; c++) {
            out->n += s.chunks[c].n;
            square += s.chunks[c].square;
            for (size_t i = 0; i < d; i++)
                out->mean[i] += s.sums[c * d + i];
        }
        for (size_t i = 0; out->n && i < d; i++) {
            out->mean[i] /= (double)out->n;
            mean_square += out->mean[i] * out->mean[i];
        }
        out->total = square - (double)out->n * mean_square;
    }
    free(s.rows);
    free(s.latents);
    free(s.sums);
    free(s.chunks);
    return status;
}

/* ---- What was computed before. An SAE is told by its id and numbers: ids are a store's own. ---- */

struct kept {
    uint64_t key;
    struct row_mean value;
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept kept[KEPT_MAX];
static size_t next_kept;

static uint64_t key_of(const struct sae *base, int raw)
{
    uint64_t row = hash64(sae_decoder_row(base, base->d_sae / 2), base->d_in * sizeof(float), base->d_sae);
    uint64_t bias = hash64(base->b_dec, base->d_in * sizeof(float), (uint64_t)raw);
    return hash_mix(base->id, row, bias, base->d_in);
}

static int copy_mean(const struct row_mean *from, size_t d, struct row_mean *to, struct error *err)
{
    *to = *from;
    to->mean = array_alloc(d, sizeof(double), "the mean decoder row", err);
    if (!to->mean)
        return STATUS_FAILED;
    memcpy(to->mean, from->mean, d * sizeof(double));
    return STATUS_OK;
}

int row_mean_of(const struct sae *base, int raw, struct row_mean *out, struct error *err)
{
    uint64_t key = key_of(base, raw);
    memset(out, 0, sizeof(*out));
    int found = 0, status = STATUS_OK;
    pthread_mutex_lock(&kept_lock);
    for (size_t i = 0; base->id && i < KEPT_MAX && !found; i++)
        if (kept[i].value.mean && kept[i].key == key) {
            found = 1;
            status = copy_mean(&kept[i].value, base->d_in, out, err);
        }
    pthread_mutex_unlock(&kept_lock);
    if (found)
        return status;
    status = compute(base, raw, out, err);
    struct row_mean copy;
    if (status) {
        row_mean_free(out);
        return status;
    }
    if (base->id && copy_mean(out, base->d_in, &copy, NULL) == STATUS_OK) {
        pthread_mutex_lock(&kept_lock);
        row_mean_free(&kept[next_kept].value);
        kept[next_kept] = (struct kept){key, copy};
        next_kept = (next_kept + 1) % KEPT_MAX;
        pthread_mutex_unlock(&kept_lock);
    }
    return STATUS_OK;
}

void row_mean_free(struct row_mean *m)
{
    free(m->mean);
    memset(m, 0, sizeof(*m));
}

/* ---- All bases of a meta-SAE. ---- */

int meta_rows_open(struct store_txn *t, artifact_id meta, struct meta_rows *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    int status = meta_bases_read(t, meta, &out->bases, err);
    if (!status)
        status = sae_open(t, meta, &out->meta, err);
    out->saes = xcalloc(out->bases.n + 1, sizeof(*out->saes));
    for (size_t i = 0; !status && i < out->bases.n; i++) {
        status = sae_open(t, out->bases.ids[i], &out->saes[i], err);
        if (!status)
            status = meta_check_fit(out->saes[i], out->meta, err);
    }
    if (!status && out->bases.first[out->bases.n] > UINT32_MAX)
        status =
            error_set(err, STATUS_REFUSED, "%zu decoder rows are too many", out->bases.first[out->bases.n]);
    if (status) {
        meta_rows_free(out);
        return status;
    }
    out->d_in = out->meta->d_in;
    out->raw = meta_wants_raw_rows(t, meta);
    return STATUS_OK;
}

int meta_rows_attach(struct meta_rows *r, struct store_txn *t, struct error *err)
{
    int status = sae_attach(r->meta, t, err);
    for (size_t i = 0; !status && i < r->bases.n; i++)
        status = sae_attach(r->saes[i], t, err);
    return status;
}

void meta_rows_free(struct meta_rows *r)
{
    for (size_t i = 0; r->saes && i < r->bases.n; i++)
        sae_free(r->saes[i]);
    free(r->saes);
    sae_free(r->meta);
    meta_bases_free(&r->bases);
    memset(r, 0, sizeof(*r));
}

size_t meta_rows_read(const struct meta_rows *r, size_t first, size_t n, float *rows, uint32_t *numbers)
{
    size_t done = 0;
    while (n > 0) {
        size_t i = meta_bases_of_row(&r->bases, first), start = r->bases.first[i];
        size_t left = r->bases.first[i + 1] - first, count = n < left ? n : left;
        size_t found =
            decoder_rows(r->saes[i], first - start, count, r->raw, rows + done * r->d_in, numbers + done);
        for (size_t j = 0; j < found; j++)
            numbers[done + j] += (uint32_t)start;
        done += found;
        first += count;
        n -= count;
    }
    return done;
}

/* Adds a base's: Σ‖d − d̄‖² grows by how far the means of the parts lie from the mean of the whole. */
static void add_mean(struct row_mean *all, const struct row_mean *part, size_t d)
{
    double n = (double)all->n, k = (double)part->n, apart = 0;
    if (part->n == 0)
        return;
    for (size_t i = 0; i < d; i++) {
        double difference = part->mean[i] - all->mean[i];
        apart += difference * difference;
        all->mean[i] += difference * k / (n + k);
    }
    all->total += part->total + apart * n * k / (n + k);
    all->n += part->n;
}

int meta_rows_mean(const struct meta_rows *r, struct row_mean *out, struct error *err)
{
    int status = row_mean_of(r->saes[0], r->raw, out, err);
    for (size_t i = 1; !status && i < r->bases.n; i++) {
        struct row_mean part;
        status = row_mean_of(r->saes[i], r->raw, &part, err);
        if (status) {
            row_mean_free(out);
            return status;
        }
        add_mean(out, &part, r->d_in);
        row_mean_free(&part);
    }
    return status;
}

int meta_row_mean(struct store_txn *t, const struct sae *meta, const struct sae *base, struct row_mean *out,
                  struct error *err)
{
    struct meta_rows rows;
    json *manifest = meta->id ? store_manifest(t, meta->id, NULL) : NULL;
    int several = meta_base_at(manifest, 1) != 0;
    json_free(manifest);
    if (!several)
        return row_mean_of(base, meta_wants_raw_rows(t, meta->id), out, err);
    int status = meta_rows_open(t, meta->id, &rows, err);
    if (status)
        return status;
    status = meta_rows_mean(&rows, out, err);
    meta_rows_free(&rows);
    return status;
}
