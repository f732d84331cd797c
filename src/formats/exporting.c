/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An SAE's tensors, as writers of files ask for them. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/formats/exporting.h"

#define STRIP     32       /* rows of W_enc [d_in, d_sae] gathered in one walk over the latents */
#define F16_LIMIT 65520.0F /* from here on a number becomes infinite in F16 */

static int check_range(const struct exporting *e, const char *name, const float *x, size_t n,
                       struct error *err)
{
    if (e->dtype != DTYPE_F16)
        return STATUS_OK;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) < F16_LIMIT))
            return error_set(err, STATUS_REFUSED, "%s holds %g, which F16 cannot: export as BF16 or F32",
                             name, (double)x[i]);
    return STATUS_OK;
}

static int report(const struct exporting *e, size_t step, struct error *err)
{
    return monitor_go_on(e->monitor, "writing", step, e->sae->d_in + e->sae->d_sae, err);
}

/* The store's map is looked at in a transaction of its own for every strip, so that writers are not held up.
 */
static int fill_strip(struct exporting *e, size_t first, struct error *err)
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
    struct exporting *e = arg;
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
    struct exporting *e = arg;
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
    const struct export_vector *v = arg;
    memcpy(dst, v->values + first, n * sizeof(float));
    return check_range(v->exporting, v->name, dst, n, err);
}

static void add_vector(struct exporting *e, struct safetensors_source *source, const char *name,
                       const float *values, size_t n)
{
    struct export_vector *v = &e->vectors[e->n_vectors++];
    *v = (struct export_vector){e, name, values};
    *source = (struct safetensors_source){name, 1, {n}, read_vector, v};
}

size_t exporting_sources(struct exporting *e, struct safetensors_source sources[EXPORT_TENSORS])
{
    const struct sae *sae = e->sae;
    size_t n = 0;
    e->n_vectors = 0;
    sources[n++] = (struct safetensors_source){"W_dec", 2, {sae->d_sae, sae->d_in}, read_W_dec, e};
    sources[n++] = (struct safetensors_source){"W_enc", 2, {sae->d_in, sae->d_sae}, read_W_enc, e};
    add_vector(e, &sources[n++], "b_dec", sae->b_dec, sae->d_in);
    add_vector(e, &sources[n++], sae->r_mag ? "b_gate" : "b_enc", sae->b_enc ? sae->b_enc : e->zeros,
               sae->d_sae);
    if (sae->threshold)
        add_vector(e, &sources[n++], "threshold", sae->threshold, sae->d_sae);
    if (sae->r_mag) {
        add_vector(e, &sources[n++], "b_mag", sae->b_mag, sae->d_sae);
        add_vector(e, &sources[n++], "r_mag", sae->r_mag, sae->d_sae);
    }
    return n;
}

int exporting_open(struct exporting *e, struct store *s, artifact_id id, enum dtype dtype, struct monitor *m,
                   struct error *err)
{
    struct store_txn *t;
    *e = (struct exporting){.store = s, .monitor = m, .dtype = dtype};
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    status = sae_open(t, id, &e->sae, err);
    if (!status && !(e->manifest = store_manifest(t, id, err)))
        status = STATUS_STORE;
    store_end(t);
    if (status)
        return status;
    e->strip = array_alloc(e->sae->d_sae, STRIP * sizeof(float), "a strip of W_enc", err);
    e->zeros = array_zeroed(e->sae->d_sae, sizeof(float), "biases", err);
    return e->strip && e->zeros ? STATUS_OK : STATUS_FAILED;
}

void exporting_close(struct exporting *e)
{
    json_free(e->manifest);
    sae_free(e->sae);
    free(e->strip);
    free(e->zeros);
}
