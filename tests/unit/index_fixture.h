/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store with the demo model and a short text: for the tests of streams and of the index. */
#ifndef SAESCOPE_TESTS_INDEX_FIXTURE_H
#define SAESCOPE_TESTS_INDEX_FIXTURE_H

#include "saescope/analysis/activations.h"
#include "tests/support/support.h"

#define FIXTURE_HOOK   "blocks.2.hook_resid_pre"
#define FIXTURE_LENGTH 64

struct fixture {
    struct store *store;
    artifact_id model, text;
};

/* Group fixtures; *state becomes a struct fixture. */
int set_up_fixture(void **state);
int tear_down_fixture(void **state);

struct stream_options fixture_stream(const struct fixture *f);
/* Activations of all contexts, one context at a time: [contexts · length, width]. */
float *read_everything(const struct fixture *f, size_t *n_contexts, uint8_t **counted, uint32_t **ids,
                       size_t *width);

#endif
