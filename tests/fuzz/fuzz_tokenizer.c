/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tokenizer.json, or vocab.json and after a zero byte merges.txt; with what they make, the tokens of a text
 * and their bytes; and of parts, where it may be cut. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/tokenizer_internal.h"
#include "tests/fuzz/fuzz.h"

static const char text[] =
    "the cats' low lowest <|endoftext|> \xC3\xA9\xFF 12\n  <s> the\xE2\x96\x81low cat e\xCC\x81 x";

/* Cut in two, it has the same tokens. */
static void check_parts(const struct tokenizer *tok, struct encoder *e, const struct token_list *whole)
{
    struct error err;
    size_t n = strlen(text);
    for (size_t at = 1; at < n; at++) {
        struct token_list parts = {0};
        if (!tokenizer_may_cut(tok, (const uint8_t *)text, n, at))
            continue;
        if (!encoder_encode_part(e, text, at, 1, 0, &parts, &err) &&
            !encoder_encode_part(e, text + at, n - at, 1, 1, &parts, &err))
            FUZZ_CHECK(parts.n == whole->n &&
                       (!parts.n || !memcmp(parts.ids, whole->ids, parts.n * sizeof(*parts.ids))));
        token_list_free(&parts);
    }
}

static void encode(const struct tokenizer *tok)
{
    struct error err;
    struct token_list ids = {0};
    struct strbuf bytes = STRBUF_INIT;
    struct encoder *e = encoder_new(tok);
    if (!encoder_encode(e, text, strlen(text), 1, &ids, &err)) {
        for (size_t i = 0; i < ids.n; i++) {
            size_t n;
            FUZZ_CHECK(ids.ids[i] < tokenizer_size(tok));
            const void *token = tokenizer_token(tok, ids.ids[i], &n);
            strbuf_add(&bytes, token, n);
        }
        check_parts(tok, e, &ids);
    }
    token_list_free(&ids);
    strbuf_free(&bytes);
    encoder_free(e);
}

/* A file in the folder, for what the fuzzed file does not hold. */
static void write_file(const char *name, const uint8_t *data, size_t n)
{
    char *path = path_join(fuzz_folder(), name);
    FILE *f = fopen(path, "w");
    FUZZ_CHECK(f && fwrite(data, 1, n, f) == n && !fclose(f));
    free(path);
}

/* NULL when it is refused. */
static struct tokenizer *read_tokenizer(const uint8_t *data, size_t n)
{
    struct error err;
    struct tokenizer *tok = NULL;
    const uint8_t *zero = memchr(data, 0, n);
    const char *file = zero ? fuzz_link("pair/vocab.json") : fuzz_link("tokenizer.json");
    fuzz_file(data, zero ? (size_t)(zero - data) : n);
    if (zero)
        write_file("pair/merges.txt", zero + 1, n - 1 - (size_t)(zero - data));
    char *folder = xstrndup(file, (size_t)(strrchr(file, '/') - file));
    if (tokenizer_read_folder(folder, &tok, &err))
        tok = NULL;
    free(folder);
    return tok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer *tok = read_tokenizer(data, n);
    if (tok)
        encode(tok);
    tokenizer_free(tok);
    return 0;
}
