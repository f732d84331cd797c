/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * npz: a zip file of npy files. An array is listed only when its entry is declared as long as its header,
 * shape and type say: what inflates to something else is never inflated.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/files/internal.h"
#include "saescope/files/npy.h"

static const char suffix[] = ".npy";

/* The entry's header, in two looks: how long it is, and all of it. */
static int peek_header(struct tensor_file *tf, size_t entry, struct npy_header *h, struct error *err)
{
    unsigned char prefix[NPY_PREFIX_MAX];
    size_t got, length;
    char *path = displayable_string(tf->path), *name = displayable_string(zip_entry_name(tf->zip, entry));
    char *where = xasprintf("%s: %s", path, name);
    int code = zip_entry_peek(tf->zip, entry, prefix, sizeof prefix, &got, err);
    if (!code)
        code = npy_header_length(prefix, got, where, &length, err);
    unsigned char *header = NULL;
    if (!code && !(header = array_alloc(length, 1, "an array's header", err)))
        code = STATUS_FAILED;
    if (!code)
        code = zip_entry_peek(tf->zip, entry, header, length, &got, err);
    if (!code)
        code = npy_header_read(header, got, where, h, err);
    free(header);
    free(where);
    free(path);
    free(name);
    return code;
}

static int add_array(struct tensor_file *tf, size_t entry, const char *name, struct error *err)
{
    struct npy_header h;
    int code = peek_header(tf, entry, &h, err);
    if (code)
        return code;
    struct file_tensor *t = tensor_file_add(tf, name);
    t->tensor = h.tensor;
    t->swapped = h.swapped;
    if (h.unreadable) {
        tensor_file_unreadable(tf, h.unreadable);
        return STATUS_OK;
    }
    size_t declared = zip_entry_size(tf->zip, entry), needed = tensor_bytes(&h.tensor);
    char shape[128];
    if (declared < h.length || declared - h.length != needed)
        return tensor_file_refuse(tf, name, err,
                                  "shape %s takes %zu bytes, but its entry is declared to have %zu",
                                  tensor_shape_string(&h.tensor, shape, sizeof shape), needed,
                                  declared < h.length ? 0 : declared - h.length);
    struct storage storage = {.size = needed, .entry = entry, .skip = h.length};
    t->storage = tensor_file_add_storage(tf, &storage);
    set_strides(t, h.fortran);
    return STATUS_OK;
}

int npz_open(struct tensor_file *tf, struct error *err)
{
    size_t n = zip_archive_count(tf->zip);
    int code = STATUS_OK;
    for (size_t i = 0; i < n && !code; i++) {
        char *name = xstrdup(zip_entry_name(tf->zip, i));
        size_t length = strlen(name);
        if (length > strlen(suffix) && !strcmp(name + length - strlen(suffix), suffix)) {
            name[length - strlen(suffix)] = '\0';
            code = add_array(tf, i, name, err);
        }
        free(name);
    }
    return code;
}
