/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Growing strings, numbers to and from text, and the word that was probably meant. */
#include "config.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

void strbuf_free(struct strbuf *b)
{
    free(b->data);
    *b = (struct strbuf)STRBUF_INIT;
}

void strbuf_reset(struct strbuf *b)
{
    b->length = 0;
    if (b->data)
        b->data[0] = '\0';
}

/* Makes room for n more bytes and the final NUL. */
static void grow(struct strbuf *b, size_t n)
{
    size_t needed;
    if (__builtin_add_overflow(b->length, n, &needed) || needed == SIZE_MAX)
        out_of_memory();
    if (needed < b->capacity)
        return;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity + b->capacity / 2;
    if (capacity <= needed)
        capacity = needed + 1;
    b->data = xrealloc(b->data, capacity);
    b->capacity = capacity;
}

char *strbuf_detach(struct strbuf *b)
{
    char *s = b->data ? b->data : xcalloc(1, 1);
    *b = (struct strbuf)STRBUF_INIT;
    return s;
}

const char *strbuf_string(const struct strbuf *b)
{
    return b->data ? b->data : "";
}

void strbuf_add(struct strbuf *b, const void *bytes, size_t n)
{
    grow(b, n);
    if (n)
        memcpy(b->data + b->length, bytes, n);
    b->length += n;
    b->data[b->length] = '\0';
}

void strbuf_adds(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_addc(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_addf(struct strbuf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    strbuf_vaddf(b, format, args);
    va_end(args);
}

void strbuf_vaddf(struct strbuf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    grow(b, 128);
    int n = vsnprintf(b->data + b->length, b->capacity - b->length, format, args);
    if (n >= 0 && (size_t)n >= b->capacity - b->length) {
        grow(b, (size_t)n);
        n = vsnprintf(b->data + b->length, b->capacity - b->length, format, again);
    }
    va_end(again);
    if (n > 0)
        b->length += (size_t)n;
    b->data[b->length] = '\0';
}

void strbuf_add_grouped(struct strbuf *b, long long n)
{
    char digits[24];
    unsigned long long magnitude = n < 0 ? 0ULL - (unsigned long long)n : (unsigned long long)n;
    int length = snprintf(digits, sizeof digits, "%llu", magnitude);
    if (n < 0)
        strbuf_addc(b, '-');
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            strbuf_addc(b, ',');
        strbuf_addc(b, digits[i]);
    }
}

void strbuf_add_bytes(struct strbuf *b, unsigned long long n)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (n < 1000) {
        strbuf_addf(b, "%llu B", n);
        return;
    }
    double x = (double)n / 1000.0;
    size_t unit = 0;
    /* 999.95 would be printed as 1000.0. */
    while (x >= 999.95 && unit + 1 < ARRAY_LENGTH(units)) {
        x /= 1000.0;
        unit++;
    }
    strbuf_addf(b, "%.1f %s", x, units[unit]);
}

void strbuf_add_duration(struct strbuf *b, double seconds)
{
    if (!(seconds >= 0.0) || seconds > 3.6e12) {
        strbuf_adds(b, "-:--");
        return;
    }
    unsigned long long s = (unsigned long long)seconds;
    if (s >= 3600)
        strbuf_addf(b, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    else
        strbuf_addf(b, "%llu:%02llu", s / 60, s % 60);
}

int string_ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

int parse_u64(const char *s, unsigned long long min, unsigned long long max, unsigned long long *out)
{
    if (!s || !*s)
        return -1;
    unsigned long long value = 0;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(value, 10ULL, &value) ||
            __builtin_add_overflow(value, (unsigned long long)(*s - '0'), &value))
            return -1;
    }
    if (value < min || value > max)
        return -1;
    *out = value;
    return 0;
}

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

int parse_double(const char *s, double *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!s || !*s || isspace((unsigned char)*s))
        return -1;
    pthread_once(&once, make_c_locale);
    char *end;
    double value = c_locale ? strtod_l(s, &end, c_locale) : strtod(s, &end);
    if (end == s || *end || !isfinite(value))
        return -1;
    *out = value;
    return 0;
}

static size_t smallest(size_t a, size_t b)
{
    return a < b ? a : b;
}

#define WORD_MAX 64 /* longer words are not suggested for */

/* Damerau-Levenshtein in the restricted form: no part is edited twice. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            now[j] = smallest(smallest(last[j] + 1, now[j - 1] + 1), last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smallest(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[b_length];
}

const char *nearest_word(const char *word, const char *const *candidates)
{
    size_t length = strlen(word);
    if (length == 0 || length > WORD_MAX)
        return NULL;
    size_t limit = length / 3 ? length / 3 : 1;
    const char *nearest = NULL;
    size_t best = limit + 1;
    for (; *candidates; candidates++) {
        size_t candidate_length = strlen(*candidates);
        if (candidate_length > WORD_MAX)
            continue;
        size_t distance = edit_distance(word, length, *candidates, candidate_length);
        if (distance < best && distance < length) { /* else nothing of the word is in it */
            best = distance;
            nearest = *candidates;
        }
    }
    return nearest;
}
