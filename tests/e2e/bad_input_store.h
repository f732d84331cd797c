/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A small store of good things, for the tests of bad ones: none of them may change it. */
#ifndef SAESCOPE_TESTS_BAD_INPUT_STORE_H
#define SAESCOPE_TESTS_BAD_INPUT_STORE_H

#include "program.h"

#define HOOK "blocks.2.hook_resid_pre"

/* Group fixtures: the demo's model `lm`, a text `t` (text.txt), an SAE `s` of 32 latents at HOOK that is
 * indexed and exported to the folder good, and its meta-SAE `m` of 8. */
int bad_input_set_up(void **state);
int bad_input_tear_down(void **state);

/* A test that must leave the store as a reader sees it, but for jobs: records of what was tried. */
int before_case(void **state);
int after_case(void **state);
#define CASE(name) cmocka_unit_test_setup_teardown(name, before_case, after_case)

#endif
