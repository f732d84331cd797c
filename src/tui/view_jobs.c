/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Jobs, newest first, and below them the one the cursor is on: its curve and its numbers. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

struct jobs_data {
    struct list list;
    uint64_t selected; /* the job's number, so that new ones do not move the cursor off it */
};

static const struct job_status *current(struct view *v)
{
    struct jobs_data *d = v->data;
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    return d->list.cursor < n ? &jobs[d->list.cursor] : NULL;
}

static void follow(struct view *v)
{
    struct jobs_data *d = v->data;
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    /* From the newest, when that is over, to the newer one that came. */
    int stay = d->list.n > 0 && n > d->list.n && d->list.cursor == 0;
    list_set_count(&d->list, n);
    for (size_t i = 0; i < n; i++)
        if (jobs[i].id == d->selected && !(stay && job_state_final(jobs[i].state)))
            d->list.cursor = i;
    if (d->list.cursor < n)
        d->selected = jobs[d->list.cursor].id;
}

static int jobs_open(struct view *v, const char *target, struct error *err)
{
    struct jobs_data *d = v->data;
    unsigned long long id = 0;
    if (*target && parse_u64(target, 1, UINT64_MAX >> 1, &id) != 0)
        return error_set(err, STATUS_USAGE, "'%s' is no job's number", target);
    jobs_update(v->app, 1);
    d->selected = id;
    follow(v);
    return STATUS_OK;
}

static int jobs_refresh(struct view *v)
{
    (void)v;
    return INVALID_DRAW;
}

/* ---- Drawing. ---- */

static void add_number(struct strbuf *b, const char *name, const char *text)
{
    strbuf_addf(b, "%s%s %s", b->length ? "   " : "", name, text);
}

static void numbers(const struct job_status *j, struct strbuf *b)
{
    const struct progress *p = &j->progress;
    char text[48];
    if (p->phase && j->state == JOB_RUNNING)
        strbuf_adds(b, p->phase);
    if (p->steps) {
        strbuf_adds(b, b->length ? "   " : "");
        progress_add_steps(b, p);
    }
    if (isfinite(p->loss)) {
        snprintf(text, sizeof text, "%.5g", p->loss);
        add_number(b, "loss", text);
    }
    if (isfinite(p->l0)) {
        snprintf(text, sizeof text, "%.1f", p->l0);
        add_number(b, "L0", text);
    }
    if (isfinite(p->explained_variance)) {
        snprintf(text, sizeof text, "%.4f", p->explained_variance);
        add_number(b, "EV", text);
    }
    if (isfinite(p->dead)) {
        snprintf(text, sizeof text, "%.1f%%", p->dead * 100);
        add_number(b, "dead", text);
    }
    if (isfinite(p->rate) && p->unit && j->state == JOB_RUNNING) {
        snprintf(text, sizeof text, "%.0f %s", p->rate, p->unit);
        add_number(b, "at", text);
    }
}

static void times(const struct job_status *j, struct strbuf *b)
{
    if (isfinite(j->elapsed)) {
        strbuf_adds(b, job_state_final(j->state) ? "took " : "");
        strbuf_add_duration(b, j->elapsed);
        strbuf_adds(b, job_state_final(j->state) ? "" : " so far");
    }
    if (isfinite(j->left) && !job_state_final(j->state)) {
        strbuf_adds(b, b->length ? ", " : "");
        strbuf_add_duration(b, j->left);
        strbuf_adds(b, " left");
    }
    if (j->pid > 0 && !job_state_final(j->state))
        strbuf_addf(b, "   process %ld", (long)j->pid);
}

static void draw_curve(const struct canvas *c, const struct job_status *j)
{
    double low = INFINITY, high = -INFINITY;
    char text[32];
    for (size_t i = 0; i < j->n_curve; i++)
        if (isfinite(j->curve[i])) {
            low = fmin(low, j->curve[i]);
            high = fmax(high, j->curve[i]);
        }
    if (!(low <= high) || c->height < 2)
        return;
    snprintf(text, sizeof text, "%.4g", high);
    canvas_right(c, 0, 9, STYLE_DIM, text);
    snprintf(text, sizeof text, "%.4g", low);
    canvas_right(c, c->height - 1, 9, STYLE_DIM, text);
    if (c->height > 2)
        canvas_right(c, c->height / 2, 9, STYLE_DIM, "loss");
    struct canvas plot = canvas_part(c, 0, 10, c->height, c->width - 11);
    canvas_curve(&plot, j->curve, j->n_curve, low, high, STYLE_BAR);
}

static void draw_detail(const struct canvas *c, const struct job_status *j)
{
    struct strbuf title = STRBUF_INIT, b = STRBUF_INIT;
    strbuf_addf(&title, "%llu  %s  %s", (unsigned long long)j->id, j->title, job_state_name(j->state));
    struct canvas in = canvas_box(c, STYLE_BORDER, strbuf_string(&title));
    int y = 0;
    numbers(j, &b);
    if (b.length)
        canvas_ellipsis(&in, y++, 1, in.width - 2, STYLE_NORMAL, strbuf_string(&b));
    strbuf_reset(&b);
    times(j, &b);
    if (b.length)
        canvas_ellipsis(&in, y++, 1, in.width - 2, STYLE_DIM, strbuf_string(&b));
    if (*j->message)
        canvas_ellipsis(&in, y++, 1, in.width - 2, j->state == JOB_FAILED ? STYLE_ERROR : STYLE_NORMAL,
                        j->message);
    struct canvas curve = canvas_part(&in, y, 0, in.height - y, in.width);
    if (j->n_curve > 1)
        draw_curve(&curve, j);
    strbuf_free(&title);
    strbuf_free(&b);
}

static void jobs_draw(struct view *v, const struct canvas *c)
{
    struct jobs_data *d = v->data;
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    follow(v);
    if (n == 0) {
        canvas_text(c, 1, 2, STYLE_NORMAL,
                    "No jobs yet. `train`, `index`, `evaluate` and `import` make some.");
        canvas_cursor(c, 1, 2);
        return;
    }
    int detail = c->height >= 14 ? (c->height - 6 < 14 ? c->height / 2 : 12) : 0;
    struct canvas rows = canvas_part(c, 0, 0, c->height - detail, c->width);
    list_layout(&d->list, rows.height);
    for (int y = 0; y < rows.height && d->list.top + (size_t)y < n; y++) {
        int selected = d->list.top + (size_t)y == d->list.cursor;
        if (selected)
            canvas_fill(&rows, y, 0, rows.width, STYLE_SELECTED);
        job_line(&rows, y, &jobs[d->list.top + (size_t)y], selected ? STYLE_SELECTED : STYLE_NORMAL);
        if (selected) {
            canvas_text(&rows, y, 0, STYLE_SELECTED, glyph(GLYPH_CURSOR));
            canvas_cursor(&rows, y, 0);
        }
    }
    list_scroll_mark(&d->list, &rows);
    if (detail) {
        struct canvas below = canvas_part(c, c->height - detail, 0, detail, c->width);
        draw_detail(&below, &jobs[d->list.cursor]);
    }
}

/* ---- A job's result, much as its command would have printed it. ---- */

struct result {
    uint64_t id;
    struct store *store;
    struct strbuf text;
};

static int keep_bytes(void *arg, const char *bytes, size_t n)
{
    strbuf_add(arg, bytes, n);
    return 0;
}

/* A list would be one long line as text. */
static int has_lists(const json *object)
{
    for (size_t i = 0; i < json_length(object); i++)
        if (json_is_array(json_value_at(object, i)))
            return 1;
    return 0;
}

static int fetch_result(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    struct result *r = arg;
    json *value = NULL;
    (void)q;
    (void)t;
    *result = r;
    int status = job_result(r->store, r->id, &value, err);
    if (status != STATUS_OK)
        return status;
    if (has_lists(value)) {
        json_dump_pretty(value, &r->text);
    } else {
        struct writer *w = writer_new(WRITE_TEXT, keep_bytes, &r->text);
        writer_json(w, NULL, value);
        status = writer_commit(w, err);
        writer_free(w);
    }
    json_free(value);
    return status;
}

static void result_free(void *result)
{
    struct result *r = result;
    strbuf_free(&r->text);
    free(r);
}

static int show_result(struct view *v, void *result, int status, const struct error *err)
{
    struct result *r = result;
    if (status != STATUS_OK) {
        app_message(v->app, 1, "%s", err->message);
    } else {
        char *title = xasprintf("result of job %llu", (unsigned long long)r->id);
        output_show(v->app, title, strbuf_string(&r->text), r->text.length);
        free(title);
    }
    if (r)
        result_free(r);
    return INVALID_DRAW;
}

static const struct query_spec result_spec = {fetch_result, show_result, result_free, NULL};

static void start_result(struct view *v, uint64_t id)
{
    struct result *r = xcalloc(1, sizeof *r);
    r->id = id;
    r->store = app_store(v->app);
    query_start(v, 0, &result_spec, r);
}

/* ---- Doing. ---- */

static int jobs_act(struct view *v, const char *action, long count)
{
    struct jobs_data *d = v->data;
    const struct job_status *j = current(v);
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    if (j && (strcmp(action, "pause-job") == 0 || strcmp(action, "cancel-job") == 0 ||
              strcmp(action, "detach-job") == 0)) {
        job_act(v->app, action, j);
        return INVALID_DRAW;
    }
    if (strcmp(action, "open") == 0) {
        if (j && j->state == JOB_DONE && *j->makes)
            app_open_address(v->app, j->makes);
        else if (j && j->state == JOB_DONE)
            start_result(v, j->id);
        else if (j)
            app_message(v->app, 0, "job %llu has made nothing yet", (unsigned long long)j->id);
        return INVALID_DRAW;
    }
    if (j && strcmp(action, "result") == 0) {
        start_result(v, j->id);
        return INVALID_DRAW;
    }
    if (strcmp(action, "jump") == 0) { /* a job's number */
        for (size_t i = 0; i < n; i++)
            if (jobs[i].id == (uint64_t)count)
                d->list.cursor = i;
    } else if (list_act(&d->list, action, count) == INVALID_NOT_MINE) {
        return INVALID_NOT_MINE;
    }
    d->selected = d->list.cursor < n ? jobs[d->list.cursor].id : 0;
    return INVALID_DRAW;
}

static void jobs_selected(struct view *v, struct strbuf *out)
{
    const struct job_status *j = current(v);
    if (j)
        strbuf_adds(out, j->makes);
}

static void jobs_save(struct view *v, struct strbuf *out)
{
    strbuf_addf(out, "%llu", (unsigned long long)((struct jobs_data *)v->data)->selected);
}

static void jobs_restore(struct view *v, const char *place)
{
    unsigned long long id;
    if (parse_u64(place, 1, UINT64_MAX >> 1, &id) == 0)
        ((struct jobs_data *)v->data)->selected = id;
    follow(v);
}

static int jobs_search(struct view *v, const char *pattern, int direction)
{
    struct jobs_data *d = v->data;
    size_t n;
    const struct job_status *jobs = app_jobs(v->app, &n);
    for (size_t k = 1; k <= n; k++) {
        size_t i = row_round(d->list.cursor, k, n, direction);
        if (strcasestr(jobs[i].title, pattern) || strcasestr(job_state_name(jobs[i].state), pattern)) {
            d->list.cursor = i;
            d->selected = jobs[i].id;
            return 0;
        }
    }
    return -1;
}

static const struct action actions[] = {
    {"pause-job", "Space p", "pause the job, or let it go on; take an interrupted one up again"},
    {"cancel-job", "c", "cancel the job, after asking"},
    {"result", "r", "show the result of a job that is done"},
    {"detach-job", "d", "let the job go on in a process of its own"},
    {NULL, NULL, NULL},
};

const struct view_ops jobs_view = {
    .name = "jobs",
    .summary = "background runs: progress, rates, loss curves",
    .actions = actions,
    .private_size = sizeof(struct jobs_data),
    .open = jobs_open,
    .draw = jobs_draw,
    .act = jobs_act,
    .hint = "Space pauses  c cancels  d detaches  Enter what it made  r result",
    .refresh = jobs_refresh,
    .selected = jobs_selected,
    .save_place = jobs_save,
    .restore_place = jobs_restore,
    .search = jobs_search,
};
