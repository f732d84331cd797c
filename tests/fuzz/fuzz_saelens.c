/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAELens' cfg.json and activation_scaler.json, beside good weights of each kind. */
#include "config.h"

#include <stdio.h>

#include "saescope/base/memory.h"
#include "saescope/formats/producers.h"
#include "saescope/formats/saelens.h"
#include "tests/fuzz/fuzz.h"

/* In tests/data. */
static const char *const folders[] = {"saelens/oldest-scaled", "saelens/jumprelu", "saelens/square",
                                      "formats/saelens-gated", "formats/saelens-batchtopk"};

static void read_beside(const char *name)
{
    char weights[128], scaler[128];
    snprintf(weights, sizeof weights, "%s/" SAELENS_WEIGHTS, name);
    snprintf(scaler, sizeof scaler, "%s/activation_scaler.json", name);
    fuzz_link(scaler);
    fuzz_read_sae(&saelens_format, fuzz_sae_folder(name, SAELENS_CONFIG, SAELENS_WEIGHTS, weights));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    struct saelens_config config = {0};
    if (saelens_config_read(&config, fuzz_file(data, n), &err))
        return 0;
    FUZZ_CHECK(config.architecture && config.d_in && config.d_sae);
    saelens_config_free(&config);
    for (size_t i = 0; i < ARRAY_LENGTH(folders); i++)
        read_beside(folders[i]);
    return 0;
}
