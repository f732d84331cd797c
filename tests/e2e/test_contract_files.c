/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is exported, imported again, and imported from elsewhere. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "contract_store.h"
#include "program.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

static void test_exchange(void **state)
{
    (void)state;
    char *folder = program_path("folder"), *labels = program_path("labels.tsv");
    PROGRAM_DONE("export", "sae", "s", folder);
    json *in = PROGRAM_JSON("import", "sae", folder, "--name", "again", "--model", "lm"),
         *again = PROGRAM_JSON("info", "again"), *s = PROGRAM_JSON("info", "s");
    assert_shape(in, MADE);
    static const char *const same[] = {"architecture", "hook", "model"};
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++)
        assert_is(again, same[i], json_get_string(s, same[i], ""));
    assert_true(fabs(number_of(again, "threshold") - number_of(s, "threshold")) < 1e-6);
    json_free(in);
    json_free(again);
    json_free(s);

    PROGRAM_DONE("label", "s/1", "one\ttab");
    PROGRAM_DONE("export", "labels", "s", labels);
    char *text = program_read_file("labels.tsv", NULL);
    assert_ptr_equal(strstr(text, "latent\tlabel\n"), text);
    assert_non_null(strstr(text, "\n1\tone\\ttab\n"));
    free(text);
    PROGRAM_DONE("import", "labels", labels, "--sae", "again");
    json *label = PROGRAM_JSON("label", "again/1");
    assert_is(label, "label", "one\ttab");
    json_free(label);
    PROGRAM_DONE("label", "s/1", "--remove");
    PROGRAM_DONE("remove", "again", "--yes");
    free(folder);
    free(labels);
}

/* An index goes out and comes back to an SAE whose model is not in the store: the page is the same. */
static void check_same_page(const char *latent, const char *other)
{
    json *a = PROGRAM_JSON("show", latent, "--window", "full"),
         *b = PROGRAM_JSON("show", other, "--window", "full");
    static const char *const same[] = {"tokens", "fired", "density", "max", "mean", "histogram"};
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++) {
        struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
        json_dump(json_get(a, same[i]), &x);
        json_dump(json_get(b, same[i]), &y);
        assert_string_equal(x.data, y.data);
        strbuf_free(&x);
        strbuf_free(&y);
    }
    const json *contexts = json_get(a, "contexts"), *others = json_get(b, "contexts");
    assert_true(json_length(contexts) > 0);
    assert_int_equal(json_length(contexts), json_length(others));
    for (size_t i = 0; i < json_length(contexts); i++) {
        const json *x = json_at(contexts, i), *y = json_at(others, i);
        assert_int_equal(integer_of(x, "context"), integer_of(y, "context"));
        assert_int_equal(integer_of(x, "position"), integer_of(y, "position"));
        assert_true(number_of(x, "activation") == number_of(y, "activation"));
        assert_int_equal(json_length(json_get(x, "tokens")), json_length(json_get(y, "tokens")));
        assert_int_equal(json_length(json_get(y, "ids")), json_length(json_get(y, "tokens")));
        assert_true(json_is_null(json_at(json_get(y, "ids"), 0)));
    }
    assert_shape(b, "{logits:{positive:[{token:s,value:n}]+,negative:[{token:s,value:n}]+}}");
    json_free(a);
    json_free(b);
}

static void test_index_exchange(void **state)
{
    (void)state;
    char *folder = program_path("exported"), *bare = program_path("bare"),
         *dashboard = program_path("dashboard");
    json *made = PROGRAM_JSON("export", "index", "s", folder, "--batch", "10");
    assert_shape(made, "{name:s,kind:s,format:s,directory:s,latents:i,contexts:i,files:i,bytes:i,seconds:n}");
    json_free(made);
    PROGRAM_REFUSES(3, SAYS("has batches already", "--replace"), "export", "index", "s", folder);
    PROGRAM_REFUSES(2, SAYS("--gzip"), "export", "index", "s", dashboard, "--format", "saedashboard",
                    "--gzip");
    PROGRAM_DONE("export", "index", "s", dashboard, "--format", "saedashboard");
    PROGRAM_DONE("export", "sae", "s", bare);
    PROGRAM_REFUSES(3, SAYS("import sae"), "import", "index", folder, "--sae", "bare");
    PROGRAM_DONE("import", "sae", bare, "--name", "bare", "--neuronpedia-id", "gpt2-small/8-res-jb");
    made = PROGRAM_JSON("import", "index", folder, "--sae", "bare");
    assert_shape(made, "{name:s,kind:s,latents:i,contexts:i,tokens:i,seconds:n}");
    json_free(made);
    check_same_page("s/1", "bare/1");
    PROGRAM_REFUSES(3, SAYS("has an index already", "--replace"), "import", "index", dashboard, "--sae",
                    "bare");
    PROGRAM_DONE("import", "index", dashboard, "--sae", "bare", "--replace");

    json *labels = PROGRAM_JSON("import", "labels", folder, "--sae", "bare");
    assert_is(labels, "format", "neuronpedia");
    assert_true(integer_of(labels, "labels") > 0);
    json_free(labels);
    char *file = program_path("labels.jsonl");
    PROGRAM_DONE("export", "labels", "bare", file);
    char *text = program_read_file("labels.jsonl", NULL);
    assert_non_null(strstr(text, "{\"modelId\":\"gpt2-small\",\"layer\":\"8-res-jb\",\"index\":\""));
    free(text);
    free(file);

    json *place = PROGRAM_JSON("open", "bare/7");
    assert_shape(place, "{sae:s,latent:i,url:s}");
    assert_is(place, "url", "https://neuronpedia.org/gpt2-small/8-res-jb/7");
    json_free(place);
    PROGRAM_REFUSES(3, SAYS("no neuronpedia_id"), "open", "s/7");
    PROGRAM_REFUSES(3, SAYS("MODEL/SOURCE"), "import", "sae", bare, "--name", "other", "--neuronpedia-id",
                    "x");
    PROGRAM_DONE("remove", "bare", "--yes");
    free(folder);
    free(bare);
    free(dashboard);
}

/* 60 rows in contexts of 20, made of one repeated row; the third number is 1. */
static void test_import_activations(void **state)
{
    enum { ROWS = 60 };
    (void)state;
    json *info = PROGRAM_JSON("info", "s");
    size_t d = (size_t)integer_of(info, "d_in");
    const char *hook = json_get_string(info, "hook", "");
    struct strbuf b = STRBUF_INIT, header = STRBUF_INIT;
    strbuf_addf(&header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %zu), }", ROWS, d);
    while ((11 + header.length) % 64)
        strbuf_addc(&header, ' ');
    strbuf_addc(&header, '\n');
    strbuf_add(&b, "\x93NUMPY\x01\x00", 8);
    strbuf_addc(&b, (char)header.length);
    strbuf_addc(&b, '\0');
    strbuf_add(&b, header.data, header.length);
    for (size_t i = 0; i < ROWS * d; i++)
        strbuf_add(&b, i % d == 2 ? "\0\0\x80\x3f" : "\0\0\0\0", 4);
    program_write_file("rows.npy", b.data, b.length);
    char *path = program_path("rows.npy");
    json *made = PROGRAM_JSON("import", "activations", path, "--name", "cache", "--model", "lm", "--hook",
                              hook, "--context-size", "20");
    assert_shape(made, "{name:s,kind:s,bytes:i,seconds:n}");
    json_free(made);
    PROGRAM_DONE("index", "s", "--text", "cache");
    json *e = PROGRAM_JSON("evaluate", "s", "--text", "cache"), *c = PROGRAM_JSON("contexts", "s/1");
    assert_int_equal(integer_of(e, "tokens"), ROWS);
    assert_shape(json_get(e, "metrics"),
                 "{model_performance_preservation:{ce_loss_score:n?,ce_loss_with_sae:n?},"
                 "reconstruction_quality:{mse:n},sparsity:{l0:n}}");
    assert_true(json_is_null(
        json_get(json_get(json_get(e, "metrics"), "model_performance_preservation"), "ce_loss_with_sae")));
    assert_int_equal(json_length(json_get(c, "contexts")), 0);
    json_free(e);
    json_free(c);
    PROGRAM_DONE("index", "s", "--text", "t");
    PROGRAM_DONE("train", "sae", "cached-sae", "--model", "lm", "--hook", hook, "--text", "cache", "--width",
                 "8", "--steps", "2", "--batch", "16", "--k", "2");
    PROGRAM_REFUSES(3, SAYS("cache holds activations of"), "train", "sae", "no", "--model", "lm", "--hook",
                    "blocks.0.hook_mlp_out", "--text", "cache", "--width", "8", "--k", "2");
    PROGRAM_DONE("remove", "cached-sae", "--yes");
    PROGRAM_DONE("remove", "cache", "--yes");
    strbuf_free(&b);
    strbuf_free(&header);
    json_free(info);
    free(path);
}

/* Tokens instead of text: BOS and EOS (8191) end documents. */
static void test_token_files(void **state)
{
    (void)state;
    static const char narrow[] = "\xFF\x1F\5\0\6\0\xFF\x1F\7\0",
                      wide[] = "\5\0\0\0\xFF\x1F\0\0\7\0\0\0\x8\0\0\0";
    char *path = program_path("ids.bin");
    program_write_file("ids.bin", narrow, sizeof(narrow) - 1);
    PROGRAM_DONE("import", "text", path, "--name", "ids", "--model", "lm");
    program_write_file("ids.bin", wide, sizeof(wide) - 1);
    PROGRAM_DONE("import", "text", path, "--name", "wide", "--model", "lm", "--token-type", "u32");
    json *ids = PROGRAM_JSON("info", "ids"), *of_wide = PROGRAM_JSON("info", "wide");
    assert_int_equal(integer_of(ids, "documents"), 2);
    assert_int_equal(integer_of(ids, "tokens"), 3);
    assert_int_equal(integer_of(of_wide, "documents"), 2);
    assert_int_equal(integer_of(of_wide, "tokens"), 3);
    json_free(ids);
    json_free(of_wide);
    PROGRAM_DONE("remove", "ids", "--yes");
    PROGRAM_DONE("remove", "wide", "--yes");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_index_exchange),
        cmocka_unit_test(test_import_activations),
        cmocka_unit_test(test_token_files),
    };
    return cmocka_run_group_tests_name("contract of files", tests, contract_set_up, contract_tear_down);
}
