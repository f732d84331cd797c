/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store of manifests and jobs with exact values, in a temporary directory that becomes the working
 * directory. */
#ifndef SAESCOPE_TESTS_TINY_STORE_H
#define SAESCOPE_TESTS_TINY_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/internal.h"

#define TINY "tiny" /* the store's directory */

static char tiny_directory[] = "/tmp/saescope-screens-XXXXXX";
static struct job_file tiny_running = JOB_FILE_CLOSED;

static artifact_id tiny_publish(struct store *s, enum artifact_kind kind, const char *name,
                                const char *manifest)
{
    struct error err = {0};
    artifact_id id;
    json *m = json_parse(manifest, strlen(manifest), name, &err);
    if (!m)
        fail_msg("%s: %s", name, err.message);
    assert_int_equal(store_create(s, kind, name, 0, &id, &err), 0);
    assert_int_equal(store_publish(s, id, m, &err), 0);
    return id;
}

static uint64_t tiny_job(struct store *s, const char *record)
{
    struct error err = {0};
    uint64_t id;
    json *m = json_parse(record, strlen(record), "record", &err);
    if (!m)
        fail_msg("%s", err.message);
    assert_int_equal(store_job_create(s, m, &id, &err), 0);
    return id;
}

/* A job that this process seems to run, half way through. Its clock stands still: it was updated in the
 * future. */
static void tiny_run(struct store *s, uint64_t id)
{
    struct error err = {0};
    struct job_progress p;
    assert_int_equal(job_file_open(s, id, 1, &tiny_running, &err), 0);
    assert_int_equal(job_file_lock(&tiny_running, JOB_LOCK_OWNER), 0);
    job_progress_init(&p);
    p.state = JOB_RUNNING;
    p.pid = 4242;
    p.step = 458;
    p.steps = 732;
    p.rate = 21345;
    p.loss = 0.2134;
    p.l0 = 16;
    p.explained_variance = 0.7812;
    p.dead = 0.031;
    p.elapsed = 62;
    p.left = 38;
    p.updated = clock_seconds() + 1e6;
    strcpy(p.unit, "tok/s");
    strcpy(p.phase, "training");
    p.n_curve = 100;
    for (int i = 0; i < 100; i++)
        p.curve[i] = (float)(0.2 + 1 / (1 + i * 0.2));
    job_file_write(&tiny_running, &p);
}

static void tiny_fill(struct store *s)
{
    char text[512];
    artifact_id model = tiny_publish(
        s, ARTIFACT_MODEL, "tiny-lm",
        "{\"kind\":\"model\",\"family\":\"gpt2\",\"layers\":2,\"d_model\":8,\"vocabulary_size\":1024}");
    snprintf(text, sizeof text,
             "{\"kind\":\"text\",\"tokens\":1498112,\"documents\":117659,\"references\":{\"model\":%llu}}",
             (unsigned long long)model);
    tiny_publish(s, ARTIFACT_TEXT, "tiny-text", text);
    snprintf(text, sizeof text,
             "{\"kind\":\"sae\",\"architecture\":\"batchtopk\",\"d_in\":8,\"d_sae\":4096,\"k\":16,"
             "\"hook\":\"blocks.1.hook_resid_pre\",\"references\":{\"model\":%llu}}",
             (unsigned long long)model);
    artifact_id large = tiny_publish(s, ARTIFACT_SAE, "tiny-4096", text);
    snprintf(text, sizeof text,
             "{\"kind\":\"sae\",\"architecture\":\"standard\",\"d_in\":8,\"d_sae\":256,"
             "\"hook\":\"blocks.1.hook_resid_pre\",\"references\":{\"model\":%llu}}",
             (unsigned long long)model);
    tiny_publish(s, ARTIFACT_SAE, "tiny-256", text);
    snprintf(text, sizeof text,
             "{\"kind\":\"meta\",\"architecture\":\"batchtopk\",\"d_in\":8,\"d_sae\":64,\"k\":4,"
             "\"references\":{\"base\":%llu}}",
             (unsigned long long)large);
    tiny_publish(s, ARTIFACT_SAE, "tiny-4096-meta", text);
}

static void tiny_jobs(struct store *s)
{
    tiny_job(s, "{\"kind\":\"train sae\",\"title\":\"train sae "
                "tiny-256\",\"makes\":[\"tiny-256\"],\"state\":\"done\"}");
    tiny_job(s,
             "{\"kind\":\"index\",\"title\":\"index tiny-256\",\"makes\":[],\"state\":\"failed\",\"code\":3,"
             "\"message\":\"no text named other\"}");
    tiny_run(s,
             tiny_job(s, "{\"kind\":\"train sae\",\"title\":\"train sae tiny-512\",\"makes\":[\"tiny-512\"],"
                         "\"state\":\"queued\"}"));
}

/* with_jobs: one runs, one failed, one is done. */
static void tiny_make(int with_jobs)
{
    struct store_options options = {.path = TINY, .create = 1};
    struct error err = {0};
    struct store *s;
    if (store_open(&options, &s, &err) != 0)
        fail_msg("%s", err.message);
    tiny_fill(s);
    if (with_jobs)
        tiny_jobs(s);
    store_close(s);
}

static int tiny_setup(void **state)
{
    (void)state;
    strcpy(tiny_directory + strlen(tiny_directory) - 6, "XXXXXX");
    return mkdtemp(tiny_directory) && chdir(tiny_directory) == 0 ? 0 : -1;
}

static int tiny_teardown(void **state)
{
    (void)state;
    if (tiny_running.fd >= 0)
        job_file_close(&tiny_running);
    tiny_running = (struct job_file)JOB_FILE_CLOSED;
    return chdir("/") == 0 ? remove_tree(tiny_directory, NULL) : -1;
}

#endif
