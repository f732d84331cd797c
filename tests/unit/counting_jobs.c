/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kinds of jobs for the tests of the engine. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/internal.h"
#include "counting_jobs.h"

#define MANY 1000000 /* steps of a job that is never meant to get to its end */

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    (void)s;
    if (json_get(parameters, "need"))
        json_append(needs, json_new_string(json_get_string(parameters, "need", "")));
    if (json_get(parameters, "name"))
        json_append(makes, json_new_string(json_get_string(parameters, "name", "")));
    if (json_get_boolean(parameters, "refuse", 0))
        return error_set(err, STATUS_USAGE, "asked to refuse");
    return STATUS_OK;
}

void nap(void)
{
    nanosleep(&(struct timespec){0, 1000 * 1000}, NULL);
}

static uint64_t checkpoint_read(const char *path)
{
    struct strbuf text = STRBUF_INIT;
    unsigned long long step = 0;
    if (file_read(path, 100, &text, NULL) == STATUS_OK)
        parse_u64(strbuf_string(&text), 0, MANY, &step);
    strbuf_free(&text);
    return step;
}

static int checkpoint_write(const char *path, uint64_t step, struct error *err)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)step);
    return file_write_atomic(path, text, strlen(text), err);
}

static int publish(struct store *s, const json *parameters, struct error *err)
{
    artifact_id id;
    const char *name = json_get_string(parameters, "name", NULL);
    if (!name)
        return STATUS_OK;
    json *manifest = json_new_object();
    json_set(manifest, "kind", json_new_string("text"));
    int status = store_create(s, ARTIFACT_TEXT, name, 0, &id, err);
    if (status == STATUS_OK)
        return store_publish(s, id, manifest, err);
    json_free(manifest);
    return status;
}

/* One that has no end but that of the job. */
static int long_slice(struct monitor *m, struct error *err)
{
    while (!monitor_cancelled(m))
        nap();
    return error_set(err, STATUS_FAILED, "cancelled");
}

/* Counts up to "steps"; the checkpoint is the number. */
static int count(struct store *s, const json *parameters, struct monitor *m, int checkpoints, json **result,
                 struct error *err)
{
    struct progress p;
    char *path = path_join(m->work_dir, "step");
    uint64_t steps = (uint64_t)json_get_integer(parameters, "steps", 10);
    uint64_t start = checkpoints ? checkpoint_read(path) : 0;
    int status = STATUS_OK;
    progress_init(&p);
    p.steps = steps;
    p.unit = "steps/s";
    p.phase = "counting";
    for (p.step = start; status == STATUS_OK && p.step < steps; p.step++) {
        enum monitor_request request = monitor_ask(m);
        p.loss = 1000.0 - (double)p.step;
        if (request == MONITOR_CHECKPOINT)
            status =
                checkpoints ? STATUS_CHECKPOINTED : error_set(err, STATUS_FAILED, "asked for a checkpoint");
        else if (request == MONITOR_CANCEL)
            status = error_set(err, STATUS_FAILED, "cancelled");
        else if ((uint64_t)json_get_integer(parameters, "fail_at", -1) == p.step)
            status = error_set(err, STATUS_FAILED, "diverged at step %llu", (unsigned long long)p.step);
        if (checkpoints && (p.step % 10 == 0 || status == STATUS_CHECKPOINTED) &&
            checkpoint_write(path, p.step, err))
            status = STATUS_FAILED;
        monitor_report(m, &p);
        nap();
        if (status == STATUS_OK && (uint64_t)json_get_integer(parameters, "slice_at", -1) == p.step)
            status = long_slice(m, err);
    }
    free(path);
    if (status == STATUS_OK)
        status = publish(s, parameters, err);
    if (status == STATUS_OK) {
        *result = json_new_object();
        json_set(*result, "started_at", json_new_integer((long long)start));
    }
    return status;
}

static int count_run(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
                     struct error *err)
{
    (void)id;
    return count(s, parameters, m, 1, result, err);
}

static int plain_run(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
                     struct error *err)
{
    (void)id;
    return count(s, parameters, m, 0, result, err);
}

static const struct job_kind kind_count = {"count", 1, plan, count_run};
static const struct job_kind kind_plain = {"plain", 0, plan, plain_run};
const struct job_kind *const job_kinds[] = {&kind_count, &kind_plain, NULL};
