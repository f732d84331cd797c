/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The explorer without a terminal: keys from a script, screens into files. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

#define SIZE_MAX_CELLS 1000
#define WAIT_SECONDS   60 /* something hangs */
#define FIXED_TIME     1000.0

/* One key of "ab<Enter>c"; returns how many bytes it takes, 0 when it is none. */
static size_t next_key(const char *text, char key[KEY_TEXT_MAX], struct error *err)
{
    char one[KEY_TEXT_MAX];
    const char *end = text[0] == '<' && text[1] && text[1] != '>' ? strchr(text, '>') : NULL;
    size_t n = end && end - text < KEY_TEXT_MAX - 1 ? (size_t)(end - text) + 1 : 1;
    while (n < 4 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n++;
    snprintf(one, sizeof one, "%.*s", (int)n, text);
    if (key_canonical(one, key, err) == STATUS_OK)
        return n;
    if (n == 1)
        return 0;
    snprintf(key, KEY_TEXT_MAX, "%c", text[0]); /* a '<' that begins no name */
    return 1;
}

static int type_keys(struct app *a, const char *text, struct error *err)
{
    char key[KEY_TEXT_MAX];
    while (*text && !a->quit) {
        size_t n = next_key(text, key, err);
        if (n == 0)
            return err->code;
        app_key(a, key);
        if (a->mode == INPUT_PROMPT)
            prompt_timeout(a); /* an ESC is one, as no more bytes come at once */
        app_tick(a);
        text += n;
    }
    return STATUS_OK;
}

/* Until no query is under way and everything is drawn. */
static int wait_idle(struct app *a, struct error *err)
{
    double begin = clock_seconds();
    do {
        if (clock_seconds() - begin > WAIT_SECONDS)
            return error_set(err, STATUS_FAILED, "wait: still busy after %d s", WAIT_SECONDS);
        if (!app_idle(a))
            usleep(1000);
        app_tick(a);
        if (a->invalid)
            app_draw(a);
    } while (!a->quit && (!app_idle(a) || a->invalid));
    return STATUS_OK;
}

/* Until a job that is unfinished ends. */
static int wait_jobs(struct app *a, struct error *err)
{
    double begin = clock_seconds();
    int status = STATUS_OK;
    do {
        status = wait_idle(a, err);
        jobs_update(a, 1);
        usleep(5000);
        if (status == STATUS_OK && clock_seconds() - begin > WAIT_SECONDS)
            status = error_set(err, STATUS_FAILED, "wait-jobs: still busy after %d s", WAIT_SECONDS);
    } while (status == STATUS_OK && !a->quit && (app_jobs_active(a) > 0 || lines_count(a) > 0));
    return status == STATUS_OK ? wait_idle(a, err) : status;
}

static int dump(struct app *a, const char *path, struct error *err)
{
    struct strbuf b = STRBUF_INIT;
    app_draw(a);
    screen_dump(&b);
    int status = file_write_atomic(path, strbuf_string(&b), b.length, err);
    strbuf_free(&b);
    return status;
}

static int run_line(struct app *a, const char *line, struct error *err)
{
    int width, height;
    if (*line == '\0' || *line == '#')
        return STATUS_OK;
    if (strncmp(line, "keys ", 5) == 0)
        return type_keys(a, line + 5, err);
    if (strcmp(line, "wait") == 0)
        return wait_idle(a, err);
    if (strcmp(line, "wait-jobs") == 0)
        return wait_jobs(a, err);
    if (strncmp(line, "dump ", 5) == 0)
        return dump(a, line + 5, err);
    if (sscanf(line, "size %dx%d", &width, &height) == 2 && width > 0 && height > 0 &&
        width <= SIZE_MAX_CELLS && height <= SIZE_MAX_CELLS) {
        screen_resize(width, height);
        a->invalid |= INVALID_DRAW;
        return STATUS_OK;
    }
    return error_set(err, STATUS_USAGE,
                     "the script's lines are keys, wait, wait-jobs, size WxH, dump FILE; not '%s'", line);
}

static int run_script(struct app *a, const char *script, struct error *err)
{
    char *copy = xstrdup(script), *rest = NULL;
    int status = STATUS_OK;
    for (char *line = strtok_r(copy, "\n", &rest); line && status == STATUS_OK && !a->quit;
         line = strtok_r(NULL, "\n", &rest))
        status = run_line(a, line, err);
    free(copy);
    return status;
}

int tui_run_script(struct context *ctx, const char *target, int width, int height, const char *script,
                   struct error *err)
{
    struct screen_options options = {.headless = 1,
                                     .width = width,
                                     .height = height,
                                     .color = settings_text(ctx->settings, "color"),
                                     .ascii = settings_switch(ctx->settings, "ascii")};
    if (width < 1 || height < 1 || width > SIZE_MAX_CELLS || height > SIZE_MAX_CELLS)
        return error_set(err, STATUS_USAGE, "a screen of %dx%d is not possible", width, height);
    struct app *a = xcalloc(1, sizeof *a);
    int background = ctx->background_jobs;
    int status = app_start(a, ctx, &options, err);
    if (status == STATUS_OK) {
        a->fixed_time = FIXED_TIME;
        status = app_begin(a, target, err);
        if (status == STATUS_OK)
            status = run_script(a, script, err);
        app_end(a);
        ctx->background_jobs = background;
    }
    free(a);
    return status;
}
