/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Export to SAELens folders. */
#include "config.h"

#include <stdlib.h>

#include "saescope/base/fileio.h"
#include "saescope/formats/exporting.h"
#include "saescope/formats/saelens.h"

static int write_config(struct exporting *e, const char *directory, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    json *config = saelens_config_write(t, e->sae, e->dtype, err);
    store_end(t);
    if (!config)
        return STATUS_STORE;
    struct strbuf text = STRBUF_INIT;
    char *path = path_join(directory, SAELENS_CONFIG);
    json_dump_pretty(config, &text);
    strbuf_addc(&text, '\n');
    status = file_write_atomic(path, strbuf_string(&text), text.length, err);
    strbuf_free(&text);
    free(path);
    json_free(config);
    return status;
}

int saelens_export(struct store *s, artifact_id sae, const char *directory, enum dtype dtype,
                   struct monitor *m, struct error *err)
{
    struct exporting e;
    struct safetensors_source sources[EXPORT_TENSORS];
    char *path = path_join(directory, SAELENS_WEIGHTS);
    int status = exporting_open(&e, s, sae, dtype, m, err);
    if (!status)
        status = make_directories(directory, 0777, err);
    if (!status)
        status = safetensors_write(path, sources, exporting_sources(&e, sources), dtype, NULL, err);
    if (!status)
        status = write_config(&e, directory, err);
    exporting_close(&e);
    free(path);
    return status;
}
