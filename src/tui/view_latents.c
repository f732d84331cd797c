/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The latents of an SAE: keys and where they lead. */
#include "config.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/command/lexer.h"
#include "saescope/tui/latents_view.h"

static const struct action actions[] = {
    {"sort-before", "[", "sort by the column before"},
    {"sort-after", "]", "sort by the column after"},
    {"reverse", "r", "turn the order round; dead latents stay last"},
    {"filter", "f", "show only latents that match, for example density<0.01 and max>5"},
    {"compare", "=", "show the nearest latents of another SAE; with no name those of the stitch again"},
    {"random-latent", "* R", "open a latent that fires, at random"},
    {"label", "L", "label the latent"},
    {"encode", "t", "test a text: its tokens and the latents that fire on them"},
    {"meta-sae", "m", "go to the meta-SAE; from a meta-SAE to its base"},
    {NULL, NULL, NULL},
};

/* ---- Life. ---- */

static int latents_open(struct view *v, const char *target, struct error *err)
{
    struct latents *d = v->data;
    if (!*target)
        return error_set(err, STATUS_USAGE, "which SAE's latents? Give its name");
    d->wanted = d->labels_asked = SIZE_MAX;
    latents_load(v);
    return STATUS_OK;
}

static void latents_close(struct view *v)
{
    latents_free(v->data);
}

static int latents_refresh(struct view *v)
{
    latents_load(v);
    return INVALID_DRAW; /* a setting may have changed as well */
}

/* ---- Going elsewhere. ---- */

static int open_latent(struct view *v, size_t latent)
{
    const struct latents *d = v->data;
    if (!d->table || latent == SIZE_MAX)
        return INVALID_NONE;
    char *target = xasprintf("%s/%zu", v->target, latent);
    app_open(v->app, d->table->facts.is_meta ? "meta" : "latent", target);
    free(target);
    return INVALID_DRAW;
}

static int jump(struct view *v, long count)
{
    struct latents *d = v->data;
    if (!d->table || count < 0)
        return INVALID_NONE;
    if ((size_t)count >= d->table->n) {
        app_message(v->app, 1, "%s has latents 0 to %zu", v->target, d->table->n - 1);
        return INVALID_NONE;
    }
    size_t row = latents_row(d->table, (size_t)count);
    if (row == SIZE_MAX) {
        app_message(v->app, 1, "the filter hides latent %ld", count);
        return INVALID_NONE;
    }
    d->list.cursor = row;
    return INVALID_DRAW;
}

/* A row at random, of those that fire when that is known. */
static int random_latent(struct view *v)
{
    const struct latents *d = v->data;
    const struct latent_table *t = d->table;
    if (!t || t->matched == 0)
        return INVALID_NONE;
    uint64_t seed = (uint64_t)(app_time(v->app) * 1e6);
    uint32_t latent = t->order[hash_mix(seed, 0, 0, 0) % t->matched];
    for (uint64_t try = 1; try < 1000 && t->fired && t->fired[latent] == 0; try++)
        latent = t->order[hash_mix(seed, try, 0, 0) % t->matched];
    return open_latent(v, latent);
}

static int meta_sae(struct view *v)
{
    const struct latents *d = v->data;
    if (!d->table)
        return INVALID_NONE;
    if (d->meta.id)
        app_open(v->app, "latents", d->meta.name);
    else
        app_message(v->app, 1, "no meta-SAE of %s: train meta NAME --sae %s --width N makes one", v->target,
                    v->target);
    return INVALID_DRAW;
}

/* ---- Sort and filter. ---- */

static int sort_by(struct view *v, int by)
{
    struct latents *d = v->data;
    const struct column *columns[COLUMNS_MAX];
    if (!d->table)
        return INVALID_NONE;
    int n = (int)latents_columns(v, d->table, columns), at = 0;
    while (at < n && columns[at]->key != d->sort)
        at++;
    at = at == n ? 0 : (at + by + n) % n;
    d->sort = columns[at]->key;
    d->reverse = 0;
    d->to_top = 1;
    latents_load(v);
    return INVALID_NONE;
}

static int reverse(struct view *v)
{
    struct latents *d = v->data;
    d->reverse = !d->reverse;
    d->to_top = 1;
    latents_load(v);
    return INVALID_NONE;
}

static void filter_answered(struct view *v, const char *answer)
{
    struct latents *d = v->data;
    if (!answer)
        return;
    free(d->filter);
    d->filter = *answer ? xstrdup(answer) : NULL;
    latents_load(v);
}

static void text_answered(struct view *v, const char *answer)
{
    const struct latents *d = v->data;
    if (!answer || !*answer)
        return;
    char *target = xasprintf("%s %s", d->table ? d->ground.name : v->target, answer);
    app_open(v->app, "encode", target);
    free(target);
}

static void label_answered(struct view *v, const char *answer)
{
    const struct latents *d = v->data;
    struct strbuf line = STRBUF_INIT;
    size_t latent = latents_selected(d);
    if (!answer || latent == SIZE_MAX)
        return;
    strbuf_addf(&line, "label %s/%zu ", v->target, latent);
    if (*answer)
        lexer_quote(&line, answer);
    else
        strbuf_adds(&line, "--remove");
    app_run(v->app, strbuf_string(&line));
    strbuf_free(&line);
}

/* A label of the user's own is changed, any other replaced. */
static void ask_label(struct view *v)
{
    const struct latents *d = v->data;
    enum label_source source;
    const char *label = latents_selected(d) != SIZE_MAX ? latents_label(d, d->list.cursor, &source) : NULL;
    app_ask(v->app, "label: ", label && source == LABEL_USER ? label : "", label_answered);
}

static void compare_answered(struct view *v, const char *answer)
{
    if (answer)
        latents_compare(v, answer);
}

static int latents_act(struct view *v, const char *action, long count)
{
    struct latents *d = v->data;
    if (strcmp(action, "jump") == 0 || (strcmp(action, "open") == 0 && count >= 0))
        return jump(v, count);
    if (strcmp(action, "open") == 0)
        return open_latent(v, latents_selected(d));
    if (strcmp(action, "sort-before") == 0 || strcmp(action, "sort-after") == 0)
        return sort_by(v, strcmp(action, "sort-after") == 0 ? 1 : -1);
    if (strcmp(action, "reverse") == 0)
        return reverse(v);
    if (strcmp(action, "random-latent") == 0)
        return random_latent(v);
    if (strcmp(action, "meta-sae") == 0)
        return meta_sae(v);
    if (strcmp(action, "filter") == 0)
        app_ask(v->app, "filter: ", d->filter ? d->filter : "", filter_answered);
    else if (strcmp(action, "compare") == 0)
        app_ask(v->app, "compare with SAE: ", "", compare_answered);
    else if (strcmp(action, "encode") == 0)
        app_ask(v->app, "text: ", "", text_answered);
    else if (strcmp(action, "label") == 0)
        ask_label(v);
    else
        return list_act(&d->list, action, count);
    return INVALID_NONE;
}

/* ---- Places. ---- */

static void latents_selected_address(struct view *v, struct strbuf *out)
{
    size_t latent = latents_selected(v->data);
    strbuf_adds(out, v->target);
    if (latent != SIZE_MAX)
        strbuf_addf(out, "/%zu", latent);
}

/* LATENT SORT REVERSE FILTER */
static void latents_save(struct view *v, struct strbuf *out)
{
    const struct latents *d = v->data;
    size_t latent = d->wanted != SIZE_MAX ? d->wanted : latents_selected(d);
    strbuf_addf(out, "%zu %d %d %s", latent, (int)d->sort, d->reverse, d->filter ? d->filter : "");
}

static void latents_restore(struct view *v, const char *place)
{
    struct latents *d = v->data;
    size_t latent;
    int sort, turned, at = 0;
    if (sscanf(place, "%zu %d %d %n", &latent, &sort, &turned, &at) != 3 || sort < 0 || sort >= LATENT_KEYS)
        return;
    d->wanted = latent;
    d->sort = (enum latent_key)sort;
    d->reverse = turned != 0;
    free(d->filter);
    d->filter = place[at] ? xstrdup(place + at) : NULL;
    latents_load(v);
}

const struct view_ops latents_view = {
    .name = "latents",
    .summary = "the latents of an SAE or meta-SAE: columns, sort, filter, search in labels",
    .actions = actions,
    .private_size = sizeof(struct latents),
    .open = latents_open,
    .draw = latents_draw,
    .act = latents_act,
    .status = latents_status,
    .hint = "Enter opens  / search  f filter  [ ] sort  t test a text  m meta-SAE  = compare",
    .refresh = latents_refresh,
    .selected = latents_selected_address,
    .save_place = latents_save,
    .restore_place = latents_restore,
    .search = latents_search,
    .close = latents_close,
};
