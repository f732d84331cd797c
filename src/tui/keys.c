/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keys' names: what curses reports, and what a terminal sends. */
#include "config.h"

#include <curses.h>
#include <stdio.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/screen.h"

static const struct named_key {
    int code;
    const char *key, *bytes;
} named_keys[] = {
    {KEY_UP, "<Up>", "\033[A"},
    {KEY_DOWN, "<Down>", "\033[B"},
    {KEY_RIGHT, "<Right>", "\033[C"},
    {KEY_LEFT, "<Left>", "\033[D"},
    {KEY_HOME, "<Home>", "\033[H"},
    {KEY_END, "<End>", "\033[F"},
    {KEY_NPAGE, "<PageDown>", "\033[6~"},
    {KEY_PPAGE, "<PageUp>", "\033[5~"},
    {KEY_IC, "<Insert>", "\033[2~"},
    {KEY_DC, "<Delete>", "\033[3~"},
    {KEY_BTAB, "<S-Tab>", "\033[Z"},
    {KEY_BACKSPACE, "<Backspace>", "\177"},
    {KEY_ENTER, "<Enter>", "\r"},
    {KEY_SLEFT, "<S-Left>", "\033[1;2D"},
    {KEY_SRIGHT, "<S-Right>", "\033[1;2C"},
    {KEY_SR, "<S-Up>", "\033[1;2A"},
    {KEY_SF, "<S-Down>", "\033[1;2B"},
};

int key_from_code(int code, char key[KEY_TEXT_MAX])
{
    for (size_t i = 0; i < ARRAY_LENGTH(named_keys); i++)
        if (named_keys[i].code == code) {
            snprintf(key, KEY_TEXT_MAX, "%s", named_keys[i].key);
            return 1;
        }
    if (code >= KEY_F(1) && code <= KEY_F(12)) {
        snprintf(key, KEY_TEXT_MAX, "<F%d>", code - KEY_F0);
        return 1;
    }
    return 0;
}

int key_from_character(const char *utf8, size_t n, int meta, char key[KEY_TEXT_MAX])
{
    unsigned char c = (unsigned char)utf8[0];
    const char *name = NULL;
    char control[8] = "";
    if (n == 1 && (c == '\r' || c == '\n'))
        name = "Enter";
    else if (n == 1 && c == '\t')
        name = "Tab";
    else if (n == 1 && c == ' ')
        name = "Space";
    else if (n == 1 && c == 27)
        name = "Esc";
    else if (n == 1 && (c == 127 || c == 8))
        name = "Backspace";
    else if (n == 1 && c == 0)
        snprintf(control, sizeof control, "C-Space");
    else if (n == 1 && c < 32)
        snprintf(control, sizeof control, "C-%c", c < 27 ? c + 'a' - 1 : c + '@');
    if (name || *control) {
        snprintf(key, KEY_TEXT_MAX, "<%s%s>", meta ? "M-" : "", name ? name : control);
        return 1;
    }
    if (n > 4)
        return 0;
    if (meta)
        snprintf(key, KEY_TEXT_MAX, "<M-%.*s>", (int)n, utf8);
    else
        snprintf(key, KEY_TEXT_MAX, "%.*s", (int)n, utf8);
    return 1;
}

size_t key_bytes(const char *key, char bytes[16])
{
    static const struct {
        const char *key, *bytes;
    } simple[] = {{"<Enter>", "\r"}, {"<Tab>", "\t"}, {"<Space>", " "}, {"<Esc>", "\033"}};
    const char *found = NULL;
    size_t n = strlen(key);
    for (size_t i = 0; i < ARRAY_LENGTH(simple); i++)
        if (strcmp(simple[i].key, key) == 0)
            found = simple[i].bytes;
    for (size_t i = 0; i < ARRAY_LENGTH(named_keys); i++)
        if (strcmp(named_keys[i].key, key) == 0)
            found = named_keys[i].bytes;
    if (!found && n == 5 && strncmp(key, "<C-", 3) == 0) {
        bytes[0] = (char)(key[3] & 0x1f);
        return 1;
    }
    if (!found && n > 1 && key[0] == '<' && key[n - 1] == '>')
        return 0;
    if (!found)
        found = key;
    n = strlen(found) < 16 ? strlen(found) : 0;
    memcpy(bytes, found, n);
    return n;
}
