/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The main loop: waits for keys, events and signals; draws what became invalid. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/lineedit.h"
#include "saescope/tui/app.h"

#define FRAME_SECONDS  0.1  /* what happens in the background is drawn at most ten times a second */
#define KEY_SECONDS    0.03 /* what was typed, sooner */
#define LOOK_SECONDS   0.5  /* between looks for changes of the store */
#define JOBS_SECONDS   0.25 /* between looks at jobs that report */
#define ESCAPE_SECONDS 0.025
#define INPUT_AT_ONCE  256 /* keys or bytes taken before something else gets its turn */

/* ---- Events. ---- */

/* Not of an app: the job engine lives longer than it and goes on ringing. */
static struct {
    int fd; /* eventfd; never closed */
    _Atomic int rung, jobs_changed;
} bell = {-1, 0, 0};

static void wake(void)
{
    uint64_t one = 1;
    if (!atomic_exchange(&bell.rung, 1)) {
        ssize_t written = write(bell.fd, &one, sizeof one);
        (void)written;
    }
}

void app_post(struct app *a, struct event *e)
{
    e->next = NULL;
    pthread_mutex_lock(&a->mutex);
    *a->last_event = e;
    a->last_event = &e->next;
    pthread_mutex_unlock(&a->mutex);
    wake();
}

static void jobs_changed(void *arg)
{
    (void)arg;
    if (!atomic_exchange(&bell.jobs_changed, 1))
        wake();
}

static void run_events(struct app *a)
{
    uint64_t n;
    /* In this order: a ring in between is answered below, none is taken for rung when the descriptor is
     * empty. */
    ssize_t got = read(bell.fd, &n, sizeof n);
    (void)got;
    atomic_store(&bell.rung, 0);
    for (;;) {
        pthread_mutex_lock(&a->mutex);
        struct event *e = a->first_event;
        if (e)
            a->first_event = e->next;
        if (!a->first_event)
            a->last_event = &a->first_event;
        pthread_mutex_unlock(&a->mutex);
        if (!e)
            break;
        e->run(a, e);
    }
}

/* ---- What views ask. ---- */

struct store *app_store(struct app *a)
{
    return a->ctx->store;
}

struct settings *app_settings(struct app *a)
{
    return a->ctx->settings;
}

struct context *app_context(struct app *a)
{
    return a->ctx;
}

int app_width(struct app *a)
{
    (void)a;
    return screen_width();
}

int app_height(struct app *a)
{
    (void)a;
    return screen_height();
}

double app_time(struct app *a)
{
    return a->headless ? a->fixed_time : clock_seconds();
}

void app_run(struct app *a, const char *line)
{
    lines_run_text(a, line);
}

/* ---- The world's changes. ---- */

/* Whether a store is there to be opened; an empty directory is none yet. */
static int store_exists(struct app *a)
{
    char *data = path_join(a->ctx->store_options.path, "data.mdb");
    int exists = path_exists(data);
    free(data);
    return exists;
}

static int open_store(struct context *ctx, void *arg, struct error *err)
{
    struct store *s;
    (void)arg;
    return context_store(ctx, 1, &s, err);
}

static void look_at_store(struct app *a)
{
    /* Somebody else made it meanwhile. */
    if (!a->ctx->store && !a->open_tried && !a->quit && runner_idle(a) && store_exists(a)) {
        a->open_tried = 1;
        runner_call(a, "open the store", open_store, NULL);
    }
    uint64_t generation = a->ctx->store ? store_generation(a->ctx->store) : 0;
    if (generation == a->generation)
        return;
    a->generation = generation;
    jobs_update(a, 1);
    history_refresh(a);
}

static void look_at_settings(struct app *a)
{
    struct settings *s = a->ctx->settings;
    unsigned screen = settings_changes(s, "screen"), latents = settings_changes(s, "latents"),
             latent = settings_changes(s, "latent");
    if (screen != a->screen_changes) {
        screen_configure(settings_text(s, "color"), settings_switch(s, "ascii"));
        a->invalid |= INVALID_DRAW;
    }
    if (latents != a->latents_changes || latent != a->latent_changes)
        history_refresh(a);
    a->screen_changes = screen;
    a->latents_changes = latents;
    a->latent_changes = latent;
}

/* What libraries wrote to standard error becomes messages. */
static void look_at_stray_text(struct app *a)
{
    struct strbuf b = STRBUF_INIT;
    char *rest = NULL;
    screen_stray_text(&b);
    for (char *line = b.data ? strtok_r(b.data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        app_message_text(a, 1, line);
    strbuf_free(&b);
}

void app_tick(struct app *a)
{
    double now = clock_seconds();
    run_events(a);
    look_at_settings(a);
    if (now >= a->next_look || a->headless) {
        a->next_look = now + LOOK_SECONDS;
        look_at_store(a);
        look_at_stray_text(a);
        lines_jobs_changed(a); /* a job may have ended before anybody waited for it */
    }
    int dirty = atomic_load(&bell.jobs_changed);
    if (now >= a->next_jobs && (dirty || app_jobs_active(a) > 0)) {
        a->next_jobs = now + JOBS_SECONDS;
        atomic_store(&bell.jobs_changed, 0);
        jobs_update(a, 0);
    }
}

/* ---- Life. ---- */

int app_start(struct app *a, struct context *ctx, const struct screen_options *options, struct error *err)
{
    struct store *s;
    sigset_t all, before;
    memset(a, 0, sizeof *a);
    a->ctx = ctx;
    a->headless = options->headless;
    a->count = -1;
    a->ui_thread = pthread_self();
    a->last_event = &a->first_event;
    a->signals = -1;
    pthread_mutex_init(&a->mutex, NULL);
    if (bell.fd < 0)
        bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell.fd < 0)
        return error_system(err, STATUS_FAILED, errno, "eventfd");
    /* One that cannot be opened is an error before the screen changes. */
    if (!ctx->store && store_exists(a)) {
        int status = context_store(ctx, 1, &s, err);
        if (status != STATUS_OK)
            return status;
    }
    if (!options->headless)
        a->signals = signals_start();
    int status = screen_start(options, err);
    if (status != STATUS_OK) {
        signals_stop();
        return status;
    }
    a->screen_changes = settings_changes(ctx->settings, "screen");
    a->latents_changes = settings_changes(ctx->settings, "latents");
    a->latent_changes = settings_changes(ctx->settings, "latent");
    ctx->jobs_changed = jobs_changed;
    ctx->background_jobs = 1;
    a->outer_frontend = ctx->frontend;
    sigfillset(&all);
    /* Blocked, these would end the program without its terminal being restored. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < ARRAY_LENGTH(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    a->queries = query_thread_start(a);
    a->runner = runner_start(a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ctx->frontend = &a->frontend;
    look_at_store(a);
    return STATUS_OK;
}

void app_end(struct app *a)
{
    a->quit = 1;
    screen_stop();
    question_cancel(a);
    prompt_close(a);
    palette_close(a);
    history_free(a);
    runner_stop(a->runner);
    query_thread_stop(a->queries);
    run_events(a);
    runner_free(a->runner);
    query_thread_free(a->queries);
    lines_free(a);
    outputs_free(a);
    signals_stop();
    a->ctx->frontend = a->outer_frontend;
    for (size_t i = 0; i < messages_count(a); i++)
        free(a->messages[i].text);
    free(a->jobs);
    free(a->pattern);
}

int app_idle(struct app *a)
{
    pthread_mutex_lock(&a->mutex);
    int events = a->first_event != NULL;
    pthread_mutex_unlock(&a->mutex);
    return !events && query_thread_idle(a->queries) && runner_idle(a);
}

/* ---- The loop. ---- */

static void take_signals(struct app *a)
{
    int number;
    while ((number = signals_next()) != 0)
        switch (number) {
        case SIGWINCH:
        case SIGCONT:
            screen_resize(0, 0);
            a->invalid |= INVALID_DRAW;
            break;
        case SIGTSTP:
            screen_suspend();
            a->invalid |= INVALID_DRAW;
            break;
        case SIGINT:
            app_act(a, "stop", -1);
            break;
        default:
            a->ended_by = number;
            a->quit = 1;
        }
}

/* One byte at a time for the prompt, since what was typed after the one that ends it are keys again. */
static void take_input(struct app *a)
{
    char key[KEY_TEXT_MAX], byte;
    for (int i = 0; i < INPUT_AT_ONCE && !a->quit; i++) {
        if (a->mode == INPUT_PROMPT) {
            if (!screen_byte(&byte))
                return;
            prompt_feed(a, &byte, 1);
        } else if (screen_key(key)) {
            app_key(a, key);
        } else {
            return;
        }
        a->key_time = clock_seconds();
        if (a->next_draw > a->key_time + KEY_SECONDS)
            a->next_draw = a->key_time + KEY_SECONDS;
    }
}

static int timeout_ms(struct app *a, double now)
{
    double until = a->next_look;
    if (a->invalid && a->next_draw < until)
        until = a->next_draw;
    if ((atomic_load(&bell.jobs_changed) || app_jobs_active(a)) && a->next_jobs < until)
        until = a->next_jobs;
    if (a->mode == INPUT_PROMPT && lineedit_escape_pending() && a->key_time + ESCAPE_SECONDS < until)
        until = a->key_time + ESCAPE_SECONDS;
    return until > now ? (int)((until - now) * 1000) + 1 : 0;
}

void app_loop(struct app *a)
{
    while (!a->quit) {
        app_tick(a);
        double now = clock_seconds();
        if (a->mode == INPUT_PROMPT && lineedit_escape_pending() && now >= a->key_time + ESCAPE_SECONDS)
            prompt_timeout(a);
        if (a->invalid && now >= a->next_draw) {
            app_draw(a);
            a->next_draw = now + FRAME_SECONDS;
        }
        struct pollfd sources[] = {
            {screen_input(), POLLIN, 0}, {bell.fd, POLLIN, 0}, {a->signals, POLLIN, 0}};
        int ready = poll(sources, ARRAY_LENGTH(sources), timeout_ms(a, now));
        if (ready < 0 && errno != EINTR)
            break;
        if (sources[2].revents)
            take_signals(a);
        if (sources[0].revents & (POLLIN | POLLHUP | POLLERR)) {
            if (sources[0].revents & (POLLHUP | POLLERR)) {
                a->ended_by = SIGHUP;
                a->quit = 1;
            } else {
                take_input(a);
            }
        }
    }
}
