/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What help, completion and documentation share with the parser of words. */
#ifndef SAESCOPE_COMMAND_PARSE_H
#define SAESCOPE_COMMAND_PARSE_H

#include "saescope/command/command.h"

extern const struct option_spec common_options[]; /* of every command */
extern const struct option_spec job_options[];    /* of commands that run jobs */

/* The command that the first one or two words name; *used of them. NULL when none. */
const struct command *command_of_words(char **words, size_t n, size_t *used);

/* STATUS_USAGE: there is no such command; what may be meant. */
int command_unknown(char **words, size_t n, struct error *err);

/* An option of the command, common ones included; NULL: it has none of that name. */
const struct option_spec *command_option(const struct command *c, const char *name);

/* The spec of a command's argument at place i (the last one repeats when it may); NULL: one word too many. */
const struct argument_spec *command_argument(const struct command *c, size_t i);

/* Appends "train sae NAME... --model M [--k N]". */
void command_usage(const struct command *c, struct strbuf *out);

#endif
