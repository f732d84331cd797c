/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Statistics of a latent's firings, its top contexts and its samples from five intervals. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "saescope/analysis/index_select.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

void histogram_edges(float min, float max, double edges[INDEX_BINS + 1])
{
    double step = ((double)max - (double)min) / INDEX_BINS;

    for (int i = 0; i < INDEX_BINS; i++)
        edges[i] = i * step + (double)min;
    edges[INDEX_BINS] = (double)max;
}

/* Bins are half open and the last one is closed, as numpy.histogram's over the same edges. */
void firing_statistics(const struct firings *f, struct firing_statistics *out)
{
    double edges[INDEX_BINS + 1], sum = 0, scale;

    memset(out, 0, sizeof(*out));
    if (!f->n)
        return;
    out->max = out->min = f->activations[0];
    for (size_t i = 0; i < f->n; i++) {
        float a = f->activations[i];

        out->max = a > out->max ? a : out->max;
        out->min = a < out->min ? a : out->min;
        sum += (double)a;
    }
    out->mean = (float)(sum / (double)f->n);
    histogram_edges(out->min, out->max, edges);
    scale = out->max > out->min ? INDEX_BINS / ((double)out->max - (double)out->min) : 0;
    for (size_t i = 0; i < f->n; i++) {
        double a = (double)f->activations[i];
        int bin = (int)((a - (double)out->min) * scale);

        bin = bin < 0 ? 0 : bin >= INDEX_BINS ? INDEX_BINS - 1 : bin;
        while (bin > 0 && a < edges[bin])
            bin--;
        while (bin < INDEX_BINS - 1 && a >= edges[bin + 1])
            bin++;
        out->histogram[bin]++;
    }
}

struct choice {
    uint32_t place;
    float activation;
    uint64_t key; /* the smaller the better */
};

/* The best so far, best first, no two with the same window. */
struct choices {
    struct choice best[INDEX_TOP];
    size_t n, limit;
    const uint32_t *ids;
    size_t length;
};

static void window_of(const struct choices *c, uint32_t place, size_t *start, size_t *end)
{
    size_t position = place % c->length, context = place - position;

    *start = context + (position > INDEX_WINDOW ? position - INDEX_WINDOW : 0);
    *end = context + (position + INDEX_WINDOW < c->length ? position + INDEX_WINDOW + 1 : c->length);
}

static int same_window(const struct choices *c, uint32_t a, uint32_t b)
{
    size_t a0, a1, b0, b1;

    window_of(c, a, &a0, &a1);
    window_of(c, b, &b0, &b1);
    return a - a0 == b - b0 && a1 - a0 == b1 - b0 &&
           memcmp(c->ids + a0, c->ids + b0, (a1 - a0) * sizeof(*c->ids)) == 0;
}

static int better(const struct choice *a, const struct choice *b)
{
    return a->key != b->key ? a->key < b->key : a->place < b->place;
}

/*
 * Offers one more. A window that was pushed out cannot come back wrongly: what pushed it out is better than
 * its best, and what is kept only gets better.
 */
static void offer(struct choices *c, struct choice x)
{
    size_t at;

    if (c->n == c->limit && !better(&x, &c->best[c->n - 1]))
        return;
    for (at = 0; at < c->n; at++)
        if (same_window(c, c->best[at].place, x.place))
            break;
    if (at < c->n) {
        if (!better(&x, &c->best[at]))
            return;
    } else if (c->n < c->limit) {
        at = c->n++;
    } else {
        at = c->n - 1;
    }
    for (; at > 0 && better(&x, &c->best[at - 1]); at--)
        c->best[at] = c->best[at - 1];
    c->best[at] = x;
}

/* Positive floats order as their bits do: strongest first. */
static uint64_t strength_key(float activation)
{
    uint32_t bits;

    memcpy(&bits, &activation, sizeof(bits));
    return UINT32_MAX - bits;
}

static int interval_of(float activation, float max)
{
    int j = 0;

    while (j < INDEX_INTERVALS - 1 && (double)activation > (j + 1) * (double)max / INDEX_INTERVALS)
        j++;
    return j;
}

static int compare_strength(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;

    if (x->activation != y->activation)
        return x->activation > y->activation ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static void add_u16(struct strbuf *b, size_t x)
{
    const unsigned char bytes[2] = {x & 255, x >> 8 & 255};

    strbuf_add(b, bytes, 2);
}

void record_add_u32(struct strbuf *b, uint32_t x)
{
    add_u16(b, x & 65535);
    add_u16(b, x >> 16);
}

void record_add_float(struct strbuf *b, float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    record_add_u32(b, bits);
}

void record_add_context(struct strbuf *record, const struct record_context *c)
{
    record_add_u32(record, c->context);
    record_add_float(record, c->activation);
    add_u16(record, c->position);
    add_u16(record, c->n_pairs);
    strbuf_addc(record, (char)c->interval);
}

void record_add_pair(struct strbuf *record, size_t position, float activation)
{
    add_u16(record, position);
    record_add_float(record, activation);
}

static size_t first_at_or_after(const struct firings *f, uint64_t place)
{
    size_t low = 0, high = f->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (f->places[middle] < place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_context(struct strbuf *record, const struct firings *f, size_t length, const struct choice *x,
                        unsigned char interval)
{
    uint64_t context = x->place / length;
    size_t from = first_at_or_after(f, context * length), to = first_at_or_after(f, (context + 1) * length);

    record_add_context(record, &(struct record_context){(uint32_t)context, x->activation, x->place % length,
                                                        to - from, interval});
    for (size_t i = from; i < to; i++)
        record_add_pair(record, f->places[i] % length, f->activations[i]);
}

void choose_contexts(const struct firings *f, float max, const uint32_t *ids, size_t length, uint64_t seed,
                     uint64_t latent, struct strbuf *record)
{
    struct choices lists[1 + INDEX_INTERVALS];
    size_t n = 0;

    for (size_t j = 0; j < ARRAY_LENGTH(lists); j++)
        lists[j] =
            (struct choices){.limit = j ? INDEX_PER_INTERVAL : INDEX_TOP, .ids = ids, .length = length};
    for (size_t i = 0; i < f->n;) {
        uint32_t context = (uint32_t)(f->places[i] / length);
        size_t peak = i;

        for (; i < f->n && f->places[i] / length == context; i++) {
            struct choice x = {f->places[i], f->activations[i],
                               hash_mix(seed, latent, context, f->places[i] % length)};

            offer(&lists[1 + interval_of(x.activation, max)], x);
            if (f->activations[i] > f->activations[peak])
                peak = i;
        }
        offer(&lists[0],
              (struct choice){f->places[peak], f->activations[peak], strength_key(f->activations[peak])});
    }
    for (size_t j = 0; j < ARRAY_LENGTH(lists); j++) {
        qsort(lists[j].best, lists[j].n, sizeof(*lists[j].best), compare_strength);
        n += lists[j].n;
    }
    record_add_u32(record, (uint32_t)n);
    for (size_t i = 0; i < lists[0].n; i++)
        add_context(record, f, length, &lists[0].best[i], RECORD_INTERVAL_TOP);
    for (int j = INDEX_INTERVALS - 1; j >= 0; j--)
        for (size_t i = 0; i < lists[1 + j].n; i++)
            add_context(record, f, length, &lists[1 + j].best[i], (unsigned char)j);
}
