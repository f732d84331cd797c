/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All latents of an SAE with their statistics, in an order. The columns are copied out, so that it outlives
 * the transaction. */
#include "config.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/latent_filter.h"
#include "saescope/analysis/stitch.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/sae/bases.h"

const char *const latent_key_names[] = {"latent",       "fired", "density", "max",   "mean",
                                        "meta_latents", "ev",    "cosine",  "label", NULL};

/* The part of a column of the meta-SAE's index that is about its `base`-th base; *out stays NULL when there
 * is no such column. */
static int read_meta_column(struct store_txn *t, artifact_id index, const struct meta_bases *bases,
                            size_t base, const char *name, enum dtype dtype, void *out, struct error *err)
{
    void **column = out;
    size_t first = bases->first[base], n = bases->first[base + 1] - first;
    if (!store_tensor_exists(t, index, name))
        return STATUS_OK;
    struct store_tensor x;
    int status = store_tensor_open(t, index, name, &x, err);
    if (status)
        return status;
    if (x.dtype != dtype || x.ndim != 1 || x.shape[0] != bases->first[bases->n])
        return error_set(err, STATUS_STORE, "the index column %s is damaged: it does not fit its SAE", name);
    void *values = array_alloc(n, dtype_size(dtype), name, err);
    if (!values)
        return STATUS_FAILED;
    status = store_tensor_read(t, &x, first, n, values, err);
    if (status)
        free(values);
    else
        *column = values;
    return status;
}

/* What the meta-SAE that is shown with the SAE says of its latents. */
static int read_meta_columns(struct latent_table *table, struct store_txn *t, struct error *err)
{
    artifact_id sae = table->facts.artifact.id, meta = meta_sae_of(t, sae);
    artifact_id index = meta ? store_index_of(t, meta) : 0;
    struct meta_bases bases;
    if (!index)
        return STATUS_OK;
    int status = meta_bases_read(t, meta, &bases, err);
    if (status)
        return status;
    size_t base = meta_bases_find(&bases, sae);
    status = read_meta_column(t, index, &bases, base, "base_metas", DTYPE_U8, &table->meta_latents, err);
    if (!status)
        status = read_meta_column(t, index, &bases, base, "base_ev", DTYPE_F32, &table->meta_ev, err);
    meta_bases_free(&bases);
    return status;
}

static int read_columns(struct latent_table *table, struct store_txn *t, struct error *err)
{
    struct index_columns columns;
    artifact_id sae = table->facts.artifact.id;
    int status = index_columns_read(t, sae, &columns, err);
    if (status)
        return status;
    table->tokens = columns.tokens;
    table->fired = columns.fired;
    table->max = columns.max;
    table->mean = columns.mean;
    columns.fired = NULL;
    columns.max = columns.mean = NULL;
    int fits = !table->fired || columns.n == table->n;
    index_columns_free(&columns);
    if (!fits)
        return error_set(err, STATUS_STORE, "the index of %s is damaged: it has another number of latents",
                         table->facts.artifact.name);
    return read_meta_columns(table, t, err);
}

/* ---- Nearest latents of a smaller SAE, as a stitch knows them. ---- */

/* The stitch to this SAE from the widest small one, of these the newest; 0: none. */
static artifact_id stitch_to(struct store_txn *t, artifact_id sae)
{
    struct artifact *all = NULL;
    size_t n = 0;
    artifact_id best = 0;
    long long widest = -1;
    if (store_list(t, ARTIFACT_STITCH, &all, &n, NULL))
        return 0;
    for (size_t i = 0; i < n; i++) {
        json *m = store_manifest(t, all[i].id, NULL);
        long long width = json_get_integer(m, "n_small", 0);
        artifact_id large = (artifact_id)json_get_integer(json_get(m, "references"), "large", 0);
        if (large == sae && (width > widest || (width == widest && all[i].id > best))) {
            best = all[i].id;
            widest = width;
        }
        json_free(m);
    }
    free(all);
    return best;
}

static int read_stitch(struct latent_table *table, struct store_txn *t, struct error *err)
{
    struct stitch_facts facts;
    struct stitch_latents latents;
    artifact_id stitch = stitch_to(t, table->facts.artifact.id);
    if (!stitch)
        return STATUS_OK;
    int status = stitch_facts_read(t, stitch, &facts, err);
    if (status)
        return status;
    status = stitch_latents_read(t, &facts, &latents, err);
    if (!status && latents.n == table->n) {
        latent_table_set_nearest(table, &facts.small_artifact, latents.max_cosine, latents.nearest,
                                 latents.classes);
        latents.max_cosine = NULL;
        latents.nearest = NULL;
        latents.classes = NULL;
    }
    if (!status)
        stitch_latents_free(&latents);
    stitch_facts_free(&facts);
    return status;
}

void latent_table_set_nearest(struct latent_table *table, const struct artifact *in, float *cosine,
                              uint32_t *nearest, uint8_t *classes)
{
    free(table->cosine);
    free(table->nearest);
    free(table->classes);
    table->in = *in;
    table->cosine = cosine;
    table->nearest = nearest;
    table->classes = classes;
}

int latent_table_open(struct store_txn *t, artifact_id sae, struct latent_table **out, struct error *err)
{
    struct latent_table *table = xcalloc(1, sizeof(*table));
    int status = sae_facts_read(t, sae, &table->facts, err);
    if (!status) {
        table->n = table->matched = table->facts.d_sae;
        table->order = array_alloc(table->n, sizeof(*table->order), "the list of latents", err);
        status = table->order ? read_columns(table, t, err) : STATUS_FAILED;
    }
    if (!status)
        status = read_stitch(table, t, err);
    if (status) {
        latent_table_free(table);
        return status;
    }
    for (size_t i = 0; i < table->n; i++)
        table->order[i] = (uint32_t)i;
    *out = table;
    return STATUS_OK;
}

void latent_table_free(struct latent_table *table)
{
    if (!table)
        return;
    sae_facts_free(&table->facts);
    free(table->fired);
    free(table->max);
    free(table->mean);
    free(table->meta_latents);
    free(table->meta_ev);
    free(table->cosine);
    free(table->nearest);
    free(table->classes);
    free(table->order);
    free(table);
}

int latent_key_check(const struct latent_table *table, enum latent_key key, struct error *err)
{
    const char *name = table->facts.artifact.name;
    int needs_index = key == KEY_FIRED || key == KEY_DENSITY || key == KEY_MAX || key == KEY_MEAN;
    if (needs_index && !table->fired)
        return error_set(err, STATUS_REFUSED,
                         "%s has no index, and so no %s: index it first (index %s --text TEXT)", name,
                         latent_key_names[key], name);
    if ((key == KEY_META_LATENTS && !table->meta_latents) || (key == KEY_EV && !table->meta_ev))
        return error_set(err, STATUS_REFUSED,
                         "%s has no indexed meta-SAE, and so no %s: train and index one first", name,
                         latent_key_names[key]);
    if (key == KEY_COSINE && !table->cosine)
        return error_set(
            err, STATUS_REFUSED,
            "no stitch leads to %s, and so no cosine: make one first (stitch NAME --small A --large %s "
            "--text T)",
            name, name);
    return STATUS_OK;
}

double latent_key_value(const struct latent_table *table, enum latent_key key, uint32_t latent)
{
    switch (key) {
    case KEY_LATENT:
        return latent;
    case KEY_FIRED:
        return table->fired[latent];
    case KEY_DENSITY:
        return table->tokens ? (double)table->fired[latent] / (double)table->tokens : NAN;
    case KEY_MAX:
        return (double)table->max[latent];
    case KEY_MEAN:
        return (double)table->mean[latent];
    case KEY_META_LATENTS:
        return table->meta_latents[latent];
    case KEY_EV:
        return (double)table->meta_ev[latent];
    case KEY_COSINE:
        return (double)table->cosine[latent];
    case KEY_LABEL:
    case LATENT_KEYS:
        break;
    }
    return NAN;
}

/* ---- Sorting. ---- */

struct sort_row {
    uint32_t latent;
    int last;     /* dead, without value or label */
    double value; /* ascending */
    const char *text;
    size_t n;
    int reverse; /* of text */
};

/* Capitals (of ASCII) sort with their small letters. */
static int compare_text(const struct sort_row *x, const struct sort_row *y)
{
    size_t n = x->n < y->n ? x->n : y->n;
    for (size_t i = 0; i < n; i++) {
        int a = tolower((unsigned char)x->text[i]), b = tolower((unsigned char)y->text[i]);
        if (a != b)
            return a - b;
    }
    return (x->n > y->n) - (x->n < y->n);
}

static int compare_rows(const void *a, const void *b)
{
    const struct sort_row *x = a, *y = b;
    if (x->last != y->last)
        return x->last - y->last;
    int by_text = 0;
    if (!x->last && x->text && y->text) {
        by_text = compare_text(x, y);
        if (x->reverse)
            by_text = -by_text;
    } else if (!x->last && x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return by_text ? by_text : (x->latent > y->latent) - (x->latent < y->latent);
}

struct label_places {
    struct strbuf text;
    size_t *start, *n; /* [d_sae]; n 0: none */
    size_t n_latents;
};

static int keep_label(const struct label *label, void *arg)
{
    struct label_places *places = arg;
    if (label->latent < places->n_latents && label->text) {
        places->start[label->latent] = places->text.length;
        places->n[label->latent] = label->n;
        strbuf_add(&places->text, label->text, label->n);
    }
    return 0;
}

static int read_labels(const struct latent_table *table, struct store_txn *t, struct label_places *places,
                       struct error *err)
{
    places->n_latents = table->n;
    places->start = array_zeroed(table->n, sizeof(size_t), "labels", err);
    places->n = array_zeroed(table->n, sizeof(size_t), "labels", err);
    if (!places->start || !places->n)
        return STATUS_FAILED;
    return store_labels_each(t, table->facts.artifact.id, keep_label, places, err);
}

static void fill_rows(const struct latent_table *table, const struct label_places *places,
                      enum latent_key key, int reverse, struct sort_row *rows)
{
    /* The latent's own number ascends, other numbers descend. */
    double sign = (key == KEY_LATENT) == !reverse ? 1 : -1;
    int by_activity = key != KEY_LATENT && table->fired;
    for (size_t i = 0; i < table->matched; i++) {
        uint32_t latent = table->order[i];
        struct sort_row *row = &rows[i];
        *row = (struct sort_row){.latent = latent, .reverse = reverse};
        if (key == KEY_LABEL) {
            row->text = strbuf_string(&places->text) + places->start[latent];
            row->n = places->n[latent];
            row->last = row->n == 0;
        } else {
            row->value = sign * latent_key_value(table, key, latent);
            row->last = isnan(row->value) || (by_activity && table->fired[latent] == 0);
        }
    }
}

int latent_table_sort(struct latent_table *table, struct store_txn *t, enum latent_key key, int reverse,
                      struct error *err)
{
    int status = latent_key_check(table, key, err);
    if (status)
        return status;
    struct label_places places = {.text = STRBUF_INIT};
    struct sort_row *rows =
        array_alloc(table->matched ? table->matched : 1, sizeof(*rows), "sorting latents", err);
    status = rows ? STATUS_OK : STATUS_FAILED;
    if (!status && key == KEY_LABEL)
        status = read_labels(table, t, &places, err);
    if (!status) {
        fill_rows(table, &places, key, reverse, rows);
        qsort(rows, table->matched, sizeof(*rows), compare_rows);
        for (size_t i = 0; i < table->matched; i++)
            table->order[i] = rows[i].latent;
        table->sort_key = key;
        table->sort_reverse = reverse;
    }
    free(rows);
    free(places.start);
    free(places.n);
    strbuf_free(&places.text);
    return status;
}

int latent_table_filter(struct latent_table *table, struct store_txn *t, const char *expression,
                        struct error *err)
{
    uint8_t *matches = NULL;
    if (expression) {
        matches = array_zeroed(table->n, 1, "the filter", err);
        int status = matches ? latent_filter_run(table, t, expression, matches, err) : STATUS_FAILED;
        if (status) {
            free(matches);
            return status;
        }
    }
    table->matched = 0;
    for (size_t i = 0; i < table->n; i++)
        if (!matches || matches[i])
            table->order[table->matched++] = (uint32_t)i;
    free(matches);
    return latent_table_sort(table, t, table->sort_key, table->sort_reverse, err);
}
