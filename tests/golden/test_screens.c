/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Screens of the store, jobs, help, the prompt, the palette and commands' output. */
#include "config.h"

#include "harness.h"
#include "tiny_store.h"

enum store_kind { NO_STORE, STORE, STORE_AND_JOBS };

struct store_screen {
    struct screen screen;
    enum store_kind store; /* what there is when it is drawn */
};

static const struct store_screen screens[] = {
    {{"store-missing", NULL, 80, 24, NULL, NULL, ""}, NO_STORE},
    {{"store-80", NULL, 80, 24, NULL, NULL, "keys jj\n"}, STORE},
    {{"store-120", NULL, 120, 30, NULL, NULL, "keys G\n"}, STORE_AND_JOBS},
    {{"store-ascii", NULL, 80, 24, "ascii", "on", ""}, STORE_AND_JOBS},
    {{"store-40", NULL, 40, 10, NULL, NULL, ""}, STORE_AND_JOBS},
    {{"too-small", NULL, 39, 9, NULL, NULL, ""}, STORE},
    {{"resized", NULL, 39, 9, NULL, NULL, "keys jj\nsize 80x12\nkeys j\n"}, STORE},
    {{"search", NULL, 80, 12, NULL, NULL, "keys /STANDARD<Enter>\n"}, STORE},
    {{"jobs-80", NULL, 80, 24, NULL, NULL, "keys &\n"}, STORE_AND_JOBS},
    {{"jobs-160", NULL, 160, 40, NULL, NULL, "keys &j\n"}, STORE_AND_JOBS},
    {{"jobs-ascii", NULL, 80, 24, "ascii", "on", "keys &\n"}, STORE_AND_JOBS},
    {{"job-cancel-asks", NULL, 80, 12, NULL, NULL, "keys &c\n"}, STORE_AND_JOBS},
    {{"help", NULL, 80, 24, NULL, NULL, "keys ?\n"}, STORE},
    {{"help-search", NULL, 80, 24, NULL, NULL, "keys ?/clipboard<Enter>\n"}, STORE},
    {{"palette", NULL, 80, 24, NULL, NULL, "keys <Space>view<Down>\n"}, STORE},
    {{"palette-command", NULL, 80, 12, NULL, NULL, "keys <Space>tokenize<Enter>\n"}, STORE},
    {{"prompt-candidates", NULL, 80, 24, NULL, NULL, "keys :train sae x --a<Tab>\n"}, STORE},
    {{"prompt-long", NULL, 40, 10, NULL, NULL, "keys :search a-long-query-that-does-not-fit-the-line\n"}, STORE},
    {{"prompt-cancelled", NULL, 80, 12, NULL, NULL, "keys :list<Esc>\n"}, STORE},
    {{"unknown-command", NULL, 80, 12, NULL, NULL, "keys :lst<Enter>\n"}, STORE},
    {{"messages", NULL, 80, 12, NULL, NULL, "keys :lst<Enter>:info x<Enter>\nwait\nkeys :messages<Enter>\n"}, STORE},
    {{"messages-moved", NULL, 80, 12, NULL, NULL, "keys :ls<Enter>:ls2<Enter>:ls3<Enter>:ls4<Enter>:messages<Enter>k\nwait\nkeys k\n"}, STORE},
    {{"output", NULL, 80, 24, NULL, NULL, "keys :list saes<Enter>\nwait\n"}, STORE},
    {{"output-pipe", NULL, 80, 12, NULL, NULL, "keys :list saes | sort -r; set limit 7<Enter>\nwait\n"}, STORE},
    {{"back", NULL, 80, 12, NULL, NULL, "keys jj:list saes<Enter>\nwait\nkeys j<lt>\n"}, STORE},
    {{"forward", NULL, 80, 12, NULL, NULL, "keys jj:list saes<Enter>\nwait\nkeys j<lt>G>\n"}, STORE},
    {{"count", NULL, 80, 12, NULL, NULL, "keys 3<Enter>12\n"}, STORE},
    {{"quit-closes", NULL, 80, 12, NULL, NULL, "keys ?q\n"}, STORE},
};

static void test_store_screen(void **state)
{
    const struct store_screen *s = *state;
    void *none = NULL;
    assert_int_equal(tiny_setup(&none), 0);
    if (s->store != NO_STORE)
        tiny_make(s->store == STORE_AND_JOBS);
    check_screen(&s->screen);
    assert_int_equal(tiny_teardown(&none), 0);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LENGTH(screens)];
    screens_start();
    screens_store = TINY;
    for (size_t i = 0; i < ARRAY_LENGTH(screens); i++)
        tests[i] = (struct CMUnitTest){screens[i].screen.name, test_store_screen, NULL, NULL,
                                       (void *)(uintptr_t)&screens[i]};
    return _cmocka_run_group_tests("screens", tests, ARRAY_LENGTH(tests), NULL, NULL);
}
