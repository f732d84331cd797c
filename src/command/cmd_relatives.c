/* SPDX-License-Identifier: GPL-3.0-or-later */
/* decompose, members, neighbors, compare: latents and what they are made of or close to. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

/* ---- decompose ---- */

/* The meta-SAE that --meta names, or the one that is shown with the SAE. */
static int find_meta(struct store_txn *t, const struct address *at, const char *name, artifact_id *id,
                     struct error *err)
{
    struct artifact a;
    struct sae_facts facts;
    if (!name) {
        *id = meta_sae_of(t, at->sae.id);
        return *id ? STATUS_OK
                   : error_set(err, STATUS_REFUSED,
                               "%s has no meta-SAE: make one with `train meta NAME --sae %s --width W`",
                               at->sae.name, at->sae.name);
    }
    int status = store_find(t, ARTIFACT_SAE, name, &a, err);
    if (status == STATUS_OK)
        status = sae_facts_read(t, a.id, &facts, err);
    if (status != STATUS_OK)
        return status;
    if (!sae_facts_has_base(&facts, at->sae.id))
        status = error_set(err, STATUS_REFUSED, "%s is no meta-SAE of %s", name, at->sae.name);
    sae_facts_free(&facts);
    *id = a.id;
    return status;
}

static void write_components(struct writer *out, struct store_txn *t, artifact_id meta,
                             const struct decomposition *d)
{
    static const struct writer_column columns[] = {{"latent", NULL, "%d", 0},
                                                   {"activation", NULL, "%.3f", 0},
                                                   {"cosine", NULL, "%.3f", 0},
                                                   {"label", NULL, NULL, 1}};
    writer_begin_table(out, "components", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < d->n; i++) {
        writer_begin_row(out);
        writer_integer(out, "latent", (long long)d->components[i].latent);
        writer_real(out, "activation", d->components[i].activation);
        writer_real(out, "cosine", d->components[i].cosine);
        write_label(out, t, meta, d->components[i].latent);
        writer_end_row(out);
    }
    writer_end_table(out);
}

static int run_decompose(struct context *ctx, const struct invocation *inv, struct writer *out,
                         struct error *err)
{
    struct store_txn *t;
    struct address at;
    artifact_id meta_id = 0;
    struct opened_sae base = {0}, meta = {0};
    struct decomposition d;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, t, &at, err);
    if (status == STATUS_OK)
        status = find_meta(t, &at, invocation_option(inv, "meta"), &meta_id, err);
    if (status == STATUS_OK)
        status = opened_sae_open(t, at.sae.id, &base, err);
    if (status == STATUS_OK)
        status = opened_sae_open(t, meta_id, &meta, err);
    if (status == STATUS_OK)
        status = decompose_latent(t, base.sae, meta.sae, at.latent, &d, err);
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "sae", at.sae.name);
        writer_integer(out, "latent", (long long)at.latent);
        writer_string(out, "meta", meta.facts.artifact.name);
        writer_real(out, "explained_variance", d.explained_variance);
        writer_real(out, "residual_norm", d.residual_norm);
        writer_line(out, "%s/%zu in %s: explained variance %.3f, residual %.3f of the norm", at.sae.name,
                    at.latent, meta.facts.artifact.name, d.explained_variance, d.residual_norm);
        write_components(out, t, meta_id, &d);
        writer_end_object(out);
        decomposition_free(&d);
    }
    opened_sae_close(&meta);
    opened_sae_close(&base);
    store_end(t);
    return status;
}

static const struct argument_spec address_argument[] = {{.name = "SAE/ID", .type = WORD_ADDRESS},
                                                        {.name = NULL}};
static const struct option_spec decompose_options[] = {
    {.name = "meta",
     .type = WORD_META,
     .value = "META",
     .help = "meta-SAE (default: the newest on this SAE)"},
    {.name = NULL},
};
const struct command decompose_command = {
    .name = "decompose",
    .group = GROUP_EXPLORE,
    .summary = "break a latent into meta-latents",
    .description = "The latent's decoder row, scaled to unit norm, runs through a meta-SAE; explained "
                   "variance is relative "
                   "to the mean decoder row.",
    .arguments = address_argument,
    .options = decompose_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_decompose,
};

/* ---- members ---- */

/* The base that --sae names, or 0: all. */
static int find_only(struct store_txn *t, const struct sae_facts *meta, const char *name, artifact_id *only,
                     struct error *err)
{
    struct artifact a;
    *only = 0;
    if (!meta->is_meta || !meta->base)
        return error_set(err, STATUS_REFUSED, "%s is no meta-SAE: its latents have no members",
                         meta->artifact.name);
    if (!name)
        return STATUS_OK;
    int status = store_find(t, ARTIFACT_SAE, name, &a, err);
    if (status == STATUS_OK && !sae_facts_has_base(meta, a.id))
        status = error_set(err, STATUS_REFUSED, "%s is no meta-SAE of %s", meta->artifact.name, a.name);
    *only = status == STATUS_OK ? a.id : 0;
    return status;
}

/* of_all: they may be of several SAEs, and each says whose it is. */
static void write_members(struct writer *out, struct store_txn *t, int of_all, const struct member *members,
                          size_t n, uint64_t limit)
{
    static const struct writer_column columns[] = {{"sae", NULL, NULL, 1},
                                                   {"latent", NULL, "%d", 0},
                                                   {"activation", NULL, "%.3f", 0},
                                                   {"label", NULL, NULL, 1}};
    size_t first = of_all ? 0 : 1;
    struct artifact sae = {0};
    writer_begin_table(out, "members", columns + first, ARRAY_LENGTH(columns) - first);
    for (size_t i = 0; i < n && (limit == 0 || i < limit); i++) {
        if (sae.id != members[i].sae && store_get(t, members[i].sae, &sae, NULL) != STATUS_OK)
            sae = (struct artifact){.id = members[i].sae};
        writer_begin_row(out);
        if (of_all)
            writer_string(out, "sae", sae.name);
        writer_integer(out, "latent", (long long)members[i].latent);
        writer_real(out, "activation", members[i].activation);
        write_label(out, t, members[i].sae, members[i].latent);
        writer_end_row(out);
    }
    writer_end_table(out);
}

static int run_members(struct context *ctx, const struct invocation *inv, struct writer *out,
                       struct error *err)
{
    struct store_txn *t;
    struct address at;
    struct sae_facts meta = {0};
    struct artifact base;
    artifact_id only = 0;
    struct member *members = NULL;
    size_t n = 0, n_rows = 0;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, t, &at, err);
    if (status == STATUS_OK)
        status = sae_facts_read(t, at.sae.id, &meta, err);
    if (status == STATUS_OK)
        status = find_only(t, &meta, invocation_option(inv, "sae"), &only, err);
    if (status == STATUS_OK)
        status = store_get(t, only ? only : meta.base, &base, err);
    if (status == STATUS_OK)
        status = meta_members_of_all(t, at.sae.id, at.latent, only, &members, &n, &n_rows, err);
    if (status == STATUS_OK) {
        int of_all = !only && meta.n_bases > 1;
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "meta", at.sae.name);
        writer_integer(out, "latent", (long long)at.latent);
        writer_real(out, "density", n_rows ? (double)n / (double)n_rows : 0);
        if (of_all)
            writer_line(out, "%s/%zu fires on %zu of %zu latents of %zu SAEs", at.sae.name, at.latent, n,
                        n_rows, meta.n_bases);
        else
            writer_line(out, "%s/%zu fires on %zu of %zu latents of %s", at.sae.name, at.latent, n, n_rows,
                        base.name);
        write_members(out, t, of_all, members, n, invocation_count(inv, "limit", 0));
        writer_end_object(out);
    }
    free(members);
    sae_facts_free(&meta);
    store_end(t);
    return status;
}

static const struct argument_spec meta_address_argument[] = {{.name = "META/ID", .type = WORD_ADDRESS},
                                                             {.name = NULL}};
static const struct option_spec members_options[] = {
    {.name = "sae",
     .type = WORD_SAE,
     .value = "BASE",
     .help = "only members in this base of a joint meta-SAE"},
    {.name = "limit", .type = WORD_COUNT, .value = "N", .help = "at most N members (default: all)"},
    {.name = NULL},
};
const struct command members_command = {
    .name = "members",
    .group = GROUP_EXPLORE,
    .summary = "list the latents that a meta-latent is a part of",
    .arguments = meta_address_argument,
    .options = members_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_members,
};

/* ---- neighbors ---- */

static void write_near(struct writer *out, struct store_txn *t, artifact_id sae, const struct neighbor *near,
                       size_t n)
{
    static const struct writer_column columns[] = {
        {"latent", NULL, "%d", 0}, {"cosine", NULL, "%.3f", 0}, {"label", NULL, NULL, 1}};
    writer_begin_table(out, "neighbors", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < n; i++) {
        writer_begin_row(out);
        writer_integer(out, "latent", (long long)near[i].latent);
        writer_real(out, "cosine", near[i].cosine);
        write_label(out, t, sae, near[i].latent);
        writer_end_row(out);
    }
    writer_end_table(out);
}

/* The SAE that --in names, or the latent's own. */
static int open_pair(struct store_txn *t, const struct address *at, const char *in, struct opened_sae *own,
                     struct opened_sae *other, struct error *err)
{
    struct artifact a = at->sae;
    int status = opened_sae_open(t, at->sae.id, own, err);
    if (status == STATUS_OK && in)
        status = store_find(t, ARTIFACT_SAE, in, &a, err);
    if (status == STATUS_OK)
        status = opened_sae_open(t, a.id, other, err);
    if (status == STATUS_OK && own->facts.d_in != other->facts.d_in)
        status = error_set(
            err, STATUS_REFUSED, "%s has d_in %zu and %s has %zu: their directions cannot be compared",
            own->facts.artifact.name, own->facts.d_in, other->facts.artifact.name, other->facts.d_in);
    return status;
}

static int run_neighbors(struct context *ctx, const struct invocation *inv, struct writer *out,
                         struct error *err)
{
    struct store_txn *t;
    struct address at;
    struct opened_sae own = {0}, other = {0};
    size_t count =
               (size_t)invocation_count(inv, "limit", (uint64_t)settings_count(ctx->settings, "neighbors")),
           n = 0;
    struct neighbor *near = NULL;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, t, &at, err);
    if (status == STATUS_OK)
        status = open_pair(t, &at, invocation_option(inv, "in"), &own, &other, err);
    if (status == STATUS_OK) {
        count = count < other.facts.d_sae ? count : other.facts.d_sae;
        near = array_alloc(count ? count : 1, sizeof *near, "neighbors", err);
        status = near ? STATUS_OK : err->code;
    }
    if (status == STATUS_OK && count > 0)
        status = latent_neighbors(other.sae, sae_decoder_row(own.sae, at.latent),
                                  other.facts.artifact.id == at.sae.id ? at.latent : SIZE_MAX, count, near,
                                  &n, err);
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "sae", at.sae.name);
        writer_integer(out, "latent", (long long)at.latent);
        writer_string(out, "in", other.facts.artifact.name);
        writer_line(out, "latents of %s nearest to %s/%zu by decoder cosine", other.facts.artifact.name,
                    at.sae.name, at.latent);
        write_near(out, t, other.facts.artifact.id, near, n);
        writer_end_object(out);
    }
    free(near);
    opened_sae_close(&own);
    opened_sae_close(&other);
    store_end(t);
    return status;
}

static const struct option_spec neighbors_options[] = {
    {.name = "in",
     .type = WORD_SAE,
     .value = "SAE2",
     .help = "look among this SAE's latents (default: the same SAE)"},
    {.name = "limit", .type = WORD_COUNT, .value = "N", .help = "how many (default: the setting neighbors)"},
    {.name = NULL},
};
const struct command neighbors_command = {
    .name = "neighbors",
    .group = GROUP_EXPLORE,
    .summary = "list the latents nearest to a latent by decoder cosine",
    .arguments = address_argument,
    .options = neighbors_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_neighbors,
};

/* ---- compare ---- */

static int write_comparison(struct context *ctx, struct writer *out, const struct opened_sae *a,
                            const struct opened_sae *b, struct error *err)
{
    static const struct writer_column columns[] = {
        {"latent", NULL, "%d", 0}, {"nearest", NULL, "%d", 0}, {"cosine", NULL, "%.3f", 0}};
    size_t n = a->facts.d_sae;
    uint32_t *nearest = array_alloc(n, sizeof *nearest, "nearest latents", err);
    float *cosine = nearest ? array_alloc(n, sizeof *cosine, "cosines", err) : NULL;
    struct query_monitor monitor;
    query_monitor_start(&monitor, ctx, "compare");
    int status = cosine ? nearest_latents(a->sae, b->sae, &monitor.monitor, nearest, cosine, err) : err->code;
    query_monitor_end(&monitor);
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "a", a->facts.artifact.name);
        writer_string(out, "b", b->facts.artifact.name);
        writer_begin_table(out, "latents", columns, ARRAY_LENGTH(columns));
        for (size_t i = 0; i < n; i++) {
            writer_begin_row(out);
            writer_integer(out, "latent", (long long)i);
            writer_integer(out, "nearest", nearest[i]);
            writer_real(out, "cosine", cosine[i]);
            writer_end_row(out);
        }
        writer_end_table(out);
        writer_end_object(out);
    }
    free(nearest);
    free(cosine);
    return status;
}

static int run_compare(struct context *ctx, const struct invocation *inv, struct writer *out,
                       struct error *err)
{
    struct store_txn *t;
    struct address at = {.latent = 0};
    struct opened_sae a = {0}, b = {0};
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_SAE, invocation_argument(inv, 0), &at.sae, err);
    if (status == STATUS_OK)
        status = open_pair(t, &at, invocation_argument(inv, 1), &a, &b, err);
    if (status == STATUS_OK)
        status = write_comparison(ctx, out, &a, &b, err);
    opened_sae_close(&a);
    opened_sae_close(&b);
    store_end(t);
    return status;
}

static const struct argument_spec compare_arguments[] = {
    {.name = "A", .type = WORD_SAE}, {.name = "B", .type = WORD_SAE}, {.name = NULL}};
const struct command compare_command = {
    .name = "compare",
    .group = GROUP_COMPUTE,
    .summary = "find for each latent of one SAE the nearest of another",
    .arguments = compare_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_compare,
};
