/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The demo's SAEs. */
#include "config.h"

#include <stdlib.h>

#include "saescope/formats/formats.h"
#include "support.h"

artifact_id import_demo_sae(struct store *s, artifact_id model, const char *name)
{
    struct error err = {0};
    char *folder = shipped_file(name);
    struct sae_import o = {.path = folder, .name = name, .model = model};
    artifact_id id = find_artifact(s, ARTIFACT_SAE, name);
    if (!id)
        assert_ok(sae_import_path(s, &o, NULL, &id, &err));
    free(folder);
    return id;
}
