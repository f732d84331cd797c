/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Axes of plots, on the screen and in files: where their ticks are and what is written at them. */
#ifndef SAESCOPE_BASE_AXIS_H
#define SAESCOPE_BASE_AXIS_H

#include <stddef.h>

#define TICKS_MAX 16

struct tick {
    double at; /* on the axis */
    char text[16];
};
struct ticks {
    struct tick items[TICKS_MAX];
    size_t n;
};

/* Multiples of 1, 2 or 5 times a power of ten in [low, high], at most `most` of them (and TICKS_MAX); none when low ≥ high. */
void ticks_linear(double low, double high, size_t most, struct ticks *out);

/* The symmetric logarithm: sign(x)·log10(1 + |x|/linear), nearly linear up to `linear` > 0. */
double symmetric_log(double x, double linear);
/* A `linear` for n values: the power of ten below nine tenths of those that are not 0, but at least a millionth of the
 * largest's. 1 when there are none. */
double symmetric_linear(const double *values, size_t n);
/* First 0, then ±powers of ten from `linear` on, as far as they lie within [low, high] (of x); `at` is their symmetric_log. Decades
 * are skipped evenly, from the largest down, so that there are at most `most` on either side of 0. */
void ticks_symmetric_log(double low, double high, double linear, size_t most, struct ticks *out);

#endif
