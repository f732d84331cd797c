/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of src/jobs share. A job's record in the store:
 *
 *   {"kind", "title", "parameters", "needs": [names], "makes": [names],
 *    "after": [{"job", "name"}]   jobs it waits for, and what it needs of them (null: only that they are over),
 *    "submitted"                  seconds since 1970,
 *    "claims": {name: id}         unpublished ids that a run writes to,
 *    "state"                      "queued" until it is final: then "done", "failed" or "cancelled",
 *    "code", "message", "result"} set when it is final
 *
 * Until then the job's file tells the rest. Its owner, the process that queues or runs it, holds JOB_LOCK_OWNER on it; a
 * process that hands it over to a runner holds JOB_LOCK_HANDOVER until the runner owns it. An unfinished job on which
 * nobody holds a lock is interrupted.
 */
#ifndef SAESCOPE_JOBS_INTERNAL_H
#define SAESCOPE_JOBS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include "saescope/jobs/jobs.h"

static inline int error_code(const struct error *err)
{
    return err ? err->code : STATUS_FAILED;
}

/* ---- The file DIR/jobs/ID: 4 KiB that its owner writes and everybody maps. ---- */
enum job_control { JOB_CONTROL_RUN, JOB_CONTROL_PAUSE, JOB_CONTROL_CANCEL, JOB_CONTROL_DETACH };

/* What is behind the sequence lock. Strings are cut to fit and end in NUL. */
struct job_progress {
    uint32_t state; /* enum job_state, as the owner sees it */
    int32_t pid;
    uint64_t step, steps;
    double rate, loss, l0, explained_variance, dead;
    double elapsed, left;       /* seconds at `updated` */
    double updated;             /* CLOCK_MONOTONIC */
    uint64_t span;              /* steps that one point of the curve stands for */
    uint32_t n_curve, in_point; /* points; reports that the last point is the mean of */
    char unit[16], phase[48], message[512];
    float curve[JOB_CURVE_POINTS];
};

#define JOB_FILE_BYTES 4096
#define JOB_FILE_WORDS (JOB_FILE_BYTES / sizeof(uint64_t) - 3)
struct job_page {
    _Atomic uint64_t magic, control, sequence;
    _Atomic uint64_t words[JOB_FILE_WORDS];
};

struct job_file {
    int fd; /* -1: not open */
    struct job_page *page;
};
#define JOB_FILE_CLOSED {-1, NULL}

enum job_lock { JOB_LOCK_OWNER, JOB_LOCK_HANDOVER };

/* create: a new one, allocated on disk. Otherwise STATUS_REFUSED when there is none or it is damaged. */
int job_file_open(struct store *s, uint64_t id, int create, struct job_file *f, struct error *err);
void job_file_close(struct job_file *f); /* gives its locks up */
int job_file_lock(struct job_file *f, enum job_lock lock); /* 0, or -1 when somebody else has it */
void job_file_unlock(struct job_file *f, enum job_lock lock);
int job_file_locked(const struct job_file *f, enum job_lock lock); /* by somebody else */
void job_file_write(struct job_file *f, const struct job_progress *p); /* the owner only, one thread at a time */
void job_file_read(const struct job_file *f, struct job_progress *p);
enum job_control job_file_control(const struct job_file *f);
void job_file_set_control(struct job_file *f, enum job_control control);
void job_progress_init(struct job_progress *p);
/* A report into p: rates, time left, curve. first: where this run's current phase began. */
struct job_start {
    uint64_t step, steps;
    double elapsed;
    char phase[48];
    int set;
};
void job_progress_take(struct job_progress *p, struct job_start *start, const struct progress *report);

/* ---- Records. ---- */
const struct job_kind *job_kind_find(const char *name, struct error *err);
json *job_record_read(struct store *s, uint64_t id, struct error *err); /* a new reference, its own copy */
/* Sets one member (takes over value). Only a job's owner, or who makes or takes up a job, may do so. */
int job_record_set(struct store *s, uint64_t id, const char *key, json *value, struct error *err);
int job_record_final(const json *record, enum job_state *state);
/* Plans and records a job: checks parameters, finds what it waits for. Takes over `parameters`. *f is its file, owned. */
int job_record_new(struct store *s, const char *kind, json *parameters, uint64_t *id, struct job_file *f,
                   struct error *err);
int job_record_finish(struct store *s, uint64_t id, enum job_state state, int code, const char *message, json *result,
                      struct error *err);
/* 1: what it waits for is over; 0: not yet, *message says so; -1: it cannot run, err says why. */
int job_record_ready(struct store *s, const json *record, char *message, size_t n, struct error *err);
void job_status_fill(const json *record, uint64_t id, enum job_state state, const struct job_progress *p,
                     struct job_status *out);
int job_remove_work(struct store *s, uint64_t id, struct error *err);

/* ---- Runners. ---- */
/*
 * Starts `program -S DIR run ID --batch` in a session of its own and waits until it owns the job. The caller holds
 * JOB_LOCK_HANDOVER on f, and not JOB_LOCK_OWNER.
 */
int job_spawn(struct store *s, const char *program, uint64_t id, const struct job_file *f, pid_t *pid,
              struct error *err);
void job_spawn_reap(void); /* collects the runners that ended */

#endif
