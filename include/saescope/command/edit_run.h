/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the command `edit` has opened and computed: cmd_edit.c and edit_changes.c fill it in,
 * edit_output.c writes it. */
#ifndef SAESCOPE_COMMAND_EDIT_RUN_H
#define SAESCOPE_COMMAND_EDIT_RUN_H

#include "saescope/analysis/edit.h"
#include "saescope/command/handlers.h"
#include "saescope/command/prompts.h"

#define SUBSETS_MAX 10 /* changes of which all subsets are tried */
#define CHANGES_ALL UINT64_MAX

/* The model as it is, with the row of another latent, with the row as the meta-SAE rebuilds it, with the
 * edited one. */
enum edit_variant { EDIT_UNMODIFIED, EDIT_SWAPPED, EDIT_REBUILT, EDIT_EDITED, EDIT_VARIANTS };
extern const char *const edit_variant_names[EDIT_VARIANTS]; /* "unmodified", "swapped", "rebuilt", "edited" */

struct edit_subset {
    uint64_t mask; /* bit i: changes[i] is made */
    double cosine; /* of the edited row with the latent's; NaN: nothing was left of the row, and it was not
                      run */
    double *log_probs; /* as in log_probs[] below */
};

struct edit_run {
    struct context *ctx;
    const struct invocation *inv;
    struct store_txn *t;
    struct address at, to;        /* to.sae.id 0: no target */
    struct found_latent found[2]; /* by --from and --to */
    struct opened_sae base, meta;
    struct decomposition parts, target_parts;
    struct row_change *changes;
    struct row_edit edit;
    float *row; /* [d_in] */
    double cosine;
    struct steering *steering;
    struct prompt_table table;
    int there[EDIT_VARIANTS];
    double *log_probs[EDIT_VARIANTS]; /* all prompts' answers, one prompt after the other */
    size_t *active;                   /* positions at which the latent is active, for each prompt */
    uint64_t varied;                  /* changes that the subsets are of */
    struct edit_subset *subsets;
    size_t n_subsets;
};

/* edit_changes.c: opens the meta-SAE; reads what it is that changes, when base, latent and target are known. */
int edit_open_meta(struct edit_run *r, struct error *err);
int edit_read_changes(struct edit_run *r, struct error *err);

size_t edit_answers(const struct prompt_table *t); /* of all prompts */
void edit_write(struct writer *out, const struct edit_run *r);

#endif
