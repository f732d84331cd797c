/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The contexts of an imported index, whose tokens are strings: the tensors token_bytes (u8) and token_ends (u64) are the
 * strings, each once; context_tokens (u32) and context_ends (u64) the contexts' tokens as numbers of strings, each context
 * once; context_numbers (u32) what each was called where it came from.
 */
#ifndef SAESCOPE_ANALYSIS_INDEX_TEXTS_H
#define SAESCOPE_ANALYSIS_INDEX_TEXTS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/index.h"
#include "saescope/base/strbuf.h"

/* ---- Reading. ---- */
struct index_texts;
/* *out NULL: the index has none of its own. */
int index_texts_open(struct store_txn *t, artifact_id index, struct index_texts **out, struct error *err);
void index_texts_close(struct index_texts *x); /* NULL is fine */
/* Fills length, texts, text_ends, and context with what it was called. */
int index_texts_context(struct index_texts *x, struct store_txn *t, size_t context, struct latent_context *out,
                        struct error *err);
/* Appends the bytes of a string. */
int index_texts_token(struct index_texts *x, struct store_txn *t, size_t token, struct strbuf *out, struct error *err);

/* ---- Writing. Memory: the strings, and 24 bytes a context. ---- */
struct text_collector;
int text_collector_new(struct store *s, artifact_id index, struct text_collector **out, struct error *err);
void text_collector_free(struct text_collector *c); /* abandons what is not finished; NULL is fine */
/* The number of a string: the one that it had before, or a new one. */
int text_collector_token(struct text_collector *c, const void *bytes, size_t n, uint32_t *token, struct error *err);
/* The same of a context of n tokens that was called `number` (UINT32_MAX: it has none, and gets its own). */
int text_collector_context(struct text_collector *c, uint32_t number, const uint32_t *tokens, size_t n, uint32_t *context,
                           struct error *err);
size_t text_collector_contexts(const struct text_collector *c);
int text_collector_finish(struct text_collector *c, struct error *err); /* writes the tensors */

#endif
