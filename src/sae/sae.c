/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAEs on the heap and in the store. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/tensor.h"
#include "saescope/sae/sae.h"

static const char *const normalization_names[] = {
    [NORMALIZE_NONE] = "none",
    [NORMALIZE_CONSTANT_NORM_RESCALE] = "constant_norm_rescale",
    [NORMALIZE_LAYER_NORM] = "layer_norm",
};

const char *sae_normalization_name(enum sae_normalization n)
{
    return normalization_names[n];
}

int sae_normalization_find(const char *name, enum sae_normalization *out, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(normalization_names); i++) {
        if (strcmp(name, normalization_names[i]) == 0) {
            *out = (enum sae_normalization)i;
            return STATUS_OK;
        }
    }
    char *shown = displayable_string(name);
    error_set(err, STATUS_REFUSED, "unknown normalize_activations \"%s\"", shown);
    free(shown);
    return STATUS_REFUSED;
}

void sae_free(struct sae *sae)
{
    if (!sae)
        return;
    free(sae->b_enc);
    free(sae->b_dec);
    free(sae->threshold);
    free(sae->r_mag);
    free(sae->b_mag);
    free(sae->blocks);
    free(sae->owned_W_enc);
    free(sae->owned_W_dec);
    free(sae);
}

/* The parts that every SAE has; weights are still missing. */
static int new_shell(const struct sae_architecture *architecture, size_t d_in, size_t d_sae, struct sae **out,
                     struct error *err)
{
    size_t elements;
    if (d_in == 0 || d_sae == 0 || d_in > INT32_MAX || d_sae > INT32_MAX ||
        size_multiply(d_in * sizeof(float), d_sae, &elements))
        return error_set(err, STATUS_REFUSED, "an SAE with d_in %zu and d_sae %zu cannot be", d_in, d_sae);
    struct sae *sae = xcalloc(1, sizeof *sae);
    sae->architecture = architecture;
    sae->d_in = d_in;
    sae->d_sae = d_sae;
    sae->apply_b_dec_to_input = 1;
    sae->b_dec = array_zeroed(d_in, sizeof *sae->b_dec, "b_dec", err);
    if (sae->b_dec && architecture->has_threshold)
        sae->threshold = array_zeroed(d_sae, sizeof *sae->threshold, "threshold", err);
    if (sae->b_dec && architecture->has_magnitudes) {
        sae->r_mag = array_zeroed(d_sae, sizeof *sae->r_mag, "r_mag", err);
        sae->b_mag = array_zeroed(d_sae, sizeof *sae->b_mag, "b_mag", err);
    }
    if (!sae->b_dec || (architecture->has_threshold && !sae->threshold) ||
        (architecture->has_magnitudes && (!sae->r_mag || !sae->b_mag))) {
        sae_free(sae);
        return STATUS_FAILED;
    }
    *out = sae;
    return STATUS_OK;
}

int sae_new(const struct sae_architecture *architecture, size_t d_in, size_t d_sae, struct sae **out,
            struct error *err)
{
    struct sae *sae;
    int status = new_shell(architecture, d_in, d_sae, &sae, err);
    if (status)
        return status;
    sae->owned_W_enc = array_zeroed(d_sae * d_in, sizeof(float), "W_enc", err);
    if (sae->owned_W_enc)
        sae->owned_W_dec = array_zeroed(d_sae * d_in, sizeof(float), "W_dec", err);
    if (!sae->owned_W_dec) {
        sae_free(sae);
        return STATUS_FAILED;
    }
    sae->blocks = xcalloc(1, sizeof *sae->blocks);
    sae->blocks[0] = (struct sae_block){0, d_sae, sae->owned_W_enc, sae->owned_W_dec};
    sae->n_blocks = 1;
    sae->attached = 1;
    *out = sae;
    return STATUS_OK;
}

/* All blocks but the last have as many rows as the first. */
static const struct sae_block *block_of(const struct sae *sae, size_t latent)
{
    return &sae->blocks[latent / sae->blocks[0].n];
}

const float *sae_decoder_row(const struct sae *sae, size_t latent)
{
    const struct sae_block *b = block_of(sae, latent);
    return b->W_dec + (latent - b->first) * sae->d_in;
}

const float *sae_encoder_row(const struct sae *sae, size_t latent)
{
    const struct sae_block *b = block_of(sae, latent);
    return b->W_enc + (latent - b->first) * sae->d_in;
}

/* The numbers of these latents from a bias or thresholds; NULL for those that there are not. */
static int pick(const float *from, const size_t *latents, size_t count, float **to, struct error *err)
{
    *to = NULL;
    if (!from)
        return STATUS_OK;
    *to = array_alloc(count, sizeof **to, "latents", err);
    for (size_t i = 0; *to && i < count; i++)
        (*to)[i] = from[latents[i]];
    return *to ? STATUS_OK : STATUS_FAILED;
}

int sae_pick_latents(const struct sae *whole, const size_t *latents, size_t count, struct sae *out,
                     struct error *err)
{
    *out = *whole;
    out->d_sae = out->n_blocks = count;
    out->b_enc = out->threshold = out->r_mag = out->b_mag = NULL;
    out->blocks = array_alloc(count, sizeof *out->blocks, "latents", err);
    if (!out->blocks)
        return STATUS_FAILED;
    for (size_t i = 0; i < count; i++)
        out->blocks[i] = (struct sae_block){i, 1, sae_encoder_row(whole, latents[i]),
                                            sae_decoder_row(whole, latents[i])};
    int status = pick(whole->b_enc, latents, count, &out->b_enc, err);
    if (!status)
        status = pick(whole->threshold, latents, count, &out->threshold, err);
    if (!status)
        status = pick(whole->r_mag, latents, count, &out->r_mag, err);
    return status ? status : pick(whole->b_mag, latents, count, &out->b_mag, err);
}

void sae_picked_free(struct sae *picked)
{
    free(picked->blocks);
    free(picked->b_enc);
    free(picked->threshold);
    free(picked->r_mag);
    free(picked->b_mag);
}

/* ---- Opening. ---- */

/* Opens a float32 tensor of the shape that the manifest says. */
static int open_tensor(struct store_txn *t, const struct sae *sae, const char *name, int ndim, size_t rows,
                       struct store_tensor *out, struct error *err)
{
    int status = store_tensor_open(t, sae->id, name, out, err);
    if (status)
        return status;
    if (out->dtype != DTYPE_F32 || out->ndim != ndim || out->shape[0] != rows ||
        (ndim == 2 && out->shape[1] != sae->d_in))
        return error_set(err, STATUS_STORE, "tensor %s does not fit the SAE's manifest: the store is damaged",
                         name);
    return STATUS_OK;
}

static int read_vector(struct store_txn *t, const struct sae *sae, const char *name, size_t n, float *out,
                       struct error *err)
{
    struct store_tensor tensor;
    int status = open_tensor(t, sae, name, 1, n, &tensor, err);
    return status ? status : store_tensor_read(t, &tensor, 0, n, out, err);
}

static int read_vectors(struct store_txn *t, struct sae *sae, struct error *err)
{
    int status = read_vector(t, sae, "b_dec", sae->d_in, sae->b_dec, err);
    if (!status && sae->threshold)
        status = read_vector(t, sae, "threshold", sae->d_sae, sae->threshold, err);
    if (!status && sae->r_mag)
        status = read_vector(t, sae, "r_mag", sae->d_sae, sae->r_mag, err);
    if (!status && sae->b_mag)
        status = read_vector(t, sae, "b_mag", sae->d_sae, sae->b_mag, err);
    if (status || !store_tensor_exists(t, sae->id, "b_enc"))
        return status;
    sae->b_enc = array_alloc(sae->d_sae, sizeof *sae->b_enc, "b_enc", err);
    return sae->b_enc ? read_vector(t, sae, "b_enc", sae->d_sae, sae->b_enc, err) : STATUS_FAILED;
}

int sae_attach(struct sae *sae, struct store_txn *t, struct error *err)
{
    struct store_tensor enc, dec;
    if (!sae->id)
        return STATUS_OK;
    sae->attached = 0;
    int status = open_tensor(t, sae, "W_enc", 2, sae->d_sae, &enc, err);
    if (!status)
        status = open_tensor(t, sae, "W_dec", 2, sae->d_sae, &dec, err);
    if (status)
        return status;
    if (enc.n_blocks != dec.n_blocks || enc.n_blocks == 0)
        return error_set(err, STATUS_STORE, "W_enc and W_dec are cut differently: the store is damaged");
    if (sae->n_blocks != enc.n_blocks) {
        sae->blocks = xreallocarray(sae->blocks, enc.n_blocks, sizeof *sae->blocks);
        sae->n_blocks = enc.n_blocks;
    }
    size_t next = 0;
    for (size_t i = 0; i < enc.n_blocks; i++) {
        const void *enc_rows, *dec_rows;
        size_t first, n, dec_first, dec_n;
        status = store_tensor_block(t, &enc, i, &enc_rows, &first, &n, err);
        if (!status)
            status = store_tensor_block(t, &dec, i, &dec_rows, &dec_first, &dec_n, err);
        if (status)
            return status;
        if (first != next || dec_first != first || dec_n != n || n == 0 ||
            (i > 0 && first != i * sae->blocks[0].n))
            return error_set(err, STATUS_STORE, "W_enc and W_dec are cut differently: the store is damaged");
        sae->blocks[i] = (struct sae_block){first, n, enc_rows, dec_rows};
        next = first + n;
    }
    if (next != sae->d_sae)
        return error_set(err, STATUS_STORE, "W_enc has %zu rows instead of %zu: the store is damaged", next,
                         sae->d_sae);
    sae->attached = 1;
    return STATUS_OK;
}

static int open_manifest(artifact_id id, const json *manifest, struct sae **out, struct error *err)
{
    const char *name, *normalization, *where = "the SAE's manifest";
    size_t d_in, d_sae;
    struct sae *sae;
    enum sae_normalization n;
    int status = json_need_string(manifest, "architecture", where, &name, err);
    if (!status)
        status = json_need_size(manifest, "d_in", where, INT32_MAX, &d_in, err);
    if (!status)
        status = json_need_size(manifest, "d_sae", where, INT32_MAX, &d_sae, err);
    if (!status)
        status = json_need_string(manifest, "normalize_activations", where, &normalization, err);
    if (!status)
        status = sae_normalization_find(normalization, &n, err);
    if (status)
        return status;
    const struct sae_architecture *architecture = sae_architecture_find(name, err);
    long long k = json_get_integer(manifest, "k", 0);
    if (!architecture)
        return STATUS_REFUSED;
    if (k < 0 || (unsigned long long)k > d_sae || (architecture->per_token_k && k == 0))
        return error_set(err, STATUS_REFUSED, "%s: k is %lld of %zu latents", where, k, d_sae);
    status = new_shell(architecture, d_in, d_sae, &sae, err);
    if (status)
        return status;
    sae->id = id;
    sae->k = (size_t)k;
    sae->normalization = n;
    sae->apply_b_dec_to_input = json_get_boolean(manifest, "apply_b_dec_to_input", 0);
    *out = sae;
    return STATUS_OK;
}

int sae_open(struct store_txn *t, artifact_id id, struct sae **out, struct error *err)
{
    struct artifact artifact;
    struct sae *sae = NULL;
    int status = store_get(t, id, &artifact, err);
    if (status)
        return status;
    if (artifact.kind != ARTIFACT_SAE)
        return error_set(err, STATUS_REFUSED, "%s is a %s, not an SAE", artifact.name,
                         artifact_kind_name(artifact.kind));
    json *manifest = store_manifest(t, id, err);
    if (!manifest)
        return err ? err->code : STATUS_STORE;
    status = open_manifest(id, manifest, &sae, err);
    json_free(manifest);
    if (!status)
        status = read_vectors(t, sae, err);
    if (!status)
        status = sae_attach(sae, t, err);
    if (status) {
        sae_free(sae);
        return error_prefix(err, "SAE %s", artifact.name);
    }
    *out = sae;
    return STATUS_OK;
}
