/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the program prints and how it ends, command by command, on a small store that it makes itself. */
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
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

/* ---- Store. ---- */

static void test_makers(void **state)
{
    const struct made *made = *state;
    static const char trained[] =
        "{name:s,steps:i,tokens:i,loss:n,l0:n,explained_variance:n,dead:i,seconds:n,"
        "tokens_per_second:n}";
    assert_shape(made->model, MADE);
    assert_shape(made->text, MADE);
    assert_shape(made->index, MADE);
    assert_shape(made->meta_index, MADE);
    assert_shape(made->sae, trained);
    assert_shape(made->meta, trained);
    assert_is(made->model, "kind", "model");
    assert_is(made->text, "kind", "text");
    assert_is(made->index, "kind", "index");
    assert_int_equal(integer_of(made->sae, "steps"), 40);
    assert_int_equal(integer_of(made->sae, "tokens"), 40 * 256);
    json *two =
        PROGRAM_JSON("train", "sae", "two-a", "two-b", "--model", "lm", "--hook", "blocks.1.hook_mlp_out",
                     "--text", "t", "--width", "16,32", "--k", "4", "--steps", "2", "--batch", "64");
    assert_shape(two, "{saes:[{name:s,steps:i,tokens:i,loss:n,l0:n,explained_variance:n,dead:i,seconds:n,"
                      "tokens_per_second:n}]+}");
    assert_int_equal(json_length(json_get(two, "saes")), 2);
    assert_is(json_at(json_get(two, "saes"), 1), "name", "two-b");
    json_free(two);
    PROGRAM_DONE("remove", "two-a", "--yes");
    PROGRAM_DONE("remove", "two-b", "--yes");
}

static void test_list(void **state)
{
    (void)state;
    json *all = PROGRAM_JSON("list"), *saes = PROGRAM_JSON("list", "saes");
    assert_shape(all,
                 "{models:[{name:s,family:s,layers:i,d_model:i,vocabulary_size:i}]+,"
                 "texts:[{name:s,model:s,tokens:i,documents:i}]+,saes:[{" SAE_FIELDS "}]+,stitches:[x]}");
    const json *text = json_at(json_get(all, "texts"), 0), *m = json_at(json_get(all, "saes"), 0),
               *s = json_at(json_get(all, "saes"), 1), *model = json_at(json_get(all, "models"), 0);
    assert_int_equal(integer_of(text, "documents"), DOCUMENTS);
    assert_int_equal(integer_of(model, "layers"), 4);
    assert_int_equal(integer_of(model, "vocabulary_size"), 8192);
    assert_is(s, "name", "s");
    assert_is(s, "kind", "sae");
    assert_is(s, "hook", HOOK);
    assert_is(s, "model", "lm");
    assert_null(json_get_string(s, "base", NULL));
    assert_int_equal(integer_of(s, "d_in"), 256);
    assert_int_equal(integer_of(s, "d_sae"), WIDTH);
    assert_true(integer_of(s, "indexed_tokens") > 0);
    assert_true(integer_of(s, "indexed_tokens") <= integer_of(text, "tokens"));
    assert_is(m, "kind", "meta");
    assert_is(m, "base", "s");
    assert_shape(saes, "{saes:[{" SAE_FIELDS "}]+}");
    assert_int_equal(json_length(saes), 1);
    json_free(all);
    json_free(saes);
}

static void test_info(void **state)
{
    const struct made *made = *state;
    json *s = PROGRAM_JSON("info", "s"), *t = PROGRAM_JSON("info", "t"), *m = PROGRAM_JSON("info", "m");
    static const char shape[] =
        "{" SAE_FIELDS
        ",k:i?,threshold:n?,apply_b_dec_to_input:b,normalize_activations:s,center_activations:b,"
        "context_size:i?,prepend_bos:b,dtype:s,bytes:i,source:x,training:{architecture:s,width:i,k:i,lr:n,"
        "batch:i,steps:i,"
        "warmup:i,aux_k:i,aux_coefficient:n,dead_after:i,seed:i,tokens:i,loss:n,l0:n,explained_variance:n,"
        "dead:i}}";
    assert_shape(s, shape);
    assert_shape(m, shape);
    assert_int_equal(integer_of(s, "k"), 8);
    assert_int_equal(integer_of(s, "context_size"), 128);
    assert_int_equal(integer_of(json_get(s, "training"), "seed"), 3);
    assert_int_equal(integer_of(json_get(s, "training"), "steps"), 40);
    assert_true(number_of(json_get(s, "training"), "loss") == number_of(made->sae, "loss"));
    assert_true(number_of(json_get(s, "training"), "l0") == number_of(made->sae, "l0"));
    assert_shape(t, "{name:s,kind:s,model:s,tokens:i,documents:i,bytes:i}");
    json_free(s);
    json_free(t);
    json_free(m);
}

static void test_verify_and_jobs(void **state)
{
    const struct made *made = *state;
    json *v = PROGRAM_JSON("verify"), *j = PROGRAM_JSON("jobs");
    assert_shape(v, "{ok:b,problems:[{name:s?,tensor:s?,block:i,message:s}]}");
    assert_true(json_get_boolean(v, "ok", 0));
    assert_shape(j, "{jobs:[{id:i,kind:s,state:s,progress:n,step:i,steps:i,loss:n?,message:s}]+}");
    const json *jobs = json_get(j, "jobs");
    for (size_t i = 0; i < json_length(jobs); i++)
        assert_is(json_at(jobs, i), "state", "done");
    for (size_t i = 0; i < json_length(jobs); i++) {
        const json *job = json_at(jobs, i);
        if (strcmp(json_get_string(job, "title", ""), "train sae s") != 0)
            continue;
        assert_int_equal(integer_of(job, "step"), 40);
        assert_int_equal(integer_of(job, "steps"), 40);
        assert_true(fabs(number_of(job, "loss") - number_of(made->sae, "loss")) < 1e-6);
    }
    json_free(v);
    json_free(j);
}

static void test_rename_and_label(void **state)
{
    (void)state;
    json *r = PROGRAM_JSON("rename", "s", "renamed"), *m = PROGRAM_JSON("info", "m");
    assert_is(r, "name", "renamed");
    assert_is(m, "base", "renamed");
    json_free(r);
    json_free(m);
    PROGRAM_DONE("rename", "renamed", "s");

    json *before = PROGRAM_JSON("label", "s/3"), *set = PROGRAM_JSON("label", "s/3", "mine\tand \"more\"");
    assert_shape(set, "{sae:s,latent:i,label:s}");
    assert_is(set, "label", "mine\tand \"more\"");
    json *after = PROGRAM_JSON("label", "s/3", "--remove");
    assert_string_equal(json_get_string(after, "label", ""), json_get_string(before, "label", ""));
    json_free(before);
    json_free(set);
    json_free(after);
}

static void test_existing_names(void **state)
{
    (void)state;
    char *text = program_path("text.txt");
    PROGRAM_REFUSES(3, SAYS("t", "--replace"), "import", "text", text, "--name", "t", "--model", "lm");
    json *skipped = PROGRAM_JSON("import", "text", text, "--name", "t", "--model", "lm", "--if-absent");
    assert_is(skipped, "name", "t");
    json_free(skipped);
    PROGRAM_DONE("import", "text", text, "--name", "u", "--model", "lm");
    PROGRAM_DONE("import", "text", text, "--name", "u", "--model", "lm", "--replace");
    PROGRAM_REFUSES(3, SAYS("lm", "--cascade"), "remove", "lm", "--yes");
    PROGRAM_REFUSES(1, SAYS("--yes"), "--batch", "remove", "u");
    json *removed = PROGRAM_JSON("remove", "u", "--yes");
    assert_is(removed, "name", "u");
    json_free(removed);
    free(text);
}

/* ---- Texts. ---- */

static void test_encode(void **state)
{
    (void)state;
    static const char shape[] =
        "{sae:s,truncated:b,tokens:[{position:i,id:i,text:s,l0:i,latents:[{latent:i,activation:n}]}]+}";
    json *e = PROGRAM_JSON("encode", "s", "a kind of d\xc3\xa9"),
         *bos = PROGRAM_JSON("encode", "s", "a", "--bos");
    assert_shape(e, shape);
    const json *tokens = json_get(e, "tokens");
    struct strbuf bytes = STRBUF_INIT;
    for (size_t i = 0; i < json_length(tokens); i++) {
        const json *t = json_at(tokens, i), *latents = json_get(t, "latents");
        assert_int_equal(integer_of(t, "position"), i);
        assert_int_equal(json_length(latents), integer_of(t, "l0"));
        for (size_t k = 1; k < json_length(latents); k++)
            assert_true(number_of(json_at(latents, k - 1), "activation") >=
                        number_of(json_at(latents, k), "activation"));
        strbuf_adds(&bytes, json_get_string(t, "bytes", ""));
    }
    assert_int_equal(json_length(json_get(json_at(tokens, 0), "latents")), 0); /* BOS */
    assert_string_equal(strbuf_string(&bytes), "c3a9");                        /* the cut character's */
    assert_false(json_get_boolean(e, "truncated", 1));
    assert_true(integer_of(json_at(json_get(bos, "tokens"), 0), "l0") > 0);
    json_free(e);
    json_free(bos);
    strbuf_free(&bytes);

    struct strbuf longer = STRBUF_INIT;
    for (int i = 0; i < 300; i++)
        strbuf_adds(&longer, " kind");
    json *cut = PROGRAM_JSON("encode", "s", strbuf_string(&longer));
    assert_true(json_get_boolean(cut, "truncated", 0));
    assert_int_equal(json_length(json_get(cut, "tokens")), 128);
    json_free(cut);
    strbuf_free(&longer);
}

static void test_tokenize(void **state)
{
    (void)state;
    program_write_file("piece.txt", " kind of\n\xff", 10);
    char *path = program_path("piece.txt");
    json *t = PROGRAM_JSON("tokenize", "lm", "--file", path);
    assert_shape(t, "{model:s,tokens:[{id:i,text:s}]+}");
    const json *tokens = json_get(t, "tokens"), *last = json_at(tokens, json_length(tokens) - 1);
    assert_is(json_at(tokens, 0), "text", " kind");
    assert_is(last, "text", "\xef\xbf\xbd");
    assert_is(last, "bytes", "ff");
    json_free(t);
    free(path);
}

static void test_evaluate(void **state)
{
    (void)state;
    json *e = PROGRAM_JSON("evaluate", "s", "--text", "t", "--tokens", "2000"),
         *meta = PROGRAM_JSON("evaluate", "m");
    assert_shape(
        e,
        "{sae:s,text:s,tokens:i,metrics:{"
        "model_behavior_preservation:{kl_div_score:n,kl_div_with_ablation:n,kl_div_with_sae:n},"
        "model_performance_preservation:{ce_loss_score:n,ce_loss_with_ablation:n,ce_loss_with_sae:n,"
        "ce_loss_without_sae:n},"
        "reconstruction_quality:{explained_variance:n,explained_variance_legacy:n,mse:n,cossim:n},"
        "shrinkage:{l2_norm_in:n,l2_norm_out:n,l2_ratio:n,relative_reconstruction_bias:n},"
        "sparsity:{l0:n,l1:n},"
        "token_stats:{total_tokens_eval_reconstruction:i,total_tokens_eval_sparsity_variance:i},"
        "misc_metrics:{freq_over_1_percent:n,freq_over_10_percent:n,normalized_freq_over_1_percent:n,"
        "normalized_freq_over_10_percent:n,average_max_encoder_cosine_sim:n,average_max_decoder_cosine_sim:n,"
        "frac_alive:n}}}");
    assert_true(integer_of(e, "tokens") >= 2000);
    assert_shape(meta, "{sae:s,tokens:i,metrics:{reconstruction_quality:{explained_variance:n}}}");
    json_free(e);
    json_free(meta);
}

/* ---- Output and input. ---- */

static void assert_output(struct result r, int status, const char *out)
{
    if (r.status != status || strcmp(r.out, out) != 0)
        print_error("-> %d: %s%s\n", r.status, r.err, r.out);
    assert_int_equal(r.status, status);
    assert_string_equal(r.out, out);
    result_free(&r);
}

static void test_tsv(void **state)
{
    (void)state;
    assert_output(PROGRAM("--tsv", "list", "texts"), 0,
                  "name\tmodel\ttokens\tdocuments\nt\tlm\t12642\t400\n");
    assert_output(PROGRAM("list", "stitches", "--tsv"), 0, "name\tsmall\tlarge\n");
    PROGRAM_DONE("label", "s/2", "a\tb\\c\nd\re\x1b[0m\x7f");
    assert_output(PROGRAM("latents", "s", "--tsv", "--filter", "latent = 2", "--columns", "latent,label"), 0,
                  "latent\tlabel\n2\ta\\tb\\\\c\\nd\\re\\x1b[0m\\x7f\n");
    PROGRAM_DONE("label", "s/2", "--remove");
}

static char *first_line(struct result r)
{
    assert_int_equal(r.status, 0);
    char *line = xstrndup(r.out, strcspn(r.out, "\n"));
    result_free(&r);
    return line;
}

static void test_tsv_of_everything(void **state)
{
    (void)state;
    static const struct {
        const char *words[6], *header;
    } cases[] = {
        {{"latents", "s"}, "latent\tfired\tdensity\tmax\tmean\tmeta_latents\tev\tlabel"},
        {{"contexts", "s/1"}, "context\tposition\toffset\tactivation\tinterval\ttext"},
        {{"logits", "s/1"}, "end\tid\ttoken\tvalue"},
        {{"show", "s/1"}, "sae\tlatent\tlabel\ttokens\tfired\tdensity\tmax\tmean"},
        {{"encode", "s", "a kind"}, "position\tid\ttext\tlatent\tactivation"},
        {{"tokenize", "lm", "a kind"}, "id\ttext"},
        {{"decompose", "s/1"}, "latent\tactivation\tcosine\tlabel"},
        {{"report", "m", "--quick"}, "baseline\tsae\texplained_variance\tmse\tl0"},
        {{"members", "m/1"}, "latent\tactivation\tlabel"},
        {{"neighbors", "s/1"}, "latent\tcosine\tlabel"},
        {{"compare", "s", "s"}, "latent\tnearest\tcosine"},
        {{"family", "s/1"}, "from\tto\tcosine\tshare"},
        {{"search", "kind"}, "sae\tlatent\tscore\tlabel"},
        {{"verify"}, "name\ttensor\tblock\tmessage"},
        {{"label", "s/1"}, "sae\tlatent\tlabel"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *words[8] = {"--tsv"};
        memcpy(words + 1, cases[i].words, sizeof cases[i].words);
        char *line = first_line(program_run(NULL, words));
        assert_string_equal(line, cases[i].header);
        free(line);
    }
    /* Bytes that are no character come back from their escapes. */
    assert_output(PROGRAM("tokenize", "lm", "d\xc3\xa9", "--tsv"), 0,
                  "id\ttext\n67\td\n127\t\\xc3\n102\t\\xa9\n");
}

static void test_text_is_displayable(void **state)
{
    (void)state;
    PROGRAM_DONE("label", "s/2", "\x1b[31mred\xe2\x80\xae");
    struct result r = PROGRAM("latents", "s", "--filter", "latent = 2");
    assert_int_equal(r.status, 0);
    assert_null(strchr(r.out, '\x1b'));
    assert_null(strstr(r.out, "\xe2\x80\xae"));
    assert_non_null(strstr(r.out, "\\x1B[31mred<U+202E>"));
    result_free(&r);
    PROGRAM_DONE("label", "s/2", "--remove");
}

static void test_statuses(void **state)
{
    (void)state;
    PROGRAM_REFUSES(2, SAYS("did you mean `latents`"), "latens", "s");
    PROGRAM_REFUSES(2, SAYS("did you mean --limit"), "latents", "s", "--limt", "3");
    PROGRAM_REFUSES(2, SAYS("--limit"), "latents", "s", "--limit", "many");
    PROGRAM_REFUSES(2, SAYS("quote it"), "encode", "s", "two", "words");
    PROGRAM_REFUSES(2, SAYS("did you mean density"), "latents", "s", "--sort", "densty");
    PROGRAM_REFUSES(2, SAYS("filter"), "latents", "s", "--filter", "density >");
    PROGRAM_REFUSES(2, SAYS("SAE/NUMBER"), "show", "s");
    PROGRAM_REFUSES(2, SAYS("import"), "import");
    PROGRAM_REFUSES(2, SAYS("--name"), "import", "model", "x");
    PROGRAM_REFUSES(3, SAYS("0 to 63"), "show", "s/64");
    PROGRAM_REFUSES(3, SAYS("ss"), "latents", "ss");
    PROGRAM_REFUSES(3, SAYS("no job"), "cancel", "999");
    PROGRAM_REFUSES(3, SAYS("blocks.3.hook_resid_pre"), "train", "sae", "x", "--model", "lm", "--hook",
                    "blocks.3.hook_resid_pr", "--text", "t", "--width", "16");
    PROGRAM_REFUSES(3, SAYS("blocks.9"), "train", "sae", "x", "--model", "lm", "--hook",
                    "blocks.9.hook_resid_pre", "--text", "t", "--width", "16");
    PROGRAM_REFUSES(2, SAYS("terminal"), "explore");
}

#define EMPTY "{\"stitches\":[]}\n"

static void test_scripts(void **state)
{
    (void)state;
    assert_output(PROGRAM("--json", "-c", "list stitches; # a comment\nlist stitches"), 0, EMPTY EMPTY);
    assert_output(PROGRAM("-c", "list stitches --json"), 0, EMPTY);
    assert_output(PROGRAM("list", "stitches", "--json", "--quiet"), 0, EMPTY);
    assert_output(PROGRAM("-c", "list stitches --json | wc -l | tr -d ' '"), 0, "1\n");
    assert_output(PROGRAM_FED("list stitches\nlist stitches\n", "--json", "shell"), 0, EMPTY EMPTY);
    /* The first error stops, or with --keep-going gives the status at the end. */
    assert_output(PROGRAM("--json", "-c", "show s/64; list stitches"), 3, "");
    assert_output(PROGRAM("--json", "--keep-going", "-c", "list stitches; show s/64; nothing; list stitches"),
                  3, EMPTY EMPTY);
    assert_output(PROGRAM_FED("nothing\nlist stitches\n", "--json", "--keep-going", "shell"), 2, EMPTY);
    assert_output(PROGRAM_FED("nothing\nlist stitches\n", "--json", "shell"), 2, "");
}

static void test_script_files(void **state)
{
    (void)state;
    static const char script[] = "# paths are relative to this file\n"
                                 "import text piece.txt --name piece \\\n  --model lm --quiet\n"
                                 "set sae s\nlabel /4 'its label'\nsource inner.saescope\nshow s/64\n";
    static const char inner[] = "list stitches --json\n";
    program_write_file("scripts/a.saescope", script, strlen(script));
    program_write_file("scripts/inner.saescope", inner, strlen(inner));
    program_write_file("scripts/piece.txt", "one\r\n\ntwo\n", 10);
    char *path = program_path("scripts/a.saescope");
    struct result r = PROGRAM("-f", path, "--json");
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(r.out, "\n" EMPTY));
    assert_non_null(strstr(r.err, "a.saescope:7: "));
    result_free(&r);
    json *piece = PROGRAM_JSON("info", "piece"), *label = PROGRAM_JSON("label", "s/4");
    assert_int_equal(integer_of(piece, "documents"), 2);
    assert_is(label, "label", "its label");
    json_free(piece);
    json_free(label);
    PROGRAM_DONE("label", "s/4", "--remove");
    PROGRAM_DONE("remove", "piece", "--yes");
    PROGRAM_REFUSES(3, SAYS("missing.saescope"), "-f", "missing.saescope");
    free(path);
}

/* Text from standard input, and the store that -S names after the command. */
static void test_standard_input(void **state)
{
    (void)state;
    struct result r =
        PROGRAM_FED("some words\nmore\n", "import", "text", "-", "--name", "fed", "--model", "lm", "--quiet");
    assert_int_equal(r.status, 0);
    result_free(&r);
    json *info = PROGRAM_JSON("info", "fed");
    assert_int_equal(integer_of(info, "documents"), 2);
    json_free(info);
    PROGRAM_DONE("remove", "fed", "--yes");
    r = PROGRAM_FED(" kind", "tokenize", "lm", "--file", "-", "--json");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\"text\":\" kind\""));
    result_free(&r);
    char *none = program_path("no-store");
    PROGRAM_REFUSES(4, SAYS("no-store"), "list", "-S", none);
    assert_false(path_exists(none));
    free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_makers),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_verify_and_jobs),
        cmocka_unit_test(test_rename_and_label),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_existing_names),
        cmocka_unit_test(test_tsv),
        cmocka_unit_test(test_tsv_of_everything),
        cmocka_unit_test(test_text_is_displayable),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_script_files),
        cmocka_unit_test(test_standard_input),
    };
    return cmocka_run_group_tests_name("contract", tests, contract_set_up, contract_tear_down);
}
