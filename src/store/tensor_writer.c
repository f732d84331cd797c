/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing tensors: rows are gathered in a buffer of one block, which is committed when it is full. The
 * tensor's record is written with its first block, not yet complete, and once more at the end; a tensor of
 * one block takes one transaction.
 */
#include "config.h"

#include <stdlib.h>
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/store/internal.h"

#define BLOCK_TARGET  ((size_t)16 << 20)
#define ROW_BYTES_MAX ((size_t)1 << 30)
#define BLOCKS_MAX    UINT32_MAX

struct tensor_writer {
    struct store *store;
    artifact_id id;
    char name[NAME_MAX_BYTES + 1];
    char *shown; /* the name for messages */
    struct tensor_record record;
    int numbered; /* its record is there */
    int growing;
    size_t rows_expected; /* when not growing */
    size_t rows_written;  /* in committed blocks */
    size_t rows_held;     /* in the buffer */
    size_t buffer_rows;
    unsigned char *buffer, *spare; /* spare: the next block's rows, while the buffer is committed */
    uint64_t checksum;             /* the buffer's, when is_summed */
    int is_summed;
    uint32_t blocks_written;
    int failed;
    struct error failure; /* which every later call repeats */
};

static int shape_check(struct tensor_writer *w, enum dtype dtype, int ndim, const size_t *shape,
                       struct error *err)
{
    struct tensor_record *r = &w->record;
    size_t row_bytes = dtype_size(dtype), total, rows;

    if (ndim < 0 || ndim > TENSOR_MAX_DIMS || (w->growing && ndim == 0) || dtype >= DTYPE_COUNT)
        return error_set(err, STATUS_REFUSED, "tensor %s: %d dimensions cannot be stored", w->shown, ndim);
    for (int i = 1; i < ndim; i++)
        if (size_multiply(row_bytes, shape[i], &row_bytes))
            row_bytes = SIZE_MAX;
    rows = w->growing ? 0 : ndim ? shape[0] : 1;
    if (row_bytes > ROW_BYTES_MAX || size_multiply(rows, row_bytes, &total) || total > SIZE_MAX / 2)
        return error_set(err, STATUS_REFUSED, "tensor %s is too large to be stored", w->shown);
    r->dtype = (uint16_t)dtype;
    r->ndim = (uint16_t)ndim;
    for (int i = 0; i < ndim; i++)
        r->shape[i] = shape[i];
    r->row_bytes = row_bytes;
    r->rows_per_block = row_bytes ? (BLOCK_TARGET - 64) / row_bytes : 1;
    if (r->rows_per_block >= 64) /* whole tiles for those who work block by block */
        r->rows_per_block -= r->rows_per_block % 64;
    if (r->rows_per_block < 1)
        r->rows_per_block = 1;
    if (rows / r->rows_per_block >= BLOCKS_MAX)
        return error_set(err, STATUS_REFUSED, "tensor %s is too large to be stored", w->shown);
    w->rows_expected = rows;
    w->buffer_rows = r->rows_per_block;
    if (!w->growing && rows < w->buffer_rows)
        w->buffer_rows = rows;
    return 0;
}

static int id_is_pending(struct store *s, artifact_id id, struct error *err)
{
    struct store_txn *t;
    struct pending p;
    int code = store_begin(s, &t, err);

    if (code)
        return code;
    code = pending_need(t, id, &p, err);
    store_end(t);
    return code;
}

static int begin(struct store *s, artifact_id id, const char *tensor, enum dtype dtype, int ndim,
                 const size_t *shape, int growing, struct tensor_writer **out, struct error *err)
{
    struct tensor_writer *w;
    size_t n = strlen(tensor);
    int code;

    *out = NULL;
    if (n < 1 || n > NAME_MAX_BYTES)
        return error_set(err, STATUS_REFUSED, "a tensor's name has 1 to %d bytes, this one has %zu",
                         NAME_MAX_BYTES, n);
    w = xcalloc(1, sizeof *w);
    w->store = s;
    w->id = id;
    w->growing = growing;
    memcpy(w->name, tensor, n);
    w->shown = displayable_string(tensor);
    code = shape_check(w, dtype, ndim, shape, err);
    if (!code)
        code = id_is_pending(s, id, err);
    if (!code && w->buffer_rows && w->record.row_bytes) {
        w->buffer = array_alloc(w->buffer_rows, w->record.row_bytes, "a block of a tensor", err);
        if (!w->buffer)
            code = STATUS_FAILED;
    }
    if (code) {
        store_tensor_abandon(w);
        return code;
    }
    *out = w;
    return 0;
}

int store_tensor_begin(struct store *s, artifact_id id, const char *tensor, enum dtype dtype, int ndim,
                       const size_t *shape, struct tensor_writer **out, struct error *err)
{
    return begin(s, id, tensor, dtype, ndim, shape, 0, out, err);
}

int store_tensor_begin_growing(struct store *s, artifact_id id, const char *tensor, enum dtype dtype,
                               int ndim, const size_t *shape, struct tensor_writer **out, struct error *err)
{
    return begin(s, id, tensor, dtype, ndim, shape, 1, out, err);
}

void store_tensor_abandon(struct tensor_writer *w)
{
    if (!w)
        return;
    free(w->buffer);
    free(w->spare);
    free(w->shown);
    free(w);
}

/* ---- Committing. ---- */

/* The number of a tensor that is written again, else one above those that are there. */
static int choose_number(struct store_txn *t, struct tensor_writer *w)
{
    struct key key = key_u64(w->id);
    struct tensor_record r;
    struct walk walk;
    int rc = tensor_record_load(t, w->id, w->name, &r);

    if (rc != MDB_NOTFOUND) {
        w->record.number = r.number;
        return rc;
    }
    w->record.number = 0;
    rc = walk_begin(t, TABLE_TENSORS, &key, &walk);
    while (!rc && !(rc = walk_next(&walk))) {
        MDB_val payload = {walk.value.mv_size - SEAL_BYTES, (char *)walk.value.mv_data + SEAL_BYTES};
        rc = walk.value.mv_size < SEAL_BYTES ? MDB_CORRUPTED : tensor_record_parse(&payload, &r);
        if (!rc && r.number >= w->record.number)
            w->record.number = r.number + 1;
    }
    walk_end(&walk);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Takes away what an earlier attempt at this tensor wrote from `first_block` on. */
static int drop_blocks(struct store_txn *t, const struct tensor_writer *w, uint32_t first_block)
{
    struct key prefix = key_u64(w->id), from;
    uint64_t bytes = 0;
    struct walk walk;
    int rc;

    key_add(&prefix, w->record.number, 4);
    from = prefix;
    key_add(&from, first_block, 4);
    rc = walk_begin(t, TABLE_BLOCKS, &prefix, &walk);
    for (int first = 1; !rc && !(rc = first ? walk_seek(&walk, &from) : walk_next(&walk)); first = 0) {
        bytes += walk.value.mv_size;
        rc = walk_delete(&walk);
    }
    walk_end(&walk);
    if (rc != MDB_NOTFOUND)
        return rc;
    return bytes ? size_change(t, w->id, 0, bytes) : 0;
}

static int put_block(struct store_txn *t, struct tensor_writer *w)
{
    size_t n = w->rows_held * w->record.row_bytes, size = sizeof(struct block_header) + n;
    size_t smallest = t->store->page_size - 64; /* smaller values would not be at the start of a page */
    struct block_header h = {BLOCK_MAGIC,  BLOCK_HEADER_VERSION, w->record.dtype,
                             w->id,        w->record.number,     w->blocks_written,
                             w->rows_held, w->record.row_bytes,  0};
    struct key key = key_u64(w->id);
    MDB_val k, v;
    int rc;

    if (!n)
        return 0;
    h.checksum = w->is_summed ? w->checksum : hash64(w->buffer, n, w->id);
    key_add(&key, w->record.number, 4);
    key_add(&key, w->blocks_written, 4);
    k.mv_size = key.n;
    k.mv_data = key.bytes;
    v.mv_size = size < smallest ? smallest : size;
    v.mv_data = NULL;
    rc = mdb_put(t->txn, t->store->tables[TABLE_BLOCKS], &k, &v, MDB_RESERVE);
    if (rc)
        return rc;
    memcpy(v.mv_data, &h, sizeof h);
    memcpy((char *)v.mv_data + sizeof h, w->buffer, n);
    memset((char *)v.mv_data + size, 0, v.mv_size - size);
    return size_change(t, w->id, v.mv_size, 0);
}

/* The record as far as blocks are there, so that it is always consistent in itself. */
static int put_record(struct store_txn *t, struct tensor_writer *w, int complete)
{
    struct tensor_record r = w->record;
    struct key key = key_u64(w->id);
    uint64_t rows = w->rows_written + w->rows_held;

    if (r.ndim)
        r.shape[0] = rows;
    r.n_blocks = r.row_bytes ? (rows + r.rows_per_block - 1) / r.rows_per_block : 0;
    r.complete = (uint32_t)complete;
    key_add_string(&key, w->name);
    return sealed_put(t, TABLE_TENSORS, &key, &r, sizeof r);
}

static int commit(struct tensor_writer *w, int complete, struct error *err)
{
    struct store_txn t;
    struct pending p;
    int first = !w->numbered, code, rc = 0;

    if (w->blocks_written == BLOCKS_MAX)
        return error_set(err, STATUS_FAILED, "tensor %s is too large to be stored", w->shown);
    code = write_begin(w->store, &t, err);
    if (code)
        return code;
    code = pending_need(&t, w->id, &p, err);
    if (!code && first)
        rc = choose_number(&t, w);
    if (!code && !rc && first)
        rc = drop_blocks(&t, w, 0);
    if (!code && !rc)
        rc = put_block(&t, w);
    if (!code && !rc && (first || complete))
        rc = put_record(&t, w, complete);
    if (rc)
        code = store_fail(w->store, rc, err, "write a tensor");
    if (code) {
        write_abort(&t);
        return code;
    }
    code = write_commit(&t, err);
    if (!code) {
        w->numbered = 1;
        w->rows_written += w->rows_held;
        w->blocks_written += w->rows_held != 0;
        w->rows_held = 0;
        w->is_summed = 0;
    }
    return code;
}

static int fail(struct tensor_writer *w, struct error *err)
{
    w->failed = 1;
    if (err)
        *err = w->failure;
    return w->failure.code;
}

/* Where the next rows go, and how many at most. */
static void *room(struct tensor_writer *w, size_t *n)
{
    size_t left = w->rows_expected - w->rows_written - w->rows_held;

    *n = w->buffer_rows - w->rows_held;
    if (!w->growing && *n > left)
        *n = left;
    return w->buffer + w->rows_held * w->record.row_bytes;
}

static int filled(struct tensor_writer *w, size_t n_rows, struct error *err)
{
    w->rows_held += n_rows;
    /* A last full block waits for store_tensor_finish, which completes the record in the same
     * transaction. */
    if (w->rows_held == w->buffer_rows && (w->growing || w->rows_written + w->rows_held < w->rows_expected) &&
        commit(w, 0, &w->failure))
        return fail(w, err);
    return 0;
}

int store_tensor_append(struct tensor_writer *w, const void *rows, size_t n_rows, struct error *err)
{
    const unsigned char *from = rows;
    size_t row_bytes = w->record.row_bytes, total = w->rows_written + w->rows_held;

    if (w->failed)
        return fail(w, err);
    if (!w->growing && n_rows > w->rows_expected - total) {
        error_set(&w->failure, STATUS_FAILED, "tensor %s: more than its %zu rows were given", w->shown,
                  w->rows_expected);
        return fail(w, err);
    }
    if (!row_bytes) {
        w->rows_written += n_rows;
        return 0;
    }
    while (n_rows) {
        size_t n;
        void *to = room(w, &n);
        if (n > n_rows)
            n = n_rows;
        memcpy(to, from, n * row_bytes);
        from += n * row_bytes;
        n_rows -= n;
        int code = filled(w, n, err);
        if (code)
            return code;
    }
    return 0;
}

/* ---- Rows that are read, a block at a time. ---- */

struct turn {
    struct tensor_writer *w;
    tensor_read *read;
    void *arg;
    size_t first, n; /* of the block that is read */
    unsigned char *rows;
    uint64_t checksum;
    int committed, status; /* what came of the block before, and of the reading */
    struct error problem;  /* of the reading */
};

static void read_block(struct turn *t)
{
    t->status = t->read(t->arg, t->first, t->n, t->rows, &t->problem);
    if (!t->status)
        t->checksum = hash64(t->rows, t->n * t->w->record.row_bytes, t->w->id);
}

/* The calling thread takes the first block of a parallel_for: it is the one that commits. */
static void take_turn(size_t reads, size_t worker, void *arg)
{
    struct turn *t = arg;
    (void)worker;
    if (reads)
        read_block(t);
    else
        t->committed = commit(t->w, 0, &t->w->failure);
}

size_t store_tensor_left(const struct tensor_writer *w)
{
    return w->rows_expected - w->rows_written - w->rows_held;
}

int store_tensor_fill(struct tensor_writer *w, int ahead, tensor_read *read, void *arg, struct error *err)
{
    size_t left = store_tensor_left(w), most = w->buffer_rows;
    struct turn t = {.w = w, .read = read, .arg = arg, .first = w->rows_expected - left, .rows = w->buffer};
    int full = w->rows_held > 0; /* a whole block, whose turn it is to be committed */

    if (w->failed)
        return fail(w, err);
    t.n = left < most ? left : most;
    if (full && ahead && !w->spare &&
        !(w->spare = array_alloc(most, w->record.row_bytes, "a block of a tensor", &w->failure)))
        return fail(w, err);
    if (full && ahead) {
        t.rows = w->spare;
        parallel_for(2, take_turn, &t);
    } else {
        if (full)
            take_turn(0, 0, &t);
        if (!t.committed)
            read_block(&t);
    }
    if (t.committed)
        return fail(w, err);
    if (t.status) {
        if (err)
            *err = t.problem;
        return t.status;
    }
    if (t.rows == w->spare) {
        w->spare = w->buffer;
        w->buffer = t.rows;
    }
    w->rows_held = t.n;
    w->checksum = t.checksum;
    w->is_summed = 1;
    return 0;
}

int store_tensor_finish(struct tensor_writer *w, struct error *err)
{
    size_t total = w->rows_written + w->rows_held;
    int code = 0;

    if (w->failed) {
        code = fail(w, err);
    } else if (!w->growing && total != w->rows_expected) {
        code = error_set(err, STATUS_FAILED, "tensor %s: %zu of its %zu rows were given", w->shown, total,
                         w->rows_expected);
    } else {
        code = commit(w, 1, err);
    }
    store_tensor_abandon(w);
    return code;
}

int store_tensor_put(struct store *s, artifact_id id, const char *tensor, const struct tensor *x,
                     struct error *err)
{
    struct tensor_writer *w;
    int code = store_tensor_begin(s, id, tensor, x->dtype, x->ndim, x->shape, &w, err);

    if (code)
        return code;
    code = store_tensor_append(w, x->data, x->ndim ? x->shape[0] : 1, err);
    if (code) {
        store_tensor_abandon(w);
        return code;
    }
    return store_tensor_finish(w, err);
}
