/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bring in, send out: import model, text, sae; export sae. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/formats/formats.h"

/* ---- Imports that are jobs ---- */

/* Links are resolved in the folder alone: a cache's file has its name from the link. NULL when there is no such folder. */
static char *absolute_path(const char *path)
{
    if (path_is_directory(path))
        return realpath(path, NULL);
    const char *base = path_base(path);
    char *parent = base == path ? xstrdup(".") : xstrndup(path, (size_t)(base - path));
    char *folder = realpath(parent, NULL), *absolute = folder ? path_join(folder, base) : NULL;
    free(folder);
    free(parent);
    return absolute;
}

/* A job may run in a process that has another working directory. */
static void set_path(const struct context *ctx, json *parameters, const char *key, const char *word)
{
    char *path = context_path(ctx, word);
    char *absolute = strcmp(path, "-") == 0 ? NULL : absolute_path(path);
    json_set(parameters, key, json_new_string(absolute ? absolute : path));
    free(absolute);
    free(path);
}

static int run_import(struct context *ctx, const struct invocation *inv, struct writer *out, const char *kind,
                      struct error *err)
{
    const char *name = invocation_option(inv, "name");
    if (already_there(ctx, inv, name)) {
        write_skipped(out, name);
        return STATUS_OK;
    }
    json *parameters = options_parameters(inv);
    set_path(ctx, parameters, "path", invocation_argument(inv, 0));
    if (invocation_option(inv, "tokens"))
        set_path(ctx, parameters, "tokens", invocation_option(inv, "tokens"));
    return command_run_job(ctx, inv, kind, parameters, out, err);
}

static int run_import_model(struct context *ctx, const struct invocation *inv, struct writer *out,
                            struct error *err)
{
    return run_import(ctx, inv, out, "import model", err);
}

static int run_import_text(struct context *ctx, const struct invocation *inv, struct writer *out,
                           struct error *err)
{
    return run_import(ctx, inv, out, "import text", err);
}

static int run_import_sae(struct context *ctx, const struct invocation *inv, struct writer *out,
                          struct error *err)
{
    return run_import(ctx, inv, out, "import sae", err);
}

#define NAME_OPTION                                                                                          \
    {                                                                                                        \
        .name = "name", .type = WORD_NAME_NEW, .value = "N", .help = "its name in the store", .required = 1  \
    }

static const struct argument_spec directory_argument[] = {{.name = "DIR", .type = WORD_DIRECTORY},
                                                          {.name = NULL}};
static const struct argument_spec file_argument[] = {{.name = "FILE|DIR|-", .type = WORD_FILE},
                                                     {.name = NULL}};
static const struct argument_spec path_argument[] = {{.name = "PATH", .type = WORD_FILE}, {.name = NULL}};

static const struct option_spec import_model_options[] = {NAME_OPTION, EXISTING_NAME_OPTIONS, {.name = NULL}};
const struct command import_model_command = {
    .name = "import model",
    .group = GROUP_EXCHANGE,
    .summary = "import a language model from a Hugging Face folder",
    .description =
        "DIR holds config.json; model.safetensors or, when there is none, pytorch_model.bin (F32, F16 or BF16), or "
        "the shards of either with its index (.index.json); and tokenizer.json, or vocab.json and merges.txt. MODELS "
        "lists the families that are known. Matrices keep their precision in the store.",
    .arguments = directory_argument,
    .options = import_model_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_import_model,
};

static const struct option_spec import_text_options[] = {
    NAME_OPTION,
    {.name = "model",
     .type = WORD_MODEL,
     .value = "M",
     .help = "model whose tokenizer is used",
     .required = 1},
    {.name = "documents",
     .type = WORD_WORD,
     .value = "HOW",
     .choices = "line|file",
     .help = "a document is a line of plain text (default) or a file"},
    {.name = "field",
     .type = WORD_WORD,
     .value = "NAME",
     .help = "member of a JSONL line that holds the text (default text); a.b is b of the object a"},
    {.name = "token-type",
     .type = WORD_WORD,
     .value = "T",
     .choices = "u16|u32",
     .help = "the files hold tokens, as little-endian numbers (default: .bin files do, u16 when the vocabulary "
             "has at most 65536)"},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command import_text_command = {
    .name = "import text",
    .group = GROUP_EXCHANGE,
    .summary = "tokenise a text: plain or JSONL, a file, a folder or standard input; or take in tokens",
    .description =
        "Files may be gzip. Bytes that are no valid UTF-8 are kept as bytes. Of token files (.npy, .bin), BOS and EOS "
        "end documents and are not kept.",
    .arguments = file_argument,
    .options = import_text_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_import_text,
};

static int run_import_activations(struct context *ctx, const struct invocation *inv, struct writer *out,
                                  struct error *err)
{
    return run_import(ctx, inv, out, "import activations", err);
}

static const struct option_spec import_activations_options[] = {
    NAME_OPTION,
    {.name = "model", .type = WORD_MODEL, .value = "M", .help = "model that they are of", .required = 1},
    {.name = "hook", .type = WORD_HOOK, .value = "H", .help = "place in the model", .required = 1},
    {.name = "tokens",
     .type = WORD_FILE,
     .value = "FILE",
     .help = "file of the rows' token ids; without it there are no contexts to show"},
    {.name = "tensor",
     .type = WORD_WORD,
     .value = "NAME",
     .help = "which tensor of FILE, when it has several"},
    {.name = "context-size",
     .type = WORD_COUNT,
     .value = "N",
     .help = "rows a context (default: as the files' axes say, else 128)"},
    {.name = "bos", .type = WORD_FLAG, .help = "without --tokens: the first row of each context is BOS's"},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command import_activations_command = {
    .name = "import activations",
    .group = GROUP_EXCHANGE,
    .summary = "import a model's activations that were computed elsewhere",
    .description =
        "PATH is an npy or safetensors file of [tokens, d_in] or [contexts, tokens, d_in]. The name then "
        "stands "
        "wherever a text does: train sae, index, evaluate and stitch read the rows and run no model.",
    .arguments = path_argument,
    .options = import_activations_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_import_activations,
};

static const struct option_spec import_sae_options[] = {
    NAME_OPTION,
    {.name = "format",
     .type = WORD_FORMAT,
     .value = "F",
     .help = "producer's format (default: as the files look)"},
    {.name = "model", .type = WORD_MODEL, .value = "M", .help = "model in the store that it belongs to"},
    {.name = "hook", .type = WORD_HOOK, .value = "H", .help = "hook (default: as the files say)"},
    {.name = "base", .type = WORD_SAE, .value = "SAE", .help = "it is a meta-SAE on this SAE's decoder rows"},
    UNSAID_BY_FILES_OPTIONS,
    {.name = "neuronpedia-id",
     .type = WORD_WORD,
     .value = "MODEL/SOURCE",
     .help = "where it is on Neuronpedia, as in gpt2-small/8-res-jb (default: as the files say)"},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command import_sae_command = {
    .name = "import sae",
    .group = GROUP_EXCHANGE,
    .summary = "import a sparse autoencoder",
    .description = "Reads SAEs of SAELens, Gemma Scope 1 and 2, Llama Scope, Qwen Scope, dictionary_learning, sparsify, OpenAI, Goodfire, "
                   "BatchTopK and others (see FORMATS), and plain files of tensors; the format is told by the files. info shows every quirk that was applied.",
    .arguments = path_argument,
    .options = import_sae_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_import_sae,
};

/* ---- export sae ---- */

static int run_export_sae(struct context *ctx, const struct invocation *inv, struct writer *out,
                          struct error *err)
{
    const char *format = invocation_option(inv, "format"), *type = invocation_option(inv, "dtype");
    enum dtype dtype = DTYPE_F32;
    struct artifact a;
    size_t d_sae;
    if (type && strcmp(type, "float16") == 0)
        dtype = DTYPE_F16;
    else if (type && strcmp(type, "bfloat16") == 0)
        dtype = DTYPE_BF16;
    int status = find_sae(ctx, invocation_argument(inv, 0), &a, &d_sae, err);
    if (status != STATUS_OK)
        return status;
    double start = clock_seconds();
    char *directory = context_path(ctx, invocation_argument(inv, 1));
    status = sae_export_folder(ctx->store, a.id, directory, format ? format : "saelens", dtype, NULL, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a.name);
        writer_string(out, "kind", "sae");
        writer_string(out, "directory", directory);
        writer_real(out, "seconds", clock_seconds() - start);
        writer_end_object(out);
    }
    free(directory);
    return status;
}

static const struct argument_spec export_sae_arguments[] = {
    {.name = "NAME", .type = WORD_SAE}, {.name = "DIR", .type = WORD_DIRECTORY}, {.name = NULL}};
static const struct option_spec export_sae_options[] = {
    {.name = "format",
     .type = WORD_FORMAT_WRITTEN,
     .value = "F",
     .help = "how: saelens (default), safetensors (one file with its metadata) or npz (Gemma Scope's layout)"},
    {.name = "dtype",
     .type = WORD_WORD,
     .value = "T",
     .choices = "float32|float16|bfloat16",
     .help = "type of the weights in the file (default float32)"},
    {.name = NULL},
};
const struct command export_sae_command = {
    .name = "export sae",
    .group = GROUP_EXCHANGE,
    .summary = "write an SAE as a folder that SAELens reads, or as one file of tensors",
    .description = "A BatchTopK SAE is written for SAELens as jumprelu with its threshold, as SAELens does itself.",
    .arguments = export_sae_arguments,
    .options = export_sae_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_export_sae,
};
