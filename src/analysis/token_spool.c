/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The token spool: one unlinked file for each kind of number. Files grow by whole batches and are mapped once
 * they are complete, so that readers need no memory of their own and no calls.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/spool.h"
#include "saescope/analysis/token_spool.h"
#include "saescope/base/memory.h"

enum { OFFSETS_AT_A_TIME = 1024 };

struct pair_spool {
    struct array_spool offsets; /* u64, [tokens + 1] */
    struct array_spool latents, values;
    uint64_t n; /* pairs */
};

struct token_spool {
    char *directory;
    size_t d_in, tokens;
    int with_scales;
    struct array_spool residuals, scales, contexts;
    struct pair_spool small, large;
};

/* ---- Writing. ---- */

/* A u64 is two of the numbers that an array_spool counts. */
static int add_offsets(struct array_spool *a, const uint64_t *offsets, size_t n, struct error *err)
{
    return array_spool_add(a, offsets, n * (sizeof(*offsets) / sizeof(*a->data)), err);
}

static int open_pairs(struct pair_spool *p, const char *directory, struct error *err)
{
    const uint64_t first = 0;
    int status = array_spool_open(&p->offsets, directory, err);

    if (!status)
        status = array_spool_open(&p->latents, directory, err);
    if (!status)
        status = array_spool_open(&p->values, directory, err);
    return status ? status : add_offsets(&p->offsets, &first, 1, err);
}

static void close_pairs(struct pair_spool *p)
{
    array_spool_close(&p->offsets);
    array_spool_close(&p->latents);
    array_spool_close(&p->values);
}

int token_spool_open(const char *directory, size_t d_in, int with_scales, struct token_spool **out,
                     struct error *err)
{
    struct token_spool *sp = xcalloc(1, sizeof(*sp));
    int status;

    *out = NULL;
    sp->directory = xstrdup(directory);
    sp->d_in = d_in;
    sp->with_scales = with_scales;
    status = array_spool_open(&sp->residuals, directory, err);
    if (!status && with_scales)
        status = array_spool_open(&sp->scales, directory, err);
    if (!status)
        status = array_spool_open(&sp->contexts, directory, err);
    if (!status)
        status = open_pairs(&sp->small, directory, err);
    if (!status)
        status = open_pairs(&sp->large, directory, err);
    if (status)
        token_spool_close(sp);
    else
        *out = sp;
    return status;
}

void token_spool_close(struct token_spool *sp)
{
    if (!sp)
        return;
    array_spool_close(&sp->residuals);
    array_spool_close(&sp->scales);
    array_spool_close(&sp->contexts);
    close_pairs(&sp->small);
    close_pairs(&sp->large);
    free(sp->directory);
    free(sp);
}

static int add_pairs(struct pair_spool *p, const struct sparse_rows *rows, struct error *err)
{
    uint64_t offsets[OFFSETS_AT_A_TIME];
    size_t n_pairs = rows->offsets[rows->n_rows];
    int status = array_spool_add(&p->latents, rows->latents, n_pairs, err);

    if (!status)
        status = array_spool_add(&p->values, rows->values, n_pairs, err);
    for (size_t first = 0, n; !status && first < rows->n_rows; first += n) {
        n = rows->n_rows - first < OFFSETS_AT_A_TIME ? rows->n_rows - first : OFFSETS_AT_A_TIME;
        for (size_t i = 0; i < n; i++)
            offsets[i] = p->n + rows->offsets[first + i + 1];
        status = add_offsets(&p->offsets, offsets, n, err);
    }
    p->n += n_pairs;
    return status;
}

int token_spool_add(struct token_spool *sp, size_t n, const float *residuals, const float *scales,
                    const uint32_t *contexts, const struct sparse_rows *small,
                    const struct sparse_rows *large, struct error *err)
{
    size_t n_residuals;
    int status;

    if (small->n_rows != n || large->n_rows != n || (sp->with_scales && !scales) ||
        size_multiply(n, sp->d_in, &n_residuals))
        return error_set(err, STATUS_FAILED, "the tokens to keep do not fit one another");
    if (n == 0)
        return STATUS_OK;
    status = array_spool_add(&sp->residuals, residuals, n_residuals, err);
    if (!status && sp->with_scales)
        status = array_spool_add(&sp->scales, scales, n, err);
    if (!status)
        status = array_spool_add(&sp->contexts, contexts, n, err);
    if (!status)
        status = add_pairs(&sp->small, small, err);
    if (!status)
        status = add_pairs(&sp->large, large, err);
    if (status)
        return error_prefix(err, "activations kept in %s", sp->directory);
    sp->tokens += n;
    return STATUS_OK;
}

/* ---- Reading. ---- */

static int map_pairs(struct pair_spool *p, struct error *err)
{
    int status = array_spool_map(&p->offsets, err);

    if (!status)
        status = array_spool_map(&p->latents, err);
    return status ? status : array_spool_map(&p->values, err);
}

int token_spool_map(struct token_spool *sp, struct error *err)
{
    int status = array_spool_map(&sp->residuals, err);

    if (!status && sp->with_scales)
        status = array_spool_map(&sp->scales, err);
    if (!status)
        status = array_spool_map(&sp->contexts, err);
    if (!status)
        status = map_pairs(&sp->small, err);
    return status ? status : map_pairs(&sp->large, err);
}

size_t token_spool_tokens(const struct token_spool *sp)
{
    return sp->tokens;
}

/* What is in the file from number `first` on; NULL of an empty one. */
static const void *numbers(const struct array_spool *a, uint64_t first)
{
    return a->data ? a->data + first : NULL;
}

static void pair_rows(const struct pair_spool *p, size_t first, const uint64_t **offsets,
                      const uint32_t **latents, const float **values)
{
    *offsets = numbers(&p->offsets, 2 * (uint64_t)first);
    *latents = numbers(&p->latents, **offsets);
    *values = numbers(&p->values, **offsets);
}

void token_spool_rows(const struct token_spool *sp, size_t first, size_t n, struct token_rows *out)
{
    first = first < sp->tokens ? first : sp->tokens;
    n = n < sp->tokens - first ? n : sp->tokens - first;
    *out = (struct token_rows){.first = first, .n = n};
    out->residuals = numbers(&sp->residuals, (uint64_t)first * sp->d_in);
    out->scales = sp->with_scales ? numbers(&sp->scales, first) : NULL;
    out->contexts = numbers(&sp->contexts, first);
    pair_rows(&sp->small, first, &out->small_offsets, &out->small_latents, &out->small_values);
    pair_rows(&sp->large, first, &out->large_offsets, &out->large_latents, &out->large_values);
}
