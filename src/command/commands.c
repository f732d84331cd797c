/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command table, in the order of help. */
#include "config.h"

#include "saescope/command/handlers.h"

const struct command *const commands[] = {
    /* Store */
    &list_command,
    &info_command,
    &remove_command,
    &rename_command,
    &verify_command,
    &compact_command,
    /* Bring in, send out */
    &import_model_command,
    &import_text_command,
    &import_activations_command,
    &import_sae_command,
    &import_labels_command,
    &pull_command,
    &import_index_command,
    &export_sae_command,
    &export_index_command,
    &export_labels_command,
    &export_stitch_command,
    /* Compute */
    &train_sae_command,
    &train_meta_command,
    &index_command,
    &evaluate_command,
    &report_command,
    &stitch_command,
    &rebuild_command,
    /* Explore */
    &latents_command,
    &show_command,
    &contexts_command,
    &logits_command,
    &decompose_command,
    &members_command,
    &neighbors_command,
    &family_command,
    &graph_command,
    &compare_command,
    &encode_command,
    &tokenize_command,
    &search_command,
    &label_command,
    &open_command,
    &steer_command,
    &edit_command,
    /* Jobs */
    &jobs_command,
    &wait_command,
    &pause_command,
    &resume_command,
    &cancel_command,
    &run_command,
    /* Session */
    &set_command,
    &bind_command,
    &source_command,
    &help_command,
    &quit_command,
    NULL,
};
