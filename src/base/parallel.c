/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pool: threads that take blocks, one at a time, from the calls that are running, queries first. */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"

#define THREADS_MAX 1024
#define WORKER_NICE 5

/* One running parallel_for; lives on its caller's stack, and in the pool's list while it has blocks to give.
 */
struct call {
    void (*fn)(size_t block, size_t worker, void *arg);
    void *arg;
    size_t n_blocks, next, finished;
    enum parallel_priority priority;
    int watched; /* by its caller's monitor */
    pthread_cond_t all_finished;
    struct call *following;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct call *calls; /* in the order in which their blocks are given out */
    int stopping;
    pthread_t *threads; /* n_threads - 1 of them: the caller of parallel_for is the other one */
    _Atomic size_t n_threads;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .n_threads = 1};

static _Thread_local enum parallel_priority thread_priority;
static _Thread_local struct monitor *thread_monitor;
static _Thread_local int thread_cancelled; /* it was: no more blocks are begun */
static _Thread_local int inside;           /* a block is running on this thread */
static _Thread_local size_t inside_worker; /* as which worker */

static void enqueue(struct call *call)
{
    struct call **place = &pool.calls;
    while (*place && (*place)->priority >= call->priority)
        place = &(*place)->following;
    call->following = *place;
    *place = call;
}

static void dequeue(struct call *call)
{
    for (struct call **place = &pool.calls; *place; place = &(*place)->following) {
        if (*place == call) {
            *place = call->following;
            return;
        }
    }
}

/* Whether the calling thread's monitor ends its call; blocks are left out then. */
static int stops(void)
{
    if (thread_monitor && !thread_cancelled)
        thread_cancelled = monitor_cancelled(thread_monitor);
    return thread_cancelled;
}

static void run_block(struct call *call, size_t block, size_t worker)
{
    inside = 1;
    inside_worker = worker;
    call->fn(block, worker, call->arg);
    inside = 0;
}

/* Takes one block and runs it. The lock is held on entry and on return; not while the block runs. */
static void take_block(struct call *call, size_t worker)
{
    size_t block = call->next++;
    if (call->next == call->n_blocks)
        dequeue(call);
    pthread_mutex_unlock(&pool.lock);
    int stopped = worker == 0 && call->watched && stops();
    if (!stopped)
        run_block(call, block, worker);
    pthread_mutex_lock(&pool.lock);
    if (stopped && call->next < call->n_blocks) {
        call->finished += call->n_blocks - call->next;
        call->next = call->n_blocks;
        dequeue(call);
    }
    /* After the last one the caller may return at once, and the call is gone. */
    if (++call->finished == call->n_blocks)
        pthread_cond_signal(&call->all_finished);
}

static void be_nice(void)
{
    id_t thread = (id_t)gettid();
    if (getpriority(PRIO_PROCESS, thread) < WORKER_NICE)
        setpriority(PRIO_PROCESS, thread, WORKER_NICE);
}

static void *worker_main(void *arg)
{
    size_t worker = (uintptr_t)arg;
    be_nice();
    pthread_mutex_lock(&pool.lock);
    while (!pool.stopping) {
        if (pool.calls)
            take_block(pool.calls, worker);
        else
            pthread_cond_wait(&pool.work, &pool.lock);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* Processors this process may run on. */
static size_t affinity_count(void)
{
    for (size_t processors = 1024; processors <= 1024 * 1024; processors *= 4) {
        cpu_set_t *set = CPU_ALLOC(processors);
        size_t size = CPU_ALLOC_SIZE(processors);
        int failed = !set || sched_getaffinity(0, size, set);
        int count = failed ? 0 : CPU_COUNT_S(size, set);
        if (set)
            CPU_FREE(set);
        if (count > 0)
            return (size_t)count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}

void parallel_start(size_t threads)
{
    if (pool.threads)
        return;
    if (threads == 0)
        threads = affinity_count();
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    pool.stopping = 0;
    pool.threads = xcalloc(threads, sizeof *pool.threads);
    /* Threads inherit the mask. Faults stay deliverable, so that a handler can restore the terminal. */
    sigset_t blocked, old;
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    size_t started = 1;
    while (started < threads &&
           !pthread_create(&pool.threads[started - 1], NULL, worker_main, (void *)(uintptr_t)started))
        started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    atomic_store(&pool.n_threads, started);
}

void parallel_stop(void)
{
    if (!pool.threads)
        return;
    pthread_mutex_lock(&pool.lock);
    pool.stopping = 1;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    size_t n = atomic_exchange(&pool.n_threads, 1);
    for (size_t i = 0; i + 1 < n; i++)
        pthread_join(pool.threads[i], NULL);
    free(pool.threads);
    pool.threads = NULL;
}

size_t parallel_threads(void)
{
    return atomic_load(&pool.n_threads);
}

void parallel_set_priority(enum parallel_priority priority)
{
    thread_priority = priority;
}

void parallel_watch(struct monitor *m)
{
    thread_monitor = m;
    thread_cancelled = 0;
}

int parallel_cancelled(struct error *err)
{
    return thread_cancelled ? error_set(err, STATUS_FAILED, "cancelled") : STATUS_OK;
}

/* All blocks on this thread. Inside a block it stays the worker it is: its scratch is its own. */
static void run_alone(size_t n_blocks, void (*fn)(size_t block, size_t worker, void *arg), void *arg)
{
    int was_inside = inside;
    size_t worker = was_inside ? inside_worker : 0;
    inside = 1;
    inside_worker = worker;
    for (size_t block = 0; block < n_blocks && (was_inside || !stops()); block++)
        fn(block, worker, arg);
    inside = was_inside;
}

void parallel_for(size_t n_blocks, void (*fn)(size_t block, size_t worker, void *arg), void *arg)
{
    if (n_blocks <= 1 || inside || parallel_threads() == 1) {
        run_alone(n_blocks, fn, arg);
        return;
    }
    if (thread_cancelled) /* before a worker takes a block */
        return;
    struct call call = {.fn = fn,
                        .arg = arg,
                        .n_blocks = n_blocks,
                        .priority = thread_priority,
                        .watched = thread_monitor != NULL};
    pthread_cond_init(&call.all_finished, NULL);
    pthread_mutex_lock(&pool.lock);
    enqueue(&call);
    /* The caller takes a block as well. */
    for (size_t i = 1; i < n_blocks && i < parallel_threads(); i++)
        pthread_cond_signal(&pool.work);
    while (call.next < call.n_blocks)
        take_block(&call, 0);
    while (call.finished < call.n_blocks)
        pthread_cond_wait(&call.all_finished, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_cond_destroy(&call.all_finished);
}
