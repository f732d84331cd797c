/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Help, made from the tables: the view's keys, everybody's, the user's, and the commands. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"
#include "saescope/tui/text_view.h"

#define KEYS_COLUMN 18

static void heading(struct text_lines *t, const char *text)
{
    if (t->n)
        text_add(t, STYLE_NORMAL, xstrdup(""));
    text_add(t, STYLE_STRONG, xstrdup(text));
}

/* "  left    right", the left part marked. */
static void item(struct text_lines *t, int column, const char *left, const char *right)
{
    int width = (int)display_width(left, strlen(left));
    char *line = xasprintf("  %s%*s  %s", left, width < column ? column - width : 0, "", right);
    text_add_head(t, line, 2 + strlen(left), STYLE_LINK);
}

static void add_actions(struct text_lines *t, const struct action *actions)
{
    for (const struct action *a = actions; a && a->name; a++) {
        struct strbuf keys = STRBUF_INIT, help = STRBUF_INIT;
        binding_keys(a, &keys);
        strbuf_addf(&help, "%-16s  %s", a->name, a->help);
        item(t, KEYS_COLUMN, strbuf_string(&keys), strbuf_string(&help));
        strbuf_free(&keys);
        strbuf_free(&help);
    }
}

static void add_bindings(struct text_lines *t, const struct keymap *k, const char *view)
{
    int headed = 0;
    for (size_t i = 0; i < keymap_count(k); i++) {
        const struct key_binding *b = keymap_at(k, i);
        if (b->view && strcmp(b->view, view) != 0)
            continue;
        if (!headed)
            heading(t, "Your own keys");
        headed = 1;
        char *key = displayable_string(b->key), *command = displayable_string(b->command);
        item(t, KEYS_COLUMN, key, command);
        free(key);
        free(command);
    }
}

static void add_commands(struct text_lines *t)
{
    for (int g = 0; g < COMMAND_GROUPS; g++) {
        char *title = xasprintf("Commands: %s (:help COMMAND tells more)", command_group_titles[g]);
        heading(t, title);
        free(title);
        for (size_t i = 0; commands[i]; i++)
            if ((int)commands[i]->group == g)
                item(t, KEYS_COLUMN, commands[i]->name, commands[i]->summary);
    }
}

static int help_open(struct view *v, const char *target, struct error *err)
{
    struct text_lines *t = v->data;
    const struct view_ops *ops = view_find(*target ? target : "store");
    if (!ops)
        return error_set(err, STATUS_USAGE, "there is no view named %s", target);
    char *title = xasprintf("Keys of this view, %s: %s", ops->name, ops->summary);
    heading(t, title);
    free(title);
    if (ops->actions && ops->actions->name)
        add_actions(t, ops->actions);
    else
        text_add(t, STYLE_DIM, xstrdup("  none but those that work everywhere"));
    add_bindings(t, v->app->ctx->keymap, ops->name);
    heading(t, "Keys that work everywhere");
    add_actions(t, generic_actions);
    heading(t, "At the prompt (:) also");
    item(t, KEYS_COLUMN, "SAE/NUMBER", "opens that latent");
    item(t, KEYS_COLUMN, "NUMBER", "goes to that row or latent");
    item(t, KEYS_COLUMN, "ACTION", "what stands in the second column above");
    struct strbuf names = STRBUF_INIT;
    for (size_t i = 0; views[i]; i++)
        strbuf_addf(&names, "%s%s", i ? ", " : "opens a view: ", views[i]->name);
    item(t, KEYS_COLUMN, "VIEW [TARGET]", strbuf_string(&names));
    strbuf_free(&names);
    add_commands(t);
    return STATUS_OK;
}

static void help_draw(struct view *v, const struct canvas *c)
{
    text_draw(v->data, c);
}

static int help_act(struct view *v, const char *action, long count)
{
    return text_act(v->data, action, count);
}

static int help_search(struct view *v, const char *pattern, int direction)
{
    return text_search(v->data, pattern, direction);
}

static void help_save(struct view *v, struct strbuf *out)
{
    text_save(v->data, out);
}

static void help_restore(struct view *v, const char *place)
{
    text_restore(v->data, place);
}

static void help_close(struct view *v)
{
    text_free(v->data);
}

const struct view_ops help_view = {
    .name = "help",
    .summary = "keys and commands",
    .private_size = sizeof(struct text_lines),
    .open = help_open,
    .draw = help_draw,
    .act = help_act,
    .hint = "/ search",
    .save_place = help_save,
    .restore_place = help_restore,
    .search = help_search,
    .close = help_close,
};
