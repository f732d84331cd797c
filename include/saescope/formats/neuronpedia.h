/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Neuronpedia: where an SAE is there, and explanations as its exports have them: JSON lines of modelId, layer, index,
 * description, typeName, createdAt and more; `index` is a number or a string of digits, `layer` the source's name.
 */
#ifndef SAESCOPE_FORMATS_NEURONPEDIA_H
#define SAESCOPE_FORMATS_NEURONPEDIA_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/json.h"
#include "saescope/base/strbuf.h"
#include "saescope/store/store.h"

/* "gpt2-small" and "8-res_fs49152-jb" of the id "gpt2-small/8-res_fs49152-jb". */
struct neuronpedia_place {
    char *model, *source;
    int known; /* from the SAE's neuronpedia_id; else the names of model and SAE in the store */
};
int neuronpedia_place_of(struct store_txn *t, artifact_id sae, struct neuronpedia_place *out, struct error *err);
void neuronpedia_place_free(struct neuronpedia_place *p);
/* STATUS_REFUSED unless it reads MODEL/SOURCE, both of [A-Za-z0-9._+-]. */
int neuronpedia_check_id(const char *id, struct error *err);

/* A row's latent: a number or a string of digits below d_sae. STATUS_REFUSED with `where` in front. */
int neuronpedia_index(const json *row, const char *key, const char *where, size_t d_sae, size_t *latent,
                      struct error *err);
/*
 * Remembers the first row's modelId and layer; STATUS_REFUSED when another row has others: files of several sources are no
 * one SAE's.
 */
struct neuronpedia_origin {
    char *model, *source;
};
int neuronpedia_same_origin(struct neuronpedia_origin *o, const json *row, const char *where, struct error *err);
void neuronpedia_origin_free(struct neuronpedia_origin *o);

/*
 * The explanations of one file, or of the batches of a folder (or of its subfolder `explanations`), as imported labels in
 * latent order. Of several explanations of a latent the last by createdAt is taken; of equally late ones the first.
 */
struct neuronpedia_labels {
    struct label *labels; /* their texts are malloc'd and NUL-terminated */
    size_t n;
    size_t rows;   /* explanations read */
    uint64_t bytes; /* of the files */
};
int neuronpedia_labels_read(const char *path, size_t d_sae, struct neuronpedia_labels *out, struct error *err);
void neuronpedia_labels_free(struct neuronpedia_labels *l);

/* Appends the line of a label, with its LF. */
void neuronpedia_label_line(struct strbuf *out, const struct neuronpedia_place *place, const struct label *label);

#endif
