/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running one invocation: its writer, its pipe; long ones as jobs. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "saescope/base/memory.h"
#include "saescope/command/command.h"

static int run_to(struct context *ctx, const struct invocation *inv, FILE *f, struct error *err)
{
    enum writer_format format = inv->json ? WRITE_JSON : inv->tsv ? WRITE_TSV : ctx->format;
    struct writer *w = writer_to_file(format, f);
    struct store *s;
    int status = STATUS_OK;
    ctx->output = f;
    if (inv->command->needs_store)
        status = context_store(ctx, inv->command->needs_store, &s, err);
    if (status == STATUS_OK)
        status = inv->command->run(ctx, inv, w, err);
    int writing = status == STATUS_OK;
    if (writing)
        status = writer_commit(w, err);
    else
        writer_discard(w);
    int failure = errno;
    writer_free(w);
    if (fflush(f) != 0)
        failure = errno;
    if (ferror(f) && failure == EPIPE)
        ctx->output_closed = ctx->quit = 1;
    if (ferror(f) && (status == STATUS_OK || writing))
        status = error_system(err, STATUS_FAILED, failure, "the output cannot be written");
    return status;
}

/* The output of a failing command does not reach the pipe: it is run once the result is there. */
static int run_piped(struct context *ctx, const struct invocation *inv, struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&text, &n);
    if (!memory)
        return error_system(err, STATUS_FAILED, errno, "no memory for the pipe");
    int status = run_to(ctx, inv, memory, err);
    fclose(memory);
    if (status == STATUS_OK) {
        FILE *p = popen(inv->pipe, "w");
        if (!p) {
            status = error_system(err, STATUS_FAILED, errno, "cannot start '%s'", inv->pipe);
        } else {
            fwrite(text, 1, n, p);
            int code = pclose(p);
            if (code != 0)
                status = error_set(err, STATUS_FAILED, "'%s' ended with status %d", inv->pipe,
                                   WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code));
        }
    }
    free(text);
    return status;
}

int command_run(struct context *ctx, const struct invocation *inv, FILE *f, struct error *err)
{
    int quiet = ctx->quiet, yes = ctx->yes, status;
    FILE *outer = ctx->output;
    ctx->quiet |= inv->quiet;
    ctx->yes |= inv->yes;
    fflush(f);
    status = inv->pipe ? run_piped(ctx, inv, err) : run_to(ctx, inv, f, err);
    ctx->quiet = quiet;
    ctx->yes = yes;
    ctx->output = outer;
    return status;
}

struct foreground {
    struct context *ctx;
};

static void report(const struct job_status *status, void *arg)
{
    struct context *ctx = ((struct foreground *)arg)->ctx;
    const struct frontend *f = ctx->frontend;
    if (f && f->progress && !ctx->quiet)
        f->progress(f->arg, status);
}

static int stop(void *arg)
{
    const struct frontend *f = ((struct foreground *)arg)->ctx->frontend;
    return f && f->stop ? f->stop(f->arg) : 0;
}

static void write_queued(struct writer *out, uint64_t id, const char *kind)
{
    writer_own_text(out);
    writer_line(out, "job %llu, %s: queued", (unsigned long long)id, kind);
    writer_begin_object(out, NULL);
    writer_integer(out, "job", (long long)id);
    writer_string(out, "kind", kind);
    writer_end_object(out);
}

static int write_result(struct context *ctx, const json *result, struct writer *out, struct error *err)
{
    (void)ctx;
    (void)err;
    writer_json(out, NULL, result);
    return STATUS_OK;
}

int command_run_job(struct context *ctx, const struct invocation *inv, const char *kind, json *parameters,
                    struct writer *out, struct error *err)
{
    return command_run_job_with(ctx, inv, kind, parameters, write_result, out, err);
}

int command_run_job_with(struct context *ctx, const struct invocation *inv, const char *kind, json *parameters,
                         job_result_writer *write, struct writer *out, struct error *err)
{
    struct job_engine *engine;
    uint64_t id;
    int status = context_engine(ctx, &engine, err);
    if (status != STATUS_OK) {
        json_free(parameters);
        return status;
    }
    if (inv->detach || inv->background || (ctx->background_jobs && !inv->wait)) {
        status = inv->detach ? job_submit_detached(engine, kind, parameters, &id, err)
                             : job_submit(engine, kind, parameters, &id, err);
        if (status == STATUS_OK) {
            write_queued(out, id, kind);
            ctx->submitted = xreallocarray(ctx->submitted, ctx->n_submitted + 1, sizeof *ctx->submitted);
            ctx->submitted[ctx->n_submitted++] = id;
        }
        return status;
    }
    struct foreground foreground = {ctx};
    json *result = NULL;
    status = job_run_here(engine, kind, parameters, report, stop, &foreground, &id, &result, err);
    report(NULL, &foreground);
    if (status == STATUS_OK)
        status = write(ctx, result, out, err);
    json_free(result);
    return status;
}
