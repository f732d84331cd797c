/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of model families (a new one is a new file and a line here), and the names of their weights. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "saescope/model/families.h"

const struct model_family *const model_families[] = {
    &family_gpt2,  &family_gpt_neo, &family_gpt_neox, &family_llama, &family_mistral,
    &family_gemma, &family_gemma2,  &family_qwen2,    &family_qwen3, NULL,
};

const struct model_family *model_family_find(const char *name)
{
    for (size_t i = 0; model_families[i]; i++) {
        if (!strcmp(model_families[i]->name, name))
            return model_families[i];
    }
    return NULL;
}

int family_has(const struct model_family *family, enum weight_role role)
{
    for (size_t i = 0; i < family->n_entries; i++) {
        if (family->entries[i].role == role)
            return 1;
    }
    return 0;
}

/* ---- Weights. ---- */

static size_t side(const struct model_config *c, enum weight_side side)
{
    switch (side) {
    case D_MODEL:
        return c->d_model;
    case D_HEAD:
        return c->d_head;
    case Q_WIDTH:
        return c->heads * c->d_head;
    case KV_WIDTH:
        return c->kv_heads * c->d_head;
    case QKV_WIDTH:
        return (c->heads + 2 * c->kv_heads) * c->d_head;
    case D_MLP:
        return c->d_mlp;
    case VOCABULARY:
        return c->vocabulary_size;
    case CONTEXT:
        return c->context_length;
    case NO_SIDE:
        break;
    }
    return 0;
}

static struct weight_spec specify(const struct model_family *family, const struct model_config *config,
                                  const struct weight_entry *e, size_t layer)
{
    struct weight_spec out = {
        .role = e->role, .layer = layer, .rows = side(config, e->rows), .columns = side(config, e->columns)};
    if (e->role < GLOBAL_ROLES) {
        snprintf(out.store_name, sizeof out.store_name, "%s", e->store);
        snprintf(out.file_name, sizeof out.file_name, "%s", e->file);
    } else {
        snprintf(out.store_name, sizeof out.store_name, "blocks.%zu.%s", layer, e->store);
        snprintf(out.file_name, sizeof out.file_name, "%s%zu.%s", family->layer_prefix, layer, e->file);
    }
    return out;
}

int family_each_weight(const struct model_family *family, const struct model_config *config,
                       weight_visitor *visit, void *arg, struct error *err)
{
    for (size_t layer = 0; layer <= config->layers; layer++) {
        for (size_t i = 0; i < family->n_entries; i++) {
            const struct weight_entry *e = &family->entries[i];
            /* The model's own in the first round, layer by layer in the others. */
            if ((e->role < GLOBAL_ROLES) != (layer == 0) || (e->needs & config->features) != e->needs)
                continue;
            struct weight_spec spec = specify(family, config, e, layer ? layer - 1 : 0);
            int code = visit(&spec, arg, err);
            if (code)
                return code;
        }
    }
    return STATUS_OK;
}

struct weight_spec family_unembed(const struct model_config *config)
{
    return (struct weight_spec){.role = ROLE_UNEMBED,
                                .store_name = "unembed.W_U",
                                .rows = config->vocabulary_size,
                                .columns = config->d_model};
}

void family_layer_beyond(const struct model_family *family, const struct model_config *config, char *name,
                         size_t size)
{
    size_t i = 0;
    while (family->entries[i].role < GLOBAL_ROLES)
        i++;
    snprintf(name, size, "%s%zu.%s", family->layer_prefix, config->layers, family->entries[i].file);
}
