/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model's configuration in its manifest: one table for writing and reading. Members that a manifest lacks
 * (an older version wrote it) have what holds for GPT-2.
 */
#include "config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/model/family.h"

enum member_type { SIZE, OPTIONAL_SIZE, REAL, TOKEN, FLAG };

struct member {
    const char *key;
    enum member_type type;
    size_t offset;
};

#define AT(field)     offsetof(struct model_config, field)
#define SIZE_MAX_READ ((size_t)1 << 24)

static const struct member members[] = {
    {"layers", SIZE, AT(layers)},
    {"d_model", SIZE, AT(d_model)},
    {"heads", SIZE, AT(heads)},
    {"kv_heads", OPTIONAL_SIZE, AT(kv_heads)},
    {"d_head", OPTIONAL_SIZE, AT(d_head)},
    {"d_mlp", SIZE, AT(d_mlp)},
    {"vocabulary_size", SIZE, AT(vocabulary_size)},
    {"context_length", SIZE, AT(context_length)},
    {"norm_epsilon", REAL, AT(norm_epsilon)},
    {"layer_norm", FLAG, AT(layer_norm)},
    {"attention_scale", REAL, AT(attention_scale)},
    {"attention_cap", REAL, AT(attention_cap)},
    {"logit_cap", REAL, AT(logit_cap)},
    {"embed_scale", REAL, AT(embed_scale)},
    {"rotary_dims", OPTIONAL_SIZE, AT(rotary.dims)},
    {"rotary_base", REAL, AT(rotary.base)},
    {"rotary_factor", REAL, AT(rotary.factor)},
    {"rotary_low_frequency_factor", REAL, AT(rotary.low_frequency_factor)},
    {"rotary_high_frequency_factor", REAL, AT(rotary.high_frequency_factor)},
    {"rotary_original_context", OPTIONAL_SIZE, AT(rotary.original_context)},
    {"window", OPTIONAL_SIZE, AT(window)},
    {"bos", TOKEN, AT(bos)},
    {"eos", TOKEN, AT(eos)},
    {"pad", TOKEN, AT(pad)},
    {"prepend_bos", FLAG, AT(prepend_bos)},
};

static const char *const activation_names[] = {
    [ACTIVATION_GELU_TANH] = "gelu_tanh",
    [ACTIVATION_GELU_ERF] = "gelu_erf",
    [ACTIVATION_SILU] = "silu",
    [ACTIVATIONS] = NULL,
};
static const char *const scaling_names[] = {[ROTARY_PLAIN] = "none",
                                            [ROTARY_LINEAR] = "linear",
                                            [ROTARY_LLAMA3] = "llama3",
                                            [ROTARY_SCALINGS] = NULL};

static const struct {
    const char *key;
    unsigned feature;
} features[] = {
    {"parallel", MODEL_PARALLEL}, {"qkv_bias", MODEL_QKV_BIAS}, {"output_bias", MODEL_OUTPUT_BIAS},
    {"mlp_bias", MODEL_MLP_BIAS}, {"qk_norm", MODEL_QK_NORM},
};

int model_layer_is_local(const struct model_config *config, size_t layer)
{
    return config->window && layer < config->layers && config->local[layer / 8] >> layer % 8 & 1;
}

void model_config_start(struct model_config *config)
{
    memset(config, 0, sizeof *config);
    config->norm_epsilon = 1e-5;
    config->embed_scale = 1;
    config->rotary.base = 10000;
    config->bos = config->eos = config->pad = TOKEN_NONE;
    config->prepend_bos = 1;
}

/* ---- Writing. ---- */

static json *member_json(const struct model_config *config, const struct member *m)
{
    const char *at = (const char *)config + m->offset;
    switch (m->type) {
    case SIZE:
    case OPTIONAL_SIZE:
        return json_new_integer((long long)*(const size_t *)(const void *)at);
    case REAL:
        return json_new_real(*(const double *)(const void *)at);
    case FLAG:
        return json_new_boolean(*(const int *)(const void *)at);
    case TOKEN:
        break;
    }
    uint32_t id = *(const uint32_t *)(const void *)at;
    return id == TOKEN_NONE ? json_new_null() : json_new_integer(id);
}

void model_config_save(const struct model_config *config, json *manifest)
{
    json *local = json_new_array(), *more_eos = json_new_array();
    json_set(manifest, "family", json_new_string(config->family));
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++)
        json_set(manifest, members[i].key, member_json(config, &members[i]));
    for (size_t i = 0; i < config->n_more_eos; i++)
        json_append(more_eos, json_new_integer(config->more_eos[i]));
    json_set(manifest, "more_eos", more_eos);
    json_set(manifest, "activation", json_new_string(activation_names[config->activation]));
    json_set(manifest, "rotary_scaling", json_new_string(scaling_names[config->rotary.scaling]));
    for (size_t i = 0; i < ARRAY_LENGTH(features); i++)
        json_set(manifest, features[i].key, json_new_boolean((config->features & features[i].feature) != 0));
    for (size_t layer = 0; layer < config->layers; layer++) {
        if (model_layer_is_local(config, layer))
            json_append(local, json_new_integer((long long)layer));
    }
    json_set(manifest, "local_layers", local);
    json_set(manifest, "tied", json_new_boolean(!(config->features & MODEL_UNTIED)));
}

/* ---- Reading. ---- */

static int read_member(const json *manifest, const char *where, const struct member *m,
                       struct model_config *out, struct error *err)
{
    char *at = (char *)out + m->offset;
    if (m->type == SIZE)
        return json_need_size(manifest, m->key, where, SIZE_MAX_READ, (size_t *)(void *)at, err);
    const json *value = json_get(manifest, m->key);
    if (json_is_null(value))
        return STATUS_OK;
    long long number = json_integer(value, -1);
    if (m->type == OPTIONAL_SIZE)
        *(size_t *)(void *)at = number < 0 || number > (long long)SIZE_MAX_READ ? 0 : (size_t)number;
    else if (m->type == REAL)
        *(double *)(void *)at = json_number(value, 0);
    else if (m->type == FLAG)
        *(int *)(void *)at = json_boolean(value, 0);
    else
        *(uint32_t *)(void *)at = number < 0 || number >= TOKEN_NONE ? TOKEN_NONE : (uint32_t)number;
    return STATUS_OK;
}

/* Its place among the names; -1 when it has none. */
static int find_name(const char *name, const char *const *names)
{
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], name))
            return i;
    }
    return -1;
}

static int refuse_manifest(const char *where, struct error *err)
{
    return error_set(err, STATUS_REFUSED, "model %s: made by another version of this program", where);
}

int model_config_read(const json *manifest, const char *where, struct model_config *out, struct error *err)
{
    const char *family;
    model_config_start(out);
    out->layer_norm = 1;
    int code = json_need_string(manifest, "family", where, &family, err);
    for (size_t i = 0; i < ARRAY_LENGTH(members) && !code; i++)
        code = read_member(manifest, where, &members[i], out, err);
    if (code)
        return code;
    int activation = find_name(json_get_string(manifest, "activation", "gelu_tanh"), activation_names);
    int scaling = find_name(json_get_string(manifest, "rotary_scaling", "none"), scaling_names);
    if (strlen(family) >= sizeof out->family || activation < 0 || scaling < 0 || !model_family_find(family))
        return refuse_manifest(where, err);
    strcpy(out->family, family);
    out->activation = (enum activation)activation;
    out->rotary.scaling = (enum rotary_scaling)scaling;
    if (!out->kv_heads)
        out->kv_heads = out->heads;
    if (!out->d_head && out->heads)
        out->d_head = out->d_model / out->heads;
    if (out->attention_scale <= 0)
        out->attention_scale = 1 / sqrt((double)out->d_head);
    for (size_t i = 0; i < ARRAY_LENGTH(features); i++)
        out->features |= json_get_boolean(manifest, features[i].key, 0) ? features[i].feature : 0;
    if (!json_get_boolean(manifest, "tied", 1))
        out->features |= MODEL_UNTIED;
    const json *local = json_get(manifest, "local_layers"), *more_eos = json_get(manifest, "more_eos");
    for (size_t i = 0; i < json_length(more_eos); i++) {
        long long id = json_integer(json_at(more_eos, i), -1);
        if (id < 0 || id >= TOKEN_UNKNOWN || config_add_eos(out, (uint32_t)id, where, NULL))
            return refuse_manifest(where, err);
    }
    for (size_t i = 0; i < json_length(local); i++) {
        long long layer = json_integer(json_at(local, i), -1);
        if (layer < 0 || layer >= MODEL_LAYERS_MAX)
            return refuse_manifest(where, err);
        out->local[layer / 8] |= (uint8_t)(1u << layer % 8);
    }
    return model_config_check(out, where, err);
}

int model_config_check(const struct model_config *c, const char *where, struct error *err)
{
    const struct {
        const char *name;
        size_t value, max;
    } sizes[] = {
        {"layers", c->layers, MODEL_LAYERS_MAX},
        {"d_model", c->d_model, 1 << 20},
        {"heads", c->heads, 1 << 20},
        {"kv_heads", c->kv_heads, c->heads},
        {"d_head", c->d_head, 1 << 20},
        {"d_mlp", c->d_mlp, 1 << 24},
        {"vocabulary", c->vocabulary_size, 1 << 24},
        {"context_length", c->context_length, 1 << 24},
        {"heads times d_head", c->heads * c->d_head, 1 << 20},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        if (!sizes[i].value || sizes[i].value > sizes[i].max)
            return error_set(err, STATUS_REFUSED, "%s: %s is %zu, not from 1 to %zu", where, sizes[i].name,
                             sizes[i].value, sizes[i].max);
    }
    if (c->heads % c->kv_heads || c->rotary.dims > c->d_head || c->rotary.dims % 2)
        return error_set(
            err, STATUS_REFUSED,
            "%s: heads of queries (%zu), of keys (%zu) and rotary numbers (%zu of %zu) do not fit", where,
            c->heads, c->kv_heads, c->rotary.dims, c->d_head);
    const double *positive[] = {&c->norm_epsilon, &c->attention_scale, &c->embed_scale, &c->rotary.base};
    for (size_t i = 0; i < ARRAY_LENGTH(positive); i++) {
        if (!(*positive[i] > 0) || !isfinite(*positive[i]))
            return error_set(err, STATUS_REFUSED, "%s: a number that must be above zero is not", where);
    }
    return STATUS_OK;
}

double model_multiply_adds(const struct model_config *config, size_t layers, size_t length)
{
    double d = (double)config->d_model, q = (double)(config->heads * config->d_head);
    double kv = (double)(config->kv_heads * config->d_head), mlp = (double)config->d_mlp;
    int gated = family_has(model_family_find(config->family), ROLE_W_GATE);
    return (2 * d * q + 2 * d * kv + (gated ? 3 : 2) * d * mlp + 2 * q * (double)length) * (double)layers;
}
