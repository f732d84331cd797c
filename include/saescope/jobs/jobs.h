/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Jobs: background runs (train, index, evaluate, import, stitch). A job is a record in the store (id counting up,
 * kind, parameters as JSON, what it needs and makes) plus one preallocated 4 KiB file DIR/jobs/ID, mapped by whoever looks: progress
 * (behind a seqlock) and one control word. The process that has it holds a lock on that file, so a killed runner is
 * known at once: unlocked and unfinished is `interrupted`, and job_resume goes on from its checkpoint, if it has one.
 *
 * The engine runs jobs in background threads of this process, one at a time (max-jobs), in the order of their ids; or
 * in `saescope run ID` processes of their own. Who looks at a job need not know which.
 */
#ifndef SAESCOPE_JOBS_JOBS_H
#define SAESCOPE_JOBS_JOBS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "saescope/base/json.h"
#include "saescope/base/monitor.h"
#include "saescope/store/store.h"

enum job_state {
    JOB_QUEUED,
    JOB_WAITING, /* for what another job makes */
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_CANCELLING,
    JOB_CANCELLED,
    JOB_FAILED,
    JOB_INTERRUPTED,
    JOB_DONE
};
const char *job_state_name(enum job_state state);
int job_state_final(enum job_state state); /* cancelled, failed, done */

#define JOB_CURVE_POINTS 240

/* A consistent copy of what is known of a job. */
struct job_status {
    uint64_t id;
    enum job_state state;
    char kind[32];    /* "train sae", "index", ... */
    char title[128];  /* "train sae wn-4096", displayable */
    char message[512]; /* error, or what it waits for; displayable */
    char makes[256];  /* first name that it makes, or empty */
    double fraction;  /* 0 … 1, NaN when not known */
    struct progress progress; /* unit and phase point to static strings */
    double elapsed, left;     /* seconds; NaN when not known */
    pid_t pid;        /* of the runner, 0: none */
    size_t n_curve;   /* loss (or other) over the run, decimated */
    float curve[JOB_CURVE_POINTS];
};

/* ---- Kinds: one file each in src/jobs, one line in src/jobs/kinds.c. Parameters are what the command gave. ---- */
struct job_kind {
    const char *name;
    int can_checkpoint;
    /* Fills arrays "needs" and "makes" (names) of the record from the parameters and checks what can be checked early. */
    int (*plan)(struct store *s, const json *parameters, json *needs, json *makes, struct error *err);
    /* Runs it. *result: the JSON that the command prints. Returns STATUS_CHECKPOINTED when asked to stop with a checkpoint. */
    int (*run)(struct store *s, uint64_t id, const json *parameters, struct monitor *m, json **result,
               struct error *err);
};
extern const struct job_kind *const job_kinds[]; /* NULL-terminated */

/* ---- The engine. ---- */
struct job_engine;
struct job_engine_options {
    size_t max_jobs;             /* that compute at a time; 0: 1 */
    const char *program;         /* for detached runners: path of this program */
    void (*changed)(void *arg);  /* called from any thread when a job's state or progress changed; must be quick */
    void *arg;
};
int job_engine_start(struct store *s, const struct job_engine_options *o, struct job_engine **out, struct error *err);
/* Stops: running jobs are checkpointed and left interrupted (detach = 0) or handed to runners of their own (1). */
void job_engine_stop(struct job_engine *e, int detach);
size_t job_engine_active(struct job_engine *e); /* jobs of this process not finished */

/* Records a job (state queued) and lets the engine run it in the background. */
int job_submit(struct job_engine *e, const char *kind, json *parameters, uint64_t *id, struct error *err);
/* Records it and starts a runner process for it (posix_spawn, setsid). */
int job_submit_detached(struct job_engine *e, const char *kind, json *parameters, uint64_t *id, struct error *err);
/* Records it and runs it on this thread, waiting first for what it needs; report is called now and then from this thread
 * or a worker. stop: polled; non-zero asks it to checkpoint or cancel. */
int job_run_here(struct job_engine *e, const char *kind, json *parameters,
                 void (*report)(const struct job_status *status, void *arg), int (*stop)(void *arg), void *arg,
                 uint64_t *id, json **result, struct error *err);
/* `saescope run ID`: runs a recorded job here. */
int job_run_recorded(struct job_engine *e, uint64_t id, void (*report)(const struct job_status *, void *),
                     int (*stop)(void *arg), void *arg, json **result, struct error *err);

/* ---- From any process. ---- */
int job_status_read(struct store *s, uint64_t id, struct job_status *out, struct error *err);
int job_status_list(struct store *s, struct job_status **out, size_t *n, struct error *err); /* newest first */
int job_result(struct store *s, uint64_t id, json **result, struct error *err); /* of a job that is done */
int job_pause(struct store *s, uint64_t id, struct error *err);
int job_cancel(struct store *s, uint64_t id, struct error *err);
int job_detach(struct job_engine *e, uint64_t id, struct error *err);
/* Unpauses, or takes an interrupted job up again in this engine, from its checkpoint if it has one; a failed one starts
 * from the beginning. */
int job_resume(struct job_engine *e, uint64_t id, struct error *err);
/* Waits until job `id` (0: all of this store) is final or interrupted. STATUS_FAILED when one of them is not done then,
 * naming the first, or when stop() said so. */
int job_wait(struct job_engine *e, uint64_t id, int (*stop)(void *arg), void *arg, struct error *err);

#endif
