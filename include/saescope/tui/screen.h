/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The terminal: one per process, UI thread only. While the screen is up nothing else may write to the terminal: standard
 * output and standard error go to a log in memory, whose end is printed when the screen is gone. The terminal is restored
 * on every way out, crashes included.
 */
#ifndef SAESCOPE_TUI_SCREEN_H
#define SAESCOPE_TUI_SCREEN_H

#include <stddef.h>
#include "saescope/base/error.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/keymap.h"
#include "saescope/tui/canvas.h"

struct screen_options {
    int headless;      /* no terminal: for tests */
    int width, height; /* of a headless one */
    const char *color; /* the setting: auto, always, never */
    int ascii;         /* the setting */
};
int screen_start(const struct screen_options *o, struct error *err); /* STATUS_USAGE: no usable terminal */
void screen_stop(void);                                              /* fine when it is not up */
/* Chooses colours and glyphs again, after the settings changed. */
void screen_configure(const char *color, int ascii);

int screen_width(void);
int screen_height(void);
void screen_resize(int width, int height); /* 0, 0: as large as the terminal is now */
void screen_begin(void);                   /* an empty frame */
void screen_end(void);                     /* shows what was drawn; only differences are sent */
void screen_redraw(void);                  /* the next frame is sent as a whole */
void screen_suspend(void);                 /* gives the terminal back, stops the program, takes it again */

int screen_input(void); /* descriptor to poll, -1 when headless */
/* The next key that was typed, canonical (see command/keymap.h); 0 when there is none. Pasted text is no keys. */
int screen_key(char key[KEY_TEXT_MAX]);
/* The next byte as it came, for line editing; 0 when there is none. */
int screen_byte(char *byte);
void screen_raw_input(int on); /* whether screen_byte is used */
/* Asks the terminal to put text on its clipboard. */
void screen_clipboard(const char *text);
/* What asks for it: OSC 52, the text in base64, so that no byte of it reaches the terminal as it is (clipboard.c). */
void clipboard_sequence(struct strbuf *out, const char *text);

/* What was written to standard error since the last call. */
void screen_stray_text(struct strbuf *out);
/* Rows of text, a line of '=', rows of styles. */
void screen_dump(struct strbuf *out);

/* ---- For canvas.c: cells of the frame. ---- */
void screen_put(int y, int x, enum style style, const char *text, size_t n, int width);
void screen_restyle(int y, int x, int width, enum style style);
void screen_cursor(int y, int x);
int screen_ascii(void);

/* ---- Scheme (scheme.c). ---- */
void scheme_choose(int colors); /* 0: monochrome; else what the terminal has */
unsigned long scheme_attributes(enum style style); /* curses' */

/* ---- Signals (signals.c): a pipe that tells of them. ---- */
int signals_start(void); /* descriptor to poll */
int signals_next(void);  /* 0: none */
void signals_stop(void);

/* ---- Keys (keys.c). ---- */
/* A curses key code, or a character, to the canonical name; 0 when it is no key that we know. */
int key_from_code(int code, char key[KEY_TEXT_MAX]);
int key_from_character(const char *utf8, size_t n, int meta, char key[KEY_TEXT_MAX]);
/* The bytes that a terminal sends for a canonical key. */
size_t key_bytes(const char *key, char bytes[16]);

#endif
