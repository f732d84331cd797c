/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `stitch` and `info` of a stitch print, and what they refuse, on a small store that the test makes. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "program.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"

enum { DOCUMENTS = 400, SMALL = 48, LARGE = 96 };

#define HOOK "blocks.2.hook_resid_pre"

static json *made; /* what `stitch` printed */

static void train(const char *name, const char *hook, const char *width, const char *seed)
{
    PROGRAM_DONE("train", "sae", name, "--model", "lm", "--hook", hook, "--text", "t", "--width", width, "--k", "8", "--steps",
                 "40", "--batch", "256", "--warmup", "5", "--seed", seed);
}

static int set_up(void **state)
{
    (void)state;
    program_set_up();
    program_write_corpus("text.txt", DOCUMENTS);
    char *model = shipped_file("wordnet-lm"), *text = program_path("text.txt");
    PROGRAM_DONE("import", "model", model, "--name", "lm");
    PROGRAM_DONE("import", "text", text, "--name", "t", "--model", "lm");
    train("a", HOOK, "48", "1");
    train("b", HOOK, "96", "2");
    train("c", HOOK, "48", "3");
    made = PROGRAM_JSON("stitch", "x", "--small", "a", "--large", "b", "--text", "t", "--tokens", "4000", "--control", "c",
                        "--threshold", "0.15", "--ce-steps", "3", "--ce-tokens", "500", "--seed", "5");
    free(model);
    free(text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_free(made);
    program_tear_down();
    return 0;
}

static long long cell(const json *table, size_t row, size_t column)
{
    return json_integer(json_at(json_at(table, row), column), -1);
}

#define CONTROL "{novel:i,reconstruction:i,undecided:i,novel_fraction:n?,ci:[n?]+}"
#define STITCH                                                                                                                 \
    "name:s,small:s,large:s,tokens:i,by_delta:{novel:i,reconstruction:i,undecided:i},"                                        \
    "by_cosine:{threshold:n,below:i,above:i},confusion:[[i]+]+,auc:n?,best_threshold:n?,novel_fraction:n?,ci:[n?]+,"           \
    "controls:{shuffled:" CONTROL ",random:" CONTROL ",seed:" CONTROL "?},"                                                   \
    "path:[{step:i,kind:s,added:[i],removed:[i],l0:n,mse:n,explained_variance:n}]+"

static void test_shape(void **state)
{
    (void)state;
    assert_shape(made, "{" STITCH "}");
    assert_string_equal(json_get_string(made, "name", ""), "x");
    assert_string_equal(json_get_string(made, "small", ""), "a");
    assert_string_equal(json_get_string(made, "large", ""), "b");
    assert_true(integer_of(made, "tokens") >= 4000 && integer_of(made, "tokens") < 4128);
    json *info = PROGRAM_JSON("info", "x"), *list = PROGRAM_JSON("list", "stitches");
    assert_shape(info, "{kind:s,bytes:i,options:{threshold:n,decoder_bias:s,order:s,seed:i}," STITCH "}");
    assert_null(json_get(info, "latents"));
    assert_shape(list, "{stitches:[{name:s,small:s,large:s}]+}");
    assert_float_equal(number_of(info, "auc"), number_of(made, "auc"), 0);
    json_free(info);
    json_free(list);
}

/* The numbers of one another. */
static void test_numbers(void **state)
{
    (void)state;
    json *info = PROGRAM_JSON("info", "x", "--latents");
    const json *latents = json_get(info, "latents"), *by_delta = json_get(info, "by_delta"),
               *by_cosine = json_get(info, "by_cosine"), *confusion = json_get(info, "confusion"), *ci = json_get(info, "ci");
    long long novel = 0, reconstruction = 0, below = 0, novel_below = 0;
    assert_shape(info, "{latents:[{latent:i,fired:i,max_cosine:n,nearest:i,delta_mse:n,class:s,step:i}]+," STITCH "}");
    assert_int_equal(json_length(latents), LARGE);
    for (size_t i = 0; i < LARGE; i++) {
        const json *l = json_at(latents, i);
        const char *class = json_get_string(l, "class", "");
        int is_below = number_of(l, "max_cosine") <= 0.15;
        assert_int_equal(integer_of(l, "latent"), i);
        assert_in_range(integer_of(l, "nearest"), 0, SMALL - 1);
        assert_string_equal(class, integer_of(l, "fired") < 20     ? "undecided"
                                   : number_of(l, "delta_mse") < 0 ? "novel"
                                                                   : "reconstruction");
        novel += !strcmp(class, "novel");
        reconstruction += !strcmp(class, "reconstruction");
        below += is_below && strcmp(class, "undecided") != 0;
        novel_below += is_below && !strcmp(class, "novel");
    }
    assert_int_equal(integer_of(by_delta, "novel"), novel);
    assert_int_equal(integer_of(by_delta, "reconstruction"), reconstruction);
    assert_int_equal(integer_of(by_delta, "undecided"), LARGE - novel - reconstruction);
    assert_int_equal(integer_of(by_cosine, "below"), below);
    assert_int_equal(integer_of(by_cosine, "above"), novel + reconstruction - below);
    assert_int_equal(cell(confusion, 0, 0), novel_below);
    assert_int_equal(cell(confusion, 0, 1), novel - novel_below);
    assert_int_equal(cell(confusion, 1, 0), below - novel_below);
    assert_float_equal(number_of(info, "novel_fraction"), (double)novel / (double)(novel + reconstruction), 1e-8);
    assert_true(json_number(json_at(ci, 0), 2) <= json_number(json_at(ci, 1), -1));
    json_free(info);
}

/* The swaps, by size. */
static void check_components(const json *components, const json *path)
{
    const json *sizes = json_get(components, "sizes");
    long long swaps = 0, swapped[2] = {0}, counted = 0;
    assert_shape(components, "{count:i,small:i,large:i,largest:{small:i,large:i},sizes:[{small:i,large:i,count:i}]+}");
    for (size_t s = 0; s < json_length(path); s++) {
        const json *step = json_at(path, s);
        if (strcmp(json_get_string(step, "kind", ""), "swap") != 0)
            continue;
        swaps++;
        swapped[0] += (long long)json_length(json_get(step, "removed"));
        swapped[1] += (long long)json_length(json_get(step, "added"));
    }
    for (size_t i = 0; i < json_length(sizes); i++)
        counted += integer_of(json_at(sizes, i), "count");
    assert_true(swaps > 0 && counted == swaps);
    assert_int_equal(integer_of(components, "count"), swaps);
    assert_int_equal(integer_of(components, "small"), swapped[0]);
    assert_int_equal(integer_of(components, "large"), swapped[1]);
}

/* From the small SAE alone to the large one alone. */
static void test_path(void **state)
{
    (void)state;
    const json *path = json_get(made, "path");
    size_t last = json_length(path) - 1, added = 0, removed = 0, measured = 0;
    for (size_t s = 0; s <= last; s++) {
        const json *step = json_at(path, s);
        assert_int_equal(integer_of(step, "step"), s);
        added += json_length(json_get(step, "added"));
        removed += json_length(json_get(step, "removed"));
        measured += isfinite(number_of(step, "cross_entropy"));
    }
    assert_string_equal(json_get_string(json_at(path, 0), "kind", ""), "start");
    assert_int_equal(added, LARGE);
    assert_int_equal(removed, SMALL);
    assert_int_equal(measured, 3);
    check_components(json_get(made, "components"), path);
    json *a = PROGRAM_JSON("evaluate", "a", "--text", "t", "--tokens", "4000");
    double mse = number_of(json_get(json_get(a, "metrics"), "reconstruction_quality"), "mse");
    assert_true(isfinite(mse) && fabs(number_of(json_at(path, 0), "mse") - mse) < 1e-5 * mse);
    json_free(a);
}

/* An evaluation over the stitch's tokens. */
static void check_against_step(const char *sae, const json *step)
{
    json *e = PROGRAM_JSON("evaluate", sae, "--text", "t", "--tokens", "4000");
    const json *metrics = json_get(e, "metrics"), *reconstruction = json_get(metrics, "reconstruction_quality");
    double mse = number_of(reconstruction, "mse");
    assert_int_equal(integer_of(e, "tokens"), integer_of(made, "tokens"));
    assert_true(fabs(number_of(step, "mse") - mse) <= 1e-5 * mse);
    assert_true(fabs(number_of(step, "explained_variance") - number_of(reconstruction, "explained_variance")) <= 1e-5);
    assert_true(fabs(number_of(step, "l0") - number_of(json_get(metrics, "sparsity"), "l0")) <= 1e-3);
    json_free(e);
}

/* A step as an SAE: evaluated, sent out and brought in again, indexed, and the small one of another stitch. */
static void test_saved_step(void **state)
{
    (void)state;
    const json *path = json_get(made, "path"), *step = json_at(path, 20);
    char *folder = program_path("exported");
    json *saved = PROGRAM_JSON("stitch", "x", "--step", "20", "--save", "x-20"),
         *present = PROGRAM_JSON("stitch", "x", "--step", "20", "--save", "x-20", "--if-absent"),
         *info = PROGRAM_JSON("info", "x-20");
    assert_shape(saved, "{name:s,kind:s,bytes:i,seconds:n}");
    assert_string_equal(json_get_string(saved, "kind", ""), "sae");
    assert_shape(present, "{name:s,present:b}");
    assert_shape(info, "{architecture:s,hook:s,model:s,context_size:i,source:{stitch:s,step:i,small:s,large:s}}");
    assert_string_equal(json_get_string(info, "architecture", ""), "jumprelu");
    assert_int_equal(integer_of(json_get(info, "source"), "step"), 20);
    check_against_step("x-20", step);
    PROGRAM_DONE("export", "sae", "x-20", folder);
    PROGRAM_DONE("import", "sae", folder, "--name", "again", "--model", "lm");
    check_against_step("again", step);
    PROGRAM_DONE("index", "x-20", "--text", "t", "--tokens", "1000");
    PROGRAM_DONE("latents", "x-20", "--limit", "3");
    json *further = PROGRAM_JSON("stitch", "further", "--small", "x-20", "--large", "c", "--text", "t", "--tokens", "4000");
    check_against_step("x-20", json_at(json_get(further, "path"), 0));
    PROGRAM_DONE("stitch", "further", "--step", "3", "--save", "three-sizes");
    check_against_step("three-sizes", json_at(json_get(further, "path"), 3));

    PROGRAM_REFUSES(3, SAYS("no step 500", "0 to"), "stitch", "x", "--step", "500", "--save", "y");
    PROGRAM_REFUSES(3, SAYS("named x-20 already"), "stitch", "x", "--step", "1", "--save", "x-20");
    PROGRAM_REFUSES(3, SAYS("named nowhere"), "stitch", "nowhere", "--step", "1", "--save", "y");
    PROGRAM_REFUSES(2, SAYS("--save"), "stitch", "x", "--step", "1");
    PROGRAM_REFUSES(2, SAYS("--step"), "stitch", "x", "--save", "y");
    PROGRAM_REFUSES(2, SAYS("--order"), "stitch", "x", "--step", "1", "--save", "y", "--order", "random");
    PROGRAM_DONE("remove", "further", "--yes");
    PROGRAM_DONE("stitch", "x", "--step", "1", "--save", "x-20", "--replace");
    json_free(saved);
    json_free(present);
    json_free(info);
    json_free(further);
    free(folder);
}

static void test_tables(void **state)
{
    (void)state;
    struct result r = PROGRAM("--tsv", "info", "x", "--latents");
    size_t lines = 0;
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "latent\tfired\tmax_cosine\tnearest\tdelta_mse\tclass\tstep\n0\t"));
    for (const char *at = r.out; *at; at++)
        lines += *at == '\n';
    assert_int_equal(lines, LARGE + 1);
    result_free(&r);
    r = PROGRAM("--tsv", "info", "x");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "novel_fraction"));
    assert_null(strstr(r.out, "path"));
    result_free(&r);
    r = PROGRAM("info", "x");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "x: latents of b in a"));
    assert_non_null(strstr(r.out, "of the control SAE"));
    assert_non_null(strstr(r.out, "  swaps: "));
    result_free(&r);
}

static void test_names(void **state)
{
    (void)state;
    json *skipped = PROGRAM_JSON("stitch", "x", "--small", "a", "--large", "b", "--text", "t", "--if-absent");
    assert_shape(skipped, "{name:s,present:b}");
    json_free(skipped);
    PROGRAM_REFUSES(3, SAYS("a stitch named x"), "stitch", "x", "--small", "a", "--large", "b", "--text", "t");
    json *again = PROGRAM_JSON("stitch", "x", "--small", "a", "--large", "c", "--text", "t", "--tokens", "1000", "--replace");
    assert_string_equal(json_get_string(again, "large", ""), "c");
    assert_true(json_is_null(json_get(json_get(again, "controls"), "seed")));
    json_free(again);
    PROGRAM_REFUSES(3, SAYS("x"), "remove", "c", "--yes");
    PROGRAM_DONE("remove", "x", "--yes");
    PROGRAM_DONE("rename", "c", "d");
    PROGRAM_DONE("rename", "d", "c");
}

static void test_refusals(void **state)
{
    (void)state;
    train("elsewhere", "blocks.1.hook_mlp_out", "96", "4");
    PROGRAM_DONE("train", "meta", "m", "--sae", "b", "--width", "16", "--k", "2", "--steps", "10");
    PROGRAM_REFUSES(3, SAYS("between 0 and 1"), "stitch", "y", "--small", "a", "--large", "b", "--text", "t", "--threshold", "1");
    PROGRAM_REFUSES(3, SAYS("between 0 and 1"), "stitch", "y", "--small", "a", "--large", "b", "--text", "t", "--threshold", "0");
    PROGRAM_REFUSES(3, SAYS("one hook"), "stitch", "y", "--small", "a", "--large", "elsewhere", "--text", "t");
    PROGRAM_REFUSES(3, SAYS("m is a meta-SAE"), "stitch", "y", "--small", "a", "--large", "m", "--text", "t");
    PROGRAM_REFUSES(3, SAYS("the same"), "stitch", "y", "--small", "a", "--large", "a", "--text", "t");
    PROGRAM_REFUSES(3, SAYS("the control"), "stitch", "y", "--small", "a", "--large", "b", "--text", "t", "--control", "b");
    PROGRAM_REFUSES(3, SAYS("named z"), "stitch", "y", "--small", "a", "--large", "z", "--text", "t");
    PROGRAM_REFUSES(3, SAYS("named z"), "stitch", "y", "--small", "a", "--large", "b", "--text", "z");
    PROGRAM_REFUSES(2, SAYS("order"), "stitch", "y", "--small", "a", "--large", "b", "--text", "t", "--order", "best");
    PROGRAM_REFUSES(2, SAYS("--large"), "stitch", "y", "--small", "a", "--text", "t");
    PROGRAM_REFUSES(2, SAYS("--latents is for stitches"), "info", "a", "--latents");
    json *list = PROGRAM_JSON("list", "stitches");
    for (size_t i = 0; i < json_length(json_get(list, "stitches")); i++)
        assert_string_not_equal(json_get_string(json_at(json_get(list, "stitches"), i), "name", ""), "y");
    json_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),  cmocka_unit_test(test_numbers),  cmocka_unit_test(test_path),
        cmocka_unit_test(test_tables), cmocka_unit_test(test_saved_step), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
