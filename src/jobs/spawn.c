/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runners: processes of their own that run one recorded job, and outlive the one that started them. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/internal.h"

#define OWN_SECONDS 20 /* within which a runner must own its job */

extern char **environ;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t *runners;
static size_t n_runners;

static void remember(pid_t pid)
{
    pthread_mutex_lock(&mutex);
    runners = xreallocarray(runners, n_runners + 1, sizeof(pid_t));
    runners[n_runners++] = pid;
    pthread_mutex_unlock(&mutex);
}

void job_spawn_reap(void)
{
    pthread_mutex_lock(&mutex);
    size_t kept = 0;
    for (size_t i = 0; i < n_runners; i++)
        if (!waitpid(runners[i], NULL, WNOHANG))
            runners[kept++] = runners[i];
    n_runners = kept;
    if (!n_runners) {
        free(runners);
        runners = NULL;
    }
    pthread_mutex_unlock(&mutex);
}

/* A session of its own, no signal blocked or ignored, nothing open but the log. */
static int start(const char *const *words, const char *log, pid_t *pid)
{
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    /* posix_spawn takes words that it does not change. */
    int code = posix_spawn(pid, words[0], &actions, &attributes, (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return code;
}

/* The log's first line, for the message. */
static void first_line(const char *log, char *out, size_t n)
{
    struct strbuf text = STRBUF_INIT, shown = STRBUF_INIT;
    if (file_read(log, 1 << 20, &text, NULL) == STATUS_OK && text.length) {
        displayable(&shown, text.data, strcspn(text.data, "\n"));
        snprintf(out, n, "%s", strbuf_string(&shown));
    }
    strbuf_free(&text);
    strbuf_free(&shown);
}

static int wait_until_owned(struct store *s, uint64_t id, const struct job_file *f, pid_t pid,
                            const char *log, struct error *err)
{
    double began = clock_seconds();
    while (clock_seconds() - began < OWN_SECONDS) {
        if (job_file_locked(f, JOB_LOCK_OWNER))
            return STATUS_OK;
        if (waitpid(pid, NULL, WNOHANG)) {
            char line[256] = "no reason given";
            json *record = job_record_read(s, id, NULL);
            int over = record && job_record_final(record, NULL);
            json_free(record);
            if (over)
                return STATUS_OK;
            first_line(log, line, sizeof(line));
            return error_set(err, STATUS_FAILED, "the runner of job %llu ended before it began: %s",
                             (unsigned long long)id, line);
        }
        nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
    }
    return error_set(err, STATUS_FAILED, "the runner of job %llu, process %ld, has not begun in %d seconds",
                     (unsigned long long)id, (long)pid, OWN_SECONDS);
}

int job_spawn(struct store *s, const char *program, uint64_t id, const struct job_file *f, pid_t *pid,
              struct error *err)
{
    if (!program)
        return error_set(err, STATUS_FAILED, "no program is known that could run job %llu",
                         (unsigned long long)id);
    char *dir = store_jobs_directory(s, err);
    if (!dir)
        return error_code(err);
    char *number = xasprintf("%llu", (unsigned long long)id);
    char *log = xasprintf("%s/%s.log", dir, number);
    const char *words[] = {program, "-S", store_path(s), "run", number, "--batch", NULL};
    int code = start(words, log, pid);
    int status;
    if (code) {
        status = error_system(err, STATUS_FAILED, code, "cannot start a runner for job %s", number);
    } else {
        remember(*pid);
        status = wait_until_owned(s, id, f, *pid, log, err);
    }
    free(number);
    free(log);
    free(dir);
    return status;
}
