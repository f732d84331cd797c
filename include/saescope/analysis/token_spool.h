/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a stitch keeps of a text, token by token, in unlinked files of the job's folder: the small SAE's residuals and the active
 * latents of both SAEs. Nothing after the pass needs the model again. Only counted tokens are kept.
 */
#ifndef SAESCOPE_ANALYSIS_TOKEN_SPOOL_H
#define SAESCOPE_ANALYSIS_TOKEN_SPOOL_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/sae/sae.h"

struct token_spool;

/* Tokens [first, first + n). Pairs of token r are [offsets[r], offsets[r + 1]) of latents and values, latents ascending. */
struct token_rows {
    size_t first, n;
    const float *residuals;   /* [n, d_in]: x − x̂_small */
    const float *scales;      /* [n]: σ_t, NULL when there is no per-token normalisation */
    const uint32_t *contexts; /* [n]: the context's number */
    const uint64_t *small_offsets, *large_offsets; /* [n + 1]; absolute: subtract offsets[0] to index the arrays below */
    const uint32_t *small_latents, *large_latents;
    const float *small_values, *large_values;
};

int token_spool_open(const char *directory, size_t d_in, int with_scales, struct token_spool **out, struct error *err);
void token_spool_close(struct token_spool *sp);
int token_spool_add(struct token_spool *sp, size_t n, const float *residuals, const float *scales,
                    const uint32_t *contexts, const struct sparse_rows *small, const struct sparse_rows *large,
                    struct error *err);
/* After the last token_spool_add: maps the files. */
int token_spool_map(struct token_spool *sp, struct error *err);
size_t token_spool_tokens(const struct token_spool *sp);
/* Pointers into the maps; any thread. */
void token_spool_rows(const struct token_spool *sp, size_t first, size_t n, struct token_rows *out);

#endif
