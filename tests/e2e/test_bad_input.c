/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Damaged files and wrong names: a clear message, the right status, an unchanged store. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bad_input_store.h"
#include "program.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

/* ---- Files made from good ones. ---- */

/* `text` with its first `from` replaced; malloc'd. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    return xasprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

/* A copy of a safetensors file with a change in its header. */
static void write_tensors(const char *name, const char *good, size_t n, const char *from, const char *to)
{
    struct strbuf file = STRBUF_INIT;
    uint64_t length;
    memcpy(&length, good, sizeof length);
    char *header = xstrndup(good + sizeof length, length), *changed = replaced(header, from, to);
    uint64_t now = strlen(changed);
    strbuf_add(&file, &now, sizeof now);
    strbuf_adds(&file, changed);
    strbuf_add(&file, good + sizeof length + length, n - sizeof length - length);
    program_write_file(name, file.data, file.length);
    strbuf_free(&file);
    free(header);
    free(changed);
}

/* What a table's entry changes, for the message when it is not refused. */
static const char *case_name = "";

static void import_is_refused(const char *const *says)
{
    char *folder = program_path("bad");
    struct result r = PROGRAM("--quiet", "import", "sae", folder, "--name", "bad", "--model", "lm");
    if (r.status == 0)
        print_error("imported with %s\n", case_name);
    result_free(&r);
    PROGRAM_REFUSES(3, says, "import", "sae", folder, "--name", "bad", "--model", "lm");
    free(folder);
}

/* The good SAE's folder with its tensors' header and its configuration changed. */
static void bad_sae(const char *header_from, const char *header_to, const char *config_from,
                    const char *config_to, const char *const *says)
{
    size_t n;
    char *weights = program_read_file("good/sae_weights.safetensors", &n),
         *config = program_read_file("good/cfg.json", NULL);
    write_tensors("bad/sae_weights.safetensors", weights, n, header_from, header_to);
    char *changed = replaced(config, config_from, config_to);
    program_write_file("bad/cfg.json", changed, strlen(changed));
    case_name = *config_to == '{' ? header_to : config_to;
    import_is_refused(says);
    free(weights);
    free(config);
    free(changed);
}

static void test_lying_headers(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"[0,32768]", "[0,99999999]", "W_dec"},                   /* ends outside the file */
        {"[32768,65536]", "[0,32768]", "W_enc"},                  /* two at one place */
        {"[32768,65536]", "[32764,65532]", "W_enc"},              /* overlaps its neighbour */
        {"[32768,65536]", "[65536,32768]", "W_enc"},              /* backwards */
        {"[0,32768]", "[-4,32764]", "W_dec"},                     /* before the data */
        {"[0,32768]", "[0,18446744073709551615]", "safetensors"}, /* 2^64 - 1 */
        {"[0,32768]", "[9223372036854775808,9223372036854808576]", "safetensors"},
        {"\"shape\":[32,256]", "\"shape\":[9223372036854775808,256]", "safetensors"},
        {"\"shape\":[32,256]", "\"shape\":[4611686018427387904,4]", "W_dec"}, /* their product overflows */
        {"\"shape\":[32,256]", "\"shape\":[32,257]", "W_dec"},                /* more numbers than bytes */
        {"\"shape\":[32,256]", "\"shape\":[128,64]", "W_dec"}, /* as many numbers, but not d_sae rows */
        {"\"shape\":[32,256]", "\"shape\":[8192]", "W_dec"},
        {"\"shape\":[32,256]", "\"shape\":[-32,-256]", "W_dec"},
        {"\"shape\":[32,256]", "\"shape\":32", "W_dec"},
        {"\"dtype\":\"F32\"", "\"dtype\":\"F16\"", "W_dec"}, /* half the bytes */
        {"\"dtype\":\"F32\"", "\"dtype\":\"I32\"", "W_dec"}, /* no real numbers */
        {"\"dtype\":\"F32\"", "\"dtype\":\"Q4\"", "Q4"},
        {"\"W_dec\":", "\"W_dek\":", "W_dec"},       /* missing */
        {"\"W_enc\":", "\"W_dec\":", "W_dec"},       /* twice */
        {"{\"W_dec\"", "[\"W_dec\"", "safetensors"}, /* no JSON */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        bad_sae(cases[i].from, cases[i].to, "{", "{", SAYS("bad/sae_weights.safetensors", cases[i].says));
}

static void test_truncated_tensors(void **state)
{
    (void)state;
    size_t n;
    char *weights = program_read_file("good/sae_weights.safetensors", &n),
         *config = program_read_file("good/cfg.json", NULL);
    uint64_t length;
    memcpy(&length, weights, sizeof length);
    const size_t cuts[] = {0, 5, 8, 8 + length / 2, 8 + length, n / 2, n - 1};
    program_write_file("bad/cfg.json", config, strlen(config));
    for (size_t i = 0; i < ARRAY_LENGTH(cuts); i++) {
        program_write_file("bad/sae_weights.safetensors", weights, cuts[i]);
        import_is_refused(SAYS("bad/sae_weights.safetensors"));
    }
    const uint64_t lengths[] = {UINT64_MAX, (uint64_t)1 << 63, n, 0, 1};
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        memcpy(weights, &lengths[i], sizeof lengths[i]);
        program_write_file("bad/sae_weights.safetensors", weights, n);
        import_is_refused(SAYS("bad/sae_weights.safetensors"));
    }
    free(weights);
    free(config);
}

static void test_sae_configurations(void **state)
{
    (void)state;
    bad_sae("{", "{", "\"d_in\": 256", "\"d_in\": 128", SAYS("d_in", "128", "256"));
    bad_sae("{", "{", "\"d_sae\": 32", "\"d_sae\": 64", SAYS("d_sae", "64", "32"));
    bad_sae("{", "{", "\"d_sae\": 32", "\"d_sae\": -1", SAYS("cfg.json", "d_sae"));
    bad_sae("{", "{", "\"d_sae\": 32", "\"d_sae\": \"many\"", SAYS("cfg.json", "d_sae"));
    bad_sae("{", "{", "\"d_sae\": 32,", "", SAYS("cfg.json", "d_sae"));
    bad_sae("{", "{", "\"architecture\": \"jumprelu\"", "\"architecture\": \"jumpreli\"",
            SAYS("cfg.json", "jumpreli"));
    bad_sae("{", "{", "blocks.2.hook_resid_pre", "blocks.7.hook_resid_pre", SAYS("blocks.7.hook_resid_pre"));
    bad_sae("{", "{", "{", "{{", SAYS("cfg.json", "1"));
    bad_sae("{", "{", "{", "", SAYS("cfg.json"));

    char *config = program_path("bad/cfg.json"), *weights = program_path("bad/sae_weights.safetensors"),
         *good_folder = program_path("good");
    unlink(config); /* tensors alone do not say where they belong */
    import_is_refused(SAYS("--hook", "cfg.json"));
    char *good = program_read_file("good/cfg.json", NULL);
    program_write_file("bad/cfg.json", good, strlen(good));
    unlink(weights);
    import_is_refused(SAYS("sae_weights.safetensors"));
    PROGRAM_REFUSES(3, SAYS("nowhere"), "import", "sae", "nowhere", "--name", "bad");
    PROGRAM_REFUSES(3, SAYS("wrong"), "import", "sae", good_folder, "--name", "bad", "--format", "wrong");
    free(good);
    free(good_folder);
    free(config);
    free(weights);
}

/* d_in that fits the tensors but not the model's activations. */
static void test_sae_of_another_width(void **state)
{
    (void)state;
    static const char header[] =
        "{\"W_dec\":{\"dtype\":\"F32\",\"shape\":[32,1],\"data_offsets\":[0,128]},"
        "\"W_enc\":{\"dtype\":\"F32\",\"shape\":[1,32],\"data_offsets\":[128,256]},"
        "\"b_enc\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[256,384]},"
        "\"b_dec\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[384,388]},"
        "\"threshold\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[388,516]}}";
    static const float numbers[516 / sizeof(float)] = {1};
    uint64_t length = strlen(header);
    struct strbuf file = STRBUF_INIT;
    strbuf_add(&file, &length, sizeof length);
    strbuf_adds(&file, header);
    strbuf_add(&file, numbers, sizeof numbers);
    program_write_file("bad/sae_weights.safetensors", file.data, file.length);
    char *config = program_read_file("good/cfg.json", NULL),
         *narrow = replaced(config, "\"d_in\": 256", "\"d_in\": 1");
    program_write_file("bad/cfg.json", narrow, strlen(narrow));
    import_is_refused(SAYS("lm", "256"));
    strbuf_free(&file);
    free(config);
    free(narrow);
}

static void test_nan_weights(void **state)
{
    (void)state;
    size_t n;
    char *weights = program_read_file("good/sae_weights.safetensors", &n),
         *config = program_read_file("good/cfg.json", NULL);
    static const uint32_t values[] = {0x7fc00000, 0x7f800000, 0xff800000}; /* NaN and the infinities */
    uint64_t length;
    memcpy(&length, weights, sizeof length);
    program_write_file("bad/cfg.json", config, strlen(config));
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        memcpy(weights + 8 + length + 4 * 1000, &values[i], 4);
        program_write_file("bad/sae_weights.safetensors", weights, n);
        import_is_refused(SAYS("W_dec"));
    }
    free(weights);
    free(config);
}

/* ---- Models. ---- */

static const char *const model_files[] = {"config.json", "model.safetensors", "tokenizer.json", "vocab.json",
                                          "merges.txt"};

/* A folder of links to the shipped model's files, but for `without`. */
static void link_model(const char *without)
{
    char *folder = program_path("model"), *shipped = shipped_file("wordnet-lm");
    assert_int_equal(remove_tree(folder, NULL), 0);
    assert_int_equal(make_directories(folder, 0755, NULL), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(model_files); i++) {
        if (strstr(without, model_files[i]))
            continue;
        char *from = path_join(shipped, model_files[i]), *to = path_join(folder, model_files[i]);
        assert_int_equal(symlink(from, to), 0);
        free(from);
        free(to);
    }
    free(folder);
    free(shipped);
}

static void model_is_refused(const char *const *says)
{
    char *folder = program_path("model");
    PROGRAM_REFUSES(3, says, "import", "model", folder, "--name", "bad");
    free(folder);
}

/* The shipped model with one change in a text file. */
static void bad_model(const char *file, const char *from, const char *to, const char *const *says)
{
    char *shipped = shipped_file("wordnet-lm"), *path = path_join(shipped, file),
         *name = path_join("model", file);
    struct strbuf text = STRBUF_INIT;
    assert_int_equal(file_read(path, SIZE_MAX >> 1, &text, NULL), 0);
    char *changed = replaced(text.data, from, to);
    link_model(strcmp(file, "tokenizer.json") == 0 ? "tokenizer.json vocab.json" : file);
    program_write_file(name, changed, strlen(changed));
    model_is_refused(says);
    strbuf_free(&text);
    free(shipped);
    free(path);
    free(name);
    free(changed);
}

static void test_models(void **state)
{
    (void)state;
    link_model("config.json");
    model_is_refused(SAYS("config.json"));
    link_model("model.safetensors");
    model_is_refused(SAYS("model.safetensors"));
    link_model("tokenizer.json vocab.json");
    model_is_refused(SAYS("tokenizer.json"));
    link_model("tokenizer.json merges.txt");
    model_is_refused(SAYS("merges.txt"));
    PROGRAM_REFUSES(3, SAYS("nowhere"), "import", "model", "nowhere", "--name", "bad");

    bad_model("config.json", "\"n_layer\": 4", "\"n_layer\": 5", SAYS("h.4."));
    bad_model("config.json", "\"n_embd\": 256", "\"n_embd\": 512", SAYS("512", "256"));
    bad_model("config.json", "\"vocab_size\": 8192", "\"vocab_size\": 8200", SAYS("8200", "8192"));
    bad_model("config.json", "\"n_positions\": 128", "\"n_positions\": 1024", SAYS("wpe", "1024"));
    bad_model("config.json", "\"n_head\": 4", "\"n_head\": 0", SAYS("n_head"));
    bad_model("config.json", "\"n_head\": 4", "\"n_head\": 5", SAYS("5", "256"));
    bad_model("config.json", "\"n_embd\": 256", "\"n_embd\": 9223372036854775807", SAYS("n_embd"));
    bad_model("config.json", "\"model_type\": \"gpt2\"", "\"model_type\": \"gpt9\"", SAYS("gpt9"));
    bad_model("config.json", "gelu_new", "gelu_newer", SAYS("gelu_newer"));
    bad_model("config.json", "}", "", SAYS("config.json"));
    bad_model("tokenizer.json", "\"BPE\"", "\"Unigram\"", SAYS("tokenizer.json", "the model \"Unigram\" is not supported"));
    bad_model("tokenizer.json", "{", "[", SAYS("tokenizer.json"));
}

static void test_model_tensors(void **state)
{
    (void)state;
    char *shipped = shipped_file("wordnet-lm"), *path = path_join(shipped, "model.safetensors");
    struct strbuf file = STRBUF_INIT;
    assert_int_equal(file_read(path, SIZE_MAX >> 1, &file, NULL), 0);
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"\"h.2.mlp.c_fc.weight\"", "\"h.2.mlp.c_fd.weight\"", "h.2.mlp.c_fc.weight"},
        {"\"wpe.weight\": {\"dtype\": \"F16\", \"shape\": [128, 256]",
         "\"wpe.weight\": {\"dtype\": \"F16\", \"shape\": [256, 128]", "wpe.weight"},
        {"[0, 4194304]", "[0, 41943040]", "wte.weight"},
    };
    link_model("model.safetensors");
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        write_tensors("model/model.safetensors", file.data, file.length, cases[i].from, cases[i].to);
        model_is_refused(SAYS("model.safetensors", cases[i].says));
    }
    file.data[file.length - 100] = 0x00; /* F16 NaN somewhere in the last tensor */
    file.data[file.length - 99] = 0x7e;
    program_write_file("model/model.safetensors", file.data, file.length);
    model_is_refused(SAYS("model.safetensors"));
    program_write_file("model/model.safetensors", file.data, file.length / 2);
    model_is_refused(SAYS("model.safetensors"));
    strbuf_free(&file);
    free(shipped);
    free(path);
}

/* ---- Texts. ---- */

/* Every byte comes back, whatever it is: through import's tokens, and through tokenize. */
static void test_invalid_utf8(void **state)
{
    (void)state;
    char bytes[600], *path = program_path("bytes.txt");
    size_t n = 0;
    for (int b = 1; b < 256; b++)
        if (b != '\n' && b != '\r')
            bytes[n++] = (char)b;
    memcpy(bytes + n, "\xc3(\xe2\x82 \xf0\x9f\x98\x80\xed\xa0\x80", 12);
    n += 12;
    program_write_file("bytes.txt", bytes, n);
    PROGRAM_DONE("import", "text", path, "--name", "bytes", "--model", "lm");
    json *info = PROGRAM_JSON("info", "bytes"), *tokens = PROGRAM_JSON("tokenize", "lm", "--file", path);
    struct strbuf back = STRBUF_INIT;
    for (size_t i = 0; i < json_length(json_get(tokens, "tokens")); i++) {
        const json *t = json_at(json_get(tokens, "tokens"), i);
        const char *hex = json_get_string(t, "bytes", NULL);
        unsigned byte;
        if (!hex)
            strbuf_adds(&back, json_get_string(t, "text", ""));
        for (; hex && *hex; hex += 2) {
            assert_int_equal(sscanf(hex, "%2x", &byte), 1);
            strbuf_addc(&back, (char)byte);
        }
    }
    assert_int_equal(back.length, n);
    assert_memory_equal(back.data, bytes, n);
    assert_int_equal(json_get_integer(info, "documents", 0), 1);
    assert_int_equal(json_get_integer(info, "tokens", 0), json_length(json_get(tokens, "tokens")));
    PROGRAM_DONE("remove", "bytes", "--yes");
    strbuf_free(&back);
    json_free(info);
    json_free(tokens);
    free(path);
}

static void test_texts(void **state)
{
    (void)state;
    static const char jsonl[] = "{\"text\":\"one\"}\n{\"text\":7}\n",
                      cut[] = "{\"text\":\"one\"}\n{\"text\":\n";
    char *lines = program_path("lines.jsonl"), *path = program_path("text.txt");
    program_write_file("lines.jsonl", jsonl, strlen(jsonl));
    PROGRAM_REFUSES(3, SAYS("lines.jsonl", "2"), "import", "text", lines, "--name", "bad", "--model", "lm");
    program_write_file("lines.jsonl", cut, strlen(cut));
    PROGRAM_REFUSES(3, SAYS("lines.jsonl", "2"), "import", "text", lines, "--name", "bad", "--model", "lm");
    PROGRAM_REFUSES(3, SAYS("nowhere.txt"), "import", "text", "nowhere.txt", "--name", "bad", "--model",
                    "lm");
    PROGRAM_REFUSES(3, SAYS("did you mean lm"), "import", "text", path, "--name", "bad", "--model", "ln");
    PROGRAM_REFUSES(3, SAYS("a/b"), "import", "text", path, "--name", "a/b", "--model", "lm");
    program_write_file("lines.jsonl", "", 0);
    PROGRAM_REFUSES(3, SAYS("lines.jsonl"), "import", "text", lines, "--name", "bad", "--model", "lm");
    program_write_file("lines.jsonl", "\x1F\x8B\x08 cut", 7);
    PROGRAM_REFUSES(3, SAYS("lines.jsonl"), "import", "text", lines, "--name", "bad", "--model", "lm");
    program_write_file("lines.jsonl", "PAR1", 4);
    PROGRAM_REFUSES(3, SAYS("lines.jsonl: a Parquet file", "to_json"), "import", "text", lines, "--name",
                    "bad", "--model", "lm");
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
    program_write_file("lines.jsonl", pointer, strlen(pointer));
    PROGRAM_REFUSES(3, SAYS("lines.jsonl: a Git LFS pointer", "git lfs pull"), "import", "text", lines,
                    "--name", "bad", "--model", "lm");
    PROGRAM_REFUSES(3, SAYS("lines.jsonl: a Git LFS pointer"), "import", "text", lines, "--name", "bad",
                    "--model", "lm", "--token-type", "u16");
    program_write_file("lines.jsonl", "\1\0\0\x20", 4);
    PROGRAM_REFUSES(3, SAYS("lines.jsonl: token 1 is 8192", "8192"), "import", "text", lines, "--name", "bad",
                    "--model", "lm", "--token-type", "u16");
    PROGRAM_REFUSES(2, SAYS("--token-type", "u16"), "import", "text", lines, "--name", "bad", "--model", "lm",
                    "--token-type", "u8");
    free(lines);
    free(path);
}

/* ---- Names, addresses, hooks, options. ---- */

static void test_unknown(void **state)
{
    (void)state;
    PROGRAM_REFUSES(3, SAYS("32", "s has latents 0 to 31"), "show", "s/32");
    PROGRAM_REFUSES(3, SAYS("s has latents 0 to 31"), "contexts", "s/99999999999999999999999");
    PROGRAM_REFUSES(2, SAYS("s/x"), "logits", "s/x");
    PROGRAM_REFUSES(2, SAYS("set sae"), "neighbors", "/1");
    PROGRAM_DONE("rename", "s", "wordnet-16k");
    PROGRAM_REFUSES(3, SAYS("did you mean wordnet-16k"), "info", "wordnet-61k");
    PROGRAM_REFUSES(3, SAYS("did you mean wordnet-16k"), "show", "wordnet-16/3");
    PROGRAM_REFUSES(3, SAYS("did you mean wordnet-16k"), "neighbors", "m/1", "--in", "wordnet16k");
    PROGRAM_DONE("rename", "wordnet-16k", "s");
    PROGRAM_REFUSES(3, SAYS("blocks.2.hook_resid_pre"), "train", "sae", "x", "--model", "lm", "--hook",
                    "blocks.2.hook_resid_per", "--text", "t", "--width", "16");
    PROGRAM_REFUSES(3, SAYS("blocks.4.hook_mlp_out", "3"), "train", "sae", "x", "--model", "lm", "--hook",
                    "blocks.4.hook_mlp_out", "--text", "t", "--width", "16");
    PROGRAM_REFUSES(2, SAYS("--width"), "train", "sae", "x", "--model", "lm", "--hook", HOOK, "--text", "t",
                    "--with", "16");
    PROGRAM_REFUSES(3, SAYS("batchtopk"), "train", "sae", "x", "--model", "lm", "--hook", HOOK, "--text", "t",
                    "--width", "16", "--arch", "batchtop");
    PROGRAM_REFUSES(2, SAYS("--store"), "--stor", "x", "list");
    PROGRAM_REFUSES(2, SAYS("did you mean `tokenize`"), "tokenise", "lm", "x");
    PROGRAM_REFUSES(3, SAYS("s", "no meta-SAE"), "decompose", "m/1", "--meta", "s");
    PROGRAM_REFUSES(3, SAYS("named x"), "train", "meta", "y", "--sae", "s,x", "--width", "8");
    PROGRAM_REFUSES(2, SAYS("--sae names s twice"), "train", "meta", "y", "--sae", "s,s", "--width", "8");
    PROGRAM_REFUSES(2, SAYS("--sae is empty"), "train", "meta", "y", "--sae", "s,", "--width", "8");
    PROGRAM_REFUSES(2, SAYS("paper|post|dashboard"), "train", "meta", "y", "--sae", "s", "--width", "8", "--preset",
                    "pape");
    PROGRAM_REFUSES(2, SAYS("--alive-density", "less than 1"), "train", "meta", "y", "--sae", "s", "--width", "8",
                    "--alive-density", "1.5");
    PROGRAM_REFUSES(3, SAYS("no decoder row is left"), "train", "meta", "y", "--sae", "s", "--width", "8",
                    "--alive-density", "0.999");
    PROGRAM_REFUSES(3, SAYS("m is a meta-SAE of s, not of m"), "rebuild", "m", "--meta", "m", "--save", "y");
    PROGRAM_REFUSES(3, SAYS("s is no meta-SAE"), "rebuild", "s", "--meta", "s", "--save", "y");
    PROGRAM_REFUSES(3, SAYS("m has latents 0 to 7"), "rebuild", "s", "--meta", "m", "--without", "m/8", "--save", "y");
    PROGRAM_REFUSES(3, SAYS("latent of s, not of m"), "rebuild", "s", "--meta", "m", "--without", "m/1,s/1", "--save",
                    "y");
    PROGRAM_REFUSES(2, SAYS("--save"), "rebuild", "s", "--meta", "m");
    PROGRAM_REFUSES(3, SAYS("already"), "rebuild", "s", "--meta", "m", "--save", "m");
    PROGRAM_REFUSES(3, SAYS("needed by"), "rebuild", "s", "--meta", "m", "--save", "s", "--replace");
    PROGRAM_REFUSES(3, SAYS("m is no meta-SAE of m"), "members", "m/1", "--sae", "m");
    PROGRAM_REFUSES(3, SAYS("s is no meta-SAE"), "members", "s/1", "--sae", "s");
    PROGRAM_REFUSES(2, SAYS("--meta", "--onto"), "decompose", "s/1", "--meta", "m", "--onto", "s");
    PROGRAM_REFUSES(2, SAYS("--onto SAE"), "decompose", "s/1", "--atoms", "3");
    PROGRAM_REFUSES(2, SAYS("1 to 256 atoms"), "decompose", "s/1", "--onto", "s", "--atoms", "257");
    PROGRAM_REFUSES(2, SAYS("1 to 256 atoms"), "decompose", "s/1", "--onto", "s", "--atoms", "0");
    PROGRAM_REFUSES(3, SAYS("no SAE named"), "decompose", "s/1", "--onto", "nothing");
    PROGRAM_REFUSES(3, SAYS("no meta-SAE"), "report", "s");
    PROGRAM_REFUSES(3, SAYS("of s, not of m"), "report", "m", "--text", "t", "--without", "s/1");
    PROGRAM_REFUSES(3, SAYS("m has latents 0 to"), "report", "m", "--text", "t", "--without", "m/99999");
    PROGRAM_REFUSES(2, SAYS("--text"), "report", "m", "--without", "m/1");
    PROGRAM_REFUSES(3, SAYS("m"), "index", "s", "--text", "m");
    PROGRAM_REFUSES(2, SAYS("3 names and 2 widths"), "train", "sae", "x", "y", "z", "--model", "lm", "--hook",
                    HOOK, "--text", "t", "--width", "16,32");
    PROGRAM_REFUSES(2, SAYS("k"), "train", "sae", "x", "--model", "lm", "--hook", HOOK, "--text", "t",
                    "--width", "16", "--k", "17");
    PROGRAM_REFUSES(2, SAYS("width"), "train", "sae", "x", "--model", "lm", "--hook", HOOK, "--text", "t",
                    "--width", "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_lying_headers),
        CASE(test_truncated_tensors),
        CASE(test_sae_configurations),
        CASE(test_sae_of_another_width),
        CASE(test_nan_weights),
        CASE(test_models),
        CASE(test_model_tensors),
        CASE(test_invalid_utf8),
        CASE(test_texts),
        CASE(test_unknown),
    };
    return cmocka_run_group_tests_name("bad input", tests, bad_input_set_up, bad_input_tear_down);
}
