/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes from data made visible and harmless, and measured as the terminal will. */
#include "config.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <utf8proc.h>

#include "saescope/base/display.h"

static int utf8_locale;

int locale_start(void)
{
    if (!setlocale(LC_ALL, ""))
        setlocale(LC_CTYPE, ""); /* another category may be what is missing */
    if (strcmp(nl_langinfo(CODESET), "UTF-8")) {
        const char *name = getenv("LC_ALL");
        if (!name || !*name)
            name = getenv("LC_CTYPE");
        if (!name || !*name)
            name = getenv("LANG");
        if (name && (strcasestr(name, "utf-8") || strcasestr(name, "utf8")))
            setlocale(LC_CTYPE, "C.UTF-8");
    }
    setlocale(LC_NUMERIC, "C");
    utf8_locale = !strcmp(nl_langinfo(CODESET), "UTF-8");
    return utf8_locale;
}

int locale_is_utf8(void)
{
    return utf8_locale;
}

/*
 * Decodes one character of p[0, n), n > 0. Returns its length and sets *c; for invalid bytes *c is -1 and the
 * length that of the maximal part that could have begun a character (the Unicode Standard, section 3.9, table
 * 3-7).
 */
static size_t decode(const unsigned char *p, size_t n, int32_t *c)
{
    *c = -1;
    if (p[0] < 0x80) {
        *c = p[0];
        return 1;
    }
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 1;
    size_t length = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    /* The second byte's range keeps out overlong forms, surrogates and numbers above 10FFFF. */
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    int32_t value = p[0] & (0x7F >> length);
    for (size_t i = 1; i < length; i++) {
        if (i >= n || p[i] < low || p[i] > high)
            return i;
        value = value << 6 | (p[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *c = value;
    return length;
}

int utf8_valid(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    int32_t c;
    for (size_t i = 0; i < n;) {
        i += decode(p + i, n - i, &c);
        if (c < 0)
            return 0;
    }
    return 1;
}

void utf8_replace_invalid(struct strbuf *out, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    int32_t c;
    strbuf_add(out, "", 0);
    for (size_t i = 0; i < n;) {
        size_t length = decode(p + i, n - i, &c);
        if (c < 0)
            strbuf_adds(out, "\xEF\xBF\xBD");
        else
            strbuf_add(out, p + i, length);
        i += length;
    }
}

enum appearance {
    VISIBLE,   /* takes columns of its own */
    COMBINING, /* shown with the character before it */
    HIDDEN     /* must be spelled out */
};

static enum appearance appearance(int32_t c)
{
    if (c < 0x80)
        return c >= 0x20 && c != 0x7F ? VISIBLE : HIDDEN;
    if (!utf8_locale)
        return HIDDEN;
    int columns = wcwidth((wchar_t)c);
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return HIDDEN;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return columns >= 0 ? COMBINING : HIDDEN;
    default:
        /* Letters without width are the vowels and finals of Hangul, and fillers. */
        return columns > 0 ? VISIBLE : columns == 0 ? COMBINING : HIDDEN;
    }
}

#define MARKS_MAX 4 /* what a cell of ncurses holds beside its character */

void displayable(struct strbuf *out, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    int marks_left = 0; /* how many combining characters may follow here */
    int32_t c;
    strbuf_add(out, "", 0);
    for (size_t i = 0, length; i < n; i += length) {
        length = decode(p + i, n - i, &c);
        enum appearance form = c < 0 ? HIDDEN : appearance(c);
        if (form == VISIBLE || (form == COMBINING && marks_left > 0)) {
            strbuf_add(out, p + i, length);
            marks_left = form == COMBINING ? marks_left - 1 : c == ' ' ? 0 : MARKS_MAX;
            continue;
        }
        marks_left = 0;
        if (c == '\n')
            strbuf_adds(out, "\\n");
        else if (c == '\t')
            strbuf_adds(out, "\\t");
        else if (c >= 0x80)
            strbuf_addf(out, "<U+%04X>", (unsigned)c);
        else
            for (size_t j = 0; j < length; j++)
                strbuf_addf(out, "\\x%02X", p[i + j]);
    }
}

char *displayable_string(const char *s)
{
    struct strbuf out = STRBUF_INIT;
    displayable(&out, s, strlen(s));
    return strbuf_detach(&out);
}

/* Columns of one decoded character; what is not a character counts one, as its byte is drawn. */
static size_t columns_of(int32_t c)
{
    if (c < 0x80 || !utf8_locale)
        return 1;
    int columns = wcwidth((wchar_t)c);
    return columns < 0 ? 1 : (size_t)columns;
}

size_t display_width(const char *displayable_text, size_t n)
{
    const unsigned char *p = (const unsigned char *)displayable_text;
    size_t columns = 0;
    int32_t c;
    for (size_t i = 0; i < n;) {
        i += decode(p + i, n - i, &c);
        columns += columns_of(c);
    }
    return columns;
}

size_t display_prefix(const char *displayable_text, size_t n, size_t columns)
{
    const unsigned char *p = (const unsigned char *)displayable_text;
    size_t end = 0; /* of the last grapheme that fits */
    size_t used = 0;
    int32_t c, before = -1, state = 0;
    for (size_t i = 0, length; i < n; i += length) {
        length = decode(p + i, n - i, &c);
        if (i == 0 || c < 0 || before < 0 || utf8proc_grapheme_break_stateful(before, c, &state))
            end = i;
        used += columns_of(c);
        if (used > columns)
            return end;
        before = c;
    }
    return n;
}
