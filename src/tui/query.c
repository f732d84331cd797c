/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The query thread: work for the views, one piece after the other, each with its own read transaction. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/tui/app.h"

struct request {
    struct event event; /* first: done is run by it */
    struct query query;
    struct request *next;
    struct view *view; /* UI thread: NULL when it was cancelled */
    int slot;
    struct query_spec spec;
    void *arg;
    struct store *store;
    _Atomic int cancelled;
    void *result;
    int status;
    struct error error;
};

struct query_thread {
    struct app *app;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct request *first, **last; /* waiting; mutex */
    int stopping;                  /* mutex */
    struct request **open;         /* UI thread: not ended yet, cancelled ones too */
    size_t n_open;
};

static int is_cancelled(struct query *q)
{
    return atomic_load(&((struct request *)q->state)->cancelled);
}

static enum monitor_request ask_query(struct monitor *m)
{
    struct query *q = ((struct query_watch *)m)->query;
    return q->cancelled(q) ? MONITOR_CANCEL : MONITOR_GO_ON;
}

static int query_is_cancelled(struct monitor *m)
{
    return ask_query(m) != MONITOR_GO_ON;
}

struct query_watch query_watch(struct query *q)
{
    return (struct query_watch){.monitor = {.ask = ask_query, .cancelled = query_is_cancelled}, .query = q};
}

static void ended(struct app *a, struct event *e)
{
    struct request *r = (struct request *)e;
    struct query_thread *q = a->queries;
    for (size_t i = 0; i < q->n_open; i++)
        if (q->open[i] == r) {
            q->open[i] = q->open[--q->n_open];
            break;
        }
    if (r->view && !atomic_load(&r->cancelled))
        a->invalid |= r->spec.done(r->view, r->result, r->status, &r->error);
    else if (r->spec.discard && r->result)
        r->spec.discard(r->result);
    free(r);
}

static void work(struct request *r)
{
    struct store_txn *t = NULL;
    if (atomic_load(&r->cancelled))
        r->status = error_set(&r->error, STATUS_FAILED, "cancelled");
    else if (!r->store)
        r->status = error_set(&r->error, STATUS_STORE, "there is no store yet");
    else
        r->status = store_begin(r->store, &t, &r->error);
    if (t)
        r->status = r->spec.work(&r->query, t, r->arg, &r->result, &r->error);
    store_end(t);
    if (r->spec.arg_free)
        r->spec.arg_free(r->arg);
}

static void *serve(void *arg)
{
    struct query_thread *q = arg;
    parallel_set_priority(PARALLEL_QUERY);
    pthread_mutex_lock(&q->mutex);
    for (;;) {
        while (!q->first && !q->stopping)
            pthread_cond_wait(&q->wake, &q->mutex);
        struct request *r = q->first;
        if (!r)
            break;
        q->first = r->next;
        if (!q->first)
            q->last = &q->first;
        pthread_mutex_unlock(&q->mutex);
        work(r);
        app_post(q->app, &r->event);
        pthread_mutex_lock(&q->mutex);
    }
    pthread_mutex_unlock(&q->mutex);
    return NULL;
}

struct query_thread *query_thread_start(struct app *a)
{
    struct query_thread *q = xcalloc(1, sizeof *q);
    q->app = a;
    q->last = &q->first;
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->wake, NULL);
    if (pthread_create(&q->thread, NULL, serve, q) != 0)
        out_of_memory();
    return q;
}

/* Views are closed, so that everything is cancelled; what is left ends quickly. */
void query_thread_stop(struct query_thread *q)
{
    pthread_mutex_lock(&q->mutex);
    q->stopping = 1;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->mutex);
    pthread_join(q->thread, NULL);
}

void query_thread_free(struct query_thread *q)
{
    pthread_mutex_destroy(&q->mutex);
    pthread_cond_destroy(&q->wake);
    free(q->open);
    free(q);
}

void query_start(struct view *v, int slot, const struct query_spec *spec, void *arg)
{
    struct query_thread *q = v->app->queries;
    struct request *r = xcalloc(1, sizeof *r);
    query_cancel(v, slot);
    r->event.run = ended;
    r->query = (struct query){is_cancelled, r};
    r->view = v;
    r->slot = slot;
    r->spec = *spec;
    r->arg = arg;
    r->store = v->app->ctx->store;
    q->open = xreallocarray(q->open, q->n_open + 1, sizeof(struct request *));
    q->open[q->n_open++] = r;
    pthread_mutex_lock(&q->mutex);
    *q->last = r;
    q->last = &r->next;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->mutex);
}

static void cancel(struct view *v, int slot, int all)
{
    struct query_thread *q = v->app->queries;
    for (size_t i = 0; i < q->n_open; i++)
        if (q->open[i]->view == v && (all || q->open[i]->slot == slot)) {
            atomic_store(&q->open[i]->cancelled, 1);
            q->open[i]->view = NULL;
        }
}

void query_cancel(struct view *v, int slot)
{
    cancel(v, slot, 0);
}

void query_cancel_view(struct view *v)
{
    cancel(v, 0, 1);
}

int query_busy(const struct view *v, int slot)
{
    const struct query_thread *q = v->app->queries;
    for (size_t i = 0; i < q->n_open; i++)
        if (q->open[i]->view == v && q->open[i]->slot == slot)
            return 1;
    return 0;
}

int query_thread_idle(struct query_thread *q)
{
    return q->n_open == 0;
}
