/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The SAE at a step of a stitch: rows of both SAEs, the small one's first. Both are brought to one form,
 * relu(p)·[p > θ_i] with p = W_enc x + b_enc: an SAE that subtracts its b_dec from the input has b_enc −
 * W_enc·b_dec instead.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/stitch_parts.h"
#include "saescope/base/memory.h"

#define FROM_LARGE (UINT32_C(1) << 31)

enum { ROWS_AT_A_TIME = 8192 };

struct stitching {
    struct sae *saes[2]; /* small, large, in their threshold form */
    uint32_t *latents;   /* [n]: FROM_LARGE set for the large SAE's */
    size_t n;
    double share; /* of b_large in b_dec */
};

static void stitching_free(struct stitching *g)
{
    sae_free(g->saes[0]);
    sae_free(g->saes[1]);
    free(g->latents);
    *g = (struct stitching){0};
}

/* ---- Which latents. ---- */

static int choose_latents(struct stitching *g, const struct stitch_path *p, size_t step, struct error *err)
{
    g->latents = array_alloc(p->n_small + p->n_large, sizeof(*g->latents), "latents", err);
    if (!g->latents)
        return STATUS_FAILED;
    for (size_t j = 0; j < p->n_small; j++)
        if (p->small_step[j] > step)
            g->latents[g->n++] = (uint32_t)j;
    for (size_t i = 0; i < p->n_large; i++)
        if (p->large_step[i] <= step)
            g->latents[g->n++] = (uint32_t)i | FROM_LARGE;
    return STATUS_OK;
}

static int check_saes(const struct stitching *g, const struct stitch_path *p, struct error *err)
{
    const struct sae *small = g->saes[0], *large = g->saes[1];

    if (small->d_sae != p->n_small || large->d_sae != p->n_large || small->d_in != large->d_in)
        return error_set(err, STATUS_STORE, "the stitch does not fit its SAEs: the store is damaged");
    if (small->normalization != large->normalization)
        return error_set(
            err, STATUS_REFUSED, "the SAEs normalise a token differently (%s and %s): they cannot be one SAE",
            sae_normalization_name(small->normalization), sae_normalization_name(large->normalization));
    for (int i = 0; i < 2; i++)
        if (!g->saes[i]->architecture->activate)
            return error_set(err, STATUS_REFUSED, "%s SAEs have no threshold form: they cannot be stitched",
                             g->saes[i]->architecture->name);
    return STATUS_OK;
}

static int open_one(struct store_txn *t, artifact_id id, double theta, struct sae **out, struct error *err)
{
    int status = sae_open(t, id, out, err);

    if (!status && isfinite(theta))
        status = stitch_threshold_form(*out, theta, err);
    return status;
}

/* Both attached to t. */
static int stitching_open(struct stitching *g, struct store_txn *t, const struct stitch_facts *f,
                          const struct stitch_path *p, size_t step, struct error *err)
{
    int status;

    *g = (struct stitching){.share = stitch_bias_share(f->bias, step, p->n_steps)};
    if (step > p->n_steps)
        return error_set(err, STATUS_REFUSED, "there is no step %zu: the path has steps 0 to %zu", step,
                         p->n_steps);
    status = open_one(t, f->small, f->small_theta, &g->saes[0], err);
    if (!status)
        status = open_one(t, f->large, f->large_theta, &g->saes[1], err);
    if (!status)
        status = check_saes(g, p, err);
    if (!status)
        status = choose_latents(g, p, step, err);
    if (status)
        stitching_free(g);
    return status;
}

static const struct sae *sae_of(const struct stitching *g, size_t i)
{
    return g->saes[(g->latents[i] & FROM_LARGE) != 0];
}

static size_t latent_of(const struct stitching *g, size_t i)
{
    return g->latents[i] & ~FROM_LARGE;
}

/* ---- Its parts. ---- */

/* What the encoder's row is multiplied with in its threshold form: a gated latent's magnitude is the product.
 */
static float encoder_gain(const struct sae *sae, size_t latent)
{
    return sae->r_mag ? expf(sae->r_mag[latent]) : 1;
}

static float encoder_bias(const struct sae *sae, size_t latent)
{
    const float *row = sae_encoder_row(sae, latent), *biases = sae->b_mag ? sae->b_mag : sae->b_enc;
    double bias = biases ? (double)biases[latent] : 0, gain = (double)encoder_gain(sae, latent);

    if (sae->apply_b_dec_to_input)
        for (size_t k = 0; k < sae->d_in; k++)
            bias -= gain * (double)row[k] * (double)sae->b_dec[k];
    return (float)bias;
}

/* A gate w·x + b_gate > 0 is a threshold of the magnitude: m > b_mag − exp(r_mag)·b_gate. */
static float threshold_of(const struct sae *sae, size_t latent)
{
    if (sae->b_mag)
        return (float)((double)sae->b_mag[latent] -
                       (double)encoder_gain(sae, latent) * (sae->b_enc ? (double)sae->b_enc[latent] : 0));
    return sae->threshold ? sae->threshold[latent] : 0;
}

/* All but the weights and what fill_rows fills; of a zeroed or new SAE. */
static int make_vectors(const struct stitching *g, struct sae *out, struct error *err)
{
    const struct sae *small = g->saes[0], *large = g->saes[1];

    out->apply_b_dec_to_input = 0;
    out->normalization = small->normalization;
    out->b_enc = array_alloc(g->n, sizeof(*out->b_enc), "b_enc", err);
    if (!out->b_dec)
        out->b_dec = array_alloc(out->d_in, sizeof(*out->b_dec), "b_dec", err);
    if (!out->threshold)
        out->threshold = array_alloc(g->n, sizeof(*out->threshold), "threshold", err);
    if (!out->b_enc || !out->b_dec || !out->threshold)
        return STATUS_FAILED;
    for (size_t k = 0; k < out->d_in; k++)
        out->b_dec[k] =
            (float)((1 - g->share) * (double)small->b_dec[k] + g->share * (double)large->b_dec[k]);
    return STATUS_OK;
}

/* b_enc and the thresholds of rows [first, first + n). */
static void fill_rows(const struct stitching *g, struct sae *out, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        const struct sae *from = sae_of(g, i);

        out->b_enc[i] = encoder_bias(from, latent_of(g, i));
        out->threshold[i] = threshold_of(from, latent_of(g, i));
    }
}

static void copy_rows(const struct stitching *g, int decoder, size_t first, size_t n, float *rows)
{
    for (size_t i = first; i < first + n; i++) {
        const struct sae *from = sae_of(g, i);
        const float *row =
            decoder ? sae_decoder_row(from, latent_of(g, i)) : sae_encoder_row(from, latent_of(g, i));

        float *to = rows + (i - first) * from->d_in, gain = decoder ? 1 : encoder_gain(from, latent_of(g, i));

        for (size_t k = 0; k < from->d_in; k++)
            to[k] = gain * row[k];
    }
}

/* ---- On the heap. ---- */

int stitch_sae_at(struct store_txn *t, const struct stitch_facts *f, const struct stitch_path *p, size_t step,
                  struct sae **out, uint32_t **latents, struct error *err)
{
    const struct sae_architecture *jumprelu = sae_architecture_find("jumprelu", err);
    struct stitching g;
    struct sae *sae = NULL;
    int status = jumprelu ? stitching_open(&g, t, f, p, step, err) : STATUS_REFUSED;

    *out = NULL;
    if (latents)
        *latents = NULL;
    if (status)
        return status;
    status = sae_new(jumprelu, g.saes[0]->d_in, g.n, &sae, err);
    if (!status)
        status = make_vectors(&g, sae, err);
    if (status) {
        sae_free(sae);
    } else {
        fill_rows(&g, sae, 0, g.n);
        copy_rows(&g, 0, 0, g.n, sae->owned_W_enc);
        copy_rows(&g, 1, 0, g.n, sae->owned_W_dec);
        *out = sae;
        if (latents) {
            *latents = g.latents;
            g.latents = NULL;
        }
    }
    stitching_free(&g);
    return status;
}

/* ---- The cross-entropy along a path. ---- */

static int cross_entropy_at(struct store *s, const struct stitch_facts *f, const struct stitch_options *o,
                            struct stitch_path *p, size_t step, struct monitor *m, struct error *err)
{
    struct evaluate_options e = {.sae = f->small, .text = o->text, .tokens = o->ce_tokens, .ce_alone = 1};
    struct evaluation result;
    struct store_txn *t;
    int status = store_begin(s, &t, err);

    if (status)
        return status;
    status = stitch_sae_at(t, f, p, step, &e.instead, NULL, err);
    store_end(t);
    if (e.tokens == 0)
        e.tokens = STITCH_CE_TOKENS;
    if (!status)
        status = evaluate_run(s, &e, m, &result, err);
    if (!status)
        p->cross_entropy[step] = result.ce_sae;
    sae_free(e.instead);
    return status;
}

int stitch_path_cross_entropy(struct store *s, const struct stitch_facts *f, const struct stitch_options *o,
                              struct stitch_path *p, struct monitor *m, struct error *err)
{
    size_t n = o->ce_steps;
    int status = STATUS_OK;

    if (n == 0)
        return STATUS_OK;
    if (n < 2)
        n = 2;
    if (n > p->n_steps + 1)
        n = p->n_steps + 1;
    for (size_t i = 0; i < n && !status; i++)
        status = cross_entropy_at(s, f, o, p, i * p->n_steps / (n - 1), m, err);
    return status;
}

/* ---- In the store. ---- */

struct saving {
    struct store *store;
    struct monitor *monitor;
    struct stitching stitching;
    size_t done; /* rows: of the vectors, of W_enc, of W_dec */
};

/* A transaction with both SAEs attached. */
static int saving_begin(struct saving *w, struct store_txn **t, struct error *err)
{
    int status = store_begin(w->store, t, err);

    for (int i = 0; i < 2 && !status; i++)
        if ((status = sae_attach(w->stitching.saes[i], *t, err)))
            store_end(*t);
    return status;
}

static int went_on(struct saving *w, size_t n, struct error *err)
{
    w->done += n;
    return monitor_go_on(w->monitor, "writing", w->done, 3 * w->stitching.n, err);
}

/* Rows for sae_save_from. */
static int read_rows(void *arg, int decoder, size_t first, size_t n, float *rows, struct error *err)
{
    struct saving *w = arg;
    struct store_txn *t;
    int status = saving_begin(w, &t, err);

    if (status)
        return status;
    copy_rows(&w->stitching, decoder, first, n, rows);
    store_end(t);
    return went_on(w, n, err);
}

static int read_vectors(struct saving *w, struct sae *sae, struct error *err)
{
    int status = STATUS_OK;

    for (size_t first = 0; first < sae->d_sae && !status; first += ROWS_AT_A_TIME) {
        size_t n = sae->d_sae - first < ROWS_AT_A_TIME ? sae->d_sae - first : ROWS_AT_A_TIME;
        struct store_txn *t;

        status = saving_begin(w, &t, err);
        if (status)
            return status;
        fill_rows(&w->stitching, sae, first, n);
        store_end(t);
        status = went_on(w, n, err);
    }
    return status;
}

/* What the small SAE's manifest says of its hook, and where this SAE comes from. */
static int describe(struct store_txn *t, const struct stitch_facts *f, size_t step, json **out,
                    struct error *err)
{
    static const char *const kept[] = {"hook", "center_activations", "context_size", "prepend_bos"};
    struct sae_facts small;
    json *references = json_new_object(), *source = json_new_object();
    int status = sae_facts_read(t, f->small, &small, err);

    json_set(source, "stitch", json_new_string(f->artifact.name));
    json_set(source, "step", json_new_integer((long long)step));
    json_set(source, "small", json_new_string(f->small_artifact.name));
    json_set(source, "large", json_new_string(f->large_artifact.name));
    if (status) {
        json_free(references);
        json_free(source);
        return status;
    }
    *out = json_new_object();
    json_set(*out, "kind", json_new_string("sae"));
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++)
        if (json_get(small.manifest, kept[i]))
            json_set(*out, kept[i], json_retain(json_get(small.manifest, kept[i])));
    json_set(*out, "source", source);
    json_set(references, "model", json_new_integer((long long)small.model));
    json_set(*out, "references", references);
    sae_facts_free(&small);
    return STATUS_OK;
}

/* Everything that is known before rows are copied. */
static int prepare(struct saving *w, artifact_id stitch, size_t step, struct sae *sae, json **manifest,
                   struct error *err)
{
    struct stitch_facts f = {0};
    struct stitch_path p = {0};
    struct store_txn *t;
    int status = store_begin(w->store, &t, err);

    if (status)
        return status;
    status = stitch_facts_read(t, stitch, &f, err);
    if (!status)
        status = stitch_path_read(t, &f, &p, err);
    if (!status)
        status = stitching_open(&w->stitching, t, &f, &p, step, err);
    if (!status) {
        sae->d_in = w->stitching.saes[0]->d_in;
        sae->d_sae = w->stitching.n;
        status = make_vectors(&w->stitching, sae, err);
    }
    if (!status)
        status = describe(t, &f, step, manifest, err);
    store_end(t);
    stitch_path_free(&p);
    stitch_facts_free(&f);
    return status;
}

int stitch_save_sae(struct store *s, artifact_id stitch, size_t step, artifact_id id, struct monitor *m,
                    struct error *err)
{
    struct saving w = {.store = s, .monitor = m};
    struct sae *sae = xcalloc(1, sizeof(*sae));
    json *manifest = NULL;
    int status;

    sae->architecture = sae_architecture_find("jumprelu", err);
    status = sae->architecture ? prepare(&w, stitch, step, sae, &manifest, err) : STATUS_REFUSED;
    if (!status)
        status = read_vectors(&w, sae, err);
    if (!status)
        status = sae_save_from(s, id, sae, &(struct sae_rows){.read = read_rows, .arg = &w}, manifest, err);
    else
        json_free(manifest);
    sae_free(sae);
    stitching_free(&w.stitching);
    return status;
}
