/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which pre-activations a training batch keeps. BatchTopK needs the k·n largest of n × d_sae numbers: the
 * product's tiles are pruned by a bound a little under the last batch's edge, the edge is found among the
 * survivors, and when too few survive the product is done again with a lower bound. The bound changes speed
 * alone, never the result.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/sae/trainer.h"

enum { SAMPLE_ROWS = 64 };

/* Pairs above the edge are kept, and those at it up to a position. */
struct edge {
    float value;
    uint64_t last_position;
    uint64_t d_sae;
};

void selection_free(struct selection *s)
{
    scan_free(&s->scan);
    free(s->values);
    memset(s, 0, sizeof *s);
}

static uint64_t position_of(const struct scan_pair *pair, uint64_t d_sae)
{
    return pair->row * d_sae + pair->latent;
}

static float keep_above_edge(const struct scan_pair *pair, const void *arg)
{
    const struct edge *edge = arg;
    if (pair->value < edge->value)
        return 0;
    if (pair->value > edge->value || position_of(pair, edge->d_sae) <= edge->last_position)
        return pair->value;
    return 0;
}

static int reserve_values(struct selection *s, size_t n, struct error *err)
{
    if (n <= s->capacity)
        return STATUS_OK;
    free(s->values);
    s->capacity = 0;
    s->values = array_alloc(n + n / 4, sizeof *s->values, "candidates", err);
    if (!s->values)
        return STATUS_FAILED;
    s->capacity = n + n / 4;
    return STATUS_OK;
}

/* All candidates' values, and the k-th largest. */
static int edge_value(struct selection *s, size_t k, float *edge, struct error *err)
{
    size_t n = 0;
    int status = reserve_values(s, scan_count(&s->scan), err);
    if (status)
        return status;
    for (size_t i = 0; i < s->scan.n_row_tiles * s->scan.n_groups; i++)
        for (size_t j = 0; j < s->scan.lists[i].n; j++)
            s->values[n++] = s->scan.lists[i].pairs[j].value;
    *edge = kth_largest(s->values, n, k);
    return STATUS_OK;
}

/* A bound for a batch of which nothing is known, from some of its rows. */
static int sample_bound(struct selection *s, const struct sae *sae, const float *x_enc, size_t n, size_t k,
                        struct error *err)
{
    size_t d = sae->d_in;
    float *sample = array_alloc(SAMPLE_ROWS * d, sizeof *sample, "a sample of rows", err);
    if (!sample)
        return STATUS_FAILED;
    for (size_t i = 0; i < SAMPLE_ROWS; i++)
        memcpy(sample + i * d, x_enc + n / SAMPLE_ROWS * i * d, d * sizeof *sample);
    s->scan.x = sample;
    s->scan.n = SAMPLE_ROWS;
    s->scan.common_bound = 0;
    int status = scan_run(&s->scan, err);
    if (!status && scan_count(&s->scan) > k * SAMPLE_ROWS) {
        status = edge_value(s, k * SAMPLE_ROWS, &s->bound, err);
        s->bound *= 0.8f;
    }
    free(sample);
    return status;
}

static int compare_positions(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* How far pairs that equal the edge are kept, so that `wanted` are in all. */
static void cut_ties(const struct selection *s, size_t wanted, struct edge *edge)
{
    size_t above = 0, equal = 0;
    const struct scan *scan = &s->scan;
    size_t n_cells = scan->n_row_tiles * scan->n_groups;
    for (size_t i = 0; i < n_cells; i++) {
        for (size_t j = 0; j < scan->lists[i].n; j++) {
            above += scan->lists[i].pairs[j].value > edge->value;
            equal += scan->lists[i].pairs[j].value == edge->value;
        }
    }
    edge->last_position = UINT64_MAX;
    if (above + equal == wanted)
        return;
    uint64_t *positions = xreallocarray(NULL, equal, sizeof *positions);
    size_t n = 0;
    for (size_t i = 0; i < n_cells; i++)
        for (size_t j = 0; j < scan->lists[i].n; j++)
            if (scan->lists[i].pairs[j].value == edge->value)
                positions[n++] = position_of(&scan->lists[i].pairs[j], edge->d_sae);
    qsort(positions, n, sizeof *positions, compare_positions);
    edge->last_position = positions[wanted - above - 1];
    free(positions);
}

static float smallest_value(const struct sparse_rows *rows)
{
    size_t n = rows->offsets[rows->n_rows];
    float smallest = n ? rows->values[0] : 0;
    for (size_t i = 1; i < n; i++)
        smallest = rows->values[i] < smallest ? rows->values[i] : smallest;
    return smallest;
}

int selection_of_batch(struct selection *s, const struct sae *sae, const float *x_enc, size_t n, size_t k,
                       struct sparse_rows *out, float *smallest, struct error *err)
{
    size_t wanted = k * n, count;
    int status = STATUS_OK;
    s->scan.sae = sae;
    s->scan.k = 0;
    if (s->bound == 0 && n >= 4 * SAMPLE_ROWS)
        status = sample_bound(s, sae, x_enc, n, k, err);
    for (int tries = 0; !status; tries++) {
        s->scan.x = x_enc;
        s->scan.n = n;
        s->scan.common_bound = s->bound;
        status = scan_run(&s->scan, err);
        if (status || (count = scan_count(&s->scan)) >= wanted || s->bound == 0)
            break;
        s->bound = tries < 2 ? s->bound / 2 : 0;
    }
    if (status)
        return status;
    struct edge edge = {.value = 0, .d_sae = sae->d_sae, .last_position = UINT64_MAX};
    if (count > wanted) {
        status = edge_value(s, wanted, &edge.value, err);
        if (status)
            return status;
        cut_ties(s, wanted, &edge);
    }
    status = scan_rows(&s->scan, keep_above_edge, &edge, out, err);
    if (status)
        return status;
    *smallest = smallest_value(out);
    s->bound = 0.9f * (count >= wanted ? *smallest : 0);
    return STATUS_OK;
}

int selection_of_rows(struct selection *s, const struct sae *sae, const float *x_enc, size_t n, size_t k,
                      struct sparse_rows *out, struct error *err)
{
    s->scan.sae = sae;
    s->scan.x = x_enc;
    s->scan.n = n;
    s->scan.k = k;
    int status = scan_run(&s->scan, err);
    return status ? status : scan_rows(&s->scan, NULL, NULL, out, err);
}
