/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * safetensors: 8-byte little-endian header length, JSON header {name: {dtype, shape, data_offsets}}, data. The header is
 * hostile: every offset, size and overlap is checked before a tensor is handed out. Files are mapped read-only.
 */
#ifndef SAESCOPE_FILES_SAFETENSORS_H
#define SAESCOPE_FILES_SAFETENSORS_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/tensor.h"

struct named_tensor {
    char *name;
    struct tensor tensor; /* data in the file's map; unaligned */
};

struct safetensors {
    struct file_map map;
    struct named_tensor *tensors; /* in the file's order */
    size_t n_tensors;
    json *metadata; /* "__metadata__" or NULL */
};

int safetensors_open(struct safetensors *file, const char *path, struct error *err);
void safetensors_close(struct safetensors *file);
const struct tensor *safetensors_find(const struct safetensors *file, const char *name); /* NULL when absent */
/* STATUS_REFUSED "PATH: no tensor NAME (it has: …)" */
int safetensors_need(const struct safetensors *file, const char *name, const struct tensor **out, struct error *err);

/* Writes the tensors, converted to `dtype`, to PATH (beside, fsync, rename). Sources are float32 read by rows. */
struct safetensors_source {
    const char *name;
    int ndim;
    size_t shape[TENSOR_MAX_DIMS];
    /* Copies rows [first, first+n) of the first dimension as float32 (a scalar: one row). */
    int (*read)(void *arg, size_t first, size_t n, float *dst, struct error *err);
    void *arg;
};
int safetensors_write(const char *path, const struct safetensors_source *sources, size_t n_sources, enum dtype dtype,
                      const json *metadata, struct error *err);

#endif
