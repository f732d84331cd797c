/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands that compute: train sae, train meta, index, evaluate. Each only hands its options to a job. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

#define TRAINING_OPTIONS                                                                                               \
    {.name = "arch", .type = WORD_ARCHITECTURE, .value = "ARCH", .help = "architecture (default batchtopk)"},          \
    {.name = "k", .type = WORD_COUNT, .value = "K", .help = "mean number of active latents a row"},                    \
    {.name = "lr", .type = WORD_NUMBER, .value = "X", .help = "learning rate"},                                        \
    {.name = "batch", .type = WORD_COUNT, .value = "N", .help = "rows a step"},                                        \
    {.name = "steps", .type = WORD_COUNT, .value = "N", .help = "steps (instead of --tokens)"},                        \
    {.name = "warmup", .type = WORD_COUNT, .value = "N", .help = "steps of linear warm-up"},                           \
    {.name = "decay", .type = WORD_NUMBER, .value = "X",                                                               \
     .help = "last fraction of the steps in which the learning rate falls linearly to 0"},                            \
    {.name = "aux-k", .type = WORD_COUNT, .value = "N", .help = "dead latents a row in the auxiliary term"},           \
    {.name = "aux-coefficient", .type = WORD_NUMBER, .value = "X", .help = "weight of the auxiliary term"},            \
    {.name = "dead-after", .type = WORD_COUNT, .value = "N", .help = "silent batches after which a latent is dead"},   \
    {.name = "clip", .type = WORD_NUMBER, .value = "X", .help = "largest gradient norm (0: no clipping)"},             \
    {.name = "seed", .type = WORD_COUNT, .value = "N", .help = "seed of weights and order"}

/* When --if-absent is given: -1 nothing is there, 0 all are there, else an error. */
static int names_absent(struct context *ctx, const struct invocation *inv, struct error *err)
{
    size_t there = 0;
    for (size_t i = 0; i < inv->n_arguments; i++)
        there += already_there(ctx, inv, inv->arguments[i]) != 0;
    if (there == 0)
        return -1;
    if (there == inv->n_arguments)
        return STATUS_OK;
    return error_set(err, STATUS_REFUSED, "some of the names are there already and some are not: train the others alone");
}

static int run_training(struct context *ctx, const struct invocation *inv, struct writer *out, const char *kind,
                        struct error *err)
{
    int status = names_absent(ctx, inv, err);
    if (status == STATUS_OK)
        write_skipped(out, inv->arguments[0]);
    if (status >= STATUS_OK)
        return status;
    json *parameters = options_parameters(inv);
    json *widths = json_retain(json_get(parameters, "width"));
    json_set(parameters, "widths", widths);
    json_set(parameters, "names", argument_list(inv, 0));
    default_seed(ctx, parameters);
    return command_run_job(ctx, inv, kind, parameters, out, err);
}

static int run_train_sae(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    return run_training(ctx, inv, out, "train sae", err);
}

static const struct argument_spec train_arguments[] = {{.name = "NAME", .type = WORD_NAME_NEW, .repeated = 1},
                                                       {.name = NULL}};
static const struct option_spec train_sae_options[] = {
    {.name = "model", .type = WORD_MODEL, .value = "M", .help = "model whose activations are used", .required = 1},
    {.name = "hook", .type = WORD_HOOK, .value = "H", .help = "place in the model", .required = 1},
    {.name = "text", .type = WORD_TEXT_NAME, .value = "T", .help = "text that runs through the model", .required = 1},
    {.name = "width", .type = WORD_COUNT, .value = "W[,W...]", .help = "d_sae, one for each name", .required = 1,
     .list = 1},
    {.name = "tokens", .type = WORD_COUNT, .value = "N", .help = "counted tokens in all (default: the text once)"},
    {.name = "normalize", .type = WORD_WORD, .value = "HOW", .choices = "none|average|layer_norm",
     .help = "scaling of the input while training (default average)"},
    {.name = "center", .type = WORD_FLAG, .help = "subtract each activation's mean over d_model"},
    {.name = "context-size", .type = WORD_COUNT, .value = "N",
     .help = "tokens a context (default: the model's, at most 1024)"},
    {.name = "bos", .type = WORD_FLAG, .help = "start contexts with BOS (default: as TransformerLens does for the model)"},
    {.name = "no-bos", .type = WORD_FLAG, .help = "do not start contexts with BOS"},
    {.name = "preset", .type = WORD_WORD, .value = "NAME", .choices = "batchtopk-paper",
     .help = "the BatchTopK paper's hyperparameters"},
    TRAINING_OPTIONS,
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command train_sae_command = {
    .name = "train sae",
    .group = GROUP_COMPUTE,
    .summary = "train sparse autoencoders on a model's activations",
    .description = "Several names with several widths train from one pass of the model. The last 2% of the text's contexts "
                   "are never trained on; the explained variance and L0 that are reported come from them. A killed run goes on "
                   "from its checkpoint with `resume`.",
    .arguments = train_arguments,
    .options = train_sae_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_train_sae,
};

static int run_train_meta(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    return run_training(ctx, inv, out, "train meta", err);
}

static const struct option_spec train_meta_options[] = {
    {.name = "sae", .type = WORD_SAE, .value = "BASE[,BASE...]",
     .help = "SAE whose decoder rows are decomposed; several: one meta-SAE on the rows of all", .required = 1, .list = 1},
    {.name = "width", .type = WORD_COUNT, .value = "W", .help = "number of meta-latents", .required = 1, .list = 1},
    {.name = "raw-rows", .type = WORD_FLAG, .help = "train on the rows as they are, not scaled to unit norm"},
    {.name = "permute-columns", .type = WORD_FLAG,
     .help = "train on rows whose columns are independently permuted: the baseline that structure is judged by"},
    {.name = "alive", .type = WORD_FLAG, .help = "leave out latents that never fired in BASE's index"},
    {.name = "alive-density", .type = WORD_NUMBER, .value = "X",
     .help = "leave out latents that fired on at most this fraction of the index's tokens"},
    {.name = "weight", .type = WORD_WORD, .value = "HOW", .choices = "uniform|frequency",
     .help = "each row once an epoch (the default), or drawn as often as its latent fires in BASE's index"},
    {.name = "preset", .type = WORD_WORD, .value = "NAME", .choices = "paper|post|dashboard",
     .help = "hyperparameters of the paper, of the post before it, or of its dashboard"},
    TRAINING_OPTIONS,
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command train_meta_command = {
    .name = "train meta",
    .group = GROUP_COMPUTE,
    .summary = "train a meta-SAE on the decoder rows of SAEs",
    .description = "A small SAE on the rows of BASE's W_dec: its latents, the meta-latents, are the parts that BASE's latents "
                   "are made of. BASE may be a meta-SAE itself.",
    .arguments = train_arguments,
    .options = train_meta_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_train_meta,
};

/* Whether the SAE has an index already (over `text`, when one is named). */
static int indexed(struct context *ctx, const char *sae, const char *text)
{
    struct store_txn *t;
    struct artifact a, over;
    int there = 0;
    if (store_begin(ctx->store, &t, NULL) != STATUS_OK)
        return 0;
    if (store_find(t, ARTIFACT_SAE, sae, &a, NULL) == STATUS_OK) {
        artifact_id index = store_index_of(t, a.id);
        json *m = index ? store_manifest(t, index, NULL) : NULL;
        artifact_id id = (artifact_id)json_get_integer(json_get(m, "references"), "text", 0);
        there = m && (!text || id == 0 || (store_get(t, id, &over, NULL) == STATUS_OK && strcmp(over.name, text) == 0));
        json_free(m);
    }
    store_end(t);
    return there;
}

static int run_index(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    json *parameters = options_parameters(inv), *saes = json_new_array();
    for (size_t i = 0; i < inv->n_arguments; i++)
        if (!invocation_flag(inv, "if-absent") || !indexed(ctx, inv->arguments[i], invocation_option(inv, "text")))
            json_append(saes, json_new_string(inv->arguments[i]));
    size_t n = json_length(saes);
    json_set(parameters, "saes", saes);
    default_seed(ctx, parameters);
    if (n > 0)
        return command_run_job(ctx, inv, "index", parameters, out, err);
    json_free(parameters);
    write_skipped(out, inv->arguments[0]);
    return STATUS_OK;
}

static const struct argument_spec index_arguments[] = {{.name = "SAE", .type = WORD_SAE, .repeated = 1}, {.name = NULL}};
static const struct option_spec index_options[] = {
    {.name = "text", .type = WORD_TEXT_NAME, .value = "T", .help = "text that runs through the model (not for meta-SAEs)"},
    {.name = "tokens", .type = WORD_COUNT, .value = "N", .help = "counted tokens (default: the whole text)"},
    {.name = "seed", .type = WORD_COUNT, .value = "N", .help = "seed of the sampled contexts"},
    {.name = "if-absent", .type = WORD_FLAG, .help = "leave SAEs out that have an index over this text"},
    {.name = NULL},
};
const struct command index_command = {
    .name = "index",
    .group = GROUP_COMPUTE,
    .summary = "find where each latent fires: counts, histograms, top and sampled contexts, first labels",
    .description = "Several SAEs on one hook are indexed in one pass of the model. A meta-SAE is indexed over its bases' "
                   "decoder rows and needs no text.",
    .arguments = index_arguments,
    .options = index_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_index,
};

static int run_evaluate(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    json *parameters = options_parameters(inv);
    json_set(parameters, "sae", json_new_string(invocation_argument(inv, 0)));
    return command_run_job(ctx, inv, "evaluate", parameters, out, err);
}

static const struct argument_spec evaluate_arguments[] = {{.name = "SAE", .type = WORD_SAE}, {.name = NULL}};
static const struct option_spec evaluate_options[] = {
    {.name = "text", .type = WORD_TEXT_NAME, .value = "T", .help = "text to evaluate on (not for meta-SAEs)"},
    {.name = "tokens", .type = WORD_COUNT, .value = "N", .help = "counted tokens (default: the whole text)"},
    {.name = "held-out", .type = WORD_FLAG, .help = "only the last 2% of the text's contexts, which training never uses"},
    {.name = "saebench", .type = WORD_FLAG, .help = "SAEBench's own formulas where they differ"},
    {.name = NULL},
};
const struct command evaluate_command = {
    .name = "evaluate",
    .group = GROUP_COMPUTE,
    .summary = "measure an SAE: sparsity, reconstruction, and the model's cross-entropy with it spliced in",
    .arguments = evaluate_arguments,
    .options = evaluate_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_evaluate,
};
