/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A BatchTopK training step (batch 4096, d_in 768, d_sae 12288, k 32) against its one dense product, done
 * bare by OpenBLAS: the faster of its own threads and our blocks of one-threaded calls. Medians of 5; the
 * cases take turns, so that what else the machine does meets all of them. Processor seconds stand beside,
 * which it disturbs less.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/sae/train.h"
#include "saescope/sae/trainer.h"
#include "spent.h"

enum { BATCH = 4096, D_IN = 768, D_SAE = 12288, K = 32, RUNS = 5, WARM_UP = 2 };
enum { LIBRARY_PRODUCT, BLOCK_PRODUCT, STEP, STEP_WITH_DEAD, CASES };

static float *x, *w, *p;
static struct trainer *trainers[CASES];

static void stop(const struct error *err)
{
    fprintf(stderr, "bench_train: %s\n", err->message);
    exit(1);
}

static float *random_floats(size_t n, uint64_t seed)
{
    struct error err;
    float *values = array_alloc(n, sizeof *values, "the bench", &err);
    struct rng rng;
    if (!values)
        stop(&err);
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)rng_normal(&rng);
    return values;
}

static size_t dead_latents(int which)
{
    return which == STEP_WITH_DEAD ? D_SAE / 10 : 0;
}

/* The first latents are kept dead: by their counters, and by encoder rows too short to win. */
static struct trainer *new_trainer(int which)
{
    struct train_options o;
    struct trainer *t;
    struct error err;
    train_options_default(&o);
    o.width = D_SAE;
    o.k = K;
    o.batch = BATCH;
    o.dead_after = 1000;
    if (trainer_new(&o, D_IN, NULL, &t, &err))
        stop(&err);
    for (size_t i = 0; i < dead_latents(which) * D_IN; i++)
        t->sae->owned_W_enc[i] *= 0.5f;
    return t;
}

static void run_case(int which)
{
    struct error err;
    double loss;
    struct trainer *t = trainers[which];
    switch (which) {
    case LIBRARY_PRODUCT:
        blas_set_library_threads(parallel_threads());
        sgemm_nt(BATCH, D_SAE, D_IN, 1, x, D_IN, w, D_IN, 0, p, D_SAE);
        blas_set_library_threads(1);
        break;
    case BLOCK_PRODUCT:
        parallel_sgemm_nt(BATCH, D_SAE, D_IN, 1, x, D_IN, w, D_IN, 0, p, D_SAE);
        break;
    default:
        for (size_t i = 0; i < dead_latents(which); i++)
            t->silent[i] = 1000;
        if (trainer_step(t, x, &loss, &err))
            stop(&err);
        if (trainer_dead(t) != dead_latents(which))
            printf("  (%zu latents were dead instead of %zu)\n", trainer_dead(t), dead_latents(which));
    }
}

int main(void)
{
    struct spent spent[CASES][RUNS];
    double wall[CASES], cpu[CASES];
    blas_start();
    parallel_start(0);
    x = random_floats((size_t)BATCH * D_IN, 1);
    w = random_floats((size_t)D_SAE * D_IN, 2);
    p = random_floats((size_t)BATCH * D_SAE, 3);
    trainers[STEP] = new_trainer(STEP);
    trainers[STEP_WITH_DEAD] = new_trainer(STEP_WITH_DEAD);
    for (int i = -WARM_UP; i < RUNS; i++) {
        for (int which = 0; which < CASES; which++) {
            struct spent start = spent_now();
            run_case(which);
            if (i >= 0)
                spent[which][i] = spent_since(start);
        }
    }
    for (int which = 0; which < CASES; which++) {
        struct spent middle = median_spent(spent[which], RUNS);
        wall[which] = middle.seconds;
        cpu[which] = middle.processor;
    }
    int best = wall[LIBRARY_PRODUCT] < wall[BLOCK_PRODUCT] ? LIBRARY_PRODUCT : BLOCK_PRODUCT;
    printf("BatchTopK training step: batch %d, d_in %d, d_sae %d, k %d; %zu threads, OpenBLAS core %s\n",
           BATCH, D_IN, D_SAE, K, parallel_threads(), blas_core_name());
    printf("  bare product     %.3f s (OpenBLAS's threads %.3f s, blocks of one-threaded calls %.3f s)\n",
           wall[best], wall[LIBRARY_PRODUCT], wall[BLOCK_PRODUCT]);
    printf("  no latent dead   %.3f s   %.2f x the product (goal 2.0; processor time %.2f x)\n", wall[STEP],
           wall[STEP] / wall[best], cpu[STEP] / cpu[best]);
    printf("  10%% dead         %.3f s   %.2f x the product (goal 2.5; processor time %.2f x)\n",
           wall[STEP_WITH_DEAD], wall[STEP_WITH_DEAD] / wall[best], cpu[STEP_WITH_DEAD] / cpu[best]);
    trainer_free(trainers[STEP]);
    trainer_free(trainers[STEP_WITH_DEAD]);
    free(x);
    free(w);
    free(p);
    parallel_stop();
    return 0;
}
