/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steered passes of a model: next tokens, answers, generated text. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate_parts.h"
#include "saescope/analysis/meta_rows.h"
#include "saescope/analysis/steer_parts.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"

#define ROOM 64 /* passes are prepared for multiples of this many tokens */

static void reader_free(struct steer_reader *r)
{
    if (!r)
        return;
    sae_free(r->sae);
    sae_facts_free(&r->facts);
    free(r);
}

void steering_free(struct steering *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_readers; i++)
        reader_free(s->readers[i]);
    free(s->readers);
    free(s->edits);
    free(s->edit_readers);
    forward_free(s->forward);
    free(s->final);
    free(s->logits);
    model_free(s->model);
    free(s);
}

int steering_open(struct store_txn *t, artifact_id model, struct steering **out, struct error *err)
{
    struct steering *s = xcalloc(1, sizeof *s);
    s->t = t;
    int status = model_open(t, model, &s->model, err);
    if (!status)
        status = model_attach(s->model, t, err);
    if (!status) {
        s->logits = array_alloc(model_get_config(s->model)->vocabulary_size, sizeof(float), "logits", err);
        status = s->logits ? STATUS_OK : STATUS_FAILED;
    }
    if (status)
        steering_free(s);
    else
        *out = s;
    return status;
}

const struct model *steering_model(const struct steering *s)
{
    return s->model;
}

size_t steering_active(const struct steering *s)
{
    return s->n_active;
}

/* ---- Edits. ---- */

static int wants_centring(const struct steering *s, const struct sae_facts *facts)
{
    const struct model_config *config = model_get_config(s->model);
    struct hook hook;
    return facts->center && facts->hook && !hook_parse(config, facts->hook, &hook, NULL) &&
           hook_is_centred(config, &hook);
}

/* A meta-SAE is read on one of its bases (0: the first). */
static int open_reader(struct steering *s, artifact_id id, artifact_id base, struct steer_reader **out,
                       struct error *err)
{
    for (size_t i = 0; i < s->n_readers; i++)
        if (s->readers[i]->facts.artifact.id == id && s->readers[i]->on == base) {
            *out = s->readers[i];
            return STATUS_OK;
        }
    struct steer_reader *r = xcalloc(1, sizeof *r);
    const char *name = r->facts.artifact.name;
    r->on = base;
    int status = sae_facts_read(s->t, id, &r->facts, err);
    if (!status)
        status = sae_open(s->t, id, &r->sae, err);
    if (!status && base && !sae_facts_has_base(&r->facts, base))
        status =
            error_set(err, STATUS_REFUSED, "%s is not a meta-SAE of the SAE whose rows are to change", name);
    if (!status && r->facts.is_meta && !r->facts.base)
        status = error_set(err, STATUS_REFUSED, "the SAE under the meta-SAE %s is not in the store", name);
    if (!status && r->facts.is_meta) {
        status = open_reader(s, base ? base : r->facts.base, 0, &r->base, err);
        if (!status)
            status = meta_check_fit(r->base->sae, r->sae, err);
        r->raw = meta_wants_raw_rows(s->t, id);
    }
    if (status) {
        reader_free(r);
        return status;
    }
    r->center = r->base ? r->base->center : wants_centring(s, &r->facts);
    s->readers = xreallocarray(s->readers, s->n_readers + 1, sizeof(struct steer_reader *));
    *out = s->readers[s->n_readers++] = r;
    return STATUS_OK;
}

/* The SAE's place in the model: the same for all edits (`first`: there was none before). */
static int check_hook(struct steering *s, const struct steer_reader *r, int first, struct error *err)
{
    const struct model_config *config = model_get_config(s->model);
    const char *name = r->facts.artifact.name;
    struct hook hook;
    while (r->base)
        r = r->base;
    if (r->facts.model != model_id(s->model) || !r->facts.hook)
        return error_set(err, STATUS_REFUSED, "%s is not an SAE of the model %s", name, model_name(s->model));
    int status = hook_parse(config, r->facts.hook, &hook, err);
    if (status)
        return error_prefix(err, "%s", name);
    if (hook_width(config, &hook) != r->facts.d_in)
        return error_set(err, STATUS_REFUSED, "%s has d_in %zu, but %s has %zu numbers", name, r->facts.d_in,
                         hook.name, hook_width(config, &hook));
    if (!first && strcmp(hook.name, s->hook.name) != 0)
        return error_set(err, STATUS_REFUSED,
                         "%s is at %s, the edits before it are at %s: steer one hook at a time", name,
                         hook.name, s->hook.name);
    s->hook = hook;
    return STATUS_OK;
}

static int check_edit(const struct steering *s, size_t k, enum steer_method method, struct error *err)
{
    const struct steer_edit *e = &s->edits[k];
    const struct steer_reader *r = s->edit_readers[k];
    const char *name = r->facts.artifact.name;
    if (e->latent >= r->facts.d_sae)
        return error_set(err, STATUS_REFUSED, "no latent %zu: %s has latents 0 to %zu", e->latent, name,
                         r->facts.d_sae - 1);
    if (!isfinite((float)e->value))
        return error_set(err, STATUS_REFUSED, "%s/%zu: the value is too large", name, e->latent);
    if (method == STEER_ADDITIVE && e->kind != STEER_ADD && r->base && r->base->base)
        return error_set(
            err, STATUS_REFUSED,
            "%s is a meta-SAE of a meta-SAE: additively its latents can only be added, not scaled, "
            "clamped or removed",
            name);
    if (method == STEER_ADDITIVE && e->kind != STEER_ADD && !e->base && r->facts.n_bases > 1)
        return error_set(err, STATUS_REFUSED,
                         "%s is on %zu SAEs: name the one whose rows are to change, instead of the model",
                         name, r->facts.n_bases);
    if (e->kind == STEER_ROW && (r->base || method != STEER_ADDITIVE))
        return error_set(err, STATUS_REFUSED, "the row of %s/%zu cannot be replaced here", name, e->latent);
    for (size_t i = 0; i < k && e->kind != STEER_ADD; i++)
        if (s->edits[i].kind != STEER_ADD && s->edits[i].sae == e->sae && s->edits[i].latent == e->latent)
            return error_set(err, STATUS_REFUSED,
                             "%s/%zu is changed twice: scale, clamp or remove it, not several of them", name,
                             e->latent);
    return STATUS_OK;
}

int steering_set(struct steering *s, const struct steer_edit *edits, size_t n, enum steer_method method,
                 struct steer_positions where, struct error *err)
{
    int status = STATUS_OK;
    s->edits = xreallocarray(s->edits, n + 1, sizeof *s->edits);
    s->edit_readers = xreallocarray(s->edit_readers, n + 1, sizeof(struct steer_reader *));
    s->n_edits = 0;
    s->method = method;
    s->where = where;
    for (size_t k = 0; k < n && !status; k++) {
        struct steer_reader *r = NULL;
        status = open_reader(s, edits[k].sae, edits[k].base, &r, err);
        s->edits[k] = edits[k];
        s->edit_readers[k] = r;
        if (!status)
            status = check_edit(s, k, method, err);
        if (!status)
            status = check_hook(s, r, k == 0, err);
    }
    s->n_edits = status ? 0 : n;
    return status;
}

/* ---- Passes. ---- */

int steering_check_length(const struct steering *s, size_t n, struct error *err)
{
    size_t most = model_get_config(s->model)->context_length;
    if (n == 0)
        return error_set(err, STATUS_REFUSED, "the prompt is empty");
    if (n > most)
        return error_set(err, STATUS_REFUSED, "the prompt has %zu tokens with BOS and answer, %s takes %zu",
                         n, model_name(s->model), most);
    return STATUS_OK;
}

/* Makes room for passes of n tokens. */
static int prepare(struct steering *s, size_t n, struct error *err)
{
    const struct model_config *config = model_get_config(s->model);
    int status = steering_check_length(s, n, err);
    if (status || n <= s->capacity)
        return status;
    size_t room = (n + ROOM - 1) / ROOM * ROOM;
    room = room < config->context_length ? room : config->context_length;
    forward_free(s->forward);
    free(s->final);
    s->forward = NULL;
    s->capacity = 0;
    s->final = array_alloc(room, config->d_model * sizeof(float), "final activations", err);
    status = s->final ? forward_new(s->model, 1, room, &s->forward, err) : STATUS_FAILED;
    if (!status)
        s->capacity = room;
    return status;
}

static int run(struct steering *s, const uint32_t *tokens, size_t n, int steered, struct monitor *m,
               struct error *err)
{
    int status = prepare(s, n, err);
    if (status)
        return status;
    forward_watch(s->forward, m);
    struct steer_pass pass = {s, tokens, 0};
    int hooked = steered && s->n_edits > 0;
    if (steered)
        s->n_active = 0;
    return forward_run(s->forward, s->model, tokens, 1, n, hooked ? &s->hook : NULL,
                       hooked ? steer_at_hook : NULL, &pass, s->final, err);
}

/* Logits after position `at` of the last pass; *lse is log Σ exp of them. */
static int unembed(struct steering *s, size_t at, double *lse, struct error *err)
{
    const struct model_config *config = model_get_config(s->model);
    int status = model_unembed(s->model, s->final + at * config->d_model, 1, s->logits, err);
    *lse = status ? 0 : log_sum_exp(s->logits, config->vocabulary_size);
    if (!status && !isfinite(*lse))
        return error_set(err, STATUS_FAILED, "the model's logits are not finite: the edits are too large");
    return status;
}

int steering_next(struct steering *s, const uint32_t *tokens, size_t n, int steered, double *log_probs,
                  struct error *err)
{
    double lse = 0;
    int status = run(s, tokens, n, steered, NULL, err);
    if (!status)
        status = unembed(s, n - 1, &lse, err);
    for (size_t i = 0; !status && i < model_get_config(s->model)->vocabulary_size; i++)
        log_probs[i] = (double)s->logits[i] - lse;
    return status;
}

int steering_answer(struct steering *s, const uint32_t *tokens, size_t n, const uint32_t *answer,
                    size_t n_answer, int steered, double *log_prob, struct error *err)
{
    if (n == 0 || n_answer == 0)
        return error_set(err, STATUS_REFUSED, n ? "the answer is empty" : "the prompt is empty");
    uint32_t *all = xreallocarray(NULL, n + n_answer, sizeof *all);
    memcpy(all, tokens, n * sizeof *all);
    memcpy(all + n, answer, n_answer * sizeof *all);
    int status = run(s, all, n + n_answer - 1, steered, NULL, err);
    *log_prob = 0;
    for (size_t i = 0; !status && i < n_answer; i++) {
        double lse;
        status = unembed(s, n - 1 + i, &lse, err);
        *log_prob += (double)s->logits[answer[i]] - lse;
    }
    free(all);
    return status;
}

/* ---- Generation. ---- */

static uint32_t likeliest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (uint32_t)best;
}

/* The token at which the running sum of exp((logit − largest)/T) passes a uniform part of its total. */
static uint32_t sample(const float *logits, size_t n, double temperature, struct rng *rng)
{
    double largest = (double)logits[likeliest(logits, n)], total = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        total += exp(((double)logits[i] - largest) / temperature);
    double at = rng_uniform(rng) * total;
    for (size_t i = 0; i < n; i++) {
        sum += exp(((double)logits[i] - largest) / temperature);
        if (sum > at)
            return (uint32_t)i;
    }
    return likeliest(logits, n); /* rounding alone leads here */
}

int steering_generate(struct steering *s, const uint32_t *tokens, size_t n, const struct generation *g,
                      int steered, struct monitor *m, struct token_list *out, struct error *err)
{
    const struct model_config *config = model_get_config(s->model);
    struct token_list all = {0};
    struct rng rng;
    rng_seed(&rng, g->seed, 0);
    for (size_t i = 0; i < n; i++)
        token_list_add(&all, tokens[i]);
    int status = STATUS_OK;
    for (size_t i = 0; i < g->tokens && !status && (i == 0 || all.n <= config->context_length); i++) {
        double lse;
        status = monitor_check(m, err);
        if (!status)
            status = run(s, all.ids, all.n, steered, m, err);
        if (!status)
            status = unembed(s, all.n - 1, &lse, err);
        if (status)
            break;
        uint32_t next = g->temperature > 0 ? sample(s->logits, config->vocabulary_size, g->temperature, &rng)
                                           : likeliest(s->logits, config->vocabulary_size);
        if (model_is_eos(config, next))
            break;
        token_list_add(&all, next);
        token_list_add(out, next);
    }
    token_list_free(&all);
    return status;
}
