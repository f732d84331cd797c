/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command graph: its JSON, TSV and tree, and the files that it writes. */
#include "config.h"

#include "../golden/latent_store.h"

#include <math.h>
#include <unistd.h>

#include "program.h"
#include "saescope/base/blas.h"
#include "saescope/base/display.h"
#include "saescope/base/parallel.h"
#include "tests/support/support.h"

static int set_up(void **state)
{
    (void)state;
    blas_start();
    parallel_start(1);
    program_set_up();
    if (chdir(program_directory()) != 0)
        return -1;
    latent_store_make("store");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    parallel_stop();
    program_tear_down();
    return chdir("/");
}

static const char *text_of(const json *v, const char *key)
{
    return json_get_string(v, key, "(none)");
}

/* Which edges there are, and that both ends are nodes. */
static const json *edge_between(const json *g, const char *from, const char *to)
{
    const json *edges = json_get(g, "edges");
    for (size_t i = 0; i < json_length(edges); i++)
        if (strcmp(text_of(json_at(edges, i), "from"), from) == 0 &&
            strcmp(text_of(json_at(edges, i), "to"), to) == 0)
            return json_at(edges, i);
    fail_msg("there is no edge from %s to %s", from, to);
    return NULL;
}

#define SHAPE                                                                                                \
    "{sae:s,latent:i,label:s?,meta:s?,explained_variance:n?,nodes:[{sae:s,latent:i,label:s?,role:s}]+,"      \
    "edges:[{from:s,to:s,weight:n,link:s}]}"

/* Row 40 of "big" is 0.6 of row 0 and 0.8 of row 1; the meta-SAE's first 12 rows are those of "big",
 * threshold 0.1 below. */
static void test_json(void **state)
{
    (void)state;
    json *g = PROGRAM_JSON("graph", "big/40"), *d = PROGRAM_JSON("decompose", "big/40");
    assert_shape(g, SHAPE);
    assert_string_equal(text_of(g, "meta"), "big-meta");
    const json *components = json_get(d, "components");
    assert_true(json_length(components) > 0);
    for (size_t i = 0; i < json_length(components); i++) {
        const json *c = json_at(components, i);
        char *to = xasprintf("big-meta/%lld", json_get_integer(c, "latent", -1));
        const json *e = edge_between(g, "big/40", to);
        assert_true(fabs(json_get_number(e, "weight", NAN) - json_get_number(c, "activation", NAN)) < 1e-6);
        assert_string_equal(text_of(e, "link"), "activation");
        free(to);
    }
    const json *nodes = json_get(g, "nodes");
    assert_string_equal(text_of(json_at(nodes, 0), "role"), "center");
    assert_string_equal(text_of(json_at(nodes, json_length(nodes) - 1), "role"), "relative");
    assert_string_equal(text_of(json_at(nodes, json_length(nodes) - 1), "sae"), "small");
    json *few = PROGRAM_JSON("graph", "big/40", "--parts", "1", "--members", "1", "--relatives", "0");
    assert_int_equal(json_length(json_get(few, "nodes")), 3);
    assert_int_equal(json_length(json_get(few, "edges")), 2);
    json *around_meta = PROGRAM_JSON("graph", "big-meta/1"), *members = PROGRAM_JSON("members", "big-meta/1");
    assert_shape(around_meta, SHAPE);
    assert_true(json_length(json_get(members, "members")) > 0);
    char *first =
        xasprintf("big/%lld", json_get_integer(json_at(json_get(members, "members"), 0), "latent", -1));
    edge_between(around_meta, "big-meta/1", first);
    json *alone = PROGRAM_JSON("graph", "small/2");
    assert_shape(alone, SHAPE);
    assert_int_equal(json_length(json_get(alone, "edges")), 0);
    json *all[] = {g, d, few, around_meta, members, alone};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        json_free(all[i]);
    free(first);
}

static void expect(struct result r, int status, const char *says)
{
    if (r.status != status || !strstr(status ? r.err : r.out, says))
        fail_msg("%d, not %d, or without \"%s\":\n%s%s", r.status, status, says, r.out, r.err);
    result_free(&r);
}

static void test_texts(void **state)
{
    (void)state;
    expect(PROGRAM("graph", "big/40"), 0, "big/40 and its meta-latents in big-meta, explained variance ");
    expect(PROGRAM("graph", "big/40"), 0, "\n├─ 0.70  big-meta/1  ");
    expect(PROGRAM("graph", "big/40"), 0, "\n│  └─ 0.50  big/41  label of number 41\n");
    expect(PROGRAM("graph", "big/40"), 0, "\n└·· 0.60  small/0\n");
    expect(PROGRAM("graph", "big/10"), 0, "\\x1B[31mred<U+202E>"); /* the label of hostile bytes */
    expect(PROGRAM("--tsv", "graph", "big/40"), 0, "from\tto\tweight\tlink\nbig/40\tbig-meta/");
    expect(PROGRAM("graph", "big/40", "--format", "dot"), 0, "graph latent {\n");
    expect(PROGRAM("graph", "big/40", "--format", "svg"), 0, "<svg xmlns=");
    expect(PROGRAM("graph", "big/40", "--format", "json"), 0, "{\"sae\":\"big\",\"latent\":40,");
}

/* -1: there is no such program. */
static int shell(const char *program, const char *line)
{
    char *looked = xasprintf("command -v %s >/dev/null 2>&1", program);
    int status = system(looked) == 0 ? system(line) : -1;
    free(looked);
    return status;
}

static void test_files(void **state)
{
    (void)state;
    size_t n = 0;
    json *made_svg = PROGRAM_JSON("graph", "big/10", "--output", "g.svg");
    char *text = program_read_file("g.svg", &n);
    assert_string_equal(text_of(made_svg, "name"), "big/10");
    assert_string_equal(text_of(made_svg, "kind"), "graph");
    assert_int_equal(json_get_integer(made_svg, "bytes", -1), n);
    free(text);
    PROGRAM_REFUSES(3, SAYS("g.svg is there already", "--replace"), "graph", "big/40", "--output", "g.svg");
    PROGRAM_DONE("graph", "big/40", "--output", "g.svg", "--replace");
    PROGRAM_DONE("graph", "big/10", "--output", "hostile.SVG");
    expect(PROGRAM("graph", "big/10", "--output", "g.dot"), 0, "wrote g.dot, ");
    PROGRAM_DONE("graph", "big/10", "--output", "g.json");
    PROGRAM_DONE("graph", "big/10", "--output", "g.txt", "--format", "dot");
    char *dot = program_read_file("g.dot", NULL), *txt = program_read_file("g.txt", NULL);
    assert_string_equal(dot, txt);
    text = program_read_file("g.json", &n);
    json *file = json_parse(text, n, "g.json", &made);
    assert_non_null(file);
    assert_shape(file, SHAPE);
    PROGRAM_REFUSES(1, SAYS("none/g.svg"), "graph", "big/10", "--output", "none/g.svg");
    free(dot);
    free(txt);
    free(text);
    json_free(file);
    json_free(made_svg);
}

/* By readers that are not ours, where there are any. */
static void test_other_readers(void **state)
{
    (void)state;
    PROGRAM_DONE("graph", "big/10", "--output", "other.svg");
    PROGRAM_DONE("graph", "big/10", "--output", "other.dot");
    int python = shell(
        "python3", "python3 -c 'import sys, xml.etree.ElementTree as e; r = e.parse(\"other.svg\").getroot();"
                   "t = [x.text for x in r.iter(\"{http://www.w3.org/2000/svg}text\")];"
                   "sys.exit(not any(\"\\\\x1B[31mred<U+202E>\" in x for x in t))'");
    int graphviz = shell("dot", "dot -Kdot -Tsvg -o other-dot.svg other.dot");
    if (python == -1 && graphviz == -1)
        SKIP_TEST("neither Python nor Graphviz is there");
    assert_true(python == -1 || python == 0);
    assert_true(graphviz == -1 || graphviz == 0);
}

static void test_refusals(void **state)
{
    (void)state;
    PROGRAM_REFUSES(3, SAYS("small is no meta-SAE of big"), "graph", "big/10", "--meta", "small");
    PROGRAM_REFUSES(3, SAYS("latents 0 to 47"), "graph", "big/48");
    PROGRAM_REFUSES(3, SAYS("no SAE named bgi"), "graph", "bgi/1");
    PROGRAM_REFUSES(2, SAYS("SAE/NUMBER"), "graph", "big");
    PROGRAM_REFUSES(2, SAYS("x.png", "--format svg"), "graph", "big/1", "--output", "x.png");
    PROGRAM_REFUSES(2, SAYS("--output"), "--json", "graph", "big/1", "--format", "svg");
    PROGRAM_REFUSES(2, SAYS("svg"), "graph", "big/1", "--format", "png");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),          cmocka_unit_test(test_texts),    cmocka_unit_test(test_files),
        cmocka_unit_test(test_other_readers), cmocka_unit_test(test_refusals),
    };
    locale_start();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
