/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <string.h>

#include "saescope/base/json.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    json *v = json_parse((const char *)data, n, "input", &err);
    if (!v) {
        FUZZ_CHECK(err.code == STATUS_REFUSED);
        return 0;
    }
    /* What is written is read again, and is then written alike. */
    struct strbuf once = STRBUF_INIT, again = STRBUF_INIT;
    json_dump(v, &once);
    json *reread = json_parse(strbuf_string(&once), once.length, "written", &err);
    FUZZ_CHECK(reread);
    json_dump(reread, &again);
    FUZZ_CHECK(once.length == again.length && !memcmp(once.data, again.data, once.length));
    json_free(reread);
    json_free(v);
    strbuf_free(&once);
    strbuf_free(&again);
    return 0;
}
