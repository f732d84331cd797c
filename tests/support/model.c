/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The demo model, and texts for it. */
#include "config.h"

#include <stdlib.h>

#include "saescope/model/text.h"
#include "support.h"

artifact_id import_demo_model(struct store *s, const char *name)
{
    struct error err = {0};
    char *folder = shipped_file("wordnet-lm");
    struct model_import import = {.directory = folder, .name = name};
    artifact_id id;
    assert_ok(model_import_folder(s, &import, NULL, &id, &err));
    free(folder);
    return id;
}

artifact_id import_test_text(struct store *s, const char *path)
{
    struct error err = {0};
    struct text_import import = {.path = path, .name = "text", .model = "lm"};
    artifact_id id;
    assert_ok(text_import(s, &import, NULL, &id, &err));
    return id;
}

struct model_config model_config_of(struct store *s, artifact_id model)
{
    struct error err;
    struct store_txn *t = begin_reading(s);
    struct model *m;
    assert_ok(model_open(t, model, &m, &err));
    struct model_config config = *model_get_config(m);
    model_free(m);
    store_end(t);
    return config;
}
