/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sparse rows' memory, and the k-th largest of a list. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/sae/sae.h"
#include "saescope/sae/scan.h"

void sparse_rows_free(struct sparse_rows *rows)
{
    free(rows->offsets);
    free(rows->latents);
    free(rows->values);
    memset(rows, 0, sizeof *rows);
}

int sparse_rows_reserve(struct sparse_rows *rows, size_t n_rows, size_t n_pairs, struct error *err)
{
    if (!rows->offsets || n_rows > rows->row_capacity) {
        size_t *offsets = array_alloc(n_rows + 1, sizeof *offsets, "activations", err);
        if (!offsets)
            return STATUS_FAILED;
        free(rows->offsets);
        rows->offsets = offsets;
        rows->row_capacity = n_rows;
    }
    if (!rows->latents || n_pairs > rows->capacity) {
        size_t capacity = n_pairs + n_pairs / 4;
        uint32_t *latents = array_alloc(capacity, sizeof *latents, "activations", err);
        float *values = latents ? array_alloc(capacity, sizeof *values, "activations", err) : NULL;
        if (!values) {
            free(latents);
            return STATUS_FAILED;
        }
        free(rows->latents);
        free(rows->values);
        rows->latents = latents;
        rows->values = values;
        rows->capacity = capacity;
    }
    return STATUS_OK;
}

static float median_of_three(float a, float b, float c)
{
    if (a < b)
        return b < c ? b : a < c ? c : a;
    return a < c ? a : b < c ? c : b;
}

static void swap(float *a, float *b)
{
    float held = *a;
    *a = *b;
    *b = held;
}

/* Hoare's selection, with the median of three as pivot and three parts, so that many equal values do no harm.
 */
float kth_largest(float *values, size_t n, size_t k)
{
    size_t low = 0, high = n, target = k - 1;
    for (;;) {
        float pivot = median_of_three(values[low], values[low + (high - low) / 2], values[high - 1]);
        size_t above = low, i = low,
               below = high; /* [low, above) > pivot, [above, i) equal, [below, high) < pivot */
        while (i < below) {
            if (values[i] > pivot)
                swap(&values[i++], &values[above++]);
            else if (values[i] < pivot)
                swap(&values[i], &values[--below]);
            else
                i++;
        }
        if (target < above)
            high = above;
        else if (target >= below)
            low = below;
        else
            return pivot;
    }
}
