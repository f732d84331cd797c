/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What writers of SAEs share: the tensors of an SAE in the store as sources, W_enc turned to [d_in, d_sae] strip by strip. */
#ifndef SAESCOPE_FORMATS_EXPORTING_H
#define SAESCOPE_FORMATS_EXPORTING_H

#include "saescope/files/safetensors.h"
#include "saescope/formats/formats.h"

#define EXPORT_TENSORS 7

struct exporting;

struct export_vector {
    struct exporting *exporting;
    const char *name;
    const float *values;
};

struct exporting {
    struct store *store;
    struct monitor *monitor;
    struct sae *sae;
    json *manifest;
    enum dtype dtype;
    float *strip; /* [STRIP, d_sae] */
    size_t strip_first, strip_n;
    float *zeros; /* [d_sae] */
    struct export_vector vectors[EXPORT_TENSORS];
    size_t n_vectors;
};

int exporting_open(struct exporting *e, struct store *s, artifact_id id, enum dtype dtype, struct monitor *m,
                   struct error *err);
void exporting_close(struct exporting *e);

/*
 * W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_dec, b_enc (zeros when there is none; a gated SAE's b_gate), and threshold, r_mag,
 * b_mag where the architecture has them: SAELens' names. Returns how many. Numbers beyond F16's are refused when they are
 * read.
 */
size_t exporting_sources(struct exporting *e, struct safetensors_source sources[EXPORT_TENSORS]);

#endif
