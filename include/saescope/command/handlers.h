/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands, one variable each: src/command/commands.c lists them, src/command/cmd_*.c define them. */
#ifndef SAESCOPE_COMMAND_HANDLERS_H
#define SAESCOPE_COMMAND_HANDLERS_H

#include "saescope/analysis/latent.h"
#include "saescope/base/monitor.h"
#include "saescope/command/command.h"

/* cmd_store.c */
extern const struct command list_command, info_command, remove_command, rename_command, verify_command,
    compact_command;
/* cmd_exchange.c */
extern const struct command import_model_command, import_text_command, import_activations_command, import_sae_command, export_sae_command;
/* cmd_labels.c */
extern const struct command import_labels_command, export_labels_command;
/* cmd_index_exchange.c */
extern const struct command export_index_command, import_index_command;
/* cmd_compute.c */
extern const struct command train_sae_command, train_meta_command, index_command, evaluate_command;
/* cmd_stitch.c */
extern const struct command stitch_command;
/* cmd_pull.c */
extern const struct command pull_command;
/* cmd_rebuild.c */
extern const struct command rebuild_command;
/* cmd_export_stitch.c */
extern const struct command export_stitch_command;
/* cmd_latents.c */
extern const struct command latents_command, search_command, label_command;
/* cmd_show.c */
extern const struct command show_command, contexts_command, logits_command;
/* cmd_open.c */
extern const struct command open_command;
/* cmd_decompose.c, cmd_report.c */
extern const struct command decompose_command, report_command;
/* cmd_relatives.c */
extern const struct command members_command, neighbors_command, compare_command;
/* cmd_family.c */
extern const struct command family_command;
/* cmd_graph.c */
extern const struct command graph_command;
/* cmd_encode.c */
extern const struct command encode_command, tokenize_command;
/* cmd_steer.c, cmd_edit.c */
extern const struct command steer_command, edit_command;
/* cmd_jobs.c */
extern const struct command jobs_command, wait_command, pause_command, resume_command, cancel_command, run_command;
/* cmd_session.c */
extern const struct command set_command, bind_command, source_command, help_command, quit_command;

/* ---- What several of them share (cmd_common.c). ---- */

/* The invocation's argument i as an address in transaction t ("/N" means the setting `sae`). */
int argument_address(struct context *ctx, const struct invocation *inv, size_t i, struct store_txn *t,
                     struct address *out, struct error *err);

/* The SAE of that name, and its number of latents. */
int find_sae(struct context *ctx, const char *name, struct artifact *a, size_t *d_sae, struct error *err);

/* The shown label of a latent under "label" (null when it has none). */
void write_label(struct writer *out, struct store_txn *t, artifact_id sae, size_t latent);

/* A document as the command's output, in place of what the writer would print. */
int print_document(struct context *ctx, const struct strbuf *text, struct error *err);
/* Into a file ("-": as output); STATUS_REFUSED when it is there and --replace was not given. */
int save_document(struct context *ctx, const struct invocation *inv, const char *file, const struct strbuf *text,
                  struct error *err);

/* For queries that may take long: shows their progress where there is a place for it, and hears Ctrl-C. */
struct query_monitor {
    struct monitor monitor;
    struct context *ctx;
    struct job_status status; /* made up: no job */
    double start;
};
void query_monitor_start(struct query_monitor *q, struct context *ctx, const char *title);
void query_monitor_end(struct query_monitor *q);

/* Whether --if-absent was given and `name` is there already. */
int already_there(struct context *ctx, const struct invocation *inv, const char *name);
/* The result of a command that --if-absent made superfluous: {"name", "present": true}. */
void write_skipped(struct writer *out, const char *name);

/* What the options of `family` ask for; strings are the invocation's. */
struct family_options;
void family_options_of(const struct invocation *inv, struct family_options *out);

/* Options as job parameters: "--aux-k 5" becomes "aux_k": 5; flags true; lists arrays. A new reference. */
json *options_parameters(const struct invocation *inv);
/* The program's --seed where the command has none. */
void default_seed(struct context *ctx, json *parameters);
/* Arguments from `first` on as an array of strings. */
json *argument_list(const struct invocation *inv, size_t first);

/* A stitch's members, in an object that is begun (cmd_stitch.c). */
int write_stitch(struct writer *out, struct store_txn *t, artifact_id id, int with_latents, struct error *err);

/* stitch with --step or --save (cmd_stitch_save.c). */
int run_stitch_save(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err);

/* Options of commands that import an SAE. */
#define UNSAID_BY_FILES_OPTIONS                                                                                        \
    {.name = "k", .type = WORD_COUNT, .value = "K", .help = "latents that a token keeps, when the files do not say"},  \
    {.name = "apply-b-dec-to-input",                                                                                   \
     .type = WORD_WORD,                                                                                                \
     .value = "yes|no",                                                                                                \
     .choices = "yes|no",                                                                                              \
     .help = "whether b_dec is subtracted, when the files do not say"}
/* Options of commands that make something under a name. */
#define EXISTING_NAME_OPTIONS                                                                                          \
    {.name = "replace", .type = WORD_FLAG, .help = "replace what has the name already"},                               \
    {.name = "if-absent", .type = WORD_FLAG, .help = "do nothing when the name is there already"}

#endif
