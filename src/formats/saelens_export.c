/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Export to SAELens folders: W_enc turned back to [d_in, d_sae] strip by strip, W_dec as it is. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "saescope/formats/saelens.h"

#define STRIP     32       /* rows of W_enc [d_in, d_sae] gathered in one walk over the latents */
#define F16_LIMIT 65520.0F /* from here on a number becomes infinite in F16 */

struct export
{
    struct store *store;
    struct monitor *monitor;
    struct sae *sae;
    enum dtype dtype;
    float *strip; /* [STRIP, d_sae] */
    size_t strip_first, strip_n;
    const float *zeros; /* [d_sae] */
};

struct vector {
    struct export *export;
    const char *name;
    const float *values;
};

static int check_range(const struct export *e, const char *name, const float *x, size_t n, struct error *err)
{
    if (e->dtype != DTYPE_F16)
        return STATUS_OK;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) < F16_LIMIT))
            return error_set(err, STATUS_REFUSED, "%s holds %g, which F16 cannot: export as BF16 or F32",
                             name, (double)x[i]);
    return STATUS_OK;
}

static int report(const struct export *e, size_t step, struct error *err)
{
    return monitor_go_on(e->monitor, "writing", step, e->sae->d_in + e->sae->d_sae, err);
}

/* The store's map is looked at in a transaction of its own for every strip, so that writers are not held up.
 */
static int fill_strip(struct export *e, size_t first, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    size_t d = e->sae->d_in, f = e->sae->d_sae;
    size_t n = d - first < STRIP ? d - first : STRIP;
    status = sae_attach(e->sae, t, err);
    for (size_t b = 0; !status && b < e->sae->n_blocks; b++) {
        const struct sae_block *block = &e->sae->blocks[b];
        for (size_t j = 0; j < block->n; j++)
            for (size_t i = 0; i < n; i++)
                e->strip[i * f + block->first + j] = block->W_enc[j * d + first + i];
    }
    store_end(t);
    e->strip_first = first;
    e->strip_n = status ? 0 : n;
    return status ? status : check_range(e, "W_enc", e->strip, n * f, err);
}

static int read_W_enc(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    struct export *e = arg;
    size_t f = e->sae->d_sae;
    for (size_t row = first; row < first + n; row++) {
        if (row < e->strip_first || row >= e->strip_first + e->strip_n) {
            int status = report(e, row, err);
            if (status || (status = fill_strip(e, row, err)))
                return status;
        }
        memcpy(dst + (row - first) * f, e->strip + (row - e->strip_first) * f, f * sizeof(float));
    }
    return STATUS_OK;
}

static int read_W_dec(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    struct export *e = arg;
    size_t d = e->sae->d_in;
    int status = report(e, d + first, err);
    struct store_txn *t = NULL;
    if (!status)
        status = store_begin(e->store, &t, err);
    if (!status)
        status = sae_attach(e->sae, t, err);
    for (size_t j = 0; !status && j < n; j++)
        memcpy(dst + j * d, sae_decoder_row(e->sae, first + j), d * sizeof(float));
    store_end(t);
    return status ? status : check_range(e, "W_dec", dst, n * d, err);
}

static int read_vector(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    const struct vector *v = arg;
    memcpy(dst, v->values + first, n * sizeof(float));
    return check_range(v->export, v->name, dst, n, err);
}

static int write_weights(struct export *e, const char *path, struct error *err)
{
    const struct sae *sae = e->sae;
    struct vector b_dec = {e, "b_dec", sae->b_dec};
    struct vector b_enc = {e, "b_enc", sae->b_enc ? sae->b_enc : e->zeros};
    struct vector threshold = {e, "threshold", sae->threshold};
    struct safetensors_source sources[] = {
        {"W_dec", 2, {sae->d_sae, sae->d_in}, read_W_dec, e},
        {"W_enc", 2, {sae->d_in, sae->d_sae}, read_W_enc, e},
        {"b_dec", 1, {sae->d_in}, read_vector, &b_dec},
        {"b_enc", 1, {sae->d_sae}, read_vector, &b_enc},
        {"threshold", 1, {sae->d_sae}, read_vector, &threshold},
    };
    return safetensors_write(path, sources, sae->threshold ? 5 : 4, e->dtype, NULL, err);
}

static int open_sae(struct export *e, artifact_id id, json **config, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(e->store, &t, err);
    if (status)
        return status;
    status = sae_open(t, id, &e->sae, err);
    if (!status) {
        *config = saelens_config_write(t, e->sae, e->dtype, err);
        status = *config ? STATUS_OK : STATUS_STORE;
    }
    store_end(t);
    return status;
}

int saelens_export(struct store *s, artifact_id sae, const char *directory, enum dtype dtype,
                   struct monitor *m, struct error *err)
{
    struct export e = {.store = s, .monitor = m, .dtype = dtype};
    json *config = NULL;
    float *zeros = NULL;
    char *weights_path = path_join(directory, SAELENS_WEIGHTS);
    char *config_path = path_join(directory, SAELENS_CONFIG);
    int status = open_sae(&e, sae, &config, err);
    if (!status) {
        e.strip = array_alloc(e.sae->d_sae, STRIP * sizeof(float), "a strip of W_enc", err);
        e.zeros = zeros = array_zeroed(e.sae->d_sae, sizeof(float), "biases", err);
        status = e.strip && zeros ? make_directories(directory, 0777, err) : STATUS_FAILED;
    }
    if (!status)
        status = write_weights(&e, weights_path, err);
    if (!status) {
        struct strbuf text = STRBUF_INIT;
        json_dump_pretty(config, &text);
        strbuf_addc(&text, '\n');
        status = file_write_atomic(config_path, strbuf_string(&text), text.length, err);
        strbuf_free(&text);
    }
    json_free(config);
    sae_free(e.sae);
    free(e.strip);
    free(zeros);
    free(weights_path);
    free(config_path);
    return status;
}
