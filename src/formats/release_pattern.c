/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Patterns with braces: {a,b}, {0..11}, {*}; {1} for what a brace stands for, {1:x,y} for what goes with it.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/formats/releases.h"

static void push(struct captures *c, const char *s, size_t n, size_t at)
{
    if (c->n == PATTERN_CAPTURES)
        return;
    c->at[c->n] = at;
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

#define NOWHERE ((size_t)-1) /* of a {*}, which has no list */

static void item_at(const char *list, const char *end, size_t at, const char **word, size_t *n)
{
    const char *p = list;
    for (; at > 0 && at != NOWHERE && p < end; at--)
        p += strcspn(p, ",}") + 1;
    *word = at == 0 && p <= end ? p : end;
    *n = strcspn(*word, ",}");
}

/* Whether the brace is {1} or {1:x,y} of a capture that there is; its text. */
static int refers(const char *inside, size_t n, const struct captures *c, const char **word, size_t *length)
{
    size_t which = n > 0 && inside[0] >= '1' && inside[0] <= '9' ? (size_t)(inside[0] - '0') : 0;
    if (which == 0 || which > c->n || (n > 1 && inside[1] != ':'))
        return 0;
    if (n > 1) {
        item_at(inside + 2, inside + n, c->at[which - 1], word, length);
    } else {
        *word = c->text[which - 1];
        *length = strlen(*word);
    }
    return 1;
}

/* What a brace stands for, one alternative after the other: words, or numbers. */
struct choices {
    const char *only; /* of {1} */
    size_t only_length;
    const char *at, *end;      /* of what is left of {a,b,c} */
    unsigned long long number; /* of {0..11} */
    unsigned long long last;
    int is_range;
    char digits[24];
};

static void choices_start(struct choices *c, const char *inside, size_t n, const struct captures *captures)
{
    *c = (struct choices){.at = inside, .end = inside + n};
    if (refers(inside, n, captures, &c->only, &c->only_length)) {
        c->at = c->end;
        return;
    }
    char *text = xstrndup(inside, n), *dots = strstr(text, "..");
    if (dots) {
        *dots = '\0';
        c->is_range =
            parse_u64(text, 0, 1000000, &c->number) == 0 && parse_u64(dots + 2, 0, 1000000, &c->last) == 0;
    }
    free(text);
}

static int choices_next(struct choices *c, const char **word, size_t *n)
{
    if (c->only) {
        *word = c->only;
        *n = c->only_length;
        return c->at++ == c->end;
    }
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
            push(c, text, taken, NOWHERE);
            if (pattern_match(rest, text + taken, c))
                return 1;
            pop_to(c, before);
        }
        return 0;
    }
    struct choices choices;
    choices_start(&choices, inside, (size_t)(end - inside), c);
    for (size_t at = 0; choices_next(&choices, &word, &length); at++) {
        if (strncmp(word, text, length) != 0)
            continue;
        push(c, word, length, at);
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
        const char *end = *text == '{' ? strchr(text, '}') : NULL, *word;
        size_t n;
        if (end && refers(text + 1, (size_t)(end - text) - 1, c, &word, &n)) {
            strbuf_add(&out, word, n);
            text = end;
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
        choices_start(&choices, pattern + 1, (size_t)(end - pattern - 1), c);
        for (size_t at = 0; choices_next(&choices, &word, &m); at++) {
            push(c, word, m, at);
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
    struct captures own = {.n = 0};
    struct strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < c->n; i++)
        push(&own, c->text[i], strlen(c->text[i]), c->at[i]);
    each_from(&text, pattern, &own, each, arg);
    captures_free(&own);
    strbuf_free(&text);
}
