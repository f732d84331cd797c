/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading tensors from the map. A block's header is checked whenever it is reached, its checksum only by
 * store_verify: reading one row must not touch the rest of the block.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/store/internal.h"

#define PREFETCH_BYTES ((size_t)512 << 10) /* the kernel reads no more at one request */

/* ---- The table of tensors. ---- */

int tensor_record_parse(const MDB_val *payload, struct tensor_record *r)
{
    uint64_t bytes, rows = 1, expected = 1;

    if (payload->mv_size != sizeof *r)
        return MDB_CORRUPTED;
    memcpy(r, payload->mv_data, sizeof *r);
    if (r->dtype >= DTYPE_COUNT || r->ndim > TENSOR_MAX_DIMS)
        return MDB_CORRUPTED;
    expected = dtype_size((enum dtype)r->dtype);
    for (int i = 0; i < r->ndim; i++)
        if (i == 0)
            rows = r->shape[0];
        else if (__builtin_mul_overflow(expected, r->shape[i], &expected))
            return MDB_CORRUPTED;
    if (expected != r->row_bytes || !r->rows_per_block ||
        __builtin_mul_overflow(rows, r->row_bytes, &bytes) ||
        __builtin_mul_overflow(r->rows_per_block, r->row_bytes, &bytes))
        return MDB_CORRUPTED;
    if (r->n_blocks != (r->row_bytes ? rows / r->rows_per_block + (rows % r->rows_per_block != 0) : 0))
        return MDB_CORRUPTED;
    return 0;
}

static int tensor_key(artifact_id id, const char *tensor, struct key *key)
{
    size_t n = strlen(tensor);

    if (n < 1 || n > NAME_MAX_BYTES)
        return -1;
    *key = key_u64(id);
    key_add_string(key, tensor);
    return 0;
}

int tensor_record_load(struct store_txn *t, artifact_id id, const char *tensor, struct tensor_record *out)
{
    struct key key;
    MDB_val v;
    int rc;

    if (tensor_key(id, tensor, &key))
        return MDB_NOTFOUND;
    rc = sealed_get(t, TABLE_TENSORS, &key, &v);
    return rc ? rc : tensor_record_parse(&v, out);
}

struct store_tensor tensor_view(artifact_id id, const struct tensor_record *r)
{
    struct store_tensor x;

    memset(&x, 0, sizeof x);
    x.id = id;
    x.number = r->number;
    x.dtype = (enum dtype)r->dtype;
    x.ndim = r->ndim;
    for (int i = 0; i < r->ndim; i++)
        x.shape[i] = r->shape[i];
    x.row_bytes = r->row_bytes;
    x.rows_per_block = r->rows_per_block;
    x.n_blocks = r->n_blocks;
    return x;
}

size_t tensor_rows(const struct store_tensor *x)
{
    return x->ndim ? x->shape[0] : 1;
}

size_t block_rows(const struct store_tensor *x, size_t block)
{
    size_t left = tensor_rows(x) - block * x->rows_per_block;

    return left < x->rows_per_block ? left : x->rows_per_block;
}

int store_tensor_open(struct store_txn *t, artifact_id id, const char *tensor, struct store_tensor *out,
                      struct error *err)
{
    char what[NAME_MAX_BYTES + 64], *shown;
    struct tensor_record r;
    int rc = tensor_record_load(t, id, tensor, &r);

    memset(out, 0, sizeof *out);
    if (!rc && r.complete) {
        *out = tensor_view(id, &r);
        return 0;
    }
    if (rc && rc != MDB_NOTFOUND)
        return store_fail(t->store, rc, err, "look up a tensor");
    artifact_describe(t, id, what, sizeof what);
    shown = displayable_string(tensor);
    error_set(err, STATUS_REFUSED, "%s has no tensor %s", what, shown);
    free(shown);
    return STATUS_REFUSED;
}

int store_tensor_exists(struct store_txn *t, artifact_id id, const char *tensor)
{
    struct tensor_record r;

    return !tensor_record_load(t, id, tensor, &r) && r.complete;
}

/* ---- Blocks. ---- */

static int damaged(struct store_txn *t, const struct store_tensor *x, size_t block, const char *how,
                   struct error *err)
{
    char what[NAME_MAX_BYTES + 64];

    artifact_describe(t, x->id, what, sizeof what);
    return error_set(err, STATUS_STORE, "store %s is damaged: block %zu of tensor %u of %s %s; see `verify`",
                     t->store->path, block, x->number, what, how);
}

int tensor_block_load(struct store_txn *t, const struct store_tensor *x, size_t block, struct block_header *h,
                      const unsigned char **rows, struct error *err)
{
    struct key key = key_u64(x->id);
    size_t n_rows = block_rows(x, block);
    MDB_val v;
    int rc;

    key_add(&key, x->number, 4);
    key_add(&key, block, 4);
    rc = table_get(t, TABLE_BLOCKS, &key, &v);
    if (rc == MDB_NOTFOUND)
        return damaged(t, x, block, "is missing", err);
    if (rc)
        return store_fail(t->store, rc, err, "read a tensor");
    if (v.mv_size < sizeof *h || (v.mv_size - sizeof *h) / x->row_bytes < n_rows)
        return damaged(t, x, block, "is too short", err);
    memcpy(h, v.mv_data, sizeof *h);
    *rows = (const unsigned char *)v.mv_data + sizeof *h;
    if (h->magic != BLOCK_MAGIC || h->version != BLOCK_HEADER_VERSION || h->dtype != x->dtype ||
        h->id != x->id || h->number != x->number || h->block != block || h->rows != n_rows ||
        h->row_bytes != x->row_bytes)
        return damaged(t, x, block, "has a wrong header", err);
    if ((uintptr_t)*rows % 64)
        return damaged(t, x, block, "is not at a 64-byte boundary", err);
    return 0;
}

/* The map is read page by page (MDB_NORDAHEAD); a whole block that is about to be used is asked for at once.
 */
static void prefetch(const unsigned char *data, size_t n, size_t page_size)
{
    uintptr_t first = (uintptr_t)data / page_size * page_size, end = (uintptr_t)data + n;

    for (uintptr_t at = first; at < end; at += PREFETCH_BYTES) {
        size_t size = end - at < PREFETCH_BYTES ? end - at : PREFETCH_BYTES;
        uintptr_t last = (at + size - 1) / page_size * page_size;
        unsigned char resident = 0;
        if (mincore((void *)last, page_size, &resident) || !(resident & 1))
            posix_madvise((void *)at, size, POSIX_MADV_WILLNEED);
    }
}

int store_tensor_block(struct store_txn *t, const struct store_tensor *x, size_t block, const void **data,
                       size_t *first_row, size_t *n_rows, struct error *err)
{
    struct block_header h;
    const unsigned char *rows;
    int code;

    *data = NULL;
    if (block >= x->n_blocks)
        return error_set(err, STATUS_REFUSED, "a tensor of %zu blocks has no block %zu", x->n_blocks, block);
    code = tensor_block_load(t, x, block, &h, &rows, err);
    if (code)
        return code;
    prefetch(rows, h.rows * h.row_bytes, (size_t)sysconf(_SC_PAGESIZE));
    *data = rows;
    *first_row = block * x->rows_per_block;
    *n_rows = h.rows;
    return 0;
}

int store_tensor_row(struct store_txn *t, const struct store_tensor *x, size_t row, const void **data,
                     struct error *err)
{
    struct block_header h;
    const unsigned char *rows;
    int code;

    *data = NULL;
    if (row >= tensor_rows(x) || !x->n_blocks)
        return error_set(err, STATUS_REFUSED, "a tensor of %zu rows has no row %zu", tensor_rows(x), row);
    code = tensor_block_load(t, x, row / x->rows_per_block, &h, &rows, err);
    if (!code)
        *data = rows + row % x->rows_per_block * x->row_bytes;
    return code;
}

int store_tensor_read(struct store_txn *t, const struct store_tensor *x, size_t first, size_t n, void *dst,
                      struct error *err)
{
    unsigned char *to = dst;

    if (first > tensor_rows(x) || n > tensor_rows(x) - first)
        return error_set(err, STATUS_REFUSED, "a tensor of %zu rows has no rows %zu to %zu", tensor_rows(x),
                         first, first + n);
    while (n && x->row_bytes) {
        size_t at = first % x->rows_per_block, count = x->rows_per_block - at;
        struct block_header h;
        const unsigned char *rows;
        int code = tensor_block_load(t, x, first / x->rows_per_block, &h, &rows, err);
        if (code)
            return code;
        if (count > n)
            count = n;
        prefetch(rows + at * x->row_bytes, count * x->row_bytes, (size_t)sysconf(_SC_PAGESIZE));
        memcpy(to, rows + at * x->row_bytes, count * x->row_bytes);
        to += count * x->row_bytes;
        first += count;
        n -= count;
    }
    return 0;
}
