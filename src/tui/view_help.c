/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Help, made from the tables: the view's keys, everybody's, the user's, and the commands. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"
#include "saescope/tui/text_view.h"

#define KEYS_COLUMN   18
#define KEYS_NARROW   13 /* on a narrow screen */
#define ACTION_COLUMN 16
#define NARROW        100
#define ROOM_LEAST    20 /* columns for what stands behind the others */

struct help {
    struct text_lines text;
    int width; /* of the screen that the lines are broken for */
};

/* How much of a text goes on a line: whole words, when one fits. */
static size_t line_of(const char *text, size_t room)
{
    size_t n = display_prefix(text, strlen(text), room), word = n;
    if (text[n] == '\0')
        return n;
    while (word > 0 && text[word] != ' ')
        word--;
    return word > 0 ? word : n;
}

static void heading(struct help *h, const char *text)
{
    if (h->text.n)
        text_add(&h->text, STYLE_NORMAL, xstrdup(""));
    for (size_t n; *text; text += n + strspn(text + n, " ")) {
        n = line_of(text, (size_t)(h->width > ROOM_LEAST ? h->width - 2 : ROOM_LEAST));
        text_add(&h->text, STYLE_STRONG, xstrndup(text, n));
    }
}

/* A text behind what its line begins with (`head` bytes of it are marked), going on below when it is long. */
static void item(struct help *h, const char *begins, size_t head, const char *text)
{
    int hang = (int)display_width(begins, strlen(begins)), room = h->width - 2 - hang;
    struct strbuf line = STRBUF_INIT;
    strbuf_adds(&line, begins);
    do {
        size_t n = line_of(text, (size_t)(room > ROOM_LEAST ? room : ROOM_LEAST));
        strbuf_add(&line, text, n);
        text += n + strspn(text + n, " ");
        text_add_head(&h->text, strbuf_detach(&line), head, STYLE_LINK);
        strbuf_addf(&line, "%*s", hang, "");
        head = 0;
    } while (*text);
    strbuf_free(&line);
}

/* "  left    text" */
static void pair(struct help *h, const char *left, const char *text)
{
    struct strbuf begins = STRBUF_INIT;
    int width = (int)display_width(left, strlen(left));
    strbuf_addf(&begins, "  %s%*s  ", left, width < KEYS_COLUMN ? KEYS_COLUMN - width : 0, "");
    item(h, strbuf_string(&begins), 2 + strlen(left), text);
    strbuf_free(&begins);
}

static void add_actions(struct help *h, const struct action *actions)
{
    int column = h->width < NARROW ? KEYS_NARROW : KEYS_COLUMN;
    for (const struct action *a = actions; a && a->name; a++) {
        struct strbuf keys = STRBUF_INIT, begins = STRBUF_INIT;
        binding_keys(a, &keys);
        int width = (int)display_width(strbuf_string(&keys), keys.length);
        strbuf_addf(&begins, "  %s%*s  %-*s  ", strbuf_string(&keys), width < column ? column - width : 0, "",
                    ACTION_COLUMN, a->name);
        item(h, strbuf_string(&begins), 2 + keys.length, a->help);
        strbuf_free(&keys);
        strbuf_free(&begins);
    }
}

static void add_bindings(struct help *h, const struct keymap *k, const char *view)
{
    int headed = 0;
    for (size_t i = 0; i < keymap_count(k); i++) {
        const struct key_binding *b = keymap_at(k, i);
        if (b->view && strcmp(b->view, view) != 0)
            continue;
        if (!headed)
            heading(h, "Your own keys");
        headed = 1;
        char *key = displayable_string(b->key), *command = displayable_string(b->command);
        pair(h, key, command);
        free(key);
        free(command);
    }
}

static void add_commands(struct help *h)
{
    for (int g = 0; g < COMMAND_GROUPS; g++) {
        char *title = xasprintf("Commands: %s (:help COMMAND tells more)", command_group_titles[g]);
        heading(h, title);
        free(title);
        for (size_t i = 0; commands[i]; i++)
            if ((int)commands[i]->group == g)
                pair(h, commands[i]->name, commands[i]->summary);
    }
}

static void add_lines(struct help *h, const struct view_ops *ops, const struct keymap *k)
{
    struct strbuf title = STRBUF_INIT, names = STRBUF_INIT;
    strbuf_addf(&title, "Keys of this view, %s: %s", ops->name, ops->summary);
    heading(h, strbuf_string(&title));
    strbuf_free(&title);
    if (ops->actions && ops->actions->name)
        add_actions(h, ops->actions);
    else
        text_add(&h->text, STYLE_DIM, xstrdup("  none but those that work everywhere"));
    add_bindings(h, k, ops->name);
    heading(h, "Keys that work everywhere");
    add_actions(h, generic_actions);
    heading(h, "At the prompt (:) also");
    pair(h, "SAE/NUMBER", "opens that latent");
    pair(h, "NUMBER", "goes to that row or latent");
    pair(h, "ACTION", "what stands in the second column above");
    for (size_t i = 0; views[i]; i++)
        strbuf_addf(&names, "%s%s", i ? ", " : "opens a view: ", views[i]->name);
    pair(h, "VIEW [TARGET]", strbuf_string(&names));
    strbuf_free(&names);
    add_commands(h);
}

static const struct view_ops *explained(const struct view *v)
{
    return view_find(*v->target ? v->target : "store");
}

static int help_open(struct view *v, const char *target, struct error *err)
{
    struct help *h = v->data;
    const struct view_ops *ops = explained(v);
    if (!ops)
        return error_set(err, STATUS_USAGE, "there is no view named %s", target);
    h->width = app_width(v->app);
    add_lines(h, ops, v->app->ctx->keymap);
    return STATUS_OK;
}

static void help_draw(struct view *v, const struct canvas *c)
{
    struct help *h = v->data;
    if (h->width != app_width(v->app)) {
        /* The cursor stays about where it was in the text. */
        size_t cursor = h->text.list.cursor, n = h->text.n;
        h->width = app_width(v->app);
        text_reset(&h->text);
        add_lines(h, explained(v), v->app->ctx->keymap);
        h->text.list.cursor = n > 0 ? cursor * h->text.n / n : 0;
    }
    text_draw(&h->text, c);
}

static int help_act(struct view *v, const char *action, long count)
{
    struct help *h = v->data;
    return text_act(&h->text, action, count);
}

static int help_search(struct view *v, const char *pattern, int direction)
{
    return text_search(&((struct help *)v->data)->text, pattern, direction);
}

static void help_save(struct view *v, struct strbuf *out)
{
    text_save(&((struct help *)v->data)->text, out);
}

static void help_restore(struct view *v, const char *place)
{
    text_restore(&((struct help *)v->data)->text, place);
}

static void help_close(struct view *v)
{
    text_free(&((struct help *)v->data)->text);
}

const struct view_ops help_view = {
    .name = "help",
    .summary = "keys and commands",
    .private_size = sizeof(struct help),
    .open = help_open,
    .draw = help_draw,
    .act = help_act,
    .hint = "/ search",
    .save_place = help_save,
    .restore_place = help_restore,
    .search = help_search,
    .close = help_close,
};
