/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The palette: commands, actions and views by a few of their letters. */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

enum item_kind { ITEM_ACTION, ITEM_COMMAND };

struct item {
    enum item_kind kind;
    const char *name, *help;
    const struct action *action;
    int score; /* larger: better; -1: does not match */
    size_t order;
};

struct palette {
    struct item *items;
    size_t n;
    struct strbuf typed;
    struct list list;
};

static void add_item(struct palette *p, enum item_kind kind, const char *name, const char *help,
                     const struct action *action)
{
    p->items = xreallocarray(p->items, p->n + 1, sizeof *p->items);
    p->items[p->n] = (struct item){kind, name, help, action, 0, p->n};
    p->n++;
}

/* Letters of `typed` in this order: in one piece and at words' starts is better. -1: not there. */
static int score(const char *text, const char *typed)
{
    const char *whole = strcasestr(text, typed);
    int total = 0, run = 0;
    if (!*typed)
        return 0;
    if (whole)
        return 1000 - (int)(whole - text) * 4 + (whole == text ? 500 : 0) - (int)strlen(text);
    const char *t = text;
    for (const char *p = typed; *p; p++) {
        const char *from = t;
        while (*t && tolower((unsigned char)*t) != tolower((unsigned char)*p))
            t++;
        if (!*t)
            return -1;
        run = t == from ? run + 1 : 0;
        total += 2 * run + (t == text || !isalnum((unsigned char)t[-1]) ? 10 : 0);
        t++;
    }
    return total;
}

static int better(const void *x, const void *y)
{
    const struct item *a = x, *b = y;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static void choose(struct palette *p)
{
    const char *typed = strbuf_string(&p->typed);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct item *item = &p->items[i];
        int name = score(item->name, typed), help = score(item->help, typed);
        /* Of the help only whole words, which rank below names. */
        item->score = name >= 0 ? name + 1000 : strcasestr(item->help, typed) ? help / 4 : -1;
        n += item->score >= 0;
    }
    qsort(p->items, p->n, sizeof *p->items, better);
    list_set_count(&p->list, n);
    p->list.cursor = p->list.top = 0;
}

void palette_open(struct app *a)
{
    struct palette *p = a->palette = xcalloc(1, sizeof *p);
    const struct view *v = history_view(a);
    for (const struct action *action = v->ops->actions; action && action->name; action++)
        add_item(p, ITEM_ACTION, action->name, action->help, action);
    for (size_t i = 0; commands[i]; i++)
        add_item(p, ITEM_COMMAND, commands[i]->name, commands[i]->summary, NULL);
    for (const struct action *action = generic_actions; action->name; action++)
        if (strcmp(action->name, "palette") != 0 && strcmp(action->name, "jump") != 0)
            add_item(p, ITEM_ACTION, action->name, action->help, action);
    choose(p);
    a->mode = INPUT_PALETTE;
    a->invalid |= INVALID_DRAW;
}

void palette_close(struct app *a)
{
    struct palette *p = a->palette;
    if (!p)
        return;
    a->palette = NULL;
    a->mode = INPUT_KEYS;
    a->invalid |= INVALID_DRAW;
    free(p->items);
    strbuf_free(&p->typed);
    free(p);
}

static int takes_words(const struct command *c)
{
    return c->arguments && c->arguments[0].name && !c->arguments[0].optional;
}

static void take(struct app *a)
{
    struct palette *p = a->palette;
    if (p->list.n == 0)
        return;
    struct item item = p->items[p->list.cursor];
    palette_close(a);
    if (item.kind == ITEM_ACTION) {
        app_act(a, item.name, -1);
    } else if (takes_words(command_find(item.name))) {
        char *text = xasprintf("%s ", item.name);
        prompt_open_command(a, text);
        free(text);
    } else {
        lines_run_text(a, item.name);
    }
}

static void erase_character(struct strbuf *b)
{
    while (b->length > 0 && ((unsigned char)b->data[b->length - 1] & 0xC0) == 0x80)
        b->length--;
    if (b->length > 0)
        b->length--;
    if (b->data)
        b->data[b->length] = '\0';
}

int palette_key(struct app *a, const char *key)
{
    static const char *const motions[][2] = {
        {"<Down>", "down"}, {"<Up>", "up"},    {"<C-n>", "down"},           {"<C-p>", "up"},
        {"<Tab>", "down"},  {"<S-Tab>", "up"}, {"<PageDown>", "page-down"}, {"<PageUp>", "page-up"}};
    struct palette *p = a->palette;
    for (size_t i = 0; i < ARRAY_LENGTH(motions); i++)
        if (strcmp(key, motions[i][0]) == 0)
            return list_act(&p->list, motions[i][1], -1);
    if (strcmp(key, "<Esc>") == 0 || strcmp(key, "<C-c>") == 0 || strcmp(key, "<C-g>") == 0) {
        palette_close(a);
    } else if (strcmp(key, "<Enter>") == 0) {
        take(a);
    } else if (strcmp(key, "<Backspace>") == 0) {
        if (p->typed.length == 0) {
            palette_close(a);
            return INVALID_DRAW;
        }
        erase_character(&p->typed);
        choose(p);
    } else if (strcmp(key, "<C-u>") == 0) {
        strbuf_reset(&p->typed);
        choose(p);
    } else if (strcmp(key, "<Space>") == 0 || key[0] != '<' || key[1] == '\0') {
        strbuf_adds(&p->typed, key[0] == '<' && key[1] ? " " : key);
        choose(p);
    }
    return INVALID_DRAW;
}

static void draw_item(const struct canvas *c, int y, const struct item *item, int selected)
{
    enum style style = selected ? STYLE_SELECTED : STYLE_NORMAL;
    struct strbuf keys = STRBUF_INIT;
    if (item->action)
        binding_keys(item->action, &keys);
    canvas_fill(c, y, 0, c->width, style);
    canvas_text(c, y, 1, selected ? style : STYLE_STRONG, item->kind == ITEM_COMMAND ? ":" : "");
    canvas_ellipsis(c, y, 2, 18, selected ? style : STYLE_STRONG, item->name);
    canvas_ellipsis(c, y, 21, c->width - 22 - (keys.length ? 14 : 0), style, item->help);
    canvas_right(c, y, c->width - 1, selected ? style : STYLE_DIM, strbuf_string(&keys));
    strbuf_free(&keys);
}

void palette_draw(struct app *a, const struct canvas *body)
{
    struct palette *p = a->palette;
    int width = body->width < 92 ? body->width - 4 : 88, rows = body->height - 4 < 18 ? body->height - 4 : 18;
    struct canvas box = canvas_part(body, 1, (body->width - width) / 2, rows + 3, width);
    canvas_clear(&box);
    struct canvas in = canvas_box(&box, STYLE_BORDER_FOCUS, "actions and commands");
    int x = canvas_text(&in, 0, 1, STYLE_STRONG, glyph(GLYPH_CHEVRON));
    char *typed = displayable_string(strbuf_string(&p->typed));
    x = canvas_text(&in, 0, x + 1, STYLE_NORMAL, typed);
    free(typed);
    struct canvas list = canvas_part(&in, 1, 0, in.height - 1, in.width);
    list_layout(&p->list, list.height);
    for (int y = 0; y < list.height && p->list.top + (size_t)y < p->list.n; y++)
        draw_item(&list, y, &p->items[p->list.top + (size_t)y], p->list.top + (size_t)y == p->list.cursor);
    if (p->list.n == 0)
        canvas_text(&list, 0, 2, STYLE_DIM, "nothing has these letters");
    list_scroll_mark(&p->list, &list);
    canvas_cursor(&in, 0, x);
}
