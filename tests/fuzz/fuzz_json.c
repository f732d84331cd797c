/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <string.h>

#include "saescope/base/json.h"
#include "tests/fuzz/fuzz.h"

/* Writes a value and reads it again. */
static json *rewrite(json *v, struct strbuf *text)
{
    struct error err;
    json_dump(v, text);
    json *reread = json_parse(strbuf_string(text), text->length, "written", &err);
    FUZZ_CHECK(reread);
    json_free(v);
    return reread;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    json *v = json_parse((const char *)data, n, "input", &err);
    if (!v) {
        FUZZ_CHECK(err.code == STATUS_REFUSED);
        return 0;
    }
    /* Whole reals become integers, and −0 becomes 0; after that nothing changes any more. */
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT, third = STRBUF_INIT;
    v = rewrite(rewrite(rewrite(v, &first), &second), &third);
    FUZZ_CHECK(second.length == third.length && !memcmp(second.data, third.data, second.length));
    json_free(v);
    strbuf_free(&first);
    strbuf_free(&second);
    strbuf_free(&third);
    return 0;
}
