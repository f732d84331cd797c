/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A model's config.json, read by the family that it names and by all others; what is taken must come back from a
 * manifest as it was.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/model/family.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    json *config = json_parse_file(fuzz_file(data, n), &err);
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
