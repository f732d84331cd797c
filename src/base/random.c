/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Repeatable random numbers and hashes. */
#include "config.h"

#include <math.h>
#include <xxhash.h>

#include "saescope/base/random.h"

static uint64_t rotate_left(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* splitmix64: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
    /* Stream 0 starts from the seed itself; others from a hash of the stream, far from it. */
    uint64_t state = seed;
    if (stream) {
        uint64_t mixed = stream;
        state ^= splitmix(&mixed);
    }
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&state);
}

/* xoshiro256**: Blackman & Vigna, "Scrambled linear pseudorandom number generators", 2021. */
uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double rng_uniform(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

/* Multiply and reject: Lemire, "Fast random integer generation in an interval", 2019. */
uint64_t rng_below(struct rng *r, uint64_t n)
{
    if (n < 2)
        return 0;
    unsigned __int128 product = (unsigned __int128)rng_next(r) * n;
    if ((uint64_t)product < n) {
        uint64_t threshold = (0 - n) % n; /* 2^64 mod n */
        while ((uint64_t)product < threshold)
            product = (unsigned __int128)rng_next(r) * n;
    }
    return (uint64_t)(product >> 64);
}

/* Box and Muller's cosine half; the sine half is not kept, so that the state is all there is. */
double rng_normal(struct rng *r)
{
    double radius = sqrt(-2.0 * log(1.0 - rng_uniform(r)));
    return radius * cos(2.0 * M_PI * rng_uniform(r));
}

/* Knuth's product of uniforms, until it falls below e^-1. */
unsigned rng_poisson1(struct rng *r)
{
    const double limit = 0.36787944117144233;
    unsigned n = 0;
    for (double product = rng_uniform(r); product > limit; product *= rng_uniform(r))
        n++;
    return n;
}

void rng_shuffle(struct rng *r, uint32_t *x, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(r, i);
        uint32_t swapped = x[i - 1];
        x[i - 1] = x[j];
        x[j] = swapped;
    }
}

uint64_t hash64(const void *data, size_t n, uint64_t seed)
{
    return (uint64_t)XXH3_64bits_withSeed(data, n, seed);
}

uint64_t hash_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    const uint64_t parts[4] = {a, b, c, d};
    uint64_t state = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t input = state ^ parts[i];
        state = splitmix(&input);
    }
    return state;
}
