/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What other programs write and read: one file a producer, listed in src/formats/formats.c. Import detects
 * the format from the files unless it is named; every quirk that was applied goes into the manifest
 * (source.quirks).
 */
#ifndef SAESCOPE_FORMATS_FORMATS_H
#define SAESCOPE_FORMATS_FORMATS_H

#include "saescope/base/monitor.h"
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

/* What is known of a release beside its files. */
struct release_facts {
    const char *origin;      /* "hf:OWNER/REPO@COMMIT/FOLDER", or NULL */
    const char *release;     /* its short name, or NULL */
    const char *neuronpedia; /* "MODEL/SOURCE", or NULL: as the files say */
    int center;              /* trained on the model with SAELens' center_writing_weights */
    double scale; /* SAELens' norm_scaling_factor s, or 0: W_enc·s, W_dec/s, b_dec/s for weights that were
                     trained with expected_average_only_in and not folded
                     (SAE.fold_activation_norm_scaling_factor) */
    const char *normalize; /* what a SAELens configuration should say of normalize_activations, or NULL
                              (SAELens' config_overrides) */
};

struct sae_import {
    const char *path;
    const char *name;
    const char *format; /* NULL: detected */
    artifact_id model;  /* 0: none named */
    const char *hook;   /* NULL: as the files say */
    artifact_id base;   /* of a meta-SAE, else 0 */
    /* For files that do not say: how many latents a token keeps, and whether b_dec is subtracted from the
     * input. */
    size_t k;                         /* 0: as the files say */
    const char *apply_b_dec_to_input; /* "yes", "no"; NULL: as the files say or usually mean */
    const char *neuronpedia_id;       /* MODEL/SOURCE; NULL: as the files say */
    int replace;
    const struct release_facts *facts; /* or NULL */
};

struct importing; /* saescope/formats/importing.h */
struct sae_files;

struct sae_format {
    const char *name; /* "saelens" */
    const char *summary;
    int (*detect)(
        struct sae_files *files); /* non-zero: these files look like it; NULL when it is only written */
    /* Fills what is read: sizes, vectors, where the weights are, what it belongs to. */
    int (*read)(struct importing *im, struct error *err);
    /* NULL when it cannot be written. dtype: F32 or F16 or BF16. */
    int (*export)(struct store *s, artifact_id sae, const char *directory, enum dtype dtype,
                  struct monitor *m, struct error *err);
};
extern const struct sae_format *const sae_formats[]; /* NULL-terminated */

int sae_import_path(struct store *s, const struct sae_import *o, struct monitor *m, artifact_id *id,
                    struct error *err);
/* For importers: puts the facts into a manifest that has its "source". */
void sae_import_amend(const struct sae_import *o, json *manifest);
int sae_export_folder(struct store *s, artifact_id sae, const char *directory, const char *format,
                      enum dtype dtype, struct monitor *m, struct error *err);

#endif
