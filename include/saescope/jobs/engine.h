/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine's inside, shared by engine.c (queue), run.c (one job's run) and control.c (what others ask of jobs). */
#ifndef SAESCOPE_JOBS_ENGINE_H
#define SAESCOPE_JOBS_ENGINE_H

#include "saescope/jobs/internal.h"

/* A queued entry is started by the clerk when what it waits for is over and a slot is free. */
enum entry_phase { ENTRY_QUEUED, ENTRY_STARTED, ENTRY_ENDED };

/* Why a run was asked to end. */
enum stop_reason { STOP_NONE, STOP_CANCEL, STOP_INTERRUPT, STOP_DETACH };

struct job_entry {
    struct monitor monitor; /* first, so that a monitor is its entry */
    struct job_engine *engine;
    uint64_t id;
    const struct job_kind *kind;
    json *record; /* as it was when this entry was made */
    struct job_file file; /* JOB_LOCK_OWNER is held */

    enum entry_phase phase; /* these four: engine->mutex */
    int resting;            /* paused: it has given its slot up */
    pthread_t thread;
    int has_thread;
    _Atomic int stop; /* enum stop_reason */

    int foreground; /* run by the thread that submitted it */
    int cancel_on_stop; /* its user's stop cancels what cannot go on later */
    void (*report)(const struct job_status *status, void *arg);
    int (*stopped)(void *arg);
    void *arg;

    pthread_mutex_t mutex; /* progress, start, began, rested, reported */
    struct job_progress progress;
    struct job_start start;
    double began;  /* elapsed = elapsed_before + now − began − rested */
    double elapsed_before, rested;
    double reported; /* when progress was last written to the file */

    int status; /* outcome, set before ENTRY_ENDED */
    struct error error;
    json *result;
};

struct job_engine {
    struct store *store;
    size_t max_jobs;
    char *program;
    void (*changed)(void *arg);
    void *arg;

    pthread_mutex_t mutex;
    pthread_cond_t wake; /* monotonic clock */
    struct job_entry **entries; /* ids ascend */
    size_t n_entries, capacity;
    enum stop_reason stopping;
    pthread_t clerk;
};

void engine_changed(struct job_engine *e);
void engine_wait(struct job_engine *e, double seconds); /* holding the mutex */
/* Takes over f (its owner) and reads the record. */
int engine_add(struct job_engine *e, uint64_t id, struct job_file *f, struct job_entry **out, struct error *err);
void engine_remove(struct job_engine *e, struct job_entry *entry);

/* run.c */
void entry_init(struct job_entry *entry);
void entry_run(struct job_entry *entry);                       /* the whole run; sets the outcome, not the phase */
void entry_leave(struct job_entry *entry, enum stop_reason reason); /* a queued one: cancels, lets go or hands over */
void entry_fail(struct job_entry *entry);                      /* a queued one, with its error */
void entry_show(struct job_entry *entry, enum job_state state, const char *message); /* into its file */
void entry_tell(struct job_entry *entry);                      /* status to who asked for reports */

#endif
