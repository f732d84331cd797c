/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Patterns of tokenizer.json are Oniguruma's (Ruby syntax, UTF-8), and are matched by PCRE2. Where the two
 * read the same characters differently they are rewritten; what has no counterpart is refused:
 *
 *   \s \S \h \H           Unicode's White_Space, hexadecimal digits
 *   \p{Name}              longer names are scripts, without Unicode's script extensions
 *   x{n,m}+               repeats the interval; in PCRE2 it would be possessive
 *   x{,m}                 from none on; in PCRE2 (before 10.43) these characters themselves
 *   ^ $                   a line's start and end
 *   [a[bc]]               the union
 *
 * \w is refused: what Oniguruma takes for a word's character is one thing alone and another in brackets.
 */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/base/memory.h"
#include "saescope/model/tokenizer_internal.h"

#define PATTERN_BYTES_MAX ((size_t)1 << 16)
#define GROUPS_MAX        64
#define NO_ATOM           SIZE_MAX

#define BLANK     "\\p{White_Space}"
#define NOT_BLANK "\\P{White_Space}"
#define HEX       "0-9a-fA-F"

/* GPT-2's pattern; every repeat of one class is possessive where nothing could be given back. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++| ?[^" BLANK
                                   "\\p{L}\\p{N}]++|" BLANK "+(?!" NOT_BLANK ")|" BLANK "++";

struct translation {
    const char *pattern;
    size_t n, at; /* of pattern */
    struct strbuf *out;
    size_t atom; /* where in out a quantifier's operand starts, or NO_ATOM */
    size_t groups[GROUPS_MAX], n_groups;
    struct error *err;
};

static int refuse(struct translation *t, const char *what)
{
    return error_set(t->err, STATUS_REFUSED, "%s in the pattern, at byte %zu, is not supported", what, t->at);
}

static int looking_at(const struct translation *t, const char *text)
{
    size_t n = strlen(text);
    return t->n - t->at >= n && !memcmp(t->pattern + t->at, text, n);
}

static char peek(const struct translation *t)
{
    return t->at < t->n ? t->pattern[t->at] : '\0';
}

/* ---- Escapes. ---- */

/* \p{Name}, \p{^Name}, \P{Name}; `at` is behind the letter. */
static int translate_property(struct translation *t, int negated)
{
    static const char *const binary[] = {"Alphabetic", "Alpha", "White_Space", "Space", "Uppercase",
                                         "Lowercase",  "Emoji", "Ideographic", NULL};
    const char *end = memchr(t->pattern + t->at, '}', t->n - t->at);
    if (peek(t) != '{' || !end)
        return refuse(t, "a property without a name in braces");
    const char *name = t->pattern + t->at + 1;
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    size_t n = (size_t)(end - name);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != ' ')
            return refuse(t, "this property");
    int is_script = n > 2;
    for (size_t i = 0; binary[i]; i++)
        if (strlen(binary[i]) == n && !strncasecmp(name, binary[i], n))
            is_script = 0;
    strbuf_addf(t->out, "\\%c{%s%.*s}", negated ? 'P' : 'p', is_script ? "sc:" : "", (int)n, name);
    t->at = (size_t)(end - t->pattern) + 1;
    return STATUS_OK;
}

/* \xHH, \x{H...}, \uHHHH; `at` is behind the letter. */
static int translate_code(struct translation *t, char letter)
{
    int braces = letter == 'x' && peek(t) == '{';
    size_t start = t->at + (size_t)braces, n = 0, most = braces ? 6 : letter == 'u' ? 4 : 2;
    while (n < most && start + n < t->n && isxdigit((unsigned char)t->pattern[start + n]))
        n++;
    if (!n || (letter == 'u' && n < 4) || (braces && (start + n == t->n || t->pattern[start + n] != '}')))
        return refuse(t, "this escape");
    char digits[8];
    snprintf(digits, sizeof(digits), "%.*s", (int)n, t->pattern + start);
    if (letter == 'x' && !braces && strtoul(digits, NULL, 16) >= 0x80)
        return refuse(t, "a byte of a character");
    strbuf_addf(t->out, "\\x{%s}", digits);
    t->at = start + n + (size_t)braces;
    return STATUS_OK;
}

/* Escapes that stand for a set, with what they become within and outside of brackets (NULL: refused). */
static const struct {
    char letter;
    const char *within, *outside;
} sets[] = {
    {'s', BLANK, BLANK},         {'S', NOT_BLANK, NOT_BLANK}, {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"}, {'h', HEX, "[" HEX "]"},     {'H', NULL, "[^" HEX "]"},
    {'v', "\\x0B", "\\x0B"},     {'b', "\\x08", NULL},        {'A', NULL, "\\A"},
    {'z', NULL, "\\z"},          {'Z', NULL, "\\Z"},
};

/* `at` is at the backslash. */
static int translate_escape(struct translation *t, int within)
{
    char letter = t->at + 1 < t->n ? t->pattern[t->at + 1] : '\0';
    for (size_t i = 0; i < ARRAY_LENGTH(sets); i++) {
        const char *to = within ? sets[i].within : sets[i].outside;
        if (sets[i].letter == letter && to) {
            strbuf_adds(t->out, to);
            t->at += 2;
            return STATUS_OK;
        }
    }
    if (letter && strchr("nrtfae", letter)) {
        strbuf_addf(t->out, "\\%c", letter);
        t->at += 2;
        return STATUS_OK;
    }
    if (letter && strchr("pPxu", letter)) {
        t->at += 2;
        return letter == 'x' || letter == 'u' ? translate_code(t, letter)
                                              : translate_property(t, letter == 'P');
    }
    if (isalnum((unsigned char)letter) || !letter)
        return refuse(t, "this escape");
    if ((unsigned char)letter < 0x80)
        strbuf_addc(t->out, '\\');
    strbuf_addc(t->out, letter);
    t->at += 2;
    return STATUS_OK;
}

/* ---- [...] ---- */

static int translate_class(struct translation *t)
{
    size_t depth = 0;
    do {
        char c = peek(t);
        int starts = 0;
        if (t->at == t->n)
            return refuse(t, "a set without its end");
        if (depth && (looking_at(t, "[:") || looking_at(t, "[^") || looking_at(t, "&&")))
            return refuse(t, "this kind of set");
        if (c == '[') {
            if (!depth++)
                strbuf_adds(t->out, looking_at(t, "[^") ? "[^" : "[");
            t->at += looking_at(t, "[^") ? 2 : 1;
            starts = 1;
            c = peek(t);
            if (c == ']')
                return refuse(t, "an empty set");
            if (c != '-')
                continue;
        }
        if (c == ']') {
            if (!--depth)
                strbuf_addc(t->out, ']');
            t->at++;
        } else if (c == '\\') {
            int status = translate_escape(t, 1);
            if (status)
                return status;
        } else {
            /* What is no range must become none beside its new neighbours. */
            int literal = c == '-' && (starts || (t->at + 1 < t->n && strchr("[]", t->pattern[t->at + 1])));
            if (literal || c == '^')
                strbuf_addc(t->out, '\\');
            strbuf_addc(t->out, c);
            t->at++;
        }
    } while (depth);
    return STATUS_OK;
}

/* ---- Groups and repeats. ---- */

static int translate_group(struct translation *t)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:", NULL};
    if (t->at == 0 && looking_at(t, "(?i)")) {
        strbuf_adds(t->out, "(?i)");
        t->at += 4;
        return STATUS_OK;
    }
    if (t->n_groups == GROUPS_MAX)
        return refuse(t, "groups nested so deeply");
    t->groups[t->n_groups++] = t->out->length;
    t->atom = NO_ATOM;
    for (size_t i = 0; known[i]; i++)
        if (looking_at(t, known[i])) {
            strbuf_adds(t->out, known[i]);
            t->at += strlen(known[i]);
            return STATUS_OK;
        }
    if (looking_at(t, "(?"))
        return refuse(t, "this kind of group");
    strbuf_adds(t->out, "(?:");
    t->at++;
    return STATUS_OK;
}

/* {n}, {n,}, {,m}, {n,m}: how many bytes it has, 0 when it is none of these. */
static size_t interval_length(const struct translation *t, unsigned *least, int *most)
{
    char text[32];
    unsigned n = 0, m = 0;
    size_t left = t->n - t->at;
    int length = 0;
    snprintf(text, sizeof(text), "%.*s", (int)(left < sizeof(text) ? left : sizeof(text) - 1),
             t->pattern + t->at);
    *most = -1;
    if (sscanf(text, "{%4u}%n", &n, &length) == 1 && length) {
        *most = (int)n;
    } else if (sscanf(text, "{%4u,}%n", &n, &length) != 1 || !length) {
        if ((sscanf(text, "{%4u,%4u}%n", &n, &m, &length) != 2 || !length)) {
            n = 0;
            if (sscanf(text, "{,%4u}%n", &m, &length) != 1 || !length)
                return 0;
        }
        *most = (int)m;
    }
    *least = n;
    return strpbrk(text, " +-") && strpbrk(text, " +-") < text + length ? 0 : (size_t)length;
}

static int translate_interval(struct translation *t)
{
    unsigned least;
    int most;
    size_t length = interval_length(t, &least, &most);
    if (!length) {
        t->atom = t->out->length;
        strbuf_adds(t->out, "\\{");
        t->at++;
        return STATUS_OK;
    }
    int fixed = most == (int)least && !memchr(t->pattern + t->at, ',', length);
    if (t->atom == NO_ATOM || (most >= 0 && most < (int)least))
        return refuse(t, "this repeat");
    t->at += length;
    if (fixed && peek(t) == '?')
        return refuse(t, "this repeat");
    if (most < 0)
        strbuf_addf(t->out, "{%u,}", least);
    else
        strbuf_addf(t->out, "{%u,%d}", least, most);
    if (peek(t) == '+') {
        struct strbuf whole = STRBUF_INIT;
        strbuf_adds(&whole, "(?:");
        strbuf_add(&whole, t->out->data + t->atom, t->out->length - t->atom);
        strbuf_addc(&whole, ')');
        t->out->length = t->atom;
        strbuf_add(t->out, whole.data, whole.length);
        strbuf_free(&whole);
    }
    return STATUS_OK;
}

static int translate_next(struct translation *t)
{
    char c = peek(t);
    size_t start = t->out->length;
    int status = STATUS_OK;
    switch (c) {
    case '\\':
        status = translate_escape(t, 0);
        t->atom = start;
        return status;
    case '[':
        status = translate_class(t);
        t->atom = start;
        return status;
    case '(':
        return translate_group(t);
    case '{':
        return translate_interval(t);
    case ')':
        if (!t->n_groups)
            return refuse(t, "an end of no group");
        t->atom = t->groups[--t->n_groups];
        break;
    case '^':
    case '$':
        strbuf_adds(t->out, c == '^' ? "(?:\\A|(?<=\\n)(?!\\z))" : "(?=\\n|\\z)");
        t->at++;
        t->atom = NO_ATOM;
        return STATUS_OK;
    case '|':
        t->atom = NO_ATOM;
        break;
    case '*':
    case '+':
    case '?':
        break; /* a second one makes it lazy or possessive, in both */
    case ']':
    case '}':
        strbuf_addc(t->out, '\\');
        t->atom = start;
        break;
    default:
        if (((unsigned char)c & 0xC0) != 0x80)
            t->atom = start;
    }
    strbuf_addc(t->out, c);
    t->at++;
    return STATUS_OK;
}

static int translate(const char *pattern, size_t n, struct strbuf *out, struct error *err)
{
    struct translation t = {.pattern = pattern, .n = n, .out = out, .atom = NO_ATOM, .err = err};
    int status = STATUS_OK;
    if (n > PATTERN_BYTES_MAX)
        return error_set(err, STATUS_REFUSED, "a pattern of %zu bytes", n);
    while (t.at < t.n && !status)
        status = translate_next(&t);
    if (!status && t.n_groups)
        status = refuse(&t, "a group without its end");
    return status;
}

/* ---- Compiling. ---- */

static int compile(struct step *s, const char *pattern, size_t n, uint32_t options, struct error *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context)
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    s->code = pcre2_compile((PCRE2_SPTR)pattern, n, PCRE2_UTF | options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!s->code) {
        char message[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
        return error_set(err, STATUS_REFUSED, "the pattern: %s (PCRE2 10.40 or later is needed)", message);
    }
    s->jit = pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE) == 0;
    return STATUS_OK;
}

int step_compile(struct step *s, struct error *err)
{
    if (s->syntax == PATTERN_GPT2)
        return compile(s, gpt2_pattern, sizeof(gpt2_pattern) - 1, PCRE2_UCP, err);
    if (s->syntax == PATTERN_LITERAL)
        return s->n_from ? compile(s, s->from, s->n_from, PCRE2_LITERAL, err)
                         : error_set(err, STATUS_REFUSED, "an empty pattern");
    struct strbuf pattern = STRBUF_INIT;
    int status = translate(s->from, s->n_from, &pattern, err);
    if (!status)
        status = compile(s, strbuf_string(&pattern), pattern.length, PCRE2_UCP, err);
    strbuf_free(&pattern);
    return status;
}

/* Known patterns: nothing that they match has a blank after its first character, unless all is white space,
 * and they look at nothing behind a blank. */
static const char *const cutting_patterns[] = {
    /* GPT-2 */
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    /* Llama 3, and Qwen's with single digits */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};

enum cutting step_cutting(const struct step *s, const char *mark)
{
    if (s->inverted)
        return CUTTING_UNKNOWN;
    if (s->syntax == PATTERN_LITERAL && mark) /* what a blank was replaced by, or the blank that is no more */
        return !strcmp(s->from, " ")                                       ? CUTTING_HARMLESS
               : !strcmp(s->from, mark) && s->behaviour == SPLIT_WITH_NEXT ? CUTTING_BLANKS
                                                                           : CUTTING_UNKNOWN;
    if (s->behaviour != SPLIT_ISOLATED)
        return CUTTING_UNKNOWN;
    if (s->syntax == PATTERN_GPT2)
        return CUTTING_NEWLINES;
    if (!strcmp(s->from, "\\p{N}") || !strcmp(s->from, "\\p{N}+"))
        return CUTTING_HARMLESS;
    for (size_t i = 0; s->syntax == PATTERN_ONIGURUMA && i < ARRAY_LENGTH(cutting_patterns); i++)
        if (!strcmp(s->from, cutting_patterns[i]))
            return CUTTING_BLANKS;
    return CUTTING_UNKNOWN;
}
