/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command language's words; what is quoted is one word again. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/lexer.h"
#include "tests/fuzz/fuzz.h"

static void check_quoted(const char *word)
{
    struct strbuf quoted = STRBUF_INIT;
    struct word_list words = {0};
    struct error err;
    size_t offset = 0;
    int line = 1;
    lexer_quote(&quoted, word);
    FUZZ_CHECK(!lexer_next(strbuf_string(&quoted), quoted.length, &offset, &line, NULL, 0, &words, &err));
    FUZZ_CHECK(words.n == 1 && !strcmp(words.words[0], word));
    word_list_free(&words);
    strbuf_free(&quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct settings *settings;
    if (!settings)
        settings = settings_new();
    /* Lines of a script are C strings. */
    char *text = xstrndup((const char *)data, n);
    size_t length = strlen(text), offset = 0;
    int line = 1, code = STATUS_OK;
    while (!code && offset < length) {
        struct word_list words = {0};
        struct error err;
        size_t before = offset;
        code = lexer_next(text, length, &offset, &line, settings, 1, &words, &err);
        FUZZ_CHECK(offset <= length && (code || offset > before));
        for (size_t i = 0; !code && i < words.n; i++)
            check_quoted(words.words[i]);
        word_list_free(&words);
    }
    struct word_list words = {0};
    lexer_partial(text, length, &words);
    FUZZ_CHECK(words.last_start <= length);
    word_list_free(&words);
    free(text);
    return 0;
}
