/* SPDX-License-Identifier: GPL-3.0-or-later */
/* show, contexts, logits: what is known of one latent. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/index.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

#define LOGITS_SHOWN    10
#define NEIGHBORS_SHOWN 10
#define TEXT_CONTEXTS   8 /* text output: top contexts that are printed */

/* One latent with everything opened that its page needs. */
struct page {
    struct context *ctx;
    struct store_txn *t;
    struct address at;
    struct opened_sae sae;
    struct opened_sae base; /* of a meta-SAE */
    struct model *model;    /* NULL when none is known */
    size_t window;          /* SIZE_MAX: whole contexts */
};

static void page_close(struct page *p)
{
    opened_sae_close(&p->sae);
    opened_sae_close(&p->base);
    model_free(p->model);
    store_end(p->t);
}

static int page_open(struct context *ctx, const struct invocation *inv, struct page *p, struct error *err)
{
    memset(p, 0, sizeof *p);
    p->ctx = ctx;
    p->window = (size_t)settings_count(ctx->settings, "window");
    const char *window = invocation_option(inv, "window");
    unsigned long long n = 0;
    if (window && strcmp(window, "full") == 0)
        p->window = SIZE_MAX;
    else if (window && parse_u64(window, 0, 1 << 20, &n) != 0)
        return error_set(err, STATUS_USAGE, "--window takes a number of tokens or full, not '%s'", window);
    else if (window)
        p->window = (size_t)n;
    int status = store_begin(ctx->store, &p->t, err);
    if (status == STATUS_OK)
        status = argument_address(ctx, inv, 0, p->t, &p->at, err);
    if (status == STATUS_OK)
        status = opened_sae_open(p->t, p->at.sae.id, &p->sae, err);
    if (status == STATUS_OK && p->sae.facts.is_meta && p->sae.facts.base)
        status = opened_sae_open(p->t, p->sae.facts.base, &p->base, err);
    if (status == STATUS_OK && p->sae.facts.model) {
        status = model_open(p->t, p->sae.facts.model, &p->model, err);
        if (status == STATUS_OK)
            status = model_attach(p->model, p->t, err);
    }
    if (status != STATUS_OK)
        page_close(p);
    return status;
}

static const struct tokenizer *page_tokenizer(const struct page *p)
{
    return p->model ? model_tokenizer(p->model) : NULL;
}

/* ---- Contexts ---- */

/* The shown positions of a context: [*first, *end). */
static void window_of(const struct page *p, const struct latent_context *c, size_t *first, size_t *end)
{
    *first = p->window < c->position ? c->position - p->window : 0;
    *end = p->window < c->length - c->position ? c->position + p->window + 1 : c->length;
    if (*end > c->length)
        *end = c->length;
}

static void write_context(struct writer *out, const struct page *p, const struct latent_context *c)
{
    size_t first, end;
    window_of(p, c, &first, &end);
    writer_begin_object(out, NULL);
    writer_integer(out, "context", (long long)c->context);
    writer_integer(out, "position", (long long)c->position);
    writer_integer(out, "offset", (long long)first);
    writer_real(out, "activation", c->activation);
    if (c->interval < 0)
        writer_null(out, "interval");
    else
        writer_integer(out, "interval", c->interval);
    writer_begin_array(out, "ids");
    for (size_t i = first; i < end; i++)
        if (c->ids)
            writer_integer(out, NULL, c->ids[i]);
        else
            writer_null(out, NULL);
    writer_end_array(out);
    writer_begin_array(out, "tokens");
    for (size_t i = first; i < end; i++) {
        size_t n;
        const void *bytes = latent_context_token(c, page_tokenizer(p), i, &n);
        writer_bytes(out, NULL, bytes, n);
    }
    writer_end_array(out);
    writer_begin_array(out, "activations");
    for (size_t i = first; i < end; i++)
        writer_real(out, NULL, c->activations[i]);
    writer_end_array(out);
    writer_end_object(out);
}

/* A line for people: tokens that fire at more than half of the context's activation stand in brackets. */
static void context_line(struct writer *out, const struct page *p, const struct latent_context *c)
{
    struct strbuf b = STRBUF_INIT;
    size_t first, end;
    window_of(p, c, &first, &end);
    for (size_t i = first; i < end; i++) {
        size_t n = 0, blanks = 0;
        const char *bytes = latent_context_token(c, page_tokenizer(p), i, &n);
        int strong = c->activations[i] > 0.5f * c->activation;
        while (strong && blanks < n && bytes[blanks] == ' ')
            blanks++;
        displayable(&b, bytes, blanks);
        if (strong)
            strbuf_adds(&b, "[");
        displayable(&b, bytes + blanks, n - blanks);
        if (strong)
            strbuf_adds(&b, "]");
    }
    writer_line(out, "  %6.2f  %s%s%s", (double)c->activation, first > 0 ? "..." : "", strbuf_string(&b),
                end < c->length ? "..." : "");
    strbuf_free(&b);
}

/* TSV: a row a context, its window's tokens joined. */
static void context_table(struct writer *out, const struct page *p, const struct latent_context *contexts,
                          size_t n)
{
    static const struct writer_column columns[] = {
        {"context", NULL, NULL, 0},    {"position", NULL, NULL, 0}, {"offset", NULL, NULL, 0},
        {"activation", NULL, NULL, 0}, {"interval", NULL, NULL, 0}, {"text", NULL, NULL, 1},
    };
    writer_begin_table(out, "contexts", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < n; i++) {
        const struct latent_context *c = &contexts[i];
        struct strbuf text = STRBUF_INIT;
        size_t first, end;
        window_of(p, c, &first, &end);
        for (size_t k = first; k < end; k++) {
            size_t length;
            const void *bytes = latent_context_token(c, page_tokenizer(p), k, &length);
            strbuf_add(&text, bytes, length);
        }
        writer_begin_row(out);
        writer_integer(out, "context", (long long)c->context);
        writer_integer(out, "position", (long long)c->position);
        writer_integer(out, "offset", (long long)first);
        writer_real(out, "activation", c->activation);
        if (c->interval < 0)
            writer_null(out, "interval");
        else
            writer_integer(out, "interval", c->interval);
        writer_bytes(out, "text", strbuf_string(&text), text.length);
        writer_end_row(out);
        strbuf_free(&text);
    }
    writer_end_table(out);
}

static void no_contexts_line(struct writer *out, const struct page *p)
{
    const char *name = p->at.sae.name;
    if (p->sae.facts.is_meta)
        writer_line(out, "a meta-latent has no contexts: `members %s/%zu` lists its latents", name,
                    p->at.latent);
    else if (!p->sae.facts.index)
        writer_line(out, "%s is not indexed: `index %s --text T` finds contexts", name, name);
    else
        writer_line(out, "%s/%zu fired on no token of the index", name, p->at.latent);
}

/* text_lines SIZE_MAX: they are all that is asked for, and a table in TSV. */
static int write_contexts(struct writer *out, const struct page *p, size_t text_lines, struct error *err)
{
    struct latent_context *contexts = NULL;
    size_t n = 0;
    int status = STATUS_OK;
    if (!p->sae.facts.is_meta && p->sae.facts.index)
        status = index_contexts_read(p->t, p->at.sae.id, p->at.latent, &contexts, &n, err);
    if (status != STATUS_OK)
        return status;
    if (text_lines == SIZE_MAX && writer_format(out) == WRITE_TSV) {
        context_table(out, p, contexts, n);
        latent_contexts_free(contexts, n);
        return STATUS_OK;
    }
    writer_begin_array(out, "contexts");
    for (size_t i = 0; i < n; i++)
        write_context(out, p, &contexts[i]);
    writer_end_array(out);
    if (n == 0 && text_lines == SIZE_MAX)
        no_contexts_line(out, p);
    int interval = -2;
    for (size_t i = 0, lines = 0; i < n && lines < text_lines; i++, lines++) {
        if (contexts[i].interval != interval && writer_format(out) == WRITE_TEXT) {
            interval = contexts[i].interval;
            if (interval < 0)
                writer_line(out, "%s", "top contexts");
            else
                writer_line(out, "interval %d of 5, sampled", interval + 1);
        }
        context_line(out, p, &contexts[i]);
    }
    latent_contexts_free(contexts, n);
    return STATUS_OK;
}

/* ---- Logits ---- */

static void write_logit(struct writer *out, const struct page *p, const struct token_logit *logit)
{
    size_t n;
    const void *bytes = token_logit_text(logit, page_tokenizer(p), &n);
    if (logit->id == TOKEN_NONE)
        writer_null(out, "id");
    else
        writer_integer(out, "id", logit->id);
    writer_bytes(out, "token", bytes, n);
    writer_real(out, "value", logit->value);
}

static void write_token_logits(struct writer *out, const struct page *p, const char *name,
                               const struct token_logit *logits, size_t n)
{
    writer_begin_array(out, name);
    for (size_t i = 0; i < n; i++) {
        writer_begin_object(out, NULL);
        write_logit(out, p, &logits[i]);
        writer_end_object(out);
    }
    writer_end_array(out);
}

/* "  ' as'            0.25": quotes, because most tokens begin with a blank. */
static void add_logit(struct strbuf *b, const struct page *p, const struct token_logit *logit)
{
    size_t n = 0, start = b->length;
    const void *bytes = token_logit_text(logit, page_tokenizer(p), &n);
    strbuf_adds(b, "  '");
    displayable(b, bytes, n);
    strbuf_adds(b, "'");
    for (size_t width = display_width(b->data + start, b->length - start); width < 20; width++)
        strbuf_addc(b, ' ');
    strbuf_addf(b, " %6.2f", (double)logit->value);
}

static void logit_lines(struct writer *out, const struct page *p, const struct latent_logits *logits)
{
    size_t n = logits->n_positive < logits->n_negative ? logits->n_positive : logits->n_negative;
    if (n > 0)
        writer_line(out, "%s", "tokens raised and lowered most, by logit");
    for (size_t i = 0; i < n; i++) {
        struct strbuf b = STRBUF_INIT;
        add_logit(&b, p, &logits->positive[i]);
        strbuf_adds(&b, "    ");
        add_logit(&b, p, &logits->negative[i]);
        writer_line(out, "%s", strbuf_string(&b));
        strbuf_free(&b);
    }
}

static void logit_rows(struct writer *out, const struct page *p, const char *end,
                       const struct token_logit *logits, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        writer_begin_row(out);
        writer_string(out, "end", end);
        write_logit(out, p, &logits[i]);
        writer_end_row(out);
    }
}

static void logit_table(struct writer *out, const struct page *p, const struct latent_logits *logits)
{
    static const struct writer_column columns[] = {
        {"end", NULL, NULL, 1}, {"id", NULL, NULL, 0}, {"token", NULL, NULL, 1}, {"value", NULL, NULL, 0}};
    writer_begin_table(out, "logits", columns, ARRAY_LENGTH(columns));
    logit_rows(out, p, "positive", logits->positive, logits->n_positive);
    logit_rows(out, p, "negative", logits->negative, logits->n_negative);
    writer_end_table(out);
}

/* as_table: in TSV they are rows of a table (a page has only one). */
static int write_logits(struct writer *out, const struct page *p, int fold_ln, int as_table,
                        struct error *err)
{
    struct latent_logits logits = {0};
    struct hook hook;
    const char *name = p->sae.facts.row_hook;
    int status = STATUS_OK;
    if (p->model && name) {
        status = hook_parse(model_get_config(p->model), name, &hook, err);
        if (status == STATUS_OK)
            status =
                latent_logits(p->model, p->sae.sae, &hook, p->at.latent, LOGITS_SHOWN, fold_ln, &logits, err);
    } else {
        status = index_logits_read(p->t, p->at.sae.id, p->at.latent, &logits, err);
    }
    if (status != STATUS_OK)
        return status;
    if (as_table && writer_format(out) == WRITE_TSV) {
        logit_table(out, p, &logits);
        latent_logits_free(&logits);
        return STATUS_OK;
    }
    writer_begin_object(out, "logits");
    write_token_logits(out, p, "positive", logits.positive, logits.n_positive);
    write_token_logits(out, p, "negative", logits.negative, logits.n_negative);
    writer_end_object(out);
    logit_lines(out, p, &logits);
    latent_logits_free(&logits);
    return STATUS_OK;
}

/* ---- The rest of show ---- */

static int write_statistics(struct writer *out, const struct page *p, struct error *err)
{
    struct index_columns columns;
    struct index_histogram histogram;
    size_t i = p->at.latent;
    int status = index_columns_read(p->t, p->at.sae.id, &columns, err);
    if (status != STATUS_OK)
        return status;
    uint64_t fired = columns.fired ? columns.fired[i] : 0;
    writer_integer(out, "tokens", (long long)columns.tokens);
    writer_integer(out, "fired", (long long)fired);
    writer_real(out, "density", columns.tokens ? (double)fired / (double)columns.tokens : NAN);
    writer_real(out, "max", fired ? columns.max[i] : 0);
    writer_real(out, "mean", fired ? columns.mean[i] : 0);
    if (columns.index && fired)
        writer_line(out, "fired %llu of %llu (%.4g%%), max %.4g, mean %.4g", (unsigned long long)fired,
                    (unsigned long long)columns.tokens, 100.0 * (double)fired / (double)columns.tokens,
                    (double)columns.max[i], (double)columns.mean[i]);
    else
        writer_line(out, "%s", columns.index ? "dead: it fired on no token of the index" : "not indexed");
    writer_begin_object(out, "histogram");
    if (fired)
        status = index_histogram_read(p->t, p->at.sae.id, i, &histogram, err);
    writer_begin_array(out, "edges");
    for (size_t b = 0; fired && status == STATUS_OK && b <= INDEX_BINS; b++)
        writer_real(out, NULL, histogram.edges[b]);
    writer_end_array(out);
    writer_begin_array(out, "counts");
    for (size_t b = 0; fired && status == STATUS_OK && b < INDEX_BINS; b++)
        writer_integer(out, NULL, (long long)histogram.counts[b]);
    writer_end_array(out);
    writer_end_object(out);
    index_columns_free(&columns);
    return status;
}

static void label_line(struct writer *out, struct store_txn *t, artifact_id sae, const char *name,
                       size_t latent, double value)
{
    struct label label;
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "  %6.2f  %s/%zu", value, name, latent);
    if (store_label(t, sae, latent, &label, NULL) == STATUS_OK && label.text) {
        strbuf_adds(&b, "  ");
        displayable(&b, label.text, label.n);
    }
    writer_line(out, "%s", strbuf_string(&b));
    strbuf_free(&b);
}

static int write_meta(struct writer *out, const struct page *p, struct error *err)
{
    struct opened_sae meta;
    struct decomposition d;
    artifact_id id = meta_sae_of(p->t, p->at.sae.id);
    if (!id) {
        writer_null(out, "meta");
        return STATUS_OK;
    }
    int status = opened_sae_open(p->t, id, &meta, err);
    if (status != STATUS_OK)
        return status;
    status = decompose_latent(p->t, p->sae.sae, meta.sae, p->at.latent, &d, err);
    if (status == STATUS_OK) {
        writer_line(out, "meta-latents of %s, explained variance %.2f", meta.facts.artifact.name,
                    d.explained_variance);
        writer_begin_object(out, "meta");
        writer_string(out, "sae", meta.facts.artifact.name);
        writer_real(out, "explained_variance", d.explained_variance);
        writer_begin_array(out, "components");
        for (size_t i = 0; i < d.n; i++) {
            writer_begin_object(out, NULL);
            writer_integer(out, "latent", (long long)d.components[i].latent);
            writer_real(out, "activation", d.components[i].activation);
            write_label(out, p->t, id, d.components[i].latent);
            writer_end_object(out);
            label_line(out, p->t, id, meta.facts.artifact.name, d.components[i].latent,
                       d.components[i].activation);
        }
        writer_end_array(out);
        writer_end_object(out);
        decomposition_free(&d);
    }
    opened_sae_close(&meta);
    return status;
}

/* Nearest latents: of the SAE itself; of a meta-latent, of its base. */
static int write_neighbors(struct writer *out, const struct page *p, struct error *err)
{
    struct neighbor near[NEIGHBORS_SHOWN];
    size_t n = 0;
    const struct opened_sae *in = p->base.sae ? &p->base : &p->sae;
    int status = latent_neighbors(in->sae, sae_decoder_row(p->sae.sae, p->at.latent),
                                  in == &p->sae ? p->at.latent : SIZE_MAX, NEIGHBORS_SHOWN, near, &n, err);
    if (status != STATUS_OK)
        return status;
    if (n > 0)
        writer_line(out, "nearest latents of %s by decoder cosine", in->facts.artifact.name);
    writer_begin_array(out, "neighbors");
    for (size_t i = 0; i < n; i++) {
        writer_begin_object(out, NULL);
        writer_string(out, "sae", in->facts.artifact.name);
        writer_integer(out, "latent", (long long)near[i].latent);
        writer_real(out, "cosine", near[i].cosine);
        write_label(out, p->t, in->facts.artifact.id, near[i].latent);
        writer_end_object(out);
        label_line(out, p->t, in->facts.artifact.id, in->facts.artifact.name, near[i].latent, near[i].cosine);
    }
    writer_end_array(out);
    return STATUS_OK;
}

static void title_line(struct writer *out, const struct page *p)
{
    struct label label;
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "%s/%zu", p->at.sae.name, p->at.latent);
    if (store_label(p->t, p->at.sae.id, p->at.latent, &label, NULL) == STATUS_OK && label.text) {
        strbuf_adds(&b, "  ");
        displayable(&b, label.text, label.n);
    }
    writer_line(out, "%s", strbuf_string(&b));
    strbuf_free(&b);
}

static void begin_page(struct writer *out, const struct page *p)
{
    writer_own_text(out);
    writer_begin_object(out, NULL);
    writer_string(out, "sae", p->at.sae.name);
    writer_integer(out, "latent", (long long)p->at.latent);
}

static int run_show(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct page p;
    int status = page_open(ctx, inv, &p, err);
    if (status != STATUS_OK)
        return status;
    begin_page(out, &p);
    title_line(out, &p);
    write_label(out, p.t, p.at.sae.id, p.at.latent);
    status = write_statistics(out, &p, err);
    if (status == STATUS_OK)
        status = write_contexts(out, &p, TEXT_CONTEXTS, err);
    if (status == STATUS_OK)
        status = write_logits(out, &p, invocation_flag(inv, "fold-ln"), 0, err);
    if (status == STATUS_OK)
        status = write_meta(out, &p, err);
    if (status == STATUS_OK)
        status = write_neighbors(out, &p, err);
    writer_end_object(out);
    page_close(&p);
    return status;
}

static int run_contexts(struct context *ctx, const struct invocation *inv, struct writer *out,
                        struct error *err)
{
    struct page p;
    int status = page_open(ctx, inv, &p, err);
    if (status != STATUS_OK)
        return status;
    begin_page(out, &p);
    status = write_contexts(out, &p, SIZE_MAX, err);
    writer_end_object(out);
    page_close(&p);
    return status;
}

static int run_logits(struct context *ctx, const struct invocation *inv, struct writer *out,
                      struct error *err)
{
    struct page p;
    int status = page_open(ctx, inv, &p, err);
    if (status != STATUS_OK)
        return status;
    begin_page(out, &p);
    status = write_logits(out, &p, invocation_flag(inv, "fold-ln"), 1, err);
    writer_end_object(out);
    page_close(&p);
    return status;
}

#define WINDOW_OPTION                                                                                        \
    {                                                                                                        \
        .name = "window", .type = WORD_WORD, .value = "N|full",                                              \
        .help = "tokens on either side of the peak, or full"                                                 \
    }
#define FOLD_OPTION                                                                                          \
    {                                                                                                        \
        .name = "fold-ln", .type = WORD_FLAG,                                                                \
        .help = "logits with the final norm's weight folded in, centred over d_model and the vocabulary"     \
    }

static const struct argument_spec address_argument[] = {{.name = "SAE/ID", .type = WORD_ADDRESS},
                                                        {.name = NULL}};
static const struct option_spec show_options[] = {WINDOW_OPTION, FOLD_OPTION, {.name = NULL}};
static const struct option_spec contexts_options[] = {WINDOW_OPTION, {.name = NULL}};
static const struct option_spec logits_options[] = {FOLD_OPTION, {.name = NULL}};

const struct command show_command = {
    .name = "show",
    .group = GROUP_EXPLORE,
    .summary = "show all about a latent: statistics, contexts, logits, meta-latents, nearest latents",
    .description =
        "Of a meta-latent the statistics are over its base's latents and the nearest latents are the base's.",
    .arguments = address_argument,
    .options = show_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .view = "latent",
    .run = run_show,
};
const struct command contexts_command = {
    .name = "contexts",
    .group = GROUP_EXPLORE,
    .summary = "print a latent's top and sampled contexts",
    .description = "Top contexts first, then five sampled ones from each fifth of the range of activations.",
    .arguments = address_argument,
    .options = contexts_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_contexts,
};
const struct command logits_command = {
    .name = "logits",
    .group = GROUP_EXPLORE,
    .summary = "print the tokens that a latent's direction raises and lowers most",
    .arguments = address_argument,
    .options = logits_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_logits,
};
