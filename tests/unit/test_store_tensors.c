/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tensors in the store: large ones in blocks, small ones, growing ones. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "saescope/base/fileio.h"
#include "saescope/store/store.h"
#include "tests/support/support.h"

static struct error err;

enum { ROWS = 12000, COLUMNS = 1000 }; /* 48 MB of floats in blocks of 4160 rows */

/* Writes W_dec in pieces of growing size, and once again after a first attempt that was given up. */
static void write_rows(struct store *s, artifact_id id, const unsigned char *data)
{
    size_t shape[2] = {ROWS, COLUMNS}, done = 0;
    struct tensor_writer *w;
    struct store_txn *t;

    assert_ok(store_tensor_begin(s, id, "W_dec", DTYPE_F32, 2, shape, &w, &err));
    for (size_t step = 1; done < ROWS; step = step * 3 + 1) {
        size_t n = step < ROWS - done ? step : ROWS - done;
        assert_ok(store_tensor_append(w, data + done * COLUMNS * 4, n, &err));
        done += n;
    }
    assert_int_equal(store_tensor_append(w, data, 1, &err), STATUS_FAILED);
    store_tensor_abandon(w);
    t = begin_reading(s);
    assert_false(store_tensor_exists(t, id, "W_dec"));
    store_end(t);
    assert_int_equal(store_publish(s, id, json_new_object(), &err), STATUS_FAILED);
    assert_says("to its end");
    assert_ok(store_tensor_begin(s, id, "W_dec", DTYPE_F32, 2, shape, &w, &err));
    assert_ok(store_tensor_append(w, data, ROWS, &err));
    assert_ok(store_tensor_finish(w, &err));
    assert_ok(store_tensor_begin(s, id, "short", DTYPE_F32, 2, shape, &w, &err));
    assert_ok(store_tensor_append(w, data, 3, &err));
    assert_int_equal(store_tensor_finish(w, &err), STATUS_FAILED);
}

static void read_rows(struct store_txn *t, artifact_id id, const unsigned char *data)
{
    size_t bytes = (size_t)ROWS * COLUMNS * 4, next = 0, first, n;
    unsigned char *copy = malloc(bytes);
    struct store_tensor x;
    const void *rows;

    assert_ok(store_tensor_open(t, id, "W_dec", &x, &err));
    assert_int_equal(x.ndim, 2);
    assert_int_equal(x.shape[0], ROWS);
    assert_int_equal(x.row_bytes, COLUMNS * 4);
    assert_true(x.rows_per_block * x.row_bytes >= 8u << 20 && x.rows_per_block * x.row_bytes <= 32u << 20);
    assert_int_equal(x.n_blocks, 3);
    for (size_t i = 0; i < x.n_blocks; i++, next = first + n) {
        assert_ok(store_tensor_block(t, &x, i, &rows, &first, &n, &err));
        assert_int_equal((uintptr_t)rows % 64, 0);
        assert_int_equal(first, next);
        assert_memory_equal(rows, data + first * COLUMNS * 4, n * COLUMNS * 4);
    }
    assert_int_equal(next, ROWS);
    assert_int_equal(store_tensor_block(t, &x, x.n_blocks, &rows, &first, &n, &err), STATUS_REFUSED);
    assert_ok(store_tensor_row(t, &x, ROWS - 1, &rows, &err));
    assert_memory_equal(rows, data + (size_t)(ROWS - 1) * COLUMNS * 4, COLUMNS * 4);
    assert_int_equal(store_tensor_row(t, &x, ROWS, &rows, &err), STATUS_REFUSED);
    assert_ok(store_tensor_read(t, &x, 100, ROWS - 200, copy, &err));
    assert_memory_equal(copy, data + 100 * COLUMNS * 4, (size_t)(ROWS - 200) * COLUMNS * 4);
    assert_int_equal(store_tensor_read(t, &x, ROWS - 1, 2, copy, &err), STATUS_REFUSED);
    free(copy);
}

static void test_large(void **state)
{
    struct store *s = open_store("large");
    size_t bytes = (size_t)ROWS * COLUMNS * 4;
    unsigned char *data = malloc(bytes);
    struct store_txn *t;
    artifact_id id;

    (void)state;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_ok(store_create(s, ARTIFACT_SAE, "s", 0, &id, &err));
    write_rows(s, id, data);
    assert_ok(store_publish(s, id, json_new_object(), &err));
    t = begin_reading(s);
    read_rows(t, id, data);
    assert_true(store_bytes(t, id) > bytes &&
                store_bytes(t, id) < bytes + 50000); /* the first attempt is gone */
    store_end(t);
    store_close(s);
    free(data);
}

static void test_small(void **state)
{
    struct store *s = open_store("small");
    float small[3] = {1, 2, 3}, scalar = 7;
    struct tensor b = {DTYPE_F32, 1, {3}, small}, one = {DTYPE_F32, 0, {0}, &scalar};
    struct tensor none = {DTYPE_F32, 2, {0, 5}, small}, thin = {DTYPE_F32, 2, {5, 0}, small};
    struct tensor huge = {DTYPE_F32, 3, {4, SIZE_MAX / 4, 4}, small};
    struct store_tensor x;
    struct store_txn *t;
    const void *row;
    artifact_id id;

    (void)state;
    assert_ok(store_create(s, ARTIFACT_SAE, "s", 0, &id, &err));
    assert_ok(store_tensor_put(s, id, "b_dec", &b, &err));
    assert_ok(store_tensor_put(s, id, "scale", &one, &err));
    assert_ok(store_tensor_put(s, id, "none", &none, &err));
    assert_ok(store_tensor_put(s, id, "thin", &thin, &err));
    assert_int_equal(store_tensor_put(s, id, "huge", &huge, &err), STATUS_REFUSED);
    assert_int_equal(store_tensor_put(s, id, "", &b, &err), STATUS_REFUSED);
    assert_ok(store_publish(s, id, json_new_object(), &err));
    assert_int_equal(store_tensor_put(s, id, "late", &b, &err), STATUS_REFUSED);
    assert_says("published");
    t = begin_reading(s);
    assert_ok(store_tensor_open(t, id, "b_dec", &x, &err));
    assert_ok(store_tensor_row(t, &x, 2, &row, &err));
    assert_int_equal(((uintptr_t)row - 8) % 64, 0);
    assert_memory_equal(row, &small[2], 4);
    assert_ok(store_tensor_open(t, id, "scale", &x, &err));
    assert_int_equal(x.ndim, 0);
    assert_ok(store_tensor_row(t, &x, 0, &row, &err));
    assert_memory_equal(row, &scalar, 4);
    assert_ok(store_tensor_open(t, id, "none", &x, &err));
    assert_int_equal(x.n_blocks, 0);
    assert_ok(store_tensor_open(t, id, "thin", &x, &err));
    assert_int_equal(x.shape[0], 5);
    assert_ok(store_tensor_read(t, &x, 1, 4, NULL, &err));
    assert_int_equal(store_tensor_open(t, id, "short", &x, &err), STATUS_REFUSED);
    assert_string_equal(err.message, "SAE s has no tensor short");
    store_end(t);
    store_close(s);
}

static void test_growing(void **state)
{
    struct store *s = open_store("growing");
    size_t shape[1] = {0};
    struct tensor_writer *w;
    struct store_tensor x;
    struct store_txn *t;
    artifact_id id;
    enum { CHUNK = 100000, CHUNKS = 50 };
    static uint32_t chunk[CHUNK];

    (void)state;
    assert_ok(store_create(s, ARTIFACT_TEXT, "t", 0, &id, &err));
    assert_ok(store_tensor_begin_growing(s, id, "tokens", DTYPE_U32, 1, shape, &w, &err));
    for (uint32_t c = 0; c < CHUNKS; c++) {
        for (uint32_t i = 0; i < CHUNK; i++)
            chunk[i] = c * CHUNK + i;
        assert_ok(store_tensor_append(w, chunk, CHUNK, &err));
    }
    assert_ok(store_tensor_finish(w, &err));
    assert_ok(store_tensor_begin_growing(s, id, "empty", DTYPE_U32, 1, shape, &w, &err));
    assert_ok(store_tensor_finish(w, &err));
    assert_ok(store_publish(s, id, json_new_object(), &err));
    t = begin_reading(s);
    assert_ok(store_tensor_open(t, id, "tokens", &x, &err));
    assert_int_equal(x.shape[0], CHUNK * CHUNKS);
    assert_true(x.n_blocks >= 2);
    uint32_t token;
    for (size_t i = 0; i < x.shape[0]; i += 99991) {
        assert_ok(store_tensor_read(t, &x, i, 1, &token, &err));
        assert_int_equal(token, i);
    }
    assert_ok(store_tensor_open(t, id, "empty", &x, &err));
    assert_int_equal(x.shape[0], 0);
    store_end(t);
    store_close(s);
}

struct given {
    size_t next;       /* row that is asked for */
    size_t fails_from; /* row from which there is none */
};

/* Row r is r, r + 1, … */
static int give_rows(void *arg, size_t first, size_t n, void *rows, struct error *e)
{
    struct given *g = arg;
    uint32_t *to = rows;
    if (first != g->next || first + n > g->fails_from)
        return error_set(e, STATUS_REFUSED, "row %zu is not there", first);
    g->next += n;
    for (size_t i = 0; i < n * COLUMNS; i++)
        to[i] = (uint32_t)(first + i / COLUMNS + i % COLUMNS);
    return STATUS_OK;
}

/* Reads all blocks, if they can be read; what store_tensor_fill said last. */
static int fill_with(struct tensor_writer *w, int ahead, struct given *g)
{
    int status = STATUS_OK;
    for (size_t left = ROWS; !status && left > 0; left = store_tensor_left(w)) {
        assert_int_equal(store_tensor_left(w), ROWS - g->next);
        status = store_tensor_fill(w, ahead, give_rows, g, &err);
    }
    return status;
}

static void count_problem(const struct store_problem *p, void *arg)
{
    (void)p;
    ++*(int *)arg;
}

static void test_filled(void **state)
{
    (void)state;
    struct store *s = open_store("filled");
    size_t shape[2] = {ROWS, COLUMNS};
    struct tensor_writer *w;
    struct store_tensor x;
    artifact_id id;
    assert_ok(store_create(s, ARTIFACT_SAE, "filled", 0, &id, &err));
    for (int ahead = 0; ahead < 2; ahead++) {
        struct given short_of = {0, 9000}, all = {0, ROWS};
        const char *name = ahead ? "ahead" : "in turn";
        assert_ok(store_tensor_begin(s, id, name, DTYPE_U32, 2, shape, &w, &err));
        assert_int_equal(fill_with(w, ahead, &short_of), STATUS_REFUSED);
        assert_says("is not there");
        store_tensor_abandon(w);
        assert_ok(store_tensor_begin(s, id, name, DTYPE_U32, 2, shape, &w, &err));
        assert_ok(fill_with(w, ahead, &all));
        assert_ok(store_tensor_finish(w, &err));
    }
    assert_ok(store_publish(s, id, json_new_object(), &err));
    struct store_txn *t = begin_reading(s);
    for (int ahead = 0; ahead < 2; ahead++) {
        uint32_t row[COLUMNS];
        assert_ok(store_tensor_open(t, id, ahead ? "ahead" : "in turn", &x, &err));
        assert_int_equal(x.n_blocks, 3);
        for (size_t r = 0; r < ROWS; r++) {
            assert_ok(store_tensor_read(t, &x, r, 1, row, &err));
            for (size_t i = 0; i < COLUMNS; i++)
                assert_int_equal(row[i], r + i);
        }
    }
    store_end(t);
    int problems = 0;
    assert_ok(store_verify(s, NULL, count_problem, &problems, &err)); /* the checksums */
    assert_int_equal(problems, 0);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_growing),
        cmocka_unit_test(test_filled),
    };

    return cmocka_run_group_tests_name("store_tensors", tests, set_up_threads, tear_down_threads);
}
