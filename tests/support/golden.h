/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Imported SAEs, against what the libraries that wrote them compute. */
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

#include "saescope/formats/formats.h"
#include "support.h"

/* Group fixtures: a directory with a store, and (unless NULL) a file of tests/data with the tensors "x"
 * (inputs), "NAME.acts" and "NAME.out" (activations, reconstructions). */
extern struct store *golden_store;
int set_up_golden(void **state, const char *expected);
int tear_down_golden(void **state);

/* Encodes "x" and decodes it again; |difference| ≤ tolerance · (1 + |golden|). */
void check_golden(const char *name, artifact_id sae, float tolerance);

/* Into the store of the fixture. */
artifact_id import_sae(const struct sae_import *o);
/* It is refused in such words, and there is no SAE of its name. */
void refuse_sae(const struct sae_import *o, const char *says);

#endif
