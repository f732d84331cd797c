/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store: models, texts, SAEs with their meta-SAEs below them, stitches; what jobs are making; the jobs
 * that run. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

#define PANE_JOBS_MAX 4

struct row {
    char *name, *what; /* what: displayable */
    const char *kind;
    artifact_id id, base;
    int is_sae, depth;
    uint64_t size, indexed, bytes; /* size: latents, tokens, or a model's layers */
};

struct rows {
    struct row *rows;
    size_t n;
};

struct store_data {
    struct rows found;
    int loaded;
    struct list list;
    char *wanted; /* name to put the cursor on when the rows are there */
};

static void rows_free(void *all)
{
    struct rows *r = all;
    for (size_t i = 0; i < r->n; i++) {
        free(r->rows[i].name);
        free(r->rows[i].what);
    }
    free(r->rows);
    free(r);
}

/* ---- Fetching. ---- */

static void add_name(struct strbuf *b, struct store_txn *t, artifact_id id, const char *before)
{
    struct artifact a;
    if (id && store_get(t, id, &a, NULL) == STATUS_OK)
        strbuf_addf(b, "%s%s", before, a.name);
}

static void describe_sae(struct row *row, struct store_txn *t, struct strbuf *what)
{
    struct sae_facts f;
    if (sae_facts_read(t, row->id, &f, NULL) != STATUS_OK) {
        strbuf_adds(what, "cannot be read");
        return;
    }
    row->is_sae = 1;
    row->kind = f.is_meta ? "meta-SAE" : "SAE";
    row->size = f.d_sae;
    row->indexed = f.is_meta ? 0 : f.indexed_tokens;
    row->base = f.is_meta ? f.base : 0;
    displayable(what, f.architecture, strlen(f.architecture));
    if (f.k)
        strbuf_addf(what, " k %zu", f.k);
    if (f.hook) {
        strbuf_adds(what, "  ");
        displayable(what, f.hook, strlen(f.hook));
    }
    if (f.is_meta)
        for (size_t i = 0; i < f.n_bases; i++)
            add_name(what, t, f.bases[i], i ? "," : "  of ");
    else
        add_name(what, t, f.model, "  ");
    sae_facts_free(&f);
}

static void describe(struct row *row, struct store_txn *t, enum artifact_kind kind, const json *m)
{
    struct strbuf what = STRBUF_INIT;
    const json *references = json_get(m, "references");
    if (kind == ARTIFACT_MODEL) {
        const char *family = json_get_string(m, "family", "");
        displayable(&what, family, strlen(family));
        strbuf_addf(&what, "  %lld layers  d_model %lld  vocabulary ", json_get_integer(m, "layers", 0),
                    json_get_integer(m, "d_model", 0));
        strbuf_add_grouped(&what, json_get_integer(m, "vocabulary_size", 0));
    } else if (kind == ARTIFACT_TEXT) {
        row->size = (uint64_t)json_get_integer(m, "tokens", 0);
        strbuf_add_grouped(&what, json_get_integer(m, "documents", 0));
        strbuf_adds(&what, " documents");
        add_name(&what, t, (artifact_id)json_get_integer(references, "model", 0), "  ");
    } else if (kind == ARTIFACT_SAE) {
        describe_sae(row, t, &what);
    } else {
        add_name(&what, t, (artifact_id)json_get_integer(references, "small", 0), "small ");
        add_name(&what, t, (artifact_id)json_get_integer(references, "large", 0), "  large ");
    }
    row->what = strbuf_detach(&what);
}

static int append_kind(struct query *q, struct store_txn *t, enum artifact_kind kind, struct rows *out,
                       struct error *err)
{
    struct artifact *all = NULL;
    size_t n = 0;
    int status = store_list(t, kind, &all, &n, err);
    for (size_t i = 0; i < n && status == STATUS_OK && !q->cancelled(q); i++) {
        json *m = store_manifest(t, all[i].id, err);
        if (!m) {
            status = err->code;
            break;
        }
        out->rows = xreallocarray(out->rows, out->n + 1, sizeof *out->rows);
        struct row *row = &out->rows[out->n++];
        *row = (struct row){.name = xstrdup(all[i].name),
                            .kind = artifact_kind_name(kind),
                            .id = all[i].id,
                            .bytes = store_bytes(t, all[i].id)};
        describe(row, t, kind, m);
        json_free(m);
    }
    free(all);
    return status;
}

/* SAEs by size, so that the widths of one training stand in order. */
static int smaller(const void *x, const void *y)
{
    const struct row *a = x, *b = y;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Moves what has `base` below it, one step further in. */
static void add_below(struct row *out, size_t *n, const struct row *saes, size_t n_saes, artifact_id base,
                      int depth)
{
    for (size_t i = 0; i < n_saes; i++)
        if (saes[i].base == base && depth < 8) {
            out[*n] = saes[i];
            out[(*n)++].depth = depth;
            add_below(out, n, saes, n_saes, saes[i].id, depth + 1);
        }
}

static void nest(struct rows *r, size_t first, size_t last)
{
    size_t n = 0, count = last - first;
    if (count == 0)
        return;
    qsort(r->rows + first, count, sizeof *r->rows, smaller);
    struct row *sorted = xcalloc(count, sizeof *sorted);
    add_below(sorted, &n, r->rows + first, count, 0, 0);
    if (n == count)
        memcpy(r->rows + first, sorted, count * sizeof *sorted);
    free(sorted);
}

static int fetch(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    static const enum artifact_kind order[] = {ARTIFACT_MODEL, ARTIFACT_TEXT, ARTIFACT_SAE, ARTIFACT_STITCH};
    struct rows *r = xcalloc(1, sizeof *r);
    int status = STATUS_OK;
    (void)arg;
    *result = r;
    for (size_t i = 0; i < ARRAY_LENGTH(order) && status == STATUS_OK; i++) {
        size_t first = r->n;
        status = append_kind(q, t, order[i], r, err);
        if (order[i] == ARTIFACT_SAE)
            nest(r, first, r->n);
    }
    return status;
}

/* ---- What is being made and is no row yet stands below the others. ---- */

static int is_making(const struct job_status *j)
{
    return *j->makes && !job_state_final(j->state);
}

static const struct row *row_named(const struct store_data *d, const char *name)
{
    for (size_t i = 0; i < d->found.n; i++)
        if (strcmp(d->found.rows[i].name, name) == 0)
            return &d->found.rows[i];
    return NULL;
}

/* The k-th job that makes something that is not there, oldest first; NULL: there are no more. */
static const struct job_status *made(struct view *v, size_t k)
{
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    for (size_t i = n; i-- > 0;)
        if (is_making(&jobs[i]) && !row_named(v->data, jobs[i].makes) && k-- == 0)
            return &jobs[i];
    return NULL;
}

static void count_rows(struct view *v)
{
    struct store_data *d = v->data;
    size_t extra = 0;
    while (made(v, extra))
        extra++;
    list_set_count(&d->list, d->found.n + extra);
}

static int name_of_row(struct view *v, size_t i, const char **name)
{
    struct store_data *d = v->data;
    const struct job_status *j = i < d->found.n ? NULL : made(v, i - d->found.n);
    *name = i < d->found.n ? d->found.rows[i].name : j ? j->makes : "";
    return i < d->found.n;
}

static void put_cursor(struct view *v)
{
    struct store_data *d = v->data;
    for (size_t i = 0; d->wanted && i < d->found.n; i++)
        if (strcmp(d->found.rows[i].name, d->wanted) == 0)
            d->list.cursor = i;
    free(d->wanted);
    d->wanted = NULL;
}

static int fetched(struct view *v, void *result, int status, const struct error *err)
{
    struct store_data *d = v->data;
    struct rows *r = result;
    if (status != STATUS_OK) {
        if (app_store(v->app))
            app_message(v->app, 1, "%s", err->message);
        if (r)
            rows_free(r);
        d->loaded = 1;
        return INVALID_DRAW;
    }
    if (!d->wanted && d->list.cursor < d->found.n)
        d->wanted = xstrdup(d->found.rows[d->list.cursor].name);
    struct rows old = d->found;
    d->found = *r;
    *r = old;
    rows_free(r);
    d->loaded = 1;
    count_rows(v);
    put_cursor(v);
    return INVALID_DRAW;
}

static const struct query_spec fetch_spec = {fetch, fetched, rows_free, NULL};

static int store_refresh(struct view *v)
{
    struct store_data *d = v->data;
    if (app_store(v->app))
        query_start(v, 0, &fetch_spec, NULL);
    else
        d->loaded = 1;
    return INVALID_DRAW;
}

static int store_open_view(struct view *v, const char *target, struct error *err)
{
    (void)target;
    (void)err;
    store_refresh(v);
    return STATUS_OK;
}

/* ---- Drawing. ---- */

static void draw_empty(struct view *v, const struct canvas *c)
{
    static const char *const lines[][2] = {
        {"import model DIR --name NAME", "a model, as Hugging Face has it"},
        {"import text FILE --name NAME --model MODEL", "a text, a document a line"},
        {"train sae NAME --model MODEL --hook HOOK --text TEXT --width W", ""},
    };
    struct store_data *d = v->data;
    if (!d->loaded) {
        canvas_text(c, 1, 2, STYLE_DIM, glyph(GLYPH_ELLIPSIS));
        return;
    }
    if (lines_count(v->app) > 0) {
        canvas_printf(c, 1, 2, STYLE_NORMAL, "%s What the script makes comes in here.",
                      glyph(GLYPH_ELLIPSIS));
        canvas_cursor(c, 1, 2);
        return;
    }
    char *path = displayable_string(app_context(v->app)->store_options.path);
    int y = 1;
    canvas_printf(c, y, 2, STYLE_STRONG,
                  app_store(v->app) ? "The store is empty: %s" : "There is no store yet: %s", path);
    free(path);
    y += 2;
    canvas_text(c, y++, 2, STYLE_NORMAL, "Three commands fill it (type : first):");
    y++;
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++, y++) {
        int x = canvas_ellipsis(c, y, 4, c->width - 5, STYLE_STRONG, lines[i][0]);
        canvas_ellipsis(c, y, x < 46 ? 48 : x + 2, c->width - (x < 46 ? 49 : x + 3), STYLE_NORMAL,
                        lines[i][1]);
    }
    y++;
    canvas_text(c, y++, 2, STYLE_NORMAL,
                "import sae DIR --name NAME brings in an SAE that was trained elsewhere.");
    canvas_text(c, y, 2, STYLE_DIM, "`saescope demo` opens a store with a small model and its SAEs.");
    canvas_cursor(c, 1, 2);
}

/* Whether the job's title names it as one of its words. */
static int names(const struct job_status *j, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strstr(j->title, name); p; p = strstr(p + 1, name))
        if ((p == j->title || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
            return 1;
    return 0;
}

/* What a job is doing with it: "training 42%". */
static void add_state(struct view *v, const char *name, struct strbuf *out)
{
    static const struct {
        const char *kind, *doing;
    } words[] = {
        {"train", "training"}, {"index", "indexing"}, {"evaluate", "evaluating"}, {"import", "importing"}};
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    for (size_t i = n; i-- > 0;) {
        const struct job_status *j = &jobs[i];
        const char *doing = j->kind;
        if (job_state_final(j->state) || !(strcmp(j->makes, name) == 0 || names(j, name)))
            continue;
        for (size_t k = 0; k < ARRAY_LENGTH(words); k++)
            if (strncmp(j->kind, words[k].kind, strlen(words[k].kind)) == 0)
                doing = words[k].doing;
        if (j->state != JOB_RUNNING)
            strbuf_addf(out, "%s, %s", doing, job_state_name(j->state));
        else if (isfinite(j->fraction))
            strbuf_addf(out, "%s %.0f%%", doing, floor(j->fraction * 100));
        else
            strbuf_adds(out, doing);
        return;
    }
}

struct columns {
    int name, size, indexed, bytes, what; /* where they start (name, what) or end */
};

static struct columns lay_out(struct view *v, int width)
{
    struct store_data *d = v->data;
    int longest = 12;
    for (size_t i = 0; i < d->found.n; i++) {
        int w = (int)strlen(d->found.rows[i].name) + 2 * d->found.rows[i].depth;
        longest = w > longest ? w : longest;
    }
    longest = longest > width / 3 ? width / 3 : longest;
    int size = 12 + longest + 11, indexed = size + (width >= 64 ? 12 : 0),
        bytes = indexed + (width >= 100 ? 11 : 0);
    return (struct columns){12, size, indexed, bytes, bytes + 2};
}

static void right_number(const struct canvas *c, int y, int right, enum style style, uint64_t n)
{
    struct strbuf b = STRBUF_INIT;
    strbuf_add_grouped(&b, (long long)n);
    canvas_right(c, y, right, style, strbuf_string(&b));
    strbuf_free(&b);
}

static void draw_heading(const struct canvas *c, const struct columns *at)
{
    canvas_text(c, 0, 2, STYLE_DIM, "kind");
    canvas_text(c, 0, at->name, STYLE_DIM, "name");
    canvas_right(c, 0, at->size, STYLE_DIM, "size");
    if (at->indexed > at->size)
        canvas_right(c, 0, at->indexed, STYLE_DIM, "indexed");
    if (at->bytes > at->indexed)
        canvas_right(c, 0, at->bytes, STYLE_DIM, "bytes");
    canvas_text(c, 0, at->what, STYLE_DIM, "what it is");
}

static void draw_row(struct view *v, const struct canvas *c, int y, size_t i, const struct columns *at)
{
    struct store_data *d = v->data;
    const struct row *row = i < d->found.n ? &d->found.rows[i] : NULL;
    int selected = i == d->list.cursor;
    enum style plain = selected ? STYLE_SELECTED : STYLE_NORMAL, dim = selected ? STYLE_SELECTED : STYLE_DIM;
    const char *name;
    struct strbuf state = STRBUF_INIT, bytes = STRBUF_INIT;
    name_of_row(v, i, &name);
    add_state(v, name, &state);
    canvas_fill(c, y, 0, c->width, plain);
    if (selected)
        canvas_text(c, y, 0, plain, glyph(GLYPH_CURSOR));
    canvas_text(c, y, 2, dim, row ? row->kind : "");
    int indent = row ? 2 * row->depth : 0;
    canvas_ellipsis(c, y, at->name + indent, at->size - 9 - at->name - indent,
                    selected ? plain : STYLE_STRONG, name);
    if (row && row->size)
        right_number(c, y, at->size, plain, row->size);
    if (row && row->indexed && at->indexed > at->size)
        right_number(c, y, at->indexed, plain, row->indexed);
    if (row)
        strbuf_add_bytes(&bytes, row->bytes);
    if (at->bytes > at->indexed)
        canvas_right(c, y, at->bytes, plain, strbuf_string(&bytes));
    int x = at->what;
    if (state.length > 0)
        x = canvas_ellipsis(c, y, x, c->width - x - 1, selected ? plain : STYLE_GOOD, strbuf_string(&state)) +
            2;
    if (row)
        canvas_ellipsis(c, y, x, c->width - x - 1, dim, row->what);
    if (selected)
        canvas_cursor(c, y, 0);
    strbuf_free(&state);
    strbuf_free(&bytes);
}

/* The jobs that are under way, at the bottom. Returns how many rows it took. */
static int draw_jobs(struct view *v, const struct canvas *c)
{
    size_t n, active = app_jobs_active(v->app), shown = 0;
    const struct job_status *jobs = app_jobs(v->app, &n);
    int rows = active < PANE_JOBS_MAX ? (int)active : PANE_JOBS_MAX;
    if (rows == 0 || c->height < rows + 8)
        return 0;
    struct canvas pane = canvas_part(c, c->height - rows - 2, 0, rows + 2, c->width);
    struct canvas in = canvas_box(&pane, STYLE_BORDER, "jobs");
    for (size_t i = n; i-- > 0 && shown < (size_t)rows;)
        if (!job_state_final(jobs[i].state) && jobs[i].state != JOB_INTERRUPTED)
            job_line(&in, (int)shown++, &jobs[i], STYLE_NORMAL);
    return rows + 2;
}

static void store_draw(struct view *v, const struct canvas *c)
{
    struct store_data *d = v->data;
    count_rows(v);
    int below = draw_jobs(v, c);
    struct canvas all = canvas_part(c, 0, 0, c->height - below, c->width);
    if (d->list.n == 0) {
        draw_empty(v, &all);
        return;
    }
    struct columns at = lay_out(v, c->width);
    struct canvas rows = canvas_part(&all, 1, 0, all.height - 1, all.width);
    draw_heading(&all, &at);
    list_layout(&d->list, rows.height);
    for (int y = 0; y < rows.height && d->list.top + (size_t)y < d->list.n; y++)
        draw_row(v, &rows, y, d->list.top + (size_t)y, &at);
    list_scroll_mark(&d->list, &rows);
}

/* ---- Doing. ---- */

static int open_row(struct view *v)
{
    struct store_data *d = v->data;
    const char *name;
    if (d->list.n == 0)
        return INVALID_NONE;
    if (name_of_row(v, d->list.cursor, &name))
        app_open_address(v->app, name);
    else
        app_open(v->app, "jobs", "");
    return INVALID_NONE;
}

static int store_act(struct view *v, const char *action, long count)
{
    struct store_data *d = v->data;
    const char *name;
    if (strcmp(action, "open") == 0)
        return open_row(v);
    if (strcmp(action, "info") == 0 && d->list.n > 0 && name_of_row(v, d->list.cursor, &name)) {
        char *line = xasprintf("info %s", name);
        app_run(v->app, line);
        free(line);
        return INVALID_NONE;
    }
    return list_act(&d->list, action, count);
}

static void store_status(struct view *v, struct strbuf *out)
{
    struct store *s = app_store(v->app);
    const char *path = s ? store_path(s) : app_context(v->app)->store_options.path;
    displayable(out, path, strlen(path));
    if (s && store_is_read_only(s))
        strbuf_adds(out, " (read-only)");
}

static void store_selected(struct view *v, struct strbuf *out)
{
    struct store_data *d = v->data;
    const char *name;
    if (d->list.n > 0 && name_of_row(v, d->list.cursor, &name))
        strbuf_adds(out, name);
}

static void store_restore(struct view *v, const char *place)
{
    struct store_data *d = v->data;
    free(d->wanted);
    d->wanted = xstrdup(place);
}

static int store_search(struct view *v, const char *pattern, int direction)
{
    struct store_data *d = v->data;
    size_t n = d->list.n;
    for (size_t k = 1; k <= n; k++) {
        size_t i = row_round(d->list.cursor, k, n, direction);
        const char *name;
        int there = name_of_row(v, i, &name);
        if (strcasestr(name, pattern) || (there && strcasestr(d->found.rows[i].what, pattern))) {
            d->list.cursor = i;
            return 0;
        }
    }
    return -1;
}

static void store_close_view(struct view *v)
{
    struct store_data *d = v->data;
    struct rows *r = xmalloc(sizeof *r);
    *r = d->found;
    rows_free(r);
    free(d->wanted);
}

static const struct action actions[] = {
    {"info", "i", "tell everything that is known of the row"},
    {NULL, NULL, NULL},
};

const struct view_ops store_view = {
    .name = "store",
    .summary = "what the store holds, and the jobs that run",
    .actions = actions,
    .private_size = sizeof(struct store_data),
    .open = store_open_view,
    .draw = store_draw,
    .act = store_act,
    .status = store_status,
    .hint = "Enter opens  i info  & jobs  Space palette",
    .refresh = store_refresh,
    .selected = store_selected,
    .save_place = store_selected,
    .restore_place = store_restore,
    .search = store_search,
    .close = store_close_view,
};
