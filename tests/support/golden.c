/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Imported SAEs against golden values. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/memory.h"
#include "saescope/files/safetensors.h"
#include "golden.h"

struct store *golden_store;
static struct safetensors golden;

int set_up_golden(void **state, const char *expected)
{
    struct error err = {0};
    set_up_directory(state);
    blas_start();
    golden_store = open_store("store");
    if (expected) {
        char *path = data_path(expected);
        assert_ok(safetensors_open(&golden, path, &err));
        free(path);
    }
    return 0;
}

int tear_down_golden(void **state)
{
    if (golden.n_tensors)
        safetensors_close(&golden);
    store_close(golden_store);
    return tear_down_directory(state);
}

static float *golden_values(const char *name, const char *what, size_t *rows, size_t *columns)
{
    struct error err = {0};
    const struct tensor *x;
    char *full = what ? xasprintf("%s.%s", name, what) : xstrdup(name);
    assert_ok(safetensors_need(&golden, full, &x, &err));
    *rows = x->shape[0];
    *columns = x->shape[1];
    float *values = xreallocarray(NULL, *rows * *columns, sizeof(float));
    floats_from(x->dtype, x->data, values, *rows * *columns);
    free(full);
    return values;
}

static void check_close(const float *got, const float *wanted, size_t n, float tolerance, const char *name,
                        const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - wanted[i]) <= tolerance * (1 + fabsf(wanted[i]))))
            fail_msg("%s, %s [%zu]: %g instead of %g", name, what, i, (double)got[i], (double)wanted[i]);
}

void check_golden(const char *name, artifact_id id, float tolerance)
{
    struct error err = {0};
    struct sae *sae;
    struct sparse_rows f = {0};
    size_t n, d, rows, d_sae, d_out;
    float *x = golden_values("x", NULL, &n, &d), *acts = golden_values(name, "acts", &rows, &d_sae),
          *out = golden_values(name, "out", &rows, &d_out);
    struct store_txn *t = begin_reading(golden_store);
    assert_ok(sae_open(t, id, &sae, &err));
    assert_int_equal(sae->d_in, d);
    assert_int_equal(sae->d_sae, d_sae);
    assert_ok(sae_encode(sae, x, n, &f, &err));
    float *dense = xcalloc(n * d_sae, sizeof(float)), *x_hat = xcalloc(n * d, sizeof(float));
    for (size_t r = 0; r < n; r++)
        for (size_t p = f.offsets[r]; p < f.offsets[r + 1]; p++)
            dense[r * d_sae + f.latents[p]] = f.values[p];
    check_close(dense, acts, n * d_sae, tolerance, name, "activations");
    assert_ok(sae_decode(sae, &f, x, x_hat, &err));
    check_close(x_hat, out, n * d, tolerance, name, "reconstruction");
    sae_free(sae);
    store_end(t);
    sparse_rows_free(&f);
    free(dense);
    free(x_hat);
    free(x);
    free(acts);
    free(out);
}

artifact_id import_sae(const struct sae_import *o)
{
    struct error err = {0};
    artifact_id id = 0;
    if (sae_import_path(golden_store, o, NULL, &id, &err))
        fail_msg("%s: %s", o->path, err.message);
    return id;
}

void refuse_sae(const struct sae_import *o, const char *says)
{
    struct error err = {0};
    artifact_id id = 0;
    int status = sae_import_path(golden_store, o, NULL, &id, &err);
    if (status != STATUS_REFUSED || !strstr(err.message, says))
        fail_msg("status %d, \"%s\" does not say \"%s\"", status, err.message, says);
    assert_int_equal(find_artifact(golden_store, ARTIFACT_SAE, o->name), 0);
}
