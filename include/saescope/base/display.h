/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Text from data is bytes. This is the only way from data to screen, text output, stderr and log: C0, DEL, C1,
 * bidirectional controls, zero-width and lone combining marks, unassigned and private-use characters and invalid
 * bytes become visible forms (\xHH, <U+202E>); newline and tab become "\n" and "\t". Up to four combining marks that follow a
 * base character in the same text stay. When the locale is not UTF-8, all characters beyond ASCII become <U+XXXX>.
 * Text that is displayable already stays as it is.
 */
#ifndef SAESCOPE_BASE_DISPLAY_H
#define SAESCOPE_BASE_DISPLAY_H

#include <stddef.h>
#include "saescope/base/strbuf.h"

/* Appends the displayable form of n bytes. */
void displayable(struct strbuf *out, const void *bytes, size_t n);

/* The same of a C string, malloc'd: for messages. */
char *displayable_string(const char *s);

/* Columns that displayable text takes on the terminal (libc's wcwidth, as ncurses counts). */
size_t display_width(const char *displayable_text, size_t n);

/* The longest prefix (in bytes) of displayable text that fits `columns`, ending at a grapheme's end. */
size_t display_prefix(const char *displayable_text, size_t n, size_t columns);

/* Whether the n bytes are complete, valid UTF-8. */
int utf8_valid(const void *bytes, size_t n);

/* Appends the bytes as UTF-8 with U+FFFD for every maximal invalid part (for JSON strings). */
void utf8_replace_invalid(struct strbuf *out, const void *bytes, size_t n);

/* setlocale as the program needs it: LC_ALL from the environment, LC_NUMERIC "C", C.UTF-8 for LC_CTYPE when the
 * named locale is missing but its name says UTF-8. Returns whether characters are UTF-8. */
int locale_start(void);
int locale_is_utf8(void);

#endif
