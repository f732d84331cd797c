/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Others' files as an index. Rows of latents come first, then those of contexts; what belongs to a latent is
 * held in the record's own form until there are PENDING_BYTES of it, and then joined to what the latent has
 * already.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/import_records.h"
#include "saescope/analysis/import_rows.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/index_texts.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/json_items.h"
#include "saescope/files/json_lines.h"
#include "saescope/formats/neuronpedia.h"

#define PENDING_BYTES ((size_t)64 << 20)

/* What is known of a latent before all rows are read. */
struct latent_state {
    uint64_t fired;
    double fraction;
    uint32_t seen; /* its tokens in contexts */
    unsigned char has_row, has_fired;
};

struct importing {
    struct store *store;
    const struct index_import *options;
    struct monitor *monitor;
    enum index_form form;
    struct artifact sae;
    size_t d_sae;
    artifact_id index;
    struct text_collector *texts;
    struct latent_state *latents; /* [d_sae] */
    float *max, *min, *mean;      /* [d_sae]; NaN: not known */
    uint32_t *histogram;          /* [d_sae, INDEX_BINS] */
    struct pending_records records;
    uint64_t tokens;      /* the rows' */
    uint64_t done, bytes; /* of the files */
    struct neuronpedia_origin origin;
    struct index_imported *result;
};

/* ---- Rows. ---- */

static int add_logits(struct importing *im, size_t latent, const struct imported_row *row, struct error *err)
{
    struct strbuf *b = &im->records.logits[latent];
    const struct imported_logit *lists[2] = {row->positive, row->negative};
    const size_t counts[2] = {row->n_positive, row->n_negative};
    if (!counts[0] && !counts[1])
        return STATUS_OK;
    strbuf_addc(b, (char)counts[0]);
    strbuf_addc(b, (char)counts[1]);
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < counts[side]; i++) {
            uint32_t token;
            int status = text_collector_token(im->texts, lists[side][i].text, lists[side][i].n, &token, err);
            if (status)
                return status;
            record_add_float(b, lists[side][i].value);
            record_add_u32(b, token);
        }
    im->records.bytes += b->length;
    return STATUS_OK;
}

static int take_feature(struct importing *im, const json *row, size_t latent, const char *where,
                        struct error *err)
{
    struct latent_state *l = &im->latents[latent];
    struct imported_row r;
    if (l->has_row)
        return error_set(err, STATUS_REFUSED, "%s: latent %zu has a row already", where, latent);
    int status = import_feature_row(row, where, &r, err);
    if (status)
        return status;
    l->has_row = 1;
    l->has_fired = r.has_fired != 0;
    l->fired = r.fired;
    l->fraction = r.fraction;
    im->max[latent] = (float)r.max;
    im->min[latent] = (float)r.min;
    im->mean[latent] = (float)r.mean;
    im->tokens = r.tokens > im->tokens ? r.tokens : im->tokens;
    memcpy(im->histogram + latent * INDEX_BINS, r.bins, sizeof(r.bins));
    im->result->latents++;
    return add_logits(im, latent, &r, err);
}

static unsigned char interval_of(const struct importing *im, size_t latent, const struct imported_context *c)
{
    double max = (double)im->max[latent];
    if (c->top || !(max > 0))
        return RECORD_INTERVAL_TOP;
    double j = floor(c->bin_middle / max * INDEX_INTERVALS);
    return j < 0 ? 0 : j >= INDEX_INTERVALS ? INDEX_INTERVALS - 1 : (unsigned char)j;
}

static int add_context(struct importing *im, size_t latent, const struct imported_context *c,
                       struct error *err)
{
    struct strbuf *b = &im->records.contexts[latent];
    uint32_t *tokens = array_alloc(c->n, sizeof(*tokens), "a context", err), context;
    int status = tokens ? STATUS_OK : STATUS_FAILED;
    size_t before = b->length;
    for (size_t i = 0; i < c->n && !status; i++) {
        const json *text = json_at(c->tokens, i);
        status =
            text_collector_token(im->texts, json_string(text, ""), json_string_length(text), &tokens[i], err);
    }
    if (!status)
        status = text_collector_context(im->texts, c->number, tokens, c->n, &context, err);
    free(tokens);
    if (status)
        return status;
    record_add_context(b, &(struct record_context){context, c->values[c->position], c->position, c->n_active,
                                                   interval_of(im, latent, c)});
    for (size_t i = 0; i < c->n; i++)
        if (c->values[i] > 0)
            record_add_pair(b, i, c->values[i]);
    im->records.bytes += b->length - before;
    im->result->contexts++;
    return STATUS_OK;
}

/* Without a row, or one that says nothing of them, its contexts tell the count and the maximum. */
static void note_context(struct importing *im, size_t latent, const struct imported_context *c)
{
    struct latent_state *l = &im->latents[latent];
    if (c->top && l->seen <= UINT32_MAX - c->n_active)
        l->seen += (uint32_t)c->n_active;
    if (!im->latents[latent].has_row)
        for (size_t i = 0; i < c->n; i++)
            if (!((double)im->max[latent] >= (double)c->values[i]))
                im->max[latent] = c->values[i];
}

static int take_context(struct importing *im, const json *row, size_t latent, const char *where,
                        struct error *err)
{
    struct imported_context c;
    int status = import_context_row(row, im->form, where, &c, err);
    if (!status && c.n) {
        note_context(im, latent, &c);
        status = add_context(im, latent, &c, err);
    }
    import_context_free(&c);
    return status;
}

static int between_rows(struct importing *im, uint64_t position, struct error *err)
{
    struct progress p;
    progress_init(&p);
    p.step = im->done + position;
    p.steps = im->bytes;
    p.phase = "reading";
    monitor_report(im->monitor, &p);
    int status = monitor_check(im->monitor, err);
    return !status && im->records.bytes > PENDING_BYTES
               ? pending_flush(&im->records, im->store, im->index, im->monitor, err)
               : status;
}

/* ---- Files. ---- */

static int read_lines(struct importing *im, const char *path, int contexts, struct error *err)
{
    struct json_lines *lines;
    int status = json_lines_open(path, &lines, err);
    for (json *row = NULL; !status; json_free(row)) {
        size_t latent;
        status = json_lines_next(lines, &row, err);
        if (status || !row)
            break;
        const char *where = json_lines_where(lines);
        status = neuronpedia_same_origin(&im->origin, row, where, err);
        if (!status)
            status = neuronpedia_index(row, "index", where, im->d_sae, &latent, err);
        if (!status)
            status = contexts ? take_context(im, row, latent, where, err)
                              : take_feature(im, row, latent, where, err);
        if (!status)
            status = between_rows(im, json_lines_position(lines), err);
    }
    if (!status)
        im->done += json_lines_position(lines);
    json_lines_close(lines);
    return status;
}

static int take_dashboard_feature(struct importing *im, const json *row, const char *where, struct error *err)
{
    const json *activations = json_get(row, "activations");
    size_t latent;
    int status = neuronpedia_index(row, "feature_index", where, im->d_sae, &latent, err);
    if (!status)
        status = take_feature(im, row, latent, where, err);
    if (!status && !json_is_null(activations) && !json_is_array(activations))
        status = error_set(err, STATUS_REFUSED, "%s: its activations are no list", where);
    for (size_t i = 0; i < json_length(activations) && !status; i++) {
        const json *context = json_at(activations, i);
        status = json_is_object(context)
                     ? take_context(im, context, latent, where, err)
                     : error_set(err, STATUS_REFUSED, "%s: activation %zu is no object", where, i);
    }
    return status;
}

static int read_dashboard(struct importing *im, const char *path, struct error *err)
{
    struct json_items *items;
    int status = json_items_open(path, "features", &items, err);
    for (json *row = NULL; !status; json_free(row)) {
        status = json_items_next(items, &row, err);
        if (status || !row)
            break;
        status = take_dashboard_feature(im, row, json_items_where(items), err);
        if (!status)
            status = between_rows(im, json_items_position(items), err);
    }
    if (!status)
        im->done += json_items_position(items);
    json_items_close(items);
    return status;
}

struct found_files {
    struct batch_files features, activations;
};

static const char *const dashboard_endings[] = {".json", ".json.gz", NULL};

static int find_files(struct importing *im, struct found_files *f, struct error *err)
{
    const char *directory = im->options->directory;
    char *features = path_join(directory, "features"), *activations = path_join(directory, "activations");
    int folders = path_is_directory(features), status = STATUS_OK;
    memset(f, 0, sizeof(*f));
    im->form = im->options->form >= 0 ? (enum index_form)im->options->form
               : folders              ? INDEX_NEURONPEDIA
                                      : INDEX_SAEDASHBOARD;
    if (!path_is_directory(directory)) {
        char *shown = displayable_string(directory);
        status = error_set(err, STATUS_REFUSED, "%s: no such directory", shown);
        free(shown);
    } else if (im->form == INDEX_SAEDASHBOARD) {
        status = batch_files_find(directory, dashboard_endings, &f->features, err);
    } else {
        if (folders)
            status = batch_files_find(features, json_lines_endings, &f->features, err);
        if (!status && path_is_directory(activations))
            status = batch_files_find(activations, json_lines_endings, &f->activations, err);
    }
    if (!status && !f->features.n) {
        char *shown = displayable_string(directory);
        status = error_set(
            err, STATUS_REFUSED,
            "%s: neither features/batch-N.jsonl (Neuronpedia) nor batch-N.json (SAEDashboard) is there",
            shown);
        free(shown);
    }
    im->bytes = f->features.bytes + f->activations.bytes;
    free(features);
    free(activations);
    return status;
}

static int read_files(struct importing *im, struct error *err)
{
    struct found_files f;
    int status = find_files(im, &f, err);
    for (size_t i = 0; i < f.features.n && !status; i++)
        status = im->form == INDEX_NEURONPEDIA ? read_lines(im, f.features.paths[i], 0, err)
                                               : read_dashboard(im, f.features.paths[i], err);
    for (size_t i = 0; i < f.activations.n && !status; i++)
        status = read_lines(im, f.activations.paths[i], 1, err);
    batch_files_free(&f.features);
    batch_files_free(&f.activations);
    return status ? status : pending_flush(&im->records, im->store, im->index, im->monitor, err);
}

/* ---- Columns. ---- */

/* Of how many tokens the counts are. */
static int find_tokens(struct importing *im, uint64_t *tokens, struct error *err)
{
    double fired = 0, fraction = 0;
    uint64_t most = 0;
    int unknown = 0;
    *tokens = im->options->tokens ? im->options->tokens : im->tokens;
    for (size_t i = 0; i < im->d_sae; i++) {
        const struct latent_state *l = &im->latents[i];
        if (l->has_fired && l->fired > most)
            most = l->fired;
        if (l->has_fired && l->fraction > 0) {
            fired += (double)l->fired;
            fraction += l->fraction;
        }
        unknown |= l->has_row && (l->has_fired ? l->fired > 0 : l->fraction > 0);
    }
    if (!*tokens && fraction > 0)
        *tokens = (uint64_t)llround(fired / fraction);
    if (!*tokens && unknown)
        return error_set(
            err, STATUS_REFUSED,
            "the files do not tell how many tokens their statistics are over: give it with --tokens N");
    if (im->options->tokens && most > im->options->tokens)
        return error_set(err, STATUS_REFUSED, "a latent fired %llu times: --tokens %llu is too few",
                         (unsigned long long)most, (unsigned long long)im->options->tokens);
    *tokens = *tokens < most ? most : *tokens;
    return STATUS_OK;
}

static uint32_t fired_of(const struct latent_state *l, uint64_t tokens)
{
    if (l->has_fired)
        return (uint32_t)l->fired;
    if (l->has_row && l->fraction > 0) {
        double n = round(l->fraction * (double)tokens);
        return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    }
    return l->seen;
}

static int put_column(struct importing *im, const char *name, enum dtype dtype, size_t columns,
                      const void *data, struct error *err)
{
    struct tensor column = {
        .dtype = dtype, .ndim = columns > 1 ? 2 : 1, .shape = {im->d_sae, columns}, .data = data};
    return store_tensor_put(im->store, im->index, name, &column, err);
}

static int write_columns(struct importing *im, uint64_t tokens, struct error *err)
{
    uint32_t *fired = array_alloc(im->d_sae, sizeof(*fired), "columns", err);
    if (!fired)
        return STATUS_FAILED;
    for (size_t i = 0; i < im->d_sae; i++) {
        fired[i] = fired_of(&im->latents[i], tokens);
        if (!fired[i])
            im->max[i] = im->min[i] = im->mean[i] = 0;
        if (isnan(im->max[i]))
            im->max[i] = 0;
        if (isnan(im->min[i]) || im->min[i] > im->max[i])
            im->min[i] = 0;
    }
    int status = put_column(im, "fired", DTYPE_U32, 1, fired, err);
    if (!status)
        status = put_column(im, "max", DTYPE_F32, 1, im->max, err);
    if (!status)
        status = put_column(im, "min", DTYPE_F32, 1, im->min, err);
    if (!status)
        status = put_column(im, "mean", DTYPE_F32, 1, im->mean, err);
    if (!status)
        status = put_column(im, "histogram", DTYPE_U32, INDEX_BINS, im->histogram, err);
    free(fired);
    return status;
}

static int publish(struct importing *im, uint64_t tokens, struct error *err)
{
    json *manifest = json_new_object(), *references = json_new_object(), *source = json_new_object();
    json_set(source, "format", json_new_string(index_form_names[im->form]));
    json_set(source, "path", json_new_string(im->options->directory));
    if (im->origin.model) {
        json_set(source, "model", json_new_string(im->origin.model));
        json_set(source, "source", json_new_string(im->origin.source));
    }
    json_set(manifest, "text_tokens", json_new_integer((long long)tokens));
    json_set(manifest, "contexts", json_new_integer((long long)text_collector_contexts(im->texts)));
    json_set(manifest, "source", source);
    json_set(references, "sae", json_new_integer((long long)im->sae.id));
    json_set(manifest, "references", references);
    int status = text_collector_finish(im->texts, err);
    if (status) {
        json_free(manifest);
        return status;
    }
    status = store_publish(im->store, im->index, manifest, err);
    if (!status)
        im->index = 0;
    return status;
}

/* ---- The whole. ---- */

static int open_sae(struct importing *im, struct error *err)
{
    struct store_txn *t;
    struct sae_facts facts;
    int status = store_begin(im->store, &t, err);
    if (status)
        return status;
    status = sae_facts_read(t, im->options->sae, &facts, err);
    if (!status) {
        im->sae = facts.artifact;
        im->d_sae = facts.d_sae;
        if (facts.is_meta)
            status = error_set(err, STATUS_REFUSED, "%s is a meta-SAE: its index is over decoder rows",
                               im->sae.name);
        else if (facts.index && !im->options->replace)
            status = error_set(err, STATUS_REFUSED,
                               "%s has an index already: --replace puts this in its place", im->sae.name);
        sae_facts_free(&facts);
    }
    store_end(t);
    return status;
}

static float *unknown_column(size_t n, struct error *err)
{
    float *x = array_alloc(n, sizeof(*x), "columns", err);
    for (size_t i = 0; x && i < n; i++)
        x[i] = NAN;
    return x;
}

static int allocate(struct importing *im, struct error *err)
{
    im->latents = array_zeroed(im->d_sae, sizeof(*im->latents), "latents", err);
    im->histogram = array_zeroed(im->d_sae, INDEX_BINS * sizeof(*im->histogram), "columns", err);
    im->max = unknown_column(im->d_sae, err);
    im->min = unknown_column(im->d_sae, err);
    im->mean = unknown_column(im->d_sae, err);
    return im->latents && im->histogram && im->max && im->min && im->mean ? STATUS_OK : STATUS_FAILED;
}

static void close_all(struct importing *im)
{
    text_collector_free(im->texts);
    if (im->index)
        store_abandon(im->store, im->index);
    pending_free(&im->records);
    neuronpedia_origin_free(&im->origin);
    free(im->latents);
    free(im->histogram);
    free(im->max);
    free(im->min);
    free(im->mean);
}

int index_import_run(struct store *s, const struct index_import *o, struct monitor *m,
                     struct index_imported *out, struct error *err)
{
    struct importing im = {.store = s, .options = o, .monitor = m, .result = out};
    memset(out, 0, sizeof(*out));
    int status = open_sae(&im, err);
    if (!status)
        status = allocate(&im, err);
    if (!status)
        status = pending_init(&im.records, im.d_sae, err);
    if (!status)
        status = store_create(s, ARTIFACT_INDEX, NULL, 0, &im.index, err);
    if (!status)
        status = text_collector_new(s, im.index, &im.texts, err);
    if (!status)
        status = read_files(&im, err);
    if (!status)
        status = find_tokens(&im, &out->tokens, err);
    if (!status)
        status = write_columns(&im, out->tokens, err);
    if (!status)
        status = publish(&im, out->tokens, err);
    close_all(&im);
    return status;
}
