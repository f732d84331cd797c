/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Key bindings that `bind` recorded; the TUI reads them. A key is written as one character ("j", "?"), or a name in angle
 * brackets with C-, M- and S- before it ("<Enter>", "<C-d>", "<S-Tab>"); brackets may be left out where that is clear ("Down", "C-d").
 * What a key is bound to is an action's name or a command line.
 */
#ifndef SAESCOPE_COMMAND_KEYMAP_H
#define SAESCOPE_COMMAND_KEYMAP_H

#include <stddef.h>
#include "saescope/base/error.h"

#define KEY_TEXT_MAX 32

/* The one way to write the key: "C-D", "<c-d>" and "<C-d>" are all "<C-d>"; " " and "Space" are "<Space>". STATUS_USAGE
 * when it is no key. */
int key_canonical(const char *text, char canonical[KEY_TEXT_MAX], struct error *err);

struct key_binding {
    char *view; /* NULL: everywhere */
    char *key;  /* canonical */
    char *command;
};

struct keymap;
struct keymap *keymap_new(void);
void keymap_free(struct keymap *k);
/* Binds, over an earlier binding; command NULL: takes the binding away. */
int keymap_bind(struct keymap *k, const char *view, const char *key, const char *command, struct error *err);
/* What a canonical key is bound to in a view: the view's own binding, else the general one; NULL: none. */
const char *keymap_find(const struct keymap *k, const char *view, const char *canonical);
size_t keymap_count(const struct keymap *k);
const struct key_binding *keymap_at(const struct keymap *k, size_t i);
unsigned keymap_changes(const struct keymap *k); /* counts up */

#endif
