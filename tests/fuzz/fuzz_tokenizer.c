/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tokenizer.json, and with what it makes, the tokens of a text and their bytes. */
#include "config.h"

#include <string.h>

#include "saescope/base/strbuf.h"
#include "saescope/model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static void encode(const struct tokenizer *tok)
{
    static const char text[] = "the cats' low lowest <|endoftext|> \xC3\xA9\xFF 12\n";
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
    }
    token_list_free(&ids);
    strbuf_free(&bytes);
    encoder_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    struct tokenizer *tok = NULL;
    fuzz_link("tokenizer.json");
    fuzz_file(data, n);
    if (tokenizer_read_folder(fuzz_folder(), &tok, &err))
        return 0;
    encode(tok);
    tokenizer_free(tok);
    return 0;
}
