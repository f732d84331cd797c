/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokenizers of files, texts to tokens and back. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "tokenizers.h"
#include "unicode_text.h"

char *kind_file(const char *name, const char *extension)
{
    char *file = xasprintf("tokenizer-kinds/%s%s", name, extension), *path = data_path(file);
    free(file);
    return path;
}

/* A folder with that tokenizer.json alone. */
struct tokenizer *read_kind(const char *name)
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

void add_byte_vocabulary(struct strbuf *vocabulary)
{
    for (unsigned b = 0, moved = 0x100; b < 256; b++) {
        int itself = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        strbuf_addf(vocabulary, "\"\\u%04x\": %u, ", itself ? b : moved, b);
        moved += !itself;
    }
}

/* The 256 bytes and one pre-tokenizer before ByteLevel. */
void write_split(const json *split)
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
                       "\"model\": {\"merges\": [], \"vocab\": {");
    add_byte_vocabulary(&text);
    strbuf_adds(&text, "\"ab\": 256}}}");
    free(write_test_file("tokenizer.json", text.data, text.length));
    strbuf_free(&text);
}

struct token_list tokens_of_text(const struct tokenizer *tok, const void *text, size_t n, int specials)
{
    struct error err = {0};
    struct token_list ids = {0};
    struct encoder *e = encoder_new(tok);
    assert_ok(encoder_encode(e, text, n, specials, &ids, &err));
    encoder_free(e);
    return ids;
}

void check_decoded(const struct tokenizer *tok, const void *text, size_t n, const void *wanted,
                   size_t n_wanted)
{
    struct token_list ids = tokens_of_text(tok, text, n, 1);
    struct strbuf back = STRBUF_INIT;
    for (size_t i = 0; i < ids.n; i++) {
        size_t length;
        const void *bytes = tokenizer_token(tok, ids.ids[i], &length);
        strbuf_add(&back, bytes, length);
    }
    assert_int_equal(back.length, n_wanted);
    assert_memory_equal(strbuf_string(&back), wanted, n_wanted);
    strbuf_free(&back);
    token_list_free(&ids);
}

uint64_t token_list_hash(const struct token_list *ids)
{
    uint64_t h = HASH_START;
    for (size_t i = 0; i < ids->n; i++)
        h = hash_number(h, ids->ids[i]);
    return h;
}
