/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Allocation that ends the program, and allocation that reports. */
#include "config.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/memory.h"

static void (*die_hook)(void);

void memory_set_die_hook(void (*hook)(void))
{
    die_hook = hook;
}

void out_of_memory(void)
{
    static const char message[] = "saescope: not enough memory\n";
    void (*hook)(void) = die_hook;
    die_hook = NULL;
    if (hook)
        hook();
    /* Not stdio: it may want memory. Nothing can be done if the write fails. */
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    _exit(STATUS_FAILED);
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = count && size ? calloc(count, size) : calloc(1, 1);
    if (!p)
        out_of_memory();
    return p;
}

void *xrealloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *xreallocarray(void *old, size_t count, size_t size)
{
    size_t total;
    if (size_multiply(count, size, &total))
        out_of_memory();
    return xrealloc(old, total);
}

char *xstrdup(const char *s)
{
    size_t size = strlen(s) + 1;
    return memcpy(xmalloc(size), s, size);
}

char *xstrndup(const char *s, size_t n)
{
    size_t length = strnlen(s, n);
    char *copy = xmalloc(length + 1);
    memcpy(copy, s, length);
    copy[length] = '\0';
    return copy;
}

char *xasprintf(const char *format, ...)
{
    char *s;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&s, format, args);
    va_end(args);
    if (n < 0)
        out_of_memory();
    return s;
}

int size_multiply(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}

static void *no_memory(size_t count, size_t size, const char *what, struct error *err)
{
    error_set(err, STATUS_FAILED, "not enough memory for %s (%.0f MiB)", what,
              (double)count * (double)size / (1024.0 * 1024.0));
    return NULL;
}

/* The bytes to ask for: never 0. Non-zero when the product, or its padding, overflows. */
static int array_size(size_t count, size_t size, size_t *total)
{
    if (size_multiply(count, size, total) || *total > PTRDIFF_MAX - 4096)
        return -1;
    if (*total == 0)
        *total = 1;
    return 0;
}

void *array_alloc(size_t count, size_t size, const char *what, struct error *err)
{
    size_t total;
    void *p;
    if (array_size(count, size, &total) || posix_memalign(&p, 64, total))
        return no_memory(count, size, what, err);
    return p;
}

void *array_zeroed(size_t count, size_t size, const char *what, struct error *err)
{
    void *p = array_alloc(count, size, what, err);
    if (p)
        memset(p, 0, count * size);
    return p;
}
