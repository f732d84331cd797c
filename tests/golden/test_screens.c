/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whole screens, text and styles, against tests/golden/screens/NAME.screen. No terminal is needed. With
 * SAESCOPE_UPDATE_SCREENS=1 the files are written instead: look at the differences before you commit them.
 */
#include "config.h"

#include "tiny_store.h"

#include <locale.h>
#include <stdio.h>

#include "saescope/base/display.h"
#include "saescope/command/command.h"
#include "saescope/command/keymap.h"
#include "saescope/tui/tui.h"

enum store_kind { NO_STORE, STORE, STORE_AND_JOBS };

struct screen {
    const char *name;
    enum store_kind store;
    int width, height;
    const char *setting, *value; /* one that differs, or NULL */
    const char *script;
};

static const struct screen screens[] = {
    {"store-missing", NO_STORE, 80, 24, NULL, NULL, ""},
    {"store-80", STORE, 80, 24, NULL, NULL, "keys jj\n"},
    {"store-120", STORE_AND_JOBS, 120, 30, NULL, NULL, "keys G\n"},
    {"store-ascii", STORE_AND_JOBS, 80, 24, "ascii", "on", ""},
    {"store-40", STORE_AND_JOBS, 40, 10, NULL, NULL, ""},
    {"too-small", STORE, 39, 9, NULL, NULL, ""},
    {"resized", STORE, 39, 9, NULL, NULL, "keys jj\nsize 80x12\nkeys j\n"},
    {"search", STORE, 80, 12, NULL, NULL, "keys /STANDARD<Enter>\n"},
    {"jobs-80", STORE_AND_JOBS, 80, 24, NULL, NULL, "keys &\n"},
    {"jobs-160", STORE_AND_JOBS, 160, 40, NULL, NULL, "keys &j\n"},
    {"jobs-ascii", STORE_AND_JOBS, 80, 24, "ascii", "on", "keys &\n"},
    {"job-cancel-asks", STORE_AND_JOBS, 80, 12, NULL, NULL, "keys &c\n"},
    {"help", STORE, 80, 24, NULL, NULL, "keys ?\n"},
    {"help-search", STORE, 80, 24, NULL, NULL, "keys ?/clipboard<Enter>\n"},
    {"palette", STORE, 80, 24, NULL, NULL, "keys <Space>view<Down>\n"},
    {"palette-command", STORE, 80, 12, NULL, NULL, "keys <Space>tokenize<Enter>\n"},
    {"prompt-candidates", STORE, 80, 24, NULL, NULL, "keys :train sae x --a<Tab>\n"},
    {"prompt-long", STORE, 40, 10, NULL, NULL, "keys :search a-long-query-that-does-not-fit-the-line\n"},
    {"prompt-cancelled", STORE, 80, 12, NULL, NULL, "keys :list<Esc>\n"},
    {"unknown-command", STORE, 80, 12, NULL, NULL, "keys :lst<Enter>\n"},
    {"messages", STORE, 80, 12, NULL, NULL, "keys :lst<Enter>:info x<Enter>\nwait\nkeys :messages<Enter>\n"},
    {"output", STORE, 80, 24, NULL, NULL, "keys :list saes<Enter>\nwait\n"},
    {"output-pipe", STORE, 80, 12, NULL, NULL, "keys :list saes | sort -r; set limit 7<Enter>\nwait\n"},
    {"back", STORE, 80, 12, NULL, NULL, "keys jj:list saes<Enter>\nwait\nkeys j<lt>\n"},
    {"forward", STORE, 80, 12, NULL, NULL, "keys jj:list saes<Enter>\nwait\nkeys j<lt>G>\n"},
    {"count", STORE, 80, 12, NULL, NULL, "keys 3<Enter>12\n"},
    {"quit-closes", STORE, 80, 12, NULL, NULL, "keys ?q\n"},
};

static char *golden_path(const char *name)
{
    const char *data = getenv("SAESCOPE_TESTDATA");
    return xasprintf("%s/../golden/screens/%s.screen", data ? data : "tests/data", name);
}

static int no_to_all(void *arg, const char *question)
{
    (void)arg;
    (void)question;
    return 0;
}

/* Runs the script and ends it with a dump into the file "out". */
static void run(const struct screen *s)
{
    static const struct frontend frontend = {.confirm = no_to_all};
    struct context ctx = {.store_options = {.path = TINY}, .frontend = &frontend};
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
    int status = tui_run_script(&ctx, NULL, s->width, s->height, strbuf_string(&script), &err);
    if (status != 0)
        fail_msg("%s: %s", s->name, err.message);
    strbuf_free(&script);
    context_close(&ctx, 0);
    settings_free(ctx.settings);
    keymap_free(ctx.keymap);
}

/* The first line that differs, for the report. */
static void report(const char *name, const char *is, const char *should)
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

static void test_screen(void **state)
{
    const struct screen *s = *state;
    struct error err = {0};
    struct strbuf is = STRBUF_INIT, should = STRBUF_INIT;
    char *path = golden_path(s->name);
    void *none = NULL;
    assert_int_equal(tiny_setup(&none), 0);
    if (s->store != NO_STORE)
        tiny_make(s->store == STORE_AND_JOBS);
    run(s);
    assert_int_equal(file_read("out", 1 << 20, &is, &err), 0);
    if (getenv("SAESCOPE_UPDATE_SCREENS"))
        assert_int_equal(file_write_atomic(path, is.data, is.length, &err), 0);
    if (file_read(path, 1 << 20, &should, &err) != 0)
        fail_msg("%s", err.message);
    if (strcmp(strbuf_string(&is), strbuf_string(&should)) != 0)
        report(s->name, strbuf_string(&is), strbuf_string(&should));
    assert_int_equal(tiny_teardown(&none), 0);
    strbuf_free(&is);
    strbuf_free(&should);
    free(path);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LENGTH(screens)];
    locale_start();
    setenv("TERM", "xterm-256color", 1);
    unsetenv("NO_COLOR");
    setenv("XDG_STATE_HOME", "/nonexistent", 1);
    for (size_t i = 0; i < ARRAY_LENGTH(screens); i++)
        tests[i] =
            (struct CMUnitTest){screens[i].name, test_screen, NULL, NULL, (void *)(uintptr_t)&screens[i]};
    return _cmocka_run_group_tests("screens", tests, ARRAY_LENGTH(tests), NULL, NULL);
}
