/* SPDX-License-Identifier: GPL-3.0-or-later */
/* export stitch: a stitch as TSV, JSON or a picture. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/analysis/stitch_svg.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

static const char *const formats[] = {"tsv", "json", "svg"};

/* As --format says, else the file's ending. */
static int find_format(const struct invocation *inv, const char **format, struct error *err)
{
    const char *file = invocation_argument(inv, 1), *ending = strrchr(file, '.');
    *format = invocation_option(inv, "format");
    for (size_t i = 0; !*format && ending && i < ARRAY_LENGTH(formats); i++)
        if (strcasecmp(ending + 1, formats[i]) == 0)
            *format = formats[i];
    if (*format)
        return STATUS_OK;
    char *shown = displayable_string(file);
    error_set(err, STATUS_USAGE, "the name %s does not end in .tsv, .json or .svg: give --format", shown);
    free(shown);
    return STATUS_USAGE;
}

static int append(void *arg, const char *bytes, size_t n)
{
    strbuf_add(arg, bytes, n);
    return 0;
}

/* What `info NAME --latents` writes: in TSV the table of latents. */
static int write_text(struct store_txn *t, artifact_id stitch, enum writer_format format, struct strbuf *out,
                      struct error *err)
{
    struct writer *w = writer_new(format, append, out);
    writer_begin_object(w, NULL);
    int status = write_stitch(w, t, stitch, 1, err);
    writer_end_object(w);
    if (status == STATUS_OK)
        status = writer_commit(w, err);
    else
        writer_discard(w);
    writer_free(w);
    return status;
}

static int write_picture(struct store_txn *t, artifact_id stitch, struct strbuf *out, struct error *err)
{
    struct stitch_facts f;
    struct stitch_latents l = {0};
    struct stitch_path p = {0};
    int status = stitch_facts_read(t, stitch, &f, err);
    if (status != STATUS_OK)
        return status;
    status = stitch_latents_read(t, &f, &l, err);
    if (status == STATUS_OK)
        status = stitch_path_read(t, &f, &p, err);
    if (status == STATUS_OK)
        stitch_svg(&f, &l, &p, out);
    stitch_path_free(&p);
    stitch_latents_free(&l);
    stitch_facts_free(&f);
    return status;
}

static int write_document(struct context *ctx, const struct invocation *inv, const char *format,
                          struct artifact *a, struct strbuf *out, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_STITCH, invocation_argument(inv, 0), a, err);
    if (status == STATUS_OK)
        status = strcmp(format, "svg") == 0
                     ? write_picture(t, a->id, out, err)
                     : write_text(t, a->id, strcmp(format, "tsv") == 0 ? WRITE_TSV : WRITE_JSON, out, err);
    store_end(t);
    return status;
}

static int run_export_stitch(struct context *ctx, const struct invocation *inv, struct writer *out,
                             struct error *err)
{
    struct artifact a;
    struct strbuf document = STRBUF_INIT;
    const char *format, *file = invocation_argument(inv, 1);
    int status = find_format(inv, &format, err);
    if (status == STATUS_OK)
        status = write_document(ctx, inv, format, &a, &document, err);
    if (status == STATUS_OK)
        status = save_document(ctx, inv, file, &document, err);
    if (status == STATUS_OK && strcmp(file, "-") != 0) {
        char *shown = displayable_string(file);
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_line(out, "%s is in %s as %s", a.name, shown, format);
        free(shown);
        writer_string(out, "name", a.name);
        writer_string(out, "kind", "stitch");
        writer_string(out, "format", format);
        writer_bytes(out, "file", file, strlen(file));
        writer_integer(out, "bytes", (long long)document.length);
        writer_end_object(out);
    }
    strbuf_free(&document);
    return status;
}

static const struct argument_spec export_stitch_arguments[] = {
    {.name = "NAME", .type = WORD_STITCH}, {.name = "FILE", .type = WORD_FILE}, {.name = NULL}};
static const struct option_spec export_stitch_options[] = {
    {.name = "format",
     .type = WORD_WORD,
     .value = "F",
     .choices = "tsv|json|svg",
     .help = "as which (default: as the file's name ends)"},
    {.name = "replace", .type = WORD_FLAG, .help = "overwrite the file if it is there"},
    {.name = NULL},
};
const struct command export_stitch_command = {
    .name = "export stitch",
    .group = GROUP_EXCHANGE,
    .summary = "write a stitch as TSV, JSON or an SVG picture (- is standard output)",
    .description = "TSV has a line a latent of the larger SAE; JSON has the stitch with its latents and its "
                   "path; the picture "
                   "has the latents by cosine and change of error, and the curves of the path.",
    .arguments = export_stitch_arguments,
    .options = export_stitch_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_export_stitch,
};
