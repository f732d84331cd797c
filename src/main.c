/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Options and nothing else. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/blas.h"
#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/command/command.h"
#include "saescope/command/complete.h"
#include "saescope/command/config.h"
#include "saescope/command/docs.h"
#include "saescope/command/frontend_cli.h"
#include "saescope/command/keymap.h"
#include "saescope/command/options.h"
#include "saescope/command/shell.h"
#include "saescope/command/version.h"
#include "saescope/tui/tui.h"

static int fail(struct context *ctx, const struct error *err)
{
    frontend_cli_error(ctx, err->message);
    return err->code;
}

/* -S, $SAESCOPE_STORE, $XDG_DATA_HOME/saescope/store; malloc'd. */
static char *store_directory(const char *given)
{
    const char *variable = getenv("SAESCOPE_STORE");
    if (given)
        return xstrdup(given);
    if (variable && *variable)
        return xstrdup(variable);
    char *data = xdg_directory("DATA"), *path = path_join(data, "store");
    free(data);
    return path;
}

static char *own_path(const char *argv0)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    return n > 0 ? xstrndup(path, (size_t)n) : xstrdup(argv0);
}

/* ---- Modes. ---- */

static int no_terminal(struct context *ctx)
{
    struct error err;
    error_set(&err, STATUS_USAGE, "this needs a terminal: `saescope shell` reads commands from standard input, "
                                  "`saescope -c 'COMMANDS'` runs some, --help tells more");
    return fail(ctx, &err);
}

static int run_tui(struct context *ctx, const struct program_arguments *a, const char *target)
{
    struct error err = {0};
    int status, width = 80, height = 24;
    char rest;
    if (a->tui_script) {
        struct strbuf script = STRBUF_INIT;
        if (a->size && sscanf(a->size, "%dx%d%c", &width, &height, &rest) != 2)
            status = error_set(&err, STATUS_USAGE, "--size takes WIDTHxHEIGHT");
        else
            status = file_read(a->tui_script, (size_t)1 << 20, &script, &err);
        if (status == STATUS_OK)
            status = tui_run_script(ctx, target, width, height, strbuf_string(&script), &err);
        strbuf_free(&script);
    } else if (a->batch || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return no_terminal(ctx);
    } else {
        status = tui_run(ctx, target, &err);
    }
    return status == STATUS_OK ? status : fail(ctx, &err);
}

static int run_explore(struct context *ctx, const struct program_arguments *a)
{
    struct error err;
    if (a->n_words > 2 || (a->n_words == 2 && a->words[1][0] == '-')) {
        error_set(&err, STATUS_USAGE, "explore takes one SAE or address: explore [SAE[/ID]]");
        return fail(ctx, &err);
    }
    return run_tui(ctx, a, a->n_words == 2 ? a->words[1] : NULL);
}

/* Runs the shipped script to its end, and every job that it queued. */
static int build_demo(struct context *ctx, const char *script)
{
    static const char wait[] = "wait";
    struct script_options o = {.out = stdout, .error_line = frontend_cli_error, .arg = ctx};
    int status = script_run_file(ctx, script, &o);
    return status == STATUS_OK && ctx->n_submitted > 0 ? script_run(ctx, wait, strlen(wait), &o) : status;
}

static int run_demo(struct context *ctx, const struct program_arguments *a)
{
    struct error err;
    const char *directory = NULL;
    int build_only = 0, status;
    for (size_t i = 1; i < a->n_words; i++) {
        const char *word = a->words[i];
        if (strcmp(word, "--build-only") == 0) {
            build_only = 1;
        } else if (strcmp(word, "--dir") == 0 && i + 1 < a->n_words) {
            directory = a->words[++i];
        } else if (strncmp(word, "--dir=", 6) == 0 && word[6]) {
            directory = word + 6;
        } else {
            error_set(&err, STATUS_USAGE, "demo takes --dir DIR and --build-only");
            return fail(ctx, &err);
        }
    }
    char *data = xdg_directory("DATA"), *script = shipped_file("demo.saescope");
    char *path = directory ? xstrdup(directory) : path_join(data, "demo");
    free(data);
    const char *outer = ctx->store_options.path;
    ctx->store_options.path = path;
    if (!path_exists(script)) {
        error_set(&err, STATUS_REFUSED, "the demo's files are missing: %s", script);
        status = fail(ctx, &err);
    } else if (build_only) {
        status = build_demo(ctx, script);
    } else {
        struct store *s;
        ctx->startup_script = script;
        status = context_store(ctx, 2, &s, &err);
        status = status == STATUS_OK ? run_tui(ctx, a, NULL) : fail(ctx, &err);
        ctx->startup_script = NULL;
    }
    /* The store is closed before its path goes. */
    context_close(ctx, strcmp(settings_text(ctx->settings, "on-hangup"), "detach") == 0);
    ctx->store_options.path = outer;
    free(path);
    free(script);
    return status;
}

static int run_inputs(struct context *ctx, const struct program_arguments *a)
{
    struct script_options o = {.keep_going = a->keep_going,
                               .allow_pipe = 1,
                               .out = stdout,
                               .error_line = frontend_cli_error,
                               .arg = ctx};
    int first = STATUS_OK;
    for (size_t i = 0; i < a->n_inputs && !ctx->quit && !stop_signal(); i++) {
        const char *text = a->inputs[i].text;
        int status = a->inputs[i].is_file ? script_run_file(ctx, text, &o) : script_run(ctx, text, strlen(text), &o);
        if (first == STATUS_OK)
            first = status;
        if (status != STATUS_OK && !a->keep_going)
            break;
    }
    return first;
}

static int run_words(struct context *ctx, const struct program_arguments *a)
{
    struct error err = {0};
    struct invocation *inv;
    int status = invocation_from_words(ctx, a->words, a->n_words, &inv, &err);
    if (status == STATUS_OK) {
        ctx->allow_pipe = 1;
        status = command_run(ctx, inv, stdout, &err);
        invocation_free(inv);
    }
    return status == STATUS_OK || ctx->output_closed ? status : fail(ctx, &err);
}

/* `saescope complete -- WORDS...`, for the shell's completion. */
static int run_complete(struct context *ctx, const struct program_arguments *a)
{
    size_t first = a->n_words > 1 && strcmp(a->words[1], "--") == 0 ? 2 : 1;
    char **candidates = completion_of_words(ctx, a->words + first, a->n_words - first);
    for (size_t i = 0; candidates && candidates[i]; i++)
        puts(candidates[i]);
    completion_free(candidates);
    return STATUS_OK;
}

static int run_docs(struct context *ctx, const char *list)
{
    struct strbuf b = STRBUF_INIT;
    struct error err = {0};
    int status = STATUS_OK;
    if (strcmp(list, "keys") == 0)
        tui_docs(&b);
    else
        status = docs_list(list, &b, &err);
    if (status == STATUS_OK)
        fputs(strbuf_string(&b), stdout);
    strbuf_free(&b);
    return status == STATUS_OK ? status : fail(ctx, &err);
}

static int dispatch(struct context *ctx, const struct program_arguments *a)
{
    static const struct {
        const char *name;
        int (*run)(struct context *ctx, const struct program_arguments *a);
    } modes[] = {{"explore", run_explore}, {"demo", run_demo}, {"complete", run_complete}};
    if (a->docs)
        return run_docs(ctx, a->docs);
    if (a->n_inputs > 0)
        return run_inputs(ctx, a);
    if (a->n_words == 0)
        return run_tui(ctx, a, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++)
        if (strcmp(a->words[0], modes[i].name) == 0)
            return modes[i].run(ctx, a);
    if (strcmp(a->words[0], "shell") == 0 && a->n_words == 1)
        return shell_run(ctx, a->keep_going);
    return run_words(ctx, a);
}

/* ---- Setting up. ---- */

static void print_usage(void)
{
    struct strbuf b = STRBUF_INIT;
    strbuf_adds(&b, "usage: saescope [OPTIONS]                    open the explorer on the store\n");
    strbuf_adds(&b, "       saescope [OPTIONS] COMMAND [WORDS]    run one command; `saescope help` lists them\n");
    strbuf_adds(&b, "       saescope [OPTIONS] -c COMMANDS | -f FILE\n");
    for (const struct program_mode *m = program_modes; m->name; m++)
        strbuf_addf(&b, "       saescope [OPTIONS] %s\n%44s %s\n", m->usage, "", m->summary);
    strbuf_adds(&b, "\noptions:\n");
    for (const struct program_option *o = program_options; o->letter || o->spec.name; o++) {
        char left[80];
        snprintf(left, sizeof left, "%c%c%s%s%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter && o->spec.name ? ", " : "  ", o->spec.name ? "--" : "", o->spec.name ? o->spec.name : "",
                 o->spec.value ? " " : "", o->spec.value ? o->spec.value : "");
        strbuf_addf(&b, "  %-22s %s\n", left, o->spec.help);
    }
    fputs(strbuf_string(&b), stdout);
    strbuf_free(&b);
}

/* What the environment says, then what the options say, over the configuration. */
static int apply_arguments(struct context *ctx, const struct program_arguments *a, struct error *err)
{
    const char *no_color = getenv("NO_COLOR");
    unsigned long long seed = 0;
    int status = STATUS_OK;
    if ((no_color && *no_color) || a->batch)
        status = settings_set(ctx->settings, "color", "never", err);
    if (status == STATUS_OK && a->color && !a->batch)
        status = settings_set(ctx->settings, "color", a->color, err);
    if (status == STATUS_OK && a->log)
        status = log_open(a->log, err);
    if (a->seed && parse_u64(a->seed, 0, UINT64_MAX >> 1, &seed) == 0) {
        ctx->seed = seed;
        ctx->seed_given = 1;
    }
    return status;
}

static void context_start(struct context *ctx, const struct program_arguments *a, const char *store, char *program)
{
    *ctx = (struct context){
        .store_options = {.path = store, .read_only = a->read_only, .exclusive = a->exclusive},
        .settings = settings_new(),
        .keymap = keymap_new(),
        .format = a->json ? WRITE_JSON : a->tsv ? WRITE_TSV : WRITE_TEXT,
        .quiet = a->quiet,
        .yes = a->yes,
        .program = program,
    };
    frontend_cli_start(ctx, a->batch);
}

/* Jobs that run stop at a checkpoint, or go on in processes of their own. */
static void context_end(struct context *ctx)
{
    context_close(ctx, strcmp(settings_text(ctx->settings, "on-hangup"), "detach") == 0);
    settings_free(ctx->settings);
    keymap_free(ctx->keymap);
    free(ctx->submitted);
}

static int run(const struct program_arguments *a, const char *argv0)
{
    struct context ctx;
    struct error err = {0};
    unsigned long long threads = 0;
    char *store = store_directory(a->store), *program = own_path(argv0);
    context_start(&ctx, a, store, program);
    stop_signals_start();
    if (a->threads)
        parse_u64(a->threads, 0, 4096, &threads);
    parallel_start((size_t)threads);
    int status = config_load(&ctx, a->config);
    if (status == STATUS_OK) {
        status = apply_arguments(&ctx, a, &err);
        if (status != STATUS_OK)
            fail(&ctx, &err);
    }
    if (status == STATUS_OK)
        status = dispatch(&ctx, a);
    context_end(&ctx);
    parallel_stop();
    if (stop_signal())
        status = 128 + stop_signal();
    if (fflush(stdout) != 0 && errno != EPIPE && status == STATUS_OK) {
        fprintf(stderr, "saescope: standard output cannot be written: %s\n", strerror(errno));
        status = STATUS_FAILED;
    }
    if (ctx.output_closed && status == STATUS_FAILED)
        status = 128 + SIGPIPE;
    free(store);
    free(program);
    return status;
}

int main(int argc, char **argv)
{
    struct program_arguments arguments;
    struct error err = {0};
    blas_start();
    locale_start();
    int status = program_arguments_parse(argc, argv, &arguments, &err);
    if (status != STATUS_OK) {
        fprintf(stderr, "saescope: %s\n", err.message);
        return status;
    }
    if (arguments.help)
        print_usage();
    else if (arguments.version)
        version_print(stdout, tui_curses_version());
    else
        status = run(&arguments, argc > 0 ? argv[0] : "saescope");
    program_arguments_free(&arguments);
    return status;
}
