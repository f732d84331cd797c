/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kinds of jobs on the demo's model: import, train, index, decompose and evaluate, queued all at once. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/jobs.h"
#include "tests/support/support.h"

#define TEXT_BYTES 60000

static uint64_t submit(const char *kind, json *parameters)
{
    return submit_job(job_engine, kind, parameters);
}

static void refused(const char *kind, const char *parameters, int status, const char *message)
{
    struct error err;
    uint64_t id;
    assert_int_equal(job_submit(job_engine, kind, parse_json(parameters), &id, &err), status);
    assert_says(message);
}

static json *path_and_name(char *path, const char *name, const char *model)
{
    json *parameters = json_new_object();
    json_set(parameters, "path", json_new_string(path));
    json_set(parameters, "name", json_new_string(name));
    if (model)
        json_set(parameters, "model", json_new_string(model));
    free(path);
    return parameters;
}

static json *manifest(const char *name)
{
    return read_manifest(job_store, find_artifact(job_store, 0, name));
}

/* The corpus's first lines, ending with a whole one. */
static char *write_corpus(void)
{
    struct strbuf text = STRBUF_INIT;
    struct error err;
    char *source = shipped_file("wordnet.txt"), *path = test_path("corpus.txt");
    assert_ok(file_read(source, 64 << 20, &text, &err));
    size_t n = TEXT_BYTES;
    while (text.data[n - 1] != '\n')
        n--;
    assert_ok(file_write_atomic(path, text.data, n, &err));
    strbuf_free(&text);
    free(source);
    return path;
}

#define TRAIN                                                                                                \
    "\"model\":\"lm\",\"hook\":\"layers.0\",\"text\":\"corpus\",\"batch\":256,\"k\":8,"                      \
    "\"context_size\":64"

static void everything_queued_at_once(void **state)
{
    (void)state;
    uint64_t model = submit("import model", path_and_name(shipped_file("wordnet-lm"), "lm", NULL));
    uint64_t text = submit("import text", path_and_name(write_corpus(), "corpus", "lm"));
    uint64_t train = submit(
        "train sae",
        parse_json("{\"names\":[\"a\",\"b\"],\"widths\":[128,192],\"steps\":60,\"lr\":0.001," TRAIN "}"));
    uint64_t index =
        submit("index", parse_json("{\"saes\":[\"a\",\"b\"],\"text\":\"corpus\",\"tokens\":5000}"));
    uint64_t meta = submit("train meta",
                           parse_json("{\"names\":[\"b-meta\"],\"sae\":\"b\",\"widths\":[32],\"steps\":50}"));
    uint64_t evaluate =
        submit("evaluate", parse_json("{\"sae\":\"b\",\"text\":\"corpus\",\"held_out\":true}"));
    uint64_t evaluate_meta = submit("evaluate", parse_json("{\"sae\":\"b-meta\"}"));

    json *r = await_result(model);
    assert_string_equal(json_get_string(r, "name", ""), "lm");
    assert_string_equal(json_get_string(r, "kind", ""), "model");
    assert_true(json_get_integer(r, "bytes", 0) > 5289472 * 2 - 1000000);
    json_free(r);
    r = await_result(text);
    assert_string_equal(json_get_string(r, "kind", ""), "text");
    json_free(r);

    r = await_result(train);
    assert_int_equal(json_length(json_get(r, "saes")), 2);
    json *first = json_at(json_get(r, "saes"), 0);
    assert_string_equal(json_get_string(first, "name", ""), "a");
    assert_int_equal(json_get_integer(first, "steps", 0), 60);
    assert_int_equal(json_get_integer(first, "tokens", 0), 60 * 256);
    assert_true(json_get_number(first, "explained_variance", 0) > 0.1);
    assert_true(json_get_number(first, "tokens_per_second", 0) > 0);
    json_free(r);
    r = manifest("b");
    assert_string_equal(json_get_string(r, "kind", ""), "sae");
    assert_string_equal(json_get_string(r, "hook", ""),
                        "blocks.0.hook_resid_post"); /* its own name for layers.0 */
    assert_int_equal(json_get_integer(r, "d_sae", 0), 192);
    assert_int_equal(json_get_integer(r, "context_size", 0), 64);
    assert_true(json_get_boolean(r, "prepend_bos", 0));
    assert_int_equal(json_get_integer(json_get(r, "training"), "k", 0), 8);
    assert_int_equal(json_get_integer(json_get(r, "training"), "tokens", 0), 60 * 256);
    assert_string_equal(json_get_string(json_get(r, "training"), "text", ""), "corpus");
    json_free(r);

    r = await_result(index);
    assert_int_equal(json_length(json_get(r, "saes")), 2);
    assert_string_equal(json_get_string(json_at(json_get(r, "saes"), 1), "kind", ""), "index");
    assert_true(json_get_integer(json_at(json_get(r, "saes"), 1), "bytes", 0) > 0);
    json_free(r);

    r = await_result(meta);
    assert_string_equal(json_get_string(r, "name", ""), "b-meta");
    assert_int_equal(json_get_integer(r, "tokens", 0), 50 * 192); /* all rows a batch */
    json_free(r);
    r = manifest("b-meta");
    assert_string_equal(json_get_string(r, "kind", ""), "meta");
    assert_true(json_is_null(json_get(r, "hook")));
    assert_int_equal(json_get_integer(r, "k", 0), 4);
    json_free(r);

    r = await_result(evaluate);
    assert_string_equal(json_get_string(r, "sae", ""), "b");
    json *quality = json_get(json_get(r, "metrics"), "reconstruction_quality");
    assert_true(json_get_number(quality, "explained_variance", 0) > 0.1);
    json_free(r);
    r = await_result(evaluate_meta);
    assert_int_equal(json_get_integer(r, "tokens", 0), 192);
    assert_true(json_is_null(json_get(r, "text")));
    quality = json_get(json_get(r, "metrics"), "reconstruction_quality");
    assert_true(json_is_number(json_get(quality, "explained_variance_batchtopk")));
    json_free(r);
}

static void bad_requests_are_refused_at_once(void **state)
{
    (void)state;
    refused("import model", "{\"path\":\"/nonexistent/x\",\"name\":\"m\"}", STATUS_REFUSED, "no such file");
    refused("import model", "{\"path\":\"/tmp\",\"name\":\"lm\"}", STATUS_REFUSED, "already");
    refused("import text", "{\"path\":\"/tmp\",\"name\":\"t\",\"model\":\"lx\"}", STATUS_REFUSED, "lx");
    refused("train sae", "{\"names\":[\"a\"],\"widths\":[64]," TRAIN "}", STATUS_REFUSED, "already");
    refused("train sae", "{\"names\":[\"c\"],\"widths\":[64,128]," TRAIN "}", STATUS_USAGE, "2 widths");
    refused("train sae", "{\"names\":[\"c\",\"c\"],\"widths\":[64]," TRAIN "}", STATUS_USAGE, "twice");
    refused("train sae", "{\"names\":[\"-c\"],\"widths\":[64]," TRAIN "}", STATUS_REFUSED, "");
    refused("train sae", "{\"names\":[\"c\"],\"widths\":[4]," TRAIN "}", STATUS_USAGE, "k is 8");
    refused("train sae", "{\"names\":[\"c\"],\"widths\":[64],\"arch\":\"jumprelu\"," TRAIN "}", STATUS_USAGE,
            "jumprelu");
    refused("train sae",
            "{\"names\":[\"c\"],\"widths\":[64],\"model\":\"lm\",\"hook\":\"blocks.9.hook_resid_pre\","
            "\"text\":\"corpus\"}",
            STATUS_REFUSED, "blocks.");
    refused("train meta", "{\"names\":[\"m\"],\"sae\":\"b\",\"widths\":[32],\"preset\":\"other\"}",
            STATUS_USAGE, "there are paper, post and dashboard");
    refused("train meta", "{\"names\":[\"m\"],\"sae\":\"b\",\"widths\":[32],\"preset\":\"papers\"}",
            STATUS_USAGE, "did you mean paper?");
    refused("train sae", "{\"names\":[\"c\"],\"widths\":[64],\"preset\":\"x\"," TRAIN "}", STATUS_USAGE,
            "there is batchtopk-paper");
    refused("train meta", "{\"names\":[\"m\"],\"sae\":[\"b\",\"a\",\"b\"],\"widths\":[32]}", STATUS_USAGE,
            "names b twice");
    refused("train meta", "{\"names\":[\"m\"],\"sae\":[\"b\",\"nothing\"],\"widths\":[32]}", STATUS_REFUSED,
            "nothing");
    refused("train meta", "{\"names\":[\"m\"],\"sae\":\"b\",\"widths\":[32],\"weight\":\"frequent\"}",
            STATUS_USAGE, "did you mean frequency?");
    refused("train meta", "{\"names\":[\"m\"],\"sae\":\"b\",\"widths\":[32],\"alive_density\":1}",
            STATUS_USAGE, "less than 1");
    refused("rebuild", "{\"sae\":\"b\",\"meta\":\"b-meta\"}", STATUS_USAGE, "--save");
    refused("rebuild", "{\"sae\":\"b\",\"meta\":\"b-meta\",\"save\":\"a\"}", STATUS_REFUSED, "already");
    refused("index", "{\"saes\":[\"a\"]}", STATUS_USAGE, "--text");
    refused("index", "{\"saes\":[\"nothing\"],\"text\":\"corpus\"}", STATUS_REFUSED, "nothing");
    refused("evaluate", "{\"sae\":\"a\"}", STATUS_USAGE, "--text");
}

/* Stopped and taken up again, a run ends with the same numbers as one that was left alone. */
static void an_interrupted_training_ends_alike(void **state)
{
    struct error err;
    (void)state;
    static const char *const text =
        "{\"names\":[\"%s\"],\"widths\":[128],\"steps\":150,\"seed\":3," TRAIN "}";
    double ends[2];
    for (int i = 0; i < 2; i++) {
        char *parameters = xasprintf(text, i ? "alone" : "stopped");
        uint64_t id = submit("train sae", parse_json(parameters));
        free(parameters);
        struct job_status now;
        do {
            assert_ok(job_status_read(job_store, id, &now, &err));
        } while (!job_state_final(now.state) && !(now.progress.steps == 150 && now.progress.step > 5));
        if (!i) {
            job_engine_stop(job_engine, 0);
            job_engine = start_engine(job_store, NULL);
            assert_ok(job_status_read(job_store, id, &now, &err));
            assert_int_equal(now.state, JOB_INTERRUPTED);
            refused("index", "{\"saes\":[\"stopped\"],\"text\":\"corpus\"}", STATUS_REFUSED, "resume");
            assert_ok(job_resume(job_engine, id, &err));
        }
        json *r = await_result(id);
        ends[i] = json_get_number(r, "loss", 0);
        json_free(r);
    }
    assert_true(ends[0] > 0 && ends[0] == ends[1]);
}

static void a_name_is_free_again_after_a_cancelled_run(void **state)
{
    struct error err;
    struct job_status now;
    (void)state;
    uint64_t id =
        submit("train sae", parse_json("{\"names\":[\"c\"],\"widths\":[64],\"steps\":100000," TRAIN "}"));
    do {
        assert_ok(job_status_read(job_store, id, &now, &err));
    } while (now.state != JOB_RUNNING || now.progress.step < 2);
    refused("train sae", "{\"names\":[\"c\"],\"widths\":[64]," TRAIN "}", STATUS_REFUSED, "is making c");
    assert_ok(job_cancel(job_store, id, &err));
    assert_int_equal(job_wait(job_engine, id, NULL, NULL, &err), STATUS_FAILED);
    json_free(await_result(
        submit("train sae", parse_json("{\"names\":[\"c\"],\"widths\":[64],\"tokens\":1000," TRAIN "}"))));
    json *m = manifest("c");
    assert_int_equal(json_get_integer(json_get(m, "training"), "steps", 0), 4); /* ⌈1000 / 256⌉ */
    assert_true(json_get_integer(json_get(m, "training"), "contexts", 0) >=
                16); /* of 64 tokens, one of them BOS */
    json_free(m);
}

static json *train_meta(const char *parameters)
{
    json_free(await_result(submit("train meta", parse_json(parameters))));
    json *m = manifest("p");
    json *training = json_retain(json_get(m, "training"));
    json_free(m);
    return training;
}

/* The settings that the paper, the post and the dashboard had, by the table of the paper's notes; with so few
 * rows a batch is all of them. The number of steps is overridden where it says nothing of the number of rows.
 */
static void presets_are_the_authors(void **state)
{
    static const struct {
        const char *name;
        double lr;
    } presets[] = {{"paper", 1e-4}, {"post", 1e-3}, {"dashboard", 1e-3}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(presets); i++) {
        char *parameters =
            xasprintf("{\"names\":[\"p\"],\"sae\":\"b\",\"widths\":[16],\"preset\":\"%s\",\"replace\":true}",
                      presets[i].name);
        json *t = train_meta(parameters);
        assert_true(json_get_number(t, "lr", 0) == presets[i].lr);
        assert_int_equal(json_get_integer(t, "k", 0), 4);
        assert_int_equal(json_get_integer(t, "aux_k", 0), 512);
        assert_true(json_get_number(t, "aux_coefficient", 0) == 1.0 / 16);
        assert_int_equal(json_get_integer(t, "dead_after", 0), 100);
        assert_true(json_get_number(t, "beta1", 0) == 0.9 && json_get_number(t, "beta2", 0) == 0.99);
        assert_string_equal(json_get_string(t, "normalization", ""), "none");
        assert_string_equal(json_get_string(t, "architecture", ""), "batchtopk");
        assert_int_equal(json_get_integer(t, "batch", 0), 192);
        assert_int_equal(json_get_integer(t, "steps", 0), 2000); /* of the paper: epochs */
        assert_string_equal(json_get_string(t, "preset", ""), presets[i].name);
        json_free(t);
        free(parameters);
    }
    json *t =
        train_meta("{\"names\":[\"p\"],\"sae\":\"b\",\"widths\":[16],\"preset\":\"paper\",\"batch\":100,"
                   "\"replace\":true}");
    assert_int_equal(json_get_integer(t, "steps", 0), 3840); /* 2,000 · 192 / 100 */
    json_free(t);
}

/* On two SAEs at once, and on fewer rows, drawn by frequency. */
static void rows_are_chosen(void **state)
{
    (void)state;
    json *t =
        train_meta("{\"names\":[\"p\"],\"sae\":[\"a\",\"b\"],\"widths\":[16],\"steps\":20,\"alive\":true,"
                   "\"weight\":\"frequency\",\"replace\":true}");
    long long rows = json_get_integer(t, "rows", 0);
    assert_in_range(rows, 1, 128 + 192);
    assert_int_equal(json_get_integer(t, "batch", 0), rows);
    assert_string_equal(json_string(json_at(json_get(t, "bases"), 1), ""), "b");
    assert_string_equal(json_get_string(t, "weight", ""), "frequency");
    assert_true(json_get_boolean(t, "alive", 0));
    assert_true(json_get_number(t, "alive_density", -1) == 0);
    json_free(t);
    json *m = manifest("p"), *references = json_get(m, "references");
    assert_int_equal(json_get_integer(references, "base", 0), find_artifact(job_store, ARTIFACT_SAE, "a"));
    assert_int_equal(json_get_integer(references, "base2", 0), find_artifact(job_store, ARTIFACT_SAE, "b"));
    json_free(m);
    /* The index that comes with it counts all rows. */
    json *r = await_result(submit("evaluate", parse_json("{\"sae\":\"p\"}")));
    assert_int_equal(json_get_integer(r, "tokens", 0), 128 + 192);
    json_free(r);
}

static void columns_permuted_explain_less(void **state)
{
    (void)state;
    json *r = await_result(
        submit("train meta", parse_json("{\"names\":[\"m1\"],\"sae\":\"b\",\"widths\":[48],\"steps\":300}")));
    double structure = json_get_number(r, "explained_variance", 0);
    json_free(r);
    r = await_result(
        submit("train meta", parse_json("{\"names\":[\"m2\"],\"sae\":\"b\",\"widths\":[48],\"steps\":300,"
                                        "\"permute_columns\":true}")));
    assert_true(json_get_number(r, "explained_variance", 1) < structure);
    json_free(r);
    r = manifest("m2");
    assert_true(json_get_boolean(r, "baseline", 0));
    json_free(r);
}

/* Contexts of Pythia's family start without BOS unless asked; hooks of other widths than d_model train as
 * well. */
static void contexts_start_as_the_model_says(void **state)
{
    (void)state;
    json_free(await_result(submit("import model", path_and_name(data_path("families/gpt_neox"), "neox", NULL))));
    char *text = write_test_file("bytes.txt", NULL, 0);
    struct strbuf lines = STRBUF_INIT;
    for (int i = 0; i < 400; i++)
        strbuf_addf(&lines, "line %d of a text whose tokens are bytes\n", i * i);
    assert_int_equal(file_write_atomic(text, lines.data, lines.length, NULL), 0);
    strbuf_free(&lines);
    json_free(await_result(submit("import text", path_and_name(text, "bytes", "neox"))));
    static const struct {
        const char *name, *more;
        int starts_with_bos;
    } cases[] = {{"n1", "", 0}, {"n2", ",\"bos\":true", 1}, {"n3", ",\"bos\":true,\"no_bos\":true", 0}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *parameters =
            xasprintf("{\"names\":[\"%s\"],\"widths\":[32],\"k\":4,\"batch\":64,\"steps\":5,"
                      "\"model\":\"neox\",\"hook\":\"blocks.1.mlp.hook_post\",\"text\":\"bytes\"%s}",
                      cases[i].name, cases[i].more);
        json_free(await_result(submit("train sae", parse_json(parameters))));
        json *m = manifest(cases[i].name);
        assert_int_equal(json_get_boolean(m, "prepend_bos", -1), cases[i].starts_with_bos);
        assert_int_equal(json_get_integer(m, "context_size", 0), 64);
        assert_int_equal(json_get_integer(m, "d_in", 0), 24);
        json_free(m);
        free(parameters);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_queued_at_once),
        cmocka_unit_test(bad_requests_are_refused_at_once),
        cmocka_unit_test(an_interrupted_training_ends_alike),
        cmocka_unit_test(a_name_is_free_again_after_a_cancelled_run),
        cmocka_unit_test(presets_are_the_authors),
        cmocka_unit_test(rows_are_chosen),
        cmocka_unit_test(columns_permuted_explain_less),
        cmocka_unit_test(contexts_start_as_the_model_says),
    };
    alarm(600); /* ends a test that waits in vain */
    return cmocka_run_group_tests_name("job kinds", tests, set_up_jobs, tear_down_jobs);
}
