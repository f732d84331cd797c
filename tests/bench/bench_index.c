/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An index of GPT-2-small's shape (d_model 768, 12 heads, hook blocks.8.hook_resid_pre, contexts of 128
 * tokens, d_sae 24576, about 40 active latents a token) against the sum of the forward pass's products and
 * the encoder's, done bare by OpenBLAS: the faster of its own threads and our blocks of one-threaded calls.
 * Medians of 5; the index is that of a store in a temporary directory, from opening the SAE to its published
 * index.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/parallel.h"
#include "gpt2_shape.h"
#include "spent.h"

enum {
    D_SAE = 24576,
    L0 = 40,
    TOKENS = 8192,
    RUNS = 5
};

/* Forward pass and encoder. */
static void all_products(const struct operands *o)
{
    forward_products(o);
    o->nt(FORWARD_ROWS, D_SAE, D, 1, o->x, D, o->w, D, 0, o->out, D_SAE);
}

static double half_way; /* when the second half began */

static void watch(struct monitor *m, const struct progress *p)
{
    (void)m;
    if (p->phase && !strcmp(p->phase, "reading"))
        half_way = clock_seconds();
}

int main(void)
{
    struct operands o = {random_floats((size_t)FORWARD_ROWS * D_MLP, 1, 1), random_floats((size_t)D_SAE * D, 2, 0.1F),
                         random_floats((size_t)FORWARD_ROWS * D_SAE, 3, 1), NULL, NULL};
    struct monitor monitor = {.report = watch};
    double seconds[RUNS], own, blocks, product_sum, index, second_half = 0;
    struct bench_store b;
    artifact_id sae;

    blas_start();
    parallel_start(0);
    bench_store_open(&b, TOKENS);
    sae = bench_sae(&b, "sae", D_SAE, L0, 3);
    printf("index, d_model %d, layer %d, d_sae %d, %d tokens; %zu threads, OpenBLAS core %s\n", D, LAYERS,
           D_SAE, TOKENS, parallel_threads(), blas_core_name());
    own = product_seconds(&o, all_products, 1, RUNS) * TOKENS / FORWARD_ROWS;
    blocks = product_seconds(&o, all_products, 0, RUNS) * TOKENS / FORWARD_ROWS;
    product_sum = own < blocks ? own : blocks;
    printf("  bare products: %.3f s (OpenBLAS's threads %.3f s, blocks of one-threaded calls %.3f s)\n",
           product_sum, own, blocks);
    for (int i = 0; i < RUNS; i++) {
        struct index_options io = {.saes = &sae, .n_saes = 1, .text = b.text, .tokens = TOKENS};
        double start = clock_seconds();

        need(index_run(b.store, &io, &monitor, &failure));
        seconds[i] = clock_seconds() - start;
        second_half = clock_seconds() - half_way;
    }
    index = median(seconds, RUNS);
    printf(
        "index: %.3f s, %.2f times the products (goal 1.5); of it %.3f s after the model and the encoder\n",
        index, index / product_sum, second_half);
    bench_store_close(&b);
    free(o.x);
    free(o.w);
    free(o.out);
    parallel_stop();
    return 0;
}
