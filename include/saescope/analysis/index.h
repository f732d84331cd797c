/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index of an SAE over a text: per latent counts, maximum, mean, histogram, top and sampled
 * contexts, and a first automatic label. Active (latent, context, position, activation) quadruples are
 * spooled to files partitioned by latent, so that memory stays bounded (index_run's comment states it) and
 * the second half needs no model.
 *
 * The index artifact holds the columns fired (u32), max, min, mean (f32), histogram (u32 [d_sae, 50]) and a
 * RECORD_CONTEXTS record for each latent that fired; its manifest: {"text_tokens", "contexts",
 * "context_size", "prepend_bos", "bos", "seed", "references": {"sae", "text"}}. The index of a meta-SAE is over its
 * bases' decoder rows: the same columns and no contexts, and of the latents of its bases, numbered as struct meta_bases
 * says, the columns base_metas (u8: number of meta-latents) and base_ev (f32).
 *
 * An index that was imported (index_exchange.h) refers to no text: it has its own contexts, whose tokens are strings
 * (index_texts.h), and RECORD_LOGITS records.
 */
#ifndef SAESCOPE_ANALYSIS_INDEX_H
#define SAESCOPE_ANALYSIS_INDEX_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/model/tokenizer.h"
#include "saescope/store/store.h"

#define INDEX_BINS         50
#define INDEX_TOP          20
#define INDEX_INTERVALS    5
#define INDEX_PER_INTERVAL 5

struct index_options {
    const artifact_id *saes; /* of one model and hook, context size and BOS; or meta-SAEs (text unused) */
    size_t n_saes;
    artifact_id text;
    uint64_t tokens; /* counted tokens, 0: all */
    uint64_t seed;
};
/*
 * One pass of the model for all SAEs; publishes one index for each, with labels (LABEL_AUTO), and takes the
 * place of an earlier one. Cancelled or failed, it leaves no index of the SAE it was at.
 *
 * - histogram: 51 equal edges from the smallest to the largest activation; bins half open, the last closed
 * - top: contexts by their strongest token, strongest first
 * - interval j: tokens with j·max/5 < activation ≤ (j+1)·max/5, those with the smallest hash of (seed,
 *   latent, context, position)
 *
 * Within top and within each interval, tokens whose windows (16 tokens to each side) are identical are shown
 * once: the best of them. Ties go to the lower context, then position.
 *
 * Memory: 200 MiB and, for each SAE, 8 MiB and 230 bytes a latent; more only where one latent's firings take
 * more than 192 MiB (8 bytes each); beside the stream's and the encoder's scratch. On disk, in
 * monitor->work_dir or else the store's work directory: 12 bytes a firing and 8 a token.
 */
int index_run(struct store *s, const struct index_options *o, struct monitor *m, struct error *err);
int index_meta_run(struct store *s, artifact_id meta, struct monitor *m, struct error *err);

/* ---- Reading. Columns are copied out: d_sae values each. ---- */
struct index_columns {
    artifact_id index; /* 0: not indexed; then everything below is NULL */
    size_t n;
    uint64_t tokens; /* counted tokens (base rows for a meta-SAE) */
    uint32_t *fired;
    float *max, *min, *mean;
};
int index_columns_read(struct store_txn *t, artifact_id sae, struct index_columns *out, struct error *err);
void index_columns_free(struct index_columns *c);

struct index_histogram {
    double edges[INDEX_BINS + 1];
    uint64_t counts[INDEX_BINS];
};
int index_histogram_read(struct store_txn *t, artifact_id sae, size_t latent, struct index_histogram *out,
                         struct error *err);

/* One context of a latent: tokens of the whole context and the latent's activations on them. Of an imported index the tokens are
 * known by their texts alone: then ids is NULL. */
struct latent_context {
    size_t context;  /* its number in the text's contexts */
    size_t position; /* of the peak (top) or of the sampled token */
    int interval;    /* -1: top; else 0 (lowest) … 4 */
    float activation;
    size_t length;      /* tokens in the context */
    uint32_t *ids;      /* [length], or NULL */
    float *activations; /* [length] */
    char *texts;        /* the tokens' bytes one after the other, or NULL */
    size_t *text_ends;  /* [length]: where each ends in texts */
};
/* Bytes of token i; of none when neither it nor a tokenizer (may be NULL) knows them. */
const void *latent_context_token(const struct latent_context *c, const struct tokenizer *tok, size_t i, size_t *n);
/* Top contexts, strongest first, then intervals 4 … 0. The array is the caller's. */
int index_contexts_read(struct store_txn *t, artifact_id sae, size_t latent, struct latent_context **out,
                        size_t *n, struct error *err);
void latent_contexts_free(struct latent_context *contexts, size_t n);

#endif
