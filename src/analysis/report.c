/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A report on a meta-SAE: what it makes of its rows, and the parts in their order. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/index.h"
#include "saescope/analysis/report_parts.h"
#include "saescope/base/memory.h"

#define DENSITY_PARTS 10

const char *const report_baseline_names[BASELINES] = {
    [BASELINE_RANDOM] = "random_decoder",
    [BASELINE_NEAREST] = "nearest_latents",
    [BASELINE_REFITTED] = "nearest_latents_refitted",
    [BASELINE_OMP] = "omp",
    [BASELINE_NON_NEGATIVE] = "non_negative_omp",
    [BASELINE_PERMUTED] = "permuted_columns",
};

/* ---- What the parts share. ---- */

int report_begin(struct report_work *w, struct store_txn **t, struct error *err)
{
    int status = store_begin(w->store, t, err);
    if (status)
        return status;
    status = meta_rows_attach(&w->rows, *t, err);
    if (status)
        store_end(*t);
    return status;
}

int report_each_tile(struct report_work *w, const char *phase,
                     int (*fn)(struct report_work *w, const struct report_tile *tile, void *arg,
                               struct error *err),
                     void *arg, struct error *err)
{
    size_t all = w->rows.bases.first[w->rows.bases.n], done = 0;
    float *x = array_alloc(REPORT_TILE, w->rows.d_in * sizeof(float), "decoder rows", err);
    uint32_t *numbers = array_alloc(REPORT_TILE, sizeof(*numbers), "decoder rows", err);
    int status = x && numbers ? STATUS_OK : STATUS_FAILED;
    for (size_t first = 0; !status && first < all; first += REPORT_TILE) {
        size_t count = all - first < REPORT_TILE ? all - first : REPORT_TILE;
        struct store_txn *t;
        status = report_begin(w, &t, err);
        if (status)
            break;
        struct report_tile tile = {t, x, numbers, done, meta_rows_read(&w->rows, first, count, x, numbers)};
        if (tile.n > 0)
            status = fn(w, &tile, arg, err);
        store_end(t);
        done += tile.n;
        if (!status)
            status = monitor_go_on(w->monitor, phase, first + count, all, err);
    }
    free(x);
    free(numbers);
    return status;
}

int report_is_smaller(const struct report_work *w, const struct hook_sae *sae)
{
    return sae->d_sae < w->widest;
}

void report_add_baseline(struct report_work *w, enum report_baseline_kind kind, const struct hook_sae *sae,
                         double error, double terms)
{
    struct report *r = w->out;
    r->baselines = xreallocarray(r->baselines, r->n_baselines + 1, sizeof(*r->baselines));
    struct report_baseline *b = &r->baselines[r->n_baselines++];
    *b = (struct report_baseline){.kind = kind,
                                  .explained_variance = 1 - error / w->total,
                                  .mse = error / ((double)w->n * (double)w->rows.d_in),
                                  .l0 = terms / (double)w->n};
    if (sae) {
        b->sae = sae->artifact.id;
        memcpy(b->name, sae->artifact.name, sizeof(b->name));
    }
}

/* ---- What the meta-SAE makes of its rows. ---- */

static void append_rows(struct report_work *w, const struct report_tile *tile, const struct sparse_rows *f)
{
    size_t at = w->f.offsets[tile->first], pairs = f->offsets[tile->n];
    if (at + pairs > w->f.capacity) {
        w->f.capacity = 2 * (at + pairs);
        w->f.latents = xreallocarray(w->f.latents, w->f.capacity, sizeof(*w->f.latents));
        w->f.values = xreallocarray(w->f.values, w->f.capacity, sizeof(*w->f.values));
    }
    if (pairs > 0) {
        memcpy(w->f.latents + at, f->latents, pairs * sizeof(*f->latents));
        memcpy(w->f.values + at, f->values, pairs * sizeof(*f->values));
    }
    for (size_t i = 0; i < tile->n; i++)
        w->f.offsets[tile->first + i + 1] = at + f->offsets[i + 1];
    memcpy(w->numbers + tile->first, tile->numbers, tile->n * sizeof(*w->numbers));
    w->n = w->f.n_rows = tile->first + tile->n;
}

static int encode_tile(struct report_work *w, const struct report_tile *tile, void *arg, struct error *err)
{
    size_t d = w->rows.d_in;
    struct sparse_rows f = {0};
    (void)arg;
    float *x_hat = array_alloc(tile->n, d * sizeof(float), "decoder rows", err);
    int status = x_hat ? sae_encode(w->rows.meta, tile->x, tile->n, &f, err) : STATUS_FAILED;
    if (!status)
        status = sae_decode(w->rows.meta, &f, tile->x, x_hat, err);
    for (size_t r = 0; !status && r < tile->n; r++) {
        double error = 0, total = 0;
        for (size_t i = 0; i < d; i++) {
            double x = (double)tile->x[r * d + i], e = x - (double)x_hat[r * d + i], c = x - w->mean[i];
            error += e * e;
            total += c * c;
        }
        w->error[tile->first + r] = error;
        w->total_of[tile->first + r] = total;
    }
    if (!status)
        append_rows(w, tile, &f);
    sparse_rows_free(&f);
    free(x_hat);
    return status;
}

static int encode_rows(struct report_work *w, struct error *err)
{
    size_t all = w->rows.bases.first[w->rows.bases.n];
    w->numbers = array_alloc(all, sizeof(*w->numbers), "rows", err);
    w->f.offsets = array_zeroed(all + 1, sizeof(*w->f.offsets), "activations", err);
    w->error = array_alloc(all, sizeof(*w->error), "rows", err);
    w->total_of = array_alloc(all, sizeof(*w->total_of), "rows", err);
    if (!w->numbers || !w->f.offsets || !w->error || !w->total_of)
        return STATUS_FAILED;
    int status = report_each_tile(w, "decomposing", encode_tile, NULL, err);
    if (!status && w->n == 0)
        status = error_set(err, STATUS_REFUSED, "all decoder rows of the base are zero");
    for (size_t r = 0; r < w->n; r++)
        w->out->mse += w->error[r];
    w->out->rows = w->n;
    w->out->mse /= (double)w->n * (double)w->rows.d_in;
    return status;
}

/* ---- By density. ---- */

struct fired_row {
    double density;
    size_t row;
};

static int compare_fired(const void *a, const void *b)
{
    const struct fired_row *x = a, *y = b;
    if (x->density != y->density)
        return x->density < y->density ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* The rows whose latents fired, of bases that have an index. */
static int collect_fired(struct report_work *w, struct store_txn *t, struct fired_row *fired, size_t *n,
                         struct error *err)
{
    const struct meta_bases *bases = &w->rows.bases;
    size_t row = 0;
    *n = 0;
    for (size_t b = 0; b < bases->n; b++) {
        struct index_columns columns;
        int status = index_columns_read(t, bases->ids[b], &columns, err);
        if (status)
            return status;
        for (; row < w->n && w->numbers[row] < bases->first[b + 1]; row++) {
            size_t latent = w->numbers[row] - bases->first[b];
            if (columns.fired && columns.tokens && latent < columns.n && columns.fired[latent])
                fired[(*n)++] =
                    (struct fired_row){(double)columns.fired[latent] / (double)columns.tokens, row};
        }
        index_columns_free(&columns);
    }
    qsort(fired, *n, sizeof(*fired), compare_fired);
    return STATUS_OK;
}

static struct report_density density_of(const struct report_work *w, const struct fired_row *fired, size_t n)
{
    struct report_density part = {.from = fired[0].density, .to = fired[n - 1].density, .latents = n};
    double terms = 0, error = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = fired[i].row;
        terms += (double)(w->f.offsets[row + 1] - w->f.offsets[row]);
        error += w->error[row];
        total += w->total_of[row];
    }
    part.meta_latents = terms / (double)n;
    part.explained_variance = total > 0 ? 1 - error / total : NAN;
    return part;
}

static int count_by_density(struct report_work *w, struct error *err)
{
    struct report *r = w->out;
    struct store_txn *t;
    size_t n = 0;
    struct fired_row *fired = array_alloc(w->n, sizeof(*fired), "densities", err);
    int status = fired ? report_begin(w, &t, err) : STATUS_FAILED;
    if (!status) {
        status = collect_fired(w, t, fired, &n, err);
        store_end(t);
    }
    if (!status && n > 0) {
        size_t parts = n < DENSITY_PARTS ? n : DENSITY_PARTS;
        r->densities = xcalloc(parts, sizeof(*r->densities));
        for (; r->n_densities < parts; r->n_densities++) {
            size_t from = n * r->n_densities / parts, to = n * (r->n_densities + 1) / parts;
            r->densities[r->n_densities] = density_of(w, fired + from, to - from);
        }
    }
    free(fired);
    return status;
}

/* ---- The whole. ---- */

/* What would be refused at the very end is refused at once. */
static int check_options(const struct report_work *w, struct store_txn *t, const struct sae_facts *first,
                         struct error *err)
{
    struct stream_options range;
    char hook[64];
    for (size_t i = 0; i < w->o->n_without; i++)
        if (w->o->without[i] >= w->rows.meta->d_sae)
            return error_set(err, STATUS_REFUSED, "%s has no meta-latent %zu: it has meta-latents 0 to %zu",
                             w->out->meta, w->o->without[i], w->rows.meta->d_sae - 1);
    if (!w->o->text)
        return STATUS_OK;
    if (!first->model || first->is_meta)
        return error_set(err, STATUS_REFUSED,
                         "%s is no SAE of a model's activations: there is no cross-entropy of it on a text",
                         first->artifact.name);
    return stream_options_for_sae(t, w->rows.bases.ids[0], w->o->text, &range, hook, err);
}

/* Names, the SAEs of the hook, and of the base what options ask of it. */
static int read_facts(struct report_work *w, struct store_txn *t, struct error *err)
{
    struct report *r = w->out;
    struct sae_facts facts, base;
    int status = sae_facts_read(t, w->o->meta, &facts, err);
    if (status)
        return status;
    memcpy(r->meta, facts.artifact.name, sizeof(r->meta));
    status = hook_saes(t, &facts, &w->saes, &w->n_saes, err);
    sae_facts_free(&facts);
    if (!status)
        status = sae_facts_read(t, w->rows.bases.ids[0], &base, err);
    if (status)
        return status;
    memcpy(r->base, base.artifact.name, sizeof(r->base));
    status = check_options(w, t, &base, err);
    sae_facts_free(&base);
    return status;
}

static int open_all(struct report_work *w, struct error *err)
{
    struct report *r = w->out;
    struct store_txn *t;
    struct row_mean mean = {0};
    int status = store_begin(w->store, &t, err);
    if (status)
        return status;
    status = meta_rows_open(t, w->o->meta, &w->rows, err);
    if (!status)
        status = meta_rows_mean(&w->rows, &mean, err);
    w->mean = mean.mean;
    w->total = mean.total;
    if (!status)
        status = read_facts(w, t, err);
    w->manifest = status ? NULL : store_manifest(t, w->o->meta, err);
    if (!status && !w->manifest)
        status = STATUS_STORE;
    store_end(t);
    if (status)
        return status;
    w->training = json_get(w->manifest, "training");
    r->d_in = w->rows.d_in;
    r->width = w->rows.meta->d_sae;
    r->k = w->rows.meta->k;
    r->n_bases = w->rows.bases.n;
    r->train_seconds = json_get_number(w->training, "seconds", NAN);
    for (size_t i = 0; i < w->rows.bases.n; i++)
        if (w->rows.saes[i]->d_sae > w->widest)
            w->widest = w->rows.saes[i]->d_sae;
    return STATUS_OK;
}

static int run_parts(struct report_work *w, struct error *err)
{
    struct report *r = w->out;
    int status = encode_rows(w, err);
    if (!status)
        status = evaluate_meta(w->store, w->o->meta, w->monitor, &r->explained_variance,
                               &r->explained_variance_batchtopk, &r->l0, &r->dead_fraction, err);
    if (!status)
        status = count_by_density(w, err);
    if (!status)
        status = report_decoders(w, err);
    if (!status && !w->o->quick)
        status = report_trained(w, err);
    if (!status && !w->o->quick)
        status = report_regressions(w, err);
    if (!status)
        status = report_cosines(w, err);
    if (!status)
        status = report_graphs(w, err);
    if (!status && w->o->text)
        status = report_losses(w, err);
    return status;
}

int report_run(struct store *s, const struct report_options *o, struct monitor *m, struct report *out,
               struct error *err)
{
    struct report_work w = {.store = s, .o = o, .monitor = m, .out = out};
    memset(out, 0, sizeof(*out));
    out->ce_model = out->ce_sae = out->ce_rebuilt = out->ce_zero = NAN;
    int status = open_all(&w, err);
    if (!status)
        status = run_parts(&w, err);
    meta_rows_free(&w.rows);
    free(w.mean);
    json_free(w.manifest);
    free(w.saes);
    free(w.numbers);
    sparse_rows_free(&w.f);
    free(w.error);
    free(w.total_of);
    if (status)
        report_free(out);
    return status;
}

void report_free(struct report *r)
{
    free(r->baselines);
    free(r->densities);
    free(r->cosines);
    free(r->graphs);
    free(r->without);
    memset(r, 0, sizeof(*r));
}
