/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One latent as Neuronpedia's lines and as a feature of SAEDashboard. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "saescope/analysis/export_rows.h"
#include "saescope/base/json.h"

/* ---- What is computed. ---- */

void export_align(const float *row, size_t n, struct export_latent *out)
{
    double l1 = 0;
    out->n_aligned = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(row[i]);
        size_t at;
        l1 += (double)magnitude;
        if (out->n_aligned == EXPORT_ALIGNED && magnitude <= fabsf(out->aligned_values[EXPORT_ALIGNED - 1]))
            continue;
        at = out->n_aligned < EXPORT_ALIGNED ? out->n_aligned++ : EXPORT_ALIGNED - 1;
        for (; at > 0 && magnitude > fabsf(out->aligned_values[at - 1]); at--) {
            out->aligned[at] = out->aligned[at - 1];
            out->aligned_values[at] = out->aligned_values[at - 1];
        }
        out->aligned[at] = (uint32_t)i;
        out->aligned_values[at] = row[i];
    }
    for (size_t i = 0; i < out->n_aligned; i++)
        out->aligned_l1[i] = l1 > 0 ? (float)((double)fabsf(out->aligned_values[i]) / l1) : 0;
}

void export_logits(const float *logits, size_t vocabulary, struct export_latent *out)
{
    double min = INFINITY, max = -INFINITY;
    latent_logits_choose(logits, vocabulary, EXPORT_LOGITS, &out->logits);
    for (size_t i = 0; i < vocabulary; i++) {
        min = (double)logits[i] < min ? (double)logits[i] : min;
        max = (double)logits[i] > max ? (double)logits[i] : max;
    }
    out->has_logit_bins = vocabulary > 0 && isfinite(min) && isfinite(max);
    if (!out->has_logit_bins)
        return;
    double width = (max - min) / EXPORT_LOGIT_BINS;
    for (size_t i = 0; i <= EXPORT_LOGIT_BINS; i++)
        out->logit_edges[i] = i < EXPORT_LOGIT_BINS ? min + (double)i * width : max;
    memset(out->logit_heights, 0, sizeof(out->logit_heights));
    for (size_t i = 0; i < vocabulary; i++) {
        size_t bin = width > 0 ? (size_t)(((double)logits[i] - min) / width) : 0;
        out->logit_heights[bin < EXPORT_LOGIT_BINS ? bin : EXPORT_LOGIT_BINS - 1]++;
    }
}

double export_share(const struct export_latent *l, double low, double high)
{
    double inside = 0, all = 0;
    for (size_t i = 0; i < INDEX_BINS; i++) {
        double from = l->histogram.edges[i], to = l->histogram.edges[i + 1],
               count = (double)l->histogram.counts[i];
        double common = (to < high ? to : high) - (from > low ? from : low);
        all += count;
        if (to > from)
            inside += common > 0 ? count * common / (to - from) : 0;
        else if (from > low && from <= high)
            inside += count; /* all firings are equal */
    }
    return all > 0 ? inside / all : 0;
}

/* ---- Members. Each writes its comma first. ---- */

static void begin_member(struct strbuf *out, const char *key)
{
    strbuf_addf(out, "%s\"%s\":", out->length && out->data[out->length - 1] == '{' ? "" : ",", key);
}

static void add_string(struct strbuf *out, const char *key, const char *value)
{
    begin_member(out, key);
    if (value)
        json_dump_string(out, value, strlen(value));
    else
        strbuf_adds(out, "null");
}

static void add_real(struct strbuf *out, const char *key, double value)
{
    begin_member(out, key);
    json_dump_real(out, value);
}

static void add_integer(struct strbuf *out, const char *key, uint64_t value)
{
    begin_member(out, key);
    strbuf_addf(out, "%llu", (unsigned long long)value);
}

static void add_empty(struct strbuf *out, const char *key)
{
    begin_member(out, key);
    strbuf_adds(out, "[]");
}

static void add_index_list(struct strbuf *out, const char *key, const uint32_t *values, size_t n)
{
    begin_member(out, key);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++)
        strbuf_addf(out, "%s%u", i ? "," : "", values[i]);
    strbuf_addc(out, ']');
}

static void add_float_list(struct strbuf *out, const char *key, const float *values, size_t n)
{
    begin_member(out, key);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_addc(out, ',');
        if (values[i] == 0)
            strbuf_addc(out, '0'); /* nearly all activations are */
        else
            json_dump_real(out, (double)values[i]);
    }
    strbuf_addc(out, ']');
}

static void add_centres(struct strbuf *out, const char *key, const double *edges, size_t n)
{
    begin_member(out, key);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_addc(out, ',');
        json_dump_real(out, edges[i] + (edges[i + 1] - edges[i]) / 2);
    }
    strbuf_addc(out, ']');
}

static void add_logit_list(struct strbuf *out, const struct export_source *s, const char *name,
                           const struct token_logit *logits, size_t n)
{
    struct strbuf key = STRBUF_INIT;
    float values[20];
    strbuf_addf(&key, "%s_str", name);
    begin_member(out, key.data);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        size_t length;
        const void *bytes = token_logit_text(&logits[i], s->tokenizer, &length);
        if (i)
            strbuf_addc(out, ',');
        json_dump_string(out, bytes, length);
        values[i] = logits[i].value;
    }
    strbuf_addc(out, ']');
    strbuf_reset(&key);
    strbuf_addf(&key, "%s_values", name);
    add_float_list(out, key.data, values, n);
    strbuf_free(&key);
}

/* What both forms have of a latent. */
static void add_tables(struct strbuf *out, const struct export_source *s, const struct export_latent *l)
{
    uint32_t heights[INDEX_BINS];
    size_t bins = l->fired ? INDEX_BINS : 0;
    add_index_list(out, "neuron_alignment_indices", l->aligned, l->n_aligned);
    add_float_list(out, "neuron_alignment_values", l->aligned_values, l->n_aligned);
    add_float_list(out, "neuron_alignment_l1", l->aligned_l1, l->n_aligned);
    add_empty(out, "correlated_neurons_indices");
    add_empty(out, "correlated_neurons_pearson");
    add_empty(out, "correlated_neurons_l1");
    add_empty(out, "correlated_features_indices");
    add_empty(out, "correlated_features_pearson");
    add_empty(out, "correlated_features_l1");
    add_logit_list(out, s, "neg", l->logits.negative, l->logits.n_negative);
    add_logit_list(out, s, "pos", l->logits.positive, l->logits.n_positive);
    add_real(out, "frac_nonzero", s->tokens ? (double)l->fired / (double)s->tokens : 0);
    for (size_t i = 0; i < bins; i++)
        heights[i] = (uint32_t)l->histogram.counts[i];
    add_index_list(out, "freq_hist_data_bar_heights", heights, bins);
    add_centres(out, "freq_hist_data_bar_values", l->histogram.edges, bins);
    bins = l->has_logit_bins ? EXPORT_LOGIT_BINS : 0;
    add_index_list(out, "logits_hist_data_bar_heights", l->logit_heights, bins);
    add_centres(out, "logits_hist_data_bar_values", l->logit_edges, bins);
    add_empty(out, "decoder_weights_dist");
}

static void add_own(struct strbuf *out, const struct export_source *s, const struct export_latent *l)
{
    begin_member(out, "saescope");
    strbuf_addc(out, '{');
    add_integer(out, "fired", l->fired);
    add_integer(out, "tokens", s->tokens);
    add_real(out, "min", (double)l->min);
    add_real(out, "max", (double)l->max);
    add_real(out, "mean", (double)l->mean);
    strbuf_addc(out, '}');
}

/* ---- Contexts. ---- */

static void add_tokens(struct strbuf *out, const struct export_source *s, const struct latent_context *c)
{
    begin_member(out, "tokens");
    strbuf_addc(out, '[');
    for (size_t i = 0; i < c->length; i++) {
        size_t n;
        const void *bytes = latent_context_token(c, s->tokenizer, i, &n);
        if (i)
            strbuf_addc(out, ',');
        json_dump_string(out, bytes, n);
    }
    strbuf_addc(out, ']');
}

struct bin {
    double min, max, contains;
};

static struct bin bin_of(const struct export_latent *l, const struct latent_context *c)
{
    double width = (double)l->max / INDEX_INTERVALS;
    if (c->interval < 0)
        return (struct bin){-1, (double)l->max, -1};
    double low = c->interval * width,
           high = c->interval + 1 < INDEX_INTERVALS ? (c->interval + 1) * width : (double)l->max;
    return (struct bin){low, high, export_share(l, low, high)};
}

static size_t strongest(const struct latent_context *c)
{
    size_t best = 0;
    for (size_t i = 1; i < c->length; i++)
        if (c->activations[i] > c->activations[best])
            best = i;
    return best;
}

static float weakest_value(const struct latent_context *c)
{
    float least = c->length ? c->activations[0] : 0;
    for (size_t i = 1; i < c->length; i++)
        least = c->activations[i] < least ? c->activations[i] : least;
    return least;
}

static void add_place(struct strbuf *out, const struct export_source *s, size_t latent)
{
    struct strbuf number = STRBUF_INIT;
    add_string(out, "modelId", s->model);
    add_string(out, "layer", s->source);
    strbuf_addf(&number, "%zu", latent);
    add_string(out, "index", number.data);
    strbuf_free(&number);
}

void export_activation_lines(struct strbuf *out, const struct export_source *s, const struct export_latent *l)
{
    for (size_t i = 0; i < l->n_contexts; i++) {
        const struct latent_context *c = &l->contexts[i];
        struct bin bin = bin_of(l, c);
        size_t peak = strongest(c);
        strbuf_addf(out, "{\"id\":");
        struct strbuf id = STRBUF_INIT;
        strbuf_addf(&id, "%s-%s-%zu-%zu", s->model, s->source, l->latent, i);
        json_dump_string(out, id.data, id.length);
        strbuf_free(&id);
        add_place(out, s, l->latent);
        add_tokens(out, s, c);
        add_float_list(out, "values", c->activations, c->length);
        add_real(out, "maxValue", (double)c->activations[peak]);
        add_integer(out, "maxValueTokenIndex", peak);
        add_real(out, "minValue", (double)weakest_value(c));
        add_string(out, "dataSource", s->dataset);
        struct strbuf number = STRBUF_INIT;
        strbuf_addf(&number, "%zu", c->context);
        add_string(out, "dataIndex", number.data);
        strbuf_free(&number);
        add_real(out, "binMin", bin.min);
        add_real(out, "binMax", bin.max);
        add_real(out, "binContains", bin.contains);
        add_integer(out, "qualifyingTokenIndex", c->position);
        add_empty(out, "dfaValues");
        add_empty(out, "lossValues");
        strbuf_adds(out, "}\n");
    }
}

void export_feature_line(struct strbuf *out, const struct export_source *s, const struct export_latent *l)
{
    strbuf_addc(out, '{');
    add_place(out, s, l->latent);
    add_real(out, "maxActApprox", l->fired ? (double)l->max : 0);
    begin_member(out, "hasVector");
    strbuf_adds(out, "false");
    add_empty(out, "vector");
    add_string(out, "vectorLabel", NULL);
    add_string(out, "hookName", s->hook);
    add_empty(out, "topkCosSimIndices");
    add_empty(out, "topkCosSimValues");
    add_tables(out, s, l);
    add_own(out, s, l);
    strbuf_adds(out, "}\n");
}

/* ---- SAEDashboard. ---- */

static void add_dashboard_activation(struct strbuf *out, const struct export_source *s,
                                     const struct export_latent *l, const struct latent_context *c)
{
    struct bin bin = bin_of(l, c);
    strbuf_addc(out, '{');
    add_real(out, "bin_min", bin.min);
    add_real(out, "bin_max", bin.max);
    add_real(out, "bin_contains", bin.contains);
    add_tokens(out, s, c);
    add_float_list(out, "values", c->activations, c->length);
    add_integer(out, "qualifying_token_index", c->position);
    strbuf_addc(out, '}');
}

void export_dashboard_feature(struct strbuf *out, const struct export_source *s,
                              const struct export_latent *l)
{
    strbuf_addc(out, '{');
    add_integer(out, "feature_index", l->latent);
    add_tables(out, s, l);
    if (s->context_size) {
        add_integer(out, "n_prompts_total", s->contexts);
        add_integer(out, "n_tokens_in_prompt", s->context_size);
    }
    add_string(out, "dataset", s->dataset);
    begin_member(out, "activations");
    strbuf_addc(out, '[');
    for (size_t i = 0; i < l->n_contexts; i++) {
        if (i)
            strbuf_addc(out, ',');
        add_dashboard_activation(out, s, l, &l->contexts[i]);
    }
    strbuf_addc(out, ']');
    add_own(out, s, l);
    strbuf_addc(out, '}');
}
