/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index, compared with a brute force over the same activations: everything of one latent in one array,
 * sorted with qsort and read off by the definitions in index.h. That the activations are right is seen
 * against float64 sums.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index.h"
#include "saescope/analysis/index_select.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "index_fixture.h"

static struct error err;

#define D_SAE 48

/* A jumprelu SAE of random unit rows whose thresholds let about 1 to 12% of the tokens through; latent 5
 * never fires. */
static struct sae *made_up_sae(const float *x, const uint8_t *counted, size_t n, size_t d, uint64_t seed)
{
    struct sae *sae = new_sae("jumprelu", d, D_SAE);
    struct rng r;

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
    json *manifest = sae_manifest(FIXTURE_HOOK, f->model, 0);

    json_set(manifest, "context_size", json_new_integer(FIXTURE_LENGTH));
    json_set(manifest, "prepend_bos", json_new_boolean(1));
    json_set(manifest, "center_activations", json_new_boolean(0));
    return save_sae(f->store, name, sae, manifest);
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
    assert_ok(stream_open(f->store, &o, &st, &err));
    out->d = stream_width(st);
    out->n_contexts = stream_contexts(st);
    out->ids = xreallocarray(NULL, out->n_contexts * FIXTURE_LENGTH, sizeof(*out->ids));
    for (;;) {
        size_t *places, n = 0;

        assert_ok(stream_next(st, &b, &err));
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
        assert_ok(sae_encode(sae, b.activations, n, &rows, &err));
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

    t = begin_reading(f->store);
    assert_ok(index_columns_read(t, id, &c, &err));
    assert_int_equal(c.n, D_SAE);
    assert_int_equal(c.tokens, b->tokens);
    assert_true(b->n[5] == 0);
    for (size_t i = 0; i < D_SAE; i++) {
        struct index_histogram h;
        struct latent_context *x;
        struct label label;
        size_t n;

        assert_ok(index_histogram_read(t, id, i, &h, &err));
        check_statistics(b, &c, &h, i);
        assert_ok(index_contexts_read(t, id, i, &x, &n, &err));
        check_contexts(b, i, x, n);
        latent_contexts_free(x, n);
        assert_ok(store_label(t, id, i, &label, &err));
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
    assert_ok(index_run(f->store, &o, NULL, &err));
    for (int i = 0; i < 2; i++) {
        check_index(f, saes[i], &b[i]);
        brute_force_free(&b[i]);
    }
    free(x);
    free(counted);
    free(ids);
}

/* ---- Cancelling. ---- */
static void test_cancelled_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct monitor m = {.ask = cancel_later, .work_dir = test_directory};
    artifact_id one = find_artifact(f->store, ARTIFACT_SAE, "one");
    struct store_txn *t = begin_reading(f->store);
    struct index_columns before, after;
    int cancel_at;

    assert_ok(index_columns_read(t, one, &before, &err));
    store_end(t);
    struct index_options o = {.saes = &one, .n_saes = 1, .text = f->text, .tokens = 300, .seed = 11};
    for (cancel_at = 0; cancel_at < 100; cancel_at++) {
        int status;

        asks_before_cancel = cancel_at;
        status = index_run(f->store, &o, &m, &err);
        if (status == STATUS_OK)
            break;
        assert_int_equal(status, STATUS_FAILED);
        assert_string_equal(err.message, "cancelled");
        t = begin_reading(f->store);
        assert_ok(index_columns_read(t, one, &after, &err));
        store_end(t);
        assert_int_equal(after.index, before.index);
        index_columns_free(&after);
    }
    assert_true(cancel_at > 2 && cancel_at < 100);
    /* Fewer tokens: the new index has taken the old one's place. */
    t = begin_reading(f->store);
    assert_ok(index_columns_read(t, one, &after, &err));
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
    struct sae *sae = new_sae("standard", 12, 3);
    struct store_txn *t;
    artifact_id id;
    size_t n;

    memset(sae->owned_W_enc, 0, 36 * sizeof(float));
    memset(sae->owned_W_dec, 0, 36 * sizeof(float));
    id = save(f, "narrow", sae);
    sae_free(sae);
    struct index_options o = {.saes = &id, .n_saes = 1, .text = f->text};
    assert_int_equal(index_run(f->store, &o, NULL, &err), STATUS_REFUSED);
    o.text = f->model;
    assert_int_equal(index_run(f->store, &o, NULL, &err), STATUS_REFUSED);
    assert_int_equal(index_meta_run(f->store, id, NULL, &err), STATUS_REFUSED);
    t = begin_reading(f->store);
    assert_ok(index_columns_read(t, id, &c, &err));
    assert_int_equal(c.index, 0);
    assert_int_equal(index_histogram_read(t, id, 0, &h, &err), STATUS_REFUSED);
    assert_int_equal(index_contexts_read(t, id, 0, &x, &n, &err), STATUS_REFUSED);
    store_end(t);
}

/* ---- Meta-SAEs. ---- */
static artifact_id save_meta(struct fixture *f, artifact_id base, size_t d, size_t d_meta)
{
    struct sae *sae = new_sae("jumprelu", d, d_meta);
    struct rng r;
    artifact_id id;

    if (!sae->threshold)
        sae->threshold = xcalloc(d_meta, sizeof(float));
    rng_seed(&r, 99, 0);
    for (size_t i = 0; i < d * d_meta; i++)
        sae->owned_W_enc[i] = sae->owned_W_dec[i] = (float)(rng_normal(&r) / sqrt((double)d));
    for (size_t i = 0; i < d_meta; i++)
        sae->threshold[i] = 0.03F;
    id = save_sae(f->store, "meta", sae, sae_manifest(NULL, 0, base));
    sae_free(sae);
    return id;
}

static void read_whole(struct store_txn *t, artifact_id id, const char *name, void *out)
{
    struct store_tensor x;

    assert_ok(store_tensor_open(t, id, name, &x, &err));
    assert_ok(store_tensor_read(t, &x, 0, x.shape[0], out, &err));
}

static void test_meta_index(void **state)
{
    enum { D_META = 10 };
    struct fixture *f = *state;
    struct index_columns c;
    struct store_txn *t;
    artifact_id meta, two = find_artifact(f->store, ARTIFACT_SAE, "two");
    double mean[256] = {0}, fired[D_META] = {0}, max[D_META] = {0};
    uint8_t metas[D_SAE];
    float ev[D_SAE];
    struct sae *base, *m;

    meta = save_meta(f, two, 256, D_META);
    struct index_options o = {.saes = &meta, .n_saes = 1};
    assert_ok(index_run(f->store, &o, NULL, &err));
    t = begin_reading(f->store);
    assert_ok(index_columns_read(t, meta, &c, &err));
    assert_int_equal(c.n, D_META);
    assert_int_equal(c.tokens, D_SAE);
    read_whole(t, c.index, "base_metas", metas);
    read_whole(t, c.index, "base_ev", ev);
    assert_ok(sae_open(t, two, &base, &err));
    assert_ok(sae_open(t, meta, &m, &err));
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
        assert_ok(store_label(t, meta, k, &label, &err));
        assert_int_equal(label.text != NULL, fired[k] > 0);
    }
    sae_free(base);
    sae_free(m);
    index_columns_free(&c);
    store_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_is_brute_force),
        cmocka_unit_test(test_cancelled_leaves_nothing),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_meta_index),
    };

    return cmocka_run_group_tests_name("index", tests, set_up_fixture, tear_down_fixture);
}
