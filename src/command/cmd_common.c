/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What several commands share: addresses, opened SAEs, options as job parameters. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"

int argument_address(struct context *ctx, const struct invocation *inv, size_t i, struct store_txn *t,
                     struct address *out, struct error *err)
{
    const char *sae = settings_text(ctx->settings, "sae");
    return address_parse(t, invocation_argument(inv, i), sae && *sae ? sae : NULL, out, err);
}

void write_label(struct writer *out, struct store_txn *t, artifact_id sae, size_t latent)
{
    struct label label;
    if (store_label(t, sae, latent, &label, NULL) == STATUS_OK && label.text)
        writer_bytes(out, "label", label.text, label.n);
    else
        writer_null(out, "label");
}

int find_sae(struct context *ctx, const char *name, struct artifact *a, size_t *d_sae,
             struct error *err)
{
    struct store_txn *t;
    struct sae_facts facts;
    int status = store_begin(ctx->store, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_find(t, ARTIFACT_SAE, name, a, err);
    if (status == STATUS_OK)
        status = sae_facts_read(t, a->id, &facts, err);
    if (status == STATUS_OK) {
        *d_sae = facts.d_sae;
        sae_facts_free(&facts);
    }
    store_end(t);
    return status;
}

/* ---- Documents. ---- */

int print_document(struct context *ctx, const struct strbuf *text, struct error *err)
{
    if (!ctx->output)
        return error_set(err, STATUS_REFUSED, "there is no standard output here: name a file");
    if (fwrite(text->data, 1, text->length, ctx->output) != text->length)
        return error_system(err, STATUS_FAILED, errno, "the output cannot be written");
    return STATUS_OK;
}

int save_document(struct context *ctx, const struct invocation *inv, const char *file,
                  const struct strbuf *text, struct error *err)
{
    char *path = context_path(ctx, file), *shown = displayable_string(path);
    int status = STATUS_OK;
    if (strcmp(path, "-") == 0)
        status = print_document(ctx, text, err);
    else if (path_exists(path) && !invocation_flag(inv, "replace"))
        status = error_set(err, STATUS_REFUSED, "%s is there already: --replace overwrites it", shown);
    else
        status = file_write_atomic(path, text->data, text->length, err);
    free(shown);
    free(path);
    return status;
}

/* ---- Queries that take long enough to be watched and stopped. ---- */

static void query_report(struct monitor *m, const struct progress *p)
{
    struct query_monitor *q = (struct query_monitor *)m;
    const struct frontend *f = q->ctx->frontend;
    if (!f || !f->progress || q->ctx->quiet)
        return;
    q->status.progress = *p;
    q->status.fraction = p->steps ? (double)p->step / (double)p->steps : NAN;
    q->status.elapsed = clock_seconds() - q->start;
    q->status.left = p->step ? q->status.elapsed * (double)(p->steps - p->step) / (double)p->step : NAN;
    f->progress(f->arg, &q->status);
}

static enum monitor_request query_ask(struct monitor *m)
{
    const struct frontend *f = ((struct query_monitor *)m)->ctx->frontend;
    return f && f->stop && f->stop(f->arg) ? MONITOR_CANCEL : MONITOR_GO_ON;
}

static int query_cancelled(struct monitor *m)
{
    return query_ask(m) != MONITOR_GO_ON;
}

void query_monitor_start(struct query_monitor *q, struct context *ctx, const char *title)
{
    memset(q, 0, sizeof *q);
    q->monitor.report = query_report;
    q->monitor.ask = query_ask;
    q->monitor.cancelled = query_cancelled;
    q->ctx = ctx;
    q->start = clock_seconds();
    q->status.state = JOB_RUNNING;
    snprintf(q->status.title, sizeof q->status.title, "%s", title);
}

void query_monitor_end(struct query_monitor *q)
{
    const struct frontend *f = q->ctx->frontend;
    if (f && f->progress)
        f->progress(f->arg, NULL);
}

int already_there(struct context *ctx, const struct invocation *inv, const char *name)
{
    struct store_txn *t;
    struct artifact a;
    if (!invocation_flag(inv, "if-absent") || store_begin(ctx->store, &t, NULL) != STATUS_OK)
        return 0;
    int there = store_find(t, 0, name, &a, NULL) == STATUS_OK;
    store_end(t);
    return there;
}

/* One value as its option's type says. */
static json *option_value(const struct option_spec *o, const char *value)
{
    unsigned long long n;
    double x;
    if (o->type == WORD_FLAG)
        return json_new_boolean(1);
    if (o->type == WORD_COUNT && parse_u64(value, 0, UINT64_MAX >> 1, &n) == 0)
        return json_new_integer((long long)n);
    if (o->type == WORD_NUMBER && parse_double(value, &x) == 0)
        return json_new_real(x);
    return json_new_string(value);
}

static json *option_list(const struct option_spec *o, const char *value)
{
    json *list = json_new_array();
    char *copy = xstrdup(value), *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save))
        json_append(list, option_value(o, item));
    free(copy);
    return list;
}

json *options_parameters(const struct invocation *inv)
{
    json *parameters = json_new_object();
    for (size_t i = 0; i < inv->n_options; i++) {
        const struct option_spec *o = inv->options[i].spec;
        char *key = xstrdup(o->name);
        for (char *c = key; *c; c++)
            if (*c == '-')
                *c = '_';
        json_set(parameters, key,
                 o->list ? option_list(o, inv->options[i].value) : option_value(o, inv->options[i].value));
        free(key);
    }
    return parameters;
}

void default_seed(struct context *ctx, json *parameters)
{
    if (!json_get(parameters, "seed") && ctx->seed_given)
        json_set(parameters, "seed", json_new_integer((long long)ctx->seed));
}

json *argument_list(const struct invocation *inv, size_t first)
{
    json *list = json_new_array();
    for (size_t i = first; i < inv->n_arguments; i++)
        json_append(list, json_new_string(inv->arguments[i]));
    return list;
}

void write_skipped(struct writer *out, const char *name)
{
    writer_begin_object(out, NULL);
    writer_string(out, "name", name);
    writer_boolean(out, "present", 1);
    writer_end_object(out);
}
