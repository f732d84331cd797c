/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokenizers of tests/data/tokenizer-kinds, and such as are written for a test; texts to tokens and back. */
#ifndef TESTS_SUPPORT_TOKENIZERS_H
#define TESTS_SUPPORT_TOKENIZERS_H

#include "saescope/model/tokenizer_internal.h"
#include "support.h"

char *kind_file(const char *name, const char *extension); /* its path */
struct tokenizer *read_kind(const char *name);
/* A tokenizer.json of the 256 bytes and a Split ("pattern", "behavior", "invert") before ByteLevel. */
void write_split(const json *split);
/* The 256 bytes as a byte-level vocabulary has them, "\u0100": 0 and so on, after each a comma. */
void add_byte_vocabulary(struct strbuf *vocabulary);

/* specials: special tokens in the text are read as such. */
struct token_list tokens_of_text(const struct tokenizer *tok, const void *text, size_t n, int specials);
/* A text's tokens are these bytes. */
void check_decoded(const struct tokenizer *tok, const void *text, size_t n, const void *wanted,
                   size_t n_wanted);
uint64_t token_list_hash(const struct token_list *ids);

#endif
