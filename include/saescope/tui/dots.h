/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Dots finer than cells, for curves and plots: 2 × 4 a cell in braille, 1 × 3 in ASCII. */
#ifndef SAESCOPE_TUI_DOTS_H
#define SAESCOPE_TUI_DOTS_H

#include "saescope/tui/canvas.h"

struct dots {
    unsigned char *set;   /* rows × columns */
    int rows, columns;    /* of dots; none for an empty canvas */
    int down, across;     /* in a cell */
};
struct dots dots_new(const struct canvas *c);
void dots_free(struct dots *d);
/* The text of a cell, empty when none of its dots is set. */
void dots_cell(char text[4], const struct dots *d, int y, int x);
void dots_draw(const struct canvas *c, const struct dots *d, enum style style);

#endif
