/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A latent's page asks for its parts one after the other and shows them as they come. */
#include "config.h"

#include <stdlib.h>

#include "saescope/base/memory.h"
#include "saescope/tui/latent_view.h"

#define NEIGHBORS_MAX 1000 /* of the setting that are looked for */

enum slot { SLOT_HEAD, SLOT_LOGITS, SLOT_MEMBERS, SLOT_COMPONENTS, SLOT_RELATIVES };

int latent_has_pane(const struct page_head *head, enum page_pane pane)
{
    switch (pane) {
    case PANE_MEMBERS:
        return head->is_meta;
    case PANE_COMPONENTS:
        return !head->is_meta || head->has_meta;
    case PANE_CONTEXTS:
        return !head->is_meta;
    default:
        return 1;
    }
}

struct page_links *latent_links(const struct latent_state *s, enum page_pane pane)
{
    return pane == PANE_MEMBERS && s->members         ? &s->members->links
           : pane == PANE_COMPONENTS && s->components ? &s->components->links
           : pane == PANE_RELATIVES && s->relatives   ? &s->relatives->links
                                                      : NULL;
}

static void set_text(char **text, const struct error *err)
{
    free(*text);
    *text = err ? xstrdup(err->message) : NULL;
}

/* The rows of a pane came: the cursor goes where it was wanted. */
void latent_rows_came(struct latent_state *s, enum page_pane pane, size_t n)
{
    struct list *list = &s->lists[pane];
    list_set_count(list, n);
    if (s->wanted[pane] != SIZE_MAX && n > 0)
        list->cursor = s->wanted[pane] < n ? s->wanted[pane] : n - 1;
    s->wanted[pane] = SIZE_MAX;
}

static int logits_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latent_state *s = v->data;
    if (status != STATUS_OK) {
        app_message(v->app, 1, "%s", err->message);
        result = xcalloc(1, sizeof *s->logits);
    }
    page_logits_free(s->logits);
    s->logits = result;
    return INVALID_DRAW;
}

static int components_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latent_state *s = v->data;
    set_text(&s->failed[PANE_COMPONENTS], status == STATUS_OK ? NULL : err);
    page_components_free(s->components);
    s->components = result;
    latent_rows_came(s, PANE_COMPONENTS, s->components ? s->components->links.n : 0);
    return INVALID_DRAW;
}

static int members_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latent_state *s = v->data;
    set_text(&s->failed[PANE_MEMBERS], status == STATUS_OK ? NULL : err);
    page_members_free(s->members);
    s->members = result;
    latent_rows_came(s, PANE_MEMBERS, s->members ? s->members->links.n : 0);
    return INVALID_DRAW;
}

static int relatives_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latent_state *s = v->data;
    set_text(&s->failed[PANE_RELATIVES], status == STATUS_OK ? NULL : err);
    page_relatives_free(s->relatives);
    s->relatives = result;
    latent_rows_came(s, PANE_RELATIVES, s->relatives ? s->relatives->links.n : 0);
    return INVALID_DRAW;
}

static const struct query_spec logits_query = {page_logits_read, logits_done, page_logits_free,
                                               page_request_free};
static const struct query_spec components_query = {page_components_read, components_done,
                                                   page_components_free, page_request_free};
static const struct query_spec members_query = {page_members_read, members_done, page_members_free,
                                                page_request_free};
static const struct query_spec relatives_query = {page_relatives_read, relatives_done, page_relatives_free,
                                                  page_request_free};

static void ask(struct view *v, enum slot slot, const struct query_spec *query)
{
    const struct latent_state *s = v->data;
    if (app_store(v->app))
        query_start(v, slot, query, page_request_new(app_store(v->app), v->target, (size_t)s->neighbors));
}

static void ask_rest(struct view *v)
{
    struct latent_state *s = v->data;
    s->neighbors = settings_count(app_settings(v->app), "neighbors");
    s->neighbors = s->neighbors < NEIGHBORS_MAX ? s->neighbors : NEIGHBORS_MAX;
    ask(v, SLOT_LOGITS, &logits_query);
    ask(v, SLOT_MEMBERS, &members_query);
    ask(v, SLOT_COMPONENTS, &components_query);
    ask(v, SLOT_RELATIVES, &relatives_query);
}

/* Labels are small records, and may have changed with any commit. */
static void relabel(struct view *v)
{
    struct latent_state *s = v->data;
    struct store_txn *t;
    if (!app_store(v->app) || store_begin(app_store(v->app), &t, NULL) != STATUS_OK)
        return;
    for (int i = 0; i < PANES; i++) {
        struct page_links *links = latent_links(s, (enum page_pane)i);
        if (links)
            page_links_relabel(links, t);
    }
    store_end(t);
}

/* The rest is asked for again only when something that it depends on changed. */
static int head_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latent_state *s = v->data;
    struct page_head *old = s->head, *head = result;
    size_t first;
    set_text(&s->error, status == STATUS_OK ? NULL : err);
    s->head = head;
    int refreshed = old != NULL, changed = old && head && old->relatives_hash != head->relatives_hash;
    page_head_free(old);
    if (!head)
        return INVALID_DRAW;
    s->d_sae = head->at.d_sae;
    if (!s->focus_given || !latent_has_pane(head, s->focus))
        s->focus = head->is_meta ? PANE_MEMBERS : PANE_CONTEXTS;
    latent_rows_came(s, PANE_CONTEXTS, latent_contexts_shown(s, &first));
    if (changed)
        ask_rest(v);
    else if (refreshed)
        relabel(v);
    return INVALID_DRAW;
}

static const struct query_spec head_query = {page_head_read, head_done, page_head_free, page_request_free};

void latent_forget(struct latent_state *s)
{
    page_head_free(s->head);
    page_logits_free(s->logits);
    page_members_free(s->members);
    page_components_free(s->components);
    page_relatives_free(s->relatives);
    s->head = NULL;
    s->logits = NULL;
    s->members = NULL;
    s->components = NULL;
    s->relatives = NULL;
    set_text(&s->error, NULL);
    for (int i = 0; i < PANES; i++) {
        set_text(&s->failed[i], NULL);
        s->lists[i] = (struct list){0};
        s->wanted[i] = SIZE_MAX;
    }
    s->whole_top = 0;
}

void latent_load(struct view *v)
{
    ask(v, SLOT_HEAD, &head_query);
    ask_rest(v);
}

int latent_refresh(struct view *v)
{
    const struct latent_state *s = v->data;
    long long neighbors = settings_count(app_settings(v->app), "neighbors");
    if (s->neighbors != (neighbors < NEIGHBORS_MAX ? neighbors : NEIGHBORS_MAX))
        ask_rest(v);
    ask(v, SLOT_HEAD, &head_query);
    return INVALID_NONE;
}
