/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the view of a stitch shows, asked of the query thread. A stitch does not change, so that its columns
 * are read once; the SAEs beside it and the labels are read again when the store changes.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/axis.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/latent_page.h"
#include "saescope/tui/stitch_view.h"

enum slot { SLOT_PAGE, SLOT_LABELS, SLOT_SEARCH };

/* ---- The page, on the query thread. ---- */

struct columns_request {
    char *name;
    artifact_id known; /* whose columns are there; 0: none */
};

static void free_request(void *arg)
{
    struct columns_request *r = arg;
    free(r->name);
    free(r);
}

static void free_page(void *arg)
{
    struct stitch_page *p = arg;
    if (!p)
        return;
    stitch_latents_free(&p->latents);
    stitch_path_free(&p->path);
    stitch_facts_free(&p->facts);
    free(p->scaled);
    free(p->added.latents);
    free(p->added.start);
    free(p->removed.latents);
    free(p->removed.start);
    free(p->points);
    free(p);
}

/* Latents by the step they are named with: a counting sort. */
static int group_by_step(const uint32_t *steps, size_t n, size_t n_steps, struct step_latents *out,
                         struct error *err)
{
    out->start = array_zeroed(n_steps + 2, sizeof *out->start, "the path's latents", err);
    out->latents = array_alloc(n + 1, sizeof *out->latents, "the path's latents", err);
    if (!out->start || !out->latents)
        return STATUS_FAILED;
    for (size_t i = 0; i < n; i++)
        if (steps[i] <= n_steps)
            out->start[steps[i] + 1]++;
    for (size_t k = 0; k <= n_steps; k++)
        out->start[k + 1] += out->start[k];
    for (size_t i = 0; i < n; i++)
        if (steps[i] <= n_steps)
            out->latents[out->start[steps[i]]++] = (uint32_t)i;
    /* The starts have moved on to the next ones. */
    memmove(out->start + 1, out->start, (n_steps + 1) * sizeof *out->start);
    out->start[0] = 0;
    return STATUS_OK;
}

double stitch_delta_mse(const struct stitch_page *p, size_t latent)
{
    double divisor = (double)p->facts.tokens * (double)p->facts.d_in;
    return divisor > 0 ? p->latents.delta[latent] / divisor : NAN;
}

static int scale_deltas(struct stitch_page *p, struct error *err)
{
    double *deltas = array_alloc(p->latents.n + 1, sizeof *deltas, "the plot's points", err);
    p->scaled = array_alloc(p->latents.n + 1, sizeof *p->scaled, "the plot's points", err);
    if (!p->scaled || !deltas) {
        free(deltas);
        return STATUS_FAILED;
    }
    p->lowest_cosine = 1;
    for (size_t i = 0; i < p->latents.n; i++) {
        deltas[i] = stitch_delta_mse(p, i);
        p->low = fmin(p->low, deltas[i]);
        p->high = fmax(p->high, deltas[i]);
        p->lowest_cosine = fmin(p->lowest_cosine, (double)p->latents.max_cosine[i]);
    }
    p->linear = symmetric_linear(deltas, p->latents.n);
    for (size_t i = 0; i < p->latents.n; i++)
        p->scaled[i] = (float)symmetric_log(deltas[i], p->linear);
    free(deltas);
    return STATUS_OK;
}

static int read_columns(struct query *q, struct store_txn *t, struct stitch_page *p, struct error *err)
{
    int status = stitch_latents_read(t, &p->facts, &p->latents, err);
    if (status == STATUS_OK && !q->cancelled(q))
        status = stitch_path_read(t, &p->facts, &p->path, err);
    if (status == STATUS_OK && !q->cancelled(q)) {
        stitch_roc(&p->latents, &p->auc, &p->best_threshold);
        status = scale_deltas(p, err);
    }
    if (status == STATUS_OK)
        status = group_by_step(p->path.large_step, p->path.n_large, p->path.n_steps, &p->added, err);
    if (status == STATUS_OK)
        status = group_by_step(p->path.small_step, p->path.n_small, p->path.n_steps, &p->removed, err);
    p->whole = 1;
    return status;
}

static int read_page(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct columns_request *r = arg;
    struct stitch_page *p = xcalloc(1, sizeof *p);
    struct artifact stitch, text;
    int status = store_find(t, ARTIFACT_STITCH, r->name, &stitch, err);
    if (status == STATUS_OK)
        status = stitch_facts_read(t, stitch.id, &p->facts, err);
    if (status == STATUS_OK && stitch.id != r->known)
        status = read_columns(q, t, p, err);
    if (status == STATUS_OK)
        status = stitch_points_read(t, &p->facts, &p->points, &p->n_points, err);
    if (status == STATUS_OK && store_get(t, p->facts.text, &text, NULL) == STATUS_OK)
        memcpy(p->text_name, text.name, sizeof p->text_name);
    if (status != STATUS_OK) {
        free_page(p);
        return status;
    }
    *result = p;
    return STATUS_OK;
}

/* ---- Rows. ---- */

enum stitch_list stitch_list_of(enum latent_class c)
{
    return c == LATENT_NOVEL ? LIST_NOVEL : c == LATENT_RECONSTRUCTION ? LIST_RECONSTRUCTION : LIST_UNDECIDED;
}

size_t stitch_rows_count(const struct stitch_state *s, enum stitch_list list)
{
    const struct stitch_page *p = s->page;
    if (!p)
        return 0;
    if (list != LIST_STEP)
        return s->n_rows[list];
    return p->added.start[s->step + 1] - p->added.start[s->step] + p->removed.start[s->step + 1] -
           p->removed.start[s->step];
}

uint32_t stitch_row(const struct stitch_state *s, enum stitch_list list, size_t i)
{
    const struct stitch_page *p = s->page;
    if (list != LIST_STEP)
        return s->rows[list][i];
    size_t added = p->added.start[s->step + 1] - p->added.start[s->step];
    return i < added ? p->added.latents[p->added.start[s->step] + i]
                     : p->removed.latents[p->removed.start[s->step] + i - added] | ROW_SMALL;
}

int stitch_selected_row(const struct stitch_state *s, uint32_t *row)
{
    size_t at = s->lists[s->shown].cursor;
    if (at >= stitch_rows_count(s, s->shown))
        return 0;
    *row = stitch_row(s, s->shown, at);
    return 1;
}

struct sort_row {
    double value; /* ascending */
    uint32_t latent;
};

static int compare_rows(const void *a, const void *b)
{
    const struct sort_row *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

/* What helps most, is nearest, fires most or comes first stands on top. */
static double sort_value(const struct stitch_page *p, enum stitch_key key, size_t latent)
{
    switch (key) {
    case SORT_DELTA:
        return p->latents.delta[latent];
    case SORT_COSINE:
        return -(double)p->latents.max_cosine[latent];
    case SORT_FIRED:
        return -(double)p->latents.fired[latent];
    case SORT_STEP:
        return p->path.large_step[latent];
    default:
        return (double)latent;
    }
}

static void sort_list(struct stitch_state *s, enum stitch_list list)
{
    size_t n = s->n_rows[list];
    struct sort_row *rows = xcalloc(n + 1, sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        double value = sort_value(s->page, s->sort, s->rows[list][i]);
        rows[i] = (struct sort_row){s->reverse ? -value : value, s->rows[list][i]};
    }
    qsort(rows, n, sizeof *rows, compare_rows);
    for (size_t i = 0; i < n; i++)
        s->rows[list][i] = rows[i].latent;
    free(rows);
}

void stitch_sort(struct stitch_state *s)
{
    for (int list = 0; s->page && list < LIST_STEP; list++)
        sort_list(s, (enum stitch_list)list);
}

static void fill_rows(struct stitch_state *s)
{
    const struct stitch_latents *l = &s->page->latents;
    for (int list = 0; list < LIST_STEP; list++) {
        free(s->rows[list]);
        s->rows[list] = xcalloc(l->n + 1, sizeof *s->rows[list]);
        s->n_rows[list] = 0;
    }
    for (size_t i = 0; i < l->n; i++) {
        enum stitch_list list = stitch_list_of((enum latent_class)l->classes[i]);
        s->rows[list][s->n_rows[list]++] = (uint32_t)i;
    }
    stitch_sort(s);
}

double stitch_least_threshold(const struct stitch_page *p)
{
    return fmin(0, floor(p->lowest_cosine * 100) / 100);
}

void stitch_page_came(struct stitch_state *s)
{
    const struct stitch_page *p = s->page;
    if (!s->threshold_given)
        s->threshold = p->facts.threshold;
    s->step = s->step < p->path.n_steps ? s->step : p->path.n_steps;
    fill_rows(s);
    for (int list = 0; list < STITCH_LISTS; list++) {
        list_set_count(&s->lists[list], stitch_rows_count(s, (enum stitch_list)list));
        if (s->wanted[list] < s->lists[list].n)
            s->lists[list].cursor = s->wanted[list];
        s->wanted[list] = SIZE_MAX;
    }
}

static void forget_search(struct stitch_state *s)
{
    free(s->pattern);
    free(s->matches[0]);
    free(s->matches[1]);
    s->pattern = NULL;
    s->matches[0] = s->matches[1] = NULL;
}

static int page_done(struct view *v, void *result, int status, const struct error *err)
{
    struct stitch_state *s = v->data;
    struct stitch_page *new = result;
    free(s->error);
    s->error = status == STATUS_OK ? NULL : xstrdup(err->message);
    if (status != STATUS_OK)
        return INVALID_DRAW;
    if (new->whole) {
        free_page(s->page);
        s->page = new;
        forget_search(s);
        stitch_page_came(s);
    } else { /* the columns are there */
        struct stitch_page old = *s->page;
        s->page->facts = new->facts;
        s->page->points = new->points;
        s->page->n_points = new->n_points;
        memcpy(s->page->text_name, new->text_name, sizeof new->text_name);
        *new = (struct stitch_page){.facts = old.facts, .points = old.points};
        free_page(new);
    }
    stitch_points_compare(s->page->points, s->page->n_points, &s->page->path);
    s->labels_stale = 1;
    return INVALID_DRAW;
}

static const struct query_spec page_query = {read_page, page_done, free_page, free_request};

void stitch_load(struct view *v)
{
    const struct stitch_state *s = v->data;
    struct columns_request *r = xcalloc(1, sizeof *r);
    *r = (struct columns_request){xstrdup(v->target), s->page ? s->page->facts.artifact.id : 0};
    query_start(v, SLOT_PAGE, &page_query, r);
}

/* ---- Labels of the rows on the screen. ---- */

struct labels_request {
    artifact_id large, small;
    struct row_labels *labels;
};

static void free_labels(void *arg)
{
    struct row_labels *l = arg;
    for (size_t i = 0; l && i < l->n; i++)
        free(l->texts[i]);
    if (l) {
        free(l->texts);
        free(l->rows);
    }
    free(l);
}

static void free_labels_request(void *arg)
{
    struct labels_request *r = arg;
    free_labels(r->labels);
    free(r);
}

static int read_labels(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    struct labels_request *r = arg;
    (void)err;
    for (size_t i = 0; i < r->labels->n && !q->cancelled(q); i++) {
        uint32_t row = r->labels->rows[i];
        r->labels->texts[i] = page_label(t, row & ROW_SMALL ? r->small : r->large, row & ~ROW_SMALL, NULL);
    }
    *result = r->labels;
    r->labels = NULL;
    return STATUS_OK;
}

static int labels_done(struct view *v, void *result, int status, const struct error *err)
{
    struct stitch_state *s = v->data;
    if (status != STATUS_OK) {
        app_message(v->app, 1, "%s", err->message);
        return INVALID_NONE;
    }
    free_labels(s->labels);
    s->labels = result;
    return INVALID_DRAW;
}

static const struct query_spec labels_query = {read_labels, labels_done, free_labels, free_labels_request};

const char *stitch_label(const struct stitch_state *s, uint32_t row)
{
    for (size_t i = 0; s->labels && i < s->labels->n; i++)
        if (s->labels->rows[i] == row)
            return s->labels->texts[i] ? s->labels->texts[i] : "";
    return NULL;
}

/* Adds the rows of a list that are shown, and a screen before and after. */
static void add_shown(const struct stitch_state *s, enum stitch_list list, struct row_labels *out)
{
    size_t n = stitch_rows_count(s, list), top = s->lists[list].top;
    size_t height = s->lists[list].height > 0 ? (size_t)s->lists[list].height : 0;
    size_t first = top > height ? top - height : 0, last = top + 2 * height < n ? top + 2 * height : n;
    out->rows = xreallocarray(out->rows, out->n + 3 * height + 1, sizeof *out->rows);
    for (size_t i = first; i < last; i++)
        out->rows[out->n++] = stitch_row(s, list, i);
}

static int labels_there(const struct stitch_state *s, enum stitch_list list)
{
    size_t n = stitch_rows_count(s, list), top = s->lists[list].top;
    size_t height = s->lists[list].height > 0 ? (size_t)s->lists[list].height : 0;
    for (size_t i = top; i < n && i < top + height; i++)
        if (!stitch_label(s, stitch_row(s, list, i)))
            return 0;
    return 1;
}

void stitch_want_labels(struct view *v)
{
    struct stitch_state *s = v->data;
    if (query_busy(v, SLOT_LABELS) ||
        (!s->labels_stale && labels_there(s, s->class_shown) && labels_there(s, LIST_STEP)))
        return;
    struct labels_request *r = xcalloc(1, sizeof *r);
    *r = (struct labels_request){s->page->facts.large, s->page->facts.small, xcalloc(1, sizeof *r->labels)};
    add_shown(s, s->class_shown, r->labels);
    add_shown(s, LIST_STEP, r->labels);
    r->labels->texts = xcalloc(r->labels->n + 1, sizeof *r->labels->texts);
    s->labels_stale = 0;
    query_start(v, SLOT_LABELS, &labels_query, r);
}

/* ---- Search in labels: those that match are asked for once, then `n` and `N` step through the list. ---- */

struct search_request {
    artifact_id saes[2];
    size_t n[2]; /* latents */
    char *pattern;
};
struct search_answer {
    unsigned char *matches[2];
};

static void free_search_request(void *arg)
{
    struct search_request *r = arg;
    free(r->pattern);
    free(r);
}

static void free_answer(void *arg)
{
    struct search_answer *a = arg;
    if (!a)
        return;
    free(a->matches[0]);
    free(a->matches[1]);
    free(a);
}

static int read_matches(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct search_request *r = arg;
    struct search_answer *a = xcalloc(1, sizeof *a);
    int status = STATUS_OK;
    for (int which = 0; which < 2 && status == STATUS_OK && !q->cancelled(q); which++) {
        struct search_result *found = NULL;
        size_t n = 0;
        unsigned char *marks = a->matches[which] = array_zeroed(r->n[which] / 8 + 1, 1, "matches", err);
        status = marks ? search_labels(t, r->saes[which], r->pattern, &found, &n, err) : STATUS_FAILED;
        for (size_t i = 0; status == STATUS_OK && i < n; i++)
            if (found[i].latent < r->n[which])
                marks[found[i].latent / 8] |= (unsigned char)(1u << found[i].latent % 8);
        free(found);
    }
    if (status != STATUS_OK) {
        free_answer(a);
        return status;
    }
    *result = a;
    return STATUS_OK;
}

int stitch_is_match(const struct stitch_state *s, uint32_t row)
{
    const unsigned char *marks = s->matches[row & ROW_SMALL ? 1 : 0];
    uint32_t latent = row & ~ROW_SMALL;
    return marks && marks[latent / 8] >> latent % 8 & 1;
}

static int step_to_match(struct stitch_state *s, int direction)
{
    struct list *list = &s->lists[s->shown];
    size_t n = stitch_rows_count(s, s->shown), at = list->cursor;
    for (size_t k = 1; k <= n; k++) {
        size_t i = row_round(at, k, n, direction);
        if (stitch_is_match(s, stitch_row(s, s->shown, i))) {
            list->cursor = i;
            return 0;
        }
    }
    return -1;
}

static int matches_done(struct view *v, void *result, int status, const struct error *err)
{
    struct stitch_state *s = v->data;
    struct search_answer *a = result;
    if (status != STATUS_OK) {
        forget_search(s);
        app_message(v->app, 1, "%s", err->message);
        return INVALID_DRAW;
    }
    for (int which = 0; which < 2; which++) {
        free(s->matches[which]);
        s->matches[which] = a->matches[which];
    }
    free(a);
    if (step_to_match(s, s->direction) != 0) {
        char *shown = displayable_string(s->pattern);
        app_message(v->app, 1, "no label of this list matches %s", shown);
        free(shown);
    }
    return INVALID_DRAW;
}

static const struct query_spec search_query = {read_matches, matches_done, free_answer, free_search_request};

int stitch_search(struct view *v, const char *pattern, int direction)
{
    struct stitch_state *s = v->data;
    if (!s->page)
        return -1;
    s->direction = direction;
    if (s->pattern && s->matches[0] && strcmp(s->pattern, pattern) == 0)
        return step_to_match(s, direction);
    forget_search(s);
    s->pattern = xstrdup(pattern);
    struct search_request *r = xcalloc(1, sizeof *r);
    const struct stitch_facts *f = &s->page->facts;
    *r = (struct search_request){{f->large, f->small}, {f->n_large, f->n_small}, xstrdup(pattern)};
    query_start(v, SLOT_SEARCH, &search_query, r);
    return 0; /* the answer comes later */
}

void stitch_free(struct stitch_state *s)
{
    free_page(s->page);
    free(s->error);
    for (int list = 0; list < LIST_STEP; list++)
        free(s->rows[list]);
    free_labels(s->labels);
    forget_search(s);
}
