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
    list[i] = (struct token_logit){id, value};
}

int latent_logits(const struct model *m, const struct sae *sae, const struct hook *hook, size_t latent,
                  size_t count, int fold_ln, struct latent_logits *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (!m || count == 0)
        return STATUS_OK;
    if (count > ARRAY_LENGTH(out->positive))
        count = ARRAY_LENGTH(out->positive);
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
    for (uint32_t id = 0; !status && id < config->vocabulary_size; id++) {
        keep_first(out->positive, &out->n_positive, count, id, logits[id], 1);
        keep_first(out->negative, &out->n_negative, count, id, logits[id], -1);
    }
    free(logits);
    return status;
}
