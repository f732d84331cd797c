/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading rows of others. What they have no place for in an index is not looked at; what is read is checked.
 */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/import_rows.h"
#include "saescope/analysis/index_select.h"
#include "saescope/base/memory.h"

#define BARS_MAX 10000

static int refuse(const char *where, const char *key, const char *what, struct error *err)
{
    return error_set(err, STATUS_REFUSED, "%s: its %s %s", where, key, what);
}

/* A number that is finite and fits float32, or absent or null (then *out stays). */
static int read_number(const json *row, const char *key, const char *where, double *out, struct error *err)
{
    const json *v = json_get(row, key);
    if (json_is_null(v))
        return STATUS_OK;
    double x = json_is_number(v) ? json_number(v, NAN) : NAN;
    if (!(fabs(x) <= (double)FLT_MAX))
        return refuse(where, key, "is no finite number", err);
    *out = x;
    return STATUS_OK;
}

static int read_count(const json *row, const char *key, const char *where, uint64_t max, uint64_t *out,
                      struct error *err)
{
    const json *v = json_get(row, key);
    if (json_is_null(v))
        return STATUS_OK;
    long long n = json_is_integer(v) ? json_integer(v, -1) : -1;
    if (n < 0 || (uint64_t)n > max)
        return refuse(where, key, "is no count", err);
    *out = (uint64_t)n;
    return STATUS_OK;
}

/* An array of finite numbers, at most `max` of them; absent or null: none. */
static int read_numbers(const json *row, const char *key, const char *where, size_t max, double **out,
                        size_t *n, struct error *err)
{
    const json *v = json_get(row, key);
    *out = NULL;
    *n = 0;
    if (json_is_null(v))
        return STATUS_OK;
    if (!json_is_array(v) || json_length(v) > max)
        return refuse(where, key, json_is_array(v) ? "is too long" : "is no list", err);
    double *values = array_alloc(json_length(v) + 1, sizeof(*values), "numbers", err);
    if (!values)
        return STATUS_FAILED;
    for (size_t i = 0; i < json_length(v); i++) {
        const json *x = json_at(v, i);
        values[i] = json_is_number(x) ? json_number(x, NAN) : NAN;
        if (!(fabs(values[i]) <= (double)FLT_MAX)) {
            free(values);
            return refuse(where, key, "holds something else than finite numbers", err);
        }
    }
    *out = values;
    *n = json_length(v);
    return STATUS_OK;
}

/* ---- A latent's row. ---- */

/* Bars at the middles of bins of one width, to 50 bins from the first's start to the last's end; whole
 * heights are firings. */
static int take_bars(const double *heights, const double *middles, size_t n, const char *where,
                     struct imported_row *out, struct error *err)
{
    double width = n > 1 ? (middles[n - 1] - middles[0]) / (double)(n - 1) : 0, all = 0, sum = 0;
    double edges[INDEX_BINS + 1];
    int whole = 1;
    if (width < 0)
        return refuse(where, "freq_hist_data_bar_values", "do not ascend", err);
    out->min = n ? middles[0] - width / 2 : NAN;
    double max = n ? middles[n - 1] + width / 2 : NAN;
    if (isnan(out->max))
        out->max = max;
    for (size_t i = 0; i < n; i++) {
        if (heights[i] < 0 || heights[i] > UINT32_MAX)
            return refuse(where, "freq_hist_data_bar_heights", "are no counts", err);
        whole &= heights[i] == floor(heights[i]);
        all += heights[i];
        sum += heights[i] * middles[i];
    }
    if (all > UINT32_MAX)
        return refuse(where, "freq_hist_data_bar_heights", "are too large", err);
    if (all > 0)
        out->mean = sum / all;
    if (!whole || !n)
        return STATUS_OK;
    histogram_edges((float)out->min, (float)max, edges);
    for (size_t i = 0; i < n; i++) {
        size_t bin = n == INDEX_BINS ? i : 0;
        while (n != INDEX_BINS && bin < INDEX_BINS - 1 && middles[i] >= edges[bin + 1])
            bin++;
        out->bins[bin] += (uint32_t)heights[i];
    }
    out->has_fired = 1;
    out->fired = (uint64_t)all;
    return STATUS_OK;
}

static int read_bars(const json *row, const char *where, struct imported_row *out, struct error *err)
{
    double *heights = NULL, *middles = NULL;
    size_t n_heights, n_middles;
    int status = read_numbers(row, "freq_hist_data_bar_heights", where, BARS_MAX, &heights, &n_heights, err);
    if (!status)
        status = read_numbers(row, "freq_hist_data_bar_values", where, BARS_MAX, &middles, &n_middles, err);
    if (!status && n_heights != n_middles)
        status = refuse(where, "histogram", "has not one height a bar", err);
    if (!status)
        status = take_bars(heights, middles, n_heights, where, out, err);
    free(heights);
    free(middles);
    return status;
}

/* What our own exports add. */
static int read_own(const json *own, const char *where, struct imported_row *out, struct error *err)
{
    uint64_t fired = UINT64_MAX;
    int status = read_count(own, "fired", where, UINT32_MAX, &fired, err);
    if (!status)
        status = read_count(own, "tokens", where, (uint64_t)1 << 53, &out->tokens, err);
    if (!status)
        status = read_number(own, "min", where, &out->min, err);
    if (!status)
        status = read_number(own, "max", where, &out->max, err);
    if (!status)
        status = read_number(own, "mean", where, &out->mean, err);
    if (!status && fired != UINT64_MAX) {
        out->has_fired = 1;
        out->fired = fired;
    }
    return status;
}

static int read_logits(const json *row, const char *name, const char *where, struct imported_logit *out,
                       size_t *n, struct error *err)
{
    char *texts_key = xasprintf("%s_str", name), *values_key = xasprintf("%s_values", name);
    const json *texts = json_get(row, texts_key);
    double *values = NULL;
    size_t n_values = 0;
    int status = read_numbers(row, values_key, where, BARS_MAX, &values, &n_values, err);
    *n = 0;
    if (!status && !json_is_null(texts) && !json_is_array(texts))
        status = refuse(where, texts_key, "is no list", err);
    if (!status && json_length(texts) != n_values)
        status = refuse(where, texts_key, "has not one value a token", err);
    for (size_t i = 0; i < n_values && i < IMPORT_LOGITS && !status; i++) {
        const json *text = json_at(texts, i);
        if (!json_is_string(text))
            status = refuse(where, texts_key, "holds something else than texts", err);
        else
            out[(*n)++] =
                (struct imported_logit){json_string(text, ""), json_string_length(text), (float)values[i]};
    }
    free(values);
    free(texts_key);
    free(values_key);
    return status;
}

int import_feature_row(const json *row, const char *where, struct imported_row *out, struct error *err)
{
    uint64_t prompts = 0, length = 0;
    memset(out, 0, sizeof(*out));
    out->fraction = out->max = out->min = out->mean = NAN;
    int status = read_number(row, "maxActApprox", where, &out->max, err);
    if (!status)
        status = read_number(row, "frac_nonzero", where, &out->fraction, err);
    if (!status && (out->fraction < 0 || out->fraction > 1))
        status = refuse(where, "frac_nonzero", "is not between 0 and 1", err);
    if (!status)
        status = read_count(row, "n_prompts_total", where, UINT32_MAX, &prompts, err);
    if (!status)
        status = read_count(row, "n_tokens_in_prompt", where, 1 << 20, &length, err);
    out->tokens = prompts * length;
    if (!status)
        status = read_bars(row, where, out, err);
    if (!status && json_is_object(json_get(row, "saescope")))
        status = read_own(json_get(row, "saescope"), where, out, err);
    if (!status)
        status = read_logits(row, "pos", where, out->positive, &out->n_positive, err);
    if (!status)
        status = read_logits(row, "neg", where, out->negative, &out->n_negative, err);
    if (!status && !out->has_fired && out->fraction == 0)
        out->has_fired = 1;
    return status;
}

/* ---- A context's row. ---- */

/* The names of its members in the two forms. */
static const struct context_keys {
    const char *min, *max, *contains, *qualifying;
} context_keys[] = {
    [INDEX_NEURONPEDIA] = {"binMin", "binMax", "binContains", "qualifyingTokenIndex"},
    [INDEX_SAEDASHBOARD] = {"bin_min", "bin_max", "bin_contains", "qualifying_token_index"},
};

static size_t strongest(const struct imported_context *c)
{
    size_t best = 0;
    for (size_t i = 1; i < c->n; i++)
        if (c->values[i] > c->values[best])
            best = i;
    return best;
}

/* Top contexts are marked by −1, or by no bin at all. */
static int read_bin(const json *row, const struct context_keys *keys, const char *where,
                    struct imported_context *out, struct error *err)
{
    double low = NAN, high = NAN, contains = NAN;
    int status = read_number(row, keys->min, where, &low, err);
    if (!status)
        status = read_number(row, keys->max, where, &high, err);
    if (!status)
        status = read_number(row, keys->contains, where, &contains, err);
    if (status)
        return status;
    out->top = isnan(low) || isnan(high) || contains == -1 || low == -1;
    out->bin_middle = (low + high) / 2;
    out->position = strongest(out);
    const json *at = json_get(row, keys->qualifying);
    long long position = json_is_integer(at) ? json_integer(at, -1) : -1;
    /* Numbers in files are rounded. */
    double slack = 1e-3 * fabs(high);
    if (!out->top && position >= 0 && (size_t)position < out->n && out->values[position] > 0 &&
        (double)out->values[position] >= low - slack && (double)out->values[position] <= high + slack)
        out->position = (size_t)position;
    return STATUS_OK;
}

/* dataIndex is a number, or a string of digits; anything else is no number of a context. */
static uint32_t read_data_index(const json *row)
{
    const json *v = json_get(row, "dataIndex");
    unsigned long long number = UINT32_MAX;
    if (json_is_integer(v) && json_integer(v, -1) >= 0)
        number = (unsigned long long)json_integer(v, -1);
    else if (json_is_string(v) && parse_u64(json_string(v, ""), 0, UINT32_MAX, &number))
        number = UINT32_MAX;
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

static int read_tokens(const json *row, const char *where, struct imported_context *out, struct error *err)
{
    out->tokens = json_get(row, "tokens");
    if (!json_is_array(out->tokens))
        return refuse(where, "tokens", "are no list", err);
    if (json_length(out->tokens) != out->n)
        return refuse(where, "values", "are not one a token", err);
    for (size_t i = 0; i < out->n; i++)
        if (!json_is_string(json_at(out->tokens, i)))
            return refuse(where, "tokens", "hold something else than texts", err);
    return STATUS_OK;
}

int import_context_row(const json *row, enum index_form form, const char *where, struct imported_context *out,
                       struct error *err)
{
    double *values;
    memset(out, 0, sizeof(*out));
    int status = read_numbers(row, "values", where, INDEX_LENGTH_MAX, &values, &out->n, err);
    if (!status)
        status = read_tokens(row, where, out, err);
    if (!status)
        out->values = array_alloc(out->n + 1, sizeof(*out->values), "a context", err);
    for (size_t i = 0; !status && out->values && i < out->n; i++) {
        out->values[i] = values[i] > 0 ? (float)values[i] : 0;
        out->n_active += out->values[i] > 0;
    }
    free(values);
    if (!status && !out->values)
        status = STATUS_FAILED;
    if (!status && !out->n_active)
        out->n = 0;
    out->number = read_data_index(row);
    if (!status && out->n)
        status = read_bin(row, &context_keys[form], where, out, err);
    if (status)
        import_context_free(out);
    return status;
}

void import_context_free(struct imported_context *c)
{
    free(c->values);
    memset(c, 0, sizeof(*c));
}
