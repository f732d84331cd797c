/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The demo's wn-512, trained as demo.saescope does it, against runs with the same hyperparameters in PyTorch
 * (tests/reference/train_demo.py, their values in train_demo.txt). Random numbers differ, so results do, a
 * little.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/jobs/jobs.h"

#define TOLERANCE 0.02
#define K         16

static char directory[] = "/tmp/test_demo_training.XXXXXX";
static struct store *s;
static struct job_engine *e;

/* Queues a job; file, when given, is a shipped one and its "path". */
static uint64_t submit(const char *kind, const char *text, const char *file)
{
    struct error err;
    uint64_t id = 0;
    json *parameters = json_parse(text, strlen(text), "test", &err);
    assert_non_null(parameters);
    if (file) {
        char *path = shipped_file(file);
        json_set(parameters, "path", json_new_string(path));
        free(path);
    }
    int status = job_submit(e, kind, parameters, &id, &err);
    if (status != STATUS_OK)
        print_error("%s\n", err.message);
    assert_int_equal(status, STATUS_OK);
    return id;
}

static json *result_of(uint64_t id)
{
    struct error err;
    json *result = NULL;
    if (job_wait(e, id, NULL, NULL, &err) != STATUS_OK) {
        print_error("%s\n", err.message);
        fail();
    }
    assert_int_equal(job_result(s, id, &result, &err), STATUS_OK);
    return result;
}

static char *read_whole(char *path)
{
    struct strbuf text = STRBUF_INIT;
    struct error err;
    int status = file_read(path, 1 << 20, &text, &err);
    if (status != STATUS_OK)
        print_error("%s\n", err.message);
    assert_int_equal(status, STATUS_OK);
    char *copy = xasprintf("%s", strbuf_string(&text));
    strbuf_free(&text);
    free(path);
    return copy;
}

/* The mean of a value over PyTorch's runs. */
static double reference(const char *name)
{
    char *text = read_whole(path_join(getenv("SAESCOPE_TESTDATA"), "../reference/train_demo.txt"));
    char *start = xasprintf("\n%s ", name);
    const char *line = strstr(text, start);
    assert_non_null(line);
    double value = strtod(line + strlen(start), NULL);
    free(start);
    free(text);
    return value;
}

/* What is trained below and what was trained in PyTorch is what the demo trains. */
static void the_demo_has_these_hyperparameters(void **state)
{
    (void)state;
    char *script = read_whole(shipped_file("demo.saescope"));
    const char *line = strstr(script, "\ntrain sae wn-512 ");
    assert_non_null(line);
    assert_non_null(strstr(line, " --model wordnet-lm --hook blocks.2.hook_resid_pre --text wordnet"));
    assert_non_null(strstr(line, " --width 512 --k 16 "));
    assert_non_null(
        strstr(line, " --tokens 800000 --batch 1024 --lr 1e-3 --warmup 50 --decay 0.2 --seed 5 "));
    free(script);
}

static void training_is_as_good_as_in_pytorch(void **state)
{
    (void)state;
    double explained_variance = reference("explained_variance"), l0 = reference("l0");
    assert_true(explained_variance > 0.5 && explained_variance < 1);
    submit("import model", "{\"name\":\"wordnet-lm\"}", "wordnet-lm");
    submit("import text", "{\"name\":\"wordnet\",\"model\":\"wordnet-lm\"}", "wordnet.txt");
    json *r = result_of(
        submit("train sae",
               "{\"names\":[\"wn-512\"],\"model\":\"wordnet-lm\",\"hook\":\"blocks.2.hook_resid_pre\","
               "\"text\":\"wordnet\",\"widths\":[512],\"k\":16,\"tokens\":800000,\"batch\":1024,\"lr\":1e-3,"
               "\"warmup\":50,\"decay\":0.2,\"seed\":5}",
               NULL));
    double ours = json_get_number(r, "explained_variance", NAN), our_l0 = json_get_number(r, "l0", NAN);
    print_message("# explained variance %.4f (PyTorch %.4f), L0 %.3f (PyTorch %.3f), dead %lld\n", ours,
                  explained_variance, our_l0, l0, json_get_integer(r, "dead", -1));
    assert_int_equal(json_get_integer(r, "steps", 0), 782); /* ⌈800000 / 1024⌉ */
    assert_true(fabs(ours - explained_variance) <= TOLERANCE);
    assert_true(fabs(our_l0 - l0) <= 0.5);
    assert_true(fabs(our_l0 - K) <= 1);
    assert_in_range(json_get_integer(r, "dead", -1), 0, 512 / 20); /* under 5% */
    json_free(r);
}

static int set_up(void **state)
{
    struct error err;
    struct store_options o = {.create = 1};
    char *path = path_join(directory, "store");
    (void)state;
    o.path = path;
    int status = store_open(&o, &s, &err);
    free(path);
    return status || job_engine_start(s, &(struct job_engine_options){0}, &e, &err);
}

static int tear_down(void **state)
{
    (void)state;
    job_engine_stop(e, 0);
    store_close(s);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_demo_has_these_hyperparameters),
        cmocka_unit_test(training_is_as_good_as_in_pytorch),
    };
    alarm(1800); /* ends a test that waits in vain */
    blas_start();
    parallel_start(2);
    if (!mkdtemp(directory))
        return 99;
    int failed = cmocka_run_group_tests_name("demo training", tests, set_up, tear_down);
    parallel_stop();
    remove_tree(directory, NULL);
    return failed;
}
