/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bring in, send out: import model, text, sae, labels; export sae, labels. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/formats/formats.h"

#define LABELS_BYTES_MAX ((size_t)1 << 30)

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

static int run_import(struct context *ctx, const struct invocation *inv, struct writer *out, const char *kind,
                      struct error *err)
{
    const char *name = invocation_option(inv, "name");
    if (already_there(ctx, inv, name)) {
        write_skipped(out, name);
        return STATUS_OK;
    }
    json *parameters = options_parameters(inv);
    char *path = context_path(ctx, invocation_argument(inv, 0));
    /* A job may run in a process that has another working directory. */
    char *absolute = strcmp(path, "-") == 0 ? NULL : absolute_path(path);
    json_set(parameters, "path", json_new_string(absolute ? absolute : path));
    free(absolute);
    free(path);
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
        "DIR holds config.json, model.safetensors (F32, F16 or BF16) or its shards with "
        "model.safetensors.index.json, and tokenizer.json, or vocab.json and merges.txt. MODELS lists the families "
        "that are known. Matrices keep their precision in the store.",
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

static const struct option_spec import_sae_options[] = {
    NAME_OPTION,
    {.name = "format",
     .type = WORD_FORMAT,
     .value = "F",
     .help = "producer's format (default: as the files look)"},
    {.name = "model", .type = WORD_MODEL, .value = "M", .help = "model in the store that it belongs to"},
    {.name = "hook", .type = WORD_HOOK, .value = "H", .help = "hook (default: as the files say)"},
    {.name = "base", .type = WORD_SAE, .value = "SAE", .help = "it is a meta-SAE on this SAE's decoder rows"},
    {.name = "k", .type = WORD_COUNT, .value = "K", .help = "latents that a token keeps, when the files do not say"},
    {.name = "apply-b-dec-to-input",
     .type = WORD_WORD,
     .value = "yes|no",
     .choices = "yes|no",
     .help = "whether b_dec is subtracted, when the files do not say"},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command import_sae_command = {
    .name = "import sae",
    .group = GROUP_EXCHANGE,
    .summary = "import a sparse autoencoder",
    .description = "Reads SAELens, Gemma Scope 1 and 2, Llama Scope, dictionary_learning, sparsify, OpenAI, Goodfire and BatchTopK "
                   "SAEs, and plain files of tensors; the format is told by the files. info shows every quirk that was applied.",
    .arguments = path_argument,
    .options = import_sae_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_import_sae,
};

/* ---- export sae ---- */

static int find_sae(struct context *ctx, const char *name, struct artifact *a, size_t *d_sae,
                    struct error *err)
{
    struct store_txn *t;
    struct sae_facts facts;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_SAE, name, a, err);
    if (status == STATUS_OK)
        status = sae_facts_read(t, a->id, &facts, err);
    if (status == STATUS_OK) {
        *d_sae = facts.d_sae;
        sae_facts_free(&facts);
    }
    store_end(t);
    return status;
}

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

/* ---- Labels as TSV: latent, label ---- */

struct label_lines {
    struct label *labels;
    size_t n;
};

/* One line "LATENT<tab>LABEL" with \t \n \r \\ escaped; unescaped in place. */
static int parse_label_line(char *line, size_t d_sae, struct label *label, struct error *err)
{
    unsigned long long latent;
    char *tab = strchr(line, '\t'), *to;
    if (!tab)
        return error_set(err, STATUS_REFUSED, "no tab: a line is LATENT<tab>LABEL");
    *tab = '\0';
    if (parse_u64(line, 0, UINT64_MAX >> 1, &latent) != 0)
        return error_set(err, STATUS_REFUSED, "the first field is no latent's number");
    if (latent >= d_sae)
        return error_set(err, STATUS_REFUSED, "latent %llu is not in 0 ... %zu", latent, d_sae - 1);
    to = tab + 1;
    for (const char *from = tab + 1; *from && *from != '\t'; from++) {
        if (*from == '\\' && from[1]) {
            from++;
            *to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    *label = (struct label){latent, LABEL_IMPORTED, tab + 1, (size_t)(to - (tab + 1))};
    return STATUS_OK;
}

static int parse_labels(char *text, const char *path, size_t d_sae, struct label_lines *out,
                        struct error *err)
{
    size_t line = 0;
    int status = STATUS_OK;
    for (char *next; text && *text && status == STATUS_OK; text = next) {
        char *end = text + strcspn(text, "\n");
        next = *end ? end + 1 : NULL;
        *end = '\0';
        if (end > text && end[-1] == '\r')
            end[-1] = '\0';
        line++;
        if (*text == '\0' || (line == 1 && strncmp(text, "latent\t", 7) == 0))
            continue;
        out->labels = xreallocarray(out->labels, out->n + 1, sizeof *out->labels);
        status = parse_label_line(text, d_sae, &out->labels[out->n], err);
        if (status == STATUS_OK)
            out->n++;
        else
            error_prefix(err, "%s:%zu", path, line);
    }
    return status;
}

static int run_import_labels(struct context *ctx, const struct invocation *inv, struct writer *out,
                             struct error *err)
{
    struct artifact a;
    size_t d_sae;
    struct strbuf text = STRBUF_INIT;
    struct label_lines lines = {NULL, 0};
    double start = clock_seconds();
    int status = find_sae(ctx, invocation_option(inv, "sae"), &a, &d_sae, err);
    if (status != STATUS_OK)
        return status;
    char *path = context_path(ctx, invocation_argument(inv, 0));
    status = file_read(path, LABELS_BYTES_MAX, &text, err);
    if (status == STATUS_OK && text.length > 0)
        status = parse_labels(text.data, path, d_sae, &lines, err);
    if (status == STATUS_OK)
        status = store_put_labels(ctx->store, a.id, lines.labels, lines.n, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a.name);
        writer_string(out, "kind", "labels");
        writer_integer(out, "labels", (long long)lines.n);
        writer_integer(out, "bytes", (long long)text.length);
        writer_real(out, "seconds", clock_seconds() - start);
        writer_end_object(out);
    }
    free(lines.labels);
    strbuf_free(&text);
    free(path);
    return status;
}

static const struct option_spec import_labels_options[] = {
    {.name = "sae", .type = WORD_SAE, .value = "S", .help = "SAE whose latents they name", .required = 1},
    {.name = NULL},
};
static const struct argument_spec labels_file_argument[] = {{.name = "FILE", .type = WORD_FILE},
                                                            {.name = NULL}};
const struct command import_labels_command = {
    .name = "import labels",
    .group = GROUP_EXCHANGE,
    .summary = "import labels of latents from a TSV file",
    .description =
        "Lines LATENT<tab>LABEL; a first line that starts with latent<tab> is a heading. Your own labels go "
        "before imported ones, and those before automatic ones.",
    .arguments = labels_file_argument,
    .options = import_labels_options,
    .cost = COST_QUERY,
    .needs_store = 2,
    .run = run_import_labels,
};

static void add_escaped(struct strbuf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *escape = s[i] == '\t' ? "\\t" : s[i] == '\n' ? "\\n" : s[i] == '\r' ? "\\r" : NULL;
        if (s[i] == '\\')
            escape = "\\\\";
        if (escape)
            strbuf_adds(b, escape);
        else
            strbuf_addc(b, s[i]);
    }
}

struct export_lines {
    struct strbuf text;
    size_t n;
};

static int add_label_line(const struct label *label, void *arg)
{
    struct export_lines *lines = arg;
    strbuf_addf(&lines->text, "%llu\t", (unsigned long long)label->latent);
    add_escaped(&lines->text, label->text, label->n);
    strbuf_addc(&lines->text, '\n');
    lines->n++;
    return 0;
}

static int run_export_labels(struct context *ctx, const struct invocation *inv, struct writer *out,
                             struct error *err)
{
    struct artifact a;
    size_t d_sae;
    struct store_txn *t;
    struct export_lines lines = {STRBUF_INIT, 0};
    int status = find_sae(ctx, invocation_argument(inv, 0), &a, &d_sae, err);
    if (status == STATUS_OK)
        status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    strbuf_adds(&lines.text, "latent\tlabel\n");
    status = store_labels_each(t, a.id, add_label_line, &lines, err);
    store_end(t);
    char *path = context_path(ctx, invocation_argument(inv, 1));
    int to_output = strcmp(path, "-") == 0;
    if (status == STATUS_OK && to_output)
        status = print_document(ctx, &lines.text, err);
    else if (status == STATUS_OK)
        status = file_write_atomic(path, lines.text.data, lines.text.length, err);
    if (status == STATUS_OK && !to_output) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a.name);
        writer_string(out, "kind", "labels");
        writer_integer(out, "labels", (long long)lines.n);
        writer_integer(out, "bytes", (long long)lines.text.length);
        writer_end_object(out);
    }
    strbuf_free(&lines.text);
    free(path);
    return status;
}

static const struct argument_spec export_labels_arguments[] = {
    {.name = "SAE", .type = WORD_SAE}, {.name = "FILE", .type = WORD_FILE}, {.name = NULL}};
const struct command export_labels_command = {
    .name = "export labels",
    .group = GROUP_EXCHANGE,
    .summary = "write the shown labels of an SAE's latents as TSV (- is standard output)",
    .arguments = export_labels_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_export_labels,
};
