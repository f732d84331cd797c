/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which SAEs a meta-SAE was trained on. Its manifest's "references" name them as "base", "base2", "base3" …; only
 * src/sae/bases.c knows that. Their decoder rows are numbered through, those of the first base first: a row's number is what an
 * index of the meta-SAE and everything else that is counted over its data means.
 */
#ifndef SAESCOPE_SAE_BASES_H
#define SAESCOPE_SAE_BASES_H

#include <stddef.h>
#include "saescope/base/json.h"
#include "saescope/store/store.h"

struct meta_bases {
    size_t n;         /* at least 1 */
    artifact_id *ids; /* [n] */
    size_t *first;    /* [n + 1]: number of a base's first row; first[n]: how many rows there are in all */
};

/* STATUS_REFUSED "NAME is no meta-SAE: it names no base". */
int meta_bases_read(struct store_txn *t, artifact_id meta, struct meta_bases *out, struct error *err);
void meta_bases_free(struct meta_bases *b);
/* Which base it is; b->n when it is none. */
size_t meta_bases_find(const struct meta_bases *b, artifact_id base);
/* The base that has a row. */
size_t meta_bases_of_row(const struct meta_bases *b, size_t row);

/* The i-th base that a manifest names, or 0. */
artifact_id meta_base_at(const json *manifest, size_t i);
/* Whether a manifest names this base. */
int meta_has_base(const json *manifest, artifact_id base);
/* The "references" of a meta-SAE on these SAEs. */
json *meta_bases_references(const artifact_id *ids, size_t n);

#endif
