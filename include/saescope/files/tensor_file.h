/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of named tensors, whatever the container: safetensors, npy, npz and PyTorch checkpoints; safetensors and
 * checkpoints also in several files, by their index. The container is told by the file's bytes, never by its name. Files are hostile: every size, offset
 * and stride is checked against the bytes that are there before a tensor is handed out, and nothing is executed.
 *
 *   struct tensor_file *tf;
 *   tensor_file_open(path, scratch, &tf, err);
 *   tensor_file_need(tf, "W_enc", &t, err);              d_in × d_sae, as stored
 *   struct file_tensor by_latent = file_tensor_transposed(t);
 *   tensor_file_rows(tf, &by_latent, first, n, dst, err);  n × d_in floats
 *
 * What lies in the file as it is (safetensors, npy, entries that a zip file only stores) is read from the file's map:
 * rows, transposed or Fortran-ordered alike, are gathered straight from there, and memory does not grow with the tensor.
 * Entries that are compressed are inflated once, when they are first read: small ones into memory, others into a file in
 * the scratch directory that has no name any more. Checksums of zip entries are compared when they are first read.
 *
 * Not thread-safe: one thread a tensor_file at a time.
 */
#ifndef SAESCOPE_FILES_TENSOR_FILE_H
#define SAESCOPE_FILES_TENSOR_FILE_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/base/json.h"
#include "saescope/base/tensor.h"

enum container { CONTAINER_SAFETENSORS, CONTAINER_SHARDS, CONTAINER_NPY, CONTAINER_NPZ, CONTAINER_TORCH };

/*
 * A tensor as the file has it; a value that may be copied while the tensor_file is open.
 *
 * Names are safetensors' own; in npz files without ".npy"; in PyTorch checkpoints the keys and list positions that lead to
 * the tensor, joined by dots ("state_dict.encoder.weight"); FILE_TENSOR_ALONE for a file's only, nameless tensor (npy, or a
 * checkpoint that is a tensor). `tensor.data` is NULL: read it with tensor_file_rows.
 */
struct file_tensor {
    const char *name;
    struct tensor tensor;
    /* Why it cannot be read ("Python objects"), or NULL. It is listed all the same, because others can be; its dtype and
     * shape mean nothing. */
    const char *unreadable;
    /* Where it lies; for src/files. `shard`: its number + 1, or 0 for the file itself. Strides are in elements; `swapped`: its numbers are big-endian. */
    size_t shard, storage, offset; /* bytes from the storage's start */
    size_t stride[TENSOR_MAX_DIMS];
    int swapped;
};

#define FILE_TENSOR_ALONE "data"

struct tensor_file;

/*
 * `scratch` is the directory for files without a name (beside the store, where there is room); with NULL, compressed entries
 * of more than 1 MiB are refused when they are read. STATUS_REFUSED for what is no such container, is damaged or
 * would execute something, naming file, tensor and reason.
 */
int tensor_file_open(const char *path, const char *scratch, struct tensor_file **out, struct error *err);
void tensor_file_close(struct tensor_file *tf); /* NULL is fine */

enum container tensor_file_container(const struct tensor_file *tf);
const char *container_name(enum container c); /* "safetensors", "npz", "PyTorch checkpoint", … */
const char *tensor_file_path(const struct tensor_file *tf);

size_t tensor_file_count(const struct tensor_file *tf);
const struct file_tensor *tensor_file_at(const struct tensor_file *tf, size_t i); /* in the file's order */
const struct file_tensor *tensor_file_find(const struct tensor_file *tf, const char *name); /* NULL when absent */
/* STATUS_REFUSED "PATH: no tensor NAME (it has: …)", or why it is unreadable. */
int tensor_file_need(const struct tensor_file *tf, const char *name, const struct file_tensor **out, struct error *err);

/*
 * What the file holds beside tensors, borrowed, never NULL. safetensors: __metadata__, or {}; shards: the index's "metadata",
 * or {}; npy, npz: {}. PyTorch: the whole checkpoint; tuples, sets and torch.Size are arrays; dictionaries' keys that are no
 * strings are written as JSON; dtypes and devices are strings ("float32", "cuda:0"); integers beyond 64 bits and bytes
 * are reals and strings; NaN and infinities are null; a tensor is {"tensor": NAME}.
 */
const json *tensor_file_values(const struct tensor_file *tf);

/* Whether both are the same numbers of the same file, without a look at them. */
int file_tensors_same(const struct file_tensor *a, const struct file_tensor *b);

/* The axes of a matrix exchanged; no number is moved. Others than matrices stay as they are. */
struct file_tensor file_tensor_transposed(const struct file_tensor *t);

/*
 * Rows [first, first + n) of the first dimension (a scalar: one row) in row-major order. _rows widens to float32, _raw_rows
 * keeps the dtype (little-endian, unaligned dst is fine). The first call for a zip entry reads all of it once for its
 * checksum. STATUS_REFUSED when the data is damaged; STATUS_FAILED when there is no room to inflate it.
 */
int tensor_file_rows(struct tensor_file *tf, const struct file_tensor *t, size_t first, size_t n, float *dst,
                     struct error *err);
int tensor_file_raw_rows(struct tensor_file *tf, const struct file_tensor *t, size_t first, size_t n, void *dst,
                         struct error *err);

/* The number of a tensor that has one (any shape); exact for F64 and for integers below 2^53. */
int tensor_file_number(struct tensor_file *tf, const struct file_tensor *t, double *out, struct error *err);

#endif
