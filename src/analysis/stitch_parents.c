/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parents of the large SAE's latents. The spool is by token; here its active pairs are put in order by
 * latent, as many latents at a time as fit the memory, and each child is then taken for itself: its tokens
 * are gone through once, adding up what the small latents do there.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/cosine_pairs.h"
#include "saescope/analysis/stitch_parents.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/strbuf.h"

#define GROUP_FIRINGS ((size_t)8 << 20) /* 8 bytes each */
#define CHILDREN      64                /* at a time, between two looks at the monitor, */
#define SLICE_FIRINGS ((size_t)1 << 17) /* and their firings, unless one child has more */
#define TOKENS_A_LOOK ((size_t)1 << 18)
#define PARENTS_MAX   ((size_t)16 << 20) /* of CHILDREN latents */
#define RECORD_BYTES  12
#define FLUSH_BYTES   ((size_t)1 << 20)

/* What a small latent does where the child fires. */
struct together {
    double product, square; /* Σ a_child·a_parent, Σ a_parent² */
};

struct scratch {           /* of a worker */
    struct together *sums; /* [n_small], zeros between two children */
    uint32_t *touched;     /* [n_small]: those that are not */
};

struct family_work {
    struct store *store;
    artifact_id stitch;
    struct sae *small, *large;
    struct token_rows rows; /* all tokens */
    struct monitor *monitor;
    uint32_t *fired; /* [n_large] */
    struct scratch *scratch;
    size_t n_threads;
    /* The group: children [first, first + n). */
    size_t first, n, group_firings;
    uint64_t *offsets; /* [n_large + 1]: of the group's children, from 0 */
    uint32_t *tokens;
    float *values;
    /* The records that are not written yet. */
    struct strbuf bytes;
    struct record *records; /* [n_large]; data is not set before they are written */
    size_t n_records;
};

/* ---- Firings by latent. ---- */

static int not_these(struct error *err)
{
    return error_set(err, STATUS_FAILED, "the activations kept are not of these SAEs");
}

static int count_firings(struct family_work *w, struct error *err)
{
    const struct token_rows *r = &w->rows;
    for (size_t first = 0; first < r->n; first += TOKENS_A_LOOK) {
        size_t end = r->n - first < TOKENS_A_LOOK ? r->n : first + TOKENS_A_LOOK;
        for (uint64_t p = r->large_offsets[first]; p < r->large_offsets[end]; p++) {
            if (r->large_latents[p] >= w->large->d_sae)
                return not_these(err);
            w->fired[r->large_latents[p]]++;
        }
        for (uint64_t p = r->small_offsets[first]; p < r->small_offsets[end]; p++)
            if (r->small_latents[p] >= w->small->d_sae)
                return not_these(err);
        int status = monitor_check(w->monitor, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* As many children from `first` on as fit. */
static void choose_group(struct family_work *w, size_t first)
{
    w->first = first;
    w->n = 0;
    w->offsets[0] = 0;
    while (first + w->n < w->large->d_sae &&
           (w->n == 0 || w->offsets[w->n] + w->fired[first + w->n] <= w->group_firings)) {
        w->offsets[w->n + 1] = w->offsets[w->n] + w->fired[first + w->n];
        w->n++;
    }
}

/* The first of a token's pairs whose latent is at least `latent`; latents ascend. */
static uint64_t find_pair(const uint32_t *latents, uint64_t low, uint64_t high, size_t latent)
{
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (latents[middle] < latent)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The group's firings, by child and then by token. */
static int sort_firings(struct family_work *w, struct error *err)
{
    const struct token_rows *r = &w->rows;
    size_t total = w->offsets[w->n] ? (size_t)w->offsets[w->n] : 1;
    int status = STATUS_OK;
    uint64_t *next = array_alloc(w->n, sizeof *next, "firings", err);
    w->tokens = array_alloc(total, sizeof *w->tokens, "firings", err);
    w->values = array_alloc(total, sizeof *w->values, "firings", err);
    if (!next || !w->tokens || !w->values)
        status = STATUS_FAILED;
    else
        memcpy(next, w->offsets, w->n * sizeof *next);
    for (size_t t = 0; !status && t < r->n; t++) {
        uint64_t end = r->large_offsets[t + 1];
        for (uint64_t p = find_pair(r->large_latents, r->large_offsets[t], end, w->first);
             p < end && r->large_latents[p] < w->first + w->n; p++) {
            uint64_t at = next[r->large_latents[p] - w->first]++;
            w->tokens[at] = (uint32_t)t;
            w->values[at] = r->large_values[p];
        }
        if ((t + 1) % TOKENS_A_LOOK == 0)
            status = monitor_check(w->monitor, err);
    }
    free(next);
    return status;
}

static void free_firings(struct family_work *w)
{
    free(w->tokens);
    free(w->values);
    w->tokens = NULL;
    w->values = NULL;
}

/* ---- One child. ---- */

struct parents {
    struct stitch_parent *items;
    size_t n, capacity;
};

struct slice { /* children [first, first + n) */
    struct family_work *work;
    size_t first, n;
    const float *decoder; /* [n, d_in] */
    const struct cosine_pairs *pairs;
    size_t pair_offsets[CHILDREN + 1];
    struct parents parents[CHILDREN];
};

static void add_parent(struct parents *p, uint32_t latent, float cosine, float similarity)
{
    if (p->n == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 8;
        p->items = xreallocarray(p->items, p->capacity, sizeof *p->items);
    }
    p->items[p->n++] = (struct stitch_parent){latent, cosine, similarity};
}

static int by_cosine(const void *a, const void *b)
{
    const struct stitch_parent *x = a, *y = b;
    if (x->cosine != y->cosine)
        return x->cosine < y->cosine ? 1 : -1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

/* Adds up what the small latents do on the child's tokens; how many of them fire there. *norm: ‖a_child‖². */
static size_t add_up(const struct family_work *w, size_t child, struct scratch *s, double *norm)
{
    const struct token_rows *r = &w->rows;
    size_t n = 0;
    *norm = 0;
    for (uint64_t f = w->offsets[child - w->first]; f < w->offsets[child - w->first + 1]; f++) {
        double a = (double)w->values[f];
        size_t t = w->tokens[f];
        *norm += a * a;
        for (uint64_t p = r->small_offsets[t]; p < r->small_offsets[t + 1]; p++) {
            struct together *sum = &s->sums[r->small_latents[p]];
            double b = (double)r->small_values[p];
            if (b == 0)
                continue;
            if (sum->square == 0)
                s->touched[n++] = r->small_latents[p];
            sum->product += a * b;
            sum->square += b * b;
        }
    }
    return n;
}

static float similarity_of(const struct together *sum, double norm)
{
    double squares = norm * sum->square;
    return squares > 0 ? (float)(sum->product / sqrt(squares)) : 0;
}

static int is_among(const struct stitch_parent *parents, size_t n, uint32_t latent)
{
    for (size_t i = 0; i < n; i++)
        if (parents[i].latent == latent)
            return 1;
    return 0;
}

static void find_parents(size_t block, size_t worker, void *arg)
{
    struct slice *s = arg;
    const struct family_work *w = s->work;
    size_t i = block, d = w->large->d_in, n = 0;
    struct scratch *scratch = &w->scratch[worker];
    struct parents *out = &s->parents[i];
    int often = w->fired[s->first + i] >= STITCH_FIRED_MIN;
    double norm = 0;
    if (often)
        n = add_up(w, s->first + i, scratch, &norm);
    for (size_t p = s->pair_offsets[i]; p < s->pair_offsets[i + 1]; p++) {
        const struct cosine_pair *pair = &s->pairs->items[p];
        float similarity = often ? similarity_of(&scratch->sums[pair->latent], norm) : NAN;
        add_parent(out, pair->latent, pair->cosine, similarity);
    }
    size_t n_near = out->n;
    for (size_t k = 0; k < n; k++) {
        uint32_t latent = scratch->touched[k];
        float similarity = similarity_of(&scratch->sums[latent], norm);
        scratch->sums[latent] = (struct together){0, 0};
        if ((double)similarity > PARENT_SIMILARITY && !is_among(out->items, n_near, latent))
            add_parent(out, latent, row_cosine(s->decoder + i * d, sae_decoder_row(w->small, latent), d),
                       similarity);
    }
    if (out->n > 1)
        qsort(out->items, out->n, sizeof *out->items, by_cosine);
}

/* ---- Records. ---- */

static void put_u32(struct strbuf *b, uint32_t x)
{
    const unsigned char bytes[] = {x & 255, x >> 8 & 255, x >> 16 & 255, x >> 24};
    strbuf_add(b, bytes, sizeof bytes);
}

static void put_float(struct strbuf *b, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_u32(b, bits);
}

static void add_record(struct family_work *w, size_t child, const struct parents *p)
{
    if (p->n == 0)
        return;
    for (size_t i = 0; i < p->n; i++) {
        put_u32(&w->bytes, p->items[i].latent);
        put_float(&w->bytes, p->items[i].cosine);
        put_float(&w->bytes, p->items[i].similarity);
    }
    w->records[w->n_records++] = (struct record){child, NULL, p->n * RECORD_BYTES};
}

static int write_records(struct family_work *w, struct error *err)
{
    const char *at = w->bytes.data;
    for (size_t i = 0; i < w->n_records; at += w->records[i++].n)
        w->records[i].data = at;
    int status = w->n_records
                     ? store_put_records(w->store, w->stitch, RECORD_PARENTS, w->records, w->n_records, err)
                     : STATUS_OK;
    strbuf_reset(&w->bytes);
    w->n_records = 0;
    return status;
}

/* ---- All children. ---- */

/* How many children from `first` on are worked on at a time: rows that lie in one piece, not for too long. */
static size_t slice_length(const struct family_work *w, size_t first)
{
    const struct sae_block *block = w->large->blocks;
    while (first >= block->first + block->n)
        block++;
    size_t end = block->first + block->n < w->first + w->n ? block->first + block->n : w->first + w->n, n = 0;
    uint64_t firings = 0;
    while (first + n < end && n < CHILDREN && (n == 0 || firings + w->fired[first + n] <= SLICE_FIRINGS))
        firings += w->fired[first + n++];
    return n;
}

static int work_slice(struct slice *s, size_t first, struct error *err)
{
    struct family_work *w = s->work;
    struct cosine_pairs pairs = {0};
    s->first = first;
    s->n = slice_length(w, first);
    s->decoder = sae_decoder_row(w->large, first);
    s->pairs = &pairs;
    /* Nobody is asked in here: a transaction must not outlast a pause. */
    int status = cosine_pairs_find(s->decoder, s->n, w->small, PARENT_COSINE, PARENTS_MAX, NULL, &pairs, err);
    for (size_t p = 0, i = 0; i < s->n; i++) {
        s->pair_offsets[i] = p;
        while (p < pairs.n && pairs.items[p].row <= i)
            p++;
        s->pair_offsets[i + 1] = p;
    }
    if (!status)
        parallel_for(s->n, find_parents, s);
    for (size_t i = 0; i < s->n; i++) {
        if (!status)
            add_record(w, first + i, &s->parents[i]);
        free(s->parents[i].items);
    }
    cosine_pairs_free(&pairs);
    return status;
}

/* Children from `first` on, in a transaction of their own. *done: how many. */
static int read_slice(struct family_work *w, size_t first, size_t *done, struct error *err)
{
    struct store_txn *t;
    struct slice s = {.work = w};
    int status = store_begin(w->store, &t, err);
    if (status)
        return status;
    status = sae_attach(w->small, t, err);
    if (!status)
        status = sae_attach(w->large, t, err);
    if (!status)
        status = work_slice(&s, first, err);
    store_end(t);
    *done = s.n;
    return status;
}

static int work_group(struct family_work *w, struct error *err)
{
    int status = sort_firings(w, err);
    for (size_t at = w->first, n = 0; !status && at < w->first + w->n; at += n) {
        status = read_slice(w, at, &n, err);
        if (!status && w->bytes.length >= FLUSH_BYTES)
            status = write_records(w, err);
        if (!status)
            status = monitor_go_on(w->monitor, "families", at + n, w->large->d_sae, err);
    }
    free_firings(w);
    return status;
}

static int make_room(struct family_work *w, struct error *err)
{
    size_t n_large = w->large->d_sae;
    w->n_threads = parallel_threads();
    w->scratch = xcalloc(w->n_threads, sizeof *w->scratch);
    w->fired = array_zeroed(n_large, sizeof *w->fired, "firing counts", err);
    w->offsets = array_alloc(n_large + 1, sizeof *w->offsets, "firings", err);
    w->records = array_alloc(n_large, sizeof *w->records, "records", err);
    int status = w->fired && w->offsets && w->records ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < w->n_threads; i++) {
        w->scratch[i].sums = array_zeroed(w->small->d_sae, sizeof(struct together), "similarities", err);
        w->scratch[i].touched = array_alloc(w->small->d_sae, sizeof(uint32_t), "similarities", err);
        if (!w->scratch[i].sums || !w->scratch[i].touched)
            status = STATUS_FAILED;
    }
    return status;
}

static void free_room(struct family_work *w)
{
    for (size_t i = 0; i < w->n_threads; i++) {
        free(w->scratch[i].sums);
        free(w->scratch[i].touched);
    }
    free(w->scratch);
    free(w->fired);
    free(w->offsets);
    free(w->records);
    strbuf_free(&w->bytes);
}

int stitch_parents_compute(struct store *s, artifact_id stitch, struct sae *small, struct sae *large,
                           const struct token_spool *spool, struct monitor *m, struct error *err)
{
    return stitch_parents_in_groups(s, stitch, small, large, spool, GROUP_FIRINGS, m, err);
}

int stitch_parents_in_groups(struct store *s, artifact_id stitch, struct sae *small, struct sae *large,
                             const struct token_spool *spool, size_t group_firings, struct monitor *m,
                             struct error *err)
{
    struct family_work w = {.store = s,
                            .stitch = stitch,
                            .small = small,
                            .large = large,
                            .monitor = m,
                            .group_firings = group_firings};
    size_t n_tokens = token_spool_tokens(spool);
    if (small->d_in != large->d_in)
        return error_set(err, STATUS_REFUSED, "their rows have %zu and %zu numbers: parents need the same",
                         small->d_in, large->d_in);
    if (n_tokens > UINT32_MAX)
        return error_set(err, STATUS_REFUSED, "%zu tokens are more than families are made from", n_tokens);
    token_spool_rows(spool, 0, n_tokens, &w.rows);
    int status = make_room(&w, err);
    if (!status)
        status = count_firings(&w, err);
    for (size_t first = 0; !status && first < large->d_sae; first += w.n) {
        choose_group(&w, first);
        status = work_group(&w, err);
    }
    if (!status)
        status = write_records(&w, err);
    free_room(&w);
    return status;
}

/* ---- Reading. ---- */

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float get_float(const unsigned char *p)
{
    uint32_t bits = get_u32(p);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

int stitch_parents_read(struct store_txn *t, artifact_id stitch, size_t latent, struct stitch_parent **out,
                        size_t *n, struct error *err)
{
    const void *data;
    size_t size;
    *out = NULL;
    *n = 0;
    int status = store_record(t, stitch, RECORD_PARENTS, latent, &data, &size, err);
    if (status || size == 0)
        return status;
    if (size % RECORD_BYTES != 0)
        return error_set(err, STATUS_STORE, "the parents of latent %zu are damaged: make the stitch anew",
                         latent);
    *out = array_alloc(size / RECORD_BYTES, sizeof **out, "parents", err);
    if (!*out)
        return STATUS_FAILED;
    const unsigned char *bytes = data;
    for (*n = 0; *n < size / RECORD_BYTES; ++*n, bytes += RECORD_BYTES)
        (*out)[*n] = (struct stitch_parent){get_u32(bytes), get_float(bytes + 4), get_float(bytes + 8)};
    return STATUS_OK;
}
