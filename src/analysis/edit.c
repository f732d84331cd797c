/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoder rows put together from other meta-latents, and finding the latents that stand for a text. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/edit.h"
#include "saescope/analysis/latent.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/base/blas.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"

/* ---- Rows. ---- */

/* u[d_sae of the meta-SAE] as a sparse row. */
static int to_sparse(const float *u, size_t n, struct sparse_rows *out, struct error *err)
{
    size_t k = 0;
    int status = sparse_rows_reserve(out, 1, n, err);
    if (status)
        return status;
    for (size_t j = 0; j < n; j++)
        if (u[j] != 0) {
            out->latents[k] = (uint32_t)j;
            out->values[k++] = u[j];
        }
    out->n_rows = 1;
    out->offsets[0] = 0;
    out->offsets[1] = k;
    return STATUS_OK;
}

/* x_hat becomes r̂(u′); with keep_residual, r̂(u′) + r − r̂(u). u and work have d_sae numbers. */
static int rebuild(const struct sae *meta, const struct row_edit *e, const float *r, float *u, float *work,
                   float *x_hat, struct error *err)
{
    size_t d = meta->d_in;
    struct sparse_rows f = {0};
    int status = sae_encode(meta, r, 1, &f, err);
    memset(u, 0, meta->d_sae * sizeof *u);
    for (size_t p = 0; !status && p < f.offsets[1]; p++)
        u[f.latents[p]] = f.values[p];
    if (!status)
        status = sae_decode(meta, &f, r, work, err);
    for (size_t i = 0; i < e->n; i++)
        u[e->changes[i].meta_latent] = e->changes[i].adds ? (float)e->changes[i].value : 0;
    if (!status)
        status = to_sparse(u, meta->d_sae, &f, err);
    if (!status)
        status = sae_decode(meta, &f, r, x_hat, err);
    for (size_t i = 0; !status && e->keep_residual && i < d; i++)
        x_hat[i] += r[i] - work[i];
    sparse_rows_free(&f);
    return status;
}

static void add_raw(const struct sae *meta, const struct row_edit *e, const float *r, float *out)
{
    memcpy(out, r, meta->d_in * sizeof *out);
    for (size_t i = 0; i < e->n; i++)
        vec_axpy((float)(e->changes[i].adds ? e->raw : -e->raw),
                 sae_decoder_row(meta, e->changes[i].meta_latent), out, meta->d_in);
}

static int check_changes(const struct sae *base, const struct sae *meta, size_t latent,
                         const struct row_edit *e, struct error *err)
{
    int status = meta_check_fit(base, meta, err);
    for (size_t i = 0; i < e->n && !status; i++)
        if (e->changes[i].meta_latent >= meta->d_sae)
            status = error_set(err, STATUS_REFUSED, "no meta-latent %zu: the meta-SAE has 0 to %zu",
                               e->changes[i].meta_latent, meta->d_sae - 1);
    if (!status && latent >= base->d_sae)
        status =
            error_set(err, STATUS_REFUSED, "no latent %zu: the SAE has 0 to %zu", latent, base->d_sae - 1);
    return status;
}

int edit_row(struct store_txn *t, const struct sae *base, const struct sae *meta, size_t latent,
             const struct row_edit *e, float *row, struct error *err)
{
    size_t d = base->d_in;
    uint32_t number;
    int status = check_changes(base, meta, latent, e, err);
    if (status)
        return status;
    float *r = array_alloc(d, 2 * sizeof *r, "a decoder row", err);
    float *u = array_alloc(meta->d_sae, sizeof *u, "meta-activations", err);
    if (!r || !u)
        status = STATUS_FAILED;
    else if (decoder_rows(base, latent, 1, meta_wants_raw_rows(t, meta->id), r, &number) == 0)
        status = error_set(err, STATUS_REFUSED,
                           "the decoder row of latent %zu is zero: there is nothing to edit", latent);
    else if (e->raw != 0)
        add_raw(meta, e, r, row);
    else
        status = rebuild(meta, e, r, u, r + d, row, err);
    if (!status) {
        double norm = sqrt(vec_norm2(row, d)), own = sqrt(vec_norm2(sae_decoder_row(base, latent), d));
        if (norm > 0 && isfinite(norm))
            vec_scale((float)(own / norm), row, d);
        else
            status = error_set(err, STATUS_REFUSED,
                               "nothing is left of the row: keep some meta-latents, or the residual");
    }
    free(r);
    free(u);
    return status;
}

int mean_member_activation(struct store_txn *t, const struct sae *base, const struct sae *meta,
                           size_t meta_latent, double *mean, struct error *err)
{
    struct member *members;
    size_t n;
    *mean = 0;
    int status = meta_members(t, base, meta, meta_latent, &members, &n, err);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++)
        *mean += (double)members[i].activation / (double)n;
    free(members);
    return STATUS_OK;
}

/* ---- Latents that stand for a text. ---- */

struct finding {
    struct store *store;
    artifact_id sae;
    const struct tokenizer *tokenizer;
    int skip_first; /* a BOS that the text does not have */
    double *sums;   /* [d_sae] */
};

/* Adds the activations at the token in which byte `end` − 1 of the prompt is. */
static int add_at(const struct finding *f, const char *prompt, size_t end, struct error *err)
{
    struct encoded_text e;
    int status = encode_text(f->store, f->sae, prompt, strlen(prompt), 0, &e, err);
    size_t bytes = 0, i = f->skip_first ? 1 : 0;
    for (; !status && i < e.n_tokens; i++) {
        size_t n;
        tokenizer_token(f->tokenizer, e.ids[i], &n);
        bytes += n;
        if (bytes >= end)
            break;
    }
    if (status)
        return status;
    if (i < e.n_tokens)
        for (size_t p = e.rows.offsets[i]; p < e.rows.offsets[i + 1]; p++)
            f->sums[e.rows.latents[p]] += (double)e.rows.values[p];
    encoded_text_free(&e);
    return STATUS_OK;
}

static int strongest(const double *sums, const double *others, size_t n, size_t prompts,
                     struct found_latent *out)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n; i++)
        if (sums[i] > 0 && others[i] == 0 && (best == SIZE_MAX || sums[i] > sums[best]))
            best = i;
    if (best == SIZE_MAX)
        return -1;
    *out = (struct found_latent){best, sums[best] / (double)prompts};
    return 0;
}

static int no_latent(const char *text, const char *other, struct error *err)
{
    char *shown = displayable_string(text), *shown_other = displayable_string(other);
    error_set(err, STATUS_REFUSED, "no latent fires on '%s' in the prompts and not on '%s'", shown,
              shown_other);
    free(shown);
    free(shown_other);
    return STATUS_REFUSED;
}

static int sum_prompts(struct finding f, double *of_from, double *of_to, const char *const *prompts, size_t n,
                       const char *from, const char *to, size_t *used, struct error *err)
{
    int status = STATUS_OK;
    *used = 0;
    for (size_t i = 0; i < n && !status; i++) {
        const char *at = strstr(prompts[i], from);
        if (!at)
            continue;
        size_t before = (size_t)(at - prompts[i]);
        char *changed = xasprintf("%.*s%s%s", (int)before, prompts[i], to, at + strlen(from));
        f.sums = of_from;
        status = add_at(&f, prompts[i], before + strlen(from), err);
        f.sums = of_to;
        if (!status)
            status = add_at(&f, changed, before + strlen(to), err);
        free(changed);
        ++*used;
    }
    return status;
}

static int search(struct store *s, const struct sae_facts *facts, const struct tokenizer *tokenizer,
                  const char *const *prompts, size_t n, const char *from, const char *to,
                  struct found_latent *of_from, struct found_latent *of_to, struct error *err)
{
    size_t d_sae = facts->d_sae, used = 0;
    double *sums = array_zeroed(d_sae, 2 * sizeof *sums, "activations", err);
    if (!sums)
        return STATUS_FAILED;
    struct finding f = {.store = s,
                        .sae = facts->artifact.id,
                        .tokenizer = tokenizer,
                        .skip_first = facts->prepend_bos && tokenizer_bos(tokenizer) != TOKEN_NONE};
    int status = sum_prompts(f, sums, sums + d_sae, prompts, n, from, to, &used, err);
    if (!status && used == 0) {
        char *shown = displayable_string(from);
        status = error_set(err, STATUS_REFUSED, "no prompt has '%s' in it (blanks count)", shown);
        free(shown);
    }
    if (!status && strongest(sums, sums + d_sae, d_sae, used, of_from))
        status = no_latent(from, to, err);
    if (!status && strongest(sums + d_sae, sums, d_sae, used, of_to))
        status = no_latent(to, from, err);
    free(sums);
    return status;
}

int find_latents(struct store *s, artifact_id sae, const char *const *prompts, size_t n, const char *from,
                 const char *to, struct found_latent *of_from, struct found_latent *of_to, struct error *err)
{
    struct store_txn *t;
    struct sae_facts facts = {0};
    struct tokenizer *tokenizer = NULL;
    if (!*from || !*to)
        return error_set(err, STATUS_REFUSED, "the text that a latent is looked for is empty");
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    status = sae_facts_read(t, sae, &facts, err);
    if (!status && (facts.is_meta || !facts.model))
        status =
            error_set(err, STATUS_REFUSED, "%s reads no text of a model in the store", facts.artifact.name);
    if (!status)
        status = tokenizer_open(t, facts.model, &tokenizer, err);
    store_end(t);
    if (!status)
        status = search(s, &facts, tokenizer, prompts, n, from, to, of_from, of_to, err);
    tokenizer_free(tokenizer);
    sae_facts_free(&facts);
    return status;
}
