/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * safetensors in several files. "NAME.safetensors.index.json" maps tensors to shards in its own folder:
 * {"metadata": {…}, "weight_map": {tensor: file}}. Refused: a shard that is missing or lies elsewhere ("../", "/", links are
 * followed), a tensor that its shard has not, a tensor that lies in another shard than the index says.
 */
#ifndef SAESCOPE_FILES_SHARDED_H
#define SAESCOPE_FILES_SHARDED_H

#include "saescope/files/safetensors.h"

struct sharded {
    struct safetensors *files;
    size_t n_files;
    json *metadata; /* of the index, or of the only file; or NULL */
    char *path;
    /* All tensors, in the order of the files; names and data belong to the files. */
    struct named_tensor *tensors;
    size_t n_tensors;
};

/* Whether a file that starts so is an index, not a safetensors file. */
int sharded_is_index(const void *bytes, size_t n);

/* `path` is an index or a safetensors file, told by its bytes; the latter is the only shard. */
int sharded_open(struct sharded *s, const char *path, struct error *err);
void sharded_close(struct sharded *s);
const struct tensor *sharded_find(const struct sharded *s, const char *name); /* NULL when absent */
/* STATUS_REFUSED "PATH: no tensor NAME (it has: …)" */
int sharded_need(const struct sharded *s, const char *name, const struct tensor **out, struct error *err);

#endif
