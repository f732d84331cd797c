/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Four numbers at a time: compilers do not vectorise sums and exponentials at -O2 on their own. Internal to the
 * model room.
 */
#ifndef SAESCOPE_MODEL_LANES_H
#define SAESCOPE_MODEL_LANES_H

#include <stdint.h>
#include <string.h>

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

static inline v4 load(const float *p)
{
    v4 x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void save(float *p, v4 x)
{
    memcpy(p, &x, sizeof x);
}

static inline v4 all(float x)
{
    return (v4){x, x, x, x};
}

static inline v4 choose(v4i mask, v4 yes, v4 no)
{
    return (v4)((mask & (v4i)yes) | (~mask & (v4i)no));
}

static inline float sum(v4 x)
{
    return (x[0] + x[1]) + (x[2] + x[3]);
}

/*
 * exp(x) for x in [-87, 88], outside of it the bound's: x = n·ln 2 + r with |r| ≤ ½ ln 2, exp(r) by its
 * Taylor series (the first term left out is under 6e-9), 2ⁿ by the exponent's bits.
 */
static inline v4 exp4(v4 x)
{
    const float round_to_integer = 12582912.0f; /* 1.5·2²³: adding it leaves no bits for a fraction */
    x = choose(x > all(-87.0f), x, all(-87.0f));
    x = choose(x < all(88.0f), x, all(88.0f));
    v4 shifted = x * all(1.44269504f) + all(round_to_integer);
    v4 n = shifted - all(round_to_integer);
    /* ln 2 in two parts, the first with few enough bits for n·part to be exact. */
    v4 r = x - n * all(0.693359375f) + n * all(2.12194440e-4f);
    v4 p = all(1.0f / 5040);
    p = p * r + all(1.0f / 720);
    p = p * r + all(1.0f / 120);
    p = p * r + all(1.0f / 24);
    p = p * r + all(1.0f / 6);
    p = p * r + all(0.5f);
    p = p * (r * r) + r + all(1.0f);
    v4i exponent = ((v4i)shifted - (v4i)all(round_to_integer) + 127) << 23;
    return p * (v4)exponent;
}

/* tanh x = 1 − 2 / (1 + e²ˣ), which loses digits near zero: there the polynomial of Cephes' tanhf. */
static inline v4 tanh4(v4 x)
{
    v4 z = x * x, far = 1.0f - 2.0f / (1.0f + exp4(2.0f * x));
    v4 p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return choose(z < all(0.625f * 0.625f), p * z * x + x, far);
}

#endif
