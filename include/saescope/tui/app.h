/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of the explorer: what the files of src/tui share. One UI thread owns the terminal and everything here;
 * a query thread works for the views, a command thread runs commands that read or write the store. They hand results over
 * through a queue of events and an eventfd.
 */
#ifndef SAESCOPE_TUI_APP_H
#define SAESCOPE_TUI_APP_H

#include <pthread.h>
#include <stdatomic.h>
#include "saescope/command/command.h"
#include "saescope/command/keymap.h"
#include "saescope/tui/screen.h"
#include "saescope/tui/tui.h"
#include "saescope/tui/view.h"

/* ---- Events: from the other threads to the UI thread (app.c). ---- */
struct event {
    struct event *next;
    void (*run)(struct app *a, struct event *e); /* on the UI thread; frees e */
};
void app_post(struct app *a, struct event *e); /* any thread */

/* ---- Queries (query.c). ---- */
struct query_thread;
struct query_thread *query_thread_start(struct app *a);
void query_thread_stop(struct query_thread *q);
void query_thread_free(struct query_thread *q); /* stopped, and its last events were run */
void query_cancel_view(struct view *v);
int query_thread_idle(struct query_thread *q);

/* ---- Views on the way (history.c): `<` and `>` walk it. ---- */
#define HISTORY_MAX 64
#define HISTORY_LIVE 8 /* views further away are closed, and opened again with their place */

struct history_entry {
    const struct view_ops *ops;
    char *target;
    struct view *view; /* NULL: closed */
    char *place;
    int stale; /* the store changed since it was shown */
};
struct history {
    struct history_entry entries[HISTORY_MAX];
    size_t n, at;
};
const struct view_ops *view_find(const char *name);
struct view *history_view(struct app *a); /* the one that is shown */
int history_open(struct app *a, const struct view_ops *ops, const char *target, struct error *err);
int history_move(struct app *a, int by);  /* 0: moved */
int history_close(struct app *a);         /* 0: the one below is shown; -1: it was the last */
void history_refresh(struct app *a);      /* what is shown now, the others when they come back */
void history_free(struct app *a);

/* ---- Messages (messages.c). ---- */
#define MESSAGES_MAX 500
struct message {
    char *text; /* displayable */
    int is_error;
    double when;
};
void app_message_text(struct app *a, int is_error, const char *displayable_text);
size_t messages_count(const struct app *a);
const struct message *messages_at(const struct app *a, size_t i); /* oldest first */

/* ---- The terminal's clipboard (clipboard.c), unless the setting says no: the notice is on the bottom line. ---- */
void app_copy(struct app *a, const char *text);

/* ---- Jobs as last seen (jobs.c). ---- */
const struct job_status *app_jobs(const struct app *a, size_t *n); /* newest first */
size_t app_jobs_active(const struct app *a);
const struct job_status *app_job(const struct app *a, uint64_t id);
void jobs_update(struct app *a, int all); /* all: also the list, not only the unfinished ones */
void jobs_strip(const struct app *a, struct strbuf *out); /* "jobs 1 ▶ 42%", empty when none is active */
void job_act(struct app *a, const char *action, const struct job_status *job); /* toggle, cancel, detach */
/* One line about a job over the canvas' width: bar, rate, time left, curve. */
void job_line(const struct canvas *c, int y, const struct job_status *j, enum style style);

/* ---- Commands (run.c, lines.c). ---- */
struct runner;
struct runner *runner_start(struct app *a);
void runner_stop(struct runner *r);
void runner_free(struct runner *r); /* stopped, and its last events were run */
int runner_idle(const struct app *a);     /* no command runs or waits for its turn */
void runner_interrupt(struct app *a);     /* asks what runs to stop */
const char *runner_now(const struct app *a); /* what runs, displayable; NULL: nothing */

/* A command that is run for a line of text; it ends on the UI thread. */
struct task {
    struct event event;
    struct task *next;
    struct invocation *inv; /* or: */
    int (*work)(struct context *ctx, void *arg, struct error *err);
    void *arg;
    char *title; /* the command as typed, displayable */
    struct settings *settings; /* a copy of the UI thread's, so that both may read */
    char *directory;
    int allow_pipe;
    int may_copy; /* its result may go to the clipboard instead of being shown */
    struct lines *lines; /* what goes on when it is done, or NULL */
    /* Filled in by the command thread. */
    int status;
    struct error error;
    char *output;
    size_t n_output;
    uint64_t *submitted;
    size_t n_submitted;
    struct store *store;
    struct job_engine *engine;
};
void runner_submit(struct app *a, struct task *t);   /* takes it over */
/* Something else than a command for the command thread, for example what needs the job engine. */
void runner_call(struct app *a, const char *title, int (*work)(struct context *ctx, void *arg, struct error *err),
                 void *arg);
void task_run_here(struct app *a, struct task *t);   /* on the UI thread; instant commands */
void task_free(struct task *t);
int run_piped_text(const char *command, const char *text, size_t n, char **output, size_t *n_output,
                   struct error *err);

/* Lines of the command language being worked off, each to its end. */
void lines_run_text(struct app *a, const char *text);            /* typed */
int lines_run_file(struct app *a, const char *path, int startup, struct error *err);
void lines_task_done(struct app *a, struct task *t); /* frees it */
void lines_jobs_changed(struct app *a);
void lines_free(struct app *a);
size_t lines_count(const struct app *a); /* files being sourced */

/* ---- Text that commands gave (view_output.c). ---- */
void output_show(struct app *a, const char *title, const char *text, size_t n);
void outputs_free(struct app *a);

/* ---- The bottom line and what pops up over it (prompt.c, palette.c, question.c). ---- */
enum input_mode { INPUT_KEYS, INPUT_PROMPT, INPUT_PALETTE, INPUT_QUESTION };

void prompt_open_command(struct app *a, const char *initial);
void prompt_open_search(struct app *a);
void prompt_feed(struct app *a, const char *bytes, size_t n);
void prompt_timeout(struct app *a);
void prompt_close(struct app *a);
void prompt_draw(struct app *a, const struct canvas *bottom, const struct canvas *body);
void prompt_view_closed(struct app *a, const struct view *v);

void palette_open(struct app *a);
void palette_close(struct app *a);
int palette_key(struct app *a, const char *key);
void palette_draw(struct app *a, const struct canvas *body);

/* Asks for one of `choices` (characters); Esc gives 0. done is called once. */
void question_ask(struct app *a, const char *text, const char *choices,
                  void (*done)(struct app *a, char answer, void *arg), void *arg);
void question_key(struct app *a, const char *key);
void question_draw(struct app *a, const struct canvas *bottom);
void question_cancel(struct app *a);

/* ---- Keys to actions (generic.c) and their table (bindings.c). ---- */
#define PENDING_KEYS 4
enum binding { BINDING_NONE, BINDING_PREFIX, BINDING_FOUND };
/* What a row of keys means in a view: an action's name or a command line. */
enum binding binding_find(const struct app *a, const struct view_ops *ops, char keys[][KEY_TEXT_MAX], size_t n,
                          const char **target);
/* Keys of an action as shown to people: "j, Down". */
void binding_keys(const struct action *action, struct strbuf *out);
const struct action *action_find(const struct view_ops *ops, const char *name); /* the view's or a generic one */

void app_act(struct app *a, const char *target, long count); /* an action's name or a command line */
void app_quit(struct app *a);
int app_open_named(struct app *a, const char *target, struct error *err); /* "SAE", "SAE/ID", NULL: the store */

struct app {
    struct context *ctx;
    const struct frontend *outer_frontend;
    struct frontend frontend;
    pthread_t ui_thread;

    int signals; /* descriptor */
    pthread_mutex_t mutex;
    struct event *first_event, **last_event; /* mutex */
    _Atomic int stop_commands;

    struct history history;
    struct query_thread *queries;
    struct runner *runner;
    struct lines *lines;
    struct message messages[MESSAGES_MAX]; /* a ring */
    size_t n_messages;                     /* ever */
    int message_shown;                     /* the last one is on the bottom line */
    struct job_status *jobs;
    size_t n_jobs;
    void *outputs;

    enum input_mode mode;
    struct prompt *prompt;
    struct palette *palette;
    struct question *question;
    char pending[PENDING_KEYS][KEY_TEXT_MAX];
    size_t n_pending;
    long count; /* typed so far, or -1 */
    char *pattern; /* of the last search */

    int headless, invalid, quit, open_tried;
    int ended_by; /* a signal */
    double fixed_time, next_draw, next_look, next_jobs, key_time;
    uint64_t generation;
    unsigned screen_changes, latents_changes, latent_changes, jobs_changes;
};

#define SCREEN_MIN_WIDTH 40
#define SCREEN_MIN_HEIGHT 10

int app_start(struct app *a, struct context *ctx, const struct screen_options *screen, struct error *err);
int app_begin(struct app *a, const char *target, struct error *err); /* the first views, the startup script */
void app_end(struct app *a);
void app_tick(struct app *a);   /* events, the store's changes, jobs */
void app_draw(struct app *a);
void app_key(struct app *a, const char *key);
int app_idle(struct app *a);    /* nothing is under way but jobs */
void app_loop(struct app *a);

#endif
