/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Jobs for tests. A test that waits in vain is ended by its alarm. */
#include "config.h"

#include "support.h"

struct job_engine *start_engine(struct store *s, const char *program)
{
    struct error err = {0};
    struct job_engine *e = NULL;
    assert_ok(job_engine_start(s, &(struct job_engine_options){.program = program}, &e, &err));
    return e;
}

uint64_t submit_job(struct job_engine *e, const char *kind, json *parameters)
{
    struct error err = {0};
    uint64_t id = 0;
    assert_ok(job_submit(e, kind, parameters, &id, &err));
    return id;
}

struct store *job_store;
struct job_engine *job_engine;

int set_up_jobs(void **state)
{
    set_up_threads(state);
    job_store = open_store("store");
    job_engine = start_engine(job_store, NULL);
    return 0;
}

int tear_down_jobs(void **state)
{
    job_engine_stop(job_engine, 0);
    store_close(job_store);
    return tear_down_threads(state);
}

json *await_result(uint64_t id)
{
    struct error err = {0};
    json *result = NULL;
    assert_ok(job_wait(job_engine, id, NULL, NULL, &err));
    assert_ok(job_result(job_store, id, &result, &err));
    return result;
}
