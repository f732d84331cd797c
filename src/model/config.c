/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading config.json as transformers writes it, in versions before and since 5 (which moved what is rotary).
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/model/family.h"

#define WIDTH_MAX ((size_t)1 << 17)

/* "WHERE: KEY "VALUE"" and what is wrong with it. */
static int refuse_word(const char *where, const char *key, const char *value, const char *what,
                       struct error *err)
{
    char *shown = displayable_string(value);
    int code = error_set(err, STATUS_REFUSED, "%s: %s \"%s\" %s", where, key, shown, what);
    free(shown);
    return code;
}

/* ---- Sizes. ---- */

static int need_size(const json *config, const char *key, const char *where, size_t max, size_t *out,
                     struct error *err)
{
    int code = json_need_size(config, key, where, max, out, err);
    if (!code && !*out)
        code = error_set(err, STATUS_REFUSED, "%s: %s is zero", where, key);
    return code;
}

/* `fallback` when the family has no such key, or it is missing or null. */
static int optional_size(const json *config, const char *key, const char *where, size_t max, size_t fallback,
                         size_t *out, struct error *err)
{
    *out = fallback;
    return key && !json_is_null(json_get(config, key)) ? need_size(config, key, where, max, out, err)
                                                       : STATUS_OK;
}

static int read_heads(const json *config, const char *where, const struct config_keys *keys,
                      struct model_config *out, struct error *err)
{
    int code = need_size(config, keys->heads, where, WIDTH_MAX, &out->heads, err);
    if (!code)
        code = optional_size(config, keys->kv_heads, where, WIDTH_MAX, out->heads, &out->kv_heads, err);
    if (!code)
        code = optional_size(config, keys->d_head, where, WIDTH_MAX, 0, &out->d_head, err);
    if (code)
        return code;
    if (!out->d_head && out->d_model % out->heads)
        return error_set(err, STATUS_REFUSED, "%s: %s %zu is not a multiple of %s %zu", where, keys->d_model,
                         out->d_model, keys->heads, out->heads);
    if (!out->d_head)
        out->d_head = out->d_model / out->heads;
    if (out->heads % out->kv_heads)
        return error_set(err, STATUS_REFUSED, "%s: %s %zu is not a multiple of %s %zu", where, keys->heads,
                         out->heads, keys->kv_heads, out->kv_heads);
    out->attention_scale = 1 / sqrt((double)out->d_head);
    return STATUS_OK;
}

int config_sizes(const json *config, const char *where, const struct config_keys *keys,
                 struct model_config *out, struct error *err)
{
    int code = need_size(config, keys->layers, where, MODEL_LAYERS_MAX, &out->layers, err);
    if (!code)
        code = need_size(config, keys->d_model, where, WIDTH_MAX, &out->d_model, err);
    if (!code)
        code = read_heads(config, where, keys, out, err);
    if (!code)
        code = need_size(config, "vocab_size", where, 1 << 24, &out->vocabulary_size, err);
    if (!code)
        code = need_size(config, keys->context, where, 1 << 24, &out->context_length, err);
    if (!code)
        code = optional_size(config, keys->d_mlp, where, 8 * WIDTH_MAX, 4 * out->d_model, &out->d_mlp, err);
    if (code)
        return code;
    out->norm_epsilon = json_get_number(config, keys->epsilon, out->norm_epsilon);
    if (!(out->norm_epsilon > 0) || !isfinite(out->norm_epsilon))
        return error_set(err, STATUS_REFUSED, "%s: %s is not above zero", where, keys->epsilon);
    return STATUS_OK;
}

/* ---- Tokens. ---- */

static int read_token(const json *value, const char *key, const char *where, size_t vocabulary, uint32_t *out,
                      struct error *err)
{
    *out = TOKEN_NONE;
    if (json_is_null(value))
        return STATUS_OK;
    long long id = json_integer(value, -1);
    if (id < 0 || (unsigned long long)id >= vocabulary)
        return error_set(err, STATUS_REFUSED, "%s: %s is not in the vocabulary of %zu", where, key,
                         vocabulary);
    *out = (uint32_t)id;
    return STATUS_OK;
}

int config_add_eos(struct model_config *config, uint32_t id, const char *where, struct error *err)
{
    if (id == TOKEN_NONE || model_is_eos(config, id))
        return STATUS_OK;
    if (config->eos == TOKEN_NONE)
        config->eos = id;
    else if (config->n_more_eos == MODEL_MORE_EOS_MAX)
        return error_set(err, STATUS_REFUSED, "%s: more than %d tokens end a text", where,
                         MODEL_MORE_EOS_MAX + 1);
    else
        config->more_eos[config->n_more_eos++] = id;
    return STATUS_OK;
}

int config_tokens(const json *config, const char *where, struct model_config *out, struct error *err)
{
    const json *bos = json_get(config, "bos_token_id"), *eos = json_get(config, "eos_token_id");
    size_t several = json_is_array(eos) ? json_length(eos) : 1;
    long long pad = json_get_integer(config, "pad_token_id", -1); /* below zero in some files: none */
    int code = read_token(json_is_array(bos) ? json_at(bos, 0) : bos, "bos_token_id", where,
                          out->vocabulary_size, &out->bos, err);
    for (size_t i = 0; i < several && !code; i++) {
        uint32_t id;
        code = read_token(json_is_array(eos) ? json_at(eos, i) : eos, "eos_token_id", where,
                          out->vocabulary_size, &id, err);
        if (!code)
            code = config_add_eos(out, id, where, err);
    }
    out->pad = pad >= 0 && (unsigned long long)pad < out->vocabulary_size ? (uint32_t)pad : TOKEN_NONE;
    return code;
}

/* ---- Words, numbers, flags. ---- */

int config_activation(const json *config, const char *key, const char *fallback, const char *where,
                      enum activation *out, struct error *err)
{
    static const struct {
        const char *name;
        enum activation is;
    } known[] = {
        {"gelu_new", ACTIVATION_GELU_TANH},   {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"gelu_fast", ACTIVATION_GELU_TANH},  {"gelu", ACTIVATION_GELU_ERF},
        {"gelu_python", ACTIVATION_GELU_ERF}, {"silu", ACTIVATION_SILU},
        {"swish", ACTIVATION_SILU},
    };
    const char *name = json_get_string(config, key, fallback);
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (!strcmp(known[i].name, name)) {
            *out = known[i].is;
            return STATUS_OK;
        }
    }
    return refuse_word(where, key, name,
                       "is not supported (supported: gelu_new, gelu, silu and their other names)", err);
}

int config_positive(const json *config, const char *key, const char *where, double *out, struct error *err)
{
    const json *value = json_get(config, key);
    *out = 0;
    if (json_is_null(value))
        return STATUS_OK;
    *out = json_number(value, 0);
    if (!(*out > 0) || !isfinite(*out))
        return error_set(err, STATUS_REFUSED, "%s: %s is not above zero", where, key);
    return STATUS_OK;
}

int config_refuse_set(const json *config, const char *const *keys, const char *where, struct error *err)
{
    for (; *keys; keys++) {
        if (json_get_boolean(config, *keys, 0))
            return error_set(err, STATUS_REFUSED, "%s: %s is set, which is not supported", where, *keys);
    }
    return STATUS_OK;
}

/* ---- Rotary positions. ---- */

static int need_positive(const json *config, const char *key, const char *where, double *out,
                         struct error *err)
{
    int code = config_positive(config, key, where, out, err);
    if (!code && *out <= 0)
        code = error_set(err, STATUS_REFUSED, "%s: no %s", where, key);
    return code;
}

static int read_llama3(const json *scaling, const char *where, struct rotary *out, struct error *err)
{
    int code = need_positive(scaling, "low_freq_factor", where, &out->low_frequency_factor, err);
    if (!code)
        code = need_positive(scaling, "high_freq_factor", where, &out->high_frequency_factor, err);
    if (!code)
        code = need_size(scaling, "original_max_position_embeddings", where, 1 << 24, &out->original_context,
                         err);
    if (!code && out->high_frequency_factor <= out->low_frequency_factor)
        code = error_set(err, STATUS_REFUSED, "%s: high_freq_factor is not above low_freq_factor", where);
    return code;
}

static int read_scaling(const json *scaling, const char *where, struct rotary *out, struct error *err)
{
    const char *key = json_is_null(json_get(scaling, "rope_type")) ? "type" : "rope_type";
    const char *type = json_get_string(scaling, key, "default");
    if (!strcmp(type, "default"))
        return STATUS_OK;
    out->scaling = !strcmp(type, "linear") ? ROTARY_LINEAR : ROTARY_LLAMA3;
    if (out->scaling == ROTARY_LLAMA3 && strcmp(type, "llama3") != 0)
        return refuse_word(where, key, type,
                           "of rotary positions is not supported (supported: default, linear, llama3)", err);
    int code = need_positive(scaling, "factor", where, &out->factor, err);
    return code || out->scaling == ROTARY_LINEAR ? code : read_llama3(scaling, where, out, err);
}

int config_rotary(const json *config, const char *where, const char *base_key, struct model_config *out,
                  struct error *err)
{
    const json *parameters = json_get(config, "rope_parameters"), *scaling = json_get(config, "rope_scaling");
    struct rotary *r = &out->rotary;
    r->base = 10000;
    if (json_is_object(parameters)) {
        scaling = parameters;
        base_key = "rope_theta";
    } else {
        parameters = config;
    }
    if (!json_is_null(json_get(parameters, base_key))) {
        int code = config_positive(parameters, base_key, where, &r->base, err);
        if (code)
            return code;
    }
    return json_is_object(scaling) ? read_scaling(scaling, where, r, err) : STATUS_OK;
}

int config_rotary_share(const json *config, const char *key, double fallback, const char *where,
                        struct model_config *out, struct error *err)
{
    const json *parameters = json_get(config, "rope_parameters");
    if (!json_is_null(json_get(parameters, "partial_rotary_factor"))) {
        config = parameters;
        key = "partial_rotary_factor";
    }
    double share = json_get_number(config, key, fallback);
    size_t dims = share > 0 && share <= 1 ? (size_t)((double)out->d_head * share) : 0;
    if (!dims || dims % 2)
        return error_set(err, STATUS_REFUSED, "%s: %s of heads of %zu numbers is not an even number of them",
                         where, key, out->d_head);
    out->rotary.dims = dims;
    return STATUS_OK;
}

/* ---- Local layers. ---- */

static void set_local(struct model_config *c, size_t layer)
{
    c->local[layer / 8] |= (uint8_t)(1u << layer % 8);
}

int config_window(const json *config, const char *key, const char *where, size_t first, size_t step,
                  struct model_config *out, struct error *err)
{
    const json *types = json_get(config, "layer_types");
    int code = optional_size(config, key, where, 1 << 24, 0, &out->window, err);
    if (code || !out->window)
        return code;
    if (json_is_null(types)) {
        for (size_t layer = first; layer < out->layers; layer += step)
            set_local(out, layer);
        return STATUS_OK;
    }
    if (json_length(types) != out->layers)
        return error_set(err, STATUS_REFUSED, "%s: layer_types does not name one for each of %zu layers",
                         where, out->layers);
    for (size_t layer = 0; layer < out->layers; layer++) {
        const char *type = json_string(json_at(types, layer), "");
        if (!strcmp(type, "sliding_attention"))
            set_local(out, layer);
        else if (strcmp(type, "full_attention") != 0)
            return refuse_word(where, "layer_types", type, "is not supported", err);
    }
    return STATUS_OK;
}
