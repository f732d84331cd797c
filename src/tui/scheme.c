/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How styles look: with many colours, with eight, and in monochrome with attributes alone. */
#include "config.h"

#include <curses.h>

#include "saescope/tui/screen.h"

struct look {
    short foreground, background; /* -1: the terminal's own */
    attr_t attributes;
};

/* 256 colours. Shaded cells set both colours, so that they can be read on light and dark terminals alike. */
static const struct look many[STYLES] = {
    [STYLE_NORMAL] = {-1, -1, 0},
    [STYLE_DIM] = {244, -1, 0},
    [STYLE_STRONG] = {-1, -1, A_BOLD},
    [STYLE_STATUS] = {254, 238, 0},
    [STYLE_HINT] = {244, -1, 0},
    [STYLE_SELECTED] = {231, 25, 0},
    [STYLE_SELECTED_UNFOCUSED] = {254, 240, 0},
    [STYLE_LINK] = {32, -1, A_UNDERLINE},
    [STYLE_BORDER] = {242, -1, 0},
    [STYLE_BORDER_FOCUS] = {32, -1, A_BOLD},
    [STYLE_BAR] = {37, -1, 0},
    [STYLE_GOOD] = {34, -1, 0},
    [STYLE_WARNING] = {172, -1, 0},
    [STYLE_ERROR] = {160, -1, A_BOLD},
    [STYLE_MATCH] = {16, 220, 0},
    [STYLE_POSITIVE] = {34, -1, 0},
    [STYLE_NEGATIVE] = {161, -1, 0},
    [STYLE_HEAT_1] = {231, 22, 0},
    [STYLE_HEAT_2] = {231, 28, 0},
    [STYLE_HEAT_3] = {16, 34, 0},
    [STYLE_HEAT_4] = {16, 148, 0},
    [STYLE_HEAT_5] = {16, 226, A_BOLD},
};

static const struct look eight[STYLES] = {
    [STYLE_NORMAL] = {-1, -1, 0},
    [STYLE_DIM] = {-1, -1, A_DIM},
    [STYLE_STRONG] = {-1, -1, A_BOLD},
    [STYLE_STATUS] = {-1, -1, A_REVERSE},
    [STYLE_HINT] = {-1, -1, A_DIM},
    [STYLE_SELECTED] = {COLOR_WHITE, COLOR_BLUE, A_BOLD},
    [STYLE_SELECTED_UNFOCUSED] = {-1, -1, A_REVERSE | A_DIM},
    [STYLE_LINK] = {COLOR_BLUE, -1, A_UNDERLINE},
    [STYLE_BORDER] = {-1, -1, A_DIM},
    [STYLE_BORDER_FOCUS] = {COLOR_CYAN, -1, A_BOLD},
    [STYLE_BAR] = {COLOR_CYAN, -1, 0},
    [STYLE_GOOD] = {COLOR_GREEN, -1, 0},
    [STYLE_WARNING] = {COLOR_YELLOW, -1, 0},
    [STYLE_ERROR] = {COLOR_RED, -1, A_BOLD},
    [STYLE_MATCH] = {COLOR_BLACK, COLOR_YELLOW, 0},
    [STYLE_POSITIVE] = {COLOR_GREEN, -1, 0},
    [STYLE_NEGATIVE] = {COLOR_RED, -1, 0},
    [STYLE_HEAT_1] = {COLOR_GREEN, -1, 0},
    [STYLE_HEAT_2] = {COLOR_GREEN, -1, A_BOLD},
    [STYLE_HEAT_3] = {COLOR_BLACK, COLOR_GREEN, 0},
    [STYLE_HEAT_4] = {COLOR_BLACK, COLOR_CYAN, 0},
    [STYLE_HEAT_5] = {COLOR_BLACK, COLOR_YELLOW, 0},
};

static const attr_t monochrome[STYLES] = {
    [STYLE_NORMAL] = 0,
    [STYLE_DIM] = A_DIM,
    [STYLE_STRONG] = A_BOLD,
    [STYLE_STATUS] = A_REVERSE,
    [STYLE_HINT] = A_DIM,
    [STYLE_SELECTED] = A_REVERSE,
    [STYLE_SELECTED_UNFOCUSED] = A_UNDERLINE,
    [STYLE_LINK] = A_UNDERLINE,
    [STYLE_BORDER] = A_DIM,
    [STYLE_BORDER_FOCUS] = A_BOLD,
    [STYLE_BAR] = 0,
    [STYLE_GOOD] = 0,
    [STYLE_WARNING] = A_BOLD,
    [STYLE_ERROR] = A_BOLD,
    [STYLE_MATCH] = A_REVERSE,
    [STYLE_POSITIVE] = 0,
    [STYLE_NEGATIVE] = 0,
    [STYLE_HEAT_1] = 0,
    [STYLE_HEAT_2] = 0,
    [STYLE_HEAT_3] = A_UNDERLINE,
    [STYLE_HEAT_4] = A_BOLD,
    [STYLE_HEAT_5] = A_BOLD | A_UNDERLINE,
};

static const struct look *looks; /* NULL: monochrome */

void scheme_choose(int colors)
{
    looks = colors >= 256 ? many : colors >= 8 ? eight : NULL;
    for (short i = 0; looks && i < STYLES; i++)
        if (looks[i].foreground != -1 || looks[i].background != -1)
            init_pair((short)(i + 1), looks[i].foreground, looks[i].background);
}

unsigned long scheme_attributes(enum style style)
{
    if (!looks)
        return monochrome[style];
    const struct look *l = &looks[style];
    int paired = l->foreground != -1 || l->background != -1;
    return l->attributes | (paired ? COLOR_PAIR((int)style + 1) : 0);
}

int canvas_monochrome(void)
{
    return !looks;
}
