/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Views. A view is one file: private data, an ops table, one line in src/tui/views.c. Handlers never draw: they return what
 * became invalid; only the frame function calls draw. Nothing here touches tensor pages on the UI thread: data that needs
 * the store beyond small records is asked for with query_start, and the view shows `…` until it is there.
 */
#ifndef SAESCOPE_TUI_VIEW_H
#define SAESCOPE_TUI_VIEW_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/command/command.h"
#include "saescope/tui/canvas.h"

struct view;
struct app;

enum invalid {
    INVALID_NONE = 0,
    INVALID_DRAW = 1,   /* draw again */
    INVALID_NOT_MINE = 2 /* the view does not know this action: the app's generic ones apply */
};

/* Named things that keys are bound to. A view's own actions come first, then the generic ones; what is no action is a
 * command line. The table feeds keys, `?`, the palette and the manual. */
struct action {
    const char *name; /* "next-latent" */
    const char *keys; /* default keys, blank-separated: "j Down", "<C-d>", "?" */
    const char *help; /* one line */
};
extern const struct action generic_actions[]; /* ends with name NULL */

struct view_ops {
    const char *name;    /* "latents": for bind, open, help */
    const char *summary; /* one line for help */
    const struct action *actions; /* ends with name NULL; NULL: none */
    size_t private_size;
    /* Starts on a target ("wn-4096", "wn-4096/12", ""); returns quickly (queries fetch the data). */
    int (*open)(struct view *v, const char *target, struct error *err);
    void (*draw)(struct view *v, const struct canvas *c);
    /* action: its name. count: the number typed before it, or -1. Returns INVALID_ bits. */
    int (*act)(struct view *v, const char *action, long count);
    /* What the status line shows after the view's place: short, displayable, appended to `out`. */
    void (*status)(struct view *v, struct strbuf *out);
    /* Keys that matter here, for the bottom line, for example "Enter opens  / search"; NULL: from actions. */
    const char *hint;
    /* The store changed (a commit by anybody), or a setting of a topic: fetch again what may be stale. */
    int (*refresh)(struct view *v);
    /* The address or name that the selected row is about ("wn-4096/12"), for `y` and links; empty: none. */
    void (*selected)(struct view *v, struct strbuf *out);
    /* Where the cursor is, to be put back by < and >: any text that restore understands. */
    void (*save_place)(struct view *v, struct strbuf *out);
    void (*restore_place)(struct view *v, const char *place);
    /* `/` search: goes to the next match of `pattern` (direction ±1); 0 found, -1 not. NULL: no search here. */
    int (*search)(struct view *v, const char *pattern, int direction);
    void (*close)(struct view *v); /* queries were cancelled */
};
extern const struct view_ops *const views[]; /* NULL-terminated */

struct view {
    const struct view_ops *ops;
    struct app *app;
    char *target;
    int focused;
    void *data; /* private_size bytes, zeroed */
};

/* ---- What views ask of the app. ---- */
struct store *app_store(struct app *a); /* NULL while there is none */
struct settings *app_settings(struct app *a);
struct context *app_context(struct app *a);
/* Opens a view on a target, pushing it on the history: a link was followed. */
void app_open(struct app *a, const char *view, const char *target);
/* Opens "SAE" (its latents), "META/N" (view meta) or "SAE/N" (view latent), whichever it is. */
void app_open_address(struct app *a, const char *address);
/* A line for the bottom and :messages. */
void app_message(struct app *a, int is_error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Runs a command line as if typed at the prompt. */
void app_run(struct app *a, const char *line);
/* Opens the prompt with text typed in already (":" commands), or asks for one line and calls done. */
void app_prompt_command(struct app *a, const char *initial);
void app_ask(struct app *a, const char *prompt, const char *initial, void (*done)(struct view *v, const char *answer));
int app_width(struct app *a);
int app_height(struct app *a);
double app_time(struct app *a); /* monotonic seconds; fixed in tests */

/* ---- Queries: work on the query thread with its own read transaction; one at a time a view and slot: starting a
 * new one in the same slot cancels the old. ---- */
#define QUERY_SLOTS 5
struct query {
    int (*cancelled)(struct query *q); /* poll between slices */
    void *state;
};
/*
 * work(q, t, arg, &result, err) runs on the query thread; t is a read transaction of the app's store. done(v, result,
 * status, err) runs on the UI thread and takes the result over; it returns INVALID_ bits. When the query is cancelled,
 * discard(result) frees it (if any). arg_free(arg) is called when work is over.
 */
struct query_spec {
    int (*work)(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err);
    int (*done)(struct view *v, void *result, int status, const struct error *err);
    void (*discard)(void *result);
    void (*arg_free)(void *arg);
};
/* A monitor for computations that a query makes: they are cancelled with it. */
struct query_watch {
    struct monitor monitor;
    struct query *query;
};
struct query_watch query_watch(struct query *q);
void query_start(struct view *v, int slot, const struct query_spec *spec, void *arg);
void query_cancel(struct view *v, int slot);
int query_busy(const struct view *v, int slot);

/* ---- A list with a cursor, for rows of any number; only visible ones are asked for. ---- */
struct list {
    size_t n;           /* rows */
    size_t cursor, top; /* selected row, first visible row */
    int height;         /* visible rows, set when drawn */
};
/* The generic motions of actions.c, with counts: up to row-to-bottom, and jump (count: the row's number from 1);
 * INVALID_NOT_MINE otherwise. */
int list_act(struct list *l, const char *action, long count);
/* The k-th row after `at` (direction > 0) or before it, going round n rows; k is 1 to n. */
size_t row_round(size_t at, size_t k, size_t n, int direction);
void list_set_count(struct list *l, size_t n);        /* keeps the cursor where it can */
void list_layout(struct list *l, int height);         /* before drawing: the cursor becomes visible */
void list_scroll_mark(const struct list *l, const struct canvas *c); /* position mark at the right edge */

#endif
