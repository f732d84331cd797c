/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The front end without a screen. Progress is rewritten in place on a terminal, else printed every ten seconds. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/frontend_cli.h"

#define REWRITE_SECONDS 0.1
#define LINE_SECONDS    10.0

/* ---- Signals. ---- */

static volatile sig_atomic_t asked, told;

static void on_signal(int number)
{
    if (asked) {
        ssize_t written = write(STDERR_FILENO, "\n", 1);
        (void)written;
        _exit(128 + number);
    }
    asked = number;
    told = 0;
}

/* Not SIG_IGN: programs that are started would inherit that. */
static void on_closed_pipe(int number)
{
    (void)number;
}

void stop_signals_start(void)
{
    struct sigaction stop = {.sa_handler = on_signal}, closed = {.sa_handler = on_closed_pipe};
    static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_LENGTH(stopping); i++) {
        struct sigaction now;
        /* What whoever started us ignores (nohup) stays ignored. */
        if (sigaction(stopping[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaction(stopping[i], &stop, NULL);
    }
    sigaction(SIGPIPE, &closed, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error as any other */
}

int stop_signal(void)
{
    return asked;
}

void stop_signal_clear(void)
{
    asked = 0;
}

/* ---- The log. ---- */

static int log_file = -1;

int log_open(const char *path, struct error *err)
{
    log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_file >= 0)
        return STATUS_OK;
    char *shown = displayable_string(path);
    error_system(err, STATUS_REFUSED, errno, "the log %s cannot be opened", shown);
    free(shown);
    return STATUS_REFUSED;
}

void log_line(const char *displayable_text)
{
    char when[40];
    struct tm tm;
    time_t now = time(NULL);
    if (log_file < 0)
        return;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &tm));
    char *line = xasprintf("%s [%ld] %s\n", when, (long)getpid(), displayable_text);
    ssize_t written = write(log_file, line, strlen(line));
    (void)written; /* a full disk must not stop the work */
    free(line);
}

/* ---- Progress. ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int shown_in_place; /* a progress line is on the terminal */
static double shown_at;

static void clear_line(void)
{
    if (shown_in_place)
        fputs("\r\033[K", stderr);
    shown_in_place = 0;
}

static void add_real(struct strbuf *b, const char *format, double x)
{
    if (!isnan(x))
        strbuf_addf(b, format, x);
}

static void describe(struct strbuf *b, const struct job_status *s)
{
    const struct progress *p = &s->progress;
    strbuf_adds(b, s->title[0] ? s->title : s->kind);
    if (s->state != JOB_RUNNING)
        strbuf_addf(b, "  %s%s%s", job_state_name(s->state), *s->message ? ": " : "", s->message);
    add_real(b, "  %3.0f%%", s->fraction * 100);
    if (p->phase && *p->phase)
        strbuf_addf(b, "  %s", p->phase);
    if (p->steps > 0) {
        strbuf_adds(b, "  ");
        progress_add_steps(b, p);
    }
    add_real(b, "  loss %.4g", p->loss);
    add_real(b, "  L0 %.1f", p->l0);
    add_real(b, "  EV %.3f", p->explained_variance);
    add_real(b, "  dead %.1f%%", p->dead * 100);
    if (!isnan(p->rate) && p->unit && *p->unit) {
        strbuf_adds(b, "  ");
        strbuf_add_grouped(b, (long long)llround(p->rate));
        strbuf_addf(b, " %s", p->unit);
    }
    if (!isnan(s->left)) {
        strbuf_adds(b, "  ");
        strbuf_add_duration(b, s->left);
        strbuf_adds(b, " left");
    }
}

static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
        return size.ws_col;
    return 80;
}

static void progress(void *arg, const struct job_status *status)
{
    const struct context *ctx = arg;
    double now = clock_seconds();
    int terminal = isatty(STDERR_FILENO);
    pthread_mutex_lock(&mutex);
    if (!status || job_state_final(status->state)) {
        clear_line();
    } else if (!ctx->quiet && now - shown_at >= (terminal ? REWRITE_SECONDS : LINE_SECONDS)) {
        struct strbuf b = STRBUF_INIT;
        describe(&b, status);
        shown_at = now;
        if (terminal) {
            size_t n = display_prefix(strbuf_string(&b), b.length, terminal_columns() - 1);
            fprintf(stderr, "\r%.*s\033[K", (int)n, strbuf_string(&b));
            shown_in_place = 1;
        } else {
            fprintf(stderr, "%s\n", strbuf_string(&b));
        }
        strbuf_free(&b);
    }
    fflush(stderr);
    pthread_mutex_unlock(&mutex);
}

/* ---- Lines, questions, stopping. ---- */

static void notify(void *arg, int is_error, const char *text)
{
    const struct context *ctx = arg;
    log_line(text);
    if (!is_error && ctx->quiet)
        return;
    pthread_mutex_lock(&mutex);
    clear_line();
    fprintf(stderr, is_error ? "saescope: %s\n" : "%s\n", text);
    fflush(stderr);
    pthread_mutex_unlock(&mutex);
}

void frontend_cli_error(void *arg, const char *displayable_text)
{
    notify(arg, 1, displayable_text);
}

static int answer_yes(void)
{
    char line[64];
    if (!fgets(line, sizeof line, stdin))
        return 0;
    return line[0] == 'y' || line[0] == 'Y';
}

static int asks; /* whether somebody is there to be asked */

static int confirm(void *arg, const char *question)
{
    const struct context *ctx = arg;
    if (ctx->yes)
        return 1;
    if (!asks || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return 0;
    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    return answer_yes();
}

static int stop(void *arg)
{
    if (stop_signal() && !told) {
        told = 1;
        notify(arg, 0, "stopping; once more ends at once");
    }
    return stop_signal() != 0;
}

void frontend_cli_start(struct context *ctx, int batch)
{
    static struct frontend frontend = {.notify = notify, .confirm = confirm, .progress = progress, .stop = stop};
    frontend.arg = ctx;
    asks = !batch;
    shown_at = clock_seconds();
    ctx->frontend = &frontend;
}
