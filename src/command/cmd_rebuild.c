/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rebuild: an SAE with decoder rows made of meta-latents. */
#include "config.h"

#include <stdlib.h>

#include "saescope/command/handlers.h"

static int run_rebuild(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *name = invocation_option(inv, "save");
    if (already_there(ctx, inv, name)) {
        write_skipped(out, name);
        return STATUS_OK;
    }
    json *parameters = options_parameters(inv);
    json_set(parameters, "sae", json_new_string(invocation_argument(inv, 0)));
    return command_run_job(ctx, inv, "rebuild", parameters, out, err);
}

static const struct argument_spec rebuild_arguments[] = {{.name = "SAE", .type = WORD_SAE}, {.name = NULL}};
static const struct option_spec rebuild_options[] = {
    {.name = "meta", .type = WORD_META, .value = "META", .help = "meta-SAE on this SAE", .required = 1},
    {.name = "without", .type = WORD_ADDRESS, .value = "META/ID[,META/ID...]",
     .help = "meta-latents whose activations are set to 0", .list = 1},
    {.name = "save", .type = WORD_NAME_NEW, .value = "NAME", .help = "name of the SAE that is made", .required = 1},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command rebuild_command = {
    .name = "rebuild",
    .group = GROUP_COMPUTE,
    .summary = "replace an SAE's decoder rows by what a meta-SAE makes of them",
    .description = "Each row, scaled to unit norm, runs through META, without the meta-latents that --without names, and the "
                   "output is scaled back to the row's norm. Everything else stays. The result is an SAE like any other: "
                   "`evaluate` tells what the model loses with it.",
    .arguments = rebuild_arguments,
    .options = rebuild_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_rebuild,
};
