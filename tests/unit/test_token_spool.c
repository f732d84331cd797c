/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a stitch keeps of its tokens. */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "saescope/analysis/token_spool.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "tests/support/support.h"

static struct error err;

enum { D = 7, TOKENS = 5000 };

/* Token t's numbers, whatever the batch that it came in. */
static float number_of(size_t t, size_t i)
{
    return (float)hash_mix(t, i, 0, 1);
}

static size_t pairs_of(size_t t, int large)
{
    return hash_mix(t, (uint64_t)large, 0, 2) % 6;
}

static uint32_t latent_of(size_t t, int large, size_t i)
{
    return (uint32_t)(i * 1000 + hash_mix(t, (uint64_t)large, i, 3) % 1000);
}

static struct sparse_rows pairs_of_batch(size_t first, size_t n, int large)
{
    struct sparse_rows rows = {0};
    size_t at = 0;

    assert_ok(sparse_rows_reserve(&rows, n, 6 * n + 1, &err));
    rows.n_rows = n;
    rows.offsets[0] = 0;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < pairs_of(first + t, large); i++, at++) {
            rows.latents[at] = latent_of(first + t, large, i);
            rows.values[at] = number_of(first + t, 100 + i);
        }
        rows.offsets[t + 1] = at;
    }
    return rows;
}

static int add_batch(struct token_spool *sp, size_t first, size_t n)
{
    struct sparse_rows small = pairs_of_batch(first, n, 0), large = pairs_of_batch(first, n, 1);
    float *residuals = xreallocarray(NULL, n * D + 1, sizeof(*residuals));
    float *scales = xreallocarray(NULL, n + 1, sizeof(*scales));
    uint32_t *contexts = xreallocarray(NULL, n + 1, sizeof(*contexts));
    int status;

    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < D; i++)
            residuals[t * D + i] = number_of(first + t, i);
        scales[t] = number_of(first + t, 50);
        contexts[t] = (uint32_t)((first + t) / 100);
    }
    status = token_spool_add(sp, n, residuals, scales, contexts, &small, &large, &err);
    free(residuals);
    free(scales);
    free(contexts);
    sparse_rows_free(&small);
    sparse_rows_free(&large);
    return status;
}

static void check_pairs(size_t first, size_t n, int large, const uint64_t *offsets, const uint32_t *latents,
                        const float *values)
{
    for (size_t t = 0; t < n; t++) {
        assert_int_equal(offsets[t + 1] - offsets[t], pairs_of(first + t, large));
        for (uint64_t i = 0; i < offsets[t + 1] - offsets[t]; i++) {
            uint64_t at = offsets[t] - offsets[0] + i;

            assert_int_equal(latents[at], latent_of(first + t, large, i));
            assert_true(values[at] == number_of(first + t, 100 + i));
        }
    }
}

static void check_rows(const struct token_spool *sp, size_t first, size_t n, int with_scales)
{
    struct token_rows rows;

    token_spool_rows(sp, first, n, &rows);
    assert_int_equal(rows.first, first);
    assert_int_equal(rows.n, n);
    assert_int_equal(rows.scales != NULL, with_scales);
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < D; i++)
            assert_true(rows.residuals[t * D + i] == number_of(first + t, i));
        assert_true(!with_scales || rows.scales[t] == number_of(first + t, 50));
        assert_int_equal(rows.contexts[t], (first + t) / 100);
    }
    check_pairs(first, n, 0, rows.small_offsets, rows.small_latents, rows.small_values);
    check_pairs(first, n, 1, rows.large_offsets, rows.large_latents, rows.large_values);
}

/* Batches of many sizes, none among them, come back in other pieces. */
static void test_round_trip(void **state)
{
    (void)state;
    for (int with_scales = 0; with_scales < 2; with_scales++) {
        const size_t batches[] = {1, 0, 1023, 1025, 1, 2048, TOKENS - 4098};
        struct token_spool *sp;
        struct token_rows rows;
        size_t first = 0;

        assert_ok(token_spool_open(test_directory, D, with_scales, &sp, &err));
        for (size_t i = 0; i < ARRAY_LENGTH(batches); first += batches[i++])
            assert_ok(add_batch(sp, first, batches[i]));
        assert_ok(token_spool_map(sp, &err));
        assert_int_equal(token_spool_tokens(sp), TOKENS);
        check_rows(sp, 0, TOKENS, with_scales);
        for (size_t t = 0; t < TOKENS; t += 333)
            check_rows(sp, t, t + 777 < TOKENS ? 777 : TOKENS - t, with_scales);
        /* Past the end there is nothing. */
        token_spool_rows(sp, TOKENS - 3, 100, &rows);
        assert_int_equal(rows.n, 3);
        token_spool_rows(sp, SIZE_MAX, SIZE_MAX, &rows);
        assert_int_equal(rows.n, 0);
        token_spool_close(sp);
    }
}

/* Tokens on which nothing fires, and none at all. */
static void test_without_pairs(void **state)
{
    struct sparse_rows none = {0};
    const float residuals[2 * D] = {1, 2, 3};
    const uint32_t contexts[2] = {4, 5};
    struct token_spool *sp;
    struct token_rows rows;

    (void)state;
    assert_ok(token_spool_open(test_directory, D, 0, &sp, &err));
    assert_ok(token_spool_map(sp, &err));
    token_spool_rows(sp, 0, 1, &rows);
    assert_int_equal(rows.n, 0);
    token_spool_close(sp);

    assert_ok(sparse_rows_reserve(&none, 2, 1, &err));
    none.n_rows = 2;
    memset(none.offsets, 0, 3 * sizeof(*none.offsets));
    assert_ok(token_spool_open(test_directory, D, 0, &sp, &err));
    assert_ok(token_spool_add(sp, 2, residuals, NULL, contexts, &none, &none, &err));
    assert_ok(token_spool_map(sp, &err));
    token_spool_rows(sp, 0, 2, &rows);
    assert_int_equal(rows.n, 2);
    assert_int_equal(rows.small_offsets[2], 0);
    assert_int_equal(rows.large_offsets[2], 0);
    assert_true(rows.residuals[2] == 3 && rows.contexts[1] == 5);
    token_spool_close(sp);
    sparse_rows_free(&none);
}

/* No room for the files, and no folder for them. */
static void test_no_room(void **state)
{
    struct rlimit old, small = {0};
    struct token_spool *sp;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = old;
    small.rlim_cur = 4096;
    assert_ok(token_spool_open(test_directory, D, 0, &sp, &err));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(add_batch(sp, 0, 1000), STATUS_FAILED);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_says(test_directory);
    assert_says("cannot write a temporary file");
    token_spool_close(sp);
    assert_int_equal(token_spool_open("/nonexistent", D, 0, &sp, &err), STATUS_FAILED);
    assert_null(sp);
    assert_says("/nonexistent");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_without_pairs),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, set_up_directory, tear_down_directory);
}
