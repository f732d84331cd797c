/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines of text that scroll: what the views output, help and messages are made of. */
#ifndef SAESCOPE_TUI_TEXT_VIEW_H
#define SAESCOPE_TUI_TEXT_VIEW_H

#include "saescope/tui/view.h"

struct text_line {
    char *text; /* displayable */
    enum style style;
    enum style head_style; /* of the first `head` bytes */
    size_t head;
};

struct text_lines {
    struct text_line *lines;
    size_t n, capacity;
    struct list list;
    int left; /* columns scrolled to the right */
    char *pattern; /* what was searched for last: shown marked */
};

/* Takes over `text`. */
void text_add(struct text_lines *t, enum style style, char *text);
void text_add_head(struct text_lines *t, char *text, size_t head, enum style head_style);
void text_reset(struct text_lines *t); /* no lines; keeps the cursor */
void text_free(struct text_lines *t);

void text_draw(struct text_lines *t, const struct canvas *c);
int text_act(struct text_lines *t, const char *action, long count);
int text_search(struct text_lines *t, const char *pattern, int direction);
void text_save(const struct text_lines *t, struct strbuf *out);
void text_restore(struct text_lines *t, const char *place);

#endif
