/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command language's words. Blanks separate; '…' is literal; "…" knows \\ \" \n \t \xHH \u{H}; elsewhere \ takes the
 * next character and at a line's end continues it. `;` and newline end a command; # starting a word begins a comment;
 * $name and ${name} outside '…' are settings and are not split again. `|` gives the rest of the line to a shell.
 */
#ifndef SAESCOPE_COMMAND_LEXER_H
#define SAESCOPE_COMMAND_LEXER_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/command/settings.h"

struct word_list {
    char **words;
    size_t n, capacity;
    char *pipe; /* what follows '|', or NULL */
    int line;   /* of the first word, from 1 */
    /* For completion: where the last word starts in the text, and whether the text ended inside it. */
    size_t last_start;
    int last_open;   /* no blank after it */
    char last_quote; /* it ended inside this quote, or 0 */
};
void word_list_free(struct word_list *w);
void word_list_add(struct word_list *w, const char *word);

/*
 * Reads the next command from text[*offset …] and moves *offset behind it and *line on; out->n == 0 for an empty one.
 * settings may be NULL (then $name is refused). STATUS_USAGE for an open quote, a bad escape, an unknown setting, a pipe
 * where none is allowed.
 */
int lexer_next(const char *text, size_t n, size_t *offset, int *line, const struct settings *settings, int allow_pipe,
               struct word_list *out, struct error *err);

/* As lexer_next on an unfinished line, for completion: no error for what is open, settings are not replaced; the last
 * command of the text is left in out. */
void lexer_partial(const char *text, size_t n, struct word_list *out);

/* Appends `word` so that the lexer reads it as one word again. */
struct strbuf;
void lexer_quote(struct strbuf *out, const char *word);

#endif
