/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Indexes as other programs have them, written and read.
 *
 * Neuronpedia's exports: features/batch-N.jsonl(.gz), a line a latent; activations/batch-N.jsonl(.gz), a line a context;
 * explanations/batch-N.jsonl(.gz), a line a label; source.jsonl. SAEDashboard's: batch-N.json, whose "features" hold their
 * activations, and skipped_indexes.json, the latents that never fired.
 */
#ifndef SAESCOPE_ANALYSIS_INDEX_EXCHANGE_H
#define SAESCOPE_ANALYSIS_INDEX_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/monitor.h"
#include "saescope/store/store.h"

enum index_form { INDEX_NEURONPEDIA, INDEX_SAEDASHBOARD };
extern const char *const index_form_names[]; /* "neuronpedia", "saedashboard", NULL */

struct index_export {
    artifact_id sae;
    const char *directory;
    enum index_form form;
    int compress;      /* .jsonl.gz (Neuronpedia's form only) */
    size_t batch;      /* latents a file; 0: 1024 for Neuronpedia, 128 for SAEDashboard */
    int replace;       /* batches that are in the directory go first; else it is refused when it has any */
};
struct index_exported {
    size_t latents, contexts, files;
    uint64_t bytes;
};
/*
 * A latent's row has, of the index: counts, frac_nonzero, histogram (bars at the bins' centres), contexts in full with binMin and
 * binMax (−1 and the maximum for top contexts, with binContains −1; for sampled ones the interval and which share of
 * the firings falls in it, estimated from the histogram); of W_dec: the three entries that are largest by magnitude and
 * their share of the row's L1 norm; of the model: the ten strongest and weakest tokens and a histogram of all logits in 50 bins.
 * What is not known (correlations, vectors, DFA) is left out or empty. A member "saescope" holds what the form has no place for:
 * {"fired", "tokens", "min", "max", "mean"}.
 *
 * Cancelled or failed, the files that were written are gone. Memory: a chunk of 16 latents.
 * STATUS_REFUSED for an SAE without index and for meta-SAEs.
 */
int index_export_run(struct store *s, const struct index_export *o, struct monitor *m, struct index_exported *out,
                     struct error *err);

struct index_import {
    artifact_id sae;
    const char *directory;
    int form;        /* enum index_form; -1: as the directory looks */
    uint64_t tokens; /* that the statistics are over; 0: as the files say */
    int replace;     /* the index that the SAE has; else it is refused when it has one */
};
struct index_imported {
    size_t latents, contexts; /* latents with a row; contexts kept */
    uint64_t tokens;
};
/*
 * Publishes an index that shows the same without any model: statistics, histogram (bars gathered into 50 bins by their
 * middles), contexts with their tokens' texts, logits. Taken from "saescope" when it is there; else
 * fired is the sum of the bars where they are whole numbers, tokens n_prompts_total · n_tokens_in_prompt or Σ fired / Σ
 * frac_nonzero, and mean the bars' mean. A row's peak is its largest value; of sampled contexts, qualifyingTokenIndex when its
 * value lies in the row's bin.
 *
 * Memory: 250 bytes a latent, the batch that is read in compact form (at most 64 MiB and one latent), and as
 * text_collector says. STATUS_REFUSED "PATH:LINE: ..." for rows of wrong types, latents that the SAE does not have, numbers that
 * are not finite; then nothing is left.
 */
int index_import_run(struct store *s, const struct index_import *o, struct monitor *m, struct index_imported *out,
                     struct error *err);

#endif
