/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The inside of a report, for src/analysis/report*.c. */
#ifndef SAESCOPE_ANALYSIS_REPORT_PARTS_H
#define SAESCOPE_ANALYSIS_REPORT_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/analysis/hook_saes.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/report.h"

struct report_work {
    struct store *store;
    const struct report_options *o;
    struct monitor *monitor;
    struct report *out;
    struct meta_rows rows; /* attached inside report_each_tile and report_begin */
    double *mean;          /* [d_in] d̄ */
    double total;          /* Σ‖d − d̄‖² */
    json *training;        /* the meta-SAE's manifest's, borrowed from `manifest`; NULL: none */
    json *manifest;
    struct hook_sae *saes; /* of the hook, by width */
    size_t n_saes;
    size_t widest; /* d_sae of the widest base */

    /* The rows that are not zero, in order, and what the meta-SAE makes of them. */
    size_t n;
    uint32_t *numbers;     /* [n] as struct meta_bases numbers them */
    struct sparse_rows f;  /* [n] */
    double *error, *total_of; /* [n] ‖d−d̂‖², ‖d−d̄‖² */
};

struct report_tile {
    struct store_txn *t; /* the meta-SAE and its bases are attached to it */
    const float *x;      /* [n, d_in] */
    const uint32_t *numbers;
    size_t first, n; /* rows [first, first + n) of those that are not zero */
};
enum { REPORT_TILE = 1024 };
/* All rows, tile by tile, each in a transaction of its own. */
int report_each_tile(struct report_work *w, const char *phase,
                     int (*fn)(struct report_work *w, const struct report_tile *tile, void *arg, struct error *err),
                     void *arg, struct error *err);
int report_begin(struct report_work *w, struct store_txn **t, struct error *err);
/* Whether an SAE is a baseline's smaller one; the base that it is (meta_bases' n: none). */
int report_is_smaller(const struct report_work *w, const struct hook_sae *sae);
/* Adds a baseline; error: Σ‖d−d̂‖²; terms: how many there are in all. */
void report_add_baseline(struct report_work *w, enum report_baseline_kind kind, const struct hook_sae *sae, double error,
                         double terms);

/* report_decoders.c: random and nearest decoders, sparse regression. */
int report_decoders(struct report_work *w, struct error *err);
int report_regressions(struct report_work *w, struct error *err);
/* A copy of the meta-SAE whose decoder rows are the unit rows of the latents of `sae` nearest to them. */
int report_nearest_decoder(struct report_work *w, artifact_id sae, struct sae **out, struct error *err);
/* Σ‖d−d̂‖² and the active pairs of an SAE over all rows. */
int report_measure(struct report_work *w, const char *phase, const struct sae *sae, double *error, double *terms,
                   struct error *err);
/* report_train.c: what trains. */
int report_trained(struct report_work *w, struct error *err);
/* report_cosines.c, report_graph.c, report_loss.c */
int report_cosines(struct report_work *w, struct error *err);
int report_graphs(struct report_work *w, struct error *err);
int report_losses(struct report_work *w, struct error *err);

#endif
