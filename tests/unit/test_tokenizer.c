/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tokenizers, against the `tokenizers` library's results (tests/data/tokenizer, made by
 * tests/reference/tokenizer.py).
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "tests/support/tokenizers.h"
#include "tests/support/unicode_text.h"

static struct tokenizer *demo;

static int set_up(void **state)
{
    struct error err = {0};
    char *folder = shipped_file("wordnet-lm");
    set_up_directory(state);
    assert_ok(tokenizer_read_folder(folder, &demo, &err));
    free(folder);
    return 0;
}

static int tear_down(void **state)
{
    tokenizer_free(demo);
    return tear_down_directory(state);
}

static void assert_round_trip(const struct tokenizer *tok, const void *text, size_t n)
{
    check_decoded(tok, text, n, text, n);
}

/* ---- Golden values. ---- */

struct boundaries {
    size_t n, at[512];
};

static int add_boundary(void *arg, const struct piece *piece, struct error *err)
{
    struct boundaries *b = arg;
    (void)err;
    assert_true(b->n < ARRAY_LENGTH(b->at));
    assert_int_equal(piece->added, TOKEN_NONE);
    b->at[b->n] = (b->n ? b->at[b->n - 1] : 0) + piece->n;
    b->n++;
    return STATUS_OK;
}

static void check_pieces(const json *text, const json *lengths)
{
    struct error err = {0};
    struct boundaries got = {0};
    struct cutter *c = cutter_new(demo);
    assert_ok(cutter_run(c, (const uint8_t *)json_string(text, ""), json_string_length(text), PLACE_FIRST, 0,
                         add_boundary, &got, &err));
    assert_int_equal(got.n, json_length(lengths));
    for (size_t i = 0, at = 0; i < got.n; i++) {
        at += (size_t)json_integer(json_at(lengths, i), 0);
        assert_int_equal(got.at[i], at);
    }
    cutter_free(c);
}

static void test_phrases(void **state)
{
    (void)state;
    char *path = data_path("tokenizer/phrases.jsonl");
    size_t n;
    json **phrases = read_json_lines(path, &n);
    for (size_t line = 0; line < n; line++) {
        const json *text = json_get(phrases[line], "text"), *golden = json_get(phrases[line], "ids");
        struct token_list ids = tokens_of_text(demo, json_string(text, ""), json_string_length(text), 1);
        assert_int_equal(ids.n, json_length(golden));
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(ids.ids[i], json_integer(json_at(golden, i), -1));
        token_list_free(&ids);
        check_pieces(text, json_get(phrases[line], "pieces"));
    }
    assert_true(n > 50);
    free_json_lines(phrases, n);
    free(path);
}

static const char *const before[] = {"",   "",    " ",  "a",   "1",    "!",      "  ",     "\n",
                                     "\'", "\'s", " a", "\t ", "the ", "\u3000", "\u00e9", "x1"};
struct pieces {
    const char *text;
    size_t n, at;
    uint64_t hash;
};

static int count_piece(void *arg, const struct piece *piece, struct error *err)
{
    struct pieces *p = arg;
    (void)err;
    assert_memory_equal(piece->bytes, p->text + p->at, piece->n);
    p->at += piece->n;
    p->n++;
    p->hash = hash_number(p->hash, (uint32_t)piece->n);
    return STATUS_OK;
}

static void check_chunk(struct encoder *e, struct cutter *c, const struct strbuf *text, FILE *golden)
{
    struct error err = {0};
    size_t n_pieces, n_ids;
    unsigned long long pieces_hash, ids_hash;
    assert_int_equal(fscanf(golden, "%zu %llx %zu %llx", &n_pieces, &pieces_hash, &n_ids, &ids_hash), 4);
    struct pieces pieces = {text->data, 0, 0, HASH_START};
    assert_ok(
        cutter_run(c, (const uint8_t *)text->data, text->length, PLACE_FIRST, 0, count_piece, &pieces, &err));
    assert_int_equal(pieces.n, n_pieces);
    assert_int_equal(pieces.hash, pieces_hash);
    struct token_list ids = {0};
    assert_ok(encoder_encode(e, text->data, text->length, 1, &ids, &err));
    assert_int_equal(ids.n, n_ids);
    assert_int_equal(token_list_hash(&ids), ids_hash);
    token_list_free(&ids);
    assert_round_trip(demo, text->data, text->length);
}

static void test_every_character(void **state)
{
    (void)state;
    char *path = data_path("tokenizer/unicode.txt");
    FILE *golden = fopen(path, "r");
    assert_non_null(golden);
    size_t n_chunks, chunks = 0, bytes = 0;
    struct unicode_text u;
    struct encoder *e = encoder_new(demo);
    struct cutter *c = cutter_new(demo);
    unicode_text_open(&u, before, ARRAY_LENGTH(before), golden);
    assert_int_equal(fscanf(golden, " chunks %zu", &n_chunks), 1);
    for (; unicode_text_next(&u); chunks++) {
        bytes += u.text.length;
        check_chunk(e, c, &u.text, golden);
    }
    assert_int_equal(chunks, n_chunks);
    assert_true(bytes > 1000000);
    unicode_text_close(&u);
    cutter_free(c);
    encoder_free(e);
    fclose(golden);
    free(path);
}

/* ---- Bytes and runs. ---- */

static void test_invalid_bytes_are_pieces(void **state)
{
    (void)state;
    /* Cut, overlong, surrogate, too large, stray: and valid text between. */
    static const char text[] = "ab\xE2\x82"
                               "cd \xC0\xAF x\xED\xA0\x80"
                               "y\xF4\x90\x80\x80 \xFF\xC3\xA9\xC3";
    static const size_t lengths[] = {2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1};
    struct error err = {0};
    struct cutter *c = cutter_new(demo);
    struct boundaries got = {0};
    assert_ok(
        cutter_run(c, (const uint8_t *)text, sizeof(text) - 1, PLACE_FIRST, 0, add_boundary, &got, &err));
    assert_int_equal(got.n, ARRAY_LENGTH(lengths));
    for (size_t i = 0, at = 0; i < got.n; i++)
        assert_int_equal(got.at[i], at += lengths[i]);
    cutter_free(c);
    assert_round_trip(demo, text, sizeof(text) - 1);
}

static void test_any_bytes_come_back(void **state)
{
    (void)state;
    unsigned char bytes[4096];
    struct drawing d = {5};
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (unsigned char)(draw_below(&d, 4) ? draw_below(&d, 256) : 0x80 | draw_below(&d, 2));
        assert_round_trip(demo, bytes, sizeof(bytes));
    }
}

static void test_long_runs(void **state)
{
    (void)state;
    struct drawing d = {6};
    size_t n = 1 << 20;
    char *text = xmalloc(n);
    for (const char *c = "a 1!\n"; *c; c++) {
        memset(text, *c, n);
        assert_round_trip(demo, text, n);
    }
    /* Characters of two bytes, and a whole piece of noise. */
    for (size_t i = 0; i < n; i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    assert_round_trip(demo, text, n);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + draw_below(&d, 26));
    assert_round_trip(demo, text, n);
    free(text);
}

static void test_specials(void **state)
{
    (void)state;
    assert_int_equal(tokenizer_size(demo), 8192);
    assert_int_equal(tokenizer_bos(demo), 8191);
    assert_int_equal(tokenizer_eos(demo), 8191);
    assert_true(tokenizer_is_special(demo, 8191));
    assert_false(tokenizer_is_special(demo, 100));
    struct token_list with = tokens_of_text(demo, "a<|endoftext|>b", 15, 1),
                      without = tokens_of_text(demo, "a<|endoftext|>b", 15, 0);
    assert_int_equal(with.n, 3);
    assert_int_equal(with.ids[1], 8191);
    for (size_t i = 0; i < without.n; i++)
        assert_int_not_equal(without.ids[i], 8191);
    token_list_free(&with);
    token_list_free(&without);
}

/* Wherever the tokenizer says so, the two halves' pieces are the whole's. */
static void test_cuts(void **state)
{
    (void)state;
    static const char text[] =
        "The cat's   tail,\n\n 12 \xE2\x80\x83 mice\t \xC2\xA0  x\xE3\x80\x80  end <|endoftext|> \xFF "
        "z\xC3\n \n\xE4\xBD\xA0\n\n  y";
    const uint8_t *bytes = (const uint8_t *)text;
    size_t n = sizeof(text) - 1, cuts = 0;
    struct error err = {0};
    struct cutter *c = cutter_new(demo);
    struct boundaries whole = {0}, halves;
    assert_ok(cutter_run(c, bytes, n, PLACE_FIRST, 0, add_boundary, &whole, &err));
    for (size_t at = 1; at < n; at++) {
        if (!tokenizer_may_cut(demo, bytes, n, at))
            continue;
        halves = (struct boundaries){0};
        assert_ok(cutter_run(c, bytes, at, PLACE_FIRST, 0, add_boundary, &halves, &err));
        assert_ok(cutter_run(c, bytes + at, n - at, PLACE_CONTINUES, 0, add_boundary, &halves, &err));
        assert_int_equal(halves.n, whole.n);
        assert_memory_equal(halves.at, whole.at, whole.n * sizeof(whole.at[0]));
        cuts++;
    }
    assert_true(cuts >= 8);
    cutter_free(c);
}

/* ---- Files. ---- */

static void remove_file(const char *name)
{
    char *path = test_path(name);
    unlink(path);
    free(path);
}

static void test_vocabulary_files(void **state)
{
    (void)state;
    struct error err = {0};
    struct strbuf text = STRBUF_INIT;
    const char *const names[] = {"wordnet-lm/vocab.json", "wordnet-lm/merges.txt"};
    for (int i = 0; i < 2; i++) {
        char *path = shipped_file(names[i]);
        strbuf_reset(&text);
        assert_ok(file_read(path, 1 << 20, &text, &err));
        put_test_file(path_base(names[i]), text.data);
        free(path);
    }
    put_test_file("config.json", "{\"vocab_size\": 9000, \"bos_token_id\": null, \"eos_token_id\": [5, 6]}");
    struct tokenizer *tok;
    assert_ok(tokenizer_read_folder(test_directory, &tok, &err));
    assert_int_equal(tokenizer_size(tok), 9000);
    assert_int_equal(tokenizer_bos(tok), 8191);
    assert_int_equal(tokenizer_eos(tok), 5);
    size_t n;
    tokenizer_token(tok, 8999, &n);
    assert_int_equal(n, 0);
    const char phrase[] = "a physicist<|endoftext|> who isn't born in Germany";
    struct token_list a = tokens_of_text(demo, phrase, sizeof(phrase) - 1, 1),
                      b = tokens_of_text(tok, phrase, sizeof(phrase) - 1, 1);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.ids, b.ids, a.n * sizeof(uint32_t));
    token_list_free(&a);
    token_list_free(&b);
    tokenizer_free(tok);
    strbuf_free(&text);
    remove_file("vocab.json");
    remove_file("merges.txt");
    remove_file("config.json");
}

/* A tokenizer.json with the 256 bytes as ids 0 to 255 and what is given. */
static void write_tokenizer(const char *more_vocabulary, const char *merges, const char *more)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_adds(&text, "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, ");
    strbuf_addf(&text, "%s \"model\": {\"type\": \"BPE\", \"merges\": [%s], \"vocab\": {", more, merges);
    add_byte_vocabulary(&text);
    strbuf_addf(&text, "%s}}}", more_vocabulary);
    put_test_file("tokenizer.json", text.data);
    strbuf_free(&text);
}

static void test_added_tokens(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok;
    write_tokenizer(
        "\"ab\": 256, \"abc\": 257", "[\"a\", \"b\"], \"ab c\"",
        "\"added_tokens\": [{\"id\": 258, \"content\": \"<m>\", \"lstrip\": true, \"rstrip\": true},"
        "{\"id\": 259, \"content\": \"<mm>\", \"special\": true}, {\"id\": 260, \"content\": \"<m>x\"}],");
    assert_ok(tokenizer_read_folder(test_directory, &tok, &err));
    assert_int_equal(tokenizer_bos(tok), TOKEN_NONE);
    static const struct {
        const char *text;
        uint32_t ids[8];
        size_t n;
    } cases[] = {
        {"abc abab", {257, 32, 256, 256}, 4},
        {"a \n<m> \xE3\x80\x80z", {97, 258, 122}, 3},
        {"<mm><m>x<m>y", {259, 260, 258, 121}, 4}, /* the longest of those that start first */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct token_list ids = tokens_of_text(tok, cases[i].text, strlen(cases[i].text), 1);
        assert_int_equal(ids.n, cases[i].n);
        assert_memory_equal(ids.ids, cases[i].ids, ids.n * sizeof(uint32_t));
        token_list_free(&ids);
    }
    tokenizer_free(tok);
    remove_file("tokenizer.json");
}

static void assert_refused(const char *says)
{
    struct error err = {0};
    struct tokenizer *tok = NULL;
    assert_int_equal(tokenizer_read_folder(test_directory, &tok, &err), STATUS_REFUSED);
    assert_says(says);
    assert_null(tok);
}

static void test_bad_files(void **state)
{
    (void)state;
    assert_refused("no tokenizer.json");
    put_test_file("tokenizer.json", "{\"model\": ");
    assert_refused("tokenizer.json");
    write_tokenizer("\"ab\": 256", "\"a c\"", "");
    assert_refused("\"ac\", which the vocabulary lacks");
    write_tokenizer("\"ab\": 256", "\"ab\"", "");
    assert_refused("merge 0 is not two tokens");
    write_tokenizer("\"ab\": 256", "7", "");
    assert_refused("merge 0 is not two tokens");
    write_tokenizer("\"ab\": 97", "", "");
    assert_refused("two tokens have the id 97");
    write_tokenizer("\"ab\": -1", "", "");
    assert_refused("\"ab\" is no whole number");
    write_tokenizer("\"ab\": 9223372036854775807", "", "");
    assert_refused("\"ab\" is no whole number");
    write_tokenizer("\"ab\": \"x\"", "", "");
    assert_refused("\"ab\" is no whole number");
    write_tokenizer("\"ab\": 256", "", "\"added_tokens\": [{\"id\": 256, \"content\": \"other\"}],");
    assert_refused("two tokens have the id 256");
    write_tokenizer("\"ab\": 256", "", "\"added_tokens\": [{\"id\": 257, \"content\": \"\"}],");
    assert_refused("added token 257 is empty");
    write_tokenizer("\"ab\": 256", "", "\"normalizer\": {\"type\": \"Lowercase\"},");
    assert_refused("the normalizer \"Lowercase\" is not supported");
    put_test_file("tokenizer.json", "{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}, "
                                    "\"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}");
    assert_refused("some text would have no tokens");
    put_test_file(
        "tokenizer.json",
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}");
    assert_refused("no token for the byte 0x00");
    write_tokenizer("\"ab\": 256", "", "");
    struct error err = {0};
    struct tokenizer *tok = NULL;
    put_test_file("config.json", "{\"vocab_size\": 99999999999}");
    assert_refused("vocab_size");
    put_test_file("config.json", "{\"vocab_size\": 256, \"bos_token_id\": 257}");
    assert_refused("BOS or EOS");
    put_test_file("config.json", "{\"vocab_size\": 300, \"bos_token_id\": 257}");
    assert_ok(tokenizer_read_folder(test_directory, &tok, &err));
    assert_int_equal(tokenizer_size(tok), 300);
    tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phrases),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_invalid_bytes_are_pieces),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_specials),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_vocabulary_files),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
