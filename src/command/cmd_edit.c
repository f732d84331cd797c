/* SPDX-License-Identifier: GPL-3.0-or-later */
/* edit: a latent's decoder row without some of its meta-latents and with others, and what the model then
 * answers. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/edit_run.h"

const char *const edit_variant_names[EDIT_VARIANTS] = {"unmodified", "swapped", "rebuilt", "edited"};

size_t edit_answers(const struct prompt_table *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->prompts[i].n_answers;
    return n;
}

static void edit_close(struct edit_run *r)
{
    for (size_t i = 0; i < r->n_subsets; i++)
        free(r->subsets[i].log_probs);
    for (int i = 0; i < EDIT_VARIANTS; i++)
        free(r->log_probs[i]);
    free(r->subsets);
    free(r->active);
    free(r->row);
    free(r->changes);
    decomposition_free(&r->parts);
    decomposition_free(&r->target_parts);
    prompt_table_free(&r->table);
    steering_free(r->steering);
    opened_sae_close(&r->base);
    opened_sae_close(&r->meta);
    store_end(r->t);
}

/* ---- The latent, its target, the prompts. ---- */

static int read_prompts(struct edit_run *r, struct error *err)
{
    const char *file = invocation_option(r->inv, "prompts"), *text = invocation_option(r->inv, "prompt"),
               *answers = invocation_option(r->inv, "answers");
    const struct model *m = steering_model(r->steering);
    if (file && (text || answers))
        return error_set(err, STATUS_USAGE, "edit takes --prompts FILE, or --prompt and --answers, not both");
    if (!text != !answers)
        return error_set(err, STATUS_USAGE, "--prompt and --answers belong together");
    if (file) {
        char *path = context_path(r->ctx, file);
        int status = prompt_table_read(m, r->base.facts.prepend_bos, path, &r->table, err);
        free(path);
        return status;
    }
    if (!text)
        return STATUS_OK;
    r->table.prompts = xcalloc(1, sizeof *r->table.prompts);
    int status = prompt_read(m, r->base.facts.prepend_bos, text, answers, r->table.prompts, err);
    r->table.n = status == STATUS_OK;
    return status;
}

static int find_by_text(struct edit_run *r, struct error *err)
{
    const char **texts = xcalloc(r->table.n + 1, sizeof *texts);
    for (size_t i = 0; i < r->table.n; i++)
        texts[i] = r->table.prompts[i].text;
    int status =
        find_latents(r->ctx->store, r->at.sae.id, texts, r->table.n, invocation_option(r->inv, "from"),
                     invocation_option(r->inv, "to"), &r->found[0], &r->found[1], err);
    free(texts);
    if (status)
        return status;
    r->to = r->at;
    r->at.latent = r->found[0].latent;
    r->to.latent = r->found[1].latent;
    return STATUS_OK;
}

static int check_words(const struct edit_run *r, int by_text, struct error *err)
{
    const struct invocation *inv = r->inv;
    if (by_text && (!invocation_flag(inv, "from") || !invocation_flag(inv, "to")))
        return error_set(err, STATUS_USAGE,
                         "edit takes an address SAE/ID, or an SAE with --from TEXT and --to TEXT");
    if (!by_text && (invocation_flag(inv, "from") || invocation_flag(inv, "to")))
        return error_set(err, STATUS_USAGE,
                         "--from and --to find a latent of an SAE: name the SAE alone, not %s",
                         invocation_argument(inv, 0));
    if (by_text && invocation_flag(inv, "swap"))
        return error_set(err, STATUS_USAGE, "--to finds the latent that is swapped in: --swap is not needed");
    if (by_text && !invocation_flag(inv, "prompts") && !invocation_flag(inv, "prompt"))
        return error_set(
            err, STATUS_USAGE,
            "--from and --to need prompts to look in: --prompts FILE, or --prompt and --answers");
    if (invocation_flag(inv, "subsets") && !invocation_flag(inv, "prompts") &&
        !invocation_flag(inv, "prompt"))
        return error_set(err, STATUS_USAGE,
                         "--subsets needs prompts: --prompts FILE, or --prompt and --answers");
    if (invocation_flag(inv, "raw-add") &&
        (invocation_flag(inv, "keep-residual") || invocation_flag(inv, "scale")))
        return error_set(err, STATUS_USAGE, "--raw-add excludes --keep-residual and --scale");
    return STATUS_OK;
}

static int find_swap(struct edit_run *r, struct error *err)
{
    const char *swap = invocation_option(r->inv, "swap");
    int status = swap ? address_parse(r->t, swap, r->at.sae.name, &r->to, err) : STATUS_OK;
    if (!status && swap && r->to.sae.id != r->at.sae.id)
        return error_set(err, STATUS_REFUSED, "--swap takes another latent of %s", r->at.sae.name);
    return status;
}

/* The SAE, the model and the prompts, then the latent and its target. */
static int open_latents(struct edit_run *r, struct error *err)
{
    const char *word = invocation_argument(r->inv, 0);
    int by_text = strchr(word, '/') == NULL;
    int status = check_words(r, by_text, err);
    if (!status && by_text)
        status = store_find(r->t, ARTIFACT_SAE, word, &r->at.sae, err);
    else if (!status)
        status = argument_address(r->ctx, r->inv, 0, r->t, &r->at, err);
    if (!status)
        status = opened_sae_open(r->t, r->at.sae.id, &r->base, err);
    if (status)
        return status;
    if (r->base.facts.is_meta)
        return error_set(err, STATUS_REFUSED, "%s is a meta-SAE: edit a latent of the SAE below it",
                         r->at.sae.name);
    if (!r->base.facts.model)
        return error_set(err, STATUS_REFUSED, "the model of %s is not in the store: import it, then %s again",
                         r->at.sae.name, r->at.sae.name);
    status = steering_open(r->t, r->base.facts.model, &r->steering, err);
    if (!status)
        status = read_prompts(r, err);
    if (!status)
        status = by_text ? find_by_text(r, err) : find_swap(r, err);
    return status;
}

/* ---- Running. ---- */

static double cosine_of_rows(const struct edit_run *r, const float *row)
{
    const float *own = sae_decoder_row(r->base.sae, r->at.latent);
    size_t d = r->base.facts.d_in;
    double norms = sqrt(vec_norm2(own, d) * vec_norm2(row, d));
    return norms > 0 ? (double)vec_dot(own, row, d) / norms : NAN;
}

/* All prompts with the latent's row replaced (NULL: the model as it is). */
static int run_prompts(struct edit_run *r, const float *row, double *log_probs, size_t *active,
                       struct monitor *m, struct error *err)
{
    struct steer_edit edit = {r->at.sae.id, 0, r->at.latent, STEER_ROW, 0, row};
    int status = steering_set(r->steering, &edit, row ? 1 : 0, STEER_ADDITIVE, STEER_EVERYWHERE, err);
    for (size_t i = 0; i < r->table.n && !status; i++) {
        const struct prompt *p = &r->table.prompts[i];
        status = monitor_check(m, err);
        if (!status)
            status = prompt_log_probs(r->steering, p, 1, log_probs, active ? &active[i] : NULL, err);
        log_probs += p->n_answers;
    }
    return status;
}

static int run_variant(struct edit_run *r, enum edit_variant v, const float *row, struct monitor *m,
                       struct error *err)
{
    r->there[v] = 1;
    r->log_probs[v] = xcalloc(edit_answers(&r->table) + 1, sizeof(double));
    return run_prompts(r, row, r->log_probs[v], v == EDIT_EDITED ? r->active : NULL, m, err);
}

static int run_variants(struct edit_run *r, struct monitor *m, struct error *err)
{
    size_t d = r->base.facts.d_in;
    float *other = array_alloc(d, sizeof *other, "a decoder row", err);
    struct row_edit nothing = {NULL, 0, 0, 0};
    r->active = xcalloc(r->table.n + 1, sizeof *r->active);
    int status = other ? run_variant(r, EDIT_UNMODIFIED, NULL, m, err) : STATUS_FAILED;
    if (!status && r->to.sae.id) {
        memcpy(other, sae_decoder_row(r->base.sae, r->to.latent), d * sizeof *other);
        status = run_variant(r, EDIT_SWAPPED, other, m, err);
    }
    if (!status && r->edit.raw == 0 && !r->edit.keep_residual &&
        edit_row(r->t, r->base.sae, r->meta.sae, r->at.latent, &nothing, other, NULL) == STATUS_OK)
        status = run_variant(r, EDIT_REBUILT, other, m, err);
    if (!status)
        status = run_variant(r, EDIT_EDITED, r->row, m, err);
    free(other);
    return status;
}

static int bits(uint64_t mask)
{
    int n = 0;
    for (; mask; mask &= mask - 1)
        n++;
    return n;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = ((const struct edit_subset *)a)->mask, y = ((const struct edit_subset *)b)->mask;
    return bits(x) != bits(y) ? bits(x) - bits(y) : (x > y) - (x < y);
}

static int run_subset(struct edit_run *r, struct edit_subset *s, float *row, struct monitor *m,
                      struct error *err)
{
    struct row_change chosen[SUBSETS_MAX];
    struct row_edit edit = r->edit;
    edit.changes = chosen;
    edit.n = 0;
    for (size_t i = 0; i < r->edit.n; i++)
        if (s->mask >> i & 1)
            chosen[edit.n++] = r->changes[i];
    s->cosine = NAN;
    s->log_probs = xcalloc(edit_answers(&r->table) + 1, sizeof(double));
    if (edit_row(r->t, r->base.sae, r->meta.sae, r->at.latent, &edit, row, NULL) != STATUS_OK)
        return STATUS_OK; /* nothing is left of the row */
    s->cosine = cosine_of_rows(r, row);
    return run_prompts(r, row, s->log_probs, NULL, m, err);
}

/* Smallest first. */
static int run_subsets(struct edit_run *r, struct monitor *m, struct error *err)
{
    float *row = array_alloc(r->base.facts.d_in, sizeof *row, "a decoder row", err);
    int status = row ? STATUS_OK : STATUS_FAILED;
    r->n_subsets = (size_t)1 << bits(r->varied);
    r->subsets = xcalloc(r->n_subsets, sizeof *r->subsets);
    for (size_t i = 1; i < r->n_subsets; i++) /* counting up in the varied bits alone */
        r->subsets[i].mask = (r->subsets[i - 1].mask - r->varied) & r->varied;
    qsort(r->subsets, r->n_subsets, sizeof *r->subsets, by_size);
    for (size_t i = 0; i < r->n_subsets && !status; i++) {
        monitor_step(m, "subsets", i, r->n_subsets);
        status = run_subset(r, &r->subsets[i], row, m, err);
    }
    free(row);
    return status;
}

static int compute(struct edit_run *r, struct error *err)
{
    r->row = array_alloc(r->base.facts.d_in, sizeof *r->row, "a decoder row", err);
    int status = r->row ? edit_row(r->t, r->base.sae, r->meta.sae, r->at.latent, &r->edit, r->row, err)
                        : STATUS_FAILED;
    if (status)
        return status;
    r->cosine = cosine_of_rows(r, r->row);
    if (r->table.n == 0)
        return STATUS_OK;
    struct query_monitor monitor;
    query_monitor_start(&monitor, r->ctx, "edit");
    status = run_variants(r, &monitor.monitor, err);
    if (!status && invocation_flag(r->inv, "subsets"))
        status = run_subsets(r, &monitor.monitor, err);
    query_monitor_end(&monitor);
    return status;
}

/* ---- Saving. ---- */

static int saved_rows(void *arg, int decoder, size_t first, size_t n, float *rows, struct error *err)
{
    const struct edit_run *r = arg;
    size_t d = r->base.facts.d_in;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        size_t latent = first + i;
        const float *row = !decoder                 ? sae_encoder_row(r->base.sae, latent)
                           : latent == r->at.latent ? r->row
                                                    : sae_decoder_row(r->base.sae, latent);
        memcpy(rows + i * d, row, d * sizeof *rows);
    }
    return STATUS_OK;
}

/* The base's manifest with where the row came from in the place of its training. */
static json *saved_manifest(const struct edit_run *r)
{
    static const char *const kept[] = {"kind",         "hook",        "center_activations",
                                       "context_size", "prepend_bos", "references"};
    json *m = json_new_object(), *source = json_new_object(), *changes = json_new_array();
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++)
        if (json_get(r->base.facts.manifest, kept[i]))
            json_set(m, kept[i], json_retain(json_get(r->base.facts.manifest, kept[i])));
    for (size_t i = 0; i < r->edit.n; i++) {
        json *change = json_new_object();
        json_set(change, "meta_latent", json_new_integer((long long)r->changes[i].meta_latent));
        json_set(change, "activation", json_new_real(r->changes[i].adds ? r->changes[i].value : 0));
        json_append(changes, change);
    }
    json_set(source, "format", json_new_string("edit"));
    json_set(source, "sae", json_new_string(r->at.sae.name));
    json_set(source, "latent", json_new_integer((long long)r->at.latent));
    json_set(source, "meta", json_new_string(r->meta.facts.artifact.name));
    json_set(source, "changes", changes);
    json_set(source, "keep_residual", json_new_boolean(r->edit.keep_residual));
    json_set(source, "raw_add", json_new_real(r->edit.raw));
    json_set(m, "source", source);
    return m;
}

static int save(struct edit_run *r, struct error *err)
{
    const char *name = invocation_option(r->inv, "save");
    struct store *s;
    artifact_id id;
    if (!name || already_there(r->ctx, r->inv, name))
        return STATUS_OK;
    int status = context_store(r->ctx, 2, &s, err);
    if (!status)
        status = store_create(s, ARTIFACT_SAE, name, invocation_flag(r->inv, "replace"), &id, err);
    if (status)
        return status;
    status = sae_save_from(s, id, r->base.sae, &(struct sae_rows){.read = saved_rows, .arg = r}, saved_manifest(r), err);
    if (status)
        store_abandon(s, id);
    return status;
}

static int run_edit(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct edit_run r = {.ctx = ctx, .inv = inv};
    int status = store_begin(ctx->store, &r.t, err);
    if (status)
        return status;
    status = open_latents(&r, err);
    if (!status)
        status = edit_open_meta(&r, err);
    if (!status)
        status = edit_read_changes(&r, err);
    if (!status)
        status = compute(&r, err);
    if (!status)
        status = save(&r, err);
    if (!status)
        edit_write(out, &r);
    edit_close(&r);
    return status;
}

static const struct argument_spec edit_arguments[] = {{.name = "SAE[/ID]", .type = WORD_ADDRESS},
                                                      {.name = NULL}};
static const struct option_spec edit_options[] = {
    {.name = "remove",
     .type = WORD_ADDRESS,
     .value = "META/ID[,...]",
     .help = "leave these meta-latents out",
     .list = 1},
    {.name = "add",
     .type = WORD_ADDRESS,
     .value = "META/ID[=X][,...]",
     .list = 1,
     .help = "add these, with activation X (default: as in the latent swapped in, else as in its members on "
             "the average)"},
    {.name = "swap",
     .type = WORD_ADDRESS,
     .value = "SAE/ID",
     .help = "the target: its row is swapped in for comparison, and by default what is its own is added"},
    {.name = "from",
     .type = WORD_WORD,
     .value = "TEXT",
     .help = "edit the latent that stands for TEXT in the prompts"},
    {.name = "to",
     .type = WORD_WORD,
     .value = "TEXT",
     .help = "the target is the latent that stands for this TEXT in its place"},
    {.name = "meta",
     .type = WORD_META,
     .value = "META",
     .help = "meta-SAE (default: the newest on this SAE)"},
    {.name = "scale",
     .type = WORD_NUMBER,
     .value = "X",
     .help = "multiply the added activations that are not given by X"},
    {.name = "keep-residual",
     .type = WORD_FLAG,
     .help = "keep what the meta-SAE does not explain of the row"},
    {.name = "raw-add",
     .type = WORD_NUMBER,
     .value = "X",
     .help =
         "add and subtract X times the meta-latents' rows instead of rebuilding (the authors' script: 100)"},
    {.name = "prompts",
     .type = WORD_FILE,
     .value = "FILE",
     .help = "prompts to compare on: a line each, then a tab and answers separated by commas"},
    {.name = "prompt", .type = WORD_WORD, .value = "TEXT", .help = "a single prompt"},
    {.name = "answers",
     .type = WORD_WORD,
     .value = "A,B",
     .help = "its answers, blanks included: \" Japan, France\"",
     .list = 1},
    {.name = "subsets",
     .type = WORD_FLAG,
     .help = "try every subset of the removals and additions (at most 10)"},
    {.name = "save",
     .type = WORD_NAME_NEW,
     .value = "NAME",
     .help = "save the SAE with the edited row under this name"},
    EXISTING_NAME_OPTIONS,
    {.name = NULL},
};
const struct command edit_command = {
    .name = "edit",
    .group = GROUP_EXPLORE,
    .summary = "change what a latent does through its meta-latents",
    .description = "The latent's decoder row is put together again from its meta-latents without those "
                   "removed and with those added, scaled to the norm it had, and takes the row's place "
                   "wherever the latent is active. Without --remove and --add, what the latent has and "
                   "the target has not is removed, and the reverse is added.",
    .arguments = edit_arguments,
    .options = edit_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_edit,
};
