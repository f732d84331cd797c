/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The shell: a loop around lineedit_read. */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/complete.h"
#include "saescope/command/frontend_cli.h"
#include "saescope/command/lexer.h"
#include "saescope/command/lineedit.h"
#include "saescope/command/shell.h"

char *history_path(void)
{
    char *directory = xdg_directory("STATE"), *path = NULL;
    if (make_directories(directory, 0700, NULL) == STATUS_OK)
        path = path_join(directory, "history");
    free(directory);
    return path;
}

static void tell_end(struct context *ctx, const struct job_status *j)
{
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "job %llu, %s: %s", (unsigned long long)j->id, j->title[0] ? j->title : j->kind,
                job_state_name(j->state));
    if (*j->message)
        strbuf_addf(&b, ": %s", j->message);
    ctx->frontend->notify(ctx->frontend->arg, j->state == JOB_FAILED, strbuf_string(&b));
    strbuf_free(&b);
}

/* Tells of jobs that ended since the last prompt. */
static void tell_ended_jobs(struct context *ctx)
{
    size_t kept = 0;
    for (size_t i = 0; i < ctx->n_submitted; i++) {
        struct job_status j;
        int status = job_status_read(ctx->store, ctx->submitted[i], &j, NULL);
        if (status == STATUS_OK && (job_state_final(j.state) || j.state == JOB_INTERRUPTED))
            tell_end(ctx, &j);
        else if (status == STATUS_OK)
            ctx->submitted[kept++] = ctx->submitted[i];
    }
    ctx->n_submitted = kept;
}

/* Whether the text ends inside a quote or behind a backslash: then the next line belongs to it. */
static int unfinished(const char *text)
{
    struct word_list words;
    size_t n = strlen(text), backslashes = 0;
    while (backslashes < n && text[n - 1 - backslashes] == '\\')
        backslashes++;
    lexer_partial(text, n, &words);
    int open = words.last_open && words.last_quote;
    word_list_free(&words);
    return open || backslashes % 2 == 1;
}

/* One command, over several lines if it must; NULL at the end of input. */
static char *read_command(struct context *ctx, int *interrupted)
{
    struct strbuf text = STRBUF_INIT;
    const char *prompt = "saescope> ";
    do {
        char *line = lineedit_read(prompt, completion_candidates, ctx, stop_signal, interrupted);
        if (!line || *interrupted) {
            strbuf_free(&text);
            free(line);
            return line ? xstrdup("") : NULL;
        }
        if (text.length > 0)
            strbuf_addc(&text, '\n');
        strbuf_adds(&text, line);
        free(line);
        prompt = "        > ";
    } while (unfinished(strbuf_string(&text)));
    return strbuf_detach(&text);
}

static int interactive(struct context *ctx)
{
    struct script_options o = {.allow_pipe = 1, .out = stdout, .error_line = frontend_cli_error, .arg = ctx};
    char *path = history_path();
    ctx->background_jobs = 1;
    lineedit_history_load(path);
    while (!ctx->quit) {
        int interrupted = 0;
        tell_ended_jobs(ctx);
        char *text = read_command(ctx, &interrupted);
        if (interrupted && stop_signal() == SIGINT)
            stop_signal_clear();
        if (!text || (stop_signal() && stop_signal() != SIGINT)) {
            free(text);
            break;
        }
        script_run(ctx, text, strlen(text), &o);
        free(text);
        if (stop_signal() == SIGINT)
            stop_signal_clear(); /* it stopped what ran */
    }
    lineedit_history_save();
    free(path);
    return STATUS_OK;
}

int shell_run(struct context *ctx, int keep_going)
{
    struct script_options o = {
        .keep_going = keep_going, .allow_pipe = 1, .out = stdout, .error_line = frontend_cli_error, .arg = ctx};
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return interactive(ctx);
    return script_run_file(ctx, "-", &o);
}
