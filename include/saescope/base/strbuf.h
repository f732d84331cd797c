/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A growing byte string. `data` is always NUL-terminated once something was appended (it may hold NULs before). */
#ifndef SAESCOPE_BASE_STRBUF_H
#define SAESCOPE_BASE_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

struct strbuf {
    char *data;
    size_t length;
    size_t capacity;
};

#define STRBUF_INIT {NULL, 0, 0}

void strbuf_free(struct strbuf *b);  /* leaves an empty, usable buffer */
void strbuf_reset(struct strbuf *b); /* length 0, keeps the memory */
char *strbuf_detach(struct strbuf *b); /* the string, owned by the caller; never NULL; leaves the buffer empty */
const char *strbuf_string(const struct strbuf *b); /* never NULL */
void strbuf_add(struct strbuf *b, const void *bytes, size_t n);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_addf(struct strbuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* Numbers as people write them. */
void strbuf_add_grouped(struct strbuf *b, long long n);     /* 1498112 -> "1,498,112" */
void strbuf_add_bytes(struct strbuf *b, unsigned long long n); /* "8.4 MB" (powers of 1000) */
void strbuf_add_duration(struct strbuf *b, double seconds); /* "0:41", "1:02:03" */

int string_ends_with(const char *s, const char *end);

/* A whole decimal number in [min, max]; 0 when good, -1 when not (empty, signs, trailing text, out of range). */
int parse_u64(const char *s, unsigned long long min, unsigned long long max, unsigned long long *out);
int parse_double(const char *s, double *out); /* finite numbers only, C locale's form */

/*
 * The candidate nearest to `word` by Damerau-Levenshtein distance, when near enough to be worth suggesting (at most
 * a third of its length, at least 1), else NULL. `candidates` is NULL-terminated.
 */
const char *nearest_word(const char *word, const char *const *candidates);

#endif
