/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tokenizers. Byte-level BPE as GPT-2's: special tokens are split out first, PCRE2 cuts the rest into pieces by the
 * tokenizer's pattern, merges of lowest rank are applied within a piece. Bytes that are no valid UTF-8 are pieces of
 * their own. Decoding a token gives its exact bytes.
 */
#ifndef SAESCOPE_MODEL_TOKENIZER_H
#define SAESCOPE_MODEL_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/store/store.h"

struct tokenizer;

#define TOKEN_NONE UINT32_MAX
#define TOKEN_UNKNOWN (UINT32_MAX - 1) /* of cached activations: it counts, and has no text */

struct token_list {
    uint32_t *ids;
    size_t n, capacity;
};
void token_list_add(struct token_list *list, uint32_t id);
void token_list_free(struct token_list *list);

/* Loads the compiled vocabulary of a model in the store. */
int tokenizer_open(struct store_txn *t, artifact_id model, struct tokenizer **out, struct error *err);
void tokenizer_free(struct tokenizer *tok);

/* Reads DIR/tokenizer.json, or vocab.json + merges.txt, without a store (import, tests). */
int tokenizer_read_folder(const char *dir, struct tokenizer **out, struct error *err);
/* Writes it as records and tensors of an unpublished model. */
int tokenizer_save(const struct tokenizer *tok, struct store *s, artifact_id model, struct error *err);

/* Appends the tokens of n bytes. specials: whether text that reads like a special token becomes one. Thread-safe for
 * one `struct encoder` a thread. */
struct encoder;
struct encoder *encoder_new(const struct tokenizer *tok);
void encoder_free(struct encoder *e);
int encoder_encode(struct encoder *e, const void *bytes, size_t n, int specials, struct token_list *out,
                   struct error *err);

size_t tokenizer_size(const struct tokenizer *tok); /* ids are below this */
const void *tokenizer_token(const struct tokenizer *tok, uint32_t id, size_t *n); /* its bytes; empty when unused */
int tokenizer_is_special(const struct tokenizer *tok, uint32_t id);
uint32_t tokenizer_bos(const struct tokenizer *tok); /* or TOKEN_NONE */
uint32_t tokenizer_eos(const struct tokenizer *tok);

#endif
