/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Screens that share one store, in a working directory of their own. */
#ifndef SAESCOPE_TESTS_SHARED_STORE_H
#define SAESCOPE_TESTS_SHARED_STORE_H

#include "harness.h"

static char screens_directory[] = "/tmp/saescope-screens-XXXXXX";

static int enter_directory(void)
{
    return mkdtemp(screens_directory) && chdir(screens_directory) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
    (void)state;
    return chdir("/") == 0 ? remove_tree(screens_directory, NULL) : -1;
}

static void test_screen(void **state)
{
    check_screen(*state);
}

/* Runs them as one group of tests; setup makes the store. */
static int run_screens(const char *group, const struct screen *screens, size_t n, int (*setup)(void **state),
                       int (*teardown)(void **state))
{
    struct CMUnitTest *tests = xcalloc(n, sizeof *tests);
    screens_start();
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){screens[i].name, test_screen, NULL, NULL, (void *)(uintptr_t)&screens[i]};
    int failed = _cmocka_run_group_tests(group, tests, n, setup, teardown);
    free(tests);
    return failed;
}

#endif
