/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tokenizers of the kinds that models have, against the `tokenizers` library's results
 * (tests/data/tokenizer-kinds, made by tests/reference/tokenizer_kinds.py).
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/tokenizer_internal.h"
#include "tests/support/support.h"
#include "tests/unit/unicode_text.h"

static const char *const kinds[] = {"llama3",           "qwen2",           "neox",          "digits",
                                    "digit_runs",       "llama2",          "llama2_across", "metaspace_first",
                                    "metaspace_always", "metaspace_never", "gemma"};
#define KINDS ARRAY_LENGTH(kinds)
enum {
    LLAMA3,
    QWEN2,
    NEOX,
    DIGITS,
    DIGIT_RUNS,
    LLAMA2,
    ACROSS,
    METASPACE_FIRST,
    METASPACE_ALWAYS,
    METASPACE_NEVER,
    GEMMA
};
static struct tokenizer *tokenizers[KINDS];
static char *texts[512];
static size_t text_lengths[512], n_texts;

static char *kind_file(const char *name, const char *extension)
{
    char *file = xasprintf("tokenizer-kinds/%s%s", name, extension), *path = data_path(file);
    free(file);
    return path;
}

/* A folder with that tokenizer.json alone. */
static struct tokenizer *read_kind(const char *name)
{
    struct error err = {0};
    struct strbuf text = STRBUF_INIT;
    struct tokenizer *tok;
    char *path = kind_file(name, ".json");
    assert_ok(file_read(path, 1 << 20, &text, &err));
    char *copy = write_test_file("tokenizer.json", text.data, text.length);
    assert_ok(tokenizer_read_folder(test_directory, &tok, &err));
    unlink(copy);
    free(copy);
    free(path);
    strbuf_free(&text);
    return tok;
}

static void read_texts(void)
{
    struct error err = {0};
    struct strbuf file = STRBUF_INIT;
    char *path = kind_file("texts", ".jsonl");
    assert_ok(file_read(path, 1 << 20, &file, &err));
    for (char *line = strtok(file.data, "\n"); line; line = strtok(NULL, "\n"), n_texts++) {
        json *text = json_parse(line, strlen(line), path, &err);
        assert_non_null(text);
        assert_true(n_texts < ARRAY_LENGTH(texts));
        text_lengths[n_texts] = json_string_length(text);
        texts[n_texts] = xstrndup(json_string(text, ""), text_lengths[n_texts]);
        json_free(text);
    }
    strbuf_free(&file);
    free(path);
}

static int set_up(void **state)
{
    set_up_directory(state);
    read_texts();
    for (size_t i = 0; i < KINDS; i++)
        tokenizers[i] = read_kind(kinds[i]);
    return 0;
}

static int tear_down(void **state)
{
    for (size_t i = 0; i < KINDS; i++)
        tokenizer_free(tokenizers[i]);
    for (size_t i = 0; i < n_texts; i++)
        free(texts[i]);
    return tear_down_directory(state);
}

static struct token_list encode(const struct tokenizer *tok, const void *text, size_t n)
{
    struct error err = {0};
    struct token_list ids = {0};
    struct encoder *e = encoder_new(tok);
    assert_ok(encoder_encode(e, text, n, 1, &ids, &err));
    encoder_free(e);
    return ids;
}

static struct strbuf decode(const struct tokenizer *tok, const struct token_list *ids)
{
    struct strbuf out = STRBUF_INIT;
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const void *bytes = tokenizer_token(tok, ids->ids[i], &n);
        strbuf_add(&out, bytes, n);
    }
    return out;
}

/* ---- Golden values. ---- */

/* A line of ids. */
static void check_text(struct encoder *e, const char *kind, size_t text, const char *line)
{
    struct error err = {0};
    struct token_list ids = {0};
    size_t at = 0;
    assert_ok(encoder_encode(e, texts[text], text_lengths[text], 1, &ids, &err));
    for (char *end; *line && *line != '\n'; line = *end == ' ' ? end + 1 : end, at++) {
        uint32_t wanted = (uint32_t)strtoul(line, &end, 10);
        if (at >= ids.n || ids.ids[at] != wanted)
            fail_msg("%s, text %zu, token %zu: %ld, not %u", kind, text + 1, at,
                     at < ids.n ? (long)ids.ids[at] : -1, wanted);
    }
    if (at != ids.n)
        fail_msg("%s, text %zu: %zu tokens, not %zu", kind, text + 1, ids.n, at);
    token_list_free(&ids);
}

static const char *const before[] = {
    "",       "",       " ",      "  ",     "a",      "e",    "A",      "1",      "12",     "123 ", "!",
    " !",     "\n",     "\r\n",   "!\n",    " \n ",   "\t",   "'s",     "'S",     "'ll ",   "x'",   " the ",
    "\u2581", "\u4f60", "\u0301", "\u00e9", "<0x41>", "</s>", "<norm>", "<word>", "\u00a0", "_"};
#define CHUNKS_A_HASH 24

/* The hashes of generated text, one a line. */
static void check_characters(struct encoder *e, const char *kind, FILE *golden)
{
    struct error err = {0};
    struct unicode_text u;
    size_t wanted_n, lines = 0;
    unsigned long long wanted;
    int more = 1;
    char *left_out = kind_file("left-out", ".txt");
    unicode_text_open(&u, before, ARRAY_LENGTH(before), NULL);
    unicode_text_leave_out(&u, left_out);
    free(left_out);
    while (more) {
        struct token_list ids = {0};
        for (size_t i = 0; i < CHUNKS_A_HASH && (more = unicode_text_next(&u)); i++)
            assert_ok(encoder_encode(e, u.text.data, u.text.length, 1, &ids, &err));
        if (!ids.n)
            break;
        uint64_t h = HASH_START;
        for (size_t i = 0; i < ids.n; i++)
            h = hash_number(h, ids.ids[i]);
        assert_int_equal(fscanf(golden, "%zu %llx", &wanted_n, &wanted), 2);
        if (ids.n != wanted_n || h != wanted)
            fail_msg("%s, generated text, line %zu: %zu tokens, hash %llx, not %zu, %llx", kind, lines + 1,
                     ids.n, (unsigned long long)h, wanted_n, wanted);
        token_list_free(&ids);
        lines++;
    }
    assert_true(lines > 20);
    unicode_text_close(&u);
}

static void check_kind(size_t kind)
{
    char *path = kind_file(kinds[kind], ".ids"), *line = NULL;
    size_t capacity = 0;
    FILE *golden = fopen(path, "r");
    assert_non_null(golden);
    struct encoder *e = encoder_new(tokenizers[kind]);
    for (size_t i = 0; i < n_texts; i++) {
        assert_true(getline(&line, &capacity, golden) >= 0);
        check_text(e, kinds[kind], i, line);
    }
    check_characters(e, kinds[kind], golden);
    encoder_free(e);
    fclose(golden);
    free(line);
    free(path);
}

static void test_llama3(void **state)
{
    (void)state;
    check_kind(LLAMA3);
}

static void test_qwen2(void **state)
{
    (void)state;
    check_kind(QWEN2);
}

static void test_neox(void **state)
{
    (void)state;
    check_kind(NEOX);
}

static void test_digits(void **state)
{
    (void)state;
    check_kind(DIGITS);
    check_kind(DIGIT_RUNS);
}

static void test_llama2(void **state)
{
    (void)state;
    check_kind(LLAMA2);
    check_kind(ACROSS);
    assert_true(tokenizers[LLAMA2]->words_apart);
    assert_false(tokenizers[ACROSS]->words_apart);
}

static void test_metaspace(void **state)
{
    (void)state;
    check_kind(METASPACE_FIRST);
    check_kind(METASPACE_ALWAYS);
    check_kind(METASPACE_NEVER);
}

static void test_gemma(void **state)
{
    (void)state;
    check_kind(GEMMA);
}

/* ---- Patterns. ---- */

struct ranges {
    const char *text;
    size_t n;
    size_t at[4096]; /* start, length */
};

static int add_range(void *arg, const struct piece *piece, struct error *err)
{
    struct ranges *r = arg;
    (void)err;
    assert_true(r->n + 2 <= ARRAY_LENGTH(r->at));
    r->at[r->n++] = (size_t)((const char *)piece->bytes - r->text);
    r->at[r->n++] = piece->n;
    return STATUS_OK;
}

/* The 256 bytes and one pre-tokenizer before ByteLevel. */
static void write_split(const json *split)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_adds(&text, "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
                       "\"Split\", \"pattern\": {\"Regex\": ");
    json_dump(json_get(split, "pattern"), &text);
    strbuf_adds(&text, "}, \"behavior\": ");
    json_dump(json_get(split, "behavior"), &text);
    strbuf_adds(&text, ", \"invert\": ");
    json_dump(json_get(split, "invert"), &text);
    strbuf_adds(&text, "}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}, "
                       "\"model\": {\"merges\": [], \"vocab\": {\"ab\": 256");
    for (unsigned b = 0, moved = 0x100; b < 256; b++) {
        int itself = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        strbuf_addf(&text, ", \"\\u%04x\": %u", itself ? b : moved, b);
        moved += !itself;
    }
    strbuf_adds(&text, "}}}");
    free(write_test_file("tokenizer.json", text.data, text.length));
    strbuf_free(&text);
}

static void check_split(const json *split, const char *text, size_t n)
{
    struct error err = {0};
    struct tokenizer *tok;
    struct ranges got = {.text = text};
    const json *pieces = json_get(split, "pieces");
    write_split(split);
    assert_ok(tokenizer_read_folder(test_directory, &tok, &err));
    struct cutter *c = cutter_new(tok);
    assert_ok(cutter_run(c, (const uint8_t *)text, n, PLACE_FIRST, 1, add_range, &got, &err));
    for (size_t i = 0; i < got.n && i < json_length(pieces); i++)
        if (got.at[i] != (size_t)json_integer(json_at(pieces, i), -1))
            fail_msg("%s: number %zu is %zu, not %lld", json_get_string(split, "name", ""), i, got.at[i],
                     json_integer(json_at(pieces, i), -1));
    assert_int_equal(got.n, json_length(pieces));
    cutter_free(c);
    tokenizer_free(tok);
}

static void test_patterns(void **state)
{
    (void)state;
    struct error err = {0};
    struct strbuf file = STRBUF_INIT;
    char *path = kind_file("patterns", ".jsonl");
    assert_ok(file_read(path, 1 << 20, &file, &err));
    char *line = strtok(file.data, "\n");
    json *first = json_parse(line, strlen(line), path, &err);
    const json *text = json_get(first, "text");
    size_t lines = 0;
    for (; (line = strtok(NULL, "\n")); lines++) {
        json *split = json_parse(line, strlen(line), path, &err);
        assert_non_null(split);
        check_split(split, json_string(text, ""), json_string_length(text));
        json_free(split);
    }
    assert_true(lines > 40);
    json_free(first);
    strbuf_free(&file);
    free(path);
}

/* ---- Bytes. ---- */

static void assert_decoded(size_t kind, const char *text, size_t n, const char *wanted, size_t n_wanted)
{
    struct token_list ids = encode(tokenizers[kind], text, n);
    struct strbuf back = decode(tokenizers[kind], &ids);
    assert_int_equal(back.length, n_wanted);
    assert_memory_equal(strbuf_string(&back), wanted, n_wanted);
    strbuf_free(&back);
    token_list_free(&ids);
}

/* Where nothing is normalized away, decoding gives the text back. */
static void test_any_bytes_come_back(void **state)
{
    (void)state;
    static const size_t exact[] = {LLAMA3, DIGIT_RUNS, GEMMA, QWEN2, NEOX};
    struct drawing d = {7};
    char bytes[2048];
    for (int round = 0; round < 40; round++) {
        /* ASCII, stray and leading bytes; Latin characters come up whole, and none to compose. */
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)(draw_below(&d, 3) ? draw_below(&d, 128) : 0x80 + draw_below(&d, 0x4C));
        for (size_t k = 0; k < ARRAY_LENGTH(exact); k++)
            assert_decoded(exact[k], bytes, sizeof(bytes), bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)draw_below(&d, 256);
        assert_decoded(LLAMA3, bytes, sizeof(bytes), bytes, sizeof(bytes));
        for (size_t k = 0; k < KINDS; k++) {
            struct token_list ids = encode(tokenizers[k], bytes, sizeof(bytes));
            for (size_t i = 0; i < ids.n; i++)
                assert_true(ids.ids[i] < tokenizer_size(tokenizers[k]));
            token_list_free(&ids);
        }
    }
    for (size_t i = 0; i < n_texts; i++)
        if (!strstr(texts[i], "\u2581"))
            assert_decoded(GEMMA, texts[i], text_lengths[i], texts[i], text_lengths[i]);
    assert_decoded(LLAMA2, "h\xC3\xA9 \n\xFF!", 7, " h\xC3\xA9 \n\xFF!", 8);
    assert_decoded(LLAMA2,
                   "a\xE2\x96\x81"
                   "b",
                   5, " a b", 4);
    assert_decoded(QWEN2, "e\u0301\xFF", 4, "\u00e9\xFF", 3);
}

/* Tokens on both sides of bytes that are none are those of the text by itself. */
static void test_invalid_bytes_are_pieces(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        const struct tokenizer *tok = tokenizers[k];
        struct token_list whole = encode(tok, "the cat\xE2\x96", 9), start = encode(tok, "the cat", 7);
        uint32_t tail[2] = {tok->byte_token[0xE2], tok->byte_token[0x96]};
        assert_int_equal(whole.n, start.n + 2);
        assert_memory_equal(whole.ids, start.ids, start.n * sizeof(*start.ids));
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(whole.ids[start.n + i], tail[i] == TOKEN_NONE ? tok->unknown : tail[i]);
        token_list_free(&whole);
        token_list_free(&start);
    }
}

static void test_long_runs(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    char *text = xmalloc(n + 1);
    text[0] = ' ';
    for (const char *c = "a 1!\n\r"; *c; c++) {
        memset(text + 1, *c, n);
        assert_decoded(LLAMA3, text, n, text, n);
        assert_decoded(QWEN2, text, n, text, n);
        assert_decoded(GEMMA, text, n, text, n);
        assert_decoded(LLAMA2, text + 1, n - 1, text, n); /* the blank is put there */
        assert_decoded(ACROSS, text + 1, n - 1, text, n);
    }
    free(text);
}

/* ---- Parts. ---- */

static size_t check_cuts(size_t kind)
{
    struct error err = {0};
    size_t cuts = 0;
    struct encoder *e = encoder_new(tokenizers[kind]);
    for (size_t i = 0; i < n_texts; i++) {
        struct token_list whole = encode(tokenizers[kind], texts[i], text_lengths[i]);
        for (size_t at = 1; at < text_lengths[i]; at++) {
            struct token_list parts = {0};
            if (!tokenizer_may_cut(tokenizers[kind], (uint8_t *)texts[i], text_lengths[i], at))
                continue;
            assert_ok(encoder_encode_part(e, texts[i], at, 1, 0, &parts, &err));
            assert_ok(encoder_encode_part(e, texts[i] + at, text_lengths[i] - at, 1, 1, &parts, &err));
            if (parts.n != whole.n || memcmp(parts.ids, whole.ids, whole.n * sizeof(*whole.ids)))
                fail_msg("%s, text %zu, cut at %zu", kinds[kind], i + 1, at);
            token_list_free(&parts);
            cuts++;
        }
        token_list_free(&whole);
    }
    encoder_free(e);
    return cuts;
}

static void test_cuts(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        size_t cuts = check_cuts(k);
        /* Not known to be safe: another pattern; tokens of more than a word; an added token that takes blanks
         * in. */
        if (k == DIGIT_RUNS || k == ACROSS || k == NEOX)
            assert_int_equal(cuts, 0);
        else
            assert_true(cuts > 100);
    }
}

/* ---- The store. ---- */

static artifact_id save(struct store *s, const struct tokenizer *tok, const char *first_version)
{
    struct error err = {0};
    artifact_id id;
    assert_ok(store_create(s, ARTIFACT_MODEL, "model", 1, &id, &err));
    assert_ok(tokenizer_save(tok, s, id, &err));
    if (first_version) {
        struct record record = {0, first_version, strlen(first_version)};
        assert_ok(store_put_records(s, id, RECORD_TOKENIZER, &record, 1, &err));
    }
    assert_ok(store_publish(s, id, json_new_object(), &err));
    return id;
}

static int load(struct store *s, artifact_id id, struct tokenizer **tok, struct error *err)
{
    struct store_txn *t = begin_reading(s);
    int status = tokenizer_open(t, id, tok, err);
    store_end(t);
    return status;
}

static void assert_same(const struct tokenizer *a, const struct tokenizer *b)
{
    assert_int_equal(tokenizer_size(a), tokenizer_size(b));
    assert_int_equal(tokenizer_bos(a), tokenizer_bos(b));
    assert_int_equal(tokenizer_eos(a), tokenizer_eos(b));
    for (size_t i = 0; i < n_texts; i++) {
        struct token_list x = encode(a, texts[i], text_lengths[i]), y = encode(b, texts[i], text_lengths[i]);
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.ids, y.ids, x.n * sizeof(*x.ids));
        token_list_free(&x);
        token_list_free(&y);
    }
}

static void test_store(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok;
    struct store *s = open_store("store");
    for (size_t k = 0; k < KINDS; k++) {
        assert_ok(load(s, save(s, tokenizers[k], NULL), &tok, &err));
        assert_same(tokenizers[k], tok);
        tokenizer_free(tok);
    }
    store_close(s);
}

/* What stores made by saescope's first version have. */
static void test_first_version(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *demo, *tok;
    struct store *s = open_store("first");
    char *folder = shipped_file("wordnet-lm");
    assert_ok(tokenizer_read_folder(folder, &demo, &err));
    struct strbuf record = STRBUF_INIT;
    strbuf_adds(&record,
                "{\"type\":\"byte-level BPE\",\"pattern\":\"gpt2\",\"add_prefix_space\":false,\"bos\":8191,"
                "\"eos\":8191,\"added\":[{\"id\":8191,\"flags\":1}],\"bytes\":[");
    for (unsigned b = 0; b < 256; b++)
        strbuf_addf(&record, "%s%u", b ? "," : "", demo->byte_token[b]);
    strbuf_adds(&record, "]}");
    assert_ok(load(s, save(s, demo, record.data), &tok, &err));
    assert_same(demo, tok);
    assert_true(tokenizer_is_special(tok, 8191));
    tokenizer_free(tok);
    assert_int_equal(load(s, save(s, demo, "{\"version\":3}"), &tok, &err), STATUS_STORE);
    assert_says("newer saescope");
    assert_int_equal(load(s, save(s, demo, "{\"version\":2,\"added\":[]}"), &tok, &err), STATUS_STORE);
    assert_says("damaged tokenizer");
    tokenizer_free(demo);
    free(folder);
    strbuf_free(&record);
    store_close(s);
}

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
    write_changed("qwen2", "", "truncation", "null");
    size_t end = tokenizer_size(tokenizers[QWEN2]) - 3;
    check_special("{\"vocab_size\": 700}", "{\"bos_token\": null, \"eos_token\": \"<|im_end|>\"}",
                  (uint32_t)end, (uint32_t)end + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_neox),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_llama2),
        cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_invalid_bytes_are_pieces),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_first_version),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_patterns_give_up),
        cmocka_unit_test(test_bos_and_eos),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
