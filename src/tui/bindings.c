/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What keys mean: the user's bindings first, then the view's, then everybody's. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/tui/app.h"

/* One word of an action's keys ("Down", "<C-d>", "zz") as canonical keys. */
static size_t split_keys(const char *word, size_t n, char keys[][KEY_TEXT_MAX])
{
    char text[KEY_TEXT_MAX];
    struct error err;
    size_t count = 0;
    if (n >= sizeof text)
        return 0;
    snprintf(text, sizeof text, "%.*s", (int)n, word);
    if (key_canonical(text, keys[0], &err) == STATUS_OK)
        return 1;
    for (size_t i = 0; i < n && count < PENDING_KEYS; i++) {
        char one[2] = {text[i], '\0'};
        if (key_canonical(one, keys[count++], &err) != STATUS_OK)
            return 0;
    }
    return count;
}

static enum binding match_word(const char *word, size_t length, char keys[][KEY_TEXT_MAX], size_t n)
{
    char own[PENDING_KEYS][KEY_TEXT_MAX];
    size_t count = split_keys(word, length, own);
    if (count < n)
        return BINDING_NONE;
    for (size_t i = 0; i < n; i++)
        if (strcmp(own[i], keys[i]) != 0)
            return BINDING_NONE;
    return count == n ? BINDING_FOUND : BINDING_PREFIX;
}

static enum binding match_action(const struct action *action, char keys[][KEY_TEXT_MAX], size_t n)
{
    enum binding best = BINDING_NONE;
    for (const char *p = action->keys + strspn(action->keys, " "); *p;) {
        size_t length = strcspn(p, " ");
        enum binding b = match_word(p, length, keys, n);
        best = b > best ? b : best;
        p += length;
        p += strspn(p, " ");
    }
    return best;
}

enum binding binding_find(const struct app *a, const struct view_ops *ops, char keys[][KEY_TEXT_MAX],
                          size_t n, const char **target)
{
    const struct action *tables[] = {ops->actions, generic_actions};
    int prefix = 0;
    *target = n == 1 && a->ctx->keymap ? keymap_find(a->ctx->keymap, ops->name, keys[0]) : NULL;
    if (*target)
        return BINDING_FOUND;
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++)
        for (const struct action *action = tables[i]; action && action->name; action++) {
            enum binding b = match_action(action, keys, n);
            prefix |= b == BINDING_PREFIX;
            if (b == BINDING_FOUND) {
                *target = action->name;
                return b;
            }
        }
    return prefix ? BINDING_PREFIX : BINDING_NONE;
}

void binding_keys(const struct action *action, struct strbuf *out)
{
    for (const char *p = action->keys + strspn(action->keys, " "); *p;) {
        size_t length = strcspn(p, " ");
        int named = length > 4 && p[0] == '<';
        strbuf_adds(out, p == action->keys ? "" : " ");
        strbuf_add(out, named ? p + 1 : p, named ? length - 2 : length);
        p += length;
        p += strspn(p, " ");
    }
}

const struct action *action_find(const struct view_ops *ops, const char *name)
{
    const struct action *tables[] = {ops ? ops->actions : NULL, generic_actions};
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++)
        for (const struct action *action = tables[i]; action && action->name; action++)
            if (strcmp(action->name, name) == 0)
                return action;
    return NULL;
}
