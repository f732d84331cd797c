/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A model's config.json, read by the family that it names and by all others. */
#include "config.h"

#include "saescope/model/family.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    json *config = json_parse_file(fuzz_file(data, n), &err);
    for (size_t i = 0; config && model_families[i]; i++) {
        struct model_config out = {0};
        struct weight_spec spec;
        if (model_families[i]->read_config(config, "config.json", &out, &err))
            continue;
        size_t weights = model_families[i]->n_weights(&out);
        for (size_t j = 0; j < weights && j < 1000; j++)
            model_families[i]->weight(&out, j, &spec);
    }
    json_free(config);
    return 0;
}
