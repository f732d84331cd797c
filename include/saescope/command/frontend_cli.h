/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running commands without a screen: progress and errors on stderr, questions, signals, the log. */
#ifndef SAESCOPE_COMMAND_FRONTEND_CLI_H
#define SAESCOPE_COMMAND_FRONTEND_CLI_H

#include "saescope/command/command.h"

/* For ctx->frontend. arg is the context. batch: questions are answered with no unless --yes. */
void frontend_cli_start(struct context *ctx, int batch);

/* "saescope: TEXT" on stderr and in the log; for struct script_options. */
void frontend_cli_error(void *arg, const char *displayable_text);

/*
 * SIGINT, SIGTERM and SIGHUP ask what runs to stop; a second one ends the program at once. SIGPIPE only fails writes. The TUI
 * sets handlers of its own.
 */
void stop_signals_start(void);
int stop_signal(void); /* the signal that asked to stop, 0: none */
void stop_signal_clear(void);

/* --log FILE: lines with the time before them. */
int log_open(const char *path, struct error *err);
void log_line(const char *displayable_text); /* nothing without a log; any thread */

#endif
