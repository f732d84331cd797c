/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Labels in and out: TSV (latent, label) and Neuronpedia's explanations, JSON lines. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/files/gzip.h"
#include "saescope/formats/neuronpedia.h"

#define LABELS_BYTES_MAX ((size_t)1 << 30)

/* ---- TSV: latent, label ---- */

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

static int read_text(const char *path, struct strbuf *out, struct error *err)
{
    struct gzip_reader *r;
    size_t got = 1;
    char *piece = xmalloc(65536);
    int status = gzip_reader_open(path, &r, err);
    while (status == STATUS_OK && got > 0) {
        status = gzip_reader_read(r, piece, 65536, &got, err);
        if (status == STATUS_OK && got > LABELS_BYTES_MAX - out->length)
            status = error_set(err, STATUS_REFUSED, "the labels are over %zu bytes", LABELS_BYTES_MAX);
        if (status == STATUS_OK)
            strbuf_add(out, piece, got);
    }
    free(piece);
    gzip_reader_close(r);
    return status;
}

/* Whether it is a folder or begins with a brace: no TSV does. Standard input is not looked at. */
static int looks_like_json_lines(const char *path)
{
    struct gzip_reader *r;
    char first = '\0';
    size_t got = 0;
    if (strcmp(path, "-") == 0)
        return 0;
    if (path_is_directory(path))
        return 1;
    if (gzip_reader_open(path, &r, NULL) == STATUS_OK) {
        while (gzip_reader_read(r, &first, 1, &got, NULL) == STATUS_OK && got && strchr(" \t\r\n", first))
            continue;
        gzip_reader_close(r);
    }
    return got && first == '{';
}

static int import_tsv(struct context *ctx, const char *path, artifact_id sae, size_t d_sae,
                      struct neuronpedia_labels *out, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    struct label_lines lines = {NULL, 0};
    int status = read_text(path, &text, err);
    if (status == STATUS_OK && text.length > 0)
        status = parse_labels(text.data, path, d_sae, &lines, err);
    if (status == STATUS_OK)
        status = store_put_labels(ctx->store, sae, lines.labels, lines.n, err);
    out->n = out->rows = lines.n;
    out->bytes = text.length;
    free(lines.labels);
    strbuf_free(&text);
    return status;
}

static int import_explanations(struct context *ctx, const char *path, artifact_id sae, size_t d_sae,
                               struct neuronpedia_labels *out, struct error *err)
{
    int status = neuronpedia_labels_read(path, d_sae, out, err);
    return status == STATUS_OK ? store_put_labels(ctx->store, sae, out->labels, out->n, err) : status;
}

static int run_import_labels(struct context *ctx, const struct invocation *inv, struct writer *out,
                             struct error *err)
{
    const char *format = invocation_option(inv, "format");
    struct neuronpedia_labels labels = {0};
    struct artifact a;
    size_t d_sae;
    double start = clock_seconds();
    int status = find_sae(ctx, invocation_option(inv, "sae"), &a, &d_sae, err);
    if (status != STATUS_OK)
        return status;
    char *path = context_path(ctx, invocation_argument(inv, 0));
    int json_lines = format ? strcmp(format, "neuronpedia") == 0 : looks_like_json_lines(path);
    status = json_lines ? import_explanations(ctx, path, a.id, d_sae, &labels, err)
                        : import_tsv(ctx, path, a.id, d_sae, &labels, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a.name);
        writer_string(out, "kind", "labels");
        writer_string(out, "format", json_lines ? "neuronpedia" : "tsv");
        writer_integer(out, "labels", (long long)labels.n);
        writer_integer(out, "rows", (long long)labels.rows);
        writer_integer(out, "bytes", (long long)labels.bytes);
        writer_real(out, "seconds", clock_seconds() - start);
        writer_end_object(out);
    }
    if (json_lines)
        neuronpedia_labels_free(&labels);
    free(path);
    return status;
}

#define FORMAT_OPTION(what)                                                                                  \
    {                                                                                                        \
        .name = "format", .type = WORD_WORD, .value = "F", .choices = "tsv|neuronpedia", .help = what        \
    }

static const struct option_spec import_labels_options[] = {
    {.name = "sae", .type = WORD_SAE, .value = "S", .help = "SAE whose latents they name", .required = 1},
    FORMAT_OPTION("tsv or neuronpedia (default: as the file looks)"),
    {.name = NULL},
};
static const struct argument_spec labels_file_argument[] = {{.name = "FILE|DIR", .type = WORD_FILE},
                                                            {.name = NULL}};
const struct command import_labels_command = {
    .name = "import labels",
    .group = GROUP_EXCHANGE,
    .summary = "import labels of latents: TSV, or Neuronpedia's explanations",
    .description = "TSV lines are LATENT<tab>LABEL; a first line that starts with latent<tab> is a heading. "
                   "Explanations are JSON "
                   "lines, one file or a folder of batch-N.jsonl or batch-N.jsonl.gz; of several "
                   "explanations of a latent "
                   "the last by createdAt is taken, of equally late ones the first. Either may be gzip. Your "
                   "own labels go before "
                   "imported ones, and those before automatic ones.",
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
    const struct neuronpedia_place *place; /* NULL: TSV */
};

static int add_label_line(const struct label *label, void *arg)
{
    struct export_lines *lines = arg;
    lines->n++;
    if (lines->place) {
        neuronpedia_label_line(&lines->text, lines->place, label);
        return 0;
    }
    strbuf_addf(&lines->text, "%llu\t", (unsigned long long)label->latent);
    add_escaped(&lines->text, label->text, label->n);
    strbuf_addc(&lines->text, '\n');
    return 0;
}

/* Whether the file is to be Neuronpedia's: as --format or the name says. */
static int to_json_lines(const struct invocation *inv, const char *path)
{
    const char *format = invocation_option(inv, "format");
    if (format)
        return strcmp(format, "neuronpedia") == 0;
    return string_ends_with(path, ".jsonl") || string_ends_with(path, ".jsonl.gz");
}

static int gather_lines(struct context *ctx, artifact_id sae, int json_lines, struct export_lines *lines,
                        struct error *err)
{
    struct neuronpedia_place place = {0};
    struct store_txn *t;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    if (json_lines)
        status = neuronpedia_place_of(t, sae, &place, err);
    else
        strbuf_adds(&lines->text, "latent\tlabel\n");
    lines->place = json_lines ? &place : NULL;
    if (status == STATUS_OK)
        status = store_labels_each(t, sae, add_label_line, lines, err);
    store_end(t);
    neuronpedia_place_free(&place);
    return status;
}

static int write_file(const char *path, const struct strbuf *text, uint64_t *size, struct error *err)
{
    struct gzip_writer *w;
    int status = gzip_writer_open(path, string_ends_with(path, ".gz"), &w, err);
    if (status != STATUS_OK)
        return status;
    status = gzip_writer_write(w, strbuf_string(text), text->length, err);
    if (status == STATUS_OK)
        return gzip_writer_finish(w, size, err);
    gzip_writer_abandon(w);
    return status;
}

static int run_export_labels(struct context *ctx, const struct invocation *inv, struct writer *out,
                             struct error *err)
{
    struct artifact a;
    size_t d_sae;
    uint64_t size = 0;
    struct export_lines lines = {STRBUF_INIT, 0, NULL};
    int status = find_sae(ctx, invocation_argument(inv, 0), &a, &d_sae, err);
    if (status != STATUS_OK)
        return status;
    char *path = context_path(ctx, invocation_argument(inv, 1));
    int to_output = strcmp(path, "-") == 0;
    status = gather_lines(ctx, a.id, to_json_lines(inv, path), &lines, err);
    if (status == STATUS_OK)
        status =
            to_output ? print_document(ctx, &lines.text, err) : write_file(path, &lines.text, &size, err);
    if (status == STATUS_OK && !to_output) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a.name);
        writer_string(out, "kind", "labels");
        writer_integer(out, "labels", (long long)lines.n);
        writer_integer(out, "bytes", (long long)size);
        writer_end_object(out);
    }
    strbuf_free(&lines.text);
    free(path);
    return status;
}

static const struct argument_spec export_labels_arguments[] = {
    {.name = "SAE", .type = WORD_SAE}, {.name = "FILE", .type = WORD_FILE}, {.name = NULL}};
static const struct option_spec export_labels_options[] = {
    FORMAT_OPTION("tsv or neuronpedia (default: neuronpedia for .jsonl and .jsonl.gz, else tsv)"),
    {.name = NULL},
};
const struct command export_labels_command = {
    .name = "export labels",
    .group = GROUP_EXCHANGE,
    .summary = "write the shown labels of an SAE's latents (- is standard output)",
    .description =
        "As TSV, or as Neuronpedia's explanations, JSON lines; a name that ends in .gz is compressed.",
    .arguments = export_labels_arguments,
    .options = export_labels_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_export_labels,
};
