/* SPDX-License-Identifier: GPL-3.0-or-later */
/* decompose: a latent in terms of meta-latents, or of another SAE's latents. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/hook_saes.h"
#include "saescope/analysis/omp.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

enum { DEFAULT_ATOMS = 4, NEAREST_MAX = 100 };

/* What stands beside the components. */
struct relative { /* an SAE in which the nearest latents are looked for */
    struct opened_sae sae;
    struct neighbor *near; /* [n_components, count] */
    size_t *n_near;        /* [n_components] */
};

struct decomposing {
    struct store_txn *t;
    struct address at;
    struct opened_sae base, other; /* other: the meta-SAE, or the SAE with --onto */
    const char *onto;              /* NULL: by a meta-SAE */
    struct omp_options omp;
    struct decomposition d;
    size_t count; /* nearest latents of each relative */
    struct relative *relatives;
    size_t n_relatives;
};

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
                               "%s has no meta-SAE: make one with `train meta NAME --sae %s --width W`, or "
                               "decompose "
                               "it --onto another SAE",
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

static int read_options(struct decomposing *x, const struct invocation *inv, struct error *err)
{
    x->onto = invocation_option(inv, "onto");
    x->omp = (struct omp_options){(size_t)invocation_count(inv, "atoms", DEFAULT_ATOMS),
                                  invocation_flag(inv, "non-negative")};
    x->count = (size_t)invocation_count(inv, "nearest", 1);
    if (x->onto && invocation_option(inv, "meta"))
        return error_set(err, STATUS_USAGE, "--meta and --onto exclude each other");
    if (!x->onto && (invocation_option(inv, "atoms") || x->omp.non_negative))
        return error_set(err, STATUS_USAGE, "--atoms and --non-negative go with --onto SAE");
    if (x->count > NEAREST_MAX)
        return error_set(err, STATUS_USAGE, "--nearest is at most %d", NEAREST_MAX);
    return STATUS_OK;
}

static int decompose(struct context *ctx, struct decomposing *x, const char *meta, struct error *err)
{
    struct artifact a = {0};
    int status = x->onto ? store_find(x->t, ARTIFACT_SAE, x->onto, &a, err)
                         : find_meta(x->t, &x->at, meta, &a.id, err);
    if (status == STATUS_OK)
        status = opened_sae_open(x->t, x->at.sae.id, &x->base, err);
    if (status == STATUS_OK)
        status = opened_sae_open(x->t, a.id, &x->other, err);
    if (status != STATUS_OK || !x->onto)
        return status ? status : decompose_latent(x->t, x->base.sae, x->other.sae, x->at.latent, &x->d, err);
    struct query_monitor monitor;
    query_monitor_start(&monitor, ctx, "decompose");
    status = decompose_onto(x->base.sae, x->other.sae, x->at.latent, &x->omp, &monitor.monitor, &x->d, err);
    query_monitor_end(&monitor);
    return status;
}

/* ---- The nearest latents of the base and of SAEs that are no wider. ---- */

/* The latent that says nothing there: a component itself, else the one that is decomposed. */
static size_t left_out(const struct decomposing *x, artifact_id in, size_t component)
{
    if (in == x->other.facts.artifact.id)
        return x->d.components[component].latent;
    return in == x->at.sae.id ? x->at.latent : SIZE_MAX;
}

static int search_relative(struct decomposing *x, artifact_id id, struct error *err)
{
    struct relative *r = &x->relatives[x->n_relatives];
    int status = opened_sae_open(x->t, id, &r->sae, err);
    if (status != STATUS_OK)
        return status;
    x->n_relatives++;
    r->n_near = xcalloc(x->d.n + 1, sizeof(*r->n_near));
    r->near = xcalloc(x->d.n * x->count + 1, sizeof(*r->near));
    for (size_t c = 0; status == STATUS_OK && c < x->d.n; c++)
        status = latent_neighbors(r->sae.sae, sae_decoder_row(x->other.sae, x->d.components[c].latent),
                                  left_out(x, id, c), x->count, r->near + c * x->count, &r->n_near[c], err);
    return status;
}

static int search_relatives(struct decomposing *x, struct error *err)
{
    struct hook_sae *saes;
    size_t n;
    if (x->count == 0 || x->d.n == 0)
        return STATUS_OK;
    int status = hook_saes(x->t, &x->base.facts, &saes, &n, err);
    if (status != STATUS_OK)
        return status;
    x->relatives = xcalloc(n + 1, sizeof(*x->relatives));
    /* A meta-SAE is no SAE of the hook, but the base all the same when its latent is decomposed. */
    status = search_relative(x, x->at.sae.id, err);
    for (size_t i = n; status == STATUS_OK && i-- > 0;)
        if (saes[i].artifact.id != x->at.sae.id && saes[i].d_sae <= x->base.facts.d_sae)
            status = search_relative(x, saes[i].artifact.id, err);
    free(saes);
    return status;
}

/* ---- Output. ---- */

static void write_near(struct writer *out, const struct decomposing *x, const struct relative *r, size_t i)
{
    writer_string(out, "sae", r->sae.facts.artifact.name);
    writer_integer(out, "latent", (long long)r->near[i].latent);
    writer_real(out, "cosine", r->near[i].cosine);
    write_label(out, x->t, r->sae.facts.artifact.id, r->near[i].latent);
}

/* A member of the component's row, for JSON. */
static void write_nearest(struct writer *out, const struct decomposing *x, size_t component)
{
    writer_begin_array(out, "nearest");
    for (size_t r = 0; r < x->n_relatives; r++)
        for (size_t i = 0; i < x->relatives[r].n_near[component]; i++) {
            writer_begin_object(out, NULL);
            write_near(out, x, &x->relatives[r], component * x->count + i);
            writer_end_object(out);
        }
    writer_end_array(out);
}

static void write_components(struct writer *out, const struct decomposing *x)
{
    static const struct writer_column columns[] = {{"latent", NULL, "%d", 0},
                                                   {"activation", NULL, "%.3f", 0},
                                                   {"cosine", NULL, "%.3f", 0},
                                                   {"label", NULL, NULL, 1}};
    writer_begin_table(out, "components", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < x->d.n; i++) {
        writer_begin_row(out);
        writer_integer(out, "latent", (long long)x->d.components[i].latent);
        writer_real(out, "activation", x->d.components[i].activation);
        writer_real(out, "cosine", x->d.components[i].cosine);
        write_label(out, x->t, x->other.facts.artifact.id, x->d.components[i].latent);
        if (writer_format(out) == WRITE_JSON)
            write_nearest(out, x, i);
        writer_end_row(out);
    }
    writer_end_table(out);
}

/* The same for people, under the components. */
static void write_nearest_table(struct writer *out, const struct decomposing *x)
{
    static const struct writer_column columns[] = {{"component", NULL, "%d", 0},
                                                   {"sae", "nearest in", NULL, 1},
                                                   {"latent", NULL, "%d", 0},
                                                   {"cosine", NULL, "%.3f", 0},
                                                   {"label", NULL, NULL, 1}};
    if (writer_format(out) != WRITE_TEXT || x->n_relatives == 0)
        return;
    writer_line(out, "%s", "");
    writer_begin_table(out, "nearest", columns, ARRAY_LENGTH(columns));
    for (size_t c = 0; c < x->d.n; c++)
        for (size_t r = 0; r < x->n_relatives; r++)
            for (size_t i = 0; i < x->relatives[r].n_near[c]; i++) {
                writer_begin_row(out);
                writer_integer(out, "component", (long long)x->d.components[c].latent);
                write_near(out, x, &x->relatives[r], c * x->count + i);
                writer_end_row(out);
            }
    writer_end_table(out);
}

static void write_all(struct writer *out, const struct decomposing *x)
{
    writer_own_text(out);
    writer_begin_object(out, NULL);
    writer_string(out, "sae", x->at.sae.name);
    writer_integer(out, "latent", (long long)x->at.latent);
    if (x->onto) {
        writer_null(out, "meta");
        writer_string(out, "onto", x->onto);
        writer_integer(out, "atoms", (long long)x->omp.atoms);
        writer_boolean(out, "non_negative", x->omp.non_negative);
    } else {
        writer_string(out, "meta", x->other.facts.artifact.name);
    }
    writer_real(out, "explained_variance", x->d.explained_variance);
    writer_real(out, "residual_norm", x->d.residual_norm);
    writer_line(out, "%s/%zu %s %s: explained variance %.3f, residual %.3f of the norm", x->at.sae.name,
                x->at.latent, x->onto ? "onto" : "in", x->other.facts.artifact.name, x->d.explained_variance,
                x->d.residual_norm);
    write_components(out, x);
    write_nearest_table(out, x);
    writer_end_object(out);
}

static void close_all(struct decomposing *x)
{
    for (size_t i = 0; i < x->n_relatives; i++) {
        opened_sae_close(&x->relatives[i].sae);
        free(x->relatives[i].near);
        free(x->relatives[i].n_near);
    }
    free(x->relatives);
    decomposition_free(&x->d);
    opened_sae_close(&x->other);
    opened_sae_close(&x->base);
}

static int run_decompose(struct context *ctx, const struct invocation *inv, struct writer *out,
                         struct error *err)
{
    struct decomposing x = {0};
    int status = read_options(&x, inv, err);
    if (status == STATUS_OK)
        status = store_begin(ctx->store, &x.t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, x.t, &x.at, err);
    if (status == STATUS_OK)
        status = decompose(ctx, &x, invocation_option(inv, "meta"), err);
    if (status == STATUS_OK)
        status = search_relatives(&x, err);
    if (status == STATUS_OK)
        write_all(out, &x);
    close_all(&x);
    store_end(x.t);
    return status;
}

static const struct argument_spec arguments[] = {{.name = "SAE/ID", .type = WORD_ADDRESS}, {.name = NULL}};
static const struct option_spec options[] = {
    {.name = "meta",
     .type = WORD_META,
     .value = "META",
     .help = "meta-SAE (default: the newest on this SAE)"},
    {.name = "onto",
     .type = WORD_SAE,
     .value = "SAE",
     .help = "sparse regression onto this SAE's decoder rows instead"},
    {.name = "atoms", .type = WORD_COUNT, .value = "K", .help = "with --onto: at most K latents (default 4)"},
    {.name = "non-negative", .type = WORD_FLAG, .help = "with --onto: no negative coefficients"},
    {.name = "nearest",
     .type = WORD_COUNT,
     .value = "N",
     .help = "nearest latents of each SAE beside each component (default 1; 0: none)"},
    {.name = NULL},
};
const struct command decompose_command = {
    .name = "decompose",
    .group = GROUP_EXPLORE,
    .summary = "break a latent into meta-latents, or into latents of another SAE",
    .description =
        "The latent's decoder row, scaled to unit norm, runs through a meta-SAE, or is written as a sum of "
        "few unit "
        "decoder rows of any SAE with the same d_in (orthogonal matching pursuit; its own row is left out). "
        "Explained "
        "variance is relative to the mean decoder row. Beside each component: the latents nearest to its "
        "direction in the latent's own SAE and in those of the same hook that are no wider.",
    .arguments = arguments,
    .options = options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_decompose,
};
