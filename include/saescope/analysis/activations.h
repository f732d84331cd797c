/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model's activations over a text: contexts in order (index, evaluate) or shuffled rows (training). The
 * stream takes its own short read transactions, one for each batch of contexts.
 */
#ifndef SAESCOPE_ANALYSIS_ACTIVATIONS_H
#define SAESCOPE_ANALYSIS_ACTIVATIONS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/batch_source.h"
#include "saescope/base/monitor.h"
#include "saescope/model/text.h"

struct stream_options {
    artifact_id model, text;
    const char *hook;
    size_t context_size; /* 0: the model's context length */
    int prepend_bos;
    int center; /* subtract the mean over d_model from each activation (LayerNorm models only) */
    size_t first_context, n_contexts; /* n_contexts 0: all from first_context on */
    struct monitor *monitor; /* whose cancelling ends a pass within (forward_watch), or NULL */
    int cached;                       /* the text is one of cached activations (cached.h): see stream_options_fit */
};
/*
 * For a text of cached activations: their context size and BOS take the place of what was asked for. STATUS_REFUSED when they are
 * another model's or hook's. Others stay as they are. stream_open and stream_options_for_sae do it.
 */
int stream_options_fit(struct store_txn *t, struct stream_options *o, struct error *err);
/* What contexts_open is to be asked for: cached activations have their BOS among the tokens. */
int stream_options_adds_bos(const struct stream_options *o);

struct stream_batch {
    size_t first_context, n_contexts, length;
    size_t n_tokens; /* n_contexts · length */
    size_t n_counted;
    const uint32_t *ids;    /* [n_contexts, length] */
    const uint8_t *counted; /* [n_tokens] */
    float *activations;     /* [n_tokens, d_in], hook units (centred if asked); may be changed */
};

struct stream;
int stream_open(struct store *s, const struct stream_options *o, struct stream **out, struct error *err);
void stream_close(struct stream *st);
size_t stream_width(const struct stream *st);
size_t stream_length(const struct stream *st); /* tokens of a context */
size_t stream_contexts(const struct stream *st);
size_t stream_batch_contexts(const struct stream *st); /* contexts of a whole batch */
const struct model *stream_model(const struct stream *st);
const struct contexts *stream_text(const struct stream *st);
int stream_is_cached(const struct stream *st);  /* no model runs */
int stream_has_tokens(const struct stream *st); /* else ids are TOKEN_UNKNOWN */
/* The next contexts; b->n_contexts == 0 at the end. What b points to lives until the next call. */
int stream_next(struct stream *st, struct stream_batch *b, struct error *err);
int stream_rewind(struct stream *st, size_t context, struct error *err);
/* From now on the fewest whole contexts from the text's start with at least `tokens` counted tokens (0: all).
 */
int stream_limit(struct stream *st, uint64_t tokens, uint64_t *n_counted, struct error *err);
/* Up to stream_batch_contexts() contexts of the text, by number and in any order; first_context is the first
 * one's. */
int stream_at(struct stream *st, const uint32_t *contexts, size_t n, struct stream_batch *b,
              struct error *err);

/* A text for an SAE: its model, hook, context size, BOS and centring from its manifest. STATUS_REFUSED when
 * the text is another model's. */
int stream_options_for_sae(struct store_txn *t, artifact_id sae, artifact_id text, struct stream_options *o,
                           char hook[64], struct error *err);

/* Whether both read the same contexts at one hook of one model. */
int stream_options_agree(const struct stream_options *a, const struct stream_options *b);

/*
 * Shuffled rows for training from the counted tokens of all contexts (of those that the options name) but the
 * held-out last 2% of the text: contexts in an order drawn from the seed, anew each epoch; a buffer of
 * buffer_rows rows (0: 262,144; never more than an epoch has), refilled when half empty and served in random
 * order. The mixing depends on integers only: seek() replays it without the model and then computes again the
 * batches that the buffer holds rows of. A request to cancel ends next(); one for a checkpoint is left to the
 * caller.
 */
int activation_source_open(struct store *s, const struct stream_options *o, size_t buffer_rows, uint64_t seed,
                           struct monitor *m, struct batch_source **out, struct error *err);

/*
 * Rows of the decoders of SAEs, scaled to unit norm (raw: as they are; zero rows left out), for meta-SAEs: each row once an
 * epoch, in an order drawn from the seed anew each epoch; batches may go over an epoch's end. No row is held out: held_out()
 * serves all rows. Memory: all rows.
 */
int decoder_source_open(struct store *s, const artifact_id *saes, size_t n, int raw, uint64_t seed,
                        struct batch_source **out, struct error *err);
size_t decoder_source_rows(const struct batch_source *source);
/*
 * What an opened source may be asked for before it is read. Both take the counts of the SAEs' indexes and are refused when an
 * SAE has none.
 *
 * Leaves out the latents whose density (fired / tokens of their SAE's index) is at most `density`; 0: those that never fired.
 */
int decoder_source_leave_out(struct batch_source *source, struct store *s, double density, struct error *err);
/*
 * Draws rows with replacement, each with a probability proportional to its latent's density, instead of once an epoch. A draw
 * depends on the seed and its own number alone. held_out() goes on serving every row once.
 */
int decoder_source_weigh(struct batch_source *source, struct store *s, struct error *err);
/* Permutes each column of an opened decoder source on its own: a baseline with the same values and no
 * structure. */
void decoder_source_permute(struct batch_source *source, uint64_t seed);

#endif
