/* SPDX-License-Identifier: GPL-3.0-or-later */
/* steer: what a model predicts when latents are added, scaled, clamped or removed at a hook. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/steer.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/command/prompts.h"

#define TOP_DEFAULT  10
#define GENERATE_MAX (1 << 20)

struct steer_run {
    struct context *ctx;
    const struct invocation *inv;
    struct store_txn *t;
    struct artifact sae; /* the SAE named first; id 0: a model was */
    artifact_id model;
    int prepend_bos;
    struct steer_edit *edits;
    struct address *addresses; /* of the edits */
    size_t n_edits;
    struct steering *steering;
    struct prompt prompt;
    struct steer_positions where;
    double *baseline, *steered; /* [vocabulary] */
    struct token_list generated[2];
};

static void steer_close(struct steer_run *r)
{
    steering_free(r->steering);
    prompt_free(&r->prompt);
    free(r->edits);
    free(r->addresses);
    free(r->baseline);
    free(r->steered);
    token_list_free(&r->generated[0]);
    token_list_free(&r->generated[1]);
    store_end(r->t);
}

/* ---- What is asked for. ---- */

/* Model and BOS of an SAE, those of its base when it is a meta-SAE. */
static int follow_sae(struct store_txn *t, artifact_id id, artifact_id *model, int *prepend_bos,
                      struct error *err)
{
    struct sae_facts f;
    int status = sae_facts_read(t, id, &f, err);
    if (status)
        return status;
    artifact_id base = f.is_meta ? f.base : 0;
    *model = f.model;
    *prepend_bos = f.prepend_bos;
    if (!f.model)
        status =
            error_set(err, STATUS_REFUSED, "the model of %s is not in the store: import it, then %s again",
                      f.artifact.name, f.artifact.name);
    sae_facts_free(&f);
    return !status && base ? follow_sae(t, base, model, prepend_bos, err) : status;
}

/* A joint meta-SAE changes the rows of the SAE named first, when it is on that. */
static int base_of_edit(const struct steer_run *r, artifact_id sae, artifact_id *base, struct error *err)
{
    struct sae_facts f;
    int status = sae_facts_read(r->t, sae, &f, err);
    if (status)
        return status;
    *base = r->sae.id && f.n_bases > 1 && sae_facts_has_base(&f, r->sae.id) ? r->sae.id : 0;
    sae_facts_free(&f);
    return STATUS_OK;
}

static int read_edit(struct steer_run *r, enum steer_kind kind, const char *word, struct error *err)
{
    const char *equals = strrchr(word, '=');
    double value = 0;
    int takes_value = kind != STEER_REMOVE;
    if (takes_value ? !equals || parse_double(equals + 1, &value) != 0 : equals != NULL) {
        char *shown = displayable_string(word);
        error_set(err, STATUS_USAGE, "--%s takes SAE/ID%s, not '%s'", steer_kind_names[kind],
                  takes_value ? "=X" : "", shown);
        free(shown);
        return STATUS_USAGE;
    }
    char *text = xstrndup(word, equals ? (size_t)(equals - word) : strlen(word));
    const char *set = settings_text(r->ctx->settings, "sae");
    struct address at;
    int status = address_parse(r->t, text, r->sae.id ? r->sae.name : set && *set ? set : NULL, &at, err);
    free(text);
    artifact_id base = 0;
    if (!status)
        status = base_of_edit(r, at.sae.id, &base, err);
    if (status)
        return status;
    r->edits = xreallocarray(r->edits, r->n_edits + 1, sizeof *r->edits);
    r->addresses = xreallocarray(r->addresses, r->n_edits + 1, sizeof *r->addresses);
    r->addresses[r->n_edits] = at;
    r->edits[r->n_edits++] = (struct steer_edit){at.sae.id, base, at.latent, kind, value, NULL};
    return STATUS_OK;
}

/* The edits in the order of the options. */
static int read_edits(struct steer_run *r, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; i < r->inv->n_options && !status; i++)
        for (int kind = STEER_ADD; kind <= STEER_REMOVE && !status; kind++) {
            if (strcmp(r->inv->options[i].spec->name, steer_kind_names[kind]) != 0)
                continue;
            char *copy = xstrdup(r->inv->options[i].value), *save = NULL;
            for (char *word = strtok_r(copy, ",", &save); word && !status; word = strtok_r(NULL, ",", &save))
                status = read_edit(r, (enum steer_kind)kind, word, err);
            free(copy);
        }
    return status;
}

static int read_positions(struct steer_run *r, int generates, struct error *err)
{
    const char *word = invocation_option(r->inv, "positions"), *dots = word ? strstr(word, "..") : NULL;
    unsigned long long first = 0, last = SIZE_MAX;
    size_t n = r->prompt.tokens.n;
    r->where = STEER_EVERYWHERE;
    if (!word || strcmp(word, "all") == 0)
        return STATUS_OK;
    if (strcmp(word, "last") == 0) {
        r->where = (struct steer_positions){n - 1, n - 1, 1};
        return STATUS_OK;
    }
    char *from = xstrndup(word, dots ? (size_t)(dots - word) : strlen(word));
    int bad = parse_u64(from, 0, SIZE_MAX >> 1, &first) != 0;
    free(from);
    if (!dots)
        last = first;
    else if (dots[2])
        bad |= parse_u64(dots + 2, 0, SIZE_MAX >> 1, &last) != 0;
    if (bad || last < first) {
        char *shown = displayable_string(word);
        error_set(err, STATUS_USAGE, "--positions takes all, last, N, N..M or N.., not '%s'", shown);
        free(shown);
        return STATUS_USAGE;
    }
    if (first >= n && !generates)
        return error_set(err, STATUS_REFUSED, "there is no position %llu: the prompt has positions 0 to %zu",
                         first, n - 1);
    r->where = (struct steer_positions){(size_t)first, (size_t)last, 1};
    return STATUS_OK;
}

static int steer_open(struct steer_run *r, struct error *err)
{
    struct artifact a;
    int status = store_begin(r->ctx->store, &r->t, err);
    if (!status)
        status = store_find(r->t, 0, invocation_argument(r->inv, 0), &a, err);
    if (status)
        return status;
    if (a.kind != ARTIFACT_SAE && a.kind != ARTIFACT_MODEL)
        return error_set(err, STATUS_REFUSED, "%s is a %s: steer takes a model or an SAE", a.name,
                         artifact_kind_name(a.kind));
    r->model = a.id;
    r->prepend_bos = 1;
    if (a.kind == ARTIFACT_SAE)
        r->sae = a;
    status = read_edits(r, err);
    if (!status && (r->sae.id || r->n_edits)) {
        artifact_id model = r->model;
        status = follow_sae(r->t, r->sae.id ? r->sae.id : r->edits[0].sae, &model, &r->prepend_bos, err);
        r->model = r->sae.id ? model : r->model;
    }
    if (!status)
        status = steering_open(r->t, r->model, &r->steering, err);
    if (!status && a.kind == ARTIFACT_MODEL && !r->n_edits)
        r->prepend_bos = model_get_config(steering_model(r->steering))->prepend_bos;
    if (!status)
        status = prompt_read(steering_model(r->steering), r->prepend_bos, invocation_argument(r->inv, 1),
                             invocation_option(r->inv, "answers"), &r->prompt, err);
    if (!status)
        status = read_positions(r, invocation_flag(r->inv, "generate") || r->prompt.n_answers, err);
    if (!status) {
        const char *method = invocation_option(r->inv, "method");
        status = steering_set(r->steering, r->edits, r->n_edits,
                              method && strcmp(method, "orthogonal") == 0 ? STEER_ORTHOGONAL : STEER_ADDITIVE,
                              r->where, err);
    }
    return status;
}

/* ---- Computing. ---- */

static int compute_next(struct steer_run *r, struct error *err)
{
    size_t v = model_get_config(steering_model(r->steering))->vocabulary_size;
    const struct token_list *tokens = &r->prompt.tokens;
    r->baseline = array_alloc(v, sizeof *r->baseline, "log-probabilities", err);
    r->steered = array_alloc(v, sizeof *r->steered, "log-probabilities", err);
    if (!r->baseline || !r->steered)
        return STATUS_FAILED;
    int status = steering_next(r->steering, tokens->ids, tokens->n, 0, r->baseline, err);
    return status ? status : steering_next(r->steering, tokens->ids, tokens->n, 1, r->steered, err);
}

static int compute_text(struct steer_run *r, size_t tokens, struct error *err)
{
    struct generation g = {tokens, invocation_number(r->inv, "temperature", 0),
                           invocation_count(r->inv, "seed", r->ctx->seed_given ? r->ctx->seed : 0)};
    if (g.temperature < 0)
        return error_set(err, STATUS_USAGE, "--temperature cannot be negative");
    struct query_monitor monitor;
    query_monitor_start(&monitor, r->ctx, "steer");
    int status = STATUS_OK;
    for (int steered = 0; steered < 2 && !status; steered++)
        status = steering_generate(r->steering, r->prompt.tokens.ids, r->prompt.tokens.n, &g, steered,
                                   &monitor.monitor, &r->generated[steered], err);
    query_monitor_end(&monitor);
    return status;
}

/* ---- Writing. ---- */

static void write_piece(struct writer *out, const struct steer_run *r, const char *name,
                        const struct token_list *tokens)
{
    struct strbuf text = STRBUF_INIT, shown = STRBUF_INIT;
    for (size_t i = 0; i < tokens->n; i++) {
        size_t n;
        const void *bytes = tokenizer_token(model_tokenizer(steering_model(r->steering)), tokens->ids[i], &n);
        strbuf_add(&text, bytes, n);
    }
    writer_bytes(out, name, strbuf_string(&text), text.length);
    displayable(&shown, strbuf_string(&text), text.length);
    writer_line(out, "%-9s %s", name, strbuf_string(&shown));
    strbuf_free(&text);
    strbuf_free(&shown);
}

static void write_tokens(struct writer *out, const struct steer_run *r)
{
    writer_begin_array(out, "tokens");
    for (size_t i = 0; i < r->prompt.tokens.n; i++) {
        size_t n;
        uint32_t id = r->prompt.tokens.ids[i];
        const void *bytes = tokenizer_token(model_tokenizer(steering_model(r->steering)), id, &n);
        writer_begin_object(out, NULL);
        writer_integer(out, "position", (long long)i);
        writer_integer(out, "id", id);
        writer_bytes(out, "text", bytes, n);
        writer_end_object(out);
    }
    writer_end_array(out);
}

static void edit_line(struct writer *out, const struct steer_run *r, size_t k)
{
    struct label label;
    struct strbuf shown = STRBUF_INIT;
    const struct address *at = &r->addresses[k];
    char value[40] = "";
    if (r->edits[k].kind != STEER_REMOVE)
        snprintf(value, sizeof value, " %g", r->edits[k].value);
    if (store_label(r->t, at->sae.id, at->latent, &label, NULL) == STATUS_OK && label.text) {
        strbuf_adds(&shown, "  (");
        displayable(&shown, label.text, label.n);
        strbuf_addc(&shown, ')');
    }
    writer_line(out, "%-6s %s/%zu%s%s", steer_kind_names[r->edits[k].kind], at->sae.name, at->latent, value,
                strbuf_string(&shown));
    strbuf_free(&shown);
}

static void write_edits(struct writer *out, const struct steer_run *r)
{
    writer_begin_array(out, "edits");
    for (size_t k = 0; k < r->n_edits; k++) {
        writer_begin_object(out, NULL);
        writer_string(out, "sae", r->addresses[k].sae.name);
        writer_integer(out, "latent", (long long)r->addresses[k].latent);
        writer_string(out, "kind", steer_kind_names[r->edits[k].kind]);
        if (r->edits[k].kind == STEER_REMOVE)
            writer_null(out, "value");
        else
            writer_real(out, "value", r->edits[k].value);
        writer_end_object(out);
        edit_line(out, r, k);
    }
    writer_end_array(out);
}

static void write_pair(struct writer *out, double baseline, double steered)
{
    writer_real(out, "baseline", baseline);
    writer_real(out, "steered", steered);
    writer_real(out, "difference", steered - baseline);
}

struct likely {
    uint32_t id;
    double log_prob;
};

static int by_log_prob(const void *a, const void *b)
{
    const struct likely *x = a, *y = b;
    if (x->log_prob != y->log_prob)
        return x->log_prob < y->log_prob ? 1 : -1;
    return x->id > y->id ? 1 : -1;
}

/* All tokens, likeliest first. */
static struct likely *ranked(const double *log_probs, size_t vocabulary)
{
    struct likely *list = xcalloc(vocabulary, sizeof *list);
    for (uint32_t i = 0; i < vocabulary; i++)
        list[i] = (struct likely){i, log_probs[i]};
    qsort(list, vocabulary, sizeof *list, by_log_prob);
    return list;
}

/* The tokens that are among the `count` likeliest of either pass, by the steered one. */
static struct likely *likely_tokens(const struct steer_run *r, size_t vocabulary, size_t count, size_t *n)
{
    uint8_t *chosen = xcalloc(vocabulary, 1);
    struct likely *before = ranked(r->baseline, vocabulary), *after = ranked(r->steered, vocabulary);
    for (size_t i = 0; i < count; i++)
        chosen[before[i].id] = chosen[after[i].id] = 1;
    *n = 0;
    for (size_t i = 0; i < vocabulary; i++)
        if (chosen[after[i].id])
            after[(*n)++] = after[i];
    free(before);
    free(chosen);
    return after;
}

static void write_next(struct writer *out, const struct steer_run *r)
{
    static const struct writer_column columns[] = {{"id", NULL, "%d", 0},
                                                   {"token", NULL, NULL, 1},
                                                   {"baseline", NULL, "%.3f", 0},
                                                   {"steered", NULL, "%.3f", 0},
                                                   {"difference", NULL, "%+.3f", 0}};
    const struct model *m = steering_model(r->steering);
    size_t vocabulary = model_get_config(m)->vocabulary_size, n;
    uint64_t top = invocation_count(r->inv, "top", TOP_DEFAULT);
    struct likely *list = likely_tokens(r, vocabulary, top < vocabulary ? (size_t)top : vocabulary, &n);
    writer_begin_table(out, "next", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < n; i++) {
        size_t length;
        const void *bytes = tokenizer_token(model_tokenizer(m), list[i].id, &length);
        writer_begin_row(out);
        writer_integer(out, "id", list[i].id);
        writer_bytes(out, "token", bytes, length);
        write_pair(out, r->baseline[list[i].id], r->steered[list[i].id]);
        writer_end_row(out);
    }
    writer_end_table(out);
    free(list);
}

static int write_answers(struct writer *out, struct steer_run *r, struct error *err)
{
    static const struct writer_column columns[] = {{"answer", NULL, NULL, 1},
                                                   {"tokens", NULL, "%d", 0},
                                                   {"baseline", NULL, "%.3f", 0},
                                                   {"steered", NULL, "%.3f", 0},
                                                   {"difference", NULL, "%+.3f", 0}};
    const struct prompt *p = &r->prompt;
    double *baseline = xcalloc(p->n_answers + 1, sizeof *baseline),
           *steered = xcalloc(p->n_answers + 1, sizeof *steered);
    int status = prompt_log_probs(r->steering, p, 0, baseline, NULL, err);
    if (!status)
        status = prompt_log_probs(r->steering, p, 1, steered, NULL, err);
    writer_begin_table(out, "answers", columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < p->n_answers && !status; i++) {
        writer_begin_row(out);
        writer_string(out, "answer", p->answers[i].text);
        writer_integer(out, "tokens", (long long)p->answers[i].tokens.n);
        write_pair(out, baseline[i], steered[i]);
        writer_end_row(out);
    }
    writer_end_table(out);
    free(baseline);
    free(steered);
    return status;
}

static int write_result(struct writer *out, struct steer_run *r, size_t generate, struct error *err)
{
    const char *method = invocation_option(r->inv, "method");
    int wants_next = !r->prompt.n_answers && (!generate || invocation_flag(r->inv, "top"));
    int status = STATUS_OK;
    writer_own_text(out);
    writer_begin_object(out, NULL);
    writer_string(out, "model", model_name(steering_model(r->steering)));
    writer_string(out, "sae", r->sae.id ? r->sae.name : NULL);
    writer_string(out, "prompt", r->prompt.text);
    write_tokens(out, r);
    writer_string(out, "method", method ? method : "additive");
    write_edits(out, r);
    if (wants_next || writer_format(out) == WRITE_JSON)
        write_next(out, r);
    if (r->prompt.n_answers || writer_format(out) == WRITE_JSON)
        status = write_answers(out, r, err);
    if (generate) {
        writer_begin_object(out, "generated");
        write_piece(out, r, "baseline", &r->generated[0]);
        write_piece(out, r, "steered", &r->generated[1]);
        writer_end_object(out);
    } else {
        writer_null(out, "generated");
    }
    writer_end_object(out);
    return status;
}

static int run_steer(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct steer_run r = {.ctx = ctx, .inv = inv};
    uint64_t generate = invocation_count(inv, "generate", 0);
    if (generate > GENERATE_MAX)
        return error_set(err, STATUS_USAGE, "--generate takes at most %d tokens", GENERATE_MAX);
    int status = steer_open(&r, err);
    if (!status)
        status = compute_next(&r, err);
    if (!status && generate)
        status = compute_text(&r, (size_t)generate, err);
    if (!status)
        status = write_result(out, &r, (size_t)generate, err);
    steer_close(&r);
    return status;
}

static const struct argument_spec steer_arguments[] = {
    {.name = "MODEL|SAE", .type = WORD_ARTIFACT}, {.name = "PROMPT", .type = WORD_WORD}, {.name = NULL}};
static const struct option_spec steer_options[] = {
    {.name = "add",
     .type = WORD_ADDRESS,
     .value = "SAE/ID=X[,...]",
     .list = 1,
     .help = "add X times the latent's decoder row"},
    {.name = "scale",
     .type = WORD_ADDRESS,
     .value = "SAE/ID=X[,...]",
     .list = 1,
     .help = "multiply the latent's activation by X"},
    {.name = "clamp",
     .type = WORD_ADDRESS,
     .value = "SAE/ID=X[,...]",
     .list = 1,
     .help = "set the latent's activation to X"},
    {.name = "remove",
     .type = WORD_ADDRESS,
     .value = "SAE/ID[,...]",
     .list = 1,
     .help = "set the latent's activation to 0"},
    {.name = "method",
     .type = WORD_WORD,
     .value = "HOW",
     .choices = "additive|orthogonal",
     .help = "change the SAE's output (default), or the activation's projection on the decoder row"},
    {.name = "positions",
     .type = WORD_WORD,
     .value = "WHERE",
     .help = "all but special tokens (default), last, N, N..M, or N.. and what is generated"},
    {.name = "generate", .type = WORD_COUNT, .value = "N", .help = "let the model write up to N tokens"},
    {.name = "temperature",
     .type = WORD_NUMBER,
     .value = "X",
     .help = "sample from softmax(logits / X); 0 (default): always the likeliest token"},
    {.name = "seed",
     .type = WORD_COUNT,
     .value = "N",
     .help = "seed of sampling (default: the program's, or 0)"},
    {.name = "top",
     .type = WORD_COUNT,
     .value = "K",
     .help = "show the K likeliest next tokens of either pass (default 10)"},
    {.name = "answers",
     .type = WORD_WORD,
     .value = "A,B",
     .help = "compare these continuations instead, blanks included: \" Japan, France\"",
     .list = 1},
    {.name = NULL},
};
const struct command steer_command = {
    .name = "steer",
    .group = GROUP_EXPLORE,
    .summary = "see what a model predicts with latents added, scaled, clamped or removed",
    .description = "Latents are changed at their SAE's hook while PROMPT runs through the model; "
                   "log-probabilities are natural logarithms. Meta-latents are added as directions, and "
                   "scaled, clamped or removed within the decoder rows of the latents that fire. /ID is "
                   "a latent of the SAE named first.",
    .arguments = steer_arguments,
    .options = steer_options,
    .cost = COST_QUERY,
    .needs_store = 1,
    .run = run_steer,
};
