/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Kinds of jobs that count, slowly, instead of the library's, which are then not linked. "count" writes
 * checkpoints, "plain" does not. Parameters: "steps"; "name" of what is made; "need", "refuse", "fail_at";
 * "slice_at": the step after which monitor_cancelled alone is asked.
 * The result says at which step it "started_at".
 */
#ifndef SAESCOPE_TESTS_COUNTING_JOBS_H
#define SAESCOPE_TESTS_COUNTING_JOBS_H

void nap(void); /* a millisecond, as each step takes */

#endif
