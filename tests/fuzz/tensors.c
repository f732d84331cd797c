/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading all that a file of tensors lists. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/files/tensor_file.h"
#include "tests/fuzz/fuzz.h"

#define READ_MAX ((size_t)1 << 18)

static void read_tensor(struct tensor_file *tf, const struct file_tensor *t)
{
    struct error err;
    size_t n = tensor_elements(&t->tensor), rows = t->tensor.ndim ? t->tensor.shape[0] : 1;
    double number;
    if (n > READ_MAX)
        return;
    float *x = xmalloc(n * sizeof *x + 1), *turned = xmalloc(n * sizeof *x + 1);
    void *raw = xmalloc(n * dtype_size(t->tensor.dtype) + 1);
    struct file_tensor other = file_tensor_transposed(t);
    int code = tensor_file_rows(tf, t, 0, rows, x, &err);
    FUZZ_CHECK(tensor_file_raw_rows(tf, t, 0, rows, raw, &err) == code);
    FUZZ_CHECK(tensor_file_rows(tf, &other, 0, other.tensor.ndim ? other.tensor.shape[0] : 1, turned, &err) ==
               code);
    if (!code && n == 1)
        FUZZ_CHECK(!tensor_file_number(tf, t, &number, &err));
    if (!code && t->tensor.ndim == 2)
        for (size_t i = 0; i < n; i++)
            FUZZ_CHECK(
                !memcmp(&x[i], &turned[i % t->tensor.shape[1] * rows + i / t->tensor.shape[1]], sizeof *x));
    free(x);
    free(turned);
    free(raw);
}

void fuzz_tensors(const char *path)
{
    struct tensor_file *tf;
    struct error err;
    if (tensor_file_open(path, fuzz_folder(), &tf, &err)) {
        FUZZ_CHECK(err.code == STATUS_REFUSED && strlen(err.message) > 0);
        return;
    }
    FUZZ_CHECK(tensor_file_values(tf));
    for (size_t i = 0; i < tensor_file_count(tf) && i < 100; i++) {
        const struct file_tensor *t = tensor_file_at(tf, i);
        FUZZ_CHECK(tensor_file_find(tf, t->name) == t);
        if (!t->unreadable)
            read_tensor(tf, t);
    }
    tensor_file_close(tf);
}
