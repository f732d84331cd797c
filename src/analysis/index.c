/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index: one pass of the model over the text, in which each SAE's firings go to its spool; then, latent
 * by latent and without the model, statistics, contexts and labels.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/activations.h"
#include "saescope/analysis/auto_label.h"
#include "saescope/analysis/index.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/spool.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/sae/sae.h"

#define GROUP_TRIPLES   ((size_t)24 << 20) /* 8 bytes each: 192 MiB */
#define SLICE_LATENTS   256
#define LATENTS_A_BLOCK 8

/* Columns of an SAE's index, and what its spool holds. */
struct indexed {
    artifact_id sae, index;
    struct sae *open;
    struct spool *spool;
    struct sparse_rows rows;
    float *max, *min, *mean;
    uint32_t *histogram; /* [d_sae, INDEX_BINS] */
    char **labels;
};

struct indexing {
    struct store *store;
    struct monitor *monitor;
    const struct index_options *options;
    struct stream *stream;
    struct stream_options stream_options;
    size_t length, n_contexts;
    uint64_t n_counted;
    struct indexed *saes;
    size_t n_saes;
    struct array_spool ids, words; /* of every place */
    struct word_table *table;
    uint32_t *batch_words, *batch_places;
    double started;
};

/* ---- The first half: the model and the encoders. ---- */

/* Moves the counted rows together; their places into batch_places. */
static size_t keep_counted(struct indexing *ix, struct stream_batch *b, size_t width)
{
    uint64_t base = (uint64_t)b->first_context * b->length;
    size_t n = 0;

    for (size_t i = 0; i < b->n_tokens; i++) {
        if (!b->counted[i])
            continue;
        if (n != i)
            memmove(b->activations + n * width, b->activations + i * width, width * sizeof(float));
        ix->batch_places[n++] = (uint32_t)(base + i);
    }
    return n;
}

static int encode_batch(struct indexing *ix, struct indexed *x, const float *activations, size_t n,
                        struct error *err)
{
    struct store_txn *t;
    int status = store_begin(ix->store, &t, err);

    if (status)
        return status;
    status = sae_attach(x->open, t, err);
    parallel_watch(ix->monitor);
    if (!status)
        status = sae_encode(x->open, activations, n, &x->rows, err);
    parallel_watch(NULL);
    store_end(t);
    for (size_t i = 0; i < n && !status; i++)
        for (size_t j = x->rows.offsets[i]; j < x->rows.offsets[i + 1] && !status; j++)
            status = spool_add(x->spool, x->rows.latents[j], ix->batch_places[i], x->rows.values[j], err);
    return status;
}

static int keep_tokens(struct indexing *ix, const struct stream_batch *b, struct error *err)
{
    int status = STATUS_OK;

    if (!stream_has_tokens(ix->stream))
        return STATUS_OK;
    status = array_spool_add(&ix->ids, b->ids, b->n_tokens, err);
    for (size_t i = 0; i < b->n_contexts; i++)
        word_table_add(ix->table, b->ids + i * b->length, b->counted + i * b->length, b->length,
                       ix->batch_words + i * b->length);
    return status ? status : array_spool_add(&ix->words, ix->batch_words, b->n_tokens, err);
}

static int read_text(struct indexing *ix, struct error *err)
{
    size_t width = stream_width(ix->stream);
    uint64_t done = 0;

    for (;;) {
        struct stream_batch b;
        size_t n;
        int status = monitor_check(ix->monitor, err);

        if (!status)
            status = stream_next(ix->stream, &b, err);
        if (status || !b.n_contexts)
            return status;
        status = keep_tokens(ix, &b, err);
        n = status ? 0 : keep_counted(ix, &b, width);
        for (size_t i = 0; i < ix->n_saes && !status; i++) {
            status = monitor_check(ix->monitor, err);
            if (!status)
                status = encode_batch(ix, &ix->saes[i], b.activations, n, err);
        }
        if (status)
            return status;
        done += n;
        monitor_step_rate(ix->monitor, "reading", done, ix->n_counted, rate_since(ix->started, (double)done),
                          "tok/s");
    }
}

/* ---- The second half: latent by latent. ---- */

struct slice {
    struct indexing *ix;
    struct indexed *x;
    size_t first, n;       /* latents */
    const size_t *offsets; /* of latent `first` on */
    const uint32_t *places;
    const float *activations;
    struct strbuf *records; /* [n] */
};

static void summarise_block(size_t block, size_t worker, void *arg)
{
    struct slice *sl = arg;
    struct indexing *ix = sl->ix;
    size_t end = (block + 1) * LATENTS_A_BLOCK < sl->n ? (block + 1) * LATENTS_A_BLOCK : sl->n;

    (void)worker;
    for (size_t i = block * LATENTS_A_BLOCK; i < end; i++) {
        size_t latent = sl->first + i, from = sl->offsets[i];
        struct firings f = {sl->offsets[i + 1] - from, sl->places + from, sl->activations + from};
        struct firing_statistics s;
        struct strbuf label = STRBUF_INIT;

        strbuf_reset(&sl->records[i]);
        if (!f.n)
            continue;
        firing_statistics(&f, &s);
        sl->x->max[latent] = s.max;
        sl->x->min[latent] = s.min;
        sl->x->mean[latent] = s.mean;
        memcpy(sl->x->histogram + latent * INDEX_BINS, s.histogram, sizeof(s.histogram));
        if (!stream_has_tokens(ix->stream))
            continue; /* nothing to show, and nothing to name it by */
        choose_contexts(&f, s.max, ix->ids.data, ix->length, ix->options->seed, latent, &sl->records[i]);
        label_from_firings(ix->table, &f, ix->ids.data, ix->words.data, ix->length, &label);
        if (label.length)
            sl->x->labels[latent] = strbuf_detach(&label);
        strbuf_free(&label);
    }
}

static int write_slice(struct slice *sl, struct error *err)
{
    struct record records[SLICE_LATENTS];
    size_t n = 0;

    parallel_for((sl->n + LATENTS_A_BLOCK - 1) / LATENTS_A_BLOCK, summarise_block, sl);
    for (size_t i = 0; i < sl->n; i++)
        if (sl->records[i].length)
            records[n++] = (struct record){sl->first + i, sl->records[i].data, sl->records[i].length};
    return n ? store_put_records(sl->ix->store, sl->x->index, RECORD_CONTEXTS, records, n, err) : STATUS_OK;
}

/* Latents [first, first + n) of one SAE, whose triples fit the memory. */
static int write_group(struct indexing *ix, struct indexed *x, size_t first, size_t n, size_t done,
                       size_t total, struct error *err)
{
    const uint32_t *counts = spool_counts(x->spool) + first;
    size_t *offsets = array_alloc(n + 1, sizeof(*offsets), "offsets", err);
    struct strbuf *records = xcalloc(SLICE_LATENTS, sizeof(*records));
    uint32_t *places = NULL;
    float *activations = NULL;
    int status = offsets ? STATUS_OK : STATUS_FAILED;

    if (offsets) {
        offsets[0] = 0;
        for (size_t i = 0; i < n; i++)
            offsets[i + 1] = offsets[i] + counts[i];
        places = array_alloc(offsets[n] + 1, sizeof(*places), "firings", err);
        activations = array_alloc(offsets[n] + 1, sizeof(*activations), "firings", err);
        if (!places || !activations)
            status = STATUS_FAILED;
    }
    if (!status)
        status = spool_read(x->spool, first, n, offsets, places, activations, ix->monitor, err);
    for (size_t i = 0; i < n && !status; i += SLICE_LATENTS) {
        struct slice sl = {ix,          x,      first + i,   n - i < SLICE_LATENTS ? n - i : SLICE_LATENTS,
                           offsets + i, places, activations, records};

        status = monitor_check(ix->monitor, err);
        if (!status)
            status = write_slice(&sl, err);
        monitor_step(ix->monitor, "writing", done + first + i + sl.n, total);
    }
    for (size_t i = 0; i < SLICE_LATENTS; i++)
        strbuf_free(&records[i]);
    free(records);
    free(places);
    free(activations);
    free(offsets);
    return status;
}

static int put_column(struct indexing *ix, const struct indexed *x, const char *name, enum dtype dtype,
                      size_t columns, const void *data, struct error *err)
{
    struct tensor column = {
        .dtype = dtype, .ndim = columns > 1 ? 2 : 1, .shape = {x->open->d_sae, columns}, .data = data};

    return store_tensor_put(ix->store, x->index, name, &column, err);
}

static int write_columns(struct indexing *ix, struct indexed *x, struct error *err)
{
    int status = put_column(ix, x, "fired", DTYPE_U32, 1, spool_counts(x->spool), err);

    if (!status)
        status = put_column(ix, x, "max", DTYPE_F32, 1, x->max, err);
    if (!status)
        status = put_column(ix, x, "min", DTYPE_F32, 1, x->min, err);
    if (!status)
        status = put_column(ix, x, "mean", DTYPE_F32, 1, x->mean, err);
    if (!status)
        status = put_column(ix, x, "histogram", DTYPE_U32, INDEX_BINS, x->histogram, err);
    return status;
}

int index_put_labels(struct store *s, artifact_id sae, char *const *texts, size_t n, struct error *err)
{
    struct label labels[1024];
    int status = STATUS_OK;

    for (size_t i = 0; i < n && !status; i += ARRAY_LENGTH(labels)) {
        size_t count = n - i < ARRAY_LENGTH(labels) ? n - i : ARRAY_LENGTH(labels);

        for (size_t j = 0; j < count; j++)
            labels[j] =
                (struct label){i + j, LABEL_AUTO, texts[i + j], texts[i + j] ? strlen(texts[i + j]) : 0};
        status = store_put_labels(s, sae, labels, count, err);
    }
    return status;
}

static int publish(struct indexing *ix, struct indexed *x, struct error *err)
{
    const struct model_config *config = model_get_config(stream_model(ix->stream));
    json *manifest = json_new_object(), *references = json_new_object();
    artifact_id id = x->index;
    int status;

    json_set(manifest, "text_tokens", json_new_integer((long long)ix->n_counted));
    json_set(manifest, "contexts", json_new_integer((long long)ix->n_contexts));
    json_set(manifest, "context_size", json_new_integer((long long)ix->length));
    json_set(manifest, "prepend_bos", json_new_boolean(stream_options_adds_bos(&ix->stream_options)));
    json_set(manifest, "bos", config->bos == TOKEN_NONE ? json_new_null() : json_new_integer(config->bos));
    json_set(manifest, "seed", json_new_integer((long long)ix->options->seed));
    json_set(references, "sae", json_new_integer((long long)x->sae));
    json_set(references, "text", json_new_integer((long long)ix->options->text));
    json_set(manifest, "references", references);
    status = store_publish(ix->store, id, manifest, err);
    if (status)
        return status;
    x->index = 0;
    return index_put_labels(ix->store, x->sae, x->labels, x->open->d_sae, err);
}

static int write_index(struct indexing *ix, struct indexed *x, size_t done, size_t total, struct error *err)
{
    const uint32_t *counts = spool_counts(x->spool);
    size_t d_sae = x->open->d_sae;
    int status = store_create(ix->store, ARTIFACT_INDEX, NULL, 0, &x->index, err);

    if (status) {
        x->index = 0;
        return status;
    }
    x->max = array_zeroed(d_sae, sizeof(float), "columns", err);
    x->min = array_zeroed(d_sae, sizeof(float), "columns", err);
    x->mean = array_zeroed(d_sae, sizeof(float), "columns", err);
    x->histogram = array_zeroed(d_sae * INDEX_BINS, sizeof(uint32_t), "columns", err);
    x->labels = xcalloc(d_sae, sizeof(*x->labels));
    if (!x->max || !x->min || !x->mean || !x->histogram)
        return STATUS_FAILED;
    for (size_t first = 0; first < d_sae && !status;) {
        size_t n = 0, triples = 0;

        while (first + n < d_sae && (!n || triples + counts[first + n] <= GROUP_TRIPLES))
            triples += counts[first + n++];
        status = write_group(ix, x, first, n, done, total, err);
        first += n;
    }
    if (!status)
        status = write_columns(ix, x, err);
    return status ? status : publish(ix, x, err);
}

/* ---- The whole. ---- */

/* Opens the SAEs and finds that they read the same contexts. */
static int open_saes(struct indexing *ix, struct store_txn *t, char hook[64], struct error *err)
{
    for (size_t i = 0; i < ix->n_saes; i++) {
        struct stream_options o;
        char other[64];
        int status = stream_options_for_sae(t, ix->saes[i].sae, ix->options->text, &o, i ? other : hook, err);

        if (!status)
            status = sae_open(t, ix->saes[i].sae, &ix->saes[i].open, err);
        if (status)
            return status;
        if (!i) {
            ix->stream_options = o;
            continue;
        }
        if (!stream_options_agree(&o, &ix->stream_options))
            return error_set(err, STATUS_REFUSED,
                             "SAEs of one pass need one model, hook, context size, BOS and centring: "
                             "index them one by one");
    }
    return STATUS_OK;
}

/* Which contexts are read. */
static int plan_contexts(struct indexing *ix, struct error *err)
{
    int status = stream_limit(ix->stream, ix->options->tokens, &ix->n_counted, err);

    if (status)
        return status;
    ix->length = stream_length(ix->stream);
    ix->n_contexts = stream_contexts(ix->stream);
    if (!ix->n_contexts)
        return error_set(err, STATUS_REFUSED, "the text has no context of %zu tokens", ix->length);
    if (ix->length > INDEX_LENGTH_MAX || ix->n_contexts > UINT32_MAX / ix->length)
        return error_set(err, STATUS_REFUSED,
                         "%zu contexts of %zu tokens are too many for an index: give it fewer "
                         "tokens",
                         ix->n_contexts, ix->length);
    return STATUS_OK;
}

static int open_stream(struct indexing *ix, struct error *err)
{
    struct store_txn *t;
    char hook[64];
    int status = store_begin(ix->store, &t, err);

    if (status)
        return status;
    status = open_saes(ix, t, hook, err);
    store_end(t);
    ix->stream_options.monitor = ix->monitor;
    if (!status)
        status = stream_open(ix->store, &ix->stream_options, &ix->stream, err);
    if (!status)
        status = plan_contexts(ix, err);
    for (size_t i = 0; i < ix->n_saes && !status; i++)
        if (ix->saes[i].open->d_in != stream_width(ix->stream))
            status = error_set(err, STATUS_REFUSED, "an SAE of d_in %zu does not fit hook %s of width %zu",
                               ix->saes[i].open->d_in, hook, stream_width(ix->stream));
    return status;
}

static int open_files(struct indexing *ix, struct error *err)
{
    char *made = NULL;
    const char *directory = ix->monitor ? ix->monitor->work_dir : NULL;
    size_t tokens = stream_batch_contexts(ix->stream) * ix->length;
    int status = STATUS_OK;

    if (!directory)
        directory = made = store_work_directory(ix->store, 0, err);
    if (!directory)
        return err ? err->code : STATUS_STORE;
    status = array_spool_open(&ix->ids, directory, err);
    if (!status)
        status = array_spool_open(&ix->words, directory, err);
    for (size_t i = 0; i < ix->n_saes && !status; i++)
        status = spool_open(directory, ix->saes[i].open->d_sae, &ix->saes[i].spool, err);
    free(made);
    if (!status)
        status = word_table_new(model_tokenizer(stream_model(ix->stream)), &ix->table, err);
    if (status)
        return status;
    ix->batch_words = array_alloc(tokens, sizeof(*ix->batch_words), "tokens", err);
    ix->batch_places = array_alloc(tokens, sizeof(*ix->batch_places), "tokens", err);
    return ix->batch_words && ix->batch_places ? STATUS_OK : STATUS_FAILED;
}

static void close_indexed(struct indexing *ix, struct indexed *x)
{
    if (x->index)
        store_abandon(ix->store, x->index);
    for (size_t i = 0; x->labels && i < x->open->d_sae; i++)
        free(x->labels[i]);
    free(x->labels);
    free(x->max);
    free(x->min);
    free(x->mean);
    free(x->histogram);
    spool_close(x->spool);
    sparse_rows_free(&x->rows);
    if (x->open)
        sae_free(x->open);
    memset(x, 0, sizeof(*x));
}

static int run(struct indexing *ix, struct error *err)
{
    size_t done = 0, total = 0;
    int status = open_stream(ix, err);

    if (!status)
        status = open_files(ix, err);
    ix->started = clock_seconds();
    if (!status)
        status = read_text(ix, err);
    if (!status)
        status = array_spool_map(&ix->ids, err);
    if (!status)
        status = array_spool_map(&ix->words, err);
    for (size_t i = 0; i < ix->n_saes && !status; i++)
        total += ix->saes[i].open->d_sae;
    ix->started = clock_seconds();
    for (size_t i = 0; i < ix->n_saes && !status; i++) {
        size_t d_sae = ix->saes[i].open->d_sae;

        status = write_index(ix, &ix->saes[i], done, total, err);
        close_indexed(ix, &ix->saes[i]);
        done += d_sae;
    }
    return status;
}

/* Meta-SAEs have no text: one after the other. Sets *n_meta to how many of the SAEs are meta-SAEs. */
static int count_meta(struct store *s, const struct index_options *o, size_t *n_meta, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(s, &t, err);

    *n_meta = 0;
    if (status)
        return status;
    for (size_t i = 0; i < o->n_saes && !status; i++) {
        json *manifest = store_manifest(t, o->saes[i], err);

        if (!manifest)
            status = err ? err->code : STATUS_STORE;
        else
            *n_meta += strcmp(json_get_string(manifest, "kind", "sae"), "meta") == 0;
        json_free(manifest);
    }
    store_end(t);
    return status;
}

int index_run(struct store *s, const struct index_options *o, struct monitor *m, struct error *err)
{
    struct indexing ix = {.store = s, .monitor = m, .options = o, .n_saes = o->n_saes};
    size_t n_meta;
    int status = count_meta(s, o, &n_meta, err);

    if (status)
        return status;
    if (n_meta == o->n_saes) {
        for (size_t i = 0; i < o->n_saes && !status; i++)
            status = index_meta_run(s, o->saes[i], m, err);
        return status;
    }
    if (n_meta)
        return error_set(err, STATUS_REFUSED,
                         "SAEs and meta-SAEs are not indexed in one go: name them apart");
    ix.saes = xcalloc(o->n_saes, sizeof(*ix.saes));
    for (size_t i = 0; i < o->n_saes; i++)
        ix.saes[i].sae = o->saes[i];
    status = run(&ix, err);
    for (size_t i = 0; i < o->n_saes; i++)
        close_indexed(&ix, &ix.saes[i]);
    free(ix.saes);
    free(ix.batch_words);
    free(ix.batch_places);
    word_table_free(ix.table);
    array_spool_close(&ix.ids);
    array_spool_close(&ix.words);
    stream_close(ix.stream);
    return status;
}
