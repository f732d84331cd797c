/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Texts in the command language, run line after line. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/command.h"
#include "saescope/command/lexer.h"

#define SCRIPT_BYTES_MAX ((size_t)16 << 20)

/* "FILE:LINE: message" to the front end. */
static void tell(const struct script_options *o, int line, const struct error *err)
{
    struct strbuf b = STRBUF_INIT;
    if (o->where) {
        displayable(&b, o->where, strlen(o->where));
        strbuf_addf(&b, ":%d: ", line);
    }
    strbuf_adds(&b, err->message);
    if (o->error_line)
        o->error_line(o->arg, strbuf_string(&b));
    strbuf_free(&b);
}

static int run_words(struct context *ctx, struct word_list *words, const struct script_options *o, struct error *err)
{
    struct invocation *inv;
    int status = invocation_from_words(ctx, words->words, words->n, &inv, err);
    if (status != STATUS_OK)
        return status;
    const char *name = inv->command->name;
    if (ctx->configuring && strcmp(name, "set") != 0 && strcmp(name, "bind") != 0 && strcmp(name, "source") != 0) {
        invocation_free(inv);
        return error_set(err, STATUS_USAGE, "only set, bind and source may stand in a configuration file");
    }
    inv->line = words->line;
    inv->pipe = words->pipe;
    words->pipe = NULL;
    status = command_run(ctx, inv, o->out, err);
    invocation_free(inv);
    return status;
}

int script_run(struct context *ctx, const char *text, size_t n, const struct script_options *o)
{
    size_t offset = 0;
    int line = 1, first_failure = STATUS_OK, outer_keep_going = ctx->keep_going, outer_pipe = ctx->allow_pipe;
    ctx->keep_going = o->keep_going;
    ctx->allow_pipe = o->allow_pipe;
    while (offset < n && !ctx->quit) {
        struct word_list words;
        struct error err = {0};
        int status = lexer_next(text, n, &offset, &line, ctx->settings, o->allow_pipe, &words, &err);
        int at = words.line;
        if (status == STATUS_OK && words.n > 0)
            status = run_words(ctx, &words, o, &err);
        word_list_free(&words);
        if (status != STATUS_OK) {
            if (!ctx->output_closed)
                tell(o, at, &err);
            if (first_failure == STATUS_OK)
                first_failure = status;
            if (!o->keep_going)
                break;
        }
        if (ctx->frontend && ctx->frontend->stop && ctx->frontend->stop(ctx->frontend->arg))
            break;
    }
    ctx->keep_going = outer_keep_going;
    ctx->allow_pipe = outer_pipe;
    return first_failure;
}

int script_run_file(struct context *ctx, const char *path, const struct script_options *o)
{
    struct strbuf text = STRBUF_INIT;
    struct error err = {0};
    struct script_options options = *o;
    const char *outer = ctx->directory;
    char *directory = NULL;
    int status = file_read(path, SCRIPT_BYTES_MAX, &text, &err);
    if (status != STATUS_OK) {
        options.where = NULL;
        tell(&options, 0, &err);
        strbuf_free(&text);
        return status;
    }
    if (strcmp(path, "-") != 0) {
        /* Paths in a script are relative to it. */
        size_t n = (size_t)(path_base(path) - path);
        directory = n ? xstrndup(path, n) : xstrdup(".");
        ctx->directory = directory;
    }
    options.where = strcmp(path, "-") == 0 ? "standard input" : path;
    status = script_run(ctx, strbuf_string(&text), text.length, &options);
    ctx->directory = outer;
    free(directory);
    strbuf_free(&text);
    return status;
}
