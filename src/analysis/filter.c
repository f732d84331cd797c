/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Filter expressions over a list of latents:
 *
 *   expression := conjunction { "or" conjunction }
 *   conjunction := term { "and" term }
 *   term := "not" term | "(" expression ")" | comparison
 *   comparison := KEY ( < | <= | > | >= | = | == | != ) NUMBER | "label" ~ "REGEX" | "label" !~ "REGEX"
 *
 * Each part gives a column of marks, one for each latent: there are few parts and the columns are small.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent_filter.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

#define DEPTH_MAX 64

struct parser {
    const struct latent_table *table;
    struct store_txn *t;
    const char *text, *at; /* what is read, the next character */
    int depth;
    struct error *err;
};

static int parse_expression(struct parser *p, uint8_t *marks);

static void skip_blanks(struct parser *p)
{
    while (isspace((unsigned char)*p->at))
        p->at++;
}

/* The part of the expression that starts at `at`, as people see it, and what was expected there. */
static int complain(struct parser *p, const char *at, const char *expected)
{
    size_t n = strlen(at) < 20 ? strlen(at) : 20;
    struct strbuf near = STRBUF_INIT;
    displayable(&near, at, n);
    if (n)
        error_set(p->err, STATUS_USAGE, "filter: %s expected at character %zu, where it says: %s", expected,
                  (size_t)(at - p->text) + 1, strbuf_string(&near));
    else
        error_set(p->err, STATUS_USAGE, "filter: %s expected at the end", expected);
    strbuf_free(&near);
    return STATUS_USAGE;
}

static size_t word_length(const char *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_')
        n++;
    return n;
}

static int take_word(struct parser *p, const char *word)
{
    skip_blanks(p);
    size_t n = word_length(p->at);
    if (n != strlen(word) || strncmp(p->at, word, n) != 0)
        return 0;
    p->at += n;
    return 1;
}

static int take_character(struct parser *p, char c)
{
    skip_blanks(p);
    if (*p->at != c)
        return 0;
    p->at++;
    return 1;
}

/* ---- Comparisons. ---- */

enum comparison { LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, NOT_EQUAL, MATCHES, DIFFERS };

static int take_operator(struct parser *p, enum comparison *out)
{
    static const struct {
        const char *text;
        enum comparison comparison;
    } operators[] = {
        {"<=", LESS_EQUAL}, {">=", GREATER_EQUAL}, {"!=", NOT_EQUAL}, {"==", EQUAL},  {"!~", DIFFERS},
        {"<", LESS},        {">", GREATER},        {"=", EQUAL},      {"~", MATCHES},
    };
    skip_blanks(p);
    for (size_t i = 0; i < ARRAY_LENGTH(operators); i++) {
        size_t n = strlen(operators[i].text);
        if (strncmp(p->at, operators[i].text, n) == 0) {
            p->at += n;
            *out = operators[i].comparison;
            return 1;
        }
    }
    return 0;
}

static int compare(double x, enum comparison comparison, double y)
{
    switch (comparison) {
    case LESS:
        return x < y;
    case LESS_EQUAL:
        return x <= y;
    case GREATER:
        return x > y;
    case GREATER_EQUAL:
        return x >= y;
    case EQUAL:
        return x == y;
    case NOT_EQUAL:
        return x < y || x > y;
    case MATCHES:
    case DIFFERS:
        break;
    }
    return 0;
}

static int parse_number(struct parser *p, double *out)
{
    skip_blanks(p);
    const char *start = p->at;
    size_t n = strspn(start, "0123456789.+-eE");
    char digits[64];
    if (n == 0 || n >= sizeof(digits))
        return complain(p, start, "a number");
    memcpy(digits, start, n);
    digits[n] = '\0';
    if (parse_double(digits, out))
        return complain(p, start, "a number");
    p->at += n;
    return STATUS_OK;
}

static int compare_numbers(struct parser *p, enum latent_key key, enum comparison comparison, uint8_t *marks)
{
    double number;
    int status = parse_number(p, &number);
    if (!status)
        status = latent_key_check(p->table, key, p->err);
    for (size_t i = 0; !status && i < p->table->n; i++)
        marks[i] = (uint8_t)compare(latent_key_value(p->table, key, (uint32_t)i), comparison, number);
    return status;
}

/* ---- Labels. ---- */

/* '…' as it stands; "…", where \" is a quote. Every other backslash is the regular expression's own. */
static int parse_string(struct parser *p, struct strbuf *out)
{
    skip_blanks(p);
    const char *start = p->at;
    char quote = *start;
    if (quote != '"' && quote != '\'')
        return complain(p, start, "a pattern in quotes");
    for (p->at++; *p->at && *p->at != quote; p->at++) {
        if (quote == '"' && *p->at == '\\' && p->at[1] != '\0') {
            if (p->at[1] != '"')
                strbuf_addc(out, '\\');
            p->at++;
        }
        strbuf_addc(out, *p->at);
    }
    if (!*p->at)
        return complain(p, start, "a pattern with its closing quote");
    p->at++;
    return STATUS_OK;
}

struct label_marks {
    struct label_pattern *pattern;
    uint8_t *marks;
    size_t n;
    int gave_up;
};

static int mark_label(const struct label *label, void *arg)
{
    struct label_marks *m = arg;
    if (label->latent >= m->n || !label->text)
        return 0;
    int found = label_pattern_match(m->pattern, label->text, label->n, NULL, NULL);
    m->gave_up = found < 0;
    m->marks[label->latent] = found > 0;
    return m->gave_up;
}

static int compare_labels(struct parser *p, enum comparison comparison, uint8_t *marks)
{
    if (comparison != MATCHES && comparison != DIFFERS)
        return complain(p, p->at, "~ after label, and then a regular expression,");
    struct strbuf text = STRBUF_INIT;
    struct label_marks m = {NULL, marks, p->table->n, 0};
    int status = parse_string(p, &text);
    if (!status)
        status = label_pattern_new(strbuf_string(&text), text.length, 0, &m.pattern, p->err);
    if (!status) {
        memset(marks, 0, m.n);
        status = store_labels_each(p->t, p->table->facts.artifact.id, mark_label, &m, p->err);
    }
    if (!status && m.gave_up)
        status =
            error_set(p->err, STATUS_USAGE, "filter: the regular expression takes too long: make it simpler");
    for (size_t i = 0; !status && comparison == DIFFERS && i < m.n; i++)
        marks[i] = !marks[i];
    label_pattern_free(m.pattern);
    strbuf_free(&text);
    return status;
}

/* ---- The grammar. ---- */

static int unknown_key(struct parser *p, size_t n)
{
    char *word = xstrndup(p->at, n);
    const char *near = nearest_word(word, latent_key_names);
    struct strbuf expected = STRBUF_INIT;
    strbuf_adds(&expected, "one of ");
    for (size_t i = 0; latent_key_names[i]; i++)
        strbuf_addf(&expected, "%s%s", i ? ", " : "", latent_key_names[i]);
    if (near)
        strbuf_addf(&expected, " (did you mean %s?)", near);
    int status = complain(p, p->at, strbuf_string(&expected));
    strbuf_free(&expected);
    free(word);
    return status;
}

static int parse_comparison(struct parser *p, uint8_t *marks)
{
    skip_blanks(p);
    size_t n = word_length(p->at);
    enum latent_key key = 0;
    while (key < LATENT_KEYS &&
           !(strlen(latent_key_names[key]) == n && strncmp(latent_key_names[key], p->at, n) == 0))
        key++;
    if (key == LATENT_KEYS)
        return unknown_key(p, n);
    p->at += n;
    skip_blanks(p);
    const char *at = p->at;
    enum comparison comparison;
    if (!take_operator(p, &comparison))
        return complain(p, at, key == KEY_LABEL ? "~" : "a comparison (<, <=, >, >=, =, !=)");
    if (key == KEY_LABEL)
        return compare_labels(p, comparison, marks);
    if (comparison == MATCHES || comparison == DIFFERS)
        return complain(p, at, "a comparison of numbers (<, <=, >, >=, =, !=)");
    return compare_numbers(p, key, comparison, marks);
}

static int parse_term(struct parser *p, uint8_t *marks)
{
    if (p->depth == DEPTH_MAX)
        return error_set(p->err, STATUS_USAGE, "filter: nested more than %d deep", DEPTH_MAX);
    p->depth++;
    int status;
    if (take_word(p, "not")) {
        status = parse_term(p, marks);
        for (size_t i = 0; !status && i < p->table->n; i++)
            marks[i] = !marks[i];
    } else if (take_character(p, '(')) {
        status = parse_expression(p, marks);
        if (!status && !take_character(p, ')'))
            status = complain(p, p->at, "and, or, or )");
    } else {
        status = parse_comparison(p, marks);
    }
    p->depth--;
    return status;
}

/* Terms joined by "and" (both must hold) or conjunctions joined by "or". */
static int parse_joined(struct parser *p, const char *word, int all,
                        int (*part)(struct parser *p, uint8_t *marks), uint8_t *marks)
{
    int status = part(p, marks);
    uint8_t *other = NULL;
    while (!status && take_word(p, word)) {
        if (!other)
            other = array_alloc(p->table->n, 1, "the filter", p->err);
        status = other ? part(p, other) : STATUS_FAILED;
        for (size_t i = 0; !status && i < p->table->n; i++)
            marks[i] = all ? marks[i] & other[i] : marks[i] | other[i];
    }
    free(other);
    return status;
}

static int parse_conjunction(struct parser *p, uint8_t *marks)
{
    return parse_joined(p, "and", 1, parse_term, marks);
}

static int parse_expression(struct parser *p, uint8_t *marks)
{
    return parse_joined(p, "or", 0, parse_conjunction, marks);
}

int latent_filter_run(const struct latent_table *table, struct store_txn *t, const char *expression,
                      uint8_t *matches, struct error *err)
{
    struct parser p = {table, t, expression, expression, 0, err};
    int status = parse_expression(&p, matches);
    skip_blanks(&p);
    if (!status && *p.at)
        status = complain(&p, p.at, "and or or");
    return status;
}
