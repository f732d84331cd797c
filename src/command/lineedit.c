/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The only user of readline. Two ways to run it: the shell's, where readline owns the terminal's line, and the fed one, where
 * it gets bytes from a queue and draws nothing. In the fed way whole UTF-8 sequences are put into the queue before
 * readline is called, since its searches read on within one call.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/lineedit.h"

#define HISTORY_ENTRIES_MAX 2000
#define LISTED_MAX          300 /* candidates that are shown */

static const char paste_begins[] = "\033[200~", paste_ends[] = "\033[201~";

static struct {
    int open, fed;
    enum lineedit_state state;
    char *line; /* of a line that is done */
    enum lineedit_history history;
    lineedit_complete complete;
    void *arg;
    struct strbuf input; /* fed, not yet readline's */
    int pasting;
    size_t looked; /* so much of the pasted text has no end in it */
    char queue[16]; /* for readline: one character */
    size_t queue_at, queue_n;
    char **candidates;
    size_t n_candidates;
    struct strbuf prompt, text;
} edit;

/* ---- Candidates. ---- */

static void forget_candidates(void)
{
    for (size_t i = 0; i < edit.n_candidates; i++)
        free(edit.candidates[i]);
    free(edit.candidates);
    edit.candidates = NULL;
    edit.n_candidates = 0;
}

static void words_free(char **words)
{
    for (size_t i = 0; words && words[i]; i++)
        free(words[i]);
    free(words);
}

static size_t common_prefix(char **words)
{
    size_t n = strlen(words[0]);
    for (size_t i = 1; words[i]; i++) {
        size_t k = 0;
        while (k < n && words[i][k] == words[0][k])
            k++;
        n = k;
    }
    /* Not within a character. */
    while (n > 0 && ((unsigned char)words[0][n] & 0xc0) == 0x80)
        n--;
    return n;
}

/* The shell's list, in columns below the line. */
static void print_candidates(void)
{
    int rows, columns;
    size_t width = 0, n = edit.n_candidates < LISTED_MAX ? edit.n_candidates : LISTED_MAX;
    rl_get_screen_size(&rows, &columns);
    for (size_t i = 0; i < n; i++) {
        size_t w = display_width(edit.candidates[i], strlen(edit.candidates[i]));
        width = w > width ? w : width;
    }
    size_t across = columns > 2 ? (size_t)columns / (width + 2) : 1;
    if (across == 0)
        across = 1;
    size_t down = (n + across - 1) / across;
    rl_crlf();
    for (size_t row = 0; row < down; row++) {
        for (size_t i = row; i < n; i += down) {
            const char *c = edit.candidates[i];
            size_t w = display_width(c, strlen(c));
            fprintf(rl_outstream, "%s%*s", c, i + down < n ? (int)(width + 2 - w) : 0, "");
        }
        fputc('\n', rl_outstream);
    }
    if (n < edit.n_candidates)
        fprintf(rl_outstream, "… %zu more\n", edit.n_candidates - n);
    rl_on_new_line();
    rl_redisplay();
}

static void keep_candidates(char **words)
{
    size_t n = 0;
    while (words[n])
        n++;
    edit.candidates = xcalloc(n + 1, sizeof *edit.candidates);
    for (size_t i = 0; i < n; i++) {
        struct strbuf b = STRBUF_INIT;
        size_t length = strlen(words[i]);
        displayable(&b, words[i], length - (length > 0 && words[i][length - 1] == ' '));
        edit.candidates[i] = strbuf_detach(&b);
    }
    edit.n_candidates = n;
}

/* Bound to Tab. */
static int complete_word(int count, int key)
{
    size_t start = (size_t)rl_point, point = (size_t)rl_point;
    (void)count;
    (void)key;
    char **words = edit.complete ? edit.complete(edit.arg, rl_line_buffer, point, &start) : NULL;
    if (!words || !words[0] || start > point) {
        words_free(words);
        return rl_ding();
    }
    size_t n = common_prefix(words);
    int longer = n > point - start || (n == point - start && strncmp(rl_line_buffer + start, words[0], n) != 0);
    if (n >= point - start && longer) {
        char *prefix = xstrndup(words[0], n);
        rl_begin_undo_group();
        rl_delete_text((int)start, (int)point);
        rl_point = (int)start;
        rl_insert_text(prefix);
        rl_end_undo_group();
        free(prefix);
    }
    if (words[1] && (edit.fed || !longer)) {
        forget_candidates();
        keep_candidates(words);
        if (!edit.fed) {
            print_candidates();
            forget_candidates();
        }
    }
    words_free(words);
    return 0;
}

/* Readline's own completion of file names stays out of other keys. */
static char **no_completion(const char *text, int start, int end)
{
    (void)text;
    (void)start;
    (void)end;
    rl_attempted_completion_over = 1;
    return NULL;
}

/* ---- Setting readline up. ---- */

static FILE *nowhere;

static int next_byte(FILE *f)
{
    (void)f;
    return edit.queue_at < edit.queue_n ? (unsigned char)edit.queue[edit.queue_at++] : EOF;
}

static int queue_available(void)
{
    return edit.queue_at < edit.queue_n;
}

static void draw_nothing(void)
{
}

static void start_readline(int fed)
{
    edit.fed = fed;
    rl_readline_name = "saescope";
    rl_catch_signals = 0;
    rl_catch_sigwinch = !fed;
    rl_persistent_signal_handlers = !fed; /* also while the shell waits for a key */
    rl_change_environment = 0;
    rl_attempted_completion_function = no_completion;
    if (fed && !nowhere)
        nowhere = fopen("/dev/null", "w");
    rl_outstream = fed ? nowhere : stdout;
    rl_prep_term_function = fed ? NULL : rl_prep_terminal;
    rl_deprep_term_function = fed ? NULL : rl_deprep_terminal;
    rl_getc_function = fed ? next_byte : rl_getc;
    rl_input_available_hook = fed ? queue_available : NULL;
    rl_redisplay_function = fed ? draw_nothing : rl_redisplay;
    rl_initialize();
    if (fed)
        rl_variable_bind("bell-style", "none"); /* it goes to stderr */
    rl_bind_key_in_map('\t', complete_word, emacs_standard_keymap);
    rl_bind_key_in_map('\t', complete_word, vi_insertion_keymap);
}

/* ---- History: readline has one list at a time. ---- */

static HISTORY_STATE *histories[3];
static enum lineedit_history history_in_use = LINEEDIT_COMMANDS;
static char *history_file;
static int history_added; /* entries to be appended to the file */

static void use_history(enum lineedit_history which)
{
    if (which != history_in_use) {
        HISTORY_STATE empty = {0};
        free(histories[history_in_use]);
        histories[history_in_use] = history_get_history_state();
        history_set_history_state(histories[which] ? histories[which] : &empty);
        history_in_use = which;
    }
    using_history();
}

static void remember(const char *line)
{
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (edit.history == LINEEDIT_ANSWERS || line[strspn(line, " \t")] == '\0' || (last && strcmp(last->line, line) == 0))
        return;
    add_history(line);
    if (edit.history == LINEEDIT_COMMANDS)
        history_added++;
}

void lineedit_history_load(const char *path)
{
    free(history_file);
    history_file = path ? xstrdup(path) : NULL;
    use_history(LINEEDIT_COMMANDS);
    clear_history();
    history_added = 0;
    if (path)
        read_history(path);
}

void lineedit_history_save(void)
{
    if (!history_file || history_added == 0)
        return;
    use_history(LINEEDIT_COMMANDS);
    /* It may hold what nobody else should read. */
    int fd = open(history_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        append_history(history_added, history_file);
        history_truncate_file(history_file, HISTORY_ENTRIES_MAX);
        chmod(history_file, 0600);
    }
    history_added = 0;
}

/* ---- The fed line. ---- */

static void fed_line(char *line)
{
    rl_callback_handler_remove();
    edit.open = 0;
    edit.state = line ? LINEEDIT_DONE : LINEEDIT_CANCELLED;
    if (line)
        remember(line);
    free(edit.line);
    edit.line = line;
}

void lineedit_close(void)
{
    if (edit.open)
        rl_callback_handler_remove();
    edit.open = 0;
    edit.state = LINEEDIT_CANCELLED;
    edit.pasting = 0;
    strbuf_reset(&edit.input);
    forget_candidates();
}

static enum lineedit_state cancel(void)
{
    lineedit_close();
    return LINEEDIT_CANCELLED;
}

void lineedit_open(const char *prompt, const char *initial, enum lineedit_history history, lineedit_complete complete,
                   void *arg)
{
    lineedit_close();
    edit.complete = complete;
    edit.arg = arg;
    edit.history = history;
    edit.queue_at = edit.queue_n = 0;
    start_readline(1);
    use_history(history);
    edit.open = 1;
    edit.state = LINEEDIT_EDITING;
    rl_callback_handler_install(prompt, fed_line);
    if (initial && *initial)
        rl_insert_text(initial);
}

int lineedit_is_open(void)
{
    return edit.open;
}

/* Readline is in the middle of something that ESC or Ctrl-G ends: a search of the history, a count. */
static int within_something(void)
{
    return RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH | RL_STATE_NUMERICARG | RL_STATE_VIMOTION | RL_STATE_CHARSEARCH) !=
           0;
}

/* One character to readline. */
static void give(const char *bytes, size_t n)
{
    if (n > sizeof edit.queue)
        return;
    forget_candidates();
    memcpy(edit.queue, bytes, n);
    edit.queue_at = 0;
    edit.queue_n = n;
    while (edit.open && queue_available())
        rl_callback_read_char();
}

static void insert_pasted(const char *bytes, size_t n)
{
    struct strbuf text = STRBUF_INIT, kept = STRBUF_INIT;
    utf8_replace_invalid(&text, bytes, n);
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '\n' || c == '\r' || c == '\t')
            strbuf_addc(&kept, ' ');
        else if (c >= 0x20 && c != 0x7f)
            strbuf_addc(&kept, (char)c);
    }
    if (within_something())
        give("\007", 1);
    if (edit.open && kept.length > 0)
        rl_insert_text(strbuf_string(&kept));
    strbuf_free(&text);
    strbuf_free(&kept);
}

static void consume(size_t n)
{
    memmove(edit.input.data, edit.input.data + n, edit.input.length - n);
    edit.input.length -= n;
    edit.input.data[edit.input.length] = '\0';
}

/* Length of the whole character at the input's start; 0: it is not all there yet. Invalid bytes are dropped first. */
static size_t character(void)
{
    for (;;) {
        const unsigned char *p = (const unsigned char *)edit.input.data;
        size_t n = edit.input.length;
        if (n == 0)
            return 0;
        size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
        size_t there = 1;
        while (length && there < length && there < n && (p[there] & 0xc0) == 0x80)
            there++;
        if (length && there == length && utf8_valid(p, length))
            return length;
        if (length && there == n && n < length)
            return 0;
        consume(1);
    }
}

/* The pasted text, if its end is there. It may come byte by byte: what was looked at is not looked at again. */
static int take_paste(void)
{
    char *end = memmem(edit.input.data + edit.looked, edit.input.length - edit.looked, paste_ends, strlen(paste_ends));
    if (!end) {
        edit.looked = edit.input.length < strlen(paste_ends) ? 0 : edit.input.length - strlen(paste_ends) + 1;
        return 0;
    }
    size_t n = (size_t)(end - edit.input.data);
    insert_pasted(edit.input.data, n);
    consume(n + strlen(paste_ends));
    edit.pasting = 0;
    return 1;
}

/* A lone key that ends the line without an answer. */
static int cancels(char c)
{
    if (c == '\003')
        return 1;
    if (within_something())
        return 0;
    return c == '\007' || (rl_end == 0 && (c == '\004' || c == '\010' || c == '\177'));
}

/* Takes what can be taken from the input; 0 when more must come first. */
static int step(void)
{
    if (edit.input.length == 0)
        return 0;
    if (edit.pasting)
        return take_paste();
    char first = edit.input.data[0];
    if (first == '\033') {
        size_t n = edit.input.length < strlen(paste_begins) ? edit.input.length : strlen(paste_begins);
        if (memcmp(edit.input.data, paste_begins, n) == 0) {
            if (n < strlen(paste_begins))
                return 0;
            consume(n);
            edit.pasting = 1;
            edit.looked = 0;
            return 1;
        }
    }
    if (cancels(first)) {
        cancel();
        return 0;
    }
    size_t n = character();
    if (n == 0)
        return 0;
    char bytes[4];
    memcpy(bytes, edit.input.data, n);
    consume(n);
    give(bytes, n);
    return 1;
}

static enum lineedit_state feed_on(void)
{
    while (edit.open && step())
        ;
    if (!edit.open)
        strbuf_reset(&edit.input);
    return edit.state;
}

enum lineedit_state lineedit_feed(const char *bytes, size_t n)
{
    if (!edit.open)
        return edit.state;
    strbuf_add(&edit.input, bytes, n);
    return feed_on();
}

int lineedit_escape_pending(void)
{
    return edit.open && !edit.pasting && edit.input.length > 0 && edit.input.data[0] == '\033';
}

enum lineedit_state lineedit_timeout(void)
{
    if (!lineedit_escape_pending())
        return edit.state;
    int vi_insert = rl_editing_mode == 0 && rl_get_keymap() == vi_insertion_keymap;
    if (edit.input.length == 1 && !within_something() && !vi_insert)
        return cancel();
    /* The start of a sequence of keys, a search to be left, vi's way to its movements. */
    char first = within_something() && edit.input.length == 1 ? '\007' : '\033';
    consume(1);
    give(&first, 1);
    return feed_on();
}

const char *lineedit_prompt(void)
{
    strbuf_reset(&edit.prompt);
    if (edit.open && rl_display_prompt)
        displayable(&edit.prompt, rl_display_prompt, strlen(rl_display_prompt));
    return strbuf_string(&edit.prompt);
}

const char *lineedit_text(void)
{
    strbuf_reset(&edit.text);
    if (edit.open)
        displayable(&edit.text, rl_line_buffer, (size_t)rl_end);
    return strbuf_string(&edit.text);
}

size_t lineedit_cursor(void)
{
    struct strbuf before = STRBUF_INIT;
    if (!edit.open)
        return 0;
    const char *prompt = lineedit_prompt();
    size_t column = display_width(prompt, strlen(prompt));
    displayable(&before, rl_line_buffer, (size_t)rl_point);
    column += display_width(strbuf_string(&before), before.length);
    strbuf_free(&before);
    return column;
}

char *const *lineedit_candidates(size_t *n)
{
    *n = edit.n_candidates;
    return edit.candidates;
}

char *lineedit_take(void)
{
    char *line = edit.line ? edit.line : xstrdup("");
    edit.line = NULL;
    return line;
}

/* ---- The shell. ---- */

static char *shell_text;
static int shell_ended;

static void shell_line(char *line)
{
    rl_callback_handler_remove();
    shell_text = line;
    shell_ended = 1;
}

char *lineedit_read(const char *prompt, lineedit_complete complete, void *arg, int (*signalled)(void), int *interrupted)
{
    *interrupted = 0;
    edit.complete = complete;
    edit.arg = arg;
    edit.history = LINEEDIT_COMMANDS;
    start_readline(0);
    use_history(LINEEDIT_COMMANDS);
    shell_ended = 0;
    shell_text = NULL;
    rl_callback_handler_install(prompt, shell_line);
    while (!shell_ended) {
        struct pollfd f = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&f, 1, 500);
        if (signalled()) {
            *interrupted = 1;
            rl_free_line_state();
            rl_callback_sigcleanup();
            rl_callback_handler_remove();
            fputc('\n', stdout);
            return xstrdup("");
        }
        if (ready < 0 && errno == EINTR)
            rl_resize_terminal();
        else if (ready > 0)
            rl_callback_read_char();
        else if (ready < 0)
            break;
    }
    if (shell_text)
        remember(shell_text);
    else
        fputc('\n', stdout);
    return shell_text;
}

const char *lineedit_library_version(void)
{
    return rl_library_version;
}
