/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The family of a latent: what it is split from in smaller SAEs and split into in larger ones, a directed graph across adjacent
 * widths in which a latent may have several parents. An edge leads from the smaller SAE's latent (the parent) to the larger one's,
 * where the cosine of their decoder rows is over one threshold or the directed similarity of their activations
 * (stitch.h: struct stitch_parent; the child's view, after the tree view of Bussmann et al. 2025) over another. Cosines are
 * computed; similarities are known where a stitch between the two SAEs is in the store.
 */
#ifndef SAESCOPE_ANALYSIS_FAMILY_H
#define SAESCOPE_ANALYSIS_FAMILY_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/latent.h"
#include "saescope/analysis/stitch.h"
#include "saescope/base/monitor.h"

#define FAMILY_LIMIT     200
#define FAMILY_LIMIT_MAX 5000

struct family_options {
    double cosine;     /* in (0, 1] */
    double similarity; /* in [PARENT_SIMILARITY, 1]: stitches keep no lower ones */
    size_t depth;      /* generations either way; 0: all */
    size_t limit;      /* latents, 1 … FAMILY_LIMIT_MAX */
    const char *saes;  /* "A,B,C": these and the latent's own; NULL: see family_columns */
};
#define FAMILY_DEFAULTS {PARENT_COSINE, PARENT_SIMILARITY, 0, FAMILY_LIMIT, NULL}

struct family_column {
    struct artifact sae;
    size_t width;
    artifact_id stitch;   /* with the column before: the newest, or 0 */
    struct artifact meta; /* the meta-SAE shown with it; id 0: none */
};

struct family_share {
    uint32_t latent; /* meta-latent */
    float share;     /* of the activations of all meta-latents of the node; they sum to 1 */
};
struct family_node {
    uint32_t column, latent;
    struct family_share *meta; /* strongest first; owned */
    size_t n_meta;
};
struct family_edge {
    uint32_t from, to; /* nodes: parent, child */
    float cosine;
    float share; /* directed similarity; NaN: not known */
};

struct family {
    struct family_column *columns; /* by width */
    size_t n_columns;
    struct family_node *nodes; /* by column, then latent */
    size_t n_nodes;
    struct family_edge *edges; /* by from, then to */
    size_t n_edges;
    size_t asked;  /* the node that was asked for */
    int truncated; /* latents were left out for want of room: the weakest of a generation, and what comes after */
};

/*
 * The columns for a latent's SAE: SAEs of the same model, hook, d_in, context size and centring, smallest first; no meta-SAEs,
 * stitched or rebuilt ones. Of two with the same width the latent's own is taken, else the one with more stitches, else the
 * older one. STATUS_REFUSED for a meta-SAE, and for named SAEs that are no such SAE of the same model, hook and
 * d_in (context size and centring may differ) or have the same width.
 */
int family_columns(struct store_txn *t, artifact_id sae, const char *saes, struct family_column **out, size_t *n,
                   struct error *err);

/*
 * Ancestors and descendants: parents in the next smaller SAE, theirs in the one before it, and so on; children likewise.
 * One pass of products over each SAE's decoder. STATUS_USAGE for options out of range, STATUS_REFUSED when more than a
 * million pairs are over the cosine threshold.
 */
int family_read(struct store_txn *t, const struct address *at, const struct family_options *o, struct monitor *m,
                struct family **out, struct error *err);
void family_free(struct family *f); /* NULL is fine */

/* How close an edge says they are: the larger of cosine and similarity. */
float family_strength(const struct family_edge *e);

#endif
