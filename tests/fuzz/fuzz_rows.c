/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of Neuronpedia's and SAEDashboard's files, and how they are cut out of them; gzip or not.
 * Explanations. */
#include "config.h"

#include <math.h>

#include "saescope/analysis/import_rows.h"
#include "saescope/files/json_items.h"
#include "saescope/files/json_lines.h"
#include "saescope/formats/neuronpedia.h"
#include "tests/fuzz/fuzz.h"

static void read_context(const json *row, enum index_form form)
{
    struct imported_context c;
    struct error err;
    if (import_context_row(row, form, "row", &c, &err)) {
        FUZZ_CHECK(err.code == STATUS_REFUSED);
        return;
    }
    FUZZ_CHECK(!c.n || (c.n_active > 0 && c.position < c.n && c.values[c.position] > 0));
    for (size_t i = 0; i < c.n; i++)
        FUZZ_CHECK(isfinite(c.values[i]) && c.values[i] >= 0 && json_is_string(json_at(c.tokens, i)));
    import_context_free(&c);
}

static void read_row(const json *row)
{
    struct imported_row r;
    struct error err;
    uint64_t sum = 0;
    if (import_feature_row(row, "row", &r, &err)) {
        FUZZ_CHECK(err.code == STATUS_REFUSED);
    } else {
        for (int i = 0; i < INDEX_BINS; i++)
            sum += r.bins[i];
        FUZZ_CHECK(sum <= UINT32_MAX && r.fired <= UINT32_MAX);
        FUZZ_CHECK(r.n_positive <= IMPORT_LOGITS && r.n_negative <= IMPORT_LOGITS);
        FUZZ_CHECK(isnan(r.fraction) || (r.fraction >= 0 && r.fraction <= 1));
    }
    const json *activations = json_get(row, "activations");
    for (size_t i = 0; json_is_array(activations) && i < json_length(activations); i++)
        if (json_is_object(json_at(activations, i)))
            read_context(json_at(activations, i), INDEX_SAEDASHBOARD);
    read_context(row, INDEX_NEURONPEDIA);
}

static void read_items(const char *path)
{
    struct json_items *items;
    struct error err;
    if (json_items_open(path, "features", &items, &err))
        return;
    for (json *row; !json_items_next(items, &row, &err) && row; json_free(row))
        read_row(row);
    json_items_close(items);
}

static void read_labels(const char *path)
{
    enum { LATENTS = 100 };
    struct neuronpedia_labels labels;
    struct error err;
    if (neuronpedia_labels_read(path, LATENTS, &labels, &err)) {
        FUZZ_CHECK(err.code == STATUS_REFUSED);
        return;
    }
    FUZZ_CHECK(labels.n <= labels.rows);
    for (size_t i = 0; i < labels.n; i++) {
        const struct label *l = &labels.labels[i];
        FUZZ_CHECK(l->latent < LATENTS && (!i || l[-1].latent < l->latent) && l->n && !l->text[l->n]);
    }
    neuronpedia_labels_free(&labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file(data, n);
    struct json_lines *lines;
    struct error err;
    read_items(path);
    read_labels(path);
    if (json_lines_open(path, &lines, &err))
        return 0;
    for (json *row; !json_lines_next(lines, &row, &err) && row; json_free(row))
        read_row(row);
    json_lines_close(lines);
    return 0;
}
