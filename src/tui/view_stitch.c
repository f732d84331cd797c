/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A stitch: cosine against Δ, the path and its steps, lists of latents. Left and right walk the path, + and -
 * move the cosine threshold, up and down the list, whichever pane is looked at.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/command/lexer.h"
#include "saescope/tui/stitch_view.h"

#define THRESHOLD_STEP 0.01

static const struct action actions[] = {
    {"left", "Left h", "go a step back on the path; a number before it: so many steps"},
    {"right", "Right l", "go a step on"},
    {"first-step", "Home", "go to step 0, or the step of the number"},
    {"last-step", "End", "go to the last step"},
    {"phase-before", "[", "go back to where a phase of the path began"},
    {"phase-after", "]", "go to where the next phase begins: insert, swap, remove"},
    {"threshold-up", "+", "raise the cosine threshold by 0.01; a number before it: so many times"},
    {"threshold-down", "-", "lower the cosine threshold"},
    {"best-threshold", "0", "the threshold that tells novel latents best (largest Youden J)"},
    {"own-threshold", "=", "the threshold that the stitch was made with"},
    {"plot", "p", "explained variance over L0 with all SAEs of the hook, or the path step by step"},
    {"order", "o", "sort the lists by delta, cosine, fired, step, latent"},
    {"reverse", "r", "turn the order round"},
    {"to-step", "w", "go to the step at which the selected latent comes or goes"},
    {"nearest", "m", "open the nearest latent of the small SAE"},
    {"family", "F", "show the family of the latent: parents in smaller SAEs, children in larger ones"},
    {"graph", "v", "show the graph around the latent"},
    {"label", "L", "label the latent"},
    {"save-step", "s", "save the SAE at this step in the store"},
    {"export", "e", "export the stitch to a .tsv, .json or .svg file"},
    {NULL, NULL, NULL},
};

/* ---- Life. ---- */

static int stitch_open(struct view *v, const char *target, struct error *err)
{
    struct stitch_state *s = v->data;
    if (!*target)
        return error_set(err, STATUS_USAGE, "which stitch? Give its name");
    if (!app_store(v->app))
        return error_set(err, STATUS_STORE, "there is no store yet");
    for (int list = 0; list < STITCH_LISTS; list++)
        s->wanted[list] = SIZE_MAX;
    stitch_load(v);
    return STATUS_OK;
}

static void stitch_close(struct view *v)
{
    stitch_free(v->data);
}

static int stitch_refresh(struct view *v)
{
    stitch_load(v);
    return INVALID_NONE;
}

/* ---- The path. ---- */

static int go_to_step(struct stitch_state *s, size_t step)
{
    size_t last = s->page->path.n_steps;
    step = step < last ? step : last;
    if (step != s->step)
        s->lists[LIST_STEP].cursor = s->lists[LIST_STEP].top = 0;
    s->step = step;
    return INVALID_DRAW;
}

static int walk(struct stitch_state *s, long by)
{
    size_t far = (size_t)(by < 0 ? -by : by);
    return go_to_step(s, by >= 0 ? s->step + far : far < s->step ? s->step - far : 0);
}

static size_t next_phase(const struct stitch_path *p, size_t step)
{
    size_t k = step + 1;
    while (k < p->n_steps && p->kinds[k] == p->kinds[step])
        k++;
    return k < p->n_steps ? k : p->n_steps;
}

static size_t phase_before(const struct stitch_path *p, size_t step)
{
    size_t k = step > 0 ? step - 1 : 0;
    while (k > 0 && p->kinds[k - 1] == p->kinds[k])
        k--;
    return k;
}

static int walk_phases(struct stitch_state *s, int direction, long count)
{
    size_t step = s->step;
    for (long i = 0; i < (count > 0 ? count : 1) && i < STEP_REMOVE + 1; i++)
        step = direction > 0 ? next_phase(&s->page->path, step) : phase_before(&s->page->path, step);
    return go_to_step(s, step);
}

static int to_step_of_selected(struct view *v)
{
    struct stitch_state *s = v->data;
    uint32_t row;
    if (!stitch_selected_row(s, &row))
        return INVALID_NONE;
    const struct stitch_path *p = &s->page->path;
    uint32_t latent = row & ~ROW_SMALL,
             step = row & ROW_SMALL ? p->small_step[latent] : p->large_step[latent];
    if (step != STITCH_NEVER)
        return go_to_step(s, step);
    app_message(v->app, 0, "latent %u is not on the path", latent);
    return INVALID_NONE;
}

/* ---- The threshold: whole hundredths, but for those that are jumped to. ---- */

static int set_threshold(struct stitch_state *s, double threshold)
{
    if (isnan(threshold))
        return INVALID_NONE;
    s->threshold = fmin(fmax(threshold, stitch_least_threshold(s->page)), 1);
    s->threshold_given = 1;
    return INVALID_DRAW;
}

static int move_threshold(struct stitch_state *s, int direction, long count)
{
    double at = s->threshold / THRESHOLD_STEP, n = (double)(count > 0 ? count : 1);
    /* From between two hundredths the first step leads to the next. */
    at = direction > 0 ? floor(at + 1e-6) + n : ceil(at - 1e-6) - n;
    return set_threshold(s, at * THRESHOLD_STEP);
}

static int best_threshold(struct view *v)
{
    struct stitch_state *s = v->data;
    if (isnan(s->page->best_threshold))
        app_message(v->app, 0, "there is no best threshold: all latents are of one class");
    return set_threshold(s, s->page->best_threshold);
}

/* ---- Lists. ---- */

static int show_list(struct stitch_state *s, enum stitch_list list)
{
    s->shown = list;
    if (list != LIST_STEP)
        s->class_shown = list;
    return INVALID_DRAW;
}

static int order(struct view *v)
{
    static const char *const names[] = {[SORT_DELTA] = "delta",
                                        [SORT_COSINE] = "cosine",
                                        [SORT_FIRED] = "firings",
                                        [SORT_STEP] = "step",
                                        [SORT_LATENT] = "latent"};
    struct stitch_state *s = v->data;
    s->sort = (enum stitch_key)(((int)s->sort + 1) % STITCH_KEYS);
    s->reverse = 0;
    stitch_sort(s);
    for (int list = 0; list < LIST_STEP; list++)
        s->lists[list].cursor = s->lists[list].top = 0;
    app_message(v->app, 0, "sorted by %s", names[s->sort]);
    return INVALID_DRAW;
}

static int reverse(struct stitch_state *s)
{
    s->reverse = !s->reverse;
    stitch_sort(s);
    for (int list = 0; list < LIST_STEP; list++)
        s->lists[list].cursor = s->lists[list].top = 0;
    return INVALID_DRAW;
}

/* To a latent of the large SAE in the list of its class. */
static int jump(struct view *v, long count)
{
    struct stitch_state *s = v->data;
    const struct stitch_page *p = s->page;
    if (count < 0)
        return INVALID_NONE;
    if ((size_t)count >= p->latents.n) {
        app_message(v->app, 1, "%s has latents 0 to %zu", p->facts.large_artifact.name, p->latents.n - 1);
        return INVALID_NONE;
    }
    enum stitch_list list = stitch_list_of((enum latent_class)p->latents.classes[count]);
    for (size_t i = 0; i < s->n_rows[list]; i++)
        if (s->rows[list][i] == (uint32_t)count) {
            list_set_count(&s->lists[list], s->n_rows[list]);
            s->lists[list].cursor = i;
        }
    return show_list(s, list);
}

/* ---- Going elsewhere. ---- */

static char *address(const struct stitch_page *p, int small, uint32_t latent)
{
    return xasprintf("%s/%u", small ? p->facts.small_artifact.name : p->facts.large_artifact.name, latent);
}

/* The selected latent, or the nearest one of the small SAE, in a view. */
static int open_latent(struct view *v, const char *view, int nearest)
{
    const struct stitch_state *s = v->data;
    uint32_t row;
    if (!stitch_selected_row(s, &row))
        return INVALID_NONE;
    uint32_t latent = row & ~ROW_SMALL;
    int small = (row & ROW_SMALL) != 0;
    if (nearest && !small) {
        latent = s->page->latents.nearest[latent];
        small = 1;
    }
    char *target = address(s->page, small, latent);
    app_open(v->app, view, target);
    free(target);
    return INVALID_DRAW;
}

/* ---- Questions. ---- */

static void run_with_answer(struct view *v, const char *before, const char *answer)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_adds(&line, before);
    lexer_quote(&line, answer);
    app_run(v->app, strbuf_string(&line));
    strbuf_free(&line);
}

static void save_answered(struct view *v, const char *answer)
{
    const struct stitch_state *s = v->data;
    if (!answer || !*answer)
        return;
    char *line = xasprintf("stitch %s --step %zu --save ", v->target, s->step);
    run_with_answer(v, line, answer);
    free(line);
}

static void ask_save(struct view *v)
{
    const struct stitch_state *s = v->data;
    char *question = xasprintf("name of the SAE at step %zu: ", s->step);
    char *name = xasprintf("%s-%zu", v->target, s->step);
    app_ask(v->app, question, name, save_answered);
    free(question);
    free(name);
}

static void export_answered(struct view *v, const char *answer)
{
    if (!answer || !*answer)
        return;
    char *line = xasprintf("export stitch %s ", v->target);
    run_with_answer(v, line, answer);
    free(line);
}

static void label_answered(struct view *v, const char *answer)
{
    const struct stitch_state *s = v->data;
    uint32_t row;
    if (!answer || !s->page || !stitch_selected_row(s, &row))
        return;
    char *where = address(s->page, (row & ROW_SMALL) != 0, row & ~ROW_SMALL);
    char *line = xasprintf("label %s %s", where, *answer ? "" : "--remove");
    if (*answer)
        run_with_answer(v, line, answer);
    else
        app_run(v->app, line);
    free(line);
    free(where);
}

/* ---- Actions. ---- */

static int act_on_path(struct view *v, const char *action, long count)
{
    struct stitch_state *s = v->data;
    if (strcmp(action, "left") == 0 || strcmp(action, "right") == 0)
        return walk(s, (action[0] == 'l' ? -1 : 1) * (count > 0 ? count : 1));
    if (strcmp(action, "first-step") == 0)
        return go_to_step(s, count > 0 ? (size_t)count : 0);
    if (strcmp(action, "last-step") == 0)
        return go_to_step(s, s->page->path.n_steps);
    if (strcmp(action, "phase-before") == 0 || strcmp(action, "phase-after") == 0)
        return walk_phases(s, strcmp(action, "phase-after") == 0 ? 1 : -1, count);
    if (strcmp(action, "to-step") == 0)
        return to_step_of_selected(v);
    return INVALID_NOT_MINE;
}

static int act_on_plots(struct view *v, const char *action, long count)
{
    struct stitch_state *s = v->data;
    if (strcmp(action, "threshold-up") == 0 || strcmp(action, "threshold-down") == 0)
        return move_threshold(s, strcmp(action, "threshold-up") == 0 ? 1 : -1, count);
    if (strcmp(action, "best-threshold") == 0)
        return best_threshold(v);
    if (strcmp(action, "own-threshold") == 0)
        return set_threshold(s, s->page->facts.threshold);
    if (strcmp(action, "plot") != 0)
        return INVALID_NOT_MINE;
    struct canvas all = {0, 0, app_height(v->app) - 2, app_width(v->app)};
    struct stitch_layout at;
    stitch_layout(&all, PLOT_PATH, &at);
    int n = at.scatter.height > 0 ? PLOT_SCATTER : PLOT_SCATTER + 1; /* the scatter is there anyway */
    s->plot = (enum stitch_plot)(((int)s->plot + 1) % n);
    return INVALID_DRAW;
}

static int ask(struct view *v, const char *action)
{
    uint32_t row;
    if (strcmp(action, "save-step") == 0)
        ask_save(v);
    else if (strcmp(action, "export") == 0)
        app_ask(v->app, "file (.tsv, .json or .svg): ", "", export_answered);
    else if (strcmp(action, "label") == 0 && stitch_selected_row(v->data, &row))
        app_ask(v->app, "label: ", "", label_answered);
    else
        return INVALID_NOT_MINE;
    return INVALID_NONE;
}

static int act_on_lists(struct view *v, const char *action, long count)
{
    struct stitch_state *s = v->data;
    if (strcmp(action, "jump") == 0 || (strcmp(action, "open") == 0 && count >= 0))
        return jump(v, count);
    if (strcmp(action, "open") == 0 || strcmp(action, "nearest") == 0)
        return open_latent(v, "latent", strcmp(action, "nearest") == 0);
    if (strcmp(action, "family") == 0 || strcmp(action, "graph") == 0)
        return open_latent(v, action, 0);
    if (strcmp(action, "next-pane") == 0)
        return show_list(s, (enum stitch_list)(((int)s->shown + 1) % STITCH_LISTS));
    if (strcmp(action, "previous-pane") == 0)
        return show_list(s, (enum stitch_list)(((int)s->shown + STITCH_LISTS - 1) % STITCH_LISTS));
    if (strcmp(action, "order") == 0)
        return order(v);
    if (strcmp(action, "reverse") == 0)
        return reverse(s);
    list_set_count(&s->lists[s->shown], stitch_rows_count(s, s->shown));
    return list_act(&s->lists[s->shown], action, count);
}

static int stitch_act(struct view *v, const char *action, long count)
{
    static int (*const parts[])(struct view * v, const char *action, long count) = {act_on_path, act_on_plots,
                                                                                    act_on_lists};
    const struct stitch_state *s = v->data;
    int own = 0;
    for (const struct action *a = v->ops->actions; a->name; a++)
        own |= strcmp(a->name, action) == 0;
    if (!s->page)
        return own ? INVALID_NONE : INVALID_NOT_MINE;
    int invalid = ask(v, action);
    for (size_t i = 0; i < ARRAY_LENGTH(parts) && invalid == INVALID_NOT_MINE; i++)
        invalid = parts[i](v, action, count);
    return invalid;
}

/* ---- Places. ---- */

static void stitch_selected(struct view *v, struct strbuf *out)
{
    const struct stitch_state *s = v->data;
    uint32_t row;
    if (!s->page || !stitch_selected_row(s, &row)) {
        strbuf_adds(out, v->target);
        return;
    }
    char *where = address(s->page, (row & ROW_SMALL) != 0, row & ~ROW_SMALL);
    strbuf_adds(out, where);
    free(where);
}

/* LIST CLASS SORT REVERSE PLOT STEP GIVEN THRESHOLD and a cursor for each list. */
static void stitch_save(struct view *v, struct strbuf *out)
{
    const struct stitch_state *s = v->data;
    strbuf_addf(out, "%d %d %d %d %d %zu %d %.17g", (int)s->shown, (int)s->class_shown, (int)s->sort,
                s->reverse, (int)s->plot, s->step, s->threshold_given, s->threshold);
    for (int list = 0; list < STITCH_LISTS; list++)
        strbuf_addf(out, " %zu", s->wanted[list] != SIZE_MAX ? s->wanted[list] : s->lists[list].cursor);
}

static void stitch_restore(struct view *v, const char *place)
{
    struct stitch_state *s = v->data;
    int shown, class, sort, turned, plot, given;
    size_t step, cursors[STITCH_LISTS];
    double threshold;
    if (sscanf(place, "%d %d %d %d %d %zu %d %lf %zu %zu %zu %zu", &shown, &class, &sort, &turned, &plot,
               &step, &given, &threshold, &cursors[0], &cursors[1], &cursors[2], &cursors[3]) != 12 ||
        shown < 0 || shown >= STITCH_LISTS || class < 0 || class >= LIST_STEP || sort < 0 ||
        sort >= STITCH_KEYS || plot < 0 || plot > PLOT_SCATTER || isnan(threshold))
        return;
    s->shown = (enum stitch_list)shown;
    s->class_shown = (enum stitch_list) class;
    s->sort = (enum stitch_key)sort;
    s->reverse = turned != 0;
    s->plot = (enum stitch_plot)plot;
    s->step = step;
    s->threshold_given = given != 0;
    s->threshold = threshold;
    memcpy(s->wanted, cursors, sizeof cursors);
    if (s->page)
        stitch_page_came(s);
}

const struct view_ops stitch_view = {
    .name = "stitch",
    .summary = "a stitch: cosine against delta, the path, novel and reconstruction latents",
    .actions = actions,
    .private_size = sizeof(struct stitch_state),
    .open = stitch_open,
    .draw = stitch_draw,
    .act = stitch_act,
    .status = stitch_status,
    .hint = "Left Right step  + - threshold  Tab list  Enter opens  p EV-L0  s saves  e exports",
    .refresh = stitch_refresh,
    .selected = stitch_selected,
    .save_place = stitch_save,
    .restore_place = stitch_restore,
    .search = stitch_search,
    .close = stitch_close,
};
