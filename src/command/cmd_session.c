/* SPDX-License-Identifier: GPL-3.0-or-later */
/* set, bind, source, quit. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/command/keymap.h"
#include "saescope/command/lexer.h"

#define SOURCE_DEPTH_MAX 16

/* ---- set ---- */

static const char *setting_takes(const struct setting_spec *s)
{
    switch (s->type) {
    case SETTING_COUNT:
        return "whole number";
    case SETTING_NUMBER:
        return "number";
    case SETTING_SWITCH:
        return "on|off";
    case SETTING_CHOICE:
        return s->choices;
    case SETTING_TEXT:
        break;
    }
    return "text";
}

static void setting_members(struct context *ctx, struct writer *out, const struct setting_spec *s)
{
    writer_string(out, "name", s->name);
    writer_string(out, "value", settings_text(ctx->settings, s->name));
    writer_string(out, "default", s->fallback);
    writer_string(out, "takes", setting_takes(s));
    writer_string(out, "help", s->help);
}

static void list_settings(struct context *ctx, struct writer *out)
{
    static const struct writer_column columns[] = {
        {"name", "setting", NULL, 1}, {"value", NULL, NULL, 1}, {"takes", NULL, NULL, 1}, {"help", NULL, NULL, 1}};
    writer_begin_object(out, NULL);
    writer_begin_table(out, "settings", columns, ARRAY_LENGTH(columns));
    for (const struct setting_spec *s = settings_table; s->name; s++) {
        writer_begin_row(out);
        setting_members(ctx, out, s);
        writer_end_row(out);
    }
    writer_end_table(out);
    writer_end_object(out);
}

static int run_set(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *name = invocation_argument(inv, 0), *value = invocation_argument(inv, 1);
    if (!name) {
        list_settings(ctx, out);
        return STATUS_OK;
    }
    if (value) {
        int status = settings_set(ctx->settings, name, value, err);
        if (status != STATUS_OK)
            return status;
        writer_own_text(out);
    } else if (!settings_text(ctx->settings, name)) {
        return settings_set(ctx->settings, name, "", err); /* says which name is near */
    }
    writer_begin_object(out, NULL);
    for (const struct setting_spec *s = settings_table; s->name; s++)
        if (strcmp(s->name, name) == 0)
            setting_members(ctx, out, s);
    writer_end_object(out);
    return STATUS_OK;
}

static const struct argument_spec set_arguments[] = {
    {.name = "KEY", .type = WORD_SETTING, .optional = 1}, {.name = "VALUE", .type = WORD_WORD, .optional = 1}, {.name = NULL}};
const struct command set_command = {
    .name = "set",
    .group = GROUP_SESSION,
    .summary = "list the settings, tell one, or change one",
    .description = "Settings last as long as the session; the configuration file sets them for every session.",
    .arguments = set_arguments,
    .cost = COST_INSTANT,
    .run = run_set,
};

/* ---- bind ---- */

static void list_bindings(struct context *ctx, struct writer *out)
{
    static const struct writer_column columns[] = {
        {"view", NULL, NULL, 1}, {"key", NULL, NULL, 1}, {"command", NULL, NULL, 1}};
    writer_begin_object(out, NULL);
    writer_begin_table(out, "bindings", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < keymap_count(ctx->keymap); i++) {
        const struct key_binding *b = keymap_at(ctx->keymap, i);
        writer_begin_row(out);
        writer_string(out, "view", b->view);
        writer_string(out, "key", b->key);
        writer_string(out, "command", b->command);
        writer_end_row(out);
    }
    writer_end_table(out);
    writer_end_object(out);
}

/* The words behind the key as one command line. A single word is a line already. */
static char *bound_line(const struct invocation *inv)
{
    struct strbuf b = STRBUF_INIT;
    if (inv->n_arguments == 2)
        return xstrdup(inv->arguments[1]);
    for (size_t i = 1; i < inv->n_arguments; i++) {
        if (i > 1)
            strbuf_addc(&b, ' ');
        lexer_quote(&b, inv->arguments[i]);
    }
    return strbuf_detach(&b);
}

static int run_bind(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *view = invocation_option(inv, "view"), *key = invocation_argument(inv, 0);
    char canonical[KEY_TEXT_MAX];
    if (!key) {
        list_bindings(ctx, out);
        return STATUS_OK;
    }
    if (!ctx->keymap)
        ctx->keymap = keymap_new();
    int status = key_canonical(key, canonical, err);
    if (status == STATUS_OK && inv->n_arguments > 1) {
        char *line = bound_line(inv);
        status = keymap_bind(ctx->keymap, view, key, *line ? line : NULL, err);
        free(line);
        writer_own_text(out);
    }
    if (status != STATUS_OK)
        return status;
    writer_begin_object(out, NULL);
    writer_string(out, "view", view);
    writer_string(out, "key", canonical);
    writer_string(out, "command", keymap_find(ctx->keymap, view, canonical));
    writer_end_object(out);
    return STATUS_OK;
}

static const struct argument_spec bind_arguments[] = {{.name = "KEY", .type = WORD_WORD, .optional = 1},
                                                      {.name = "COMMAND", .type = WORD_COMMAND, .optional = 1, .repeated = 1},
                                                      {.name = NULL}};
static const struct option_spec bind_options[] = {
    {.name = "view", .type = WORD_WORD, .value = "VIEW", .help = "only in this view of the full-screen explorer"},
    {.name = NULL},
};
const struct command bind_command = {
    .name = "bind",
    .group = GROUP_SESSION,
    .summary = "bind a key to an action or a command, or list the bindings",
    .description = "KEY is a character or a name as in <Enter>, <PageDown>, <F5>, <C-d>. COMMAND is an action's name (those "
                   "of KEYS) or a command with its words; an empty one ('') takes the binding away. --view stands before the key.",
    .arguments = bind_arguments,
    .options = bind_options,
    .cost = COST_INSTANT,
    .raw_after = 1,
    .run = run_bind,
};

/* ---- source ---- */

struct source_run {
    struct context *ctx;
    struct error *err;
    int failures;
};

static void source_error(void *arg, const char *text)
{
    struct source_run *r = arg;
    const struct frontend *f = r->ctx->frontend;
    if (r->ctx->keep_going && f && f->notify)
        f->notify(f->arg, 1, text);
    if (r->failures++ == 0)
        error_set(r->err, STATUS_FAILED, "%s", text);
}

static int run_source(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    char *path = context_path(ctx, invocation_argument(inv, 0));
    struct source_run run = {ctx, err, 0};
    struct script_options o = {
        .keep_going = ctx->keep_going,
        .allow_pipe = ctx->allow_pipe,
        .out = ctx->output,
        .error_line = source_error,
        .arg = &run,
    };
    int background = ctx->background_jobs, status;
    enum writer_format format = ctx->format;
    if (ctx->source_depth >= SOURCE_DEPTH_MAX) {
        free(path);
        return error_set(err, STATUS_FAILED, "source is nested more than %d deep", SOURCE_DEPTH_MAX);
    }
    /* Line after line, each to its end. */
    ctx->background_jobs = 0;
    ctx->format = writer_format(out);
    ctx->source_depth++;
    status = script_run_file(ctx, path, &o);
    ctx->source_depth--;
    ctx->format = format;
    ctx->background_jobs = background;
    if (status != STATUS_OK && run.failures > 1)
        error_set(err, status, "%d commands of the file failed", run.failures);
    err->code = status;
    free(path);
    return status;
}

static const struct argument_spec source_arguments[] = {{.name = "FILE", .type = WORD_FILE}, {.name = NULL}};
const struct command source_command = {
    .name = "source",
    .group = GROUP_SESSION,
    .summary = "run the commands in a file, one after the other, each to its end",
    .description = "Paths in the file are relative to it. Stops at the first command that fails, unless --keep-going was given.",
    .arguments = source_arguments,
    .cost = COST_JOB,
    .run = run_source,
};

/* ---- quit ---- */

static int run_quit(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    (void)inv;
    (void)out;
    (void)err;
    ctx->quit = 1;
    return STATUS_OK;
}

const struct command quit_command = {
    .name = "quit",
    .group = GROUP_SESSION,
    .summary = "end the session",
    .description = "Jobs that run go on in processes of their own, or stop at a checkpoint, as the setting on-hangup says.",
    .cost = COST_INSTANT,
    .run = run_quit,
};
