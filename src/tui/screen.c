/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The terminal's life: start and stop, frames, resizing, suspending. What goes wrong is in rescue.c. */
#include "config.h"

#include <curses.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/tui/rescue.h"
#include "saescope/tui/screen.h"

#define KEY_PASTE     0x2000 /* codes of our own, above curses' */
#define KEY_PASTE_END 0x2001
#define ESCAPE_MS     25

static struct {
    int up, headless, colors, ascii;
    FILE *in, *out;
    SCREEN *curses;
    WINDOW *keys; /* never shown: reading from it draws nothing */
    char *styles; /* of each cell, as letters */
    int height, width;
    int cursor_y, cursor_x, raw, pasting, redraw;
} screen;

static const struct {
    const char *bytes;
    int code;
} key_alternatives[] = {{"\033[A", KEY_UP},
                        {"\033[B", KEY_DOWN},
                        {"\033[C", KEY_RIGHT},
                        {"\033[D", KEY_LEFT},
                        {"\033[H", KEY_HOME},
                        {"\033[F", KEY_END},
                        {NULL, 0}};

static const char letters[STYLES] = {'.', 'd', 'b', 's', 'h', 'S', 'u', 'l', 'B', 'F', '#',
                                     'g', 'w', 'e', 'm', '+', '-', '1', '2', '3', '4', '5'};

static void size_changed(void)
{
    getmaxyx(stdscr, screen.height, screen.width);
    screen.styles = xrealloc(screen.styles, (size_t)screen.height * (size_t)screen.width);
    memset(screen.styles, letters[STYLE_NORMAL], (size_t)screen.height * (size_t)screen.width);
    screen.redraw = 1;
}

void screen_configure(const char *color, int ascii)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    int wanted = strcmp(color, "never") != 0;
    if (strcmp(color, "auto") == 0 && no_color && *no_color)
        wanted = 0;
    scheme_choose(wanted ? screen.colors : 0);
    screen.ascii = ascii || !locale_is_utf8() || (term && strcmp(term, "linux") == 0);
    screen.colors = screen.colors < 0 ? 0 : screen.colors;
    screen.redraw = 1;
}

/* Standard input and output must be one terminal that curses knows. */
static int open_terminal(struct error *err)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return error_set(err, STATUS_USAGE,
                         "the explorer needs a terminal; commands work without one: saescope help");
    screen.in = fdopen(dup(STDIN_FILENO), "r");
    screen.out = fdopen(dup(STDOUT_FILENO), "w");
    if (!screen.in || !screen.out)
        return error_set(err, STATUS_USAGE, "the terminal cannot be opened");
    rescue_save_terminal();
    screen.curses = newterm(NULL, screen.out, screen.in);
    if (!screen.curses || !tigetstr("cup") || tigetstr("cup") == (char *)-1) {
        if (screen.curses)
            endwin();
        return error_set(
            err, STATUS_USAGE,
            "the terminal '%s' cannot place the cursor; set TERM, or use commands: saescope help",
            term ? term : "");
    }
    return STATUS_OK;
}

static int open_headless(const struct screen_options *o, struct error *err)
{
    screen.in = fopen("/dev/null", "r");
    screen.out = fopen("/dev/null", "w");
    use_env(FALSE);
    screen.curses = screen.in && screen.out ? newterm("xterm-256color", screen.out, screen.in) : NULL;
    if (!screen.curses)
        return error_set(err, STATUS_USAGE,
                         "no screen without a terminal: terminfo's xterm-256color is missing");
    resizeterm(o->height, o->width);
    return STATUS_OK;
}

static void close_files(void)
{
    if (screen.curses)
        delscreen(screen.curses);
    if (screen.in)
        fclose(screen.in);
    if (screen.out)
        fclose(screen.out);
    free(screen.styles);
    memset(&screen, 0, sizeof screen);
}

/* Tells the terminal whether it should mark pasted text. */
static void mark_pastes(int on)
{
    if (screen.headless)
        return;
    fputs(on ? "\033[?2004h" : "\033[?2004l", screen.out);
    fflush(screen.out);
}

static void take_terminal(void)
{
    raw();
    noecho();
    nonl();
    mark_pastes(1);
}

void screen_resize(int width, int height)
{
    struct winsize size;
    if (width <= 0 || height <= 0) {
        if (screen.headless || ioctl(fileno(screen.out), TIOCGWINSZ, &size) != 0 || !size.ws_col ||
            !size.ws_row)
            return;
        width = size.ws_col;
        height = size.ws_row;
    }
    resizeterm(height, width);
    size_changed();
}

int screen_start(const struct screen_options *o, struct error *err)
{
    memset(&screen, 0, sizeof screen);
    screen.headless = o->headless;
    int status = o->headless ? open_headless(o, err) : open_terminal(err);
    if (status != STATUS_OK) {
        close_files();
        return status;
    }
    set_escdelay(ESCAPE_MS);
    take_terminal();
    screen.keys = newpad(1, 1);
    keypad(screen.keys, TRUE);
    nodelay(screen.keys, TRUE);
    /* Also those that come while the prompt is open, when the terminal sends the other form. */
    for (int i = 0; key_alternatives[i].bytes; i++)
        if (key_defined(key_alternatives[i].bytes) == 0)
            define_key(key_alternatives[i].bytes, key_alternatives[i].code);
    define_key("\033[200~", KEY_PASTE);
    define_key("\033[201~", KEY_PASTE_END);
    if (has_colors() && start_color() == OK) {
        use_default_colors();
        screen.colors = COLOR_PAIRS > STYLES ? COLORS : 0;
    }
    screen.up = 1;
    screen_resize(0, 0); /* LINES and COLUMNS may be of another terminal */
    size_changed();
    screen_configure(o->color, o->ascii);
    if (!o->headless)
        rescue_start();
    return STATUS_OK;
}

void screen_stop(void)
{
    if (!screen.up)
        return;
    mark_pastes(0);
    delwin(screen.keys);
    endwin();
    if (!screen.headless)
        rescue_stop();
    close_files();
}

int screen_width(void)
{
    return screen.width;
}

int screen_height(void)
{
    return screen.height;
}

int screen_ascii(void)
{
    return screen.ascii;
}

void screen_begin(void)
{
    erase();
    memset(screen.styles, letters[STYLE_NORMAL], (size_t)screen.height * (size_t)screen.width);
    screen.cursor_y = screen.height - 1;
    screen.cursor_x = 0;
}

void screen_end(void)
{
    attrset(A_NORMAL);
    move(screen.cursor_y, screen.cursor_x);
    if (screen.redraw)
        clearok(curscr, TRUE);
    screen.redraw = 0;
    refresh();
}

void screen_redraw(void)
{
    screen.redraw = 1;
}

void screen_suspend(void)
{
    struct sigaction stop = {.sa_handler = SIG_DFL}, ours;
    if (screen.headless)
        return;
    mark_pastes(0);
    endwin();
    rescue_stop();
    sigaction(SIGTSTP, &stop, &ours);
    raise(SIGTSTP);
    sigaction(SIGTSTP, &ours, NULL);
    rescue_start();
    reset_prog_mode();
    take_terminal();
    screen_resize(0, 0);
    screen.redraw = 1;
}

/* ---- Input. ---- */

int screen_input(void)
{
    return screen.headless ? -1 : fileno(screen.in);
}

void screen_raw_input(int on)
{
    screen.raw = on;
    keypad(screen.keys, !on);
}

int screen_byte(char *byte)
{
    int c;
    while (!screen.headless && (c = wgetch(screen.keys)) != ERR)
        if (c < 256) {
            *byte = (char)c;
            return 1;
        }
    return 0;
}

/* A character with the bytes that follow its first one. */
static size_t whole_character(int first, char bytes[8])
{
    size_t n = 1, length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    bytes[0] = (char)first;
    while (n < length) {
        int c = wgetch(screen.keys);
        if (c == ERR || c > 255)
            return 0;
        bytes[n++] = (char)c;
    }
    return n == 1 || utf8_valid(bytes, n) ? n : 0;
}

int screen_key(char key[KEY_TEXT_MAX])
{
    char bytes[8];
    int c;
    while (!screen.headless && (c = wgetch(screen.keys)) != ERR) {
        int meta = 0;
        if (c == KEY_PASTE || c == KEY_PASTE_END) {
            screen.pasting = c == KEY_PASTE;
            continue;
        }
        if (screen.pasting)
            continue;
        if (c == 27) {
            int next = wgetch(screen.keys);
            meta = next != ERR;
            c = meta ? next : c;
        }
        if (c > 255 && key_from_code(c, key))
            return 1;
        size_t n = c > 255 ? 0 : whole_character(c, bytes);
        if (n > 0 && key_from_character(bytes, n, meta, key))
            return 1;
    }
    return 0;
}

void screen_clipboard(const char *text)
{
    struct strbuf b = STRBUF_INIT;
    clipboard_sequence(&b, text);
    if (!screen.headless) {
        fputs(strbuf_string(&b), screen.out);
        fflush(screen.out);
    }
    strbuf_free(&b);
}

/* ---- Cells. ---- */

void screen_put(int y, int x, enum style style, const char *text, size_t n, int width)
{
    attrset((attr_t)scheme_attributes(style));
    mvaddnstr(y, x, text, (int)n);
    memset(screen.styles + (size_t)y * (size_t)screen.width + x, letters[style], (size_t)width);
}

void screen_restyle(int y, int x, int width, enum style style)
{
    attr_t attributes = (attr_t)scheme_attributes(style);
    mvchgat(y, x, width, attributes & ~(attr_t)A_COLOR, (short)PAIR_NUMBER(attributes), NULL);
    memset(screen.styles + (size_t)y * (size_t)screen.width + x, letters[style], (size_t)width);
}

void screen_cursor(int y, int x)
{
    screen.cursor_y = y;
    screen.cursor_x = x;
}

static void dump_row(struct strbuf *out, int y)
{
    size_t end = out->length;
    for (int x = 0; x < screen.width;) {
        cchar_t cell;
        wchar_t text[CCHARW_MAX + 1] = {0};
        char bytes[CCHARW_MAX * 6 + 1];
        attr_t attributes;
        short pair;
        mvin_wch(y, x, &cell);
        getcchar(&cell, text, &attributes, &pair, NULL);
        size_t n = wcstombs(bytes, text, sizeof bytes);
        if (n == (size_t)-1 || n == 0)
            strbuf_addc(out, ' ');
        else
            strbuf_add(out, bytes, n);
        int columns = wcwidth(text[0]);
        x += columns > 1 ? columns : 1;
        if (text[0] != L' ' && text[0] != 0)
            end = out->length;
    }
    out->length = end;
    strbuf_addc(out, '\n');
}

void screen_dump(struct strbuf *out)
{
    for (int y = 0; y < screen.height; y++)
        dump_row(out, y);
    for (int x = 0; x < screen.width; x++)
        strbuf_addc(out, '=');
    strbuf_addc(out, '\n');
    for (int y = 0; y < screen.height; y++) {
        strbuf_add(out, screen.styles + (size_t)y * (size_t)screen.width, (size_t)screen.width);
        strbuf_addc(out, '\n');
    }
}
