/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store's own commands: list, info, remove, rename, verify, compact. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

/* ---- list ---- */

static const char *name_of(struct store_txn *t, artifact_id id, struct artifact *a)
{
    if (id == 0 || store_get(t, id, a, NULL) != STATUS_OK)
        return NULL;
    return a->name;
}

static artifact_id reference(const json *manifest, const char *role)
{
    return (artifact_id)json_get_integer(json_get(manifest, "references"), role, 0);
}

static void copy_member(struct writer *out, const json *manifest, const char *key)
{
    writer_json(out, key, json_get(manifest, key));
}

static void model_members(struct writer *out, const json *m)
{
    copy_member(out, m, "family");
    copy_member(out, m, "layers");
    copy_member(out, m, "d_model");
    copy_member(out, m, "vocabulary_size");
}

static void text_members(struct writer *out, struct store_txn *t, const json *m)
{
    struct artifact model;
    writer_string(out, "model", name_of(t, reference(m, "model"), &model));
    copy_member(out, m, "tokens");
    copy_member(out, m, "documents");
}

/* "base": of a joint meta-SAE the first in JSON, which has "bases" as well, and all of them elsewhere. */
static void base_members(struct writer *out, struct store_txn *t, const struct sae_facts *f)
{
    struct artifact base;
    struct strbuf all = STRBUF_INIT;
    json *names = json_new_array();
    for (size_t i = 0; i < f->n_bases; i++) {
        const char *name = name_of(t, f->bases[i], &base);
        strbuf_addf(&all, "%s%s", i ? "," : "", name ? name : "?");
        json_append(names, name ? json_new_string(name) : json_new_null());
    }
    if (f->n_bases > 1 && writer_format(out) != WRITE_JSON)
        writer_string(out, "base", strbuf_string(&all));
    else
        writer_string(out, "base", name_of(t, f->base, &base));
    writer_json_only(out, 1);
    if (f->n_bases > 1)
        writer_json(out, "bases", names);
    writer_json_only(out, 0);
    json_free(names);
    strbuf_free(&all);
}

static int sae_members(struct writer *out, struct store_txn *t, artifact_id id, struct error *err)
{
    struct sae_facts f;
    struct artifact other;
    int status = sae_facts_read(t, id, &f, err);
    if (status != STATUS_OK)
        return status;
    writer_string(out, "kind", f.is_meta ? "meta" : "sae");
    writer_string(out, "architecture", f.architecture);
    writer_integer(out, "d_in", (long long)f.d_in);
    writer_integer(out, "d_sae", (long long)f.d_sae);
    writer_string(out, "model", name_of(t, f.model, &other));
    writer_string(out, "hook", f.hook);
    base_members(out, t, &f);
    writer_integer(out, "indexed_tokens", f.is_meta ? 0 : (long long)f.indexed_tokens);
    sae_facts_free(&f);
    return STATUS_OK;
}

static void stitch_members(struct writer *out, struct store_txn *t, const json *m)
{
    struct artifact a;
    writer_string(out, "small", name_of(t, reference(m, "small"), &a));
    writer_string(out, "large", name_of(t, reference(m, "large"), &a));
}

static int members(struct writer *out, struct store_txn *t, const struct artifact *a, struct error *err)
{
    int status = STATUS_OK;
    json *m = store_manifest(t, a->id, err);
    if (!m)
        return err->code;
    if (a->kind == ARTIFACT_MODEL)
        model_members(out, m);
    else if (a->kind == ARTIFACT_TEXT)
        text_members(out, t, m);
    else if (a->kind == ARTIFACT_SAE)
        status = sae_members(out, t, a->id, err);
    else if (a->kind == ARTIFACT_STITCH)
        stitch_members(out, t, m);
    json_free(m);
    return status;
}

static const struct writer_column model_columns[] = {
    {"name", "model", NULL, 1},
    {"family", NULL, NULL, 1},
    {"layers", NULL, NULL, 0},
    {"d_model", NULL, NULL, 0},
    {"vocabulary_size", "vocabulary", NULL, 0},
};
static const struct writer_column text_columns[] = {
    {"name", "text", NULL, 1},
    {"model", NULL, NULL, 1},
    {"tokens", NULL, NULL, 0},
    {"documents", NULL, NULL, 0},
};
static const struct writer_column sae_columns[] = {
    {"name", "SAE", NULL, 1}, {"kind", NULL, NULL, 1},  {"architecture", NULL, NULL, 1},
    {"d_in", NULL, NULL, 0},  {"d_sae", NULL, NULL, 0}, {"model", NULL, NULL, 1},
    {"hook", NULL, NULL, 1},  {"base", NULL, NULL, 1},  {"indexed_tokens", "indexed tokens", NULL, 0},
};
static const struct writer_column stitch_columns[] = {
    {"name", "stitch", NULL, 1},
    {"small", NULL, NULL, 1},
    {"large", NULL, NULL, 1},
};

static const struct listing {
    const char *key; /* of the JSON array and of `list KIND` */
    enum artifact_kind kind;
    const struct writer_column *columns;
    size_t n_columns;
} listings[] = {
    {"models", ARTIFACT_MODEL, model_columns, ARRAY_LENGTH(model_columns)},
    {"texts", ARTIFACT_TEXT, text_columns, ARRAY_LENGTH(text_columns)},
    {"saes", ARTIFACT_SAE, sae_columns, ARRAY_LENGTH(sae_columns)},
    {"stitches", ARTIFACT_STITCH, stitch_columns, ARRAY_LENGTH(stitch_columns)},
};

static int write_listing(struct writer *out, struct store_txn *t, const struct listing *l, int text_heading,
                         struct error *err)
{
    struct artifact *all = NULL;
    size_t n = 0;
    int status = store_list(t, l->kind, &all, &n, err);
    if (status == STATUS_OK && text_heading && n > 0)
        writer_line(out, "%s:", l->key);
    if (status == STATUS_OK)
        writer_begin_table(out, l->key, l->columns, l->n_columns);
    for (size_t i = 0; i < n && status == STATUS_OK; i++) {
        writer_begin_row(out);
        writer_string(out, "name", all[i].name);
        status = members(out, t, &all[i], err);
        writer_end_row(out);
    }
    if (status == STATUS_OK)
        writer_end_table(out);
    if (status == STATUS_OK && text_heading && n > 0)
        writer_line(out, "%s", "");
    free(all);
    return status;
}

static int singular_matches(const char *plural, const char *word)
{
    size_t n = strlen(word);
    return n > 2 && strncmp(plural, word, n) == 0 && (plural[n] == 's' || strcmp(plural + n, "es") == 0);
}

static int run_list(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    const char *kind = invocation_argument(inv, 0);
    const struct listing *only = NULL;
    struct store_txn *t;
    for (size_t i = 0; kind && i < ARRAY_LENGTH(listings); i++)
        if (strcmp(kind, listings[i].key) == 0 || singular_matches(listings[i].key, kind))
            only = &listings[i];
    if (kind && !only)
        return error_set(err, STATUS_USAGE, "list takes models, texts, saes or stitches, not '%s'", kind);
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    writer_begin_object(out, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(listings) && status == STATUS_OK; i++)
        if (!only || only == &listings[i])
            status = write_listing(out, t, &listings[i], !only, err);
    writer_end_object(out);
    store_end(t);
    return status;
}

static const struct argument_spec list_arguments[] = {{.name = "KIND", .type = WORD_KIND, .optional = 1},
                                                      {.name = NULL}};
const struct command list_command = {
    .name = "list",
    .group = GROUP_STORE,
    .summary = "list what the store holds",
    .description = "Models, texts, SAEs (meta-SAEs among them) and stitches, or one kind of them.",
    .arguments = list_arguments,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_list,
};

/* ---- info ---- */

/* What the manifest has besides the members that `list` gives. */
static void other_members(struct writer *out, const json *m)
{
    static const char *const written[] = {
        "kind",   "architecture", "d_in",    "d_sae",           "model",  "hook",      "base",
        "family", "layers",       "d_model", "vocabulary_size", "tokens", "documents", "references"};
    for (size_t i = 0; i < json_length(m); i++) {
        const char *key = json_key_at(m, i);
        size_t k = 0;
        while (k < ARRAY_LENGTH(written) && strcmp(key, written[k]) != 0)
            k++;
        if (k < ARRAY_LENGTH(written))
            continue;
        /* "bytes" is the size in the store. */
        writer_json(out, strcmp(key, "bytes") == 0 ? "source_bytes" : key, json_value_at(m, i));
    }
}

static int write_info(struct writer *out, struct store_txn *t, const struct artifact *a, const json *m,
                      struct error *err)
{
    writer_string(out, "name", a->name);
    if (a->kind != ARTIFACT_SAE)
        writer_string(out, "kind", artifact_kind_name(a->kind));
    int status = members(out, t, a, err);
    other_members(out, m);
    return status;
}

static int run_info(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    int latents = invocation_flag(inv, "latents");
    struct store_txn *t;
    struct artifact a;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, 0, invocation_argument(inv, 0), &a, err);
    if (status == STATUS_OK && latents && a.kind != ARTIFACT_STITCH)
        status = error_set(err, STATUS_USAGE, "--latents is for stitches: latents %s lists those of an SAE", a.name);
    json *m = status == STATUS_OK ? store_manifest(t, a.id, err) : NULL;
    if (m) {
        writer_begin_object(out, NULL);
        status = a.kind == ARTIFACT_STITCH ? write_stitch(out, t, a.id, latents, err) : write_info(out, t, &a, m, err);
        writer_integer(out, "bytes", (long long)store_bytes(t, a.id));
        writer_end_object(out);
        json_free(m);
    } else if (status == STATUS_OK) {
        status = err->code;
    }
    store_end(t);
    return status;
}

static const struct argument_spec name_argument[] = {{.name = "NAME", .type = WORD_ARTIFACT}, {.name = NULL}};
static const struct option_spec info_options[] = {
    {.name = "latents", .type = WORD_FLAG, .help = "of a stitch: every latent's score and class"},
    {.name = NULL},
};
const struct command info_command = {
    .name = "info",
    .group = GROUP_STORE,
    .summary = "tell everything that is known of a model, text, SAE or stitch",
    .description =
        "Of a trained SAE also every hyperparameter and its final loss, L0, explained variance and dead "
        "latents; of an imported one where it came from; of a stitch what `stitch` gave.",
    .arguments = name_argument,
    .options = info_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_info,
};

/* ---- remove, rename ---- */

static int find_id(struct context *ctx, const char *name, struct artifact *out, struct error *err)
{
    struct store_txn *t;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, 0, name, out, err);
    store_end(t);
    return status;
}

static int run_remove(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    struct artifact a;
    size_t removed = 0;
    int status = find_id(ctx, invocation_argument(inv, 0), &a, err);
    if (status == STATUS_OK && ctx->frontend && ctx->frontend->confirm) {
        char *question = xasprintf("remove %s %s?", artifact_kind_name(a.kind), a.name);
        if (!ctx->frontend->confirm(ctx->frontend->arg, question))
            status = error_set(err, STATUS_FAILED, "not removed: --yes answers the question");
        free(question);
    }
    if (status == STATUS_OK)
        status = store_remove(ctx->store, a.id, invocation_flag(inv, "cascade"), &removed, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a.name);
        writer_integer(out, "removed", (long long)removed);
        writer_end_object(out);
    }
    return status;
}

static const struct option_spec remove_options[] = {
    {.name = "cascade", .type = WORD_FLAG, .help = "remove what refers to it as well"},
    {.name = NULL},
};
const struct command remove_command = {
    .name = "remove",
    .group = GROUP_STORE,
    .summary = "remove something from the store",
    .description =
        "Refused while something refers to it (a text and an SAE to their model, an index to its text, a "
        "meta-SAE to its base), unless --cascade is given. An SAE takes its index and labels with it.",
    .arguments = name_argument,
    .options = remove_options,
    .cost = COST_QUERY,
    .needs_store = 2,
    .run = run_remove,
};

static int run_rename(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    struct artifact a;
    const char *new_name = invocation_argument(inv, 1);
    int status = find_id(ctx, invocation_argument(inv, 0), &a, err);
    if (status == STATUS_OK)
        status = store_rename(ctx->store, a.id, new_name, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", new_name);
        writer_string(out, "was", a.name);
        writer_end_object(out);
    }
    return status;
}

static const struct argument_spec rename_arguments[] = {
    {.name = "OLD", .type = WORD_ARTIFACT}, {.name = "NEW", .type = WORD_NAME_NEW}, {.name = NULL}};
const struct command rename_command = {
    .name = "rename",
    .group = GROUP_STORE,
    .summary = "give something another name",
    .description = "What refers to it goes on doing so.",
    .arguments = rename_arguments,
    .cost = COST_QUERY,
    .needs_store = 2,
    .run = run_rename,
};

/* ---- verify, compact ---- */

struct problems {
    struct writer *out;
    size_t n;
};

static void write_problem(const struct store_problem *p, void *arg)
{
    struct problems *all = arg;
    writer_begin_row(all->out);
    writer_string(all->out, "name", p->name);
    writer_string(all->out, "tensor", p->tensor);
    writer_integer(all->out, "block", (long long)p->block);
    writer_string(all->out, "message", p->message);
    writer_end_row(all->out);
    all->n++;
}

static int run_verify(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    static const struct writer_column columns[] = {{"name", NULL, NULL, 1},
                                                   {"tensor", NULL, NULL, 1},
                                                   {"block", NULL, NULL, 0},
                                                   {"message", NULL, NULL, 1}};
    struct problems all = {out, 0};
    struct query_monitor monitor;
    (void)inv;
    query_monitor_start(&monitor, ctx, "verify");
    writer_begin_object(out, NULL);
    writer_begin_table(out, "problems", columns, ARRAY_LENGTH(columns));
    int status = store_verify(ctx->store, &monitor.monitor, write_problem, &all, err);
    query_monitor_end(&monitor);
    writer_end_table(out);
    writer_boolean(out, "ok", status == STATUS_OK && all.n == 0);
    writer_end_object(out);
    if (status == STATUS_OK && all.n > 0) {
        /* The report is the result, and the exit status tells. */
        status = writer_commit(out, err);
        if (status == STATUS_OK)
            status = error_set(err, STATUS_FAILED, "the store is damaged in %zu place%s", all.n,
                               all.n == 1 ? "" : "s");
    }
    return status;
}

const struct command verify_command = {
    .name = "verify",
    .group = GROUP_STORE,
    .summary = "check every block's checksum and every reference",
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_verify,
};

static int run_compact(struct context *ctx, const struct invocation *inv, struct writer *out,
                       struct error *err)
{
    const char *to = invocation_option(inv, "to");
    char *path = to ? context_path(ctx, to) : NULL;
    int status = store_compact(ctx->store, path, err);
    if (status == STATUS_OK) {
        writer_begin_object(out, NULL);
        writer_string(out, "store", path ? path : store_path(ctx->store));
        writer_end_object(out);
    }
    free(path);
    return status;
}

static const struct option_spec compact_options[] = {
    {.name = "to", .type = WORD_DIRECTORY, .value = "DIR", .help = "write the compacted copy there instead"},
    {.name = NULL},
};
const struct command compact_command = {
    .name = "compact",
    .group = GROUP_STORE,
    .summary = "give free space in the store's file back",
    .description =
        "In place it needs the store for itself and names who else has it open; with --to it makes a copy.",
    .options = compact_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_compact,
};
