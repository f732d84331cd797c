/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tests that compute. */
#include "config.h"

#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"
#include "support.h"

int set_up_threads(void **state)
{
    blas_start();
    parallel_start(TEST_THREADS);
    return set_up_directory(state);
}

int tear_down_threads(void **state)
{
    parallel_stop();
    return tear_down_directory(state);
}
