/* SPDX-License-Identifier: GPL-3.0-or-later */
/* open: where a latent is on Neuronpedia. */
#include "config.h"

#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/formats/neuronpedia.h"

#define NEURONPEDIA "https://neuronpedia.org"

static int find_place(struct context *ctx, const struct invocation *inv, struct address *at,
                      struct neuronpedia_place *place, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, t, at, err);
    if (status == STATUS_OK)
        status = neuronpedia_place_of(t, at->sae.id, place, err);
    store_end(t);
    if (status == STATUS_OK && !place->known)
        status =
            error_set(err, STATUS_REFUSED,
                      "%s has no neuronpedia_id: `import sae` takes it with --neuronpedia-id MODEL/SOURCE",
                      at->sae.name);
    return status;
}

static int run_open(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct address at;
    struct neuronpedia_place place = {0};
    int status = find_place(ctx, inv, &at, &place, err);
    if (status == STATUS_OK) {
        char *url = xasprintf("%s/%s/%s/%zu", NEURONPEDIA, place.model, place.source, at.latent);
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "sae", at.sae.name);
        writer_integer(out, "latent", (long long)at.latent);
        writer_string(out, "url", url);
        if (ctx->frontend && ctx->frontend->copy)
            ctx->frontend->copy(ctx->frontend->arg, url);
        else
            writer_line(out, "%s", url);
        writer_end_object(out);
        free(url);
    }
    neuronpedia_place_free(&place);
    return status;
}

static const struct argument_spec open_arguments[] = {{.name = "SAE/ID", .type = WORD_ADDRESS},
                                                      {.name = NULL}};
const struct command open_command = {
    .name = "open",
    .group = GROUP_EXPLORE,
    .summary = "print a latent's address on Neuronpedia; in the explorer, put it on the clipboard",
    .description = "Of an SAE whose files had a neuronpedia_id, or that was imported with --neuronpedia-id.",
    .arguments = open_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_open,
};
