/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random numbers: xoshiro256** seeded by splitmix64, one state per stream, so that a run is repeatable from its seed.
 * hash64 is for choices that must not depend on order (samples by a hash of (seed, latent, context, position)).
 */
#ifndef SAESCOPE_BASE_RANDOM_H
#define SAESCOPE_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_next(struct rng *r);
double rng_uniform(struct rng *r);                   /* [0, 1) */
uint64_t rng_below(struct rng *r, uint64_t n);       /* [0, n), unbiased */
double rng_normal(struct rng *r);                    /* mean 0, variance 1 */
unsigned rng_poisson1(struct rng *r);                /* Poisson with mean 1 */
void rng_shuffle(struct rng *r, uint32_t *x, size_t n);

uint64_t hash64(const void *data, size_t n, uint64_t seed); /* XXH3-64 */
uint64_t hash_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d); /* of four numbers */

#endif
