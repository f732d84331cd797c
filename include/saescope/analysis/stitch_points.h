/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The path of a stitch beside the SAEs of its hook: explained variance at equal L0. */
#ifndef SAESCOPE_ANALYSIS_STITCH_POINTS_H
#define SAESCOPE_ANALYSIS_STITCH_POINTS_H

#include "saescope/analysis/stitch.h"

/*
 * The explained variance of the path at this L0: between two steps of which one has fewer and one more active latents,
 * linear in L0. A path that comes by more than once counts with its best. NaN where it does not come by.
 */
double stitch_ev_at_l0(const struct stitch_path *p, double l0);

/* Where an SAE's L0 and explained variance come from. */
enum point_source {
    POINT_UNKNOWN,    /* not measured: both are NaN */
    POINT_STEP,       /* it was saved from a step of this very stitch: the path's own numbers */
    POINT_TRAINING,   /* its manifest: as its training ended, on held-out contexts */
    POINT_EVALUATION  /* the result of its newest `evaluate`, on the text `text` */
};
struct stitch_point {
    artifact_id sae;
    char name[NAME_MAX_BYTES + 1], text[NAME_MAX_BYTES + 1];
    size_t d_sae, step; /* step: of POINT_STEP */
    enum point_source source;
    double l0, explained_variance;
    double path_explained_variance; /* stitch_ev_at_l0; NaN: none */
};
/* All SAEs of the stitch's model and hook, smallest first; malloc'd. A step of the stitch goes before an evaluation on its own
 * text, that before the training's numbers, and those before an evaluation on another text. The path's numbers are NaN. */
int stitch_points_read(struct store_txn *t, const struct stitch_facts *f, struct stitch_point **out, size_t *n,
                       struct error *err);
/* Fills in what the path knows: the numbers of its steps, and the explained variance at each L0. */
void stitch_points_compare(struct stitch_point *points, size_t n, const struct stitch_path *path);

#endif
