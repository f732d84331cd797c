/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What tokenizers are refused for; patterns without end; which tokens are BOS and EOS. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "tests/support/tokenizers.h"

/* ---- What is not supported. ---- */

/* Writes a kind's tokenizer.json with another member; `where` is "" or "model". */
static void write_changed(const char *kind, const char *where, const char *key, const char *value)
{
    struct error err = {0};
    struct strbuf text = STRBUF_INIT;
    char *path = kind_file(kind, ".json");
    json *file = json_parse_file(path, &err), *member = json_parse(value, strlen(value), key, &err);
    assert_non_null(file);
    assert_non_null(member);
    json_set(*where ? json_get(file, where) : file, key, member);
    json_dump(file, &text);
    free(write_test_file("tokenizer.json", text.data, text.length));
    strbuf_free(&text);
    json_free(file);
    free(path);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *where, *key, *value, *says;
    } cases[] = {
        {"qwen2", "", "normalizer", "{\"type\":\"NFKC\"}", "the normalizer \"NFKC\" is not supported"},
        {"qwen2", "", "normalizer",
         "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Strip\"}]}", "\"Strip\""},
        {"qwen2", "", "normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"b\"}",
         "known for strings only"},
        {"qwen2", "", "normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"b\"}",
         "known for strings only"},
        {"qwen2", "", "normalizer", "\"NFC\"", "the normalizer \"\""},
        {"qwen2", "", "pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}",
         "the pre-tokenizer \"BertPreTokenizer\""},
        {"qwen2", "", "pre_tokenizer",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}",
         "behind the pre-tokenizer ByteLevel"},
        {"qwen2", "", "pre_tokenizer", "{\"type\":\"Split\",\"behavior\":\"Other\"}", "behavior \"Other\""},
        {"qwen2", "", "pre_tokenizer", "{\"type\":\"Split\",\"behavior\":\"Isolated\"}", "no pattern"},
        {"qwen2", "", "pre_tokenizer", "{\"type\":\"Metaspace\"}", "no replacement"},
        {"qwen2", "", "pre_tokenizer",
         "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}",
         "prepend_scheme \"last\""},
        {"qwen2", "", "pre_tokenizer", "null", "some text would have no tokens"},
        {"llama2", "model", "type", "\"Unigram\"", "the model \"Unigram\""},
        {"llama2", "model", "type", "\"WordPiece\"", "the model \"WordPiece\""},
        {"llama2", "model", "dropout", "0.1", "dropout"},
        {"llama2", "model", "end_of_word_suffix", "\"</w>\"", "end_of_word_suffix"},
        {"llama2", "model", "ignore_merges", "true", "ignore_merges"},
        {"llama2", "model", "unk_token", "\"<none>\"", "lacks model.unk_token \"<none>\""},
        {"llama2", "model", "merges", "[[\"a\"]]", "merge 0 is not two tokens"},
        {"metaspace_always", "model", "unk_token", "null", "some text would have no tokens"},
        {"metaspace_always", "model", "vocab", "{\"a\":0,\"<unk>\":1,\"a\\u0001b\":70}",
         "which the vocabulary lacks"},
        {"llama2", "", "added_tokens", "[{\"id\":9,\"content\":\"x\\u0000y\"}]", "U+0000"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error err = {0};
        struct tokenizer *tok = NULL;
        write_changed(cases[i].kind, cases[i].where, cases[i].key, cases[i].value);
        assert_int_equal(tokenizer_read_folder(test_directory, &tok, &err), STATUS_REFUSED);
        assert_says(cases[i].says);
    }
}

static int read_pattern(const char *pattern, struct tokenizer **tok, struct error *err)
{
    json *split = json_new_object();
    json_set(split, "pattern", json_new_string(pattern));
    json_set(split, "behavior", json_new_string("Isolated"));
    json_set(split, "invert", json_new_boolean(0));
    write_split(split);
    json_free(split);
    return tokenizer_read_folder(test_directory, tok, err);
}

static void test_refused_patterns(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "\\w+",    "[\\W]", "a\\b",   "(a)\\1",  "(?<name>a)", "a(?i)b",  "[[:alpha:]]",  "[a&&b]",
        "[a[^b]]", "[]a]",  "[^]a]",  "[a",      "(a",         "a)",      "\\p{Nothing}", "\\pL",
        "\\p{L",   "a{3}?", "a{3,2}", "{2}",     "|{2}",       "\\x{}",   "\\xC3",        "\\u12",
        "\\",      "\\K",   "a**{",   "\\p{L&}", "(?m:a)",     "(?x)a b", "[\\H]",        "\\X"};
    for (size_t i = 0; i < ARRAY_LENGTH(patterns); i++) {
        struct error err = {0};
        struct tokenizer *tok = NULL;
        if (read_pattern(patterns[i], &tok, &err) != STATUS_REFUSED)
            fail_msg("%s", patterns[i]);
        assert_says("pattern");
    }
    struct error err = {0};
    struct tokenizer *tok;
    char deep[600];
    memset(deep, '(', 300);
    memset(deep + 300, ')', 299);
    deep[599] = '\0';
    assert_int_equal(read_pattern(deep, &tok, &err), STATUS_REFUSED);
    assert_says("nested so deeply");
}

/* A pattern that tries everything ends with an error, in time. */
static void test_patterns_give_up(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok;
    struct token_list ids = {0};
    assert_ok(read_pattern("(a+a+)+[bd]", &tok, &err));
    struct encoder *e = encoder_new(tok);
    char text[201];
    memset(text, 'a', 200);
    text[200] = 'c';
    assert_int_equal(encoder_encode(e, text, sizeof(text), 1, &ids, &err), STATUS_FAILED);
    assert_says("the tokenizer's pattern gives up");
    assert_ok(encoder_encode(e, "aab", 3, 1, &ids, &err));
    token_list_free(&ids);
    encoder_free(e);
    tokenizer_free(tok);
}

/* ---- BOS and EOS. ---- */

static void check_special(const char *config, const char *names, uint32_t bos, uint32_t eos)
{
    struct error err = {0};
    struct tokenizer *tok;
    static const char *const files[] = {"config.json", "tokenizer_config.json"};
    const char *const contents[] = {config, names};
    char *paths[2] = {NULL, NULL};
    for (size_t i = 0; i < 2; i++)
        if (contents[i])
            paths[i] = write_test_file(files[i], contents[i], strlen(contents[i]));
    assert_ok(tokenizer_read_folder(test_directory, &tok, &err));
    assert_int_equal(tokenizer_bos(tok), bos);
    assert_int_equal(tokenizer_eos(tok), eos);
    tokenizer_free(tok);
    for (size_t i = 0; i < 2; i++) {
        if (paths[i])
            unlink(paths[i]);
        free(paths[i]);
    }
}

static void test_bos_and_eos(void **state)
{
    (void)state;
    write_changed("llama2", "", "truncation", "null");
    check_special(NULL, NULL, TOKEN_NONE, TOKEN_NONE);
    check_special("{\"bos_token_id\": 5, \"eos_token_id\": [6, 7]}", "{\"bos_token\": \"<s>\"}", 5, 6);
    check_special("{}", "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\", \"special\": true}}",
                  1, 2);
    check_special(NULL, "{\"bos_token\": null, \"eos_token\": \"<none>\"}", TOKEN_NONE, TOKEN_NONE);
    /* The last three of its tokens: <|endoftext|>, <|im_start|>, <|im_end|>. */
    struct tokenizer *qwen2 = read_kind("qwen2");
    size_t end = tokenizer_size(qwen2) - 3;
    tokenizer_free(qwen2);
    write_changed("qwen2", "", "truncation", "null");
    check_special("{\"vocab_size\": 700}", "{\"bos_token\": null, \"eos_token\": \"<|im_end|>\"}",
                  (uint32_t)end, (uint32_t)end + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_patterns_give_up),
        cmocka_unit_test(test_bos_and_eos),
    };
    return cmocka_run_group_tests(tests, set_up_directory, tear_down_directory);
}
