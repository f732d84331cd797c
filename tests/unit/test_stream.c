/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Activation streams and the sources of training rows. */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "index_fixture.h"

static struct error err;

static float relative_difference(const float *a, const float *b, size_t n)
{
    double difference = 0, size = 0;

    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return (float)sqrt(difference / size);
}

static void test_batches_are_the_contexts(void **state)
{
    struct fixture *f = *state;
    size_t n_contexts, width, at = 0;
    uint8_t *counted;
    uint32_t *ids;
    float *x = read_everything(f, &n_contexts, &counted, &ids, &width);
    struct stream_options o = fixture_stream(f);
    struct stream_batch b;
    struct stream *st;
    uint32_t bos;

    assert_int_equal(width, 256);
    assert_true(n_contexts > 50);
    assert_ok(stream_open(f->store, &o, &st, &err));
    bos = model_get_config(stream_model(st))->bos;
    for (;;) {
        size_t count = 0;

        assert_ok(stream_next(st, &b, &err));
        if (!b.n_contexts)
            break;
        assert_int_equal(b.first_context, at);
        assert_memory_equal(b.ids, ids + at * FIXTURE_LENGTH, b.n_tokens * sizeof(*ids));
        for (size_t i = 0; i < b.n_tokens; i++) {
            assert_int_equal(b.counted[i], b.ids[i] != bos);
            count += b.counted[i];
        }
        assert_int_equal(count, b.n_counted);
        assert_int_equal(b.ids[0], bos);
        assert_true(relative_difference(b.activations, x + at * FIXTURE_LENGTH * width, b.n_tokens * width) <
                    1e-5F);
        at += b.n_contexts;
    }
    assert_int_equal(at, n_contexts);
    assert_ok(stream_rewind(st, 3, &err));
    assert_ok(stream_next(st, &b, &err));
    assert_int_equal(b.first_context, 3);
    assert_int_equal(stream_rewind(st, n_contexts + 1, &err), STATUS_REFUSED);
    stream_close(st);
    free(x);
    free(counted);
    free(ids);
}

static void test_parts_of_a_text(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    struct stream_batch b;
    struct stream *st;
    uint64_t n_counted;
    size_t all;

    assert_ok(stream_open(f->store, &o, &st, &err));
    all = stream_contexts(st);
    assert_ok(stream_limit(st, 100, &n_counted, &err));
    assert_int_equal(stream_contexts(st), 2);
    assert_true(n_counted >= 100 && n_counted < 128);
    assert_ok(stream_next(st, &b, &err));
    assert_int_equal(b.n_contexts, 2);
    assert_int_equal(b.n_counted, n_counted);
    stream_close(st);
    o.first_context = 5;
    o.n_contexts = 3;
    assert_ok(stream_open(f->store, &o, &st, &err));
    assert_ok(stream_next(st, &b, &err));
    assert_int_equal(b.first_context, 5);
    assert_int_equal(b.n_contexts, 3);
    stream_close(st);
    o.n_contexts = all;
    assert_int_equal(stream_open(f->store, &o, &st, &err), STATUS_REFUSED);
    o = fixture_stream(f);
    o.context_size = 4096;
    assert_int_equal(stream_open(f->store, &o, &st, &err), STATUS_REFUSED);
    o.context_size = 0;
    assert_ok(stream_open(f->store, &o, &st, &err));
    assert_int_equal(stream_length(st), 128);
    stream_close(st);
}

static void test_centring(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    struct stream *plain, *centred;
    struct stream_batch a, b;
    size_t d;

    assert_ok(stream_open(f->store, &o, &plain, &err));
    o.center = 1;
    assert_ok(stream_open(f->store, &o, &centred, &err));
    assert_ok(stream_next(plain, &a, &err));
    assert_ok(stream_next(centred, &b, &err));
    d = stream_width(plain);
    for (size_t i = 0; i < a.n_tokens; i++) {
        double mean = 0;

        for (size_t j = 0; j < d; j++)
            mean += (double)a.activations[i * d + j] / (double)d;
        for (size_t j = 0; j < d; j++)
            assert_true(fabs((double)b.activations[i * d + j] - ((double)a.activations[i * d + j] - mean)) <
                        1e-5);
    }
    stream_close(plain);
    stream_close(centred);
}

/* ---- Sources. Rows are told by a hash of their bytes; rows of the same tokens are the same in this text, so
 * counts are compared. ---- */
static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void hash_rows(const float *x, size_t n, size_t d, uint64_t *hashes)
{
    for (size_t i = 0; i < n; i++) {
        char text[32];

        /* Products of other shapes may differ in their last bits. */
        snprintf(text, sizeof(text), "%.3f %.3f %.3f", (double)x[i * d], (double)x[i * d + 1],
                 (double)x[i * d + 2]);
        hashes[i] = hash64(text, strlen(text), 0);
    }
}

static void test_source_replays(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    const size_t d = 256, rows = 9000, chunk = 500;
    struct batch_source *src, *other;
    float *x = xreallocarray(NULL, rows * d, sizeof(*x)), *y = xreallocarray(NULL, rows * d, sizeof(*y));

    assert_ok(activation_source_open(f->store, &o, 1000, 7, NULL, &src, &err));
    assert_int_equal(src->d_in, d);
    for (size_t i = 0; i < rows; i += chunk)
        assert_ok(src->next(src, x + i * d, chunk, &err));
    /* The same seed gives the same, whatever the pieces it is asked in; another does not. */
    assert_ok(activation_source_open(f->store, &o, 1000, 7, NULL, &other, &err));
    assert_ok(other->next(other, y, rows, &err));
    assert_memory_equal(x, y, rows * d * sizeof(*x));
    other->close(other);
    assert_ok(activation_source_open(f->store, &o, 1000, 8, NULL, &other, &err));
    assert_ok(other->next(other, y, rows, &err));
    assert_memory_not_equal(x, y, rows * d * sizeof(*x));
    other->close(other);
    /* From the start, from within the first filling, and past several epochs. */
    for (size_t from = 0; from < rows; from += from ? from * 2 : 13) {
        assert_ok(activation_source_open(f->store, &o, 1000, 7, NULL, &other, &err));
        assert_ok(other->seek(other, from, &err));
        assert_ok(other->next(other, y, rows - from, &err));
        assert_memory_equal(x + from * d, y, (rows - from) * d * sizeof(*x));
        other->close(other);
        assert_ok(src->seek(src, from, &err));
        assert_ok(src->next(src, y, 100, &err));
        assert_memory_equal(x + from * d, y, 100 * d * sizeof(*x));
    }
    src->close(src);
    /* Back while the buffer still holds its first filling: after a fresh start, and after a seek. */
    assert_ok(activation_source_open(f->store, &o, 1000, 7, NULL, &src, &err));
    for (int again = 0; again < 3; again++) {
        static const size_t places[] = {0, 200, 30, 499, 0};

        for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
            assert_ok(src->next(src, y, 37, &err));
            assert_ok(src->seek(src, places[i], &err));
            assert_ok(src->next(src, y, 450, &err));
            assert_memory_equal(x + places[i] * d, y, 450 * d * sizeof(*x));
            assert_ok(src->seek(src, places[i], &err));
        }
    }
    assert_ok(src->next(src, y, rows, &err));
    assert_memory_equal(x, y, rows * d * sizeof(*x));
    src->close(src);
    free(x);
    free(y);
}

/* A monitor that asks for a checkpoint at its n-th question. */
static int questions_left;

static enum monitor_request ask_for_checkpoint(struct monitor *m)
{
    (void)m;
    return questions_left-- > 0 ? MONITOR_GO_ON : MONITOR_CHECKPOINT;
}

static void test_source_stops_while_filling(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    struct monitor m = {.ask = ask_for_checkpoint};
    const size_t d = 256, rows = 3000;
    struct batch_source *src;
    float *x = xreallocarray(NULL, rows * d, sizeof(*x)), *y = xreallocarray(NULL, rows * d, sizeof(*y));

    questions_left = INT_MAX;
    assert_ok(activation_source_open(f->store, &o, 1000, 7, &m, &src, &err));
    assert_ok(src->next(src, x, rows, &err));
    for (int n = 0; n < 4; n++) {
        questions_left = n;
        assert_int_equal(src->seek(src, 0, &err), STATUS_OK);
        assert_int_equal(src->next(src, y, rows, &err), STATUS_CHECKPOINTED);
        questions_left = INT_MAX;
        assert_ok(src->seek(src, 600, &err));
        assert_ok(src->next(src, y, rows - 600, &err));
        assert_memory_equal(x + 600 * d, y, (rows - 600) * d * sizeof(*x));
    }
    questions_left = 0;
    assert_int_equal(src->seek(src, 2000, &err), STATUS_CHECKPOINTED);
    src->close(src);
    free(x);
    free(y);
}

/* Rows are the counted ones of all contexts but the held-out, each no more often than it is there. */
/* A row of `all` and its first number: a product's last bits depend on how many rows it has, so that rows are
 * matched by nearness. */
struct keyed_row {
    float key;
    const float *row;
    int taken;
};

static int compare_keys(const void *a, const void *b)
{
    float x = ((const struct keyed_row *)a)->key, y = ((const struct keyed_row *)b)->key;

    return (x > y) - (x < y);
}

/* Takes the row that is x, among sorted ones: 0 when there is none that was not taken. */
static int take_row(struct keyed_row *rows, size_t n, const float *x, size_t d)
{
    const float near = 1e-3F;
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows[middle].key < x[0] - near)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < n && rows[low].key <= x[0] + near; low++)
        if (!rows[low].taken && relative_difference(x, rows[low].row, d) < 1e-5F)
            return rows[low].taken = 1;
    return 0;
}

static void test_source_serves_all(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    const size_t buffer = 2000;
    size_t n_contexts, d, held_from, n_train = 0, n_held = 0, n_served, got;
    uint8_t *counted;
    uint32_t *ids;
    float *all = read_everything(f, &n_contexts, &counted, &ids, &d);
    struct batch_source *src;
    float *x = xreallocarray(NULL, n_contexts * FIXTURE_LENGTH * d, sizeof(*x));
    struct keyed_row *expected = xreallocarray(NULL, n_contexts * FIXTURE_LENGTH, sizeof(*expected));

    held_from = n_contexts - (n_contexts * 2 + 99) / 100;
    for (size_t i = 0; i < n_contexts * FIXTURE_LENGTH; i++) {
        if (!counted[i])
            continue;
        if (i / FIXTURE_LENGTH < held_from)
            expected[n_train++] = (struct keyed_row){.key = all[i * d], .row = all + i * d};
        else
            n_held++;
    }
    /* As long as served rows and buffer are less than an epoch, nothing comes twice. */
    assert_true(n_train > 2 * buffer);
    n_served = n_train - buffer - FIXTURE_LENGTH;
    assert_ok(activation_source_open(f->store, &o, buffer, 3, NULL, &src, &err));
    assert_ok(src->next(src, x, n_served, &err));
    qsort(expected, n_train, sizeof(*expected), compare_keys);
    for (size_t i = 0; i < n_served; i++)
        assert_true(take_row(expected, n_train, x + i * d, d));
    /* Held-out rows in order, in chunks that are no multiple of a context. */
    got = 0;
    for (size_t chunk = 0;; chunk++) {
        size_t n;

        assert_ok(src->held_out(src, chunk, x, FIXTURE_LENGTH + 5, &n, &err));
        if (!n)
            break;
        for (size_t i = held_from * FIXTURE_LENGTH, j = 0, k = 0; k < n && i < n_contexts * FIXTURE_LENGTH;
             i++) {
            if (!counted[i] || j++ < got)
                continue;
            assert_true(relative_difference(x + k++ * d, all + i * d, d) < 1e-5F);
        }
        got += n;
    }
    assert_int_equal(got, n_held);
    src->close(src);
    free(all);
    free(counted);
    free(ids);
    free(x);
    free(expected);
}

static enum monitor_request cancel(struct monitor *m)
{
    (void)m;
    return MONITOR_CANCEL;
}

/* A batch is cancelled within its pass; asked for again, it is what it would have been. */
static void test_cancelled_within(void **state)
{
    struct fixture *f = *state;
    struct monitor m = {.cancelled = cancelled_later};
    struct stream_options o = fixture_stream(f), watched = o;
    struct stream_batch a, b;
    struct stream *whole, *st;

    watched.monitor = &m;
    assert_ok(stream_open(f->store, &o, &whole, &err));
    assert_ok(stream_next(whole, &a, &err));
    assert_ok(stream_open(f->store, &watched, &st, &err));
    for (int n = 0; n < 3; n++) {
        looks_before_cancel = n;
        assert_int_equal(stream_next(st, &b, &err), STATUS_FAILED);
        assert_says("cancelled");
    }
    looks_before_cancel = INT_MAX;
    assert_ok(stream_next(st, &b, &err));
    assert_int_equal(a.n_tokens, b.n_tokens);
    assert_int_equal(b.first_context, 0);
    assert_memory_equal(a.activations, b.activations, a.n_tokens * stream_width(st) * sizeof(float));
    stream_close(st);
    stream_close(whole);
}

/* The source of a training's rows too. */
static void test_source_cancelled_within(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    struct monitor m = {.cancelled = cancelled_later};
    struct batch_source *src;
    float x[256];

    assert_ok(activation_source_open(f->store, &o, 1000, 7, &m, &src, &err));
    looks_before_cancel = 5;
    assert_int_equal(src->next(src, x, 1, &err), STATUS_FAILED);
    assert_says("cancelled");
    src->close(src);
}

static void test_source_errors(void **state)
{
    struct fixture *f = *state;
    struct stream_options o = fixture_stream(f);
    struct monitor m = {.ask = cancel};
    struct batch_source *src;
    float x[256];
    size_t n;

    o.n_contexts = 1;
    o.first_context = 1;
    assert_ok(activation_source_open(f->store, &o, 0, 0, NULL, &src, &err));
    for (int i = 0; i < 300; i++)
        assert_ok(src->next(src, x, 1, &err));
    assert_int_equal(src->held_out(src, 0, x, 1, &n, &err), STATUS_FAILED);
    src->close(src);
    assert_ok(activation_source_open(f->store, &o, 0, 0, &m, &src, &err));
    assert_int_equal(src->next(src, x, 1, &err), STATUS_FAILED);
    src->close(src);
}

static artifact_id save_rows(struct fixture *f, const char *name, size_t d_sae)
{
    struct sae *sae = new_sae("standard", 8, d_sae);
    struct rng r;
    artifact_id id;

    rng_seed(&r, 5, 0);
    for (size_t i = 0; i < d_sae * 8; i++) {
        sae->owned_W_enc[i] = 1;
        sae->owned_W_dec[i] = i / 8 % 4 == 1 ? 0 : (float)rng_normal(&r);
    }
    id = save_sae(f->store, name, sae, sae_manifest(NULL, 0, 0));
    sae_free(sae);
    return id;
}

static void test_decoder_rows_as_data(void **state)
{
    struct fixture *f = *state;
    artifact_id saes[2] = {save_rows(f, "rows-a", 20), save_rows(f, "rows-b", 8)};
    struct batch_source *src;
    float x[63 * 8], y[63 * 8];
    uint64_t first[21], second[21];
    size_t n;

    /* 15 rows of the one, 6 of the other: each fourth is zero. */
    assert_ok(decoder_source_open(f->store, saes, 2, 0, 1, &src, &err));
    assert_ok(src->next(src, x, 63, &err));
    for (size_t i = 0; i < 63; i++)
        assert_true(fabs(vec_norm2(x + i * 8, 8) - 1) < 1e-5);
    hash_rows(x, 21, 8, first);
    hash_rows(x + 21 * 8, 21, 8, second);
    assert_memory_not_equal(first, second, sizeof(first));
    qsort(first, 21, sizeof(*first), compare_u64);
    qsort(second, 21, sizeof(*second), compare_u64);
    assert_memory_equal(first, second, sizeof(first));
    assert_ok(src->seek(src, 30, &err));
    assert_ok(src->next(src, y, 33, &err));
    assert_memory_equal(x + 30 * 8, y, 33 * 8 * sizeof(*x));
    assert_ok(src->held_out(src, 1, y, 15, &n, &err));
    assert_int_equal(n, 6);
    assert_ok(src->held_out(src, 2, y, 15, &n, &err));
    assert_int_equal(n, 0);
    src->close(src);
    assert_ok(decoder_source_open(f->store, saes, 1, 1, 1, &src, &err));
    assert_ok(src->next(src, x, 1, &err));
    assert_true(fabs(vec_norm2(x, 8) - 1) > 1e-3);
    src->close(src);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_are_the_contexts),
        cmocka_unit_test(test_parts_of_a_text),
        cmocka_unit_test(test_centring),
        cmocka_unit_test(test_source_replays),
        cmocka_unit_test(test_source_stops_while_filling),
        cmocka_unit_test(test_source_serves_all),
        cmocka_unit_test(test_cancelled_within),
        cmocka_unit_test(test_source_cancelled_within),
        cmocka_unit_test(test_source_errors),
        cmocka_unit_test(test_decoder_rows_as_data),
    };

    return cmocka_run_group_tests_name("streams", tests, set_up_fixture, tear_down_fixture);
}
