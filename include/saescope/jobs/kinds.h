/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kinds of jobs, each in a file of its own that says which parameters it takes, and what they share. */
#ifndef SAESCOPE_JOBS_KINDS_H
#define SAESCOPE_JOBS_KINDS_H

#include "saescope/jobs/internal.h"
#include "saescope/sae/train.h"

extern const struct job_kind kind_train_sae, kind_train_meta, kind_index, kind_evaluate, kind_import_model,
    kind_import_text, kind_import_sae, kind_rebuild, kind_report, kind_stitch, kind_stitch_sae,
    kind_export_index, kind_import_index, kind_import_activations, kind_pull;

/* An unpublished id under a name, kept as long as the job is unfinished; a resumed run gets the same one.
 * *published: an earlier run of this job got as far as to publish it. */
int job_claim(struct store *s, uint64_t job, enum artifact_kind kind, const char *name, int replace, artifact_id *id,
              int *published, struct error *err);
/* {"name","kind","bytes","seconds"}; kind NULL: the artifact's own. */
json *job_made(struct store *s, artifact_id id, const char *kind, double seconds, struct error *err);
int job_find(struct store *s, enum artifact_kind kind, const char *name, artifact_id *id, struct error *err);
/* The artifact's manifest when there is one of that name, else NULL: another job may be making it. */
json *job_peek(struct store *s, enum artifact_kind kind, const char *name);
/* STATUS_USAGE, with a suggestion, unless word is one of the names[] (NULL-terminated). */
int word_in_list(const char *what, const char *word, const char *const *names, struct error *err);
/* An array of addresses ("META/ID", or "/ID") as numbers of one meta-SAE's latents; *latents is the caller's to free, also after a
 * failure. */
int job_meta_latents(struct store_txn *t, const struct artifact *meta, const json *addresses, size_t **latents, size_t *n,
                     struct error *err);
/* "name", "format", "model", "hook", "base", "k", "apply_b_dec_to_input", "neuronpedia_id" and "replace" of an SAE's import; strings
 * are borrowed from the parameters. */
struct sae_import;
int job_sae_import(struct store *s, const json *parameters, struct sae_import *out, struct error *err);
/* A string parameter that must be there. */
int job_need(const json *parameters, const char *key, const char *option, const char **out, struct error *err);
/* Good, new (or to be replaced) names, appended to makes. */
int job_plan_name(struct store *s, enum artifact_kind kind, const char *name, int replace, json *makes,
                  struct error *err);

/* ---- Training (train_common.c): "names", "widths", "arch", "k", "lr", "batch", "warmup", "decay", "aux_k",
 * "aux_coefficient", "dead_after", "clip", "normalize", "seed", "replace"; others are their kinds'. ---- */
struct training {
    const json *parameters;
    size_t n;
    const char **names;            /* [n], borrowed from the parameters */
    struct train_options *options; /* [n] */
    artifact_id *ids;              /* [n], claimed */
    int *published;                /* [n] */
    struct train_result *results;  /* [n] */
};
/* The parameters over the defaults in `base`. */
int training_read(const json *parameters, const struct train_options *base, struct training *t, struct error *err);
void training_free(struct training *t);
int training_plan(struct store *s, const struct training *t, size_t d_in, json *makes, struct error *err);
/* Claims the names, trains on the source, and publishes each SAE with a copy of `manifest` and what the run was. */
int training_run(struct store *s, uint64_t job, struct training *t, struct batch_source *source, const json *manifest,
                 const json *details, struct monitor *m, struct error *err);
json *training_result(const struct training *t);
/* Which of the names[] (NULL-terminated) the parameter "preset" is: *which (may be NULL) is the names' number when it is not
 * given. STATUS_USAGE with a suggestion for others. */
int training_preset(const json *parameters, const char *const *names, size_t *which, struct error *err);
/* Into what a manifest's "training" tells. */
void training_set_preset(json *details, const json *parameters);

#endif
