/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cached activations: what a model gave at one hook, computed elsewhere. They are a text whose manifest's "kind" is
 * "activations", so that they stand wherever a text does: beside "tokens" and "documents" it has the tensor "activations"
 * [tokens, d_in] (F32, F16 or BF16) and the members "hook", "d_in", "context_size", "prepend_bos" (every context begins with BOS) and
 * "has_tokens". Contexts are runs of context_size rows. Without tokens, ids are TOKEN_UNKNOWN, but for a BOS at a context's
 * start.
 */
#ifndef SAESCOPE_ANALYSIS_CACHED_H
#define SAESCOPE_ANALYSIS_CACHED_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/store/store.h"

struct cached_import {
    const char *path;   /* npy or safetensors: [tokens, d_in], or [contexts, context_size, d_in] */
    const char *tensor; /* of several; NULL: the only one of floats */
    const char *tokens; /* file of their ids, of as many; or NULL */
    const char *name;
    const char *hook;
    artifact_id model;
    size_t context_size; /* 0: the file's (three axes, or two of tokens), else 128 */
    int bos;             /* without tokens: every context's first row is BOS's */
    int replace;
};
/*
 * STATUS_REFUSED for NaN and infinities (naming the row), a width that is not the hook's, tokens that the model does not have.
 * Rows after the last whole context are left out. Memory: 8 MiB.
 */
int cached_import_run(struct store *s, const struct cached_import *o, struct monitor *m, artifact_id *id, struct error *err);

/* What a text's manifest says, when it is one of cached activations. */
struct cached_facts {
    int is_cached;
    int has_tokens;
    size_t context_size, d_in;
    int prepend_bos;
    artifact_id model;
    char hook[64];
};
int cached_facts_read(struct store_txn *t, artifact_id text, struct cached_facts *out, struct error *err);
/* Contexts [first, first + n) as float32 to dst[n · context_size, d_in]. */
int cached_rows(struct store_txn *t, const struct store_tensor *x, size_t first_row, size_t n_rows, float *dst,
                struct error *err);

#endif
