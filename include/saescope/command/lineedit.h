/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Editing a line with readline: blocking for the shell, fed byte by byte for the TUI's prompt. Readline is one per process, so
 * is this. UI thread only.
 *
 * The fed line never touches the terminal: the caller reads bytes (with curses' keypad off, and bracketed paste switched on
 * with "\033[?2004h", off again with "\033[?2004l"), feeds them, and draws lineedit_prompt + lineedit_text with the cursor at
 * lineedit_cursor. Pasted text goes in as one piece, its line ends as blanks. A lone ESC is told from the start of
 * a sequence by time alone: when lineedit_escape_pending() and no further byte came for 25 ms, call lineedit_timeout(),
 * which cancels.
 */
#ifndef SAESCOPE_COMMAND_LINEEDIT_H
#define SAESCOPE_COMMAND_LINEEDIT_H

#include <stddef.h>

/*
 * What may stand at `point` (bytes) of `line`: sets *start to where the word that they replace begins, and returns a
 * NULL-terminated malloc'd array of malloc'd words, quoted as the line needs them and with what follows the word (a blank, a '/')
 * included; NULL: none.
 */
typedef char **(*lineedit_complete)(void *arg, const char *line, size_t point, size_t *start);

/* ---- The fed line (TUI). ---- */
enum lineedit_state {
    LINEEDIT_EDITING,
    LINEEDIT_DONE,     /* lineedit_take gives the line */
    LINEEDIT_CANCELLED /* ESC, Ctrl-C, Ctrl-G, Ctrl-D on an empty line, Backspace on an empty line */
};

/* What the line is for: each has a history of its own. */
enum lineedit_history {
    LINEEDIT_COMMANDS, /* shared with the shell and kept in the history file */
    LINEEDIT_SEARCHES, /* of this process only */
    LINEEDIT_ANSWERS   /* none */
};

void lineedit_open(const char *prompt, const char *initial, enum lineedit_history history, lineedit_complete complete,
                   void *arg);
/* Feeds terminal bytes as they came. What is left of them after the line ended (done or cancelled) is dropped: who wants
 * what was typed ahead feeds one byte at a time. */
enum lineedit_state lineedit_feed(const char *bytes, size_t n);
int lineedit_escape_pending(void);
enum lineedit_state lineedit_timeout(void);
/* Closes the line without an answer; fine when none is open. */
void lineedit_close(void);
int lineedit_is_open(void);

/* To draw: the prompt (readline's own while it searches the history) and the text, both displayable; the cursor's column
 * counted from the prompt's first. Strings live until the next call of this header. */
const char *lineedit_prompt(void);
const char *lineedit_text(void);
size_t lineedit_cursor(void);
/* The last completion's candidates when Tab found several, NULL-terminated and displayable; NULL when there is nothing to
 * show (any other key clears them). */
char *const *lineedit_candidates(size_t *n);

/* After LINEEDIT_DONE: the line, malloc'd. It is in the history already. */
char *lineedit_take(void);

/* ---- The shell. ---- */
/* Asks for a line on the terminal; malloc'd; NULL at the end of input. A signal ends it when signalled() then is not 0: *interrupted
 * is set and the line is "". */
char *lineedit_read(const char *prompt, lineedit_complete complete, void *arg, int (*signalled)(void), int *interrupted);

/* Commands' history: read from `path` once (missing is fine) and appended to it, 0600, at the end. */
void lineedit_history_load(const char *path);
void lineedit_history_save(void);

const char *lineedit_library_version(void);

#endif
