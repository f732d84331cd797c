/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The full-screen explorer. Only src/tui knows curses; its headers do not show it. */
#ifndef SAESCOPE_TUI_TUI_H
#define SAESCOPE_TUI_TUI_H

#include "saescope/command/command.h"

/*
 * Runs the explorer on ctx's store until the user quits. target: "SAE", "SAE/ID" or NULL (the store view).
 * STATUS_USAGE when the terminal cannot be used. ctx->startup_script, if set, is sourced as a job-like background task.
 */
int tui_run(struct context *ctx, const char *target, struct error *err);

/*
 * The same without a terminal, for tests: a screen of the given size; reads keys from `script`, lines of
 *   keys TEXT        keys as typed; <Enter> <Esc> <Tab> <Up> <PageDown> <C-l> … for the others
 *   wait             until no query is under way and everything is drawn
 *   wait-jobs        until no job is unfinished either
 *   size WxH         resizes
 *   dump FILE        writes the screen's text, one line a row, without trailing blanks, and below a line of '=' the
 *                    semantic style of each cell, one letter a cell (see canvas.h)
 */
int tui_run_script(struct context *ctx, const char *target, int width, int height, const char *script,
                   struct error *err);

/* The manual's lists of views, actions and default keys, in mdoc(7) (src/tui/docs.c). */
struct strbuf;
void tui_docs(struct strbuf *out);
const char *tui_curses_version(void); /* "ncurses 6.4.20221231" */

#endif
