/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAELens' cfg.json. */
#include "config.h"

#include "saescope/formats/saelens.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    struct saelens_config config = {0};
    if (saelens_config_read(&config, fuzz_file(data, n), &err))
        return 0;
    FUZZ_CHECK(config.architecture && config.d_in && config.d_sae);
    saelens_config_free(&config);
    return 0;
}
