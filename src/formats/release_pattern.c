/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Patterns with braces: {a,b}, {0..11}, {*}; {1} for what a brace stands for. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/formats/releases.h"

static void push(struct captures *c, const char *s, size_t n)
{
    if (c->n < PATTERN_CAPTURES)
        c->text[c->n++] = xstrndup(s, n);
}

static void pop_to(struct captures *c, size_t n)
{
    while (c->n > n)
        free(c->text[--c->n]);
}

void captures_free(struct captures *c)
{
    pop_to(c, 0);
}

/* What a brace stands for, one alternative after the other: words, or numbers. */
struct choices {
    const char *at, *end;      /* of what is left of {a,b,c} */
    unsigned long long number; /* of {0..11} */
    unsigned long long last;
    int is_range;
    char digits[24];
};

static void choices_start(struct choices *c, const char *inside, size_t n)
{
    char *text = xstrndup(inside, n), *dots = strstr(text, "..");
    *c = (struct choices){.at = inside, .end = inside + n};
    if (dots) {
        *dots = '\0';
        c->is_range =
            parse_u64(text, 0, 1000000, &c->number) == 0 && parse_u64(dots + 2, 0, 1000000, &c->last) == 0;
    }
    free(text);
}

static int choices_next(struct choices *c, const char **word, size_t *n)
{
    if (c->is_range) {
        if (c->number > c->last)
            return 0;
        *n = (size_t)snprintf(c->digits, sizeof c->digits, "%llu", c->number++);
        *word = c->digits;
        return 1;
    }
    if (c->at > c->end)
        return 0;
    *word = c->at;
    *n = strcspn(c->at, ",}");
    c->at += *n + 1;
    return 1;
}

int pattern_match(const char *pattern, const char *text, struct captures *c)
{
    size_t n = strcspn(pattern, "{"), before = c->n, length;
    const char *word, *end = strchr(pattern, '}');
    if (strncmp(pattern, text, n) != 0)
        return 0;
    pattern += n;
    text += n;
    if (*pattern == '\0' || !end)
        return *pattern == '\0' && *text == '\0';
    const char *inside = pattern + 1, *rest = end + 1;
    if (strncmp(inside, "*}", 2) == 0) {
        for (size_t taken = strcspn(text, "/"); taken > 0; taken--) {
            push(c, text, taken);
            if (pattern_match(rest, text + taken, c))
                return 1;
            pop_to(c, before);
        }
        return 0;
    }
    struct choices choices;
    choices_start(&choices, inside, (size_t)(end - inside));
    while (choices_next(&choices, &word, &length)) {
        if (strncmp(word, text, length) != 0)
            continue;
        push(c, word, length);
        if (pattern_match(rest, text + length, c))
            return 1;
        pop_to(c, before);
    }
    return 0;
}

char *pattern_fill(const char *text, const struct captures *c)
{
    struct strbuf out = STRBUF_INIT;
    for (; *text; text++) {
        size_t which = text[0] == '{' && text[1] >= '1' && text[1] <= '9' && text[2] == '}'
                           ? (size_t)(text[1] - '0')
                           : 0;
        if (which > 0 && which <= c->n) {
            strbuf_adds(&out, c->text[which - 1]);
            text += 2;
        } else {
            strbuf_addc(&out, *text);
        }
    }
    return strbuf_detach(&out);
}

static void each_from(struct strbuf *text, const char *pattern, struct captures *c,
                      void (*each)(void *, const char *, const struct captures *, int), void *arg)
{
    size_t n = strcspn(pattern, "{"), length = text->length, before = c->n, m;
    const char *word, *end = strchr(pattern, '}');
    strbuf_add(text, pattern, n);
    pattern += n;
    if (*pattern == '\0' || !end) {
        each(arg, strbuf_string(text), c, 0);
    } else if (strncmp(pattern, "{*}", 3) == 0) {
        each(arg, strbuf_string(text), c, 1);
    } else {
        struct choices choices;
        size_t start = text->length;
        choices_start(&choices, pattern + 1, (size_t)(end - pattern - 1));
        while (choices_next(&choices, &word, &m)) {
            push(c, word, m);
            strbuf_add(text, word, m);
            each_from(text, end + 1, c, each, arg);
            text->length = start;
            text->data[start] = '\0';
            pop_to(c, before);
        }
    }
    text->length = length;
    if (text->data)
        text->data[length] = '\0';
}

void pattern_each(const char *pattern, const struct captures *c,
                  void (*each)(void *, const char *, const struct captures *, int), void *arg)
{
    struct captures own = {{NULL}, 0};
    struct strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < c->n; i++)
        push(&own, c->text[i], strlen(c->text[i]));
    each_from(&text, pattern, &own, each, arg);
    captures_free(&own);
    strbuf_free(&text);
}
