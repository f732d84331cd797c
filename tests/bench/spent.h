/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Time, and the processor time of all threads: the latter stands beside on a machine that has other things to do. */
#ifndef SAESCOPE_TESTS_SPENT_H
#define SAESCOPE_TESTS_SPENT_H

#include <stddef.h>

struct spent {
    double seconds, processor;
};
struct spent spent_now(void);
struct spent spent_since(struct spent start); /* of spent_now */

int compare_doubles(const void *a, const void *b); /* for qsort */
double median(double *values, size_t n); /* sorts them */
struct spent median_spent(const struct spent *list, size_t n); /* of each by itself */

size_t anonymous_kib(void); /* of this process, in memory now */

#endif
