/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A latent's family across widths: columns of SAEs on a wide screen, a tree on a narrow one. The target is
 * what follows the command `family`: "SAE/ID [OPTIONS]".
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/command/lexer.h"
#include "saescope/tui/family_view.h"

#define STEP 0.05 /* of thresholds */

static const struct action actions[] = {
    {"family", "F", "show the family of the selected latent"},
    {"fewer", "+", "a higher cosine threshold: fewer and closer relatives"},
    {"more", "-", "a lower cosine threshold: more relatives"},
    {"fewer-shares", "]", "a higher threshold of shares, where a stitch knows them"},
    {"more-shares", "[", "a lower threshold of shares"},
    {"all-latents", "a", "list all latents of the selected one's SAE"},
    {NULL, NULL, NULL},
};

static const struct family *family_of(const struct family_state *s)
{
    return s->page ? s->page->family : NULL;
}

static char *address_of(const struct family *f, uint32_t node)
{
    return xasprintf("%s/%u", f->columns[f->nodes[node].column].sae.name, f->nodes[node].latent);
}

/* ---- Data as it comes. ---- */

/* The node of an address; the one asked for when it is none of the family's. */
static uint32_t find_address(const struct family *f, const char *address)
{
    const char *slash = address ? strrchr(address, '/') : NULL;
    for (uint32_t i = 0; slash && i < f->n_nodes; i++) {
        const char *name = f->columns[f->nodes[i].column].sae.name;
        if (strlen(name) == (size_t)(slash - address) && strncmp(name, address, strlen(name)) == 0 &&
            strtoull(slash + 1, NULL, 10) == f->nodes[i].latent)
            return i;
    }
    return (uint32_t)f->asked;
}

static int family_done(struct view *v, void *result, int status, const struct error *err)
{
    struct family_state *s = v->data;
    if (status == STATUS_OK && !result)
        return INVALID_NONE;
    if (!s->wanted && s->page)
        s->wanted = address_of(s->page->family, s->node);
    family_page_free(s->page);
    s->page = result;
    free(s->error);
    s->error = status == STATUS_OK ? NULL : xstrdup(err->message);
    s->came_to = s->came_from = FAMILY_NONE;
    if (s->page) {
        s->node = find_address(s->page->family, s->wanted);
        free(s->wanted);
        s->wanted = NULL;
    }
    return INVALID_DRAW;
}

static const struct query_spec family_query = {family_page_read, family_done, family_page_free,
                                               family_request_free};

static void load(struct view *v, uint64_t seen)
{
    const struct family_state *s = v->data;
    struct family_request *r = xcalloc(1, sizeof *r);
    r->address = xstrdup(invocation_argument(s->asked, 0));
    r->saes = s->options.saes ? xstrdup(s->options.saes) : NULL;
    r->options = s->options;
    r->options.saes = r->saes;
    r->seen = seen;
    query_start(v, 0, &family_query, r);
}

/* ---- Life. ---- */

/* The target's words as those of the command. */
static int read_target(struct view *v, struct error *err)
{
    struct family_state *s = v->data;
    struct word_list words = {0};
    struct invocation *asked = NULL;
    size_t offset = 0;
    int line = 1;
    char *text = xasprintf("family %s", v->target);
    int status = lexer_next(text, strlen(text), &offset, &line, app_settings(v->app), 0, &words, err);
    if (status == STATUS_OK)
        status = invocation_from_words(app_context(v->app), words.words, words.n, &asked, err);
    if (status == STATUS_OK) {
        if (s->asked)
            invocation_free(s->asked);
        s->asked = asked;
        family_options_of(asked, &s->options);
    }
    word_list_free(&words);
    free(text);
    return status;
}

static int family_open(struct view *v, const char *target, struct error *err)
{
    struct family_state *s = v->data;
    if (!app_store(v->app))
        return error_set(err, STATUS_STORE, "there is no store yet");
    if (*target == '/') {
        char *full = xasprintf("%s%s", settings_text(app_settings(v->app), "sae"), target);
        free(v->target);
        v->target = full;
    }
    int status = read_target(v, err);
    if (status != STATUS_OK)
        return status;
    s->came_to = s->came_from = FAMILY_NONE;
    load(v, 0);
    return STATUS_OK;
}

static void family_close(struct view *v)
{
    struct family_state *s = v->data;
    family_page_free(s->page);
    if (s->asked)
        invocation_free(s->asked);
    free(s->error);
    free(s->wanted);
}

/* Labels are small records, and may have changed with any commit; the family only with SAEs and stitches. */
static int family_refresh(struct view *v)
{
    struct family_state *s = v->data;
    struct store_txn *t;
    if (s->page && app_store(v->app) && store_begin(app_store(v->app), &t, NULL) == STATUS_OK) {
        family_page_relabel(s->page, t);
        store_end(t);
    }
    load(v, s->page ? s->page->seen : 0);
    return INVALID_DRAW;
}

/* ---- Moving about. ---- */

static int select_node(struct family_state *s, uint32_t node)
{
    s->node = node;
    return INVALID_DRAW;
}

/* Up and down: in the column, top to bottom, or in the tree. */
static int move_in_list(struct view *v, const char *action, long count)
{
    struct family_state *s = v->data;
    const struct family *f = family_of(s);
    const struct family_layout *l = &s->page->layout;
    int wide = app_width(v->app) >= FAMILY_WIDE;
    uint32_t *nodes = xcalloc(f->n_nodes, sizeof *nodes);
    struct list list = {.height = s->height};
    /* The order of the tree is that of the rows within each column, too. */
    for (size_t i = 0; i < f->n_nodes; i++) {
        uint32_t node = l->order[i];
        if (wide && f->nodes[node].column != f->nodes[s->node].column)
            continue;
        if (node == s->node)
            list.cursor = list.n;
        nodes[list.n++] = node;
    }
    list.top = list.cursor;
    int invalid = list_act(&list, action, count);
    if (invalid != INVALID_NOT_MINE)
        s->node = nodes[list.cursor];
    free(nodes);
    return invalid;
}

/* The first of the children that stand under it; else, of others. */
static uint32_t first_child(const struct family_state *s)
{
    const struct family *f = family_of(s);
    const struct family_layout *l = &s->page->layout;
    uint32_t best = FAMILY_NONE;
    size_t best_rank = 0;
    for (size_t e = 0; e < f->n_edges; e++) {
        uint32_t child = f->edges[e].to;
        size_t rank = l->row[child] + (l->edge[child] == e ? 0 : l->n_rows);
        if (f->edges[e].from == s->node && (best == FAMILY_NONE || rank < best_rank)) {
            best = child;
            best_rank = rank;
        }
    }
    return best;
}

/* To the parent that it stands under, or the first child; after a step the other way, back where that began.
 */
static int step_sideways(struct family_state *s, int right)
{
    const struct family *f = family_of(s);
    uint32_t edge = s->page->layout.edge[s->node], to;
    if (right)
        to = first_child(s);
    else
        to = edge == FAMILY_NONE ? FAMILY_NONE : f->edges[edge].from;
    if (s->came_to == s->node && s->came_from != FAMILY_NONE &&
        right == (f->nodes[s->came_from].column > f->nodes[s->node].column))
        to = s->came_from;
    if (to == FAMILY_NONE)
        return INVALID_NONE;
    s->came_from = s->node;
    s->came_to = to;
    return select_node(s, to);
}

/* ---- Going elsewhere. ---- */

static int open_at(struct view *v, const char *view, uint32_t node)
{
    const struct family_state *s = v->data;
    char *target = address_of(family_of(s), node);
    app_open(v->app, view, target);
    free(target);
    return INVALID_DRAW;
}

static int all_latents(struct view *v)
{
    const struct family_state *s = v->data;
    const struct family *f = family_of(s);
    app_open(v->app, "latents", f->columns[f->nodes[s->node].column].sae.name);
    return INVALID_DRAW;
}

/* A latent of the selected one's SAE by its number: in the family, or with its own. */
static int jump(struct view *v, long count)
{
    struct family_state *s = v->data;
    const struct family *f = family_of(s);
    const struct family_column *column = &f->columns[f->nodes[s->node].column];
    for (uint32_t i = 0; i < f->n_nodes; i++)
        if (f->nodes[i].column == f->nodes[s->node].column && f->nodes[i].latent == count)
            return select_node(s, i);
    if (count < 0)
        return INVALID_NONE;
    if ((size_t)count >= column->width) {
        app_message(v->app, 1, "%s has latents 0 to %zu", column->sae.name, column->width - 1);
        return INVALID_NONE;
    }
    char *target = xasprintf("%s/%ld", column->sae.name, count);
    app_open(v->app, "family", target);
    free(target);
    return INVALID_DRAW;
}

/* The target says the threshold, so that history keeps it. */
static int change_threshold(struct view *v, const char *option, double from, double by, double least)
{
    struct family_state *s = v->data;
    struct strbuf target = STRBUF_INIT;
    struct error err = {0};
    double to = from + by < least ? least : from + by > 1 ? 1 : from + by;
    strbuf_adds(&target, invocation_argument(s->asked, 0));
    for (size_t i = 0; i < s->asked->n_options; i++)
        if (strcmp(s->asked->options[i].spec->name, option) != 0)
            strbuf_addf(&target, " --%s %s", s->asked->options[i].spec->name, s->asked->options[i].value);
    strbuf_addf(&target, " --%s %.4g", option, to);
    free(v->target);
    v->target = strbuf_detach(&target);
    if (read_target(v, &err) == STATUS_OK)
        load(v, 0);
    else
        app_message(v->app, 1, "%s", err.message);
    return INVALID_DRAW;
}

static int act_on_thresholds(struct view *v, const char *action)
{
    const struct family_options *o = &((const struct family_state *)v->data)->options;
    if (strcmp(action, "fewer") == 0)
        return change_threshold(v, "cosine", o->cosine, STEP, STEP);
    if (strcmp(action, "more") == 0)
        return change_threshold(v, "cosine", o->cosine, -STEP, STEP);
    if (strcmp(action, "fewer-shares") == 0)
        return change_threshold(v, "similarity", o->similarity, STEP, PARENT_SIMILARITY);
    if (strcmp(action, "more-shares") == 0)
        return change_threshold(v, "similarity", o->similarity, -STEP, PARENT_SIMILARITY);
    return INVALID_NOT_MINE;
}

static int family_act(struct view *v, const char *action, long count)
{
    struct family_state *s = v->data;
    int changed = act_on_thresholds(v, action);
    if (changed != INVALID_NOT_MINE || !s->page)
        return changed;
    if (strcmp(action, "left") == 0 || strcmp(action, "right") == 0) {
        int invalid = INVALID_NONE;
        for (long i = 0; i < (count > 0 ? count : 1) && i < (long)s->page->family->n_columns; i++)
            invalid |= step_sideways(s, strcmp(action, "right") == 0);
        return invalid;
    }
    if (strcmp(action, "open") == 0)
        return open_at(v, "latent", s->node);
    if (strcmp(action, "jump") == 0)
        return jump(v, count);
    if (strcmp(action, "family") == 0)
        return s->node == family_of(s)->asked ? INVALID_NONE : open_at(v, "family", s->node);
    if (strcmp(action, "all-latents") == 0)
        return all_latents(v);
    return move_in_list(v, action, count);
}

/* ---- Places, search. ---- */

static void family_selected(struct view *v, struct strbuf *out)
{
    const struct family_state *s = v->data;
    char *address = s->page     ? address_of(family_of(s), s->node)
                    : s->wanted ? xstrdup(s->wanted)
                                : xstrdup(invocation_argument(s->asked, 0));
    strbuf_adds(out, address);
    free(address);
}

static void family_restore(struct view *v, const char *place)
{
    struct family_state *s = v->data;
    free(s->wanted);
    s->wanted = xstrdup(place);
    if (s->page)
        s->node = find_address(s->page->family, place);
}

/* In labels and addresses, in the order of the tree. */
static int family_search(struct view *v, const char *pattern, int direction)
{
    struct family_state *s = v->data;
    if (!s->page)
        return -1;
    const struct family *f = family_of(s);
    const struct family_layout *l = &s->page->layout;
    size_t at = 0;
    while (l->order[at] != s->node)
        at++;
    for (size_t k = 1; k <= f->n_nodes; k++) {
        uint32_t node = l->order[(direction > 0 ? at + k : at + f->n_nodes - k) % f->n_nodes];
        char *address = address_of(f, node);
        int found = strcasestr(address, pattern) ||
                    (s->page->labels[node] && strcasestr(s->page->labels[node], pattern));
        free(address);
        if (!found)
            continue;
        s->node = node;
        return 0;
    }
    return -1;
}

static void family_status(struct view *v, struct strbuf *out)
{
    const struct family_state *s = v->data;
    const struct family *f = family_of(s);
    strbuf_adds(out, "family");
    if (!f)
        return;
    strbuf_addf(out, " %s %zu latent%s%s %s cosine > %.4g", glyph(GLYPH_MIDDLE_DOT), f->n_nodes,
                f->n_nodes == 1 ? "" : "s", f->truncated ? ", the closest" : "", glyph(GLYPH_MIDDLE_DOT),
                s->options.cosine);
    int stitched = 0;
    for (size_t c = 0; c < f->n_columns; c++)
        stitched |= f->columns[c].stitch != 0;
    if (stitched)
        strbuf_addf(out, " or share > %.4g", s->options.similarity);
}

const struct view_ops family_view = {
    .name = "family",
    .summary = "a latent's parents in smaller SAEs and children in larger ones",
    .actions = actions,
    .private_size = sizeof(struct family_state),
    .open = family_open,
    .draw = family_draw,
    .act = family_act,
    .status = family_status,
    .hint = "Left Right parent, child  Up Down  Enter opens  + - cosine  [ ] share  F its family",
    .refresh = family_refresh,
    .selected = family_selected,
    .save_place = family_selected,
    .restore_place = family_restore,
    .search = family_search,
    .close = family_close,
};
