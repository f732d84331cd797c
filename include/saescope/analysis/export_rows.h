/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One latent as rows of Neuronpedia's and SAEDashboard's files; for index_export.c. */
#ifndef SAESCOPE_ANALYSIS_EXPORT_ROWS_H
#define SAESCOPE_ANALYSIS_EXPORT_ROWS_H

#include "saescope/analysis/index.h"
#include "saescope/analysis/latent.h"
#include "saescope/base/strbuf.h"

#define EXPORT_LOGITS    10
#define EXPORT_LOGIT_BINS 50
#define EXPORT_ALIGNED   3

/* What is the same for all latents. */
struct export_source {
    const char *model, *source; /* modelId and layer */
    const char *hook, *dataset; /* NULL: not known */
    uint64_t tokens;
    size_t contexts, context_size; /* 0: not known */
    const struct tokenizer *tokenizer; /* NULL: contexts have texts of their own */
};

struct export_latent {
    size_t latent;
    uint64_t fired;
    float max, min, mean;
    struct index_histogram histogram; /* when it fired */
    struct latent_context *contexts;
    size_t n_contexts;
    struct latent_logits logits;
    int has_logit_bins;
    uint32_t logit_heights[EXPORT_LOGIT_BINS];
    double logit_edges[EXPORT_LOGIT_BINS + 1];
    size_t n_aligned;
    uint32_t aligned[EXPORT_ALIGNED];
    float aligned_values[EXPORT_ALIGNED], aligned_l1[EXPORT_ALIGNED];
};

/* The largest |row| first; l1: its share of Σ|row|. */
void export_align(const float *row, size_t n, struct export_latent *out);
/* Strongest and weakest tokens, and the histogram. */
void export_logits(const float *logits, size_t vocabulary, struct export_latent *out);
/* Of a latent's firings, the share with low < activation ≤ high, as far as the histogram tells. */
double export_share(const struct export_latent *l, double low, double high);

void export_feature_line(struct strbuf *out, const struct export_source *s, const struct export_latent *l);
void export_activation_lines(struct strbuf *out, const struct export_source *s, const struct export_latent *l);
void export_dashboard_feature(struct strbuf *out, const struct export_source *s, const struct export_latent *l);

#endif
