/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What edits do to the activations at a hook. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/decoder_rows.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/steer_parts.h"
#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/sae/vector.h"

const char *const steer_kind_names[STEER_KINDS] = {"add", "scale", "clamp", "remove", "row"};

/* The chosen positions of one call of the hook. */
struct selection {
    size_t n;
    size_t *rows; /* [n], of h */
    float *h;     /* [n_tokens, d] */
    size_t d;
    float *x, *delta, *scale; /* what an SAE reads [n, d]; what is added [n, d]; σ [n] */
    uint8_t *active;          /* [n] */
};

static double changed(const struct steer_edit *e, double a)
{
    switch (e->kind) {
    case STEER_SCALE:
        return e->value * a;
    case STEER_CLAMP:
        return e->value;
    case STEER_REMOVE:
        return 0;
    case STEER_ADD:
    case STEER_ROW:
    case STEER_KINDS:
        break;
    }
    return a;
}

/* ---- Reading. ---- */

static void read_rows(const struct steer_reader *r, struct selection *s)
{
    for (size_t i = 0; i < s->n; i++)
        memcpy(s->x + i * s->d, s->h + s->rows[i] * s->d, s->d * sizeof(float));
    if (r->center)
        center_rows(s->x, s->n, s->d);
    sae_output_scale(r->sae, s->x, s->n, s->scale);
}

/* Activations of one latent where the architecture allows it, else of all; *number is the latent's in them.
 */
static int encode_latent(const struct steer_reader *r, const struct selection *s, size_t latent,
                         struct sparse_rows *f, size_t *number, struct error *err)
{
    if (r->sae->architecture->per_token_k) {
        *number = latent;
        return sae_encode(r->sae, s->x, s->n, f, err);
    }
    struct sae one;
    *number = 0;
    int status = sae_pick_latents(r->sae, &latent, 1, &one, err);
    if (!status)
        status = sae_encode(&one, s->x, s->n, f, err);
    sae_picked_free(&one);
    return status;
}

static float activation(const struct sparse_rows *f, size_t row, size_t latent)
{
    for (size_t p = f->offsets[row]; p < f->offsets[row + 1] && f->latents[p] <= latent; p++)
        if (f->latents[p] == latent)
            return f->values[p];
    return 0;
}

/* ---- Additive edits. ---- */

static int edit_latent(const struct steer_reader *r, const struct steer_edit *e, struct selection *s,
                       struct error *err)
{
    struct sparse_rows f = {0};
    size_t number;
    read_rows(r, s);
    int status = encode_latent(r, s, e->latent, &f, &number, err);
    const float *row = sae_decoder_row(r->sae, e->latent);
    for (size_t i = 0; !status && i < s->n; i++) {
        float a = activation(&f, i, number), *delta = s->delta + i * s->d;
        s->active[i] |= a != 0;
        if (e->kind == STEER_ROW) {
            row_add_scaled(s->scale[i] * a, e->row, delta, s->d);
            row_add_scaled(-s->scale[i] * a, row, delta, s->d);
        } else {
            row_add_scaled((float)(s->scale[i] * (changed(e, a) - a)), row, delta, s->d);
        }
    }
    sparse_rows_free(&f);
    return status;
}

/* change[i of the base's latents that are active in f] = n_i·(u′_i − u_i): how much more of m there is in row
 * d_i. */
static int row_changes(const struct steer_reader *meta, const struct steer_edit *e, uint32_t *latents,
                       size_t n, float *change, struct error *err)
{
    const struct sae *base = meta->base->sae;
    size_t d = base->d_in, kept = 0, number;
    struct sparse_rows u = {0};
    float *scale = array_alloc(n, sizeof *scale, "decoder rows", err);
    struct selection rows = {.x = array_alloc(n, d * sizeof(float), "decoder rows", err)};
    int status = scale && rows.x ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < n; i++) {
        uint32_t latent;
        if (decoder_rows(base, latents[i], 1, meta->raw, rows.x + kept * d, &latent))
            latents[kept++] = latent; /* a row of zeros stays one */
    }
    rows.n = kept;
    if (!status && kept) {
        sae_output_scale(meta->sae, rows.x, kept, scale);
        status = encode_latent(meta, &rows, e->latent, &u, &number, err);
    }
    memset(change, 0, base->d_sae * sizeof *change);
    for (size_t i = 0; !status && i < kept; i++) {
        const float *row = sae_decoder_row(base, latents[i]);
        double a = activation(&u, i, number), norm = meta->raw ? 1 : sqrt(vec_norm2(row, d));
        if (a > 0)
            change[latents[i]] = (float)(norm * scale[i] * (changed(e, a) - a));
    }
    sparse_rows_free(&u);
    free(rows.x);
    free(scale);
    return status;
}

/* The latents of f, each once, ascending. */
static size_t distinct(const struct sparse_rows *f, uint32_t *latents, uint8_t *seen, size_t d_sae)
{
    size_t n = 0;
    memset(seen, 0, d_sae);
    for (size_t p = 0; p < f->offsets[f->n_rows]; p++)
        seen[f->latents[p]] = 1;
    for (size_t i = 0; i < d_sae; i++)
        if (seen[i])
            latents[n++] = (uint32_t)i;
    return n;
}

static int edit_meta_latent(const struct steer_reader *r, const struct steer_edit *e, struct selection *s,
                            struct error *err)
{
    size_t d_sae = r->base->sae->d_sae;
    struct sparse_rows f = {0};
    uint32_t *latents = array_alloc(d_sae, sizeof *latents, "latents", err);
    uint8_t *seen = array_alloc(d_sae, 1, "latents", err);
    float *change = array_alloc(d_sae, sizeof *change, "changed rows", err);
    int status = latents && seen && change ? STATUS_OK : STATUS_FAILED;
    read_rows(r->base, s);
    if (!status)
        status = sae_encode(r->base->sae, s->x, s->n, &f, err);
    size_t n = status ? 0 : distinct(&f, latents, seen, d_sae);
    if (n)
        status = row_changes(r, e, latents, n, change, err);
    for (size_t i = 0; !status && n && i < s->n; i++) {
        double sum = 0;
        for (size_t p = f.offsets[i]; p < f.offsets[i + 1]; p++)
            sum += (double)f.values[p] * (double)change[f.latents[p]];
        s->active[i] |= sum != 0;
        row_add_scaled((float)((double)s->scale[i] * sum), sae_decoder_row(r->sae, e->latent),
                       s->delta + i * s->d, s->d);
    }
    sparse_rows_free(&f);
    free(latents);
    free(seen);
    free(change);
    return status;
}

static int edit_additive(const struct steering *st, struct selection *s, struct error *err)
{
    int status = STATUS_OK;
    for (size_t k = 0; !status && k < st->n_edits; k++) {
        const struct steer_edit *e = &st->edits[k];
        const struct steer_reader *r = st->edit_readers[k];
        if (e->kind == STEER_ADD)
            for (size_t i = 0; i < s->n; i++)
                row_add_scaled((float)e->value, sae_decoder_row(r->sae, e->latent), s->delta + i * s->d,
                               s->d);
        else
            status = r->base ? edit_meta_latent(r, e, s, err) : edit_latent(r, e, s, err);
    }
    for (size_t i = 0; !status && i < s->n; i++)
        row_add_scaled(1, s->delta + i * s->d, s->h + s->rows[i] * s->d, s->d);
    return status;
}

/* ---- Orthogonal edits. ---- */

static void edit_orthogonal(const struct steering *st, struct selection *s)
{
    for (size_t k = 0; k < st->n_edits; k++) {
        const struct steer_edit *e = &st->edits[k];
        const struct steer_reader *r = st->edit_readers[k];
        const float *row = sae_decoder_row(r->sae, e->latent);
        double norm2 = vec_norm2(row, s->d);
        for (size_t i = 0; norm2 > 0 && i < s->n; i++) {
            float *h = s->h + s->rows[i] * s->d;
            memcpy(s->x, h, s->d * sizeof(float));
            if (r->center)
                center_rows(s->x, 1, s->d);
            double p = (double)row_dot(row, s->x, s->d) / norm2;
            double to = e->kind == STEER_ADD ? e->value * p : changed(e, p);
            s->active[i] |= p != 0;
            row_add_scaled((float)(to - p), row, h, s->d);
        }
    }
}

/* ---- The hook. ---- */

static void select_rows(const struct steer_pass *pass, struct selection *s, size_t n_tokens)
{
    const struct steering *st = pass->steering;
    const struct tokenizer *tokenizer = model_tokenizer(st->model);
    for (size_t r = 0; r < n_tokens; r++) {
        size_t at = pass->position + r;
        if (at >= st->where.first && at <= st->where.last &&
            (st->where.specials || !tokenizer_is_special(tokenizer, pass->tokens[at])))
            s->rows[s->n++] = r;
    }
}

int steer_at_hook(void *arg, float *activations, size_t n_tokens, size_t width, struct error *err)
{
    struct steer_pass *pass = arg;
    struct steering *st = pass->steering;
    struct selection s = {.h = activations, .d = width};
    s.rows = array_alloc(n_tokens, sizeof *s.rows, "positions", err);
    s.x = array_alloc(n_tokens, width * sizeof(float), "activations", err);
    s.delta = array_zeroed(n_tokens, width * sizeof(float), "changes", err);
    s.scale = array_alloc(n_tokens, sizeof *s.scale, "positions", err);
    s.active = array_zeroed(n_tokens, 1, "positions", err);
    int status = s.rows && s.x && s.delta && s.scale && s.active ? STATUS_OK : STATUS_FAILED;
    if (!status)
        select_rows(pass, &s, n_tokens);
    if (!status && s.n > 0 && st->method == STEER_ORTHOGONAL)
        edit_orthogonal(st, &s);
    else if (!status && s.n > 0)
        status = edit_additive(st, &s, err);
    for (size_t i = 0; !status && i < s.n; i++)
        st->n_active += s.active[i];
    pass->position += n_tokens;
    free(s.rows);
    free(s.x);
    free(s.delta);
    free(s.scale);
    free(s.active);
    return status;
}
