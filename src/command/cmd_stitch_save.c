/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stitch NAME --step N --save SAE: the SAE at a step of a stitch that is there. */
#include "config.h"

#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

static int check_options(const struct invocation *inv, struct error *err)
{
    static const char *const others[] = {"small",     "large",        "text",  "tokens",
                                         "threshold", "decoder-bias", "order", "control",
                                         "ce-steps",  "ce-tokens",    "seed"};
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++)
        if (invocation_option(inv, others[i]))
            return error_set(err, STATUS_USAGE,
                             "--%s makes a stitch: --step and --save take an SAE out of one that is there",
                             others[i]);
    if (!invocation_option(inv, "step"))
        return error_set(err, STATUS_USAGE, "--save needs --step N: which SAE of the path is meant");
    if (!invocation_option(inv, "save"))
        return error_set(err, STATUS_USAGE, "--step needs --save SAE: the name of the SAE");
    return STATUS_OK;
}

int run_stitch_save(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *name = invocation_option(inv, "save");
    int status = check_options(inv, err);
    if (status != STATUS_OK)
        return status;
    if (already_there(ctx, inv, name)) {
        write_skipped(out, name);
        return STATUS_OK;
    }
    json *parameters = json_new_object();
    json_set(parameters, "stitch", json_new_string(invocation_argument(inv, 0)));
    json_set(parameters, "step", json_new_integer((long long)invocation_count(inv, "step", 0)));
    json_set(parameters, "name", json_new_string(name));
    json_set(parameters, "replace", json_new_boolean(invocation_flag(inv, "replace")));
    return command_run_job(ctx, inv, "stitch sae", parameters, out, err);
}
