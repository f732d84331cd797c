/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Search in labels: words that must all occur, or one regular expression between slashes. */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/analysis/latent_filter.h"
#include "saescope/base/memory.h"

#define WORDS_MAX 16

struct query {
    struct label_pattern *patterns[WORDS_MAX];
    size_t n;
    int is_regex;
};

struct found {
    const struct query *query;
    artifact_id sae;
    size_t rank; /* of the SAE, by name */
    struct ranked *list;
    size_t n, capacity;
    int gave_up;
};

struct ranked {
    struct search_result result;
    size_t rank;
};

static int is_letter(unsigned char c)
{
    return isalnum(c) || c == '_' || c >= 0x80;
}

/* 1 for a whole word, ¾ for its start, ½ inside one. The first place counts. */
static double place_score(const char *text, size_t n, size_t start, size_t end)
{
    int starts = start == 0 || !is_letter((unsigned char)text[start - 1]);
    int ends = end == n || !is_letter((unsigned char)text[end]);
    return starts && ends ? 1 : starts ? 0.75 : 0.5;
}

static int score_label(const struct label *label, void *arg)
{
    struct found *f = arg;
    double score = 0;
    for (size_t i = 0; i < f->query->n; i++) {
        size_t start, end;
        int match =
            label->text ? label_pattern_match(f->query->patterns[i], label->text, label->n, &start, &end) : 0;
        if (match < 0)
            f->gave_up = 1;
        if (match <= 0)
            return f->gave_up;
        score += f->query->is_regex ? 1 : place_score(label->text, label->n, start, end);
    }
    if (f->n == f->capacity) {
        f->capacity = f->capacity ? 2 * f->capacity : 64;
        f->list = xreallocarray(f->list, f->capacity, sizeof(*f->list));
    }
    f->list[f->n++] = (struct ranked){{f->sae, label->latent, score / (double)f->query->n}, f->rank};
    return 0;
}

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->result.score != y->result.score)
        return x->result.score < y->result.score ? 1 : -1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->result.latent > y->result.latent) - (x->result.latent < y->result.latent);
}

static int parse_query(const char *text, struct query *q, struct error *err)
{
    size_t n = strlen(text);
    if (n >= 2 && text[0] == '/' && text[n - 1] == '/') {
        q->is_regex = 1;
        q->n = 1;
        return label_pattern_new(text + 1, n - 2, 0, &q->patterns[0], err);
    }
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, " \t\n");
        if (length && q->n == WORDS_MAX)
            return error_set(err, STATUS_USAGE, "a search has at most %d words", WORDS_MAX);
        if (length) {
            int status = label_pattern_new(at, length, 1, &q->patterns[q->n], err);
            if (status)
                return status;
            q->n++;
        }
        at += length + strspn(at + length, " \t\n");
    }
    return q->n
               ? STATUS_OK
               : error_set(err, STATUS_USAGE, "what is to be searched for? Words, or /a regular expression/");
}

static int search_all(struct store_txn *t, artifact_id sae, struct found *f, struct error *err)
{
    struct artifact *saes = NULL;
    size_t n = 0;
    int status = store_list(t, ARTIFACT_SAE, &saes, &n, err);
    for (size_t i = 0; !status && i < n; i++) {
        if (sae && saes[i].id != sae)
            continue;
        f->sae = saes[i].id;
        f->rank = i;
        status = store_labels_each(t, saes[i].id, score_label, f, err);
        if (!status && f->gave_up)
            status = error_set(err, STATUS_USAGE, "the regular expression takes too long: make it simpler");
    }
    free(saes);
    return status;
}

int search_labels(struct store_txn *t, artifact_id sae, const char *query, struct search_result **out,
                  size_t *n, struct error *err)
{
    struct query q = {0};
    struct found f = {.query = &q};
    *out = NULL;
    *n = 0;
    int status = parse_query(query, &q, err);
    if (!status)
        status = search_all(t, sae, &f, err);
    if (!status) {
        if (f.n)
            qsort(f.list, f.n, sizeof(*f.list), compare_ranked);
        *out = xcalloc(f.n ? f.n : 1, sizeof(**out));
        *n = f.n;
        for (size_t i = 0; i < f.n; i++)
            (*out)[i] = f.list[i].result;
    }
    for (size_t i = 0; i < WORDS_MAX; i++)
        label_pattern_free(q.patterns[i]);
    free(f.list);
    return status;
}
