/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Text with every assigned character, as tests/reference/tokenizer.py makes it: in chunks, once in order and once drawn at
 * random, each character behind something that is drawn from a list.
 */
#ifndef TESTS_SUPPORT_UNICODE_TEXT_H
#define TESTS_SUPPORT_UNICODE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "saescope/base/strbuf.h"

/* The same generator as in the script. */
struct drawing {
    uint64_t state;
};
size_t draw_below(struct drawing *d, size_t n);

#define HASH_START 0xCBF29CE484222325ull
uint64_t hash_number(uint64_t h, uint32_t n); /* FNV-1a of four bytes */

struct unicode_text {
    const char *const *before;
    size_t n_before;
    uint32_t *points; /* of the ranges that tests/data/tokenizer/unicode.txt starts with */
    size_t n;
    struct strbuf text; /* the chunk */
    size_t start;
    int pass;
    struct drawing drawing;
};
/* `golden`: the open file, left behind the ranges; NULL opens it. */
void unicode_text_open(struct unicode_text *u, const char *const *before, size_t n_before, FILE *golden);
/* Without the characters that a file has, one (hexadecimal) a line. */
void unicode_text_leave_out(struct unicode_text *u, const char *path);
int unicode_text_next(struct unicode_text *u); /* 0 at the end */
void unicode_text_close(struct unicode_text *u);

#endif
