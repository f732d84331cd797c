/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bring in from the Hugging Face Hub: pull. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/command/handlers.h"
#include "saescope/formats/releases.h"

/* A job may run in a process that has another working directory. */
static char *absolute_path(const struct context *ctx, const char *given)
{
    char *path = context_path(ctx, given), *here = *path == '/' ? NULL : getcwd(NULL, 0);
    if (!here)
        return path;
    char *whole = path_join(here, path);
    free(here);
    free(path);
    return whole;
}

static int run_pull(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *from = invocation_argument(inv, 0), *given = invocation_option(inv, "name"),
               *cache = invocation_option(inv, "cache"), *import = invocation_option(inv, "import");
    struct release r;
    int status = release_find(from, &r, err);
    if (status != STATUS_OK)
        return status;
    char *own = release_store_name(&r);
    const char *name = given ? given : own;
    json *parameters = NULL;
    if (already_there(ctx, inv, name)) {
        write_skipped(out, name);
    } else {
        parameters = options_parameters(inv);
        json_set(parameters, "from", json_new_string(from));
        if (!import || strcmp(import, "none") != 0)
            json_set(parameters, "name", json_new_string(name));
        if (cache) {
            char *path = absolute_path(ctx, cache);
            json_set(parameters, "cache", json_new_string(path));
            free(path);
        }
    }
    free(own);
    release_free(&r);
    return parameters ? command_run_job(ctx, inv, "pull", parameters, out, err) : STATUS_OK;
}

static const struct argument_spec source_argument[] = {{.name = "SOURCE", .type = WORD_RELEASE},
                                                       {.name = NULL}};
static const struct option_spec pull_options[] = {
    {.name = "name",
     .type = WORD_NAME_NEW,
     .value = "N",
     .help = "its name in the store (default: made from SOURCE)"},
    {.name = "import",
     .type = WORD_WORD,
     .value = "WHAT",
     .choices = "auto|model|sae|none",
     .help = "what the files are (default auto: as they look); none only downloads"},
    {.name = "files",
     .type = WORD_WORD,
     .value = "PATTERN",
     .help = "download the files that match (* ? [...]) instead of those that are needed"},
    {.name = "cache",
     .type = WORD_DIRECTORY,
     .value = "DIR",
     .help = "keep files in DIR (default: the cache of the Hub's own tools)"},
    {.name = "format",
     .type = WORD_FORMAT,
     .value = "F",
     .help = "an SAE's format (default: as the files look)"},
    {.name = "model", .type = WORD_MODEL, .value = "M", .help = "model in the store that an SAE belongs to"},
    {.name = "hook",
     .type = WORD_HOOK,
     .value = "H",
     .help = "an SAE's hook (default: as the files or the release say)"},
    {.name = "base", .type = WORD_SAE, .value = "SAE", .help = "it is a meta-SAE on this SAE's decoder rows"},
    UNSAID_BY_FILES_OPTIONS,
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command pull_command = {
    .name = "pull",
    .group = GROUP_EXCHANGE,
    .summary = "download a model or an SAE from the Hugging Face Hub and import it",
    .description = "SOURCE is hf:OWNER/REPO[@REVISION][/FOLDER], or a short name such as gpt2 or "
                   "gpt2-small-res-jb/blocks.8.hook_resid_pre (completion lists them). Only what is needed "
                   "is downloaded, into the "
                   "cache of the Hub's own tools; what is there already is used in place.",
    .arguments = source_argument,
    .options = pull_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_pull,
};
