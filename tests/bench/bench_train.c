/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A BatchTopK training step (batch 4096, d_in 768, d_sae 12288, k 32) against its one dense product, done
 * bare by OpenBLAS: the faster of its own threads and our blocks of one-threaded calls. Medians of 5.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/sae/train.h"
#include "saescope/sae/trainer.h"

enum { BATCH = 4096, D_IN = 768, D_SAE = 12288, K = 32, RUNS = 5, WARM_UP = 3 };

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds)
{
    qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
    return seconds[RUNS / 2];
}

static float *random_floats(size_t n, uint64_t seed)
{
    struct error err;
    float *x = array_alloc(n, sizeof *x, "bench", &err);
    struct rng rng;
    if (!x)
        exit(1);
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
    return x;
}

static double product_seconds(int library_threads)
{
    float *x = random_floats((size_t)BATCH * D_IN, 1), *w = random_floats((size_t)D_SAE * D_IN, 2);
    float *p = random_floats((size_t)BATCH * D_SAE, 3);
    double seconds[RUNS];
    blas_set_library_threads(library_threads ? parallel_threads() : 1);
    for (int i = -WARM_UP; i < RUNS; i++) {
        double start = clock_seconds();
        if (library_threads)
            sgemm_nt(BATCH, D_SAE, D_IN, 1, x, D_IN, w, D_IN, 0, p, D_SAE);
        else
            parallel_sgemm_nt(BATCH, D_SAE, D_IN, 1, x, D_IN, w, D_IN, 0, p, D_SAE);
        if (i >= 0)
            seconds[i] = clock_seconds() - start;
    }
    blas_set_library_threads(1);
    free(x);
    free(w);
    free(p);
    return median(seconds);
}

/* `dead` latents are kept dead by counters set before each step and rows that point away from the data. */
static double step_seconds(size_t dead)
{
    struct train_options o;
    struct trainer *t;
    struct error err;
    double seconds[RUNS], loss;
    float *x = random_floats((size_t)BATCH * D_IN, 4);
    train_options_default(&o);
    o.width = D_SAE;
    o.k = K;
    o.batch = BATCH;
    o.dead_after = 1000;
    if (trainer_new(&o, D_IN, NULL, &t, &err))
        exit(1);
    for (size_t i = 0; i < dead * D_IN; i++)
        t->sae->owned_W_enc[i] *= 0.5f;
    for (int i = -WARM_UP; i < RUNS; i++) {
        for (size_t j = 0; j < dead; j++)
            t->silent[j] = 1000;
        double start = clock_seconds();
        if (trainer_step(t, x, &loss, &err)) {
            fprintf(stderr, "%s\n", err.message);
            exit(1);
        }
        if (i >= 0)
            seconds[i] = clock_seconds() - start;
    }
    printf("  dead latents in the step: %zu\n", trainer_dead(t));
    trainer_free(t);
    free(x);
    return median(seconds);
}

int main(void)
{
    blas_start();
    parallel_start(0);
    printf("training step, batch %d, d_in %d, d_sae %d, k %d; %zu threads, OpenBLAS core %s\n", BATCH, D_IN,
           D_SAE, K, parallel_threads(), blas_core_name());
    double own = product_seconds(1), blocks = product_seconds(0), product = own < blocks ? own : blocks;
    printf("  bare product: %.3f s (OpenBLAS's threads %.3f s, blocks of one-threaded calls %.3f s)\n",
           product, own, blocks);
    double none = step_seconds(0);
    printf("step, no latent dead: %.3f s, %.2f times the product (goal 2)\n", none, none / product);
    double tenth = step_seconds(D_SAE / 10);
    printf("step, 10%% dead: %.3f s, %.2f times the product (goal 2.5)\n", tenth, tenth / product);
    parallel_stop();
    return 0;
}
