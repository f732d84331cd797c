/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Row loops in sixteens, for the widest registers there are. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/sae/vector.h"

/* Resolvers of cloned functions run before a sanitizer is ready. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(SANITIZED)
#define CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define CLONES
#endif

#define LANES 16
typedef float lanes __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t lane_masks __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define AT(row, i) (*(const lanes *)((row) + (i)))

CLONES float row_dot(const float *a, const float *b, size_t n)
{
    lanes s0 = {0}, s1 = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s0 += AT(a, i) * AT(b, i);
        s1 += AT(a, i + LANES) * AT(b, i + LANES);
    }
    s0 += s1;
    float sum = 0;
    for (int j = 0; j < LANES; j++)
        sum += s0[j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

CLONES void row_add_scaled(float alpha, const float *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        *(lanes *)(y + i) += alpha * AT(x, i);
    for (; i < n; i++)
        y[i] += alpha * x[i];
}

CLONES void row_add_scaled_pair(float alpha, const float *x, float *y, float beta, const float *z, float *w,
                                size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        *(lanes *)(y + i) += alpha * AT(x, i);
        *(lanes *)(w + i) += beta * AT(z, i);
    }
    for (; i < n; i++) {
        y[i] += alpha * x[i];
        w[i] += beta * z[i];
    }
}

/* Whether any of the comparison's lanes holds. */
static inline int any_lane(const lane_masks *mask)
{
    uint64_t words[LANES / 2], any = 0;
    memcpy(words, mask, sizeof words);
    for (int i = 0; i < LANES / 2; i++)
        any |= words[i];
    return any != 0;
}

/* Without arrays of biases and bounds: 64 at a time, since few are above. */
CLONES static size_t find_above_common(const float *p, float common, size_t n, uint32_t *out)
{
    size_t found = 0, i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        lane_masks mask = (AT(p, i) > common) | (AT(p, i + LANES) > common) |
                          (AT(p, i + 2 * LANES) > common) | (AT(p, i + 3 * LANES) > common);
        if (any_lane(&mask)) {
            for (size_t j = i; j < i + 4 * LANES; j++) {
                out[found] = (uint32_t)j;
                found += p[j] > common;
            }
        }
    }
    for (; i < n; i++)
        if (p[i] > common)
            out[found++] = (uint32_t)i;
    return found;
}

CLONES static size_t find_above_each(const float *p, const float *bias, const float *bound, float common,
                                     size_t n, uint32_t *out)
{
    static const float zeros[LANES];
    size_t found = 0, i = 0, step_bias = bias ? 1 : 0, step_bound = bound ? 1 : 0;
    if (!bias)
        bias = zeros;
    if (!bound)
        bound = zeros;
    for (; i + LANES <= n; i += LANES) {
        lane_masks mask = AT(p, i) + AT(bias, i * step_bias) > AT(bound, i * step_bound) + common;
        if (any_lane(&mask))
            for (size_t j = 0; j < LANES; j++)
                if (p[i + j] + bias[i * step_bias + j] > bound[i * step_bound + j] + common)
                    out[found++] = (uint32_t)(i + j);
    }
    for (; i < n; i++)
        if (p[i] + bias[i * step_bias] > bound[i * step_bound] + common)
            out[found++] = (uint32_t)i;
    return found;
}

size_t row_find_above(const float *p, const float *bias, const float *bound, float common, size_t n,
                      uint32_t *out)
{
    return bias || bound ? find_above_each(p, bias, bound, common, n, out)
                         : find_above_common(p, common, n, out);
}

/* Moments of a latent that has no gradient any more fade without end: below these they are zero, long before
 * they become subnormal numbers, with which many processors are slow. */
#define FADED_MEAN   1e-30f
#define FADED_SQUARE 1e-36f

/* Sixteen at a time through small arrays, whose fixed size lets the compiler use vector square roots. */
CLONES void row_adam(const struct adam_rates *a, const float *g, float *w, float *m, float *v, size_t n)
{
    const struct adam_rates r = *a;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        lanes gradient = AT(g, i);
        lanes mean = r.beta1 * AT(m, i) + (1 - r.beta1) * gradient;
        lanes square = r.beta2 * AT(v, i) + (1 - r.beta2) * (gradient * gradient);
        mean = (lanes)((lane_masks)mean & ((mean > FADED_MEAN) | (mean < -FADED_MEAN)));
        square = (lanes)((lane_masks)square & (square > FADED_SQUARE));
        float root[LANES];
        *(lanes *)(m + i) = mean;
        *(lanes *)(v + i) = square;
        memcpy(root, &square, sizeof root);
        for (int j = 0; j < LANES; j++)
            root[j] = sqrtf(root[j]);
        *(lanes *)(w + i) -= r.rate * mean / (AT(root, 0) * r.root + r.epsilon);
    }
    for (; i < n; i++) {
        m[i] = r.beta1 * m[i] + (1 - r.beta1) * g[i];
        v[i] = r.beta2 * v[i] + (1 - r.beta2) * (g[i] * g[i]);
        m[i] = fabsf(m[i]) > FADED_MEAN ? m[i] : 0;
        v[i] = v[i] > FADED_SQUARE ? v[i] : 0;
        w[i] -= r.rate * m[i] / (sqrtf(v[i]) * r.root + r.epsilon);
    }
}
