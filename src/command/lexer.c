/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text of the command language to words. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/lexer.h"

struct lexer {
    const char *text;
    size_t n, at;
    int line;
    const struct settings *settings;
    int partial; /* completion: nothing is an error */
    struct error *err;
};

void word_list_free(struct word_list *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->words[i]);
    free(w->words);
    free(w->pipe);
    memset(w, 0, sizeof *w);
}

static void add_owned(struct word_list *w, char *word)
{
    if (w->n == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 8;
        w->words = xreallocarray(w->words, w->capacity, sizeof *w->words);
    }
    w->words[w->n++] = word;
}

void word_list_add(struct word_list *w, const char *word)
{
    add_owned(w, xstrdup(word));
}

static int at_end(const struct lexer *l)
{
    return l->at >= l->n;
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int is_setting_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int fail(struct lexer *l, const char *message)
{
    if (l->partial)
        return STATUS_OK;
    return error_set(l->err, STATUS_USAGE, "%s", message);
}

static void add_utf8(struct strbuf *b, unsigned long c)
{
    if (c < 0x80) {
        strbuf_addc(b, (char)c);
    } else if (c < 0x800) {
        strbuf_addc(b, (char)(0xc0 | c >> 6));
        strbuf_addc(b, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        strbuf_addc(b, (char)(0xe0 | c >> 12));
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
        strbuf_addc(b, (char)(0x80 | (c & 0x3f)));
    } else {
        strbuf_addc(b, (char)(0xf0 | c >> 18));
        strbuf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
        strbuf_addc(b, (char)(0x80 | (c & 0x3f)));
    }
}

/* \xHH and \u{H…}; l->at is behind the letter. */
static int hex_escape(struct lexer *l, struct strbuf *b)
{
    int high = l->at < l->n ? hex_digit(l->text[l->at]) : -1;
    int low = l->at + 1 < l->n ? hex_digit(l->text[l->at + 1]) : -1;
    if (high < 0 || low < 0)
        return fail(l, "\\x in \"…\" needs two hexadecimal digits");
    if (high == 0 && low == 0)
        return fail(l, "\\x00 cannot stand in a word");
    strbuf_addc(b, (char)(high << 4 | low));
    l->at += 2;
    return STATUS_OK;
}

static int code_point_escape(struct lexer *l, struct strbuf *b)
{
    unsigned long c = 0;
    size_t digits = 0, at = l->at;
    if (at < l->n && l->text[at] == '{')
        for (at++; at < l->n && hex_digit(l->text[at]) >= 0 && digits < 7; at++, digits++)
            c = c << 4 | (unsigned long)hex_digit(l->text[at]);
    if (digits == 0 || at >= l->n || l->text[at] != '}' || c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return fail(l, "\\u in \"…\" needs a code point in braces, for example \\u{1F600}");
    add_utf8(b, c);
    l->at = at + 1;
    return STATUS_OK;
}

/* Escape inside "…"; l->at is behind the backslash. */
static int quoted_escape(struct lexer *l, struct strbuf *b)
{
    if (at_end(l))
        return fail(l, "a \" is not closed");
    char c = l->text[l->at++];
    switch (c) {
    case '\\':
    case '"':
    case '$':
        strbuf_addc(b, c);
        return STATUS_OK;
    case 'n':
        strbuf_addc(b, '\n');
        return STATUS_OK;
    case 't':
        strbuf_addc(b, '\t');
        return STATUS_OK;
    case '\n':
        l->line++;
        return STATUS_OK;
    case 'x':
        return hex_escape(l, b);
    case 'u':
        return code_point_escape(l, b);
    default:
        return fail(l, "unknown escape in \"…\": it knows \\\\ \\\" \\$ \\n \\t \\xHH and \\u{H}");
    }
}

/* $name or ${name}; l->at is behind the dollar. A dollar before anything else is itself. */
static int setting_value(struct lexer *l, struct strbuf *b)
{
    int braces = l->at < l->n && l->text[l->at] == '{';
    size_t start = l->at + (size_t)braces, end = start;
    while (end < l->n && is_setting_char(l->text[end]))
        end++;
    if (end == start && !braces) {
        strbuf_addc(b, '$');
        return STATUS_OK;
    }
    if (braces && (end == start || end >= l->n || l->text[end] != '}'))
        return fail(l, "${ needs a setting's name and a closing brace");
    char *name = xstrndup(l->text + start, end - start);
    l->at = end + (size_t)braces;
    const char *value = l->settings ? settings_text(l->settings, name) : NULL;
    int status = STATUS_OK;
    if (value)
        strbuf_adds(b, value);
    else if (!l->partial)
        status = error_set(l->err, STATUS_USAGE, "no setting named %s: write '$%s' in single quotes for the text itself",
                           name, name);
    free(name);
    return status;
}

static int double_quoted(struct lexer *l, struct strbuf *b, char *open)
{
    while (!at_end(l)) {
        char c = l->text[l->at++];
        int status = STATUS_OK;
        if (c == '"')
            return STATUS_OK;
        if (c == '\n')
            l->line++;
        if (c == '\\')
            status = quoted_escape(l, b);
        else if (c == '$' && !l->partial)
            status = setting_value(l, b);
        else
            strbuf_addc(b, c);
        if (status != STATUS_OK)
            return status;
    }
    *open = '"';
    return fail(l, "a \" is not closed");
}

static int single_quoted(struct lexer *l, struct strbuf *b, char *open)
{
    while (!at_end(l)) {
        char c = l->text[l->at++];
        if (c == '\'')
            return STATUS_OK;
        if (c == '\n')
            l->line++;
        strbuf_addc(b, c);
    }
    *open = '\'';
    return fail(l, "a ' is not closed");
}

/* One word; l->at is on its first character. */
static int read_word(struct lexer *l, struct strbuf *b, char *open)
{
    while (!at_end(l)) {
        char c = l->text[l->at];
        int status = STATUS_OK;
        if (is_blank(c) || c == '\n' || c == ';' || c == '|')
            return STATUS_OK;
        l->at++;
        if (c == '\'') {
            status = single_quoted(l, b, open);
        } else if (c == '"') {
            status = double_quoted(l, b, open);
        } else if (c == '$' && !l->partial) {
            status = setting_value(l, b);
        } else if (c == '\\') {
            if (at_end(l))
                return fail(l, "a backslash ends the input");
            if (l->text[l->at] == '\n')
                l->line++;
            else
                strbuf_addc(b, l->text[l->at]);
            l->at++;
        } else {
            strbuf_addc(b, c);
        }
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static void skip_line(struct lexer *l)
{
    while (!at_end(l) && l->text[l->at] != '\n')
        l->at++;
}

/* Blanks and continued lines between words. */
static void skip_blanks(struct lexer *l)
{
    while (!at_end(l)) {
        if (is_blank(l->text[l->at])) {
            l->at++;
        } else if (l->text[l->at] == '\\' && l->at + 1 < l->n && l->text[l->at + 1] == '\n') {
            l->at += 2;
            l->line++;
        } else {
            return;
        }
    }
}

static int take_pipe(struct lexer *l, int allow_pipe, struct word_list *out)
{
    size_t start = ++l->at;
    if (!allow_pipe)
        return fail(l, "`|` is allowed only in what is typed or named by the user; quote it to mean the character");
    if (out->n == 0)
        return fail(l, "`|` needs a command before it");
    skip_line(l);
    out->pipe = xstrndup(l->text + start, l->at - start);
    if (strspn(out->pipe, " \t\r") == strlen(out->pipe))
        return fail(l, "`|` needs a shell command after it");
    return STATUS_OK;
}

/* Words up to the command's end. */
static int read_command(struct lexer *l, int allow_pipe, struct word_list *out)
{
    for (;;) {
        skip_blanks(l);
        out->last_start = l->at;
        out->last_open = 0;
        if (at_end(l))
            return STATUS_OK;
        char c = l->text[l->at];
        if (c == '\n' || c == ';') {
            l->at++;
            l->line += c == '\n';
            return STATUS_OK;
        }
        if (c == '#') {
            skip_line(l);
            continue;
        }
        if (c == '|') {
            int status = take_pipe(l, allow_pipe, out);
            if (status != STATUS_OK || out->pipe)
                return status;
            continue;
        }
        struct strbuf word = STRBUF_INIT;
        if (out->n == 0)
            out->line = l->line;
        size_t start = l->at;
        int status = read_word(l, &word, &out->last_quote);
        add_owned(out, strbuf_detach(&word));
        if (status != STATUS_OK)
            return status;
        if (at_end(l)) {
            out->last_start = start;
            out->last_open = 1;
            return STATUS_OK;
        }
    }
}

int lexer_next(const char *text, size_t n, size_t *offset, int *line, const struct settings *settings, int allow_pipe,
               struct word_list *out, struct error *err)
{
    struct lexer l = {.text = text, .n = n, .at = *offset, .line = *line, .settings = settings, .err = err};
    memset(out, 0, sizeof *out);
    int status = read_command(&l, allow_pipe, out);
    if (status != STATUS_OK) {
        int first = out->line ? out->line : l.line;
        word_list_free(out);
        out->line = first;
        /* What is left of the line is not run as a command of its own. */
        skip_line(&l);
    }
    *offset = l.at;
    *line = l.line;
    return status;
}

void lexer_partial(const char *text, size_t n, struct word_list *out)
{
    struct lexer l = {.text = text, .n = n, .line = 1, .partial = 1};
    memset(out, 0, sizeof *out);
    do {
        word_list_free(out);
        read_command(&l, 1, out);
    } while (!at_end(&l));
    /* A text that ends in `;` or newline has an empty last command. */
    if (n > 0 && !out->last_open && (text[n - 1] == ';' || text[n - 1] == '\n') && out->last_start < n) {
        word_list_free(out);
        out->last_start = n;
    }
}

void lexer_quote(struct strbuf *out, const char *word)
{
    if (*word && !strpbrk(word, " \t\r\n;|'\"\\$#")) {
        strbuf_adds(out, word);
        return;
    }
    if (!strchr(word, '\'')) {
        strbuf_addf(out, "'%s'", word);
        return;
    }
    strbuf_addc(out, '"');
    for (const char *c = word; *c; c++) {
        if (strchr("\\\"$", *c))
            strbuf_addc(out, '\\');
        strbuf_addc(out, *c);
    }
    strbuf_addc(out, '"');
}
