/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How many latents are novel, with a bootstrap over contexts; how well the cosine tells which. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_score.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"

#define GROUP_TRIPLES ((size_t)4 << 20) /* 8 bytes each: 32 MiB */
enum { SLICE = 64, LATENTS_A_BLOCK = 4, CONTEXTS_A_BLOCK = 256 };

enum latent_class stitch_class(uint32_t fired, double delta)
{
    return fired < STITCH_FIRED_MIN ? LATENT_UNDECIDED : delta < 0 ? LATENT_NOVEL : LATENT_RECONSTRUCTION;
}

/* ---- The bootstrap. ---- */

void resample_weights(uint64_t seed, uint32_t context, uint8_t weights[STITCH_RESAMPLES])
{
    struct rng r;
    rng_seed(&r, seed, (uint64_t)context + 1);
    for (size_t i = 0; i < STITCH_RESAMPLES; i++) {
        unsigned w = rng_poisson1(&r);
        weights[i] = (uint8_t)(w < UINT8_MAX ? w : UINT8_MAX);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof(*values), ascending);
    double at = q * (double)(n - 1);
    size_t below = (size_t)at;
    return below + 1 < n ? values[below] + (at - (double)below) * (values[below + 1] - values[below]) : values[n - 1];
}

/* Of each resample, how many latents were there and how many of them novel. */
struct votes {
    uint32_t present[STITCH_RESAMPLES], novel[STITCH_RESAMPLES];
};

struct resampling {
    size_t n_contexts;
    uint64_t seed;
    uint8_t *weights; /* [n_contexts, STITCH_RESAMPLES] */
    const uint32_t *fired;
    size_t first, n; /* latents of the slice */
    const size_t *offsets;
    const uint32_t *contexts;
    const float *deltas;
    struct votes *votes; /* [threads] */
};

static void weights_block(size_t block, size_t worker, void *arg)
{
    const struct resampling *q = arg;
    size_t end = (block + 1) * CONTEXTS_A_BLOCK < q->n_contexts ? (block + 1) * CONTEXTS_A_BLOCK : q->n_contexts;
    (void)worker;
    for (size_t c = block * CONTEXTS_A_BLOCK; c < end; c++)
        resample_weights(q->seed, (uint32_t)c, q->weights + c * STITCH_RESAMPLES);
}

static void resample_block(size_t block, size_t worker, void *arg)
{
    const struct resampling *q = arg;
    struct votes *votes = &q->votes[worker];
    size_t end = (block + 1) * LATENTS_A_BLOCK < q->n ? (block + 1) * LATENTS_A_BLOCK : q->n;
    for (size_t i = block * LATENTS_A_BLOCK; i < end; i++) {
        double sums[STITCH_RESAMPLES] = {0};
        uint8_t present[STITCH_RESAMPLES] = {0};
        if (q->fired[q->first + i] < STITCH_FIRED_MIN)
            continue;
        for (size_t p = q->offsets[i]; p < q->offsets[i + 1]; p++) {
            const uint8_t *w = q->weights + (size_t)q->contexts[p] * STITCH_RESAMPLES;
            double delta = (double)q->deltas[p];
            for (size_t r = 0; r < STITCH_RESAMPLES; r++) {
                sums[r] += delta * w[r];
                present[r] |= w[r];
            }
        }
        for (size_t r = 0; r < STITCH_RESAMPLES; r++) {
            votes->present[r] += present[r] != 0;
            votes->novel[r] += present[r] && sums[r] < 0;
        }
    }
}

/* Latents [first, first + n), whose triples fit the memory. */
static int resample_group(struct resampling *q, struct spool *spool, size_t first, size_t n, struct monitor *m,
                          struct error *err)
{
    const uint32_t *counts = spool_counts(spool) + first;
    size_t *offsets = array_alloc(n + 1, sizeof(*offsets), "offsets", err);
    size_t total = 0;
    for (size_t i = 0; i < n && offsets; i++) {
        offsets[i] = total;
        total += counts[i];
        offsets[i + 1] = total;
    }
    uint32_t *contexts = array_alloc(total + 1, sizeof(*contexts), "contexts", err);
    float *deltas = array_alloc(total + 1, sizeof(*deltas), "changes", err);
    int status = offsets && contexts && deltas ? spool_read(spool, first, n, offsets, contexts, deltas, m, err)
                                               : STATUS_FAILED;
    q->contexts = contexts;
    q->deltas = deltas;
    for (size_t i = 0; i < n && !status; i += SLICE) {
        q->first = first + i;
        q->n = n - i < SLICE ? n - i : SLICE;
        q->offsets = offsets + i;
        parallel_for((q->n + LATENTS_A_BLOCK - 1) / LATENTS_A_BLOCK, resample_block, q);
        status = monitor_check(m, err);
    }
    free(offsets);
    free(contexts);
    free(deltas);
    return status;
}

static void interval(const struct votes *votes, size_t threads, struct novelty *out)
{
    double fractions[STITCH_RESAMPLES];
    size_t n = 0;
    for (size_t r = 0; r < STITCH_RESAMPLES; r++) {
        uint64_t present = 0, novel = 0;
        for (size_t w = 0; w < threads; w++) {
            present += votes[w].present[r];
            novel += votes[w].novel[r];
        }
        if (present)
            fractions[n++] = (double)novel / (double)present;
    }
    out->low = n ? quantile(fractions, n, 0.025) : NAN;
    out->high = n ? quantile(fractions, n, 0.975) : NAN;
}

static void count(const uint32_t *fired, const double *delta, size_t n, struct novelty *out)
{
    size_t counts[] = {[LATENT_UNDECIDED] = 0, [LATENT_NOVEL] = 0, [LATENT_RECONSTRUCTION] = 0};
    for (size_t i = 0; i < n; i++)
        counts[stitch_class(fired[i], delta[i])]++;
    size_t decided = n - counts[LATENT_UNDECIDED];
    *out = (struct novelty){.novel = counts[LATENT_NOVEL],
                            .reconstruction = counts[LATENT_RECONSTRUCTION],
                            .undecided = counts[LATENT_UNDECIDED],
                            .fraction = decided ? (double)counts[LATENT_NOVEL] / (double)decided : NAN};
}

int novelty_measure(struct spool *deltas, const uint32_t *fired, const double *delta, size_t n, size_t n_contexts,
                    uint64_t seed, struct monitor *m, struct novelty *out, struct error *err)
{
    size_t threads = parallel_threads(), bytes;
    const uint32_t *counts = spool_counts(deltas);
    struct resampling q = {.n_contexts = n_contexts, .seed = seed, .fired = fired};
    count(fired, delta, n, out);
    if (size_multiply(n_contexts, STITCH_RESAMPLES, &bytes))
        return error_set(err, STATUS_FAILED, "too many contexts to resample");
    q.weights = array_alloc(bytes + 1, 1, "weights of contexts", err);
    q.votes = array_zeroed(threads, sizeof(*q.votes), "votes", err);
    int status = q.weights && q.votes ? STATUS_OK : STATUS_FAILED;
    if (!status)
        parallel_for((n_contexts + CONTEXTS_A_BLOCK - 1) / CONTEXTS_A_BLOCK, weights_block, &q);
    for (size_t first = 0; first < n && !status;) {
        size_t group = 0, triples = 0;
        while (first + group < n && (!group || triples + counts[first + group] <= GROUP_TRIPLES))
            triples += counts[first + group++];
        status = resample_group(&q, deltas, first, group, m, err);
        first += group;
    }
    if (!status)
        interval(q.votes, threads, out);
    free(q.weights);
    free(q.votes);
    return status;
}

/* ---- The cosine as a predictor. ---- */

void stitch_confusion_at(const struct stitch_latents *l, double threshold, struct stitch_confusion *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < l->n; i++) {
        int above = (double)l->max_cosine[i] > threshold;
        if (l->classes[i] == LATENT_NOVEL)
            ++*(above ? &out->novel_above : &out->novel_below);
        else if (l->classes[i] == LATENT_RECONSTRUCTION)
            ++*(above ? &out->reconstruction_above : &out->reconstruction_below);
    }
    out->below = out->novel_below + out->reconstruction_below;
    out->above = out->novel_above + out->reconstruction_above;
}

struct ranked {
    float cosine;
    int novel;
};

static int by_cosine(const void *a, const void *b)
{
    float x = ((const struct ranked *)a)->cosine, y = ((const struct ranked *)b)->cosine;
    return (x > y) - (x < y);
}

void stitch_roc(const struct stitch_latents *l, double *auc, double *best_threshold)
{
    struct ranked *list = xcalloc(l->n, sizeof(*list));
    size_t n = 0, positives = 0;
    *auc = *best_threshold = NAN;
    for (size_t i = 0; i < l->n; i++)
        if (l->classes[i] != LATENT_UNDECIDED) {
            positives += l->classes[i] == LATENT_NOVEL;
            list[n++] = (struct ranked){l->max_cosine[i], l->classes[i] == LATENT_NOVEL};
        }
    if (positives && positives < n) {
        double p = (double)positives, q = (double)(n - positives), best = -INFINITY, area = 0;
        size_t true_positives = 0, false_positives = 0;
        qsort(list, n, sizeof(*list), by_cosine);
        for (size_t i = 0, next; i < n; i = next) {
            size_t novel = 0;
            for (next = i; next < n && list[next].cosine == list[i].cosine; next++)
                novel += list[next].novel != 0;
            /* A reconstruction latent here lies above all novel ones so far, and ties with these. */
            area += (double)(next - i - novel) * ((double)true_positives + (double)novel / 2);
            true_positives += novel;
            false_positives += next - i - novel;
            double youden = (double)true_positives / p - (double)false_positives / q;
            if (youden > best) {
                best = youden;
                *best_threshold = (double)list[i].cosine;
            }
        }
        *auc = area / (p * q);
    }
    free(list);
}
