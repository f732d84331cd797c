/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Importing an SAE of 49,152 × 768 whose W_enc is stored [d_in, d_sae], against putting blocks of the same
 * sizes from memory into an empty LMDB, a transaction each. Files lie in $TMPDIR or /tmp; the page cache has
 * them. Medians of RUNS, taken in turns.
 */
#include "config.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/files/safetensors.h"
#include "saescope/formats/formats.h"
#include "saescope/store/store.h"
#include "spent.h"

enum { D = 768, LATENTS = 49152, RUNS = 9 };
#define BLOCK ((size_t)16 << 20)

static struct error failure;

static void need(int status)
{
    if (!status)
        return;
    fprintf(stderr, "bench_import: %s\n", failure.message);
    exit(1);
}

static int read_numbers(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    size_t width = *(const size_t *)arg;
    (void)err;
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < width; i++)
            dst[r * width + i] = (float)(((first + r) * 31 + i * 17) & 1023) / 1024 - 0.5F;
    return STATUS_OK;
}

static void write_folder(const char *folder)
{
    static size_t widths[] = {LATENTS, D, 1};
    static const char config[] =
        "{\"d_in\": 768, \"d_sae\": 49152, \"hook_name\": \"blocks.8.hook_resid_pre\"}";
    const struct safetensors_source sources[] = {{"W_enc", 2, {D, LATENTS}, read_numbers, &widths[0]},
                                                 {"W_dec", 2, {LATENTS, D}, read_numbers, &widths[1]},
                                                 {"b_enc", 1, {LATENTS}, read_numbers, &widths[2]},
                                                 {"b_dec", 1, {D}, read_numbers, &widths[2]}};
    char *weights = path_join(folder, "sae_weights.safetensors"), *cfg = path_join(folder, "cfg.json");
    need(make_directories(folder, 0777, &failure));
    need(safetensors_write(weights, sources, 4, DTYPE_F32, NULL, &failure));
    need(file_write_atomic(cfg, config, sizeof config - 1, &failure));
    free(weights);
    free(cfg);
}

static size_t most_kib;

static void watch(struct monitor *m, const struct progress *p)
{
    size_t kib = anonymous_kib();
    (void)m;
    (void)p;
    most_kib = kib > most_kib ? kib : most_kib;
}

static double import_once(const char *folder, const char *directory)
{
    struct store *store;
    artifact_id id;
    struct monitor monitor = {.report = watch};
    const struct sae_import o = {.path = folder, .name = "large"};
    const struct store_options how = {.path = directory, .create = 1};
    need(remove_tree(directory, &failure));
    need(store_open(&how, &store, &failure));
    double start = clock_seconds();
    need(sae_import_path(store, &o, &monitor, &id, &failure));
    double seconds = clock_seconds() - start;
    store_close(store);
    return seconds;
}

static void check(int rc)
{
    if (!rc)
        return;
    fprintf(stderr, "bench_import: %s\n", mdb_strerror(rc));
    exit(1);
}

/* Both matrices' bytes, a block a transaction. */
static double put_once(const char *directory, const void *block)
{
    MDB_env *env;
    MDB_dbi dbi = 0;
    size_t blocks = 2 * (size_t)D * LATENTS * sizeof(float) / BLOCK;
    need(remove_tree(directory, &failure));
    need(make_directories(directory, 0777, &failure));
    check(mdb_env_create(&env));
    check(mdb_env_set_mapsize(env, (size_t)1 << 30));
    check(mdb_env_open(env, directory, 0, 0666));
    double start = clock_seconds();
    for (uint32_t i = 0; i < blocks; i++) {
        MDB_txn *txn;
        MDB_val key = {sizeof i, &i}, value = {BLOCK, (void *)(uintptr_t)block};
        check(mdb_txn_begin(env, NULL, 0, &txn));
        if (!dbi)
            check(mdb_dbi_open(txn, NULL, 0, &dbi));
        check(mdb_put(txn, dbi, &key, &value, 0));
        check(mdb_txn_commit(txn));
    }
    double seconds = clock_seconds() - start;
    mdb_env_close(env);
    return seconds;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    const char *parent = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    char *directory = xasprintf("%s/saescope-bench-import", parent), *folder = path_join(directory, "sae");
    char *store = path_join(directory, "store"), *lmdb = path_join(directory, "lmdb");
    double imports[RUNS], puts[RUNS], ratios[RUNS];
    blas_start();
    parallel_start(0);
    need(remove_tree(directory, &failure));
    write_folder(folder);
    void *block = array_alloc(BLOCK, 1, "a block", &failure);
    if (!block)
        need(STATUS_FAILED);
    memset(block, 0x3c, BLOCK);
    /* Of one import in a fresh process: later the heap is cut up by the blocks of all runs. */
    import_once(folder, store);
    size_t one_kib = most_kib;
    for (int i = 0; i < RUNS; i++) {
        puts[i] = put_once(lmdb, block);
        imports[i] = import_once(folder, store);
        ratios[i] = imports[i] / puts[i];
    }
    qsort(imports, RUNS, sizeof *imports, compare);
    qsort(puts, RUNS, sizeof *puts, compare);
    qsort(ratios, RUNS, sizeof *ratios, compare);
    printf("import of 49,152 x 768: %.2f s, LMDB alone %.2f s, ratio %.2f (of single runs %.2f to %.2f)\n",
           imports[RUNS / 2], puts[RUNS / 2], ratios[RUNS / 2], ratios[0], ratios[RUNS - 1]);
    printf("  anonymous memory at most %.0f MB (goal 150)\n", (double)one_kib * 1.024 / 1e3);
    need(remove_tree(directory, &failure));
    free(block);
    free(directory);
    free(folder);
    free(store);
    free(lmdb);
    return 0;
}
