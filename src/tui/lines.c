/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Command lines: what is typed and what files hold. Each line is run to its end before the next: instant
 * commands at once, others on the command thread, jobs of a file until they are over. Nothing of it keeps the
 * UI thread waiting.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/lexer.h"
#include "saescope/command/parse.h"
#include "saescope/tui/app.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define DEPTH_MAX      16

struct lines {
    struct lines *next;  /* of the app's list */
    struct lines *outer; /* its `source` waits for this file's end */
    char *path;          /* NULL: typed */
    char *directory;     /* paths are relative to it; NULL: the working directory */
    char *text;
    size_t n, offset;
    int line, at, depth, startup;
    int busy;          /* a command of it runs, or a file that it sources */
    uint64_t *waiting; /* jobs that must end first */
    size_t n_waiting;
    struct strbuf out; /* what a file's commands printed */
};

static void step(struct app *a, struct lines *l);

static void free_lines(struct lines *l)
{
    free(l->path);
    free(l->directory);
    free(l->text);
    free(l->waiting);
    strbuf_free(&l->out);
    free(l);
}

static struct lines *new_lines(struct app *a, char *text, size_t n)
{
    struct lines *l = xcalloc(1, sizeof *l);
    l->text = text;
    l->n = n;
    l->line = 1;
    l->next = a->lines;
    a->lines = l;
    return l;
}

/* Ends a file or a typed line; the file that sourced it goes on, or ends as well when this one failed. */
static void finish(struct app *a, struct lines *l, int failed)
{
    struct lines *outer = l->outer;
    for (struct lines **p = &a->lines; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    if (l->path && !l->startup && l->out.length > 0)
        output_show(a, l->path, strbuf_string(&l->out), l->out.length);
    else if (l->path && l->startup && !failed)
        app_message(a, 0, "%s is done", path_base(l->path));
    free_lines(l);
    if (outer) {
        outer->busy = 0;
        if (failed && !a->ctx->keep_going)
            finish(a, outer, 1);
        else
            step(a, outer);
    }
}

/* 0: goes on; -1: l has ended. */
static int fail(struct app *a, struct lines *l, const char *message)
{
    if (l->path)
        app_message(a, 1, "%s:%d: %s", path_base(l->path), l->at, message);
    else
        app_message_text(a, 1, message);
    if (l->path && a->ctx->keep_going)
        return 0;
    finish(a, l, 1);
    return -1;
}

/* The output as one line, when it is one, or is short and tells of something that was done ("name x", "was
 * y"). */
static char *one_line(const struct task *t)
{
    int did = t->inv && t->inv->command->needs_store > 1, blank = 1;
    size_t n = t->n_output, lines = 1;
    struct strbuf b = STRBUF_INIT;
    while (n > 0 && isspace((unsigned char)t->output[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++) {
        lines += t->output[i] == '\n';
        if (t->output[i] == '\n')
            strbuf_adds(&b, ", ");
        else if (t->output[i] != ' ' || !blank)
            strbuf_addc(&b, t->output[i]);
        blank = t->output[i] == ' ' || t->output[i] == '\n';
    }
    if (lines == 1 || (did && lines <= 4))
        return strbuf_detach(&b);
    strbuf_free(&b);
    return NULL;
}

static void show_output(struct app *a, struct lines *l, const struct task *t)
{
    if (l && l->path) {
        strbuf_add(&l->out, t->output, t->n_output);
        return;
    }
    char *line = one_line(t);
    if (!line)
        output_show(a, t->title, t->output, t->n_output);
    else if (*line && strlen(line) > (size_t)screen_width() * 2 / 3)
        output_show(a, t->title, t->output, t->n_output);
    else if (*line)
        app_message(a, 0, "%s", line);
    free(line);
}

static void note_jobs(struct app *a, struct lines *l, struct task *t)
{
    if (t->n_submitted == 0)
        return;
    jobs_update(a, 1);
    for (size_t i = 0; i < t->n_submitted; i++) {
        const struct job_status *j = app_job(a, t->submitted[i]);
        app_message(a, 0, "job %llu queued: %s", (unsigned long long)t->submitted[i],
                    j ? j->title : t->title);
    }
    if (!l || !l->path || !t->inv || t->inv->background || t->inv->detach)
        return;
    free(l->waiting);
    l->waiting = t->submitted;
    l->n_waiting = t->n_submitted;
    t->submitted = NULL;
}

/* What a command gave, when it is over. 0: its lines go on; -1: they have ended. */
static int take_result(struct app *a, struct lines *l, struct task *t)
{
    if (l)
        l->busy = 0;
    if (t->status != STATUS_OK) {
        if (l)
            return fail(a, l, t->error.message);
        app_message_text(a, 1, t->error.message);
        return 0;
    }
    if (t->n_submitted == 0)
        show_output(a, l, t);
    note_jobs(a, l, t);
    return 0;
}

void lines_task_done(struct app *a, struct task *t)
{
    struct lines *l = t->lines;
    int status = take_result(a, l, t);
    task_free(t);
    if (status == 0 && l)
        step(a, l);
}

/* ---- One line. ---- */

static char *title_of(struct word_list *words)
{
    struct strbuf b = STRBUF_INIT, shown = STRBUF_INIT;
    for (size_t i = 0; i < words->n; i++) {
        strbuf_adds(&b, i ? " " : "");
        lexer_quote(&b, words->words[i]);
    }
    displayable(&shown, strbuf_string(&b), b.length);
    strbuf_free(&b);
    return strbuf_detach(&shown);
}

static int source_file(struct app *a, const char *path, struct lines *outer, int startup, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int status = file_read(path, FILE_BYTES_MAX, &text, err);
    if (status == STATUS_OK && outer && outer->depth >= DEPTH_MAX)
        status =
            error_set(err, STATUS_REFUSED, "%s: files source one another more than %d deep", path, DEPTH_MAX);
    if (status != STATUS_OK) {
        strbuf_free(&text);
        return status;
    }
    size_t n = text.length, base = (size_t)(path_base(path) - path);
    struct lines *l = new_lines(a, strbuf_detach(&text), n);
    l->path = xstrdup(path);
    l->directory = base ? xstrndup(path, base) : xstrdup(".");
    l->outer = outer;
    l->startup = startup;
    if (outer) {
        l->depth = outer->depth + 1;
        outer->busy = 1;
    }
    step(a, l);
    return STATUS_OK;
}

/* 1: the command is one that this file does itself. */
static int own_command(struct app *a, struct lines *l, struct invocation *inv, int *status, struct error *err)
{
    *status = STATUS_OK;
    if (strcmp(inv->command->name, "source") == 0) {
        const char *outer = a->ctx->directory;
        a->ctx->directory = l->directory;
        char *path = context_path(a->ctx, invocation_argument(inv, 0));
        a->ctx->directory = outer;
        *status = source_file(a, path, l, 0, err);
        free(path);
        return 1;
    }
    if (strcmp(inv->command->name, "wait") == 0) {
        unsigned long long id = 0;
        const char *word = invocation_argument(inv, 0);
        size_t n;
        jobs_update(a, 1);
        const struct job_status *jobs = app_jobs(a, &n);
        if (word && (parse_u64(word, 1, UINT64_MAX >> 1, &id) != 0 || !app_job(a, id))) {
            *status = error_set(err, STATUS_REFUSED, "no job %s", word);
            return 1;
        }
        l->waiting = xreallocarray(l->waiting, n + 1, sizeof *l->waiting);
        for (size_t i = 0; i < n; i++)
            if (!job_state_final(jobs[i].state) && (id == 0 || jobs[i].id == id))
                l->waiting[l->n_waiting++] = jobs[i].id;
        return 1;
    }
    return 0;
}

/* `explore [SAE[/ID]]`, as the program is called, or a name or an address alone. 1: the words are that. */
static int go_to_place(struct app *a, struct word_list *words, int *status, struct error *err)
{
    size_t used;
    if (words->pipe || command_of_words(words->words, words->n, &used))
        return 0;
    if (strcmp(words->words[0], "explore") == 0 && words->n <= 2) {
        *status = app_open_named(a, words->n == 2 ? words->words[1] : NULL, err);
        return 1;
    }
    if (words->n > 1)
        return 0;
    *status = app_open_named(a, words->words[0], err);
    return *status == STATUS_OK || strchr(words->words[0], '/');
}

/* 1: the command is shown by a view, on what was typed after its name. */
static int shown_by_view(struct app *a, const struct lines *l, const struct invocation *inv,
                         const struct word_list *words)
{
    struct strbuf target = STRBUF_INIT;
    const struct command *c = inv->command;
    if (!c->view || l->path || inv->pipe || inv->json || inv->tsv || (inv->n_options && !c->view_reads_options))
        return 0;
    if (strcmp(c->view, "latent") == 0) { /* or the meta-latent's */
        app_open_address(a, inv->arguments[0]);
        return 1;
    }
    for (size_t i = strchr(inv->command->name, ' ') ? 2 : 1; i < words->n; i++) {
        strbuf_adds(&target, target.length ? " " : "");
        lexer_quote(&target, words->words[i]);
    }
    app_open(a, inv->command->view, strbuf_string(&target));
    strbuf_free(&target);
    return 1;
}

/* Starts the command; 0: its lines go on (it is over, or they are busy); -1: they have ended. */
static int start(struct app *a, struct lines *l, struct word_list *words)
{
    struct error err = {0};
    struct invocation *inv;
    int status;
    if (!l->path && go_to_place(a, words, &status, &err))
        return status == STATUS_OK ? 0 : fail(a, l, err.message);
    status = invocation_from_words(a->ctx, words->words, words->n, &inv, &err);
    if (status != STATUS_OK)
        return fail(a, l, err.message);
    inv->line = words->line;
    inv->pipe = words->pipe;
    words->pipe = NULL;
    if (own_command(a, l, inv, &status, &err)) {
        invocation_free(inv);
        return status == STATUS_OK ? 0 : fail(a, l, err.message);
    }
    if (shown_by_view(a, l, inv, words)) {
        invocation_free(inv);
        return 0;
    }
    struct task *t = xcalloc(1, sizeof *t);
    t->inv = inv;
    t->title = title_of(words);
    t->directory = l->directory ? xstrdup(l->directory) : NULL;
    t->allow_pipe = !l->startup;
    t->may_copy = !l->path && !inv->pipe && !inv->json && !inv->tsv;
    t->lines = l;
    l->busy = 1;
    if (inv->command->cost != COST_INSTANT || inv->command->needs_store || inv->pipe) {
        runner_submit(a, t);
        return 0;
    }
    task_run_here(a, t);
    status = take_result(a, l, t);
    task_free(t);
    if (a->ctx->quit) {
        a->ctx->quit = 0;
        app_quit(a);
    }
    return status;
}

/* Runs lines until one takes time. */
static void step(struct app *a, struct lines *l)
{
    while (!l->busy && l->n_waiting == 0 && !a->quit) {
        struct word_list words = {0};
        struct error err = {0};
        if (l->offset >= l->n) {
            finish(a, l, 0);
            return;
        }
        int status =
            lexer_next(l->text, l->n, &l->offset, &l->line, a->ctx->settings, !l->startup, &words, &err);
        l->at = words.line;
        if (status != STATUS_OK)
            status = fail(a, l, err.message);
        else if (words.n > 0)
            status = start(a, l, &words);
        word_list_free(&words);
        if (status != 0)
            return;
    }
}

/* ---- Waiting for jobs. ---- */

/* Takes the jobs that are over off the list. 0, or -1 when the lines have ended because one failed. */
static int check_jobs(struct app *a, struct lines *l)
{
    for (size_t i = 0; i < l->n_waiting;) {
        const struct job_status *j = app_job(a, l->waiting[i]);
        if (j && !job_state_final(j->state) && j->state != JOB_INTERRUPTED) {
            i++;
            continue;
        }
        l->waiting[i] = l->waiting[--l->n_waiting];
        if (j && j->state != JOB_DONE) {
            struct strbuf b = STRBUF_INIT;
            strbuf_addf(&b, "job %llu (%s) is %s%s%s", (unsigned long long)j->id, j->title,
                        job_state_name(j->state), *j->message ? ": " : "", j->message);
            int status = fail(a, l, strbuf_string(&b));
            strbuf_free(&b);
            if (status != 0)
                return -1;
        }
    }
    return 0;
}

void lines_jobs_changed(struct app *a)
{
    /* A step may end any of them, so look from the start after each. */
    for (int again = 1; again;) {
        again = 0;
        for (struct lines *l = a->lines; l && !again; l = l->next)
            if (l->n_waiting > 0) {
                if (check_jobs(a, l) != 0)
                    again = 1;
                else if (l->n_waiting == 0) {
                    step(a, l);
                    again = 1;
                }
            }
    }
}

/* ---- From outside. ---- */

void lines_run_text(struct app *a, const char *text)
{
    step(a, new_lines(a, xstrdup(text), strlen(text)));
}

int lines_run_file(struct app *a, const char *path, int startup, struct error *err)
{
    return source_file(a, path, NULL, startup, err);
}

size_t lines_count(const struct app *a)
{
    size_t n = 0;
    for (const struct lines *l = a->lines; l; l = l->next)
        n += l->path != NULL;
    return n;
}

void lines_free(struct app *a)
{
    while (a->lines) {
        struct lines *next = a->lines->next;
        free_lines(a->lines);
        a->lines = next;
    }
}
