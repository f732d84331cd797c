/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What may come next on a command line: from the tables and the names in the store. Read by readline, TUI and bash. */
#ifndef SAESCOPE_COMMAND_COMPLETE_H
#define SAESCOPE_COMMAND_COMPLETE_H

#include "saescope/command/command.h"

/*
 * Words that may stand at `point` of `line`, which replace the line's bytes from *start to point: a NULL-terminated malloc'd
 * array of malloc'd words, quoted as the line needs them, each ending in a blank when it is a whole word. NULL: none.
 * A lineedit_complete with the context as arg.
 */
char **completion_candidates(void *context, const char *line, size_t point, size_t *start);

/*
 * The same for words of a shell (unquoted, the last one unfinished), which the shell quotes itself: `saescope complete --
 * WORDS...`. The words may begin with the program's own options.
 */
char **completion_of_words(struct context *ctx, char **words, size_t n);

void completion_free(char **candidates);

/* Completes actions' and views' names too: set by who has them. NULL-terminated arrays or NULL. */
extern const char *const *completion_actions, *const *completion_views;

#endif
