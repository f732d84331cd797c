/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The queue of this process's jobs. One thread, the clerk, looks after the queued ones: it starts the first
 * that need not wait when a slot is free, each on a thread of its own, and sees to those that are cancelled
 * or handed over before they start. Jobs run in the foreground stand in the same queue and run on the thread
 * that submitted them.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/engine.h"

#define TICK_SECONDS                                                                                         \
    0.1 /* how often queued jobs are looked at: other processes' jobs and control words say nothing */
#define BACKGROUND_NICE 5

void engine_changed(struct job_engine *e)
{
    if (e->changed)
        e->changed(e->arg);
}

void engine_wait(struct job_engine *e, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&e->wake, &e->mutex, &until);
}

/* ---- Threads. ---- */
struct thread_start {
    void *(*run)(void *arg);
    void *arg;
};

static void *background_thread(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    free(arg);
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), BACKGROUND_NICE);
    return start.run(start.arg);
}

/* Signals are the main thread's. */
static int thread_new(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    struct thread_start *start = xmalloc(sizeof(*start));
    *start = (struct thread_start){run, arg};
    sigfillset(&all);
    /* Blocked, a fault would end the program before the explorer can restore the terminal. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(thread, NULL, background_thread, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code)
        free(start);
    return code;
}

static void entry_end(struct job_entry *entry)
{
    struct job_engine *e = entry->engine;
    pthread_mutex_lock(&e->mutex);
    entry->phase = ENTRY_ENDED;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    engine_changed(e);
}

static void *entry_thread(void *arg)
{
    struct job_entry *entry = arg;
    entry_run(entry);
    entry_end(entry);
    return NULL;
}

/* ---- Entries. ---- */
static void entry_free(struct job_entry *entry)
{
    job_file_close(&entry->file);
    json_free(entry->record);
    json_free(entry->result);
    pthread_mutex_destroy(&entry->mutex);
    free(entry);
}

int engine_add(struct job_engine *e, uint64_t id, struct job_file *f, struct job_entry **out,
               struct error *err)
{
    json *record = job_record_read(e->store, id, err);
    const struct job_kind *kind = record ? job_kind_find(json_get_string(record, "kind", ""), err) : NULL;
    if (!kind) {
        json_free(record);
        job_file_close(f);
        return error_code(err);
    }
    struct job_entry *entry = xcalloc(1, sizeof(*entry));
    entry->engine = e;
    entry->id = id;
    entry->kind = kind;
    entry->record = record;
    entry->file = *f;
    *f = (struct job_file)JOB_FILE_CLOSED;
    entry_init(entry);
    *out = entry;
    return STATUS_OK;
}

/* Into the queue, from where the clerk may take it at once. */
static void engine_insert(struct job_engine *e, struct job_entry *entry)
{
    pthread_mutex_lock(&e->mutex);
    if (e->n_entries == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 8;
        e->entries = xreallocarray(e->entries, e->capacity, sizeof(struct job_entry *));
    }
    size_t at = e->n_entries++;
    for (; at > 0 && e->entries[at - 1]->id > entry->id; at--)
        e->entries[at] = e->entries[at - 1];
    e->entries[at] = entry;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    engine_changed(e);
}

void engine_remove(struct job_engine *e, struct job_entry *entry)
{
    pthread_mutex_lock(&e->mutex);
    for (size_t i = 0; i < e->n_entries; i++)
        if (e->entries[i] == entry) {
            memmove(&e->entries[i], &e->entries[i + 1], (e->n_entries - i - 1) * sizeof(struct job_entry *));
            e->n_entries--;
            break;
        }
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    entry_free(entry);
}

/* ---- The clerk. ---- */
static struct job_entry *next_entry(struct job_engine *e, enum entry_phase phase, uint64_t after)
{
    for (size_t i = 0; i < e->n_entries; i++)
        if (e->entries[i]->id > after && e->entries[i]->phase == phase)
            return e->entries[i];
    return NULL;
}

static int slot_free(struct job_engine *e)
{
    size_t running = 0;
    for (size_t i = 0; i < e->n_entries; i++)
        running += e->entries[i]->phase == ENTRY_STARTED && !e->entries[i]->resting;
    return running < e->max_jobs;
}

/* Why a queued job shall not start at all. */
static enum stop_reason asked_to_leave(struct job_engine *e, struct job_entry *entry,
                                       enum job_control control)
{
    pthread_mutex_lock(&e->mutex);
    enum stop_reason stopping = e->stopping;
    pthread_mutex_unlock(&e->mutex);
    if (control == JOB_CONTROL_CANCEL)
        return STOP_CANCEL;
    if (control == JOB_CONTROL_DETACH)
        return STOP_DETACH;
    return stopping ? stopping : (enum stop_reason)atomic_load(&entry->stop);
}

static void start(struct job_engine *e, struct job_entry *entry)
{
    pthread_mutex_lock(&e->mutex);
    entry->phase = ENTRY_STARTED;
    int code = 0;
    if (!entry->foreground) {
        code = thread_new(&entry->thread, entry_thread, entry);
        entry->has_thread = !code;
    }
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    if (code) {
        entry->status = error_system(&entry->error, STATUS_FAILED, code, "cannot start a thread");
        entry_fail(entry);
        entry_end(entry);
    }
}

static void attend(struct job_engine *e, struct job_entry *entry)
{
    char message[256] = "";
    enum job_control control = job_file_control(&entry->file);
    enum stop_reason leave = asked_to_leave(e, entry, control);
    if (leave != STOP_NONE) {
        entry_leave(entry, leave);
        entry_end(entry);
        return;
    }
    if (control == JOB_CONTROL_PAUSE) {
        entry_show(entry, JOB_PAUSED, "");
        return;
    }
    int ready = job_record_ready(e->store, entry->record, message, sizeof(message), &entry->error);
    if (ready < 0) {
        entry->status = entry->error.code;
        entry_fail(entry);
        entry_end(entry);
        return;
    }
    pthread_mutex_lock(&e->mutex);
    int room = slot_free(e);
    pthread_mutex_unlock(&e->mutex);
    if (ready && room)
        start(e, entry);
    else
        entry_show(entry, ready ? JOB_QUEUED : JOB_WAITING, message);
}

static void *clerk_thread(void *arg)
{
    struct job_engine *e = arg;
    pthread_mutex_lock(&e->mutex);
    while (!e->stopping || e->n_entries) {
        struct job_entry *entry;
        for (uint64_t id = 0; (entry = next_entry(e, ENTRY_QUEUED, id));) {
            id = entry->id; /* a foreground job's thread may free its entry as soon as it has ended */
            pthread_mutex_unlock(&e->mutex);
            attend(e, entry);
            pthread_mutex_lock(&e->mutex);
        }
        for (uint64_t id = 0; (entry = next_entry(e, ENTRY_ENDED, id));) {
            id = entry->id;
            if (entry->foreground)
                continue;
            pthread_mutex_unlock(&e->mutex);
            if (entry->has_thread)
                pthread_join(entry->thread, NULL);
            engine_remove(e, entry);
            pthread_mutex_lock(&e->mutex);
        }
        job_spawn_reap();
        if (next_entry(e, ENTRY_QUEUED, 0))
            engine_wait(e, TICK_SECONDS);
        else if (!e->stopping || e->n_entries)
            engine_wait(e, 1);
    }
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

/* ---- Starting and stopping. ---- */
int job_engine_start(struct store *s, const struct job_engine_options *o, struct job_engine **out,
                     struct error *err)
{
    struct job_engine *e = xcalloc(1, sizeof(*e));
    e->store = s;
    e->max_jobs = o->max_jobs ? o->max_jobs : 1;
    e->program = o->program ? xstrdup(o->program) : NULL;
    e->changed = o->changed;
    e->arg = o->arg;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = thread_new(&e->clerk, clerk_thread, e);
    if (code) {
        free(e->program);
        free(e);
        return error_system(err, STATUS_FAILED, code, "cannot start a thread for jobs");
    }
    *out = e;
    return STATUS_OK;
}

void job_engine_stop(struct job_engine *e, int detach)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->mutex);
    e->stopping = detach && e->program ? STOP_DETACH : STOP_INTERRUPT;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->clerk, NULL);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->mutex);
    free(e->entries);
    free(e->program);
    free(e);
}

size_t job_engine_active(struct job_engine *e)
{
    size_t active = 0;
    pthread_mutex_lock(&e->mutex);
    for (size_t i = 0; i < e->n_entries; i++)
        active += e->entries[i]->phase != ENTRY_ENDED;
    pthread_mutex_unlock(&e->mutex);
    return active;
}

/* ---- Submitting. ---- */
static int queue_recorded(struct job_engine *e, uint64_t id, struct job_file *f, struct error *err)
{
    struct job_entry *entry;
    int status = engine_add(e, id, f, &entry, err);
    if (status == STATUS_OK)
        engine_insert(e, entry);
    return status;
}

int job_submit(struct job_engine *e, const char *kind, json *parameters, uint64_t *id, struct error *err)
{
    struct job_file f;
    int status = job_record_new(e->store, kind, parameters, id, &f, err);
    return status == STATUS_OK ? queue_recorded(e, *id, &f, err) : status;
}

int job_submit_detached(struct job_engine *e, const char *kind, json *parameters, uint64_t *id,
                        struct error *err)
{
    struct job_file f;
    pid_t pid;
    if (!strcmp(json_get_string(parameters, "path", ""), "-")) {
        json_free(parameters);
        return error_set(err, STATUS_USAGE, "a detached job cannot read standard input");
    }
    int status = job_record_new(e->store, kind, parameters, id, &f, err);
    if (status != STATUS_OK)
        return status;
    job_file_lock(&f, JOB_LOCK_HANDOVER);
    job_file_unlock(&f, JOB_LOCK_OWNER);
    status = job_spawn(e->store, e->program, *id, &f, &pid, err);
    job_file_close(&f);
    engine_changed(e);
    return status;
}

/* ---- The foreground. ---- */
struct foreground {
    void (*report)(const struct job_status *status, void *arg);
    int (*stop)(void *arg);
    void *arg;
    int cancel_on_stop;
};

static int run_foreground(struct job_engine *e, uint64_t id, struct job_file *f,
                          const struct foreground *user, json **result, struct error *err)
{
    struct job_entry *entry;
    int status = engine_add(e, id, f, &entry, err);
    if (status != STATUS_OK)
        return status;
    entry->foreground = 1;
    entry->cancel_on_stop = user->cancel_on_stop;
    entry->report = user->report;
    entry->stopped = user->stop;
    entry->arg = user->arg;
    engine_insert(e, entry);
    pthread_mutex_lock(&e->mutex);
    while (entry->phase == ENTRY_QUEUED) {
        pthread_mutex_unlock(&e->mutex);
        if (user->stop && user->stop(user->arg))
            atomic_store(&entry->stop, user->cancel_on_stop ? STOP_CANCEL : STOP_INTERRUPT);
        entry_tell(entry);
        pthread_mutex_lock(&e->mutex);
        if (entry->phase == ENTRY_QUEUED)
            engine_wait(e, TICK_SECONDS);
    }
    enum entry_phase phase = entry->phase;
    pthread_mutex_unlock(&e->mutex);
    if (phase == ENTRY_STARTED) {
        entry_run(entry);
        entry_end(entry);
    }
    status = entry->status;
    if (status != STATUS_OK && err)
        *err = entry->error;
    if (status == STATUS_OK && result)
        *result = json_retain(entry->result);
    engine_remove(e, entry);
    return status;
}

int job_run_here(struct job_engine *e, const char *kind, json *parameters,
                 void (*report)(const struct job_status *status, void *arg), int (*stop)(void *arg),
                 void *arg, uint64_t *id, json **result, struct error *err)
{
    struct job_file f;
    struct foreground user = {report, stop, arg, 1};
    int status = job_record_new(e->store, kind, parameters, id, &f, err);
    return status == STATUS_OK ? run_foreground(e, *id, &f, &user, result, err) : status;
}

/* The file of a job that nobody has, with its lock; also of one that failed, if may_have_failed. */
static int take_up(struct job_engine *e, uint64_t id, int may_have_failed, struct job_file *f,
                   struct error *err)
{
    enum job_state state = JOB_QUEUED;
    json *record = job_record_read(e->store, id, err);
    if (!record)
        return error_code(err);
    int letting_go = job_record_final(record, NULL); /* whoever ran it may still be clearing up */
    json_free(record);
    int status = job_file_open(e->store, id, 0, f, NULL);
    if (status != STATUS_OK)
        status = job_file_open(e->store, id, 1, f, err);
    if (status != STATUS_OK)
        return status;
    int locked = job_file_lock(f, JOB_LOCK_OWNER);
    for (int i = 0; locked && letting_go && i < 50; i++) {
        nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL);
        locked = job_file_lock(f, JOB_LOCK_OWNER);
    }
    if (locked) {
        struct job_progress p;
        job_file_read(f, &p);
        job_file_close(f);
        return error_set(err, STATUS_REFUSED, "job %llu is %s in process %ld", (unsigned long long)id,
                         job_state_name((enum job_state)p.state), (long)p.pid);
    }
    record = job_record_read(e->store, id, err);
    int over = record && job_record_final(record, &state);
    if (!record)
        status = error_code(err);
    else if (over && !(state == JOB_FAILED && may_have_failed))
        status = error_set(err, STATUS_REFUSED, "job %llu is %s already", (unsigned long long)id,
                           job_state_name(state));
    else if (over)
        status = job_record_set(e->store, id, "state", json_new_string("queued"), err);
    json_free(record);
    if (status != STATUS_OK)
        job_file_close(f);
    else if (!job_file_locked(f, JOB_LOCK_HANDOVER)) /* a paused job that is handed over stays paused */
        job_file_set_control(f, JOB_CONTROL_RUN);
    return status;
}

int job_run_recorded(struct job_engine *e, uint64_t id, void (*report)(const struct job_status *, void *),
                     int (*stop)(void *arg), void *arg, json **result, struct error *err)
{
    struct job_file f;
    struct foreground user = {report, stop, arg, 0};
    int status = take_up(e, id, 0, &f, err);
    return status == STATUS_OK ? run_foreground(e, id, &f, &user, result, err) : status;
}

int job_resume(struct job_engine *e, uint64_t id, struct error *err)
{
    struct job_file f;
    if (store_is_read_only(e->store))
        return error_set(err, STATUS_STORE, "the store is open for reading only");
    if (job_file_open(e->store, id, 0, &f, NULL) == STATUS_OK) {
        int owned = job_file_locked(&f, JOB_LOCK_OWNER);
        int paused = owned && job_file_control(&f) == JOB_CONTROL_PAUSE;
        if (paused)
            job_file_set_control(&f, JOB_CONTROL_RUN);
        job_file_close(&f);
        if (paused) {
            engine_changed(e);
            return STATUS_OK;
        }
    }
    int status = take_up(e, id, 1, &f, err);
    return status == STATUS_OK ? queue_recorded(e, id, &f, err) : status;
}
