/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a latent's page shows, gathered on the query thread in parts, so that statistics and contexts are
 * there first. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/command/handlers.h"
#include "saescope/tui/latent_page.h"

#define LOGITS_SHOWN 20

struct page_request *page_request_new(struct store *s, const char *address, size_t neighbors)
{
    struct page_request *r = xcalloc(1, sizeof *r);
    *r = (struct page_request){s, xstrdup(address), neighbors};
    return r;
}

void page_request_free(void *request)
{
    struct page_request *r = request;
    free(r->address);
    free(r);
}

char *page_label(struct store_txn *t, artifact_id sae, size_t latent, enum label_source *source)
{
    struct label label;
    if (store_label(t, sae, latent, &label, NULL) != STATUS_OK || !label.text)
        return NULL;
    struct strbuf b = STRBUF_INIT;
    displayable(&b, label.text, label.n);
    if (source)
        *source = label.source;
    return strbuf_detach(&b);
}

/* ---- Links. ---- */

static void add_link(struct page_links *links, struct store_txn *t, const struct sae_facts *facts,
                     size_t latent, float value)
{
    const struct artifact *sae = &facts->artifact;
    if (links->n == links->capacity) {
        links->capacity = links->capacity ? 2 * links->capacity : 16;
        links->items = xreallocarray(links->items, links->capacity, sizeof *links->items);
    }
    struct page_link *link = &links->items[links->n++];
    *link = (struct page_link){.sae = sae->id,
                               .is_meta = facts->is_meta,
                               .latent = latent,
                               .value = value,
                               .label = page_label(t, sae->id, latent, NULL)};
    memcpy(link->name, sae->name, sizeof link->name);
}

void page_links_relabel(struct page_links *links, struct store_txn *t)
{
    for (size_t i = 0; i < links->n; i++) {
        free(links->items[i].label);
        links->items[i].label = page_label(t, links->items[i].sae, links->items[i].latent, NULL);
    }
}

static void free_links(struct page_links *links)
{
    for (size_t i = 0; i < links->n; i++)
        free(links->items[i].label);
    free(links->items);
}

/* ---- Statistics and contexts. ---- */

static int read_statistics(struct store_txn *t, struct page_head *head, struct error *err)
{
    struct index_columns columns;
    size_t i = head->at.latent;
    int status = index_columns_read(t, head->at.sae.id, &columns, err);
    if (status != STATUS_OK)
        return status;
    head->index = columns.index;
    head->tokens = columns.tokens;
    if (columns.index && i < columns.n) {
        head->fired = columns.fired[i];
        head->max = (double)columns.max[i];
        head->mean = (double)columns.mean[i];
    }
    index_columns_free(&columns);
    return head->fired ? index_histogram_read(t, head->at.sae.id, i, &head->histogram, err) : STATUS_OK;
}

void page_token_make(struct strbuf *text, const void *bytes, size_t n, struct page_token *out)
{
    const char *raw = bytes;
    size_t start = text->length;
    displayable(text, bytes, n);
    size_t length = text->length - start;
    const char *shown = strbuf_string(text) + start;
    *out = (struct page_token){.start = start, .length = length, .width = display_width(shown, length)};
    out->plain = length == n && (n == 0 || memcmp(shown, raw, n) == 0);
    while (out->blanks < length && shown[out->blanks] == ' ')
        out->blanks++;
    if (out->blanks == length)
        out->blanks = 0;
}

static void make_context(const struct latent_context *from, const struct tokenizer *tok,
                         struct page_context *out)
{
    *out = (struct page_context){.context = from->context,
                                 .position = from->position,
                                 .interval = from->interval,
                                 .activation = from->activation,
                                 .n = from->length};
    out->tokens = xcalloc(from->length ? from->length : 1, sizeof *out->tokens);
    for (size_t i = 0; i < from->length; i++) {
        size_t n = 0;
        const void *bytes = latent_context_token(from, tok, i, &n);
        page_token_make(&out->text, bytes, n, &out->tokens[i]);
        out->tokens[i].plain &= !(tok && from->ids && tokenizer_is_special(tok, from->ids[i]));
        out->tokens[i].activation = from->activations[i];
    }
}

static int read_contexts(struct store_txn *t, artifact_id model, struct page_head *head, struct error *err)
{
    struct latent_context *contexts = NULL;
    struct tokenizer *tok = NULL;
    size_t n = 0;
    int status = index_contexts_read(t, head->at.sae.id, head->at.latent, &contexts, &n, err);
    if (status == STATUS_OK && n > 0 && model)
        status = tokenizer_open(t, model, &tok, err);
    if (status == STATUS_OK && n > 0) {
        head->contexts = xcalloc(n, sizeof *head->contexts);
        head->n_contexts = n;
        for (size_t i = 0; i < n; i++) {
            make_context(&contexts[i], tok, &head->contexts[i]);
            head->n_top += contexts[i].interval < 0;
        }
    }
    tokenizer_free(tok);
    latent_contexts_free(contexts, n);
    return status;
}

uint64_t page_relatives_hash(struct store_txn *t)
{
    struct artifact *all = NULL;
    size_t n = 0;
    uint64_t hash = 0;
    if (store_list(t, ARTIFACT_SAE, &all, &n, NULL) != STATUS_OK)
        return 0;
    for (size_t i = 0; i < n; i++)
        hash = hash_mix(hash, all[i].id, store_index_of(t, all[i].id),
                        hash64(all[i].name, strlen(all[i].name), 0));
    free(all);
    return hash;
}

int page_head_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct page_request *r = arg;
    struct page_head *head = xcalloc(1, sizeof *head);
    struct sae_facts facts = {0};
    struct artifact base;
    int status = address_parse(t, r->address, NULL, &head->at, err);
    if (status == STATUS_OK)
        status = sae_facts_read(t, head->at.sae.id, &facts, err);
    if (status == STATUS_OK) {
        head->is_meta = facts.is_meta;
        head->base = facts.base;
        head->n_bases = facts.n_bases;
        head->has_meta = meta_sae_of(t, head->at.sae.id) != 0;
        if (facts.base && store_get(t, facts.base, &base, NULL) == STATUS_OK)
            memcpy(head->base_name, base.name, sizeof head->base_name);
        memcpy(head->ground_name, head->at.sae.name, sizeof head->ground_name);
        if (store_get(t, facts.ground, &base, NULL) == STATUS_OK)
            memcpy(head->ground_name, base.name, sizeof head->ground_name);
        head->label = page_label(t, head->at.sae.id, head->at.latent, &head->source);
        head->relatives_hash = page_relatives_hash(t);
        status = read_statistics(t, head, err);
    }
    if (status == STATUS_OK && head->fired && !head->is_meta && !q->cancelled(q))
        status = read_contexts(t, facts.model, head, err);
    sae_facts_free(&facts);
    if (status != STATUS_OK) {
        page_head_free(head);
        return status;
    }
    *result = head;
    return STATUS_OK;
}

void page_head_free(void *result)
{
    struct page_head *head = result;
    if (!head)
        return;
    for (size_t i = 0; i < head->n_contexts; i++) {
        strbuf_free(&head->contexts[i].text);
        free(head->contexts[i].tokens);
    }
    free(head->contexts);
    free(head->label);
    free(head);
}

/* ---- The latent with its SAE opened, for what follows. ---- */

struct opened_latent {
    struct address at;
    struct opened_sae own;
};

static int open_latent(struct store_txn *t, const struct page_request *r, struct opened_latent *out,
                       struct error *err)
{
    memset(out, 0, sizeof *out);
    int status = address_parse(t, r->address, NULL, &out->at, err);
    return status == STATUS_OK ? opened_sae_open(t, out->at.sae.id, &out->own, err) : status;
}

/* ---- Logits. ---- */

static size_t make_logits(const struct tokenizer *tok, const struct token_logit *from, size_t n,
                          struct page_logit *to)
{
    for (size_t i = 0; i < n; i++) {
        struct strbuf b = STRBUF_INIT;
        size_t length;
        const void *bytes = token_logit_text(&from[i], tok, &length);
        displayable(&b, bytes, length);
        to[i] = (struct page_logit){strbuf_detach(&b), from[i].value};
    }
    return n;
}

int page_logits_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    (void)q;
    struct opened_latent l;
    struct latent_logits logits = {0};
    struct model *m = NULL;
    struct hook hook;
    struct page_logits *out = xcalloc(1, sizeof *out);
    int status = open_latent(t, arg, &l, err);
    if (status == STATUS_OK && l.own.facts.model) {
        status = model_open(t, l.own.facts.model, &m, err);
        if (status == STATUS_OK)
            status = model_attach(m, t, err);
        if (status == STATUS_OK && l.own.facts.row_hook)
            status = hook_parse(model_get_config(m), l.own.facts.row_hook, &hook, err);
        if (status == STATUS_OK)
            status = latent_logits(m, l.own.sae, l.own.facts.row_hook ? &hook : NULL, l.at.latent,
                                   LOGITS_SHOWN, 0, &logits, err);
    } else if (status == STATUS_OK) {
        status = index_logits_read(t, l.at.sae.id, l.at.latent, &logits, err);
    }
    if (status == STATUS_OK) {
        const struct tokenizer *tok = m ? model_tokenizer(m) : NULL;
        out->n_positive = make_logits(tok, logits.positive, logits.n_positive, out->positive);
        out->n_negative = make_logits(tok, logits.negative, logits.n_negative, out->negative);
    }
    latent_logits_free(&logits);
    model_free(m);
    opened_sae_close(&l.own);
    if (status != STATUS_OK) {
        page_logits_free(out);
        return status;
    }
    *result = out;
    return STATUS_OK;
}

void page_logits_free(void *result)
{
    struct page_logits *logits = result;
    if (!logits)
        return;
    for (size_t i = 0; i < logits->n_positive; i++)
        free(logits->positive[i].token);
    for (size_t i = 0; i < logits->n_negative; i++)
        free(logits->negative[i].token);
    free(logits);
}

/* ---- Meta-latents of a latent, members of a meta-latent. ---- */

static int read_members(struct store_txn *t, const struct opened_latent *l, struct page_members *out,
                        struct error *err)
{
    const struct sae_facts *own = &l->own.facts;
    struct sae_facts *bases = xcalloc(own->n_bases + 1, sizeof *bases);
    struct member *members = NULL;
    size_t n = 0, n_rows, read = 0;
    int status = STATUS_OK;
    for (; status == STATUS_OK && read < own->n_bases; read++)
        status = sae_facts_read(t, own->bases[read], &bases[read], err);
    if (status == STATUS_OK && own->n_bases > 0) {
        memcpy(out->sae, bases[0].artifact.name, sizeof out->sae);
        out->n_saes = own->n_bases;
        status = meta_members_of_all(t, l->at.sae.id, l->at.latent, 0, &members, &n, &n_rows, err);
    }
    for (size_t i = 0; status == STATUS_OK && i < n; i++)
        for (size_t b = 0; b < own->n_bases; b++)
            if (bases[b].artifact.id == members[i].sae)
                add_link(&out->links, t, &bases[b], members[i].latent, members[i].activation);
    free(members);
    for (size_t b = 0; b < read; b++)
        sae_facts_free(&bases[b]);
    free(bases);
    return status;
}

int page_members_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    (void)q;
    struct opened_latent l;
    struct page_members *out = xcalloc(1, sizeof *out);
    int status = open_latent(t, arg, &l, err);
    if (status == STATUS_OK && l.own.facts.is_meta)
        status = read_members(t, &l, out, err);
    opened_sae_close(&l.own);
    if (status != STATUS_OK) {
        page_members_free(out);
        return status;
    }
    *result = out;
    return STATUS_OK;
}

void page_members_free(void *result)
{
    struct page_members *members = result;
    if (!members)
        return;
    free_links(&members->links);
    free(members);
}

static int read_decomposition(struct store_txn *t, const struct opened_latent *l, struct page_components *out,
                              struct error *err)
{
    struct opened_sae meta;
    struct decomposition d;
    artifact_id id = meta_sae_of(t, l->at.sae.id);
    if (!id)
        return STATUS_OK;
    int status = opened_sae_open(t, id, &meta, err);
    if (status != STATUS_OK)
        return status;
    memcpy(out->sae, meta.facts.artifact.name, sizeof out->sae);
    status = decompose_latent(t, l->own.sae, meta.sae, l->at.latent, &d, err);
    if (status == STATUS_OK) {
        out->explained_variance = d.explained_variance;
        out->residual_norm = d.residual_norm;
        for (size_t i = 0; i < d.n; i++)
            add_link(&out->links, t, &meta.facts, d.components[i].latent, d.components[i].activation);
        decomposition_free(&d);
    }
    opened_sae_close(&meta);
    return status;
}

int page_components_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    (void)q;
    struct opened_latent l;
    struct page_components *out = xcalloc(1, sizeof *out);
    int status = open_latent(t, arg, &l, err);
    if (status == STATUS_OK)
        status = read_decomposition(t, &l, out, err);
    opened_sae_close(&l.own);
    if (status != STATUS_OK) {
        page_components_free(out);
        return status;
    }
    *result = out;
    return STATUS_OK;
}

void page_components_free(void *result)
{
    struct page_components *components = result;
    if (!components)
        return;
    free_links(&components->links);
    free(components);
}

/* ---- Relatives: the nearest latents of this SAE (of its base, for a meta-latent) and the nearest one of
 * every other SAE of the same hook. ---- */

static int add_nearest(struct store_txn *t, const struct opened_latent *l, struct opened_sae *in,
                       size_t count, struct page_relatives *out, struct error *err)
{
    size_t exclude = in->facts.artifact.id == l->at.sae.id ? l->at.latent : SIZE_MAX, n = 0;
    struct neighbor *near = array_alloc(count ? count : 1, sizeof *near, "neighbors", err);
    if (!near)
        return STATUS_FAILED;
    int status =
        latent_neighbors(in->sae, sae_decoder_row(l->own.sae, l->at.latent), exclude, count, near, &n, err);
    for (size_t i = 0; status == STATUS_OK && i < n; i++)
        add_link(&out->links, t, &in->facts, near[i].latent, near[i].cosine);
    free(near);
    return status;
}

/* One of the store's SAEs: `home` gives several, others of the same hook and width of rows one each. */
static int add_relative(struct store_txn *t, const struct opened_latent *l, const struct sae_facts *home,
                        artifact_id id, size_t neighbors, struct page_relatives *out, struct error *err)
{
    struct opened_sae in;
    struct sae_facts facts;
    int is_home = id == home->artifact.id;
    int status = sae_facts_read(t, id, &facts, err);
    if (status != STATUS_OK)
        return status;
    int fits = same_place(&facts, home);
    sae_facts_free(&facts);
    if (!fits && !is_home)
        return STATUS_OK;
    status = opened_sae_open(t, id, &in, err);
    if (status == STATUS_OK) {
        status = add_nearest(t, l, &in, is_home ? neighbors : 1, out, err);
        opened_sae_close(&in);
    }
    return status;
}

int page_relatives_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct page_request *r = arg;
    struct opened_latent l;
    struct sae_facts home = {0};
    struct artifact *all = NULL;
    size_t n = 0;
    struct page_relatives *out = xcalloc(1, sizeof *out);
    int status = open_latent(t, r, &l, err);
    if (status == STATUS_OK) {
        artifact_id home_id = l.own.facts.is_meta && l.own.facts.base ? l.own.facts.base : l.at.sae.id;
        status = sae_facts_read(t, home_id, &home, err);
    }
    if (status == STATUS_OK)
        status = store_list(t, ARTIFACT_SAE, &all, &n, err);
    for (size_t i = 0; status == STATUS_OK && i < n && !q->cancelled(q); i++)
        if (all[i].id != home.artifact.id)
            status = add_relative(t, &l, &home, all[i].id, r->neighbors, out, err);
    if (status == STATUS_OK && !q->cancelled(q))
        status = add_relative(t, &l, &home, home.artifact.id, r->neighbors, out, err);
    free(all);
    sae_facts_free(&home);
    opened_sae_close(&l.own);
    if (status != STATUS_OK) {
        page_relatives_free(out);
        return status;
    }
    *result = out;
    return STATUS_OK;
}

void page_relatives_free(void *result)
{
    struct page_relatives *relatives = result;
    if (!relatives)
        return;
    free_links(&relatives->links);
    free(relatives);
}
