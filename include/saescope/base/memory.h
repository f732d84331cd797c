/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory. The x-functions are for small things: they never return NULL (out of memory ends the program with a
 * message, after the terminal was restored by the exit hook). Anything whose size comes from data or from a tensor's
 * shape uses array_alloc, which reports an error instead.
 */
#ifndef SAESCOPE_BASE_MEMORY_H
#define SAESCOPE_BASE_MEMORY_H

#include <stddef.h>
#include "saescope/base/error.h"

void *xmalloc(size_t size) __attribute__((malloc));
void *xcalloc(size_t count, size_t size) __attribute__((malloc));
void *xrealloc(void *old, size_t size);
void *xreallocarray(void *old, size_t count, size_t size); /* dies on overflow */
char *xstrdup(const char *s) __attribute__((malloc));
char *xstrndup(const char *s, size_t n) __attribute__((malloc));
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What the x-functions do when there is no memory: says so and ends the program. */
void out_of_memory(void) __attribute__((noreturn));

/* Called (once) before the program ends for want of memory; the TUI restores the terminal in it. */
void memory_set_die_hook(void (*hook)(void));

/*
 * `count` × `size` bytes at a 64-byte boundary, not cleared (array_alloc) or zero (array_zeroed); released with free().
 * NULL and STATUS_FAILED "not enough memory for WHAT (N MiB)" when there is none or the product overflows.
 */
void *array_alloc(size_t count, size_t size, const char *what, struct error *err);
void *array_zeroed(size_t count, size_t size, const char *what, struct error *err);

/* a·b into *product; non-zero when it overflows. */
int size_multiply(size_t a, size_t b, size_t *product);

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

#endif
