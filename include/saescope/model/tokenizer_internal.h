/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tokenizer's parts share: the compiled vocabulary (tokenizer*.c fill it, bpe.c uses it). */
#ifndef SAESCOPE_MODEL_TOKENIZER_INTERNAL_H
#define SAESCOPE_MODEL_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "saescope/model/tokenizer.h"

#define TOKENIZER_SIZE_MAX ((size_t)1 << 22) /* ids */
#define TOKENIZER_FILE_MAX ((size_t)256 << 20)

enum added_flags { ADDED_SPECIAL = 1, ADDED_STRIPS_LEFT = 2, ADDED_STRIPS_RIGHT = 4 };

/* A token that is looked for in the text before anything else. */
struct added_token {
    uint32_t id;
    uint32_t flags; /* enum added_flags */
};

struct merge_slot {
    uint32_t left, right, rank, result; /* rank TOKEN_NONE: free */
};

struct tokenizer {
    size_t size;       /* ids are below it */
    uint8_t *bytes;    /* of all tokens */
    uint32_t *offsets; /* [size + 1] into bytes */
    uint8_t *special;  /* [size] */
    uint32_t byte_token[256];
    uint32_t *merges; /* [n_merges, 3]: left, right, result; the row is the rank */
    size_t n_merges;
    struct added_token *added;
    size_t n_added;
    int adds_prefix_space;
    uint32_t bos, eos;

    /* Made by tokenizer_prepare. */
    struct merge_slot *merge_table; /* open addressing by (left, right) */
    size_t merge_mask;
    uint8_t added_first[256]; /* whether an added token starts with this byte */
    int added_hold_blanks;    /* an added token may reach over a blank */
    pcre2_code *pattern;
    int jit;
};

/* Checks everything that the arrays hold, naming `where`, and makes what encoding needs. */
int tokenizer_prepare(struct tokenizer *tok, const char *where, struct error *err);

/* NULL when the two are never merged. */
const struct merge_slot *tokenizer_find_merge(const struct tokenizer *tok, uint32_t left, uint32_t right);

/* Calls piece(arg, start, length) for what the pattern and invalid bytes cut n bytes into, in order. */
int encoder_pieces(struct encoder *e, const uint8_t *bytes, size_t n,
                   int (*piece)(void *arg, size_t start, size_t length), void *arg, struct error *err);

/*
 * Whether text may be cut before bytes[at] (0 < at < n) so that both parts' tokens are the whole's: there a
 * blank follows what is none, and no piece and no added token reaches across.
 */
int tokenizer_may_cut(const struct tokenizer *tok, const uint8_t *bytes, size_t at);

#endif
