/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bad_input_store.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

static char *seen; /* what the store held before a case */

/* Everything a reader can see but jobs, which are records of what was tried. */
static char *look(void)
{
    static const char commands[] =
        "list; verify; info s; info m; info t; latents s --limit 0; latents m --limit 0; show s/1";
    struct result r = PROGRAM("--json", "-c", commands);
    if (r.status != 0)
        print_error("-> %d: %s\n", r.status, r.err);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\"ok\":true"));
    char *out = xstrdup(r.out);
    result_free(&r);
    return out;
}

int before_case(void **state)
{
    (void)state;
    seen = look();
    return 0;
}

int after_case(void **state)
{
    (void)state;
    char *now = look();
    int same = strcmp(now, seen) == 0;
    if (!same)
        print_error("the store changed from\n%s\nto\n%s\n", seen, now);
    free(now);
    free(seen);
    return same ? 0 : -1;
}

int bad_input_set_up(void **state)
{
    (void)state;
    static const char text[] = "A gloss is a short explanation.\nA kind of word is a noun.\n";
    struct strbuf many = STRBUF_INIT;
    program_set_up();
    for (int i = 0; i < 100; i++)
        strbuf_adds(&many, text);
    program_write_file("text.txt", many.data, many.length);
    strbuf_free(&many);
    char *model = shipped_file("wordnet-lm"), *path = program_path("text.txt"), *good = program_path("good");
    PROGRAM_DONE("import", "model", model, "--name", "lm");
    PROGRAM_DONE("import", "text", path, "--name", "t", "--model", "lm");
    PROGRAM_DONE("train", "sae", "s", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "32", "--k",
                 "4", "--steps", "3", "--batch", "64");
    PROGRAM_DONE("train", "meta", "m", "--sae", "s", "--width", "8", "--k", "2", "--steps", "3");
    PROGRAM_DONE("index", "s", "--text", "t");
    PROGRAM_DONE("export", "sae", "s", good);
    free(model);
    free(path);
    free(good);
    return 0;
}

int bad_input_tear_down(void **state)
{
    (void)state;
    program_tear_down();
    return 0;
}
