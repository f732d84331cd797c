/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An index as batches of files. Chunks of latents are read in a transaction of their own, turned into text by
 * the pool, and appended to the batch's files, which get their names when they are whole.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/analysis/export_rows.h"
#include "saescope/analysis/index_exchange.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/files/gzip.h"
#include "saescope/files/json_lines.h"
#include "saescope/formats/neuronpedia.h"

#define CHUNK                16 /* latents */
#define NEURONPEDIA_LATENTS  1024
#define SAEDASHBOARD_LATENTS 128

const char *const index_form_names[] = {"neuronpedia", "saedashboard", NULL};

/* Kinds of files. A batch of SAEDashboard's is of features alone. */
enum part { PART_FEATURES, PART_ACTIVATIONS, PART_EXPLANATIONS, PARTS };
static const char *const part_folders[PARTS] = {"features", "activations", "explanations"};
static const char *const dashboard_endings[] = {".json", NULL};

struct chunk_latent {
    struct export_latent l;
    struct strbuf parts[PARTS];
    size_t shown; /* 1: the latent has a row */
};

struct exporting {
    struct store *store;
    const struct index_export *options;
    struct monitor *monitor;
    struct opened_sae sae;
    struct model *model; /* NULL: none known */
    struct hook hook;
    struct index_columns columns;
    struct neuronpedia_place place;
    struct artifact text;
    struct export_source source;
    size_t batch;
    float *logits; /* [CHUNK, vocabulary] */
    struct chunk_latent chunk[CHUNK];
    struct gzip_writer *files[PARTS]; /* of the batch that is being written */
    size_t in_file;                   /* features in it */
    char **written;                   /* paths of whole files */
    size_t n_written;
    struct strbuf skipped; /* latents that never fired, "1,5" */
    struct index_exported *result;
};

/* ---- Files. ---- */

static char *part_directory(const struct exporting *ex, enum part part)
{
    return ex->options->form == INDEX_NEURONPEDIA ? path_join(ex->options->directory, part_folders[part])
                                                  : xstrdup(ex->options->directory);
}

static char *batch_path(const struct exporting *ex, enum part part, size_t number)
{
    const char *ending = ex->options->form == INDEX_SAEDASHBOARD ? ".json"
                         : ex->options->compress                 ? ".jsonl.gz"
                                                                 : ".jsonl";
    char *directory = part_directory(ex, part), *name = xasprintf("batch-%zu%s", number, ending),
         *path = path_join(directory, name);
    free(directory);
    free(name);
    return path;
}

/* Batches of either form that an earlier export left. */
static int clear_directory(struct exporting *ex, const char *directory, const char *const *endings,
                           struct error *err)
{
    struct batch_files files;
    int status = STATUS_OK;
    if (!path_is_directory(directory))
        return STATUS_OK;
    status = batch_files_find(directory, endings, &files, err);
    if (!status && files.n && !ex->options->replace) {
        char *shown = displayable_string(directory);
        status = error_set(err, STATUS_REFUSED, "%s has batches already: --replace puts these in their place",
                           shown);
        free(shown);
    }
    for (size_t i = 0; i < files.n && !status; i++)
        unlink(files.paths[i]);
    batch_files_free(&files);
    return status;
}

static int prepare_directories(struct exporting *ex, struct error *err)
{
    int neuronpedia = ex->options->form == INDEX_NEURONPEDIA, parts = neuronpedia ? PARTS : 1;
    int status = STATUS_OK;
    for (int part = 0; part < parts && !status; part++) {
        char *directory = part_directory(ex, part);
        status = make_directories(directory, 0777, err);
        if (!status)
            status =
                clear_directory(ex, directory, neuronpedia ? json_lines_endings : dashboard_endings, err);
        free(directory);
    }
    return status;
}

/* Gives a file its name and remembers it. Takes path over. */
static int finish_file(struct exporting *ex, struct gzip_writer *w, char *path, struct error *err)
{
    uint64_t size = 0;
    int status = gzip_writer_finish(w, &size, err);
    if (status) {
        free(path);
        return status;
    }
    ex->written = xreallocarray(ex->written, ex->n_written + 1, sizeof(*ex->written));
    ex->written[ex->n_written++] = path;
    ex->result->files++;
    ex->result->bytes += size;
    return STATUS_OK;
}

/* A small file beside the batches. */
static int write_beside(struct exporting *ex, const char *name, const struct strbuf *text, struct error *err)
{
    struct gzip_writer *w;
    char *path = path_join(ex->options->directory, name);
    int status = gzip_writer_open(path, 0, &w, err);
    if (!status) {
        status = gzip_writer_write(w, text->data, text->length, err);
        if (!status)
            return finish_file(ex, w, path, err);
        gzip_writer_abandon(w);
    }
    free(path);
    return status;
}

/* What SAEDashboard's files say of all their features: {"model_id", "layer", "sae_set", "features" or else}.
 */
static void add_dashboard_head(const struct exporting *ex, struct strbuf *out)
{
    const char *source = ex->place.source;
    size_t digits = strspn(source, "0123456789");
    strbuf_adds(out, "{\"model_id\":");
    json_dump_string(out, ex->place.model, strlen(ex->place.model));
    strbuf_adds(out, ",\"layer\":");
    if (digits && digits < 10 && source[digits] == '-') {
        strbuf_add(out, source, digits);
        source += digits + 1;
    } else if (ex->model && ex->hook.name[0]) {
        strbuf_addf(out, "%zu", ex->hook.layer);
    } else {
        strbuf_adds(out, "null");
    }
    strbuf_adds(out, ",\"sae_set\":");
    json_dump_string(out, source, strlen(source));
}

static int open_batch(struct exporting *ex, size_t number, struct error *err)
{
    int neuronpedia = ex->options->form == INDEX_NEURONPEDIA, status = STATUS_OK;
    ex->in_file = 0;
    for (int part = 0; part < (neuronpedia ? PARTS : 1) && !status; part++) {
        char *path = batch_path(ex, part, number);
        status = gzip_writer_open(path, neuronpedia && ex->options->compress, &ex->files[part], err);
        free(path);
    }
    if (!status && !neuronpedia) {
        struct strbuf head = STRBUF_INIT;
        add_dashboard_head(ex, &head);
        strbuf_adds(&head, ",\"features\":[");
        status = gzip_writer_write(ex->files[PART_FEATURES], head.data, head.length, err);
        strbuf_free(&head);
    }
    return status;
}

static int close_batch(struct exporting *ex, size_t number, struct error *err)
{
    int status = STATUS_OK;
    if (ex->options->form == INDEX_SAEDASHBOARD)
        status = gzip_writer_write(ex->files[PART_FEATURES], "]}", 2, err);
    for (int part = 0; part < PARTS && !status; part++) {
        struct gzip_writer *w = ex->files[part];
        if (!w)
            continue;
        ex->files[part] = NULL;
        status = finish_file(ex, w, batch_path(ex, part, number), err);
    }
    return status;
}

/* ---- One chunk. ---- */

static int compute_logits(struct exporting *ex, size_t first, size_t n, struct error *err)
{
    if (!ex->logits)
        return STATUS_OK;
    const struct model_config *config = model_get_config(ex->model);
    const size_t vocabulary = config->vocabulary_size, d = ex->sae.sae->d_in;
    float *rows = array_alloc(n * (d + config->d_model), sizeof(*rows), "decoder rows", err);
    if (!rows)
        return STATUS_FAILED;
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * d, sae_decoder_row(ex->sae.sae, first + i), d * sizeof(*rows));
    int status = model_directions_out(ex->model, &ex->hook, rows, n, rows + n * d, err);
    if (!status)
        status = model_direction_logits(ex->model, rows + n * d, n, 0, ex->logits, err);
    for (size_t i = 0; i < n && !status; i++)
        export_logits(ex->logits + i * vocabulary, vocabulary, &ex->chunk[i].l);
    free(rows);
    return status;
}

static void add_explanation(struct exporting *ex, struct store_txn *t, struct chunk_latent *c)
{
    struct label label;
    if (store_label(t, ex->options->sae, c->l.latent, &label, NULL) == STATUS_OK && label.text) {
        label.latent = c->l.latent;
        neuronpedia_label_line(&c->parts[PART_EXPLANATIONS], &ex->place, &label);
    }
}

static int read_latent(struct exporting *ex, struct store_txn *t, size_t latent, struct chunk_latent *c,
                       struct error *err)
{
    struct export_latent *l = &c->l;
    artifact_id sae = ex->options->sae;
    int status = STATUS_OK;
    l->latent = latent;
    l->fired = ex->columns.fired[latent];
    l->max = ex->columns.max[latent];
    l->min = ex->columns.min[latent];
    l->mean = ex->columns.mean[latent];
    c->shown = ex->options->form == INDEX_NEURONPEDIA || l->fired > 0;
    export_align(sae_decoder_row(ex->sae.sae, latent), ex->sae.sae->d_in, l);
    if (l->fired)
        status = index_histogram_read(t, sae, latent, &l->histogram, err);
    if (!status)
        status = index_contexts_read(t, sae, latent, &l->contexts, &l->n_contexts, err);
    if (!status && !ex->logits)
        status = index_logits_read(t, sae, latent, &l->logits, err);
    if (!status && ex->options->form == INDEX_NEURONPEDIA)
        add_explanation(ex, t, c);
    return status;
}

static int read_chunk(struct exporting *ex, size_t first, size_t n, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(ex->store, &t, err);
    if (status)
        return status;
    status = sae_attach(ex->sae.sae, t, err);
    if (!status && ex->model)
        status = model_attach(ex->model, t, err);
    for (size_t i = 0; i < n && !status; i++)
        status = read_latent(ex, t, first + i, &ex->chunk[i], err);
    if (!status)
        status = compute_logits(ex, first, n, err);
    store_end(t);
    return status;
}

static void describe_latent(size_t i, size_t worker, void *arg)
{
    struct exporting *ex = arg;
    struct chunk_latent *c = &ex->chunk[i];
    (void)worker;
    if (ex->options->form == INDEX_SAEDASHBOARD && c->shown) {
        export_dashboard_feature(&c->parts[PART_FEATURES], &ex->source, &c->l);
    } else if (ex->options->form == INDEX_NEURONPEDIA) {
        export_feature_line(&c->parts[PART_FEATURES], &ex->source, &c->l);
        export_activation_lines(&c->parts[PART_ACTIVATIONS], &ex->source, &c->l);
    }
}

static int write_chunk(struct exporting *ex, size_t n, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; i < n; i++) {
        struct chunk_latent *c = &ex->chunk[i];
        if (!c->shown)
            strbuf_addf(&ex->skipped, "%s%zu", ex->skipped.length ? "," : "", c->l.latent);
        ex->result->latents += c->shown;
        ex->result->contexts += c->shown ? c->l.n_contexts : 0;
        if (!status && ex->options->form == INDEX_SAEDASHBOARD && c->shown && ex->in_file)
            status = gzip_writer_write(ex->files[PART_FEATURES], ",", 1, err);
        ex->in_file += c->shown;
        for (int part = 0; part < PARTS && !status; part++)
            if (c->parts[part].length)
                status = gzip_writer_write(ex->files[part], c->parts[part].data, c->parts[part].length, err);
    }
    return status;
}

static void clear_chunk(struct exporting *ex)
{
    for (size_t i = 0; i < CHUNK; i++) {
        struct chunk_latent *c = &ex->chunk[i];
        latent_contexts_free(c->l.contexts, c->l.n_contexts);
        latent_logits_free(&c->l.logits);
        memset(&c->l, 0, sizeof(c->l));
        for (int part = 0; part < PARTS; part++)
            strbuf_reset(&c->parts[part]);
    }
}

static void report(struct exporting *ex, size_t done)
{
    struct progress p;
    progress_init(&p);
    p.step = done;
    p.steps = ex->columns.n;
    p.phase = "writing";
    monitor_report(ex->monitor, &p);
}

static int write_batches(struct exporting *ex, struct error *err)
{
    int status = STATUS_OK;
    for (size_t first = 0, number = 0; first < ex->columns.n && !status; first += ex->batch, number++) {
        size_t end = ex->columns.n - first < ex->batch ? ex->columns.n : first + ex->batch;
        status = open_batch(ex, number, err);
        for (size_t at = first; at < end && !status; at += CHUNK) {
            size_t n = end - at < CHUNK ? end - at : CHUNK;
            status = monitor_check(ex->monitor, err);
            if (!status)
                status = read_chunk(ex, at, n, err);
            if (!status) {
                parallel_for(n, describe_latent, ex);
                status = write_chunk(ex, n, err);
            }
            clear_chunk(ex);
            report(ex, at + n);
        }
        if (!status)
            status = close_batch(ex, number, err);
    }
    return status;
}

/* ---- What lies beside the batches. ---- */

static void add_source_line(const struct exporting *ex, struct strbuf *out)
{
    const struct export_source *s = &ex->source;
    strbuf_adds(out, "{\"modelId\":");
    json_dump_string(out, s->model, strlen(s->model));
    strbuf_adds(out, ",\"id\":");
    json_dump_string(out, s->source, strlen(s->source));
    strbuf_adds(out, ",\"dataset\":");
    if (s->dataset)
        json_dump_string(out, s->dataset, strlen(s->dataset));
    else
        strbuf_adds(out, "null");
    if (s->context_size)
        strbuf_addf(out, ",\"num_prompts\":%zu,\"num_tokens_in_prompt\":%zu", s->contexts, s->context_size);
    strbuf_adds(out, "}\n");
}

static int write_about(struct exporting *ex, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int neuronpedia = ex->options->form == INDEX_NEURONPEDIA;
    if (neuronpedia) {
        add_source_line(ex, &text);
    } else {
        add_dashboard_head(ex, &text);
        strbuf_addf(&text, ",\"skipped_indexes\":[%s]}", strbuf_string(&ex->skipped));
    }
    int status = write_beside(ex, neuronpedia ? "source.jsonl" : "skipped_indexes.json", &text, err);
    strbuf_free(&text);
    return status;
}

/* ---- The whole. ---- */

/* Of the index: its text, contexts and their size. */
static int read_source(struct exporting *ex, struct store_txn *t, struct error *err)
{
    json *manifest = store_manifest(t, ex->columns.index, err);
    if (!manifest)
        return err ? err->code : STATUS_STORE;
    artifact_id text = (artifact_id)json_get_integer(json_get(manifest, "references"), "text", 0);
    if (text && store_get(t, text, &ex->text, NULL) == STATUS_OK)
        ex->source.dataset = ex->text.name;
    long long size = json_get_integer(manifest, "context_size", 0),
              contexts = json_get_integer(manifest, "contexts", 0);
    ex->source.context_size = size > 0 ? (size_t)size : 0;
    ex->source.contexts = contexts > 0 ? (size_t)contexts : 0;
    ex->source.tokens = ex->columns.tokens;
    ex->source.hook = ex->sae.facts.hook;
    ex->source.model = ex->place.model;
    ex->source.source = ex->place.source;
    json_free(manifest);
    return STATUS_OK;
}

static int open_model(struct exporting *ex, struct store_txn *t, struct error *err)
{
    const struct sae_facts *facts = &ex->sae.facts;
    if (!facts->model)
        return STATUS_OK;
    int status = model_open(t, facts->model, &ex->model, err);
    if (status)
        return status;
    const struct model_config *config = model_get_config(ex->model);
    ex->source.tokenizer = model_tokenizer(ex->model);
    if (!facts->row_hook)
        return STATUS_OK;
    status = hook_parse(config, facts->row_hook, &ex->hook, err);
    if (status || facts->d_in != hook_width(config, &ex->hook))
        return status;
    ex->logits = array_alloc(CHUNK * config->vocabulary_size, sizeof(float), "logits", err);
    return ex->logits ? STATUS_OK : STATUS_FAILED;
}

static int open_all(struct exporting *ex, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(ex->store, &t, err);
    if (status)
        return status;
    status = opened_sae_open(t, ex->options->sae, &ex->sae, err);
    if (!status && ex->sae.facts.is_meta)
        status =
            error_set(err, STATUS_REFUSED,
                      "%s is a meta-SAE: its index is over decoder rows, for which these files have no form",
                      ex->sae.facts.artifact.name);
    if (!status)
        status = index_columns_read(t, ex->options->sae, &ex->columns, err);
    if (!status && !ex->columns.index)
        status = error_set(err, STATUS_REFUSED, "%s has no index: make one with `index %s --text T`",
                           ex->sae.facts.artifact.name, ex->sae.facts.artifact.name);
    if (!status)
        status = neuronpedia_place_of(t, ex->options->sae, &ex->place, err);
    if (!status)
        status = read_source(ex, t, err);
    if (!status)
        status = open_model(ex, t, err);
    store_end(t);
    return status;
}

static void close_all(struct exporting *ex)
{
    clear_chunk(ex);
    for (size_t i = 0; i < CHUNK; i++)
        for (int part = 0; part < PARTS; part++)
            strbuf_free(&ex->chunk[i].parts[part]);
    for (int part = 0; part < PARTS; part++)
        gzip_writer_abandon(ex->files[part]);
    for (size_t i = 0; i < ex->n_written; i++)
        free(ex->written[i]);
    free(ex->written);
    free(ex->logits);
    strbuf_free(&ex->skipped);
    neuronpedia_place_free(&ex->place);
    index_columns_free(&ex->columns);
    model_free(ex->model);
    opened_sae_close(&ex->sae);
}

int index_export_run(struct store *s, const struct index_export *o, struct monitor *m,
                     struct index_exported *out, struct error *err)
{
    struct exporting ex = {.store = s, .options = o, .monitor = m, .result = out};
    memset(out, 0, sizeof(*out));
    ex.batch = o->batch                       ? o->batch
               : o->form == INDEX_NEURONPEDIA ? NEURONPEDIA_LATENTS
                                              : SAEDASHBOARD_LATENTS;
    int status = open_all(&ex, err);
    if (!status && o->compress && !gzip_supported())
        status = error_set(err, STATUS_REFUSED, "this program was built without zlib: it cannot write gzip");
    if (!status)
        status = prepare_directories(&ex, err);
    if (!status)
        status = write_batches(&ex, err);
    if (!status)
        status = write_about(&ex, err);
    for (size_t i = 0; status && i < ex.n_written; i++)
        unlink(ex.written[i]);
    close_all(&ex);
    return status;
}
