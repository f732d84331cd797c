/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A piece of text through the model and an SAE: its tokens and the latents that fire on them. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"

struct encoding {
    struct sae_facts facts;
    struct model *model;
    struct sae *sae;
    struct hook hook;
    float *x; /* [n_tokens, d_in] */
};

static int copy_activations(void *arg, float *activations, size_t n_tokens, size_t width, struct error *err)
{
    (void)err;
    struct encoding *e = arg;
    memcpy(e->x, activations, n_tokens * width * sizeof(float));
    return STATUS_OK;
}

void center_rows(float *x, size_t n, size_t d)
{
    for (size_t r = 0; r < n; r++) {
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += (double)x[r * d + i];
        float mean = (float)(sum / (double)d);
        for (size_t i = 0; i < d; i++)
            x[r * d + i] -= mean;
    }
}

static int open_parts(struct encoding *e, struct store_txn *t, artifact_id sae, struct error *err)
{
    int status = sae_facts_read(t, sae, &e->facts, err);
    if (status)
        return status;
    const char *name = e->facts.artifact.name;
    if (e->facts.is_meta)
        return error_set(err, STATUS_REFUSED, "%s is a meta-SAE: it reads decoder rows, not text", name);
    if (!e->facts.model || !e->facts.hook)
        return error_set(err, STATUS_REFUSED, "the model of %s is not in the store: import it, then %s again",
                         name, name);
    status = model_open(t, e->facts.model, &e->model, err);
    if (!status)
        status = model_attach(e->model, t, err);
    if (!status)
        status = hook_parse(model_get_config(e->model), e->facts.hook, &e->hook, err);
    if (!status)
        status = sae_open(t, sae, &e->sae, err);
    if (!status && hook_width(model_get_config(e->model), &e->hook) != e->sae->d_in)
        status = error_set(err, STATUS_REFUSED, "%s has d_in %zu, but %s has %zu numbers", name, e->sae->d_in,
                           e->hook.name, hook_width(model_get_config(e->model), &e->hook));
    return status;
}

int prompt_tokens(const struct model *m, int prepend_bos, const void *text, size_t n, struct token_list *out,
                  struct error *err)
{
    const struct tokenizer *tokenizer = model_tokenizer(m);
    if (prepend_bos && tokenizer_bos(tokenizer) != TOKEN_NONE)
        token_list_add(out, tokenizer_bos(tokenizer));
    struct encoder *encoder = encoder_new(tokenizer);
    int status = encoder_encode(encoder, text, n, 1, out, err);
    encoder_free(encoder);
    return status;
}

static int tokenize(const struct encoding *e, const void *text, size_t n, struct encoded_text *out,
                    struct error *err)
{
    const struct model_config *config = model_get_config(e->model);
    struct token_list list = {0};
    int status = prompt_tokens(e->model, e->facts.prepend_bos, text, n, &list, err);
    if (status) {
        token_list_free(&list);
        return status;
    }
    out->truncated = list.n > config->context_length;
    out->n_tokens = out->truncated ? config->context_length : list.n;
    out->ids = list.ids; /* released with free(), as the list does */
    return STATUS_OK;
}

static int run(struct encoding *e, struct encoded_text *out, struct error *err)
{
    size_t d = e->sae->d_in, n = out->n_tokens;
    struct forward *forward = NULL;
    e->x = array_alloc(n, d * sizeof(float), "activations", err);
    int status = e->x ? forward_new(e->model, 1, n, &forward, err) : STATUS_FAILED;
    if (!status)
        status = forward_run(forward, e->model, out->ids, 1, n, &e->hook, copy_activations, e, NULL, err);
    forward_free(forward);
    if (!status && e->facts.center && hook_is_centred(model_get_config(e->model), &e->hook))
        center_rows(e->x, n, d);
    return status ? status : sae_encode(e->sae, e->x, n, &out->rows, err);
}

/* Takes the pairs of row 0 away. */
static void empty_first_row(struct sparse_rows *rows)
{
    size_t n = rows->offsets[1], total = rows->offsets[rows->n_rows];
    if (n == 0)
        return;
    memmove(rows->latents, rows->latents + n, (total - n) * sizeof(*rows->latents));
    memmove(rows->values, rows->values + n, (total - n) * sizeof(*rows->values));
    for (size_t r = 1; r <= rows->n_rows; r++)
        rows->offsets[r] -= n;
}

int encode_text(struct store *s, artifact_id sae, const void *text, size_t n, int with_bos,
                struct encoded_text *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    struct encoding e = {0};
    struct store_txn *t;
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    status = open_parts(&e, t, sae, err);
    if (!status)
        status = tokenize(&e, text, n, out, err);
    if (!status && out->n_tokens)
        status = run(&e, out, err);
    else if (!status && !(status = sparse_rows_reserve(&out->rows, 0, 1, err)))
        out->rows.offsets[0] = 0;
    if (!status && out->n_tokens && e.facts.prepend_bos && !with_bos &&
        out->ids[0] == tokenizer_bos(model_tokenizer(e.model)))
        empty_first_row(&out->rows);
    free(e.x);
    sae_free(e.sae);
    model_free(e.model);
    sae_facts_free(&e.facts);
    store_end(t);
    if (status)
        encoded_text_free(out);
    return status;
}

void encoded_text_free(struct encoded_text *e)
{
    free(e->ids);
    sparse_rows_free(&e->rows);
    memset(e, 0, sizeof(*e));
}
