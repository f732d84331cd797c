/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index of a meta-SAE, over the decoder rows of its bases (unit rows, zero rows left out), whose latents
 * are numbered as struct meta_bases says. Its firings are few (rows · L0) and stay in memory.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/auto_label.h"
#include "saescope/analysis/index.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/base/memory.h"

#define TILE_ROWS 2048

struct firing {
    uint32_t meta, row; /* row: a latent of the bases */
    float activation;
};

struct meta_indexing {
    struct store *store;
    struct monitor *monitor;
    artifact_id meta_id, index;
    size_t d_in, d_meta, n_rows; /* n_rows: latents of all bases */
    struct meta_rows data;
    struct row_mean mean;
    struct firing *firings;
    size_t n_firings, capacity;
    uint8_t *base_metas; /* [n_rows] */
    float *base_ev;
    uint32_t *fired, *histogram; /* of the meta-latents */
    float *max, *min, *mean_activation;
    char **labels;
    struct label_words *words;
    /* One tile. */
    float *rows, *decoded;
    uint32_t *latents;
    struct sparse_rows sparse;
};

static int open_rows(struct meta_indexing *mi, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(mi->store, &t, err);

    if (status)
        return status;
    status = meta_rows_open(t, mi->meta_id, &mi->data, err);
    if (!status)
        status = meta_rows_mean(&mi->data, &mi->mean, err);
    store_end(t);
    if (status)
        return status;
    mi->d_in = mi->data.d_in;
    mi->d_meta = mi->data.meta->d_sae;
    mi->n_rows = mi->data.bases.first[mi->data.bases.n];
    return STATUS_OK;
}

static int allocate(struct meta_indexing *mi, struct error *err)
{
    mi->base_metas = array_zeroed(mi->n_rows, sizeof(*mi->base_metas), "columns", err);
    mi->base_ev = array_alloc(mi->n_rows, sizeof(*mi->base_ev), "columns", err);
    mi->fired = array_zeroed(mi->d_meta, sizeof(*mi->fired), "columns", err);
    mi->max = array_zeroed(mi->d_meta, sizeof(*mi->max), "columns", err);
    mi->min = array_zeroed(mi->d_meta, sizeof(*mi->min), "columns", err);
    mi->mean_activation = array_zeroed(mi->d_meta, sizeof(*mi->mean_activation), "columns", err);
    mi->histogram = array_zeroed(mi->d_meta, INDEX_BINS * sizeof(*mi->histogram), "columns", err);
    mi->labels = xcalloc(mi->d_meta, sizeof(*mi->labels));
    mi->rows = array_alloc(TILE_ROWS, mi->d_in * sizeof(float), "decoder rows", err);
    mi->decoded = array_alloc(TILE_ROWS, mi->d_in * sizeof(float), "decoder rows", err);
    mi->latents = array_alloc(TILE_ROWS, sizeof(*mi->latents), "decoder rows", err);
    if (!mi->base_metas || !mi->base_ev || !mi->fired || !mi->max || !mi->min || !mi->mean_activation ||
        !mi->histogram || !mi->rows || !mi->decoded || !mi->latents)
        return STATUS_FAILED;
    for (size_t i = 0; i < mi->n_rows; i++)
        mi->base_ev[i] = NAN;
    return STATUS_OK;
}

static void keep_firing(struct meta_indexing *mi, uint32_t meta, uint32_t row, float activation)
{
    if (mi->n_firings == mi->capacity) {
        mi->capacity = mi->capacity ? 2 * mi->capacity : 65536;
        mi->firings = xreallocarray(mi->firings, mi->capacity, sizeof(*mi->firings));
    }
    mi->firings[mi->n_firings++] = (struct firing){meta, row, activation};
}

/* Explained variance of each row: 1 − ‖d−d̂‖² / ‖d−d̄‖². */
static void measure_tile(struct meta_indexing *mi, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float *d = mi->rows + i * mi->d_in, *decoded = mi->decoded + i * mi->d_in;
        size_t from = mi->sparse.offsets[i], to = mi->sparse.offsets[i + 1];
        double error = 0, variance = 0;

        for (size_t j = 0; j < mi->d_in; j++) {
            double e = (double)d[j] - (double)decoded[j], v = (double)d[j] - mi->mean.mean[j];

            error += e * e;
            variance += v * v;
        }
        mi->base_ev[mi->latents[i]] = (float)(1 - error / variance);
        mi->base_metas[mi->latents[i]] = (uint8_t)(to - from < UINT8_MAX ? to - from : UINT8_MAX);
        for (size_t j = from; j < to; j++)
            keep_firing(mi, mi->sparse.latents[j], mi->latents[i], mi->sparse.values[j]);
    }
}

/* One tile of the bases' rows, in its own transaction. */
static int encode_tile(struct meta_indexing *mi, size_t first, size_t n, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(mi->store, &t, err);

    if (status)
        return status;
    status = meta_rows_attach(&mi->data, t, err);
    if (!status) {
        size_t kept = meta_rows_read(&mi->data, first, n, mi->rows, mi->latents);

        status = sae_encode(mi->data.meta, mi->rows, kept, &mi->sparse, err);
        if (!status)
            status = sae_decode(mi->data.meta, &mi->sparse, mi->rows, mi->decoded, err);
        if (!status)
            measure_tile(mi, kept);
    }
    store_end(t);
    return status;
}

static int read_rows(struct meta_indexing *mi, struct error *err)
{
    for (size_t first = 0; first < mi->n_rows; first += TILE_ROWS) {
        size_t n = mi->n_rows - first < TILE_ROWS ? mi->n_rows - first : TILE_ROWS;
        int status = monitor_check(mi->monitor, err);

        if (!status)
            status = encode_tile(mi, first, n, err);
        if (status)
            return status;
        monitor_step(mi->monitor, "reading", first + n, mi->n_rows);
    }
    return STATUS_OK;
}

/* By meta-latent, strongest member first. */
static int compare_firings(const void *a, const void *b)
{
    const struct firing *x = a, *y = b;

    if (x->meta != y->meta)
        return x->meta < y->meta ? -1 : 1;
    if (x->activation != y->activation)
        return x->activation > y->activation ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

struct label_reader {
    struct label_words *words;
    uint64_t first, next; /* rows: the SAE's first one, and the next one to add */
};

static void add_without_label(struct label_reader *r, uint64_t end)
{
    for (; r->next < end; r->next++)
        label_words_add(r->words, "", 0);
}

static int add_label(const struct label *label, void *arg)
{
    struct label_reader *r = arg;

    add_without_label(r, r->first + label->latent);
    label_words_add(r->words, label->text, label->n);
    r->next++;
    return 0;
}

static int read_labels(struct meta_indexing *mi, struct error *err)
{
    const struct meta_bases *bases = &mi->data.bases;
    struct label_reader r = {label_words_new(), 0, 0};
    struct store_txn *t;
    int status = store_begin(mi->store, &t, err);

    mi->words = r.words;
    if (status)
        return status;
    for (size_t i = 0; !status && i < bases->n; i++) {
        r.first = bases->first[i];
        add_without_label(&r, r.first);
        status = store_labels_each(t, bases->ids[i], add_label, &r, err);
    }
    store_end(t);
    return status;
}

static int summarise(struct meta_indexing *mi, struct error *err)
{
    uint32_t *members = array_alloc(mi->n_firings + 1, sizeof(*members), "members", err);
    float *activations = array_alloc(mi->n_firings + 1, sizeof(*activations), "members", err);
    int status = members && activations ? STATUS_OK : STATUS_FAILED;

    if (mi->n_firings)
        qsort(mi->firings, mi->n_firings, sizeof(*mi->firings), compare_firings);
    for (size_t i = 0; !status && i < mi->n_firings; i++) {
        members[i] = mi->firings[i].row;
        activations[i] = mi->firings[i].activation;
    }
    for (size_t from = 0, to; !status && from < mi->n_firings; from = to) {
        uint32_t meta = mi->firings[from].meta;
        struct firings f = {0, members + from, activations + from};
        struct firing_statistics s;
        struct strbuf label = STRBUF_INIT;

        for (to = from; to < mi->n_firings && mi->firings[to].meta == meta; to++)
            f.n++;
        firing_statistics(&f, &s);
        mi->fired[meta] = (uint32_t)f.n;
        mi->max[meta] = s.max;
        mi->min[meta] = s.min;
        mi->mean_activation[meta] = s.mean;
        memcpy(mi->histogram + (size_t)meta * INDEX_BINS, s.histogram, sizeof(s.histogram));
        label_from_members(mi->words, f.places, f.activations, f.n, &label);
        if (label.length)
            mi->labels[meta] = strbuf_detach(&label);
        strbuf_free(&label);
    }
    free(members);
    free(activations);
    return status;
}

static int put_column(struct meta_indexing *mi, const char *name, enum dtype dtype, size_t n,
                      const void *data, struct error *err)
{
    struct tensor column = {.dtype = dtype, .ndim = 1, .shape = {n}, .data = data};

    return store_tensor_put(mi->store, mi->index, name, &column, err);
}

static int write_columns(struct meta_indexing *mi, struct error *err)
{
    struct tensor histogram = {
        .dtype = DTYPE_U32, .ndim = 2, .shape = {mi->d_meta, INDEX_BINS}, .data = mi->histogram};
    int status = put_column(mi, "fired", DTYPE_U32, mi->d_meta, mi->fired, err);

    if (!status)
        status = put_column(mi, "max", DTYPE_F32, mi->d_meta, mi->max, err);
    if (!status)
        status = put_column(mi, "min", DTYPE_F32, mi->d_meta, mi->min, err);
    if (!status)
        status = put_column(mi, "mean", DTYPE_F32, mi->d_meta, mi->mean_activation, err);
    if (!status)
        status = put_column(mi, "base_metas", DTYPE_U8, mi->n_rows, mi->base_metas, err);
    if (!status)
        status = put_column(mi, "base_ev", DTYPE_F32, mi->n_rows, mi->base_ev, err);
    return status ? status : store_tensor_put(mi->store, mi->index, "histogram", &histogram, err);
}

static int write_index(struct meta_indexing *mi, struct error *err)
{
    json *manifest, *references;
    int status = store_create(mi->store, ARTIFACT_INDEX, NULL, 0, &mi->index, err);

    if (status) {
        mi->index = 0;
        return status;
    }
    status = write_columns(mi, err);
    if (!status)
        status = monitor_check(mi->monitor, err);
    if (status)
        return status;
    manifest = json_new_object();
    references = json_new_object();
    json_set(manifest, "text_tokens", json_new_integer((long long)mi->mean.n));
    json_set(manifest, "contexts", json_new_integer(0));
    json_set(references, "sae", json_new_integer((long long)mi->meta_id));
    json_set(manifest, "references", references);
    status = store_publish(mi->store, mi->index, manifest, err);
    if (status)
        return status;
    mi->index = 0;
    return index_put_labels(mi->store, mi->meta_id, mi->labels, mi->d_meta, err);
}

int index_meta_run(struct store *s, artifact_id meta, struct monitor *m, struct error *err)
{
    struct meta_indexing mi = {.store = s, .monitor = m, .meta_id = meta};
    int status = open_rows(&mi, err);

    if (!status)
        status = allocate(&mi, err);
    if (!status)
        status = read_rows(&mi, err);
    if (!status)
        status = read_labels(&mi, err);
    if (!status)
        status = summarise(&mi, err);
    if (!status)
        status = write_index(&mi, err);
    if (mi.index)
        store_abandon(s, mi.index);
    for (size_t i = 0; mi.labels && i < mi.d_meta; i++)
        free(mi.labels[i]);
    free(mi.labels);
    label_words_free(mi.words);
    sparse_rows_free(&mi.sparse);
    row_mean_free(&mi.mean);
    meta_rows_free(&mi.data);
    free(mi.firings);
    free(mi.base_metas);
    free(mi.base_ev);
    free(mi.fired);
    free(mi.max);
    free(mi.min);
    free(mi.mean_activation);
    free(mi.histogram);
    free(mi.rows);
    free(mi.decoded);
    free(mi.latents);
    return status;
}
