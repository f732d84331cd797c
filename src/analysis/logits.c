/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which tokens a latent's direction makes likelier and less likely. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/memory.h"

/* Keeps the `count` first in the order of value (largest or smallest first); ties: the lower token. */
static void keep_first(struct token_logit *list, size_t *n, size_t count, uint32_t id, float value,
                       float sign)
{
    if (*n == count && sign * value <= sign * list[count - 1].value)
        return;
    size_t i = *n < count ? (*n)++ : count - 1;
    for (; i > 0 && sign * value > sign * list[i - 1].value; i--)
        list[i] = list[i - 1];
    list[i] = (struct token_logit){.id = id, .value = value};
}

void latent_logits_choose(const float *logits, size_t vocabulary, size_t count, struct latent_logits *out)
{
    memset(out, 0, sizeof(*out));
    if (count > ARRAY_LENGTH(out->positive))
        count = ARRAY_LENGTH(out->positive);
    for (uint32_t id = 0; count && id < vocabulary; id++) {
        keep_first(out->positive, &out->n_positive, count, id, logits[id], 1);
        keep_first(out->negative, &out->n_negative, count, id, logits[id], -1);
    }
}

void latent_logits_free(struct latent_logits *l)
{
    free(l->texts);
    memset(l, 0, sizeof(*l));
}

const void *token_logit_text(const struct token_logit *l, const struct tokenizer *tok, size_t *n)
{
    *n = l->text ? l->text_length : 0;
    if (l->text)
        return l->text;
    return tok && l->id < tokenizer_size(tok) ? tokenizer_token(tok, l->id, n) : "";
}

int latent_logits(const struct model *m, const struct sae *sae, const struct hook *hook, size_t latent,
                  size_t count, int fold_ln, struct latent_logits *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (!m || count == 0)
        return STATUS_OK;
    const struct model_config *config = model_get_config(m);
    size_t width = hook ? hook_width(config, hook) : config->d_model;
    if (sae->d_in != width)
        return error_set(err, STATUS_REFUSED, "the SAE's rows have %zu numbers, %s of %s has %zu", sae->d_in,
                         hook ? hook->name : "the residual stream", model_name(m), width);
    float *logits = array_alloc(config->vocabulary_size + config->d_model, sizeof(float), "logits", err);
    if (!logits)
        return STATUS_FAILED;
    float *direction = logits + config->vocabulary_size;
    const float *row = sae_decoder_row(sae, latent);
    int status = hook ? model_directions_out(m, hook, row, 1, direction, err) : STATUS_OK;
    if (!status)
        status = model_direction_logits(m, hook ? direction : row, 1, fold_ln, logits, err);
    if (!status)
        latent_logits_choose(logits, config->vocabulary_size, count, out);
    free(logits);
    return status;
}
