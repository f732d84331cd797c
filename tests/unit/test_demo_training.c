/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The demo's wn-512, trained as demo.saescope does it, against runs with the same hyperparameters in PyTorch
 * (tests/reference/train_demo.py, their values in train_demo.txt). Random numbers differ, so results do, a
 * little.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/jobs.h"
#include "tests/support/support.h"

#define TOLERANCE 0.02
#define K         16

/* Queues a job; file, when given, is a shipped one and its "path". */
static uint64_t submit(const char *kind, const char *text, const char *file)
{
    json *parameters = parse_json(text);
    if (file) {
        char *path = shipped_file(file);
        json_set(parameters, "path", json_new_string(path));
        free(path);
    }
    return submit_job(job_engine, kind, parameters);
}

static char *read_whole(char *path)
{
    struct strbuf text = STRBUF_INIT;
    struct error err;
    assert_ok(file_read(path, 1 << 20, &text, &err));
    char *copy = xasprintf("%s", strbuf_string(&text));
    strbuf_free(&text);
    free(path);
    return copy;
}

/* The mean of a value over PyTorch's runs. */
static double reference(const char *name)
{
    char *text = read_whole(data_path("../reference/train_demo.txt"));
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
    json *r = await_result(
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_demo_has_these_hyperparameters),
        cmocka_unit_test(training_is_as_good_as_in_pytorch),
    };
    alarm(1800); /* ends a test that waits in vain */
    return cmocka_run_group_tests_name("demo training", tests, set_up_jobs, tear_down_jobs);
}
