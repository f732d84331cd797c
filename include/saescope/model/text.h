/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Texts: tokenised corpora. The store keeps the documents' tokens ("tokens": u32 [n], or u16 when the vocabulary allows;
 * "documents": u64 [n_documents + 1], where each starts) and no BOS. Contexts are cut when they are used.
 */
#ifndef SAESCOPE_MODEL_TEXT_H
#define SAESCOPE_MODEL_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/model/model.h"

struct text_import {
    /* A file, a directory of files, or "-": lines or JSON lines (by name or first byte; gzip or not), or tokens (.npy, .bin). */
    const char *path;
    const char *name;
    const char *model;
    const char *field;      /* of a JSONL line, with dots into objects; NULL: "text" */
    const char *token_type; /* "u16", "u32": the files are such numbers; NULL: .bin are, as wide as the vocabulary needs */
    int document_a_file; /* else a document a line */
    int replace;
};
/* Streams: neither the file nor its tokens are held in memory. */
int text_import(struct store *s, const struct text_import *options, struct monitor *m, artifact_id *id,
                struct error *err);

/*
 * Contexts of a text as SAELens' concat_and_batch_sequences cuts them: a context starts with BOS and is filled to its
 * size; a document that starts inside a context is preceded by one BOS; one that starts exactly at a context's start
 * gets no second; a last, shorter context is dropped. Without prepend_bos, documents are joined as they are.
 */
struct contexts;
int contexts_open(struct store_txn *t, artifact_id text, size_t context_size, int prepend_bos, uint32_t bos,
                  struct contexts **out, struct error *err);
void contexts_close(struct contexts *c);
size_t contexts_count(const struct contexts *c);
size_t contexts_size(const struct contexts *c);
/* Tokens of contexts [first, first + n) to ids[n, size]. */
int contexts_read(const struct contexts *c, struct store_txn *t, size_t first, size_t n, uint32_t *ids,
                  struct error *err);

/* BOS, EOS and padding of a model, each once, and how often a text has them. */
#define MODEL_UNCOUNTED_MAX (3 + MODEL_MORE_EOS_MAX)
struct uncounted {
    uint32_t bos, eos; /* the model's first; TOKEN_NONE when it has none */
    struct uncounted_token {
        uint32_t id;
        uint64_t times;
    } tokens[MODEL_UNCOUNTED_MAX];
    size_t n;
};
void uncounted_init(struct uncounted *u, const struct model_config *config);
const struct uncounted_token *uncounted_find(const struct uncounted *u, uint32_t id); /* NULL: not among them */
void uncounted_look(struct uncounted *u, const uint32_t *ids, size_t n);
/* To a text's manifest: "bos", "bos_tokens", "eos", "eos_tokens" (how many), and "absent": those that the text has not. When
 * all are absent, contexts are cut without a look at the tokens. */
void uncounted_save(const struct uncounted *u, json *manifest);
/* Those that are known to be absent; older manifests tell of BOS and one EOS. */
void uncounted_read_absent(struct uncounted *absent, const json *manifest);

/* Counted tokens are all but BOS, EOS and padding: counted[i] = 1 or 0; returns how many. */
size_t contexts_counted(const struct model *m, const uint32_t *ids, size_t n, uint8_t *counted);

/* The fewest whole contexts from the text's start with at least `tokens` counted tokens (0: all). */
int contexts_for_tokens(const struct contexts *c, struct store_txn *t, const struct model *m, uint64_t tokens,
                        size_t *n_contexts, uint64_t *n_counted, struct error *err);
/* Contexts [*first, count) are held out: the last 2% (at least one). Training never uses them. */
size_t contexts_held_out_from(const struct contexts *c);

#endif
