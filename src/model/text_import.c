/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Documents to tokens in the store: they are gathered to batches, encoded over the pool in blocks, and
 * appended in order. One batch is held at a time.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/text_internal.h"
#include "saescope/model/tokenizer_internal.h"

#define BATCH_BYTES ((size_t)1 << 20)
#define BLOCK_BYTES ((size_t)64 << 10)

struct part {
    size_t offset, length; /* in the batch's text */
    size_t n_tokens;
    int starts; /* a document */
};

struct block {
    size_t first, last; /* parts [first, last) */
    struct token_list tokens;
    struct error err;
    int status;
};

struct text_sink {
    struct monitor *monitor;
    struct model *model;
    const struct tokenizer *tok; /* the model's */
    struct encoder **encoders; /* one a worker */
    size_t n_workers;
    struct tensor_writer *tokens, *documents;
    int narrow; /* u16 */

    struct strbuf text;
    struct part *parts;
    size_t n_parts, parts_capacity;
    struct block *blocks;
    size_t n_blocks, blocks_capacity;
    uint16_t *narrowed;
    size_t narrowed_capacity;
    uint64_t *starts;
    size_t starts_capacity;

    struct token_list kept; /* of a token file's part */
    int in_document;        /* of a token file */

    uint64_t n_tokens, n_documents;
    struct uncounted uncounted; /* as the documents have them */
    uint64_t bytes_read, bytes_expected;
    double began;
};

const struct tokenizer *text_sink_tokenizer(const struct text_sink *sink)
{
    return sink->tok;
}

void text_sink_count_bytes(struct text_sink *sink, size_t n)
{
    sink->bytes_read += n;
}

/* ---- A batch. ---- */

static void cut_blocks(struct text_sink *sink)
{
    sink->n_blocks = 0;
    size_t bytes = BLOCK_BYTES;
    for (size_t i = 0; i < sink->n_parts; i++) {
        if (bytes >= BLOCK_BYTES) {
            if (sink->n_blocks == sink->blocks_capacity) {
                size_t more = sink->blocks_capacity + 16;
                sink->blocks = xreallocarray(sink->blocks, more, sizeof(*sink->blocks));
                memset(sink->blocks + sink->blocks_capacity, 0, 16 * sizeof(*sink->blocks));
                sink->blocks_capacity = more;
            }
            sink->blocks[sink->n_blocks++].first = i;
            bytes = 0;
        }
        sink->blocks[sink->n_blocks - 1].last = i + 1;
        bytes += sink->parts[i].length;
    }
}

static void encode_block(size_t number, size_t worker, void *arg)
{
    struct text_sink *sink = arg;
    struct block *block = sink->blocks + number;
    block->tokens.n = 0;
    block->status = STATUS_OK;
    for (size_t i = block->first; i < block->last && !block->status; i++) {
        struct part *part = sink->parts + i;
        size_t before = block->tokens.n;
        block->status = encoder_encode_part(sink->encoders[worker], sink->text.data + part->offset,
                                            part->length, 1, !part->starts, &block->tokens, &block->err);
        part->n_tokens = block->tokens.n - before;
    }
}

static int append_tokens(struct text_sink *sink, const struct token_list *tokens, struct error *err)
{
    uncounted_look(&sink->uncounted, tokens->ids, tokens->n);
    sink->n_tokens += tokens->n;
    if (!sink->narrow)
        return store_tensor_append(sink->tokens, tokens->ids, tokens->n, err);
    if (tokens->n > sink->narrowed_capacity) {
        sink->narrowed_capacity = tokens->capacity;
        sink->narrowed = xreallocarray(sink->narrowed, sink->narrowed_capacity, sizeof(*sink->narrowed));
    }
    for (size_t i = 0; i < tokens->n; i++)
        sink->narrowed[i] = (uint16_t)tokens->ids[i];
    return store_tensor_append(sink->tokens, sink->narrowed, tokens->n, err);
}

static int append_starts(struct text_sink *sink, size_t n, struct error *err)
{
    sink->n_documents += n;
    return n ? store_tensor_append(sink->documents, sink->starts, n, err) : STATUS_OK;
}

static void need_starts(struct text_sink *sink, size_t n)
{
    if (n > sink->starts_capacity) {
        sink->starts_capacity = n;
        sink->starts = xreallocarray(sink->starts, n, sizeof(*sink->starts));
    }
}

static int append_block(struct text_sink *sink, const struct block *block, struct error *err)
{
    if (block->status) {
        *err = block->err;
        return block->status;
    }
    need_starts(sink, block->last - block->first);
    uint64_t at = sink->n_tokens;
    size_t n = 0;
    for (size_t i = block->first; i < block->last; i++) {
        if (sink->parts[i].starts)
            sink->starts[n++] = at;
        at += sink->parts[i].n_tokens;
    }
    int status = append_starts(sink, n, err);
    return status || !block->tokens.n ? status : append_tokens(sink, &block->tokens, err);
}

static void report(const struct text_sink *sink)
{
    monitor_step_rate(sink->monitor, "reading", sink->bytes_read, sink->bytes_expected,
                      rate_since(sink->began, (double)sink->n_tokens), "tok/s");
}

static int flush(struct text_sink *sink, struct error *err)
{
    cut_blocks(sink);
    parallel_for(sink->n_blocks, encode_block, sink);
    int status = STATUS_OK;
    for (size_t i = 0; i < sink->n_blocks && !status; i++)
        status = append_block(sink, sink->blocks + i, err);
    sink->n_parts = 0;
    strbuf_reset(&sink->text);
    if (status)
        return status;
    report(sink);
    return monitor_check(sink->monitor, err);
}

int text_sink_add(struct text_sink *sink, const void *bytes, size_t n, int starts, struct error *err)
{
    if (sink->n_parts == sink->parts_capacity) {
        sink->parts_capacity = sink->parts_capacity ? 2 * sink->parts_capacity : 1024;
        sink->parts = xreallocarray(sink->parts, sink->parts_capacity, sizeof(*sink->parts));
    }
    sink->parts[sink->n_parts++] = (struct part){sink->text.length, n, 0, starts};
    strbuf_add(&sink->text, bytes, n);
    return sink->text.length >= BATCH_BYTES ? flush(sink, err) : STATUS_OK;
}

int text_sink_add_tokens(struct text_sink *sink, const uint32_t *ids, size_t n, int starts, struct error *err)
{
    uint32_t bos = tokenizer_bos(sink->tok), eos = tokenizer_eos(sink->tok);
    size_t documents = 0;
    int status = sink->n_parts ? flush(sink, err) : STATUS_OK;
    if (status)
        return status;
    need_starts(sink, n);
    sink->kept.n = 0;
    sink->in_document &= !starts;
    for (size_t i = 0; i < n; i++) {
        int ends = ids[i] == bos || ids[i] == eos;
        if (!ends && !sink->in_document)
            sink->starts[documents++] = sink->n_tokens + sink->kept.n;
        if (!ends)
            token_list_add(&sink->kept, ids[i]);
        sink->in_document = !ends;
    }
    status = append_starts(sink, documents, err);
    if (!status && sink->kept.n)
        status = append_tokens(sink, &sink->kept, err);
    report(sink);
    return status ? status : monitor_check(sink->monitor, err);
}

/* ---- A text. ---- */

static int find_model(struct text_sink *sink, struct store *s, const char *name, struct error *err)
{
    struct store_txn *t;
    struct artifact artifact;
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    status = store_find(t, ARTIFACT_MODEL, name, &artifact, err);
    if (!status)
        status = model_open(t, artifact.id, &sink->model, err);
    store_end(t);
    if (status)
        return status;
    sink->tok = model_tokenizer(sink->model);
    uncounted_init(&sink->uncounted, model_get_config(sink->model));
    return STATUS_OK;
}

static int open_writers(struct text_sink *sink, struct store *s, artifact_id id, struct error *err)
{
    const size_t shape[1] = {0};
    sink->narrow = tokenizer_size(sink->tok) <= 65536;
    int status = store_tensor_begin_growing(s, id, "tokens", sink->narrow ? DTYPE_U16 : DTYPE_U32, 1, shape,
                                            &sink->tokens, err);
    if (!status)
        status = store_tensor_begin_growing(s, id, "documents", DTYPE_U64, 1, shape, &sink->documents, err);
    sink->n_workers = parallel_threads();
    sink->encoders = xcalloc(sink->n_workers, sizeof(*sink->encoders));
    for (size_t i = 0; i < sink->n_workers; i++)
        sink->encoders[i] = encoder_new(sink->tok);
    return status;
}

/* The rest of the batch and the last document's end. */
static int finish_writers(struct text_sink *sink, const char *path, struct error *err)
{
    int status = flush(sink, err);
    if (!status && !sink->n_documents)
        status = error_set(err, STATUS_REFUSED, "%s: no text in it", path);
    if (!status)
        status = store_tensor_append(sink->documents, &sink->n_tokens, 1, err);
    if (status)
        return status;
    struct tensor_writer *tokens = sink->tokens, *documents = sink->documents;
    sink->tokens = NULL;
    status = store_tensor_finish(tokens, err);
    if (status)
        return status;
    sink->documents = NULL;
    return store_tensor_finish(documents, err);
}

static void free_sink(struct text_sink *sink)
{
    if (sink->tokens)
        store_tensor_abandon(sink->tokens);
    if (sink->documents)
        store_tensor_abandon(sink->documents);
    for (size_t i = 0; i < sink->n_workers; i++)
        encoder_free(sink->encoders[i]);
    for (size_t i = 0; i < sink->blocks_capacity; i++)
        token_list_free(&sink->blocks[i].tokens);
    free(sink->encoders);
    free(sink->blocks);
    free(sink->parts);
    free(sink->narrowed);
    free(sink->starts);
    strbuf_free(&sink->text);
    token_list_free(&sink->kept);
    model_free(sink->model);
}

static json *make_manifest(const struct text_sink *sink, const struct text_import *options)
{
    json *manifest = json_new_object(), *references = json_new_object();
    json_set(references, "model", json_new_integer((long long)model_id(sink->model)));
    json_set(manifest, "kind", json_new_string("text"));
    json_set(manifest, "references", references);
    json_set(manifest, "tokens", json_new_integer((long long)sink->n_tokens));
    json_set(manifest, "documents", json_new_integer((long long)sink->n_documents));
    json_set(manifest, "source", json_new_string(options->path));
    json_set(manifest, "bytes", json_new_integer((long long)sink->bytes_read));
    uncounted_save(&sink->uncounted, manifest);
    return manifest;
}

static int import_sources(struct text_sink *sink, struct store *s, const struct text_import *options,
                          artifact_id id, struct error *err)
{
    struct text_sources sources;
    int status = text_sources_find(options->path, &sources, err);
    if (status)
        return status;
    sink->bytes_expected = sources.bytes;
    sink->began = clock_seconds();
    status = open_writers(sink, s, id, err);
    for (size_t i = 0; i < sources.n && !status; i++)
        status = text_source_read(sources.paths[i], options, sink, err);
    text_sources_free(&sources);
    if (!status)
        status = finish_writers(sink, options->path, err);
    return status ? status : store_publish(s, id, make_manifest(sink, options), err);
}

int text_import(struct store *s, const struct text_import *options, struct monitor *m, artifact_id *id,
                struct error *err)
{
    struct text_sink sink = {.monitor = m, .text = STRBUF_INIT};
    artifact_id made;
    int status = find_model(&sink, s, options->model, err);
    if (status)
        return status;
    status = store_create(s, ARTIFACT_TEXT, options->name, options->replace, &made, err);
    if (!status) {
        status = import_sources(&sink, s, options, made, err);
        if (status) {
            struct error first = *err;
            free_sink(&sink);
            store_abandon(s, made);
            *err = first;
            return status;
        }
        *id = made;
    }
    free_sink(&sink);
    return status;
}
