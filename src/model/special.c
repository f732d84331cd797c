/* SPDX-License-Identifier: GPL-3.0-or-later */
/* BOS, EOS and padding: which tokens no statistic counts, and which of them a text has. */
#include "config.h"

#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/model/text.h"

int model_is_eos(const struct model_config *config, uint32_t id)
{
    for (size_t i = 0; i < config->n_more_eos; i++)
        if (id == config->more_eos[i])
            return 1;
    return id == config->eos;
}

int model_counts(const struct model_config *config, uint32_t id)
{
    return id != config->bos && id != config->pad && !model_is_eos(config, id);
}

/* ---- What a text has of them. ---- */

static void add(struct uncounted *u, uint32_t id)
{
    if (id != TOKEN_NONE && !uncounted_find(u, id))
        u->tokens[u->n++].id = id;
}

void uncounted_init(struct uncounted *u, const struct model_config *config)
{
    *u = (struct uncounted){.bos = config->bos, .eos = config->eos};
    add(u, config->bos);
    add(u, config->eos);
    add(u, config->pad);
    for (size_t i = 0; i < config->n_more_eos; i++)
        add(u, config->more_eos[i]);
}

const struct uncounted_token *uncounted_find(const struct uncounted *u, uint32_t id)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->tokens[i].id == id)
            return &u->tokens[i];
    return NULL;
}

void uncounted_look(struct uncounted *u, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < u->n; j++)
            u->tokens[j].times += ids[i] == u->tokens[j].id;
}

static void save_one(const struct uncounted *u, json *manifest, const char *key, const char *times_key,
                     uint32_t id)
{
    const struct uncounted_token *token = uncounted_find(u, id);
    json_set(manifest, key, token ? json_new_integer(id) : json_new_null());
    json_set(manifest, times_key, json_new_integer(token ? (long long)token->times : 0));
}

void uncounted_save(const struct uncounted *u, json *manifest)
{
    json *absent = json_new_array();
    for (size_t i = 0; i < u->n; i++)
        if (!u->tokens[i].times)
            json_append(absent, json_new_integer(u->tokens[i].id));
    save_one(u, manifest, "bos", "bos_tokens", u->bos);
    save_one(u, manifest, "eos", "eos_tokens", u->eos);
    json_set(manifest, "absent", absent);
}

static void read_one(struct uncounted *absent, const json *id)
{
    if (json_is_integer(id) && absent->n < MODEL_UNCOUNTED_MAX)
        add(absent, (uint32_t)json_integer(id, 0));
}

void uncounted_read_absent(struct uncounted *absent, const json *manifest)
{
    const json *list = json_get(manifest, "absent");
    *absent = (struct uncounted){.bos = TOKEN_NONE, .eos = TOKEN_NONE};
    for (size_t i = 0; i < json_length(list); i++)
        read_one(absent, json_at(list, i));
    if (json_is_array(list))
        return;
    if (json_get_integer(manifest, "bos_tokens", 1) == 0)
        read_one(absent, json_get(manifest, "bos"));
    if (json_get_integer(manifest, "eos_tokens", 1) == 0)
        read_one(absent, json_get(manifest, "eos"));
}
