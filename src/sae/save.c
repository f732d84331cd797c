/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Publishing an SAE in the store. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/monitor.h"
#include "saescope/base/tensor.h"
#include "saescope/sae/sae.h"

static int check_finite(const char *name, const float *x, size_t n, size_t first_row, size_t columns,
                        struct error *err)
{
    size_t bad = first_not_finite(x, n);
    if (bad == n)
        return STATUS_OK;
    return error_set(err, STATUS_REFUSED, "%s has a value that is not finite (row %zu, column %zu)", name,
                     first_row + bad / columns, bad % columns);
}

static int check_vectors(const struct sae *sae, struct error *err)
{
    int status = check_finite("b_dec", sae->b_dec, sae->d_in, 0, sae->d_in, err);
    if (!status && sae->b_enc)
        status = check_finite("b_enc", sae->b_enc, sae->d_sae, 0, sae->d_sae, err);
    if (!status && sae->threshold)
        status = check_finite("threshold", sae->threshold, sae->d_sae, 0, sae->d_sae, err);
    if (!status && sae->r_mag)
        status = check_finite("r_mag", sae->r_mag, sae->d_sae, 0, sae->d_sae, err);
    if (!status && sae->b_mag)
        status = check_finite("b_mag", sae->b_mag, sae->d_sae, 0, sae->d_sae, err);
    return status;
}

/* All is looked at before anything is written. */
static int check_weights(const struct sae *sae, struct error *err)
{
    int status = check_vectors(sae, err);
    for (size_t i = 0; i < sae->n_blocks && !status; i++) {
        const struct sae_block *b = &sae->blocks[i];
        status = check_finite("W_enc", b->W_enc, b->n * sae->d_in, b->first, sae->d_in, err);
        if (!status)
            status = check_finite("W_dec", b->W_dec, b->n * sae->d_in, b->first, sae->d_in, err);
    }
    return status;
}

static int put_vector(struct store *s, artifact_id id, const char *name, const float *x, size_t n,
                      struct error *err)
{
    const struct tensor tensor = {.dtype = DTYPE_F32, .ndim = 1, .shape = {n}, .data = x};
    return store_tensor_put(s, id, name, &tensor, err);
}

static int put_matrix(struct store *s, artifact_id id, const struct sae *sae, int decoder, struct error *err)
{
    const size_t shape[2] = {sae->d_sae, sae->d_in};
    struct tensor_writer *w;
    int status = store_tensor_begin(s, id, decoder ? "W_dec" : "W_enc", DTYPE_F32, 2, shape, &w, err);
    if (status)
        return status;
    for (size_t i = 0; i < sae->n_blocks; i++) {
        const struct sae_block *b = &sae->blocks[i];
        status = store_tensor_append(w, decoder ? b->W_dec : b->W_enc, b->n, err);
        if (status) {
            store_tensor_abandon(w);
            return status;
        }
    }
    return store_tensor_finish(w, err);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A number when all are equal, else their smallest, median and largest; null when there are none. */
static json *threshold_summary(const struct sae *sae)
{
    if (!sae->threshold)
        return json_new_null();
    size_t n = sae->d_sae;
    float *sorted = xreallocarray(NULL, n, sizeof *sorted);
    memcpy(sorted, sae->threshold, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_floats);
    json *summary;
    if (sorted[0] < sorted[n - 1]) {
        summary = json_new_object();
        json_set(summary, "min", json_new_real(sorted[0]));
        json_set(summary, "median", json_new_real(((double)sorted[(n - 1) / 2] + sorted[n / 2]) / 2));
        json_set(summary, "max", json_new_real(sorted[n - 1]));
    } else {
        summary = json_new_real(sorted[0]);
    }
    free(sorted);
    return summary;
}

static void describe(const struct sae *sae, json *manifest)
{
    json_set(manifest, "architecture", json_new_string(sae->architecture->name));
    json_set(manifest, "d_in", json_new_integer((long long)sae->d_in));
    json_set(manifest, "d_sae", json_new_integer((long long)sae->d_sae));
    json_set(manifest, "k", sae->k ? json_new_integer((long long)sae->k) : json_new_null());
    json_set(manifest, "threshold", threshold_summary(sae));
    json_set(manifest, "apply_b_dec_to_input", json_new_boolean(sae->apply_b_dec_to_input));
    json_set(manifest, "normalize_activations", json_new_string(sae_normalization_name(sae->normalization)));
    if (!json_get(manifest, "dtype"))
        json_set(manifest, "dtype", json_new_string("float32"));
}

/* What comes after the matrices. Takes over the manifest; `status` is theirs. */
static int finish(struct store *s, artifact_id id, const struct sae *sae, json *manifest, int status,
                  struct error *err)
{
    if (!status)
        status = put_vector(s, id, "b_dec", sae->b_dec, sae->d_in, err);
    if (!status && sae->b_enc)
        status = put_vector(s, id, "b_enc", sae->b_enc, sae->d_sae, err);
    if (!status && sae->threshold)
        status = put_vector(s, id, "threshold", sae->threshold, sae->d_sae, err);
    if (!status && sae->r_mag)
        status = put_vector(s, id, "r_mag", sae->r_mag, sae->d_sae, err);
    if (!status && sae->b_mag)
        status = put_vector(s, id, "b_mag", sae->b_mag, sae->d_sae, err);
    if (status) {
        json_free(manifest);
        return status;
    }
    describe(sae, manifest);
    return store_publish(s, id, manifest, err);
}

int sae_save(struct store *s, artifact_id id, const struct sae *sae, json *manifest, struct error *err)
{
    int status = check_weights(sae, err);
    if (!status)
        status = put_matrix(s, id, sae, 0, err);
    if (!status)
        status = put_matrix(s, id, sae, 1, err);
    return finish(s, id, sae, manifest, status, err);
}

/* A matrix whose rows are read. */
struct reading {
    const struct sae *sae;
    const struct sae_rows *rows;
    int decoder;
};

static const char *matrix_name(int decoder)
{
    return decoder ? "W_dec" : "W_enc";
}

/* A block, by pieces that stay in cache until they were looked at. */
static int read_rows(void *arg, size_t first, size_t n, void *to, struct error *err)
{
    const struct reading *r = arg;
    const size_t d = r->sae->d_in, most = 1024;
    int status = STATUS_OK;
    for (size_t at = 0, count; at < n && !status; at += count) {
        float *rows = (float *)to + at * d;
        count = n - at < most ? n - at : most;
        status = r->rows->read(r->rows->arg, r->decoder, first + at, count, rows, err);
        if (!status)
            status = check_finite(matrix_name(r->decoder), rows, count * d, first + at, d, err);
    }
    return status;
}

static int copy_matrix(struct store *s, artifact_id id, struct reading *r, struct error *err)
{
    const size_t d_sae = r->sae->d_sae, shape[2] = {d_sae, r->sae->d_in};
    struct monitor *m = r->rows->monitor;
    struct tensor_writer *w;
    size_t left;
    int status = store_tensor_begin(s, id, matrix_name(r->decoder), DTYPE_F32, 2, shape, &w, err);
    if (status)
        return status;
    while (!status && (left = store_tensor_left(w)) > 0) {
        if (m)
            status = monitor_go_on(m, "writing", d_sae - left + (r->decoder ? d_sae : 0), 2 * d_sae, err);
        if (!status)
            status = store_tensor_fill(w, r->rows->ahead, read_rows, r, err);
    }
    if (status) {
        store_tensor_abandon(w);
        return status;
    }
    return store_tensor_finish(w, err);
}

int sae_save_from(struct store *s, artifact_id id, const struct sae *sae, const struct sae_rows *rows,
                  json *manifest, struct error *err)
{
    int status = check_vectors(sae, err);
    for (int decoder = 0; decoder < 2 && !status; decoder++)
        status = copy_matrix(s, id, &(struct reading){sae, rows, decoder}, err);
    return finish(s, id, sae, manifest, status, err);
}
