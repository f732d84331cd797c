/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A job's file: progress behind a sequence lock, a control word, and the locks that say who has the job.
 *
 * Locks are those of open file descriptions, so that they can be asked for without being taken, work between
 * the threads of one process as between processes, and go when their holder dies.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/internal.h"

#define JOB_FILE_MAGIC 0x31626f6a65617301ull

_Static_assert(sizeof(struct job_page) == JOB_FILE_BYTES, "a job's file is one page");
_Static_assert(sizeof(struct job_progress) <= JOB_FILE_WORDS * sizeof(uint64_t), "progress fits its page");
_Static_assert(sizeof(struct job_progress) % sizeof(uint64_t) == 0, "progress is whole words");

#define PROGRESS_WORDS (sizeof(struct job_progress) / sizeof(uint64_t))

/* On disk before it is mapped: a write to a hole of a full disk would end the process with SIGBUS. */
static int page_allocate(int fd, uint64_t id, struct error *err)
{
    int code = posix_fallocate(fd, 0, JOB_FILE_BYTES);
    if (code)
        return error_system(err, STATUS_STORE, code, "cannot make the file of job %llu",
                            (unsigned long long)id);
    return STATUS_OK;
}

static int page_map(int fd, uint64_t id, struct job_page **page, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < JOB_FILE_BYTES)
        return error_set(err, STATUS_REFUSED, "the file of job %llu is damaged", (unsigned long long)id);
    int writable = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
    void *map = mmap(NULL, JOB_FILE_BYTES, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return error_system(err, STATUS_FAILED, errno, "cannot map the file of job %llu",
                            (unsigned long long)id);
    *page = map;
    return STATUS_OK;
}

int job_file_open(struct store *s, uint64_t id, int create, struct job_file *f, struct error *err)
{
    *f = (struct job_file)JOB_FILE_CLOSED;
    char *dir;
    if (store_is_read_only(s))
        dir = path_join(store_path(s), "jobs");
    else if (!(dir = store_jobs_directory(s, err)))
        return error_code(err);
    char *path = xasprintf("%s/%llu", dir, (unsigned long long)id);
    free(dir);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0644);
    if (fd < 0 && !create && (errno == EACCES || errno == EROFS))
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int errno_value = errno;
    free(path);
    if (fd < 0)
        return error_system(err, create ? STATUS_STORE : STATUS_REFUSED, errno_value,
                            "cannot open the file of job %llu", (unsigned long long)id);
    int status = create ? page_allocate(fd, id, err) : STATUS_OK;
    if (status == STATUS_OK)
        status = page_map(fd, id, &f->page, err);
    if (status == STATUS_OK && !create && atomic_load(&f->page->magic) != JOB_FILE_MAGIC) {
        munmap(f->page, JOB_FILE_BYTES);
        status = error_set(err, STATUS_REFUSED, "the file of job %llu is damaged", (unsigned long long)id);
    }
    if (status != STATUS_OK) {
        close(fd);
        *f = (struct job_file)JOB_FILE_CLOSED;
        return status;
    }
    f->fd = fd;
    if (create) {
        struct job_progress p;
        job_progress_init(&p);
        job_file_write(f, &p);
        job_file_set_control(f, JOB_CONTROL_RUN);
        atomic_store(&f->page->magic, JOB_FILE_MAGIC);
    }
    return STATUS_OK;
}

void job_file_close(struct job_file *f)
{
    if (f->page)
        munmap(f->page, JOB_FILE_BYTES);
    if (f->fd >= 0)
        close(f->fd);
    *f = (struct job_file)JOB_FILE_CLOSED;
}

/* ---- Locks: one byte each, beyond the page. ---- */
static struct flock lock_of(enum job_lock lock, short type)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = JOB_FILE_BYTES + (off_t)lock, .l_len = 1};
}

int job_file_lock(struct job_file *f, enum job_lock lock)
{
    struct flock l = lock_of(lock, F_WRLCK);
    return fcntl(f->fd, F_OFD_SETLK, &l) ? -1 : 0;
}

void job_file_unlock(struct job_file *f, enum job_lock lock)
{
    struct flock l = lock_of(lock, F_UNLCK);
    fcntl(f->fd, F_OFD_SETLK, &l);
}

int job_file_locked(const struct job_file *f, enum job_lock lock)
{
    struct flock l = lock_of(lock, F_WRLCK);
    return !fcntl(f->fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

/* ---- The sequence lock. An odd number means that its owner is writing. Data words are stored with release
 * and loaded with acquire order, which keeps them between the two accesses of the sequence without fences.
 * ---- */
void job_file_write(struct job_file *f, const struct job_progress *p)
{
    uint64_t words[PROGRESS_WORDS];
    memcpy(words, p, sizeof(words));
    /* An owner that died while writing left it odd. */
    uint64_t sequence = atomic_load_explicit(&f->page->sequence, memory_order_relaxed) | 1;
    atomic_store_explicit(&f->page->sequence, sequence, memory_order_relaxed);
    for (size_t i = 0; i < PROGRESS_WORDS; i++)
        atomic_store_explicit(&f->page->words[i], words[i], memory_order_release);
    atomic_store_explicit(&f->page->sequence, sequence + 1, memory_order_release);
}

static void progress_sanitize(struct job_progress *p)
{
    if (p->state > JOB_DONE)
        p->state = JOB_QUEUED;
    if (p->n_curve > JOB_CURVE_POINTS)
        p->n_curve = 0;
    if (!p->span)
        p->span = 1;
    p->unit[sizeof(p->unit) - 1] = p->phase[sizeof(p->phase) - 1] = p->message[sizeof(p->message) - 1] = '\0';
}

void job_file_read(const struct job_file *f, struct job_progress *p)
{
    uint64_t words[PROGRESS_WORDS];
    /* Bounded: the sequence stays odd for ever when its owner was killed while writing. */
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint64_t before = atomic_load_explicit(&f->page->sequence, memory_order_acquire);
        for (size_t i = 0; i < PROGRESS_WORDS; i++)
            words[i] = atomic_load_explicit(&f->page->words[i], memory_order_acquire);
        uint64_t after = atomic_load_explicit(&f->page->sequence, memory_order_relaxed);
        if (before == after && before % 2 == 0)
            break;
        sched_yield();
    }
    memcpy(p, words, sizeof(*p));
    progress_sanitize(p);
}

enum job_control job_file_control(const struct job_file *f)
{
    uint64_t control = atomic_load(&f->page->control);
    return control <= JOB_CONTROL_DETACH ? (enum job_control)control : JOB_CONTROL_RUN;
}

void job_file_set_control(struct job_file *f, enum job_control control)
{
    atomic_store(&f->page->control, (uint64_t)control);
}

/* ---- Progress. ---- */
void job_progress_init(struct job_progress *p)
{
    memset(p, 0, sizeof(*p));
    p->state = JOB_QUEUED;
    p->rate = p->loss = p->l0 = p->explained_variance = p->dead = p->left = NAN;
    p->span = 1;
    p->updated = clock_seconds();
}

/* Point i is the mean of the losses reported in steps [i·span, (i+1)·span); when there are too many points,
 * two become one. A run that goes on from an earlier step writes over the points from there. */
static void curve_add(struct job_progress *p, uint64_t step, float loss)
{
    while (step / p->span >= JOB_CURVE_POINTS) {
        uint32_t half = p->n_curve / 2;
        for (uint32_t i = 0; i < half; i++)
            p->curve[i] = (p->curve[2 * i] + p->curve[2 * i + 1]) / 2;
        if (p->n_curve % 2) {
            p->curve[half] = p->curve[p->n_curve - 1];
            half++;
        } else {
            p->in_point = 2;
        }
        p->n_curve = half;
        p->span *= 2;
    }
    uint32_t point = (uint32_t)(step / p->span);
    if (point + 1 == p->n_curve) {
        p->in_point++;
        p->curve[point] += (loss - p->curve[point]) / (float)p->in_point;
        return;
    }
    /* Steps that were not reported look like the last that was. */
    for (uint32_t i = p->n_curve; i < point; i++)
        p->curve[i] = i ? p->curve[i - 1] : loss;
    p->curve[point] = loss;
    p->n_curve = point + 1;
    p->in_point = 1;
}

static void copy_string(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

void job_progress_take(struct job_progress *p, struct job_start *start, const struct progress *report)
{
    const char *phase = report->phase ? report->phase : "";
    if (!start->set || start->steps != report->steps || report->step < start->step ||
        strncmp(start->phase, phase, sizeof(start->phase) - 1)) {
        *start =
            (struct job_start){.step = report->step, .steps = report->steps, .elapsed = p->elapsed, .set = 1};
        copy_string(start->phase, sizeof(start->phase), phase);
    }
    p->step = report->step;
    p->steps = report->steps;
    p->rate = report->rate;
    p->loss = report->loss;
    p->l0 = report->l0;
    p->explained_variance = report->explained_variance;
    p->dead = report->dead;
    copy_string(p->unit, sizeof(p->unit), report->unit);
    copy_string(p->phase, sizeof(p->phase), phase);
    p->left = NAN;
    if (p->steps >= p->step && p->step > start->step)
        p->left =
            (p->elapsed - start->elapsed) * (double)(p->steps - p->step) / (double)(p->step - start->step);
    if (isfinite(report->loss))
        curve_add(p, report->step, (float)report->loss);
}
