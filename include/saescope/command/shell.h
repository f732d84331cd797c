/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `saescope shell`: commands asked for one after the other. */
#ifndef SAESCOPE_COMMAND_SHELL_H
#define SAESCOPE_COMMAND_SHELL_H

#include "saescope/command/command.h"

/*
 * On a terminal: a prompt with editing; long commands are queued and their end is told before the next prompt. Else the
 * commands of standard input are run one after the other. Returns the exit status.
 */
int shell_run(struct context *ctx, int keep_going);

/* $XDG_STATE_HOME/saescope/history, malloc'd; the directory is made. */
char *history_path(void);

#endif
