/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Shuffled activations for training. Contexts run in an order that is drawn anew each epoch; the rows of
 * their counted tokens go to a buffer that is filled up when it is half empty and served in random order.
 *
 * Which row is served when is a matter of integers: the n-th context ever run is number n, and a row of the
 * buffer is known by (n, token). So seek() replays draws and counts alone, and the model runs once more only
 * over the batches
 * ("groups") that the buffer still holds rows of; whole groups, so that each product has the shape that it
 * had before and gives the same bits.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/activations.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

#define DEFAULT_BUFFER_ROWS 262144

struct activation_source {
    struct batch_source base;
    struct store *store;
    struct stream *stream;
    struct monitor *monitor;
    uint64_t seed;
    size_t length;
    size_t first, n_contexts; /* contexts [first, first + n_contexts) are trained on */
    size_t held_out_from, held_out_end;

    uint32_t *order;      /* the epoch's contexts */
    uint64_t order_epoch; /* UINT64_MAX: none drawn yet */
    uint64_t next_number; /* of the next context to run */
    uint64_t *groups;     /* first number of each batch that was run */
    size_t n_groups, group_capacity;
    uint32_t *counts; /* counted tokens of each context, once seek() has asked; else NULL */

    size_t capacity;
    size_t filled;
    size_t first_filled;   /* rows after the first filling; 0: none yet */
    uint64_t first_number; /* next_number after it */
    uint32_t *slots; /* a permutation of the buffer's rows; the first `filled` hold something */
    uint64_t *rows;  /* what each buffer row holds: number · length + token */
    float *data;     /* [capacity, d_in] */
    struct rng draws;
};

/* Nothing was drawn yet. */
static void restart_draws(struct activation_source *src)
{
    for (size_t i = 0; i < src->capacity; i++)
        src->slots[i] = (uint32_t)i;
    rng_seed(&src->draws, src->seed, 1);
}

static void restart(struct activation_source *src)
{
    src->order_epoch = UINT64_MAX;
    src->next_number = 0;
    src->n_groups = 0;
    src->filled = 0;
    restart_draws(src);
}

/* Context of the number-th run: epochs have permutations of their own. */
static uint32_t context_of(struct activation_source *src, uint64_t number)
{
    uint64_t epoch = number / src->n_contexts;

    if (epoch != src->order_epoch) {
        struct rng r;

        for (size_t i = 0; i < src->n_contexts; i++)
            src->order[i] = (uint32_t)(src->first + i);
        rng_seed(&r, src->seed, 2 + epoch);
        rng_shuffle(&r, src->order, src->n_contexts);
        src->order_epoch = epoch;
    }
    return src->order[number % src->n_contexts];
}

static int run_group(struct activation_source *src, uint64_t number, size_t n, struct stream_batch *b,
                     struct error *err)
{
    uint32_t *contexts = xreallocarray(NULL, n, sizeof(*contexts));
    int status;

    for (size_t i = 0; i < n; i++)
        contexts[i] = context_of(src, number + i);
    status = stream_at(src->stream, contexts, n, b, err);
    free(contexts);
    return status;
}

/* Contexts of the group that starts at `number`, when the buffer has room for `free_rows` more. It ends with
 * an epoch. */
static size_t group_size(const struct activation_source *src, uint64_t number, size_t free_rows)
{
    size_t n = free_rows / src->length, left = src->n_contexts - (size_t)(number % src->n_contexts);

    if (n > left)
        n = left;
    return n < stream_batch_contexts(src->stream) ? n : stream_batch_contexts(src->stream);
}

static void note_group(struct activation_source *src, uint64_t number)
{
    if (src->n_groups == src->group_capacity) {
        src->group_capacity = src->group_capacity ? 2 * src->group_capacity : 256;
        src->groups = xreallocarray(src->groups, src->group_capacity, sizeof(*src->groups));
    }
    src->groups[src->n_groups++] = number;
}

static void report_filling(struct activation_source *src)
{
    monitor_step(src->monitor, "reading", src->filled, src->capacity);
}

/* One group more into the buffer. replay: who is where, without the numbers. */
static int fill_group(struct activation_source *src, size_t n, int replay, struct error *err)
{
    struct stream_batch b;
    size_t d = src->base.d_in;

    if (!replay) {
        int status = run_group(src, src->next_number, n, &b, err);

        if (status)
            return status;
    }
    note_group(src, src->next_number);
    for (size_t i = 0; i < n; i++, src->next_number++) {
        size_t row = 0,
               rows = replay ? src->counts[context_of(src, src->next_number) - src->first] : src->length;

        for (size_t j = 0; j < rows; j++) {
            if (!replay && !b.counted[i * src->length + j])
                continue;
            uint32_t slot = src->slots[src->filled++];

            src->rows[slot] = src->next_number * src->length + row++;
            if (!replay)
                memcpy(src->data + slot * d, b.activations + (i * src->length + j) * d, d * sizeof(float));
        }
    }
    return STATUS_OK;
}

/* Between two batches of the model. What was served so far can be served again after a seek. */
static int ask(struct activation_source *src, struct error *err)
{
    switch (monitor_ask(src->monitor)) {
    case MONITOR_CANCEL:
        return error_set(err, STATUS_FAILED, "cancelled");
    case MONITOR_CHECKPOINT:
        return STATUS_CHECKPOINTED;
    default:
        return STATUS_OK;
    }
}

static int refill(struct activation_source *src, int replay, struct error *err)
{
    int first = src->next_number == 0;
    uint64_t start = src->next_number;

    for (;;) {
        size_t n = group_size(src, src->next_number, src->capacity - src->filled);
        int status;

        if (!n)
            break;
        status = ask(src, err);
        if (!status)
            status = fill_group(src, n, replay, err);
        if (status)
            return status;
        if (first && !replay)
            report_filling(src);
        if (!src->filled && src->next_number - start >= src->n_contexts)
            return error_set(err, STATUS_REFUSED, "the text has no token to train on");
    }
    if (first && !replay) {
        src->first_filled = src->filled;
        src->first_number = src->next_number;
    }
    return STATUS_OK;
}

/* Serves one row: which it is; its slot goes to the free ones. */
static uint32_t draw(struct activation_source *src)
{
    size_t i = (size_t)rng_below(&src->draws, src->filled);
    uint32_t slot = src->slots[i];

    src->slots[i] = src->slots[--src->filled];
    src->slots[src->filled] = slot;
    return slot;
}

static int source_next(struct batch_source *s, float *x, size_t n, struct error *err)
{
    struct activation_source *src = (struct activation_source *)s;

    for (size_t i = 0; i < n; i++) {
        if (src->filled <= src->capacity / 2) {
            int status = refill(src, 0, err);

            if (status)
                return status;
        }
        memcpy(x + i * s->d_in, src->data + draw(src) * s->d_in, s->d_in * sizeof(float));
    }
    return STATUS_OK;
}

/* How many tokens of each context count: read once, in slices. */
static int read_counts(struct activation_source *src, struct error *err)
{
    const size_t slice = 1 + 65536 / src->length;
    uint32_t *ids = array_alloc(slice * src->length, sizeof(*ids), "tokens", err);
    uint8_t *counted = ids ? array_alloc(slice * src->length, 1, "tokens", err) : NULL;
    int status = counted ? STATUS_OK : STATUS_FAILED;

    if (counted)
        src->counts = array_alloc(src->n_contexts, sizeof(*src->counts), "counts", err);
    if (!src->counts)
        status = STATUS_FAILED;
    for (size_t i = 0; i < src->n_contexts && !status; i += slice) {
        size_t n = src->n_contexts - i < slice ? src->n_contexts - i : slice;
        struct store_txn *t;

        status = store_begin(src->store, &t, err);
        if (status)
            break;
        status = contexts_read(stream_text(src->stream), t, src->first + i, n, ids, err);
        store_end(t);
        for (size_t j = 0; j < n && !status; j++)
            src->counts[i + j] = (uint32_t)contexts_counted(stream_model(src->stream), ids + j * src->length,
                                                            src->length, counted);
    }
    if (status) {
        free(src->counts);
        src->counts = NULL;
    }
    free(counted);
    free(ids);
    return status;
}

struct held_row {
    uint64_t row;
    uint32_t slot;
};

static int compare_held_rows(const void *a, const void *b)
{
    uint64_t x = ((const struct held_row *)a)->row, y = ((const struct held_row *)b)->row;

    return (x > y) - (x < y);
}

/* Copies the rows [from, to) of held, all of the group b, into the buffer. */
static void keep_group(struct activation_source *src, const struct stream_batch *b, uint64_t first_number,
                       const struct held_row *held, size_t from, size_t to)
{
    size_t d = src->base.d_in;

    for (size_t i = 0; i < b->n_contexts; i++) {
        uint64_t row = (first_number + i) * src->length;

        for (size_t j = 0; j < src->length && from < to; j++) {
            if (!b->counted[i * src->length + j])
                continue;
            if (held[from].row == row) {
                memcpy(src->data + held[from].slot * d, b->activations + (i * src->length + j) * d,
                       d * sizeof(float));
                from++;
            }
            row++;
        }
    }
}

/* Runs the groups again that the buffer holds rows of. */
static int compute_held(struct activation_source *src, struct error *err)
{
    struct held_row *held = array_alloc(src->filled + 1, sizeof(*held), "rows", err);
    size_t i = 0, group = 0;
    int status = held ? STATUS_OK : STATUS_FAILED;

    for (size_t j = 0; held && j < src->filled; j++)
        held[j] = (struct held_row){src->rows[src->slots[j]], src->slots[j]};
    if (held)
        qsort(held, src->filled, sizeof(*held), compare_held_rows);
    while (!status && i < src->filled) {
        struct stream_batch b;
        uint64_t end;
        size_t to = i;

        while (group + 1 < src->n_groups && src->groups[group + 1] * src->length <= held[i].row)
            group++;
        end = group + 1 < src->n_groups ? src->groups[group + 1] : src->next_number;
        while (to < src->filled && held[to].row < end * src->length)
            to++;
        status = ask(src, err);
        if (!status)
            status = run_group(src, src->groups[group], (size_t)(end - src->groups[group]), &b, err);
        if (!status)
            keep_group(src, &b, src->groups[group], held, i, to);
        i = to;
    }
    free(held);
    return status;
}

static int source_seek(struct batch_source *s, uint64_t rows, struct error *err)
{
    struct activation_source *src = (struct activation_source *)s;

    /* The buffer still holds all of its first filling: going back needs no model. */
    if (src->first_filled && src->next_number == src->first_number &&
        rows <= src->first_filled - src->capacity / 2) {
        restart_draws(src);
        src->filled = src->first_filled;
        while (rows-- > 0)
            draw(src);
        return STATUS_OK;
    }
    if (rows && !src->counts) {
        int status = read_counts(src, err);

        if (status)
            return status;
    }
    restart(src);
    src->first_filled = 0; /* only what is held is computed */
    for (uint64_t i = 0; i < rows; i++) {
        if (src->filled <= src->capacity / 2) {
            int status = refill(src, 1, err);

            if (status)
                return status;
        }
        draw(src);
    }
    return compute_held(src, err);
}

static int source_held_out(struct batch_source *s, size_t chunk, float *x, size_t capacity, size_t *n,
                           struct error *err)
{
    struct activation_source *src = (struct activation_source *)s;
    size_t per_chunk = capacity / src->length, at, end;

    *n = 0;
    if (!per_chunk)
        return error_set(err, STATUS_FAILED, "%zu rows do not hold a context of %zu tokens", capacity,
                         src->length);
    if (chunk >= (src->held_out_end - src->held_out_from + per_chunk - 1) / per_chunk)
        return STATUS_OK;
    at = src->held_out_from + chunk * per_chunk;
    end = src->held_out_end - at < per_chunk ? src->held_out_end : at + per_chunk;
    while (at < end) {
        uint32_t contexts[64];
        struct stream_batch b;
        size_t m = 0;
        int status;

        while (m < ARRAY_LENGTH(contexts) && m < stream_batch_contexts(src->stream) && at < end)
            contexts[m++] = (uint32_t)at++;
        status = stream_at(src->stream, contexts, m, &b, err);
        if (status)
            return status;
        for (size_t i = 0; i < b.n_tokens; i++)
            if (b.counted[i])
                memcpy(x + (*n)++ * s->d_in, b.activations + i * s->d_in, s->d_in * sizeof(float));
    }
    return STATUS_OK;
}

static void source_close(struct batch_source *s)
{
    struct activation_source *src = (struct activation_source *)s;

    stream_close(src->stream);
    free(src->order);
    free(src->groups);
    free(src->counts);
    free(src->slots);
    free(src->rows);
    free(src->data);
    free(src);
}

/* Which contexts are trained on, and how large the buffer is. */
static int plan(struct activation_source *src, const struct stream_options *o, size_t buffer_rows,
                struct error *err)
{
    const struct contexts *text = stream_text(src->stream);
    size_t end = o->first_context + stream_contexts(src->stream), epoch_rows;

    src->held_out_from = contexts_held_out_from(text);
    src->held_out_end = contexts_count(text);
    if (end > src->held_out_from)
        end = src->held_out_from;
    if (end <= o->first_context || contexts_count(text) > UINT32_MAX)
        return error_set(err, STATUS_REFUSED, "the text has %zu contexts of %zu tokens%s",
                         contexts_count(text), src->length,
                         end <= o->first_context ? ": too few to train on and hold some out" : ": too many");
    src->first = o->first_context;
    src->n_contexts = end - src->first;
    if (size_multiply(src->n_contexts, src->length, &epoch_rows))
        epoch_rows = SIZE_MAX;
    src->capacity = buffer_rows ? buffer_rows : DEFAULT_BUFFER_ROWS;
    if (src->capacity > epoch_rows)
        src->capacity = epoch_rows;
    /* Half of it must take a context, or there is nothing to refill with. */
    if (src->capacity < 2 * src->length)
        src->capacity = 2 * src->length;
    if (src->capacity > UINT32_MAX)
        return error_set(err, STATUS_REFUSED, "a buffer of %zu rows is too large", src->capacity);
    return STATUS_OK;
}

int activation_source_open(struct store *s, const struct stream_options *o, size_t buffer_rows, uint64_t seed,
                           struct monitor *m, struct batch_source **out, struct error *err)
{
    struct activation_source *src = xcalloc(1, sizeof(*src));
    struct stream_options watched = *o;
    int status;

    *out = NULL;
    watched.monitor = m;
    src->store = s;
    src->monitor = m;
    src->seed = seed;
    src->base.next = source_next;
    src->base.seek = source_seek;
    src->base.held_out = source_held_out;
    src->base.close = source_close;
    status = stream_open(s, &watched, &src->stream, err);
    if (!status) {
        src->base.d_in = stream_width(src->stream);
        src->length = stream_length(src->stream);
        status = plan(src, o, buffer_rows, err);
    }
    if (!status) {
        src->order = array_alloc(src->n_contexts, sizeof(*src->order), "the order of contexts", err);
        src->slots = array_alloc(src->capacity, sizeof(*src->slots), "the activation buffer", err);
        src->rows = array_alloc(src->capacity, sizeof(*src->rows), "the activation buffer", err);
        src->data = array_alloc(src->capacity, src->base.d_in * sizeof(float), "the activation buffer", err);
        if (!src->order || !src->slots || !src->rows || !src->data)
            status = STATUS_FAILED;
    }
    if (status) {
        source_close(&src->base);
        return status;
    }
    restart(src);
    *out = &src->base;
    return STATUS_OK;
}
