/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The page of a latent or meta-latent. Its parts are asked for one after the other and drawn as they come. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/command/lexer.h"
#include "saescope/tui/latent_view.h"

#define NEIGHBORS_MAX 1000 /* of the setting that are looked for */

enum slot { SLOT_HEAD, SLOT_LOGITS, SLOT_COMPONENTS, SLOT_RELATIVES };

static const struct action latent_actions[] = {
    {"next-latent", "J", "go to the next latent of the SAE; with a number before it, so many further"},
    {"previous-latent", "K", "go to the latent before"},
    {"random-latent", "* R", "go to a latent at random"},
    {"whole-context", "c", "show the selected context in full, or go back to the page"},
    {"leave", "Esc", "go back from a whole context to the page"},
    {"intervals", "i", "contexts sampled from each fifth of the activations, or the top ones"},
    {"window", "w", "show 8, 16, 32 or all tokens on either side of a context's peak"},
    {"graph", "v", "show the graph around the latent: meta-latents, what shares them, relatives"},
    {"label", "L", "label the latent"},
    {"encode", "t", "test a text: its tokens and the latents that fire on them"},
    {"family", "F", "show its family: parents in smaller SAEs, children in larger ones"},
    {"steer", "s", "type a command that adds the latent to what the model reads"},
    {"neuronpedia", "o", "put its address on Neuronpedia on the clipboard"},
    {"all-latents", "a", "list all latents of the SAE"},
    {NULL, NULL, NULL},
};

static const struct action meta_actions[] = {
    {"next-latent", "J", "go to the next meta-latent; with a number before it, so many further"},
    {"previous-latent", "K", "go to the meta-latent before"},
    {"random-latent", "* R", "go to a meta-latent at random"},
    {"graph", "v", "show the graph around the meta-latent: members and their other meta-latents"},
    {"label", "L", "label the meta-latent"},
    {"encode", "t", "test a text on the base: its tokens and the latents that fire on them"},
    {"steer", "s", "type a command that adds the meta-latent to what the model reads"},
    {"all-latents", "a", "list all meta-latents"},
    {NULL, NULL, NULL},
};

/* ---- Data as it comes. ---- */

static void set_text(char **text, const struct error *err)
{
    free(*text);
    *text = err ? xstrdup(err->message) : NULL;
}

/* The rows of a pane came: the cursor goes where it was wanted. */
static void rows_came(struct latent_state *s, enum page_pane pane, size_t n)
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
    rows_came(s, PANE_COMPONENTS, s->components ? s->components->links.n : 0);
    return INVALID_DRAW;
}

static int relatives_done(struct view *v, void *result, int status, const struct error *err)
{
    struct latent_state *s = v->data;
    set_text(&s->failed[PANE_RELATIVES], status == STATUS_OK ? NULL : err);
    page_relatives_free(s->relatives);
    s->relatives = result;
    rows_came(s, PANE_RELATIVES, s->relatives ? s->relatives->links.n : 0);
    return INVALID_DRAW;
}

static const struct query_spec logits_query = {page_logits_read, logits_done, page_logits_free,
                                               page_request_free};
static const struct query_spec components_query = {page_components_read, components_done,
                                                   page_components_free, page_request_free};
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
    if (s->components)
        page_links_relabel(&s->components->links, t);
    if (s->relatives)
        page_links_relabel(&s->relatives->links, t);
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
    if (!s->focus_given)
        s->focus = head->is_meta ? PANE_COMPONENTS : PANE_CONTEXTS;
    if (s->focus == PANE_CONTEXTS && head->is_meta)
        s->focus = PANE_COMPONENTS;
    rows_came(s, PANE_CONTEXTS, latent_contexts_shown(s, &first));
    if (changed)
        ask_rest(v);
    else if (refreshed)
        relabel(v);
    return INVALID_DRAW;
}

static const struct query_spec head_query = {page_head_read, head_done, page_head_free, page_request_free};

static void forget(struct latent_state *s)
{
    page_head_free(s->head);
    page_logits_free(s->logits);
    page_components_free(s->components);
    page_relatives_free(s->relatives);
    s->head = NULL;
    s->logits = NULL;
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

static void load(struct view *v)
{
    ask(v, SLOT_HEAD, &head_query);
    ask_rest(v);
}

/* ---- Life. ---- */

static int latent_open(struct view *v, const char *target, struct error *err)
{
    if (!strchr(target, '/'))
        return error_set(err, STATUS_USAGE, "a latent's address is SAE/NUMBER, not '%s'", target);
    if (!app_store(v->app))
        return error_set(err, STATUS_STORE, "there is no store yet");
    forget(v->data);
    load(v);
    return STATUS_OK;
}

static void latent_close(struct view *v)
{
    forget(v->data);
}

static int latent_refresh(struct view *v)
{
    const struct latent_state *s = v->data;
    long long neighbors = settings_count(app_settings(v->app), "neighbors");
    if (s->neighbors != (neighbors < NEIGHBORS_MAX ? neighbors : NEIGHBORS_MAX))
        ask_rest(v);
    ask(v, SLOT_HEAD, &head_query);
    return INVALID_NONE;
}

/* ---- Going elsewhere. ---- */

/* Another latent of the SAE takes this one's place. */
static int go_to(struct view *v, size_t latent)
{
    char *target = xasprintf("%.*s/%zu", (int)strcspn(v->target, "/"), v->target, latent);
    free(v->target);
    v->target = target;
    for (int slot = 0; slot < QUERY_SLOTS; slot++)
        query_cancel(v, slot);
    forget(v->data);
    load(v);
    return INVALID_DRAW;
}

/* The page need not be there yet: keys that come fast all count. */
static int step(struct view *v, long by)
{
    const struct latent_state *s = v->data;
    unsigned long long at;
    if (s->d_sae == 0 || parse_u64(v->target + strcspn(v->target, "/") + 1, 0, s->d_sae - 1, &at) != 0)
        return INVALID_NONE;
    unsigned long long last = s->d_sae - 1, far = (unsigned long long)(by < 0 ? -by : by);
    unsigned long long to = by < 0 ? (far < at ? at - far : 0) : (far < last - at ? at + far : last);
    if (to != at)
        return go_to(v, (size_t)to);
    app_message(v->app, 0, by < 0 ? "this is the first latent" : "this is the last latent");
    return INVALID_NONE;
}

static int random_latent(struct view *v)
{
    const struct latent_state *s = v->data;
    if (s->d_sae == 0)
        return INVALID_NONE;
    uint64_t hash = hash_mix((uint64_t)(app_time(v->app) * 1e6), strlen(v->target), 0, 0);
    return go_to(v, (size_t)(hash % s->d_sae));
}

static int jump(struct view *v, long count)
{
    const struct latent_state *s = v->data;
    if (!s->head || count < 0)
        return INVALID_NONE;
    if ((size_t)count >= s->head->at.d_sae) {
        app_message(v->app, 1, "%s has latents 0 to %zu", s->head->at.sae.name, s->head->at.d_sae - 1);
        return INVALID_NONE;
    }
    char *target = xasprintf("%s/%ld", s->head->at.sae.name, count);
    app_open(v->app, v->ops->name, target);
    free(target);
    return INVALID_DRAW;
}

static const struct page_link *selected_link(const struct latent_state *s)
{
    const struct page_links *links = s->focus == PANE_COMPONENTS && s->components ? &s->components->links
                                     : s->focus == PANE_RELATIVES && s->relatives ? &s->relatives->links
                                                                                  : NULL;
    size_t i = s->lists[s->focus].cursor;
    return links && i < links->n ? &links->items[i] : NULL;
}

static int whole_context(struct latent_state *s)
{
    size_t first;
    if (s->whole || latent_contexts_shown(s, &first) > 0) {
        s->whole = !s->whole;
        s->whole_top = 0;
    }
    return INVALID_DRAW;
}

static int follow(struct view *v)
{
    struct latent_state *s = v->data;
    const struct page_link *link = selected_link(s);
    if (s->whole || s->focus == PANE_CONTEXTS)
        return whole_context(s);
    if (!link || !s->head)
        return INVALID_NONE;
    char *target = xasprintf("%s/%zu", link->name, link->latent);
    app_open(v->app, link->is_meta ? "meta" : "latent", target);
    free(target);
    return INVALID_DRAW;
}

/* ---- Questions. ---- */

static void label_answered(struct view *v, const char *answer)
{
    struct strbuf line = STRBUF_INIT;
    if (!answer)
        return;
    strbuf_addf(&line, "label %s ", v->target);
    if (*answer)
        lexer_quote(&line, answer);
    else
        strbuf_adds(&line, "--remove");
    app_run(v->app, strbuf_string(&line));
    strbuf_free(&line);
}

static void text_answered(struct view *v, const char *answer)
{
    const struct latent_state *s = v->data;
    if (!answer || !*answer || !s->head)
        return;
    char *target = xasprintf("%s %s", s->head->is_meta ? s->head->base_name : s->head->at.sae.name, answer);
    app_open(v->app, "encode", target);
    free(target);
}

/* How much and to which prompt is left to be typed. */
static int prompt_steer(struct view *v)
{
    const struct latent_state *s = v->data;
    if (!s->head)
        return INVALID_NONE;
    char *line = xasprintf("steer %s --add %s=", s->head->is_meta ? s->head->base_name : s->head->at.sae.name,
                           v->target);
    app_prompt_command(v->app, line);
    free(line);
    return INVALID_DRAW;
}

/* ---- Actions. ---- */

static int change_window(struct view *v)
{
    static const long long sizes[] = {8, 16, 32, WINDOW_FULL};
    struct settings *settings = app_settings(v->app);
    long long now = settings_count(settings, "window");
    size_t i = 0;
    char value[24], shown[24];
    while (i < ARRAY_LENGTH(sizes) && sizes[i] <= now)
        i++;
    long long next = sizes[i % ARRAY_LENGTH(sizes)];
    snprintf(value, sizeof value, "%lld", next);
    settings_set(settings, "window", value, NULL);
    window_text(next, shown);
    app_message(v->app, 0, "window %s", shown);
    return INVALID_DRAW;
}

static int change_pane(struct latent_state *s, int by)
{
    int n = s->head && s->head->is_meta ? PANE_CONTEXTS : PANES; /* a meta-latent has no contexts */
    s->focus = (enum page_pane)(((int)s->focus + by + n) % n);
    s->focus_given = 1;
    return INVALID_DRAW;
}

static int change_intervals(struct latent_state *s)
{
    size_t first;
    s->intervals = !s->intervals;
    s->lists[PANE_CONTEXTS].cursor = 0;
    if (latent_contexts_shown(s, &first) == 0)
        s->whole = 0;
    return INVALID_DRAW;
}

static int all_latents(struct view *v)
{
    const struct latent_state *s = v->data;
    if (s->head)
        app_open(v->app, "latents", s->head->at.sae.name);
    return INVALID_DRAW;
}

/* While a context fills the screen: its neighbours, its lines. */
static int act_whole(struct view *v, const char *action, long count)
{
    struct latent_state *s = v->data;
    size_t first;
    if (strcmp(action, "close") == 0 || strcmp(action, "leave") == 0)
        return whole_context(s);
    if (strcmp(action, "page-down") == 0 || strcmp(action, "half-page-down") == 0) {
        s->whole_top += app_height(v->app) / 3;
        return INVALID_DRAW;
    }
    if (strcmp(action, "page-up") == 0 || strcmp(action, "half-page-up") == 0) {
        s->whole_top -= app_height(v->app) / 3;
        s->whole_top = s->whole_top < 0 ? 0 : s->whole_top;
        return INVALID_DRAW;
    }
    action = strcmp(action, "left") == 0 ? "up" : strcmp(action, "right") == 0 ? "down" : action;
    list_set_count(&s->lists[PANE_CONTEXTS], latent_contexts_shown(s, &first));
    int invalid = list_act(&s->lists[PANE_CONTEXTS], action, count);
    if (invalid != INVALID_NOT_MINE)
        s->whole_top = 0;
    return invalid;
}

static int move(struct view *v, const char *action, long count)
{
    struct latent_state *s = v->data;
    if (s->whole && s->head)
        return act_whole(v, action, count);
    if (s->focus == PANE_RELATIVES)
        action = strcmp(action, "left") == 0 ? "up" : strcmp(action, "right") == 0 ? "down" : action;
    return list_act(&s->lists[s->focus], action, count);
}

static int latent_act(struct view *v, const char *action, long count)
{
    struct latent_state *s = v->data;
    if (strcmp(action, "next-latent") == 0)
        return step(v, count > 0 ? count : 1);
    if (strcmp(action, "previous-latent") == 0)
        return step(v, count > 0 ? -count : -1);
    if (strcmp(action, "random-latent") == 0)
        return random_latent(v);
    if (strcmp(action, "jump") == 0 || (strcmp(action, "open") == 0 && count >= 0))
        return jump(v, count);
    if (strcmp(action, "open") == 0)
        return follow(v);
    if (strcmp(action, "next-pane") == 0 || strcmp(action, "previous-pane") == 0)
        return s->whole ? INVALID_NONE : change_pane(s, strcmp(action, "next-pane") == 0 ? 1 : -1);
    if (strcmp(action, "whole-context") == 0)
        return whole_context(s);
    if (strcmp(action, "intervals") == 0)
        return change_intervals(s);
    if (strcmp(action, "window") == 0)
        return change_window(v);
    if (strcmp(action, "all-latents") == 0)
        return all_latents(v);
    if (strcmp(action, "graph") == 0 || strcmp(action, "family") == 0) {
        app_open(v->app, action, v->target);
        return INVALID_DRAW;
    }
    if (strcmp(action, "label") == 0) {
        /* A label of the user's own is changed, any other replaced. */
        int own = s->head && s->head->label && s->head->source == LABEL_USER;
        app_ask(v->app, "label: ", own ? s->head->label : "", label_answered);
        return INVALID_NONE;
    }
    if (strcmp(action, "encode") == 0) {
        app_ask(v->app, "text: ", "", text_answered);
        return INVALID_NONE;
    }
    if (strcmp(action, "steer") == 0)
        return prompt_steer(v);
    if (strcmp(action, "neuronpedia") == 0) {
        char *line = xasprintf("open %s", v->target);
        app_run(v->app, line);
        free(line);
        return INVALID_NONE;
    }
    return move(v, action, count);
}

/* ---- Places, search. ---- */

static void latent_selected(struct view *v, struct strbuf *out)
{
    const struct latent_state *s = v->data;
    const struct page_link *link = selected_link(s);
    if (link && !s->whole)
        strbuf_addf(out, "%s/%zu", link->name, link->latent);
    else
        strbuf_adds(out, v->target);
}

/* ADDRESS FOCUS INTERVALS WHOLE and a cursor for each pane. */
static void latent_save(struct view *v, struct strbuf *out)
{
    const struct latent_state *s = v->data;
    strbuf_addf(out, "%s %d %d %d", v->target, (int)s->focus, s->intervals, s->whole);
    for (int i = 0; i < PANES; i++)
        strbuf_addf(out, " %zu", s->wanted[i] != SIZE_MAX ? s->wanted[i] : s->lists[i].cursor);
}

static void latent_restore(struct view *v, const char *place)
{
    struct latent_state *s = v->data;
    const char *blank = strchr(place, ' ');
    int focus, intervals, whole;
    size_t cursors[PANES];
    if (!blank ||
        sscanf(blank, "%d %d %d %zu %zu %zu", &focus, &intervals, &whole, &cursors[0], &cursors[1],
               &cursors[2]) != 6 ||
        focus < 0 || focus >= PANES)
        return;
    if (strncmp(place, v->target, (size_t)(blank - place)) != 0 || v->target[blank - place] != '\0') {
        free(v->target);
        v->target = xstrndup(place, (size_t)(blank - place));
        forget(s);
        s->d_sae = 0;
        load(v);
    }
    s->focus = (enum page_pane)focus;
    s->focus_given = 1;
    s->intervals = intervals != 0;
    s->whole = whole != 0;
    const int there[PANES] = {s->components != NULL, s->relatives != NULL, s->head != NULL};
    for (int i = 0; i < PANES; i++) {
        s->wanted[i] = cursors[i];
        size_t first;
        if (there[i])
            rows_came(s, (enum page_pane)i,
                      i == PANE_CONTEXTS ? latent_contexts_shown(s, &first) : s->lists[i].n);
    }
}

/* In the contexts' text. */
static int latent_search(struct view *v, const char *pattern, int direction)
{
    struct latent_state *s = v->data;
    size_t first, n = latent_contexts_shown(s, &first), at = s->lists[PANE_CONTEXTS].cursor;
    for (size_t k = 1; k <= n; k++) {
        size_t i = row_round(at, k, n, direction);
        if (!strcasestr(strbuf_string(&s->head->contexts[first + i].text), pattern))
            continue;
        s->lists[PANE_CONTEXTS].cursor = i;
        s->focus = PANE_CONTEXTS;
        s->focus_given = 1;
        return 0;
    }
    return -1;
}

static void latent_status(struct view *v, struct strbuf *out)
{
    const struct latent_state *s = v->data;
    if (!s->head)
        return;
    strbuf_adds(out, "of ");
    strbuf_add_grouped(out, (long long)s->head->at.d_sae);
    if (s->head->is_meta)
        strbuf_addf(out, " %s meta-SAE of %s", glyph(GLYPH_MIDDLE_DOT), s->head->base_name);
    if (s->head->n_bases > 1)
        strbuf_addf(out, " and %zu more", s->head->n_bases - 1);
}

const struct view_ops latent_view = {
    .name = "latent",
    .summary = "all about a latent: statistics, contexts, logits, meta-latents, relatives",
    .actions = latent_actions,
    .private_size = sizeof(struct latent_state),
    .open = latent_open,
    .draw = latent_draw,
    .act = latent_act,
    .status = latent_status,
    .hint = "Tab pane  Enter follows  J K next  i intervals  w window  v graph  L label  o Neuronpedia",
    .refresh = latent_refresh,
    .selected = latent_selected,
    .save_place = latent_save,
    .restore_place = latent_restore,
    .search = latent_search,
    .close = latent_close,
};

const struct view_ops meta_view = {
    .name = "meta",
    .summary = "all about a meta-latent: members, their activations, logits, nearest latents",
    .actions = meta_actions,
    .private_size = sizeof(struct latent_state),
    .open = latent_open,
    .draw = latent_draw,
    .act = latent_act,
    .status = latent_status,
    .hint = "Tab pane  Enter follows  J K next  v graph  L label  a all",
    .refresh = latent_refresh,
    .selected = latent_selected,
    .save_place = latent_save,
    .restore_place = latent_restore,
    .close = latent_close,
};
