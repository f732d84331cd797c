/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "tests/unit/tokenizer_fixture.h"

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
