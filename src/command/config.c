/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Configuration files, each over the one before. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/config.h"

static void complain(void *arg, const char *text)
{
    const struct context *ctx = arg;
    if (ctx->frontend && ctx->frontend->notify)
        ctx->frontend->notify(ctx->frontend->arg, 1, text);
}

/* A line that is wrong does not keep the others from being read. */
static int load(struct context *ctx, const char *path, FILE *nowhere)
{
    struct script_options o = {.keep_going = 1, .out = nowhere, .error_line = complain, .arg = ctx};
    return script_run_file(ctx, path, &o);
}

int config_load(struct context *ctx, const char *named)
{
    char *directory = xdg_directory("CONFIG"), *own = path_join(directory, "config");
    const char *system = SYSCONFDIR "/saescope/config";
    const char *variable = getenv("SAESCOPE_CONFIG");
    FILE *nowhere = fopen("/dev/null", "w");
    int status = STATUS_OK, user = STATUS_OK;
    if (!named && variable && *variable)
        named = variable;
    ctx->configuring = 1;
    if (nowhere && path_exists(system))
        status = load(ctx, system, nowhere);
    if (nowhere && (named || path_exists(own)))
        user = load(ctx, named ? named : own, nowhere);
    ctx->configuring = 0;
    if (nowhere)
        fclose(nowhere);
    free(own);
    free(directory);
    return status != STATUS_OK ? status : user;
}
