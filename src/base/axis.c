/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ticks of axes. */
#include "config.h"

#include <math.h>
#include <stdio.h>

#include "saescope/base/axis.h"

#define DECIMALS_MAX 9
#define LOG_DECADES  6  /* at most */
#define DECADE_MAX   40 /* of what is told apart */

/* The smallest of 1, 2, 5 times a power of ten that is at least x > 0. */
static double round_up(double x)
{
    static const double nice[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(x)));
    size_t i = 0;
    while (i < 3 && nice[i] * power < x * (1 - 1e-9))
        i++;
    return nice[i] * power;
}

void ticks_linear(double low, double high, size_t most, struct ticks *out)
{
    out->n = 0;
    most = most < TICKS_MAX ? most : TICKS_MAX;
    if (!(low < high) || !isfinite(high - low) || most == 0)
        return;
    /* most + 1 steps may hold most ticks, but need not: the step grows until they do. */
    double step = round_up((high - low) / (double)most), slack = 1e-9 * (high - low);
    double first = ceil((low - slack) / step), last = floor((high + slack) / step);
    while (last - first + 1 > (double)most) {
        step = round_up(step * 1.5);
        first = ceil((low - slack) / step);
        last = floor((high + slack) / step);
    }
    int decimals = (int)-floor(log10(step) + 1e-9);
    decimals = decimals < 0 ? 0 : decimals < DECIMALS_MAX ? decimals : DECIMALS_MAX;
    for (double k = first; k <= last && out->n < most; k++) {
        struct tick *t = &out->items[out->n++];
        t->at = k * step;
        snprintf(t->text, sizeof t->text, "%.*f", decimals, k == 0 ? 0 : t->at);
    }
}

double symmetric_log(double x, double linear)
{
    return copysign(log10(1 + fabs(x) / linear), x);
}

double symmetric_linear(const double *values, size_t n)
{
    size_t counts[2 * DECADE_MAX + 1] = {0}, total = 0, below = 0;
    int highest = -DECADE_MAX, k = -DECADE_MAX;
    for (size_t i = 0; i < n; i++) {
        double size = fabs(values[i]);
        if (!(size > 0) || !isfinite(size))
            continue;
        int decade = (int)fmin(fmax(floor(log10(size)), -DECADE_MAX), DECADE_MAX);
        counts[decade + DECADE_MAX]++;
        highest = decade > highest ? decade : highest;
        total++;
    }
    if (total == 0)
        return 1;
    while (10 * (below + counts[k + DECADE_MAX]) <= total)
        below += counts[k++ + DECADE_MAX];
    return pow(10, k > highest - LOG_DECADES ? k : highest - LOG_DECADES);
}

/* ±10^k for k in [lowest, highest] in steps that leave at most `most`, from the highest down. */
static void add_decades(struct ticks *out, int sign, int lowest, int highest, double linear, size_t most)
{
    int n = highest - lowest + 1, step = most > 0 ? (n + (int)most - 1) / (int)most : n;
    for (int k = highest; k >= lowest && most > 0 && out->n<TICKS_MAX; k -= step> 0 ? step : 1) {
        struct tick *t = &out->items[out->n++];
        t->at = sign * symmetric_log(pow(10, k), linear);
        snprintf(t->text, sizeof t->text, "%s1e%d", sign < 0 ? "-" : "", k);
    }
}

void ticks_symmetric_log(double low, double high, double linear, size_t most, struct ticks *out)
{
    int lowest = (int)floor(log10(linear) + 0.5);
    most = most < (TICKS_MAX - 1) / 2 ? most : (TICKS_MAX - 1) / 2;
    out->n = 0;
    if (low <= 0 && high >= 0)
        out->items[out->n++] = (struct tick){0, "0"};
    if (high > 0)
        add_decades(out, 1, lowest, (int)floor(log10(high) + 1e-9), linear, most);
    if (low < 0)
        add_decades(out, -1, lowest, (int)floor(log10(-low) + 1e-9), linear, most);
}
