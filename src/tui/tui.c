/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The explorer from the outside. */
#include "config.h"

#include <signal.h>
#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/command/lineedit.h"
#include "saescope/command/shell.h"
#include "saescope/tui/app.h"

/* The store view is below everything, so that q ends there. */
int app_begin(struct app *a, const char *target, struct error *err)
{
    struct error startup = {0};
    int status = history_open(a, view_find("store"), "", err);
    if (status == STATUS_OK && target && *target)
        status = app_open_named(a, target, err);
    if (status == STATUS_OK && a->ctx->startup_script &&
        lines_run_file(a, a->ctx->startup_script, 1, &startup) != STATUS_OK)
        app_message_text(a, 1, startup.message);
    return status;
}

int tui_run(struct context *ctx, const char *target, struct error *err)
{
    struct app *a = xcalloc(1, sizeof *a);
    struct screen_options options = {.color = settings_text(ctx->settings, "color"),
                                     .ascii = settings_switch(ctx->settings, "ascii")};
    int background = ctx->background_jobs, ended_by = 0;
    char *history = history_path();
    int status = app_start(a, ctx, &options, err);
    if (status == STATUS_OK) {
        lineedit_history_load(history);
        status = app_begin(a, target, err);
        if (status == STATUS_OK)
            app_loop(a);
        ended_by = a->ended_by;
        app_end(a);
        ctx->background_jobs = background;
        lineedit_history_save();
    }
    free(history);
    free(a);
    if (ended_by)
        raise(ended_by); /* with the handlers that were there before */
    return status;
}
