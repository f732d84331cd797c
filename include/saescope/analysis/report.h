/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a meta-SAE says of its base, beside what its numbers would be if there were nothing to say ("Showing SAE latents are not
 * atomic using meta-SAEs", 2024; Leask et al., ICLR 2025). Rows d are the base's decoder rows as the meta-SAE wants them (unit
 * rows, unless it was trained on raw ones; zero rows left out), of all its bases when there are several. "Smaller" SAEs are those
 * of the same model and hook whose d_sae is below the (widest) base's.
 *
 * Explained variance is CONTRACT.md's of a meta-SAE, 1 − Σ‖d−d̂‖²/Σ‖d−d̄‖² over all rows, with the threshold; mse is
 * Σ‖d−d̂‖²/(rows · d_in), l0 the mean number of terms a row. The baselines' d̂:
 *
 *   random decoder    the meta-SAE's own activations times a decoder of random directions (isotropic, unit rows), plus its b_dec
 *   nearest latents   the same with each meta-latent's decoder row replaced by the unit decoder row of the smaller SAE's latent
 *                     that has the largest cosine with it
 *   refitted          nearest latents as a decoder that stays as it is, and an encoder trained for it: from the meta-SAE's,
 *                     with the hyperparameters and on the rows of its training; b_dec stays too
 *   OMP               each row by orthogonal matching pursuit onto the smaller SAE's unit decoder rows, at most k atoms (k of the
 *                     meta-SAE), no b_dec; a latent's own row is left out where that SAE is a base
 *   non-negative OMP  the same with coefficients ≥ 0
 *   permuted columns  a meta-SAE trained alike on the rows with each column permuted on its own: the same values with no
 *                     structure between them; its explained variance is of those rows
 */
#ifndef SAESCOPE_ANALYSIS_REPORT_H
#define SAESCOPE_ANALYSIS_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/json.h"
#include "saescope/base/monitor.h"
#include "saescope/store/store.h"

struct report_options {
    artifact_id meta;
    artifact_id text;      /* 0: no cross-entropies */
    uint64_t tokens;       /* of the text, 0: all */
    const size_t *without; /* [n_without]: meta-latents that the SAE is rebuilt without, one at a time (with a text) */
    size_t n_without;
    int quick;      /* leaves out what trains, sparse regression, and cosines between SAEs */
    uint64_t steps; /* of what trains; 0: as many as the meta-SAE's training had */
    uint64_t seed;  /* of the random decoder and of the latents that are drawn for the graph */
};

enum report_baseline_kind {
    BASELINE_RANDOM,
    BASELINE_NEAREST,
    BASELINE_REFITTED,
    BASELINE_OMP,
    BASELINE_NON_NEGATIVE,
    BASELINE_PERMUTED,
    BASELINES
};
extern const char *const report_baseline_names[BASELINES]; /* "random_decoder", "nearest_latents", … */

struct report_baseline {
    enum report_baseline_kind kind;
    artifact_id sae; /* the smaller SAE; 0: none */
    char name[NAME_MAX_BYTES + 1];
    double explained_variance, mse, l0;
};

/* Meta-latents per latent by density: tenths of the base latents that fired (in their index), the rarest first. */
struct report_density {
    double from, to; /* densities, both inclusive */
    size_t latents;
    double meta_latents;       /* mean number that is active */
    double explained_variance; /* sums over the tenth */
};

/* Largest cosines of the decoder rows of one with those of another; with itself when both are the same. */
#define REPORT_COSINE_BINS 40 /* of 0.05 from −1 to 1 */
#define REPORT_COSINE_CUTS 3  /* 0.5, 0.7, 0.9 */
struct report_cosines {
    char from[NAME_MAX_BYTES + 1], against[NAME_MAX_BYTES + 1];
    double mean, median, above[REPORT_COSINE_CUTS]; /* fractions */
    uint64_t counts[REPORT_COSINE_BINS];
};
extern const double report_cosine_cuts[REPORT_COSINE_CUTS];

/*
 * Two graphs on the same rows: an edge between two that share an active meta-latent; an edge between two that both have a
 * cosine above c with the same latent of the smaller SAE, c such that there are as many. With more than REPORT_GRAPH_ROWS rows, so
 * many are drawn.
 */
#define REPORT_GRAPH_ROWS 4096
struct report_graph {
    char name[NAME_MAX_BYTES + 1];
    uint64_t edges;  /* of the meta-SAE's graph */
    uint64_t others; /* of the smaller SAE's: as many, or more when pairs tie */
    uint64_t common;
    double cosine; /* c */
    double share;  /* common / edges; NaN without edges */
    double chance; /* what it would be for edges at random: others / pairs */
};

struct report_without {
    size_t latent;
    double cross_entropy;
};

struct report {
    char meta[NAME_MAX_BYTES + 1], base[NAME_MAX_BYTES + 1]; /* base: the first */
    size_t d_in, width, k, n_bases, rows;
    double explained_variance, explained_variance_batchtopk, mse, l0, dead_fraction, train_seconds;
    struct report_baseline *baselines;
    size_t n_baselines;
    struct report_density *densities;
    size_t n_densities; /* 0: no base has an index */
    struct report_cosines *cosines;
    size_t n_cosines;
    struct report_graph *graphs;
    size_t n_graphs, graph_rows;
    /* Nats a token; text empty: none. */
    char text[NAME_MAX_BYTES + 1];
    uint64_t tokens;
    double ce_model, ce_sae, ce_rebuilt, ce_zero;
    struct report_without *without;
    size_t n_without;
    const char *note; /* why trained baselines are missing, or NULL; static */
};

/* Memory: the meta-SAE twice over, its activations on all rows, all rows where something trains, and for the graph
 * 20 MiB and 4,096 rows. With a text, the base twice over. */
int report_run(struct store *s, const struct report_options *o, struct monitor *m, struct report *out, struct error *err);
void report_free(struct report *r);
/* The object that the command prints. "meta_structure" has SAEBench's names and formulas: of a meta-SAE with k, those of BatchTopK. */
json *report_json(const struct report *r);

#endif
