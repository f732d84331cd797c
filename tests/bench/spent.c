/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "spent.h"

struct spent spent_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (struct spent){clock_seconds(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

struct spent spent_since(struct spent start)
{
    struct spent end = spent_now();

    return (struct spent){end.seconds - start.seconds, end.processor - start.processor};
}

int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare_doubles);
    return values[n / 2];
}

struct spent median_spent(const struct spent *list, size_t n)
{
    double *seconds = xcalloc(n, sizeof(*seconds)), *processor = xcalloc(n, sizeof(*processor));

    for (size_t i = 0; i < n; i++) {
        seconds[i] = list[i].seconds;
        processor[i] = list[i].processor;
    }
    struct spent both = {median(seconds, n), median(processor, n)};
    free(seconds);
    free(processor);
    return both;
}

size_t anonymous_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    size_t kib = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %zu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}
