/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A path of 2,500, 5,000 and 10,000 steps (d 768, about 40 active latents a token in each SAE) against the
 * products that scoring as many tokens cannot do without: GPT-2-small's first 8 layers and the encodings of
 * both SAEs, done bare by one-threaded OpenBLAS calls over the pool. A path of S steps is between SAEs of S/4
 * and S latents: half of the small ones have two partners each. The path is walked over TOKENS tokens (or as
 * many as the argument says) and, like the products, told for a million of them: what it costs besides grows
 * with latents, not with tokens. Medians of 3. Ratios of processor time stand beside those of time, for a
 * machine that has other things to do.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_parts.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "gpt2_shape.h"
#include "spent.h"

enum {
    L0 = 40,
    TOKENS = 100000,
    BATCH = 1000, /* tokens added at a time */
    ROWS = 1024,  /* of a product */
    RUNS = 3
};

#define MILLION 1e6

/* ---- What is walked over. ---- */

static struct sae *random_sae(size_t d_sae, uint64_t seed)
{
    struct sae *sae;
    struct rng r;

    need(sae_new(sae_architecture_find("jumprelu", &failure), D, d_sae, &sae, &failure));
    rng_seed(&r, seed, 0);
    for (size_t i = 0; i < d_sae * D; i++)
        sae->owned_W_enc[i] = sae->owned_W_dec[i] = 0.06F * (float)(rng_uniform(&r) - 0.5);
    return sae;
}

/* L0 latents a token, one from each of as many ranges. */
static void random_pairs(struct rng *r, size_t d_sae, struct sparse_rows *rows)
{
    size_t range = d_sae / L0;

    need(sparse_rows_reserve(rows, BATCH, BATCH * L0, &failure));
    rows->n_rows = BATCH;
    rows->offsets[0] = 0;
    for (size_t t = 0; t < BATCH; t++) {
        for (size_t i = 0; i < L0; i++) {
            rows->latents[t * L0 + i] = (uint32_t)(i * range + rng_below(r, range));
            rows->values[t * L0 + i] = 1 + (float)rng_uniform(r);
        }
        rows->offsets[t + 1] = (t + 1) * L0;
    }
}

static struct token_spool *random_tokens(size_t n, size_t d_small, size_t d_large)
{
    struct sparse_rows small = {0}, large = {0};
    float *residuals = random_floats(BATCH * D, 3, 1);
    uint32_t *contexts = xcalloc(BATCH, sizeof(*contexts));
    struct token_spool *tokens;
    struct rng r;

    rng_seed(&r, 4, 0);
    need(token_spool_open("/tmp", D, 0, &tokens, &failure));
    for (size_t first = 0; first < n; first += BATCH) {
        random_pairs(&r, d_small, &small);
        random_pairs(&r, d_large, &large);
        need(token_spool_add(tokens, BATCH, residuals, NULL, contexts, &small, &large, &failure));
    }
    need(token_spool_map(tokens, &failure));
    sparse_rows_free(&small);
    sparse_rows_free(&large);
    free(residuals);
    free(contexts);
    return tokens;
}

/* Every other small latent has two partners. */
static struct stitch_groups *pair_up(size_t d_small, size_t d_large)
{
    struct stitch_groups *g;

    need(stitch_groups_new(d_large, d_small, &g, &failure));
    for (size_t j = 0; j < d_small; j += 2) {
        stitch_groups_join(g, (uint32_t)j, (uint32_t)j);
        stitch_groups_join(g, (uint32_t)(j + 1), (uint32_t)j);
    }
    return g;
}

/* ---- Products. ---- */

static void product(size_t outputs, size_t inputs, const float *x, const float *w, float *y)
{
    parallel_sgemm_nt(ROWS, outputs, inputs, 1, x, inputs, w, inputs, 0, y, outputs);
}

static void products(const struct sae *small, const struct sae *large, const float *x, const float *w,
                     float *y)
{
    for (int i = 0; i < LAYERS; i++) {
        product(3 * D, D, x, w, y);
        product(D, D, x, w, y);
        product(D_MLP, D, x, w, y);
        product(D, D_MLP, x, w, y);
    }
    product(small->d_sae, D, x, small->owned_W_enc, y);
    product(large->d_sae, D, x, large->owned_W_enc, y);
}

/* ---- Both. ---- */

static void bench_steps(size_t steps, size_t n_tokens)
{
    size_t d_small = steps / 8 * 2;
    struct sae *small = random_sae(d_small, 1), *large = random_sae(steps, 2);
    struct token_spool *tokens = random_tokens(n_tokens, d_small, steps);
    struct stitch_groups *groups = pair_up(d_small, steps);
    float *x = random_floats((size_t)ROWS * D_MLP, 5, 1), *w = random_floats((size_t)D_MLP * D, 6, 1),
          *y = random_floats((size_t)ROWS * (steps > D_MLP ? steps : D_MLP), 7, 1),
          *cosine = random_floats(steps, 8, 1);
    double *delta = xcalloc(steps, sizeof(*delta));
    struct spent walks[RUNS], bare[RUNS];
    const struct stitch_path_input in = {.small = small,
                                         .large = large,
                                         .tokens = tokens,
                                         .groups = groups,
                                         .max_cosine = cosine,
                                         .delta = delta,
                                         .centred = 1,
                                         .bias = STITCH_BIAS_INTERPOLATED};

    for (int run = 0; run < RUNS; run++) {
        struct stitch_path path;
        struct spent start = spent_now();

        need(stitch_path_compute(&in, NULL, &path, &failure));
        walks[run] = spent_since(start);
        if (path.n_steps != steps) {
            fprintf(stderr, "bench_path: %zu steps instead of %zu\n", path.n_steps, steps);
            exit(1);
        }
        stitch_path_free(&path);
        start = spent_now();
        products(small, large, x, w, y);
        bare[run] = spent_since(start);
    }
    struct spent walk = median_spent(walks, RUNS), bare_products = median_spent(bare, RUNS);
    double path = walk.seconds * MILLION / (double)n_tokens, scoring = bare_products.seconds * MILLION / ROWS;
    printf("a path of %zu steps: %.1f s a million tokens (walked %zu), %.3f times the %.0f s of the products "
           "of scoring (goal 2; "
           "by processor time %.3f)\n",
           steps, path, n_tokens, path / scoring, scoring,
           walk.processor / (double)n_tokens / (bare_products.processor / ROWS));
    sae_free(small);
    sae_free(large);
    token_spool_close(tokens);
    stitch_groups_free(groups);
    free(x);
    free(w);
    free(y);
    free(cosine);
    free(delta);
}

int main(int argc, char **argv)
{
    size_t tokens = argc > 1 ? strtoull(argv[1], NULL, 10) / BATCH * BATCH : TOKENS;

    if (tokens == 0) {
        fprintf(stderr, "usage: bench_path [TOKENS], at least %d\n", BATCH);
        return 2;
    }
    blas_start();
    parallel_start(0);
    printf("paths; %zu threads, OpenBLAS core %s\n", parallel_threads(), blas_core_name());
    bench_steps(2500, tokens);
    bench_steps(5000, tokens);
    bench_steps(10000, tokens);
    parallel_stop();
    return 0;
}
