/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What commands run in: the store and the job engine, opened when first needed; paths. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/command.h"

int context_store(struct context *ctx, int needs, struct store **out, struct error *err)
{
    *out = ctx->store;
    if (needs > 1 && (ctx->store_options.read_only || (ctx->store && store_is_read_only(ctx->store))))
        return error_set(err, STATUS_STORE, "the store %s is open read-only", ctx->store_options.path);
    if (ctx->store)
        return STATUS_OK;
    struct store_options options = ctx->store_options;
    options.create = needs > 1;
    int status = store_open(&options, &ctx->store, err);
    *out = ctx->store;
    return status;
}

int context_engine(struct context *ctx, struct job_engine **out, struct error *err)
{
    struct store *s;
    int status = STATUS_OK;
    if (!ctx->engine) {
        status = context_store(ctx, 2, &s, err);
        if (status == STATUS_OK) {
            struct job_engine_options options = {
                .max_jobs = (size_t)settings_count(ctx->settings, "max-jobs"),
                .program = ctx->program,
                .changed = ctx->jobs_changed,
                .arg = ctx->jobs_changed_arg,
            };
            status = job_engine_start(s, &options, &ctx->engine, err);
        }
    }
    *out = ctx->engine;
    return status;
}

char *context_path(const struct context *ctx, const char *path)
{
    if (strcmp(path, "-") == 0)
        return xstrdup(path);
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && getenv("HOME"))
        return path_join(getenv("HOME"), path[1] ? path + 2 : "");
    return ctx->directory ? path_join(ctx->directory, path) : xstrdup(path);
}

void context_close(struct context *ctx, int detach)
{
    if (ctx->engine)
        job_engine_stop(ctx->engine, detach);
    ctx->engine = NULL;
    store_close(ctx->store);
    ctx->store = NULL;
}
