/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The process's one pool of worker threads. All parallelism goes through parallel_for. Results must not depend on
 * scheduling: a block writes only what is its own, and reductions are summed per block, then in block order.
 */
#ifndef SAESCOPE_BASE_PARALLEL_H
#define SAESCOPE_BASE_PARALLEL_H

#include <stddef.h>
#include "saescope/base/monitor.h"

/* Starts the pool (once, from main, before any other thread): `threads` computing threads including the caller of
 * parallel_for; 0 = the affinity mask's count. Workers block all signals and run at nice 5. */
void parallel_start(size_t threads);
void parallel_stop(void);
size_t parallel_threads(void); /* 1 when the pool was not started */

enum parallel_priority { PARALLEL_JOB, PARALLEL_QUERY }; /* queries before jobs */

/* Priority of parallel_for calls made by this thread (default PARALLEL_JOB). */
void parallel_set_priority(enum parallel_priority priority);

/*
 * Runs fn(block, worker, arg) for every block in [0, n_blocks), in any order, on the calling thread and on idle workers;
 * returns when all are done. `worker` is in [0, parallel_threads()) and no two blocks run at once with the same
 * `worker` within one call: it indexes per-thread scratch. May be called from several threads at once; a call from
 * inside fn runs its blocks on the calling thread alone.
 */
void parallel_for(size_t n_blocks, void (*fn)(size_t block, size_t worker, void *arg), void *arg);

/*
 * For slices that would be too long to wait for. From now on this thread's calls of parallel_for ask the monitor, on this
 * thread, before the blocks that it takes. Once it was cancelled, no more blocks are begun, and later calls return at once:
 * what they would have written is not there. So the caller looks at parallel_cancelled before it takes anything of it for
 * true, and sets this only around what writes plain numbers. NULL ends it; both ways parallel_cancelled starts anew.
 */
void parallel_watch(struct monitor *m);
/* STATUS_FAILED with "cancelled" when blocks were left out since parallel_watch. */
int parallel_cancelled(struct error *err);

#endif
