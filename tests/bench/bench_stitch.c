/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stitching's two large parts. Matching: the nearest of 49,152 decoder rows for each of 98,304 (d 768), in files that are mapped as
 * a store's are, against the rate of OpenBLAS's product of such rows in the same run (the faster of its own threads and our
 * blocks of one-threaded calls), and the anonymous memory it takes. Scoring: the pass of GPT-2-small's shape with SAEs of
 * 12,288 and 24,576 latents (hook blocks.8.hook_resid_pre, contexts of 128 tokens, about 40 active latents a token),
 * against the same forward passes and the two encodings alone. Medians of 3, turn by turn. Ratios of processor time stand beside
 * those of time, for a machine that has other things to do.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/nearest.h"
#include "saescope/analysis/stitch_score.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "gpt2_shape.h"
#include "spent.h"

enum {
    MATCH_LARGE = 98304,
    MATCH_SMALL = 49152,
    BLOCK_ROWS = 8192, /* of the store's blocks: 24 MiB */
    PRODUCT_ROWS = 4096,
    D_SMALL = 12288,
    D_LARGE = 24576,
    L0 = 40,
    TOKENS = 8192,
    RUNS = 3
};

/* ---- Matching. ---- */

struct filling {
    float *rows;
    uint64_t seed;
};

static void fill_block(size_t block, size_t worker, void *arg)
{
    const struct filling *f = arg;
    struct rng r;

    (void)worker;
    rng_seed(&r, f->seed, block + 1);
    for (size_t i = 0; i < (size_t)1024 * D; i++)
        f->rows[block * 1024 * D + i] = (float)(rng_uniform(&r) - 0.5);
}

/* n random rows in an unlinked file. */
static const float *map_rows(size_t n, uint64_t seed)
{
    char path[] = "/tmp/saescope-bench-XXXXXX";
    size_t bytes = n * D * sizeof(float);
    int fd = mkstemp(path);
    void *rows;

    if (fd < 0 || unlink(path) || posix_fallocate(fd, 0, (off_t)bytes)) {
        perror("bench");
        exit(1);
    }
    rows = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (rows == MAP_FAILED) {
        perror("bench");
        exit(1);
    }
    parallel_for(n / 1024, fill_block, &(struct filling){rows, seed});
    return rows;
}

/* An SAE that is nothing but decoder rows, in blocks as in a store. */
static struct sae decoder_of(const float *rows, size_t n, struct sae_block *blocks)
{
    struct sae sae = {.d_in = D, .d_sae = n, .blocks = blocks, .n_blocks = n / BLOCK_ROWS, .attached = 1};

    for (size_t i = 0; i < sae.n_blocks; i++)
        blocks[i] = (struct sae_block){i * BLOCK_ROWS, BLOCK_ROWS, NULL, rows + i * BLOCK_ROWS * D};
    return sae;
}

static size_t most_kib;

static void watch(struct monitor *m, const struct progress *p)
{
    size_t kib = anonymous_kib();

    (void)m;
    (void)p;
    most_kib = kib > most_kib ? kib : most_kib;
}

/* Of a product of PRODUCT_ROWS by PRODUCT_ROWS such rows. */
static struct spent product_spent(const float *a, const float *b, float *out, int library_threads)
{
    struct spent spent[RUNS];

    blas_set_library_threads(library_threads ? parallel_threads() : 1);
    for (int i = 0; i < RUNS; i++) {
        struct spent start = spent_now();

        (library_threads ? sgemm_nt : parallel_sgemm_nt)(PRODUCT_ROWS, PRODUCT_ROWS, D, 1, a, D, b, D, 0, out, PRODUCT_ROWS);
        spent[i] = spent_since(start);
    }
    blas_set_library_threads(1);
    return median_spent(spent, RUNS);
}

static struct spent best_product(const float *a, const float *b)
{
    float *out = random_floats((size_t)PRODUCT_ROWS * PRODUCT_ROWS, 1, 1);
    struct spent own = product_spent(a, b, out, 1), blocks = product_spent(a, b, out, 0);

    free(out);
    return own.seconds < blocks.seconds ? own : blocks;
}

static void bench_matching(void)
{
    static struct sae_block blocks_a[MATCH_LARGE / BLOCK_ROWS], blocks_b[MATCH_SMALL / BLOCK_ROWS];
    const float *rows_a = map_rows(MATCH_LARGE, 1), *rows_b = map_rows(MATCH_SMALL, 2);
    struct sae a = decoder_of(rows_a, MATCH_LARGE, blocks_a), b = decoder_of(rows_b, MATCH_SMALL, blocks_b);
    uint32_t *nearest = xcalloc(MATCH_LARGE, sizeof(*nearest));
    float *cosine = xcalloc(MATCH_LARGE, sizeof(*cosine));
    struct monitor monitor = {.report = watch};
    struct spent before = best_product(rows_a, rows_b), after, start, spent;
    double products = (double)MATCH_LARGE * MATCH_SMALL / ((double)PRODUCT_ROWS * PRODUCT_ROWS), seconds, processor;
    size_t first_kib = most_kib = anonymous_kib();

    start = spent_now();
    need(nearest_rows(&a, &b, 1, &monitor, nearest, cosine, &failure));
    spent = spent_since(start);
    after = best_product(rows_a, rows_b);
    seconds = products * (before.seconds + after.seconds) / 2;
    processor = products * (before.processor + after.processor) / 2;
    printf("matching %d x %d, d %d: %.1f s, %.0f%% of the product's rate (goal 70%%; by processor time %.0f%%), %zu MiB of "
           "anonymous memory (goal under 200)\n",
           MATCH_LARGE, MATCH_SMALL, D, spent.seconds, 100 * seconds / spent.seconds, 100 * processor / spent.processor,
           (most_kib - first_kib) >> 10);
    free(nearest);
    free(cosine);
}

/* ---- Scoring. ---- */

struct pass {
    const struct bench_store *bench;
    struct sae *small, *large;
    struct sparse_rows small_rows, large_rows;
    struct scorer *scorer; /* NULL: only the forward passes and the encodings */
};

static size_t keep_counted(struct stream_batch *b, uint32_t *contexts)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n_tokens; i++) {
        if (!b->counted[i])
            continue;
        memmove(b->activations + n * D, b->activations + i * D, D * sizeof(float));
        contexts[n++] = (uint32_t)(b->first_context + i / b->length);
    }
    return n;
}

static struct spent run_pass(struct pass *p)
{
    struct stream_options o = {.model = p->bench->model,
                               .text = p->bench->text,
                               .hook = BENCH_HOOK,
                               .context_size = LENGTH,
                               .prepend_bos = 1};
    struct stream *st;
    struct stream_batch b;
    uint64_t counted;
    struct spent start;

    need(stream_open(p->bench->store, &o, &st, &failure));
    need(stream_limit(st, TOKENS, &counted, &failure));
    uint32_t *contexts = xcalloc(stream_batch_contexts(st) * LENGTH, sizeof(*contexts));
    for (start = spent_now();;) {
        struct store_txn *t;

        need(stream_next(st, &b, &failure));
        if (!b.n_contexts)
            break;
        size_t n = keep_counted(&b, contexts);
        need(store_begin(p->bench->store, &t, &failure));
        need(sae_attach(p->small, t, &failure));
        need(sae_attach(p->large, t, &failure));
        if (p->scorer) {
            need(scorer_add(p->scorer, b.activations, n, contexts, &failure));
        } else {
            need(sae_encode(p->small, b.activations, n, &p->small_rows, &failure));
            need(sae_encode(p->large, b.activations, n, &p->large_rows, &failure));
        }
        store_end(t);
    }
    start = spent_since(start);
    free(contexts);
    stream_close(st);
    return start;
}

static void open_scorer(struct pass *p, struct token_spool **tokens)
{
    struct store_txn *t;

    need(token_spool_open(p->bench->directory, D, 0, tokens, &failure));
    need(store_begin(p->bench->store, &t, &failure));
    need(sae_attach(p->small, t, &failure));
    need(sae_attach(p->large, t, &failure));
    struct scorer_options o = {p->small, p->large, NULL, p->bench->directory, *tokens, 1};
    need(scorer_open(&o, &p->scorer, &failure));
    store_end(t);
}

static void bench_scoring(void)
{
    struct spent alone[RUNS], scoring[RUNS], resampling[RUNS];
    struct score_totals totals = {0};
    struct bench_store bench;
    struct store_txn *t;
    struct pass p = {.bench = &bench};

    bench_store_open(&bench, TOKENS);
    artifact_id small = bench_sae(&bench, "small", D_SMALL, L0, 3), large = bench_sae(&bench, "large", D_LARGE, L0, 4);
    need(store_begin(bench.store, &t, &failure));
    need(sae_open(t, small, &p.small, &failure));
    need(sae_open(t, large, &p.large, &failure));
    store_end(t);
    run_pass(&p);
    for (int i = 0; i < RUNS; i++) {
        struct token_spool *tokens;
        struct novelty n;

        alone[i] = run_pass(&p);
        open_scorer(&p, &tokens);
        scoring[i] = run_pass(&p);
        scorer_totals(p.scorer, &totals);
        struct spent start = spent_now();
        for (enum scored_rows r = SCORED_LARGE; r <= SCORED_RANDOM; r++)
            need(scorer_novelty(p.scorer, r, NULL, &n, &failure));
        resampling[i] = spent_since(start);
        scorer_close(p.scorer);
        token_spool_close(tokens);
        p.scorer = NULL;
    }
    struct spent bare = median_spent(alone, RUNS), pass = median_spent(scoring, RUNS);
    printf("scoring %d latents in %d, %llu tokens, L0 %.1f and %.1f: %.3f s, %.2f times the forward passes and encodings (goal "
           "1.5; by processor time %.2f); resampling of three sets of rows %.3f s\n",
           D_LARGE, D_SMALL, (unsigned long long)totals.tokens, (double)totals.large_pairs / (double)totals.tokens,
           (double)totals.small_pairs / (double)totals.tokens, pass.seconds, pass.seconds / bare.seconds,
           pass.processor / bare.processor, median_spent(resampling, RUNS).seconds);
    sparse_rows_free(&p.small_rows);
    sparse_rows_free(&p.large_rows);
    sae_free(p.small);
    sae_free(p.large);
    bench_store_close(&bench);
}

int main(int argc, char **argv)
{
    blas_start();
    parallel_start(0);
    printf("stitching; %zu threads, OpenBLAS core %s\n", parallel_threads(), blas_core_name());
    if (argc < 2 || strcmp(argv[1], "scoring") != 0)
        bench_matching();
    if (argc < 2 || strcmp(argv[1], "matching") != 0)
        bench_scoring();
    parallel_stop();
    return 0;
}
