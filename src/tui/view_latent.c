/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The page of a latent or meta-latent: its keys. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/command/lexer.h"
#include "saescope/tui/latent_view.h"

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

/* ---- Life. ---- */

static int latent_open(struct view *v, const char *target, struct error *err)
{
    if (!strchr(target, '/'))
        return error_set(err, STATUS_USAGE, "a latent's address is SAE/NUMBER, not '%s'", target);
    if (!app_store(v->app))
        return error_set(err, STATUS_STORE, "there is no store yet");
    latent_forget(v->data);
    latent_load(v);
    return STATUS_OK;
}

static void latent_close(struct view *v)
{
    latent_forget(v->data);
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
    latent_forget(v->data);
    latent_load(v);
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
    const struct page_links *links = latent_links(s, s->focus);
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
    char *target = xasprintf("%s %s", s->head->ground_name, answer);
    app_open(v->app, "encode", target);
    free(target);
}

/* How much and to which prompt is left to be typed. */
static int prompt_steer(struct view *v)
{
    const struct latent_state *s = v->data;
    if (!s->head)
        return INVALID_NONE;
    char *line = xasprintf("steer %s --add %s=", s->head->ground_name, v->target);
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

/* To the next pane that the page has. */
static int change_pane(struct latent_state *s, int by)
{
    do
        s->focus = (enum page_pane)(((int)s->focus + by + PANES) % PANES);
    while (s->head && !latent_has_pane(s->head, s->focus));
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
    int focus, intervals, whole, used = 0;
    size_t cursors[PANES];
    if (!blank || sscanf(blank, "%d %d %d%n", &focus, &intervals, &whole, &used) != 3 || focus < 0 ||
        focus >= PANES)
        return;
    const char *rest = blank + used;
    for (int i = 0; i < PANES; i++, rest += used)
        if (sscanf(rest, "%zu%n", &cursors[i], &used) != 1)
            return;
    if (strncmp(place, v->target, (size_t)(blank - place)) != 0 || v->target[blank - place] != '\0') {
        free(v->target);
        v->target = xstrndup(place, (size_t)(blank - place));
        latent_forget(s);
        s->d_sae = 0;
        latent_load(v);
    }
    s->focus = (enum page_pane)focus;
    s->focus_given = 1;
    s->intervals = intervals != 0;
    s->whole = whole != 0;
    for (int i = 0; i < PANES; i++) {
        const struct page_links *links = latent_links(s, (enum page_pane)i);
        size_t first;
        s->wanted[i] = cursors[i];
        if (i == PANE_CONTEXTS ? s->head != NULL : links != NULL)
            latent_rows_came(s, (enum page_pane)i, links ? links->n : latent_contexts_shown(s, &first));
    }
}

/* In the names and labels of the pane that has the focus. */
static int search_links(struct latent_state *s, const char *pattern, int direction)
{
    const struct page_links *links = latent_links(s, s->focus);
    size_t n = links ? links->n : 0, at = s->lists[s->focus].cursor;
    for (size_t k = 1; k <= n; k++) {
        size_t i = direction > 0 ? (at + k) % n : (at + n - k % n) % n;
        const struct page_link *link = &links->items[i];
        if (!strcasestr(link->name, pattern) && !(link->label && strcasestr(link->label, pattern)))
            continue;
        s->lists[s->focus].cursor = i;
        return 0;
    }
    return -1;
}

/* In the contexts' text. */
static int search_contexts(struct latent_state *s, const char *pattern, int direction)
{
    size_t first, n = latent_contexts_shown(s, &first), at = s->lists[PANE_CONTEXTS].cursor;
    for (size_t k = 1; k <= n; k++) {
        size_t i = direction > 0 ? (at + k) % n : (at + n - k % n) % n;
        if (!strcasestr(strbuf_string(&s->head->contexts[first + i].text), pattern))
            continue;
        s->lists[PANE_CONTEXTS].cursor = i;
        s->focus = PANE_CONTEXTS;
        s->focus_given = 1;
        return 0;
    }
    return -1;
}

static int latent_search(struct view *v, const char *pattern, int direction)
{
    struct latent_state *s = v->data;
    return !s->whole && search_links(s, pattern, direction) == 0 ? 0 : search_contexts(s, pattern, direction);
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
    .summary = "all about a meta-latent: members, meta-latents of its own, logits, relatives",
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
    .search = latent_search,
    .close = latent_close,
};
