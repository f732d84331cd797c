/* SPDX-License-Identifier: GPL-3.0-or-later */
/* latents, search, label: lists of latents and their labels. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

/* ---- latents ---- */

static const struct writer_column latent_columns[] = {
    {"latent", NULL, "%d", 0}, {"fired", NULL, NULL, 0},    {"density", NULL, "%.5f", 0},
    {"max", NULL, "%.2f", 0},  {"mean", NULL, "%.2f", 0},   {"meta_latents", "metas", NULL, 0},
    {"ev", NULL, "%.2f", 0},   {"cosine", NULL, "%.3f", 0}, {"label", NULL, NULL, 1},
};

static int parse_key(const char *word, enum latent_key *key, struct error *err)
{
    for (int k = 0; k < LATENT_KEYS; k++)
        if (strcmp(word, latent_key_names[k]) == 0 ||
            (latent_columns[k].heading && strcmp(word, latent_columns[k].heading) == 0)) {
            *key = (enum latent_key)k;
            return STATUS_OK;
        }
    const char *near = nearest_word(word, latent_key_names);
    return error_set(err, STATUS_USAGE,
                     "no column '%s'%s%s; there are latent, fired, density, max, mean, meta_latents, "
                     "ev, cosine and label",
                     word, near ? ": did you mean " : "", near ? near : "");
}

/* The declared columns that --columns names, in its order. */
static int choose_columns(const char *list, struct writer_column *columns, size_t *n, struct error *err)
{
    char *copy = xstrdup(list), *save = NULL;
    int status = STATUS_OK;
    *n = 0;
    for (char *item = strtok_r(copy, ",", &save); item && status == STATUS_OK;
         item = strtok_r(NULL, ",", &save)) {
        enum latent_key key;
        status = parse_key(item, &key, err);
        for (size_t i = 0; status == STATUS_OK && i < *n; i++)
            if (strcmp(columns[i].name, latent_key_names[key]) == 0)
                status = error_set(err, STATUS_USAGE, "the column %s is named twice", item);
        if (status == STATUS_OK)
            columns[(*n)++] = latent_columns[key];
    }
    free(copy);
    return status;
}

static void write_latent(struct writer *out, struct store_txn *t, const struct latent_table *table,
                         size_t latent)
{
    uint32_t fired = table->fired ? table->fired[latent] : 0;
    writer_begin_row(out);
    writer_integer(out, "latent", (long long)latent);
    write_label(out, t, table->facts.artifact.id, latent);
    if (table->fired) {
        writer_integer(out, "fired", fired);
        writer_real(out, "density", table->tokens ? fired / (double)table->tokens : NAN);
        writer_real(out, "max", fired ? table->max[latent] : 0);
        writer_real(out, "mean", fired ? table->mean[latent] : 0);
    } else {
        writer_null(out, "fired");
        writer_null(out, "density");
        writer_null(out, "max");
        writer_null(out, "mean");
    }
    if (table->meta_latents)
        writer_integer(out, "meta_latents", table->meta_latents[latent]);
    else
        writer_null(out, "meta_latents");
    if (table->meta_ev)
        writer_real(out, "ev", table->meta_ev[latent]);
    else
        writer_null(out, "ev");
    if (table->cosine)
        writer_real(out, "cosine", (double)table->cosine[latent]);
    else
        writer_null(out, "cosine");
    if (table->classes) {
        writer_integer(out, "nearest", table->nearest[latent]);
        writer_string(out, "class", latent_class_name((enum latent_class)table->classes[latent]));
    }
    writer_end_row(out);
}

/* All columns, without the cosine where there is no stitch. */
static size_t default_columns(const struct latent_table *table, struct writer_column *columns)
{
    size_t n = 0;
    for (int k = 0; k < LATENT_KEYS; k++)
        if (k != KEY_COSINE || table->cosine)
            columns[n++] = latent_columns[k];
    return n;
}

static int sort_and_filter(struct latent_table *table, struct store_txn *t, const struct invocation *inv,
                           struct error *err)
{
    const char *filter = invocation_option(inv, "filter"), *sort = invocation_option(inv, "sort");
    enum latent_key key = KEY_LATENT;
    int status = STATUS_OK;
    if (sort)
        status = parse_key(sort, &key, err);
    if (status == STATUS_OK && filter)
        status = latent_table_filter(table, t, filter, err);
    if (status == STATUS_OK && (sort || invocation_flag(inv, "reverse")))
        status = latent_table_sort(table, t, key, invocation_flag(inv, "reverse"), err);
    return status;
}

static int run_latents(struct context *ctx, const struct invocation *inv, struct writer *out,
                       struct error *err)
{
    struct writer_column columns[LATENT_KEYS];
    size_t n_columns = 0;
    struct store_txn *t;
    struct artifact a;
    struct latent_table *table = NULL;
    int status = STATUS_OK;
    if (invocation_option(inv, "columns"))
        status = choose_columns(invocation_option(inv, "columns"), columns, &n_columns, err);
    if (status == STATUS_OK)
        status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_SAE, invocation_argument(inv, 0), &a, err);
    if (status == STATUS_OK)
        status = latent_table_open(t, a.id, &table, err);
    if (status == STATUS_OK)
        status = sort_and_filter(table, t, inv, err);
    if (status == STATUS_OK) {
        uint64_t limit = invocation_count(inv, "limit", (uint64_t)settings_count(ctx->settings, "limit"));
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "sae", a.name);
        writer_integer(out, "total", (long long)table->n);
        writer_integer(out, "matched", (long long)table->matched);
        if (table->in.id) { /* what cosine and nearest are about */
            writer_string(out, "in", table->in.name);
            writer_line(out, "cosine: to the nearest latent of %s", table->in.name);
        }
        if (n_columns == 0)
            n_columns = default_columns(table, columns);
        writer_begin_table(out, "latents", columns, n_columns);
        for (size_t i = 0; i < table->matched && (limit == 0 || i < limit); i++)
            write_latent(out, t, table, table->order[i]);
        writer_end_table(out);
        writer_end_object(out);
        if (limit && table->matched > limit)
            writer_line(out, "%llu of %zu latents; --limit 0 prints all", (unsigned long long)limit,
                        table->matched);
    }
    latent_table_free(table);
    store_end(t);
    return status;
}

static const struct argument_spec sae_argument[] = {{.name = "SAE", .type = WORD_SAE}, {.name = NULL}};
static const struct option_spec latents_options[] = {
    {.name = "sort",
     .type = WORD_KEY,
     .value = "KEY",
     .help = "sort by a column: numbers descend, dead latents last"},
    {.name = "reverse", .type = WORD_FLAG, .help = "turn the order round"},
    {.name = "filter",
     .type = WORD_WORD,
     .value = "EXPR",
     .help = "only latents for which EXPR holds, for example 'density < 0.01 and max > 5'"},
    {.name = "columns", .type = WORD_KEY, .value = "A,B", .help = "columns of text and TSV", .list = 1},
    {.name = "limit", .type = WORD_COUNT, .value = "N", .help = "at most N rows (0: all)"},
    {.name = NULL},
};
const struct command latents_command = {
    .name = "latents",
    .group = GROUP_EXPLORE,
    .summary = "list an SAE's latents",
    .description =
        "EXPR compares latent, fired, density, max, mean, meta_latents, ev and cosine (to the nearest latent "
        "of a smaller SAE, where a stitch leads from there to this one) with numbers (< <= > >= = !=) "
        "and "
        "label with a regular expression (label ~ \"physic\"), joined by and, or, not and parentheses.",
    .arguments = sae_argument,
    .options = latents_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .view = "latents",
    .run = run_latents,
};

/* ---- search ---- */

static int run_search(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    static const struct writer_column columns[] = {{"sae", NULL, NULL, 1},
                                                   {"latent", NULL, "%d", 0},
                                                   {"score", NULL, "%.2f", 0},
                                                   {"label", NULL, NULL, 1}};
    const char *query = invocation_argument(inv, 0), *in = invocation_option(inv, "in");
    uint64_t limit = invocation_count(inv, "limit", (uint64_t)settings_count(ctx->settings, "limit"));
    struct store_txn *t;
    struct artifact a = {0};
    struct search_result *results = NULL;
    size_t n = 0;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    if (in)
        status = store_find(t, ARTIFACT_SAE, in, &a, err);
    if (status == STATUS_OK)
        status = search_labels(t, a.id, query, &results, &n, err);
    if (status == STATUS_OK) {
        writer_own_text(out);
        writer_begin_object(out, NULL);
        writer_string(out, "query", query);
        writer_begin_table(out, "results", columns, ARRAY_LENGTH(columns));
        for (size_t i = 0; i < n && (limit == 0 || i < limit); i++) {
            struct artifact sae;
            if (store_get(t, results[i].sae, &sae, err) != STATUS_OK)
                continue;
            writer_begin_row(out);
            writer_string(out, "sae", sae.name);
            writer_integer(out, "latent", (long long)results[i].latent);
            write_label(out, t, results[i].sae, results[i].latent);
            writer_real(out, "score", results[i].score);
            writer_end_row(out);
        }
        writer_end_table(out);
        writer_end_object(out);
        if (n == 0)
            writer_line(out, "%s", "no label matches");
    }
    free(results);
    store_end(t);
    return status;
}

static const struct argument_spec query_argument[] = {{.name = "QUERY", .type = WORD_WORD}, {.name = NULL}};
static const struct option_spec search_options[] = {
    {.name = "in", .type = WORD_SAE, .value = "SAE", .help = "only this SAE's latents"},
    {.name = "limit", .type = WORD_COUNT, .value = "N", .help = "at most N results (0: all)"},
    {.name = NULL},
};
const struct command search_command = {
    .name = "search",
    .group = GROUP_EXPLORE,
    .summary = "find latents by their labels",
    .description = "QUERY is words, all of which a label must have, or /a regular expression/; case matters "
                   "only when it "
                   "has capitals.",
    .arguments = query_argument,
    .options = search_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_search,
};

/* ---- label ---- */

static int change_label(struct context *ctx, const struct address *at, const char *text, struct error *err)
{
    struct label label = {
        .latent = at->latent, .source = LABEL_USER, .text = text, .n = text ? strlen(text) : 0};
    struct store *s;
    int status = context_store(ctx, 2, &s, err);
    return status == STATUS_OK ? store_put_labels(s, at->sae.id, &label, 1, err) : status;
}

static void write_label_line(struct writer *out, struct store_txn *t, const struct address *at)
{
    struct label label;
    struct strbuf b = STRBUF_INIT;
    if (store_label(t, at->sae.id, at->latent, &label, NULL) == STATUS_OK && label.text)
        displayable(&b, label.text, label.n);
    else
        strbuf_adds(&b, "(no label)");
    writer_line(out, "%s/%zu  %s", at->sae.name, at->latent, strbuf_string(&b));
    strbuf_free(&b);
}

static int run_label(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *text = invocation_argument(inv, 1);
    int removing = invocation_flag(inv, "remove");
    struct store_txn *t;
    struct address at;
    if (text && removing)
        return error_set(err, STATUS_USAGE, "label takes TEXT or --remove, not both");
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = argument_address(ctx, inv, 0, t, &at, err);
    store_end(t);
    if (status == STATUS_OK && (text || removing))
        status = change_label(ctx, &at, removing ? NULL : text, err);
    if (status == STATUS_OK)
        status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    writer_own_text(out);
    writer_begin_object(out, NULL);
    writer_string(out, "sae", at.sae.name);
    writer_integer(out, "latent", (long long)at.latent);
    write_label(out, t, at.sae.id, at.latent);
    writer_end_object(out);
    write_label_line(out, t, &at);
    store_end(t);
    return STATUS_OK;
}

static const struct argument_spec label_arguments[] = {{.name = "SAE/ID", .type = WORD_ADDRESS},
                                                       {.name = "TEXT", .type = WORD_WORD, .optional = 1},
                                                       {.name = NULL}};
static const struct option_spec label_options[] = {
    {.name = "remove",
     .type = WORD_FLAG,
     .help = "take your label away; the imported or automatic one shows again"},
    {.name = NULL},
};
const struct command label_command = {
    .name = "label",
    .group = GROUP_EXPLORE,
    .summary = "print or set a latent's label",
    .arguments = label_arguments,
    .options = label_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_label,
};
