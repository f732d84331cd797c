/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The threshold form of per-token TopK SAEs. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_score.h"
#include "saescope/base/memory.h"
#include "saescope/sae/scan.h"

int stitch_threshold_form(struct sae *sae, double theta, struct error *err)
{
    if (!sae->architecture->per_token_k)
        return STATUS_OK;
    const struct sae_architecture *jumprelu = sae_architecture_find("jumprelu", err);
    if (!jumprelu)
        return STATUS_REFUSED;
    sae->threshold = array_alloc(sae->d_sae, sizeof(*sae->threshold), "thresholds", err);
    if (!sae->threshold)
        return STATUS_FAILED;
    for (size_t i = 0; i < sae->d_sae; i++)
        sae->threshold[i] = (float)theta;
    sae->architecture = jumprelu;
    return STATUS_OK;
}

/* Whether a row with all its `width` candidates above theta may have more of them than were looked at. */
static int may_have_more(const struct sparse_rows *rows, size_t width, float theta)
{
    for (size_t r = 0; r < rows->n_rows; r++) {
        size_t above = 0;
        for (size_t p = rows->offsets[r]; p < rows->offsets[r + 1]; p++)
            above += rows->values[p] >= theta;
        if (above == width)
            return 1;
    }
    return 0;
}

int threshold_of_rows(const struct sae *topk, const float *x, size_t n, double *theta, struct error *err)
{
    struct sae wider = *topk; /* the same SAE with a larger k: borrows everything */
    struct sparse_rows rows = {0};
    int status = STATUS_OK, again = n > 0;
    *theta = 0;
    for (size_t width = topk->k; again && !status;) {
        width = width < topk->d_sae / 4 ? 4 * width : topk->d_sae;
        wider.k = width;
        status = sae_encode(&wider, x, n, &rows, err);
        size_t total = status ? 0 : rows.offsets[n], kept = total < n * topk->k ? total : n * topk->k;
        float *values = status ? NULL : array_alloc(total + 1, sizeof(*values), "activations", err);
        if (!status && !values)
            status = STATUS_FAILED;
        if (values) {
            memcpy(values, rows.values, total * sizeof(*values));
            float smallest = kept ? kth_largest(values, total, kept) : 0;
            *theta = (double)smallest;
            again = width < topk->d_sae && may_have_more(&rows, width, smallest);
        }
        free(values);
    }
    sparse_rows_free(&rows);
    return status;
}
