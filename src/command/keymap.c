/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of keys, and the bindings that the user made. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/keymap.h"

static const char *const named_keys[] = {
    "Enter", "Esc",  "Tab", "Space", "Backspace", "Delete", "Insert", "Home", "End", "PageUp", "PageDown",
    "Up",    "Down", "Left", "Right", "F1",       "F2",     "F3",     "F4",   "F5",  "F6",     "F7",
    "F8",    "F9",   "F10", "F11",   "F12",       NULL,
};

struct keymap {
    struct key_binding *bindings;
    size_t n;
    unsigned changes;
};

static const char *named_key(const char *text, size_t n)
{
    for (size_t i = 0; named_keys[i]; i++)
        if (strlen(named_keys[i]) == n && strncasecmp(named_keys[i], text, n) == 0)
            return named_keys[i];
    return NULL;
}

/* Whether the n bytes are one character that shows. */
static int one_character(const char *text, size_t n)
{
    struct strbuf shown = STRBUF_INIT;
    if (n == 0 || n > 4 || !utf8_valid(text, n))
        return 0;
    size_t characters = 0;
    for (size_t i = 0; i < n; i++)
        characters += ((unsigned char)text[i] & 0xc0) != 0x80;
    displayable(&shown, text, n);
    /* Where the locale is not UTF-8, what is displayable says nothing about characters beyond ASCII. */
    int same = (unsigned char)text[0] >= 0x80 || (shown.length == n && memcmp(shown.data, text, n) == 0);
    strbuf_free(&shown);
    return characters == 1 && same;
}

static int no_key(const char *text, struct error *err)
{
    char *shown = displayable_string(text);
    error_set(err, STATUS_USAGE, "'%s' is no key: write one character, or a name as in <Enter>, <PageDown>, <F5>, <C-d>",
              shown);
    free(shown);
    return STATUS_USAGE;
}

int key_canonical(const char *text, char canonical[KEY_TEXT_MAX], struct error *err)
{
    const char *start = text;
    size_t n = strlen(text);
    int control = 0, meta = 0, shift = 0;
    if (n > 2 && text[0] == '<' && text[n - 1] == '>') {
        start++;
        n -= 2;
    }
    while (n > 2 && start[1] == '-' && strchr("CcMmSs", start[0])) {
        control |= start[0] == 'C' || start[0] == 'c';
        meta |= start[0] == 'M' || start[0] == 'm';
        shift |= start[0] == 'S' || start[0] == 's';
        start += 2;
        n -= 2;
    }
    const char *name = n == 1 && *start == ' ' ? "Space" : named_key(start, n);
    char letter[8] = "";
    if (!name) {
        if (!one_character(start, n))
            return no_key(text, err);
        memcpy(letter, start, n);
        letter[n] = '\0';
        if (control && letter[0] >= 'A' && letter[0] <= 'Z')
            letter[0] = (char)(letter[0] - 'A' + 'a');
        if (shift)
            return no_key(text, err); /* it is the capital itself */
        name = letter;
    }
    if (name == letter && !control && !meta)
        snprintf(canonical, KEY_TEXT_MAX, "%s", letter);
    else
        snprintf(canonical, KEY_TEXT_MAX, "<%s%s%s%s>", control ? "C-" : "", meta ? "M-" : "", shift ? "S-" : "", name);
    return STATUS_OK;
}

struct keymap *keymap_new(void)
{
    return xcalloc(1, sizeof(struct keymap));
}

static void binding_free(struct key_binding *b)
{
    free(b->view);
    free(b->key);
    free(b->command);
}

void keymap_free(struct keymap *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++)
        binding_free(&k->bindings[i]);
    free(k->bindings);
    free(k);
}

static int same_view(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

int keymap_bind(struct keymap *k, const char *view, const char *key, const char *command, struct error *err)
{
    char canonical[KEY_TEXT_MAX];
    int status = key_canonical(key, canonical, err);
    if (status != STATUS_OK)
        return status;
    size_t i = 0;
    while (i < k->n && !(same_view(k->bindings[i].view, view) && strcmp(k->bindings[i].key, canonical) == 0))
        i++;
    k->changes++;
    if (i < k->n) {
        binding_free(&k->bindings[i]);
        memmove(&k->bindings[i], &k->bindings[i + 1], (k->n - i - 1) * sizeof *k->bindings);
        k->n--;
    }
    if (command) {
        k->bindings = xreallocarray(k->bindings, k->n + 1, sizeof *k->bindings);
        k->bindings[k->n++] =
            (struct key_binding){view ? xstrdup(view) : NULL, xstrdup(canonical), xstrdup(command)};
    }
    return STATUS_OK;
}

const char *keymap_find(const struct keymap *k, const char *view, const char *canonical)
{
    const char *general = NULL;
    for (size_t i = 0; k && i < k->n; i++) {
        const struct key_binding *b = &k->bindings[i];
        if (strcmp(b->key, canonical) != 0)
            continue;
        if (!b->view)
            general = b->command;
        else if (view && strcmp(b->view, view) == 0)
            return b->command;
    }
    return general;
}

size_t keymap_count(const struct keymap *k)
{
    return k ? k->n : 0;
}

const struct key_binding *keymap_at(const struct keymap *k, size_t i)
{
    return &k->bindings[i];
}

unsigned keymap_changes(const struct keymap *k)
{
    return k ? k->changes : 0;
}
