/* SPDX-License-Identifier: GPL-3.0-or-later */
/* jobs, wait, pause, resume, cancel, run. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

static const struct writer_column job_columns[] = {
    {"id", NULL, "%d", 0},      {"title", "job", NULL, 1},  {"state", NULL, NULL, 1}, {"progress", NULL, "%.2f", 0},
    {"step", NULL, NULL, 0},    {"steps", NULL, NULL, 0},   {"loss", NULL, "%.4g", 0}, {"message", NULL, NULL, 1},
};

static void write_job(struct writer *out, const struct job_status *j)
{
    writer_begin_row(out);
    writer_integer(out, "id", (long long)j->id);
    writer_string(out, "kind", j->kind);
    writer_string(out, "title", j->title);
    writer_string(out, "state", job_state_name(j->state));
    writer_real(out, "progress", j->fraction);
    writer_integer(out, "step", (long long)j->progress.step);
    writer_integer(out, "steps", (long long)j->progress.steps);
    writer_real(out, "loss", j->progress.loss);
    writer_string(out, "message", j->message);
    writer_end_row(out);
}

static int run_jobs(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct job_status *all = NULL;
    size_t n = 0;
    (void)inv;
    int status = job_status_list(ctx->store, &all, &n, err);
    if (status != STATUS_OK)
        return status;
    writer_begin_object(out, NULL);
    writer_begin_table(out, "jobs", job_columns, ARRAY_LENGTH(job_columns));
    for (size_t i = 0; i < n; i++)
        write_job(out, &all[i]);
    writer_end_table(out);
    writer_end_object(out);
    free(all);
    return STATUS_OK;
}

/* The job's number, 0 when none is given. */
static uint64_t job_argument(const struct invocation *inv)
{
    unsigned long long id = 0;
    const char *word = invocation_argument(inv, 0);
    if (word)
        parse_u64(word, 0, UINT64_MAX >> 1, &id);
    return id;
}

/* What became of a job, after a command did something to it. */
static int write_outcome(struct context *ctx, uint64_t id, struct writer *out, struct error *err)
{
    struct job_status j;
    int status = job_status_read(ctx->store, id, &j, err);
    if (status != STATUS_OK)
        return status;
    writer_begin_object(out, NULL);
    writer_integer(out, "id", (long long)id);
    writer_string(out, "kind", j.kind);
    writer_string(out, "state", job_state_name(j.state));
    if (*j.message)
        writer_string(out, "message", j.message);
    writer_end_object(out);
    return STATUS_OK;
}

static int stop_asked(void *arg)
{
    const struct frontend *f = ((struct context *)arg)->frontend;
    return f && f->stop ? f->stop(f->arg) : 0;
}

static void report(const struct job_status *status, void *arg)
{
    const struct frontend *f = ((struct context *)arg)->frontend;
    if (f && f->progress)
        f->progress(f->arg, status);
}

static int run_wait(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct job_engine *engine;
    uint64_t id = job_argument(inv);
    struct job_status j;
    int status = context_engine(ctx, &engine, err);
    if (status == STATUS_OK)
        status = job_wait(engine, id, stop_asked, ctx, err);
    if (status != STATUS_OK)
        return status;
    if (id == 0) /* people are told of each job as it ends */
        return writer_format(out) == WRITE_JSON ? run_jobs(ctx, inv, out, err) : STATUS_OK;
    status = job_status_read(ctx->store, id, &j, err);
    if (status == STATUS_OK && j.state != JOB_DONE)
        return error_set(err, STATUS_FAILED, "job %llu is %s%s%s", (unsigned long long)id, job_state_name(j.state),
                         *j.message ? ": " : "", j.message);
    return status == STATUS_OK ? write_outcome(ctx, id, out, err) : status;
}

static int run_pause(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    int status = job_pause(ctx->store, job_argument(inv), err);
    return status == STATUS_OK ? write_outcome(ctx, job_argument(inv), out, err) : status;
}

static int run_cancel(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    int status = job_cancel(ctx->store, job_argument(inv), err);
    return status == STATUS_OK ? write_outcome(ctx, job_argument(inv), out, err) : status;
}

/* Runs a recorded job on this thread. */
static int run_here(struct context *ctx, uint64_t id, struct writer *out, struct error *err)
{
    struct job_engine *engine;
    json *result = NULL;
    int status = context_engine(ctx, &engine, err);
    if (status == STATUS_OK)
        status = job_run_recorded(engine, id, report, stop_asked, ctx, &result, err);
    if (status == STATUS_OK && result)
        writer_json(out, NULL, result);
    json_free(result);
    return status;
}

/* An interrupted job: in the background of shell and TUI, else to its end. A paused one goes on where it is. */
static int run_resume(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct job_engine *engine;
    struct job_status j;
    uint64_t id = job_argument(inv);
    int status = job_status_read(ctx->store, id, &j, err);
    if (status == STATUS_OK && j.state == JOB_INTERRUPTED && !ctx->background_jobs)
        return run_here(ctx, id, out, err);
    if (status == STATUS_OK)
        status = context_engine(ctx, &engine, err);
    if (status == STATUS_OK)
        status = job_resume(engine, id, err);
    return status == STATUS_OK ? write_outcome(ctx, id, out, err) : status;
}

static int run_run(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    return run_here(ctx, job_argument(inv), out, err);
}

static const struct argument_spec job_arguments[] = {{.name = "ID", .type = WORD_JOB}, {.name = NULL}};
static const struct argument_spec wait_arguments[] = {{.name = "ID", .type = WORD_JOB, .optional = 1}, {.name = NULL}};

const struct command jobs_command = {
    .name = "jobs",
    .group = GROUP_JOBS,
    .summary = "list jobs, newest first",
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_jobs,
};
const struct command wait_command = {
    .name = "wait",
    .group = GROUP_JOBS,
    .summary = "wait until a job, or all of them, have ended",
    .description = "Fails when the job that is named failed, was cancelled or was interrupted.",
    .arguments = wait_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_wait,
};
const struct command pause_command = {
    .name = "pause",
    .group = GROUP_JOBS,
    .summary = "pause a job, whichever process runs it",
    .arguments = job_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_pause,
};
const struct command resume_command = {
    .name = "resume",
    .group = GROUP_JOBS,
    .summary = "let a paused job go on, or take an interrupted one up from its checkpoint",
    .arguments = job_arguments,
    .cost = COST_QUERY,
    .needs_store = 2,
    .run = run_resume,
};
const struct command cancel_command = {
    .name = "cancel",
    .group = GROUP_JOBS,
    .summary = "cancel a job; what it made is thrown away",
    .description = "A pass of the model that is under way ends within; a pause waits for its end.",
    .arguments = job_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_cancel,
};
const struct command run_command = {
    .name = "run",
    .group = GROUP_JOBS,
    .summary = "run a recorded job in this process to its end",
    .arguments = job_arguments,
    .cost = COST_QUERY,
    .needs_store = 2,
    .run = run_run,
};
