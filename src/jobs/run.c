/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One job's run: its monitor, how it ends, and how it leaves this process. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/engine.h"

#define REPORT_SECONDS 0.1  /* at most ten reports a second go to the file */
#define PAUSE_SECONDS  0.05 /* how often a paused job looks at its control word */

/* ---- What is shown. ---- */
static void write_progress(struct job_entry *entry)
{
    entry->progress.updated = clock_seconds();
    job_file_write(&entry->file, &entry->progress);
}

void entry_show(struct job_entry *entry, enum job_state state, const char *message)
{
    struct job_progress *p = &entry->progress;
    pthread_mutex_lock(&entry->mutex);
    int same = p->state == (uint32_t)state && !strcmp(p->message, message) && p->pid == (int32_t)getpid();
    if (!same) {
        p->state = (uint32_t)state;
        p->pid = (int32_t)getpid();
        snprintf(p->message, sizeof(p->message), "%s", message);
        write_progress(entry);
    }
    pthread_mutex_unlock(&entry->mutex);
    if (!same)
        engine_changed(entry->engine);
}

void entry_tell(struct job_entry *entry)
{
    if (!entry->report)
        return;
    struct job_status status;
    pthread_mutex_lock(&entry->mutex);
    struct job_progress p = entry->progress;
    pthread_mutex_unlock(&entry->mutex);
    enum job_state state = (enum job_state)p.state;
    if (!job_state_final(state) && job_file_control(&entry->file) == JOB_CONTROL_CANCEL)
        state = JOB_CANCELLING;
    job_status_fill(entry->record, entry->id, state, &p, &status);
    entry->report(&status, entry->arg);
}

/* ---- The monitor. ---- */
static void report(struct monitor *m, const struct progress *reported)
{
    struct job_entry *entry = (struct job_entry *)m;
    double now = clock_seconds();
    pthread_mutex_lock(&entry->mutex);
    struct job_progress *p = &entry->progress;
    int phase_is_new = strncmp(p->phase, reported->phase ? reported->phase : "", sizeof(p->phase) - 1) != 0;
    p->elapsed = entry->elapsed_before + now - entry->began - entry->rested;
    job_progress_take(p, &entry->start, reported);
    int due = phase_is_new || now - entry->reported >= REPORT_SECONDS;
    if (due) {
        entry->reported = now;
        write_progress(entry);
    }
    pthread_mutex_unlock(&entry->mutex);
    if (due) {
        engine_changed(entry->engine);
        entry_tell(entry);
    }
}

static void pause_briefly(void)
{
    struct timespec t = {0, (long)(PAUSE_SECONDS * 1e9)};
    nanosleep(&t, NULL);
}

/* A paused job gives its slot up, so that another may compute, and stands in line for one when it goes on. */
static void rest(struct job_entry *entry)
{
    pthread_mutex_lock(&entry->engine->mutex);
    entry->resting = 1;
    pthread_cond_broadcast(&entry->engine->wake);
    pthread_mutex_unlock(&entry->engine->mutex);
}

static int wake_up(struct job_entry *entry)
{
    struct job_engine *e = entry->engine;
    size_t running = 0;
    pthread_mutex_lock(&e->mutex);
    for (size_t i = 0; i < e->n_entries; i++)
        running += e->entries[i]->phase == ENTRY_STARTED && !e->entries[i]->resting;
    int room = running < e->max_jobs;
    if (room)
        entry->resting = 0;
    pthread_mutex_unlock(&e->mutex);
    return room;
}

static enum stop_reason asked_to_stop(struct job_entry *entry)
{
    struct job_engine *e = entry->engine;
    switch (job_file_control(&entry->file)) {
    case JOB_CONTROL_CANCEL:
        return STOP_CANCEL;
    case JOB_CONTROL_DETACH:
        return e->program ? STOP_DETACH : STOP_INTERRUPT;
    case JOB_CONTROL_RUN:
    case JOB_CONTROL_PAUSE:
        break;
    }
    if (entry->stopped && entry->stopped(entry->arg))
        return entry->cancel_on_stop && !entry->kind->can_checkpoint ? STOP_CANCEL : STOP_INTERRUPT;
    pthread_mutex_lock(&e->mutex);
    enum stop_reason stopping = e->stopping;
    pthread_mutex_unlock(&e->mutex);
    return stopping;
}

static enum monitor_request ask(struct monitor *m)
{
    struct job_entry *entry = (struct job_entry *)m;
    double since = 0;
    enum stop_reason reason;
    for (;;) {
        reason = (enum stop_reason)atomic_load(&entry->stop);
        if (reason == STOP_NONE)
            reason = asked_to_stop(entry);
        int paused = job_file_control(&entry->file) == JOB_CONTROL_PAUSE;
        if (reason != STOP_NONE || (!paused && (since <= 0 || wake_up(entry))))
            break;
        if (since <= 0) {
            since = clock_seconds();
            rest(entry);
        }
        entry_show(entry, paused ? JOB_PAUSED : JOB_WAITING,
                   paused ? "" : "waiting for another job to pause or end");
        entry_tell(entry);
        pause_briefly();
    }
    if (since > 0) {
        pthread_mutex_lock(&entry->mutex);
        entry->rested += clock_seconds() - since;
        pthread_mutex_unlock(&entry->mutex);
        entry_show(entry, JOB_RUNNING, "");
    }
    if (reason == STOP_NONE)
        return MONITOR_GO_ON;
    atomic_store(&entry->stop, (int)reason);
    return reason != STOP_CANCEL && entry->kind->can_checkpoint ? MONITOR_CHECKPOINT : MONITOR_CANCEL;
}

/* A pause waits for the end of a slice, as does a checkpoint: the work under way is not thrown away for them.
 */
static int cancelled(struct monitor *m)
{
    struct job_entry *entry = (struct job_entry *)m;
    enum stop_reason reason = (enum stop_reason)atomic_load(&entry->stop);
    if (reason == STOP_NONE)
        reason = asked_to_stop(entry);
    if (reason == STOP_NONE || (reason != STOP_CANCEL && entry->kind->can_checkpoint))
        return 0;
    atomic_store(&entry->stop, (int)reason);
    return 1;
}

void entry_init(struct job_entry *entry)
{
    pthread_mutex_init(&entry->mutex, NULL);
    entry->monitor.report = report;
    entry->monitor.ask = ask;
    entry->monitor.cancelled = cancelled;
    job_file_read(&entry->file, &entry->progress); /* of an earlier run: its curve and time go on */
    entry->elapsed_before = entry->progress.elapsed;
    entry_show(entry, JOB_QUEUED, "");
}

/* ---- Ends. ---- */
static void finish(struct job_entry *entry, enum job_state state)
{
    struct error failure;
    const char *message = state == JOB_DONE ? "" : entry->error.message;
    json *result = entry->result ? json_retain(entry->result) : NULL;
    if (job_record_finish(entry->engine->store, entry->id, state, entry->status, message, result, &failure)) {
        entry->status = failure.code;
        entry->error = failure;
        entry_show(entry, JOB_FAILED, failure.message);
        return;
    }
    entry_show(entry, state, message);
    entry_tell(entry);
}

/* A job that this engine, on its way out, hands over starts after the one before it: each runner is a process
 * of its own, and together they would compute all at once. */
static void wait_for_previous(struct job_entry *entry)
{
    struct job_engine *e = entry->engine;
    uint64_t previous = 0;
    pthread_mutex_lock(&e->mutex);
    for (size_t i = 0; e->stopping && i < e->n_entries && e->entries[i]->id < entry->id; i++)
        previous = e->entries[i]->id;
    pthread_mutex_unlock(&e->mutex);
    struct error ignored;
    json *record = previous ? job_record_read(e->store, entry->id, &ignored) : NULL;
    if (!record)
        return;
    json *after = json_get(record, "after"), *other = json_new_object();
    json_set(other, "job", json_new_integer((long long)previous));
    json_set(other, "name", json_new_null());
    json_append(after, other);
    store_job_put(e->store, entry->id, record, &ignored);
    json_free(record);
}

static void hand_over(struct job_entry *entry)
{
    struct job_engine *e = entry->engine;
    struct error failure;
    pid_t pid = 0;
    wait_for_previous(entry);
    entry_show(entry, JOB_QUEUED, "");
    if (job_file_control(&entry->file) == JOB_CONTROL_DETACH)
        job_file_set_control(&entry->file, JOB_CONTROL_RUN);
    job_file_lock(&entry->file, JOB_LOCK_HANDOVER);
    job_file_unlock(&entry->file, JOB_LOCK_OWNER);
    if (job_spawn(e->store, e->program, entry->id, &entry->file, &pid, &failure) == STATUS_OK)
        entry->status = error_set(&entry->error, STATUS_FAILED, "job %llu goes on in process %ld",
                                  (unsigned long long)entry->id, (long)pid);
    else {
        entry->status = failure.code;
        entry->error = failure;
    }
}

static void let_go(struct job_entry *entry)
{
    entry_show(entry, JOB_INTERRUPTED, "");
    entry->status =
        error_set(&entry->error, STATUS_FAILED, "job %llu is interrupted: resume %llu goes on with it",
                  (unsigned long long)entry->id, (unsigned long long)entry->id);
}

void entry_leave(struct job_entry *entry, enum stop_reason reason)
{
    if (reason == STOP_CANCEL) {
        entry->status = error_set(&entry->error, STATUS_FAILED, "cancelled");
        finish(entry, JOB_CANCELLED);
    } else if (reason == STOP_DETACH && entry->engine->program) {
        hand_over(entry);
    } else {
        let_go(entry);
    }
}

void entry_fail(struct job_entry *entry)
{
    finish(entry, JOB_FAILED);
}

void entry_run(struct job_entry *entry)
{
    struct store *s = entry->engine->store;
    char *work = store_work_directory(s, entry->id, &entry->error);
    if (!work) {
        entry->status = entry->error.code;
        entry_fail(entry);
        return;
    }
    entry->monitor.work_dir = work;
    pthread_mutex_lock(&entry->mutex);
    entry->began = clock_seconds();
    pthread_mutex_unlock(&entry->mutex);
    entry_show(entry, JOB_RUNNING, "");
    entry_tell(entry);
    int status = entry->kind->run(s, entry->id, json_get(entry->record, "parameters"), &entry->monitor,
                                  &entry->result, &entry->error);
    entry->monitor.work_dir = NULL;
    free(work);
    entry->status = status;
    enum stop_reason reason = (enum stop_reason)atomic_load(&entry->stop);
    if (status == STATUS_OK) {
        finish(entry, JOB_DONE);
    } else if (status == STATUS_CHECKPOINTED || reason == STOP_INTERRUPT || reason == STOP_DETACH) {
        entry_leave(entry, reason == STOP_DETACH ? STOP_DETACH : STOP_INTERRUPT);
    } else if (reason == STOP_CANCEL) {
        entry_leave(entry, STOP_CANCEL);
    } else {
        entry_fail(entry);
    }
}
