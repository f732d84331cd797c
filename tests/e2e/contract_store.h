/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A small store that the program makes itself, for the tests of what its commands print. */
#ifndef SAESCOPE_TESTS_CONTRACT_STORE_H
#define SAESCOPE_TESTS_CONTRACT_STORE_H

#include "program.h"

enum { DOCUMENTS = 400, WIDTH = 64 };

#define HOOK "blocks.2.hook_resid_pre"

/* Shapes, for assert_shape, that several commands have in common. */
#define MADE       "{name:s,kind:s,bytes:i,seconds:n}"
#define SAE_FIELDS "name:s,kind:s,architecture:s,d_in:i,d_sae:i,model:s?,hook:s?,base:s?,indexed_tokens:i"

/*
 * What the commands that made the store printed: the demo's model `lm`, a text `t` of DOCUMENTS, an SAE `s`
 * of WIDTH latents at HOOK, its meta-SAE `m` of 16, and their indexes.
 */
struct made {
    json *model, *text, *sae, *meta, *index, *meta_index;
};

/* Group fixtures; *state becomes a struct made. A test leaves the store as it found it. */
int contract_set_up(void **state);
int contract_tear_down(void **state);

#endif
