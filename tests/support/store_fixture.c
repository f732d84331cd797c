/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store for a group of tests. */
#include "config.h"

#include "support.h"

struct store *test_store;

int set_up_store(void **state)
{
    int status = set_up_threads(state);
    if (!status)
        test_store = open_store("store");
    return status;
}

int tear_down_store(void **state)
{
    store_close(test_store);
    test_store = NULL;
    return tear_down_threads(state);
}
