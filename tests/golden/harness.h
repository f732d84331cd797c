/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whole screens, text and styles, against tests/golden/screens/NAME.screen, on a store in the working directory. No terminal is
 * needed. With SAESCOPE_UPDATE_SCREENS=1 the files are written instead: look at the differences before you commit them.
 */
#ifndef SAESCOPE_TESTS_HARNESS_H
#define SAESCOPE_TESTS_HARNESS_H

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/command.h"
#include "saescope/command/keymap.h"
#include "saescope/tui/tui.h"

struct screen {
    const char *name, *target;
    int width, height;
    const char *setting, *value; /* one that differs, or NULL */
    const char *script;
};

static const char *screens_store = "store";

static int no_to_all(void *arg, const char *question)
{
    (void)arg;
    (void)question;
    return 0;
}

static char *golden_path(const char *name)
{
    const char *data = getenv("SAESCOPE_TESTDATA");
    return xasprintf("%s/../golden/screens/%s.screen", data ? data : "tests/data", name);
}

/* Runs the script and ends it with a dump into the file "out". */
static void run_screen(const struct screen *s)
{
    static const struct frontend frontend = {.confirm = no_to_all};
    struct context ctx = {.store_options = {.path = screens_store}, .frontend = &frontend};
    struct error err = {0};
    struct strbuf script = STRBUF_INIT;
    ctx.settings = settings_new();
    ctx.keymap = keymap_new();
    if (s->setting)
        assert_int_equal(settings_set(ctx.settings, s->setting, s->value, &err), 0);
    /* "<" is written <lt> here, since it begins a key's name. */
    strbuf_adds(&script, "wait\n");
    for (const char *p = s->script; *p; p += strncmp(p, "<lt>", 4) == 0 ? 4 : 1)
        strbuf_addc(&script, *p);
    strbuf_adds(&script, "wait\ndump out\n");
    int status = tui_run_script(&ctx, s->target, s->width, s->height, strbuf_string(&script), &err);
    if (status != 0)
        fail_msg("%s: %s", s->name, err.message);
    strbuf_free(&script);
    context_close(&ctx, 0);
    settings_free(ctx.settings);
    keymap_free(ctx.keymap);
}

/* The first line that differs, for the report. */
static void report_difference(const char *name, const char *is, const char *should)
{
    int line = 1;
    while (*is && *should) {
        size_t n = strcspn(is, "\n"), m = strcspn(should, "\n");
        if (n != m || memcmp(is, should, n) != 0)
            break;
        is += n + (is[n] == '\n');
        should += m + (should[m] == '\n');
        line++;
    }
    fail_msg("%s.screen, line %d\n   is: %.*s\n should: %.*s", name, line, (int)strcspn(is, "\n"), is,
             (int)strcspn(should, "\n"), should);
}

static void check_screen(const struct screen *s)
{
    struct error err = {0};
    struct strbuf is = STRBUF_INIT, should = STRBUF_INIT;
    char *path = golden_path(s->name);
    run_screen(s);
    assert_int_equal(file_read("out", 1 << 20, &is, &err), 0);
    if (getenv("SAESCOPE_UPDATE_SCREENS"))
        assert_int_equal(file_write_atomic(path, is.data, is.length, &err), 0);
    if (file_read(path, 1 << 20, &should, &err) != 0)
        fail_msg("%s", err.message);
    if (strcmp(strbuf_string(&is), strbuf_string(&should)) != 0)
        report_difference(s->name, strbuf_string(&is), strbuf_string(&should));
    strbuf_free(&is);
    strbuf_free(&should);
    free(path);
}

/* Screens do not depend on where they are drawn. */
static void screens_start(void)
{
    locale_start();
    setenv("TERM", "xterm-256color", 1);
    unsetenv("NO_COLOR");
    setenv("XDG_STATE_HOME", "/nonexistent", 1);
}

#endif
