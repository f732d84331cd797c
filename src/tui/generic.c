/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From keys to actions, and what the generic actions do. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

#define COUNT_MAX 99999999L

void app_open(struct app *a, const char *view, const char *target)
{
    struct error err = {0};
    const struct view_ops *ops = view_find(view);
    if (a->quit)
        return;
    if (!ops)
        app_message(a, 1, "there is no view named %s", view);
    else if (history_open(a, ops, target ? target : "", &err) != STATUS_OK)
        app_message_text(a, 1, err.message);
}

/* The view that shows it: what it is stands in a small record. */
static int view_of(struct app *a, const char *name, int has_number, const char **view, struct error *err)
{
    struct store_txn *t;
    struct artifact found;
    if (!a->ctx->store)
        return error_set(err, STATUS_STORE, "there is no store yet");
    int status = store_begin(a->ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, has_number ? ARTIFACT_SAE : 0, name, &found, err);
    json *m = status == STATUS_OK ? store_manifest(t, found.id, err) : NULL;
    if (m) {
        const char *kind = json_get_string(m, "kind", "sae");
        *view = found.kind == ARTIFACT_STITCH ? "stitch"
                : found.kind != ARTIFACT_SAE  ? NULL
                : !has_number                 ? "latents"
                : strcmp(kind, "meta") == 0   ? "meta"
                                              : "latent";
        json_free(m);
    } else if (status == STATUS_OK) {
        status = err->code;
    }
    store_end(t);
    return status;
}

int app_open_named(struct app *a, const char *target, struct error *err)
{
    const char *view = "store", *slash = target ? strchr(target, '/') : NULL;
    char *full = slash == target && target ? xasprintf("%s%s", settings_text(a->ctx->settings, "sae"), target)
                                           : xstrdup(target ? target : "");
    int status = STATUS_OK;
    if (target && *target) {
        char *name = xstrndup(full, strcspn(full, "/"));
        status = view_of(a, name, slash != NULL, &view, err);
        free(name);
    }
    if (status == STATUS_OK && !view) {
        char *line = xasprintf("info %s", full);
        app_run(a, line);
        free(line);
    } else if (status == STATUS_OK) {
        const struct view_ops *ops = view_find(view);
        status =
            ops ? history_open(a, ops, full, err) : error_set(err, STATUS_USAGE, "there is no view %s", view);
    }
    free(full);
    return status;
}

void app_open_address(struct app *a, const char *address)
{
    struct error err = {0};
    if (app_open_named(a, address, &err) != STATUS_OK)
        app_message_text(a, 1, err.message);
}

/* ---- Ending. ---- */

static void quit_answered(struct app *a, char answer, void *arg)
{
    (void)arg;
    if (answer == 's' || answer == 'd')
        settings_set(a->ctx->settings, "on-hangup", answer == 'd' ? "detach" : "stop", NULL);
    if (answer)
        a->quit = 1;
}

void app_quit(struct app *a)
{
    size_t n = a->ctx->engine ? job_engine_active(a->ctx->engine) : 0;
    if (n == 0) {
        a->quit = 1;
        return;
    }
    char *text = xasprintf("%zu job%s: d go%s on without the screen, s stop%s at a checkpoint, Esc stay", n,
                           n == 1 ? " runs" : "s run", n == 1 ? "es" : "", n == 1 ? "s" : "");
    question_ask(a, text, "ds", quit_answered, NULL);
    free(text);
}

/* ---- Generic actions. ---- */

static void do_close(struct app *a)
{
    if (history_close(a) != 0)
        app_quit(a);
}

static void do_back(struct app *a)
{
    if (history_move(a, -1) != 0)
        app_message(a, 0, "this is where it began");
}

static void do_forward(struct app *a)
{
    if (history_move(a, 1) != 0)
        app_message(a, 0, "nothing was left to go forth to");
}

static void do_prompt(struct app *a)
{
    prompt_open_command(a, "");
}

static void do_help(struct app *a)
{
    const struct view *v = history_view(a);
    if (strcmp(v->ops->name, "help") != 0)
        app_open(a, "help", v->ops->name);
}

static void show_view(struct app *a, const char *name)
{
    if (strcmp(history_view(a)->ops->name, name) != 0)
        app_open(a, name, "");
}

static void do_store(struct app *a)
{
    show_view(a, "store");
}

static void do_jobs(struct app *a)
{
    show_view(a, "jobs");
}

static void do_messages(struct app *a)
{
    show_view(a, "messages");
}

static void do_copy(struct app *a)
{
    struct view *v = history_view(a);
    struct strbuf b = STRBUF_INIT;
    if (v->ops->selected)
        v->ops->selected(v, &b);
    if (b.length > 0)
        app_copy(a, strbuf_string(&b));
    else
        app_message(a, 0, "nothing here has an address");
    strbuf_free(&b);
}

static void do_stop(struct app *a)
{
    if (!runner_idle(a)) {
        runner_interrupt(a);
        app_message(a, 0, "stopping %s", runner_now(a) ? runner_now(a) : "");
    } else {
        app_message(a, 0, "q closes, ZZ ends the program, :cancel ID ends a job");
    }
}

static void do_suspend(struct app *a)
{
    screen_suspend();
    a->invalid |= INVALID_DRAW;
}

static void do_redraw(struct app *a)
{
    screen_resize(0, 0);
    screen_redraw();
    a->invalid |= INVALID_DRAW;
}

static void find_match(struct app *a, int direction)
{
    struct view *v = history_view(a);
    if (!v->ops->search)
        app_message(a, 0, "nothing can be searched here");
    else if (!a->pattern)
        app_message(a, 0, "nothing was searched for yet: / searches");
    else if (v->ops->search(v, a->pattern, direction) != 0)
        app_message(a, 0, "not found: %s", a->pattern);
    a->invalid |= INVALID_DRAW;
}

static void do_next(struct app *a)
{
    find_match(a, 1);
}

static void do_previous(struct app *a)
{
    find_match(a, -1);
}

static const struct {
    const char *name;
    void (*run)(struct app *a);
} doers[] = {
    {"close", do_close},
    {"quit", app_quit},
    {"back", do_back},
    {"forward", do_forward},
    {"prompt", do_prompt},
    {"palette", palette_open},
    {"help", do_help},
    {"view-store", do_store},
    {"view-jobs", do_jobs},
    {"messages", do_messages},
    {"copy-address", do_copy},
    {"stop", do_stop},
    {"suspend", do_suspend},
    {"redraw", do_redraw},
    {"search", prompt_open_search},
    {"next-match", do_next},
    {"previous-match", do_previous},
};

void app_act(struct app *a, const char *target, long count)
{
    struct view *v = history_view(a);
    if (!action_find(v->ops, target)) {
        lines_run_text(a, target);
        return;
    }
    if (v->ops->act) {
        int r = v->ops->act(v, target, count);
        a->invalid |= r & ~INVALID_NOT_MINE;
        if (!(r & INVALID_NOT_MINE))
            return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(doers); i++)
        if (strcmp(doers[i].name, target) == 0) {
            doers[i].run(a);
            return;
        }
}

/* ---- Keys. ---- */

/* A digit of a count; 0 when it is none. */
static int take_digit(struct app *a, const char *key)
{
    const char *target;
    char keys[1][KEY_TEXT_MAX];
    if (key[0] < '0' || key[0] > '9' || key[1] || (key[0] == '0' && a->count < 0))
        return 0;
    snprintf(keys[0], KEY_TEXT_MAX, "%s", key);
    if (a->count < 0 && binding_find(a, history_view(a)->ops, keys, 1, &target) == BINDING_FOUND)
        return 0;
    a->count = (a->count < 0 ? 0 : a->count) * 10 + (key[0] - '0');
    if (a->count > COUNT_MAX)
        a->count = COUNT_MAX;
    return 1;
}

static void forget_pending(struct app *a)
{
    a->n_pending = 0;
    a->count = -1;
}

static void plain_key(struct app *a, const char *key)
{
    const char *target;
    a->message_shown = 0;
    a->invalid |= INVALID_DRAW;
    if (a->n_pending == 0 && take_digit(a, key))
        return;
    if (strcmp(key, "<Esc>") == 0 && (a->count >= 0 || a->n_pending > 0)) {
        forget_pending(a);
        return;
    }
    if (strcmp(key, "<Backspace>") == 0 && a->count >= 0) {
        a->count = a->count >= 10 ? a->count / 10 : -1;
        return;
    }
    snprintf(a->pending[a->n_pending++], KEY_TEXT_MAX, "%s", key);
    enum binding b = binding_find(a, history_view(a)->ops, a->pending, a->n_pending, &target);
    if (b == BINDING_PREFIX && a->n_pending < PENDING_KEYS)
        return;
    long count = a->count;
    forget_pending(a);
    if (b != BINDING_FOUND)
        return;
    /* A number and Enter go to what has that number. */
    char *action = xstrdup(strcmp(target, "open") == 0 && count >= 0 ? "jump" : target);
    app_act(a, action, count);
    free(action);
}

void app_key(struct app *a, const char *key)
{
    char bytes[16];
    size_t n;
    int small = screen_width() < SCREEN_MIN_WIDTH || screen_height() < SCREEN_MIN_HEIGHT;
    switch (a->mode) {
    case INPUT_KEYS:
        /* What cannot be seen is not done, but leaving is. */
        if (!small || strcmp(key, "q") == 0 || strcmp(key, "<C-z>") == 0 || strcmp(key, "<C-l>") == 0)
            plain_key(a, key);
        break;
    case INPUT_PROMPT:
        n = key_bytes(key, bytes);
        if (n > 0)
            prompt_feed(a, bytes, n);
        break;
    case INPUT_PALETTE:
        a->invalid |= palette_key(a, key);
        break;
    case INPUT_QUESTION:
        question_key(a, key);
        break;
    }
}
