/* SPDX-License-Identifier: GPL-3.0-or-later */
/* export stitch: its TSV, JSON and picture of a stitch with exact values. */
#include "config.h"

#include "tests/golden/stitch_store.h"

#include <unistd.h>

#include "saescope/base/display.h"
#include "program.h"

static struct made_stitch made;

static int set_up(void **state)
{
    (void)state;
    program_set_up();
    if (chdir(program_directory()) != 0)
        return -1;
    stitch_store_make("store", &made);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    program_tear_down();
    return chdir("/");
}

static double delta_mse(size_t latent)
{
    return made.delta[latent] / (STITCH_TOKENS * STITCH_D_IN);
}

static void test_tsv(void **state)
{
    (void)state;
    size_t n = 0, rows = 0;
    json *answer = PROGRAM_JSON("export", "stitch", "st", "st.tsv");
    char *text = program_read_file("st.tsv", &n), *rest = NULL;
    assert_string_equal(json_get_string(answer, "name", ""), "st");
    assert_string_equal(json_get_string(answer, "kind", ""), "stitch");
    assert_string_equal(json_get_string(answer, "format", ""), "tsv");
    assert_int_equal(json_get_integer(answer, "bytes", -1), n);
    char *line = strtok_r(text, "\n", &rest);
    assert_string_equal(line, "latent\tfired\tmax_cosine\tnearest\tdelta_mse\tclass\tstep");
    while ((line = strtok_r(NULL, "\n", &rest))) {
        unsigned latent, fired, nearest, step;
        double cosine, delta;
        char class[32];
        assert_int_equal(
            sscanf(line, "%u\t%u\t%lf\t%u\t%lf\t%31[a-z]\t%u", &latent, &fired, &cosine, &nearest, &delta, class, &step),
            7);
        assert_int_equal(latent, rows);
        assert_int_equal(fired, made.fired[rows]);
        assert_int_equal(nearest, made.nearest[rows]);
        assert_int_equal(step, made.large_step[rows]);
        assert_true(fabs(cosine - (double)made.max_cosine[rows]) < 1e-8);
        assert_true(fabs(delta - delta_mse(rows)) < 1e-8 * fabs(delta_mse(rows)));
        assert_string_equal(class, latent_class_name((enum latent_class)made.classes[rows]));
        rows++;
    }
    assert_int_equal(rows, STITCH_LARGE);
    free(text);
    json_free(answer);
}

static void test_json(void **state)
{
    (void)state;
    size_t n = 0, added = 0, removed = 0;
    struct error err = {0};
    PROGRAM_DONE("export", "stitch", "st", "st.json");
    char *text = program_read_file("st.json", &n);
    json *o = json_parse(text, n, "st.json", &err);
    if (!o)
        fail_msg("%s", err.message);
    assert_shape(o, "{name:s,small:s,large:s,tokens:i,path:[{step:i,kind:s,added:[i],removed:[i],l0:n,mse:n,"
                    "explained_variance:n}]+,latents:[{latent:i,fired:i,max_cosine:n,nearest:i,delta_mse:n,class:s,step:i}]+}");
    const json *path = json_get(o, "path");
    assert_int_equal(json_length(path), STITCH_STEPS + 1);
    for (size_t k = 0; k <= STITCH_STEPS; k++) {
        const json *step = json_at(path, k);
        assert_string_equal(json_get_string(step, "kind", ""), step_kind_name((enum step_kind)made.kinds[k]));
        assert_true(fabs(json_get_number(step, "l0", NAN) - made.l0[k]) < 1e-7);
        assert_true(fabs(json_get_number(step, "explained_variance", NAN) - made.ev[k]) < 1e-8);
        added += json_length(json_get(step, "added"));
        removed += json_length(json_get(step, "removed"));
    }
    assert_int_equal(added, STITCH_LARGE);
    assert_int_equal(removed, STITCH_SMALL);
    /* The same object as `info` gives. */
    json *info = PROGRAM_JSON("info", "st", "--latents");
    assert_int_equal(json_length(json_get(info, "latents")), json_length(json_get(o, "latents")));
    json_free(info);
    json_free(o);
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    PROGRAM_DONE("export", "stitch", "st", "a.svg");
    PROGRAM_REFUSES(3, SAYS("a.svg is there already", "--replace"), "export", "stitch", "st", "a.svg");
    PROGRAM_DONE("export", "stitch", "st", "a.svg", "--format", "tsv", "--replace");
    PROGRAM_DONE("export", "stitch", "st", "a.TSV");
    char *a = program_read_file("a.svg", NULL), *b = program_read_file("a.TSV", NULL);
    assert_string_equal(a, b); /* --format goes before the name's ending */
    struct result r = PROGRAM("export", "stitch", "st", "b.tsv");
    assert_string_equal(r.out, "st is in b.tsv as tsv\n");
    result_free(&r);
    r = PROGRAM("export", "stitch", "st", "-", "--format", "tsv");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, b);
    result_free(&r);
    r = PROGRAM("export", "stitch", "st", "-", "--format", "svg");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "<svg xmlns="));
    assert_non_null(strstr(r.out, ">reconstruction 16</text>"));
    result_free(&r);
    free(a);
    free(b);
}

static void test_refusals(void **state)
{
    (void)state;
    PROGRAM_REFUSES(3, SAYS("no stitch named sst", "did you mean st"), "export", "stitch", "sst", "x.tsv");
    PROGRAM_REFUSES(3, SAYS("tiny-12"), "export", "stitch", "tiny-12", "x.tsv");
    PROGRAM_REFUSES(2, SAYS("x.png", "--format"), "export", "stitch", "st", "x.png");
    PROGRAM_REFUSES(2, SAYS("--format"), "export", "stitch", "st", "-");
    PROGRAM_REFUSES(2, SAYS("tsv|json|svg"), "export", "stitch", "st", "x", "--format", "png");
    PROGRAM_REFUSES(1, SAYS("none/x.tsv"), "export", "stitch", "st", "none/x.tsv");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tsv),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_refusals),
    };
    locale_start();
    return cmocka_run_group_tests_name("export stitch", tests, set_up, tear_down);
}
