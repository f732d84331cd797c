/* SPDX-License-Identifier: GPL-3.0-or-later */
/* report: a meta-SAE beside its baselines. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

/* A column of a table, and the member of the result that is in it. In JSON the result is written as it is. */
struct cell {
    struct writer_column column;
    enum { TEXT, INTEGER, REAL } type;
};

static double number(const json *object, const char *key)
{
    return json_get_number(object, key, NAN);
}

static void write_cell(struct writer *out, const struct cell *m, const json *row)
{
    const char *name = m->column.name;
    const json *value = json_get(row, name);
    if (json_is_null(value))
        writer_null(out, name);
    else if (m->type == TEXT)
        writer_string(out, name, json_string(value, NULL));
    else if (m->type == INTEGER)
        writer_integer(out, name, json_integer(value, 0));
    else
        writer_real(out, name, json_number(value, NAN));
}

enum { CELLS_MAX = 8 };

static void write_row(struct writer *out, const struct cell *cells, size_t n, const json *row)
{
    writer_begin_row(out);
    for (size_t i = 0; i < n; i++)
        write_cell(out, &cells[i], row);
    writer_end_row(out);
}

/* first: a row before the others, or NULL. */
static void write_table(struct writer *out, const char *name, const struct cell *cells, size_t n,
                        const json *first, const json *rows)
{
    struct writer_column columns[CELLS_MAX] = {{0}};
    for (size_t i = 0; i < n; i++)
        columns[i] = cells[i].column;
    writer_begin_table(out, name, columns, n);
    if (first)
        write_row(out, cells, n, first);
    for (size_t i = 0; i < json_length(rows); i++)
        write_row(out, cells, n, json_at(rows, i));
    writer_end_table(out);
}

static void write_heading(struct writer *out, const json *r)
{
    long long bases = json_get_integer(r, "bases", 1);
    writer_line(out, "%s, %lld meta-latents on %lld decoder rows of %s%s", json_get_string(r, "meta", ""),
                json_get_integer(r, "width", 0), json_get_integer(r, "rows", 0),
                json_get_string(r, "base", ""), bases > 1 ? " and other SAEs" : "");
    writer_line(out, "%s", "");
    writer_line(out, "explained variance  %.4f with the threshold, %.4f as in training (BatchTopK)",
                number(r, "explained_variance"), number(r, "explained_variance_batchtopk"));
    writer_line(out, "mse %.4g, %.2f meta-latents a row, %.1f%% of them dead", number(r, "mse"),
                number(r, "l0"), 100 * number(r, "dead_fraction"));
}

static void write_baselines(struct writer *out, const json *r)
{
    static const struct cell cells[] = {{{"baseline", NULL, NULL, 1}, TEXT},
                                        {{"sae", "SAE", NULL, 1}, TEXT},
                                        {{"explained_variance", "explained variance", "%.4f", 0}, REAL},
                                        {{"mse", NULL, "%.4g", 0}, REAL},
                                        {{"l0", "terms", "%.2f", 0}, REAL}};
    static const char *const shared[] = {"explained_variance", "mse", "l0"};
    const json *note = json_get(r, "note");
    json *own = json_new_object();
    json_set(own, "baseline", json_new_string("(the meta-SAE)"));
    for (size_t i = 0; i < ARRAY_LENGTH(shared); i++)
        json_set(own, shared[i], json_new_real(number(r, shared[i])));
    writer_line(out, "%s", "\nbaselines");
    write_table(out, "baselines", cells, ARRAY_LENGTH(cells), own, json_get(r, "baselines"));
    if (!json_is_null(note))
        writer_line(out, "(%s)", json_string(note, ""));
    json_free(own);
}

static void write_densities(struct writer *out, const json *r)
{
    static const struct cell cells[] = {{{"from", "density from", "%.3g", 0}, REAL},
                                        {{"to", NULL, "%.3g", 0}, REAL},
                                        {{"latents", NULL, NULL, 0}, INTEGER},
                                        {{"meta_latents", "meta-latents", "%.2f", 0}, REAL},
                                        {{"explained_variance", "explained variance", "%.3f", 0}, REAL}};
    const json *rows = json_get(r, "by_density");
    if (json_length(rows) == 0)
        return;
    writer_line(out, "%s", "\nmeta-latents a latent, by tenths of the latents' density");
    write_table(out, "by_density", cells, ARRAY_LENGTH(cells), NULL, rows);
}

static void write_cosines(struct writer *out, const json *r)
{
    static const struct writer_column columns[] = {{"from", NULL, NULL, 1},     {"against", NULL, NULL, 1},
                                                   {"mean", NULL, "%.3f", 0},   {"median", NULL, "%.3f", 0},
                                                   {"0.5", "> 0.5", "%.3f", 0}, {"0.7", "> 0.7", "%.3f", 0},
                                                   {"0.9", "> 0.9", "%.3f", 0}};
    const json *rows = json_get(r, "max_cosine");
    writer_line(out, "%s",
                "\nlargest cosine of each decoder row with those of another SAE, and shares above");
    writer_begin_table(out, "max_cosine", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < json_length(rows); i++) {
        const json *row = json_at(rows, i), *above = json_get(row, "above");
        writer_begin_row(out);
        writer_string(out, "from", json_get_string(row, "from", NULL));
        writer_string(out, "against", json_get_string(row, "against", NULL));
        writer_real(out, "mean", number(row, "mean"));
        writer_real(out, "median", number(row, "median"));
        for (size_t j = 0; j < json_length(above) && j < 3; j++)
            writer_real(out, columns[4 + j].name, number(json_at(above, j), "fraction"));
        writer_end_row(out);
    }
    writer_end_table(out);
}

static void write_graphs(struct writer *out, const json *r)
{
    static const struct cell cells[] = {
        {{"sae", "SAE", NULL, 1}, TEXT},           {{"latents", NULL, NULL, 0}, INTEGER},
        {{"edges", NULL, NULL, 0}, INTEGER},       {{"common", NULL, NULL, 0}, INTEGER},
        {{"share", NULL, "%.3f", 0}, REAL},        {{"chance", NULL, "%.3f", 0}, REAL},
        {{"cosine", "at cosine", "%.3f", 0}, REAL}};
    const json *rows = json_get(r, "graph");
    if (json_length(rows) == 0)
        return;
    writer_line(out, "%s", "\npairs of latents that share a meta-latent, or a near latent of a smaller SAE");
    write_table(out, "graph", cells, ARRAY_LENGTH(cells), NULL, rows);
}

static void write_loss(struct writer *out, const char *what, double loss, double model)
{
    writer_begin_row(out);
    writer_string(out, "spliced", what);
    writer_real(out, "cross_entropy", loss);
    writer_real(out, "more", loss - model);
    writer_end_row(out);
}

static void write_losses(struct writer *out, const json *r)
{
    static const struct writer_column columns[] = {{"spliced", "in the model", NULL, 1},
                                                   {"cross_entropy", "cross-entropy", "%.4f", 0},
                                                   {"more", NULL, "%+.4f", 0}};
    const json *c = json_get(r, "cross_entropy"), *without = json_get(c, "without");
    double model = number(c, "model");
    if (json_is_null(c))
        return;
    writer_line(out, "\nnats a token on %s, %lld tokens", json_get_string(c, "text", ""),
                json_get_integer(c, "tokens", 0));
    writer_begin_table(out, "cross_entropy", columns, ARRAY_LENGTH(columns));
    write_loss(out, "nothing", model, model);
    write_loss(out, json_get_string(r, "base", ""), number(c, "sae"), model);
    write_loss(out, "rebuilt", number(c, "rebuilt"), model);
    for (size_t i = 0; i < json_length(without); i++) {
        const json *one = json_at(without, i);
        char *what = xasprintf("rebuilt without %s/%lld", json_get_string(r, "meta", ""),
                               json_get_integer(one, "latent", 0));
        write_loss(out, what, number(one, "cross_entropy"), model);
        free(what);
    }
    write_loss(out, "zeros", number(c, "zero_ablation"), model);
    writer_end_table(out);
}

/* TSV has the table of baselines, with the meta-SAE as its first row. */
static int write_report(struct context *ctx, const json *result, struct writer *out, struct error *err)
{
    (void)ctx;
    (void)err;
    if (writer_format(out) == WRITE_JSON) {
        writer_json(out, NULL, result);
        return STATUS_OK;
    }
    writer_own_text(out);
    writer_begin_object(out, NULL);
    write_heading(out, result);
    write_baselines(out, result);
    if (writer_format(out) == WRITE_TEXT) {
        write_densities(out, result);
        write_cosines(out, result);
        write_graphs(out, result);
        write_losses(out, result);
    }
    writer_end_object(out);
    return STATUS_OK;
}

static int run_report(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    json *parameters = options_parameters(inv);
    json_set(parameters, "meta", json_new_string(invocation_argument(inv, 0)));
    if (!json_get(parameters, "seed") && ctx->seed_given)
        json_set(parameters, "seed", json_new_integer((long long)ctx->seed));
    return command_run_job_with(ctx, inv, "report", parameters, write_report, out, err);
}

static const struct argument_spec arguments[] = {{.name = "META", .type = WORD_META}, {.name = NULL}};
static const struct option_spec options[] = {
    {.name = "text",
     .type = WORD_TEXT_NAME,
     .value = "T",
     .help = "also the model's cross-entropy on this text with the base, and the base rebuilt, spliced in"},
    {.name = "tokens",
     .type = WORD_COUNT,
     .value = "N",
     .help = "counted tokens of it (default: the whole text)"},
    {.name = "without",
     .type = WORD_ADDRESS,
     .value = "META/ID[,META/ID...]",
     .list = 1,
     .help = "and rebuilt without each of these meta-latents"},
    {.name = "quick",
     .type = WORD_FLAG,
     .help = "leave out baselines that train, sparse regression, and cosines between SAEs"},
    {.name = "steps",
     .type = WORD_COUNT,
     .value = "N",
     .help = "steps of baselines that train (default: as many as the meta-SAE's training)"},
    {.name = "seed",
     .type = WORD_COUNT,
     .value = "N",
     .help = "seed of the random decoder and of drawn latents"},
    {.name = NULL},
};
const struct command report_command = {
    .name = "report",
    .group = GROUP_COMPUTE,
    .summary = "compare a meta-SAE with baselines and with smaller SAEs",
    .description = "Explained variance beside that of other decoders for the same activations (random "
                   "directions; each smaller "
                   "SAE's nearest latents, and these with an encoder trained for them), of sparse regression "
                   "onto each smaller "
                   "SAE, and of a meta-SAE trained alike on permuted columns; meta-latents by density, "
                   "largest cosines, and how "
                   "many pairs of latents belong together by both. DEFINITIONS says what each is. --tsv has "
                   "the baselines.",
    .arguments = arguments,
    .options = options,
    .cost = COST_JOB,
    .needs_store = 2,
    .run = run_report,
};
