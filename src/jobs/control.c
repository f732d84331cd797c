/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is asked of jobs from any process: pause, cancel, detach, wait. */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/jobs/engine.h"

#define WAIT_SECONDS 0.1

static int refuse(uint64_t id, enum job_state state, struct error *err)
{
    return error_set(err, STATUS_REFUSED, "job %llu is %s", (unsigned long long)id, job_state_name(state));
}

static int open_to_write(struct store *s, uint64_t id, struct job_file *f, struct error *err)
{
    if (store_is_read_only(s))
        return error_set(err, STATUS_STORE, "the store is open for reading only");
    int status = job_file_open(s, id, 0, f, err);
    if (status == STATUS_OK && (fcntl(f->fd, F_GETFL) & O_ACCMODE) != O_RDWR) {
        job_file_close(f);
        status = error_set(err, STATUS_STORE, "no permission to control job %llu", (unsigned long long)id);
    }
    return status;
}

int job_pause(struct store *s, uint64_t id, struct error *err)
{
    struct job_status now;
    struct job_file f;
    int status = job_status_read(s, id, &now, err);
    if (status != STATUS_OK)
        return status;
    if (job_state_final(now.state) || now.state == JOB_INTERRUPTED || now.state == JOB_CANCELLING)
        return refuse(id, now.state, err);
    status = open_to_write(s, id, &f, err);
    if (status != STATUS_OK)
        return status;
    job_file_set_control(&f, JOB_CONTROL_PAUSE);
    job_file_close(&f);
    return STATUS_OK;
}

int job_cancel(struct store *s, uint64_t id, struct error *err)
{
    struct job_status now;
    struct job_file f;
    int status = job_status_read(s, id, &now, err);
    if (status != STATUS_OK)
        return status;
    if (job_state_final(now.state))
        return refuse(id, now.state, err);
    status = open_to_write(s, id, &f, err);
    if (status != STATUS_OK && !(now.state == JOB_INTERRUPTED && error_code(err) == STATUS_REFUSED))
        return status;
    if (status != STATUS_OK) /* interrupted, and its file is gone */
        return job_record_finish(s, id, JOB_CANCELLED, STATUS_FAILED, "cancelled", NULL, err);
    job_file_set_control(&f, JOB_CONTROL_CANCEL);
    if (!job_file_lock(&f, JOB_LOCK_OWNER)) { /* nobody has it who could do it */
        json *record = job_record_read(s, id, err);
        status = record ? STATUS_OK : error_code(err);
        if (record && !job_record_final(record, NULL))
            status = job_record_finish(s, id, JOB_CANCELLED, STATUS_FAILED, "cancelled", NULL, err);
        json_free(record);
    }
    job_file_close(&f);
    return status;
}

int job_detach(struct job_engine *e, uint64_t id, struct error *err)
{
    int status = STATUS_OK, mine = 0;
    if (!e->program)
        return error_set(err, STATUS_FAILED, "no program is known that could run job %llu",
                         (unsigned long long)id);
    pthread_mutex_lock(&e->mutex);
    for (size_t i = 0; i < e->n_entries; i++)
        if (e->entries[i]->id == id && e->entries[i]->phase != ENTRY_ENDED && !e->entries[i]->foreground) {
            if (job_file_control(&e->entries[i]->file) != JOB_CONTROL_CANCEL)
                job_file_set_control(&e->entries[i]->file, JOB_CONTROL_DETACH);
            mine = 1;
        }
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    if (!mine) {
        struct job_status now;
        status = job_status_read(e->store, id, &now, err);
        if (status == STATUS_OK && now.state == JOB_RUNNING)
            return error_set(err, STATUS_REFUSED, "job %llu runs in process %ld", (unsigned long long)id,
                             (long)now.pid);
        if (status == STATUS_OK)
            status = refuse(id, now.state, err);
    }
    return status;
}

static int is_over(enum job_state state)
{
    return job_state_final(state) || state == JOB_INTERRUPTED;
}

/* STATUS_OK when it is done. */
static int wait_one(struct job_engine *e, uint64_t id, int (*stop)(void *arg), void *arg, int *stopped,
                    struct error *err)
{
    for (;;) {
        struct job_status now;
        int status = job_status_read(e->store, id, &now, err);
        if (status != STATUS_OK)
            return status;
        if (now.state == JOB_DONE)
            return STATUS_OK;
        if (is_over(now.state))
            return error_set(err, STATUS_FAILED, "job %llu is %s%s%s", (unsigned long long)id,
                             job_state_name(now.state), now.state == JOB_FAILED ? ": " : "",
                             now.state == JOB_FAILED ? now.message : "");
        if (stop && stop(arg)) {
            *stopped = 1;
            return error_set(err, STATUS_FAILED, "stopped waiting for job %llu", (unsigned long long)id);
        }
        pthread_mutex_lock(&e->mutex);
        engine_wait(e, WAIT_SECONDS);
        pthread_mutex_unlock(&e->mutex);
    }
}

/* The oldest job that is not over, or 0. */
static int oldest_active(struct job_engine *e, uint64_t *id, struct error *err)
{
    struct job_status *list;
    size_t n;
    int status = job_status_list(e->store, &list, &n, err);
    *id = 0;
    for (size_t i = 0; status == STATUS_OK && i < n; i++)
        if (!is_over(list[i].state))
            *id = list[i].id;
    if (status == STATUS_OK)
        free(list);
    return status;
}

int job_wait(struct job_engine *e, uint64_t id, int (*stop)(void *arg), void *arg, struct error *err)
{
    int stopped = 0;
    if (id)
        return wait_one(e, id, stop, arg, &stopped, err);
    int first = STATUS_OK;
    while (!stopped) {
        struct error failure;
        int status = oldest_active(e, &id, &failure);
        int listed = status == STATUS_OK;
        if (listed && !id)
            break;
        if (listed)
            status = wait_one(e, id, stop, arg, &stopped, &failure);
        if (status != STATUS_OK && first == STATUS_OK) {
            first = status;
            if (err)
                *err = failure;
        }
        if (!listed)
            break;
    }
    return first;
}
