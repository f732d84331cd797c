/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Activation functions of MLPs, gated or not, and soft caps. */
#include "config.h"

#include "saescope/base/parallel.h"
#include "saescope/model/parts.h"
#include "saescope/model/lanes.h"

#define ROWS_PER_BLOCK 32

/* x / (1 + exp(−2u)), u = √(2/π)·(x + 0.044715 x³), which is ½x(1 + tanh u). */
static inline v4 gelu_tanh4(v4 x)
{
    const float minus_2c = -1.5957691216f; /* −2·√(2/π) */
    return x / (1.0f + exp4(minus_2c * (x + 0.044715f * (x * x * x))));
}

/*
 * ½x(1 + erf(x/√2)). Abramowitz and Stegun 7.1.26: erfc(u) = (a₁t + … + a₅t⁵) e^(−u²) for u ≥ 0, t = 1/(1 +
 * 0.3275911 u), to 1.5e-7 absolutely; ½x·erfc is what is missing from x (x > 0), or all there is.
 */
static inline v4 gelu_erf4(v4 x)
{
    v4i negative = x < all(0.0f);
    v4 u = choose(negative, -x, x) * 0.70710678f;
    v4 t = 1.0f / (1.0f + 0.3275911f * u);
    v4 p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    v4 half = 0.5f * x * (p * t) * exp4(-(u * u));
    return choose(negative, half, x - half);
}

static inline v4 silu4(v4 x)
{
    return x / (1.0f + exp4(-x));
}

static inline v4 act4(enum activation kind, v4 x)
{
    return kind == ACTIVATION_GELU_TANH  ? gelu_tanh4(x)
           : kind == ACTIVATION_GELU_ERF ? gelu_erf4(x)
                                         : silu4(x);
}

/* To be inlined for each kind, so that the kind is looked at outside of the loop. */
static inline __attribute__((always_inline)) void
activate_kind(enum activation kind, float *x, const float *bias, const float *times, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        v4 y = act4(kind, bias ? load(x + i) + load(bias + i) : load(x + i));
        save(x + i, times ? y * load(times + i) : y);
    }
    for (; i < n; i++)
        x[i] = act4(kind, all(bias ? x[i] + bias[i] : x[i]))[0] * (times ? times[i] : 1.0f);
}

void activate(enum activation kind, float *x, const float *bias, const float *times, size_t n)
{
    if (kind == ACTIVATION_GELU_TANH)
        activate_kind(ACTIVATION_GELU_TANH, x, bias, times, n);
    else if (kind == ACTIVATION_GELU_ERF)
        activate_kind(ACTIVATION_GELU_ERF, x, bias, times, n);
    else
        activate_kind(ACTIVATION_SILU, x, bias, times, n);
}

struct rows {
    enum activation kind;
    float *x;
    const float *bias, *times;
    size_t n, width;
};

static void activate_block(size_t block, size_t worker, void *arg)
{
    const struct rows *r = arg;
    (void)worker;
    for (size_t i = block * ROWS_PER_BLOCK; i < (block + 1) * ROWS_PER_BLOCK && i < r->n; i++)
        activate(r->kind, r->x + i * r->width, r->bias, r->times ? r->times + i * r->width : NULL, r->width);
}

void activate_rows(enum activation kind, float *x, const float *bias, const float *times, size_t n,
                   size_t width)
{
    struct rows rows = {kind, x, bias, times, n, width};
    parallel_for((n + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK, activate_block, &rows);
}

void soft_cap(float *x, size_t n, float cap)
{
    float inverse = 1.0f / cap;
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        save(x + i, cap * tanh4(load(x + i) * inverse));
    for (; i < n; i++)
        x[i] = cap * tanh4(all(x[i] * inverse))[0];
}
