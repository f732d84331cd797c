/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text with every assigned character. */
#include "config.h"

#include <stdlib.h>

#include "saescope/base/memory.h"
#include "support.h"
#include "unicode_text.h"

#define CHUNK 512

size_t draw_below(struct drawing *d, size_t n)
{
    d->state = d->state * 6364136223846793005ull + 1442695040888963407ull;
    return (size_t)(d->state >> 33) % n;
}

uint64_t hash_number(uint64_t h, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        h = (h ^ (n >> 8 * i & 0xFF)) * 0x100000001B3ull;
    return h;
}

static void add_character(struct strbuf *text, uint32_t c)
{
    if (c < 0x80) {
        strbuf_addc(text, (char)c);
        return;
    }
    if (c < 0x800) {
        strbuf_addc(text, (char)(0xC0 | c >> 6));
    } else {
        if (c < 0x10000) {
            strbuf_addc(text, (char)(0xE0 | c >> 12));
        } else {
            strbuf_addc(text, (char)(0xF0 | c >> 18));
            strbuf_addc(text, (char)(0x80 | (c >> 12 & 0x3F)));
        }
        strbuf_addc(text, (char)(0x80 | (c >> 6 & 0x3F)));
    }
    strbuf_addc(text, (char)(0x80 | (c & 0x3F)));
}

static void read_points(struct unicode_text *u, FILE *golden)
{
    unsigned ranges, first, last;
    u->points = xcalloc(0x110000, sizeof(*u->points));
    assert_int_equal(fscanf(golden, "ranges %u", &ranges), 1);
    while (ranges--) {
        assert_int_equal(fscanf(golden, "%x %x", &first, &last), 2);
        assert_true(first <= last && last < 0x110000);
        for (uint32_t c = first; c <= last; c++)
            u->points[u->n++] = c;
    }
}

void unicode_text_open(struct unicode_text *u, const char *const *before, size_t n_before, FILE *golden)
{
    *u = (struct unicode_text){.before = before, .n_before = n_before, .drawing = {1}};
    char *path = data_path("tokenizer/unicode.txt");
    FILE *own = golden ? NULL : fopen(path, "r");
    assert_true(golden || own);
    read_points(u, golden ? golden : own);
    if (own)
        fclose(own);
    free(path);
}

void unicode_text_leave_out(struct unicode_text *u, const char *path)
{
    FILE *file = fopen(path, "r");
    unsigned c;
    assert_non_null(file);
    while (fscanf(file, "%x", &c) == 1) {
        size_t kept = 0;
        for (size_t i = 0; i < u->n; i++)
            if (u->points[i] != c)
                u->points[kept++] = u->points[i];
        assert_int_equal(kept + 1, u->n);
        u->n = kept;
    }
    fclose(file);
}

int unicode_text_next(struct unicode_text *u)
{
    if (u->start >= u->n) {
        if (u->pass++)
            return 0;
        u->start = 0;
        u->drawing.state = 0x9E3779B97F4A7C15ull;
    }
    strbuf_reset(&u->text);
    for (size_t i = u->start; i < u->start + CHUNK && i < u->n; i++) {
        strbuf_adds(&u->text, u->before[draw_below(&u->drawing, u->n_before)]);
        add_character(&u->text, u->points[u->pass ? draw_below(&u->drawing, u->n) : i]);
    }
    u->start += CHUNK;
    return 1;
}

void unicode_text_close(struct unicode_text *u)
{
    strbuf_free(&u->text);
    free(u->points);
}
