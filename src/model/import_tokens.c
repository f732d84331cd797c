/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which tokens a model's files call BOS, EOS and padding beside config.json. EOS are all at which generation
 * ends (transformers' generation_config.json), and the tokenizer's own, which SAELens takes for EOS.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/model/family.h"

/* An empty object when there is no such file; NULL with an error when it cannot be read. */
static json *read_optional(const char *directory, const char *name, struct error *err)
{
    char *path = path_join(directory, name);
    json *out = path_exists(path) ? json_parse_file(path, err) : json_new_object();
    free(path);
    return out;
}

/* The token that such a text is, by itself; TOKEN_NONE when there is none. */
static int named_token(const struct tokenizer *tokenizer, const json *names, const char *key, uint32_t *id,
                       struct error *err)
{
    const json *name = json_get(names, key);
    const char *text = json_is_object(name) ? json_get_string(name, "content", "") : json_string(name, "");
    struct token_list list = {0};
    struct encoder *e = encoder_new(tokenizer);
    int code = *text ? encoder_encode(e, text, strlen(text), 1, &list, err) : STATUS_OK;
    *id = !code && list.n == 1 ? list.ids[0] : TOKEN_NONE;
    encoder_free(e);
    token_list_free(&list);
    return code;
}

/* generation_config.json: an id, or a list of them. Those that no token has are somebody's slip. */
static int add_generation(const json *generation, const char *where, struct model_config *config,
                          struct error *err)
{
    const json *eos = json_get(generation, "eos_token_id");
    size_t several = json_is_array(eos) ? json_length(eos) : 1;
    int code = STATUS_OK;
    for (size_t i = 0; i < several && !code; i++) {
        long long id = json_integer(json_is_array(eos) ? json_at(eos, i) : eos, -1);
        if (id >= 0 && (unsigned long long)id < config->vocabulary_size)
            code = config_add_eos(config, (uint32_t)id, where, err);
    }
    return code;
}

static int add_named(const json *names, const struct tokenizer *tokenizer, const char *where,
                     struct model_config *config, struct error *err)
{
    uint32_t eos, pad;
    int code = named_token(tokenizer, names, "eos_token", &eos, err);
    if (!code)
        code = named_token(tokenizer, names, "pad_token", &pad, err);
    if (code)
        return code;
    if (config->bos == TOKEN_NONE)
        config->bos = tokenizer_bos(tokenizer);
    if (config->eos == TOKEN_NONE)
        config->eos = tokenizer_eos(tokenizer);
    if (pad != TOKEN_NONE)
        config->pad = pad;
    /* config.json's number may be a default that means a letter. */
    if (config->pad != TOKEN_NONE &&
        (config->pad >= tokenizer_size(tokenizer) || !tokenizer_is_special(tokenizer, config->pad)))
        config->pad = TOKEN_NONE;
    return config_add_eos(config, eos, where, err);
}

int import_special_tokens(const char *directory, const struct tokenizer *tokenizer,
                          struct model_config *config, struct error *err)
{
    json *generation = read_optional(directory, "generation_config.json", err), *names = NULL;
    int code = generation && (names = read_optional(directory, "tokenizer_config.json", err))
                   ? STATUS_OK
                   : STATUS_REFUSED;
    if (!code)
        code = add_generation(generation, directory, config, err);
    if (!code)
        code = add_named(names, tokenizer, directory, config, err);
    json_free(generation);
    json_free(names);
    return code;
}
