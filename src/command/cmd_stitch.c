/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command stitch, and what `info` tells of a stitch. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

/* ---- What a stitch is told as. ---- */

static double percent(double fraction)
{
    return 100 * fraction;
}

static double at(const json *list, size_t i)
{
    return json_number(json_at(list, i), NAN);
}

static long long cell(const json *confusion, size_t row, size_t column)
{
    return json_integer(json_at(json_at(confusion, row), column), 0);
}

static void control_line(struct writer *out, const char *what, const json *control)
{
    if (control && !json_is_null(control))
        writer_line(out, "  %-26s %5.1f%%  (%.1f to %.1f)", what, percent(json_get_number(control, "novel_fraction", NAN)),
                    percent(at(json_get(control, "ci"), 0)), percent(at(json_get(control, "ci"), 1)));
}

static void path_lines(struct writer *out, const struct stitch_path *p, const json *components)
{
    const json *largest = json_get(components, "largest");
    size_t last = p->n_steps, counts[] = {[STEP_START] = 0, [STEP_INSERT] = 0, [STEP_SWAP] = 0, [STEP_REMOVE] = 0};
    for (size_t s = 0; s <= last; s++)
        counts[p->kinds[s]]++;
    writer_line(out, "path: %zu steps (%zu inserts, %zu swaps, %zu removals)", last, counts[STEP_INSERT], counts[STEP_SWAP],
                counts[STEP_REMOVE]);
    if (counts[STEP_SWAP])
        writer_line(out, "  swaps: %lld latents for %lld; the largest %lld for %lld",
                    json_get_integer(components, "large", 0), json_get_integer(components, "small", 0),
                    json_get_integer(largest, "large", 0), json_get_integer(largest, "small", 0));
    writer_line(out, "  L0 %.2f to %.2f, MSE %.4g to %.4g, explained variance %.4f to %.4f", p->l0[0], p->l0[last], p->mse[0],
                p->mse[last], p->explained_variance[0], p->explained_variance[last]);
}

/* For people; all numbers are in the JSON as well. */
static void summary_lines(struct writer *out, const json *r, const json *components, const struct stitch_path *p)
{
    const json *by_delta = json_get(r, "by_delta"), *by_cosine = json_get(r, "by_cosine"), *confusion = json_get(r, "confusion"),
               *controls = json_get(r, "controls"), *ci = json_get(r, "ci");
    double threshold = json_get_number(by_cosine, "threshold", NAN);
    writer_line(out, "%s: latents of %s in %s, %lld tokens", json_get_string(r, "name", ""), json_get_string(r, "large", ""),
                json_get_string(r, "small", ""), json_get_integer(r, "tokens", 0));
    writer_line(out, "%lld novel, %lld reconstruction, %lld undecided (fired on fewer than %d tokens)",
                json_get_integer(by_delta, "novel", 0), json_get_integer(by_delta, "reconstruction", 0),
                json_get_integer(by_delta, "undecided", 0), STITCH_FIRED_MIN);
    writer_line(out, "novel fraction               %5.1f%%  (%.1f to %.1f)", percent(json_get_number(r, "novel_fraction", NAN)),
                percent(at(ci, 0)), percent(at(ci, 1)));
    control_line(out, "with shuffled decoder rows", json_get(controls, "shuffled"));
    control_line(out, "with random decoder rows", json_get(controls, "random"));
    control_line(out, "of the control SAE", json_get(controls, "seed"));
    writer_line(out, "largest cosine               <= %.2f  > %.2f", threshold, threshold);
    writer_line(out, "  novel                    %8lld %7lld", cell(confusion, 0, 0), cell(confusion, 0, 1));
    writer_line(out, "  reconstruction           %8lld %7lld", cell(confusion, 1, 0), cell(confusion, 1, 1));
    writer_line(out, "  AUC %.4f, best threshold %.4f", json_get_number(r, "auc", NAN),
                json_get_number(r, "best_threshold", NAN));
    path_lines(out, p, components);
}

static void write_latents(struct writer *out, const struct stitch_latents *l, const struct stitch_facts *f,
                          const struct stitch_path *p)
{
    static const struct writer_column columns[] = {
        {"latent", NULL, NULL, 0},  {"fired", NULL, NULL, 0},          {"max_cosine", "max cosine", "%.4f", 0},
        {"nearest", NULL, NULL, 0}, {"delta_mse", "delta mse", "%.4g", 0}, {"class", NULL, NULL, 1},
        {"step", NULL, NULL, 0},
    };
    double numbers = (double)f->tokens * (double)f->d_in;
    writer_begin_table(out, "latents", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < l->n; i++) {
        writer_begin_row(out);
        writer_integer(out, "latent", (long long)i);
        writer_integer(out, "fired", l->fired[i]);
        writer_real(out, "max_cosine", (double)l->max_cosine[i]);
        writer_integer(out, "nearest", l->nearest[i]);
        writer_real(out, "delta_mse", l->delta[i] / numbers);
        writer_string(out, "class", latent_class_name((enum latent_class)l->classes[i]));
        if (p->large_step[i] == STITCH_NEVER)
            writer_null(out, "step");
        else
            writer_integer(out, "step", p->large_step[i]);
        writer_end_row(out);
    }
    writer_end_table(out);
}

/* The result, and what the manifest has besides: options, thresholds and the like. */
static void write_members(struct writer *out, const json *result, const json *manifest)
{
    for (size_t i = 0; i < json_length(manifest); i++) {
        const char *key = json_key_at(manifest, i);
        if (!json_get(result, key) && strcmp(key, "references") != 0)
            writer_json(out, key, json_value_at(manifest, i));
    }
    for (size_t i = 0; i < json_length(result); i++) {
        const char *key = json_key_at(result, i);
        writer_json_only(out, strcmp(key, "path") == 0);
        writer_json(out, key, json_value_at(result, i));
    }
    writer_json_only(out, 0);
}

int write_stitch(struct writer *out, struct store_txn *t, artifact_id id, int with_latents, struct error *err)
{
    struct stitch_facts f;
    struct stitch_path path;
    struct stitch_latents latents = {0};
    int status = stitch_facts_read(t, id, &f, err);
    if (status != STATUS_OK)
        return status;
    status = stitch_path_read(t, &f, &path, err);
    if (status == STATUS_OK && with_latents)
        status = stitch_latents_read(t, &f, &latents, err);
    if (status == STATUS_OK) {
        json *result = stitch_result_json(&f, &path);
        writer_own_text(out);
        writer_string(out, "kind", "stitch");
        summary_lines(out, result, json_get(f.manifest, "components"), &path);
        write_members(out, result, f.manifest);
        json_free(result);
        if (with_latents)
            write_latents(out, &latents, &f, &path);
    }
    stitch_latents_free(&latents);
    stitch_path_free(&path);
    stitch_facts_free(&f);
    return status;
}

/* ---- stitch ---- */

/* The job's result has no path: the stitch is read where it was published. */
static int write_made(struct context *ctx, const json *result, struct writer *out, struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_STITCH, json_get_string(result, "name", ""), &a, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        status = write_stitch(out, t, a.id, 0, err);
        writer_end_object(out);
    }
    store_end(t);
    return status;
}

static int run_stitch(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *name = invocation_argument(inv, 0);
    if (invocation_option(inv, "step") || invocation_option(inv, "save"))
        return run_stitch_save(ctx, inv, out, err);
    if (already_there(ctx, inv, name)) {
        write_skipped(out, name);
        return STATUS_OK;
    }
    json *parameters = options_parameters(inv);
    json_set(parameters, "name", json_new_string(name));
    default_seed(ctx, parameters);
    return command_run_job_with(ctx, inv, "stitch", parameters, write_made, out, err);
}

static const struct argument_spec stitch_arguments[] = {{.name = "NAME", .type = WORD_NAME_NEW}, {.name = NULL}};
static const struct option_spec stitch_options[] = {
    {.name = "small", .type = WORD_SAE, .value = "A", .help = "SAE in which latents are inserted"},
    {.name = "large", .type = WORD_SAE, .value = "B", .help = "SAE whose latents are inserted"},
    {.name = "text", .type = WORD_TEXT_NAME, .value = "T", .help = "text that runs through the model"},
    {.name = "tokens", .type = WORD_COUNT, .value = "N", .help = "counted tokens (default: the whole text)"},
    {.name = "threshold", .type = WORD_NUMBER, .value = "X",
     .help = "decoder cosine above which latents are partners (default 0.7)"},
    {.name = "decoder-bias", .type = WORD_WORD, .value = "WHICH", .choices = "small|large|interpolated",
     .help = "whose b_dec the stitched SAEs have (default small)"},
    {.name = "order", .type = WORD_WORD, .value = "HOW", .choices = "helpful|random|cosine",
     .help = "order of the path's steps (default helpful: ascending change of the error)"},
    {.name = "control", .type = WORD_SAE, .value = "SAE",
     .help = "an SAE of A's width trained from another seed: its novel fraction is the floor"},
    {.name = "ce-steps", .type = WORD_COUNT, .value = "N",
     .help = "steps of the path at which the model's cross-entropy is measured (default 0)"},
    {.name = "ce-tokens", .type = WORD_COUNT, .value = "N", .help = "counted tokens for that (default 20000)"},
    {.name = "seed", .type = WORD_COUNT, .value = "N", .help = "seed of resamples, controls and the random order"},
    {.name = "step", .type = WORD_COUNT, .value = "N", .help = "with --save: a step of the path of NAME, which is there already"},
    {.name = "save", .type = WORD_NAME_NEW, .value = "SAE", .help = "store the SAE at that step under this name"},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command stitch_command = {
    .name = "stitch",
    .group = GROUP_COMPUTE,
    .summary = "classify a larger SAE's latents by inserting them in a smaller one, and go from one to the other",
    .description = "A latent of B is novel when inserting it lowers the squared error of A, else it reconstructs what A has. The "
                   "path inserts the latents without a partner in A, swaps groups of partners, and removes what is left of A. Of a "
                   "stitch that is there, --step and --save make the SAE at a step of the path an SAE of the store.",
    .arguments = stitch_arguments,
    .options = stitch_options,
    .cost = COST_JOB,
    .needs_store = 2,
    .view = "stitch",
    .run = run_stitch,
};
