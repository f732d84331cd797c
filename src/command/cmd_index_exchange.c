/* SPDX-License-Identifier: GPL-3.0-or-later */
/* export index, import index: indexes as Neuronpedia's and SAEDashboard's files. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

/* A job may run in a process that has another working directory. The path need not be there yet. */
static char *absolute_path(const struct context *ctx, const char *word)
{
    char *path = context_path(ctx, word), *here = NULL;
    if (path[0] != '/')
        here = realpath(".", NULL);
    char *absolute = here ? path_join(here, path) : xstrdup(path);
    free(here);
    free(path);
    return absolute;
}

#define FORM_OPTION(what)                                                                                    \
    {                                                                                                        \
        .name = "format", .type = WORD_WORD, .value = "F", .choices = "neuronpedia|saedashboard",            \
        .help = what                                                                                         \
    }

static int run_export_index(struct context *ctx, const struct invocation *inv, struct writer *out,
                            struct error *err)
{
    json *parameters = options_parameters(inv);
    char *directory = absolute_path(ctx, invocation_argument(inv, 1));
    json_set(parameters, "sae", json_new_string(invocation_argument(inv, 0)));
    json_set(parameters, "directory", json_new_string(directory));
    free(directory);
    return command_run_job(ctx, inv, "export index", parameters, out, err);
}

static const struct argument_spec export_index_arguments[] = {
    {.name = "SAE", .type = WORD_SAE}, {.name = "DIR", .type = WORD_DIRECTORY}, {.name = NULL}};
static const struct option_spec export_index_options[] = {
    FORM_OPTION("neuronpedia (default) or saedashboard"),
    {.name = "gzip", .type = WORD_FLAG, .help = "compress Neuronpedia's files: batch-N.jsonl.gz"},
    {.name = "batch",
     .type = WORD_COUNT,
     .value = "N",
     .help = "latents a file (default: 1024, SAEDashboard's 128)"},
    {.name = "replace", .type = WORD_FLAG, .help = "put the files in the place of batches that are there"},
    {.name = NULL},
};
const struct command export_index_command = {
    .name = "export index",
    .group = GROUP_EXCHANGE,
    .summary = "write an SAE's index as Neuronpedia's or SAEDashboard's files",
    .description = "Neuronpedia's are JSON lines in the folders features, activations and explanations; "
                   "SAEDashboard's are batch-N.json and skipped_indexes.json, the latents that never fired.",
    .arguments = export_index_arguments,
    .options = export_index_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_export_index,
};

static int run_import_index(struct context *ctx, const struct invocation *inv, struct writer *out,
                            struct error *err)
{
    json *parameters = options_parameters(inv);
    char *path = absolute_path(ctx, invocation_argument(inv, 0));
    json_set(parameters, "path", json_new_string(path));
    free(path);
    int status = command_run_job(ctx, inv, "import index", parameters, out, err);
    struct artifact a;
    size_t d_sae;
    if (status == STATUS_REFUSED &&
        find_sae(ctx, invocation_option(inv, "sae"), &a, &d_sae, NULL) != STATUS_OK)
        error_set(err, status, "%s; an index is of weights that are there: `import sae` first", err->message);
    return status;
}

static const struct argument_spec import_index_arguments[] = {{.name = "DIR", .type = WORD_DIRECTORY},
                                                              {.name = NULL}};
static const struct option_spec import_index_options[] = {
    {.name = "sae", .type = WORD_SAE, .value = "S", .help = "SAE whose latents they are", .required = 1},
    FORM_OPTION("neuronpedia or saedashboard (default: as the directory looks)"),
    {.name = "tokens",
     .type = WORD_COUNT,
     .value = "N",
     .help = "tokens that the statistics are over (default: as the files say)"},
    {.name = "replace", .type = WORD_FLAG, .help = "put it in the place of the index that the SAE has"},
    {.name = NULL},
};
const struct command import_index_command = {
    .name = "import index",
    .group = GROUP_EXCHANGE,
    .summary = "import an SAE's index from Neuronpedia's or SAEDashboard's files",
    .description =
        "DIR has features/batch-N.jsonl and activations/batch-N.jsonl (both may be gzip), or batch-N.json. "
        "Statistics, histograms, contexts and logits are shown without any model; labels are "
        "imported with import labels DIR.",
    .arguments = import_index_arguments,
    .options = import_index_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_import_index,
};
