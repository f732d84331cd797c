/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tests of families share: splits of known parents, planted in SAEs of three widths, a store with these SAEs and others,
 * what the first two do on some tokens, and the definitions written out as sums over all of them.
 */
#ifndef SAESCOPE_TESTS_FAMILY_FIXTURE_H
#define SAESCOPE_TESTS_FAMILY_FIXTURE_H

#include "saescope/analysis/token_spool.h"
#include "tests/support/support.h"

enum { D = 48, N_A = 24, N_B = 72, N_C = 150, TOKENS = 1500 };

#define HOOK "blocks.2.hook_resid_pre"

extern struct store *store;
extern artifact_id a_id, b_id, c_id, meta_id; /* of the three SAEs, and of a meta-SAE of the second */
extern artifact_id stitch_id;                 /* between the first two */
extern struct sae *sae_a, *sae_b, *sae_c;     /* on the heap */
extern float acts_a[TOKENS][N_A], acts_b[TOKENS][N_B];
extern struct token_spool *spool; /* of these */

/* Group fixtures. */
int set_up_family(void **state);
int tear_down_family(void **state);

float *row_of(const struct sae *s, size_t i); /* its decoder's */
/* A stitch between the first two SAEs that has nothing but parents, made with so many firings at a time. */
artifact_id make_stitch(const char *name, size_t group_firings);

double cosine_of(const float *x, const float *y);
/* The directed similarity of latents of the second and the first SAE; NaN when the child fires on fewer than 20 tokens. */
double similarity_of(size_t child, size_t parent);

#endif
