/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The views that were opened, in order; following a link from the middle forgets what came after. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/tui/app.h"

const struct view_ops *view_find(const char *name)
{
    for (size_t i = 0; views[i]; i++)
        if (strcmp(views[i]->name, name) == 0)
            return views[i];
    return NULL;
}

struct view *history_view(struct app *a)
{
    struct history *h = &a->history;
    return h->n ? h->entries[h->at].view : NULL;
}

static void close_view(struct view *v)
{
    prompt_view_closed(v->app, v);
    query_cancel_view(v);
    if (v->ops->close)
        v->ops->close(v);
    free(v->target);
    free(v->data);
    free(v);
}

static struct view *open_view(struct app *a, const struct view_ops *ops, const char *target,
                              struct error *err)
{
    struct view *v = xcalloc(1, sizeof *v);
    v->ops = ops;
    v->app = a;
    v->target = xstrdup(target);
    v->data = xcalloc(1, ops->private_size);
    if (ops->open && ops->open(v, target, err) != STATUS_OK) {
        close_view(v);
        return NULL;
    }
    return v;
}

/* Closes the view but keeps where it was. */
static void rest(struct history_entry *e)
{
    struct strbuf place = STRBUF_INIT;
    if (!e->view)
        return;
    if (e->view->ops->save_place)
        e->view->ops->save_place(e->view, &place);
    free(e->place);
    e->place = strbuf_detach(&place);
    free(e->target);
    e->target = xstrdup(e->view->target);
    close_view(e->view);
    e->view = NULL;
}

static void drop(struct history_entry *e)
{
    if (e->view)
        close_view(e->view);
    free(e->target);
    free(e->place);
    memset(e, 0, sizeof *e);
}

static void drop_from(struct history *h, size_t first)
{
    while (h->n > first)
        drop(&h->entries[--h->n]);
}

static void show(struct app *a, size_t at)
{
    struct history *h = &a->history;
    struct view *before = history_view(a);
    if (before)
        before->focused = 0;
    h->at = at;
    for (size_t i = 0; i < h->n; i++)
        if ((i > at ? i - at : at - i) > HISTORY_LIVE)
            rest(&h->entries[i]);
    history_view(a)->focused = 1;
    a->invalid |= INVALID_DRAW;
}

/* Opens a resting entry again, brings a stale one up to date. */
static int wake(struct app *a, struct history_entry *e)
{
    struct error err = {0};
    if (!e->view) {
        e->view = open_view(a, e->ops, e->target, &err);
        if (!e->view) {
            app_message_text(a, 1, err.message);
            return -1;
        }
        if (e->place && e->ops->restore_place)
            e->ops->restore_place(e->view, e->place);
    } else if (e->stale && e->ops->refresh) {
        e->ops->refresh(e->view);
    }
    e->stale = 0;
    return 0;
}

int history_open(struct app *a, const struct view_ops *ops, const char *target, struct error *err)
{
    struct history *h = &a->history;
    struct view *v = open_view(a, ops, target, err);
    if (!v)
        return err->code;
    if (h->n)
        drop_from(h, h->at + 1);
    if (h->n == HISTORY_MAX) {
        drop(&h->entries[0]);
        memmove(&h->entries[0], &h->entries[1], (HISTORY_MAX - 1) * sizeof h->entries[0]);
        h->n--;
        h->at--;
    }
    h->entries[h->n++] = (struct history_entry){.ops = ops, .target = xstrdup(target), .view = v};
    show(a, h->n - 1);
    return STATUS_OK;
}

int history_move(struct app *a, int by)
{
    struct history *h = &a->history;
    size_t at = h->at + (size_t)by;
    if (h->n == 0 || at >= h->n || wake(a, &h->entries[at]) != 0)
        return -1;
    show(a, at);
    return 0;
}

int history_close(struct app *a)
{
    struct history *h = &a->history;
    if (h->at == 0)
        return -1;
    size_t at = h->at - 1;
    if (wake(a, &h->entries[at]) != 0)
        return -1;
    drop_from(h, h->at);
    h->at = at; /* before show: the one that was shown is gone */
    show(a, at);
    return 0;
}

void history_refresh(struct app *a)
{
    struct history *h = &a->history;
    for (size_t i = 0; i < h->n; i++)
        h->entries[i].stale = i != h->at;
    struct view *v = history_view(a);
    if (v && v->ops->refresh)
        a->invalid |= v->ops->refresh(v);
}

void history_free(struct app *a)
{
    drop_from(&a->history, 0);
}
