/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Jobs, of the kinds of counting_jobs.h. Run as `test_jobs -S DIR run ID --batch` this is the runner of a
 * job; as `test_jobs -S DIR control VERB ID` another process that looks at a job and controls it.
 */
#include "config.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/internal.h"
#include "saescope/jobs/jobs.h"
#include "tests/support/support.h"
#include "counting_jobs.h"

/* ---- Another process. ---- */
static volatile sig_atomic_t terminated;

static void on_term(int signal_number)
{
    (void)signal_number;
    terminated = 1;
}

static int stop_on_term(void *arg)
{
    (void)arg;
    return terminated;
}

static int other_process(char **argv)
{
    struct error err;
    struct store *s;
    struct job_engine *e;
    uint64_t id = strtoull(argv[!strcmp(argv[3], "run") ? 4 : 5], NULL, 10);
    int status = store_open(&(struct store_options){.path = argv[2]}, &s, &err);
    if (status != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        return status;
    }
    signal(SIGTERM, on_term);
    if (!strcmp(argv[3], "run")) {
        json *result = NULL;
        status = job_engine_start(s, &(struct job_engine_options){0}, &e, &err);
        if (status == STATUS_OK) {
            status = job_run_recorded(e, id, NULL, stop_on_term, NULL, &result, &err);
            job_engine_stop(e, 0);
        }
        json_free(result);
    } else if (!strcmp(argv[4], "pause")) {
        status = job_pause(s, id, &err);
    } else if (!strcmp(argv[4], "cancel")) {
        status = job_cancel(s, id, &err);
    } else {
        struct job_status now;
        status = job_status_read(s, id, &now, &err);
        if (status == STATUS_OK)
            status = 100 + (int)now.state;
    }
    if (status != STATUS_OK && status < 100)
        fprintf(stderr, "%s\n", err.message);
    store_close(s);
    return status;
}

/* ---- The test's surroundings. ---- */
static char self[4096];

struct fixture {
    struct store *s;
    struct job_engine *e;
    char *path;
};

static int set_up(void **state)
{
    static int number;
    struct fixture *x = xcalloc(1, sizeof(*x));
    char *name = xasprintf("store-%d", number++);
    x->path = test_path(name);
    x->s = open_store(name);
    free(name);
    x->e = start_engine(x->s, self);
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    job_engine_stop(x->e, 0);
    store_close(x->s);
    free(x->path);
    free(x);
    return 0;
}

static uint64_t submit(struct fixture *x, const char *kind, const char *text)
{
    return submit_job(x->e, kind, parse_json(text));
}

static struct job_status status_of(struct fixture *x, uint64_t id)
{
    struct job_status now;
    struct error err;
    assert_ok(job_status_read(x->s, id, &now, &err));
    return now;
}

/* A test that waits for ever is ended by its harness. */
static struct job_status await(struct fixture *x, uint64_t id, enum job_state state)
{
    struct job_status now;
    while ((now = status_of(x, id)).state != state) {
        if (job_state_final(now.state)) {
            print_error("job %llu is %s: %s\n", (unsigned long long)id, job_state_name(now.state),
                        now.message);
            fail();
        }
        nap();
    }
    return now;
}

static struct job_status await_step(struct fixture *x, uint64_t id, uint64_t step)
{
    struct job_status now;
    while ((now = status_of(x, id)).progress.step < step || now.state != JOB_RUNNING) {
        assert_false(job_state_final(now.state));
        nap();
    }
    return now;
}

static long long started_at(struct fixture *x, uint64_t id)
{
    json *result = NULL;
    struct error err;
    assert_ok(job_result(x->s, id, &result, &err));
    long long step = json_get_integer(result, "started_at", -1);
    json_free(result);
    return step;
}

static int run_self(struct fixture *x, const char *verb, uint64_t id)
{
    char number[32];
    snprintf(number, sizeof(number), "%llu", (unsigned long long)id);
    pid_t pid = fork();
    if (!pid) {
        execl(self, self, "-S", x->path, "control", verb, number, (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Asked when no job is left: a job's end is told before what it left is cleared away. */
static int work_exists(struct fixture *x, uint64_t id)
{
    while (job_engine_active(x->e))
        nap();
    char *path = xasprintf("%s/work/%llu", x->path, (unsigned long long)id);
    int there = path_exists(path);
    free(path);
    return there;
}

/* ---- Tests. ---- */
static void runs_to_its_end(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id = submit(x, "count", "{\"name\":\"corpus\",\"steps\":30}");
    assert_int_equal(id, 1);
    assert_ok(job_wait(x->e, id, NULL, NULL, &err));
    struct job_status now = status_of(x, id);
    assert_int_equal(now.state, JOB_DONE);
    assert_string_equal(now.kind, "count");
    assert_string_equal(now.title, "count corpus");
    assert_string_equal(now.makes, "corpus");
    assert_true(now.fraction == 1);
    assert_int_equal(now.pid, 0);
    assert_int_equal(started_at(x, id), 0);
    assert_false(work_exists(x, id));
    struct store_txn *t;
    struct artifact found;
    assert_ok(store_begin(x->s, &t, &err));
    assert_ok(store_find(t, ARTIFACT_TEXT, "corpus", &found, &err));
    store_end(t);
    assert_int_equal(job_pause(x->s, id, &err), STATUS_REFUSED);
    assert_int_equal(job_cancel(x->s, id, &err), STATUS_REFUSED);
    assert_int_equal(job_resume(x->e, id, &err), STATUS_REFUSED);
}

static void refuses_what_cannot_be_planned(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id;
    assert_int_equal(job_submit(x->e, "count", parse_json("{\"refuse\":true}"), &id, &err), STATUS_USAGE);
    assert_int_equal(job_submit(x->e, "nothing", parse_json("{}"), &id, &err), STATUS_USAGE);
    assert_int_equal(job_submit(x->e, "count", parse_json("{\"need\":\"absent\"}"), &id, &err),
                     STATUS_REFUSED);
    assert_int_equal(job_status_read(x->s, 1, &(struct job_status){0}, &err), STATUS_REFUSED);
    uint64_t first = submit(x, "count", "{\"name\":\"a\",\"steps\":1000000}");
    assert_int_equal(job_submit(x->e, "count", parse_json("{\"name\":\"a\"}"), &id, &err), STATUS_REFUSED);
    assert_says("job 1 is making a");
    assert_ok(job_cancel(x->s, first, &err));
    await(x, first, JOB_CANCELLED);
}

static void a_failure_is_told(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id = submit(x, "plain", "{\"fail_at\":3}");
    assert_int_equal(job_wait(x->e, id, NULL, NULL, &err), STATUS_FAILED);
    assert_says("diverged at step 3");
    assert_string_equal(status_of(x, id).message, "diverged at step 3");
    assert_int_equal(job_result(x->s, id, &(json *){NULL}, &err), STATUS_REFUSED);
    assert_false(work_exists(x, id));
}

/* Running, and past the first question. */
static void await_slice(struct fixture *x, uint64_t id)
{
    await(x, id, JOB_RUNNING);
    for (int n = 0; n < 30; n++)
        nap();
}

/* Within a slice, which a pause does not end, and of what stops an engine only that which will not be taken
 * up. */
static void cancelled_within_a_slice(void **state)
{
    struct fixture *x = *state;
    struct error err;
    static const char *const kinds[] = {"plain", "count"};
    for (size_t i = 0; i < 2; i++) {
        uint64_t id = submit(x, kinds[i], "{\"steps\":1000000,\"slice_at\":0}");
        await_slice(x, id);
        assert_ok(job_pause(x->s, id, &err));
        for (int n = 0; n < 50; n++)
            nap();
        assert_false(job_state_final(status_of(x, id).state));
        assert_ok(job_cancel(x->s, id, &err));
        await(x, id, JOB_CANCELLED);
        assert_false(work_exists(x, id));
    }
    uint64_t id = submit(x, "plain", "{\"steps\":1000000,\"slice_at\":0}");
    await_slice(x, id);
    job_engine_stop(x->e, 0);
    x->e = start_engine(x->s, self);
    assert_int_equal(status_of(x, id).state, JOB_INTERRUPTED);
}

static void one_at_a_time_in_order(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t first = submit(x, "plain", "{\"steps\":1000000}");
    uint64_t second = submit(x, "plain", "{\"steps\":5}");
    uint64_t third = submit(x, "plain", "{\"steps\":1000000}");
    await_step(x, first, 1);
    assert_int_equal(status_of(x, second).state, JOB_QUEUED);
    assert_int_equal(job_engine_active(x->e), 3);
    assert_ok(job_cancel(x->s, first, &err));
    await(x, first, JOB_CANCELLED);
    await(x, second, JOB_DONE);
    await_step(x, third, 1);
    assert_ok(job_cancel(x->s, third, &err));
    await(x, third, JOB_CANCELLED);
    assert_ok(job_wait(x->e, 0, NULL, NULL, &err)); /* none is left */
    struct job_status *list;
    size_t n;
    assert_ok(job_status_list(x->s, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_int_equal(list[0].id, 3);
    assert_int_equal(list[2].state, JOB_CANCELLED);
    free(list);
}

static void pauses_and_goes_on(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t first = submit(x, "count", "{\"steps\":1000000}");
    await_step(x, first, 1);
    assert_ok(job_pause(x->s, first, &err));
    uint64_t step = await(x, first, JOB_PAUSED).progress.step;
    /* A paused job lets others compute. */
    uint64_t second = submit(x, "count", "{\"steps\":20}");
    await(x, second, JOB_DONE);
    assert_true(status_of(x, first).progress.step <=
                step + 200); /* the file may have been a tenth of a second behind */
    assert_int_equal(status_of(x, first).state, JOB_PAUSED);
    assert_ok(job_resume(x->e, first, &err));
    await_step(x, first, step + 1);
    assert_int_equal(job_resume(x->e, first, &err), STATUS_REFUSED); /* it runs */
    assert_ok(job_cancel(x->s, first, &err));
    await(x, first, JOB_CANCELLED);
    assert_false(work_exists(x, first));
}

static void a_queued_job_can_be_paused_and_cancelled(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t first = submit(x, "count", "{\"steps\":1000000}");
    uint64_t second = submit(x, "count", "{\"steps\":1}");
    uint64_t third = submit(x, "count", "{\"steps\":1000000}");
    assert_ok(job_pause(x->s, second, &err));
    assert_ok(job_cancel(x->s, third, &err));
    await(x, third, JOB_CANCELLED);
    await(x, second, JOB_PAUSED);
    assert_ok(job_cancel(x->s, first, &err));
    await(x, first, JOB_CANCELLED);
    assert_int_equal(status_of(x, second).state, JOB_PAUSED);
    assert_ok(job_resume(x->e, second, &err));
    await(x, second, JOB_DONE);
}

static void waits_for_what_another_makes(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t maker = submit(x, "count", "{\"name\":\"a\",\"steps\":1000000}");
    uint64_t user = submit(x, "count", "{\"need\":\"a\",\"steps\":2}");
    assert_string_equal(await(x, user, JOB_WAITING).message, "waiting for job 1");
    assert_ok(job_cancel(x->s, maker, &err));
    assert_int_equal(job_wait(x->e, user, NULL, NULL, &err), STATUS_FAILED);
    assert_non_null(strstr(status_of(x, user).message, "needs a, which job 1 did not make"));

    maker = submit(x, "count", "{\"name\":\"a\",\"steps\":40}");
    user = submit(x, "count", "{\"need\":\"a\",\"steps\":2}");
    assert_ok(job_wait(x->e, user, NULL, NULL, &err));
    assert_int_equal(status_of(x, maker).state, JOB_DONE);
}

static int never(void *arg)
{
    (void)arg;
    return 0;
}

struct told {
    struct fixture *x;
    unsigned times;
    enum job_state last;
    uint64_t steps;
};

static void tell(const struct job_status *status, void *arg)
{
    struct told *told = arg;
    told->times++;
    told->last = status->state;
    told->steps = status->progress.steps;
}

static void runs_in_the_foreground(void **state)
{
    struct fixture *x = *state;
    struct error err;
    struct told told = {.x = x};
    json *result = NULL;
    uint64_t id, before = submit(x, "plain", "{\"name\":\"a\",\"steps\":50}");
    int status = job_run_here(x->e, "count", parse_json("{\"need\":\"a\",\"steps\":60}"), tell, never, &told,
                              &id, &result, &err);
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(status_of(x, before).state, JOB_DONE);
    assert_int_equal(json_get_integer(result, "started_at", -1), 0);
    json_free(result);
    assert_true(told.times > 2);
    assert_int_equal(told.last, JOB_DONE);
    assert_int_equal(told.steps, 60);
}

static int stop_when_running(void *arg)
{
    struct told *told = arg;
    return told->last == JOB_RUNNING;
}

static void stopped_in_the_foreground(void **state)
{
    struct fixture *x = *state;
    struct error err;
    struct told told = {.x = x};
    json *result = NULL;
    uint64_t id;
    assert_int_equal(job_run_here(x->e, "plain", parse_json("{\"steps\":1000000}"), tell, stop_when_running,
                                  &told, &id, &result, &err),
                     STATUS_FAILED);
    assert_int_equal(status_of(x, id).state, JOB_CANCELLED);
    told.last = JOB_QUEUED;
    assert_int_equal(job_run_here(x->e, "count", parse_json("{\"steps\":1000000}"), tell, stop_when_running,
                                  &told, &id, &result, &err),
                     STATUS_FAILED);
    assert_int_equal(status_of(x, id).state, JOB_INTERRUPTED);
    assert_true(work_exists(x, id));
    assert_ok(job_cancel(x->s, id, &err));
    assert_int_equal(status_of(x, id).state, JOB_CANCELLED);
    assert_false(work_exists(x, id));
}

static void a_stopped_engine_interrupts(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t first = submit(x, "count", "{\"steps\":300}"), second = submit(x, "plain", "{\"steps\":3}");
    await_step(x, first, 20);
    job_engine_stop(x->e, 0);
    x->e = start_engine(x->s, self);
    assert_int_equal(status_of(x, first).state, JOB_INTERRUPTED);
    assert_int_equal(status_of(x, second).state, JOB_INTERRUPTED);
    assert_ok(job_resume(x->e, second, &err));
    assert_ok(job_resume(x->e, first, &err));
    assert_ok(job_wait(x->e, 0, NULL, NULL, &err));
    assert_true(started_at(x, first) >= 20);
    assert_int_equal(started_at(x, second), 0);
}

static void seen_and_controlled_from_another_process(void **state)
{
    struct fixture *x = *state;
    uint64_t id = submit(x, "count", "{\"steps\":1000000}");
    await_step(x, id, 1);
    assert_int_equal(run_self(x, "look", id), 100 + JOB_RUNNING);
    assert_int_equal(run_self(x, "pause", id), STATUS_OK);
    await(x, id, JOB_PAUSED);
    assert_int_equal(run_self(x, "look", id), 100 + JOB_PAUSED);
    assert_int_equal(run_self(x, "cancel", id), STATUS_OK);
    await(x, id, JOB_CANCELLED);
    assert_int_equal(run_self(x, "cancel", id), STATUS_REFUSED);
    assert_int_equal(job_resume(x->e, id, &(struct error){0}), STATUS_REFUSED);
    assert_int_equal(run_self(x, "look", id), 100 + JOB_CANCELLED);
}

static void a_killed_runner_is_interrupted(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id, waiting;
    assert_int_equal(
        job_submit_detached(x->e, "count", parse_json("{\"name\":\"a\",\"steps\":400}"), &id, &err),
        STATUS_OK);
    waiting = submit(x, "plain", "{\"need\":\"a\",\"steps\":1}");
    struct job_status now = await_step(x, id, 25);
    assert_true(now.pid > 0 && now.pid != getpid());
    assert_int_equal(status_of(x, waiting).state, JOB_WAITING);
    assert_int_equal(job_detach(x->e, id, &err), STATUS_REFUSED); /* it is */
    kill(now.pid, SIGKILL);
    await(x, id, JOB_INTERRUPTED);
    assert_int_equal(job_wait(x->e, waiting, NULL, NULL, &err), STATUS_FAILED);
    assert_non_null(strstr(status_of(x, waiting).message, "needs a"));
    assert_true(work_exists(x, id));
    assert_ok(job_resume(x->e, id, &err));
    assert_ok(job_resume(x->e, waiting, &err)); /* one that failed starts again */
    assert_ok(job_wait(x->e, 0, NULL, NULL, &err));
    assert_in_range(started_at(x, id), 20, 399);
    assert_int_equal(status_of(x, waiting).state, JOB_DONE);
    assert_false(work_exists(x, id));
}

static void a_runner_that_is_asked_to_stop_checkpoints(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id;
    assert_int_equal(job_submit_detached(x->e, "count", parse_json("{\"steps\":400}"), &id, &err), STATUS_OK);
    kill(await_step(x, id, 25).pid, SIGTERM);
    uint64_t step = await(x, id, JOB_INTERRUPTED).progress.step;
    assert_ok(job_resume(x->e, id, &err));
    assert_ok(job_wait(x->e, id, NULL, NULL, &err));
    assert_true(started_at(x, id) >= (long long)step); /* exactly where it stopped, not the last tenth step */
}

static void a_running_job_is_detached(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id = submit(x, "count", "{\"steps\":300}"), other = submit(x, "plain", "{\"steps\":1}");
    await_step(x, id, 5);
    assert_ok(job_detach(x->e, id, &err));
    assert_ok(job_wait(x->e, other, NULL, NULL, &err));
    assert_ok(job_wait(x->e, id, NULL, NULL, &err));
    assert_true(started_at(x, id) >= 5);
    assert_int_equal(job_engine_active(x->e), 0);
}

static void an_engine_hands_its_jobs_over(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t ids[3];
    ids[0] = submit(x, "count", "{\"steps\":300}");
    ids[1] = submit(x, "plain", "{\"name\":\"a\",\"steps\":100}");
    ids[2] = submit(x, "plain", "{\"need\":\"a\",\"steps\":1}");
    await_step(x, ids[0], 5);
    job_engine_stop(x->e, 1);
    x->e = start_engine(x->s, self);
    assert_int_equal(job_engine_active(x->e), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++)
        assert_ok(job_wait(x->e, ids[i], NULL, NULL, &err));
    assert_true(started_at(x, ids[0]) >= 5);
}

static void a_paused_job_stays_paused_when_handed_over(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id = submit(x, "count", "{\"steps\":300}");
    await_step(x, id, 5);
    assert_ok(job_pause(x->s, id, &err));
    await(x, id, JOB_PAUSED);
    job_engine_stop(x->e, 1);
    x->e = start_engine(x->s, self);
    assert_true(await(x, id, JOB_PAUSED).pid != getpid());
    assert_ok(job_resume(x->e, id, &err));
    assert_ok(job_wait(x->e, id, NULL, NULL, &err));
    assert_true(started_at(x, id) >= 5);
}

static void a_missing_file_does_no_harm(void **state)
{
    struct fixture *x = *state;
    struct error err;
    uint64_t id = submit(x, "count", "{\"steps\":1000000}");
    await_step(x, id, 5);
    job_engine_stop(x->e, 0);
    x->e = start_engine(x->s, self);
    char *path = xasprintf("%s/jobs/%llu", x->path, (unsigned long long)id);
    assert_int_equal(truncate(path, 100), 0);
    await(x, id, JOB_INTERRUPTED);
    assert_int_equal(unlink(path), 0);
    await(x, id, JOB_INTERRUPTED);
    assert_ok(job_resume(x->e, id, &err));
    await_step(x, id, 6);
    assert_ok(job_cancel(x->s, id, &err));
    await(x, id, JOB_CANCELLED);
    free(path);
}

/* The reference: means of a straight line over equal runs of steps lie on that line. */
static void the_curve_keeps_its_shape(void **state)
{
    struct job_progress p;
    struct job_start start = {0};
    struct progress report;
    (void)state;
    job_progress_init(&p);
    progress_init(&report);
    report.steps = 1000;
    for (report.step = 0; report.step < 1000; report.step++) {
        report.loss = (double)report.step;
        job_progress_take(&p, &start, &report);
    }
    assert_int_equal(p.span, 8);
    assert_int_equal(p.n_curve, 125);
    for (size_t i = 0; i < p.n_curve; i++)
        assert_true(fabs((double)p.curve[i] - (8.0 * (double)i + 3.5)) < 0.6);
    report.step = 400; /* a run that went back to its checkpoint */
    report.loss = -1;
    job_progress_take(&p, &start, &report);
    assert_int_equal(p.n_curve, 51);
    assert_true(p.curve[50] == -1 && p.curve[49] > 390);
    report.step = UINT64_MAX / 2;
    job_progress_take(&p, &start, &report);
    assert_true(p.n_curve <= JOB_CURVE_POINTS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_to_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_cannot_be_planned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_at_a_time_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_within_a_slice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pauses_and_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_queued_job_can_be_paused_and_cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waits_for_what_another_makes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runs_in_the_foreground, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopped_in_the_foreground, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stopped_engine_interrupts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seen_and_controlled_from_another_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_killed_runner_is_interrupted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_runner_that_is_asked_to_stop_checkpoints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_running_job_is_detached, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_engine_hands_its_jobs_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_paused_job_stays_paused_when_handed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_file_does_no_harm, set_up, tear_down),
        cmocka_unit_test(the_curve_keeps_its_shape),
    };
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return 99;
    if (argc > 4)
        return other_process(argv);
    alarm(300); /* ends a test that waits in vain */
    return cmocka_run_group_tests_name("jobs", tests, set_up_directory, tear_down_directory);
}
