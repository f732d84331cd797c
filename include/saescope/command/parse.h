/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What help, completion and documentation share with the parser of words. */
#ifndef SAESCOPE_COMMAND_PARSE_H
#define SAESCOPE_COMMAND_PARSE_H

#include "saescope/command/command.h"

extern const struct option_spec common_options[]; /* of every command */
extern const struct option_spec job_options[];    /* of commands that run jobs */

/* The command that the first one or two words name; *used of them. NULL when none. */
const struct command *command_of_words(char **words, size_t n, size_t *used);

/* Appends "train sae NAME... --model M [--k N]". */
void command_usage(const struct command *c, struct strbuf *out);

#endif
