/* SPDX-License-Identifier: GPL-3.0-or-later */
/* steer and edit as their users call them: what they print, what they refuse, and the scripts that are
 * shipped. */
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
#include "saescope/base/strbuf.h"

#define HOOK   "blocks.2.hook_resid_pre"
#define PROMPT "Smith is the writer: English"

/* The shipped model, SAE and meta-SAE, and two that do not go with them. */
static int set_up(void **state)
{
    (void)state;
    program_set_up();
    char *model = shipped_file("wordnet-lm"), *sae = shipped_file("wn-4096"),
         *meta = shipped_file("wn-4096-meta"), *text = program_path("text.txt");
    const char corpus[] = "whale is a kind of mammal: any of the larger ones.\n";
    struct strbuf lines = STRBUF_INIT;
    for (int i = 0; i < 200; i++)
        strbuf_adds(&lines, corpus);
    program_write_file("text.txt", lines.data, lines.length);
    strbuf_free(&lines);
    PROGRAM_DONE("import", "model", model, "--name", "lm");
    PROGRAM_DONE("import", "sae", sae, "--name", "wn-4096", "--model", "lm");
    PROGRAM_DONE("import", "sae", meta, "--name", "wn-4096-meta", "--base", "wn-4096");
    PROGRAM_DONE("import", "text", text, "--name", "t", "--model", "lm");
    PROGRAM_DONE("train", "sae", "elsewhere", "--model", "lm", "--hook", "blocks.1.hook_mlp_out", "--text",
                 "t", "--width", "16", "--k", "2", "--steps", "2", "--batch", "64");
    free(model);
    free(sae);
    free(meta);
    free(text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    program_tear_down();
    return 0;
}

/* ---- steer ---- */

#define STEER_SHAPE                                                                                          \
    "{model:s,sae:s?,prompt:s,tokens:[{position:i,id:i,text:s}]+,method:s,edits:[{sae:s,latent:i,kind:s,"    \
    "value:n?}],"                                                                                            \
    "next:[{id:i,token:s,baseline:n,steered:n,difference:n}]+,answers:[{answer:s,tokens:i,baseline:n,"       \
    "steered:n}]}"

static void test_steer(void **state)
{
    (void)state;
    json *out = PROGRAM_JSON("steer", "wn-4096", PROMPT, "--remove", "/737", "--clamp", "wn-4096/3341=14.5",
                             "--positions", "6", "--top", "5", "--answers",
                             " general, writer, general who was", "--generate", "3");
    assert_shape(out, STEER_SHAPE);
    assert_shape(json_get(out, "generated"), "{baseline:s,steered:s}");
    assert_is(out, "model", "lm");
    assert_is(out, "sae", "wn-4096");
    assert_is(out, "prompt", PROMPT);
    assert_is(out, "method", "additive");
    assert_int_equal(json_length(json_get(out, "tokens")), 9);
    assert_is(json_at(json_get(out, "tokens"), 6), "text", " writer");
    const json *edits = json_get(out, "edits"), *next = json_get(out, "next"),
               *answers = json_get(out, "answers");
    assert_is(json_at(edits, 0), "kind", "remove");
    assert_true(json_is_null(json_get(json_at(edits, 0), "value")));
    assert_is(json_at(edits, 1), "kind", "clamp");
    assert_float_equal(number_of(json_at(edits, 1), "value"), 14.5, 0);
    assert_in_range(json_length(next), 5, 10);
    for (size_t i = 1; i < json_length(next); i++)
        assert_true(number_of(json_at(next, i), "steered") <= number_of(json_at(next, i - 1), "steered"));
    /* What the demo shows: the entry becomes a general's. */
    assert_is(json_at(next, 0), "token", " general");
    assert_float_equal(number_of(json_at(answers, 0), "steered"), number_of(json_at(next, 0), "steered"),
                       1e-6);
    assert_true(number_of(json_at(answers, 0), "baseline") < number_of(json_at(answers, 1), "baseline"));
    assert_int_equal(json_get_integer(json_at(answers, 2), "tokens", 0), 3);
    assert_true(number_of(json_at(answers, 2), "steered") < number_of(json_at(answers, 0), "steered"));
    assert_true(strncmp(json_get_string(json_get(out, "generated"), "steered", ""), " general", 8) == 0);
    assert_true(strncmp(json_get_string(json_get(out, "generated"), "baseline", ""), " writer", 7) == 0);
    json_free(out);
}

/* A list in one option, in several, and with a latent of another SAE: the same. */
static void test_lists(void **state)
{
    (void)state;
    json *one =
             PROGRAM_JSON("steer", "wn-4096", "a b", "--add", "/1=2,wn-4096-meta/3=1.5", "--answers", " c"),
         *two = PROGRAM_JSON("steer", "lm", "a b", "--add", "wn-4096/1=2", "--add=wn-4096-meta/3=1.5",
                             "--answers", " c");
    assert_int_equal(json_length(json_get(two, "edits")), 2);
    assert_true(json_is_null(json_get(two, "sae")));
    assert_float_equal(number_of(json_at(json_get(one, "answers"), 0), "steered"),
                       number_of(json_at(json_get(two, "answers"), 0), "steered"), 1e-9);
    assert_true(json_is_null(json_get(one, "generated")));
    json_free(one);
    json_free(two);
}

static void test_sampling(void **state)
{
    (void)state;
    const char *words[] = {"--json", "steer",         "wn-4096", PROMPT,   "--add", "/5=3", "--generate",
                           "12",     "--temperature", "1",       "--seed", "3",     NULL};
    json *a = program_json(words), *b = program_json(words);
    words[11] = "4";
    json *c = program_json(words);
    assert_is(json_get(a, "generated"), "steered", json_get_string(json_get(b, "generated"), "steered", ""));
    assert_string_not_equal(json_get_string(json_get(a, "generated"), "steered", ""),
                            json_get_string(json_get(c, "generated"), "steered", ""));
    json_free(a);
    json_free(b);
    json_free(c);
}

static void test_steer_refuses(void **state)
{
    (void)state;
    struct strbuf prompt = STRBUF_INIT;
    for (int i = 0; i < 200; i++)
        strbuf_adds(&prompt, " whale");
#define REFUSED(status, says, ...) PROGRAM_REFUSES(status, SAYS(says), "steer", __VA_ARGS__)
    REFUSED(2, "--add takes SAE/ID=X", "wn-4096", "x", "--add", "/1");
    REFUSED(2, "--scale takes SAE/ID=X, not '/1=y'", "wn-4096", "x", "--scale", "/1=y");
    REFUSED(2, "--remove takes SAE/ID, not '/1=2'", "wn-4096", "x", "--remove", "/1=2");
    REFUSED(3, "latents 0 to 4095", "wn-4096", "x", "--remove", "/4096");
    REFUSED(3, "no SAE named wn", "wn-4096", "x", "--remove", "wn/1");
    REFUSED(3, "one hook at a time", "wn-4096", "x", "--remove", "/1,elsewhere/1");
    REFUSED(3, "changed twice", "wn-4096", "x", "--remove", "/1", "--clamp", "/1=2");
    REFUSED(3, "is a text", "t", "x");
    REFUSED(3, "no", "nobody", "x");
    REFUSED(3, "the prompt is empty", "wn-4096", "");
    REFUSED(3, "201 tokens with BOS, lm takes 128", "wn-4096", strbuf_string(&prompt));
    REFUSED(3, "answer 2 is empty", "wn-4096", "x", "--answers", " a,, b");
    REFUSED(3, "answer 1 is empty", "wn-4096", "x", "--answers", "");
    REFUSED(3, "no position 9", "wn-4096", "x", "--positions", "9");
    REFUSED(2, "--positions takes all", "wn-4096", "x", "--positions", "3..1");
    REFUSED(2, "--positions takes all", "wn-4096", "x", "--positions", "-1");
    REFUSED(2, "negative", "wn-4096", "x", "--generate", "2", "--temperature", "-1");
    REFUSED(2, "additive|orthogonal", "wn-4096", "x", "--method", "x");
    REFUSED(2, "--top is given twice", "wn-4096", "x", "--top", "2", "--top", "3");
    REFUSED(2, "needs PROMPT", "wn-4096");
#undef REFUSED
    strbuf_free(&prompt);
}

/* ---- edit ---- */

#define EDIT_SHAPE                                                                                           \
    "{sae:s,latent:i,label:s?,meta:s,target:{sae:s,latent:i,label:s?},remove:[i],add:[i],method:s,cosine:n," \
    "saved:s?,"                                                                                              \
    "components:[{latent:i,before:n,after:n,label:s?}]+,"                                                    \
    "prompts:[{prompt:s,active:i,answers:[{answer:s,unmodified:n,swapped:n,rebuilt:n,edited:n}]+,"           \
    "likeliest:{unmodified:s,swapped:s,rebuilt:s,edited:s}}]+,subsets:[x],outcomes:[x]}"

static json *edit_demo(void)
{
    char *prompts = shipped_file("edit-demo.tsv");
    json *out =
        PROGRAM_JSON("edit", "wn-4096", "--from", " writer", "--to", " general", "--prompts", prompts);
    free(prompts);
    return out;
}

static void test_edit(void **state)
{
    (void)state;
    json *out = edit_demo();
    assert_shape(out, EDIT_SHAPE);
    assert_int_equal(json_get_integer(out, "latent", -1), 737);
    assert_int_equal(json_get_integer(json_get(out, "target"), "latent", -1), 3341);
    assert_is(out, "meta", "wn-4096-meta");
    assert_is(out, "method", "rebuilt");
    /* What goes is in the row and not in the target's, what comes the reverse. */
    json *own = PROGRAM_JSON("decompose", "wn-4096/737"), *other = PROGRAM_JSON("decompose", "wn-4096/3341");
    assert_int_equal(json_length(json_get(out, "remove")) + json_length(json_get(out, "add")),
                     json_length(json_get(own, "components")) + json_length(json_get(other, "components")));
    for (size_t i = 0; i < json_length(json_get(out, "components")); i++) {
        const json *c = json_at(json_get(out, "components"), i);
        assert_true((number_of(c, "before") > 0) != (number_of(c, "after") > 0));
    }
    const json *first = json_at(json_get(out, "prompts"), 0), *last = json_at(json_get(out, "prompts"), 5);
    assert_is(json_get(first, "likeliest"), "unmodified", " writer");
    assert_is(json_get(first, "likeliest"), "rebuilt", " writer");
    assert_is(json_get(first, "likeliest"), "swapped", " general");
    assert_is(json_get(first, "likeliest"), "edited", " general");
    assert_is(json_get(last, "likeliest"), "edited", " his");
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(json_get_integer(json_at(json_get(out, "prompts"), i), "active", 0), 1);
    json_free(own);
    json_free(other);
    json_free(out);
}

/* Of the subsets, that of nothing is the rebuilt row and that of all the edited one. */
static void test_subsets(void **state)
{
    (void)state;
    json *out = PROGRAM_JSON("edit", "wn-4096/737", "--swap", "/3341", "--remove", "/56,/214", "--add",
                             "/128", "--prompt", PROMPT, "--answers", " writer, general", "--subsets");
    const json *subsets = json_get(out, "subsets"),
               *answers = json_get(json_at(json_get(out, "prompts"), 0), "answers");
    assert_shape(subsets, "[{remove:[i],add:[i],cosine:n,log_probs:[x]+}]+");
    assert_shape(json_get(out, "outcomes"), "[{answers:s,subsets:i,removed:s,added:s}]+");
    assert_int_equal(json_length(subsets), 8);
    for (size_t k = 0; k < 2; k++) {
        const json *nothing = json_at(json_get(json_at(subsets, 0), "log_probs"), 0),
                   *all = json_at(json_get(json_at(subsets, 7), "log_probs"), 0);
        assert_float_equal(json_number(json_at(nothing, k), NAN), number_of(json_at(answers, k), "rebuilt"),
                           1e-6);
        assert_float_equal(json_number(json_at(all, k), NAN), number_of(json_at(answers, k), "edited"), 1e-6);
    }
    assert_int_equal(json_length(json_get(json_at(subsets, 7), "remove")), 2);
    long long counted = 0;
    for (size_t i = 0; i < json_length(json_get(out, "outcomes")); i++)
        counted += json_get_integer(json_at(json_get(out, "outcomes"), i), "subsets", 0);
    assert_int_equal(counted, 8);
    json_free(out);
}

/* The SAE that is saved has the edited row and all others of the old one. */
static void test_saved(void **state)
{
    (void)state;
    json *out = PROGRAM_JSON("edit", "wn-4096/737", "--remove", "/56", "--add", "wn-4096-meta/128=0.5",
                             "--keep-residual", "--save", "edited");
    assert_is(out, "saved", "edited");
    assert_is(out, "method", "residual");
    assert_true(json_is_null(json_get(out, "target")));
    json *info = PROGRAM_JSON("info", "edited");
    assert_is(info, "hook", HOOK);
    assert_is(info, "model", "lm");
    assert_int_equal(json_get_integer(info, "d_sae", 0), 4096);
    assert_is(json_get(info, "source"), "format", "edit");
    json *near = PROGRAM_JSON("neighbors", "edited/737", "--in", "wn-4096", "--limit", "4096"),
         *same = PROGRAM_JSON("compare", "edited", "wn-4096");
    for (size_t i = 0; i < 4096; i++) {
        const json *n = json_at(json_get(near, "neighbors"), i), *c = json_at(json_get(same, "latents"), i);
        if (json_get_integer(n, "latent", -1) == 737)
            assert_float_equal(number_of(n, "cosine"), number_of(out, "cosine"), 1e-5);
        if (i != 737)
            assert_float_equal(number_of(c, "cosine"), 1, 1e-5);
    }
    assert_true(number_of(out, "cosine") < 0.95);
    PROGRAM_REFUSES(3, SAYS("edited"), "edit", "wn-4096/737", "--remove", "/56", "--save", "edited");
    PROGRAM_DONE("edit", "wn-4096/737", "--remove", "/56", "--save", "edited", "--if-absent");
    PROGRAM_DONE("edit", "wn-4096/737", "--remove", "/56", "--save", "edited", "--replace");
    PROGRAM_DONE("remove", "edited", "--yes");
    json_free(same);
    json_free(near);
    json_free(info);
    json_free(out);
}

static void test_edit_refuses(void **state)
{
    (void)state;
    program_write_file("no-tab.tsv", "a prompt\n", 9);
    program_write_file("empty.tsv", "# nothing\n\n", 11);
    program_write_file("hole.tsv", "a\t b\nc\t d,,e\n", 13);
    char *no_tab = program_path("no-tab.tsv"), *empty = program_path("empty.tsv"),
         *hole = program_path("hole.tsv");
#define REFUSED(status, says, ...) PROGRAM_REFUSES(status, SAYS(says), "edit", __VA_ARGS__)
    REFUSED(2, "--from TEXT and --to TEXT", "wn-4096", "--remove", "/1");
    REFUSED(2, "name the SAE alone", "wn-4096/1", "--from", " a", "--to", " b");
    REFUSED(2, "need prompts", "wn-4096", "--from", " a", "--to", " b");
    REFUSED(2, "needs --remove or --add", "wn-4096/1");
    REFUSED(2, "belong together", "wn-4096/1", "--swap", "/2", "--prompt", "x");
    REFUSED(2, "--subsets needs prompts", "wn-4096/1", "--swap", "/2", "--subsets");
    REFUSED(2, "excludes", "wn-4096/1", "--swap", "/2", "--raw-add", "1", "--scale", "2");
    REFUSED(3, "latents 0 to 4095", "wn-4096/4096", "--swap", "/2");
    REFUSED(3, "latents 0 to 255", "wn-4096/1", "--add", "/256");
    REFUSED(3, "is not active in wn-4096/737", "wn-4096/737", "--remove", "/1");
    REFUSED(3, "named twice", "wn-4096/737", "--remove", "/56", "--add", "/56");
    REFUSED(3, "is a meta-SAE", "wn-4096-meta/1", "--add", "/1");
    REFUSED(3, "no meta-SAE", "elsewhere/1", "--add", "/1");
    REFUSED(3, "no meta-SAE of elsewhere", "elsewhere/1", "--add", "wn-4096-meta/1");
    REFUSED(3, "another latent of wn-4096", "wn-4096/1", "--swap", "elsewhere/1");
    REFUSED(3, "no prompt has ' whale'", "wn-4096", "--from", " whale", "--to", " oak", "--prompt", "x",
            "--answers", " y");
    REFUSED(3, "too many subsets", "wn-4096/737", "--add", "/0,/1,/2,/3,/4,/5,/6,/7,/8,/9,/10", "--prompt",
            "x", "--answers", " y", "--subsets");
    REFUSED(3, "no-tab.tsv:1: there is no tab", "wn-4096/1", "--swap", "/2", "--prompts", no_tab);
    REFUSED(3, "there are no prompts", "wn-4096/1", "--swap", "/2", "--prompts", empty);
    REFUSED(3, "hole.tsv:2: answer 2 is empty", "wn-4096/1", "--swap", "/2", "--prompts", hole);
    REFUSED(3, "nowhere.tsv", "wn-4096/1", "--swap", "/2", "--prompts", "/nowhere.tsv");
#undef REFUSED
    free(no_tab);
    free(empty);
    free(hole);
}

/* ---- Tables and scripts. ---- */

static void assert_header(struct result r, const char *header)
{
    assert_int_equal(r.status, 0);
    assert_int_equal(strcspn(r.out, "\n"), strlen(header));
    assert_memory_equal(r.out, header, strlen(header));
    result_free(&r);
}

static void test_tables(void **state)
{
    (void)state;
    assert_header(PROGRAM("--tsv", "steer", "wn-4096", "x"), "id\ttoken\tbaseline\tsteered\tdifference");
    assert_header(PROGRAM("--tsv", "steer", "wn-4096", "x", "--answers", " y"),
                  "answer\ttokens\tbaseline\tsteered\tdifference");
    assert_header(PROGRAM("--tsv", "edit", "wn-4096/737", "--remove", "/56"), "latent\tbefore\tafter\tlabel");
    assert_header(
        PROGRAM("--tsv", "edit", "wn-4096/737", "--remove", "/56", "--prompt", "x", "--answers", " y"),
        "prompt\tanswer\tunmodified\trebuilt\tedited");
    assert_header(PROGRAM("--tsv", "edit", "wn-4096/737", "--remove", "/56", "--prompt", "x", "--answers",
                          " y", "--subsets"),
                  "answers\tsubsets\tremoved\tadded");
    /* A latent that is nowhere in the prompt changes nothing, and that is said. */
    struct result r =
        PROGRAM("edit", "wn-4096/737", "--remove", "/56", "--prompt", "fish", "--answers", " y");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "wn-4096/737 is not active in: fish"));
    result_free(&r);
}

static void test_scripts(void **state)
{
    (void)state;
    char *demo = shipped_file("edit-demo.saescope"), *tokyo = shipped_file("tokyo-paris.saescope"),
         *small = shipped_file("wn-256"), *line = xasprintf("set sae wn-256; source %s", tokyo);
    struct result r = PROGRAM("--quiet", "-f", demo);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "likeliest answers"));
    result_free(&r);
    /* With a small SAE and few meta-latents it says nothing of Tokyo, but it runs through. */
    PROGRAM_DONE("import", "sae", small, "--name", "wn-256", "--model", "lm");
    PROGRAM_DONE("train", "meta", "wn-256-meta", "--sae", "wn-256", "--width", "16", "--k", "1", "--steps",
                 "40");
    r = PROGRAM("--quiet", "-c", line);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "Tokyo is a city in the country of"));
    result_free(&r);
    free(demo);
    free(tokyo);
    free(small);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steer),    cmocka_unit_test(test_lists),
        cmocka_unit_test(test_sampling), cmocka_unit_test(test_steer_refuses),
        cmocka_unit_test(test_edit),     cmocka_unit_test(test_subsets),
        cmocka_unit_test(test_saved),    cmocka_unit_test(test_edit_refuses),
        cmocka_unit_test(test_tables),   cmocka_unit_test(test_scripts),
    };
    return cmocka_run_group_tests_name("steering", tests, set_up, tear_down);
}
