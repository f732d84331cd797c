/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of Neuronpedia's and SAEDashboard's files, checked and read; for index_import.c. */
#ifndef SAESCOPE_ANALYSIS_IMPORT_ROWS_H
#define SAESCOPE_ANALYSIS_IMPORT_ROWS_H

#include "saescope/analysis/index.h"
#include "saescope/analysis/index_exchange.h"
#include "saescope/base/json.h"

#define IMPORT_LOGITS 20

/* What a latent's row says. */
struct imported_row {
    int has_fired;     /* it says how often it fired */
    uint64_t fired;
    double fraction;   /* frac_nonzero; NaN: not given */
    uint64_t tokens;   /* 0: not given */
    double max, min, mean; /* NaN: not given */
    uint32_t bins[INDEX_BINS];
    size_t n_positive, n_negative;
    struct imported_logit {
        const char *text; /* the row's */
        size_t n;
        float value;
    } positive[IMPORT_LOGITS], negative[IMPORT_LOGITS];
};
int import_feature_row(const json *row, const char *where, struct imported_row *out, struct error *err);

/* What a context's row says; the arrays are the caller's, see import_context_free. */
struct imported_context {
    uint32_t number;  /* dataIndex; UINT32_MAX: none */
    size_t n;         /* tokens */
    const json *tokens; /* strings, of the row */
    float *values;    /* [n]; negative ones are 0 */
    size_t n_active;
    size_t position;
    int top;
    double bin_middle; /* of sampled ones */
};
/* n 0: the row has no token that fires. */
int import_context_row(const json *row, enum index_form form, const char *where, struct imported_context *out,
                       struct error *err);
void import_context_free(struct imported_context *c);

#endif
