/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model's config.json, read by the family that it names and by all others; what is taken must come back
 * from a manifest as it was. And the files beside it that name special tokens.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/model/family.h"
#include "saescope/model/tokenizer_internal.h"
#include "tests/fuzz/fuzz.h"

static int look(const struct weight_spec *spec, void *arg, struct error *err)
{
    size_t *left = arg;
    (void)err;
    if (!spec->rows || !*spec->store_name || !*spec->file_name)
        abort();
    return --*left == 0;
}

static void check_taken(const struct model_family *family, struct model_config *config, struct error *err)
{
    struct model_config back;
    size_t left = 1000;
    strcpy(config->family, family->name);
    family_each_weight(family, config, look, &left, err);
    json *manifest = json_new_object();
    model_config_save(config, manifest);
    if (model_config_read(manifest, "manifest", &back, err) || back.layers != config->layers ||
        back.features != config->features || back.window != config->window ||
        back.activation != config->activation || back.eos != config->eos || back.pad != config->pad ||
        back.n_more_eos != config->n_more_eos ||
        memcmp(back.more_eos, config->more_eos, sizeof back.more_eos) != 0 || memcmp(back.local, config->local, sizeof back.local) != 0)
        abort();
    json_free(manifest);
}

static int is_token(const struct tokenizer *tok, uint32_t id)
{
    return id == TOKEN_NONE || id < tokenizer_size(tok);
}

/* The input as all of the files beside a good tokenizer.json. */
static void read_special_tokens(void)
{
    struct tokenizer *tok = NULL;
    struct model_config config;
    struct error err;
    fuzz_test_data("tokenizer.json", "tokenizer-kinds/llama3.json");
    fuzz_link("config.json");
    fuzz_link("tokenizer_config.json");
    fuzz_link("generation_config.json");
    if (tokenizer_read_folder(fuzz_folder(), &tok, &err))
        return;
    model_config_start(&config);
    config.vocabulary_size = tokenizer_size(tok);
    if (!import_special_tokens(fuzz_folder(), tok, &config, &err)) {
        FUZZ_CHECK(is_token(tok, config.pad) && config.n_more_eos <= MODEL_MORE_EOS_MAX);
        for (size_t i = 0; i < config.n_more_eos; i++)
            FUZZ_CHECK(is_token(tok, config.more_eos[i]));
    }
    tokenizer_free(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    json *config = json_parse_file(fuzz_file(data, n), &err);
    if (config)
        read_special_tokens();
    for (size_t i = 0; config && model_families[i]; i++) {
        struct model_config out;
        model_config_start(&out);
        if (!model_families[i]->read_config(config, "config.json", &out, &err) &&
            !model_config_check(&out, "config.json", &err))
            check_taken(model_families[i], &out, &err);
    }
    json_free(config);
    return 0;
}
