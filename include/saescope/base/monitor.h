/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a long computation is watched: it reports progress and asks, between slices of under 50 ms, whether to go on.
 */
#ifndef SAESCOPE_BASE_MONITOR_H
#define SAESCOPE_BASE_MONITOR_H

#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/strbuf.h"

struct progress {
    uint64_t step, steps; /* steps 0: not known */
    double rate;          /* units a second; NaN: not known */
    const char *unit;     /* "tok/s", "rows/s", "MB/s"; static string */
    double loss, l0, explained_variance, dead; /* NaN: not applicable; dead is a fraction */
    const char *phase;    /* short static string: "reading", "training", "writing" */
};

enum monitor_request {
    MONITOR_GO_ON = 0,
    MONITOR_CANCEL,    /* stop, throw away */
    MONITOR_CHECKPOINT /* write a checkpoint and stop: another process goes on (only asked of what can) */
};

struct monitor {
    void (*report)(struct monitor *m, const struct progress *p);
    /* Returns at once when running; blocks while paused. */
    enum monitor_request (*ask)(struct monitor *m);
    /* Whether to cancel, asked inside of a slice: returns at once, also when paused. What else is asked for waits for the
     * slice's end. NULL: never. */
    int (*cancelled)(struct monitor *m);
    /* Directory for checkpoints, spools and caches of this run, or NULL (then none are kept). */
    const char *work_dir;
};

void progress_init(struct progress *p); /* zeros, NaNs, NULLs */
/* How far it is: "step 458/732", or "6.1 MB of 11.0 MB" when steps are bytes (unit "MB/s"); nothing when steps is 0. */
void progress_add_steps(struct strbuf *b, const struct progress *p);
void monitor_report(struct monitor *m, const struct progress *p); /* m may be NULL */
enum monitor_request monitor_ask(struct monitor *m);              /* m may be NULL: MONITOR_GO_ON */
int monitor_cancelled(struct monitor *m);                         /* m may be NULL: 0 */

/* STATUS_OK, or STATUS_FAILED with "cancelled" when asked to cancel or to stop (for computations without checkpoints). */
int monitor_check(struct monitor *m, struct error *err);

/* Reports that `step` of `steps` (0: not known) of a phase (a static string) are done. */
void monitor_step(struct monitor *m, const char *phase, uint64_t step, uint64_t steps);
/* The same, then monitor_check. */
int monitor_go_on(struct monitor *m, const char *phase, uint64_t step, uint64_t steps, struct error *err);
/* The same as monitor_step, with how fast it goes; unit a static string. */
void monitor_step_rate(struct monitor *m, const char *phase, uint64_t step, uint64_t steps, double rate,
                       const char *unit);
/* `amount` a second since `start` (of clock_seconds); NaN when no time has passed. */
double rate_since(double start, double amount);

/* What a checkpointing computation returns, beside enum status, when it stopped at MONITOR_CHECKPOINT. */
#define STATUS_CHECKPOINTED (-1)

#endif
