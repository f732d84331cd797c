/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The terminal is given back whatever happens, and what others write meanwhile is kept from it. */
#ifndef SAESCOPE_TUI_RESCUE_H
#define SAESCOPE_TUI_RESCUE_H

void rescue_save_terminal(void); /* before curses changes it */
void rescue_start(void);         /* curses is up */
void rescue_stop(void);          /* curses is down: prints what was kept */

#endif
