/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index, compared with a brute force over the same activations: everything of one latent in one array,
 * sorted with qsort and read off by the definitions in index.h. That the activations are right is seen
 * against float64 sums.
 */
#include "config.h"

#include "index_fixture.h"

#include <math.h>

#include "saescope/analysis/auto_label.h"
#include "saescope/analysis/index.h"
#include "saescope/analysis/index_select.h"
#include "saescope/analysis/spool.h"

#define D_SAE 48

/* A jumprelu SAE of random unit rows whose thresholds let about 1 to 12% of the tokens through; latent 5
 * never fires. */
static struct sae *made_up_sae(const float *x, const uint8_t *counted, size_t n, size_t d, uint64_t seed)
{
    struct sae *sae;
    struct rng r;

    ok(sae_new(sae_architecture_find("jumprelu", &fixture_error), d, D_SAE, &sae, &fixture_error));
    rng_seed(&r, seed, 0);
    if (!sae->threshold)
        sae->threshold = xcalloc(D_SAE, sizeof(float));
    for (size_t i = 0; i < D_SAE; i++) {
        float *row = sae->owned_W_enc + i * d, largest = 0;
        double sum = 0, squares = 0;
        size_t m = 0;

        for (size_t j = 0; j < d; j++)
            row[j] = (float)rng_normal(&r);
        vec_scale((float)(1 / sqrt(vec_norm2(row, d))), row, d);
        memcpy(sae->owned_W_dec + i * d, row, d * sizeof(*row));
        for (size_t k = 0; k < n; k++) {
            float p = counted[k] ? vec_dot(row, x + k * d, d) : 0;

            if (!counted[k])
                continue;
            largest = p > largest ? p : largest;
            sum += (double)p;
            squares += (double)p * (double)p;
            m++;
        }
        sum /= (double)m;
        sae->threshold[i] =
            (float)(sum + (1.2 + (double)(i % 10) / 10) * sqrt(squares / (double)m - sum * sum));
        if (sae->threshold[i] < 0.01F)
            sae->threshold[i] = 0.01F;
        if (i == 5)
            sae->threshold[i] = 2 * largest + 1;
    }
    return sae;
}

static artifact_id save(struct fixture *f, const char *name, const struct sae *sae)
{
    json *manifest = json_new_object(), *references = json_new_object();
    artifact_id id;

    ok(store_create(f->store, ARTIFACT_SAE, name, 0, &id, &fixture_error));
    json_set(manifest, "kind", json_new_string("sae"));
    json_set(manifest, "hook", json_new_string(FIXTURE_HOOK));
    json_set(manifest, "context_size", json_new_integer(FIXTURE_LENGTH));
    json_set(manifest, "prepend_bos", json_new_boolean(1));
    json_set(manifest, "center_activations", json_new_boolean(0));
    json_set(references, "model", json_new_integer((long long)f->model));
    json_set(manifest, "references", references);
    ok(sae_save(f->store, id, sae, manifest, &fixture_error));
    return id;
}

/* All of what one latent does. */
struct firing {
    size_t context, position;
    float activation;
};

struct brute_force {
    size_t n_contexts, d, tokens;
    uint32_t *ids;
    struct firing *firings[D_SAE];
    size_t n[D_SAE];
};

/* Encodes the stream's batches as the index does (the same products give the same bits) and checks each
 * activation. */
static void encode_all(struct fixture *f, const struct sae *sae, struct brute_force *out)
{
    struct stream_options o = fixture_stream(f);
    struct sparse_rows rows;
    struct stream_batch b;
    struct stream *st;

    memset(&rows, 0, sizeof(rows));
    memset(out, 0, sizeof(*out));
    ok(stream_open(f->store, &o, &st, &fixture_error));
    out->d = stream_width(st);
    out->n_contexts = stream_contexts(st);
    out->ids = xreallocarray(NULL, out->n_contexts * FIXTURE_LENGTH, sizeof(*out->ids));
    for (;;) {
        size_t *places, n = 0;

        ok(stream_next(st, &b, &fixture_error));
        if (!b.n_contexts)
            break;
        memcpy(out->ids + b.first_context * FIXTURE_LENGTH, b.ids, b.n_tokens * sizeof(*b.ids));
        places = xreallocarray(NULL, b.n_tokens, sizeof(*places));
        for (size_t i = 0; i < b.n_tokens; i++)
            if (b.counted[i]) {
                memmove(b.activations + n * out->d, b.activations + i * out->d, out->d * sizeof(float));
                places[n++] = b.first_context * FIXTURE_LENGTH + i;
            }
        out->tokens += n;
        ok(sae_encode(sae, b.activations, n, &rows, &fixture_error));
        for (size_t i = 0; i < n; i++)
            for (size_t j = rows.offsets[i]; j < rows.offsets[i + 1]; j++) {
                size_t latent = rows.latents[j];
                double p = 0;

                for (size_t k = 0; k < out->d; k++)
                    p +=
                        (double)sae->owned_W_enc[latent * out->d + k] * (double)b.activations[i * out->d + k];
                assert_true(fabs(p - (double)rows.values[j]) < 1e-4 * (1 + fabs(p)));
                assert_true(rows.values[j] > sae->threshold[latent]);
                out->firings[latent] =
                    xreallocarray(out->firings[latent], out->n[latent] + 1, sizeof(struct firing));
                out->firings[latent][out->n[latent]++] =
                    (struct firing){places[i] / FIXTURE_LENGTH, places[i] % FIXTURE_LENGTH, rows.values[j]};
            }
        free(places);
    }
    sparse_rows_free(&rows);
    stream_close(st);
}

static void brute_force_free(struct brute_force *b)
{
    for (size_t i = 0; i < D_SAE; i++)
        free(b->firings[i]);
    free(b->ids);
}

static uint64_t sort_seed, sort_latent;

static int by_strength(const void *a, const void *b)
{
    const struct firing *x = a, *y = b;

    if (x->activation != y->activation)
        return x->activation > y->activation ? -1 : 1;
    if (x->context != y->context)
        return x->context < y->context ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static int by_hash(const void *a, const void *b)
{
    const struct firing *x = a, *y = b;
    uint64_t p = hash_mix(sort_seed, sort_latent, x->context, x->position);
    uint64_t q = hash_mix(sort_seed, sort_latent, y->context, y->position);

    return (p > q) - (p < q);
}

/* The window's tokens, with the place of the token in it, as text. */
static void window_text(const struct brute_force *b, const struct firing *x, char *text, size_t size)
{
    long from = (long)x->position - 16, to = (long)x->position + 16;
    size_t n = 0;

    for (long i = from; i <= to; i++)
        if (i >= 0 && i < FIXTURE_LENGTH)
            n += (size_t)snprintf(text + n, size - n, i == (long)x->position ? "[%u] " : "%u ",
                                  b->ids[x->context * FIXTURE_LENGTH + (size_t)i]);
}

/* Takes up to `limit` of the candidates in order, no window twice. */
static size_t take(const struct brute_force *b, const struct firing *candidates, size_t n, size_t limit,
                   struct firing *out)
{
    size_t taken = 0;

    for (size_t i = 0; i < n && taken < limit; i++) {
        char text[400], other[400];
        size_t j;

        window_text(b, &candidates[i], text, sizeof(text));
        for (j = 0; j < taken; j++) {
            window_text(b, &out[j], other, sizeof(other));
            if (!strcmp(text, other))
                break;
        }
        if (j == taken)
            out[taken++] = candidates[i];
    }
    return taken;
}

/* The contexts that index.h defines, as index_contexts_read orders them. */
static size_t expected_contexts(const struct brute_force *b, size_t latent, uint64_t seed, struct firing *out,
                                int *intervals)
{
    size_t n = b->n[latent], m = 0, count;
    struct firing *x = xreallocarray(NULL, n + 1, sizeof(*x));
    double max = 0;

    if (n)
        memcpy(x, b->firings[latent], n * sizeof(*x));
    qsort(x, n, sizeof(*x), by_strength);
    /* The strongest token of each context. */
    for (size_t i = 0; i < n; i++) {
        size_t j;

        for (j = 0; j < m && x[j].context != x[i].context; j++)
            ;
        if (j == m)
            x[m++] = x[i];
    }
    count = take(b, x, m, 20, out);
    for (size_t i = 0; i < count; i++)
        intervals[i] = -1;
    if (count)
        max = (double)out[0].activation;
    sort_seed = seed;
    sort_latent = latent;
    for (int interval = 4; interval >= 0; interval--) {
        size_t taken;

        m = 0;
        for (size_t i = 0; i < n; i++) {
            double a = (double)b->firings[latent][i].activation;

            if (a > interval * max / 5 && a <= (interval + 1) * max / 5)
                x[m++] = b->firings[latent][i];
        }
        qsort(x, m, sizeof(*x), by_hash);
        taken = take(b, x, m, 5, out + count);
        qsort(out + count, taken, sizeof(*out), by_strength);
        for (size_t i = 0; i < taken; i++)
            intervals[count++] = interval;
    }
    free(x);
    return count;
}

static void check_statistics(const struct brute_force *b, const struct index_columns *c,
                             const struct index_histogram *h, size_t latent)
{
    double min = INFINITY, max = 0, sum = 0;
    uint64_t counts[INDEX_BINS] = {0};

    assert_int_equal(c->fired[latent], b->n[latent]);
    for (size_t i = 0; i < b->n[latent]; i++) {
        double a = (double)b->firings[latent][i].activation;

        min = a < min ? a : min;
        max = a > max ? a : max;
        sum += a;
    }
    if (!b->n[latent])
        min = 0;
    assert_true(c->max[latent] == (float)max);
    assert_true(c->min[latent] == (float)min);
    assert_true(fabs((double)c->mean[latent] - (b->n[latent] ? sum / (double)b->n[latent] : 0)) <
                1e-6 * (1 + max));
    for (int i = 0; i <= INDEX_BINS; i++)
        assert_true(fabs(h->edges[i] - (min + (max - min) * i / INDEX_BINS)) < 1e-6 * (1 + max));
    for (size_t i = 0; i < b->n[latent]; i++) {
        double a = (double)b->firings[latent][i].activation;
        int bin = INDEX_BINS - 1;

        while (bin > 0 && a < h->edges[bin])
            bin--;
        counts[bin]++;
    }
    assert_memory_equal(counts, h->counts, sizeof(counts));
}

static void check_contexts(const struct brute_force *b, size_t latent, const struct latent_context *x,
                           size_t n)
{
    struct firing expected[64];
    int intervals[64];
    size_t n_expected = expected_contexts(b, latent, 11, expected, intervals);

    assert_int_equal(n, n_expected);
    for (size_t i = 0; i < n; i++) {
        float activations[FIXTURE_LENGTH] = {0};

        assert_int_equal(x[i].context, expected[i].context);
        assert_int_equal(x[i].position, expected[i].position);
        assert_true(x[i].activation == expected[i].activation);
        assert_int_equal(x[i].interval, intervals[i]);
        assert_int_equal(x[i].length, FIXTURE_LENGTH);
        assert_memory_equal(x[i].ids, b->ids + x[i].context * FIXTURE_LENGTH,
                            FIXTURE_LENGTH * sizeof(*b->ids));
        for (size_t j = 0; j < b->n[latent]; j++)
            if (b->firings[latent][j].context == x[i].context)
                activations[b->firings[latent][j].position] = b->firings[latent][j].activation;
        assert_memory_equal(activations, x[i].activations, sizeof(activations));
    }
}

static void check_index(struct fixture *f, artifact_id id, const struct brute_force *b)
{
    struct index_columns c;
    struct store_txn *t;

    ok(store_begin(f->store, &t, &fixture_error));
    ok(index_columns_read(t, id, &c, &fixture_error));
    assert_int_equal(c.n, D_SAE);
    assert_int_equal(c.tokens, b->tokens);
    assert_true(b->n[5] == 0);
    for (size_t i = 0; i < D_SAE; i++) {
        struct index_histogram h;
        struct latent_context *x;
        struct label label;
        size_t n;

        ok(index_histogram_read(t, id, i, &h, &fixture_error));
        check_statistics(b, &c, &h, i);
        ok(index_contexts_read(t, id, i, &x, &n, &fixture_error));
        check_contexts(b, i, x, n);
        latent_contexts_free(x, n);
        ok(store_label(t, id, i, &label, &fixture_error));
        assert_int_equal(label.text != NULL, b->n[i] > 0);
    }
    index_columns_free(&c);
    store_end(t);
}

/* Two SAEs in one pass, each compared with the brute force. */
static void test_index_is_brute_force(void **state)
{
    struct fixture *f = *state;
    size_t n_contexts, d;
    uint8_t *counted;
    uint32_t *ids;
    float *x = read_everything(f, &n_contexts, &counted, &ids, &d);
    artifact_id saes[2];
    struct brute_force b[2];

    for (int i = 0; i < 2; i++) {
        struct sae *sae = made_up_sae(x, counted, n_contexts * FIXTURE_LENGTH, d, (uint64_t)i + 1);

        encode_all(f, sae, &b[i]);
        assert_true(b[i].n[0] > 40);
        saes[i] = save(f, i ? "two" : "one", sae);
        sae_free(sae);
    }
    struct index_options o = {.saes = saes, .n_saes = 2, .text = f->text, .seed = 11};
    ok(index_run(f->store, &o, NULL, &fixture_error));
    for (int i = 0; i < 2; i++) {
        check_index(f, saes[i], &b[i]);
        brute_force_free(&b[i]);
    }
    free(x);
    free(counted);
    free(ids);
}

/* ---- Cancelling. ---- */
static int asked, cancel_at;

static enum monitor_request cancel_later(struct monitor *m)
{
    (void)m;
    return asked++ >= cancel_at ? MONITOR_CANCEL : MONITOR_GO_ON;
}

static void test_cancelled_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct monitor m = {.ask = cancel_later, .work_dir = f->directory};
    struct store_txn *t;
    struct artifact a;
    struct index_columns before, after;

    ok(store_begin(f->store, &t, &fixture_error));
    ok(store_find(t, ARTIFACT_SAE, "one", &a, &fixture_error));
    ok(index_columns_read(t, a.id, &before, &fixture_error));
    store_end(t);
    struct index_options o = {.saes = &a.id, .n_saes = 1, .text = f->text, .tokens = 300, .seed = 11};
    for (cancel_at = 0; cancel_at < 100; cancel_at++) {
        int status;

        asked = 0;
        status = index_run(f->store, &o, &m, &fixture_error);
        if (status == STATUS_OK)
            break;
        assert_int_equal(status, STATUS_FAILED);
        assert_string_equal(fixture_error.message, "cancelled");
        ok(store_begin(f->store, &t, &fixture_error));
        ok(index_columns_read(t, a.id, &after, &fixture_error));
        store_end(t);
        assert_int_equal(after.index, before.index);
        index_columns_free(&after);
    }
    assert_true(cancel_at > 2 && cancel_at < 100);
    /* Fewer tokens: the new index has taken the old one's place. */
    ok(store_begin(f->store, &t, &fixture_error));
    ok(index_columns_read(t, a.id, &after, &fixture_error));
    store_end(t);
    assert_true(after.index != before.index);
    assert_true(after.tokens >= 300 && after.tokens < 364);
    index_columns_free(&before);
    index_columns_free(&after);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct index_histogram h;
    struct latent_context *x;
    struct index_columns c;
    struct sae *sae;
    struct store_txn *t;
    artifact_id id;
    size_t n;

    ok(sae_new(sae_architecture_find("standard", &fixture_error), 12, 3, &sae, &fixture_error));
    memset(sae->owned_W_enc, 0, 36 * sizeof(float));
    memset(sae->owned_W_dec, 0, 36 * sizeof(float));
    id = save(f, "narrow", sae);
    sae_free(sae);
    struct index_options o = {.saes = &id, .n_saes = 1, .text = f->text};
    assert_int_equal(index_run(f->store, &o, NULL, &fixture_error), STATUS_REFUSED);
    o.text = f->model;
    assert_int_equal(index_run(f->store, &o, NULL, &fixture_error), STATUS_REFUSED);
    assert_int_equal(index_meta_run(f->store, id, NULL, &fixture_error), STATUS_REFUSED);
    ok(store_begin(f->store, &t, &fixture_error));
    ok(index_columns_read(t, id, &c, &fixture_error));
    assert_int_equal(c.index, 0);
    assert_int_equal(index_histogram_read(t, id, 0, &h, &fixture_error), STATUS_REFUSED);
    assert_int_equal(index_contexts_read(t, id, 0, &x, &n, &fixture_error), STATUS_REFUSED);
    store_end(t);
}

/* ---- Meta-SAEs. ---- */
static artifact_id save_meta(struct fixture *f, artifact_id base, size_t d, size_t d_meta)
{
    json *manifest = json_new_object(), *references = json_new_object();
    struct sae *sae;
    struct rng r;
    artifact_id id;

    ok(sae_new(sae_architecture_find("jumprelu", &fixture_error), d, d_meta, &sae, &fixture_error));
    if (!sae->threshold)
        sae->threshold = xcalloc(d_meta, sizeof(float));
    rng_seed(&r, 99, 0);
    for (size_t i = 0; i < d * d_meta; i++)
        sae->owned_W_enc[i] = sae->owned_W_dec[i] = (float)(rng_normal(&r) / sqrt((double)d));
    for (size_t i = 0; i < d_meta; i++)
        sae->threshold[i] = 0.03F;
    ok(store_create(f->store, ARTIFACT_SAE, "meta", 0, &id, &fixture_error));
    json_set(manifest, "kind", json_new_string("meta"));
    json_set(manifest, "hook", json_new_null());
    json_set(references, "base", json_new_integer((long long)base));
    json_set(manifest, "references", references);
    ok(sae_save(f->store, id, sae, manifest, &fixture_error));
    sae_free(sae);
    return id;
}

static void read_whole(struct store_txn *t, artifact_id id, const char *name, void *out)
{
    struct store_tensor x;

    ok(store_tensor_open(t, id, name, &x, &fixture_error));
    ok(store_tensor_read(t, &x, 0, x.shape[0], out, &fixture_error));
}

static void test_meta_index(void **state)
{
    enum { D_META = 10 };
    struct fixture *f = *state;
    struct index_columns c;
    struct store_txn *t;
    struct artifact a;
    artifact_id meta;
    double mean[256] = {0}, fired[D_META] = {0}, max[D_META] = {0};
    uint8_t metas[D_SAE];
    float ev[D_SAE];
    struct sae *base, *m;

    ok(store_begin(f->store, &t, &fixture_error));
    ok(store_find(t, ARTIFACT_SAE, "two", &a, &fixture_error));
    store_end(t);
    meta = save_meta(f, a.id, 256, D_META);
    struct index_options o = {.saes = &meta, .n_saes = 1};
    ok(index_run(f->store, &o, NULL, &fixture_error));
    ok(store_begin(f->store, &t, &fixture_error));
    ok(index_columns_read(t, meta, &c, &fixture_error));
    assert_int_equal(c.n, D_META);
    assert_int_equal(c.tokens, D_SAE);
    read_whole(t, c.index, "base_metas", metas);
    read_whole(t, c.index, "base_ev", ev);
    ok(sae_open(t, a.id, &base, &fixture_error));
    ok(sae_open(t, meta, &m, &fixture_error));
    for (size_t i = 0; i < D_SAE; i++)
        for (size_t j = 0; j < 256; j++)
            mean[j] += (double)sae_decoder_row(base, i)[j] / D_SAE;
    for (size_t i = 0; i < D_SAE; i++) {
        const float *row = sae_decoder_row(base, i);
        double decoded[256] = {0}, error = 0, variance = 0;
        unsigned n = 0;

        for (size_t k = 0; k < D_META; k++) {
            double p = 0;

            for (size_t j = 0; j < 256; j++)
                p += (double)row[j] * (double)sae_encoder_row(m, k)[j];
            /* No pre-activation lies so near the threshold that rounding decides. */
            assert_true(fabs(p - (double)0.03F) > 1e-6);
            if (p <= (double)0.03F)
                continue;
            n++;
            fired[k]++;
            max[k] = p > max[k] ? p : max[k];
            for (size_t j = 0; j < 256; j++)
                decoded[j] += p * (double)sae_decoder_row(m, k)[j];
        }
        for (size_t j = 0; j < 256; j++) {
            error += ((double)row[j] - decoded[j]) * ((double)row[j] - decoded[j]);
            variance += ((double)row[j] - mean[j]) * ((double)row[j] - mean[j]);
        }
        assert_int_equal(metas[i], n);
        assert_true(fabs((double)ev[i] - (1 - error / variance)) < 1e-5);
    }
    for (size_t k = 0; k < D_META; k++) {
        struct label label;

        assert_int_equal(c.fired[k], (int)fired[k]);
        assert_true(fabs((double)c.max[k] - max[k]) < 1e-5);
        ok(store_label(t, meta, k, &label, &fixture_error));
        assert_int_equal(label.text != NULL, fired[k] > 0);
    }
    sae_free(base);
    sae_free(m);
    index_columns_free(&c);
    store_end(t);
}

/* ---- The spool: more triples than its chunks hold, read back in ranges. ---- */
static void test_spool(void **state)
{
    enum { N = 1500000, LATENTS = 700 };
    struct fixture *f = *state;
    uint32_t *latents = xreallocarray(NULL, N, sizeof(*latents));
    struct spool *sp;
    struct rng r;

    ok(spool_open(f->directory, LATENTS, &sp, &fixture_error));
    rng_seed(&r, 1, 0);
    for (uint32_t i = 0; i < N; i++) {
        /* Half of them of one latent. */
        latents[i] = i % 2 ? 13 : (uint32_t)rng_below(&r, LATENTS);
        ok(spool_add(sp, latents[i], i, (float)i, &fixture_error));
    }
    for (size_t first = 0; first < LATENTS; first += 140) {
        size_t n = LATENTS - first < 140 ? LATENTS - first : 140, offsets[141] = {0}, next[140];
        uint32_t *places;
        float *activations;

        for (size_t i = 0; i < n; i++) {
            next[i] = offsets[i];
            offsets[i + 1] = offsets[i] + spool_counts(sp)[first + i];
        }
        places = xreallocarray(NULL, offsets[n], sizeof(*places));
        activations = xreallocarray(NULL, offsets[n], sizeof(*activations));
        ok(spool_read(sp, first, n, offsets, places, activations, NULL, &fixture_error));
        for (uint32_t i = 0; i < N; i++)
            if (latents[i] >= first && latents[i] - first < n) {
                size_t at = next[latents[i] - first]++;

                assert_int_equal(places[at], i);
                assert_true(activations[at] == (float)i);
            }
        for (size_t i = 0; i < n; i++)
            assert_int_equal(next[i], offsets[i + 1]);
        free(places);
        free(activations);
    }
    spool_close(sp);
    free(latents);
}

/* ---- Histograms at their edges, as numpy.histogram has them. ---- */
static void test_histogram_edges(void **state)
{
    const float values[] = {1, 1, 2, 51, 50, 26, 25.999F};
    const uint32_t places[] = {0, 1, 2, 3, 4, 5, 6};
    const struct firings f = {7, places, values}, same = {2, places, values}, none = {0, NULL, NULL};
    struct firing_statistics s;

    (void)state;
    firing_statistics(&f, &s);
    assert_int_equal(s.histogram[0], 2);
    assert_int_equal(s.histogram[1], 1);
    assert_int_equal(s.histogram[24], 1);
    assert_int_equal(s.histogram[25], 1);
    assert_int_equal(s.histogram[49], 2);
    firing_statistics(&same, &s);
    assert_int_equal(s.histogram[49], 2);
    assert_true(s.mean == 1);
    firing_statistics(&none, &s);
    assert_true(s.max == 0 && s.min == 0 && s.mean == 0);
}

/* ---- Labels. ---- */
struct labelled_text {
    struct word_table *table;
    uint32_t *ids, *words;
    size_t n;
};

static char *label_of(const struct labelled_text *x, const char *token, float other)
{
    uint32_t *places = xreallocarray(NULL, x->n, sizeof(*places));
    float *activations = xreallocarray(NULL, x->n, sizeof(*activations));
    struct firings f = {0, places, activations};
    struct strbuf label = STRBUF_INIT;
    struct tokenizer *tok;
    char *folder = shipped_file("wordnet-lm");

    ok(tokenizer_read_folder(folder, &tok, &fixture_error));
    free(folder);
    for (size_t i = 0; i < x->n; i++) {
        size_t n;
        const char *bytes = tokenizer_token(tok, x->ids[i], &n);
        int hit = n == strlen(token) && !memcmp(bytes, token, n);

        if (!hit && !(other > 0 && i % 7 == 0))
            continue;
        places[f.n] = (uint32_t)i;
        activations[f.n++] = hit ? 5 : other;
    }
    label_from_firings(x->table, &f, x->ids, x->words, x->n, &label);
    tokenizer_free(tok);
    free(places);
    free(activations);
    return strbuf_detach(&label);
}

static void test_labels(void **state)
{
    static const char text[] =
        "the physicist is a kind of scientist. a kind of lizard. physics is a kind of science. the chemist "
        "is a kind of "
        "scientist. in the year of the biologist, geologist, zoologist, ecologist and the psychologist met a "
        "physicist. "
        "of the people of Rome. the best of the wines of France. of course, of the three of them.";
    struct tokenizer *tok;
    struct encoder *encoder;
    struct token_list list = {NULL, 0, 0};
    struct labelled_text x = {NULL, NULL, NULL, 0};
    char *folder = shipped_file("wordnet-lm"), *label;
    uint8_t *counted;
    size_t ologist = 0;

    (void)state;
    ok(tokenizer_read_folder(folder, &tok, &fixture_error));
    free(folder);
    encoder = encoder_new(tok);
    ok(encoder_encode(encoder, text, strlen(text), 0, &list, &fixture_error));
    encoder_free(encoder);
    ok(word_table_new(tok, &x.table, &fixture_error));
    x.ids = list.ids;
    x.n = list.n;
    x.words = xreallocarray(NULL, x.n, sizeof(*x.words));
    counted = xmalloc(x.n);
    memset(counted, 1, x.n);
    word_table_add(x.table, x.ids, counted, x.n, x.words);
    label = label_of(&x, " kind", 0);
    assert_string_equal(label, "kind");
    free(label);
    /* The word around a piece of it. */
    for (size_t i = 0; i < x.n; i++) {
        size_t n;
        const char *bytes = tokenizer_token(tok, x.ids[i], &n);

        if (n > 4 && !memcmp(bytes, "ologist", n < 7 ? n : 7))
            ologist = i;
    }
    if (ologist) {
        label = label_of(&x, "ologist", 0);
        assert_string_equal(label, "-ologist");
        free(label);
    }
    /* What is everywhere comes after what it fires on strongly. */
    label = label_of(&x, " France", 0.5F);
    assert_true(!strncmp(label, "France", 6));
    free(label);
    label = label_of(&x, "no such token", 0);
    assert_string_equal(label, "");
    free(label);
    word_table_free(x.table);
    tokenizer_free(tok);
    token_list_free(&list);
    free(x.words);
    free(counted);
}

static void test_member_labels(void **state)
{
    static const char *const labels[] = {"physicist, scientist",
                                         "chemist, scientist",
                                         "biologist, Scientist",
                                         "",
                                         "herb, plant",
                                         "tree, plant",
                                         "shrub, plant",
                                         ",",
                                         "a, b"};
    const uint32_t members[] = {1, 0, 2, 3}, one[] = {4}, comma[] = {7}, none[] = {3};
    const float activations[] = {0.9F, 0.5F, 0.4F, 0.3F};
    struct label_words *w = label_words_new();
    struct strbuf label = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(labels); i++)
        label_words_add(w, labels[i], strlen(labels[i]));
    label_from_members(w, members, activations, 4, &label);
    assert_string_equal(strbuf_string(&label), "scientist: chemist, physicist, biologist");
    strbuf_reset(&label);
    label_from_members(w, one, activations, 1, &label);
    assert_string_equal(strbuf_string(&label), "herb");
    strbuf_reset(&label);
    label_from_members(w, comma, activations, 1, &label);
    assert_string_equal(strbuf_string(&label), ",");
    strbuf_reset(&label);
    label_from_members(w, none, activations, 1, &label);
    assert_int_equal(label.length, 0);
    strbuf_free(&label);
    label_words_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_is_brute_force),
        cmocka_unit_test(test_cancelled_leaves_nothing),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_meta_index),
        cmocka_unit_test(test_spool),
        cmocka_unit_test(test_histogram_edges),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_member_labels),
    };

    return cmocka_run_group_tests_name("index", tests, fixture_setup, fixture_teardown);
}
