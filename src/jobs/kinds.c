/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kinds of jobs. */
#include "config.h"

#include "saescope/jobs/kinds.h"

const struct job_kind *const job_kinds[] = {
    &kind_train_sae,    &kind_train_meta,
    &kind_index,        &kind_evaluate,
    &kind_import_model, &kind_import_text,
    &kind_import_sae,   &kind_rebuild,
    &kind_report,       &kind_stitch,
    &kind_stitch_sae,   &kind_export_index,
    &kind_import_index, &kind_import_activations,
    &kind_pull,         NULL,
};
