/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command thread: runs commands that read or write the store, one after the other, with a context of its
 * own. Store and engine that it opens are handed to the UI thread with the result; nobody else opens any.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <spawn.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/tui/app.h"

extern char **environ;

struct runner {
    struct app *app;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct task *first, **last; /* mutex */
    int stopping;               /* mutex */
    _Atomic int ended;
    struct context ctx; /* the command thread's */
    struct frontend frontend;
    size_t n_open; /* UI thread: tasks not over */
    char *now;     /* UI thread: title of the oldest of them */
};

/* ---- What commands ask of the front end, from either thread. ---- */

static int on_ui_thread(const struct app *a)
{
    return pthread_equal(pthread_self(), a->ui_thread);
}

struct news {
    struct event event;
    int is_error;
    char *text;
};

static void tell(struct app *a, struct event *e)
{
    struct news *n = (struct news *)e;
    app_message_text(a, n->is_error, n->text);
    free(n->text);
    free(n);
}

static void notify(void *arg, int is_error, const char *text)
{
    struct app *a = arg;
    struct news *n = xcalloc(1, sizeof *n);
    n->event.run = tell;
    n->is_error = is_error;
    n->text = xstrdup(text);
    if (on_ui_thread(a))
        tell(a, &n->event);
    else
        app_post(a, &n->event);
}

static void copy_event(struct app *a, struct event *e)
{
    struct news *n = (struct news *)e;
    app_copy(a, n->text);
    free(n->text);
    free(n);
}

/* Of the command thread's front end, while a command runs that may. */
static void copy(void *arg, const char *text)
{
    struct news *n = xcalloc(1, sizeof *n);
    n->event.run = copy_event;
    n->text = xstrdup(text);
    app_post(arg, &n->event);
}

static void progress(void *arg, const struct job_status *status)
{
    struct app *a = arg;
    (void)status;
    a->ctx->jobs_changed(a);
}

static int stop(void *arg)
{
    return atomic_load(&((struct app *)arg)->stop_commands);
}

/* A question of the command thread waits here for the UI thread's answer. */
struct confirmation {
    struct event event;
    const char *question;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int answered, yes;
};

static void confirmed(struct app *a, char answer, void *arg)
{
    struct confirmation *c = arg;
    (void)a;
    pthread_mutex_lock(&c->mutex);
    c->yes = answer == 'y';
    c->answered = 1;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

static void ask(struct app *a, struct event *e)
{
    struct confirmation *c = (struct confirmation *)e;
    question_ask(a, c->question, "yn", confirmed, c);
}

static int confirm(void *arg, const char *question)
{
    struct app *a = arg;
    struct confirmation c = {.event.run = ask, .question = question};
    if (on_ui_thread(a))
        return a->ctx->yes;
    if (a->runner->ctx.yes) /* of this thread */
        return 1;
    pthread_mutex_init(&c.mutex, NULL);
    pthread_cond_init(&c.wake, NULL);
    app_post(a, &c.event);
    pthread_mutex_lock(&c.mutex);
    while (!c.answered)
        pthread_cond_wait(&c.wake, &c.mutex);
    pthread_mutex_unlock(&c.mutex);
    pthread_mutex_destroy(&c.mutex);
    pthread_cond_destroy(&c.wake);
    return c.yes;
}

/* ---- Running. ---- */

/* `sh -c REST` with the text as its input, away from the terminal; what it prints is the result. */
int run_piped_text(const char *command, const char *text, size_t n, char **output, size_t *n_output,
                   struct error *err)
{
    int in = memfd_create("saescope-pipe-in", MFD_CLOEXEC),
        out = memfd_create("saescope-pipe-out", MFD_CLOEXEC);
    char shell[] = "sh", option[] = "-c", *script = xstrdup(command), *argv[] = {shell, option, script, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t pid;
    int code = 0, status = STATUS_OK;
    ssize_t got = in >= 0 && n ? write(in, text, n) : 0;
    if (in < 0 || out < 0 || got != (ssize_t)n)
        status = error_system(err, STATUS_FAILED, errno, "no memory for the pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    if (status == STATUS_OK) {
        lseek(in, 0, SEEK_SET);
        int failure = posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environ);
        if (failure)
            status = error_system(err, STATUS_FAILED, failure, "cannot start '%s'", command);
        else if (waitpid(pid, &code, 0) == pid && code != 0)
            status = error_set(err, STATUS_FAILED, "'%s' ended with status %d", command,
                               WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code));
    }
    off_t size = status == STATUS_OK ? lseek(out, 0, SEEK_END) : 0;
    *output = size > 0 ? array_alloc((size_t)size + 1, 1, "the pipe's output", err) : NULL;
    if (*output) {
        got = pread(out, *output, (size_t)size, 0);
        *n_output = got > 0 ? (size_t)got : 0;
        (*output)[*n_output] = '\0';
    } else if (size > 0) {
        status = err->code;
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(in);
    close(out);
    free(script);
    return status;
}

static void run_task(struct context *ctx, struct task *t)
{
    const char *outer = ctx->directory;
    char *pipe = t->inv ? t->inv->pipe : NULL;
    FILE *f = open_memstream(&t->output, &t->n_output);
    ctx->directory = t->directory;
    ctx->allow_pipe = t->allow_pipe;
    ctx->submitted = NULL;
    ctx->n_submitted = 0;
    if (t->inv)
        t->inv->pipe = NULL;
    if (!f)
        t->status = error_system(&t->error, STATUS_FAILED, errno, "no memory for the output");
    else
        t->status = t->work ? t->work(ctx, t->arg, &t->error) : command_run(ctx, t->inv, f, &t->error);
    if (f)
        fclose(f);
    if (pipe && t->status == STATUS_OK) {
        char *text = t->output;
        size_t n = t->n_output;
        t->output = NULL;
        t->n_output = 0;
        t->status = run_piped_text(pipe, text, n, &t->output, &t->n_output, &t->error);
        free(text);
    }
    free(pipe);
    t->submitted = ctx->submitted;
    t->n_submitted = ctx->n_submitted;
    ctx->submitted = NULL;
    ctx->n_submitted = 0;
    ctx->directory = outer;
    t->store = ctx->store;
    t->engine = ctx->engine;
}

void task_run_here(struct app *a, struct task *t)
{
    run_task(a->ctx, t);
}

void task_free(struct task *t)
{
    if (t->inv)
        invocation_free(t->inv);
    settings_free(t->settings);
    free(t->title);
    free(t->directory);
    free(t->output);
    free(t->submitted);
    free(t);
}

static void ended(struct app *a, struct event *e)
{
    struct task *t = (struct task *)e;
    struct runner *r = a->runner;
    r->n_open--;
    free(r->now);
    r->now = NULL;
    if (r->n_open == 0)
        atomic_store(&a->stop_commands, 0);
    a->ctx->store = t->store;
    a->ctx->engine = t->engine;
    a->invalid |= INVALID_DRAW;
    lines_task_done(a, t);
}

static void *serve(void *arg)
{
    struct runner *r = arg;
    pthread_mutex_lock(&r->mutex);
    for (;;) {
        while (!r->first && !r->stopping)
            pthread_cond_wait(&r->wake, &r->mutex);
        struct task *t = r->first;
        if (!t)
            break;
        r->first = t->next;
        if (!r->first)
            r->last = &r->first;
        pthread_mutex_unlock(&r->mutex);
        r->ctx.settings = t->settings;
        r->frontend.copy = t->may_copy && settings_switch(t->settings, "clipboard") ? copy : NULL;
        parallel_set_priority(t->inv && t->inv->command->cost == COST_JOB ? PARALLEL_JOB : PARALLEL_QUERY);
        run_task(&r->ctx, t);
        app_post(r->app, &t->event);
        pthread_mutex_lock(&r->mutex);
    }
    pthread_mutex_unlock(&r->mutex);
    atomic_store(&r->ended, 1);
    return NULL;
}

struct runner *runner_start(struct app *a)
{
    struct runner *r = xcalloc(1, sizeof *r);
    r->app = a;
    r->last = &r->first;
    r->frontend =
        (struct frontend){.arg = a, .notify = notify, .confirm = confirm, .progress = progress, .stop = stop};
    a->frontend = r->frontend;
    r->ctx = *a->ctx;
    r->ctx.frontend = &r->frontend;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->wake, NULL);
    if (pthread_create(&r->thread, NULL, serve, r) != 0)
        out_of_memory();
    return r;
}

/* What still runs is asked to stop; what waits for an answer gets none. */
void runner_stop(struct runner *r)
{
    struct app *a = r->app;
    atomic_store(&a->stop_commands, 1);
    pthread_mutex_lock(&r->mutex);
    r->stopping = 1;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->mutex);
    while (!atomic_load(&r->ended)) {
        app_tick(a);
        usleep(5000);
    }
    pthread_join(r->thread, NULL);
    app_tick(a);
}

void runner_free(struct runner *r)
{
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->wake);
    free(r->now);
    free(r);
}

int runner_idle(const struct app *a)
{
    return a->runner->n_open == 0;
}

const char *runner_now(const struct app *a)
{
    return a->runner->now;
}

void runner_interrupt(struct app *a)
{
    if (a->runner->n_open > 0)
        atomic_store(&a->stop_commands, 1);
}

static struct settings *copy_settings(const struct settings *s)
{
    struct settings *copy = settings_new();
    for (const struct setting_spec *spec = settings_table; spec->name; spec++)
        settings_set(copy, spec->name, settings_text(s, spec->name), NULL);
    return copy;
}

void runner_submit(struct app *a, struct task *t)
{
    struct runner *r = a->runner;
    t->event.run = ended;
    t->settings = copy_settings(a->ctx->settings);
    r->n_open++;
    if (!r->now)
        r->now = xstrdup(t->title);
    pthread_mutex_lock(&r->mutex);
    *r->last = t;
    r->last = &t->next;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->mutex);
}

void runner_call(struct app *a, const char *title,
                 int (*work)(struct context *ctx, void *arg, struct error *err), void *arg)
{
    struct task *t = xcalloc(1, sizeof *t);
    t->title = xstrdup(title);
    t->work = work;
    t->arg = arg;
    runner_submit(a, t);
}
