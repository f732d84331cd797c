/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The prompt on the bottom line: commands, searches, and what views ask for. */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/complete.h"
#include "saescope/command/lineedit.h"
#include "saescope/tui/app.h"

enum prompt_kind { PROMPT_COMMAND, PROMPT_SEARCH, PROMPT_VIEW };

struct prompt {
    enum prompt_kind kind;
    struct view *view; /* that asked, or is searched */
    void (*done)(struct view *v, const char *answer);
    size_t scroll; /* columns of the text that are left of the screen */
};

/* Names of views and actions for completion, rebuilt for the view in front. */
static void offer_names(struct app *a)
{
    static const char *view_names[64], *action_names[256];
    const struct view *v = history_view(a);
    const struct action *tables[] = {v ? v->ops->actions : NULL, generic_actions};
    size_t n = 0;
    for (; views[n] && n + 1 < ARRAY_LENGTH(view_names); n++)
        view_names[n] = views[n]->name;
    view_names[n] = NULL;
    n = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++)
        for (const struct action *action = tables[i];
             action && action->name && n + 1 < ARRAY_LENGTH(action_names); action++)
            action_names[n++] = action->name;
    action_names[n] = NULL;
    completion_views = view_names;
    completion_actions = action_names;
}

static void open_prompt(struct app *a, enum prompt_kind kind, const char *prompt, const char *initial,
                        void (*done)(struct view *v, const char *answer))
{
    prompt_close(a);
    a->prompt = xcalloc(1, sizeof *a->prompt);
    *a->prompt = (struct prompt){kind, history_view(a), done, 0};
    if (kind == PROMPT_COMMAND)
        offer_names(a);
    lineedit_open(prompt, initial,
                  kind == PROMPT_COMMAND  ? LINEEDIT_COMMANDS
                  : kind == PROMPT_SEARCH ? LINEEDIT_SEARCHES
                                          : LINEEDIT_ANSWERS,
                  kind == PROMPT_COMMAND ? completion_candidates : NULL, a->ctx);
    a->mode = INPUT_PROMPT;
    a->invalid |= INVALID_DRAW;
    screen_raw_input(1);
}

void prompt_open_command(struct app *a, const char *initial)
{
    open_prompt(a, PROMPT_COMMAND, ":", initial, NULL);
}

void prompt_open_search(struct app *a)
{
    open_prompt(a, PROMPT_SEARCH, "/", "", NULL);
}

void app_prompt_command(struct app *a, const char *initial)
{
    prompt_open_command(a, initial);
}

void app_ask(struct app *a, const char *prompt, const char *initial,
             void (*done)(struct view *v, const char *answer))
{
    open_prompt(a, PROMPT_VIEW, prompt, initial, done);
}

void prompt_close(struct app *a)
{
    if (!a->prompt)
        return;
    lineedit_close();
    free(a->prompt);
    a->prompt = NULL;
    a->mode = INPUT_KEYS;
    a->invalid |= INVALID_DRAW;
    screen_raw_input(0);
}

void prompt_view_closed(struct app *a, const struct view *v)
{
    if (a->prompt && a->prompt->view == v)
        prompt_close(a);
}

/* ---- What a typed line means. ---- */

static int all_digits(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n > 0 && s[n] == '\0';
}

/* "jobs", "latent SAE/N": a view by its name. What is a command as well is left to it when more is said. 1: opened. */
static int open_as_view(struct app *a, const char *line)
{
    size_t n = strcspn(line, " ");
    const char *word = line + n + strspn(line + n, " ");
    char name[32];
    if (n >= sizeof name || strpbrk(word, " |;$'\"\\#") || *word == '-')
        return 0;
    memcpy(name, line, n);
    name[n] = '\0';
    const struct command *c = command_find(name);
    if (!view_find(name) || strcmp(name, "output") == 0 || (c && (*word || c->view)))
        return 0;
    app_open(a, name, word);
    return 1;
}

/* Does what a key is bound to, as in ":q"; 0 when the line is no key. */
static int act_as_key(struct app *a, const char *line)
{
    char keys[1][KEY_TEXT_MAX];
    const char *target;
    if (command_find(line) || key_canonical(line, keys[0], NULL) != STATUS_OK ||
        binding_find(a, history_view(a)->ops, keys, 1, &target) != BINDING_FOUND)
        return 0;
    char *action = xstrdup(target); /* it may bind that key to something else */
    app_act(a, action, -1);
    free(action);
    return 1;
}

static void run_typed(struct app *a, const char *text)
{
    char *line = xstrdup(text + strspn(text, " \t"));
    size_t n = strlen(line);
    const struct view *v = history_view(a);
    while (n > 0 && isspace((unsigned char)line[n - 1]))
        line[--n] = '\0';
    if (*line == '\0')
        ;
    else if (all_digits(line) && n < 10)
        app_act(a, "jump", strtol(line, NULL, 10));
    else if (strcmp(line, "help") == 0)
        app_act(a, line, -1);
    else if (open_as_view(a, line))
        ;
    else if (act_as_key(a, line))
        ;
    else if (!command_find(line) && action_find(v ? v->ops : NULL, line))
        app_act(a, line, -1);
    else
        lines_run_text(a, line);
    free(line);
}

static void search_for(struct app *a, const char *pattern)
{
    if (*pattern) {
        free(a->pattern);
        a->pattern = xstrdup(pattern);
    }
    app_act(a, "next-match", -1);
}

static void finished(struct app *a, enum lineedit_state state)
{
    struct prompt p = *a->prompt;
    char *line = state == LINEEDIT_DONE ? lineedit_take() : NULL;
    prompt_close(a);
    if (!line)
        return;
    if (p.kind == PROMPT_COMMAND)
        run_typed(a, line);
    else if (p.kind == PROMPT_SEARCH)
        search_for(a, line);
    else if (p.view)
        p.done(p.view, line);
    free(line);
}

void prompt_feed(struct app *a, const char *bytes, size_t n)
{
    enum lineedit_state state = lineedit_feed(bytes, n);
    a->invalid |= INVALID_DRAW;
    if (state != LINEEDIT_EDITING)
        finished(a, state);
}

void prompt_timeout(struct app *a)
{
    if (lineedit_escape_pending() && lineedit_timeout() != LINEEDIT_EDITING)
        finished(a, LINEEDIT_CANCELLED);
    a->invalid |= INVALID_DRAW;
}

/* ---- Drawing. ---- */

/* What Tab found, in columns above the bottom line. */
static void draw_candidates(const struct canvas *body)
{
    size_t n, widest = 0;
    char *const *words = lineedit_candidates(&n);
    if (!words || n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t w = display_width(words[i], strlen(words[i]));
        widest = w > widest ? w : widest;
    }
    int width = (int)widest + 2 < body->width ? (int)widest + 2 : body->width;
    int columns = width > 0 ? body->width / width : 1,
        rows = (int)((n + (size_t)columns - 1) / (size_t)columns);
    int most = body->height > 12 ? body->height / 2 : body->height - 2;
    int shown = rows < most ? rows : most;
    struct canvas c = canvas_part(body, body->height - shown - 1, 0, shown + 1, body->width);
    canvas_clear(&c);
    canvas_fill(&c, 0, 0, c.width, STYLE_STATUS);
    canvas_printf(&c, 0, 1, STYLE_STATUS, "%zu possible%s", n, shown < rows ? ", some are not shown" : "");
    for (size_t i = 0; i < n && (int)i / columns < shown; i++)
        canvas_ellipsis(&c, 1 + (int)i / columns, (int)i % columns * width, width - 1, STYLE_NORMAL,
                        words[i]);
}

void prompt_draw(struct app *a, const struct canvas *bottom, const struct canvas *body)
{
    draw_candidates(body);
    struct strbuf b = STRBUF_INIT;
    strbuf_adds(&b, lineedit_prompt());
    strbuf_adds(&b, lineedit_text());
    size_t cursor = lineedit_cursor(), width = (size_t)bottom->width;
    if (cursor < a->prompt->scroll)
        a->prompt->scroll = cursor;
    if (cursor >= a->prompt->scroll + width)
        a->prompt->scroll = cursor - width + 1;
    canvas_fill(bottom, 0, 0, bottom->width, STYLE_NORMAL);
    canvas_text(bottom, 0, -(int)a->prompt->scroll, STYLE_NORMAL, strbuf_string(&b));
    canvas_cursor(bottom, 0, (int)(cursor - a->prompt->scroll));
    strbuf_free(&b);
}
