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

json *await_result(struct job_engine *e, struct store *s, uint64_t id)
{
    struct error err = {0};
    json *result = NULL;
    assert_ok(job_wait(e, id, NULL, NULL, &err));
    assert_ok(job_result(s, id, &result, &err));
    return result;
}
