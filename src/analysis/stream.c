/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Activations of a model over a text, a batch of contexts at a time. Each batch has its own short read
 * transaction, in which the model's weights are looked up again.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/activations.h"
#include "saescope/analysis/cached.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

/*
 * A batch is at most BATCH_TOKENS; of a large model fewer, so that a slice stays short (multiply-adds a
 * thread, and the least number of tokens that still makes good products).
 */
#define BATCH_TOKENS                 4096
#define MIN_BATCH_TOKENS             1024
#define BATCH_MULTIPLY_ADDS_A_THREAD 4e9

struct stream {
    struct store *store;
    struct model *model;
    struct contexts *contexts;
    struct forward *forward;
    struct hook hook;
    struct cached_facts cached;
    struct store_tensor rows; /* of cached activations */
    int center;
    size_t width, length;
    size_t first, end; /* contexts served */
    size_t next;
    size_t batch_contexts;
    uint32_t *ids; /* [batch_contexts, length] */
    uint8_t *counted;
    float *activations; /* [batch_contexts · length, width] */
    float *kept;        /* where the hook's values of the running pass go */
};

static size_t contexts_a_batch(const struct model_config *config, const struct hook *hook, size_t length)
{
    double per_token = model_multiply_adds(config, hook->layer + 1, length);
    double tokens = BATCH_MULTIPLY_ADDS_A_THREAD * (double)parallel_threads() / per_token;
    size_t n;

    tokens = tokens < MIN_BATCH_TOKENS ? MIN_BATCH_TOKENS : tokens > BATCH_TOKENS ? BATCH_TOKENS : tokens;
    n = (size_t)tokens / length;
    return n ? n : 1;
}

static int open_cached(struct stream *st, struct store_txn *t, artifact_id text, struct error *err)
{
    int status = cached_facts_read(t, text, &st->cached, err);

    if (!status)
        status = store_tensor_open(t, text, "activations", &st->rows, err);
    if (!status && (st->rows.ndim != 2 || st->rows.shape[1] != st->width || !st->rows.rows_per_block ||
                    st->rows.shape[0] / st->length != contexts_count(st->contexts)))
        status = error_set(err, STATUS_STORE, "cached activations are damaged: import them anew");
    return status;
}

static int open_parts(struct stream *st, struct store_txn *t, const struct stream_options *o,
                      struct error *err)
{
    struct stream_options fitted = *o;
    const struct model_config *config;
    size_t count, tokens;
    int status = stream_options_fit(t, &fitted, err);

    o = &fitted;
    if (!status)
        status = model_open(t, o->model, &st->model, err);
    if (status)
        return status;
    config = model_get_config(st->model);
    status = hook_parse(config, o->hook, &st->hook, err);
    if (status)
        return status;
    st->width = hook_width(config, &st->hook);
    st->center = o->center && hook_is_centred(config, &st->hook);
    st->length = o->context_size ? o->context_size : config->context_length;
    if (st->length > config->context_length && !o->cached)
        return error_set(err, STATUS_REFUSED, "a context of %zu tokens is longer than the model's %zu",
                         st->length, config->context_length);
    if (stream_options_adds_bos(o) && config->bos == TOKEN_NONE)
        return error_set(err, STATUS_REFUSED,
                         "contexts that start with BOS were asked for, but model %s has none",
                         model_name(st->model));
    status =
        contexts_open(t, o->text, st->length, stream_options_adds_bos(o), config->bos, &st->contexts, err);
    if (!status && o->cached)
        status = open_cached(st, t, o->text, err);
    if (status)
        return status;
    count = contexts_count(st->contexts);
    if (o->first_context > count || o->n_contexts > count - o->first_context)
        return error_set(err, STATUS_REFUSED,
                         "contexts %zu to %zu were asked for, but the text has %zu of %zu tokens",
                         o->first_context, o->first_context + o->n_contexts, count, st->length);
    st->first = st->next = o->first_context;
    st->end = o->n_contexts ? o->first_context + o->n_contexts : count;
    st->batch_contexts = o->cached ? (st->length < BATCH_TOKENS ? BATCH_TOKENS / st->length : 1)
                                   : contexts_a_batch(config, &st->hook, st->length);
    if (!o->cached)
        status = forward_new(st->model, st->batch_contexts, st->length, &st->forward, err);
    if (status)
        return status;
    if (st->forward)
        forward_watch(st->forward, o->monitor);
    tokens = st->batch_contexts * st->length;
    st->ids = array_alloc(tokens, sizeof(*st->ids), "tokens", err);
    st->counted = st->ids ? array_alloc(tokens, 1, "tokens", err) : NULL;
    st->activations = st->counted ? array_alloc(tokens, st->width * sizeof(float), "activations", err) : NULL;
    return st->activations ? STATUS_OK : STATUS_FAILED;
}

int stream_open(struct store *s, const struct stream_options *o, struct stream **out, struct error *err)
{
    struct store_txn *t;
    struct stream *st;
    int status = store_begin(s, &t, err);

    *out = NULL;
    if (status)
        return status;
    st = xcalloc(1, sizeof(*st));
    st->store = s;
    status = open_parts(st, t, o, err);
    store_end(t);
    if (status)
        stream_close(st);
    else
        *out = st;
    return status;
}

void stream_close(struct stream *st)
{
    if (!st)
        return;
    free(st->activations);
    free(st->counted);
    free(st->ids);
    if (st->forward)
        forward_free(st->forward);
    if (st->contexts)
        contexts_close(st->contexts);
    if (st->model)
        model_free(st->model);
    free(st);
}

size_t stream_width(const struct stream *st)
{
    return st->width;
}

size_t stream_length(const struct stream *st)
{
    return st->length;
}

size_t stream_contexts(const struct stream *st)
{
    return st->end - st->first;
}

size_t stream_batch_contexts(const struct stream *st)
{
    return st->batch_contexts;
}

const struct model *stream_model(const struct stream *st)
{
    return st->model;
}

const struct contexts *stream_text(const struct stream *st)
{
    return st->contexts;
}

int stream_is_cached(const struct stream *st)
{
    return st->cached.is_cached;
}

int stream_has_tokens(const struct stream *st)
{
    return !st->cached.is_cached || st->cached.has_tokens;
}

static int keep_activations(void *arg, float *activations, size_t n_tokens, size_t width, struct error *err)
{
    struct stream *st = arg;

    (void)err;
    memcpy(st->kept, activations, n_tokens * width * sizeof(float));
    st->kept += n_tokens * width;
    return STATUS_OK;
}

/* Centring: each token's mean over d_model is subtracted. */
static void center_block(size_t block, size_t worker, void *arg)
{
    struct stream *st = arg;

    (void)worker;
    for (size_t i = block * st->length; i < (block + 1) * st->length; i++) {
        float *x = st->activations + i * st->width;
        double sum = 0;
        float mean;

        for (size_t j = 0; j < st->width; j++)
            sum += (double)x[j];
        mean = (float)(sum / (double)st->width);
        for (size_t j = 0; j < st->width; j++)
            x[j] -= mean;
    }
}

static int run_model(struct stream *st, struct store_txn *t, size_t n, struct error *err)
{
    int status = model_attach(st->model, t, err);

    if (status)
        return status;
    st->kept = st->activations;
    return forward_run(st->forward, st->model, st->ids, n, st->length, &st->hook, keep_activations, st, NULL,
                       err);
}

/* Context number i of the batch: its tokens and, when they are cached, its activations. */
static int read_context(struct stream *st, struct store_txn *t, size_t context, size_t i, struct error *err)
{
    int status = contexts_read(st->contexts, t, context, 1, st->ids + i * st->length, err);

    if (!status && st->cached.is_cached)
        status = cached_rows(t, &st->rows, context * st->length, st->length,
                             st->activations + i * st->length * st->width, err);
    return status;
}

/* The contexts that were read: what the model makes of them, and which tokens count. */
static int run_batch(struct stream *st, struct store_txn *t, size_t n, struct stream_batch *b,
                     struct error *err)
{
    int status = st->cached.is_cached ? STATUS_OK : run_model(st, t, n, err);

    if (status)
        return status;
    if (st->center)
        parallel_for(n, center_block, st);
    b->n_contexts = n;
    b->length = st->length;
    b->n_tokens = n * st->length;
    b->n_counted = contexts_counted(st->model, st->ids, b->n_tokens, st->counted);
    b->ids = st->ids;
    b->counted = st->counted;
    b->activations = st->activations;
    return STATUS_OK;
}

int stream_next(struct stream *st, struct stream_batch *b, struct error *err)
{
    struct store_txn *t;
    size_t n = st->end - st->next;
    int status;

    memset(b, 0, sizeof(*b));
    b->first_context = st->next;
    if (!n)
        return STATUS_OK;
    if (n > st->batch_contexts)
        n = st->batch_contexts;
    status = store_begin(st->store, &t, err);
    if (status)
        return status;
    for (size_t i = 0; i < n && !status; i++)
        status = read_context(st, t, st->next + i, i, err);
    if (!status)
        status = run_batch(st, t, n, b, err);
    store_end(t);
    if (!status)
        st->next += n;
    return status;
}

int stream_at(struct stream *st, const uint32_t *contexts, size_t n, struct stream_batch *b,
              struct error *err)
{
    struct store_txn *t;
    int status;

    memset(b, 0, sizeof(*b));
    if (n > st->batch_contexts)
        return error_set(err, STATUS_FAILED, "%zu contexts do not fit a batch of %zu", n, st->batch_contexts);
    if (!n)
        return STATUS_OK;
    b->first_context = contexts[0];
    status = store_begin(st->store, &t, err);
    if (status)
        return status;
    for (size_t i = 0; i < n && !status; i++)
        status = read_context(st, t, contexts[i], i, err);
    if (!status)
        status = run_batch(st, t, n, b, err);
    store_end(t);
    return status;
}

int stream_rewind(struct stream *st, size_t context, struct error *err)
{
    if (context < st->first || context > st->end)
        return error_set(err, STATUS_REFUSED, "context %zu is not among %zu to %zu", context, st->first,
                         st->end);
    st->next = context;
    return STATUS_OK;
}

int stream_limit(struct stream *st, uint64_t tokens, uint64_t *n_counted, struct error *err)
{
    struct store_txn *t;
    size_t n;
    int status = store_begin(st->store, &t, err);

    if (status)
        return status;
    status = contexts_for_tokens(st->contexts, t, st->model, tokens, &n, n_counted, err);
    store_end(t);
    if (status)
        return status;
    st->first = st->next = 0;
    st->end = n;
    return STATUS_OK;
}

int stream_options_fit(struct store_txn *t, struct stream_options *o, struct error *err)
{
    struct cached_facts cached;
    struct artifact a;
    int status = cached_facts_read(t, o->text, &cached, err);

    o->cached = 0;
    if (status || !cached.is_cached)
        return status;
    status = store_get(t, o->text, &a, err);
    if (!status && (strcmp(cached.hook, o->hook) != 0 || cached.model != o->model))
        status = error_set(err, STATUS_REFUSED, "%s holds activations of %s%s, not of %s", a.name,
                           cached.hook, cached.model != o->model ? " of another model" : "", o->hook);
    o->cached = 1;
    o->context_size = cached.context_size;
    o->prepend_bos = cached.prepend_bos;
    return status;
}

int stream_options_adds_bos(const struct stream_options *o)
{
    return o->prepend_bos && !o->cached;
}

int stream_options_for_sae(struct store_txn *t, artifact_id sae, artifact_id text, struct stream_options *o,
                           char hook[64], struct error *err)
{
    json *manifest = store_manifest(t, sae, err), *text_manifest = NULL;
    struct artifact a;
    const char *name;
    artifact_id text_model;
    int status;

    if (!manifest)
        return err ? err->code : STATUS_STORE;
    memset(o, 0, sizeof(*o));
    status = store_get(t, sae, &a, err);
    if (status)
        goto out;
    name = json_get_string(manifest, "hook", NULL);
    o->model = (artifact_id)json_get_integer(json_get(manifest, "references"), "model", 0);
    if (!name || !o->model || strlen(name) >= 64) {
        status =
            error_set(err, STATUS_REFUSED, "%s does not say at which hook of which model it works", a.name);
        goto out;
    }
    strcpy(hook, name);
    o->hook = hook;
    o->text = text;
    o->context_size = (size_t)json_get_integer(manifest, "context_size", 0);
    o->prepend_bos = json_get_boolean(manifest, "prepend_bos", 0);
    o->center = json_get_boolean(manifest, "center_activations", 0);
    text_manifest = store_manifest(t, text, err);
    if (!text_manifest) {
        status = err ? err->code : STATUS_STORE;
        goto out;
    }
    text_model = (artifact_id)json_get_integer(json_get(text_manifest, "references"), "model", 0);
    if (text_model != o->model) {
        struct artifact b;

        status = store_get(t, text, &b, err);
        if (!status)
            status = error_set(err, STATUS_REFUSED,
                               "text %s holds another model's tokens than %s was trained on: "
                               "import it once more for that model",
                               b.name, a.name);
    }
    if (!status)
        status = stream_options_fit(t, o, err);
out:
    json_free(text_manifest);
    json_free(manifest);
    return status;
}

int stream_options_agree(const struct stream_options *a, const struct stream_options *b)
{
    return a->model == b->model && strcmp(a->hook, b->hook) == 0 && a->context_size == b->context_size &&
           a->prepend_bos == b->prepend_bos && a->center == b->center;
}
