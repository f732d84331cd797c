/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SAELens folders: cfg.json + sae_weights.safetensors. What cfg.json says, whichever version wrote it: 6 and
 * later nest the model's side in "metadata"; 3 to 5 are flat; before 3 there is no architecture and hooks are
 * "hook_point".
 */
#ifndef SAESCOPE_FORMATS_SAELENS_H
#define SAESCOPE_FORMATS_SAELENS_H

#include "saescope/base/json.h"
#include "saescope/formats/formats.h"
#include "saescope/sae/sae.h"

#define SAELENS_CONFIG  "cfg.json"
#define SAELENS_WEIGHTS "sae_weights.safetensors"
/* The version whose cfg.json is written. */
#define SAELENS_VERSION "6.0.0"

struct saelens_config {
    json *root;           /* the whole file, owned */
    const json *metadata; /* its "metadata", else the root itself */
    const json *extras;   /* metadata's "saescope" object, which only our own exports have, or NULL */
    const struct sae_architecture *architecture;
    size_t d_in, d_sae, k, context_size;
    int apply_b_dec_to_input, prepend_bos, center;
    int rescale_by_decoder_norm; /* topk, batchtopk: pre-activations are multiplied by their decoder row's norm */
    int from_training;           /* batchtopk or matryoshka: a training run's own files, with topk_threshold */
    int average_normalized;      /* normalize_activations was expected_average_only_in */
    enum sae_normalization normalization;
    const char *hook, *model, *version; /* NULL when the file has none */
    int is_meta;
    json *bases; /* of a meta-SAE: an array of their names, owned, or NULL */
};

int saelens_config_read(struct saelens_config *c, const char *path, struct error *err);
void saelens_config_free(struct saelens_config *c);
/* cfg.json of an SAE in the store (attached), in version 6's form. */
json *saelens_config_write(struct store_txn *t, const struct sae *sae, enum dtype dtype, struct error *err);

int saelens_read(struct importing *im, struct error *err);
int saelens_export(struct store *s, artifact_id sae, const char *directory, enum dtype dtype,
                   struct monitor *m, struct error *err);

#endif
