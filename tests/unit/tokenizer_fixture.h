/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokenizers of tests/data/tokenizer-kinds, and such as are written for a test. */
#ifndef TESTS_UNIT_TOKENIZER_FIXTURE_H
#define TESTS_UNIT_TOKENIZER_FIXTURE_H

#include "saescope/model/tokenizer_internal.h"
#include "tests/support/support.h"

char *kind_file(const char *name, const char *extension); /* its path */
struct tokenizer *read_kind(const char *name);
/* A tokenizer.json of the 256 bytes and a Split ("pattern", "behavior", "invert") before ByteLevel. */
void write_split(const json *split);

#endif
