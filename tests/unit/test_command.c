/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command language: words, invocations, settings, keys, and the writer's three forms. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/command.h"
#include "saescope/command/complete.h"
#include "saescope/command/keymap.h"
#include "saescope/command/lexer.h"
#include "saescope/command/options.h"
#include "saescope/command/parse.h"

/* ---- Words. ---- */

/* The first command of the text as "[word][word]", or "error: MESSAGE". */
static char *lexed(const char *text, const struct settings *settings, int allow_pipe)
{
    struct word_list words;
    struct error err = {0};
    struct strbuf b = STRBUF_INIT;
    size_t offset = 0;
    int line = 1;
    if (lexer_next(text, strlen(text), &offset, &line, settings, allow_pipe, &words, &err) != STATUS_OK)
        strbuf_addf(&b, "error: %s", err.message);
    for (size_t i = 0; i < words.n; i++)
        strbuf_addf(&b, "[%s]", words.words[i]);
    if (words.pipe)
        strbuf_addf(&b, "|%s", words.pipe);
    word_list_free(&words);
    return strbuf_detach(&b);
}

static void assert_words(const char *text, const char *expected)
{
    struct settings *s = settings_new();
    assert_int_equal(settings_set(s, "sae", "wn 4096", NULL), STATUS_OK);
    char *found = lexed(text, s, 1);
    assert_string_equal(found, expected);
    free(found);
    settings_free(s);
}

static void assert_refused(const char *text, const char *part)
{
    struct settings *s = settings_new();
    char *found = lexed(text, s, 0);
    if (strncmp(found, "error: ", 7) != 0 || !strstr(found, part))
        fail_msg("%s gave %s, not an error with '%s'", text, found, part);
    free(found);
    settings_free(s);
}

static void words_are_split(void **state)
{
    (void)state;
    assert_words("  list \t saes \r", "[list][saes]");
    assert_words("a'b c'\"d e\"f g", "[ab cd ef][g]");
    assert_words("'a\\n$sae' \"\"", "[a\\n$sae][]");
    assert_words("\"\\\\ \\\" \\n \\t \\x41 \\u{e9}\\u{1F600} \\$sae\"", "[\\ \" \n \t A é😀 $sae]");
    assert_words("a\\ b \\;c \\\nd", "[a b][;c][d]");
    assert_words("list # a comment", "[list]");
    assert_words("list a#b", "[list][a#b]");
    assert_words("show $sae/3 x${sae}y $ 5$", "[show][wn 4096/3][xwn 4096y][$][5$]");
    assert_words("label a/1 x | grep 'a | b' # not a comment", "[label][a/1][x]| grep 'a | b' # not a comment");
    assert_words("", "");
    assert_words("; list", "");
}

static void wrong_words_are_refused(void **state)
{
    (void)state;
    assert_refused("show 'a", "' is not closed");
    assert_refused("show \"a", "\" is not closed");
    assert_refused("show \"\\q\"", "unknown escape");
    assert_refused("show \"\\x4\"", "two hexadecimal digits");
    assert_refused("show \"\\x00\"", "\\x00");
    assert_refused("show \"\\u{}\"", "code point");
    assert_refused("show \"\\u{d800}\"", "code point");
    assert_refused("show \"\\u{110000}\"", "code point");
    assert_refused("show $nothing", "no setting named nothing");
    assert_refused("show ${sae", "closing brace");
    assert_refused("list | less", "`|` is allowed only");
    assert_refused("a \\", "backslash");
}

static void commands_end_at_semicolons_and_lines(void **state)
{
    static const char text[] = "a 1; b\n\n# c\nd 'x\ny' \\\n z; \"open\ne\nf";
    static const struct {
        const char *words;
        int line;
    } expected[] = {{"a,1", 1}, {"b", 1}, {"", 0}, {"", 0}, {"d,x\ny,z", 4}};
    size_t offset = 0;
    int line = 1;
    struct error err;
    struct word_list words;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        struct strbuf b = STRBUF_INIT;
        assert_int_equal(lexer_next(text, strlen(text), &offset, &line, NULL, 0, &words, &err), STATUS_OK);
        for (size_t k = 0; k < words.n; k++)
            strbuf_addf(&b, "%s%s", k ? "," : "", words.words[k]);
        assert_string_equal(strbuf_string(&b), expected[i].words);
        if (words.n > 0)
            assert_int_equal(words.line, expected[i].line);
        strbuf_free(&b);
        word_list_free(&words);
    }
    /* The open quote takes the rest of the text with it; nothing of it is run. */
    assert_int_equal(lexer_next(text, strlen(text), &offset, &line, NULL, 0, &words, &err), STATUS_USAGE);
    assert_int_equal(words.line, 6);
    assert_int_equal(offset, strlen(text));
    word_list_free(&words);
}

static void quoted_words_are_read_back(void **state)
{
    static const char *const words[] = {"plain", "", "two words", "it's", "\"both\" 'kinds' \\ $sae", "a;b", "#x", "|", "tab\there",
                                        "line\nend"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        struct strbuf b = STRBUF_INIT;
        lexer_quote(&b, words[i]);
        char *expected = xasprintf("[%s]", words[i]);
        assert_words(strbuf_string(&b), expected);
        free(expected);
        strbuf_free(&b);
    }
}

/* ---- Invocations. ---- */

static struct invocation *parsed(const char *text, struct error *err)
{
    struct settings *s = settings_new();
    struct context ctx = {.settings = s};
    struct word_list words;
    struct invocation *inv = NULL;
    size_t offset = 0;
    int line = 1;
    assert_int_equal(lexer_next(text, strlen(text), &offset, &line, s, 0, &words, err), STATUS_OK);
    invocation_from_words(&ctx, words.words, words.n, &inv, err);
    word_list_free(&words);
    settings_free(s);
    return inv;
}

static void assert_usage_error(const char *text, const char *part)
{
    struct error err = {0};
    struct invocation *inv = parsed(text, &err);
    if (inv || err.code != STATUS_USAGE || !strstr(err.message, part))
        fail_msg("%s: status %d, '%s', not one with '%s'", text, err.code, err.message, part);
}

static void options_stand_anywhere(void **state)
{
    struct error err = {0};
    struct invocation *inv = parsed("train --k=16 sae", &err);
    (void)state;
    assert_null(inv); /* the command's words come first */
    inv = parsed("train sae --width 256,1024 a --model m b --hook=blocks.2.hook_resid_pre --text t --k=16 --lr 1e-3 --json --wait", &err);
    assert_non_null(inv);
    assert_string_equal(inv->command->name, "train sae");
    assert_int_equal(inv->n_arguments, 2);
    assert_string_equal(invocation_argument(inv, 0), "a");
    assert_string_equal(invocation_argument(inv, 1), "b");
    assert_null(invocation_argument(inv, 2));
    assert_string_equal(invocation_option(inv, "width"), "256,1024");
    assert_string_equal(invocation_option(inv, "hook"), "blocks.2.hook_resid_pre");
    assert_int_equal(invocation_count(inv, "k", 0), 16);
    assert_int_equal(invocation_count(inv, "batch", 7), 7);
    assert_true(fabs(invocation_number(inv, "lr", 0) - 1e-3) < 1e-12);
    assert_true(inv->json && inv->wait && !inv->tsv && !inv->background);
    assert_false(invocation_flag(inv, "center"));
    invocation_free(inv);
}

static void dashes_end_options(void **state)
{
    struct error err = {0};
    struct invocation *inv = parsed("label a/1 -- --json", &err);
    (void)state;
    assert_non_null(inv);
    assert_string_equal(invocation_argument(inv, 1), "--json");
    assert_false(inv->json);
    invocation_free(inv);
    inv = parsed("bind x ''", &err);
    assert_non_null(inv);
    invocation_free(inv);
    inv = parsed("bind --view latents <C-d> latents wn --sort density", &err);
    assert_non_null(inv);
    assert_string_equal(invocation_option(inv, "view"), "latents");
    assert_int_equal(inv->n_arguments, 5);
    assert_string_equal(invocation_argument(inv, 3), "--sort");
    invocation_free(inv);
}

static void wrong_invocations_say_what_is_meant(void **state)
{
    (void)state;
    assert_usage_error("lst", "did you mean `list`?");
    assert_usage_error("qqqq", "`help` lists them");
    assert_usage_error("import", "model, text");
    assert_usage_error("import foo x", "model, text");
    assert_usage_error("list --jsn", "did you mean --json?");
    assert_usage_error("list -x", "no option");
    assert_usage_error("latents a --limit", "--limit needs a value");
    assert_usage_error("latents a --limit ten", "whole number, not 'ten'");
    assert_usage_error("latents a --limit -1", "whole number, not '-1'");
    assert_usage_error("latents a --reverse=1", "takes no value");
    assert_usage_error("latents a --limit 1 --limit 2", "given twice");
    assert_usage_error("latents", "needs SAE");
    assert_usage_error("search two words", "quote it");
    assert_usage_error("train sae a --model m --hook h --text t", "needs --width");
    assert_usage_error("train sae a --model m --hook h --text t --width 1,x", "not 'x'");
    assert_usage_error("train sae a --model m --hook h --text t --width 1 --normalize loud", "none|average|layer_norm");
    assert_usage_error("list --json --tsv", "exclude each other");
    assert_usage_error("index a --text t --wait --background", "exclude each other");
    assert_usage_error("show ''", "is empty");
    assert_usage_error("list saes \"\\u{202e}\"", "<U+202E>");
}

/* Every command of the table is whole, and found by its own name. */
static void the_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; commands[i]; i++) {
        const struct command *c = commands[i];
        assert_ptr_equal(command_find(c->name), c);
        assert_non_null(c->run);
        assert_non_null(c->summary);
        assert_true(c->group < COMMAND_GROUPS);
        assert_true(c->summary[strlen(c->summary) - 1] != '.');
        int optional = 0, repeated = 0;
        for (const struct argument_spec *a = c->arguments; a && a->name; a++) {
            assert_false(repeated);                 /* nothing behind what repeats */
            assert_true(a->optional || !optional);  /* nothing needed behind what may be missing */
            optional = a->optional;
            repeated = a->repeated;
        }
        for (const struct option_spec *o = c->options; o && o->name; o++) {
            assert_non_null(o->help);
            assert_true(o->type == WORD_FLAG || o->value || o->choices);
            assert_ptr_equal(command_option(c, o->name), o);
            for (const struct option_spec *other = o + 1; other->name; other++)
                assert_string_not_equal(o->name, other->name);
        }
    }
}

/* ---- The program's options. ---- */

/* The arguments of a call; `words` owns their strings. */
static int called(const char *line, struct word_list *words, struct program_arguments *a, struct error *err)
{
    size_t offset = 0;
    int number = 1;
    assert_int_equal(lexer_next(line, strlen(line), &offset, &number, NULL, 0, words, err), STATUS_OK);
    return program_arguments_parse((int)words->n, words->words, a, err);
}

static void program_options_are_taken_out(void **state)
{
    struct program_arguments a;
    struct word_list words;
    struct error err = {0};
    (void)state;
    assert_int_equal(called("saescope -S /store --threads=2 latents a --seed 5 --sort density --quiet --store /new --limit=3",
                            &words, &a, &err),
                     STATUS_OK);
    assert_string_equal(a.store, "/new");
    assert_string_equal(a.threads, "2");
    assert_string_equal(a.seed, "5");
    assert_int_equal(a.n_words, 6);
    assert_string_equal(a.words[2], "--sort");
    assert_string_equal(a.words[4], "--quiet"); /* every command's own */
    assert_string_equal(a.words[5], "--limit=3");
    program_arguments_free(&a);
    word_list_free(&words);

    /* What the command itself has is the command's. */
    assert_int_equal(called("saescope index a --seed 5 --yes -- --threads", &words, &a, &err), STATUS_OK);
    assert_null(a.seed);
    assert_null(a.threads);
    assert_int_equal(a.n_words, 7);
    program_arguments_free(&a);
    word_list_free(&words);

    assert_int_equal(called("saescope -c list -cjobs -f -", &words, &a, &err), STATUS_OK);
    assert_int_equal(a.n_inputs, 3);
    assert_string_equal(a.inputs[1].text, "jobs");
    assert_true(a.inputs[2].is_file && !a.inputs[1].is_file);
    program_arguments_free(&a);
    word_list_free(&words);
}

static void wrong_program_options_are_refused(void **state)
{
    static const char *const lines[][2] = {
        {"saescope --thread 2 list", "did you mean --threads?"}, {"saescope --color sometimes", "auto|always|never"},
        {"saescope --threads two list", "whole number"},         {"saescope --quiet=1 list", "takes no value"},
        {"saescope -S", "-store needs a value"},                 {"saescope -c list jobs", "quote"},
        {"saescope --json --tsv list", "exclude each other"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        struct program_arguments a;
        struct word_list words;
        struct error err = {0};
        assert_int_equal(called(lines[i][0], &words, &a, &err), STATUS_USAGE);
        if (!strstr(err.message, lines[i][1]))
            fail_msg("%s: %s", lines[i][0], err.message);
        word_list_free(&words);
    }
}

/* ---- Settings. ---- */

static void settings_are_checked(void **state)
{
    struct settings *s = settings_new();
    struct error err = {0};
    (void)state;
    assert_int_equal(settings_count(s, "window"), 16);
    assert_int_equal(settings_set(s, "window", "24", &err), STATUS_OK);
    assert_int_equal(settings_count(s, "window"), 24);
    assert_int_equal(settings_set(s, "window", "-1", &err), STATUS_USAGE);
    assert_int_equal(settings_set(s, "window", "24x", &err), STATUS_USAGE);
    assert_int_equal(settings_count(s, "window"), 24);
    assert_int_equal(settings_set(s, "ascii", "yes", &err), STATUS_USAGE);
    assert_int_equal(settings_set(s, "ascii", "on", &err), STATUS_OK);
    assert_true(settings_switch(s, "ascii"));
    assert_int_equal(settings_set(s, "color", "sometimes", &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "auto|always|never"));
    assert_int_equal(settings_set(s, "colour", "never", &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "did you mean color?"));
    assert_null(settings_text(s, "nothing"));
    unsigned changes = settings_changes(s, "screen");
    settings_set(s, "color", "never", &err);
    assert_int_equal(settings_changes(s, "screen"), changes + 1);
    settings_set(s, "color", "never", &err); /* no change */
    assert_int_equal(settings_changes(s, "screen"), changes + 1);
    settings_free(s);
    for (const struct setting_spec *spec = settings_table; spec->name; spec++) {
        s = settings_new();
        assert_int_equal(settings_set(s, spec->name, spec->fallback, &err), STATUS_OK);
        settings_free(s);
    }
}

/* ---- Keys. ---- */

static void keys_have_one_name(void **state)
{
    static const char *const same[][2] = {
        {"j", "j"},          {"J", "J"},          {"<C-d>", "<C-d>"}, {"<c-D>", "<C-d>"}, {"C-d", "<C-d>"}, {"down", "<Down>"},
        {"<Enter>", "<Enter>"}, {" ", "<Space>"}, {"space", "<Space>"}, {"<S-Tab>", "<S-Tab>"}, {"<", "<"}, {"-", "-"},
        {"<M-x>", "<M-x>"}, {"é", "é"}, {"F12", "<F12>"}, {"<C-M-Left>", "<C-M-Left>"},
    };
    static const char *const none[] = {"", "ab", "<Nothing>", "<C->", "<S-a>", "\t", "\xff", "F13"};
    char key[KEY_TEXT_MAX];
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++) {
        assert_int_equal(key_canonical(same[i][0], key, &err), STATUS_OK);
        assert_string_equal(key, same[i][1]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(none); i++)
        if (key_canonical(none[i], key, &err) != STATUS_USAGE)
            fail_msg("'%s' is taken for the key %s", none[i], key);
}

static void bindings_of_a_view_come_first(void **state)
{
    struct keymap *k = keymap_new();
    struct error err;
    (void)state;
    assert_int_equal(keymap_bind(k, NULL, "C-d", "jobs", &err), STATUS_OK);
    assert_int_equal(keymap_bind(k, "latents", "<c-d>", "list", &err), STATUS_OK);
    assert_string_equal(keymap_find(k, "latents", "<C-d>"), "list");
    assert_string_equal(keymap_find(k, "store", "<C-d>"), "jobs");
    assert_int_equal(keymap_bind(k, NULL, "<C-d>", "help", &err), STATUS_OK);
    assert_int_equal(keymap_count(k), 2);
    assert_string_equal(keymap_find(k, "store", "<C-d>"), "help");
    assert_int_equal(keymap_bind(k, NULL, "<C-d>", NULL, &err), STATUS_OK);
    assert_null(keymap_find(k, "store", "<C-d>"));
    keymap_free(k);
}

/* ---- The writer. ---- */

static int sink(void *arg, const char *bytes, size_t n)
{
    strbuf_add(arg, bytes, n);
    return 0;
}

static void write_example(struct writer *w)
{
    static const struct writer_column columns[] = {
        {"latent", NULL, NULL, 0}, {"label", NULL, NULL, 1}, {"mean", "mean act", "%.2f", 0}};
    writer_begin_object(w, NULL);
    writer_string(w, "sae", "a\"b");
    writer_begin_table(w, "latents", columns, ARRAY_LENGTH(columns));
    writer_begin_row(w);
    writer_integer(w, "latent", 3);
    writer_bytes(w, "label", "x\ty\xff\n\\", 6);
    writer_real(w, "mean", 1.0 / 3);
    writer_integer(w, "hidden", 1);
    writer_end_row(w);
    writer_begin_row(w);
    writer_integer(w, "latent", 12345);
    writer_null(w, "label");
    writer_real(w, "mean", NAN);
    writer_end_row(w);
    writer_end_table(w);
    writer_json_only(w, 1);
    writer_begin_array(w, "more");
    writer_boolean(w, NULL, 1);
    writer_real(w, NULL, INFINITY);
    writer_end_array(w);
    writer_json_only(w, 0);
    writer_line(w, "a line");
    writer_end_object(w);
}

static char *written(enum writer_format format, int commit)
{
    struct strbuf b = STRBUF_INIT;
    struct writer *w = writer_new(format, sink, &b);
    struct error err;
    write_example(w);
    if (commit)
        assert_int_equal(writer_commit(w, &err), STATUS_OK);
    else
        writer_discard(w);
    writer_free(w);
    return strbuf_detach(&b);
}

static void results_are_written_in_three_forms(void **state)
{
    char *object = written(WRITE_JSON, 1), *tsv = written(WRITE_TSV, 1), *text = written(WRITE_TEXT, 1);
    (void)state;
    assert_string_equal(object, "{\"sae\":\"a\\\"b\",\"latents\":[{\"latent\":3,\"label\":\"x\\ty\xef\xbf\xbd\\n\\\\\","
                              "\"mean\":0.333333333,\"hidden\":1},{\"latent\":12345,\"label\":null,\"mean\":null}],"
                              "\"more\":[true,null]}\n");
    assert_string_equal(tsv, "latent\tlabel\tmean\n3\tx\\ty\\xff\\n\\\\\t0.333333333\n12345\t\t\n");
    assert_non_null(strstr(text, "latent  label"));
    assert_non_null(strstr(text, "mean act"));
    assert_non_null(strstr(text, "12,345"));
    assert_non_null(strstr(text, "0.33\n"));
    if (!strstr(text, "x\\ty\\xFF\\n\\"))
        fail_msg("%s", text);
    assert_non_null(strstr(text, "a line\n"));
    assert_null(strstr(text, "hidden"));
    assert_null(strstr(text, "more"));
    free(object);
    free(tsv);
    free(text);
    object = written(WRITE_JSON, 0);
    assert_string_equal(object, "");
    free(object);
}

/* ---- Completion. ---- */

/* Candidates of the line with the cursor at its end: "start:word,word,". */
static char *completed(const char *line)
{
    struct settings *s = settings_new();
    struct context ctx = {.settings = s, .store_options = {.path = "/nonexistent/store"}};
    struct strbuf b = STRBUF_INIT;
    size_t start;
    char **words = completion_candidates(&ctx, line, strlen(line), &start);
    strbuf_addf(&b, "%zu:", start);
    for (size_t i = 0; words && words[i]; i++)
        strbuf_addf(&b, "%s,", words[i]);
    completion_free(words);
    settings_free(s);
    return strbuf_detach(&b);
}

static void assert_completed(const char *line, const char *expected)
{
    char *found = completed(line);
    assert_string_equal(found, expected);
    free(found);
}

static void lines_are_completed(void **state)
{
    (void)state;
    assert_completed("lat", "0:latents ,");
    assert_completed("list; sea", "6:search ,");
    assert_completed("import m", "7:model ,");
    assert_completed("train ", "6:sae ,meta ,");
    assert_completed("latents x --sort den", "17:density ,");
    assert_completed("latents x --columns latent,den", "20:latent,density ,");
    assert_completed("latents x --sort=den", "10:--sort=density ,");
    assert_completed("latents x --rev", "10:--reverse ,");
    assert_completed("set col", "4:color ,columns ,");
    assert_completed("set color n", "10:never ,");
    assert_completed("set ascii ", "10:on ,off ,");
    assert_completed("help trai", "5:train ,");
    assert_completed("list sa", "5:saes ,");
    assert_completed("show x", "5:"); /* no store, no names */
    assert_completed("source /de", "7:/dev/,");
    assert_completed("source '/de", "7:/dev/,");
    assert_completed("list | les", "10:");
    assert_completed("pull gpt2-m", "5:gpt2-medium ,");
    assert_completed("pull gpt2-small-res-jb-f", "5:gpt2-small-res-jb-feature-splitting/,");
    assert_completed("pull gpt2-small-res-jb-feature-splitting/8-res_fs4",
                     "5:gpt2-small-res-jb-feature-splitting/8-res_fs49152-jb ,");
    assert_completed("pull gpt2 --import mo", "19:model ,");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split),
        cmocka_unit_test(wrong_words_are_refused),
        cmocka_unit_test(commands_end_at_semicolons_and_lines),
        cmocka_unit_test(quoted_words_are_read_back),
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(dashes_end_options),
        cmocka_unit_test(wrong_invocations_say_what_is_meant),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(program_options_are_taken_out),
        cmocka_unit_test(wrong_program_options_are_refused),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(keys_have_one_name),
        cmocka_unit_test(bindings_of_a_view_come_first),
        cmocka_unit_test(results_are_written_in_three_forms),
        cmocka_unit_test(lines_are_completed),
    };
    locale_start();
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
