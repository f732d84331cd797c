/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAEs for fuzz targets. */
#include "config.h"

#include <stdio.h>

#include "saescope/formats/importing.h"
#include "tests/fuzz/fuzz.h"

const char *fuzz_sae_folder(const char *name, const char *config, const char *weights, const char *from)
{
    static char folder[4200];
    char inside[256];
    snprintf(inside, sizeof inside, "%s/%s", name, weights);
    fuzz_test_data(inside, from);
    snprintf(inside, sizeof inside, "%s/%s", name, config);
    fuzz_link(inside);
    snprintf(folder, sizeof folder, "%s/%s", fuzz_folder(), name);
    return folder;
}

void fuzz_read_sae(const struct sae_format *format, const char *path)
{
    const struct sae_import o = {.path = path, .hook = "blocks.0.hook_resid_pre"};
    struct importing im;
    struct error err = {0};
    importing_init(&im, &o, NULL, fuzz_folder());
    if (!format->read(&im, &err)) {
        const struct sae *sae = &im.sae;
        FUZZ_CHECK(sae->architecture && sae->d_in && sae->d_sae && sae->k <= sae->d_sae && sae->b_dec);
        FUZZ_CHECK(!sae->architecture->has_threshold || sae->threshold);
        FUZZ_CHECK(!sae->architecture->has_magnitudes || (sae->r_mag && sae->b_mag));
        FUZZ_CHECK(!sae->architecture->per_token_k || sae->k);
        FUZZ_CHECK(im.W_enc.rows.tensor.shape[0] == sae->d_sae && im.W_dec.rows.tensor.shape[1] == sae->d_in);
    }
    importing_free(&im);
}
