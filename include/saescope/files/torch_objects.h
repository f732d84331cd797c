/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a PyTorch checkpoint's pickle may name: tensors, their storages, dtypes, and plain containers. */
#ifndef SAESCOPE_FILES_TORCH_OBJECTS_H
#define SAESCOPE_FILES_TORCH_OBJECTS_H

#include "saescope/files/internal.h"
#include "saescope/files/pickle.h"

enum torch_object { TORCH_STORAGE, TORCH_TENSOR, TORCH_DTYPE, NUMPY_DTYPE };

/* The data of a PICKLE_OBJECT of kind TORCH_TENSOR. */
struct torch_tensor {
    struct file_tensor view;
    char unreadable[80]; /* why, or "" */
};

/* The data of one of kind TORCH_DTYPE. */
struct torch_dtype {
    enum dtype dtype; /* DTYPE_COUNT: none of ours */
    char name[32];    /* "float32" */
};

struct torch_reader {
    struct tensor_file *tf;
    char *root;               /* of the archive: "NAME/" */
    size_t *storage_of_entry; /* number + 1, by zip entry */
};

/* A pickle_user's functions; `arg` is a torch_reader. */
extern const struct pickle_user torch_pickle_user;

/* The name of a PICKLE_GLOBAL: "collections.OrderedDict", malloc'd. */
char *torch_global_name(const struct pickle_value *v);

#endif
