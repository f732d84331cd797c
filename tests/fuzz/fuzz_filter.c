/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filter expressions over eight latents, two with labels. */
#include "config.h"

#include <stdlib.h>

#include "saescope/analysis/latent_filter.h"
#include "saescope/base/memory.h"
#include "tests/fuzz/fuzz.h"

enum { LATENTS = 8 };

static struct store *store;
static artifact_id sae;

static void open_labelled(void)
{
    static const struct label labels[] = {
        {.latent = 1, .source = LABEL_USER, .text = "dogs and cats", .n = 13},
        {.latent = 6, .source = LABEL_AUTO, .text = "h\xC3\xA9", .n = 3}};
    struct error err;
    setenv("SAESCOPE_MAPSIZE", "67108864", 1);
    struct store_options options = {.path = fuzz_folder(), .create = 1};
    json *manifest = json_new_object();
    json_set(manifest, "references", json_new_object());
    FUZZ_CHECK(!store_open(&options, &store, &err));
    FUZZ_CHECK(!store_create(store, ARTIFACT_SAE, "sae", 0, &sae, &err));
    FUZZ_CHECK(!store_publish(store, sae, manifest, &err));
    FUZZ_CHECK(!store_put_labels(store, sae, labels, ARRAY_LENGTH(labels), &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint32_t fired[LATENTS] = {0, 1, 2, 3, 100, 5, 6, 7};
    float numbers[LATENTS] = {0, 0.5f, 1, 1e9f, -1, 0, 0, 2};
    uint8_t meta[LATENTS] = {0, 1, 2, 3, 4, 0, 0, 0}, marks[LATENTS];
    struct latent_table table = {.n = LATENTS,
                                 .tokens = 1000,
                                 .fired = fired,
                                 .max = numbers,
                                 .mean = numbers,
                                 .meta_latents = meta,
                                 .meta_ev = numbers};
    if (!store)
        open_labelled();
    table.facts.artifact.id = sae;
    char *expression = xstrndup((const char *)data, n);
    struct store_txn *t;
    struct error err;
    FUZZ_CHECK(!store_begin(store, &t, &err));
    if (!latent_filter_run(&table, t, expression, marks, &err))
        for (size_t i = 0; i < LATENTS; i++)
            FUZZ_CHECK(marks[i] <= 1);
    store_end(t);
    free(expression);
    return 0;
}
