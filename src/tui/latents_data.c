/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the list of latents shows, asked of the query thread. The columns are loaded once with the order that
 * sort and filter give, and again when one of them or the store changes; labels are fetched for the rows on
 * the screen and a screen around them.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/latent_page.h"
#include "saescope/tui/latents_view.h"

/* ---- The table, on the query thread. ---- */

struct table_request {
    char *sae, *filter;
    enum latent_key sort;
    int reverse;
    struct nearest_in *compared;
};
struct table_answer {
    struct latent_table *table;
    struct artifact meta; /* of an SAE: its meta-SAE; of a meta-SAE: its base */
    struct artifact ground;
    char *text_name;
    char *filter;
};

static void free_request(void *arg)
{
    struct table_request *r = arg;
    free(r->sae);
    free(r->filter);
    nearest_in_free(r->compared);
    free(r);
}

static void free_answer(void *arg)
{
    struct table_answer *a = arg;
    if (!a)
        return;
    latent_table_free(a->table);
    free(a->text_name);
    free(a->filter);
    free(a);
}

/* What the table's header names: the meta-SAE or the base, and the text of the index. */
static void read_names(struct store_txn *t, struct table_answer *a)
{
    const struct sae_facts *f = &a->table->facts;
    struct artifact text;
    artifact_id other = f->is_meta ? f->base : meta_sae_of(t, f->artifact.id);
    if (!other || store_get(t, other, &a->meta, NULL) != STATUS_OK)
        a->meta.id = 0;
    if (store_get(t, f->ground, &a->ground, NULL) != STATUS_OK)
        a->ground = f->artifact;
    json *index = f->index ? store_manifest(t, f->index, NULL) : NULL;
    long long id = json_get_integer(json_get(index, "references"), "text", 0);
    if (id > 0 && store_get(t, (artifact_id)id, &text, NULL) == STATUS_OK)
        a->text_name = xstrdup(text.name);
    json_free(index);
}

/* As long as both SAEs are there. */
static void take_compared(struct store_txn *t, struct latent_table *table, struct nearest_in *n)
{
    struct artifact in;
    if (!n || n->sae != table->facts.artifact.id || n->n != table->n ||
        store_get(t, n->in.id, &in, NULL) != STATUS_OK)
        return;
    latent_table_set_nearest(table, &in, n->cosine, n->nearest, NULL);
    n->cosine = NULL;
    n->nearest = NULL;
}

static int read_table(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    struct table_request *r = arg;
    struct table_answer *a = xcalloc(1, sizeof *a);
    struct artifact sae;
    int status = store_find(t, ARTIFACT_SAE, r->sae, &sae, err);
    if (status == STATUS_OK)
        status = latent_table_open(t, sae.id, &a->table, err);
    if (status == STATUS_OK)
        take_compared(t, a->table, r->compared);
    /* A sort key whose index went away: the numbers themselves. */
    if (status == STATUS_OK)
        a->table->sort_key = latents_column_there(a->table, r->sort) ? r->sort : KEY_LATENT;
    if (status == STATUS_OK && !q->cancelled(q)) {
        a->table->sort_reverse = r->reverse;
        status = latent_table_filter(a->table, t, r->filter, err);
    }
    if (status == STATUS_OK) {
        read_names(t, a);
        a->filter = r->filter ? xstrdup(r->filter) : NULL;
    }
    if (status != STATUS_OK) {
        free_answer(a);
        return status;
    }
    *result = a;
    return STATUS_OK;
}

static void free_labels(void *arg)
{
    struct labels *l = arg;
    for (size_t i = 0; l && i < l->n; i++)
        free(l->texts[i]);
    if (l) {
        free(l->texts);
        free(l->sources);
        free(l->latents);
    }
    free(l);
}

size_t latents_row(const struct latent_table *t, size_t latent)
{
    for (size_t i = 0; i < t->matched; i++)
        if (t->order[i] == latent)
            return i;
    return SIZE_MAX;
}

static void set_error(struct latents *d, const char *message)
{
    free(d->error);
    d->error = message ? xstrdup(message) : NULL;
}

size_t latents_selected(const struct latents *d)
{
    return d->table && d->list.cursor < d->table->matched ? d->table->order[d->list.cursor] : SIZE_MAX;
}

static int table_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latents *d = v->data;
    struct table_answer *a = result;
    if (status != STATUS_OK) {
        /* A filter that cannot be used leaves the list as it is. */
        int asked = strcmp(d->filter ? d->filter : "", d->applied ? d->applied : "") != 0;
        if (!d->table || (status != STATUS_USAGE && !asked))
            set_error(d, err->message);
        free(d->filter);
        d->filter = d->applied ? xstrdup(d->applied) : NULL;
        app_message(v->app, 1, "%s", err->message);
        return INVALID_DRAW;
    }
    size_t latent = d->wanted != SIZE_MAX ? d->wanted : latents_selected(d);
    set_error(d, NULL);
    if (d->table && d->table->facts.artifact.id != a->table->facts.artifact.id) {
        /* Another SAE has the name now. */
        query_cancel(v, SLOT_SEARCH);
        latents_forget_search(d);
    }
    latent_table_free(d->table);
    free(d->text_name);
    free(d->applied);
    d->table = a->table;
    d->applied = a->filter;
    d->meta = a->meta;
    d->ground = a->ground;
    d->text_name = a->text_name;
    free(a);
    d->sort = d->table->sort_key;
    list_set_count(&d->list, d->table->matched);
    size_t row = latent != SIZE_MAX ? latents_row(d->table, latent) : SIZE_MAX;
    if (d->to_top)
        row = 0;
    if (row != SIZE_MAX)
        d->list.cursor = row;
    d->wanted = SIZE_MAX;
    d->to_top = 0;
    free_labels(d->labels);
    d->labels = NULL;
    d->labels_asked = SIZE_MAX;
    query_cancel(v, SLOT_LABELS);
    return INVALID_DRAW;
}

static const struct query_spec table_query = {read_table, table_done, free_answer, free_request};

void latents_load(struct view *v)
{
    const struct latents *d = v->data;
    struct table_request *r = xcalloc(1, sizeof *r);
    *r = (struct table_request){xstrdup(v->target), d->filter ? xstrdup(d->filter) : NULL, d->sort,
                                d->reverse, nearest_in_copy(d->compared)};
    query_start(v, SLOT_TABLE, &table_query, r);
}

/* ---- Labels of the rows on the screen. ---- */

struct labels_request {
    artifact_id sae;
    struct labels *labels;
};

static int read_labels(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    struct labels_request *r = arg;
    (void)err;
    for (size_t i = 0; i < r->labels->n && !q->cancelled(q); i++)
        r->labels->texts[i] = page_label(t, r->sae, r->labels->latents[i], &r->labels->sources[i]);
    *result = r->labels;
    r->labels = NULL;
    return STATUS_OK;
}

static void free_labels_request(void *arg)
{
    struct labels_request *r = arg;
    free_labels(r->labels);
    free(r);
}

static int labels_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latents *d = v->data;
    d->labels_asked = SIZE_MAX;
    if (status != STATUS_OK) {
        app_message(v->app, 1, "%s", err->message);
        return INVALID_NONE;
    }
    free_labels(d->labels);
    d->labels = result;
    return INVALID_DRAW;
}

static const struct query_spec labels_query = {read_labels, labels_done, free_labels, free_labels_request};

/* Asks for the labels of the visible rows, and a screen before and after, unless they are there or coming. */
void latents_want_labels(struct view *v)
{
    struct latents *d = v->data;
    size_t rows = d->list.height > 0 ? (size_t)d->list.height : 0, top = d->list.top;
    size_t end = top + rows < d->table->matched ? top + rows : d->table->matched;
    if (end == top || (d->labels && top >= d->labels->first && end <= d->labels->first + d->labels->n))
        return;
    size_t first = top > rows ? top - rows : 0,
           last = end + rows < d->table->matched ? end + rows : d->table->matched;
    if (d->labels_asked == first)
        return;
    struct labels_request *r = xcalloc(1, sizeof *r);
    struct labels *l = xcalloc(1, sizeof *l);
    *l = (struct labels){first, last - first, xcalloc(last - first, sizeof(uint32_t)),
                         xcalloc(last - first, sizeof(char *)),
                         xcalloc(last - first, sizeof(enum label_source))};
    memcpy(l->latents, d->table->order + first, l->n * sizeof(uint32_t));
    *r = (struct labels_request){d->table->facts.artifact.id, l};
    d->labels_asked = first;
    query_start(v, SLOT_LABELS, &labels_query, r);
}

const char *latents_label(const struct latents *d, size_t row, enum label_source *source)
{
    const struct labels *l = d->labels;
    if (!l || row < l->first || row >= l->first + l->n)
        return NULL;
    if (source)
        *source = l->sources[row - l->first];
    return l->texts[row - l->first] ? l->texts[row - l->first] : "";
}

/* ---- Search: the latents whose labels match are asked for once; then `n` and `N` step through the rows.
 * ---- */

struct search_request {
    artifact_id sae;
    size_t n; /* latents */
    char *pattern;
};

static void free_search_request(void *arg)
{
    struct search_request *r = arg;
    free(r->pattern);
    free(r);
}

static int read_matches(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct search_request *r = arg;
    struct search_result *found = NULL;
    size_t n = 0;
    (void)q;
    int status = search_labels(t, r->sae, r->pattern, &found, &n, err);
    unsigned char *matches = status == STATUS_OK ? array_zeroed(r->n / 8 + 1, 1, "matches", err) : NULL;
    if (status == STATUS_OK && !matches)
        status = STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < n; i++)
        if (found[i].latent < r->n)
            matches[found[i].latent / 8] |= (unsigned char)(1u << found[i].latent % 8);
    free(found);
    *result = matches;
    return status;
}

/* The next row that matches; -1 when there is none. */
static int step_to_match(struct latents *d, int direction)
{
    size_t n = d->table->matched, at = d->list.cursor;
    for (size_t k = 1; k <= n; k++) {
        size_t row = row_round(at, k, n, direction);
        uint32_t latent = d->table->order[row];
        if (d->matches[latent / 8] >> latent % 8 & 1) {
            d->list.cursor = row;
            return 0;
        }
    }
    return -1;
}

static int matches_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latents *d = v->data;
    free(d->matches);
    d->matches = result;
    if (status != STATUS_OK) {
        latents_forget_search(d);
        app_message(v->app, 1, "%s", err->message);
    } else if (step_to_match(d, d->direction) != 0) {
        char *shown = displayable_string(d->pattern);
        app_message(v->app, 1, "no label matches %s", shown);
        free(shown);
    }
    return INVALID_DRAW;
}

static const struct query_spec search_query = {read_matches, matches_done, free, free_search_request};

int latents_search(struct view *v, const char *pattern, int direction)
{
    struct latents *d = v->data;
    if (!d->table)
        return -1;
    d->direction = direction;
    if (d->pattern && d->matches && strcmp(d->pattern, pattern) == 0)
        return step_to_match(d, direction);
    latents_forget_search(d);
    d->pattern = xstrdup(pattern);
    struct search_request *r = xcalloc(1, sizeof *r);
    *r = (struct search_request){d->table->facts.artifact.id, d->table->n, xstrdup(pattern)};
    query_start(v, SLOT_SEARCH, &search_query, r);
    return 0; /* the answer comes later */
}

void latents_forget_search(struct latents *d)
{
    free(d->pattern);
    free(d->matches);
    d->pattern = NULL;
    d->matches = NULL;
}

void latents_free(struct latents *d)
{
    latent_table_free(d->table);
    nearest_in_free(d->compared);
    free_labels(d->labels);
    free(d->text_name);
    free(d->error);
    free(d->filter);
    free(d->applied);
    latents_forget_search(d);
}
