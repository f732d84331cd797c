/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Jobs as last seen, whoever runs them: states, news when they end, the strip and the lines that show them.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

const struct job_status *app_jobs(const struct app *a, size_t *n)
{
    *n = a->n_jobs;
    return a->jobs;
}

const struct job_status *app_job(const struct app *a, uint64_t id)
{
    for (size_t i = 0; i < a->n_jobs; i++)
        if (a->jobs[i].id == id)
            return &a->jobs[i];
    return NULL;
}

static int is_active(const struct job_status *j)
{
    return !job_state_final(j->state) && j->state != JOB_INTERRUPTED;
}

size_t app_jobs_active(const struct app *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_jobs; i++)
        n += (size_t)is_active(&a->jobs[i]);
    return n;
}

/* News of a job that was active when last seen. */
static void tell_change(struct app *a, const struct job_status *before, const struct job_status *now)
{
    struct strbuf b = STRBUF_INIT;
    if (!before || !is_active(before) || is_active(now))
        return;
    strbuf_addf(&b, "job %llu %s: %s", (unsigned long long)now->id, job_state_name(now->state), now->title);
    if (now->state == JOB_DONE && isfinite(now->elapsed)) {
        strbuf_adds(&b, " in ");
        strbuf_add_duration(&b, now->elapsed);
    }
    if (now->state == JOB_FAILED && *now->message)
        strbuf_addf(&b, ": %s", now->message);
    app_message_text(a, now->state == JOB_FAILED, strbuf_string(&b));
    strbuf_free(&b);
}

/* Equal as far as a screen shows it. */
static int same(const struct job_status *x, const struct job_status *y)
{
    return x->id == y->id && x->state == y->state && x->progress.step == y->progress.step &&
           x->n_curve == y->n_curve && lround(x->elapsed) == lround(y->elapsed) &&
           strcmp(x->message, y->message) == 0;
}

void jobs_update(struct app *a, int all)
{
    struct store *s = a->ctx->store;
    struct job_status *now = NULL;
    size_t n = a->n_jobs;
    int changed = 0;
    if (!s)
        return;
    if (all && job_status_list(s, &now, &n, NULL) != STATUS_OK)
        return;
    if (!all) {
        now = xreallocarray(NULL, n + 1, sizeof *now);
        if (n > 0)
            memcpy(now, a->jobs, n * sizeof *now);
        for (size_t i = 0; i < n; i++)
            if (is_active(&now[i]) && job_status_read(s, now[i].id, &now[i], NULL) != STATUS_OK)
                now[i] = a->jobs[i];
    }
    for (size_t i = 0; i < n; i++) {
        const struct job_status *before = app_job(a, now[i].id);
        changed |= !before || !same(before, &now[i]);
        tell_change(a, before, &now[i]);
    }
    changed |= n != a->n_jobs;
    free(a->jobs);
    a->jobs = now;
    a->n_jobs = n;
    if (changed) {
        a->invalid |= INVALID_DRAW;
        lines_jobs_changed(a);
    }
}

/* The job that the strip tells of: the first that computes, else the first that waits. */
static const struct job_status *foremost(const struct app *a)
{
    const struct job_status *best = NULL;
    for (size_t i = a->n_jobs; i-- > 0;) {
        const struct job_status *j = &a->jobs[i];
        if (!is_active(j))
            continue;
        if (j->state == JOB_RUNNING || j->state == JOB_CANCELLING)
            return j;
        if (!best || (best->state != JOB_PAUSED && j->state == JOB_PAUSED))
            best = j;
    }
    return best;
}

void jobs_strip(const struct app *a, struct strbuf *out)
{
    const struct job_status *j = foremost(a);
    if (!j)
        return;
    strbuf_addf(out, "jobs %zu ", app_jobs_active(a));
    if (j->state == JOB_PAUSED)
        strbuf_addf(out, "%s", glyph(GLYPH_PAUSED));
    else if (j->state == JOB_RUNNING)
        strbuf_addf(out, "%s", glyph(GLYPH_RUNNING));
    else
        strbuf_addf(out, "%s", job_state_name(j->state));
    if (isfinite(j->fraction))
        strbuf_addf(out, " %.0f%%", floor(j->fraction * 100));
}

/* ---- What is done with them. ---- */

struct job_request {
    uint64_t id;
    char action;
};

static int do_request(struct context *ctx, void *arg, struct error *err)
{
    struct job_request *r = arg;
    struct job_engine *engine;
    struct store *s;
    int status = context_store(ctx, 1, &s, err);
    if (status == STATUS_OK && r->action == 'p')
        status = job_pause(s, r->id, err);
    else if (status == STATUS_OK && r->action == 'c')
        status = job_cancel(s, r->id, err);
    else if (status == STATUS_OK)
        status = context_engine(ctx, &engine, err);
    if (status == STATUS_OK && r->action == 'r')
        status = job_resume(engine, r->id, err);
    if (status == STATUS_OK && r->action == 'd')
        status = job_detach(engine, r->id, err);
    free(r);
    return status;
}

static void request(struct app *a, uint64_t id, char action, const char *doing)
{
    struct job_request *r = xmalloc(sizeof *r);
    *r = (struct job_request){id, action};
    app_message(a, 0, "%s job %llu", doing, (unsigned long long)id);
    runner_call(a, doing, do_request, r);
}

static void cancel_answered(struct app *a, char answer, void *arg)
{
    uint64_t *id = arg;
    if (answer == 'y')
        request(a, *id, 'c', "cancelling");
    free(id);
}

void job_act(struct app *a, const char *action, const struct job_status *job)
{
    if (job_state_final(job->state)) {
        app_message(a, 0, "job %llu is over: %s", (unsigned long long)job->id, job_state_name(job->state));
    } else if (strcmp(action, "pause-job") == 0) {
        int resting = job->state == JOB_PAUSED || job->state == JOB_INTERRUPTED;
        request(a, job->id, resting ? 'r' : 'p', resting ? "resuming" : "pausing");
    } else if (strcmp(action, "detach-job") == 0) {
        request(a, job->id, 'd', "detaching: a process of its own goes on with");
    } else if (strcmp(action, "cancel-job") == 0) {
        uint64_t *id = xmalloc(sizeof *id);
        char *text = xasprintf("cancel job %llu, %s?", (unsigned long long)job->id, job->title);
        *id = job->id;
        question_ask(a, text, "yn", cancel_answered, id);
        free(text);
    }
}

/* ---- One line about one. ---- */

/* "  0:38 left  21k tok/s  step 458/732" */
static void add_rates(struct strbuf *b, const struct job_status *j)
{
    const struct progress *p = &j->progress;
    if (isfinite(j->left)) {
        strbuf_adds(b, "  ");
        strbuf_add_duration(b, j->left);
        strbuf_adds(b, " left");
    }
    if (isfinite(p->rate) && p->unit && p->rate >= 10000)
        strbuf_addf(b, "  %.0fk %s", p->rate / 1000, p->unit);
    else if (isfinite(p->rate) && p->unit)
        strbuf_addf(b, "  %.*f %s", p->rate >= 100 ? 0 : 1, p->rate, p->unit);
    if (!p->steps && p->phase)
        strbuf_addf(b, "  %s", p->phase);
    if (p->steps) {
        strbuf_adds(b, "  ");
        progress_add_steps(b, p);
    }
}

static void add_measures(struct strbuf *b, const struct job_status *j)
{
    const struct progress *p = &j->progress;
    if (isfinite(p->loss))
        strbuf_addf(b, "  loss %.4g", p->loss);
    if (isfinite(p->l0))
        strbuf_addf(b, "  L0 %.1f", p->l0);
    if (isfinite(p->explained_variance))
        strbuf_addf(b, "  EV %.3f", p->explained_variance);
    if (isfinite(p->dead))
        strbuf_addf(b, "  dead %.1f%%", p->dead * 100);
}

/* What is to say of one that does not compute. */
static void add_outcome(struct strbuf *b, const struct job_status *j)
{
    strbuf_adds(b, job_state_name(j->state));
    if (j->state == JOB_DONE && isfinite(j->elapsed)) {
        strbuf_adds(b, " in ");
        strbuf_add_duration(b, j->elapsed);
        if (*j->makes)
            strbuf_addf(b, "  %s %s", glyph(GLYPH_ARROW), j->makes);
    } else if (*j->message && strcmp(j->message, job_state_name(j->state)) != 0) {
        strbuf_addf(b, ": %s", j->message);
    }
}

static enum style state_style(const struct job_status *j)
{
    switch (j->state) {
    case JOB_FAILED:
        return STYLE_ERROR;
    case JOB_DONE:
        return STYLE_GOOD;
    case JOB_PAUSED:
    case JOB_INTERRUPTED:
    case JOB_CANCELLING:
        return STYLE_WARNING;
    case JOB_RUNNING:
        return STYLE_NORMAL;
    default:
        return STYLE_DIM;
    }
}

void job_line(const struct canvas *c, int y, const struct job_status *j, enum style style)
{
    struct strbuf b = STRBUF_INIT;
    int title = c->width >= 100  ? 34
                : c->width >= 70 ? 24
                                 : 16,
        bar = c->width >= 100 ? 20 : 10, x = 6 + title;
    int computing = j->state == JOB_RUNNING || j->state == JOB_PAUSED || j->state == JOB_CANCELLING;
    strbuf_addf(&b, "%llu", (unsigned long long)j->id);
    canvas_right(c, y, 4, style == STYLE_NORMAL ? STYLE_DIM : style, strbuf_string(&b));
    canvas_ellipsis(c, y, 6, title - 1, style == STYLE_NORMAL ? STYLE_STRONG : style, j->title);
    strbuf_reset(&b);
    if (!computing) {
        add_outcome(&b, j);
        canvas_ellipsis(c, y, x, c->width - x - 1, style == STYLE_NORMAL ? state_style(j) : style,
                        strbuf_string(&b));
        strbuf_free(&b);
        return;
    }
    canvas_bar(c, y, x, bar, j->fraction, style == STYLE_NORMAL ? STYLE_BAR : style);
    x += bar + 1;
    if (isfinite(j->fraction))
        strbuf_addf(&b, "%3.0f%%", floor(j->fraction * 100));
    if (j->state != JOB_RUNNING)
        strbuf_addf(&b, " %s", job_state_name(j->state));
    x = canvas_text(c, y, x, style == STYLE_NORMAL ? state_style(j) : style, strbuf_string(&b));
    strbuf_reset(&b);
    add_rates(&b, j);
    int curve = c->width >= 150 && j->n_curve > 1 ? 16 : 0;
    add_measures(&b, j);
    canvas_ellipsis(c, y, x, c->width - x - curve - 2, style, strbuf_string(&b));
    if (curve) {
        struct canvas part = canvas_part(c, y, c->width - curve - 1, 1, curve);
        canvas_curve(&part, j->curve, j->n_curve, 0, 0, style == STYLE_NORMAL ? STYLE_BAR : style);
    }
    strbuf_free(&b);
}
