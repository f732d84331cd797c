/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the readers of containers share. Each fills a tensor_file with storages (bytes) and tensors (views of them). */
#ifndef SAESCOPE_FILES_INTERNAL_H
#define SAESCOPE_FILES_INTERNAL_H

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "saescope/files/scratch.h"
#include "saescope/files/tensor_file.h"
#include "saescope/files/zip_archive.h"

/* Bytes that tensors are views of. Those of a zip entry are there once storage_load was called. */
struct storage {
    const unsigned char *bytes; /* NULL: not loaded yet */
    size_t size;                /* of `bytes`, known before they are */
    size_t entry;               /* of the zip file */
    size_t skip;                /* bytes of the entry before the first of the storage */
    void *heap;                 /* inflated into memory, or NULL */
    struct scratch inflated;    /* or into a file */
};

struct tensor_file {
    enum container container;
    char *path;
    char *scratch; /* directory, or NULL */
    struct tensor_file **shards; /* in the order of their names; with an index only */
    size_t n_shards;
    struct safetensors safetensors;
    struct file_map map; /* npy, zip */
    struct zip_archive *zip;
    struct storage *storages;
    size_t n_storages, storages_capacity;
    struct file_tensor *tensors;
    char **names, **reasons; /* of the tensors */
    size_t n_tensors, tensors_capacity;
    json *values;
};

/* STATUS_REFUSED "PATH: …" or, with a tensor's name, "PATH: tensor NAME: …". */
int tensor_file_refuse(const struct tensor_file *tf, const char *tensor, struct error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

size_t tensor_file_add_storage(struct tensor_file *tf, const struct storage *storage); /* its number */
/* A new last tensor, zero but for a copy of the name: valid until the next is added. */
struct file_tensor *tensor_file_add(struct tensor_file *tf, const char *name);
/* Takes over `reason`; for the last tensor. */
void tensor_file_unreadable(struct tensor_file *tf, char *reason);

/* Row-major strides, or Fortran's. */
void set_strides(struct file_tensor *t, int fortran);
/* Whether every number of the view lies within `size` bytes of storage; nothing overflows. */
int view_fits(const struct file_tensor *t, size_t size);

/* Makes storage->bytes, checking the entry's checksum. `tensor` is for messages. */
int storage_load(struct tensor_file *tf, size_t storage, const char *tensor, struct error *err);

/* Rows of a view whose storage's bytes are at `bytes`; swapped numbers are turned round. Matrices that lie the other way
 * are turned by tiles of VIEW_TILE rows. */
#define VIEW_TILE 64
void view_raw_rows(const struct file_tensor *t, const unsigned char *bytes, size_t first, size_t n, void *dst);
void view_float_rows(const struct file_tensor *t, const unsigned char *bytes, size_t first, size_t n, void *floats);

/* ---- src/files/sharded.c: tensors in several files. ---- */

/* Whether a file that starts so is an index, not a safetensors file. */
int is_shard_index(const void *bytes, size_t n);
/*
 * "NAME.index.json" maps tensors to shards in its own folder: {"metadata": {…}, "weight_map": {tensor: file}}; tf->path is it.
 * Refused: a shard that is missing or lies elsewhere ("../", "/"; links are followed) or is no container of named tensors,
 * a tensor that its shard has not, a tensor that lies in another shard than the index says.
 */
int sharded_open(struct tensor_file *tf, struct error *err);
/* tensor_file_open of one of several files: an index is refused. */
int tensor_file_open_shard(const char *path, const char *scratch, struct tensor_file **out, struct error *err);

/* The readers; tf->map is open. */
int npy_open(struct tensor_file *tf, struct error *err);
int npz_open(struct tensor_file *tf, struct error *err); /* tf->zip is open for these two */
int torch_open(struct tensor_file *tf, size_t pickle_entry, struct error *err);

#endif
