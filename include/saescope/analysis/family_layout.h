/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the latents of a family stand when it is drawn or printed: as a tree, each under the parent that is closest to it. */
#ifndef SAESCOPE_ANALYSIS_FAMILY_LAYOUT_H
#define SAESCOPE_ANALYSIS_FAMILY_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/family.h"

#define FAMILY_NONE UINT32_MAX

/*
 * Every node is under one parent, the strongest of its edges says which (ties: the lower latent); nodes without parents are
 * roots, in the order of nodes. Siblings stand strongest first. Owned arrays [n_nodes].
 */
struct family_layout {
    size_t n_nodes, n_rows;
    uint32_t *order;    /* nodes as they are listed: a parent, then its children with theirs */
    uint32_t *edge;     /* of a node: the one that it hangs on, FAMILY_NONE for a root */
    uint32_t *depth;    /* of a node: 0 for a root */
    uint32_t *row;      /* of a node: that of its first child; nodes without children have one of their own */
    uint32_t *children; /* of a node: how many hang on it */
};

void family_layout_make(const struct family *f, struct family_layout *out);
void family_layout_free(struct family_layout *l);

#endif
