/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The thread pool, and the products that run on it. */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"

enum { THREADS = 4 };

struct squares {
    size_t n;
    unsigned *runs;            /* per block: how often it ran */
    _Atomic int busy[THREADS]; /* per worker: whether a block is running as it */
    _Atomic int collisions, out_of_range;
};

static void square_block(size_t block, size_t worker, void *arg)
{
    struct squares *s = arg;
    if (worker >= THREADS || block >= s->n) {
        s->out_of_range++;
        return;
    }
    if (atomic_exchange(&s->busy[worker], 1))
        s->collisions++;
    s->runs[block]++;
    atomic_store(&s->busy[worker], 0);
}

static void run_squares(size_t n)
{
    struct squares s = {.n = n, .runs = xcalloc(n, sizeof *s.runs)};
    parallel_for(n, square_block, &s);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(s.runs[i], 1);
    assert_int_equal(s.collisions, 0);
    assert_int_equal(s.out_of_range, 0);
    free(s.runs);
}

static void test_every_block_once(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 3, 4, 5, 64, 1000, 20000};
    for (size_t i = 0; i < ARRAY_LENGTH(counts); i++)
        run_squares(counts[i]);
    for (int i = 0; i < 500; i++)
        run_squares(7);
}

static _Atomic int nested_elsewhere;

struct nested {
    pthread_t thread;
    size_t worker;
    size_t runs;
};

static void inner_block(size_t block, size_t worker, void *arg)
{
    struct nested *n = arg;
    (void)block;
    if (!pthread_equal(n->thread, pthread_self()) || n->worker != worker)
        nested_elsewhere++;
    n->runs++;
}

static _Atomic size_t nested_runs, nested_on_workers;

static void outer_block(size_t block, size_t worker, void *arg)
{
    (void)block;
    (void)arg;
    struct nested n = {.thread = pthread_self(), .worker = worker};
    parallel_for(10, inner_block, &n);
    parallel_for(1, inner_block, &n);
    nested_runs += n.runs;
    if (worker != 0)
        nested_on_workers++;
    else
        usleep(1000); /* leaves blocks for the others */
}

static void test_nested(void **state)
{
    (void)state;
    size_t outer = 0;
    for (; nested_on_workers == 0; outer += 50)
        parallel_for(50, outer_block, NULL);
    parallel_for(1, outer_block, NULL);
    assert_int_equal(nested_runs, (outer + 1) * 11);
    assert_int_equal(nested_elsewhere, 0);
    run_squares(100);
}

/* Returns its argument when a block did not run once, or two at once as one worker. */
static void *call_many(void *arg)
{
    for (int i = 0; i < 200; i++) {
        struct squares s = {.n = 50, .runs = xcalloc(50, sizeof *s.runs)};
        parallel_set_priority(i % 2 ? PARALLEL_QUERY : PARALLEL_JOB);
        parallel_for(50, square_block, &s);
        for (size_t b = 0; b < 50; b++) {
            if (s.runs[b] != 1)
                return arg;
        }
        free(s.runs);
        if (s.collisions || s.out_of_range)
            return arg;
    }
    return NULL;
}

static void test_several_callers(void **state)
{
    (void)state;
    pthread_t threads[5];
    char complaints[5];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_many, &complaints[i]), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        void *complaint;
        pthread_join(threads[i], &complaint);
        assert_null(complaint);
    }
}

/*
 * Queries before jobs, with two threads. The job's caller and the worker each hold a block of a job when a
 * query comes. The worker's block ends then, all others only when two blocks of the query run at once, which
 * takes the worker: one that went on with the job would wait for ever.
 */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int job_blocks, worker_blocks, query_blocks; /* begun */
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void job_block(size_t block, size_t worker, void *arg)
{
    (void)block;
    (void)arg;
    pthread_mutex_lock(&gate.lock);
    gate.job_blocks++;
    int enough = worker != 0 && gate.worker_blocks++ == 0 ? 1 : 2;
    pthread_cond_broadcast(&gate.changed);
    while (gate.query_blocks < enough)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void query_block(size_t block, size_t worker, void *arg)
{
    (void)block;
    (void)worker;
    (void)arg;
    pthread_mutex_lock(&gate.lock);
    gate.query_blocks++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.query_blocks < 2)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void *run_query(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&gate.lock);
    while (gate.job_blocks < 2)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    parallel_set_priority(PARALLEL_QUERY);
    parallel_for(2, query_block, NULL);
    return NULL;
}

static void test_queries_first(void **state)
{
    (void)state;
    parallel_stop();
    parallel_start(2);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_query, NULL), 0);
    alarm(60); /* a pool that serves jobs first would wait for ever */
    parallel_for(6, job_block, NULL);
    pthread_join(thread, NULL);
    alarm(0);
    assert_int_equal(gate.query_blocks, 2);
    parallel_stop();
    parallel_start(THREADS);
}

static _Atomic int workers_seen, mask_wrong, nice_wrong;

static void look_at_thread(size_t block, size_t worker, void *arg)
{
    (void)arg;
    (void)block;
    if (worker == 0) {
        usleep(1000); /* leaves blocks for the others */
        return;
    }
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    mask_wrong |=
        !sigismember(&mask, SIGINT) || !sigismember(&mask, SIGWINCH) || !sigismember(&mask, SIGTERM);
    nice_wrong |= getpriority(PRIO_PROCESS, (id_t)gettid()) < 5;
    workers_seen++;
}

static void test_workers(void **state)
{
    (void)state;
    assert_int_equal(parallel_threads(), THREADS);
    parallel_start(9); /* already started */
    assert_int_equal(parallel_threads(), THREADS);
    while (!workers_seen)
        parallel_for(100, look_at_thread, NULL);
    assert_false(mask_wrong);
    assert_false(nice_wrong);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_false(sigismember(&mask, SIGINT));
}

/* ---- Cancelling within. ---- */

struct watched {
    struct monitor monitor;
    pthread_t thread;         /* that it is asked on */
    int questions, cancel_at; /* the question, from 1, that is answered so; 0: none */
    int elsewhere;
    _Atomic int asked, begun;
};

static int count_questions(struct monitor *m)
{
    struct watched *w = (struct watched *)m;
    w->elsewhere += !pthread_equal(w->thread, pthread_self());
    w->questions++;
    atomic_store(&w->asked, w->questions);
    return w->questions == w->cancel_at;
}

static struct watched watched(int cancel_at)
{
    return (struct watched){
        .monitor.cancelled = count_questions, .thread = pthread_self(), .cancel_at = cancel_at};
}

/* Others' blocks wait for the first answer: what they begin before it is one each, and each takes its time,
 * so that few are begun while the caller takes the rest away, however busy the machine is. */
static void wait_for_answer(size_t block, size_t worker, void *arg)
{
    struct watched *w = arg;
    (void)block;
    w->begun++;
    while (worker && !atomic_load(&w->asked))
        usleep(100);
    if (worker)
        usleep(20000);
}

static void test_cancelled_at_once(void **state)
{
    (void)state;
    struct error err = {0};
    struct watched w = watched(1);
    parallel_watch(&w.monitor);
    assert_int_equal(parallel_cancelled(&err), STATUS_OK);
    parallel_for(10000, wait_for_answer, &w);
    assert_true(w.begun < THREADS + 100); /* those that end while the caller takes the rest away */
    assert_int_equal(w.questions, 1);
    assert_int_equal(parallel_cancelled(&err), STATUS_FAILED);
    assert_string_equal(err.message, "cancelled");
    /* Nothing more is begun, or asked, whatever its size. */
    w.begun = 0;
    for (size_t n = 0; n < 5; n++)
        parallel_for(n, wait_for_answer, &w);
    assert_int_equal(w.begun, 0);
    assert_int_equal(w.questions, 1);
    assert_int_equal(parallel_cancelled(&err), STATUS_FAILED);
    /* Another thread's calls are its own. */
    pthread_t other;
    void *complaint;
    assert_int_equal(pthread_create(&other, NULL, call_many, &w), 0);
    pthread_join(other, &complaint);
    assert_null(complaint);
    parallel_watch(NULL);
    assert_int_equal(parallel_cancelled(&err), STATUS_OK);
    run_squares(1000);
    assert_int_equal(w.questions, 1);
    assert_int_equal(w.elsewhere, 0);
}

static void count_block(size_t block, size_t worker, void *arg)
{
    struct watched *w = arg;
    (void)block;
    (void)worker;
    w->begun++;
}

static void nested_block(size_t block, size_t worker, void *arg)
{
    (void)block;
    (void)worker;
    parallel_for(3, count_block, arg);
}

/* The n-th question ends it; a block that was begun is whole, what it calls included. */
static void test_cancelled_later(void **state)
{
    (void)state;
    parallel_stop();
    for (int alone = 1; alone >= 0; alone--) {
        for (int n = 1; n < 20; n++) {
            struct watched w = watched(n);
            parallel_watch(&w.monitor);
            for (int i = 0; i < 3; i++)
                parallel_for(5, nested_block, &w);
            int cancelled = parallel_cancelled(NULL) != STATUS_OK;
            parallel_watch(NULL);
            assert_int_equal(w.begun % 3, 0);
            assert_int_equal(cancelled, w.questions == n);
            assert_int_equal(cancelled, w.begun < 45);
            if (alone)
                assert_int_equal(w.begun, n <= 15 ? 3 * (n - 1) : 45);
            assert_int_equal(w.elsewhere, 0);
        }
        if (alone)
            parallel_start(THREADS);
    }
}

static void test_not_started(void **state)
{
    (void)state;
    parallel_stop();
    parallel_stop();
    assert_int_equal(parallel_threads(), 1);
    run_squares(20);
    parallel_start(0);
    assert_true(parallel_threads() >= 1);
    parallel_stop();
    parallel_start(THREADS);
}

typedef void product_fn(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                        size_t ldb, float beta, float *c, size_t ldc);

static float *random_matrix(struct rng *r, size_t n)
{
    float *x = xreallocarray(NULL, n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_uniform(r) - 0.5f;
    return x;
}

/* C = 0.5·op(A)·op(B) + beta·C, each row a little longer than its matrix, against sums in float64. */
static void check_product(product_fn *product, int transposed_a, int transposed_b, size_t m, size_t n,
                          size_t k, float beta)
{
    struct rng r;
    rng_seed(&r, m * 1000 + n, k);
    size_t lda = (transposed_a ? m : k) + 3, ldb = (transposed_b ? k : n) + 2, ldc = n + 5;
    float *a = random_matrix(&r, (transposed_a ? k : m) * lda),
          *b = random_matrix(&r, (transposed_b ? n : k) * ldb);
    float *c = random_matrix(&r, m * ldc), *before = xreallocarray(NULL, m * ldc, sizeof *c);
    if (beta == 0.0f)
        c[0] = NAN; /* must not count */
    memcpy(before, c, m * ldc * sizeof *c);
    product(m, n, k, 0.5f, a, lda, b, ldb, beta, c, ldc);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (double)(transposed_a ? a[l * lda + i] : a[i * lda + l]) *
                       (double)(transposed_b ? b[j * ldb + l] : b[l * ldb + j]);
            double wanted = 0.5 * sum + (beta == 0.0f ? 0.0 : (double)beta * (double)before[i * ldc + j]);
            assert_true(fabs((double)c[i * ldc + j] - wanted) < 1e-5 * (1.0 + sqrt((double)k)));
        }
        assert_memory_equal(c + i * ldc + n, before + i * ldc + n, 5 * sizeof *c);
    }
    free(a);
    free(b);
    free(c);
    free(before);
}

static void test_products(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},     {3, 5, 7},     {1, 200, 30},
                                       {64, 1, 50},   {300, 17, 40}, {17, 900, 129},
                                       {700, 65, 48}, {65, 700, 48}, {4, 3, 0}};
    for (size_t i = 0; i < ARRAY_LENGTH(shapes); i++) {
        size_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
        float beta = i % 2 ? 2.0f : 0.0f;
        check_product(sgemm_nn, 0, 0, m, n, k, beta);
        check_product(sgemm_nt, 0, 1, m, n, k, beta);
        check_product(sgemm_tn, 1, 0, m, n, k, beta);
        check_product(parallel_sgemm_nn, 0, 0, m, n, k, beta);
        check_product(parallel_sgemm_nt, 0, 1, m, n, k, beta);
        check_product(parallel_sgemm_tn, 1, 0, m, n, k, beta);
    }
    float none[1] = {3.0f};
    sgemm_nn(0, 4, 2, 1.0f, none, 2, none, 4, 0.0f, none, 4);
    parallel_sgemm_nt(4, 0, 2, 1.0f, none, 2, none, 2, 0.0f, none, 1);
    assert_true(none[0] == 3.0f);
}

/* The same bits with one thread and with several. */
static void test_products_repeatable(void **state)
{
    (void)state;
    enum { M = 333, N = 777, K = 65 };
    struct rng r;
    rng_seed(&r, 1, 1);
    float *a = random_matrix(&r, M * K), *b = random_matrix(&r, N * K);
    float *c = random_matrix(&r, M * N), *d = random_matrix(&r, M * N);
    parallel_sgemm_nt(M, N, K, 1.0f, a, K, b, K, 0.0f, c, N);
    parallel_stop();
    parallel_sgemm_nt(M, N, K, 1.0f, a, K, b, K, 0.0f, d, N);
    parallel_start(THREADS);
    assert_memory_equal(c, d, M * N * sizeof *c);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void test_vectors(void **state)
{
    (void)state;
    static const float a[2][4] = {{1, 2, 3, 99}, {4, 5, 6, 99}};
    static const float x3[3] = {1, 10, 100}, x2[2] = {1, 10};
    float y[3] = {NAN, NAN, NAN};
    sgemv_n(2, 3, a[0], 4, x3, y);
    assert_true(y[0] == 321.0f && y[1] == 654.0f && isnan(y[2]));
    y[0] = y[1] = NAN;
    sgemv_t(2, 3, a[0], 4, x2, y);
    assert_true(y[0] == 41.0f && y[1] == 52.0f && y[2] == 63.0f);
    sgemv_t(0, 3, a[0], 4, x2, y);
    assert_true(y[0] == 0.0f && y[1] == 0.0f && y[2] == 0.0f);
    assert_true(vec_dot(a[0], x3, 3) == 321.0f);
    assert_true(vec_dot(a[0], x3, 0) == 0.0f);
    y[0] = 1.0f;
    vec_axpy(2.0f, x3, y, 3);
    assert_true(y[0] == 3.0f && y[1] == 20.0f && y[2] == 200.0f);
    vec_scale(0.5f, y, 3);
    assert_true(y[0] == 1.5f && y[1] == 10.0f && y[2] == 100.0f);
    float ones[1003];
    for (size_t i = 0; i < ARRAY_LENGTH(ones); i++)
        ones[i] = 1e-3f * (float)(i + 1);
    /* 1²+…+n² = n(n+1)(2n+1)/6; what remains is the rounding of the thousandths. */
    assert_true(fabs(vec_norm2(ones, 1003) - 1e-6 * (1003.0 * 1004.0 * 2007.0 / 6.0)) < 1e-4);
    static const float large[9] = {1e30f, 0, 0, 0, 0, 0, 0, 0, 1e30f};
    assert_true(fabs(vec_norm2(large, 9) / 2e60 - 1.0) < 1e-6); /* would overflow float32 */
    assert_true(strlen(blas_core_name()) > 0);
    assert_non_null(strstr(blas_config(), "OpenBLAS"));
}

static int start(void **state)
{
    (void)state;
    blas_start();
    parallel_start(THREADS);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    parallel_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_block_once), cmocka_unit_test(test_nested),
        cmocka_unit_test(test_several_callers),  cmocka_unit_test(test_queries_first),
        cmocka_unit_test(test_workers),          cmocka_unit_test(test_cancelled_at_once),
        cmocka_unit_test(test_cancelled_later),  cmocka_unit_test(test_not_started),
        cmocka_unit_test(test_products),         cmocka_unit_test(test_products_repeatable),
        cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
